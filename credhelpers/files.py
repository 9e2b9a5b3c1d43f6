"""Files and directories whose word counts: what is in it, and who else could have written it.

`private` is about what is ours alone. Here is what others may read: a configuration, a certificate, a program, the
directory of a socket. Nothing of it is on the way of a cache hit.
"""

import posix

from credhelpers import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUP_MAY_WRITE, _ALL_MAY_WRITE = 0o020, 0o002
_ALL_MAY_READ, _OTHERS_MAY = 0o004, 0o077
_STICKY = 0o1000
_READ = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC  # a FIFO must not hold the call
_S_IFMT, _S_IFREG, _S_IFDIR, _S_IFLNK = 0o170000, 0o100000, 0o040000, 0o120000  # <sys/stat.h>
_EISDIR, _EINVAL, _EFBIG = 21, 22, 27
_LINKS = 40  # that a path may lead through, as on Linux (path_resolution(7))
_SHOWN = 120  # letters; a hint is cut after 400


class Unread(OSError):
    """It was opened, and could not be read."""


class NotRegular(Unread):
    """It is a pipe or a device, which has no end or makes one wait for it. A directory is an IsADirectoryError."""


class TooLong(Unread):
    """It is longer than such a file can be."""


def read(path: bytes | str, limit: int) -> "tuple[bytes, posix.stat_result]":
    """What is in a regular file of at most `limit` bytes, links followed, and whose it is.

    Both are of the descriptor that was read: at the path there may be another file by now. Raises FileNotFoundError or
    NotADirectoryError if it is not there, IsADirectoryError, Unread and its kinds, another OSError if it cannot be
    opened, and ValueError for what can be no path.
    """
    descriptor = posix.open(path, _READ)
    try:
        status = posix.fstat(descriptor)
        kind = status.st_mode & _S_IFMT
        if kind == _S_IFDIR:
            raise IsADirectoryError(_EISDIR, "Is a directory")
        if kind != _S_IFREG:
            raise NotRegular(_EINVAL, "Not a regular file")
        content = b""
        try:
            while len(content) <= limit and (more := posix.read(descriptor, limit + 1 - len(content))):
                content += more
        except OSError as error:
            raise Unread(error.errno, error.strerror) from None
    finally:
        posix.close(descriptor)
    if len(content) > limit:
        raise TooLong(_EFBIG, "File too large")
    return content, status


def is_trusted(status: "posix.stat_result") -> bool:
    """Whether nobody can have written it but root and this user.

    `status` is that of a descriptor, or of a path whose parents have been looked at. In a user namespace, as of
    rootless podman, root's files are shown like those of anybody without a number there: the way to one tells more.
    """
    is_known = status.st_uid in (0, posix.geteuid()) or userns.is_anybody(status.st_uid)
    return is_known and not others_may_write(status)


def mending(path: bytes, status: "posix.stat_result") -> str:
    """The command that makes the file at an absolute path trusted, see `is_trusted`; "" if it is.

    What names a server, an identity or a command to run must be, whichever program wrote it.
    """
    if is_trusted(status) and not (userns.is_anybody(status.st_uid) and _is_in_shared_place(path)):
        return ""
    word = shown(path)
    if own := _own_home(path, status):
        return f"export HOME={shown(own)}"
    if status.st_uid in (0, posix.geteuid()):
        return f"chmod go-w {word}"
    # Whether a group is its owner's own is another thing when it has another owner.
    more = f" && chmod go-w {word}" if status.st_mode & (_GROUP_MAY_WRITE | _ALL_MAY_WRITE) else ""
    return f"sudo chown {userns.outside(posix.geteuid())} {word}{more}"


def _own_home(path: bytes, status: "posix.stat_result") -> bytes:
    """Root's home, where root has read another user's file in that one's home, as under `sudo -E`; else "".

    To own the file would take it from who needs it.
    """
    home = posix.environ.get(b"HOME", b"")
    if posix.geteuid() or not home.startswith(b"/") or not path.startswith(home.rstrip(b"/") + b"/"):
        return b""
    import pwd

    try:
        own = pwd.getpwuid(0).pw_dir.encode("utf-8", "surrogateescape")
        return own if posix.stat(home).st_uid == status.st_uid != 0 and own != home else b""
    except (KeyError, OSError):
        return b""


def shown(path: bytes, room: int = _SHOWN) -> str:
    """The path as a word for a shell, `FILE` if it has more letters than there is room for."""
    from shlex import quote

    text = path.decode("ascii", "replace")
    return quote(text) if len(text) <= room and text.isprintable() and "\ufffd" not in text else "FILE"


def others_may_write(status: "posix.stat_result") -> bool:
    """Whether somebody but its owner may write it. The owner's private group has nobody else in it and does not count.

    With such groups people have umask 002, as on Fedora and Ubuntu, and what they write is open to that group.
    """
    if status.st_mode & _ALL_MAY_WRITE:
        return True
    return bool(status.st_mode & _GROUP_MAY_WRITE) and not is_private_group(status.st_gid, status.st_uid)


def is_secret(status: "posix.stat_result") -> bool:
    """Whether the mode lets nobody but its owner at it, and that is root or this user: ssh's rule for a private key."""
    return not status.st_mode & _OTHERS_MAY and status.st_uid in (0, posix.geteuid())


def is_open(status: "posix.stat_result") -> bool:
    """Whether all may read it, or somebody but its owner may write it.

    A group may read it: what hands secrets to other users does so by a group.
    """
    return bool(status.st_mode & _ALL_MAY_READ) or others_may_write(status)


def is_reserved(path: bytes, owner: int | None, *, is_owned: bool = False) -> bool:
    """Whether nobody but root, this user and `owner` can have put there what lies at an absolute path.

    With `is_owned` what lies there is known to be one's of them. Then a directory such as /tmp may be on the way, in
    which all may write, and each may take away only what is his (the sticky bit, unlink(2)).

    That is so if they alone may write every directory on the way to it, links followed. Where root has no number in a
    user namespace its directories cannot be told from those of others: only their modes count there, since above each
    of them is one that its owner was let into. Raises OSError for a path that leads nowhere, or where nobody can look.
    """
    users = {0, posix.geteuid(), owner}
    return all(
        (status.st_uid in users or userns.is_anybody(status.st_uid))
        and (_is_link(status) or not others_may_write(status) or (is_owned and status.st_mode & _STICKY))
        for status in _on_the_way(path)
    )


def _is_in_shared_place(path: bytes) -> bool:
    """Whether anybody can have put it there, by a link, too."""
    try:
        return not is_reserved(path, None)
    except (OSError, ValueError):
        return True


def _is_link(status: "posix.stat_result") -> bool:
    return status.st_mode & _S_IFMT == _S_IFLNK


def _on_the_way(path: bytes) -> "Iterator[posix.stat_result]":
    """Every directory in which the system looks up a name on the way to `path`, also for its links, and these."""
    rest = path.split(b"/")[::-1]
    resolved: list[bytes] = []
    links = 0
    while rest:
        name = rest.pop()
        if name == b"..":
            del resolved[-1:]
        if name in (b"", b".", b".."):
            continue
        folder = b"/" + b"/".join(resolved)
        yield posix.stat(folder)
        here = folder + b"/" + name
        status = posix.lstat(here)
        if not _is_link(status):
            resolved.append(name)
            continue
        yield status
        links += 1
        if links > _LINKS:
            raise OSError(40, "too many links")  # ELOOP
        target = posix.readlink(here)
        if target.startswith(b"/"):
            resolved.clear()
        rest += target.split(b"/")[::-1]
    found, meant = posix.stat(b"/" + b"/".join(resolved)), posix.stat(path)
    if (found.st_dev, found.st_ino) != (meant.st_dev, meant.st_ino):
        raise OSError(40, "a link of /proc leads elsewhere than it says")  # ELOOP, as of openat2(2)


def is_private_group(group: int, user: int) -> bool:
    """Whether it is the user's own: of the same name, the primary one, and with no other member in the databases."""
    import grp
    import pwd

    try:
        owner = pwd.getpwuid(user)
        entry = grp.getgrgid(group)
    except (KeyError, OverflowError):
        return False
    if entry.gr_name != owner.pw_name or owner.pw_gid != group:
        return False
    # A directory service may not list its users here; theirs is another group's name, then.
    others = {*entry.gr_mem, *(other.pw_name for other in pwd.getpwall() if other.pw_gid == group)}
    return others <= {owner.pw_name}
