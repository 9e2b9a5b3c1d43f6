"""A mint for Amazon leaves no trace in its process: many identities, one after another and at once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from hashlib import sha1
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from tests.fakes.aws import FakeAws, Key, signer
from tests.fakes.tls import Request, Response, Site
from tests.harness import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

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


# In a process of its own, which has loaded what there is to load, each with its settings: twice one after another, then
# twice at once. It prints who came of them, and what has changed.
MINTS = """
import contextlib, gc, json, os, posix, pkgutil, socket, sys, threading, time, types, warnings
from concurrent.futures import ThreadPoolExecutor
import boto3, botocore.retries, urllib3.util
for package in (boto3, botocore, botocore.retries, urllib3, urllib3.util):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        with contextlib.suppress(ImportError):  # what needs an addition
            __import__(found.name)
from credhelpers.exchanges.ecr import authorization_token, authorization_token_by
from credhelpers.exchanges.ecr_hosts import ecr
from credhelpers.identities.aws import caller_identity

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

def state():
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "environment": dict(os.environ),
        "of the system": dict(posix.environ),
        "umask": mask,
        "directory": os.getcwd(),
        "warnings": list(warnings.filters),
        "time-out": socket.getdefaulttimeout(),
        "session": boto3.DEFAULT_SESSION,
    }

def settled():
    until = time.monotonic() + 5
    while (tasks := len(os.listdir("/proc/self/task"))) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    gc.collect()
    return tasks, len(os.listdir("/proc/self/fd"))

host = ecr(sys.argv[1])
identities = json.loads(sys.argv[2])
def mint(identity):
    if "keys" in identity:
        return authorization_token_by(*identity["keys"], "", host, 9.0).expose()[1]
    if "signs" in identity:
        signed = caller_identity("eu-west-1", identity["signs"], {}, 9.0)
        return "made-up-of-" + signed.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
    return authorization_token(host, identity).expose()[1]

urllib3.util.wait.wait_for_socket(socket.socketpair()[0], write=True)  # which replaces itself, the first time
objects, before, (_, descriptors) = globals_of_sdk(), state(), settled()
answers = [mint(identity) for identity in identities for _ in range(2)]
with ThreadPoolExecutor(2 * len(identities)) as pool:
    at_once = list(pool.map(mint, [identity for identity in identities for _ in range(2)]))
after, now = state(), globals_of_sdk()
tasks, descriptors_after = settled()
changed = [what for what in before if before[what] != after[what]]
changed += [".".join(name) for name, value in objects.items() if name not in now or now[name] is not value]
print(json.dumps([answers, at_once, changed, tasks, descriptors_after - descriptors]))
"""


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
    for name in ("ONE", "TWO", "VAULT"):
        aws.keys[f"AKID{name}"] = Key(f"made-up-{name}")
    for name in ("PROGRAM", "MACHINE", "POD", "SSO"):
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
    rows: list[tuple[dict[str, object], str]] = [
        ({"profile": "ONE"}, "AKIDONE"),
        ({"profile": "TWO"}, "AKIDTWO"),
        ({"profile": "web"}, "WEB"),
        ({"profile": "role"}, "FIRST"),
        ({"profile": "chain"}, "SECOND"),
        ({"profile": "program"}, "AKIDPROGRAM"),
        ({"profile": "over-program"}, "OVER"),
        ({"profile": "machine"}, "ON-EC2"),
        ({"profile": "pod"}, "IN-POD"),
        ({"profile": "sso"}, "AKIDSSO"),
        ({"profile": "TWO", "role_arn": ROLE.format("ENTRY"), "external_id": "acme:7"}, "ENTRY"),
        ({}, "AKIDPOD"),
        ({"keys": ["AKIDVAULT", "made-up-VAULT"]}, "AKIDVAULT"),
        ({"signs": "TWO"}, "AKIDTWO"),
    ]
    with (
        Site(machine) as ec2,
        Site(lambda _: Response(200, json.dumps(_keys("POD", expiration)).encode())) as pod,
        Site(portal, authority.context(PORTAL)) as sso,
    ):
        aws.routes[PORTAL] = sso.port
        env = environment(
            home,
            **aws.environment(
                AWS_EC2_METADATA_SERVICE_ENDPOINT=f"http://127.0.0.1:{ec2.port}",
                AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://127.0.0.1:{pod.port}/role",
                BOTOCORE_EXPERIMENTAL__PLUGINS="planted=planted",
            ),
        )
        del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", MINTS, PRIVATE, json.dumps([settings for settings, _ in rows])],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            umask=0o027,
        )
    assert done.returncode == 0, done.stderr
    answers, at_once, changed, tasks, descriptors = json.loads(done.stdout)
    right = [f"made-up-of-{name}" for _, name in rows for _ in range(2)]
    assert answers == right
    assert at_once == right
    assert changed == []
    assert tasks == 1
    assert descriptors == 0
    modes = {path.stat().st_mode & 0o777 for path in (home / ".aws/cli").rglob("*")}
    assert modes == {0o700, 0o600}
