"""Requests to one server and no other, over TCP, a proxy or a unix socket, each of which ends in time.

It stands where hvac expects a session of `requests`, of which it has what hvac needs: no `.netrc`, no cookies and no
certificates of its own. A redirect is followed once, to the same server; nothing else ever sees the token.
"""

import json
import random
from time import monotonic, sleep
from urllib.parse import quote, urlencode, urljoin

from credhelpers import peer
from credhelpers.deadline import Late, within
from credhelpers.errors import Unavailable
from credhelpers.vault.transport_errors import BETWEEN, FOREIGN, PROXY, STRANGER, object_in, overdue, reason
from credhelpers.vault.vault_errors import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any

_BODY_BYTES = 1 << 20
_CONNECT = 4.0  # seconds
_PAUSE = 0.1  # seconds before the first retry, doubled for each one
# RFC 9110 and 6585; 412 is Vault's own for a standby that has not seen a write yet (DefaultRetryPolicy, api/client.go).
_TRANSIENT = (412, 429, 500, *range(502, 600))
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 307, 308)


class Server:
    """Scheme, host, port and the path before `/v1`; or the path of a socket, and then the rest is for the form."""

    __slots__ = ("host", "path", "port", "scheme", "socket")

    def __init__(self, scheme: str, host: str, port: int, path: str, socket: str = "") -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.socket = socket

    @property
    def origin(self) -> str:
        """Scheme, host and port as a URL."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def target(self, url: str) -> str:
        """What follows the origin, however its port is written; "" for the URL of another server."""
        for origin in (self.origin, f"{self.scheme}://{self.host}")[: 1 + (self.port == _PORTS[self.scheme])]:
            rest = url.removeprefix(origin)
            if rest != url and rest.startswith("/"):
                return rest
        return ""

    @property
    def url(self) -> str:
        """The origin and the path."""
        return self.origin + self.path


class Response:
    """What Vault answered, as far as hvac asks for it: an object in JSON, or nothing."""

    def __init__(self, status: int, headers: "Mapping[str, str]", found: "dict[str, Any]") -> None:
        self.status_code = status
        self.headers = headers
        self.ok = status < 400  # noqa: PLR2004 - RFC 9110
        self._found = found

    def json(self) -> "dict[str, Any]":
        """The object; empty if there was none."""
        return self._found


class Wire:
    """Sends requests to `server`; `timeout` (seconds) bounds each one, `until` (monotonic clock) all of them.

    proxy: the URL of the proxy on the way, "" for none
    name:  what the server's certificate must name, "" for its host
    """

    verify = cert = proxies = None  # hvac looks for them

    def __init__(  # noqa: PLR0913 - one argument a fact
        self,
        server: Server,
        until: float,
        *,
        timeout: float,
        retries: int,
        headers: "Mapping[str, str]",
        context: "ssl.SSLContext | None",
        name: str,
        proxy: str,
    ) -> None:
        self._server = server
        self._until = until
        self._timeout = timeout
        self._retries = retries
        self._headers = headers
        self._pool = _pool(server, context, name, proxy)

    def request(self, method: str, url: str, headers: "dict[str, str]", **options: "Any") -> Response:
        """The answer, whatever its status is. Options: `json` and `params`. Raises Unavailable."""
        from urllib3 import HTTPHeaderDict

        body = None
        fields = HTTPHeaderDict({"User-Agent": "credhelpers"})  # one of each, however they are written
        for name, value in {**self._headers, "Accept-Encoding": "identity", **headers}.items():
            fields[name] = value
        if not all(value.isascii() and value.isprintable() for value in fields.values()):
            raise Unavailable(
                "a request to Vault would hold what none may hold", "run `vault login -no-print` for a new token"
            )
        if options.get("json") is not None:
            body = json.dumps(options["json"]).encode()
            fields["Content-Type"] = "application/json"
        target = _quoted(url.removeprefix(self._server.origin))
        if options.get("params"):
            target += "?" + urlencode(options["params"])
        left = min(self._until - monotonic(), self._timeout)
        if left <= 0:
            raise overdue()
        try:
            return within(left, lambda: self._followed(method.upper(), target, body, fields, monotonic() + left))
        except Late:
            raise overdue() from None

    def _followed(
        self, method: str, target: str, body: bytes | None, headers: "Mapping[str, str]", until: float
    ) -> Response:
        """The answer after at most one redirect, to the same server."""
        status, fields, content = self._retried(method, target, body, headers, until)
        if status in _REDIRECTS:
            there = self._server.target(urljoin(self._server.origin + target, fields.get("Location", "")))
            if not there:
                raise Final(
                    "vault redirects to another server, which is not followed",
                    "`vault status` shows the active one; set VAULT_ADDR to its address or the load balancer's",
                )
            status, fields, content = self._retried(method, _quoted(there), body, headers, until)
        if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110
            raise Final("vault redirects in a circle", BETWEEN)
        return Response(status, fields, object_in(status, content))

    def _retried(
        self, method: str, target: str, body: bytes | None, headers: "Mapping[str, str]", until: float
    ) -> "tuple[int, Mapping[str, str], bytes]":
        """The answer after retries of what may be over in a moment."""
        for attempt in range(self._retries + 1):
            answer = self._once(method, target, body, headers, until)
            pause = _PAUSE * 2**attempt * (1 + random.random())  # noqa: S311 - a fleet must not come back as one
            wanted = answer[1].get("Retry-After", "")
            if wanted.isdecimal():
                pause = max(pause, float(wanted[:4]))
            # A login that Vault 1.13 answers with 500 was refused, and too many of them lock the user out.
            is_refused = answer[0] == 500 and method == "POST" and "/v1/auth/" in target  # noqa: PLR2004 - RFC 9110
            is_last = attempt == self._retries or monotonic() + pause > until
            if answer[0] not in _TRANSIENT or is_refused or is_last:
                break
            sleep(pause)
        return answer

    def _once(
        self, method: str, target: str, body: bytes | None, headers: "Mapping[str, str]", until: float
    ) -> "tuple[int, Mapping[str, str], bytes]":
        from urllib3 import Timeout

        left = max(until - monotonic(), 0.01)
        try:
            answer = self._pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=Timeout(connect=min(left, _CONNECT), read=left),
            )
            content = answer.read(_BODY_BYTES + 1, decode_content=False)
            if len(content) > _BODY_BYTES:
                answer.close()
            else:
                answer.drain_conn()  # so that the next request finds the connection free
        except Final:
            raise
        except Exception as error:  # noqa: BLE001 - of urllib3, of `ssl`, of the system: all have no answer
            raise reason(error) from None
        if len(content) > _BODY_BYTES or answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Final(STRANGER, BETWEEN)
        return answer.status, answer.headers, content


def _quoted(target: str) -> str:
    """What may stand in a request line; what is escaped already stays so."""
    return quote(target, safe="/%:@!$&'()*+,;=?~[]", errors="surrogateescape")


def _pool(server: Server, context: "ssl.SSLContext | None", name: str, proxy: str) -> "Any":
    """The connections to the server, each made when it is needed."""
    import urllib3

    host = server.host.strip("[]")
    if server.socket:
        return _unix_pool(server.socket)
    options: dict[str, Any] = {"ssl_context": context} if context else {}
    if name and context:
        options["server_hostname"] = name
    if not proxy:
        kind = urllib3.HTTPSConnectionPool if context else urllib3.HTTPConnectionPool
        return kind(host, server.port, **options)
    try:
        parts = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError(proxy)
        login = urllib3.make_headers(proxy_basic_auth=parts.auth) if parts.auth else {}
        manager = urllib3.ProxyManager(parts.url, proxy_headers=login, **options)
    except ValueError:  # urllib3's LocationParseError is one
        raise Unavailable("the URL of the proxy is not one of HTTP", PROXY) from None
    if not context:
        return _ForwardPool(manager, server.origin)
    return manager.connection_from_host(host, server.port, "https")


class _ForwardPool:
    """What a proxy forwards unencrypted is asked for by its whole URL."""

    def __init__(self, manager: "Any", origin: str) -> None:
        self._manager = manager
        self._origin = origin

    def urlopen(self, method: str, target: str, **options: "Any") -> "Any":
        return self._manager.urlopen(method, self._origin + target, **options)


def _unix_pool(path: str) -> "Any":
    """Connections to the socket, as bytes: a text would be written in the locale's encoding, and another one asked."""
    import socket

    from urllib3 import HTTPConnectionPool
    from urllib3.connection import HTTPConnection

    address = path.encode("utf-8", "surrogateescape")

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                found.settimeout(_CONNECT)
                found.connect(address)
                if not peer.is_meant(found, address):
                    raise Final(*FOREIGN)
            except BaseException:
                found.close()
                raise
            return found

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool("localhost")
