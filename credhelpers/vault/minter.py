"""The credential of one registry: read, written, leased or minted, by what is mounted where it lies."""

from time import monotonic

from credhelpers.errors import Unsupported
from credhelpers.identity import fingerprint
from credhelpers.vault import clouds, engines, kv, leases, mounts
from credhelpers.vault.memo import Memo
from credhelpers.vault.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.tokens import Tokens
    from credhelpers.vault.mounts import Mount
    from credhelpers.vault.secret_paths import SecretPath

    Read = Callable[[Session, Mount, SecretPath, Credential | None], Credential]

_BUDGET = 8.0  # seconds for all of it; the call has ten
_KEPT = ("kv-v1", "kv-v2")
_MINTED: "dict[str, Read]" = {
    "leased": engines.read,
    "aws": clouds.aws,
    "gcp": clouds.gcp,
    "azure": clouds.azure,
}
_OF_WRITES = ("on_erase", "on_write", "read_only")


class VaultMinter:
    """How the credential of one registry is had, see `writable.WritableMinter`."""

    def __init__(self, environ: "Environment", tokens: "Tokens", secret_path: "SecretPath", *, is_whole: bool) -> None:
        self._environ = environ
        self._tokens = tokens
        self._secret_path = secret_path
        self._is_whole = is_whole

    @property
    def token_key(self) -> str:
        """One for each identity and path.

        The registry itself is in it only where the answer depends on it, so all that have one path share one lease.
        """
        secret_path = self._secret_path
        said = sorted(
            (name, str(value)) for name, value in secret_path.settings.items() if name not in (*_OF_WRITES, "path")
        )
        who = secret_path.server if "auths_field" in secret_path.settings else clouds.scope(secret_path)
        return fingerprint(f"vault secret {self._session().token_key} {secret_path.path} {said} {who}", {}, ())

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """The credential with its times; `old` with its lease renewed, if it has one. Raises NotFound, Unavailable."""
        session = self._session()
        if old:
            session.renew()  # nobody waits for a renewal

        def work(mount: "Mount") -> "Credential":
            if mount.engine in _KEPT:
                return kv.read(session, mount, self._secret_path)
            return _MINTED[mount.engine](session, mount, self._secret_path, old)

        return mounts.use(session, self._secret_path, Memo.of(old), work)

    def store(self, credential: "Credential") -> None:
        """Write it to KV, or do what the configuration says for a Vault that is not to be written."""
        if self._is_left_alone():
            return
        if not self._is_whole:
            raise Unsupported(
                "vault has one place for all of this registry, and none for a part of it",
                "log in to the registry without a path",
            )
        session = self._session()
        mount = mounts.certain(session, self._secret_path)
        if mount.engine not in _KEPT:
            raise Unsupported(
                "vault makes the credentials of this registry itself, so none can be written there",
                "leave out `docker login`, or let it succeed with `read_only = true` in config.toml",
            )
        kv.write(session, mount, self._secret_path, credential)

    def erase(self, old: "Credential | None") -> None:
        """Delete what KV has, or revoke the lease of `old`. What Vault rotates, or makes without a lease, stays."""
        if self._is_left_alone():
            return
        lease = Memo.of(old).lease
        if lease:
            leases.revoke(self._session(), lease)
            return
        if self._secret_path.settings.get("engine", _KEPT[0]) not in _KEPT:
            return
        if not self._is_whole:
            return
        session = self._session()
        mount = mounts.certain(session, self._secret_path)
        if mount.engine in _KEPT:
            kv.erase(session, mount, self._secret_path)

    def _is_left_alone(self) -> bool:
        """Whether Vault is not to be written. Raises Unsupported if whoever tries shall hear of it."""
        settings = self._secret_path.settings
        if settings.get("read_only") and settings.get("on_write") == "refuse":
            raise Unsupported("vault is not written for this registry", "`read_only` in config.toml says so")
        return bool(settings.get("read_only"))

    def _session(self) -> Session:
        return Session(self._environ, self._secret_path.settings, self._tokens, monotonic() + _BUDGET)
