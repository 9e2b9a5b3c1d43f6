"""Files and directories that only this user may touch: the one place that says what that means.

Nothing is followed through a link, and what others could have read or written is refused, never repaired. A mode is set
where a file is made, never after.

This module is on the way of a cache hit. It imports built-ins only.
"""

import posix

_READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_CREATE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_LOCK = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_S_IFMT, _S_IFREG, _S_IFDIR = 0o170000, 0o100000, 0o040000  # <sys/stat.h>; `stat` would be one more import


def is_private_directory(status: "posix.stat_result") -> bool:
    """Whether it is a directory of this user that nobody else may enter."""
    return _is_private(status, _S_IFDIR)


def open_directory(path: bytes) -> int:
    """A descriptor of the directory. Raises OSError, PermissionError if it is not private, ValueError for a NUL."""
    folder = posix.open(path, _DIRECTORY)
    if is_private_directory(posix.fstat(folder)):
        return folder
    posix.close(folder)
    raise PermissionError(1, "the directory is not private to this user")


def read(folder: int, name: bytes, limit: int) -> bytes:
    """The first `limit` bytes of the file. Raises OSError, PermissionError if it is no private regular file."""
    descriptor = open_file(folder, name)
    try:
        return posix.read(descriptor, limit)
    finally:
        posix.close(descriptor)


def open_file(folder: int, name: bytes) -> int:
    """A descriptor of the file, to be read. Raises OSError, PermissionError if it is no private regular file."""
    descriptor = posix.open(name, _READ, dir_fd=folder)
    try:
        _require_file(descriptor)
    except OSError:
        posix.close(descriptor)
        raise
    return descriptor


def create(folder: int, name: bytes) -> int:
    """A descriptor of a file that was not there before. Raises OSError."""
    return posix.open(name, _CREATE, 0o600, dir_fd=folder)


def fill(descriptor: int, content: bytes) -> None:
    """Write all of `content`, onto the disk. Raises OSError."""
    while content:
        content = content[posix.write(descriptor, content) :]
    posix.fsync(descriptor)


def open_lock(folder: int, name: bytes, *, create: bool = True) -> int:
    """A descriptor of a file to be locked, which is made if `create` says so. Raises OSError as `read` does."""
    descriptor = posix.open(name, _LOCK if create else _READ, 0o600, dir_fd=folder)
    try:
        _require_file(descriptor)
    except OSError:
        posix.close(descriptor)
        raise
    return descriptor


def unlink(folder: int, name: bytes | str) -> bool:
    """Whether the file was there. It is not any more. Raises OSError."""
    try:
        posix.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    except OSError:
        try:  # a read-only file system refuses before it looks
            posix.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        raise
    return True


def owner_above(path: bytes) -> int:
    """Whose the nearest directory is that is not root's, by its name and by where that leads; 0 if all are root's.

    In a user namespace, who has no number there may be root outside. Raises OSError.
    """
    from posixpath import realpath

    from credhelpers import userns  # no hit asks

    for name in (path, realpath(path)):
        above = name.rstrip(b"/")
        while above:
            owner = _owner(above)
            if owner != 0 and not userns.is_anybody(owner):
                return owner
            above = above.rpartition(b"/")[0]
    return 0


def _owner(path: bytes) -> int:
    try:
        return posix.stat(path).st_uid
    except FileNotFoundError:
        return 0  # it may be made


def _require_file(descriptor: int) -> None:
    if not _is_private(posix.fstat(descriptor), _S_IFREG):
        raise PermissionError(1, "the file is not private to this user")


def _is_private(status: "posix.stat_result", kind: int) -> bool:
    return status.st_mode & _S_IFMT == kind and status.st_mode & 0o077 == 0 and status.st_uid == posix.geteuid()
