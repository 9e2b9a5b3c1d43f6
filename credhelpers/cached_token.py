"""A token as it lies in the cache: one small file that only its owner may touch.

A file is a line with the format and a checksum, a line of times and a digest of the token before, a line of hosts, a
line with the memo of the token's source (mostly empty, see `Credential`), a line with the receipt, and then the bytes
that answer a client, ready to be written. What a host is answered with is a copy of a token, whose receipt says what
decided who mints: it answers while that is as it was. The receipt is a word that keys its digests and its lines, with
tabs between them; that of the token itself, which is found by the fingerprint of all that, is empty. Of each copy there
may be a few, for a few identities.
Readers take no lock and see a whole old token or a whole new one, since `cache` replaces files and never changes them.
What a stranger could have touched is not read.

This module is all of the cache that a hit needs. It imports built-ins only.
"""

import posix
from _blake2 import blake2b
from time import time

from credhelpers import receipt
from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NoIdentity, NotFound, Unavailable
from credhelpers.identity import home
from credhelpers.private import is_private_directory, open_directory, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeGuard

    from credhelpers.identity import Environment
    from credhelpers.servers import Authority

DEBUG = b"CREDHELPERS_DEBUG"
MAGIC = b"credhelpers-cache "
FORMAT = b"3"
CLOCK_SLACK = 300  # seconds; a cached token from further in the future was written under another clock
_FILE_BYTES = 256 * 1024  # an answer is under 64 KiB, the hosts beside it are at most 64 names of 253 bytes
_SLOTS = "0123"  # the last digits of the names of copies for one host, of which each is of another identity
TYPED = "docker-login"  # the memo of a token that somebody piped in there: it has the first slot until it ends


class CachedToken:
    """A token, the hosts that asked for it, when it was minted (seconds since the epoch), and its receipt or "".

    before: the `digest` of the one that lay here before, "-" for none
    """

    __slots__ = ("before", "credential", "hosts", "issued", "receipt")

    def __init__(
        self, credential: Credential, hosts: tuple[str, ...], issued: int, receipt: str = "", before: str = "-"
    ) -> None:
        self.before = before
        self.credential = credential
        self.hosts = hosts
        self.issued = issued
        self.receipt = receipt


def directory(environ: "Environment") -> bytes | None:
    """Where the cache is: `$CREDHELPERS_CACHE_DIR`, else below `$XDG_RUNTIME_DIR`, `$XDG_CACHE_HOME` or `~/.cache`.

    None (no cache) if the first is set but empty or relative, or if there is no home. Never a shared directory.
    """
    chosen = environ.get(b"CREDHELPERS_CACHE_DIR")
    if chosen is not None:
        return chosen if chosen.startswith(b"/") else None
    runtime = environ.get(b"XDG_RUNTIME_DIR", b"")
    if runtime.startswith(b"/"):
        try:
            is_ours = is_private_directory(posix.stat(runtime))
        except (FileNotFoundError, NotADirectoryError, PermissionError, ValueError):
            is_ours = False  # a variable that outlived its session, as under `sudo -E`: the cache of the home serves
        except OSError:
            is_ours = True  # nobody can tell now: what lies there is not to be taken for forgotten
        if is_ours:
            return runtime + b"/credhelpers"
    cache = environ.get(b"XDG_CACHE_HOME", b"")
    if cache.startswith(b"/"):
        return cache + b"/credhelpers"
    folder = home(environ)
    return folder + b"/.cache/credhelpers" if folder.startswith(b"/") else None


def host_key(authority: "Authority", environ: "Environment", asked_by: bytes = b"") -> str:
    """The name under which a copy for the host is cached, in the first slot, for the identity that is chosen by name.

    What lies below a path of a registry has one of its own, since an entry of the configuration may be for that path.
    So has what is `asked_by` a helper that sees all entries, and not only those of one source.
    """
    path = "" if authority.is_whole else authority.path
    chosen = environ.get(b"CREDHELPERS_IDENTITY", b"")
    parts = (authority.name.encode(), path.encode("utf-8", "surrogateescape"), chosen, *filter(None, (asked_by,)))
    text = b"".join(b"%d:%s" % (len(part), part) for part in parts)
    return blake2b(text, digest_size=20).hexdigest()[:-1] + _SLOTS[0]


def slots(key: str) -> list[str]:
    """The names of all slots of a copy whose first has this one."""
    return [key[:-1] + digit for digit in _SLOTS]


class Failure:
    """A failed mint: what to say, when it failed (seconds since the epoch), how many seconds it took to find out.

    It is remembered while its receipt holds, for the host and for others that want the same token.
    """

    __slots__ = ("at", "error", "host", "receipt", "took")

    def __init__(self, error: HelperError, at: float, took: float, receipt: str = "", host: str = "") -> None:
        self.error = error
        self.host = host
        self.at = at
        self.took = took
        self.receipt = receipt


def load(path: bytes | None, names: "Iterable[bytes]", environ: "Environment") -> CachedToken | Failure | None:
    """Of what lies under these names in the directory `path`, the first token that holds, else the first failure.

    A token holds if it has not expired by this machine's clock, and its receipt if it has one; a failure in that way.
    Who looks for the cause of a failure, with CREDHELPERS_DEBUG, wants no remembered one.
    """
    if path is None:
        return None
    kinds = (read_token,) if DEBUG in environ else (read_token, read_failure)
    try:
        folder = open_directory(path)
        try:
            for read_one in kinds:
                for name in names:
                    found = read_one(folder, name)
                    if found and holds(found, environ):
                        if isinstance(found, CachedToken) and found.credential.is_low(time()):
                            _spare(folder, name, found.credential, environ)
                        return found
        finally:
            posix.close(folder)
    except (OSError, ValueError):
        pass  # `cache` says why when it wants to write there
    return None


def ready(path: bytes | None, names: "Iterable[bytes]", environ: "Environment") -> Credential | None:
    """The first token under these names that holds. Raises again what a failed mint raised just now."""
    found = load(path, names, environ)
    if isinstance(found, CachedToken):
        return found.credential
    raise_remembered(found)
    return None


def _spare(folder: int, name: bytes, credential: Credential, environ: "Environment") -> None:
    """Have nobody wait for what takes the token's place in the pause after its renewal has failed."""
    from credhelpers import lifetimes  # what a hit does not need, but in a token's last minutes

    failed = read_failure(folder, name)
    if failed and time() < failed.at + lifetimes.RENEWAL_PAUSE and holds(failed, environ):
        credential.low = credential.expires


def holds(found: CachedToken | Failure, environ: "Environment") -> bool:
    """Whether all that decided who mints is as it was."""
    if not found.receipt:
        return True
    word, *lines = found.receipt.split("\t")
    return receipt.holds(lines, word, environ)


def read_token(folder: int, name: bytes) -> CachedToken | None:
    """The cached token in an open directory if it has not expired by this machine's clock, else None."""
    try:
        times, hosts, memo, said, tail = read_body(folder, name).split(b"\n", 4)
        *moments, before = times.decode("ascii").split()
        issued, soft, hard, expires, *more = map(int, moments)
        if not issued - CLOCK_SLACK <= time() < expires:
            return None
        credential = Credential.sealed(tail, soft=soft, hard=hard, expires=expires, memo=memo.decode("ascii"))
        credential.low = more[0] if more else 0
        return CachedToken(credential, tuple(hosts.decode("ascii").split()), issued, said.decode("ascii"), before)
    except (OSError, ValueError):
        return None


def digest(credential: Credential) -> str:
    """By which a token is known again that does not lie here any more."""
    return blake2b(credential.tail(), digest_size=16).hexdigest()


def read_failure(folder: int, name: bytes) -> Failure | None:
    """The last failure to mint for the cached token `name`, however long ago; a token saved since has removed it.

    A failure from the future was written under another clock, and nobody can say how long it counts.
    """
    try:
        times, kind, code, message, hint, host, said = read_body(folder, name + b".failed").decode("ascii").split("\n")
        at, took = (int(word) / 1000 for word in times.split())
    except (OSError, ValueError):
        return None
    if at > time():
        return None
    error: HelperError
    if kind in ("NotFound", "NotMine", "NoIdentity"):
        error = (NoIdentity if kind == "NoIdentity" else NotFound)(code, message)
    else:
        error = Unavailable(code, message, hint)
        error.is_denial = kind == "Denial"
    return Failure(error, at, took, said, host)


def raise_remembered(failure: Failure | None) -> None:
    """Raise what failed so short a time ago that it would fail again."""
    if is_remembered(failure):
        from credhelpers import lifetimes  # what a hit does not need

        failure.error.remembered = int(failure.at + lifetimes.remembered(failure.took) - time()) + 1
        raise failure.error


def is_remembered(failure: Failure | None) -> "TypeGuard[Failure]":
    """Whether what failed would fail again if it was tried now."""
    if failure is None:
        return False
    from credhelpers import lifetimes  # what a hit does not need

    return time() < failure.at + lifetimes.remembered(failure.took)


def read_body(folder: int, name: bytes) -> bytes:
    """What was written under this name. Raises OSError or ValueError if it is not that, whole, in this format."""
    head, _, body = read_file(folder, name).partition(b"\n")
    if head != head_of(name, body):
        raise ValueError("not a token of this format")
    return body


def read_file(folder: int, name: bytes) -> bytes:
    """All of the file. Raises OSError if it is not private to this user."""
    return read(folder, name, _FILE_BYTES)


def head_of(name: bytes, body: bytes) -> bytes:
    """The first line of the file `name` around `body`: a file under another name, or changed, has another."""
    return MAGIC + FORMAT + b" " + blake2b(name + b"\n" + body, digest_size=16).hexdigest().encode()
