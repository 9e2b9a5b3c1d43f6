"""Minting: one process mints a token while others wait, and all have it from the cache then.

A waiter that has waited long enough mints for itself, so that a stopped or killed process never blocks a pull.
"""

import posix
from time import monotonic, sleep, time

from credhelpers import environment, lifetimes
from credhelpers.cached_token import CachedToken, Failure, is_remembered, raise_remembered
from credhelpers.credential import Credential
from credhelpers.errors import DeadlinePassed, HelperError, NotFound, Unavailable, overdue, shortage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from credhelpers.cache import TokenCache

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


def _always() -> bool:
    return True


class Wanted:
    """A token that is wanted: how it is minted, and where a copy for one host is kept besides.

    host:       who asks, "" for what no host is answered with
    host_key:   under which the host's copy is cached; the token itself is under `token_key`
    receipts:   that by which the copy is known to be of the identity that all this was read for, and that of a failure,
                which ends with what caused it
    is_still:   whether all of that is as it was: else nobody knows whose the token is
    """

    __slots__ = ("host", "host_key", "is_still", "minter", "of_failure", "receipt", "token_key")

    def __init__(
        self,
        minter: "Minter",
        host: str = "",
        host_key: str = "",
        receipts: tuple[str, str] = ("", ""),
        is_still: "Callable[[], bool]" = _always,
    ) -> None:
        self.minter = minter
        self.token_key = minter.token_key
        self.host = host
        self.host_key = host_key
        self.receipt, self.of_failure = receipts
        self.is_still = is_still


class Minting:
    """A token of `kind` that is wanted, minted once for all who want it, through `cache`."""

    __slots__ = ("_cache", "_kind", "_wanted")

    def __init__(self, kind: str, cache: "TokenCache", wanted: Wanted) -> None:
        self._kind = kind
        self._cache = cache
        self._wanted = wanted

    def get(self, refused: Credential | None = None) -> Credential:
        """A token that is not due for renewal in the foreground: another process's, or a new one.

        Never `refused`, which was found to open nothing any more although its time is not over.
        """
        cache, wanted = self._cache, self._wanted
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
                        self._share()
                    return found.credential
                self._pass_on()
                if lock or second or waited > _WAIT_OF_OTHERS:
                    return self._mint(found, refused)
            finally:
                for held in (lock, second):
                    if held:
                        held.release()
            sleep(pause)
            pause = min(pause * 1.5, _POLL_AT_MOST)

    def refresh(self) -> None:
        """Renew the cached token unless somebody does it already, has just done it or has just failed."""
        cache, wanted = self._cache, self._wanted
        lock = cache.lock(wanted.token_key)
        if lock is None:
            return
        try:
            found = _other_than(None, cache.load(wanted.token_key))
            failure = cache.failure(wanted.token_key)
            if found and time() < found.credential.soft:
                self._share()
            elif not failure or time() >= failure.at + lifetimes.RENEWAL_PAUSE:
                self._mint(found)
        finally:
            lock.release()

    def _mint(self, old: CachedToken | None, refused: Credential | None = None) -> Credential:
        cache, wanted = self._cache, self._wanted
        started = time()
        try:
            credential = self._minted(old)
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
                self._pass_on()
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
        if wanted.is_still():
            cache.save(wanted.token_key, wanted.host, credential, started)
            if wanted.receipt:
                cache.save(wanted.host_key, wanted.host, credential, started, wanted.receipt)
        return credential

    def _minted(self, old: CachedToken | None) -> Credential:
        if posix.environ.get(b"HOME") == b"":
            environment.show("HOME", None)  # by an empty one libraries would read what lies in `/`
        try:
            return self._wanted.minter.mint(old.credential if old else None)
        finally:
            if environment.shown:
                environment.restore()  # else `is_still` would see what a library was shown

    def _share(self) -> None:
        """Let the minter's token answer for this host too."""
        wanted = self._wanted
        if wanted.receipt and wanted.is_still():
            self._cache.share(wanted.token_key, wanted.host, wanted.host_key, wanted.receipt)

    def _pass_on(self) -> None:
        """Raise what failed a moment ago for another host of the minter, and remember it for this host."""
        wanted = self._wanted
        failure = self._cache.failure(wanted.token_key)
        if is_remembered(failure) and wanted.of_failure and wanted.host_key and wanted.is_still():
            copy = Failure(failure.error, failure.at, failure.took, wanted.of_failure, wanted.host)
            self._cache.save_failure(wanted.host_key, copy, is_copy=True)
        raise_remembered(failure)


def _other_than(refused: Credential | None, found: CachedToken | Failure | None) -> CachedToken | None:
    if isinstance(found, CachedToken) and not (refused and found.credential.tail() == refused.tail()):
        return found
    return None


def _newer_than(old: CachedToken | None, found: CachedToken | None) -> CachedToken | None:
    if found and old and (found.issued, found.credential.tail()) == (old.issued, old.credential.tail()):
        return None
    return found
