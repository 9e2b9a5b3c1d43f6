"""What is in a file, and who else could have written it: modes, owners, the private groups of Fedora and Ubuntu."""

from __future__ import annotations

import fcntl
import grp
import os
import posix
import pwd
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import files

if TYPE_CHECKING:
    from collections.abc import Callable

_OWN, _ROOT, _STRANGER = 4331, 0, 4332
_LIMIT = 4096
_PRIVATE, _SHARED, _MIXED, _NAMED, _NOBODYS = 4331, 50, 60, 70, 80


def _status(mode: int, owner: int = _OWN, group: int = _PRIVATE) -> os.stat_result:
    return os.stat_result((0o100000 | mode, 1, 1, 1, owner, group, 0, 0, 0, 0))


@pytest.fixture(autouse=True)
def _databases(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ann` has a group of her own; `bob` has slipped into `carl`'s; `dan`'s first group is shared by all."""
    people = {4331: ("ann", 4331), 4332: ("bob", 4332), 4333: ("carl", 60), 4334: ("dan", 50), 4335: ("eve", 60)}
    groups: dict[int, tuple[str, list[str]]] = {
        4331: ("ann", []),
        4332: ("bob", ["ann"]),
        50: ("users", []),
        60: ("carl", []),
        70: ("ann", []),
    }
    users = {
        number: pwd.struct_passwd((name, "x", number, group, "", "/", "/bin/sh"))
        for number, (name, group) in people.items()
    }
    monkeypatch.setattr(pwd, "getpwuid", users.__getitem__)
    monkeypatch.setattr(pwd, "getpwall", lambda: list(users.values()))
    monkeypatch.setattr(
        grp, "getgrgid", lambda number: grp.struct_group((groups[number][0], "x", number, groups[number][1]))
    )
    monkeypatch.setattr("posix.geteuid", lambda: _OWN)


@pytest.mark.parametrize(
    ("mode", "owner", "group", "may"),
    [
        pytest.param(0o644, 4331, 4331, False, id="nobody"),
        pytest.param(0o664, 4331, 4331, False, id="the owner's private group"),
        pytest.param(0o666, 4331, 4331, True, id="all"),
        pytest.param(0o646, 4331, 4331, True, id="all but the group"),
        pytest.param(0o664, 4331, 4332, True, id="another's private group"),
        pytest.param(0o664, 4332, 4332, True, id="a private group that somebody was added to"),
        pytest.param(0o664, 4334, 50, True, id="a group that is named otherwise, though nobody else is seen in it"),
        pytest.param(0o664, 4333, 60, True, id="a private group that is another's first one"),
        pytest.param(0o664, 4331, 70, True, id="a group of the same name that is not the first one"),
        pytest.param(0o664, 4331, 80, True, id="a group that nobody knows"),
        pytest.param(0o664, 9999, 9999, True, id="an owner that nobody knows"),
        pytest.param(0o664, 2**32 - 1, 4331, True, id="no number of a user"),
    ],
)
def test_who_else_may_write(mode: int, owner: int, group: int, *, may: bool) -> None:
    """Group write counts unless the group is the owner's own and has nobody else in it."""
    assert files.others_may_write(_status(mode, owner, group)) is may


@pytest.mark.parametrize(
    ("owner", "is_trusted"),
    [(_OWN, True), (_ROOT, True), (_STRANGER, False)],
)
def test_whose_file_counts(owner: int, *, is_trusted: bool) -> None:
    """Root's and this user's, and never one that others may write."""
    assert files.is_trusted(_status(0o644, owner)) is is_trusted
    assert not files.is_trusted(_status(0o646, owner))


@pytest.mark.parametrize(
    ("mode", "owner", "is_secret", "is_open"),
    [
        pytest.param(0o600, _OWN, True, False, id="one's own"),
        pytest.param(0o400, _ROOT, True, False, id="root's"),
        pytest.param(0o600, _STRANGER, False, False, id="a stranger's"),
        pytest.param(0o640, _OWN, False, False, id="read by the group"),
        pytest.param(0o610, _OWN, False, False, id="executed by the group"),
        pytest.param(0o660, _OWN, False, False, id="written by the owner's private group"),
        pytest.param(0o604, _OWN, False, True, id="read by all"),
        pytest.param(0o602, _OWN, False, True, id="written by all"),
    ],
)
def test_who_may_know_what_is_in_it(mode: int, owner: int, *, is_secret: bool, is_open: bool) -> None:
    """A private key is its owner's alone; what others are handed is at most a group's."""
    assert files.is_secret(_status(mode, owner)) is is_secret
    assert files.is_open(_status(mode, owner)) is is_open


# --- what is in it ----------------------------------------------------------------------------------------------------


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("size", [0, 1, _LIMIT - 1, _LIMIT])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    """Up to the limit, by a path of bytes or text, through links, and with its own status."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * size)
    file.chmod(0o640)
    (tmp_path / "link").symlink_to("file")

    for path in (str(file), os.fsencode(file), str(tmp_path / "link")):
        content, status = files.read(path, _LIMIT)
        assert content == b"x" * size
        assert os.path.samestat(status, file.stat())
        assert status.st_mode & 0o777 == 0o640


def test_a_file_that_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems give less than was asked for, and that is not the end."""
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 4)
    read = posix.read
    monkeypatch.setattr("credhelpers.files.posix.read", lambda descriptor, count: read(descriptor, min(count, 100)))

    assert files.read(str(file), _LIMIT)[0] == bytes(range(256)) * 4
    with pytest.raises(files.TooLong):
        files.read(str(file), 1023)


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _file(path: Path, size: int) -> Path:
    path.write_bytes(b"x" * size)
    return path


def _socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    return path


def _circle(path: Path) -> Path:
    path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("make", "kind", "is_unread"),
    [
        pytest.param(lambda path: path, FileNotFoundError, False, id="missing"),
        pytest.param(lambda path: _file(path, 1) / "below", NotADirectoryError, False, id="below a file"),
        pytest.param(lambda path: path.parent, IsADirectoryError, False, id="directory"),
        pytest.param(_pipe, files.NotRegular, True, id="pipe that nobody writes"),
        pytest.param(lambda _: Path("/dev/zero"), files.NotRegular, True, id="endless device"),
        pytest.param(lambda _: Path("/dev/null"), files.NotRegular, True, id="empty device"),
        pytest.param(lambda path: _file(path, _LIMIT + 1), files.TooLong, True, id="a byte too long"),
        pytest.param(lambda path: _file(path, 1 << 24), files.TooLong, True, id="much too long"),
        pytest.param(lambda _: Path("/proc/self/mem"), files.Unread, True, id="failing in the middle"),
        pytest.param(_socket, OSError, False, id="socket"),
        pytest.param(_circle, OSError, False, id="circle of links"),
        pytest.param(lambda path: path / "a\0b", ValueError, False, id="no path"),
    ],
)
def test_why_a_file_is_not_read(tmp_path: Path, make: Callable[[Path], Path], kind: type, *, is_unread: bool) -> None:
    """Each kind of failure is told from the others, soon, and leaves nothing open."""
    path = str(make(tmp_path / "file"))
    before = _descriptors()

    with pytest.raises(kind) as caught:
        files.read(path, _LIMIT)

    assert isinstance(caught.value, files.Unread) is is_unread
    if isinstance(caught.value, OSError):
        assert caught.value.errno
        assert caught.value.strerror
    assert _descriptors() == before


def test_no_child_gets_a_file_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptor is closed when a program is started, and opening it waits for nobody."""
    flags = []
    read = posix.read

    def look(descriptor: int, count: int) -> bytes:
        flags.append((fcntl.fcntl(descriptor, fcntl.F_GETFD), fcntl.fcntl(descriptor, fcntl.F_GETFL)))
        return read(descriptor, count)

    monkeypatch.setattr("credhelpers.files.posix.read", look)
    files.read(str(_file(tmp_path / "file", 1)), _LIMIT)

    assert all(own & fcntl.FD_CLOEXEC and shared & os.O_NONBLOCK for own, shared in flags)
    assert flags
