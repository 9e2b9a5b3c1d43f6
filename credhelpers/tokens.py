"""Tokens of one kind: minted by one process while others wait, kept in the cache, renewed before they expire.

A waiter that has waited long enough mints for itself, so that a stopped or killed process never blocks a pull.

`minted` has them for the servers of a source, and a source may have others that it needs to mint its own with. No hit
loads this module, but one of those.
"""

import posix
from time import monotonic, sleep, time

from credhelpers import cached_token, lifetimes
from credhelpers.cache import TokenCache
from credhelpers.cached_token import CachedToken, Failure, is_remembered, raise_remembered
from credhelpers.credential import Credential
from credhelpers.errors import DeadlinePassed, HelperError, NotFound, Unavailable, overdue, shortage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from credhelpers.identity import Environment

    class Minter(Protocol):
        """One token to be minted by one identity."""

        @property
        def token_key(self) -> str:
            """The fingerprint of the token: the same for all servers that it opens, another for another identity."""

        def mint(self, old: Credential | None = None) -> Credential:
            """A new token with its times. Slow; the one place where an SDK is imported.

            `old` is the one in hand, if it still opens what it is for: what can be renewed may be that one, renewed.
            Raises NotFound if there is no identity to mint with and the registry may be asked anonymously, else
            Unavailable.
            """


_WAIT = 4.0  # seconds for another process's mint, before one goes on without it; leaves the larger part of the deadline
_WAIT_OF_OTHERS = 6.0  # seconds before all do, should that one be stopped too; a mint rarely takes longer
_POLL = 0.02  # seconds, growing to
_POLL_AT_MOST = 0.1
_AFTER_ERASE = 0.002  # seconds; what is begun in the same millisecond as an erase is not kept


def _always() -> bool:
    return True


class Wanted:
    """A token that is wanted: how it is minted, and where a copy for one host is kept besides.

    host:       who asks, "" for what no host is answered with
    host_key:   under which the host's copy is cached; the token itself is under `token_key`
    receipts:   that by which the copy is known to be of the identity that all this was read for, and that of a failure,
                which ends with what caused it
    min_life:   seconds for which an answer must live at the host, 0 for the usual
    is_still:   whether all of that is as it was: else nobody knows whose the token is
    """

    __slots__ = ("host", "host_key", "is_still", "min_life", "minter", "of_failure", "receipt", "token_key")

    def __init__(  # noqa: PLR0913 - one argument a fact
        self,
        minter: "Minter",
        host: str = "",
        host_key: str = "",
        receipts: tuple[str, str] = ("", ""),
        is_still: "Callable[[], bool]" = _always,
        *,
        min_life: float = 0.0,
    ) -> None:
        self.minter = minter
        self.token_key = minter.token_key
        self.host = host
        self.host_key = host_key
        self.receipt, self.of_failure = receipts
        self.is_still = is_still
        self.min_life = min_life

    def answered(self, cached: CachedToken) -> Credential:
        """What the host is answered with by this token."""
        return lifetimes.answered(cached.credential, cached.issued, self.min_life)


class Tokens:
    """The tokens of `kind`, one word, `[a-z]+`, through a cache where `cached_token.directory` has it for `environ`."""

    __slots__ = ("_directory", "_environ", "_kind")

    def __init__(self, kind: str, environ: "Environment" = posix.environ, uncached: bytes = b"") -> None:
        self._kind = kind
        self._environ = environ
        self._directory = None if environ.get(uncached) else cached_token.directory(environ)

    @property
    def cache(self) -> TokenCache:
        """Where they are kept."""
        return TokenCache(self._kind, self._directory, self._environ)

    def ready(self, *keys: str) -> Credential | None:
        """The first cached token under these keys that holds. Raises again what a failed mint raised just now."""
        return cached_token.ready(self._directory, self._names(keys), self._environ)

    def cached(self, key: str) -> Credential | None:
        """The cached token if it has not expired, whatever failed since."""
        found = self._load(key)
        return found.credential if isinstance(found, CachedToken) else None

    def erase(self, host: str, *keys: str) -> None:
        """Forget all tokens for the host, and what lies under the keys: also what is there while none is kept."""
        TokenCache(self._kind, cached_token.directory(self._environ), self._environ).erase(host, *keys)

    def take(self, key: str, host: str, credential: Credential, end: float, receipt: str) -> None:
        """Have a token that somebody piped in for a host, until it ends. Raises Unavailable if it cannot be kept.

        Where the cache is switched off it is not, as no token is; where there is no place for one, nobody has said so.
        """
        if self._directory is None:
            is_switched_off = self._environ.get(b"CREDHELPERS_CACHE_DIR") == b""
            if is_switched_off or cached_token.directory(self._environ) is not None:
                return
            raise Unavailable(
                "store-not-cached",
                "the token cannot be kept, since there is no place for a cache",
                "`export HOME=DIRECTORY`, or an absolute CREDHELPERS_CACHE_DIR",
            )
        credential.soft = credential.hard = credential.expires = end  # nothing renews it
        credential.memo = cached_token.TYPED
        sleep(_AFTER_ERASE)
        if receipt:
            self.cache.save(key, host, credential, time(), receipt)
        if self.cache.typed(key) is None:
            raise Unavailable(
                "store-not-cached",
                "the token cannot be kept, since the cache cannot be written",
                "CREDHELPERS_DEBUG=1 says why; CREDHELPERS_CACHE_DIR names another directory for it",
            )

    def taken(self, key: str, copy: str, host: str, receipt: str) -> Credential | None:
        """Such a token, whatever has changed since; from now on it is a hit under `copy`."""
        cache, began = self.cache, time()
        found = cache.typed(key)
        if found and receipt:
            cache.save(copy, host, found.credential, began, receipt)
        return found.credential if found else None

    def _load(self, *keys: str) -> CachedToken | Failure | None:
        return cached_token.load(self._directory, self._names(keys), self._environ)

    def _names(self, keys: "tuple[str, ...]") -> list[bytes]:
        return [f"{self._kind}-{key}".encode() for key in keys]

    def get(self, wanted: Wanted, refused: Credential | None = None) -> Credential:
        """A token that is not due for renewal in the foreground: another process's, or a new one.

        Never `refused`, which was found to open nothing any more although its time is not over.
        """
        cache = self.cache
        began = monotonic()
        pause = _POLL
        while True:
            lock = cache.lock(wanted.token_key)
            waited = monotonic() - began
            second = None if lock or waited <= _WAIT else cache.lock(wanted.token_key, is_second=True)
            try:
                # Looked up while the lock is held, or while somebody else mints: either way somebody may have finished.
                found = _other_than(refused, cache.load(wanted.token_key))
                if found and time() < found.credential.hard:
                    if lock:
                        _share(cache, wanted)
                    return wanted.answered(found)
                _pass_on(cache, wanted)
                if lock or second or waited > _WAIT_OF_OTHERS:
                    return self._mint(cache, wanted, found, refused)
            finally:
                for held in (lock, second):
                    if held:
                        held.release()
            sleep(pause)
            pause = min(pause * 1.5, _POLL_AT_MOST)

    def refresh(self, wanted: Wanted) -> None:
        """Renew the cached token unless somebody does it already, has just done it or has just failed."""
        cache = self.cache
        lock = cache.lock(wanted.token_key)
        if lock is None:
            return
        try:
            found = _other_than(None, cache.load(wanted.token_key))
            failure = cache.failure(wanted.token_key)
            if found and time() < wanted.answered(found).soft:
                _share(cache, wanted)
            elif not failure or time() >= failure.at + lifetimes.RENEWAL_PAUSE:
                self._mint(cache, wanted, found)
        finally:
            lock.release()

    def _mint(
        self, cache: TokenCache, wanted: Wanted, old: CachedToken | None, refused: Credential | None = None
    ) -> Credential:
        started = time()
        try:
            credential = wanted.minter.mint(old.credential if old else None)
            if credential.expires <= time():
                raise Unavailable(
                    "token-expired",
                    f"{self._kind} issued a token that has already expired by this machine's clock",
                    "compare `date -u` with the true time, and set the clock",
                )
        except (NotFound, Unavailable, DeadlinePassed) as error:
            # After a long wait there are others who mint: what they got, or know, is more than that this one came late.
            if found := _newer_than(old, _other_than(refused, cache.load(wanted.token_key))):
                return found.credential
            if isinstance(error, DeadlinePassed):
                _pass_on(cache, wanted)
            if shortage(error):  # over as soon as another process ends, and no fault of who was asked
                raise
            told = error if isinstance(error, HelperError) else overdue()
            failed, took = time(), time() - started
            if wanted.is_still() and (wanted.of_failure or not wanted.host):
                failure = Failure(told, failed, took, wanted.of_failure, wanted.host)
                cache.save_failure(wanted.token_key, failure)
                if wanted.of_failure and wanted.host_key:
                    cache.save_failure(wanted.host_key, failure, is_copy=True)
            raise
        credential.soft = lifetimes.spread(credential.soft, started)
        answered = lifetimes.answered(credential, started, wanted.min_life)
        if wanted.is_still():
            cache.save(wanted.token_key, wanted.host, credential, started)
            if wanted.receipt:
                cache.save(wanted.host_key, wanted.host, answered, started, wanted.receipt)
        answered.low = answered.expires  # another one would be no newer
        return answered


def _other_than(refused: Credential | None, found: CachedToken | Failure | None) -> CachedToken | None:
    if isinstance(found, CachedToken) and not (refused and found.credential.tail() == refused.tail()):
        return found
    return None


def _newer_than(old: CachedToken | None, found: CachedToken | None) -> CachedToken | None:
    if found and old and (found.issued, found.credential.tail()) == (old.issued, old.credential.tail()):
        return None
    return found


def _share(cache: TokenCache, wanted: Wanted) -> None:
    """Let the minter's token answer for this host too."""
    if wanted.receipt and wanted.is_still():
        cache.share(wanted.token_key, wanted.host, wanted.host_key, wanted.receipt, wanted.answered)


def _pass_on(cache: TokenCache, wanted: Wanted) -> None:
    """Raise what failed a moment ago for another host of the minter, and remember it for this host."""
    failure = cache.failure(wanted.token_key)
    if is_remembered(failure) and wanted.of_failure and wanted.host_key and wanted.is_still():
        copy = Failure(failure.error, failure.at, failure.took, wanted.of_failure, wanted.host)
        cache.save_failure(wanted.host_key, copy, is_copy=True)
    raise_remembered(failure)
