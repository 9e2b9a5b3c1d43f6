"""One helper for every registry: whoever owns it answers, and the keyring all that nobody owns.

Entries of config.toml come first, then the sources' own rules, then what a person typed: see `plan`. A source that has
a rule for any registry is asked before the keyring, and where it has nothing the keyring is asked all the same.

`ready` is on the way of a cache hit, so this module imports no more than a hit does.
"""

import posix

from credhelpers import cached_token
from credhelpers.cached_token import CachedToken
from credhelpers.errors import HelperError, NotFound, NotMine, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.cached_token import Failure
    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.minted import Minted
    from credhelpers.plan import Route
    from credhelpers.servers import Authority
    from credhelpers.stores.keyring import Keyring

    Link = Minted | Keyring

_ASKED_BY = b"auto"


class Router:
    """The helper. `kinds` are the sources whose cached tokens are looked for first, without asking who owns the host.

    What a cached token was minted for is in its receipt, with all that decided who owned the host.
    """

    __slots__ = ("_asked", "_environ", "_kinds", "_routed")

    def __init__(self, *kinds: str, environ: "Environment" = posix.environ) -> None:
        self._kinds = kinds
        self._environ = environ
        self._asked: Authority | None = None
        self._routed: Route | None = None

    @property
    def manual(self) -> str:
        """What `--help` prints below the synopsis."""
        from credhelpers._router import MANUAL

        return MANUAL

    def ready(self, authority: "Authority") -> "Credential | None":
        """The cached token, if it has not expired. Raises again what a failed mint raised just now."""
        found = self._cached(authority, self._kinds)
        if found is None:
            owner = self._owner(authority)
            found = self._cached(authority, (owner.source,)) if owner and owner.source not in self._kinds else None
        if isinstance(found, CachedToken):
            return found.credential
        try:
            cached_token.raise_remembered(found)
        except NotFound as error:
            owner = self._owner(authority)
            raise owner.told(error) if owner else error from None
        return None

    def get(self, authority: "Authority") -> "Credential":
        """What the first link has that has something."""
        told = NotFound()
        for link in self._links(authority):
            try:
                return link.get(authority)
            except NotFound as error:
                told = told if told.code else error
        raise told

    def refresh(self, authority: "Authority") -> None:
        """Renew the cached token."""
        self._links(authority)[0].refresh(authority)

    def store(self, authority: "Authority", credential: "Credential") -> None:
        """Keep what `docker login` typed, in the first link that keeps it."""
        links = self._links(authority)
        for link in links[:-1]:
            try:
                link.store(authority, credential)
            except Unsupported:
                continue
            return
        links[-1].store(authority, credential)

    def erase(self, authority: "Authority") -> None:
        """Forget it in all links. Nothing to forget is success."""
        failed: HelperError | None = None
        for link in self._links(authority):
            try:
                link.erase(authority)
            except HelperError as error:
                failed = failed or error
        if failed:
            raise failed

    def list(self) -> dict[str, str]:
        """What the caches answer now, and the keyring if it is open. No network, and no failure."""
        found: dict[str, str] = {}
        for kind in self._kinds:
            found |= self._over(kind).cached()
        return found | self._keyring().list()

    def _cached(self, authority: "Authority", kinds: tuple[str, ...]) -> "CachedToken | Failure | None":
        slots = cached_token.slots(cached_token.host_key(authority, self._environ, _ASKED_BY))
        names = [f"{kind}-{slot}".encode() for kind in kinds for slot in slots]
        return cached_token.load(cached_token.directory(self._environ), names, self._environ)

    def _owner(self, authority: "Authority") -> "Route | None":
        """Who owns it, asked once for one that a client sent. Raises Unavailable if what says so is broken."""
        if self._asked is not authority:
            from credhelpers.plan import route  # what a hit does not need

            try:
                self._routed = route(authority, self._environ)
            except NotMine:
                self._routed = None
            self._asked = authority
        return self._routed

    def _links(self, authority: "Authority") -> "tuple[Link, ...]":
        """The helpers to be asked in turn."""
        owner = self._owner(authority)
        if owner is None:
            return (self._keyring(),)
        helper = self._over(owner.source)
        return (helper, self._keyring()) if owner.is_any else (helper,)

    def _over(self, word: str) -> "Minted":
        """The helper over the source with this word."""
        from credhelpers.installed import source
        from credhelpers.minted import Minted
        from credhelpers.writable import Writable

        made = source(word, self._environ)
        over = Writable if hasattr(made, "list") else Minted
        return over(made, self._environ, self._route, _ASKED_BY)

    def _keyring(self) -> "Keyring":
        from credhelpers.stores.keyring import Keyring  # what no source's host needs

        return Keyring(self._environ)

    def _route(self, authority: "Authority", environ: "Environment", kind: str) -> "Route":
        """Who owns the authority, where that is the source of this kind; else what this kind has for it.

        Raises NotMine. The latter is for who hands another source his credential.
        """
        from credhelpers.plan import route

        owner = self._owner(authority)
        return owner if owner and owner.source == kind else route(authority, environ, kind)
