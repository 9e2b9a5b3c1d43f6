"""Amazon, Google and Azure side by side: real clients, true host names, one config.json and one config.toml."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.fakes.aws import FakeAws, Key
from tests.fakes.azure import ASSERTION, CLIENT, ENTRA_TOKEN, TENANT, FakeAzure
from tests.fakes.azure import HOST as ACR
from tests.fakes.expiring import ExpiringRegistry, TokenRegistry, basic
from tests.fakes.google import ACCOUNT, FakeGoogle, service_account, write
from tests.fakes.tls import Proxy
from tests.harness import BIN, need
from tests.services import Engine, Registry, layer, until
from tests.test_docker import CLIENTS, User

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
GCR = "europe-docker.pkg.dev"
HELPERS = {ECR: "ecr", GCR: "gcr", ACR: "acr"}
ROBOT = "robot@acme.iam.gserviceaccount.com"
PROD_ID, PROD_SECRET = "AKIDPROD", "made-up-secret-of-prod"
NULL_GUID = "00000000-0000-0000-0000-000000000000"
LOGIN = "login.microsoftonline.com"
REGISTRY_PASSWORD = "made-up-registry-password"  # the one behind the gates has it; no client is ever told
GOOGLE_HOSTS = [GCR, *(f"{place}-docker.pkg.dev" for place in ("us", "asia", *(f"us-east{n}" for n in range(1, 28))))]
CONFIGURATION = """\
[[registry]]
match = "111122223333.dkr.ecr.*.amazonaws.com"
source = "ecr"
profile = "prod"

[[registry]]
match = "*-docker.pkg.dev"
source = "gcr"
credentials_file = "~/robot.json"
impersonate = "{account}"

[[registry]]
match = "*.azurecr.io"
source = "acr"
credential = "workload-identity"
tenant_id = "{tenant}"
client_id = "{client}"
token_file = "{home}/assertion"
"""


class Clouds:
    """The three clouds, with a gate before the registry at `port` for each, reached by `proxy`."""

    def __init__(self, authority: CertificateAuthority, proxy: Proxy, port: int) -> None:
        behind = (port, f"tests:{REGISTRY_PASSWORD}")
        self.proxy = proxy
        with ExitStack() as safe:
            self.aws = aws = safe.enter_context(FakeAws(authority))
            self.google = google = safe.enter_context(FakeGoogle(authority))
            self.azure = azure = safe.enter_context(FakeAzure(authority))
            aws.keys = {PROD_ID: Key(PROD_SECRET)}
            self.gates: dict[str, ExpiringRegistry | TokenRegistry] = {
                ECR: ExpiringRegistry(authority, ECR, aws, *behind),
                GCR: TokenRegistry(
                    *(authority, GCR, *behind),
                    realm="/v2/token",
                    user="oauth2accesstoken",
                    expiries=google.ends,
                    now=google.now,
                ),
                ACR: TokenRegistry(
                    *(authority, ACR, *behind),
                    realm="/oauth2/token",
                    user=NULL_GUID,
                    expiries=azure.expiries,
                    now=azure.now,
                    more={"/oauth2/exchange": lambda request: azure.exchange(request, ACR)},
                ),
            }
            for gate in self.gates.values():
                safe.enter_context(gate)
            self._stack = safe.pop_all()
        proxy.routes = aws.routes | google.proxy.routes | azure.proxy.routes
        proxy.routes |= {host: gate.port for host, gate in self.gates.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def mints(self) -> dict[str, int]:
        """How many tokens each cloud has given for its registries."""
        impersonated = [whose for whose in self.google.issued.values() if whose == f"{ROBOT} > {ACCOUNT}"]
        assert len(self.google.issued) == 2 * len(impersonated)  # each with one of the robot's own
        return {"ecr": self.aws.mints, "gcr": len(impersonated), "acr": self.azure.mints}

    def heard(self) -> dict[str, str]:
        """All that each host was sent, headers included and Basic's coding taken off."""
        texts: dict[str, str] = {}
        for site in (self.aws.site, self.google.site, self.azure.site, *self.gates.values()):
            for request in site.requests:
                lines = [request.path, request.body.decode(), *request.headers.values(), *basic(request), ""]
                host = request.host.removesuffix(":443")
                texts[host] = texts.get(host, "") + "\n".join(lines)
        return texts


class Stage:
    """An engine, and a registry that has the image `app:1`, both at a proxy."""

    def __init__(self, proxy: Proxy, engine: Engine, registry: Registry) -> None:
        self.proxy = proxy
        self.engine = engine
        self.registry = registry


@pytest.fixture(scope="module")
def stage(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """What all tests here share; the image was pushed before there were gates."""
    with (
        Proxy({}) as proxy,
        Engine(proxy.url, authority) as engine,
        Registry(authority, *HELPERS, user="tests", password=REGISTRY_PASSWORD) as registry,
    ):
        proxy.routes = {ECR: registry.port}
        client = need(CLIENTS[0] if CLIENTS else "docker", "docker.io")
        auth = base64.b64encode(f"tests:{REGISTRY_PASSWORD}".encode()).decode()
        pusher = User(client, engine, tmp_path_factory.mktemp("pusher"), {"auths": {ECR: {"auth": auth}}})
        pusher.do("import", "-", f"{ECR}/app:1", stdin=layer())
        pusher.do("push", f"{ECR}/app:1")
        pusher.do("rmi", f"{ECR}/app:1")
        yield Stage(proxy, engine, registry)


@pytest.fixture
def clouds(authority: CertificateAuthority, stage: Stage) -> Iterator[Clouds]:
    """The clouds, new for each test."""
    with Clouds(authority, stage.proxy, stage.registry.port) as clouds:
        yield clouds


@pytest.fixture(params=CLIENTS or ["docker"])
def client(request: pytest.FixtureRequest) -> str:
    """Each docker client of this machine."""
    return need(request.param, "docker.io")


@pytest.fixture
def user(clouds: Clouds, stage: Stage, authority: CertificateAuthority, home: Path, client: str) -> User:
    """A user of the three helpers, with an identity for each cloud in files and none in the environment."""
    trust = dict.fromkeys(("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(authority.pem))
    user = User(client, stage.engine, home, {"credHelpers": HELPERS}, HTTPS_PROXY=clouds.proxy.url, **trust)
    write(home / ".aws/config", "[profile prod]\nregion = us-west-2\n")
    write(home / ".aws/credentials", f"[prod]\naws_access_key_id = {PROD_ID}\naws_secret_access_key = {PROD_SECRET}\n")
    write(home / "robot.json", service_account(ROBOT))
    write(home / "assertion", ASSERTION)
    known = {"account": ACCOUNT, "tenant": TENANT, "client": CLIENT, "home": home}
    write(home / ".config/credhelpers/config.toml", CONFIGURATION.format(**known))
    return user


class Day:
    """The clock of the clouds and of the user's helpers, which obey `faketime`; docker and skopeo, being Go, do not."""

    def __init__(self, user: User, clouds: Clouds) -> None:
        self._faketime = need("faketime", "faketime")
        self._user = user
        self._clouds = clouds
        # The times of files stay true, since they are compared with nothing but themselves, and so do time-outs.
        user.env |= {"NO_FAKE_STAT": "1", "DONT_FAKE_MONOTONIC": "1"}

    def at(self, minutes: float) -> None:
        """Let it be so many minutes after the beginning, once nothing that was started before is under way."""
        self.settle()
        clouds = self._clouds
        clouds.aws.ahead = clouds.google.ahead = clouds.azure.ahead = minutes * 60
        self._user.before = [self._faketime, "-m", "-f", f"{minutes * 60:+.0f}s"]

    def do(self, *command: str) -> str:
        """What another command of the user's says, which must succeed."""
        done = subprocess.run(
            [*self._user.before, *command], env=self._user.env, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done
        return done.stdout

    def settle(self) -> None:
        """Wait for the renewals in the background."""
        names = [f"docker-credential-{name}" for name in HELPERS.values()]
        until(lambda: not self._user.runs(*names), "the renewals in the background")


# When clients pull, in minutes; which helpers have a token for it then; and how many tokens there were in the end, with
# those of the renewals in the background. By docs/cache.md a token of Google's (an hour) is renewed between minutes 43
# and 53 and makes room for another from 55 on, one of Azure's (three hours) between 81 and 99 and from 175 on, one of
# Amazon's (twelve) between 324 and 396 and from 705 on.
MOMENTS: tuple[tuple[int, set[str], dict[str, int]], ...] = (
    (0, set(), {"ecr": 1, "gcr": 1, "acr": 1}),
    (40, {"ecr", "gcr", "acr"}, {"ecr": 1, "gcr": 1, "acr": 1}),
    (54, {"ecr", "gcr", "acr"}, {"ecr": 1, "gcr": 2, "acr": 1}),
    (108, {"ecr", "gcr", "acr"}, {"ecr": 1, "gcr": 3, "acr": 2}),
    (400, {"ecr"}, {"ecr": 2, "gcr": 4, "acr": 3}),
    (1240, set(), {"ecr": 3, "gcr": 5, "acr": 4}),
)


@pytest.mark.parametrize("client", CLIENTS[:1] or ["docker"], indirect=True)
def test_pulls_from_three_clouds_while_tokens_expire(user: User, clouds: Clouds, tmp_path: Path) -> None:
    """In a day of pulls by docker and skopeo none fails, and each cloud gives a token when one is due, and no other."""
    day = Day(user, clouds)
    skopeo = (need("skopeo", "skopeo"), "copy", "--authfile", str(user.folder / "config.json"))
    for minutes, have, mints in MOMENTS:
        day.at(minutes)
        for host, name in HELPERS.items():
            listed = json.loads(day.do(f"{BIN}/docker-credential-{name}", "list"))
            assert set(listed) == ({host} if name in have else set()), (name, minutes)
        for host in HELPERS:
            user.do("pull", f"{host}/app:1")
            user.do("rmi", f"{host}/app:1")
        day.settle()
        for host in HELPERS:
            day.do(*skopeo, f"docker://{host}/app:1", f"dir:{tmp_path}/{minutes}-{host}")
        day.settle()
        assert clouds.mints() == mints, minutes

    assert {host: gate.late for host, gate in clouds.gates.items()} == dict.fromkeys(HELPERS, 0)
    assert {clouds.google.issued[token] for token in clouds.gates[GCR].used} == {f"{ROBOT} > {ACCOUNT}"}
    assert_that_nobody_heard_a_secret_of_others(clouds)


def assert_that_nobody_heard_a_secret_of_others(clouds: Clouds) -> None:
    """Each secret was told to the one host that may have it, and nobody else was spoken to."""
    assert clouds.proxy.refused == []
    aws, google, azure = clouds.aws, clouds.google, clouds.azure
    heard = clouds.heard()
    api, iam, oauth = "api.ecr.eu-west-1.amazonaws.com", "iamcredentials.googleapis.com", "oauth2.googleapis.com"
    assert set(heard) == {*HELPERS, api, iam, oauth, LOGIN}
    for secret, hosts in (
        (PROD_ID, {api}),
        (ASSERTION, {LOGIN}),
        (ENTRA_TOKEN, {ACR}),
        ("grant-type%3Ajwt-bearer", {oauth}),
        *((token, {ECR}) for token in aws.expiries),
        *((token, {iam} if whose == ROBOT else {GCR}) for token, whose in google.issued.items()),
        *((token, {ACR}) for token in azure.expiries),
        (PROD_SECRET, set()),
        (REGISTRY_PASSWORD, set()),
        ("PRIVATE KEY", set()),
    ):
        assert {host for host, text in heard.items() if re.search(rf"{re.escape(secret)}\b", text)} == hosts, secret


@pytest.mark.parametrize("is_store", [pytest.param(False, id="hosts"), pytest.param(True, id="store")])
def test_a_classic_build_with_thirty_hosts_of_google(user: User, clouds: Clouds, *, is_store: bool) -> None:
    """The classic builder gets a credential for every host before it begins, and they all are one token.

    It asks for the hosts that the configuration names, or for those that the store lists: one that has none of them
    costs the build all the others.
    """
    config = {"credsStore": "gcr"} if is_store else {"credHelpers": dict.fromkeys(GOOGLE_HOSTS, "gcr")}
    (user.folder / "config.json").write_text(json.dumps(config))
    if is_store:
        for host in GOOGLE_HOSTS:
            assert user.helper("gcr", "get", host).credential
    context = user.home / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {GCR}/app:1\nCOPY Dockerfile /\n")

    user.do("build", "--tag", "built", str(context), DOCKER_BUILDKIT="0")
    user.do("rmi", "built", f"{GCR}/app:1")

    assert clouds.mints() == {"ecr": 0, "gcr": 1, "acr": 0}
    assert len(clouds.gates[GCR].used) == 1
    assert set(user.helper("gcr", "list").listing) == set(GOOGLE_HOSTS)
    assert clouds.proxy.refused == []


@pytest.mark.parametrize("client", CLIENTS[:1] or ["docker"], indirect=True)
@pytest.mark.parametrize(
    ("name", "hosts", "username"),
    [
        pytest.param("ecr", (ECR, "111122223333.dkr.ecr.us-east-1.amazonaws.com"), "AWS", id="ecr"),
        pytest.param("gcr", (GCR, "us-docker.pkg.dev"), "oauth2accesstoken", id="gcr"),
        pytest.param("acr", (ACR, "otherregistry.azurecr.io"), NULL_GUID, id="acr"),
    ],
)
def test_a_list_names_what_can_be_answered_and_nothing_else(
    user: User, clouds: Clouds, name: str, hosts: tuple[str, str], username: str
) -> None:
    """Every host in it is answered while the cloud is away, and there is none of another identity."""

    def listing() -> dict[str, str]:
        found = user.helper(name, "list").listing
        for host in found:
            assert user.helper(name, "get", host).credential["Username"] == found[host]
        return found

    assert listing() == {}
    for count in (1, 2):
        assert user.helper(name, "get", hosts[count - 1]).credential
        assert listing() == dict.fromkeys(hosts[:count], username)

    clouds.proxy.routes = {}
    asked = len(clouds.proxy.asked)
    assert listing() == dict.fromkeys(hosts, username)
    assert len(clouds.proxy.asked) == asked

    configuration = user.home / ".config/credhelpers/config.toml"
    written = configuration.read_text()
    configuration.write_text(written.replace('"prod"', '"other"').replace(ACCOUNT, ROBOT).replace(CLIENT, TENANT))
    assert listing() == {}
    for host in hosts:
        assert user.helper(name, "get", host).code == 1
    assert listing() == {}

    asked = len(clouds.proxy.asked)
    configuration.write_text(f"# as it was\n{written}")
    for host in hosts:
        assert user.helper(name, "get", host).credential
    assert listing() == dict.fromkeys(hosts, username)
    assert len(clouds.proxy.asked) == asked
