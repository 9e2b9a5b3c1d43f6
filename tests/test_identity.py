"""Two identities never share a key, and one identity keeps its own."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from credhelpers.identity import configuration, fingerprint, home
from tests.harness import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NOWHERE = os.fsencode(NOWHERE)
_VARIABLES = (b"FAKE_KEY", b"FAKE_SECRET", b"FAKE_PROFILE")
_VALUES = st.dictionaries(st.sampled_from(_VARIABLES), st.binary(max_size=6))


def test_the_key_is_a_known_digest() -> None:
    """Forty digits that do not change from one release to the next by accident: everybody would mint again."""
    path = _NOWHERE + b"/config"
    key = fingerprint("ecr eu-west-1", {b"FAKE_KEY": b"A", b"OTHER": b"x"}, _VARIABLES, (path,))
    parts = b"13:ecr eu-west-1" + b"1:A" + b"-" + b"-" + b"%d:%s" % (len(path), path) + b"-"
    assert key == hashlib.blake2b(parts, digest_size=20).hexdigest()


def test_the_key_tells_nothing() -> None:
    """The digest is a digest: neither the access key nor its encoding is in it."""
    key = fingerprint("x", {b"FAKE_KEY": b"AKIAEXAMPLE"}, _VARIABLES)
    assert len(key) == 40
    assert set(key) <= set("0123456789abcdef")
    assert b"AKIAEXAMPLE".hex() not in key


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, database=None)
@given(st.text(max_size=5), _VALUES, st.text(max_size=5), _VALUES)
def test_different_settings_have_different_keys(
    scope: str, one: dict[bytes, bytes], other_scope: str, other: dict[bytes, bytes]
) -> None:
    """CI-7: what is set, what is set to nothing and what is not set differ, and no two values run together."""
    assume((scope, one) != (other_scope, other))
    assert fingerprint(scope, one, _VARIABLES) != fingerprint(other_scope, other, _VARIABLES)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            {b"FAKE_KEY": b"ab", b"FAKE_SECRET": b"c"}, {b"FAKE_KEY": b"a", b"FAKE_SECRET": b"bc"}, id="shifted"
        ),
        pytest.param({b"FAKE_KEY": b""}, {}, id="empty and absent"),
        pytest.param({b"FAKE_KEY": b"-"}, {}, id="the mark of absence"),
        pytest.param({b"FAKE_KEY": b"1:a"}, {b"FAKE_KEY": b"1", b"FAKE_SECRET": b"a"}, id="the mark of length"),
        pytest.param({b"FAKE_KEY": b"a--"}, {b"FAKE_KEY": b"a"}, id="absences as a value"),
        pytest.param({b"FAKE_KEY": b"a"}, {b"FAKE_SECRET": b"a"}, id="another variable"),
    ],
)
def test_settings_do_not_run_together(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    """What an attacker of the joint would try."""
    assert fingerprint("x", one, _VARIABLES) != fingerprint("x", other, _VARIABLES)


def test_a_variable_that_selects_nothing_does_not_count() -> None:
    """Another directory or prompt is the same identity."""
    assert fingerprint("x", {b"PWD": b"/a"}, _VARIABLES) == fingerprint("x", {b"PWD": b"/b"}, _VARIABLES)


def _rewrite_with_the_old_time(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"profile-b")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _swap_by_rename(path: Path) -> None:
    status = path.stat()
    beside = path.with_name("beside")
    beside.write_bytes(b"profile-b")
    os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
    beside.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_bytes(b"another profile"), id="another size"),
        pytest.param(lambda path: path.unlink(), id="removed"),
        pytest.param(_rewrite_with_the_old_time, id="same size, time set back"),
        pytest.param(_swap_by_rename, id="replaced, time set back"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a directory now"),
    ],
)
def test_a_changed_file_is_another_identity(change: object, tmp_path: Path) -> None:
    """CI-7: whatever way the profile was changed, the old token is not used for the new one."""
    path = tmp_path / "config"
    path.write_bytes(b"profile-a")
    before = fingerprint("x", {}, (), (os.fsencode(path),))
    assert fingerprint("x", {}, (), (os.fsencode(path),)) == before
    assert callable(change)
    change(path)
    assert fingerprint("x", {}, (), (os.fsencode(path),)) != before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: os.utime(path, ns=(1, 1)), id="touched"),
        pytest.param(lambda path: path.write_bytes(b"profile-a"), id="written anew"),
        pytest.param(lambda path: (path.rename(f"{path}.old"), path.write_bytes(b"profile-a")), id="replaced"),
    ],
)
def test_the_same_words_are_the_same_identity(change: Callable[[Path], object], tmp_path: Path) -> None:
    """So a file that is written anew costs no mint, and one that is changed within a tick of a clock does."""
    path = tmp_path / "config"
    path.write_bytes(b"profile-a")
    before = fingerprint("x", {}, (), (os.fsencode(path),))
    change(path)
    assert fingerprint("x", {}, (), (os.fsencode(path),)) == before


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["a pipe", "a directory"])
def test_what_is_no_file_is_told_by_its_stamp(make: Callable[[Path], None], tmp_path: Path) -> None:
    """And nobody waits for it."""
    path = tmp_path / "config"
    make(path)
    before = fingerprint("x", {}, (), (os.fsencode(path),))
    assert before not in {fingerprint("x", {}, (), (other,)) for other in (os.fsencode(path) + b"x", _NOWHERE)}
    os.utime(path, ns=(1, 1))
    assert fingerprint("x", {}, (), (os.fsencode(path),)) != before


def test_a_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    """Profiles are switched by links, and what is behind a link changes too."""
    one, other, link = tmp_path / "one", tmp_path / "other", tmp_path / "link"
    one.write_bytes(b"a")
    other.write_bytes(b"b")
    link.symlink_to(one)
    before = fingerprint("x", {}, (), (os.fsencode(link),))
    link.unlink()
    link.symlink_to(other)
    after = fingerprint("x", {}, (), (os.fsencode(link),))
    assert after != before
    other.write_bytes(b"bb")
    assert fingerprint("x", {}, (), (os.fsencode(link),)) != after


@pytest.mark.parametrize("path", [b"", _NOWHERE + b"/x", b"a\0b", b"/etc/passwd/x", b"/" + b"x" * 300, b"\xff"])
def test_a_path_that_cannot_be_read_is_an_absent_file(path: bytes) -> None:
    """Broken settings give a key of their own, never an error."""
    assert fingerprint("x", {}, (), (path,)) != fingerprint("x", {}, (), (_NOWHERE + b"/other",))


def test_the_home_comes_from_the_environment_or_the_password_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """As SDKs find it, and empty for a user that nobody knows."""
    import pwd

    assert home({b"HOME": b"/somewhere"}) == b"/somewhere"
    known = os.fsencode(pwd.getpwuid(os.getuid()).pw_dir)
    assert home({}) == known
    assert home({b"HOME": b""}) == known
    monkeypatch.setattr("credhelpers.identity.posix.getuid", lambda: 54321)
    assert home({}) == b""


def test_a_home_that_is_not_utf_8_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password database may hold any bytes."""
    import pwd

    entry = pwd.struct_passwd(("u", "x", 1, 1, "", os.fsdecode(b"/home/\xff"), "/bin/sh"))
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: entry)
    assert home({}) == b"/home/\xff"


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        pytest.param({}, b"/database/.config/credhelpers/config.toml", id="nothing"),
        pytest.param({b"HOME": b"/h"}, b"/h/.config/credhelpers/config.toml", id="home"),
        pytest.param({b"HOME": b""}, b"/database/.config/credhelpers/config.toml", id="empty home"),
        pytest.param({b"HOME": b"h"}, b"", id="relative home"),
        pytest.param(
            {b"HOME": b"/h", b"XDG_CONFIG_HOME": b"/c"}, b"/c/credhelpers/config.toml", id="configuration's home"
        ),
        pytest.param({b"XDG_CONFIG_HOME": b"/c"}, b"/c/credhelpers/config.toml", id="and no other"),
        pytest.param(
            {b"HOME": b"/h", b"XDG_CONFIG_HOME": b"c"}, b"/h/.config/credhelpers/config.toml", id="a relative one"
        ),
        pytest.param({b"HOME": b"/h", b"XDG_CONFIG_HOME": b""}, b"/h/.config/credhelpers/config.toml", id="empty"),
        pytest.param({b"HOME": b"/h", b"CREDHELPERS_CONFIG": b"/f"}, b"/f", id="named"),
        pytest.param({b"HOME": b"/h", b"CREDHELPERS_CONFIG": b"f"}, b"", id="named by a relative path"),
        pytest.param({b"HOME": b"/h", b"CREDHELPERS_CONFIG": b""}, b"", id="named by nothing"),
    ],
)
def test_where_the_configuration_is(monkeypatch: pytest.MonkeyPatch, environ: dict[bytes, bytes], path: bytes) -> None:
    """Never relative to the directory in which docker was called, and never passed over for want of a variable."""
    monkeypatch.setattr("credhelpers.identity._home_of", lambda _: b"/database")
    assert configuration(environ) == path
