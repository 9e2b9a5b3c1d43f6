"""Google Cloud: a JWT that a service account's key signs here, else one of the metadata server.

developer.hashicorp.com/vault/docs/auth/gcp: roles of the type `iam` take the first, `gce` the second, and so does `iam`
with a `max_jwt_exp` of an hour, which is what the second lives.
"""

from credhelpers.vault.login import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection
    from credhelpers.vault.login import Request, Settings

_LIFE = 300  # seconds of a JWT that is used at once; a role takes 15 minutes unless it says otherwise (`max_jwt_exp`)


class Gcp(Method):
    """See `Method`."""

    needed = ("role",)
    cloud = (b"GOOGLE_", b"GCE_")
    # Of Vault's method (vault-plugin-auth-gcp, path_login.go and authorizer_gce.go), which quotes what Google says.
    refusals = (
        (
            ("not found at GET", "googleapi: Error 40", "googleapi: got HTTP response code 40"),
            "vault-login-unverified",
            "vault does not find this Google identity, or the key that signed for it, at Google",
            "`gcloud iam service-accounts keys list` shows its keys, `vault read {mount}/config` who looks for them",
        ),
        (
            ("not found", "role is required"),
            "vault-login-role-unknown",
            "vault has no such role for Google Cloud",
            "`vault list {mount}/roles` shows which there are; set `role` to one of them",
        ),
        (
            ("expire",),
            "vault-login-clock",
            "vault does not accept the times of Google's JWT",
            "compare `date -u` with the true time, and see `max_jwt_exp` in `vault read {mount}/role/{role}`",
        ),
        (
            (
                *("not authorized", "not in bound", "missing bound", "instance group", "invalid status"),
                *("GCE", "metadata", "unsupported", "permission denied"),
            ),
            "vault-login-not-bound",
            "the role does not let this Google identity in",
            "`vault read {mount}/role/{role}` shows type and bounds of the role; `vault auth list` what is mounted",
        ),
    )

    def files(self, environ: "Environment", settings: "Settings") -> list[bytes]:
        """See `Method`."""
        named = settings.get("credentials_file", "").encode() or environ.get(b"GOOGLE_APPLICATION_CREDENTIALS", b"")
        return [named] if named else []

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":
        """See `Method`."""
        role = settings["role"]
        named = environ.get(b"GOOGLE_APPLICATION_CREDENTIALS")
        if "credentials_file" in settings:
            path, what = settings["credentials_file"].encode(), "the file of `credentials_file`"
        else:
            path, what = named, "the file of GOOGLE_APPLICATION_CREDENTIALS"
        if path:
            from credhelpers.identities.google_file import signed_assertion

            token = signed_assertion(path, what, f"vault/{role}", _LIFE)
        else:
            from credhelpers.identities.google_metadata import MachineAccount
            from credhelpers.identities.google_services import UNIVERSE

            token = MachineAccount(environ, UNIVERSE, connection.until).identity_token(f"vault/{role}")
        return "login", {"role": role, "jwt": token}
