"""A mint for Amazon leaves no trace in its process: many identities, one after another and at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from tests.fakes.aws import FakeAws, Key, signer
from tests.fakes.tls import Request, Response, Site
from tests.harness import environment
from tests.trace import LOOKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

ROOT = str(Path(__file__).parent.parent)
PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
PORTAL = "portal.sso.eu-west-1.amazonaws.com"
ROLE = "arn:aws:iam::111122223333:role/{}"


class Naming(FakeAws):
    """One whose passwords say who asked: a key, or the role that it is a key of."""

    def __init__(self, authority: CertificateAuthority) -> None:
        super().__init__(authority)
        self.names: dict[str, str] = {}

    def _ecr(self, request: Request, service: str, region: str) -> Response:
        key = signer(request)
        self.password = f"made-up-of-{self.names.get(key, key)}"
        return super()._ecr(request, service, region)

    def _sts(self, request: Request, region: str) -> Response:
        form = parse_qs(request.body.decode())
        answer = super()._sts(request, region)
        self.names[f"ASIDEXAMPLE{self.roles}"] = form["RoleArn"][0].rpartition("/")[2]
        return answer


# What the minting process has in its own environment: each of these would lead astray whoever looked at it.
TRAPS = {
    "AWS_ACCESS_KEY_ID": "AKIDTRAP",
    "AWS_SECRET_ACCESS_KEY": "made-up-trap",
    "AWS_SESSION_TOKEN": "made-up-trap",
    "AWS_PROFILE": "trap",
    "AWS_CONFIG_FILE": "/trap",
    "AWS_SHARED_CREDENTIALS_FILE": "/trap",
    "AWS_CREDENTIAL_FILE": "/trap",
    "BOTO_CONFIG": "/trap",
    "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/trap",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/trap",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/trap",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": "https://trap.example",
    "AWS_ENDPOINT_URL_STS": "https://trap.example",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_CA_BUNDLE": "/trap",
    "AWS_DEFAULTS_MODE": "auto",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "BOTOCORE_EXPERIMENTAL__PLUGINS": "trap=trap",
}

# In a process of its own, which has loaded what there is to load, each by its variables: twice one after another, then
# twice at once. It prints who came of them, and what has changed.
MINTS = (
    LOOKS
    + """
import contextlib, json, pkgutil, sys
from concurrent.futures import ThreadPoolExecutor
import boto3, botocore.retries, urllib3.util
for package in (boto3, botocore, botocore.retries, urllib3, urllib3.util):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        with contextlib.suppress(ImportError):  # what needs an addition
            __import__(found.name)
from credhelpers.exchanges.ecr import authorization_token_by
from credhelpers.exchanges.ecr_hosts import ecr
from credhelpers.identities.aws import caller_identity
from credhelpers.sources.ecr import Ecr
sys.path.insert(0, sys.argv[3])
from tests.routes import minter_of

def globals_of_sdk():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("boto3", "botocore", "urllib3", "s3transfer", "subprocess", "getpass", "ssl"):
            for key, value in vars(module).items():
                found[name, key] = value
                if isinstance(value, type):
                    for inner, own in list(vars(value).items()):
                        if not inner.startswith("__"):
                            found[name, key, inner] = own
    return found

host = ecr(sys.argv[1])
identities = json.loads(sys.argv[2])
def mint(identity):
    variables, more = identity
    environ = {name.encode(): value.encode() for name, value in variables.items()}
    if "keys" in more:
        return authorization_token_by((*more["keys"], ""), host, 9.0, environ).expose()[1]
    if "signs" in more:
        signed = caller_identity("eu-west-1", more["signs"], {}, 9.0, environ)
        return "made-up-of-" + signed.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
    return minter_of(Ecr(environ), sys.argv[1]).mint().expose()[1]

urllib3.util.wait.wait_for_socket(socket.socketpair()[0], write=True)  # which replaces itself, the first time
objects, before, (_, descriptors) = globals_of_sdk(), state(), settled()
answers = [mint(identity) for identity in identities for _ in range(2)]
with ThreadPoolExecutor(10) as pool:  # ten at once: all of them take longer than a call has, on a busy machine
    at_once = list(pool.map(mint, [identity for identity in identities for _ in range(2)]))
tasks, descriptors_after = settled()
after, now = state(), globals_of_sdk()
changed = [what for what in before if before[what] != after[what]]
changed += [".".join(name) for name, value in objects.items() if name not in now or now[name] is not value]
print(json.dumps([answers, at_once, changed, tasks, descriptors_after - descriptors]))
"""
)


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[Naming]:
    with Naming(authority) as fake:
        yield fake


def _keys(name: str, expiration: str) -> dict[str, str]:
    return {
        "AccessKeyId": f"AKID{name}",
        "SecretAccessKey": f"made-up-{name}",
        "Token": f"made-up-token-{name}",
        "Expiration": expiration,
        "Code": "Success",
    }


@pytest.mark.slow
def test_many_identities_of_one_process(
    aws: Naming, authority: CertificateAuthority, home: Path, tmp_path: Path
) -> None:
    """Each gets the token of its own, and the process is afterwards as it was."""
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    for name in ("ONE", "TWO", "FIRST", "OTHER", "VAULT"):
        aws.keys[f"AKID{name}"] = Key(f"made-up-{name}")
    for name in ("PROGRAM", "MACHINE", "POD", "SIDECAR", "SSO"):
        aws.keys[f"AKID{name}"] = Key(f"made-up-{name}", f"made-up-token-{name}")

    def machine(request: Request) -> Response:
        if request.method == "PUT":
            return Response(200, b"made-up-word")
        is_name = request.path.endswith("/")
        return Response(200, b"puller" if is_name else json.dumps(_keys("MACHINE", expiration)).encode())

    def portal(_: Request) -> Response:
        keys = _keys("SSO", expiration)
        found = {"accessKeyId": keys["AccessKeyId"], "secretAccessKey": keys["SecretAccessKey"]}
        found |= {"sessionToken": keys["Token"], "expiration": int(time.time() + 3600) * 1000}  # type: ignore[dict-item]
        return Response(200, json.dumps({"roleCredentials": found}).encode())

    program = home / "program"
    process = _keys("PROGRAM", expiration)
    answer = {"Version": 1, "SessionToken": process["Token"]}
    answer |= {name: process[name] for name in ("AccessKeyId", "SecretAccessKey", "Expiration")}
    program.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    program.chmod(0o700)
    (home / "token").write_text("made-up-web-identity")
    folder = home / ".aws/sso/cache"
    folder.mkdir(parents=True)
    sign_in = {"accessToken": "made-up", "expiresAt": expiration, "startUrl": "x", "region": "eu-west-1"}
    (folder / f"{sha1(b'acme').hexdigest()}.json").write_text(json.dumps(sign_in))
    (home / ".aws/credentials").write_text(
        "".join(f"[{n}]\naws_access_key_id = AKID{n}\naws_secret_access_key = made-up-{n}\n" for n in ("ONE", "TWO"))
    )
    (home / ".aws/config").write_text(
        f"[profile web]\nrole_arn = {ROLE.format('WEB')}\nweb_identity_token_file = {home}/token\n"
        f"[profile role]\nrole_arn = {ROLE.format('FIRST')}\nsource_profile = ONE\n"
        f"[profile chain]\nrole_arn = {ROLE.format('SECOND')}\nsource_profile = role\n"
        f"[profile program]\ncredential_process = {program}\n"
        f"[profile over-program]\nrole_arn = {ROLE.format('OVER')}\nsource_profile = program\n"
        f"[profile machine]\nrole_arn = {ROLE.format('ON-EC2')}\ncredential_source = Ec2InstanceMetadata\n"
        f"[profile pod]\nrole_arn = {ROLE.format('IN-POD')}\ncredential_source = EcsContainer\n"
        "[profile sso]\nsso_session = acme\nsso_account_id = 111122223333\nsso_role_name = puller\n"
        "[sso-session acme]\nsso_start_url = https://acme.awsapps.example/start\nsso_region = eu-west-1\n"
    )
    with (
        Site(machine) as ec2,
        Site(lambda _: Response(200, json.dumps(_keys("POD", expiration)).encode())) as pod,
        Site(lambda _: Response(200, json.dumps(_keys("SIDECAR", expiration)).encode())) as sidecar,
        Site(portal, authority.context(PORTAL)) as sso,
    ):
        aws.routes[PORTAL] = sso.port
        base = environment(home, **aws.environment())
        del base["AWS_ACCESS_KEY_ID"], base["AWS_SECRET_ACCESS_KEY"]
        (home / "entry.toml").write_text(
            f"[[registry]]\nmatch = '{PRIVATE}'\nsource = 'ecr'\nprofile = 'TWO'\nrole_arn = '{ROLE.format('ENTRY')}'\n"
        )
        (home / "other").mkdir()
        (home / "other/config").write_text(
            "[default]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = made-up-OTHER\n"
        )
        on_ec2 = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{ec2.port}"}
        in_pod = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{pod.port}/role"}
        beside = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{sidecar.port}/role"}
        token = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token")}
        rows: list[tuple[dict[str, str], dict[str, object], str]] = [
            ({"AWS_ACCESS_KEY_ID": "AKIDFIRST", "AWS_SECRET_ACCESS_KEY": "made-up-FIRST"}, {}, "AKIDFIRST"),
            ({"AWS_ACCESS_KEY_ID": "AKIDVAULT", "AWS_SECRET_ACCESS_KEY": "made-up-VAULT"}, {}, "AKIDVAULT"),
            ({"AWS_PROFILE": "ONE"}, {}, "AKIDONE"),
            ({"AWS_PROFILE": "TWO"}, {}, "AKIDTWO"),
            ({"AWS_CONFIG_FILE": "~/other/config"}, {}, "AKIDOTHER"),
            ({"AWS_SHARED_CREDENTIALS_FILE": "$PLACE/config", "PLACE": str(home / "other")}, {}, "AKIDOTHER"),
            ({"AWS_PROFILE": "web"}, {}, "WEB"),
            (token | {"AWS_ROLE_ARN": ROLE.format("ONE-POD")}, {}, "ONE-POD"),
            (token | {"AWS_ROLE_ARN": ROLE.format("TWO-POD")}, {}, "TWO-POD"),
            ({"AWS_PROFILE": "role"}, {}, "FIRST"),
            ({"AWS_PROFILE": "chain"}, {}, "SECOND"),
            ({"AWS_PROFILE": "program"}, {}, "AKIDPROGRAM"),
            ({"AWS_PROFILE": "over-program"}, {}, "OVER"),
            (on_ec2 | {"AWS_PROFILE": "machine"}, {}, "ON-EC2"),
            (on_ec2, {}, "AKIDMACHINE"),
            (in_pod | {"AWS_PROFILE": "pod"}, {}, "IN-POD"),
            (in_pod, {}, "AKIDPOD"),
            (beside, {}, "AKIDSIDECAR"),
            ({"AWS_PROFILE": "sso"}, {}, "AKIDSSO"),
            ({"CREDHELPERS_CONFIG": str(home / "entry.toml")}, {}, "ENTRY"),
            ({"AWS_PROFILE": "ONE"}, {"keys": ["AKIDVAULT", "made-up-VAULT"]}, "AKIDVAULT"),
            ({"AWS_PROFILE": "ONE"}, {"signs": "TWO"}, "AKIDTWO"),
        ]
        identities = [(base | variables, more) for variables, more, _ in rows]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", MINTS, PRIVATE, json.dumps(identities), ROOT],
            env=environment(tmp_path / "nobody", **TRAPS),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            umask=0o027,
        )
    assert done.returncode == 0, done.stderr
    answers, at_once, changed, tasks, descriptors = json.loads(done.stdout)
    right = [f"made-up-of-{name}" for *_, name in rows for _ in range(2)]
    assert answers == right
    assert at_once == right
    assert changed == []
    assert tasks == 1
    assert descriptors == 0
    modes = {path.stat().st_mode & 0o777 for path in (home / ".aws/cli").rglob("*")}
    assert modes == {0o700, 0o600}
