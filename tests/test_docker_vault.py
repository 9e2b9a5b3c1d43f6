"""docker's engine, a registry, a Vault server, and the helper between them: all real, as installed."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.tls import Proxy, Response, Site
from tests.harness import call, environment, need, patience
from tests.services import Audit, Engine, Registry, layer
from tests.test_clients import APART
from tests.test_docker import CLIENTS, NO_LOGIN, User

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority, Request
    from tests.services import Vault

pytestmark = pytest.mark.slow

HOST = "registry.example:5000"
IMAGE = f"{HOST}/team/app:1"
PASSWORD = "made-up pass'word\"\\"
MOUNT = "docker-kv"
SECRET = f"{MOUNT}/data/registries/registry.example"


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """What leads to the registry."""
    with Proxy({}) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def engine(authority: CertificateAuthority, proxy: Proxy) -> Iterator[Engine]:
    """The engine that all tests here share; each leaves it without images."""
    with Engine(proxy.url, authority) as engine:
        yield engine


@pytest.fixture(scope="module")
def shared(authority: CertificateAuthority, proxy: Proxy) -> Iterator[Registry]:
    """A registry whose one user is alice."""
    with Registry(authority, HOST.partition(":")[0], user="alice", password=PASSWORD) as registry:
        proxy.routes[HOST.partition(":")[0]] = registry.port
        yield registry


@pytest.fixture
def registry(shared: Registry) -> Registry:
    """The registry with the password of the beginning."""
    shared.change("alice", PASSWORD)
    return shared


@pytest.fixture(scope="module")
def login(vault: Vault) -> Iterator[dict[str, str]]:
    """The variables of a role that may read and write below the configured path in a KV of version 2."""
    vault.call("POST", f"sys/mounts/{MOUNT}", {"type": "kv", "options": {"version": "2"}})
    vault.policy("docker", f"{MOUNT}/data/registries/* create,read,update,delete", f"{MOUNT}/metadata/* list,read")
    vault.call("POST", "sys/auth/docker-approle", {"type": "approle"})
    role = "auth/docker-approle/role/docker"
    vault.call("POST", role, {"token_policies": ["docker"], "token_ttl": "1h"})
    secret_id = vault.call("POST", f"{role}/secret-id")["data"]["secret_id"]
    role_id = vault.call("GET", f"{role}/role-id")["data"]["role_id"]
    yield {"VAULT_ADDR": vault.address, "VAULT_ROLE_ID": role_id, "VAULT_SECRET_ID": secret_id}
    vault.call("DELETE", "sys/auth/docker-approle")
    vault.call("DELETE", f"sys/mounts/{MOUNT}")
    vault.call("DELETE", "sys/policies/acl/docker")


@pytest.fixture(autouse=True)
def _empty(vault: Vault, login: dict[str, str]) -> None:
    """Nothing is kept in Vault when a test begins."""
    vault.call("DELETE", SECRET.replace("/data/", "/metadata/"))


def configure(home: Path, *lines: str, match: str = "registry.example:5000") -> None:
    """Write the configuration file."""
    file = home / ".config/credhelpers/config.toml"
    file.parent.mkdir(parents=True)
    common = (f'path = "{MOUNT}/registries/{{host}}"', 'auth = "approle"', 'auth_mount = "docker-approle"')
    file.write_text("\n".join(("[[registry]]", f'match = "{match}"', 'source = "vault"', *common, *lines, "")))


def put(vault: Vault, password: str, user: str = "alice") -> None:
    """Keep a login for the registry in Vault, as another tool of the team does."""
    vault.call("POST", SECRET, {"data": {"username": user, "password": password}})


def client_of(home: Path, engine: Engine, login: dict[str, str], config: dict[str, Any]) -> User:
    """A user who has just made the image `IMAGE`."""
    user = User(need(CLIENTS[0] if CLIENTS else "docker", "docker.io"), engine, home, config, **login)
    user.do("import", "-", IMAGE, stdin=layer())
    return user


@pytest.fixture(params=[{"credsStore": "vault"}, {"credHelpers": {HOST: "vault"}}], ids=["credsStore", "credHelpers"])
def user(
    request: pytest.FixtureRequest, engine: Engine, registry: Registry, login: dict[str, str], home: Path
) -> Iterator[User]:
    """Somebody whose docker asks Vault, named in either way."""
    configure(home, 'write = "all"')
    user = client_of(home, engine, login, request.param)
    yield user
    user.run("rmi", "--force", IMAGE)


def test_login_push_pull_logout(user: User, vault: Vault) -> None:
    """A login lands in Vault and opens the registry, also to somebody else's machine; a logout takes it back."""
    assert NO_LOGIN in user.fail("push", IMAGE)
    assert "Login Succeeded" in user.login()
    assert vault.call("GET", SECRET)["data"]["data"] == {"username": "alice", "password": PASSWORD}
    assert PASSWORD not in json.dumps(user.config)
    user.do("push", IMAGE)
    user.do("rmi", IMAGE)
    user.do("pull", IMAGE)

    user.do("logout", HOST)
    assert vault.ask("GET", SECRET)[0] == 404
    assert user.helper("vault", "get", HOST).is_absent
    user.do("rmi", IMAGE)
    assert NO_LOGIN in user.fail("pull", IMAGE)


def test_what_a_colleague_has_put_there(user: User, vault: Vault) -> None:
    """A secret that another tool wrote opens the registry without any login, and `list` names it."""
    put(vault, PASSWORD)
    user.do("push", IMAGE)
    assert user.helper("vault", "list").listing == {HOST: "alice"}


def test_a_wrong_password_is_not_kept(user: User, vault: Vault) -> None:
    """A login that the registry refuses leaves in Vault what was there."""
    put(vault, PASSWORD)
    user.fail("login", "--username", "alice", "--password-stdin", HOST, stdin=b"wrong")
    assert vault.call("GET", SECRET)["data"]["metadata"]["version"] == 1
    user.do("push", IMAGE)


def test_docker_shows_what_mends_it(user: User, vault: Vault) -> None:
    """Where Vault refuses, the push fails and docker passes on the hint, which names the path and the capability."""
    vault.policy("docker", f"{MOUNT}/data/registries/* create")
    try:
        said = user.fail("push", IMAGE)
    finally:
        vault.policy("docker", f"{MOUNT}/data/registries/* create,read,update,delete", f"{MOUNT}/metadata/* list,read")
    assert '"read"' in said
    assert SECRET in said


@pytest.fixture
def quick(engine: Engine, registry: Registry, login: dict[str, str], home: Path) -> Iterator[User]:
    """Somebody whose answers are kept for two seconds, and who has pushed the image."""
    configure(home, 'keep = "2s"')
    user = client_of(home, engine, login, {"credsStore": "vault"})
    yield user
    user.run("rmi", "--force", IMAGE)


def test_rotations_in_a_run_of_pulls(quick: User, vault: Vault, registry: Registry) -> None:
    """The password changes in Vault and at the registry: two seconds later no pull fails, whatever was kept."""
    put(vault, PASSWORD)
    quick.do("push", IMAGE)
    for number in range(4):
        password = f"made-up-{number}"
        put(vault, password)
        registry.change("alice", password)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            quick.helper("vault", "get", HOST)  # keeps the answer fresh, so that only its life bounds it
        for _ in range(2):
            quick.do("rmi", IMAGE)
            quick.do("pull", IMAGE)
        assert quick.helper("vault", "get", HOST).credential["Secret"] == password


def test_nobody_waits_for_a_renewal(home: Path, vault: Vault, login: dict[str, str]) -> None:
    """An ageing answer is given at once, while a process that nobody waits for asks a slow Vault for the next one."""
    configure(home, 'keep = "4s"')
    put(vault, PASSWORD)
    with Site(slowly(vault, 0.5)) as slow:
        env = environment(home, **login | {"VAULT_ADDR": f"http://127.0.0.1:{slow.port}"})
        assert call("vault", "get", HOST, env).credential["Secret"] == PASSWORD  # cold: it has to wait
        put(vault, "made-up-2")
        seen = len(slow.requests)
        times = []
        end = time.monotonic() + 7  # nearly two lives
        while time.monotonic() < end:
            start = time.monotonic()
            answer = call("vault", "get", HOST, env).credential["Secret"]
            times.append(time.monotonic() - start)
            time.sleep(0.05)  # leaves the machine to the renewal
    assert answer == "made-up-2"
    assert len(slow.requests) >= seen + 2
    assert max(times) < patience(0.5)


def slowly(vault: Vault, seconds: float) -> Any:
    """Answers of Vault, each so much later."""

    def respond(request: Request) -> Response:
        time.sleep(seconds)
        body = json.loads(request.body) if request.body else None
        token = request.headers.get("x-vault-token", "")
        status, answer = vault.ask(request.method, request.path.removeprefix("/v1/"), body, token=token)
        return Response(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    return respond


def test_skopeo_and_podman(home: Path, vault: Vault, user: User, proxy: Proxy, authority: CertificateAuthority) -> None:
    """The clients that are not docker read the same secret; podman's login writes it, and its logout takes it back."""
    put(vault, PASSWORD)
    user.do("push", IMAGE)
    file = home / "auth.json"
    file.write_text(json.dumps({"credHelpers": {HOST: "vault"}}))
    env = user.env | {"REGISTRY_AUTH_FILE": str(file), "HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(authority.pem)}

    def do(command: str, *arguments: str, stdin: str = "") -> None:
        whole = [*APART, need(command, command), *arguments]
        done = subprocess.run(whole, input=stdin, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done

    do("skopeo", "inspect", f"docker://{IMAGE}")
    do("podman", "logout", HOST)
    assert vault.ask("GET", SECRET)[0] == 404
    do("podman", "login", "--username", "alice", "--password-stdin", HOST, stdin=PASSWORD)
    assert vault.call("GET", SECRET)["data"]["data"] == {"username": "alice", "password": PASSWORD}
    do("skopeo", "inspect", f"docker://{IMAGE}")


@pytest.fixture
def audit(vault: Vault, tmp_path: Path) -> Iterator[Audit]:
    """What Vault is asked in this test."""
    with Audit(vault, tmp_path / "docker.log") as audit:
        yield audit


def test_fifty_registries(home: Path, vault: Vault, login: dict[str, str], audit: Audit) -> None:
    """Fifty registries, a dozen at once, cost one login and a read each; `benchmarks/run.py` has all at once."""
    configure(home, match="*.acme.example")
    env = environment(home, **login)
    hosts = [f"r{number}.acme.example" for number in range(50)]
    for host in hosts:
        vault.call("POST", f"{MOUNT}/data/registries/{host}", {"data": {"username": host, "password": "made-up"}})
    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(lambda host: call("vault", "get", host, env), hosts))
    assert [result.credential["Username"] for result in results] == hosts
    assert audit.count("update", "auth/docker-approle/login") == 1
    assert audit.count("read", f"{MOUNT}/data/registries/r") == 50


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("registry.example", id="another port"),
        pytest.param("registry.example:5000.attacker.example", id="a port that goes on"),
        pytest.param("registry.example.attacker.example:5000", id="a longer name"),
        pytest.param("attacker.example:5000/registry.example:5000", id="the name as a path"),
        pytest.param("registry.example:5000@attacker.example", id="the name as a user"),
        pytest.param("..:5000", id="a name that climbs"),
    ],
)
def test_a_look_alike_gets_nothing(server: str, home: Path, vault: Vault, login: dict[str, str], audit: Audit) -> None:
    """A server that is not the configured one gets no secret, and Vault is not even asked."""
    configure(home)
    put(vault, PASSWORD)
    result = call("vault", "get", server, environment(home, **login))
    assert result.code == 1
    assert PASSWORD.encode() not in result.out + result.err
    assert audit.count("update", "auth/docker-approle/login") == 0
    assert audit.count("read", MOUNT) == 0
