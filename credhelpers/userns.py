"""Numbers of users in a user namespace, as rootless podman and buildah make one (user_namespaces(7)).

Whoever has no number in it is shown as the overflow user, and so one number stands for many people.
"""

import posix
import sys

_FIELDS = 3  # of a line of uid_map: the first number inside, the first one outside, how many
_ALL = 2**32 - 1  # how many numbers of users there are: the initial namespace has them all
_OVERFLOW = 65534  # what the kernel takes unless the system says otherwise


def is_anybody(user: int) -> bool:
    """Whether the number may stand for users that have none of their own here."""
    if not sys.platform.startswith("linux"):
        return False
    lines = [line.split() for line in _read("/proc/self/uid_map").splitlines()]
    if any(len(line) == _FIELDS and line[0] == line[1] == b"0" and int(line[2]) >= _ALL for line in lines):
        return False
    return user == int(_read("/proc/sys/kernel/overflowuid").strip() or _OVERFLOW)


def outside(user: int) -> int:
    """The number that the user has where the namespace was made; the same where there is none."""
    if not sys.platform.startswith("linux"):
        return user
    for line in _read("/proc/self/uid_map").splitlines():
        first, there, count = (int(word) for word in line.split())
        if first <= user < first + count:
            return there + user - first
    return user


def _read(path: str) -> bytes:
    """What the kernel says there; nothing where /proc is not mounted."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(descriptor, 1 << 16)
    finally:
        posix.close(descriptor)
