"""What a source makes of a server string, as `minted` asks it: by the route of the plan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from credhelpers import cached_token, plan
from credhelpers.cache import TokenCache
from credhelpers.cached_token import CachedToken
from credhelpers.credential import Credential
from credhelpers.minted import Minted
from credhelpers.recorder import Recorder
from credhelpers.servers import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from credhelpers.plan import Route


def routed(source: Any, server: str) -> Route:
    """Who owns the server for this source, by its own environment. Raises NotMine, Unavailable."""
    return plan.route(Authority(server), source._environ, source.kind)


class Known:
    """All by which the copy for a server is known. Two are equal if they say the same; else they never hold at once."""

    def __init__(self, source: Any, server: str) -> None:
        route = routed(source, server)
        recorder = Recorder(source._environ, "00")
        source.record(route, recorder)
        self.text = "\n".join((route.scope, *recorder.lines()))
        self.environ = dict(source._environ)
        minted = Minted(source, self.environ)
        looks, route = minted._recorded(Authority(server))
        source.record(route, looks)
        self.copy = CachedToken(Credential("", ""), (), 0, looks.text())
        self.key = cached_token.host_key(Authority(server), self.environ)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Known)
        if self.text == other.text:
            return True
        for environ in (self.environ, other.environ):
            is_one = cached_token.holds(self.copy, environ) and cached_token.holds(other.copy, environ)
            assert not is_one or self.key != other.key, (self.text, other.text)
        return False

    def __hash__(self) -> int:
        return 0


def host_key_of(source: Any, server: str) -> Known:
    """All by which the copy for the server is known: the same for the same identity, and for no other."""
    return Known(source, server)


def minter_of(source: Any, server: str) -> Any:
    """What mints for the server."""
    return source.minter(routed(source, server))


def keep_copy(cache: TokenCache, source: Any, server: str, credential: Credential, now: float) -> None:
    """Have the cache answer with this credential for the server."""
    authority = Authority(server)
    minted = Minted(source, source._environ)
    wanted = minted._wanted(authority, *minted._recorded(authority))
    cache.save(wanted.host_key, wanted.host, credential, now, wanted.receipt)


def age(folder: Path, source: Any, server: str) -> None:
    """Let the token for the server that is cached there, and its copy, be past their soft expiry."""
    path = bytes(folder)
    cache = TokenCache(source.kind, path, source._environ)
    copy = cached_token.host_key(Authority(server), source._environ)
    for key in (minter_of(source, server).token_key, copy):
        cached = cached_token.load(path, [f"{source.kind}-{key}".encode()], source._environ)
        assert isinstance(cached, CachedToken)
        cached.credential.soft = time.time() - 60
        cache.save(key, server, cached.credential, cached.issued, cached.receipt)
