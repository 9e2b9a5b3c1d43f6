"""Azure: a token of Microsoft Entra for what Vault is configured for, and which machine this is.

developer.hashicorp.com/vault/docs/auth/azure, /api-docs/auth/azure, "Login".
"""

from credhelpers.vault.login import Method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection
    from credhelpers.vault.login import Request, Settings

_RESOURCE = "https://management.azure.com/"


class Azure(Method):
    """See `Method`. The application that the environment names, else the managed identity of the machine."""

    needed = ("role",)
    cloud = (b"AZURE_", b"IDENTITY_", b"IMDS_", b"MSI_")
    # Of Vault's method (vault-plugin-auth-azure, path_login.go), and of go-oidc, which verifies the token for it. What
    # Azure said may be quoted in one line: so that one is looked for early.
    refusals = (
        (
            ("invalid role name", "role is required"),
            "vault-login-role-unknown",
            "vault has no such role for Azure",
            "`vault list {mount}/role` shows which there are; set `role` to one of them",
        ),
        (
            ("unable to retrieve", "unable to get"),
            "vault-login-unverified",
            "vault cannot ask Azure about this machine",
            "the application of `vault read {mount}/config` must be allowed to read it: see `az role assignment list`",
        ),
        (
            ("tenant_id is required",),
            "vault-login-tenant",
            "vault is not told which tenant of Azure's to trust",
            "`vault write {mount}/config tenant_id=TENANT resource=RESOURCE` tells it",
        ),
        (
            ("expired", "not yet valid", "not before"),
            "vault-login-clock",
            "vault does not accept the times of Azure's token",
            "compare `date -u` on the machine of Vault with the true time",
        ),
        (
            ("audience", "oidc:", "verify signature"),
            "vault-login-audience",
            "vault does not accept Azure's token: it is for another resource or tenant",
            "set `resource` to that of `vault read {mount}/config`",
        ),
        (
            ("required", "vmss_name", "identity information"),
            "vault-login-machine",
            "the role is bound to machines, and vault cannot tell which one this is",
            "`vault read {mount}/role/{role}` shows its bounds; in a container use a role that is bound to principals",
        ),
        (
            ("not authorized", "does not match", "in a scale set", "cannot be '*'", "permission denied"),
            "vault-login-not-bound",
            "the role does not let this Azure identity in",
            "`vault read {mount}/role/{role}` shows whom it lets in; `vault auth list` what is mounted",
        ),
    )

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":
        """See `Method`."""
        from credhelpers.identities.entra import EntraIdentity, cloud_of
        from credhelpers.identities.entra_environment import OF_APPLICATIONS, said
        from credhelpers.identities.entra_machine import ManagedIdentity

        resource = settings.get("resource", _RESOURCE)
        is_application = "client_id" not in settings and bool(set(said(environ)) & set(OF_APPLICATIONS))
        own = {"credential": "environment" if is_application else "managed-identity"}
        if "client_id" in settings:
            own["client_id"] = settings["client_id"]
        token, _ = EntraIdentity(cloud_of(resource), own, environ, connection.until).token(resource)
        body = {"role": settings["role"], "jwt": token}
        if not is_application:
            body |= ManagedIdentity(own, environ, connection.until, is_said=True).machine()
        return "login", body
