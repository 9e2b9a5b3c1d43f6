"""docker-credential-vault speaks the protocol: as a store with KV, and as a source with a leased engine."""

from __future__ import annotations

import concurrent.futures
import re
import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests import contract
from tests.contract import HUB, HUB_SPELLINGS, SECRET
from tests.fakes.tls import Proxy
from tests.harness import NOT_FOUND, Result, document, environment
from tests.services import Redis, Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

MOUNT = "contract"
NAME = "vault.acme.example"
HOSTS = (
    "a.example",
    "b.example",
    "b.a.example",
    "present.example",
    *(f"host-{number}.example" for number in range(32)),
)


def is_registry(server: str) -> bool:
    """Whether Vault has a place for what is stored so: for a whole registry, which is asked by `https`."""
    bare = server.removeprefix("https://")
    return "//" not in bare and "?" not in bare and bare.partition("/")[2] in ("", "v1/", "v2/")


@pytest.fixture(scope="module")
def kv(vault: Vault) -> Iterator[Vault]:
    """The server with KV of version 2, for everything below it."""
    vault.call("POST", f"sys/mounts/{MOUNT}", {"type": "kv", "options": {"version": "2"}})
    vault.policy("contract", f"{MOUNT}/* create,read,update,delete,list")
    yield vault
    vault.call("DELETE", f"sys/mounts/{MOUNT}")
    vault.call("DELETE", "sys/policies/acl/contract")


@pytest.fixture(scope="module")
def token(kv: Vault) -> str:
    """What may read and write there."""
    return kv.token_for("contract")


class TestKept(contract.StoreContract):
    """With a secret for each registry in KV of version 2.

    A registry is one place here: its host and port count, its scheme is `https`, and a part of it has no place of its
    own. Rows that say otherwise of what lies below paths, of `http` and of opaque keys have another rule below.
    """

    name = "vault"
    neighbour = "a.example:5000"

    @pytest.fixture
    def env(self, home: Path, kv: Vault, token: str) -> dict[str, str]:
        path = f"{MOUNT}/{uuid.uuid4()}/{{host}}/{{port}}"
        names = [f"{host}:*" for host in (*HOSTS, "index.docker.io")]
        config = home / "config.toml"
        config.write_text(
            "".join(f'[[registry]]\nmatch="{name}"\nsource="vault"\npath="{path}"\nwrite="all"\n' for name in names)
        )
        config.chmod(0o600)
        return environment(home, CREDHELPERS_CONFIG=str(config), VAULT_ADDR=kv.address, VAULT_TOKEN=token)

    @pytest.fixture
    def broken(self, env: dict[str, str], present: str) -> dict[str, str]:
        return env | {"VAULT_ADDR": "http://127.0.0.1:9"}

    def call(self, env: dict[str, str], *arguments: str, stdin: bytes | str = b"", cwd: Path | None = None) -> Result:
        """As of any store. What was deleted in Vault is told besides, in one line."""
        done = super().call(env, *arguments, stdin=stdin, cwd=cwd)
        if done.code == 0 and arguments in (("erase",), ("store",)) and done.err:
            assert re.fullmatch(rb"docker-credential-vault: deleted [^\n]*`vault kv undelete [^\n]*\n", done.err), done
            return Result(done.code, done.out, b"")
        return done

    def refused(self, env: dict[str, str], server: str) -> bool:
        """Whether a login is refused with a reason, as it must be where there is no place for it."""
        done = self.call(env, "store", stdin=document(server, "user", SECRET))
        if done == Result(0, b"", b""):
            return False
        assert done.out != NOT_FOUND
        assert done.out.count(b"\n") == 1
        assert done.told
        assert SECRET.encode() not in done.out + done.err
        return True

    def hub(self, env: dict[str, str]) -> None:
        for end in ("access-token", "refresh-token", ""):
            self.put(env, HUB + end, "user", f"secret of {end}")

    def test_p22_logout_of_the_hub(self, env: dict[str, str]) -> None:
        """The two tokens of a session at the Hub are no passwords for others: they are accepted, and not kept."""
        self.hub(env)
        for gone, left in ((HUB + "access-token", {HUB: "user"}), (HUB + "refresh-token", {HUB: "user"}), (HUB, {})):
            assert self.call(env, "erase", stdin=gone) == Result(0, b"", b"")
            assert self.call(env, "list").listing == left

    def test_p28_the_tokens_of_docker_login_are_entries_of_their_own(self, env: dict[str, str]) -> None:
        """No spelling of the Hub is answered with a token of the whole account, which is not even kept."""
        self.hub(env)
        for spelling in (HUB, *HUB_SPELLINGS):
            assert self.secret(env, spelling) == "secret of "
        for end in ("access-token", "refresh-token"):
            assert self.secret(env, HUB + end) is None
        assert self.call(env, "erase", stdin="docker.io") == Result(0, b"", b"")
        for spelling in (HUB, *HUB_SPELLINGS):
            assert self.secret(env, spelling) is None

    @pytest.mark.parametrize(("stored", "asked"), [pair for pair in contract.ALIASES if is_registry(pair[0])])
    def test_p29_p30_one_registry_by_other_names(self, env: dict[str, str], stored: str, asked: str) -> None:
        """What is found by a name is answered under that name; the list has the one name that there is in Vault."""
        self.put(env, stored, "user", SECRET)
        assert self.secret(env, asked) == SECRET
        assert self.call(env, "list").listing == {HUB if stored == HUB else "a.example": "user"}
        assert self.call(env, "erase", stdin=asked) == Result(0, b"", b"")
        assert self.secret(env, asked) is None

    @pytest.mark.parametrize(("stored", "asked"), contract.STRANGERS)
    def test_p30_other_registries_by_like_names(self, env: dict[str, str], stored: str, asked: str) -> None:
        """A secret goes to the host it belongs to; erasing a stranger takes nothing away; the rest is not kept."""
        is_kept = is_registry(stored)
        assert self.refused(env, stored) == (not is_kept and "-token" not in stored)
        assert self.secret(env, asked) is None
        assert self.call(env, "erase", stdin=asked) == Result(0, b"", b"")
        assert self.secret(env, stored) == (SECRET if is_kept else None)

    def test_p30_all_forms_side_by_side(self, env: dict[str, str]) -> None:
        """What is a configured registry is kept, with each port apart from the others, and the rest is refused."""
        kept = {form for form in contract.FORMS if not self.refused(env, form)}
        assert kept == {"a.example", "a.example:2376", "https://a.example:2376"}
        assert self.call(env, "list").listing == dict.fromkeys(("a.example", "a.example:2376"), "user")

    def test_p34_many_stores_at_once(self, env: dict[str, str]) -> None:
        """Each succeeds, or says that others write at the same time; one that did is kept whole, and listed once."""
        secrets = [f"secret-{number}" * 50 for number in range(32)]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            calls = [pool.submit(self.call, env, "store", stdin=document("a.example", "user", one)) for one in secrets]
        results = [call.result() for call in calls]
        done = {secret for secret, result in zip(secrets, results, strict=True) if result == Result(0, b"", b"")}
        assert done
        for result in results:
            assert result.code == 0 or (result.told and b"secret-" not in result.out + result.err)
        assert self.secret(env, "a.example") in done
        assert self.call(env, "list").listing == {"a.example": "user"}
        assert self.call(env, "erase", stdin="a.example") == Result(0, b"", b"")
        assert self.secret(env, "a.example") is None


@pytest.fixture(scope="module")
def engine(authority: CertificateAuthority) -> Iterator[Vault]:
    """A server at a name of its own, with an engine that makes users in Redis and lets each live for an hour."""
    with Redis() as redis, Vault(authority, NAME) as vault:
        vault.call("POST", "sys/mounts/database", {"type": "database"})
        where = {"plugin_name": "redis-database-plugin", "host": "127.0.0.1", "port": redis.port, "tls": False}
        login = {"username": "default", "password": redis.password, "allowed_roles": "*"}
        vault.call("POST", "database/config/redis", where | login)
        vault.policy("puller", "database/creds/* read", "sys/leases/renew update", "sys/leases/revoke update")
        yield vault


class TestLeased(contract.SourceContract):
    """With an engine that makes a user for each lease. Nobody can write there, and `docker login` need not know it."""

    name = "vault"
    own = ("registry.acme.example", "other.acme.example:5000")
    foreign = (
        *("ghcr.io", "gcr.io", "acme.azurecr.io", "111122223333.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws"),
        *("acme.example", "xregistry.acme.example", "registry-acme.example", "registry.acme.example.evil.example"),
        *("other.acme.example", "other.acme.example:5001", f"{NAME}", "a.registry.acme.example"),
    )

    @pytest.fixture
    def cloud(self, authority: CertificateAuthority, engine: Vault, tmp_path: Path) -> Iterator[contract.Cloud]:
        config = tmp_path / "config.toml"
        config.write_text(
            "".join(
                f'[[registry]]\nmatch = "{host}"\nsource = "vault"\npath = "database/creds/puller"\n'
                'engine = "leased"\nread_only = true\n'
                for host in self.own
            )
        )
        config.chmod(0o600)

        def live(seconds: float) -> None:
            role = {"db_name": "redis", "creation_statements": ['["~*", "+get"]'], "default_ttl": f"{seconds:.0f}s"}
            engine.call("POST", "database/roles/puller", role | {"max_ttl": "24h"})

        def expiry(_secret: str) -> float:
            """When the newest lease ends."""
            place = "sys/leases/lookup/database/creds/puller"
            ids = [f"database/creds/puller/{key}" for key in engine.call("LIST", place)["data"]["keys"]]
            found = [engine.call("PUT", "sys/leases/lookup", {"lease_id": one})["data"] for one in ids]
            newest = max(found, key=lambda lease: datetime.fromisoformat(lease["issue_time"]))
            return datetime.fromisoformat(newest["expire_time"]).timestamp()

        live(3600)
        with Proxy({NAME: engine.port}) as proxy:
            yield contract.Cloud(
                env={
                    "CREDHELPERS_CONFIG": str(config),
                    "VAULT_ADDR": engine.address,
                    "VAULT_TOKEN": engine.token_for("puller"),
                    "VAULT_CACERT": str(authority.pem),
                    "HTTPS_PROXY": proxy.url,
                },
                asked=proxy.asked,
                fail=proxy.routes.clear,
                expiry=expiry,
                live=live,
            )

    def test_p18_what_docker_login_typed_is_answered(
        self, env: dict[str, str], home: Path, cloud: contract.Cloud
    ) -> None:
        """Not here: what is written to Vault its entry says, and where that is nothing, nothing is kept beside it."""
        for host in self.own:
            assert self.call(env, "store", stdin=document(host, "someone", SECRET)) == Result(0, b"", b"")
        assert cloud.asked == []
        assert self.call(env, "get", stdin=self.own[0]).credential["Secret"] != SECRET
        for path in home.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes()

    def test_p39_what_is_answered_lives_longer_than_five_minutes(
        self, env: dict[str, str], cloud: contract.Cloud
    ) -> None:
        """A lease that is too short for that is kept for three quarters all the same: each one makes a user."""
        first = self.call(env, "get", stdin=self.own[0]).credential["Secret"]
        assert cloud.expiry(first) - time.time() > 300
        assert self.call(env, "erase", stdin=self.own[0]) == Result(0, b"", b"")
        cloud.live(303)
        answers = {self.call(env, "get", stdin=self.own[0]).credential["Secret"] for _ in range(3)}
        assert len(answers - {first}) == len(answers) == 1
