"""Children: the programs of the clouds and the user's own commands. Here they are started, and here they are ended.

Each is started without a terminal, in a session and a process group of its own, and none outlives the call that waits
for it. If its time is over, its whole group is killed and waited for. If this process ends first, by whatever signal,
SIGKILL too, its guardian does that: a shell that waits for a pipe of ours to close.
"""

import posix
import select
from contextlib import suppress
from signal import SIGKILL
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from time import monotonic, sleep

from credhelpers import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Self

    from credhelpers.identity import Environment

# The first line that it reads is the group, a second one lets it go. What else is sent to it, it does not hear.
_GUARDIAN = 'trap "" HUP INT QUIT TERM; read -r group && { read -r word || kill -9 "-$group"; }'
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
_LAST = 1.0  # seconds for the killed to be gone: one that waits for a dead disk goes when the disk comes back
_POLL = 0.005  # seconds
_S_IFMT, _S_IFREG = 0o170000, 0o100000  # <sys/stat.h>
_HEARD_BYTES = 1 << 20  # of a stream, many times what any answer has; what comes after that is read and dropped

_BLANKS = " \t\r\n"  # of JSON, RFC 8259, section 2

_running: "set[Popen[bytes]]" = set()


def find(name: bytes, environ: "Environment") -> bytes | None:
    """The path of the program: by `PATH`, in a directory that has an absolute path and that not everybody may write."""
    for folder in environ.get(b"PATH", b"").split(b":"):
        path = folder + b"/" + name
        try:
            is_safe = folder.startswith(b"/") and not posix.stat(folder).st_mode & 0o002
            is_safe &= posix.stat(path).st_mode & _S_IFMT == _S_IFREG
        except (OSError, ValueError):
            continue
        if is_safe and posix.access(path, posix.X_OK):
            return path
    return None


def run_program(
    command: "Sequence[bytes]", environ: "Environment", more: "Mapping[bytes, bytes]", seconds: float
) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors of az, azd or gcloud. No shell, nothing to read.

    It belongs to a cloud, and not to who set variables for a Python of his own: it gets none that begins with `PYTHON`,
    else the caller's, and `more`. It runs in `/`, so that no relative path in them means the working directory.
    Raises OSError if it does not start, `subprocess.TimeoutExpired` after `seconds`.
    """
    mine = {name: value for name, value in environ.items() if not name.startswith(b"PYTHON")}
    return _run(command, {**mine, **more}, seconds, b"/")


def run_command(  # noqa: PLR0913 - what a command gets
    command: "Sequence[str | bytes]",
    environ: "Environment",
    more: "Mapping[bytes, bytes]",
    seconds: float,
    folder: bytes | None = None,
    *,
    is_one_stream: bool = False,
    given: bytes = b"",
) -> tuple[int, bytes, bytes]:
    """The same for a command that the user wrote: AWS's `credential_process`, Google's `executable`, a token helper.

    It belongs to the user and gets the caller's whole environment, as the cloud's own tool would give it, and `more`.
    It runs in `folder`, else where the caller is. With one stream its errors are in its output. What is given is all
    that there is for it to read.
    """
    errors_to = STDOUT if is_one_stream else PIPE
    return _run(command, {**environ, **more}, seconds, folder, errors_to, given)


def json_of(output: bytes) -> "dict[str, Any]":
    """The JSON object (RFC 8259) with which the output ends, behind lines in which the program says something else.

    Before it may stand lines that do not begin with a brace (warnings, colours, blanks, a byte order mark), and whole
    objects that begin and end with their lines, as azd's messages do. Raises ValueError, without a word of the output,
    if there is none, or anything else behind it: what is cut off or doubtful is not guessed.
    """
    from json import JSONDecoder

    def refuse(_constant: str) -> None:
        raise ValueError

    decoder = JSONDecoder(parse_constant=refuse)
    place = 0
    try:
        text = output.decode("utf-8-sig").rstrip(_BLANKS)
        while place < len(text):
            line = _line(text, place)
            place += len(line)
            if line.lstrip(_BLANKS).startswith("{"):
                found, place = decoder.raw_decode(text, place - len(line.lstrip(_BLANKS)))
                if place == len(text):
                    return dict(found)
                line = _line(text, place)
                place += len(line)
                if line.strip(_BLANKS):
                    break
            place += 1
    except (ValueError, RecursionError):
        pass  # raised below: here it would have the output in its context
    raise ValueError("the output does not end with one JSON object")


def end_all() -> None:
    """Kill and wait for all that still runs, with their own children."""
    for child in list(_running):
        _end(child)


def _line(text: str, start: int) -> str:
    """What is left of the line from there on."""
    end = text.find("\n", start)
    return text[start:end] if end >= 0 else text[start:]


def _run(  # noqa: PLR0913, PLR0917 - as above
    command: "Sequence[str | bytes]",
    environ: "Mapping[bytes, bytes]",
    seconds: float,
    folder: bytes | None,
    errors_to: int = PIPE,
    given: bytes = b"",
) -> tuple[int, bytes, bytes]:
    prctl = guard.prctl()
    if prctl:  # orphans of a killed group come to us, and not to a PID 1 that may not wait for them
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with _Guardian() as guardian:

        def begin() -> None:
            """In the child, before it is the command: there is no moment in which nobody would end it."""
            guardian.tell(posix.getpid())
            if prctl:  # should somebody kill us and the guardian
                prctl(_PR_SET_PDEATHSIG, SIGKILL)

        child = Popen(  # noqa: S603 - an absolute path and words of ours, or what the user wrote for this
            command,
            stdin=PIPE if given else DEVNULL,
            stdout=PIPE,
            stderr=errors_to,
            env=environ,
            cwd=folder,
            start_new_session=True,
            preexec_fn=begin,  # noqa: PLW1509 - it calls the system and takes no lock
        )
        _running.add(child)
        try:
            output, errors = _heard(child, max(seconds, 0.1), given)
        except BaseException:  # the clock of the call too
            _end(child)
            raise
        finally:
            _running.discard(child)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
    return child.returncode, output, errors


def _heard(child: "Popen[bytes]", seconds: float, given: bytes) -> tuple[bytes, bytes]:
    """What the process says until it has ended and its streams have, once it was given that. Raises TimeoutExpired.

    `Popen.communicate` keeps all of it: a command that does not stop talking took gigabytes, and then more time to put
    them together than the call has.
    """
    until = monotonic() + seconds
    heard = {stream.fileno(): bytearray() for stream in (child.stdout, child.stderr) if stream}
    talking = select.poll()
    for descriptor in heard:
        talking.register(descriptor, select.POLLIN)
    left = len(heard)
    if child.stdin:
        posix.set_blocking(child.stdin.fileno(), False)
        talking.register(child.stdin.fileno(), select.POLLOUT)
    while left:
        rest = until - monotonic()
        if rest <= 0:
            raise TimeoutExpired(child.args, seconds)
        for descriptor, _ in talking.poll(rest * 1000 + 1):
            if child.stdin and descriptor not in heard:
                given = _gave(descriptor, given)
                if not given:
                    talking.unregister(descriptor)
                    child.stdin.close()
                continue
            said = posix.read(descriptor, 1 << 16)
            if not said:
                talking.unregister(descriptor)
                left -= 1
            heard[descriptor] += said[: _HEARD_BYTES - len(heard[descriptor])]
    child.wait(max(until - monotonic(), 0))
    output, errors = (*heard.values(), b"")[:2]
    return bytes(output), bytes(errors)


def _gave(descriptor: int, given: bytes) -> bytes:
    """What is still to be given; nothing to one who does not want it."""
    try:
        return given[posix.write(descriptor, given) :]
    except BrokenPipeError:
        return b""


class _Guardian:
    """Ends a group of processes if this process ends before it says that all is well."""

    def __init__(self) -> None:
        reading, self._line = posix.pipe()
        try:
            self._shell = Popen(  # noqa: S603 - words of ours
                (b"/bin/sh", b"-c", _GUARDIAN),
                stdin=reading,
                stdout=DEVNULL,
                stderr=DEVNULL,
                env={},
                cwd=b"/",
                start_new_session=True,
            )
        except BaseException:
            posix.close(self._line)
            raise
        finally:
            posix.close(reading)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):  # somebody has killed it
            posix.write(self._line, b"\n\n")  # where no group was told, the first one is that: an empty one
        posix.close(self._line)
        self._shell.wait()

    def tell(self, group: int) -> None:
        """Say whom to end."""
        posix.write(self._line, b"%d\n" % group)


def _end(child: "Popen[bytes]") -> None:
    """Kill the process with its whole group, and wait for those of them that are ours to wait for."""
    with suppress(ProcessLookupError, PermissionError):  # gone; on macOS the latter if all of them are dead
        posix.killpg(child.pid, SIGKILL)
    until = monotonic() + _LAST
    try:
        child.wait(_LAST)
        while posix.waitpid(-child.pid, posix.WNOHANG)[0] or monotonic() < until:
            sleep(_POLL)
    except (ChildProcessError, TimeoutExpired):
        return  # nobody is left; or somebody cannot die yet
