"""KV in a real Vault: read, kept, written, deleted, listed by the installed executable."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from credhelpers.errors import NotFound, Unsupported
from credhelpers.tokens import Tokens
from credhelpers.vault import kv
from credhelpers.vault.login import Identity
from credhelpers.vault.secret_paths import SecretPath
from credhelpers.vault.session import Session
from tests.fakes.tls import Request, Response, Site
from tests.harness import BIN, NOT_FOUND, Result, document, environment
from tests.harness import loaded_call as call
from tests.services import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.services import Vault

pytestmark = pytest.mark.slow

HOST = "harbor.acme.example"
PAIR = {"username": "robot", "password": "made-up"}


class Team:
    """A mount of its own in the server, a token for it, and the configuration of somebody who uses both."""

    def __init__(self, vault: Vault, home: Path, mount: str, version: str = "2") -> None:
        self.vault = vault
        self.mount = mount
        self.config = home / ".config/credhelpers/config.toml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.data = f"{mount}/data" if version == "2" else mount
        vault.call("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": version}})
        until(lambda: vault.ask("GET", f"{self.data}/nothing")[0] == 404, "the mount")
        self.env = environment(home, VAULT_ADDR=vault.address, CREDHELPERS_CACHE_DIR="")
        self.may(f"{mount}/* create,read,update,delete,list")
        self.configure()

    def may(self, *rules: str) -> None:
        """Log in with another token, whose policy has only these rules."""
        self.policy = f"{self.mount}-{os.urandom(4).hex()}".replace("/", "-")
        self.vault.policy(self.policy, *rules)
        self.env["VAULT_TOKEN"] = self.vault.token_for(self.policy)

    def configure(self, *more: str, match: str = "*.acme.example", path: str = "registries/{host}") -> None:
        """Write the configuration, with more lines; `docker logout` deletes unless they say something else."""
        if not any(line.startswith(("write", "read_only", "on_")) for line in more):
            more = (*more, 'write = "all"')
        lines = ["[[registry]]", f'match = "{match}"', 'source = "vault"', f'path = "{self.mount}/{path}"', *more]
        self.config.write_text("\n".join(lines) + "\n")

    def put(self, data: object, path: str = f"registries/{HOST}") -> None:
        """Write a secret as somebody else."""
        self.vault.call("POST", f"{self.data}/{path}", {"data": data} if self.data != self.mount else data)

    def kept(self, path: str = f"registries/{HOST}") -> dict[str, Any]:
        """What the secret holds."""
        data = self.vault.call("GET", f"{self.data}/{path}")["data"]
        found = data["data"] if self.data != self.mount else data
        assert isinstance(found, dict)
        return found

    def describe(self, **custom: str) -> None:
        """Set the secret's custom metadata."""
        self.vault.call("POST", f"{self.mount}/metadata/registries/{HOST}", {"custom_metadata": custom})

    def keep(self, home: Path) -> None:
        """Use a cache from now on."""
        self.env["CREDHELPERS_CACHE_DIR"] = str(home / "cache")

    def get(self, server: str = HOST) -> Result:
        return call("vault", "get", server, self.env)

    def store(self, server: str = HOST, username: str = "alice", secret: str = "typed") -> Result:
        return call("vault", "store", document(server, username, secret), self.env)

    def erase(self, server: str = HOST) -> Result:
        return call("vault", "erase", server, self.env)

    def list(self) -> dict[str, str]:
        return call("vault", "list", "", self.env).listing


@pytest.fixture
def mount(vault: Vault) -> Iterator[Callable[[str], str]]:
    """Names of mounts that go with the test."""
    names: list[str] = []

    def name(prefix: str) -> str:
        names.append(f"{prefix}{os.urandom(4).hex()}")
        return names[-1]

    yield name
    for taken in names:
        vault.call("DELETE", f"sys/mounts/{taken}")


@pytest.fixture
def team(vault: Vault, home: Path, mount: Callable[[str], str]) -> Team:
    """A team with KV v2."""
    return Team(vault, home, mount("kv"))


@pytest.fixture(params=["1", "2"], ids=["v1", "v2"])
def either(request: pytest.FixtureRequest, vault: Vault, home: Path, mount: Callable[[str], str]) -> Team:
    """A team with KV of one version or the other."""
    return Team(vault, home, mount("kv"), request.param)


def pair(result: Result) -> tuple[str, str]:
    """User name and secret of an answer."""
    answer = result.credential
    return answer["Username"], answer["Secret"]


def refused(result: Result, *words: bytes) -> None:
    """The call failed with a line that is not the wire's not-found, and all the words are in what it said."""
    assert result.code == 1, result
    assert result.out != NOT_FOUND, result
    assert result.out.count(b"\n") == 1, result
    for word in words:
        assert word in result.out + result.err, result
    assert not any(secret in result.out + result.err for secret in (b"made-up", b"typed")), result


def hits(team: Team, work: Callable[[], object]) -> list[str]:
    """The paths that were asked for meanwhile, by Vault's own audit."""
    log = team.vault.folder / f"audit-{os.urandom(4).hex()}"
    team.vault.call("PUT", f"sys/audit/{log.name}", {"type": "file", "options": {"file_path": str(log)}})
    try:
        work()
    finally:
        team.vault.call("DELETE", f"sys/audit/{log.name}")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    asked = [line["request"]["path"] for line in lines if line["type"] == "request"]
    return [path for path in asked if not path.startswith("sys/audit")]


def passed_on(vault: Vault, request: Request) -> Response:
    """What the server answers to a request that somebody stands in the way of."""
    with closing(HTTPConnection("127.0.0.1", vault.port, timeout=30)) as connection:
        connection.request(request.method, request.path, request.body or None, request.headers)
        answer = connection.getresponse()
        return Response(answer.status, answer.read())


# --- read ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PAIR, id="vault-login"),
        pytest.param({"ServerURL": HOST, "Username": "robot", "Secret": "made-up"}, id="jsok"),
        pytest.param(
            {"username": "", "Username": "robot", "password": None, "Secret": "made-up"}, id="empty-is-absent"
        ),
        pytest.param({"robot_account_name": "robot", "robot_account_secret": "made-up"}, id="plugin"),
        pytest.param(PAIR | {"url": "https://x.example", "nested": {"password": "other"}}, id="other-fields"),
    ],
)
def test_the_usual_fields(team: Team, data: dict[str, Any]) -> None:
    """Fields as both older helpers and plugins name them are found."""
    team.put(data)

    assert pair(team.get()) == ("robot", "made-up")


@pytest.mark.parametrize(
    ("lines", "data"),
    [
        pytest.param(
            ['username_field = "login"', 'password_field = "pass phrase"'],
            {"login": "robot", "pass phrase": "made-up", "username": "other", "password": "other"},
            id="fields",
        ),
        pytest.param(['username = "robot"'], {"username": "other", "password": "made-up"}, id="user-name-itself"),
        pytest.param(['username = "robot"', 'password_field = "t"'], {"t": "made-up"}, id="both"),
    ],
)
def test_configured_fields(team: Team, lines: list[str], data: dict[str, Any]) -> None:
    """What is configured counts, and nothing else."""
    team.configure(*lines)
    team.put(data)

    assert pair(team.get()) == ("robot", "made-up")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        pytest.param({"password": "made-up"}, b"lacks", id="no-user-name"),
        pytest.param({"username": "robot", "password": ""}, b"lacks", id="empty"),
        pytest.param({"username": "robot", "password": None}, b"lacks", id="null"),
        pytest.param({"username": "robot", "password": {"a": "made-up"}}, b"not a text", id="nested"),
        pytest.param({"username": ["robot"], "password": "made-up"}, b"not a text", id="list"),
        pytest.param({"username": "robot", "password": True}, b"not a text", id="true"),
        pytest.param({"username": "robot", "password": 1.5}, b"not a text", id="fraction"),
        pytest.param({"username": "robot", "password": 987654321987654321}, b"not a text", id="rounded-by-vault"),
        pytest.param({"data": PAIR}, b"lacks", id="secret-in-a-secret"),
        pytest.param({}, b"lacks", id="nothing"),
    ],
)
def test_a_secret_without_a_credential(team: Team, data: dict[str, Any], word: bytes) -> None:
    """Its fields are named as what lacks, by a command that prints no secret."""
    team.put(data)

    result = team.get()

    refused(result, word, b"vault kv patch")
    assert b"vault kv get" not in result.err


def test_numbers(team: Team) -> None:
    """A whole number is its digits."""
    team.put({"username": 1234, "password": 9007199254740991})

    assert pair(team.get()) == ("1234", "9007199254740991")


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"auth": base64.b64encode(b"robot:ma:de-up").decode()}, id="auth"),
        pytest.param({"username": "robot", "password": "ma:de-up"}, id="pair"),
        pytest.param(
            {"auth": base64.b64encode(b"robot:ma:de-up").decode(), "username": "x", "password": "y"}, id="auth-wins"
        ),
    ],
)
@pytest.mark.parametrize(
    ("key", "shape"), [("https://harbor.acme.example", "json"), ("harbor.acme.example:443", "object"), (HOST, "bare")]
)
def test_auths(team: Team, entry: dict[str, str], key: str, shape: str) -> None:
    """Docker's `auths` is read as text and as an object, whatever the spelling of the registry."""
    entries = {"other.acme.example": {"auth": "eDp5"}, key: entry}
    value: object = {"auths": entries} if shape != "bare" else entries
    team.configure('auths_field = ".dockerconfigjson"', path="pull")
    team.put({".dockerconfigjson": json.dumps(value) if shape == "json" else value}, "pull")

    assert pair(team.get()) == ("robot", "ma:de-up")


def test_an_identity_token_in_auths(team: Team) -> None:
    """It stands under the user name that docker has for it."""
    team.configure('auths_field = "a"', path="pull")
    team.put({"a": {"auths": {HOST: {"auth": "", "identitytoken": "made-up"}}}}, "pull")

    assert pair(team.get()) == ("<token>", "made-up")


@pytest.mark.parametrize(
    ("value", "is_found"),
    [
        pytest.param({"auths": {"other.acme.example": {"auth": "eDp5"}}}, False, id="another-registry"),
        pytest.param({"auths": {f"{HOST}.evil.example": {"auth": "eDp5"}}}, False, id="longer-name"),
        pytest.param({"auths": {f"http://{HOST}": {"auth": "eDp5"}}}, False, id="without-tls"),
        pytest.param({"auths": {f"{HOST}:5000": {"auth": "eDp5"}}}, False, id="another-port"),
        pytest.param({"auths": {}}, False, id="none"),
        pytest.param("{not json", True, id="no-json"),
        pytest.param("[" * 100_000, True, id="deep"),
        pytest.param({"auths": [1]}, True, id="list"),
        pytest.param({"auths": {HOST: {"auth": "not base64"}}}, True, id="no-base64"),
        pytest.param({"auths": {HOST: {"auth": "/w=="}}}, True, id="no-utf-8"),
        pytest.param({"auths": {HOST: "robot:made-up"}}, True, id="no-entry"),
        pytest.param({"auths": {HOST: {"username": "robot"}}}, True, id="half"),
        pytest.param(7, True, id="number"),
    ],
)
def test_auths_without_a_credential(team: Team, value: object, *, is_found: bool) -> None:
    """No entry is not-found; what is none is an error."""
    team.configure('auths_field = "a"', path="pull")
    team.put({"a": value}, "pull")

    result = team.get()

    if is_found:
        refused(result, b"auths")
    else:
        assert result.out == NOT_FOUND


def test_nothing_is_not_found(either: Team) -> None:
    """No secret at the path: docker goes on without a credential."""
    assert either.get().out == NOT_FOUND


def test_a_denied_read_is_an_error(either: Team) -> None:
    """Who may not read hears which path and capability a policy lacks, whether there is a secret or not."""
    either.may(f"{either.data}/else/* read")

    refused(either.get(), b"permission", b'"read"', f"{either.data}/registries/{HOST}".encode())


def test_a_token_that_may_see_nothing_of_the_mount(either: Team) -> None:
    """Vault shows it no engine, and so the helper says."""
    either.may("else/* read")

    refused(either.get(), b"no engine", b"vault secrets list")


def test_no_such_mount(team: Team) -> None:
    """A mistyped mount is an error, not a secret that is missing."""
    team.config.write_text(team.config.read_text().replace(team.mount, "nowhere"))

    refused(team.get(), b"no engine", b"vault secrets list")


@pytest.mark.parametrize("depth", ["", "team/", "a/b/c/"], ids=["one", "two", "four"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_the_mount_is_found(vault: Vault, home: Path, mount: Callable[[str], str], depth: str, version: str) -> None:
    """A mount may have several parts; nothing is configured but the path."""
    team = Team(vault, home, mount(f"{depth}kv"), version)
    team.put(PAIR)

    assert pair(team.get()) == ("robot", "made-up")


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_mount_that_is_said(vault: Vault, home: Path, mount: Callable[[str], str], version: str) -> None:
    """With `engine` and `mount` said there is one request: the read."""
    team = Team(vault, home, mount("team/kv"), version)
    team.put(PAIR)
    team.configure(f'engine = "kv-v{version}"', f'mount = "{team.mount}"')

    assert hits(team, lambda: pair(team.get())) == [f"{team.data}/registries/{HOST}"]


def test_the_path_of_the_api(team: Team) -> None:
    """Who writes `data/` into the path, as vault-login wants it, means the same secret."""
    team.put(PAIR)
    team.configure(path="data/registries/{host}")

    assert pair(team.get()) == ("robot", "made-up")
    assert team.store().code == 0
    assert team.kept() == {"username": "alice", "password": "typed"}
    assert team.list() == {HOST: "alice"}


@pytest.mark.parametrize(
    ("version", "path"),
    [
        pytest.param("1", "registries/{host}", id="v1"),
        pytest.param("2", "registries/{host}", id="v2"),
        pytest.param("2", "data/registries/{host}", id="v2-by-the-path-of-the-api"),
    ],
)
def test_the_command_of_a_hint_writes_what_lacks(
    vault: Vault, home: Path, mount: Callable[[str], str], version: str, path: str
) -> None:
    """KV v1 knows no patch, and `vault kv` wants no `data/`: the hint is a command that works as it stands."""
    team = Team(vault, home, mount("kv"), version)
    team.put({"username": "", "password": ""})
    team.configure(path=path)

    command = team.get().err.decode().rpartition("in KV `")[2].partition("`")[0]

    words = command.replace("NAME", "robot").split()
    assert words[0] == "vault"
    env = vault.env | {"VAULT_ADDR": vault.address, "VAULT_TOKEN": vault.token}
    subprocess.run([vault.program, *words[1:]], input=b"made-up", env=env, check=True, capture_output=True)
    assert pair(team.get()) == ("robot", "made-up")


def test_data_is_an_ordinary_name_in_v1(vault: Vault, home: Path, mount: Callable[[str], str]) -> None:
    """In KV v1 a folder may be called `data`."""
    team = Team(vault, home, mount("kv"), "1")
    team.put(PAIR, f"data/{HOST}")
    team.configure(path="data/{host}")

    assert pair(team.get()) == ("robot", "made-up")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(['engine = "kv-v1"'], id="other-version"),
        pytest.param(['engine = "leased"'], id="leased"),
    ],
)
def test_another_engine_than_said(team: Team, lines: list[str]) -> None:
    """A wrong `engine` is named as such, not answered with not-found."""
    team.put(PAIR)
    team.configure(*lines)

    for result in (team.get(), team.store()):
        refused(result, b"engine", b"kv-v2")
    assert team.kept() == PAIR


def test_kv_v1_that_is_said_to_be_v2(vault: Vault, home: Path, mount: Callable[[str], str]) -> None:
    """The other way round, too: nothing is written where no secret belongs."""
    team = Team(vault, home, mount("kv"), "1")
    team.put(PAIR)
    team.configure('engine = "kv-v2"')

    for result in (team.get(), team.store(), team.erase()):
        refused(result, b"engine", b"kv-v1")
    assert vault.ask("GET", f"{team.mount}/data/registries/{HOST}")[0] == 404


class Answers(BaseHTTPRequestHandler):
    """What stands at Vault's address and answers `mount` to a question for the mount, `secret` to any other."""

    mount: bytes
    secret: bytes

    def do_GET(self) -> None:
        content = self.mount if "/sys/" in self.path else self.secret
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_LIST = do_GET  # noqa: N815 - `http.server` finds its methods by such names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


MOUNT = b'{"data": {"path": "kv/", "type": "kv", "options": {"version": "2"}}}'


@pytest.mark.parametrize(
    ("mount", "secret"),
    [
        pytest.param(b"<html>", b"", id="no-json"),
        pytest.param(b"[]", b"", id="list"),
        pytest.param(b"{}", b"", id="empty"),
        pytest.param(b'{"data": null}', b"", id="null"),
        pytest.param(b'{"data": {"path": 5, "type": "kv"}}', b"", id="number"),
        pytest.param(b'{"data": {"path": "", "type": "kv"}}', b"", id="no-mount"),
        pytest.param(b'{"data": {"path": "other/", "type": "kv"}}', b"", id="another-mount"),
        pytest.param(MOUNT, b"<html>", id="secret-no-json"),
        pytest.param(MOUNT, b"[]", id="secret-list"),
        pytest.param(MOUNT, b'{"data": []}', id="secret-data-list"),
        pytest.param(MOUNT, b'{"data": {"data": [1], "metadata": 1}}', id="secret-list-inside"),
        pytest.param(
            MOUNT,
            b'{"data": {"data": {"username": {}, "password": []}, "metadata": {"version": "x", "custom_metadata": 1}}}',
            id="fields",
        ),
        pytest.param(MOUNT, b'{"data": {"keys": [1, null, "../", "../x", {}]}}', id="keys"),
    ],
)
def test_what_is_no_vault(home: Path, mount: bytes, secret: bytes) -> None:
    """Odd answers are a sentence or an empty listing, never an internal error."""
    handler = type("Odd", (Answers,), {"mount": mount, "secret": secret})
    config = home / ".config/credhelpers/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[registry]]\nmatch = "*.acme.example"\nsource = "vault"\npath = "kv/{host}"\n')
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        env = environment(home, VAULT_ADDR=f"http://127.0.0.1:{server.server_port}", VAULT_TOKEN="made-up")

        results = [call("vault", verb, HOST, env) for verb in ("get", "list")]

        server.shutdown()
    for result in results:
        assert b"internal error" not in result.out, result
    refused(results[0])
    assert results[1] == Result(0, b"{}\n", b"")


# --- versions --------------------------------------------------------------------------------------------------------


def test_a_pinned_version(team: Team) -> None:
    """It is answered although there is a newer one, and not written."""
    team.put(PAIR)
    team.put({"username": "new", "password": "new"})
    team.configure('version = "1"')

    assert pair(team.get()) == ("robot", "made-up")
    refused(team.store(), b"pins a version")
    refused(team.erase(), b"pins a version")
    assert team.list() == {HOST: "robot"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        pytest.param(None, b"is not in Vault", id="never-there"),
        pytest.param("delete", b"vault kv undelete", id="deleted"),
        pytest.param("destroy", b"destroyed", id="destroyed"),
    ],
)
def test_a_pinned_version_that_is_gone(team: Team, change: str | None, word: bytes) -> None:
    """Somebody meant it to be there: an error with a sentence of its own."""
    for _ in range(2):
        team.put(PAIR)
    team.configure(f'version = "{1 if change else 9}"')
    if change:
        team.vault.call("PUT", f"{team.mount}/{change}/registries/{HOST}", {"versions": [1]})

    refused(team.get(), word)
    assert team.list() == {}


def test_the_command_for_a_version_that_is_gone(team: Team) -> None:
    """It has the path that `vault kv` wants, also where the configuration has that of the API."""
    team.put(PAIR)
    team.configure('version = "1"', path="data/registries/{host}")
    team.vault.call("POST", f"{team.mount}/delete/registries/{HOST}", {"versions": [1]})

    refused(team.get(), f"vault kv undelete -versions=1 {team.mount}/registries/{HOST}".encode())


def test_the_newest_version_is_gone(team: Team) -> None:
    """Deleted it is not-found, as after `docker logout`; destroyed it is an error."""
    team.put(PAIR)
    team.vault.call("DELETE", f"{team.data}/registries/{HOST}")
    assert team.get().out == NOT_FOUND
    assert team.list() == {}

    team.vault.call("PUT", f"{team.mount}/destroy/registries/{HOST}", {"versions": [1]})
    refused(team.get(), b"destroyed")

    assert team.store().code == 0
    assert pair(team.get()) == ("alice", "typed")


# --- life ------------------------------------------------------------------------------------------------------------


def said(values: dict[str, Any], form: str) -> dict[str, Any]:
    """The fields, a fraction in them being a point in time by its distance from now."""

    def at(distance: float) -> object:
        moment = time.time() + distance
        return int(moment) if form == "epoch" else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))

    return {name: at(value) if isinstance(value, float) else value for name, value in values.items()}


def times(home: Path) -> tuple[float, float, float]:
    """Seconds from now to `soft`, `hard` and `expires` of the one entry in the cache."""
    entries = [path for path in (home / "cache").glob("vault-*") if len(path.name) == 46]
    lines = {path.read_bytes().split(b"\n")[1] for path in entries}
    assert len(lines) == 1
    _, soft, hard, expires = map(int, lines.pop().split()[:4])
    now = time.time()
    return soft - now, hard - now, expires - now


@pytest.mark.parametrize(
    ("form", "data", "custom", "lines", "wanted"),
    [
        pytest.param("epoch", {}, {}, [], (150, 300, 300), id="nothing-said"),
        pytest.param("epoch", {}, {}, ['keep = "1h"'], (1800, 3600, 3600), id="keep"),
        pytest.param("epoch", {"ttl": "30m"}, {}, ['keep = "1h"'], (900, 1800, 1800), id="ttl"),
        pytest.param("epoch", {"ttl": "720h"}, {}, ['keep = "10m"'], (300, 600, 600), id="ttl-beyond-keep"),
        pytest.param("epoch", {}, {"ttl": "720h"}, ['keep = "10m"'], (300, 600, 600), id="ttl-custom-beyond-keep"),
        pytest.param("epoch", {"ttl": "1h"}, {"ttl": "5m"}, ['keep = "2h"'], (1800, 3600, 3600), id="ttl-field-first"),
        pytest.param("epoch", {"ttl": 600}, {}, [], (300, 600, 600), id="ttl-number"),
        pytest.param("epoch", {"ttl": "1h30m"}, {}, [], (2700, 5400, 5400), id="ttl-go"),
        pytest.param("epoch", {}, {"ttl": "600"}, [], (300, 600, 600), id="ttl-custom"),
        pytest.param("epoch", {"ttl": "5 m"}, {}, [], (150, 300, 300), id="ttl-blank"),
        pytest.param("epoch", {"ttl": "0.25h500ms"}, {}, [], (450, 900, 900), id="ttl-parts"),
        pytest.param("epoch", {"expires_at": 100.0}, {}, [], (45, 90, 90), id="expires"),
        pytest.param("rfc3339", {"expires_at": 7200.0}, {}, [], (150, 300, 7190), id="expires-later"),
        pytest.param("rfc3339", {}, {"expires_at": 100.0}, [], (45, 90, 90), id="expires-custom"),
        pytest.param("epoch", {}, {"expires_at": -100.0}, [], (150, 300, 300), id="said-of-an-older-version"),
        pytest.param("epoch", {"expires_at": "never"}, {}, [], (150, 300, 300), id="words"),
        pytest.param("epoch", {"expires_at": "9999-12-31T23:59:59Z"}, {}, [], (150, 300, 300), id="year-9999"),
        pytest.param("epoch", {"expires_at": "1e400"}, {}, [], (150, 300, 300), id="infinite"),
        pytest.param("epoch", {"ttl": "-5m", "expires_at": {"a": 1}}, {}, [], (150, 300, 300), id="nonsense"),
        pytest.param("epoch", {"ttl": True, "expires_at": True}, {}, [], (150, 300, 300), id="true"),
        pytest.param("epoch", {"ttl": "9" * 5000}, {}, [], (150, 300, 300), id="huge"),
    ],
)
def test_how_long_it_is_kept(
    team: Team,
    home: Path,
    form: str,
    data: dict[str, Any],
    custom: dict[str, Any],
    lines: list[str],
    wanted: tuple[float, float, float],
) -> None:
    """What the secret says of itself bounds its life in the cache, as does the configuration; else five minutes."""
    team.put(PAIR | said(data, form))
    if custom:
        team.describe(**{name: str(value) for name, value in said(custom, form).items()})
    team.configure(*lines)
    team.keep(home)

    assert pair(team.get()) == ("robot", "made-up")

    for have, want in zip(times(home), wanted, strict=True):
        assert have == pytest.approx(want, rel=0.11, abs=4)


@pytest.mark.parametrize("form", ["epoch", "rfc3339"])
def test_a_secret_that_is_over(team: Team, form: str) -> None:
    """It is an error with a sentence, and so it is not listed."""
    team.put(PAIR | said({"expires_at": -60.0}, form))

    refused(team.get(), b"expires_at", b"date -u")
    assert team.list() == {}


def test_a_version_that_deletes_itself(team: Team, home: Path) -> None:
    """`delete_version_after` bounds the life in the cache, too."""
    team.vault.call("POST", f"{team.mount}/metadata/registries/{HOST}", {"delete_version_after": "100s"})
    team.put(PAIR)
    team.keep(home)

    assert pair(team.get()) == ("robot", "made-up")
    assert times(home)[2] == pytest.approx(90, abs=5)


def test_a_login_ends_what_was_said_of_the_last_password(team: Team) -> None:
    """A new password is not over because the old one was."""
    team.put(PAIR | {"ttl": "1h", "expires_at": "2020-01-01T00:00:00Z"})

    assert team.store().code == 0

    assert team.kept() == {"username": "alice", "password": "typed", "ttl": "1h"}
    assert pair(team.get()) == ("alice", "typed")


def test_a_login_with_the_same_password_says_that_it_is_good_again(team: Team) -> None:
    """Who prolonged it at the registry only has to log in, and an end that is still to come stays."""
    team.put(PAIR | {"expires_at": "2020-01-01T00:00:00Z"})

    assert team.store(HOST, *PAIR.values()).code == 0

    assert team.kept() == PAIR
    team.put(PAIR | {"expires_at": "2190-01-01T00:00:00Z"})
    assert team.store(HOST, *PAIR.values()).code == 0
    assert team.kept() == PAIR | {"expires_at": "2190-01-01T00:00:00Z"}


def test_a_rotation_elsewhere_is_seen_and_nobody_waits(team: Team, home: Path) -> None:
    """Whoever asks from half of the life on gets the old secret at once, and its successor is fetched meanwhile."""
    team.configure('keep = "8s"')
    team.keep(home)
    team.put(PAIR)
    assert pair(team.get()) == ("robot", "made-up")
    team.put({"username": "robot", "password": "rotated"})
    until(lambda: times(home)[0] <= 0, "half of the life")
    answers: list[str] = []

    def is_new() -> bool:
        answers.append(pair(team.get())[1])
        return answers[-1] == "rotated"

    asked = hits(team, lambda: until(is_new, "the new secret", 6))

    assert answers[0] == "made-up"

    assert asked == [f"{team.data}/registries/{HOST}"]  # the mount is remembered


def test_after_its_life_it_is_read_before_it_is_answered(team: Team, home: Path) -> None:
    """No pull fails once the life in the cache is over."""
    team.configure('keep = "2s"')
    team.keep(home)
    team.put(PAIR)
    assert pair(team.get()) == ("robot", "made-up")
    team.put({"username": "robot", "password": "rotated"})
    until(lambda: times(home)[1] <= 0, "the life's end")

    assert pair(team.get()) == ("robot", "rotated")


def due(team: Team, home: Path) -> None:
    """Have a secret in the cache that must be read again, and is good for an hour by its own word."""
    team.configure('keep = "2s"')
    team.keep(home)
    team.put(PAIR | said({"expires_at": 3600.0}, "epoch"))
    assert pair(team.get()) == ("robot", "made-up")
    until(lambda: times(home)[1] <= 0, "the life's end")


def test_what_is_still_good_is_the_last_resort(team: Team, home: Path) -> None:
    """A secret that says how long it is good is answered while Vault is away; one that is gone is not."""
    is_away = threading.Event()

    def respond(request: Request) -> Response:
        return Response(503, b'{"errors": []}') if is_away.is_set() else passed_on(team.vault, request)

    with Site(respond) as site:
        team.env |= {"VAULT_ADDR": f"http://127.0.0.1:{site.port}", "VAULT_MAX_RETRIES": "0"}
        due(team, home)

        is_away.set()
        for _ in range(2):  # the second time the failure is remembered
            assert pair(team.get()) == ("robot", "made-up")
        is_away.clear()
        team.vault.call("DELETE", f"{team.data}/registries/{HOST}")
        until(lambda: team.get().out == NOT_FOUND, "what has become of it", 10)


@pytest.mark.parametrize(
    ("who", "words"),
    [
        pytest.param("policy", (b"permission", b'"read"'), id="policy"),
        pytest.param("token", (b"does not accept the token",), id="token"),
        pytest.param("version", (b"was destroyed",), id="version"),
    ],
)
def test_there_is_no_last_resort_for_who_is_denied(team: Team, home: Path, who: str, words: tuple[bytes, ...]) -> None:
    """Whose policy, token or secret was taken away gets no old one, however good it still is."""
    due(team, home)

    if who == "policy":
        team.vault.policy(team.policy, f"{team.data}/else/* read")
    elif who == "token":
        team.vault.call("POST", "auth/token/revoke", {"token": team.env["VAULT_TOKEN"]})
    else:
        team.vault.call("PUT", f"{team.mount}/destroy/registries/{HOST}", {"versions": [1]})

    for _ in range(2):  # the second time the failure is remembered
        refused(team.get(), *words)
    if who == "policy":
        team.vault.policy(team.policy, f"{team.data}/* read")
        until(lambda: team.get().code == 0, "the secret", 10)


@pytest.mark.parametrize(("before", "after"), [("1", "2"), ("2", "1")])
def test_a_mount_that_becomes_another(
    vault: Vault, home: Path, mount: Callable[[str], str], before: str, after: str
) -> None:
    """What is remembered of the mount is corrected when it is wrong."""
    name = mount("kv")
    team = Team(vault, home, name, before)
    team.configure('keep = "4s"')
    team.keep(home)
    team.put(PAIR)
    assert pair(team.get()) == ("robot", "made-up")
    vault.call("DELETE", f"sys/mounts/{name}")
    again = Team(vault, home, name, after)
    again.env = team.env | {"VAULT_TOKEN": team.env["VAULT_TOKEN"]}
    again.configure('keep = "4s"')
    again.keep(home)
    again.put({"username": "robot", "password": "moved"})

    until(lambda: pair(again.get())[1] == "moved", "the new secret", 10)
    assert again.erase().code == 0
    assert again.get().out == NOT_FOUND


# --- write -----------------------------------------------------------------------------------------------------------


def test_docker_login_and_logout(either: Team, home: Path) -> None:
    """What `docker login` does: kept, found, listed, and gone after `docker logout`, with a cache in between."""
    either.keep(home)
    server = f"https://{HOST}/v2/"

    assert either.get(server).out == NOT_FOUND
    assert either.store(server) == Result(0, b"", b"")
    assert either.kept() == {"username": "alice", "password": "typed"}
    assert pair(either.get(server)) == ("alice", "typed")
    assert either.list() == {HOST: "alice"}
    assert either.store(secret="again").code == 0
    assert pair(either.get()) == ("alice", "again")
    gone = either.erase(server)
    assert (gone.code, gone.out) == (0, b"")
    assert gone.err.startswith(b"docker-credential-vault: deleted "), gone
    assert either.get(server).out == NOT_FOUND
    assert either.list() == {}
    assert either.erase(server) == Result(0, b"", b"")
    assert either.store().code == 0
    assert pair(either.get(server)) == ("alice", "typed")


@pytest.mark.parametrize("match", ["index.docker.io", "docker.io", "registry-1.docker.io"])
def test_docker_hub(team: Team, match: str) -> None:
    """Its four names are one, in `match` too, and it is listed by the name that docker has for it."""
    team.configure(match=match)
    hub = "https://index.docker.io/v1/"

    assert team.store(hub).code == 0
    assert pair(team.get("docker.io")) == ("alice", "typed")
    assert team.list() == {hub: "alice"}


@pytest.mark.parametrize(
    ("before", "lines", "after"),
    [
        pytest.param(
            PAIR | {"url": "u", "deep": {"a": [1, None, 2.5]}},
            [],
            {"username": "alice", "password": "typed", "url": "u", "deep": {"a": [1, None, 2.5]}},
            id="ours",
        ),
        pytest.param(
            {"ServerURL": "s", "Username": "robot", "Secret": "made-up"},
            [],
            {"ServerURL": "s", "Username": "alice", "Secret": "typed"},
            id="jsok",
        ),
        pytest.param(
            {"login": "robot", "password": "for something else"},
            ['username_field = "login"', 'password_field = "pass"'],
            {"login": "alice", "pass": "typed", "password": "for something else"},
            id="configured",
        ),
        pytest.param({"note": "n"}, [], {"note": "n", "username": "alice", "password": "typed"}, id="none-yet"),
        pytest.param({"note": "n"}, ['username = "alice"'], {"note": "n", "password": "typed"}, id="user-name-itself"),
    ],
)
def test_fields_that_stay(team: Team, before: dict[str, Any], lines: list[str], after: dict[str, Any]) -> None:
    """A login replaces user name and password where they are, and nothing else."""
    team.put(before)
    team.configure(*lines)

    assert team.store().code == 0

    assert team.kept() == after
    assert pair(team.get()) == ("alice", "typed")


def test_another_user_than_the_configured_one(team: Team) -> None:
    """A password is not put beside a user name that it does not belong to."""
    team.configure('username = "robot"')
    team.put(PAIR)

    refused(team.store(), b"user name")
    assert team.kept() == PAIR


def test_the_same_again_writes_nothing(team: Team) -> None:
    """A login that changes nothing makes no version."""
    for _ in range(3):
        assert team.store().code == 0

    metadata = team.vault.call("GET", f"{team.mount}/metadata/registries/{HOST}")["data"]
    assert metadata["current_version"] == 1


@pytest.mark.parametrize("shape", ["json", "object", "bare"])
def test_a_login_in_auths(team: Team, shape: str) -> None:
    """The registry's entry is written and removed, the others stay, in the form in which they are."""
    other = {"auth": "eDp5", "email": "x@acme.example"}
    entries = {"other.acme.example": other, f"https://{HOST}": {"auth": "eDp5", "email": "e", "username": "x"}}
    value: object = {"auths": entries, "credsStore": "x"} if shape != "bare" else entries
    team.configure('auths_field = "a"', path="pull")
    team.put({"a": json.dumps(value) if shape == "json" else value, "note": "n"}, "pull")

    def entries_now() -> dict[str, Any]:
        kept = team.kept("pull")
        assert kept["note"] == "n"
        assert isinstance(kept["a"], str) == (shape == "json")
        whole = json.loads(kept["a"]) if shape == "json" else kept["a"]
        found = whole if shape == "bare" else whole["auths"]
        assert shape == "bare" or whole["credsStore"] == "x"
        assert isinstance(found, dict)
        return found

    assert team.list() == {HOST: "x", "other.acme.example": "x"}
    assert team.store().code == 0
    auth = base64.b64encode(b"alice:typed").decode()
    assert entries_now() == {
        "other.acme.example": other,
        f"https://{HOST}": {"auth": auth, "email": "e", "username": "alice"},
    }
    assert pair(team.get()) == ("alice", "typed")
    assert team.store("new.acme.example", "<token>", "identity").code == 0
    assert pair(team.get("new.acme.example")) == ("<token>", "identity")
    assert team.list() == {HOST: "alice", "other.acme.example": "x", "new.acme.example": "<token>"}
    assert team.erase().code == 0
    assert team.get().out == NOT_FOUND
    assert entries_now() == {"other.acme.example": other, "new.acme.example": {"identitytoken": "identity"}}
    assert pair(team.get("other.acme.example")) == ("x", "y")


def test_a_first_login_in_auths(team: Team) -> None:
    """Without a secret there is one afterwards, as docker's config.json has it."""
    team.configure('auths_field = "a"', path="pull")

    assert team.erase().code == 0
    refused(team.store(username="a:b"), b"colon")
    assert team.store().code == 0

    auth = base64.b64encode(b"alice:typed").decode()
    assert team.kept("pull") == {"a": json.dumps({"auths": {HOST: {"auth": auth}}})}


def test_a_login_in_v1(vault: Vault, home: Path, mount: Callable[[str], str]) -> None:
    """It keeps what it does not know there, too, in fields and in `auths`."""
    team = Team(vault, home, mount("kv"), "1")
    team.put(PAIR | {"note": "n"})
    team.put({"a": {"other.acme.example": {"auth": "eDp5"}}}, "pull")

    assert team.store().code == 0
    assert team.kept() == {"username": "alice", "password": "typed", "note": "n"}

    team.configure('auths_field = "a"', path="pull")
    assert team.store().code == 0
    assert team.list() == {HOST: "alice", "other.acme.example": "x"}
    assert team.erase().code == 0
    assert team.kept("pull") == {"a": {"other.acme.example": {"auth": "eDp5"}}}


def test_destroy(team: Team) -> None:
    """With `on_erase = "destroy"` no version and no metadata remain; without it the last one can be taken back."""
    team.put(PAIR)
    assert team.erase().code == 0
    team.vault.call("PUT", f"{team.mount}/undelete/registries/{HOST}", {"versions": [1]})
    assert pair(team.get()) == ("robot", "made-up")
    team.configure('on_erase = "destroy"')
    team.put({"username": "new", "password": "new"})

    assert team.erase().code == 0

    assert team.get().out == NOT_FOUND
    assert team.vault.ask("GET", f"{team.mount}/metadata/registries/{HOST}")[0] == 404
    assert team.erase().code == 0
    assert team.store().code == 0
    assert pair(team.get()) == ("alice", "typed")


@pytest.mark.parametrize(
    ("rules", "verb", "word"),
    [
        pytest.param(["{data}/* read"], "store", b'"create"', id="create"),
        pytest.param(["{data}/* read"], "erase", b'"delete"', id="delete"),
    ],
)
def test_a_denied_write(either: Team, rules: list[str], verb: str, word: bytes) -> None:
    """Who may only read hears what a policy lacks, and nothing changes."""
    if verb == "erase":
        either.put(PAIR)  # else there is nothing to delete
    either.may(*(rule.format(data=either.data) for rule in rules))

    result = either.store() if verb == "store" else either.erase()

    refused(result, word if either.data != either.mount or verb == "erase" else b"create", b"permission")


def test_a_denied_update(team: Team) -> None:
    """Who may create only hears that "update" is lacking."""
    team.put(PAIR)
    team.may(f"{team.data}/* create,read")

    refused(team.store(), b'"update"')
    assert team.kept() == PAIR


def test_a_token_that_may_not_read(team: Team) -> None:
    """It creates a secret, and replaces none whose fields it does not know."""
    team.may(f"{team.data}/* create,update")

    assert team.store().code == 0
    assert team.kept() == {"username": "alice", "password": "typed"}
    refused(team.store(secret="typed again"), b"other fields", b'"read"')
    assert team.kept() == {"username": "alice", "password": "typed"}


def test_a_token_that_may_not_read_v1(vault: Vault, home: Path, mount: Callable[[str], str]) -> None:
    """KV v1 does not tell whether there is a secret, so none is written blindly."""
    team = Team(vault, home, mount("kv"), "1")
    team.put(PAIR)
    team.may(f"{team.mount}/* create,update")

    refused(team.store(), b'"read"')
    assert team.kept() == PAIR


def test_cas_required(team: Team) -> None:
    """A mount that wants check-and-set gets it."""
    team.vault.call("POST", f"{team.mount}/config", {"cas_required": True})

    for secret in ("one", "two"):
        assert team.store(secret=secret).code == 0
    assert team.erase().code == 0
    assert team.store().code == 0
    assert pair(team.get()) == ("alice", "typed")


def test_logins_at_the_same_moment(team: Team) -> None:
    """Of ten at once none overwrites what it has not read: each has written, or says that it has not."""
    team.configure('auths_field = "a"', path="pull")
    team.put({"a": {"auths": {}}, "note": "n"}, "pull")
    servers = [f"r{number}.acme.example" for number in range(10)]

    with ThreadPoolExecutor(10) as pool:
        results = dict(zip(servers, pool.map(team.store, servers), strict=True))

    kept = team.kept("pull")
    assert kept["note"] == "n"
    written = {server for server, result in results.items() if result.code == 0}
    assert kept["a"]["auths"].keys() == written
    assert len(written) >= 3
    for result in results.values():
        if result.code:
            refused(result, b"same time", b"run the same command again")


class Rival:
    """Somebody who writes another field of the secret between the helper's read and its write, the first few times."""

    def __init__(self, team: Team, path: str, times: int) -> None:
        self.tried = 0
        self._team = team
        self._path = path
        self._times = times

    def respond(self, request: Request) -> Response:
        team = self._team
        if request.method in ("POST", "PUT") and request.path == f"/v1/{team.data}/{self._path}":
            if self.tried < self._times:
                status, found = team.vault.ask("GET", f"{team.data}/{self._path}")
                old = found["data"]["data"] if status == 200 else {}
                team.put(old | {f"rival {self.tried}": "was here"}, self._path)
            self.tried += 1
        return passed_on(team.vault, request)


_TYPED = {"username": "alice", "password": "typed"}
_DOCKER = {"a": {"auths": {HOST: {"auth": "eDp5"}, "other.acme.example": {"auth": "eDp5"}}}}


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        pytest.param("store", PAIR | {"note": "n"}, _TYPED | {"note": "n"}, id="login"),
        pytest.param("store", {}, _TYPED, id="first-login"),
        pytest.param("erase", _DOCKER, {"a": {"auths": {"other.acme.example": {"auth": "eDp5"}}}}, id="logout"),
    ],
)
@pytest.mark.parametrize("conflicts", [0, 1, 2, 3])
def test_a_rival_that_comes_between(
    team: Team, verb: str, before: dict[str, Any], after: dict[str, Any], conflicts: int
) -> None:
    """Nothing of the rival's is lost: what is read anew is written on top of it, and given up after three times."""
    path = f"registries/{HOST}"
    if verb == "erase":
        team.configure('auths_field = "a"')
    if before:
        team.put(before)
    rival = Rival(team, path, conflicts)
    fields = {f"rival {number}": "was here" for number in range(conflicts)}

    with Site(rival.respond) as site:
        team.env["VAULT_ADDR"] = f"http://127.0.0.1:{site.port}"
        result = team.store() if verb == "store" else team.erase()

    assert rival.tried == min(conflicts + 1, 3)
    if conflicts < 3:
        assert (result.code, result.out) == (0, b"")
        assert (b"vault kv rollback" in result.err) == (verb == "erase")
        assert team.kept() == after | fields
    else:
        refused(result, b"same time", b"run the same command again")
        assert team.kept() == before | fields


def test_a_killed_login(team: Team) -> None:
    """Whenever it is killed, the secret is the old one or the new one, whole."""
    before, after = PAIR | {"note": "n"}, {"username": "alice", "password": "typed", "note": "n"}
    outcomes = set()
    for delay in (0.02, 0.1, 0.15, 0.18, 0.2, 0.22, 0.25, 0.3, 0.5):
        team.put(before)
        process = subprocess.Popen(
            [BIN / "docker-credential-vault", "store"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=team.env,
        )
        assert process.stdin
        with process.stdin as stdin:
            stdin.write(document(HOST, "alice", "typed"))
        time.sleep(delay)  # a kill at some moment is what is tested
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = team.kept()
        assert kept in (before, after)
        outcomes.add(kept["username"])
    assert "robot" in outcomes


@pytest.mark.parametrize(
    ("username", "secret"),
    [
        pytest.param("alice", "x" * 60 * 1024, id="60-KiB"),
        pytest.param("ålice", '\u0000\n"\\ \U0001f511', id="odd-letters"),
        pytest.param("{host}", "{{identity.entity.id}} ${x} $(x)", id="marks"),
        pytest.param("<token>", "made-up", id="identity-token"),
    ],
)
def test_secrets_of_all_kinds(team: Team, username: str, secret: str) -> None:
    """What was stored comes back, byte for byte."""
    assert team.store(username=username, secret=secret).code == 0

    assert pair(team.get()) == (username, secret)
    assert team.list() == {HOST: username}


def test_a_secret_that_fits_no_answer(team: Team) -> None:
    """What docker could not take is an error, not half an answer."""
    team.put(PAIR | {"password": "x" * 70_000})

    refused(team.get(), b"longer than")


# --- list ------------------------------------------------------------------------------------------------------------


def test_a_listing_names_what_the_token_may_read(either: Team) -> None:
    """Denied, deleted, broken and foreign secrets are left out, and so is what is no registry."""
    for name in ("a", "b", "denied", "deleted"):
        either.put(PAIR, f"registries/{name}.acme.example")
    either.put({"note": "n"}, "registries/broken.acme.example")
    either.put(PAIR, "registries/not@a.acme.example")
    either.put(PAIR, "registries/UPPER.acme.example")
    either.put(PAIR, "registries/other.example")
    either.put(PAIR, "registries/folder.acme.example/x")
    either.put(PAIR, "elsewhere/c.acme.example")
    either.vault.call("DELETE", f"{either.data}/registries/deleted.acme.example")
    either.may(f"{either.data}/* read", f"{either.mount}/* list", f"{either.data}/registries/denied.acme.example deny")

    assert either.list() == {"a.acme.example": "robot", "b.acme.example": "robot"}


@pytest.mark.parametrize(
    ("match", "path", "secret", "server"),
    [
        pytest.param("*.acme.example:*", "r/{host}/{port}", "r/a.acme.example/5000", "a.acme.example:5000", id="port"),
        pytest.param("*.acme.example:*", "r/{host}/{port}", "r/a.acme.example/443", "a.acme.example", id="443"),
        pytest.param("*.acme.example:*", "{host}:{port}", "a.acme.example:5000", "a.acme.example:5000", id="one-part"),
        pytest.param("*.acme.example", "r/of-{host}/pull", "r/of-a.acme.example/pull", "a.acme.example", id="around"),
        pytest.param("*.acme.example", "{host}", "a.acme.example", "a.acme.example", id="at-the-mount"),
        pytest.param(
            "*.dkr.ecr.*.amazonaws.com",
            "{account}/{region}/{host}",
            "111122223333/eu-west-1/111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            id="amazon",
        ),
        pytest.param(
            "*-docker.pkg.dev",
            "{region}/{host}",
            "europe/europe-docker.pkg.dev",
            "europe-docker.pkg.dev",
            id="google",
        ),
        pytest.param("a.acme.example", "registries/robot", "registries/robot", "a.acme.example", id="no-wildcard"),
        pytest.param("a.acme.example:5000", "r/{port}", "r/5000", "a.acme.example:5000", id="no-wildcard-port"),
    ],
)
def test_names_out_of_paths(team: Team, match: str, path: str, secret: str, server: str) -> None:
    """The template leads from a path back to the server, which `get` then finds."""
    team.configure(match=match, path=path)
    team.put(PAIR, secret)
    team.put(PAIR, "r/decoy")

    assert team.list() == {server: "robot"}
    assert pair(team.get(server)) == ("robot", "made-up")


def test_a_name_is_asked_for_where_get_would_look(team: Team) -> None:
    """An earlier entry for a host hides what lies below a later one."""
    later = team.config.read_text()
    team.configure(match="a.acme.example", path="special")
    team.config.write_text(team.config.read_text() + later)
    team.put({"username": "special", "password": "made-up"}, "special")
    for name in ("a", "b"):
        team.put(PAIR, f"registries/{name}.acme.example")

    assert team.list() == {"a.acme.example": "special", "b.acme.example": "robot"}


def test_a_listing_is_of_whoever_was_chosen(team: Team) -> None:
    """The entry of an identity that nobody chose is not asked: its address may be another Vault's."""
    team.config.write_text(team.config.read_text().replace("[[registry]]", '[[registry]]\nidentity = "prod"'))
    team.put(PAIR, f"registries/{HOST}")
    assert team.list() == {}
    team.env["CREDHELPERS_IDENTITY"] = "prod"
    assert team.list() == {HOST: "robot"}


def test_a_listing_that_is_denied_is_empty(team: Team) -> None:
    """Who may read one secret but list none sees only what is configured by name."""
    team.put(PAIR)
    team.may(f"{team.data}/* read")

    assert team.list() == {}
    team.configure(match=HOST)
    assert team.list() == {HOST: "robot"}


def test_a_denied_folder_does_not_hide_others(team: Team) -> None:
    """Where a template leads through several folders, each is listed for itself."""
    team.configure(match="*.acme.example:*", path="r/{port}/{host}")
    for port in (5000, 6000, 7000):
        team.put(PAIR, f"r/{port}/a.acme.example")
    team.may(f"{team.mount}/* read,list", f"{team.mount}/metadata/r/5000/* deny")

    assert team.list() == {"a.acme.example:6000": "robot", "a.acme.example:7000": "robot"}


def test_a_listing_without_a_server_is_empty(team: Team) -> None:
    """An unreachable Vault costs docker no other credential."""
    team.env["VAULT_ADDR"] = "http://127.0.0.1:9"

    assert call("vault", "list", "", team.env) == Result(0, b"{}\n", b"")


def listed(team: Team, *configurations: str) -> Result:
    """The listing of all these entries, with the notes."""
    team.config.write_text("".join(configurations))
    return call("vault", "list", "", team.env | {"CREDHELPERS_DEBUG": ""})


@pytest.mark.parametrize(("match", "path"), [("*.other.example", "{host}"), ("a.other.example", "a")])
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param(['address = "http://127.0.0.1:9"'], b"nothing answers at vault (127.0.0.1:9)", id="away"),
        pytest.param(['auth = "userpass"', 'login_name = "x"'], b"there is no password to log in", id="no-token"),
    ],
)
def test_an_entry_that_fails_is_left_out_of_a_listing(
    team: Team, lines: list[str], words: bytes, match: str, path: str
) -> None:
    """The others are listed, and why it is missing is told to who debugs."""
    team.put(PAIR)
    good = team.config.read_text()
    team.configure(*lines, match=match, path=path)
    bad = team.config.read_text()

    for result in (listed(team, bad, good), listed(team, good, bad)):
        assert result.listing == {HOST: "robot"}
        assert b"debug: left out of the list: " + words in result.err
    assert listed(team, bad).listing == {}


def test_an_entry_whose_path_does_not_fit_is_left_out_of_a_listing(team: Team) -> None:
    """A path that wants what the registry's name does not have is as good as a Vault that is away."""
    team.put(PAIR)
    good = team.config.read_text()
    team.configure(match="a.other.example", path="{account}")
    bad = team.config.read_text()

    assert listed(team, bad, good).listing == {HOST: "robot"}
    result = listed(team, bad)
    assert result.listing == {}
    assert b"needs what this registry's name does not have" in result.err


def test_a_silent_vault_does_not_hold_up_a_listing(team: Team) -> None:
    """However many entries wait for it until there is no time left, the others are listed."""
    team.put(PAIR)
    good = team.config.read_text()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bad = []
        for name in (*"abcdefghij", "*"):
            address = f'address = "http://127.0.0.1:{silent.getsockname()[1]}"'
            team.configure(address, match=f"{name}.other.example", path="{host}")
            bad.append(team.config.read_text())

        result = listed(team, *bad, good)

    assert result.listing == {HOST: "robot"}
    assert result.err.count(b" did not answer in time") == 11


def test_a_listing_logs_in_once(team: Team, home: Path) -> None:
    """However many secrets are read at once, there is one login, and the mount is asked for once."""
    for number in range(12):
        team.put(PAIR, f"registries/r{number}.acme.example")
    vault, role = team.vault, f"auth/{team.mount}/role/r"
    vault.call("POST", f"sys/auth/{team.mount}", {"type": "approle"})
    vault.call("POST", role, {"token_policies": [team.policy]})
    team.env |= {
        "VAULT_ROLE_ID": vault.call("GET", f"{role}/role-id")["data"]["role_id"],
        "VAULT_SECRET_ID": vault.call("POST", f"{role}/secret-id")["data"]["secret_id"],
    }
    del team.env["VAULT_TOKEN"]
    team.configure('auth = "approle"', f'auth_mount = "{team.mount}"')
    team.keep(home)

    asked = hits(team, lambda: len(team.list()) == 12)

    vault.call("DELETE", f"sys/auth/{team.mount}")
    assert asked.count(f"auth/{team.mount}/login") == 1
    assert len([path for path in asked if path.startswith("sys/internal/ui/mounts/")]) == 1
    assert len([path for path in asked if path.startswith(f"{team.data}/")]) == 12


def test_a_long_listing_is_bounded(team: Team) -> None:
    """Of hundreds of secrets the first two hundred are read, in time."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: team.put(PAIR, f"registries/r{number}.acme.example"), range(220)))

    assert len(team.list()) == 200


def test_what_is_cached_is_listed(team: Team, home: Path) -> None:
    """What Vault makes or leases is not found by walking, but `get` answers it from the cache."""
    team.keep(home)
    team.configure(path="shared")
    team.put(PAIR, "shared")
    assert team.list() == {}

    assert pair(team.get()) == ("robot", "made-up")

    assert team.list() == {HOST: "robot"}


# --- without a registry -----------------------------------------------------------------------------------------------


def session_of(team: Team) -> Session:
    """The team's own, in this process."""
    environ = {os.fsencode(name): os.fsencode(value) for name, value in team.env.items()}
    return Session(Identity(environ, {}), Tokens("vaulttoken", environ), time.monotonic() + 10)


def test_any_secret_is_changed(either: Team) -> None:
    """A path in Vault is enough: whoever rotates a secret has no registry in hand, and other fields stay."""
    engine = "kv-v2" if either.data != either.mount else "kv-v1"
    secret_path = SecretPath(either.mount, "robots/one", engine)
    session = session_of(either)
    kv.change(session, secret_path, lambda data: data | {"password": "made-up-1"})
    either.put({"password": "made-up-1", "note": "of somebody else"}, "robots/one")
    kv.change(session, secret_path, lambda data: data | {"password": "made-up-2"})

    assert either.kept("robots/one") == {"password": "made-up-2", "note": "of somebody else"}
    assert kv.read(session, secret_path)[0] == either.kept("robots/one")
    kv.erase(session, secret_path)
    with pytest.raises(NotFound):
        kv.read(session, secret_path)


def test_what_somebody_else_writes_meanwhile_is_not_lost(team: Team) -> None:
    """The change is asked for again, with what is there by then."""
    secret_path = SecretPath(team.mount, "robots/one", "kv-v2")
    team.put({"count": 1}, "robots/one")
    seen = []

    def changed(data: dict[str, Any]) -> dict[str, Any]:
        seen.append(data["count"])
        if len(seen) == 1:
            team.put({"count": 2}, "robots/one")
        return data | {"password": "made-up"}

    kv.change(session_of(team), secret_path, changed)

    assert seen == [1, 2]
    assert team.kept("robots/one") == {"count": 2, "password": "made-up"}


def test_a_pinned_path_is_not_changed(team: Team) -> None:
    """A version of long ago is not the one that a write would be on top of."""
    team.put(PAIR, "robots/one")
    pinned = SecretPath(team.mount, "robots/one", "kv-v2", "1")

    with pytest.raises(Unsupported, match="pins a version"):
        kv.change(session_of(team), pinned, lambda data: data | {"note": "new"})
    with pytest.raises(Unsupported, match="pins a version"):
        kv.erase(session_of(team), pinned)
