"""AppRole: a role's id and, where the role binds one, a secret id, which may come response-wrapped.

developer.hashicorp.com/vault/docs/auth/approle; for wrapping /docs/concepts/response-wrapping, "Response wrapping token
validation".
"""

import posix

from credhelpers.errors import Unavailable
from credhelpers.vault.login import Method, secret, secret_or_none
from credhelpers.vault.vault_errors import Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection
    from credhelpers.vault.login import Request, Settings

_LOOKUP = "sys/wrapping/lookup"
_UNWRAP = "sys/wrapping/unwrap"
_WRAPPED = "secret id's wrapping token"


class AppRole(Method):
    """See `Method`."""

    variables = ("ROLE_ID", "SECRET_ID")
    refusals = (
        (
            ("invalid role or secret ID",),
            "vault-login-pair",
            "vault does not accept this role id with this secret id",
            "`vault list {mount}/role` shows the roles, `vault read {mount}/role/NAME` how long a secret id serves",
        ),
        (
            ("invalid role ID", "invalid role_id"),
            "vault-login-role-unknown",
            "vault knows no role with this role id",
            "`vault list {mount}/role` shows the roles; take the role id of `vault read {mount}/role/NAME/role-id`",
        ),
        (
            ("invalid secret id", "invalid secret_id"),
            "vault-secret-id-expired",
            "the secret id is wrong, has expired or is used up",
            "see `secret_id_ttl` and `secret_id_num_uses` in `vault read {mount}/role/NAME`, and deliver a new one",
        ),
        (
            ("missing secret_id",),
            "vault-secret-id-missing",
            "the role wants a secret id, and there is none",
            "set `secret_id_file` or VAULT_SECRET_ID, or see `bind_secret_id` in `vault read {mount}/role/NAME`",
        ),
    )

    def contradiction(self, settings: "Settings") -> str:
        """See `Method`."""
        if "role_id" in settings and "role_id_file" in settings:
            return "`role_id` and `role_id_file` exclude each other"
        if settings.get("remove_secret_id_file") and "secret_id_file" not in settings:
            return "`remove_secret_id_file` without `secret_id_file`"
        return ""

    def files(self, environ: "Environment", settings: "Settings") -> list[bytes]:  # noqa: ARG002 - a method's signature
        """See `Method`."""
        return [settings["role_id_file"].encode()] if "role_id_file" in settings else []

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":
        """See `Method`. A response-wrapped secret id is unwrapped, which can be done once."""
        if settings.get("remove_secret_id_file") and not posix.access(_folder(settings), posix.W_OK):
            raise _unremovable()  # before a secret id is used up that may serve once
        role = settings.get("role_id") or secret(environ, settings, "role_id_file", "ROLE_ID", "role id")
        path = settings.get("secret_id_path")
        if path:
            wrapped = secret(environ, settings, "secret_id_file", "SECRET_ID", _WRAPPED)
            secret_id = _unwrapped(connection, wrapped, path)
        else:
            secret_id = secret_or_none(environ, settings, "secret_id_file", "SECRET_ID", "secret id")
        body = {"role_id": role}
        if secret_id:
            body["secret_id"] = secret_id
        return "login", body

    def after(self, settings: "Settings") -> None:
        """Remove the secret id's file, where that is configured."""
        if not settings.get("remove_secret_id_file"):
            return
        try:
            posix.unlink(settings["secret_id_file"])
        except FileNotFoundError:
            return
        except OSError:
            raise _unremovable() from None


def _folder(settings: "Settings") -> str:
    return str(settings["secret_id_file"]).rpartition("/")[0] or "/"


def _unremovable() -> Unavailable:
    return Unavailable(
        "vault-secret-id-stays",
        "the secret id's file cannot be removed after a login",
        "see `ls -ld` of its directory: who runs docker must write it; or take `remove_secret_id_file` out",
    )


def _unwrapped(connection: "Connection", token: str, path: str) -> str:
    """The secret id in a wrapping token, if `path` made it.

    A thief who reads the wrapping token on its way could unwrap it, and wrap what he found, or another secret, anew.
    But Vault notes in every wrapping token by which path it was made, and he cannot choose that. So the path is
    compared before the token is unwrapped; looking at it does not use it up.
    """
    try:
        found = connection.request("POST", _LOOKUP, json={"token": token})
    except Refusal as refusal:
        raise _refused(refusal, _LOOKUP) from None
    data = found.get("data")
    if not isinstance(data, dict) or data.get("creation_path") != path:
        raise Unavailable(
            "vault-secret-id-tampered",
            "the secret id was not wrapped where `secret_id_path` says: somebody may have tampered with it",
            "it was not unwrapped; find out who made it, see `vault audit list`, and have a new secret id made",
        )
    try:
        answer = connection.request("POST", _UNWRAP, json={}, headers={"X-Vault-Token": token})
    except Refusal as refusal:
        raise _refused(refusal, _UNWRAP) from None
    inner = answer.get("data")
    secret_id = inner.get("secret_id") if isinstance(inner, dict) else None
    if not isinstance(secret_id, str) or not secret_id:
        raise Unavailable(
            "vault-secret-id-malformed",
            "what `secret_id_path` wrapped is no secret id",
            "it ends in `/secret-id` or `/custom-secret-id`: see `vault path-help auth/approle`",
        )
    return secret_id


def _refused(refusal: Refusal, path: str) -> Unavailable:
    if refusal.status in (400, 403, 404):
        return Unavailable(
            "vault-secret-id-used",
            f"the {_WRAPPED} was used already, has expired, or is none",
            "if it was not you, somebody else knows the secret, see `vault audit list`; deliver a new one,"
            " for longer: see `vault write -help` for -wrap-ttl",
        )
    return unavailable(refusal, path, "update")
