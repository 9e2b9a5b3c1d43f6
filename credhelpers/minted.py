"""A helper over a source: an executable's five verbs, answered with the tokens of one cloud."""

import posix

from credhelpers import cached_token
from credhelpers.errors import NotFound, NotMine, Unavailable, Unsupported
from credhelpers.servers import Authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from credhelpers.credential import Credential
    from credhelpers.given import Giver
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder
    from credhelpers.tokens import Tokens, Wanted

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

        def minter(self, route: Route) -> Any:
            """What to mint for the route. Raises Unavailable for settings that do not go with its host.

            A `tokens.Minter`; of a source that takes a credential of another helper, a `given.GivenMinter`.
            """


class Minted:
    """The helper that answers with tokens of `source`, through a cache in `cached_token.directory`.

    `route` says who owns an authority; `plan.route` if it is None. `asked_by` is that of `cached_token.host_key`.
    """

    __slots__ = ("_asked_by", "_environ", "_route_of", "_routed", "_source")
    _keeps_typed = True
    """Whether what a person types is kept beside the source."""

    def __init__(
        self,
        source: "Source",
        environ: "Environment" = posix.environ,
        route: "Callable[[Authority, Environment, str], Route] | None" = None,
        asked_by: bytes = b"",
    ) -> None:
        self._asked_by = asked_by
        self._source = source
        self._environ = environ
        self._route_of = route
        self._routed: Route | None = None

    @property
    def manual(self) -> str:
        """What `--help` prints below the synopsis."""
        return self._source.manual

    def ready(self, authority: Authority) -> "Credential | None":
        """The cached token, if it has not expired.

        Raises NotMine if this is not a registry of the source, and again what a failed mint raised just now.
        """
        try:
            names = [f"{self._source.kind}-{key}".encode() for key in self._copies(authority)]
            is_cached = not self._environ.get(self._source.uncached)
            directory = cached_token.directory(self._environ) if is_cached else None
            found = cached_token.ready(directory, names, self._environ)
        except NotFound as error:
            raise self._told(error, authority) from None
        if found is None:
            self._route(authority)  # whoever owns nothing here is told so before anything slow is loaded
        return found

    def get(self, authority: Authority) -> "Credential":
        """What a person typed, else a token that is not due for renewal: another process's, or a new one."""
        try:
            recorder, route = self._recorded(authority)
            typed = self._typed(authority, recorder) if self._keeps_typed else None
            return typed or self._tokens.get(self._wanted(authority, recorder, route))
        except NotFound as error:
            raise self._told(error, authority) from None

    def waives(self, authority: Authority) -> bool:
        """Whether a client is to go on without a credential if `ready` or `get` fails, as `on_error` of its entry says.

        A mistake in the configuration is never waived: it may have sent the client to another registry's identity.
        """
        try:
            return self._route(authority).is_optional
        except (NotMine, Unavailable):
            return False

    def refresh(self, authority: Authority) -> None:
        """Renew the cached token unless somebody does it already, has just done it or has just failed."""
        self._tokens.refresh(self._wanted(authority, *self._recorded(authority)))

    def knows(self, credential: "Credential") -> bool:
        """Whether it is one that was answered from here."""
        return self._tokens.cache.knows(credential)

    def store(self, authority: Authority, credential: "Credential") -> None:
        """Keep what `docker login` typed for a registry of the source, to be answered before any token is minted.

        A token that somebody piped in is cached until it ends. No identity is looked for, and no cloud is asked.
        """
        try:
            route = self._route(authority)
        except NotMine:
            raise Unsupported(
                "store-no-registry",
                f"no password is kept here for what is no registry of {self._source.kind}",
                'set "credsStore" to "keyring" in docker\'s config.json for registries with a password',
            ) from None
        from credhelpers.installed import KEYRING  # what a hit does not need

        if route.settings.get("from") == KEYRING:  # the robot by whose credential tokens are minted
            from credhelpers.stores.keyring import Keyring

            Keyring(self._environ).store(authority, credential)
            self._forget(authority)
            return
        if self._tokens.cache.knows(credential):
            return  # a login without a password: docker asks for it, and brings back what it was answered
        from credhelpers.typed import Typed, token_end  # what a hit does not need

        typed, end = Typed(self._environ), token_end(credential)
        if end is None:
            typed.keep(authority, credential)
        if end or authority.is_whole:  # what was typed for a path leaves a token for the registry as it is
            self._forget(authority)
        if end:
            recorder, _ = self._recorded(authority)
            key = self._key(authority.registry)
            self._tokens.take(key, authority.name, credential, end, recorder.text())
            typed.erase(authority.registry)  # last: who was not heard keeps what he had

    def erase(self, authority: Authority) -> None:
        """Forget what a person typed for the host, and every cached token. Nothing to forget is success."""
        from credhelpers.typed import Typed  # what a hit does not need

        try:
            Typed(self._environ).erase(authority)
        finally:
            self._forget(authority)
            self._forget_given(authority)

    def list(self) -> dict[str, str]:
        """The hosts that `get` answers from the cache, to this identity, now, and those with something typed."""
        return self._servers() | self.cached()

    def cached(self) -> dict[str, str]:
        """The hosts that `get` answers from the cache alone, to this identity, now."""
        return self._tokens.cache.servers(self._copies)

    @property
    def _tokens(self) -> "Tokens":
        from credhelpers.tokens import Tokens  # what a hit does not need

        return Tokens(self._source.kind, self._environ, self._source.uncached)

    def _told(self, error: NotFound, authority: Authority) -> NotFound:
        return self._route(authority).told(error) if error.code else error

    def _forget(self, authority: Authority, *keys: str) -> None:
        """Let the cache have nothing for the host, nor anything under further keys."""
        if authority.host:
            self._tokens.erase(authority.name, *self._copies(authority), *keys)

    def _forget_given(self, authority: Authority) -> None:
        """Have the cache have no credential of another source that tokens for the host were minted by."""
        from credhelpers.installed import KEYRING  # what a hit does not need

        try:
            word = self._route(authority).settings.get("from", KEYRING)
        except (NotMine, Unavailable):
            return
        if word != KEYRING:  # where nobody forgets but who logs out there
            from credhelpers.tokens import Tokens

            Tokens(word, self._environ).erase(authority.name, *self._copies(authority))

    def _key(self, authority: Authority) -> str:
        return cached_token.host_key(authority, self._environ, self._asked_by)

    def _copies(self, authority: Authority) -> tuple[str, ...]:
        """The keys of all that `ready` answers with, in its order."""
        return tuple(cached_token.slots(self._key(authority)))

    def _route(self, authority: Authority) -> "Route":
        """Who owns it, asked once for one that a client sent: should that change meanwhile, nothing is kept."""
        if self._routed is None or self._routed.authority is not authority:
            self._routed = self._asked(authority)
        return self._routed

    def _asked(self, authority: Authority) -> "Route":
        if self._route_of:
            return self._route_of(authority, self._environ, self._source.kind)
        from credhelpers.plan import route  # what a hit does not need

        return route(authority, self._environ, self._source.kind)

    def _servers(self) -> dict[str, str]:
        """Server to user name of what was typed for a registry of the source."""
        if not self._keeps_typed:
            return {}
        from credhelpers.typed import Typed  # what a hit does not need

        found = {}
        for server, username in Typed(self._environ).servers().items():
            try:
                self._route(Authority(server))
            except (NotMine, Unavailable):
                continue
            found[server] = username
        return found

    def _typed(self, authority: Authority, recorder: "Recorder") -> "Credential | None":
        """What a person typed for it. Raises Unavailable if it is out of reach."""
        from credhelpers.typed import Typed  # what a hit does not need

        typed = Typed(self._environ)
        if found := typed.get(authority):
            return found
        recorder.is_fleeting |= typed.is_unread
        key = self._key(authority.registry)
        copy = self._key(authority)
        return self._tokens.taken(key, copy, authority.name, recorder.text())

    def _found_by(self) -> tuple[bytes, ...]:
        """The variables that say whether cached tokens count, where who asked does not look at them."""
        return (self._source.uncached,) if self._asked_by and self._source.uncached else ()

    def _recorded(self, authority: "Authority", recorder: "Recorder | None" = None) -> "tuple[Recorder, Route]":
        """What decides who owns the authority and whether something was typed for it, looked at, and the route."""
        route = self._route(authority)
        from credhelpers.recorder import Recorder  # what a hit does not need

        recorder = recorder or Recorder(self._environ, route.word)
        for name in (b"CREDHELPERS_CONFIG", b"XDG_CONFIG_HOME", b"HOME", b"CREDHELPERS_IDENTITY", *self._found_by()):
            recorder.variable(name)  # by which the configuration was found, and the entry in it
        recorder.copy(route.receipt)
        if self._keeps_typed:
            from credhelpers.stores.note import path_of  # what a hit does not need

            if path := path_of(authority, recorder.environ):
                recorder.file(path)
        return recorder, route

    def _wanted(self, authority: "Authority", recorder: "Recorder", route: "Route") -> "Wanted":
        """The token for the host.

        What decides who mints is looked at first: if all of it is the same later on, so was the identity meanwhile.
        """
        from credhelpers.receipt import holds  # what a hit does not need
        from credhelpers.tokens import Wanted

        self._source.record(route, recorder)
        recorder.network()
        giver = self._giver(route, recorder)
        lines = recorder.lines()
        minter = self._source.minter(route)
        if giver:
            from credhelpers.given import given  # what most do without

            minter = given(minter, giver, route)
        return Wanted(
            minter,
            authority.name,
            self._key(authority),
            (recorder.text(), recorder.text(is_of_failure=True)),
            lambda: holds(lines, recorder.word, self._environ),
            min_life=route.min_life,
        )

    def _giver(self, route: "Route", recorder: "Recorder") -> "Giver | None":
        """The helper by whose credential the route's token is minted, after a look at what decides who mints that."""
        word = route.settings.get("from")
        if word is None:
            return None
        from credhelpers.installed import KEYRING, source  # what most do without

        if word == KEYRING:
            from credhelpers.stores.keyring import Keyring

            return Keyring(self._environ, is_expected=True)

        found = source(word, self._environ)

        class Giving(Minted):
            __slots__ = ()
            _keeps_typed = False  # what a person typed for the host is no source's word

        giver = Giving(found, self._environ, self._route_of, self._asked_by)
        try:
            _, given = giver._recorded(route.authority, recorder)  # noqa: SLF001 - of a class of this one
        except NotMine:
            raise route.contradiction(f'`from = "{word}"`, and no entry of {word} has this registry') from None
        found.record(given, recorder)
        return giver
