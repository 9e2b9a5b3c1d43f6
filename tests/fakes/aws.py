"""Amazon's ECR, ECR Public and STS on loopback, under their true names and over TLS.

Every signature is computed anew from the secret and compared, so a request for the wrong region, the wrong service or
with the wrong secret is refused as Amazon refuses it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.fakes.tls import CertificateAuthority, Cloud, Request, Response

if TYPE_CHECKING:
    import ssl

# Where the API of each kind of registry is, as AWS's endpoint tables have it: service and region of the signature.
HOSTS = {
    "api.ecr.eu-west-1.amazonaws.com": ("ecr", "eu-west-1"),
    "ecr.eu-west-1.api.aws": ("ecr", "eu-west-1"),
    "api.ecr.us-east-1.amazonaws.com": ("ecr", "us-east-1"),
    "api.ecr.us-east-2.amazonaws.com": ("ecr", "us-east-2"),
    "api.ecr-fips.us-east-1.amazonaws.com": ("ecr", "us-east-1"),
    "ecr-fips.us-east-1.api.aws": ("ecr", "us-east-1"),
    "api.ecr.us-gov-west-1.amazonaws.com": ("ecr", "us-gov-west-1"),
    "api.ecr-fips.us-gov-west-1.amazonaws.com": ("ecr", "us-gov-west-1"),
    "ecr-fips.us-gov-west-1.amazonaws.com": ("ecr", "us-gov-west-1"),
    "ecr.us-gov-west-1.api.aws": ("ecr", "us-gov-west-1"),
    "ecr-fips.us-gov-west-1.api.aws": ("ecr", "us-gov-west-1"),
    "api.ecr.cn-north-1.amazonaws.com.cn": ("ecr", "cn-north-1"),
    "ecr.cn-north-1.api.amazonwebservices.com.cn": ("ecr", "cn-north-1"),
    "api.ecr.eusc-de-east-1.amazonaws.eu": ("ecr", "eusc-de-east-1"),
    "api.ecr.us-iso-east-1.c2s.ic.gov": ("ecr", "us-iso-east-1"),
    "api.ecr.us-isob-east-1.sc2s.sgov.gov": ("ecr", "us-isob-east-1"),
    "api.ecr.eu-isoe-west-1.cloud.adc-e.uk": ("ecr", "eu-isoe-west-1"),
    "api.ecr.us-isof-south-1.csp.hci.ic.gov": ("ecr", "us-isof-south-1"),
    "api.ecr-public.us-east-1.amazonaws.com": ("ecr-public", "us-east-1"),
    "ecr-public.us-east-1.api.aws": ("ecr-public", "us-east-1"),
    "sts.eu-west-1.amazonaws.com": ("sts", "eu-west-1"),
    "sts.eu-west-1.api.aws": ("sts", "eu-west-1"),
    "sts.cn-north-1.amazonaws.com.cn": ("sts", "cn-north-1"),
    "sts.us-east-1.amazonaws.com": ("sts", "us-east-1"),
    "sts.amazonaws.com": ("sts", "us-east-1"),
}
_TARGETS = {
    "ecr": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
    "ecr-public": "SpencerFrontendService.GetAuthorizationToken",
}
_CLOCK_SKEW = 300  # seconds; what AWS lets a signature's time be off

KEY_ID = "AKIDEXAMPLE"
SECRET = "made-up-aws-secret"  # what `environment` gives to the client
SECRET_IN_ERRORS = "made-up-secret-quoted-by-aws"  # every error text holds it: no client may show such a text


def signer(request: Request) -> str:
    """The key that a request is signed with."""
    return request.headers["authorization"].partition("Credential=")[2].partition("/")[0]


@dataclass(frozen=True)
class Key:
    """A key that AWS knows: its secret, and for a session its token."""

    secret: str
    session: str | None = None


class FakeAws(Cloud):
    """The APIs and a proxy that leads to them.

    `life` is the life of a token in seconds, `session_life` that of an assumed role. `password` is the password in each
    token, or None for another one each time; `mints` counts the tokens, `expiries` tells when each password expires,
    `roles` counts the assumed roles. `delay` is how many seconds each answer of ECR takes, `at_once` how many of them
    were asked for at the same time. Further hosts go into `routes`.
    """

    def __init__(self, authority: CertificateAuthority, context: ssl.SSLContext | None = None) -> None:
        super().__init__(authority, tuple(HOSTS), context)
        self.life: float = 12 * 3600
        self.session_life: float = 3600
        self.password: str | None = None
        self.delay: float = 0
        self.mints = 0
        self.expiries: dict[str, float] = {}
        self.roles = 0
        self.at_once = 0
        self.keys = {KEY_ID: Key(SECRET)}
        self._turn = threading.Lock()
        self._asked = 0
        self._next: dict[str, list[Response]] = {"ecr": [], "sts": []}

    @property
    def routes(self) -> dict[str, int]:
        """Host name to port of the proxy."""
        return self.proxy.routes

    def environment(self, **more: str) -> dict[str, str]:
        """What leads a client here, with a key that may do everything."""
        return {
            "HTTPS_PROXY": self.proxy.url,
            "AWS_CA_BUNDLE": str(self._authority.pem),
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        } | more

    def fail_next(self, code: str, status: int = 400, times: int = 1, *, service: str = "ecr", text: str = "") -> None:
        """Answer the next requests to `service` (`ecr` is the public one too) with an error, however well signed."""
        self.answer_next(_error(service, code, status, text), times, service=service)

    def answer_next(self, response: Response, times: int = 1, *, service: str = "ecr") -> None:
        """Answer the next requests to `service` with these very bytes."""
        self._next[service] += [response] * times

    def _respond(self, request: Request) -> Response:
        service, region = HOSTS.get(request.host.removesuffix(":443"), ("", ""))
        kind = "sts" if service == "sts" else "ecr"
        if kind == "sts":
            return self._take_turn(request, kind, service, region)
        with self._turn:
            self._asked += 1
            self.at_once = max(self.at_once, self._asked)
        try:
            time.sleep(self.delay)
            return self._take_turn(request, kind, service, region)
        finally:
            with self._turn:
                self._asked -= 1

    def _take_turn(self, request: Request, kind: str, service: str, region: str) -> Response:
        with self._turn:
            if self._next[kind]:
                return self._next[kind].pop(0)
            return self._sts(request, region) if kind == "sts" else self._ecr(request, service, region)

    def _ecr(self, request: Request, service: str, region: str) -> Response:
        if refusal := self._refusal(request, service, region):
            return refusal
        if request.headers.get("x-amz-target") != _TARGETS[service] or json.loads(request.body) != {}:
            return _error(service, "SerializationException", 400)
        self.mints += 1
        password = self.password or f"made-up-password-{self.mints}"
        token = base64.b64encode(f"AWS:{password}".encode()).decode()
        self.expiries[password] = self.now() + self.life
        data: dict[str, object] = {"authorizationToken": token, "expiresAt": self.expiries[password]}
        if service == "ecr":
            data["proxyEndpoint"] = "https://999999999999.dkr.ecr.eu-west-1.amazonaws.com"
        body = {"authorizationData": [data] if service == "ecr" else data}
        return Response(200, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.1"})

    def _sts(self, request: Request, region: str) -> Response:
        form = parse_qs(request.body.decode())
        action = form["Action"][0]
        if action == "AssumeRole" and (refusal := self._refusal(request, "sts", region)):
            return refusal
        if action == "AssumeRoleWithWebIdentity" and "made-up-web-identity" not in form["WebIdentityToken"][0]:
            return _error("sts", "InvalidIdentityToken", 400)
        self.roles += 1
        key_id, key = (
            f"ASIDEXAMPLE{self.roles}",
            Key(f"made-up-role-secret-{self.roles}", f"made-up-session-{self.roles}"),
        )
        self.keys[key_id] = key
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now() + self.session_life))
        body = f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
            <AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/puller/x</Arn><AssumedRoleId>AROX:x</AssumedRoleId>
            </AssumedRoleUser><Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{key.secret}</SecretAccessKey>
            <SessionToken>{key.session}</SessionToken><Expiration>{expiry}</Expiration></Credentials>
            </{action}Result></{action}Response>"""
        return Response(200, body.encode(), {"Content-Type": "text/xml"})

    def _refusal(self, request: Request, service: str, region: str) -> Response | None:
        """What AWS says to a request that is not signed as it must be; None if it is."""
        words = request.headers.get("authorization", "").replace(",", " ").split()
        if len(words) != 4 or words[0] != "AWS4-HMAC-SHA256":
            return _error(service, "MissingAuthenticationTokenException", 403)
        fields = dict(word.split("=", 1) for word in words[1:])
        key_id, *scope = fields["Credential"].split("/")
        key = self.keys.get(key_id)
        if key is None or request.headers.get("x-amz-security-token") != key.session:
            return _error(service, "UnrecognizedClientException", 403)
        moment = request.headers["x-amz-date"]
        if scope != [moment[:8], region, service, "aws4_request"]:
            return _error(service, "InvalidSignatureException", 403, "Credential should be scoped to another region.")
        if not hmac.compare_digest(
            _signature(request, key.secret, scope, fields["SignedHeaders"]), fields["Signature"]
        ):
            return _error(service, "InvalidSignatureException", 403, "The signature does not match.")
        signed = time.mktime(time.strptime(moment, "%Y%m%dT%H%M%SZ")) - time.timezone
        if abs(signed - self.now()) > _CLOCK_SKEW:
            return _error(service, "InvalidSignatureException", 403, "Signature expired.")
        return None


def _signature(request: Request, secret: str, scope: list[str], signed: str) -> str:
    """Signature Version 4: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html."""
    path, _, query = request.path.partition("?")
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in signed.split(";"))
    body = hashlib.sha256(request.body).hexdigest()
    canonical = f"{request.method}\n{path}\n{query}\n{headers}\n{signed}\n{body}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", request.headers["x-amz-date"], "/".join(scope), digest))
    key = f"AWS4{secret}".encode()
    for part in (*scope, text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def _error(service: str, code: str, status: int, text: str = "") -> Response:
    text = f"{text} {SECRET_IN_ERRORS}".strip()
    if service == "sts":
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>"
        return Response(status, body.encode(), {"Content-Type": "text/xml"})
    return Response(
        status, json.dumps({"__type": code, "message": text}).encode(), {"Content-Type": "application/x-amz-json-1.1"}
    )
