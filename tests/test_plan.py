"""Who owns a registry: the plan against a plain reading of the configuration, and against whatever may happen to it."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import credhelpers
from credhelpers import files, hosts, plan
from credhelpers.config import compile as compile_module
from credhelpers.config.lines import owners
from credhelpers.errors import NotMine, Unavailable
from credhelpers.exchanges import acr_hosts, ecr_hosts, google_hosts
from credhelpers.servers import Authority
from tests.harness import NOWHERE, lacking, need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
GOOGLE = "europe-docker.pkg.dev"
AZURE = "contoso.azurecr.io"
ALIAS = "mirror.acme.example"


class User:
    """A home with a configuration file and a cache."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.config = folder / "config.toml"
        self.cache = folder / "cache"
        self.environ = {
            b"CREDHELPERS_CONFIG": os.fsencode(self.config),
            b"CREDHELPERS_CACHE_DIR": os.fsencode(self.cache),
        }
        self.write("")

    def write(self, text: str) -> None:
        """Put this configuration in the place of the one before."""
        self.config.write_text(text)
        self.config.chmod(0o600)

    def entry(self, match: str, source: str = "ecr", **more: str) -> str:
        """The text of an entry."""
        lines = [f'match = "{match}"', f'source = "{source}"', *(f'{key} = "{value}"' for key, value in more.items())]
        return "[[registry]]\n" + "\n".join(lines) + "\n"

    def route(self, server: str, source: str = "", **environ: str) -> plan.Route:
        """Who owns it."""
        more = {name.encode(): value.encode() for name, value in environ.items()}
        return plan.route(Authority(server), self.environ | more, source)

    def owner(self, server: str, source: str = "", **environ: str) -> str:
        """The word of the owner's source, or what is wrong; "" if nobody owns it."""
        try:
            return self.route(server, source, **environ).source
        except NotMine:
            return ""
        except Unavailable as error:
            return error.message

    @property
    def file(self) -> Path:
        """The compiled plan."""
        (found,) = self.cache.glob("plan-*")
        return found


@pytest.fixture
def user(tmp_path: Path) -> User:
    """The user of the test."""
    return User(tmp_path)


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The configurations that were compiled."""
    true = compile_module.compiled
    seen: list[bytes] = []

    def compiled(name: bytes, *args: Any, **named: Any) -> Any:
        seen.append(name)
        return true(name, *args, **named)

    monkeypatch.setattr("credhelpers.config.lines.compiled", compiled)
    return seen


# --- who owns what ---------------------------------------------------------------------------------------------------


def test_the_keyring_s_table_owns_what_is_asked_for_by_its_word(user: User) -> None:
    """Whatever the host; and nothing else, whoever is asked."""
    assert user.owner("docker.io", "[keyring]") == ""
    user.write('[keyring]\nbackend = "a.B"\n' + user.entry("mirror.acme.example:*", "vault", path="kv/x"))
    for server in ("docker.io", PRIVATE, ALIAS, "localhost:5000"):
        found = user.route(server, "[keyring]")
        assert (found.source, found.settings, found.line) == ("[keyring]", {"backend": "a.B"}, 1)
    assert user.owner("docker.io") == ""
    assert (user.owner(PRIVATE), user.owner(ALIAS), user.owner(PRIVATE, "gcr")) == ("ecr", "vault", "")
    user.write("[keyring]\nbackend = 1\n")
    assert "line 1: `backend` in `keyring`" in user.owner("docker.io", "[keyring]")
    assert user.owner(PRIVATE) == "ecr"


def test_rules_own_their_hosts_without_any_configuration(user: User) -> None:
    """By the sources' own rules, with what they say of the host."""
    environ = {b"CREDHELPERS_CACHE_DIR": os.fsencode(user.cache)}

    def fields(server: str) -> dict[str, str] | None:
        found = plan.route(Authority(server), environ)
        assert (found.settings, found.line, found.identity, found.path) == ({}, 0, "", "")
        return found.fields

    assert fields(PRIVATE) == {"partition": "aws", "account": "111122223333", "region": "eu-west-1"}
    assert fields("public.ecr.aws") == {"partition": "aws", "account": "", "region": "us-east-1", "is_public": "yes"}
    assert fields(GOOGLE) == {"universe": "googleapis.com", "location": "europe"}
    assert fields(AZURE) == {"cloud": "AzureCloud", "registry": "contoso"}
    for server in ("ghcr.io", "docker.io", f"x{PRIVATE}", f"{PRIVATE}:5000", "", "//h:2376", f"u@{AZURE}", "localhost"):
        with pytest.raises(NotMine):
            fields(server)


def test_a_source_sees_its_own_only(user: User) -> None:
    """An executable of one source is that source's."""
    user.write(user.entry(ALIAS, "gcr") + user.entry(ALIAS, "acr", registry=AZURE) + user.entry(AZURE, "gcr"))
    assert [user.owner(ALIAS, word) for word in ("ecr", "gcr", "acr", "vault", "")] == ["", "gcr", "acr", "", "gcr"]
    assert [user.owner(AZURE, word) for word in ("ecr", "gcr", "acr", "")] == ["", "gcr", "acr", "gcr"]
    assert [user.owner(PRIVATE, word) for word in ("ecr", "gcr", "acr", "")] == ["ecr", "", "", "ecr"]


def test_an_entry_before_a_rule(user: User) -> None:
    """Its settings count, and the rule still says what the host is; an alias has no such rule."""
    user.write(user.entry(PRIVATE, profile="prod") + user.entry(ALIAS, account="111122223333", region="eu-west-1"))
    found = user.route(PRIVATE)
    assert (found.settings, found.line) == ({"profile": "prod"}, 1)
    assert found.fields == {"partition": "aws", "account": "111122223333", "region": "eu-west-1"}
    alias = user.route(f"https://{ALIAS.upper()}:443/team/app")
    assert (alias.fields, alias.line) == (None, 5)
    assert alias.settings == {"account": "111122223333", "region": "eu-west-1"}


def test_what_does_not_go_with_a_host_is_said_of_the_entry(user: User) -> None:
    """By a source, which knows no file."""
    user.write("\n" + user.entry(PRIVATE))
    error = user.route(PRIVATE).contradiction("`a` needs `b`")
    assert (error.message, str(user.config) in error.hint) == ("config.toml: line 2: `a` needs `b`", True)


def test_a_rule_for_any_registry_has_a_condition(user: User) -> None:
    """It counts while its variable is set, and after all others but entries that say so."""
    for value, owner in (("kv/x", "vault"), ("", "")):
        assert user.owner("ghcr.io", DOCKER_CREDENTIAL_VAULT_KV_PATH=value) == owner
        assert user.owner("ghcr.io:5000", DOCKER_CREDENTIAL_VAULT_KV_PATH=value) == owner
        assert user.owner("ghcr.io", "ecr", DOCKER_CREDENTIAL_VAULT_KV_PATH=value) == ""
        assert user.owner(PRIVATE, DOCKER_CREDENTIAL_VAULT_KV_PATH=value) == "ecr"
        assert user.owner(PRIVATE, "vault", DOCKER_CREDENTIAL_VAULT_KV_PATH=value) == owner
    user.write(user.entry("ghcr.io", "gcr", identity="prod"))
    for identity, owner in (("", "vault"), ("prod", "gcr")):
        found = user.owner("ghcr.io", DOCKER_CREDENTIAL_VAULT_KV_PATH="kv/x", CREDHELPERS_IDENTITY=identity)
        assert found == owner


def test_the_longer_path_first(user: User) -> None:
    """Whole segments, as they were sent; else the entry for all of the registry."""
    user.write(
        user.entry("gcr.io", "gcr", credential="metadata")
        + user.entry("gcr.io/team-a", "gcr", credentials_file="/a")
        + user.entry("gcr.io/team-a/app/*", "gcr", credentials_file="/b")
    )
    a, b = {"credentials_file": "/a"}, {"credentials_file": "/b"}
    rest = {"credential": "metadata"}
    for path, expected in (
        *(
            ("", rest),
            ("/", rest),
            ("/v2/", rest),
            ("/v2", rest),
            ("/team", rest),
            ("/team-ab", rest),
            ("/Team-a", rest),
        ),
        *(("/team-a", a), ("/team-a/", a), ("/team-a/x", a), ("/team-a/apps", a)),
        *(("/team-a/app", b), ("/team-a/app/x/y", b)),
        *(
            ("/./team-a", rest),
            ("/x/../team-a", rest),
            ("//team-a", rest),
            ("/team-a/../x", rest),
            ("/team-a//x", rest),
        ),
    ):
        assert user.route(f"gcr.io{path}").settings == expected, path
    user.write(user.entry("gcr.io/team-a", "gcr", credentials_file="/a"))
    assert (user.route("gcr.io/other").settings, user.route("gcr.io/team-a").settings) == ({}, a)
    user.write(
        user.entry("gcr.io/v2", "gcr", credentials_file="/a")
    )  # a path that clients send for the registry itself
    assert [user.route(f"gcr.io{path}").settings for path in ("", "/v2", "/v2/", "/v2/x")] == [{}, {}, {}, a]
    user.write(user.entry(f"{ALIAS}/team-a", "gcr"))
    assert (user.owner(ALIAS), user.owner(f"{ALIAS}/team-a/x")) == ("", "gcr")


def test_an_identity_is_chosen(user: User) -> None:
    """Its entries first, then those without one; who chose another is never served by it."""
    text = user.entry(PRIVATE, identity="prod", profile="p") + user.entry(PRIVATE, identity="test", profile="t")
    user.write(text + user.entry(ALIAS, "gcr", identity="prod"))

    def profile(**environ: str) -> str:
        return str(user.route(PRIVATE, **environ).settings.get("profile"))

    assert [profile(CREDHELPERS_IDENTITY=name) for name in ("prod", "test", "")] == ["p", "t", "None"]
    assert (user.owner(ALIAS), user.owner(ALIAS, CREDHELPERS_IDENTITY="prod")) == ("", "gcr")
    assert user.owner(ALIAS, CREDHELPERS_IDENTITY="test") == ""
    assert user.route(GOOGLE, CREDHELPERS_IDENTITY="prod").identity == "", "what is open to all"

    user.write(user.entry(PRIVATE, profile="all") + text)
    assert [profile(CREDHELPERS_IDENTITY=name) for name in ("prod", "test", "")] == ["p", "t", "all"]


@pytest.mark.parametrize(
    "name", ["none", "Prod", "prod ", "@prod", "../prod", "x" * 300, "\t", "prod\t0", "prod\t0\t0", "pr%6fd", "é"]
)
def test_an_identity_that_no_entry_has(name: str, user: User) -> None:
    """An error for hosts that somebody owns, and nothing for those of nobody."""
    user.write(user.entry(PRIVATE, identity="prod") + user.entry(ALIAS, "gcr"))
    for server in (PRIVATE, ALIAS, GOOGLE):
        assert "no entry of config.toml has" in user.owner(server, CREDHELPERS_IDENTITY=name)
    assert user.owner("ghcr.io", CREDHELPERS_IDENTITY=name) == ""


def test_values_come_through(user: User) -> None:
    """Of each kind, with all that TOML lets into a text."""
    odd = "/a b\\t%41=\\u00e4\\U0001F600\\u2028/%"
    user.write(
        user.entry(GOOGLE, "gcr", credentials_file=odd, impersonate="a@b.example")
        + 'delegates = ["c@d.example", "e%41+f@g.example"]\n'
        + user.entry(ALIAS, "vault", path="kv/x")
        + "read_only = true\n"
    )
    found = user.route(GOOGLE)
    assert found.settings == {
        "credentials_file": "/a b\t%41=ä😀\u2028/%",
        "impersonate": "a@b.example",
        "delegates": ["c@d.example", "e%41+f@g.example"],
    }
    assert user.route(ALIAS).settings == {"path": "kv/x", "read_only": True}


def test_scopes_are_apart(user: User) -> None:
    """Whatever can change who mints is in it, and no two run together."""
    texts = [
        user.entry(ALIAS, "gcr"),
        user.entry(ALIAS, "gcr", credentials_file="/a"),
        user.entry(ALIAS, "gcr", credentials_file="/b"),
        user.entry(ALIAS, "gcr", credentials_file="/a", impersonate="a@b.example"),
        user.entry(f"{ALIAS}/team", "gcr"),
        user.entry(ALIAS, "acr", registry=AZURE),
    ]
    scopes = []
    for text in texts:
        user.write(text)
        scopes.append(user.route(f"{ALIAS}/team").scope)
    user.write(user.entry(ALIAS, "gcr", identity="prod"))
    scopes.append(user.route(ALIAS, CREDHELPERS_IDENTITY="prod").scope)
    assert len(set(scopes)) == len(scopes)
    user.write("\n" + texts[1])
    assert user.route(f"{ALIAS}/other").scope == scopes[1], "neither line nor path of what was asked"


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_a_mistake_fails_its_own_hosts(user: User) -> None:
    """With its line; all others go on."""
    user.write(
        user.entry(PRIVATE, profil="x")
        + user.entry("*.azurecr.io", "acr", tenant_id="!")
        + user.entry(GOOGLE, "gcr", account="a@b.example")
        + user.entry(ALIAS, "gcr")
        + user.entry(f"other.{ALIAS}:5000", "gcr")
    )
    assert user.owner(PRIVATE) == "config.toml: line 4: unknown key `profil`"
    assert user.owner(AZURE, "acr") == "config.toml: line 8: `tenant_id` is not a tenant's id or domain"
    assert user.owner(GOOGLE) == 'config.toml: line 9: `account` needs `credential = "gcloud"`'
    assert user.owner(f"other.{ALIAS}:5000") == (
        "config.toml: line 17: `match` has a port, and no registry of this source has one"
    )
    assert [user.owner(server) for server in (ALIAS, "gcr.io", "public.ecr.aws", "ghcr.io")] == [
        "gcr",
        "gcr",
        "ecr",
        "",
    ]
    assert user.owner(PRIVATE, "gcr") == "", "nor is it of interest to another source"
    with pytest.raises(Unavailable, match="profil") as raised:
        user.route(PRIVATE)
    assert raised.value.hint == f"did you mean `profile`? ({user.config})"


def test_an_entry_that_is_never_reached_fails_its_hosts(user: User) -> None:
    """Neither of the two is known to be the one that is meant, and others are not concerned."""
    user.write(
        user.entry("*.azurecr.io", "acr") + user.entry(AZURE, "acr", tenant_id="x") + user.entry("*.azurecr.io", "gcr")
    )
    assert "line 5: never reached, `match` in line 2" in user.owner(AZURE)
    assert user.owner("other.azurecr.io") == "acr"
    assert user.owner(AZURE, "gcr") == "gcr"
    user.write(user.entry(AZURE, "acr", tenant_id="x") + user.entry("*.azurecr.io", "acr") + user.entry(AZURE, "acr"))
    assert "line 9: the same `match` as in line 2" in user.owner(AZURE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[[registry]", "not TOML: line 1, column 11", id="no TOML"),
        pytest.param("x = 1", "line 1: unknown key `x`", id="not a table of ours"),
        pytest.param('[[registry]]\nsource = "ecr"', "line 1: no `match`", id="no match"),
        pytest.param('[[registry]]\nmatch = "A.b.c"\nsource = "ecr"', "line 2: `match` is not a host", id="no host"),
        pytest.param('[[registry]]\nmatch = "a.b.c"\nsource = "x"', "line 3: unknown source `x`", id="no source"),
    ],
)
def test_a_file_that_cannot_be_read_fails_all(text: str, words: str, user: User, compiling: list[bytes]) -> None:
    """Nobody knows which hosts are meant. It is known without reading the file again until that has changed."""
    user.write(text)
    for server in (PRIVATE, "ghcr.io", ALIAS, PRIVATE):
        assert f"config.toml: {words}" in user.owner(server)
    assert user.owner("//h") == "", "which is no registry"
    assert len(compiling) == 1
    user.write("")
    assert user.owner(PRIVATE) == "ecr"


def test_a_file_that_others_may_write_fails_all(user: User) -> None:
    """And one that is not there although somebody has named it."""
    user.config.chmod(0o666)
    assert "others may write it" in user.owner("ghcr.io")
    user.config.chmod(0o600)
    assert user.owner("ghcr.io") == ""
    user.config.unlink()
    assert "CREDHELPERS_CONFIG names no file" in user.owner("ghcr.io")
    user.config.symlink_to(NOWHERE)
    assert "a link that leads nowhere" in user.owner("ghcr.io")
    user.config.unlink()
    user.write("")
    assert user.owner("ghcr.io") == ""


# --- against a plain reading -----------------------------------------------------------------------------------------

_PATTERNS = [
    "a.example.com",
    "b.example.com",
    "*.example.com",
    "a*.example.com",
    PRIVATE,
    "*.azurecr.io",
    GOOGLE,
    "docker.io",
]
_PATHS = ["", "", "", "/team", "/team/app", "/*"]
_ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(_PATTERNS),
        st.sampled_from(_PATHS),
        st.sampled_from(["ecr", "gcr", "acr", "vault"]),
        st.sampled_from(["", "", "prod", "test"]),
    ),
    max_size=8,
)
_SERVERS = [
    *("a.example.com", "ab.example.com", "b.example.com", "x.example.com", "a.example.com:5000", "example.com"),
    *(PRIVATE, AZURE, GOOGLE, "gcr.io", "docker.io", "https://index.docker.io/v1/", "ghcr.io"),
]
_RULES = {"ecr": ecr_hosts.RULES, "gcr": google_hosts.RULES, "acr": acr_hosts.RULES}


def plainly(text: str, server: str, identity: str, source: str) -> tuple[str, int] | str:
    """The owner and the number of its entry, as a person would look it up; "" if nobody is."""
    authority = Authority(server)
    best: tuple[tuple[bool, int], str, int] | None = None
    names = set()
    for number, entry in enumerate(tomllib.loads(text).get("registry", []), 1):
        host, _, path = entry["match"].partition("/")
        host = "index.docker.io" if host == "docker.io" else host
        wanted = [part for part in path.split("/") if part not in ("", "*")]
        names.add(entry.get("identity", ""))
        if source not in ("", entry["source"]) or entry.get("identity", "") not in ("", identity):
            continue
        if not hosts.fits(host, authority.name) or authority.path.strip("/").split("/")[: len(wanted)] != wanted:
            continue
        rank = (not entry.get("identity"), -len(wanted))
        if best is None or rank < best[0]:
            best = (rank, entry["source"], number)
    if best is None:
        for word, rules in _RULES.items():
            if source in ("", word) and any(hosts.fields(rule[0], authority.name) is not None for rule in rules):
                best = ((True, 0), word, 0)
    if best and identity and best[0][0] and identity not in names:
        return "an identity that no entry has"
    return best[1:] if best else ""


@settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=_ENTRIES,
    asked=st.lists(
        st.tuples(
            st.sampled_from(_SERVERS),
            st.sampled_from(["", "/team", "/team/app/x", "/teams"]),
            st.sampled_from(["", "prod", "none"]),
            st.sampled_from(["", "ecr", "gcr", "acr"]),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_the_plan_agrees_with_a_plain_reading(
    entries: list[tuple[str, str, str, str]], asked: list[tuple[str, str, str, str]], user: User
) -> None:
    """On every configuration of these pieces, asked with every identity for every source."""
    text = ""
    reached = set()
    numbers = {}
    for pattern, path, source, identity in entries:
        scope = (pattern, path.removesuffix("*").strip("/"), source, identity)
        wide = ("*.example.com", *scope[1:]) in reached and pattern.endswith(".example.com")
        if scope in reached or wide or (("a*.example.com", *scope[1:]) in reached and pattern == "a.example.com"):
            continue  # a mistake, which has tests of its own
        reached.add(scope)
        more = {"identity": identity} if identity else {}
        more |= {"path": "kv/x"} if source == "vault" else {}
        numbers[text.count("\n") + 1] = len(reached)
        text += user.entry(pattern + path, source, **more)
    user.write(text)
    for server, path, identity, source in asked:
        full = server if server.endswith("/v1/") else server + path
        found: tuple[str, int] | str
        try:
            route = user.route(full, source, CREDHELPERS_IDENTITY=identity)
            found = route.source, numbers.get(route.line, 0)
        except NotMine:
            found = ""
        except Unavailable as error:
            found = (
                error.message.partition(" is ")[2]
                .replace("one that", "an identity that")
                .replace("of config.toml ", "")
            )
        assert found == plainly(text, full, identity, source)


# --- the file --------------------------------------------------------------------------------------------------------


def test_it_is_compiled_once(user: User, compiling: list[bytes]) -> None:
    """And anew when the configuration or what is installed has changed, and for another configuration."""
    user.write(user.entry(ALIAS, "gcr"))
    for server in (ALIAS, PRIVATE, "ghcr.io", "docker.io", ALIAS):
        user.owner(server)
    assert len(compiling) == 1
    assert (user.file.stat().st_mode & 0o777, user.cache.stat().st_mode & 0o777) == (0o600, 0o700)
    user.write(user.entry(ALIAS, "acr", registry=AZURE))
    assert (user.owner(ALIAS), len(compiling)) == ("acr", 2)
    user.environ[b"CREDHELPERS_CONFIG"] = b""
    assert (user.owner(ALIAS), len(compiling)) == ("", 3)
    user.environ[b"CREDHELPERS_CONFIG"] = os.fsencode(user.config)
    assert (user.owner(ALIAS), len(compiling)) == ("acr", 3), "each has a plan of its own"


def test_a_young_configuration_is_read_until_it_is_old(
    user: User, compiling: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that its stamp says enough, and one more compilation is what it costs."""
    user.owner(ALIAS)
    user.owner(ALIAS)
    assert len(compiling) == 1
    true = time.time
    monkeypatch.setattr("credhelpers.receipt.time", lambda: true() + 3)
    for _ in range(3):
        user.owner(ALIAS)
        assert len(compiling) == 2


def test_what_is_installed_counts(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiling: list[bytes]
) -> None:
    """The directory in which the package is changes when a package is added to it."""
    package = tmp_path / "site-packages/credhelpers"
    package.mkdir(parents=True)
    monkeypatch.setattr(credhelpers, "__path__", [str(package)])
    user.owner("ghcr.io")
    user.owner("ghcr.io")
    assert len(compiling) == 1
    time.sleep(0.02)
    (package.parent / "another").mkdir()
    user.owner("ghcr.io")
    assert len(compiling) == 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1500])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(ALIAS.encode())] ^= 1
    path.write_bytes(content)


def _give_away(path: Path) -> None:
    if os.geteuid() != 0:
        lacking("only root can give a file away; run as root, in a container for example")
    os.chown(path, 54321, -1)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(os.urandom(5000)), id="garbage"),
        pytest.param(lambda path: path.write_bytes(b"credhelpers-plan 3 "), id="a head that ends"),
        pytest.param(_cut, id="truncated"),
        pytest.param(_flip, id="a flipped bit"),
        pytest.param(lambda path: path.chmod(0o640), id="open to a group"),
        pytest.param(_give_away, id="another owner"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes().replace(b"plan 3 ", b"plan 4 ")), id="from the future"
        ),
        pytest.param(
            lambda path: path.write_bytes(
                path.read_bytes().replace(f" {credhelpers.__version__} ".encode(), b" 0.0.0 ")
            ),
            id="of another version",
        ),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a directory"),
        pytest.param(lambda path: (path.rename(path.parent / "x"), path.symlink_to("x")), id="a link"),
    ],
)
def test_a_file_that_is_no_plan_is_none(harm: Callable[[Path], object], user: User, compiling: list[bytes]) -> None:
    """A new one is compiled, and the answer is the same."""
    user.write(user.entry(ALIAS, "gcr", credentials_file="/a"))
    assert user.owner(ALIAS) == "gcr"
    harm(user.file)
    assert (user.owner(ALIAS), user.route(ALIAS).settings) == ("gcr", {"credentials_file": "/a"})
    assert len(compiling) >= 2


@pytest.mark.parametrize("number", range(60))
def test_a_damaged_plan_is_never_believed(number: int, user: User) -> None:
    """Whichever byte is another one: the owner is the same or, never, another."""
    user.write(user.entry(ALIAS, "gcr", credentials_file="/a") + user.entry(PRIVATE, profile="prod"))
    expected = user.route(ALIAS).settings, user.route(PRIVATE).settings
    chance = random.Random(number)
    content = bytearray(user.file.read_bytes())
    for _ in range(chance.randint(1, 3)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    user.file.write_bytes(content)
    assert (user.route(ALIAS).settings, user.route(PRIVATE).settings) == expected
    assert user.owner("ghcr.io") == ""


@pytest.mark.parametrize("number", range(4))
def test_a_plan_that_ends_anywhere_is_none(number: int, user: User) -> None:
    """At whichever byte it was cut: whoever is asked for, the owner is the same."""
    user.write(user.entry(ALIAS, "gcr", credentials_file="/a") + user.entry(PRIVATE, profile="prod"))
    servers = (ALIAS, PRIVATE, GOOGLE)
    expected = [user.route(server).settings for server in servers]
    content = user.file.read_bytes()
    head = content.index(b"\n\n") + 2
    chance = random.Random(number)
    edges = (0, 1, head - 2, head - 1, head, head + 36, head + 37, len(content) - 1)
    for place in (*(edges if number == 0 else ()), *(chance.randrange(len(content)) for _ in range(40))):
        for filled in (b"", bytes(len(content) - place)):  # the disk was full, or the machine went down
            user.file.write_bytes(content[:place] + filled)
            server = chance.choice(servers)
            assert user.route(server).settings == expected[servers.index(server)], place
            assert user.owner("ghcr.io") == ""


def test_a_plan_of_what_was_is_none(user: User, compiling: list[bytes]) -> None:
    """An older file that somebody puts back, from a backup say, is stale, and so is one with another word."""
    user.write(user.entry(ALIAS, "gcr"))
    assert user.owner(ALIAS) == "gcr"
    stale = user.file.read_bytes()
    user.write(user.entry(ALIAS, "acr", registry=AZURE))
    assert user.owner(ALIAS) == "acr"
    for _ in range(2):
        user.file.write_bytes(stale)
        assert user.owner(ALIAS) == "acr"
    assert len(compiling) == 4


@pytest.mark.parametrize("is_named", [True, False])
def test_a_plan_of_another_configuration_is_none(user: User, tmp_path: Path, *, is_named: bool) -> None:
    """Whatever its file is called: who copies it, or makes a link, does not make one configuration another."""
    user.write(user.entry(ALIAS, "gcr", credentials_file="/a"))
    assert user.owner(ALIAS) == "gcr"
    other = User(tmp_path / "other") if is_named else None
    environ = dict(user.environ)
    if other:
        other.write(other.entry(ALIAS, "acr", registry=AZURE))
        environ = {**other.environ, b"CREDHELPERS_CACHE_DIR": user.environ[b"CREDHELPERS_CACHE_DIR"]}
    else:  # the very file, which is named no more, and may be missing now
        folder = tmp_path / "credhelpers"
        folder.mkdir()
        user.config.rename(folder / "config.toml")
        user.config.symlink_to(folder / "config.toml")
        environ[b"XDG_CONFIG_HOME"] = os.fsencode(tmp_path)
        del environ[b"CREDHELPERS_CONFIG"]
    before = set(user.cache.glob("plan-*"))
    expected = plan.route(Authority(ALIAS), environ).source
    (place,) = set(user.cache.glob("plan-*")) - before
    (mine,) = before
    for put in (Path.hardlink_to, lambda to, of: to.write_bytes(of.read_bytes())):
        place.unlink()
        put(place, mine)
        place.chmod(0o600)
        assert plan.route(Authority(ALIAS), environ).source == expected
        assert plan._Plan(b"", os.fsencode(mine.name), plan._Bytes(-1, mine.read_bytes())).word
        with pytest.raises(ValueError, match="not a plan"):
            plan._Plan(b"", os.fsencode(place.name), plan._Bytes(-1, mine.read_bytes()))


def test_a_group_that_seems_to_be_empty_is_damaged(user: User) -> None:
    """Whatever is written over one of the lengths: no entry is passed over for a rule."""
    user.write(user.entry(GOOGLE, "gcr", impersonate="robot@acme.example"))
    expected = user.route(GOOGLE).settings
    content = user.file.read_bytes()
    index = content.index(b"\n\n") + 2
    count = int(content[:index].rpartition(b"groups ")[2])
    for place in range(index + 11, index + 37 * count, 37):
        user.file.write_bytes(content[:place] + b"00000000" + content[place + 8 :])
        assert user.route(GOOGLE).settings == expected
    for place in range(0, len(content) - 1, 97):  # bytes that have gone, so that all behind them is elsewhere
        user.file.write_bytes(content[:place] + content[place + 1 :])
        assert user.route(GOOGLE).settings == expected


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error"), OSError(errno.EACCES, "Permission denied"), files.Unread(5, "x")],
)
def test_a_configuration_that_cannot_be_read_now(error: OSError, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the same stamp when it can be read again, so nothing is kept of it."""
    user.write(user.entry(ALIAS, "gcr"))

    true = files.read

    def read(path: bytes, limit: int) -> object:
        if path == os.fsencode(user.config):
            raise error
        return true(path, limit)

    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.config.file.files.read", read)
        for _ in range(2):
            assert user.owner(ALIAS).startswith("config.toml: cannot be ")
    assert user.owner(ALIAS) == "gcr"


def test_a_configuration_with_a_very_long_name(
    user: User, compiling: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is compiled once, too."""
    folder = tmp_path
    for _ in range(13):
        folder /= "\u00f6" * 120
    folder.mkdir(parents=True)
    user.config = folder / "config.toml"
    user.environ[b"CREDHELPERS_CONFIG"] = os.fsencode(user.config)
    user.write(user.entry(ALIAS, "gcr"))
    true = time.time
    monkeypatch.setattr("credhelpers.receipt.time", lambda: true() + 3)
    for _ in range(3):
        assert user.owner(ALIAS) == "gcr"
    assert len(user.file.read_bytes().partition(b"\n\n")[0]) > 8 * 1024
    assert len(compiling) == 1


@pytest.mark.parametrize("cache", ["", "relative", "/proc/none", "/dev/null"])
def test_without_a_directory_it_takes_longer(cache: str, user: User, compiling: list[bytes]) -> None:
    """And that is all."""
    user.environ[b"CREDHELPERS_CACHE_DIR"] = cache.encode()
    user.write(user.entry(ALIAS, "gcr"))
    assert [user.owner(server) for server in (ALIAS, PRIVATE, "ghcr.io")] == ["gcr", "ecr", ""]
    assert len(compiling) == 3


def test_nothing_is_made_where_there_is_no_home(tmp_path: Path) -> None:
    """Who asks for a host of nobody's, with a home that is not there or is somebody else's, leaves no trace."""
    homes = [tmp_path / "is/none", tmp_path / "own", tmp_path / "alice"]
    for home in homes[1:]:
        home.mkdir()
    if os.geteuid() == 0:
        os.chown(homes[2], 54321, -1)
    else:
        homes.pop()
    for home in homes:
        with pytest.raises(NotMine):
            plan.route(Authority("ghcr.io"), {b"HOME": os.fsencode(home)})
    assert [home.name for home in homes if (home / ".cache").exists()] == ["own"]


def test_a_configuration_that_changes_meanwhile(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compiled is what was read; who asks next sees that it has changed since."""
    true = compile_module.entries

    def entries(*args: Any) -> Any:
        found = true(*args)
        user.write(user.entry(ALIAS, "acr", registry=AZURE))
        return found

    user.write(user.entry(ALIAS, "gcr"))
    with monkeypatch.context() as patch:
        patch.setattr(compile_module, "entries", entries)
        assert user.owner(ALIAS) == "gcr"
    assert user.owner(ALIAS) == "acr"


def test_two_at_once(user: User) -> None:
    """Both write the whole file, and nobody sees half of one."""
    text = "".join(user.entry(f"h{number}.example.com", "gcr") for number in range(300))
    wrong = []

    def ask() -> None:
        for number in range(30):
            found = user.owner(f"h{number}.example.com")
            if found != "gcr":
                wrong.append(found)
            if number % 10 == 0:
                file.unlink(missing_ok=True)

    user.write(text)
    user.owner(ALIAS)
    file = user.file
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [path.name for path in user.cache.iterdir() if path.name.startswith(".")] == []


_ASK = """
import posix, sys
from credhelpers import plan
from credhelpers.errors import HelperError
from credhelpers.servers import Authority
for server in sys.argv[1:]:
    try:
        found = plan.route(Authority(server), posix.environ)
        print(server, found.source, sorted(found.settings.items()))
    except HelperError as error:
        print(server, type(error).__name__)
"""


class Asked:
    """A process of its own that asks for owners, by one plan, with a package that nobody else touches."""

    def __init__(self, user: User, installed: Path, *servers: str) -> None:
        self.user = user
        self.argv = [sys.executable, "-c", _ASK, *servers]
        self.env = {os.fsdecode(name): os.fsdecode(value) for name, value in user.environ.items()}
        self.env["PYTHONPATH"] = str(installed)
        shutil.copytree(credhelpers.__path__[0], installed / "credhelpers")
        assert self.run().stdout, "with bytecode from now on"

    def run(self, *before: str) -> subprocess.CompletedProcess[str]:
        """What it says, started by another command perhaps."""
        argv = [*before, *self.argv]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def traced(self, trace: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """The same, and the lines of its trace."""
        done = self.run(need("strace", "strace"), "-y", "-o", str(trace), *options)
        return done, trace.read_text().splitlines()

    def calls(self, trace: Path) -> list[tuple[str, int]]:
        """Every system call on the plan's directory: its name, and the how manieth of that name it is."""
        self.forget()
        counts: dict[str, int] = {}
        found = []
        for line in self.traced(trace)[1]:
            name = line.partition("(")[0]
            counts[name] = counts.get(name, 0) + 1
            if str(self.user.cache) in line:
                found.append((name, counts[name]))
        assert {"openat", "write", "fsync", "close", "mkdir"} <= {name for name, _ in found}
        self.counted = found
        return found

    def forget(self) -> None:
        """Let there be no directory."""
        shutil.rmtree(self.user.cache, ignore_errors=True)

    def sweep(self, fault: str, places: list[int], trace: Path) -> None:
        """Let each of the calls at these places go wrong; who is asked answers, and what is left is a plan or none."""
        expected = self.run().stdout
        assert expected.count("\n") == len(self.argv) - 3
        for place in places:
            done, name, inject = self._struck(fault, place, trace)
            if fault.startswith("error"):
                assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0), inject
            left = [path.name for path in self.user.cache.glob(".*")] if self.user.cache.exists() else []
            assert len(left) <= (fault.startswith("signal") or name.startswith("unlink")), (inject, left)
            assert self.run().stdout == expected, inject

    def _struck(self, fault: str, place: int, trace: Path) -> tuple[subprocess.CompletedProcess[str], str, str]:
        """A run in which one of the calls went wrong, its name, and how.

        What else such a process opens may be one more or less than when they were counted, as on the first day of an
        installation. Then they are counted again.
        """
        for _ in range(3):
            name, number = self.counted[place]
            self.forget()
            inject = f"inject={name}:{fault}:when={number}"
            done, lines = self.traced(trace, "-e", f"trace={name}", "-e", inject)
            hit = [line for line in lines if "INJECTED" in line or "SIGKILL" in line]
            if hit and (fault.startswith("signal") or str(self.user.cache) in hit[0]):
                return done, name, inject
            self.calls(trace)
        pytest.fail(f"it is never struck: {inject}")


@pytest.fixture
def asked(user: User, tmp_path: Path) -> Asked:
    """Who asks by a configuration of a few entries, which is not young: that would be compiled once more."""
    user.write(user.entry(ALIAS, "gcr", credentials_file="/a") + user.entry(PRIVATE, profile="prod"))
    found = Asked(user, tmp_path / "installed", ALIAS, PRIVATE, "ghcr.io")
    time.sleep(2.1)
    return found


_FAULTS = {  # as in `test_cache`
    "EIO": "openat newfstatat fstat read pread64 write fsync close rename renameat unlink unlinkat mkdir",
    "EINTR": "openat read pread64 write fsync close",
    "ENOSPC": "openat write fsync rename renameat mkdir",
    "EACCES": "openat rename renameat unlink unlinkat mkdir",
    "EROFS": "openat rename renameat unlink unlinkat mkdir",
    "EMFILE": "openat",
}


def _failing(calls: list[tuple[str, int]], error: str) -> list[int]:
    return [place for place, (name, _) in enumerate(calls) if name in _FAULTS[error].split()]


@pytest.mark.slow
@pytest.mark.parametrize("error", list(_FAULTS))
def test_a_failing_call_costs_no_owner_sample(error: str, asked: Asked, tmp_path: Path) -> None:
    """Whoever compiles answers by what he has compiled, whatever becomes of the file."""
    places = _failing(asked.calls(tmp_path / "trace"), error)
    asked.sweep(f"error={error}", random.Random(5).sample(places, min(5, len(places))), tmp_path / "trace")


@pytest.mark.slow
def test_a_kill_leaves_a_plan_or_none_sample(asked: Asked, tmp_path: Path) -> None:
    """Whoever is asked next answers the same."""
    places = range(len(asked.calls(tmp_path / "trace")))
    asked.sweep("signal=SIGKILL", random.Random(5).sample(places, min(12, len(places))), tmp_path / "trace")


@pytest.mark.long
def test_a_failing_call_costs_no_owner_whole(asked: Asked, tmp_path: Path, proof: Callable[[str, str], None]) -> None:
    """Each call on the plan's directory, in each way that it can fail, and a kill at each."""
    calls = asked.calls(tmp_path / "trace")
    for error in _FAULTS:
        failing = _failing(calls, error)
        asked.sweep(f"error={error}", failing, tmp_path / "trace")
        proof(f"plan: a system call that fails with {error} costs no owner", f"{len(failing)} of {len(failing)} calls")
    asked.sweep("signal=SIGKILL", list(range(len(calls))), tmp_path / "trace")
    proof("plan: a kill at a system call leaves a plan or none", f"{len(calls)} of {len(calls)} calls")


@pytest.mark.slow
def test_many_processes_at_once(asked: Asked) -> None:
    """All compile and write, and nobody meets half of a plan, also while the configuration goes to and fro."""
    expected = {asked.run().stdout}
    texts = [asked.user.config.read_text(), asked.user.entry(ALIAS, "acr", registry=AZURE)]
    asked.user.write(texts[1])
    expected.add(asked.run().stdout)
    assert len(expected) == 2
    started = []
    for number in range(16):
        # In one step, as an editor does it; half of a configuration is none of the two.
        other = asked.user.config.with_name("other")
        other.write_text(texts[number % 2])
        other.chmod(0o600)
        other.replace(asked.user.config)
        started.append(subprocess.Popen(asked.argv, env=asked.env, stdout=subprocess.PIPE, text=True))
        if number % 5 == 0:
            for path in asked.user.cache.glob("plan-*"):
                path.unlink(missing_ok=True)
    for process in started:
        out, _ = process.communicate(timeout=60)
        # What each of its three owners was read from may be another of the two.
        assert set(out.splitlines()) <= {line for each in expected for line in each.splitlines()}
        assert out.count("\n") == 3
    asked.user.write(texts[0])
    assert "gcr" in asked.run().stdout
    assert not list(asked.user.cache.glob(".*"))


def _counted(user: User, server: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes are read for an answer."""
    true = os.pread
    read = 0

    def pread(descriptor: int, length: int, place: int) -> bytes:
        nonlocal read
        content = true(descriptor, length, place)
        read += len(content)
        return content

    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.plan.posix.pread", pread)
        user.owner(server)
    return read


def test_the_number_of_entries_does_not_matter(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read of a plan of thousands of entries is what is read of one of a hundred."""
    read = {}
    for count in (1, 1000, 4000):
        text = "".join(user.entry(f"h{number}.acme.example", "gcr") for number in range(count))
        user.write(text + "".join(user.entry(f"*.n{number}.example", "gcr") for number in range(count)))
        assert user.owner("h0.acme.example") == "gcr"
        assert user.owner("x.n0.example") == "gcr"
        read[count] = max(_counted(user, server, monkeypatch) for server in ("h0.acme.example", "ghcr.io", PRIVATE))
    assert read[4000] < read[1000] * 1.2


def test_list_knows_the_entries(user: User) -> None:
    """All of them, with those that are wrong."""
    user.write(user.entry(ALIAS, "gcr") + user.entry(PRIVATE, profil="x"))
    found = owners(user.environ)
    assert [(entry.pattern, entry.mistake is None) for entry in found.entries] == [(ALIAS, True), (PRIVATE, False)]
    user.write("[")
    with pytest.raises(Unavailable, match="not TOML"):
        owners(user.environ)


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
