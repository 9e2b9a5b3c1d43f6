"""A helper over a source that also keeps: what `docker login` typed goes there, and the cache forgets all before it."""

import posix

from credhelpers.errors import NotFound, NotMine, Unavailable, Unsupported
from credhelpers.minted import Minted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.minted import Source
    from credhelpers.plan import Route
    from credhelpers.servers import Authority
    from credhelpers.tokens import Minter

    class WritableMinter(Minter, Protocol):
        """A token that is read where a person may write it."""

        def store(self, credential: Credential) -> bool:
            """Whether what `docker login` typed is kept, and not only accepted. Raises Unavailable or Unsupported."""

        def erase(self, old: Credential | None) -> None:
            """Forget it there, and end `old`, the one in hand. Nothing to forget is success. Raises Unavailable."""

    class WritableSource(Source, Protocol):
        """A source whose tokens can be written."""

        def minter(self, route: Route) -> WritableMinter:
            """As that of any source."""

        def list(self) -> dict[str, str]:
            """Server to user name of everything that is kept and may be read. Raises Unavailable."""


class Writable(Minted):
    """The helper that answers with what `source` keeps, and lets docker write it."""

    __slots__ = ("_writable", "has_kept")
    _keeps_typed = False

    def __init__(
        self,
        source: "WritableSource",
        environ: "Environment" = posix.environ,
        route: "Callable[[Authority, Environment, str], Route] | None" = None,
        asked_by: bytes = b"",
    ) -> None:
        super().__init__(source, environ, route, asked_by)
        self._writable = source
        self.has_kept = True

    def store(self, authority: "Authority", credential: "Credential") -> None:
        """Keep the credential at the source.

        The session's own tokens of `docker login` at Docker Hub are of no use there, and a login fails if nobody takes
        them: they are accepted and not kept.
        """
        if authority.is_hub_token:
            return
        try:
            minter = self._writable.minter(self._route(authority))
        except NotMine:
            raise Unsupported(
                "store-no-place",
                f"docker-credential-{self._writable.kind}: the configuration names no place for this registry",
                f"add a `[[registry]]` for it to config.toml, see `docs/{self._writable.kind}.md`",
            ) from None
        key = minter.token_key
        is_known = self._tokens.cache.knows(credential)
        self._forget(authority, key)  # before, too: this process may be killed as soon as it is written
        try:
            self.has_kept = minter.store(credential)
        except Unsupported:
            if (
                not is_known
            ):  # else a login without a password: docker asks for it, and brings back what it was answered
                raise
        finally:  # a write whose answer was lost may have been done
            self._forget(authority, key)

    def erase(self, authority: "Authority") -> None:
        """Forget the credential at the source and in the cache. Nothing to forget is success."""
        keys = []
        try:
            minter = self._writable.minter(self._route(authority))
            keys.append(minter.token_key)
            old = self._tokens.cached(minter.token_key)
            self._forget(authority, *keys)
            minter.erase(old)
        except NotFound:
            pass  # the source keeps nothing for it
        finally:
            self._forget(authority, *keys)  # as in `store`

    def list(self) -> dict[str, str]:
        """What the source keeps and may be read, and what `get` answers from the cache: leased, minted."""
        try:
            kept = self._writable.list()
        except Unavailable as error:
            from credhelpers import notes  # what a hit does not need

            notes.take(f"left out of the list: {error.message}")
            kept = {}
        return super().list() | kept
