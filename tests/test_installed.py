"""Sources of other packages: what is announced, what is believed of it, and what it can do to others."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from credhelpers import installed, plan
from credhelpers.config import compile as compile_module
from credhelpers.config import schema, strangers
from credhelpers.errors import NotMine, Shortage, Unavailable
from credhelpers.recorder import Recorder
from credhelpers.servers import Authority
from tests.harness import patience
from tests.strange import SOURCE, add, announce

HOST = "eu.registry.toycloud.example"
ALIAS = "mirror.acme.example"
PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
TRUST = '[sources]\ntrust = ["toy"]\n'
ENTRY = f'[[registry]]\nmatch = "{HOST}"\nsource = "toy"\n'
OURS = ["acr", "ecr", "gcr", "vault"]


class Machine:
    """An installation with packages of others, and a user of it."""

    def __init__(self, folder: Path) -> None:
        self.packages = folder / "site-packages"
        self.packages.mkdir()
        self.config = folder / "config.toml"
        self.environ = {
            b"CREDHELPERS_CONFIG": os.fsencode(self.config),
            b"CREDHELPERS_CACHE_DIR": os.fsencode(folder / "cache"),
        }
        self.write("")

    def write(self, text: str) -> None:
        self.config.write_text(text)
        self.config.chmod(0o600)

    def route(self, server: str, source: str = "") -> plan.Route:
        return plan.route(Authority(server), self.environ, source)

    def owner(self, server: str, source: str = "") -> str:
        """The word of the owner's source, or what is wrong; "" if nobody owns it."""
        try:
            return self.route(server, source).source
        except NotMine:
            return ""
        except Unavailable as error:
            return error.message


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose packages come after ours."""
    found = Machine(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(found.packages)])
    monkeypatch.setattr(strangers, "SECONDS", 20.0)  # that of a machine on which other tests run
    importlib.invalidate_caches()
    return found


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


def words() -> list[str]:
    return [one.word for one in installed.announcements()]


# --- what is announced -----------------------------------------------------------------------------------------------


def test_ours_are_announced_as_those_of_others_are() -> None:
    """In pyproject.toml, one for each module of the sources, and no other way."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    announced = project["entry-points"]["credhelpers.sources"]
    modules = sorted(path.stem for path in Path(installed.__file__).parent.glob("sources/[!_]*.py"))

    assert sorted(announced) == modules == words() == OURS
    assert {one.word: f"{one.module}:{one.name}" for one in installed.announcements()} == announced
    for word in OURS:
        assert installed.source(word, {}).kind == word


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[console_scripts]\ntoy = a:B\n", id="another group"),
        pytest.param("toy = a:B\n", id="no group"),
        pytest.param("[credhelpers.sources]\ntoy\n", id="no value"),
        pytest.param("[credhelpers.sources]\ntoy = \n", id="an empty value"),
        pytest.param("[credhelpers.sources]\ntoy = a.b:C:D\n", id="two colons"),
        pytest.param("[credhelpers.sources]\ntoy = ../a:B\n", id="a path"),
        pytest.param("[credhelpers.sources]\ntoy = a; import os:B\n", id="code"),
        pytest.param("[credhelpers.sources]\nto.y = a:B\n../x = a:B\nToy = a:B\ntoy2 = a:B\n = a:B\n", id="no words"),
        pytest.param("[credhelpers.sources]\n" + "x" * 21 + " = a:B\n", id="a long word"),
        pytest.param("[credhelpers.sources]\nkeyring = a:B\necr = a:B\n", id="words of ours"),
        pytest.param("[credhelpers.sources]\ntöy = a:B\n", id="no ASCII"),
        pytest.param("\0", id="garbage"),
    ],
)
def test_what_is_no_announcement(text: str, machine: Machine) -> None:
    """It is passed over, and all others count."""
    announce(machine.packages, text)
    assert words() == OURS


@pytest.mark.parametrize("number", [errno.ENFILE, errno.EIO])
def test_what_cannot_be_listed_for_now_is_not_taken_for_empty(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """No plan is kept that knows of no source, for want of a descriptor say."""

    def fail(_path: bytes) -> list[str]:
        raise OSError(number, os.strerror(number))

    recorder = Recorder({})
    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.installed.posix.listdir", fail)
        if number == errno.ENFILE:
            with pytest.raises(Shortage):
                installed.announcements(recorder)
        else:
            installed.announcements(recorder)
            assert recorder.is_fleeting
    assert machine


@pytest.mark.timeout(20)
def test_a_long_pattern_is_read_in_no_time() -> None:
    """With a port, say, which no pattern has: it is compared outside of the stranger's two seconds."""
    text = "<name:word>.dkr.registry.eu-central-1.internal.platform.eng.services.toycloud.example:5000"
    assert not re.fullmatch(strangers._PATTERN, text)
    assert re.fullmatch(strangers._PATTERN, text.removesuffix(":5000"))


def test_odd_things_where_packages_are(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, links, pipes, and a directory that is not there hinder nobody."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(machine.packages / "none/site-packages")])
    add(machine.packages)
    (machine.packages / "a.dist-info").write_text("")
    (machine.packages / "b.dist-info").symlink_to("nowhere")
    (machine.packages / "c.dist-info").mkdir()
    os.mkfifo(machine.packages / "c.dist-info/entry_points.txt")
    (machine.packages / "\udcff-1.dist-info").mkdir()
    assert words() == sorted([*OURS, "toy"])
    machine.write(ENTRY)
    assert [machine.owner(HOST) for _ in range(2)] == ["toy"] * 2
    (one,) = (one for one in installed.announcements() if one.word == "toy")
    assert (one.package, one.module, one.name) == ("credhelpers-toy 1.0", "strange_toy", "Toy")


def test_a_package_of_our_name_is_the_one_that_python_finds(machine: Machine) -> None:
    """And what it announces is ours only if it is in our package."""
    announce(machine.packages, "[credhelpers.sources]\ntoy = credhelpers.evil:Toy\n", "credhelpers-9.9")
    assert words() == OURS
    announce(machine.packages, "[credhelpers.sources]\necr = evil:Ecr\n", "credhelpers_evil-9.9")
    assert words() == OURS
    assert installed.source("ecr", {}).kind == "ecr"


def test_a_source_that_cannot_be_loaded(machine: Machine) -> None:
    """Its package is named, and nothing of what it raised."""
    add(machine.packages, "toyraises", "raise ValueError('made-up-secret')")
    add(machine.packages, "toyempty", "")
    for word, kind in (("toyraises", "ValueError"), ("toyempty", "AttributeError")):
        with pytest.raises(Unavailable) as raised:
            installed.source(word, {})
        assert raised.value.message == f"source `{word}` of credhelpers-{word} 1.0 cannot be loaded: {kind}"
        assert raised.value.code == "source-broken"
    add(machine.packages, "toyecr", "class Toy:\n    kind = 'ecr'\n    def __init__(self, environ): pass\n")
    with pytest.raises(Unavailable, match=r"`toyecr` of credhelpers-toyecr 1.0 is of another kind$"):
        installed.source("toyecr", {})
    with pytest.raises(Unavailable, match="no package has the source `gone` any more"):
        installed.source("gone", {})


def test_an_installation_without_its_announcements(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some images have no `*.dist-info`: ours are known by their modules then, as by their entry points."""

    def ours() -> list[tuple[str, str, str]]:
        return [(one.word, one.module, one.name) for one in installed.announcements() if one.is_ours]

    announced = ours()
    monkeypatch.setattr(installed, "_folders", lambda: [os.fsencode(machine.packages)])
    assert ours() == announced
    assert machine.owner(PRIVATE) == "ecr"


def test_a_system_that_gives_no_more(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed is not taken for absent because it cannot be opened now."""
    add(machine.packages)

    def read(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.installed.files.read", read)
        assert machine.owner(HOST) == "this system gives no more file descriptors"
    machine.write(TRUST)
    assert machine.owner(HOST) == "toy"


# --- whose hosts are whose -------------------------------------------------------------------------------------------


def test_a_stranger_owns_nothing_by_itself(machine: Machine) -> None:
    """What it says of its hosts counts for entries that name it, or once it is trusted; nothing of it runs before."""
    add(machine.packages, text=f"open({str(machine.packages / 'ran')!r}, 'w').close()\n{SOURCE}")
    assert [machine.owner(HOST, word) for word in ("", "toy")] == ["", ""]
    machine.write(f'[[registry]]\nmatch = "{ALIAS}"\nsource = "gcr"\n')
    assert (machine.owner(HOST), machine.owner(ALIAS)) == ("", "gcr")
    assert not (machine.packages / "ran").exists()

    machine.write(ENTRY + 'zone = "eu"\n')
    found = machine.route(HOST)
    assert (found.source, found.line, found.settings) == ("toy", 1, {"zone": "eu"})
    assert found.fields == {"cloud": "toy", "zone": "eu"}
    assert machine.owner("us.registry.toycloud.example") == ""
    assert "strange_toy" not in sys.modules

    machine.write(TRUST)
    found = machine.route("us.registry.toycloud.example")
    assert (found.source, found.line, found.settings) == ("toy", 0, {})
    assert found.fields == {"cloud": "toy", "zone": "us"}
    assert machine.owner(f"{HOST}:5000") == machine.owner(HOST, "ecr") == machine.owner(f"x.{HOST}") == ""
    assert (machine.packages / "ran").exists()
    assert "strange_toy" not in sys.modules, "nothing of it is loaded but where it was asked"


def test_an_alias_of_a_stranger(machine: Machine) -> None:
    """As that of any source."""
    add(machine.packages)
    machine.write(f'[[registry]]\nmatch = "{ALIAS}"\nsource = "toy"\nzone = "eu"\nlasting = true\n')
    found = machine.route(ALIAS)
    assert (found.fields, found.settings) == (None, {"zone": "eu", "lasting": True})


def test_ours_come_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a stranger says that it owns, and also where one of ours owns all registries."""
    rules = (
        '(("<a:12digits>.dkr.ecr.<b:region>.amazonaws.com", {}, ""), ("gcr.io", {}, ""), ("h.acme.example", {}, ""))'
    )
    add(machine.packages, text=f"RULES = {rules}")
    machine.write(TRUST)
    assert [machine.owner(server) for server in (PRIVATE, "gcr.io", "h.acme.example")] == ["ecr", "gcr", "toy"]
    machine.environ[b"DOCKER_CREDENTIAL_VAULT_KV_PATH"] = b"kv/any"
    assert machine.owner("h.acme.example") == "vault"
    assert machine.owner("h.acme.example", "toy") == "toy"


def test_two_strangers_that_own_one_host(machine: Machine) -> None:
    """Nobody knows who is meant until an entry says so; both packages are named."""
    add(machine.packages)
    add(machine.packages, "other", 'RULES = (("eu.registry.toycloud.example", {}, ""),)', package="other_cloud-2.1")
    machine.write('[sources]\ntrust = ["toy", "other"]\n')
    both = "two sources own this registry: `other` of other-cloud 2.1 and `toy` of credhelpers-toy 1.0"
    assert machine.owner(HOST) == both
    assert [machine.owner(HOST, word) for word in ("toy", "other")] == ["toy", "other"]
    assert machine.owner("us.registry.toycloud.example") == "toy"
    machine.write('[sources]\ntrust = ["toy", "other"]\n' + ENTRY)
    assert machine.owner(HOST) == "toy"
    machine.write(TRUST)
    assert machine.owner(HOST) == "toy"


def test_two_packages_with_one_word(machine: Machine) -> None:
    """Neither is believed, and neither is loaded."""
    add(machine.packages)
    add(machine.packages, "toy", SOURCE, module="strange_other", package="other_cloud-2.1")
    wrong = "source `toy` is in two packages, credhelpers-toy 1.0 and other-cloud 2.1"
    machine.write(ENTRY)
    assert machine.owner(HOST) == f"config.toml: line 3: {wrong}"
    assert (machine.owner(PRIVATE), machine.owner("ghcr.io")) == ("ecr", "")
    with pytest.raises(Unavailable, match=wrong):
        installed.source("toy", {})


# --- what is configured ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words", "hint"),
    [
        ("zon = 'eu'", "line 4: unknown key `zon`", "did you mean `zone`?"),
        ("zone = 'europe'", "line 4: `zone` is not a zone", ""),
        ("zone = 7", "line 4: `zone` is not a zone", ""),
        ("zone = 1979-05-27", "line 4: `zone` is not a zone", ""),
        ("zone = ['eu', 1]", "line 4: `zone` is not a zone", ""),
        ("zone = 'eu'\nlasting = 1", "line 5: `lasting` is not true or false", ""),
        ("lasting = true", "line 1: `lasting` needs `zone`", ""),
        ("from = 'keyring'", "line 4: unknown key `from`", "it may be"),
        ("path = 'kv/x'", "line 4: unknown key `path`", ""),
    ],
)
def test_a_mistake_in_an_entry_of_a_stranger(lines: str, words: str, hint: str, machine: Machine) -> None:
    """Has its line and key, as in any other, and fails its own hosts."""
    add(machine.packages)
    machine.write(f'{ENTRY}{lines}\n[[registry]]\nmatch = "{ALIAS}"\nsource = "toy"\nzone = "eu"\n')
    with pytest.raises(Unavailable) as raised:
        machine.route(HOST)
    assert raised.value.message == f"config.toml: {words}"
    assert hint in raised.value.hint
    assert [machine.owner(server) for server in (ALIAS, PRIVATE)] == ["toy", "ecr"]


def test_a_port_is_for_a_source_that_says_so(machine: Machine) -> None:
    """A stranger, too."""
    add(machine.packages)
    add(machine.packages, "ported", "HAS_PORTS = True")
    machine.write(f'[[registry]]\nmatch = "{ALIAS}:5000"\nsource = "toy"\n')
    assert "line 2: `match` has a port" in machine.owner(f"{ALIAS}:5000")
    machine.write(f'[[registry]]\nmatch = "{ALIAS}:5000"\nsource = "ported"\n')
    assert machine.owner(f"{ALIAS}:5000") == "ported"


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ('[sources]\n\ntrust = ["tpy"]\n', "line 1: unknown source `tpy`", "did you mean `toy`?"),
        ('sources.trust = ["nobody"]\n', "line 1: unknown source `nobody`", "it may be"),
        ('[sources]\ntrust = "toy"\n', "line 1: `sources` is not a table of `trust`, a list of names", "write"),
        ("[sources]\ntrust = [1]\n", "line 1: `sources` is not a table of `trust`, a list of names", "write"),
        ('[sources]\ntrusts = ["toy"]\n', "line 1: `sources` is not a table of `trust`, a list of names", "write"),
        ("\nsources = 1\n", "line 2: `sources` is not a table of `trust`, a list of names", "write"),
        ('[[registry]]\nmatch = "a.b.c"\nsource = "tpy"\n', "line 3: unknown source `tpy`", "did you mean `toy`?"),
        (
            '[[registry]]\nmatch = "a.b.c"\nsource = 1\n',
            "line 3: `source` is neither a text nor a list of texts",
            "as in",
        ),
    ],
)
def test_what_cannot_be_read_of_sources_fails_all(text: str, words: str, hint: str, machine: Machine) -> None:
    """Nobody knows which hosts are meant."""
    add(machine.packages)
    machine.write(text)
    for server in (HOST, PRIVATE, "ghcr.io"):
        with pytest.raises(Unavailable) as raised:
            machine.route(server)
        assert raised.value.message == f"config.toml: {words}"
        assert hint in raised.value.hint


def test_who_is_trusted_may_be_ours(machine: Machine) -> None:
    """Who trusts a source that is trusted anyway has made no mistake."""
    machine.write('[sources]\ntrust = ["ecr"]\n')
    assert machine.owner(PRIVATE) == "ecr"
    machine.write("[sources]\n")
    assert machine.owner(PRIVATE) == "ecr"


# --- what a stranger may do to others --------------------------------------------------------------------------------

LOUD = """import os, sys
sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # pytest has others
print('made-up-secret')
sys.stderr.write('x')
os.write(1, b'x')
os.write(2, b'x')
"""
HARM = [
    pytest.param("raise ValueError('made-up-secret')", "raised ValueError when it was asked", id="raises"),
    pytest.param("1/0", "raised ZeroDivisionError when it was asked", id="divides"),
    pytest.param("import sys; sys.exit(0)", "raised SystemExit when it was asked", id="exits"),
    pytest.param("raise KeyboardInterrupt", "raised KeyboardInterrupt when it was asked", id="interrupts"),
    pytest.param("x = (", "raised SyntaxError when it was asked", id="no Python"),
    pytest.param("import nothing_of_this_name", "raised ModuleNotFoundError when it was asked", id="lacks something"),
    pytest.param("import os; os._exit(0)", "ended without a word", id="ends the process"),
    pytest.param("import os; os.kill(os.getpid(), 9)", "ended without a word", id="kills itself"),
    pytest.param("import os; os.closerange(0, 99)", "ended without a word", id="closes all"),
    pytest.param("import os; os.write(3, b'x')", "announces what no source can", id="speaks out of turn"),
    pytest.param("import os; os.write(3, b'\"a b\"'); os._exit(0)", "announces what no source can", id="a text"),
    pytest.param("import os; os.write(3, b'[]'); os._exit(0)", "announces what no source can", id="a list"),
    pytest.param("import os; os.write(3, b'{}'); os._exit(0)", "announces what no source can", id="nothing"),
    pytest.param("import os; os.write(3, b'[' * 9999); os._exit(0)", "announces what no source can", id="deep"),
    pytest.param("SETTINGS = 1", "raised AttributeError when it was asked", id="settings of no kind"),
    pytest.param("SETTINGS = {'zone': ('a zone', '(', '')}", "raised error when it was asked", id="no pattern"),
    pytest.param("SETTINGS = {'from': ('x', 'x', '')}", "announces what no source can", id="a key of ours"),
    pytest.param("SETTINGS = {'a\\tb': ('x', 'x', '')}", "announces what no source can", id="a key with a tab"),
    pytest.param("SETTINGS = {'a': ('x\\ny', 'x', '')}", "announces what no source can", id="two lines"),
    pytest.param("SETTINGS = {1: ('x', 'x', '')}", "announces what no source can", id="a number for a key"),
    pytest.param("RULES = 1", "raised TypeError when it was asked", id="rules of no kind"),
    pytest.param("RULES = ('x',)", "announces what no source can", id="a rule of no kind"),
    pytest.param("RULES = (('*', {}, ''),)", "announces what no source can", id="all registries"),
    pytest.param("RULES = (('<a:word>.example', {}, ''),)", "announces what no source can", id="a whole domain"),
    pytest.param("RULES = (('localhost', {}, ''),)", "announces what no source can", id="one label"),
    pytest.param("RULES = (('<a:x>.b.example', {}, ''),)", "announces what no source can", id="an unknown kind"),
    pytest.param("RULES = (('A.b.example', {}, ''),)", "announces what no source can", id="capitals"),
    pytest.param("RULES = (('a.b.example\\tx', {}, ''),)", "announces what no source can", id="a tab"),
    pytest.param("RULES = (('a.b.example', {}, 'HOME'),)", "announces what no source can", id="a variable"),
    pytest.param("RULES = (('a.b.example', {'a': 1}, ''),)", "announces what no source can", id="a number"),
    pytest.param("RULES = (('a.b.example', {'a=': ''}, ''),)", "announces what no source can", id="an equals sign"),
    pytest.param("RULES = (('a.b.example', {}, ''),) * 65", "announces what no source can", id="too many rules"),
    pytest.param("RULES = (object(),)", "raised TypeError when it was asked", id="no JSON"),
    pytest.param("HAS_PORTS = 1", "announces what no source can", id="ports of no kind"),
    pytest.param("TAKES_FROM = 'x'", "announces what no source can", id="a text for yes"),
    pytest.param("contradiction = lambda _: 1", "announces what no source can", id="a number for a mistake"),
    pytest.param("contradiction = lambda _: 'x\\ty'", "announces what no source can", id="a tab in a mistake"),
    pytest.param("contradiction = lambda _: 'x' * 999", "announces what no source can", id="a long mistake"),
    pytest.param("def contradiction(_): raise OSError", "raised OSError when it was asked", id="raises when asked"),
]


@pytest.mark.parametrize(("text", "why"), HARM)
def test_whatever_goes_wrong_costs_its_own_hosts(
    text: str, why: str, machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the source and its package named; all others, other strangers too, go on, and nothing is printed."""
    add(machine.packages, text=LOUD + text)
    add(machine.packages, "good")
    machine.write(f'{TRUST}{ENTRY}zone = "eu"\n[[registry]]\nmatch = "{ALIAS}"\nsource = "good"\n')
    if "'zone'" not in text:  # an entry without a setting that is not there
        machine.write(f'{TRUST}{ENTRY}[[registry]]\nmatch = "{ALIAS}"\nsource = "good"\n')
    wrong = machine.owner(HOST)
    assert wrong.startswith(f"config.toml: line 5: source `toy` of credhelpers-toy 1.0 {why}"), wrong
    assert len(wrong) < 200
    assert "made-up" not in wrong
    assert [machine.owner(server) for server in (ALIAS, PRIVATE, "gcr.io", "ghcr.io")] == ["good", "ecr", "gcr", ""]
    assert machine.owner("us.registry.toycloud.example") == "", "which nobody knows to be its own"
    assert machine.owner("us.registry.toycloud.example", "toy").startswith("source `toy` of"), (
        "but its executable fails"
    )
    assert machine.owner(HOST, "gcr") == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("while True: pass", id="computes"),
        pytest.param("import time; time.sleep(99)", id="sleeps"),
        pytest.param("import signal, time; signal.signal(14, signal.SIG_IGN); time.sleep(99)", id="hears no clock"),
        pytest.param("import os, time\nif os.fork(): os._exit(0)\ntime.sleep(99)", id="leaves somebody"),
        pytest.param("import os, time\nif os.fork(): os._exit(0)\nos.setsid()\ntime.sleep(60)", id="leaves a daemon"),
    ],
)
def test_one_that_hangs_costs_its_own_hosts_the_time(
    text: str, machine: Machine, compiling: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds for all of them together. Who asks for others is not waiting again, and who asks for its own may."""
    monkeypatch.setattr(strangers, "SECONDS", patience(2))
    begun: list[int] = []
    true = strangers._begin

    def begin(*args: Any) -> tuple[int, int]:
        found = true(*args)
        begun.append(found[0])
        return found

    monkeypatch.setattr(strangers, "_begin", begin)
    add(machine.packages, text=text)
    add(machine.packages, "second", text)
    add(machine.packages, "good")
    good = f'[[registry]]\nmatch = "{ALIAS}"\nsource = "good"\n'
    machine.write(f'[sources]\ntrust = ["toy", "second"]\n{ENTRY}{good}')
    began = time.monotonic()
    assert "said nothing of itself within" in machine.owner(HOST)
    took = time.monotonic() - began
    assert took > strangers.SECONDS - 0.1
    assert took < 1.9 * strangers.SECONDS, "not one after the other"
    machine.owner(ALIAS)  # a young configuration may be compiled once more
    known = len(compiling)
    for _ in range(2):
        assert [machine.owner(server) for server in (ALIAS, PRIVATE, "ghcr.io")] == ["good", "ecr", ""]
    assert len(begun) >= 3
    for child in begun:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)
    assert len(compiling) == known
    monkeypatch.setattr(strangers, "SECONDS", 20.0)
    (machine.packages / "strange_toy.py").write_text(SOURCE)
    (machine.packages / "strange_second.py").write_text("")
    assert machine.owner(HOST) == "toy", "who is asked anew"
    assert len(compiling) == known + 1


def test_without_another_process_nobody_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no reason to fail a host of ours."""
    add(machine.packages)
    machine.write(ENTRY)

    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.config.strangers.posix.fork", fork)
        assert "said nothing of itself within" in machine.owner(HOST)
        assert [machine.owner(server) for server in (PRIVATE, "ghcr.io")] == ["ecr", ""]
    assert machine.owner(HOST) == "toy"


def test_what_a_stranger_is_asked(machine: Machine) -> None:
    """All that it announces, what it says of the settings of each entry, and of what it raises the kind alone."""
    add(machine.packages)
    add(machine.packages, "wrong", "raise SystemExit('made-up-secret')")
    toy, wrong = (one for one in installed.announcements() if not one.is_ours)
    tables: list[dict[str, object]] = [{}, {"zone": "eu"}, {"zone": 1}, {"lasting": True}, {"other": 1}]
    said = json.loads(strangers._answer(toy, tables))
    assert said == {
        "settings": {"zone": "a zone", "lasting": "true or false"},
        "rules": [["<zone:word>.registry.toycloud.example", {"cloud": "toy"}, ""]],
        "has_ports": False,
        "takes_from": False,
        "wrong": [None, None, ["zone", "`zone` is not a zone"], ["", "`lasting` needs `zone`"], None],
    }
    assert strangers._answer(wrong, []) == b'"SystemExit"'
    for name in ("strange_toy", "strange_wrong"):
        sys.modules.pop(name, None)


def test_an_answer_without_an_end(machine: Machine) -> None:
    """Is not waited for, nor kept."""
    add(machine.packages, text="import os\nwhile True: os.write(3, b'x' * 65536)")
    machine.write(ENTRY)
    assert "announces what no source can" in machine.owner(HOST)


def test_a_stranger_sees_nothing_of_the_caller(machine: Machine, tmp_path: Path) -> None:
    """No variable, no descriptor, no terminal, no other stream."""
    text = f"""
        import json, os
        fds = sorted(os.listdir("/proc/self/fd"))
        seen = dict(os.environ), fds[:4], len(fds), os.getsid(0) == os.getpid()
        open({str(tmp_path / "seen")!r}, "w").write(json.dumps(seen))
    """
    add(machine.packages, text=text)
    machine.write(ENTRY)
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)  # noqa: FBT003 - the name of the function says what it is
        assert machine.owner(HOST) == "toy"
    environ, descriptors, count, is_own = json.loads((tmp_path / "seen").read_text())
    assert (environ, descriptors, is_own) == ({}, ["0", "1", "2", "3"], True)
    assert count == 5, "and the directory itself"


# --- when it is asked anew -------------------------------------------------------------------------------------------


def test_what_is_installed_newly_counts_at_once(machine: Machine, compiling: list[bytes]) -> None:
    """And what is uninstalled does no more; between these the plan holds."""
    past = time.time() - 60
    machine.write("")
    assert machine.owner(HOST) == machine.owner(HOST) == ""
    assert len(compiling) == 1
    add(machine.packages)
    os.utime(machine.packages, (past, past))
    machine.write(TRUST)
    assert [machine.owner(HOST) for _ in range(3)] == ["toy"] * 3
    assert len(compiling) == 2
    time.sleep(0.02)
    (machine.packages / "credhelpers_toy-1.0.dist-info/entry_points.txt").unlink()
    (machine.packages / "credhelpers_toy-1.0.dist-info").rmdir()
    assert "unknown source `toy`" in machine.owner(HOST)


def test_a_package_that_is_being_installed(machine: Machine) -> None:
    """An installer makes the directory first and fills it then: no plan is kept meanwhile."""
    info = announce(machine.packages, "")
    (info / "entry_points.txt").unlink()
    (machine.packages / "strange_toy.py").write_text(SOURCE)
    machine.write(ENTRY)
    assert "unknown source `toy`" in machine.owner(HOST)
    (info / "entry_points.txt").write_text("[credhelpers.sources]\ntoy = strange_toy:Toy\n")
    assert machine.owner(HOST) == "toy"


def test_another_installation_has_another_plan(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same configuration and cache: its sources are others."""
    add(machine.packages)
    machine.write(TRUST)
    assert machine.owner(HOST) == "toy"
    other = tmp_path / "other/site-packages/credhelpers"
    other.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.__path__", [str(other)])
        patch.setattr(sys, "path", [path for path in sys.path if path != str(machine.packages)])
        assert "unknown source `toy`" in machine.owner(HOST)
    assert machine.owner(HOST) == "toy"


def test_where_a_source_announces(machine: Machine) -> None:
    """In its module, or in the one beside it that no hit loads; what is wrong in that one is not passed over."""
    package = machine.packages / "strange_package"
    package.mkdir()
    for name, text in (
        ("__init__", ""),
        ("plain", "RULES = ('plain',)"),
        ("split", "RULES = ('of a hit',)"),
        ("_split", "RULES = ('beside',)"),
        ("_lacking", "import nothing_of_this_name"),
        ("lacking", ""),
    ):
        (package / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    for word, rule in (("plain", "plain"), ("split", "beside")):
        rules: list[object] = list(schema.announced(word, f"strange_package.{word}").rules)
        assert rules == [rule]
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        schema.announced("lacking", "strange_package.lacking")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        schema.announced("nowhere", "nowhere_to_be_found")
