"""What is mounted where a credential lies: said in the configuration, remembered, or asked for as `vault` does."""

from credhelpers.errors import NotFound, Unavailable
from credhelpers.vault.memo import Lease, Memo
from credhelpers.vault.vault_errors import Denied, Final, Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from credhelpers.vault.secret_paths import SecretPath
    from credhelpers.vault.session import Session

    Result = TypeVar("Result")

_KV = ("kv", "generic")  # the second is what the first was called before Vault 0.8
_CLOUDS = ("aws", "gcp", "azure")


class Mount:
    """An engine (one of `sources.vault.ENGINES`), the path of its mount, and the path below that.

    The path is that of the secret: whoever configured the one of the API, `kv/data/…`, means the same secret.
    """

    __slots__ = ("engine", "is_asked", "mount", "path")

    def __init__(self, engine: str, mount: str, secret_path: "SecretPath", *, is_asked: bool = False) -> None:
        self.engine = engine
        self.mount = mount
        self.path = secret_path.path.removeprefix(mount + "/")
        self.is_asked = is_asked
        parts = secret_path.settings["path"].split("/")[mount.count("/") + 1 :]  # no value ever adds a part
        if engine == "kv-v2" and parts[0] == "data" and len(parts) > 1:
            self.path = self.path.removeprefix("data/")

    @property
    def writer(self) -> str:
        """The command of `vault` that writes fields of the secret: some of them, or on KV v1 all at once."""
        return f"vault kv {'put' if self.engine == 'kv-v1' else 'patch'} {self.mount}/{self.path}"

    def memo(self, lease: Lease | None = None) -> str:
        """The words by which `find` knows it again without a request, with the lease that was made there."""
        return str(Memo(engine=self.engine, mount=self.mount, lease=lease))


def find(session: "Session", secret_path: "SecretPath", memo: Memo) -> Mount:
    """The mount of the path; `memo` is that of an earlier credential. Raises Unavailable if nothing is mounted."""
    if "engine" in secret_path.settings:
        return _configured(secret_path)
    if memo.engine and secret_path.path.startswith(memo.mount + "/"):
        return Mount(memo.engine, memo.mount, secret_path)
    return _looked_up(session, secret_path)


def use(session: "Session", secret_path: "SecretPath", memo: Memo, work: "Callable[[Mount], Result]") -> "Result":
    """What `work` gives for the mount of the path.

    Another engine may be mounted there since it was remembered, or another one than was said: both look like a secret
    that is missing or denied. So Vault is asked then, and a remembered one is corrected.
    """
    mount = find(session, secret_path, memo)
    try:
        return work(mount)
    except (NotFound, Unavailable) as error:
        if mount.is_asked or isinstance(error, Final):
            raise
        try:
            actual = _looked_up(session, secret_path)
        except Unavailable as another:
            if isinstance(error, Unavailable) or isinstance(another, Denied):
                raise error from None
            raise  # such as a namespace that is not there: all in it looks like a secret that is missing
        confirmed = _confirmed(secret_path, actual)
        if (confirmed.engine, confirmed.mount) == (mount.engine, mount.mount):
            raise
    return work(actual)


def certain(session: "Session", secret_path: "SecretPath") -> Mount:
    """The mount of the path, asked for: a write to another engine than is thought leaves a secret where none belongs.

    Where Vault does not show it to this token, what is said counts.
    """
    try:
        return _confirmed(secret_path, _looked_up(session, secret_path))
    except Denied:
        if "engine" not in secret_path.settings:
            raise
        return _configured(secret_path)


def _confirmed(secret_path: "SecretPath", actual: Mount) -> Mount:
    """The actual mount. Raises Unavailable if another one is said."""
    if "engine" not in secret_path.settings:
        return actual
    said = _configured(secret_path)
    is_kv = said.engine.startswith("kv") or actual.engine.startswith("kv")
    if said.mount != actual.mount or (said.engine != actual.engine and is_kv):
        found = f"{actual.engine} {actual.mount}"
        raise Unavailable(
            "the engine in Vault is not the configured one",
            f"`vault secrets list -detailed` shows it: it is {found}; see `engine` and `mount` in config.toml",
        )
    return said


def _configured(secret_path: "SecretPath") -> Mount:
    """The mount of a path whose settings have an `engine`."""
    settings = secret_path.settings
    return Mount(settings["engine"], settings.get("mount") or secret_path.path.partition("/")[0], secret_path)


def _looked_up(session: "Session", secret_path: "SecretPath") -> Mount:
    """As `vault kv get` finds out. No policy is needed but one for anything below the mount."""
    where = f"sys/internal/ui/mounts/{secret_path.path}"
    try:
        answer = session.do(lambda client: client.adapter.request("get", f"/v1/{where}"), where, "read")
    except Denied:
        raise Denied(
            "vault shows this token no engine at the configured path",
            "`vault secrets list` shows what is mounted; "
            f"a policy of this token must grant something at {secret_path.path}",
        ) from None
    except Refusal as refusal:
        raise unavailable(refusal, where, "read") from None
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict) or not isinstance(data.get("path"), str) or not isinstance(data.get("type"), str):
        raise Unavailable("what answers at the address of Vault does not answer as Vault does", "try `vault status`")
    mount = data["path"].strip("/")
    if not secret_path.path.startswith(mount + "/"):
        raise Unavailable("no engine is mounted at the configured path in Vault", "`vault secrets list` shows what is")
    return Mount(_engine(data), mount, secret_path, is_asked=True)


def _engine(data: "dict[str, object]") -> str:
    kind = str(data["type"])
    if kind in _KV:
        options = data.get("options")
        is_second = isinstance(options, dict) and options.get("version") == "2"
        return "kv-v2" if is_second else "kv-v1"
    return kind if kind in _CLOUDS else "leased"
