"""docs/drop-in.md says which names and variables of other helpers count here, and that is so."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest

from credhelpers import hosts
from credhelpers.config.lines import owners
from tests.forms import EXECUTABLES, ROOT
from tests.harness import BIN, NOT_FOUND, Result, call, document, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services import Vault

PAGE = (ROOT / "docs/drop-in.md").read_text()
CODE = "".join(path.read_text() for path in sorted((ROOT / "credhelpers").rglob("*.py")))
HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"

# What the other helpers' own pages tell their users to set.
DOCUMENTED = {
    "ecr-login": ["AWS_PROFILE", "AWS_ECR_DISABLE_CACHE", "AWS_ECR_CACHE_DIR", "AWS_ECR_IGNORE_CREDS_STORAGE"],
    "gcloud": ["CLOUDSDK_CONFIG", "CLOUDSDK_ACTIVE_CONFIG_NAME", "CLOUDSDK_CORE_ACCOUNT"],
    "gcr": ["GOOGLE_APPLICATION_CREDENTIALS", "DOCKER_CREDENTIAL_GCR_CONFIG", "DOCKER_CREDENTIAL_GCR_STORE"],
    "acr-env": [
        *("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN"),
        "AZURE_FEDERATED_TOKEN_FILE",
    ],
    "acr-login": ["AZURE_TENANT_ID", "ACR_LOGIN_LOG_LEVEL"],
    "vault-login": ["DCVL_CONFIG_FILE", "DCVL_LOG_DIR", "DCVL_DISABLE_CACHE", "DCVL_DH_PRIV_KEY", "VAULT_TOKEN"],
    "vault": ["VAULT_ADDR", "VAULT_TOKEN", "DOCKER_CREDENTIAL_VAULT_KV_PATH"],
}


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table that begins with `heading`, row by row."""
    for line in PAGE.partition(f"| {heading} |")[2].splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


VARIABLES = [
    pytest.param(name, fate, id=name)
    for names, _, fate in rows("variable")
    for name in re.findall(r"`([A-Z][A-Z_]+)`", names)
]


def test_the_names_are_those_of_the_installer() -> None:
    """What --replace takes, and what it starts, stands in the table of names."""
    script = (ROOT / "install.sh").read_text()
    pairs = re.search(r"^drop_ins='(.*)'$", script, re.MULTILINE)
    assert pairs
    own = {name.removeprefix("docker-credential-") for name in EXECUTABLES}
    told = {name.strip("`"): re.findall("`(.*?)`", started)[0] for name, _, started in rows("name")}

    assert {name for name, started in told.items() if started == f"docker-credential-{name}"} <= own
    taken = dict(pair.split("=") for pair in pairs[1].split())
    assert {name: f"docker-credential-{helper}" for name, helper in taken.items()} == {
        name: started for name, started in told.items() if name not in own
    }
    assert set(taken.values()) <= own


@pytest.mark.parametrize(
    ("helper", "variable"), [(helper, name) for helper, names in DOCUMENTED.items() for name in names]
)
def test_every_variable_of_theirs_is_explained(helper: str, variable: str) -> None:
    """Each has a row that names the helper."""
    assert [names for names, of, _ in rows("variable") if f"`{variable}`" in names and f"`{helper}`" in of]


@pytest.mark.parametrize(("variable", "fate"), VARIABLES)
def test_a_variable_counts_if_the_page_says_so(variable: str, fate: str) -> None:
    """The code knows what is honoured, and knows nothing of what is not."""
    own = variable.removeprefix("VAULT_")  # `connection.variable` looks for these and for BAO_ too
    is_known = re.search(rf'b"{variable}"|\w\(.*"{own}"\)', CODE) is not None
    is_passed_on = variable.startswith("CLOUDSDK_") and 'startswith(b"CLOUDSDK_")' in CODE

    assert fate.partition(" ")[0].strip(",:") in ("honoured", "not", "passed")
    assert is_known == fate.startswith("honoured")
    assert is_passed_on or not fate.startswith("passed")


def test_the_example_is_right(tmp_path: Path) -> None:
    """The configuration that the page shows is one."""
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "config.toml").write_text(example)
    environ = {b"CREDHELPERS_CONFIG": bytes(tmp_path / "config.toml")}

    entries = owners(environ).entries

    assert len(entries) == len(tomllib.loads(example)["registry"])
    for host in ("europe-docker.pkg.dev", "gcr.io"):
        assert any(hosts.fits(entry.pattern, host) for entry in entries)


@pytest.mark.parametrize("value", [None, "", "false", "true"])
def test_login_and_logout_succeed_whatever_is_set(home: Path, value: str | None) -> None:
    """Amazon's helper fails both unless a variable is exactly `true`; ours never, and keeps nothing."""
    env = environment(home) | ({} if value is None else {"AWS_ECR_IGNORE_CREDS_STORAGE": value})

    assert call("ecr", "store", document(HOST, "AWS", "made-up"), env) == Result(0, b"", b"")
    assert call("ecr", "erase", HOST, env) == Result(0, b"", b"")
    assert not [path for path in home.rglob("*") if path.is_file() and b"made-up" in path.read_bytes()]


@pytest.mark.parametrize("command", ["gcr-login", "configure-docker", "config", "clear"])
def test_their_commands_are_told_not_to_exist(home: Path, command: str) -> None:
    """Who calls a command that only the original has gets a line, not a wrong answer."""
    done = call("gcr", command, env=environment(home))

    assert done.told == "usage"
    assert done.out.startswith(b"docker-credential-gcr: unknown action")
    assert done.out.count(b"\n") == 1


def test_a_user_of_vault_login_changes_nothing(home: Path, tmp_path: Path, vault: Vault) -> None:
    """The link of `--replace`, the original's file with its path for KV v2, and docker has the credential."""
    vault.call("POST", "sys/mounts/drop-in", {"type": "kv", "options": {"version": "2"}})
    vault.call("POST", "drop-in/data/docker", {"data": {"username": "someone", "password": "made-up"}})
    vault.policy("drop-in", "drop-in/data/docker read")
    file = tmp_path / "config.hcl"
    file.write_text("""auto_auth {
  method "token" { mount_path = "auth/token" config = { secrets = { registry.example = "drop-in/data/docker" } } }
}""")
    file.chmod(0o600)
    link = tmp_path / "docker-credential-vault-login"
    link.symlink_to(BIN / "docker-credential-vault")
    token = vault.token_for("drop-in")
    env = environment(home, DCVL_CONFIG_FILE=str(file), VAULT_ADDR=vault.address, VAULT_TOKEN=token)

    def ask(server: str) -> Result:
        done = subprocess.run([link, "get"], input=server.encode(), env=env, capture_output=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    try:
        assert ask("registry.example").credential["Username"] == "someone"
        assert ask("other.example") == Result(1, NOT_FOUND, b"")
    finally:
        vault.call("DELETE", "sys/mounts/drop-in")
        vault.call("DELETE", "sys/policies/acl/drop-in")


@pytest.mark.parametrize("host", ["mcr.microsoft.com", "x.azurecr.io.attacker.example", "gcr.io.attacker.example"])
def test_the_token_is_not_for_any_host(home: Path, host: str) -> None:
    """Originals have handed tokens to whatever host was asked for; here it is not found."""
    for helper in ("acr", "gcr", "ecr"):
        assert call(helper, "get", host, environment(home)) == Result(1, NOT_FOUND, b"")
