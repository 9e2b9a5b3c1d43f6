"""The notes of what a person typed for a registry of a source: it lies in the store, and since when.

One small file for a host and port, in the directory of the embedded store. What it says counts, and nothing else that a
store has: people have an old token of ECR in a keyring, put there before there was anything that minted. The file is

    credhelpers-typed 1 HOST[:PORT]
    SERVER SECONDS USERNAME

with a line for what was typed for the whole registry, and one for each path below it: the key in the store, when it was
typed, in seconds since the epoch, and the user name with `%XX` for a byte that is no printable ASCII. A receipt has the
file's stamp, or that there is none. A file that others could have written is no note.
"""

from _blake2 import blake2b
from time import monotonic, time

from credhelpers import receipt
from credhelpers.errors import Unavailable, shortage
from credhelpers.recorder import shown
from credhelpers.servers import Authority
from credhelpers.stores.folder import Folder, directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment

_MAGIC = "credhelpers-typed 1 "
_SUFFIX = b".typed"
_LOCK = b"typed-lock"
_TURN = 1.0  # seconds to wait for another writer; two at once are rare, and what is lost is a note, not a secret
_LINES = 64
_NAME_LETTERS = 256  # a longer user name is not told by `list`


class Note:
    """What was typed: for which path below the registry ("" for all of it), under which key, when, and who."""

    __slots__ = ("at", "path", "server", "username")

    def __init__(self, server: str, at: int, username: str) -> None:
        self.server = server
        self.at = at
        self.username = username
        self.path = _paths(Authority(server))[0]


def path_of(authority: Authority, environ: "Environment") -> bytes | None:
    """Where the note for a registry is if there is one; None without a home."""
    folder = directory(environ)
    return folder and folder + b"/" + _file(authority.name)


class Notes:
    """All notes of this user. What reads raises Shortage only, what writes Unavailable.

    is_unread: whether there was one that could not be read, so that what was typed there is not known
    """

    __slots__ = ("_folder", "is_unread")

    def __init__(self, environ: "Environment") -> None:
        self._folder = Folder(directory(environ))
        self.is_unread = False

    def find(self, authority: Authority) -> Note | None:
        """What was typed for the authority: for its path, for the nearest above, for the registry."""
        found = {note.path: note for note in self._read(authority.name)}
        return next((found[path] for path in _paths(authority) if path in found), None)

    def below(self, authority: Authority) -> list[Note]:
        """What a logout from the authority means: exactly this path, or all that was typed for the registry."""
        path = _paths(authority)[0]
        return [note for note in self._read(authority.name) if path in ("", note.path)]

    def all(self) -> list[Note]:
        """Every one."""
        try:
            names = [name for name in self._folder.names() if name.endswith(_SUFFIX)]
        except Unavailable:
            return []
        return [note for name in names for note in self._read_file(name)]

    def add(self, authority: Authority, username: str) -> str:
        """Note that it was typed now. Returns the key under which the same was before, "" for none."""
        new = Note(authority.sent, int(time()), username if len(_word(username)) < _NAME_LETTERS else "")
        return self._change(authority, new.path, new)

    def forget(self, authority: Authority, note: Note) -> None:
        """Have that note no more."""
        self._change(authority, note.path)

    def _change(self, authority: Authority, path: str, *new: Note) -> str:
        import posix

        turn = self._folder.lock(_LOCK, monotonic() + _TURN)
        try:
            notes = self._read(authority.name)
            old = next((note.server for note in notes if note.path == path), "")
            notes = [*(note for note in notes if note.path != path), *new][-_LINES:]
            if notes:
                lines = [f"{note.server} {note.at} {_word(note.username)}" for note in notes]
                self._folder.write(_file(authority.name), "\n".join((_MAGIC + authority.name, *lines, "")).encode())
            else:
                self._folder.remove(_file(authority.name))
            return old
        finally:
            if turn >= 0:
                posix.close(turn)

    def _read(self, name: str) -> list[Note]:
        return self._read_file(_file(name))

    def _read_file(self, file: bytes) -> list[Note]:
        try:
            head, *lines = (self._folder.read(file) or b"").decode("ascii").split("\n")
            if not head.startswith(_MAGIC) or file != _file(head.removeprefix(_MAGIC)):
                return []
            found = []
            for line in filter(None, lines):
                server, at, username = line.split(" ")
                found.append(Note(server, int(at), receipt.decoded(username).decode("utf-8", "surrogateescape")))
        except Unavailable as error:
            if lacking := shortage(error):
                raise lacking from None
            self.is_unread = True
            return []
        except ValueError:
            return []
        return found


def _word(username: str) -> str:
    return shown(username.encode("utf-8", "surrogateescape"))


def _file(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=20).hexdigest().encode() + _SUFFIX


def _paths(authority: Authority) -> list[str]:
    """The path below the registry, each leading part of it, and "" for all of the registry."""
    parts = [] if authority.is_whole else authority.path.strip("/").split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]
