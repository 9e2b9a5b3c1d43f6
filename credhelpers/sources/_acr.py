"""Azure's registries, announced: their hosts, the settings of an entry, and what `--help` prints. No hit loads it."""

from credhelpers.exchanges.acr_hosts import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.config.schema import Settings

_GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_KINDS = ("environment", "client-secret", "certificate", "workload-identity", "managed-identity", "azure-cli", "azd")

SETTINGS: "Settings" = {
    "credential": ("one of " + ", ".join(_KINDS), "|".join(_KINDS), "what kind of identity asks Microsoft Entra"),
    "tenant_id": ("a tenant's id or domain", "[0-9A-Za-z][0-9A-Za-z.-]{0,252}", "the tenant of the identity"),
    "client_id": ("an application's or identity's client id", _GUID, "which application or managed identity"),
    "object_id": ("an object id", _GUID, "which managed identity, by its object id"),
    "resource_id": ("a resource id", r"/subscriptions/[!-~]{1,500}", "which managed identity, by its resource id"),
    "client_secret_file": ("an absolute path", "/[^\0]+", "the file that holds nothing but the client secret"),
    "certificate_file": ("an absolute path", "/[^\0]+", "the application's certificate and key, PEM or PKCS12"),
    "token_file": ("an absolute path", "/[^\0]+", "the federated token of a workload identity"),
    "authority_host": ("a host", "[a-z0-9-]+([.][a-z0-9-]+)+", "the login service, where the cloud's is not meant"),
    "audience": ("`acr` or `arm`", "acr|arm", "for whom the Entra token is: `arm` for registries that know no other"),
    "registry": ("a login server", "[a-z0-9-]+([.][a-z0-9-]+)+", "for an alias: the registry that it stands for"),
}

# The settings of each kind of credential, besides those of all.
_OF_ALL = ("credential", "tenant_id", "audience", "registry")
_OF_KIND: "dict[str, tuple[str, ...]]" = {
    "environment": ("client_id", "authority_host"),
    "client-secret": ("client_id", "client_secret_file", "authority_host"),
    "certificate": ("client_id", "certificate_file", "authority_host"),
    "workload-identity": ("client_id", "token_file", "authority_host"),
    "managed-identity": ("client_id", "object_id", "resource_id"),
    "azure-cli": (),
    "azd": (),
}

ALIAS = ("registry",)

MANUAL = """\
Answers for Azure Container Registry with tokens that it mints and renews. In docker's config.json:

  "credHelpers": { "myregistry.azurecr.io": "acr" }

Registries: NAME.azurecr.io, .cn and .us, names with a hash (NAME-HASH), and the regional
endpoints NAME.REGION.geo.azurecr.io. Nothing else is answered, nor are data endpoints.

One identity is used, the first of these that is there:

  what the configuration file says for this registry
  AZURE_CLIENT_SECRET, with AZURE_TENANT_ID and AZURE_CLIENT_ID
  AZURE_CLIENT_CERTIFICATE_PATH, with the same two
  AZURE_FEDERATED_TOKEN or AZURE_FEDERATED_TOKEN_FILE, with the same two
  the managed identity of App Service, Arc, Cloud Shell (IDENTITY_ENDPOINT, MSI_ENDPOINT)
  the managed identity of the virtual machine (AZURE_CLIENT_ID chooses one of several)
  az, then azd, if somebody is logged in there

With none of them the answer is not-found, and docker pulls anonymously. What store brings is
answered first, until erase: a password from the keyring, a token from the cache until it ends.
erase forgets cached tokens, too. list names the hosts that are answered so.

  CREDHELPERS_CONFIG     the configuration file, else ~/.config/credhelpers/config.toml
  CREDHELPERS_CACHE_DIR  where tokens are cached, empty for nowhere
"""
__all__ = ["ALIAS", "MANUAL", "RULES", "SETTINGS", "contradiction"]


def contradiction(settings: "Mapping[str, Any]") -> str:
    """What is wrong with the settings together, or ""."""
    kind = settings.get("credential")
    for name in settings:
        if name not in _OF_ALL and name not in _OF_KIND.get(kind or "", ()):
            return f"`{name}` is not for `{kind}`" if kind else f"`{name}` needs `credential`"
    if len([name for name in ("client_id", "object_id", "resource_id") if name in settings]) > 1:
        return "one of `client_id`, `object_id` and `resource_id` says which identity, not two"
    return ""
