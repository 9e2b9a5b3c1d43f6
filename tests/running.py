"""A call in-process: whatever serves it, forked, with streams of its own."""

from __future__ import annotations

import os
import posix
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from credhelpers import call as calls
from tests.harness import Result

if TYPE_CHECKING:
    from collections.abc import Callable


def nothing() -> None:
    """Do nothing."""


class Running:
    """A call in a process of its own, with both of its outputs in pipes; `arguments` begin with a name."""

    def __init__(
        self,
        serve: Callable[[], object],
        arguments: tuple[str, ...],
        stdin: bytes | int = b"",
        before: Callable[[], object] = nothing,
    ) -> None:
        if isinstance(stdin, bytes):
            source = os.memfd_create("stdin")
            os.write(source, stdin)
            os.lseek(source, 0, os.SEEK_SET)
        else:
            source = stdin
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for descriptor, number in ((source, 0), (out, 1), (err, 2)):
                    os.dup2(descriptor, number)
                os.closerange(3, 256)
                sys.argv[:] = arguments
                # pytest's own are not those of an executable
                sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
                posix._exit = os._exit  # coverage can see to the latter
                before()
                serve()
            finally:
                os._exit(99)
        if isinstance(stdin, bytes):
            os.close(source)
        os.close(out)
        os.close(err)

    def close(self) -> None:
        """Hang up."""
        for descriptor in (self.out, self.err):
            os.close(descriptor)
        self.out = self.err = -1

    def wait(self) -> int:
        """The exit code; minus the number of the signal that ended the process."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.took = time.monotonic() - self.started
        return code

    def result(self) -> Result:
        """What a client sees that reads at once."""
        try:
            out, err = (_drain(end) for end in (self.out, self.err))
        except BaseException:  # the time of the test is over
            os.kill(self.pid, signal.SIGKILL)
            raise
        finally:
            self.close()
            code = self.wait()
        return Result(code, out, err)


def _drain(descriptor: int) -> bytes:
    chunks = []
    while chunk := os.read(descriptor, 1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


def hurry() -> None:
    """A tenth of the time for everything."""
    calls.DEADLINE, calls._INTERRUPT = 1.0, 0.5


def boom(error: BaseException) -> NoReturn:
    """Raise, where a lambda cannot."""
    raise error
