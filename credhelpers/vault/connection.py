"""One Vault server, spoken to by hvac as people with `vault` or `bao` on their command line expect it.

hvac alone reads a few of the variables, at import time, asks `http://localhost` by default, and lets `requests` carry
the token wherever a redirect leads. All that is said here instead: see `docs/vault.md`. The variables and what they
mean are those of github.com/hashicorp/vault, api/client.go, but for VAULT_SKIP_VERIFY, on purpose.
"""

import json
import re

from credhelpers.errors import Unavailable
from credhelpers.hosts import is_local
from credhelpers.vault import duration
from credhelpers.vault.trust import context
from credhelpers.vault.vault_errors import Refusal
from credhelpers.vault.wire import Server, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.identity import Environment

_ADDRESS = "https://127.0.0.1:8200"  # `DefaultAddress`
_TIMEOUT = 60.0  # seconds, as there
_RETRIES = 2  # as there
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*)/?"
)
_SOCKET = re.compile(r"unix://(/[^\0]+)")
_NAMESPACE = re.compile(r"[!-~]{0,512}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a `token` of RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[ -~\t]*")


def variable(environ: "Environment", name: str) -> str:
    """What `BAO_NAME` says if it is set, even to "", else `VAULT_NAME` (github.com/openbao/openbao, api/env.go)."""
    value = environ.get(f"BAO_{name}".encode())
    if value is None:
        value = environ.get(f"VAULT_{name}".encode(), b"")
    return value.decode("utf-8", "surrogateescape")


class Connection:
    """The server that `settings` and `environ` name; every request ends by `until`, of the monotonic clock.

    Raises Unavailable if they name none, or one to which no secret may go.
    """

    def __init__(self, environ: "Environment", settings: "Mapping[str, Any]", until: float) -> None:
        agent = variable(environ, "AGENT_ADDR")
        self.address: str = settings.get("address") or agent or variable(environ, "ADDR") or _ADDRESS
        self.namespace: str = (settings.get("namespace") or variable(environ, "NAMESPACE")).strip("/")
        self.until = until
        self._environ = environ
        self._settings = settings
        self._client: Any = None
        self._server = self._read_address()
        # An agent may add a token of its own: https://developer.hashicorp.com/vault/docs/agent-and-proxy/agent/apiproxy
        self.is_agent = settings.get("auth") == "agent" or bool(
            self._server.socket or (agent and "address" not in settings)
        )
        if not _NAMESPACE.fullmatch(self.namespace):
            raise Unavailable("VAULT_NAMESPACE is not the path of a namespace", "run `printenv VAULT_NAMESPACE`")

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
        from urllib.parse import quote

        where = "/v1/" + quote(path, "/:@!$&'()*+,;=~", errors="surrogateescape")
        answer = self.client.adapter.request(method, where, **options)
        return answer if isinstance(answer, dict) else {}

    def _read_address(self) -> Server:
        if found := _SOCKET.fullmatch(self.address):
            return Server("http", "localhost", 80, "", socket=found[1])
        is_ours = "address" in self._settings
        name = "`address` in config.toml" if is_ours else "VAULT_ADDR or VAULT_AGENT_ADDR"
        found = _URL.fullmatch(self.address)
        if not found or not 0 < int(found["port"] or "1") <= 65535:  # noqa: PLR2004 - RFC 6335
            raise Unavailable(f"{name} is not the URL of a server", "`export VAULT_ADDR=https://HOST:8200` names one")
        host = found["host"].lower()
        port = int(found["port"] or {"http": "80", "https": "443"}[found["scheme"]])
        is_allowed = is_ours and self._settings.get("plain_http") == "allowed"
        if found["scheme"] == "http" and not (_is_loopback(host) or is_allowed):
            raise Unavailable(
                "vault's address begins with `http://`, and nothing secret goes there unencrypted",
                "`export VAULT_ADDR=https://HOST:8200`, or see `plain_http` in `docs/vault.md`",
            )
        return Server(found["scheme"], host, port, found["path"])

    def _connect(self) -> "Any":
        try:
            import hvac
            from hvac.adapters import JSONAdapter
        except ImportError:
            raise Unavailable("hvac, which talks to Vault, is not installed", "see `docs/install.md`") from None

        class Adapter(JSONAdapter):  # type: ignore[misc] # hvac has no types
            def _raise_for_error(self, method: str, url: str, response: "Any") -> None:  # noqa: ARG002 - hvac's own
                refusal = _refusal(response)
                if refusal.is_sealed:  # so is what was never initialised, and says no more
                    state = self.get("/v1/sys/seal-status", raise_exception=False)
                    refusal.answer = state if isinstance(state, dict) else {}
                raise refusal

        return hvac.Client(
            url=self._server.url,
            token="",
            session=self._wire(),
            allow_redirects=False,
            namespace=self.namespace or None,
            adapter=Adapter,
        )

    def _wire(self) -> Wire:
        server = self._server
        environ = self._environ
        return Wire(
            server,
            self.until,
            timeout=_timeout(variable(environ, "CLIENT_TIMEOUT")),
            retries=_retries(variable(environ, "MAX_RETRIES")),
            headers=_headers(variable(environ, "HEADERS")),
            context=context(environ, self._settings, variable) if server.scheme == "https" else None,
            name=variable(environ, "TLS_SERVER_NAME"),
            proxy="" if server.socket or _is_loopback(server.host) else _proxy(environ, server),
        )


def _is_loopback(host: str) -> bool:
    """Whether it is this machine itself, by number: a metadata service of the hypervisor is no Vault."""
    return is_local(host) and (host in ("localhost", "[::1]") or host.startswith("127."))


def _timeout(text: str) -> float:
    """Seconds; none said, or 0, is Vault's own. Raises Unavailable."""
    found = duration.seconds(text or "0")
    if found is None:
        raise Unavailable("VAULT_CLIENT_TIMEOUT is not a duration", "`export VAULT_CLIENT_TIMEOUT=60s` is one")
    return found or _TIMEOUT


def _retries(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,9}", text):
        raise Unavailable("VAULT_MAX_RETRIES is not a number", "`export VAULT_MAX_RETRIES=2` is one")
    return int(text) if text else _RETRIES


def _headers(text: str) -> dict[str, str]:
    """The further headers of an object in JSON. Raises Unavailable, also for those that are Vault's own."""
    try:
        found = json.loads(text) if text else {}
    except (RecursionError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(
        _HEADER.fullmatch(name) and isinstance(value, str) and _HEADER_VALUE.fullmatch(value)
        for name, value in found.items()
    ):
        raise Unavailable("VAULT_HEADERS is not an object of headers in JSON", "correct or unset VAULT_HEADERS")
    if any(name.lower().startswith("x-vault-") for name in found):
        raise Unavailable("VAULT_HEADERS names a header that is Vault's own", "correct or unset VAULT_HEADERS")
    return found


def _proxy(environ: "Environment", server: Server) -> str:
    """The URL of the proxy on the way there: of Vault's variables, else of the ordinary ones; "" for none."""
    own = variable(environ, "PROXY_ADDR") or variable(environ, "HTTP_PROXY")
    if own:
        return own
    from requests.utils import should_bypass_proxies

    def ordinary(name: str) -> str:
        return (environ.get(name.encode()) or environ.get(name.upper().encode(), b"")).decode("utf-8", "replace")

    proxy = ordinary(f"{server.scheme}_proxy") or ordinary("all_proxy")
    if proxy and should_bypass_proxies(server.origin, ordinary("no_proxy")):
        return ""
    return proxy


def _refusal(response: "Any") -> Refusal:
    answer = response.json()
    lines = answer.get("errors")
    said = tuple(line for line in lines if isinstance(line, str)) if isinstance(lines, list) else ()
    return Refusal(response.status_code, said, answer)
