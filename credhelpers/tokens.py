"""Tokens of one kind: out of the cache while they hold, else from whoever mints them, see `minting`.

`minted` has them for the servers of a source, and a source may have others that it needs to mint its own with. `ready`
is on the way of a cache hit, so this module imports no more than a hit does.
"""

import posix
from time import sleep, time

from credhelpers import cached_token
from credhelpers.cached_token import CachedToken, Failure
from credhelpers.credential import Credential
from credhelpers.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.cache import TokenCache
    from credhelpers.identity import Environment
    from credhelpers.minting import Minting, Wanted

_AFTER_ERASE = 0.002  # seconds; what is begun in the same millisecond as an erase is not kept


class Tokens:
    """The tokens of `kind`, one word, `[a-z]+`, through a cache where `cached_token.directory` has it for `environ`."""

    __slots__ = ("_directory", "_environ", "_kind")

    def __init__(self, kind: str, environ: "Environment" = posix.environ, uncached: bytes = b"") -> None:
        self._kind = kind
        self._environ = environ
        self._directory = None if environ.get(uncached) else cached_token.directory(environ)

    @property
    def cache(self) -> "TokenCache":
        """Where they are kept."""
        from credhelpers.cache import TokenCache  # what a hit does not need

        return TokenCache(self._kind, self._directory, self._environ)

    def ready(self, *keys: str) -> Credential | None:
        """The first cached token under these keys that holds. Raises again what a failed mint raised just now."""
        found = self._load(*keys)
        if isinstance(found, CachedToken):
            return found.credential
        cached_token.raise_remembered(found)
        return None

    def cached(self, key: str) -> Credential | None:
        """The cached token if it has not expired, whatever failed since."""
        found = self._load(key)
        return found.credential if isinstance(found, CachedToken) else None

    def erase(self, host: str, *keys: str) -> None:
        """Forget all tokens for the host, and what lies under the keys: also what is there while none is kept."""
        from credhelpers.cache import TokenCache  # what a hit does not need

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

    def get(self, wanted: "Wanted", refused: Credential | None = None) -> Credential:
        """See `minting.Minting`."""
        return self._minting(wanted).get(refused)

    def refresh(self, wanted: "Wanted") -> None:
        """See `minting.Minting`."""
        self._minting(wanted).refresh()

    def _minting(self, wanted: "Wanted") -> "Minting":
        from credhelpers.minting import Minting  # what a hit does not need

        return Minting(self._kind, self.cache, wanted)

    def _load(self, *keys: str) -> CachedToken | Failure | None:
        return cached_token.load(self._directory, [f"{self._kind}-{key}".encode() for key in keys], self._environ)
