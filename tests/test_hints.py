"""Hints that mend: the command that a line names is run by the tool that it names, and then the call does its work.

Each row makes a case of trouble, calls, finds the command in what is said on standard error, runs exactly that in a
shell, and calls again in the same shell.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.stores.folder import Folder
from credhelpers.stores.index import Index
from tests.fakes.secretservice import Bus, Keyring, Service, silent_socket
from tests.harness import Result, call, document, environment, need
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

HOST = "registry.example:5000"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
_FAILS = "org.freedesktop.DBus.Error.Failed"
_STORE = document(HOST, "ann", "made-up").decode()


@dataclass
class Place:
    """Where a case of trouble is made: a home, a folder for other things, and what ends with the test."""

    home: Path
    folder: Path
    stack: ExitStack
    env: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.home / ".local/share/credhelpers"

    def keep(self) -> None:
        assert call("keyring", "store", _STORE, self.env) == Result(0, b"", b"")

    def bus(self, bus: Bus) -> Bus:
        self.env["DBUS_SESSION_BUS_ADDRESS"] = bus.address
        self.env["XDG_RUNTIME_DIR"] = str(bus.folder)
        return self.stack.enter_context(bus)


def _locked(place: Place) -> None:
    bus = place.bus(Keyring())
    assert isinstance(bus, Keyring)
    place.keep()
    bus.lock()


def _locked_on_a_dead_screen(place: Place) -> None:
    _locked(place)
    place.env["DISPLAY"] = ":99"


def _no_collection(place: Place) -> None:
    place.bus(Keyring(unlocked=False))


def _no_service(place: Place) -> None:
    place.bus(Bus())
    place.env["CREDHELPERS_KEYRING"] = "secret-service"


def _silent(place: Place) -> None:
    place.stack.enter_context(Service(place.bus(Bus()), {}))


def _failing(place: Place) -> None:
    place.stack.enter_context(Service(place.bus(Bus()), {"SearchItems": _FAILS, "Get Label": _FAILS}))


def _closed(place: Place) -> None:
    folder = place.stack.enter_context(Bus()).folder
    address = place.stack.enter_context(silent_socket(folder, b"REJECTED EXTERNAL\r\n"))
    place.env |= {"DBUS_SESSION_BUS_ADDRESS": address, "XDG_RUNTIME_DIR": str(folder)}


def _of_another_session(place: Place) -> None:
    need_root("another user's directory")
    bus = place.bus(Bus())
    del place.env["DBUS_SESSION_BUS_ADDRESS"]
    os.chown(bus.folder, 12345, 12345)


def _open_to_others(place: Place) -> None:
    bus = place.bus(Keyring())
    del place.env["DBUS_SESSION_BUS_ADDRESS"]
    bus.folder.chmod(0o755)


def _by_tcp(place: Place) -> None:
    place.env["DBUS_SESSION_BUS_ADDRESS"] = "tcp:host=localhost,port=1"


def _unknown_choice(place: Place) -> None:
    place.env["CREDHELPERS_KEYRING"] = "plaintext"


def _elsewhere(place: Place) -> None:
    Index(Folder(os.fsencode(place.store))).add(HOST)


def _wide(place: Place) -> None:
    place.keep()
    place.store.chmod(0o755)


def _wide_file(place: Place) -> None:
    place.keep()
    for path in place.store.glob("*.age"):
        path.chmod(0o644)


def _wide_identity(place: Place) -> None:
    place.keep()
    (place.store / "identity.txt").chmod(0o640)


def _link(place: Place) -> None:
    place.keep()
    place.store.symlink_to(place.store.rename(place.folder / "moved"))


def _file(place: Place) -> None:
    place.store.parent.mkdir(parents=True)
    place.store.write_bytes(b"")


def _blanks(place: Place) -> None:
    home = place.home / "a home with 'quotes' and $blanks"
    home.mkdir()
    place.env["HOME"] = str(home)
    place.keep()
    (home / ".local/share/credhelpers").chmod(0o755)


def _identity(make: Callable[[Path], None]) -> Callable[[Place], None]:
    def prepare(place: Place) -> None:
        path = place.folder / "key"
        make(path)
        place.env["CREDHELPERS_AGE_IDENTITY"] = str(path)

    return prepare


def _keygen(path: Path) -> None:
    subprocess.run([need("age-keygen", "age"), "-o", str(path)], check=True, capture_output=True)


def _exposed_key(path: Path) -> None:
    _keygen(path)
    path.chmod(0o644)


def _pem_key(path: Path) -> None:
    command = [
        need("ssh-keygen", "openssh-client"),
        "-q",
        "-m",
        "PEM",
        "-t",
        "rsa",
        "-b",
        "2048",
        "-N",
        "",
        "-f",
        str(path),
    ]
    subprocess.run(command, check=True)


def _protected_key(path: Path) -> None:
    command = [need("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "made-up", "-f", str(path)]
    subprocess.run(command, check=True)


def _garbage_key(path: Path) -> None:
    path.write_text("garbage")
    path.chmod(0o600)


def _relative(place: Place) -> None:
    _keygen(place.folder / "key")
    place.env["CREDHELPERS_AGE_IDENTITY"] = "key"


def _lost(place: Place) -> None:
    place.keep()
    (place.store / "identity.txt").unlink()


def _damaged(place: Place) -> None:
    place.keep()
    for path in place.store.glob("*.age"):
        path.write_bytes(path.read_bytes()[:-3])


# The case, the verb, the code, the command as the line has it, what stands in for its placeholders (None for a look).
_ROWS = [
    pytest.param(_locked, "get", "keyring-locked", "gnome-keyring-daemon --replace --unlock", {}, id="2.A7, locked"),
    pytest.param(_locked, "erase", "keyring-locked", "gnome-keyring-daemon --replace --unlock", {}, id="locked, erase"),
    pytest.param(_locked, "store", "keyring-locked", "gnome-keyring-daemon --replace --unlock", {}, id="locked, store"),
    pytest.param(
        _locked_on_a_dead_screen,
        "get",
        "keyring-locked",
        "gnome-keyring-daemon --replace --unlock",
        {},
        id="2.A7, tmux",
    ),
    pytest.param(
        _no_collection,
        "store",
        "keyring-no-collection",
        "gnome-keyring-daemon --replace --unlock",
        {},
        id="2.A7, none yet",
    ),
    pytest.param(_no_service, "store", "keyring-absent", "gnome-keyring-daemon --unlock", {}, id="no service"),
    pytest.param(_no_service, "store", "keyring-absent", "unset CREDHELPERS_KEYRING", {}, id="no service, do without"),
    pytest.param(
        _silent, "store", "keyring-slow", "busctl --user status org.freedesktop.secrets", None, id="silent, a look"
    ),
    pytest.param(_silent, "store", "keyring-slow", "export CREDHELPERS_KEYRING=embedded", {}, id="silent"),
    pytest.param(
        _failing, "store", "keyring-failed", "busctl --user status org.freedesktop.secrets", None, id="failing, a look"
    ),
    pytest.param(_failing, "store", "keyring-failed", "export CREDHELPERS_KEYRING=embedded", {}, id="failing"),
    pytest.param(
        _closed, "store", "keyring-bus-closed", "unset DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR", {}, id="2.B1, closed"
    ),
    pytest.param(
        _of_another_session,
        *("store", "keyring-bus-exposed", "unset DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR", {}),
        id="2.B1, after su",
    ),
    pytest.param(
        _open_to_others, "store", "keyring-bus-exposed", 'chmod 700 "$XDG_RUNTIME_DIR"', {}, id="open to others"
    ),
    pytest.param(_by_tcp, "store", "keyring-bus-unsupported", "export CREDHELPERS_KEYRING=embedded", {}, id="by TCP"),
    pytest.param(
        _unknown_choice, "store", "keyring-unknown-choice", "unset CREDHELPERS_KEYRING", {}, id="no such choice"
    ),
    pytest.param(_elsewhere, "store", "keyring-elsewhere", "export CREDHELPERS_KEYRING=embedded", {}, id="elsewhere"),
    pytest.param(_wide, "get", "store-exposed", "chmod -R go= {store}", {}, id="an open directory"),
    pytest.param(_wide, "erase", "store-exposed", "chmod -R go= {store}", {}, id="an open directory, erase"),
    pytest.param(_wide, "store", "store-exposed", "chmod -R go= {store}", {}, id="an open directory, store"),
    pytest.param(_wide_file, "get", "store-exposed", "chmod -R go= {store}", {}, id="an open item"),
    pytest.param(_wide_identity, "store", "store-exposed", "chmod -R go= {store}", {}, id="an open identity"),
    pytest.param(_blanks, "get", "store-exposed", "chmod -R go= {store}", {}, id="a path that a shell must be told"),
    pytest.param(
        _link,
        "get",
        "store-exposed",
        "rm {store}",
        {"rm {store}": "rm {store} && mv {folder}/moved {store}"},
        id="a link",
    ),
    pytest.param(_file, "store", "store-exposed", "mv {store} {store}.old", {}, id="no directory"),
    pytest.param(
        _relative,
        *("store", "age-identity-relative", "export CREDHELPERS_AGE_IDENTITY=/the/whole/path"),
        {"/the/whole/path": "{folder}/key"},
        id="a relative identity",
    ),
    pytest.param(
        _identity(Path.mkdir),
        "store",
        "age-identity-no-file",
        "age-keygen -o FILE",
        {"FILE": "{new}"},
        id="a directory",
    ),
    pytest.param(
        _identity(_exposed_key),
        *("store", "age-identity-exposed", 'chmod 600 "$CREDHELPERS_AGE_IDENTITY"', {}),
        id="an open key",
    ),
    pytest.param(
        _identity(_pem_key),
        *("store", "age-identity-old-format", 'ssh-keygen -p -N "" -f "$CREDHELPERS_AGE_IDENTITY"', {}),
        id="a key in an old format",
    ),
    pytest.param(
        _identity(_protected_key),
        "store",
        "age-identity-passphrase",
        "age-keygen -o FILE",
        {"FILE": "{new}"},
        id="protected",
    ),
    pytest.param(
        _identity(_garbage_key),
        "store",
        "age-identity-malformed",
        "age-keygen -o FILE",
        {"FILE": "{new}"},
        id="garbage",
    ),
    pytest.param(_lost, "get", "age-identity-gone", "docker login", {"docker login": "{login}"}, id="identity gone"),
    pytest.param(_damaged, "get", "age-damaged", "docker login", {"docker login": "{login}"}, id="damaged"),
    pytest.param(_damaged, "get", "age-damaged", "docker logout", {"docker logout": "{logout}"}, id="damaged, logout"),
]


@pytest.mark.parametrize(("prepare", "verb", "code", "command", "instead"), _ROWS)
def test_the_command_mends_it(
    home: Path,
    tmp_path: Path,
    prepare: Callable[[Place], None],
    verb: str,
    code: str,
    command: str,
    instead: dict[str, str] | None,
) -> None:
    """After it the login is kept, the item is answered or forgotten; a look (None) shows something."""
    from shlex import quote

    helper = "docker-credential-keyring"
    with ExitStack() as stack:
        place = Place(home, tmp_path, stack, environment(home))
        prepare(place)
        content = _STORE if verb == "store" else HOST
        before = call("keyring", verb, content, place.env)
        assert before.told == code
        words = {
            "store": quote(f"{place.env['HOME']}/.local/share/credhelpers"),
            "folder": quote(str(tmp_path)),
            "new": f"{tmp_path}/new && export CREDHELPERS_AGE_IDENTITY={tmp_path}/new",
            "login": f"printf %s {quote(_STORE)} | {helper} store",
            "logout": f"printf %s {HOST} | {helper} erase",
        }
        said = command.format(**words)
        assert f"`{said}`" in before.err.decode(), before
        for old, new in (instead or {}).items():
            said = said.replace(old.format(**words), new.format(**words))
        if "unlock" in said:
            said = f"(export HOME=$XDG_RUNTIME_DIR; printf made-up | {said} >/dev/null 2>&1; sleep 0.3)"
        elif "ssh-keygen" in said or "age-keygen" in said:
            said = f"{{ {said.replace(' && export', ' 2>/dev/null; export', 1)}; }} >/dev/null"
        again = f"printf %s {quote(content)} | {helper} {verb}"
        if instead is None:
            again = "echo looked"
        if "logout" in said or "erase" in said:
            again = f"printf %s {HOST} | {helper} get || true"
        done = subprocess.run(
            ["sh", "-ec", f"{said}\n{again}"],
            env=place.env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done
    assert not re.search(r"\[[a-z-]+\]$", done.stderr.strip()), done


@pytest.mark.parametrize("length", [10, 60, 120, 190])
def test_a_path_is_shown_whole(home: Path, tmp_path: Path, length: int) -> None:
    """And nothing behind it is cut off."""
    with ExitStack() as stack:
        place = Place(home, tmp_path, stack, environment(home))
        data = tmp_path / ("x" * max(length - len(str(tmp_path)) - 12, 1))
        place.env["XDG_DATA_HOME"] = str(data)
        place.keep()
        (data / "credhelpers").chmod(0o755)
        done = call("keyring", "get", HOST, place.env)
        assert f"`chmod -R go= {data}/credhelpers` closes it to others [store-exposed]" in done.err.decode()


# --- a failure does not outlive its mending --------------------------------------------------------------------------


def test_what_was_typed_answers_as_soon_as_the_keyring_is_open(home: Path, tmp_path: Path) -> None:
    """3.A6: nothing of a locked keyring is remembered."""
    with ExitStack() as stack:
        place = Place(home, tmp_path, stack, environment(home, AWS_EC2_METADATA_DISABLED="true"))
        bus = place.bus(Keyring())
        assert isinstance(bus, Keyring)
        assert call("ecr", "store", document(ECR, "robot", "made-up"), place.env).code == 0
        bus.lock()
        for _ in range(2):
            locked = call("ecr", "get", ECR, place.env)
            assert locked.told == "keyring-locked"
            assert b"remembered" not in locked.err
        unlock = "export HOME=$XDG_RUNTIME_DIR; printf made-up | gnome-keyring-daemon --replace --unlock; sleep 0.3"
        subprocess.run(["sh", "-ec", unlock], env=place.env, check=True, timeout=60, capture_output=True)
        assert call("ecr", "get", ECR, place.env).credential["Secret"] == "made-up"
