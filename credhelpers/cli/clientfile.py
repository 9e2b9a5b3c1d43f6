"""A client's file, changed as its owner would want: whole or not at all, where its links lead, nobody let in.

docker and podman write beside and rename, without a lock; so is it done here. What they wrote in between is seen: the
file is read again just before the rename. Two of ours take turns by a lock on the directory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import stat
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from credhelpers import files, private
from credhelpers.errors import Unavailable, reason, remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1 << 23  # bytes; docker has none, and a file of a person's has some thousand
_MODE = 0o600  # of a new file, as docker's
_ACL = "system.posix_acl_access"
_MARK = ".credhelpers-"  # in the name of a file that is not yet in its place
_TURN = 10.0  # seconds for who edits the same directory's files
# A lock is not to be had on every file system: `flock(2)`, and NFS without a lock manager.
_NO_LOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF)
AGAIN = "then run it again"


class Changed(Exception):
    """Somebody else has written the file meanwhile: what to write must be thought of anew."""


@dataclass(frozen=True)
class Seen:
    """A file as it was read.

    path:    as its client names it
    target:  where its links lead
    content: what is in it, None where no file is
    status:  of the descriptor that was read, None where no file is
    """

    path: Path
    target: Path
    content: bytes | None = field(repr=False)
    status: os.stat_result | None

    @property
    def notes(self) -> list[str]:
        """What a person may want to know before it is replaced."""
        found = []
        owner = next(part for part in (self.target, *self.target.parents) if part.exists()).stat().st_uid
        if owner != os.geteuid():
            found.append(f"{self.path} is {_name(owner)}'s file, and stays so")
        if self.status and self.status.st_nlink > 1:
            found.append(f"{self.target} has another name (a hard link), under which it stays as it was")
        return found


def read(path: Path) -> Seen:
    """What is at `path`, links followed.

    Raises Unavailable for what is no regular file, is too long, cannot be read, or is one that who runs this must not
    touch: as root, a file to which a link of another user leads.
    """
    try:
        target = Path(os.path.realpath(path))
        _refuse_a_trap(path, target)
        try:
            content, status = files.read(os.fsencode(target), LIMIT)
        except FileNotFoundError:
            return Seen(path, target, None, None)
    except IsADirectoryError:
        raise Unavailable(
            "client-file-directory",
            f"{path} is a directory, as docker and compose make one where they mount what is not there",
            f"`rmdir {quote(str(path))}`, {AGAIN}",
        ) from None
    except files.NotRegular:
        raise Unavailable("client-file-irregular", f"{path} is not a file", f"move it away, {AGAIN}") from None
    except files.TooLong:
        raise Unavailable(
            "client-file-long", f"{path} is longer than {LIMIT >> 20} MiB", f"look what is in it with `ls -l`, {AGAIN}"
        ) from None
    except (OSError, ValueError) as error:
        raise _trouble(path, error) from None
    return Seen(path, target, content, status)


def write(seen: Seen, content: bytes | None, *, mode: int | None = None) -> str:
    """Replace what was seen by `content`, or remove it; what there is to say of how it was done.

    The mode stays as it is, without bits for a group that the file cannot keep; so does the owner. Directories that are
    missing are made, for the owner alone. Raises Changed if the file is another one by now, and Unavailable.
    """
    try:
        folder = seen.target.parent
        if content is not None and not os.path.lexists(seen.path):
            _make(folder)
        with _turn(folder):
            if _content(seen.target) != seen.content:
                raise Changed
            if content is None:
                return _remove(seen)
            return _replace(seen, content, mode)
    except (OSError, ValueError) as error:
        raise _trouble(seen.path, error) from None


def _remove(seen: Seen) -> str:
    seen.target.unlink(missing_ok=True)
    if not seen.path.is_symlink():
        return ""
    seen.path.unlink()  # it would lead nowhere, and podman fails for every registry at such a drop-in
    return f"{seen.path} was a link to {seen.target}, and both are gone"


def tidy(folder: Path) -> None:
    """Remove the directory if nothing is left in it."""
    with suppress(OSError):
        folder.rmdir()


def _replace(seen: Seen, content: bytes, mode: int | None) -> str:
    folder, name = seen.target.parent, seen.target.name
    beginning = f".{name}{_MARK}"
    for left in folder.iterdir():  # of who was killed: nobody else is here now
        if left.name.startswith(beginning):
            left.unlink()
    mode = mode or (stat.S_IMODE(seen.status.st_mode) & 0o777 if seen.status else _MODE)
    descriptor, temporary = tempfile.mkstemp(prefix=beginning, dir=folder)
    try:
        try:
            _give(descriptor, seen.status or folder.stat(), mode, _acl(seen.target) if seen.status else b"")
            private.fill(descriptor, content)
        finally:
            os.close(descriptor)
        if _content(seen.target) != seen.content:
            raise Changed
        try:
            Path(temporary).replace(seen.target)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EXDEV):
                raise
            _overwrite(seen, content)
            return f"{seen.path} is mounted by itself, so it was written in place"
    finally:
        Path(temporary).unlink(missing_ok=True)
    _sync(folder)
    return ""


def _give(descriptor: int, whose: os.stat_result, mode: int, acl: bytes) -> None:
    """Make the new file its owner's, with this mode and access control list.

    No group is let in by bits that were for another one, or that are the mask of a list which cannot be kept.
    """
    new = os.fstat(descriptor)
    if whose.st_uid != new.st_uid:
        os.fchown(descriptor, whose.st_uid, -1)
    try:
        if whose.st_gid != new.st_gid:
            os.fchown(descriptor, -1, whose.st_gid)
        os.fchmod(descriptor, mode)
        if acl and sys.platform == "linux":
            os.setxattr(descriptor, _ACL, acl)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
            raise
        os.fchmod(descriptor, mode & ~0o070)


def _acl(target: Path) -> bytes:
    """The file's access control list (acl(5)), as the system keeps it; nothing where there is none."""
    try:
        return os.getxattr(target, _ACL) if sys.platform == "linux" else b""
    except OSError:
        return b""


def _overwrite(seen: Seen, content: bytes) -> None:
    """Write it in place: what is mounted by itself, as into a container, cannot be renamed over.

    Where there is no room for it, it is as it was.
    """
    descriptor = os.open(seen.target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if sys.platform == "linux" and content:
            os.posix_fallocate(descriptor, 0, len(content))
        private.fill(descriptor, content)
        os.ftruncate(descriptor, len(content))
    except OSError:
        before = seen.content or b""
        os.lseek(descriptor, 0, os.SEEK_SET)
        private.fill(descriptor, before)
        os.ftruncate(descriptor, len(before))
        raise
    finally:
        os.close(descriptor)


def _content(target: Path) -> bytes | None:
    try:
        return files.read(os.fsencode(target), LIMIT)[0]
    except FileNotFoundError:
        return None


def _make(folder: Path) -> None:
    """Make the directory and its missing parents, which are whose the nearest one is that there was."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    above = folder.parent.stat()
    if above.st_uid != os.geteuid():
        os.chown(folder, above.st_uid, above.st_gid, follow_symlinks=False)  # it may be a link by now


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Alone among those that edit by this module. Raises Unavailable if another one does not end."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + _TURN
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable(
                        "client-file-busy",
                        f"another program edits what is in {folder}",
                        f"see `fuser {quote(str(folder))}`, {AGAIN}",
                    ) from None
                time.sleep(0.05)
                continue
            except OSError as error:
                if error.errno not in _NO_LOCK:
                    raise
            break
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    """Have the new name on the disk, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_a_trap(path: Path, target: Path) -> None:
    """As root, no link of another user's may lead to what is not that user's."""
    if os.geteuid() != 0 or target == path:
        return
    users = {part.lstat().st_uid for part in (path, *path.parents) if os.path.lexists(part)} - {0}
    end = next(part for part in (target, *target.parents) if part.exists()).stat().st_uid
    if users - {end}:
        raise Unavailable(
            "client-file-foreign-link",
            f"{path} is behind a link of {_name(min(users - {end}))}'s to what is {_name(end)}'s",
            f"run it as the user whose file it is, or look at the link with `namei -l {quote(str(path))}`",
        )


def _trouble(path: Path, error: OSError | ValueError) -> Unavailable:
    # The way of an error that the system gives to read or to write: the path, its words, what to do.
    return Unavailable(
        "client-file-trouble",
        f"{path} cannot be read or written ({reason(error)})",
        remedy(error, f"look at its owner and mode with `ls -l`, {AGAIN}"),
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
