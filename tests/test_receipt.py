"""What a decision was read from: whatever changes is seen, and nothing else is."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credhelpers import plan, receipt, recorder
from credhelpers.receipt import holds
from credhelpers.recorder import Recorder
from credhelpers.servers import Authority
from credhelpers.sources.acr import Acr
from credhelpers.sources.ecr import Ecr
from credhelpers.sources.gcr import Gcr
from credhelpers.sources.vault import Vault
from tests.harness import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.minted import Source

CANARY = b"made-up-secret"


def old(path: Path) -> Path:
    """The file, as if nobody had touched it for an hour: its stamp alone tells of changes then."""
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock an hour from now, since nobody can set back when a file's inode was changed."""
    true = time.time
    monkeypatch.setattr("credhelpers.receipt.time", lambda: true() + 3600)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is looked at."""
    path = tmp_path / "looked at"
    path.write_text("first")
    return path


# --- variables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "is_same"),
    [
        pytest.param({b"A": b"1", b"P_X": b"2"}, True, id="the same"),
        pytest.param({b"A": b"1", b"P_X": b"2", b"B": b"3"}, True, id="one that was not asked for"),
        pytest.param({b"A": b"2", b"P_X": b"2"}, False, id="another value"),
        pytest.param({b"A": b"", b"P_X": b"2"}, False, id="empty"),
        pytest.param({b"P_X": b"2"}, False, id="gone"),
        pytest.param({b"A": b"1", b"N": b"", b"P_X": b"2"}, False, id="one that was not set, empty now"),
        pytest.param({b"A": b"1", b"P_X": b"3"}, False, id="another value below the prefix"),
        pytest.param({b"A": b"1", b"P_X": b"2", b"P_": b""}, False, id="one more below the prefix"),
        pytest.param({b"A": b"1", b"P_Y": b"2"}, False, id="another name below the prefix"),
        pytest.param({b"A": b"1"}, False, id="none below the prefix"),
    ],
)
def test_variables(environ: dict[bytes, bytes], *, is_same: bool) -> None:
    """Also those that were not set when somebody looked, and whatever begins like what was asked for."""
    recorder = Recorder({b"A": b"1", b"P_X": b"2"})

    assert recorder.variable(b"A") == b"1"
    assert recorder.variable(b"N") is None
    assert recorder.variables(b"P_") == {b"P_X": b"2"}
    assert holds(recorder.lines(), recorder.word, environ) == is_same


def test_values_do_not_run_together() -> None:
    """Two variables below a prefix are not one with both of their texts."""
    one = Recorder({b"P_A": b"1", b"P_B": b"2"}, "00")
    one.variables(b"P_")
    for environ in ({b"P_A": b"1P_B2"}, {b"P_A1": b"P_B2"}, {b"P_A": b"", b"1P_B": b"2"}):
        assert not holds(one.lines(), "00", environ)


def test_no_value_is_in_a_receipt() -> None:
    """A secret is in a variable of some; its digest is keyed with a word that nobody can guess."""
    first, second = (Recorder({b"A": CANARY}) for _ in range(2))
    for each in (first, second):
        each.variable(b"A")
        each.variables(b"A")
        assert CANARY.decode() not in repr(each.lines())
    assert [len(line.rpartition(" ")[2]) for line in first.lines()] == [16, 16]
    assert first.word != second.word
    assert set(first.lines()).isdisjoint(second.lines())
    assert not holds(first.lines(), second.word, {b"A": CANARY})


# --- files and directories -------------------------------------------------------------------------------------------


def _replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)


def _instead(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


_CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda path: path.write_text("other"),
    "length": lambda path: path.write_text("first and more"),
    "touched": lambda path: path.touch(),
    "gone": lambda path: path.unlink(),
    "a directory": lambda path: _instead(path, Path.mkdir),
    "mode": lambda path: path.chmod(0o640),
    "another file of the same time": _replaced,
    "a link to nowhere": lambda path: _instead(path, lambda it: it.symlink_to("gone")),
}


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("change", list(_CHANGES.values()), ids=list(_CHANGES))
def test_a_changed_file_is_seen(change: Callable[[Path], object], file: Path) -> None:
    """By its stamp."""
    recorder = Recorder({})
    recorder.file(os.fsencode(file))
    assert holds(recorder.lines(), recorder.word, {})
    time.sleep(0.02)  # longer than a tick of the kernel's clock
    change(file)
    assert not holds(recorder.lines(), recorder.word, {})


def test_a_young_file_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be written within the same tick, with the same length. This kernel's stamps are finer: they are faked."""
    stamp = file.stat()
    monkeypatch.setattr("credhelpers.receipt.posix.stat", lambda _path: stamp)
    recorder = Recorder({})
    recorder.file(os.fsencode(file))
    assert holds(recorder.lines(), recorder.word, {})
    file.write_text("other")
    assert not holds(recorder.lines(), recorder.word, {})
    file.write_text("first")
    assert holds(recorder.lines(), recorder.word, {})
    file.unlink()
    assert not holds(recorder.lines(), recorder.word, {})


def test_an_old_file_is_not_read(file: Path, later: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stamp says enough."""
    recorder = Recorder({})
    recorder.file(os.fsencode(file))
    monkeypatch.setattr("credhelpers.receipt.posix.open", lambda *_: pytest.fail("opened"))
    assert holds(recorder.lines(), recorder.word, {})


@pytest.mark.parametrize(
    "text",
    [
        b'{"type": "service_account", "private_key": "made-up-secret"}',
        b' \n{"private_key": "made-up-secret"}',
        b"-----BEGIN PRIVATE KEY-----made-up-secret",
        b"/tmp/x\nmade-up-secret",
        b"made-up-secret" * 30,
        b"/tmp/" + b"made-up-secret" * 30 + b"/x",
    ],
)
def test_what_can_be_no_path_is_not_written_down(text: bytes) -> None:
    """Somebody put the key where the path of its file belongs."""
    recorder = Recorder({b"A": text})
    recorder.variable(b"A")
    recorder.file(text)
    assert CANARY.decode() not in "".join(recorder.lines())
    assert len(recorder.lines()) == 1


def test_a_young_pipe_is_not_drained(tmp_path: Path) -> None:
    """What is in it is for whoever mints."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    try:
        os.write(writer, b"made-up")
        recorder = Recorder({})
        recorder.file(os.fsencode(path))
        assert holds(recorder.lines(), recorder.word, {})
        assert os.read(reader, 100) == b"made-up"
    finally:
        os.close(reader)
        os.close(writer)


def test_a_young_file_settles(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is not young any more a new look needs no content; an old one never did."""
    recorder = Recorder({})
    recorder.file(os.fsencode(file))
    assert receipt.is_settled(recorder.lines())
    true = time.time
    monkeypatch.setattr("credhelpers.receipt.time", lambda: true() + 3)
    assert not receipt.is_settled(recorder.lines())
    assert holds(recorder.lines(), recorder.word, {}), "it is right, and only dear"
    recorder = Recorder({})
    recorder.file(os.fsencode(file))
    recorder.variable(b"A")
    recorder.file(b"/none")
    assert receipt.is_settled(recorder.lines())


def test_what_was_read_counts_and_not_what_is_there_now(file: Path) -> None:
    """A file that was replaced between reading and noting is another one."""
    with file.open("rb") as stream:
        seen, content = os.fstat(stream.fileno()), stream.read()
    recorder = Recorder({})
    recorder.file(os.fsencode(file), seen, content)
    assert holds(recorder.lines(), recorder.word, {})
    _replaced(file)
    assert not holds(recorder.lines(), recorder.word, {})

    file.write_text("second")
    seen = file.stat()
    recorder = Recorder({})
    recorder.file(os.fsencode(file), seen, b"secon")
    assert not holds(recorder.lines(), recorder.word, {}), "the very stamp, and another content was read"


def test_absent_and_unreadable_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is said of what is not there, the other of what nobody could look at; a link to nowhere is something."""
    (tmp_path / "link").symlink_to("gone")
    rows = [
        (f"{NOWHERE}/x", "-"),
        (f"{tmp_path}/none", "-"),
        (f"{tmp_path}/\0", "!"),
        ("", "-"),
        (f"{tmp_path}/link", "~"),
    ]
    for path, shown in rows:
        recorder = Recorder({})
        recorder.file(os.fsencode(path))
        assert [line.split(" ")[1] for line in recorder.lines()] == [shown]
        assert holds(recorder.lines(), recorder.word, {})
        recorder.directory(os.fsencode(path) or b"/nowhere at all")
        assert [line.split(" ")[1] for line in recorder.lines()] == [shown, shown.replace("~", "-")]
        assert holds(recorder.lines(), recorder.word, {})

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    recorder = Recorder({})
    recorder.file(os.fsencode(tmp_path))
    recorder.directory(os.fsencode(tmp_path))
    for name in ("stat", "listdir"):
        with monkeypatch.context() as patch:
            patch.setattr(f"credhelpers.receipt.posix.{name}", deny)
            assert not holds(recorder.lines(), recorder.word, {})


def test_names_in_a_directory(tmp_path: Path) -> None:
    """They count, and not what is in the files."""
    (tmp_path / "a").write_text("1")
    recorder = Recorder({})
    recorder.directory(os.fsencode(tmp_path))
    (tmp_path / "a").write_text("2")
    assert holds(recorder.lines(), recorder.word, {})
    (tmp_path / "b").touch()
    assert not holds(recorder.lines(), recorder.word, {})


def test_a_young_file_that_cannot_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a stamp all the same."""

    def deny(*_: object) -> None:
        raise OSError(5, "Input/output error")

    for name in ("open", "read"):
        with monkeypatch.context() as patch:
            patch.setattr(f"credhelpers.receipt.posix.{name}", deny)
            recorder = Recorder({})
            recorder.file(os.fsencode(file))
            assert recorder.lines()[0].split(" ")[1].endswith(":!")
            assert holds(recorder.lines(), recorder.word, {})
        assert not holds(recorder.lines(), recorder.word, {})


# --- the form --------------------------------------------------------------------------------------------------------


def test_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then and not after."""
    recorder = Recorder({})
    recorder.until(1000.9)
    for now, is_so in ((999.0, True), (1000.0, False), (2000.0, False)):
        monkeypatch.setattr("credhelpers.receipt.time", lambda now=now: now)
        assert holds(recorder.lines(), recorder.word, {}) == is_so


def test_the_earliest_moment_counts() -> None:
    """Whoever says it, and in whichever order."""
    for moments in ((1000, 2000), (2000, 1000), (1000.9, 1000.1)):
        recorder, other = Recorder({}), Recorder({})
        for moment in moments:
            recorder.until(moment)
        other.until(moments[0])
        both = Recorder({})
        both.until(moments[1])
        both.copy(other.lines())
        assert recorder.lines() == both.lines() == ["until 1000"]


def test_each_thing_is_looked_at_once(file: Path) -> None:
    """What was seen first is what the decision was made from."""
    recorder = Recorder({b"A": b"1"})
    recorder.variable(b"A")
    recorder.file(os.fsencode(file))
    before = recorder.lines()
    file.write_text("later")
    recorder.file(os.fsencode(file))
    recorder.variable(b"A")
    assert recorder.lines() == before
    assert not holds(recorder.lines(), recorder.word, {b"A": b"1"})


def test_what_a_program_sees_of_the_environment() -> None:
    """Enough of a mapping, and each look is written down, also at what is not there."""
    recorder = Recorder({b"A": b"1", b"B": b""})
    seen = recorder.environ
    assert (seen.get(b"A"), seen.get(b"B"), seen.get(b"N"), seen.get(b"M", b"else")) == (b"1", b"", None, b"else")
    assert (b"A" in seen, b"B" in seen, b"O" in seen, seen[b"A"]) == (True, True, False, b"1")
    with pytest.raises(KeyError):
        seen[b"P"]
    assert [line.split(" ")[1] for line in recorder.lines()] == ["A", "B", "N", "M", "O", "P"]
    assert holds(recorder.lines(), recorder.word, {b"A": b"1", b"B": b""})
    for name in (b"N", b"M", b"O", b"P"):
        assert not holds(recorder.lines(), recorder.word, {b"A": b"1", b"B": b"", name: b""})


def test_a_copy_of_a_receipt(file: Path, tmp_path: Path) -> None:
    """It says the same of the same things, and what was seen before stays."""
    first = Recorder({b"A": b"1", b"P_X": b"2"}, "00")
    first.variable(b"A")
    first.variable(b"N")
    first.variables(b"P_")
    for path in (file, tmp_path / "a b", tmp_path / "none"):
        first.file(os.fsencode(path))
    first.directory(os.fsencode(tmp_path))
    first.until(5000000000.9)
    second = Recorder({b"A": b"other"}, "00")
    second.copy(first.lines())
    assert second.lines() == first.lines()
    assert second.lines()[-1] == "until 5000000000"
    file.write_text("later")
    second.file(os.fsencode(file))
    second.variable(b"A")
    assert second.lines() == first.lines()
    third = Recorder({b"A": b"other"}, "00")
    third.variable(b"A")
    third.copy(first.lines())
    assert third.lines() == [*third.lines()[:1], *first.lines()[1:]]
    assert third.lines()[0] != first.lines()[0]


def test_the_head_of_a_cached_token() -> None:
    """A word and the lines, with tabs between them; none of more than a few hundred lines, which would cost a hit."""
    recorder = Recorder({})
    assert (len(recorder.word), recorder.text(), recorder.is_fleeting) == (32, recorder.word, False)
    for number in range(256):
        recorder.variable(b"V%d" % number)
    assert recorder.text().split("\t") == [recorder.word, *recorder.lines()]
    assert len(recorder.lines()) == 256
    recorder.variable(b"one more")
    assert recorder.text() == ""


def test_what_is_plain_is_shown_as_it_is() -> None:
    """Anybody can look for a path in a receipt."""
    plain = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x25)
    recorder = Recorder({})
    recorder.variable(plain)
    recorder.variable(b"% \x7f\xff\t")
    assert recorder.lines() == [f"env {plain.decode()} -", "env %25%20%7F%FF%09 -"]


def test_the_longest_name_is_a_path(tmp_path: Path) -> None:
    """Of 255 bytes, as file systems have it."""
    recorder = Recorder({})
    for length in (255, 256):
        recorder.file(os.fsencode(tmp_path / ("x" * length)))
    assert [line.rpartition("/")[2] for line in recorder.lines()] == ["x" * 255]


def test_what_is_not_there_at_all(file: Path, tmp_path: Path) -> None:
    """A link that leads nowhere is something."""
    (tmp_path / "link").symlink_to("gone")
    found = [recorder.is_absent(os.fsencode(path)) for path in (file, tmp_path, tmp_path / "link", tmp_path / "none")]
    assert found == [False, False, False, True]


_UNREADABLE = [
    *("", " ", "-", "env", "env A", "envs", "envs A", "file", "dir", "until", "what is this", "ENV A -", "Env A -"),
    *("env %4 -", "env %G1 -", "env % -", "env %+1 -", "env A%", "envs %zz -", "file - /none%", "file - /none%x0"),
    *("dir - /none%2", "dir - /none%_1", "file x:y:z:0:0 /none", "file 1:2:3 /none", "file - \u00e9%e", "env \ud800 -"),
    *("until x", "until -1", "until 1.5", "until 99999999999 or so", "until inf", "until nan", f"until {'9' * 5000}"),
]


@pytest.mark.parametrize("line", _UNREADABLE)
def test_a_line_that_nobody_can_read_does_not_hold(line: str) -> None:
    """A newer version may have written it, or a failing disk: a miss, never a hit, and never a defect's line."""
    recorder = Recorder({})
    recorder.variable(b"A")
    recorder.file(b"/none")
    recorder.directory(b"/none")
    good = recorder.lines()
    assert holds(good, recorder.word, {})
    for lines in ([line], [line, *good], [*good, line]):
        assert holds(lines, recorder.word, {}) is False


@pytest.mark.parametrize("word", ["x" * 65, "\ud800"])
def test_a_word_that_keys_nothing_does_not_hold(word: str) -> None:
    """There is no digest to be compared with."""
    assert not holds(["env A 00"], word, {b"A": b"1"})


@pytest.mark.parametrize("part", ["x", "", "1.5", "9" * 5000])
@pytest.mark.parametrize("place", [3, 4])
def test_a_stamp_that_is_no_number_is_no_stamp(place: int, part: str, file: Path) -> None:
    """Whoever asks whether it is settled has no plan then."""
    recorder = Recorder({})
    recorder.file(os.fsencode(file))
    kind, stamp, path = recorder.lines()[0].split(" ", 2)
    parts = stamp.split(":")
    parts[place] = part
    line = f"{kind} {':'.join(parts)} {path}"
    assert not holds([line], recorder.word, {})
    with pytest.raises(ValueError, match=r"invalid literal|digits"):
        receipt.is_settled([line])
    parts[place] = "9" * 400
    assert receipt.is_settled([f"{kind} {':'.join(parts)} {path}"]), "of a file of the future"


_WORDS = st.sampled_from(
    ["env", "envs", "file", "dir", "until", "-", "~", "!", "A", "%", "%4", "%41", "/none", " ", "1"]
)


@settings(max_examples=500, deadline=None, database=None)
@given(st.lists(_WORDS | st.text(max_size=6), max_size=6), st.booleans())
def test_no_line_raises(words: list[str], is_apart: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Whatever it says."""
    line = (" " if is_apart else "").join(words)
    assert holds([line, "no line"], "00", {b"A": b"1"}) is False
    assert holds([line], "00", {b"A": b"1"}) in {True, False}


@settings(max_examples=500, deadline=None, database=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_one_word(name: bytes) -> None:
    """Paths may hold blanks, line ends, and what is no text at all."""
    shown = recorder.shown(name)

    assert shown.isascii()
    assert len(shown.split()) == (1 if name else 0)
    assert receipt.decoded(shown) == name


# --- what proves an identity -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{team}.json", "two\nlines"])
def test_a_file_with_a_name_of_a_secret_is_kept_by_no_receipt(name: str, tmp_path: Path) -> None:
    """What looks like a key is not written down, and a decision that was read from it is not kept."""
    path = os.fsencode(tmp_path / name) if "\n" in name else name.encode()
    recorder = Recorder({})
    recorder.file(path)
    assert recorder.text() == recorder.word, "nothing is there, it may be the key itself"
    with contextlib.chdir(tmp_path):
        (tmp_path / name).write_text("made up")
        recorder.file(path)
    assert (recorder.text(), recorder.text(is_of_failure=True)) == ("", "")


def test_a_proof_is_in_the_receipt_of_a_failure_only(file: Path) -> None:
    """A token is as good after a renewal; what can be no path is a secret where one belongs."""
    recorder = Recorder({})
    for path in (os.fsencode(file), b"", CANARY + b"\n", b'{"token": "%s"}' % CANARY):
        recorder.proof(path)
    assert recorder.lines() == []
    assert len(recorder.lines(is_of_failure=True)) == 1
    assert recorder.text() == recorder.word
    assert CANARY.decode() not in recorder.text(is_of_failure=True)


def test_what_says_where_a_proof_is_is_one() -> None:
    """Another directory of sign-ins is no other identity; and it may hold what was missing."""
    recorder = Recorder({b"WHERE": b"/there"})
    assert recorder.proving.get(b"WHERE") == b"/there"
    assert recorder.proving.get(b"ELSE", b"/else") == b"/else"
    assert recorder.lines() == []
    assert [line.split(" ")[:2] for line in recorder.lines(is_of_failure=True)] == [["env", "WHERE"], ["env", "ELSE"]]
    assert recorder.environ[b"WHERE"] == b"/there"
    assert [line.split(" ")[:2] for line in recorder.lines()] == [["env", "WHERE"]]


def test_of_many_proofs_the_newest_count(tmp_path: Path) -> None:
    """A receipt has room for a few, and the one that is renewed was renewed not long ago."""
    for number in range(100):
        path = tmp_path / f"{number:03}"
        path.touch()
        os.utime(path, (number, number))
    recorder = Recorder({})
    recorder.proof(os.fsencode(tmp_path))
    of_failure = recorder.lines(is_of_failure=True)
    assert len(of_failure) == 33
    assert holds(of_failure, recorder.word, {})
    (tmp_path / "099").write_text("renewed")
    assert not holds(of_failure, recorder.word, {})


_SOURCES: dict[str, Callable[[dict[bytes, bytes]], Source]] = {
    "acr": Acr,
    "ecr": Ecr,
    "gcr": Gcr,
    "vault": Vault,
}
_PROVED: list[tuple[str, str, dict[str, str], dict[bytes, str], str]] = [
    ("ecr", "web identity", {}, {b"AWS_WEB_IDENTITY_TOKEN_FILE": "token"}, "token"),
    ("ecr", "container", {}, {b"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "token"}, "token"),
    ("ecr", "sso", {}, {}, ".aws/sso/cache/0123.json"),
    ("ecr", "cli", {}, {}, ".aws/cli/cache/0123.json"),
    ("ecr", "login", {}, {}, ".aws/login/cache/0123.json"),
    ("ecr", "login elsewhere", {}, {b"AWS_LOGIN_CACHE_DIRECTORY": "logins"}, "logins/0123.json"),
    ("ecr", "web identity of a profile", {}, {}, "from-profile"),
    ("gcr", "federation", {}, {b"GOOGLE_APPLICATION_CREDENTIALS": "federated.json"}, "subject"),
    ("gcr", "gcloud", {"credential": "gcloud"}, {}, ".config/gcloud/access_tokens.db"),
    ("acr", "federation", {}, {b"AZURE_FEDERATED_TOKEN_FILE": "token"}, "token"),
    ("acr", "federation, configured", {"token_file": "token"}, {}, "token"),
    ("acr", "secret", {"client_secret_file": "secret"}, {}, "secret"),
    ("acr", "certificate", {"certificate_file": "pem"}, {}, "pem"),
    ("acr", "az", {}, {}, ".azure/msal_token_cache.json"),
    ("acr", "az's principals", {}, {}, ".azure/service_principal_entries.json"),
    ("acr", "azd", {}, {}, ".azd/auth/msal/cache.bin"),
    ("vault", "secret id", {"auth": "approle", "secret_id_file": "secret-id"}, {}, "secret-id"),
    ("vault", "jwt", {"auth": "jwt", "role": "r", "jwt_file": "jwt"}, {}, "jwt"),
    ("vault", "password", {"auth": "userpass", "login_name": "n", "password_file": "password"}, {}, "password"),
    ("vault", "certificate", {"auth": "cert", "certificate_file": "pem", "key_file": "key"}, {}, "key"),
    ("vault", "aws", {"auth": "aws", "role": "r"}, {b"AWS_WEB_IDENTITY_TOKEN_FILE": "token"}, "token"),
]


@pytest.mark.parametrize(
    ("source", "said", "variables", "proof"),
    [pytest.param(kind, *rest, id=f"{kind}: {name}") for kind, name, *rest in _PROVED],
)
@pytest.mark.parametrize("was_there", [False, True])
def test_a_renewed_proof_changes_a_failure_s_receipt_and_no_token_s(
    tmp_path: Path, source: str, said: dict[str, str], variables: dict[bytes, str], proof: str, *, was_there: bool
) -> None:
    """One world for each way to prove an identity: the file of it is written anew, and nothing else."""
    (tmp_path / ".aws").mkdir()
    profile = (
        "[profile a]",
        "role_arn = arn:aws:iam::111122223333:role/r",
        "web_identity_token_file = {}/from-profile",
    )
    (tmp_path / ".aws/config").write_text("\n".join(profile).format(tmp_path))
    federated = {"type": "external_account", "credential_source": {"file": f"{tmp_path}/subject"}}
    (tmp_path / "federated.json").write_text(json.dumps(federated))
    path = tmp_path / proof
    path.parent.mkdir(parents=True, exist_ok=True)
    if was_there:
        path.write_text("old")
    environ = {b"HOME": os.fsencode(tmp_path)} | {name: os.fsencode(tmp_path / to) for name, to in variables.items()}
    route = plan.Route(Authority("registry.example"), source)
    route.settings = {key: f"{tmp_path}/{value}" if key.endswith("_file") else value for key, value in said.items()}
    recorder = Recorder(environ)
    _SOURCES[source](environ).record(route, recorder)
    of_failure = recorder.lines(is_of_failure=True)
    assert holds(of_failure, recorder.word, environ)

    path.write_text("renewed")

    assert holds(recorder.lines(), recorder.word, environ)
    assert not holds(of_failure, recorder.word, environ)
