"""docker-credential-ecr with identities of the configuration file: who signs, who is asked, what is kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

import pytest

from credhelpers import lifetimes
from credhelpers.identities.aws_selectors import VARIABLES
from credhelpers.sources._ecr import SETTINGS
from credhelpers.sources.ecr import Ecr
from tests.fakes.aws import HOSTS, KEY_ID, SECRET, FakeAws, Key, signer
from tests.fakes.tls import Request, Response, Site
from tests.harness import BIN, Result, document, environment, need, patience
from tests.harness import loaded_call as call
from tests.routes import host_key_of, minter_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
OTHER = "444455556666.dkr.ecr.us-east-2.amazonaws.com"
ALIAS = "mirror.acme.example"
ROLE = "arn:aws:iam::111122223333:role/puller"
PROFILES = {"base": ("AKIDBASE", "made-up-base"), "prod": ("AKIDPROD", "made-up-prod")}


class User:
    """Somebody with keys in the environment, two profiles with other keys, a cache and a configuration file."""

    def __init__(self, home: Path, aws: FakeAws) -> None:
        self.home = home
        self.env = environment(home, **aws.environment(), AWS_EC2_METADATA_DISABLED="true")
        sections = []
        for name, (key_id, secret) in PROFILES.items():
            aws.keys[key_id] = Key(secret)
            sections.append(f"[{name}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n")
        self.write(".aws/credentials", "".join(sections))

    def write(self, name: str, text: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    def configure(self, *tables: dict[str, str]) -> Path:
        """Write the configuration file: a `[[registry]]` each, of ECR unless it says otherwise."""
        lines = []
        for table in tables:
            lines.append("[[registry]]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in ({"source": "ecr"} | table).items()]
        return self.write(".config/credhelpers/config.toml", "\n".join(lines) + "\n")

    def get(self, server: str = PRIVATE, **more: str) -> Result:
        return call("ecr", "get", server, self.env | more)

    def get_anew(self, server: str = PRIVATE, **more: str) -> Result:
        """`get` without a token cache."""
        return self.get(server, CREDHELPERS_CACHE_DIR="", **more)

    def fail(self, words: str, command: str, server: str = PRIVATE, **more: str) -> None:
        """`get` fails with these words on standard output and a hint that names `command`, and quotes no secret."""
        result = self.get(server, **more)
        assert result.code == 1, result
        assert re.fullmatch(rf"[^\n]*{words}[^\n]*\n", result.out.decode()), result
        assert result.told
        assert re.search(rf"; .*{re.escape(command)}.* \[", result.err.decode()), result
        assert len(result.out) <= 200, result
        assert b"made-up" not in result.out + result.err, result


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    with FakeAws(authority) as fake:
        yield fake


@pytest.fixture
def user(home: Path, aws: FakeAws) -> User:
    return User(home, aws)


def asked(aws: FakeAws) -> list[tuple[str, str]]:
    """What was asked, in order, and with which key."""
    return [(HOSTS[request.host][0], signer(request)) for request in aws.requests]


def roles(aws: FakeAws) -> list[dict[str, str]]:
    """What STS was asked for."""
    forms = [parse_qs(request.body.decode()) for request in aws.requests if HOSTS[request.host][0] == "sts"]
    return [{key: values[0] for key, values in form.items()} for form in forms]


# --- who signs --------------------------------------------------------------------------------------------------------


def test_a_configuration_makes_no_store_of_it(user: User) -> None:
    """With aliases possible, the password of a registry that is none is refused as ever, not taken and thrown away."""
    user.configure({"match": "mirror.acme.example", "account": "111122223333", "region": "eu-west-1"})
    strangers = document("ghcr.io", "someone", "made-up")
    assert call("ecr", "store", strangers, user.env).code == 1
    assert call("ecr", "store", document("mirror.acme.example", "someone", "made-up"), user.env).code == 0


@pytest.mark.parametrize(
    ("settings", "more", "expected"),
    [
        pytest.param({}, {}, KEY_ID, id="no setting, so what the environment says"),
        pytest.param({}, {"AWS_PROFILE": "prod"}, KEY_ID, id="no setting, keys before AWS_PROFILE"),
        pytest.param({"profile": "prod"}, {}, "AKIDPROD", id="profile before keys of the environment"),
        pytest.param({"profile": "prod"}, {"AWS_PROFILE": "base"}, "AKIDPROD", id="profile before AWS_PROFILE"),
        pytest.param({"profile": "prod"}, {"AWS_PROFILE": "made-up"}, "AKIDPROD", id="AWS_PROFILE is not looked at"),
    ],
)
def test_the_profile_of_the_entry_signs(
    aws: FakeAws, user: User, settings: dict[str, str], more: dict[str, str], expected: str
) -> None:
    """What is written for a registry beats everything that the environment says."""
    user.configure({"match": "111122223333.dkr.ecr.*.amazonaws.com", **settings})
    assert user.get_anew(**more).credential["Secret"] == "made-up-password-1"
    assert asked(aws) == [("ecr", expected)]


@pytest.mark.parametrize(
    ("settings", "by"),
    [
        pytest.param({}, KEY_ID, id="by what is found"),
        pytest.param({"profile": "prod"}, "AKIDPROD", id="by the profile"),
    ],
)
@pytest.mark.parametrize(
    ("more", "sent"),
    [
        pytest.param({}, {}, id="alone"),
        pytest.param({"external_id": "acme:7"}, {"ExternalId": "acme:7"}, id="external ID"),
        pytest.param({"session_name": "docker@host"}, {"RoleSessionName": "docker@host"}, id="session name"),
        pytest.param(
            {"external_id": "acme:7", "session_name": "docker@host"},
            {"ExternalId": "acme:7", "RoleSessionName": "docker@host"},
            id="both",
        ),
    ],
)
def test_the_role_of_the_entry_is_assumed(
    aws: FakeAws, user: User, settings: dict[str, str], by: str, more: dict[str, str], sent: dict[str, str]
) -> None:
    """The role is assumed in the registry's region by whom the entry says, and the role's key gets the token."""
    user.configure({"match": PRIVATE, "role_arn": ROLE, **settings, **more})
    assert user.get_anew().credential
    assert asked(aws) == [("sts", by), ("ecr", "ASIDEXAMPLE1")]
    assert aws.requests[0].host == "sts.eu-west-1.amazonaws.com"
    (form,) = roles(aws)
    assert form["RoleArn"] == ROLE
    told = {key: value for key, value in form.items() if key in ("ExternalId", "RoleSessionName")}
    assert sent.items() <= told.items()
    assert "ExternalId" in sent or "ExternalId" not in told


def test_a_chain_of_roles(aws: FakeAws, user: User) -> None:
    """The profile's role, which rests on another role and that on keys, assumes the role of the entry."""
    user.write(
        ".aws/config",
        "[profile first]\nrole_arn = arn:aws:iam::111122223333:role/first\nsource_profile = base\n"
        "[profile second]\nrole_arn = arn:aws:iam::111122223333:role/second\nsource_profile = first\n",
    )
    user.configure({"match": "*.dkr.ecr.*.amazonaws.com", "profile": "second", "role_arn": ROLE})
    assert user.get_anew().credential
    signers = ["AKIDBASE", "ASIDEXAMPLE1", "ASIDEXAMPLE2", "ASIDEXAMPLE3"]
    assert asked(aws) == list(zip(["sts", "sts", "sts", "ecr"], signers, strict=True))
    assert [form["RoleArn"].rpartition("/")[2] for form in roles(aws)] == ["first", "second", "puller"]


def test_three_registries_with_three_identities(aws: FakeAws, user: User) -> None:
    """Accounts and regions side by side: each has its own identity, and each token is answered to its own host only."""
    third = PRIVATE.replace("1111", "7777")
    user.configure(
        {"match": "111122223333.dkr.ecr.*.amazonaws.com", "profile": "prod"},
        {"match": "*.dkr.ecr.us-east-2.amazonaws.com", "profile": "base"},
        {"match": "*.dkr.ecr.*.amazonaws.com", "role_arn": ROLE, "profile": "base"},
    )
    servers = (PRIVATE, OTHER, third)
    first = [user.get(server).credential["Secret"] for server in servers]
    assert [key for kind, key in asked(aws) if kind == "ecr"] == ["AKIDPROD", "AKIDBASE", "ASIDEXAMPLE1"]
    assert len(set(first)) == 3
    assert [user.get(server).credential["Secret"] for server in reversed(servers)] == first[::-1]
    assert call("ecr", "list", b"", user.env).listing == dict.fromkeys(servers, "AWS")
    assert aws.mints == 3


def test_hosts_of_one_identity_share_a_token(aws: FakeAws, user: User) -> None:
    """Two accounts, an alias and an entry of its own with the same settings: one region and identity, one token."""
    other = PRIVATE.replace("1111", "7777")
    alias = {"account": "999900001111", "region": "eu-west-1"}
    user.configure(
        {"match": PRIVATE, "profile": "prod"},
        {"match": "*.dkr.ecr.*.amazonaws.com", "profile": "prod"},
        {"match": ALIAS, "profile": "prod", **alias},
    )
    assert {user.get(server).credential["Secret"] for server in (PRIVATE, other, ALIAS)} == {"made-up-password-1"}


def test_a_changed_entry_is_never_answered_with_the_former_token(aws: FakeAws, user: User) -> None:
    """From one call to the next: another profile, back again, and no file at all."""
    user.configure({"match": PRIVATE, "profile": "prod"})
    user.get()
    user.configure({"match": PRIVATE, "profile": "base"})
    user.get()
    user.configure({"match": PRIVATE, "profile": "prod"}).unlink()
    user.get()
    assert asked(aws) == [("ecr", "AKIDPROD"), ("ecr", "AKIDBASE"), ("ecr", KEY_ID)]


# --- who is asked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "api"),
    [
        pytest.param(
            "111122223333.dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com", id="FIPS"
        ),
        pytest.param("111122223333.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws", id="dual-stack"),
        pytest.param("111122223333.dkr-ecr-fips.us-east-1.on.aws", "ecr-fips.us-east-1.api.aws", id="both"),
        pytest.param("111122223333.dkr.ecr.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com", id="neither"),
    ],
)
def test_fips_and_dual_stack_are_as_the_host_says(aws: FakeAws, user: User, server: str, api: str) -> None:
    """An entry chooses who asks, the host which endpoint."""
    user.configure(
        {"match": "111122223333.dkr.ecr*.*.amazonaws.com", "profile": "prod"},
        {"match": "111122223333.dkr-ecr*.*.on.aws", "profile": "prod"},
    )
    assert user.get_anew(server).credential
    assert [(request.host, signer(request)) for request in aws.requests] == [(api, "AKIDPROD")]


@pytest.mark.parametrize(
    ("region", "api"),
    [
        pytest.param("eu-west-1", "api.ecr.eu-west-1.amazonaws.com", id="commercial"),
        pytest.param("us-gov-west-1", "api.ecr.us-gov-west-1.amazonaws.com", id="GovCloud"),
        pytest.param("cn-north-1", "api.ecr.cn-north-1.amazonaws.com.cn", id="China"),
        pytest.param("eusc-de-east-1", "api.ecr.eusc-de-east-1.amazonaws.eu", id="sovereign"),
        pytest.param("us-iso-east-1", "api.ecr.us-iso-east-1.c2s.ic.gov", id="iso"),
        pytest.param("us-isob-east-1", "api.ecr.us-isob-east-1.sc2s.sgov.gov", id="iso-b"),
        pytest.param("eu-isoe-west-1", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk", id="iso-e"),
        pytest.param("us-isof-south-1", "api.ecr.us-isof-south-1.csp.hci.ic.gov", id="iso-f"),
    ],
)
def test_an_alias_is_the_registry_that_the_user_says(aws: FakeAws, user: User, region: str, api: str) -> None:
    """A host of one's own gets the token of its region in any partition; the host itself is never asked."""
    user.configure({"match": ALIAS, "account": "111122223333", "region": region})
    assert user.get_anew(ALIAS).credential == {
        "ServerURL": ALIAS,
        "Username": "AWS",
        "Secret": "made-up-password-1",
    }
    assert aws.proxy.asked == [f"{api}:443"]


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(f"{ALIAS}.attacker.example", id="suffix"),
        pytest.param(f"attacker-{ALIAS}", id="prefix"),
        pytest.param(f"deep.{ALIAS}", id="a label more"),
        pytest.param("mirror-acme.example", id="a dot that is a pattern's"),
        pytest.param(f"attacker.example/{ALIAS}", id="in the path"),
        pytest.param(f"{ALIAS}@attacker.example", id="as user"),
        pytest.param("index.docker.io", id="Docker Hub"),
    ],
)
def test_a_look_alike_of_an_alias_gets_nothing(aws: FakeAws, user: User, server: str) -> None:
    """What is not the very host that the user wrote is nobody's, although there is a configuration file."""
    user.configure({"match": ALIAS, "account": "111122223333", "region": "eu-west-1"})
    assert user.get(ALIAS).credential
    result = user.get(server)
    assert result.code == 1
    assert b"made-up" not in result.out
    assert aws.mints == 1


def test_an_endpoint_of_ones_own(aws: FakeAws, authority: CertificateAuthority, user: User) -> None:
    """The endpoint of the entry is asked for the token and nothing else is; STS stays where it is."""
    name = "vpce-0a1b.api.ecr.eu-west-1.vpce.amazonaws.com"
    answer = json.dumps(
        {"authorizationData": [{"authorizationToken": "QVdTOmhlcmU=", "expiresAt": time.time() + 43200}]}
    )
    user.configure({"match": PRIVATE, "role_arn": ROLE, "endpoint_url": f"https://{name}"})
    with Site(lambda _: Response(200, answer.encode()), authority.context(name)) as private:
        aws.routes[name] = private.port
        more = {"AWS_ENDPOINT_URL_ECR": "https://elsewhere.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
        assert user.get_anew(**more).credential["Secret"] == "here"
        assert [signer(request) for request in private.requests] == ["ASIDEXAMPLE1"]
    assert asked(aws) == [("sts", KEY_ID)]


# --- what is wrong ----------------------------------------------------------------------------------------------------


def entry(**settings: str) -> tuple[dict[str, str], ...]:
    return ({"match": "public.ecr.aws"}, {"match": PRIVATE} | settings)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        pytest.param(
            entry(account="111122223333"), "line 4: this host says its account and region itself", id="account"
        ),
        pytest.param(entry(region="eu-west-1"), "line 4: this host says its account and region itself", id="region"),
        pytest.param(entry(external_id="acme"), "line 4: `external_id` and `session_name` are for", id="external ID"),
        pytest.param(entry(session_name="acme"), "line 4: `external_id` and `session_name` are for", id="session name"),
        pytest.param(
            entry(role_arn=ROLE.replace("aws", "aws-cn", 1)),
            "line 4: `role_arn` is of another partition",
            id="China",
        ),
        pytest.param(entry(profil="prod"), "line 7: unknown key `profil`", id="unknown key"),
        pytest.param(entry(profile=""), "line 7: `profile` is not the name of a profile", id="empty profile"),
        pytest.param(entry(role_arn="puller"), "line 7: `role_arn` is not the ARN of a role", id="no ARN"),
        pytest.param(entry(role_arn=ROLE.replace(":role/", ":user/")), "line 7: `role_arn` is not", id="a user's ARN"),
        pytest.param(entry(endpoint_url="http://127.0.0.1"), "line 7: `endpoint_url` is not a URL", id="plain http"),
        pytest.param(entry(endpoint_url="https://a@b.example"), "line 7: `endpoint_url` is not a URL", id="user info"),
        pytest.param(entry(endpoint_url="https://b.example?x"), "line 7: `endpoint_url` is not a URL", id="query"),
        pytest.param(entry(role_arn=ROLE, external_id="x y"), "line 8: `external_id` is not", id="a bad external ID"),
        pytest.param(entry(role_arn=ROLE, session_name="x"), "line 8: `session_name` is not", id="a bad session name"),
    ],
)
def test_contradictions(aws: FakeAws, user: User, tables: tuple[dict[str, str], ...], words: str) -> None:
    """Each is an error with line and sentence, and nobody is asked in the meantime."""
    user.configure(*tables)
    user.fail(re.escape(f"config.toml: {words}"), "docs/configuration.md" if "unknown" not in words else "`profile`")
    assert aws.proxy.asked == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({}, "line 1: this host needs `account` and `region`", id="neither"),
        pytest.param({"account": "111122223333"}, "line 1: this host needs `account` and `region`", id="no region"),
        pytest.param({"region": "eu-west-1"}, "line 1: this host needs `account` and `region`", id="no account"),
        pytest.param(
            {"account": "111122223333", "region": "zz-nowhere-1"},
            "does not know the registry's region",
            id="no such region",
        ),
        pytest.param(
            {"account": "111122223333", "region": "abcd-x-1"},
            "line 1: `region` is in no partition of AWS",
            id="no partition",
        ),
        pytest.param({"account": "11112222333", "region": "eu-west-1"}, "line 4: `account` is not", id="11 digits"),
        pytest.param({"account": "١١١١٢٢٢٢٣٣٣٣", "region": "eu-west-1"}, "line 4: `account` is not", id="other digits"),
        pytest.param({"account": "111122223333", "region": "eu-west-1.x"}, "line 5: `region` is not", id="a dot"),
    ],
)
def test_aliases_that_say_too_little(aws: FakeAws, user: User, settings: dict[str, str], words: str) -> None:
    """An alias must say what its name does not, in words that AWS has."""
    user.configure({"match": ALIAS} | settings)
    result = user.get(ALIAS)
    assert result.code == 1
    assert words.encode() in result.out
    assert result.told
    assert aws.proxy.asked == []


def test_a_file_that_others_may_write_chooses_nobody(aws: FakeAws, user: User) -> None:
    """Whoever can write it could send this user's tokens to an endpoint of his own."""
    user.configure({"match": PRIVATE, "endpoint_url": "https://attacker.example"}).chmod(0o666)
    user.fail("others may write it", "chmod go-w")
    assert aws.proxy.asked == []


def test_a_profile_that_does_not_exist(aws: FakeAws, user: User) -> None:
    """A misspelt profile is an error, whatever else the machine has."""
    user.configure({"match": PRIVATE, "profile": "prodd"})
    user.fail("in neither the config nor the credentials file", "aws configure list-profiles")
    assert aws.proxy.asked == []


@pytest.mark.parametrize("server", [PRIVATE, "public.ecr.aws"])
def test_an_empty_profile_is_not_the_machine(aws: FakeAws, user: User, server: str) -> None:
    """A profile without credentials is an error: neither the instance's role nor nobody is asked in its place."""
    user.write(".aws/config", "[profile empty]\nregion = eu-west-1\n")
    user.configure({"match": server, "profile": "empty"})
    with Site(lambda _: Response()) as metadata:
        url = f"http://127.0.0.1:{metadata.port}"
        more = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
        more["AWS_EC2_METADATA_DISABLED"] = "false"
        user.fail("profile that config.toml names holds no credentials", "--profile empty", server, **more)
        assert metadata.requests == []
    assert aws.proxy.asked == []


def test_a_role_that_nobody_can_assume_is_an_error_for_public_images_too(aws: FakeAws, user: User) -> None:
    """Without an entry ECR Public is asked anonymously; who configures a role wants that role."""
    del user.env["AWS_ACCESS_KEY_ID"], user.env["AWS_SECRET_ACCESS_KEY"]
    assert user.get("public.ecr.aws", CREDHELPERS_CONFIG="").is_absent
    user.configure({"match": "public.ecr.aws", "role_arn": ROLE})
    user.fail("no AWS credentials", "aws sts get-caller-identity", "public.ecr.aws", CREDHELPERS_CACHE_DIR="")
    assert aws.proxy.asked == []


def test_a_role_that_may_not_be_assumed(aws: FakeAws, user: User) -> None:
    """STS's refusal says what to allow, and names the profile that asked."""
    user.configure({"match": PRIVATE, "profile": "prod", "role_arn": ROLE, "external_id": "made-up-id"})
    aws.fail_next("AccessDenied", 403, service="sts")
    user.fail("does not let this identity assume the role", "get-caller-identity --profile prod")


def test_credentials_too_old_to_assume_a_role(aws: FakeAws, user: User) -> None:
    """A session that its own program hands out expired is an expired session, not a malformed setting."""
    keys = {"Version": 1, "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Expiration": "2020-01-01T00:00:00Z"}
    program = user.write("credentials.sh", f"#!/bin/sh\necho '{json.dumps(keys)}'\n")
    program.chmod(0o700)
    user.write(".aws/config", f"[profile old]\ncredential_process = {program}\n")
    user.configure({"match": PRIVATE, "profile": "old", "role_arn": ROLE})
    user.fail("session has expired", "--profile old")
    assert aws.proxy.asked == []


@pytest.mark.parametrize("settings", [{}, {"role_arn": ROLE}], ids=["profile", "role over the profile"])
@pytest.mark.parametrize("profile", ["work", "deploy"])
def test_an_expired_sign_in_names_its_profile(aws: FakeAws, user: User, profile: str, settings: dict[str, str]) -> None:
    """The hint is the command that signs in the profile on which the one of the entry rests."""
    user.write(
        ".aws/config",
        "[profile work]\nsso_session = acme\nsso_account_id = 111122223333\nsso_role_name = puller\n"
        "[sso-session acme]\nsso_start_url = https://acme.awsapps.example/start\nsso_region = eu-west-1\n"
        f"[profile deploy]\nrole_arn = {ROLE}\nsource_profile = work\n",
    )
    session = {"accessToken": "made-up-sso", "expiresAt": "2020-01-01T00:00:00Z", "region": "eu-west-1"}
    user.write(".aws/sso/cache/fcbb4e0b1b6d3a4b.json", json.dumps(session))
    user.configure({"match": PRIVATE, "profile": profile, **settings})
    user.fail("SSO", "aws sso login --profile work`", AWS_PROFILE="prod")
    assert aws.proxy.asked == []


# --- what is kept -----------------------------------------------------------------------------------------------------

SHARED = [
    pytest.param({}, "", id="role alone"),
    pytest.param({"external_id": "acme:7"}, "external_id = acme:7\n", id="external ID"),
    pytest.param({"session_name": "docker"}, "role_session_name = docker\n", id="session name"),
    pytest.param(
        {"external_id": "acme:7", "session_name": "docker"},
        "external_id = acme:7\nrole_session_name = docker\n",
        id="both",
    ),
]


def ask_as_the_cli_does(user: User) -> str:
    """The key of the profile `same` by botocore with the AWS CLI's cache, as the AWS CLI itself finds it."""
    script = (
        "import pathlib, botocore.session\n"
        "from botocore.utils import JSONFileCache\n"
        "session = botocore.session.Session(profile='same')\n"
        "cache = JSONFileCache(str(pathlib.Path('~/.aws/cli/cache').expanduser()))\n"
        "session.get_component('credential_provider').get_provider('assume-role').cache = cache\n"
        "print(session.get_credentials().get_frozen_credentials().access_key)"
    )
    command = [sys.executable, "-c", script]
    env = user.env | {"AWS_DEFAULT_REGION": "eu-west-1"}
    return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "lines"), SHARED)
@pytest.mark.parametrize("first", ["helper", "cli"])
def test_a_role_is_shared_with_the_aws_cli(
    aws: FakeAws, user: User, settings: dict[str, str], lines: str, first: str
) -> None:
    """The role of an entry and the same role of a profile are one file: assumed once, whoever came first."""
    user.write(".aws/config", f"[profile same]\nrole_arn = {ROLE}\nsource_profile = prod\n{lines}")
    user.configure({"match": PRIVATE, "profile": "prod", "role_arn": ROLE, **settings})
    if first == "cli":
        assert ask_as_the_cli_does(user) == "ASIDEXAMPLE1"
    assert user.get_anew().credential
    assert user.get_anew().credential
    assert ask_as_the_cli_does(user) == "ASIDEXAMPLE1"
    assert aws.roles == 1
    assert len(list((user.home / ".aws/cli/cache").iterdir())) == 1
    assert [key for kind, key in asked(aws) if kind == "ecr"] == ["ASIDEXAMPLE1"] * 2


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"role_arn": f"{ROLE}2"}, id="role"),
        pytest.param({"external_id": "acme:8"}, id="external ID"),
        pytest.param({"session_name": "other"}, id="session name"),
    ],
)
def test_another_role_is_another_file(aws: FakeAws, user: User, change: dict[str, str]) -> None:
    """What makes another session of a role is assumed anew."""
    settings = {"match": PRIVATE, "role_arn": ROLE, "external_id": "acme:7", "session_name": "docker"}
    for chosen in (settings, settings | change):
        user.configure(chosen)
        assert user.get_anew().credential
    assert aws.roles == 2


VALUES = {
    "profile": ("base", "prod"),
    "role_arn": (ROLE, f"{ROLE}2"),
    "external_id": ("acme:7", "acme:8"),
    "session_name": ("docker", "podman"),
    "endpoint_url": ("https://one.example", "https://two.example"),
    "account": ("111122223333", "444455556666"),
    "region": ("eu-west-1", "us-east-2"),
}
FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG", "AWS_CREDENTIAL_FILE")


def test_the_table_has_every_setting() -> None:
    """A new setting needs a row."""
    assert VALUES.keys() == SETTINGS.keys()


@pytest.mark.parametrize("setting", VALUES)
def test_every_setting_is_part_of_the_key(setting: str, user: User) -> None:
    """Left out, set or set to something else: three answers, and three tokens but for accounts, which share them."""
    base = {"match": ALIAS, "account": "999900001111", "region": "eu-central-1", "role_arn": f"{ROLE}0"}
    source = Ecr({b"HOME": os.fsencode(user.home)})
    hosts, tokens = [], []
    left_out = [] if setting in ("account", "region") else [None]
    for value in (*left_out, *VALUES[setting]):
        table = {key: given for key, given in (base | {setting: value or ""}).items() if given}
        if "role_arn" not in table:
            table["profile"] = "base"
        user.configure(table)
        hosts.append(host_key_of(source, ALIAS))
        tokens.append(minter_of(source, ALIAS).token_key)
    assert len(set(hosts)) == len(hosts)
    assert len(set(tokens)) == (1 if setting == "account" else len(tokens))


@pytest.mark.parametrize("variable", [*(name.decode() for name in VARIABLES), *FILES])
def test_every_variable_is_part_of_the_key_of_an_entry(variable: str, user: User) -> None:
    """An entry takes nothing out of the key: a variable may still matter, as for the profile's credential_source."""
    user.configure({"match": PRIVATE, "profile": "prod", "role_arn": ROLE})
    base = {b"HOME": os.fsencode(user.home)}
    sources = [Ecr(base | more) for more in ({}, {variable.encode(): b""}, {variable.encode(): b"/one"})]
    assert len({host_key_of(source, PRIVATE) for source in sources}) == len(sources)
    assert len({minter_of(source, PRIVATE).token_key for source in sources}) == len(sources)


@pytest.mark.parametrize("variable", ["CREDHELPERS_CONFIG", "XDG_CONFIG_HOME"])
def test_another_configuration_file_is_another_answer(variable: str, aws: FakeAws, user: User) -> None:
    """Whoever switches files is not answered by what the former chose."""
    chosen = user.configure({"match": PRIVATE, "profile": "prod"})
    elsewhere = user.home / "elsewhere/credhelpers/config.toml"
    elsewhere.parent.mkdir(parents=True)
    shutil.copy2(chosen, elsewhere)
    elsewhere.write_text(chosen.read_text().replace("prod", "base"))
    os.utime(elsewhere, ns=(chosen.stat().st_atime_ns, chosen.stat().st_mtime_ns))
    user.get()
    user.get(**{variable: str(elsewhere if variable == "CREDHELPERS_CONFIG" else elsewhere.parents[1])})
    assert asked(aws) == [("ecr", "AKIDPROD"), ("ecr", "AKIDBASE")]


# --- real services, and time ------------------------------------------------------------------------------------------


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[str]:
    """The URL of moto's server."""
    log = tmp_path / "moto.log"
    with log.open("wb") as output:
        command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", "0"]
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not (found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield found[1]
    finally:
        server.terminate()
        server.wait(20)


def test_a_role_of_moto(aws: FakeAws, authority: CertificateAuthority, user: User, moto: str) -> None:
    """STS as others understand it: moto assumes the role of the entry, and its answer signs at ECR."""
    import urllib.request

    forms: list[dict[str, list[str]]] = []

    def relay(request: Request) -> Response:
        """Hand the request on to moto, and tell the fake ECR which key came of it."""
        headers = {name: request.headers[name] for name in ("authorization", "content-type", "x-amz-date")}
        forms.append(parse_qs(request.body.decode()))
        onward = urllib.request.Request(f"{moto}{request.path}", request.body, headers)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(onward, timeout=20) as answer:
            body = answer.read()
        fields = {element.tag.rpartition("}")[2]: element.text or "" for element in ET.fromstring(body).iter()}
        aws.keys[fields["AccessKeyId"]] = Key(fields["SecretAccessKey"], fields["SessionToken"])
        return Response(200, body, {"Content-Type": "text/xml"})

    name = "sts.eu-west-1.amazonaws.com"
    settings = {"role_arn": ROLE, "external_id": "acme:7", "session_name": "docker"}
    user.configure({"match": PRIVATE, "profile": "prod", **settings})
    with Site(relay, authority.context(name)) as sts:
        aws.routes[name] = sts.port
        for _ in range(2):
            assert user.get_anew().credential
    (form,) = forms
    assert (form["ExternalId"], form["RoleSessionName"]) == (["acme:7"], ["docker"])
    ((kind, key), again) = asked(aws)
    assert (kind, key) == again
    assert (kind, key[:4]) == ("ecr", "ASIA")


STEP = 15 * 60  # seconds from one pull to the next


class Day:
    """A day of calls in fast time: the clock of Amazon and of the calls, which obey `faketime`, goes on in steps."""

    def __init__(self, user: User, aws: FakeAws) -> None:
        self._aws = aws
        self._tokens = user.home / "tokens"
        self._command = [need("faketime", "faketime"), "-m", "-f"]
        self._env = user.env | {"CREDHELPERS_CACHE_DIR": str(self._tokens), "NO_FAKE_STAT": "1"}

    def get(self, server: str) -> str:
        done = subprocess.run(
            [*self._command, f"{self._aws.ahead:+.0f}s", BIN / "docker-credential-ecr", "get"],
            input=server.encode(),
            env=self._env,
            capture_output=True,
            timeout=60,
            check=False,
        )
        secret = Result(done.returncode, done.stdout, done.stderr).credential["Secret"]
        assert self._aws.expiries[secret] > self._aws.now() + 60, "a token that has expired"
        return secret

    def settle(self) -> None:
        """Wait until nobody renews anything behind an answer that is out."""
        until = time.monotonic() + 60
        while self._is_somebody_at_it():
            assert time.monotonic() < until
            time.sleep(0.02)

    def _is_somebody_at_it(self) -> bool:
        """Whether a process has the token cache of this day in its environment."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b"CREDHELPERS_CACHE_DIR=" + os.fsencode(self._tokens) in (process / "environ").read_bytes():
                    return True
            except OSError:
                continue  # it has ended meanwhile
        return False


@pytest.mark.slow
def test_a_day_of_pulls(aws: FakeAws, user: User) -> None:
    """Two hosts of one identity and one of another, every quarter of an hour: a token for each identity and half life.

    A token is due after 5.4 to 6.6 hours, so a day costs four or five of them. Two calls that find it due at the same
    moment do not both ask for the next one.
    """
    other = PRIVATE.replace("1111", "7777")
    user.configure(
        {"match": "*.dkr.ecr.eu-west-1.amazonaws.com", "profile": "prod"},
        {"match": OTHER, "profile": "base"},
    )
    aws.delay = 0.3
    day = Day(user, aws)
    with ThreadPoolExecutor(3) as pool:
        for step in range(24 * 3600 // STEP):
            aws.ahead = step * STEP
            one, same, another = pool.map(day.get, (PRIVATE, other, OTHER))
            assert one == same or step, "two tokens for one identity"
            assert another not in (one, same)
            day.settle()
    signers = [key for _, key in asked(aws)]
    for key in ("AKIDPROD", "AKIDBASE"):
        assert 4 <= signers.count(key) <= 5
    assert len(signers) == aws.mints == sum(map(signers.count, ("AKIDPROD", "AKIDBASE")))


def test_two_hosts_of_one_identity_never_mint_at_once(aws: FakeAws, user: User) -> None:
    """Ten cold calls for two hosts: one token, and never two requests at the same time."""
    user.configure({"match": "*.dkr.ecr.eu-west-1.amazonaws.com", "profile": "prod"})
    aws.delay = 0.5
    servers = [PRIVATE, PRIVATE.replace("1111", "7777")] * 5
    with ThreadPoolExecutor(len(servers)) as pool:
        secrets = {result.credential["Secret"] for result in pool.map(user.get, servers)}
    assert secrets == {"made-up-password-1"}
    assert (aws.mints, aws.at_once) == (1, 1)


def test_a_dead_metadata_service_is_remembered(user: User) -> None:
    """It costs what its variable says the first time, and then the next call says the same without asking again."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        del user.env[name]
    user.configure({"match": PRIVATE, "role_arn": ROLE})

    def seconds(**more: str) -> float:
        started = time.monotonic()
        words = "no AWS credentials" if "AWS_EC2_METADATA_DISABLED" in more else "did not answer in time"
        user.fail(words, "`", **more)
        return time.monotonic() - started

    hanging: list[Request] = []

    def hang(request: Request) -> Response:
        hanging.append(request)
        time.sleep(3)
        return Response(404)

    disabled, first, again, late = [], [], [], 0
    with Site(hang) as dead:
        asking = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{dead.port}",
            "AWS_METADATA_SERVICE_TIMEOUT": "2",
        }
        for turn in (1, 2, 3):  # the best counts: other work on this machine makes single calls slow
            disabled.append(seconds(CREDHELPERS_CACHE_DIR="", AWS_EC2_METADATA_DISABLED="true"))
            asking["CREDHELPERS_CACHE_DIR"] = str(user.home / f"tokens-{turn}")
            first.append(seconds(**asking))
            again.append(seconds(**asking))
            late += first[-1] + again[-1] > lifetimes.remembered(1)  # too busy a machine for a call in that time
            assert 2 * turn <= len(hanging) <= 2 * (turn + late)  # for a token, then without one
        user.fail(rf"metadata service of EC2 at 127\.0\.0\.1:{dead.port} did not answer in time", "`", **asking)
        started = time.monotonic()  # another patience is another answer
        user.fail("did not answer in time", "`", **(asking | {"AWS_METADATA_SERVICE_TIMEOUT": "4"}))
        assert time.monotonic() - started > 2
    assert min(first) - min(disabled) < 2 + patience(0.2)
    assert min(again) < min(disabled) / 2
