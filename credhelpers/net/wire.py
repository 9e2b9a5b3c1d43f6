"""The one client of HTTP: a request to a peer, and its whole answer in time, or why there was none.

It follows no redirect, reads no `.netrc`, keeps no cookies, and sends nothing that was not given: a secret goes to the
host of the URL and to no other. An answer is read to its end within a limit, uncompressed; half of one is none.
"""

from contextlib import suppress
from socket import SHUT_RDWR, socket
from time import monotonic
from weakref import WeakSet

from credhelpers.deadline import Late, within
from credhelpers.errors import Unavailable
from credhelpers.servers import is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.identity import Environment
    from credhelpers.net.proxies import Proxy

_BODY_BYTES = 1 << 20  # many times what any answer has
CONNECT = 4.0  # seconds; behind a firewall that drops packets there is still time to say so
_OF_TLS = ("net-certificate", "net-no-tls", "net-tls")


class Peer:
    """Whom requests are for: what people call it, and what mends the way to it where that is not the usual.

    hints: by a code, or by "network", "proxy", "trust", "clock", "between"
    """

    __slots__ = ("hints", "name")

    def __init__(self, name: str, hints: "Mapping[str, str] | None" = None) -> None:
        self.name = name
        self.hints = hints or {}


class Strange(Exception):
    """What came is no answer that anybody could use."""


class Redirected(Exception):
    """The answer is that another place should be asked."""


class Answer:
    """Status, headers (found in whatever case), and the whole content."""

    __slots__ = ("content", "headers", "status")

    def __init__(self, status: int, headers: "Mapping[str, str]", content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content


class Wire:
    """Requests that all end by `until` (monotonic clock), over connections that it keeps.

    make_trust: what TLS is to trust, asked when it is needed first; else `trust.context`
    find_proxy: by scheme and host, for all but the hosts of this machine; else `proxies.on_the_way`
    is_proxied: False where no proxy may be asked, as for a metadata service
    """

    def __init__(
        self,
        environ: "Environment",
        until: float,
        make_trust: "Callable[[], ssl.SSLContext] | None" = None,
        find_proxy: "Callable[[str, str], Proxy | None] | None" = None,
        *,
        is_proxied: bool = True,
    ) -> None:
        self.environ = environ
        self.until = until
        self.server_name = ""  # what a certificate is to say where that is not the host
        self._make_trust = make_trust
        self._find_proxy = find_proxy
        self._is_proxied = is_proxied
        self._trust: ssl.SSLContext | None = None
        self._pools: dict[tuple[str, str, int], tuple[Any, str]] = {}

    def ask(  # noqa: PLR0913 - the parts of a request
        self,
        peer: Peer,
        method: str,
        place: tuple[str, str, int, str],
        *,
        body: bytes | None = None,
        headers: "Mapping[str, str] | None" = None,
        seconds: float = 3600.0,
        connect: float = CONNECT,
        may_redirect: bool = False,
    ) -> Answer:
        """The answer, whatever its status is, but a redirect only if it may be one; within the seconds and all's time.

        A connection has `connect` seconds of them.

        The place is scheme, host, port and target, as `hosts.endpoint` reads a URL. Raises NoAnswer, and Unavailable
        where trust or proxy are not as they should be.
        """
        scheme, host, port, target = place
        address = f"{host}:{port}" if port != {"http": 80, "https": 443}[scheme] else host
        proxy = ""
        left = min(self.until - monotonic(), seconds)
        try:
            if left <= 0:
                raise Late
            pool, proxy = self._pool(scheme, host, port)
            if scheme == "http" and proxy:  # what a proxy forwards unencrypted it is asked for by the whole URL
                target = f"http://{host}:{port}{target}"
            try:
                answer = within(left, lambda: _asked(pool, (method, target, body, headers or {}), left, connect))
            except Late:
                _hang_up(pool)
                raise
            if 300 <= answer.status < 400 and not may_redirect:  # noqa: PLR2004 - RFC 9110, 15.4
                raise Redirected
        except (Unavailable, ImportError):  # the latter is told by who needs an extra that is not installed
            raise
        except Exception as error:  # noqa: BLE001 - of urllib3, of `ssl`, of the system: all have no answer
            from credhelpers.net.failures import NoAnswer, code_of, is_silence

            code = code_of(error)
            if type(error).__name__ == "ProxyError" and code.startswith(_OF_TLS):
                raise NoAnswer(code, "the proxy", {}, proxy) from None  # it is one by `https`, and not known or meant
            late = NoAnswer(code, peer.name, peer.hints, address, proxy)
            late.is_silent = is_silence(error)
            raise late from None
        return answer

    def connect(self, scheme: str, host: str, port: int, pool: "Any") -> None:
        """Have requests to this origin go over the connections of urllib3 that the pool makes, a socket's say."""
        self._pools[scheme, host, port] = (pool, "")

    def _pool(self, scheme: str, host: str, port: int) -> "tuple[Any, str]":
        """The connections to an origin, and the name of the proxy on the way or ""."""
        key = (scheme, host, port)
        if key not in self._pools:
            self._pools[key] = self._connected(*key)
        return self._pools[key]

    def _connected(self, scheme: str, host: str, port: int) -> "tuple[Any, str]":
        import urllib3

        options: dict[str, Any] = {}
        if scheme == "https":
            options["ssl_context"] = self._trusted()
            if self.server_name:
                options["server_hostname"] = self.server_name
        proxy = self._proxy(scheme, host) if self._is_proxied and not is_local(host) else None
        if proxy:
            if proxy.url.startswith("https"):
                options["proxy_ssl_context"] = self._trusted(is_own=True)  # a client's certificate is not for it
            manager = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers, **options)
            pool, name = manager.connection_from_host(host.strip("[]"), port, scheme), proxy.name
        else:
            kind = urllib3.HTTPSConnectionPool if scheme == "https" else urllib3.HTTPConnectionPool
            pool, name = kind(host.strip("[]"), port, **options), ""
        pool.ConnectionCls = _patient(pool.ConnectionCls, self.until)
        return pool, name

    def _trusted(self, *, is_own: bool = False) -> "ssl.SSLContext":
        from credhelpers.net.trust import context

        if is_own:
            return context(self.environ)
        self._trust = self._trust or (self._make_trust() if self._make_trust else context(self.environ))
        return self._trust

    def _proxy(self, scheme: str, host: str) -> "Proxy | None":
        if self._find_proxy:
            return self._find_proxy(scheme, host)
        if not any(name.upper().endswith(b"_PROXY") for name in self.environ):
            return None
        from credhelpers.net.proxies import on_the_way

        return on_the_way(self.environ, scheme, host)


def json_object(content: bytes) -> "dict[str, Any]":
    """The JSON object that an answer or a program's output is, or an empty one if it is none (RFC 8259, no NaN)."""
    import json

    def refuse(_constant: str) -> None:
        raise ValueError

    try:
        found = json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _patient(base: "Any", until: float) -> "Any":
    """A connection of urllib3 on which TLS and a proxy have all of the time: whoever takes it is there, and slow.

    It knows no wire and holds no socket, lest one that nobody needs any more keeps its connections open.
    """
    made: WeakSet[socket] = WeakSet()

    class Patient(base):  # type: ignore[misc] # it is known when urllib3 is loaded
        sockets = made

        def connect(self) -> None:
            super().connect()
            made.add(self.sock)

        def _new_conn(self) -> "Any":
            found = super()._new_conn()
            found.settimeout(max(until - monotonic(), 0.01))
            return found

    return Patient


def _hang_up(pool: "Any") -> None:
    """End what waits for an answer of that origin: one that drips would have a thread of this process for ever."""
    for connection in list(getattr(pool.ConnectionCls, "sockets", ())):
        with suppress(OSError):  # it has ended
            socket.shutdown(connection, SHUT_RDWR)  # not as TLS does it, which would say good-bye first


def _asked(
    pool: "Any", request: "tuple[str, str, bytes | None, Mapping[str, str]]", seconds: float, connect: float
) -> Answer:
    """The answer. Raises Strange for one that is compressed or too long, and whatever urllib3 raises."""
    from urllib3 import HTTPHeaderDict, Timeout

    method, target, body, headers = request
    fields = HTTPHeaderDict({"User-Agent": "credhelpers"})  # one of each, however they are written
    for name, value in {**headers, "Accept-Encoding": "identity"}.items():
        fields[name] = value
    answer = pool.urlopen(
        method,
        target,
        body=body,
        headers=fields,
        redirect=False,
        assert_same_host=False,  # a proxy is asked for another's whole URL
        retries=False,
        preload_content=False,
        timeout=Timeout(connect=min(seconds, connect), read=seconds),
    )
    content = b""
    while len(content) <= _BODY_BYTES and (more := answer.read(_BODY_BYTES + 1 - len(content), decode_content=False)):
        content += more  # the read that would get nothing raises where that is too early
    if len(content) > _BODY_BYTES or answer.headers.get("Content-Encoding", "identity") != "identity":
        answer.close()
        raise Strange
    answer.drain_conn()  # so that the next request finds the connection free
    return Answer(answer.status, answer.headers, content)
