"""A helper of somebody else's as a link of a chain: `helper:osxkeychain` in config.toml, or `helper:` and a path.

It is started without a shell, with what is left of the call's time, and told one thing. What it says is read to a
limit, and believed only if it is what the protocol has: see docker/docker-credential-helpers, `client/command.go` and
`credentials/credentials.go`. Its list is never asked for, which may go to a network. It gets the caller's environment,
and a mark in it of how deep it stands, since it may be one that asks us again.
"""

import json
import posix
from shlex import quote
from subprocess import SubprocessError
from time import monotonic

from credhelpers import files
from credhelpers.credential import Credential
from credhelpers.errors import NotFound, Unavailable, shortage
from credhelpers.net import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.servers import Authority

# What helpers say in their several ways, anywhere in what they say: `credentials/error.go`, and older ones.
_NOT_FOUND = b"credentials not found"
_DEPTH = b"CREDHELPERS_DEPTH"
_DEEPEST = 3  # helpers that ask each other; who has more has a circle
_ROUTER = b"from credhelpers.router import"  # in an executable of ours that would ask the chain again
_EXECUTABLE_BYTES = 1 << 16  # of which that is looked for; ours are a sixth of it
_NAME_SHOWN = 32
_S_IFMT, _S_IFREG = 0o170000, 0o100000  # <sys/stat.h>


class Foreign:
    """The helper with this name, as `docker-credential-NAME` on PATH, or at an absolute path. It ends by `until`.

    until: seconds of the monotonic clock
    """

    __slots__ = ("_environ", "_name", "_until")

    def __init__(self, name: str, environ: "Environment", until: float) -> None:
        self._name = name
        self._environ = environ
        self._until = until

    def ready(self, authority: "Authority") -> None:
        """Nothing: it has no cache of ours."""

    def refresh(self, authority: "Authority") -> None:
        """Nothing: that is its own affair."""

    def get(self, authority: "Authority") -> Credential:
        """What it has under exactly what was sent. Raises NotFound, and Unavailable if it fails."""
        status, output, errors = self._run("get", authority.sent.encode())
        is_absent = output.strip().startswith(_NOT_FOUND) or (status and _NOT_FOUND in output + errors)
        if is_absent:
            raise NotFound
        if status:
            raise self._failed(at="get")
        found = {"username": ""} | _object(output)  # Go's client takes none for an empty one
        username, secret = (_text(found, name) for name in ("username", "secret"))
        if username is None or secret is None:
            raise Unavailable(
                "helper-no-answer",
                f"the helper {self._shown} answers something that is no credential",
                f"`echo HOST | {self._command} get` shows it, secret and all; update it, or take it out",
            )
        if not secret:  # of both empty, the reference's own client makes not found
            raise NotFound
        return Credential(username, secret)

    def store(self, authority: "Authority", credential: Credential) -> None:
        """Have it keep the credential. Raises Unavailable."""
        if self._run("store", credential.answer(authority.sent))[0]:
            raise self._failed(at="store")

    def erase(self, authority: "Authority") -> None:
        """Have it forget. Nothing there is success. Raises Unavailable."""
        status, output, errors = self._run("erase", authority.sent.encode())
        if status and _NOT_FOUND not in output and _NOT_FOUND not in errors:
            raise self._failed(at="erase")

    @property
    def _shown(self) -> str:
        """Its name for a message: a part of config.toml, which no stranger writes."""
        return f"`{self._name.rpartition('/')[2][:_NAME_SHOWN]}`"

    @property
    def _command(self) -> str:
        """How a person starts it."""
        if self._name.startswith("/"):
            return quote(self._name)
        return f"docker-credential-{self._name}"

    def _failed(self, *, at: str) -> Unavailable:
        return Unavailable(
            "helper-failed",
            f"the helper {self._shown} failed at {at}",
            f"`echo HOST | {self._command} get` tells whether it works, and mostly why not",
        )

    def _run(self, verb: str, given: bytes) -> tuple[int, bytes, bytes]:
        deep = {_DEPTH: b"%d" % self._depth()}
        command = (self._program(), verb)
        try:
            return child.run_command(command, self._environ, deep, self._until - monotonic(), b"/", given=given)
        except SubprocessError as error:
            raise shortage(error) or self._late() from None
        except OSError as error:
            raise shortage(error) or self._broken() from None

    def _late(self) -> Unavailable:
        return Unavailable(
            "helper-late",
            f"the helper {self._shown} does not answer in time",
            f"`echo HOST | {self._command} get` shows why",
        )

    def _broken(self) -> Unavailable:
        return Unavailable(
            "helper-broken",
            f"the helper {self._shown} cannot be started",
            f"`echo HOST | {self._command} get` shows why",
        )

    def _depth(self) -> int:
        text = self._environ.get(_DEPTH, b"0")
        depth = int(text) + 1 if text.isdigit() and len(text) == 1 else _DEEPEST + 1
        if depth > _DEEPEST:
            raise self._circle()
        return depth

    def _circle(self) -> Unavailable:
        return Unavailable(
            "helper-circle",
            f"the helper {self._shown} leads back to this one",
            "take it out of the chain in config.toml, or take this one out of its configuration",
        )

    def _program(self) -> bytes:
        """The absolute path of its executable, which nobody else may have written. Raises Unavailable."""
        if self._name.startswith("/"):
            path = self._name.encode("utf-8", "surrogateescape")
            if not _is_program(path):
                raise self._no_program()
        else:
            path = self._found()
        try:
            status = posix.stat(path)
            if not (files.is_trusted(status) and files.is_reserved(path, None, is_owned=True)):
                raise Unavailable(
                    "helper-untrusted",
                    f"the helper {self._shown} may have been written by somebody else, or its directory",
                    files.mending(path, status)
                    or f"`namei -l {quote(path.decode('ascii', 'replace'))}` shows who may write there",
                )
            if _is_router(path):
                raise self._circle()
        except OSError as error:
            raise shortage(error) or self._missing() from None
        return path

    def _found(self) -> bytes:
        for folder in self._environ.get(b"PATH", b"").split(b":"):
            path = folder + b"/docker-credential-" + self._name.encode()
            if folder.startswith(b"/") and _is_program(path):
                return path
        raise self._missing()

    def _no_program(self) -> Unavailable:
        return Unavailable(
            "helper-missing",
            f"the helper {self._shown}, which config.toml names, is not there, or is no program that this user may run",
            f"`ls -l {self._command}` shows what is there; correct the path, or take it out",
        )

    def _missing(self) -> Unavailable:
        return Unavailable(
            "helper-missing",
            f"the helper {self._shown}, which config.toml names, is not installed",
            f"`command -v {self._command}` shows where it is looked for; install it, or take it out",
        )


def _is_program(path: bytes) -> bool:
    try:
        return posix.stat(path).st_mode & _S_IFMT == _S_IFREG and posix.access(path, posix.X_OK)
    except (OSError, ValueError):
        return False


def _is_router(path: bytes) -> bool:
    """Whether it is the helper over chains, of whatever installation of ours."""
    try:
        return _ROUTER in files.read(path, _EXECUTABLE_BYTES)[0]
    except files.Unread:  # longer than ours, or one that can be run and not read
        return False
    except PermissionError:
        return False


def _object(content: bytes) -> "dict[str, object]":
    """The object by its keys in lower case, as Go reads them; an empty one for what is none."""
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return {key.lower(): value for key, value in found.items()} if isinstance(found, dict) else {}


def _text(found: "dict[str, object]", name: str) -> str | None:
    """A text that can be answered; None for what is none."""
    value = found.get(name)
    if not isinstance(value, str) or "\0" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value
