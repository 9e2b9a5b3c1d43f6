"""What keeps slow, third-party code from hurting the call: no core, no noise, no waiting for ever.

Only the way that leaves a cache hit comes here. A library that waits inside C without letting go of the interpreter
would escape the clock; none of ours does (sockets, resolvers, locks and child processes all let go).
"""

import _signal
import _thread
import posix
import sys
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_DUMPABLE, _PR_SET_NAME = 4, 15  # <linux/prctl.h>
_GENERATIONS, _STAT_BYTES = 64, 512
_ALL_DESCRIPTORS = 1 << 20
_AFTER_WATCH = 1.0  # seconds of the processor; whoever can still say a line does so before


def forbid_dumps() -> None:
    """Keep other processes of this user from attaching, and the kernel from writing a core (Linux only).

    The launcher has set the core limit to 0 already; `prctl(PR_SET_DUMPABLE)` also stops core pipes and ptrace.
    """
    if call := prctl():
        call(_PR_SET_DUMPABLE, 0)


def prctl() -> "Callable[[int, int | bytes], None] | None":
    """`prctl(2)` with an option and its argument, None where there is none: it is Linux's."""
    if not sys.platform.startswith("linux"):
        return None
    import _ctypes  # what `ctypes` wraps, for a quarter of its price

    function = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type] # None is the program itself

    def call(option: int, argument: int | bytes) -> None:
        _ctypes.call_function(function, (option, argument, 0, 0, 0))

    return call


def take_name(name: bytes) -> None:
    """Have this process called so, of which whoever it starts can tell that it is below it (Linux only)."""
    if call := prctl():
        call(_PR_SET_NAME, name + b"\0")


def is_below(name: bytes) -> bool:
    """Whether a process that has taken this name is the parent of this one, or of that, and so on (Linux only)."""
    number = posix.getppid()
    for _ in range(_GENERATIONS):
        try:
            descriptor = posix.open(b"/proc/%d/stat" % number, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            return False
        try:  # proc(5): number, name in parentheses, state, parent
            its_name, _, rest = posix.read(descriptor, _STAT_BYTES).partition(b"(")[2].rpartition(b")")
            number = int(rest.split()[1])
        except (OSError, ValueError, IndexError):  # it has ended
            return False
        finally:
            posix.close(descriptor)
        if its_name == name:
            return True
    return False


def silence() -> tuple[int, int]:
    """Point standard input, output and error at nothing, for this process and its children.

    Returns descriptors of the true output and error that no child inherits.
    """
    import fcntl

    output, error = (fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3) for descriptor in (1, 2))
    nothing = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        posix.dup2(nothing, descriptor)
    posix.close(nothing)
    return output, error


def watch(until: float, give_up: "Callable[[], None]") -> None:
    """Call `give_up`, which must end the process, when the monotonic clock shows `until`.

    It runs in a thread of its own, because a signal handler waits for the C call in which the main thread hangs
    (a resolver without an answer held one for eight seconds too long). Where no thread is to be had, that handler is
    all there is: what may hang so mostly needs a thread of its own, and fails at once without it (see `deadline`).

    Neither helps where C code computes for ever and lets go of nothing, as an interpreter without memory may (seen with
    3.11: an exception that cannot be raised for want of memory). The kernel ends the process then, without a word, once
    it has used as much of the processor as there is time.
    """
    _signal.signal(_signal.SIGPROF, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGPROF,))
    _signal.setitimer(_signal.ITIMER_PROF, max(until - monotonic(), 0) + _AFTER_WATCH)

    def wait() -> None:
        while (left := until - monotonic()) > 0:
            sleep(left)
        give_up()

    # A thread takes over the mask of its maker: with all signals blocked, the main thread alone gets them.
    held = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        _thread.start_new_thread(wait, ())
    except RuntimeError:  # no thread, or no memory for its stack
        pass
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, held)


def detach(work: "Callable[[], None]", seconds: int) -> None:
    """Run `work` in a process of its own that nobody waits for and that holds no descriptor of the caller.

    A client waits until every copy of its pipes is closed, so they go first. The kernel ends the process after
    `seconds`; a failure of `work` is its own to report.
    """
    from credhelpers import environment

    if posix.fork():
        return
    try:
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        _signal.setitimer(_signal.ITIMER_REAL, seconds)
        posix.setsid()
        posix.closerange(0, _ALL_DESCRIPTORS)
        nothing = posix.open("/dev/null", posix.O_RDWR)
        posix.dup2(nothing, 1)
        posix.dup2(nothing, 2)
        forbid_dumps()
        environment.drop_relative_code()
        work()
    finally:
        posix._exit(0)  # noqa: SLF001 - the copy of a caller must not run the caller's exit
