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
_IDS = ("client_id", "object_id", "resource_id")
_ARC_VERSION = "2020-06-01"
# Where the agent of Azure Arc puts what proves that we may read it (learn.microsoft.com, "Authenticate against Azure
# resources with Azure Arc-enabled servers"), and what azure-identity 1.27 takes for such a file.
_ARC_KEYS = "/var/opt/azcmagent/tokens/"
_ARC_KEY_BYTES = 4096

_METADATA = Peer(
    "the metadata service", {"network": "`printenv IDENTITY_ENDPOINT MSI_ENDPOINT` shows where it ought to be"}
)


class _Service:
    """One that gives tokens: the way to it, its URL, the version of its interface, what it wants to hear of whom.

    `names` are what it calls the ids. One without a version is Cloud Shell's.
    """

    def __init__(self, way: Way, url: str, version: str, headers: dict[str, str], **names: str) -> None:
        self.is_shell = not version
        self._way = way
        self._url = url
        self._version = version
        self._headers = headers
        self._names = {"resource_id": "msi_res_id", **names}

    def ask(self, resource: str, ids: "Mapping[str, str]") -> Answer:
        """Its answer for the identity. Raises Unavailable."""
        parameters = {"resource": resource, **{self._names.get(name, name): value for name, value in ids.items()}}
        if self.is_shell:
            headers = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
            return self._way.ask("POST", self._url, urlencode(parameters).encode(), headers)
        mark = "&" if "?" in self._url else "?"
        url = self._url + mark + urlencode({"api-version": self._version, **parameters}, safe="/:")
        answer = self._way.ask("GET", url, headers=self._headers)
        if self._version == _ARC_VERSION and answer.status == 401:  # noqa: PLR2004 - RFC 9110
            if key := _arc_key(answer.headers.get("WWW-Authenticate", "")):
                answer = self._way.ask("GET", url, headers={**self._headers, "Authorization": f"Basic {key}"})
            if answer.status == 200 and not _is_confirmed(ids, json_object(answer.content)):  # noqa: PLR2004 - RFC 9110
                answer = Answer(404, {}, b"")
        return answer


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
        ids = {name: self._settings[name] for name in _IDS if name in self._settings}
        if service.is_shell and ids:
            raise Unavailable(
                "acr-cloud-shell",
                "Cloud Shell has one identity, and another was asked for",
                "take its id out of config.toml",
            )
        client = self._variable(b"AZURE_CLIENT_ID")
        if client and not ids and not service.is_shell:
            ids = {"client_id": client}
        answer = service.ask(resource, ids)
        token = json_object(answer.content).get("access_token") if answer.status == 200 else None  # noqa: PLR2004 - RFC 9110
        if token is None:
            raise metadata_refusal(answer.status, answer.content, is_one_asked_for=bool(ids))
        return token

    def machine(self) -> dict[str, str]:
        """What Vault wants to know of the virtual machine with this identity, {} where it is in a container.

        learn.microsoft.com, "Azure Instance Metadata Service", `/metadata/instance`. Raises Unavailable.
        """
        if self._variable(b"IDENTITY_ENDPOINT") or self._variable(b"MSI_ENDPOINT"):
            return {}
        way, base = self._virtual_machine()
        answer = way.ask("GET", base + _INSTANCE_PATH, headers={"Metadata": "true"})
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
        url, secret = endpoint or self._variable(b"MSI_ENDPOINT"), self._variable(b"MSI_SECRET")
        if not url:
            way, base = self._virtual_machine()
            return _Service(way, base + _IMDS_PATH, _IMDS_VERSION, {"Metadata": "true"})
        way = self._way(url, is_named=True)
        if endpoint and header:  # App Service and what is made of it
            wanted = {"X-IDENTITY-HEADER": header, "Metadata": "true"}
            return _Service(way, url, "2019-08-01", wanted, resource_id="mi_res_id")
        if endpoint:
            return _Service(way, url, _ARC_VERSION, {"Metadata": "true"})
        if secret:  # Azure Machine Learning
            return _Service(way, url, "2017-09-01", {"secret": secret}, client_id="clientid")
        return _Service(way, url, "", {"Metadata": "true"})

    def _virtual_machine(self) -> tuple[Way, str]:
        """The metadata service of a virtual machine, and its URL. Raises Absent if none of Azure's answers."""
        named = self._variable(b"AZURE_POD_IDENTITY_AUTHORITY_HOST")
        base = (named or _IMDS).strip("/")
        way = self._way(base, is_named=bool(named) or self._is_said)
        absent = Absent(
            "acr-metadata-absent",
            "no metadata service of Azure answers on this machine",
            "on a machine outside of Azure use another `credential`, see `docs/acr.md`",
        )
        try:
            # Without the header `Metadata: true`, which Azure's refuses with 400. Other clouds have theirs at the same
            # address, and answer otherwise.
            status = way.ask_once("GET", f"{base}{_IMDS_PATH}?api-version={_IMDS_VERSION}").status
        except NoAnswer as trouble:
            if self._patience.is_late and self._patience.is_sure:
                raise
            absent.late = trouble.message if self._patience.is_late else ""
            raise absent from None
        if status not in (200, 400, 410, 429, *TRANSIENT):
            raise absent
        return way, base

    def _way(self, url: str, *, is_named: bool) -> Way:
        _check_is_near(url)
        self._patience = Patience("microsoft", place(url)[1], self._until, is_named=is_named)
        return Way(_METADATA, url, self._environ, self._until, self._patience)

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
