"""A source of somebody else's, as CONTRIBUTING tells how to make one: a package of its own, installed beside ours.

The cloud is a toy, the package is in `tests/toy`. No file of ours differs, and the result speaks the protocol.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
import tomllib
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Self

import pytest

from tests import contract
from tests.fakes.tls import Proxy, Request, Response, Site
from tests.harness import NOT_FOUND, Result, document, environment, execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent.parent
TOY = PROJECT / "tests/toy"
OURS = Path(sys.executable).parent.parent
TRUSTED = '[sources]\ntrust = ["toy"]\n'
HOST = "eu.registry.toycloud.example"
ALIAS = "mirror.acme.example"
ROBOT = "made-up-robot-secret"
ENTRY = f'[[registry]]\nmatch = "{HOST}"\nsource = "toy"\n'


def basic(username: str, secret: str) -> str:
    return "Basic " + b64encode(f"{username}:{secret}".encode()).decode()


class FakeKv:
    """As much of Vault as one secret of KV v2 needs."""

    def __enter__(self) -> Self:
        self.secret = "robot-in-vault"
        self.tokens: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.tokens.append(self.headers["X-Vault-Token"])
                is_there = self.path == f"/v1/kv/data/robots/{HOST}" and fake.secret
                data = {"data": {"username": "robot", "password": fake.secret}, "metadata": {"version": 1}}
                body = json.dumps({"data": data} if is_there else {"errors": []}).encode()
                self.send_response(200 if is_there else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in [*folder.glob("bin/docker-credential-*"), *folder.glob("lib/*/site-packages/credhelpers/**/*")]
        if path.is_file() and "__pycache__" not in path.parts and path.name != "docker-credential-toy"
    }


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the toy beside what is installed here, which is copied by links to its packages."""
    folder = tmp_path_factory.mktemp("toy") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (theirs,), (packages,) = (place.glob("lib/python3*/site-packages") for place in (OURS, folder))
    for path in theirs.iterdir():
        if not path.name.startswith(("credhelpers", "__pycache__")):
            (packages / path.name).symlink_to(path)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder]
    options = ("install", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    before: dict[str, bytes] = {}
    for project in (PROJECT, TOY):
        done = subprocess.run([*pip, *options, project], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        before = before or _files(folder)
    assert len(before) > 50
    assert _files(folder) == before, "no file of ours differs"
    TestToy.bin = folder / "bin"
    return folder


class TestToy(contract.SourceContract):
    """4. The subclass, against a fake of the cloud."""

    name = "toy"
    own = ("eu.registry.toycloud.example", "us.registry.toycloud.example")
    foreign = (
        *("ghcr.io", "toycloud.example", "registry.toycloud.example", "a.b.registry.toycloud.example"),
        *(
            "eu--1.registry.toycloud.example",
            "eu.registry.toycloud.example.evil.example",
            "eu.registry-toycloud.example",
        ),
    )

    @pytest.fixture
    def env(self, home: Path, cloud: contract.Cloud) -> dict[str, str]:
        config = home / "trusting.toml"
        config.write_text(TRUSTED)
        return environment(home, **cloud.env, CREDHELPERS_CONFIG=str(config))

    @pytest.fixture
    def cloud(self, authority: CertificateAuthority) -> Iterator[contract.Cloud]:
        expiries: dict[str, float] = {}
        state: dict[str, float] = {"life": 3600, "is_down": False}
        self.heard: list[Request] = []

        def respond(request: Request) -> Response:
            self.heard.append(request)
            if state["is_down"]:
                return Response(503)
            secret = f"made-up-token-{len(expiries)}"
            expiries[secret] = time.time() + state["life"]
            return Response(200, json.dumps({"secret": secret, "life": state["life"]}).encode())

        host = "api.toycloud.example"
        with Site(respond, authority.context(host)) as site, Proxy({host: site.port}) as proxy:
            yield contract.Cloud(
                env={"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(authority.pem)},
                asked=proxy.asked,
                fail=lambda: state.update(is_down=True),
                expiry=expiries.__getitem__,
                live=lambda seconds: state.update(life=seconds),
            )

    def configured(self, env: dict[str, str], text: str) -> dict[str, str]:
        """An environment with this configuration."""
        config = Path(env["HOME"], "config.toml")
        config.write_text(text)
        return env | {"CREDHELPERS_CONFIG": str(config)}

    def test_it_owns_nothing_unless_somebody_says_so(self, env: dict[str, str], cloud: contract.Cloud) -> None:
        """Installed is not trusted; a stranger's rules count where an entry names it."""
        silent = self.configured(env, "")
        assert self.call(silent, "get", stdin=HOST) == Result(1, NOT_FOUND, b"")
        assert cloud.asked == []
        named = self.configured(env, ENTRY)
        assert self.call(named, "get", stdin=HOST).credential["Username"] == "toy"
        assert self.call(named, "get", stdin="us.registry.toycloud.example") == Result(1, NOT_FOUND, b"")
        assert self.call(named, "list").listing == {HOST: "toy"}

    def test_an_alias_and_settings(self, env: dict[str, str], cloud: contract.Cloud) -> None:
        """As an entry for any source has them."""
        alias = f'[[registry]]\nmatch = "{ALIAS}"\nsource = "toy"\n'
        done = self.call(self.configured(env, alias), "get", stdin=ALIAS)
        assert done.out == b"config.toml: line 1: an alias needs `zone`\n"
        good = self.configured(env, alias + 'zone = "us"\nscope = "push"\nlasting = true\n')
        assert self.call(good, "get", stdin=ALIAS).credential["ServerURL"] == ALIAS
        assert [request.path for request in self.heard] == ["/us"]
        assert self.call(good, "list").listing == {ALIAS: "toy"}

    @pytest.mark.parametrize(
        ("lines", "words", "hint"),
        [
            ('zon = "eu"', "line 4: unknown key `zon`", "did you mean `zone`?"),
            ('scope = "all"', "line 4: `scope` is not `pull` or `push`", "see `docs/configuration.md`"),
            ("lasting = true", "line 1: `lasting` needs `scope`", "see `docs/configuration.md`"),
            (
                'from = "toy"',
                "line 4: `from` is not a helper with credentials of its own",
                "it may be `keyring`, `acr`",
            ),
        ],
    )
    def test_mistakes_have_their_lines(self, lines: str, words: str, hint: str, env: dict[str, str]) -> None:
        """Those of the wheel as those of ours, and only in its own hosts."""
        wrong = self.configured(env, f"{ENTRY}{lines}\n{TRUSTED}")
        done = self.call(wrong, "get", stdin=HOST)
        assert (done.code, done.out) == (1, f"config.toml: {words}\n".encode())
        assert hint.encode() in done.err
        assert self.call(wrong, "get", stdin="us.registry.toycloud.example").credential

    def test_ours_are_not_concerned(self, env: dict[str, str]) -> None:
        """Whatever the wheel says: another executable neither loads it nor owns its hosts."""
        ecr = self.bin / "docker-credential-ecr"
        assert execute(ecr, "get", stdin=HOST, env=env) == Result(1, NOT_FOUND, b"")
        wrong = self.configured(env, ENTRY + "zon = 1\n")
        assert execute(ecr, "get", stdin=HOST, env=wrong) == Result(1, NOT_FOUND, b"")

    def test_a_robot_in_the_keyring(self, env: dict[str, str]) -> None:
        """`from = "keyring"`: what a person typed for the same host is what the toy asks its cloud with."""
        taking = self.configured(env, ENTRY + 'from = "keyring"\n')
        done = self.call(taking, "get", stdin=HOST)
        assert done.out == b'config.toml: line 1: `from = "keyring"`, and keyring has no credential for this registry\n'
        assert self.heard == []
        stored = execute(
            self.bin / "docker-credential-keyring", "store", stdin=document(HOST, "robot", ROBOT), env=taking
        )
        assert stored == Result(0, b"", b"")
        first = self.call(taking, "get", stdin=HOST).credential
        assert self.call(taking, "get", stdin=f"https://{HOST}").credential["Secret"] == first["Secret"]
        assert [request.headers.get("authorization") for request in self.heard] == [basic("robot", ROBOT)]
        assert [
            path for path in Path(env["HOME"]).rglob("*") if path.is_file() and ROBOT.encode() in path.read_bytes()
        ] == []

    def test_a_robot_in_vault(self, env: dict[str, str], tmp_path: Path) -> None:
        """`from = "vault"`: by the entry of vault for the same host, through its cache, by its identity."""
        with FakeKv() as kv:
            entry = f"""
                [[registry]]
                match = "{HOST}"
                source = "vault"
                address = "{kv.url}"
                path = "kv/robots/{{host}}"
                engine = "kv-v2"
            """
            taking = self.configured(env, ENTRY + 'from = "vault"\n' + entry) | {"VAULT_TOKEN": "made-up-token"}
            first = self.call(taking, "get", stdin=HOST).credential
            assert (first["Username"], kv.tokens) == ("toy", ["made-up-token"])
            assert [request.headers.get("authorization") for request in self.heard] == [basic("robot", kv.secret)]
            assert self.call(taking, "get", stdin=HOST).credential == first
            assert len(kv.tokens) == 1

            # Who reads Vault as another identity gets no token that was minted with what the first one could read.
            kv.secret = "another-robot"
            other = taking | {"VAULT_TOKEN": "another-token"}
            assert self.call(other, "get", stdin=HOST).credential["Secret"] != first["Secret"]
            assert kv.tokens[1:] == ["another-token"]
            assert self.heard[-1].headers["authorization"] == basic("robot", "another-robot")
            assert self.call(taking, "get", stdin=HOST).credential == first

            kv.secret = ""
            third = taking | {"VAULT_TOKEN": "third-token"}
            done = self.call(third, "get", stdin=HOST)
            assert done.out.startswith(b"vault has nothing at the configured path"), done


def test_the_page_of_the_wheel_has_every_setting(installed: Path) -> None:
    """Its table is held against its source as ours is."""
    found: dict[str, object] = {}
    sys.path.append(str(TOY))
    try:
        found = vars(importlib.import_module("credhelpers_toy"))
    finally:
        sys.path.remove(str(TOY))
    rows = [line.strip("| ").split(" | ") for line in (TOY / "README.md").read_text().splitlines() if "| `" in line[:3]]
    settings = found["SETTINGS"]
    assert isinstance(settings, dict)
    assert [row[:3] for row in rows] == [[f"`{key}`", value, purpose] for key, (value, _, purpose) in settings.items()]
    for row in rows:
        assert list(tomllib.loads(row[3].strip("`"))) == [row[0].strip("`")]
