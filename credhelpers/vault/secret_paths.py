"""Where in Vault the credential of a registry is: what the configuration says, or what stands in for it.

The first that there is: an entry of the configuration file; `DOCKER_CREDENTIAL_VAULT_KV_PATH`, below which an older
helper kept a secret for each host; the configuration file of `docker-credential-vault-login`.
"""

from credhelpers import config, notes
from credhelpers.errors import NotMine, Unavailable
from credhelpers.exchanges.ecr import ecr
from credhelpers.exchanges.google import google_location
from credhelpers.hosts import DOCKER_HUB, HUB
from credhelpers.vault import auth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.config import Entry, Settings
    from credhelpers.identity import Environment

_MARKS = frozenset(("host", "port", "account", "region"))
_OF_ENVIRONMENT = b"DOCKER_CREDENTIAL_VAULT_KV_PATH"


class SecretPath:
    """A registry's path in Vault: `host` and `port` as in `hosts.Authority`, the settings, and `path` filled in.

    `is_shared_with_jsok`: whether the older helper of that name may read there what this one writes.
    """

    __slots__ = ("host", "is_shared_with_jsok", "path", "port", "settings")

    def __init__(self, host: str, port: str, settings: "dict[str, Any]", *, is_shared_with_jsok: bool = False) -> None:
        self.is_shared_with_jsok = is_shared_with_jsok
        self.host = host
        self.port = port
        self.settings = settings
        self.path = _filled(settings, host, port)

    @property
    def server(self) -> str:
        """The registry as docker names it."""
        if self.port:
            return f"{self.host}:{self.port}"
        return DOCKER_HUB if self.host == HUB else self.host


def find(environ: "Environment", settings: "Settings", host: str, port: str) -> SecretPath | None:
    """The registry's path in Vault, None if nothing names one. Raises Unavailable if what does so is broken."""
    server = f"{host}:{port}" if port else host
    entry = config.find(environ, "vault", settings, server, has_ports=True)
    if entry:
        _check(entry)
        return SecretPath(host, port, dict(entry.settings))
    template = of_environment(environ, settings)
    if template:
        return SecretPath(host, port, {"path": f"{template}:{{port}}" if port else template}, is_shared_with_jsok=True)
    from credhelpers.vault import agentfile

    found = agentfile.find(environ, settings, server)
    if found is None:
        notes.take("vault: no entry of config.toml matches this registry, and nothing else names it")
        return None
    return SecretPath(host, port, found)


def entries(environ: "Environment", settings: "Settings") -> "list[Entry]":
    """All entries of the configuration file. Raises Unavailable if one is broken."""
    found = config.load(environ, "vault", settings, has_ports=True)
    for entry in found:
        _check(entry)
    return found


def of_environment(environ: "Environment", settings: "Settings") -> str:
    """The template of what lies below the path in the environment, "" if there is none.

    jsok's helper keeps a secret for each host there, whatever the port; a registry on another port has its own here.
    """
    if not environ.get(_OF_ENVIRONMENT):
        return ""
    import re

    prefix = environ[_OF_ENVIRONMENT].decode("ascii", "replace").strip("/")
    if not re.fullmatch(str(settings["path"][1]), prefix + "/x") or "{" in prefix or "}" in prefix:
        raise Unavailable(
            "DOCKER_CREDENTIAL_VAULT_KV_PATH is not a path in Vault", "run `printenv DOCKER_CREDENTIAL_VAULT_KV_PATH`"
        )
    return prefix + "/{host}"


def _check(entry: "Entry") -> None:
    """Raise for settings that exclude each other or lack each other."""
    message = _contradiction(entry.settings) or auth.contradiction(entry.settings)
    if message:
        raise config.contradiction(entry, message)


def _contradiction(have: "Mapping[str, Any]") -> str:
    """What is wrong with the settings that say where the credential is; "" if nothing is."""
    if "path" not in have:
        return "no `path`"
    return _wrong_in_path(have["path"], have.get("mount")) or next((text for is_so, text in _rules(have) if is_so), "")


def _rules(have: "Mapping[str, Any]") -> "tuple[tuple[bool, str], ...]":
    engine = have.get("engine", "")
    is_no_kv = engine in ("leased", "aws", "gcp", "azure")
    fields = have.keys() & {"username_field", "password_field", "username"}
    return (
        ("mount" in have and not engine, "`mount` is for an `engine` that is said"),
        ("username" in have and "username_field" in have, "`username` or `username_field`, not both"),
        ("auths_field" in have and bool(fields), "`auths_field` has the user names and passwords in it"),
        ("auths_field" in have and have.get("on_erase") == "destroy", "`on_erase` would destroy all of `auths_field`"),
        ("version" in have and engine not in ("", "kv-v2"), "`version` is for KV v2"),
        ("on_erase" in have and engine not in ("", "kv-v2"), "`on_erase` is for KV v2"),
        ("on_erase" in have and "version" in have, "a pinned `version` is not erased"),
        ("auths_field" in have and is_no_kv, "`auths_field` is for KV"),
        ("on_write" in have and not have.get("read_only"), "`on_write` is for `read_only = true`"),
        ("on_erase" in have and bool(have.get("read_only")), "`on_erase` with `read_only = true`"),
        ("plain_http" in have and "address" not in have, "`plain_http` is for an `address` that is said"),
        ("tenant_id" in have and engine not in ("", "azure"), "`tenant_id` is for the engine azure"),
        ("registry" in have and engine not in ("", "azure", "gcp"), "`registry` is for the engines azure and gcp"),
        (("account" in have) != ("region" in have), "`account` and `region` go together"),
        ("account" in have and engine not in ("", "aws"), "`account` and `region` are for the engine aws"),
    )


def _wrong_in_path(template: str, mount: str | None) -> str:
    """What is wrong with a template; "" if nothing is."""
    import re

    parts = template.split("/")
    marks = re.findall(r"\{([^{}]*)\}", template)
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", template)) or not _MARKS.issuperset(marks):
        return "`path` may hold {host}, {port}, {account} and {region}, and no other brace"
    if "{" in parts[0]:
        return "the first part of `path` is a mount, and no registry's name chooses that"
    if "." in parts or ".." in parts:
        return "`path` has a part that is `.` or `..`"
    if mount and not template.startswith(mount + "/"):
        return "`path` does not begin with `mount`"
    return ""


def _filled(settings: "Mapping[str, Any]", host: str, port: str) -> str:
    """The template with its marks replaced. No value adds a part to the path or climbs, wherever it comes from."""
    import re

    template = settings["path"]
    values = {"host": host, "port": port or "443"}
    try:
        found = ecr(host)
        values |= {"account": found.account, "region": found.region}
    except NotMine:  # a template that needs what there is not says so below
        region = settings.get("region") or google_location(settings.get("registry", host))
        values |= {"account": settings.get("account", ""), "region": region}
    marks = re.findall(r"\{([^{}]*)\}", template)
    for mark in marks:
        if not values.get(mark):
            raise Unavailable(
                "the configured path in Vault needs what this registry's name does not have",
                "a `path` may hold {host} and {port}; {account} and {region} for Amazon, {region} for Google: say for "
                "which registry an alias stands",
            )
    path = re.sub(r"\{([^{}]*)\}", lambda match: values[match[1]], template)
    if any(part in ("", ".", "..") or "{" in part or "}" in part for part in path.split("/")):
        raise Unavailable("the configured path in Vault is not one", "see `path` in `docs/vault.md`")
    return path
