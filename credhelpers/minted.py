"""A helper over a source: an executable's five verbs, answered with the tokens of one cloud."""

import posix

from credhelpers import hosts, plan
from credhelpers.errors import HelperError, NotMine, Unsupported
from credhelpers.hosts import DOCKER_HUB, HUB, Authority
from credhelpers.tokens import Tokens, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
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

        def host_key(self, route: Route) -> str:
            """The fingerprint of the route and of everything that selects the identity which would mint for it.

            Cheap: no SDK, no network, no child.
            """

        def minter(self, route: Route) -> Minter:
            """What to mint for the route. Raises Unavailable for settings that do not go with its host."""


class Minted:
    """The helper that answers with tokens of `source`, through a cache in `cached_token.directory`.

    `route` says who owns an authority, as `plan.route` does.
    """

    __slots__ = ("_environ", "_route_of", "_source", "_tokens")

    def __init__(
        self,
        source: "Source",
        environ: "Environment" = posix.environ,
        route: "Callable[[Authority, Environment, str], Route]" = plan.route,
    ) -> None:
        self._source = source
        self._environ = environ
        self._route_of = route
        self._tokens = Tokens(source.kind, environ, source.uncached)

    @property
    def manual(self) -> str:
        """What `--help` prints below the synopsis."""
        return self._source.manual

    def ready(self, authority: Authority) -> "Credential | None":
        """The cached token, if it has not expired.

        Raises NotMine if this is not a registry of the source, and again what a failed mint raised just now.
        """
        return self._tokens.ready(self._source.host_key(self._route(authority)))

    def get(self, authority: Authority) -> "Credential":
        """A token that is not due for renewal in the foreground: another process's, or a new one."""
        return self._tokens.get(self._wanted(authority))

    def refresh(self, authority: Authority) -> None:
        """Renew the cached token unless somebody does it already, has just done it or has just failed."""
        self._tokens.refresh(self._wanted(authority))

    def store(self, authority: Authority, credential: "Credential") -> None:  # noqa: ARG002 - the helpers' common signature
        """Accept what `docker login` typed for a registry of the source and keep nothing: its tokens are minted."""
        try:
            self._source.minter(self._route(authority))
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
                    is_ours = cache.is_for(name, self._source.host_key(self._route(hosts.registry(host))))
                except HelperError:
                    continue  # a host that an older configuration owned, or a configuration that is broken now
                if is_ours:
                    found[DOCKER_HUB if host == HUB else host] = cached.credential.username
        return found

    def _forget(self, authority: Authority, *keys: str) -> None:
        """Let the cache have nothing for the host, nor anything under further keys."""
        try:
            keys = (*keys, self._source.host_key(self._route(authority)))
        except NotMine:
            return
        except HelperError:
            pass  # a broken configuration keeps nobody's token
        self._tokens.cache.erase(authority.name, *keys)

    def _route(self, authority: Authority) -> "Route":
        return self._route_of(authority, self._environ, self._source.kind)

    def _wanted(self, authority: Authority) -> Wanted:
        """The token for the host.

        The key is read first: if it is the same later on, so was the identity meanwhile.
        """
        source = self._source
        route = self._route(authority)
        key = source.host_key(route)

        def is_still() -> bool:
            try:
                return source.host_key(self._route(authority)) == key
            except HelperError:
                return False  # the configuration that owned the host has gone, or is broken

        return Wanted(source.minter(route), authority.name, key, is_still)
