"""A directory that only this user may touch, and its files: what the stores keep on disk.

Files are written beside and renamed, so a reader sees a whole old one or a whole new one and takes no lock. What a
stranger could have written or read is neither trusted nor repaired.

This module is on the way of a `get` from the embedded store. It imports built-ins only.
"""

import _signal
import posix
from time import monotonic, sleep, time

from credhelpers import private
from credhelpers.errors import Unavailable, reason, remedy
from credhelpers.identity import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.identity import Environment

_FILE_BYTES = 128 * 1024  # an answer is under 64 KiB, age adds little
_DEBRIS_AGE = 3600  # seconds; a temporary file this old has no writer any more
_POLL = 0.01  # seconds
_S_IFMT, _S_IFDIR = 0o170000, 0o040000  # <sys/stat.h>

_STOPPING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGALRM)


def directory(environ: "Environment") -> bytes | None:
    """`$XDG_DATA_HOME/credhelpers`, else `~/.local/share/credhelpers`; None without a home. Never a shared directory.

    A relative `XDG_DATA_HOME` does not count, as the XDG base directory specification says.
    """
    data = environ.get(b"XDG_DATA_HOME", b"")
    if data.startswith(b"/"):
        return data + b"/credhelpers"
    folder = home(environ)
    return folder + b"/.local/share/credhelpers" if folder.startswith(b"/") else None


class Folder:
    """The files in the directory `path`, which is made at the first write; None is a directory that is always empty.

    Every method raises Unavailable if the directory or the file is not private to this user, or the system fails.
    """

    __slots__ = ("_path",)

    def __init__(self, path: bytes | None) -> None:
        self._path = path

    def require(self) -> None:
        """Raise Unavailable if there can be no directory at all."""
        if self._path is None:
            raise Unavailable(
                "store-no-home",
                "there is no home directory to keep credentials in",
                "`export HOME=...` or `export XDG_DATA_HOME=...`",
            )

    def make(self) -> None:
        """Make the directory if it is not there."""
        self.require()
        posix.close(self._open(create=True))

    def read(self, name: bytes) -> bytes | None:
        """The content of a file, or None if there is none."""
        folder = self._open()
        if folder < 0:
            return None
        try:
            return private.read(folder, name, _FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(error, self._path or b"") from None
        finally:
            posix.close(folder)

    def has(self, name: bytes) -> bool:
        """Whether a file of this name is to be seen, also in a directory that is not to be trusted. Raises nothing."""
        return self._path is not None and _is_there(self._path + b"/" + name)

    def may_have_had(self, name: bytes) -> bool:
        """The same, and whether somebody has put something else in the place of the directory."""
        return self.has(name) or (self._path is not None and _is_no_directory(self._path))

    def write(self, name: bytes, content: bytes) -> None:
        """Make the file hold `content`, on the disk when this returns."""

        def replace(temporary: bytes, folder: int) -> None:
            posix.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)

        self._put(content, replace)

    def create(self, name: bytes, content: bytes) -> None:
        """As `write`, but of all that do it at once the first one wins, and an existing file stays as it is."""

        def link(temporary: bytes, folder: int) -> None:
            try:
                posix.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                return  # another process was faster
            finally:
                private.unlink(folder, temporary)

        self._put(content, link)

    def remove(self, name: bytes) -> bool:
        """Whether there was such a file. There is none any more."""
        folder = self._open()
        if folder < 0:
            return False
        try:
            if not private.unlink(folder, name):
                return False
            posix.fsync(folder)
        except OSError as error:
            raise _unwritable(error, self._path or b"") from None
        else:
            return True
        finally:
            posix.close(folder)

    def names(self) -> list[bytes]:
        """The names of all files that `write` or `create` have finished."""
        folder = self._open()
        if folder < 0:
            return []
        try:
            return [name.encode() for name in posix.listdir(folder) if not name.startswith(".") and name.isascii()]
        except OSError as error:
            raise _unreadable(error, self._path or b"") from None
        finally:
            posix.close(folder)

    def lock(self, name: bytes, until: float) -> int:
        """Wait for the lock `name` until the monotonic clock shows `until`. Closing the descriptor lets go.

        -1 if it was not to be had in time or there is nothing to lock: who only wants to wait its turn goes on then.
        """
        import fcntl  # what a `get` does not need

        descriptor = -1
        try:
            folder = self._open(create=True)
            if folder < 0:
                return -1
            try:
                descriptor = private.open_lock(folder, name)
            finally:
                posix.close(folder)
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if monotonic() >= until:
                        raise
                    sleep(_POLL)
                else:
                    return descriptor
        except (OSError, Unavailable):
            if descriptor >= 0:
                posix.close(descriptor)
            return -1

    def _open(self, *, create: bool = False) -> int:
        """A descriptor of the directory, or -1 if there is none."""
        if self._path is None:
            return -1
        try:
            if create:
                _make(self._path)
            return private.open_directory(self._path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            if isinstance(error, FileNotFoundError) and not create:
                return -1
            raise (_unwritable if create else _unreadable)(error, self._path) from None

    def _put(self, content: bytes, finish: "Callable[[bytes, int], None]") -> None:
        self.require()
        folder = self._open(create=True)
        temporary = b"." + posix.urandom(8).hex().encode()
        held = _signal.pthread_sigmask(_signal.SIG_BLOCK, _STOPPING)  # whoever is told to stop cleans up first
        try:
            _sweep(folder)
            descriptor = private.create(folder, temporary)
            try:
                try:
                    private.fill(descriptor, content)
                finally:
                    posix.close(descriptor)
                finish(temporary, folder)
            except OSError:
                private.unlink(folder, temporary)
                raise
            posix.fsync(folder)
        except OSError as error:
            raise _unwritable(error, self._path or b"") from None
        finally:
            posix.close(folder)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, held)


def _is_there(path: bytes) -> bool:
    try:
        posix.lstat(path)
    except (OSError, ValueError):
        return False
    return True


def _is_no_directory(path: bytes) -> bool:
    try:
        return posix.stat(path).st_mode & _S_IFMT != _S_IFDIR
    except (OSError, ValueError):
        return False


def _make(path: bytes) -> None:
    from credhelpers import mkdir  # what a `get` does not need

    try:
        mkdir.make(path)
    except mkdir.SomebodyElses:
        raise Unavailable(
            "store-not-roots",
            "root keeps no credentials below a directory of somebody else's",
            "`sudo -H` has root's own home, and without `sudo` they are kept in yours",
        ) from None


def _sweep(folder: int) -> None:
    """Remove what killed writers left."""
    for name in posix.listdir(folder):
        if name.startswith("."):
            try:
                if posix.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < time() - _DEBRIS_AGE:
                    posix.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                pass  # its writer has finished


def _unreadable(error: OSError | ValueError, path: bytes) -> Unavailable:
    from credhelpers.stores import mending  # what a `get` does not need

    if mending.is_not_private(error):
        return Unavailable(
            "store-exposed",
            "the directory of the embedded store, or a file in it, is not private to this user",
            mending.closing(path),
        )
    hint = mending.entering(path) or f"look at it with `ls -la {mending.shown(path)}`"
    return Unavailable("store-unreadable", f"the embedded store cannot be read: {reason(error)}", hint)


def _unwritable(error: OSError | ValueError, path: bytes) -> Unavailable:
    from credhelpers.stores import mending  # as above

    if mending.is_not_private(error):
        return _unreadable(error, path)
    word = mending.shown(path)
    hint = mending.entering(path) or f"look at it with `ls -la {word}` and `df`"
    return Unavailable(
        "store-unwritable", f"the embedded store cannot be written: {reason(error)}", remedy(error, hint)
    )
