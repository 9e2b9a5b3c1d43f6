"""`docker-credential-vault` at an OpenBao, as far as that answers differently from Vault.

No OpenBao is here to be asked. What the fake answers is what the sources of github.com/openbao/openbao say, which each
test names.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.fakes import google
from tests.fakes.tls import Request, Response, Site
from tests.harness import environment
from tests.harness import loaded_call as call
from tests.services import Vault, vault_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

NAME = "bao.acme.example"
HOST = "harbor.acme.example"
GAR = "europe-docker.pkg.dev"
TOKEN = "s.made-up-token"  # `ServiceTokenPrefix`, sdk/helper/consts/token_consts.go
# By no token that is good, and by a policy: `fetchACLTokenEntryAndEntity` and `CheckToken`, vault/request_handling.go.
UNKNOWN, DENIED = "permission denied", "1 error occurred:\n\t* permission denied\n\n"
SECRET = {"data": {"username": "robot", "password": "made-up"}, "metadata": {"version": 1, "custom_metadata": None}}


class Bao:
    """An OpenBao with the namespace `team`, of which the namespace `team/leaving` is being deleted.

    mounts:  path, type and options of the engines; plugins are called as whoever registered them did
    answers: by method and path, in the place of the ordinary ones: a status with a line or an object
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        self.mounts: dict[str, tuple[str, dict[str, str]]] = {"kv": ("kv", {"version": "2"})}
        self.answers: dict[str, tuple[int, object]] = {f"GET kv/data/registries/{HOST}": (200, {"data": SECRET})}
        self.site = Site(self._respond, authority.context(NAME, "127.0.0.1"))
        self.address = f"https://127.0.0.1:{self.site.port}"

    def _respond(self, request: Request) -> Response:
        status, said = self._answer(request, request.path.removeprefix("/v1/"))
        return Response(status, json.dumps({"errors": [said]} if isinstance(said, str) else said).encode())

    def _answer(self, request: Request, path: str) -> tuple[int, object]:
        namespace = request.headers.get("x-vault-namespace", "").strip("/")
        if namespace == "team/leaving":  # `routeCommon`, vault/router.go
            place = f'"{path}" on namespace "{namespace}/"'
            return 404, f"no handler for route {place}. route entry or namespace is tainted."
        if namespace not in ("", "team"):  # `switchedLockHandleRequest`, vault/request_handling.go
            return 404, "namespace not found"
        if (line := f"{request.method} {path}") in self.answers:
            return self.answers[line]
        if request.headers.get("x-vault-token") != TOKEN:
            return 403, UNKNOWN
        return self._route(path)

    def _route(self, path: str) -> tuple[int, object]:
        asked = path.removeprefix("sys/internal/ui/mounts/")
        mount = next((name for name in self.mounts if asked.startswith(name + "/")), "")
        if asked == path:  # `routeCommon`, vault/router.go
            no_route: object = f'no handler for route "{path}". route entry not found.'
            return 404, {"errors": []} if mount else no_route
        if not mount:
            hint = f'please ensure client\'s policies grant access to path "{asked}/"'
            return 403, f"preflight capability check returned 403, {hint}"
        kind, options = self.mounts[mount]
        return 200, {"data": {"type": kind, "path": mount + "/", "options": options}}


@pytest.fixture
def bao(authority: CertificateAuthority) -> Iterator[Bao]:
    made = Bao(authority)
    with made.site:
        yield made


class User:
    """Somebody who has been told of OpenBao, in its own variables."""

    def __init__(self, home: Path, bao: Bao, authority: CertificateAuthority) -> None:
        self.home = home
        self.env = environment(home, BAO_ADDR=bao.address, BAO_CACERT=str(authority.pem), BAO_TOKEN=TOKEN)

    def configure(self, **settings: str) -> None:
        """Write config.toml with one entry."""
        told = {"match": "*.acme.example", "source": "vault", "path": "kv/registries/{host}"} | settings
        file = self.home / ".config/credhelpers/config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(["[[registry]]", *(f"{key} = {json.dumps(told[key])}" for key in told), ""]))

    def gets(self, host: str = HOST) -> tuple[str, str]:
        answer = call("vault", "get", host, self.env).credential
        return answer["Username"], answer["Secret"]

    def fails(self, words: str, command: str, host: str = HOST) -> None:
        """Get a sentence and a hint, which quote nothing."""
        result = call("vault", "get", host, self.env)
        assert (result.code, result.out.decode()) == (1, words + "\n"), result
        assert command in result.err.decode(), result
        assert b"made-up" not in result.out + result.err


@pytest.fixture
def user(home: Path, bao: Bao, authority: CertificateAuthority) -> User:
    made = User(home, bao, authority)
    made.configure()
    return made


# --- tokens and headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_file", [pytest.param(False, id="variable"), pytest.param(True, id="file")])
def test_a_token_of_openbao(user: User, bao: Bao, *, is_file: bool) -> None:
    """It begins as those of Vault once did; the headers are called as Vault calls them (sdk/helper/consts)."""
    if is_file:
        path = user.home / "token-of-bao"
        path.write_text(user.env.pop("BAO_TOKEN"))
        path.chmod(0o600)
        user.env["BAO_TOKEN_PATH"] = str(path)
    user.env["BAO_NAMESPACE"] = "team/"

    assert user.gets() == ("robot", "made-up")
    for request in bao.site.requests:
        assert (request.headers["x-vault-token"], request.headers["x-vault-namespace"].strip("/")) == (TOKEN, "team")
        assert request.headers["x-vault-request"] == "true"


def test_a_token_that_a_login_gives(user: User, bao: Bao) -> None:
    """It is kept and used like one of Vault's."""
    token = {"client_token": TOKEN, "lease_duration": 3600, "renewable": True, "token_type": "service"}
    bao.answers["POST auth/approle/login"] = (200, {"auth": token})
    del user.env["BAO_TOKEN"]
    user.env["BAO_SECRET_ID"] = "made-up-secret-id"
    user.configure(auth="approle", role_id="made-up-role-id")

    assert user.gets() == user.gets() == ("robot", "made-up")
    assert sum(request.path == "/v1/auth/approle/login" for request in bao.site.requests) == 1


def test_a_token_that_openbao_does_not_know(user: User, bao: Bao) -> None:
    """It is told apart from one whose policies do not grant this, also where OpenBao says nothing of tokens."""
    user.configure(engine="kv-v2")
    bao.answers[f"GET kv/data/registries/{HOST}"] = (403, DENIED)
    user.fails(
        "vault denied permission to what is configured for this registry", f'"read" on kv/data/registries/{HOST}'
    )

    del bao.answers[f"GET kv/data/registries/{HOST}"]
    user.env |= {"BAO_TOKEN": "s.made-up-other", "CREDHELPERS_CACHE_DIR": ""}
    words = "vault does not accept the token: it has expired, was revoked, or has no uses left"
    user.fails(words, "`vault login -no-print`")


# --- namespaces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "words", "command"),
    [
        # github.com/openbao/openbao/issues/1917: the root namespace was not to be had by this name.
        pytest.param("root", "vault has no such namespace", "`vault namespace list`", id="missing"),
        pytest.param(
            "team/leaving",
            "nothing in Vault serves the configured path in this way",
            "`vault secrets list`",
            id="being-deleted",
        ),
    ],
)
@pytest.mark.parametrize("engine", [pytest.param("", id="asked"), pytest.param("kv-v2", id="said")])
def test_a_namespace_that_does_not_serve(user: User, namespace: str, words: str, command: str, engine: str) -> None:
    """Its secrets are no missing ones: docker must not go on without."""
    user.configure(namespace=namespace, **({"engine": engine} if engine else {}))

    user.fails(words, command)


# --- engines and methods that it has as plugins only ------------------------------------------------------------------


def test_an_engine_that_is_not_mounted(user: User) -> None:
    """OpenBao does not say that it is not there, but that the token may not see it."""
    user.configure(path="aws/creds/puller")

    user.fails("vault shows this token no engine at the configured path", "`vault secrets list`")


def test_an_engine_that_is_said_and_not_mounted(user: User) -> None:
    """The same where nobody asks first what is mounted."""
    user.configure(match=GAR, path="gcp/impersonated-account/puller/token", engine="gcp")

    user.fails("nothing in Vault serves the configured path in this way", "`vault secrets list`", GAR)


def test_a_method_that_is_not_mounted(user: User) -> None:
    """It is a login without permission, and the hint has the command that shows the mounts."""
    del user.env["BAO_TOKEN"]
    key = google.write(user.home / "key.json", google.service_account())
    user.configure(auth="gcp", role="puller", credentials_file=key)

    user.fails("the role does not let this Google identity in", "`vault auth list` what is mounted")


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        pytest.param("gcp", {}, id="by-its-own-name"),
        pytest.param("openbao-plugin-secrets-gcp", {"engine": "gcp"}, id="by-another-name"),
    ],
)
def test_an_engine_of_a_cloud_that_is_a_plugin(user: User, bao: Bao, kind: str, engine: dict[str, str]) -> None:
    """What it is called is up to whoever registered it; `engine` says what it is."""
    path = "gcp/impersonated-account/puller/token"
    bao.mounts["gcp"] = (kind, {})
    token = {"token": "made-up-google", "token_ttl": 3599, "expires_at_seconds": int(time.time()) + 3599}
    bao.answers[f"GET {path}"] = (200, {"data": token})
    user.configure(match=GAR, path=path, **engine)

    assert user.gets(GAR) == ("oauth2accesstoken", "made-up-google")


# --- refusals in other words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words", "command"),
    [
        pytest.param(
            "invalid role or secret ID",
            "vault does not accept this role id with this secret id",
            "`vault list auth/approle/role`",
            id="either",
        ),
        pytest.param(
            "missing secret_id", "the role wants a secret id, and there is none", "`secret_id_file`", id="none"
        ),
        pytest.param(
            'source address "10.1.2.3" unauthorized by CIDR restrictions on the role: %!w(<nil>)',
            "vault lets this identity log in from other addresses only",
            "CIDR blocks",
            id="address",
        ),
    ],
)
def test_an_approle_that_is_refused(user: User, bao: Bao, said: str, words: str, command: str) -> None:
    """Role id and secret id are not told apart (builtin/credential/approle/path_login.go)."""
    bao.answers["POST auth/approle/login"] = (400, said)
    user.env["BAO_SECRET_ID"] = "made-up-secret-id"
    user.configure(auth="approle", role_id="made-up-role-id")

    user.fails(words, command)


def test_a_wrapping_token_that_was_used(user: User, bao: Bao) -> None:
    """`ErrInvalidWrappingToken`, sdk/helper/consts/error.go."""
    bao.answers["POST sys/wrapping/lookup"] = (400, "wrapping token is not valid or does not exist")
    user.env["BAO_SECRET_ID"] = "s.made-up-wrapping-token"
    user.configure(auth="approle", role_id="made-up-role-id", secret_id_path="auth/approle/role/docker/secret-id")

    user.fails("the secret id's wrapping token was used already, has expired, or is none", "`vault audit list`")


@pytest.mark.parametrize("said", ["node is not active", "no active Vault instance found"])
def test_a_standby_without_an_active_node(user: User, bao: Bao, said: str) -> None:
    """`respondStandby`, http/handler.go."""
    bao.answers[f"GET sys/internal/ui/mounts/kv/registries/{HOST}"] = (503, said)

    user.fails("vault has no active node", "`vault operator members`")


# --- the tests themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [pytest.param("sys/mounts/one", "aws", id="engine"), pytest.param("sys/auth/one", "gcp", id="method")],
)
def test_tests_that_openbao_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: str) -> None:
    """Where `bao` is the server, a test that needs what it has not built in is skipped, in CI too, and says why."""
    (tmp_path / "bao").symlink_to(vault_program())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with Vault() as server:
        assert server.program == str(tmp_path / "bao")
        server.call("POST", "sys/mounts/two", {"type": "kv"})
        with pytest.raises(pytest.skip.Exception, match=f"OpenBao has `{kind}` as a plugin only"):
            server.call("POST", path, {"type": kind})
