"""One Vault server, spoken to by hvac as people with `vault` or `bao` on their command line expect it.

hvac alone reads a few of the variables, at import time, asks `http://localhost` by default, and lets `requests` carry
the token wherever a redirect leads. All that is said here instead: see `docs/vault.md`. The variables and what they
mean are those of github.com/hashicorp/vault, api/client.go, but for VAULT_SKIP_VERIFY, on purpose.
"""

import json
import random
import re
from time import monotonic, sleep
from urllib.parse import quote, urlencode, urljoin

from credhelpers.errors import Unavailable
from credhelpers.net.wire import Answer, Peer, Wire
from credhelpers.servers import is_loopback
from credhelpers.vault.vault_errors import Final, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.identity import Environment
    from credhelpers.net.proxies import Proxy

_ADDRESS = "https://127.0.0.1:8200"  # `DefaultAddress`
_TIMEOUT = 60.0  # seconds, as there
_RETRIES = 2  # as there
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*)/?"
)
_SOCKET = re.compile(r"unix://(/[^\0]+)")
_NAMESPACE = re.compile(r"[!-~]{0,512}")
_CONNECT = 4.0  # seconds
_VAULT = Peer("vault")
_INSTALLING = "`pipx inject credhelpers hvac`, or install credhelpers again with its extra: `credhelpers[vault]`"
_PAUSE = 0.1  # seconds before the first retry, doubled for each one
# RFC 9110 and 6585; 412 is Vault's own for a standby that has not seen a write yet (DefaultRetryPolicy, api/client.go).
_TRANSIENT = (412, 429, 500, *range(502, 600))
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 307, 308)


def variable(environ: "Environment", name: str) -> str:
    """What `BAO_NAME` says if it is set, even to "", else `VAULT_NAME` (github.com/openbao/openbao, api/env.go)."""
    value = environ.get(f"BAO_{name}".encode())
    if value is None:
        value = environ.get(f"VAULT_{name}".encode(), b"")
    return value.decode("utf-8", "surrogateescape")


class Server:
    """Where Vault is: what `settings` and `environ` name, read once for all that a call asks there.

    Scheme, host, port and the path before `/v1`; or the path of a socket, and then these are for the form. Raises
    Unavailable if no server is named, or one to which no secret may go.

    is_agent: whether an agent answers, which may add a token of its own
              (https://developer.hashicorp.com/vault/docs/agent-and-proxy/agent/apiproxy)
    """

    def __init__(self, environ: "Environment", settings: "Mapping[str, Any]") -> None:
        self.environ = environ
        self.settings = settings
        agent = variable(environ, "AGENT_ADDR")
        self.address: str = settings.get("address") or agent or variable(environ, "ADDR") or _ADDRESS
        found = _SOCKET.fullmatch(self.address)
        self.socket = found[1] if found else ""
        self.scheme, self.host, self.port, self.path = ("http", "localhost", 80, "") if found else self._parts()
        self.is_agent = settings.get("auth") == "agent" or bool(self.socket or (agent and "address" not in settings))
        self.namespace: str = (settings.get("namespace") or variable(environ, "NAMESPACE")).strip("/")
        if not _NAMESPACE.fullmatch(self.namespace):
            raise Unavailable(
                "vault-namespace-malformed",
                "VAULT_NAMESPACE is not the path of a namespace",
                "run `printenv VAULT_NAMESPACE`",
            )

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

    def _parts(self) -> tuple[str, str, int, str]:
        is_ours = "address" in self.settings
        name = "`address` in config.toml" if is_ours else "VAULT_ADDR or VAULT_AGENT_ADDR"
        found = _URL.fullmatch(self.address)
        mending = (
            '`address = "https://HOST:8200"` in config.toml' if is_ours else "`export VAULT_ADDR=https://HOST:8200`"
        )
        if not found or not 0 < int(found["port"] or "1") <= 65535:  # noqa: PLR2004 - RFC 6335
            raise Unavailable(
                "vault-address-malformed",
                f"{name} is not the URL of a server",
                f"{mending} names one",
            )
        scheme, host = found["scheme"], found["host"].lower()
        is_allowed = is_ours and self.settings.get("plain_http") == "allowed"
        if scheme == "http" and not (is_loopback(host) or is_allowed):
            raise Unavailable(
                "vault-plain-http",
                "vault's address begins with `http://`, and nothing secret goes there unencrypted",
                f"{mending}, or see `plain_http` in `docs/vault.md`",
            )
        if f"{found['path']}/".endswith("/v1/"):
            raise Unavailable(
                "vault-address-malformed",
                f"{name} ends in `/v1`, which is added to it with each request",
                "take `/v1` off it",
            )
        return scheme, host, int(found["port"] or _PORTS[scheme]), found["path"]


class Connection:
    """Requests to the server, every one of which ends by `until`, of the monotonic clock."""

    def __init__(self, server: Server, until: float) -> None:
        self.server = server
        self.until = until
        self._client: Any = None

    @property
    def client(self) -> "Any":
        """The client of hvac, whose methods raise Refusal and Unavailable only; without a token until it gets one."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def request(self, method: str, path: str, **options: "Any") -> "dict[str, Any]":
        """The object that Vault answers to `method` on `/v1/PATH`; empty if it has nothing to say.

        Options are those of `requests`: `json`, `params`, `headers`. Raises Refusal or Unavailable.
        """
        where = "/v1/" + quote(path, "/:@!$&'()*+,;=~", errors="surrogateescape")
        answer = self.client.adapter.request(method, where, **options)
        return answer if isinstance(answer, dict) else {}

    def _connect(self) -> "Any":
        try:
            import hvac
            from hvac.adapters import JSONAdapter
        except ImportError:
            raise Unavailable(
                "vault-sdk-missing", "hvac, which talks to Vault, is not installed", _INSTALLING
            ) from None

        class Adapter(JSONAdapter):  # type: ignore[misc] # hvac has no types
            def _raise_for_error(self, method: str, url: str, response: "Any") -> None:  # noqa: ARG002 - hvac's own
                answer = response.json()
                lines = answer.get("errors")
                said = tuple(line for line in lines if isinstance(line, str)) if isinstance(lines, list) else ()
                refusal = Refusal(response.status_code, said, answer)
                if refusal.is_sealed:  # so is what was never initialised, and says no more
                    state = self.get("/v1/sys/seal-status", raise_exception=False)
                    refusal.answer = state if isinstance(state, dict) else {}
                raise refusal

        return hvac.Client(
            url=self.server.origin + self.server.path,
            token="",
            session=Requests(self.server, self.until),
            allow_redirects=False,
            namespace=self.server.namespace or None,
            adapter=Adapter,
        )


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


class Requests:
    """Sends requests to `server` and to no other, over TCP, a proxy or a unix socket; each ends `until`, at the latest.

    It stands where hvac expects a session of `requests`, of which it has what hvac needs. A redirect is followed once,
    to the same server; nothing else ever sees the token.
    """

    verify = cert = proxies = None  # hvac looks for them

    def __init__(self, server: Server, until: float) -> None:
        self._server = server
        self._timeout, self._retries, self._headers = _options(server.environ)
        self._wire = _wire(server, until)

    def request(self, method: str, url: str, headers: "dict[str, str]", **options: "Any") -> Response:
        """The answer, whatever its status is. Options: `json` and `params`. Raises Unavailable."""
        body = None
        fields = {**self._headers, **headers}
        if not all(value.isascii() and value.isprintable() for value in fields.values()):
            raise Unavailable(
                "vault-request-malformed",
                "a request to Vault would hold what none may hold",
                "run `vault login -no-print` for a new token",
            )
        if options.get("json") is not None:
            body = json.dumps(options["json"]).encode()
            fields["Content-Type"] = "application/json"
        target = _quoted(url.removeprefix(self._server.origin))
        if options.get("params"):
            target += "?" + urlencode(options["params"])
        until = min(self._wire.until, monotonic() + self._timeout)

        def asked(target: str) -> Answer:
            return self._retried(method.upper(), target, body, fields, until)

        answer = asked(target)
        if answer.status in _REDIRECTS:
            try:
                there = self._server.target(urljoin(self._server.origin + target, answer.headers.get("Location", "")))
            except ValueError:  # no URL
                there = ""
            if not there:
                raise _failed("vault-redirect")
            answer = asked(_quoted(there))
        if 300 <= answer.status < 400:  # noqa: PLR2004 - RFC 9110
            raise _failed("vault-redirect-circle")
        return Response(answer.status, answer.headers, _object_in(answer.status, answer.content))

    def _retried(
        self, method: str, target: str, body: bytes | None, headers: "Mapping[str, str]", until: float
    ) -> Answer:
        """The answer after retries of what may be over in a moment."""
        for attempt in range(self._retries + 1):
            answer = self._once(method, target, body, headers, until)
            pause = _PAUSE * 2**attempt * (1 + random.random())  # noqa: S311 - a fleet must not come back as one
            wanted = answer.headers.get("Retry-After", "")
            if wanted.isdecimal():
                pause = max(pause, float(wanted[:4]))
            # A login that Vault 1.13 answers with 500 was refused, and too many of them lock the user out.
            is_refused = answer.status == 500 and method == "POST" and "/v1/auth/" in target  # noqa: PLR2004 - RFC 9110
            is_last = attempt == self._retries or monotonic() + pause > until
            if answer.status not in _TRANSIENT or is_refused or is_last:
                break
            sleep(pause)
        return answer

    def _once(self, method: str, target: str, body: bytes | None, headers: "Mapping[str, str]", until: float) -> Answer:
        place = (self._server.scheme, self._server.host, self._server.port, target)
        seconds = until - monotonic()
        try:
            return self._wire.ask(_VAULT, method, place, body=body, headers=headers, seconds=seconds, may_redirect=True)
        except Final:
            raise
        except Unavailable as error:
            from credhelpers.vault.transport_errors import no_answer

            raise no_answer(error) from None


def _quoted(target: str) -> str:
    """What may stand in a request line; what is escaped already stays so."""
    return quote(target, safe="/%:@!$&'()*+,;=?~[]", errors="surrogateescape")


def _object_in(status: int, content: bytes) -> "dict[str, Any]":
    """The JSON object in an answer, empty if it holds nothing.

    Raises Final for anything else, unless a proxy may say with it that Vault is away.
    """
    try:
        found = json.loads(content) if content.strip() else {}
    except (RecursionError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    if content.startswith(b"Client sent an HTTP request to an HTTPS server"):  # Go's net/http
        raise _failed("vault-tls-only")
    if status >= 500:  # noqa: PLR2004 - RFC 9110
        return {}
    raise _failed("vault-no-vault")


def _options(environ: "Environment") -> "tuple[float, int, Mapping[str, str]]":
    """Seconds for one request, how often it is tried again, and more headers. Raises Unavailable for what is none."""
    seconds = variable(environ, "CLIENT_TIMEOUT")
    retries = variable(environ, "MAX_RETRIES")
    headers = variable(environ, "HEADERS")
    if not (seconds or retries or headers):
        return _TIMEOUT, _RETRIES, {}
    from credhelpers.vault import options  # which few people set

    return (
        (options.timeout(seconds) if seconds else 0) or _TIMEOUT,  # 0 means Vault's own, too
        options.retries(retries) if retries else _RETRIES,
        options.headers(headers) if headers else {},
    )


def _wire(server: Server, until: float) -> Wire:
    """The connections to the server, each made when it is needed. Raises Unavailable."""
    environ = server.environ

    def trust() -> "ssl.SSLContext":
        from credhelpers.vault.trust import context

        return context(environ, server.settings, variable)

    def proxy(scheme: str, host: str) -> "Proxy | None":
        from credhelpers.vault import detour

        return None if is_loopback(host) else detour.proxy(environ, scheme, host, variable)

    is_said = any(name.upper().endswith((b"_PROXY", b"_PROXY_ADDR")) for name in environ)
    wire = Wire(environ, until, trust, proxy, is_proxied=is_said)
    wire.server_name = variable(environ, "TLS_SERVER_NAME")
    if server.socket:
        from credhelpers.vault import detour

        wire.connect(server.scheme, server.host, server.port, detour.by_socket(server.socket, _CONNECT))
    return wire


def _failed(code: str) -> Final:
    from credhelpers.vault.transport_errors import failed

    return failed(code)
