"""The `keyring` library's backends, for who names one in config.toml: KWallet, pass, 1Password, Bitwarden and more.

    [keyring]
    backend = "library"                           the one of its own that suits this session best
    backend = "keyring_pass.PasswordStoreBackend" this class, of a package that is installed beside us

Nothing else chooses: `keyring.get_keyring` is never asked, and neither variables of the library's nor its keyringrc.cfg
are followed. A class must be one that an installed package announces, as an entry point of `keyring.backends`; one that
keeps nothing, keeps it anywhere, or asks a helper of docker's is refused.

A backend is somebody else's code: it prompts, it prints, it starts programs, it hangs. So it runs in a process of its
own, in a session without a terminal, which ends with its children when its time is over.
"""

import _signal
import json
import posix
import socket
from contextlib import suppress
from time import monotonic

from credhelpers import guard, notes
from credhelpers.credential import Credential
from credhelpers.errors import Unavailable
from credhelpers.stores.keyring_errors import damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.stores.folder import Folder
    from credhelpers.stores.index import Index

CHOICE = "library"  # of `backend`; and of CREDHELPERS_KEYRING for what a backend starts, lest it asks in a circle
PATIENCE = 4.0  # seconds for one question, the first with all that is loaded for it; with the process's start, 5
_TOGETHER = 8.0  # seconds for all that one call asks, so that it can still say that they are over
_TURN = 3.0  # seconds to wait for another writer: some backends have one file for all
_LOCK = b"library-lock"
_SERVICE = "docker-credential-keyring"
_WORD_LETTERS = 40  # of an exception's name
_SOON = 0.001  # seconds; none at all would mean something else to a socket
_ANSWER_BYTES = 1 << 20
_SOCKET, _ALL_DESCRIPTORS = 3, 1 << 20
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PROCESS = b"credhelpers-lib"  # the name of a backend's, of 15 bytes at most
_GROUP = "keyring.backends"  # of entry points, which is also the package with the library's own
_WHICH = "`keyring --list-backends` shows which there are, see `docs/keyring.md`"
_WHY = "try it with `keyring --keyring-backend CLASS get a b`, or `export CREDHELPERS_KEYRING=embedded` to do without"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_VARIABLES = ("PYTHON", "KEYRING_PROPERTY_")  # what chooses and sets backends, and runs code in Pythons that they start
# By the word that the process answers with: code, cause and hint.
_TROUBLES = {
    "missing": (
        "keyring-library-missing",
        "the keyring library, which config.toml chooses, is not installed",
        "install credhelpers with its extra: `pip install 'credhelpers[keyring]'`",
    ),
    "unknown": (
        "keyring-backend-unknown",
        "no installed package announces the keyring's backend that config.toml names",
        _WHICH,
    ),
    "refused": (
        "keyring-backend-refused",
        "the keyring's backend that config.toml names keeps nothing, or is made of others",
        f"name one that keeps secrets itself: {_WHICH}",
    ),
    "unusable": ("keyring-backend-unusable", "the keyring's backend is not usable in this session", _WHY),
    "none": ("keyring-backend-unusable", "no backend of the keyring library is usable in this session", _WHICH),
    "locked": ("keyring-locked", "the keyring is locked", "unlock it, " + _WHY),
}


def circle() -> Unavailable:
    """What is said to a backend that asks a helper of ours in turn."""
    return Unavailable(
        "keyring-circle",
        "this helper was started by the very backend of the keyring library that it would ask",
        "name another `backend` in config.toml, the one place for it; or `unset CREDHELPERS_KEYRING`",
    )


class Library:
    """The store behind a backend, which begins with the first question and ends when this is closed."""

    __slots__ = ("_child", "_folder", "_index", "_name", "_socket", "_until")

    def __init__(self, name: str, index: "Index", folder: "Folder") -> None:
        self._name = name
        self._index = index
        self._folder = folder
        self._child = 0
        self._socket: socket.socket | None = None
        self._until = 0.0

    def read(self, server: str) -> Credential | None:
        """The credential under exactly this key, or None."""
        kept = self._ask("read", server)
        if kept is None:
            return None
        if not isinstance(kept, str):
            raise damaged()
        try:
            return Credential.answered(server, kept.encode() + b"\n")
        except ValueError:
            raise damaged() from None

    def write(self, server: str, credential: Credential) -> None:
        """Keep the credential under exactly this key."""
        self._index.add(server)  # first: an item that the index does not know would not be listed
        self._ask_in_turn("write", server, credential.answer(server).decode().rstrip("\n"))

    def remove(self, server: str) -> bool:
        """Whether there was an item under exactly this key."""
        return bool(self._ask_in_turn("remove", server))

    def servers(self) -> dict[str, str]:
        """Server to user name of the items in the index that are still there, those that were read before trouble."""
        found: dict[str, str] = {}
        for server in self._index.servers():
            try:
                credential = self.read(server)
            except Unavailable as trouble:
                if not found:
                    raise
                notes.take(f"the list ends early: {trouble.message}")
                break
            if credential:
                found[server] = credential.username
        return found

    def shown(self) -> dict[str, str]:
        """Server to "" for every item in the index: a look at more might ask somebody for leave."""
        return dict.fromkeys(self._index.servers(), "")

    def close(self) -> None:
        """End the backend with all that it has started."""
        if self._socket:
            self._socket.close()
            self._socket = None
            for end in (posix.kill, posix.killpg):  # it may have no group of its own yet
                with suppress(ProcessLookupError, PermissionError):
                    end(self._child, _signal.SIGKILL)
            with suppress(ChildProcessError):
                posix.waitpid(self._child, 0)

    def _ask_in_turn(self, *question: str) -> "Any":
        self._ask("begin", "")
        turn = self._folder.lock(_LOCK, monotonic() + _TURN)
        try:
            return self._ask(*question)
        finally:
            if turn >= 0:
                posix.close(turn)

    def _ask(self, *question: str) -> "Any":
        """What the backend answers: a text, None, or a bool. Raises Unavailable."""
        if not self._child:
            self._until = monotonic() + _TOGETHER
            self._begin()
        try:
            answer = self._exchanged(json.dumps(question).encode() + b"\n")
        except TimeoutError:
            self.close()
            raise Unavailable("keyring-slow", "the keyring does not answer", _WHY) from None
        except (OSError, ValueError, RecursionError):
            self.close()
            raise Unavailable("keyring-failed", "the keyring failed: its backend ended", _WHY) from None
        if isinstance(answer, list) and len(answer) == 1:
            return answer[0]
        word = answer if isinstance(answer, str) and answer.isascii() and answer.isidentifier() else "Exception"
        if word in _TROUBLES:
            raise Unavailable(*_TROUBLES[word])
        raise Unavailable("keyring-failed", f"the keyring failed: {word[:_WORD_LETTERS]}", _WHY)

    def _exchanged(self, question: bytes) -> "Any":
        """Send the line and hear one. Raises TimeoutError, OSError or ValueError."""
        if self._socket is None:  # it was closed by a failure before
            raise ConnectionResetError
        until = min(monotonic() + PATIENCE, self._until)
        self._socket.settimeout(max(until - monotonic(), _SOON))
        self._socket.sendall(question)
        heard = b""
        while not heard.endswith(b"\n"):
            self._socket.settimeout(max(until - monotonic(), _SOON))
            more = self._socket.recv(1 << 16)
            heard += more
            if not more or len(heard) > _ANSWER_BYTES:
                raise ConnectionResetError
        return json.loads(heard)

    def _begin(self) -> None:
        if guard.is_below(_PROCESS):  # also where its environment is not the one that was given to it
            raise circle()
        near, other = socket.socketpair()
        try:
            child = posix.fork()
        except OSError:
            near.close()
            other.close()
            raise Unavailable(
                "keyring-failed",
                "the keyring failed: this system gives no process for its backend",
                "`ulimit -u` or a container's pids limit (`cat /sys/fs/cgroup/pids.max`): raise it, or end others",
            ) from None
        if child:
            self._child, self._socket = child, near
            other.close()
            return
        try:
            posix.setsid()
            posix.chdir("/")  # a relative path in PATH must not mean where docker was called
            _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
            _signal.setitimer(_signal.ITIMER_REAL, 2 * _TOGETHER)  # should nobody be left to end it
            if prctl := guard.prctl():
                prctl(_PR_SET_PDEATHSIG, _signal.SIGKILL)
            guard.take_name(_PROCESS)
            guard.silence()
            posix.dup2(other.fileno(), _SOCKET)
            posix.closerange(_SOCKET + 1, _ALL_DESCRIPTORS)  # the client's pipes among them
            _serve(socket.socket(fileno=_SOCKET), self._name)
        finally:
            posix._exit(0)  # noqa: SLF001 - the copy of a caller must not run the caller's exit


# --- in the process of the backend ------------------------------------------------------------------------------------


class _Trouble(Exception):
    """A word of `_TROUBLES`."""


def _serve(line: socket.socket, name: str) -> None:
    """Answer questions until nobody asks: `["what it is"]`, a word of `_TROUBLES`, or the class of an exception."""
    backend = None
    with line.makefile("rwb") as asked:
        for question in asked:
            try:
                backend = backend or _backend(name)
                answer: object = [_answer(backend, *json.loads(question))]
            except _Trouble as trouble:
                answer = str(trouble)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is the backend's
                kind = type(error).__name__
                answer = "locked" if kind == "KeyringLocked" else kind
            asked.write(json.dumps(answer).encode() + b"\n")
            asked.flush()


def _answer(backend: "Any", verb: str, server: str, secret: str = "") -> str | bool | None:
    if verb == "begin":
        return None
    # Some make a path of it, or do not tell capitals from small letters: two servers would be one, or `..` lead out.
    name = "".join(letter if letter in _PLAIN else f"%{ord(letter):02x}" for letter in server)
    if verb == "write":
        backend.set_password(_SERVICE, name, secret)
        return None
    kept = backend.get_password(_SERVICE, name)
    if kept is not None and not isinstance(kept, str):
        raise TypeError
    if verb == "read" or kept is None:
        return kept if verb == "read" else False
    backend.delete_password(_SERVICE, name)
    return True


def _backend(name: str) -> "Any":
    """The backend. Raises _Trouble."""
    import os
    from pathlib import Path

    for variable in [variable for variable in os.environ if variable.startswith(_VARIABLES)]:
        del os.environ[variable]
    os.environ["CREDHELPERS_KEYRING"] = CHOICE
    try:
        from keyring.util import platform_
    except ModuleNotFoundError:
        raise _Trouble("missing") from None
    # There keyringrc.cfg would be, by which some backends choose even the program that they start.
    platform_.config_root = lambda: Path("/dev/null")
    if name == CHOICE:
        return _best()()
    found = _named(name)
    try:
        is_usable = found.priority is not None
    except Exception:  # noqa: BLE001 - that is how a class says so, and each in its own way
        is_usable = False
    if not is_usable:
        raise _Trouble("unusable")
    return found()


def _named(name: str) -> "Any":
    """The class of this full name, if a package that is installed announces it."""
    from importlib import import_module
    from importlib.metadata import entry_points

    from keyring.backend import KeyringBackend

    module, _, last = name.rpartition(".")
    announced = {_GROUP, *(entry.module for entry in entry_points(group=_GROUP))}
    if not any(module == one or module.startswith(f"{one}.") for one in announced):
        raise _Trouble("unknown")
    try:
        found = getattr(import_module(module), last, None)
    except ModuleNotFoundError as error:
        raise _Trouble("unknown" if error.name == module else "unusable") from None
    if not (isinstance(found, type) and issubclass(found, KeyringBackend)):
        raise _Trouble("unknown")
    if _is_refused(found):
        raise _Trouble("refused")
    return found


def _best() -> "Any":
    """The library's own class that it would prefer here, none of another package."""
    from importlib import import_module
    from importlib.metadata import entry_points

    from keyring.backend import KeyringBackend

    for entry in entry_points(group=_GROUP):
        if entry.module.startswith(f"{_GROUP}."):
            with suppress(Exception):  # of another system, mostly
                import_module(entry.module)
    viable = [found for found in KeyringBackend.get_viable_backends() if found.__module__.startswith(f"{_GROUP}.")]
    usable = [found for found in viable if not _is_refused(found) and found.priority > 0]
    if not usable:
        raise _Trouble("none")
    return max(usable, key=lambda found: float(found.priority))


def _is_refused(found: type) -> bool:
    """Whether it keeps nothing, hands on to whatever is installed, or is a part of ours."""
    from keyring.backends import chainer, fail, null

    kinds = (fail.Keyring, null.Keyring, chainer.ChainerBackend)
    return issubclass(found, kinds) or found.__module__.partition(".")[0] == "credhelpers"
