"""A helper of somebody else's as a link of a chain: what it is told, what is believed of it, and who it may be."""

from __future__ import annotations

import functools
import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from credhelpers.credential import Credential
from credhelpers.errors import NotFound, Shortage, Unavailable
from credhelpers.servers import Authority
from credhelpers.stores.foreign import Foreign
from tests.harness import BIN, document, environment, lacking, loaded_call, need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASKED = Authority("https://registry.acme.example/v2/")
ANSWER = json.dumps({"ServerURL": "x", "Username": "someone", "Secret": "made-up"})


class Helpers:
    """A directory of PATH with helpers that are lines of a shell."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "bin"
        self.folder.mkdir(mode=0o755)
        self.environ = {b"HOME": os.fsencode(home), b"PATH": os.fsencode(self.folder) + b":/usr/bin:/bin"}

    def write(self, lines: str, name: str = "other") -> Path:
        path = self.folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(0o755)
        return path

    def link(self, name: str = "other", seconds: float = 5.0) -> Foreign:
        return Foreign(name, self.environ, time.monotonic() + seconds)


@pytest.fixture
def helpers(home: Path) -> Helpers:
    return Helpers(home)


def refused(what: Callable[[], object]) -> str:
    """The code of the failure, which quotes nothing of what the helper said."""
    with pytest.raises(Unavailable) as caught:
        what()
    assert "made-up" not in caught.value.message + caught.value.hint
    assert caught.value.hint
    return caught.value.code


def test_it_is_told_what_the_client_sent(helpers: Helpers) -> None:
    """The verb as its one argument, the server on standard input and then nothing more, and no shell in between."""
    helpers.write(f"echo $# $1 >$HOME/verb; cat >$HOME/told; echo $PWD >$HOME/place; echo '{ANSWER}'")
    found = helpers.link().get(ASKED)
    assert found.expose() == ("someone", "made-up")
    assert (helpers.home / "verb").read_text() == "1 get\n"
    assert (helpers.home / "told").read_text() == ASKED.sent
    assert (helpers.home / "place").read_text() == "/\n"


def test_it_keeps_and_forgets(helpers: Helpers) -> None:
    """By the document that docker sends."""
    helpers.write("cat >$HOME/$1")
    link = helpers.link()
    link.store(ASKED, Credential("someone", "made-up"))
    link.erase(ASKED)
    told = json.loads((helpers.home / "store").read_text())
    assert told == {"ServerURL": ASKED.sent, "Username": "someone", "Secret": "made-up"}
    assert (helpers.home / "erase").read_text() == ASKED.sent


def test_a_long_secret_gets_through(helpers: Helpers) -> None:
    """More than a pipe holds, to one that reads late, and to one that does not read at all."""
    helpers.write("sleep 0.3; cat >$HOME/$1")
    long = "x" * 200_000
    helpers.link().store(ASKED, Credential("someone", long))
    assert json.loads((helpers.home / "store").read_text())["Secret"] == long
    helpers.write("exit 0")
    helpers.link().store(ASKED, Credential("someone", long))


@pytest.mark.parametrize(
    "lines",
    [
        "echo 'credentials not found in native keychain'; exit 1",
        "echo 'error: credentials not found in native keychain (x)' >&2; exit 1",
        "echo 'credentials not found in native keychain'",
        """echo '{"ServerURL":"","Username":"","Secret":""}'""",
        """echo '{"Username":"someone","Secret":""}'""",
    ],
)
def test_not_found_is_said_in_many_ways(helpers: Helpers, lines: str) -> None:
    """Another link is asked then."""
    helpers.write(lines)
    with pytest.raises(NotFound):
        helpers.link().get(ASKED)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"ServerURL":"x","Username":"someone","Secret":"made-up"}', ("someone", "made-up")),
        ('{"username":"someone","secret":"made-up"}', ("someone", "made-up")),
        ('{"Secret":"made-up"}', ("", "made-up")),
        ('{"Username":"","Secret":"made-up"}', ("", "made-up")),
        ('\n {"Username":"someone","Secret":"made-up","More":[1]}\n\n', ("someone", "made-up")),
        ('{"Username":"\\u00e4","Secret":"\\ud83d\\ude00"}', ("\u00e4", "\U0001f600")),
    ],
)
def test_an_answer_is_read_as_docker_reads_it(helpers: Helpers, answer: str, expected: tuple[str, str]) -> None:
    """Keys in whatever case, and more of them."""
    (helpers.home / "answer").write_text(answer)
    helpers.write("cat $HOME/answer")
    assert helpers.link().get(ASKED).expose() == expected


@pytest.mark.parametrize(
    "answer",
    [
        *("", "made-up", "[]", '{"Username":"someone"}', '{"Username":1,"Secret":"made-up"}'),
        *('{"Username":"someone","Secret":"made-up"', '{"Username":"someone","Secret":null}', "null", '"made-up"'),
        *('{"Username":"\\ud800","Secret":"made-up"}', '{"Username":"a\\u0000b","Secret":"made-up"}', "[" * 100_000),
        '{"Username":"someone","Secret":"made-up"} {"Username":"another","Secret":"made-up"}',
    ],
)
def test_what_is_no_answer_is_none(helpers: Helpers, answer: str) -> None:
    """And nothing of it is repeated: it may be a secret."""
    (helpers.home / "answer").write_text(answer)
    helpers.write("cat $HOME/answer")
    assert refused(lambda: helpers.link().get(ASKED)) == "helper-no-answer"


def test_what_it_says_beside_an_answer_is_no_word(helpers: Helpers) -> None:
    """That its cache has nothing, say."""
    helpers.write(f"echo 'cache: credentials not found, asking' >&2; echo '{ANSWER}'")
    assert helpers.link().get(ASKED).expose() == ("someone", "made-up")


def test_hints_name_what_there_is(helpers: Helpers, tmp_path: Path) -> None:
    """A path where it is one, and all of a long name."""
    name = "a" * 60
    helpers.write("exit 1", name)
    place = helpers.write("exit 1").rename(tmp_path / "my cred")
    for link, words in (
        (helpers.link(name), f"docker-credential-{name} get"),
        (helpers.link(str(place)), f"'{place}'"),
    ):
        with pytest.raises(Unavailable) as caught:
            link.get(ASKED)
        assert words in caught.value.hint
    place.chmod(0o644)
    with pytest.raises(Unavailable, match="no program") as caught:
        helpers.link(str(place)).get(ASKED)
    assert "ls -l" in caught.value.hint


def test_bytes_that_are_no_text(helpers: Helpers) -> None:
    """Not UTF-8."""
    (helpers.home / "answer").write_bytes(b'{"Username":"someone","Secret":"\xff"}')
    helpers.write("cat $HOME/answer")
    assert refused(lambda: helpers.link().get(ASKED)) == "helper-no-answer"


@pytest.mark.parametrize("verb", ["get", "store", "erase"])
@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("echo made-up; exit 3", "helper-failed"),
        ("kill -9 $$", "helper-failed"),
        ("echo made-up >&2; exit 1", "helper-failed"),
    ],
)
def test_a_failure_is_one(helpers: Helpers, verb: str, lines: str, code: str) -> None:
    """Whoever it is of, and whatever it says."""
    helpers.write(lines)
    link = helpers.link()
    acts = {
        "get": lambda: link.get(ASKED),
        "store": lambda: link.store(ASKED, Credential("u", "made-up")),
        "erase": lambda: link.erase(ASKED),
    }
    assert refused(acts[verb]) == code


@pytest.mark.parametrize(
    "lines", ["sleep 60", "while :; do echo made-up; done", "exec 1>&- 2>&-; sleep 60", "sleep 60 &"]
)
def test_it_ends_in_time(helpers: Helpers, lines: str) -> None:
    """With all that it has started."""
    helpers.write(lines)
    began = time.monotonic()
    assert refused(lambda: helpers.link(seconds=1.0).get(ASKED)) == "helper-late"
    assert time.monotonic() - began < 10, "the product's own limit for the killed to be gone is one second"


def test_gigabytes_are_dropped(helpers: Helpers) -> None:
    """What comes after the limit is read and not kept."""
    helpers.write("head -c 100000000 /dev/zero")
    assert refused(lambda: helpers.link(seconds=20).get(ASKED)) == "helper-no-answer"


def test_a_forgotten_one_is_forgotten(helpers: Helpers) -> None:
    """Nothing there to erase is success, as docker has it."""
    helpers.write("echo 'credentials not found in native keychain'; exit 1")
    helpers.link().erase(ASKED)


# --- who it may be ----------------------------------------------------------------------------------------------------


def test_it_is_looked_for_on_path(helpers: Helpers, tmp_path: Path) -> None:
    """In directories with absolute paths; what is no program is passed by."""
    helpers.write(f"echo '{ANSWER}'")
    first = tmp_path / "first"
    first.mkdir()
    (first / "docker-credential-other").mkdir()
    second = tmp_path / "second"
    second.mkdir()
    (second / "docker-credential-other").write_text("not to be run")
    helpers.environ[b"PATH"] = b"%b:%b:relative:%b" % (bytes(first), bytes(second), helpers.environ[b"PATH"])
    assert helpers.link().get(ASKED).expose() == ("someone", "made-up")


def test_a_path_is_taken_as_it_is(helpers: Helpers, tmp_path: Path) -> None:
    """With blanks in it, and whatever PATH says."""
    place = tmp_path / "a place"
    place.mkdir()
    helper = helpers.write(f"echo '{ANSWER}'").rename(place / "my helper")
    assert helpers.link(str(helper)).get(ASKED).expose() == ("someone", "made-up")


@pytest.mark.parametrize("name", ["other", "/nowhere/docker-credential-other"])
@pytest.mark.parametrize("path", [b"", b"relative", b"/nowhere"])
def test_one_that_is_missing(helpers: Helpers, name: str, path: bytes) -> None:
    """Is said to be, with where it was looked for."""
    helpers.environ[b"PATH"] = path
    assert refused(lambda: helpers.link(name).get(ASKED)) == "helper-missing"


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda helper: helper.chmod(0o777), id="file"),
        pytest.param(lambda helper: helper.parent.chmod(0o777), id="directory"),
        pytest.param(lambda helper: helper.parent.parent.chmod(0o777), id="directory above"),
    ],
)
def test_others_may_not_have_written_it(helpers: Helpers, harm: Callable[[Path], None]) -> None:
    """It is told passwords."""
    helper = helpers.write(f"echo '{ANSWER}'")
    harm(helper)
    for link in (helpers.link(), helpers.link(str(helper))):
        assert refused(functools.partial(link.get, ASKED)) == "helper-untrusted"


def test_one_of_another_user(helpers: Helpers) -> None:
    """Root may change it, and nobody else."""
    if os.geteuid() != 0:
        lacking("only root can make a file of another user; run as root, in a container for example")
    helper = helpers.write(f"echo '{ANSWER}'")
    os.chown(helper, 54321, 54321)
    assert refused(lambda: helpers.link().get(ASKED)) == "helper-untrusted"


def test_a_link_to_it_is_looked_at_to_its_end(helpers: Helpers, tmp_path: Path) -> None:
    """A trusted link into a directory that all may write is no trusted helper."""
    place = tmp_path / "open"
    place.mkdir()
    helper = helpers.write(f"echo '{ANSWER}'")
    helper.rename(place / "helper")
    helper.symlink_to(place / "helper")
    assert helpers.link().get(ASKED).expose() == ("someone", "made-up")
    place.chmod(0o777)
    assert refused(lambda: helpers.link().get(ASKED)) == "helper-untrusted"


def test_a_link_of_another_user(helpers: Helpers, tmp_path: Path) -> None:
    """In a directory such as /tmp its owner could have it lead elsewhere at any time."""
    if os.geteuid() != 0:
        lacking("only root can make a link of another user; run as root, in a container for example")
    helper = helpers.write(f"echo '{ANSWER}'")
    place = tmp_path / "like tmp"
    place.mkdir()
    place.chmod(0o1777)
    link = place / "docker-credential-other"
    link.symlink_to(helper)
    assert helpers.link(str(link)).get(ASKED).expose() == ("someone", "made-up")
    os.chown(link, 54321, 54321, follow_symlinks=False)
    assert refused(lambda: helpers.link(str(link)).get(ASKED)) == "helper-untrusted"


def test_one_that_cannot_be_started(helpers: Helpers) -> None:
    """The system says so."""
    helper = helpers.write("")
    helper.write_text("#!/nowhere/interpreter\n")
    assert refused(lambda: helpers.link().get(ASKED)) == "helper-broken"


def test_where_processes_are_short(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is at fault who is asked."""
    helpers.write(f"echo '{ANSWER}'")

    def short(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("credhelpers.stores.foreign.child.run_command", short)
    with pytest.raises(Shortage):
        helpers.link().get(ASKED)
    monkeypatch.setattr("credhelpers.stores.foreign.files.is_reserved", short)
    with pytest.raises(Shortage):
        helpers.link().get(ASKED)


# --- circles ----------------------------------------------------------------------------------------------------------


def test_the_router_is_no_link(helpers: Helpers) -> None:
    """Under whatever name, and of whatever installation."""
    (helpers.folder / "docker-credential-other").symlink_to(BIN / "docker-credential-auto")
    assert refused(lambda: helpers.link().get(ASKED)) == "helper-circle"
    assert refused(lambda: helpers.link(str(BIN / "docker-credential-auto")).get(ASKED)) == "helper-circle"


def test_a_restricted_helper_of_ours_may_be_one(helpers: Helpers, home: Path) -> None:
    """It asks no chain."""
    env = environment(home, CREDHELPERS_KEYRING="embedded")
    loaded_call("keyring", "store", document(ASKED.sent, "someone", "made-up"), env)
    helpers.environ |= {name.encode(): value.encode() for name, value in env.items()}
    link = helpers.link(str(BIN / "docker-credential-keyring"), seconds=20)
    assert link.get(ASKED).expose() == ("someone", "made-up")


def test_a_circle_through_others_ends(helpers: Helpers) -> None:
    """A helper that asks us again is told how deep it stands."""
    helpers.write(f"echo $CREDHELPERS_DEPTH >>$HOME/depth; echo '{ANSWER}'")
    for depth in (None, b"1", b"2"):
        helpers.environ |= {} if depth is None else {b"CREDHELPERS_DEPTH": depth}
        helpers.link().get(ASKED)
    assert (helpers.home / "depth").read_text().split() == ["1", "2", "3"]
    for depth in (b"3", b"9", b"", b"-1", b"10", b"x"):
        helpers.environ[b"CREDHELPERS_DEPTH"] = depth
        assert refused(lambda: helpers.link().get(ASKED)) == "helper-circle"


def test_a_program_that_cannot_be_read_is_no_router(helpers: Helpers) -> None:
    """One that is long is none of ours."""
    helper = helpers.write(f"echo '{ANSWER}'; exit\n" + "#" * 70_000)
    assert helpers.link().get(ASKED).expose() == ("someone", "made-up")
    if os.geteuid() == 0:
        need("setpriv", "util-linux")
        return
    helper.chmod(0o711)
    assert helpers.link().get(ASKED).expose() == ("someone", "made-up")
