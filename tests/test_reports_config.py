"""What real people's machines did to us: rows of public reports that concern the configuration, by kind.

A row is named by the report's number, where it has one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from credhelpers import hosts, plan
from credhelpers.config.meanings import meant
from credhelpers.errors import NotMine, Unavailable
from credhelpers.servers import Authority
from tests.harness import NOT_FOUND, call, environment
from tests.routes import minter_of

if TYPE_CHECKING:
    from pathlib import Path

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
HUB = "https://index.docker.io/v1/"


class User:
    """A home with a configuration file."""

    def __init__(self, home: Path) -> None:
        self.file = home / "config.toml"
        self.environ = {b"HOME": os.fsencode(home), b"CREDHELPERS_CONFIG": os.fsencode(self.file)}

    def write(self, *entries: dict[str, str]) -> None:
        lines = []
        for entry in entries:
            lines += ["[[registry]]", *(f'{key} = "{value}"' for key, value in entry.items())]
        self.file.write_text("\n".join(lines) + "\n")

    def owner(self, server: str, source: str = "") -> str:
        """The line of the entry, what is wrong, or "" for nobody."""
        try:
            return str(plan.route(Authority(server), self.environ, source).line)
        except NotMine:
            return ""
        except Unavailable as error:
            return f"{error.message} ({error.code})"


@pytest.fixture
def user(home: Path) -> User:
    """The user of the test."""
    return User(home)


# --- a match that can never match ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "match",
    [
        pytest.param("docker.io", id="2.A4 docker.io"),
        pytest.param("index.docker.io", id="2.A4 index"),
        pytest.param("registry-1.docker.io", id="2.A4 registry-1"),
        pytest.param("registry.hub.docker.com", id="2.A4 registry.hub"),
        pytest.param("docker.io:443", id="own: with its port"),
        pytest.param("docker.io:*", id="own: with any port"),
        pytest.param("*.docker.io", id="2.A4 a star"),
        pytest.param("registry-*.docker.io", id="own: a star that has but one of the names"),
        pytest.param("*.hub.docker.com", id="own: a star that has the name of another domain"),
        pytest.param("registry.*.docker.com", id="own: a star in the middle"),
        pytest.param("docker.io/library", id="own: a path"),
    ],
)
def test_the_four_names_of_the_hub_are_one(user: User, match: str) -> None:
    """Whichever an entry has, and whichever is asked for."""
    user.write({"match": match, "source": "vault", "path": "kv/hub"})
    path = "/library/alpine" if "/" in match else ""
    for server in ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"):
        assert user.owner(server + path, "vault") == "1", server
        assert user.owner(f"https://{server}{path}", "vault") == "1", server
    if not path:
        assert user.owner(HUB, "vault") == "1"
    for stranger in ("docker.com", "hub.docker.com", "x.registry.hub.docker.com", "docker.io.evil.example"):
        assert user.owner(stranger, "vault") == ""


def test_own_what_the_hub_has_already(user: User) -> None:
    """The first entry that has the Hub by any name counts, whatever its stars."""
    user.write(
        {"match": "*.hub.docker.com", "source": "vault", "path": "kv/first"},
        {"match": "docker.io", "source": "vault", "path": "kv/second"},
    )
    assert user.owner("docker.io", "vault") == "1"


@pytest.mark.parametrize(
    ("source", "match", "asked"),
    [
        pytest.param("ecr", "*.amazonaws.com", ECR, id="3.A7 *.amazonaws.com"),
        pytest.param("ecr", "*.*.amazonaws.com", ECR, id="own: one label more"),
        pytest.param("ecr", "*.ecr.*.amazonaws.com", ECR, id="own: one label is missing"),
        pytest.param("ecr", "*.dkr.ecr.*.*.amazonaws.com", ECR, id="own: one label too many"),
        pytest.param("ecr", "acme*.dkr.ecr.*.amazonaws.com", ECR, id="own: an account that is none"),
        pytest.param("ecr", "*.dkr.ecs.*.amazonaws.com", ECR, id="own: another service"),
        pytest.param("ecr", "1111222233334*.dkr.ecr.*.amazonaws.com", ECR, id="own: an account of 13 digits"),
        pytest.param("ecr", "11112222333.dkr.ecr.eu-west-1.amazonaws.com", ECR, id="own: one of 11, without a star"),
        pytest.param("ecr", "*.dkr.ecr.*.amazonaws.com:8443", ECR, id="own: a port that no registry of it has"),
        pytest.param("acr", "*.*.azurecr.io", "contoso.azurecr.io", id="own: a region without geo"),
        pytest.param("acr", "*.*.data.azurecr.io", "contoso.azurecr.io", id="own: data endpoints"),
        pytest.param("gcr", "*.docker.pkg.dev", "europe-docker.pkg.dev", id="own: another order"),
        pytest.param("gcr", "*.*.gcr.io", "eu.gcr.io", id="own: a label too many for Google"),
        pytest.param("gcr", "europe-npm.pkg.dev", "europe-docker.pkg.dev", id="own: packages of another kind"),
    ],
)
def test_a_match_that_fits_no_registry_is_heard_of(user: User, source: str, match: str, asked: str) -> None:
    """By who asks for what was meant: another identity than that of the entry must not mint for it.

    Others of the cloud go on, and so does what an entry has that fits.
    """
    user.write({"match": match, "source": source})
    said = user.owner(asked, source)
    assert said.startswith("config.toml: line 2: `match` "), said
    assert said.endswith("(config-match)")
    assert user.owner(asked) == said, "a router hears of it, too"
    assert user.owner("ghcr.io", source) == ""
    user.write({"match": match, "source": source}, {"match": asked, "source": source})
    assert user.owner(asked, source) == "4"


@pytest.mark.parametrize(
    ("source", "match", "asked"),
    [
        pytest.param("ecr", "*.dkr.ecr.*.amazonaws.com", ECR, id="ECR"),
        pytest.param("ecr", "1111*.dkr.ecr.eu-*.amazonaws.com", ECR, id="own: stars in part"),
        pytest.param("ecr", "*.dkr*.*.on.aws", "111122223333.dkr-ecr.eu-west-1.on.aws", id="own: dual-stack"),
        pytest.param("ecr", "public.ecr.aws", "public.ecr.aws", id="ECR Public"),
        pytest.param("acr", "*.azurecr.io", "contoso.azurecr.io", id="ACR"),
        pytest.param("acr", "*.*.geo.azurecr.io", "contoso.westeurope.geo.azurecr.io", id="own: a regional endpoint"),
        pytest.param("gcr", "*.pkg.dev", "europe-docker.pkg.dev", id="Artifact Registry"),
        pytest.param("gcr", "docker.*.rep.pkg.dev", "docker.europe-west1.rep.pkg.dev", id="own: a regional one"),
        pytest.param("gcr", "*-docker.pkg.dev", "us-docker.pkg.dev", id="own: a star before the fixed end"),
    ],
)
def test_what_fits_is_no_mistake(user: User, source: str, match: str, asked: str) -> None:
    """It is the entry that counts."""
    user.write({"match": match, "source": source})
    assert user.owner(asked, source) == "1"


def test_an_entry_for_somebody_else_is_heard_of_by_nobody_else(user: User) -> None:
    """Only who has chosen its identity could have meant its hosts."""
    user.write(
        {"match": "*.amazonaws.com", "source": "ecr", "identity": "prod"}, {"match": "x.example", "source": "gcr"}
    )
    assert user.owner(ECR, "ecr") == "0"
    user.environ[b"CREDHELPERS_IDENTITY"] = b"prod"
    assert "line 2" in user.owner(ECR, "ecr")


@pytest.mark.parametrize(
    ("pattern", "rule", "expected"),
    [
        ("a.example", "a.example", True),
        ("*.example", "a.example", True),
        ("b.example", "a.example", False),
        ("*.*.example", "a.example", False),
        ("1*.example", "<a:3digits>.example", True),
        ("1*1*1.example", "<a:3digits>.example", True),
        ("1*1*11.example", "<a:3digits>.example", False),
        ("x*.example", "<a:3digits>.example", False),
        ("123.example", "<a:3digits>.example", True),
        ("1234.example", "<a:3digits>.example", False),
        ("pre-*.example", "pre-<a:place>-post.example", True),
        ("pr*t.example", "pre-<a:place>-post.example", True),
        ("x*.example", "pre-<a:place>-post.example", False),
        ("*x.example", "pre-<a:place>-post.example", False),
        ("pre-eu-post.example", "pre-<a:place>-post.example", True),
        ("pre-9-post.example", "pre-<a:place>-post.example", False),
    ],
)
def test_whether_two_patterns_may_meet(pattern: str, rule: str, *, expected: bool) -> None:
    """A host may fit both; false only where none does."""
    assert hosts.may_meet(pattern, rule) == expected


LOCALSTACK = "000000000000.dkr.ecr.us-east-1.localhost.localstack.cloud"


@pytest.mark.parametrize(
    ("entry", "asked"),
    [
        pytest.param(
            {"match": f"{LOCALSTACK}:4566", "source": "ecr", "account": "000000000000", "region": "us-east-1"},
            f"{LOCALSTACK}:4566",
            id="1.A12 LocalStack",
        ),
        pytest.param(
            {"match": "*.localstack.cloud:*", "source": "ecr", "account": "000000000000", "region": "us-east-1"},
            "x.localstack.cloud:4510",
            id="own: any port",
        ),
        pytest.param(
            {"match": "localhost:5000", "source": "acr", "registry": "contoso.azurecr.io"},
            "localhost:5000",
            id="own: a tunnel to ACR",
        ),
        pytest.param(
            {"match": "mirror.acme.example:8443", "source": "gcr", "universe": "googleapis.com"},
            "mirror.acme.example:8443",
            id="own: of Google",
        ),
    ],
)
def test_an_alias_may_have_a_port(user: User, entry: dict[str, str], asked: str) -> None:
    """It is asked for with that one, and has a token as any alias."""
    user.write(entry)
    assert user.owner(asked, entry["source"]) == "1"
    other = user.owner(asked.partition(":")[0] + ":1", entry["source"])
    assert other == ("1" if entry["match"].endswith(":*") else "")
    from credhelpers.installed import source

    made = source(entry["source"], user.environ)
    assert minter_of(made, asked).token_key


@pytest.mark.parametrize("match", ["[::1]:5000", "[::1]", "[fd00::1]:*", "[2001:db8::1]"])
def test_2_c2_an_address_of_ipv6_is_a_mistake_with_its_line(user: User, match: str) -> None:
    """It is said at every registry, with what to do: nobody knows which hosts were meant."""
    user.write({"match": match, "source": "vault", "path": "kv/x"})
    assert user.owner("a.example", "vault") == "config.toml: line 2: `match` is not a host in lower case (config-match)"
    with pytest.raises(Unavailable) as raised:
        plan.route(Authority("a.example"), user.environ, "vault")
    assert "IPv6" in raised.value.hint


# --- hints that do not mend ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "word", "key"),
    [
        ("vault", "secret_id", "secret_id_file"),
        ("vault", "auth_method", "auth"),
        ("vault", "mount_path", "auth_mount"),
        ("vault", "role_name", "role"),
        ("vault", "cache", "keep"),
        ("vault", "url", "address"),
        ("vault", "vault_addr", "address"),
        ("vault", "ca_cert", "ca_file"),
        ("vault", "ttl", "keep"),
        ("vault", "method", "auth"),
        ("ecr", "role", "role_arn"),
        pytest.param("vault", "VAULT_ADDR", "address", id="own: as the variable"),
        pytest.param("vault", "secret-id", "secret_id_file", id="own: with a hyphen"),
        pytest.param("vault", "Address", "address", id="own: another case"),
        pytest.param("vault", "secret", "path", id="own: of vault-login's file"),
        pytest.param("vault", "client_key", "key_file", id="own: of Vault's agent"),
        pytest.param("ecr", "url", "endpoint_url", id="own: of ECR"),
        pytest.param("acr", "tenant", "tenant_id", id="own: of ACR"),
        pytest.param("acr", "client_secret", "client_secret_file", id="own: a secret itself"),
        pytest.param("gcr", "service_account", "impersonate", id="own: of Google"),
        pytest.param("ecr", "profil", "profile", id="a misspelling is one still"),
    ],
)
def test_3_a7_what_people_type_leads_to_what_they_mean(user: User, source: str, word: str, key: str) -> None:
    """The hint names the key of that meaning, and not the one that looks most alike."""
    user.write({"match": "x.example", "source": source, word: "y"})
    with pytest.raises(Unavailable) as raised:
        plan.route(Authority("x.example"), user.environ, source)
    assert raised.value.hint.startswith(f"did you mean `{key}`?"), raised.value.hint


def test_3_a7_a_word_that_nobody_knows_does_not_list_them_all(user: User) -> None:
    """Some, and where the others are."""
    user.write({"match": "x.example", "source": "vault", "xyzzy": "y"})
    with pytest.raises(Unavailable) as raised:
        plan.route(Authority("x.example"), user.environ, "vault")
    assert raised.value.hint.startswith("it may be `match`, `source`, ")
    assert " more in `docs/configuration.md`" in raised.value.hint
    assert len(raised.value.hint) < 300


@pytest.mark.parametrize("missing", ["match", "source"])
def test_own_a_synonym_of_a_key_that_is_missing(user: User, missing: str) -> None:
    """Its line is named."""
    entry = {"match": "x.example", "source": "ecr"}
    entry[{"match": "host", "source": "type"}[missing]] = entry.pop(missing)
    user.write(entry)
    with pytest.raises(Unavailable) as raised:
        plan.route(Authority("x.example"), user.environ, "ecr")
    assert raised.value.hint.startswith(f"did you mean `{missing}`?"), raised.value.hint


@pytest.mark.parametrize(
    ("source", "word", "said"),
    [
        ("vault", "verify", "always verified"),
        ("vault", "insecure", "always verified"),
        ("vault", "token", "VAULT_TOKEN"),
        ("vault", "token_file", "VAULT_TOKEN_PATH"),
        pytest.param("ecr", "tls_verify", "always verified", id="own: of ECR"),
        pytest.param("vault", "tls-skip-verify", "always verified", id="own: with hyphens"),
    ],
)
def test_3_a7_what_no_key_is_for(user: User, source: str, word: str, said: str) -> None:
    """The hint says where it is said, or that it cannot be."""
    user.write({"match": "x.example", "source": source, word: "y"})
    with pytest.raises(Unavailable) as raised:
        plan.route(Authority("x.example"), user.environ, source)
    assert said in raised.value.hint


def test_own_a_token_is_a_word_of_vault_alone(user: User) -> None:
    """Elsewhere it leads to nothing of Vault's."""
    user.write({"match": "x.example", "source": "ecr", "vault_token": "y"})
    with pytest.raises(Unavailable) as raised:
        plan.route(Authority("x.example"), user.environ, "ecr")
    assert "VAULT" not in raised.value.hint


def test_own_every_meaning_is_of_a_key_that_there_is() -> None:
    """So that no hint names a key that has gone."""
    from credhelpers.config.meanings import _MEANT
    from credhelpers.sources import _acr, _ecr, _gcr, _vault

    known = {"match", "source"}.union(_acr.SETTINGS, _ecr.SETTINGS, _gcr.SETTINGS, _vault.SETTINGS)
    assert set(_MEANT) <= known
    assert meant("nonsense", tuple(known)) == ""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param("kv/{registry}", 4, id="3.A7 an unknown mark"),
        pytest.param("{host}/x", 4, id="own: a mark in the mount"),
        pytest.param("kv/../x", 4, id="own: a part that climbs"),
    ],
)
def test_the_line_of_a_mistake_is_that_of_its_key(user: User, path: str, line: int) -> None:
    """Also where the settings are looked at together; where two are named it is the entry's."""
    user.write({"match": "x.example", "source": "vault", "path": path})
    said = user.owner("x.example", "vault")
    assert said.startswith(f"config.toml: line {line}: ")
    assert "`path`" in said
    user.write({"match": "x.example", "source": "vault", "path": "kv/x", "mount": "kv"})
    assert user.owner("x.example", "vault").startswith("config.toml: line 1: `mount` is for an `engine`")


# --- the wrong cause is said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "variables", "cause", "hint"),
    [
        pytest.param({}, {"VAULT_ADDR": "https://v.example/v1"}, b"ends in `/v1`", b"take `/v1` off", id="2.B9"),
        pytest.param({}, {"VAULT_ADDR": "https://v.example/v1/"}, b"ends in `/v1`", b"off it", id="own: with a slash"),
        pytest.param({"address": "https://v.example/x/v1"}, {}, b"`address` in", b"off it", id="own: in config.toml"),
        pytest.param({"address": "http://v.example"}, {}, b"http://", b"`address = ", id="3.A7 http in config.toml"),
        pytest.param({}, {"VAULT_ADDR": "http://v.example"}, b"http://", b"`export VAULT_ADDR", id="and in a variable"),
        pytest.param({"address": "https://v.example:0"}, {}, b"not the URL", b"`address = ", id="own: no port"),
        pytest.param(
            {},
            {
                "VAULT_TOKEN": '{"token":"hvs.x","creation_path":"sys/wrapping/wrap"}',
                "VAULT_ADDR": "http://127.0.0.1:9",
            },
            b"response-wrapped",
            b"`vault unwrap`",
            id="2.B7 an agent's wrapped sink",
        ),
    ],
)
def test_the_cause_of_vault_is_said(
    user: User, home: Path, entry: dict[str, str], variables: dict[str, str], cause: bytes, hint: bytes
) -> None:
    """With what mends it where it was said: an entry beats the variables."""
    user.write({"match": "x.example", "source": "vault", "path": "kv/x"} | entry)
    env = environment(home, **({"CREDHELPERS_CONFIG": str(user.file), "VAULT_TOKEN": "x"} | variables))
    done = call("vault", "get", "x.example", env)
    assert cause in done.out, done
    assert hint in done.err, done


# --- silence where something is configured ---------------------------------------------------------------------------


def test_3_a3_who_debugs_hears_that_no_entry_matches(user: User, home: Path) -> None:
    """Without CREDHELPERS_DEBUG that is silent, since most hosts are nobody's."""
    user.write({"match": "hrabor.acme.example", "source": "vault", "path": "kv/x"})
    env = environment(home, CREDHELPERS_CONFIG=str(user.file))
    done = call("vault", "get", "harbor.acme.example", env)
    assert (done.out, done.err) == (NOT_FOUND, b"")
    done = call("vault", "get", "harbor.acme.example", env | {"CREDHELPERS_DEBUG": "1"})
    assert done.out == NOT_FOUND
    assert done.err.startswith(b"debug: no entry of config.toml has this registry, ")
