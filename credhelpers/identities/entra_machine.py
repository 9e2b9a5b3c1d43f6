"""The managed identity of this machine or container, by the service that gives its tokens.

azure-identity is not asked: it and msal know the service by the environment of their process only, so that no process
could have two identities, and an empty variable or one of another kind of identity led them astray.
"""

from urllib.parse import urlencode

from credhelpers import files
from credhelpers.errors import Unavailable
from credhelpers.identities.entra_environment import variable
from credhelpers.identities.entra_errors import Absent, metadata_refusal
from credhelpers.net.azure import TRANSIENT, Way, place
from credhelpers.net.failures import NoAnswer
from credhelpers.net.patience import Patience
from credhelpers.net.wire import Answer, Peer, json_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from credhelpers.identity import Environment

_IMDS = "http://169.254.169.254"  # learn.microsoft.com, "How to use managed identities … to acquire an access token"
_IMDS_PATH = "/metadata/identity/oauth2/token"
_IMDS_VERSION = "2018-02-01"
_INSTANCE_PATH = "/metadata/instance?api-version=2021-02-01"
# By the field of Vault's login (developer.hashicorp.com/vault/api-docs/auth/azure), what the metadata service calls it.
_INSTANCE = {
    "subscription_id": "subscriptionId",
    "resource_group_name": "resourceGroupName",
    "vm_name": "name",
    "vmss_name": "vmScaleSetName",
}
# Where the agent of Azure Arc puts what proves that we may read it (learn.microsoft.com, "Authenticate against Azure
# resources with Azure Arc-enabled servers"), and what azure-identity 1.27 takes for such a file.
_ARC_KEYS = "/var/opt/azcmagent/tokens/"
_ARC_KEY_BYTES = 4096

_METADATA = Peer(
    "the metadata service", {"network": "`printenv IDENTITY_ENDPOINT MSI_ENDPOINT` shows where it ought to be"}
)


class _Service:
    """One that gives tokens: its URL, the version of its interface, what it wants to hear, and how it calls the ids."""

    def __init__(self, url: str, version: str, headers: "Mapping[str, str]", **names: str) -> None:
        self.url = url
        self.version = version
        self.headers = headers
        self.names = {"resource_id": "msi_res_id", **names}
        self.is_arc = False


class ManagedIdentity:
    """One of this machine's, by `client_id`, `object_id` or `resource_id`, or the one that it has.

    is_said: whether it was said that there is one. All ends at `until` (monotonic clock).
    """

    def __init__(self, settings: "Mapping[str, str]", environ: "Environment", until: float, *, is_said: bool) -> None:
        self._settings = settings
        self._environ = environ
        self._until = until
        self._is_said = is_said

    def token(self, resource: str) -> object:
        """A token for the resource. Raises Absent if there is no such service or identity, Unavailable."""
        service = self._service()
        ids = {
            name: self._settings[name] for name in ("client_id", "object_id", "resource_id") if name in self._settings
        }
        if not service.version and ids:
            raise Unavailable(
                "acr-cloud-shell",
                "Cloud Shell has one identity, and another was asked for",
                "take its id out of config.toml",
            )
        client = self._variable(b"AZURE_CLIENT_ID")
        if service.version and not ids and client:
            ids = {"client_id": client}
        answer = self._asked(
            service, {"resource": resource} | {service.names.get(name, name): ids[name] for name in ids}
        )
        found = json_object(answer.content) if answer.status == 200 else {}  # noqa: PLR2004 - RFC 9110
        if "access_token" not in found:
            raise metadata_refusal(answer.status, answer.content, is_one_asked_for=bool(ids))
        if service.is_arc and not _is_confirmed(ids, found):
            raise metadata_refusal(404, b"", is_one_asked_for=True)
        return found["access_token"]

    def machine(self) -> dict[str, str]:
        """What Vault wants to know of the virtual machine with this identity, {} where it is in a container.

        learn.microsoft.com, "Azure Instance Metadata Service", `/metadata/instance`. Raises Unavailable.
        """
        if self._variable(b"IDENTITY_ENDPOINT") or self._variable(b"MSI_ENDPOINT"):
            return {}
        base = self._virtual_machine()
        answer = self._way(base).ask("GET", base + _INSTANCE_PATH, headers={"Metadata": "true"})
        compute = json_object(answer.content).get("compute") if answer.status == 200 else None  # noqa: PLR2004 - RFC 9110
        known = compute if isinstance(compute, dict) else {}
        values = {name: known.get(key) for name, key in _INSTANCE.items()}
        return {name: value for name, value in values.items() if isinstance(value, str) and value}

    def _service(self) -> _Service:
        """The one that gives tokens here, as `msal.managed_identity` tells them apart. Raises Absent, Unavailable."""
        if self._variable(b"IDENTITY_SERVER_THUMBPRINT"):
            raise Unavailable(
                "acr-service-fabric",
                "the managed identity of Service Fabric is not supported: its certificate cannot be verified as usual",
                "give this registry another `credential` in config.toml, see `docs/acr.md`",
            )
        endpoint, header = self._variable(b"IDENTITY_ENDPOINT"), self._variable(b"IDENTITY_HEADER")
        if endpoint and not (header or self._variable(b"IMDS_ENDPOINT")):
            raise Unavailable(
                "acr-endpoint-incomplete",
                "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT is",
                "`printenv IDENTITY_HEADER IMDS_ENDPOINT` must show one where docker runs: pass it on",
            )
        own = endpoint or self._variable(b"MSI_ENDPOINT")
        if not own:
            return _Service(self._virtual_machine() + _IMDS_PATH, _IMDS_VERSION, {"Metadata": "true"})
        _check_is_near(own)
        if header and endpoint:
            headers = {"X-IDENTITY-HEADER": header, "Metadata": "true"}
            return _Service(own, "2019-08-01", headers, resource_id="mi_res_id")
        if endpoint:
            found = _Service(own, "2020-06-01", {"Metadata": "true"})
            found.is_arc = True
            return found
        if secret := self._variable(b"MSI_SECRET"):
            return _Service(own, "2017-09-01", {"secret": secret}, client_id="clientid")
        return _Service(own, "", {"Metadata": "true"})  # Cloud Shell's

    def _virtual_machine(self) -> str:
        """Where the metadata service of a virtual machine is. Raises Absent if none of Azure's answers, Unavailable."""
        named = self._variable(b"AZURE_POD_IDENTITY_AUTHORITY_HOST")
        base = (named or _IMDS).strip("/")
        _check_is_near(base)
        way = self._way(base)
        patience = Patience("microsoft", place(base)[1], self._until, is_named=bool(named) or self._is_said)
        try:
            # Without the header `Metadata: true`, which Azure's refuses with 400. Other clouds have theirs at the same
            # address, and answer otherwise.
            url = f"{base}{_IMDS_PATH}?api-version={_IMDS_VERSION}"
            status = patience.ask(lambda *limits: way.ask_once("GET", url, limits=limits)).status
        except NoAnswer as trouble:
            if patience.is_late and patience.is_sure:
                raise
            status, late = 0, trouble.message if patience.is_late else ""
        else:
            late = ""
        if status not in (200, 400, 410, 429, *TRANSIENT):
            absent = Absent(
                "acr-metadata-absent",
                "no metadata service of Azure answers on this machine",
                "on a machine outside of Azure use another `credential`, see `docs/acr.md`",
            )
            absent.late = late
            raise absent
        return base

    def _asked(self, service: _Service, parameters: "Mapping[str, str]") -> Answer:
        way = self._way(service.url)
        if not service.version:
            headers = {**service.headers, "Content-Type": "application/x-www-form-urlencoded"}
            return way.ask("POST", service.url, urlencode(parameters).encode(), headers)
        mark = "&" if "?" in service.url else "?"
        url = service.url + mark + urlencode({"api-version": service.version, **parameters}, safe="/:")
        answer = way.ask("GET", url, headers=service.headers)
        if service.is_arc and answer.status == 401:  # noqa: PLR2004 - RFC 9110
            key = _arc_key(answer.headers.get("WWW-Authenticate", ""))
            if key:
                answer = way.ask("GET", url, headers={**service.headers, "Authorization": f"Basic {key}"})
        return answer

    def _way(self, url: str) -> Way:
        return Way(_METADATA, url, self._environ, self._until, is_proxied=False)

    def _variable(self, name: bytes) -> str:
        return variable(self._environ, name)


def _arc_key(challenge: str) -> str:
    """What is in the file that the agent of Azure Arc names, "" if that is none of its own or we may not read it."""
    scheme, _, path = challenge.partition("=")
    name = path.removeprefix(_ARC_KEYS)
    if scheme.lower() != "basic realm" or not path.startswith(_ARC_KEYS) or "/" in name or not name.endswith(".key"):
        return ""
    try:
        return files.read(path, _ARC_KEY_BYTES)[0].decode("ascii")
    except (OSError, ValueError):
        return ""


def _is_confirmed(ids: "Mapping[str, str]", found: "Mapping[str, object]") -> bool:
    """Whether Azure Arc's answer is for the identity that was asked for: an older agent gives the machine's own."""
    names = {"client_id": ("client_id",), "object_id": ("object_id",), "resource_id": ("msi_res_id", "mi_res_id")}
    return all(
        any(str(found.get(field, "")).lower() == value.lower() for field in names[name]) for name, value in ids.items()
    )


def _check_is_near(endpoint: str) -> None:
    """Raise unless the metadata service is on this machine or next to it, or answers by https.

    What is sent there in clear is a secret in some environments, and what comes back always is.
    """
    from ipaddress import ip_address

    try:
        scheme, name, _, _ = place(endpoint)
        is_near = scheme == "https" or name == "localhost" or ip_address(name.strip("[]")).is_private
    except (KeyError, ValueError):
        is_near = False
    authority = endpoint.partition("://")[2].partition("/")[0].partition("?")[0]
    if "@" in authority or "\\" in authority or not is_near:
        raise Unavailable(
            "acr-endpoint-foreign",
            "the address of the managed identity is not of this machine, nor https",
            "`printenv IDENTITY_ENDPOINT MSI_ENDPOINT AZURE_POD_IDENTITY_AUTHORITY_HOST` shows it; correct it",
        )
