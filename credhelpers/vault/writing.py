"""What `docker login` and `docker logout` do to Vault, by what the entry of a registry says may be written there.

What lies in Vault is a team's, so nothing is deleted that nobody has allowed to be deleted: `write` is "login" where it
is not said. The keys of older entries mean what they meant: `read_only`, and `on_erase`, which has it deleted.
"""

from credhelpers import notes
from credhelpers.errors import NotFound, Unsupported
from credhelpers.vault import auths, fields, kv, secret_paths
from credhelpers.vault.memo import Memo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.credential import Credential
    from credhelpers.vault.secret_paths import Registry, SecretPath
    from credhelpers.vault.session import Session

MAKING = ("leased", "aws", "gcp", "azure")  # engines that make a credential themselves
_ALL, _LOGIN, _NEVER = "all", "login", "never"


class Writing:
    """What may be written for one registry. `session` opens one when it is needed."""

    def __init__(self, registry: "Registry", session: "Callable[[], Session]") -> None:
        self._registry = registry
        self._session = session
        self._settings = registry.settings
        self._allowed = _ALL if registry.is_shared_with_jsok else allowed(registry.settings)  # as that helper does

    def keep(self, credential: "Credential") -> bool:
        """Write what `docker login` typed. Where nothing may be written, it is accepted if Vault has just that.

        Whether Vault has it then: an older entry may say that a login is accepted and nothing is kept. Raises
        Unavailable, and Unsupported for what is not written.
        """
        if self._is_silent():
            return False
        if self._allowed == _NEVER:
            self._compare(credential)
            return True
        if not self._registry.asked.is_whole:
            raise Unsupported(
                "vault-part-of-registry",
                "vault has one place for all of this registry, and none for a part of it",
                "log in to the registry without a path",
            )
        session = self._session()
        secret_path = secret_paths.certain(session, self._registry)
        if not secret_path.is_kv:
            raise self._made_there()
        pair = credential.expose()
        kv.change(session, secret_path, lambda data: fields.merged(data, self._registry, *pair))
        return True

    def forget(self, old: "Credential | None") -> None:
        """End the lease of `old`, which was made for this user alone, and delete what KV has if that is allowed.

        What is deleted is told, with what brings it back. Raises Unavailable, and Unsupported where an older entry says
        that a logout is refused.
        """
        if self._is_silent() or self._allowed == _NEVER:
            return
        if lease := Memo.of(old).lease:
            from credhelpers.vault import leases

            leases.revoke(self._session(), lease)
            return
        if self._allowed != _ALL or self._settings.get("engine") in MAKING or not self._registry.asked.is_whole:
            return
        session = self._session()
        secret_path = secret_paths.certain(session, self._registry)
        if not secret_path.is_kv:
            return
        if not self._registry.auths_field:
            is_for_good = self._settings.get("on_erase") == "destroy"
            if deleted := kv.erase(session, secret_path, is_for_good=is_for_good):
                notes.tell(_deleted(secret_path, deleted, is_for_good=is_for_good))
            return
        version = kv.change(
            session,
            secret_path,
            lambda data: auths.without(data, self._registry),
            is_new_wanted=False,
        )
        if version is not None:
            notes.tell(_taken_out(secret_path, version))

    def _is_silent(self) -> bool:
        """Whether an older entry has login and logout succeed and do nothing. Raises Unsupported if it refuses them."""
        if self._settings.get("read_only") and self._settings.get("on_write") == "refuse":
            raise Unsupported(
                "vault-not-written", "vault is not written for this registry", "`read_only` in config.toml says so"
            )
        return bool(self._settings.get("read_only"))

    def _compare(self, credential: "Credential") -> None:
        """Accept what Vault answers. Raises Unsupported for anything else, and Unavailable if nobody can tell."""
        if self._settings.get("engine") in MAKING:
            raise self._made_there()
        session = self._session()

        def work(secret_path: "SecretPath") -> tuple[str, str]:
            if not secret_path.is_kv:
                raise self._made_there()
            data, _ = kv.read(session, secret_path)
            return fields.pair(data, self._registry, secret_path.writer)

        try:
            is_same = secret_paths.use(session, self._registry, Memo(), work) == credential.expose()
        except NotFound:
            is_same = False
        if not is_same:
            raise Unsupported(
                "vault-not-written",
                "vault is not written for this registry, and what was typed is not what it has",
                '`write = "login"` in config.toml in place of `write = "never"` has `docker login` write it',
            )

    def _made_there(self) -> Unsupported:
        message = "vault makes the credentials of this registry itself, so none can be written there"
        if "write" in self._settings:  # with which the older key does not go
            return Unsupported("vault-not-written", message, "leave out `docker login`: what Vault makes needs none")
        return Unsupported(
            "vault-not-written",
            message,
            "leave out `docker login`, or let it succeed with `read_only = true` in config.toml",
        )


def allowed(settings: "Mapping[str, Any]") -> str:
    """What may be written: `write` as an entry says it, else what older keys mean, else "login"."""
    if "write" in settings:
        return str(settings["write"])
    return _ALL if settings.keys() & set(secret_paths.OLDER_WRITES) else _LOGIN  # with `read_only` nobody asks


def _deleted(secret_path: "SecretPath", version: str, *, is_for_good: bool) -> str:
    path = secret_path.shown
    if is_for_good:
        return f"destroyed {path} in Vault with all its versions, and nothing brings it back"
    if secret_path.engine == "kv-v1":
        return f"deleted {path} in Vault, and KV v1 keeps nothing that brings it back"
    which = f"version {version} of " if version != kv.UNKNOWN else ""
    return f"deleted {which}{path} in Vault; `vault kv undelete -versions={version} {path}` brings it back"


def _taken_out(secret_path: "SecretPath", version: int) -> str:
    path = secret_path.shown
    back = f"; `vault kv rollback -version={version} {path}` brings it back" if version else ""
    return f"took the entry of this registry out of {path} in Vault{back}"
