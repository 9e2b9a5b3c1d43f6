"""The token cache: who writes cached tokens, who may mint, what is remembered and what is forgotten.

`cached_token` is the form of one of them; here is their directory. It is an optimisation: no method but `erase` raises
for what the file system does. Trouble costs time, never the answer, and is told to `notes`. What a stranger could have
touched is not written and not repaired.

A *key* is the name under which a token is cached: the *token key* that of the token itself (`identity.fingerprint`), a
*host key* that of a copy for one host, see `cached_token.host_key`. Its last digit is a slot: there are a few copies
for a few identities, each with the receipt by which it is known.
"""

import _signal  # the part of `signal` that costs nothing
import fcntl
import posix
from time import time

from credhelpers import cached_token, mkdir, notes, private
from credhelpers.cached_token import CLOCK_SLACK, FORMAT, MAGIC, CachedToken, Failure, head_of
from credhelpers.credential import Credential
from credhelpers.errors import NotFound, Unavailable, reason, remedy
from credhelpers.servers import DOCKER_HUB, HUB, Authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from credhelpers.identity import Environment

_HOSTS = 64
_TOKENS = 256
_ALIKE = 16  # files that are no tokens: plans of a few configurations
_DEBRIS_AGE = 3600  # seconds; a temporary file this old has no writer any more
_LOCKS = 64
_SECOND_LOCKS = 32
_KEY_DIGITS = 40  # of `identity.fingerprint`

_FOREVER = 253402300799  # the last second of the year 9999: what does not age is kept with a date, too

_STOPPING = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGALRM)


class Lock:
    """Held until `release`, or until this process ends. Where there is nothing to lock it holds nothing."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int = -1) -> None:
        self.descriptor = descriptor

    def release(self) -> None:
        """Let the next one in. The file stays: unlinking it would split waiters across two files."""
        descriptor, self.descriptor = self.descriptor, -1
        try:
            if descriptor >= 0:
                posix.close(descriptor)
        except OSError as error:
            _note("not unlocked", error)


class TokenCache:
    """The tokens of one kind of source, by key, in the directory `path` or, if that is None, nowhere.

    `environ` is what receipts are compared with.
    """

    __slots__ = ("_environ", "_kind", "_path")

    def __init__(self, kind: str, path: bytes | None, environ: "Environment" = posix.environ) -> None:
        self._kind = kind
        self._path = path
        self._environ = environ

    def load(self, key: str) -> CachedToken | Failure | None:
        """The token for `key` that has not expired by this machine's clock, else the last failure to mint for it."""
        return cached_token.load(self._path, (self._name(key),), {})

    def save(self, key: str, host: str, credential: Credential, issued: float, receipt: str = "") -> None:
        """Keep `credential`, minted from `issued` on, for `host` and the hosts that `key` had already.

        With a receipt it is a copy, and takes the slot of one whose receipt is the same or holds too, else a free or
        expired one, else the oldest. It ends the memory of the last failure for `key`, also where other keys remember
        the same one. A token of a newer format is left alone, and what was minted while `erase` ran is not kept.
        """
        try:
            with self._open(create=True) as folder:
                name = self._slot(folder, key, receipt, is_typed=credential.memo == cached_token.TYPED)
                if self._is_newer_format(folder, name):
                    return
                old = cached_token.read_token(folder, name)
                hosts = (*(old.hosts if old else ()), host)
                self._keep(folder, name, CachedToken(credential, hosts, int(issued), receipt), issued)
                self._forget_failures(folder, {name})
                private.unlink(folder, name + b".failed")
                self._prune(folder)
        except (OSError, ValueError) as error:
            _note("not written", error)

    def share(
        self,
        key: str,
        host: str,
        copy: str,
        receipt: str = "",
        answered: "Callable[[CachedToken], Credential] | None" = None,
    ) -> None:
        """Let the cached token for `key`, if there is one, answer for `host` too, by a copy under `copy`.

        `answered` gives what the host is answered with, which may be due at other moments.
        """
        began = time()
        try:
            with self._open() as folder:
                name, copy_name = self._name(key), self._slot(folder, copy, receipt)
                if (old := cached_token.read_token(folder, name)) and not self._is_newer_format(folder, copy_name):
                    self._keep(folder, name, CachedToken(old.credential, (*old.hosts, host), old.issued), began)
                    shared = answered(old) if answered else old.credential
                    self._keep(folder, copy_name, CachedToken(shared, (host,), old.issued, receipt), began)
                    private.unlink(folder, copy_name + b".failed")
                    self._prune(folder)
        except (OSError, ValueError) as error:
            _note("not written", error)

    def save_failure(self, key: str, failure: Failure, *, is_copy: bool = False) -> None:
        """Remember for a moment that no token could be minted for `key`, unless there was an erase since that began.

        One for a host is a copy, and lies in a slot as that of a token does, see `save`.
        """
        error = failure.error
        kind = "Denial" if isinstance(error, Unavailable) and error.is_denial else type(error).__name__
        body = b"%d %d\n" % (int(failure.at * 1000), int(failure.took * 1000))
        message = error.cause if isinstance(error, NotFound) else error.message
        body += f"{kind}\n{error.code}\n{message}\n{error.hint}\n{failure.host}\n{failure.receipt}".encode(
            "ascii", "backslashreplace"
        )
        try:
            with self._open(create=True) as folder:
                name = self._slot(folder, key, failure.receipt) if is_copy else self._name(key)
                self._replace(folder, name + b".failed", body, failure.at - failure.took)
        except (OSError, ValueError) as trouble:
            _note("not written", trouble)

    def failure(self, key: str) -> Failure | None:
        """The last failure to mint for `key`, if what caused it is as it was; also beside a token that is good.

        None for who looks for causes, see `cached_token.load`.
        """
        if cached_token.DEBUG in self._environ:
            return None
        try:
            with self._open() as folder:
                found = cached_token.read_failure(folder, self._name(key))
        except (OSError, ValueError):
            return None
        return found if found and cached_token.holds(found, self._environ) else None

    def knows(self, credential: Credential) -> bool:
        """Whether this is a cached token, or that before it."""
        digest = cached_token.digest(credential)
        return any(digest in (one.before, cached_token.digest(one.credential)) for one in self.tokens().values())

    def typed(self, key: str) -> CachedToken | None:
        """The token for a host that somebody piped in, if it has not expired, whatever its receipt says."""
        try:
            with self._open() as folder:
                found = cached_token.read_token(folder, self._name(key))
        except (OSError, ValueError):
            return None
        return found if found and found.credential.memo == cached_token.TYPED else None

    def lock(self, key: str, *, is_second: bool = False) -> Lock | None:
        """The right to mint for `key`, or None while another process has it. Never waits.

        The second one is for one of those who have waited too long for who has the first. Where nothing can be locked
        (no directory, a file system without `flock`) everybody gets it.
        """
        lock = Lock()
        # A fixed number of lock files, since they are never removed: two keys may share one and then take turns.
        # Not with a key of another kind, since who mints may need a token of that kind to do so.
        number = int(key[-8:], 16)
        number = _LOCKS + number % _SECOND_LOCKS if is_second else number % _LOCKS
        name = f"{self._kind}-lock-{number:02}".encode()
        try:
            with self._open(create=True) as folder:
                lock = Lock(private.open_lock(folder, name))
                fcntl.flock(lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.release()
            return None
        except (OSError, ValueError) as error:
            lock.release()
            _note("not locked", error)
        return lock

    def erase(self, host: str, *keys: str) -> None:
        """Forget every token that answers for `host`, whichever identity minted it, and what lies under the keys.

        What was copied from such a token for another host goes with it. Raises Unavailable if that cannot be promised.
        """
        try:
            try:
                opened = self._open()
            except (FileNotFoundError, NotADirectoryError):
                return  # nothing was kept
            with opened as folder:
                try:
                    self._stop_writers(folder)
                except OSError:  # no room for the mark, say, which there may be when what is to be forgotten has gone
                    self._remove(folder, self._names_for(host, keys, self._bodies(folder)))
                    self._stop_writers(folder)
                bodies = self._bodies(folder)
                names = self._names_for(host, keys, bodies)
                tokens = {tail for name in names if (tail := _tail(bodies.get(name)))}
                self._forget_failures(folder, names, host)
                while names:
                    self._remove(folder, names)
                    # Who had read such a token before it went may be putting it back: until nobody does.
                    self._stop_writers(folder)
                    names = {name for name, body in self._bodies(folder).items() if _tail(body) in tokens}
        except (OSError, ValueError) as error:
            raise Unavailable(
                "cache-not-erased",
                "the cached token cannot be erased: " + reason(error),
                remedy(error, "`ls -la` shows mode and owner of the cache directory, see `docs/cache.md`"),
            ) from None

    def tokens(self) -> dict[str, CachedToken]:
        """Every unexpired token, and every copy of one, by its key."""
        found: dict[str, CachedToken] = {}
        try:
            with self._open() as folder:
                for name in self._names(folder):
                    if cached := cached_token.read_token(folder, name):
                        found[name.decode().rpartition("-")[2]] = cached
        except (OSError, ValueError) as error:
            _note("not read", error)
        return found

    def servers(self, copies_of: "Callable[[Authority], Collection[str]]") -> dict[str, str]:
        """Server to user name of all that a copy answers now, where its key is one of those for the server."""
        return {
            DOCKER_HUB if host == HUB else host: cached.credential.username
            for key, cached in self.tokens().items()
            if cached.receipt and cached_token.holds(cached, self._environ)
            for host in cached.hosts
            if key in copies_of(Authority(host))  # not for a path only
        }

    def _name(self, key: str) -> bytes:
        return f"{self._kind}-{key}".encode()

    def _slot(self, folder: int, key: str, receipt: str, *, is_typed: bool = False) -> bytes:
        """The name for `key`: with a receipt, which holds now, that of a slot, see `save`."""
        if not receipt or is_typed:
            return self._name(key)
        oldest: tuple[float, bytes] | None = None
        for name in map(self._name, cached_token.slots(key)):
            found = cached_token.read_token(folder, name)
            failed = cached_token.read_failure(folder, name)
            if found and found.credential.memo == cached_token.TYPED:
                continue  # it answers first, and is not to be had again
            if any(one.receipt == receipt or cached_token.holds(one, self._environ) for one in (found, failed) if one):
                return name  # two that hold at the same time are of one identity
            age = max(found.issued if found else 0.0, failed.at if failed else 0.0)
            if oldest is None or age < oldest[0]:
                oldest = age, name
        return oldest[1] if oldest else self._name(key)

    def _mark(self) -> str:
        """The name of the file that says when something was erased last."""
        return f"{self._kind}-erased"

    def _open(self, *, create: bool = False) -> "_Directory":
        """The directory. Raises OSError or ValueError if it is not there or not this user's alone."""
        if self._path is None:
            raise FileNotFoundError(2, "there is no directory for it")
        if create and posix.geteuid() == 0 and private.owner_above(self._path) != 0:
            raise mkdir.SomebodyElses(1, "it would be root's, below a directory of somebody else's")
        try:
            return _Directory(private.open_directory(self._path))
        except FileNotFoundError:
            if not create:
                raise
        mkdir.make(self._path)
        return _Directory(private.open_directory(self._path))

    def _keep(self, folder: int, name: bytes, cached: CachedToken, began: float) -> None:
        credential = cached.credential
        moments = [cached.issued, credential.soft, credential.hard, credential.expires]
        if credential.low:
            moments.append(credential.low)
        before = "-"
        if old := cached_token.read_token(folder, name):
            before = old.before if old.credential.tail() == credential.tail() else cached_token.digest(old.credential)
        times = " ".join((*(str(int(min(moment, _FOREVER))) for moment in moments), before))
        hosts = " ".join(tuple(dict.fromkeys(cached.hosts))[-_HOSTS:])
        if not (credential.memo.isascii() and credential.memo.isprintable()):
            raise OSError(22, "the memo is not a line of ASCII")  # EINVAL
        head = f"{times}\n{hosts}\n{credential.memo}\n{cached.receipt}\n".encode()
        self._replace(folder, name, head + credential.tail(), began)

    def _is_newer_format(self, folder: int, name: bytes) -> bool:
        try:
            words = cached_token.read_file(folder, name).partition(b"\n")[0].split(b" ")
            return words[0] + b" " == MAGIC and int(words[1]) > int(FORMAT)
        except (OSError, ValueError, IndexError):
            return False

    def _was_erased_after(self, folder: int, moment: float) -> bool:
        try:
            mark = int(cached_token.read_body(folder, self._mark().encode()))
        except (OSError, ValueError):
            return False
        return int(moment * 1000) <= mark <= (time() + CLOCK_SLACK) * 1000  # later ones are of another clock

    def _stop_writers(self, folder: int) -> None:
        """Let nobody who began before now keep anything, unless it is to be seen already.

        The mark first, then the files of those who are writing: whoever writes just now sees the mark, or finds his
        file gone, or has replaced a cached token before the caller looks at them. Where no mark can be made, on a full
        disk or a read-only one, nobody may be about to write. Raises OSError.
        """
        try:
            self._replace(folder, self._mark().encode(), b"%d" % int(time() * 1000))
        except OSError:
            if self._is_anybody_minting(folder):
                raise
        for name in posix.listdir(folder):
            if name.startswith(".") and self._is_token(name[1:].rpartition(".")[0].removesuffix(".failed")):
                private.unlink(folder, name)

    def _is_anybody_minting(self, folder: int) -> bool:
        """Whether a lock of this kind is held: who mints has one, which `lock` makes before."""
        for name in posix.listdir(folder):
            if name.startswith(f"{self._kind}-lock-"):
                descriptor = private.open_lock(folder, name.encode(), create=False)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                finally:
                    posix.close(descriptor)
        return False

    def _names_for(self, host: str, keys: "Iterable[str]", bodies: "Mapping[bytes, bytes | None]") -> set[bytes]:
        """The cached tokens that answer for the host, and those under the keys."""
        return {name for name, body in bodies.items() if _answers_for(body, host)} | set(map(self._name, keys))

    def _remove(self, folder: int, names: "Iterable[bytes]") -> None:
        """Unlink cached tokens, and what is remembered of failures for them."""
        for name in names:
            private.unlink(folder, name)
            private.unlink(folder, name + b".failed")

    def _bodies(self, folder: int) -> dict[bytes, bytes | None]:
        """What is in the files of tokens, expired or not: empty if that is no token, None if it cannot be read now."""
        found: dict[bytes, bytes | None] = {}
        for name in self._names(folder):
            try:
                found[name] = cached_token.read_body(folder, name)
            except ValueError:
                found[name] = _older(folder, name)
            except OSError:
                found[name] = None
        return found

    def _forget_failures(self, folder: int, names: "Collection[bytes]", host: str = "") -> None:
        """Forget what is remembered for these cached tokens or for the host, whichever path or identity it was for.

        Under all keys: a minter and its hosts remember the same.
        """
        remembered: dict[str, bytes] = {}
        ended = set()
        for name in posix.listdir(folder):
            token, is_failure, _ = name.partition(".failed")
            if is_failure and self._is_token(token):
                try:
                    what, whose, _ = cached_token.read_body(folder, name.encode()).rsplit(b"\n", 2)
                except (OSError, ValueError):
                    continue  # nothing that is worth a word
                remembered[name] = what
                if token.encode() in names or (host and whose == host.encode()):
                    ended.add(what)
        for name, what in remembered.items():
            if what in ended:
                private.unlink(folder, name)

    def _replace(self, folder: int, name: bytes, body: bytes, began: float | None = None) -> None:
        """Put a file in the place of what is there, in one step, unless there was an erase since `began`."""

        def check() -> None:
            if began is not None and self._was_erased_after(folder, began):
                raise FileNotFoundError(2, "erased meanwhile")

        _replace(folder, name, head_of(name, body) + b"\n" + body, check)

    def _names(self, folder: int) -> list[bytes]:
        """The cached tokens of this kind."""
        return [name.encode() for name in posix.listdir(folder) if self._is_token(name)]

    def _is_token(self, name: str) -> bool:
        """Whether this is a name that `_name` gives: the kind and 40 hexadecimal digits."""
        kind, _, digits = name.rpartition("-")
        return (
            kind == self._kind and len(digits) == _KEY_DIGITS and all(digit in "0123456789abcdef" for digit in digits)
        )

    def _is_debris(self, name: str) -> bool:
        """Whether this is the name of a note, or of a temporary file if nobody is writing it any more."""
        target = name[1:].rpartition(".")[0] if name.startswith(".") else name
        return target == self._mark() or self._is_token(target.removesuffix(".failed"))

    def _prune(self, folder: int) -> None:
        """Keep the newest cached tokens up to the limit, and no debris of killed writers or old notes.

        What has another name is left alone: somebody may have named a directory that holds other things.
        """
        now = time()
        found = []
        for name in posix.listdir(folder):
            is_token = self._is_token(name)
            if not is_token and not self._is_debris(name):
                continue
            try:
                changed = posix.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
            except FileNotFoundError:
                continue
            if is_token:
                found.append((changed, name.encode()))
            elif changed < now - _DEBRIS_AGE:
                private.unlink(folder, name)
        found.sort(reverse=True)
        for _, name_bytes in found[_TOKENS:]:
            kept = cached_token.read_token(folder, name_bytes)
            is_typed = kept is not None and kept.credential.memo == cached_token.TYPED  # nobody could mint it again
            if not is_typed and not self._is_newer_format(folder, name_bytes):
                private.unlink(folder, name_bytes)


def keep(path: bytes, name: bytes, content: bytes) -> None:
    """Keep a private file beside the tokens, in the place of what is there. What goes wrong is noted, not raised.

    The directory is made where its own or that above it is missing, and only below one of this user's: who asks for a
    host of nobody's must find no new home, and root leaves nothing in that of somebody else.
    """
    try:
        if not mkdir.is_there(path):
            above = path.rstrip(b"/").rpartition(b"/")[0]
            base = above if mkdir.is_there(above) else above.rpartition(b"/")[0]
            if posix.stat(base).st_uid != posix.geteuid():
                raise FileNotFoundError(2, "there is no directory for it")
        mkdir.make(path)
        with _Directory(private.open_directory(path)) as folder:
            _replace(folder, name, content, lambda: None)
            _prune_alike(folder, name)
    except (OSError, ValueError) as error:
        _note("not written", error)


def _prune_alike(folder: int, name: bytes) -> None:
    """Of the files with such a name, a word and as many digits, keep the newest, and nothing of killed writers."""
    word, _, digits = name.decode().partition("-")
    now, found = time(), []
    for other in posix.listdir(folder):
        target = other[1:].rpartition(".")[0] if other.startswith(".") else other
        kind, _, rest = target.partition("-")
        if kind != word or len(rest) != len(digits) or not set(rest) <= set("0123456789abcdef"):
            continue
        try:
            changed = posix.stat(other, dir_fd=folder, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            continue
        if target == other:
            found.append((changed, other))
        elif changed < now - _DEBRIS_AGE:
            private.unlink(folder, other)
    found.sort(reverse=True)
    for _, other in found[_ALIKE:]:
        private.unlink(folder, other)


def _replace(folder: int, name: bytes, content: bytes, check: "Callable[[], None]") -> None:
    """Put a file in the place of what is there, in one step. Raises OSError, also what `check` raises before."""
    temporary = b".%s.%d" % (name, posix.getpid())
    held = _signal.pthread_sigmask(_signal.SIG_BLOCK, _STOPPING)  # whoever is told to stop cleans up first
    try:
        private.unlink(folder, temporary)  # left by a killed process that had this number
        descriptor = private.create(folder, temporary)
        try:
            try:
                check()
                private.fill(descriptor, content)
            finally:
                posix.close(descriptor)
            posix.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            private.unlink(folder, temporary)
            raise
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, held)


class _Directory:
    """A descriptor, closed at the end of a `with`."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        posix.close(self._descriptor)


def _answers_for(body: bytes | None, host: str) -> bool:
    """Whether a cached token is for `host`, or may be: it cannot be read now, or does not name all of its hosts."""
    hosts = (body or b"").partition(b"\n")[2].partition(b"\n")[0].split()
    return body is None or host.encode() in hosts or len(hosts) >= _HOSTS


def _older(folder: int, name: bytes) -> bytes:
    """What is in a file of an older format, whose first lines are the same; empty for anything else."""
    head, _, body = cached_token.read_file(folder, name).partition(b"\n")
    word = head.removeprefix(MAGIC).partition(b" ")[0]
    return body if head.startswith(MAGIC) and word.isdigit() and int(word) < int(FORMAT) else b""


def _tail(body: bytes | None) -> bytes:
    """What is answered of a cached token, out of its file; empty if there is none."""
    return b"".join((body or b"").split(b"\n", 4)[4:])


def _note(what: str, error: OSError | ValueError) -> None:
    notes.take(f"cache {what}: {reason(error)}")
