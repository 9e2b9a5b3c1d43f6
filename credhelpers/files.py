"""Files and directories whose word counts: who else could have written it.

`private` is about what is ours alone. Here is what others may read: a configuration, a program, the directory of a
socket. Nothing of it is on the way of a cache hit.
"""

import posix

from credhelpers import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUP_MAY_WRITE, _ALL_MAY_WRITE = 0o020, 0o002
_S_IFMT, _S_IFLNK = 0o170000, 0o120000  # <sys/stat.h>
_LINKS = 40  # that a path may lead through, as on Linux (path_resolution(7))
_SHOWN = 120  # letters; a hint is cut after 400


def is_trusted(status: "posix.stat_result") -> bool:
    """Whether nobody can have written it but root and this user.

    `status` is that of a descriptor, or of a path whose parents have been looked at.
    """
    owner = status.st_uid
    is_known = owner == 0 or (owner == posix.geteuid() and not userns.is_anybody(owner))
    return is_known and not others_may_write(status)


def mending(path: bytes, status: "posix.stat_result") -> str:
    """The command that makes the file trusted, see `is_trusted`; "" if it is.

    What names a server, an identity or a command to run must be, whichever program wrote it.
    """
    if is_trusted(status):
        return ""
    shown = _shown(path)
    if status.st_uid in (0, posix.geteuid()):
        return f"chmod go-w {shown}"
    # Whether a group is its owner's own is another thing when it has another owner.
    more = f" && chmod go-w {shown}" if status.st_mode & (_GROUP_MAY_WRITE | _ALL_MAY_WRITE) else ""
    return f"sudo chown {posix.geteuid()} {shown}{more}"


def _shown(path: bytes) -> str:
    """The path as a word for a shell, as far as a line has room for it."""
    from shlex import quote

    text = path.decode("ascii", "replace")
    return quote(text) if len(text) <= _SHOWN and text.isprintable() and "\ufffd" not in text else "FILE"


def others_may_write(status: "posix.stat_result") -> bool:
    """Whether somebody but its owner may write it. The owner's private group has nobody else in it and does not count.

    With such groups people have umask 002, as on Fedora and Ubuntu, and what they write is open to that group.
    """
    if status.st_mode & _ALL_MAY_WRITE:
        return True
    return bool(status.st_mode & _GROUP_MAY_WRITE) and not is_private_group(status.st_gid, status.st_uid)


def is_reserved(path: bytes, owner: int | None) -> bool:
    """Whether nobody but root, this user and `owner` can have put there what lies at an absolute path.

    That is so if they alone may write every directory on the way to it, links followed. Where root has no number in a
    user namespace its directories cannot be told from those of others: only their modes count there, since above each
    of them is one that its owner was let into. Raises OSError for a path that leads nowhere, or where nobody can look.
    """
    users = {0, posix.geteuid(), owner}
    return all(
        (status.st_uid in users or userns.is_anybody(status.st_uid)) and not others_may_write(status)
        for status in _directories(path)
    )


def _directories(path: bytes) -> "Iterator[posix.stat_result]":
    """Every directory in which the system looks up a name on the way to `path`, also for its links."""
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
        if posix.lstat(here).st_mode & _S_IFMT != _S_IFLNK:
            resolved.append(name)
            continue
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
