"""What a decision was read from, written down so that whoever finds the decision later can tell whether it still holds.

As a build tool checks what a target was made from: a line for each thing that was looked at, with what was seen.

    env NAME DIGEST           a variable; `-` for DIGEST if it was not set
    envs PREFIX DIGEST        all variables whose names begin so, names and values
    file STAMP PATH           a file that selects something; `-` for STAMP if it was not there, `~` if only a link was
                              that leads nowhere, `!` if nobody could look
    dir DIGEST PATH           the names in a directory; `-` and `!` as above
    until SECONDS             a moment since the epoch after which the decision does not hold any more

A digest is keyed with a word of the receipt's own, since some variables are secrets. A stamp is what changes whenever
the file does: device, inode, size, and both times in nanoseconds. What was written less than two seconds before it was
looked at may be written again within the same tick of the file system's clock: then the content's digest stands behind
the stamp, and the file is read again. Bytes of a path that are no printable ASCII, and `%`, are `%XX`.

This module is on the way of a cache hit. It imports built-ins only.
"""

import posix
from _blake2 import blake2b
from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from credhelpers.identity import Environment

LINES = 256  # a decision that was read from more is not kept
_STAMP_PARTS = 5
_YOUNG = 2.0  # seconds; the coarsest clocks of file systems tick once in two (FAT)
_CONTENT_BYTES = 1 << 22
_READ = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
_PLAIN = frozenset(range(0x21, 0x7F)) - {0x25}  # printable ASCII but blank and `%`
_MISSING = (FileNotFoundError, NotADirectoryError)


class Recorder:
    """Looks at variables, files and directories, and writes each look down. `word` keys the digests, 32 hex digits.

    Each thing is looked at once: what was seen first is what the decision was made from.
    """

    __slots__ = ("_environ", "_lines", "word")

    def __init__(self, environ: "Environment", word: str = "") -> None:
        self._environ = environ
        self._lines: dict[str, str] = {}
        self.word = word or posix.urandom(16).hex()

    @property
    def environ(self) -> "Environment":
        """The environment, in which each look is noted."""
        return _Looks(self)  # type: ignore[return-value] # as much of a mapping as is asked of it

    def variable(self, name: bytes) -> bytes | None:
        """What the variable says, None if it is not set."""
        self._lines.setdefault(f"env {_shown(name)}", _variable(self.word, self._environ, name))
        return self._environ.get(name)

    def variables(self, prefix: bytes) -> dict[bytes, bytes]:
        """All variables whose names begin so."""
        self._lines.setdefault(f"envs {_shown(prefix)}", _variables(self.word, self._environ, prefix))
        return {name: value for name, value in self._environ.items() if name.startswith(prefix)}

    def file(self, path: bytes, seen: "posix.stat_result | None" = None, content: bytes | None = None) -> None:
        """Note the file: by its path, or as it was read, with what `fstat` told of the descriptor."""
        stamp = _file(self.word, path, seen=seen, content=content)
        self._lines.setdefault(f"file {_shown(path)}", stamp)

    def directory(self, path: bytes) -> None:
        """Note the names in the directory."""
        self._lines.setdefault(f"dir {_shown(path)}", _directory(self.word, path))

    def until(self, moment: float) -> None:
        """Note that the decision ends then, in seconds since the epoch."""
        self._lines.setdefault("until", str(int(moment)))

    def lines(self) -> list[str]:
        """The receipt: a line for each look, in the order of the looks."""
        found = []
        for look, seen in self._lines.items():
            kind, _, name = look.partition(" ")
            found.append(f"{kind} {seen} {name}" if kind in ("file", "dir") else f"{look} {seen}")
        return found


class _Looks:
    """What `Recorder.environ` gives: enough of a mapping for those who ask for one variable after the other."""

    __slots__ = ("_recorder",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        value = self._recorder.variable(name)
        return default if value is None else value

    def __getitem__(self, name: bytes) -> bytes:
        value = self._recorder.variable(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: bytes) -> bool:
        return self._recorder.variable(name) is not None


def holds(lines: "Iterable[str]", word: str, environ: "Environment") -> bool:
    """Whether everything is as it was when the lines were written."""
    for line in lines:
        kind, _, rest = line.partition(" ")
        first, _, second = rest.partition(" ")
        if kind == "env":
            is_so = _variable(word, environ, decoded(first)) == second
        elif kind == "envs":
            is_so = _variables(word, environ, decoded(first)) == second
        elif kind == "file":
            is_so = _file(word, decoded(second), first) == first
        elif kind == "dir":
            is_so = _directory(word, decoded(second)) == first
        else:
            is_so = kind == "until" and time() < int(first)
        if not is_so:
            return False
    return True


def is_settled(lines: "Iterable[str]") -> bool:
    """Whether no line has the digest of a content only because the file was young when somebody looked at it.

    If one has, and the file has not changed since, a new look costs less from now on.
    """
    for line in lines:
        kind, _, rest = line.partition(" ")
        stamp = rest.partition(" ")[0].split(":")
        if kind == "file" and len(stamp) > _STAMP_PARTS and time() - max(int(stamp[3]), int(stamp[4])) / 1e9 > _YOUNG:
            return False
    return True


def _variable(word: str, environ: "Environment", name: bytes) -> str:
    value = environ.get(name)
    return "-" if value is None else _digest(word, value)


def _variables(word: str, environ: "Environment", prefix: bytes) -> str:
    named = sorted(item for item in environ.items() if item[0].startswith(prefix))
    return _digest(word, b"".join(b"%d:%s%d:%s" % (len(name), name, len(value), value) for name, value in named))


def _file(
    word: str,
    path: bytes,
    was: str = "",
    *,
    seen: "posix.stat_result | None" = None,
    content: bytes | None = None,
) -> str:
    """The stamp, with the content's digest behind it where `was` has one or, if there is no `was`, for a young file."""
    try:
        status = seen or posix.stat(path)
    except _MISSING:
        return "~" if _is_link(path) else "-"
    except (OSError, ValueError):
        return "!"
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    stamp = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
    if was.count(":") == _STAMP_PARTS or (not was and time() - changed / 1e9 < _YOUNG):
        return f"{stamp}:{_content(word, path) if content is None else _digest(word, content)}"
    return stamp


def is_absent(path: bytes) -> bool:
    """Whether nothing is there, not even a link."""
    return _file("", path, "-") == "-"


def _is_link(path: bytes) -> bool:
    try:
        posix.readlink(path)
    except OSError:
        return False
    return True


def _content(word: str, path: bytes) -> str:
    try:
        descriptor = posix.open(path, _READ)
    except (OSError, ValueError):
        return "!"
    try:
        return _digest(word, posix.read(descriptor, _CONTENT_BYTES))
    except OSError:
        return "!"
    finally:
        posix.close(descriptor)


def _directory(word: str, path: bytes) -> str:
    try:
        names = sorted(posix.listdir(path))
    except _MISSING:
        return "-"
    except (OSError, ValueError):
        return "!"
    return _digest(word, b"\0".join(names))


def _digest(word: str, content: bytes) -> str:
    return blake2b(content, digest_size=8, key=word.encode()).hexdigest()


def _shown(name: bytes) -> str:
    """As one word of ASCII."""
    if _PLAIN.issuperset(name):
        return name.decode("ascii")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name)


def decoded(shown: str) -> bytes:
    """The bytes that a word stands for, `%XX` by `%XX`."""
    if "%" not in shown:
        return shown.encode()
    first, *others = shown.split("%")
    return first.encode() + b"".join(bytes((int(part[:2], 16),)) + part[2:].encode() for part in others)
