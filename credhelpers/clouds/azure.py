"""Azure Container Registry: how a token is made, by azure-identity and the exchange at the registry.

The exchange is described in github.com/Azure/acr, `docs/AAD-OAuth.md`. The Entra token opens more than a registry, so
it goes nowhere but to the host that docker asked for: the registry's challenge is compared with what it must be, and
it never chooses a destination.
"""

import posix
from time import monotonic, sleep, time

from credhelpers import environment, files, lifetimes, notes
from credhelpers.clouds.propagation import Unknown
from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NoIdentity, NotFound, Unavailable, shortage
from credhelpers.net.failures import NoAnswer
from credhelpers.net.wire import Answer, Peer, Wire
from credhelpers.servers import Authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeGuard

    from azure.core.credentials import TokenCredential

    from credhelpers.identity import Environment

_USERNAME = "00000000-0000-0000-0000-000000000000"  # docs/AAD-OAuth.md: what says that the password is a refresh token

_BUDGET = 8.0  # seconds for one token; the call has ten
_CONNECT = 3.0  # seconds
_READ = 4.0  # seconds without a byte
_PROBE = 0.9  # seconds for a metadata service to show that it is there; a lost SYN would be sent anew after one
_LAST_STEP = 1.5  # seconds that a child leaves for the exchange
_ATTEMPTS = 3
_PAUSE = 0.2  # seconds, doubled, less a random half
_TRANSIENT = (500, 502, 503, 504)
_BODY_BYTES = 1 << 16  # an answer to a client is shorter, and a token is 2 to 4 KiB
_FILE_BYTES = 1 << 16

# Login service and Resource Manager of each cloud: azure.identity.AzureAuthorityHosts, azure-cli's cloud.py. The
# registries' own audience is the same in all clouds (azure-containerregistry, `_helpers.py`).
_CLOUDS = {
    "AzureCloud": ("login.microsoftonline.com", "https://management.azure.com"),
    "AzureChinaCloud": ("login.chinacloudapi.cn", "https://management.chinacloudapi.cn"),
    "AzureUSGovernment": ("login.microsoftonline.us", "https://management.usgovcloudapi.net"),
}
_NETWORK = "`curl -sI https://login.microsoftonline.com` and `curl -sI https://REGISTRY/v2/` show where it ends"
_AUDIENCE = "https://containerregistry.azure.net"
_IMDS = "http://169.254.169.254"  # learn.microsoft.com, "How to use managed identities … to acquire an access token"
_IMDS_PATH = "/metadata/identity/oauth2/token"

_INSTANCE_PATH = "/metadata/instance?api-version=2021-02-01"
# By the field of Vault's login (developer.hashicorp.com/vault/api-docs/auth/azure), what the metadata service calls it.
_INSTANCE = {
    "subscription_id": "subscriptionId",
    "resource_group_name": "resourceGroupName",
    "vm_name": "name",
    "vmss_name": "vmScaleSetName",
}

# What they load code from: azure-cli's `azure/cli/core/extension`, azd's
# `config.json` names its own.
_EXTENDED = (b"AZURE_CONFIG_DIR", b"AZURE_EXTENSION_DIR", b"AZURE_EXTENSION_SYS_DIR", b"AZD_CONFIG_DIR")

_OF_APPLICATIONS = ("client-secret", "certificate", "workload-identity")
_DEPLOYED = (*_OF_APPLICATIONS, "managed-identity")
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


class AcrExchange:
    """Makes a token for the login server `host` by the identity that `settings` and `environ` say.

    `cloud` is the host's, as `hosts.azure` names it. `said` are the kinds of credential that the environment can say
    plainly, in order, with the variables that mean them. All ends within the seconds.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one argument a fact
        self,
        host: str,
        cloud: str,
        settings: "Mapping[str, str]",
        environ: "Environment",
        said: "tuple[tuple[str, tuple[bytes, ...]], ...]",
        seconds: float = _BUDGET,
    ) -> None:
        self._host = host
        self._cloud = cloud
        self._settings = settings
        self._environ = environ
        self._said = said
        self._is_said = False
        self._until = monotonic() + seconds

    def credential(self, old: Credential | None = None) -> Credential:
        """A refresh token of the registry, with its times; `old` is the one that the same identity got before.

        Raises NotFound if the registry asks for no token or there is no identity, and none got `old`; Unavailable for
        all else. It is Unknown where Entra does not know the identity, or the registry does not.
        """
        way = _Way(_REGISTRY, f"https://{self._host}/", self._environ, self._until)
        service = self._challenge(way)
        kind, token = self._entra_token(old)
        form = {"grant_type": "access_token", "service": service, "access_token": token}
        tenant = self._settings.get("tenant_id") or (kind not in _PERSONAL and self._variable(b"AZURE_TENANT_ID"))
        if tenant:
            form["tenant"] = tenant
        return _credential(self._exchange(way, form))

    def entra_token(self) -> str:
        """A token of Microsoft Entra for the setting `resource`, or for registries. Raises Unavailable.

        The identity must be said: there is nobody who could do without one.
        """
        return self._entra_token()[1]

    def machine(self) -> dict[str, str]:
        """What Vault wants to know of the virtual machine with this managed identity, {} where it is in a container.

        learn.microsoft.com, "Azure Instance Metadata Service", `/metadata/instance`. Raises Unavailable.
        """
        base = self._metadata_endpoint()
        if base in (self._variable(b"IDENTITY_ENDPOINT"), self._variable(b"MSI_ENDPOINT")):
            return {}
        way = _Way(_METADATA, base, self._environ, self._until, is_proxied=False)
        answer = way.ask("GET", base + _INSTANCE_PATH, headers={"Metadata": "true"})
        compute = _object(answer.content).get("compute") if answer.status == 200 else None  # noqa: PLR2004 - RFC 9110
        known = compute if isinstance(compute, dict) else {}
        values = {name: known.get(key) for name, key in _INSTANCE.items()}
        return {name: value for name, value in values.items() if isinstance(value, str) and value}

    def _challenge(self, way: "_Way") -> str:
        """What the registry wants to be called in the exchange.

        Raises NotFound if it asks for no token, Unavailable unless it asks for what such a registry must ask for.
        """
        answer = way.ask("GET", f"https://{self._host}/v2/")
        status = answer.status
        if status == 200:  # noqa: PLR2004 - RFC 9110
            raise NotFound("acr-anonymous", "the registry asks for no token")
        if status != 401:  # noqa: PLR2004 - RFC 9110
            raise _refusal("/v2/", status)
        fields = _bearer(answer.headers.get("WWW-Authenticate", ""))
        # A regional endpoint may call itself by the registry's own name. It is a name in a form, never a destination.
        names = (self._host, self._host.partition(".")[0] + "." + ".".join(self._host.split(".")[-2:]))
        if fields.get("realm") != f"https://{self._host}/oauth2/token" or fields.get("service") not in names:
            raise Unavailable(
                "acr-strange-challenge",
                "the registry asks for a token in a way that Azure Container Registry does not",
                "nothing was sent; look at `curl -i` of its /v2/ and at what stands between it and this machine",
            )
        return fields["service"]

    def _exchange(self, way: "_Way", form: dict[str, str]) -> str:
        """The registry's refresh token for the Entra token in the form."""
        from urllib.parse import urlencode

        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = way.ask("POST", f"https://{self._host}/oauth2/exchange", urlencode(form).encode(), fields)
        status = answer.status
        if status != 200:  # noqa: PLR2004 - RFC 9110
            # In the form the service is the registry's own word, and the token is Entra's: the tenant is ours.
            is_of_tenant = b"tenant" in answer.content.lower() or (status == 400 and "tenant" in form)  # noqa: PLR2004
            is_arm = self._settings.get("audience") == "arm"
            raise _refusal("exchange", status, is_of_tenant=is_of_tenant, is_arm=is_arm)
        refresh_token = _object(answer.content).get("refresh_token")
        if not _is_token(refresh_token):
            raise Unavailable("acr-no-token", "the registry's answer to the exchange holds no token", _LATER)
        return refresh_token

    # --- the identity ------------------------------------------------------------------------------------------------

    def _entra_token(self, old: Credential | None = None) -> tuple[str, str]:
        """A token of Microsoft Entra and the kind of identity behind it: the one that is said, else the first there."""
        kinds = self._kinds()
        for kind in kinds:
            try:
                return kind, self._ask(kind)
            except _Absent as absent:
                if self._is_said or shortage(absent):
                    raise
                notes.take(f"acr: {absent.message}")
        if old:  # its key says that whatever selects an identity is as it was: this one may only be away for now
            raise Unavailable(
                "acr-identity-gone",
                "no identity is found any more for the token in hand",
                "run `az login`, or see `az vm identity show`; `CREDHELPERS_DEBUG=1` shows what was looked for",
            )
        raise NoIdentity("acr-no-identity", "no Azure identity in variables, machine and command line tools")

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
            wanted = tuple(kind for kind in wanted if kind in _OF_APPLICATIONS)
        for kind, variables in self._said:
            if kind in wanted and any(self._environ.get(name) for name in variables):
                return (kind,)
        if chosen:
            raise Unavailable(
                "acr-environment-empty",
                "the environment names no identity, and the configuration says it does",
                "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or another set of `docs/acr.md`",
            )
        self._is_said = narrowed not in (b"", b"dev", b"prod")
        return wanted if self._is_said else tuple(kind for kind in _TRIED if kind in wanted)

    def _ask(self, kind: str) -> str:
        ask: dict[str, Callable[[], object]] = {
            "client-secret": self._by_secret,
            "certificate": self._by_certificate,
            "workload-identity": self._by_federation,
            "managed-identity": self._by_metadata,
            "azure-cli": self._by_az,
            "azd": self._by_azd,
        }
        token = ask[kind]()
        if not _is_token(token):
            raise Unavailable("acr-no-token", "the answer for the identity holds no token", _LATER)
        return token

    def _by_secret(self) -> object:
        if "client_secret_file" in self._settings:
            secret = _text_of(self._settings["client_secret_file"], "the client secret's file")
        else:
            secret = self._needed("", b"AZURE_CLIENT_SECRET")
        tenant, client = self._application()
        identity = _sdk()
        way, options = self._entra(tenant)
        return self._acquire(
            way,
            lambda: identity.ClientSecretCredential(tenant, client, secret, disable_instance_discovery=True, **options),
            _entra_refusal,
        )

    def _by_certificate(self) -> object:
        path = self._settings.get("certificate_file") or self._needed("", b"AZURE_CLIENT_CERTIFICATE_PATH")
        tenant, client = self._application()
        identity = _sdk()
        way, options = self._entra(tenant)
        try:
            credential = identity.CertificateCredential(
                tenant,
                client,
                path,
                password=self._variable(b"AZURE_CLIENT_CERTIFICATE_PASSWORD") or None,
                send_certificate_chain=bool(self._variable(b"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")),
                disable_instance_discovery=True,
                **options,
            )
        except (OSError, ValueError, TypeError):  # the last from cryptography: a password too much
            raise Unavailable(
                "acr-certificate-unreadable",
                "the certificate cannot be read",
                "it must hold certificate and RSA key, in PEM or PKCS12; look at path, mode and password",
            ) from None
        return self._acquire(way, lambda: credential, _entra_refusal)

    def _by_federation(self) -> object:
        assertion = self._variable(b"AZURE_FEDERATED_TOKEN")
        if "token_file" in self._settings or not assertion:
            path = self._settings.get("token_file") or self._needed("", b"AZURE_FEDERATED_TOKEN_FILE")
            assertion = _text_of(path, "the federated token's file")
        tenant, client = self._application()
        identity = _sdk()
        way, options = self._entra(tenant)
        # What `WorkloadIdentityCredential` is made of; that one reads a file only, and other variables besides.
        return self._acquire(
            way,
            lambda: identity.ClientAssertionCredential(tenant, client, lambda: assertion, **options),
            _entra_refusal,
        )

    def _by_metadata(self) -> object:
        endpoint = self._metadata_endpoint()
        ids = {
            name: self._settings[name] for name in ("client_id", "object_id", "resource_id") if name in self._settings
        }
        if endpoint == self._variable(b"MSI_ENDPOINT") and not self._variable(b"MSI_SECRET"):
            if ids:
                raise Unavailable(
                    "acr-cloud-shell",
                    "Cloud Shell has one identity, and another was asked for",
                    "take its id out of config.toml",
                )
        elif not ids and (client := self._variable(b"AZURE_CLIENT_ID")):
            ids = {"client_id": client}
        identity = _sdk()
        way = _Way(_METADATA, endpoint, self._environ, self._until, is_proxied=False)
        return self._acquire(
            way,
            lambda: identity.ManagedIdentityCredential(identity_config=ids or None, **way.options),
            lambda way: _metadata_refusal(way, is_one_asked_for=bool(ids)),
        )

    def _metadata_endpoint(self) -> str:
        """Where the managed identity's tokens are. Raises _Absent if there is no such service."""
        if self._variable(b"IDENTITY_SERVER_THUMBPRINT"):
            raise Unavailable(
                "acr-service-fabric",
                "the managed identity of Service Fabric is not supported: its certificate cannot be verified as usual",
                "give this registry another `credential` in config.toml, see `docs/acr.md`",
            )
        endpoint = self._variable(b"IDENTITY_ENDPOINT")
        if endpoint and not (self._variable(b"IDENTITY_HEADER") or self._variable(b"IMDS_ENDPOINT")):
            raise Unavailable(
                "acr-endpoint-incomplete",
                "IDENTITY_ENDPOINT is set, but neither IDENTITY_HEADER nor IMDS_ENDPOINT is",
                "`printenv IDENTITY_HEADER IMDS_ENDPOINT` must show one where docker runs: pass it on",
            )
        endpoint = endpoint or self._variable(b"MSI_ENDPOINT")
        if endpoint:
            _check_is_near(endpoint)
            return endpoint
        base = (self._variable(b"AZURE_POD_IDENTITY_AUTHORITY_HOST") or _IMDS).strip("/")
        _check_is_near(base)
        until = min(self._until, monotonic() + _PROBE)
        try:
            # Without the header `Metadata: true`, which Azure's refuses with 400. Other clouds have theirs at the same
            # address, and answer otherwise.
            way = _Way(_METADATA, base, self._environ, until, is_proxied=False)
            status = way.ask("GET", base + _IMDS_PATH + "?api-version=2018-02-01", attempts=1).status
        except NoAnswer:
            status = 0
        if status not in (200, 400, 410, 429, *_TRANSIENT):
            raise _Absent(
                "acr-metadata-absent",
                "no metadata service of Azure answers on this machine",
                "on a machine outside of Azure use another `credential`, see `docs/acr.md`",
            )
        return base

    def _by_az(self) -> object:
        command = ["az", "account", "get-access-token", "--output", "json", "--resource", self._resource()]
        if "tenant_id" in self._settings:
            command += ["--tenant", self._settings["tenant_id"]]
        return self._run(command, b"az login", "az login").get("accessToken")

    def _by_azd(self) -> object:
        command = ["azd", "auth", "token", "--output", "json", "--no-prompt", "--scope", self._scope()]
        if "tenant_id" in self._settings:
            command += ["--tenant-id", self._settings["tenant_id"]]
        return self._run(command, b"not logged in", "azd auth login").get("token")

    def _run(self, command: list[str], absence: bytes, login: str) -> "dict[str, Any]":
        """The JSON object that the command prints.

        Not by azure-identity, whose time-out ends `az` only, a shell script, and not the Python below it.
        """
        from subprocess import TimeoutExpired

        from credhelpers.net import child

        name = command[0]
        path = child.find(name.encode(), self._environ)
        if path is None:
            raise _Absent(
                "acr-cli-missing",
                f"{name} is not on PATH",
                f"install it and run `{login}`, or choose another `credential`",
            )
        self._check_directories(name)
        plain = {b"AZURE_CORE_NO_COLOR": b"true", b"NO_COLOR": b"true"}
        words = [path, *(word.encode() for word in command[1:])]
        try:
            status, output, errors = child.run_program(
                words, self._environ, plain, self._until - _LAST_STEP - monotonic()
            )
        except OSError:  # its interpreter is gone, say
            raise _Absent("acr-cli-broken", f"{name} cannot be started", f"run `{name} version` to see why") from None
        except TimeoutExpired:
            raise Unavailable(
                "acr-cli-slow", f"{name} gave no answer in time", f"run `{' '.join(command[:3])}` and see why"
            ) from None
        if status == 0:
            return _object(output)
        code = _aadsts(output + errors)
        if code:
            raise _entra_error(code, f"run `{login}`")
        if absence in output + errors:
            raise _Absent("acr-cli-signed-out", f"nobody is logged in to {name}", f"run `{login}`")
        raise Unavailable(
            "acr-cli-failed", f"{name} failed with exit status {status}", f"run `{' '.join(command[:3])}`"
        )

    def _check_directories(self, name: str) -> None:
        """Raise if a directory from which az or azd load extensions, which are code, has a relative path."""
        for variable in _EXTENDED:
            # As azure-cli has it: `~` is expanded in the first one.
            if self._environ.get(variable, b"/")[:1] not in (b"/", b"", b"~"):
                raise Unavailable(
                    "acr-relative-directory",
                    f"{variable.decode()} is a relative path, so {name} would run extensions of each directory",
                    f"set {variable.decode()} to an absolute path, or unset it",
                )

    def _acquire(
        self, way: "_Way", make: "Callable[[], TokenCredential]", explain: "Callable[[_Way], Unavailable]"
    ) -> object:
        """The token that the credential gives that `make` makes; `explain` says why there is none."""
        try:
            return make().get_token(self._scope()).token
        except HelperError:
            raise
        except Exception:  # noqa: BLE001 - an SDK that meets rubbish raises anything, and its texts quote what it met
            # What went wrong on the way is behind whatever the SDK makes of it.
            raise way.trouble or explain(way) from None

    def _entra(self, tenant: str) -> "tuple[_Way, dict[str, Any]]":
        """The way to the login service, and the options that send a credential of the SDK there."""
        host = self._settings.get("authority_host") or self._variable(b"AZURE_AUTHORITY_HOST")
        host = _host_of(host) if host else _CLOUDS[self._cloud][0]
        way = _Way(_ENTRA, f"https://{host}/", self._environ, self._until)
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
        return way, {"authority": host, **way.options}

    def _application(self) -> tuple[str, str]:
        """Tenant and client id of a registered application."""
        tenant = self._needed("tenant_id", b"AZURE_TENANT_ID")
        if not tenant.replace("-", "").replace(".", "").isalnum() or not tenant.isascii():
            raise Unavailable(
                "acr-tenant-malformed",
                "AZURE_TENANT_ID is not a tenant",
                "set it to the tenant's id, as `az account show` has it",
            )
        return tenant, self._needed("client_id", b"AZURE_CLIENT_ID")

    def _resource(self) -> str:
        if "resource" in self._settings:
            return self._settings["resource"]
        return _CLOUDS[self._cloud][1] if self._settings.get("audience") == "arm" else _AUDIENCE

    def _scope(self) -> str:
        return self._resource() + "/.default"

    def _needed(self, setting: str, variable: bytes) -> str:
        value = self._settings.get(setting) or self._variable(variable)
        if not value:
            other = f" (or `{setting}` in config.toml)" if setting else ""
            raise Unavailable(
                "acr-variable-missing",
                f"{variable.decode()} is not set",
                f"set it{other} for this kind of identity, see `docs/acr.md`",
            )
        return value

    def _variable(self, name: bytes) -> str:
        """The variable, or "" if it is not set."""
        try:
            return self._environ.get(name, b"").decode()
        except UnicodeDecodeError:
            raise Unavailable("acr-variable-malformed", f"{name.decode()} is not UTF-8", "set it again") from None


def cloud_of(resource: str) -> str:
    """The cloud whose Resource Manager is meant, Azure's own for whatever else."""
    managers = ((cloud, manager) for cloud, (_, manager) in _CLOUDS.items())
    return next((cloud for cloud, manager in managers if resource.removesuffix("/") == manager), "AzureCloud")


class _Absent(Unavailable):
    """There is no identity of this kind here. Where several kinds may be, the next one is tried."""


class _Way:
    """The way to one server, for us and for azure-identity: every URL must begin with `prefix`.

    The last answer's `status` and `body`, and the `trouble` that there was instead of one, say what an SDK would not.
    """

    def __init__(
        self, peer: Peer, prefix: str, environ: "Environment", until: float, *, is_proxied: bool = True
    ) -> None:
        self.peer = peer
        self._prefix = prefix
        self._until = until
        self._wire = Wire(environ, until, is_proxied=is_proxied)
        self.known: dict[str, bytes] = {}  # answers that need no request
        self.status = 0
        self.body = b""
        self.trouble: Unavailable | None = None

    @property
    def options(self) -> "dict[str, Any]":
        """What makes a credential of the SDK go this way."""
        from credhelpers.net.azure import transport

        return {"transport": transport(self.ask), "retry_total": 0}

    def ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: "Mapping[str, str] | None" = None,
        attempts: int = _ATTEMPTS,
    ) -> Answer:
        """The answer, after retries of what may be over in a moment. Raises Unavailable."""
        if url in self.known:
            return Answer(200, {"Content-Type": "application/json"}, self.known[url])
        try:
            if not url.startswith(self._prefix):
                raise Unavailable(
                    "acr-foreign-request", f"a request meant for {self.peer.name} would have gone elsewhere", _REPORT
                )
            place = _place(url)
            for attempt in range(1, attempts + 1):
                answer = self._wire.ask(self.peer, method, place, body=body, headers=headers)
                self.status, self.body = answer.status, answer.content
                pause = _PAUSE * 2**attempt * (1 - posix.urandom(1)[0] / 512)
                if answer.status not in _TRANSIENT or attempt == attempts or monotonic() + pause > self._until:
                    break
                sleep(pause)
        except Unavailable as trouble:
            self.trouble = trouble
            raise
        except ImportError:
            raise _missing() from None
        return answer


_REGISTRY = Peer(
    "the registry", {"network": "`curl -sI https://REGISTRY/v2/` and `printenv HTTPS_PROXY` show where it ends"}
)
_ENTRA = Peer(
    "Microsoft Entra",
    {"network": "`curl -sI https://login.microsoftonline.com` and `printenv HTTPS_PROXY` show where it ends"},
)
_METADATA = Peer(
    "the metadata service", {"network": "`printenv IDENTITY_ENDPOINT MSI_ENDPOINT` shows where it ought to be"}
)
_LATER = "try again; if it stays, please report it"
_REPORT = "nothing was sent; please report it"
_BETWEEN = "nothing more was sent; look at what stands between this machine and Azure"

# github.com/MicrosoftDocs/entra-docs, "Microsoft Entra authentication and authorization error codes": what a person can
# mend. The number is shown for all others.
_ENTRA_ERRORS = {
    50020: ("the account is not in this tenant", "set AZURE_TENANT_ID, or `tenant_id`, to the registry's tenant"),
    50034: ("the account is not in this tenant", "set AZURE_TENANT_ID, or `tenant_id`, to the registry's tenant"),
    50076: ("a second factor is wanted", "run `az login`"),
    50079: ("a second factor is wanted", "run `az login`"),
    53003: ("a conditional access policy forbids it", "ask the tenant's administrator which one"),
    65001: ("the application lacks consent", "ask the tenant's administrator to grant it"),
    70043: ("the login has expired", "run `az login`"),
    90002: ("there is no such tenant in this cloud", "look at AZURE_TENANT_ID, and AZURE_AUTHORITY_HOST"),
    500011: ("the tenant does not know the registries' audience", 'try `audience = "arm"` in config.toml'),
    700016: ("the application is not in this tenant", "look at AZURE_CLIENT_ID and AZURE_TENANT_ID"),
    700024: ("the federated token has expired", "get a new one; its file must be renewed by who writes it"),
    700027: ("the certificate is not registered for this application", "upload it: `az ad app credential reset`"),
    700082: ("the login has expired", "run `az login`"),
    7000112: ("the application is disabled", "ask the tenant's administrator"),
    7000215: ("the client secret is wrong", "set AZURE_CLIENT_SECRET to the secret's value, not to its id"),
    7000222: ("the client secret has expired", "make a new one: `az ad app credential reset --id ID`"),
    **dict.fromkeys(
        (70021, 700211, 700212, 700213),
        (
            "the federated token fits no federated credential",
            "compare issuer, subject and audience with the application's",
        ),
    ),
}

# Of these, what an application is told whose registration or secret has not arrived everywhere yet.
_UNKNOWN = (700016, 7000215)


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


def _place(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port, and the path with the query. Raises KeyError, ValueError."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    usual = {"http": 80, "https": 443}[parts.scheme]  # no other scheme
    port = parts.port or usual
    return parts.scheme, parts.hostname or "", port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _check_is_near(endpoint: str) -> None:
    """Raise unless the metadata service is on this machine or next to it, or answers by https.

    What is sent there in clear is a secret in some environments, and what comes back always is.
    """
    from ipaddress import ip_address

    try:
        scheme, name, _, _ = _place(endpoint)
        is_near = scheme == "https" or name == "localhost" or ip_address(name).is_private
    except (KeyError, ValueError):
        is_near = False
    authority = endpoint.partition("://")[2].partition("/")[0].partition("?")[0]
    if "@" in authority or "\\" in authority or not is_near:
        raise Unavailable(
            "acr-endpoint-foreign",
            "the address of the managed identity is not of this machine, nor https",
            "`printenv IDENTITY_ENDPOINT MSI_ENDPOINT AZURE_POD_IDENTITY_AUTHORITY_HOST` shows it; correct it",
        )


def _sdk() -> "Any":
    """`azure.identity`, without what in this process's environment would lead it elsewhere than an order says.

    AZURE_FEDERATED_TOKEN_FILE makes a workload identity of a managed one, a regional authority has another host, and
    an empty address of a metadata service is none.
    """
    try:
        import azure.identity
    except ModuleNotFoundError:
        raise _missing() from None
    hidden = ["AZURE_FEDERATED_TOKEN_FILE", "AZURE_REGIONAL_AUTHORITY_NAME", "MSAL_FORCE_REGION"]
    if not posix.environ.get(b"AZURE_POD_IDENTITY_AUTHORITY_HOST"):
        hidden += ["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
    for name in hidden:
        environment.show(name, None)
    return azure.identity


def _missing() -> Unavailable:
    return Unavailable(
        "acr-sdk-missing",
        "the Azure SDK is not installed",
        "install credhelpers with its extra: `pip install 'credhelpers[acr]'`",
    )


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


def _bearer(challenge: str) -> dict[str, str]:
    """The parameters of `WWW-Authenticate` if that is one Bearer challenge (RFC 6750, 3), else none."""
    from urllib.request import parse_http_list

    scheme, _, rest = challenge.partition(" ")
    fields: dict[str, str] = {}
    for item in parse_http_list(rest):
        name, _, value = item.partition("=")
        # A second challenge shows as a name with a blank in it.
        if not name.replace("_", "").isalnum() or name in fields or not value:
            return {}
        fields[name] = value.strip('"')
    return fields if scheme.lower() == "bearer" else {}


def _object(content: bytes) -> "dict[str, Any]":
    """The JSON object, or an empty one if it is none."""
    import json

    def refuse(_constant: str) -> None:
        raise ValueError

    try:
        found = json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _is_token(value: object) -> "TypeGuard[str]":
    """Whether it is a text of printable ASCII without blanks."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != "" and " " not in value


def _credential(refresh_token: str) -> Credential:
    """The credential with the times that the token itself says (RFC 7519, 4.1.4)."""
    from base64 import urlsafe_b64decode

    now = time()
    parts = refresh_token.split(".")
    try:
        claims = _object(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        claims = {}
    end = claims.get("exp")
    if not isinstance(end, int | float) or end <= 0:
        raise Unavailable("acr-no-expiry", "the registry's token does not say when it expires", _LATER)
    if end > now + lifetimes.ACR.longest:
        raise Unavailable(
            "acr-clock",
            "the registry's token lives too long to be true by this machine's clock",
            "compare `date -u` with the true time, and set the clock",
        )
    soft, hard, expires = lifetimes.window(now, end, lifetimes.ACR)
    return Credential(_USERNAME, refresh_token, soft=soft, hard=hard, expires=expires)


def _refusal(step: str, status: int, *, is_of_tenant: bool = False, is_arm: bool = False) -> Unavailable:
    """What a status of the registry means at this step."""
    if status in (400, 401) and is_of_tenant:
        return Unavailable(
            "acr-tenant-refused",
            "the registry does not take tokens of this tenant",
            "set `tenant_id` in config.toml, or AZURE_TENANT_ID for an application, to the registry's: see "
            "`az account show`",
        )
    if status == 401 and is_arm:  # noqa: PLR2004 - RFC 9110
        return Unavailable(
            "acr-arm-refused",
            "the registry does not take tokens for Azure Resource Manager from this identity",
            'take `audience = "arm"` out, or see `az acr config authentication-as-arm show`',
        )
    if (step, status) == ("/v2/", 403):
        return Unavailable(
            "acr-firewall",
            "the registry's firewall does not let this machine in",
            "see `az acr network-rule list`, or reach it by its private endpoint",
        )
    words = {
        401: (
            "acr-identity-refused",
            "the registry does not accept this identity",
            "see `az role assignment list` for AcrPull, and the tenant",
        ),
        403: (
            "acr-identity-forbidden",
            "the registry forbids it to this identity",
            "see `az role assignment list` for AcrPull, and the firewall",
        ),
        404: (
            "acr-registry-unknown",
            "there is no Azure Container Registry at this name",
            "look at the spelling, see `az acr list`",
        ),
        429: ("acr-throttled", "the registry asks to slow down", "wait a minute, then pull again"),
    }
    kind = Unknown if (step, status) in (("exchange", 401), ("exchange", 403)) else Unavailable
    return kind(
        *words.get(status, ("acr-failed", f"the registry answered with status {status}", "try again in a minute"))
    )


def _entra_refusal(way: _Way) -> Unavailable:
    """What the last answer of the login service means."""
    code = _aadsts(way.body)
    if code:
        return _entra_error(code)
    if way.status == 429:  # noqa: PLR2004 - RFC 6585
        return Unavailable("acr-entra-throttled", "Microsoft Entra asks to slow down", "wait a minute, then try again")
    return Unavailable("acr-entra-failed", f"Microsoft Entra answered with status {way.status} and no token", _LATER)


def _entra_error(code: int, hint: str = "") -> Unavailable:
    words, advice = _ENTRA_ERRORS.get(code, ("", "look up the number at https://login.microsoftonline.com/error"))
    kind = Unknown if code in _UNKNOWN else Unavailable
    return kind(
        "acr-entra-refused", f"Microsoft Entra refused: {words or 'see its number'} (AADSTS{code})", hint or advice
    )


def _aadsts(content: bytes) -> int:
    """The first number of an Entra error in a text, or 0."""
    digits = b""
    for byte in content.partition(b"AADSTS")[2][:8]:
        if byte not in b"0123456789":
            break
        digits += bytes((byte,))
    return int(digits or b"0")


def _metadata_refusal(way: _Way, *, is_one_asked_for: bool) -> Unavailable:
    """What the last answer of the metadata service means."""
    if b"ultiple user" in way.body:
        return Unavailable(
            "acr-identity-ambiguous",
            "this machine has several identities, and none was chosen",
            "set AZURE_CLIENT_ID, or `client_id` in config.toml, to the one that may pull",
        )
    if way.status == 429:  # noqa: PLR2004 - RFC 6585
        return Unavailable(
            "acr-metadata-throttled", "the metadata service asks to slow down", "wait a minute, then try again"
        )
    if way.status in (400, 403, 404):
        if is_one_asked_for:
            return Unavailable(
                "acr-identity-unassigned",
                "the identity that was asked for is not assigned to this machine",
                "see `az vm identity show`, AZURE_CLIENT_ID and config.toml",
            )
        return _Absent(
            "acr-identity-absent", "no identity is assigned to this machine", "assign one: `az vm identity assign`"
        )
    if way.status == 401:  # noqa: PLR2004 - RFC 9110
        return Unavailable(
            "acr-metadata-forbidden",
            "the metadata service does not let this user in",
            "on Azure Arc `sudo usermod -aG himds USER`, then log in anew",
        )
    return Unavailable(
        "acr-metadata-failed", f"the metadata service answered with status {way.status} and no token", _LATER
    )
