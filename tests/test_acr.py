"""`docker-credential-acr` against fakes of Azure with true host names, TLS and a record of every byte sent.

What a client sees is tested through the installed executable; tables of refusals and of identities go through the
source itself, which is the same code without the price of a process and of the SDK's import.
"""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import json
import os
import random
import re
import ssl
import string
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from credhelpers.errors import HelperError, NotFound, Unavailable
from credhelpers.sources._acr import MANUAL, SETTINGS
from credhelpers.sources.acr import _VARIABLES, Acr
from tests.fakes.azure import (
    ASSERTION,
    AUDIENCE,
    CLIENT,
    ENTRA_TOKEN,
    HOST,
    LOGINS,
    REGISTRIES,
    SECRET,
    SECRET_IN_ERRORS,
    TENANT,
    FakeAzure,
    challenge,
    entra_error,
)
from tests.fakes.tls import Request, Response, Site
from tests.harness import NOT_FOUND, NOWHERE, Result, environment, lacking, need, patience
from tests.harness import loaded_call as call
from tests.routes import age, host_key_of, minter_of
from tests.test_hosts import _LOOK_ALIKES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from credhelpers.credential import Credential
    from credhelpers.sources.acr import AcrMinter
    from tests.fakes.tls import CertificateAuthority

    Mint = Callable[..., Credential]

USER = "00000000-0000-0000-0000-000000000000"
LOGIN = "login.microsoftonline.com"
TOKEN_PATH = f"/{TENANT}/oauth2/v2.0/token"
IMDS_PATH = "/metadata/identity/oauth2/token"
REGISTRY_STEPS = [f"GET {HOST}/v2/", f"POST {HOST}/oauth2/exchange"]
STEPS = [REGISTRY_STEPS[0], f"POST {LOGIN}{TOKEN_PATH}", REGISTRY_STEPS[1]]
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture(scope="session")
def context(authority: CertificateAuthority) -> ssl.SSLContext:
    """The certificate of all of Azure's names."""
    return authority.context(*LOGINS, *REGISTRIES, "evil.example")


@pytest.fixture
def azure(authority: CertificateAuthority, context: ssl.SSLContext) -> Iterator[FakeAzure]:
    """Azure."""
    with FakeAzure(authority, context) as fake:
        yield fake


@pytest.fixture
def get(home: Path) -> Callable[..., Result]:
    """A `get` by the executable, without a cache unless it is asked for."""

    def get(env: dict[str, str], server: str = HOST, verb: str = "get", *, cached: bool = False) -> Result:
        more = env if cached else {"CREDHELPERS_CACHE_DIR": ""} | env
        return call("acr", verb, server, environment(home, **more))

    return get


@pytest.fixture
def minter(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AcrMinter]:
    """An order of the source in this process, under the environment given and no other."""

    def minter(env: dict[str, str], server: str = HOST) -> AcrMinter:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in environment(home, **env).items():
            monkeypatch.setenv(name, value)
        found: AcrMinter = minter_of(Acr(dict(os.environb)), server)
        return found

    return minter


@pytest.fixture
def mint(minter: Callable[..., AcrMinter]) -> Mint:
    """A token by such an order."""
    return lambda *arguments: minter(*arguments).mint()


def write_config(home: Path, *lines: str, match: str = HOST) -> Path:
    """A configuration file with one entry."""
    path = home / ".config/credhelpers/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("[[registry]]", f'match = "{match}"', 'source = "acr"', *lines)) + "\n")
    path.chmod(0o600)
    return path


def form_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode()))


def after(seconds: float) -> Callable[[Request], Response]:
    """An answer that comes too late."""

    def answer(_request: Request) -> Response:
        time.sleep(seconds)
        return Response()

    return answer


def script(path: Path, *lines: str) -> Path:
    """An executable of these lines."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    path.chmod(0o755)
    return path


def certificate(path: Path, password: bytes | None = None) -> Path:
    """An application's certificate with its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "puller")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    path.write_bytes(pem + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


# --- the identities --------------------------------------------------------------------------------------------------


def test_a_token_of_an_application_with_a_secret(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """Three requests, in this order: the registry's challenge, the login, the exchange; then the answer is cached."""
    env = azure.principal()
    answer = get(env, cached=True).credential

    assert answer["ServerURL"] == HOST
    assert answer["Username"] == USER
    assert answer["Secret"].count(".") == 2
    assert azure.seen == STEPS
    asked, login, exchange = azure.requests
    assert "authorization" not in asked.headers
    assert form_of(login)["scope"] == f"{AUDIENCE}/.default"
    assert form_of(exchange) == {
        "grant_type": "access_token",
        "service": HOST,
        "tenant": TENANT,
        "access_token": f"{ENTRA_TOKEN}0",
    }
    assert get(env, cached=True).credential == answer
    assert get(env, f"https://{HOST}", cached=True).credential["Secret"] == answer["Secret"]
    assert azure.mints == 1
    assert get(env, "", "list", cached=True).listing == {HOST: USER}
    assert get(env, verb="erase", cached=True) == Result(0, b"", b"")
    assert get(env, "", "list", cached=True).listing == {}
    assert get(env, cached=True).credential != answer
    assert azure.mints == 2
    assert azure.proxy.refused == []


def test_login_to_a_registry_is_accepted_and_kept_nowhere(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """`docker login` at a registry of Azure does not fail; at another one it does."""
    document = json.dumps({"ServerURL": HOST, "Username": "u", "Secret": "made-up"})

    assert get(azure.environment(), document, "store") == Result(0, b"", b"")
    assert get(azure.environment(), document.replace(HOST, "ghcr.io"), "store").code == 1
    assert azure.requests == []


def identity(  # noqa: C901, PLR0911, PLR0912 - a table, one row a kind
    kind: str, folder: Path, azure: FakeAzure
) -> dict[str, str]:
    """An environment that says an identity of this kind."""
    application = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
    file = folder / "file"
    match kind:
        case "secret":
            return azure.principal()
        case "certificate":
            return azure.environment(AZURE_CLIENT_CERTIFICATE_PATH=str(certificate(file)), **application)
        case "locked certificate":
            return azure.environment(
                AZURE_CLIENT_CERTIFICATE_PATH=str(certificate(file, b"made-up")),
                AZURE_CLIENT_CERTIFICATE_PASSWORD="made-up",
                AZURE_CLIENT_SEND_CERTIFICATE_CHAIN="1",
                **application,
            )
        case "federated token file":
            file.write_text(ASSERTION + "\n")
            return azure.environment(AZURE_FEDERATED_TOKEN_FILE=str(file), **application)
        case "federated token":
            return azure.environment(AZURE_FEDERATED_TOKEN=ASSERTION, **application)
        case "aks":
            return identity("federated token file", folder, azure) | {"AZURE_AUTHORITY_HOST": f"https://{LOGIN}/"}
        case "virtual machine":
            return azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds)
        case "one of several":
            return azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds, AZURE_CLIENT_ID=CLIENT)
        case "app service":
            header = "made-up-identity-header"
            return azure.environment(IDENTITY_ENDPOINT=f"{azure.imds}/msi/token", IDENTITY_HEADER=header)
        case "machine learning":
            return azure.environment(MSI_ENDPOINT=f"{azure.imds}/ml", MSI_SECRET="made-up-msi-secret")
        case "cloud shell":
            return azure.environment(MSI_ENDPOINT=f"{azure.imds}/shell")
        case "az":
            answer = f"""echo '{{"accessToken": "{azure.give(AUDIENCE)}", "expiresOn": "2030-01-01"}}'"""
        case _:
            answer = f"""echo '{{"token": "{azure.give(AUDIENCE)}"}}'"""
    script(folder / "bin" / kind, answer)
    return azure.environment(PATH=f"{folder}/bin:/usr/bin:/bin")


KINDS = {
    "secret": [STEPS[1]],
    "certificate": [STEPS[1]],
    "locked certificate": [STEPS[1]],
    "federated token file": [STEPS[1]],
    "federated token": [STEPS[1]],
    "aks": [STEPS[1]],
    "virtual machine": [f"GET 127.0.0.1{IMDS_PATH}"] * 2,
    "one of several": [f"GET 127.0.0.1{IMDS_PATH}"] * 2,
    "app service": ["GET 127.0.0.1/msi/token"],
    "machine learning": ["GET 127.0.0.1/ml"],
    "cloud shell": ["POST 127.0.0.1/shell"],
    "az": [],
    "azd": [],
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_identity(azure: FakeAzure, get: Callable[..., Result], tmp_path: Path, kind: str) -> None:
    """What the environment says is used, and nobody else is asked."""
    env = identity(kind, tmp_path, azure)
    if kind == "one of several":
        azure.identities = ["00000000-1111-2222-3333-444444444444", CLIENT]

    assert get(env).credential["Username"] == USER
    assert sorted(azure.seen) == sorted(REGISTRY_STEPS + KINDS[kind])
    assert azure.proxy.refused == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_identity_is_asked_once(
    azure: FakeAzure, get: Callable[..., Result], tmp_path: Path, kind: str
) -> None:
    """What its library is shown of the environment otherwise is no other identity."""
    env = identity(kind, tmp_path, azure)
    first = get(env, cached=True).credential
    asked = len(azure.seen)

    assert get(env, cached=True).credential == first
    assert len(azure.seen) == asked


@pytest.mark.parametrize(
    ("host", "login"),
    [
        ("myregistry.azurecr.io", "login.microsoftonline.com"),
        ("myregistry-a1b2c3d4.azurecr.io", "login.microsoftonline.com"),
        ("myregistry.westeurope.geo.azurecr.io", "login.microsoftonline.com"),
        ("myregistry.azurecr.cn", "login.chinacloudapi.cn"),
        ("myregistry.azurecr.us", "login.microsoftonline.us"),
    ],
)
@pytest.mark.parametrize("audience", ["acr", "arm"])
def test_every_cloud_has_its_own_login(
    azure: FakeAzure, mint: Mint, home: Path, host: str, login: str, audience: str
) -> None:
    """The host says the cloud, and the cloud the login service and, where the configuration wants it, the audience."""
    azure.takes_arm = True
    write_config(home, f'audience = "{audience}"', match=host)

    assert mint(azure.principal(), host).username == USER
    assert azure.seen == [f"GET {host}/v2/", f"POST {login}{TOKEN_PATH}", f"POST {host}/oauth2/exchange"]
    suffix = {"io": "azure.com", "cn": "chinacloudapi.cn", "us": "usgovcloudapi.net"}[host[-2:]]
    wanted = AUDIENCE if audience == "acr" else f"https://management.{suffix}"
    assert form_of(azure.requests[1])["scope"] == f"{wanted}/.default"


def test_a_regional_endpoint_may_use_the_registry_s_name(azure: FakeAzure, mint: Mint) -> None:
    """`service` is a name in a form; the destination stays the host that was asked for."""
    host = "myregistry.westeurope.geo.azurecr.io"
    azure.answers[host, "/v2/"] = Response(401, b"", {"WWW-Authenticate": challenge(host, service=HOST)})
    with pytest.raises(Unavailable):  # by the fake, which knows no such name
        mint(azure.principal(), host)

    assert form_of(azure.requests[-1])["service"] == HOST
    assert azure.requests[-1].host == host


@pytest.mark.parametrize(
    "value",
    ["https://login.example.com", "https://login.example.com/", "login.example.com", "https://LOGIN.example.com"],
)
def test_another_authority(azure: FakeAzure, mint: Mint, value: str) -> None:
    """`AZURE_AUTHORITY_HOST` is honoured in the forms that people write."""
    mint(azure.principal(AZURE_AUTHORITY_HOST=value))

    assert azure.seen[1] == f"POST login.example.com{TOKEN_PATH}"


@pytest.mark.parametrize(
    "value",
    [
        "http://login.example.com",
        "https://login.example.com:8443",
        "https://user@login.example.com",
        "https://login.example.com/path",
        "https://login.example.com?x",
        "https://login.example.com\\@evil.example",
        "https://",
        "://login.example.com",
    ],
)
def test_an_authority_that_is_no_https_host_is_refused(azure: FakeAzure, mint: Mint, value: str) -> None:
    """No secret goes where `AZURE_AUTHORITY_HOST` does not plainly lead."""
    with pytest.raises(Unavailable, match="AZURE_AUTHORITY_HOST is not an https host"):
        mint(azure.principal(AZURE_AUTHORITY_HOST=value))

    assert azure.seen == STEPS[:1]


def test_the_login_s_own_words_do_not_choose_where_a_secret_goes(azure: FakeAzure, mint: Mint) -> None:
    """Where endpoints must be asked for, one on another host is refused."""
    path = "/adfs/.well-known/openid-configuration"
    endpoints = {"token_endpoint": "https://evil.example/token", "authorization_endpoint": "https://evil.example/a"}
    azure.answers["login.example.com", path] = Response(200, json.dumps(endpoints).encode())
    env = azure.principal(AZURE_AUTHORITY_HOST="https://login.example.com", AZURE_TENANT_ID="adfs")
    with pytest.raises(Unavailable, match="would have gone elsewhere"):
        mint(env)

    assert azure.seen == [STEPS[0], f"GET login.example.com{path}"]
    assert "evil.example:443" not in azure.proxy.asked


@pytest.mark.parametrize("variable", ["AZURE_REGIONAL_AUTHORITY_NAME", "MSAL_FORCE_REGION"])
def test_a_region_does_not_choose_where_a_secret_goes(azure: FakeAzure, mint: Mint, variable: str) -> None:
    """Of the login services the one that is checked is asked, and none of a region, whose host is another."""
    mint(azure.principal(**{variable: "westeurope"}))

    assert azure.seen == STEPS
    assert azure.proxy.refused == []


def test_adfs(azure: FakeAzure, mint: Mint) -> None:
    """A login service of one's own says itself where its endpoint is."""
    env = azure.principal(AZURE_AUTHORITY_HOST="https://login.example.com", AZURE_TENANT_ID="adfs")

    assert mint(env).username == USER
    assert azure.seen[2] == "POST login.example.com/adfs/oauth2/token"


@pytest.mark.parametrize(
    ("narrowed", "steps"),
    [
        ("prod", ["GET 127.0.0.1/metadata/identity/oauth2/token"] * 2),
        ("ManagedIdentityCredential", ["GET 127.0.0.1/metadata/identity/oauth2/token"] * 2),
        ("dev", []),
        ("azureclicredential", []),
    ],
)
def test_the_order_can_be_narrowed(
    azure: FakeAzure, mint: Mint, tmp_path: Path, narrowed: str, steps: list[str]
) -> None:
    """`AZURE_TOKEN_CREDENTIALS` means here what it means to azure-identity."""
    env = identity("az", tmp_path, azure) | {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.imds,
        "AZURE_TOKEN_CREDENTIALS": narrowed,
    }
    mint(env)

    assert sorted(azure.seen) == sorted(REGISTRY_STEPS + steps)


def test_nobody_at_all_is_not_found(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """Without an identity docker goes on anonymously, as public registries want it; the reason can be asked for."""
    assert get(azure.environment(PATH="/usr/bin:/bin")).is_absent
    told = get(azure.environment(PATH="/usr/bin:/bin", CREDHELPERS_DEBUG="1"))

    assert told.out == NOT_FOUND
    assert b"debug: acr: az is not on PATH\n" in told.err


def test_a_registry_that_asks_for_no_token_is_not_found(azure: FakeAzure, mint: Mint) -> None:
    """A `/v2/` that is open to all needs no identity, and no identity is asked."""
    azure.answers[HOST, "/v2/"] = Response(200, b"{}")
    with pytest.raises(NotFound):
        mint(azure.principal())

    assert azure.seen == STEPS[:1]


def test_a_machine_without_an_identity_is_as_good_as_none(azure: FakeAzure, mint: Mint, home: Path) -> None:
    """A virtual machine to which nothing is assigned goes on to az, unless the configuration says managed identity."""
    azure.identities = []
    env = azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds, PATH="/usr/bin:/bin")
    with pytest.raises(NotFound):
        mint(env)
    write_config(home, 'credential = "managed-identity"')
    with pytest.raises(Unavailable, match="no identity is assigned to this machine"):
        mint(env)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:port", "http://127.0.0.1:99999", "http://[::1", "ftp://127.0.0.1:21", "127.0.0.1:80"]
)
def test_an_address_of_a_metadata_service_that_is_none(azure: FakeAzure, mint: Mint, address: str) -> None:
    """What nobody can call is as good as absent, or refused; it is never a defect."""
    with pytest.raises(HelperError):
        mint(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=address, PATH="/usr/bin:/bin"))


@pytest.mark.parametrize("status", [401, 403, 404, 200])
def test_the_metadata_service_of_another_cloud_is_none(azure: FakeAzure, mint: Mint, status: int) -> None:
    """All clouds have theirs at one address. What does not answer as Azure's does gets no further question."""
    azure.answers["127.0.0.1", IMDS_PATH] = Response(status, b"made up")
    with pytest.raises(Unavailable if status == 200 else NotFound):
        mint(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds, PATH="/usr/bin:/bin"))

    assert len(azure.metadata.requests) == (2 if status == 200 else 1)


def absent(azure: FakeAzure) -> dict[str, str]:
    """The environment of a machine without a metadata service and without az."""
    return azure.environment(PATH="/usr/bin:/bin")


def test_fa6_a_named_metadata_service_has_the_time_of_the_call(azure: FakeAzure, mint: Mint) -> None:
    """Who names one says that it is there: late is not absent, and az is not asked instead."""

    def slow(request: Request) -> Response:
        time.sleep(1.2)
        return azure._metadata(request, IMDS_PATH)

    azure.answers["127.0.0.1", IMDS_PATH] = slow
    assert mint(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds)).username == USER

    azure.answers["127.0.0.1", IMDS_PATH] = after(9)
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"^the metadata service \(127\.0\.0\.1:\d+\) did not answer in time$"):
        mint(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds))
    assert time.monotonic() - started < 8 + patience(1)


def test_fa6_that_nobody_is_there_is_remembered_for_the_registry(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """The next calls for this registry are answered without a request; another registry finds out for itself."""
    env = absent(azure)
    for _ in range(3):
        found = get(env, cached=True)
        assert found.is_absent
        assert found.told == "acr-no-identity"
    assert b"; remembered for " in found.err
    assert azure.seen == [STEPS[0]]

    assert get(env, REGISTRIES[1], cached=True).is_absent
    assert len(azure.seen) == 2


@pytest.mark.parametrize(
    ("gone", "then"),
    [
        pytest.param(Response(404), "credentials not found", id="another's"),
        pytest.param(after(9), "did not answer in time", id="silent"),
    ],
)
def test_a_token_in_hand_outlives_its_identity(
    azure: FakeAzure, get: Callable[..., Result], gone: Response | Callable[[Request], Response], then: str
) -> None:
    """Past the hard expiry a metadata service that does not answer now costs a pull nothing while the token is good."""
    azure.life = 200  # so its hard expiry is over already
    env = azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds, PATH="/usr/bin:/bin")
    first = get(env, cached=True).credential
    azure.answers["127.0.0.1", IMDS_PATH] = gone

    assert get(env, cached=True).credential == first
    assert len(azure.metadata.requests) == 3
    assert azure.mints == 1
    assert then in get(env, REGISTRIES[1], cached=True).out.decode()


def test_where_a_token_is_in_hand_nobody_at_all_is_an_error(azure: FakeAzure, minter: Callable[..., AcrMinter]) -> None:
    """It says so, and what to do, since this identity got a token a moment ago."""
    old = minter(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds)).mint()
    with pytest.raises(Unavailable, match="no identity is found any more for the token in hand") as raised:
        minter(azure.environment(PATH="/usr/bin:/bin")).mint(old)

    assert "`az login`" in raised.value.hint


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example",
        "http://8.8.8.8",
        "http://127.0.0.1@evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1\\.evil.example",
        "ftp://127.0.0.1",
        "127.0.0.1",
    ],
)
@pytest.mark.parametrize("variable", ["IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"])
def test_hs6_a_managed_identity_is_asked_for_on_this_machine_only(
    azure: FakeAzure, mint: Mint, variable: str, address: str
) -> None:
    """The secret of App Service goes in clear to this machine and its neighbourhood, never to the world."""
    with pytest.raises(Unavailable, match="not of this machine, nor https"):
        mint(azure.environment(**{variable: f"{address}/x", "IDENTITY_HEADER": "made-up-identity-header"}))

    assert azure.seen == STEPS[:1]
    assert azure.proxy.asked == [f"{HOST}:443"]


# --- az and azd ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "lines", "line", "hint"),
    [
        ("azure-cli", None, "az is not on PATH", "az login"),
        ("azd", None, "azd is not on PATH", "azd auth login"),
        ("azure-cli", ["echo \"Please run 'az login'\" >&2", "exit 1"], "nobody is logged in to az", "az login"),
        ("azd", ["echo 'ERROR: not logged in, run `azd auth login`' >&2", "exit 1"], "nobody is logged in", "azd auth"),
        ("azure-cli", [f"echo 'AADSTS700082: {SECRET_IN_ERRORS}' >&2", "exit 1"], "AADSTS700082", "az login"),
        ("azure-cli", ["exit 3"], "az failed with exit status 3", "az account get-access-token"),
        ("azure-cli", ["echo rubbish"], "holds no token", ""),
        ("azure-cli", ['echo \'{"accessToken": "two words"}\''], "holds no token", ""),
        ("azure-cli", ["echo '[1]'"], "holds no token", ""),
    ],
)
def test_the_command_lines_say_what_is_missing(
    azure: FakeAzure, mint: Mint, home: Path, tmp_path: Path, kind: str, lines: list[str] | None, line: str, hint: str
) -> None:
    """Each way for az or azd to give no token has a sentence of its own, without a word of theirs."""
    write_config(home, f'credential = "{kind}"')
    if lines:
        script(tmp_path / "bin" / ("azd" if kind == "azd" else "az"), *lines)
    with pytest.raises(Unavailable) as raised:
        mint(azure.principal(PATH=f"{tmp_path}/bin:/usr/bin:/bin"))

    assert line in raised.value.message
    assert hint in raised.value.hint
    assert SECRET_IN_ERRORS not in raised.value.message + raised.value.hint
    assert azure.seen == STEPS[:1]


def test_az_is_asked_for_the_tenant_of_the_configuration(
    azure: FakeAzure, mint: Mint, home: Path, tmp_path: Path
) -> None:
    """az hears audience and tenant, gets nothing to read, and no tenant of the environment."""
    write_config(home, 'credential = "azure-cli"', f'tenant_id = "{TENANT}"')
    heard = tmp_path / "heard"
    token = azure.give(AUDIENCE)
    script(
        tmp_path / "bin/az",
        f'echo "$@" > {heard}; readlink /proc/$$/fd/0 >> {heard}; pwd >> {heard}',
        f"""echo '{{"accessToken": "{token}"}}'""",
    )
    mint(azure.environment(PATH=f"{tmp_path}/bin:/usr/bin:/bin", AZURE_TENANT_ID="other.example"))

    arguments, stdin, folder = heard.read_text().splitlines()
    assert arguments == f"account get-access-token --output json --resource {AUDIENCE} --tenant {TENANT}"
    assert stdin == "/dev/null"
    assert folder == "/"
    assert form_of(azure.requests[-1])["tenant"] == TENANT


def test_a_relative_path_of_az_is_not_run(azure: FakeAzure, mint: Mint, tmp_path: Path, monkeypatch: Any) -> None:
    """What lies in the working directory is not run, whatever PATH says."""
    script(tmp_path / "az", f"touch {tmp_path}/ran")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound):
        mint(azure.environment(PATH=".:"))

    assert not (tmp_path / "ran").exists()


def test_an_az_in_a_directory_of_everybody_is_not_run(azure: FakeAzure, mint: Mint, tmp_path: Path) -> None:
    """Where everybody may put a program, nobody's is run."""
    script(tmp_path / "all/az", f"touch {tmp_path}/ran")
    (tmp_path / "all").chmod(0o777)
    with pytest.raises(NotFound):
        mint(azure.environment(PATH=f"{tmp_path}/all:/usr/bin:/bin"))

    assert not (tmp_path / "ran").exists()


def test_an_az_that_does_not_start_is_passed_over(azure: FakeAzure, get: Callable[..., Result], tmp_path: Path) -> None:
    """Its interpreter may be gone since an upgrade; that is no defect of ours, and no identity."""
    broken = tmp_path / "bin/az"
    broken.parent.mkdir()
    broken.write_text(f"#!{NOWHERE}/python3\n")
    broken.chmod(0o755)
    result = get(azure.environment(PATH=f"{tmp_path}/bin:/usr/bin:/bin"))
    assert (result.code, result.out) == (1, NOT_FOUND)


@pytest.mark.parametrize("narrowed", ["dev", "AzureCliCredential"])
def test_another_login_of_az_is_another_key_even_beside_a_secret(narrowed: str, tmp_path: Path) -> None:
    """`AZURE_TOKEN_CREDENTIALS` may pass over the secret that the environment holds, and then az decides."""
    folder = tmp_path / ".azure"
    folder.mkdir()
    environ = {
        b"HOME": str(tmp_path).encode(),
        b"AZURE_CLIENT_SECRET": b"made-up",
        b"AZURE_CONFIG_DIR": b"~/.azure",
        b"AZURE_TOKEN_CREDENTIALS": narrowed.encode(),
    }
    (folder / "azureProfile.json").write_text("alice")
    alice = host_key_of(Acr(environ), HOST)
    (folder / "azureProfile.json").write_text("bob")
    assert host_key_of(Acr(environ), HOST) != alice


def test_a_hanging_az_is_ended_with_its_children(azure: FakeAzure, get: Callable[..., Result], tmp_path: Path) -> None:
    """az is a script around a Python; neither survives the time that it has."""
    script(tmp_path / "bin/az", f"sleep 100 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/az; wait")
    started = time.monotonic()
    result = get(azure.environment(PATH=f"{tmp_path}/bin:/usr/bin:/bin"))

    assert time.monotonic() - started < 9.8 + patience(0.2)
    assert result.out == b"az gave no answer in time\n"
    for name in ("az", "child"):
        status = Path("/proc") / (tmp_path / name).read_text().strip() / "status"
        assert not status.exists() or "State:\tZ" in status.read_text()  # gone, or not yet collected


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words", "hint"),
    [
        (50020, "not in this tenant", "AZURE_TENANT_ID"),
        (53003, "conditional access", "administrator"),
        (90002, "no such tenant", "AZURE_TENANT_ID"),
        (500011, "audience", "arm"),
        (700016, "application is not in this tenant", "AZURE_CLIENT_ID"),
        (700024, "federated token has expired", "new one"),
        (700027, "certificate is not registered", "az ad app credential reset"),
        (700213, "fits no federated credential", "subject"),
        (7000112, "disabled", "administrator"),
        (7000215, "client secret is wrong", "value"),
        (7000222, "client secret has expired", "az ad app credential reset"),
        (123456, "see its number", "login.microsoftonline.com/error"),
    ],
)
@pytest.mark.parametrize("kind", ["secret", "federated token"])
def test_what_entra_refuses(
    azure: FakeAzure, mint: Mint, tmp_path: Path, kind: str, code: int, words: str, hint: str
) -> None:
    """A refusal of Microsoft Entra is a sentence with its number and what to do; nothing of its text is shown."""
    azure.answers[LOGIN, TOKEN_PATH] = entra_error(code)
    with pytest.raises(Unavailable) as raised:
        mint(identity(kind, tmp_path, azure))

    assert raised.value.message.startswith("Microsoft Entra refused: ")
    assert words in raised.value.message
    assert raised.value.message.endswith(f"(AADSTS{code})")
    assert hint in raised.value.hint
    assert SECRET_IN_ERRORS not in raised.value.message + raised.value.hint
    assert azure.seen == STEPS[:2]


@pytest.mark.parametrize(
    ("step", "status", "words"),
    [
        ("/v2/", 403, "firewall"),
        ("/v2/", 404, "no Azure Container Registry at this name"),
        ("/v2/", 429, "slow down"),
        ("/v2/", 418, "status 418"),
        ("/oauth2/exchange", 400, "does not take tokens of this tenant"),
        ("/oauth2/exchange", 401, "does not accept this identity"),
        ("/oauth2/exchange", 403, "forbids it to this identity"),
        ("/oauth2/exchange", 404, "no Azure Container Registry at this name"),
        ("/oauth2/exchange", 429, "slow down"),
        ("/oauth2/exchange", 201, "status 201"),
    ],
)
def test_what_the_registry_refuses(azure: FakeAzure, mint: Mint, step: str, status: int, words: str) -> None:
    """Each status of the registry has its sentence, and is asked for once."""
    azure.answers[HOST, step] = Response(status, SECRET_IN_ERRORS.encode(), {"Retry-After": "1"})
    with pytest.raises(Unavailable) as raised:
        mint(azure.principal())

    assert words in raised.value.message
    assert raised.value.hint
    assert SECRET_IN_ERRORS not in raised.value.message + raised.value.hint
    assert azure.seen == (STEPS[:1] if step == "/v2/" else STEPS)


def test_a_registry_of_another_tenant(azure: FakeAzure, get: Callable[..., Result], home: Path, tmp_path: Path) -> None:
    """The line says that it is the tenant, the hint which setting and which command."""
    write_config(home, 'credential = "azure-cli"', 'tenant_id = "other.example"')
    result = get(identity("az", tmp_path, azure))

    assert form_of(azure.requests[-1])["tenant"] == "other.example"
    assert (result.code, result.out) == (1, b"the registry does not take tokens of this tenant\n")
    for word in (b"`tenant_id`", b"AZURE_TENANT_ID", b"`az account show`"):
        assert word in result.err


@pytest.mark.parametrize("audience", ["acr", "arm"])
@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (400, "the TENANT of the token is another", "of this tenant"),
        (401, "the tenant of the token is another", "of this tenant"),
        (403, "the tenant of the token is another", "forbids it to this identity"),
        (400, "made up", "status 400"),
    ],
)
def test_a_tenant_that_only_the_token_tells(
    azure: FakeAzure, mint: Mint, home: Path, tmp_path: Path, audience: str, status: int, text: str, words: str
) -> None:
    """Where the registry was told none it is the tenant if the answer says so."""
    write_config(home, f'audience = "{audience}"')
    body = json.dumps({"errors": [{"code": "MADE_UP", "message": f"{text} {SECRET_IN_ERRORS}"}]}).encode()
    azure.answers[HOST, "/oauth2/exchange"] = Response(status, body)
    with pytest.raises(Unavailable, match=words) as raised:
        mint(identity("az", tmp_path, azure))

    assert "tenant" not in form_of(azure.requests[-1])
    assert SECRET_IN_ERRORS not in raised.value.message + raised.value.hint


def test_a_registry_that_takes_no_arm_tokens_says_so(azure: FakeAzure, mint: Mint, home: Path) -> None:
    """Where the audience was chosen by configuration, the refusal speaks of the audience."""
    write_config(home, 'audience = "arm"')
    with pytest.raises(Unavailable, match="Resource Manager") as raised:
        mint(azure.principal())

    assert "authentication-as-arm" in raised.value.hint


def several(azure: FakeAzure) -> dict[str, str]:
    azure.identities = [CLIENT, "00000000-1111-2222-3333-444444444444"]
    return azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds)


def another(azure: FakeAzure) -> dict[str, str]:
    return azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds, AZURE_CLIENT_ID=TENANT)


def throttled(azure: FakeAzure) -> dict[str, str]:
    azure.answers["127.0.0.1", IMDS_PATH] = Response(429, b"{}")
    return azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds)


def arc(azure: FakeAzure) -> dict[str, str]:
    azure.answers["127.0.0.1", "/arc"] = Response(401, b"", {"WWW-Authenticate": "Basic realm=/etc/passwd"})
    return azure.environment(IDENTITY_ENDPOINT=f"{azure.imds}/arc", IMDS_ENDPOINT=azure.imds)


@pytest.mark.parametrize(
    ("prepare", "words", "hint"),
    [
        pytest.param(several, "several identities, and none was chosen", "AZURE_CLIENT_ID", id="several"),
        pytest.param(another, "not assigned to this machine", "az vm identity show", id="not assigned"),
        pytest.param(throttled, "asks to slow down", "minute", id="throttled"),
        pytest.param(arc, "does not let this user in", "himds", id="arc"),
        pytest.param(
            lambda azure: azure.environment(IDENTITY_ENDPOINT=azure.imds), "IDENTITY_HEADER", "printenv", id="no header"
        ),
        pytest.param(
            lambda azure: azure.environment(
                IDENTITY_ENDPOINT=azure.imds, IDENTITY_HEADER="x", IDENTITY_SERVER_THUMBPRINT="x"
            ),
            "Service Fabric",
            "credential",
            id="service fabric",
        ),
        pytest.param(
            lambda azure: azure.principal(AZURE_TENANT_ID=""), "AZURE_TENANT_ID is not set", "tenant_id", id="no tenant"
        ),
        pytest.param(
            lambda azure: azure.principal(AZURE_CLIENT_ID=""), "AZURE_CLIENT_ID is not set", "client_id", id="no client"
        ),
        pytest.param(
            lambda azure: azure.principal(AZURE_TENANT_ID="a/../b"),
            "is not a tenant",
            "az account show",
            id="odd tenant",
        ),
        pytest.param(
            lambda azure: azure.principal(AZURE_CLIENT_SECRET="", AZURE_CLIENT_CERTIFICATE_PATH=NOWHERE),
            "certificate cannot be read",
            "mode",
            id="no certificate",
        ),
        pytest.param(
            lambda azure: azure.principal(AZURE_CLIENT_SECRET="", AZURE_CLIENT_CERTIFICATE_PATH="/etc/passwd"),
            "certificate cannot be read",
            "PEM",
            id="rubbish for a certificate",
        ),
        pytest.param(
            lambda azure: azure.principal(AZURE_CLIENT_SECRET="", AZURE_FEDERATED_TOKEN_FILE=NOWHERE),
            "federated token's file is missing",
            "ls -l",
            id="no token file",
        ),
        pytest.param(
            lambda azure: azure.environment(AZURE_TOKEN_CREDENTIALS="VisualStudioCode"),
            "names no credential that is known here",
            "docs/acr.md",
            id="an order nobody knows",
        ),
        pytest.param(
            lambda azure: azure.environment(AZURE_TOKEN_CREDENTIALS="ManagedIdentityCredential"),
            "no metadata service of Azure answers",
            "credential",
            id="no metadata service",
        ),
    ],
)
def test_a_broken_identity_is_told(
    azure: FakeAzure, mint: Mint, prepare: Callable[[FakeAzure], dict[str, str]], words: str, hint: str
) -> None:
    """What is set but does not work is an error, never an anonymous pull."""
    with pytest.raises(Unavailable) as raised:
        mint(prepare(azure))

    assert words in raised.value.message
    assert hint in raised.value.hint
    assert SECRET_IN_ERRORS not in raised.value.message + raised.value.hint
    assert STEPS[2] not in azure.seen


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ((HOST, "/oauth2/exchange"), 500),
        ((HOST, "/v2/"), 503),
        ((LOGIN, TOKEN_PATH), 504),
        pytest.param((HOST, "/oauth2/exchange"), 502, marks=pytest.mark.slow),
        pytest.param((HOST, "/oauth2/exchange"), 503, marks=pytest.mark.slow),
        pytest.param((HOST, "/oauth2/exchange"), 504, marks=pytest.mark.slow),
    ],
)
def test_fa8_a_passing_trouble_is_tried_three_times(
    azure: FakeAzure, mint: Mint, step: tuple[str, str], status: int
) -> None:
    """A service that is unwell for a moment costs a moment; one that stays so costs three requests."""
    azure.answers[step] = Response(status, b"", {"Retry-After": "60"})
    started = time.monotonic()
    with pytest.raises(Unavailable, match=str(status)):
        mint(azure.principal())

    assert [request.path for request in azure.requests].count(step[1]) == 3
    assert time.monotonic() - started < patience(3)


def test_fa8_a_trouble_that_has_passed_is_forgotten(azure: FakeAzure, mint: Mint) -> None:
    """The second try counts as the first."""
    troubles = [Response(503)]
    azure.answers[HOST, "/oauth2/exchange"] = lambda request: (
        troubles.pop() if troubles else azure.exchange(request, HOST)
    )

    assert mint(azure.principal()).username == USER
    assert azure.mints == 1


def test_the_sdk_is_missing(azure: FakeAzure, home: Path, tmp_path: Path) -> None:
    """Without the extra a registry of Azure gets a sentence with the command, and a foreign one the usual answer."""
    code = (
        "import sys; sys.modules['azure.identity'] = None\n"
        "from credhelpers.sources.acr import Acr\n"
        "import posix\n"
        "from credhelpers import servers, hosts, plan\n"
        "from credhelpers.errors import Unavailable\n"
        f"try: Acr().minter(plan.route(servers.Authority({HOST!r}), posix.environ, 'acr')).mint()\n"
        "except Unavailable as error: print(error.message, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(home, **azure.principal()),
        capture_output=True,
        text=True,
        check=True,
    )

    assert "the Azure SDK is not installed" in done.stdout
    assert "pip install 'credhelpers[acr]'" in done.stdout


def test_the_streams_of_a_failure(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """One line for docker, one hint for the person, no traceback and no secret."""
    result = get(azure.principal(AZURE_CLIENT_SECRET="made-up-wrong-secret"))

    assert result.code == 1
    assert result.out == b"Microsoft Entra refused: the client secret is wrong (AADSTS7000215)\n"
    assert result.err.endswith(b"; set AZURE_CLIENT_SECRET to the secret's value, not to its id [acr-entra-refused]\n")


# --- strangers -------------------------------------------------------------------------------------------------------


HOSTILE_CHALLENGES = {
    "another host": {"WWW-Authenticate": challenge(HOST, realm="https://evil.example/oauth2/token")},
    "another registry": {"WWW-Authenticate": challenge(HOST, realm="https://otherregistry.azurecr.io/oauth2/token")},
    "http": {"WWW-Authenticate": challenge(HOST, realm=f"http://{HOST}/oauth2/token")},
    "a port": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}:8443/oauth2/token")},
    "user info": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}@evil.example/oauth2/token")},
    "user info with a slash": {
        "WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}%2f@evil.example/oauth2/token")
    },
    "a backslash": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}\\@evil.example/oauth2/token")},
    "a look-alike": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}.evil.example/oauth2/token")},
    "a prefix": {"WWW-Authenticate": challenge(HOST, realm=f"https://evil{HOST}/oauth2/token")},
    "a last dot": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}./oauth2/token")},
    "another path": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}/oauth2/token/../../evil")},
    "a query": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}/oauth2/token?next=evil.example")},
    "a fragment": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}/oauth2/token#@evil.example")},
    "loopback": {"WWW-Authenticate": challenge(HOST, realm="https://127.0.0.1/oauth2/token")},
    "link-local": {"WWW-Authenticate": challenge(HOST, realm="http://169.254.169.254/oauth2/token")},
    "no scheme": {"WWW-Authenticate": challenge(HOST, realm=f"//{HOST}/oauth2/token")},
    "upper case": {"WWW-Authenticate": challenge(HOST, realm=f"https://{HOST.upper()}/oauth2/token")},
    "another service": {"WWW-Authenticate": challenge(HOST, service="otherregistry.azurecr.io")},
    "no service": {"WWW-Authenticate": f'Bearer realm="https://{HOST}/oauth2/token"'},
    "no realm": {"WWW-Authenticate": f'Bearer service="{HOST}"'},
    "basic": {"WWW-Authenticate": f'Basic realm="https://{HOST}/oauth2/token",service="{HOST}"'},
    "nothing": {},
    "an empty one": {"WWW-Authenticate": ""},
    "two realms": {"WWW-Authenticate": challenge(HOST) + ',realm="https://evil.example/oauth2/token"'},
    "two challenges": {"WWW-Authenticate": challenge(HOST) + ", " + challenge("evil.example")},
    "two headers": {"WWW-Authenticate": challenge(HOST), "Www-Authenticate": challenge("evil.example")},
    "two headers, the stranger first": {
        "WWW-Authenticate": challenge("evil.example"),
        "Www-Authenticate": challenge(HOST),
    },
    "negotiate besides": {"WWW-Authenticate": challenge(HOST), "Www-Authenticate": "Negotiate"},
    "a comma in a realm": {
        "WWW-Authenticate": challenge(HOST, realm=f"https://{HOST}/oauth2/token, https://evil.example")
    },
    "rubbish": {"WWW-Authenticate": '",=;Bearer\x01'},
}


@pytest.mark.parametrize("headers", HOSTILE_CHALLENGES.values(), ids=HOSTILE_CHALLENGES)
def test_ht5_a_challenge_that_leads_elsewhere(azure: FakeAzure, mint: Mint, headers: dict[str, str]) -> None:
    """A registry that sends us elsewhere gets nothing: no identity is loaded, and nobody else hears of it."""
    azure.answers[HOST, "/v2/"] = Response(401, b"", headers)
    with pytest.raises(Unavailable, match="asks for a token in a way"):
        mint(azure.principal())

    assert azure.seen == STEPS[:1]
    assert azure.proxy.asked == [f"{HOST}:443"]


@pytest.mark.parametrize(
    "extra", [',scope="registry:catalog:*"', ',error="invalid_token"', ' , error_description="a, b = c"']
)
def test_a_challenge_may_say_more(azure: FakeAzure, mint: Mint, extra: str) -> None:
    """Parameters that select nothing are no reason to refuse."""
    azure.answers[HOST, "/v2/"] = Response(401, b"", {"WWW-Authenticate": challenge(HOST) + extra})

    assert mint(azure.principal()).username == USER


@pytest.mark.parametrize("status", [204, 301, 302, 307, 400, 402, 405, 451])
def test_a_v2_of_something_else(azure: FakeAzure, mint: Mint, status: int) -> None:
    """Whatever answers otherwise than a registry gets nothing."""
    azure.answers[HOST, "/v2/"] = Response(status, b"<html>", {"Location": "https://evil.example/v2/"})
    with pytest.raises(Unavailable):
        mint(azure.principal())

    assert azure.seen == STEPS[:1]


REDIRECTED = {
    "challenge": ("secret", HOST, "/v2/"),
    "login": ("secret", LOGIN, TOKEN_PATH),
    "federated login": ("federated token", LOGIN, TOKEN_PATH),
    "adfs": ("adfs", "login.example.com", "/adfs/.well-known/openid-configuration"),
    "exchange": ("secret", HOST, "/oauth2/exchange"),
    "virtual machine": ("virtual machine", "127.0.0.1", IMDS_PATH),
    "app service": ("app service", "127.0.0.1", "/msi/token"),
    "machine learning": ("machine learning", "127.0.0.1", "/ml"),
    "cloud shell": ("cloud shell", "127.0.0.1", "/shell"),
}


@pytest.mark.parametrize(
    ("status", "target"),
    [(status, "http://127.0.0.1:{port}/x") for status in REDIRECTS]
    + [(307, "https://evil.example/x"), (307, f"http://{HOST}/x"), (308, f"https://{HOST}:8443/x")]
    + [(307, f"https://{HOST}/other"), (302, "//[")],
)
@pytest.mark.parametrize(("kind", "host", "path"), REDIRECTED.values(), ids=REDIRECTED)
def test_ht4_no_redirect_is_followed(
    azure: FakeAzure, mint: Mint, tmp_path: Path, kind: str, host: str, path: str, status: int, target: str
) -> None:
    """Not one request of any flow goes where a redirect points, and the call fails."""
    if kind == "adfs":
        env = azure.principal(AZURE_AUTHORITY_HOST="https://login.example.com", AZURE_TENANT_ID="adfs")
    else:
        env = identity(kind, tmp_path, azure)
    with Site(lambda _: Response(200, b"{}")) as stranger:
        redirect = Response(status, b"", {"Location": target.format(port=stranger.port)})
        # The question whether a metadata service of Azure's is there has no such header, and is answered as Azure does.
        azure.answers[host, path] = lambda request: (
            redirect if path != IMDS_PATH or "metadata" in request.headers else Response(400)
        )
        with pytest.raises(Unavailable, match="redirects elsewhere"):
            mint(env)

        assert stranger.requests == []
    assert path in [request.path.partition("?")[0] for request in azure.requests]
    assert all(request.path.partition("?")[0] not in ("/x", "/other") for request in azure.requests)
    assert {name.partition(":")[0] for name in azure.proxy.asked} <= {HOST, LOGIN, "login.example.com"}
    assert not any(name.endswith(":8443") for name in azure.proxy.asked)


@pytest.mark.parametrize("status", REDIRECTS)
def test_ht4_a_metadata_service_that_leads_elsewhere_is_none(azure: FakeAzure, mint: Mint, status: int) -> None:
    """Nor is the question followed whether it is there at all."""
    with Site(lambda _: Response(400)) as stranger:
        redirect = Response(status, b"", {"Location": f"http://127.0.0.1:{stranger.port}{IMDS_PATH}"})
        azure.answers["127.0.0.1", IMDS_PATH] = redirect
        with pytest.raises(NotFound):
            mint(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds, PATH="/usr/bin:/bin"))

        assert stranger.requests == []
    assert len(azure.metadata.requests) == 1


def test_ht9_who_hears_what(azure: FakeAzure, get: Callable[..., Result], tmp_path: Path, home: Path) -> None:
    """The Entra token is in the exchange with the registry only, the secret in the login only, both in the body."""
    result = get(azure.principal(), cached=True)

    for request in azure.requests:
        raw = repr((request.path, request.headers))
        assert SECRET not in raw
        assert ENTRA_TOKEN not in raw
        assert (SECRET.encode() in request.body) == (request.host == LOGIN)
        assert (ENTRA_TOKEN.encode() in request.body) == (request.path == "/oauth2/exchange")
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for canary in (SECRET.encode(), ENTRA_TOKEN.encode(), TENANT.encode(), CLIENT.encode()):
        assert canary not in kept
        assert canary not in result.out + result.err
    assert azure.proxy.refused == []


def foreign_hosts() -> list[str]:
    """200 and more names that resemble a registry of Azure."""
    names = ["myregistry.azurecr.io", "myregistry.azurecr.cn", "myregistry.azurecr.us", "abcde-f00d.azurecr.io"]
    found = [
        "azurecr.io",
        "a.azurecr.io",
        "abcd.azurecr.io",
        "mcr.microsoft.com",
        "myregistry.azurecr.de",
        "myregistry.azurecr.com",
        "myregistry.westeurope.data.azurecr.io",
        "myregistry.privatelink.azurecr.io",
        "myregistry.westeurope.geo.data.azurecr.io",
        "x.myregistry.azurecr.io",
        "my--registry.azurecr.io",
        "-myregistry.azurecr.io",
        "myregistry-.azurecr.io",
        "my_registry.azurecr.io",
        "myregistry-a-b.azurecr.io",
        "m" * 51 + ".azurecr.io",
        "myregistry.azurecr.io.",
        ".myregistry.azurecr.io",
        "myregistry..azurecr.io",
        "myregistry.azurecr.i\u006f\u0301",
        "myregistry.a\u200bzurecr.io",
        "127.0.0.1",
        "169.254.169.254",
        "localhost",
    ]
    for name in names:
        found += [
            f"{name}.evil.example",
            f"evil.example/{name}",
            f"evil.example?{name}",
            f"evil.example#{name}",
            f"{name}@evil.example",
            f"user@{name}",
            f"user:pass@{name}",
            f"http://{name}",
            f"ftp://{name}",
            f"{name}:80",
            f"{name}:8443",
            f"{name}:443:443",
            f"{name}\\@evil.example",
            f"{name}%2eevil.example",
            f"{name}%00.evil.example",
            f"{name}-evil.example",
            name.replace(".azurecr", ".azurecr-evil"),
            name.replace(".azurecr", "-azurecr"),
            name.replace(".azurecr", "azurecr"),
            name.replace("azurecr", "xn--azurecr-abc"),
            name.replace("azurecr", "azure\u0441r"),
            name.replace(".", "\uff0e"),
            name.replace(".", "。"),
            name[:-1],
            name + "x",
            "*." + name.partition(".")[2],
            "https://https://" + name,
            f"[{name}]",
            f"{name} evil.example",
            f"{name},evil.example",
            f"{name};evil.example",
        ]
    letters = random.Random(4)
    while len(found) < 240:
        label = "".join(letters.choice(string.ascii_lowercase) for _ in range(8))
        found.append(f"myregistry.{label}.azurecr.{letters.choice(('io', 'cn', 'us'))}")
    return found


def test_ht1_look_alikes_are_not_ours(azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who merely resembles a registry is answered, or even looked at."""
    hosts = foreign_hosts()
    assert len(set(hosts)) >= 200
    source = Acr({b"HOME": os.fsencode(NOWHERE)})
    for host in hosts:
        with pytest.raises(NotFound):
            host_key_of(source, host)
        with pytest.raises(NotFound):
            minter_of(source, host)
    assert azure.requests == []


def configure_registries(home: Path) -> None:
    """Entries for Azure's hosts, and one for an alias."""
    more = ['credential = "environment"']
    for match in ("*.azurecr.cn", "*.azurecr.us", "*.*.geo.azurecr.io"):
        more += ["[[registry]]", f'match = "{match}"', 'source = "acr"']
    more += ["[[registry]]", 'match = "mirror.acme.example"', 'source = "acr"', f'registry = "{HOST}"']
    write_config(home, *more, match="*.azurecr.io")


def test_ht1_look_alikes_are_not_ours_with_a_configuration_either(
    azure: FakeAzure, minter: Callable[..., AcrMinter], home: Path
) -> None:
    """What the configuration says of Azure's hosts and of an alias makes nobody else a registry."""
    configure_registries(home)
    env = azure.principal()
    for host in (HOST, "myregistry.azurecr.cn", "myregistry.westeurope.geo.azurecr.io", "mirror.acme.example"):
        assert minter(env, host).token_key
    source = Acr(dict(os.environb))
    strangers = {*_LOOK_ALIKES["azure"], *foreign_hosts(), "x.mirror.acme.example", "mirror.acme.example.evil.example"}
    assert len(strangers) > 400
    for host in strangers:
        with pytest.raises(HelperError):
            minter_of(source, host)
    assert azure.proxy.asked == []
    assert azure.requests == []


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("myregistry.azurecr.io.evil.example", NOT_FOUND),
        ("myregistry.azurecr.io@evil.example", NOT_FOUND),
        ("mirror.acme.example.evil.example", NOT_FOUND),
        ("myregistry.westeurope.data.azurecr.io", NOT_FOUND),
        ("abc.azurecr.io", b"needs `registry`"),  # too short for a name of a registry, but an entry's
    ],
)
def test_ht1_a_stranger_gets_nothing_with_a_configuration_either(
    azure: FakeAzure, get: Callable[..., Result], home: Path, host: str, words: bytes
) -> None:
    """The same from outside."""
    configure_registries(home)
    result = get(azure.principal(), host, cached=True)

    assert result.code == 1
    assert words in result.out
    assert azure.proxy.asked == []


@pytest.mark.parametrize(
    "host", ["myregistry.azurecr.io.evil.example", "mcr.microsoft.com", "user@myregistry.azurecr.io"]
)
def test_ht1_a_foreign_host_loads_no_sdk(azure: FakeAzure, get: Callable[..., Result], host: str) -> None:
    """The executable says not-found without a packet."""
    assert get(azure.principal(), host) == Result(1, NOT_FOUND, b"")
    assert azure.proxy.asked == []


@pytest.mark.parametrize(
    "host",
    [
        *REGISTRIES,
        "abcde.azurecr.io",
        "12345.azurecr.io",
        "m" * 50 + ".azurecr.io",
        "MyRegistry.azurecr.io",
        "https://myregistry.azurecr.io",
        "https://myregistry.azurecr.io/v2/",
        "myregistry.azurecr.io:443",
        "myregistry.azurecr.io/team/app",
        "myregistry.chinaeast2.geo.azurecr.cn",
        "myregistry.usgovvirginia.geo.azurecr.us",
        "myregistry-a1b2c3d4.eastus.geo.azurecr.io",
    ],
)
def test_ht2_genuine_hosts_are_ours(host: str) -> None:
    """Every documented form of a login server is accepted."""
    assert host_key_of(Acr({b"HOME": os.fsencode(NOWHERE)}), host)


def test_ht7_netrc_is_not_read(azure: FakeAzure, mint: Mint, home: Path) -> None:
    """A password that somebody keeps for curl goes nowhere."""
    for host in (HOST, LOGIN, "127.0.0.1"):
        with (home / ".netrc").open("a") as file:
            file.write(f"machine {host} login made-up password made-up-netrc\n")
    (home / ".netrc").chmod(0o600)
    mint(azure.principal(NETRC=str(home / ".netrc")))
    mint(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds, NETRC=str(home / ".netrc")))

    assert len(azure.requests) == 7
    assert all("authorization" not in request.headers for request in azure.requests)


@pytest.mark.parametrize(
    "names", [("HTTP_PROXY", "HTTPS_PROXY"), ("http_proxy", "https_proxy"), ("ALL_PROXY", "HTTPS_PROXY")]
)
@pytest.mark.parametrize("kind", ["virtual machine", "app service", "cloud shell", "machine learning"])
def test_ht7_metadata_never_goes_through_a_proxy(
    azure: FakeAzure, mint: Mint, tmp_path: Path, kind: str, names: tuple[str, str]
) -> None:
    """Whatever the environment says of proxies, the identity's token stays on this machine."""
    with Site(lambda _: Response(500)) as stranger:
        env = identity(kind, tmp_path, azure) | {
            names[0]: f"http://127.0.0.1:{stranger.port}",
            names[1]: azure.proxy.url,
        }
        mint(env)

        assert stranger.requests == []
    assert len(azure.metadata.requests) >= 1


def test_no_proxy_is_honoured(azure: FakeAzure, mint: Mint) -> None:
    """Who is excepted from the proxy is asked directly; here that leads nowhere."""
    with pytest.raises(Unavailable):
        mint(azure.principal(NO_PROXY="azurecr.io"))

    assert azure.proxy.asked == []


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_usual_variables_name_the_authorities(
    azure: FakeAzure, mint: Mint, authority: CertificateAuthority, variable: str
) -> None:
    """A company's own authority is trusted by any of the three variables that people set."""
    env = azure.principal()
    del env["SSL_CERT_FILE"]
    mint(env | {variable: str(authority.pem)})

    assert azure.mints == 1


def faulty(authority: CertificateAuthority, host: str, fault: str) -> ssl.SSLContext:
    """The certificate of a site that nobody may believe to be `host`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if fault == "untrusted":
        trustme.CA().issue_cert(host).configure_cert(context)
    elif fault == "wrong name":
        authority._ca.issue_cert("otherregistry.azurecr.io").configure_cert(context)
    else:
        past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        authority._ca.issue_cert(host, not_before=past - dt.timedelta(days=1), not_after=past).configure_cert(context)
    return context


@pytest.mark.parametrize("fault", ["untrusted", "wrong name", "expired"])
@pytest.mark.parametrize(
    ("host", "name", "kind"),
    [
        (HOST, "the registry", "secret"),
        (LOGIN, "Microsoft Entra", "secret"),
        (LOGIN, "Microsoft Entra", "certificate"),
        (LOGIN, "Microsoft Entra", "federated token"),
    ],
)
def test_ht8_a_certificate_that_is_not_right(
    authority: CertificateAuthority, mint: Mint, tmp_path: Path, host: str, name: str, kind: str, fault: str
) -> None:
    """The connection ends before a byte of ours, there is no second try, and the sentence says what it was."""
    wrong = faulty(authority, host, fault)
    context = authority.context(*LOGINS, *REGISTRIES)

    def choose(connection: ssl.SSLObject, asked: str, _: ssl.SSLContext) -> None:
        if asked == host:
            connection.context = wrong

    context.sni_callback = choose
    with FakeAzure(authority, context) as azure:
        words, command = {
            "expired": (f"the certificate of {name} .* has expired", "date -u"),
            "untrusted": (f"no known authority vouches for the certificate of {name}", "SSL_CERT_FILE"),
            "wrong name": (f"what answers as {name} .* has the certificate of another host", "proxy"),
        }[fault]
        with pytest.raises(Unavailable, match=words) as caught:
            mint(identity(kind, tmp_path, azure))
        assert command in caught.value.hint

        assert azure.seen == ([] if host == HOST else STEPS[:1])
        assert azure.proxy.asked == ([] if host == HOST else [f"{HOST}:443"]) + [f"{host}:443"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"REQUESTS_CA_BUNDLE": NOWHERE}, "what REQUESTS_CA_BUNDLE names cannot be read as certificates"),
        ({"HTTPS_PROXY": "http://127.0.0.1:9"}, "the proxy 127.0.0.1:9 does not lead to the registry"),
        (
            {"HTTPS_PROXY": "", "NO_PROXY": "*"},
            "the address of the registry .* cannot be found|nothing answers|in time",
        ),
    ],
)
def test_what_stands_between(azure: FakeAzure, mint: Mint, change: dict[str, str], words: str) -> None:
    """A proxy, a resolver, a file of authorities: each has a sentence."""
    with pytest.raises(Unavailable, match=words):
        mint(azure.principal() | change)


# --- answers that are not believed -----------------------------------------------------------------------------------


def jwt(payload: bytes) -> str:
    return "e30." + base64.urlsafe_b64encode(payload).decode().rstrip("=") + ".made-up"


def told(token: object) -> Response:
    return Response(200, json.dumps({"refresh_token": token}).encode())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Response(200, b""), id="nothing"),
        pytest.param(Response(200, b"<html>"), id="no JSON"),
        pytest.param(Response(200, b"[]"), id="no object"),
        pytest.param(Response(200, b"{}"), id="no token"),
        pytest.param(Response(200, b"[" * 60000), id="deep"),
        pytest.param(Response(200, b'{"refresh_token": NaN}'), id="NaN for a token"),
        pytest.param(told(None), id="null"),
        pytest.param(told(7), id="a number"),
        pytest.param(told(""), id="empty"),
        pytest.param(told("a\nb.c.d"), id="a line end"),
        pytest.param(told("a\x00b"), id="NUL"),
        pytest.param(told("a b"), id="a blank"),
        pytest.param(told("ä.ö.ü"), id="no ASCII"),
        pytest.param(told("opaque"), id="no JWT"),
        pytest.param(told("a.!!!.c"), id="no base64"),
        pytest.param(told(jwt(b"rubbish")), id="no claims"),
        pytest.param(told(jwt(b"{}")), id="no exp"),
        pytest.param(told(jwt(b'{"exp": "1"}')), id="a text for exp"),
        pytest.param(told(jwt(b'{"exp": null}')), id="null for exp"),
        pytest.param(told(jwt(b'{"exp": NaN}')), id="NaN for exp"),
        pytest.param(told(jwt(b'{"exp": Infinity}')), id="infinity for exp"),
        pytest.param(told(jwt(b'{"exp": 1e999}')), id="a huge exp"),
        pytest.param(told(jwt(b'{"exp": -1}')), id="a negative exp"),
        pytest.param(told(jwt(b'{"exp": 9999999999}')), id="an exp in 2286"),
        pytest.param(told(jwt(b'{"exp": ' + b"9" * 5000 + b"}")), id="a number without end"),
        pytest.param(told("x" * 70_000), id="too long"),
        pytest.param(Response(200, b"x" * 2_000_000), id="two megabytes"),
        pytest.param(Response(200, gzip.compress(b"x" * 10_000_000), {"Content-Encoding": "gzip"}), id="a bomb"),
    ],
)
def test_fa9_an_answer_that_is_not_believed(azure: FakeAzure, mint: Mint, answer: Response) -> None:
    """Rubbish in the place of a token is an error, and nothing of it gets out."""
    azure.answers[HOST, "/oauth2/exchange"] = answer
    with pytest.raises(Unavailable) as raised:
        mint(azure.principal())

    assert raised.value.hint
    assert azure.seen == STEPS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"[" * 60000,
        b'{"access_token": 7, "expires_in": 1}',
        b'{"access_token": ""}',
        b"\xff\xfe",
        b'{"access_token": "two words", "expires_in": 3599}',
        b'{"access_token": "x", "expires_in": NaN}',
        b"x" * 2_000_000,
    ],
    ids=[
        "nothing",
        "no JSON",
        "no object",
        "no token",
        "deep",
        "a number",
        "empty",
        "no UTF-8",
        "a blank",
        "NaN",
        "long",
    ],
)
@pytest.mark.parametrize("kind", ["secret", "federated token", "virtual machine", "app service"])
def test_fa9_an_identity_s_answer_that_is_not_believed(
    azure: FakeAzure, mint: Mint, tmp_path: Path, kind: str, body: bytes
) -> None:
    """Whatever the SDK makes of rubbish, here it is a sentence, and no exchange follows."""
    for where in ((LOGIN, TOKEN_PATH), ("127.0.0.1", IMDS_PATH), ("127.0.0.1", "/msi/token")):
        azure.answers[where] = Response(200, body, {"Content-Type": "application/json"})
    with pytest.raises(HelperError):  # a metadata service that answers with a megabyte is not Azure's
        mint(identity(kind, tmp_path, azure))

    assert STEPS[2] not in azure.seen


def test_an_expired_token_is_not_handed_out(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """A token that is over by this machine's clock is an error that speaks of the clock."""
    azure.life = -5

    assert b"already expired by this machine's clock" in get(azure.principal()).out


@pytest.mark.parametrize(
    ("days", "words"),
    [(-366, b"already expired by this machine's clock"), (366, b"lives too long to be true by this machine's clock")],
)
def test_a_token_of_another_time(azure: FakeAzure, get: Callable[..., Result], days: int, words: bytes) -> None:
    """A year between Azure's clock and this one's is said to be that, with the command that shows it."""
    azure.ahead = days * 86400
    done = get(azure.principal())

    assert words in done.out
    assert b"date -u" in done.err


def test_the_windows(azure: FakeAzure, mint: Mint) -> None:
    """Renewed from half of its life, not served in the last five minutes if another can be had, nor in the last one."""
    now = time.time()
    credential = mint(azure.principal())

    assert credential.soft - now == pytest.approx(1.5 * 3600, abs=5)
    assert credential.hard - now == pytest.approx(3 * 3600 - 300, abs=5)
    assert credential.expires - now == pytest.approx(3 * 3600 - 60, abs=5)


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("/v2/", marks=pytest.mark.slow),
        pytest.param(TOKEN_PATH, marks=pytest.mark.slow),
        "/oauth2/exchange",
    ],
)
def test_fa5_silence_ends(azure: FakeAzure, get: Callable[..., Result], where: str) -> None:
    """A service that accepts and says nothing is named, in time."""
    host = LOGIN if where == TOKEN_PATH else HOST
    azure.answers[host, where] = after(12)
    started = time.monotonic()
    result = get(azure.principal())

    name = b"Microsoft Entra (%b)" if host == LOGIN else b"the registry (%b)"
    assert result.out.startswith(name % host.encode() + b" did not answer in time (through the proxy ")
    assert result.told == "net-slow"
    assert time.monotonic() - started < 8.5 + patience(0.5)


# --- which identity --------------------------------------------------------------------------------------------------


def test_ci7_every_setting_that_selects_an_identity_is_a_miss(tmp_path: Path) -> None:
    """Each variable and each file, changed alone, has another key; so has what is written in the configuration."""
    home = tmp_path
    files = {
        b"AZURE_CLIENT_CERTIFICATE_PATH": tmp_path / "c.pem",
        b"AZURE_CONFIG_DIR": tmp_path / "az",
        b"AZD_CONFIG_DIR": tmp_path / "azd",
    }
    (tmp_path / "az").mkdir()
    (tmp_path / "azd").mkdir()
    base = {b"HOME": str(home).encode()} | {name: str(path).encode() for name, path in files.items()}
    del base[b"AZURE_CLIENT_CERTIFICATE_PATH"]
    keys = {"base": (host_key_of(Acr(base), HOST), minter_of(Acr(base), HOST).token_key)}

    def note(name: str, environ: dict[bytes, bytes]) -> None:
        keys[name] = (host_key_of(Acr(environ), HOST), minter_of(Acr(environ), HOST).token_key)

    own_files = {"AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CONFIG_DIR", "AZD_CONFIG_DIR"}
    names = (
        "AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_PATH "
        "AZURE_CLIENT_CERTIFICATE_PASSWORD AZURE_CLIENT_SEND_CERTIFICATE_CHAIN AZURE_FEDERATED_TOKEN "
        "AZURE_FEDERATED_TOKEN_FILE AZURE_AUTHORITY_HOST AZURE_TOKEN_CREDENTIALS AZURE_POD_IDENTITY_AUTHORITY_HOST "
        "IDENTITY_ENDPOINT IDENTITY_HEADER IDENTITY_SERVER_THUMBPRINT IMDS_ENDPOINT MSI_ENDPOINT MSI_SECRET "
        "AZURE_CONFIG_DIR AZD_CONFIG_DIR"
    )
    assert set(names.split()) == {name.decode() for name in _VARIABLES} | own_files
    for name in names.split():
        note(name, base | {name.encode(): b"one"})
        note(f"{name} again", base | {name.encode(): b"two"})
    for file in (tmp_path / "az/azureProfile.json", tmp_path / "az/config", tmp_path / "azd/auth.json"):
        file.write_text("one")
        note(file.name, base)
    (tmp_path / "c.pem").write_text("one")
    note("certificate", base | {b"AZURE_CLIENT_CERTIFICATE_PATH": str(tmp_path / "c.pem").encode()})
    (tmp_path / "c.pem").write_text("other")
    note("certificate changed", base | {b"AZURE_CLIENT_CERTIFICATE_PATH": str(tmp_path / "c.pem").encode()})
    table = (
        ['credential = "managed-identity"'],
        ['credential = "managed-identity"', f'client_id = "{CLIENT}"'],
        ['credential = "managed-identity"', f'object_id = "{CLIENT}"'],
        ['credential = "managed-identity"', 'resource_id = "/subscriptions/a"'],
        ['credential = "client-secret"'],
        ['credential = "client-secret"', f'client_secret_file = "{NOWHERE}"'],
        ['credential = "certificate"', f'certificate_file = "{NOWHERE}"'],
        ['credential = "workload-identity"', f'token_file = "{NOWHERE}"'],
        ['credential = "workload-identity"', 'authority_host = "login.example.com"'],
        ['credential = "azure-cli"'],
        ['credential = "azure-cli"', 'tenant_id = "a.example"'],
        ['credential = "azure-cli"', 'tenant_id = "b.example"'],
        ['audience = "arm"'],
    )
    assert {line.partition(" = ")[0] for lines in table for line in lines} == set(SETTINGS) - {"registry"}
    for number, lines in enumerate(table):
        write_config(home, *lines)
        note(f"config {number}", base)

    for index in (0, 1):
        assert len({pair[index] for pair in keys.values()}) == len(keys)


def test_an_alias_of_another_registry_is_another_key(tmp_path: Path) -> None:
    """`registry`, too, selects a token."""
    keys = set()
    for registry in REGISTRIES[:2]:
        write_config(tmp_path, f'registry = "{registry}"', match="mirror.acme.example")
        source = Acr({b"HOME": str(tmp_path).encode()})
        keys |= {
            host_key_of(source, "mirror.acme.example"),
            minter_of(source, "mirror.acme.example").token_key,
        }
    assert len(keys) == 4


def test_the_key_knows_every_variable_of_this_azure_identity() -> None:
    """What azure-identity and msal read is in the key or has been judged; a new variable of a new one fails here."""
    names: set[str] = set()
    for package in ("azure.identity", "msal"):
        found_at = find_spec(package)
        assert found_at
        assert found_at.origin
        for path in Path(found_at.origin).parent.rglob("*.py"):
            found = re.findall(r"""["']((?:AZURE|IDENTITY|IMDS|MSI|MSAL)_[A-Z0-9_]+)["']""", path.read_text())
            names |= set(found)
    judged = {name.decode() for name in _VARIABLES} | {"AZURE_CLIENT_CERTIFICATE_PATH"}
    assert names & judged
    assert names - judged - NO_IDENTITY_OF_OURS == set()


NO_IDENTITY_OF_OURS = {
    "AZURE_GERMANY",  # the name of a cloud
    "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH",  # we ask for a token of the tenant that the credential has
    "AZURE_KUBERNETES_CA_DATA",  # of a transport that is not ours
    "AZURE_KUBERNETES_CA_FILE",
    "AZURE_KUBERNETES_SNI_NAME",
    "AZURE_KUBERNETES_TOKEN_PROXY",
    "AZURE_PASSWORD",
    "AZURE_USERNAME",
    "AZURE_REGIONAL_AUTHORITY_NAME",  # switched off
    "MSAL_FORCE_REGION",
}


def test_a_renewed_token_file_is_the_same_identity(tmp_path: Path) -> None:
    """The kubelet writes it anew every hour; a token minted with the last one stays good."""
    path = tmp_path / "token"
    environ = {b"HOME": os.fsencode(NOWHERE), b"AZURE_FEDERATED_TOKEN_FILE": str(path).encode()}
    path.write_text("one")
    keys = (host_key_of(Acr(environ), HOST), minter_of(Acr(environ), HOST).token_key)
    path.write_text("another")

    assert keys == (host_key_of(Acr(environ), HOST), minter_of(Acr(environ), HOST).token_key)


def slow_exchange(azure: FakeAzure) -> None:
    """Let the exchange take so long that calls of one moment are under way together."""

    def answer(request: Request) -> Response:
        time.sleep(0.5)
        return azure.exchange(request, HOST)

    azure.answers[HOST, "/oauth2/exchange"] = answer


def secrets_of_twelve(get: Callable[..., Result], env: dict[str, str]) -> set[str]:
    """What twelve processes of one moment are answered."""
    with ThreadPoolExecutor(12) as pool:
        return set(pool.map(lambda _: get(env, cached=True).credential["Secret"], range(12)))


def test_twelve_calls_at_once_mint_once(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """One process mints while the others wait."""
    slow_exchange(azure)

    assert len(secrets_of_twelve(get, azure.principal())) == 1
    assert sorted(azure.seen) == sorted(STEPS)


def test_twelve_calls_past_the_soft_expiry_renew_once(azure: FakeAzure, get: Callable[..., Result], home: Path) -> None:
    """They are answered with what is there, one process renews it behind them, and the next calls have it."""
    env = azure.principal()
    first = {get(env, cached=True).credential["Secret"]}
    source = Acr({name.encode(): value.encode() for name, value in environment(home, **env).items()})
    age(home / ".cache/credhelpers", source, HOST)
    slow_exchange(azure)

    assert first <= secrets_of_twelve(get, env)
    until = time.monotonic() + 20
    while first & (second := secrets_of_twelve(get, env)):
        assert time.monotonic() < until
    assert len(second) == 1
    assert azure.seen == STEPS * 2


def test_two_registries_have_two_tokens(azure: FakeAzure, get: Callable[..., Result]) -> None:
    """A token of one registry is not answered for another one."""
    one, other = (get(azure.principal(), host, cached=True).credential for host in REGISTRIES[:2])

    assert one["Secret"] != other["Secret"]
    assert azure.mints == 2


def test_the_configuration_chooses(azure: FakeAzure, mint: Mint, home: Path, tmp_path: Path) -> None:
    """Two registries with two identities, both from files, beside an environment that says a third."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "token").write_text(ASSERTION)
    write_config(
        home,
        'credential = "client-secret"',
        f'tenant_id = "{TENANT}"',
        f'client_id = "{CLIENT}"',
        f'client_secret_file = "{tmp_path}/secret"',
        "[[registry]]",
        'match = "other*.azurecr.io"',
        'source = "acr"',
        'credential = "workload-identity"',
        f'tenant_id = "{TENANT}"',
        f'client_id = "{CLIENT}"',
        f'token_file = "{tmp_path}/token"',
    )
    env = azure.principal(AZURE_CLIENT_SECRET="made-up-other-secret", AZURE_CLIENT_ID="x", AZURE_TENANT_ID="y")
    mint(env)
    mint(env, "otherregistry.azurecr.io")

    assert form_of(azure.requests[1])["client_secret"] == SECRET
    assert form_of(azure.requests[4])["client_assertion"] == ASSERTION


@pytest.mark.parametrize(
    ("setting", "parameter"),
    [
        (f'client_id = "{CLIENT}"', f"client_id={CLIENT}"),
        (f'object_id = "{CLIENT}"', f"object_id={CLIENT}"),
        ('resource_id = "/subscriptions/s/a"', "msi_res_id=/subscriptions/s/a"),
    ],
)
def test_one_of_several_managed_identities(
    azure: FakeAzure, mint: Mint, home: Path, setting: str, parameter: str
) -> None:
    """The configuration names it by any of its three ids, and AZURE_CLIENT_ID does not count then."""
    azure.identities = [CLIENT, "/subscriptions/s/a"]
    write_config(home, 'credential = "managed-identity"', setting)
    env = azure.environment(
        AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds,
        AZURE_CLIENT_ID="other",
        AZURE_TENANT_ID=TENANT,
        AZURE_AUTHORITY_HOST=f"https://{LOGIN}",
        AZURE_FEDERATED_TOKEN_FILE=NOWHERE,  # what makes of azure-identity's managed identity another one
    )
    mint(env)

    assert parameter in azure.metadata.requests[-1].path
    assert "other" not in azure.metadata.requests[-1].path


@pytest.mark.parametrize(
    ("kind", "setting", "parameter"),
    [
        ("app service", "client_id", "client_id"),
        ("app service", "object_id", "object_id"),
        ("app service", "resource_id", "mi_res_id"),
        ("machine learning", "client_id", "clientid"),
        ("machine learning", "resource_id", "msi_res_id"),
        ("virtual machine", "resource_id", "msi_res_id"),
    ],
)
def test_each_service_has_its_own_word_for_an_id(
    azure: FakeAzure, mint: Mint, home: Path, tmp_path: Path, kind: str, setting: str, parameter: str
) -> None:
    """As msal has it, `managed_identity._obtain_token_on_*`; a word that a service does not know it passes over."""
    value = "/subscriptions/s/a" if setting == "resource_id" else CLIENT
    azure.identities = [value]
    azure.answers["127.0.0.1", "/msi/token"] = lambda _: entra_token(azure)
    write_config(home, 'credential = "managed-identity"', f'{setting} = "{value}"')
    mint(identity(kind, tmp_path, azure))

    query = dict(parse_qsl(azure.metadata.requests[-1].path.partition("?")[2]))
    assert query.keys() == {"api-version", "resource", parameter}
    assert query[parameter] == value


def entra_token(azure: FakeAzure, **more: str) -> Response:
    """What a metadata service answers with."""
    return Response(200, json.dumps({"access_token": azure.give(AUDIENCE), "expires_in": "3599", **more}).encode())


ARC_KEY = "made-up-key-of-arc"


@pytest.fixture
def arc_agent(azure: FakeAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """The environment of a machine with Azure Arc, whose agent wants to see what is in a file that it names."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    monkeypatch.setattr("credhelpers.identities.entra_machine._ARC_KEYS", f"{folder}/")

    def agent(name: str = "a.key", content: str = ARC_KEY, **confirmed: str) -> dict[str, str]:
        (folder / "a.key").write_text(content)

        def answer(request: Request) -> Response:
            assert request.headers["metadata"] == "true"
            if request.headers.get("authorization") == f"Basic {ARC_KEY}":
                return entra_token(azure, **confirmed)
            return Response(401, b"", {"WWW-Authenticate": f"Basic realm={folder}/{name}"})

        azure.answers["127.0.0.1", "/arc"] = answer
        return azure.environment(IDENTITY_ENDPOINT=f"{azure.imds}/arc", IMDS_ENDPOINT=azure.imds)

    return agent


def test_the_agent_of_arc_is_shown_its_file(
    azure: FakeAzure, mint: Mint, arc_agent: Callable[..., dict[str, str]]
) -> None:
    """It proves that we may read what only its group may."""
    assert mint(arc_agent()).username == USER
    assert "api-version=2020-06-01" in azure.metadata.requests[-1].path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../outside.key", ARC_KEY),
        ("../tokens/a.key", ARC_KEY),
        ("a.txt", ARC_KEY),
        ("nobody.key", ARC_KEY),
        (".key/../a.key", ARC_KEY),
        ("a.key", "x" * 5000),
        ("a.key", "another"),
    ],
)
def test_the_agent_of_arc_is_shown_nothing_else(
    azure: FakeAzure, mint: Mint, arc_agent: Callable[..., dict[str, str]], tmp_path: Path, name: str, content: str
) -> None:
    """Whoever answers there may not have any file of ours read to it."""
    for other in ("outside.key", "tokens/a.txt"):
        (tmp_path / "tokens").mkdir(exist_ok=True)
        (tmp_path / other).write_text("made-up-secret-of-others")
    with pytest.raises(Unavailable, match="does not let this user in"):
        mint(arc_agent(name, content))

    assert not any("secret" in request.headers.get("authorization", "") for request in azure.metadata.requests)


@pytest.mark.parametrize(
    ("confirmed", "is_right"),
    [
        ({}, False),
        ({"client_id": CLIENT}, True),
        ({"client_id": CLIENT.upper()}, True),
        ({"client_id": TENANT}, False),
        ({"object_id": CLIENT}, False),
    ],
)
def test_an_agent_of_arc_that_gives_another_identity(
    mint: Mint, arc_agent: Callable[..., dict[str, str]], confirmed: dict[str, str], *, is_right: bool
) -> None:
    """An older one knows the machine's own only, and gives that whichever was asked for."""
    env = arc_agent(**confirmed) | {"AZURE_CLIENT_ID": CLIENT}
    if is_right:
        assert mint(env).username == USER
        return
    with pytest.raises(Unavailable, match="the identity that was asked for is not assigned to this machine"):
        mint(env)


def test_environment_means_the_environment(azure: FakeAzure, mint: Mint, home: Path) -> None:
    """`credential = "environment"` takes what the variables say, and fails where they say nothing."""
    write_config(home, 'credential = "environment"')
    assert mint(azure.principal()).username == USER
    with pytest.raises(Unavailable, match="the environment names no identity"):
        mint(azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=azure.imds))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['client_id = "' + CLIENT + '"'], "`client_id` needs `credential`"),
        (['credential = "azure-cli"', f'client_id = "{CLIENT}"'], "`client_id` is not for `azure-cli`"),
        (['credential = "certificate"', 'token_file = "/x"'], "`token_file` is not for `certificate`"),
        (['credential = "managed-identity"', 'authority_host = "a.example"'], "`authority_host` is not for"),
        (['credential = "managed-identity"', f'client_id = "{CLIENT}"', f'object_id = "{CLIENT}"'], "not two"),
        (['registry = "otherregistry.azurecr.io"'], "`registry` is for aliases"),
        (['credential = "default"'], "`credential` is not one of"),
        (['client_secret = "made-up"'], "unknown key `client_secret`"),
        (['tenant_id = "a/b"'], "`tenant_id` is not"),
        (['certificate_file = "relative.pem"'], "`certificate_file` is not an absolute path"),
        (['audience = "https://evil.example"'], "`audience` is not"),
        (['authority_host = "http://a.example"'], "`authority_host` is not a host"),
        (["credential = 1"], "`credential` is not"),
    ],
)
def test_a_configuration_that_cannot_be_meant(
    azure: FakeAzure, mint: Mint, home: Path, lines: list[str], words: str
) -> None:
    """Contradictions are told with the line, before a packet is sent."""
    write_config(home, *lines)
    with pytest.raises(Unavailable, match=r"config\.toml.* line") as raised:
        mint(azure.principal())

    assert words in raised.value.message
    assert azure.requests == []


def test_an_alias_is_answered_with_the_token_of_its_registry(
    azure: FakeAzure, get: Callable[..., Result], home: Path
) -> None:
    """The name that the configuration gives to a registry is never asked for anything itself."""
    write_config(home, f'registry = "{HOST}"', match="mirror.acme.example")
    answer = get(azure.principal(), "mirror.acme.example", cached=True).credential

    assert answer["ServerURL"] == "mirror.acme.example"
    assert azure.seen == STEPS
    assert get(azure.principal(), cached=True).credential["Secret"] != ""
    assert get(azure.principal(), "other.acme.example", cached=True) == Result(1, NOT_FOUND, b"")
    assert azure.proxy.refused == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "needs `registry`"),
        (['registry = "myregistry.azurecr.io.evil.example"'], "not a login server"),
        (['registry = "mirror.acme.example"'], "not a login server"),
    ],
)
def test_an_alias_must_stand_for_a_registry(
    azure: FakeAzure, mint: Mint, home: Path, lines: list[str], words: str
) -> None:
    """An alias that leads nowhere, or to a stranger, is a mistake in the configuration."""
    write_config(home, *lines, match="mirror.acme.example")
    with pytest.raises(Unavailable, match=words):
        mint(azure.principal(), "mirror.acme.example")

    assert azure.requests == []


# --- the manual ------------------------------------------------------------------------------------------------------


def test_the_page_has_every_setting_and_every_variable() -> None:
    """docs/acr.md explains each setting and each variable that is read."""
    from credhelpers.sources import acr
    from tests.test_docs import ROOT

    page = (ROOT / "docs/acr.md").read_text()
    names = {name.decode() for name in acr._VARIABLES} | {"AZURE_CONFIG_DIR", "AZD_CONFIG_DIR", "AZURE_USERNAME"}
    for name in (*SETTINGS, *names, "AZURE_CLIENT_CERTIFICATE_PATH"):
        assert f"`{name}`" in page, name
    assert max(map(len, MANUAL.splitlines())) <= 100


def test_imds_at_its_true_address(authority: CertificateAuthority, home: Path, tmp_path: Path) -> None:
    """A virtual machine's metadata service at 169.254.169.254, in a network of its own, with a proxy set against it."""
    if os.geteuid() != 0:
        lacking("a network namespace needs root")
    unshare, ip = need("unshare", "util-linux"), need("ip", "iproute2")
    program = tmp_path / "machine.py"
    program.write_text(f"""
import http.server, subprocess, sys, pathlib
sys.path.insert(0, {str(Path.cwd())!r})
from tests.fakes.azure import FakeAzure, HOST
from tests.fakes.tls import CertificateAuthority
from tests.harness import call, environment
for command in ("link set lo up", "address add 169.254.169.254/32 dev lo"):
    subprocess.run([{ip!r}, *command.split()], check=True)
folder = pathlib.Path({str(tmp_path)!r})
with FakeAzure(CertificateAuthority(folder)) as azure:
    import socket, threading
    listener = socket.create_server(("169.254.169.254", 80))
    def carry():
        while True:
            peer, _ = listener.accept()
            with peer, socket.create_connection(("127.0.0.1", azure.metadata.port)) as onward:
                from tests.fakes.tls import _pump
                _pump(peer, onward)
    threading.Thread(target=carry, daemon=True).start()
    env = azure.environment(HTTP_PROXY=azure.proxy.url, http_proxy=azure.proxy.url)
    del env["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
    env["CREDHELPERS_CACHE_DIR"] = ""
    result = call("acr", "get", HOST, environment(pathlib.Path({str(home)!r}), **env))
    print(result.code, azure.mints, azure.proxy.refused, [one.host for one in azure.metadata.requests])
""")
    done = subprocess.run(
        [unshare, "--net", sys.executable, program], capture_output=True, text=True, timeout=60, check=False
    )
    if "Operation not permitted" in done.stderr:
        lacking("network namespaces are not allowed here")

    assert done.stdout == "0 1 [] ['169.254.169.254', '169.254.169.254']\n", done.stderr
