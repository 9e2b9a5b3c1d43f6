"""The receipt beside what it stands for: the lists by which each source told identities apart before there was one.

They are copied here as they were, and read without any cleverness. In every world that can be made of these pieces a
copy holds where the lists say the same, and nowhere else.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from credhelpers import cached_token
from credhelpers.cached_token import CachedToken
from credhelpers.credential import Credential
from credhelpers.errors import NotMine, Unavailable
from credhelpers.minted import Minted
from credhelpers.servers import Authority
from credhelpers.sources.acr import Acr
from credhelpers.sources.ecr import Ecr
from credhelpers.sources.gcr import Gcr

if TYPE_CHECKING:
    from collections.abc import Callable

Environ = dict[bytes, bytes]
Made = tuple[Environ, CachedToken, str, list[object]]

_ECR = (
    *("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "SECURITY_TOKEN", "CREDENTIAL_EXPIRATION", "PROFILE"),
    *("DEFAULT_PROFILE", "ROLE_ARN", "ROLE_SESSION_NAME", "WEB_IDENTITY_TOKEN_FILE"),
    *("CONTAINER_CREDENTIALS_RELATIVE_URI", "CONTAINER_CREDENTIALS_FULL_URI", "CONTAINER_AUTHORIZATION_TOKEN"),
    *("CONTAINER_AUTHORIZATION_TOKEN_FILE", "EC2_METADATA_DISABLED", "EC2_METADATA_V1_DISABLED"),
    *("EC2_METADATA_SERVICE_ENDPOINT", "EC2_METADATA_SERVICE_ENDPOINT_MODE", "IMDS_USE_IPV6", "LOGIN_CACHE_DIRECTORY"),
    *("IGNORE_CONFIGURED_ENDPOINT_URLS", "ENDPOINT_URL", "ENDPOINT_URL_ECR", "ENDPOINT_URL_ECR_PUBLIC"),
    *("ENDPOINT_URL_STS", "ENDPOINT_URL_SSO", "ENDPOINT_URL_SSO_OIDC", "ENDPOINT_URL_SIGNIN"),
    *("STS_REGIONAL_ENDPOINTS", "USE_DUALSTACK_ENDPOINT", "USE_FIPS_ENDPOINT"),
)
_GCR = (
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "CLOUDSDK_CONFIG"),
    *("GCE_METADATA_HOST", "GCE_METADATA_ROOT", "GCE_METADATA_IP", "NO_GCE_CHECK", "AWS_ACCESS_KEY_ID"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
)
_ACR = (
    *("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD"),
    *("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "AZURE_FEDERATED_TOKEN", "AZURE_FEDERATED_TOKEN_FILE"),
    *("AZURE_AUTHORITY_HOST", "AZURE_TOKEN_CREDENTIALS", "AZURE_POD_IDENTITY_AUTHORITY_HOST", "IDENTITY_ENDPOINT"),
    *("IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET"),
)


def _ecr_files(home: str, environ: dict[str, str], _is_gcloud: bool) -> list[str]:  # noqa: FBT001 - as all of them
    files = [
        environ.get("AWS_CONFIG_FILE", f"{home}/.aws/config"),
        environ.get("AWS_SHARED_CREDENTIALS_FILE", f"{home}/.aws/credentials"),
    ]
    files += [environ[name] for name in ("AWS_CREDENTIAL_FILE",) if name in environ]
    return [*files, environ["BOTO_CONFIG"]] if "BOTO_CONFIG" in environ else [*files, f"{home}/.boto"]


def _gcr_files(home: str, environ: dict[str, str], is_gcloud: bool) -> list[str]:  # noqa: FBT001 - as above
    folder = environ.get("CLOUDSDK_CONFIG") or f"{home}/.config/gcloud"
    files = [environ.get("GOOGLE_APPLICATION_CREDENTIALS", ""), f"{folder}/application_default_credentials.json"]
    if is_gcloud:
        files += [f"{folder}/active_config", f"{folder}/credentials.db", f"{folder}/configurations/config_one"]
    return files


def _acr_files(home: str, environ: dict[str, str], is_gcloud: bool) -> list[str]:  # noqa: FBT001 - as above
    said = [
        *("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN"),
        *("AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"),
    ]
    files = [environ.get("AZURE_CLIENT_CERTIFICATE_PATH", "")]
    if is_gcloud or environ.get("AZURE_TOKEN_CREDENTIALS") or not any(environ.get(name) for name in said):
        az = environ.get("AZURE_CONFIG_DIR") or f"{home}/.azure"
        azd = environ.get("AZD_CONFIG_DIR") or f"{home}/.azd"
        files += [f"{az}/azureProfile.json", f"{az}/config", f"{azd}/auth.json"]
    return files


class Kind:
    """A source, its hosts and entries, and what it told identities apart by.

    paths: variables that are paths, of files or folders
    is_large: whether the longer list of files counts for an entry with these settings
    """

    def __init__(
        self,
        make: Any,
        variables: tuple[str, ...],
        paths: tuple[str, ...],
        files: Callable[[str, dict[str, str], bool], list[str]],
        hosts: tuple[str, ...],
        entries: tuple[str, ...],
        is_large: Callable[[dict[str, Any]], bool] = bool,
    ) -> None:
        self.make, self.variables, self.paths, self.files = make, variables, paths, files
        self.hosts, self.entries, self.is_large = hosts, entries, is_large


def _entry(match: str, source: str, *more: str) -> str:
    return "\n".join(["[[registry]]", f'match = "{match}"', f'source = "{source}"', *more]) + "\n"


_PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
KINDS = {
    "ecr": Kind(
        Ecr,
        tuple(f"AWS_{name}" for name in _ECR),
        ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CREDENTIAL_FILE", "BOTO_CONFIG"),
        _ecr_files,
        (_PRIVATE, "public.ecr.aws", "444455556666.dkr.ecr.us-east-1.amazonaws.com", f"{_PRIVATE}/team-a/x"),
        (
            _entry(_PRIVATE, "ecr", 'profile = "one"'),
            _entry(_PRIVATE, "ecr", 'profile = "two"'),
            _entry(f"{_PRIVATE}/team-a", "ecr", 'profile = "a"'),
            _entry(_PRIVATE, "ecr", 'profile = "p"', 'identity = "prod"'),
        ),
    ),
    "gcr": Kind(
        Gcr,
        _GCR,
        ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"),
        _gcr_files,
        ("gcr.io", "europe-docker.pkg.dev", "gcr.io/team-a"),
        (
            _entry("gcr.io", "gcr", 'credential = "gcloud"'),
            _entry("gcr.io/team-a", "gcr", 'credential = "metadata"'),
            _entry("*.pkg.dev", "gcr", 'credential = "metadata"', 'identity = "prod"'),
        ),
        lambda settings: settings.get("credential") == "gcloud",
    ),
    "acr": Kind(
        Acr,
        _ACR,
        ("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CONFIG_DIR", "AZD_CONFIG_DIR"),
        _acr_files,
        ("contoso.azurecr.io", "other.azurecr.io", "contoso.azurecr.io/team-a"),
        (
            _entry("contoso.azurecr.io", "acr", 'tenant_id = "contoso.example"'),
            _entry("contoso.azurecr.io/team-a", "acr", 'tenant_id = "other.example"'),
            _entry("*.azurecr.io", "acr", 'tenant_id = "prod.example"', 'identity = "prod"'),
        ),
    ),
}


class World:
    """An environment, files, a configuration and what is asked for, in one home; `change` makes another of it."""

    def __init__(self, kind: Kind, home: Path, chance: random.Random) -> None:
        self.kind, self.home, self.chance = kind, home, chance
        self.environ: dict[str, str] = {}
        self.config = ""
        self.host = chance.choice(kind.hosts)
        home.mkdir()
        for _ in range(chance.randrange(12)):
            self.change()

    def change(self) -> None:
        """One thing, or nothing that counts."""
        chance, kind = self.chance, self.kind
        name = chance.choice((*kind.variables, *kind.paths, "CREDHELPERS_IDENTITY", "AWS_PAGER", "LANG"))
        match chance.randrange(6):
            case 0 | 1:
                is_path = name in kind.paths
                values = [str(self.home / word) for word in ("x", "y")] if is_path else ["one", "two", "prod"]
                self.environ[name] = chance.choice(values)
            case 2:
                self.environ.pop(chance.choice([*self.environ, name]), None)
            case 3:
                path = Path(chance.choice(self._files(is_large=True)) or f"{self.home}/x")
                path = path / "config" if path.is_dir() else path
                text = chance.choice(["", "one", "two"])
                if path.exists() and (not text or text != path.read_text()):
                    path.unlink()
                if text and not path.exists() and all(not above.is_file() for above in path.parents):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)
            case 4:
                entries = chance.sample(kind.entries, chance.randrange(len(kind.entries) + 1))
                patterns = [entry.splitlines()[1] + entry.partition("identity")[2] for entry in entries]
                text = "".join(entries) if len(set(patterns)) == len(patterns) else ""
                if text != self.config:
                    self.config = text
            case _:
                self.host = chance.choice(kind.hosts)

    def _files(self, *, is_large: bool) -> list[str]:
        return self.kind.files(str(self.home), self.environ, is_large)

    def plainly(self, settings: dict[str, Any]) -> list[object]:
        """All by which an answer was told from others, as a person would look it up."""
        is_large = self.kind.is_large(settings)
        said: list[object] = [self.host, self.config, self.environ.get("CREDHELPERS_IDENTITY", "")]
        said += [(name, self.environ.get(name)) for name in self.kind.variables]
        for file in self._files(is_large=is_large):
            path = Path(file)
            said += [file, path.read_text() if file and path.is_file() else path.is_dir() and bool(file)]
        return said

    def made(self) -> Made | None:
        """The environment, the copy that would be kept here, under which name, and `plainly`; None if nobody mints."""
        config = self.home / "config.toml"
        if not config.exists() or config.read_text() != self.config:
            config.write_text(self.config)
            config.chmod(0o600)
        environ = {name.encode(): value.encode() for name, value in self.environ.items()}
        environ |= {b"HOME": os.fsencode(self.home), b"CREDHELPERS_CONFIG": os.fsencode(config)}
        environ[b"CREDHELPERS_CACHE_DIR"] = os.fsencode(self.home.with_name("cache"))
        helper = Minted(self.kind.make(environ), environ)
        try:
            asked = Authority(self.host)
            recorder, route = helper._recorded(asked)
            helper._wanted(asked, recorder, route)
        except (NotMine, Unavailable):
            return None
        copy = CachedToken(Credential("u", "made-up"), (), 0, recorder.text())
        return environ, copy, cached_token.host_key(Authority(self.host), environ), self.plainly(route.settings)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", list(KINDS))
def test_a_copy_holds_where_the_lists_say_the_same(name: str, seed: int, tmp_path: Path) -> None:
    """And nowhere else."""
    chance = random.Random(f"{name} {seed}")
    same = other = 0
    for number in range(10):
        world = World(KINDS[name], tmp_path / f"home{number}", chance)
        kept: list[Made] = []
        last: Made | None = None
        for _ in range(12):
            if now := world.made():
                if last and (last[2], last[3]) == (now[2], now[3]):
                    assert cached_token.holds(last[1], now[0]), "what has changed does not count"
                for _, copy, key, said in kept:
                    is_found = key == now[2] and cached_token.holds(copy, now[0])
                    assert said == now[3] or not is_found
                    same += is_found
                    other += said != now[3]
                assert cached_token.holds(now[1], now[0]), "nothing has changed"
                kept.append(now)
            last = now
            world.change()
    assert same > 5
    assert other > 50
