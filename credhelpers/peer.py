"""Who is at the other end of a unix socket.

A socket is found by where it lies, and whoever came first may have put it there. The kernel knows the user of the
process that listens, so it is asked before the first byte is sent.
"""

import posix
import sys

from credhelpers import files, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

_CREDENTIALS = 12  # bytes of `struct ucred`: process, user and group (unix(7))


def user(connection: "socket.socket") -> int | None:
    """The user of the process that listens there; None if that may be anybody, see `userns`. Raises OSError.

    Linux: SO_PEERCRED, of the moment when it began to listen (unix(7)). macOS: getpeereid(3).
    """
    if sys.platform.startswith("linux"):
        import socket as sockets

        credentials = connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _CREDENTIALS)
        found = int.from_bytes(credentials[4:8], sys.byteorder)
    else:
        found = _getpeereid(connection.fileno())
    return None if userns.is_anybody(found) else found


def is_meant(connection: "socket.socket", path: bytes) -> bool:
    """Whether it is the one that a person meant who named `path`, an absolute one. Raises OSError.

    That is a process of this user or of root, or of any user if nobody else can have put a socket there: an agent often
    runs as a user of its own.
    """
    owner = user(connection)
    return owner in (posix.geteuid(), 0) or files.is_reserved(path, owner)


def _getpeereid(descriptor: int, library: str | None = None) -> int:
    """The effective user at the other end, by getpeereid(3) of the program itself or of a library."""
    import ctypes

    function = ctypes.CDLL(library, use_errno=True).getpeereid
    found, group = ctypes.c_uint32(), ctypes.c_uint32()
    if function(descriptor, ctypes.byref(found), ctypes.byref(group)):
        raise OSError(ctypes.get_errno(), "getpeereid")
    return found.value
