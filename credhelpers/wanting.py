"""Which token is wanted for an authority of a source: who owns it, and what decides who mints, looked at first."""

from credhelpers.errors import NotMine
from credhelpers.installed import KEYRING, source
from credhelpers.minting import Wanted
from credhelpers.receipt import holds
from credhelpers.recorder import Recorder
from credhelpers.stores.note import path_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from credhelpers.given import Giver
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.servers import Authority

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

            A `minting.Minter`; of a source that takes a credential of another helper, a `given.GivenMinter`.
            """


class Wanting:
    """What the tokens of `source` for its authorities hang on.

    key_of:      under which name a copy for an authority is cached
    route_of:    who owns an authority; raises NotMine and Unavailable
    giver_of:    the helper over another source, and what its tokens hang on
    found_by:    variables by which a copy counts at all
    keeps_typed: whether what a person types is kept beside the source
    """

    __slots__ = ("_environ", "_found_by", "_giver_of", "_keeps_typed", "_key_of", "_route_of", "_source")

    def __init__(  # noqa: PLR0913, PLR0917 - one argument a fact
        self,
        source: "Source",
        environ: "Environment",
        key_of: "Callable[[Authority], str]",
        route_of: "Callable[[Authority], Route]",
        giver_of: "Callable[[Source], tuple[Giver, Wanting]]",
        found_by: tuple[bytes, ...],
        *,
        keeps_typed: bool,
    ) -> None:
        self._source = source
        self._environ = environ
        self._key_of = key_of
        self._route_of = route_of
        self._found_by = found_by
        self._giver_of = giver_of
        self._keeps_typed = keeps_typed

    def recorded(self, authority: "Authority", recorder: "Recorder | None" = None) -> "tuple[Recorder, Route]":
        """What decides who owns the authority and whether something was typed for it, looked at, and the route."""
        route = self._route_of(authority)
        recorder = recorder or Recorder(self._environ, route.word)
        for name in (b"CREDHELPERS_CONFIG", b"XDG_CONFIG_HOME", b"HOME", b"CREDHELPERS_IDENTITY", *self._found_by):
            recorder.variable(name)  # by which the configuration was found, and the entry in it
        recorder.copy(route.receipt)
        if self._keeps_typed and (path := path_of(authority, recorder.environ)):
            recorder.file(path)
        return recorder, route

    def wanted(self, authority: "Authority", recorder: "Recorder", route: "Route") -> Wanted:
        """The token for the host.

        What decides who mints is looked at first: if all of it is the same later on, so was the identity meanwhile.
        """
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
            self._key_of(authority),
            (recorder.text(), recorder.text(is_of_failure=True)),
            lambda: holds(lines, recorder.word, self._environ),
            min_life=route.min_life,
        )

    def _giver(self, route: "Route", recorder: "Recorder") -> "Giver | None":
        """The helper by whose credential the route's token is minted, after a look at what decides who mints that."""
        word = route.settings.get("from")
        if word is None:
            return None
        if word == KEYRING:
            from credhelpers.stores.keyring import Keyring

            return Keyring(self._environ)

        found = source(word, self._environ)
        giver, wanting = self._giver_of(found)
        try:
            _, given = wanting.recorded(route.authority, recorder)
        except NotMine:
            raise route.contradiction(f'`from = "{word}"`, and no entry of {word} has this registry') from None
        found.record(given, recorder)
        return giver
