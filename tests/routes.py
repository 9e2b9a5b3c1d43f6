"""What a source makes of a server string, as `minted` asks it: by the route of the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credhelpers import plan
from credhelpers.hosts import Authority

if TYPE_CHECKING:
    from credhelpers.plan import Route


def routed(source: Any, server: str) -> Route:
    """Who owns the server for this source, by its own environment. Raises NotMine, Unavailable."""
    return plan.route(Authority(server), source._environ, source.kind)


def host_key_of(source: Any, server: str) -> str:
    """The key of the copy for the server."""
    return str(source.host_key(routed(source, server)))


def minter_of(source: Any, server: str) -> Any:
    """What mints for the server."""
    return source.minter(routed(source, server))
