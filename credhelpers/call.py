"""One call of an executable, whatever protocol it speaks: streams, clocks, one answer, silence, the exit.

The one place that knows arguments, standard streams and exit codes. A protocol is a function that makes the bytes of an
answer out of a `Call`; see `protocols`.

What goes where: standard output carries one answer, or on failure one line that says why. Standard error is empty on
success, but for what was deleted at somebody else's (`Call.told`); on failure it carries one line with name, cause,
hint and code, which of the two is what docker shows on `pull` and `push`. On not-found it is empty but where somebody
would wonder (`NotFound.cause`). Nothing of the input and nothing of a secret is in either. Exit code 0 is success, 1
everything else.

This module is on the way of a cache hit. What is slow is imported where it is needed.
"""

import _signal
import _thread
import posix
import sys
from time import monotonic, sleep

from credhelpers.errors import (
    DeadlinePassed,
    HelperError,
    NotFound,
    Refused,
    Unavailable,
    overdue,
    reason,
    remedy,
    shortage,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

DEADLINE = 9.8  # seconds for a call; Bazel kills a helper after 10, counted from before its start
ANSWER_BYTES = (1 << 16) - 1  # Spring Boot and Bazel read only after the exit, so an answer must fit into a pipe
_INTERRUPT = DEADLINE - 0.3  # a call that can be interrupted ends in good order
_RENEWAL = 60  # seconds for a renewal in the background
_INPUT_BYTES = 1 << 20
_LINE_BYTES = 200
_TOLD_BYTES = 400  # of a failure, on standard error
_CAUSE_BYTES = 60  # of which at least
_NAME_BYTES = 64
_WITHOUT_MEMORY = (
    b"credhelpers: this system gives no more memory; `ulimit -v` shows the limit: raise it [system-memory]\n"
)
_POLL = 0.01  # seconds; some callers set a descriptor not to wait


behind: "Callable[[tuple[str, ...]], None] | None" = None
"""What the launcher does once the answer is out: it is given the modules of ours that the call began with."""


def serve(answer: "Callable[[Call], bytes]") -> "NoReturn":
    """Answer the call that this process was started for, as the executable that `sys.argv` names, and exit.

    What stands behind an `@` in that name, as in `docker-credential-ecr@prod`, is the identity that is chosen.
    `answer` gives the bytes for standard output or raises a HelperError, which becomes the line that says why not.
    """
    started = monotonic()
    _end_by_interrupts()
    _signal.signal(_signal.SIGALRM, _interrupt)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))  # the mask is the caller's
    _open_standard_streams()
    name, is_chosen, identity = sys.argv[0].rpartition("/")[2].partition("@")
    if is_chosen:
        posix.environ[b"CREDHELPERS_IDENTITY"] = identity.encode("utf-8", "surrogateescape") or b"@"  # none is named so
    if posix.environ.get(b"HOME") == b"":  # as good as none, and libraries would read what lies in `/`
        del posix.environ[b"HOME"]
        posix.unsetenv(b"HOME")
    call = Call(name, sys.argv[1:], started + DEADLINE)
    if not behind:
        posix._exit(call.run(answer))  # noqa: SLF001 - tearing the interpreter down would cost a seventh of a hit
    modules = tuple(module for module in sys.modules if module.partition(".")[0] == "credhelpers")
    code = call.run(answer)
    try:
        if not call.is_short:  # where an interpreter without memory may die of it
            behind(modules)
    finally:  # whatever happens: the answer is out, and the next slow call tries again
        posix._exit(code)  # noqa: SLF001 - as above


class Call:
    """One call, for the protocol that answers it.

    name: the executable's, for messages
    arguments: those of the command line behind it
    last_resort: the answer if nothing better comes in time, for lack of something or by a defect; b"" for none
    is_waived: whether a client is to go on as if nothing was there where this call fails, and hears why all the same
    renewal: what is done behind a successful answer, in a process of its own; None for nothing
    told: lines for a person who wants to know what was done, for standard error on success
    """

    def __init__(self, name: str, arguments: list[str], until: float) -> None:
        self.name = name
        self.arguments = arguments
        self.last_resort = b""
        self.is_waived = False
        self.renewal: Callable[[], None] | None = None
        self.told: list[str] = []
        self.is_short = False  # of memory, processes or the like
        self._until = until
        self._output = 1
        self._error = 2
        self._closing = ""  # while the input is read
        self._word = _thread.allocate_lock()

    def run(self, answer: "Callable[[Call], bytes]") -> int:
        """The exit code, once everything is written."""
        code = self._speak(answer)
        if self.renewal:
            self.detach(self.renewal)
        return code

    def detach(self, work: "Callable[[], None]") -> None:
        """Do it in a process of its own that nobody waits for, if there is one to be had: else a later call does it."""
        try:
            from credhelpers import guard

            guard.detach(work, _RENEWAL)
        except Exception:  # noqa: BLE001 - a process that cannot be had is no reason to lose the answer
            return

    def read(self, piped: str, closed: str, *, is_needed: bool = True) -> bytes:
        """Standard input to its end, at most a megabyte: some clients take a broken pipe for a failure.

        `piped` and `closed` are command lines for a hint, the one that gives an input and the one that ends it. At a
        terminal, and if it is not needed, the input is empty. Raises Refused for a terminal, too much and what cannot
        be read.
        """
        if posix.isatty(0):
            if not is_needed:
                return b""
            raise Refused("input-terminal", "standard input is a terminal", f"pipe it in, as in `{piped}`")
        chunks = []
        size = 0
        self._closing = closed
        while chunk := _read(piped):
            size += len(chunk)
            if size <= _INPUT_BYTES:
                chunks.append(chunk)
        self._closing = ""
        if size > _INPUT_BYTES:
            raise Refused("input-too-long", f"the input is longer than {_INPUT_BYTES} bytes")
        return b"".join(chunks)

    def slow_down(self) -> None:
        """From here on code of others may run: no core, no noise, an end in time whatever it does."""
        from credhelpers import environment, guard

        environment.drop_relative_code()
        guard.forbid_dumps()
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGALRM,))  # else the clock's line may go into the silence
        try:
            self._output, self._error = guard.silence()
        finally:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
        guard.watch(self._until, lambda: posix._exit(self._fail(overdue())))  # noqa: SLF001 - the main thread hangs

    def _speak(self, answer: "Callable[[Call], bytes]") -> int:
        try:
            try:
                _signal.setitimer(_signal.ITIMER_REAL, _INTERRUPT)
                return self._succeed(answer(self))
            except HelperError as error:
                return self._fail(error)
        except DeadlinePassed:
            return self._fail(self._endless() if self._closing else overdue())
        except BaseException as error:  # noqa: BLE001 - the outermost frame: a client gets a line, never a traceback
            return self._fail(_internal(error))

    def _endless(self) -> Refused:
        """What to say if the time was over before the input was."""
        return Refused(
            "input-endless", "standard input did not end within the time limit", f"close it, as in `{self._closing}`"
        )

    def _succeed(self, answer: bytes) -> int:
        self._take_the_word()
        self._tell_notes()
        for line in self.told:
            _write(self._error, _line(f"{self.name[:_NAME_BYTES]}: {line}", _TOLD_BYTES))
        return 0 if _write(self._output, answer) else 1

    def _fail(self, error: HelperError) -> int:
        try:
            if lacking := shortage(error):  # whoever made another sentence of it
                error, self.is_short = lacking, True
            line = _line(error.message, _LINE_BYTES)
            told = _told(self.name, error)
        except MemoryError:  # not even for these words
            self.is_short = True
            line, told = b"this system gives no more memory\n", _WITHOUT_MEMORY
        if self.last_resort and isinstance(error, Unavailable) and not error.is_denial:
            return self._succeed(self.last_resort)
        if self.is_waived and isinstance(error, Unavailable) and not error.code.startswith("config-"):
            line = _line(NotFound().message, _LINE_BYTES)
        self._take_the_word()
        self._tell_notes()
        _write(self._output, line)
        _write(self._error, told)
        return 1

    def _take_the_word(self) -> None:
        """Make sure that one thread speaks, once: neither the clock nor the watch may add a line to an answer."""
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        if not self._word.acquire(blocking=False):
            sleep(1)  # the other one is writing and ends the process, unless nobody reads
            posix._exit(1)  # noqa: SLF001 - as above
        if self._output == 1:  # not watched: a client that takes nothing out of a full pipe must not hold the call
            _signal.signal(_signal.SIGALRM, _give_up)
            _signal.setitimer(_signal.ITIMER_REAL, max(self._until - monotonic(), 1))

    def _tell_notes(self) -> None:
        if b"CREDHELPERS_DEBUG" not in posix.environ:
            return
        from credhelpers import notes

        for note in notes.taken():
            _write(self._error, _line(f"debug: {note}", _LINE_BYTES))


def _end_by_interrupts() -> None:
    """Have Ctrl-C end the call at once, unless the caller wants it to be ignored."""
    if _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def _interrupt(_signal_number: int, _frame: object) -> None:
    raise DeadlinePassed


def _give_up(_signal_number: int, _frame: object) -> None:
    posix._exit(1)  # noqa: SLF001 - half an answer is out, and nobody reads it


def _open_standard_streams() -> None:
    """Give 0, 1 and 2 to /dev/null where the caller closed them, lest a cache file or a socket takes the number.

    For reading only, so that an answer that goes nowhere is a failed write and not a success.
    """
    for descriptor in (0, 1, 2):
        try:
            posix.fstat(descriptor)
        except OSError:
            posix.open("/dev/null", posix.O_RDONLY)  # the lowest free number, so this one


def _internal(error: BaseException) -> Unavailable:
    """What nobody foresaw, in a line; never its text, which may quote a secret.

    A file or device that fails is no defect, wherever that was noticed. Anything else is, and the line says where.
    """
    if isinstance(error, KeyboardInterrupt):
        return Unavailable("interrupted", "interrupted")
    if lacking := shortage(error):
        return lacking
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = ""
    if trace:
        file = trace.tb_frame.f_code.co_filename.rpartition("/")[2]
        where = f" in {file}:{trace.tb_lineno}"
    if isinstance(error, OSError) and error.strerror:
        return Unavailable(
            "system-failed",
            f"this system failed: {reason(error)}{where}",
            remedy(error, "`dmesg` may say more; try again"),
        )
    return Unavailable(
        "defect",
        f"internal error: {type(error).__name__}{where}",
        "this is a defect of credhelpers, please report it",
    )


def _told(name: str, error: HelperError) -> bytes:
    """The line on standard error: `NAME: CAUSE; HINT [CODE]`, of which the cause is shortened first, the code never.

    On `pull` and `push` docker drops what `get` printed and goes on without a credential (seen with 20.10 and 28.2), so
    this is what a person sees. Nothing for what nobody wonders about.
    """
    if not error.code:
        return b""
    limit, cause = (_LINE_BYTES, error.cause) if isinstance(error, NotFound) else (_TOLD_BYTES, error.message)
    head, code = f"{name[:_NAME_BYTES]}: ", f" [{error.code}]\n"
    hint = f"; remembered for {error.remembered} s" if error.remembered else ""
    hint += f"; {error.hint}" if error.hint else ""
    room = limit - len(head) - len(code)
    cause = cause.removeprefix(head)[: max(room - len(hint), _CAUSE_BYTES)]
    return _line((head + cause + hint)[: limit - len(code)] + code[:-1], limit)


def _line(text: str, limit: int) -> bytes:
    """One line of printable ASCII."""
    shown = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return shown.encode()[:limit] + b"\n"


def _read(piped: str) -> bytes:
    """Some bytes of standard input, or none at its end; see `Call.read`."""
    while True:
        try:
            return posix.read(0, 1 << 16)
        except BlockingIOError:
            sleep(_POLL)
        except OSError as error:
            why = f"standard input cannot be read: {reason(error)}"
            raise Refused("input-unreadable", why, f"pipe it in, as in `{piped}`") from None


def _write(descriptor: int, content: bytes) -> bool:
    """Whether everything was taken."""
    while content:
        try:
            content = content[posix.write(descriptor, content) :]
        except BlockingIOError:
            sleep(_POLL)
        except OSError:
            return False
    return True
