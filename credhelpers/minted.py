"""A helper over a source: an executable's five verbs, answered with the tokens of one cloud."""

import posix

from credhelpers import cached_token
from credhelpers.errors import NoIdentity, NotFound, NotMine, Unsupported
from credhelpers.hosts import DOCKER_HUB, HUB, Authority
from credhelpers.tokens import Tokens, Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder
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

        def record(self, route: Route, recorder: Recorder) -> None:
            """Look at everything that selects the identity which would mint for the route, with `recorder`.

            Cheap: no SDK, no network, no child. What is written anew for the same identity, as a token in a file is, is
            a `proof`.
            """

        def minter(self, route: Route) -> Minter:
            """What to mint for the route. Raises Unavailable for settings that do not go with its host."""


class Minted:
    """The helper that answers with tokens of `source`, through a cache in `cached_token.directory`.

    `route` says who owns an authority; `plan.route` if it is None.
    """

    __slots__ = ("_environ", "_route_of", "_source", "_tokens")

    def __init__(
        self,
        source: "Source",
        environ: "Environment" = posix.environ,
        route: "Callable[[Authority, Environment, str], Route] | None" = None,
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
        key = cached_token.host_key(authority, self._environ)
        try:
            found = self._tokens.ready(*cached_token.slots(key))
        except NotFound as error:
            raise self._told(error, authority) from None
        if found is None:
            self._route(authority)  # whoever owns nothing here is told so before anything slow is loaded
        return found

    def get(self, authority: Authority) -> "Credential":
        """A token that is not due for renewal in the foreground: another process's, or a new one."""
        try:
            return self._tokens.get(self._wanted(authority))
        except NotFound as error:
            raise self._told(error, authority) from None

    def refresh(self, authority: Authority) -> None:
        """Renew the cached token unless somebody does it already, has just done it or has just failed."""
        self._tokens.refresh(self._wanted(authority))

    def store(self, authority: Authority, credential: "Credential") -> None:  # noqa: ARG002 - the helpers' common signature
        """Accept what `docker login` typed for a registry of the source and keep nothing: its tokens are minted."""
        try:
            self._source.minter(self._route(authority))
        except NotMine:
            raise Unsupported(
                "store-no-registry",
                f"docker-credential-{self._source.kind} keeps no passwords, and this is not one of its registries",
                'set "credsStore" to "keyring" in docker\'s config.json for registries with a password',
            ) from None

    def erase(self, authority: Authority) -> None:
        """Forget every cached token for the host. Nothing to forget is success."""
        self._forget(authority)

    def list(self) -> dict[str, str]:
        """The hosts that `get` answers from the cache, to this identity, now."""
        return {
            DOCKER_HUB if host == HUB else host: cached.credential.username
            for key, cached in self._tokens.cache.tokens().items()
            if cached.receipt and cached_token.holds(cached, self._environ)
            for host in cached.hosts
            if key in cached_token.slots(cached_token.host_key(Authority(host), self._environ))  # not for a path only
        }

    def _told(self, error: NotFound, authority: Authority) -> NotFound:
        """The same with who says that there should be something; without a word where nobody would wonder.

        That is where no entry of config.toml owns the host, and a source's own rule does not lack an identity.
        """
        if error.code:
            line = self._route(authority).line
            if not line and not isinstance(error, NoIdentity):
                return NotFound()
            error.hint = f"line {line} of config.toml" if line else f"a built-in rule of {self._source.kind}"
            error.hint += " has this host"
        return error

    def _forget(self, authority: Authority, *keys: str) -> None:
        """Let the cache have nothing for the host, nor anything under further keys."""
        if authority.host:
            copies = cached_token.slots(cached_token.host_key(authority, self._environ))
            self._tokens.erase(authority.name, *copies, *keys)

    def _route(self, authority: Authority) -> "Route":
        if self._route_of:
            return self._route_of(authority, self._environ, self._source.kind)
        from credhelpers.plan import route  # what a hit does not need

        return route(authority, self._environ, self._source.kind)

    def _wanted(self, authority: Authority) -> Wanted:
        """The token for the host.

        What decides who mints is looked at first: if all of it is the same later on, so was the identity meanwhile.
        """
        from credhelpers.receipt import holds  # what a hit does not need

        recorder, route = self._recorded(authority)
        lines = recorder.lines()
        return Wanted(
            self._source.minter(route),
            authority.name,
            cached_token.host_key(authority, self._environ),
            (recorder.text(), recorder.text(is_of_failure=True)),
            lambda: holds(lines, recorder.word, self._environ),
        )

    def _recorded(self, authority: Authority) -> "tuple[Recorder, Route]":
        """What decides who mints, looked at, and the route."""
        from credhelpers.recorder import Recorder  # what a hit does not need

        route = self._route(authority)
        recorder = Recorder(self._environ, route.word)
        for name in (b"CREDHELPERS_CONFIG", b"XDG_CONFIG_HOME", b"HOME", b"CREDHELPERS_IDENTITY"):
            recorder.variable(name)  # by which the configuration was found, and the entry in it
        recorder.copy(route.receipt)
        self._source.record(route, recorder)
        return recorder, route
