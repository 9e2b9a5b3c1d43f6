"""HashiCorp Vault and OpenBao: what teams keep there for a registry, and what Vault itself mints.

This half is on the way of a cache hit: which credential is wanted. How it is read is in the package `vault`.
"""

import posix

from credhelpers.identity import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder
    from credhelpers.tokens import Tokens
    from credhelpers.vault.minter import VaultMinter

# What of the environment selects a server, an identity or a path, by how it begins.
_PREFIXES = (b"VAULT_", b"BAO_", b"DCVL_", b"DOCKER_CREDENTIAL_VAULT_")
# And for the auth method of a cloud.
_CLOUD_PREFIXES: "dict[str | None, tuple[bytes, ...]]" = {
    "aws": (b"AWS_",),
    "gcp": (b"GOOGLE_", b"GCE_"),
    "azure": (b"AZURE_", b"IDENTITY_", b"IMDS_", b"MSI_"),
}


def _named(environ: "Environment", name: bytes) -> bytes:
    """As `vault.connection.variable` has it: what `BAO_NAME` says if it is set, even to nothing, else `VAULT_NAME`."""
    value = environ.get(b"BAO_" + name)
    return environ.get(b"VAULT_" + name, b"") if value is None else value


class Vault:
    """The source; `tokens` keeps Vault's own tokens, with which it reads."""

    __slots__ = ("_environ", "_tokens")

    kind = "vault"
    uncached = b"DCVL_DISABLE_CACHE"

    def __init__(self, tokens: "Tokens", environ: "Environment" = posix.environ) -> None:
        self._tokens = tokens
        self._environ = environ

    @property
    def manual(self) -> str:
        """See `minted.Source`."""
        from credhelpers.sources._vault import MANUAL

        return MANUAL

    def record(self, route: "Route", recorder: "Recorder") -> None:
        """See `minted.Source`.

        Files with a token or key that a login uses are in it by their names, which the configuration has: they are
        written anew every hour and stand for the same identity. The user's own token file is looked at.
        """
        environ = recorder.environ
        base = home(environ)
        files = [_named(environ, b"TOKEN_PATH") or base + b"/.vault-token"]
        helper = _named(environ, b"CONFIG_PATH")
        if helper.startswith(b"~/"):
            helper = base + helper[1:]
        files += [helper] if helper else [base + b"/.bao", base + b"/.vault"]
        method = route.settings.get("auth")
        if method == "aws":
            files.append(environ.get(b"AWS_CONFIG_FILE") or base + b"/.aws/config")
            files.append(environ.get(b"AWS_SHARED_CREDENTIALS_FILE") or base + b"/.aws/credentials")
        for prefix in _PREFIXES + _CLOUD_PREFIXES.get(method, ()):
            recorder.variables(prefix)
        for path in files:
            recorder.file(path)

    def minter(self, route: "Route") -> "VaultMinter":
        """The credential for the registry."""
        from credhelpers.sources._vault import SETTINGS
        from credhelpers.vault.minter import VaultMinter
        from credhelpers.vault.secret_paths import registry_of

        registry = registry_of(self._environ, SETTINGS, route)
        return VaultMinter(self._environ, self._tokens, registry, is_whole=route.authority.is_whole)

    def list(self) -> dict[str, str]:
        """Server to user name of all that lies where the configuration says and the token may read."""
        from credhelpers.sources._vault import SETTINGS
        from credhelpers.vault.listing import servers

        return servers(self._environ, SETTINGS, self._tokens)
