"""An application that is registered with Microsoft Entra: by secret, certificate or federated token, by azure-identity.

Of the environment of this process azure-identity and msal read a regional login service, which is switched off by
credential: it is another host. Everything else they are given.
"""

from credhelpers import files
from credhelpers.errors import HelperError, Unavailable, shortage
from credhelpers.identities.entra_environment import needed, variable
from credhelpers.identities.entra_errors import entra_refusal
from credhelpers.net.azure import Way, missing
from credhelpers.net.wire import Peer
from credhelpers.servers import Authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.identity import Environment

_FILE_BYTES = 1 << 16

_ENTRA = Peer(
    "Microsoft Entra",
    {"network": "`curl -sI https://login.microsoftonline.com` and `printenv HTTPS_PROXY` show where it ends"},
)


class Application:
    """One, by the kind of its credential; `login` is the host that tokens come from if nobody says another."""

    def __init__(
        self, kind: str, settings: "Mapping[str, str]", environ: "Environment", login: str, until: float
    ) -> None:
        self._kind = kind
        self._settings = settings
        self._environ = environ
        self._login = login
        self._until = until

    def token(self, resource: str) -> object:
        """A token for the resource. Raises Unavailable, and Unknown where Entra does not know the application."""
        make = {
            "client-secret": self._by_secret,
            "certificate": self._by_certificate,
            "workload-identity": self._by_federation,
        }[self._kind]
        proof = self._proof()
        ids = self._ids()
        try:
            import azure.identity
            import msal
        except ModuleNotFoundError:
            raise missing() from None
        way, authority = self._entra(ids[0])
        credential = make(azure.identity, ids, proof, {"authority": authority, **way.options})
        # None for an older msal, which reads no variable.
        none = getattr(msal.ConfidentialClientApplication, "DISABLE_MSAL_FORCE_REGION", None)
        credential._regional_authority = none  # noqa: SLF001 - of this one only, and there is no argument for it
        try:
            return credential.get_token(f"{resource}/.default").token
        except HelperError:
            raise
        except Exception:  # noqa: BLE001 - an SDK that meets rubbish raises anything, and its texts quote what it met
            # What went wrong on the way is behind whatever the SDK makes of it.
            raise way.trouble or entra_refusal(way.status, way.body) from None

    def _proof(self) -> str:
        """The secret, the path of the certificate, or the federated token."""
        if self._kind == "client-secret":
            if "client_secret_file" in self._settings:
                return _text_of(self._settings["client_secret_file"], "the client secret's file")
            return needed(self._environ, b"AZURE_CLIENT_SECRET", self._settings)
        if self._kind == "certificate":
            return needed(self._environ, b"AZURE_CLIENT_CERTIFICATE_PATH", self._settings, "certificate_file")
        assertion = variable(self._environ, b"AZURE_FEDERATED_TOKEN")
        if "token_file" in self._settings or not assertion:
            path = self._settings.get("token_file") or needed(
                self._environ, b"AZURE_FEDERATED_TOKEN_FILE", self._settings
            )
            return _text_of(path, "the federated token's file")
        return assertion

    @staticmethod
    def _by_secret(sdk: "Any", ids: tuple[str, str], secret: str, options: "dict[str, Any]") -> "Any":
        return sdk.ClientSecretCredential(*ids, secret, disable_instance_discovery=True, **options)

    def _by_certificate(self, sdk: "Any", ids: tuple[str, str], path: str, options: "dict[str, Any]") -> "Any":
        try:
            return sdk.CertificateCredential(
                *ids,
                path,
                password=variable(self._environ, b"AZURE_CLIENT_CERTIFICATE_PASSWORD") or None,
                send_certificate_chain=bool(variable(self._environ, b"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")),
                disable_instance_discovery=True,
                **options,
            )
        except (OSError, ValueError, TypeError):  # the last from cryptography: a password too much
            raise Unavailable(
                "acr-certificate-unreadable",
                "the certificate cannot be read",
                "it must hold certificate and RSA key, in PEM or PKCS12; look at path, mode and password",
            ) from None

    @staticmethod
    def _by_federation(sdk: "Any", ids: tuple[str, str], assertion: str, options: "dict[str, Any]") -> "Any":
        # What `WorkloadIdentityCredential` is made of; that one reads a file only, and other variables besides.
        return sdk.ClientAssertionCredential(*ids, lambda: assertion, **options)

    def _ids(self) -> tuple[str, str]:
        """Tenant and client id."""
        tenant = needed(self._environ, b"AZURE_TENANT_ID", self._settings, "tenant_id")
        if not tenant.replace("-", "").replace(".", "").isalnum() or not tenant.isascii():
            raise Unavailable(
                "acr-tenant-malformed",
                "AZURE_TENANT_ID is not a tenant",
                "set it to the tenant's id, as `az account show` has it",
            )
        return tenant, needed(self._environ, b"AZURE_CLIENT_ID", self._settings, "client_id")

    def _entra(self, tenant: str) -> tuple[Way, str]:
        """The way to the login service, and its host."""
        host = self._settings.get("authority_host") or variable(self._environ, b"AZURE_AUTHORITY_HOST")
        host = _host_of(host) if host else self._login
        way = Way(_ENTRA, f"https://{host}/", self._environ, self._until)
        if tenant.lower() != "adfs":
            # The endpoints that the SDK would ask for first. They are the same for every tenant, it saves a request,
            # and where the secret goes is then nobody's answer.
            base = f"https://{host}/{tenant}"
            way.known = {
                f"{base}/v2.0/.well-known/openid-configuration": (
                    f'{{"issuer":"{base}/v2.0","authorization_endpoint":"{base}/oauth2/v2.0/authorize",'
                    f'"token_endpoint":"{base}/oauth2/v2.0/token"}}'
                ).encode()
            }
        return way, host


def _host_of(authority: str) -> str:
    """The host of a login service, written with or without `https://` and a last slash."""
    bare = authority.removesuffix("/")
    found = Authority(bare)
    host = found.host
    if not host or found.port or bare.lower() not in (host, "https://" + host):
        raise Unavailable(
            "acr-authority-host",
            "AZURE_AUTHORITY_HOST is not an https host",
            "write it as in `https://login.microsoftonline.com`",
        )
    return host


def _text_of(path: str, what: str) -> str:
    """The text of a small file without the line end that editors leave."""
    try:
        text = files.read(path, _FILE_BYTES)[0].decode("ascii").strip()
    except (OSError, ValueError) as error:
        if lacking := shortage(error):
            raise lacking from None
        text = ""
    if not text:
        raise Unavailable(
            "acr-file-unreadable",
            f"{what} is missing, empty or unreadable",
            "look at it with `ls -l`, as who runs docker",
        )
    return text
