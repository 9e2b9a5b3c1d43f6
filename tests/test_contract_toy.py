"""How to add a backend, as CONTRIBUTING tells it, done to a copy of the project: the result speaks the protocol.

The cloud is a toy. Its source, its executable and its subclass of the contract are all there is to it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import contract
from tests.fakes.tls import Proxy, Request, Response, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parent.parent

# 1. The module, with the rules of its hosts.
SOURCE = '''\
"""Toy Cloud: tokens from its API."""

import posix

from credhelpers.credential import Credential
from credhelpers.errors import Unavailable
from credhelpers.identity import fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder


RULES = (("<zone:word>.registry.toycloud.example", {}, ""),)  # see `config.schema.Announced`


class Toy:
    """The source of tokens for `ZONE.registry.toycloud.example`."""

    kind = "toy"
    manual = "Registries of Toy Cloud. TOY_USER names the user.\\n"
    uncached = b""

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    def record(self, route: "Route", recorder: "Recorder") -> None:
        """See `minted.Source`."""
        recorder.variable(b"TOY_USER")

    def minter(self, route: "Route") -> "ToyMinter":
        """See `minted.Source`."""
        zone = route.fields["zone"]
        return ToyMinter(zone, fingerprint(f"toy token {zone}", self._environ, (b"TOY_USER",)))


class ToyMinter:
    """A token for a zone."""

    def __init__(self, zone: str, key: str) -> None:
        self.token_key = key
        self._zone = zone

    def mint(self, old: Credential | None = None) -> Credential:
        """See `tokens.Minter`."""
        import json
        from time import time
        from urllib.request import urlopen

        now = time()
        try:
            with urlopen(f"https://api.toycloud.example/{self._zone}", timeout=5) as response:
                token = json.load(response)
        except (OSError, ValueError):
            why = "`curl https://api.toycloud.example` says why"
            raise Unavailable("toy-away", "toy cloud issues no token now", why) from None
        end = now + token["life"]
        return Credential("toy", token["secret"], soft=now + token["life"] / 2, hard=end - 300, expires=end - 60)
'''


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A copy of the project with the toy in it, installed into an environment of its own."""
    folder = tmp_path_factory.mktemp("toy")
    copy = folder / "project"
    for name in ("credhelpers", "entrypoints"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, copy)

    (copy / "credhelpers/sources/toy.py").write_text(SOURCE)
    # 2. The executable: a copy of another one with two words changed.
    executable = copy / "entrypoints/docker-credential-toy"
    shutil.copy(copy / "entrypoints/docker-credential-ecr", executable)
    text = executable.read_text().replace("sources.ecr import Ecr", "sources.toy import Toy").replace("Ecr()", "Toy()")
    executable.write_text(text)

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env/bin/python3"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    done = subprocess.run([*pip, "install", "-q", "--no-deps", copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    TestToy.bin = python.parent


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
    def cloud(self, authority: CertificateAuthority) -> Iterator[contract.Cloud]:
        expiries: dict[str, float] = {}
        state: dict[str, float] = {"life": 3600, "is_down": False}

        def respond(request: Request) -> Response:
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
