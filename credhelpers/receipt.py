"""What a decision was read from: whether that is still as it was, by lines that a `recorder` has written.

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

_STAMP_PARTS = 5
_YOUNG = 2.0  # seconds; the coarsest clocks of file systems tick once in two (FAT)
_CONTENT_BYTES = 1 << 22
_READ = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
_S_IFMT, _S_IFREG = 0o170000, 0o100000  # <sys/stat.h>
_MISSING = (FileNotFoundError, NotADirectoryError)


def holds(lines: "Iterable[str]", word: str, environ: "Environment") -> bool:
    """Whether everything is as it was when the lines were written. A line that nobody can read does not hold."""
    try:
        for line in lines:
            kind, _, rest = line.partition(" ")
            first, _, second = rest.partition(" ")
            if kind == "env":
                is_so = variable_now(word, environ, decoded(first)) == second
            elif kind == "envs":
                is_so = variables_now(word, environ, decoded(first)) == second
            elif kind == "file":
                is_so = file_now(word, decoded(second), first) == first
            elif kind == "dir":
                is_so = directory_now(word, decoded(second)) == first
            else:
                is_so = kind == "until" and time() < int(rest)
            if not is_so:
                return False
    except ValueError:
        return False
    return True


def is_settled(lines: "Iterable[str]") -> bool:
    """Whether no line has the digest of a content only because the file was young when somebody looked at it.

    If one has, and the file has not changed since, a new look costs less from now on. Raises ValueError for a stamp
    that nobody can read.
    """
    old = (time() - _YOUNG) * 1e9
    for line in lines:
        kind, _, rest = line.partition(" ")
        stamp = rest.partition(" ")[0].split(":")
        if kind == "file" and len(stamp) > _STAMP_PARTS and max(int(stamp[3]), int(stamp[4])) < old:
            return False
    return True


def variable_now(word: str, environ: "Environment", name: bytes) -> str:
    """What stands in a receipt for a variable as it is."""
    value = environ.get(name)
    return "-" if value is None else _digest(word, value)


def variables_now(word: str, environ: "Environment", prefix: bytes) -> str:
    """The same for all whose names begin so."""
    named = sorted(item for item in environ.items() if item[0].startswith(prefix))
    return _digest(word, b"".join(b"%d:%s%d:%s" % (len(name), name, len(value), value) for name, value in named))


def file_now(
    word: str,
    path: bytes,
    was: str = "",
    *,
    seen: "posix.stat_result | None" = None,
    content: bytes | None = None,
) -> str:
    """The same for a file: the stamp, with the content's digest behind it if it is young.

    That is, if `was` has one there; where there is no `was`, the clock tells.
    """
    try:
        status = seen or posix.stat(path)
    except _MISSING:
        return "~" if _is_link(path) else "-"
    except (OSError, ValueError):
        return "!"
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    stamp = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
    if status.st_mode & _S_IFMT != _S_IFREG:  # a pipe would be drained
        return stamp
    if was.count(":") == _STAMP_PARTS or (not was and time() - changed / 1e9 < _YOUNG):
        return f"{stamp}:{_content(word, path) if content is None else _digest(word, content)}"
    return stamp


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


def directory_now(word: str, path: bytes) -> str:
    """The same for the names in a directory."""
    try:
        names = sorted(posix.listdir(path))
    except _MISSING:
        return "-"
    except (OSError, ValueError):
        return "!"
    return _digest(word, b"\0".join(names))


def _digest(word: str, content: bytes) -> str:
    return blake2b(content, digest_size=8, key=word.encode()).hexdigest()


def decoded(shown: str) -> bytes:
    """The bytes that a word stands for, `%XX` by `%XX`. Raises ValueError."""
    if "%" not in shown:
        return shown.encode()
    first, *others = shown.split("%")
    found = first.encode()
    for part in others:
        (byte,) = bytes.fromhex(part[:2])
        found += b"%c%s" % (byte, part[2:].encode())
    return found
