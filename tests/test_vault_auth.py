"""docker-credential-vault logs in: each method at a real server, clouds at their true host names."""

from __future__ import annotations

import base64
import itertools
import json
import re
import socketserver
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from credhelpers.sources._vault import SETTINGS
from credhelpers.vault import login as logins
from tests.fakes import google
from tests.fakes.azure import CLIENT, ENTRA_TOKEN, FakeAzure
from tests.fakes.tls import Request, Response, Site
from tests.harness import BIN, NOWHERE, Result, document, environment
from tests.harness import loaded_call as call
from tests.services import Vault, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

HOST = "harbor.acme.example"
PASSWORD = "made-up-robot-password"
SECRETS = ("made-up", "hvs.", "hvb.", "s3cret")
_numbers = itertools.count()


class Place:
    """What the tests share at one server: a KV engine, a policy that reads it, and the log of every request."""

    def __init__(self, vault: Vault, log: Path) -> None:
        self.vault = vault
        self.log = log
        self.kv = f"authkv{next(_numbers)}"
        vault.call("POST", f"sys/mounts/{self.kv}", {"type": "kv", "options": {"version": "2"}})
        for host in (HOST, *(f"r{number}.acme.example" for number in range(20))):
            self.put(host)
        vault.policy(self.kv, f"{self.kv}/data/* read", f"sys/internal/ui/mounts/{self.kv}/* read")
        vault.call("POST", f"sys/audit/{self.kv}", {"type": "file", "options": {"file_path": str(log)}})

    def put(self, host: str) -> None:
        body = {"data": {"username": "robot", "password": PASSWORD}}
        until(lambda: self.vault.ask("POST", f"{self.kv}/data/registries/{host}", body)[0] == 200, "kv")

    def mount(self, kind: str) -> str:
        """An auth method of this kind, at a path of its own."""
        name = f"{kind}-{next(_numbers)}"
        self.vault.call("POST", f"sys/auth/{name}", {"type": kind})
        return name

    def count(self, path: str) -> int:
        """How many requests to the path there were, granted or not."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return sum(line["type"] == "response" and line["request"]["path"] == path for line in lines)

    def close(self) -> None:
        self.vault.call("DELETE", f"sys/audit/{self.kv}")
        self.vault.call("DELETE", f"sys/mounts/{self.kv}")


@pytest.fixture(scope="module")
def place(vault: Vault, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(vault, tmp_path_factory.mktemp("audit") / "log")
    yield made
    made.close()


class User:
    """Who pulls: a home directory with a configuration, and an environment."""

    def __init__(self, home: Path, address: str, kv: str) -> None:
        self.home = home
        self.kv = kv
        self.env = environment(home, VAULT_ADDR=address)
        (home / ".config/credhelpers").mkdir(parents=True)

    def configure(self, method: str, mount: str = "", **settings: object) -> None:
        told = {"match": "*.acme.example", "source": "vault", "path": f"{self.kv}/registries/{{host}}", "auth": method}
        told |= {"auth_mount": mount} if mount else {}
        lines = [f"{key} = {json.dumps(value)}" for key, value in (told | settings).items()]
        file = self.home / ".config/credhelpers/config.toml"
        file.write_text("\n".join(("[[registry]]", *lines, "")))

    def file(self, name: str, text: str) -> str:
        path = self.home / name
        path.write_text(text)
        return str(path)

    def get(self, host: str = HOST) -> Result:
        return call("vault", "get", host, self.env)

    def pull(self, host: str = HOST) -> None:
        """Get the credential, which must be there."""
        assert self.get(host).credential["Secret"] == PASSWORD

    def get_anew(self, host: str = HOST) -> Result:
        """Get it with the token that is kept, but not from what is kept of the registry."""
        self.forget("vault-")
        return self.get(host)

    def forget(self, kind: str) -> None:
        for file in (self.home / ".cache/credhelpers").glob(f"{kind}*"):
            file.unlink()


@pytest.fixture
def user(place: Place, home: Path) -> User:
    return User(home, place.vault.address, place.kv)


def failure(result: Result, words: str, command: str) -> None:
    """`get` failed with these words on standard output and a hint that names `command`, and quoted nothing."""
    assert result.code == 1, result
    assert re.fullmatch(rf"[^\n]*({words})[^\n]*\n", result.out.decode()), result
    assert result.told
    assert re.search(rf"; .*{re.escape(command)}.* \[", result.err.decode()), result
    assert not any(secret.encode() in result.out + result.err for secret in SECRETS), result


class Role:
    """A role of AppRole."""

    def __init__(self, place: Place, **options: object) -> None:
        self.place = place
        self.mount = place.mount("approle")
        self.path = f"auth/{self.mount}/role/puller"
        place.vault.call("POST", self.path, {"token_policies": [place.kv], "token_ttl": "1h"} | options)
        self.id = place.vault.call("GET", f"{self.path}/role-id")["data"]["role_id"]

    def secret_id(self, **options: object) -> str:
        return str(self.place.vault.call("POST", f"{self.path}/secret-id", options)["data"]["secret_id"])

    def wrapped(self, path: str = "", body: object = None) -> str:
        """A wrapping token with what this path answers, by default a secret id."""
        request = urllib.request.Request(
            f"{self.place.vault.address}/v1/{path or self.path + '/secret-id'}",
            json.dumps(body or {}).encode(),
            {"X-Vault-Token": self.place.vault.token, "X-Vault-Wrap-TTL": "300s"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["wrap_info"]["token"])

    @property
    def logins(self) -> int:
        return self.place.count(f"auth/{self.mount}/login")

    def accessors(self) -> list[str]:
        """Of all living tokens that this role has given."""
        vault = self.place.vault
        found = []
        for accessor in vault.call("LIST", "auth/token/accessors")["data"]["keys"]:
            status, answer = vault.ask("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            if status == 200 and answer["data"]["path"] == f"auth/{self.mount}/login":
                found.append(accessor)
        return found


# --- AppRole ----------------------------------------------------------------------------------------------------------


def test_approle(place: Place, user: User) -> None:
    """Role id and secret id log in once for all registries, and the token is kept."""
    role = Role(place)
    user.configure("approle", role.mount, role_id=role.id, secret_id_file=user.file("id", role.secret_id() + "\n"))

    user.pull()
    user.pull("r1.acme.example")
    assert role.logins == 1


def test_approle_by_the_environment(place: Place, user: User) -> None:
    """The variables do, and those of OpenBao come first."""
    role = Role(place)
    user.configure("approle", role.mount)
    user.env |= {"VAULT_ROLE_ID": "another", "BAO_ROLE_ID": role.id, "VAULT_SECRET_ID": role.secret_id()}

    user.pull()


def test_a_role_without_a_secret_id(place: Place, user: User) -> None:
    """A role that binds none needs none."""
    role = Role(place, bind_secret_id=False, token_bound_cidrs=["127.0.0.1/32"])
    user.configure("approle", role.mount, role_id_file=user.file("role", role.id))

    user.pull()


def test_a_secret_id_file_is_removed_after_a_login(place: Place, user: User) -> None:
    """And not before: a login that fails leaves it."""
    role = Role(place)
    path = user.file("id", "wrong")
    user.configure("approle", role.mount, role_id=role.id, secret_id_file=path, remove_secret_id_file=True)

    failure(user.get(), "secret id is wrong", f"vault read auth/{role.mount}/role/NAME")
    assert (user.home / "id").exists()
    user.forget("vault")
    user.file("id", role.secret_id())
    user.pull()
    assert not (user.home / "id").exists()
    assert user.get_anew().credential, "the token is kept"
    user.forget("vault")
    failure(user.get(), "file of the secret id does not exist", "ls -l")


@pytest.mark.parametrize(
    ("env", "options"),
    [
        pytest.param({"CREDHELPERS_CACHE_DIR": ""}, {}, id="no-cache"),
        pytest.param({"DCVL_DISABLE_CACHE": "1"}, {}, id="no-cache-for-vault"),
        pytest.param({"CREDHELPERS_CACHE_DIR": "/proc/self"}, {}, id="a-directory-that-keeps-nothing"),
        pytest.param({}, {"token_num_uses": 5}, id="a-token-for-one-process"),
    ],
)
def test_a_secret_id_file_stays_where_its_token_does_not(
    place: Place, user: User, env: dict[str, str], options: dict[str, int]
) -> None:
    """Whoever calls next must log in, and can do so with nothing but the file."""
    role = Role(place, **options)
    path = user.file("id", role.secret_id())
    user.configure("approle", role.mount, role_id=role.id, secret_id_file=path, remove_secret_id_file=True)
    user.env |= env

    user.pull("r1.acme.example")
    user.pull("r2.acme.example")
    assert (user.home / "id").exists()
    assert role.logins == 2


def test_a_process_that_is_killed_when_the_file_is_gone(place: Place, user: User) -> None:
    """The token was kept before: else nobody could log in any more."""
    role = Role(place)
    told = user.file("id", role.secret_id(num_uses=1))
    user.configure("approle", role.mount, role_id=role.id, secret_id_file=told, remove_secret_id_file=True)
    path = user.home / "id"
    command = [str(BIN / "docker-credential-vault"), "get"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=user.env, stdout=subprocess.DEVNULL) as child:
        assert child.stdin
        child.stdin.write(HOST.encode())
        child.stdin.close()
        while path.exists() and child.poll() is None:
            pass  # the very next moment is what counts
        child.kill()

    user.pull()
    assert role.logins == 1


def test_a_secret_id_file_that_cannot_be_removed(login: Login, guest: User) -> None:
    """It is an error: somebody relies on it."""
    guest.configure("approle", role_id="x", secret_id_file="/proc/self/comm", remove_secret_id_file=True)

    failure(guest.get(), "cannot be removed after a login", "ls -ld")


def test_a_wrapped_secret_id(place: Place, user: User) -> None:
    """It is looked up, unwrapped and used; and the token of it serves once."""
    role = Role(place)
    path = user.file("id", role.wrapped())
    user.configure("approle", role.mount, role_id=role.id, secret_id_file=path, secret_id_path=f"{role.path}/secret-id")

    user.pull()
    user.forget("vault")
    failure(user.get(), "wrapping token was used already", "vault audit list")
    assert role.logins == 1


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("sys/wrapping/wrap", id="wrapped-anew-by-who-took-it"),
        pytest.param("other-role", id="of-another-role"),
        pytest.param("accessor", id="below-the-right-path"),
    ],
)
def test_a_secret_id_that_was_wrapped_elsewhere(place: Place, user: User, where: str) -> None:
    """It is not even unwrapped, since somebody may have taken the true one."""
    role = Role(place)
    path = f"{role.path}/secret-id"
    made = path
    if where == "other-role":
        made = f"auth/{role.mount}/role/thief/secret-id"
        place.vault.call("POST", made.removesuffix("/secret-id"), {"token_policies": [place.kv]})
    elif where == "accessor":
        path, made = path.removesuffix("-id"), path
    else:
        made = where
    token = role.wrapped(made, {"secret_id": role.secret_id()} if where.startswith("sys") else None)
    user.configure("approle", role.mount, role_id=role.id, secret_id_path=path)
    user.env["VAULT_SECRET_ID"] = token

    failure(user.get(), "somebody may have tampered", "vault audit list")
    assert role.logins == 0
    assert place.vault.call("POST", "sys/wrapping/lookup", {"token": token})["data"]["creation_path"] == made


def test_a_wrapped_something_else(place: Place, user: User) -> None:
    """What `secret_id_path` says can be the path of something that is no secret id."""
    role = Role(place)
    user.configure("approle", role.mount, role_id=role.id, secret_id_path="sys/wrapping/wrap")
    user.env["VAULT_SECRET_ID"] = role.wrapped("sys/wrapping/wrap", {"answer": "42"})

    failure(user.get(), "wrapped is no secret id", "vault path-help")


@pytest.mark.parametrize(
    ("settings", "env", "words", "command"),
    [
        pytest.param(
            {"role_id": "nobody"}, {"VAULT_SECRET_ID": "x"}, "no role with this role id", "vault list auth/", id="role"
        ),
        pytest.param({}, {"VAULT_SECRET_ID": "made-up"}, "secret id is wrong", "vault read auth/", id="secret"),
        pytest.param({}, {"VAULT_SECRET_ID": "used"}, "used up", "vault read auth/", id="used-up"),
        pytest.param({}, {}, "wants a secret id", "bind_secret_id", id="no-secret"),
        pytest.param(
            {"secret_id_path": "a/b"}, {}, "no secret id's wrapping token", "VAULT_SECRET_ID", id="nothing-wrapped"
        ),
        pytest.param(
            {"secret_id_path": "a/b"},
            {"VAULT_SECRET_ID": "hvs.made-up"},
            "used already",
            "vault audit list",
            id="no-wrapping-token",
        ),
        pytest.param(
            {"auth_mount": "nowhere"}, {"VAULT_SECRET_ID": "x"}, "is not mounted", "vault auth list", id="not-mounted"
        ),
        pytest.param({"secret_id_file": NOWHERE}, {}, "does not exist", "ls -l", id="no-file"),
        pytest.param({"secret_id_file": "/etc"}, {}, "cannot be read", "ls -l", id="directory"),
        pytest.param({"secret_id_file": "/dev/null"}, {}, "empty or not one line", "wc", id="empty"),
        pytest.param({"secret_id_file": "/dev/zero"}, {}, "empty or not one line", "wc", id="endless"),
        pytest.param({"secret_id_file": "/etc/services"}, {}, "empty or not one line", "wc", id="many-lines"),
        pytest.param(
            {}, {"VAULT_SECRET_ID": "made-up\nline"}, "VAULT_SECRET_ID is not one line", "set it again", id="lines"
        ),
        pytest.param(
            {}, {"VAULT_SECRET_ID": "made-up\udcff"}, "VAULT_SECRET_ID is not one line", "set it again", id="not-utf-8"
        ),
    ],
)
def test_approle_refused(
    place: Place, user: User, settings: dict[str, str], env: dict[str, str], words: str, command: str
) -> None:
    """Each cause has its sentence, and no secret is in it."""
    role = Role(place)
    if env.get("VAULT_SECRET_ID") == "used":
        secret = role.secret_id(num_uses=1)
        place.vault.call("POST", f"auth/{role.mount}/login", {"role_id": role.id, "secret_id": secret})
        env = {"VAULT_SECRET_ID": secret}
    user.configure("approle", role.mount, **({"role_id": role.id} | settings))
    user.env |= env

    failure(user.get(), words, command)


def test_a_login_from_a_wrong_address(place: Place, user: User) -> None:
    """A secret id that is bound to other addresses says so."""
    role = Role(place, secret_id_bound_cidrs=["192.0.2.0/24"])
    user.configure("approle", role.mount, role_id=role.id)
    user.env["VAULT_SECRET_ID"] = role.secret_id()

    failure(user.get(), "other addresses only", "vault read auth/")


# --- JWT and Kubernetes -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def signed(key: ec.EllipticCurvePrivateKey, **claims: object) -> str:
    told = {"iss": "ci", "sub": "pipeline", "aud": "vault", "iat": time.time(), "exp": time.time() + 300} | claims
    return jwt.encode({name: value for name, value in told.items() if value is not None}, key, "ES256")


@pytest.fixture
def issuer(place: Place, key: ec.EllipticCurvePrivateKey) -> str:
    """A mount of the JWT method with the role `puller` for `signed`."""
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    mount = place.mount("jwt")
    vault = place.vault
    vault.call("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [public.decode()], "default_role": "puller"})
    role = {"role_type": "jwt", "bound_audiences": ["vault"], "bound_subject": "pipeline", "user_claim": "sub"}
    vault.call(
        "POST",
        f"auth/{mount}/role/puller",
        role | {"token_policies": [place.kv], "clock_skew_leeway": -1, "expiration_leeway": -1},
    )
    return mount


@pytest.mark.parametrize("is_file", [pytest.param(True, id="file"), pytest.param(False, id="variable")])
def test_jwt(user: User, issuer: str, key: ec.EllipticCurvePrivateKey, *, is_file: bool) -> None:
    """A signed token logs in, to the method's default role or to one that is named."""
    if is_file:
        user.configure("jwt", issuer, jwt_file=user.file("jwt", signed(key)), role="puller")
    else:
        user.configure("jwt", issuer)
        user.env["VAULT_JWT"] = signed(key)

    user.pull()


@pytest.mark.parametrize(
    ("claims", "role", "words", "command"),
    [
        pytest.param({"exp": 1000}, "puller", "JWT has expired", "vault read auth/", id="expired"),
        pytest.param({"aud": "others"}, "puller", "does not let this JWT in", "vault read auth/", id="audience"),
        pytest.param({"sub": "other"}, "puller", "does not let this JWT in", "vault read auth/", id="subject"),
        pytest.param({}, "nobody", "no such role", "vault list auth/", id="role"),
        pytest.param(None, "puller", "cannot verify the JWT", "vault read auth/", id="signature"),
        pytest.param({"pad": "x" * 70_000}, "puller", "not one line", "wc", id="too-long"),
    ],
)
def test_jwt_refused(
    user: User,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    claims: dict[str, object] | None,
    role: str,
    words: str,
    command: str,
) -> None:
    """Each cause has its sentence."""
    token = signed(ec.generate_private_key(ec.SECP256R1())) if claims is None else signed(key, **claims)
    user.configure("jwt", issuer, jwt_file=user.file("jwt", token), role=role)

    failure(user.get(), words, command)


def test_a_jwt_that_is_none(user: User, issuer: str) -> None:
    """What is no token at all is refused by Vault, and the sentence does not quote it."""
    user.configure("jwt", issuer, jwt_file=user.file("jwt", "made-up"))

    failure(user.get(), "cannot verify the JWT", "vault read auth/")


@pytest.fixture
def cluster(authority: CertificateAuthority) -> Iterator[tuple[Site, dict[str, Any]]]:
    """A Kubernetes API that reviews tokens, and what it answers."""
    status: dict[str, Any] = {
        "authenticated": True,
        "audiences": ["vault"],
        "user": {"username": "system:serviceaccount:ci:puller", "uid": "1", "groups": ["system:serviceaccounts"]},
    }

    def respond(request: Request) -> Response:
        assert request.path == "/apis/authentication.k8s.io/v1/tokenreviews"
        return Response(201, json.dumps({"status": status}).encode(), {"Content-Type": "application/json"})

    with Site(respond, authority.context("127.0.0.1")) as site:
        yield site, status


@pytest.fixture
def pod(
    place: Place,
    user: User,
    key: ec.EllipticCurvePrivateKey,
    cluster: tuple[Site, dict[str, Any]],
    authority: CertificateAuthority,
) -> str:
    """A mount of the method for that cluster with the role `puller`, and a user with a service account's token."""
    mount = place.mount("kubernetes")
    host = f"https://127.0.0.1:{cluster[0].port}"
    config = {"kubernetes_host": host, "disable_local_ca_jwt": True, "kubernetes_ca_cert": authority.pem.read_text()}
    place.vault.call("POST", f"auth/{mount}/config", config)
    role = {"bound_service_account_names": ["puller"], "bound_service_account_namespaces": ["ci"]}
    place.vault.call("POST", f"auth/{mount}/role/puller", role | {"token_policies": [place.kv]})
    account = {"namespace": "ci", "serviceaccount": {"name": "puller", "uid": "1"}}
    token = signed(key, sub="system:serviceaccount:ci:puller", aud=["vault"], **{"kubernetes.io": account})
    user.configure("kubernetes", mount, role="puller", jwt_file=user.file("token", token))
    return mount


def test_kubernetes(user: User, pod: str, cluster: tuple[Site, dict[str, Any]]) -> None:
    """The token of the pod goes through a review of the cluster."""
    user.pull()
    assert json.loads(cluster[0].requests[0].body)["spec"]["token"] == (user.home / "token").read_text()


def test_kubernetes_refused(place: Place, user: User, pod: str, cluster: tuple[Site, dict[str, Any]]) -> None:
    """A review that fails, a role that there is not, and a machine that is no pod."""
    cluster[1].update(authenticated=False, error="made-up")
    failure(user.get(), "token review failed", f"vault read auth/{pod}/role/puller`")
    user.configure("kubernetes", pod, role="nobody", jwt_file=str(user.home / "token"))
    failure(user.get(), "no such role", f"vault list auth/{pod}/role")
    place.vault.call(
        "POST",
        f"auth/{pod}/role/other",
        {"bound_service_account_names": ["x"], "bound_service_account_namespaces": ["ci"]},
    )
    user.configure("kubernetes", pod, role="other", jwt_file=str(user.home / "token"))
    failure(user.get(), "does not let this service account in", f"vault read auth/{pod}/role/other`")
    user.configure("kubernetes", pod, role="puller")
    failure(user.get(), "file of the service account's token does not exist", "ls -l")


# --- names and passwords ----------------------------------------------------------------------------------------------


def test_userpass(place: Place, user: User) -> None:
    """Name and password, of a file or of the environment."""
    mount = place.mount("userpass")
    place.vault.call("POST", f"auth/{mount}/users/robot", {"password": "s3cret", "token_policies": [place.kv]})
    user.configure("userpass", mount, login_name="robot", password_file=user.file("password", "s3cret\n"))
    user.pull()
    user.configure("userpass", mount)
    user.env |= {"VAULT_USERNAME": "robot", "VAULT_PASSWORD": "s3cret"}
    user.pull()

    user.env["VAULT_PASSWORD"] = "s3cret-no"
    before = place.count(f"auth/{mount}/login/robot")
    failure(user.get(), "does not accept the login name with this password", "vault login")
    assert place.count(f"auth/{mount}/login/robot") == before + 1, "more of them lock the user out"
    user.env["VAULT_PASSWORD"] = ""
    failure(user.get(), "no password to log in", "VAULT_PASSWORD")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("..", id="climbs"),
        pytest.param("../../auth/token/create", id="climbs-elsewhere"),
        pytest.param("a/b", id="adds-a-part"),
        pytest.param("a\nb", id="two-lines"),
        pytest.param("", id="empty"),
    ],
)
def test_a_login_name_is_one_part_of_the_path(place: Place, user: User, name: str) -> None:
    """A name that would send the password elsewhere sends nothing."""
    mount = place.mount("userpass")
    user.configure("userpass", mount)
    user.env |= {"VAULT_USERNAME": name, "VAULT_PASSWORD": "s3cret"}
    before = place.log.read_text()

    failure(user.get(), "name to log in to vault", "VAULT_USERNAME")
    assert place.log.read_text() == before


class Directory(socketserver.ThreadingTCPServer):
    """An LDAP server that knows binds only (RFC 4511, 4.2): one name and one password."""

    daemon_threads = True

    def __init__(self) -> None:
        directory = self
        self.port = 0

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                while content := self.request.recv(4096):
                    number = content[4]
                    is_right = b"cn=robot,ou=ci" in content and content.endswith(b"\x80\x06s3cret")
                    code = 0 if is_right else 49  # invalidCredentials
                    if content[5] == 0x60:  # a bind; all else closes the connection
                        self.request.sendall(bytes((0x30, 12, 2, 1, number, 0x61, 7, 10, 1, code, 4, 0, 4, 0)))
                    else:
                        return

        super().__init__(("127.0.0.1", 0), Handler)
        directory.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def test_ldap(place: Place, user: User) -> None:
    """Vault binds to a directory by name and password, and says who is refused there."""
    mount = place.mount("ldap")
    user.configure("ldap", mount, login_name="robot")
    user.env["VAULT_PASSWORD"] = "s3cret"
    with Directory() as directory:
        config = {"url": f"ldap://127.0.0.1:{directory.port}", "userdn": "ou=ci", "userattr": "cn"}
        place.vault.call("POST", f"auth/{mount}/config", config | {"token_policies": [place.kv]})
        user.pull()
        user.env["VAULT_PASSWORD"] = "s3cret-no"
        failure(user.get(), "gave no token", "vault login -no-print")  # Vault 1.13 answers a failed bind with nothing
    user.env["VAULT_PASSWORD"] = "s3cret"
    user.forget("vault")
    failure(user.get(), "cannot ask its LDAP server", f"vault read auth/{mount}/config")


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def safe(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server behind TLS that asks for client certificates."""
    with Vault(authority, "127.0.0.1", "vault.acme.example") as vault:
        yield Place(vault, tmp_path_factory.mktemp("audit") / "log")


def test_cert(safe: Place, home: Path, authority: CertificateAuthority) -> None:
    """The connection's certificate says who it is; without one, or with another, there is a sentence."""
    mount = safe.mount("cert")
    role = {
        "certificate": authority.pem.read_text(),
        "allowed_common_names": [],
        "allowed_dns_sans": ["ci.acme.example"],
    }
    safe.vault.call("POST", f"auth/{mount}/certs/puller", role | {"token_policies": [safe.kv]})
    user = User(home, safe.vault.address, safe.kv)
    user.env["VAULT_CACERT"] = str(authority.pem)

    user.configure("cert", mount)
    failure(user.get(), "saw no client certificate", "VAULT_CLIENT_CERT")
    certificate, key = authority.files("ci.acme.example", common_name="ci")
    files = {"certificate_file": str(certificate), "key_file": str(key)}
    user.configure("cert", mount, role="puller", **files)
    user.pull()
    user.configure("cert", mount, role="nobody", **files)
    failure(user.get(), "lets no role in", f"vault list auth/{mount}/certs")
    other, other_key = authority.files("other.acme.example", common_name="other")
    user.configure("cert", mount, role="puller", certificate_file=str(other), key_file=str(other_key))
    failure(user.get(), "lets no role in", f"vault list auth/{mount}/certs")


# --- AWS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's server, which is STS here."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as output:
        command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", "0"]
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield until(lambda: re.findall(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text()), "moto")[0]
    finally:
        server.terminate()
        server.wait(20)


AWS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "made-up", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def iam(place: Place, user: User, moto: str) -> str:
    """A mount of the AWS method that asks moto, with the role `puller` for moto's only identity."""
    mount = place.mount("aws")
    vault = place.vault
    client = {"sts_endpoint": moto, "sts_region": "eu-west-1", "iam_endpoint": moto}
    vault.call("POST", f"auth/{mount}/config/client", client | {"iam_server_id_header_value": "vault.acme.example"})
    role: dict[str, object] = {"auth_type": "iam", "bound_iam_principal_arn": ["arn:aws:iam::123456789012:user/moto"]}
    role |= {"resolve_aws_unique_ids": False, "token_policies": [place.kv]}
    vault.call("POST", f"auth/{mount}/role/puller", role)
    user.env |= AWS | {"AWS_ENDPOINT_URL_STS": moto}
    return mount


def test_aws(user: User, iam: str) -> None:
    """A signed request for the caller's identity logs in, once Vault has sent it to STS."""
    user.configure("aws", iam, role="puller", sts_region="eu-west-1", server_id="vault.acme.example")

    user.pull()


@pytest.mark.parametrize(
    ("settings", "words", "command"),
    [
        pytest.param({"server_id": "other"}, "another server id", "vault read auth/", id="server-id"),
        pytest.param({}, "another server id", "vault read auth/", id="no-server-id"),
        pytest.param(
            {"role": "nobody", "server_id": "vault.acme.example"}, "no such role", "vault list auth/", id="role"
        ),
        pytest.param(
            {"role": "other", "server_id": "vault.acme.example"},
            "does not let this AWS identity in",
            "aws sts get-caller-identity",
            id="principal",
        ),
        pytest.param(
            {"profile": "nobody"}, "AWS profile that is set is in neither", "aws configure list-profiles", id="profile"
        ),
        pytest.param({"sts_region": "xx-nowhere-1"}, "does not know the region", "sts_region", id="region"),
    ],
)
def test_aws_refused(place: Place, user: User, iam: str, settings: dict[str, str], words: str, command: str) -> None:
    """Each cause has its sentence."""
    other = {"auth_type": "iam", "bound_iam_principal_arn": ["arn:aws:iam::999999999999:role/x"]}
    place.vault.call("POST", f"auth/{iam}/role/other", other | {"resolve_aws_unique_ids": False})
    user.configure("aws", iam, **({"role": "puller", "sts_region": "eu-west-1"} | settings))

    failure(user.get(), words, command)


def test_aws_without_credentials(user: User, iam: str) -> None:
    """A machine without any is told so."""
    user.configure("aws", iam, role="puller", sts_region="eu-west-1")
    del user.env["AWS_ACCESS_KEY_ID"], user.env["AWS_SECRET_ACCESS_KEY"]

    failure(user.get(), "no AWS credentials found", "aws configure")


def test_an_endpoint_of_sts_that_is_not_safe(user: User, iam: str) -> None:
    """No request is signed for an endpoint in clear."""
    user.configure("aws", iam, role="puller", sts_region="eu-west-1")
    user.env["AWS_ENDPOINT_URL_STS"] = "http://sts.acme.example"

    failure(user.get(), "endpoint that is set is not https", "printenv")


class Login:
    """A Vault of the tests' own that keeps what logs in, for what no real one here can verify."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.auth: dict[str, Any] = {"lease_duration": 3600, "renewable": True}
        self.renewal = Response(500)
        self.denials = 0  # of reads that are still to come
        self.next: list[Response] = []
        self.site = Site(self._respond)
        self.address = f"http://127.0.0.1:{self.site.port}"

    @property
    def paths(self) -> list[str]:
        """Of all logins and renewals."""
        return [path for path, _ in self.bodies]

    def _respond(self, request: Request) -> Response:
        path = request.path.removeprefix("/v1/")
        if path.startswith("sys/internal/ui/mounts/"):
            return _json({"data": {"type": "kv", "path": "kv/", "options": {"version": "2"}}})
        if path.startswith("kv/data/"):
            if self.denials:
                self.denials -= 1
                return _json({"errors": ["permission denied"]}, 403)
            data = {"username": "robot", "password": PASSWORD}
            return _json({"data": {"data": data, "metadata": {"version": 1, "custom_metadata": None}}})
        self.bodies.append((path, json.loads(request.body)))
        if path == "auth/token/renew-self":
            return self.renewal
        if self.next:
            return self.next.pop(0)
        return _json({"auth": self.auth | {"client_token": f"hvs.made-up-{len(self.bodies)}"}})


def _json(body: object, status: int = 200) -> Response:
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def login() -> Iterator[Login]:
    made = Login()
    with made.site:
        yield made


@pytest.fixture
def guest(login: Login, home: Path) -> User:
    """A user of that Vault."""
    return User(home, login.address, "kv")


@pytest.mark.parametrize(
    ("settings", "env", "url", "region"),
    [
        pytest.param({}, {}, "https://sts.amazonaws.com/", "us-east-1", id="as-vault-has-it-untold"),
        pytest.param(
            {}, {"AWS_REGION": "eu-west-1"}, "https://sts.eu-west-1.amazonaws.com/", "eu-west-1", id="variable"
        ),
        pytest.param(
            {"sts_region": "cn-north-1"},
            {"AWS_REGION": "eu-west-1"},
            "https://sts.cn-north-1.amazonaws.com.cn/",
            "cn-north-1",
            id="china",
        ),
        pytest.param(
            {"sts_region": "us-gov-west-1"}, {}, "https://sts.us-gov-west-1.amazonaws.com/", "us-gov-west-1", id="gov"
        ),
        pytest.param(
            {"sts_region": "us-iso-east-1"}, {}, "https://sts.us-iso-east-1.c2s.ic.gov/", "us-iso-east-1", id="iso"
        ),
        pytest.param(
            {},
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_REGION": "us-west-2"},
            "https://sts-fips.us-west-2.amazonaws.com/",
            "us-west-2",
            id="fips",
        ),
        pytest.param(
            {},
            {"AWS_ENDPOINT_URL_STS": "https://vpce.acme.example"},
            "https://vpce.acme.example/",
            "us-east-1",
            id="endpoint",
        ),
    ],
)
def test_what_is_signed(
    login: Login, guest: User, settings: dict[str, str], env: dict[str, str], url: str, region: str
) -> None:
    """The endpoint is the region's own in its partition, and the header is part of what is signed."""
    guest.configure("aws", role="puller", server_id="vault.acme.example", **settings)
    guest.env |= AWS | env

    guest.pull()
    ((path, body),) = login.bodies
    assert path == "auth/aws/login"
    assert body["iam_http_request_method"] == "POST"
    assert base64.b64decode(body["iam_request_url"]).decode() == url
    assert base64.b64decode(body["iam_request_body"]) == b"Action=GetCallerIdentity&Version=2011-06-15"
    headers = json.loads(base64.b64decode(body["iam_request_headers"]))
    assert headers["X-Vault-AWS-IAM-Server-ID"] == ["vault.acme.example"]
    (authorization,) = headers["Authorization"]
    assert f"/{region}/sts/aws4_request" in authorization
    assert "x-vault-aws-iam-server-id" in authorization
    assert "host" in authorization


# --- Google Cloud and Azure -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_variable", [pytest.param(False, id="setting"), pytest.param(True, id="variable")])
def test_gcp_by_a_key(login: Login, guest: User, *, is_variable: bool) -> None:
    """A service account's key signs who it is, for this role and some minutes, and nobody else is asked."""
    path = google.write(guest.home / "key.json", google.service_account())
    guest.configure("gcp", role="puller", **({} if is_variable else {"credentials_file": path}))
    guest.env |= {"GOOGLE_APPLICATION_CREDENTIALS": path} if is_variable else {}

    guest.pull()
    ((where, body),) = login.bodies
    assert (where, body["role"]) == ("auth/gcp/login", "puller")
    claims = jwt.decode(body["jwt"], google.key().public_key(), ["RS256"], audience="vault/puller")
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (google.ACCOUNT, 300)
    assert jwt.get_unverified_header(body["jwt"])["kid"] == "made-up-key-id"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        pytest.param(google.user(), "not the key of a service account", id="user"),
        pytest.param(google.service_account(private_key="made-up"), "incomplete or damaged", id="damaged"),
        pytest.param("made-up", "not JSON", id="not-json"),
    ],
)
def test_a_key_that_is_none(guest: User, login: Login, info: object, words: str) -> None:
    """It is refused here, and nothing of it is said."""
    guest.configure("gcp", role="puller", credentials_file=google.write(guest.home / "key.json", info))

    failure(guest.get(), words, "gcloud")
    assert login.bodies == []


def test_gcp_by_the_machine(login: Login, guest: User) -> None:
    """The metadata server vouches for the machine, whole."""
    queries = []

    def respond(request: Request) -> Response:
        parts = urlsplit(request.path)
        queries.append((parts.path, parse_qs(parts.query), request.headers.get("metadata-flavor")))
        return Response(200, b"made-up.machine.token", {"Metadata-Flavor": "Google"})

    guest.configure("gcp", role="puller")
    with Site(respond) as site:
        guest.env["GCE_METADATA_HOST"] = f"127.0.0.1:{site.port}"
        guest.pull()
    path = "/computeMetadata/v1/instance/service-accounts/default/identity"
    assert queries == [(path, {"audience": ["vault/puller"], "format": ["full"]}, "Google")]
    assert login.bodies == [("auth/gcp/login", {"role": "puller", "jwt": "made-up.machine.token"})]


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(Response(404, b"", {"Metadata-Flavor": "Google"}), id="no-account"),
        pytest.param(Response(200, b"<html>made-up</html>", {"Metadata-Flavor": "Google"}), id="no-token"),
        pytest.param(Response(200, b"made-up.machine.token"), id="not-google"),
    ],
)
def test_gcp_without_an_identity(login: Login, guest: User, response: Response) -> None:
    """Whatever else answers, nothing of it reaches Vault."""
    guest.configure("gcp", role="puller")
    with Site(lambda _: response) as site:
        guest.env["GCE_METADATA_HOST"] = f"127.0.0.1:{site.port}"
        failure(guest.get(), "metadata server", "")
    assert login.bodies == []


def _machine(request: Request) -> Response:
    assert request.headers["metadata"] == "true"
    compute = {"subscriptionId": "sub", "resourceGroupName": "group", "name": "builder", "vmScaleSetName": ""}
    return _json({"compute": compute})


def test_azure_by_the_machine(login: Login, guest: User, authority: CertificateAuthority) -> None:
    """The managed identity's token for the resource, and which machine it is."""
    with FakeAzure(authority) as azure:
        azure.answers["127.0.0.1", "/metadata/instance"] = _machine
        guest.env |= azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds)
        guest.configure("azure", role="puller", client_id=CLIENT)
        guest.pull()
        ((path, body),) = login.bodies
        assert path == "auth/azure/login"
        assert azure.tokens[body.pop("jwt")] == "https://management.azure.com/"
        machine = {"subscription_id": "sub", "resource_group_name": "group", "vm_name": "builder"}
        assert body == {"role": "puller"} | machine
        azure.answers["127.0.0.1", "/metadata/instance"] = Response(404)
        guest.configure("azure", role="puller", resource="api://vault")
        guest.pull()
        assert azure.tokens[login.bodies[1][1]["jwt"]] == "api://vault"
        assert login.bodies[1][1].keys() == {"role", "jwt"}


def test_azure_by_an_application(login: Login, guest: User, authority: CertificateAuthority) -> None:
    """A client secret of the environment, exchanged at the login service; no machine is asked."""
    with FakeAzure(authority) as azure:
        guest.env |= azure.principal()
        guest.configure("azure", role="puller")
        guest.pull()
        ((_, body),) = login.bodies
        assert body["jwt"].startswith(ENTRA_TOKEN)
        assert body.keys() == {"role", "jwt"}
        assert azure.metadata.requests == []
        guest.forget("vault")
        guest.env["AZURE_CLIENT_SECRET"] = "made-up-other"
        failure(guest.get(), "client secret is wrong", "AZURE_CLIENT_SECRET")


def test_azure_without_an_identity(login: Login, guest: User, authority: CertificateAuthority) -> None:
    """A machine outside of Azure is told so."""
    with FakeAzure(authority) as azure:
        guest.env |= azure.environment()
        guest.configure("azure", role="puller")
        failure(guest.get(), "no metadata service of Azure", "another `credential`")
    assert login.bodies == []


# --- what a login gives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words", "command"),
    [
        pytest.param(
            {"auth": {"client_token": "", "mfa_requirement": {"mfa_request_id": "made-up"}}},
            "second factor",
            "vault list identity/mfa/login-enforcement",
            id="second-factor",
        ),
        pytest.param({"auth": None}, "no token", "vault status", id="nothing"),
        pytest.param(
            {"auth": {"client_token": "made-up\r\nX-Evil: 1", "lease_duration": 60}},
            "no token",
            "vault status",
            id="header-in-token",
        ),
        pytest.param(
            {"auth": {"client_token": "hvs.made-up", "lease_duration": "1h"}}, "no token", "vault status", id="odd-life"
        ),
        pytest.param(
            {"auth": {"client_token": "hvs.made-up", "lease_duration": -1}}, "no token", "vault status", id="negative"
        ),
        pytest.param([], "is no Vault", "vault status", id="list"),
    ],
)
def test_answers_that_hold_no_token(login: Login, guest: User, answer: object, words: str, command: str) -> None:
    """They are said to be so, and not kept."""
    guest.configure("jwt", jwt_file=guest.file("jwt", "a.b.c"))
    login.next = [_json(answer)]

    failure(guest.get(), words, command)


def test_a_token_without_an_end(login: Login, guest: User) -> None:
    """It is used until Vault refuses it."""
    login.auth["lease_duration"] = 0
    guest.configure("jwt", jwt_file=guest.file("jwt", "a.b.c"))

    guest.pull()
    assert guest.get_anew().credential
    assert len(login.bodies) == 1


def test_a_dead_token_is_not_sent_along(login: Login, guest: User) -> None:
    """Neither a token of the environment nor one that is refused is part of a login."""
    guest.configure("jwt", jwt_file=guest.file("jwt", "a.b.c"), engine="kv-v2")
    guest.env["VAULT_TOKEN"] = "hvs.made-up-token-of-the-user"
    guest.pull()
    login.denials = 1

    assert guest.get_anew().credential
    asked = [request for request in login.site.requests if request.path.startswith("/v1/auth/")]
    assert len(asked) == 2
    assert not any("x-vault-token" in request.headers for request in asked)
    assert not any("of-the-user" in str(request.headers) for request in login.site.requests)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_json({"errors": ["lease is not renewable"]}, 400), id="refused"),
        pytest.param(_json({"auth": None}), id="nothing"),
        pytest.param(Response(204), id="no-answer"),
    ],
)
def test_a_renewal_that_is_none(login: Login, guest: User, answer: Response) -> None:
    """A new login takes its place."""
    login.auth["lease_duration"] = 4
    login.renewal = answer
    guest.configure("jwt", jwt_file=guest.file("jwt", "a.b.c"), keep="1s")

    until(lambda: guest.get().credential and "auth/token/renew-self" in login.paths, "renewal")
    guest.pull()
    where = login.paths.index("auth/token/renew-self")
    until(lambda: login.paths[where + 1 :][:1] == ["auth/jwt/login"], "login")


def test_a_token_that_cannot_be_had_again(login: Login, guest: User) -> None:
    """What a renewal gives is used to its end where a secret served for one login only."""
    login.auth["lease_duration"] = 4
    guest.configure("approle", role_id="x", secret_id_file=guest.file("id", "x"), keep="1s")
    guest.pull()
    login.renewal = _json({"auth": {"client_token": "", "lease_duration": 3, "renewable": True}})
    login.next = [_json({"errors": ["invalid secret id"]}, 400)] * 9

    until(lambda: guest.get().credential and "auth/token/renew-self" in login.paths, "renewal")
    guest.pull()
    assert login.paths[:2] == ["auth/approle/login", "auth/token/renew-self"]


def test_twelve_processes_log_in_once(place: Place, user: User) -> None:
    """N processes for N registries at once: one login, whose token all of them use."""
    role = Role(place)
    user.configure("approle", role.mount, role_id=role.id)
    user.env["VAULT_SECRET_ID"] = role.secret_id()

    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(user.get, (f"r{number}.acme.example" for number in range(12))))

    assert [result.credential["Secret"] for result in results] == [PASSWORD] * 12
    assert role.logins == 1
    assert len(role.accessors()) == 1


def test_two_identities_do_not_share_a_token(place: Place, user: User) -> None:
    """Another secret id is another login, and going back to the first finds its token."""
    role = Role(place)
    user.configure("approle", role.mount, role_id=role.id)
    first, second = role.secret_id(), role.secret_id()
    for secret in (first, second, first, second):
        user.env["VAULT_SECRET_ID"] = secret
        user.pull("r1.acme.example")
    assert role.logins == 2


APPROLE = {"auth": "approle", "role_id": "x", "path": "kv/x", "address": "https://vault.acme.example"}


@pytest.mark.parametrize(
    ("settings", "env", "is_same"),
    [
        pytest.param({"path": "kv/y", "keep": "1s", "engine": "kv-v1", "username": "u"}, {}, True, id="of-the-secret"),
        pytest.param({}, {"VAULT_TOKEN": "x", "VAULT_CLIENT_TIMEOUT": "9"}, True, id="of-no-login"),
        pytest.param({}, {"VAULT_JWT": "x", "AWS_PROFILE": "x", "VAULT_PASSWORD": "x"}, True, id="of-other-methods"),
        pytest.param({"role_id": "y"}, {}, False, id="role"),
        pytest.param({"secret_id_file": "/x"}, {}, False, id="file"),
        pytest.param({"secret_id_path": "a/b"}, {}, False, id="wrapped"),
        pytest.param({"auth_mount": "other"}, {}, False, id="mount"),
        pytest.param({"address": "https://vault2.acme.example"}, {}, False, id="address"),
        pytest.param({"namespace": "team"}, {}, False, id="namespace"),
        pytest.param({}, {"VAULT_NAMESPACE": "team"}, False, id="namespace-of-the-environment"),
        pytest.param({}, {"VAULT_SECRET_ID": "x"}, False, id="secret-id"),
        pytest.param({}, {"BAO_SECRET_ID": ""}, False, id="empty-is-not-unset"),
        pytest.param({"auth": "jwt"}, {}, False, id="method"),
    ],
)
def test_what_makes_a_login_another(settings: dict[str, str], env: dict[str, str], *, is_same: bool) -> None:
    """Whatever selects who logs in where, and nothing else."""
    environ = {name.encode(): value.encode() for name, value in env.items()}
    found = logins.Identity(environ, APPROLE | settings)
    assert (found.token_key == logins.Identity({}, APPROLE).token_key) is is_same


@pytest.mark.parametrize(
    ("method", "name"),
    [
        pytest.param("aws", "AWS_PROFILE", id="aws"),
        pytest.param("gcp", "GOOGLE_APPLICATION_CREDENTIALS", id="gcp"),
        pytest.param("azure", "AZURE_CLIENT_ID", id="azure"),
        pytest.param("azure", "IDENTITY_ENDPOINT", id="azure-app-service"),
    ],
)
def test_a_clouds_variable_is_part_of_the_key(method: str, name: str) -> None:
    """An identity of the environment is told from another, for the login and for what is kept by the registry."""
    settings = {"auth": method, "role": "puller", "path": "kv/x"}
    keys = set()
    for value in (b"one", b"two"):
        environ = {name.encode(): value}
        keys.add(logins.Identity(environ, settings).token_key)
    assert len(keys) == 2


def test_a_revoked_token(place: Place, user: User) -> None:
    """Exactly one new login, and the answer."""
    role = Role(place)
    user.configure("approle", role.mount, role_id=role.id)
    user.env["VAULT_SECRET_ID"] = role.secret_id()
    user.pull()
    (accessor,) = role.accessors()
    place.vault.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    assert user.get_anew().credential["Secret"] == PASSWORD
    assert role.logins == 2


def test_a_policy_that_denies(place: Place, user: User) -> None:
    """There is the sentence, with the path that a policy must grant, after a new login if the token was not new."""
    role = Role(place, token_policies=["default"])
    user.configure("approle", role.mount, role_id=role.id, engine="kv-v2")
    user.env["VAULT_SECRET_ID"] = role.secret_id()

    failure(user.get(), "denied permission", f"{place.kv}/data/registries/{HOST}")
    before = role.logins
    assert before <= 2
    failure(user.get_anew(), "denied permission", f"{place.kv}/data/registries/{HOST}")
    assert role.logins == before + 1


def test_a_denial_where_there_is_no_second_login(place: Place, user: User) -> None:
    """The policy is the reason, not the secret id that has done its work; what it lets create is created."""
    place.vault.policy("creator", f"{place.kv}/data/new/* create")
    role = Role(place, token_policies=["creator"])
    user.configure("approle", role.mount, role_id=role.id, path=f"{place.kv}/new/{{host}}")
    user.env["VAULT_SECRET_ID"] = role.secret_id(num_uses=1)

    for _ in range(2):
        failure(user.get(), "denied permission", f"{place.kv}/data/new/{HOST}")
    stored = call("vault", "store", document(HOST, "robot", PASSWORD), user.env)
    assert stored.code == 0, stored
    assert place.vault.call("GET", f"{place.kv}/data/new/{HOST}")["data"]["data"]["password"] == PASSWORD
    assert len(role.accessors()) == 1


def test_a_batch_token(place: Place, user: User) -> None:
    """It cannot be renewed, so a new login takes its place in time."""
    role = Role(place, token_type="batch", token_ttl="2s")
    user.configure("approle", role.mount, role_id=role.id, keep="1s")
    user.env["VAULT_SECRET_ID"] = role.secret_id()

    began = time.monotonic()
    while time.monotonic() < began + 4:
        user.pull()
    assert 2 <= role.logins <= 2 * (time.monotonic() - began) + 2
    assert place.count("auth/token/renew-self") == 0


def test_a_token_that_dies_in_seconds(place: Place, user: User) -> None:
    """No get fails while tokens come and go."""
    role = Role(place, token_ttl="3s", token_max_ttl="3s")
    user.configure("approle", role.mount, role_id=role.id)
    user.env["VAULT_SECRET_ID"] = role.secret_id()

    began = time.monotonic()
    while time.monotonic() < began + 5:
        assert user.get_anew().credential["Secret"] == PASSWORD
    assert 2 <= role.logins <= 2 * (time.monotonic() - began) + 2


def test_a_token_with_one_use(place: Place, user: User) -> None:
    """Whoever wants one has his own: no get fails, one at a time or many at once."""
    role = Role(place, token_num_uses=1)
    user.configure("approle", role.mount, role_id=role.id)
    user.env["VAULT_SECRET_ID"] = role.secret_id()

    user.pull()
    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(user.get, (f"r{number}.acme.example" for number in range(5))))
    assert [result.credential["Secret"] for result in results] == [PASSWORD] * 5


def test_a_token_is_renewed_in_the_background(place: Place, user: User) -> None:
    """A periodic token lives on without a second login, by who wants it and waits for nothing."""
    role = Role(place, token_period="4s", token_ttl="0")
    user.configure("approle", role.mount, role_id=role.id, keep="1s")
    user.env["VAULT_SECRET_ID"] = role.secret_id(num_uses=1)

    before = place.count("auth/token/renew-self")
    end = time.monotonic() + 7
    while time.monotonic() < end:
        user.pull()
    assert role.logins == 1
    assert place.count("auth/token/renew-self") > before
    assert len(role.accessors()) == 1


def test_a_life_that_comes_to_its_end(place: Place, user: User) -> None:
    """Near the longest life a renewal gives less, so a new login takes its place before the end."""
    role = Role(place, token_ttl="4s", token_max_ttl="5s")
    user.configure("approle", role.mount, role_id=role.id, keep="1s")
    user.env["VAULT_SECRET_ID"] = role.secret_id()

    user.pull()
    end = time.monotonic() + 6
    while time.monotonic() < end:
        user.pull()
    assert role.logins >= 2


def test_a_login_killed_half_way(place: Place, user: User) -> None:
    """A process that is killed while it logs in stands in nobody's way."""
    role = Role(place)
    user.configure("approle", role.mount, role_id=role.id)
    user.env["VAULT_SECRET_ID"] = role.secret_id()
    for wait in (0.05, 0.15, 0.25):
        with subprocess.Popen(
            [BIN / "docker-credential-vault", "get"], stdin=subprocess.PIPE, env=user.env, stdout=subprocess.DEVNULL
        ) as child:
            assert child.stdin
            child.stdin.write(HOST.encode())
            child.stdin.close()
            time.sleep(wait)  # the moment of the kill is what differs
            child.kill()

    user.pull()


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({}, "", id="nothing"),
        pytest.param({"auth": "token"}, "", id="token"),
        pytest.param({"auth": "agent"}, "", id="agent"),
        pytest.param({"certificate_file": "/c", "key_file": "/k"}, "", id="certificate-of-the-listener"),
        pytest.param({"auth": "approle", "role_id": "x", "certificate_file": "/c"}, "", id="the-same-with-a-login"),
        pytest.param({"auth": "approle", "auth_mount": "x"}, "", id="approle"),
        pytest.param({"role_id": "x"}, "`role_id` without `auth`", id="no-auth"),
        pytest.param({"auth_mount": "x"}, "`auth_mount` without `auth`", id="mount-of-nothing"),
        pytest.param(
            {"auth": "agent", "auth_mount": "x"}, '`auth_mount` is nothing for `auth = "agent"`', id="mount-of-agent"
        ),
        pytest.param({"auth": "token", "role": "x"}, '`role` is nothing for `auth = "token"`', id="role-of-a-token"),
        pytest.param(
            {"auth": "approle", "role": "x"}, '`role` is nothing for `auth = "approle"`', id="role-for-role-id"
        ),
        pytest.param({"auth": "kubernetes"}, '`auth = "kubernetes"` without `role`', id="kubernetes-without-role"),
        pytest.param({"auth": "gcp", "credentials_file": "/k"}, '`auth = "gcp"` without `role`', id="gcp-without-role"),
        pytest.param({"auth": "azure"}, '`auth = "azure"` without `role`', id="azure-without-role"),
        pytest.param({"auth": "aws", "client_id": "x"}, "`client_id` is nothing", id="azure-in-aws"),
        pytest.param(
            {"auth": "approle", "remove_secret_id_file": True}, "without `secret_id_file`", id="nothing-to-remove"
        ),
        pytest.param(
            {"auth": "approle", "role_id": "x", "role_id_file": "/x"}, "exclude each other", id="two-role-ids"
        ),
        pytest.param({"auth": "cert", "key_file": "/k"}, "`key_file` without", id="key-alone"),
    ],
)
def test_contradictions(settings: dict[str, Any], words: str) -> None:
    """Settings that do not go together are named; those that do are not."""
    found = logins.contradiction(settings)

    assert words in found
    assert bool(found) == bool(words)


def test_a_contradiction_names_its_line(user: User) -> None:
    """As every mistake in the configuration does."""
    user.configure("kubernetes", jwt_file="/x")

    failure(user.get(), 'config.toml: line 1: `auth = "kubernetes"` without `role`', "docs/configuration.md")


def test_each_method_is_whole() -> None:
    """What a method takes is a setting, and all that select an identity belong to one."""
    for name, (_, settings) in logins.METHODS.items():
        method = logins.method(name)
        assert set(settings) <= SETTINGS.keys()
        assert set(method.needed) <= set(settings)
        for words, _, message, hint in method.refusals:
            assert words
            assert message == message.strip()
            assert re.search("`(vault|date|gcloud) |VAULT_", hint.format(mount="auth/x", role="r")), hint
