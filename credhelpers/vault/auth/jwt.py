"""JWT and Kubernetes: a token that somebody else has signed, for a role.

developer.hashicorp.com/vault/docs/auth/jwt and /docs/auth/kubernetes.
"""

from credhelpers.vault.login import Method, secret, secret_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection
    from credhelpers.vault.login import Request, Settings

# kubernetes.io/docs/concepts/security/service-accounts
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_ROLE = "`vault read {mount}/role/{role}` shows whom the role lets in"


class Jwt(Method):
    """See `Method`. Without a role it is the method's `default_role`."""

    variables = ("JWT",)
    refusals = (
        (
            ("could not be found", "missing role"),
            "vault-login-role-unknown",
            "vault has no such role for a JWT",
            "`vault list {mount}/role` shows which there are; set `role` to one of them",
        ),
        (
            ("expired", "(exp)"),
            "vault-login-jwt-expired",
            "the JWT has expired",
            "let who writes `jwt_file` or VAULT_JWT renew it; `vault read {mount}/role/{role}` shows the leeway",
        ),
        (
            ("audience", "claim", "issuer", "subject"),
            "vault-login-not-bound",
            "the role does not let this JWT in: its audience, issuer or claims are others",
            _ROLE,
        ),
        (
            ("error validating token", "signature", "could not load configuration"),
            "vault-login-unverified",
            "vault cannot verify the JWT",
            "`vault read {mount}/config` shows by whose keys; the JWT must be whole, and of that issuer",
        ),
    )

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":  # noqa: ARG002 - a method's signature
        """See `Method`."""
        body = {"jwt": secret(environ, settings, "jwt_file", "JWT", "JWT")}
        if "role" in settings:
            body["role"] = settings["role"]
        return "login", body


class Kubernetes(Method):
    """See `Method`. The token is that of the pod's service account, unless `jwt_file` names another."""

    needed = ("role",)
    refusals = (
        (
            ("invalid role name",),
            "vault-login-role-unknown",
            "vault has no such role for kubernetes",
            "`vault list {mount}/role` shows which there are; set `role` to one of them",
        ),
        (
            ("not authorized",),
            "vault-login-not-bound",
            "the role does not let this service account in, or not from this namespace",
            _ROLE,
        ),
        (
            ("permission denied", "lookup failed", "jwt not valid", "service account", "could not load backend"),
            "vault-login-not-bound",
            "vault denied the login: the token review failed, or the role is for another service account",
            "see `vault read {mount}/role/{role}`, `vault read {mount}/config`; `vault auth list` shows the mounts",
        ),
    )

    def proofs(self, environ: "Environment", settings: "Settings") -> list[bytes]:  # noqa: ARG002 - a method's signature
        """See `Method`."""
        return [] if "jwt_file" in settings else [_SERVICE_ACCOUNT.encode()]

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":  # noqa: ARG002 - a method's signature
        """See `Method`."""
        token = secret_in(settings.get("jwt_file", _SERVICE_ACCOUNT), "service account's token")
        return "login", {"role": settings["role"], "jwt": token}
