"""What a hit believes: its own file, whole, private, of this format, and in time."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credhelpers import cached_token, private
from credhelpers.cache import TokenCache
from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NotFound, Unavailable
from credhelpers.recorder import Recorder
from credhelpers.servers import Authority
from tests.harness import lacking, need

if TYPE_CHECKING:
    from tests.fakes.source import Clock

_KEY = "0123456789abcdef" * 2 + "01234567"
_NAME = f"fake-{_KEY}"


def _token(now: float, secret: str = "token") -> Credential:
    return Credential("user", secret, soft=now + 100, hard=now + 200, expires=now + 300)


def _keep(folder: Path, now: float | None = None, secret: str = "token") -> Path:
    """A cached token as the cache writes it, and its file."""
    moment = time.time() if now is None else now
    TokenCache("fake", os.fsencode(folder)).save(_KEY, "a.fake.example", _token(moment, secret), moment)
    return folder / _NAME


def _listed(folder: Path) -> list[str]:
    """The names in a directory."""
    return [path.name for path in folder.iterdir()]


def _load(folder: Path) -> cached_token.CachedToken | None:
    found = cached_token.load(os.fsencode(folder), [_NAME.encode()], {})
    assert not isinstance(found, cached_token.Failure)
    return found


# --- where -----------------------------------------------------------------------------------------------------------


def test_the_directory_that_is_chosen_wins(tmp_path: Path) -> None:
    """`CREDHELPERS_CACHE_DIR` before all others, and one that is empty or relative means no cache."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environ = {b"HOME": b"/home/u", b"XDG_CACHE_HOME": b"/cache", b"XDG_RUNTIME_DIR": os.fsencode(runtime)}
    assert cached_token.directory(environ | {b"CREDHELPERS_CACHE_DIR": b"/chosen"}) == b"/chosen"
    assert cached_token.directory(environ | {b"CREDHELPERS_CACHE_DIR": b""}) is None
    assert cached_token.directory(environ | {b"CREDHELPERS_CACHE_DIR": b"chosen"}) is None
    assert cached_token.directory(environ) == os.fsencode(runtime / "credhelpers")


def test_a_runtime_directory_that_is_gone_does_not_count(tmp_path: Path) -> None:
    """The variable may have outlived its session; one that cannot be looked at just now has not."""
    environ = {b"HOME": b"/h", b"XDG_RUNTIME_DIR": os.fsencode(tmp_path / "ended")}
    assert cached_token.directory(environ) == b"/h/.cache/credhelpers"
    (tmp_path / "file").touch()
    environ[b"XDG_RUNTIME_DIR"] = os.fsencode(tmp_path / "file/below")
    assert cached_token.directory(environ) == b"/h/.cache/credhelpers"


def test_a_runtime_directory_that_cannot_be_looked_at_keeps_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """An erase that looks elsewhere would say that it is done, and the token would be answered again."""

    def fail(_path: bytes) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("credhelpers.cached_token.posix.stat", fail)
    environ = {b"HOME": b"/h", b"XDG_RUNTIME_DIR": b"/run/user/1"}
    assert cached_token.directory(environ) == b"/run/user/1/credhelpers"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({}, None, id="nothing set"),
        pytest.param({b"HOME": b""}, None, id="empty home"),
        pytest.param({b"HOME": b"home"}, None, id="relative home"),
        pytest.param({b"HOME": b"/h"}, b"/h/.cache/credhelpers", id="home"),
        pytest.param({b"HOME": b"/h", b"XDG_CACHE_HOME": b"/c"}, b"/c/credhelpers", id="cache home"),
        pytest.param({b"HOME": b"/h", b"XDG_CACHE_HOME": b"c"}, b"/h/.cache/credhelpers", id="relative cache home"),
        pytest.param({b"HOME": b"/h", b"XDG_RUNTIME_DIR": b"/tmp"}, b"/h/.cache/credhelpers", id="shared runtime"),
        pytest.param({b"HOME": b"/h", b"XDG_RUNTIME_DIR": b"/a\0b"}, b"/h/.cache/credhelpers", id="NUL in a path"),
        pytest.param({b"HOME": b"/h", b"XDG_RUNTIME_DIR": b"run"}, b"/h/.cache/credhelpers", id="relative runtime"),
        pytest.param({b"XDG_RUNTIME_DIR": b"/tmp"}, None, id="never a shared directory"),
        pytest.param({b"TMPDIR": b"/tmp"}, None, id="never a temporary one"),
    ],
)
@pytest.mark.usefixtures("homeless")
def test_without_a_home_there_is_no_cache(environ: dict[bytes, bytes], expected: bytes | None) -> None:
    """The order of design, and never a directory that others share."""
    assert cached_token.directory(environ) == expected


@pytest.mark.usefixtures("homeless")
def test_the_runtime_directory_of_another_user_is_not_used(tmp_path: Path) -> None:
    """`sudo -E` leaves the variable of somebody else."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    _give_away(runtime)
    assert cached_token.directory({b"XDG_RUNTIME_DIR": os.fsencode(runtime)}) is None


# --- by which name ---------------------------------------------------------------------------------------------------


def test_the_name_of_a_copy_is_a_known_digest() -> None:
    """Of host, path and chosen identity, each with its length before it: another version finds what this one keeps."""
    environ = {b"CREDHELPERS_IDENTITY": b"prod"}
    key = cached_token.host_key(Authority("https://A.example:443/team/app"), environ)
    parts = (b"a.example", b"/team/app", b"prod")
    digest = hashlib.blake2b(b"".join(b"%d:%s" % (len(part), part) for part in parts), digest_size=20).hexdigest()
    assert key == digest[:-1] + "0"
    assert cached_token.slots(key) == [digest[:-1] + number for number in "0123"]


def test_no_two_hosts_share_a_name() -> None:
    """Nor two paths of one, nor two identities; what means the whole registry has one name."""
    asked = [
        *(
            ("a.example", b""),
            ("b.example", b""),
            ("a.example:5000", b""),
            ("a.example", b"prod"),
            ("a.example/x", b""),
        ),
        *(("a.example/x", b"prod"), ("a.example/x/y", b""), ("a.example", b"test"), ("docker.io", b"")),
    ]
    keys = [
        cached_token.host_key(Authority(server), {b"CREDHELPERS_IDENTITY": name} if name else {})
        for server, name in asked
    ]
    assert len({key[:-1] for key in keys}) == len(asked)
    whole = ("a.example", "https://a.example", "a.example/v2/", "A.example:443")
    assert {cached_token.host_key(Authority(server), {b"CREDHELPERS_IDENTITY": b""}) for server in whole} == {keys[0]}


# --- a failure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(NotFound("a-code", "no identity"), NotFound, id="not found"),
        pytest.param(Unavailable("a-code", "it rains", "wait"), Unavailable, id="unavailable"),
        pytest.param(Unavailable("a-code", "not for you", "ask"), Unavailable, id="denied"),
    ],
)
def test_a_failure_is_found_where_no_token_is(
    error: HelperError, kind: type[HelperError], folder: Path, clock: Clock
) -> None:
    """With all that it said, and until a token is there."""
    if isinstance(error, Unavailable):
        error.is_denial = error.hint == "ask"
    cache = TokenCache("fake", os.fsencode(folder))
    cache.save_failure(_KEY, cached_token.Failure(error, clock.now, 2.25))

    def load() -> cached_token.CachedToken | cached_token.Failure | None:
        return cached_token.load(os.fsencode(folder), [b"fake-none", _NAME.encode()], {})

    found = load()
    assert isinstance(found, cached_token.Failure)
    assert type(found.error) is kind
    assert (found.error.code, found.error.message, found.error.hint) == ("a-code", error.message, error.hint)
    if isinstance(found.error, NotFound):
        assert found.error.cause == "no identity"
    if isinstance(found.error, Unavailable):
        assert found.error.is_denial == (error.hint == "ask")
    assert (found.at, found.took, found.receipt) == (clock.now, 2.25, "")
    clock.now += 1e9
    assert load(), "who asks says how long it counts"
    clock.now -= 1e9 + 0.002
    assert load() is None, "of another clock"
    clock.now += 0.002
    now = clock.now
    TokenCache("fake", os.fsencode(folder)).save(f"{_KEY[:-1]}8", "a.fake.example", _token(now), now)
    both = [_NAME.encode(), f"{_NAME[:-1]}8".encode()]
    assert isinstance(cached_token.load(os.fsencode(folder), both, {}), cached_token.CachedToken), "a token goes first"


def test_only_what_holds_is_found(folder: Path) -> None:
    """Of tokens and failures, by their receipts: the first in the order of the names, and never another identity's."""
    now = time.time()
    cache = TokenCache("fake", os.fsencode(folder))
    key = cached_token.host_key(Authority("a.fake.example"), {})
    names = [f"fake-{slot}".encode() for slot in cached_token.slots(key)]
    environs = [{b"WHO": b"%d" % number} for number in range(4)]
    for number, environ in enumerate(environs):
        recorder = Recorder(environ)
        recorder.variable(b"WHO")
        if number < 3:
            cache.save(key, "a.fake.example", _token(now, f"of {number}"), now, recorder.text())
        else:
            cache.save_failure(key, cached_token.Failure(Unavailable("a-code", "it rains"), now, 1, recorder.text()))
    for number, environ in enumerate(environs):
        found = cached_token.load(os.fsencode(folder), names, environ)
        if number < 3:
            assert isinstance(found, cached_token.CachedToken)
            assert found.credential.expose()[1] == f"of {number}"
        else:
            assert isinstance(found, cached_token.Failure)
            assert found.receipt == recorder.text()
    assert cached_token.load(os.fsencode(folder), names, {}) is None
    assert cached_token.load(os.fsencode(folder), names, {b"WHO": b"4"}) is None


@pytest.mark.parametrize("place", range(7))
def test_a_failure_with_a_line_less_is_none(place: int, folder: Path) -> None:
    """Or with words for times, or with bytes that are no text."""
    cache = TokenCache("fake", os.fsencode(folder))
    cache.save_failure(_KEY, cached_token.Failure(Unavailable("a-code", "it rains", "wait"), time.time(), 1))
    path = folder / f"{_NAME}.failed"
    lines = path.read_bytes().split(b"\n")[1:]
    assert len(lines) == 7
    for body in (b"\n".join(lines[:place] + lines[place + 1 :]), b"\n".join([*lines[:place], b"\xff", *lines[place:]])):
        path.write_bytes(cached_token.head_of(path.name.encode(), body) + b"\n" + body)
        assert cached_token.load(os.fsencode(folder), [_NAME.encode()], {}) is None


# --- what is believed ------------------------------------------------------------------------------------------------


def test_what_was_kept_is_found(folder: Path) -> None:
    """A token, its times in whole seconds, its host and when it was minted."""
    now = time.time()
    _keep(folder, now, "s3kr3t")
    found = _load(folder)
    assert found is not None
    assert found.credential.expose() == ("user", "s3kr3t")
    assert found.hosts == ("a.fake.example",)
    assert found.issued == int(now)
    assert found.credential.expires == int(now + 300)
    assert (found.credential.soft, found.credential.hard) == (int(now + 100), int(now + 200))


def test_nothing_is_found_where_nothing_is(tmp_path: Path, folder: Path) -> None:
    """No directory, no file, a NUL in the path: a miss."""
    assert cached_token.load(None, [b"x"], {}) is None
    assert _load(tmp_path / "absent") is None
    assert _load(folder) is None
    assert cached_token.load(b"/a\0b", [b"x"], {}) is None
    assert cached_token.load(os.fsencode(folder), [b"a\0b"], {}) is None


@pytest.mark.parametrize(
    ("passed", "is_found"),
    [
        pytest.param(0, True, id="at once"),
        pytest.param(299, True, id="a second before its end"),
        pytest.param(300, False, id="at its end"),
        pytest.param(3 * 86400, False, id="three days on"),
        pytest.param(-299, True, id="a clock that was set back a little"),
        pytest.param(-300, True, id="as far as clocks may differ"),
        pytest.param(-301, False, id="issued in the future"),
        pytest.param(-7200, False, id="two hours back"),
        pytest.param(-315_360_000, False, id="ten years back"),
    ],
)
def test_the_clock_decides(folder: Path, clock: Clock, passed: int, *, is_found: bool) -> None:
    """CI-5, CI-6: neither an expired token nor one from another clock is used."""
    _keep(folder, clock.now)
    clock.now += passed
    assert (_load(folder) is not None) == is_found


@pytest.mark.parametrize("moved", ["-2h", "+3d", "-10y"])
def test_a_moved_clock_is_a_miss_for_the_system_too(folder: Path, moved: str) -> None:
    """CI-6 with the clock of a whole process moved."""
    faketime = need("faketime", "faketime")
    _keep(folder)
    name = _NAME.encode()
    script = (
        f"from credhelpers import cached_token\nprint(cached_token.load({os.fsencode(folder)!r}, [{name!r}], {{}}))"
    )
    seen = {
        shift: subprocess.run(
            [faketime, "-f", shift, sys.executable, "-I", "-c", script], capture_output=True, check=True
        ).stdout
        for shift in ("+0s", moved)
    }
    assert b"CachedToken object" in seen["+0s"]
    assert seen[moved] == b"None\n"


def test_every_changed_byte_is_noticed(folder: Path) -> None:
    """The checksum catches each flip of one byte, each cut and each byte more."""
    path = _keep(folder)
    content = path.read_bytes()
    changed = [content[:place] + bytes([byte ^ 1]) + content[place + 1 :] for place, byte in enumerate(content)]
    changed += [content[:place] for place in range(len(content))]
    changed += [content + b"\n", b"\n" + content, content * 2]
    for other in changed:
        path.write_bytes(other)
        assert _load(folder) is None
    path.write_bytes(content)
    assert _load(folder) is not None


def test_an_entry_under_another_key_is_a_miss(folder: Path) -> None:
    """A file renamed or linked to another identity's key does not answer for it."""
    path = _keep(folder)
    other = f"fake-{'f' * 40}"
    os.link(path, folder / other)
    assert cached_token.load(os.fsencode(folder), [other.encode()], {}) is None
    assert cached_token.load(os.fsencode(folder), [f"ecr-{_KEY}".encode()], {}) is None


def test_an_over_long_file_is_a_miss(folder: Path) -> None:
    """Not more than a cached token can have is ever read."""
    path = _keep(folder)
    path.write_bytes(path.read_bytes() + b"x" * 1_000_000)
    assert _load(folder) is None


_HEAD = cached_token.MAGIC + cached_token.FORMAT + b" "
_BODY = st.binary(max_size=80) | st.sampled_from(
    [
        b"",
        b"\n\n",
        b"null",
        b"1 2 3\nh\n",
        b"1 2 3 4 5\nh\n",
        b"x y z w\nh\n",
        b"nan inf -inf 1e9\nh\n",
        b"9" * 5000 + b" 1 1 1\nh\n",
        b"0 0 0 99999999999\nh\n",
        b'0 0 0 99999999999\n\xff\n\n,"Username":"u","Secret":"s"}\n',
        b'0 0 0 99999999999\nh\n\xff\n,"Username":"u","Secret":"s"}\n',
        b'0 0 0 99999999999\nh\na\nb\n,"Username":"u","Secret":"s"}\n',
        b'0 0 0 99999999999\nh\n,"Username":"u","Secret":"s"}\n',
        b'0 0 0 99999999999\nh\n\n{"Username":"u"}\n',
    ]
)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_BODY, head=st.sampled_from([b"", _HEAD, b"credhelpers-cache 2 ", None]))
def test_arbitrary_bytes_are_a_miss(folder: Path, body: bytes, head: bytes | None) -> None:
    """CI-4: whatever lies there, even with a right checksum, is no token and no error."""
    path = folder / _NAME
    path.write_bytes(cached_token.head_of(_NAME.encode(), body) + b"\n" + body if head is None else head + body)
    path.chmod(0o600)
    found = _load(folder)
    if found is not None:  # with a right checksum it may be one by accident, and then it is one in all its parts
        assert head is None
        assert found.credential.expires > time.time()


def _link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def _give_away(path: Path) -> None:
    if os.geteuid() != 0:
        lacking("only root can give a file away; run as root, in a container for example")
    os.chown(path, 54321, -1)


def _device(path: Path) -> None:
    if os.geteuid() != 0:
        lacking("only root can make a device; run as root, in a container for example")
    path.unlink()
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))


_HOSTILE_FILES = [
    pytest.param(_link, id="symlink"),
    pytest.param(_fifo, id="fifo"),
    pytest.param(_folder, id="directory"),
    pytest.param(lambda path: path.chmod(0o640), id="readable by the group"),
    pytest.param(lambda path: path.chmod(0o602), id="writable by all"),
    pytest.param(lambda path: path.chmod(0o601), id="executable by all"),
    pytest.param(_give_away, id="another owner"),
    pytest.param(_device, id="device"),
]


@pytest.mark.parametrize("harm", _HOSTILE_FILES)
def test_a_file_that_a_stranger_could_have_touched_is_not_read(folder: Path, harm: object) -> None:
    """CI-2: and nobody waits for a pipe."""
    path = _keep(folder)
    assert callable(harm)
    harm(path)
    assert _load(folder) is None


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(_link, id="symlink"),
        pytest.param(lambda path: path.chmod(0o755), id="open to all"),
        pytest.param(lambda path: path.chmod(0o710), id="open to the group"),
        pytest.param(_give_away, id="another owner"),
    ],
)
def test_a_directory_that_a_stranger_could_have_touched_is_not_read(folder: Path, harm: object) -> None:
    """CI-2: what is in a directory of others is theirs."""
    _keep(folder)
    assert callable(harm)
    harm(folder)
    assert _load(folder) is None
    with pytest.raises(OSError, match=r"private|directory|symbolic"):
        private.open_directory(os.fsencode(folder))


def test_a_file_in_the_place_of_the_directory_is_no_directory(tmp_path: Path) -> None:
    """Nor is a pipe, and neither is waited for."""
    (tmp_path / "file").touch(0o600)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert _load(tmp_path / "file") is None
    assert _load(tmp_path / "pipe") is None


def test_no_descriptor_is_left(folder: Path) -> None:
    """Hits, misses and refusals close what they opened."""
    path = _keep(folder)
    before = set(_listed(Path("/proc/self/fd")))
    _load(folder)
    path.chmod(0o644)
    _load(folder)
    folder.chmod(0o755)
    _load(folder)
    assert set(_listed(Path("/proc/self/fd"))) == before
