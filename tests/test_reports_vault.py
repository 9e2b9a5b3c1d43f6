"""What real people's machines did to us: rows of public reports that concern Vault, by kind, on a real server.

A row is named by the report's number, where it has one. What is in Vault is a team's; names and paths are what people
make them.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from tests.harness import NOT_FOUND, Result, document, environment
from tests.harness import loaded_call as call
from tests.services import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.services import Vault

pytestmark = pytest.mark.slow

HOST = "harbor.acme.example"
PAIR = {"username": "robot", "password": "made-up"}


class Team:
    """A mount of its own, a token for it, and an entry for each registry of `acme.example`."""

    def __init__(self, vault: Vault, home: Path, mount: str, version: int) -> None:
        self.vault = vault
        self.mount = mount
        self.config = home / ".config/credhelpers/config.toml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        vault.call("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": str(version)}})
        self.data = f"{mount}/data" if version > 1 else mount
        self.is_first = version == 1
        until(lambda: vault.ask("GET", f"{self.data}/nothing")[0] == 404, "the mount")
        policy = f"reports-{os.urandom(4).hex()}"
        vault.policy(policy, f"{mount}/* create,read,update,delete,list")
        self.env = environment(home, VAULT_ADDR=vault.address, VAULT_TOKEN=vault.token_for(policy))
        self.env["CREDHELPERS_CACHE_DIR"] = str(home / "cache")
        self.path = f"registries/{HOST}"

    def configure(self, *lines: str, path: str = "registries/{host}") -> None:
        entry = ["[[registry]]", 'match = "*.acme.example"', 'source = "vault"']
        entry.append("path = " + json.dumps(f"{self.mount}/{path}"))
        self.config.write_text("\n".join([*entry, *lines]) + "\n")

    def put(self, data: object, path: str = "") -> None:
        where = f"{self.data}/{path or self.path}"
        self.vault.call("POST", where, data if self.is_first else {"data": data})

    def kept(self) -> Any:
        status, answer = self.vault.ask("GET", f"{self.data}/{self.path}")
        found = answer.get("data") or {}
        return None if status == 404 else found if self.is_first else found["data"]

    def run(self, told: str, folder: Path) -> None:
        """Type the command of a hint, as who administers the server."""
        (folder / "bin").mkdir()
        (folder / "bin/vault").symlink_to(self.vault.program)
        command = told.split("`")[1]
        env = {"VAULT_ADDR": self.vault.address, "VAULT_TOKEN": self.vault.token, "HOME": str(folder)}
        env |= {"PATH": str(folder / "bin"), "GODEBUG": self.vault.env["GODEBUG"]}
        subprocess.run(["/bin/sh", "-c", command], env=env, check=True, capture_output=True, timeout=30)

    def call(self, verb: str, server: str = HOST) -> Result:
        given = document(server, "alice", "typed") if verb == "store" else server
        return call("vault", verb, given, self.env)


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def either(request: pytest.FixtureRequest, vault: Vault, home: Path) -> Iterator[Team]:
    """A team with KV of one version or the other."""
    yield from _team(vault, home, request.param)


@pytest.fixture
def team(vault: Vault, home: Path) -> Iterator[Team]:
    """A team with KV v2."""
    yield from _team(vault, home, 2)


def _team(vault: Vault, home: Path, version: int) -> Iterator[Team]:
    made = Team(vault, home, f"kv{os.urandom(4).hex()}", version)
    made.configure()
    yield made
    vault.call("DELETE", f"sys/mounts/{made.mount}")


# --- what we delete is the team's ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "login", "logout"),
    [
        pytest.param((), "written", "kept", id="3.A2 nothing is said"),
        pytest.param(('write = "login"',), "written", "kept", id="3.A2 login"),
        pytest.param(('write = "all"',), "written", "deleted", id="3.A2 all"),
        pytest.param(('write = "never"',), "refused", "kept", id="3.A2 never"),
        pytest.param(('keep = "1d"',), "written", "kept", id="own: another key is none of these"),
        pytest.param(("read_only = true",), "accepted", "kept", id="older: read_only"),
        pytest.param(("read_only = true", 'on_write = "accept"'), "accepted", "kept", id="older: accept"),
        pytest.param(("read_only = true", 'on_write = "refuse"'), "refused", "refused", id="older: refuse"),
        pytest.param(("read_only = false",), "written", "deleted", id="own: older, read_only = false"),
    ],
)
def test_what_may_be_written(either: Team, lines: tuple[str, ...], login: str, logout: str) -> None:
    """A logout deletes where that is said, and is told then; it forgets what is cached in any case."""
    either.configure(*lines)
    either.put(PAIR)
    assert either.call("get").credential["Secret"] == "made-up"

    stored = either.call("store")
    assert stored.code == (login == "refused")
    typed = {"username": "alice", "password": "typed"}
    assert either.kept() == (typed if login == "written" else PAIR)

    before = either.kept()
    erased = either.call("erase")
    assert erased.code == (logout == "refused")
    assert either.kept() == (None if logout == "deleted" else before)
    assert (b"deleted" in erased.err) == (logout == "deleted")
    if logout == "kept":
        assert erased == Result(0, b"", b"")
        either.put({"username": "robot", "password": "rotated"})
        assert either.call("get").credential["Secret"] == "rotated", "it is not answered from the cache"
    assert either.call("erase").err == (erased.err if logout == "refused" else b""), "nothing more is deleted"


def test_what_was_deleted_is_told_with_what_brings_it_back(team: Team, tmp_path: Path) -> None:
    """The very version, by a command that can be typed as it stands."""
    team.configure('write = "all"', path="my registries/{host}")
    team.path = f"my registries/{HOST}".replace(" ", "%20")
    for number in range(3):
        team.put(PAIR | {"n": number})

    told = team.call("erase").err.decode()

    shown = f"'{team.mount}/my registries/{HOST}'"
    assert told == (
        f"docker-credential-vault: deleted version 3 of {shown} in Vault; "
        f"`vault kv undelete -versions=3 {shown}` brings it back\n"
    )
    team.run(told, tmp_path)
    assert team.call("get").credential["Secret"] == "made-up"


def test_an_entry_of_auths_that_was_taken_out_is_told(team: Team, tmp_path: Path) -> None:
    """By a rollback to the version before: the secret itself was not deleted."""
    auth = base64.b64encode(b"robot:made-up").decode()
    team.configure('auths_field = "a"', 'write = "all"')
    team.put({"a": {"auths": {HOST: {"auth": auth}, "other.example": {"auth": auth}}}})

    told = team.call("erase").err

    assert b"took the entry of this registry out of" in told
    assert f"`vault kv rollback -version=1 {team.mount}/{team.path}`".encode() in told
    assert team.kept() == {"a": {"auths": {"other.example": {"auth": auth}}}}
    assert team.call("erase") == Result(0, b"", b"")
    team.run(told.decode(), tmp_path)
    assert team.call("get").credential["Secret"] == "made-up"


def test_own_who_may_delete_and_not_read(team: Team) -> None:
    """The version is not known then; that something was deleted is told all the same."""
    team.configure('write = "all"', 'engine = "kv-v2"')
    team.put(PAIR)
    policy = f"reports-{os.urandom(4).hex()}"
    team.vault.policy(policy, f"{team.data}/* delete")
    team.env["VAULT_TOKEN"] = team.vault.token_for(policy)

    done = team.call("erase")

    assert done.code == 0
    assert b"`vault kv undelete -versions=N " in done.err
    assert team.kept() is None


def test_never_accepts_what_vault_answers(either: Team) -> None:
    """With its reason and the key to set for all else, also where Vault has nothing; a fault stays a fault."""
    either.configure('write = "never"')

    nothing = either.call("store")
    assert b"[vault-not-written]" in nothing.err
    assert b'`write = "login"`' in nothing.err
    either.put({"username": "alice", "password": "typed"})
    assert either.call("store") == Result(0, b"", b"")
    either.put({"username": "alice", "password": "other"})
    assert b"[vault-not-written]" in either.call("store").err
    either.env["VAULT_TOKEN"] = "hvs.nobody"
    assert b"[vault-token-worn-out]" in either.call("store").err


def test_own_a_login_of_a_part_of_the_registry_is_compared_too(team: Team) -> None:
    """What `get` answers for a path is accepted for it."""
    team.configure('write = "never"')
    team.put({"username": "alice", "password": "typed"})

    assert team.call("store", f"{HOST}/team/app") == Result(0, b"", b"")


def test_2_b8_no_hint_proposes_a_logout_for_what_is_in_vault(team: Team) -> None:
    """A logout does not shorten it, and with `write = "all"` it would delete the team's secret."""
    team.put({"username": "robot", "password": "x" * 66_000})

    done = team.call("get")

    assert b"[credential-too-long]" in done.err
    assert b"logout" not in done.err


# --- names and paths are what people make them -----------------------------------------------------------------------

NAMES = ("my reg", "a(b)", "\u00fc", "a,b", "a&b", "a=b", "a~b", "a'b", "a!b", "a$b", "a*b", "a;b", "a#b", "a?b")
MORE = (
    "a%20b",
    "a|b",
    "a[b",
    'a"b',
    "a<b>",
    "a^b",
    "a\\b",
    "a`b",
    "100%",
    "%",
    "a?b=c&d#e",
    "\u4e2d\u6587",
    "a  b",
    "+",
)


@pytest.mark.parametrize("name", [*(f"2.A10 {name}" for name in NAMES), *(f"own {name}" for name in MORE)])
def test_paths_as_people_call_them(team: Team, name: str) -> None:
    """Read, written, listed and deleted by the name that `vault kv` has for them."""
    name = name.partition(" ")[2]
    team.path = quote(name, safe="") + "/" + HOST
    team.configure('write = "all"', path=name + "/{host}")
    team.put(PAIR)

    assert team.call("get").credential["Secret"] == "made-up"
    assert call("vault", "list", "", team.env).listing == {HOST: "robot"}
    assert team.call("store").code == 0
    assert team.kept() == {"username": "alice", "password": "typed"}
    assert team.call("erase").code == 0
    assert team.kept() is None


@pytest.mark.parametrize("mount", ["2.A10 team/my kv", "own a(b)", "own 50%", "own \u00fc/x"])
def test_mounts_as_people_call_them(vault: Vault, home: Path, mount: str) -> None:
    """Found by asking Vault, and where the entry says them."""
    name = mount.partition(" ")[2]
    made = Team(vault, home, quote(f"{name} {os.urandom(4).hex()}"), 2)
    try:
        quoted, made.mount = made.mount, f"{name} {made.mount[-8:]}"
        made.put(PAIR)
        vault.policy("reports-mounts", f"{made.mount}/* read")
        made.env["VAULT_TOKEN"] = vault.token_for("reports-mounts")
        for lines in ((), ('engine = "kv-v2"', "mount = " + json.dumps(made.mount))):
            made.configure(*lines)
            assert made.call("get").credential["Secret"] == "made-up"
    finally:
        vault.call("DELETE", f"sys/mounts/{quoted}")


AUTH = {"auth": base64.b64encode(b"robot:made-up").decode()}
OTHER = {"auth": base64.b64encode(b"other:else").decode()}


@pytest.mark.parametrize(
    ("auths", "asked", "user"),
    [
        pytest.param({"Harbor.Acme.Example": AUTH}, HOST, "robot", id="2.A8 another case"),
        pytest.param({HOST: AUTH}, "HARBOR.acme.example", "robot", id="2.A8 asked in another case"),
        pytest.param({"Harbor.Acme.Example": OTHER, HOST: AUTH}, HOST, "robot", id="2.A8 the exact one first"),
        pytest.param({"https://HARBOR.acme.example/v2/": AUTH}, HOST, "robot", id="own: another case and spelling"),
        pytest.param({f"{HOST}/team": AUTH}, f"{HOST}/team/app", "robot", id="2.C3 podman's path"),
        pytest.param({f"{HOST}/team": AUTH}, HOST, "robot", id="2.C3 podman's path, docker asks"),
        pytest.param({f"{HOST}/team": AUTH, HOST: OTHER}, f"{HOST}/team/app", "robot", id="own: the longest path"),
        pytest.param({f"{HOST}/team": AUTH, HOST: OTHER}, f"{HOST}/teamx/app", "other", id="own: no part of a segment"),
        pytest.param({f"{HOST}/a": AUTH, f"{HOST}/b": AUTH}, HOST, "robot", id="own: paths that agree"),
        pytest.param({f"{HOST}/a": AUTH, f"{HOST}/b": OTHER}, HOST, "", id="own: paths that do not"),
        pytest.param({f"{HOST}/a": AUTH}, f"{HOST}/b/c", "", id="own: another path"),
        pytest.param({"*.acme.example": AUTH}, HOST, "robot", id="2.C3 kubernetes' star"),
        pytest.param({"https://*.ACME.example/v1/": AUTH}, HOST, "robot", id="own: a star in another spelling"),
        pytest.param({"*.acme.example": OTHER, HOST: AUTH}, HOST, "robot", id="own: the registry before a star"),
        pytest.param({"*.*.example": OTHER, "*.acme.example": AUTH}, HOST, "robot", id="own: fewer stars first"),
        pytest.param({"*.acme.example/team": AUTH}, f"{HOST}/team/x", "robot", id="own: a star and a path"),
        pytest.param({"*.acme.example/team": AUTH}, f"{HOST}/other/x", "", id="own: a star and another path"),
        pytest.param({"*.example": AUTH}, HOST, "", id="own: a star is no dot"),
        pytest.param({"http://*.acme.example": AUTH}, HOST, "", id="own: a star without TLS"),
        pytest.param({"*.acme.example:5000": AUTH}, HOST, "", id="own: a star on another port"),
        pytest.param({"harbor.acme.example.evil.example": AUTH}, HOST, "", id="own: a stranger"),
        pytest.param(
            {HOST: {"auth": base64.b64encode(b"robot:made-up\0\0").decode()}}, HOST, "robot", id="2.C4 NULs at the end"
        ),
    ],
)
def test_keys_of_auths(team: Team, auths: dict[str, Any], asked: str, user: str) -> None:
    """Docker's, podman's and Kubernetes', the nearest first; the secret goes to no other host."""
    team.configure('auths_field = "a"')
    team.put({"a": json.dumps({"auths": auths})})

    done = team.call("get", asked)

    if user:
        assert done.credential["Username"] == user
        assert done.credential["Secret"] == {"robot": "made-up", "other": "else"}[user]
    else:
        assert done.out == NOT_FOUND


@pytest.mark.parametrize(
    ("auths", "asked", "left"),
    [
        pytest.param(
            {f"https://{HOST}/v1": AUTH, f"https://{HOST}/v2": OTHER},
            f"https://{HOST}/v1",
            {f"https://{HOST}/v2"},
            id="4.2 the other version",
        ),
        pytest.param(
            {f"https://{HOST}/v1": AUTH, f"https://{HOST}/v2": AUTH},
            f"https://{HOST}/v2",
            {f"https://{HOST}/v1"},
            id="own: of the same user",
        ),
        pytest.param({HOST: AUTH, f"https://{HOST}": OTHER}, HOST, {f"https://{HOST}"}, id="4.2 another user"),
        pytest.param({HOST: AUTH, f"https://{HOST}/v1/": AUTH}, HOST, set(), id="docker's own spellings"),
        pytest.param({"Harbor.Acme.Example": AUTH, HOST: AUTH}, HOST, set(), id="2.A8 both cases"),
        pytest.param({HOST: AUTH, f"{HOST}/team": AUTH}, HOST, {f"{HOST}/team"}, id="own: a path is another entry"),
        pytest.param({"*.acme.example": AUTH}, HOST, {"*.acme.example"}, id="own: a star is for others, too"),
    ],
)
def test_what_a_logout_takes_out_of_auths(team: Team, auths: dict[str, Any], asked: str, left: set[str]) -> None:
    """The registry's entry in its spellings, and nobody else's."""
    team.configure('auths_field = "a"', 'write = "all"')
    team.put({"a": {"auths": auths}})

    assert team.call("erase", asked).code == 0
    assert set(team.kept()["a"]["auths"]) == left


# --- silence where something is configured ---------------------------------------------------------------------------


def test_3_a3_what_is_not_there_is_told_in_a_line(team: Team) -> None:
    """Program, what was looked for, where, and the line that said so; at once again for who debugs."""
    team.configure(path="registries/x{host}")

    done = team.call("get")

    assert done.out == NOT_FOUND
    assert len(done.err) <= 200
    assert done.err.decode() == (
        f"docker-credential-vault: nothing is at {team.mount}/registries/x{HOST} in Vault; "
        "line 1 of config.toml has this host [vault-nothing-there]\n"
    )
    team.put(PAIR, f"registries/x{HOST}")
    team.env["CREDHELPERS_DEBUG"] = "1"
    assert team.call("get").credential["Secret"] == "made-up", "what was remembered does not count"


@pytest.mark.parametrize("length", [60, 150])
def test_own_a_long_path_leaves_room_for_the_line(team: Team, length: int) -> None:
    """The path is shortened, and neither name nor line nor code is."""
    team.configure(path="x" * length + "/{host}")
    told = team.call("get").err
    assert len(told) <= 200
    assert told.startswith(b"docker-credential-vault: nothing is at ")
    assert told.endswith(b"line 1 of config.toml has this host [vault-nothing-there]\n")


@pytest.mark.parametrize("cause", ["wrong token", "no engine", "nothing there"])
def test_own_who_debugs_hears_of_each_cause_at_once(team: Team, cause: str) -> None:
    """Vault is asked each time, and the line does not say that anything is remembered."""
    if cause == "wrong token":
        team.env["VAULT_TOKEN"] = "hvs.nobody"
    elif cause == "no engine":
        team.mount += "x"
        team.configure()
    first, again = team.call("get"), team.call("get")
    assert first.code == again.code == 1
    team.env["CREDHELPERS_DEBUG"] = "1"
    loud = team.call("get")
    assert loud.out == first.out
    assert b"remembered" not in loud.err
    assert first.err.rpartition(b"docker-credential-vault: ")[2] == loud.err.rpartition(b"docker-credential-vault: ")[2]


def test_2_b7_a_wrapping_token_is_said_to_be_one(team: Team) -> None:
    """By its own sentence: no policy could make it open anything."""
    headers = {"X-Vault-Wrap-TTL": "60", "X-Vault-Token": team.vault.token}
    asked = Request(f"{team.vault.address}/v1/auth/token/create", b'{"policies": ["default"]}', headers)
    with urlopen(asked, timeout=10) as answer:
        team.env["VAULT_TOKEN"] = json.load(answer)["wrap_info"]["token"]

    done = team.call("get")

    assert b"[vault-token-wrapped]" in done.err, done
    assert b"`vault unwrap`" in done.err
    assert team.vault.call("POST", "sys/wrapping/lookup", {"token": team.env["VAULT_TOKEN"]})["data"], "it is not spent"
