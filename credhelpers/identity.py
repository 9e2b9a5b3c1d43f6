"""Which identity would mint a token, told apart without an SDK and without reading the configuration.

Two identities never share a token, so the key of a token holds everything that selects one: the values of the
environment variables that the SDK would read, and what is in the files that it would read. No hit computes one: what
answers a host says in its receipt what to compare, see `receipt`.
"""

import posix
from _blake2 import blake2b  # `hashlib` costs more than the rest of a hit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Environment = Mapping[bytes, bytes]


_FILE_BYTES = 1 << 22  # more than the longest that people have, gcloud's database


def fingerprint(scope: str, environ: "Environment", variables: "Iterable[bytes]", files: "Iterable[bytes]" = ()) -> str:
    """40 hexadecimal digits for one token: `scope` (what it opens) and the identity that would mint it.

    Every part goes in with its length before it, an absent one as absent, so that no two settings run together.
    """
    digest = blake2b(digest_size=20)
    _add(digest, scope.encode())
    for name in variables:
        _add(digest, environ.get(name))
    for path in files:
        _add(digest, path)
        _add(digest, _content(path))
    return digest.hexdigest()


def home(environ: "Environment") -> bytes:
    """The home directory as SDKs find it: `$HOME`, else the password database. Empty if neither has one.

    The one answer for all that lies there: configuration, identities, cache, store. An empty `$HOME` is none. Inside a
    user namespace, as of rootless podman, the database may know our number as somebody else's and the one outside as
    ours: then it is ours that counts.
    """
    if environ.get(b"HOME"):
        return environ[b"HOME"]
    from credhelpers import userns  # only where HOME is missing

    user = posix.getuid()
    found = _home_of(user)
    outside = userns.outside(user)
    if outside != user and not _is_ours(found) and _is_ours(other := _home_of(outside)):
        return other
    return found


def _home_of(user: int) -> bytes:
    import pwd  # built in, as above

    try:
        return pwd.getpwuid(user).pw_dir.encode("utf-8", "surrogateescape")
    except (KeyError, OverflowError):
        return b""


def _is_ours(path: bytes) -> bool:
    try:
        return posix.stat(path).st_uid == posix.geteuid()
    except (OSError, ValueError):
        return False


def configuration(environ: "Environment") -> bytes:
    """Where the configuration file would be: `$CREDHELPERS_CONFIG`, else below `$XDG_CONFIG_HOME` or `~/.config`.

    Empty (no file) if there is no home, or if the variable is set but empty or relative: what is configured must not
    depend on the directory in which docker was called.
    """
    chosen = environ.get(b"CREDHELPERS_CONFIG")
    if chosen is None:
        base = environ.get(b"XDG_CONFIG_HOME", b"")
        if not base.startswith(b"/"):
            folder = home(environ)
            base = folder + b"/.config" if folder else b""
        chosen = base + b"/credhelpers/config.toml" if base else b""
    return chosen if chosen.startswith(b"/") else b""


def _content(path: bytes) -> bytes | None:
    """What is in the file, or by what it is told from others where it is none or nobody can read it; None if absent.

    Not its stamp: a file may be written twice within one tick of the file system's clock, and anew with the same words.
    """
    from credhelpers import files  # which no hit needs

    try:
        return b"=" + files.read(path, _FILE_BYTES)[0]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        pass
    try:
        status = posix.stat(path)
    except (OSError, ValueError):
        return None
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return b"%d %d %d %d %d" % (status.st_dev, status.st_ino, status.st_size, *times)


def _add(digest: blake2b, part: bytes | None) -> None:
    digest.update(b"-" if part is None else b"%d:" % len(part) + part)
