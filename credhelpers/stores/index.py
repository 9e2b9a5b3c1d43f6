"""What lies in the OS keyring, as far as this user's files know: one small file a server, no user names, no secrets.

It answers two questions that a keyring cannot: what lies there when there is no way to it, and, for keyrings that
cannot be listed, which servers to ask for. A file a server needs no lock: writers of different servers do not meet.

This module is on the way of a `get` from the embedded store. It imports built-ins only.
"""

from _blake2 import blake2b

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.stores.folder import Folder

_OF_THE_SYSTEM = b".keyring"


class Index:
    """The servers with an item in the OS keyring. Every method raises Unavailable as those of `Folder` do.

    suffix: of its files, another one for another keyring
    """

    __slots__ = ("_folder", "_suffix")

    def __init__(self, folder: "Folder", suffix: bytes = _OF_THE_SYSTEM) -> None:
        self._folder = folder
        self._suffix = suffix

    def has(self, server: str) -> bool:
        """Whether `server` is known to have an item."""
        return self._folder.has(self._name(server))

    def add(self, server: str) -> None:
        """Note that `server` has an item."""
        if not self.has(server):
            self._folder.write(self._name(server), server.encode())

    def forget(self, server: str) -> bool:
        """Whether `server` was noted. It is not any more."""
        return self._folder.remove(self._name(server))

    def servers(self) -> list[str]:
        """All of them, in no order."""
        found = []
        for name in self._folder.names():
            if name.endswith(self._suffix):
                server = (self._folder.read(name) or b"").decode("ascii", "replace")
                if name == self._name(server):  # else damaged, or removed just now
                    found.append(server)
        return found

    def _name(self, server: str) -> bytes:
        return blake2b(server.encode(), digest_size=20).hexdigest().encode() + self._suffix
