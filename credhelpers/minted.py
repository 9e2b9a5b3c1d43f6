"""A helper over a source: tokens minted on demand, kept in the cache, renewed before they expire.

One process mints while others wait; a waiter that has waited long enough mints for itself, so that a stopped or
killed process never blocks a pull.
"""

import posix
from time import monotonic, sleep, time

from credhelpers import entry as entries
from credhelpers.credential import Credential
from credhelpers.entry import Entry, Failure
from credhelpers.errors import DeadlinePassed, HelperError, NotFound, Unavailable, Unsupported, overdue
from credhelpers.hosts import registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeGuard

    from credhelpers.cache import TokenCache
    from credhelpers.identity import Environment

    class Source(Protocol):
        """What issues tokens for the registries of one cloud."""

        kind: str
        """One word, `[a-z]+`: names the cache files and the helper's messages."""

        manual: str
        """What `--help` prints below the synopsis."""

        uncached: bytes
        """The variable by which people switch off the cache of the helper that this one stands in for; b"" for none."""

        def key(self, server: str) -> str:
            """The fingerprint of `server` and of everything that selects the identity which would mint for it.

            Cheap: no SDK, no network, no child, no parsing of a configuration file (its stamp is in the fingerprint).
            Raises NotFound if `server` is certainly not a registry of this source.
            """

        def order(self, server: str) -> "Order":
            """What to mint for `server`: its host read, its configuration applied.

            Raises NotFound if `server` is not a registry of this source, Unavailable if the configuration is broken.
            """

    class Order(Protocol):
        """One token to be minted by one identity."""

        @property
        def key(self) -> str:
            """The fingerprint of the token: the same for all servers that it opens, another for another identity."""

        def mint(self) -> Credential:
            """A new token with its times. Slow; the one place where an SDK is imported.

            Raises NotFound if there is no identity to mint with and the registry may be asked anonymously, else
            Unavailable.
            """


_WAIT = 4.0  # seconds for another process's mint, before going on without it; leaves the larger part of the deadline
_POLL = 0.02  # seconds, growing to
_POLL_AT_MOST = 0.1
_JITTER = 0.1  # of the time to `soft`, so that a fleet that started together does not renew together
_LONGEST_LEAD = 7 * 86400  # seconds, for the jitter of what hardly ages
# A failure is remembered for ten times as long as it took to find out, at most half a minute: twenty pulls from a dead
# registry wait once, and who has mended the cause of a quick refusal is not told of it again.
_REMEMBERED_TIMES = 10
_REMEMBERED_AT_MOST = 30.0
_RENEWAL_PAUSE = 60.0  # seconds after a failed renewal; the token in hand is still good


class Minted:
    """The helper that answers with tokens of `source`, through a cache where `entry.directory` has it for `environ`."""

    __slots__ = ("_directory", "_source")

    def __init__(self, source: "Source", environ: "Environment" = posix.environ) -> None:
        self._source = source
        self._directory = None if environ.get(source.uncached) else entries.directory(environ)

    @property
    def manual(self) -> str:
        """What `--help` prints below the synopsis."""
        return self._source.manual

    def ready(self, server: str) -> Credential | None:
        """The cached token, if it has not expired.

        Raises NotFound if `server` is not a registry of the source, and again what a failed mint raised just now.
        """
        key = self._source.key(server)
        found = entries.load(self._directory, f"{self._source.kind}-{key}".encode())
        if isinstance(found, Entry):
            return found.credential
        _raise_remembered(found)
        return None

    def get(self, server: str) -> Credential:
        """A token that is not due for renewal in the foreground: another process's, or a new one."""
        wanted = _Wanted(self._source, server)
        until = monotonic() + _WAIT
        pause = _POLL
        while True:
            lock = self._cache.lock(wanted.token)
            try:
                # Looked up while the lock is held, or while somebody else mints: either way somebody may have finished.
                found = self._cache.load(wanted.token)
                if isinstance(found, Entry) and time() < found.credential.hard:
                    if lock:
                        self._share(wanted)
                    return found.credential
                self._pass_on(wanted)
                if lock or monotonic() > until:
                    return self._mint(wanted)
            finally:
                if lock:
                    lock.release()
            sleep(pause)
            pause = min(pause * 1.5, _POLL_AT_MOST)

    def refresh(self, server: str) -> None:
        """Renew the cached token unless somebody does it already, has just done it or has just failed."""
        wanted = _Wanted(self._source, server)
        lock = self._cache.lock(wanted.token)
        if lock is None:
            return
        try:
            found = self._cache.load(wanted.token)
            failure = self._cache.failure(wanted.token)
            if isinstance(found, Entry) and time() < found.credential.soft:
                self._share(wanted)
            elif not failure or time() >= failure.at + _RENEWAL_PAUSE:
                self._mint(wanted)
        finally:
            lock.release()

    def store(self, server: str, credential: Credential) -> None:  # noqa: ARG002 - the helpers' common signature
        """Accept what `docker login` typed for a registry of the source and keep nothing: its tokens are minted."""
        try:
            self._source.order(server)  # not `key`, which takes any host for an alias where there is a configuration
        except NotFound:
            raise Unsupported(
                f"docker-credential-{self._source.kind} keeps no passwords, and this is not one of its registries",
                'set "credsStore" to "keyring" in docker\'s config.json for registries with a password',
            ) from None

    def erase(self, server: str) -> None:
        """Forget every cached token for `server`. Nothing to forget is success."""
        try:
            key = self._source.key(server)
        except NotFound:
            return
        self._cache.erase(registry(server), key)

    def list(self) -> dict[str, str]:
        """The hosts that `get` answers from the cache, to this identity, now."""
        found = {}
        for name, entry in self._cache.entries():
            for host in entry.hosts:
                try:
                    is_ours = self._cache.is_for(name, self._source.key(host))
                except NotFound:
                    continue  # a host that an older configuration owned
                if is_ours:
                    found[host] = entry.credential.username
        return found

    @property
    def _cache(self) -> "TokenCache":
        from credhelpers.cache import TokenCache  # what a hit does not need

        return TokenCache(self._source.kind, self._directory)

    def _share(self, wanted: "_Wanted") -> None:
        """Let the order's token answer for this host too."""
        if self._is_still(wanted):
            self._cache.share(wanted.token, wanted.host, wanted.key)

    def _pass_on(self, wanted: "_Wanted") -> None:
        """Raise what failed a moment ago for another host of the order, and remember it for this host."""
        failure = self._cache.failure(wanted.token)
        if _is_remembered(failure) and self._is_still(wanted):
            self._cache.save_failure(wanted.key, failure)
        _raise_remembered(failure)

    def _mint(self, wanted: "_Wanted") -> Credential:
        started = time()
        try:
            credential = wanted.order.mint()
            if credential.expires <= time():
                raise Unavailable(
                    f"{self._source.kind} issued a token that has already expired by this machine's clock",
                    "compare `date -u` with the true time, and set the clock",
                )
        except (NotFound, Unavailable, DeadlinePassed) as error:
            failure = Failure(error if isinstance(error, HelperError) else overdue(), time(), time() - started)
            if self._is_still(wanted):
                self._cache.save_failure(wanted.token, failure)
                self._cache.save_failure(wanted.key, failure)
            raise
        lead = min(credential.soft - started, _LONGEST_LEAD) * _JITTER
        credential.soft += lead * (2 * int.from_bytes(posix.urandom(4), "big") / 0xFFFFFFFF - 1)
        if self._is_still(wanted):
            self._cache.save(wanted.token, wanted.host, credential, started)
            self._cache.save(wanted.key, wanted.host, credential, started)
        return credential

    def _is_still(self, wanted: "_Wanted") -> bool:
        """Whether the identity is the one that `wanted` was read for: else nobody knows whose the token is."""
        try:
            return self._source.key(wanted.host) == wanted.key
        except NotFound:
            return False  # the configuration that owned the host has gone


class _Wanted:
    """A token that is wanted for a host: how it is minted, its own key, and that of the host's copy.

    The host's key is read first. If it is the same afterwards, then so was the identity in between.
    """

    __slots__ = ("host", "key", "order", "token")

    def __init__(self, source: "Source", server: str) -> None:
        self.host = registry(server)
        self.key = source.key(server)
        self.order = source.order(server)
        self.token = self.order.key


def _is_remembered(failure: "Failure | None") -> "TypeGuard[Failure]":
    if failure is None:
        return False
    return time() < failure.at + min(_REMEMBERED_AT_MOST, _REMEMBERED_TIMES * failure.took)


def _raise_remembered(failure: "Failure | None") -> None:
    if _is_remembered(failure):
        raise failure.error
