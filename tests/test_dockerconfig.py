"""The files of clients, edited: every shape that people's config.json and auth.json have, and who else is at them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credhelpers import private
from credhelpers.cli import changes, clientfile, configure, dockerconfig, jsontext, registriesconf
from credhelpers.cli.configjson import Document
from credhelpers.cli.dockerconfig import Wanted
from credhelpers.cli.helpernames import HelperNames
from credhelpers.errors import Unavailable
from tests.harness import lacking, need, patience
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.cli.changes import Change

ROOT = Path(__file__).parent.parent
OWN = frozenset(path.name.removeprefix("docker-credential-") for path in (ROOT / "entrypoints").iterdir())
STAND_INS = {"ecr-login": "ecr", "gcloud": "gcr", "secretservice": "keyring"}
NAMES = HelperNames(OWN, STAND_INS, "/usr/bin:/bin")
KEYRING = Wanted(store="keyring")
CANARY = "bWFkZS11cDpjYW5hcnk="  # made-up:canary


@pytest.fixture
def file(home: Path) -> Path:
    """Docker's config.json of somebody who has none yet."""
    folder = home / ".docker"
    folder.mkdir(mode=0o700)
    return folder / "config.json"


def environ_of(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), **more}


def edit(home: Path, wanted: Wanted = KEYRING, **more: str) -> list[Change]:
    """Plan, and do it."""
    planned = dockerconfig.plan(wanted, environ_of(home, **more), NAMES)
    changes.apply(planned)
    return planned


def undo(home: Path, **more: str) -> None:
    changes.apply(dockerconfig.removal(environ_of(home, **more), NAMES))


class Shape(NamedTuple):
    """A file, what is written in its place, and what is said: the store that was replaced and words of the notes."""

    before: str | bytes
    after: str
    replaces: str = ""
    notes: tuple[str, ...] = ()
    wanted: Wanted = KEYRING


BOTH = Wanted(store="keyring", helpers={"a.example": "ecr"})
HELPER = Wanted(helpers={"a.example": "ecr"})
SHAPES = {
    "empty": Shape("", '{\n\t"credsStore": "keyring"\n}'),
    "blanks": Shape(" \n\t\r\n", '{\n\t"credsStore": "keyring"\n}'),
    "an empty object": Shape("{}", '{\n\t"credsStore": "keyring"\n}'),
    "an empty object with a line end": Shape("{}\n", '{\n\t"credsStore": "keyring"\n}\n'),
    "an empty object of two lines": Shape("{\n}\n", '{\n\t"credsStore": "keyring"\n}\n'),
    "as docker writes it": Shape(
        '{\n\t"auths": {\n\t\t"a.example": {}\n\t}\n}',
        '{\n\t"auths": {\n\t\t"a.example": {}\n\t},\n\t"credsStore": "keyring"\n}',
    ),
    "docker's escapes": Shape(
        '{\n\t"HttpHeaders": {\n\t\t"X": "\\u003ca\\u0026b\\u003e"\n\t}\n}',
        '{\n\t"HttpHeaders": {\n\t\t"X": "\\u003ca\\u0026b\\u003e"\n\t},\n\t"credsStore": "keyring"\n}',
    ),
    "four blanks": Shape('{\n    "x": 1\n}\n', '{\n    "x": 1,\n    "credsStore": "keyring"\n}\n'),
    "one line": Shape('{"x": 1}', '{"x": 1, "credsStore": "keyring"}'),
    "one line without blanks": Shape('{"x":1}', '{"x":1,"credsStore":"keyring"}'),
    "carriage returns": Shape('{\r\n\t"x": 1\r\n}\r\n', '{\r\n\t"x": 1,\r\n\t"credsStore": "keyring"\r\n}\r\n'),
    "commas in front": Shape(
        '{ "x": 1\n, "y": 2\n}\n',
        '{ "x": 1\n, "y": 2\n, "credsStore": "keyring"\n}\n',
    ),
    "the first key beside the brace": Shape('{"x": 1,\n "y": 2}', '{"x": 1,\n "y": 2,\n "credsStore": "keyring"}'),
    "blanks before the colon": Shape('{\n\t"x" : 1\n}', '{\n\t"x" : 1,\n\t"credsStore" : "keyring"\n}'),
    "another store": Shape('{"credsStore": "pass", "x": 1}', '{"credsStore": "keyring", "x": 1}', "pass"),
    "a store without a name": Shape('{"credsStore": ""}', '{"credsStore": "keyring"}'),
    "a store that is null": Shape('{"credsStore": null}', '{"credsStore": "keyring"}'),
    "null after a store": Shape(
        '{"credsStore": "pass", "credsStore": null}', '{"credsStore": "keyring"}', "pass", ("more than once",)
    ),
    "Docker Desktop 2.0": Shape(
        '{"credSstore": "osxkeychain"}',
        '{"credsStore": "keyring"}',
        "osxkeychain",
        ('"credSstore", which docker reads',),
    ),
    "the last counts, whatever its case": Shape(
        '{\n\t"credsStore": "pass",\n\t"x": 1,\n\t"CREDSSTORE": "wincred"\n}',
        '{\n\t"x": 1,\n\t"credsStore": "keyring"\n}',
        "wincred",
        ("more than once", '"CREDSSTORE", which docker reads'),
    ),
    "a long s, as Go folds it": Shape(
        '{"cred\u017fStore": "pass"}', '{"credsStore": "keyring"}', "pass", ("reads as",)
    ),
    "a sharp s, which Go does not fold": Shape(
        '{"credßtore": "pass"}', '{"credßtore": "pass", "credsStore": "keyring"}'
    ),
    "an escaped key": Shape('{"creds\\u0053tore": "pass"}', '{"credsStore": "keyring"}', "pass"),
    "a misspelt key": Shape(
        '{"credStore": "pass"}',
        '{"credStore": "pass", "credsStore": "keyring"}',
        "",
        ('"credStore", which nobody reads',),
    ),
    "doubled unknown keys": Shape(
        '{"x": 1, "x": 2}',
        '{"x": 1, "x": 2, "credsStore": "keyring"}',
    ),
    "numbers that Python would change": Shape(
        f'{{"x": [1e400, 1.50, -0, {"9" * 5000}]}}',
        f'{{"x": [1e400, 1.50, -0, {"9" * 5000}], "credsStore": "keyring"}}',
    ),
    "half a character": Shape('{"x": "\\ud800"}', '{"x": "\\ud800", "credsStore": "keyring"}'),
    "letters of all kinds": Shape('{"é": "\u2028日本"}', '{"é": "\u2028日本", "credsStore": "keyring"}'),
    "helpers that are null": Shape('{"credHelpers": null}', '{"credHelpers": {"a.example": "ecr"}}', wanted=HELPER),
    "no helpers yet": Shape(
        '{\n\t"x": 1\n}', '{\n\t"x": 1,\n\t"credHelpers": {\n\t\t"a.example": "ecr"\n\t}\n}', wanted=HELPER
    ),
    "nothing, and a helper": Shape("", '{\n\t"credHelpers": {\n\t\t"a.example": "ecr"\n\t}\n}', wanted=HELPER),
    "helpers that are empty": Shape(
        '{\n  "credHelpers": {}\n}\n', '{\n  "credHelpers": {\n    "a.example": "ecr"\n  }\n}\n', wanted=HELPER
    ),
    "another helper for the registry": Shape(
        '{"credHelpers": {"a.example": "ecr-login", "b.example": "pass"}}',
        '{"credHelpers": {"a.example": "ecr", "b.example": "pass"}}',
        wanted=HELPER,
    ),
    "a helper that is a number": Shape(
        '{"credHelpers": {"a.example": 7}}', '{"credHelpers": {"a.example": "ecr"}}', wanted=HELPER
    ),
    "no helper for the registry on purpose": Shape(
        '{"credHelpers": {"a.example": ""}}', '{"credHelpers": {"a.example": "ecr"}}', wanted=HELPER
    ),
    "CREDHELPERS": Shape(
        '{\n\t"CREDHELPERS": {\n\t\t"b.example": "pass"\n\t}\n}',
        '{\n\t"CREDHELPERS": {\n\t\t"b.example": "pass",\n\t\t"a.example": "ecr"\n\t}\n}',
        "",
        ('"CREDHELPERS", which docker reads',),
        HELPER,
    ),
    "a registry twice": Shape(
        '{"credHelpers": {"a.example": "pass", "a.example": "gcloud"}}',
        '{"credHelpers": {"a.example": "pass", "a.example": "ecr"}}',
        wanted=HELPER,
    ),
    "both at once": Shape(
        '{\n\t"credsStore": "desktop"\n}',
        '{\n\t"credsStore": "keyring",\n\t"credHelpers": {\n\t\t"a.example": "ecr"\n\t}\n}',
        "desktop",
        wanted=BOTH,
    ),
    "depth": Shape(
        '{"x": ' + "[" * 200 + "]" * 200 + "}", '{"x": ' + "[" * 200 + "]" * 200 + ', "credsStore": "keyring"}'
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_written(name: str, home: Path, file: Path) -> None:
    """One value is new, and every other byte is as it was; the removal brings all back."""
    before, after, replaces, notes, wanted = SHAPES[name]
    content = before.encode() if isinstance(before, str) else before
    file.write_bytes(content)

    (change,) = edit(home, wanted)

    assert file.read_bytes() == after.encode()
    assert change.replaces == replaces
    for words in notes:
        assert any(words in note for note in change.notes), change.notes
    assert notes or not change.notes
    assert Path(f"{file}.credhelpers-backup").read_bytes() == content
    assert dockerconfig.plan(wanted, environ_of(home), NAMES) == []
    undo(home)
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


REFUSED = {
    "no JSON": (b'{"auths": {\n,}}', "client-file-json", "(line 2), column 1"),
    "a comment": (b'{\n\t// mine\n\t"x": 1\n}', "client-file-json", "(line 2), column 2"),
    "a trailing comma": (b'{"x": 1,\n}', "client-file-json", "(line 2), column 1"),
    "a trailing comma deep inside": (b'{"x": [1,]}', "client-file-json", "(line 1), column 10"),
    "quotes eaten by a shell": (b"{credsStore:ecr-login}", "client-file-json", "(line 1), column 2"),
    "single quotes": (b"{'credsStore': 'pass'}", "client-file-json", "(line 1), column 2"),
    "half of a file": (b'{"auths": {"a.example": {"au', "client-file-json", "(line 1), column"),
    "no comma": (b'{"x": 1\n"y": 2}', "client-file-json", "(line 2), column 1"),
    "no colon": (b'{"x" 1}', "client-file-json", "(line 1), column 6"),
    "a second document": (b'{"auths": {}} {}', "client-file-json", "(line 1), column 15"),
    "NaN": (b'{"a": NaN}', "client-file-json", "a number that is none"),
    "a byte order mark": (b'\xef\xbb\xbf{"x": 1}', "client-file-bom", "byte order mark"),
    "UTF-16": (b"\xff\xfe{\x00}\x00", "client-file-json", "(line 1): no UTF-8"),
    "Latin-1": (b'{\n"x": "\xe9"}', "client-file-json", "(line 2): no UTF-8"),
    "a control character": (b'{"x": "a\x01"}', "client-file-json", "(line 1), column"),
    "a NUL": (b'{"x": 1}\x00', "client-file-json", "(line 1), column 9"),
    "bottomless": (b"[" * 100_000, "client-file-json", "nests too deep"),
    "bottomless inside": (b'{"x": ' + b"[" * 100_000, "client-file-json", "nests too deep"),
    "a list": (b"[]", "client-file-shape", "an object"),
    "a text": (b'"keyring"', "client-file-shape", "an object"),
    "a list as store": (b'{\n"credsStore": ["pass"]}', "client-file-shape", '"credsStore" in line 2'),
    "a number as store": (b'{"credsStore": 7}', "client-file-shape", '"credsStore" in line 1'),
    "a switch as store": (b'{"CREDSSTORE": true}', "client-file-shape", '"CREDSSTORE" in line 1'),
    "a list of helpers": (b'{"credHelpers": ["pass"]}', "client-file-shape", '"credHelpers" in line 1'),
    "auths that are none": (b'{"auths": []}', "client-file-shape", '"auths" in line 1'),
    "huge": (b'{"x": "' + b"x" * clientfile.LIMIT + b'"}', "client-file-long", "longer than 8 MiB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, home: Path, file: Path) -> None:
    """With the place and a way out; not a byte is changed, and nothing of the file is in the sentence."""
    content, code, words = REFUSED[name]
    file.write_bytes(content)

    for act in (edit, undo):
        with pytest.raises(Unavailable) as caught:
            act(home)
        assert (caught.value.code, caught.value.hint.endswith("then run it again")) == (code, True)
        assert words in caught.value.message
        assert str(file) in caught.value.message
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_ours_under_another_case(home: Path, file: Path) -> None:
    """Docker reads it already, and others do from now on."""
    file.write_text('{"CredsStore": "keyring", "x": 1}')

    (change,) = edit(home)

    assert change.replaces == ""
    assert file.read_text() == '{"credsStore": "keyring", "x": 1}'
    undo(home)
    assert file.read_text() == '{"x": 1}'


def test_doubled_helpers(home: Path, file: Path) -> None:
    """Docker puts them together and Python takes the last: nobody guesses; but ours are taken out of both."""
    file.write_text('{"credHelpers": {"a.example": "ecr", "b.example": "pass"},\n"credHelpers": {"c.example": "gcr"}}')

    with pytest.raises(Unavailable, match="the last time in line 2"):
        edit(home, Wanted(helpers={"d.example": "acr"}))
    assert dockerconfig.read(file)[1].helpers == {"a.example": "ecr", "b.example": "pass", "c.example": "gcr"}
    undo(home)
    assert file.read_text() == '{"credHelpers": {"b.example": "pass"}}'


def test_the_way_back_keeps_what_came_since(home: Path, file: Path) -> None:
    """Our words go, those before them come back, and a login by docker meanwhile stays."""
    file.write_text('{"credsStore": "pass", "credHelpers": {"a.example": "ecr-login", "b.example": "x"}}')
    edit(home, BOTH)
    edit(home, Wanted(helpers={"c.example": "gcr"}))  # the copy is of what was there before us
    table = json.loads(file.read_text())
    table["auths"] = {"new.example": {}}
    file.write_text(json.dumps(table, indent="\t", sort_keys=True))

    undo(home)

    assert json.loads(file.read_text()) == {
        "auths": {"new.example": {}},
        "credHelpers": {"a.example": "ecr-login", "b.example": "x"},
        "credsStore": "pass",
    }


def test_ten_thousand_registries(home: Path, file: Path) -> None:
    """What takes longer with each registry takes no longer than that."""
    helpers = {f"r{number}.example": "ecr" if number % 2 else "pass" for number in range(10_000)}
    file.write_text(json.dumps({"credHelpers": helpers}, indent=1))
    start = time.monotonic()

    edit(home, BOTH)
    undo(home)

    assert time.monotonic() - start < patience(3)
    assert json.loads(file.read_text()) == {
        "credHelpers": {host: word for host, word in helpers.items() if word == "pass"}
    }


def test_a_store_that_came_since_is_kept_too(home: Path, file: Path) -> None:
    """Docker Desktop has put its own back: after another `--configure` the way back leads there."""
    file.write_text('{"credsStore": "pass"}')
    edit(home, BOTH)
    file.write_text(file.read_text().replace('"keyring"', '"desktop"'))

    (change,) = edit(home)

    assert change.replaces == "desktop"
    undo(home)
    assert json.loads(file.read_text()) == {"credsStore": "desktop"}


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
KEYS = st.sampled_from(["auths", "x", "é", "HttpHeaders", "", "proxies"]) | st.text(max_size=6)


@given(
    st.dictionaries(KEYS, VALUES, max_size=4).filter(
        lambda table: not isinstance(table.get("auths", {}), (list, str, int, float))
    ),
    st.sampled_from([None, "\t", 2, 4, " "]),
    st.booleans(),
    st.dictionaries(st.sampled_from(["a.example", "b.example"]), st.sampled_from(["pass", "ecr"])),
)
def test_any_file(table: dict[str, object], indent: str | int | None, is_ascii: bool, helpers: dict[str, str]) -> None:  # noqa: FBT001
    """Whatever stands in it stays, and what is wanted is there; taking it out again leaves the same."""
    table.pop("credsStore", None)
    before = json.dumps(table | {"credHelpers": helpers}, indent=indent, ensure_ascii=is_ascii)
    document = Document(Path("config.json"), before.encode(errors="surrogatepass" if is_ascii else "replace"))
    before = document.text

    changed = document.with_store("keyring").with_helper("a.example", "gcr").with_helper("c.example", "vault")

    wanted = json.loads(before)
    wanted |= {"credsStore": "keyring"}
    wanted["credHelpers"] = helpers | {"a.example": "gcr", "c.example": "vault"}
    assert json.loads(changed.text) == wanted
    back = changed.without(OWN, OWN, document)
    others = {host: word for host, word in helpers.items() if word not in OWN}
    expected = json.loads(before)
    expected.pop("credHelpers")
    assert json.loads(back.text) == expected | ({"credHelpers": others} if others else {})


def test_a_member_in_the_middle() -> None:
    """Commas and blanks go with the member that goes."""
    text = '{\n\t"a": 1,\n\t"b": 2,\n\t"c": 3\n}'
    found = jsontext.parse(text)

    assert found.without(found.members[:1]) == '{\n\t"b": 2,\n\t"c": 3\n}'
    assert found.without(found.members[1:2]) == '{\n\t"a": 1,\n\t"c": 3\n}'
    assert found.without(found.members[2:]) == '{\n\t"a": 1,\n\t"b": 2\n}'
    assert found.without(found.members) == "{}"


def test_docker_itself_writes_in_between(home: Path, file: Path) -> None:
    """It sorts and indents anew, and keeps what is ours; the way back keeps what is docker's."""
    docker = need("docker", "docker.io")
    file.write_text('{"HttpHeaders": {"X": "<&>"}, "credsStore": "pass", "credHelpers": {"b.example": "gcloud"}}')
    edit(home, BOTH)

    for words in (["create", "mine", "--docker", "host=unix:///x"], ["use", "mine"]):
        subprocess.run([docker, "context", *words], env={"HOME": str(home)}, capture_output=True, check=True)

    assert "\\u003c" in file.read_text()
    document = dockerconfig.read(file)[1]
    assert (document.store, document.helpers) == ("keyring", {"a.example": "ecr", "b.example": "gcloud"})
    assert dockerconfig.plan(BOTH, environ_of(home), NAMES) == []
    undo(home)
    assert json.loads(file.read_text()) == {
        "HttpHeaders": {"X": "<&>"},
        "auths": {},
        "credHelpers": {"b.example": "gcloud"},
        "credsStore": "pass",
        "currentContext": "mine",
    }


READ_BY_DOCKER = [
    '{"credsStore": "a"}',
    '{"credsstore": "a"}',
    '{"credsStore": "a", "CREDSSTORE": "b"}',
    '{"CREDSSTORE": "a", "credsStore": "b"}',
    '{"credsStore": "a", "credsStore": "b"}',
    '{"credsStore": "a", "credsStore": null}',
    '{"credsStore": "a", "credsStore": ""}',
    '{"creds\\u0053tore": "a"}',
    '{"cred\u017fStore": "a"}',
    '{"credß\u0074ore": "a", "credßtore": "b"}',
    '{"creds Store": "a", "credsStore ": "b", "creds_store": "c"}',
    '{"credHelpers": {"h": "a"}, "credHelpers": {"i": "b"}}',
    '{"credHelpers": {"h": "a"}, "credHelpers": {"h": "b"}}',
    '{"credHelpers": {"h": "a"}, "credHelpers": null}',
    '{"credHelpers": null, "CredHelpers": {"h": "a"}}',
    '{"credHelpers": {"h": "a", "h": "b", "H": "c"}}',
    '{"credHelpers": {"h": "a"}, "cred\u017f": 1, "credHelper\u017f": {"j": "d"}}',
    '{"credHelpers": {"h": "\\u0061\\ud83d\\ude00"}}',
]


@pytest.mark.parametrize("text", READ_BY_DOCKER)
def test_it_is_read_as_docker_reads_it(home: Path, file: Path, text: str) -> None:
    """Docker writes anew what it has read, so it says itself what that was."""
    docker = need("docker", "docker.io")
    file.write_text(text)
    document = dockerconfig.read(file)[1]

    for words in (["create", "mine", "--docker", "host=unix:///x"], ["use", "mine"]):
        subprocess.run([docker, "context", *words], env={"HOME": str(home)}, capture_output=True, check=True)

    table = json.loads(file.read_text())
    assert table["currentContext"] == "mine"
    assert (document.store, document.helpers) == (table.get("credsStore", ""), table.get("credHelpers", {}))


# --- podman, buildah and skopeo --------------------------------------------------------------------------------------

PODMAN = Wanted(podman="keyring")
DROP_IN = ".config/containers/registries.conf.d/50-credhelpers.conf"


def put(home: Path, files: dict[str, str]) -> None:
    for place, text in files.items():
        path = home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


LISTS = {
    "nothing": ({}, ("keyring",), ""),
    "files without a word of it": (
        {
            ".config/containers/registries.conf": 'unqualified-search-registries = ["x"]',
            ".config/containers/registries.conf.d/70-x.conf": '[[registry]]\nprefix = "x"',
            ".config/containers/registries.conf.d/notes.txt": "no TOML [",
            ".config/containers/registries.conf.d/60-x.conf": "credential-helpers = []",
        },
        ("keyring",),
        "",
    ),
    "a login of docker's in the keyring": ({".docker/config.json": '{"auths": {"a.example": {}}}'}, ("keyring",), ""),
    "a password in docker's file": (
        {".docker/config.json": '{"auths": {"a.example": {"auth": "eA=="}}}'},
        ("keyring", "containers-auth.json"),
        "",
    ),
    "a password in the file that a login writes": (
        {"run/containers/auth.json": '{"auths": {"a.example/team": {"auth": "eA=="}}}'},
        ("keyring", "containers-auth.json"),
        "",
    ),
    "a token in the file that lasts": (
        {".config/containers/auth.json": '{"auths": {"a.example": {"IdentityToken": "x"}}}'},
        ("keyring", "containers-auth.json"),
        "",
    ),
    "an empty password": (
        {".config/containers/auth.json": '{"auths": {"a.example": {"auth": ""}, "b.example": null}}'},
        ("keyring",),
        "",
    ),
    "our helpers for some": (
        {
            ".docker/config.json": '{"credHelpers": {"b.example": "vault", "c.example": "keyring"}}',
            ".config/containers/auth.json": '{"credHelpers": {"a.example": "ecr"}}',
        },
        ("ecr", "vault", "keyring"),
        "",
    ),
    "another's helper for one": (
        {".config/containers/auth.json": '{"credHelpers": {"a.example": "ecr", "b.example": "gcloud"}}'},
        ("ecr", "keyring", "containers-auth.json"),
        "",
    ),
    "no helper for one on purpose": (
        {".config/containers/auth.json": '{"credHelpers": {"a.example": ""}}'},
        ("keyring", "containers-auth.json"),
        "",
    ),
    "a list of before": (
        {".config/containers/registries.conf": 'credential-helpers = ["pass", "containers-auth.json"]'},
        ("keyring", "pass"),
        "pass",
    ),
    "a list with a source of another, and with docker's store, whose items are ours": (
        {".config/containers/registries.conf": 'credential-helpers = ["ecr-login", "secretservice", "vault"]'},
        ("vault", "keyring", "ecr-login"),
        "ecr-login",
    ),
    "a list behind ours that has it": (
        {".config/containers/registries.conf.d/99-x.conf": 'credential-helpers = ["ecr", "keyring"]'},
        ("keyring",),
        "",
    ),
    "the helper that is all of ours": (
        {".docker/config.json": '{"credHelpers": {"a": "auto", "b": "ecr"}}'},
        ("auto",),
        "",
    ),
    "one written by hand": ({DROP_IN: 'credential-helpers = ["auto", "containers-auth.json"]'}, ("keyring",), ""),
    "that one behind ours": (
        {".config/containers/registries.conf.d/99-x.conf": 'credential-helpers = ["auto"]'},
        ("keyring",),
        "",
    ),
    "a list that is none": ({".config/containers/registries.conf": 'credential-helpers = "pass"'}, ("keyring",), ""),
}


@pytest.mark.parametrize("name", LISTS)
def test_whom_podman_asks(name: str, home: Path) -> None:
    """Our sources that a file names, the store, whom it asked before; files of passwords only if there is one."""
    files, words, replaces = LISTS[name]
    put(home, files)

    (change,) = edit(home, PODMAN)

    assert registriesconf.words((home / DROP_IN).read_bytes()) == words
    assert change.replaces == replaces
    assert change.diff().splitlines()[-1] == f"+credential-helpers = {json.dumps(words)}"
    assert edit(home, PODMAN) == []
    undo(home)
    assert not (home / DROP_IN).exists()
    for place, text in files.items():
        if "credHelpers" not in text and place != DROP_IN:
            assert (home / place).read_text() == text


@pytest.mark.parametrize(
    ("files", "code"),
    [
        pytest.param(
            {".config/containers/registries.conf.d/51-x.conf": 'credential-helpers = ["pass"]'},
            "registries-conf-later",
            id="a list behind ours",
        ),
        pytest.param(
            {DROP_IN: 'credential-helpers = ["pass"]'}, "registries-conf-taken", id="somebody's own of this name"
        ),
        pytest.param({DROP_IN: 'credential-helpers = ["auto"]\nx = 1'}, "registries-conf-taken", id="and more in it"),
        pytest.param({DROP_IN: "x = ["}, "registries-conf-taken", id="or no TOML"),
        pytest.param({".config/containers/registries.conf": "x = ["}, "registries-conf-unreadable", id="no TOML"),
        pytest.param(
            {".config/containers/registries.conf.d/x.conf/y": ""}, "registries-conf-unreadable", id="a directory"
        ),
        pytest.param({"run/containers/auth.json": "{"}, "client-file-json", id="an auth.json that is no JSON"),
        pytest.param({".config/containers/auth.json": "[]"}, "client-file-shape", id="an auth.json that is a list"),
    ],
)
def test_what_podman_has_that_stops_it(home: Path, files: dict[str, str], code: str) -> None:
    """Nothing is written; and what has none of our words does not stop the removal."""
    put(home, files)

    with pytest.raises(Unavailable) as caught:
        edit(home, PODMAN)

    assert caught.value.code == code
    undo(home)
    for place, text in files.items():
        assert (home / place).read_text() == text


def test_all_of_ours_stays_all_of_ours(home: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who has `auto` already keeps it, podman gets it too, and no line for a cloud is proposed."""
    file.write_text('{"credsStore": "auto"}')
    words = [f"docker-credential-{word}" for word in OWN]

    for task in ("advise", "check", "write"):
        assert configure.main([task, *words], environ_of(home)) == 0

    said = capsys.readouterr().out
    assert f'docker uses it: {file} says "credsStore": "auto"\n' in said
    assert f'{file} says "credsStore": "auto" already\n' in said
    assert "credHelpers" not in said
    assert registriesconf.words((home / DROP_IN).read_bytes()) == ("auto",)
    assert file.read_text() == '{"credsStore": "auto"}'


def test_podman_on_macos_is_left_alone(
    home: Path, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fail for every registry after a login to Docker Hub; docker is set up."""
    monkeypatch.setattr(sys, "platform", "darwin")

    for task in ("advise", "write"):
        assert configure.main([task, "docker-credential-keyring"], environ_of(home)) == 0

    assert "buildah" not in capsys.readouterr().out
    assert not (home / DROP_IN).exists()
    assert json.loads(file.read_text()) == {"credsStore": "keyring"}


def test_what_a_person_wrote_is_told_at_the_end(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list of somebody's own that names ours would have podman fail for every registry, once ours is gone."""
    mine = ".config/containers/registries.conf.d/60-mine.conf"
    put(home, {mine: 'credential-helpers = ["keyring", "pass"]'})
    edit(home, PODMAN)

    assert configure.main(["remove", "docker-credential-keyring"], environ_of(home)) == 0

    assert f"warning: {home / mine} names a helper of ours" in capsys.readouterr().out
    assert (home / mine).exists()
    assert not (home / DROP_IN).exists()


def test_both_directories_of_configurations(home: Path) -> None:
    """Which one podman reads hangs on its version."""
    done = edit(home, PODMAN, XDG_CONFIG_HOME=str(home / "xdg"))

    assert [change.file for change in done] == [home / DROP_IN, home / DROP_IN.replace(".config", "xdg")]
    assert (home / DROP_IN).read_bytes() == done[1].file.read_bytes()
    undo(home, XDG_CONFIG_HOME=str(home / "xdg"))
    assert not any(change.file.exists() for change in done)
    assert len(edit(home, PODMAN, XDG_CONFIG_HOME=str(home / ".config"))) == 1


def test_a_variable_that_has_podman_read_no_drop_in(home: Path) -> None:
    """The list in the file that it names counts for newer versions: that is said."""
    put(home, {"mine.conf": 'credential-helpers = ["pass"]'})

    (change,) = edit(home, PODMAN, CONTAINERS_REGISTRIES_CONF=str(home / "mine.conf"))

    assert any(f"where {home}/mine.conf is read" in note for note in change.notes), change.notes


def test_helpers_of_an_auth_json(home: Path) -> None:
    """The one that lasts gets them, a host is as podman writes it, and the way back is to the byte."""
    before = '{\n\t"auths": {},\n\t"credHelpers": {\n\t\t"quay.io": "secretservice"\n\t}\n}'
    put(home, {".config/containers/auth.json": before})
    file = home / ".config/containers/auth.json"

    (change,) = edit(home, Wanted(auth_helpers={"docker.io": "keyring", "quay.io": "keyring"}))

    assert change.file == file
    assert file.read_text() == before.replace('"secretservice"', '"keyring",\n\t\t"docker.io": "keyring"')
    undo(home)
    assert file.read_text() == before
    assert [path.name for path in file.parent.iterdir()] == ["auth.json"]


@pytest.mark.parametrize("place", ["named.json", "run/containers/auth.json", ".config/containers/auth.json"])
def test_ours_are_taken_out_of_every_auth_json(home: Path, place: str) -> None:
    """Also where a person has written them: without us they would fail every registry of podman's remote client."""
    put(
        home,
        {place: '{"auths": {"b.example": {"auth": "eA=="}}, "credHelpers": {"a.example": "ecr", "c.example": "x"}}'},
    )

    undo(home, **({"REGISTRY_AUTH_FILE": str(home / place)} if place == "named.json" else {}))

    assert json.loads((home / place).read_text()) == {
        "auths": {"b.example": {"auth": "eA=="}},
        "credHelpers": {"c.example": "x"},
    }


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_no_diff_shows_a_secret(home: Path, file: Path) -> None:
    """Not in a value, wherever it is, nor in what is said of the change, in an error or in a representation."""
    secret = {
        "auths": {"a.example": {"auth": CANARY, "identitytoken": CANARY}},
        "HttpHeaders": {"Authorization": CANARY},
        "proxies": {"default": {"httpsProxy": f"http://u:{CANARY}@p.example"}},
        "unknown": [CANARY],
        "credsStore": "pass",
        "credHelpers": {"gcr.io": "gcloud"},
    }
    for indent in (None, "\t"):
        file.write_text(json.dumps(secret, indent=indent))
        (change,) = dockerconfig.plan(BOTH, environ_of(home), NAMES)
        said = "".join((change.diff(), repr(change), str(change), repr(change.seen), *change.notes, change.why))

        assert CANARY not in said
        assert '-\t"credsStore": "pass",' in change.diff() or indent is None
        assert '"credsStore": "keyring"' in change.diff()
        assert '"a.example": "ecr"' in change.diff()
        file.write_text(json.dumps(secret, indent=indent)[:-2])
        with pytest.raises(Unavailable) as caught:
            dockerconfig.plan(BOTH, environ_of(home), NAMES)
        assert CANARY not in repr(caught.value) + caught.value.message + caught.value.hint


def test_the_diff_of_a_new_file(home: Path) -> None:
    """It is all that is in it, and nothing moves the cursor."""
    (change,) = dockerconfig.plan(Wanted(helpers={"\x1b[31mred.example": "ecr"}), environ_of(home), NAMES)

    shown = change.diff().splitlines()
    assert shown[3:] == ["+{", '+\t"credHelpers": {', '+\t\t"\\u001b[31mred.example": "ecr"', "+\t}", "+}"]


# --- the file, whatever it is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o660, 0o400, 0o4755])
def test_the_mode_stays(home: Path, file: Path, mode: int) -> None:
    """It is never wider than it was, the copy is for its owner, and no bit is kept that is for programs."""
    file.write_text("{}")
    file.chmod(mode)
    umask = os.umask(0)
    try:
        edit(home)
    finally:
        os.umask(umask)

    assert stat.S_IMODE(file.stat().st_mode) == mode & 0o777
    assert stat.S_IMODE(Path(f"{file}.credhelpers-backup").stat().st_mode) == 0o600


# <linux/posix_acl_xattr.h>: who, what, and his number; the owner, one more user, the group, the mask, all others.
_ACL = ((0x01, 6, -1), (0x02, 4, 54321), (0x04, 0, -1), (0x10, 4, -1), (0x20, 0, -1))


@pytest.mark.parametrize("mode", [pytest.param(0o640, id="kept"), pytest.param(0o600, id="where none can be set")])
def test_an_access_control_list_stays(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    """Its mask looks like the group's bits: without the list these would let the group in."""
    file.write_text("{}")
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in _ACL)
    try:
        os.setxattr(file, "system.posix_acl_access", acl)
    except OSError:
        lacking("the file system of the tests has no access control lists")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    if mode == 0o600:

        def refuse(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(os, "setxattr", refuse)

    edit(home)

    assert mode == 0o600 or os.getxattr(file, "system.posix_acl_access") == acl
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_new_file_is_private(home: Path) -> None:
    """So are the directories that are made for it."""
    umask = os.umask(0)
    try:
        edit(home, Wanted(store="keyring", podman="keyring"))
    finally:
        os.umask(umask)

    for folder, names, files in os.walk(home):
        for name in names:
            assert stat.S_IMODE(Path(folder, name).stat().st_mode) == 0o700, name
        for name in files:
            assert stat.S_IMODE(Path(folder, name).stat().st_mode) == 0o600, name


@pytest.mark.parametrize("kind", ["relative", "absolute", "a chain", "to nowhere yet", "a directory's"])
def test_links_are_followed(home: Path, file: Path, kind: str) -> None:
    """What a person keeps elsewhere is changed there, and the link is the same; the copy is beside the link."""
    target = home / "dot files/docker.json"
    target.parent.mkdir()
    if kind != "to nowhere yet":
        target.write_text('{"x": 1}')
    if kind == "a directory's":
        file.parent.rmdir()
        file.parent.symlink_to(target.parent.rename(home / "elsewhere"))
        target = home / "elsewhere/config.json"
        (home / "elsewhere/docker.json").rename(target)
    elif kind == "a chain":
        (home / "between").symlink_to(target)
        file.symlink_to("../between")
    else:
        file.symlink_to(target if kind != "relative" else "../dot files/docker.json")
    link = (file if file.is_symlink() else file.parent).readlink()

    edit(home)

    assert (file if file.is_symlink() else file.parent).readlink() == link
    assert json.loads(target.read_text())["credsStore"] == "keyring"
    assert Path(f"{file}.credhelpers-backup").exists() == (kind != "to nowhere yet")
    undo(home)
    assert target.exists() == (kind != "to nowhere yet")
    if target.exists():
        assert target.read_text() == '{"x": 1}'


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(lambda path: path.mkdir(), "client-file-directory", id="a directory, as compose makes one"),
        pytest.param(os.mkfifo, "client-file-irregular", id="a pipe"),
        pytest.param(lambda path: path.symlink_to("/dev/null"), "client-file-irregular", id="a device"),
        pytest.param(lambda path: path.symlink_to(path.name), "client-file-trouble", id="a link to itself"),
        pytest.param(lambda path: path.symlink_to("there/is/none"), "client-file-trouble", id="a link to nowhere"),
    ],
)
def test_what_is_no_file_is_left_alone(home: Path, file: Path, make: Callable[[Path], None], code: str) -> None:
    """Nobody waits for a pipe, nothing is written into a device, and no directory is made for a link."""
    make(file)

    with pytest.raises(Unavailable) as caught:
        edit(home)

    assert caught.value.code == code
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_path_of_a_directory_is_a_file(home: Path) -> None:
    """`~/.docker` is one: said, and left."""
    (home / ".docker").write_text("mine")

    with pytest.raises(Unavailable, match=r"config.json cannot be read or written \(Not a directory\)"):
        edit(home)


def test_another_name_of_the_file_is_said(home: Path, file: Path) -> None:
    """A hard link keeps what was, since the file is replaced as docker replaces it."""
    file.write_text("{}")
    other = home / "other"
    other.hardlink_to(file)

    (change,) = edit(home)

    assert any("another name (a hard link)" in note for note in change.notes)
    assert other.read_text() == "{}"


# --- somebody else's ------------------------------------------------------------------------------------------------


def test_root_says_whose_it_edits_and_leaves_it_theirs(home: Path, file: Path) -> None:
    """The file, its copy, and what is made new."""
    need_root("a file of another user")
    file.write_text("{}")
    for path in (home, file.parent, file):
        os.chown(path, 54321, 54321)

    done = edit(home, Wanted(store="keyring", podman="keyring"))

    assert all(any("user 54321's file" in note for note in change.notes) for change in done)
    for folder, names, files in os.walk(home):
        for name in (*names, *files):
            assert Path(folder, name).stat().st_uid == 54321, name


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_root_is_not_led_by_a_link_of_another(home: Path, tmp_path: Path, file: Path, kind: str) -> None:
    """Whose link leads to root's file has no say over it."""
    need_root("a link of another user")
    target = tmp_path / "of-root/config.json"
    target.parent.mkdir()
    target.write_text("{}")
    if kind == "directory":
        file.parent.rmdir()
        file.parent.symlink_to(target.parent)
    else:
        file.symlink_to(target)
    for path in (home, file.parent, file):
        os.chown(path, 54321, 54321, follow_symlinks=False)
    if kind == "directory":
        os.chown(target, 0, 0)

    with pytest.raises(Unavailable) as caught:
        edit(home)

    assert caught.value.code == "client-file-foreign-link"
    assert target.read_text() == "{}"
    assert list(target.parent.iterdir()) == [target]


def test_a_group_that_cannot_be_kept_lets_nobody_in(home: Path, file: Path) -> None:
    """The file of a group that its owner is not in any more: what is new is not open to another group."""
    need_root("another user")
    file.write_text("{}")
    file.chmod(0o660)
    os.chown(file, 54321, 777)
    for path in (home, file.parent):
        os.chown(path, 54321, 54321)
    for path in list(home.parents)[:-1]:
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)

    done = as_user(
        f"from credhelpers.cli import dockerconfig as d, changes; "
        f"changes.apply(d.plan(d.Wanted(store='keyring'), {environ_of(home)!r}, NAMES))"
    )

    assert done == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {"credsStore": "keyring"}


def as_user(code: str) -> int:
    """The exit status of a fork that is an ordinary user and runs this."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgroups([])
            os.setgid(54321)
            os.setuid(54321)
            exec(code, {"NAMES": NAMES})
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# --- who else writes --------------------------------------------------------------------------------------------------


def test_what_docker_wrote_meanwhile_is_seen(home: Path, file: Path) -> None:
    """Between the plan and the change a login came: nothing is written, and the new plan has the login."""
    file.write_text("{}")
    planned = dockerconfig.plan(KEYRING, environ_of(home), NAMES)
    file.write_text('{"auths": {"a.example": {}}}')

    with pytest.raises(clientfile.Changed):
        changes.apply(planned)

    assert json.loads(file.read_text()) == {"auths": {"a.example": {}}}
    edit(home)
    assert json.loads(file.read_text()) == {"auths": {"a.example": {}}, "credsStore": "keyring"}


@pytest.mark.parametrize("kind", ["came", "went"])
def test_a_file_that_came_or_went_meanwhile(home: Path, file: Path, kind: str) -> None:
    """The same where there was no file, or where there is none any more."""
    if kind == "went":
        file.write_text("{}")
    planned = dockerconfig.plan(KEYRING, environ_of(home), NAMES)
    file.unlink() if kind == "went" else file.write_text('{"x": 1}')

    with pytest.raises(clientfile.Changed):
        changes.apply(planned)


def test_a_login_at_the_last_moment(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our writing and our renaming docker renames: its file stays, and we leave nothing beside it."""
    file.write_text("{}")
    fill = private.fill

    def and_docker(descriptor: int, content: bytes) -> None:
        fill(descriptor, content)
        if b"credsStore" in content:
            other = file.with_name("config.json1234")
            other.write_text('{"auths": {"a.example": {}}}')
            other.replace(file)

    monkeypatch.setattr(private, "fill", and_docker)
    with pytest.raises(clientfile.Changed):
        edit(home)

    assert json.loads(file.read_text()) == {"auths": {"a.example": {}}}
    assert {path.name for path in file.parent.iterdir()} == {"config.json", "config.json.credhelpers-backup"}


def test_two_at_once_lose_nothing(home: Path, file: Path) -> None:
    """Each of twenty adds a registry, from threads that plan anew when another was first."""
    file.write_text("{}")

    def add(number: int) -> None:
        while True:
            try:
                edit(home, Wanted(helpers={f"r{number}.example": "ecr"}))
            except clientfile.Changed:
                continue
            return

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(dockerconfig.read(file)[1].helpers) == 20
    assert {path.name for path in file.parent.iterdir()} == {"config.json", "config.json.credhelpers-backup"}


def test_who_does_not_end_is_not_waited_for(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that holds the lock for ever is said to be there."""
    monkeypatch.setattr(clientfile, "_TURN", 0.1)
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(Unavailable) as caught:
            edit(home)
    finally:
        os.close(descriptor)

    assert caught.value.code == "client-file-busy"


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing is changed, nothing is left, and it says what to do."""
    need_root("a small disk")
    home = tmp_path / "home"
    home.mkdir()
    script = f"""
mount -t tmpfs -o size=64k none {home}
mkdir {home}/.docker; echo '{{"x": 1}}' >{home}/.docker/config.json
dd if=/dev/zero of={home}/full bs=1k 2>/dev/null || :
HOME={home} {sys.executable} -I -B -c 'import sys; sys.path.insert(0, "{ROOT}")
from credhelpers.cli.configure import main
sys.exit(main(["write", "docker-credential-keyring"]))' && exit 1
ls -A {home}/.docker; cat {home}/.docker/config.json"""
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)

    assert "(No space left on device): make room: `df -h`" in done.stderr
    assert done.stdout == 'config.json\n{"x": 1}\n'


def test_a_file_that_is_mounted_by_itself(tmp_path: Path) -> None:
    """As into a container: it cannot be renamed over, so it is written in place, and that is said."""
    need_root("a mount")
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    (home / "outside.json").write_text('{"x": 1, "a long line": "that is longer than what comes after it, by far"}')
    (home / ".docker/config.json").touch()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from credhelpers.cli.configure import main; "
        'sys.exit(main([sys.argv[2], "docker-credential-keyring"]))'
    )
    script = (
        'mount --bind "$HOME/outside.json" "$HOME/.docker/config.json"; for task in write remove; do "$@" $task; done'
    )
    command = ["unshare", "--mount", "sh", "-e", "-c", script, "sh", sys.executable, "-I", "-B", "-c", code, str(ROOT)]
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    before = (home / "outside.json").read_text()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done
    assert "config.json is mounted by itself, so it was written in place" in done.stdout
    assert (home / "outside.json").read_text() == before


def test_a_read_only_directory(home: Path, file: Path) -> None:
    """The file could be written, its directory not: nothing is done by halves."""
    need_root("another user")
    file.write_text("{}")
    os.chown(file, 54321, 54321)
    file.parent.chmod(0o755)
    home.chmod(0o755)
    for path in list(home.parents)[:-1]:
        path.chmod(path.stat().st_mode | 0o011)

    code = f"""
from credhelpers.cli import changes, dockerconfig
from credhelpers.errors import Unavailable
try:
    changes.apply(dockerconfig.plan(dockerconfig.Wanted(store="keyring"), {environ_of(home)!r}, NAMES))
except Unavailable as error:
    assert "(Permission denied)" in error.message, error.message
else:
    raise AssertionError
"""
    assert as_user(code) == 0
    assert file.read_text() == "{}"


@pytest.mark.parametrize("call", ["fsync", "rename", "unlink", "fchmod"])
def test_killed_at_any_moment(home: Path, file: Path, call: str) -> None:
    """The file is the old one or the new one, and the next run takes away what was left beside it."""
    need_root("strace, which must trace")
    strace = need("strace", "strace")
    content = json.dumps({"auths": {"a.example": {"auth": CANARY}}})
    file.write_text(content)
    file.chmod(0o600)
    code = (
        f'import sys; sys.path.insert(0, "{ROOT}"); from credhelpers.cli.configure import main; '
        'sys.exit(main(["write", "docker-credential-keyring"]))'
    )
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    for when in (1, 2, 3):
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}", "-o", "/dev/null"]
        subprocess.run(
            [strace, "-f", *inject, sys.executable, "-I", "-B", "-c", code], env=env, capture_output=True, check=False
        )
        now = json.loads(file.read_text())
        assert now in (json.loads(content), json.loads(content) | {"credsStore": "keyring"})
        for path in file.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0

    done = subprocess.run([sys.executable, "-I", "-B", "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "credsStore" in done.stdout
    assert {path.name for path in file.parent.iterdir()} == {"config.json", "config.json.credhelpers-backup"}
    undo(home)
    assert file.read_text() == content


def test_a_link_goes_with_what_it_leads_to(home: Path) -> None:
    """As dotfiles lay it out: a link that led nowhere would make podman fail for every registry."""
    kept = home / "dotfiles.conf"
    kept.write_text("ours")
    link = home / "50-credhelpers.conf"
    link.symlink_to(kept)
    told = clientfile.write(clientfile.read(link), None)
    assert str(kept) in told
    assert not os.path.lexists(link)
    assert not kept.exists()


@pytest.mark.parametrize(
    "more", ["[[registry]]\nlocation = 'docker.io'\n", "unqualified-search-registries = ['a.example']\n"]
)
def test_a_drop_in_with_more_in_it_is_a_person_s(more: str) -> None:
    """Whoever wrote its first line: a mirror or a block that is lost changes where images come from."""
    own = registriesconf.content(("keyring",))
    assert registriesconf.is_ours(own, ("keyring",))
    assert not registriesconf.is_ours(own + more.encode(), ("keyring",))
    assert not registriesconf.is_ours(own + b"x = " + b"[" * 5000, ("keyring",))


def test_where_there_is_no_room_a_file_that_is_written_in_place_is_as_it_was(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And half of the new one is not what docker reads."""
    file = home / "config.json"
    file.write_bytes(b'{"old": 1}')
    seen = clientfile.read(file)
    true, calls = private.fill, []

    def fill(descriptor: int, content: bytes) -> None:
        calls.append(content)
        if len(calls) == 1:
            os.write(descriptor, content[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        true(descriptor, content)

    monkeypatch.setattr("credhelpers.cli.clientfile.private.fill", fill)
    with pytest.raises(OSError, match="No space"):
        clientfile._overwrite(seen, b"x" * 100)
    assert file.read_bytes() == b'{"old": 1}'
