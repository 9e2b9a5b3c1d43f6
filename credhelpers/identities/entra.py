"""Who we are for Microsoft Entra: the identity that settings or environment say, else the first that is there.

azure-identity's own chain is not used: it takes twelve seconds to say that nobody is there.
"""

from credhelpers import notes
from credhelpers.errors import NoIdentity, Unavailable, shortage
from credhelpers.identities import entra_environment
from credhelpers.identities.entra_environment import OF_APPLICATIONS
from credhelpers.identities.entra_errors import LATER, Absent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeGuard

    from credhelpers.identity import Environment

# Login service and Resource Manager of each cloud: azure.identity.AzureAuthorityHosts, azure-cli's cloud.py.
_CLOUDS = {
    "AzureCloud": ("login.microsoftonline.com", "https://management.azure.com"),
    "AzureChinaCloud": ("login.chinacloudapi.cn", "https://management.chinacloudapi.cn"),
    "AzureUSGovernment": ("login.microsoftonline.us", "https://management.usgovcloudapi.net"),
}

_DEPLOYED = (*OF_APPLICATIONS, "managed-identity")
_PERSONAL = ("azure-cli", "azd")
# What is tried where the environment says nothing.
_TRIED = ("managed-identity", *_PERSONAL)
# `AZURE_TOKEN_CREDENTIALS` in lower case (azure-identity's README, "DefaultAzureCredential").
_NARROWED = {
    b"": (*_DEPLOYED, *_PERSONAL),
    b"prod": _DEPLOYED,
    b"dev": _PERSONAL,
    b"environmentcredential": ("client-secret", "certificate"),
    b"workloadidentitycredential": ("workload-identity",),
    b"managedidentitycredential": ("managed-identity",),
    b"azureclicredential": ("azure-cli",),
    b"azuredeveloperclicredential": ("azd",),
}


class EntraIdentity:
    """The identity that `settings` and `environ` say, in one of Azure's clouds; all ends at `until` (monotonic clock).

    Of the settings of `acr` those count that say who we are: `credential`, the ids, the files, `authority_host`.
    """

    def __init__(self, cloud: str, settings: "Mapping[str, str]", environ: "Environment", until: float) -> None:
        self._cloud = cloud
        self._settings = settings
        self._environ = environ
        self._until = until
        self._is_said = False

    def token(self, resource: str) -> tuple[str, str]:
        """A token for the resource, and the tenant that the identity was said to be of or "".

        `resource` is an application id URI of Entra's. Raises NoIdentity if nothing says who we are and nobody is
        there, Unavailable, and Unknown where Entra does not know who asks.
        """
        late = ""
        for kind in self._kinds():
            try:
                return self._ask(kind, resource), self._tenant(kind)
            except Absent as absent:
                if self._is_said or shortage(absent):
                    raise
                notes.take(f"acr: {absent.message}")
                late = late or absent.late
        if late:
            raise NoIdentity("acr-metadata-late", f"{late}, and no other Azure identity is here")
        raise NoIdentity("acr-no-identity", "no Azure identity in variables, machine and command line tools")

    def _tenant(self, kind: str) -> str:
        own = "" if kind in _PERSONAL else entra_environment.variable(self._environ, b"AZURE_TENANT_ID")
        return self._settings.get("tenant_id") or own

    def _kinds(self) -> tuple[str, ...]:
        """The kinds of credential to try, in order. `_is_said` is set if it was said that there is such an identity."""
        self._is_said = True
        chosen = self._settings.get("credential", "")
        if chosen not in ("", "environment"):
            return (chosen,)
        narrowed = self._environ.get(b"AZURE_TOKEN_CREDENTIALS", b"").strip().lower()
        if narrowed not in _NARROWED:
            raise Unavailable(
                "acr-unknown-credential",
                "AZURE_TOKEN_CREDENTIALS names no credential that is known here",
                "see the table in `docs/acr.md`",
            )
        wanted = _NARROWED[narrowed]
        if chosen:
            wanted = tuple(kind for kind in wanted if kind in OF_APPLICATIONS)
        for kind in entra_environment.said(self._environ):
            if kind in wanted:
                return (kind,)
        if chosen:
            raise Unavailable(
                "acr-environment-empty",
                "the environment names no identity, and the configuration says it does",
                "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or another set of `docs/acr.md`",
            )
        self._is_said = narrowed not in (b"", b"dev", b"prod")
        return wanted if self._is_said else tuple(kind for kind in _TRIED if kind in wanted)

    def _ask(self, kind: str, resource: str) -> str:
        ask: Callable[[str], object]
        if kind in OF_APPLICATIONS:
            from credhelpers.identities.entra_application import Application

            ask = Application(kind, self._settings, self._environ, _CLOUDS[self._cloud][0], self._until).token
        elif kind == "managed-identity":
            from credhelpers.identities.entra_machine import ManagedIdentity

            ask = ManagedIdentity(self._settings, self._environ, self._until, is_said=self._is_said).token
        else:
            from credhelpers.identities.entra_programs import Login

            ask = Login(kind, self._settings.get("tenant_id", ""), self._environ, self._until).token
        token = ask(resource)
        if not is_token(token):
            raise Unavailable("acr-no-token", "the answer for the identity holds no token", LATER)
        return token


def is_token(value: object) -> "TypeGuard[str]":
    """Whether it is a text of printable ASCII without blanks."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != "" and " " not in value


def resource_manager(cloud: str) -> str:
    """The resource that is Azure Resource Manager in the cloud."""
    return _CLOUDS[cloud][1]


def cloud_of(resource: str) -> str:
    """The cloud whose Resource Manager is meant, Azure's own for whatever else."""
    managers = ((cloud, manager) for cloud, (_, manager) in _CLOUDS.items())
    return next((cloud for cloud, manager in managers if resource.removesuffix("/") == manager), "AzureCloud")
