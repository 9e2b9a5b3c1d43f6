"""`docker-credential-vault` on engines that make credentials: leased, rotated, and of the clouds.

Vault and Redis, in which Vault makes users, are real; a credential is good if Redis takes it at the moment of the
answer. What no engine of this server makes is answered by a fake, or was recorded and lies in KV.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moto.iam.models import iam_backends
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from credhelpers import cached_token
from tests.fakes.aws import FakeAws, Key, signer
from tests.fakes.azure import CLIENT, SECRET, TENANT, FakeAzure, entra_error
from tests.fakes.azure import HOST as ACR
from tests.fakes.google import ACCOUNT as ACCOUNT_OF_GOOGLE
from tests.fakes.google import SCOPE, FakeGoogle, service_account
from tests.fakes.tls import Proxy, Request, Response, Site
from tests.harness import Result, document, environment, patience
from tests.harness import loaded_call as call
from tests.services import Audit, Redis, Stack, Vault, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

HARBOR = "harbor.acme.example"
NEXUS = "nexus.acme.example"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
GAR = "europe-docker.pkg.dev"
ACCOUNT = "123456789012"  # moto's own


class User:
    """A user of the helper at a server, with the variables `env` and what `configure` has written."""

    def __init__(self, home: Path, address: str, **more: str) -> None:
        self.home = home
        self.env = environment(home, VAULT_ADDR=address, **more)

    def configure(self, *entries: dict[str, object]) -> None:
        """Write config.toml; each entry is one `[[registry]]`."""
        lines = []
        for entry in entries:
            lines += ["[[registry]]", 'source = "vault"', *(f"{key} = {json.dumps(entry[key])}" for key in entry)]
        file = self.home / ".config" / "credhelpers" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines))

    def call(self, verb: str, server: str = HARBOR) -> Result:
        return call("vault", verb, server, self.env)

    def get(self, server: str = HARBOR) -> tuple[str, str]:
        """User name and secret."""
        answer = self.call("get", server).credential
        return answer["Username"], answer["Secret"]


class Database:
    """The engine `database` at a server, mounted at `database`."""

    def __init__(self, vault: Vault, redis: Redis) -> None:
        self.vault = vault
        self.redis = redis
        vault.call("POST", "sys/mounts/database", {"type": "database"})
        connection = {"plugin_name": "redis-database-plugin", "host": "127.0.0.1", "port": redis.port, "tls": False}
        login = {"username": "default", "password": redis.password, "allowed_roles": "*"}
        vault.call("POST", "database/config/redis", connection | login)
        vault.policy(
            "puller",
            "database/creds/* read",
            "database/static-creds/* read",
            "sys/leases/renew update",
            "sys/leases/revoke update",
        )

    def role(self, name: str, **more: object) -> str:
        """A role whose users live by leases; the path of its credentials."""
        role = {"db_name": "redis", "creation_statements": ['["~*", "+get"]'], "default_ttl": "1h", "max_ttl": "24h"}
        self.vault.call("POST", f"database/roles/{name}", role | more)
        return f"database/creds/{name}"

    def static_role(self, name: str, period: int) -> str:
        """A role of one user, whose password Vault changes; the path of its credentials."""
        self.redis.command("ACL", "SETUSER", name, "on", ">made-up-first-password", "+get")
        self.vault.call(
            "POST", f"database/static-roles/{name}", {"db_name": "redis", "username": name, "rotation_period": period}
        )
        return f"database/static-creds/{name}"

    def leases(self, path: str) -> list[str]:
        """The ids of its leases."""
        status, answer = self.vault.ask("LIST", f"sys/leases/lookup/{path}")
        return answer["data"]["keys"] if status == 200 else []


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def database(vault: Vault, redis: Redis) -> Iterator[Database]:
    """The engine on the run's own server."""
    yield Database(vault, redis)
    vault.call("DELETE", "sys/mounts/database")


@pytest.fixture
def user(home: Path, vault: Vault, database: Database) -> User:
    """A user whose Vault token may use the engine, and lives long."""
    return User(home, vault.address, VAULT_TOKEN=vault.token_for("puller"))


@pytest.fixture
def login(vault: Vault) -> Iterator[Any]:
    """Makes an AppRole: the settings and the variables that log in as it, given the role's fields."""
    vault.call("POST", "sys/auth/engines", {"type": "approle"})

    def make(**role: object) -> tuple[dict[str, object], dict[str, str]]:
        vault.call("POST", "auth/engines/role/one", {"token_policies": ["puller"], **role})
        role_id = vault.call("GET", "auth/engines/role/one/role-id")["data"]["role_id"]
        secret = vault.call("POST", "auth/engines/role/one/secret-id")["data"]["secret_id"]
        return {"auth": "approle", "auth_mount": "engines", "role_id": role_id}, {"VAULT_SECRET_ID": secret}

    yield make
    vault.call("DELETE", "sys/auth/engines")


# --- leases -----------------------------------------------------------------------------------------------------------


def test_one_lease_for_all_registries_of_a_path(user: User, database: Database) -> None:
    """Users are made for a path and an identity, not for each registry or each pull."""
    path = database.role("shared")
    user.configure({"match": "*.acme.example", "path": path})
    found = {user.get(server) for server in (HARBOR, NEXUS, HARBOR)}

    assert len(found) == 1
    assert database.redis.can_log_in(*found.pop())
    assert len(database.leases(path)) == 1


def test_twenty_at_once_make_one_lease(user: User, database: Database) -> None:
    """While one process asks the engine, the others wait for its answer."""
    path = database.role("crowd")
    user.configure({"match": "*.acme.example", "path": path})
    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(user.get, [f"r{number % 5}.acme.example" for number in range(20)]))

    assert len(found) == 1
    assert len(database.leases(path)) == 1


def used(user: User, database: Database, seconds: float) -> list[tuple[str, str]]:
    """What is answered in that time, each once; all of it is good when it is answered."""
    end = time.monotonic() + seconds
    found: dict[tuple[str, str], None] = {}
    while time.monotonic() < end:
        answer = user.get()
        assert database.redis.can_log_in(*answer), f"answer {len(found)} is dead"
        found[answer] = None
        time.sleep(0.1)
    return list(found)


@pytest.mark.parametrize(
    ("role", "is_one"),
    [
        pytest.param({"default_ttl": "3s", "max_ttl": "1h"}, True, id="renewed while in use"),
        pytest.param({"default_ttl": "3s", "max_ttl": "5s"}, False, id="until its longest life"),
    ],
)
def test_a_lease_in_use(user: User, database: Database, tmp_path: Path, role: dict[str, str], *, is_one: bool) -> None:
    """A lease is renewed in the background while docker pulls; before it ends for good there is another."""
    user.configure({"match": "*.acme.example", "path": database.role("used", **role)})
    with Audit(database.vault, tmp_path / "used.log") as audit:
        found = used(user, database, 6)
        made, renewals = audit.count("read", "database/creds/used"), audit.count("update", "sys/leases/renew")

    assert len(found) <= made <= len(found) + 1
    assert made == 1 if is_one else 1 < made < 8
    assert 2 <= renewals <= 7 if is_one else renewals < 12


@pytest.mark.parametrize(
    "role",
    [
        pytest.param({"token_ttl": "3s", "token_max_ttl": "3s"}, id="of its longest life"),
        pytest.param({"token_ttl": "3s", "token_type": "batch"}, id="batch, which is never renewed"),
        pytest.param({"token_ttl": "6s", "token_max_ttl": "1h"}, id="renewed, and the lease goes on"),
    ],
)
def test_a_token_dies_with_its_leases(home: Path, database: Database, login: Any, role: dict[str, object]) -> None:
    """However long the lease says that it is: what a Vault token made is not answered once the token is over."""
    settings, env = login(**role)
    user = User(home, database.vault.address, **env)
    path = database.role("mortal")
    user.configure({"match": "*.acme.example", "path": path, **settings})
    is_renewed = role.get("token_max_ttl") == "1h"
    found = used(user, database, 9 if is_renewed else 6)

    assert (len(found) == 1) == is_renewed


def test_an_ageing_token_that_cannot_be_had_again(home: Path, database: Database, login: Any) -> None:
    """It makes leases to its end, although the secret id that gave it served once and it is never renewed."""
    settings, env = login(token_ttl="8s", token_type="batch", secret_id_num_uses=1)
    user = User(home, database.vault.address, **env)
    user.configure({"match": "*.acme.example", "path": database.role("once"), **settings})
    end = time.monotonic() + 5  # half of the life, and more
    while time.monotonic() < end:
        assert database.redis.can_log_in(*user.get())
        assert user.call("erase").code == 0


def test_the_users_own_token_dies_with_its_leases(user: User, database: Database) -> None:
    """What a token of `vault login` made is over with it, and the sentence says so."""
    token = database.vault.token_for("puller", ttl="3s", renewable=False)
    user.env["VAULT_TOKEN"] = token
    user.configure({"match": "*.acme.example", "path": database.role("login-token")})
    assert database.redis.can_log_in(*user.get())
    until(lambda: database.vault.ask("GET", "auth/token/lookup-self", token=token)[0] == 403, "the end of the token")
    refused = user.call("get")

    assert refused.code == 1
    assert b"token" in refused.out


@pytest.fixture
def agent(vault: Vault, login: Any) -> Iterator[tuple[str, Path]]:
    """An agent whose own tokens live for 8 seconds each: its address, and the file with the one that it has."""
    settings, env = login(token_ttl="8s", token_max_ttl="8s")
    with Stack() as stack:
        folder = stack.folder
        (folder / "role").write_text(str(settings["role_id"]))
        (folder / "secret").write_text(env["VAULT_SECRET_ID"])
        (folder / "agent.hcl").write_text(f"""\
vault {{ address = "{vault.address}" }}
auto_auth {{
  method "approle" {{
    mount_path = "auth/engines"
    config = {{
      role_id_file_path = "{folder}/role"
      secret_id_file_path = "{folder}/secret"
      remove_secret_id_file_after_reading = false
    }}
  }}
  sink "file" {{ config = {{ path = "{folder}/sink" }} }}
}}
cache {{ use_auto_auth_token = true }}
listener "unix" {{
  address = "{folder}/socket"
  tls_disable = true
  require_request_header = true
}}
""")
        service = stack.start(vault.program, "agent", f"-config={folder}/agent.hcl", env=vault.env)
        service.ready(lambda: (folder / "socket").exists() and (folder / "sink").exists())
        yield f"unix://{folder}/socket", folder / "sink"


def test_an_agents_token_dies_with_its_leases(user: User, database: Database, agent: tuple[str, Path]) -> None:
    """The agent has another token in time, and says of neither which it is: what the first one made goes with that."""
    address, sink = agent
    user.env |= {"VAULT_AGENT_ADDR": address, "VAULT_TOKEN": ""}
    user.configure({"match": "*.acme.example", "path": database.role("of-an-agent")})
    first, token = user.get(), sink.read_text()
    assert database.redis.can_log_in(*first)
    until(lambda: sink.read_text() not in ("", token), "the agent's next token")
    user.get()
    until(lambda: not database.redis.can_log_in(*first), "the end of the agent's first token")

    assert database.redis.can_log_in(*user.get())


COUNTED = b"the uses of this Vault token are counted, and the last one ends all that was leased with it\n"


@pytest.mark.parametrize("more", [{}, {"no_default_policy": True}], ids=["looks at itself", "may not do so"])
@pytest.mark.parametrize("uses", [1, 2, 3, 4, 9])
def test_a_lease_by_a_token_whose_uses_are_counted(
    user: User, database: Database, uses: int, more: dict[str, bool]
) -> None:
    """It ends with the last of them, whoever has that: it is not answered with, and ended at once."""
    path = database.role(f"counted-{uses}-{len(more)}")
    user.env["VAULT_TOKEN"] = database.vault.token_for("puller", num_uses=uses, **more)
    user.configure({"match": "*.acme.example", "path": path, "engine": "leased"})
    answer = user.call("get")
    if more and uses > 2:  # nobody can know, and some uses are left
        assert database.redis.can_log_in(answer.credential["Username"], answer.credential["Secret"])
        return

    assert answer.out == COUNTED if uses > 1 else b"has no uses left" in answer.out
    until(lambda: not database.leases(path), "the end of the lease")


def test_a_rotated_password_by_a_token_whose_uses_are_counted(user: User, database: Database) -> None:
    """What has no lease does not end with the token."""
    user.env["VAULT_TOKEN"] = database.vault.token_for("puller", num_uses=2)
    user.configure({"match": HARBOR, "path": database.static_role("rarely", 86400), "engine": "leased"})

    assert database.redis.can_log_in(*user.get())


@pytest.mark.parametrize(
    ("uses", "is_enough"),
    [
        pytest.param(1, False, id="the read"),
        pytest.param(2, True, id="one more"),
    ],
)
def test_a_login_whose_uses_are_counted(
    home: Path, database: Database, login: Any, uses: int, *, is_enough: bool
) -> None:
    """Nobody else uses its token, so what it leases lives on if there is one use more than are needed."""
    settings, env = login(token_num_uses=uses)
    user = User(home, database.vault.address, **env)
    path = database.role(f"counted-login-{uses}")
    user.configure({"match": "*.acme.example", "path": path, **settings})
    if is_enough:
        assert len(used(user, database, 2)) == 1
    else:
        assert user.call("get").out == COUNTED
        until(lambda: not database.leases(path), "the end of the lease")


def test_a_revoked_token_takes_its_lease(user: User, database: Database) -> None:
    """Nobody can know that from here; what is answered after `docker logout` is good again."""
    user.configure({"match": "*.acme.example", "path": database.role("orphan")})
    dead = user.get()
    database.vault.call("POST", "auth/token/revoke", {"token": user.env["VAULT_TOKEN"]})
    until(lambda: not database.redis.can_log_in(*dead), "the revocation")
    user.env["VAULT_TOKEN"] = database.vault.token_for("puller")

    assert database.redis.can_log_in(*user.get())


def test_logout_revokes(user: User, database: Database) -> None:
    """`docker logout` ends the user in the database, and no registry that shared it is answered with it."""
    path = database.role("ended")
    user.configure({"match": "*.acme.example", "path": path})
    first = user.get()
    assert user.get(NEXUS) == first
    assert user.call("erase") == Result(0, b"", b"")

    until(lambda: not database.redis.can_log_in(*first), "the revocation")
    assert not database.leases(path)
    assert database.redis.can_log_in(*user.get(NEXUS))
    for _ in range(2):
        assert user.call("erase", NEXUS) == Result(0, b"", b"")
    assert not database.leases(path)


def as_of_before(user: User) -> int:
    """Give each cached lease the memo of the version before, which had no names; how many there are."""
    count = 0
    for file in Path(user.env["CREDHELPERS_CACHE_DIR"]).iterdir():
        name, content = file.name.encode(), file.read_bytes()
        if content.count(b"\n") < 4 or file.name.startswith("plan-"):
            continue  # of a lock, or of what is forgotten, or no token
        times, hosts, memo, tail = content.partition(b"\n")[2].split(b"\n", 3)
        said = dict(word.split("=") for word in memo.decode().split())
        if "lease" in said:
            renewable = said.get("renewable", "0")
            words = (said[word] for word in ("engine", "mount", "lease", "mark", "duration"))
            memo = " ".join((*words, renewable, said["last"])).encode()
            body = b"\n".join((times, hosts, memo, tail))
            file.write_bytes(cached_token.head_of(name, body) + b"\n" + body)
            count += 1
    return count


def test_logout_revokes_what_the_version_before_has_cached(user: User, database: Database) -> None:
    """An update in between leaves no lease behind, and its token is still answered with."""
    path = database.role("before")
    user.configure({"match": "*.acme.example", "path": path})
    user.env["CREDHELPERS_CACHE_DIR"] = str(user.home / "cache")
    first = user.get()
    assert as_of_before(user) == 2  # the token's own, and the host's
    assert user.get() == first
    assert len(database.leases(path)) == 1
    assert user.call("erase") == Result(0, b"", b"")

    assert not database.leases(path)


def test_logout_from_what_is_revoked_already(user: User, database: Database) -> None:
    """A lease that is gone is success."""
    path = database.role("gone")
    user.configure({"match": "*.acme.example", "path": path})
    user.get()
    database.vault.call("PUT", f"sys/leases/revoke-force/{path}")

    assert user.call("erase") == Result(0, b"", b"")


def test_logout_without_the_permission(user: User, database: Database) -> None:
    """Who may not revoke hears which policy lacks what; the cache has forgotten all the same."""
    path = database.role("kept")
    database.vault.policy("reader", "database/creds/* read")
    user.env["VAULT_TOKEN"] = database.vault.token_for("reader")
    user.configure({"match": "*.acme.example", "path": path})
    first = user.get()
    refused = user.call("erase")

    assert refused.code == 1
    assert b"denied" in refused.out
    assert b'"update" on sys/leases/revoke' in refused.err
    assert user.get() != first


@pytest.mark.parametrize(
    ("on_write", "code"), [pytest.param("accept", 0, id="accept"), pytest.param("refuse", 1, id="refuse")]
)
def test_read_only_leaves_vault_alone(user: User, database: Database, on_write: str, code: int) -> None:
    """With `read_only` neither verb reaches Vault; the cache forgets."""
    path = database.role(f"alone-{on_write}")
    user.configure({"match": "*.acme.example", "path": path, "read_only": True, "on_write": on_write})
    first = user.get()

    assert call("vault", "store", document(HARBOR, "a", "made-up"), user.env).code == code
    assert user.call("erase").code == code
    assert len(database.leases(path)) == 1
    assert user.get() != first


def test_a_made_credential_is_not_written(user: User, database: Database) -> None:
    """`docker login` for such a registry is a sentence, with the setting that lets it succeed."""
    user.configure({"match": "*.acme.example", "path": database.role("login")})
    refused = call("vault", "store", document(HARBOR, "a", "made-up-typed"), user.env)

    assert refused.code == 1
    assert refused.out == b"vault makes the credentials of this registry itself, so none can be written there\n"
    assert b"read_only = true" in refused.err


@pytest.mark.parametrize("end", ["access-token", "refresh-token"])
def test_a_login_at_docker_hub_does_not_fail_for_its_session(home: Path, end: str) -> None:
    """Docker's own tokens of a login at the Hub are accepted without a Vault, and never answered."""
    user = User(home, "https://127.0.0.1:9")
    server = f"https://index.docker.io/v1/{end}"

    assert call("vault", "store", document(server, "a", "made-up-session"), user.env) == Result(0, b"", b"")
    assert user.call("get", server).is_absent
    assert user.call("erase", server) == Result(0, b"", b"")
    assert call("vault", "store", document(f"https://evil.example/v1/{end}", "a", "x"), user.env).code == 1


def test_a_sealed_vault(home: Path, redis: Redis, authority: CertificateAuthority) -> None:
    """What is in the cache answers on; what must be asked is a sentence, and a logout that revokes nothing an error."""
    with Vault(authority, "sealed.acme.example") as server:
        database = Database(server, redis)
        env = {"VAULT_TOKEN": server.token_for("puller"), "VAULT_CACERT": str(authority.pem)}
        user = User(home, f"https://127.0.0.1:{server.port}", **env)
        path = database.role("sealed")
        user.configure({"match": "*.acme.example", "path": path})
        first = user.get()
        server.call("PUT", "sys/seal")
        assert user.get() == first

        refused = user.call("erase")
        assert refused.out == b"vault is sealed\n"
        assert user.call("get").out == b"vault is sealed\n"


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        pytest.param("database/creds/nobody", b"does not know the role", b"`vault list database/roles`", id="role"),
        pytest.param("database/static-creds/nobody", b"does not know the role", b"path-help", id="static role"),
        pytest.param("other/creds/nobody", b"no engine", b"vault secrets list", id="engine"),
    ],
)
def test_what_is_not_there(home: Path, database: Database, path: str, message: bytes, hint: bytes) -> None:
    """A role that an engine does not know is a mistake, and its sentence says where the right ones are listed."""
    user = User(home, database.vault.address, VAULT_TOKEN=database.vault.token)
    user.configure({"match": "*.acme.example", "path": path})
    refused = user.call("get")

    assert refused.code == 1
    assert message in refused.out
    assert hint in refused.err
    assert b"vault read" not in refused.err


# --- static roles -----------------------------------------------------------------------------------------------------


def test_a_rotated_password_is_good_to_the_second(user: User, database: Database, tmp_path: Path) -> None:
    """No answer is dead when it is given, and the engine is asked about once for each password."""
    user.configure({"match": "*.acme.example", "path": database.static_role("rotated", 5)})
    with Audit(database.vault, tmp_path / "rotated.log") as audit:
        found = used(user, database, 12)
        reads = audit.count("read", "database/static-creds/rotated")

    assert {name for name, _ in found} == {"rotated"}
    assert 2 <= len(found) <= 4
    assert reads <= 8 * len(found)


def test_a_password_that_lasts_is_read_once(user: User, database: Database, tmp_path: Path) -> None:
    """Until Vault rotates it there is nothing new to read."""
    user.configure({"match": "*.acme.example", "path": database.static_role("lasting", 86400)})
    with Audit(database.vault, tmp_path / "lasting.log") as audit:
        assert database.redis.can_log_in(*user.get())
        assert user.get() == user.get(NEXUS)
        assert audit.count("read", "database/static-creds/lasting") == 1
        assert user.call("erase") == Result(0, b"", b"")

    assert len(user.get()) == 2


# --- plugins that this server does not have ---------------------------------------------------------------------------

NAME = "vault.acme.example"


class FakeVault:
    """Answers of plugins, over TLS: `answers` by method and path; every other request is refused as Vault does it."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self.answers: dict[str, dict[str, object]] = {
            "GET auth/token/lookup-self": {"data": {"ttl": 0}},
            "POST sys/leases/revoke": {},
        }
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.seen: dict[str, int] = defaultdict(int)
        self.statuses: dict[str, int] = {}
        self.site = Site(self._respond, authority.context(NAME, "127.0.0.1"))
        self.address = f"https://127.0.0.1:{self.site.port}"

    def _respond(self, request: Request) -> Response:
        line = f"{request.method} {request.path.removeprefix('/v1/')}"
        self.seen[line] += 1
        if request.method in ("POST", "PUT"):
            self.posts.append((line, json.loads(request.body or b"{}")))
        if line in self.answers:
            return Response(200, json.dumps(self.answers[line]).encode(), {"Content-Type": "application/json"})
        status = self.statuses.get(line, 404)
        return Response(status, json.dumps({"errors": []}).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def fake(authority: CertificateAuthority) -> Iterator[FakeVault]:
    server = FakeVault(authority)
    with server.site:
        yield server


@pytest.fixture
def plugin_user(home: Path, fake: FakeVault, authority: CertificateAuthority) -> User:
    return User(home, fake.address, VAULT_TOKEN="made-up-vault-token", VAULT_CACERT=str(authority.pem))


def leased(data: dict[str, object], **more: object) -> dict[str, object]:
    """An answer of Vault with a lease."""
    return {"lease_id": "plugin/creds/one/abc", "renewable": True, "lease_duration": 3600, "data": data} | more


@pytest.mark.parametrize(
    ("line", "data", "settings", "pair"),
    [
        pytest.param(
            "GET harbor/creds/puller",
            {"robot_account_name": "robot$vault.1", "robot_account_secret": "made-up-robot", "robot_account_id": 7},
            {},
            ("robot$vault.1", "made-up-robot"),
            id="harbor",
        ),
        pytest.param(
            "GET artifactory/token/puller",
            {"access_token": "made-up.jwt.token", "username": "v-puller", "scope": "applied", "role": "puller"},
            {},
            ("v-puller", "made-up.jwt.token"),
            id="artifactory",
        ),
        pytest.param(
            "POST ldap/library/set/check-out",
            {"service_account_name": "svc@acme.example", "password": "made-up-checked-out"},
            {"username_field": "service_account_name"},
            ("svc@acme.example", "made-up-checked-out"),
            id="a check-out, which is a write",
        ),
        pytest.param(
            "GET gitlab/token/puller",
            {"token": "made-up-glpat", "token_id": 3},
            {"username": "oauth2"},
            ("oauth2", "made-up-glpat"),
            id="a token alone",
        ),
        pytest.param(
            "GET gcp/roleset/puller/key",
            {"private_key_data": "bWFkZS11cA==", "key_algorithm": "KEY_ALG_RSA_2048"},
            {"username": "_json_key_base64", "password_field": "private_key_data"},
            ("_json_key_base64", "bWFkZS11cA=="),
            id="a service account's key of Google's",
        ),
    ],
)
def test_plugins(
    plugin_user: User,
    fake: FakeVault,
    line: str,
    data: dict[str, object],
    settings: dict[str, str],
    pair: tuple[str, str],
) -> None:
    """What plugins answer with is read by their own names or by the configured ones, kept, and revoked."""
    method, _, path = line.partition(" ")
    fake.answers[line] = leased(data)
    fake.statuses[f"GET {path}"] = 405
    plugin_user.configure({"match": HARBOR, "path": path, "engine": "leased", **settings})

    for _ in range(2):
        assert plugin_user.get() == pair
    assert fake.seen[line] == 1
    assert plugin_user.call("erase") == Result(0, b"", b"")
    assert fake.posts[-1] == ("POST sys/leases/revoke", {"lease_id": "plugin/creds/one/abc"})
    assert method == "GET" or fake.posts[0] == (line, {})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(leased({"username": "a", "password": "b"}, lease_id="one two three"), id="a lease of three words"),
        pytest.param(leased({"username": "a", "password": "b"}, lease_id="one\nhard=9e9"), id="a lease of two lines"),
        pytest.param(leased({"username": "a", "password": "b"}, lease_id=["x"]), id="a lease that is a list"),
        pytest.param(leased({"username": "a"}), id="no secret"),
        pytest.param(leased({"username": "a", "password": {"x": "made-up"}}), id="a secret that is none"),
        pytest.param({"data": None}, id="no data"),
        pytest.param({"data": ["made-up"]}, id="a list"),
        pytest.param({"wrap_info": {"token": "made-up-wrapping"}, "data": None}, id="wrapped"),
    ],
)
def test_odd_answers(plugin_user: User, fake: FakeVault, answer: dict[str, object]) -> None:
    """Whatever answers in the place of Vault: a line and no secret, nothing kept."""
    fake.answers["GET plugin/creds/one"] = answer
    plugin_user.configure({"match": HARBOR, "path": "plugin/creds/one", "engine": "leased"})
    refused = plugin_user.call("get")

    assert refused.code == 1
    assert refused.out.count(b"\n") == 1
    assert b"made-up" not in refused.out + refused.err
    assert b"Traceback" not in refused.err


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"lease_duration": -5}, id="negative"),
        pytest.param({"lease_duration": "forever"}, id="a word"),
        pytest.param({"lease_duration": True}, id="true"),
        pytest.param({"lease_duration": 1e300}, id="longer than the universe"),
        pytest.param({"lease_id": "", "lease_duration": 2764800}, id="of no lease, as KV has it"),
    ],
)
def test_a_duration_that_says_nothing(plugin_user: User, fake: FakeVault, more: dict[str, object]) -> None:
    """Such an answer is kept as long as one that says nothing, and not for a month."""
    fake.answers["GET plugin/creds/one"] = leased({"username": "a", "password": "made-up"}, **more)
    plugin_user.configure({"match": HARBOR, "path": "plugin/creds/one", "engine": "leased", "keep": "1s"})
    assert plugin_user.get() == ("a", "made-up")
    time.sleep(1.1)
    assert plugin_user.get() == ("a", "made-up")

    assert fake.seen["GET plugin/creds/one"] >= 2


# --- AWS --------------------------------------------------------------------------------------------------------------


class Minted(dict[str, Key]):
    """The keys that moto has made, by their ids."""

    def get(self, name: str, default: Any = None) -> Any:
        users = iam_backends[ACCOUNT]["aws"].users.values()
        for key in (key for user in users for key in user.access_keys):
            if key.access_key_id == name:
                return Key(key.secret_access_key)
        for role in sts_backends[ACCOUNT]["aws"].assumed_roles:
            if role.access_key_id == name:
                return Key(role.secret_access_key, role.session_token)
        return default

    @property
    def users(self) -> int:
        return len(iam_backends[ACCOUNT]["aws"].users)


@pytest.fixture(scope="module")
def aws_engine(vault: Vault) -> Iterator[None]:
    """The engine `aws`, which takes moto for AWS."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    vault.call("POST", "sys/mounts/aws", {"type": "aws"})
    root = {"access_key": "made-up", "secret_key": "made-up-root-secret", "region": "eu-west-1"}
    vault.call("POST", "aws/config/root", root | {"iam_endpoint": url, "sts_endpoint": url})
    vault.call("POST", "aws/config/lease", {"lease": "1h", "lease_max": "24h"})
    allowed = {"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    vault.call("POST", "aws/roles/user", {"credential_type": "iam_user", "policy_document": policy})
    arn = f"arn:aws:iam::{ACCOUNT}:role/puller"
    vault.call("POST", "aws/roles/role", {"credential_type": "assumed_role", "role_arns": [arn]})
    vault.policy("clouds", "aws/* read", "sys/leases/renew update", "sys/leases/revoke update")
    yield
    vault.call("DELETE", "sys/mounts/aws")
    server.stop()


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    """ECR, which knows the keys that moto has made."""
    with FakeAws(authority) as fake_aws:
        fake_aws.keys = Minted()
        yield fake_aws


@pytest.fixture
def aws_user(home: Path, vault: Vault, aws_engine: None, aws: FakeAws) -> User:
    env = aws.environment(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    return User(home, vault.address, VAULT_TOKEN=vault.token_for("clouds"), **env)


def leases(vault: Vault, path: str) -> list[str]:
    status, answer = vault.ask("LIST", f"sys/leases/lookup/{path}")
    return answer["data"]["keys"] if status == 200 else []


def test_an_ecr_token_by_a_user_that_vault_made(aws_user: User, aws: FakeAws, vault: Vault) -> None:
    """One user and one token serve all accounts of a region; `docker logout` deletes the user."""
    aws_user.configure({"match": "*.dkr.ecr.*.amazonaws.com", "path": "aws/creds/user"})
    other = ECR.replace("1111", "4444")
    found = {aws_user.get(server) for server in (ECR, other, ECR)}

    assert found == {("AWS", "made-up-password-1")}
    assert len(leases(vault, "aws/creds/user")) == 1
    assert signer(aws.requests[-1]).startswith("AKIA")
    assert aws_user.call("erase", ECR) == Result(0, b"", b"")
    until(lambda: not leases(vault, "aws/creds/user"), "the revocation")
    assert Minted().users == 0


def test_an_ecr_token_by_a_role(aws_user: User, aws: FakeAws, vault: Vault) -> None:
    """The keys of a session leave no lease, and the registry's token lives its own twelve hours.

    Whatever identity of AWS there is here, it is not the one that asks.
    """
    aws_user.env |= {"AWS_PROFILE": "nobody", "AWS_ACCESS_KEY_ID": "AKIDNOBODY", "AWS_SECRET_ACCESS_KEY": "made-up"}
    aws_user.configure({"match": ECR, "path": "aws/sts/role"})
    assert aws_user.get(ECR) == ("AWS", "made-up-password-1")

    assert signer(aws.requests[-1]).startswith("ASIA")
    assert not leases(vault, "aws")
    assert aws_user.call("erase", ECR) == Result(0, b"", b"")


def test_an_alias_of_ecr(aws_user: User, aws: FakeAws) -> None:
    """A host of another name is served where the user wrote which registry it stands for."""
    alias = {"account": "111122223333", "region": "us-east-1"}
    aws_user.configure({"match": HARBOR, "path": "aws/sts/role", **alias})

    assert aws_user.get()[0] == "AWS"
    assert aws.requests[-1].host.startswith("api.ecr.us-east-1.")


def test_a_user_that_aws_does_not_know_yet(aws_user: User, aws: FakeAws, vault: Vault) -> None:
    """IAM needs its seconds for a new user: the call waits, and makes no other one."""
    aws.fail_next("UnrecognizedClientException", 403)
    aws.fail_next("AccessDeniedException")
    aws_user.configure({"match": ECR, "path": "aws/creds/user"})

    assert aws_user.get(ECR)[0] == "AWS"
    assert len(leases(vault, "aws/creds/user")) == 1
    aws_user.call("erase", ECR)


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        pytest.param("UnrecognizedClientException", 403, b"AWS does not know the user", id="never known"),
        pytest.param("RequestExpired", 400, b"clock", id="of another cause"),
    ],
)
def test_a_user_that_came_to_nothing(
    aws_user: User, aws: FakeAws, vault: Vault, code: str, status: int, message: bytes
) -> None:
    """An identity that could not be used is revoked, so that a registry out of reach piles up no users."""
    aws.fail_next(code, status, times=99)
    aws_user.configure({"match": ECR, "path": "aws/creds/user"})
    started = time.monotonic()
    refused = aws_user.call("get", ECR)

    assert refused.code == 1
    assert message in refused.out
    assert time.monotonic() - started < 9 + patience(0.5)
    until(lambda: not leases(vault, "aws/creds/user"), "the revocation")


def test_keys_that_vault_rotates(plugin_user: User, fake: FakeVault, aws: FakeAws) -> None:
    """The token by a static user's keys is not answered once they were to be rotated; there is no lease to revoke.

    Vault is late for that, mostly, and answers with keys that still work and a moment that is past.
    """
    aws.keys = {"AKIDSTATIC": Key("made-up-static-secret")}
    keys = {"access_key": "AKIDSTATIC", "secret_key": "made-up-static-secret"}
    end = time.time() + 5
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    fake.answers["GET aws/static-creds/user"] = {"data": {**keys, "expiration": moment}}
    plugin_user.env |= {"HTTPS_PROXY": aws.proxy.url, "AWS_CA_BUNDLE": plugin_user.env["VAULT_CACERT"]}
    plugin_user.configure({"match": ECR, "path": "aws/static-creds/user", "engine": "aws"})
    first = plugin_user.get(ECR)
    until(lambda: plugin_user.get(ECR) != first, "the moment")
    second = plugin_user.get(ECR)
    assert time.time() > end - 3  # of this machine's clock and Vault's
    fake.answers["GET aws/static-creds/user"] = {"data": keys}

    until(lambda: plugin_user.get(ECR) != second, "the next look")
    asked = dict(fake.seen)
    assert plugin_user.call("erase", ECR) == Result(0, b"", b"")
    assert fake.seen == asked


@pytest.mark.parametrize(
    ("server", "engine", "path"),
    [
        pytest.param("evil.example", "aws", "aws/creds/user", id="a stranger and AWS"),
        pytest.param(f"{ECR}.evil.example", "aws", "aws/creds/user", id="a longer name"),
        pytest.param(GAR, "aws", "aws/creds/user", id="another cloud"),
        pytest.param("evil.example", "gcp", "kv/x/roleset/puller/token", id="a stranger and Google"),
        pytest.param("pkg.dev.evil.example", "gcp", "kv/x/roleset/puller/token", id="nearly Google"),
        pytest.param("evil.example", "azure", "kv/x/creds/puller", id="a stranger and Azure"),
    ],
)
def test_a_cloud_is_for_its_own_registries(
    aws_user: User, aws: FakeAws, vault: Vault, server: str, engine: str, path: str
) -> None:
    """A pattern that catches a stranger's host makes no identity for it, and sends it nothing."""
    aws_user.configure({"match": "*.*", "path": path, "engine": engine}, {"match": "*", "path": path, "engine": engine})
    refused = aws_user.call("get", server)

    assert refused.code == 1
    assert not aws.requests
    assert not leases(vault, "aws")


# --- Google and Azure: the true engines ask fakes, odd answers lie in KV or are a fake's ----------------------------


@pytest.fixture(scope="module")
def recorded(vault: Vault) -> Iterator[None]:
    """A mount of KV v1 for answers."""
    vault.call("POST", "sys/mounts/recorded", {"type": "kv"})
    vault.policy("recorded", "recorded/* read")
    yield
    vault.call("DELETE", "sys/mounts/recorded")


def test_a_token_of_google(home: Path, vault: Vault, recorded: None) -> None:
    """The engine's token is the password of all of Google's registries, until it ends."""
    path = "recorded/impersonated-account/puller/token"
    answer = {"token": "made-up-google-token", "token_ttl": 3599, "expires_at_seconds": int(time.time()) + 3599}
    vault.call("POST", path, answer)
    user = User(home, vault.address, VAULT_TOKEN=vault.token_for("recorded"))
    user.configure(
        {"match": "*-docker.pkg.dev", "path": path, "engine": "gcp"},
        {"match": HARBOR, "path": path, "engine": "gcp", "registry": GAR},
        {"match": NEXUS, "path": path, "engine": "gcp"},
    )

    assert user.get(GAR) == ("oauth2accesstoken", "made-up-google-token")
    vault.call("POST", path, answer | {"token": "made-up-another"})
    assert user.get("us-docker.pkg.dev") == ("oauth2accesstoken", "made-up-google-token")
    assert user.get(HARBOR) == ("oauth2accesstoken", "made-up-another")
    refused = user.call("get", NEXUS)  # for which nobody wrote that it stands for one of Google's
    assert refused.code == 1
    assert b"made-up" not in refused.out + refused.err


def test_a_service_account_that_vault_impersonates(home: Path, authority: CertificateAuthority) -> None:
    """The true engine, which asks a fake of Google's for its tokens: what it answers serves, and is asked for once."""
    host = "iam.googleapis.com"

    def found(_: Request) -> Response:
        account = {"projectId": "acme", "email": ACCOUNT_OF_GOOGLE}
        return Response(200, json.dumps(account).encode(), {"Content-Type": "application/json"})

    with FakeGoogle(authority) as google, Site(found, authority.context(host)) as iam:
        google.proxy.routes[host] = iam.port
        with Vault(HTTPS_PROXY=google.proxy.url, SSL_CERT_FILE=str(authority.pem)) as server:
            server.call("POST", "sys/mounts/gcp", {"type": "gcp"})
            server.call("POST", "gcp/config", {"credentials": json.dumps(service_account()), "ttl": 1800})
            account = {"service_account_email": ACCOUNT_OF_GOOGLE, "token_scopes": [SCOPE], "ttl": "1800s"}
            server.call("POST", "gcp/impersonated-account/puller", account)
            user = User(home, server.address, VAULT_TOKEN=server.token)
            user.configure({"match": "*-docker.pkg.dev", "path": "gcp/impersonated-account/puller/token"})
            answer = user.get(GAR)

            assert answer[0] == "oauth2accesstoken"
            assert google.issued[answer[1]].endswith(f" > {ACCOUNT_OF_GOOGLE}")
            assert user.get("us-docker.pkg.dev") == answer


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"token": "made-up", "expires_at_seconds": 1}, id="over"),
        pytest.param({"token": "made-up", "expires_at_seconds": 9e12}, id="for ever"),
        pytest.param({"token": "made-up", "expires_at_seconds": "soon"}, id="a word"),
        pytest.param({"token": "made-up"}, id="no end"),
        pytest.param({"token": "made-up\nX: y", "token_ttl": 3599}, id="two lines"),
        pytest.param({"private_key_data": "bWFkZS11cA=="}, id="a key"),
    ],
)
def test_no_token_of_google(home: Path, vault: Vault, recorded: None, answer: dict[str, object]) -> None:
    """What is no token, or ends at no time that can be true, is not answered."""
    vault.call("POST", "recorded/roleset/odd/token", answer)
    user = User(home, vault.address, VAULT_TOKEN=vault.token_for("recorded"))
    user.configure({"match": GAR, "path": "recorded/roleset/odd/token", "engine": "gcp"})
    refused = user.call("get", GAR)

    assert refused.code == 1
    assert b"made-up" not in refused.out + refused.err


def test_a_key_of_google(plugin_user: User, fake: FakeVault) -> None:
    """The path of a key is a mistake, and the key that it made is taken back: an account has no more than ten."""
    fake.answers["GET gcp/roleset/puller/key"] = leased({"private_key_data": "bWFkZS11cA=="})
    plugin_user.configure({"match": GAR, "path": "gcp/roleset/puller/key", "engine": "gcp"})

    assert b"`/token`" in plugin_user.call("get", GAR).err
    assert fake.posts == [("POST sys/leases/revoke", {"lease_id": "plugin/creds/one/abc"})]


def principal(**more: object) -> dict[str, object]:
    """What the engine `azure` answers."""
    return leased({"client_id": CLIENT, "client_secret": SECRET}, lease_id="azure/creds/puller/abc", **more)


@pytest.fixture
def azure(authority: CertificateAuthority) -> Iterator[FakeAzure]:
    with FakeAzure(authority) as fake_azure:
        yield fake_azure


@pytest.fixture
def azure_user(plugin_user: User, fake: FakeVault, azure: FakeAzure) -> User:
    fake.answers["GET azure/creds/puller"] = principal()
    plugin_user.env |= azure.environment()
    plugin_user.configure({"match": ACR, "path": "azure/creds/puller", "engine": "azure", "tenant_id": TENANT})
    return plugin_user


def test_a_token_of_azure(azure_user: User, azure: FakeAzure, fake: FakeVault) -> None:
    """The service principal that Vault made logs in at Entra, its token is exchanged at the registry and there only."""
    first = azure_user.get(ACR)

    assert first[0] == "00000000-0000-0000-0000-000000000000"
    assert azure_user.get(ACR) == first
    assert azure.seen[-1] == f"POST {ACR}/oauth2/exchange"
    assert azure_user.call("erase", ACR) == Result(0, b"", b"")
    assert fake.posts[-1] == ("POST sys/leases/revoke", {"lease_id": "azure/creds/puller/abc"})


def test_a_principal_that_azure_does_not_know_yet(azure_user: User, azure: FakeAzure, fake: FakeVault) -> None:
    """Entra and the registry need their time for a new principal: the call waits, and asks for no other one."""
    doors = [("login.microsoftonline.com", f"/{TENANT}/oauth2/v2.0/token"), (ACR, "/oauth2/exchange")]

    def later(request: Request) -> Response:
        door = (request.host.partition(":")[0], request.path.partition("?")[0])
        del azure.answers[door]
        return entra_error(7000215, 401) if door[0] != ACR else Response(401, b"{}")

    azure.answers |= dict.fromkeys(doors, later)

    assert azure_user.get(ACR)[1].count(".") == 2
    assert not azure.answers
    assert fake.seen["GET azure/creds/puller"] == 1


def test_a_principal_that_came_to_nothing(azure_user: User, azure: FakeAzure, fake: FakeVault) -> None:
    """It is revoked, and the sentence says what works at once."""
    azure.answers[ACR, "/oauth2/exchange"] = Response(401, b"{}")
    refused = azure_user.call("get", ACR)

    assert refused.out.startswith(b"Azure does not know the service principal that Vault made")
    assert b"application_object_id" in refused.err
    assert fake.posts[-1] == ("POST sys/leases/revoke", {"lease_id": "azure/creds/puller/abc"})


def test_a_principal_of_the_true_engine(home: Path, authority: CertificateAuthority, azure: FakeAzure) -> None:
    """The engine adds a secret to an application at a fake of Microsoft Graph; a logout takes it away there."""
    taken: list[Request] = []
    graph = f"/v1.0/applications/{TENANT}"

    def answer(request: Request) -> Response:
        path = request.path.partition("?")[0]
        if path.endswith("/oauth2/token"):
            end = int(time.time()) + 3599
            body: object = {"access_token": "made-up", "expires_in": "3599", "expires_on": str(end), "not_before": "0"}
        elif path == graph:
            body = {"id": TENANT, "appId": CLIENT}
        elif path == f"{graph}/addPassword":
            body = {"keyId": "made-up-key", "secretText": SECRET}
        else:
            taken.append(request)
            return Response(204)
        return Response(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    names = ("login.microsoftonline.com", "graph.microsoft.com")
    with (
        Site(answer, authority.context(*names)) as site,
        Proxy(dict.fromkeys(names, site.port)) as proxy,
        Vault(HTTPS_PROXY=proxy.url, SSL_CERT_FILE=str(authority.pem)) as server,
    ):
        server.call("POST", "sys/mounts/azure", {"type": "azure"})
        identity = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": "made-up", "subscription_id": TENANT}
        server.call("POST", "azure/config", identity)
        server.call("POST", "azure/roles/puller", {"application_object_id": TENANT})
        user = User(home, server.address, VAULT_TOKEN=server.token, **azure.environment())
        user.configure({"match": "*.azurecr.io", "path": "azure/creds/puller", "tenant_id": TENANT})
        assert user.get(ACR)[1].count(".") == 2
        assert user.call("erase", ACR) == Result(0, b"", b"")
        until(lambda: taken, "the removal of the secret")

    assert taken[0].path.partition("?")[0] == f"{graph}/removePassword"
