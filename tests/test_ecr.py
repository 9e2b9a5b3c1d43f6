"""docker-credential-ecr from outside: true host names over TLS against a fake AWS that checks every signature."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socketserver
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

import botocore
import pytest

from credhelpers.exchanges import ecr as source
from credhelpers.identities import aws_errors
from credhelpers.identities.aws_selectors import VARIABLES
from credhelpers.sources.ecr import Ecr
from tests.fakes.aws import HOSTS, KEY_ID, SECRET, SECRET_IN_ERRORS, FakeAws, signer
from tests.fakes.tls import CertificateAuthority, Request, Response, Site
from tests.harness import BIN, NOWHERE, Result, environment, need, patience
from tests.harness import loaded_call as call
from tests.routes import Known, age, host_key_of, minter_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
API = "api.ecr.eu-west-1.amazonaws.com"
ROLE = "arn:aws:iam::111122223333:role/puller"
KEY_LINES = f"aws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
SECRETS = (SECRET, SECRET_IN_ERRORS, "made-up")  # every secret of these tests and of the fake begins with the last


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    with FakeAws(authority) as fake:
        yield fake


@pytest.fixture
def env(aws: FakeAws, home: Path) -> dict[str, str]:
    """A user with a key in the environment and no token cache."""
    return environment(home, **aws.environment(), CREDHELPERS_CACHE_DIR="", AWS_EC2_METADATA_DISABLED="true")


@pytest.fixture
def bare(env: dict[str, str]) -> dict[str, str]:
    """The same user without that key."""
    return {name: value for name, value in env.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


def get(env: dict[str, str], server: str = PRIVATE) -> Result:
    return call("ecr", "get", server, env)


def config(home: Path, text: str, name: str = "config") -> None:
    folder = home / ".aws"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def failure(result: Result, words: str, command: str) -> None:
    """`get` failed with these words on standard output and a hint that names `command`, and quoted nothing."""
    assert result.code == 1, result
    assert re.fullmatch(rf"[^\n]*{words}[^\n]*\n", result.out.decode()), result
    assert result.told
    assert re.search(rf"; .*{re.escape(command)}.* \[", result.err.decode()), result
    assert len(result.out) <= 200, result
    assert len(result.err) <= 400, result
    for secret in SECRETS:
        assert secret.encode() not in result.out + result.err, result


def nobody(result: Result) -> None:
    """There is no identity: not found, with a line that says so and who has the registry."""
    assert result.is_absent, result
    assert result.told == "ecr-no-identity"
    assert b"a built-in rule of ecr has this host" in result.err


# --- hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "asked"),
    [
        pytest.param(PRIVATE, API, id="commercial"),
        pytest.param(f"https://{PRIVATE}/v2/", API, id="as a URL"),
        pytest.param(f"{PRIVATE.upper()}:443", API, id="upper case and port"),
        pytest.param("111122223333.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws", id="dual-stack"),
        pytest.param(
            "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com", id="FIPS"
        ),
        pytest.param("111122223333.dkr-ecr-fips.us-east-1.on.aws", "ecr-fips.us-east-1.api.aws", id="FIPS dual-stack"),
        pytest.param(
            "111122223333.dkr.ecr.us-gov-west-1.amazonaws.com", "api.ecr.us-gov-west-1.amazonaws.com", id="GovCloud"
        ),
        pytest.param(
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn", id="China"
        ),
        pytest.param(
            "111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
            "ecr.cn-north-1.api.amazonwebservices.com.cn",
            id="China dual-stack",
        ),
        pytest.param(
            "111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu", "api.ecr.eusc-de-east-1.amazonaws.eu", id="sovereign"
        ),
        pytest.param("111122223333.dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov", id="iso"),
        pytest.param(
            "111122223333.dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "api.ecr.us-isob-east-1.sc2s.sgov.gov", id="iso-b"
        ),
        pytest.param(
            "111122223333.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk", id="iso-e"
        ),
        pytest.param(
            "111122223333.dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "api.ecr.us-isof-south-1.csp.hci.ic.gov", id="iso-f"
        ),
        pytest.param("public.ecr.aws", "api.ecr-public.us-east-1.amazonaws.com", id="public"),
        pytest.param("ecr-public.aws.com", "ecr-public.us-east-1.api.aws", id="public dual-stack"),
    ],
)
def test_the_host_says_which_api_is_asked(aws: FakeAws, env: dict[str, str], server: str, asked: str) -> None:
    """Each form of host leads to its own endpoint and no other, signed for its region, whatever AWS_REGION says."""
    env |= {"AWS_REGION": "ap-south-1", "AWS_DEFAULT_REGION": "ap-south-1"}
    answer = get(env, server).credential
    assert answer == {"ServerURL": server, "Username": "AWS", "Secret": "made-up-password-1"}
    assert aws.proxy.asked == [f"{asked}:443"]
    assert [json.loads(request.body) for request in aws.requests] == [{}]


def test_fips_by_the_environment(aws: FakeAws, env: dict[str, str]) -> None:
    """AWS_USE_FIPS_ENDPOINT makes a plain host ask the FIPS endpoint."""
    assert get(env | {"AWS_USE_FIPS_ENDPOINT": "true"}, "111122223333.dkr.ecr.us-east-1.amazonaws.com").credential
    assert aws.proxy.asked == ["api.ecr-fips.us-east-1.amazonaws.com:443"]


FIPS, DUAL = "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"


@pytest.mark.parametrize("place", ["environment", "profile"])
@pytest.mark.parametrize(
    ("server", "switches", "asked"),
    [
        pytest.param(
            "111122223333.dkr.ecr.us-east-1.amazonaws.com", [DUAL, FIPS], "ecr-fips.us-east-1.api.aws", id="both"
        ),
        pytest.param(PRIVATE, [DUAL], "ecr.eu-west-1.api.aws", id="dual-stack"),
        pytest.param("111122223333.dkr-ecr.us-east-1.on.aws", [FIPS], "ecr-fips.us-east-1.api.aws", id="on dual-stack"),
        pytest.param("public.ecr.aws", [FIPS], "api.ecr-public.us-east-1.amazonaws.com", id="public FIPS"),
        pytest.param("public.ecr.aws", [DUAL], "ecr-public.us-east-1.api.aws", id="public dual-stack"),
        pytest.param("public.ecr.aws", [DUAL, FIPS], "ecr-public.us-east-1.api.aws", id="public, both"),
        pytest.param("ecr-public.aws.com", [FIPS], "ecr-public.us-east-1.api.aws", id="public on dual-stack"),
    ],
)
def test_a_switch_for_all_services(
    aws: FakeAws, env: dict[str, str], home: Path, server: str, switches: list[str], asked: str, place: str
) -> None:
    """1.A8, 1.A9: it turns on what a service has, and where that has no such endpoint the plain one is asked."""
    if place == "environment":
        env |= dict.fromkeys(switches, "true")
    else:
        config(home, "[default]\n" + "".join(f"{name.removeprefix('AWS_').lower()} = true\n" for name in switches))
    assert get(env, server).credential
    assert aws.proxy.asked == [f"{asked}:443"]


@pytest.mark.parametrize(
    ("server", "more", "asked"),
    [
        pytest.param("111122223333.dkr-ecr.eu-west-1.on.aws", {}, "sts.eu-west-1.api.aws", id="by the host"),
        pytest.param(PRIVATE, {DUAL: "true"}, "sts.eu-west-1.api.aws", id="by the variable"),
        pytest.param(PRIVATE, {}, "sts.eu-west-1.amazonaws.com", id="neither"),
    ],
)
@pytest.mark.parametrize("kind", ["role", "web identity"])
def test_the_role_for_a_dual_stack_host(
    aws: FakeAws, bare: dict[str, str], home: Path, server: str, more: dict[str, str], asked: str, kind: str
) -> None:
    """1.A9: a network without IPv4 reaches STS, too."""
    if kind == "role":
        assumed(home)
        bare["AWS_PROFILE"] = "deploy"
    else:
        web_identity(home, bare)
    assert get(bare | more, server).credential
    assert aws.requests[0].host == asked


CHINESE = "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize("kind", ["profile", "web identity", "web identity of a profile", "chain"])
@pytest.mark.parametrize(("server", "partition"), [(CHINESE, "aws"), (PRIVATE, "aws-cn"), (PRIVATE, "aws-us-gov")])
def test_a_role_of_another_partition(
    aws: FakeAws, bare: dict[str, str], home: Path, kind: str, server: str, partition: str
) -> None:
    """1.A12: it is not asked for, whoever named it: neither who we are nor a web identity token goes there."""
    role = ROLE.replace(":aws:", f":{partition}:")
    config(home, KEY_LINES.join(("[base]\n", "")), "credentials")
    if kind == "web identity":
        web_identity(home, bare)
        bare["AWS_ROLE_ARN"] = role
    elif kind == "web identity of a profile":
        (home / "token").write_text("made-up-web-identity")
        config(home, f"[default]\nrole_arn = {role}\nweb_identity_token_file = {home}/token\n")
    elif kind == "chain":
        middle = f"[profile middle]\nrole_arn = {role}\nsource_profile = base\n"
        config(home, f"{middle}[default]\nrole_arn = {role}2\nsource_profile = middle\n")
    else:
        config(home, f"[default]\nrole_arn = {role}\nsource_profile = base\n")
    failure(get(bare, server), "role is of another partition", "printenv AWS_ROLE_ARN")
    assert aws.requests == []


@pytest.mark.parametrize("name", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_an_empty_profile_is_none(aws: FakeAws, bare: dict[str, str], home: Path, name: str) -> None:
    """1.A5: compose files set variables to nothing; the default profile counts, or what another variable names."""
    config(
        home,
        f"[default]\n{KEY_LINES}[other]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = made-up\n",
        "credentials",
    )
    aws.keys["AKIDOTHER"] = type(aws.keys[KEY_ID])("made-up")
    assert get(bare | {name: ""}).credential
    other = {"AWS_PROFILE": "AWS_DEFAULT_PROFILE", "AWS_DEFAULT_PROFILE": "AWS_PROFILE"}[name]
    assert get(bare | {name: "", other: "other"}).credential
    assert [signer(request) for request in aws.requests] == [KEY_ID, "AKIDOTHER"]


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("111122223333.dkr.ecr.zz-nowhere-1.amazonaws.com", id="no such geography"),
        pytest.param("111122223333.dkr.ecr.cn-nowhere-1.on.aws", id="another partition's region"),
        pytest.param("111122223333.dkr.ecr.eu-west-1.amazonaws.com.attacker.example", id="suffix in the middle"),
        pytest.param("attacker.example/111122223333.dkr.ecr.eu-west-1.amazonaws.com", id="host in the path"),
    ],
)
def test_no_request_leaves_for_a_doubtful_host(aws: FakeAws, env: dict[str, str], server: str) -> None:
    """A region or a host that AWS does not have is neither signed for nor asked."""
    assert get(env, server).code == 1
    assert aws.proxy.asked == []


def test_an_unknown_region_is_said_to_be_one(env: dict[str, str]) -> None:
    """A region that botocore has not heard of may be new: the hint says how to renew it."""
    failure(get(env, "111122223333.dkr.ecr.zz-nowhere-1.amazonaws.com"), "does not know", "install --upgrade botocore")


def in_process(env: dict[str, str], code: str) -> str:
    """What a piece of Python prints that drives the source inside a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd="/", capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_a_region_of_another_partition_is_never_signed_for(aws: FakeAws, env: dict[str, str]) -> None:
    """Even if the host rules were wrong, botocore's own table must agree with the host's domain."""
    said = in_process(
        env,
        "from credhelpers.exchanges.ecr_hosts import EcrHost\n"
        "from credhelpers.exchanges.ecr import authorization_token\n"
        "host = EcrHost({'partition': 'aws-cn', 'region': 'eu-west-1', 'account': '1'})\n"
        "try: authorization_token(host, {})\n"
        "except Exception as error: print(error)",
    )
    assert said == "the registry's region does not belong to the registry's domain\n"
    assert aws.proxy.asked == []


def test_an_endpoint_outside_the_partition_is_never_asked(aws: FakeAws, env: dict[str, str]) -> None:
    """If botocore came up with an endpoint in another domain, the request would not leave."""
    said = in_process(
        env,
        "from credhelpers.exchanges import ecr as exchange\n"
        "from credhelpers.exchanges.ecr_hosts import ecr\n"
        "exchange._DOMAINS['aws'] = ('elsewhere.example',)\n"
        f"try: exchange.authorization_token(ecr('{PRIVATE}'), {{}})\n"
        "except Exception as error: print(error)",
    )
    assert said == "botocore would ask an endpoint outside the registry's region and partition\n"
    assert aws.requests == []


# --- endpoints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL"])
def test_an_endpoint_of_the_environment(aws: FakeAws, env: dict[str, str], variable: str) -> None:
    """A private endpoint is asked instead of the public one."""
    name = "vpce-0a1b.api.ecr.eu-west-1.vpce.amazonaws.com"
    aws.routes[name] = aws.site.port
    result = get(env | {variable: f"https://{name}"})
    failure(result, "certificate", "AWS_CA_BUNDLE")  # the fake has none for that name, which proves who was asked
    assert set(aws.proxy.asked) == {f"{name}:443"}


@pytest.mark.parametrize("place", ["environment", "profile", "services"])
def test_a_plain_endpoint_on_this_machine(aws: FakeAws, env: dict[str, str], home: Path, place: str) -> None:
    """http is good enough for loopback, past every proxy, wherever it is set."""
    token = base64.b64encode(b"AWS:made-up-local").decode()
    data = {"authorizationData": [{"authorizationToken": token, "expiresAt": time.time() + 43200}]}
    with Site(lambda _: Response(200, json.dumps(data).encode())) as local:
        url = f"http://127.0.0.1:{local.port}"
        if place == "environment":
            env["AWS_ENDPOINT_URL_ECR"] = url
        elif place == "profile":
            config(home, f"[default]\nendpoint_url = {url}\n")
        else:
            config(home, f"[default]\nservices = here\n[services here]\necr =\n  endpoint_url = {url}\n")
        assert (
            get(env | {"HTTP_PROXY": aws.proxy.url, "ALL_PROXY": aws.proxy.url}).credential["Secret"] == "made-up-local"
        )
        assert aws.proxy.asked == []
        assert get(env | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}).credential["Secret"] == "made-up-password-1"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://ecr.example", id="plain"),
        pytest.param("http://127.0.0.1.attacker.example", id="looks like loopback"),
        pytest.param("http://localhost@attacker.example", id="loopback as user"),
        pytest.param("ftp://127.0.0.1", id="another scheme"),
    ],
)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL"])
def test_a_plain_endpoint_elsewhere_is_refused(aws: FakeAws, env: dict[str, str], variable: str, url: str) -> None:
    """Nothing that holds a secret goes over a network in clear."""
    failure(get(env | {variable: url, "HTTP_PROXY": aws.proxy.url}), "not https", "printenv AWS_ENDPOINT_URL_ECR")
    assert aws.proxy.asked == []


def test_a_plain_endpoint_of_sts_elsewhere_is_refused(aws: FakeAws, bare: dict[str, str], home: Path) -> None:
    """The same holds for the service that assumes the role."""
    web_identity(home, bare)
    result = get(bare | {"AWS_ENDPOINT_URL_STS": "http://sts.example", "HTTP_PROXY": aws.proxy.url})
    failure(result, "not https", "printenv AWS_ENDPOINT_URL_ECR")
    assert aws.proxy.asked == []


@pytest.mark.parametrize(
    ("status", "words", "command"),
    [
        pytest.param(301, "redirect", "AWS_ENDPOINT_URL", id="301"),
        pytest.param(302, "redirect", "AWS_ENDPOINT_URL", id="302"),
        pytest.param(303, "redirect", "AWS_ENDPOINT_URL", id="303"),
        pytest.param(307, "redirect", "AWS_ENDPOINT_URL", id="307"),
        pytest.param(308, "redirect", "AWS_ENDPOINT_URL", id="308"),
    ],
)
def test_no_redirect_is_followed(aws: FakeAws, env: dict[str, str], status: int, words: str, command: str) -> None:
    """A redirect from the API is an error, and where it points to hears nothing."""
    with Site(lambda _: Response()) as stranger:
        aws.answer_next(Response(status, b"", {"Location": f"http://127.0.0.1:{stranger.port}/"}), 3)
        failure(get(env), words, command)
        assert stranger.requests == []


@pytest.mark.parametrize("status", [302, 303, 308])
@pytest.mark.parametrize("service", ["AssumeRole", "AssumeRoleWithWebIdentity", "SSO", "instance", "container"])
def test_no_redirect_is_followed_on_the_way_to_an_identity(
    aws: FakeAws, authority: CertificateAuthority, bare: dict[str, str], home: Path, service: str, status: int
) -> None:
    """Neither STS nor the portal of SSO nor the services of the machine can send a secret elsewhere."""
    config(home, SSO)
    config(home, f"[role]\nrole_arn = {ROLE}\nsource_profile = base\n[base]\n{KEY_LINES}", "credentials")
    sso_token(home, 3600)
    (home / "token").write_text("made-up-web-identity")
    portal = "portal.sso.eu-west-1.amazonaws.com"
    with Site(lambda _: Response(200, role_answer())) as stranger:
        redirect = Response(status, b"", {"Location": f"http://127.0.0.1:{stranger.port}/"})
        aws.answer_next(redirect, 9, service="sts")
        with Site(lambda _: redirect) as machine, Site(lambda _: redirect, authority.context(portal)) as sso:
            aws.routes[portal] = sso.port
            url = f"http://127.0.0.1:{machine.port}"
            bare |= {
                "AssumeRole": {"AWS_PROFILE": "role"},
                "AssumeRoleWithWebIdentity": {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": f"{home}/token"},
                "SSO": {"AWS_PROFILE": "work"},
                "instance": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_EC2_METADATA_DISABLED": "false"},
                "container": {
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/role",
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "made-up-pod-token",
                },
            }[service]
            result = get(bare)
            assert aws.requests + sso.requests + machine.requests
    if service == "instance":
        failure(result, "gives no credentials, and does not say that there", "curl -i")
    elif service == "container":
        failure(result, "this container gave no credentials", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    elif service == "SSO":
        failure(result, "redirect", "AWS_ENDPOINT_URL")
    else:  # botocore looks for a reason in the body, and there is none
        failure(result, "AWS STS answered with something that makes no sense", "AWS_ENDPOINT_URL_STS")
    assert stranger.requests == []
    assert aws.mints == 0


# --- cache ------------------------------------------------------------------------------------------------------------


def test_one_token_serves_all_accounts_of_a_region(aws: FakeAws, env: dict[str, str]) -> None:
    """Two accounts cost one mint, two regions two."""
    del env["CREDHELPERS_CACHE_DIR"]
    servers = (PRIVATE, PRIVATE.replace("1111", "4444"), PRIVATE, PRIVATE.replace("eu-west-1", "us-east-2"))
    secrets = [get(env, server).credential["Secret"] for server in servers]
    assert secrets == ["made-up-password-1"] * 3 + ["made-up-password-2"]
    assert call("ecr", "list", b"", env).listing == dict.fromkeys(servers, "AWS")
    assert aws.mints == 2


def test_the_cache_is_switched_off_as_with_amazon_s_helper(aws: FakeAws, env: dict[str, str], home: Path) -> None:
    """AWS_ECR_DISABLE_CACHE: what is asked twice is minted twice, a cached token is not answered, and none is kept."""
    del env["CREDHELPERS_CACHE_DIR"]
    off = env | {"AWS_ECR_DISABLE_CACHE": "true"}
    assert [get(off).credential["Secret"] for _ in range(2)] == ["made-up-password-1", "made-up-password-2"]
    assert call("ecr", "list", b"", off).listing == {}
    assert [path for path in home.rglob("*") if path.is_file() and not path.name.startswith("plan-")] == []
    assert get(env).credential["Secret"] == "made-up-password-3"
    assert get(off).credential["Secret"] == "made-up-password-4"
    assert get(env).credential["Secret"] == "made-up-password-3"
    assert aws.mints == 4


def test_a_token_that_is_piped_in_is_answered_until_the_logout(aws: FakeAws, env: dict[str, str]) -> None:
    """`aws ecr get-login-password | docker login`: before the minted one, and none is made for it."""
    del env["CREDHELPERS_CACHE_DIR"]
    get(env)
    sent = json.dumps({"ServerURL": PRIVATE, "Username": "AWS", "Secret": "made-up-by-login"})
    assert call("ecr", "store", sent, env) == Result(0, b"", b"")
    assert get(env).credential["Secret"] == "made-up-by-login"
    assert aws.mints == 1
    assert call("ecr", "erase", PRIVATE, env) == Result(0, b"", b"")
    assert get(env).credential["Secret"] == "made-up-password-2"


def test_another_identity_gets_another_token(aws: FakeAws, env: dict[str, str], home: Path) -> None:
    """Whoever changes the profile is not answered with the token of the former one."""
    del env["CREDHELPERS_CACHE_DIR"]
    aws.keys["AKIDOTHER"] = aws.keys[KEY_ID]
    first = get(env).credential["Secret"]
    assert get(env | {"AWS_ACCESS_KEY_ID": "AKIDOTHER"}).credential["Secret"] != first
    assert aws.mints == 2


FILES = {
    "AWS_CONFIG_FILE": ".aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": ".aws/credentials",
    "BOTO_CONFIG": ".boto",
    "AWS_CREDENTIAL_FILE": None,
}


def keys(environ: dict[bytes, bytes], server: str = PRIVATE) -> tuple[Known, str]:
    """What finds the answer for a host, and what finds the token that it shares with others."""
    source = Ecr(environ)
    return host_key_of(source, server), minter_of(source, server).token_key


def are_apart(found: list[tuple[Known, str]]) -> bool:
    """Whether no two have either key in common."""
    return all(len(set(column)) == len(found) for column in zip(*found, strict=True))


@pytest.mark.parametrize("variable", [*(name.decode() for name in VARIABLES), *FILES])
def test_each_setting_is_part_of_the_key(variable: str, tmp_path: Path) -> None:
    """Setting, emptying or changing any one variable that selects an identity or an endpoint is a miss."""
    base = {b"HOME": bytes(tmp_path)}
    name = variable.encode()
    assert are_apart([keys(base | more) for more in ({}, {name: b""}, {name: b"/one"}, {name: b"/two"})])


@pytest.mark.parametrize("variable", FILES)
@pytest.mark.parametrize("form", ["default", "absolute", "tilde", "variable"])
def test_each_file_is_part_of_the_key(
    variable: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making, changing or replacing a file that holds an identity is a miss, however its path is written."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))
    environ = {b"HOME": bytes(tmp_path)}
    default = FILES[variable]
    if form == "default" and default is None:
        return
    path = tmp_path / (default if form == "default" and default else "elsewhere")
    written = {"absolute": str(path), "tilde": "~/elsewhere", "variable": "$PLACE/elsewhere"}
    if form in written:
        environ[variable.encode()] = written[form].encode()
    path.parent.mkdir(exist_ok=True)
    found = [keys(environ)]
    for content in ("[default]", "[profile x]"):
        path.write_text(content)
        found.append(keys(environ))
    other = tmp_path / "other"
    other.write_text("[profile y]")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    found.append(keys(environ))
    assert are_apart(found)


def test_ht7_netrc_is_not_read(aws: FakeAws, env: dict[str, str], home: Path) -> None:
    """A password that stands in .netrc for Amazon's host, or for the proxy, goes nowhere."""
    hosts = ("api.ecr.eu-west-1.amazonaws.com", "127.0.0.1")
    netrc = home / ".netrc"
    netrc.write_text("".join(f"machine {host} login someone password made-up-netrc\n" for host in hosts))
    netrc.chmod(0o600)
    assert get(env | {"NETRC": str(netrc)}).credential["Username"] == "AWS"
    basic = base64.b64encode(b"someone:made-up-netrc").decode()
    for request in aws.requests:
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert not any("made-up-netrc" in value or basic in value for value in request.headers.values())


def test_the_key_knows_every_variable_of_this_botocore() -> None:
    """What botocore reads is in the key or has been judged; a new variable of a new botocore fails here."""
    package = Path(botocore.__file__ or "").parent
    names: set[str] = set()
    for module in ("configprovider.py", "credentials.py", "utils.py", "tokens.py", "session.py", "plugin.py"):
        names |= set(re.findall(r"['\"]((?:AWS|BOTO|BOTOCORE)_[A-Z0-9_]+)['\"]", (package / module).read_text()))
    judged = {name.decode() for name in VARIABLES} | set(FILES) | NEITHER_IDENTITY_NOR_ENDPOINT
    assert names - judged == set()


NEITHER_IDENTITY_NOR_ENDPOINT = {
    "AWS_ACCOUNT_ID",  # of the credentials; no endpoint of ECR has it in its name
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_CA_BUNDLE",
    "AWS_CSM_CLIENT_ID",
    "AWS_CSM_ENABLED",
    "AWS_CSM_HOST",
    "AWS_CSM_PORT",
    "AWS_DATA_PATH",  # switched off
    "AWS_DEFAULTS_MODE",
    "AWS_DEFAULT_REGION",  # the host says the region
    "AWS_REGION",
    "AWS_DISABLE_HOST_PREFIX_INJECTION",
    "AWS_DISABLE_REQUEST_COMPRESSION",
    "AWS_ENDPOINT_DISCOVERY_ENABLED",
    "AWS_EXECUTION_ENV",
    "AWS_MAX_ATTEMPTS",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_RETRY_MODE",
    "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",
    "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS",
    "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
    "AWS_S3_USE_ARN_REGION",
    "AWS_SDK_UA_APP_ID",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "BOTOCORE_EXPERIMENTAL__PLUGINS",  # switched off
    "BOTOCORE_TCP_KEEPALIVE",
}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(PRIVATE, PRIVATE.replace("eu-west-1", "eu-west-2"), id="region"),
        pytest.param(PRIVATE, PRIVATE.replace(".ecr.", ".ecr-fips."), id="FIPS"),
        pytest.param(PRIVATE, "111122223333.dkr-ecr.eu-west-1.on.aws", id="dual-stack"),
        pytest.param(PRIVATE.replace("eu-west-1", "us-east-1"), "public.ecr.aws", id="public"),
        pytest.param("public.ecr.aws", "ecr-public.aws.com", id="public dual-stack"),
    ],
)
def test_the_key_tells_endpoints_apart(one: str, other: str) -> None:
    """Two hosts with different endpoints have different tokens, two accounts the same under a key of their own."""
    assert are_apart([keys({}, one), keys({}, other)])
    account = one.replace("1111", "9999")
    assert minter_of(Ecr({}), one).token_key == minter_of(Ecr({}), account).token_key
    assert (host_key_of(Ecr({}), one) == host_key_of(Ecr({}), account)) == (one == account)


def test_the_key_holds_nothing_in_clear(home: Path) -> None:
    """A key is a digest, the same tomorrow, and a receipt has digests of what variables say, another one each time."""
    environ = {b"HOME": os.fsencode(NOWHERE), b"AWS_ACCESS_KEY_ID": KEY_ID.encode(), b"AWS_PROFILE": b"my-profile"}
    (known, token), (again, same) = keys(environ), keys(environ)
    assert all(re.fullmatch("[0-9a-f]{40}", key) for key in (known.key, token))
    assert (known.key, token) == (again.key, same)
    for value in (KEY_ID, "my-profile"):
        assert value not in known.copy.receipt
    assert "env AWS_PROFILE " in known.copy.receipt


def test_what_a_path_names_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that stands in the path of a file chooses another file, and the first one is still as it was."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config").write_text("[default]")
    environ = {b"HOME": bytes(tmp_path), b"AWS_CONFIG_FILE": b"$PLACE/config"}
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("PLACE", str(tmp_path / name))
        found.append(keys(environ | {b"PLACE": bytes(tmp_path / name)}))
    assert are_apart(found)


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "soft", "hard", "expires"),
    [
        pytest.param(43200, 21600, 42300, 43140, id="twelve hours"),
        pytest.param(3600, 1800, 2700, 3540, id="an hour"),
        pytest.param(1200, 600, 600, 1140, id="twenty minutes"),
        pytest.param(400, 100, 100, 340, id="hardly longer than clients keep an answer"),
        pytest.param(100, -200, -200, 40, id="shorter than that"),
        pytest.param(30, -270, -270, -30, id="too short to serve"),
    ],
)
def test_windows(life: int, soft: int, hard: int, expires: int) -> None:
    """Renewed from half of its life on, made anew before its last 15 minutes (5 if it is short), served to a minute."""
    now = 1_800_000_000.0
    data = {
        "authorizationToken": base64.b64encode(b"AWS:made-up").decode(),
        "expiresAt": datetime.fromtimestamp(now + life, UTC),
    }
    credential = source._credential(data, now)
    assert (credential.soft - now, credential.hard - now, credential.expires - now) == (soft, hard, expires)
    assert credential.soft <= credential.hard <= credential.expires


def test_a_token_near_its_end_is_the_last_resort(aws: FakeAws, env: dict[str, str]) -> None:
    """A token that clients would keep for longer than it lives is made anew, and served if no other can be had."""
    del env["CREDHELPERS_CACHE_DIR"]
    aws.life = 120
    assert get(env).credential["Secret"] == "made-up-password-1"
    assert get(env).credential["Secret"] == "made-up-password-2"
    aws.fail_next("AccessDeniedException", 400)
    assert get(env).credential["Secret"] == "made-up-password-2"


def test_a_token_past_half_of_its_life_is_renewed_behind_the_answer(aws: FakeAws, env: dict[str, str]) -> None:
    """The call answers with the old token at once, and a process of its own fetches the next one."""
    folder = Path(env["HOME"]) / "tokens"
    env["CREDHELPERS_CACHE_DIR"] = str(folder)
    get(env)
    age(folder, Ecr({name.encode(): value.encode() for name, value in env.items()}), PRIVATE)
    assert get(env).credential["Secret"] == "made-up-password-1"
    until = time.monotonic() + 20
    while get(env).credential["Secret"] != "made-up-password-2":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert aws.mints == 2


def test_a_token_that_is_over_when_it_comes(aws: FakeAws, env: dict[str, str]) -> None:
    """It is not handed out; the likely cause is this machine's clock."""
    aws.life = 30
    failure(get(env), "already expired", "date -u")


# --- identities -------------------------------------------------------------------------------------------------------


def assumed(home: Path, more: str = "") -> None:
    config(home, f"[profile deploy]\nrole_arn = {ROLE}\nsource_profile = base\n{more}")
    config(home, f"[base]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n", "credentials")


def modes(folder: Path) -> set[str]:
    return {f"{'d' if path.is_dir() else 'f'}{stat.S_IMODE(path.stat().st_mode):o}" for path in folder.rglob("*")}


def test_an_assumed_role_is_shared_with_the_aws_cli(aws: FakeAws, bare: dict[str, str], home: Path) -> None:
    """The role is assumed once for two cold calls, in the registry's region, and kept where the CLI looks for it."""
    assumed(home)
    bare["AWS_PROFILE"] = "deploy"
    for mint in (1, 2):
        assert get(bare).credential["Secret"] == f"made-up-password-{mint}"
    assert aws.roles == 1
    assert [request.host for request in aws.requests] == ["sts.eu-west-1.amazonaws.com", API, API]
    (kept,) = (home / ".aws/cli/cache").iterdir()
    assert json.loads(kept.read_text())["Credentials"]["AccessKeyId"] == "ASIDEXAMPLE1"
    assert modes(home / ".aws/cli") == {"d700", "f600"}
    assert stat.S_IMODE((home / ".aws/cli").stat().st_mode) == 0o700


def test_a_role_with_mfa_after_the_aws_cli_has_asked(aws: FakeAws, bare: dict[str, str], home: Path) -> None:
    """The session that the AWS CLI left in its cache serves, and nobody is asked for a code."""
    device = "arn:aws:iam::111122223333:mfa/somebody"
    assumed(home, f"mfa_serial = {device}\n")
    know_role(aws)
    keys = json.loads(role_answer())
    session = {name: keys[name] for name in ("AccessKeyId", "SecretAccessKey", "Expiration")}
    session["SessionToken"] = keys["Token"]
    name = sha1(json.dumps({"RoleArn": ROLE, "SerialNumber": device}, sort_keys=True).encode()).hexdigest()
    folder = home / ".aws/cli/cache"
    folder.mkdir(parents=True)
    (folder / f"{name}.json").write_text(json.dumps({"Credentials": session}))
    assert get(bare | {"AWS_PROFILE": "deploy"}).credential
    assert aws.roles == 0


@pytest.mark.parametrize(
    "content", [pytest.param("{", id="cut off"), pytest.param("[]", id="a list"), pytest.param("{}", id="empty")]
)
def test_a_broken_file_in_the_cli_cache_is_replaced(
    aws: FakeAws, bare: dict[str, str], home: Path, content: str
) -> None:
    """What the AWS CLI left half-written costs a call of STS, not the answer."""
    assumed(home)
    bare["AWS_PROFILE"] = "deploy"
    get(bare)
    (kept,) = (home / ".aws/cli/cache").iterdir()
    kept.write_text(content)
    assert get(bare).credential["Secret"] == "made-up-password-2"
    assert aws.roles == 2


def test_a_role_without_a_place_to_keep_it(aws: FakeAws, bare: dict[str, str], home: Path) -> None:
    """Where nothing can be written below the home, the role is assumed each time."""
    assumed(home)
    (home / ".aws/cli").write_text("a file where the directory should be")
    bare["AWS_PROFILE"] = "deploy"
    assert get(bare).credential
    assert get(bare).credential
    assert aws.roles == 2


def web_identity(home: Path, env: dict[str, str]) -> Path:
    token = home / "identity-token"
    token.write_text("made-up-web-identity")
    env |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ROLE_ARN": ROLE, "AWS_ROLE_SESSION_NAME": "puller"}
    return token


def test_web_identity(aws: FakeAws, bare: dict[str, str], home: Path) -> None:
    """A pod's service account: the token file buys a role once; a renewed file is no other identity."""
    del bare["CREDHELPERS_CACHE_DIR"]
    token = web_identity(home, bare)
    assert get(bare).credential["Secret"] == "made-up-password-1"
    token.write_text("made-up-web-identity, renewed")
    assert get(bare).credential["Secret"] == "made-up-password-1"
    assert (aws.roles, aws.mints) == (1, 1)


def test_a_key_in_the_environment_beats_a_profile(aws: FakeAws, env: dict[str, str], home: Path) -> None:
    """The order of the chain is botocore's."""
    assumed(home)
    assert get(env | {"AWS_PROFILE": "deploy"}).credential
    assert aws.roles == 0


def role_answer(life: float = 3600) -> bytes:
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + life))
    answer = {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": "made-up-token", "Expiration": expiration}
    return json.dumps(answer | {"Code": "Success"}).encode()


def know_role(aws: FakeAws) -> None:
    aws.keys[KEY_ID] = type(aws.keys[KEY_ID])(SECRET, "made-up-token")


def test_container_credentials(aws: FakeAws, bare: dict[str, str]) -> None:
    """ECS and EKS: the service that the variable names is asked with its token, never through a proxy."""
    know_role(aws)
    with Site(lambda _: Response(200, role_answer())) as service:
        bare |= {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{service.port}/role",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "made-up-pod-token",
            "HTTP_PROXY": aws.proxy.url,
        }
        assert get(bare).credential
        assert [request.headers["authorization"] for request in service.requests] == ["made-up-pod-token"]
    assert aws.proxy.asked == [f"{API}:443"]


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(Response(500, b"made-up-secret"), id="failing"),
        pytest.param(Response(200, b"made-up-secret"), id="not JSON"),
        pytest.param(Response(200, b"{}"), id="empty"),
        pytest.param(None, id="not there"),
    ],
)
def test_container_credentials_that_fail(bare: dict[str, str], response: Response | None) -> None:
    """A container service without an answer is named, in less time than it would take for itself."""
    with Site(lambda _: response or Response()) as service:
        url = f"http://127.0.0.1:{service.port if response else 9}/made-up-path"
        started = time.monotonic()
        failure(get(bare | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}), "this container", "AWS_CONTAINER_")
        assert time.monotonic() - started < patience(5)


def instance(delay: float = 0, *, version_1: bool = False) -> Site:
    """The metadata service of an EC2 instance with a role."""

    def respond(request: Request) -> Response:
        time.sleep(delay)
        if request.method == "PUT":
            return Response(404) if version_1 else Response(200, b"made-up-metadata-token")
        if not version_1 and request.headers.get("x-aws-ec2-metadata-token") != "made-up-metadata-token":
            return Response(401)
        return Response(200, b"puller" if request.path.endswith("/") else role_answer())

    return Site(respond)


@pytest.mark.parametrize("version_1", [False, True])
def test_instance_credentials(aws: FakeAws, bare: dict[str, str], *, version_1: bool) -> None:
    """EC2: the metadata service is asked directly, whatever proxy is set."""
    know_role(aws)
    with instance(version_1=version_1) as service:
        del bare["AWS_EC2_METADATA_DISABLED"]
        bare |= {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{service.port}",
            "HTTP_PROXY": aws.proxy.url,
            "http_proxy": aws.proxy.url,
            "ALL_PROXY": aws.proxy.url,
            "NO_PROXY": "elsewhere.example",
        }
        assert get(bare).credential
        assert len(service.requests) == 3
    assert aws.proxy.asked == [f"{API}:443"]


def test_a_metadata_service_that_is_not_there(bare: dict[str, str]) -> None:
    """Nothing listens where a variable says that it is: that is said, at once."""
    del bare["AWS_EC2_METADATA_DISABLED"]
    started = time.monotonic()
    result = get(bare | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"})
    assert time.monotonic() - started < patience(1)
    failure(result, "gives no credentials, and does not say that there", "curl -i")


@pytest.mark.parametrize("place", ["environment", "profile"])
def test_no_mode_of_botocore_asks_behind_our_back(aws: FakeAws, env: dict[str, str], home: Path, place: str) -> None:
    """Its `auto` would look for the region of this machine, by a client of its own and through any proxy."""
    del env["AWS_EC2_METADATA_DISABLED"]
    if place == "profile":
        config(home, "[default]\ndefaults_mode = auto\n")
    else:
        env["AWS_DEFAULTS_MODE"] = "auto"
    assert get(env | {"HTTP_PROXY": aws.proxy.url, "http_proxy": aws.proxy.url}).credential
    assert aws.proxy.asked == [f"{API}:443"]


def test_a_disabled_metadata_service_is_not_asked(bare: dict[str, str]) -> None:
    """AWS_EC2_METADATA_DISABLED is honoured."""
    with instance() as service:
        result = get(bare | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{service.port}"})
        nobody(result)
        assert service.requests == []


def test_public_images_need_no_credentials(aws: FakeAws, bare: dict[str, str]) -> None:
    """Without any identity ECR Public is nobody's business: docker goes on anonymously."""
    assert get(bare, "public.ecr.aws").is_absent
    assert aws.proxy.asked == []


def test_public_images_are_pulled_with_the_token_in_hand(aws: FakeAws, bare: dict[str, str]) -> None:
    """An instance whose metadata service is gone had an identity a moment ago, so nobody pulls anonymously yet."""
    know_role(aws)
    aws.life = 120  # so short that each call mints
    del bare["CREDHELPERS_CACHE_DIR"], bare["AWS_EC2_METADATA_DISABLED"]
    with instance() as service:
        bare["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://127.0.0.1:{service.port}"
        for mint in (1, 2):
            assert get(bare, "public.ecr.aws").credential["Secret"] == f"made-up-password-{mint}"
    for _ in range(2):
        assert get(bare, "public.ecr.aws").credential["Secret"] == "made-up-password-2"
    assert call("ecr", "erase", "public.ecr.aws", bare) == Result(0, b"", b"")
    failure(get(bare, "public.ecr.aws"), "gives no credentials, and does not say that there", "curl -i")


def process(home: Path, script: str) -> Path:
    """A profile whose credential_process is this shell script."""
    program = home / "credentials.sh"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o700)
    config(home, f"[default]\ncredential_process = {program}\n")
    return program


@pytest.mark.parametrize("sign", ["~/", "$HOME/", "${HOME}/"])
def test_a_credential_process_in_the_home(bare: dict[str, str], home: Path, sign: str) -> None:
    """1.A5: as a shell would have it, in each word; what is in the middle of one is nobody's but the program's."""
    program = process(home, f'echo "$@" > {home}/heard\n{KEYS}')
    config(home, f"[default]\ncredential_process = {sign}{program.name} {sign}file --key={sign}x 'a ~/b'\n")
    assert get(bare).credential
    assert (home / "heard").read_text() == f"{home}/file --key={sign}x a ~/b\n"


KEYS = f'echo \'{{"Version": 1, "AccessKeyId": "{KEY_ID}", "SecretAccessKey": "{SECRET}"}}\'\n'


def test_a_noisy_credential_process(bare: dict[str, str], home: Path) -> None:
    """It reads an empty standard input, and what it prints on standard error reaches nobody."""
    process(home, f"cat > {home}/heard\necho made-up noise >&2\n{KEYS}")
    assert get(bare).credential
    assert (home / "heard").read_bytes() == b""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo made-up-secret >&2; exit 3", id="failing"),
        pytest.param("echo made-up-secret", id="not JSON"),
        pytest.param("echo '[\"made-up-secret\"]'", id="a list"),
        pytest.param('echo \'{"Version": 1, "made-up-secret": 1}\'', id="keys missing"),
        pytest.param("echo '{\"Version\": 2}'", id="another version"),
        pytest.param(KEYS.replace("}", ', "Expiration": "made-up-time"}'), id="no time"),
        pytest.param(r"printf '\377\376'", id="not text"),
        pytest.param("read password < /dev/tty || exit 1", id="wants a terminal"),
    ],
)
def test_a_credential_process_that_fails(bare: dict[str, str], home: Path, script: str) -> None:
    """Whatever is wrong with it, the sentence names it and quotes nothing of it."""
    process(home, script)
    failure(get(bare), "credential_process of the AWS profile failed", "run the command by hand")


def test_a_credential_process_that_is_not_there(bare: dict[str, str], home: Path) -> None:
    """A command that does not exist is the same failure."""
    process(home, "").unlink()
    failure(get(bare), "credential_process of the AWS profile failed", "aws sts get-caller-identity")


def test_a_hanging_credential_process_is_ended(bare: dict[str, str], home: Path) -> None:
    """The call ends in time and says why, and neither the process nor its child lives on."""
    process(home, f"echo $$ > {home}/pids\nsleep 300 & echo $! >> {home}/pids\nwait\n")
    started = time.monotonic()
    failure(get(bare), "credential_process of the AWS profile did not end in time", "run the command by hand")
    assert time.monotonic() - started < 9 + patience(0.5)
    for pid in (home / "pids").read_text().split():
        until = time.monotonic() + patience(5)
        while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_expired_answers_of_a_credential_process(bare: dict[str, str], home: Path) -> None:
    """Credentials that are too old when they come are an expired session."""
    process(home, KEYS.replace("}", ', "Expiration": "2020-01-01T00:00:00Z"}'))
    failure(get(bare), "session has expired", "aws sts get-caller-identity")


SSO = """[profile work]
sso_session = acme
sso_account_id = 111122223333
sso_role_name = puller
[sso-session acme]
sso_start_url = https://acme.awsapps.example/start
sso_region = eu-west-1
[profile deploy]
role_arn = arn:aws:iam::111122223333:role/x
source_profile = work
[profile old]
sso_start_url = https://acme.awsapps.example/start
sso_region = eu-west-1
sso_account_id = 111122223333
sso_role_name = puller
[profile un;clean]
sso_session = acme
sso_account_id = 111122223333
sso_role_name = puller
"""


def sso_token(home: Path, life: float) -> None:
    folder = home / ".aws/sso/cache"
    folder.mkdir(parents=True)
    for name in ("acme", "https://acme.awsapps.example/start"):
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + life))
        content = {"accessToken": "made-up-sso-token", "expiresAt": expires, "startUrl": "x", "region": "eu-west-1"}
        (folder / f"{sha1(name.encode()).hexdigest()}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("profile", "shown"),
    [
        pytest.param("work", "aws sso login --profile work`", id="session"),
        pytest.param("old", "aws sso login --profile old`", id="legacy"),
        pytest.param("deploy", "aws sso login --profile work`", id="role over a session"),
        pytest.param("un;clean", "aws sso login --profile NAME`", id="a name that could run a command"),
    ],
)
@pytest.mark.parametrize("state", ["missing", "expired"])
def test_sso_without_a_session(bare: dict[str, str], home: Path, profile: str, shown: str, state: str) -> None:
    """Nobody signed in, or too long ago: the hint is the command that signs in the right profile."""
    config(home, SSO)
    if state == "expired":
        sso_token(home, -60)
    words = {"missing": "nobody is signed in", "expired": "has expired"}[state]
    failure(get(bare | {"AWS_PROFILE": profile}), words, shown)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        pytest.param(None, "", id="good"),
        pytest.param(Response(401, b"{}", {"x-amzn-ErrorType": "UnauthorizedException"}), "has expired", id="revoked"),
        pytest.param(Response(403, b"{}", {"x-amzn-ErrorType": "ForbiddenException"}), "does not have", id="no role"),
    ],
)
def test_sso(
    aws: FakeAws,
    authority: CertificateAuthority,
    bare: dict[str, str],
    home: Path,
    response: Response | None,
    words: str,
) -> None:
    """A session buys the keys of its role from the portal."""
    know_role(aws)
    name = "portal.sso.eu-west-1.amazonaws.com"
    keys = {"accessKeyId": KEY_ID, "secretAccessKey": SECRET, "sessionToken": "made-up-token"}
    body = json.dumps({"roleCredentials": keys | {"expiration": int(time.time() + 3600) * 1000}}).encode()
    config(home, SSO)
    sso_token(home, 3600)
    with Site(lambda _: response or Response(200, body), authority.context(name)) as portal:
        aws.routes[name] = portal.port
        result = get(bare | {"AWS_PROFILE": "work"})
        assert portal.requests[0].headers["x-amz-sso_bearer_token"] == "made-up-sso-token"
    if words:
        failure(result, words, "--profile work")
    else:
        assert result.credential


def test_a_sign_in_is_renewed_as_the_aws_cli_does(
    aws: FakeAws, authority: CertificateAuthority, bare: dict[str, str], home: Path
) -> None:
    """One that has expired, with what renews it: the CLI finds the new one, in its own form, and nobody else does."""
    know_role(aws)
    oidc, portal = "oidc.eu-west-1.amazonaws.com", "portal.sso.eu-west-1.amazonaws.com"
    config(home, SSO)
    sso_token(home, -60)
    (file,) = (home / ".aws/sso/cache").glob(f"{sha1(b'acme').hexdigest()}.json")
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    client = {"clientId": "x", "clientSecret": "made-up-client", "registrationExpiresAt": later}
    file.write_text(json.dumps(json.loads(file.read_text()) | client | {"refreshToken": "made-up-refresh"}))
    file.chmod(0o600)
    keys = {"accessKeyId": KEY_ID, "secretAccessKey": SECRET, "sessionToken": "made-up-token"}
    role = json.dumps({"roleCredentials": keys | {"expiration": int(time.time() + 3600) * 1000}}).encode()
    renewed = {"accessToken": "made-up-new", "expiresIn": 3600, "refreshToken": "made-up-next", "tokenType": "Bearer"}
    with (
        Site(lambda _: Response(200, json.dumps(renewed).encode()), authority.context(oidc)) as issuer,
        Site(lambda _: Response(200, role), authority.context(portal)) as site,
    ):
        aws.routes.update({oidc: issuer.port, portal: site.port})
        assert get(bare | {"AWS_PROFILE": "work"}).credential
        assert site.requests[0].headers["x-amz-sso_bearer_token"] == "made-up-new"
    kept = json.loads(file.read_text())
    assert (kept["accessToken"], kept["refreshToken"]) == ("made-up-new", "made-up-next")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", kept["expiresAt"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", kept["registrationExpiresAt"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("files", "more", "words", "command"),
    [
        pytest.param({}, {"AWS_PROFILE": "made-up"}, "in neither", "aws configure list-profiles", id="no such profile"),
        pytest.param({"config": "[default"}, {}, "not well formed", "aws configure list", id="broken file"),
        pytest.param(
            {"config": f"[default]\nrole_arn = {ROLE}\nsource_profile = made-up\n"},
            {},
            "names another that does not exist",
            "source_profile",
            id="no such source profile",
        ),
        pytest.param(
            {"credentials": f"[default]\naws_access_key_id = {KEY_ID}\n"}, {}, "incomplete", "configure list", id="half"
        ),
        pytest.param(
            {"config": f"[default]\nrole_arn = {ROLE}\ncredential_source = Environment\n"},
            {},
            "credential_source",
            "aws configure list",
            id="empty source",
        ),
        pytest.param(
            {
                "config": f"[profile d]\nrole_arn = {ROLE}\nmfa_serial = arn:aws:iam::1:mfa/x\nsource_profile = b\n",
                "credentials": f"[b]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n",
            },
            {"AWS_PROFILE": "d"},
            "MFA",
            "aws sts get-caller-identity --profile d",
            id="MFA",
        ),
        pytest.param(
            {"config": "[default]\nlogin_session = arn:aws:iam::111122223333:user/x\n"},
            {},
            "aws login",
            "'botocore[crt]'",
            id="aws login without its addition",
        ),
        pytest.param(
            {},
            {"AWS_WEB_IDENTITY_TOKEN_FILE": f"{NOWHERE}/made-up", "AWS_ROLE_ARN": ROLE},
            "web identity token file cannot be read",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            id="no token file",
        ),
        pytest.param(
            {},
            {"AWS_CREDENTIAL_FILE": f"{NOWHERE}/made-up"},
            "does not exist",
            "printenv AWS_CONFIG_FILE",
            id="no such file",
        ),
        pytest.param(
            {"config": "[default]\nmetadata_service_timeout = made-up\n"}, {}, "malformed", "aws sts", id="malformed"
        ),
    ],
)
def test_identities_that_cannot_be_had(
    aws: FakeAws,
    bare: dict[str, str],
    home: Path,
    files: dict[str, str],
    more: dict[str, str],
    words: str,
    command: str,
) -> None:
    """Each cause has its sentence and its command, and nothing is asked."""
    for name, text in files.items():
        config(home, text, name)
    failure(get(bare | more), words, command)
    assert aws.requests == []


# --- what AWS answers -------------------------------------------------------------------------------------------------


# Tried again by its status alone since botocore 1.44.
_OF_A_BARE_429 = 3 if tuple(map(int, botocore.__version__.split(".")[:2])) >= (1, 44) else 1


@pytest.mark.parametrize(
    ("code", "status", "words", "command", "attempts"),
    [
        pytest.param("AccessDeniedException", 400, "may not get", "`ecr:GetAuthorizationToken`", 1, id="denied"),
        pytest.param(
            "ExpiredTokenException", 400, "session token in the environment", "AWS_SESSION_TOKEN", 1, id="expired"
        ),
        pytest.param(
            "UnrecognizedClientException", 400, "does not know the access key", "aws sts", 1, id="no such key"
        ),
        pytest.param("InvalidSignatureException", 403, "secret key does not fit", "aws configure", 1, id="signature"),
        pytest.param("RequestTimeTooSkewed", 403, "clock", "date -u", 1, id="clock"),
        pytest.param("ThrottlingException", 400, "throttling", "try again", 3, id="throttled"),
        pytest.param("TooManyRequestsException", 429, "throttling", "try again", 3, id="throttled by status"),
        pytest.param("", 429, "throttling", "try again", _OF_A_BARE_429, id="throttled without a word"),
        pytest.param("InternalFailure", 500, "failure .HTTP status 500.", "health.aws.amazon.com", 3, id="500"),
        pytest.param("ServiceUnavailable", 503, "failure .HTTP status 503.", "health.aws.amazon.com", 3, id="503"),
        pytest.param(
            "UnsupportedCommandException", 400, "not offered", "aws account list-regions", 1, id="unsupported"
        ),
        pytest.param(
            "made-up-code", 400, "refused .* .HTTP status 400.", "aws ecr get-authorization-token", 1, id="400"
        ),
        pytest.param(
            "made-up-code", 404, "refused .* .HTTP status 404.", "aws ecr get-authorization-token", 1, id="404"
        ),
    ],
)
def test_refusals(
    aws: FakeAws, env: dict[str, str], code: str, status: int, words: str, command: str, attempts: int
) -> None:
    """Each refusal has its sentence; only throttling and failures of AWS are tried again, twice."""
    aws.fail_next(code, status, 9)
    failure(get(env), words, command)
    assert len(aws.requests) == attempts


def test_patience(aws: FakeAws, env: dict[str, str]) -> None:
    """Two refusals for want of capacity are waited out."""
    aws.fail_next("ThrottlingException", 400)
    aws.fail_next("", 503)
    assert get(env).credential["Secret"] == "made-up-password-1"


def test_denied_at_ecr_public(aws: FakeAws, env: dict[str, str]) -> None:
    """ECR Public needs two permissions, and the hint has both."""
    aws.fail_next("AccessDeniedException", 400)
    failure(
        get(env, "public.ecr.aws"),
        "may not get a token for ECR Public",
        "`ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken`",
    )


def test_a_role_that_may_not_be_assumed(aws: FakeAws, bare: dict[str, str], home: Path) -> None:
    """STS's refusal is told apart from ECR's."""
    assumed(home)
    aws.fail_next("AccessDenied", 403, service="sts")
    failure(get(bare | {"AWS_PROFILE": "deploy"}), "assume the role", "`sts:AssumeRole`")


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredTokenException", "InvalidIdentityToken"])
def test_a_web_identity_that_is_not_taken(aws: FakeAws, bare: dict[str, str], home: Path, code: str) -> None:
    """The file's token is old, or the role does not trust its issuer."""
    web_identity(home, bare)
    aws.fail_next(code, 400, service="sts")
    failure(get(bare), "web identity token", "`aws iam get-role`")


def test_an_expired_session_of_a_profile(aws: FakeAws, bare: dict[str, str], home: Path) -> None:
    """A session outside of the environment is renewed otherwise."""
    assumed(home)
    aws.fail_next("ExpiredTokenException", 400)
    failure(get(bare | {"AWS_PROFILE": "deploy"}), "session has expired", "get-caller-identity --profile deploy")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"AWS_SECRET_ACCESS_KEY": "made-up-wrong"}, "secret key does not fit", id="wrong secret"),
        pytest.param({"AWS_ACCESS_KEY_ID": "AKIDSTRANGER"}, "does not know the access key", id="unknown key"),
        pytest.param({"AWS_SESSION_TOKEN": "made-up"}, "does not know the access key", id="foreign session"),
    ],
)
def test_keys_that_do_not_fit(aws: FakeAws, env: dict[str, str], change: dict[str, str], words: str) -> None:
    """A signature is really checked, and what is wrong with it is said."""
    failure(get(env | change), words, "aws sts get-caller-identity")
    assert aws.mints == 0


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\nx"])
@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"])
def test_a_key_with_a_line_break(aws: FakeAws, env: dict[str, str], name: str, end: str) -> None:
    """1.A6: as from a file or a secret of CI. No network is to blame, and none is asked."""
    failure(get(env | {name: f"made-up{end}"}), "holds a line break", "export AWS_ACCESS_KEY_ID")
    assert aws.proxy.asked == []


def test_a_wrong_clock(env: dict[str, str]) -> None:
    """A machine twenty minutes behind is told that its clock is wrong, by the date of the refusal."""
    done = subprocess.run(
        [need("faketime", "faketime"), "-f", "-20m", BIN / "docker-credential-ecr", "get"],
        input=PRIVATE.encode(),
        env=env,
        capture_output=True,
        timeout=30,
        check=False,
    )
    failure(Result(done.returncode, done.stdout, done.stderr), "clock is wrong", "date -u")


def answer(**changes: object) -> bytes:
    """The body of a private answer with one token, some of it changed or, with None, left out."""
    token = base64.b64encode(b"AWS:made-up-password").decode()
    data: dict[str, object] = {"authorizationToken": token, "expiresAt": time.time() + 43200} | changes
    data = {name: value for name, value in data.items() if value is not None}
    return json.dumps({"authorizationData": [data]}).encode()


def token(pair: bytes) -> str:
    return base64.b64encode(pair).decode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>made-up-secret</html>", id="HTML"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"authorizationData": []}', id="no token in the list"),
        pytest.param(b'{"authorizationData": null}', id="null"),
        pytest.param(b'{"authorizationData": ["made-up"]}', id="a string in the list"),
        pytest.param(answer()[:-20], id="cut off"),
        pytest.param(answer(authorizationToken=None), id="no token"),
        pytest.param(answer(authorizationToken=""), id="empty token"),
        pytest.param(answer(authorizationToken=7), id="a number"),
        pytest.param(answer(authorizationToken="made-up!"), id="not base64"),
        pytest.param(answer(authorizationToken=token(b"made-up")), id="no colon"),
        pytest.param(answer(authorizationToken=token(b":made-up")), id="no user"),
        pytest.param(answer(authorizationToken=token(b"AWS:")), id="no password"),
        pytest.param(answer(authorizationToken=token(b"AWS:made\nup")), id="line end"),
        pytest.param(answer(authorizationToken=token(b"AWS:made\x00up")), id="NUL"),
        pytest.param(answer(authorizationToken=token("AWS:made-üp".encode())), id="not ASCII"),
        pytest.param(answer(expiresAt=None), id="no expiry"),
        pytest.param(answer(expiresAt="made-up"), id="no time"),
        pytest.param(answer(expiresAt=float("nan")), id="not a number"),
        pytest.param(answer(expiresAt=float("inf")), id="infinite"),
        pytest.param(answer(expiresAt=-1), id="negative"),
        pytest.param(answer(expiresAt=1e30), id="beyond any calendar"),
        pytest.param(answer(more="x" * (1 << 20)), id="over a megabyte"),
    ],
)
def test_answers_that_are_no_token(aws: FakeAws, env: dict[str, str], home: Path, body: bytes) -> None:
    """Nothing of a senseless answer is handed out or kept."""
    del env["CREDHELPERS_CACHE_DIR"]
    aws.answer_next(Response(200, body), 3)
    failure(get(env), "not a registry token", "AWS_ENDPOINT_URL")
    kept = {path.name for path in home.rglob("*ecr-*") if not path.name.endswith(".failed")}
    assert not {name for name in kept if not name.startswith("ecr-lock-")}


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (8, "lives too long to be true by this machine's clock"),
        (366, "lives too long to be true by this machine's clock"),
        (-1, "already expired by this machine's clock"),
        (-366, "already expired by this machine's clock"),
    ],
)
def test_a_token_of_another_time(aws: FakeAws, env: dict[str, str], days: int, words: str) -> None:
    """A clock that is far behind or ahead makes a good token look wrong: the clock is named, not a proxy."""
    aws.answer_next(Response(200, answer(expiresAt=time.time() + days * 86400)))
    failure(get(env), words, "date -u")


def test_the_user_name_is_the_tokens(aws: FakeAws, env: dict[str, str]) -> None:
    """User and password are parted at the first colon, whoever the user is."""
    aws.answer_next(Response(200, answer(authorizationToken=token(b"somebody:made:up"))))
    result = get(env).credential
    assert (result["Username"], result["Secret"]) == ("somebody", "made:up")


def test_a_long_token(aws: FakeAws, env: dict[str, str]) -> None:
    """Tokens of role sessions are long, and grow."""
    aws.password = "p" * 20_000
    assert get(env).credential["Secret"] == aws.password


def test_a_compressed_bomb_is_not_unpacked(aws: FakeAws, env: dict[str, str]) -> None:
    """A body that would be a thousand times as long unpacked is taken as it is, and is no token."""
    import gzip

    body = gzip.compress(b'{"authorizationData": [' + b" " * (200 << 20) + b"]}", 9)
    aws.answer_next(Response(200, body, {"Content-Encoding": "gzip"}), 3)
    failure(get(env), "not a registry token", "AWS_ENDPOINT_URL")


# --- the network ------------------------------------------------------------------------------------------------------


def test_no_such_name(env: dict[str, str]) -> None:
    """Without a proxy the true name is not to be had here."""
    del env["HTTPS_PROXY"]
    failure(get(env | {"AWS_ENDPOINT_URL_ECR": "https://ecr.invalid"}), "cannot be reached", "curl -sI")


def test_nothing_listens(env: dict[str, str]) -> None:
    """A closed port is the same cause."""
    failure(get(env | {"AWS_ENDPOINT_URL_ECR": "https://127.0.0.1:9"}), "cannot be reached", "curl -sI")


def test_a_proxy_that_refuses(aws: FakeAws, env: dict[str, str]) -> None:
    """What the proxy does not allow is the proxy's doing."""
    aws.routes.clear()
    failure(get(env), "proxy did not connect", "HTTPS_PROXY")


def test_a_proxy_that_is_not_there(env: dict[str, str]) -> None:
    """A dead proxy too."""
    failure(get(env | {"HTTPS_PROXY": "http://made-up:made-up@127.0.0.1:9"}), "proxy did not connect", "HTTPS_PROXY")


@pytest.mark.parametrize("service", ["ECR", "AssumeRole", "AssumeRoleWithWebIdentity"])
@pytest.mark.parametrize("kind", ["untrusted", "wrong name", "expired"])
def test_certificates(
    aws: FakeAws,
    authority: CertificateAuthority,
    bare: dict[str, str],
    home: Path,
    tmp_path: Path,
    kind: str,
    service: str,
) -> None:
    """A certificate that does not hold is refused every time, and no request gets through."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    if kind == "untrusted":
        context = CertificateAuthority(folder).context(*HOSTS)
    elif kind == "expired":
        context = expired(authority)
    else:
        context = authority.context("amazonaws.com.attacker.example")
    if service == "AssumeRoleWithWebIdentity":
        web_identity(home, bare)
    else:
        assumed(home)
        bare["AWS_PROFILE"] = "base" if service == "ECR" else "deploy"
    with Site(lambda _: Response(200, answer()), context) as stranger:
        aws.routes[API if service == "ECR" else "sts.eu-west-1.amazonaws.com"] = stranger.port
        if kind == "expired":  # or not valid yet: the clock may be wrong
            failure(get(bare), "certificate .* not valid at this time", "date -u")
        else:
            failure(get(bare), "certificate .* not trusted", "AWS_CA_BUNDLE")
        assert stranger.requests + aws.requests == []


def expired(authority: CertificateAuthority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    authority._ca.issue_cert(*HOSTS, not_before=yesterday - timedelta(days=9), not_after=yesterday).configure_cert(
        context
    )
    return context


def test_a_certificate_file_that_is_not_there(env: dict[str, str]) -> None:
    """AWS_CA_BUNDLE is checked by name."""
    failure(get(env | {"AWS_CA_BUNDLE": f"{NOWHERE}/made-up.pem"}), "certificates cannot be read", "AWS_CA_BUNDLE")


@contextmanager
def unending(authority: CertificateAuthority, kind: str) -> Iterator[int]:
    """The port of an API that takes a request and whose answer never ends."""
    stop = threading.Event()
    context = authority.context(API)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if kind == "stalled TLS":
                stop.wait(20)
                return
            with context.wrap_socket(self.request, server_side=True) as connection:
                connection.recv(65536)
                if kind == "silent":
                    stop.wait(20)
                    return
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not stop.wait(0.5):
                    connection.sendall(b" ")

    class Server(socketserver.ThreadingTCPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client hangs up, which is what it should do

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield server.server_address[1]
        finally:
            stop.set()
            server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silent", "dripping", "stalled TLS"])
def test_an_api_that_does_not_end(
    aws: FakeAws, env: dict[str, str], authority: CertificateAuthority, kind: str
) -> None:
    """Whatever keeps an answer from coming, the call ends in time and says whose answer it was."""
    with unending(authority, kind) as port:
        aws.routes[API] = port
        started = time.monotonic()
        result = get(env)
        assert time.monotonic() - started < 9.8 + patience(0.5)
    failure(result, "(no answer of AWS ECR|did not answer in time|did not accept a connection)", "again")


def test_a_resolver_that_does_not_answer(env: dict[str, str]) -> None:
    """A name that is looked up for ever is given up in time, though no library could."""
    del env["HTTPS_PROXY"]
    started = time.monotonic()
    said = in_process(
        env,
        "import socket, time\n"
        "from credhelpers.exchanges.ecr_hosts import ecr\n"
        "from credhelpers.exchanges.ecr import authorization_token\n"
        "socket.getaddrinfo = lambda *arguments, **more: time.sleep(60)\n"
        f"try: authorization_token(ecr('{PRIVATE}'), {{}})\n"
        "except Exception as error: print(error, flush=True)",
    )
    assert time.monotonic() - started < 9.8 + patience(0.2)
    assert said == "no answer of AWS ECR within the time limit\n"


# --- hygiene ----------------------------------------------------------------------------------------------------------


def test_without_boto3(tmp_path: Path, env: dict[str, str]) -> None:
    """An installation without the extra says which command adds it."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = tmp_path / "lib" / version / "site-packages"
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copytree(Path(source.__file__).parents[1], packages / "credhelpers")
    shutil.copy(BIN / "docker-credential-ecr", folder)
    (folder / "python3").symlink_to(Path(sys.executable).resolve())
    done = subprocess.run(
        [folder / "docker-credential-ecr", "get"],
        input=PRIVATE.encode(),
        env=env,
        capture_output=True,
        timeout=30,
        check=False,
    )
    failure(Result(done.returncode, done.stdout, done.stderr), "boto3.* is not installed", "pip install boto3")


def test_the_environment_runs_no_code(aws: FakeAws, env: dict[str, str], tmp_path: Path, home: Path) -> None:
    """Neither botocore's plug-ins nor models from elsewhere take part."""
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for folder in (tmp_path, home / ".aws/models"):
        model = folder / "ecr" / "2015-09-21"
        model.mkdir(parents=True)
        (model / "service-2.json").write_text("made-up model")
        (folder / "endpoints.json").write_text("made-up endpoints")
    env |= {
        "BOTOCORE_EXPERIMENTAL__PLUGINS": "planted=planted",
        "PYTHONPATH": str(tmp_path),
        "AWS_DATA_PATH": str(tmp_path),
    }
    assert get(env).credential
    assert not (tmp_path / "ran").exists()


def test_debugging_shows_no_secret(aws: FakeAws, env: dict[str, str]) -> None:
    """CREDHELPERS_DEBUG tells nothing of AWS's texts, and neither does BOTO's own logging."""
    aws.fail_next("AccessDeniedException", 400, text="made-up-secret")
    result = get(env | {"CREDHELPERS_DEBUG": "1"})
    assert result.code == 1
    assert b"made-up" not in result.out + result.err


def test_nothing_in_clear_below_the_home(aws: FakeAws, env: dict[str, str], home: Path) -> None:
    """Names of files hold no key, and what is written is private."""
    del env["CREDHELPERS_CACHE_DIR"]
    get(env)
    paths = [str(path) for path in home.rglob("*")]
    assert not [path for path in paths if KEY_ID in path or SECRET in path]
    assert modes(home) <= {"d700", "f600"}


def all_causes() -> list[tuple[str, str]]:
    causes: list[tuple[str, str]] = []
    for value in vars(aws_errors).values():
        values = value.values() if isinstance(value, dict) else (value,)
        causes += [
            entry[1:]
            for entry in values
            if isinstance(entry, tuple) and " " in str(entry[1]) and isinstance(entry[1], str)
        ]
    return causes


def test_every_sentence_is_documented() -> None:
    """The page has each sentence with its hint, in one row."""
    page = (Path(__file__).parent.parent / "docs/ecr.md").read_text()
    for message, hint in all_causes():
        row = re.escape(f"| {message} | {hint} |")
        assert re.search(re.sub(r"\\{\w+\\}", ".*", row), page), message


def test_every_sentence_fits() -> None:
    """A line holds 200 bytes with its `hint: `, and each cause has a sentence and a hint of its own."""
    causes = all_causes()
    assert len(causes) > 40
    for message, hint in causes:
        assert message[0].islower() or message.startswith(("AWS", "SSO"))
        assert not message.endswith(".")
        assert len(message.encode()) < 200
        assert len(hint.replace("{profile}", " --profile " + "x" * 20).encode()) <= 193, hint
        assert hint.count("`") >= 2, f"no command: {hint}"
    sentences = dict(causes)
    assert all(sentences[message] == hint for message, hint in causes)


def test_the_manual_names_what_is_read(env: dict[str, str]) -> None:
    """`--help` is a manual page: every host form and the variables that are the helper's own."""
    shown = call("ecr", "--help", b"", env).out.decode()
    assert "usage: docker-credential-ecr" in shown
    for word in ("CONFIGURATION", "HOSTS", "IDENTITY", "ENVIRONMENT", "CACHE", "ERRORS", "CREDHELPERS_CACHE_DIR"):
        assert word in shown
    assert max(map(len, Ecr().manual.splitlines())) <= 80
