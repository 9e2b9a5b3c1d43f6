"""TLS certificate: the connection itself says who it is (developer.hashicorp.com/vault/docs/auth/cert)."""

from credhelpers.vault.login import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection
    from credhelpers.vault.login import Request, Settings


class Certificate(Method):
    """See `Method`. Without a role Vault takes the first whose certificate fits."""

    variables = ("CLIENT_CERT", "CLIENT_KEY", "CLIENT_CERT_BYTES", "CLIENT_KEY_BYTES")
    refusals = (
        (
            ("must be supplied", "no client certificate found", "tls connection required"),
            "vault-login-no-certificate",
            "vault saw no client certificate",
            "set `certificate_file` and `key_file`, or VAULT_CLIENT_CERT and VAULT_CLIENT_KEY",
        ),
        (
            ("certificate", "no chain"),
            "vault-login-not-bound",
            "vault lets no role in by this client certificate",
            "`vault list {mount}/certs` shows the roles, `vault read {mount}/certs/{role}` whom one lets in",
        ),
    )

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":  # noqa: ARG002 - a method's signature
        """See `Method`."""
        return "login", {"name": settings["role"]} if "role" in settings else {}
