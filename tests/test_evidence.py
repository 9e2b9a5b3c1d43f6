"""Broken is said only where there is evidence: a store that fails costs no registry that it has nothing for.

The numbers are those of the reports that were replayed; rows without one are our own.
"""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NotFound, Shortage, Unavailable, shortage
from credhelpers.servers import Authority, folded
from credhelpers.stores.folder import Folder
from credhelpers.stores.index import Index
from credhelpers.stores.keyring import Keyring as Helper
from credhelpers.typed import Typed
from tests.fakes.secretservice import DOCKERS, Bus, Keyring, Service, silent_socket
from tests.fakes.stranger import as_user
from tests.harness import NOT_FOUND, Result, document, environment
from tests.harness import loaded_call as call
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fakes.secretservice import Replies

pytestmark = pytest.mark.slow

HOST = "registry.example:5000"
PUBLIC = "https://index.docker.io/v1/"
DONE = Result(0, b"", b"")
ABSENT = Result(1, NOT_FOUND, b"")
USER = 54321
_FAILS = "org.freedesktop.DBus.Error.Failed"


@pytest.fixture
def bare(home: Path) -> dict[str, str]:
    """A session without a bus."""
    return environment(home)


def keep(env: dict[str, str], server: str = HOST, username: str = "ann") -> None:
    assert call("keyring", "store", document(server, username, "made-up"), env) == DONE


def note(home: Path, server: str = HOST) -> None:
    """What a `store` of a better day has left: that the keyring has an item."""
    Index(Folder(os.fsencode(home / ".local/share/credhelpers"))).add(server)


def told(result: Result) -> str:
    """The code of a failure, which shows nothing of a secret."""
    assert b"made-up" not in result.out + result.err
    assert result.out != NOT_FOUND
    return result.told


# --- keyrings --------------------------------------------------------------------------------------------------------


def _locked(stack: ExitStack) -> str:
    bus = stack.enter_context(Keyring())
    bus.lock()
    return bus.address


def _never_opened(stack: ExitStack) -> str:
    return stack.enter_context(Keyring(unlocked=False)).address


def _fake(replies: Replies) -> Callable[[ExitStack], str]:
    def start(stack: ExitStack) -> str:
        bus = stack.enter_context(Bus())
        stack.enter_context(Service(bus, replies))
        return bus.address

    return start


def _mute(greeting: bytes = b"", noise: bytes = b"") -> Callable[[ExitStack], str]:
    def start(stack: ExitStack) -> str:
        place = stack.enter_context(Bus()).folder
        return stack.enter_context(silent_socket(place, greeting, noise))

    return start


def _does_not_start(stack: ExitStack) -> str:
    return stack.enter_context(Bus(start="/bin/false")).address


def _tcp(_: ExitStack) -> str:
    return "tcp:host=localhost,port=1"


# KeePassXC with its database locked: the collection is there, and shows nothing.
_HIDES: Replies = {
    "SearchItems": ("aoao", ([], [])),
    "Get Label": ("v", (("s", "fake"),)),
    "Get Locked": ("v", (("b", True),)),
}

_KEYRINGS = [
    pytest.param(_locked, "keyring-locked", id="command.md 0.2, locked"),
    pytest.param(_fake(_HIDES), "keyring-locked", id="command.md 0.2, locked, as KeePassXC has it"),
    pytest.param(_fake({}), "keyring-slow", id="2.B3, silent"),
    pytest.param(_fake({"SearchItems": _FAILS, "Get Label": _FAILS}), "keyring-failed", id="failing"),
    pytest.param(
        _fake({"SearchItems": ("s", ("nonsense",)), "Get Label": ("s", ("x",))}),
        "keyring-failed",
        id="answering something else",
    ),
    pytest.param(_mute(), "keyring-slow", id="a silent bus"),
    pytest.param(_mute(b"OK 00\r\n", b"garbage " * 9), "keyring-bus-failed", id="a bus that talks nonsense"),
    pytest.param(_mute(b"REJECTED EXTERNAL\r\n"), "keyring-bus-closed", id="2.B1, a bus that lets nobody in"),
    pytest.param(_does_not_start, "keyring-failed", id="one that does not start"),
    pytest.param(_tcp, "keyring-bus-unsupported", id="a bus by TCP"),
]


def at_once(env: dict[str, str], *asked: tuple[str, str | bytes]) -> list[Result]:
    """What comes of the calls: each may wait for seconds, and none for another."""
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda one: call("keyring", one[0], one[1], env), asked))


@pytest.mark.parametrize("screen", [{}, {"DISPLAY": ":99"}], ids=["no screen", "a screen"])
@pytest.mark.parametrize(("start", "code"), _KEYRINGS)
def test_a_keyring_that_fails(
    bare: dict[str, str], home: Path, start: Callable[[ExitStack], str], code: str, screen: dict[str, str]
) -> None:
    """A public image is built and its logout is one; what a note tells to be there fails with the reason."""
    with ExitStack() as stack:
        env = bare | screen | {"DBUS_SESSION_BUS_ADDRESS": start(stack)}
        get, erase, listed = at_once(env, ("get", PUBLIC), ("erase", PUBLIC), ("list", ""))
        assert (get, erase, listed) == (ABSENT, DONE, Result(0, b"{}\n", b""))
        note(home)
        failing = ("get", HOST), ("get", f"https://{HOST}/v2/"), ("store", document(PUBLIC, "ann", "made-up"))
        *failed, get, listed = at_once(env, *failing, ("get", PUBLIC), ("list", ""))
        assert [told(one) for one in failed] == [code] * 3
        assert (get, listed) == (ABSENT, Result(0, b"{}\n", b""))
        assert told(call("keyring", "erase", HOST, env)) == code
    assert not list(home.rglob("*.age"))


def test_an_item_that_a_locked_keyring_shows(bare: dict[str, str], home: Path) -> None:
    """command.md 0.2: without a note, too, as docker's own helper leaves none; under any spelling that it answers."""
    with Keyring() as bus:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address}
        attributes = DOCKERS | {"label": "Docker Credentials", "username": "ann"}
        for server in (f"https://{HOST}", "a.example/team", "Upper.example"):
            bus.put(server, attributes | {"server": server}, b"made-up")
        bus.lock()
        for server in (HOST, f"https://{HOST}/v2/", "a.example/team/app", "upper.example"):
            assert told(call("keyring", "get", server, env)) == "keyring-locked", server
            assert told(call("keyring", "erase", server, env)) == "keyring-locked", server
        for server in (PUBLIC, "a.example", "a.example/teams", "b.example"):
            assert call("keyring", "get", server, env) == ABSENT, server
            assert call("keyring", "erase", server, env) == DONE, server
        assert call("keyring", "list", "", env).listing == {}
    assert not home.joinpath(".local").exists(), "nobody is told to remember anything"


def test_a_service_without_a_collection(bare: dict[str, str], home: Path) -> None:
    """2.A9: as ssh finds it on a machine with gnome-keyring that nobody ever used: only `store` fails."""
    with ExitStack() as stack:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": _never_opened(stack)}
        for server in (PUBLIC, HOST):
            assert call("keyring", "get", server, env) == ABSENT
            assert call("keyring", "erase", server, env) == DONE
        assert call("keyring", "list", "", env).listing == {}
        assert told(call("keyring", "store", document(HOST, "ann", "made-up"), env)) == "keyring-no-collection"
        note(home)  # of a keyring that somebody has removed since
        assert call("keyring", "get", HOST, env) == ABSENT
        assert call("keyring", "get", HOST, bare) == ABSENT, "the note is gone, too"


def test_nobody_is_asked_to_unlock_for_what_is_not_there(bare: dict[str, str], home: Path) -> None:
    """A screen is no reason to ask for each public image; a note is."""
    with Bus() as bus, Service(bus, _HIDES | {"Unlock": ("aoo", ([], "/prompt/1"))}) as service:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address, "DISPLAY": ":99"}
        assert call("keyring", "get", PUBLIC, env) == ABSENT
        assert call("keyring", "list", "", env).listing == {}
        assert set(service.asked) == {"SearchItems"}
        note(home)
        assert told(call("keyring", "get", HOST, env)) == "keyring-locked"
        assert "Prompt" in service.asked


def test_a_list_never_asks_to_unlock(bare: dict[str, str]) -> None:
    """What is locked is not answered now, so it is not listed, whoever could be asked."""
    with Keyring() as bus:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address, "DISPLAY": ":99"}
        keep(env)
        bus.lock()
        assert call("keyring", "list", "", env).listing == {}


def test_only_whoever_wonders_hears_of_it(bare: dict[str, str]) -> None:
    """Standard error is empty on not-found; CREDHELPERS_DEBUG tells."""
    env = bare | {"DBUS_SESSION_BUS_ADDRESS": "tcp:host=localhost,port=1", "CREDHELPERS_DEBUG": "1"}
    result = call("keyring", "get", PUBLIC, env)
    assert result.out == NOT_FOUND
    assert b"debug: nothing is known to be there: the session bus is reached in a way" in result.err


def test_a_shortage_is_everybodys(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Too few descriptors are no absence: nobody has looked."""

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    helper = Helper({b"HOME": os.fsencode(home), b"DBUS_SESSION_BUS_ADDRESS": b"unix:abstract=x"}, "linux")
    monkeypatch.setattr("credhelpers.stores.folder.private.open_directory", fail)
    with pytest.raises(Unavailable) as caught:
        helper.get(Authority(HOST))
    assert isinstance(shortage(caught.value), Shortage)


def test_what_is_known_to_be_there_is_never_absent(monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> None:
    """Who has a note of his own asks for exactly that: no token of somebody else is minted for want of a keyring."""
    environ = {b"HOME": os.fsencode(home), b"DBUS_SESSION_BUS_ADDRESS": b"tcp:host=localhost,port=1"}
    helper = Helper(environ, "linux")
    with pytest.raises(NotFound):
        helper.get(Authority(HOST))
    with pytest.raises(Unavailable, match="only unix sockets"):
        helper.get(Authority(HOST), exactly=True)
    with pytest.raises(Unavailable, match="only unix sockets"):
        helper.erase(Authority(HOST), exactly=True)


# --- the embedded store ----------------------------------------------------------------------------------------------


def _user(home: str) -> list[str]:
    """What an ordinary user hears of each verb."""

    def work() -> object:
        helper = Helper({b"HOME": home.encode()}, "linux")
        said = []
        for verb in (
            lambda: helper.get(Authority(PUBLIC)),
            lambda: helper.erase(Authority(PUBLIC)),
            helper.list,
            lambda: helper.store(Authority(HOST), Credential("ann", "made-up")),
        ):
            try:
                said.append(str(verb()))
            except HelperError as error:
                said.append(f"{error.code}|{error.message}|{error.hint}")
        return "\n".join(said)

    for name in ("credhelpers.mkdir", "credhelpers.stores.mending", "pyrage", "shlex", "pwd", "grp"):
        import_module(name)  # such a user may not read them here
    return as_user(USER, work).split("\n")


def _nothing(_: Path) -> None:
    pass


def _of_roots(home: Path) -> None:
    (home / ".local/share/credhelpers").mkdir(parents=True, mode=0o700)  # 2.A6: by an older version under `sudo -E`


def _above_is_roots(home: Path) -> None:
    (home / ".local").mkdir(mode=0o700)


@pytest.mark.parametrize(
    ("home_of", "prepare", "mode"),
    [
        pytest.param("{home}", _of_roots, 0o700, id="2.A6, the directory is root's"),
        pytest.param("{home}", _above_is_roots, 0o700, id="2.A6, that above it is root's"),
        pytest.param("/nonexistent", _nothing, 0o700, id="2.B2, a home that is not there"),
        pytest.param("/", _nothing, 0o700, id="2.B2, the root directory"),
        pytest.param("/root", _nothing, 0o700, id="2.B3, a home that nobody may enter"),
        pytest.param("/proc/1/root", _nothing, 0o700, id="a home that nobody may look at"),
        pytest.param("{home}", _nothing, 0o500, id="a home that is closed to writing"),
    ],
)
def test_a_home_that_is_not_to_be_had(
    entered: Path, home: Path, home_of: str, prepare: Callable[[Path], None], mode: int
) -> None:
    """Public images are pulled and logged out of, `list` is empty; `store` says what the system says."""
    need_root("an ordinary user")
    prepare(home)
    os.chown(home, USER, USER)
    home.chmod(mode)
    get, erase, listed, stored = _user(home_of.format(home=home))
    assert (get, erase, listed) == ("|credentials not found in native keychain|", "None", "{}")
    code, message, hint = stored.split("|")
    assert code == "store-unwritable"
    assert message.startswith("the embedded store cannot be written: ")
    commands = re.findall(r"`(?:sudo )?(ch(?:own|mod) [^`]+)`", hint)
    assert len(commands) == home_of.startswith("{"), hint
    for command in commands:  # for what lies in a home of his own; to take root's home would be no mending
        subprocess.run(["sh", "-ec", command], check=True)
        assert _user(home_of.format(home=home))[-1] == "None"
    assert commands or "`export " in hint
    home.chmod(0o700)


def test_no_home_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """2.B5: nobody has a home for this number."""
    monkeypatch.setattr("credhelpers.identity.posix.getuid", lambda: USER)
    helper = Helper({}, "linux")
    assert helper.list() == {}
    helper.erase(Authority(HOST))
    with pytest.raises(NotFound):
        helper.get(Authority(HOST))
    with pytest.raises(Unavailable, match="no home directory"):
        helper.store(Authority(HOST), Credential("ann", "made-up"))


def _widen(folder: Path) -> None:
    folder.chmod(0o755)


def _link(folder: Path) -> None:
    folder.symlink_to(folder.rename(folder.with_name("moved")))


@pytest.mark.parametrize("spoil", [_widen, _link])
def test_a_store_that_is_not_to_be_trusted(bare: dict[str, str], home: Path, spoil: Callable[[Path], None]) -> None:
    """What is seen in it is refused; what is not seen is not there."""
    keep(bare)
    spoil(home / ".local/share/credhelpers")
    assert told(call("keyring", "get", HOST, bare)) == "store-exposed"
    assert told(call("keyring", "get", f"https://{HOST}", bare)) == "store-exposed"
    assert told(call("keyring", "erase", HOST, bare)) == "store-exposed"
    assert told(call("keyring", "store", document(PUBLIC, "ann", "made-up"), bare)) == "store-exposed"
    assert call("keyring", "get", PUBLIC, bare) == ABSENT
    assert call("keyring", "erase", PUBLIC, bare) == DONE
    assert call("keyring", "list", "", bare).listing == {}


# --- what was typed for a cloud's registry ---------------------------------------------------------------------------

_ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def test_a_note_of_what_was_typed_is_listed_only_if_it_is_answered(bare: dict[str, str]) -> None:
    """`list` names what `get` can answer now: with the keyring locked, that is not it."""
    with Keyring() as bus:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address}
        assert call("ecr", "store", document(_ECR, "robot", "made-up"), env) == DONE
        assert call("ecr", "list", "", env).listing == {_ECR: "robot"}
        assert call("ecr", "list", "", bare).listing == {}, "out of reach"
        bus.lock()
        assert call("ecr", "list", "", env).listing == {}
        assert told(call("ecr", "get", _ECR, env)) == "keyring-locked"
        assert told(call("ecr", "erase", _ECR, env)) == "keyring-locked"
        assert call("ecr", "erase", _ECR.replace("1111", "4444"), env) == DONE


# --- names -----------------------------------------------------------------------------------------------------------

V1, V2 = "https://h.example:2376/v1", "https://h.example:2376/v2"


@pytest.fixture(params=["secret-service", "embedded"])
def env(request: pytest.FixtureRequest, bare: dict[str, str]) -> Iterator[dict[str, str]]:
    """A session with a keyring, and one without."""
    if request.param == "embedded":
        yield bare
        return
    with Keyring() as bus:
        yield bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address}


def _listed(env: dict[str, str]) -> dict[str, str]:
    return call("keyring", "list", "", env).listing


@pytest.mark.parametrize(
    ("kept", "erased", "left"),
    [
        pytest.param({V1: "uv1", V2: "uv2"}, V1, {V2}, id="4.2, another version of another user"),
        pytest.param({V1: "uv1", V2: "uv2"}, V2, {V1}, id="4.2, the other way round"),
        pytest.param({V1: "ann", V2: "ann"}, V1, {V2}, id="another version of the same user"),
        pytest.param({V1: "ann", f"{V2}/": "ann"}, f"{V1}/", {f"{V2}/"}, id="the same with slashes"),
        pytest.param({V1: "ann", V2: "ann"}, "https://h.example:2376", set(), id="the whole registry, one user"),
        pytest.param({V2: "ann", "h.example:2376": "ann"}, V1, {V2}, id="what lies under no version goes"),
        pytest.param({"a.example": "ann", "https://a.example": "bob"}, "a.example", {"https://a.example"}, id="bob's"),
        pytest.param({"a.example": "ann", "https://a.example": "bob"}, "https://a.example", {"a.example"}, id="ann's"),
        pytest.param({"https://a.example": "bob"}, "a.example", set(), id="the nearest is whoever it is of"),
        pytest.param(
            {"https://a.example": "bob", "a.example:443": "ann", "https://a.example/v2/": "bob"},
            "a.example",
            {"https://a.example", "https://a.example/v2/"},
            id="the nearest of two users",
        ),
        pytest.param({PUBLIC: "ann", "docker.io": "bob"}, PUBLIC, {"docker.io"}, id="the Hub's"),
        pytest.param({"Test.Registry.org": "ann"}, "test.registry.org", set(), id="2.A8, other letters"),
        pytest.param(
            {"Test.Registry.org": "ann", "test.registry.org": "ann"}, "TEST.registry.org", set(), id="2.A8, two logins"
        ),
        pytest.param(
            {"Test.Registry.org": "bob", "test.registry.org": "ann"},
            "test.registry.org",
            {"Test.Registry.org"},
            id="other letters, another user",
        ),
        pytest.param({"Test.org/Team": "ann"}, "test.org/Team", set(), id="a path below it"),
        pytest.param({"Test.org/Team": "ann"}, "test.org/team", {"Test.org/Team"}, id="a path is as it is written"),
    ],
)
def test_what_a_logout_leaves(env: dict[str, str], kept: dict[str, str], erased: str, left: set[str]) -> None:
    """Not what is another user's, or of the API's other version; all else that would answer goes."""
    for server, username in kept.items():
        keep(env, server, username)
    assert call("keyring", "erase", erased, env) == DONE
    assert _listed(env) == {server: kept[server] for server in left}


@pytest.mark.parametrize(
    ("kept", "asked", "username"),
    [
        pytest.param({"Test.Registry.org": "ann"}, "test.registry.org", "ann", id="2.A8"),
        pytest.param({"test.registry.org": "ann"}, "Test.Registry.ORG", "ann", id="the other way round"),
        pytest.param({"https://Test.org/v2/": "ann"}, "test.org", "ann", id="in another spelling"),
        pytest.param({"HTTPS://Test.org": "ann"}, "https://test.org", "ann", id="the scheme, too"),
        pytest.param({"Test.org": "ann", "https://test.org": "bob"}, "test.org", "bob", id="exact letters first"),
        pytest.param({"Test.org:5000": "ann"}, "test.org:5000", "ann", id="with a port"),
        pytest.param({"Test.org/Team": "ann"}, "test.org/Team/app", "ann", id="below a path"),
        pytest.param({"Index.Docker.io": "ann"}, PUBLIC, "ann", id="the Hub"),
        pytest.param({"http://Test.org": "ann"}, "http://test.org", "ann", id="without encryption"),
        pytest.param({"Test.org/Team": "ann"}, "test.org/team", "", id="a path is as it is written"),
        pytest.param({"http://Test.org": "ann"}, "test.org", "", id="never across schemes"),
        pytest.param({"Test.org:5000": "ann"}, "test.org", "", id="never across ports"),
        pytest.param({"\u212aube.example": "ann"}, "kube.example", "", id="a letter that only looks like one"),
    ],
)
def test_hosts_in_other_letters(env: dict[str, str], kept: dict[str, str], asked: str, username: str) -> None:
    """RFC 3986, 3.2.2: last of all, and by letters of ASCII only."""
    for server, name in kept.items():
        call("keyring", "store", document(server, name, "made-up"), env)
    found = call("keyring", "get", asked, env)
    if not username:
        assert found == ABSENT
        return
    assert found.credential == {"ServerURL": asked, "Username": username, "Secret": "made-up"}


def test_a_note_in_other_letters(bare: dict[str, str], home: Path) -> None:
    """What is in a keyring out of reach is there in any letters."""
    note(home, "Test.Registry.org")
    assert told(call("keyring", "get", "test.registry.org", bare)) == "keyring-elsewhere"
    assert told(call("keyring", "erase", "test.registry.org", bare)) == "keyring-elsewhere"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("HTTPS://Host.Example/V2/A", "https://host.example/V2/A"),
        ("Host.Example:5000", "host.example:5000"),
        ("ssh://Host.Example", "ssh://Host.Example"),
        ("//Host.Example:2376", "//Host.Example:2376"),
        ("Key", "key"),
    ],
)
def test_which_letters_are_folded(key: str, expected: str) -> None:
    """Scheme and host of what may be a registry."""
    assert folded(key) == expected


def test_a_choice_that_names_no_store_lists_nothing(home: Path) -> None:
    """A list never fails, that of what was typed neither."""
    environ = {b"HOME": os.fsencode(home), b"CREDHELPERS_KEYRING": b"embedded"}
    Typed(environ).keep(Authority(_ECR), Credential("robot", "made-up"))
    assert Typed(environ).servers() == {_ECR: "robot"}
    assert Typed(environ | {b"CREDHELPERS_KEYRING": b"plaintext"}).servers() == {}
    assert Typed({b"HOME": b"/nonexistent"}).servers() == {}


def test_who_mints_with_what_a_keyring_has_hears_why_it_fails(home: Path) -> None:
    """`from = "keyring"` says that there is something: a keyring that cannot be asked is not one without it."""
    environ = {b"HOME": os.fsencode(home), b"DBUS_SESSION_BUS_ADDRESS": b"tcp:host=localhost,port=1"}
    with pytest.raises(Unavailable, match="only unix sockets"):
        Helper(environ, "linux", is_expected=True).get(Authority(HOST))
    with pytest.raises(NotFound):
        Helper({b"HOME": os.fsencode(home)}, "linux", is_expected=True).get(Authority(HOST))
