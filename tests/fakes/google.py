"""Google's token services on loopback, under their true names and over TLS, and a metadata server.

An assertion's signature, audience and times are checked, a token that was not issued here opens nothing, and every
request is kept.
"""

from __future__ import annotations

import base64
import functools
import json
import threading
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.fakes.tls import CertificateAuthority, Cloud, Request, Response, Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTS = ("oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com", "token.example")
ACCOUNT = "puller@acme.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
REFRESH_TOKEN = "made-up-refresh-token"
CLIENT_SECRET = "made-up-client-secret"
SUBJECT_TOKEN = "made-up-subject-token"
SECRET_IN_ERRORS = "made-up-secret-quoted-by-google"
_CLOCK_SKEW = 300  # seconds


@functools.cache
def key() -> rsa.RSAPrivateKey:
    """The key of every service account here; making one takes its time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def service_account(account: str = ACCOUNT, **more: object) -> dict[str, object]:
    """The content of a key file."""
    pem = key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "acme",
        "private_key_id": "made-up-key-id",
        "private_key": pem.decode(),
        "client_email": account,
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    } | more


def user(refresh_token: str = REFRESH_TOKEN, **more: object) -> dict[str, object]:
    """The content of what `gcloud auth application-default login` writes."""
    return {
        "type": "authorized_user",
        "client_id": "made-up-client.apps.example",
        "client_secret": CLIENT_SECRET,
        "refresh_token": refresh_token,
    } | more


def external(source: object, **more: object) -> dict[str, object]:
    """The content of a credential configuration of workload identity federation."""
    return {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
    } | more


def impersonation(account: str = ACCOUNT) -> str:
    """The URL that a file names for impersonation."""
    return f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{account}:generateAccessToken"


def write(path: Path, info: object) -> str:
    """Write a credential file, give its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(info if isinstance(info, str) else json.dumps(info))
    path.chmod(0o600)
    return str(path)


class FakeGoogle(Cloud):
    """The services and a proxy that leads to them.

    `life` is the life of a token in seconds; `issued` maps each token to whose it is, `ends` to when it ends. `denied`
    are the accounts that nobody may impersonate. `delay` is how many seconds an answer takes, `ahead` by how many
    Google's clock is ahead of the true one.
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        super().__init__(authority, tuple(HOSTS))
        self.life: object = 3600
        self.issued: dict[str, str] = {}
        self.ends: dict[str, float] = {}
        self.denied: set[str] = set()
        self.delay: float = 0
        self._turn = threading.Lock()
        self._next: dict[str, list[Response]] = {}

    @property
    def mints(self) -> int:
        """How many tokens there are."""
        return len(self.issued)

    def environment(self, **more: str) -> dict[str, str]:
        """What leads a client here; there is no metadata server unless one is named."""
        return {
            "HTTPS_PROXY": self.proxy.url,
            "REQUESTS_CA_BUNDLE": str(self._authority.pem),
            "NO_GCE_CHECK": "true",
        } | more

    def answer_next(self, host: str, response: Response, times: int = 1) -> None:
        """Answer the next requests to this host with these very bytes."""
        self._next.setdefault(host, []).extend([response] * times)

    def fail_next(self, host: str, error: object, status: int = 400, times: int = 1, **more: object) -> None:
        """Answer the next requests to this host with an error."""
        self.answer_next(host, _json({"error": error, **more}, status), times)

    def issue(self, whose: str) -> str:
        """A new token."""
        token = f"made-up-token-{len(self.issued) + 1}"
        self.issued[token] = whose
        if isinstance(self.life, int | float):
            self.ends[token] = self.now() + self.life
        return token

    def _respond(self, request: Request) -> Response:
        host = request.host.removesuffix(":443")
        if self.delay:
            time.sleep(self.delay)
        with self._turn:
            if self._next.get(host):
                return self._next[host].pop(0)
            services: dict[str, Callable[[Request], Response]] = {
                "oauth2.googleapis.com": self._oauth2,
                "sts.googleapis.com": self._sts,
                "iamcredentials.googleapis.com": self._iam,
                "token.example": self._subject,
            }
            return services[host](request)

    def _token(self, whose: str) -> Response:
        return _json({"access_token": self.issue(whose), "expires_in": self.life, "token_type": "Bearer"})

    def _oauth2(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form["grant_type"] == "refresh_token":
            if not form["refresh_token"].startswith(REFRESH_TOKEN) or form["client_secret"] != CLIENT_SECRET:
                return _refusal("invalid_grant", "Token has been expired or revoked.")
            return self._token(f"user {form['refresh_token']}")
        head, payload, signature = (_decoded(part) for part in form["assertion"].split("."))
        claims = json.loads(payload)
        try:
            key().public_key().verify(
                signature, form["assertion"].rpartition(".")[0].encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return _refusal("invalid_grant", "Invalid JWT Signature.")
        assert json.loads(head)["alg"] == "RS256"
        assert claims["aud"] == "https://oauth2.googleapis.com/token"
        assert claims["scope"] in (SCOPE, "https://www.googleapis.com/auth/iam")
        if abs(claims["iat"] - self.now()) > _CLOCK_SKEW:
            return _refusal("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).")
        return self._token(claims["iss"])

    def _sts(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form["grant_type"] == "refresh_token":
            expected = base64.b64encode(f"made-up-client:{CLIENT_SECRET}".encode()).decode()
            if request.headers["authorization"] != f"Basic {expected}" or form["refresh_token"] != REFRESH_TOKEN:
                return _refusal("invalid_grant", "bad refresh token")
            return self._token("workforce")
        if form["audience"] != AUDIENCE:
            return _refusal("invalid_target", "The target service indicated by the audience is not found.")
        subject = form["subject_token"]
        if "aws4_request" in form["subject_token_type"]:
            signed = json.loads(unquote(subject))
            headers = {header["key"].lower(): header["value"] for header in signed["headers"]}
            assert signed["url"].startswith("https://sts.eu-west-1.amazonaws.com")
            key_id = headers["authorization"].partition("Credential=")[2].partition("/")[0]
            return self._token(f"aws {key_id}")
        if not subject.startswith(SUBJECT_TOKEN):
            return _refusal("invalid_grant", "The subject token is not known.")
        return self._token(f"external {subject}")

    def _iam(self, request: Request) -> Response:
        source = request.headers.get("authorization", "").removeprefix("Bearer ")
        target = request.path.rpartition("/")[2].removesuffix(":generateAccessToken")
        body = json.loads(request.body)
        if source not in self.issued:
            return _json({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": SECRET_IN_ERRORS}}, 401)
        chain = [*(name.removeprefix("projects/-/serviceAccounts/") for name in body.get("delegates") or ()), target]
        if self.denied & set(chain):
            return _json({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": SECRET_IN_ERRORS}}, 403)
        assert body["scope"] == [SCOPE]
        token = self.issue(" > ".join([self.issued[source], *chain]))
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.ends[token]))
        return _json({"accessToken": token, "expireTime": end})

    def _subject(self, request: Request) -> Response:
        if request.headers.get("authorization") != "made-up-authorization":
            return Response(401, SECRET_IN_ERRORS.encode())
        return _json({"value": f"{SUBJECT_TOKEN} by URL"})


class FakeMetadata:
    """A metadata server at `host`: `google` owns the tokens, `statuses` are the next answers' instead of 200.

    `answers` are given instead of its own, by path; `lives` are the lives of the next tokens in seconds. Without
    `flavor` it is another cloud's.
    """

    def __init__(self, google: FakeGoogle, *, flavor: bool = True) -> None:
        self.statuses: list[int] = []
        self.answers: dict[str, Response] = {}
        self.lives: list[float] = []
        self.universe = ""
        self.delay: float = 0
        self._google = google
        self._flavor = {"Metadata-Flavor": "Google"} if flavor else {}
        self.site = Site(self._respond)
        self.host = f"127.0.0.1:{self.site.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.site.__exit__()

    def _respond(self, request: Request) -> Response:
        if self.delay:
            time.sleep(self.delay)
        assert request.headers["metadata-flavor"] == "Google"
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return Response(status, SECRET_IN_ERRORS.encode(), self._flavor)
        path = request.path.removeprefix("/computeMetadata/v1/").partition("?")[0]
        if path in self.answers:
            answer = self.answers[path]
            return Response(answer.status, answer.body, answer.headers | self._flavor)
        if path == "universe/universe-domain":
            return Response(200 if self.universe else 404, self.universe.encode(), self._flavor)
        if path != "instance/service-accounts/default/token":
            return Response(404, b"", self._flavor)
        life = self.lives.pop(0) if self.lives else 3600
        body = {"access_token": self._google.issue("machine"), "expires_in": life, "token_type": "Bearer"}
        return Response(200, json.dumps(body).encode(), self._flavor | {"Content-Type": "application/json"})


class FakeAwsMetadata:
    """AWS's metadata service for federation, which wants a session; `answers` are given instead of its own, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, Response] = {}
        self.site = Site(self._respond)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.site.__exit__()

    def credential(self) -> dict[str, object]:
        """The content of a credential configuration that names it."""
        base = f"http://127.0.0.1:{self.site.port}"
        source = {
            "environment_id": "aws1",
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity",
            "region_url": f"{base}/zone",
            "url": f"{base}/role",
            "imdsv2_session_token_url": f"{base}/session",
        }
        return external(source, subject_token_type="urn:ietf:params:aws:token-type:aws4_request")

    def _respond(self, request: Request) -> Response:
        path = request.path.removeprefix("/")
        if path in self.answers:
            return self.answers[path]
        if path == "session":
            return Response(200, b"made-up-aws-session")
        assert request.headers["x-aws-ec2-metadata-token"] == "made-up-aws-session"
        if path == "role/puller":
            return _json({"AccessKeyId": "made-up-3", "SecretAccessKey": "made-up-aws", "Token": "made-up-aws-token"})
        return Response(200, {"zone": b"eu-west-1a", "role": b"puller"}[path])


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _json(content: object, status: int = 200) -> Response:
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _refusal(error: str, description: str) -> Response:
    return _json({"error": error, "error_description": f"{description} {SECRET_IN_ERRORS}"}, 400)
