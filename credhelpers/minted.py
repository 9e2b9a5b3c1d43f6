"""A helper over a source: an executable's five verbs, answered with the tokens of one cloud."""

import posix

from credhelpers import hosts
from credhelpers.errors import NotMine, Unsupported
from credhelpers.hosts import DOCKER_HUB, HUB, Authority
from credhelpers.tokens import Tokens, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.tokens import Minter

    class Source(Protocol):
        """What issues tokens for the registries of one cloud."""

        kind: str
        """One word, `[a-z]+`: names the cache files and the helper's messages."""

        @property
        def manual(self) -> str:
            """What `--help` prints below the synopsis."""

        uncached: bytes
        """The variable by which people switch off the cache of the helper that this one stands in for; b"" for none."""

        def host_key(self, authority: Authority) -> str:
            """The fingerprint of the host and of everything that selects the identity which would mint for it.

            Cheap: no SDK, no network, no child, no parsing of a configuration file (its stamp is in the fingerprint).
            Raises NotMine if this is certainly not a registry of this source.
            """

        def minter(self, authority: Authority) -> Minter:
            """What to mint for the host, its configuration applied.

            Raises NotMine if this is not a registry of this source, Unavailable if the configuration is broken.
            """


class Minted:
    """The helper that answers with tokens of `source`, through a cache in `cached_token.directory`."""

    __slots__ = ("_source", "_tokens")

    def __init__(self, source: "Source", environ: "Environment" = posix.environ) -> None:
        self._source = source
        self._tokens = Tokens(source.kind, environ, source.uncached)

    @property
    def manual(self) -> str:
        """What `--help` prints below the synopsis."""
        return self._source.manual

    def ready(self, authority: Authority) -> "Credential | None":
        """The cached token, if it has not expired.

        Raises NotMine if this is not a registry of the source, and again what a failed mint raised just now.
        """
        return self._tokens.ready(self._source.host_key(authority))

    def get(self, authority: Authority) -> "Credential":
        """A token that is not due for renewal in the foreground: another process's, or a new one."""
        return self._tokens.get(self._wanted(authority))

    def refresh(self, authority: Authority) -> None:
        """Renew the cached token unless somebody does it already, has just done it or has just failed."""
        self._tokens.refresh(self._wanted(authority))

    def store(self, authority: Authority, credential: "Credential") -> None:  # noqa: ARG002 - the helpers' common signature
        """Accept what `docker login` typed for a registry of the source and keep nothing: its tokens are minted."""
        try:
            # Not `host_key`, which takes any host for an alias where there is a configuration.
            self._source.minter(authority)
        except NotMine:
            raise Unsupported(
                f"docker-credential-{self._source.kind} keeps no passwords, and this is not one of its registries",
                'set "credsStore" to "keyring" in docker\'s config.json for registries with a password',
            ) from None

    def erase(self, authority: Authority) -> None:
        """Forget every cached token for the host. Nothing to forget is success."""
        self._forget(authority)

    def list(self) -> dict[str, str]:
        """The hosts that `get` answers from the cache, to this identity, now."""
        cache = self._tokens.cache
        found = {}
        for name, cached in cache.tokens():
            for host in cached.hosts:
                try:
                    is_ours = cache.is_for(name, self._source.host_key(hosts.registry(host)))
                except NotMine:
                    continue  # a host that an older configuration owned
                if is_ours:
                    found[DOCKER_HUB if host == HUB else host] = cached.credential.username
        return found

    def _forget(self, authority: Authority, *keys: str) -> None:
        """Let the cache have nothing for the host, nor anything under further keys."""
        try:
            key = self._source.host_key(authority)
        except NotMine:
            return
        self._tokens.cache.erase(authority.name, key, *keys)

    def _wanted(self, authority: Authority) -> Wanted:
        """The token for the host.

        The key is read first: if it is the same later on, so was the identity meanwhile.
        """
        source = self._source
        key = source.host_key(authority)

        def is_still() -> bool:
            try:
                return source.host_key(authority) == key
            except NotMine:
                return False  # the configuration that owned the host has gone

        return Wanted(source.minter(authority), authority.name, key, is_still)
