"""The commands that mend a directory of this user's in which nothing can be kept, for hints; paths are whole.

Only a failure loads it.
"""

import posix

from credhelpers import files
from credhelpers.identity import home

_EPERM, _ENOTDIR, _ELOOP = 1, 20, 40
_EXECUTE = 1  # of access(2)
_WRITE = 2
_WHOLE, _TWICE = 200, 110  # letters that a line of 400 has room for, once and twice
_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000  # <sys/stat.h>


def shown(path: bytes) -> str:
    """The path as a word for a shell, whole."""
    return files.shown(path, _WHOLE)


def _with_a_look(word: str, command: str) -> str:
    """The command in a sentence with another one that shows what is there, where a line has room for both."""
    return f"`ls -la {word}` shows it; {command}" if len(word) <= _TWICE else command


def is_not_private(error: OSError | ValueError) -> bool:
    """Whether it is `private` that refused it: open to others, somebody else's, a link, or no directory at all."""
    return isinstance(error, OSError) and error.errno in (_EPERM, _ENOTDIR, _ELOOP)


def closing(path: bytes) -> str:
    """How the directory, with all that is in it, becomes this user's alone."""
    word = shown(path)
    try:
        status = posix.lstat(path)
    except OSError:
        return f"look at it with `ls -ld {word}`"
    kind = status.st_mode & _S_IFMT
    if kind == _S_IFLNK:
        return f"a link does not count: `rm {word}`, and move the directory that it leads to there"
    if kind != _S_IFDIR:
        return f"it is no directory: `mv {word} {word}.old` puts it aside"
    if status.st_uid != posix.geteuid():
        return _owning(path)
    return _with_a_look(word, f"`chmod -R go= {word}` closes it to others")


def entering(path: bytes) -> str:
    """How the directory can be reached, or made, if another one on the way lets nobody in; "" if that is not so."""
    parts = path.split(b"/")
    for count in range(2, len(parts) + 1):
        here = b"/".join(parts[:count])
        is_last = count == len(parts) or not _is_there(b"/".join(parts[: count + 1]))
        if posix.access(here, _EXECUTE | (_WRITE if is_last else 0), effective_ids=True):
            if is_last:
                return ""
            continue
        try:
            status = posix.stat(here)
        except OSError:
            return f"there is no way to {shown(here)}: `export XDG_DATA_HOME=DIRECTORY` names another place"
        if status.st_uid == posix.geteuid():
            return _with_a_look(shown(here), f"`chmod u+rwx {shown(here)}` opens it to you")
        return _owning(here)
    return ""


def _owning(path: bytes) -> str:
    """How what is another user's becomes this one's, or is let alone."""
    word = shown(path)
    if posix.geteuid() == 0:
        return f"{word} is another user's: `export HOME={shown(home({}))}`, or do without `sudo`"
    below = path
    while above := below.rpartition(b"/")[0]:
        if posix.stat(above).st_uid == posix.geteuid():  # it lies in ours, as root leaves it under `sudo -E`
            whole = shown(below)
            return _with_a_look(whole, f"`sudo chown -R {posix.geteuid()} {whole}` makes it yours")
        below = above
    return f"{word} is another user's: `export HOME=DIRECTORY` or `export XDG_DATA_HOME=DIRECTORY` names one of yours"


def _is_there(path: bytes) -> bool:
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True
