"""The work of a library within its time, whatever it waits for: a resolver, a keyring, a metadata service.

Time-outs of libraries bound neither a resolver nor a call into the system, and a signal waits for the C code in which
the main thread hangs. So the work is done in another thread, and who waits for it goes on when the time is over.
"""

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Result = TypeVar("Result")


class Late(Exception):
    """The work did not end in time. No `OSError`, as a time-out of its own would be."""


def within(seconds: float, work: "Callable[[], Result]") -> "Result":
    """What `work` returns or raises. Raises Late after `seconds`; what hangs is left to end with this process.

    Raises RuntimeError where the system gives no thread, which `errors.shortage` knows.
    """
    answers: list[Result] = []
    errors: list[BaseException] = []
    is_done = _thread.allocate_lock()

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            errors.append(error)
        is_done.release()

    is_done.acquire()
    _thread.start_new_thread(run, ())
    if not is_done.acquire(timeout=max(seconds, 0)):
        raise Late
    if errors:
        raise errors[0]
    return answers[0]
