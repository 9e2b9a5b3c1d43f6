"""How often a miss looks at what decides who mints: each look costs, and two that differ are two identities."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from credhelpers import plan, servers
from credhelpers.credential import Credential
from credhelpers.minted import Minted
from credhelpers.servers import Authority
from credhelpers.sources.acr import Acr
from credhelpers.sources.ecr import Ecr
from credhelpers.sources.gcr import Gcr

if TYPE_CHECKING:
    from pathlib import Path

SERVERS: dict[str, tuple[Any, str, str]] = {
    "ecr": (Ecr, "111122223333.dkr.ecr.eu-west-1.amazonaws.com", "AWS_PROFILE"),
    "gcr": (Gcr, "https://europe-docker.pkg.dev/v2/", "GOOGLE_APPLICATION_CREDENTIALS"),
    "acr": (Acr, "contoso.azurecr.io", "AZURE_CLIENT_ID"),
}
# Before the mint: for the receipt, and for the name of the token. Behind it, whether all is as it was.
VARIABLE, STAMP = 3, 2
# Who owns the host is asked before anything slow is loaded.
OF_THE_PLAN = 2


class Environ(dict[bytes, bytes]):
    """An environment that counts how often somebody asks for each variable."""

    def __init__(self, *given: dict[bytes, bytes]) -> None:
        super().__init__(*given)
        self.looks: Counter[bytes] = Counter()

    def get(self, name: bytes, default: Any = None) -> Any:
        self.looks[name] += 1
        return super().get(name, default)

    def __getitem__(self, name: bytes) -> bytes:
        self.looks[name] += 1
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        assert isinstance(name, bytes)
        self.looks[name] += 1
        return super().__contains__(name)

    def items(self) -> Any:
        self.looks.update(self.keys())
        return super().items()


class Looks:
    """What one miss has looked at."""

    def __init__(self, kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make, server, self.variable = SERVERS[kind]
        config = home / ".config/credhelpers/config.toml"
        config.parent.mkdir(parents=True)
        config.write_text('[[registry]]\nmatch = "mirror.acme.example"\nsource = "gcr"\n')
        config.chmod(0o600)
        self.config = os.fsencode(config)
        environ = Environ({b"HOME": os.fsencode(home), b"XDG_CACHE_HOME": os.fsencode(home / "cache")})
        source = make(environ)
        now = time.time()
        monkeypatch.setattr("credhelpers.receipt.time", lambda: now + 10)  # the configuration is not young
        plan.route(Authority("gcr.io"), environ)

        true_minter, true_stat, true_split = make.minter, os.stat, servers.split

        def minter(it: Any, route: Any) -> Any:
            found = true_minter(it, route)
            token = Credential("u", "made-up", soft=now + 1000, hard=now + 2000, expires=now + 3000)
            return type("Minter", (), {"token_key": found.token_key, "mint": lambda *_: token})()

        def stat(path: Any, *given: Any, **named: Any) -> os.stat_result:
            self.stamps[path] += 1
            return true_stat(path, *given, **named)

        def split(sent: str) -> Any:
            self.splits[sent] += 1
            return true_split(sent)

        self.stamps: Counter[Any] = Counter()
        self.splits: Counter[str] = Counter()
        environ.looks.clear()
        with monkeypatch.context() as patch:
            patch.setattr(make, "minter", minter)
            patch.setattr("credhelpers.receipt.posix.stat", stat)
            patch.setattr(servers, "split", split)
            helper, asked = Minted(source, environ), Authority(server)
            assert helper.ready(asked) is None
            assert helper.get(asked).expose() == ("u", "made-up")
        self.variables = Counter(environ.looks)
        self.server = server
        assert helper.ready(Authority(server)), "it was kept"
        self.of_a_hit = environ.looks - self.variables


_PATHS = (b"_FILE", b"_CONFIG", b"_PATH", b"_CREDENTIALS", b"_DIRECTORY", b"_DIR")


@pytest.fixture(params=list(SERVERS))
def looks(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Of a source."""
    return Looks(request.param, home, monkeypatch)


def test_a_host_is_split_once(looks: Looks) -> None:
    """Everything behind takes what was read of it."""
    assert looks.splits == {looks.server: 1}


def test_a_decision_is_read_before_and_after(looks: Looks) -> None:
    """A variable of the source: not once more by everybody who needs a part of it."""
    # By which the plan and the cache are found.
    ours = {b"HOME", b"CREDHELPERS_CONFIG", b"CREDHELPERS_IDENTITY", b"XDG_CONFIG_HOME", b"XDG_CACHE_HOME"}
    # A path that a variable may choose is looked for where a file is listed, too.
    paths = {name for name in looks.variables if name.endswith(_PATHS)}
    often = {name: count for name, count in looks.variables.items() if count > VARIABLE and name not in ours | paths}
    assert looks.variables[looks.variable.encode()] >= 2
    assert set(often) <= {
        *(b"AZURE_CLIENT_SECRET", b"AZURE_FEDERATED_TOKEN", b"AZURE_TOKEN_CREDENTIALS"),
        *(b"IDENTITY_ENDPOINT", b"MSI_ENDPOINT"),
        *(b"AWS_METADATA_SERVICE_TIMEOUT", b"AWS_METADATA_SERVICE_NUM_ATTEMPTS"),
    }, "by which the order of Azure's SDK is found, and how long Amazon's service is waited for"


def test_a_file_is_looked_at_before_and_after(looks: Looks) -> None:
    """By its stamp; the configuration's, when the plan is read."""
    of_the_user = {path: count for path, count in looks.stamps.items() if isinstance(path, bytes) and b"/." in path}
    of_the_user = {path: count for path, count in of_the_user.items() if not path.endswith(b"-packages")}
    assert of_the_user.pop(looks.config) <= OF_THE_PLAN
    assert of_the_user
    assert max(of_the_user.values()) <= STAMP, of_the_user


def test_a_hit_reads_each_variable_once(looks: Looks) -> None:
    """By the receipt; a few by which it is found, too."""
    found = {b"CREDHELPERS_IDENTITY", b"CREDHELPERS_CACHE_DIR", b"HOME", b"XDG_CACHE_HOME", b"XDG_RUNTIME_DIR"}
    assert looks.of_a_hit[looks.variable.encode()] == 1
    assert {count for name, count in looks.of_a_hit.items() if name not in found} == {1}
