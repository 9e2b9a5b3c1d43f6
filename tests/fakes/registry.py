"""A registry with a realm of tokens, each under its own name on loopback. What either answers can be replaced."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.fakes.tls import CertificateAuthority, Cloud, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "registry.acme.example"
AUTH = "auth.acme.example"
EVIL = "evil.example"
USER, PASSWORD = "alice", "made-up-password-of-alice"
IDENTITY_TOKEN = "made-up-identity-token"
REPOSITORY, PUBLIC, FOREIGN = "team/app", "library/hello", "others/app"
# Under them the registry, and what stands for a realm, can be reached.
NAMES = (HOST, AUTH, EVIL, "registry-1.docker.io", "auth.docker.io", "registry.gitlab.com", "gitlab.com")


class FakeRegistry(Cloud):
    """Who asks with Basic, with or without a realm, is known if he is alice. She may pull `REPOSITORY`.

    `scheme` is what it asks for, "" for nothing; `realm` is where the tokens are. `headers` replace the challenge.
    What is in `answers` under host and path is answered in the place of all of that.
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        super().__init__(authority, NAMES)
        self.scheme = "bearer"
        self.realm = f"https://{HOST}/token"
        self.service: str | None = HOST
        self.headers: dict[str, str] | None = None
        self.answers: dict[tuple[str, str], Response | Callable[[Request], Response]] = {}
        self.is_lax = False  # the realm of Harbor: with a scope anybody gets a token, which opens nothing

    def environment(self) -> dict[bytes, bytes]:
        """What leads a client here."""
        return {b"HTTPS_PROXY": self.proxy.url.encode(), b"SSL_CERT_FILE": bytes(self._authority.pem)}

    @property
    def seen(self) -> list[str]:
        """The requests in short."""
        return [f"{one.method} {one.host}{one.path.partition('?')[0]}" for one in self.requests]

    def heard(self, host: str) -> str:
        """All that was sent to a host, in one text, with what is in Basic in clear."""
        text = ""
        for one in self.requests:
            if one.host == host:
                text += f"{one.method} {one.path} {one.headers} {one.body!r} {_basic(one)}\n"
        return text

    def challenge(self) -> dict[str, str]:
        """The headers of a 401."""
        if self.headers is not None:
            return self.headers
        if self.scheme == "basic":
            return {"WWW-Authenticate": 'Basic realm="tests"'}
        service = f',service="{self.service}"' if self.service is not None else ""
        return {"WWW-Authenticate": f'Bearer realm="{self.realm}"{service}'}

    def _respond(self, request: Request) -> Response:
        path = request.path.partition("?")[0]
        answer = self.answers.get((request.host, path))
        if answer is not None:
            return answer if isinstance(answer, Response) else answer(request)
        if path.startswith("/v2/"):
            return self._resource(request, path)
        return self._token(request)

    def _resource(self, request: Request, path: str) -> Response:
        name = path.removeprefix("/v2/").partition("/manifests/")[0]
        who, scope = self._who(request)
        if self.scheme and who is None:
            return Response(401, b"{}", self.challenge())
        if not name:
            return Response(200, b"{}")
        if name == PUBLIC or (name == REPOSITORY and who == USER):
            is_in_scope = not self.scheme or scope in ("*", f"repository:{name}:pull")
            return Response(200 if is_in_scope else 401, b"", {"Docker-Content-Digest": "sha256:" + "0" * 64})
        if name == FOREIGN:
            return Response(403, b"{}")
        return Response(404 if who == USER else 401, b"{}", {} if who == USER else self.challenge())

    def _who(self, request: Request) -> tuple[str | None, str]:
        """User ("" for somebody) and scope, by what the registry asks for."""
        given = request.headers.get("authorization", "")
        if self.scheme == "basic":
            return (USER if _basic(request) == f"{USER}:{PASSWORD}" else None), "*"
        try:
            said = json.loads(base64.urlsafe_b64decode(given.removeprefix("Bearer ")))
            return said["user"], said["scope"]
        except (ValueError, KeyError):
            return None, ""

    def _token(self, request: Request) -> Response:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        user = ""
        if request.method == "POST":
            asked = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
            if asked["refresh_token"] != IDENTITY_TOKEN:
                return Response(400, b'{"error": "invalid_grant"}')
            user = USER
        elif "authorization" in request.headers:
            if _basic(request) == f"{USER}:{PASSWORD}":
                user = USER
            elif not (self.is_lax and "scope" in asked):
                return Response(401, b'{"details": "made-up"}')
        said = {"user": user, "scope": asked.get("scope", "")}
        token = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
        return Response(200, json.dumps({"token": token, "expires_in": 300}).encode())


def _basic(request: Request) -> str:
    scheme, _, word = request.headers.get("authorization", "").partition(" ")
    return base64.b64decode(word).decode("utf-8", "replace") if scheme == "Basic" else ""
