"""A mint leaves no trace in its process: ten identities of each cloud, one after another and at once, in one.

A cloud is a row of `CLOUDS`: the packages that its SDK is of, and a function that says who is to mint.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import pytest

from tests.fakes import google as googles
from tests.fakes.azure import ASSERTION, AUDIENCE, HOST, SECRET, TENANT, FakeAzure
from tests.fakes.google import FakeAwsMetadata, FakeGoogle, FakeMetadata, external, service_account, user
from tests.harness import environment
from tests.test_acr import certificate, script
from tests.trace import LOOKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.tls import CertificateAuthority, Request, Response

ROOT = Path(__file__).parent.parent
GCR = "europe-docker.pkg.dev"

# What the minting process has in its own environment: every one of these would lead an SDK astray that read it.
TRAPS = {
    "AWS_ACCESS_KEY_ID": "AKIDOFTHEPROCESS",
    "AWS_SECRET_ACCESS_KEY": "made-up-of-the-process",
    "AWS_REGION": "us-trap-1",
    "AZURE_AUTHORITY_HOST": "trap.example",
    "AZURE_CLIENT_ID": "trap",
    "AZURE_FEDERATED_TOKEN_FILE": "/trap",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9",
    "AZURE_REGIONAL_AUTHORITY_NAME": "trap",
    "AZURE_TENANT_ID": "trap",
    "AZURE_TOKEN_CREDENTIALS": "trap",
    "GCE_METADATA_HOST": "127.0.0.1:9",
    "GOOGLE_APPLICATION_CREDENTIALS": "/trap",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE": "true",
    "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "trap.example",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "IDENTITY_ENDPOINT": "http://127.0.0.1:9/trap",
    "IDENTITY_HEADER": "trap",
    "MSAL_FORCE_REGION": "trap",
    "MSI_ENDPOINT": "http://127.0.0.1:9/trap",
    "MSI_SECRET": "trap",
}

# In a process of its own, which has loaded what there is to load: each identity twice one after another, then twice at
# once. It prints the tokens that came, and what has changed.
MINTS = (
    LOOKS
    + """
import contextlib, json, pkgutil, sys
from concurrent.futures import ThreadPoolExecutor
root, word, packages, identities = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
sys.path.insert(0, root)
for package in packages:
    __import__(package)
    for found in pkgutil.walk_packages(sys.modules[package].__path__, package + "."):
        with contextlib.suppress(Exception):  # what needs an addition, or warns that it is old
            if not found.name.endswith("__main__"):
                __import__(found.name)
from importlib import import_module
import urllib3.util.wait
urllib3.util.wait.wait_for_read(socket.socketpair()[0], 0)  # it chooses once how it waits
from tests.routes import minter_of
source = getattr(import_module(f"credhelpers.sources.{word}"), word.capitalize())

def copied(value):
    return value.copy() if isinstance(value, (dict, list, set)) else value

def globals_of_sdks():
    own = (*packages, "urllib3", "subprocess", "http", "logging")
    found = {}
    for name, module in list(sys.modules.items()):
        if any(name == one or name.startswith(one + ".") for one in own):
            for key, value in vars(module).items():
                found[name, key] = value, copied(value)
                if isinstance(value, type) and value.__module__ == name:
                    for inner, part in list(vars(value).items()):
                        if not inner.startswith(("__", "_abc_")):
                            found[name, key, inner] = part, copied(part)
    return found

def mint(identity):
    server, environ = identity
    try:
        return minter_of(source({k.encode(): v.encode() for k, v in environ.items()}), server).mint().expose()[1]
    except Exception as error:
        return f"{type(error).__name__}: {error}"

objects, before, (_, descriptors) = globals_of_sdks(), state(), settled()
twice = [identity for identity in identities for _ in range(2)]
answers = [mint(identity) for identity in twice]
with ThreadPoolExecutor(len(twice)) as pool:
    at_once = list(pool.map(mint, twice))
tasks, descriptors_after = settled()
after, now = state(), globals_of_sdks()
changed = [what for what in before if before[what] != after[what]]
for name, (value, content) in objects.items():
    there = now.get(name, (None, None))
    if there[0] is not value or (isinstance(content, (dict, list, set)) and there[1] != content):
        changed.append(".".join(name))
print(json.dumps([answers, at_once, changed, tasks, descriptors_after - descriptors]))
"""
)


class Naming(FakeAzure):
    """One that knows many applications and identities, and by whose token of Entra each of a registry was got."""

    def __init__(self, authority: CertificateAuthority) -> None:
        super().__init__(authority)
        self.owners: dict[str, str] = {}
        self._one_by_one = threading.Lock()

    def whose(self, token: str) -> str:
        return self.owners.get(token, token)

    def _login(self, request: Request, host: str, path: str) -> Response:
        form = dict(parse_qsl(request.body.decode()))
        with self._one_by_one:
            self.clients = {form["client_id"]}
            kind = "secret" if "client_secret" in form else form["client_assertion"].partition(".")[0][:7]
            return self._named(super()._login(request, host, path), "access_token", f"{kind} {form['client_id']}")

    def _metadata(self, request: Request, path: str) -> Response:
        query = dict(parse_qsl(request.path.partition("?")[2]))
        asked = query.get("client_id") or query.get("clientid") or query.get("object_id") or ""
        with self._one_by_one:
            self.identities = [asked]
            return self._named(super()._metadata(request, path), "access_token", f"{path} {asked}".strip())

    def exchange(self, request: Request, host: str) -> Response:
        form = dict(parse_qsl(request.body.decode()))
        with self._one_by_one:
            return self._named(super().exchange(request, host), "refresh_token", self.owners[form["access_token"]])

    def _named(self, answer: Response, field: str, whose: str) -> Response:
        if answer.status == 200:
            self.owners[json.loads(answer.body)[field]] = whose
        return answer


Identities = dict[str, tuple[str, dict[str, str]]]  # by whose the token is: the server, and the environment
World = tuple[Identities, "Callable[[str], str]"]  # and whose a token is


def of_google(folder: Path, authority: CertificateAuthority, stack: contextlib.ExitStack) -> World:
    google = stack.enter_context(FakeGoogle(authority))
    metadata = stack.enter_context(FakeMetadata(google))
    aws = stack.enter_context(FakeAwsMetadata())
    found: Identities = {}

    def add(whose: str, info: object = None, *lines: str, **more: str) -> None:
        home = folder / str(len(found))
        if info is not None:
            more["GOOGLE_APPLICATION_CREDENTIALS"] = googles.write(home / "credential.json", info)
        if lines:
            text = "\n".join(["[[registry]]", f'match = "{GCR}"', 'source = "gcr"', *lines, ""])
            googles.write(home / ".config/credhelpers/config.toml", text)
        found[whose] = (GCR, environment(home, **google.environment(**more)))

    def subject(name: str) -> str:
        return googles.write(folder / f"subject-{name}", f"{googles.SUBJECT_TOKEN} of {name}")

    def program(name: str) -> dict[str, object]:
        answer = {"version": 1, "success": True, "token_type": "urn:ietf:params:oauth:token-type:jwt"}
        token = f"{googles.SUBJECT_TOKEN} of {name}"
        path = script(folder / name.replace(" ", "-"), f"echo '{json.dumps(answer | {'id_token': token})}'")
        return external({"executable": {"command": str(path), "timeout_millis": 5000}})

    for name in ("one", "two"):
        account = f"{name}@acme.iam.gserviceaccount.com"
        add(account, service_account(account))
        add(f"user {googles.REFRESH_TOKEN} of {name}", user(f"{googles.REFRESH_TOKEN} of {name}"))
        add(f"external {googles.SUBJECT_TOKEN} of file {name}", external({"file": subject(f"file {name}")}))
        allowed = {"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}
        add(f"external {googles.SUBJECT_TOKEN} of program {name}", program(f"program {name}"), **allowed)
        keys = {"AWS_ACCESS_KEY_ID": f"AKID{name}", "AWS_SECRET_ACCESS_KEY": f"made-up-{name}"}
        add(f"aws AKID{name}", aws.credential(), AWS_REGION="eu-west-1", **keys)
        other = f"other-{name}@acme.iam.gserviceaccount.com"
        add(f"{account} > {other}", service_account(account), f'impersonate = "{other}"')
        helped = {"service_account_impersonation_url": googles.impersonation(other)}
        add(
            f"external {googles.SUBJECT_TOKEN} of helped {name} > {other}",
            external({"file": subject(f"helped {name}")}, **helped),
        )
    url = {"url": "https://token.example/token", "headers": {"Authorization": "made-up-authorization"}}
    add(f"external {googles.SUBJECT_TOKEN} by URL", external(url | {"format": VALUE}))
    add("aws made-up-3", aws.credential())
    add("machine", GCE_METADATA_HOST=metadata.host, NO_GCE_CHECK="")
    return found, lambda token: google.issued.get(token, token)


VALUE = {"type": "json", "subject_token_field_name": "value"}


def of_azure(folder: Path, authority: CertificateAuthority, stack: contextlib.ExitStack) -> World:
    azure = stack.enter_context(Naming(authority))
    found: Identities = {}

    def add(whose: str, **more: str) -> None:
        home = folder / str(len(found))
        home.mkdir()
        found[whose] = (HOST, environment(home, **azure.environment(**more)))

    imds = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.imds}
    path = "/metadata/identity/oauth2/token"
    for name in ("one", "two"):
        application = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": f"{name}-of-secret"}
        add(f"secret {name}-of-secret", AZURE_CLIENT_SECRET=SECRET, **application)
        application["AZURE_CLIENT_ID"] = f"{name}-of-certificate"
        pem = str(certificate(folder / f"{name}.pem"))
        add(f"eyJhbGc {name}-of-certificate", AZURE_CLIENT_CERTIFICATE_PATH=pem, **application)
        application["AZURE_CLIENT_ID"] = f"{name}-of-federation"
        add(f"made-up {name}-of-federation", AZURE_FEDERATED_TOKEN=ASSERTION, **application)
        (folder / f"token {name}").write_text(ASSERTION)
        application["AZURE_CLIENT_ID"] = f"{name}-of-file"
        add(f"made-up {name}-of-file", AZURE_FEDERATED_TOKEN_FILE=str(folder / f"token {name}"), **application)
        add(f"{path} {name}", AZURE_CLIENT_ID=name, **imds)
        service = {"IDENTITY_ENDPOINT": f"{azure.imds}/msi/token", "IDENTITY_HEADER": "made-up-identity-header"}
        add(f"/msi/token {name}", AZURE_CLIENT_ID=name, **service)
        add(f"/ml {name}", MSI_ENDPOINT=f"{azure.imds}/ml", MSI_SECRET="made-up-msi-secret", AZURE_CLIENT_ID=name)
        token = azure.give(AUDIENCE)
        azure.owners[token] = f"az {name}"
        (folder / f"bin-{name}").mkdir()
        script(folder / f"bin-{name}/az", f"""echo '{{"accessToken": "{token}", "expiresOn": "2030-01-01"}}'""")
        add(f"az {name}", PATH=f"{folder}/bin-{name}:/usr/bin:/bin")
    add(path, **imds)
    add("/shell", MSI_ENDPOINT=f"{azure.imds}/shell")
    return found, azure.whose


CLOUDS: dict[str, tuple[list[str], Callable[[Path, CertificateAuthority, contextlib.ExitStack], World]]] = {
    "gcr": (["google.auth", "google.oauth2"], of_google),
    "acr": (["azure.identity", "azure.core", "msal"], of_azure),
}


@pytest.mark.slow
@pytest.mark.parametrize("word", CLOUDS)
def test_one_process_mints_for_many(word: str, authority: CertificateAuthority, tmp_path: Path) -> None:
    """Each gets the token of its own, and the process is afterwards as it was."""
    packages, make = CLOUDS[word]
    with contextlib.ExitStack() as stack:
        identities, whose = make(tmp_path, authority, stack)
        assert len(identities) >= 10
        words = [str(ROOT), word, json.dumps(packages), json.dumps(list(identities.values()))]
        done = subprocess.run(
            [sys.executable, "-c", MINTS, *words],
            env=environment(tmp_path, SSL_CERT_FILE=str(authority.pem), **TRAPS),  # OpenSSL reads its process's
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers, at_once, changed, tasks, descriptors = json.loads(done.stdout.splitlines()[-1])

        wanted = [name for name in identities for _ in range(2)]
        assert [whose(token) for token in answers] == wanted
        assert [whose(token) for token in at_once] == wanted
        assert changed == []
        assert tasks == 1
        assert descriptors <= 0
