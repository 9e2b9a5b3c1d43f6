"""Userpass and LDAP: a name and a password.

developer.hashicorp.com/vault/api-docs/auth/userpass and /api-docs/auth/ldap.
"""

from credhelpers.errors import Unavailable
from credhelpers.vault.connection import variable
from credhelpers.vault.login import Method, secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection
    from credhelpers.vault.login import Request, Settings


class Password(Method):
    """See `Method`."""

    variables = ("USERNAME", "PASSWORD")
    refusals = (
        (
            ("invalid username or password", "user bind failed", "ldap operation failed: failed to bind as user"),
            "vault-login-password",
            "vault does not accept the login name with this password",
            "`vault login -no-print -method=METHOD username=NAME` tries it; see `vault list {mount}/users`",
        ),
        (
            ("ldap", "LDAP"),
            "vault-login-ldap",
            "vault cannot ask its LDAP server",
            "`vault read {mount}/config` shows which it is; ask who runs it",
        ),
    )

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":  # noqa: ARG002 - a method's signature
        """See `Method`. The name is one part of the path: it can neither add another nor climb."""
        name = settings.get("login_name") or variable(environ, "USERNAME")
        if not name:
            raise Unavailable(
                "vault-login-name",
                "there is no name to log in to vault with",
                "set `login_name` in config.toml or VAULT_USERNAME",
            )
        if name in (".", "..") or "/" in name or not name.isprintable():
            raise Unavailable(
                "vault-login-name", "the name to log in to vault with is none", "correct `login_name` or VAULT_USERNAME"
            )
        password = secret(environ, settings, "password_file", "PASSWORD", "password")
        return f"login/{name}", {"password": password}
