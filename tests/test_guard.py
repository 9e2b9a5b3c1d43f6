"""What keeps slow code of others from hurting a call, tried in processes of their own."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import guard
from tests.fakes import source as fakes
from tests.harness import environment, lacking, need, patience

if TYPE_CHECKING:
    from collections.abc import Callable

_PREFIX = "import ctypes, os, posix, signal, sys, time\nfrom credhelpers import guard\n"
_GET_DUMPABLE = "ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)"  # PR_GET_DUMPABLE of <linux/prctl.h>


def _run(script: str, *words: str, seconds: float = 20) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-I", "-c", _PREFIX + script, *words],
        input=b"the caller's input",
        capture_output=True,
        timeout=seconds,
        check=False,
    )


def _wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def _is_gone(process: int) -> bool:
    """Whether a process has ended; nobody may be there to reap it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _written(path: Path) -> str:
    """The content of a file that another process writes, ended by a line end."""
    _wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
    return path.read_text()[:-1]


# --- dumps -----------------------------------------------------------------------------------------------------------


def test_a_process_that_forbids_dumps_is_not_dumpable() -> None:
    """SH-3: the kernel says so itself."""
    done = _run(f"print({_GET_DUMPABLE}); guard.forbid_dumps(); print({_GET_DUMPABLE})")
    assert done.stdout == b"1\n0\n"


def test_nobody_looks_into_a_process_that_forbids_dumps() -> None:
    """SH-3: not even another process of the same user, for its memory is closed to all but root."""
    if os.geteuid() != 0:
        lacking("only root can become another user; run as root, in a container for example")
    script = """
guard.forbid_dumps()
child = os.fork()
if not child:
    try:
        open(f"/proc/{os.getppid()}/environ").close()
        print("open")
    except PermissionError:
        print("closed")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
"""
    drop = ["--reuid", "54321", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    # The environment of the tests may be in a place that only root can enter, so the module is sent along.
    code = (
        Path(guard.__file__).read_text() + "\nimport os, types\nguard = types.SimpleNamespace(**globals())\n" + script
    )
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    command = [need("setpriv", "util-linux"), *drop, python]
    done = subprocess.run([*command, "-I", "-S", "-c", code], capture_output=True, cwd="/", check=False)
    assert (done.stdout, done.stderr) == (b"closed\n", b"")


def test_other_systems_have_nothing_to_forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's core limit is all there is on them."""
    monkeypatch.setattr("credhelpers.guard.sys.platform", "darwin")
    monkeypatch.setitem(sys.modules, "_ctypes", None)
    guard.forbid_dumps()


# --- silence ---------------------------------------------------------------------------------------------------------


def test_silence_reaches_children_too() -> None:
    """Neither prints of a library, nor of C code, nor of a child, nor of its child reach the caller."""
    script = """
import subprocess
print("before", flush=True)
output, error = guard.silence()
print("noise", flush=True)
print("noise", file=sys.stderr, flush=True)
ctypes.CDLL(None).puts(b"noise")
ctypes.CDLL(None).fflush(None)
os.system("echo noise; echo noise >&2; (sh -c 'echo noise; echo noise >&2')")
subprocess.run(["/bin/sh", "-c", "echo noise; echo noise >&2; cat"])
read = subprocess.run(["/bin/cat"], stdout=subprocess.PIPE).stdout
os.write(output, b"answer %d\\n" % len(read))
os.write(error, b"hint\\n")
"""
    done = _run(script)
    assert done.stdout == b"before\nanswer 0\n", "and a child reads nothing of the caller's input"
    assert done.stderr == b"hint\n"


def test_no_child_inherits_the_true_output(tmp_path: Path) -> None:
    """A child that lives on must not keep the caller's pipes open, whatever descriptors it was given."""
    script = """
import subprocess
guard.silence()
child = subprocess.Popen(["/bin/sleep", "20"], close_fds=False)
open(sys.argv[1], "w").write(f"{child.pid}\\n")
"""
    started = time.monotonic()
    done = _run(script, str(tmp_path / "pid"))
    assert time.monotonic() - started < patience(5), "the pipes were closed at the end of the parent"
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    child = int(_written(tmp_path / "pid"))
    try:
        links = {str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()}
        assert links == {"/dev/null"}
    finally:
        os.kill(child, 9)


# --- the watch -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "hang",
    [
        pytest.param("ctypes.CDLL(None).sleep(60)", id="in C, without an end"),
        pytest.param(
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); ctypes.CDLL(None).sleep(60)",
            id="in C, deaf to signals",
        ),
        pytest.param("[signal.signal(n, signal.SIG_IGN) for n in (2, 14, 15)]; time.sleep(60)", id="asleep"),
        pytest.param("os.read(os.pipe()[0], 1)", id="in a read"),
        pytest.param("exec('while True: pass')", id="in a loop"),
        pytest.param("import _thread; lock = _thread.allocate_lock(); lock.acquire(); lock.acquire()", id="in a lock"),
        pytest.param("os.system('exec sleep 3 </dev/null >/dev/null 2>&1')", id="in a child"),
    ],
)
def test_the_watch_ends_a_process_whatever_it_hangs_in(hang: str) -> None:
    """P3: half a second after its start it is over, with the code that the watch gives."""
    started = time.monotonic()
    done = _run(f"guard.watch(time.monotonic() + 0.5, lambda: os._exit(7))\n{hang}")
    assert done.returncode == 7
    assert 0.4 < time.monotonic() - started < 0.5 + patience(2.4)


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True], ids=["as ever", "deaf to signals"])
def test_the_kernel_ends_what_computes_for_ever(*, ignored: bool) -> None:
    """C code that lets go of nothing leaves no time to the watch: the process ends without its word, but it ends."""
    deaf = "signal.signal(signal.SIGPROF, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPROF])\n"
    done = _run(
        f"{deaf if ignored else ''}guard.watch(time.monotonic() + 0.2, lambda: os._exit(7))\nsum(range(10**12))"
    )
    assert done.returncode == -signal.SIGPROF


def test_signals_go_to_the_main_thread() -> None:
    """The watching thread takes none, so the clock still interrupts what waits."""
    script = """
def ring(*_):
    raise KeyError
signal.signal(signal.SIGALRM, ring)
guard.watch(time.monotonic() + 10, lambda: os._exit(7))
signal.setitimer(signal.ITIMER_REAL, 0.2)
started = time.monotonic()
try:
    time.sleep(5)
except KeyError:
    print(time.monotonic() - started < 4, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""
    assert _run(script).stdout == b"True set()\n"


def test_a_process_that_is_in_time_is_not_hurt() -> None:
    """The watch does not hold it back either."""
    started = time.monotonic()
    done = _run("guard.watch(time.monotonic() + 30, lambda: os._exit(7))\nprint('done', flush=True)\nos._exit(0)")
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert time.monotonic() - started < patience(5)


# --- the process in the background -----------------------------------------------------------------------------------


def test_the_caller_does_not_wait_for_the_background(tmp_path: Path) -> None:
    """Every copy of the caller's pipes is closed at once, and the other process holds nothing of the caller."""
    script = f"""
spare = os.open("/dev/zero", os.O_RDONLY)
os.set_inheritable(spare, True)
os.dup2(1, 700)
def work():
    with open(sys.argv[1], "w") as file:
        file.write(f"{{os.getpid()}} {{os.getsid(0)}} {{os.getcwd()}} {{{_GET_DUMPABLE}}}\\n")
    print("noise", flush=True)
    os.system("echo noise >&2")
    time.sleep(20)
guard.detach(work, 30)
print("answer", flush=True)
"""
    started = time.monotonic()
    done = _run(script, str(tmp_path / "report"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"answer\n", b"")
    assert time.monotonic() - started < patience(5)
    process, session, folder, dumpable = _written(tmp_path / "report").split()
    try:
        assert session == process, "no signal of the caller's terminal reaches it"
        assert folder == str(Path.cwd()), "or a relative path in the environment would lead elsewhere"
        assert dumpable == "0"
        links = {link.name: str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()}
        assert links == dict.fromkeys(("0", "1", "2"), "/dev/null")
    finally:
        os.kill(int(process), 9)


def test_the_kernel_ends_the_background_in_time(tmp_path: Path) -> None:
    """It hangs in C under a handler of the caller's: the clock needs no Python."""
    script = """
signal.signal(signal.SIGALRM, lambda *_: None)
def work():
    with open(sys.argv[1], "w") as file:
        file.write(f"{os.getpid()}\\n")
    ctypes.CDLL(None).sleep(60)
guard.detach(work, 1)
"""
    started = time.monotonic()
    assert _run(script, str(tmp_path / "pid")).returncode == 0
    process = int(_written(tmp_path / "pid"))
    _wait_for(lambda: _is_gone(process))
    assert time.monotonic() - started < patience(5)


def test_a_renewal_has_a_minute(tmp_path: Path) -> None:
    """The helper gives its background 60 seconds of the kernel's clock."""
    strace = need("strace", "strace")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    env = environment(home, CREDHELPERS_CACHE_DIR=str(home / "cache"), FAKE_LOG=str(tmp_path / "log"))
    command = [sys.executable, "-I", fakes.__file__, "get"]
    host = b"a.one.fake.example"
    subprocess.run(command, input=host, env=env | {"FAKE_LIFE": "0 3600 7200"}, capture_output=True, check=True)
    trace = tmp_path / "trace"
    subprocess.run(
        [strace, "-f", "-o", str(trace), "-e", "trace=setitimer,setsid", *command],
        input=host,
        env=env,
        capture_output=True,
        check=True,
    )
    _wait_for(lambda: (tmp_path / "log").read_text().count("\n") == 2)
    lines = trace.read_text().splitlines()
    child = next(line.split()[0] for line in lines if "setsid" in line)
    timers = [line for line in lines if line.startswith(child + " ") and "setitimer" in line]
    assert re.search(r"it_value=\{tv_sec=60, tv_usec=0\}", timers[0])


def test_a_failure_in_the_background_is_silent(tmp_path: Path) -> None:
    """No traceback reaches anybody, and nothing of the caller's exit is run twice."""
    script = """
import atexit
atexit.register(lambda: open(sys.argv[1], "a").write("exit\\n"))
guard.detach(lambda: 1 / 0, 30)
"""
    done = _run(script, str(tmp_path / "exits"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "exits").read_text() == "exit\n"


def test_without_a_process_to_be_had_the_caller_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller decides what that costs; nothing was done."""

    def fail() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("credhelpers.guard.posix.fork", fail)
    with pytest.raises(BlockingIOError):
        guard.detach(pytest.fail, 1)


# --- names of processes -----------------------------------------------------------------------------------------------


def test_a_process_below_one_with_a_name_knows_it() -> None:
    """Whatever stands between, and whatever it is given; the process itself is not below itself."""
    below = "from credhelpers import guard; print(guard.is_below(b'a (b) c'), guard.is_below(b'another'))"
    script = f"""
import subprocess
print(guard.is_below(b"a (b) c"))
guard.take_name(b"a (b) c")
print(guard.is_below(b"a (b) c"), flush=True)
command = "'" + sys.executable + "' -I -c \\"" + {below!r} + "\\"; true"
subprocess.run(["sh", "-c", "(" + command + ")"], env={{}}, check=True)
"""
    done = _run(script)
    assert (done.stdout.split(), done.stderr) == ([b"False", b"False", b"True", b"False"], b"")


def test_a_parent_that_cannot_be_looked_at_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has ended, or there is no /proc."""
    monkeypatch.setattr("credhelpers.guard.posix.getppid", lambda: 0)
    assert not guard.is_below(b"")
    monkeypatch.setattr("credhelpers.guard.posix.getppid", os.getpid)
    monkeypatch.setattr("credhelpers.guard.posix.read", lambda *_: b"")
    assert not guard.is_below(b"")
    monkeypatch.setattr("credhelpers.guard.posix.read", lambda *_: b"7 (x) S %d 0" % os.getpid())
    assert not guard.is_below(b"y")
