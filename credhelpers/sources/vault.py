"""HashiCorp Vault and OpenBao: what teams keep there for a registry, and what Vault itself mints.

This half is on the way of a cache hit: which credential is wanted. How it is read is in the package `vault`.
"""

import posix

from credhelpers.identity import fingerprint, home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder
    from credhelpers.tokens import Tokens
    from credhelpers.vault.minter import VaultMinter

# What of the environment selects a server, an identity or a path, by how it begins.
_PREFIXES = (b"VAULT_", b"BAO_", b"DCVL_", b"DOCKER_CREDENTIAL_VAULT_")


_AWS = b"AWS_"


def _named(environ: "Environment", name: bytes) -> bytes:
    """As `vault.connection.variable` has it: what `BAO_NAME` says if it is set, even to nothing, else `VAULT_NAME`."""
    value = environ.get(b"BAO_" + name)
    return environ.get(b"VAULT_" + name, b"") if value is None else value


class Vault:
    """The source."""

    __slots__ = ("_environ",)

    kind = "vault"
    uncached = b"DCVL_DISABLE_CACHE"

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    @property
    def manual(self) -> str:
        """See `minted.Source`."""
        from credhelpers.sources._vault import MANUAL

        return MANUAL

    def record(self, route: "Route", recorder: "Recorder") -> None:
        """See `minted.Source`.

        Files with a token or key that a login uses are proofs: they are written anew every hour and stand for the same
        identity. The user's own token file is looked at.
        """
        environ = recorder.environ
        base = home(environ)
        files = [_named(environ, b"TOKEN_PATH") or base + b"/.vault-token"]
        helper = _named(environ, b"CONFIG_PATH")
        if helper.startswith(b"~/"):
            helper = base + helper[1:]
        files += [helper] if helper else [base + b"/.bao", base + b"/.vault"]
        for prefixes, more in ((_PREFIXES, files), _of_login(environ, route), _of_engine(environ, route)):
            for prefix in prefixes:
                recorder.variables(prefix)
            for path in more:
                recorder.file(path)
            if _AWS in prefixes:
                from credhelpers.identities import aws_selectors  # knows when a path depends on further variables

                aws_selectors.record(recorder)
        if "auth" in route.settings:
            from credhelpers.vault.login import record_proofs

            record_proofs(recorder, route.settings)

    def minter(self, route: "Route") -> "VaultMinter":
        """The credential for the registry."""
        from credhelpers.vault.minter import VaultMinter
        from credhelpers.vault.secret_paths import registry_of

        registry = registry_of(self._environ, route)
        prefixes, files = _of_engine(self._environ, route)
        names = sorted(name for name in self._environ if prefixes and name.startswith(prefixes))
        which = fingerprint(" ".join(map(repr, names)), self._environ, names, files) if prefixes else ""
        return VaultMinter(self._environ, self._tokens(), registry, which)

    def list(self) -> dict[str, str]:
        """Server to user name of all that lies where the configuration says and the token may read."""
        from credhelpers.vault.listing import servers

        return servers(self._environ, self._tokens())

    def _tokens(self) -> "Tokens":
        """Vault's own tokens, with which it is read."""
        from credhelpers.tokens import Tokens

        return Tokens("vaulttoken", self._environ, self.uncached)


def _of_login(environ: "Environment", route: "Route") -> "tuple[tuple[bytes, ...], list[bytes]]":
    """What chooses who logs in to Vault: how the names of variables begin, and files."""
    from credhelpers.vault.login import METHODS, method

    name = route.settings.get("auth")
    if name not in METHODS:
        return (), []
    way = method(name)
    return way.cloud, way.files(environ, route.settings)


def _of_engine(environ: "Environment", route: "Route") -> "tuple[tuple[bytes, ...], list[bytes]]":
    """What chooses the endpoint at which the engine of a cloud has its identity exchanged for a registry's token.

    Where no engine is said, it is one of these only for a host of the cloud, all of whose names have its word, or for
    an alias.
    """
    engine, settings, host = route.settings.get("engine"), route.settings, route.authority.host
    if engine == "azure" or (engine is None and ("registry" in settings or "azurecr" in host)):
        return (b"AZURE_",), []
    if engine == "aws" or (engine is None and ("account" in settings or "ecr" in host)):
        from credhelpers.identities.aws_selectors import files

        return (_AWS,), files(environ)
    return (), []
