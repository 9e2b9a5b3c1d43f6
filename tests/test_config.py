"""The configuration file: what it may say, where a mistake is, and whom it is believed from."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credhelpers import hosts
from credhelpers.config import compile as config
from credhelpers.config.file import contradiction
from credhelpers.config.schema import Entry, of_module
from credhelpers.errors import Unavailable
from credhelpers.identity import configuration
from credhelpers.receipt import holds
from credhelpers.recorder import Recorder
from tests.harness import NOWHERE, lacking

if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.config.schema import Settings

SETTINGS: "Settings" = {
    "profile": ("the name of a profile", r"\w{1,8}", "who mints"),
    "account": ("12 digits", r"\d{12}", "whose registry it is"),
    "delegates": ("a list of names", (r"[a-z]+",), "in between"),
    "is_fixed": ("true or false", bool, "whether it is"),
}
HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
ENTRY = '[[registry]]\nmatch = "a.example.com"\nsource = "ecr"\n'
HUB = '[[registry]]\nmatch = "docker.io"\nsource = "ecr"\n'


class File:
    """A configuration file and what is made of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.toml"
        self.environ = {b"CREDHELPERS_CONFIG": os.fsencode(self.path)}

    def write(self, content: str | bytes) -> None:
        """Put this content in the place of what is there."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.path.chmod(0o600)

    def load(
        self,
        content: str | bytes | None = None,
        *,
        has_ports: bool = False,
        settings: Settings = SETTINGS,
        contradiction: Callable[[dict[str, object]], str] = lambda _: "",
    ) -> list[Entry]:
        """The entries of the source `ecr`. Raises the first mistake in one of them."""
        if content is not None:
            self.write(content)
        name, is_named = configuration(self.environ), bool(self.environ.get(b"CREDHELPERS_CONFIG"))
        file = config.read(name, Recorder(self.environ), is_named=is_named)
        other = SimpleNamespace(SETTINGS={"anything": ("", bool, "")})
        own = SimpleNamespace(SETTINGS=settings, contradiction=contradiction, HAS_PORTS=has_ports)
        sources = {word: of_module(word, own if word == "ecr" else other) for word in ("acr", "ecr", "gcr", "vault")}
        found = config.entries(file, config.read_tables(file, set(sources))[0], sources, set(sources)) if file else []
        ours = [entry for entry in found if entry.source == "ecr"]
        for entry in ours:
            if entry.mistake:
                raise entry.mistake
        return ours

    def find(self, host: str, *, has_ports: bool = False) -> dict[str, object] | None:
        """The settings for a host."""
        found = (entry for entry in self.load(has_ports=has_ports) if hosts.fits(entry.pattern, host))
        return next((entry.settings for entry in found), None)

    def fail(self, content: str | bytes | None = None) -> Unavailable:
        """The error, which is one line, short enough to be printed whole, and names the file."""
        with pytest.raises(Unavailable) as raised:
            self.load(content)
        error = raised.value
        assert re.fullmatch(r"config\.toml: [ -~]{1,180}", error.message)
        assert error.hint.endswith(f" ({self.path})")
        assert "\n" not in error.hint
        return error


@pytest.fixture
def file(tmp_path: Path) -> File:
    """The file of the test."""
    return File(tmp_path)


# --- where it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        pytest.param(
            {b"CREDHELPERS_CONFIG": b"/c.toml", b"HOME": b"/h", b"XDG_CONFIG_HOME": b"/x"}, b"/c.toml", id="it"
        ),
        pytest.param({b"CREDHELPERS_CONFIG": b"", b"HOME": b"/h"}, b"", id="empty is none"),
        pytest.param({b"CREDHELPERS_CONFIG": b"c.toml", b"HOME": b"/h"}, b"", id="relative is none"),
        pytest.param({b"CREDHELPERS_CONFIG": b"~/c.toml", b"HOME": b"/h"}, b"", id="a tilde is relative"),
        pytest.param({b"XDG_CONFIG_HOME": b"/x", b"HOME": b"/h"}, b"/x/credhelpers/config.toml", id="XDG"),
        pytest.param(
            {b"XDG_CONFIG_HOME": b"x", b"HOME": b"/h"}, b"/h/.config/credhelpers/config.toml", id="XDG relative"
        ),
        pytest.param({b"XDG_CONFIG_HOME": b"", b"HOME": b"/h"}, b"/h/.config/credhelpers/config.toml", id="XDG empty"),
        pytest.param({b"XDG_CONFIG_HOME": b"/x"}, b"/x/credhelpers/config.toml", id="XDG without home"),
        pytest.param({b"HOME": b"/h"}, b"/h/.config/credhelpers/config.toml", id="home"),
        pytest.param({b"HOME": b"h"}, b"", id="relative home"),
        pytest.param({b"HOME": b""}, b"", id="empty home, not the root"),
        pytest.param({}, b"", id="no home"),
    ],
)
@pytest.mark.usefixtures("homeless")
def test_where_the_file_is(environ: dict[bytes, bytes], path: bytes) -> None:
    """One place, which never depends on the directory in which docker was called."""
    assert configuration(environ) == path


def test_it_is_optional(file: File, tmp_path: Path) -> None:
    """No file, no folder, something else in the folder's place, no place at all: no entry and no error."""
    (tmp_path / "credhelpers").touch()
    for folder in (os.fsencode(f"{NOWHERE}/x"), os.fsencode(tmp_path)):
        path = configuration({b"XDG_CONFIG_HOME": folder})
        assert config.read(path, Recorder({}), is_named=False) is None
    assert config.read(configuration({b"CREDHELPERS_CONFIG": b""}), Recorder({}), is_named=False) is None
    assert config.read(configuration({}), Recorder({}), is_named=False) is None
    assert file.load("") == []
    assert file.load("# nothing yet\n") == []
    assert file.load("registry = []\n") == []


@pytest.mark.parametrize("path", [os.fsencode(f"{NOWHERE}/x"), b"config.toml", b"~/config.toml"])
def test_a_named_file_must_be_there(path: bytes, file: File) -> None:
    """Who names a file means another identity than the one that mints without any."""
    file.environ[b"CREDHELPERS_CONFIG"] = path
    with pytest.raises(Unavailable) as caught:
        file.load()
    assert caught.value.message == "config.toml: CREDHELPERS_CONFIG names no file"


# --- whom it is believed from ----------------------------------------------------------------------------------------


def _give_away(path: Path) -> None:
    if os.geteuid() != 0:
        lacking("only root can give a file away; run as root, in a container for example")
    os.chown(path, 54321, -1)


def _share(path: Path) -> None:
    """Group write by root's own group would not count, which has nobody else in it."""
    if os.geteuid() != 0:
        lacking("only root can give a file to a group; run as root, in a container for example")
    os.chown(path, -1, 54321)
    path.chmod(0o620)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.rename(path.with_name("aside"))
    make(path)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(_share, "others may write it", id="a shared group may write"),
        pytest.param(lambda path: path.chmod(0o602), "others may write it", id="all may write"),
        pytest.param(lambda path: path.chmod(0o666), "others may write it", id="open"),
        pytest.param(_give_away, "others may write it", id="another owner"),
        pytest.param(lambda path: _replace(path, lambda it: it.mkdir(0o700)), "not a file", id="directory"),
        pytest.param(lambda path: _replace(path, lambda it: os.mkfifo(it, 0o600)), "not a file", id="fifo"),
        pytest.param(lambda path: _replace(path, lambda it: it.symlink_to("/dev/zero")), "not a file", id="device"),
        pytest.param(
            lambda path: _replace(path, lambda it: it.symlink_to(it)), "cannot be opened", id="circle of links"
        ),
        pytest.param(
            lambda path: _replace(path, lambda it: it.symlink_to("gone")),
            "a link that leads nowhere",
            id="dangling link",
        ),
    ],
)
def test_a_file_that_cannot_be_trusted_is_an_error(harm: Callable[[Path], None], words: str, file: File) -> None:
    """Neither is it read nor is it passed over: then another identity than the one that was meant would mint."""
    assert len(file.load(ENTRY)) == 1
    harm(file.path)
    assert words in file.fail().message


def test_nobody_waits_for_a_pipe(file: File) -> None:
    """Nor where somebody has opened it for writing and says nothing."""
    os.mkfifo(file.path, 0o600)
    descriptor = os.open(file.path, os.O_RDWR)
    try:
        assert "not a file" in file.fail().message
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644, 0o755])
def test_who_may_read_it_does_not_matter(mode: int, file: File) -> None:
    """There is no secret in it."""
    file.write(ENTRY)
    file.path.chmod(mode)
    assert len(file.load()) == 1


def test_a_link_is_followed(file: File, tmp_path: Path) -> None:
    """Many keep such files in a repository; what it leads to must be trustworthy, and its changes count."""
    file.write(ENTRY)
    true = tmp_path / "true.toml"
    file.path.rename(true)
    file.path.symlink_to(true)
    assert len(file.load()) == 1
    recorder = Recorder({})
    config.read(os.fsencode(file.path), recorder, is_named=True)
    assert holds(recorder.lines(), recorder.word, {})
    true.write_text(ENTRY + 'profile = "x"\n')
    assert not holds(recorder.lines(), recorder.word, {})
    true.chmod(0o666)
    assert "others may write it" in file.fail().message


def test_an_unreadable_file_is_an_error(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it cannot be opened, or not read after all."""

    def deny(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    file.write(ENTRY)
    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.files.posix.open", deny)
        assert "cannot be opened" in file.fail().message
    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.files.posix.read", deny)
        assert "cannot be read" in file.fail().message
    before = len(list(Path("/proc/self/fd").iterdir()))
    for content in (ENTRY, "[", b"\xff", b"#" * 5_000_000):
        file.write(content)
        if content != ENTRY:
            file.fail()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- its form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("[[registry]\n", "not TOML: line 1, column 11", id="bracket"),
        pytest.param(ENTRY + "profile = prod\n", "not TOML: line 4, column 11", id="no quotes"),
        pytest.param(ENTRY + 'profile = "prod\n', "not TOML: line 4, column 16", id="one quote"),
        pytest.param(ENTRY + 'match = "b.example.com"\n', "not TOML: line 4, column 24", id="key twice"),
        pytest.param(ENTRY.replace("\n", "\r\n") + "profile\r\n", "not TOML: line 4, column 8", id="CRLF"),
        pytest.param("\0", "not TOML: line 1, column 1", id="NUL"),
        pytest.param("x = " + "[" * 5000, "not TOML: ", id="deep"),
        pytest.param("x = " + "[" * 100_000 + "]" * 100_000, "not TOML: unreadable", id="deep and well-formed"),
        pytest.param("x = " + "{a=" * 20_000 + "1" + "}" * 20_000, "not TOML: unreadable", id="deep tables"),
        pytest.param("x = " + "9" * 5000, "not TOML: unreadable", id="over-long number"),
        pytest.param('x = """\n\n', "not TOML: end of document", id="open to the end"),
        pytest.param("x = 2026-13-41\n", "not TOML: line 1", id="impossible date"),
        pytest.param(b"\xff\xfe[\0[\0", "not UTF-8", id="UTF-16"),
        pytest.param(b'x = "\xed\xa0\x80"', "not UTF-8", id="half a surrogate"),
        pytest.param(b"#" * ((1 << 22) + 1), "longer than 4194304 bytes", id="huge"),
    ],
)
def test_what_is_no_toml_is_an_error_with_its_place(content: str | bytes, words: str, file: File) -> None:
    """By line and column, without a word of what stands there."""
    message = file.fail(content).message
    assert words in message
    assert "prod" not in message


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ENTRY.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + ENTRY.encode(), id="byte order mark"),
        pytest.param(("# ü \u2028 \x85\n" + ENTRY).encode(), id="not only ASCII"),
        pytest.param(b"#" * ((1 << 22) - len(ENTRY) - 1) + b"\n" + ENTRY.encode(), id="as long as may be"),
        pytest.param(ENTRY.rstrip("\n").encode(), id="no line end"),
        pytest.param(b'registry = [{match = "a.example.com", source = "ecr"}]', id="inline"),
        pytest.param(
            b'[["registry"]]\n"match" = \'a.example.com\'\n\'source\' = """ecr"""\n', id="quotes of all kinds"
        ),
    ],
)
def test_whatever_editor_wrote_it(content: bytes, file: File) -> None:
    """All forms of TOML are the same to us."""
    assert [(entry.pattern, entry.settings) for entry in file.load(content)] == [("a.example.com", {})]


# --- what it may say -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words", "hint"),
    [
        pytest.param("timeout = 10\n", "line 1: unknown key `timeout`", "it may be `registry`", id="key of the file"),
        pytest.param("\n[[registri]]\n", "line 2: unknown key `registri`", "did you mean `registry`?", id="table"),
        pytest.param("[a.b]\n", "line 1: unknown key `a`", "it may be `registry`", id="foreign table"),
        pytest.param("a.b = 1\n", "line 1: unknown key `a`", "it may be `registry`", id="dotted key"),
        pytest.param(
            "#\n[registry]\n", "line 2: `registry` is not a list of tables", "`[[registry]]`", id="one bracket"
        ),
        pytest.param("registry = 1\n", "line 1: `registry` is not a list", "`[[registry]]`", id="number for a table"),
        pytest.param("registry = [{}, 1]\n", "line 1: `registry` is not a list", "`[[registry]]`", id="mixed list"),
        pytest.param("registry.match = 1\n", "line 1: `registry` is not a list", "`[[registry]]`", id="dotted table"),
        pytest.param("[[registry]]\n", "line 1: no `match`", "docs/configuration.md", id="empty entry"),
        pytest.param('[[registry]]\nsource = "ecr"\n', "line 1: no `match`", "docs", id="no match"),
        pytest.param('[[registry]]\nmatch = "a.example.com"\n', "line 1: no `source`", "docs", id="no source"),
        pytest.param(
            '[[registry]]\nmatch = "a.example.com"\nsoruce = "ecr"\n',
            "line 3: unknown key `soruce`",
            "did you mean `source`?",
            id="source misspelt",
        ),
        pytest.param(
            '[[registry]]\nMatch = "a.b.c"\n', "line 2: unknown key `Match`", "did you mean `match`?", id="upper case"
        ),
        pytest.param(
            '[[registry]]\nmatch = ["a.b.c"]\n', "line 2: `match` is not a text", "docs", id="list of matches"
        ),
        pytest.param("[[registry]]\nmatch.x = 1\n", "line 2: `match` is not a text", "docs", id="table for a match"),
        pytest.param(
            '[[registry]]\nmatch = "a.b.c"\nsource = true\n', "line 3: `source` is neither a text", "as in", id="bool"
        ),
        pytest.param(
            ENTRY.replace("ecr", "ecrs"), "line 3: unknown source `ecrs`", "did you mean `ecr`?", id="source nearly"
        ),
        pytest.param(
            ENTRY.replace("ecr", "docker"),
            "line 3: unknown source `docker`",
            "`acr`, `ecr`, `gcr`",
            id="no source of ours",
        ),
        pytest.param(
            ENTRY.replace("ecr", "ECR"), "line 3: unknown source `ECR`", "`acr`, `ecr`, `gcr`", id="upper source"
        ),
        pytest.param(ENTRY.replace("ecr", "../ecr"), "line 3: unknown source", "`ecr`", id="path for a source"),
        pytest.param(ENTRY.replace("ecr", "__init__"), "line 3: unknown source `__init__`", "`ecr`", id="module"),
        pytest.param(ENTRY.replace("ecr", ""), "line 3: unknown source", "it may be", id="empty source"),
        pytest.param(ENTRY + 'profil = "x"\n', "line 4: unknown key `profil`", "did you mean `profile`?", id="setting"),
        pytest.param(
            ENTRY + 'role-arn = "x"\n', "line 4: unknown key `role-arn`", "`profile`, `account`", id="foreign setting"
        ),
        pytest.param(ENTRY + "[registry.aws]\n", "line 4: unknown key `aws`", "it may be", id="table in an entry"),
        pytest.param(ENTRY + "[[registry.aws]]\n", "line 4: unknown key `aws`", "it may be", id="tables in an entry"),
        pytest.param(ENTRY + 'aws.profile = "x"\n', "line 4: unknown key `aws`", "it may be", id="dotted setting"),
        pytest.param(ENTRY + '"a b" = "x"\n', "line 4: unknown key", "it may be", id="key with a blank"),
        pytest.param(ENTRY + '"" = "x"\n', "line 4: unknown key", "it may be", id="empty key"),
        pytest.param(ENTRY + '"a\\nb" = "x"\n', "line 4: unknown key", "it may be", id="key with a line end"),
        pytest.param(ENTRY + '"clé" = "x"\n', "line 4: unknown key", "it may be", id="key in another alphabet"),
        pytest.param(ENTRY + "x" * 25 + " = 1\n", "line 4: unknown key", "it may be", id="over-long key"),
        pytest.param(ENTRY + "profile = 1\n", "line 4: `profile` is not the name of a profile", "docs", id="number"),
        pytest.param(ENTRY + "profile = true\n", "line 4: `profile` is not the name", "docs", id="truth"),
        pytest.param(ENTRY + 'profile = ["a"]\n', "line 4: `profile` is not the name", "docs", id="list for a text"),
        pytest.param(ENTRY + "profile = 2026-01-01\n", "line 4: `profile` is not the name", "docs", id="date"),
        pytest.param(ENTRY + 'profile = ""\n', "line 4: `profile` is not the name", "docs", id="empty"),
        pytest.param(ENTRY + 'profile = "prod\\n"\n', "line 4: `profile` is not the name", "docs", id="line end"),
        pytest.param(ENTRY + 'profile = "x prod"\n', "line 4: `profile` is not the name", "docs", id="a part fits"),
        pytest.param(
            ENTRY + f'account = "{chr(0x661) * 12}"\n', "line 4: `account` is not 12 digits", "docs", id="other digits"
        ),
        pytest.param(
            ENTRY + 'delegates = "abc"\n', "line 4: `delegates` is not a list of", "docs", id="text for a list"
        ),
        pytest.param(ENTRY + "delegates = []\n", "line 4: `delegates` is not a list of", "docs", id="empty list"),
        pytest.param(
            ENTRY + 'delegates = ["a", 1]\n', "line 4: `delegates` is not a list of", "docs", id="number in a list"
        ),
        pytest.param(
            ENTRY + 'delegates = ["a", "B"]\n', "line 4: `delegates` is not a", "docs", id="bad text in a list"
        ),
        pytest.param(
            ENTRY + 'delegates = [["a"]]\n', "line 4: `delegates` is not a list of", "docs", id="list in a list"
        ),
        pytest.param(
            ENTRY + "is_fixed = 1\n", "line 4: `is_fixed` is not true or false", "docs", id="number for truth"
        ),
        pytest.param(ENTRY + 'is_fixed = "true"\n', "line 4: `is_fixed` is not true", "docs", id="text for truth"),
        pytest.param(ENTRY + "is_fixed = [true]\n", "line 4: `is_fixed` is not true", "docs", id="list for truth"),
        pytest.param(ENTRY + "is_fixed = True\n", "not TOML: line 4, column 12", "mend", id="truth in upper case"),
        pytest.param(
            ENTRY + ENTRY, "line 5: the same `match` as in line 2", "the first would win", id="the same match twice"
        ),
        pytest.param(
            ENTRY + ENTRY.replace('.com"', '.com:443"'),
            "line 5: the same `match` as in line 2",
            "the first would win",
            id="the port of https is none",
        ),
        pytest.param(
            HUB + HUB.replace("docker.io", "registry-1.docker.io:443"),
            "line 5: the same `match` as in line 2",
            "the first would win",
            id="two names of Docker Hub",
        ),
        pytest.param(
            ENTRY.replace("a.ex", "*.ex") + ENTRY,
            "line 5: never reached, `match` in line 2 has all of its hosts",
            "put the particular one first",
            id="the particular one last",
        ),
        pytest.param(
            ENTRY.replace("a.ex", "*.ex") + ENTRY.replace("a.ex", "a*.ex").replace('"ecr"', '"gcr"') + ENTRY,
            "line 8: never reached, `match` in line 2 has all of its hosts",
            "put the particular one first",
            id="one of another source between",
        ),
        pytest.param(
            ENTRY.replace('.com"', '.com:5000"'),
            "line 2: `match` has a port, and no registry of this source has one",
            "take the port out",
            id="a port where there are none",
        ),
        pytest.param(ENTRY.replace('.com"', '.com:*"'), "line 2: `match` has a port", "take", id="any port for none"),
    ],
)
def test_a_mistake_is_named_with_its_line(content: str, words: str, hint: str, file: File) -> None:
    """Line and key, and what would be right, or the nearest of it."""
    error = file.fail(content)
    assert error.message.startswith(f"config.toml: {words}")
    assert hint in error.hint


def test_a_mistake_of_another_source_is_that_ones(file: File) -> None:
    """What its settings are only it knows; its pattern and its name are everybody's."""
    other = ENTRY.replace("ecr", "gcr") + 'impersonate = "x"\n'
    assert len(file.load(other + ENTRY)) == 1, "the same match for two sources"
    assert len(file.load(other.replace(".com", ".com:5000") + ENTRY)) == 1, "whether it has ports only it knows"
    assert len(file.load(other + other.replace("a.ex", "*.ex") + other + ENTRY)) == 1, "what it never reaches"
    assert "line 2: `match` is not" in file.fail(other.replace("a.example.com", "A") + ENTRY).message


def test_a_contradiction_names_the_entry(file: File) -> None:
    """What a source finds wrong in settings that are right one by one, before or when it mints."""
    text = "\n" + ENTRY + "# and\n" + ENTRY.replace("a.ex", "b.ex") + 'profile = "x"\n'
    with pytest.raises(Unavailable) as caught:
        file.load(text, contradiction=lambda have: "one excludes the other" if have else "")
    for error in (caught.value, contradiction(os.fsencode(file.path), 6, "one excludes the other")):
        assert error.message == "config.toml: line 6: one excludes the other"
        assert str(file.path) in error.hint


# --- patterns --------------------------------------------------------------------------------------------------------

_PATTERNS = [
    (HOST, [HOST], [f"x{HOST}", f"{HOST}.x", HOST.replace("1111", "1112"), HOST.replace(".", "x", 1)]),
    (
        "111122223333.dkr.ecr.*.amazonaws.com",
        [HOST, "111122223333.dkr.ecr.x.amazonaws.com"],
        ["111122223333.dkr.ecr.eu.west.amazonaws.com", "111122223333.dkr.ecr.amazonaws.com"],
    ),
    (
        "*.azurecr.io",
        ["contoso.azurecr.io"],
        ["azurecr.io", "a.b.azurecr.io", "contoso.azurecr.io.evil"],
    ),
    ("prod-*.azurecr.io", ["prod-a.azurecr.io", "prod-.azurecr.io"], ["prod.azurecr.io", "xprod-a.azurecr.io"]),
    ("*-prod.azurecr.io", ["a-prod.azurecr.io"], ["a-prods.azurecr.io", "a.b-prod.azurecr.io"]),
    (
        "a*b*c.example.com",
        ["abc.example.com", "axxbxxc.example.com", "abbcc.example.com"],
        ["acb.example.com", "ab.c.example.com"],
    ),
    ("*.*.example.com", ["a.b.example.com"], ["a.example.com", "a.b.c.example.com"]),
    ("**.example.com", ["a.example.com"], ["a.b.example.com"]),
    ("*.a-b.example.com", ["x.a-b.example.com"], ["x.a.b.example.com", "x.ab.example.com"]),
    ("10.0.0.1", ["10.0.0.1"], ["10.0.001", "10a0.0.1"]),
    ("registry", ["registry"], ["registry.example", "registry:5000", "registrya", ""]),
    ("localhost:5000", ["localhost:5000"], ["localhost", "localhost:50", "localhost:50000", "localhost.a:5000"]),
    ("a.example.com", ["a.example.com"], ["a.example.com:8443", "a.example.com:*"]),
    ("a.example.com:443", ["a.example.com"], ["a.example.com:8443", "a.example.com:*"]),
    ("a.example.com:8443", ["a.example.com:8443"], ["a.example.com", "a.example.com:443", "a.example.com.b:8443"]),
    ("a.example.com:*", ["a.example.com", "a.example.com:1", "a.example.com:65535"], ["b.example.com:1", "a.example"]),
    ("*.example.com:5000", ["a.example.com:5000"], ["a.example.com", "a.b.example.com:5000", "a:5000.example.com"]),
    ("*.example.com", ["a.example.com"], ["a:5000.example.com", "a.example.com:5000"]),
]


@pytest.mark.parametrize(("pattern", "hits", "misses"), [pytest.param(*row, id=row[0]) for row in _PATTERNS])
def test_a_pattern_is_of_whole_labels(pattern: str, hits: list[str], misses: list[str], file: File) -> None:
    """`*` is any part of one label: it never crosses a dot, and all of the host counts."""
    file.write(ENTRY.replace("a.example.com", pattern))
    assert [host for host in hits if file.find(host, has_ports=True) is None] == []
    assert [host for host in misses if file.find(host, has_ports=True) is not None] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "*",
        "reg*",
        "*:5000",
        "https://a.example.com",
        "https://a.example.com:443",
        "a.example.com:",
        "a.example.com:0",
        "a.example.com:08443",
        "a.example.com:65536",
        "a.example.com:99999",
        "a.example.com:100000",
        "a.example.com:84*",
        "a.example.com:**",
        "a.example.com:https",
        "a.example.com:-1",
        "a.example.com:\\u0661\\u0662",
        "a.example.com:8443:8443",
        "a.example.com:*:443",
        "a.example.com:443:443",
        "a.*.com:5000",
        ":5000",
        ":*",
        "[::1]",
        "[::1]:5000",
        "::1",
        "u:5000@a.example.com",
        "a.example.com:80@b.example.com",
        "user@a.example.com",
        "A.example.com",
        "a.example.com ",
        " a.example.com",
        "a.example.com\\n",
        "a.example.com\\u0000",
        "a..example.com",
        ".example.com",
        "a.example.com.",
        "-a.example.com",
        "a-.example.com",
        "a_b.example.com",
        "a.exämple.com",
        "\\u212a.example.com",
        "[a-z].example.com",
        "?.example.com",
        "a.example.*",
        "a.*.com",
        "*.com",
        "*.*",
        "a.ex*.com",
        "a.example.c*m",
        "x" * 64 + ".example.com",
        ".".join(["x" * 60] * 5),
        "a.example.com,b.example.com",
        ".*",
        "(a|b).example.com",
    ],
)
def test_a_bad_pattern_is_refused(pattern: str, file: File) -> None:
    """Scheme, port, path, case, blanks, empty and over-long labels, and a `*` that would be half of the world."""
    file.write(ENTRY.replace("a.example.com", pattern))
    with pytest.raises(Unavailable, match=r"^config\.toml: line 2: `match` is not a host in lower case$"):
        file.load(has_ports=True)
    assert file.fail().message == "config.toml: line 2: `match` is not a host in lower case"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/app", "app"),
        ("/team/app", "team/app"),
        ("/team/*", "team"),
        ("/*", ""),
        ("/a.b/c-d/E_f~1", "a.b/c-d/E_f~1"),
        *(
            (bad, None)
            for bad in ("/", "//app", "/app/", "/./app", "/../app", "/app/..", "/te*/app", "/*/app", "/a%2fb")
        ),
        *(
            (bad, None)
            for bad in ("/a%2fb", "/app?x", "/app#x", "/a b", "/app\\n", "/.app", "/:5000", "/a@b", "/\u00e4")
        ),
    ],
)
def test_a_path_is_whole_names(path: str, expected: str | None, file: File) -> None:
    """Nothing in it could be read as another path."""
    for port in ("", ":8443"):
        file.write(ENTRY.replace("a.example.com", f"a.example.com{port}{path}"))
        if expected is None:
            with pytest.raises(Unavailable, match=r"line 2: what is behind the host in `match` is no path"):
                file.load(has_ports=True)
        else:
            assert [(entry.pattern, entry.path) for entry in file.load(has_ports=True)] == [
                (f"a.example.com{port}", expected)
            ]


@pytest.mark.parametrize(
    ("identity", "is_one"),
    [
        *((name, True) for name in ("prod", "7", "a.b-c_D", "x" * 64)),
        *((name, False) for name in ("", "x" * 65, ".a", "-a", "_a", "a/b", "@a", "a b", "../a", "a\\u0000", "\u00e4")),
    ],
)
def test_an_identity_is_a_name(identity: str, *, is_one: bool, file: File) -> None:
    """It stands in the name of an executable, so it can be no path and no option."""
    file.write(ENTRY + f'identity = "{identity}"\n')
    if is_one:
        assert [entry.identity for entry in file.load()] == [identity]
    else:
        with pytest.raises(Unavailable, match=r"line 4: `identity` is not a name"):
            file.load()


def test_what_differs_in_path_or_identity_is_not_the_same(file: File) -> None:
    """Each may have an entry of its own for one host."""
    other = ENTRY + 'identity = "prod"\n'
    below = ENTRY.replace(".com", ".com/team")
    assert len(file.load(ENTRY + other + below)) == 3
    for again in (ENTRY, other, below):
        with pytest.raises(Unavailable, match="the same `match`"):
            file.load(ENTRY + other + below + again)


def test_a_pattern_does_not_hang(file: File) -> None:
    """A stranger may choose the host: the worst one takes no time, for the worst pattern."""
    file.write(ENTRY.replace("a.example.com", "*a" * 31 + ".example.com"))
    assert file.find("a" * 62 + "b.example.com") is None
    assert file.find("a" * 63 + ".example.com") is not None


def test_the_first_match_wins(file: File) -> None:
    """Of the entries of this source."""
    text = ""
    for number, (pattern, source) in enumerate(
        [("b.example.com", "ecr"), ("*.example.com", "gcr"), ("a*.example.com", "ecr"), ("*.example.com", "ecr")]
    ):
        text += f'[[registry]]\nmatch = "{pattern}"\nsource = "{source}"\n'
        text += f'profile = "p{number}"\n' if source == "ecr" else ""
    file.write(text)
    found = {host: file.find(f"{host}.example.com") for host in ("a", "b", "c", "ab")}
    profiles = {host: entry["profile"] if entry else None for host, entry in found.items()}
    assert profiles == {"a": "p2", "b": "p0", "c": "p3", "ab": "p2"}
    assert file.find("example.com") is None


_COVERS = [
    ("*.azurecr.io", "prod.azurecr.io", True),
    ("prod.azurecr.io", "*.azurecr.io", False),
    ("*.azurecr.io", "*.azurecr.cn", False),
    ("*.azurecr.io", "*.*.azurecr.io", False),
    ("*.*.azurecr.io", "*.eu.azurecr.io", True),
    ("*.eu.azurecr.io", "*.*.azurecr.io", False),
    ("team*.azurecr.io", "team-*-eu.azurecr.io", True),
    ("team-*-eu.azurecr.io", "team-*.azurecr.io", False),
    ("*a*.example.com", "*ba*c.example.com", True),
    ("*ab*.example.com", "a*b.example.com", False),
    ("a*a.example.com", "a.example.com", False),
    ("a*a.example.com", "aa.example.com", True),
    ("**.example.com", "*.example.com", True),
    ("*.example.com", "**.example.com", True),
    ("*.example.com", "a.example.com:5000", False),
    ("*.example.com:*", "a.example.com:5000", True),
    ("*.example.com:*", "a.example.com", True),
    ("a.example.com:*", "a.example.com:*", True),
    ("*.example.com:5000", "a.example.com:*", False),
    ("*.example.com", "a.example.com:*", False),
    ("*.example.com:5000", "a.example.com:5000", True),
    ("registry:*", "registry:5000", True),
]


@pytest.mark.parametrize(
    ("pattern", "other", "expected"), [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in _COVERS]
)
def test_an_entry_that_would_never_count_is_a_mistake(pattern: str, other: str, file: File, *, expected: bool) -> None:
    """One behind another that has all of its hosts; two that have some in common may come in either order."""
    assert hosts.fits(pattern, other) == expected
    file.write(ENTRY.replace("a.example.com", pattern) + ENTRY.replace("a.example.com", other))
    if expected:
        with pytest.raises(Unavailable, match=r"line 5: (never reached|the same `match`)"):
            file.load(has_ports=True)
    else:
        assert len(file.load(has_ports=True)) == 2


@settings(max_examples=300, deadline=None, database=None)
@given(patterns=st.lists(st.text("ab*", min_size=1, max_size=6), min_size=1, max_size=12))
def test_what_is_never_reached_agrees_with_a_plain_search(patterns: list[str]) -> None:
    """Each pattern held against each before it."""
    reached = config._Reached()
    entries = [Entry(2 * number, f"{pattern}.example.com", "", "ecr", 1) for number, pattern in enumerate(patterns)]
    seen: list[Entry] = []
    for entry in entries:
        expected = next((other for other in seen if hosts.fits(other.pattern, entry.pattern)), None)
        assert reached.by(entry) is expected
        seen.append(entry)


@pytest.mark.parametrize("form", ["team{}-*", "*-team{}", "a*-t{}-*b", "*.t{}", "*x*long*{}*"])
def test_thousands_of_patterns_are_not_held_against_each(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a configuration of ten thousand entries is compiled within the time of a call."""
    held = 0
    true = hosts.label_fits

    def label_fits(pattern: str, label: str) -> bool:
        nonlocal held
        held += 1
        return true(pattern, label)

    monkeypatch.setattr(config, "label_fits", label_fits)
    reached = config._Reached()
    for number in range(2000):
        reached.by(Entry(2 * number, f"{form.format(number)}.azurecr.io", "", "acr", number))
    assert held <= 2000 * 257


_LABELS = st.text("ab*-", min_size=1, max_size=4)
_PORTS = st.sampled_from(["", ":1", ":2", ":*"])
_HOST_LABELS = st.text("ab-", min_size=1, max_size=5)


@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pattern=st.lists(_LABELS, min_size=1, max_size=3), host=st.lists(_HOST_LABELS, min_size=1, max_size=3))
def test_patterns_agree_with_a_simpler_matcher(pattern: list[str], host: list[str]) -> None:
    """One that takes a label letter by letter."""

    def fits(label: str, wanted: str) -> bool:
        if not wanted:
            return not label
        if wanted[0] == "*":
            return any(fits(label[cut:], wanted[1:]) for cut in range(len(label) + 1))
        return label[:1] == wanted[0] and fits(label[1:], wanted[1:])

    expected = len(host) == len(pattern) and all(map(fits, host, pattern))
    assert hosts.fits(".".join(pattern), ".".join(host)) == expected


@settings(max_examples=1500, deadline=None, database=None)
@given(
    pattern=st.lists(_LABELS, min_size=1, max_size=3),
    other=st.lists(_LABELS, min_size=1, max_size=3),
    ports=st.tuples(_PORTS, _PORTS),
    data=st.data(),
)
def test_covering_is_having_every_host(
    pattern: list[str], other: list[str], ports: tuple[str, str], data: st.DataObject
) -> None:
    """Every host of a covered pattern is one of the other's; where it is not covered there is a host that is not."""
    wide, narrow = ".".join(pattern) + ports[0], ".".join(other) + ports[1]

    name, _, port = narrow.partition(":")
    if hosts.fits(wide, narrow):
        parts = (data.draw(st.text("abz-", max_size=3)) if mark == "*" else mark for mark in name)
        port = data.draw(st.sampled_from(["", "1", "2", "3"])) if port == "*" else port
    else:
        parts = ("z" if mark == "*" else mark for mark in name)
        port = "3" if port == "*" else port
    host = "".join(parts) + (f":{port}" if port else "")
    assert hosts.fits(narrow, host)
    assert hosts.fits(wide, host) == hosts.fits(wide, narrow)


# --- lines -----------------------------------------------------------------------------------------------------------

_TRICKS = [
    pytest.param("# [[registry]]\n", id="header in a comment"),
    pytest.param("[[registry]] # [[registry]]\n" + ENTRY[13:].replace("a.", "0."), id="comment after a header"),
    pytest.param(ENTRY.replace("a.", "1.") + 'profile = """\n[[registry]]\nmatch = "x"\n"""\n', id="header in a text"),
    pytest.param(ENTRY.replace("a.", "2.") + "profile = '''\n[[registry]]\n''''\n", id="header in a plain text"),
    pytest.param(
        ENTRY.replace("a.", "3.") + 'profile = """a\\"""\n[[registry]]\n""""" # """\n', id="quotes at the end"
    ),
    pytest.param(ENTRY.replace("a.", "4.") + 'delegates = [ # ]\n"]",\n\n"[[registry]]",\n] # [\n', id="list of lines"),
    pytest.param("  [[ registry ]]\n" + ENTRY[13:].replace("a.", "5."), id="blanks"),
    pytest.param('[["registry"]]\n"mat\\u0063h" = "6.example.com"\nsource = \'ecr\'\n', id="quoted and escaped"),
    pytest.param(
        "[[registry]]\nmatch\t=\t'7.example.com'\n\n\n  source='gcr'\nx.y.z = { a = [{}, {}] }\n", id="dotted"
    ),
    pytest.param(
        ENTRY.replace("a.", "8.").replace("ecr", "gcr") + "[registry.x]\nmatch = 1\n[registry.x.y]\n", id="inner"
    ),
    pytest.param("\n\n# \u2028 \x85 \x0b \f\n".replace("\x0b", "").replace("\f", ""), id="line ends that are none"),
    pytest.param(ENTRY.replace("a.", "9.").replace("\n", "\r\n"), id="CRLF"),
]


@pytest.mark.parametrize("after", [None, *_TRICKS])
@pytest.mark.parametrize("trick", _TRICKS)
def test_the_line_is_the_right_one(trick: str, after: str | None, file: File) -> None:
    """Whatever stands before the mistake: texts that look like headers, comments, keys in all their spellings."""
    text = trick + (after if after and after != trick else "")
    mistake = '[[registry]]\nmatch = "z.example.com"\n# oops\nsource = "ecr"\n\noops = 1\n'
    line = text.count("\n") + 6
    words = SETTINGS["profile"][0], r"[^\x01]*", ""
    file.write(text + mistake)
    with pytest.raises(Unavailable, match=f"line {line}: unknown key `oops`") as raised:
        file.load(settings=dict(SETTINGS) | {"profile": words, "delegates": ("", (".*",), "")})
    assert "it may be" in raised.value.hint


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param('registry = [{match = "a.b.c", source = "ecr"}, {match = "b.b.c", oops = 1}]\n', 1, id="one line"),
        pytest.param(
            '\nregistry = [\n  {match = "a.b.c", source = "ecr", delegates = ["{"]}, # {\n\n  {match = "b.b.c"},\n]\n',
            5,
            id="a line each",
        ),
        pytest.param(
            'registry = [\n{match = "a.b.c", source = "gcr", x = [{}, {y = {}}]},\n{}]', 3, id="tables inside"
        ),
    ],
)
def test_the_line_of_an_inline_table(content: str, line: int, file: File) -> None:
    """Where the table begins: its keys stand in the same line."""
    settings = dict(SETTINGS) | {"delegates": ("", (".*",), "")}
    file.write(content)
    with pytest.raises(Unavailable, match=rf"^config\.toml: line {line}: (unknown key|no `)"):
        file.load(settings=settings)


_LINES = st.lists(
    st.sampled_from(
        [
            "[[registry]]",
            "[['registry']] # x",
            "[registry.x]",
            "[other]",
            'match = "a.example.com"',
            'match = "*.b.c"',
            'source = "ecr"',
            "source = 'gcr'",
            'profile = "p"',
            'profile = """\n[[registry]]\n"""',
            "profile = 7",
            'delegates = [\n"a"\n]',
            "oops = {a = 1}",
            "a.b = '''\n'''",
            "registry = [{match = 'a.b.c', source = 'ecr'},\n{}]",
            "# x",
            "",
            "]",
        ]
    )
    | st.text(max_size=12),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=_LINES)
def test_any_text_is_entries_or_one_line(lines: list[str], file: File) -> None:
    """Whatever stands in the file: valid entries, or an error of one line with a place that there is."""
    text = "\n".join(lines)
    try:
        content = text.encode()
    except UnicodeEncodeError:
        content = text.encode("utf-8", "surrogatepass")
    file.write(content)
    try:
        entries = file.load()
    except Unavailable:
        error = file.fail()
        places = [int(place) for place in re.findall(r"line (\d+)", error.message)]
        assert all(1 <= place <= text.count("\n") + 1 for place in places)
        shown = re.findall(r"unknown \w+ `([^`]*)`", error.message)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,24}", name) for name in shown)
        return
    document = tomllib.loads(content.decode("utf-8-sig"))
    wanted = [table["match"] for table in document.get("registry", []) if table["source"] == "ecr"]
    assert [entry.pattern for entry in entries] == wanted


@settings(max_examples=600, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text("[]{}=\"'.#\n\\ arx1", max_size=60).map(str.encode))
def test_any_bytes_are_entries_or_one_line(content: bytes, file: File) -> None:
    """Rubbish too."""
    file.write(content)
    try:
        file.load()
    except Unavailable:
        file.fail()


def test_truth_is_truth(file: File) -> None:
    """Both values of it come through as they are."""
    for value in (True, False):
        file.write(ENTRY + f"is_fixed = {str(value).lower()}\n")
        assert file.find("a.example.com") == {"is_fixed": value}


def test_a_port_changes_nothing_but_where_there_are_ports(file: File) -> None:
    """The 443 of `https` is none, so such an entry is one for a source without ports too."""
    (entry,) = file.load(ENTRY.replace('.com"', '.com:443"'))
    assert (entry.pattern, hosts.fits(entry.pattern, "a.example.com")) == ("a.example.com", True)
    entries = file.load(
        ENTRY + ENTRY.replace('.com"', '.com:5000"') + ENTRY.replace('.com"', '.com:*"'), has_ports=True
    )
    assert [entry.pattern for entry in entries] == ["a.example.com", "a.example.com:5000", "a.example.com:*"]
    assert [hosts.fits(entry.pattern, "a.example.com:5000") for entry in entries] == [False, True, True]


@pytest.mark.parametrize(
    "value",
    ["https://auth.acme.example", "https://auth.acme.example:8443/token", "http://127.0.0.1:5001", "http://localhost"],
)
def test_a_realm_is_kept_for_who_asks(value: str, file: File) -> None:
    """It is the entry's, and no setting of its source."""
    (entry,) = file.load(ENTRY + f'realm = "{value}"\nprofile = "prod"\n')
    assert (entry.realm, entry.settings) == (value, {"profile": "prod"})
    (entry,) = file.load(ENTRY)
    assert entry.realm == ""


@pytest.mark.parametrize(
    "value",
    [
        '"auth.acme.example"',
        '"http://auth.acme.example"',
        '"http://169.254.169.254/"',
        '"https://auth.acme.example/?x"',
        '"https://u@auth.acme.example"',
        '""',
        "false",
        "[]",
    ],
)
def test_a_realm_that_is_none(value: str, file: File) -> None:
    error = file.fail(ENTRY + f"realm = {value}\n")
    assert error.code == "config-value"
    assert "line 4: `realm` is not a URL that begins with https://" in error.message


def keyring_of(file: File, content: str) -> Entry | None:
    """What the configuration says of the keyring."""
    file.write(content)
    found = config.compiled(os.fsencode(file.path), Recorder(file.environ), is_named=True)
    assert found.broken is None
    return found.keyring


@pytest.mark.parametrize(
    "backend", ["library", "a.B", "keyrings.alt.file.EncryptedKeyring", "_a1._B", "a." + "b" * 198]
)
def test_a_backend_of_the_keyring(backend: str, file: File) -> None:
    """For any host, wherever in the file it stands, and it is no entry."""
    found = keyring_of(file, f'{ENTRY}[keyring]\nbackend = "{backend}"\n')
    assert found
    assert (found.settings, found.mistake, found.pattern, found.source) == (
        {"backend": backend},
        None,
        "*",
        "[keyring]",
    )
    assert (found.line, found.path, found.identity) == (4, "", "")
    assert keyring_of(file, ENTRY) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[keyring]\nbackend = "pass"\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = ""\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "a..B"\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "a.B "\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "a.B\\n"\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "1a.B"\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "ä.B"\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "a.' + "b" * 199 + '"\n', "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "libraryx"\n', "line 1: `backend` in `keyring` is not"),
        ("[keyring]\nbackend = true\n", "line 1: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = ["library"]\n', "line 1: `backend` in `keyring` is not"),
        ("[keyring]\n", "line 1: `backend` in `keyring` is not"),
        ('\nkeyring = "library"\n', "line 2: `backend` in `keyring` is not"),
        ('[keyring]\nbackend = "library"\npath = "/x"\n', "line 1: unknown key `path`"),
        ('[keyring]\nbackends = "library"\n', "line 1: unknown key `backends`"),
    ],
)
def test_a_table_of_the_keyring_that_is_wrong(content: str, words: str, file: File) -> None:
    """It is a mistake of its own, and the entries of the file count as ever."""
    found = keyring_of(file, content)
    assert found
    assert found.mistake
    assert words in found.mistake.message
    assert found.settings == {}


def test_an_error_holds_no_value(file: File) -> None:
    """A secret that somebody put into the file by mistake is not carried to docker's output."""
    secret = "hunter2.made-up+secret/0123456789"
    for place in (
        f'x = "{secret}',
        f'"{secret}" = 1\n',
        f'[["{secret}"]]\n',
        f'["{secret}"]\n',
        ENTRY.replace("a.example.com", secret),
        ENTRY.replace("ecr", secret),
        ENTRY + f'profile = "{secret}"\n',
        ENTRY + f'"{secret}" = "x"\n',
        ENTRY + f'profile = "{secret}\n',
        ENTRY + f'delegates = ["{secret}"]\n',
        ENTRY + f"profile = {secret}\n",
        ENTRY.replace("ecr", "ghp0123456789abcdef0123456789abcdef0123"),
    ):
        error = file.fail(place)
        assert "hunter2" not in error.message + error.hint
        assert "0123456789" not in error.message + error.hint.replace(str(file.path), "")
