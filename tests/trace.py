"""What a mint may leave behind in its process, as source text for a process of its own: `state()` and `settled()`."""

LOOKS = """
import gc, os, posix, signal, socket, threading, time, warnings

def state():
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "environment": dict(os.environ),
        "of the system": dict(posix.environ),
        "umask": mask,
        "directory": os.getcwd(),
        "warnings": list(warnings.filters),
        "time-out": socket.getdefaulttimeout(),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "threads": threading.enumerate(),
    }

def settled():
    gc.collect()
    until = time.monotonic() + 5
    while (tasks := len(os.listdir("/proc/self/task"))) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    return tasks, len(os.listdir("/proc/self/fd"))
"""
