"""The half of the Vault source that a cache hit runs: which registry it is, and by whose hand it would be answered."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from credhelpers.errors import NotMine, Unavailable
from credhelpers.servers import Authority
from credhelpers.sources.vault import Vault
from tests.harness import BIN, NOT_FOUND, Result, environment, need
from tests.harness import loaded_call as call
from tests.routes import host_key_of, minter_of, routed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.services import Vault as Server

HOST = "registry.acme.example"
ANY = {"DOCKER_CREDENTIAL_VAULT_KV_PATH": "kv/any"}  # Vault owns every registry then
ENTRY = '[[registry]]\nmatch = "*.acme.example"\nsource = "vault"\npath = "kv/{host}"\n'


def source(home: Path, **more: str) -> Vault:
    """The source of a user."""
    environ = {os.fsencode(name): os.fsencode(value) for name, value in ({"HOME": str(home)} | more).items()}
    return Vault(environ)


def write(path: Path, text: str = "made-up") -> dict[str, str]:
    """Make a file; nothing in the environment names it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return {}


@pytest.fixture
def config(home: Path) -> Path:
    """The configuration file."""
    path = home / ".config/credhelpers/config.toml"
    write(path, ENTRY)
    return path


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (HOST, HOST),
        (HOST.upper(), HOST),
        (f"https://{HOST}/v2/", HOST),
        (f"{HOST}:443", HOST),
        (f"{HOST}/team/app", HOST),
        (f"{HOST}:5000", f"{HOST}:5000"),
        ("https://index.docker.io/v1/", "index.docker.io"),
        ("docker.io", "index.docker.io"),
    ],
)
def test_one_registry_has_one_name(home: Path, server: str, expected: str) -> None:
    """Spellings of one registry share what is cached, and the key does not tell them apart."""
    vault = source(home, **ANY)

    assert Authority(server).name == expected
    assert host_key_of(vault, server) == host_key_of(vault, expected)


@pytest.mark.parametrize(
    "server",
    [
        *(
            f"http://{HOST}",
            f"ftp://{HOST}",
            f"//{HOST}",
            f"user@{HOST}",
            f"user:secret@{HOST}",
            f"{HOST}?x",
            f"{HOST}#x",
        ),
        *(
            f".{HOST}",
            f"-{HOST}",
            f"{HOST}.",
            f"{HOST}:0",
            f"{HOST}:65536",
            f"{HOST}:x",
            f"{HOST}:",
            "[::1]",
            "a b",
            "",
        ),
        *("../../etc", "%2e%2e", "{host}", "https://index.docker.io/v1/access-token"),
    ],
)
def test_what_is_nobodys(home: Path, config: Path, server: str) -> None:
    """A string that could be read as two hosts, or as a path in Vault, is no registry of anybody's."""
    with pytest.raises(NotMine):
        routed(source(home), server)


# What selects a server, a path or an identity.
CHANGES: dict[str, Callable[[Path], dict[str, str]]] = {
    **{
        name: lambda _, name=name: {name: "made-up"}  # type: ignore[misc] # a default binds the name
        for name in (
            *("VAULT_ADDR", "VAULT_AGENT_ADDR", "VAULT_NAMESPACE", "VAULT_TOKEN", "VAULT_CACERT", "VAULT_CLIENT_CERT"),
            *("VAULT_TLS_SERVER_NAME", "VAULT_HEADERS", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_JWT"),
            *("VAULT_USERNAME", "VAULT_PASSWORD", "BAO_ADDR", "BAO_TOKEN", "BAO_NAMESPACE", "VAULT_OF_A_LATER_RELEASE"),
            *("DCVL_CONFIG_FILE", "DOCKER_CREDENTIAL_VAULT_KV_PATH"),
        )
    },
    "an empty BAO_TOKEN, which hides VAULT_TOKEN": lambda _: {"BAO_TOKEN": ""},
    "the file of a login": lambda home: write(home / ".vault-token"),
    "vault's own configuration": lambda home: write(home / ".vault"),
    "bao's own configuration": lambda home: write(home / ".bao"),
    "the configuration": lambda home: write(home / ".config/credhelpers/config.toml", ENTRY + 'namespace = "x"'),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_selects_an_identity_is_in_the_key(
    home: Path, config: Path, change: Callable[[Path], dict[str, str]]
) -> None:
    """Who changes it does not get what was cached before."""
    before = host_key_of(source(home), HOST)

    assert host_key_of(source(home, **change(home)), HOST) != before


@pytest.mark.parametrize("variable", ["VAULT_TOKEN_PATH", "BAO_TOKEN_PATH", "VAULT_CONFIG_PATH", "BAO_CONFIG_PATH"])
def test_a_file_that_is_named_is_in_the_key(home: Path, config: Path, tmp_path: Path, variable: str) -> None:
    """A file elsewhere counts by its content's stamp, as the usual one does."""
    file = tmp_path / "file"
    before = host_key_of(source(home, **{variable: str(file)}), HOST)
    write(file)
    between = host_key_of(source(home, **{variable: str(file)}), HOST)
    write(file, "made-up, too")

    assert len({before, between, host_key_of(source(home, **{variable: str(file)}), HOST)}) == 3


def _agent(lines: str = "", method: str = "token") -> str:
    """A file of vault-login's."""
    return f'auto_auth {{ method "{method}" {{ config {{ secret = "kv/x"\n{lines} }} }} }}\n'


@pytest.mark.parametrize(
    ("variable", "texts"),
    [
        (
            "DCVL_CONFIG_FILE",
            [_agent(), _agent() + 'vault { address = "https://v.example" }', _agent().replace("/x", "/y")],
        ),
        ("CREDHELPERS_CONFIG", [ENTRY, ENTRY + "read_only = true\n", ENTRY.replace("kv/", "other/")]),
    ],
)
def test_what_a_file_says_is_in_the_key(home: Path, tmp_path: Path, variable: str, texts: list[str]) -> None:
    """What it says of this registry, and nothing else that stands in it."""
    file = tmp_path / "file"
    keys = []
    for text in (*texts, texts[0], texts[0] + "# and nothing else\n"):
        write(file, text)
        keys.append(host_key_of(source(home, **{variable: str(file)}), HOST))

    assert len(set(keys)) == len(texts)
    assert keys[0] == keys[-1] == keys[-2]


@pytest.mark.parametrize("variable", ["CREDHELPERS_CONFIG", "HOME", "DCVL_CONFIG_FILE"])
def test_a_file_that_is_not_there_any_more(home: Path, config: Path, variable: str) -> None:
    """What was cached by its leave is not answered."""
    if variable == "DCVL_CONFIG_FILE":
        config.unlink()
    with pytest.raises((NotMine, Unavailable)):
        host_key_of(source(home, **{variable: "/made-up"}), HOST)


@pytest.mark.parametrize(
    ("variable", "usual"),
    [("BAO_TOKEN_PATH", ".vault-token"), ("BAO_CONFIG_PATH", ".vault"), ("VAULT_CONFIG_PATH", ".bao")],
)
def test_an_empty_variable_leaves_the_usual_file(home: Path, config: Path, variable: str, usual: str) -> None:
    """Somebody else's login counts at once, whatever is exported to nothing."""
    before = host_key_of(source(home, **{variable: ""}), HOST)
    write(home / usual)

    assert host_key_of(source(home, **{variable: ""}), HOST) != before


@pytest.mark.parametrize(
    ("cloud", "variable"),
    [
        *(("aws", "AWS_PROFILE"), ("aws", "AWS_ACCESS_KEY_ID"), ("gcp", "GOOGLE_APPLICATION_CREDENTIALS")),
        *(("gcp", "GCE_METADATA_HOST"), ("azure", "AZURE_CLIENT_ID"), ("azure", "IDENTITY_ENDPOINT")),
    ],
)
def test_variables_of_a_cloud_count_where_it_is_configured(
    home: Path, config: Path, tmp_path: Path, cloud: str, variable: str
) -> None:
    """Who logs in by a cloud's identity has it in the key, whether our file or vault-login's says so."""
    assert host_key_of(source(home), HOST) == host_key_of(source(home, **{variable: "x"}), HOST)

    write(config, ENTRY + f'auth = "{cloud}"\nrole = "r"\n')
    assert host_key_of(source(home), HOST) != host_key_of(source(home, **{variable: "x"}), HOST)

    config.unlink()
    write(tmp_path / "agent.hcl", _agent('role = "r"', cloud))
    theirs = {"DCVL_CONFIG_FILE": str(tmp_path / "agent.hcl")}
    assert host_key_of(source(home, **theirs), HOST) != host_key_of(source(home, **theirs, **{variable: "x"}), HOST)


@pytest.mark.parametrize("named", [None, "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_the_profiles_of_aws_count_where_they_log_in(
    home: Path, config: Path, tmp_path: Path, named: str | None
) -> None:
    """They are edited in place, so their stamps are in the key."""
    write(config, ENTRY + 'auth = "aws"\nrole = "r"\n')
    file = tmp_path / "profiles" if named else home / ".aws/credentials"
    more = {named: str(file)} if named else {}
    before = host_key_of(source(home, **more), HOST)
    write(file)

    assert host_key_of(source(home, **more), HOST) != before


@pytest.mark.parametrize(
    ("lines", "variables", "file"),
    [
        ('auth = "aws"', {"AWS_CONFIG_FILE": "~/profiles"}, "profiles"),
        ('auth = "aws"', {"AWS_SHARED_CREDENTIALS_FILE": "$HOME/keys"}, "keys"),
        ('auth = "aws"', {"BOTO_CONFIG": "{home}/boto"}, "boto"),
        ('auth = "aws"', {"AWS_CREDENTIAL_FILE": "{home}/old"}, "old"),
        ('auth = "aws"', {}, ".aws/config"),
        ('auth = "gcp"\nrole = "r"', {"GOOGLE_APPLICATION_CREDENTIALS": "{home}/key.json"}, "key.json"),
        ('auth = "gcp"\nrole = "r"\ncredentials_file = "{home}/key.json"', {}, "key.json"),
        ('auth = "approle"\nrole_id_file = "{home}/role"', {}, "role"),
        ('engine = "aws"', {"AWS_CONFIG_FILE": "~/profiles"}, "profiles"),
    ],
)
def test_a_file_that_chooses_who_mints(
    home: Path, config: Path, lines: str, variables: dict[str, str], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changed in any way, also by words of the same length, it is another identity: for a hit and for the token."""
    monkeypatch.setenv("HOME", str(home))  # by which botocore expands a path
    write(config, ENTRY + lines.format(home=home) + "\n")
    more = {"VAULT_ADDR": "http://127.0.0.1:9"}
    more |= {name: value.format(home=home) for name, value in variables.items()}
    seen = []
    for text in (None, "alice", "admin"):
        if text:
            write(home / file, text)
        seen.append((host_key_of(source(home, **more), HOST), minter_of(source(home, **more), HOST).token_key))
    assert len({copy for copy, _ in seen}) == len({key for _, key in seen}) == 3


@pytest.mark.parametrize(
    ("host", "lines", "variable", "counts"),
    [
        (HOST, 'engine = "azure"', "AZURE_TENANT_ID", True),
        (HOST, 'engine = "aws"', "AWS_ENDPOINT_URL_ECR", True),
        (HOST, 'registry = "acmehub.azurecr.io"', "AZURE_AUTHORITY_HOST", True),
        (HOST, 'account = "111122223333"\nregion = "eu-west-1"', "AWS_USE_FIPS_ENDPOINT", True),
        ("acmehub.azurecr.io", "", "AZURE_AUTHORITY_HOST", True),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", "", "AWS_ENDPOINT_URL_ECR", True),
        ("public.ecr.aws", "", "AWS_USE_FIPS_ENDPOINT", True),
        (HOST, "", "AZURE_TENANT_ID", False),
        (HOST, 'engine = "kv-v2"', "AWS_ENDPOINT_URL_ECR", False),
        ("acmehub.azurecr.io", 'engine = "kv-v2"', "AZURE_AUTHORITY_HOST", False),
        (HOST, 'engine = "gcp"', "AWS_PROFILE", False),
    ],
)
def test_what_chooses_a_cloud_s_endpoint(
    home: Path, config: Path, host: str, lines: str, variable: str, *, counts: bool
) -> None:
    """Where an engine of Vault's gives an identity, the environment says where it is exchanged."""
    write(config, ENTRY.replace("*.acme.example", host) + lines + "\n")
    more = {"VAULT_ADDR": "http://127.0.0.1:9"}
    one, other = source(home, **more), source(home, **more, **{variable: "x"})
    assert (host_key_of(one, host) != host_key_of(other, host)) == counts
    assert (minter_of(one, host).token_key != minter_of(other, host).token_key) == counts


@pytest.mark.parametrize(
    "more",
    [
        *({"PATH": "/x"}, {"LANG": "C"}, {"HTTPS_PROXY": "http://x"}, {"CREDHELPERS_DEBUG": "1"}, {"AWS_PROFILE": "x"}),
        *({"PYTHONPATH": "/x"}, {"XDG_RUNTIME_DIR": "/x"}, {"MY_VAULT_ADDR": "x"}),
    ],
    ids=str,
)
def test_what_selects_nobody_is_not_in_the_key(home: Path, config: Path, more: dict[str, str]) -> None:
    """Else a new terminal would be another identity."""
    assert host_key_of(source(home, **more), HOST) == host_key_of(source(home), HOST)


def test_registries_and_values_do_not_run_together(home: Path, config: Path) -> None:
    """Two settings never give one key because one ends where the other begins."""
    keys = [
        host_key_of(source(home, VAULT_ADDR="a", VAULT_TOKEN="b"), HOST),
        host_key_of(source(home, VAULT_ADDR="ab", VAULT_TOKEN=""), HOST),
        host_key_of(source(home, VAULT_ADDR="", VAULT_TOKEN="ab"), HOST),
        host_key_of(source(home, VAULT_ADDR="a", BAO_TOKEN="b"), HOST),
        host_key_of(source(home, VAULT_ADDR="a"), HOST),
        host_key_of(source(home), HOST),
        host_key_of(source(home), f"a.{HOST.partition('.')[2]}"),
        host_key_of(source(home, **ANY), f"{HOST}:5000"),
        host_key_of(source(home, **ANY), f"a.{HOST}"),
    ]

    assert len(set(keys)) == len(keys)


def test_nothing_is_configured(home: Path) -> None:
    """No registry is anybody's, whatever token there is, and nobody is asked."""
    env = environment(home, VAULT_ADDR="https://vault.invalid", VAULT_TOKEN="made-up")

    for server in (HOST, "https://index.docker.io/v1/", "localhost:5000"):
        assert call("vault", "get", server, env) == Result(1, NOT_FOUND, b"")
    assert call("vault", "list", "", env).listing == {}


def test_a_hit_reads_its_own_answer_only(home: Path, config: Path, vault: Server) -> None:
    """No SDK, no token, no certificate, no plan; the files that select an identity are looked at, and not opened."""
    strace = need("strace", "strace")
    vault.call("POST", "sys/mounts/hot", {"type": "kv", "options": {"version": "1"}})
    vault.call("POST", f"hot/{HOST}", {"username": "someone", "password": "made-up"})
    write(config, ENTRY.replace("kv/", "hot/"))
    config.chmod(0o600)
    write(home / ".vault-token", vault.token)
    (home / ".vault-token").chmod(0o600)
    env = environment(home, VAULT_ADDR=vault.address)
    try:
        time.sleep(2)  # a younger configuration is read again
        for _ in range(2):
            assert call("vault", "get", HOST, env).credential["Username"] == "someone"
        log = home.parent / "log"
        command = [
            strace,
            "-f",
            "-e",
            "trace=openat,open,connect",
            "-o",
            str(log),
            str(BIN / "docker-credential-vault"),
            "get",
        ]
        done = subprocess.run(command, input=HOST.encode(), env=env, capture_output=True, check=True)
        assert b"someone" in done.stdout
    finally:
        vault.call("DELETE", "sys/mounts/hot")

    lines = log.read_text().splitlines()
    assert not [line for line in lines if " connect(" in line]
    opened = [
        line.split('"')[1] for line in lines if '"' in line and " ENOENT " not in line and "O_DIRECTORY" not in line
    ]
    own = [path for path in opened if path.startswith(str(home)) or not path.startswith("/")]
    assert [path.partition("-")[0] for path in own] == ["vault"], own
    assert not [path for path in opened if "hvac" in path or "requests" in path or "/ssl" in path or "/json" in path]
