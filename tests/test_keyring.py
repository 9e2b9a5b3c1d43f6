"""docker-credential-keyring with real keyrings and without, and how it chooses between the two."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, ClassVar

import pytest

from credhelpers.credential import Credential
from credhelpers.errors import HelperError, Refused, Unavailable
from credhelpers.servers import Authority
from credhelpers.stores import system
from credhelpers.stores.folder import Folder
from credhelpers.stores.index import Index
from credhelpers.stores.keyring import Keyring as Helper
from tests.fakes.secretservice import DOCKERS, Bus, Keyring, Service, silent_socket
from tests.harness import NOT_FOUND, Result, document, environment, need, patience
from tests.harness import loaded_call as call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fakes.secretservice import Completed, Replies

HOST = "registry.example:5000"
OTHER = "other.example"
HUB = "https://index.docker.io/v1/"
ELSEWHERE = b"this entry is in the OS keyring, which is not reachable from this session\n"


@pytest.fixture(scope="module")
def _keyring() -> Iterator[Keyring]:
    with Keyring() as bus:
        yield bus


@pytest.fixture
def keyring(_keyring: Keyring) -> Keyring:
    """A session with an unlocked GNOME Keyring in which nothing of docker's is kept."""
    _keyring.clear()
    return _keyring


@pytest.fixture
def bare(home: Path) -> dict[str, str]:
    """A session without a bus."""
    return environment(home)


@pytest.fixture
def desktop(home: Path, keyring: Keyring) -> dict[str, str]:
    """A session with the keyring."""
    return environment(home, DBUS_SESSION_BUS_ADDRESS=keyring.address)


@pytest.fixture(params=["secret-service", "embedded"])
def env(request: pytest.FixtureRequest) -> dict[str, str]:
    """A session with a keyring, and one without: what a client sees must not differ."""
    value = request.getfixturevalue("desktop" if request.param == "secret-service" else "bare")
    assert isinstance(value, dict)
    return value


def keep(env: dict[str, str], server: str = HOST, username: str = "ann", secret: str = "made-up") -> None:
    """Store an entry."""
    assert call("keyring", "store", document(server, username, secret), env) == Result(0, b"", b"")


def get(env: dict[str, str], server: str = HOST) -> tuple[str, str]:
    """User name and secret of a successful `get`, whose answer repeats the server."""
    answer = call("keyring", "get", server, env).credential
    assert answer["ServerURL"] == server
    return answer["Username"], answer["Secret"]


def assert_absent(env: dict[str, str], server: str = HOST) -> None:
    """`get` says that there is nothing."""
    assert call("keyring", "get", server, env) == Result(1, NOT_FOUND, b"")


def assert_unavailable(result: Result, reason: str) -> None:
    """It failed, said why in one line with a hint in another, and let nothing out."""
    assert result.code == 1, result
    assert reason.encode() in result.out, result
    assert result.out.count(b"\n") == 1
    assert result.told
    assert b"`" in result.err
    assert b"made-up" not in result.out + result.err


def embedded_files(home: Path) -> list[str]:
    """Names of the files of the embedded store: entries and identity."""
    return sorted(path.name for path in home.rglob("*") if path.suffix == ".age" or path.name == "identity.txt")


# --- what a client sees, in both places ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "secret"),
    [
        pytest.param("<token>", "made-up-identity-token", id="identity token"),
        pytest.param("ann", "x" * 20_000, id="20000 bytes"),
        pytest.param("ann", "one\ntwo\r\n\n", id="line ends"),
        pytest.param("ann", "  spaces around\t ", id="blanks"),
        pytest.param("ann", "\"quotes\" 'and' \\back\\slashes`$(id)`", id="quotes"),
        pytest.param("ann", "<>&{}[]\u2028\u0085\x7f\x1b[31m", id="markup and controls"),
        pytest.param("\u00e4nn\u20ac\U0001f511", "\u00fcber-\u79d8\u5bc6-\U0001f511", id="not ASCII"),
        pytest.param('a"b\\c', "x", id="quotes in the name"),
    ],
)
def test_secrets_are_byte_exact(env: dict[str, str], username: str, secret: str) -> None:
    """What was stored is answered, byte for byte."""
    keep(env, HOST, username, secret)
    assert get(env) == (username, secret)
    assert call("keyring", "list", "unused", env).listing == {HOST: username}


def test_another_user_name_replaces(env: dict[str, str]) -> None:
    """The second login wins, and `list` shows one entry (P17)."""
    keep(env, HOST, "ann", "first")
    keep(env, HOST, "bob", "second")
    assert get(env) == ("bob", "second")
    assert call("keyring", "list", "unused", env).listing == {HOST: "bob"}
    assert call("keyring", "erase", HOST, env) == Result(0, b"", b"")
    assert_absent(env)
    assert call("keyring", "list", "unused", env).listing == {}


def test_erase_of_nothing_is_success(env: dict[str, str]) -> None:
    """Docker's logout erases four spellings of which three are absent (P20)."""
    keep(env)
    for server in (HOST, HOST, f"http://{HOST}", f"https://{HOST}"):
        assert call("keyring", "erase", server, env) == Result(0, b"", b"")
    assert_absent(env)


@pytest.mark.parametrize(
    "server", ["pycreds_test_9f3a", "myregistry", "//host.example:2376", "localhost:5000", "[::1]:5000"]
)
def test_keys_are_opaque(env: dict[str, str], server: str) -> None:
    """A key need not be a host."""
    keep(env, server)
    assert get(env, server) == ("ann", "made-up")
    assert call("keyring", "list", "unused", env).listing == {server: "ann"}
    assert call("keyring", "erase", server, env).code == 0
    assert_absent(env, server)


def test_hub_entries_never_collide(env: dict[str, str]) -> None:
    """The three entries of `docker login` for the Hub are kept, answered and erased one by one (P28)."""
    keys = [HUB, HUB + "access-token", HUB + "refresh-token"]
    for key in keys:
        keep(env, key, "ann", key)
    assert call("keyring", "list", "unused", env).listing == dict.fromkeys(keys, "ann")
    for key in keys:
        assert get(env, key) == ("ann", key)
    assert call("keyring", "erase", HUB, env).code == 0
    for alias in (HUB, "docker.io", "https://index.docker.io", "index.docker.io/v1"):
        assert_absent(env, alias)
    assert get(env, keys[1]) == ("ann", keys[1])
    assert call("keyring", "erase", keys[1], env).code == 0
    assert_absent(env, keys[1])
    assert get(env, keys[2]) == ("ann", keys[2])


@pytest.mark.parametrize(
    ("stored", "erased", "neighbours"),
    [
        pytest.param((HUB, "docker.io"), HUB, (HUB + "access-token",), id="the Hub, by docker and by podman"),
        pytest.param(
            ("a.example", "a.example:443"),
            "a.example",
            ("http://a.example", "a.example:5000", "a.example/team", "b.example"),
            id="by nerdctl, which stores twice",
        ),
        pytest.param(
            ("a.example:443/v2/", "https://a.example/v1/", "a.example"),
            "https://a.example",
            ("a.example/team",),
            id="by clients of all kinds",
        ),
        pytest.param(
            ("http://a.example", "http://a.example:80/v2/"), "http://a.example", ("a.example",), id="without encryption"
        ),
        pytest.param(("a.example/team/app",), "a.example/team/app", ("a.example/team", "a.example"), id="a part of it"),
    ],
)
def test_a_logout_leaves_no_other_name(
    env: dict[str, str], stored: tuple[str, ...], erased: str, neighbours: tuple[str, ...]
) -> None:
    """A client erases a registry under one name; what lies under another one of that registry must not answer then."""
    for server in stored + neighbours:
        keep(env, server)
    assert call("keyring", "erase", erased, env) == Result(0, b"", b"")
    assert call("keyring", "list", "unused", env).listing == dict.fromkeys(neighbours, "ann")


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        *(
            (HUB, alias)
            for alias in ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
        ),
        (HUB, "https://index.docker.io/v1"),
        ("host.example", "host.example:443"),
        ("https://host.example", "host.example"),
        ("host.example", "https://host.example/v2/"),
        ("host.example/team", "host.example/team/app"),
    ],
)
def test_other_spellings_are_answered(env: dict[str, str], stored: str, asked: str) -> None:
    """The entry answers under the other spelling, which the answer repeats, and `erase` removes it (P29, P30)."""
    keep(env, stored)
    assert get(env, asked) == ("ann", "made-up")
    assert call("keyring", "erase", asked, env).code == 0
    assert_absent(env, stored)


def test_the_exact_key_comes_first(env: dict[str, str]) -> None:
    """Of two entries for one host each is answered under its own key."""
    keep(env, "host.example", "bare", "1")
    keep(env, "https://host.example", "scheme", "2")
    assert get(env, "host.example") == ("bare", "1")
    assert get(env, "https://host.example") == ("scheme", "2")


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("https://host.example", "http://host.example"),
        ("http://host.example", "host.example"),
        ("host.example:5000", "host.example"),
        ("host.example", "host.example:5000"),
        ("host.example", "host.example.evil.example"),
        ("host.example", "evil.example/host.example"),
        ("host.example", "xhost.example"),
        ("host.example/team", "host.example"),
        ("host.example/team", "host.example/teams"),
        ("https://host.example:5000", "https://host.example:5001"),
        (HUB + "access-token", HUB),
        (HUB + "refresh-token", "docker.io"),
    ],
)
def test_strangers_are_not_answered(env: dict[str, str], stored: str, asked: str) -> None:
    """A near miss is a miss, for `get` and for `erase` (P30, strict rows)."""
    keep(env, stored)
    assert_absent(env, asked)
    assert call("keyring", "erase", asked, env).code == 0
    assert get(env, stored) == ("ann", "made-up")


@pytest.mark.parametrize(
    "server",
    [
        "https://foobar.example",
        "https://foobar.example:2376",
        "https://foobar.example/some/path",
        "https://foobar.example:2376/some/path",
        "https://foobar.example/some/path?foo=bar",
        "foobar.example",
        "foobar.example:2376",
        "//foobar.example:2376",
    ],
)
def test_stored_forms_are_retrieved(env: dict[str, str], server: str) -> None:
    """The eight forms of docker's own store-and-retrieve table come back under their own key (P30)."""
    keep(env, server)
    assert get(env, server) == ("ann", "made-up")
    assert call("keyring", "erase", server, env).code == 0
    assert_absent(env, server)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["ann"] * 20, id="20 identical"),
        pytest.param([f"user-{number}" for number in range(20)], id="20 users"),
        pytest.param(["ann", "bob"] * 10, id="two users in turn"),
    ],
)
def test_parallel_stores_of_one_key(env: dict[str, str], names: list[str]) -> None:
    """All succeed, and one of them, whole, is what is kept (CO-9)."""
    keep(env, HOST, "before", "before")

    def work(name: str) -> Result:
        return call("keyring", "store", document(HOST, name, f"secret of {name}"), env)

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(work, names))
    assert {(result.code, result.out, result.err) for result in results} == {(0, b"", b"")}
    username, secret = get(env)
    assert username in names
    assert secret == f"secret of {username}"
    assert call("keyring", "list", "unused", env).listing == {HOST: username}


def test_a_stopped_writer_does_not_block(desktop: dict[str, str], home: Path) -> None:
    """One that holds the turn and does not go on costs a few seconds, not the login."""
    keep(desktop)
    (lock,) = (home / ".local/share/credhelpers").glob("lock-*")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        keep(desktop, HOST, "bob", "made-up")
    assert get(desktop) == ("bob", "made-up")


def test_parallel_stores_of_many_keys(env: dict[str, str]) -> None:
    """Twenty logins at once keep twenty entries."""
    servers = [f"host-{number}.example" for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda server: call("keyring", "store", document(server, "ann", server), env), servers))
    assert {result.code for result in results} == {0}
    assert call("keyring", "list", "unused", env).listing == dict.fromkeys(servers, "ann")
    assert [get(env, server) for server in servers] == [("ann", server) for server in servers]


# --- beside docker's own helper --------------------------------------------------------------------------------------


def docker(verb: str, content: bytes | str, env: dict[str, str]) -> Result:
    """Call Debian's docker-credential-secretservice."""
    path = need("docker-credential-secretservice", "golang-docker-credential-helpers")
    data = content.encode() if isinstance(content, str) else content
    done = subprocess.run([path, verb], input=data, env=env, capture_output=True, timeout=20, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def test_the_form_of_an_entry(desktop: dict[str, str], keyring: Keyring) -> None:
    """An entry is what docker's helper would have made."""
    keep(desktop, HUB, "ann", "made-up")
    attributes = DOCKERS | {"label": "Docker Credentials", "server": HUB, "username": "ann"}
    assert keyring.items() == [(HUB, attributes, b"made-up")]


@pytest.mark.parametrize("secret", ["made-up", "x" * 20_000, '\u00fc "q" \\ <&>'])
def test_docker_reads_ours(desktop: dict[str, str], secret: str) -> None:
    """What we store, docker's helper gets, lists and erases."""
    keep(desktop, HUB, "<token>", secret)
    assert docker("get", HUB, desktop).credential == {"ServerURL": HUB, "Username": "<token>", "Secret": secret}
    assert docker("list", "unused", desktop).listing == {HUB: "<token>"}
    assert docker("erase", HUB, desktop).code == 0
    assert_absent(desktop, HUB)


@pytest.mark.parametrize("secret", ["made-up", "x" * 20_000, '\u00fc "q" \\ <&>'])
def test_we_read_dockers(desktop: dict[str, str], secret: str) -> None:
    """What docker's helper stored, we get, list and erase, under other spellings too."""
    assert docker("store", document("https://host.example", "bob", secret), desktop).code == 0
    assert get(desktop, "https://host.example") == ("bob", secret)
    assert get(desktop, "host.example") == ("bob", secret)
    assert call("keyring", "list", "unused", desktop).listing == {"https://host.example": "bob"}
    assert call("keyring", "erase", "host.example", desktop).code == 0
    assert docker("get", "https://host.example", desktop) == Result(1, NOT_FOUND, b"")


def test_we_replace_dockers(desktop: dict[str, str], keyring: Keyring) -> None:
    """A login of another user replaces the entries that docker's helper left, of which it keeps one a user."""
    for username in ("ann", "bob"):
        assert docker("store", document(HOST, username, "old"), desktop).code == 0
    assert len(keyring.items()) == 2
    keep(desktop, HOST, "cid", "new")
    assert [(item[1]["username"], item[2]) for item in keyring.items()] == [("cid", b"new")]


def test_of_two_entries_the_newer_answers(desktop: dict[str, str], keyring: Keyring) -> None:
    """Docker's helper leaves an entry for each user; the one written last is answered and listed."""
    attributes = DOCKERS | {"server": HOST, "label": "Docker Credentials"}
    keyring.put("first", attributes | {"username": "ann"}, b"old")
    time.sleep(1.1)  # the service counts seconds
    keyring.put("second", attributes | {"username": "bob"}, b"new")
    assert get(desktop) == ("bob", "new")
    assert call("keyring", "list", "unused", desktop).listing == {HOST: "bob"}
    assert call("keyring", "erase", HOST, desktop).code == 0
    assert keyring.items() == []


def test_a_newer_helpers_label_does_not_matter(desktop: dict[str, str], keyring: Keyring) -> None:
    """Docker's newer helper labels items with a sentence; `list` goes by the attribute."""
    attributes = DOCKERS | {"label": "Docker Credentials", "server": HOST, "username": "ann"}
    keyring.put(f"Registry credentials for {HOST}", attributes, b"made-up")
    assert call("keyring", "list", "unused", desktop).listing == {HOST: "ann"}
    assert get(desktop) == ("ann", "made-up")


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"docker_cli": "1", "xdg:schema": "org.gnome.keyring.NetworkPassword"}, id="another schema"),
        pytest.param({"xdg:schema": "io.docker.Credentials"}, id="not of the command line"),
        pytest.param({"service": HOST, "application": "Python keyring library"}, id="of the keyring library"),
    ],
)
def test_items_of_others_are_left_alone(desktop: dict[str, str], keyring: Keyring, attributes: dict[str, str]) -> None:
    """What is not docker's neither answers nor is replaced or erased."""
    others = attributes | {"server": HOST, "username": "stranger"}
    keyring.put("not docker's", others, b"made-up of another program")
    assert_absent(desktop)
    keep(desktop)
    assert call("keyring", "erase", HOST, desktop).code == 0
    with keyring.connected() as connection:
        import secretstorage

        left = list(secretstorage.search_items(connection, others))
        assert len(left) == 1
        left[0].delete()


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("b\u00fccher.example", id="not ASCII"),
        pytest.param("my registry", id="a blank"),
        pytest.param(" host.example", id="a blank before it"),
        pytest.param("user@host.example", id="could be two hosts"),
        pytest.param("x" * 1025, id="long"),
        pytest.param("https://", id="a scheme alone"),
        pytest.param("", id="none"),
    ],
)
def test_what_nobody_can_ask_for_is_not_listed(desktop: dict[str, str], keyring: Keyring, server: str) -> None:
    """Docker's helper keeps an entry under any string; docker drops all credentials at one that `get` refuses (P24)."""
    attributes = DOCKERS | {"server": server, "label": "Docker Credentials", "username": "ann"}
    keyring.put(server, attributes, b"made-up")
    keep(desktop)
    assert call("keyring", "list", "unused", desktop).listing == {HOST: "ann"}


def test_an_item_in_another_collection_is_found(desktop: dict[str, str], keyring: Keyring) -> None:
    """All collections are searched; a new login moves the entry to the default one."""
    attributes = DOCKERS | {"label": "Docker Credentials", "server": HOST, "username": "ann"}
    keyring.put(HOST, attributes, b"elsewhere", collection="session")
    assert get(desktop) == ("ann", "elsewhere")
    keep(desktop, HOST, "bob", "here")
    assert [item[2] for item in keyring.items()] == [b"here"]


@pytest.mark.parametrize("secret", [pytest.param(b"", id="empty"), pytest.param(b"\xff\xfe", id="not text")])
def test_an_unusable_secret(desktop: dict[str, str], keyring: Keyring, secret: bytes) -> None:
    """An empty secret is none; one that is no text is an error."""
    keyring.put(HOST, DOCKERS | {"label": "Docker Credentials", "server": HOST, "username": "ann"}, secret)
    if secret:
        assert_unavailable(call("keyring", "get", HOST, desktop), "the entry in the keyring is not text")
    else:
        assert_absent(desktop)


def test_an_empty_secret_forgets(env: dict[str, str]) -> None:
    """Storing an empty secret leaves nothing behind (P15)."""
    keep(env)
    assert call("keyring", "store", document(HOST, "ann", ""), env).code == 0
    assert_absent(env)


# --- choosing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="nothing set"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": ""}, id="empty address"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:path={tmp}/none"}, id="socket gone"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:path={tmp}/dead"}, id="nobody listens"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:path={tmp}/plain"}, id="a plain file"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:abstract=credhelpers-nobody"}, id="abstract, nobody listens"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "disabled:"}, id="disabled"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "autolaunch:"}, id="autolaunch"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "/dev/null"}, id="not an address"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:path=%zz"}, id="bad escape"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:path=a%00b"}, id="a NUL"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:runtime=yes", "XDG_RUNTIME_DIR": "{tmp}"}, id="runtime, none"),
        pytest.param({"XDG_RUNTIME_DIR": "{tmp}"}, id="runtime directory without a bus"),
        pytest.param({"XDG_RUNTIME_DIR": "relative"}, id="relative runtime directory"),
        pytest.param({"XDG_RUNTIME_DIR": "{tmp}/gone"}, id="runtime directory gone"),
    ],
)
def test_without_a_bus_the_embedded_store_is_chosen(
    bare: dict[str, str], home: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """No session bus, in whatever way: the embedded store, without a word."""
    import socket

    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind(str(tmp_path / "dead"))
    (tmp_path / "plain").write_bytes(b"")
    env = bare | {name: value.format(tmp=tmp_path) for name, value in variables.items()}
    keep(env)
    assert get(env) == ("ann", "made-up")
    assert call("keyring", "list", "unused", env).listing == {HOST: "ann"}
    assert len(embedded_files(home)) == 2
    assert call("keyring", "erase", HOST, env).code == 0
    assert_absent(env)


def test_a_bus_without_a_secret_service(bare: dict[str, str], home: Path) -> None:
    """Where nobody offers one and nothing can be started: the embedded store."""
    with Bus() as bus:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address}
        keep(env)
        assert get(env) == ("ann", "made-up")
        assert call("keyring", "list", "unused", env).listing == {HOST: "ann"}
    assert len(embedded_files(home)) == 2


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"XDG_RUNTIME_DIR": "{folder}"}, id="systemd's place"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:runtime=yes", "XDG_RUNTIME_DIR": "{folder}"}, id="runtime"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:path={folder}/b%75s,guid=00"}, id="escaped, with a guid"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "tcp:host=localhost,port=1;unix:path={folder}/bus"}, id="second"),
        pytest.param({"DBUS_SESSION_BUS_ADDRESS": "unix:path=/gone;unix:path={folder}/bus"}, id="first is dead"),
    ],
)
def test_the_bus_is_found(bare: dict[str, str], home: Path, keyring: Keyring, variables: dict[str, str]) -> None:
    """Every way in which a session tells of its bus leads to the keyring."""
    keep(bare | {name: value.format(folder=keyring.folder) for name, value in variables.items()})
    assert len(keyring.items()) == 1
    assert embedded_files(home) == []


# --- what is there but does not work ---------------------------------------------------------------------------------

_LOCKED_ITEM: Replies = {
    "SearchItems": ("aoao", ([], ["/org/freedesktop/secrets/collection/a/1"])),
    "Get Label": ("v", (("s", "fake"),)),
    "Get Locked": ("v", (("b", True),)),
}
_PROMPT: Replies = {"Unlock": ("aoo", ([], "/prompt/1")), "Prompt": ("", ())}
_FAILURE = "org.freedesktop.DBus.Error.Failed"


def _locked(stack: ExitStack, folder: Path) -> dict[str, str]:
    bus = stack.enter_context(Keyring())
    bus.lock()
    return {"DBUS_SESSION_BUS_ADDRESS": bus.address}


def _fake(replies: Replies, *, completed: Completed | None = None, **more: str) -> Callable[..., dict[str, str]]:
    def start(stack: ExitStack, folder: Path) -> dict[str, str]:
        bus = stack.enter_context(Bus())
        stack.enter_context(Service(bus, replies, completed=completed))
        return {"DBUS_SESSION_BUS_ADDRESS": bus.address} | more

    return start


def _mute(greeting: bytes = b"", noise: bytes = b"") -> Callable[..., dict[str, str]]:
    def start(stack: ExitStack, folder: Path) -> dict[str, str]:
        place = stack.enter_context(Bus()).folder  # a short path
        return {"DBUS_SESSION_BUS_ADDRESS": stack.enter_context(silent_socket(place, greeting, noise))}

    return start


def _broken_start(stack: ExitStack, folder: Path) -> dict[str, str]:
    return {"DBUS_SESSION_BUS_ADDRESS": stack.enter_context(Bus(start="/bin/false")).address}


def _tcp(stack: ExitStack, folder: Path) -> dict[str, str]:
    return {"DBUS_SESSION_BUS_ADDRESS": "tcp:host=localhost,port=1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "reason"),
    [
        pytest.param(_locked, "the keyring is locked\n", id="locked"),
        pytest.param(
            _fake(_LOCKED_ITEM | _PROMPT, completed=(True, ("ao", [])), DISPLAY=":99"), "was cancelled", id="cancelled"
        ),
        pytest.param(_fake(_LOCKED_ITEM | _PROMPT, DISPLAY=":99"), "nobody unlocked it in time", id="prompt waits"),
        pytest.param(
            _fake(_LOCKED_ITEM | _PROMPT, WAYLAND_DISPLAY="w"), "nobody unlocked it", id="prompt waits, wayland"
        ),
        pytest.param(_fake(_LOCKED_ITEM | _PROMPT), "the keyring is locked\n", id="no screen to prompt on"),
        pytest.param(_fake({}), "the keyring does not answer", id="service is silent"),
        pytest.param(
            _fake({"SearchItems": _FAILURE, "Get Label": _FAILURE}), "keyring failed: Failed", id="service fails"
        ),
        pytest.param(_mute(), "the keyring does not answer", id="bus is silent"),
        pytest.param(_mute(b"OK 00\r\n"), "the keyring does not answer", id="bus is silent after the greeting"),
        pytest.param(_mute(b"OK 00\r\n", b"l\x01\0\x01"), "the keyring does not answer", id="bus drips"),
        pytest.param(_mute(b"OK 00\r\n", b"garbage " * 9), "the session bus failed: ", id="bus talks nonsense"),
        pytest.param(_mute(b"OK"), "the keyring does not answer", id="bus stops in the greeting"),
        pytest.param(_mute(b"REJECTED EXTERNAL\r\n"), "not open to this user", id="bus refuses this user"),
        pytest.param(_broken_start, "the keyring failed: ", id="service does not start"),
        pytest.param(_tcp, "only unix sockets", id="bus by TCP"),
    ],
)
def test_a_keyring_that_does_not_work_is_named(
    bare: dict[str, str], home: Path, tmp_path: Path, start: Callable[..., dict[str, str]], reason: str
) -> None:
    """Each verb ends within 5 s, all but `list` with the reason; nothing goes to the embedded store (FA-7).

    That is so of a registry that a note tells to be there; of others see `test_evidence`.
    """
    Index(Folder(os.fsencode(home / ".local/share/credhelpers"))).add(HOST)
    with ExitStack() as stack:
        env = bare | start(stack, tmp_path)
        verbs = ("get", "store", "erase", "list")

        def work(verb: str) -> tuple[Result, float]:
            began = time.monotonic()
            content = document(HOST, "ann", "made-up") if verb == "store" else HOST.encode()
            return call("keyring", verb, content, env), time.monotonic() - began

        with ThreadPoolExecutor(4) as pool:
            for verb, (result, took) in zip(verbs, pool.map(work, verbs), strict=True):
                if verb == "list":
                    assert result == Result(0, b"{}\n", b"")
                else:
                    assert_unavailable(result, reason)
                assert took < 5 + patience(0.5), "5 s and the start of four interpreters at once"
    assert embedded_files(home) == []


def test_a_screen_without_a_prompter(bare: dict[str, str]) -> None:
    """GNOME Keyring dismisses at once a prompt that it has no program for."""
    with Keyring() as bus:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address, "DISPLAY": ":99"}
        keep(env)
        bus.lock()
        assert_unavailable(call("keyring", "get", HOST, env), "unlocking it was cancelled")


def test_nobody_is_asked_without_a_screen(bare: dict[str, str]) -> None:
    """Neither `Unlock` nor `Prompt` is called where there is no display."""
    with Bus() as bus, Service(bus, _LOCKED_ITEM | _PROMPT) as service:
        call("keyring", "get", HOST, bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address})
        assert "SearchItems" in service.asked
        assert not {"Unlock", "Prompt"} & set(service.asked)


_ITEM = "/org/freedesktop/secrets/collection/a/1"
_PROMPTING: Replies = {
    "SearchItems": ("aoao", ([_ITEM], [])),
    "Get Label": ("v", (("s", "fake"),)),
    "Get Locked": ("v", (("b", False),)),
    "OpenSession": ("vo", (("ay", bytes(127) + b"\2"), "/session/1")),
    "CreateItem": ("oo", ("/", "/prompt/1")),
    "Delete": ("o", ("/prompt/2",)),
    "Prompt": ("", ()),
}
_ASKING = {
    "store": (_PROMPTING, document(HOST, "ann", "made-up"), ("o", _ITEM)),
    "store, in place of another": (
        _PROMPTING | {"CreateItem": ("oo", (_ITEM + "1", "/"))},
        document(HOST, "ann", "made-up"),
        ("s", ""),
    ),
    "erase": (_PROMPTING, HOST.encode(), ("s", "")),
}


@pytest.mark.parametrize("work", _ASKING)
@pytest.mark.parametrize("screen", [{}, {"DISPLAY": ":99"}], ids=["no screen", "a screen"])
def test_a_keyring_that_writes_by_prompts(bare: dict[str, str], work: str, screen: dict[str, str]) -> None:
    """KeePassXC gives a prompt for whatever it makes or deletes; the signal that it is done is for nobody by name."""
    replies, content, result = _ASKING[work]
    with Bus() as bus, Service(bus, replies, completed=(False, result)) as service:
        env = bare | screen | {"DBUS_SESSION_BUS_ADDRESS": bus.address}
        assert call("keyring", work.partition(",")[0], content, env) == Result(0, b"", b"")
        assert "Prompt" in service.asked


@pytest.mark.slow
@pytest.mark.parametrize("work", _ASKING)
def test_leave_that_is_not_given(bare: dict[str, str], home: Path, work: str) -> None:
    """A prompt that is refused or not answered in time is named, within 5 s, and nothing is written elsewhere."""
    replies, content, result = _ASKING[work]
    for completed, reason in (((True, result), "which was refused\n"), (None, "nobody gave it in time\n")):
        with Bus() as bus, Service(bus, replies, completed=completed):
            env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address}
            began = time.monotonic()
            outcome = call("keyring", work.partition(",")[0], content, env)
            assert time.monotonic() - began < 5 + patience(0.5)
            assert_unavailable(outcome, f"the keyring asked for leave, {'and ' * (completed is None)}{reason}")
    assert embedded_files(home) == []


def test_waiting_for_a_turn_counts(desktop: dict[str, str], bare: dict[str, str], home: Path) -> None:
    """A rival that does not go on and then a keyring that does not answer are 5 s together."""
    keep(desktop)
    (lock,) = (home / ".local/share/credhelpers").glob("lock-*")
    replies = {member: reply for member, reply in _PROMPTING.items() if member.startswith("Get ")}
    with Bus() as bus, Service(bus, replies) as service, lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.monotonic()
        content = document(HOST, "bob", "made-up")
        result = call("keyring", "store", content, bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address})
        assert time.monotonic() - began < 5 + patience(0.5)
        assert_unavailable(result, "the keyring does not answer")
        assert service.asked[-1] == "SearchItems"


def test_an_exact_get_asks_little(desktop: dict[str, str], bare: dict[str, str]) -> None:
    """No collection is enumerated: a search for each spelling, and one for what differs in the case of its letters."""
    with Bus() as bus, Service(bus, {"SearchItems": ("aoao", ([], []))}) as service:
        assert_absent(bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address})
        assert service.asked == ["SearchItems"] * (len(Authority(HOST).spellings()) + 1)


# --- a keyring today and none tomorrow -------------------------------------------------------------------------------


def test_an_entry_in_a_keyring_out_of_reach(desktop: dict[str, str], bare: dict[str, str], home: Path) -> None:
    """It is neither answered nor denied, listed, replaced or forgotten; back in the desktop, all is as before."""
    keep(desktop, HUB)
    for asked in (HUB, "docker.io", "https://index.docker.io"):
        result = call("keyring", "get", asked, bare)
        assert result.out == ELSEWHERE
        assert_unavailable(result, "this entry is in the OS keyring")
    assert call("keyring", "list", "unused", bare).listing == {}
    assert call("keyring", "store", document(HUB, "bob", "made-up"), bare).out == ELSEWHERE
    assert call("keyring", "erase", HUB, bare).out == ELSEWHERE
    assert_absent(bare, OTHER)
    assert embedded_files(home) == []
    assert get(desktop, HUB) == ("ann", "made-up")
    assert call("keyring", "erase", "docker.io", desktop).code == 0
    assert_absent(bare, HUB)
    keep(bare, HUB, "bob", "after")
    assert get(bare, HUB) == ("bob", "after")


def test_an_entry_of_dockers_is_remembered_once_seen(desktop: dict[str, str], bare: dict[str, str]) -> None:
    """What docker's helper stored is protected in the same way from the first `get` on."""
    assert docker("store", document(HOST, "ann", "made-up"), desktop).code == 0
    assert_absent(bare)
    assert get(desktop) == ("ann", "made-up")
    assert call("keyring", "get", HOST, bare).out == ELSEWHERE


def test_an_entry_that_another_program_removed(desktop: dict[str, str], bare: dict[str, str], keyring: Keyring) -> None:
    """Once a keyring within reach has answered that it has none, nobody is sent there any more."""
    keep(desktop)
    keyring.clear()
    assert call("keyring", "get", HOST, bare).out == ELSEWHERE
    assert_absent(desktop)
    assert_absent(bare)
    keep(bare, HOST, "bob", "after")
    assert get(bare) == ("bob", "after")


def test_a_logout_out_of_reach(desktop: dict[str, str], bare: dict[str, str], home: Path) -> None:
    """What is within reach is forgotten, and it is said that the keyring has another name of the registry."""
    keep(bare, "a.example", "bob", "embedded")
    keep(bare, "https://a.example/v2/", "bob", "embedded")
    keep(desktop, "https://a.example")
    assert call("keyring", "erase", "a.example", bare).out == ELSEWHERE
    assert embedded_files(home) == ["identity.txt"]
    assert get(desktop, "a.example") == ("ann", "made-up")
    keep(desktop, "b.example/team/app")
    keep(bare, "b.example/team", "bob", "embedded")
    assert call("keyring", "erase", "b.example/team/app", bare).out == ELSEWHERE
    assert get(bare, "b.example/team") == ("bob", "embedded")


def test_an_embedded_entry_where_there_is_a_keyring(
    desktop: dict[str, str], bare: dict[str, str], home: Path, keyring: Keyring
) -> None:
    """It answers until the next login, which moves it to the keyring; `list` shows both places, `erase` clears both."""
    keep(bare, HOST, "ann", "embedded")
    keep(bare, OTHER, "bob", "embedded")
    keep(desktop, "third.example", "cid", "keyring")
    assert get(desktop) == ("ann", "embedded")
    assert call("keyring", "list", "unused", desktop).listing == {HOST: "ann", OTHER: "bob", "third.example": "cid"}
    keep(desktop, HOST, "ann", "keyring")
    assert get(desktop) == ("ann", "keyring")
    assert call("keyring", "get", HOST, bare).out == ELSEWHERE
    assert len(embedded_files(home)) == 2, "the identity and one entry"
    assert call("keyring", "erase", OTHER, desktop).code == 0
    assert_absent(bare, OTHER)
    assert_absent(desktop, OTHER)
    assert get(desktop) == ("ann", "keyring")


def test_the_keyring_wins(desktop: dict[str, str], bare: dict[str, str]) -> None:
    """Where both have an entry, made so by force, the keyring answers, and `erase` forgets both."""
    keep(desktop, HOST, "ann", "keyring")
    keep(bare | {"CREDHELPERS_KEYRING": "embedded"}, HOST, "bob", "embedded")
    assert get(desktop) == ("ann", "keyring")
    assert call("keyring", "list", "unused", desktop).listing == {HOST: "ann"}
    assert call("keyring", "erase", HOST, desktop).code == 0
    for env in (desktop, bare, bare | {"CREDHELPERS_KEYRING": "embedded"}):
        assert_absent(env)


def test_an_exact_embedded_entry_beats_an_alias_in_the_keyring(desktop: dict[str, str], bare: dict[str, str]) -> None:
    """The key counts first, then the place."""
    keep(desktop, "https://host.example", "ann", "keyring")
    keep(bare, "host.example", "bob", "embedded")
    assert get(desktop, "host.example") == ("bob", "embedded")
    assert get(desktop, "https://host.example") == ("ann", "keyring")


def test_a_locked_keyring_and_embedded_entries(bare: dict[str, str], tmp_path: Path) -> None:
    """What lies in the embedded store answers while the keyring is locked; what may be in the keyring does not."""
    with Keyring() as bus:
        env = bare | {"DBUS_SESSION_BUS_ADDRESS": bus.address}
        keep(env, HOST, "ann", "keyring")
        keep(bare, OTHER, "bob", "embedded")
        bus.lock()
        assert_unavailable(call("keyring", "get", HOST, env), "the keyring is locked")
        assert_absent(env, "third.example")
        assert get(env, OTHER) == ("bob", "embedded")
        assert_unavailable(call("keyring", "erase", HOST, env), "the keyring is locked")
        assert call("keyring", "list", "unused", env) == Result(0, f'{{"{OTHER}": "bob"}}\n'.encode(), b"")


def test_the_index_holds_no_secret(desktop: dict[str, str], home: Path) -> None:
    """Beside the keyring there are names of registries in private files, and no user name."""
    keep(desktop, HOST, "confidential-user", "confidential-secret")
    files = [path for path in (home / ".local/share/credhelpers").iterdir() if not path.name.startswith("lock-")]
    assert [path.read_text() for path in files] == [HOST]
    assert files[0].stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", ["no home", "a link", "read-only"])
def test_a_keyring_works_without_a_home(desktop: dict[str, str], home: Path, tmp_path: Path, spoil: str) -> None:
    """Where the index cannot be kept, the keyring still stores, answers and forgets."""
    if spoil == "no home":
        desktop["HOME"] = "/dev/null"
    elif spoil == "a link":
        (tmp_path / "moved").mkdir()
        (home / ".local/share").mkdir(parents=True)
        (home / ".local/share/credhelpers").symlink_to(tmp_path / "moved")
    else:
        desktop["HOME"] = "/proc/self"
    keep(desktop)
    assert get(desktop) == ("ann", "made-up")
    assert_absent(desktop | {"CREDHELPERS_KEYRING": "secret-service"}, OTHER)
    if spoil != "a link":
        assert call("keyring", "list", "unused", desktop).listing == {HOST: "ann"}
        assert call("keyring", "erase", HOST, desktop).code == 0
        assert_absent(desktop)


# --- chosen by hand --------------------------------------------------------------------------------------------------


def test_embedded_by_choice(desktop: dict[str, str], keyring: Keyring, home: Path) -> None:
    """`CREDHELPERS_KEYRING=embedded` never asks the keyring."""
    chosen = desktop | {"CREDHELPERS_KEYRING": "embedded"}
    keep(desktop, OTHER)
    keep(chosen)
    assert get(chosen) == ("ann", "made-up")
    assert call("keyring", "list", "unused", chosen).listing == {HOST: "ann"}
    assert [item[0] for item in keyring.items()] == [OTHER]
    assert len(embedded_files(home)) == 2
    assert call("keyring", "get", OTHER, chosen).out == ELSEWHERE
    keep(chosen, OTHER, "bob", "second")
    assert get(chosen, OTHER) == ("bob", "second")
    assert get(desktop, OTHER) == ("ann", "made-up")
    assert call("keyring", "erase", OTHER, chosen).code == 0
    assert_absent(chosen, OTHER)
    assert get(desktop, OTHER) == ("ann", "made-up"), "the keyring's own entry was not touched"


def test_embedded_by_choice_ignores_a_silent_bus(bare: dict[str, str]) -> None:
    """Nothing of the bus is touched: no second is lost on a silent one."""
    with Bus() as bus, silent_socket(bus.folder) as address:
        env = bare | {"CREDHELPERS_KEYRING": "embedded", "DBUS_SESSION_BUS_ADDRESS": address}
        began = time.monotonic()
        keep(env)
        assert get(env) == ("ann", "made-up")
        assert time.monotonic() - began < patience(3)


def test_a_keyring_by_choice(desktop: dict[str, str], bare: dict[str, str], home: Path) -> None:
    """`CREDHELPERS_KEYRING=secret-service` uses the keyring, and fails where there is none."""
    keep(bare, OTHER, "ann", "embedded")
    chosen = {"CREDHELPERS_KEYRING": "secret-service"}
    keep(desktop | chosen)
    assert get(desktop | chosen) == ("ann", "made-up")
    assert call("keyring", "list", "unused", desktop | chosen).listing == {HOST: "ann"}
    assert_absent(desktop | chosen, OTHER)
    for verb, content in (
        ("get", OTHER.encode()),
        ("store", document(HOST, "ann", "made-up")),
        ("erase", HOST.encode()),
    ):
        result = call("keyring", verb, content, bare | chosen)
        assert_unavailable(result, "there is no Secret Service in this session")
    assert call("keyring", "list", "unused", bare | chosen).listing == {}
    assert len(embedded_files(home)) == 2


@pytest.mark.parametrize("verb", ["get", "store", "erase"])
@pytest.mark.parametrize("choice", ["plaintext", "EMBEDDED", "secret-service ", "keychain", "\u00e4"])
def test_an_unknown_choice_is_refused(bare: dict[str, str], home: Path, verb: str, choice: str) -> None:
    """A value that names no store is an error that names those that there are."""
    content = document(HOST, "ann", "made-up") if verb == "store" else HOST.encode()
    result = call("keyring", verb, content, bare | {"CREDHELPERS_KEYRING": choice})
    assert_unavailable(result, "the choices are embedded and secret-service\n")
    assert choice not in result.out.decode() or choice == "secret-service "
    assert list(home.iterdir()) == []


# --- hostile surroundings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "store", "erase", "list"])
def test_the_environment_brings_in_no_code(env: dict[str, str], home: Path, tmp_path: Path, verb: str) -> None:
    """`PYTHON_KEYRING_BACKEND`, a `keyringrc.cfg` and modules lying about are not looked at (SH-6)."""
    planted = tmp_path / "planted"
    planted.mkdir()
    source = f"open({str(tmp_path / 'executed')!r}, 'w').close()\n"
    for name in ("evil", "keyring", "secretstorage", "jeepney", "pyrage", "json", "sitecustomize", "usercustomize"):
        (planted / f"{name}.py").write_text(source)
    for folder in (".config/python_keyring", ".local/share/python_keyring"):
        (home / folder).mkdir(parents=True)
        config = f"[backend]\ndefault-keyring=evil.Keyring\nkeyring-path={planted}\n"
        (home / folder / "keyringrc.cfg").write_text(config)
    hostile = env | {
        "PYTHON_KEYRING_BACKEND": "evil.Keyring",
        "PYTHONPATH": str(planted),
        "PYTHONSTARTUP": str(planted / "evil.py"),
        "XDG_CONFIG_HOME": str(home / ".config"),
    }
    keep(env)
    content = document(HOST, "bob", "new") if verb == "store" else HOST.encode()
    assert call("keyring", verb, content, hostile).code == 0
    assert not (tmp_path / "executed").exists()


def test_help_is_a_manual(bare: dict[str, str]) -> None:
    """`--help` tells what a man page would."""
    result = call("keyring", "--help", b"", bare)
    assert (result.code, result.err) == (0, b"")
    for word in (
        *("credsStore", "CREDHELPERS_KEYRING", "CREDHELPERS_AGE_IDENTITY", "DBUS_SESSION_BUS_ADDRESS", "XDG_DATA_HOME"),
        *("identity.txt", "EXIT STATUS", "SEE ALSO", "secret-service", "embedded"),
    ):
        assert word.encode() in result.out
    assert max(map(len, result.out.splitlines())) <= 120


# --- other systems' keyrings -----------------------------------------------------------------------------------------


class Chain:
    """Stands in for the keychain of macOS."""

    kept: ClassVar[dict[tuple[str, str], str]] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Chain]:
    """An empty keychain, in the place of the one that `keyring` would give."""
    monkeypatch.setattr(Chain, "kept", {})
    monkeypatch.setattr(system, "backend", lambda: Chain)
    return Chain


@pytest.fixture
def helper(home: Path, chain: type[Chain]) -> Helper:
    """The helper as it is on macOS."""
    return Helper({b"HOME": os.fsencode(home)}, "darwin")


def test_a_keychain_keeps_lists_and_forgets(helper: Helper, chain: type[Chain], home: Path) -> None:
    """The library cannot list; the index can, and names only what is still there."""
    for server, username in ((HOST, "ann"), (HUB, "<token>"), (OTHER, "bob")):
        helper.store(Authority(server), Credential(username, "made-up \u00fc\n" + server))
    assert helper.list() == {HOST: "ann", HUB: "<token>", OTHER: "bob"}
    assert helper.get(Authority("docker.io")).expose() == ("<token>", "made-up \u00fc\n" + HUB)
    assert {service.partition(":")[0] for service, _ in chain.kept} == {"docker-credential-keyring"}
    helper.erase(Authority(HUB))
    with pytest.raises(HelperError, match="not found"):
        helper.get(Authority(HUB))
    chain.kept.pop((f"docker-credential-keyring:{OTHER}", "docker"))  # by hand, in the keychain's own program
    assert helper.list() == {HOST: "ann"}
    helper.store(Authority(HOST), Credential("cid", "second"))
    assert helper.list() == {HOST: "cid"}
    assert embedded_files(home) == []


def test_a_swapped_keychain_entry_does_not_answer(helper: Helper, chain: type[Chain]) -> None:
    """What another program wrote into an entry is damage."""
    helper.store(Authority(HOST), Credential("ann", "made-up"))
    key = (f"docker-credential-keyring:{HOST}", "docker")
    for content in ("plain", chain.kept[key].replace(HOST, OTHER), ""):
        chain.kept[key] = content
        with pytest.raises(Unavailable, match="damaged"):
            helper.get(Authority(HOST))


def test_a_locked_keychain_is_named(helper: Helper, chain: type[Chain], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the library is Unavailable, without its text, and nothing goes to the embedded store."""
    from keyring.errors import KeyringLocked

    def refuse(*_: object) -> None:
        raise KeyringLocked("made-up text with a secret")

    helper.store(Authority(HOST), Credential("ann", "made-up"))

    for method in ("get_password", "set_password", "delete_password"):
        monkeypatch.setattr(chain, method, refuse)
    for work in (
        lambda: helper.get(Authority(HOST)),
        lambda: helper.store(Authority(HOST), Credential("ann", "made-up")),
        lambda: helper.erase(Authority(HOST)),
    ):
        with pytest.raises(Unavailable, match=r"^the keyring failed: KeyringLocked$") as raised:
            work()
        assert "security unlock-keychain" in raised.value.hint


def test_a_hanging_keychain_is_left_behind(helper: Helper, chain: type[Chain], monkeypatch: pytest.MonkeyPatch) -> None:
    """A call into the system that does not return is given up."""
    import threading

    release = threading.Event()
    monkeypatch.setattr(system, "PATIENCE", 0.1)
    helper.store(Authority(HOST), Credential("ann", "made-up"))
    monkeypatch.setattr(chain, "get_password", lambda *_: release.wait(20))
    with pytest.raises(Unavailable, match="does not answer"):
        helper.get(Authority(HOST))
    release.set()


def test_a_defect_is_not_swallowed(helper: Helper, chain: type[Chain], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no error of a keyring goes up as it is."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(chain, "get_password", fail)
    with pytest.raises(ZeroDivisionError):
        helper.get(Authority(HOST))


def test_choices_elsewhere(home: Path, chain: type[Chain]) -> None:
    """Each system names its own keyring; that of another one is refused."""
    environ = {b"HOME": os.fsencode(home)}
    Helper(environ | {b"CREDHELPERS_KEYRING": b"keychain"}, "darwin").store(
        Authority(HOST), Credential("ann", "made-up")
    )
    assert len(chain.kept) == 1
    Helper(environ | {b"CREDHELPERS_KEYRING": b"embedded"}, "darwin").store(
        Authority(OTHER), Credential("ann", "made-up")
    )
    assert len(chain.kept) == 1
    with pytest.raises(Refused, match="embedded and keychain"):
        Helper(environ | {b"CREDHELPERS_KEYRING": b"secret-service"}, "darwin").list()


def test_the_backend_is_named_and_nothing_is_discovered(tmp_path: Path) -> None:
    """The class is the one by name, whatever the environment says, and importing it chooses no other."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")
    (tmp_path / "keyringrc.cfg").write_text(f"[backend]\ndefault-keyring=evil.Keyring\nkeyring-path={tmp_path}\n")
    script = """
import sys
from credhelpers.stores.system import backend
made = backend()
assert (made.__module__, made.__qualname__) == ("keyring.backends.macOS", "Keyring"), made
from keyring import core
assert core._keyring_backend is None
assert "evil" not in sys.modules
assert "keyring.backends.chainer" not in sys.modules
"""
    env = environment(
        tmp_path, PYTHON_KEYRING_BACKEND="evil.Keyring", PYTHONPATH=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path)
    )
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "executed").exists()
