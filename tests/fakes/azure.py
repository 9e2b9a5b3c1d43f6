"""Azure's registries, Microsoft Entra and the metadata services on loopback, the first two under their true names.

A token of Entra is good at `/oauth2/exchange` once it was given for the registries' audience, as Azure has it. Every
request is kept, so a test can tell who was sent what.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.fakes.tls import CertificateAuthority, Cloud, Request, Response, Site

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

HOST = "myregistry.azurecr.io"
LOGINS = ("login.microsoftonline.com", "login.chinacloudapi.cn", "login.microsoftonline.us", "login.example.com")
REGISTRIES = (
    HOST,
    "otherregistry.azurecr.io",
    "myregistry-a1b2c3d4.azurecr.io",
    "myregistry.westeurope.geo.azurecr.io",
    "myregistry.azurecr.cn",
    "myregistry.azurecr.us",
)
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
SECRET = "made-up-client-secret"
ASSERTION = "made-up.federated.token"
SECRET_IN_ERRORS = "made-up-secret-quoted-by-azure"  # every error text holds it: no client may show such a text
ENTRA_TOKEN = "made-up-entra-token-"  # how each of them begins
AUDIENCE = "https://containerregistry.azure.net"
ARM_AUDIENCES = (
    "https://management.azure.com",
    "https://management.chinacloudapi.cn",
    "https://management.usgovcloudapi.net",
)


class FakeAzure(Cloud):
    """Registries, login services, a metadata service, and a proxy that leads to all but the last.

    `life` is the life of a registry's token in seconds, `expiries` tells when each expires, `mints` counts them. What
    is in `answers` under host and path is answered in the place of the true answer. `identities` are the client ids
    that the metadata service knows, the first of them by default where there is one only, and `clients` those of the
    applications. `ahead` is by how many seconds Azure's clock is ahead of the true one.
    """

    def __init__(self, authority: CertificateAuthority, context: ssl.SSLContext | None = None) -> None:
        super().__init__(authority, (*LOGINS, *REGISTRIES, "evil.example"), context)
        self.life: float = 3 * 3600
        self.mints = 0
        self.expiries: dict[str, float] = {}
        self.takes_arm = False
        self.identities = [CLIENT]
        self.clients = {CLIENT}
        self.answers: dict[tuple[str, str], Response | Callable[[Request], Response]] = {}
        self.tokens: dict[str, str] = {}  # of Entra, with their audiences
        self.metadata = Site(self._respond)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.metadata.__exit__()

    @property
    def requests(self) -> list[Request]:
        """Every request so far, to the metadata service last."""
        return [*self.site.requests, *self.metadata.requests]

    @property
    def seen(self) -> list[str]:
        """The same in short: `POST myregistry.azurecr.io/oauth2/exchange`."""
        return [f"{one.method} {one.host.partition(':')[0]}{one.path.partition('?')[0]}" for one in self.requests]

    def environment(self, **more: str) -> dict[str, str]:
        """What leads a client here, without an identity and without a metadata service."""
        return {
            "HTTPS_PROXY": self.proxy.url,
            "SSL_CERT_FILE": str(self._authority.pem),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9",
        } | more

    def principal(self, **more: str) -> dict[str, str]:
        """The same with an application that may pull."""
        identity = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}
        return self.environment(**identity) | more

    @property
    def imds(self) -> str:
        """The address of the metadata service."""
        return f"http://127.0.0.1:{self.metadata.port}"

    def refresh_token(self, **claims: object) -> str:
        """A registry's token with these claims besides `exp`; ACR's are JWTs of 2 to 4 KiB."""
        payload = {"exp": int(self.now() + self.life), "jti": str(self.mints), "pad": "x" * 1500} | claims
        parts = ({"typ": "JWT", "alg": "RS256"}, payload)
        encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
        return ".".join((*encoded, "made-up-signature"))

    def _respond(self, request: Request) -> Response:
        host, path = request.host.partition(":")[0], request.path.partition("?")[0]
        answer = self.answers.get((host, path))
        if answer is not None:
            return answer if isinstance(answer, Response) else answer(request)
        if not request.secure:
            return self._metadata(request, path)
        if host in LOGINS:
            return self._login(request, host, path)
        if host in REGISTRIES and path == "/v2/":
            return Response(401, _error("UNAUTHORIZED"), {"WWW-Authenticate": challenge(host)})
        if host in REGISTRIES and path == "/oauth2/exchange":
            return self.exchange(request, host)
        return Response(404, _error("NOT_FOUND"))

    def _login(self, request: Request, host: str, path: str) -> Response:
        tenant, _, rest = path.strip("/").partition("/")
        if rest.endswith("openid-configuration"):
            base = f"https://{host}/{tenant}"
            body = {"token_endpoint": f"{base}/oauth2/token", "authorization_endpoint": f"{base}/oauth2/authorize"}
            return _json(body)
        form = dict(parse_qsl(request.body.decode()))
        if tenant not in (TENANT, "adfs"):
            return entra_error(90002)
        if form.get("client_id") not in self.clients:
            return entra_error(700016)
        is_known = (
            form.get("client_secret") == SECRET
            or form.get("client_assertion") == ASSERTION
            or (form.get("client_assertion", "").count(".") == 2 and "made-up" not in form["client_assertion"])
        )
        if not is_known:
            return entra_error(7000215)
        return _json({"token_type": "Bearer", "expires_in": 3599, "access_token": self.give(form["scope"])})

    def give(self, scope: str) -> str:
        """A token of Entra for an audience."""
        token = f"{ENTRA_TOKEN}{len(self.tokens)}"
        self.tokens[token] = scope.removesuffix("/.default")
        return token

    def _metadata(self, request: Request, path: str) -> Response:
        query = parse_qs(urlsplit(request.path).query) | parse_qs(request.body.decode())
        header = {
            "/metadata/identity/oauth2/token": request.headers.get("metadata") == "true",
            "/msi/token": request.headers.get("x-identity-header") == "made-up-identity-header",
            "/ml": request.headers.get("secret") == "made-up-msi-secret",
            "/shell": request.headers.get("metadata") == "true",
        }
        if not header.get(path):
            return _json({"error": "invalid_request", "error_description": SECRET_IN_ERRORS}, 400)
        asked = query.get("client_id") or query.get("clientid") or query.get("object_id") or query.get("msi_res_id")
        if asked is None and len(self.identities) > 1:
            text = f"Multiple user assigned identities exist, please specify {SECRET_IN_ERRORS}"
            return _json({"error": "invalid_request", "error_description": text}, 400)
        if not self.identities or (asked and asked[0] not in self.identities):
            return _json(
                {"error": "invalid_request", "error_description": f"Identity not found {SECRET_IN_ERRORS}"}, 400
            )
        token = {
            "access_token": self.give(query["resource"][0]),
            "resource": query["resource"][0],
            "token_type": "Bearer",
        }
        return _json(token | {"expires_in": "3599", "expires_on": str(int(self.now()) + 3599)})

    def exchange(self, request: Request, host: str) -> Response:
        """What the registry `host` answers at `/oauth2/exchange`."""
        form = dict(parse_qsl(request.body.decode()))
        audience = self.tokens.get(form.get("access_token", ""))
        is_right = form.get("grant_type") == "access_token" and form.get("service") == host
        if not is_right or form.get("tenant", TENANT) not in (TENANT, "adfs"):
            return Response(400, _error("BAD_REQUEST"))
        if audience != AUDIENCE and not (self.takes_arm and audience in ARM_AUDIENCES):
            return Response(401, _error("UNAUTHORIZED"))
        self.mints += 1
        token = self.refresh_token()
        self.expiries[token] = self.now() + self.life
        return _json({"refresh_token": token})


def challenge(host: str, *, realm: str = "", service: str = "") -> str:
    """What the registry `host` says in `WWW-Authenticate`."""
    return f'Bearer realm="{realm or f"https://{host}/oauth2/token"}",service="{service or host}"'


def entra_error(code: int, status: int = 400) -> Response:
    """How Microsoft Entra refuses."""
    text = f"AADSTS{code}: {SECRET_IN_ERRORS} Trace ID: 00000000-0000-0000-0000-000000000000"
    return _json({"error": "invalid_client", "error_description": text, "error_codes": [code]}, status)


def _json(body: object, status: int = 200) -> Response:
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json; charset=utf-8"})


def _error(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": SECRET_IN_ERRORS}]}).encode()
