"""The programs that helpers start, each in a world in which it is the one that is asked."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.fakes import azure, google
from tests.fakes.aws import KEY_ID, SECRET, FakeAws
from tests.fakes.tls import Request, Response, Site
from tests.harness import Result, call, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

OF_CLOUDS = ("az", "azd", "gcloud")
OF_USERS = ("credential_process", "executable", "token_helper")
KINDS = (*OF_CLOUDS, *OF_USERS)
_VAULT_HOST = "harbor.acme.example"


class Command:
    """A program of one kind, a user for whom it is started, and what both are asked."""

    def __init__(self, name: str, server: str, program: Path, answer: str, env: dict[str, str]) -> None:
        self.name = name
        self.server = server
        self.program = program
        self.env = {"CREDHELPERS_CACHE_DIR": "", **env}
        self.answer = answer
        self.file = program
        """The file that names it; the program itself where none does."""
        self.write("")

    def write(self, script: str) -> None:
        """Let the program do this before it answers rightly."""
        self.program.parent.mkdir(parents=True, exist_ok=True)
        self.program.write_text(f"#!/bin/sh\n{script}\n{self.answer}\n")
        self.program.chmod(0o755)

    def get(self, **more: str) -> Result:
        """What a client gets."""
        return call(self.name, "get", self.server, self.env | more)


def _credential_process(authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    with FakeAws(authority) as aws:
        env = environment(home, **aws.environment(), AWS_EC2_METADATA_DISABLED="true")
        del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        keys = json.dumps({"Version": 1, "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET})
        server = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
        command = Command("ecr", server, home / "command", f"echo '{keys}'", env)
        command.file = _put(home / ".aws/config", f"[default]\ncredential_process = {command.program}\n")
        yield command


def _executable(authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    with google.FakeGoogle(authority) as fake:
        token = {
            "version": 1,
            "success": True,
            "token_type": "urn:ietf:params:oauth:token-type:jwt",
            "id_token": google.SUBJECT_TOKEN,
        }
        allowed = {"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}
        env = environment(home, **fake.environment(**allowed))
        command = Command("gcr", "europe-docker.pkg.dev", home / "command", f"echo '{json.dumps(token)}'", env)
        info = google.external({"executable": {"command": str(command.program), "timeout_millis": 5000}})
        command.file = _put(home / "credential.json", json.dumps(info))
        command.env["GOOGLE_APPLICATION_CREDENTIALS"] = str(command.file)
        yield command


def _gcloud(authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    with google.FakeGoogle(authority) as fake:
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3000))
        answer = json.dumps({"credential": {"access_token": "made-up-token", "token_expiry": end}})
        env = environment(home, **fake.environment(PATH=f"{home}/bin:/usr/bin:/bin"))
        command = Command("gcr", "europe-docker.pkg.dev", home / "bin/gcloud", f"echo '{answer}'", env)
        _configure(home, command.server, "gcr", 'credential = "gcloud"')
        yield command


def _az(authority: CertificateAuthority, home: Path, name: str = "az", word: str = "accessToken") -> Iterator[Command]:
    with azure.FakeAzure(authority, authority.context(*azure.LOGINS, *azure.REGISTRIES)) as fake:
        answer = json.dumps({word: fake.give(azure.AUDIENCE), "expiresOn": "2030-01-01"})
        env = environment(home, **fake.environment(PATH=f"{home}/bin:/usr/bin:/bin"))
        command = Command("acr", azure.HOST, home / "bin" / name, f"echo '{answer}'", env)
        _configure(home, command.server, "acr", f'credential = "{"azd" if name == "azd" else "azure-cli"}"')
        yield command


def _azd(authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    return _az(authority, home, "azd", "token")


def _token_helper(_authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    secret = {"data": {"data": {"username": "robot", "password": "made-up"}, "metadata": {"version": 1}}}

    def respond(request: Request) -> Response:
        if request.headers.get("x-vault-token") != "made-up-token":
            return Response(403, b'{"errors":["permission denied"]}')
        return Response(200, json.dumps(secret).encode())

    with Site(respond) as site:
        env = environment(home, VAULT_ADDR=f"http://127.0.0.1:{site.port}")
        command = Command("vault", _VAULT_HOST, home / "command", "echo made-up-token", env)
        command.file = _put(home / ".vault", f'token_helper = "{command.program}"\n')
        _configure(home, _VAULT_HOST, "vault", 'path = "kv/registries/{host}"', 'engine = "kv-v2"')
        yield command


_WORLDS = {
    "az": _az,
    "azd": _azd,
    "gcloud": _gcloud,
    "credential_process": _credential_process,
    "executable": _executable,
    "token_helper": _token_helper,
}


@contextmanager
def world(kind: str, authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    """A command of this kind, with the cloud that its answer opens."""
    yield from _WORLDS[kind](authority, home)


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def _configure(home: Path, server: str, source: str, *lines: str) -> None:
    entry = ["[[registry]]", f'match = "{server}"', f'source = "{source}"', *lines]
    _put(home / ".config/credhelpers/config.toml", "\n".join(entry) + "\n")
