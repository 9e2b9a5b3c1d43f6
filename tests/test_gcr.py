"""`docker-credential-gcr` from outside: every kind of identity, over true host names and real TLS."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import itertools
import json
import os
import re
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.auth import environment_vars

from credhelpers import cached_token
from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NotFound, Unavailable
from credhelpers.exchanges.google import credential as credential_of
from credhelpers.hosts import endpoint
from credhelpers.identities.google_metadata import MachineAccount
from credhelpers.identities.google_network import Network
from credhelpers.identities.google_services import UNIVERSE, is_service
from credhelpers.servers import is_local
from credhelpers.sources import gcr
from credhelpers.sources._gcr import SETTINGS
from tests import test_contract_gcr
from tests.fakes import google as fakes
from tests.fakes.google import (
    ACCOUNT,
    FakeAwsMetadata,
    FakeGoogle,
    FakeMetadata,
    external,
    impersonation,
    service_account,
    user,
    write,
)
from tests.fakes.tls import Response, Site
from tests.harness import NOT_FOUND, NOWHERE, Result, environment, need, patience
from tests.harness import loaded_call as call
from tests.routes import Known, host_key_of, minter_of
from tests.test_hosts import _LOOK_ALIKES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority, Request

HOST = "europe-docker.pkg.dev"
OTHER = "second@acme.iam.gserviceaccount.com"
LOGIN = b"run `gcloud auth application-default login`\n"
WORKFORCE = {
    "type": "external_account_authorized_user",
    "audience": "//iam.googleapis.com/locations/global/workforcePools/pool/providers/provider",
    "token_url": "https://sts.googleapis.com/v1/oauthtoken",
    "refresh_token": fakes.REFRESH_TOKEN,
    "client_id": "made-up-client",
    "client_secret": fakes.CLIENT_SECRET,
}
BY_URL = {
    "url": "https://token.example/token",
    "headers": {"Authorization": "made-up-authorization"},
    "format": {"type": "json", "subject_token_field_name": "value"},
}
CANARIES = (
    fakes.REFRESH_TOKEN,
    fakes.CLIENT_SECRET,
    fakes.SUBJECT_TOKEN,
    fakes.SECRET_IN_ERRORS,
    "made-up-authorization",
    "made-up-token",
    "made-up-aws",
    "PRIVATE KEY",
)


@pytest.fixture
def google(authority: CertificateAuthority) -> Iterator[FakeGoogle]:
    """Google, working."""
    with FakeGoogle(authority) as fake:
        yield fake


@pytest.fixture
def metadata(google: FakeGoogle) -> Iterator[FakeMetadata]:
    """A machine's metadata server, working."""
    with FakeMetadata(google) as fake:
        yield fake


@pytest.fixture
def aws() -> Iterator[FakeAwsMetadata]:
    """AWS's metadata service, working."""
    with FakeAwsMetadata() as fake:
        yield fake


class Machine:
    """A user's machine: a home, an environment, and the helper on it."""

    def __init__(self, home: Path, google: FakeGoogle) -> None:
        self.home = home
        self.google = google
        self.more: dict[str, str] = {}

    def get(self, server: str = HOST, **more: str) -> Result:
        """What a client gets."""
        return call("gcr", "get", server, self.environment(**more))

    def environment(self, **more: str) -> dict[str, str]:
        """What the helper sees."""
        return environment(self.home, **self.google.environment(**(self.more | more)))

    def secret(self, server: str = HOST, **more: str) -> str:
        """The token of a `get` that works."""
        credential = self.get(server, **more).credential
        assert credential["ServerURL"] == server
        assert credential["Username"] == "oauth2accesstoken"
        return credential["Secret"]

    def whose(self, server: str = HOST, **more: str) -> str:
        """Whose token it is."""
        return self.google.issued[self.secret(server, **more)]

    def file(self, info: object, name: str = "credential.json") -> str:
        """A credential file that GOOGLE_APPLICATION_CREDENTIALS names."""
        self.more["GOOGLE_APPLICATION_CREDENTIALS"] = write(self.home / name, info)
        return self.more["GOOGLE_APPLICATION_CREDENTIALS"]

    def default(self, info: object) -> str:
        """gcloud's application default credential."""
        return write(self.home / ".config/gcloud/application_default_credentials.json", info)

    def config(self, *lines: str, match: str = HOST) -> None:
        """A configuration with one entry."""
        text = "\n".join(["[[registry]]", f'match = "{match}"', 'source = "gcr"', *lines, ""])
        write(self.home / ".config/credhelpers/config.toml", text)

    def subject(self, content: str = fakes.SUBJECT_TOKEN) -> dict[str, object]:
        """The source of an external account: a file."""
        return {"file": write(self.home / "subject-token", content)}


@pytest.fixture
def machine(home: Path, google: FakeGoogle) -> Machine:
    """A machine on which nobody is logged in."""
    return Machine(home, google)


def fails(result: Result, out: bytes, err: bytes | None = None) -> None:
    """It failed with this one line, and neither line holds a secret."""
    assert result.code == 1, result
    assert result.out.startswith(out), result
    assert not result.out.startswith(b"internal error"), result
    assert result.out.count(b"\n") == 1
    assert result.told
    assert err is None or b"; " + err.rstrip() + b" [" in result.err
    no_canary(result.out + result.err)


def no_canary(text: bytes) -> None:
    """No secret is in the text, in clear or in base64."""
    for canary in CANARIES:
        assert canary.encode() not in text
        assert base64.b64encode(canary.encode())[:-4] not in text


# --- the identities ---------------------------------------------------------------------------------------------------


def files(machine: Machine) -> dict[str, tuple[object, str, int]]:
    """By kind of file: its content, whose token comes of it, and in how many requests."""
    subject = machine.subject()
    return {
        "user": (user(), f"user {fakes.REFRESH_TOKEN}", 1),
        "service account": (service_account(), ACCOUNT, 1),
        "federation from file": (external(subject), f"external {fakes.SUBJECT_TOKEN}", 1),
        "federation from JSON file": (
            external(
                {
                    "file": write(machine.home / "subject.json", {"token": fakes.SUBJECT_TOKEN}),
                    "format": {"type": "json", "subject_token_field_name": "token"},
                }
            ),
            f"external {fakes.SUBJECT_TOKEN}",
            1,
        ),
        "federation from URL": (external(BY_URL), f"external {fakes.SUBJECT_TOKEN} by URL", 2),
        "federation with impersonation": (
            external(subject, service_account_impersonation_url=impersonation()),
            f"external {fakes.SUBJECT_TOKEN} > {ACCOUNT}",
            2,
        ),
        "workforce user": (WORKFORCE, "workforce", 1),
        "impersonation by user": (
            {
                "type": "impersonated_service_account",
                "source_credentials": user(),
                "service_account_impersonation_url": impersonation(),
                "delegates": [OTHER],
            },
            f"user {fakes.REFRESH_TOKEN} > {OTHER} > {ACCOUNT}",
            2,
        ),
        "impersonation by service account": (
            {
                "type": "impersonated_service_account",
                "source_credentials": service_account(OTHER),
                "service_account_impersonation_url": impersonation(),
            },
            f"{OTHER} > {ACCOUNT}",
            2,
        ),
    }


KINDS = (
    "user",
    "service account",
    "federation from file",
    "federation from JSON file",
    "federation from URL",
    "federation with impersonation",
    "workforce user",
    "impersonation by user",
    "impersonation by service account",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_its_token(kind: str, machine: Machine) -> None:
    """A file of each type gives the token of its identity, with no request too many, and then comes from the cache."""
    info, whose, requests = files(machine)[kind]
    machine.file(info)

    assert machine.whose() == whose
    assert machine.whose() == whose
    assert len(machine.google.requests) == requests
    assert machine.google.proxy.refused == []


def test_the_table_of_kinds_is_whole(machine: Machine) -> None:
    """The names of the parameters are those of the table."""
    assert tuple(files(machine)) == KINDS


def test_aws_federation_from_the_environment(machine: Machine) -> None:
    """AWS's keys sign a request that Google's exchange takes; another key is another identity."""
    source = {
        "environment_id": "aws1",
        "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    }
    machine.file(external(source, subject_token_type="urn:ietf:params:aws:token-type:aws4_request"))
    keys = {"AWS_ACCESS_KEY_ID": "made-up-1", "AWS_SECRET_ACCESS_KEY": "made-up-aws", "AWS_REGION": "eu-west-1"}

    assert machine.whose(**keys) == "aws made-up-1"
    assert machine.whose(**keys | {"AWS_ACCESS_KEY_ID": "made-up-2"}) == "aws made-up-2"


def test_aws_federation_from_the_metadata_service(machine: Machine, aws: FakeAwsMetadata) -> None:
    """Where the environment has no keys, AWS's metadata service is asked, with a session, and never by a proxy."""
    machine.file(aws.credential())

    assert machine.whose(HTTP_PROXY=machine.google.proxy.url) == "aws made-up-3"
    assert [request.path for request in aws.site.requests][-1] == "/role/puller"
    assert {name.partition(":")[0] for name in machine.google.proxy.asked} == {"sts.googleapis.com"}


def program(machine: Machine, script: str) -> dict[str, object]:
    """The source of an external account: a program."""
    path = Path(write(machine.home / "bin/token", f"#!/bin/sh\n{script}\n"))
    path.chmod(0o700)
    return {"executable": {"command": str(path), "timeout_millis": 5000}}


ANSWER = {
    "version": 1,
    "success": True,
    "token_type": "urn:ietf:params:oauth:token-type:jwt",
    "id_token": fakes.SUBJECT_TOKEN,
}


def test_a_program_runs_only_if_google_s_switch_allows_it(machine: Machine) -> None:
    """A credential file may not run a program, unless the user set the variable that Google has for it."""
    ran = machine.home / "ran"
    machine.file(external(program(machine, f"touch {ran}; cat; echo '{json.dumps(ANSWER)}'")))

    fails(machine.get(), b"the file of GOOGLE_APPLICATION_CREDENTIALS wants to run a program\n")
    assert not ran.exists()
    assert machine.whose(GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES="1") == f"external {fakes.SUBJECT_TOKEN}"


@pytest.mark.slow
def test_a_program_that_hangs_is_given_up(machine: Machine) -> None:
    """The program has its time-out, and the call its own."""
    machine.file(external(program(machine, "exec sleep 60")))
    started = time.monotonic()

    result = machine.get(GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES="1")

    fails(result, b"the program of the credential file gave no token in time\n")
    assert time.monotonic() - started < 6.5 + patience(0.5)


def test_the_order_of_identities(machine: Machine, metadata: FakeMetadata) -> None:
    """Configuration, then GOOGLE_APPLICATION_CREDENTIALS, then gcloud's file, then the metadata server."""
    machine.more["GCE_METADATA_HOST"] = metadata.host
    assert machine.whose() == "machine"

    machine.default(user(f"{fakes.REFRESH_TOKEN} of gcloud"))
    assert machine.whose() == f"user {fakes.REFRESH_TOKEN} of gcloud"

    machine.file(service_account())
    assert machine.whose() == ACCOUNT

    machine.config(f'credentials_file = "{write(machine.home / "other.json", service_account(OTHER))}"')
    assert machine.whose() == OTHER

    machine.config('credential = "metadata"')
    assert machine.whose() == "machine"


def test_cloudsdk_config_moves_gcloud_s_file(machine: Machine) -> None:
    """CLOUDSDK_CONFIG names the directory in which gcloud's file is."""
    write(machine.home / "elsewhere/application_default_credentials.json", service_account())

    assert machine.whose(CLOUDSDK_CONFIG=str(machine.home / "elsewhere")) == ACCOUNT


def test_nobody_logged_in_is_not_found(machine: Machine) -> None:
    """With no identity a public image is pulled anonymously, and nobody is asked anything."""
    found = machine.get()
    assert found.is_absent
    assert found.told == "gcr-no-identity"
    assert b"; a built-in rule of gcr has this host [" in found.err
    assert machine.google.proxy.asked == []


@pytest.mark.parametrize("server", ["ghcr.io", "europe-docker.pkg.dev.evil.example", "storage.googleapis.com"])
def test_other_hosts_get_nothing(server: str, machine: Machine) -> None:
    """A host that is not Google's registry is not found, and nobody is asked anything."""
    machine.file(user())

    assert machine.get(server) == Result(1, NOT_FOUND, b"")
    machine.config()  # with a configuration any host could be one
    assert machine.get(server) == Result(1, NOT_FOUND, b"")
    assert machine.google.requests == []


PATTERNS = ("europe-docker.pkg.dev", "*-docker.pkg.dev", "docker.*.rep.pkg.dev", "gcr.io", "*.gcr.io")


@pytest.mark.parametrize("pattern", [*PATTERNS, "mirror.acme.example"])
def test_look_alikes_are_refused_whatever_is_configured(pattern: str, machine: Machine) -> None:
    """There is no order, so no request, for any but those which the pattern itself says, below Google's own domain."""
    machine.config(match=pattern)
    source = gcr.Gcr({name.encode(): value.encode() for name, value in machine.environment().items()})
    said = re.compile(re.escape(pattern).replace(r"\*", "[a-z0-9-]+"))

    for server in _LOOK_ALIKES["google"]:
        with contextlib.suppress(HelperError):
            minter_of(source, server)
            assert said.fullmatch(server)


def test_strangers_are_asked_about_nowhere_whatever_is_configured(machine: Machine) -> None:
    """With entries for all that Google has and an identity, a stranger's host is not found, and no packet leaves."""
    machine.file(service_account())
    entries = [f'[[registry]]\nmatch = "{pattern}"\nsource = "gcr"\n' for pattern in PATTERNS]
    write(machine.home / ".config/credhelpers/config.toml", "".join(entries))

    for server in test_contract_gcr.TestGcr().strangers():
        assert machine.get(server) == Result(1, NOT_FOUND, b""), server
    assert machine.google.proxy.asked == []


def test_ten_hosts_one_mint(machine: Machine) -> None:
    """A token opens every registry of Google's, so it is minted once."""
    machine.file(service_account())
    hosts = ["gcr.io", "eu.gcr.io", "docker.us-east1.rep.pkg.dev"]
    hosts += [
        f"{place}-docker.pkg.dev" for place in ("us", "europe", "asia", "europe-west1", "us-east1", "us-west2", "me")
    ]

    assert len({machine.secret(host) for host in hosts}) == 1
    assert machine.google.mints == 1
    assert set(call("gcr", "list", env=machine.environment()).listing) == set(hosts)


def test_twenty_calls_at_once_mint_once(machine: Machine) -> None:
    """One process mints while the others wait."""
    machine.file(service_account())
    machine.google.delay = 1
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        secrets = set(pool.map(lambda _: machine.secret(), range(20)))

    # After four seconds one of those who wait goes ahead, and a busy machine may need as long for the first one.
    assert len(secrets) == machine.google.mints == 1 or time.monotonic() - began > 4


def age(machine: Machine, *times: str) -> None:
    """Let these times of every cached token be over."""
    folder = machine.home / ".cache/credhelpers"
    paths = [path for path in folder.iterdir() if re.fullmatch("gcr-[0-9a-f]{40}", path.name)]
    assert len(paths) == 2  # the token, and its copy for the host
    for path in paths:
        first, rest = path.read_bytes().split(b"\n", 2)[1:]
        issued, soft, hard, *others = first.split()
        past = str(int(time.time()) - 1).encode()
        soft, hard = past if "soft" in times else soft, past if "hard" in times else hard
        body = b" ".join((issued, soft, hard, *others)) + b"\n" + rest
        path.write_bytes(cached_token.head_of(path.name.encode(), body) + b"\n" + body)


def test_twenty_calls_at_the_soft_expiry_mint_once(machine: Machine) -> None:
    """All have the old token, and one process gets the next one behind their answers."""
    machine.file(service_account())
    old = machine.secret()
    age(machine, "soft")
    machine.google.delay = patience(1)  # longer than twenty calls take
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: machine.secret(), range(20))) == {old}

    until = time.monotonic() + 20
    while machine.secret() == old:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert machine.google.mints == 2


# --- the configuration ------------------------------------------------------------------------------------------------


def test_impersonation_with_delegates(machine: Machine, metadata: FakeMetadata) -> None:
    """The configured account's token is asked for by whoever we are, through the configured chain."""
    machine.config(f'impersonate = "{ACCOUNT}"', f'delegates = ["{OTHER}"]')
    machine.file(user())
    assert machine.whose() == f"user {fakes.REFRESH_TOKEN} > {OTHER} > {ACCOUNT}"

    machine.file(external(machine.subject()))
    assert machine.whose() == f"external {fakes.SUBJECT_TOKEN} > {OTHER} > {ACCOUNT}"

    machine.more = {"GCE_METADATA_HOST": metadata.host}
    assert machine.whose() == f"machine > {OTHER} > {ACCOUNT}"


def test_two_registries_two_identities(machine: Machine) -> None:
    """Each registry gets the token of its own identity, and both stay in the cache."""
    machine.file(service_account())
    machine.config(f'credentials_file = "{write(machine.home / "other.json", service_account(OTHER))}"')

    for _ in range(2):
        assert (machine.whose(HOST), machine.whose("gcr.io")) == (OTHER, ACCOUNT)
    assert machine.google.mints == 2


def test_an_alias_host(machine: Machine) -> None:
    """A host that stands for a registry of Google's is one because the user wrote it, and only that one."""
    machine.file(service_account())
    machine.config(match="mirror.acme.example")

    assert machine.whose("mirror.acme.example") == ACCOUNT
    assert machine.get("mirror.acme.example.evil.example") == Result(1, NOT_FOUND, b"")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(['credentials_file = "/a"', 'credential = "gcloud"'], b"exclude each other", id="two identities"),
        pytest.param(['account = "a@b.example"'], b'needs `credential = "gcloud"`', id="account of nothing"),
        pytest.param(['configuration = "work"'], b'needs `credential = "gcloud"`', id="configuration of nothing"),
        pytest.param([f'delegates = ["{OTHER}"]'], b"needs `impersonate`", id="delegates of nobody"),
        pytest.param(['universe = "s3nsapis.fr"'], b"not the one of this host", id="another universe"),
        pytest.param(['credentials_file = "relative"'], b"is not a path", id="relative path"),
        pytest.param(['impersonate = "--flag"'], b"is not the e-mail", id="flag as account"),
        pytest.param(['credential = "browser"'], b"`credential` is not", id="unknown credential"),
    ],
)
def test_contradictions_are_errors(lines: list[str], message: bytes, machine: Machine) -> None:
    """A configuration that cannot be meant stops docker, naming the line, and nobody is asked."""
    machine.file(user())
    machine.config(*lines)

    result = machine.get()

    assert result.code == 1
    assert result.out.startswith(b"config.toml")
    assert b"line " in result.out
    assert message in result.out
    assert machine.google.requests == []


@pytest.mark.parametrize(
    "line",
    [
        "credentials_file = '{}'",
        'credentials_file = "\\u002f{}"',
        'credentials_file = """{}"""',
        '"credentials_file"="{}" # or not',
        "# credentials_file = '/none'\ncredentials_file = \"{}\"",
    ],
)
def test_a_path_in_any_form_of_toml(line: str, machine: Machine) -> None:
    """However it is written, a changed file is another identity at once."""
    path = machine.home / "my key.json"
    write(path, user())
    machine.config(line.format(str(path).removeprefix("/") if "u002f" in line else path))
    before = keys(machine.environment())
    write(path, {**user(), "account": "other"})

    assert not set(keys(machine.environment())) & set(before)


def test_no_identity_to_impersonate_with(machine: Machine) -> None:
    """Somebody is to be impersonated, and nobody is there to do it: that is broken, not anonymous."""
    machine.config(f'impersonate = "{ACCOUNT}"')

    fails(machine.get(), b"there is no identity that could impersonate the service account\n")


def keys(environ: dict[str, str], server: str = HOST) -> tuple[Known, str]:
    """The keys of the host and of the token."""
    source = gcr.Gcr({name.encode(): value.encode() for name, value in environ.items()})
    return host_key_of(source, server), minter_of(source, server).token_key


VARIABLES = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES",
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "GCE_METADATA_ROOT",
    "GCE_METADATA_IP",
    "NO_GCE_CHECK",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
NO_IDENTITY = {
    "APPENGINE_RUNTIME",  # of an App Engine that is no more
    "CLOUDSDK_CONTEXT_AWARE_CERTIFICATE_CONFIG_FILE_PATH",  # client certificates are switched off
    "CLOUDSDK_CONTEXT_AWARE_USE_CLIENT_CERTIFICATE",
    "GCE_METADATA_DETECT_RETRIES",  # google-auth's client of the metadata server is not used
    "GCE_METADATA_MTLS_MODE",
    "GCE_METADATA_TIMEOUT",
    "GCLOUD_PROJECT",  # a token has no project
    "GOOGLE_API_CERTIFICATE_CONFIG",
    "GOOGLE_API_ENABLE_RUNTIME_BOUND_TOKEN",
    "GOOGLE_API_PREVENT_AGENT_TOKEN_SHARING_FOR_GCP_SERVICES",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE",
    "GOOGLE_API_USE_MTLS_ENDPOINT",
    "GOOGLE_AUTH_TRUST_BOUNDARY_ENABLED",  # says nothing to google-auth any more
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "GOOGLE_SDK_EXPERIMENTAL_PYTHON_REGIONAL_ACCESS_BOUNDARY_LOOKUP_ENABLED",  # of requests to other services
}


def test_the_key_knows_every_variable_of_this_google_auth() -> None:
    """What google-auth reads is in the key or has been judged; a new variable of a new google-auth fails here."""
    names = {value for name, value in vars(environment_vars).items() if name.isupper()}

    assert {name.decode() for name in gcr._VARIABLES} == set(VARIABLES)
    assert names - set(VARIABLES) - NO_IDENTITY == set()


@pytest.mark.parametrize("name", [*VARIABLES, "HOME"])
def test_a_changed_variable_is_a_miss(name: str, machine: Machine) -> None:
    """Every variable that selects an identity, changed alone, selects another token."""
    seen = {keys(machine.environment(**more)) for more in ({}, {name: "/one"}, {name: "/two"})}

    assert len(seen) == 3
    assert len({key for pair in seen for key in pair}) == 2 * len(seen)


@pytest.mark.parametrize("path", ["credential.json", ".config/gcloud/application_default_credentials.json"])
def test_a_changed_file_is_a_miss(path: str, machine: Machine) -> None:
    """Every file that selects an identity, changed alone, selects another token."""
    machine.file(user())
    before = keys(machine.environment())
    write(machine.home / path, {**user(), "account": "other"})
    after = keys(machine.environment())

    assert not set(before) & set(after)


@pytest.mark.parametrize("name", ["CREDHELPERS_CONFIG", "XDG_CONFIG_HOME", pytest.param("", id="the same file")])
def test_another_configuration_is_read_before_a_token_is_answered(name: str, machine: Machine) -> None:
    """One that says the same of this host is a hit, wherever it is; one that says something else is not."""
    machine.file(user())
    machine.config(f'impersonate = "{ACCOUNT}"')
    token = machine.secret()
    before = keys(machine.environment())
    path = machine.home / ".config/credhelpers/config.toml"
    text = path.read_text()
    more = {}
    if name:
        path = machine.home / ("other/credhelpers/config.toml" if name == "XDG_CONFIG_HOME" else "other.toml")
        more[name] = str(machine.home / "other") if name == "XDG_CONFIG_HOME" else str(path)
    write(path, f"# the same\n{text}")

    assert keys(machine.environment(**more)) == before
    assert machine.secret(**more) == token

    path.write_text(text.replace(ACCOUNT, OTHER))

    assert not set(keys(machine.environment(**more))) & set(before)
    assert machine.whose(**more).endswith(f"> {OTHER}")


CHANGES: dict[str, tuple[list[str], list[str]]] = {
    "impersonate": ([], [f'impersonate = "{ACCOUNT}"']),
    "another account": ([f'impersonate = "{OTHER}"'], [f'impersonate = "{ACCOUNT}"']),
    "delegates": ([f'impersonate = "{ACCOUNT}"'], [f'impersonate = "{ACCOUNT}"', f'delegates = ["{OTHER}"]']),
    "credentials_file": (['credentials_file = "/a"'], ['credentials_file = "/b"']),
    "credential": (['credential = "gcloud"'], ['credential = "metadata"']),
    "account": (
        ['credential = "gcloud"', 'account = "a@b.example"'],
        ['credential = "gcloud"', 'account = "c@b.example"'],
    ),
    "configuration": (
        ['credential = "gcloud"', 'configuration = "work"'],
        ['credential = "gcloud"', 'configuration = "home"'],
    ),
    "universe": (['universe = "one.example"'], ['universe = "two.example"']),
}


def test_the_table_of_changes_is_whole() -> None:
    """Every setting of the source is in it."""
    assert set(CHANGES) - {"another account"} == set(SETTINGS)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_setting_is_a_miss(change: str, machine: Machine) -> None:
    """Every setting that selects an identity, changed alone, selects another token, not by the file's stamp alone."""
    minters = []
    found = set()
    for lines in CHANGES[change]:
        machine.config(*lines, match="mirror.acme.example")
        found |= set(keys(machine.environment(), "mirror.acme.example"))
        environ = {name.encode(): value.encode() for name, value in machine.environment().items()}
        minters.append(minter_of(gcr.Gcr(environ), "mirror.acme.example"))

    assert len(found) == 4
    assert minters[0].token_key != minters[1].token_key  # both read now, with one and the same file there


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("spelling", ["{home}/other.json", "~/other.json"])
def test_a_changed_configured_file_is_a_miss(spelling: str, quote: str, machine: Machine) -> None:
    """The file that the configuration names is looked at for every answer, though the configuration is not parsed."""
    write(machine.home / "other.json", service_account())
    path = spelling.format(home=machine.home)
    machine.config(f"credentials_file = {quote}{path}{quote}")
    assert machine.whose() == machine.whose() == ACCOUNT

    write(machine.home / "other.json", service_account(OTHER))

    assert machine.whose() == OTHER


@pytest.mark.parametrize(
    "path", ["active_config", "credentials.db", "configurations/config_work", "configurations/config_new"]
)
def test_what_gcloud_s_login_changes_is_a_miss(path: str, machine: Machine) -> None:
    """Where gcloud mints, each of the files in which it keeps who is logged in counts."""
    machine.config('credential = "gcloud"')
    write(machine.home / ".config/gcloud/configurations/config_work", "one")
    before = keys(machine.environment())
    write(machine.home / ".config/gcloud" / path, "another")
    after = keys(machine.environment())

    assert not set(before) & set(after)
    assert not set(after) & set(keys(machine.environment(CLOUDSDK_CORE_ACCOUNT="x")))
    one, other = (
        keys(machine.environment(**{name: "x"})) for name in ("CLOUDSDK_CORE_ACCOUNT", "CLOUDSDK_CORE_PROJECT")
    )
    assert not set(one) & set(other)


# --- the metadata server ----------------------------------------------------------------------------------------------


def test_the_metadata_server_is_never_behind_a_proxy(machine: Machine, metadata: FakeMetadata) -> None:
    """Whatever proxy variables say, the machine's own service is asked directly."""
    proxies = dict.fromkeys(
        ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "https_proxy"), machine.google.proxy.url
    )

    assert machine.whose(GCE_METADATA_HOST=metadata.host, **proxies) == "machine"
    assert machine.google.proxy.asked == []


def test_a_token_that_is_nearly_over_is_taken(machine: Machine, metadata: FakeMetadata) -> None:
    """GKE hands out such tokens: two minutes are enough, half a minute is asked for again."""
    metadata.lives = [120]
    assert machine.whose(GCE_METADATA_HOST=metadata.host) == "machine"

    metadata.lives = [30, 3600]
    assert machine.whose(GCE_METADATA_ROOT=metadata.host) == "machine"
    assert machine.google.mints == 3

    metadata.lives = [30, 30]
    fails(machine.get(GCE_METADATA_IP=metadata.host), b"google's token ends in less than a minute")


def test_a_metadata_server_that_stumbles_is_asked_again(machine: Machine, metadata: FakeMetadata) -> None:
    """One bad moment costs nothing, two are an error."""
    metadata.statuses = [503]
    assert machine.whose(GCE_METADATA_HOST=metadata.host) == "machine"

    metadata.statuses = [503, 429]
    fails(
        machine.get(GCE_METADATA_HOST=metadata.host, CREDHELPERS_CACHE_DIR=""),
        b"the metadata server gives no token: HTTP 429\n",
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(302, "the metadata server ({}) redirects elsewhere, which is not followed", id="a redirect"),
        pytest.param(400, "the metadata server gives no token: HTTP 400", id="a bad request"),
        pytest.param(403, "the metadata server gives no token: HTTP 403", id="forbidden"),
    ],
)
def test_a_metadata_server_that_refuses_is_an_error(
    status: int, message: str, machine: Machine, metadata: FakeMetadata
) -> None:
    """A machine whose account may not have a token is broken, not anonymous."""
    metadata.statuses = [status]

    line = f"{message.format(metadata.host)}\n".encode()
    fails(machine.get(GCE_METADATA_HOST=metadata.host), line)


def test_a_machine_without_service_account(machine: Machine, metadata: FakeMetadata) -> None:
    """Where somebody said that the machine has an identity, its lack is an error."""
    metadata.statuses = [404]

    fails(machine.get(GCE_METADATA_HOST=metadata.host), b"this machine has no service account\n")


def test_a_machine_of_another_universe(machine: Machine, metadata: FakeMetadata) -> None:
    """The token of another universe's machine goes to no registry of this one."""
    metadata.universe = "s3nsapis.fr"

    fails(machine.get(GCE_METADATA_HOST=metadata.host), b"the identity of this machine is of another universe")
    assert machine.whose("docker.s3nsregistry.fr", GCE_METADATA_HOST=metadata.host) == "machine"


def test_a_slow_metadata_server_gives_its_token(machine: Machine, metadata: FakeMetadata) -> None:
    """Each of its answers has its time: a token in hand is not lost since another answer takes long as well."""
    metadata.delay = 0.55

    assert machine.whose(GCE_METADATA_HOST=metadata.host) == "machine"
    assert len(metadata.site.requests) == 2


def test_a_machine_that_does_not_tell_its_universe(machine: Machine, metadata: FakeMetadata) -> None:
    """A token is no registry's before it is known to be of its universe."""
    metadata.statuses = [200, 503]
    assert machine.whose(GCE_METADATA_HOST=metadata.host) == "machine"

    metadata.statuses = [200, 503, 503]
    fails(
        machine.get(GCE_METADATA_HOST=metadata.host, CREDHELPERS_CACHE_DIR=""),
        b"the metadata server does not tell the universe of this machine: HTTP 503\n",
    )


@pytest.mark.parametrize("word", ["my role", "role#", "role\n", "r\u00f6le"])
def test_the_name_of_a_role_is_no_part_of_a_url(word: str, machine: Machine, aws: FakeAwsMetadata) -> None:
    """A stray page, say, where AWS's metadata service was: that is told, and each time."""
    machine.file(aws.credential())
    aws.answers["role"] = Response(200, word.encode())
    for _ in range(2):
        fails(machine.get(), b"the token that the credential file refers to cannot be had\n")


def test_a_slow_metadata_server_has_the_time_of_the_call(machine: Machine, metadata: FakeMetadata) -> None:
    """The named server that does not answer is an error, and is remembered."""
    metadata.delay = 1.3
    assert machine.whose(GCE_METADATA_HOST=metadata.host, CREDHELPERS_CACHE_DIR="") == "machine"
    metadata.delay = 10
    started = time.monotonic()
    fails(
        machine.get(GCE_METADATA_HOST=metadata.host),
        b"the metadata server (%b) did not answer in time\n" % metadata.host.encode(),
    )
    assert time.monotonic() - started < 8 + patience(1)

    started = time.monotonic()
    fails(
        machine.get(GCE_METADATA_HOST=metadata.host),
        b"the metadata server (%b) did not answer in time\n" % metadata.host.encode(),
    )
    assert time.monotonic() - started < patience(0.5)


@pytest.mark.parametrize("delay", [1.2, 3.0])
def test_a_slow_url_of_a_credential_file_has_the_time_of_the_call(delay: float, machine: Machine) -> None:
    """A file that names one says that it is there; a metadata service of Azure's takes seconds (reports.md 1.A3)."""

    def slow(_request: Request) -> Response:
        time.sleep(delay)
        return Response(200, fakes.SUBJECT_TOKEN.encode())

    with Site(slow) as site:
        machine.file(external({"url": f"http://127.0.0.1:{site.port}/token"}))
        assert machine.whose() == f"external {fakes.SUBJECT_TOKEN}"


def test_a_silent_url_of_a_credential_file_is_named(machine: Machine) -> None:
    """With its address, and no hint at a host that was not asked."""

    def silent(_request: Request) -> Response:
        time.sleep(12)
        return Response()

    with Site(silent) as site:
        machine.file(external({"url": f"http://127.0.0.1:{site.port}/token"}))
        result = machine.get()

    fails(result, b"the token URL of the credential file (127.0.0.1:%d) did not answer in time\n" % site.port)
    assert b"googleapis" not in result.err


# A network of its own, in which the metadata server's true address is whatever the test wants.
ISLAND = """
import subprocess, sys, time
kind, root, *call = sys.argv[1:]
sys.path.insert(0, root)
def ip(*words):
    subprocess.run(["ip", *words], check=True)
ip("link", "set", "lo", "up")
if kind == "silent":
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    ip("address", "add", "169.254.0.1/16", "dev", "v0")
    ip("link", "set", "v0", "up")
    ip("link", "set", "v1", "up")
elif kind != "absent":
    ip("address", "add", "169.254.169.254/32", "dev", "lo")
    import http.server, threading
    class Handler(http.server.BaseHTTPRequestHandler):
        requests = 0
        def do_GET(self):
            Handler.requests += 1
            if kind == "slow" or (kind == "stumbling" and Handler.requests > 1):
                time.sleep(5)
            body = b'{"access_token": "made-up-token", "expires_in": 3599, "token_type": "Bearer"}'
            status = {"without account": 404, "stumbling": 503}.get(kind, 200)
            self.send_response(404 if self.path.endswith("domain") else status)
            if kind != "foreign":
                self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *words):
            pass
    server = http.server.ThreadingHTTPServer(("169.254.169.254", 80), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
for _ in range(2):
    started = time.monotonic()
    done = subprocess.run(call, input=b"gcr.io", capture_output=True, timeout=30)
    print(done.returncode, round(time.monotonic() - started, 2), done.stdout)
"""


def on_island(kind: str, machine: Machine) -> list[tuple[float, str]]:
    """How long each of two calls takes where the metadata server is of this kind, and what it says."""
    need("ip", "iproute2")
    unshare = [need("unshare", "util-linux"), "-n" if os.geteuid() == 0 else "-rn"]
    helper = Path(sys.executable).parent / "docker-credential-gcr"
    done = subprocess.run(
        [*unshare, sys.executable, "-c", ISLAND, kind, str(Path(__file__).parent.parent), str(helper), "get"],
        env=environment(machine.home),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert len(rows) == 2
    return [(float(seconds), answer) for _, seconds, answer in rows]


@pytest.mark.parametrize(
    ("kind", "answer", "seconds"),
    [
        pytest.param("present", "made-up-token", 1, id="present"),
        pytest.param("absent", "credentials not found", 0.8, id="absent"),
        pytest.param("silent", "credentials not found", 1.7, id="silent"),
        pytest.param("slow", "credentials not found", 1.7, id="slow"),
        pytest.param("foreign", "credentials not found", 0.8, id="another cloud's"),
        pytest.param("without account", "credentials not found", 0.8, id="without service account"),
        pytest.param("stumbling", "the metadata server gives no token: HTTP 503", 6.5, id="stumbling"),
    ],
)
def test_the_metadata_server_at_its_true_address(kind: str, answer: str, seconds: float, machine: Machine) -> None:
    """Present, it gives a token; else nobody is logged in, which takes a second at most, once."""
    first, second = on_island(kind, machine)

    assert answer in first[1]
    assert answer in second[1]
    assert first[0] < seconds - 0.7 + patience(0.7)
    assert second[0] < patience(0.5)


@pytest.mark.parametrize("kind", ["absent", "silent", "slow", "foreign", "without account"])
def test_a_token_in_hand_outlasts_a_metadata_server(kind: str, machine: Machine) -> None:
    """That the server says nothing now is no word against the token that it gave, which is good for minutes yet."""
    assert "made-up-token" in on_island("present", machine)[0][1]
    age(machine, "soft", "hard")

    assert all("made-up-token" in answer for _, answer in on_island(kind, machine))
    assert call("gcr", "list", env=environment(machine.home)).listing == {"gcr.io": "oauth2accesstoken"}


def test_no_identity_any_more_is_an_error(machine: Machine) -> None:
    """Where there is a token in hand there was an identity, and to go on anonymously is the wrong pull."""
    minter = minter_of(gcr.Gcr({name.encode(): value.encode() for name, value in machine.environment().items()}), HOST)
    later = time.time() + 60
    with pytest.raises(NotFound):
        minter.mint()
    with pytest.raises(Unavailable, match=r"^no identity is found any more for the token in hand$") as raised:
        minter.mint(Credential("oauth2accesstoken", "made-up-token", soft=later, hard=later, expires=later))
    assert "the metadata server" in raised.value.hint


# --- gcloud -----------------------------------------------------------------------------------------------------------

GCLOUD = """\
#!/bin/sh
cat > {home}/gcloud-input
echo "$*" >> {home}/gcloud-calls
echo "$CLOUDSDK_CORE_DISABLE_PROMPTS $CLOUDSDK_ACTIVE_CONFIG_NAME" >> {home}/gcloud-environment
{script}
"""


def gcloud(machine: Machine, script: str) -> list[str]:
    """Put a gcloud into PATH; gives the words of the calls so far."""
    path = Path(write(machine.home / "sdk/bin/gcloud", GCLOUD.format(home=machine.home, script=script)))
    path.chmod(0o755)
    machine.more["PATH"] = f"{path.parent}:/usr/bin:/bin"
    calls = machine.home / "gcloud-calls"
    return calls.read_text().splitlines() if calls.exists() else []


def helper_answer(token: str, life: float = 3000, **core: str) -> str:
    """A script that prints what `gcloud config config-helper` does."""
    end = dt.datetime.fromtimestamp(time.time() + life, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {
        "configuration": {"active_configuration": "default", "properties": {"core": core}},
        "credential": {"access_token": token, "token_expiry": end},
    }
    return f"cat <<'END'\n{json.dumps(answer)}\nEND"


def test_gcloud_is_asked_only_if_it_is_named(machine: Machine) -> None:
    """gcloud's login is nobody's default: it costs half a second and runs what PATH finds."""
    gcloud(machine, helper_answer("made-up-token-of-gcloud"))
    assert machine.get().is_absent

    machine.config('credential = "gcloud"', 'account = "me@acme.example"', 'configuration = "work"')

    assert machine.secret(CLOUDSDK_ACTIVE_CONFIG_NAME="other") == "made-up-token-of-gcloud"
    assert gcloud(machine, "exit 1") == [
        "config config-helper --format=json --min-expiry=600s --quiet --account=me@acme.example --configuration=work"
    ]
    assert (machine.home / "gcloud-input").read_bytes() == b""
    assert (machine.home / "gcloud-environment").read_text() == "1 other\n"


def test_gcloud_s_token_can_impersonate(machine: Machine) -> None:
    """The token of gcloud's login asks for the service account's."""
    gcloud(machine, helper_answer(machine.google.issue("me")))
    machine.config('credential = "gcloud"', f'impersonate = "{ACCOUNT}"')

    assert machine.whose() == f"me > {ACCOUNT}"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param(
            "echo 'ERROR: Please run: $ gcloud auth login' >&2; exit 1",
            b"gcloud is not logged in, or",
            id="not logged in",
        ),
        pytest.param(
            "echo 'Reauthentication failed. made-up-token' >&2; exit 1",
            b"gcloud is not logged in, or",
            id="login expired",
        ),
        pytest.param("echo made-up-token >&2; exit 1", b"gcloud gave no token\n", id="failed"),
        pytest.param("echo made-up-token", b"gcloud gave no token\n", id="no JSON"),
        pytest.param("echo '[]'", b"gcloud gave no token\n", id="no object"),
        pytest.param('echo \'{"credential": {"access_token": 1}}\'', b"gcloud gave no token\n", id="no expiry"),
        pytest.param(helper_answer("made-up-token", 30), b"google's token ", id="over, or nearly"),
        pytest.param(
            helper_answer("made-up-token", universe_domain="other.example"),
            b"gcloud's configuration is of",
            id="universe",
        ),
    ],
)
def test_gcloud_that_fails_is_an_error(script: str, message: bytes, machine: Machine) -> None:
    """What gcloud prints is shown to nobody, but what to do is."""
    gcloud(machine, script)
    machine.config('credential = "gcloud"')

    fails(machine.get(), message)


def test_gcloud_that_hangs_is_killed_with_its_children(machine: Machine) -> None:
    """The call ends in time, and no process of gcloud's is left."""
    gcloud(machine, f"sleep 1234 & echo $! > {machine.home}/child; wait")
    machine.config('credential = "gcloud"')
    started = time.monotonic()

    fails(machine.get(), b"gcloud does not answer in time\n")

    assert time.monotonic() - started < 9.8 + patience(0.2)
    state = Path(f"/proc/{(machine.home / 'child').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_gcloud_in_a_directory_of_everybody_is_not_run(machine: Machine) -> None:
    """A program that any user could have planted is not started, nor one in the working directory."""
    gcloud(machine, helper_answer("made-up-token"))
    machine.config('credential = "gcloud"')
    (machine.home / "sdk/bin").chmod(0o777)

    for path in (f"{machine.home}/sdk/bin", f"{os.path.relpath(machine.home)}/sdk/bin", ""):
        fails(machine.get(PATH=path, CREDHELPERS_CACHE_DIR=""), b"gcloud is not installed\n")


# --- what must not happen to a secret ---------------------------------------------------------------------------------

TOKEN_PATH = "instance/service-accounts/default/token"
STEPS = [
    pytest.param("user", ("oauth2.googleapis.com",), id="user"),
    pytest.param("service account", ("oauth2.googleapis.com",), id="service account"),
    pytest.param("federation from file", ("sts.googleapis.com",), id="federation"),
    pytest.param("federation from URL", ("token.example",), id="subject token"),
    pytest.param("federation from URL", ("token.example", "sts.googleapis.com"), id="subject token, then exchange"),
    pytest.param("workforce user", ("sts.googleapis.com",), id="workforce"),
    pytest.param(
        "federation with impersonation", ("sts.googleapis.com", "iamcredentials.googleapis.com"), id="federated account"
    ),
    pytest.param("impersonation by user", ("oauth2.googleapis.com",), id="source of impersonation"),
    pytest.param(
        "impersonation by user", ("oauth2.googleapis.com", "iamcredentials.googleapis.com"), id="impersonation"
    ),
]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("kind", "path"), STEPS)
def test_a_redirect_is_not_followed(kind: str, path: tuple[str, ...], status: int, machine: Machine) -> None:
    """Whichever request is redirected, wherever to, nothing is sent there, and the call fails."""
    google = machine.google
    machine.file(files(machine)[kind][0])
    with Site(lambda _: Response(200, b"{}")) as stranger:
        google.proxy.routes["stranger.example"] = stranger.port
        target = f"http://127.0.0.1:{stranger.port}/" if status == 302 else "https://stranger.example/"
        google.answer_next(path[-1], Response(status, b"{}", {"Location": target}))

        result = machine.get()

        assert stranger.requests == []
    assert google.proxy.asked == [f"{host}:443" for host in path]
    assert b"redirects elsewhere, which is not followed" in result.out
    fails(result, b"")


@pytest.mark.parametrize("status", [302, 308])
@pytest.mark.parametrize("path", ["session", "zone", "role", "role/puller", TOKEN_PATH, "universe/universe-domain"])
def test_a_redirect_of_a_metadata_service_is_not_followed(
    path: str, status: int, machine: Machine, metadata: FakeMetadata, aws: FakeAwsMetadata
) -> None:
    """The same for each request to AWS's and to Google's, which the stranger could answer."""
    if path in (TOKEN_PATH, "universe/universe-domain"):
        machine.more["GCE_METADATA_HOST"] = metadata.host
        service: FakeMetadata | FakeAwsMetadata = metadata
    else:
        machine.file(aws.credential())
        service = aws
    with Site(lambda _: Response(200, b"{}", {"Metadata-Flavor": "Google"})) as stranger:
        service.answers[path] = Response(status, b"{}", {"Location": f"http://127.0.0.1:{stranger.port}/"})

        result = machine.get()

        assert stranger.requests == []
    assert service.site.requests[-1].path.endswith(path)
    assert machine.google.proxy.asked == []
    assert b"HTTP %d\n" % status in result.out or b"redirects elsewhere, which is not followed" in result.out
    fails(result, b"")


@pytest.mark.parametrize("status", [302, 308])
def test_a_redirect_to_an_identity_token_is_not_followed(status: int, metadata: FakeMetadata) -> None:
    """Nor for the token by which this machine logs in to Vault."""
    with Site(lambda _: Response(200, b"a.b.c", {"Metadata-Flavor": "Google"})) as stranger:
        path = "instance/service-accounts/default/identity"
        environ = {b"GCE_METADATA_HOST": metadata.host.encode()}
        metadata.answers[path] = Response(status, b"a.b.c", {"Location": f"http://127.0.0.1:{stranger.port}/"})

        with pytest.raises(
            Unavailable, match=r"^the metadata server \(127\.0\.0\.1:\d+\) redirects elsewhere, which is not followed$"
        ):
            MachineAccount(environ, UNIVERSE, time.monotonic() + 5).identity_token("vault/puller")

        assert stranger.requests == []


@pytest.mark.parametrize(
    ("name", "info"),
    [
        pytest.param("token_uri", service_account(token_uri="https://stranger.example/token"), id="key"),
        pytest.param("token_uri", service_account(token_uri="http://oauth2.googleapis.com/token"), id="key over http"),
        pytest.param("token_uri", service_account(token_uri="https://oauth2.googleapis.com:8443/"), id="another port"),
        pytest.param(
            "token_uri", service_account(token_uri="https://oauth2.googleapis.com@stranger.example/"), id="user info"
        ),
        pytest.param(
            "token_uri", service_account(token_uri="https://stranger.example\\@oauth2.googleapis.com/"), id="slash"
        ),
        pytest.param(
            "token_uri", service_account(token_uri="https://storage.googleapis.com/bucket"), id="not a token service"
        ),
        pytest.param(
            "token_url",
            external({"file": "/x"}, token_url="https://sts.googleapis.com.stranger.example/"),
            id="exchange",
        ),
        pytest.param(
            "service_account_impersonation_url",
            external(
                {"file": "/x"}, service_account_impersonation_url="https://stranger.example/v1/a:generateAccessToken"
            ),
            id="federated account",
        ),
        pytest.param("token_url", WORKFORCE | {"token_url": "https://stranger.example/"}, id="workforce"),
        pytest.param(
            "service_account_impersonation_url",
            {
                "type": "impersonated_service_account",
                "source_credentials": user(),
                "service_account_impersonation_url": "https://stranger.example/v1/a:generateAccessToken",
            },
            id="impersonation",
        ),
        pytest.param("URL", external({"url": "http://stranger.example/token"}), id="subject token over http"),
        pytest.param(
            "URL",
            external(
                {"environment_id": "aws1", "url": "https://stranger.example/", "regional_cred_verification_url": "x"}
            ),
            id="AWS's metadata service elsewhere",
        ),
    ],
)
def test_a_file_cannot_send_a_secret_elsewhere(name: str, info: object, machine: Machine) -> None:
    """A credential file from a stranger cannot make us ask a host that is not Google's."""
    machine.file(info)
    with Site(lambda _: Response(200, b"{}")) as stranger:
        machine.google.proxy.routes["stranger.example"] = stranger.port
        result = machine.get()
        assert stranger.requests == []

    fails(result, b"the file of GOOGLE_APPLICATION_CREDENTIALS ")
    assert name.encode() in result.out
    assert machine.google.proxy.asked == []


def test_netrc_is_not_read(machine: Machine) -> None:
    """A `.netrc` with an entry for each of Google's hosts changes no request."""
    lines = "".join(f"machine {host} login made-up password made-up-netrc\n" for host in fakes.HOSTS)
    write(machine.home / ".netrc", lines + "default login made-up password made-up-netrc\n")
    machine.file(external(BY_URL, service_account_impersonation_url=impersonation()))

    machine.secret(NETRC=str(machine.home / ".netrc"))

    sent = [request.headers.get("authorization", "") for request in machine.google.requests]
    assert [line.partition(" ")[0] for line in sent] == ["made-up-authorization", "", "Bearer"]


def test_a_proxy_s_password_goes_to_the_proxy_only(machine: Machine) -> None:
    """User and password of HTTPS_PROXY open the tunnel, and are not seen behind it."""
    machine.file(user())
    machine.secret(HTTPS_PROXY=machine.google.proxy.url.replace("http://", "http://made-up:p%40ss@"))

    assert all("proxy-authorization" not in request.headers for request in machine.google.requests)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        pytest.param(
            "http://127.0.0.1:1", b"the proxy 127.0.0.1:1 does not lead to oauth2.googleapis.com\n", id="dead"
        ),
        pytest.param("socks5://127.0.0.1:1", b"the URL of the proxy is not one of HTTP\n", id="socks"),
        pytest.param(
            "127.0.0.1:1", b"the proxy 127.0.0.1:1 does not lead to oauth2.googleapis.com\n", id="without scheme"
        ),
        pytest.param(
            "http://proxy.invalid:1",
            b"the proxy proxy.invalid:1 does not lead to oauth2.googleapis.com\n",
            id="unknown",
        ),
    ],
)
def test_a_bad_proxy_is_an_error(proxy: str, message: bytes, machine: Machine) -> None:
    """It is never gone around."""
    machine.file(user())

    fails(machine.get(HTTPS_PROXY=proxy), message)


def test_a_proxy_that_refuses_is_named(machine: Machine) -> None:
    """What the proxy does not let through is told from what does not answer."""
    machine.file(user())
    machine.google.proxy.routes.clear()

    assert machine.get().out.endswith(b" does not lead to oauth2.googleapis.com\n")


def certificate(authority: CertificateAuthority, kind: str) -> ssl.SSLContext:
    """A context with a certificate that must not be accepted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if kind == "of a stranger":
        import trustme

        trustme.CA().issue_cert(*fakes.HOSTS).configure_cert(context)
    elif kind == "expired":
        day = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        authority._ca.issue_cert(*fakes.HOSTS, not_after=day).configure_cert(context)
    else:
        authority._ca.issue_cert("other.example").configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("of a stranger", "no known authority vouches for the certificate of {}"),
        ("expired", "the certificate of {} has expired"),
        ("of another name", "what answers as {} has the certificate of another host"),
    ],
)
@pytest.mark.parametrize(
    ("identity", "host", "name"),
    [
        pytest.param("user", "oauth2.googleapis.com", "oauth2.googleapis.com", id="oauth2"),
        pytest.param("federation from file", "sts.googleapis.com", "sts.googleapis.com", id="sts"),
        pytest.param(
            "federation with impersonation",
            "iamcredentials.googleapis.com",
            "iamcredentials.googleapis.com",
            id="iamcredentials",
        ),
        pytest.param(
            "federation from URL",
            "token.example",
            "the token URL of the credential file (token.example)",
            id="token URL",
        ),
    ],
)
def test_a_bad_certificate_is_an_error(
    identity: str, host: str, name: str, kind: str, message: str, machine: Machine, authority: CertificateAuthority
) -> None:
    """No request is sent over a connection that is not the host's own, and there is no second try."""
    machine.file(files(machine)[identity][0])
    with Site(lambda _: Response(200, b"{}"), certificate(authority, kind)) as impostor:
        machine.google.proxy.routes[host] = impostor.port

        fails(machine.get(), f"{message.format(name)} (through the proxy ".encode())

        assert impostor.requests == []
    assert machine.google.proxy.asked.count(f"{host}:443") == 1


@pytest.mark.parametrize("variables", [{"SSL_CERT_FILE": NOWHERE, "SSL_CERT_DIR": NOWHERE}, {}])
def test_google_is_not_trusted_by_the_system_s_authorities(variables: dict[str, str], machine: Machine) -> None:
    """Without a CA variable the system's authorities count, or certifi's: neither knows the tests' own."""
    machine.file(user())

    fails(
        machine.get(REQUESTS_CA_BUNDLE="", **variables),
        b"no known authority vouches for the certificate of oauth2.googleapis.com",
    )


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_of_the_network_can_be_named(name: str, machine: Machine) -> None:
    """Each of the usual variables names the file of a company's authority."""
    machine.file(user())
    bundle = machine.environment()["REQUESTS_CA_BUNDLE"]

    assert machine.whose(**{"REQUESTS_CA_BUNDLE": "", name: bundle})


def test_debugging_tells_who_it_was(machine: Machine, metadata: FakeMetadata) -> None:
    """Which identity was used is a line on standard error, if it is asked for, and no secret."""
    machine.file(user())
    for more, who in (
        ({}, b"the file of GOOGLE_APPLICATION_CREDENTIALS"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "", "GCE_METADATA_HOST": metadata.host}, b"this machine"),
    ):
        result = machine.get(CREDHELPERS_DEBUG="1", **more)
        assert result.code == 0
        assert result.err == b"debug: google identity: " + who + b"\n"


def test_no_proxy_is_honoured(machine: Machine) -> None:
    """A host that is to be reached without the proxy is not asked through it."""
    machine.file(external({"url": "https://token.example/", **BY_URL}, token_url="https://sts.googleapis.com/v1/token"))

    result = machine.get(NO_PROXY="token.example")  # whose name nobody can resolve

    fails(result, b"the address of the token URL of the credential file (")
    assert machine.google.proxy.asked == []


def test_a_missing_bundle_is_an_error(machine: Machine) -> None:
    """A CA variable that leads nowhere is said, and nothing else is trusted instead."""
    machine.file(user())

    fails(machine.get(REQUESTS_CA_BUNDLE=NOWHERE), b"what REQUESTS_CA_BUNDLE names cannot be read as certificates")


@pytest.mark.parametrize("name", ["GOOGLE_API_USE_CLIENT_CERTIFICATE", "GOOGLE_API_CERTIFICATE_CONFIG"])
def test_nobody_is_asked_who_wants_a_client_certificate(name: str, machine: Machine) -> None:
    """Where google-auth would show one, it would also impersonate at another host, which takes nothing without it."""
    machine.file(user())
    machine.config(f'impersonate = "{ACCOUNT}"')
    path = write(machine.home / "certificate.json", {"cert_configs": {"workload": {"cert_path": NOWHERE}}})

    value = path if name.endswith("CONFIG") else "true"
    assert machine.whose(**{name: value}) == f"user {fakes.REFRESH_TOKEN} > {ACCOUNT}"


# --- each failure its own sentence ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, b"does not exist\n", id="missing"),
        pytest.param("", b"is not JSON\n", id="empty"),
        pytest.param("[" * 100_000, b"is not JSON\n", id="too deep"),
        pytest.param("[]", b"is not a credential of Google's\n", id="a list"),
        pytest.param(" " * (1 << 20) + "{}", b"is not a credential of Google's\n", id="too long"),
        pytest.param({"type": "gdch_service_account"}, b"has a type that is not supported\n", id="gdch"),
        pytest.param({"type": ["user"]}, b"has a type that is not supported\n", id="type is a list"),
        pytest.param({"installed": {}}, b"has a type that is not supported\n", id="OAuth client"),
        pytest.param({"type": "authorized_user"}, b"is incomplete or damaged\n", id="user without login"),
        pytest.param(service_account(private_key="x"), b"is incomplete or damaged\n", id="broken key"),
        pytest.param(service_account(token_uri=1), b"is incomplete or damaged\n", id="number for a URL"),
        pytest.param(external({}), b"is incomplete or damaged\n", id="external without source"),
        pytest.param(external([]), b"is incomplete or damaged\n", id="source is a list"),
        pytest.param(external({"certificate": {}}), b"wants a client certificate", id="certificate"),
        pytest.param(service_account(universe_domain="s3nsapis.fr"), b"is of another universe", id="universe"),
        pytest.param(
            {
                "type": "impersonated_service_account",
                "service_account_impersonation_url": impersonation(),
                "source_credentials": {"type": "impersonated_service_account"},
            },
            b"impersonates in a circle\n",
            id="circle",
        ),
        pytest.param(
            {"type": "impersonated_service_account", "source_credentials": 1},
            b"is incomplete or damaged\n",
            id="no source",
        ),
    ],
)
def test_a_broken_file_is_an_error(content: object, message: bytes, machine: Machine) -> None:
    """Who is broken is never anonymous."""
    path = machine.file(content)
    if content is None:
        Path(path).unlink()

    fails(machine.get(), b"the file of GOOGLE_APPLICATION_CREDENTIALS " + message)
    assert machine.google.requests == []


def test_a_file_that_cannot_be_read_is_an_error(machine: Machine) -> None:
    """A directory in its place, or gcloud's file being one."""
    (machine.home / ".config/gcloud/application_default_credentials.json").mkdir(parents=True)

    fails(machine.get(), b"gcloud's application default credential is a directory\n")
    fails(
        machine.get(GOOGLE_APPLICATION_CREDENTIALS="/"), b"the file of GOOGLE_APPLICATION_CREDENTIALS is a directory\n"
    )


def test_a_key_of_another_universe_signs_for_itself(machine: Machine) -> None:
    """Where there is no token service, the registry takes what the account signed; nobody is asked."""
    machine.file(service_account(universe_domain="s3nsapis.fr", token_uri="https://oauth2.s3nsapis.fr/token"))

    secret = machine.secret("docker.s3nsregistry.fr")

    claims = json.loads(base64.urlsafe_b64decode(secret.split(".")[1] + "=="))
    assert claims["iss"] == claims["sub"] == ACCOUNT
    assert claims["scope"] == fakes.SCOPE
    assert 3500 < claims["exp"] - time.time() <= 3600
    assert machine.google.proxy.asked == []
    fails(machine.get("gcr.io"), b"the file of GOOGLE_APPLICATION_CREDENTIALS is of another universe")


def test_a_user_of_another_universe_is_an_error(machine: Machine) -> None:
    """Users of other universes come by workforce federation."""
    machine.file(user(universe_domain="s3nsapis.fr"))

    fails(machine.get("docker.s3nsregistry.fr"), b"the file of GOOGLE_APPLICATION_CREDENTIALS is a user's")


OAUTH2, STS, IAM = fakes.HOSTS[:3]


@pytest.mark.parametrize(
    ("kind", "host", "error", "message", "hint"),
    [
        pytest.param(
            "user",
            OAUTH2,
            ("invalid_grant", "expired or revoked", ""),
            b"the user's login has expired",
            LOGIN,
            id="expired",
        ),
        pytest.param(
            "user",
            OAUTH2,
            ("invalid_grant", "reauth related error", "invalid_rapt"),
            b"google wants this user",
            LOGIN,
            id="rapt",
        ),
        pytest.param("user", OAUTH2, ("deleted_client", "", ""), b"the OAuth client of this login", LOGIN, id="client"),
        pytest.param(
            "user",
            OAUTH2,
            ("made-up-token", "", ""),
            b"google refused to issue a token: HTTP 400\n",
            None,
            id="unknown",
        ),
        pytest.param(
            "user",
            OAUTH2,
            ("invalid_scope", "", ""),
            b"google refused to issue a token: invalid_scope",
            None,
            id="scope",
        ),
        pytest.param(
            "service account",
            OAUTH2,
            ("invalid_grant", "Invalid JWT Signature.", ""),
            b"google does not know this key of the service account",
            None,
            id="key deleted",
        ),
        pytest.param(
            "service account",
            OAUTH2,
            ("invalid_grant", "Invalid grant: account not found", ""),
            b"the service account does not exist any more\n",
            None,
            id="account deleted",
        ),
        pytest.param(
            "service account",
            OAUTH2,
            ("invalid_grant", "Account disabled: 1", ""),
            b"the service account is disabled\n",
            None,
            id="account disabled",
        ),
        pytest.param(
            "service account",
            OAUTH2,
            ("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)", ""),
            b"google does not accept the time of this machine\n",
            None,
            id="clock",
        ),
        pytest.param(
            "federation from file", STS, ("invalid_target", "", ""), b"the workload identity pool", None, id="pool"
        ),
        pytest.param(
            "federation from file",
            STS,
            ("invalid_grant", "The subject token is expired", ""),
            b"the token that the credential file refers to has expired\n",
            None,
            id="subject token expired",
        ),
        pytest.param(
            "federation from file",
            STS,
            ("unauthorized_client", "rejected by the attribute condition", ""),
            b"google does not accept the external identity: unauthorized_client\n",
            None,
            id="condition",
        ),
        pytest.param(
            "workforce user",
            STS,
            ("invalid_grant", "", ""),
            b"the workforce user's login has expired\n",
            None,
            id="workforce",
        ),
    ],
)
def test_a_refusal_says_what_to_do(
    kind: str, host: str, error: tuple[str, str, str], message: bytes, hint: bytes | None, machine: Machine
) -> None:
    """Each refusal is a sentence with the command that mends it, asked once, and nothing of Google's text."""
    machine.file(files(machine)[kind][0])
    word, description, subtype = error
    machine.google.fail_next(
        host, word, error_description=f"{description} {fakes.SECRET_IN_ERRORS}", error_subtype=subtype
    )

    fails(machine.get(), message, hint)
    assert len(machine.google.requests) == 1


@pytest.mark.parametrize(
    ("code", "status", "text", "message"),
    [
        pytest.param(
            403, "PERMISSION_DENIED", "", b"this identity may not impersonate the service account\n", id="denied"
        ),
        pytest.param(403, "PERMISSION_DENIED", "SERVICE_DISABLED", b"the API for impersonation is off", id="disabled"),
        pytest.param(404, "NOT_FOUND", "", b"the service account to impersonate does not exist\n", id="unknown"),
        pytest.param(
            400, "INVALID_ARGUMENT", "", b"google refused to issue a token: INVALID_ARGUMENT\n", id="argument"
        ),
        pytest.param(429, "RESOURCE_EXHAUSTED", "", b"google limits how often", id="limit"),
        pytest.param(500, "INTERNAL", "", b"iamcredentials.googleapis.com failed with HTTP 500\n", id="broken"),
    ],
)
def test_a_refused_impersonation_says_what_to_do(
    code: int, status: str, text: str, message: bytes, machine: Machine
) -> None:
    """Each refusal of the impersonation service is a sentence of its own."""
    machine.file(files(machine)["impersonation by user"][0])
    error = {"code": code, "status": status, "message": f"{text} {fakes.SECRET_IN_ERRORS}"}
    machine.google.fail_next(IAM, error, code)

    result = machine.get()

    fails(result, message)
    assert code != 403 or text or b"roles/iam.serviceAccountTokenCreator" in result.err


def test_a_broken_service_is_asked_three_times_at_most(machine: Machine) -> None:
    """An error of Google's own may pass; two are waited out, and the third is said."""
    machine.file(user())
    machine.google.fail_next(OAUTH2, "internal_failure", 503, times=2)
    assert machine.secret()

    machine.google.fail_next(OAUTH2, "internal_failure", 503, times=9)
    asked = len(machine.google.requests)
    fails(machine.get(CREDHELPERS_CACHE_DIR=""), b"oauth2.googleapis.com failed with HTTP 503\n")
    assert len(machine.google.requests) - asked == 3


def test_a_subject_token_that_cannot_be_had(machine: Machine) -> None:
    """The file is missing, or the URL refuses."""
    machine.file(external({"file": NOWHERE}))
    fails(machine.get(), b"the token that the credential file refers to cannot be had\n")

    machine.file(external(BY_URL | {"headers": {"Authorization": "made-up"}}))
    fails(machine.get(), b"the token URL of the credential file answers with HTTP 401\n")

    assert {request.host for request in machine.google.requests} == {"token.example"}


TOKEN = {"access_token": "made-up-token", "expires_in": 3600}


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(Response(200, b""), id="nothing"),
        pytest.param(Response(200, b"<html>made-up-token</html>"), id="a page"),
        pytest.param(Response(200, b"[]"), id="a list"),
        pytest.param(Response(200, b'"made-up-token"'), id="a text"),
        pytest.param(Response(200, b"null"), id="null"),
        pytest.param(Response(200, json.dumps({"expires_in": 3600}).encode()), id="no token"),
        pytest.param(Response(200, json.dumps(TOKEN | {"access_token": "made-up-token\n"}).encode()), id="line end"),
        pytest.param(
            Response(200, json.dumps(TOKEN | {"access_token": "made-up-token\u00e9"}).encode()), id="not ASCII"
        ),
        pytest.param(
            Response(200, json.dumps(TOKEN | {"access_token": ["made-up-token"]}).encode()), id="token in a list"
        ),
        pytest.param(Response(200, json.dumps(TOKEN | {"access_token": "x" * 61440}).encode()), id="token too long"),
        pytest.param(Response(200, b'{"access_token": "made-up-token", "expires_in": NaN}'), id="NaN"),
        pytest.param(Response(200, b'{"access_token": "made-up-token", "expires_in": Infinity}'), id="for ever"),
        pytest.param(Response(200, b'{"access_token": "made-up-token"}'), id="no end"),
        pytest.param(Response(200, json.dumps(TOKEN | {"expires_in": -1}).encode()), id="in the past"),
        pytest.param(Response(200, json.dumps(TOKEN | {"expires_in": 10**9}).encode()), id="in decades"),
        pytest.param(Response(200, json.dumps(TOKEN | {"expires_in": "soon"}).encode()), id="some day"),
        pytest.param(Response(200, b"[" * 100_000), id="too deep"),
        pytest.param(Response(200, b" " * (2 << 20)), id="too long"),
        pytest.param(Response(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}), id="compressed"),
    ],
)
@pytest.mark.parametrize("kind", ["user", "federation from file"])
def test_an_answer_that_is_no_token_is_an_error(kind: str, response: Response, machine: Machine) -> None:
    """Nothing of it is shown or kept, and the next call asks again."""
    machine.file(files(machine)[kind][0])
    host = STS if kind.startswith("federation") else OAUTH2
    machine.google.answer_next(host, response)

    fails(machine.get(), b"")
    cache = machine.home / ".cache/credhelpers"
    for path in cache.iterdir():
        no_canary(path.read_bytes())


def test_a_service_that_hangs_ends_the_call(machine: Machine) -> None:
    """The call ends before its deadline, with what it waited for."""
    machine.file(user())
    machine.google.delay = 12
    started = time.monotonic()

    fails(machine.get(), b"oauth2.googleapis.com did not answer in time")

    assert time.monotonic() - started < 9.8 + patience(0.2)


def test_without_the_sdk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who installed without the extra hears which one it is; the metadata server needs none."""
    machine.file(user())
    environ = {name.encode(): value.encode() for name, value in machine.environment().items()}
    monkeypatch.setitem(sys.modules, "google.auth", None)

    with pytest.raises(Unavailable) as caught:
        minter_of(gcr.Gcr(environ), HOST).mint()

    assert caught.value.message == "google-auth is not installed"
    assert "credhelpers[gcr]" in caught.value.hint


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life", "soft", "hard", "expires"),
    [
        pytest.param(3600, 2880, 3300, 3540, id="an hour: a fifth"),
        pytest.param(12 * 3600, 34560, 42900, 43140, id="twelve hours: a fifth"),
        pytest.param(1800, 1200, 1500, 1740, id="half an hour: ten minutes"),
        pytest.param(900, 300, 600, 840, id="a quarter, as federation has it: half of its use"),
        pytest.param(310, 5, 10, 250, id="what a client may just keep for five minutes"),
        pytest.param(299, 119.5, 239, 239, id="what it may not: as long as it goes"),
        pytest.param(120, 45, 90, 90, id="two minutes"),
        pytest.param(61, 22.875, 45.75, 45.75, id="a minute, as GKE has it"),
    ],
)
def test_when_a_token_is_renewed(life: float, soft: float, hard: float, expires: float) -> None:
    """The true expiry counts; what is handed out lives for five minutes more, if Google's tokens do."""
    now = time.time()

    credential = credential_of("made-up-token", now + life)

    assert isinstance(credential, Credential)
    assert abs(credential.soft - now - soft) < 1
    assert abs(credential.hard - now - hard) < 1
    assert abs(credential.expires - now - expires) < 1
    assert credential.soft < credential.hard <= credential.expires < now + life


def test_federation_s_quarter_of_an_hour_is_believed(machine: Machine) -> None:
    """A token of fifteen minutes is kept for less than that."""
    machine.google.life = "900"  # as a text, which some services send
    machine.file(external(machine.subject()))
    machine.secret()

    [entry, *_] = (machine.home / ".cache/credhelpers").glob("gcr-[0-9a-f]*")
    issued, _, _, expires = (int(word) for word in entry.read_bytes().split(b"\n")[1].split()[:4])
    assert 830 < expires - issued < 842


def test_erase_forgets_the_token_of_all_hosts(machine: Machine) -> None:
    """After `docker logout` a new token is minted, also where another host has a copy of the old one."""
    machine.file(service_account())
    old = machine.secret("gcr.io")
    assert machine.secret() == old

    assert call("gcr", "erase", "gcr.io", machine.environment()) == Result(0, b"", b"")

    assert machine.secret("gcr.io") != old


# --- pure parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sts.googleapis.com",
        "localhost:80/",
        "ftp://localhost/",
        "http://stranger.example/",
        "http://169.254.169.254.stranger.example/",
        "http://0x7f.0.0.1/",
        "https://user@sts.googleapis.com/",
        "https://sts.googleapis.com\\.stranger.example/",
        "https://sts.googleapis.com:99999/",
        "https://sts.googleapis.com:/",
        "https://sts.googleapis.com/#x",
        "https://sts.googleapis.com/ HTTP/1.1",
        "https://sts.googleapis.com/\r\nX: y",
        "https://sts..googleapis.com/",
        "https://st\u017f.googleapis.com/",
        "https://",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    """A URL that could be read in two ways, or that would send a secret in clear, is refused."""
    with pytest.raises(NotFound):
        endpoint(url)


def test_services_of_google() -> None:
    """Global, regional and private names of the three token services, and nothing that only looks like one."""
    services = ("oauth2", "sts", "iamcredentials")
    forms = ("{}", "us-east1-{}", "{}.us-east1", "us-east1.{}", "{}.us-east1.rep", "{}-acme.p")
    for service, form in itertools.product(services, forms):
        host = f"{form.format(service)}.googleapis.com"
        assert is_service(host, "googleapis.com"), host
        assert not is_service(host, "s3nsapis.fr"), host
        for look_alike in (f"{host}.evil.example", f"{host}.", host.replace("apis.com", "apis.co"), f"a.b.{host}"):
            assert not is_service(look_alike, "googleapis.com"), look_alike
    assert not any(is_service(f"evil{service}.googleapis.com", "googleapis.com") for service in services)
    for stranger in ("storage.googleapis.com", "x.storage.googleapis.com", "googleapis.com", "sts.com", ""):
        assert not is_service(stranger, "googleapis.com")
    assert is_service("accounts.google.com", "googleapis.com")
    assert not is_service("accounts.google.com", "s3nsapis.fr")


def test_local_addresses() -> None:
    """Loopback and link-local by number; names and their look-alikes are not."""
    assert all(map(is_local, ("127.0.0.1", "127.9.9.9", "169.254.169.254", "169.254.170.2", "[::1]", "localhost")))
    assert not any(map(is_local, ("127.1", "127.0.0.1.evil.example", "169.25.4.1", "1.2.3.4", "::1", "", "127.0.0.1.")))


def test_the_network_asks_only_whom_it_may() -> None:
    """Even if google-auth were led astray, nothing leaves for a host that was not checked."""
    network = Network({}, "googleapis.com", time.monotonic() + 5)
    for url in ("https://stranger.example/", "http://127.0.0.1:1/", "https://storage.googleapis.com/"):
        with pytest.raises(HelperError):
            network(url)
