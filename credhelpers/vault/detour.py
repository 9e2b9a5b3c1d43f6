"""Ways to Vault that are not straight: through a proxy, by a socket of this machine."""

from credhelpers import peer
from credhelpers.errors import Unavailable
from credhelpers.vault.transport_errors import PROXY, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.identity import Environment

    Variable = Callable[[Environment, str], str]


def proxy(environ: "Environment", scheme: str, origin: str, variable: "Variable") -> str:
    """The URL of the proxy on the way there: of Vault's variables, else of the ordinary ones; "" for none."""
    if own := variable(environ, "PROXY_ADDR") or variable(environ, "HTTP_PROXY"):
        return own
    from requests.utils import should_bypass_proxies

    def ordinary(name: str) -> str:
        return (environ.get(name.encode()) or environ.get(name.upper().encode(), b"")).decode("utf-8", "replace")

    found = ordinary(f"{scheme}_proxy") or ordinary("all_proxy")
    if found and should_bypass_proxies(origin, ordinary("no_proxy")):
        return ""
    return found


def by_proxy(url: str, scheme: str, host: str, port: int, options: "Mapping[str, Any]") -> "Any":
    """The connections through the proxy, made with the `options` of urllib3. Raises Unavailable for a URL of none."""
    import urllib3

    try:
        parts = urllib3.util.parse_url(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError(url)
        login = urllib3.make_headers(proxy_basic_auth=parts.auth) if parts.auth else {}
        manager = urllib3.ProxyManager(parts.url, proxy_headers=login, **options)
    except ValueError:  # urllib3's LocationParseError is one
        raise Unavailable("vault-proxy-malformed", "the URL of the proxy is not one of HTTP", PROXY) from None
    if scheme == "http":
        return _ForwardPool(manager, f"{scheme}://{host}:{port}")
    return manager.connection_from_host(host.strip("[]"), port, scheme)


class _ForwardPool:
    """What a proxy forwards unencrypted is asked for by its whole URL."""

    def __init__(self, manager: "Any", origin: str) -> None:
        self._manager = manager
        self._origin = origin

    def urlopen(self, method: str, target: str, **options: "Any") -> "Any":
        return self._manager.urlopen(method, self._origin + target, **options)


def by_socket(path: str, seconds: float) -> "Any":
    """The connections to the socket. As bytes: a text goes in the locale's encoding, and another one may be asked."""
    import socket

    from urllib3 import HTTPConnectionPool
    from urllib3.connection import HTTPConnection

    address = path.encode("utf-8", "surrogateescape")

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                found.settimeout(seconds)
                found.connect(address)
                if not peer.is_meant(found, address):
                    raise failed("vault-agent-foreign")
            except BaseException:
                found.close()
                raise
            return found

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool("localhost")
