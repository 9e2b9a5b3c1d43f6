"""A credential of another helper, handed to a source that mints with it: what is handed, what it is kept under."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import pytest

from credhelpers import installed
from credhelpers.config import strangers
from credhelpers.credential import Credential
from credhelpers.errors import NotFound, Unavailable
from credhelpers.minted import Minted
from credhelpers.servers import Authority
from credhelpers.stores.keyring import Keyring
from tests.strange import add

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "eu.registry.toycloud.example"
ENTRY = f'[[registry]]\nmatch = "{HOST}"\nsource = "{{}}"\n'

# Two sources, of which the first mints with what the second, or the keyring, has.
MINTING = """
import time
from credhelpers.credential import Credential

RULES = (("<zone:word>.registry.toycloud.example", {{}}, ""),)
SETTINGS = {{"mark": ("a word", "[a-z]+", "for nothing")}}
TAKES_FROM = {takes_from}

class Toy:
    kind = {word!r}
    manual = ""
    uncached = b""
    minted = []

    def __init__(self, environ):
        self._environ = environ

    def record(self, route, recorder):
        recorder.variable(b"{word}_USER")

    def minter(self, route):
        return Minter()

class Minter:
    token_key = {word!r}.encode().hex().ljust(40, '0')

    def mint(self, old=None, given=None):
        Toy.minted.append(given)
        name = given.expose() if given else ()
        end = time.time() + 9000
        return Credential({word!r}, "-".join(("token", str(len(Toy.minted)), *name)), soft=end, hard=end, expires=end)
"""


class Machine:
    """Both sources installed, and a user with a configuration."""

    def __init__(self, folder: Path) -> None:
        self.packages = folder / "site-packages"
        self.config = folder / "config.toml"
        self.environ = {
            b"HOME": os.fsencode(folder),
            b"CREDHELPERS_CONFIG": os.fsencode(self.config),
            b"CREDHELPERS_CACHE_DIR": os.fsencode(folder / "cache"),
        }
        for word, takes_from in (("taking", True), ("giving", False)):
            text = MINTING.format(word=word, takes_from=takes_from)
            add(self.packages, word, text, module=f"given_{word}")

    def write(self, *entries: str) -> None:
        self.config.write_text("".join(entries))
        self.config.chmod(0o600)

    def get(self, **environ: str) -> str:
        """The secret, from the cache or minted."""
        more = self.environ | {name.encode(): value.encode() for name, value in environ.items()}
        helper = Minted(installed.source("taking", more), more)
        authority = Authority(HOST)
        found = helper.ready(authority) or helper.get(authority)
        return found.expose()[1]

    def failure(self) -> str:
        with pytest.raises(Unavailable) as raised:
            self.get()
        return raised.value.message

    @property
    def handed(self) -> list[Credential | None]:
        """What was handed to each mint."""
        return list(sys.modules["given_taking"].Toy.minted)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine where both are installed."""
    found = Machine(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(found.packages)])
    monkeypatch.setattr(strangers, "SECONDS", 20.0)  # that of a machine on which other tests run
    importlib.invalidate_caches()
    yield found
    for name in ("given_taking", "given_giving"):
        sys.modules.pop(name, None)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """What the keyring has."""
    items: dict[str, tuple[str, str]] = {}

    def get(self: Keyring, authority: Authority) -> Credential:
        if authority.name not in items:
            raise NotFound
        return Credential(*items[authority.name])

    monkeypatch.setattr(Keyring, "get", get)
    return items


TAKING = ENTRY.format("taking")
GIVING = ENTRY.format("giving")


def test_what_another_source_mints_is_handed(machine: Machine) -> None:
    """For the same host, by its own entry; and it is minted once, like the token."""
    machine.write(TAKING, 'from = "giving"\n', GIVING)
    assert machine.get() == machine.get() == "token-1-giving-token-1"
    assert len(machine.handed) == 1
    assert len(sys.modules["given_giving"].Toy.minted) == 1


def test_what_a_person_typed_is_handed(machine: Machine, typed: dict[str, tuple[str, str]]) -> None:
    """The item of the same host."""
    machine.write(TAKING, 'from = "keyring"\n')
    typed[HOST] = ("robot", "made-up")
    typed["other.example"] = ("other", "made-up-too")
    assert machine.get() == machine.get() == "token-1-robot-made-up"


def test_without_from_nothing_is_handed(machine: Machine) -> None:
    """Nor is anybody asked."""
    machine.write(TAKING, GIVING)
    assert machine.get() == "token-1"
    assert machine.handed == [None]


def test_what_selects_the_giver_selects_the_token(machine: Machine) -> None:
    """Its variables are in the receipt too: another one is a miss, and the same is a hit again."""
    machine.write(TAKING, 'from = "giving"\n', GIVING)
    first = machine.get()
    assert machine.get(giving_USER="somebody") == first, "whose token is the same, since its credential is"
    sys.modules["given_giving"].Minter.token_key = "cc"
    second = machine.get(giving_USER="else")
    assert second == "token-2-giving-token-2"
    assert machine.get(giving_USER="else") == second
    assert machine.get(unrelated="x") == first
    assert machine.get(taking_USER="x", giving_USER="y") == second
    assert len(machine.handed) == 2


def test_another_credential_is_another_token(machine: Machine, typed: dict[str, tuple[str, str]]) -> None:
    """What was minted with the one before is not taken for it: user and secret are told apart."""
    machine.write(TAKING, 'from = "keyring"\n')
    typed[HOST] = ("robot", "a b")
    last = machine.get()
    for number, item in enumerate([("robot", "c"), ("robot a", "b"), ("robo", "t a b")], 2):
        typed[HOST] = item
        assert machine.get() == last, "nobody can see from outside that a keyring has changed"
        Minted(installed.source("taking", machine.environ), machine.environ)._tokens.erase(
            "other.example", *_copies(machine)
        )
        last = machine.get()
        assert last == f"token-{number}-{'-'.join(item)}"
    assert len(machine.handed) == 4


def _copies(machine: Machine) -> list[str]:
    from credhelpers import cached_token

    return cached_token.slots(cached_token.host_key(Authority(HOST), machine.environ))


def test_a_giver_that_has_nothing(machine: Machine, typed: dict[str, tuple[str, str]]) -> None:
    """Is said with the line of the entry; a client does not go on anonymously."""
    machine.write("\n", TAKING, 'from = "keyring"\n')
    assert (
        machine.failure() == 'config.toml: line 2: `from = "keyring"`, and keyring has no credential for this registry'
    )
    machine.write(TAKING, 'from = "giving"\n')
    assert machine.failure().endswith("line 4: `from` is not a helper with credentials of its own"), (
        "whom no entry names"
    )
    machine.write(TAKING, 'from = "giving"\n', GIVING.replace("eu.", "us."))
    assert machine.failure() == 'config.toml: line 1: `from = "giving"`, and no entry of giving has this registry'
    machine.write(TAKING, 'from = "ecr"\n')
    assert machine.failure() == 'config.toml: line 1: `from = "ecr"`, and no entry of ecr has this registry'


def test_a_giver_that_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words are what is said, and they are not those of the source."""
    machine.write(TAKING, 'from = "keyring"\n')

    def get(*_: object) -> Credential:
        raise Unavailable("x", "the keyring is locked", "unlock it")

    monkeypatch.setattr(Keyring, "get", get)
    assert machine.failure() == "the keyring is locked"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        pytest.param(TAKING + 'from = "taking"\n', "`from` is not a helper with credentials of its own", id="itself"),
        pytest.param(TAKING + 'from = "nobody"\n', "`from` is not a helper with credentials of its own", id="nobody"),
        pytest.param(TAKING + "from = 1\n", "`from` is not a helper with credentials of its own", id="a number"),
        pytest.param(TAKING + 'from = ["ecr"]\n', "`from` is not a helper with credentials of its own", id="a list"),
        pytest.param(GIVING + 'from = "keyring"\n', "unknown key `from`", id="who takes none"),
    ],
)
def test_who_cannot_be_asked(entry: str, words: str, machine: Machine) -> None:
    """Who asks on, above all: nobody asks in a circle."""
    machine.write(entry)
    helper = Minted(
        installed.source("taking" if entry.startswith(TAKING) else "giving", machine.environ), machine.environ
    )
    with pytest.raises(Unavailable, match=words) as raised:
        helper.get(Authority(HOST))
    assert raised.value.message.startswith("config.toml: line 4: ")


def test_two_that_take_cannot_ask_each_other(machine: Machine) -> None:
    """A circle of two is none that could be written."""
    add(machine.packages, "second", MINTING.format(word="second", takes_from=True), module="given_second")
    machine.write(TAKING, 'from = "second"\n', ENTRY.format("second"), 'from = "taking"\n')
    assert machine.failure() == "config.toml: line 4: `from` is not a helper with credentials of its own"


def test_no_secret_is_in_a_name(machine: Machine, typed: dict[str, tuple[str, str]], tmp_path: Path) -> None:
    """Of what was handed there is nothing in the cache but what the source made of it."""
    machine.write(TAKING, 'from = "keyring"\n')
    typed[HOST] = ("robot", "made-up-secret-of-a-robot")
    sys.path.append(str(machine.packages))
    module = importlib.import_module("given_taking")
    module.Minter.mint = lambda *_: Credential("taking", "x", soft=9e9, hard=9e9, expires=9e9)
    assert machine.get() == "x"
    for path in (tmp_path / "cache").rglob("*"):
        assert "made-up" not in path.name
        assert b"made-up" not in path.read_bytes()


def test_a_login_renews_the_robot_and_a_logout_leaves_it(
    machine: Machine, typed: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `from = "keyring"` what is typed is what tokens are minted by, and no answer itself."""

    def store(_: Keyring, authority: Authority, credential: Credential) -> None:
        typed[authority.name] = credential.expose()

    monkeypatch.setattr(Keyring, "store", store)
    machine.write(TAKING, 'from = "keyring"\n')
    typed[HOST] = ("robot", "made-up")
    assert machine.get() == "token-1-robot-made-up"
    helper = Minted(installed.source("taking", machine.environ), machine.environ)
    helper.store(Authority(HOST), Credential("robot", "another"))
    assert machine.get() == "token-2-robot-another"
    helper.erase(Authority(HOST))
    assert machine.get() == "token-3-robot-another"


def test_a_logout_forgets_what_was_handed(machine: Machine) -> None:
    """Else a credential that has been rotated would be handed out until its end."""
    machine.write(TAKING, 'from = "giving"\n', GIVING)
    assert machine.get() == "token-1-giving-token-1"
    Minted(installed.source("taking", machine.environ), machine.environ).erase(Authority(HOST))
    assert machine.get() == "token-2-giving-token-2"
    machine.config.write_text("no = TOML = at all")
    Minted(installed.source("taking", machine.environ), machine.environ).erase(Authority(HOST))
    machine.write(TAKING, 'from = "giving"\n', GIVING)
    assert machine.get() == "token-3-giving-token-2", "nobody knew whose it was"
