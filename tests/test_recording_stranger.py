"""A stranger who records what he hears, behind redirects, realms, proxies and lying names: each flow, each step.

The flows are whole ones of the installed executables, from an identity to a registry's credential, and the handshake
with a registry. Between them and the fake of each cloud stands a front that can answer any step in another way. The
stranger has a certificate that is trusted, so that nothing but our own rules keeps a secret from him.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import pytest

from tests.fakes import aws, azure, google, registry
from tests.fakes.tls import CertificateAuthority, Proxy, Request, Response, Site
from tests.harness import BIN, Result, environment, execute
from tests.harness import loaded_call as call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Begun = tuple[Callable[[Request], Response], tuple[str, ...], dict[str, str], list[str]]

pytestmark = pytest.mark.slow

STRANGER = "stranger.example"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
HARBOR, VAULT = "harbor.acme.example", "vault.acme.example"
SECRET_ID = "made-up-secret-id"
STEPS = {"ecr": 2, "gcr": 2, "acr": 3, "vault": 2, "registry": 3}
EACH_STEP = [pytest.param(flow, step, id=f"{flow} {step}") for flow, count in STEPS.items() for step in range(count)]
HANDSHAKE = """
import os, sys, time
from credhelpers.credential import Credential
from credhelpers.errors import HelperError
from credhelpers.servers import Authority
from credhelpers.registry import Registry
try:
    with open(sys.argv[2]) as file:
        credential = Credential(*file.read().split())
    verdict = Registry(Authority(sys.argv[1]), os.environb, time.monotonic() + 10, sys.argv[3]).login(credential)
    print(verdict.word)
    sys.exit(verdict.word != "accepted")
except HelperError as error:
    print(error.message)
    print(f"{error.hint} [{error.code}]", file=sys.stderr)
    sys.exit(1)
"""


class World:
    """A flow with the way to its cloud: what it asks there, in order, can be answered otherwise; and the stranger.

    tricks: by the number of a request, what makes the answer in the place of the cloud
    """

    def __init__(self, flow: str, authority: CertificateAuthority, home: Path) -> None:
        self.flow = flow
        self.home = home
        self.authority = authority
        self.tricks: dict[int, Callable[[Request, Callable[[Request], Response]], Response]] = {}
        self._count = 0
        with ExitStack() as safe:
            begun: Begun = getattr(self, f"_{flow}")(safe)
            self.honest, names, self.env, self.canaries = begun
            self.front = safe.enter_context(Site(self._respond, authority.context(*names)))
            self.stranger = safe.enter_context(Site(self._mimic, authority.context(STRANGER)))
            self.in_clear = safe.enter_context(Site(self._mimic))
            routes = dict.fromkeys(names, self.front.port) | {STRANGER: self.stranger.port}
            self.proxy = safe.enter_context(Proxy(routes))
            self.env |= {"HTTPS_PROXY": self.proxy.url}
            self._stack = safe.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, **more: str) -> Result:
        """What the executable answers."""
        env = environment(self.home, CREDHELPERS_CACHE_DIR="", **self.env) | more
        if self.flow == "registry":
            given = self.home / "credential"
            given.write_text(f"{registry.USER} {registry.PASSWORD}")
            words = ("-c", HANDSHAKE, registry.HOST, str(given), f"https://{registry.AUTH}")
            return execute(BIN / "python3", "-I", *words, env=env)
        server = {"ecr": ECR, "gcr": "europe-docker.pkg.dev", "acr": azure.HOST, "vault": HARBOR}[self.flow]
        return call(self.flow, "get", server, env)

    def assert_nothing_was_heard(self, *, but_the_handshake: bool = False) -> None:
        """Not a request came to the stranger, nor was a way to him asked for."""
        assert self.stranger.requests == []
        assert self.in_clear.requests == []
        if not but_the_handshake:
            assert not [name for name in self.proxy.asked if name.startswith(STRANGER)]

    def assert_no_canary(self, heard: bytes) -> None:
        """No secret is in it, nor is it in what Basic or a query hides it in."""
        text = heard.decode("latin-1")
        text += "".join(_decoded(word) for word in re.findall(r"[A-Za-z0-9+/_-]{8,}={0,2}", text))
        assert not [canary for canary in self.canaries if canary in text]

    def _respond(self, request: Request) -> Response:
        number, self._count = self._count, self._count + 1
        trick = self.tricks.get(number)
        return trick(request, self.honest) if trick else self.honest(request)

    def _mimic(self, request: Request) -> Response:
        """What the cloud would answer, so that who is led astray goes on."""
        try:
            return self.honest(request)
        except Exception:  # noqa: BLE001 - what is no request of the flow
            return Response(200, b"{}")

    # What each flow is: who answers, under which names, by which variables; what nobody else may hear.

    def _ecr(self, safe: ExitStack) -> Begun:
        cloud = safe.enter_context(aws.FakeAws(self.authority))
        self._configure(f'match = "{ECR}"', 'source = "ecr"', 'role_arn = "arn:aws:iam::111122223333:role/puller"')
        return cloud._respond, tuple(aws.HOSTS), cloud.environment(), [aws.SECRET, aws.KEY_ID]

    def _gcr(self, safe: ExitStack) -> Begun:
        cloud = safe.enter_context(google.FakeGoogle(self.authority))
        file = google.write(self.home / "key.json", google.service_account())
        lines = (f'credentials_file = "{file}"', f'impersonate = "{google.ACCOUNT}"')
        self._configure('match = "europe-docker.pkg.dev"', 'source = "gcr"', *lines)
        return cloud._respond, google.HOSTS, cloud.environment(), ["made-up-token", "eyJ"]

    def _acr(self, safe: ExitStack) -> Begun:
        cloud = safe.enter_context(azure.FakeAzure(self.authority))
        names = (*azure.LOGINS, *azure.REGISTRIES)
        return cloud._respond, names, cloud.principal(), [azure.SECRET, azure.ENTRA_TOKEN]

    def _vault(self, safe: ExitStack) -> Begun:
        (self.home / "secret-id").write_text(SECRET_ID)
        (self.home / "secret-id").chmod(0o600)
        lines = ('auth = "approle"', 'role_id = "made-up-role"', f'secret_id_file = "{self.home}/secret-id"')
        more = ('path = "kv/registries/{host}"', 'engine = "kv-v2"')
        self._configure(f'match = "{HARBOR}"', 'source = "vault"', *more, *lines)
        env = {"VAULT_ADDR": f"https://{VAULT}", "VAULT_CACERT": str(self.authority.pem)}
        return _vault_says, (VAULT,), env, [SECRET_ID, "made-up-vault-token"]

    def _registry(self, safe: ExitStack) -> Begun:
        fake = safe.enter_context(registry.FakeRegistry(self.authority))
        fake.realm = f"https://{registry.AUTH}/token"
        env = {name.decode(): value.decode() for name, value in fake.environment().items()}
        return fake._respond, registry.NAMES, env, [registry.PASSWORD]

    def _configure(self, *lines: str) -> None:
        file = self.home / ".config/credhelpers/config.toml"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join(("[[registry]]", *lines)) + "\n")


def _decoded(word: str) -> str:
    word = word.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(word + "=" * (-len(word) % 4)).decode("latin-1")
    except ValueError:
        return ""


def _vault_says(request: Request) -> Response:
    """A Vault with one secret, for who logs in."""
    if request.path.endswith("/auth/approle/login"):
        auth = {"client_token": "made-up-vault-token", "lease_duration": 3600, "renewable": True, "policies": []}
        return Response(200, json.dumps({"auth": auth}).encode())
    if request.headers.get("x-vault-token") != "made-up-vault-token":
        return Response(403, b'{"errors":["permission denied"]}')
    data = {"username": "robot", "password": "made-up-password-of-the-robot"}
    metadata = {"created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": False, "version": 1}
    return Response(200, json.dumps({"data": {"data": data, "metadata": metadata}}).encode())


@pytest.fixture
def world(request: pytest.FixtureRequest, authority: CertificateAuthority, home: Path) -> Iterator[World]:
    """The flow that the test is told."""
    with World(request.getfixturevalue("flow"), authority, home) as world:
        yield world


each_step = pytest.mark.parametrize(("flow", "step"), EACH_STEP)
each_flow = pytest.mark.parametrize("flow", list(STEPS))


@each_flow
def test_the_flow_itself(world: World, flow: str) -> None:
    """Without a trick it comes to its end, in so many steps; and each has something that a stranger must not hear."""
    result = world.run()
    assert result.code == 0, result
    assert len(world.front.requests) == STEPS[flow]
    world.assert_nothing_was_heard()
    heard = "".join(f"{one.path} {one.headers} {one.body!r}" for one in world.front.requests)
    with pytest.raises(AssertionError):
        world.assert_no_canary(heard.encode())


@each_flow
def test_the_stranger_hears_who_goes_there(world: World, flow: str) -> None:
    """The measure can fail: curl, which follows a redirect, is heard by him."""
    world.tricks = dict.fromkeys(range(9), _redirect(302, f"https://{STRANGER}/x"))
    name = next(iter(world.proxy.routes))
    command = ["curl", "-sLd", "made-up-secret", "--post302", "--cacert", str(world.authority.pem), f"https://{name}/"]
    subprocess.run(command, env={"PATH": "/usr/bin:/bin", "HTTPS_PROXY": world.proxy.url}, check=True, timeout=20)
    assert world.stranger.requests
    with pytest.raises(AssertionError):
        world.assert_nothing_was_heard()


# --- redirects --------------------------------------------------------------------------------------------------------


def _redirect(status: int, where: str) -> Callable[[Request, Callable[[Request], Response]], Response]:
    return lambda *_: Response(status, b"", {"Location": where})


@each_step
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_the_stranger(world: World, flow: str, step: int, status: int) -> None:
    """At no step does anything go there, and the call says so."""
    world.tricks = dict.fromkeys(range(step, step + 9), _redirect(status, f"https://{STRANGER}/x"))
    result = world.run()
    assert result.code == 1
    is_botocore_s = (flow, step) == ("ecr", 0)  # which looks for a reason in the body of STS's answer
    assert (b"makes no sense" if is_botocore_s else b"redirect") in result.out, result
    world.assert_nothing_was_heard()


@each_step
def test_a_redirect_without_tls(world: World, flow: str, step: int) -> None:
    """Nor to what is on this machine, in clear, whether a proxy is named for that or not."""
    where = f"http://127.0.0.1:{world.in_clear.port}/x"
    world.tricks = dict.fromkeys(range(step, step + 9), _redirect(307, where))
    result = world.run(HTTP_PROXY=world.proxy.url)
    assert result.code == 1
    world.assert_nothing_was_heard()


# --- what an answer says besides --------------------------------------------------------------------------------------

ASIDE = {
    "Location": f"https://{STRANGER}/x",
    "Refresh": f"0; url=https://{STRANGER}/x",
    "Alt-Svc": f'h2="{STRANGER}:443"; ma=86400, h3="{STRANGER}:443"',
    "Link": f'<https://{STRANGER}/x>; rel="canonical"',
    "Content-Location": f"https://{STRANGER}/x",
    "Set-Cookie": "made-up=cookie; Path=/; Domain=.example",
    "X-Amzn-Query-Mode": "true",
}


@each_step
def test_headers_that_name_the_stranger(world: World, flow: str, step: int) -> None:
    """In an answer that is right they change nothing, and no cookie comes back."""

    def aside(request: Request, honest: Callable[[Request], Response]) -> Response:
        answer = honest(request)
        return Response(answer.status, answer.body, ASIDE | answer.headers)

    world.tricks[step] = aside
    assert world.run().code == 0
    world.assert_nothing_was_heard()
    assert not [one for one in world.front.requests if "cookie" in one.headers]


CHALLENGES = {
    "Basic": f'Basic realm="https://{STRANGER}/token"',
    "Bearer": f'Bearer realm="https://{STRANGER}/token",service="{STRANGER}"',
    "Azure's": f'Bearer authorization_uri="https://{STRANGER}/common", resource="https://{STRANGER}"',
    "Negotiate": "Negotiate, NTLM",
}


@each_step
@pytest.mark.parametrize("name", CHALLENGES)
def test_a_challenge_that_names_the_stranger(world: World, flow: str, step: int, name: str) -> None:
    """A 401 with a realm, and a `Location` besides, leads nowhere."""
    headers = ASIDE | {"WWW-Authenticate": CHALLENGES[name]}
    world.tricks = dict.fromkeys(range(step, step + 9), lambda *_: Response(401, b"{}", headers))
    assert world.run().code == 1
    world.assert_nothing_was_heard()


@each_step
def test_a_proxy_s_challenge_of_a_server(world: World, flow: str, step: int) -> None:
    """407, which a server has no right to say, has nobody log in."""
    headers = ASIDE | {"Proxy-Authenticate": 'Basic realm="stranger"'}
    world.tricks = dict.fromkeys(range(step, step + 9), lambda *_: Response(407, b"{}", headers))
    assert world.run().code == 1
    world.assert_nothing_was_heard()


# --- proxies ----------------------------------------------------------------------------------------------------------


@each_flow
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_is_the_stranger(world: World, flow: str, variable: str) -> None:
    """He sees to whom we speak, and nothing of what we say."""
    if flow == "ecr" and variable == "ALL_PROXY":
        variable = "HTTPS_PROXY"  # its SDK does not know the other one
    with Proxy(world.proxy.routes, keeps=True) as recorder:
        env = {"HTTPS_PROXY": "", variable: recorder.url, "HTTP_PROXY": recorder.url}
        world.env.pop("HTTPS_PROXY")
        env = {name: value for name, value in env.items() if value}
        assert world.run(**env).code == 0
        assert recorder.asked
        assert b"CONNECT " in bytes(recorder.heard or b"")
        world.assert_no_canary(bytes(recorder.heard or b""))
    world.assert_nothing_was_heard()


@each_flow
def test_a_proxy_that_answers_itself(world: World, flow: str, tmp_path: Path) -> None:
    """Behind the CONNECT is somebody whom nobody vouches for: he gets a handshake and no request."""
    with (
        Site(world.honest, CertificateAuthority(tmp_path).context(*world.proxy.routes)) as liar,
        Proxy(dict.fromkeys(world.proxy.routes, liar.port), keeps=True) as recorder,
    ):
        result = world.run(HTTPS_PROXY=recorder.url)
        assert result.code == 1
        assert b"certificate" in result.out, result
        assert liar.requests == []
        world.assert_no_canary(bytes(recorder.heard or b""))


@each_flow
@pytest.mark.parametrize("status", [b"302 Found", b"407 Proxy Authentication Required", b"200 OK"])
def test_a_proxy_that_does_not_lead_on(world: World, flow: str, status: bytes) -> None:
    """It answers a CONNECT with a place, with a question, or with a page in clear: it is told nothing more."""
    where = f"https://{STRANGER}/x".encode()
    lines = (b"HTTP/1.1 " + status, b"Location: " + where, b'Proxy-Authenticate: Basic realm="x"')
    head = b"\r\n".join((*lines, b"Content-Length: 2", b"", b"{}"))
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(2)
                    try:
                        while more := connection.recv(65536):
                            if not heard:
                                connection.sendall(head)
                            heard.extend(more)
                    except OSError:
                        continue

        threading.Thread(target=answer, daemon=True).start()
        assert world.run(HTTPS_PROXY=f"http://127.0.0.1:{server.getsockname()[1]}").code == 1
    assert heard.startswith(b"CONNECT ")
    world.assert_no_canary(bytes(heard))
    world.assert_nothing_was_heard()


# --- names ------------------------------------------------------------------------------------------------------------


@each_step
@pytest.mark.parametrize("liar", ["trusted for another name", "not trusted", "in clear"])
def test_a_name_that_leads_to_the_stranger(world: World, flow: str, step: int, liar: str, tmp_path: Path) -> None:
    """As a resolver that lies has it: from this step on each name is his; his certificate is not that of the name."""
    other = CertificateAuthority(tmp_path)
    contexts = {
        "trusted for another name": world.authority.context(STRANGER),
        "not trusted": other.context(*world.proxy.routes),
        "in clear": None,
    }
    with Site(world.honest, contexts[liar]) as site:
        lied = dict.fromkeys(world.proxy.routes, site.port)

        def lie(request: Request, honest: Callable[[Request], Response]) -> Response:
            """The answer before, and no connection is kept over which the next request could go."""
            world.proxy.routes = lied
            answer = honest(request)
            return Response(answer.status, answer.body, {"Connection": "close"} | answer.headers)

        if step:
            world.tricks[step - 1] = lie
        else:
            world.proxy.routes = lied
        result = world.run()
        if len(world.front.requests) < STEPS[flow]:  # else all went over a connection of before
            assert result.code == 1
        assert site.requests == []
        world.assert_nothing_was_heard(but_the_handshake=True)
