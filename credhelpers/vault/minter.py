"""The credential of one registry: read, written, leased or minted, by what is mounted where it lies."""

from importlib import import_module
from time import monotonic

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
    from credhelpers.vault.writing import Writing

_BUDGET = 8.0  # seconds for all of it; the call has ten
# By engine the module whose `read` makes a credential, loaded where one is made.
_MAKING = {"leased": "engines", "aws": "clouds", "gcp": "clouds", "azure": "clouds"}


class VaultMinter:
    """How the credential of one registry is had, see `writable.WritableMinter`.

    Whose it is, at which server, is read here once and is what `token_key` names, `mint` asks and `store` writes.
    Raises Unavailable if no server is named, or one to which no secret may go.

    token_key: one for each identity and path; the registry itself is in it only where the answer depends on it, so all
               that have one path share one lease; and `which`, a text for what chooses the endpoint of a cloud
    """

    def __init__(self, environ: "Environment", tokens: "Tokens", registry: "Registry", which: str = "") -> None:
        self._identity = Identity(environ, registry.settings)
        self._tokens = tokens
        self._registry = registry
        settings = registry.settings.items()
        said = sorted(
            (name, str(value)) for name, value in settings if name not in (*secret_paths.OLDER_WRITES, "write", "path")
        )
        asked = registry.asked
        part = "" if asked.is_whole else asked.path
        who = registry.server + part if registry.auths_field else registry.scope
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

    def store(self, credential: "Credential") -> bool:
        """Write it to KV, or do what the configuration says for a Vault that is not to be written; see `writing`."""
        return self._writing().keep(credential)

    def erase(self, old: "Credential | None") -> None:
        """Revoke the lease of `old`, or delete what KV has where that is allowed; see `writing`.

        What Vault rotates, or makes without a lease, stays.
        """
        self._writing().forget(old)

    def _writing(self) -> "Writing":
        from credhelpers.vault.writing import Writing  # what no mint needs

        return Writing(self._registry, self._session)

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
