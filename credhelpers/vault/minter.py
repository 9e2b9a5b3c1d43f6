"""The credential of one registry: read, written, leased or minted, by what is mounted where it lies."""

from importlib import import_module
from time import monotonic

from credhelpers.errors import Unsupported
from credhelpers.identity import fingerprint
from credhelpers.vault import secret_paths
from credhelpers.vault.login import Identity
from credhelpers.vault.memo import Memo
from credhelpers.vault.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.tokens import Tokens
    from credhelpers.vault.secret_paths import Registry, SecretPath

_BUDGET = 8.0  # seconds for all of it; the call has ten
# By engine the module whose `read` makes a credential, loaded where one is made.
_MAKING = {"leased": "engines", "aws": "clouds", "gcp": "clouds", "azure": "clouds"}
_OF_WRITES = ("on_erase", "on_write", "read_only")


class VaultMinter:
    """How the credential of one registry is had, see `writable.WritableMinter`.

    Whose it is, at which server, is read here once and is what `token_key` names, `mint` asks and `store` writes.
    Raises Unavailable if no server is named, or one to which no secret may go.

    token_key: one for each identity and path; the registry itself is in it only where the answer depends on it, so all
               that have one path share one lease; and `which`, a text for what chooses the endpoint of a cloud
    """

    def __init__(
        self, environ: "Environment", tokens: "Tokens", registry: "Registry", which: str = "", *, is_whole: bool
    ) -> None:
        self._identity = Identity(environ, registry.settings)
        self._tokens = tokens
        self._registry = registry
        self._is_whole = is_whole
        settings = registry.settings.items()
        said = sorted((name, str(value)) for name, value in settings if name not in (*_OF_WRITES, "path"))
        who = registry.server if registry.auths_field else registry.scope
        self.token_key = fingerprint(
            f"vault secret {self._identity.token_key} {registry.path} {said} {who} {which}", {}, ()
        )

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """The credential with its times; `old` with its lease renewed, if it has one. Raises NotFound, Unavailable."""
        session = self._session()
        if old:
            session.renew()  # nobody waits for a renewal

        def work(secret_path: "SecretPath") -> "Credential":
            if secret_path.is_kv:
                return _kept(session, secret_path, self._registry)
            read: Callable[[Session, SecretPath, Registry, Credential | None], Credential]
            read = import_module(f"credhelpers.vault.{_MAKING[secret_path.engine]}").read
            return read(session, secret_path, self._registry, old)

        return secret_paths.use(session, self._registry, Memo.of(old), work)

    def store(self, credential: "Credential") -> None:
        """Write it to KV, or do what the configuration says for a Vault that is not to be written."""
        if self._is_left_alone():
            return
        if not self._is_whole:
            raise Unsupported(
                "vault-part-of-registry",
                "vault has one place for all of this registry, and none for a part of it",
                "log in to the registry without a path",
            )
        session = self._session()
        secret_path = secret_paths.certain(session, self._registry)
        if not secret_path.is_kv:
            raise Unsupported(
                "vault-not-written",
                "vault makes the credentials of this registry itself, so none can be written there",
                "leave out `docker login`, or let it succeed with `read_only = true` in config.toml",
            )
        from credhelpers.vault import fields, kv

        pair = credential.expose()
        kv.change(session, secret_path, lambda data: fields.merged(data, self._registry, *pair))

    def erase(self, old: "Credential | None") -> None:
        """Delete what KV has, or revoke the lease of `old`. What Vault rotates, or makes without a lease, stays."""
        if self._is_left_alone():
            return
        if lease := Memo.of(old).lease:
            from credhelpers.vault import leases

            leases.revoke(self._session(), lease)
            return
        settings = self._registry.settings
        if settings.get("engine") in _MAKING or not self._is_whole:
            return
        session = self._session()
        secret_path = secret_paths.certain(session, self._registry)
        if not secret_path.is_kv:
            return
        from credhelpers.vault import fields, kv

        if self._registry.auths_field:
            kv.change(session, secret_path, lambda data: fields.without(data, self._registry), is_new_wanted=False)
        else:
            kv.erase(session, secret_path, is_for_good=settings.get("on_erase") == "destroy")

    def _is_left_alone(self) -> bool:
        """Whether Vault is not to be written. Raises Unsupported if whoever tries shall hear of it."""
        settings = self._registry.settings
        if settings.get("read_only") and settings.get("on_write") == "refuse":
            raise Unsupported(
                "vault-not-written", "vault is not written for this registry", "`read_only` in config.toml says so"
            )
        return bool(settings.get("read_only"))

    def _session(self) -> Session:
        return Session(self._identity, self._tokens, monotonic() + _BUDGET)


def _kept(session: Session, secret_path: "SecretPath", registry: "Registry") -> "Credential":
    """The credential that KV has, with the times between which it is answered. Raises NotFound, Unavailable."""
    from credhelpers.credential import Credential
    from credhelpers.vault import fields, kv

    data, metadata = kv.read(session, secret_path)
    username, password = fields.pair(data, registry, secret_path.writer)
    soft, hard, expires = fields.times(data, metadata, registry, secret_path.writer)
    return Credential(username, password, soft=soft, hard=hard, expires=expires, memo=secret_path.memo())
