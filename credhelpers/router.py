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
        owner = self._owner(authority)
        if owner and (owner.chain or owner.is_any):
            return None  # what failed a moment ago is only the first that is asked
        try:
            cached_token.raise_remembered(found)
        except NotFound as error:
            raise owner.told(error) if owner else error from None
        return None

    def get(self, authority: "Authority") -> "Credential":
        """What the first link has that has something.

        One that fails ends that, but a helper of somebody else's, and where the entry says to go on. That it failed is
        said at the end if nobody has anything, and the registry is one that somebody owns. A mistake in the
        configuration always ends it.
        """
        owner = self._owner(authority)
        links = self._links(authority)
        has_sources = any(_is_source(word) for word, _ in links)
        told: NotFound | None = None
        failed: Unavailable | None = None
        for number, (word, link) in enumerate(links):
            try:
                found = _asked(link, authority) if number and _is_source(word) else link.get(authority)
                if has_sources and not _is_source(word) and _is_token_name(found):
                    continue  # what somebody piped in long ago, for a registry that has tokens of its own
                return found
            except NotFound as error:
                told = told if told and told.code else error
            except Unavailable as error:
                is_of_others = word.startswith(_HELPER)
                goes_on = is_of_others or (owner is not None and owner.goes_on)
                if shortage(error) or error.code.startswith("config-") or not goes_on:
                    raise
                if last := _last_resort(link, authority, error):
                    return last
                from credhelpers import notes

                notes.take(f"{word} failed, the next one is asked: {error.message}")
                if owner and not (is_of_others and owner.is_any):
                    failed = failed or error
        raise failed or told or NotFound()

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
        """Keep what `docker login` typed, in the first link that keeps it: what is only accepted is kept behind it.

        A token that ends is for the cache of the source whose it is, and no store.
        """
        from credhelpers.minted import Minted
        from credhelpers.writable import Writable

        links = self._links(authority)
        minting = [link for _, link in links if isinstance(link, Minted) and not isinstance(link, Writable)]
        if minting and (_is_token_name(credential) or any(link.knows(credential) for link in minting)):
            minting[0].store(authority, credential)
            return
        for number, (_, link) in enumerate(links, 1):
            try:
                link.store(authority, credential)
            except Unsupported:
                if number == len(links):
                    raise
                continue
            if not isinstance(link, Writable) or link.has_kept:
                return

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
        found = {server: user for server, user in self._keyring().list().items() if self._asks_keyring(server)}
        for kind in self._kinds:
            for asked_by in (_BEHIND, _ASKED_BY):
                found |= self._over(kind, asked_by).cached()
        return found

    def _asks_keyring(self, server: str) -> bool:
        """Whether what the keyring has is answered: nobody else owns the server, or it was typed beside a source."""
        from credhelpers.servers import Authority
        from credhelpers.typed import Typed

        try:
            owner = self._owner(Authority(server))
        except Unavailable:
            return False
        if owner is None or owner.is_any or _KEYRING in (owner.source, *owner.chain):
            return True
        return server in Typed(self._environ).servers()

    def _cached(self, authority: "Authority", kinds: tuple[str, ...]) -> "CachedToken | Failure | None":
        slots = cached_token.slots(cached_token.host_key(authority, self._environ, _ASKED_BY))
        names = [f"{kind}-{slot}".encode() for kind in kinds for slot in slots]
        return cached_token.load(cached_token.directory(self._environ), names, self._environ)

    def _is_known(self, word: str) -> bool:
        """Whether its tokens were looked for already, or it has none."""
        return word in self._kinds or not _is_source(word)

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


def _is_source(word: str) -> bool:
    return word != _KEYRING and not word.startswith(_HELPER)


def _asked(link: "Link", authority: "Authority") -> "Credential":
    """What a source has that is asked in its turn: no hit has looked into its cache, and nobody renews behind it."""
    found = link.ready(authority)
    if found is None or time() >= found.soft:
        try:
            if found and time() < found.hard:
                link.refresh(authority)
                return link.ready(authority) or found
            return link.get(authority)
        except Unavailable as error:
            if found is None or error.is_denial:
                raise
    return found


def _last_resort(link: "Link", authority: "Authority", error: Unavailable) -> "Credential | None":
    """The token in hand of a link that fails, if it has not expired: it is of who was asked, and nobody else's."""
    if error.is_denial:
        return None
    try:
        return link.ready(authority)
    except (NotFound, Unavailable):
        return None


def _is_token_name(credential: "Credential") -> bool:
    from credhelpers.typed import is_token_name

    return is_token_name(credential.username)
