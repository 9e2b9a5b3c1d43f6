"""Who came first: another user of the machine at the places where a keyring or an agent of Vault is looked for.

The strangers are real processes of other users, so this needs root. What they heard is all that counts.
"""

from __future__ import annotations

import ctypes
import json
import os
import posix
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import pytest

import credhelpers.stores.secretservice as keyring
from credhelpers import files, guard, peer, userns
from credhelpers.stores.folder import Folder
from credhelpers.stores.index import Index
from credhelpers.vault.connection import Connection, Server
from credhelpers.vault.vault_errors import Final
from tests.fakes.secretservice import Bus, Keyring
from tests.fakes.stranger import STRANGER, THIRD, VICTIM, Stranger, agent, as_user, named_on
from tests.harness import call, document, environment, lacking, need
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

HOST = "registry.example:5000"
CANARY = "made-up-password-of-the-victim"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, since that of a socket has at most 107 bytes, in which anybody may enter."""
    need_root("a process of another user")
    folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/run"))  # nobody but root may write above it
    folder.chmod(0o755)
    yield folder / "place"
    shutil.rmtree(folder)


def make(path: Path, mode: int = 0o755, owner: int = 0, group: int | None = None) -> Path:
    """A directory of somebody's."""
    path.mkdir(parents=True)
    os.chown(path, owner, owner if group is None else group)
    path.chmod(mode)
    return path


# --- the session bus --------------------------------------------------------------------------------------------------

# Where the stranger listens below PLACE, whose directory that is, with which mode, and what the victim's variables say.
_BUSES = [
    pytest.param("shared/bus", 0, 0o1777, {"XDG_RUNTIME_DIR": "{place}/shared"}, id="a shared runtime directory"),
    pytest.param("shared/bus", 0, 0o777, {"XDG_RUNTIME_DIR": "{place}/shared"}, id="the same without the sticky bit"),
    pytest.param("shared/bus", 0, 0o1777, {"XDG_RUNTIME_DIR": "{place}/shared/"}, id="the same with a slash"),
    pytest.param("shared/bus", 0, 0o1777, {"XDG_RUNTIME_DIR": "{place}/link"}, id="a link to it"),
    pytest.param("his/bus", STRANGER, 0o700, {"XDG_RUNTIME_DIR": "{place}/his"}, id="as after sudo -E"),
    pytest.param("his/bus", STRANGER, 0o755, {"XDG_RUNTIME_DIR": "{place}/his"}, id="another's open runtime directory"),
    pytest.param(
        "shared/bus",
        *(0, 0o1777, {"XDG_RUNTIME_DIR": "{place}/shared", "DBUS_SESSION_BUS_ADDRESS": "unix:runtime=yes"}),
        id="the runtime directory by its word",
    ),
    pytest.param(
        "his/bus", STRANGER, 0o700, {"DBUS_SESSION_BUS_ADDRESS": "unix:path={place}/his/bus"}, id="his by its path"
    ),
    pytest.param(
        "shared/x", 0, 0o1777, {"DBUS_SESSION_BUS_ADDRESS": "unix:path={place}/shared/x"}, id="a path in a shared place"
    ),
    pytest.param(
        "@{place}/dbus-X",
        *(0, 0o755, {"DBUS_SESSION_BUS_ADDRESS": "unix:abstract={place}/dbus-X,guid=0123456789abcdef0123456789abcdef"}),
        id="an abstract address that outlived its session",
    ),
    pytest.param(
        "his/bus",
        *(STRANGER, 0o755, {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/gone;unix:path={place}/his/b%75s"}),
        id="the second one, escaped",
    ),
    pytest.param(
        "his/bus",
        *(STRANGER, 0o755, {"DBUS_SESSION_BUS_ADDRESS": "unix:path={place}/his/bus;unix:path={own}"}),
        id="before our own",
    ),
    pytest.param("his/bus", STRANGER, 0o755, {"XDG_RUNTIME_DIR": "{place}/ours"}, id="a link in our own directory"),
]


@pytest.mark.parametrize("verb", ["get", "store", "erase", "list"])
@pytest.mark.parametrize(("where", "owner", "mode", "variables"), _BUSES)
def test_a_strangers_bus_hears_nothing(
    place: Path,
    tmp_path: Path,
    home: Path,
    where: str,
    owner: int,
    mode: int,
    variables: dict[str, str],
    verb: str,
) -> None:
    """It is refused with the reason and a command, before the first byte, and nothing falls back in silence."""
    make(place / where.partition("/")[0] if not where.startswith("@") else place / "none", mode, owner)
    make(place / "ours", 0o700).joinpath("bus").symlink_to(place / "his/bus")
    (place / "link").symlink_to("shared")
    own = place / "nothing"
    env = environment(home, **{name: text.format(place=place, own=own) for name, text in variables.items()})
    address = where.format(place=place) if where.startswith("@") else str(place / where)

    folder = Folder(os.fsencode(home / ".local/share/credhelpers"))
    Index(folder).add(HOST)  # what was kept on a better day
    with Stranger(address, tmp_path) as stranger:
        result = call("keyring", verb, document(HOST, "ann", CANARY) if verb == "store" else HOST, env)

        assert stranger.heard == b""
    assert not list(home.rglob("*.age"))
    if verb == "list":  # which never fails
        assert result.listing == {}
        return
    assert result.code == 1, result
    assert b"session bus is " in result.out
    assert b"`unset DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR`" in result.err


@pytest.mark.parametrize(
    "variables",
    [
        {"XDG_RUNTIME_DIR": "{place}/shared"},
        {"DBUS_SESSION_BUS_ADDRESS": "unix:path={place}/shared/bus"},
        {"DBUS_SESSION_BUS_ADDRESS": "unix:abstract={place}/bus"},
    ],
)
def test_an_ordinary_users_password_stays(place: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    """The same where the victim is not root: the finder itself, run as such a user."""
    make(place / "shared", 0o1777)
    environ = {name.encode(): text.format(place=place).encode() for name, text in variables.items()}
    address = next(iter(variables.values())).format(place=place)
    bound = "@" + address.partition("=")[2] if "abstract" in address else str(place / "shared/bus")

    with Stranger(bound, tmp_path) as stranger:
        said = as_user(VICTIM, lambda: keyring.find(environ, Folder(None)))

        assert stranger.heard == b""
    assert said.startswith("Unavailable: the session bus is "), said


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o755, 0o770, 0o777])
def test_our_own_bus_in_a_directory_that_others_may_enter(place: Path, home: Path, mode: int) -> None:
    """`$XDG_RUNTIME_DIR` is believed as the cache believes it; the same bus by its own address is another thing."""
    with Keyring() as bus:
        bus.folder.chmod(mode)
        Index(Folder(os.fsencode(home / ".local/share/credhelpers"))).add(HOST)
        refused = call("keyring", "get", HOST, environment(home, XDG_RUNTIME_DIR=str(bus.folder)))
        bus.folder.chmod(0o700)
        mended = call("keyring", "list", "", environment(home, XDG_RUNTIME_DIR=str(bus.folder)))
        bus.folder.chmod(mode)
        found = call("keyring", "list", "", environment(home, DBUS_SESSION_BUS_ADDRESS=bus.address))

    assert refused.code == 1
    assert mended.listing == {}
    assert b"in a directory that is not this user's alone\n" in refused.out
    assert found.listing == {}
    assert (b'`chmod 700 "$XDG_RUNTIME_DIR"`' in refused.err) is not bool(mode & 0o022), "what is shared stays shared"


def test_a_runtime_directory_without_a_bus_leads_to_the_embedded_store(place: Path, home: Path) -> None:
    """As in a container, where it is /tmp: nobody listens, and nobody is refused."""
    make(place / "shared", 0o1777)
    env = environment(home, XDG_RUNTIME_DIR=str(place / "shared"))

    assert call("keyring", "store", document(HOST, "ann", CANARY), env).code == 0
    assert call("keyring", "get", HOST, env).credential["Secret"] == CANARY


# --- a bus of root's --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [VICTIM, 0])
@pytest.mark.parametrize("who", ["we", "root", "a stranger"])
def test_on_roots_bus_the_keyring_must_be_ours(place: Path, user: int, who: str) -> None:
    """Root's bus may have many users; whoever took the keyring's name there is asked for, also if we are root."""
    owner = {"we": user, "root": 0, "a stranger": STRANGER}[who]
    is_believed = who != "a stranger"
    with Bus(everybody=True) as bus:
        bus.folder.chmod(0o755)
        environ = {b"DBUS_SESSION_BUS_ADDRESS": bus.address.encode()}
        with named_on(bus.address, owner):
            said = as_user(user, lambda: keyring.find(environ, Folder(None)))

    assert ("SecretService object" in said) is is_believed, said
    assert ("the keyring on the session bus is another user's" in said) is not is_believed


# --- in a user namespace ----------------------------------------------------------------------------------------------


@pytest.fixture
def _namespaces() -> None:
    """User namespaces can be made here."""
    if subprocess.run([need("unshare", "util-linux"), "--user", "true"], check=False, capture_output=True).returncode:
        lacking("user namespaces are switched off; `sysctl -w user.max_user_namespaces=1000` allows them")


@pytest.mark.usefixtures("_namespaces")
def test_the_keyring_from_inside_a_user_namespace(place: Path) -> None:
    """As rootless podman and buildah call: our number is 0 there, and the bus knows us by the one outside."""
    with Bus(user=VICTIM) as bus:
        environ = {b"DBUS_SESSION_BUS_ADDRESS": bus.address.encode()}

        def find() -> object:
            _enter(b"0 %d 1" % VICTIM)
            return posix.geteuid(), keyring.find(environ, Folder(None))

        with named_on(bus.address, VICTIM):
            said = as_user(VICTIM, find)

    assert said.startswith("(0, <credhelpers.stores.secretservice.SecretService object"), said


@pytest.mark.usefixtures("_namespaces")
@pytest.mark.parametrize(
    "mapping", [b"0 %d 1" % VICTIM, b"%d %d 1" % (VICTIM, VICTIM), b""], ids=["as root", "as ourselves", "as nobody"]
)
def test_a_stranger_has_no_number_in_a_user_namespace(place: Path, tmp_path: Path, mapping: bytes) -> None:
    """He is shown as the overflow user; so are we where nobody has a number, and then nobody can be told apart."""
    make(place / "shared", 0o1777)
    environ = {b"DBUS_SESSION_BUS_ADDRESS": b"unix:path=%b/shared/bus" % os.fsencode(place)}

    def find() -> object:
        _enter(mapping)
        return keyring.find(environ, Folder(None))

    with Stranger(str(place / "shared/bus"), tmp_path) as stranger:
        said = as_user(VICTIM, find)

        assert stranger.heard == b""
    assert "in this user namespace, and no password goes there" in said, said


@pytest.mark.usefixtures("_namespaces")
def test_nobody_is_nobody_in_particular(place: Path, tmp_path: Path) -> None:
    """Who runs as the overflow user in a namespace is shown like a stranger without a number."""
    make(place / "shared", 0o1777)
    environ = {b"DBUS_SESSION_BUS_ADDRESS": b"unix:path=%b/shared/bus" % os.fsencode(place)}

    def find() -> object:
        _enter(b"65534 %d 1" % VICTIM)
        return posix.geteuid(), keyring.find(environ, Folder(None))

    with Stranger(str(place / "shared/bus"), tmp_path) as stranger:
        said = as_user(VICTIM, find)

        assert stranger.heard == b""
    assert "in this user namespace, and no password goes there" in said, said


@pytest.mark.usefixtures("_namespaces")
@pytest.mark.parametrize(
    "mapping", [b"0 %d 1" % VICTIM, b"%d %d 1" % (VICTIM, VICTIM)], ids=["as root", "as ourselves"]
)
@pytest.mark.parametrize(
    ("directory", "mode", "owner", "is_trusted"),
    [
        pytest.param(0o755, 0o644, 0, True, id="2.A5, root's"),
        pytest.param(0o755, 0o640, 0, True, id="root's, for a group"),
        pytest.param(0o755, 0o664, 0, False, id="root's, that a group may write"),
        pytest.param(0o755, 0o646, 0, False, id="root's, that all may write"),
        pytest.param(0o1777, 0o644, 0, False, id="in a shared place, where it may be anybody's"),
        pytest.param(0o1777, 0o644, STRANGER, False, id="a stranger's in a shared place"),
        pytest.param(0o777, 0o644, 0, False, id="where anybody may put another"),
        pytest.param(0o755, 0o600, VICTIM, True, id="our own"),
        pytest.param(0o1777, 0o644, VICTIM, True, id="our own in a shared place"),
    ],
)
def test_whose_file_counts_in_a_user_namespace(
    place: Path, mapping: bytes, directory: int, mode: int, owner: int, *, is_trusted: bool
) -> None:
    """Root has no number there: its file is known by a way on which nobody else may write."""
    file = make(place, directory) / "config.toml"
    file.write_text("")
    os.chown(file, owner, owner)
    file.chmod(mode)

    def ask() -> object:
        _enter(mapping)
        return files.mending(os.fsencode(file), file.stat()) or "trusted"

    said = as_user(VICTIM, ask)

    assert (said == "trusted") is is_trusted, said
    assert is_trusted or f"chown {VICTIM} " in said or "chmod" in said


def _enter(mapping: bytes) -> None:
    """Go into a user namespace in which the numbers are these (user_namespaces(7), "uid_map")."""
    system = ctypes.CDLL(None, use_errno=True)
    system.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE of <linux/prctl.h>: who has changed its user may not write there
    if system.unshare(0x10000000):  # CLONE_NEWUSER of <linux/sched.h>
        raise OSError(ctypes.get_errno(), "unshare")
    if mapping:
        Path("/proc/self/uid_map").write_bytes(mapping)
    guard.forbid_dumps()  # as in every call, and what is in /proc can be read even so


_EVERYBODY = b"         0          0 4294967295\n"


@pytest.mark.parametrize(
    ("numbers", "overflow", "user", "is_anybody"),
    [
        pytest.param(_EVERYBODY, b"65534\n", 65534, False, id="nobody where all have a number"),
        pytest.param(_EVERYBODY, b"65534\n", 0, False, id="root where all have a number"),
        pytest.param(b"0 1000 1\n", b"65534\n", 65534, True, id="one has a number"),
        pytest.param(b"0 1000 1\n", b"65534\n", 0, False, id="that one"),
        pytest.param(b"0 1000 1\n1 100000 65536\n", b"65534\n", 65534, True, id="as in a container of podman"),
        pytest.param(b"0 1000 1\n", b"99\n", 99, True, id="another overflow user"),
        pytest.param(b"0 1000 1\n", b"99\n", 65534, False, id="the usual one where it is another"),
        pytest.param(b"", b"", 65534, True, id="no /proc"),
        pytest.param(b"", b"", 1000, False, id="no /proc, and a number"),
        pytest.param(b"0 0 4294967294\n", b"65534\n", 65534, True, id="all but one have a number"),
        pytest.param(b"1 0 4294967295\n", b"65534\n", 65534, True, id="all are moved by one"),
        pytest.param(b"0 0\n", b"65534\n", 65534, True, id="a line cut short"),
    ],
)
def test_which_number_may_be_anybody(
    monkeypatch: pytest.MonkeyPatch, numbers: bytes, overflow: bytes, user: int, *, is_anybody: bool
) -> None:
    """The overflow user, wherever not everybody has a number."""
    said = {"/proc/self/uid_map": numbers, "/proc/sys/kernel/overflowuid": overflow}
    monkeypatch.setattr(userns, "_read", said.__getitem__)
    monkeypatch.setattr("sys.platform", "linux")

    assert userns.is_anybody(user) is is_anybody

    monkeypatch.setattr("sys.platform", "darwin")
    assert not userns.is_anybody(user)


def test_what_the_kernel_says_here() -> None:
    """It can be read, and what is not there is nothing."""
    assert len(userns._read("/proc/self/uid_map").split()) % 3 == 0
    assert userns._read("/proc/self/none") == b""


# --- who is at the other end ------------------------------------------------------------------------------------------


def test_the_user_at_the_other_end(tmp_path: Path) -> None:
    """Ours of a socket of our own, by both ways of asking."""
    left, right = socket.socketpair()
    with left, right:
        assert peer.user(left) == posix.geteuid()
        if not list(Path("/usr/lib").rglob("libbsd.so.0")):
            lacking("libbsd, which asks as macOS does, is not here; get it with `apt-get install libbsd0`")
        assert peer._getpeereid(left.fileno(), "libbsd.so.0") == posix.geteuid()
    with pytest.raises(OSError, match="getpeereid"):
        peer._getpeereid(left.fileno(), "libbsd.so.0")


def test_elsewhere_the_system_is_asked_by_its_own_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that macOS has."""
    left, right = socket.socketpair()
    with left, right:
        monkeypatch.setattr("sys.platform", "darwin")
        monkeypatch.setattr(peer, "_getpeereid", lambda descriptor: 501 if descriptor == left.fileno() else 0)
        assert peer.user(left) == 501


# --- the agent of Vault -----------------------------------------------------------------------------------------------

_SHARED_GROUP = 50  # `staff` on Debian: not a private group
# The directories from PLACE on, with owner and mode; what is between the socket's name and its place; whether to talk.
_AGENTS = [
    pytest.param([("run", STRANGER, 0o755)], "run/agent", True, id="in a directory of its own"),
    pytest.param([("run", 0, 0o755), ("run/vault", STRANGER, 0o711)], "run/vault/agent", True, id="below root's"),
    pytest.param([("run", STRANGER, 0o755)], "link/agent", True, id="by a link in root's directory"),
    pytest.param([("run", 0, 0o1777)], "run/agent", False, id="in a shared directory"),
    pytest.param([("run", 0, 0o777)], "run/agent", False, id="in one without the sticky bit"),
    pytest.param([("run", 0, 0o1777), ("run/a", STRANGER, 0o755)], "run/a/agent", False, id="his below a shared one"),
    pytest.param([("run", 0, 0o775)], "run/agent", False, id="where a group may write"),
    pytest.param([("run", THIRD, 0o755)], "run/agent", False, id="in the directory of a third one"),
    pytest.param([("run", THIRD, 0o755), ("run/a", STRANGER, 0o755)], "run/a/agent", False, id="his below a third's"),
    pytest.param([("run", STRANGER, 0o755), ("open", 0, 0o1777)], "open/link/agent", False, id="by anybody's link"),
    pytest.param([("run", STRANGER, 0o755), ("open", 0, 0o1777)], "chain/agent", False, id="by two links"),
    pytest.param([("run", STRANGER, 0o755), ("open", 0, 0o1777)], "open/../run/agent", True, id="past a shared one"),
]


_HEALTHY = agent(json.dumps({"sealed": False}).encode())


def _connection(path: Path) -> Connection:
    return Connection(Server({}, {"address": f"unix://{path}", "auth": "agent"}), monotonic() + 10)


@pytest.mark.parametrize(("directories", "name", "is_meant"), _AGENTS)
def test_an_agent_of_another_user(
    place: Path, tmp_path: Path, directories: list[tuple[str, int, int]], name: str, *, is_meant: bool
) -> None:
    """A socket that a person named may be of any user, if nobody else can have put it there; else it hears nothing."""
    make(place)
    for path, owner, mode in directories:
        make(place / path, mode, owner, _SHARED_GROUP)
    (place / "link").symlink_to(place / "run")
    if (place / "open").exists():
        (place / "open/link").symlink_to("../run")
        (place / "chain").symlink_to("open/link")

    with Stranger(str((place / name).resolve()), tmp_path, talk=_HEALTHY) as stranger:
        connection = _connection(place / name)
        if is_meant:
            assert connection.request("GET", "sys/health") == {"sealed": False}
        else:
            with pytest.raises(Final, match="others may write a directory above it"):
                connection.request("GET", "sys/health")

        assert (b"GET /v1/sys/health" in stranger.heard) is is_meant
        assert (stranger.heard == b"") is not is_meant


@pytest.mark.parametrize("owner", [VICTIM, 0])
def test_an_agent_of_our_own_or_roots_may_be_anywhere(place: Path, tmp_path: Path, owner: int) -> None:
    """Whoever may write there: the process that listens is one that may do all that we may."""
    make(place, 0o1777)

    with Stranger(str(place / "agent"), tmp_path, owner, _HEALTHY):
        connection = _connection(place / "agent")
        assert connection.client  # hvac, which such a user cannot read here
        said = as_user(VICTIM, lambda: connection.request("GET", "sys/health"))

    assert said == "{'sealed': False}"


def test_the_socket_that_was_looked_at_is_the_one_that_is_asked(place: Path, tmp_path: Path) -> None:
    """In whichever encoding the locale writes file names: the bytes of the path are those that were given."""
    make(place)
    name = place / "\u00e9"
    script = """if True:
        import sys
        from time import monotonic
        from credhelpers.stores import secretservice
        from credhelpers.vault.connection import Connection, Server
        path = sys.argv[1].encode(sys.getfilesystemencoding(), "surrogateescape").decode()
        server = Server({}, {"address": f"unix://{path}", "auth": "agent"})
        Connection(server, monotonic() + 10).request("GET", "sys/health")
        secretservice._authenticated(path.encode())
    """
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PATH": os.environ["PATH"]}
    with Stranger(str(name), tmp_path, 0, _HEALTHY) as listener:
        command = [sys.executable, "-X", "utf8=0", "-c", script, str(name)]
        done = subprocess.run(command, env=env, cwd=Path(__file__).parents[1], check=False, capture_output=True)
        heard = listener.heard

    assert b"GET /v1/sys/health" in heard, done
    assert b"\0AUTH EXTERNAL" in heard, done


@pytest.mark.parametrize("path", ["loop/agent", "gone/agent", "file/agent"])
def test_a_path_that_leads_nowhere(tmp_path: Path, path: str) -> None:
    """It is an error of the system's, as it would be for `connect`."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match=r"links|No such file|Not a directory"):
        list(files._on_the_way(os.fsencode(tmp_path / path)))


def test_a_link_of_proc_that_leads_elsewhere_than_it_says(place: Path) -> None:
    """`/proc/PID/root` is another process's `/`, and reads like ours: what was looked at would not be what is meant."""
    make(place)
    (place / "agent").touch()
    script = 'mount -t tmpfs -o mode=1777 none "$1" && touch "$1/agent" && echo && read -r _'
    with subprocess.Popen(
        [need("unshare", "util-linux"), "-m", "sh", "-c", script, "sh", place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"\n"
        with pytest.raises(OSError, match="leads elsewhere"):
            files.is_reserved(os.fsencode(f"/proc/{other.pid}/root{place}/agent"), STRANGER)
        assert files.is_reserved(os.fsencode(f"/proc/self/root{place}/agent"), STRANGER)
        other.kill()
