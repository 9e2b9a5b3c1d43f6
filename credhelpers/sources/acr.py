"""Azure Container Registry: a token of Microsoft Entra, exchanged at the registry for one of its own.

A registry's token is good for that registry only, so each host has its own, whichever identity asks. This half is on
the way of a cache hit: which token is wanted. How it is made is in `exchanges.acr`.
"""

import posix

from credhelpers.errors import NotMine
from credhelpers.identity import fingerprint, home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder

_FILES = ("client_secret_file", "certificate_file")

# Whatever of the environment selects an identity. A federated token's file is in here as a path, not among the files
# by its stamp: it is written anew every hour and says the same identity each time, that of tenant and client.
_VARIABLES = (
    b"AZURE_TENANT_ID",
    b"AZURE_CLIENT_ID",
    b"AZURE_CLIENT_SECRET",
    b"AZURE_CLIENT_CERTIFICATE_PASSWORD",
    b"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
    b"AZURE_FEDERATED_TOKEN",
    b"AZURE_FEDERATED_TOKEN_FILE",
    b"AZURE_AUTHORITY_HOST",
    b"AZURE_TOKEN_CREDENTIALS",
    b"AZURE_POD_IDENTITY_AUTHORITY_HOST",
    b"IDENTITY_ENDPOINT",
    b"IDENTITY_HEADER",
    b"IDENTITY_SERVER_THUMBPRINT",
    b"IMDS_ENDPOINT",
    b"MSI_ENDPOINT",
    b"MSI_SECRET",
)


class Acr:
    """The source of tokens for Azure Container Registry."""

    __slots__ = ("_environ",)

    kind = "acr"
    uncached = b""

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    @property
    def manual(self) -> str:
        """See `minted.Source`."""
        from credhelpers.sources._acr import MANUAL

        return MANUAL

    def record(self, route: "Route", recorder: "Recorder") -> None:
        """See `minted.Source`."""
        from credhelpers.identities.entra_environment import said

        environ = recorder.environ
        for name in _VARIABLES:
            recorder.variable(name)
        files = _files(environ)
        is_narrowed = bool(environ.get(b"AZURE_TOKEN_CREDENTIALS"))  # may pass over what the environment says
        if route.settings or is_narrowed or not said(environ):
            files += _personal_files(environ)
        for path in files:
            recorder.file(path)
        for path in _proofs(recorder.proving, route.settings):
            recorder.proof(path)

    def minter(self, route: "Route") -> "AcrMinter":
        """What to mint for the host: an ACR refresh token is good for one registry, so the host is in its key.

        The Entra token behind it would serve several registries. It is not kept: it opens more than what docker asked
        for, and one request every one and a half hours per registry is what not having it on disk costs.
        """
        host, cloud = _registry(route)
        return AcrMinter(host, cloud, route.settings, self._environ)


class AcrMinter:
    """A token for the login server `host` by the identity that `settings` and `environ` say."""

    __slots__ = ("_cloud", "_environ", "_host", "_settings")

    def __init__(self, host: str, cloud: str, settings: "dict[str, str]", environ: "Environment") -> None:
        self._host = host
        self._cloud = cloud
        self._settings = settings
        self._environ = environ

    @property
    def token_key(self) -> str:
        """The fingerprint of the registry and the identity, wherever the latter was said."""
        said = "\n".join(f"{name}={value}" for name, value in sorted(self._settings.items()))
        files = [*_files(self._environ), *_personal_files(self._environ)]
        files += [self._settings[name].encode() for name in _FILES if name in self._settings]
        return fingerprint(f"acr token {self._host}\n{said}", self._environ, _VARIABLES, files)

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """A refresh token of the registry, with its times.

        Raises NotFound if the registry asks for no token or there is no identity, and none got `old`; Unavailable for
        all else.
        """
        from credhelpers.exchanges.acr import AcrExchange  # longer than all that a hit imports

        return AcrExchange(self._host, self._cloud, self._settings, self._environ).credential(old)


def _registry(route: "Route") -> tuple[str, str]:
    """The login server and its cloud; for an alias that for which it stands. Raises Unavailable."""
    settings = route.settings
    if route.fields:
        if "registry" in settings:
            raise route.contradiction("`registry` is for aliases, and this host is none")
        return route.authority.host, route.fields["cloud"]
    if "registry" not in settings:
        raise route.contradiction("an alias of a registry needs `registry`, the login server that it stands for")
    from credhelpers.exchanges.acr_hosts import azure

    try:
        return settings["registry"], azure(settings["registry"])
    except NotMine:
        raise route.contradiction("`registry` is not a login server of Azure Container Registry") from None


def _proofs(environ: "Environment", settings: "dict[str, str]") -> list[bytes]:
    """What an identity is proved with: secrets, certificates and tokens in files, and the logins of az and azd."""
    az, azd = _directories(environ)
    return [
        *(settings[name].encode() for name in (*_FILES, "token_file") if name in settings),
        environ.get(b"AZURE_FEDERATED_TOKEN_FILE", b""),
        *(az + name for name in (b"/msal_token_cache.json", b"/msal_token_cache.bin")),
        *(az + name for name in (b"/service_principal_entries.json", b"/service_principal_entries.bin")),
        azd + b"/auth",
        azd + b"/auth/msal",
    ]


def _files(environ: "Environment") -> list[bytes]:
    """The files of identities that the environment names."""
    return [environ.get(b"AZURE_CLIENT_CERTIFICATE_PATH", b"")]


def _personal_files(environ: "Environment") -> list[bytes]:
    """The files in which az and azd keep who is logged in.

    Not az's token cache: it changes whenever az renews a token, which is what we ask it to do.
    """
    az, azd = _directories(environ)
    return [az + b"/azureProfile.json", az + b"/config", azd + b"/auth.json"]


def _directories(environ: "Environment") -> tuple[bytes, bytes]:
    """Where az and azd keep what is theirs."""
    base = home(environ)
    az = environ.get(b"AZURE_CONFIG_DIR") or base + b"/.azure"
    if az.startswith(b"~/"):  # az itself expands it
        az = base + az[1:]
    return az, environ.get(b"AZD_CONFIG_DIR") or base + b"/.azd"
