"""One helper for every registry: whoever owns it answers, and the keyring all that nobody owns.

Entries of config.toml come first, then the sources' own rules, then what a person typed: see `plan`. An entry may name
a chain of helpers that are asked in turn. A source that has a rule for any registry is asked before the keyring, and
where it has nothing the keyring is asked all the same.

`ready` is on the way of a cache hit, so this module imports no more than a hit does.
"""

import posix
from time import monotonic, time

from credhelpers import cached_token
from credhelpers.cached_token import CachedToken
from credhelpers.errors import HelperError, NotFound, NotMine, Unavailable, Unsupported, shortage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.cached_token import Failure
    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.minted import Minted
    from credhelpers.plan import Route
    from credhelpers.servers import Authority
    from credhelpers.stores.foreign import Foreign
    from credhelpers.stores.keyring import Keyring

    Link = Minted | Keyring | Foreign

_ASKED_BY = b"auto"
_BEHIND = b"auto, behind another"  # a link that is asked in its turn only, so that no hit answers before it
_KEYRING, _HELPER = "keyring", "helper:"  # as in `config.links`
_BUDGET = 8.5  # seconds for a helper of somebody else's; the call has ten


class Router:
    """The helper. `kinds` are the sources whose cached tokens are looked for first, without asking who owns the host.

    What a cached token was minted for is in its receipt, with all that decided who owned the host.
    """

    __slots__ = ("_asked", "_environ", "_kinds", "_routed", "_until")

    def __init__(self, *kinds: str, environ: "Environment" = posix.environ) -> None:
        self._kinds = kinds
        self._environ = environ
        self._until = monotonic() + _BUDGET
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
            found = self._cached(authority, (owner.source,)) if owner and not self._is_known(owner.source) else None
        if isinstance(found, CachedToken):
            return found.credential
        try:
            cached_token.raise_remembered(found)
        except NotFound as error:
            owner = self._owner(authority)
            raise owner.told(error) if owner else error from None
        return None

    def get(self, authority: "Authority") -> "Credential":
        """What the first link has that has something.

        One that fails ends that, but a helper of somebody else's, and where the entry says to go on. That it failed is
        said at the end if nobody has anything, and the registry is one that somebody owns.
        """
        owner = self._owner(authority)
        told: NotFound | None = None
        failed: Unavailable | None = None
        for number, (word, link) in enumerate(self._links(authority)):
            try:
                found = self._ready_behind(link, authority) if number else None
                return found or link.get(authority)
            except NotFound as error:
                told = told if told and told.code else error
            except Unavailable as error:
                is_of_others = word.startswith(_HELPER)
                if shortage(error) or not (is_of_others or (owner and owner.goes_on)):
                    raise
                from credhelpers import notes

                notes.take(f"{word} failed, the next one is asked: {error.message}")
                if owner and not (is_of_others and owner.is_any):
                    failed = failed or error
        raise failed or told or NotFound()

    def _ready_behind(self, link: "Link", authority: "Authority") -> "Credential | None":
        """What a link behind the first has in its cache, which `ready` does not look at: it is asked in its turn."""
        found = link.ready(authority)
        return found if found and time() < found.hard else None

    def waives(self, authority: "Authority") -> bool:
        """See `minted.Minted`."""
        try:
            owner = self._owner(authority)
        except Unavailable:
            return False
        return owner is not None and owner.is_optional

    def refresh(self, authority: "Authority") -> None:
        """Renew the cached token."""
        self._links(authority)[0][1].refresh(authority)

    def store(self, authority: "Authority", credential: "Credential") -> None:
        """Keep what `docker login` typed, in the first link that keeps it."""
        *links, (_, last) = self._links(authority)
        for _, link in links:
            try:
                link.store(authority, credential)
            except Unsupported:
                continue
            return
        last.store(authority, credential)

    def erase(self, authority: "Authority") -> None:
        """Forget it in all links. Nothing to forget is success."""
        failed: HelperError | None = None
        for _, link in self._links(authority):
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

    def _is_known(self, word: str) -> bool:
        """Whether its tokens were looked for already, or it has none."""
        return word in self._kinds or word == _KEYRING or word.startswith(_HELPER)

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

    def _links(self, authority: "Authority") -> "tuple[tuple[str, Link], ...]":
        """The helpers to be asked in turn, each with its word."""
        owner = self._owner(authority)
        words = (owner.source, *owner.chain) if owner else (_KEYRING,)
        if owner and owner.is_any and not owner.line:  # a source that a variable makes one for any registry
            words += (_KEYRING,)
        return tuple((word, self._link(word, _BEHIND if number else _ASKED_BY)) for number, word in enumerate(words))

    def _link(self, word: str, asked_by: bytes) -> "Link":
        if word == _KEYRING:
            owner = self._routed
            return self._keyring(is_expected=owner is not None and not owner.is_any)
        if word.startswith(_HELPER):
            from credhelpers.stores.foreign import Foreign

            return Foreign(word.removeprefix(_HELPER), self._environ, self._until)
        return self._over(word, asked_by)

    def _over(self, word: str, asked_by: bytes = _ASKED_BY) -> "Minted":
        """The helper over the source with this word."""
        from credhelpers.installed import source
        from credhelpers.minted import Minted
        from credhelpers.writable import Writable

        made = source(word, self._environ)
        over = Writable if hasattr(made, "list") else Minted
        return over(made, self._environ, self._route, asked_by)

    def _keyring(self, *, is_expected: bool = False) -> "Keyring":
        from credhelpers.stores.keyring import Keyring  # what no source's host needs

        return Keyring(self._environ, is_expected=is_expected)

    def _route(self, authority: "Authority", environ: "Environment", kind: str) -> "Route":
        """Who owns the authority, where that is the source of this kind; else what this kind has for it.

        Raises NotMine. The latter is for who hands another source his credential.
        """
        from credhelpers.plan import route

        owner = self._owner(authority)
        return owner if owner and owner.source == kind else route(authority, environ, kind)
