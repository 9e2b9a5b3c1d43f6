"""The handshake with a registry: what is said of a credential, and that it goes nowhere else."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from credhelpers import plan, realms
from credhelpers.config.realm import realm
from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NotMine, Refused, Unavailable
from credhelpers.hosts import endpoint
from credhelpers.net.challenges import Malformed, challenges
from credhelpers.net.failures import NoAnswer
from credhelpers.registry import Registry, Word
from credhelpers.servers import Authority
from tests.fakes.registry import (
    AUTH,
    EVIL,
    FOREIGN,
    HOST,
    IDENTITY_TOKEN,
    NAMES,
    PASSWORD,
    PUBLIC,
    REPOSITORY,
    USER,
    FakeRegistry,
)
from tests.fakes.tls import CertificateAuthority, Proxy, Request, Response, Site
from tests.harness import patience
from tests.services import Registry as DebianRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALICE = Credential(USER, PASSWORD)
WRONG = Credential(USER, "made-up-wrong-password")
TOKEN = Credential("<token>", IDENTITY_TOKEN)
CANARIES = (PASSWORD, IDENTITY_TOKEN, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())


@pytest.fixture(autouse=True)
def _trust(authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL reads this process's own environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))


@pytest.fixture
def fake(authority: CertificateAuthority) -> Iterator[FakeRegistry]:
    with FakeRegistry(authority) as fake:
        yield fake


def ask(fake: FakeRegistry, server: str = HOST, realm: str = "", seconds: float = 10) -> Registry:
    return Registry(Authority(server), fake.environment(), time.monotonic() + seconds, realm)


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize(
    ("credential", "word"), [(ALICE, Word.ACCEPTED), (WRONG, Word.REFUSED)], ids=["right", "wrong"]
)
def test_a_login(fake: FakeRegistry, scheme: str, credential: Credential, word: Word) -> None:
    """Who says so is the registry, or the realm where it is that."""
    fake.scheme = scheme
    verdict = ask(fake).login(credential)

    assert (verdict.word, verdict.scheme) == (word, scheme)
    asks_realm = scheme == "bearer" and word is Word.REFUSED
    assert verdict.asked == f"the realm {HOST} of the registry {HOST}" if asks_realm else f"the registry {HOST}"
    assert (verdict.trouble is None) is (word is Word.ACCEPTED)


def test_the_requests_of_a_login(fake: FakeRegistry) -> None:
    """One without a credential, one for a token, one with it; the token's request has what the documents name."""
    assert ask(fake).login(ALICE).seconds == 300
    assert fake.seen == [f"GET {HOST}/v2/", f"GET {HOST}/token", f"GET {HOST}/v2/"]
    assert fake.requests[1].path == f"/token?service={HOST}&account={USER}&client_id=credhelpers"
    assert PASSWORD not in fake.requests[2].headers["authorization"]


def test_an_identity_token(fake: FakeRegistry) -> None:
    """Behind the user name `<token>` is one, and the realm gets it in the body of a POST."""
    assert ask(fake).login(TOKEN).word is Word.ACCEPTED
    assert fake.requests[1].method == "POST"
    assert fake.requests[1].path == "/token"
    assert f"refresh_token={IDENTITY_TOKEN}".encode() in fake.requests[1].body
    assert b"grant_type=refresh_token" in fake.requests[1].body
    verdict = ask(fake).login(Credential("<token>", "made-up-other"))
    assert (verdict.word, verdict.status) == (Word.REFUSED, 400)


@pytest.mark.parametrize("scheme", ["basic", "bearer", ""])
def test_without_a_credential(fake: FakeRegistry, scheme: str) -> None:
    """A registry with Basic wants to know who it is, and a realm gives anybody a token; nothing is accepted."""
    fake.scheme = scheme
    word = Word.REFUSED if scheme == "basic" else Word.OPEN
    assert ask(fake).login(None).word is word
    assert ask(fake).pull(None, PUBLIC).word is word
    assert not [one for one in fake.requests if one.headers.get("authorization", "").startswith("Basic")]


def test_a_registry_that_asks_for_nothing_is_told_nothing(fake: FakeRegistry) -> None:
    """It is open, which says nothing of the credential."""
    fake.scheme = ""
    assert ask(fake).login(ALICE).word is Word.OPEN
    assert fake.seen == [f"GET {HOST}/v2/"]
    assert "authorization" not in fake.requests[0].headers


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize(
    ("repository", "credential", "word"),
    [
        (REPOSITORY, ALICE, Word.ACCEPTED),
        (REPOSITORY, WRONG, Word.REFUSED),
        (REPOSITORY, None, Word.REFUSED),
        (FOREIGN, ALICE, Word.FORBIDDEN),
        ("team/none", ALICE, Word.ABSENT),
    ],
)
def test_a_pull(fake: FakeRegistry, scheme: str, repository: str, credential: Credential | None, word: Word) -> None:
    """A manifest is asked for, and its content is not."""
    fake.scheme = scheme
    assert ask(fake).pull(credential, repository, "1").word is word
    assert fake.requests[0].method == "HEAD"
    assert "application/vnd.oci.image.index.v1+json" in fake.requests[0].headers["accept"]


CODES = {401: "refused", 403: "forbidden", 429: "throttled", 500: "failed", 502: "failed", 404: "failed", 204: "failed"}


@pytest.mark.parametrize(("status", "code"), CODES.items())
@pytest.mark.parametrize("where", ["registry", "realm", "registry with the token"])
def test_what_a_status_means(fake: FakeRegistry, status: int, code: str, where: str) -> None:
    """Whichever of the two says it, the cause has a code, and names it."""
    answer = Response(status, b'{"errors": "made-up"}', {"Retry-After": "7"})

    def registry(request: Request) -> Response:
        is_meant = "authorization" in request.headers or where == "registry"
        return answer if is_meant else Response(401, b"", fake.challenge())

    if where == "realm":
        fake.answers[HOST, "/token"] = answer
    else:
        fake.answers[HOST, "/v2/"] = registry
    if where == "registry" and status == 401:
        answer.headers |= {"WWW-Authenticate": "Basic"}
    if where != "realm" and status == 404:
        code = "none"
    try:
        trouble = ask(fake).login(ALICE).trouble
    except Unavailable as error:
        trouble = error
    assert trouble
    assert trouble.code == f"registry-{code}"
    assert ("the realm" in trouble.message) is (where == "realm")
    assert HOST in trouble.message
    assert ("7 seconds" in trouble.message) is (status == 429)
    assert "made-up" not in trouble.message + trouble.hint


def test_whose_clock_is_wrong(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Date` says by how much."""
    assert abs(ask(fake).login(ALICE).ahead or 0) < 60
    now, mine = time.time, threading.get_ident()
    monkeypatch.setattr("time.time", lambda: now() - (3600 if threading.get_ident() == mine else 0))
    assert abs((ask(fake).login(ALICE).ahead or 0) - 3600) < 60


def test_which_of_the_two_does_not_answer(fake: FakeRegistry) -> None:
    """The message has the one, and its address."""
    fake.realm = f"https://{AUTH}/token"
    del fake.proxy.routes[AUTH]
    with pytest.raises(NoAnswer, match=f"the realm {AUTH} of the registry {HOST}") as caught:
        ask(fake, realm=f"https://{AUTH}").login(ALICE)
    assert caught.value.code == "net-proxy"
    del fake.proxy.routes[HOST]
    with pytest.raises(NoAnswer, match=f"lead to the registry {HOST}$"):
        ask(fake).login(ALICE)


# --- a trial ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_trial(fake: FakeRegistry, scheme: str) -> None:
    """The right one is proven, and the last thing that the registry hears is a login that it takes."""
    fake.scheme = scheme
    trial = ask(fake).prove(ALICE, REPOSITORY)

    words = (trial.control.word, trial.nobody.word, trial.login.word, trial.pull.word)
    assert words == (Word.REFUSED, Word.REFUSED, Word.ACCEPTED, Word.ACCEPTED)
    assert trial.trouble is None
    failures = [number for number, one in enumerate(fake.requests) if "made-up" not in fake.heard(one.host)]
    assert not failures


@pytest.mark.parametrize("is_lax", [False, True], ids=["strict", "as Harbor's"])
def test_a_wrong_one_is_not_proven(fake: FakeRegistry, *, is_lax: bool) -> None:
    """Also where the realm gives anybody a token for a scope (rotation.md, 0.5)."""
    fake.is_lax = is_lax
    trouble = ask(fake).prove(WRONG, REPOSITORY).trouble
    assert trouble
    assert trouble.code == "registry-refused"


def test_a_public_repository_proves_nothing(fake: FakeRegistry) -> None:
    """Nor a registry that asks for nothing, nor one that lets everybody in."""
    assert getattr(ask(fake).prove(ALICE, PUBLIC).trouble, "code", "") == "registry-proves-nothing"
    fake.scheme = ""
    assert getattr(ask(fake).prove(ALICE, PUBLIC).trouble, "code", "") == "registry-proves-nothing"
    fake.scheme = "bearer"
    fake.answers[HOST, "/token"] = Response(200, b'{"token": "made-up"}')
    fake.answers[HOST, f"/v2/{REPOSITORY}/manifests/latest"] = lambda request: (
        Response(200) if "authorization" in request.headers else Response(401, b"", fake.challenge())
    )
    fake.answers[HOST, "/v2/"] = fake.answers[HOST, f"/v2/{REPOSITORY}/manifests/latest"]
    assert getattr(ask(fake).prove(ALICE, REPOSITORY).trouble, "code", "") == "registry-proves-nothing"


def test_a_login_that_may_not_pull_is_not_proven(fake: FakeRegistry) -> None:
    """As with an installation's token at ghcr.io (rotation.md, 1.5)."""
    trouble = ask(fake).prove(ALICE, FOREIGN).trouble
    assert trouble
    assert trouble.code == "registry-forbidden"


def test_a_trial_under_a_limit_shows_nothing(fake: FakeRegistry) -> None:
    """Whether a wrong secret is refused is not known then."""
    count = iter(range(100))
    manifest = f"/v2/{REPOSITORY}/manifests/latest"

    def limited(request: Request) -> Response:
        return Response(429) if next(count) == 0 else fake._resource(request, manifest)

    fake.answers[HOST, manifest] = limited
    assert getattr(ask(fake).prove(ALICE, REPOSITORY).trouble, "code", "") == "registry-throttled"


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repository", "reference"),
    [
        ("../../token", "1"),
        ("team//app", "1"),
        ("/team/app", "1"),
        ("team/app/", "1"),
        ("team/./app", "1"),
        ("", "1"),
        ("Team/app", "1"),
        ("team/app?x", "1"),
        ("team/app\r\nX: y", "1"),
        ("team/ap%70", "1"),
        ("team/äpp", "1"),
        ("a" * 256, "1"),
        (REPOSITORY, ""),
        (REPOSITORY, ".."),
        (REPOSITORY, "1/../2"),
        (REPOSITORY, "1?x"),
        (REPOSITORY, "1 2"),
        (REPOSITORY, "-1"),
        (REPOSITORY, "a" * 137),
    ],
)
def test_what_is_no_repository(fake: FakeRegistry, repository: str, reference: str) -> None:
    """It is refused before anybody is asked."""
    with pytest.raises(Refused):
        ask(fake).pull(ALICE, repository, reference)
    assert fake.requests == []


@pytest.mark.parametrize("server", ["http://registry.acme.example", "//h:2376", "a@b.example", "x..y", "[::1]:5000"])
def test_what_is_no_registry(fake: FakeRegistry, server: str) -> None:
    with pytest.raises(NotMine):
        ask(fake, server)


@pytest.mark.parametrize("username", ["a:b", "<token>"])
def test_a_user_who_cannot_be_sent_by_basic(fake: FakeRegistry, username: str) -> None:
    """A colon would make him another user, an identity token is no password."""
    fake.scheme = "basic"
    with pytest.raises(Unavailable) as caught:
        ask(fake).login(Credential(username, PASSWORD))
    assert caught.value.code in ("registry-username", "registry-identity-token")
    assert len(fake.requests) == 1


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize("username", ["alice", "<token>", "ali\udc80ce"])
def test_half_a_character(fake: FakeRegistry, scheme: str, username: str) -> None:
    """JSON can write half of a surrogate pair. It is said, and neither shown nor sent."""
    fake.scheme = scheme
    with pytest.raises(Unavailable) as caught:
        ask(fake).login(Credential(username, f"{PASSWORD}\ud800"))
    assert caught.value.code == "registry-letters"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert len(fake.requests) == 1


# --- where a credential may go ----------------------------------------------------------------------------------------


def assert_told_nobody(fake: FakeRegistry, *hosts: str) -> None:
    """No canary is in what was sent to any host but these; nor is a host asked for that is none of the fake's."""
    for host in {one.host.partition(":")[0] for one in fake.requests} - set(hosts):
        heard = fake.heard(host)
        assert not [canary for canary in CANARIES if canary in heard], host
    assert fake.proxy.refused == []


# By name: the realm that the registry says.
HOSTILE = {
    "another host": f"https://{EVIL}/token",
    "http": f"http://{HOST}/token",
    "another port": f"https://{HOST}:8443/token",
    "port 80": f"https://{HOST}:80/token",
    "port 0": f"https://{HOST}:0/token",
    "a port that is none": f"https://{HOST}:443x/token",
    "an empty port": f"https://{HOST}:/token",
    "user info": f"https://{HOST}@{EVIL}/token",
    "user info of its own": f"https://{USER}@{HOST}/token",
    "user info with a password": f"https://{HOST}:443@{EVIL}/token",
    "an escaped slash": f"https://{HOST}%2f@{EVIL}/token",
    "an escaped dot": f"https://registry%2eacme.example.{EVIL}/token",
    "a backslash": f"https://{HOST}\\\\@{EVIL}/token",
    "a backslash as a slash": f"https:\\\\\\\\{EVIL}/token",
    "a look-alike": f"https://{HOST}.{EVIL}/token",
    "a prefix": f"https://evil{HOST}/token",
    "below it": f"https://x.{HOST}/token",
    "above it": "https://acme.example/token",
    "its neighbour": f"https://{AUTH}/token",
    "a last dot": f"https://{HOST}./token",
    "two dots": "https://registry..acme.example/token",
    "a fragment": f"https://{HOST}#@{EVIL}/token",
    "a query for a host": f"https://{EVIL}?.{HOST}/token",
    "a question before the host": f"https://?{HOST}/token",
    "loopback": "https://127.0.0.1/token",
    "loopback by http": "http://127.0.0.1:8080/token",
    "loopback by name": "http://localhost/token",
    "loopback in IPv6": "https://[::1]/token",
    "loopback as a number": "https://2130706433/token",
    "IPv6": "https://[2001:db8::1]/token",
    "IPv4 in IPv6": "https://[::ffff:169.254.169.254]/token",
    "link-local": "http://169.254.169.254/token",
    "link-local by https": "https://169.254.169.254/token",
    "a private address": "https://10.0.0.1/token",
    "no scheme": f"//{HOST}/token",
    "relative": "/token",
    "relative to the path": "token",
    "empty": "",
    "a scheme of files": "file:///etc/passwd",
    "a scheme of ftp": f"ftp://{HOST}/token",
    "a scheme that ends in https": f"xhttps://{HOST}/token",
    "one slash": f"https:/{HOST}/token",
    "three slashes": f"https:///{HOST}/token",
    "a blank before": f" https://{HOST}/token",
    "a blank in the host": f"https://{HOST} .{EVIL}/token",
    "a tab in the host": f"https://registry.acme\t.example.{EVIL}/token",
    "a tab in the scheme": f"ht\ttps://{EVIL}/token",
    "a comma": f"https://{HOST}/token, https://{EVIL}/token",
    "Cyrillic": "https://r\u0435gistry.acme.example/token",
    "a wide dot": "https://registry\uff0eacme.example/token",
    "a letter that lower makes an ASCII one": "https://registry.acme.example\u212a/token",
    "sharp s": "https://registry.acme.example\u00df/token",
    "a soft hyphen": "https://registry.acme\u00ad.example/token",
    "punycode of it": "https://xn--rgistry-2of.acme.example/token",
    "an asterisk": "https://*.acme.example/token",
    "an underscore": "https://registry_.acme.example/token",
    "a long host": f"https://{'a' * 300}.example/token",
    "Docker's realm for another": "https://auth.docker.io/token",
    "GitLab's realm for another": "https://gitlab.com/jwt/auth",
}


@pytest.mark.parametrize("credential", [ALICE, TOKEN, None], ids=["password", "identity token", "none"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_realm_that_is_not_its_own(fake: FakeRegistry, name: str, credential: Credential | None) -> None:
    """Nothing is sent anywhere: the only request is the one without a credential."""
    fake.realm = HOSTILE[name].encode("utf-8").decode("latin-1")  # as a header is sent
    with pytest.raises(Unavailable) as caught:
        ask(fake).login(credential)
    assert caught.value.code in ("registry-realm-foreign", "registry-realm-malformed", "registry-challenge")
    assert fake.seen == [f"GET {HOST}/v2/"]
    assert fake.proxy.asked == [f"{HOST}:443"]
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    assert len(f"docker-credential-ecr: {caught.value.message}; ") < 400


OWN = {
    "plain": f"https://{HOST}/token",
    "upper case": f"HTTPS://{HOST.upper()}/token",
    "with its port": f"https://{HOST}:443/token",
    "a path of several": f"https://{HOST}/service/token/v2",
    "no path": f"https://{HOST}",
    "a query": f"https://{HOST}/token?tenant=1&x=y",
    "an empty query": f"https://{HOST}/token?",
    "an at sign in the path": f"https://{HOST}/@{EVIL}/token",
    "a host in the query": f"https://{HOST}/token?next=https://{EVIL}/",
    "two slashes before a host": f"https://{HOST}//{EVIL}/token",
    "dots in the path": f"https://{HOST}/a/../token",
    "an escape in the path": f"https://{HOST}/%2e%2e/token",
}


@pytest.mark.parametrize("name", OWN)
def test_a_realm_of_its_own(fake: FakeRegistry, name: str) -> None:
    """Whatever its path and query are, they are sent to the registry, and to nobody else."""
    fake.realm = OWN[name]
    assert ask(fake).login(ALICE).word is Word.ACCEPTED
    assert set(fake.proxy.asked) == {f"{HOST}:443"}
    asked = fake.requests[1].path
    assert f"service={HOST}" in asked
    assert ("?tenant=1&x=y&service=" in asked) is (name == "a query")


@pytest.mark.parametrize(
    ("server", "api", "auth"),
    [
        ("docker.io", "registry-1.docker.io", "auth.docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io", "auth.docker.io"),
        ("registry.gitlab.com", "registry.gitlab.com", "gitlab.com"),
    ],
)
def test_a_realm_that_is_known(fake: FakeRegistry, server: str, api: str, auth: str) -> None:
    """Docker Hub and others have theirs at another host."""
    fake.realm = f"https://{auth}/token"
    assert ask(fake, server).login(ALICE).word is Word.ACCEPTED
    assert fake.seen == [f"GET {api}/v2/", f"GET {auth}/token", f"GET {api}/v2/"]
    fake.realm = f"https://{auth}:8443/token"
    with pytest.raises(Unavailable, match=f"{auth}:8443"):
        ask(fake, server).login(ALICE)


def test_a_known_registry_on_another_port_is_another(fake: FakeRegistry) -> None:
    fake.realm = "https://gitlab.com/token"
    with pytest.raises(Unavailable, match=r"at https://gitlab\.com,"):
        ask(fake, "registry.gitlab.com:5000").login(ALICE)


@pytest.mark.parametrize(
    ("allowed", "asked", "is_right"),
    [
        (f"https://{AUTH}", f"https://{AUTH}/token", True),
        (f"https://{AUTH}/", f"https://{AUTH}/other/token?x=y", True),
        (f"https://{AUTH}:443", f"https://{AUTH.upper()}/token", True),
        (f"https://{AUTH}/token", f"https://{AUTH}/token?x=y", True),
        (f"https://{AUTH}/token", f"https://{AUTH}/tokens", False),
        (f"https://{AUTH}/token", f"https://{AUTH}/token/more", False),
        (f"https://{AUTH}/token", f"https://{AUTH}/", False),
        (f"https://{AUTH}", f"https://{AUTH}:8443/token", False),
        (f"https://{AUTH}:8443", f"https://{AUTH}/token", False),
        (f"https://{AUTH}", f"http://{AUTH}/token", False),
        (f"https://{AUTH}", f"https://x.{AUTH}/token", False),
        (f"https://{AUTH}", f"https://{EVIL}/token", False),
        ("http://127.0.0.1:5001", "http://127.0.0.1:5002/token", False),
    ],
)
def test_a_realm_that_the_entry_has(fake: FakeRegistry, allowed: str, asked: str, *, is_right: bool) -> None:
    """That and no other; the registry's own is right as ever."""
    fake.realm = asked
    registry = ask(fake, realm=allowed)
    if is_right:
        assert registry.login(ALICE).word is Word.ACCEPTED
        assert_told_nobody(fake, AUTH)
    else:
        with pytest.raises(Unavailable):
            registry.login(ALICE)
        assert_told_nobody(fake)
    fake.realm = f"https://{HOST}/token"
    assert ask(fake, realm=allowed).login(ALICE).word is Word.ACCEPTED


@pytest.mark.parametrize("value", ["https://auth.acme.example", "http://127.0.0.1:5001", "http://[::1]/x"])
def test_the_entry_says_it(home: Path, value: str) -> None:
    """`realm` in an entry is for the hosts of that one."""
    file = home / "config.toml"
    file.write_text(
        f'[[registry]]\nmatch = "*.acme.example:*"\nsource = "vault"\npath = "kv/x"\nrealm = "{value}"\n'
        '[[registry]]\nmatch = "other.example"\nsource = "vault"\npath = "kv/x"\n'
    )
    environ = {b"CREDHELPERS_CONFIG": bytes(file), b"HOME": bytes(home), b"CREDHELPERS_CACHE_DIR": bytes(home / "c")}
    found = {}
    for server in (f"{HOST}:5000", "other.example", "myregistry.azurecr.io"):
        route = plan.route(Authority(server), environ)
        found[server] = realm(route.authority, route.source, route.line, environ)
        assert "realm" not in route.settings
    assert found == {f"{HOST}:5000": value, "other.example": "", "myregistry.azurecr.io": ""}


@pytest.mark.parametrize(
    "value",
    [
        '"auth.acme.example"',
        '"http://auth.acme.example"',
        '"http://169.254.169.254"',
        '"https://auth.acme.example/token?x=y"',
        '"https://u@auth.acme.example"',
        '""',
        "true",
        '["https://auth.acme.example"]',
    ],
)
def test_an_entry_that_says_it_wrongly(home: Path, value: str) -> None:
    """It fails its own hosts, with the line."""
    file = home / "config.toml"
    file.write_text(f'[[registry]]\nmatch = "{HOST}"\nsource = "vault"\nrealm = {value}\n')
    environ = {b"CREDHELPERS_CONFIG": bytes(file), b"HOME": bytes(home), b"CREDHELPERS_CACHE_DIR": bytes(home / "c")}
    with pytest.raises(Unavailable, match="line 4: `realm` is not a URL that begins with https://"):
        plan.route(Authority(HOST), environ)


# --- challenges -------------------------------------------------------------------------------------------------------

GOOD = f'Bearer realm="https://{HOST}/token",service="{HOST}"'
# By name: headers; what is asked for by them in the end, "" if that is refused.
CHALLENGES = {
    "lower case": ({"www-authenticate": f'bearer REALM="https://{HOST}/token",Service="{HOST}"'}, "bearer"),
    "blanks": ({"WWW-Authenticate": f'Bearer   realm = "https://{HOST}/token" ,  service= "{HOST}"  '}, "bearer"),
    "empty elements": ({"WWW-Authenticate": f',, {GOOD} ,, error="invalid_token",'}, "bearer"),
    "a scope": ({"WWW-Authenticate": GOOD + ',scope="registry:catalog:*"'}, "bearer"),
    "no service": ({"WWW-Authenticate": f'Bearer realm="https://{HOST}/token"'}, "bearer"),
    "Basic after Bearer": ({"WWW-Authenticate": GOOD + ', Basic realm="tests"'}, "bearer"),
    "Bearer after Basic": ({"WWW-Authenticate": f'Basic realm="a, Bearer b", charset="UTF-8", {GOOD}'}, "bearer"),
    "in two headers": ({"WWW-Authenticate": 'Basic realm="tests"', "Www-Authenticate": GOOD}, "bearer"),
    "Negotiate before": ({"WWW-Authenticate": f"Negotiate, {GOOD}"}, "bearer"),
    "Negotiate with a token": ({"WWW-Authenticate": f"Negotiate oYGz+a/b==, {GOOD}"}, "bearer"),
    "an escaped quote": ({"WWW-Authenticate": 'Basic realm="a \\" b, Bearer realm=\\"x"'}, "basic"),
    "Basic without a realm": ({"WWW-Authenticate": "Basic"}, "basic"),
    "Basic twice": ({"WWW-Authenticate": 'Basic realm="a", Basic realm="b"'}, "basic"),
    "none": ({}, ""),
    "empty": ({"WWW-Authenticate": ""}, ""),
    "Negotiate": ({"WWW-Authenticate": "Negotiate"}, ""),
    "no realm": ({"WWW-Authenticate": f'Bearer service="{HOST}"'}, ""),
    "a token for a realm": ({"WWW-Authenticate": "Bearer abc=="}, ""),
    "two realms": ({"WWW-Authenticate": GOOD + f',realm="https://{EVIL}/token"'}, ""),
    "two realms in two cases": ({"WWW-Authenticate": GOOD + f',Realm="https://{EVIL}/token"'}, ""),
    "two of Bearer": ({"WWW-Authenticate": f'{GOOD}, Bearer realm="https://{EVIL}/token"'}, ""),
    "two of Bearer in two headers": (
        {"WWW-Authenticate": GOOD, "Www-Authenticate": f'Bearer realm="https://{EVIL}/token"'},
        "",
    ),
    "the wrong one of Bearer first": (
        {"WWW-Authenticate": f'Bearer realm="https://{EVIL}/token"', "Www-Authenticate": GOOD},
        "",
    ),
    "Basic beside a foreign realm": (
        {"WWW-Authenticate": f'Basic realm="tests", Bearer realm="https://{EVIL}/token"'},
        "",
    ),
    "a quote that does not end": ({"WWW-Authenticate": f'Bearer realm="https://{HOST}/token'}, ""),
    "a quote that ends in the next header": (
        {"WWW-Authenticate": 'Basic realm="', "Www-Authenticate": f'", {GOOD}'},
        "bearer",
    ),
    "no quotes": ({"WWW-Authenticate": f"Bearer realm=https://{HOST}/token"}, ""),
    "single quotes": ({"WWW-Authenticate": f"Bearer realm='https://{HOST}/token'"}, ""),
    "no comma": ({"WWW-Authenticate": f'Bearer realm="https://{HOST}/token" service="{HOST}"'}, ""),
    "no blank": ({"WWW-Authenticate": f'Bearer,realm="https://{HOST}/token"'}, "bearer"),
    "a semicolon": ({"WWW-Authenticate": f'Bearer realm="https://{HOST}/token";service="{HOST}"'}, ""),
    "no value": ({"WWW-Authenticate": "Bearer realm=, service=x"}, ""),
    "a folded line": ({"WWW-Authenticate": f'Bearer\r\n realm="https://{HOST}/token"'}, "bearer"),  # RFC 9112, 5.2
    "a control character": ({"WWW-Authenticate": f'Bearer realm="https://{HOST}/token\x01"'}, ""),
    "a proxy's": ({"Proxy-Authenticate": GOOD}, ""),
    "long": ({"WWW-Authenticate": GOOD + ',x="' + "y" * 20_000 + '"'}, ""),
    "an escaped realm": ({"WWW-Authenticate": f'Bearer realm="https://{HOST}\\/token"'}, "bearer"),
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_challenge(fake: FakeRegistry, name: str) -> None:
    """As RFC 9110 has it, or nothing is sent."""
    fake.headers, scheme = CHALLENGES[name]
    fake.scheme = scheme or "bearer"
    if scheme:
        verdict = ask(fake).login(ALICE)
        assert (verdict.word, verdict.scheme) == (Word.ACCEPTED, scheme)
        assert_told_nobody(fake, HOST)
    else:
        with pytest.raises(Unavailable) as caught:
            ask(fake).login(ALICE)
        assert caught.value.code.startswith("registry-")
        assert len(fake.requests) == 1
        assert_told_nobody(fake)


_TOKENS = st.text(st.sampled_from("abcXYZ09-._~!#$&'*+^`|%"), min_size=1, max_size=8)
_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12)


@settings(deadline=None)
@given(st.lists(st.tuples(_TOKENS, st.dictionaries(_TOKENS.map(str.lower), _VALUES, max_size=3)), max_size=4))
def test_what_was_written_is_read(written: list[tuple[str, dict[str, str]]]) -> None:
    """Whatever stands in quotes."""

    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    parts = []
    for scheme, parameters in written:
        said = ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        parts.append(f"{scheme} {said}".strip())
    found = challenges({"WWW-Authenticate": ", ".join(parts)})
    assert [(one.scheme, one.parameters) for one in found] == [(scheme.lower(), said) for scheme, said in written]


@settings(deadline=None)
@given(st.text(st.sampled_from('Bearer realm="x",\\\t =é/~\r'), max_size=40))
def test_whatever_is_sent_is_read_or_refused(text: str) -> None:
    """And nothing else is raised, nor does it go on for ever."""
    try:
        challenges({"WWW-Authenticate": text})
    except Malformed:
        return


@settings(deadline=None)
@given(st.text(st.sampled_from(f"https://{HOST}:443@{EVIL}\\?#%[]. \t\u0435\uff0e"), max_size=60))
def test_no_realm_leads_elsewhere(text: str) -> None:
    """What may be sent to is the registry's own origin, also as a library of URLs reads it that is none of ours."""
    origin = ("https", HOST, 443)
    for asked in (text, f"https://{HOST}{text}", f"https://{text}{HOST}/token"):
        try:
            found = realms.place(Authority(HOST), origin, asked)
        except Unavailable:
            continue
        assert found[:3] == origin
        parsed = parse_url(asked)
        assert (parsed.scheme, parsed.host, parsed.port or 443, parsed.auth) == (*origin, None)


# --- what answers otherwise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["/v2/", "/v2/ with the token", "/token"])
@pytest.mark.parametrize("leads", [f"https://{EVIL}/x", f"https://{HOST}/other", f"http://{HOST}/v2/"])
def test_a_redirect_is_not_followed(fake: FakeRegistry, status: int, where: str, leads: str) -> None:
    """Nobody hears of the credential who did not ask for it."""

    def redirecting(request: Request) -> Response:
        if where == "/v2/ with the token" and "authorization" not in request.headers:
            return Response(401, b"", fake.challenge())
        return Response(status, b"", {"Location": leads})

    fake.answers[HOST, where.partition(" ")[0]] = redirecting
    with pytest.raises(NoAnswer) as caught:
        ask(fake).login(ALICE)
    assert caught.value.code == "net-redirect"
    assert ("realm" in caught.value.message) is (where == "/token")
    assert {one.host for one in fake.requests} == {HOST}


ASIDE = {
    "Location": f"https://{EVIL}/x",
    "Refresh": f"0; url=https://{EVIL}/x",
    "Alt-Svc": f'h2="{EVIL}:443"; ma=86400',
    "Link": f'<https://{EVIL}/x>; rel="canonical"',
    "Content-Location": f"https://{EVIL}/x",
    "Set-Cookie": "made-up=cookie; Domain=.example",
}


@pytest.mark.parametrize("name", ASIDE)
def test_what_a_header_says_aside_is_not_done(fake: FakeRegistry, name: str) -> None:
    """Neither by the registry nor by the realm; and no cookie is kept."""
    fake.headers = fake.challenge() | {name: ASIDE[name]}
    token = fake._token
    fake.answers[HOST, "/token"] = lambda request: Response(200, token(request).body, {name: ASIDE[name]})
    assert ask(fake).login(ALICE).word is Word.ACCEPTED
    assert {one.host for one in fake.requests} == {HOST}
    assert not [one for one in fake.requests if "cookie" in one.headers]


def test_a_challenge_that_never_ends(fake: FakeRegistry) -> None:
    """What asks for a credential again and again gets it once, and each realm is asked once."""
    fake.answers[HOST, "/v2/"] = lambda _: Response(401, b"", fake.challenge())
    assert ask(fake).login(ALICE).word is Word.REFUSED
    assert fake.seen == [f"GET {HOST}/v2/", f"GET {HOST}/token", f"GET {HOST}/v2/"]
    fake.requests.clear()
    fake.answers[HOST, "/token"] = lambda _: Response(401, b"", fake.challenge())
    assert ask(fake).login(ALICE).word is Word.REFUSED
    assert fake.seen == [f"GET {HOST}/v2/", f"GET {HOST}/token"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"made-up"',
        b"{}",
        b'{"token": ""}',
        b'{"token": null, "access_token": 1}',
        b'{"token": ["made-up"]}',
        b'{"token": "made up"}',
        b'{"token": "made-up\\r\\nX-Evil: 1"}',
        b'{"token": "m\\u00e4de-up"}',
        b'{"token": "made-up\\u0000"}',
        b"[" * 100_000,
        b'{"refresh_token": "made-up"}',
        b"\xff\xfe",
    ],
)
def test_a_realm_without_a_token(fake: FakeRegistry, body: bytes) -> None:
    """The registry is not asked again."""
    fake.answers[HOST, "/token"] = Response(200, body)
    with pytest.raises(Unavailable) as caught:
        ask(fake).login(ALICE)
    assert caught.value.code == "registry-no-token"
    assert f"the realm {HOST}" in caught.value.message
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({}, 60),
        ({"expires_in": 3600}, 3600),
        ({"expires_in": "1"}, 60),
        ({"expires_in": -1}, 60),
        ({"expires_in": 0}, 60),
        ({"expires_in": True}, 60),
    ],
)
def test_the_life_of_a_token(fake: FakeRegistry, said: dict[str, object], seconds: int) -> None:
    token = json.loads(fake._token(Request("GET", HOST, "/token", {}, b"", secure=True)).body)["token"]
    fake.answers[HOST, "/token"] = Response(200, json.dumps({"access_token": token, "token": "other"} | said).encode())
    assert ask(fake).login(ALICE).seconds == seconds


def test_a_page_is_no_registry(fake: FakeRegistry) -> None:
    """As a portal shows it to everybody."""
    page = Response(200, b"<html>", {"Content-Type": "text/html; charset=utf-8"})
    fake.answers[HOST, "/v2/"] = page
    fake.answers[HOST, f"/v2/{REPOSITORY}/manifests/latest"] = page
    with pytest.raises(Unavailable) as caught:
        ask(fake).login(ALICE)
    assert caught.value.code == "registry-none"
    with pytest.raises(Unavailable) as caught:
        ask(fake).pull(ALICE, REPOSITORY)
    assert caught.value.code == "registry-none"


@pytest.mark.parametrize("where", ["/v2/", "/token"])
def test_a_gigabyte(fake: FakeRegistry, where: str) -> None:
    """More than a megabyte is not read."""
    fake.answers[HOST, where] = Response(401 if where == "/v2/" else 200, b" " * (2 << 20), fake.challenge())
    with pytest.raises(NoAnswer) as caught:
        ask(fake).login(ALICE)
    assert caught.value.code == "net-strange-answer"


@contextmanager
def dripping(head: bytes) -> Iterator[int]:
    """A server of plain HTTP on loopback that never ends what it says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            try:
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(head)
                        while True:
                            connection.sendall(b"x")
                            time.sleep(0.05)
            except OSError:
                return

        threading.Thread(target=drip, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 ", b"HTTP/1.1 401 x\r\nX-Y: ", b"HTTP/1.1 401 x\r\nContent-Length: 9999\r\n\r\n"]
)
def test_a_drip(fake: FakeRegistry, head: bytes) -> None:
    """The time is over when it is over."""
    with dripping(head) as port:
        started = time.monotonic()
        with pytest.raises(HelperError):
            ask(fake, f"localhost:{port}", seconds=1).login(ALICE)
        assert time.monotonic() - started < 1 + patience(1)


# --- plain HTTP -------------------------------------------------------------------------------------------------------


def test_a_registry_on_this_machine_may_speak_plain_http(authority: CertificateAuthority) -> None:
    """As docker has it; its realm, too, if it is at the same port or in the entry."""
    with FakeRegistry(authority) as fake, Site(fake._respond) as plain, Site(fake._respond) as other:
        for host in ("localhost", "127.0.0.1"):
            fake.scheme = "basic"
            assert ask(fake, f"{host}:{plain.port}").login(ALICE).word is Word.ACCEPTED
            fake.scheme = "bearer"
            fake.realm = f"http://{host}:{plain.port}/token"
            assert ask(fake, f"{host}:{plain.port}").login(ALICE).word is Word.ACCEPTED
            fake.realm = f"http://{host}:{other.port}/token"
            with pytest.raises(Unavailable):
                ask(fake, f"{host}:{plain.port}").login(ALICE)
            entry = f"http://{host}:{other.port}"
            assert ask(fake, f"{host}:{plain.port}", realm=entry).login(ALICE).word is Word.ACCEPTED


@pytest.mark.parametrize("host", ["registry.acme.example", "169.254.1.1", "10.0.0.1", "localhost.example"])
def test_any_other_registry_is_never_asked_in_clear(authority: CertificateAuthority, host: str) -> None:
    """Not even without a credential."""

    def respond(_: Request) -> Response:
        return Response(401, b"", {"WWW-Authenticate": "Basic"})

    with Site(respond) as plain, Proxy({host: plain.port}) as proxy:
        environ = {b"HTTPS_PROXY": proxy.url.encode(), b"HTTP_PROXY": proxy.url.encode()}
        with pytest.raises(NoAnswer):
            Registry(Authority(host), environ, time.monotonic() + 2).login(ALICE)
        assert plain.requests == []


def test_one_with_tls_on_this_machine_stays_with_it(tmp_path: Path) -> None:
    """A certificate that is not trusted is no reason to go on without one."""
    with Site(lambda _: Response(200), CertificateAuthority(tmp_path).context("localhost")) as site:
        with pytest.raises(NoAnswer) as caught:
            Registry(Authority(f"localhost:{site.port}"), {}, time.monotonic() + 5).login(ALICE)
        assert caught.value.code == "net-certificate-unknown"
        assert site.requests == []


# --- the real one -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_debian_s_registry(authority: CertificateAuthority, fake: FakeRegistry) -> None:
    """Docker's own with Basic: who is known, who is not, what is not there, and a change of the password."""
    with DebianRegistry(authority, HOST, user=USER, password=PASSWORD) as registry:
        fake.proxy.routes[HOST] = registry.port
        assert ask(fake).login(ALICE).word is Word.ACCEPTED
        assert ask(fake).login(WRONG).word is Word.REFUSED
        assert ask(fake).login(None).word is Word.REFUSED
        assert ask(fake).pull(ALICE, "team/none").word is Word.ABSENT
        assert getattr(ask(fake).prove(ALICE, "team/none").trouble, "code", "") == "registry-absent"
        registry.change(USER, "made-up-new-password")
        assert ask(fake).login(ALICE).word is Word.REFUSED
        assert ask(fake).login(Credential(USER, "made-up-new-password")).word is Word.ACCEPTED


class SigningRealm:
    """A realm as docker's registry believes one: tokens are JWTs (distribution.github.io/distribution/spec/auth/jwt).

    They are signed with a key whose certificate the authority has issued.
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        certificate, key = authority.files("signer.acme.example")
        loaded = load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        leaf = load_pem_x509_certificate(certificate.read_bytes())
        self._chain = [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()]

    def token(self, service: str, user: str, scope: str) -> str:
        kind, name, actions = scope.split(":") if scope else ("", "", "")
        now = int(time.time())
        head = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        access = [{"type": kind, "name": name, "actions": actions.split(",")}] if scope else []
        claims = {"iss": "tests", "sub": user, "aud": service, "iat": now, "nbf": now - 5, "exp": now + 60}
        parts = [head, claims | {"jti": "1", "access": access}]
        text = b".".join(_encoded(json.dumps(part).encode()) for part in parts)
        numbers = decode_dss_signature(self._key.sign(text, ec.ECDSA(hashes.SHA256())))
        signature = b"".join(number.to_bytes(32, "big") for number in numbers)  # RFC 7518, 3.4
        return (text + b"." + _encoded(signature)).decode()


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@pytest.mark.slow
def test_debian_s_registry_with_a_realm(authority: CertificateAuthority, fake: FakeRegistry) -> None:
    """Docker's own with Bearer: it looks at the tokens itself, and at what they are for."""
    signing = SigningRealm(authority)

    def realm_of_tokens(request: Request) -> Response:
        said = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        given = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        if given not in ("", f"{USER}:{PASSWORD}"):
            return Response(401)
        scope = said.get("scope", "") if given and REPOSITORY in said.get("scope", "") else ""
        return Response(200, json.dumps({"token": signing.token(said["service"], USER, scope)}).encode())

    fake.answers[AUTH, "/token"] = realm_of_tokens
    auth = (
        f"token:\n    realm: https://{AUTH}/token\n    service: {HOST}\n    issuer: tests\n"
        f"    rootcertbundle: {authority.pem}"
    )
    with DebianRegistry(authority, HOST, user=USER, password=PASSWORD, auth=auth) as registry:
        fake.proxy.routes[HOST] = registry.port
        with pytest.raises(Unavailable, match=f"at https://{AUTH}, which"):
            ask(fake).login(ALICE)
        assert fake.requests == []
        entry = f"https://{AUTH}"
        assert ask(fake, realm=entry).login(ALICE).word is Word.ACCEPTED
        assert ask(fake, realm=entry).login(WRONG).word is Word.REFUSED
        assert ask(fake, realm=entry).login(None).word is Word.OPEN
        assert ask(fake, realm=entry).pull(ALICE, REPOSITORY).word is Word.ABSENT
        assert ask(fake, realm=entry).pull(ALICE, FOREIGN).word is Word.REFUSED
        assert ask(fake, realm=entry).pull(None, REPOSITORY).word is Word.REFUSED


def test_nothing_shows_a_secret(fake: FakeRegistry) -> None:
    """Neither what is returned nor what is raised, with all that led to it."""
    import traceback

    fake.answers[HOST, "/token"] = Response(200, b"{}")
    registry = ask(fake)
    with pytest.raises(Unavailable) as caught:
        registry.login(ALICE)
    text = "".join(traceback.format_exception(caught.value)) + repr(registry)
    assert not [canary for canary in CANARIES if canary in text]


def test_every_name_of_the_fake_is_reached() -> None:
    """Else a stranger would not be seen."""
    assert EVIL in NAMES
    assert endpoint(f"https://{EVIL}/")[1] == EVIL
