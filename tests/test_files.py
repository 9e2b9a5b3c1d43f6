"""Who else could have written a file: modes, owners, and the private groups of Fedora and Ubuntu."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from credhelpers import files

_OWN, _ROOT, _STRANGER = 4331, 0, 4332
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
