"""Directories that are made for what only this user may touch: the one place that says where, and with which mode.

No hit loads it: what is read is there already.
"""

import posix

from credhelpers.private import owner_above as _owner_above


class SomebodyElses(PermissionError):
    """Root would leave a directory below one of somebody else's, who could not use it: as under `sudo -E`."""


def make(path: bytes) -> None:
    """Make `path` and its missing parents with mode 0700, which `os.makedirs` gives to the last one only.

    To be called before anything is written there, too, whether it is there or not. Raises SomebodyElses, another
    OSError, and ValueError for a NUL.
    """
    if posix.geteuid() == 0 and _owner_above(path) != 0:
        raise SomebodyElses(1, "it would be root's, below a directory of somebody else's")
    if not is_there(path):
        _make(path)


def is_there(path: bytes) -> bool:
    """Whether anything is. Raises OSError where nobody can look."""
    try:
        posix.stat(path)
    except FileNotFoundError:
        return False
    return True


def _make(path: bytes) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass  # another process was faster
    except FileNotFoundError:
        parent = path.rstrip(b"/").rpartition(b"/")[0]
        if not parent:
            raise
        _make(parent)
        try:
            posix.mkdir(path, 0o700)
        except FileExistsError:
            pass  # as above
