"""Who owns a server string: genuine forms, look-alikes, and what a store may answer for."""

from __future__ import annotations

import ipaddress
import os
import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from credhelpers import hosts, servers
from credhelpers.errors import HelperError, MissingServer, NotFound, NotMine, Refused
from credhelpers.exchanges.acr_hosts import azure
from credhelpers.exchanges.ecr_hosts import EcrHost, ecr, ecr_of
from credhelpers.exchanges.google_hosts import google, google_location
from credhelpers.identities.google_services import UNIVERSE, is_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# --- an independent implementation: anchored, full-match regular expressions, one per documented form ---------------

_REGIONS = {
    "aws": r"(?!cn-)[a-z]{2}-[a-z]+-[0-9]{1,2}",
    "aws-us-gov": r"us-gov-[a-z]+-[0-9]{1,2}",
    "aws-cn": r"cn-[a-z]+-[0-9]{1,2}",
    "aws-eusc": r"eusc-de-[a-z]+-[0-9]{1,2}",
    "aws-iso": r"us-iso-[a-z]+-[0-9]{1,2}",
    "aws-iso-b": r"us-isob-[a-z]+-[0-9]{1,2}",
    "aws-iso-e": r"eu-isoe-[a-z]+-[0-9]{1,2}",
    "aws-iso-f": r"us-isof-[a-z]+-[0-9]{1,2}",
}
_ECR = [
    (partition, re.compile(rf"(?P<account>[0-9]{{12}})\.{service}\.(?P<region>{_REGIONS[partition]}){suffix}"))
    for partition, service, suffix in [
        ("aws", r"dkr\.ecr(?P<fips>-fips)?", r"\.amazonaws\.com"),
        ("aws", r"dkr-ecr(?P<fips>-fips)?", r"(?P<dual>\.on\.aws)"),
        ("aws-us-gov", r"dkr\.ecr(?P<fips>-fips)?", r"\.amazonaws\.com"),
        ("aws-us-gov", r"dkr-ecr(?P<fips>-fips)?", r"(?P<dual>\.on\.aws)"),
        ("aws-cn", r"dkr\.ecr", r"\.amazonaws\.com\.cn"),
        ("aws-cn", r"dkr[.-]ecr", r"(?P<dual>\.on\.amazonwebservices\.com\.cn)"),
        ("aws-eusc", r"dkr\.ecr", r"\.amazonaws\.eu"),
        ("aws-iso", r"dkr\.ecr", r"\.c2s\.ic\.gov"),
        ("aws-iso-b", r"dkr\.ecr", r"\.sc2s\.sgov\.gov"),
        ("aws-iso-e", r"dkr\.ecr", r"\.cloud\.adc-e\.uk"),
        ("aws-iso-f", r"dkr\.ecr", r"\.csp\.hci\.ic\.gov"),
    ]
]
_WORD_LABEL = r"(?!\S{64})(?![a-z0-9-]*--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_LOCATION = r"[a-z]+(?:-[a-z0-9]+)?"
_GOOGLE = re.compile(
    rf"(?:(?:(?:(?![a-z0-9-]{{64}})(?![a-z0-9-]*--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)?gcr\.io)"
    rf"|{_LOCATION}-docker\.pkg\.dev|docker\.{_LOCATION}\.rep\.pkg\.dev|(?P<s3ns>docker\.s3nsregistry\.fr))"
)
_AZURE = re.compile(
    r"[a-z0-9]{5,50}(?:-[a-z0-9]+)?"
    r"(?:\.(?![a-z0-9-]{64})(?![a-z0-9-]*--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.geo)?\.azurecr\.(?P<cloud>io|cn|us)"
)
_REGISTRY = re.compile(
    r"(?:[Hh][Tt][Tt][Pp][Ss]://)?"
    r"(?P<host>(?=[^:/]{1,253}(?:[:/]|\Z))(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*)"
    r"(?::443)?(?:/[!-~]*)?"
)
_HUB_NAMES = {"index.docker.io", "docker.io", "registry-1.docker.io", "registry.hub.docker.com"}


def _registry(server: str) -> str | None:
    """The host of a registry without a port. The Hub has one name, and its tokens are no registry's."""
    found = _REGISTRY.fullmatch(server)
    if found is None or re.search(r"[@%#?]", server):
        return None
    host = found["host"].lower()
    if host not in _HUB_NAMES:
        return host
    return None if server.endswith(("/v1/access-token", "/v1/refresh-token")) else "index.docker.io"


def _ecr(host: str) -> tuple[str, ...] | None:
    if host in {"public.ecr.aws", "ecr-public.aws.com"}:
        return ("aws", "us-east-1", "", "", "dual" if host.endswith("com") else "", "public")
    for partition, pattern in _ECR:
        if found := pattern.fullmatch(host):
            parts = found.groupdict()
            fips, dual = "fips" if parts.get("fips") else "", "dual" if parts.get("dual") else ""
            return (partition, found["region"], found["account"], fips, dual, "")
    return None


def _google(host: str) -> str | None:
    found = _GOOGLE.fullmatch(host)
    return found and ("s3nsapis.fr" if found["s3ns"] else "googleapis.com")


def _azure(host: str) -> str | None:
    found = _AZURE.fullmatch(host)
    clouds = {"io": "AzureCloud", "cn": "AzureChinaCloud", "us": "AzureUSGovernment"}
    return found and clouds[found["cloud"]]


def _ours(rule: Callable[[str], object], server: str) -> object:
    """What the production code says of a string, None for not ours."""
    try:
        found = rule(servers.cloud_host(servers.Authority(server)))
    except NotFound:
        return None
    if isinstance(found, EcrHost):
        flags = ("fips" if found.fips else "", "dual" if found.dual_stack else "", "public" if found.public else "")
        return (found.partition, found.region, found.account, *flags)
    return found


_RULES: dict[str, tuple[Callable[[str], object], Callable[[str], object]]] = {
    "ecr": (ecr, _ecr),
    "google": (google, _google),
    "azure": (azure, _azure),
}

# --- genuine forms ---------------------------------------------------------------------------------------------------

_ACCOUNT = "111122223333"
_GENUINE_ECR = [
    ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", ("aws", "eu-west-1", _ACCOUNT, "", "", "")),
    ("111122223333.dkr.ecr.ap-southeast-5.amazonaws.com", ("aws", "ap-southeast-5", _ACCOUNT, "", "", "")),
    ("111122223333.dkr.ecr.mx-central-1.amazonaws.com", ("aws", "mx-central-1", _ACCOUNT, "", "", "")),
    ("000000000000.dkr.ecr.us-east-1.amazonaws.com", ("aws", "us-east-1", "000000000000", "", "", "")),
    ("111122223333.dkr.ecr-fips.us-west-2.amazonaws.com", ("aws", "us-west-2", _ACCOUNT, "fips", "", "")),
    ("111122223333.dkr-ecr.eu-central-1.on.aws", ("aws", "eu-central-1", _ACCOUNT, "", "dual", "")),
    ("111122223333.dkr-ecr-fips.us-east-2.on.aws", ("aws", "us-east-2", _ACCOUNT, "fips", "dual", "")),
    ("111122223333.dkr.ecr.us-gov-west-1.amazonaws.com", ("aws-us-gov", "us-gov-west-1", _ACCOUNT, "", "", "")),
    (
        "111122223333.dkr.ecr-fips.us-gov-east-1.amazonaws.com",
        ("aws-us-gov", "us-gov-east-1", _ACCOUNT, "fips", "", ""),
    ),
    ("111122223333.dkr-ecr.us-gov-west-1.on.aws", ("aws-us-gov", "us-gov-west-1", _ACCOUNT, "", "dual", "")),
    ("111122223333.dkr-ecr-fips.us-gov-west-1.on.aws", ("aws-us-gov", "us-gov-west-1", _ACCOUNT, "fips", "dual", "")),
    ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", ("aws-cn", "cn-north-1", _ACCOUNT, "", "", "")),
    (
        "111122223333.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
        ("aws-cn", "cn-northwest-1", _ACCOUNT, "", "dual", ""),
    ),
    ("111122223333.dkr.ecr.cn-north-1.on.amazonwebservices.com.cn", ("aws-cn", "cn-north-1", _ACCOUNT, "", "dual", "")),
    ("111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu", ("aws-eusc", "eusc-de-east-1", _ACCOUNT, "", "", "")),
    ("111122223333.dkr.ecr.us-iso-east-1.c2s.ic.gov", ("aws-iso", "us-iso-east-1", _ACCOUNT, "", "", "")),
    ("111122223333.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", ("aws-iso-b", "us-isob-east-1", _ACCOUNT, "", "", "")),
    ("111122223333.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", ("aws-iso-e", "eu-isoe-west-1", _ACCOUNT, "", "", "")),
    ("111122223333.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", ("aws-iso-f", "us-isof-south-1", _ACCOUNT, "", "", "")),
    ("public.ecr.aws", ("aws", "us-east-1", "", "", "", "public")),
    ("ecr-public.aws.com", ("aws", "us-east-1", "", "", "dual", "public")),
]
_GENUINE_GOOGLE = [
    *(
        (host, "googleapis.com")
        for host in ("gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io", "k8s.gcr.io", "l.gcr.io")
    ),
    *(
        (f"{name}.gcr.io", "googleapis.com")
        for name in ("staging-k8s", "marketplace", "launcher", "mirror", "us-mirror")
    ),
    *(
        (f"{place}-docker.pkg.dev", "googleapis.com")
        for place in ("us", "europe", "asia", "europe-west1", "me-central2")
    ),
    *((f"docker.{place}.rep.pkg.dev", "googleapis.com") for place in ("us-central1", "northamerica-northeast1")),
    ("docker.s3nsregistry.fr", "s3nsapis.fr"),
]
_GENUINE_AZURE = [
    ("contoso.azurecr.io", "AzureCloud"),
    ("contoso-a1b2c3.azurecr.io", "AzureCloud"),
    ("abcde.azurecr.io", "AzureCloud"),
    ("a" * 50 + ".azurecr.io", "AzureCloud"),
    ("contoso.westeurope.geo.azurecr.io", "AzureCloud"),
    ("contoso-a1b2c3.eastus2.geo.azurecr.io", "AzureCloud"),
    ("contoso.azurecr.cn", "AzureChinaCloud"),
    ("contoso.chinanorth3.geo.azurecr.cn", "AzureChinaCloud"),
    ("contoso.azurecr.us", "AzureUSGovernment"),
    ("contoso.usgovvirginia.geo.azurecr.us", "AzureUSGovernment"),
]
_GENUINE: dict[str, list[tuple[str, object]]] = {
    "ecr": list(_GENUINE_ECR),
    "google": list(_GENUINE_GOOGLE),
    "azure": list(_GENUINE_AZURE),
}


@pytest.mark.parametrize(
    ("cloud", "host", "expected"),
    [pytest.param(cloud, *row, id=row[0][:60]) for cloud, rows in _GENUINE.items() for row in rows],
)
def test_a_genuine_host_is_read_in_every_spelling_of_a_client(cloud: str, host: str, expected: object) -> None:
    """HT-2: every documented form, bare, with port, scheme, path, and in upper case, belongs to its cloud alone."""
    forms = (host, f"{host}:443", f"https://{host}", f"https://{host}:443/v2/", f"{host}/team/app", host.upper())
    for server in forms:
        assert servers.read(server.encode()).sent == server
        assert _ours(_RULES[cloud][0], server) == expected
        assert [name for name in _RULES if _ours(_RULES[name][0], server) is not None] == [cloud]


# --- look-alikes -----------------------------------------------------------------------------------------------------

_SAMPLES = {
    "ecr": ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", "111122223333.dkr-ecr.us-east-1.on.aws", "public.ecr.aws"),
    "google": ("europe-west1-docker.pkg.dev", "gcr.io", "docker.us-central1.rep.pkg.dev"),
    "azure": ("contoso.azurecr.io", "contoso.westeurope.geo.azurecr.io", "contoso.azurecr.us"),
}
_STRANGE_BYTES = (
    "\0",
    "\r",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\x0b",
    "\x0c",
    "\x1b",
    "\x7f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u3002",
)
_STRANGE_LETTERS = {
    "k": "\u212a",
    "a": "\u0430",
    "e": "\u0435",
    "o": "\u043e",
    "c": "\u0441",
    "1": "\u0661",
    ".": "\uff0e",
}

_OTHERS = {
    "ecr": (
        "11112222333.dkr.ecr.eu-west-1.amazonaws.com",
        "1111222233334.dkr.ecr.eu-west-1.amazonaws.com",
        "11112222333a.dkr.ecr.eu-west-1.amazonaws.com",
        "\u0661" * 12 + ".dkr.ecr.eu-west-1.amazonaws.com",
        "dkr.ecr.eu-west-1.amazonaws.com",
        "111122223333.ecr.dkr.eu-west-1.amazonaws.com",
        "111122223333.dkr.ecr.amazonaws.com",
        "111122223333.dkr.ecr.eu-west-1.on.aws",
        "111122223333.dkr-ecr.eu-west-1.amazonaws.com",
        "111122223333.dkr.ecr-fips.cn-north-1.amazonaws.com.cn",
        "111122223333.dkr.ecr.s3-us-west-2.amazonaws.com",
        "111122223333.dkr.ecr.s3.amazonaws.com",
        "111122223333.dkr.ecr.elb-us-east-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.elb.amazonaws.com",
        "111122223333.dkr.ecr.execute-api.us-east-1.amazonaws.com",
        "111122223333.dkr.ecr.cn-north-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.amazonaws.com.cn",
        "111122223333.dkr.ecr.us-gov-west-1.amazonaws.com.cn",
        "111122223333.dkr.ecr.us-iso-east-1.amazonaws.com",
        "111122223333.dkr.ecr.us-isob-east-1.c2s.ic.gov",
        "111122223333.dkr.ecr.eusc-de-east-1.amazonaws.com",
        "111122223333.dkr.ecr.us-east-1.amazonaws.eu",
        "111122223333.dkr.ecr.eu-west-.amazonaws.com",
        "111122223333.dkr.ecr.eu-west-100.amazonaws.com",
        "111122223333.dkr.ecr.eu--1.amazonaws.com",
        "111122223333.dkr.ecr.eu_west_1.amazonaws.com",
        "111122223333.dkr.ecr.*.amazonaws.com",
        "api.ecr.eu-west-1.amazonaws.com",
        "ecr.eu-west-1.amazonaws.com",
        "sts.amazonaws.com",
        "vpce-0123456789abcdef0-abcdefgh.dkr.ecr.eu-west-1.vpce.amazonaws.com",
        "vpce-0123456789abcdef0-abcdefgh.api.ecr.eu-west-1.vpce.amazonaws.com",
        "111122223333.dkr.ecr.eu-west-1.vpce.amazonaws.com",
        "public.ecr.amazonaws.com",
        "api.ecr-public.us-east-1.amazonaws.com",
        "gallery.ecr.aws",
        "ecr.aws",
        "ecr-public.aws",
    ),
    "google": (
        "pkg.dev",
        "docker.pkg.dev",
        "-docker.pkg.dev",
        "us-python.pkg.dev",
        "us-npm.pkg.dev",
        "us_docker.pkg.dev",
        "us-docker.pkg.dev.cn",
        "us-docker-pkg.dev",
        "us.docker.pkg.dev",
        "us-west1--docker.pkg.dev",
        "1us-docker.pkg.dev",
        "docker.rep.pkg.dev",
        "python.us-central1.rep.pkg.dev",
        "docker.us-central1.pkg.dev",
        "docker.us-central1.rep.pkg.dev.example",
        "a.b.gcr.io",
        "gcr.io.example",
        "xn--gcr-abc.gcr.io",
        "evilgcr.io",
        "gcr-io.example",
        "mirror.gcr.io.evil.example",
        "storage.googleapis.com",
        "oauth2.googleapis.com",
        "metadata.google.internal",
        "s3nsregistry.fr",
        "us-docker.s3nsregistry.fr",
        "docker.s3nsregistry.de",
    ),
    "azure": (
        "azurecr.io",
        "a.azurecr.io",
        "abcd.azurecr.io",
        "a" * 51 + ".azurecr.io",
        "con_toso.azurecr.io",
        "contoso-.azurecr.io",
        "-contoso.azurecr.io",
        "contoso-a-b.azurecr.io",
        "xn--contso-1ya.azurecr.io",
        "contoso.westeurope.data.azurecr.io",
        "contoso.geo.azurecr.io",
        "contoso.west.europe.geo.azurecr.io",
        "contoso.westeurope.azurecr.io",
        "contoso.privatelink.azurecr.io",
        "contoso.azurecr.de",  # Microsoft Cloud Germany was closed in October 2021
        "contoso.azurecr.com",
        "contoso.azurecr.io.cn",
        "contoso.azurecr-io.example",
        "contosoazurecr.io",
        "mcr.microsoft.com",
        "contoso.blob.core.windows.net",
        "login.microsoftonline.com",
        "management.azure.com",
    ),
}


def _look_alikes(cloud: str) -> Iterator[str]:  # noqa: PLR0915 - a list of tricks, one a line
    """Strings that mention a host of the cloud, or nearly, and are none."""
    yield from _OTHERS[cloud]
    for host in _SAMPLES[cloud]:
        labels = host.split(".")
        suffix = ".".join(labels[-2:])
        for stranger in ("evil.example", "attacker.test", "10.0.0.1", "localhost", "[::1]"):
            yield f"{host}.{stranger}"
            yield f"{stranger}/{host}"
            yield f"https://{stranger}/{host}/v2/"
            yield f"https://{stranger}//{host}"
            yield f"{host}@{stranger}"
            yield f"{stranger}@{host}"
            yield f"https://user:word@{host}"
            yield f"https://{stranger}:443@{host}/"
            yield f"{stranger}\\@{host}"
            yield f"{stranger}\\.{host}"
            yield f"{stranger}#{host}"
            yield f"{stranger}?{host}"
            yield f"{host}?@{stranger}"
            yield f"{host}#.{stranger}"
            yield f"{host}/..@{stranger}"
            yield f"https://{stranger}%2f{host}"
            yield f"{host}%2f.{stranger}"
            yield f"{host}%00.{stranger}"
            yield f"{host};{stranger}"
            yield f"{host},{stranger}"
            yield f"{host}&{stranger}"
            yield f"{host}:{stranger}"
            yield f"{stranger}:{host}"
        yield f"evil_{host}"
        yield f"evil--{host}"
        yield f"evil-.{suffix}"
        yield f"{host}evil"
        yield f"{host}-evil"
        yield f"{host}."
        yield f"{host}.."
        yield f".{host}"
        yield f"..{host}"
        yield f"{host}.:443"
        yield f"{host}:443."
        yield host.replace(".", "..", 1)
        yield host.replace(".", ".\u200b", 1)
        yield host.replace(".", "%2e")
        yield host.replace(".", "\uff0e")
        yield host.replace(".", "\u3002")
        yield host.replace(".", "\u00b7")
        yield host.replace(".", "-")
        yield host.replace(".", "/", 1)
        yield host.replace(".", ":", 1)
        yield host.replace(".", "_")
        yield "xn--" + host
        yield f"xn--{labels[0]}-abc." + ".".join(labels[1:])
        yield f"a.{host}" if host != "gcr.io" else f"a.b.{host}"
        yield "x" * 64 + "." + host
        yield ".".join(["x" * 60] * 5) + "." + host
        yield ".".join(labels[:-1])
        yield ".".join(labels[::-1])
        for port in ("0", "80", "444", "4430", "443:443", "65536", "-1", "", "0443", "443 "):
            yield f"{host}:{port}/" if port == "443 " else f"{host}:{port}"
        for scheme in ("http", "ftp", "file", "ssh", "javascript", "https:https", "http+unix", ""):
            yield f"{scheme}://{host}"
        yield f"https:/{host}"
        yield f"https:{host}"
        yield f"//{host}"
        yield f"///{host}"
        yield f"[{host}]"
        yield f"*.{host}"
        yield f'"{host}"'
        yield f"{host}?ns=x"
        yield f"{host}/app?x"
        yield f"{host}/app#x"
        yield f"{host}/%2e%2e/"
        for strange in _STRANGE_BYTES:
            place = len(host) // 2
            yield host[:place] + strange + host[place:]
            yield f"evil.example{strange}.{host}"
            yield f"{host}{strange}.evil.example"
        for plain, strange in _STRANGE_LETTERS.items():
            if plain in host:
                yield host.replace(plain, strange, 1)


_LOOK_ALIKES = {cloud: list(dict.fromkeys(_look_alikes(cloud))) for cloud in _RULES}


@pytest.mark.parametrize("cloud", list(_RULES))
def test_look_alikes_are_refused(cloud: str) -> None:
    """HT-1: hundreds of strings that a naive matcher takes for ours are nobody's, and the reason holds none of them."""
    assert len(_LOOK_ALIKES[cloud]) >= 200
    for server in _LOOK_ALIKES[cloud]:
        for raw in (server.encode(), server.encode("utf-16-le"), server.encode("latin-1", "replace")):
            for rule, _ in _RULES.values():
                with pytest.raises((NotFound, Refused, MissingServer)) as raised:
                    rule(servers.cloud_host(servers.read(raw)))
                assert server not in raised.value.message
        assert _ours(_RULES[cloud][0], server) is None, "refused even where nothing stands before"


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("us-docker.pkg.dev", "us"),
        ("europe-west1-docker.pkg.dev", "europe-west1"),
        ("docker.us-central1.rep.pkg.dev", "us-central1"),
        ("gcr.io", ""),
        ("us.gcr.io", ""),
        ("docker.s3nsregistry.fr", ""),
    ],
)
def test_a_location_of_google(host: str, location: str) -> None:
    """It is what stands in the name in its place, and nothing of a look-alike's."""
    assert google_location(host) == location
    assert not any(google_location(other) for other in _LOOK_ALIKES["google"])


def test_look_alikes_load_no_sdk() -> None:
    """HT-1: refusing needs neither an SDK nor a socket: nothing of them is imported."""
    script = (
        "import sys\n"
        "from credhelpers import servers, hosts\n"
        "from credhelpers.errors import HelperError\n"
        "from credhelpers.exchanges.acr_hosts import azure\n"
        "from credhelpers.exchanges.ecr_hosts import ecr\n"
        "from credhelpers.exchanges.google_hosts import google\n"
        "for line in sys.stdin.buffer.read().split(b'\\xff'):\n"
        "    for rule in (ecr, google, azure):\n"
        "        try:\n"
        "            rule(servers.cloud_host(servers.read(line)))\n"
        "            print('taken')\n"
        "        except HelperError:\n"
        "            pass\n"
        "slow = {'re', 'socket', '_socket', 'ssl', 'json', 'urllib', 'botocore', 'boto3', 'google', 'azure', 'idna'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    assert _alone(script) == b"[]\n"


_CONFIGURATION = """\
[[registry]]
match = "*.dkr.ecr.*.amazonaws.com"
source = "ecr"
profile = "prod"

[[registry]]
match = "europe-docker.pkg.dev"
source = "gcr"
credential = "gcloud"

[[registry]]
match = "*.azurecr.io"
source = "acr"
credential = "azure-cli"
"""


@pytest.mark.parametrize("text", ["", _CONFIGURATION], ids=["without a configuration", "configured"])
def test_look_alikes_get_no_further_in_the_helpers(text: str, tmp_path: Path) -> None:
    """HT-1: where the clouds are configured too, each is refused before an SDK or a socket is touched."""
    (tmp_path / "config.toml").write_text(text)
    (tmp_path / "config.toml").chmod(0o600)
    environ = {b"CREDHELPERS_CONFIG": os.fsencode(tmp_path / "config.toml"), b"CREDHELPERS_CACHE_DIR": b""}
    script = (
        "import sys\n"
        "from credhelpers.errors import HelperError\n"
        "from credhelpers.servers import read\n"
        "from credhelpers.minted import Minted\n"
        "from credhelpers.sources.acr import Acr\n"
        "from credhelpers.sources.ecr import Ecr\n"
        "from credhelpers.sources.gcr import Gcr\n"
        "sys.addaudithook(lambda event, _: print(event) if event.startswith('socket.') else None)\n"
        f"environ = {environ!r}\n"
        "helpers = [Minted(source(environ), environ) for source in (Ecr, Gcr, Acr)]\n"
        "for line in sys.stdin.buffer.read().split(b'\\xff'):\n"
        "    for helper in helpers:\n"
        "        try:\n"
        "            authority = read(line)\n"
        "        except HelperError:\n"
        "            continue\n"
        "        for verb in (helper.ready, helper.get):\n"
        "            try:\n"
        "                print('answered' if verb(authority) else '', end='')\n"
        "            except HelperError:\n"
        "                pass\n"
        "slow = {'socket', '_socket', 'ssl', 'urllib3', 'requests', 'botocore', 'google', 'azure', 'subprocess'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    assert _alone(script) == b"[]\n"


def _alone(script: str) -> bytes:
    """What the script prints that is given all look-alikes, in an interpreter in which nothing is imported yet."""
    servers = b"\xff".join(server.encode() for rows in _LOOK_ALIKES.values() for server in rows)
    # Without `site`, which imports what `.pth` files name.
    script = f"import sys; sys.path[:0] = {[entry for entry in sys.path if entry]!r}\n" + script
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], input=servers, capture_output=True, check=True)
    return done.stdout


# --- against the independent implementation --------------------------------------------------------------------------

_PIECES = [
    *re.findall(
        r"\S+",
        """111122223333 dkr ecr ecr-fips dkr-ecr dkr-ecr-fips eu-west-1 us-gov-west-1 cn-north-1 us-iso-east-1 on aws
        eusc-de-east-1 us-isob-east-1 eu-isoe-west-1 us-isof-south-1 amazonaws amazonwebservices com cn eu c2s ic
        gov sc2s sgov cloud adc-e uk csp hci public ecr-public gcr io us europe docker pkg dev rep us-docker
        europe-west1-docker us-central1 s3nsregistry fr contoso contoso-a1 azurecr geo data westeurope abcd x- -x
        x--y xn--p1ai s3-us-west-2 vpce 10 0 a""",
    ),
    "x" * 63,
    "x" * 64,
    "",
]
_TEMPLATES = [host for rows in _GENUINE.values() for host, _ in rows]


def _random_server(chance: random.Random) -> str:
    """A host from pieces, or a genuine one, then mutated a little and dressed as clients do, or as nobody does."""
    if chance.random() < 0.5:
        labels = chance.choice(_TEMPLATES).split(".")
    else:
        labels = [chance.choice(_PIECES) for _ in range(chance.randint(1, 7))]
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        place = chance.randrange(len(labels))
        move = chance.randrange(6)
        if move == 0:
            labels[place] = chance.choice(_PIECES)
        elif move == 1:
            labels.insert(place, chance.choice(_PIECES))
        elif move == 2 and len(labels) > 1:
            del labels[place]
        elif move == 3:
            labels[place] = labels[place].upper()
        elif move == 4:
            other = chance.randrange(len(labels))
            labels[place], labels[other] = labels[other], labels[place]
        else:
            cut = chance.randint(0, len(labels[place]))
            labels[place] = labels[place][:cut] + chance.choice("ab01-_.:/@%#? \u212a\u0661\n") + labels[place][cut:]
    before = chance.choice(("", "", "", "https://", "HTTPS://", "http://", "//", "user@", "https:/"))
    after = chance.choice(
        ("", "", "", ":443", "/", "/team/app", ":443/v2/", ":5000", ".", "?x", "/x?y", "#", "/a@b", "/%41")
    )
    return before + ".".join(labels) + after


@pytest.mark.slow
def test_the_matcher_agrees_with_regular_expressions_sample() -> None:
    """HT-3: on generated hosts an independent implementation says the same, down to each field."""
    assert min(_compared(30_000).values()) > 300, "a generator that makes strangers only would prove nothing"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_matcher_agrees_with_regular_expressions_whole(proof: Callable[[str, str], None]) -> None:
    """The same on a million."""
    taken = _compared(1_000_000)
    assert min(taken.values()) > 10_000
    proof(
        "hosts: the matcher and regular expressions agree on generated names",
        f"1000000 names, {sum(taken.values())} owned",
    )


def _compared(number: int) -> dict[str, int]:
    """How many of so many generated hosts each cloud owns, by both."""
    chance = random.Random(20261124)
    taken = dict.fromkeys(_RULES, 0)
    for _ in range(number):
        server = _random_server(chance)
        try:
            host: str | None = servers.cloud_host(servers.read(server.encode()))
        except (NotFound, Refused, MissingServer):
            host = None
        assert host == _registry(server.strip(" \n")), server
        if host is None:
            continue
        for cloud, (rule, other) in _RULES.items():
            found = _ours(rule, host)
            assert found == other(host), server
            taken[cloud] += found is not None
    return taken


@pytest.mark.parametrize(
    "host",
    [
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
        "public.ecr.aws",
        "europe-docker.pkg.dev",
        "gcr.io",
        "contoso.azurecr.io",
    ],
)
def test_every_byte_inserted_anywhere_is_refused_or_another_true_host(host: str) -> None:
    """PI-1: 256 bytes at every place of a host: what is still a host is one by its own full spelling."""
    for place in range(len(host) + 1):
        for number in range(256):
            raw = host[:place].encode() + bytes([number]) + host[place:].encode()
            try:
                server = servers.read(raw).sent
            except Refused:
                assert number < 0x21 or number > 0x7E or chr(number) in '"<>\\^`{|}'
                continue
            assert server == raw.strip(b" \t\r\n").decode(), "nothing is repaired"
            owners = {cloud: _ours(rule, server) for cloud, (rule, _) in _RULES.items()}
            assert owners == {
                cloud: other(owner) if (owner := _registry(server)) else None for cloud, (_, other) in _RULES.items()
            }
            if chr(number) in "@%#?":
                assert set(owners.values()) == {None}


# --- any registry, with its port -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param("ghcr.io", ("ghcr.io", ""), id="host"),
        pytest.param("GHCR.io", ("ghcr.io", ""), id="upper case"),
        pytest.param("https://ghcr.io", ("ghcr.io", ""), id="scheme"),
        pytest.param("HTTPS://ghcr.io/v2/", ("ghcr.io", ""), id="scheme in upper case"),
        pytest.param("ghcr.io:443", ("ghcr.io", ""), id="the port of https"),
        pytest.param("https://ghcr.io:443/team/app", ("ghcr.io", ""), id="the port of https with all around it"),
        pytest.param("reg.example:8443", ("reg.example", "8443"), id="another port"),
        pytest.param("https://Reg.example:8443/v2/team", ("reg.example", "8443"), id="another port with all around it"),
        pytest.param("reg.example:80", ("reg.example", "80"), id="the port of http"),
        pytest.param("reg.example:4430", ("reg.example", "4430"), id="a port that begins as that of https"),
        pytest.param("reg.example:1", ("reg.example", "1"), id="the first port"),
        pytest.param("reg.example:65535", ("reg.example", "65535"), id="the last port"),
        pytest.param("localhost:5000", ("localhost", "5000"), id="one label"),
        pytest.param("registry", ("registry", ""), id="one label without port"),
        pytest.param("10.0.0.1:5000", ("10.0.0.1", "5000"), id="an address"),
        pytest.param("reg.example//", ("reg.example", ""), id="an empty path"),
        pytest.param("https://index.docker.io/v1/", ("index.docker.io", ""), id="the hub"),
        pytest.param("docker.io", ("index.docker.io", ""), id="the hub in images' names"),
        pytest.param("registry-1.docker.io:443", ("index.docker.io", ""), id="the hub's registry"),
        pytest.param("registry.hub.docker.com", ("index.docker.io", ""), id="the hub's old name"),
        pytest.param("docker.io/library/busybox", ("index.docker.io", ""), id="an image of the hub"),
        pytest.param("docker.io/team/access-token", ("index.docker.io", ""), id="an image with a telling name"),
        pytest.param("docker.io:5000", ("docker.io", "5000"), id="another port is not the hub"),
        pytest.param("hub.docker.com", ("hub.docker.com", ""), id="the hub's site is no registry's name"),
        pytest.param("docker.io.evil.example", ("docker.io.evil.example", ""), id="a look-alike is itself"),
        pytest.param("reg.example/v1/access-token", ("reg.example", ""), id="another host has no such keys"),
        pytest.param("docker.io:5000/v1/access-token", ("docker.io", "5000"), id="nor has another port"),
    ],
)
def test_a_place_is_host_and_port(server: str, expected: tuple[str, str]) -> None:
    """In lower case, the port of `https` left out, the Hub by one name; and a name again for the same place."""
    found = servers.registry(server)
    assert (found.host, found.port) == expected
    again = servers.registry(found.name)
    assert (again.host, again.port, again.name) == (*expected, found.name)


@pytest.mark.parametrize(
    "server",
    [
        "",
        "https://",
        ":5000",
        "https://:443",
        "/v2/",
        "http://reg.example",
        "http://reg.example:443",
        "ftp://reg.example",
        "u@reg.example",
        "u:5000@reg.example",
        "reg.example:443@evil.example",
        "https://reg.example@evil.example:443",
        "reg.example:",
        "reg.example:/v2/",
        "reg.example:0",
        "reg.example:00443",
        "reg.example:0443",
        "reg.example:05000",
        "reg.example:65536",
        "reg.example:70000",
        "reg.example:100000",
        "reg.example:-1",
        "reg.example:+443",
        "reg.example:443:1",
        "reg.example:443:443",
        "reg.example:1:443",
        "reg.example::443",
        "reg.example:0x1bb",
        "reg.example:https",
        "reg.example:44 3",
        "reg.example:\u0664\u0664\u0663",
        "reg.example:\u00b2",
        "reg.example:\uff14\uff14\uff13",
        "[::1]",
        "[::1]:5000",
        "::1",
        "[reg.example]",
        "[reg.example]:5000",
        "reg.example?x",
        "reg.example/?x",
        "reg.example:5000?x",
        "reg.example#x",
        "reg.example:5000#x",
        "reg.example%2fevil",
        "reg.example:5000%2f",
        "reg.example.",
        ".reg.example",
        "reg..example",
        "-reg.example",
        "reg-.example",
        "reg_1.example",
        "re*.example",
        "reg.example\\evil",
        "reg.ex\u0430mple",
        "\u212aubernetes.example",
        "reg\u3002example",
        "reg.example:5000\n",
        " reg.example",
        "x" * 64 + ".example",
        ".".join(["x" * 60] * 5),
        "https://https://reg.example",
        "nerdctl-experimental://default/host/reg.example:443",
        "https://index.docker.io/v1/access-token",
        "https://index.docker.io/v1/refresh-token",
        "index.docker.io/v1/refresh-token",
        "https://docker.io:443/v1/access-token",
        "registry-1.docker.io/v1/access-token",
    ],
)
def test_what_is_no_place_is_refused(server: str) -> None:
    """Nothing is repaired; and what `docker login` keeps for itself below the Hub's `/v1/` is no registry."""
    with pytest.raises(NotMine):
        servers.registry(server)
    assert (servers.Authority(server).host, servers.Authority(server).port, servers.Authority(server).name) == (
        "",
        "",
        "",
    )


def test_a_place_agrees_with_a_regular_expression() -> None:
    """Random strings of the pieces that matter, and what is a registry for a cloud is a place without a port."""
    chance = random.Random(9)
    label = "(?!-)[a-z0-9-]{1,63}(?<!-)"
    whole = re.compile(
        rf"(?:https://)?(?P<host>{label}(?:\.{label})*)(?::(?P<port>[1-9][0-9]{{0,4}}))?(?P<path>/[^?#%@]*)?"
    )
    pieces = [
        "https://",
        "http://",
        "a",
        "b-c",
        ".",
        ":",
        "443",
        "0",
        "65535",
        "65536",
        "/",
        "?",
        "@",
        "[",
        "-",
        "docker.io",
    ]
    places = 0
    for _ in range(60_000):
        server = "".join(chance.choice(pieces) for _ in range(chance.randint(1, 6)))
        found = whole.fullmatch(server)
        expected = None
        if found and int(found["port"] or 1) <= 65535:
            port = "" if found["port"] in (None, "443") else found["port"]
            is_hub = found["host"] == "docker.io" and not port
            expected = "index.docker.io" if is_hub else found["host"], port
        authority = servers.Authority(server)
        assert (authority.host, authority.port) == (expected or ("", "")), server
        assert _registry(server) == (expected[0] if expected and not expected[1] else None), server
        places += authority.host != ""
    assert places > 1000


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param("ghcr.io", ("", "ghcr.io", "", ""), id="host"),
        pytest.param("HTTPS://GHCR.io:443/v2/", ("https", "ghcr.io", "", "/v2/"), id="all of it"),
        pytest.param("ghcr.io/Team/App", ("", "ghcr.io", "", "/Team/App"), id="a path as it was sent"),
        pytest.param("localhost:5000", ("", "localhost", "5000", ""), id="port"),
        pytest.param("http://ghcr.io/x", ("http", "", "", "/x"), id="a store's key"),
        pytest.param("//h:2376", ("", "", "", "//h:2376"), id="a key of a test"),
        pytest.param("user@ghcr.io", ("", "", "", ""), id="user info"),
    ],
)
def test_an_authority_is_read_once(server: str, expected: tuple[str, ...]) -> None:
    """The parts of a string, and the string itself as it was sent."""
    authority = servers.Authority(server)

    assert (authority.scheme, authority.host, authority.port, authority.path) == expected
    assert authority.sent == server


@pytest.mark.parametrize(
    ("server", "is_whole"),
    [
        pytest.param("reg.example", True, id="host"),
        pytest.param("reg.example:5000", True, id="port"),
        pytest.param("https://reg.example", True, id="scheme"),
        pytest.param("https://reg.example/", True, id="root"),
        pytest.param("https://index.docker.io/v1/", True, id="the hub"),
        pytest.param("reg.example/v2", True, id="the API"),
        pytest.param("https://reg.example:5000/v2/", True, id="the API on a port"),
        pytest.param("reg.example/team", False, id="path"),
        pytest.param("reg.example/v2/team", False, id="path below the API"),
        pytest.param("https://reg.example/v3/", False, id="another number"),
        pytest.param("reg.example//", False, id="two slashes"),
        pytest.param("reg.example/./", False, id="a dot"),
        pytest.param("reg.example/v2/../team", False, id="climbing"),
        pytest.param("reg.example/V2/", False, id="upper case"),
        pytest.param("reg.example/?x", False, id="query"),
        pytest.param("reg.example/%2f", False, id="escape"),
        pytest.param("https://index.docker.io/v1/access-token", False, id="a token of the hub"),
    ],
)
def test_the_whole_of_a_registry(server: str, *, is_whole: bool) -> None:
    """Only its root, or the API's: what is typed for a part of it is not for all of it."""
    assert servers.Authority(server).is_whole == is_whole


@pytest.mark.parametrize(
    "server",
    ["ghcr.io", "HTTPS://GHCR.io:443/v2/", "ghcr.io/Team/App", "localhost:5000/x", "docker.io/a", "user@ghcr.io"],
)
def test_the_registry_of_an_authority(server: str) -> None:
    """It is what its name alone would be read as, and has no path."""
    found, named = (
        one(servers.Authority(server)) for one in (lambda a: a.registry, lambda a: servers.Authority(a.name))
    )
    for part in servers.Authority.__slots__:
        assert getattr(found, part) == getattr(named, part), part
    assert found.is_whole


@pytest.mark.parametrize(
    ("server", "is_token"),
    [
        pytest.param("https://index.docker.io/v1/access-token", True, id="access"),
        pytest.param("https://index.docker.io/v1/refresh-token", True, id="refresh"),
        pytest.param("https://index.docker.io/v1/", False, id="the password"),
        pytest.param("index.docker.io/v1/access-token", False, id="no scheme"),
        pytest.param("/v1/access-token", False, id="no host"),
        pytest.param("https://index.docker.io/v1/access-token/", False, id="below"),
        pytest.param("https://index.docker.io.evil.example/v1/access-token", False, id="another host"),
        pytest.param("https://evil.example/https://index.docker.io/v1/access-token", False, id="the hub in a path"),
    ],
)
def test_a_token_of_the_hub_is_known_by_its_whole_key(server: str, *, is_token: bool) -> None:
    """As docker writes it, and in no other spelling."""
    assert servers.Authority(server).is_hub_token == is_token


# --- places that credential files and settings name ------------------------------------------------------------------


def _place(url: str) -> tuple[str, str, int, str] | None:
    try:
        return hosts.endpoint(url)
    except NotFound:
        return None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://sts.googleapis.com/v1/token", ("https", "sts.googleapis.com", 443, "/v1/token")),
        ("https://STS.googleapis.com", ("https", "sts.googleapis.com", 443, "/")),
        ("HTTPS://a.example:8443/x?y=/z", ("https", "a.example", 8443, "/x?y=/z")),
        ("https://a.example?x", ("https", "a.example", 443, "/?x")),
        ("https://a.example:443", ("https", "a.example", 443, "/")),
        ("https://10.0.0.1/x", ("https", "10.0.0.1", 443, "/x")),
        ("https://single", ("https", "single", 443, "/")),
        ("http://localhost:8080/token", ("http", "localhost", 8080, "/token")),
        ("http://127.0.0.1", ("http", "127.0.0.1", 80, "/")),
        ("http://169.254.169.254/latest/api", ("http", "169.254.169.254", 80, "/latest/api")),
        ("http://[::1]:99/", ("http", "[::1]", 99, "/")),
        ("http://[fd00:ec2::254]/latest", ("http", "[fd00:ec2::254]", 80, "/latest")),
        ("https://[::1]", ("https", "[::1]", 443, "/")),
    ],
)
def test_an_endpoint_is_read(url: str, expected: tuple[str, str, int, str]) -> None:
    """Scheme, host, port and target, as they are."""
    assert _place(url) == expected


_NO_ENDPOINTS = [
    "",
    "https",
    "https:",
    "https:/a.example",
    "https://",
    "https:///x",
    "https://:443",
    "//a.example/",
    "a.example",
    "a.example/x",
    "/x",
    "ftp://a.example",
    "file:///etc/passwd",
    "javascript://a.example",
    "http+unix://a.example",
    "https://https://a.example",
    "http://a.example",
    "http://a.example/",
    "http://sts.googleapis.com",
    "http://10.0.0.1",
    "http://192.168.0.1",
    "http://8.8.8.8",
    "http://0.0.0.0",
    "http://[::]",
    "http://[fe80::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[::1",
    "http://::1",
    "https://[fd00::1]",
    "http://localhost.",
    "http://localhost.evil.example",
    "http://evil.localhost",
    "http://127.0.0.1.evil.example",
    "http://127.1",
    "http://127.0.1",
    "http://2130706433",
    "http://0x7f.0.0.1",
    "http://0177.0.0.1",
    "http://127.0.0.01",
    "http://127.0.0.08",
    "http://127.0.0.256",
    "http://127.999.999.999",
    "http://127.0.0.1.",
    "http://127.0.0.",
    "http://127..0.1",
    "http://127.0.0.1.1",
    "http://169.254.169.254.evil.example",
    "http://169.254.999.1",
    "http://0169.254.1.1",
    "http://169.255.0.1",
    "http://168.254.0.1",
    "http://128.0.0.1",
    "http://metadata.google.internal",
    "http://user@127.0.0.1",
    "http://127.0.0.1@evil.example",
    "http://localhost:80@evil.example/",
    "https://user@a.example",
    "https://user:word@a.example",
    "https://evil.example\\@a.example",
    "https://evil.example\\.a.example",
    "https://a.example#",
    "https://a.example/#x",
    "https://a.example#@evil.example",
    "https://a.example:",
    "https://a.example:/",
    "https://a.example:0x50",
    "https://a.example:-1",
    "https://a.example:+80",
    "https://a.example: 80",
    "https://a.example:65536",
    "https://a.example:000443",
    "https://a.example:443:443",
    "https://a.example:https",
    "https://a.example:\u0664\u0664\u0663",
    "https://a..example",
    "https://.a.example",
    "https://a.example.",
    "https://-a.example",
    "https://a-.example",
    "https://a_b.example",
    "https://a%2eexample",
    "https://a.example%2f.evil.example",
    "https://a.example,evil.example",
    "https://a.example;evil.example",
    "https://a example",
    "https://a.example/x y",
    "https://a.example/x\r\nHost: evil.example",
    "https://a.example/\0",
    "https://a.example\n",
    "\nhttps://a.example",
    " https://a.example",
    "https://\u212a.example",
    "https://a.ex\u0430mple",
    "https://a\u3002example",
    "https://a.example/\xe9",
    "https://" + "x" * 64 + ".example",
    "https://*.example",
    "https://a.example\t/",
]


@pytest.mark.parametrize("url", _NO_ENDPOINTS)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    """Nothing is repaired, and nothing goes in clear to a host that is not this machine's."""
    assert _place(url) is None


_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<host>\[::1\]|\[[Ff][Dd]00:[Ee][Cc]2::254\]|"
    r"(?:(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!-\"$-~]*)?)"
)


def _local(host: str) -> bool:
    if host in {"localhost", "[::1]", "[fd00:ec2::254]"}:
        return True
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local


def test_endpoints_agree_with_a_regular_expression_and_ipaddress() -> None:
    """On 50 000 urls of pieces that go wrong, an independent implementation says the same."""
    chance = random.Random(20261125)
    pieces = [
        "a",
        "example",
        "127",
        "0",
        "1",
        "169",
        "254",
        "08",
        "256",
        "localhost",
        "[::1]",
        "x-y",
        "-x",
        "",
        "x" * 63,
    ]
    pieces += ["\u212a", "x" * 64, "*", "a_b", "999", "[fd00:ec2::254]", "X"]
    taken = local = 0
    for _ in range(50_000):
        start = chance.choice(("http://", "https://", "https://", "HTTPS://", "http:/", "ftp://", "://", ""))
        user = chance.choice(("", "", "", "", "", "u@", "u:p@", "a.example\\@"))
        kind = chance.randrange(3)
        if kind == 0:
            host = ".".join(chance.choice(pieces) for _ in range(chance.randint(1, 5)))
        elif kind == 1:
            host = chance.choice(("localhost", "[::1]", "[FD00:ec2::254]", "a.example", "sts.googleapis.com"))
        else:
            host = chance.choice(("127.", "169.254.", "10.")) + ".".join(
                str(chance.choice((0, 1, 9, 10, 255, 256, "00", "01", ""))) for _ in range(chance.randint(2, 3))
            )
        port = chance.choice(("", "", "", ":443", ":80", ":0", ":65535", ":65536", ":", ":x", ":99999", ":\u0661"))
        end = chance.choice(
            ("", "", "/", "/x", "?y", "/x?y", "#", "/#", "/ ", "/\n", "\n", "/@b", "\\", "/\x7f", "/\xe9")
        )
        url = start + user + host + port + end
        expected = None
        if (found := _URL.fullmatch(url)) and int(found["port"] or 1) <= 65535:
            scheme, name = found["scheme"].lower(), found["host"].lower()
            target = found["target"] if found["target"].startswith("/") else "/" + found["target"]
            if _local(name) or (scheme == "https" and "[" not in name):
                number = int(found["port"]) if found["port"] else {"http": 80, "https": 443}[scheme]
                expected = (scheme, name, number, target)
        assert _place(url) == expected, url
        taken += expected is not None
        local += expected is not None and _local(expected[1])
    assert min(taken, local) > 1000


@pytest.mark.parametrize(
    ("host", "universe"),
    [
        *((f"{service}.googleapis.com", "googleapis.com") for service in ("oauth2", "sts", "iamcredentials")),
        ("www.googleapis.com", "googleapis.com"),
        ("accounts.google.com", "googleapis.com"),
        ("sts.us-east1.rep.googleapis.com", "googleapis.com"),
        ("sts.us.rep.googleapis.com", "googleapis.com"),
        ("sts.europe-west12.googleapis.com", "googleapis.com"),
        ("us-east1.sts.googleapis.com", "googleapis.com"),
        ("us-east1-sts.googleapis.com", "googleapis.com"),
        ("us-iamcredentials.googleapis.com", "googleapis.com"),
        ("sts-acme.p.googleapis.com", "googleapis.com"),
        ("oauth2.s3nsapis.fr", "s3nsapis.fr"),
        ("sts.s3nsapis.fr", "s3nsapis.fr"),
    ],
)
def test_a_token_service_of_google_is_known(host: str, universe: str) -> None:
    """Global, regional and private, in the universe that is asked about and in no other."""
    assert is_service(host, universe)
    assert not is_service(host, "other.example")


_OTHER_SERVICES = [
    "googleapis.com",
    "sts.googleapis.com.evil.example",
    "sts.googleapis.co",
    "sts.googleapis.com.",
    ".sts.googleapis.com",
    "evil.example",
    "xsts.googleapis.com",
    "stsx.googleapis.com",
    "sts.evil.example",
    "sts-googleapis.com",
    "stsgoogleapis.com",
    "evil-googleapis.com",
    "sts.googleapis.com:443",
    "sts.googleapis.com/x",
    "user@sts.googleapis.com",
    "STS.googleapis.com",
    "storage.googleapis.com",
    "sts.storage.googleapis.com",
    "oauth2.storage.googleapis.com",
    "oauth2.storage-download.googleapis.com",
    "oauth2.storage-upload.googleapis.com",
    "iamcredentials.commondatastorage.googleapis.com",
    "sts.us.googleapis.com",
    "sts.us-east.googleapis.com",
    "sts.a.b.googleapis.com",
    "a.b.sts.googleapis.com",
    "sts..googleapis.com",
    "-sts.googleapis.com",
    "1us-sts.googleapis.com",
    "us-east1--sts.googleapis.com",
    "sts-.p.googleapis.com",
    "sts--x.p.googleapis.com",
    "sts.p.googleapis.com",
    "sts-acme.q.googleapis.com",
    "stsacme.p.googleapis.com",
    "sts-a.b.p.googleapis.com",
    "oauth2.s3nsapis.fr",
    "www.googleapis.com.evil.example",
    "www.s3nsapis.fr",
    "accounts.google.com.evil.example",
    "accounts.google.co",
    "accounts-google.com",
    "myaccounts.google.com",
    "metadata.google.internal",
    "st\u0455.googleapis.com",
    "sts.us-\u0661.rep.googleapis.com",
    "sts.us-east\u0661.googleapis.com",
    "<location>.sts.googleapis.com",
    "{}.googleapis.com",
    "",
]


@pytest.mark.parametrize("host", _OTHER_SERVICES)
def test_what_is_no_token_service_of_google_is_refused(host: str) -> None:
    """Look-alikes, other services of Google's, and names below its domain that a customer chooses."""
    assert not is_service(host, UNIVERSE)


def test_token_services_agree_with_a_regular_expression() -> None:
    """On 50 000 hosts of pieces, an independent implementation says the same."""
    chance = random.Random(20261126)
    service, place = r"(?:oauth2|sts|iamcredentials)", _LOCATION
    pattern = re.compile(
        rf"(?:{service}|{service}\.{place}\.rep|{service}\.[a-z]+-[a-z0-9]*[0-9]|{place}\.{service}|{place}-{service}"
        rf"|{service}-(?![a-z0-9-]{{64}})[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.p|www)\.googleapis\.com|accounts\.google\.com"
    )
    pieces = ["oauth2", "sts", "iamcredentials", "us", "us-east1", "storage", "rep", "p", "sts-x", "us-sts", "www", ""]
    pieces += ["us-east1-oauth2", "sts-", "-sts", "sts--x", "us-", "accounts", "google", "storage-upload", "xn--p1ai"]
    taken = 0
    for _ in range(50_000):
        labels = [chance.choice(pieces) for _ in range(chance.choice((1, 1, 2, 2, 3, 4)))]
        host = ".".join(labels) + chance.choice((".googleapis.com",) * 6 + (".com", "", ".googleapis.com.evil.example"))
        assert is_service(host, UNIVERSE) == bool(pattern.fullmatch(host)), host
        taken += bool(pattern.fullmatch(host))
    assert taken > 1000


@pytest.mark.parametrize(
    ("region", "partition"),
    [(row[1][1], row[1][0]) for row in _GENUINE_ECR if row[1][3:] == ("", "", "")],
)
def test_the_partition_of_a_region(region: str, partition: str) -> None:
    """An alias of a registry is what the registry's own plain host would say."""
    place = ecr_of(_ACCOUNT, region)
    flags = (place.fips, place.dual_stack, place.public)
    assert (place.partition, place.region, place.account, flags) == (partition, region, _ACCOUNT, (False,) * 3)


def test_regions_agree_with_regular_expressions() -> None:
    """Whatever is no region of a partition is none: 20 000 strings of pieces, and each region is in one partition."""
    chance = random.Random(20261127)
    pieces = [
        "us",
        "eu",
        "cn",
        "eusc",
        "de",
        "gov",
        "iso",
        "isob",
        "isoe",
        "isof",
        "west",
        "north",
        "1",
        "12",
        "100",
        "",
    ]
    pieces += ["s3", "EU", "<aws>", "\u0661", "*", "west.evil"]
    starts = ["us", "eu", "cn", "ap", "us-gov", "eusc-de", "us-iso", "us-isob", "eu-isoe", "us-isof", "US", "x", ""]
    partitions = {partition: re.compile(pattern) for partition, pattern in _REGIONS.items()}
    seen = set()
    for _ in range(20_000):
        region = "-".join([chance.choice(starts), *(chance.choice(pieces) for _ in range(chance.choice((1, 2, 2, 3))))])
        expected = [partition for partition, pattern in partitions.items() if pattern.fullmatch(region)]
        assert len(expected) <= 1
        try:
            found = [ecr_of(_ACCOUNT, region).partition]
        except NotFound:
            found = []
        assert found == expected, region
        seen.update(found)
    assert seen == set(_REGIONS)


# --- what a client may send ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "separator",
    [
        pytest.param(text, id=name)
        for name, text in {
            "line feed": "\n",
            "carriage return": "\r",
            "both": "\r\n",
            "vertical tab": "\v",
            "form feed": "\f",
            "next line": "\x85",
            "line separator": "\u2028",
            "NUL": "\0",
        }.items()
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_line_end_inside_is_refused(separator: str, encoding: str) -> None:
    """PI-2: two lines are neither joined to one host nor cut to the first."""
    raw = f"registry.example{separator}evil.example".encode(encoding, "replace").replace(b"?", b"\xe2\x80\xa8")
    with pytest.raises(Refused):
        servers.read(raw)


@pytest.mark.parametrize(
    "raw", [b"", b" ", b"\n", b"\r\n", b"\t", b" \t\r\n ", b"https://", b"http://", b"https:// \n", b"://", b"//", b":"]
)
def test_no_server_is_missing(raw: bytes) -> None:
    """PI-3: nothing, blanks or a mere scheme name no server, and never stand for any."""
    with pytest.raises(MissingServer) as raised:
        servers.read(raw)
    assert raised.value.message == "no credentials server URL"


@pytest.mark.parametrize(
    ("raw", "server"),
    [
        (b"ghcr.io", "ghcr.io"),
        (b"ghcr.io\n", "ghcr.io"),
        (b"  ghcr.io \r\n", "ghcr.io"),
        (b"https://index.docker.io/v1/", "https://index.docker.io/v1/"),
        (b"[::1]:5000", "[::1]:5000"),
        (b"nerdctl-experimental://host/x?ns=y", "nerdctl-experimental://host/x?ns=y"),
        (b"pycreds_test_9f3a", "pycreds_test_9f3a"),
        (b"x" * 1024, "x" * 1024),
    ],
)
def test_a_server_is_what_was_sent_without_the_blanks_around(raw: bytes, server: str) -> None:
    """PI-9: and sent again it is the same."""
    assert servers.read(raw).sent == server
    assert servers.read(server.encode()).sent == server


def test_what_is_accepted_comes_back_unchanged() -> None:
    """PI-9: for 20 000 strings of the bytes that clients send, reading, writing and reading again changes nothing."""
    chance = random.Random(9)
    alphabet = bytes(range(0x20, 0x7F)) + b"\n\t/:.@"
    for _ in range(20_000):
        raw = bytes(chance.choice(alphabet) for _ in range(chance.randint(0, 30)))
        try:
            server = servers.read(raw).sent
        except (Refused, MissingServer):
            continue
        assert server in raw.decode()
        assert servers.read(server.encode()).sent == server


def test_an_over_long_server_is_refused() -> None:
    """One byte more than the longest is refused, not cut."""
    with pytest.raises(Refused):
        servers.read(b"x" * 1025)


# --- what a store may answer for -------------------------------------------------------------------------------------

_HUB = "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        *((_HUB, name) for name in ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")),
        *(
            (_HUB, asked)
            for asked in ("https://index.docker.io/v1", "https://docker.io/", "docker.io:443", "docker.io/v1")
        ),
        ("docker.io", _HUB),
        ("registry-1.docker.io", "index.docker.io"),
        ("docker.io/v2/", "docker.io"),
        ("ghcr.io", "ghcr.io:443"),
        ("ghcr.io:443", "ghcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io:443"),
        ("https://ghcr.io/v1/", "https://ghcr.io/v2"),
        ("http://reg.example", "http://reg.example:80/v1/"),
        ("https://gcr.io/proj", "gcr.io/proj/img"),
        ("gcr.io/proj/img", "https://gcr.io/proj/img"),
        ("reg.example:5000", "https://reg.example:5000/v2/"),
        ("https://foobar.docker.io", "foobar.docker.io"),
    ],
)
def test_an_entry_answers_for_other_spellings(stored: str, asked: str) -> None:
    """P29: clients spell one registry in several ways."""
    assert stored in servers.Authority(asked).spellings()


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        pytest.param("https://foobar.docker.io:2376", "http://foobar.docker.io:2376", id="https asked as http"),
        pytest.param("http://foobar.docker.io:2376", "https://foobar.docker.io:2376", id="http asked as https"),
        pytest.param("http://foobar.docker.io", "foobar.docker.io", id="http asked without scheme"),
        pytest.param("https://foobar.docker.io:1234", "https://foobar.docker.io:5678", id="other port"),
        pytest.param(
            "https://foobar.docker.io:1234/one/two", "https://foobar.docker.io:1234/five/six", id="other path"
        ),
        pytest.param("https://foobar.docker.io:2376", "foobar.docker.io", id="port asked without port"),
        pytest.param("reg.example:80", "reg.example", id="80 is not the default of https"),
        pytest.param("reg.example", "http://reg.example", id="no scheme is not http"),
        pytest.param("reg.example:443", "http://reg.example", id="443 is not http"),
        pytest.param("gcr.io/proj/img", "gcr.io", id="a path is not the host"),
        pytest.param("gcr.io", "gcr.io/proj", id="the host is asked for by itself"),
        pytest.param("gcr.io/pro", "gcr.io/proj/img", id="a path is cut at slashes"),
        pytest.param("gcr.io/proj/img", "gcr.io/proj", id="a longer path"),
        pytest.param("docker.io", "foobar.docker.io", id="a parent"),
        pytest.param("foobar.docker.io", "docker.io", id="a child"),
        pytest.param(_HUB, "docker.io/library/ubuntu", id="the hub for a path"),
        pytest.param(_HUB, "http://index.docker.io/v1/", id="the hub by http"),
        pytest.param(_HUB, "index.docker.io:5000", id="the hub by port"),
        pytest.param(_HUB, "evilindex.docker.io", id="the hub glued"),
        pytest.param(_HUB, "user@index.docker.io", id="the hub with user info"),
        pytest.param(_HUB, "https://index.docker.io/v1/?x", id="the hub with a query"),
        pytest.param(_HUB + "access-token", _HUB, id="a token of the hub for its host"),
        pytest.param(_HUB + "refresh-token", "docker.io", id="a token of the hub for its alias"),
        pytest.param(_HUB + "access-token", _HUB + "refresh-token", id="one token for the other"),
        pytest.param(_HUB + "access-token", "index.docker.io/v1/access-token", id="a token without scheme"),
        pytest.param(_HUB + "access-token", _HUB + "access-token/x", id="a token for a path"),
        pytest.param(_HUB, _HUB + "access-token", id="the password for a token"),
        pytest.param("/v1", ":443", id="no host"),
        pytest.param("https://", "https://:443", id="no host with scheme"),
    ],
)
def test_an_entry_never_answers_for_a_stranger(stored: str, asked: str) -> None:
    """P28, P30: schemes, ports, hosts and the Hub's token entries are never crossed."""
    assert stored not in servers.Authority(asked).spellings()


@pytest.mark.parametrize(
    "server",
    [
        "//foobar.docker.io:2376",
        "foobar.docker.io:2376",
        "//foobar.docker.io:2376?foo=bar",
        "https://foobar.docker.io:2376/one/two?foo=bar",
        "nerdctl-experimental://default/host/reg.example:443",
        "ftp://reg.example",
        "/v1",
        ":5000",
        "?x",
        "host/../x%2f",
    ],
)
def test_an_opaque_key_is_itself(server: str) -> None:
    """P30: what is no host of a registry is stored and found under its own name only."""
    assert servers.Authority(server).spellings()[0] == server
    if server != "foobar.docker.io:2376":
        assert servers.Authority(server).spellings() == (server,)


_KEY = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>[^:/]+)(?::(?P<port>[0-9]+))?(?P<path>/.*)?")


def _origin(key: str) -> tuple[str, str, str]:
    """Scheme, host and port that a key speaks of, the Hub's names as one."""
    found = _KEY.fullmatch(key)
    assert found, key
    scheme = found["scheme"] or "https"
    port = found["port"] or {"https": "443", "http": "80"}[scheme]
    host = "hub" if found["host"] in _HUB_NAMES and (scheme, port) == ("https", "443") else found["host"]
    return scheme, host, port


def test_spellings_hold_what_the_policy_says() -> None:
    """The asked key first, none twice, one origin, no token of the Hub but the asked one; and the policy is mutual."""
    names = ("ghcr.io", "reg.example", "docker.io", "index.docker.io", "registry-1.docker.io", "localhost")
    paths = (
        "",
        "/",
        "/v1",
        "/v1/",
        "/v2",
        "/v2/",
        "/proj",
        "/proj/img",
        "/v1/access-token",
        "/v1/refresh-token",
        "/v1/x/",
    )
    ports = ("", ":443", ":80", ":5000")
    asking = [
        f"{scheme}{name}{port}{path}"
        for scheme in ("", "https://", "http://")
        for name in names
        for port in ports
        for path in paths
    ]
    known = {server: servers.Authority(server).spellings() for server in asking}
    for asked, keys in known.items():
        assert keys[0] == asked
        assert len(set(keys)) == len(keys) <= 60
        for key in keys:
            assert _origin(key) == _origin(asked)
            assert key == asked or not key.endswith(("access-token", "refresh-token"))
            if key in known and not asked.endswith(("-token", "/proj", "/img", "/x/")):
                is_hub_with_port = _origin(asked)[1] == "hub" and ":443" in asked
                assert asked in known[key] or is_hub_with_port, (asked, key)
    assert servers.Authority("https://ghcr.io").spellings()[1].startswith("https://"), (
        "the nearest spelling comes first"
    )


def test_every_error_of_a_host_is_one_of_the_protocol() -> None:
    """Whatever the bytes, a helper error comes out and nothing else."""
    chance = random.Random(1)
    for _ in range(20_000):
        raw = chance.randbytes(chance.randint(0, 12))
        try:
            authority = servers.read(raw)
            authority.spellings()
            servers.registry(authority.sent)
        except HelperError:
            continue
