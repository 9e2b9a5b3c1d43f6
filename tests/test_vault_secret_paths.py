"""Where in Vault a registry's credential is: the configuration, the template, and names that strangers write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.harness import NOT_FOUND, Result, document, environment
from tests.harness import loaded_call as call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services import Vault

HOST = "harbor.acme.example"
PATH = 'path = "kv/registries/{host}"'
ALIAS = ['account = "111122223333"', 'region = "eu-west-1"']


def configure(home: Path, *lines: str, match: str = "*.acme.example") -> None:
    """Write the configuration of one entry, whose header is line 1."""
    config = home / ".config/credhelpers/config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("\n".join(["[[registry]]", f'match = "{match}"', 'source = "vault"', *lines]) + "\n")


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    """Somebody with a token, and a Vault that nobody must ask."""
    return environment(home, VAULT_ADDR="http://127.0.0.1:9", VAULT_TOKEN="made-up", CREDHELPERS_CACHE_DIR="")


class Kv:
    """A mount of its own with KV v2, and a token for all of it."""

    def __init__(self, vault: Vault, env: dict[str, str]) -> None:
        self.vault = vault
        self.mount = f"kv{os.urandom(4).hex()}"
        vault.call("POST", f"sys/mounts/{self.mount}", {"type": "kv", "options": {"version": "2"}})
        vault.policy(self.mount, f"{self.mount}/* create,read,update,delete,list")
        self.env = env | {"VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.token_for(self.mount)}

    def put(self, path: str, secret: str) -> None:
        data = {"username": "robot", "password": secret}
        self.vault.call("POST", f"{self.mount}/data/{path}", {"data": data})

    def names(self, folder: str = "") -> list[str]:
        status, answer = self.vault.ask("LIST", f"{self.mount}/metadata/{folder}")
        return sorted(answer["data"]["keys"]) if status == 200 else []

    def get(self, server: str) -> Result:
        return call("vault", "get", server, self.env)

    def store(self, server: str, secret: str) -> Result:
        return call("vault", "store", document(server, "alice", secret), self.env)


@pytest.fixture
def kv(vault: Vault, env: dict[str, str]) -> Iterator[Kv]:
    """A mount that goes with the test."""
    mount = Kv(vault, env)
    yield mount
    vault.call("DELETE", f"sys/mounts/{mount.mount}")


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        pytest.param([], b"no `path`", id="no-path"),
        pytest.param(['path = "kv/x/{host"'], b"no other brace", id="open-brace"),
        pytest.param(['path = "kv/x/host}"'], b"no other brace", id="closing-brace"),
        pytest.param(['path = "kv/x/{{host}}"'], b"no other brace", id="two-braces"),
        pytest.param(['path = "kv/x/{}"'], b"no other brace", id="empty-mark"),
        pytest.param(['path = "kv/x/{user}"'], b"no other brace", id="unknown-mark"),
        pytest.param(['path = "kv/x/{host.x}"'], b"no other brace", id="attribute"),
        pytest.param(['path = "{host}/x"'], b"is a mount", id="mount-of-a-stranger"),
        pytest.param(['path = "kv-{host}/x"'], b"is a mount", id="mount-in-part"),
        pytest.param(['path = "kv/../sys/x"'], b"`..`", id="climbs"),
        pytest.param(['path = "kv/./x"'], b"`.`", id="stands"),
        pytest.param(['path = "../x"'], b"`..`", id="climbs-at-once"),
        pytest.param(['path = "kv//x"'], b"`path` is not", id="empty-part"),
        pytest.param(['path = "/kv/x"'], b"`path` is not", id="absolute"),
        pytest.param(['path = "kv/x/"'], b"`path` is not", id="folder"),
        pytest.param(['path = "kv"'], b"`path` is not", id="mount-alone"),
        pytest.param(['path = "kv/%2e%2e/x"'], b"`path` is not", id="escape"),
        pytest.param([r'path = "kv/x\n"'], b"`path` is not", id="line-end"),
        pytest.param([PATH, 'engine = "kv"'], b"`engine` is not", id="engine"),
        pytest.param([PATH, 'mount = "kv"'], b"`mount` is for", id="mount-without-engine"),
        pytest.param([PATH, 'engine = "kv-v2"', 'mount = "k"'], b"does not begin", id="another-mount"),
        pytest.param([PATH, 'engine = "kv-v2"', 'mount = "kv/registries/x"'], b"does not begin", id="longer-mount"),
        pytest.param([PATH, 'username = "a"', 'username_field = "b"'], b"not both", id="two-user-names"),
        pytest.param([PATH, 'auths_field = "a"', 'password_field = "b"'], b"`auths_field` has", id="auths-and-field"),
        pytest.param([PATH, 'auths_field = "a"', 'username = "b"'], b"`auths_field` has", id="auths-and-user"),
        pytest.param([PATH, 'auths_field = "a"', 'engine = "leased"'], b"is for KV", id="auths-of-a-lease"),
        pytest.param([PATH, 'auths_field = "a"', 'on_erase = "destroy"'], b"destroy all", id="auths-destroyed"),
        pytest.param([PATH, 'version = "1"', 'engine = "kv-v1"'], b"KV v2", id="version-of-v1"),
        pytest.param([PATH, 'version = "1"', 'engine = "aws"'], b"KV v2", id="version-of-aws"),
        pytest.param([PATH, 'version = "0"'], b"not a number", id="version-0"),
        pytest.param([PATH, 'version = "1"', 'on_erase = "delete"'], b"not erased", id="erase-pinned"),
        pytest.param([PATH, 'on_erase = "delete"', 'engine = "kv-v1"'], b"KV v2", id="erase-of-v1"),
        pytest.param([PATH, 'on_write = "refuse"'], b"`on_write`", id="write-and-not-read-only"),
        pytest.param([PATH, "read_only = false", 'on_write = "refuse"'], b"`on_write`", id="read-only-false"),
        pytest.param([PATH, "read_only = true", 'on_erase = "delete"'], b"`on_erase`", id="erase-and-read-only"),
        pytest.param([PATH, 'write = "some"'], b"`write` is not one of", id="write-of-no-kind"),
        pytest.param([PATH, 'write = "login"', "read_only = false"], b"in place of", id="write-and-read-only"),
        pytest.param([PATH, 'write = "all"', 'on_erase = "destroy"'], b"in place of", id="write-and-on-erase"),
        pytest.param([PATH, 'write = "never"', "read_only = true"], b"in place of", id="never-and-read-only"),
        pytest.param([PATH, 'plain_http = "allowed"'], b"`plain_http`", id="plain-http-of-the-environment"),
        pytest.param([PATH, 'account = "111122223333"'], b"go together", id="account-alone"),
        pytest.param([PATH, 'keep = "0s"'], b"`keep`", id="keep-0"),
        pytest.param([PATH, 'keep = "5 minutes"'], b"`keep`", id="keep-words"),
        pytest.param([PATH, 'auth = "approle"', 'jwt_file = "/x"'], b"", id="of-another-method"),
    ],
)
def test_settings_that_make_no_sense(home: Path, env: dict[str, str], lines: list[str], word: bytes) -> None:
    """They are an error that names file and line, before anybody is asked."""
    configure(home, *lines)

    result = call("vault", "get", HOST, env)

    assert result.code == 1
    assert result.out.startswith(b"config.toml: line "), result
    assert word in result.out, result


@pytest.mark.parametrize("verb", ["store", "erase"])
def test_every_verb_checks_the_settings(home: Path, env: dict[str, str], verb: str) -> None:
    """Nothing is written or deleted by settings that exclude each other."""
    configure(home, PATH, 'username = "a"', 'username_field = "b"')

    result = call("vault", verb, document(HOST, "alice", "typed") if verb == "store" else HOST, env)

    assert result.code == 1
    assert result.out.startswith(b"config.toml: line 1: "), result


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("..", id="dots"),
        pytest.param("../../sys/x", id="climbs"),
        pytest.param("..acme.example", id="empty-labels"),
        pytest.param(".acme.example", id="empty-label"),
        pytest.param("a..acme.example", id="empty-label-inside"),
        pytest.param("%2e%2e.acme.example", id="escapes"),
        pytest.param("x%2fadmin.acme.example", id="escaped-part"),
        pytest.param("{host}.acme.example", id="mark"),
        pytest.param("admin@harbor.acme.example", id="user-info"),
        pytest.param("harbor.acme.example@evil.example", id="user-info-other-way"),
        pytest.param("harbor.acme.example:0443", id="zero-port"),
        pytest.param("harbor.acme.example:99999", id="no-port"),
        pytest.param("harbor.acme.example:", id="empty-port"),
        pytest.param("harbor.acme.example:5000:443", id="two-ports"),
        pytest.param("harbor.acme.example?x=/v2/", id="query"),
        pytest.param("harbor.acme.example.evil.example", id="longer"),
        pytest.param("evil-acme.example", id="another-domain"),
        pytest.param("a.b.acme.example", id="two-labels"),
        pytest.param("acme.example", id="no-label"),
        pytest.param("http://harbor.acme.example", id="without-tls"),
        pytest.param("harbor.acme.example:5000", id="another-port"),
        pytest.param("harbor\\.acme.example", id="backslash"),
        pytest.param("h\N{KELVIN SIGN}arbor.acme.example", id="kelvin"),
    ],
)
def test_names_that_strangers_write(home: Path, kv: Kv, server: str) -> None:
    """No server but one that matches reads or writes anything, and none climbs."""
    configure(home, f'path = "{kv.mount}/registries/{{host}}"')
    for path in ("admin", "sys/x", f"registries/{HOST}", "registries/x/admin.acme.example"):
        kv.put(path, "planted")
    before = kv.names(), kv.names("registries/")

    for result in (kv.get(server), kv.store(server, "typed"), call("vault", "erase", server, kv.env)):
        assert b"planted" not in result.out + result.err
    assert kv.get(server).code == 1

    assert (kv.names(), kv.names("registries/")) == before
    assert kv.get(HOST).credential["Secret"] == "planted"


def test_every_value_of_a_template(home: Path, kv: Kv) -> None:
    """Host, port, account and region of a registry, as Amazon's names have them."""
    server = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    configure(home, f'path = "{kv.mount}/{{account}}/{{region}}/{{port}}/{{host}}"', match="*.dkr.ecr.*.amazonaws.com")
    kv.put(f"111122223333/eu-west-1/443/{server}", "planted")

    assert kv.get(server).credential["Secret"] == "planted"
    assert kv.get(f"https://{server}:443/v2/").credential["Secret"] == "planted"


@pytest.mark.parametrize(
    ("server", "lines", "path"),
    [
        pytest.param(HOST, ALIAS, f"111122223333/eu-west-1/{HOST}", id="alias"),
        pytest.param(
            "444455556666.dkr.ecr.us-east-2.amazonaws.com",
            ALIAS,
            "444455556666/us-east-2/444455556666.dkr.ecr.us-east-2.amazonaws.com",
            id="no-alias",
        ),
        pytest.param("europe-docker.pkg.dev", [], "{account}/europe/europe-docker.pkg.dev", id="google-multi-region"),
        pytest.param(
            "docker.us-east1.rep.pkg.dev", [], "{account}/us-east1/docker.us-east1.rep.pkg.dev", id="google-endpoint"
        ),
        pytest.param(HOST, ['registry = "us-east1-docker.pkg.dev"'], "{account}/us-east1/" + HOST, id="google-alias"),
    ],
)
def test_account_and_region(home: Path, kv: Kv, server: str, lines: list[str], path: str) -> None:
    """They are those of the registry's own name; else those of the registry for which it stands."""
    template = "{account}/{region}/{host}" if lines == ALIAS else "{region}/{host}"
    configure(home, f'path = "{kv.mount}/{template}"', *lines, match=server)
    kv.put(path.removeprefix("{account}/"), "planted")

    assert kv.get(server).credential["Secret"] == "planted"


@pytest.mark.parametrize(
    ("server", "match"),
    [
        pytest.param(HOST, "*.acme.example", id="another-cloud"),
        pytest.param("gcr.io", "gcr.io", id="google-without-a-location"),
        pytest.param("us.gcr.io", "*.gcr.io", id="google-of-old"),
        pytest.param("us-docker.pkg.dev.evil.example", "*.pkg.dev.evil.example", id="longer"),
        pytest.param("us-docker.evil.example", "*.evil.example", id="another-domain"),
        pytest.param("admin-x-y-docker.pkg.dev", "*.pkg.dev", id="no-location"),
        pytest.param("-docker.pkg.dev", "*.pkg.dev", id="empty-location"),
        pytest.param("us--docker.pkg.dev", "*.pkg.dev", id="half-a-location"),
        pytest.param("..-docker.pkg.dev", "*.pkg.dev", id="climbs"),
        pytest.param("us%2fadmin-docker.pkg.dev", "*.pkg.dev", id="escaped-part"),
        pytest.param("us/admin-docker.pkg.dev", "*.pkg.dev", id="part"),
        pytest.param("1-docker.pkg.dev", "*.pkg.dev", id="digit"),
        pytest.param("docker.us-x-y.rep.pkg.dev", "docker.*.rep.pkg.dev", id="endpoint-without-a-location"),
        pytest.param("evil.us.rep.pkg.dev", "*.*.rep.pkg.dev", id="another-endpoint"),
        pytest.param("111122223333.dkr.ecr.data.amazonaws.com", "*.dkr.ecr.*.amazonaws.com", id="no-region"),
    ],
)
def test_a_region_that_a_stranger_writes(home: Path, env: dict[str, str], server: str, match: str) -> None:
    """A name that is not whole one of the cloud's has no region, and nobody is asked for a path with it."""
    configure(home, 'path = "kv/{region}/{host}"', match=match)

    for verb in ("get", "erase"):
        result = call("vault", verb, server, env)
        assert b"nothing answers" not in result.out
        assert b"needs what this registry's name does not have" in result.out or result.out in (NOT_FOUND, b"")


def test_a_value_that_the_registry_does_not_have(home: Path, env: dict[str, str]) -> None:
    """It is an error, not an empty part."""
    configure(home, 'path = "kv/{account}/{host}"')

    result = call("vault", "get", HOST, env)

    assert result.code == 1
    assert b"needs what this registry's name does not have" in result.out


@pytest.mark.parametrize("name", ["data", "metadata", "config", "destroy", "subkeys"])
def test_a_host_that_is_called_as_the_api(home: Path, kv: Kv, name: str) -> None:
    """A registry named like a part of KV's API is a secret of that name."""
    configure(home, f'path = "{kv.mount}/{{host}}/pull"', match=name)
    kv.put("pull", "planted")

    assert kv.get(name).out == NOT_FOUND
    assert kv.store(name, "typed").code == 0
    assert kv.get(name).credential["Secret"] == "typed"
    assert kv.names() == sorted([f"{name}/", "pull"])


def test_the_path_of_the_older_helper(kv: Kv) -> None:
    """A secret for each host below DOCKER_CREDENTIAL_VAULT_KV_PATH, and another for each other port."""
    kv.env["DOCKER_CREDENTIAL_VAULT_KV_PATH"] = f"{kv.mount}/docker"
    kv.put(f"docker/{HOST}", "planted")

    assert kv.get(f"https://{HOST}/v1/").credential["Secret"] == "planted"
    assert kv.get(f"{HOST}:5000").out == NOT_FOUND
    assert kv.store(f"{HOST}:5000", "other").code == 0
    assert kv.get(HOST).credential["Secret"] == "planted"
    assert kv.get(f"{HOST}:5000").credential["Secret"] == "other"
    kept = kv.vault.call("GET", f"{kv.mount}/data/docker/{HOST}:5000")["data"]["data"]
    assert kept == {"ServerURL": f"{HOST}:5000", "Username": "alice", "Secret": "other"}
    assert call("vault", "list", "", kv.env).listing == {HOST: "robot", f"{HOST}:5000": "alice"}
    assert call("vault", "erase", f"{HOST}:5000", kv.env).code == 0
    assert kv.names("docker/") == [HOST, f"{HOST}:5000"]
    assert call("vault", "list", "", kv.env).listing == {HOST: "robot"}


def test_the_older_helper_at_the_mount_itself(kv: Kv) -> None:
    """The path may be a mount, and then a host may be called `data`."""
    kv.env["DOCKER_CREDENTIAL_VAULT_KV_PATH"] = f"/{kv.mount}/"
    kv.put("data", "planted")

    assert kv.get("data").credential["Secret"] == "planted"
    assert call("vault", "list", "", kv.env).listing == {"data": "robot"}


@pytest.mark.parametrize("value", ["/", "kv/../sys", "kv/{host}", "kv//x", "kv/%2e%2e", "kv/a b", "kv/é", "kv/x}"])
def test_an_older_path_that_is_none(env: dict[str, str], value: str) -> None:
    """It is an error that names the variable or says what it is not."""
    result = call("vault", "get", HOST, env | {"DOCKER_CREDENTIAL_VAULT_KV_PATH": value})

    assert result.code == 1
    assert b"path in Vault" in result.out


def test_a_configured_registry_comes_first(home: Path, kv: Kv) -> None:
    """The configuration file counts before the variable, which has all other registries."""
    kv.env["DOCKER_CREDENTIAL_VAULT_KV_PATH"] = f"{kv.mount}/docker"
    configure(home, f'path = "{kv.mount}/special"', match=HOST)
    kv.put("special", "special")
    kv.put(f"docker/{HOST}", "ordinary")
    kv.put("docker/other.example", "ordinary")

    assert kv.get(HOST).credential["Secret"] == "special"
    assert kv.get("other.example").credential["Secret"] == "ordinary"
    assert call("vault", "list", "", kv.env).listing == {HOST: "robot", "other.example": "robot"}


def test_nothing_says_where(env: dict[str, str]) -> None:
    """Without any place there is nothing to find, to list or to forget, and a login says what is missing."""
    assert call("vault", "get", HOST, env).out == NOT_FOUND
    assert call("vault", "list", "", env).listing == {}
    assert call("vault", "erase", HOST, env) == Result(0, b"", b"")
    result = call("vault", "store", document(HOST, "alice", "typed"), env)
    assert result.code == 1
    assert b"names no place" in result.out
