"""How tests drive the installed executables from outside."""

from __future__ import annotations

import atexit
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

import pytest

BIN = Path(sys.executable).parent
NOWHERE = str(Path(__file__).with_name("nowhere"))  # a path where nothing is, whatever else is on this machine
NOT_FOUND = b"credentials not found in native keychain\n"


@dataclass(frozen=True)
class Result:
    """What a client sees of one call."""

    code: int
    out: bytes
    err: bytes

    @property
    def credential(self) -> dict[str, str]:
        """The answer of a successful `get`."""
        assert self.code == 0, self
        assert self.err == b"", self
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        assert set(answer) == {"ServerURL", "Username", "Secret"}
        return answer

    @property
    def told(self) -> str:
        """The code in the line on standard error that tells a failure: there is no other, and it is short."""
        assert self.code == 1, self
        assert len(self.err) <= 400, self
        line = re.fullmatch(r"docker-credential-[a-z]+: [ -~]+ \[([a-z0-9-]+)]\n", self.err.decode("ascii"))
        assert line, self
        return line[1]

    @property
    def is_absent(self) -> bool:
        """Whether nothing was found: in the wire's words, and perhaps with a line that says who has the host."""
        assert not self.err or (len(self.err) <= 200 and b" has this host [" in self.err and self.told), self
        return (self.code, self.out) == (1, NOT_FOUND)

    @property
    def listing(self) -> dict[str, str]:
        """The answer of a successful `list`."""
        assert self.code == 0, self
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        return answer


def environment(home: Path, **more: str) -> dict[str, str]:
    """A user's environment with nothing in it of the machine that runs the tests."""
    base = {"HOME": str(home), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
    return base | more


def call(
    name: str, verb: str, stdin: bytes | str = b"", env: dict[str, str] | None = None, *, deadline: float = 30
) -> Result:
    """Call the installed executable `docker-credential-NAME`."""
    return execute(BIN / f"docker-credential-{name}", verb, stdin=stdin, env=env, deadline=deadline)


def loaded_call(
    name: str, verb: str, stdin: bytes | str = b"", env: dict[str, str] | None = None, *, deadline: float = 30
) -> Result:
    """The same in a process that has the interpreter and the SDK loaded, for tests whose subject is not the start."""
    return fork(BIN / f"docker-credential-{name}", verb, stdin=stdin, env=env, deadline=deadline)


def execute(
    program: Path,
    *arguments: str,
    stdin: bytes | str = b"",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    deadline: float = 30,
) -> Result:
    """Start an executable as a client does."""
    content = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [str(program), *arguments], input=content, env=env, cwd=cwd, capture_output=True, timeout=deadline, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def fork(
    program: Path,
    *arguments: str,
    stdin: bytes | str = b"",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    deadline: float = 30,
) -> Result:
    """What `execute` gives, for a part of the time: the program runs in the fork of a process that has it loaded.

    It is executed all the same where the start itself may make a difference: variables of the interpreter, of its
    loader or of its locale, input that no pipe holds, and a variable that a library looks at while it is imported.
    """
    content = stdin.encode() if isinstance(stdin, str) else stdin
    variables = dict(os.environ) if env is None else env
    if len(content) <= _PIPE and not any(map(_is_of_the_start, variables.items())):
        done = _preloaded(program).call(arguments, content, variables, cwd or Path.cwd(), deadline)
        if done:
            return done
    return execute(program, *arguments, stdin=content, env=env, cwd=cwd, deadline=deadline)


_PIPE = 16384  # bytes that a pipe holds on every system before anybody reads
_OF_THE_START = ("PYTHON", "LD_", "DYLD_", "LC_", "OPENSSL_", "GLIBC_", "MALLOC_", "TZ")


def _is_of_the_start(variable: tuple[str, str]) -> bool:
    name, value = variable
    return name.startswith(_OF_THE_START) or (name == "LANG" and value != "C.UTF-8")


class _Preloaded:
    """The process for one executable; see `tests/preloaded.py`."""

    def __init__(self, program: Path) -> None:
        with ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
            stack.callback(shutil.rmtree, folder)
            self._address = str(folder / "socket")
            script = Path(__file__).with_name("preloaded.py")
            process = subprocess.Popen(
                [program.parent / "python3", "-I", "-S", script, program, self._address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            )
            assert process.stdin
            stack.callback(process.wait)
            stack.callback(process.stdin.close)  # upon which it ends
            assert process.stdout
            with process.stdout as ready:
                ready.read()
            self._stack = stack.pop_all()
        atexit.register(self._stack.close)

    def call(
        self, arguments: tuple[str, ...], content: bytes, env: dict[str, str], cwd: Path, deadline: float
    ) -> Result | None:
        """What came of it, or None where the executable must be started."""
        until = time.monotonic() + deadline
        with ExitStack() as stack:
            streams = [os.pipe() for _ in range(3)]
            theirs = [streams[0][0], streams[1][1], streams[2][1]]
            closing = {end: stack.enter_context(_Descriptor(end)) for pair in streams for end in pair}
            os.write(streams[0][1], content)
            closing[streams[0][1]].close()
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(deadline)
            self._connect(connection, until)
            asked = json.dumps({"arguments": arguments, "env": env, "cwd": str(cwd)}).encode() + b"\n"
            sent = socket.send_fds(connection, [asked], theirs)
            if sent < len(asked):  # else it may be over by now
                connection.sendall(asked[sent:])
            for end in theirs:
                closing[end].close()
            told = stack.enter_context(connection.makefile())
            first = told.readline().strip()
            if first == "refused":
                return None
            try:
                out, err = _read((streams[1][0], streams[2][0]), until)
                connection.settimeout(max(until - time.monotonic(), 0.001))
                return Result(int(told.readline()), out, err)
            except TimeoutError:
                os.kill(int(first), signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, deadline) from None

    def _connect(self, connection: socket.socket, until: float) -> None:
        while True:
            try:
                return connection.connect(self._address)
            except BlockingIOError:  # more wait than the queue holds
                assert time.monotonic() < until
                time.sleep(0.01)


class _Descriptor:
    """A descriptor that is closed once."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(descriptors: tuple[int, ...], until: float) -> list[bytes]:
    """All that comes until everybody has closed the other ends. Raises TimeoutError."""
    found = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(until - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                found[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
    return list(found.values())


_processes: dict[Path, _Preloaded] = {}
_starting = threading.Lock()


def _preloaded(program: Path) -> _Preloaded:
    with _starting:
        if program not in _processes:
            _processes[program] = _Preloaded(program)
        return _processes[program]


_START = 0.025  # seconds for an executable to say its version on a quiet machine of today


def patience(seconds: float) -> float:
    """What `seconds` of a quiet machine are on this one now: as many times more as starting an executable costs.

    For upper bounds on what our own work costs. A wait that the product promises is no such thing and stays what it is:
    `took < 5 + patience(0.5)`.
    """
    starts = []
    for _ in range(3):
        began = time.monotonic()
        execute(BIN / "docker-credential-keyring", "version", env={"PATH": "/usr/bin:/bin"})
        starts.append(time.monotonic() - began)
    return seconds * max(1, max(starts) / _START)


def document(server: str, username: str, secret: str) -> bytes:
    """What docker sends to `store`."""
    return json.dumps({"ServerURL": server, "Username": username, "Secret": secret}).encode() + b"\n"


def need(command: str, package: str) -> str:
    """The path of a program that a test needs; without it the test is skipped, or fails in CI."""
    path = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return path or lacking(f"{command} is not here; get it with `apt-get install {package}`")


def lacking(reason: str) -> NoReturn:
    """Skip this test where something cannot be had; in CI everything must be had."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
