"""Where in Vault the credential of a registry is: said in the configuration, remembered, or asked for as `vault` does.

The first that there is says the path: an entry of the configuration file; `DOCKER_CREDENTIAL_VAULT_KV_PATH`, below
which an older helper kept a secret for each host; the configuration file of `docker-credential-vault-login`.
"""

from contextlib import suppress
from shlex import quote
from typing import NamedTuple

from credhelpers.errors import NotFound, NotMine, Unavailable
from credhelpers.servers import DOCKER_HUB, HUB
from credhelpers.vault import login
from credhelpers.vault.memo import Lease, Memo
from credhelpers.vault.vault_errors import Denied, Final, Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.servers import Authority
    from credhelpers.vault.session import Session

    Result = TypeVar("Result")

_KV = ("kv", "generic")  # the second is what the first was called before Vault 0.8
_CLOUDS = ("aws", "gcp", "azure")
_MARKS = frozenset(("host", "port", "account", "region"))
_AS_OLDER_HELPERS = r"[A-Za-z0-9_.-][A-Za-z0-9_.:@+-]*(/[A-Za-z0-9_.:@+-]+)+"  # what jsok's does not escape
OLDER_WRITES = ("on_erase", "on_write", "read_only")
"""The keys in whose place `write` stands, see `writing`."""
_OF_ENVIRONMENT = b"DOCKER_CREDENTIAL_VAULT_KV_PATH"


class SecretPath(NamedTuple):
    """A path in Vault: the engine there (one of `sources._vault.ENGINES`), its mount, and the path below that.

    version:  of KV v2 the one that is meant, whatever is newer; "" for the newest
    is_asked: whether Vault has said that this engine is there
    """

    mount: str
    path: str
    engine: str
    version: str = ""
    is_asked: bool = False

    def __str__(self) -> str:
        """As `vault kv` and `vault read` have it."""
        return f"{self.mount}/{self.path}"

    @property
    def shown(self) -> str:
        """The same as a word of a shell's command."""
        return quote(str(self))

    @property
    def is_kv(self) -> bool:
        """Whether a person may write there."""
        return self.engine.startswith("kv")

    @property
    def writer(self) -> str:
        """The command of `vault` that writes fields of the secret: some of them, or on KV v1 all at once."""
        return f"vault kv {'put' if self.engine == 'kv-v1' else 'patch'} {self.shown}"

    def memo(self, lease: Lease | None = None) -> str:
        """The words by which `find` knows the mount again without a request, with the lease that was made there."""
        return str(Memo(engine=self.engine, mount=self.mount, lease=lease))


class Registry:
    """A registry and what is said of its credential: `asked` is what a client sent, and then the settings.

    host, port:           as in `servers.Authority`
    path:                 where in Vault, the template of the settings filled in; which part is the mount is left open
    is_shared_with_jsok:  whether the older helper of that name may read there what this one writes
    """

    __slots__ = ("asked", "host", "is_shared_with_jsok", "path", "port", "settings")

    def __init__(self, asked: "Authority", settings: "dict[str, Any]", *, is_shared_with_jsok: bool = False) -> None:
        self.is_shared_with_jsok = is_shared_with_jsok
        self.asked = asked
        self.host = asked.host
        self.port = asked.port
        self.settings = settings
        self.path = _filled(settings, self.host, self.port)

    @property
    def server(self) -> str:
        """The registry as docker names it."""
        if self.port:
            return f"{self.host}:{self.port}"
        return DOCKER_HUB if self.host == HUB else self.host

    @property
    def auths_field(self) -> str:
        """The field of a secret that holds docker's `auths`; "" if user name and password have fields of their own."""
        return str(self.settings.get("auths_field", ""))

    @property
    def scope(self) -> str:
        """What of the host the token depends on if an engine of a cloud makes it: the same for all that share one.

        It is "" where nothing does, and where the path tells the hosts apart already.
        """
        if "{host}" in self.settings["path"]:
            return ""
        from credhelpers.exchanges.acr_hosts import azure
        from credhelpers.exchanges.ecr_hosts import ecr
        from credhelpers.exchanges.google_hosts import google

        with suppress(NotMine):
            host = ecr(self.host)
            return f"{host.partition} {host.region} {host.public} {host.fips} {host.dual_stack}"
        with suppress(NotMine):
            return google(self.host)
        with suppress(NotMine):
            azure(self.host)
            return self.host
        return ""  # the settings say which registry it stands for

    def at(self, engine: str, mount: str, *, is_asked: bool = False) -> SecretPath:
        """The path of its secret if this engine is mounted there.

        It is that of the secret: whoever configured the one of the API, `kv/data/…`, means the same secret.
        """
        path = self.path.removeprefix(mount + "/")
        parts = self.settings["path"].split("/")[mount.count("/") + 1 :]  # no value ever adds a part
        if engine == "kv-v2" and parts[0] == "data" and len(parts) > 1:
            path = path.removeprefix("data/")
        return SecretPath(mount, path, engine, self.settings.get("version", ""), is_asked=is_asked)


def registry_of(environ: "Environment", route: "Route") -> Registry:
    """The registry with what is said of it. Raises Unavailable if that is broken."""
    asked = route.authority
    if route.settings:
        return Registry(asked, route.settings)
    template = of_environment(environ)
    said = {"path": f"{template}:{{port}}" if asked.port else template}
    return Registry(asked, said, is_shared_with_jsok=True)


def of_environment(environ: "Environment") -> str:
    """The template of what lies below the path in the environment, "" if there is none.

    jsok's helper keeps a secret for each host there, whatever the port; a registry on another port has its own here.
    """
    if not environ.get(_OF_ENVIRONMENT):
        return ""
    import re

    prefix = environ[_OF_ENVIRONMENT].decode("ascii", "replace").strip("/")
    if not re.fullmatch(_AS_OLDER_HELPERS, prefix + "/x"):
        raise Unavailable(
            "vault-variable-malformed",
            "DOCKER_CREDENTIAL_VAULT_KV_PATH is not a path in Vault",
            "run `printenv DOCKER_CREDENTIAL_VAULT_KV_PATH`",
        )
    return prefix + "/{host}"


def contradiction(have: "Mapping[str, Any]") -> str:
    """What is wrong with settings that exclude each other or lack each other; "" if nothing is."""
    if "path" not in have:
        return "no `path`"
    return (
        _wrong_in_path(have["path"], have.get("mount"))
        or next((text for is_so, text in _rules(have) if is_so), "")
        or login.contradiction(have)
    )


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
        (
            "write" in have and bool(have.keys() & set(OLDER_WRITES)),
            "`write` is in place of `read_only`, `on_write` and `on_erase`",
        ),
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
    if not template.isprintable():
        return "`path` has a letter that cannot be seen"
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
    marks = re.findall(r"\{([^{}]*)\}", template)
    if not values.keys() >= set(marks):
        values |= _of_cloud(settings, host)
    for mark in marks:
        if not values.get(mark):
            raise Unavailable(
                "vault-path-incomplete",
                "the configured path in Vault needs what this registry's name does not have",
                "a `path` may hold {host} and {port}; {account} and {region} for Amazon, {region} for Google: say for "
                "which registry an alias stands",
            )
    path = re.sub(r"\{([^{}]*)\}", lambda match: values[match[1]], template)
    if any(part in ("", ".", "..") or "{" in part or "}" in part for part in path.split("/")):
        raise Unavailable(
            "vault-path-malformed", "the configured path in Vault is not one", "see `path` in `docs/vault.md`"
        )
    return path


def _of_cloud(settings: "Mapping[str, Any]", host: str) -> dict[str, str]:
    """Account and region of the registry, else of the one that it stands for; "" for what neither has."""
    from credhelpers.exchanges.ecr_hosts import ecr
    from credhelpers.exchanges.google_hosts import google_location

    try:
        found = ecr(host)
    except NotMine:
        region = settings.get("region") or google_location(settings.get("registry", host))
        return {"account": settings.get("account", ""), "region": region}
    return {"account": found.account, "region": found.region}


# --- what is mounted there --------------------------------------------------------------------------------------------


def find(session: "Session", registry: Registry, memo: Memo) -> SecretPath:
    """The mount of the path; `memo` is that of an earlier credential. Raises Unavailable if nothing is mounted."""
    if "engine" in registry.settings:
        return _configured(registry)
    if memo.engine and registry.path.startswith(memo.mount + "/"):
        return registry.at(memo.engine, memo.mount)
    return _looked_up(session, registry)


def use(session: "Session", registry: Registry, memo: Memo, work: "Callable[[SecretPath], Result]") -> "Result":
    """What `work` gives for the mount of the path.

    Another engine may be mounted there since it was remembered, or another one than was said: both look like a secret
    that is missing or denied. So Vault is asked then, and a remembered one is corrected.
    """
    mount = find(session, registry, memo)
    try:
        return work(mount)
    except (NotFound, Unavailable) as error:
        if mount.is_asked or isinstance(error, Final):
            raise
        try:
            actual = _looked_up(session, registry)
        except Unavailable as another:
            if isinstance(error, Unavailable) or isinstance(another, Denied):
                raise error from None
            raise  # such as a namespace that is not there: all in it looks like a secret that is missing
        confirmed = _confirmed(registry, actual)
        if (confirmed.engine, confirmed.mount) == (mount.engine, mount.mount):
            raise
    return work(actual)


def certain(session: "Session", registry: Registry) -> SecretPath:
    """The mount of the path, asked for: a write to another engine than is thought leaves a secret where none belongs.

    Where Vault does not show it to this token, what is said counts.
    """
    try:
        return _confirmed(registry, _looked_up(session, registry))
    except Denied:
        if "engine" not in registry.settings:
            raise
        return _configured(registry)


def _confirmed(registry: Registry, actual: SecretPath) -> SecretPath:
    """The actual mount. Raises Unavailable if another one is said."""
    if "engine" not in registry.settings:
        return actual
    said = _configured(registry)
    is_kv = said.engine.startswith("kv") or actual.engine.startswith("kv")
    if said.mount != actual.mount or (said.engine != actual.engine and is_kv):
        found = f"{actual.engine} {actual.mount}"
        raise Unavailable(
            "vault-engine-other",
            "the engine in Vault is not the configured one",
            f"`vault secrets list -detailed` shows it: it is {found}; see `engine` and `mount` in config.toml",
        )
    return said


def _configured(registry: Registry) -> SecretPath:
    """The mount of a path whose settings have an `engine`."""
    settings = registry.settings
    return registry.at(settings["engine"], settings.get("mount") or registry.path.partition("/")[0])


def _looked_up(session: "Session", registry: Registry) -> SecretPath:
    """As `vault kv get` finds out. No policy is needed but one for anything below the mount."""
    where = f"sys/internal/ui/mounts/{registry.path}"
    try:
        answer = session.do(lambda _: session.connection.request("GET", where), where, "read")
    except Denied:
        raise Denied(
            "vault-engine-hidden",
            "vault shows this token no engine at the configured path",
            "`vault secrets list` shows what is mounted; "
            f"a policy of this token must grant something at {registry.path}",
        ) from None
    except Refusal as refusal:
        raise unavailable(refusal, where, "read") from None
    data = answer.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("path"), str) or not isinstance(data.get("type"), str):
        raise Unavailable(
            "vault-no-vault", "what answers at the address of Vault does not answer as Vault does", "try `vault status`"
        )
    mount = data["path"].strip("/")
    if not registry.path.startswith(mount + "/"):
        raise Unavailable(
            "vault-engine-absent",
            "no engine is mounted at the configured path in Vault",
            "`vault secrets list` shows what is",
        )
    return registry.at(_engine(data), mount, is_asked=True)


def _engine(data: "dict[str, object]") -> str:
    kind = str(data["type"])
    if kind in _KV:
        options = data.get("options")
        is_second = isinstance(options, dict) and options.get("version") == "2"
        return "kv-v2" if is_second else "kv-v1"
    return kind if kind in _CLOUDS else "leased"
