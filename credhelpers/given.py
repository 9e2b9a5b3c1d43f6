"""A credential of another helper, handed to a source that needs one to mint with: `from = "vault"` in its entry.

No hit loads this.
"""

from credhelpers.errors import NotFound
from credhelpers.identity import fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from credhelpers.credential import Credential
    from credhelpers.plan import Route
    from credhelpers.servers import Authority

    class Giver(Protocol):
        """The helper that is named."""

        def get(self, authority: Authority) -> Credential:
            """The credential for the authority. Raises NotFound or Unavailable."""

    class GivenMinter(Protocol):
        """What a source mints with that takes a credential."""

        @property
        def token_key(self) -> str:
            """As that of any minter; the credential need not be in it."""

        def mint(self, old: Credential | None = None, given: Credential | None = None) -> Credential:
            """As that of any minter; `given` is None where the entry has no `from`."""


class WithGiven:
    """A minter with the credential that it mints with; another one makes another token."""

    __slots__ = ("_given", "_minter", "token_key")

    def __init__(self, minter: "GivenMinter", given: "Credential") -> None:
        self._minter = minter
        self._given = given
        username, secret = given.expose()
        self.token_key = fingerprint(f"given {minter.token_key} {len(username)} {username} {secret}", {}, ())

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """See `tokens.Minter`."""
        return self._minter.mint(old, self._given)


def given(minter: "GivenMinter", giver: "Giver", route: "Route") -> WithGiven:
    """The minter of the route with what the giver has for the same authority. Raises Unavailable."""
    try:
        return WithGiven(minter, giver.get(route.authority))
    except NotFound:
        word = route.settings["from"]
        raise route.contradiction(f'`from = "{word}"`, and {word} has no credential for this registry') from None
