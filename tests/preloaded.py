"""One process for one executable, which has the interpreter and the SDK loaded and forks for each call.

`harness.call` starts it as `python3 -I -S preloaded.py EXECUTABLE SOCKET`, like the executable itself, and asks it for
calls whose subject is not the start. A call begins where the interpreter would begin with the executable: with the
caller's streams, directory, arguments and environment, and nothing of ours. What a call has imported is imported here
too, so that the next one finds it. Where a module looks at a variable while it is imported, a call with this variable
is refused, and the caller starts the executable. HOME, at which botocore and google-auth look, is put right instead.
"""

import array
import contextlib
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

_REPORT = 900  # the descriptor on which a call tells what it has imported, far from those that it opens
_MESSAGE = 1 << 20
_HOME = "/home-of-nobody-yet"  # in the place of a caller's, while modules are imported
_UNNOTED = {"HOME", "PATH"}  # PATH, since azure-core starts `uname` while it is imported
# As the executable's shell takes them out.
_FOR_A_SHELL = ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "SSLKEYLOGFILE", "GCONV_PATH")


class _Watched(os._Environ[str]):
    """An environment that notes which variables are looked at."""

    seen: ClassVar[set[str]] = set()

    def __getitem__(self, name: str) -> str:
        if name not in _UNNOTED:
            self.seen.add(name)
        return super().__getitem__(name)


class Preloaded:
    """The process: it has one listener, one connection a call, and ends with whoever holds its standard input."""

    def __init__(self, program: str, listener: socket.socket) -> None:
        self._program = program
        self._code: CodeType = compile(Path(program).read_bytes(), program, "exec", dont_inherit=True)
        folder = program.rpartition("/")[0]
        self._packages = f"{folder}/../lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        self._path = list(sys.path)
        self._known = set(sys.modules)
        self._listener = listener
        self._homes: list[tuple[object, str, str]] = []
        self._calls: dict[int, socket.socket] = {}
        self._reports, report = socket.socketpair(type=socket.SOCK_DGRAM)  # a message is read as it was sent
        os.dup2(report.fileno(), _REPORT, inheritable=False)
        report.settimeout(0)  # the copy, too
        report.close()
        self._wakeup, wakeup = socket.socketpair()
        self._wakeup.settimeout(0)
        wakeup.settimeout(0)
        self._keep = wakeup
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until standard input ends."""
        selector = selectors.DefaultSelector()
        for file in (0, self._listener, self._reports, self._wakeup):
            selector.register(file, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if 0 in ready:
                return
            if self._reports in ready:
                self._learn(self._reports.recv(_MESSAGE))
            if self._wakeup in ready:
                self._wakeup.recv(4096)
            self._reap()
            if self._listener in ready:
                self._take(self._listener.accept()[0], selector)

    def _take(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        """Fork for the call that is asked for."""
        content, descriptors = _receive(connection)
        asked = json.loads(content)
        if _Watched.seen & asked["env"].keys() or (self._homes and not asked["env"].get("HOME")):
            connection.sendall(b"refused\n")
            connection.close()
        elif pid := os.fork():
            self._calls[pid] = connection
            connection.sendall(f"{pid}\n".encode())
        else:
            selector.close()
            self._call(descriptors, asked)
        for descriptor in descriptors:
            os.close(descriptor)

    def _call(self, descriptors: list[int], asked: dict[str, object]) -> None:
        """In the child: become what the executable would be, and run it."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, _REPORT)
        environ = asked["env"]
        assert isinstance(environ, dict)
        for name in list(os.environ):
            del os.environ[name]
        os.environ.__class__ = os._Environ
        os.environ.update({name: value for name, value in environ.items() if name not in _FOR_A_SHELL})
        for owner, name, value in self._homes:
            setattr(owner, name, value.replace(_HOME, str(Path.home())))
        os.chdir(str(asked["cwd"]))
        sys.argv = [self._program, *asked["arguments"]]  # type: ignore[misc] # a list of strings
        sys.path[:] = self._path
        os._exit = _telling(os._exit, self._known)  # type: ignore[assignment]
        sys.modules["posix"]._exit = os._exit  # type: ignore[attr-defined]
        gc.enable()
        main = type(sys)("__main__")
        main.__file__ = self._program
        sys.modules["__main__"] = main
        try:
            exec(self._code, main.__dict__)
        finally:
            os._exit(99)  # the executable ends by itself

    def _reap(self) -> None:
        while self._calls:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            connection = self._calls.pop(pid)
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            connection.close()

    def _learn(self, content: bytes) -> None:
        """Import what a call has imported; a name that is no module of its own is known from now on, too."""
        sys.path.append(self._packages)
        os.environ["HOME"] = _HOME
        for name in content.decode().split():
            if name not in self._known:
                self._known.add(name)
                try:
                    importlib.import_module(name)
                except ImportError:
                    continue  # a name that a library gives to a module of another
        del os.environ["HOME"]
        sys.path[:] = self._path
        self._homes = list(_holding(_HOME))
        gc.collect()
        gc.freeze()  # what children would copy if a collection touched it


def _holding(text: str) -> "Iterator[tuple[object, str, str]]":
    """The constants of modules and of their classes that hold `text`: whose they are, their names and values."""
    for module in [module for name, module in list(sys.modules.items()) if name != "__main__"]:
        found = vars(module)
        owners = [module, *(value for value in found.values() if isinstance(value, type))]
        for owner in owners:
            for name, value in list(vars(owner).items()):
                if isinstance(value, str) and text in value:
                    yield owner, name, value


def _telling(leave: "Callable[[int], None]", known: set[str]) -> "Callable[[int], None]":
    """The exit of a call, which tells before what it has imported that is not known."""
    caller = os.getpid()

    def tell(code: int) -> None:
        new = [name for name in list(sys.modules) if name not in known and name.isascii() and name != "__main__"]
        if new and os.getpid() == caller:
            with contextlib.suppress(BlockingIOError):  # it is full of what others have told
                os.write(_REPORT, "\n".join(new).encode())
        leave(code)

    return tell


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """What is asked for, up to the line end, and the streams that come with its beginning."""
    descriptors = array.array("i")
    size = 3 * descriptors.itemsize
    content, ancillary, _, _ = connection.recvmsg(_MESSAGE, socket.CMSG_SPACE(size))
    for _, _, data in ancillary:
        descriptors.frombytes(data[:size])
    while not content.endswith(b"\n"):
        content += connection.recv(_MESSAGE)
    return content, list(descriptors)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.__class__ = _Watched
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[2])
        listener.listen(128)
        os.close(1)  # now whoever started it may connect
        os.open("/dev/null", os.O_RDWR)
        Preloaded(sys.argv[1], listener).serve()
