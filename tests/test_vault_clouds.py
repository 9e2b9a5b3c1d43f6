"""The methods `gcp` and `azure` of a real Vault, which ask fakes of both clouds at their true host names.

Whether they let our JWTs in, and with which words they refuse, is theirs to say: each sentence about these methods is
asserted against what the server answers.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from tests.fakes import google as fakes
from tests.fakes.azure import CLIENT, LOGINS, SECRET, TENANT, FakeAzure
from tests.fakes.google import ACCOUNT, FakeGoogle
from tests.fakes.tls import Proxy, Request, Response, Site
from tests.services import Vault
from tests.test_vault_auth import Place, User, failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

ACCOUNT_ID = "100000000000000000001"
OTHER = "other@acme.iam.gserviceaccount.com"
PRINCIPAL = "bbbbbbbb-cccc-dddd-eeee-ffffffffffff"
ISSUER = f"https://sts.windows.net/{TENANT}/"
ARM = "management.azure.com"
RESOURCE = f"https://{ARM}/"
HOUR = 3600
_APIS = ("www.googleapis.com", "iam.googleapis.com", "compute.googleapis.com")
_NEVER = {"error": {"code": 404, "message": "Not found.", "status": "NOT_FOUND"}}
_numbers = itertools.count()


def _json(body: object, status: int = 200) -> Response:
    return Response(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _signed(kid: str, **claims: object) -> str:
    """A JWT by the one key of both clouds, whatever they call it."""
    return jwt.encode(claims, fakes.key(), "RS256", headers={"kid": kid})


def _certificate() -> str:
    """The key's certificate, which is how Google publishes keys."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ACCOUNT)])
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, fakes.key().public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now - day).not_valid_after(now + day).sign(fakes.key(), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


class Google:
    """What Vault asks Google's APIs, and the metadata server of a machine.

    keys:     the ids of the accounts' keys that are not revoked
    accounts: those that there are
    machine:  what Compute Engine knows of the machine, {} if it does not know it
    later:    by how many seconds the claims of the machine's JWT, `exp` for one, differ from what they would be
    claims:   what else is in it
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        self._certificate = _certificate()
        self.reset()
        self.apis = Site(self._respond, authority.context(*_APIS))
        self.metadata = Site(self._vouch)

    def reset(self) -> None:
        """All is well."""
        self.keys = ["made-up-key-id"]
        self.accounts = [ACCOUNT, ACCOUNT_ID]
        zone = "https://www.googleapis.com/compute/v1/projects/acme/zones/europe-west1-b"
        self.machine: dict[str, object] = {"name": "builder", "id": "7", "status": "RUNNING", "zone": zone}
        self.machine |= {"creationTimestamp": "2020-01-01T00:00:00Z", "labels": {"team": "ci"}}
        self.later: dict[str, int] = {}
        self.claims: dict[str, object] = {}

    def _respond(self, request: Request) -> Response:
        host, path = request.host.partition(":")[0], request.path.partition("?")[0]
        account = path.rpartition("/")[2]
        if path == "/oauth2/v1/certs":
            return _json({"of-google": self._certificate})
        if path.startswith("/service_accounts/v1/metadata/x509/"):
            return _json(dict.fromkeys(self.keys, self._certificate))
        if host == "iam.googleapis.com" and account in self.accounts:
            return _json({"projectId": "acme", "email": ACCOUNT, "uniqueId": ACCOUNT_ID})
        if (
            host == "compute.googleapis.com"
            and path.endswith("/zones/europe-west1-b/instances/builder")
            and self.machine
        ):
            return _json(self.machine)
        if host == "compute.googleapis.com" and path.endswith("/aggregated/instanceGroups"):
            return _json({"items": {}})
        return _json(_NEVER, 404)

    def _vouch(self, request: Request) -> Response:
        now = int(time.time())
        assert "audience=vault%2F" in request.path or "audience=vault/" in request.path
        audience = request.path.partition("audience=")[2].partition("&")[0].replace("%2F", "/")
        machine = {"project_id": "acme", "project_number": 1, "zone": "europe-west1-b", "instance_id": "7"}
        machine |= {"instance_name": "builder", "instance_creation_timestamp": now}
        claims: dict[str, object] = {"iss": "https://accounts.google.com", "aud": audience, "sub": ACCOUNT_ID}
        claims |= {"iat": now, "exp": now + HOUR + self.later.get("exp", 0), "google": {"compute_engine": machine}}
        return Response(200, _signed("of-google", **(claims | self.claims)).encode(), {"Metadata-Flavor": "Google"})


class Azure(FakeAzure):
    """Entra, whose tokens are JWTs that Vault can verify, and what the resource manager knows of machines.

    machine: what the metadata service says that it is
    virtual: what the resource manager says to a question about a machine
    later:   by how many seconds the times of the next tokens differ from what they would be
    claims:  what else is in them
    kid:     which key they name
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        super().__init__(authority, authority.context(*LOGINS, ARM))
        self.proxy.routes[ARM] = self.site.port
        self.reset()
        login, base = LOGINS[0], f"https://{LOGINS[0]}/{TENANT}"
        key = jwt.algorithms.RSAAlgorithm.to_jwk(fakes.key().public_key(), as_dict=True) | {"kid": "of-entra"}
        entra = {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        }
        provider = f"/subscriptions/{TENANT}/resourceGroups/builders/providers/Microsoft.Compute"
        self.answers = {
            (login, f"/{TENANT}/v2.0/.well-known/openid-configuration"): _json(entra | {"issuer": f"{base}/v2.0"}),
            (login, f"/{TENANT}/.well-known/openid-configuration"): _json(
                {"issuer": ISSUER, "jwks_uri": f"{base}/discovery/keys"}
            ),
            (login, f"/{TENANT}/discovery/keys"): _json({"keys": [key]}),
            ("127.0.0.1", "/metadata/instance"): lambda _: _json({"compute": self.machine}),
            (ARM, f"{provider}/virtualMachines/builder"): lambda _: self.virtual,
            (ARM, f"{provider}/virtualMachineScaleSets/builders"): lambda _: self.virtual,
        }

    def reset(self) -> None:
        """All is well."""
        self.machine = {"subscriptionId": TENANT, "resourceGroupName": "builders", "name": "builder"}
        self.virtual = _json({"location": "westeurope", "identity": {"principalId": PRINCIPAL}})
        self.later: dict[str, int] = {}
        self.claims: dict[str, object] = {}
        self.kid = "of-entra"

    def give(self, scope: str) -> str:
        now = int(time.time())
        times = {"iat": now, "nbf": now - 60, "exp": now + HOUR}
        times = {name: moment + self.later.get(name, 0) for name, moment in times.items()}
        claims: dict[str, object] = {"aud": scope.removesuffix("/.default"), "iss": ISSUER, "oid": PRINCIPAL}
        return _signed(self.kid, **(claims | times | self.claims))


class Clouds:
    """A Vault whose ways to Google and Azure end at the fakes, and a secret that its roles may read."""

    def __init__(self, authority: CertificateAuthority, folder: Path, stack: ExitStack) -> None:
        tokens = stack.enter_context(FakeGoogle(authority))
        self.google = Google(authority)
        self.azure = stack.enter_context(Azure(authority))
        for site in (self.google.apis, self.google.metadata):
            stack.enter_context(site)
        routes = tokens.proxy.routes | self.azure.proxy.routes | dict.fromkeys(_APIS, self.google.apis.port)
        self.proxy = stack.enter_context(Proxy(routes))
        self.vault = stack.enter_context(Vault(HTTPS_PROXY=self.proxy.url, SSL_CERT_FILE=str(authority.pem)))
        self.place = Place(self.vault, folder / "audit.log")
        for kind in ("gcp", "azure"):
            self.vault.call("POST", f"sys/auth/{kind}", {"type": kind})
        own = fakes.service_account("vault@acme.iam.gserviceaccount.com")
        self.vault.call("POST", "auth/gcp/config", {"credentials": json.dumps(own)})
        identity = {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": SECRET}
        self.vault.call("POST", "auth/azure/config", identity | {"resource": RESOURCE})

    def role(self, kind: str, **fields: object) -> str:
        """A role that may read the secret."""
        name = f"role{next(_numbers)}"
        self.vault.call("POST", f"auth/{kind}/role/{name}", {"token_policies": [self.place.kv], **fields})
        return name


@pytest.fixture(scope="module")
def module_clouds(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    with ExitStack() as stack:
        yield Clouds(authority, tmp_path_factory.mktemp("clouds"), stack)


@pytest.fixture
def clouds(module_clouds: Clouds) -> Clouds:
    """The clouds, in which all is well."""
    module_clouds.google.reset()
    module_clouds.azure.reset()
    return module_clouds


# --- Google Cloud -----------------------------------------------------------------------------------------------------

IAM = {"type": "iam", "bound_service_accounts": ACCOUNT}
GCE = {"type": "gce", "bound_projects": "acme", "bound_zones": "europe-west1-b", "bound_labels": "team:ci"}


@pytest.fixture
def account(clouds: Clouds, home: Path) -> User:
    """Who has the key of a service account."""
    user = User(home, clouds.vault.address, clouds.place.kv)
    user.env["GOOGLE_APPLICATION_CREDENTIALS"] = fakes.write(home / "key.json", fakes.service_account())
    return user


@pytest.fixture
def instance(clouds: Clouds, home: Path) -> User:
    """Who is on a machine of Google's."""
    user = User(home, clouds.vault.address, clouds.place.kv)
    user.env["GCE_METADATA_HOST"] = f"127.0.0.1:{clouds.google.metadata.port}"
    return user


def test_vault_takes_what_a_key_signed(clouds: Clouds, account: User) -> None:
    """Vault verifies it by the account's public key, and asks whether there still is such an account."""
    account.configure("gcp", role=clouds.role("gcp", **IAM))
    account.pull()

    asked = [request.path.partition("?")[0] for request in clouds.google.apis.requests]
    assert f"/service_accounts/v1/metadata/x509/{ACCOUNT}" in asked
    assert f"/v1/projects/-/serviceAccounts/{ACCOUNT}" in asked


@pytest.mark.parametrize(
    "role",
    [
        pytest.param(GCE, id="machine"),
        pytest.param(GCE | {"bound_service_accounts": ACCOUNT}, id="account-of-the-machine"),
        pytest.param(IAM | {"max_jwt_exp": "1h"}, id="account"),
    ],
)
def test_vault_takes_what_the_metadata_server_signed(clouds: Clouds, instance: User, role: dict[str, str]) -> None:
    """It lives an hour, which a role of the type `iam` takes if it says so."""
    instance.configure("gcp", role=clouds.role("gcp", **role))
    instance.pull()


NO_ROLE = "vault has no such role for Google Cloud"
NO_IDENTITY = "vault does not find this Google identity, or the key that signed for it, at Google"
NOT_NOW = "vault does not accept the times of Google's JWT"
NOT_IN = "the role does not let this Google identity in"


@pytest.mark.parametrize(
    ("role", "google", "words", "command"),
    [
        pytest.param({}, {}, NO_ROLE, "`vault list auth/gcp/roles`", id="no-role"),
        pytest.param(IAM | {"bound_service_accounts": OTHER}, {}, NOT_IN, "auth/gcp/role/", id="other-account"),
        pytest.param(IAM | {"bound_projects": "other"}, {}, NOT_IN, "auth/gcp/role/", id="other-project"),
        pytest.param(IAM | {"token_bound_cidrs": "10.0.0.0/8"}, {}, NOT_IN, "auth/gcp/role/", id="other-address"),
        pytest.param(GCE, {}, NOT_IN, "auth/gcp/role/", id="role-for-machines"),
        pytest.param(IAM | {"max_jwt_exp": "1m"}, {}, NOT_NOW, "`max_jwt_exp`", id="too-long"),
        pytest.param(IAM, {"keys": []}, NO_IDENTITY, "`gcloud iam service-accounts keys list", id="revoked-key"),
        pytest.param(IAM, {"accounts": []}, NO_IDENTITY, "`vault read auth/gcp/config`", id="deleted-account"),
    ],
)
def test_vault_refuses_an_account(
    clouds: Clouds, account: User, role: dict[str, str], google: dict[str, object], words: str, command: str
) -> None:
    """Each reason of Vault's has its sentence, and the hint names role or mount."""
    for name, value in google.items():
        setattr(clouds.google, name, value)
    account.configure("gcp", role=clouds.role("gcp", **role) if role else "nobody")

    failure(account.get(), f"^{words}$", command)


@pytest.mark.parametrize(
    ("role", "google", "words"),
    [
        pytest.param(IAM, {}, NOT_NOW, id="too-long-for-the-account"),
        pytest.param(GCE, {"later": {"exp": -2 * HOUR}}, NOT_NOW, id="expired"),
        pytest.param(GCE, {"later": {"exp": 2 * HOUR}}, NOT_NOW, id="of-a-clock-that-is-fast"),
        pytest.param(GCE, {"claims": {"google": {}}}, NOT_IN, id="not-of-a-machine"),
        pytest.param(GCE | {"bound_projects": "other"}, {}, NOT_IN, id="project"),
        pytest.param(GCE | {"bound_zones": "europe-west1-c"}, {}, NOT_IN, id="zone"),
        pytest.param(GCE | {"bound_labels": "team:other"}, {}, NOT_IN, id="label"),
        pytest.param(GCE | {"bound_instance_groups": "other"}, {}, NOT_IN, id="group"),
        pytest.param(GCE | {"bound_service_accounts": OTHER}, {}, NOT_IN, id="account"),
        pytest.param(GCE, {"machine": {"name": "builder", "status": "TERMINATED"}}, NOT_IN, id="stopped"),
        pytest.param(GCE, {"machine": {}}, NO_IDENTITY, id="deleted"),
    ],
)
def test_vault_refuses_a_machine(
    clouds: Clouds, instance: User, role: dict[str, str], google: dict[str, object], words: str
) -> None:
    """Times, bounds of the role, and what Compute Engine says of the machine are told apart."""
    for name, value in google.items():
        setattr(clouds.google, name, value)
    instance.configure("gcp", role=clouds.role("gcp", **role))

    failure(instance.get(), f"^{words}$", "vault read auth/gcp/")


# --- Azure ------------------------------------------------------------------------------------------------------------

PRINCIPALS = {"bound_service_principal_ids": PRINCIPAL}
MACHINES = {"bound_resource_groups": "builders", "bound_locations": "westeurope"}


@pytest.fixture
def application(clouds: Clouds, home: Path) -> User:
    """Who has an application's secret."""
    user = User(home, clouds.vault.address, clouds.place.kv)
    user.env |= clouds.azure.principal()
    return user


@pytest.fixture
def virtual_machine(clouds: Clouds, home: Path) -> User:
    """Who is on a machine of Azure's with a managed identity."""
    user = User(home, clouds.vault.address, clouds.place.kv)
    user.env |= clouds.azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=clouds.azure.imds)
    return user


def test_vault_takes_an_application(clouds: Clouds, application: User) -> None:
    """Vault verifies Entra's token by the keys of its tenant."""
    application.configure("azure", role=clouds.role("azure", **PRINCIPALS))
    application.pull()

    assert f"GET {LOGINS[0]}/{TENANT}/discovery/keys" in clouds.azure.seen


@pytest.mark.parametrize(
    ("role", "scale_set"),
    [
        pytest.param(MACHINES | PRINCIPALS, "", id="machine"),
        pytest.param(MACHINES | {"bound_scale_sets": "builders"}, "builders", id="machine-of-a-scale-set"),
    ],
)
def test_vault_takes_a_machine(clouds: Clouds, virtual_machine: User, role: dict[str, str], scale_set: str) -> None:
    """Vault asks Azure whether the managed identity is that of the machine which it says that it is."""
    clouds.azure.machine["vmScaleSetName"] = scale_set
    virtual_machine.configure("azure", role=clouds.role("azure", **role))
    virtual_machine.pull()

    assert any(
        one.startswith(f"GET {ARM}/subscriptions/{TENANT}/resourceGroups/builders/") for one in clouds.azure.seen
    )


def test_vault_takes_the_resource_that_it_is_configured_for(clouds: Clouds, application: User) -> None:
    """`resource` here is that of the mount, and no other serves."""
    mount = f"azure{next(_numbers)}"
    clouds.vault.call("POST", f"sys/auth/{mount}", {"type": "azure"})
    clouds.vault.call("POST", f"auth/{mount}/config", {"tenant_id": TENANT, "resource": "api://vault.acme.example"})
    role = clouds.role(mount, **PRINCIPALS)
    application.configure("azure", mount, role=role, resource="api://vault.acme.example")
    application.pull()

    application.forget("vault")
    application.configure("azure", mount, role=role)
    failure(application.get(), OTHER_RESOURCE, f"`vault read auth/{mount}/config`")


def test_a_method_that_is_not_configured(clouds: Clouds, application: User) -> None:
    """Vault that was told no tenant says so, and the hint is the command that tells it."""
    mount = f"azure{next(_numbers)}"
    clouds.vault.call("POST", f"sys/auth/{mount}", {"type": "azure"})
    application.configure("azure", mount, role=clouds.role(mount, **PRINCIPALS))

    failure(application.get(), "^vault is not told which tenant", f"`vault write auth/{mount}/config tenant_id=")


NO_ROLE_OF_AZURE = "vault has no such role for Azure"
TIMES = "vault does not accept the times of Azure's token"
OTHER_RESOURCE = "vault does not accept Azure's token: it is for another resource or tenant"
WHICH_MACHINE = "the role is bound to machines, and vault cannot tell which one this is"
UNASKED = "vault cannot ask Azure about this machine"
NOT_THIS_ONE = "the role does not let this Azure identity in"


@pytest.mark.parametrize(
    ("role", "azure", "words", "command"),
    [
        pytest.param({}, {}, NO_ROLE_OF_AZURE, "`vault list auth/azure/role`", id="no-role"),
        pytest.param(
            PRINCIPALS, {"claims": {"aud": "api://other"}}, OTHER_RESOURCE, "auth/azure/config", id="audience"
        ),
        pytest.param(PRINCIPALS, {"claims": {"iss": "https://x/"}}, OTHER_RESOURCE, "auth/azure/config", id="tenant"),
        pytest.param(PRINCIPALS, {"kid": "of-graph"}, OTHER_RESOURCE, "auth/azure/config", id="unknown-key"),
        pytest.param(PRINCIPALS, {"later": {"exp": -2 * HOUR}}, TIMES, "`date -u`", id="expired"),
        pytest.param(PRINCIPALS, {"later": {"nbf": HOUR}}, TIMES, "`date -u`", id="an-hour-early"),
        pytest.param(PRINCIPALS, {"later": {"nbf": 105}}, TIMES, "`date -u`", id="a-moment-early"),
        pytest.param(PRINCIPALS, {"claims": {"oid": CLIENT}}, NOT_THIS_ONE, "auth/azure/role/", id="principal"),
        pytest.param({"bound_group_ids": CLIENT}, {}, NOT_THIS_ONE, "auth/azure/role/", id="group"),
        pytest.param(
            {"bound_group_ids": "*", "bound_service_principal_ids": "*"},
            {},
            NOT_THIS_ONE,
            "auth/azure/role/",
            id="role-for-everybody",
        ),
        pytest.param(
            PRINCIPALS | {"token_bound_cidrs": "10.0.0.0/8"}, {}, NOT_THIS_ONE, "auth/azure/role/", id="other-address"
        ),
        pytest.param(MACHINES, {}, WHICH_MACHINE, "bound to principals", id="role-for-machines"),
    ],
)
def test_vault_refuses_an_application(
    clouds: Clouds, application: User, role: dict[str, str], azure: dict[str, object], words: str, command: str
) -> None:
    """Each reason of Vault's has its sentence, and the hint names role or mount."""
    for name, value in azure.items():
        setattr(clouds.azure, name, value)
    application.configure("azure", role=clouds.role("azure", **role) if role else "nobody")

    failure(application.get(), f"^{words}$", command)


SOMEWHERE = {"subscriptionId": TENANT, "resourceGroupName": "builders"}


@pytest.mark.parametrize(
    ("role", "azure", "words", "command"),
    [
        pytest.param(MACHINES, {"machine": {}}, WHICH_MACHINE, "auth/azure/role/", id="nothing-known"),
        pytest.param(MACHINES, {"machine": SOMEWHERE}, WHICH_MACHINE, "auth/azure/role/", id="no-name"),
        pytest.param(
            {"bound_scale_sets": "builders"},
            {"machine": SOMEWHERE | {"name": "builder"}},
            NOT_THIS_ONE,
            "role/",
            id="lone",
        ),
        pytest.param({"bound_scale_sets": "x"}, {"machine": SOMEWHERE}, WHICH_MACHINE, "auth/azure/role/", id="no-set"),
        pytest.param(MACHINES, {"virtual": _json({"location": "x"})}, WHICH_MACHINE, "auth/azure/role/", id="nobody"),
        pytest.param(MACHINES, {"claims": {"oid": CLIENT}}, NOT_THIS_ONE, "auth/azure/role/", id="other-identity"),
        pytest.param(MACHINES | {"bound_locations": "x"}, {}, NOT_THIS_ONE, "auth/azure/role/", id="location"),
        pytest.param({"bound_resource_groups": "x"}, {}, NOT_THIS_ONE, "auth/azure/role/", id="resource-group"),
        pytest.param({"bound_subscription_ids": "x"}, {}, NOT_THIS_ONE, "auth/azure/role/", id="subscription"),
        pytest.param(
            MACHINES, {"virtual": _json(_NEVER, 404)}, UNASKED, "`vault read auth/azure/config`", id="deleted"
        ),
        pytest.param(
            MACHINES,
            {"virtual": _json({"error": {"code": "ExpiredAuthenticationToken", "message": "expired"}}, 401)},
            UNASKED,
            "`vault read auth/azure/config`",
            id="not-for-this-vault",
        ),
    ],
)
def test_vault_refuses_a_virtual_machine(
    clouds: Clouds, virtual_machine: User, role: dict[str, str], azure: dict[str, object], words: str, command: str
) -> None:
    """Which machine it is, whose identity it has, and what Vault may know of it are told apart."""
    for name, value in azure.items():
        setattr(clouds.azure, name, value)
    virtual_machine.configure("azure", role=clouds.role("azure", **role))

    failure(virtual_machine.get(), f"^{words}$", command)
