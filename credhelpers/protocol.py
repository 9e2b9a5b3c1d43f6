"""The credential helper protocol: five verbs over standard streams.

The one place that knows arguments, streams and exit codes. What clients rely on, and which of them, is in
`docs/protocol.md`; the reference is docker/docker-credential-helpers, `credentials/credentials.go`.

What goes where: standard output carries one answer, or on failure one line that says why. Standard error is empty on
success and on not-found; on another failure it may carry one `hint:` line, which of the two is what docker shows on
`pull` and `push`. Nothing of the input and nothing of a secret is in either. Exit code 0 is success, 1 everything else.

This module is on the way of a cache hit. What is slow is imported where it is needed.
"""

import _signal
import _thread
import posix
import sys
from time import monotonic, sleep, time

from credhelpers import hosts
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
    from typing import NoReturn, Protocol

    from credhelpers.credential import Credential
    from credhelpers.hosts import Authority

    class Helper(Protocol):
        """What `serve` makes an executable of."""

        @property
        def manual(self) -> str:
            """What `--help` prints below the synopsis."""

        def ready(self, authority: Authority) -> Credential | None:
            """What can be answered without an SDK, a network or a child; None where `get` must be asked.

            Raises NotFound if it is certain already that `get` would.
            """

        def get(self, authority: Authority) -> Credential:
            """The credential for the authority. Raises NotFound or Unavailable."""

        def refresh(self, authority: Authority) -> None:
            """Renew what `ready` gave when it was past its soft expiry. Called in a process of its own."""

        def store(self, authority: Authority, credential: Credential) -> None:
            """Keep the credential under the authority, in the place of an earlier one."""

        def erase(self, authority: Authority) -> None:
            """Forget the credential that `get` would give for the authority. Nothing there is success."""

        def list(self) -> dict[str, str]:
            """Server to user name, for each server that `get` can answer now. No network."""


DEADLINE = 9.8  # seconds for a call; Bazel kills a helper after 10, counted from before its start
_INTERRUPT = DEADLINE - 0.3  # a call that can be interrupted ends in good order
_RENEWAL = 60  # seconds for a renewal in the background
_INPUT_BYTES = 1 << 20
_ANSWER_BYTES = (1 << 16) - 1  # Spring Boot and Bazel read only after the exit, so an answer must fit into a pipe
_LINE_BYTES = 200
_POLL = 0.01  # seconds; some callers set a descriptor not to wait
_WORD = 20  # letters


def serve(name: str, helper: "Helper", *, is_prepared: bool) -> "NoReturn":
    """Answer the call that this process was started for, as the executable `name`, and exit.

    `is_prepared` is false where `launch` has a file to write for the next call.
    """
    started = monotonic()
    _signal.signal(_signal.SIGALRM, _interrupt)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))  # the mask is the caller's
    _open_standard_streams()
    call = _Call(name, helper, sys.argv[1:], started + DEADLINE)
    if is_prepared:
        posix._exit(call.run())  # noqa: SLF001 - tearing the interpreter down would cost a seventh of a hit
    modules = tuple(module for module in sys.modules if module.partition(".")[0] == "credhelpers")
    code = call.run()
    try:
        if not call.is_short:  # where an interpreter without memory may die of it
            from credhelpers.launch import prepare

            prepare(name, modules)
    finally:  # whatever happens: the answer is out, and the next slow call tries again
        posix._exit(code)  # noqa: SLF001 - as above


class _Call:
    """One call: its arguments, its streams, and what it has in hand if nothing better comes in time."""

    def __init__(self, name: str, helper: "Helper", arguments: list[str], until: float) -> None:
        self.name = name
        self.helper = helper
        self.arguments = arguments
        self.until = until
        self.output = 1
        self.error = 2
        self.last_resort = b""
        self.ageing: Authority | None = None
        self.is_reading = False
        self.is_short = False  # of memory, processes or the like
        self.word = _thread.allocate_lock()

    def run(self) -> int:
        """The exit code, once everything is written."""
        code = self._speak()
        if self.ageing:
            try:
                self._refresh(self.ageing)
            except Exception:  # noqa: BLE001 - no process to be had, say; the answer is out, and a later call renews
                return code
        return code

    def _speak(self) -> int:
        try:
            try:
                _signal.setitimer(_signal.ITIMER_REAL, _INTERRUPT)
                return self._succeed(self._answer())
            except HelperError as error:
                return self._fail(error)
        except DeadlinePassed:
            return self._fail(self._endless() if self.is_reading else overdue())
        except BaseException as error:  # noqa: BLE001 - the outermost frame: a client gets a line, never a traceback
            return self._fail(_internal(error))

    def _answer(self) -> bytes:
        if len(self.arguments) != 1:
            raise Refused(f"Usage: {self.name} <store|get|erase|list|version>")
        verb = self.arguments[0]
        if verb in ("version", "--version", "-v"):
            from credhelpers import __version__

            return f"{self.name} (credhelpers) v{__version__}\n".encode()
        if verb in ("--help", "-h"):
            return _SYNOPSIS.format(name=self.name).encode() + self.helper.manual.encode()
        answers = {"get": self._get, "store": self._store, "erase": self._erase, "list": self._list}
        if verb not in answers:
            # An argument is not repeated unless it is a word: it goes to terminals and logs.
            shown = verb if verb.isascii() and verb.isalnum() and len(verb) <= _WORD else "not a word"
            raise Refused(f"{self.name}: unknown action: {shown}")
        return answers[verb](self._input(verb))

    def _get(self, content: bytes) -> bytes:
        authority = hosts.read(content)
        if authority.is_dubious:
            raise NotFound
        ready = self.helper.ready(authority)
        now = time()
        if ready and now < ready.hard:
            answer = _fitting(ready.answer(authority.sent))
            self.ageing = authority if now >= ready.soft else None
            return answer
        if ready:
            self.last_resort = _fitting(ready.answer(authority.sent))
        self._slow_down()
        return _fitting(self.helper.get(authority).answer(authority.sent))

    def _store(self, content: bytes) -> bytes:
        from credhelpers.document import read

        authority, credential = read(content)
        if len(credential.answer(authority.sent)) > _ANSWER_BYTES:
            raise Refused(f"the credential does not fit into an answer of {_ANSWER_BYTES} bytes")
        self._slow_down()
        if credential.is_empty():  # no client could use it: who asks for it later must hear that there is none
            self.helper.erase(authority)
        else:
            self.helper.store(authority, credential)
        return b""

    def _erase(self, content: bytes) -> bytes:
        authority = hosts.read(content)
        if not authority.is_dubious:
            self._slow_down()
            self.helper.erase(authority)
        return b""

    def _list(self, _content: bytes) -> bytes:
        import json

        self._slow_down()
        found = self.helper.list()
        return json.dumps({server: found[server] for server in found if _is_askable(server)}).encode() + b"\n"

    def _refresh(self, authority: "Authority") -> None:
        from credhelpers import guard

        guard.detach(lambda: self.helper.refresh(authority), _RENEWAL)

    def _input(self, verb: str) -> bytes:
        """Standard input to its end, whatever the verb: some clients take a broken pipe for a failure."""
        if posix.isatty(0):
            if verb == "list":
                return b""
            raise Refused("standard input is a terminal", f"pipe it in, as in `echo HOST | {self.name} {verb}`")
        chunks = []
        size = 0
        self.is_reading = True
        while chunk := _read(0):
            size += len(chunk)
            if size <= _INPUT_BYTES:
                chunks.append(chunk)
        self.is_reading = False
        if size > _INPUT_BYTES:
            raise Refused(f"the input is longer than {_INPUT_BYTES} bytes")
        return b"".join(chunks)

    def _endless(self) -> Refused:
        """What to say if the time was over before the input was."""
        how = {"store": "<FILE", "list": "</dev/null"}
        verb = self.arguments[0]
        shown = f"{self.name} {verb} {how[verb]}" if verb in how else f"echo HOST | {self.name} {verb}"
        return Refused("standard input did not end within the time limit", f"close it, as in `{shown}`")

    def _slow_down(self) -> None:
        """From here on code of others may run."""
        from credhelpers import environment, guard

        environment.drop_relative_code()
        guard.forbid_dumps()
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGALRM,))  # else the clock's line may go into the silence
        try:
            self.output, self.error = guard.silence()
        finally:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
        guard.watch(self.until, lambda: posix._exit(self._fail(overdue())))  # noqa: SLF001 - the main thread hangs

    def _succeed(self, answer: bytes) -> int:
        self._take_the_word()
        self._tell_notes()
        return 0 if _write(self.output, answer) else 1

    def _fail(self, error: HelperError) -> int:
        try:
            if lacking := shortage(error):  # whoever made another sentence of it
                error, self.is_short = lacking, True
            # On `pull` and `push` docker drops what `get` printed and goes on without a credential (seen with 20.10 and
            # 28.2), so the line that a person does see says why, too.
            cause = f"{error.message}; " if isinstance(error, Unavailable) else ""
            line = _line(error.message, _LINE_BYTES)
            hint = _line(f"hint: {cause}{error.hint}", 2 * _LINE_BYTES) if error.hint else b""
        except MemoryError:  # not even for these words
            self.is_short = True
            line, hint = b"this system gives no more memory\n", b"hint: `ulimit -v` shows the limit: raise it\n"
        if self.last_resort and isinstance(error, Unavailable) and not error.is_denial:
            return self._succeed(self.last_resort)
        self._take_the_word()
        self._tell_notes()
        _write(self.output, line)
        _write(self.error, hint)
        return 1

    def _take_the_word(self) -> None:
        """Make sure that one thread speaks, once: neither the clock nor the watch may add a line to an answer."""
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        if not self.word.acquire(blocking=False):
            sleep(1)  # the other one is writing and ends the process, unless nobody reads
            posix._exit(1)  # noqa: SLF001 - as above
        if self.output == 1:  # not watched: a client that takes nothing out of a full pipe must not hold the call
            _signal.signal(_signal.SIGALRM, _give_up)
            _signal.setitimer(_signal.ITIMER_REAL, max(self.until - monotonic(), 1))

    def _tell_notes(self) -> None:
        if b"CREDHELPERS_DEBUG" not in posix.environ:
            return
        from credhelpers import notes

        for note in notes.taken():
            _write(self.error, _line(f"debug: {note}", _LINE_BYTES))


_SYNOPSIS = """\
usage: {name} get | store | erase | list | version

  get      read a server from standard input, print its credential as JSON
  store    read a credential as JSON from standard input and keep it
  erase    read a server from standard input and forget its credential
  list     print the servers that get can answer, with their user names, as JSON
  version  print the version

Clients such as docker start this program by themselves; config.json names it.
Exit status: 0 if it was done, 1 if not, with the reason on standard output.

"""


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
        return Unavailable("interrupted")
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
            f"this system failed: {reason(error)}{where}", remedy(error, "`dmesg` may say more; try again")
        )
    return Unavailable(
        f"internal error: {type(error).__name__}{where}",
        "this is a defect of credhelpers, please report it",
    )


def _line(text: str, limit: int) -> bytes:
    """One line of printable ASCII."""
    shown = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return shown.encode()[:limit] + b"\n"


def _is_askable(server: str) -> bool:
    """Whether `get` takes exactly this for a server: clients give up on all entries at one that it refuses."""
    try:
        authority = hosts.read(server.encode())
        return not authority.is_dubious and authority.sent == server
    except HelperError:
        return False


def _fitting(answer: bytes) -> bytes:
    if len(answer) > _ANSWER_BYTES:
        raise Unavailable(
            f"the answer is longer than {_ANSWER_BYTES} bytes",
            "`docker logout` forgets it where it is kept here, and `docker login` keeps another",
        )
    return answer


def _read(descriptor: int) -> bytes:
    """Some bytes, or none at the end."""
    while True:
        try:
            return posix.read(descriptor, 1 << 16)
        except BlockingIOError:
            sleep(_POLL)
        except OSError as error:
            why = f"standard input cannot be read: {reason(error)}"
            raise Refused(why, "pipe it in, as in `echo HOST | docker-credential-NAME get`") from None


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
