"""The way of a secret from KV to the answer, by a login: how many modules it enters, and what it does twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.credential import Credential
from credhelpers.errors import Unavailable
from credhelpers.tokens import Tokens
from credhelpers.vault.login import Identity
from credhelpers.vault.session import Session
from tests.harness import environment
from tests.services import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services import Vault

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
HOST = "harbor.acme.example"
# Whatever only some calls need: other methods and engines, other ways to the server, what failed, other verbs.
UNNEEDED = {
    *("agentfile", "ambient_token", "clouds", "detour", "engines", "hcl", "leases", "listing", "options"),
    *("transport_errors", "trust"),
    *("auth.aws", "auth.azure", "auth.certificate", "auth.gcp", "auth.jwt", "auth.password"),
}
# What an executable has loaded is loaded; from then on it is noted which functions of ours are called, in all threads.
SCRIPT = """if True:
    import _thread, json, sys, threading
    import credhelpers.protocols.docker
    from credhelpers.sources.vault import Vault
    from credhelpers.writable import Writable
    from credhelpers.servers import Authority
    import posix
    from credhelpers import plan

    calls = {}

    def note(frame, event, _):
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("credhelpers"):
            called = calls.setdefault(name, {})
            called[frame.f_code.co_name] = called.get(frame.f_code.co_name, 0) + 1

    start = _thread.start_new_thread
    def start_noting(work, arguments):
        def run():
            sys.setprofile(note)
            work(*arguments)
        return start(run, ())
    _thread.start_new_thread = start_noting

    helper = Writable(Vault())
    asked = Authority(sys.argv[1])
    plan.route(asked, posix.environ)  # compiled once, for all that follow
    sys.setprofile(note)
    assert helper.ready(asked) is None
    found = helper.get(asked)
    sys.setprofile(None)
    print(json.dumps({"user": found.username, "calls": calls, "modules": sorted(sys.modules)}))
"""


class Way:
    """What one read of a secret has called."""

    def __init__(self, env: dict[str, str]) -> None:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, HOST], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        self.user = told["user"]
        self.calls: dict[str, dict[str, int]] = told["calls"]
        self.loaded = {name.removeprefix("credhelpers.vault.") for name in told["modules"]}

    @property
    def entered(self) -> set[str]:
        """The modules of which more has run than the lines that import.

        `userns` is not counted, which is asked about the files of whoever is not root.
        """
        return {name for name, called in self.calls.items() if called.keys() - {"<module>"}} - {"credhelpers.userns"}


@pytest.fixture(scope="module", params=[[], ['engine = "kv-v2"']], ids=["asked for", "said"])
def way(request: pytest.FixtureRequest, vault: Vault, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A secret that nobody has asked for before, read by an AppRole."""
    name = f"way{os.urandom(4).hex()}"
    vault.call("POST", f"sys/mounts/{name}", {"type": "kv", "options": {"version": "2"}})
    until(lambda: vault.ask("GET", f"{name}/data/nothing")[0] == 404, "the mount")
    vault.call("POST", f"{name}/data/{HOST}", {"data": {"username": "robot", "password": "made-up"}})
    vault.policy(name, f"{name}/data/* read")
    vault.call("POST", f"sys/auth/{name}", {"type": "approle"})
    vault.call("POST", f"auth/{name}/role/one", {"token_policies": [name]})
    role = vault.call("GET", f"auth/{name}/role/one/role-id")["data"]["role_id"]
    secret = vault.call("POST", f"auth/{name}/role/one/secret-id")["data"]["secret_id"]
    home = tmp_path_factory.mktemp("home")
    config = home / ".config/credhelpers/config.toml"
    config.parent.mkdir(parents=True)
    lines = ["[[registry]]", f'match = "{HOST}"', 'source = "vault"', f'path = "{name}/{{host}}"', *request.param]
    config.write_text("\n".join([*lines, 'auth = "approle"', f'auth_mount = "{name}"', f'role_id = "{role}"']))
    time.sleep(2.1)  # a younger configuration is compiled once more
    env = environment(home, VAULT_ADDR=vault.address, VAULT_SECRET_ID=secret, PYTHONPATH=str(ROOT))
    yield Way(env)
    vault.call("DELETE", f"sys/mounts/{name}")
    vault.call("DELETE", f"sys/auth/{name}")


def test_few_modules_are_entered(way: Way) -> None:
    """A reader can follow it in his head."""
    assert way.user == "robot"
    assert len(way.entered) <= 24, " ".join(sorted(way.entered))


def test_what_is_not_needed_is_not_loaded(way: Way) -> None:
    """One login by AppRole and one read loads that method, that engine, and what they need."""
    assert {"auth.approle", "kv"} <= way.loaded
    assert not way.loaded & UNNEEDED


def test_each_fact_is_computed_once(way: Way) -> None:
    """Server, identity and session are made once; the identity is looked at before the login and after it."""
    made = way.calls["credhelpers.vault.connection"]
    assert (made["_parts"], made["_connect"]) == (1, 1)
    assert way.calls["credhelpers.vault.login"]["_fingerprint"] == 2
    assert way.calls["credhelpers.vault.minter"]["_session"] == 1
    # `ready`, `get` and what is asked after the mint; the identity, before and after; the token.
    assert way.calls["credhelpers.identity"]["fingerprint"] <= 6


# --- before and after -------------------------------------------------------------------------------------------------


def test_an_identity_that_is_another_by_now(home: Path) -> None:
    """A file that selects it has been written since."""
    profiles = home / ".aws/config"
    profiles.parent.mkdir()
    identity = Identity({b"HOME": os.fsencode(home)}, {"auth": "aws", "path": "kv/x"})
    assert identity.is_still()

    profiles.write_text("[default]\nregion = eu-west-1\n")
    assert not identity.is_still()


def test_a_token_of_an_identity_that_changed_meanwhile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whose it is: it serves this call, and no other process is answered with it."""
    environ = {b"HOME": os.fsencode(home), b"CREDHELPERS_CACHE_DIR": os.fsencode(home / "cache")}
    identity = Identity(environ, {"auth": "aws", "path": "kv/x"})
    tokens = Tokens("vaulttoken", environ)

    def mint(*_: object) -> Credential:
        (home / ".aws").mkdir()
        (home / ".aws/config").write_text("[default]\n")
        return Credential("vault token", "made-up")

    monkeypatch.setattr("credhelpers.vault.login.Login.mint", mint)
    session = Session(identity, tokens, 0)

    assert session._secret() == "made-up"
    assert tokens.cached(identity.token_key) is None


def test_a_server_that_is_none_is_said_at_once(home: Path) -> None:
    """Before anything is named by it."""
    with pytest.raises(Unavailable, match="is not the URL of a server"):
        Identity({b"HOME": os.fsencode(home), b"VAULT_ADDR": b"nowhere"}, {"path": "kv/x"})
