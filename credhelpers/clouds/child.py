"""Programs of the clouds, az, azd and gcloud: found where not everybody can put one, run without a terminal, ended."""

import posix
from signal import SIGKILL
from subprocess import DEVNULL, PIPE, Popen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from credhelpers.identity import Environment


def find(name: bytes, environ: "Environment") -> bytes | None:
    """The path of the program: by `PATH`, in a directory that has an absolute path and that not everybody may write."""
    for folder in environ.get(b"PATH", b"").split(b":"):
        path = folder + b"/" + name
        try:
            is_safe = folder.startswith(b"/") and not posix.stat(folder).st_mode & 0o002
        except (OSError, ValueError):
            continue
        if is_safe and posix.access(path, posix.X_OK):
            return path
    return None


def run(command: list[bytes], environ: "Mapping[bytes, bytes]", seconds: float) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors. No shell, nothing to read, in a session and a directory of its own.

    Its children end with it if this call has to end first: az and gcloud are scripts around a Python. Raises OSError if
    it does not start, `subprocess.TimeoutExpired` after `seconds`.
    """
    child = Popen(  # noqa: S603 - an absolute path, and words of ours or of a strict grammar
        command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environ, cwd="/", start_new_session=True
    )
    try:
        output, errors = child.communicate(timeout=max(seconds, 0.1))
    except BaseException:  # the clock of the call too
        end(child.pid)
        child.wait()
        raise
    return child.returncode, output, errors


def end(group: int) -> None:
    """Kill the process group, if it is still there."""
    try:
        posix.killpg(group, SIGKILL)
    except (ProcessLookupError, PermissionError):  # gone, or another user's by now
        return
