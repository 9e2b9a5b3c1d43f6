"""Registries that know when a token of the fake clouds expires, as the true ones do."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import TYPE_CHECKING

from tests.fakes.tls import Request, Response, Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.aws import FakeAws
    from tests.fakes.tls import CertificateAuthority

# What belongs to one connection, and what the site sets itself.
_OWN = {"authorization", "connection", "content-length", "keep-alive", "transfer-encoding"}
_ACCEPTED = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, */*"
_ECR = 'Basic realm="https://registry.example/",service="ecr.amazonaws.com"'


class Gate(Site):
    """What stands in front of the registry at `port` under the name `host`, and knows the one `credential` for it.

    Only for pulls.
    """

    def __init__(
        self,
        authority: CertificateAuthority,
        host: str,
        port: int,
        credential: str,
        respond: Callable[[Request], Response],
    ) -> None:
        self._port = port
        self._key = base64.b64encode(credential.encode()).decode()
        self._trusting = ssl.create_default_context(cafile=str(authority.pem))
        self._trusting.check_hostname = False  # it is called by its address here
        super().__init__(respond, authority.context(host))

    def pass_on(self, request: Request) -> Response:
        """The registry's answer."""
        headers = {"accept": _ACCEPTED, "authorization": f"Basic {self._key}"}
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._trusting, timeout=20)
        try:
            # The site leaves out the body where HEAD was asked, and needs it to tell its length.
            connection.request("GET", request.path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN}
            return Response(answer.status, body, kept)
        finally:
            connection.close()


class ExpiringRegistry(Gate):
    """Passes requests that bear a token of `aws` on to the registry at `port`, with `credential` (USER:PASSWORD).

    Others are refused; how many of them came with a token that has expired is in `late`. The passwords that were good
    are in `used`, each as often as it was used.
    """

    def __init__(self, authority: CertificateAuthority, host: str, aws: FakeAws, port: int, credential: str) -> None:
        self.late = 0
        self.used: list[str] = []
        self._aws = aws
        super().__init__(authority, host, port, credential, self._answer)

    def _answer(self, request: Request) -> Response:
        user, password = basic(request)
        expiry = self._aws.expiries.get(password)
        if user != "AWS" or expiry is None:
            return _refusal(401, "UNAUTHORIZED", "Not Authorized")
        if self._aws.now() >= expiry:
            self.late += 1
            return _refusal(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
        self.used.append(password)
        return self.pass_on(request)


class TokenRegistry(Gate):
    """The same for registries that want what a user shows at `realm` exchanged first, as Google's and Azure's do.

    `expiries` are those of the good passwords of `user`, by the clock `now`; `more` are paths that others answer.
    """

    def __init__(
        self,
        authority: CertificateAuthority,
        host: str,
        port: int,
        credential: str,
        *,
        realm: str,
        user: str,
        expiries: dict[str, float],
        now: Callable[[], float],
        more: dict[str, Callable[[Request], Response]] | None = None,
    ) -> None:
        self.late = 0
        self.used: list[str] = []
        self._host = host
        self._realm = realm
        self._user = user
        self._expiries = expiries
        self._now = now
        self._more = more or {}
        super().__init__(authority, host, port, credential, self._answer)

    def _answer(self, request: Request) -> Response:
        access = f"made-up-access-to-{self._host}"
        path = request.path.partition("?")[0]
        if path in self._more:
            return self._more[path](request)
        if path == self._realm:
            user, password = basic(request)
            expiry = self._expiries.get(password)
            if user == self._user and expiry is not None and self._now() < expiry:
                self.used.append(password)
                body = json.dumps({"token": access, "access_token": access, "expires_in": 300}).encode()
                return Response(200, body, {"Content-Type": "application/json"})
            self.late += expiry is not None
        elif request.headers.get("authorization") == f"Bearer {access}":
            return self.pass_on(request)
        challenge = f'Bearer realm="https://{self._host}{self._realm}",service="{self._host}"'
        return _refusal(401, "UNAUTHORIZED", "authentication required", challenge)


def basic(request: Request) -> tuple[str, str]:
    """User name and password of a request (RFC 7617), empty ones if it has none."""
    scheme, _, blob = request.headers.get("authorization", "").partition(" ")
    user, _, password = base64.b64decode(blob if scheme == "Basic" else "").decode().partition(":")
    return user, password


def _refusal(status: int, code: str, message: str, challenge: str = _ECR) -> Response:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Response(status, body, {"Content-Type": "application/json", "Www-Authenticate": challenge})
