"""The directory of tokens: private from the first moment, whole at any moment, and never in the way of an answer."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import cache as caches
from credhelpers import cached_token, mkdir, notes, private
from credhelpers.cache import TokenCache, keep
from credhelpers.cached_token import CachedToken, Failure
from credhelpers.credential import INFINITY, Credential
from credhelpers.errors import NotFound, Unavailable
from credhelpers.minted import Minted
from credhelpers.servers import Authority
from tests.fakes import source as fakes
from tests.harness import environment, lacking, need, patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.source import Clock

_HELPER = [sys.executable, "-I", fakes.__file__]
_BARE = [sys.executable, "-I", "-S", "-c"]
_HOST = "a.one.fake.example"


def _key(number: int) -> str:
    return f"{number:040x}"


_KEY = _key(0xABC)
_NAME = f"fake-{_KEY}"
_COPY = _key(0xC0B)  # the key of a host, under which lies a copy of the minter's token


@pytest.fixture
def cache(folder: Path) -> TokenCache:
    """The cache in it."""
    return TokenCache("fake", os.fsencode(folder))


@pytest.fixture
def told() -> Iterator[Callable[[], list[str]]]:
    """The notes of this test alone."""
    before = len(notes.taken())
    yield lambda: notes.taken()[before:]
    del notes._taken[before:]


def _token(secret: str = "token", life: float = 300) -> Credential:
    now = cached_token.time()  # type: ignore[attr-defined] # the clock that a test may stand still
    return Credential("user", secret, soft=now + life / 3, hard=now + life / 2, expires=now + life)


def _save(cache: TokenCache, key: str = _KEY, host: str = _HOST, secret: str = "token") -> None:
    now = cached_token.time()  # type: ignore[attr-defined] # as above
    cache.save(key, host, _token(secret), now)


def _secret(cache: TokenCache, key: str = _KEY) -> str | None:
    cached = cache.load(key)
    return cached.credential.expose()[1] if isinstance(cached, CachedToken) else None


def _hosts(cache: TokenCache, key: str = _KEY) -> tuple[str, ...]:
    cached = cache.load(key)
    assert isinstance(cached, CachedToken)
    return cached.hosts


def _listed(folder: Path) -> list[str]:
    """The names in a directory."""
    return [path.name for path in folder.iterdir()]


def _snapshot(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Every file below: mode, owner, inode and content."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_uid, status.st_ino, content)
    return found


# --- keeping ---------------------------------------------------------------------------------------------------------


def test_a_token_is_kept_in_the_place_of_the_old_one(cache: TokenCache, folder: Path) -> None:
    """One file per key, and nothing else but the lock files."""
    _save(cache, secret="one")
    _save(cache, secret="two", host="b.one.fake.example")
    assert _secret(cache) == "two"
    assert _hosts(cache) == (_HOST, "b.one.fake.example")
    assert _listed(folder) == [_NAME]


def test_the_names_of_files_tell_no_identity(cache: TokenCache, folder: Path) -> None:
    """CI-8: a name is a kind and a digest; the user name is inside only."""
    _save(cache)
    cache.lock(_KEY)
    cache.lock(_KEY, is_second=True)
    cache.save_failure(_KEY, Failure(NotFound(), 1, 1))
    for name in _listed(folder):
        assert re.fullmatch(r"fake-([0-9a-f]{40}(\.failed)?|lock-[0-9]{2})", name)


def test_hosts_are_capped_and_the_newest_stay(cache: TokenCache) -> None:
    """A cached token that everybody shares does not grow without end, and a host counts once."""
    for number in range(80):
        _save(cache, host=f"h{number}.one.fake.example")
    cache.share(_KEY, "h79.one.fake.example", _COPY)
    assert _hosts(cache) == tuple(f"h{number}.one.fake.example" for number in range(16, 80))
    assert _hosts(cache, _COPY) == ("h79.one.fake.example",)


def test_sharing_changes_nothing_but_the_hosts(cache: TokenCache, clock: Clock, folder: Path) -> None:
    """Nor does it make a cached token where none is; the copy is the same token, for its own host alone."""
    cache.share(_KEY, _HOST, _COPY)
    assert _listed(folder) == []
    _save(cache)
    before = cache.load(_KEY)
    clock.now += 10
    cache.share(_KEY, "b.one.fake.example", _COPY)
    after, copy = cache.load(_KEY), cache.load(_COPY)
    assert isinstance(before, CachedToken)
    for cached, hosts in ((after, (_HOST, "b.one.fake.example")), (copy, ("b.one.fake.example",))):
        assert isinstance(cached, CachedToken)
        assert cached.hosts == hosts
        assert cached.issued == before.issued
        assert cached.credential.tail() == before.credential.tail()
        assert cached.credential.soft == before.credential.soft


def test_sharing_renews_the_copy_and_ends_its_failure(cache: TokenCache) -> None:
    """A host that had an older token, or a failure, has the minter's token from then on."""
    _save(cache, _COPY, secret="old")
    cache.save_failure(_COPY, Failure(Unavailable("a-code", "it rains"), time.time(), 1))
    _save(cache, secret="new")
    cache.share(_KEY, _HOST, _COPY)
    assert _secret(cache, _COPY) == "new"
    assert cache.failure(_COPY) is None


def test_a_token_without_an_end_is_kept(cache: TokenCache) -> None:
    """A source may issue what does not age; infinity has no digits."""
    cache.save(_KEY, _HOST, Credential("user", "for ever"), time.time())
    cached = cache.load(_KEY)
    assert isinstance(cached, CachedToken)
    assert cached.credential.expires < INFINITY
    assert cached.credential.soft > time.time() + 1e9


def test_without_a_directory_nothing_is_kept_and_nothing_fails() -> None:
    """Every method of a cache that is nowhere does as if it were empty."""
    cache = TokenCache("fake", None)
    _save(cache)
    cache.share(_KEY, _HOST, _COPY)
    cache.save_failure(_KEY, Failure(NotFound(), 1, 1))
    cache.erase(_HOST, _KEY)
    assert cache.load(_KEY) is None
    assert cache.failure(_KEY) is None
    assert cache.tokens() == {}
    lock = cache.lock(_KEY)
    assert lock is not None
    lock.release()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(b"/proc/self/credhelpers/x", id="where nothing can be made"),
        pytest.param(b"/dev/null/credhelpers", id="below a file"),
        pytest.param(b"/tmp", id="shared"),
        pytest.param(b"/nul\0", id="NUL"),
        pytest.param(b"/" + b"x" * 300, id="over-long"),
    ],
)
def test_a_directory_that_cannot_be_had_is_no_error(path: bytes, told: Callable[[], list[str]]) -> None:
    """P4: it is noted for an operator, without the path, and everybody may mint."""
    cache = TokenCache("fake", path)
    _save(cache)
    cache.save_failure(_KEY, Failure(NotFound(), 1, 1))
    cache.share(_KEY, _HOST, _COPY)
    assert cache.load(_KEY) is None
    assert cache.failure(_KEY) is None
    assert cache.tokens() == {}
    lock = cache.lock(_KEY)
    assert lock is not None
    lock.release()
    assert all(re.fullmatch(r"cache not (written|locked|read): [A-Za-z ]+", note) for note in told()), told()
    assert told()


def test_making_directories_stops_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that denies its own root is an error, not an endless search for a parent."""

    def deny(path: bytes, mode: int) -> None:
        raise FileNotFoundError(errno.ENOENT, "denied")

    monkeypatch.setattr("credhelpers.mkdir.posix.mkdir", deny)
    with pytest.raises(FileNotFoundError):
        mkdir.make(b"/a/b/")


@pytest.mark.parametrize("is_late", [True, False])
def test_another_process_may_make_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    """Whoever comes second takes what is there, also below a parent that was missing a moment ago."""
    path = tmp_path / "a" / "b"
    true_mkdir = os.mkdir

    def make(target: bytes, mode: int) -> None:
        if target == os.fsencode(path) and ((tmp_path / "a").exists() or not is_late):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        true_mkdir(target, mode)

    monkeypatch.setattr("credhelpers.mkdir.posix.mkdir", make)
    mkdir.make(os.fsencode(path))
    assert path.is_dir()


# --- modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_everything_is_private_from_the_first_moment(mask: int, tmp_path: Path) -> None:
    """CI-1: whatever the mask, each creating call has the narrow mode, and nobody changes a mode afterwards."""
    strace = need("strace", "strace")
    trace = tmp_path / "trace"
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    env = environment(home, XDG_CACHE_HOME=str(home / "deep" / "er"))
    for verb, more in (("get", {}), ("get", {"FAKE_OUTCOME": "unavailable", "FAKE_IDENTITY": "x"}), ("erase", {})):
        subprocess.run(
            [
                strace,
                "-f",
                "-o",
                str(trace),
                "-A",
                "-e",
                "trace=openat,open,creat,mkdir,mkdirat,/chmod",
                *_HELPER,
                verb,
            ],
            input=_HOST.encode(),
            env=env | more,
            capture_output=True,
            check=False,
            umask=mask,
        )
    calls = trace.read_text().splitlines()
    made = [line for line in calls if "O_CREAT" in line and "ENOENT" not in line]
    folders = [line for line in calls if re.search(r"\bmkdir(at)?\(", line)]
    assert len(made) >= 4, "a cached token, a note, a mark and a lock"
    assert all(", 0600) = " in line for line in made), made
    assert len(folders) >= 3
    assert all(", 0700) = " in line for line in folders), folders
    assert not [line for line in calls if "chmod" in line]
    for path in (home / "deep").rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((home / "deep").lstat().st_mode) == 0o700


# --- what stands in the way ------------------------------------------------------------------------------------------


def _give_away(path: Path) -> None:
    if os.geteuid() != 0:
        lacking("only root can give a file away; run as root, in a container for example")
    os.chown(path, 54321, -1)


def _make_device(path: Path) -> None:
    if os.geteuid() != 0:
        lacking("only root can make a device; run as root, in a container for example")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "inside").write_bytes(b"x")


_CHANGES: dict[str, Callable[[Path], None]] = {
    "another owner": _give_away,
    "open to all": lambda path: path.chmod(0o755 if path.is_dir() else 0o666),
}
_STRANGERS: dict[str, Callable[[Path], object]] = {
    "dangling symlink": lambda path: path.symlink_to(path.with_name("nowhere")),
    "fifo": lambda path: os.mkfifo(path, 0o600),
    "directory": _make_folder,
    "device": _make_device,
    "file": lambda path: path.touch(0o600),
}


def _replace_with(kind: str, path: Path, target: Path) -> None:
    """Change a file or directory, or put something strange in its place: a link leads to `target`."""
    if kind in _CHANGES:
        _CHANGES[kind](path)
        return
    if path.is_dir():
        path.rename(path.with_name("moved"))
    else:
        path.unlink()
    if kind == "symlink":
        path.symlink_to(target)
    else:
        _STRANGERS[kind](path)


_KINDS = ["symlink", "dangling symlink", "fifo", "directory", "device", "another owner", "open to all"]


@pytest.mark.parametrize("name", [_NAME, f"{_NAME}.failed", "fake-lock-60", "fake-erased"])
@pytest.mark.parametrize("kind", _KINDS)
def test_something_strange_in_the_place_of_a_file_costs_no_answer(
    kind: str, name: str, cache: TokenCache, folder: Path, tmp_path: Path
) -> None:
    """CI-2: what a link leads to is never opened or changed, and locking, keeping and looking go on."""
    assert int(_KEY[-8:], 16) % 64 == 60
    victim = tmp_path / "victim"
    victim.write_bytes(b"of somebody else")
    victim.chmod(0o600)
    _save(cache)
    (folder / name).touch(0o600)
    beside = tmp_path / "the same file"
    os.link(folder / name, beside)
    _replace_with(kind, folder / name, victim)
    before = beside.stat().st_mode, beside.read_bytes() if beside.is_file() else b"", victim.read_bytes(), victim.stat()
    started = time.monotonic()
    if name == _NAME:
        assert cache.load(_KEY) is None
    cache.share(_KEY, _HOST, _COPY)
    lock = cache.lock(_KEY)
    assert lock is not None
    cache.failure(_KEY)
    cache.save_failure(_KEY, Failure(Unavailable("a-code", "x"), time.time(), 1))
    _save(cache, secret="new")
    cache.tokens()
    lock.release()
    assert time.monotonic() - started < patience(1)
    if name != _NAME or kind != "directory":
        assert _secret(cache) == "new"
    after = victim.stat()
    assert (beside.stat().st_mode, beside.read_bytes()) == before[:2]
    for word in ("st_mode", "st_uid", "st_mtime_ns", "st_atime_ns", "st_ctime_ns"):
        assert getattr(after, word) == getattr(before[3], word)
    assert not (folder / "nowhere").exists()
    assert not [left for left in _listed(folder) if left.startswith(".")]


@pytest.mark.parametrize(
    "kind", ["symlink", "dangling symlink", "fifo", "device", "another owner", "open to all", "file"]
)
def test_something_strange_in_the_place_of_the_directory_is_left_alone(kind: str, tmp_path: Path) -> None:
    """CI-2: it is neither read nor written nor changed, the executable still answers, and nothing goes elsewhere."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    env = environment(
        home, CREDHELPERS_CACHE_DIR=str(home / "cache"), TMPDIR=str(tmp_path), FAKE_LOG=str(tmp_path / "log")
    )
    assert _run("get", env).returncode == 0
    _replace_with(kind, home / "cache", victim)
    before = _snapshot(tmp_path)
    mints = (tmp_path / "log").read_text().count("\n")
    for count in (1, 2):
        done = _run("get", env)
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout)["ServerURL"] == _HOST
        assert (tmp_path / "log").read_text().count("\n") == mints + count, "a cached token from there must not be used"
    after = _snapshot(tmp_path)
    before.pop("log")
    after.pop("log")
    assert after == before


def _run(verb: str, env: dict[str, str], host: str = _HOST, seconds: float = 30) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*_HELPER, verb], input=host.encode(), env=env, capture_output=True, timeout=seconds, check=False
    )


@pytest.mark.parametrize(
    "name", ["id_ed25519", "known_hosts", "pack-" + "a" * 40 + ".pack", "fakes-" + "b" * 40, "a-" + "c" * 40]
)
def test_files_of_others_in_the_directory_are_never_touched(name: str, cache: TokenCache, folder: Path) -> None:
    """Somebody may have named ~/.ssh or a directory of git's: only names that are ours alone are ever removed."""
    others = [name, f"{name}.failed", f".{name}", f".{name}.123", "config.d"]
    for other in others[:-1]:
        (folder / other).write_bytes(b"precious")
        os.utime(folder / other, (0, 0))
    (folder / "config.d").mkdir()
    (folder / os.fsdecode(b"fake-\xff-" + b"d" * 40)).write_bytes(b"precious")
    for number in range(300):
        (folder / f"other-{number:040x}").write_bytes(b"precious")
    before = _snapshot(folder)
    for number in range(3):
        _save(cache, _key(number))
    cache.save_failure(_KEY, Failure(NotFound(), 1, 1))
    cache.tokens()
    cache.erase(_HOST, _key(1))
    after = _snapshot(folder)
    del before["."]
    assert {path: after.get(path) for path in before} == before


def test_pruning_keeps_the_newest(cache: TokenCache, folder: Path, clock: Clock) -> None:
    """CI-8: rotating identities leave 256 cached tokens, the youngest ones, and no old debris."""
    _save(cache, _key(0))
    content = (folder / f"fake-{_key(0)}").read_bytes()
    clock.now = time.time()
    for number in range(1, 300):
        path = folder / f"fake-{_key(number)}"
        path.write_bytes(content)
        os.utime(path, (clock.now - 1000 + number, clock.now - 1000 + number))
    (folder / f"fake-{_key(0)}").unlink()
    debris = [
        f".fake-{_key(1)}.77",
        f".fake-{_key(1)}.failed.77",
        f"fake-{_key(2)}.failed",
        ".fake-erased.5",
        "fake-erased",
    ]
    fresh = [f".fake-{_key(3)}.78", f"fake-{_key(3)}.failed"]
    for name in debris:
        (folder / name).touch()
        os.utime(folder / name, (clock.now - 3700, clock.now - 3700))
    for name in fresh:
        (folder / name).touch()
    _save(cache, _key(1000))
    left = set(_listed(folder))
    kept = {name for name in left if re.fullmatch(r"fake-[0-9a-f]{40}", name)}
    assert kept == {f"fake-{_key(number)}" for number in (*range(45, 300), 1000)}
    assert not left & set(debris)
    assert left >= set(fresh)


def test_pruning_does_not_mind_what_others_remove(
    cache: TokenCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes prune at once; a file that is gone is what was wanted."""
    _save(cache)
    (folder / f"fake-{_key(5)}").symlink_to("gone")
    true_listdir = os.listdir
    monkeypatch.setattr("credhelpers.cache.posix.listdir", lambda where: [*true_listdir(where), f"fake-{_key(6)}"])
    _save(cache, secret="again")
    assert _secret(cache) == "again"


def test_another_keeper_prunes_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the files of a kind, too, what is gone after they were listed is what was wanted."""
    true_listdir = os.listdir
    monkeypatch.setattr("credhelpers.cache.posix.listdir", lambda where: [*true_listdir(where), "thing-0123"])
    keep(os.fsencode(folder), b"thing-4567", b"content")
    assert (folder / "thing-4567").read_bytes() == b"content"


def test_erase_finds_what_an_older_version_has_kept(cache: TokenCache, folder: Path) -> None:
    """It is a miss here, and would be answered again after a step back."""
    for name, host in ((_NAME, _HOST), (f"fake-{_COPY}", "other.example")):
        path = folder / name
        path.write_bytes(b"credhelpers-cache 1 0123\n1 2 3 4\na.example %s\n\n,an answer" % host.encode())
        path.chmod(0o600)
    assert cache.load(_KEY) is None
    cache.erase(_HOST)
    assert [name for name in _listed(folder) if re.fullmatch(r"fake-[0-9a-f]{40}", name)] == [f"fake-{_COPY}"]


def test_a_newer_format_is_left_alone(cache: TokenCache, folder: Path, clock: Clock) -> None:
    """CI-4: a miss for this version, and the same after keeping, sharing (from it and onto it) and pruning."""
    clock.now = time.time()
    newer = folder / _NAME
    newer.write_bytes(b"credhelpers-cache 4 whatever\nelse")
    newer.chmod(0o600)
    os.utime(newer, (0, 0))
    before = _snapshot(folder)[_NAME]
    assert cache.load(_KEY) is None
    _save(cache)
    cache.share(_KEY, _HOST, _COPY)
    _save(cache, _COPY)
    cache.share(_COPY, _HOST, _KEY)
    (folder / f"fake-{_COPY}").unlink()
    for number in range(300):
        path = folder / f"fake-{_key(number)}"
        path.touch()
        os.utime(path, (1000 + number, 1000 + number))
    _save(cache, _key(1000))
    assert _snapshot(folder)[_NAME] == before
    assert len([name for name in _listed(folder) if re.fullmatch(r"fake-[0-9a-f]{40}", name)]) == 257
    cache.erase(_HOST, _KEY)
    assert not newer.exists(), "but to forget is to forget"


@pytest.mark.parametrize("content", [b"credhelpers-cache x y\n", b"credhelpers-cache", b"other 9 x\n", b""])
def test_a_broken_entry_is_replaced(content: bytes, cache: TokenCache, folder: Path) -> None:
    """What is of no format is not of a newer one."""
    (folder / _NAME).write_bytes(content)
    (folder / _NAME).chmod(0o600)
    _save(cache)
    assert _secret(cache) == "token"


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(NotFound(), (NotFound, "credentials not found in native keychain", ""), id="not found"),
        pytest.param(Unavailable("a-code", "it rains", "wait"), (Unavailable, "it rains", "wait"), id="unavailable"),
        pytest.param(Unavailable("a-code", "it rains"), (Unavailable, "it rains", ""), id="no hint"),
        pytest.param(Unavailable("a-code", "é\ud800"), (Unavailable, "\\xe9\\ud800", ""), id="not ASCII"),
    ],
)
def test_a_failure_is_remembered(
    error: NotFound | Unavailable, told: tuple[type, str, str], folder: Path, cache: TokenCache, clock: Clock
) -> None:
    """With its meaning, its words, its moment and what it cost."""
    cache.save_failure(_KEY, Failure(error, clock.now, 2.5))
    failure = cache.failure(_KEY)
    assert failure is not None
    assert (type(failure.error), failure.error.message, failure.error.hint) == told
    assert (failure.at, failure.took) == (clock.now, 2.5)
    causes = TokenCache("fake", os.fsencode(folder), {cached_token.DEBUG: b"1"})
    assert causes.failure(_KEY) is None, "for who looks for causes"
    assert cache.failure(_key(1)) is None
    clock.now -= 1
    assert cache.failure(_KEY) is None, "of another clock"


@pytest.mark.parametrize("is_denial", [True, False])
def test_a_denial_is_remembered_as_one(cache: TokenCache, *, is_denial: bool) -> None:
    """Else who asks a second time would get what was denied the first time."""
    error = type("Denied", (Unavailable,), {"is_denial": is_denial})("a-code", "not for you")
    cache.save_failure(_KEY, Failure(error, time.time(), 1))
    failure = cache.failure(_KEY)
    assert failure is not None
    assert isinstance(failure.error, Unavailable)
    assert failure.error.is_denial == is_denial


def test_a_token_ends_the_memory_of_a_failure(cache: TokenCache) -> None:
    """Whoever comes next hears of the token."""
    cache.save_failure(_KEY, Failure(NotFound(), time.time(), 1))
    _save(cache)
    assert cache.failure(_KEY) is None


def test_a_failure_is_what_a_hit_finds_where_no_token_is(cache: TokenCache) -> None:
    """And beside a token it is found by who asks for it only."""
    failure = Failure(Unavailable("a-code", "it rains"), time.time(), 1)
    cache.save_failure(_KEY, failure)
    found = cache.load(_KEY)
    assert isinstance(found, Failure)
    assert found.error.message == "it rains"
    _save(cache)
    cache.save_failure(_KEY, failure)
    assert isinstance(cache.load(_KEY), CachedToken)
    assert cache.failure(_KEY) is not None


@pytest.mark.parametrize("how", ["save", "erase"])
def test_what_ends_a_failure_ends_it_under_all_keys(how: str, cache: TokenCache, folder: Path) -> None:
    """A minter and its hosts remember the same failure; those of other minters, and of other kinds, stay."""
    same, other = (
        Failure(Unavailable("a-code", "it rains"), time.time(), 1),
        Failure(Unavailable("a-code", "it snows"), time.time(), 1),
    )
    for number in range(1, 4):
        cache.save_failure(_key(number), same)
    cache.save_failure(_key(4), other)
    TokenCache("else", os.fsencode(folder)).save_failure(_key(1), same)
    if how == "save":
        _save(cache, _key(1))
    else:
        cache.erase(_HOST, _key(2))
    left = {name for name in _listed(folder) if name.endswith(".failed")}
    assert left == {f"fake-{_key(4)}.failed", f"else-{_key(1)}.failed"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"1\n",
        b"1 2\nNotFound\n\n\n\n",
        b"1 2\nNotFound\n\n\n\n\n\n",
        b"x y\nNotFound\n\n\n\n\n",
        b"1 2 3\nNotFound\n\n\n\n\n",
        b"\xff",
    ],
)
def test_a_broken_failure_is_none(body: bytes, cache: TokenCache, folder: Path) -> None:
    """CI-4, with a right checksum too."""
    name = f"{_NAME}.failed"
    path = folder / name
    path.write_bytes(cached_token.head_of(name.encode(), body) + b"\n" + body)
    path.chmod(0o600)
    assert cache.failure(_KEY) is None
    path.write_bytes(body)
    assert cache.failure(_KEY) is None


# --- forgetting ------------------------------------------------------------------------------------------------------


def test_erase_forgets_the_host_for_every_identity(cache: TokenCache, folder: Path, clock: Clock) -> None:
    """And leaves the tokens of other hosts; an expired one goes too, for a clock may be set back."""
    _save(cache, _key(1))
    _save(cache, _key(2), host="b.one.fake.example", secret="second")
    cache.share(_key(2), _HOST, _key(4))
    _save(cache, _key(3), host="b.one.fake.example", secret="third")
    cache.save("e" * 40, _HOST, _token(life=10), clock.now)
    cache.save_failure(_key(1), Failure(NotFound(), clock.now, 1))
    cache.save_failure(_key(9), Failure(NotFound(), clock.now, 1))
    clock.now += 20
    cache.erase(_HOST, _key(9))
    assert {name for name in _listed(folder) if not name.endswith("erased")} == {f"fake-{_key(3)}"}
    cache.erase(_HOST, _key(9))


def test_erase_takes_the_copies_for_other_hosts_too(cache: TokenCache, folder: Path) -> None:
    """The token is one: it must not go on answering under another name, not even that of before the last renewal."""
    _save(cache, _key(1), secret="old")
    cache.share(_key(1), "b.one.fake.example", _key(2))
    cache.share(_key(1), "c.one.fake.example", _key(3))
    cache.share(_key(1), _HOST, _key(4))
    _save(cache, _key(1), secret="new")
    cache.share(_key(1), "b.one.fake.example", _key(2))
    _save(cache, _key(5), host="d.two.fake.example", secret="of another order")
    cache.erase(_HOST, _key(4))
    assert {name for name in _listed(folder) if not name.endswith("erased")} == {f"fake-{_key(5)}"}


def test_erase_takes_the_order_where_only_the_copy_names_the_host(cache: TokenCache, folder: Path) -> None:
    """A minter names its newest 64 hosts."""
    _save(cache, _key(1), host=_HOST)
    cache.share(_key(1), _HOST, _key(2))
    for number in range(70):
        _save(cache, _key(1), host=f"h{number}.one.fake.example")
    assert _HOST not in _hosts(cache, _key(1))
    cache.erase(_HOST, _key(2))
    assert _secret(cache, _key(1)) is None


def test_erase_takes_the_order_where_nothing_names_the_host_any_more(cache: TokenCache, folder: Path) -> None:
    """Its copy was pruned, and the token has more hosts than it names: that one would answer again."""
    now = time.time()
    cache.save(_KEY, "h0.example", Credential("u", "s", expires=now + 600), now)
    for number in range(1, 70):
        cache.share(_KEY, f"h{number}.example", _key(number))
    cache.erase("h0.example")
    assert cache.load(_KEY) is None


def test_a_share_keeps_no_more_files_than_a_save(cache: TokenCache, folder: Path) -> None:
    """One token may answer for many hosts and paths."""
    now = time.time()
    cache.save(_KEY, "h0.example", Credential("u", "s", expires=now + 600), now)
    for number in range(1, 270):
        cache.share(_KEY, f"h{number}.example", _key(number))
    assert len(cache.tokens()) == 256


def test_root_makes_nothing_in_somebody_elses_home(tmp_path: Path) -> None:
    """As under `sudo -E docker pull`: a directory of root's there would cost its owner the cache for good."""
    if os.geteuid() != 0:
        lacking("only root can do so; run as root, in a container for example")
    alice = tmp_path / "alice"
    alice.mkdir()
    os.chown(alice, 54321, -1)
    now = time.time()
    for folder, is_kept in ((alice / ".cache/credhelpers", False), (tmp_path / "own/.cache/credhelpers", True)):
        cache = TokenCache("fake", os.fsencode(folder))
        cache.save(_KEY, _HOST, Credential("u", "s", expires=now + 600), now)
        lock = cache.lock(_KEY)
        assert lock
        lock.release()
        cache.erase(_HOST)
        assert folder.exists() == is_kept
    assert list(alice.iterdir()) == []


def test_of_files_named_alike_the_newest_stay(tmp_path: Path) -> None:
    """Plans of configurations that are not there any more, and what killed writers left; and nothing else."""
    folder = tmp_path / "cache"
    names = [f"plan-0123456789abcdef{number:016x}" for number in range(41)]
    for number, name in enumerate(names[:40]):
        keep(os.fsencode(folder), name.encode(), b"x")
        os.utime(folder / name, (number, number))
    others = ["plan-of-mine", f"plan-{'g' * 32}", f"plan-{'a' * 31}", f"other-{'a' * 32}", f".plan-{'a' * 32}.2"]
    for name in [*others, f".plan-{'a' * 32}.1"]:
        (folder / name).write_text("x")
    os.utime(folder / f".plan-{'a' * 32}.1", (1, 1))
    keep(os.fsencode(folder), names[40].encode(), b"x")
    assert sorted(_listed(folder)) == sorted([*others, *names[25:]])


def test_erase_of_nothing_is_success(cache: TokenCache, tmp_path: Path) -> None:
    """P20: no cached token, no directory, or no directory there at all."""
    cache.erase(_HOST, _KEY)
    TokenCache("fake", os.fsencode(tmp_path / "absent")).erase(_HOST, _KEY)
    (tmp_path / "file").touch(0o600)
    TokenCache("fake", os.fsencode(tmp_path / "file")).erase(_HOST, _KEY)
    assert not (tmp_path / "absent").exists()


def _refuse_marks(monkeypatch: pytest.MonkeyPatch, number: int, times: int) -> None:
    """Let the first marks fail as on a full or read-only disk."""
    left = [times]
    replace = TokenCache._replace

    def refuse(cache: TokenCache, folder: int, name: bytes, body: bytes, began: float | None = None) -> None:
        if name.endswith(b"-erased") and left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        replace(cache, folder, name, body, began)

    monkeypatch.setattr(TokenCache, "_replace", refuse)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_erase_without_a_mark_where_nobody_mints(
    cache: TokenCache, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Who would have to see the mark is not there: with a lock file that nobody holds, or none at all."""
    _refuse_marks(monkeypatch, number, 99)
    cache.erase(_HOST, _KEY)
    _save(cache)
    lock = cache.lock(_KEY)
    assert lock
    lock.release()
    cache.erase(_HOST, _KEY)
    assert _secret(cache) is None
    assert not [name for name in _listed(folder) if name.endswith("erased")]


def test_erase_without_a_mark_while_somebody_mints(cache: TokenCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """He would keep what he gets, so it is no success; but what lay there has gone."""
    _save(cache)
    lock = cache.lock(_KEY)
    assert lock
    _refuse_marks(monkeypatch, errno.ENOSPC, 99)
    with pytest.raises(Unavailable, match=r"cannot be erased: No space left on device$") as raised:
        cache.erase(_HOST, _KEY)
    assert "df -h" in raised.value.hint
    assert _secret(cache) is None
    lock.release()


def test_what_goes_makes_room_for_the_mark(cache: TokenCache, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try fails, the cached token goes, and then whoever mints is told all the same."""
    _save(cache)
    lock = cache.lock(_KEY)
    assert lock
    _refuse_marks(monkeypatch, errno.ENOSPC, 1)
    cache.erase(_HOST, _KEY)
    assert _secret(cache) is None
    assert [name for name in _listed(folder) if name.endswith("erased")]
    lock.release()


def test_what_a_read_only_disk_refuses_to_remove(cache: TokenCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so before it looks: what is not there is removed already, and what is there is not."""
    _save(cache)

    def refuse(_name: object, *, dir_fd: int) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("credhelpers.private.posix.unlink", refuse)
    _refuse_marks(monkeypatch, errno.EROFS, 99)
    cache.erase("other.one.fake.example", _key(9))
    with pytest.raises(Unavailable, match=r"Read-only file system$") as raised:
        cache.erase(_HOST, _KEY)
    assert "`mount`" in raised.value.hint
    assert _secret(cache) == "token"


def test_erase_takes_what_cannot_be_read(cache: TokenCache, folder: Path) -> None:
    """A cached token that is unreadable now may be readable later, and then its token would be back."""
    _save(cache, _key(1))
    (folder / f"fake-{_key(1)}").chmod(0o640)
    broken = folder / f"fake-{_key(2)}"
    broken.write_bytes(b"credhelpers-cache 3 of the future\n")
    broken.chmod(0o600)
    body = b"no lines"
    odd = folder / f"fake-{_key(3)}"
    odd.write_bytes(cached_token.head_of(odd.name.encode(), body) + b"\n" + body)
    odd.chmod(0o600)
    cache.erase(_HOST, _key(9))
    assert not (folder / f"fake-{_key(1)}").exists()
    assert broken.exists()
    assert odd.exists()


@pytest.mark.parametrize("harm", ["open to all", "another owner", "a directory for a file"])
def test_erase_says_if_it_cannot_forget(harm: str, cache: TokenCache, folder: Path) -> None:
    """A directory that is put right tomorrow would answer again, so success would be a lie."""
    _save(cache)
    if harm == "a directory for a file":
        _replace_with("directory", folder / _NAME, folder)
    else:
        _replace_with(harm, folder, folder)
    with pytest.raises(Unavailable, match=r"^the cached token cannot be erased: [A-Za-z ]+$") as raised:
        cache.erase(_HOST, _KEY)
    assert str(folder) not in raised.value.message + raised.value.hint


def test_a_mint_that_began_before_an_erase_is_not_kept(cache: TokenCache, clock: Clock) -> None:
    """CI-9: under the same key, and under that of an identity that had no token yet."""
    began = clock.now
    clock.now += 1
    cache.erase(_HOST, _KEY)
    for key in (_KEY, _key(77)):
        cache.save(key, _HOST, _token(), began)
        assert cache.load(key) is None
    clock.now += 1
    cache.save(_KEY, _HOST, _token(), clock.now)
    assert cache.load(_KEY) is not None


def test_an_erase_of_another_clock_does_not_count(cache: TokenCache, clock: Clock) -> None:
    """Else a clock that was ten years ahead would end all keeping."""
    clock.now += 315_360_000
    cache.erase(_HOST, _KEY)
    clock.now -= 315_360_000
    _save(cache)
    assert cache.load(_KEY) is not None


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", ["open", "write", "fsync", "close", "replace"])
@pytest.mark.parametrize(("how", "nth"), [("save", 1), ("share", 1), ("share", 2), ("fail", 1)])
def test_an_erase_at_any_moment_of_a_write_wins(
    how: str, nth: int, step: str, *, is_before: bool, cache: TokenCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI-9: right before and right after each system call of the writer, of the minter's token and of the copy."""
    _save(cache, secret="old")
    cache.share(_KEY, _HOST, _key(1))
    true_call = getattr(os, step)
    moments = ["the moment to erase"]
    if nth == 2:
        moments.append("the moment to wait for")

    def call(*words: object, **named: object) -> object:
        is_mine = bool(moments) and (step != "open" or words[1] == private._CREATE)
        if is_mine:
            moments.pop()
            is_mine = not moments
        if is_mine and is_before:
            cache.erase(_HOST, _key(1))
        result = true_call(*words, **named)
        if is_mine and not is_before:
            cache.erase(_HOST, _key(1))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(f"credhelpers.cache.posix.{step}", call)
        if how == "save":
            cache.save(_KEY, _HOST, _token("new"), time.time())
        elif how == "fail":
            cache.save_failure(_KEY, Failure(NotFound(), time.time(), 0))
        else:
            cache.share(_KEY, "b.one.fake.example", _COPY)
    assert not moments, "it came"
    assert cache.load(_KEY) is None
    assert cache.load(_COPY) is None
    assert cache.load(_key(1)) is None
    assert not [name for name in _listed(folder) if name.startswith(".")]


@pytest.mark.parametrize("step", ["mark", "listing", "unlink"])
def test_a_sharer_who_began_during_an_erase_does_not_bring_the_token_back(
    step: str, cache: TokenCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI-9: it has read the minter's token after the mark and puts it back when everything has been looked through."""
    _save(cache)
    cache.share(_KEY, _HOST, _key(1))
    names = {"mark": "replace", "listing": "listdir", "unlink": "unlink"}
    true_call, true_read, true_create = getattr(os, names[step]), cached_token.read_token, private.create
    moments = ["the moment to begin"]
    held: list[Callable[[], None]] = []

    def call(*words: object, **named: object) -> object:
        if step == "unlink" and str(words[0]).startswith("b'fake-"):  # the first cached token goes
            clock.now += 0.002
            begin()
        result = true_call(*words, **named)
        clock.now += 0.002
        if step != "unlink":
            begin()
        return result

    def begin() -> None:
        if moments:
            moments.clear()
            began = clock.now
            folder = private.open_directory(cache._path or b"")
            old = true_read(folder, _NAME.encode())
            os.close(folder)
            assert isinstance(old, CachedToken), "it is there still"

            def go_on() -> None:
                folder = private.open_directory(cache._path or b"")
                try:
                    cache._keep(
                        folder, f"fake-{_COPY}".encode(), CachedToken(old.credential, ("b",), old.issued), began
                    )
                finally:
                    os.close(folder)

            held.append(go_on)

    def create(folder: int, name: bytes) -> int:
        if held and b"erased" in name:  # the second look begins: all that was read is put back right before it
            held.pop()()
        return true_create(folder, name)

    with monkeypatch.context() as patch:
        patch.setattr(f"credhelpers.cache.posix.{names[step]}", call)
        patch.setattr("credhelpers.cache.private.create", create)
        cache.erase(_HOST, _key(1))
    assert not held
    assert not moments
    assert [cache.load(key) for key in (_KEY, _COPY, _key(1))] == [None] * 3


def test_two_who_erase_do_not_hinder_each_other(cache: TokenCache) -> None:
    """`docker logout` erases four spellings, and somebody may do so twice at once."""
    errors: list[BaseException] = []

    def erase() -> None:
        for _ in range(15):
            code = "import sys; from credhelpers.cache import TokenCache; TokenCache('fake', sys.argv[1].encode())"
            try:
                subprocess.run(
                    [sys.executable, "-I", "-S", "-c", f"{_SITE}{code}.erase({_HOST!r}, {_KEY!r})", cache._path or b""],
                    check=True,
                )
            except subprocess.CalledProcessError as error:
                errors.append(error)

    pair = [threading.Thread(target=erase) for _ in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert not errors


_SITE = f"import sys; sys.path[:0] = {[path for path in sys.path if 'site-packages' in path]!r}; "


# --- locks -----------------------------------------------------------------------------------------------------------


def test_one_holds_the_lock_and_the_next_gets_it(cache: TokenCache) -> None:
    """Never two, never a wait; keys of another lock file or kind are free meanwhile."""
    lock = cache.lock(_KEY)
    assert lock is not None
    assert cache.lock(_KEY) is None
    assert cache.lock(_key(0xABC + 64)) is None, "the same lock file"
    other = cache.lock(_key(0xABD))
    assert other is not None
    kind = TokenCache("faketoken", cache._path).lock(_KEY)
    assert kind is not None, "of a kind that is needed to mint this one"
    kind.release()
    lock.release()
    lock.release()
    again = cache.lock(_KEY)
    assert again is not None
    again.release()
    other.release()


def test_a_lock_that_cannot_be_let_go_is_noted(
    cache: TokenCache, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    """Letting go is the last thing that a call does; it must not cost the answer."""
    lock = cache.lock(_KEY)
    assert lock is not None
    descriptor = lock.descriptor

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.cache.posix.close", fail)
        lock.release()
    os.close(descriptor)
    assert told() == ["cache not unlocked: Input/output error"]


def test_a_file_system_without_locks_lets_everybody_mint(
    cache: TokenCache, monkeypatch: pytest.MonkeyPatch, told: Callable[[], list[str]]
) -> None:
    """FA-4: NFS without a lock daemon."""

    def fail(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("credhelpers.cache.fcntl.flock", fail)
    before = set(_listed(Path("/proc/self/fd")))
    for _ in range(2):
        lock = cache.lock(_KEY)
        assert lock is not None
        assert lock.descriptor == -1
    assert set(_listed(Path("/proc/self/fd"))) == before
    assert told() == ["cache not locked: No locks available"] * 2


_WORKER = """
import os, sys, time
from credhelpers.cache import TokenCache
folder, rounds = sys.argv[1], int(sys.argv[2])
cache = TokenCache("fake", os.fsencode(folder + "/cache"))
for _ in range(rounds):
    while (lock := cache.lock("0" * 40)) is None:
        time.sleep(0.0005)
    os.mkdir(folder + "/occupied")  # fails if somebody else is in
    with open(folder + "/counter", "r+") as file:
        count = int(file.read() or 0)
        file.seek(0)
        file.write(str(count + 1))
    os.rmdir(folder + "/occupied")
    lock.release()
"""


def test_no_two_processes_hold_a_lock_at_once(tmp_path: Path) -> None:
    """CO-7: 8 processes, 500 times each, watched by a marker and by a counter."""
    (tmp_path / "counter").touch()
    workers = [
        subprocess.Popen([sys.executable, "-I", "-c", _WORKER, str(tmp_path), "500"], stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    for worker in workers:
        assert worker.communicate(timeout=120)[1] == b""
        assert worker.returncode == 0
    assert (tmp_path / "counter").read_text() == "4000"


# --- many processes --------------------------------------------------------------------------------------------------

_SAVER = """
import os, sys, time
from credhelpers.cache import TokenCache
from credhelpers.credential import Credential
folder, number = sys.argv[1], int(sys.argv[2])
cache = TokenCache("fake", os.fsencode(folder))
sys.stdin.read()  # all start at once
now = time.time()
for count in range(4):
    token = Credential("u", "s", expires=now + 60)
    cache.save(f"{number + 1000 * count:040x}", f"h{number}.one.fake.example", token, now)
"""


def test_64_processes_with_64_keys_keep_64(tmp_path: Path) -> None:
    """CO-1: four rounds at once, as many as a cache holds, and nobody's key is lost."""
    cache = TokenCache("fake", os.fsencode(tmp_path / "cache"))
    workers = [
        subprocess.Popen([*_BARE, _SITE + _SAVER, str(tmp_path / "cache"), str(n)], stdin=subprocess.PIPE)
        for n in range(64)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    for worker in workers:
        assert worker.wait(60) == 0
    kept = {host for cached in cache.tokens().values() for host in cached.hosts}
    assert kept == {f"h{number}.one.fake.example" for number in range(64)}
    assert len(cache.tokens()) == 256
    assert not [name for name in _listed(tmp_path / "cache") if name.startswith(".")]


_WRITER = """
import os, sys, time
from credhelpers.cache import TokenCache
from credhelpers.credential import Credential
cache = TokenCache("fake", os.fsencode(sys.argv[1]))
until = time.monotonic() + float(sys.argv[2])
count = 0
while time.monotonic() < until:
    count += 1
    now = time.time()
    cache.save("0" * 40, "h", Credential("u", f"{count}-" * 3000 + "end", expires=now + 60), now)
print(count)
"""
_READER = """
import os, sys, time
from credhelpers.cache import TokenCache
cache = TokenCache("fake", os.fsencode(sys.argv[1]))
until = time.monotonic() + float(sys.argv[2])
reads = torn = 0
while time.monotonic() < until:
    reads += 1
    cached = cache.load("0" * 40)
    secret = cached.credential.expose()[1] if cached else ""
    number = secret.partition("-")[0]
    torn += secret != f"{number}-" * 3000 + "end"
print(reads, torn)
"""


def test_readers_never_see_a_half(tmp_path: Path) -> None:
    """CO-2: one writes, eight read, for some seconds, and every read is a whole token."""
    cache = TokenCache("fake", os.fsencode(tmp_path / "cache"))
    cache.save("0" * 40, "h", Credential("u", "0-" * 3000 + "end", expires=time.time() + 60), time.time())
    words = [str(tmp_path / "cache"), "4"]
    writer = subprocess.Popen([*_BARE, _SITE + _WRITER, *words], stdout=subprocess.PIPE)
    readers = [subprocess.Popen([*_BARE, _SITE + _READER, *words], stdout=subprocess.PIPE) for _ in range(8)]
    assert int(writer.communicate(timeout=60)[0]) > 50
    for reader in readers:
        reads, torn = map(int, reader.communicate(timeout=60)[0].split())
        assert reads > 50
        assert torn == 0


# --- faults ----------------------------------------------------------------------------------------------------------

_TRACED = "openat,newfstatat,fstat,read,write,fsync,flock,close,getdents64,/^(rename|unlink|mkdir).*"


class Renewal:
    """A `get` that must mint, over a cache directory in which one system call fails."""

    def __init__(self, tmp_path: Path) -> None:
        self.cache = tmp_path / "home" / "cache"
        self.cache.parent.mkdir(mode=0o700)
        self.env = environment(self.cache.parent, CREDHELPERS_CACHE_DIR=str(self.cache))
        self._strace = need("strace", "strace")
        self._trace = tmp_path / "trace"

    def prepare(self, state: str) -> None:
        """No cache at all, or one with a token that is past its hard expiry, a failure and an erase."""
        if self.cache.exists():
            for path in self.cache.iterdir():
                path.unlink()
            self.cache.rmdir()
        if state == "expired":
            now = time.time()
            cache = TokenCache("fake", os.fsencode(self.cache))
            cache.erase("other.one.fake.example", _KEY)
            environ = {os.fsencode(name): os.fsencode(value) for name, value in self.env.items()}
            key, receipt = fakes.copy(_HOST, environ)
            old = Credential("nobody", "old", soft=1, hard=1, expires=now + 60)
            cache.save(key, _HOST, old, now, receipt)
            cache.save_failure(key, Failure(Unavailable("a-code", "x"), now - 60, 1, receipt))

    def run(self, traced: str, *inject: str) -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
        """The call, and the lines of its trace that are about the cache."""
        done = subprocess.run(
            [self._strace, "-y", "-o", str(self._trace), "-e", f"trace={traced}", *inject, *_HELPER, "get"],
            input=_HOST.encode(),
            env=self.env,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done, self._trace.read_text().splitlines()

    def calls(self, state: str) -> list[tuple[str, int]]:
        """Every system call on the cache: its name, and the how manieth of that name in the process it is."""
        self.prepare(state)
        done, lines = self.run(_TRACED)
        assert done.returncode == 0
        counts: dict[str, int] = {}
        found = []
        for line in lines:
            name = line.partition("(")[0]
            counts[name] = counts.get(name, 0) + 1
            if str(self.cache) in line:
                found.append((name, counts[name]))
        assert {"openat", "flock", "fsync", "write", "close"} <= {name for name, _ in found}
        return found

    def sweep(self, state: str, fault: str, calls: list[tuple[str, int]]) -> None:
        """Let each of the calls fail once; each time there is an answer, and after it a whole cached token or none."""
        for name, number in calls:
            where = f"{state}: {fault} at {name} {number}"
            self.prepare(state)
            done, lines = self.run(name, "-e", f"inject={name}:{fault}:when={number}")
            hit = [line for line in lines if "INJECTED" in line or "SIGKILL" in line]
            assert hit, where
            if fault.startswith("error"):
                assert str(self.cache) in hit[0], (where, "the calls before are not the same every time", hit)
                assert (done.returncode, done.stderr) == (0, b""), (where, done)
                assert json.loads(done.stdout)["ServerURL"] == _HOST, where
            else:
                assert done.stdout == b"" or json.loads(done.stdout)["ServerURL"] == _HOST, where
            left = [path.name for path in self.cache.glob(".*")] if self.cache.exists() else []
            # A temporary file stays only where the process died, or where removing it is what failed.
            assert len(left) <= (fault.startswith("signal") or name.startswith("unlink")), (where, left)
            again = self.ask()
            found = self.helper().ready(Authority(_HOST))
            assert found, (where, "it is found again")
            assert found.answer(_HOST) == again, (where, "so it was whole")

    def helper(self) -> Minted:
        """What answers next, in this process: all that a call leaves behind is files."""
        environ = {os.fsencode(name): os.fsencode(value) for name, value in self.env.items()}
        return Minted(fakes.FakeSource(environ), environ, fakes.owned)

    def ask(self) -> bytes:
        """The answer of the next `get`, found or minted as `protocols.docker` does it."""
        helper = self.helper()
        found = helper.ready(Authority(_HOST))
        if not found or time.time() >= found.hard:
            found = helper.get(Authority(_HOST))
        return found.answer(_HOST)


@pytest.fixture
def renewal(tmp_path: Path) -> Renewal:
    """The call whose faults are swept."""
    return Renewal(tmp_path)


_ANY_CALL = "openat newfstatat fstat read write fsync flock close getdents64 rename renameat unlink unlinkat mkdir"
_FAULTS = {  # what may come of a call, from its manual
    "EIO": _ANY_CALL,
    "EINTR": "openat read write fsync flock close",
    "ENOSPC": "openat write fsync rename renameat mkdir",
    "EDQUOT": "openat write mkdir",
    "EACCES": "openat rename renameat unlink unlinkat mkdir",
    "EROFS": "openat rename renameat unlink unlinkat mkdir",
    "EMFILE": "openat",
    "ENFILE": "openat",
    "EAGAIN": "openat",
    "ENOLCK": "flock",
    "ENOSYS": "flock",
    "EOPNOTSUPP": "flock",
}


@pytest.mark.slow
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_failing_system_call_costs_no_answer(error: str, renewal: Renewal) -> None:
    """FA-1, FA-11, the quick part: the first and the last call of each kind on the cache fails."""
    calls = [call for call in renewal.calls("expired") if call[0] in _FAULTS[error].split()]
    first, last = dict(reversed(calls)), dict(calls)
    renewal.sweep("expired", f"error={error}", list(dict.fromkeys((*first.items(), *last.items()))))


def _sample(calls: list[tuple[str, int]], size: int) -> list[tuple[str, int]]:
    """As many of the calls, by a seed, in their order."""
    return sorted(random.Random(5).sample(calls, min(size, len(calls))), key=calls.index)


@pytest.mark.slow
@pytest.mark.parametrize("error", list(_FAULTS))
@pytest.mark.parametrize("state", ["cold", "expired"])
def test_any_failing_system_call_costs_no_answer_sample(state: str, error: str, renewal: Renewal) -> None:
    """FA-1, FA-4, FA-11: a call on the cache fails, in each way that calls can."""
    calls = [call for call in renewal.calls(state) if call[0] in _FAULTS[error].split()]
    renewal.sweep(state, f"error={error}", _sample(calls, 6))


@pytest.mark.long
@pytest.mark.parametrize("error", list(_FAULTS))
@pytest.mark.parametrize("state", ["cold", "expired"])
def test_any_failing_system_call_costs_no_answer_whole(
    state: str, error: str, renewal: Renewal, proof: Callable[[str, str], None]
) -> None:
    """FA-1, FA-4, FA-11: each call on the cache fails once, in each way that it can."""
    calls = [call for call in renewal.calls(state) if call[0] in _FAULTS[error].split()]
    renewal.sweep(state, f"error={error}", calls)
    proof(
        f"cache: a system call that fails with {error} costs no answer and leaves no half of a file ({state})",
        f"{len(calls)} of {len(calls)} calls",
    )


@pytest.mark.slow
@pytest.mark.parametrize("state", ["cold", "expired"])
def test_a_kill_at_any_system_call_leaves_nothing_broken_sample(state: str, renewal: Renewal) -> None:
    """FA-2: killed at a call on the cache, the next `get` mints or finds a whole cached token."""
    renewal.sweep(state, "signal=SIGKILL", _sample(renewal.calls(state), 12))


@pytest.mark.long
@pytest.mark.parametrize("state", ["cold", "expired"])
def test_a_kill_at_any_system_call_leaves_nothing_broken_whole(
    state: str, renewal: Renewal, proof: Callable[[str, str], None]
) -> None:
    """FA-2: killed at each call on the cache."""
    calls = renewal.calls(state)
    renewal.sweep(state, "signal=SIGKILL", calls)
    proof(
        f"cache: a kill at a system call leaves it whole, and the next call answers ({state})",
        f"{len(calls)} of {len(calls)} calls",
    )


@pytest.mark.parametrize("step", ["write", "fsync", "renameat"])
def test_a_kill_in_the_middle_of_a_write_leaves_the_cache_whole(step: str, renewal: Renewal) -> None:
    """FA-2, the quick part."""
    calls = [call for call in renewal.calls("expired") if call[0] == step]
    assert calls
    renewal.sweep("expired", "signal=SIGKILL", calls)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGALRM"])
@pytest.mark.parametrize("step", ["write", "fsync", "renameat"])
def test_a_writer_that_is_told_to_stop_cleans_up_first(step: str, name: str, renewal: Renewal) -> None:
    """FA-10: no temporary file is left, whichever signal comes in the middle of a write."""
    number = next(number for call, number in renewal.calls("cold") if call == step)
    renewal.prepare("cold")
    done, lines = renewal.run(step, "-e", f"inject={step}:signal={name}:when={number}")
    assert [line for line in lines if name in line]
    assert b"Traceback" not in done.stderr
    assert not list(renewal.cache.glob(".*"))
    assert [path.name for path in renewal.cache.glob("fake-*")], "what was begun is done"


def test_a_full_disk_costs_no_answer(tmp_path: Path) -> None:
    """FA-3: a file system of 64 KiB without room: the token comes, no temporary file is left, the old one stays."""
    if os.geteuid() != 0:
        lacking("only root can mount a small file system; run as root, in a container for example")
    unshare = need("unshare", "util-linux")
    script = """
mount -t tmpfs -o size=64k,mode=0700 none "$1" || exit 99
FAKE_LIFE="1000 0 9000" "$2" -I "$3" get > "$4/first" < "$4/host" || exit 98
mkdir "$4/before" && cp "$1"/fake-* "$4/before"
head -c 1000000 /dev/zero > "$1/ballast" 2>/dev/null
"$2" -I "$3" get > "$4/second" 2> "$4/error" < "$4/host"
echo $? > "$4/code"
for file in "$4"/before/*; do cmp "$file" "$1/${file##*/}" || exit 97; done
ls -A "$1" > "$4/names"
"""
    (tmp_path / "host").write_text(_HOST)
    mounted = tmp_path / "mounted"
    mounted.mkdir(mode=0o700)
    done = subprocess.run(
        [unshare, "-m", "sh", "-c", script, "sh", str(mounted), sys.executable, fakes.__file__, str(tmp_path)],
        env=environment(tmp_path, CREDHELPERS_CACHE_DIR=str(mounted)),
        capture_output=True,
        check=False,
    )
    if done.returncode == 99:
        lacking("no file system can be mounted here; run as root with CAP_SYS_ADMIN")
    assert done.returncode == 0, done
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "error").read_bytes() == b""
    first, second = (json.loads((tmp_path / name).read_bytes()) for name in ("first", "second"))
    assert first["Secret"] != second["Secret"]
    assert len((tmp_path / "names").read_text().split()) >= 3, "the minter's token, the host's and the ballast"
    assert not [name for name in (tmp_path / "names").read_text().split() if name.startswith(".")]


def _as_unknown(home: Path, command: list[str]) -> list[str]:
    """The command as a user without a name, with the package in a place that this user can enter."""
    if os.geteuid() != 0:
        lacking("only root can become another user; run as root, in a container for example")
    packages = home.parent / "packages"
    shutil.copytree(Path(caches.__file__).parent, packages / "credhelpers")
    shutil.copy(fakes.__file__, packages / "fake.py")
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else command[0]
    script = f"import runpy, sys; sys.path.append({str(packages)!r})\nrunpy.run_module('fake', run_name='__main__')"
    become = [need("setpriv", "util-linux"), "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    return [*become, python, "-I", "-S", "-c", script, command[-1]]


def _limited(_home: Path, command: list[str]) -> list[str]:
    return ["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *command]


def _in_read_only_home(home: Path, command: list[str]) -> list[str]:
    home.chmod(0o500)
    if os.geteuid() != 0:
        return command
    os.chown(home, 54321, 54321)
    return _as_unknown(home, command)


def _in_own_home(home: Path, command: list[str]) -> list[str]:
    os.chown(home, 54321, 54321)
    return _as_unknown(home, command)


@pytest.mark.parametrize(
    ("dress", "more", "is_kept"),
    [
        pytest.param(_limited, {}, False, id="no file may have a byte"),
        pytest.param(lambda _home, command: command, {"HOME": "/proc/nowhere"}, False, id="home is nowhere"),
        pytest.param(_in_read_only_home, {}, False, id="read-only home"),
        pytest.param(_as_unknown, {"HOME": ""}, False, id="unknown user without home"),
        pytest.param(_as_unknown, {}, False, id="unknown user with the home of another"),
        pytest.param(_in_own_home, {}, True, id="unknown user with an own home"),
    ],
)
def test_wherever_it_runs_there_is_an_answer(
    dress: Callable[[Path, list[str]], list[str]], more: dict[str, str], *, is_kept: bool, home: Path, entered: Path
) -> None:
    """FA-3: no room, no right, no home, no name: the token comes, nothing is left behind or put into /tmp."""
    command = dress(home, [*_HELPER, "get"])
    env = {name: value for name, value in (environment(home) | more).items() if value}
    before = set(_listed(Path("/tmp")))
    for _ in range(2):
        done = subprocess.run(command, input=_HOST.encode(), env=env, capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, b""), done
        assert json.loads(done.stdout)["ServerURL"] == _HOST
    home.chmod(0o700)
    kept = [path.name for path in home.rglob("*") if path.is_file()]
    assert any(re.fullmatch("fake-[0-9a-f]{40}", name) for name in kept) == is_kept
    assert not [name for name in kept if name.startswith(".")]
    assert not [name for name in set(_listed(Path("/tmp"))) - before if "credhelpers" in name or "fake" in name]


def test_a_failing_read_is_a_miss(cache: TokenCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that can be opened but not listed, a cached token that can be opened but not read."""
    _save(cache)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.cache.posix.listdir", fail)
        assert cache.tokens() == {}
        with pytest.raises(Unavailable, match="Input/output error"):
            cache.erase(_HOST, _KEY)
    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.cached_token.posix.read", fail)
        assert cache.load(_KEY) is None


def _descriptors(process: int) -> list[str]:
    """What a process has open."""
    found = []
    for link in Path(f"/proc/{process}/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def test_no_child_inherits_what_the_cache_has_open(cache: TokenCache, folder: Path) -> None:
    """CO-6: neither the lock nor the directory is in a process that was started while the lock is held."""
    lock = cache.lock(_KEY)
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, close_fds=False)
    try:
        assert not [link for link in _descriptors(child.pid) if link.startswith(str(folder))]
        assert [link for link in _descriptors(os.getpid()) if link.startswith(str(folder))], "the lock is held here"
    finally:
        child.communicate()
        assert lock is not None
        lock.release()
