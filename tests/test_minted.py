"""A helper over a source: one mints, all answer, and never with an expired token."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import cache as caches
from credhelpers.cache import TokenCache
from credhelpers.cached_token import CachedToken, Failure
from credhelpers.credential import INFINITY, Credential
from credhelpers.errors import DeadlinePassed, HelperError, NoIdentity, NotFound, NotMine, Unavailable, Unsupported
from credhelpers.minted import Minted
from credhelpers.recorder import Recorder
from credhelpers.servers import Authority
from credhelpers.sources.ecr import Ecr
from tests.fakes import source as fakes
from tests.fakes.source import Clock, FakeSource
from tests.harness import environment, patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from credhelpers.plan import Route

_HELPER = [sys.executable, "-I", fakes.__file__]
_HOST = "a.one.fake.example"
_SISTER = "b.one.fake.example"
_OTHER = "a.two.fake.example"


class Source(FakeSource):
    """A source whose tokens and failures a test decides."""

    def __init__(self, clock: Clock, environ: dict[bytes, bytes]) -> None:
        super().__init__(environ)
        self.clock = clock
        self.life = (100.0, 200.0, 300.0)
        self.takes = 0.0
        self.error: BaseException | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.proof = b""
        self.looks = 0

    def record(self, route: Route, recorder: Recorder) -> None:
        super().record(route, recorder)
        recorder.proof(self.proof)
        for number in range(self.looks):
            recorder.variable(b"FAKE_%d" % number)
        if route.authority.host == _OTHER:
            recorder.variable(b"FAKE_OTHER")

    def mint(self, server: str, old: Credential | None = None) -> Credential:
        self.minted += 1
        started = self.clock.now
        self.clock.now += self.takes
        self.meanwhile()
        if self.error:
            raise self.error
        soft, hard, expires = (started + seconds for seconds in self.life)
        return Credential("user", f"token-{self.minted}", soft=soft, hard=hard, expires=expires)


def identify(source: Source, said: dict[bytes, bytes]) -> None:
    """Let the environment, which is also the helper's, say this of the identity and nothing else."""
    source.environ.pop(b"FAKE_IDENTITY", None)
    source.environ.update(said)


@pytest.fixture
def source(clock: Clock, environ: dict[bytes, bytes]) -> Source:
    """The source below."""
    return Source(clock, environ)


@pytest.fixture
def environ(tmp_path: Path) -> dict[bytes, bytes]:
    """An environment with a cache directory in it."""
    return {b"CREDHELPERS_CACHE_DIR": os.fsencode(tmp_path / "cache")}


@pytest.fixture
def helper(source: Source, environ: dict[bytes, bytes]) -> Minted:
    """The helper under test."""
    return Minted(source, environ, fakes.owned)


@pytest.fixture
def cache(environ: dict[bytes, bytes]) -> TokenCache:
    """The cache of the helper."""
    return TokenCache("fake", environ[b"CREDHELPERS_CACHE_DIR"])


def _secret(credential: Credential | None) -> str | None:
    return credential.expose()[1] if credential else None


# --- in one process, by a clock that stands still --------------------------------------------------------------------


def test_the_cache_is_off_where_the_original_s_variable_says_so(source: Source, environ: dict[bytes, bytes]) -> None:
    """Who switched off the cache of the helper that this one replaces wants no token on disk here either."""
    for value, minted in ((b"1", 2), (b"", 3)):
        helper = Minted(source, environ | {b"FAKE_UNCACHED": value}, fakes.owned)
        helper.get(Authority(_HOST))
        helper.get(Authority(_HOST))
        assert source.minted == minted


def test_erase_forgets_what_was_kept_before_the_cache_was_switched_off(
    source: Source, environ: dict[bytes, bytes]
) -> None:
    """Who logs out wants no token on disk, whichever variable is set now."""
    Minted(source, environ, fakes.owned).get(Authority(_HOST))
    Minted(source, environ | {b"FAKE_UNCACHED": b"1"}, fakes.owned).erase(Authority(_HOST))
    assert Minted(source, environ, fakes.owned).ready(Authority(_HOST)) is None


def test_the_second_call_is_ready(helper: Minted, source: Source) -> None:
    """The first mints, and what it brought answers the next without the source."""
    assert helper.ready(Authority(_HOST)) is None
    assert _secret(helper.get(Authority(_HOST))) == "token-1"
    assert _secret(helper.ready(Authority(_HOST))) == "token-1"
    assert _secret(helper.ready(Authority(f"https://{_HOST.upper()}:443/v2/"))) == "token-1"
    for _ in range(2):
        assert _secret(helper.get(Authority(f"{_HOST}/team/app"))) == "token-1", "of which a path has a copy of its own"
    assert _secret(helper.ready(Authority(f"https://{_HOST}/team/app"))) == "token-1"
    assert helper.ready(Authority(f"{_HOST}/team/other")) is None
    assert _secret(helper.get(Authority(_HOST))) == "token-1"
    assert source.minted == 1
    assert helper.manual == source.manual


@pytest.mark.parametrize(
    "server", ["a.one.fake.example.evil.test", "ghcr.io", f"u@{_HOST}", f"{_HOST}:5000", f"http://{_HOST}"]
)
@pytest.mark.parametrize("verb", ["ready", "get", "refresh"])
def test_a_stranger_gets_nothing(verb: str, server: str, helper: Minted, source: Source, tmp_path: Path) -> None:
    """P31: not found, no mint, and not even a look into the cache."""
    with pytest.raises(NotMine):
        getattr(helper, verb)(Authority(server))
    assert source.minted == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("passed", "ready", "got", "mints"),
    [
        pytest.param(0, "token-1", "token-1", 1, id="new"),
        pytest.param(150, "token-1", "token-1", 1, id="ageing"),
        pytest.param(199, "token-1", "token-1", 1, id="nearly due"),
        pytest.param(200, "token-1", "token-2", 2, id="due"),
        pytest.param(299, "token-1", "token-2", 2, id="nearly expired"),
        pytest.param(300, None, "token-2", 2, id="expired"),
        pytest.param(-200, "token-1", "token-1", 1, id="clock back a little"),
        pytest.param(-400, None, "token-2", 2, id="clock back"),
    ],
)
def test_a_token_ages(
    passed: int, ready: str | None, got: str, mints: int, *, helper: Minted, source: Source, clock: Clock
) -> None:
    """CI-10: answered from the cache until it is due, minted again from then on, and never served expired."""
    helper.get(Authority(_HOST))
    clock.now += passed
    assert _secret(helper.ready(Authority(_HOST))) == ready
    assert _secret(helper.get(Authority(_HOST))) == got
    assert source.minted == mints


def test_a_token_is_shared_by_the_hosts_of_a_scope(helper: Minted, source: Source) -> None:
    """The second host finds the first one's token, and from then on it is ready for both."""
    helper.get(Authority(_HOST))
    assert helper.ready(Authority(_SISTER)) is None, "nobody asked for it yet, so it may have been erased"
    assert _secret(helper.get(Authority(_SISTER))) == "token-1"
    assert _secret(helper.ready(Authority(_SISTER))) == "token-1"
    assert _secret(helper.ready(Authority(_HOST))) == "token-1"
    assert _secret(helper.get(Authority(_OTHER))) == "token-2"
    assert source.minted == 2
    assert helper.list() == {_HOST: "user", _SISTER: "user", _OTHER: "user"}


def test_soft_expiry_is_spread(helper: Minted, source: Source, clock: Clock) -> None:
    """A tenth of the time to it, either way, so that a fleet does not renew as one."""
    softs = []
    for _ in range(300):
        credential = helper.get(Authority(_HOST))
        softs.append(credential.soft - clock.now)
        assert credential.hard == clock.now + 200
        helper.erase(Authority(_HOST))
        clock.now += 1
    assert min(softs) >= 90
    assert max(softs) <= 110
    assert min(softs) < 93
    assert max(softs) > 107


def test_what_does_not_age_is_cached_too(helper: Minted, source: Source, clock: Clock) -> None:
    """Infinity has neither a tenth nor digits."""
    source.life = (INFINITY, INFINITY, INFINITY)
    helper.get(Authority(_HOST))
    clock.now += 1e8
    assert _secret(helper.ready(Authority(_HOST))) == "token-1"


def test_a_token_that_comes_expired_is_an_error(helper: Minted, source: Source, clock: Clock) -> None:
    """A clock that is wrong by hours is named, and nothing is kept."""
    source.life = (-30.0, -20.0, -10.0)
    with pytest.raises(Unavailable, match="expired by this machine's clock") as raised:
        helper.get(Authority(_HOST))
    assert "date -u" in raised.value.hint
    assert helper.ready(Authority(_HOST)) is None


@pytest.mark.parametrize(
    ("error", "takes", "remembered"),
    [
        pytest.param(Unavailable("a-code", "it rains", "wait"), 0.5, 5.0, id="ten times as long as it took"),
        pytest.param(Unavailable("a-code", "it rains", "wait"), 9.0, 30.0, id="half a minute at most"),
        pytest.param(NotFound(), 1.0, 10.0, id="not found"),
    ],
)
def test_a_failure_is_remembered_for_a_while(
    error: HelperError, takes: float, remembered: float, *, helper: Minted, source: Source, clock: Clock
) -> None:
    """Twenty pulls from a dead registry wait once, hear the same, and ask again afterwards."""
    source.error, source.takes = error, takes
    with pytest.raises(type(error)):
        helper.get(Authority(_HOST))
    for passed in (0.0, remembered - 0.01):
        clock.now += passed
        with pytest.raises(type(error)) as raised:
            helper.get(Authority(_SISTER))
        assert (raised.value.message, raised.value.hint) == (error.message, error.hint)
    assert source.minted == 1
    source.error = None
    clock.now += 0.02
    assert helper.ready(Authority(_HOST)) is None
    assert helper.ready(Authority(_SISTER)) is None
    assert _secret(helper.get(Authority(_HOST))) == "token-2"


@pytest.mark.parametrize("error", [Unavailable("a-code", "it rains", "wait"), NotFound()])
def test_a_remembered_failure_is_ready(
    error: HelperError, helper: Minted, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nineteen of twenty pulls from a dead registry hear of it for the price of a hit: no lock, no configuration."""
    source.error, source.takes = error, 1.0
    with pytest.raises(type(error)):
        helper.get(Authority(_HOST))
    with pytest.raises(type(error)):
        helper.get(Authority(_SISTER))

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(caches.TokenCache, "__init__", fail)
    monkeypatch.setattr(source, "minter", fail)
    for host in (_HOST, _SISTER):
        with pytest.raises(type(error)) as raised:
            helper.ready(Authority(host))
        assert (raised.value.message, raised.value.hint) == (error.message, error.hint)


@pytest.mark.parametrize(
    ("line", "error", "told"),
    [
        pytest.param(0, NotFound(), ("", "", ""), id="nothing"),
        pytest.param(7, NotFound(), ("", "", ""), id="nothing, by an entry"),
        pytest.param(0, NotFound("a-code", "nothing is there"), ("", "", ""), id="by a rule"),
        pytest.param(
            7,
            NotFound("a-code", "nothing is there"),
            ("a-code", "nothing is there", "line 7 of config.toml has this host"),
            id="by an entry",
        ),
        pytest.param(
            0,
            NoIdentity("a-code", "nobody is there"),
            ("a-code", "nobody is there", "a built-in rule of fake has this host"),
            id="nobody, by a rule",
        ),
        pytest.param(
            7,
            NoIdentity("a-code", "nobody is there"),
            ("a-code", "nobody is there", "line 7 of config.toml has this host"),
            id="nobody, by an entry",
        ),
    ],
)
def test_what_is_not_found_is_told_where_somebody_would_wonder(
    source: Source, environ: dict[bytes, bytes], line: int, error: NotFound, told: tuple[str, str, str]
) -> None:
    """With who says that there should be something, at once and while it is remembered."""

    def route(authority: Authority, environ: object, kind: str) -> Route:
        found = fakes.owned(authority, environ, kind)
        found.line = line
        return found

    source.error, source.takes = error, 1.0
    helper = Minted(source, environ, route)
    for ask in (helper.get, helper.ready):
        with pytest.raises(NotFound) as raised:
            ask(Authority(_HOST))
        found = raised.value
        assert (found.code, found.cause, found.hint) == told
        assert found.message == NotFound().message


def test_a_remembered_failure_says_so(helper: Minted, source: Source, clock: Clock) -> None:
    """And for how long still; the first who hears of it was there when it was found out."""
    source.error, source.takes = Unavailable("a-code", "it rains", "wait"), 1.0
    with pytest.raises(Unavailable) as raised:
        helper.get(Authority(_HOST))
    assert raised.value.remembered == 0
    clock.now += 3.5
    for ask in (helper.ready, helper.get):
        with pytest.raises(Unavailable) as raised:
            ask(Authority(_HOST))
        assert (raised.value.remembered, raised.value.hint) == (7, "wait")


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_renewed_proof_ends_a_failure_and_no_token(
    helper: Minted, source: Source, tmp_path: Path, *, is_folder: bool
) -> None:
    """A sign-in, say, is written anew for the same identity: whoever did it wants to see whether it helps."""
    path = tmp_path / "proof"
    if is_folder:
        path.mkdir()
    source.proof = os.fsencode(path)
    path = path / "token" if is_folder else path
    source.error, source.takes = Unavailable("a-code", "expired"), 9.0
    for number in range(3):
        for host in (_HOST, _SISTER):
            with pytest.raises(Unavailable):
                helper.get(Authority(host))
            with pytest.raises(Unavailable):
                helper.ready(Authority(host))
        assert source.minted == number + 1
        path.write_text(f"token {number}")
        for host in (_HOST, _SISTER):
            assert helper.ready(Authority(host)) is None
    source.error = None
    assert _secret(helper.get(Authority(_HOST))) == "token-4"
    path.write_text("another")
    assert _secret(helper.ready(Authority(_HOST))) == "token-4"


@pytest.mark.parametrize(
    "name", [b"HTTPS_PROXY", b"no_proxy", b"REQUESTS_CA_BUNDLE", b"SSL_CERT_FILE", b"VAULT_CACERT"]
)
def test_another_way_there_ends_a_failure_and_no_token(
    helper: Minted, source: Source, environ: dict[bytes, bytes], name: bytes
) -> None:
    """The hint says to change just these: whoever did wants to see whether it helps."""
    source.error, source.takes = Unavailable("net-slow", "it did not answer"), 9.0
    for value in (b"one", b"two", b"three"):
        with pytest.raises(Unavailable):
            helper.get(Authority(_HOST))
        with pytest.raises(Unavailable):
            helper.ready(Authority(_HOST))
        environ[name] = value
        assert helper.ready(Authority(_HOST)) is None
    source.error = None
    token = _secret(helper.get(Authority(_HOST)))
    environ[name] = b"four"
    assert _secret(helper.ready(Authority(_HOST))) == token


def test_whatever_else_changed_ends_a_failure(source: Source, environ: dict[bytes, bytes], tmp_path: Path) -> None:
    """An edit of the configuration, say, though the token that is wanted is the same one."""
    config = tmp_path / "config.toml"

    def route(authority: Authority, environment: object, kind: str) -> Route:
        found = fakes.owned(authority, environment, kind)
        look = Recorder(environ, "00" * 16)
        look.file(os.fsencode(config))
        found.word, found.receipt = look.word, look.lines()
        return found

    helper = Minted(source, environ, route)
    source.error, source.takes = Unavailable("a-code", "it rains"), 9.0
    with pytest.raises(Unavailable):
        helper.get(Authority(_HOST))
    source.error = None
    with pytest.raises(Unavailable):
        helper.get(Authority(_HOST))
    config.touch()
    assert helper.ready(Authority(_HOST)) is None
    assert _secret(helper.get(Authority(_HOST))) == "token-2"


def test_an_erase_forgets_a_failure_for_each_path_and_identity(
    helper: Minted, source: Source, environ: dict[bytes, bytes]
) -> None:
    """Who logs out of a registry wants the next call to look again, whoever it is for."""
    servers = (_HOST, f"{_HOST}/team/app", _OTHER)
    source.error, source.takes = Unavailable("a-code", "it rains"), 3.0
    for name in (b"", b"prod"):
        environ[b"CREDHELPERS_IDENTITY"] = environ[b"FAKE_IDENTITY"] = name
        for server in servers:
            with pytest.raises(Unavailable):
                helper.get(Authority(server))
    environ[b"CREDHELPERS_IDENTITY"] = b"another"
    helper.erase(Authority(_HOST))
    source.clock.now += 1
    for name in (b"", b"prod"):
        environ[b"CREDHELPERS_IDENTITY"] = environ[b"FAKE_IDENTITY"] = name
        for server in servers[:2]:
            assert helper.ready(Authority(server)) is None
        with pytest.raises(Unavailable):
            helper.ready(Authority(_OTHER))


def test_a_failure_with_too_many_looks_is_not_remembered(helper: Minted, source: Source) -> None:
    """As no token is."""
    source.looks = 300
    source.error, source.takes = Unavailable("a-code", "it rains"), 9.0
    for _ in range(2):
        with pytest.raises(Unavailable):
            helper.get(Authority(_HOST))
        assert helper.ready(Authority(_HOST)) is None
    assert source.minted == 2


@pytest.mark.parametrize("end", ["a mint of the first host", "a mint of the second", "an erase"])
def test_a_failure_ends_for_all_hosts_of_an_order(end: str, helper: Minted, source: Source, cache: TokenCache) -> None:
    """After a token or an erase nobody is told of what failed before, whichever host heard of it."""
    source.clock.now = time.time()  # by which a file is debris
    source.error, source.takes = Unavailable("a-code", "it rains"), 9.0
    for host in (_HOST, _SISTER, _OTHER):
        with pytest.raises(Unavailable):
            helper.get(Authority(host))
    source.error = None
    if end == "an erase":
        helper.erase(Authority(_SISTER))
    else:
        mint = source.minter(fakes.owned(Authority(_HOST if "first" in end else _SISTER), {}, "fake"))
        cache.save(mint.token_key, _HOST if "first" in end else _SISTER, mint.mint(), source.clock.now)
    assert helper.ready(Authority(_HOST)) is None
    assert helper.ready(Authority(_SISTER)) is None
    with pytest.raises(Unavailable):
        helper.ready(Authority(_OTHER))
    source.clock.now += 0.01
    assert _secret(helper.get(Authority(_HOST))) == _secret(helper.get(Authority(_SISTER)))


def test_a_failed_mint_of_a_changed_identity_is_not_remembered(helper: Minted, source: Source) -> None:
    """Nobody knows whose failure it was."""

    def change() -> None:
        source.environ[b"FAKE_IDENTITY"] = b"other"

    source.error, source.takes, source.meanwhile = Unavailable("a-code", "it rains"), 9.0, change
    with pytest.raises(Unavailable):
        helper.get(Authority(_HOST))
    for said in ({b"FAKE_IDENTITY": b"other"}, {}):
        identify(source, said)
        assert helper.ready(Authority(_HOST)) is None


def test_a_failure_of_another_clock_is_not_remembered(helper: Minted, source: Source, clock: Clock) -> None:
    """Else a clock set back by four minutes would keep it for as long."""
    source.error, source.takes = Unavailable("a-code", "it rains"), 9.0
    with pytest.raises(Unavailable):
        helper.get(Authority(_HOST))
    clock.now -= 240
    source.error = None
    assert _secret(helper.get(Authority(_HOST))) == "token-2"


def test_the_deadline_is_remembered_as_a_failure(helper: Minted, source: Source) -> None:
    """A source that hangs is not waited for by the next call too."""
    source.error, source.takes = DeadlinePassed(), 9.5
    with pytest.raises(DeadlinePassed):
        helper.get(Authority(_HOST))
    with pytest.raises(Unavailable, match="no answer within the time limit"):
        helper.get(Authority(_HOST))
    assert source.minted == 1


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")], ids=repr)
def test_a_shortage_is_not_remembered(helper: Minted, source: Source, error: Exception) -> None:
    """It ends when another process does, whatever sentence a cloud has made of it."""
    source.error, source.takes = Unavailable("a-code", "it rains"), 3.0
    source.error.__context__ = error
    with pytest.raises(Unavailable):
        helper.get(Authority(_HOST))
    source.error = None
    assert helper.ready(Authority(_HOST)) is None
    assert _secret(helper.get(Authority(_HOST))) == "token-2"


def test_a_defect_is_not_remembered(helper: Minted, source: Source) -> None:
    """What nobody expected goes out as it is, and the lock is free again."""
    source.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        helper.get(Authority(_HOST))
    source.error = None
    assert _secret(helper.get(Authority(_HOST))) == "token-2"


def test_a_renewal_pauses_after_a_failure(helper: Minted, source: Source, clock: Clock) -> None:
    """An ageing token is good; the backend is asked once a minute at most, and a success ends the pauses."""
    helper.get(Authority(_HOST))
    clock.now += 120
    source.error = Unavailable("a-code", "it rains")
    with pytest.raises(Unavailable):
        helper.refresh(Authority(_HOST))
    for _ in range(5):
        helper.refresh(Authority(_HOST))
    clock.now += 59
    helper.refresh(Authority(_HOST))
    assert source.minted == 2
    assert _secret(helper.ready(Authority(_HOST))) == "token-1", "served meanwhile"
    source.error = None
    clock.now += 2
    helper.refresh(Authority(_HOST))
    assert _secret(helper.ready(Authority(_HOST))) == "token-3"
    helper.refresh(Authority(_HOST))
    assert source.minted == 3, "somebody has just done it"


def test_a_renewal_is_left_to_the_one_who_does_it(
    helper: Minted, source: Source, cache: TokenCache, clock: Clock
) -> None:
    """Single flight: whoever does not get the lock does nothing."""
    helper.get(Authority(_HOST))
    clock.now += 120
    lock = cache.lock(source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key)
    assert lock is not None
    helper.refresh(Authority(_HOST))
    assert source.minted == 1
    lock.release()
    helper.refresh(Authority(_HOST))
    assert source.minted == 2


def test_a_call_waits_for_another_and_takes_its_token(
    helper: Minted, source: Source, cache: TokenCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the other host is not yet among those of the token: it holds no lock, so it changes nothing."""
    key = source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key
    lock = cache.lock(key)
    assert lock is not None
    polls = []

    def sleep(seconds: float) -> None:
        clock.now += seconds
        polls.append(clock.now)
        if len(polls) == 3:
            now = clock.now
            cache.save(key, _SISTER, Credential("user", "theirs", soft=now + 9, hard=now + 9, expires=now + 9), now)

    monkeypatch.setattr("credhelpers.tokens.sleep", sleep)
    assert _secret(helper.get(Authority(_HOST))) == "theirs"
    assert (len(polls), source.minted) == (3, 0)
    cached = cache.load(key)
    assert isinstance(cached, CachedToken)
    assert cached.hosts == (_SISTER,)
    assert helper.ready(Authority(_HOST)) is None
    lock.release()
    assert _secret(helper.get(Authority(_HOST))) == "theirs"
    assert _secret(helper.ready(Authority(_HOST))) == "theirs", "now it held the lock"


def test_a_call_hears_the_failure_of_another(
    helper: Minted, source: Source, cache: TokenCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not try by itself what has just failed."""
    key = source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key
    lock = cache.lock(key)
    assert lock is not None
    monkeypatch.setattr(
        "credhelpers.tokens.sleep",
        lambda _seconds: cache.save_failure(key, Failure(Unavailable("a-code", "theirs"), clock.now, 1)),
    )
    for verb in (helper.get, helper.ready):
        with pytest.raises(Unavailable, match=r"^theirs$"):
            verb(Authority(_HOST))
    assert source.minted == 0
    lock.release()


def test_a_call_does_not_wait_for_ever(helper: Minted, source: Source, cache: TokenCache, clock: Clock) -> None:
    """CO-5: after four seconds it mints for itself."""
    lock = cache.lock(source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key)
    assert lock is not None
    started = clock.now
    assert _secret(helper.get(Authority(_HOST))) == "token-1"
    assert 4 <= clock.now - started < 4.1
    lock.release()


def test_one_of_those_who_have_waited_goes_before_the_others(
    helper: Minted, source: Source, cache: TokenCache, clock: Clock
) -> None:
    """CO-5: a stopped holder costs one mint, not one for each who waits; two of them hold nobody for ever."""
    key = source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key
    locks = [cache.lock(key), cache.lock(key, is_second=True)]
    assert all(locks)
    started = clock.now
    assert _secret(helper.get(Authority(_HOST))) == "token-1"
    assert 6 <= clock.now - started < 6.2
    for lock in locks:
        assert lock is not None
        lock.release()


@pytest.mark.parametrize(
    "error", [Unavailable("a-code", "ours"), NotFound(), DeadlinePassed()], ids=lambda error: type(error).__name__
)
def test_what_another_process_got_meanwhile_answers(
    error: BaseException, helper: Minted, source: Source, cache: TokenCache, clock: Clock
) -> None:
    """Two may mint after a long wait, and the slower one fails by the clock, say, with a good token in the cache."""

    def meanwhile() -> None:
        life = clock.now + 9
        cache.save(
            source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key,
            _SISTER,
            Credential("u", "theirs", soft=life, hard=life, expires=life),
            clock.now,
        )
        raise error

    source.meanwhile = meanwhile
    assert _secret(helper.get(Authority(_HOST))) == "theirs"
    assert cache.failure(source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key) is None


def test_a_reason_is_not_replaced_by_the_clocks_word(
    helper: Minted, source: Source, cache: TokenCache, clock: Clock
) -> None:
    """Who knows only that the time is over tells what another process has found out meanwhile."""

    def meanwhile() -> None:
        clock.now += 8
        cache.save_failure(
            source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key,
            Failure(Unavailable("a-code", "theirs"), clock.now, 7),
        )
        raise DeadlinePassed

    source.meanwhile = meanwhile
    for verb in (helper.get, helper.ready):
        with pytest.raises(Unavailable, match=r"^theirs$"):
            verb(Authority(_HOST))
    assert source.minted == 1


def test_an_identity_that_changed_during_the_mint_is_not_mixed_up(
    helper: Minted, source: Source, environ: object
) -> None:
    """CI-7: the answer goes out, but under no key: nobody knows whose it is."""

    def change() -> None:
        source.environ[b"FAKE_IDENTITY"] = b"other"

    source.meanwhile = change
    assert _secret(helper.get(Authority(_HOST))) == "token-1"
    source.meanwhile = lambda: None
    assert helper.ready(Authority(_HOST)) is None
    del source.environ[b"FAKE_IDENTITY"]
    assert helper.ready(Authority(_HOST)) is None


@pytest.mark.parametrize("state", ["cold", "kept", "failed"])
def test_an_identity_that_changed_while_waiting_is_not_mixed_up(
    state: str, helper: Minted, source: Source, cache: TokenCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI-7: a profile switched, by a link, between the first look and the lock, and switched back later."""
    one, other = {b"FAKE_IDENTITY": b"one"}, {b"FAKE_IDENTITY": b"other"}
    identify(source, one)
    minter = source.minter(fakes.owned(Authority(_HOST), {}, "fake"))
    lock = cache.lock(minter.token_key)
    assert lock is not None

    def sleep(seconds: float) -> None:
        clock.now += seconds
        identify(source, other)
        if state == "kept":
            now = clock.now
            cache.save(
                minter.token_key, _SISTER, Credential("one", "of one", soft=now + 9, hard=now + 9, expires=now + 9), now
            )
        elif state == "failed":
            cache.save_failure(minter.token_key, Failure(Unavailable("a-code", "of one"), now := clock.now, now))
        lock.release()

    monkeypatch.setattr("credhelpers.tokens.sleep", sleep)
    if state == "failed":
        with pytest.raises(Unavailable, match="of one"):
            helper.get(Authority(_HOST))
    else:
        helper.get(Authority(_HOST))
    for said in (other, one):
        identify(source, said)
        assert helper.ready(Authority(_HOST)) is None, "no copy of either under the key of the other"
    assert isinstance(
        cache.load(source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key),
        {"cold": type(None), "kept": CachedToken, "failed": Failure}[state],
    )


def test_a_host_that_lost_its_owner_during_the_mint_is_answered_once(helper: Minted, source: Source) -> None:
    """The configuration that made an alias ours was removed meanwhile: the answer goes out and is not kept."""

    def disown() -> None:
        source.environ[b"CREDHELPERS_CONFIG"] = b"/elsewhere"

    source.meanwhile = disown
    assert _secret(helper.get(Authority(_HOST))) == "token-1"
    del source.environ[b"CREDHELPERS_CONFIG"]
    assert helper.ready(Authority(_HOST)) is None


def test_identities_do_not_share(helper: Minted, source: Source) -> None:
    """CI-7: neither a hit nor a list shows the token of another."""
    helper.get(Authority(_HOST))
    source.environ[b"FAKE_IDENTITY"] = b"other"
    assert helper.ready(Authority(_HOST)) is None
    assert helper.list() == {}
    assert _secret(helper.get(Authority(_HOST))) == "token-2"
    assert helper.list() == {_HOST: "user"}
    del source.environ[b"FAKE_IDENTITY"]
    assert _secret(helper.ready(Authority(_HOST))) == "token-1"


def test_a_few_identities_have_an_answer_each(helper: Minted, source: Source) -> None:
    """Terminals with a profile each do not push each other out, up to four; with more the oldest goes."""
    names = (b"a", b"b", b"c", b"d", b"e")
    for name in names[:4]:
        identify(source, {b"FAKE_IDENTITY": name})
        helper.get(Authority(_HOST))
        source.clock.now += 1
    for turn in range(2):
        for number, name in enumerate(names[:4], 1):
            identify(source, {b"FAKE_IDENTITY": name})
            assert _secret(helper.ready(Authority(_HOST))) == f"token-{number}", turn
    identify(source, {b"FAKE_IDENTITY": names[4]})
    assert helper.ready(Authority(_HOST)) is None
    helper.get(Authority(_HOST))
    assert [bool(_ready(helper, source, name)) for name in names] == [False, True, True, True, True]
    assert source.minted == 5
    helper.erase(Authority(_HOST))
    assert [bool(_ready(helper, source, name)) for name in names] == [False] * 5


def _ready(helper: Minted, source: Source, name: bytes) -> Credential | None:
    identify(source, {b"FAKE_IDENTITY": name})
    return helper.ready(Authority(_HOST))


def test_a_renewed_answer_takes_the_place_of_the_old_one(helper: Minted, source: Source, cache: TokenCache) -> None:
    """Also where the word that keys the digests is another one, as after a lost plan."""
    for number in range(3):
        assert _secret(helper.get(Authority(_HOST))) == f"token-{number + 1}"
        source.clock.now += 200
    copies = [cached for cached in cache.tokens().values() if cached.receipt]
    assert [_secret(cached.credential) for cached in copies] == ["token-3"]


def test_a_remembered_failure_is_of_its_identity(helper: Minted, source: Source) -> None:
    """Who changes something is not told of what failed before."""
    source.clock.now = time.time()  # by which a file is debris
    source.error, source.takes = Unavailable("a-code", "it rains"), 9.0
    identify(source, {b"FAKE_IDENTITY": b"a"})
    with pytest.raises(Unavailable):
        helper.get(Authority(_HOST))
    with pytest.raises(Unavailable):
        helper.ready(Authority(_HOST))
    identify(source, {b"FAKE_IDENTITY": b"b"})
    assert helper.ready(Authority(_HOST)) is None
    source.error = None
    helper.get(Authority(_HOST))
    identify(source, {b"FAKE_IDENTITY": b"a"})
    with pytest.raises(Unavailable):
        helper.ready(Authority(_HOST))


def test_what_was_read_from_too_much_is_not_answered_from_the_cache(
    helper: Minted, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is kept, and found by who looks at all of it again."""

    def record(_route: Route, recorder: Recorder) -> None:
        for number in range(300):
            recorder.variable(b"V%d" % number)

    monkeypatch.setattr(source, "record", record)
    for _ in range(2):
        assert _secret(helper.get(Authority(_HOST))) == "token-1"
        assert helper.ready(Authority(_HOST)) is None


def test_who_chose_another_identity_by_name_has_another_answer(helper: Minted, source: Source) -> None:
    """Its copy lies under a name of its own."""
    helper.get(Authority(_HOST))
    source.environ[b"CREDHELPERS_IDENTITY"] = b"prod"
    assert helper.ready(Authority(_HOST)) is None
    assert helper.list() == {}
    del source.environ[b"CREDHELPERS_IDENTITY"]
    assert _secret(helper.ready(Authority(_HOST))) == "token-1"


def test_list_leaves_out_what_is_of_another_identity_now(helper: Minted, source: Source) -> None:
    """A host about which something has changed, and a token that has expired."""
    helper.get(Authority(_HOST))
    helper.get(Authority(_OTHER))
    source.environ[b"FAKE_OTHER"] = b"changed"
    assert helper.list() == {_HOST: "user"}
    source.clock.now += 300
    assert helper.list() == {}


def test_erase_forgets_the_token_and_the_failure(helper: Minted, source: Source) -> None:
    """CI-9, P20: the next call mints anew, whatever was remembered, and nothing to forget is success."""
    helper.erase(Authority(_HOST))
    helper.erase(Authority("ghcr.io"))
    helper.get(Authority(_HOST))
    helper.get(Authority(_SISTER))
    helper.erase(Authority(_SISTER))
    assert helper.ready(Authority(_SISTER)) is None
    assert helper.ready(Authority(_HOST)) is None, "the token is one, and it is gone"
    assert helper.list() == {}
    source.error, source.takes = Unavailable("a-code", "it rains"), 5.0
    with pytest.raises(Unavailable):
        helper.get(Authority(_HOST))
    helper.erase(Authority(_HOST))
    source.error = None
    assert _secret(helper.get(Authority(_HOST))) == "token-3"


def test_a_host_does_not_keep_what_was_erased_for_another(helper: Minted, source: Source, clock: Clock) -> None:
    """Also where the hosts are at different tokens of the order, and only one of them has seen the youngest."""
    helper.get(Authority(_HOST))
    helper.get(Authority(_SISTER))
    clock.now += 120
    helper.refresh(Authority(_HOST))
    assert _secret(helper.ready(Authority(_HOST))) == "token-2"
    assert _secret(helper.ready(Authority(_SISTER))) == "token-1"
    helper.erase(Authority(_SISTER))
    assert helper.ready(Authority(_SISTER)) is None
    assert helper.ready(Authority(_HOST)) is None
    clock.now += 0.01
    assert _secret(helper.get(Authority(_SISTER))) == "token-3"
    assert helper.list() == {_SISTER: "user"}


def test_a_renewal_of_one_host_serves_the_next(helper: Minted, source: Source, clock: Clock) -> None:
    """The second host's own token is ageing, but the minter's is new: no mint, and it is ready."""
    helper.get(Authority(_HOST))
    helper.get(Authority(_SISTER))
    clock.now += 120
    helper.refresh(Authority(_HOST))
    helper.refresh(Authority(_SISTER))
    assert source.minted == 2
    assert _secret(helper.ready(Authority(_SISTER))) == "token-2"
    clock.now += 120
    helper.refresh(Authority(_SISTER))
    assert _secret(helper.ready(Authority(_HOST))) == "token-2"
    assert _secret(helper.ready(Authority(_SISTER))) == "token-3"


def test_list_names_what_get_answers(helper: Minted, source: Source, clock: Clock) -> None:
    """Not a host whose copy has expired though its minter's token lives, nor one that somebody else asked for."""
    helper.get(Authority(_HOST))
    helper.get(Authority(_SISTER))
    helper.get(Authority(_OTHER))
    clock.now += 250
    assert helper.list() == {_HOST: "user", _SISTER: "user", _OTHER: "user"}, "due, and the last resort"
    helper.refresh(Authority(_HOST))
    clock.now += 100
    assert helper.list() == {_HOST: "user"}
    source.error = Unavailable("a-code", "it rains")
    for host in helper.list():
        assert _secret(helper.ready(Authority(host))) == "token-3"
    helper.erase(Authority(_HOST))
    assert helper.list() == {}


def test_erase_reaches_every_identity(helper: Minted, source: Source) -> None:
    """`docker logout` under one profile leaves no token of another for this host."""
    helper.get(Authority(_HOST))
    source.environ[b"FAKE_IDENTITY"] = b"other"
    helper.erase(Authority(_HOST))
    del source.environ[b"FAKE_IDENTITY"]
    assert helper.ready(Authority(_HOST)) is None


@pytest.mark.parametrize("erased", [_HOST, _SISTER, _OTHER])
def test_erase_wins_over_a_mint_in_flight(erased: str, helper: Minted, source: Source, cache: TokenCache) -> None:
    """CI-9: the one who was minting answers, but what he got is kept neither for the order nor for a host.

    Whichever host is erased: nobody knows yet which ones the token will answer for.
    """
    source.takes = 1.0
    source.meanwhile = lambda: helper.erase(Authority(erased))
    assert _secret(helper.get(Authority(_HOST))) == "token-1"
    source.meanwhile = lambda: None
    assert helper.ready(Authority(_HOST)) is None
    assert cache.load(source.minter(fakes.owned(Authority(_HOST), {}, "fake")).token_key) is None
    assert helper.list() == {}
    source.clock.now += 0.01
    assert _secret(helper.get(Authority(_HOST))) == "token-2"
    assert _secret(helper.ready(Authority(_HOST))) == "token-2"


def test_an_erase_of_one_host_does_not_stop_the_sharing_of_another(helper: Minted, source: Source) -> None:
    """A token that was minted before somebody erased something else goes on answering for new hosts."""
    helper.get(Authority(_HOST))
    source.clock.now += 5
    helper.erase(Authority(_OTHER))
    source.clock.now += 1
    helper.get(Authority(_SISTER))
    assert _secret(helper.ready(Authority(_SISTER))) == "token-1"


def test_a_password_for_a_stranger_is_refused(helper: Minted, tmp_path: Path) -> None:
    """A person hears which helper keeps it, and nothing is kept. What is kept is in `test_typed`."""
    with pytest.raises(Unsupported, match="no password is kept here for what is no registry of fake") as raised:
        helper.store(Authority("ghcr.io"), Credential("u", "typed"))
    assert "credsStore" in raised.value.hint
    assert "typed" not in raised.value.message + raised.value.hint
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("homeless")
def test_without_a_cache_every_call_mints(source: Source) -> None:
    """No home: slower, and the same answers."""
    helper = Minted(source, {}, fakes.owned)
    assert [_secret(helper.get(Authority(_HOST))) for _ in range(2)] == ["token-1", "token-2"]
    assert helper.ready(Authority(_HOST)) is None
    helper.refresh(Authority(_HOST))
    assert helper.list() == {}
    helper.erase(Authority(_HOST))


def test_any_order_of_events_keeps_the_promises(  # noqa: C901 - a walk has as many branches as there are steps
    helper: Minted, source: Source, clock: Clock
) -> None:
    """A seeded walk through gets, renewals, erases, outages, identities and clocks: never expired, never foreign."""
    chance = random.Random(5)
    source.takes = 0.1
    owner: dict[str, str] = {}
    end: dict[str, float] = {}
    erased: set[str] = set()

    def learn(credential: Credential) -> None:
        secret = _secret(credential)
        assert secret is not None
        identity = source.environ.get(b"FAKE_IDENTITY", b"").decode()
        assert owner.setdefault(secret, identity) == identity
        assert end.setdefault(secret, credential.expires) > clock.now
        assert secret not in erased

    for _ in range(1500):
        act = chance.randrange(10)
        host = chance.choice((_HOST, _SISTER, _OTHER))
        try:
            if act <= 2:
                learn(helper.get(Authority(host)))
            elif act <= 4 and (ready := helper.ready(Authority(host))):
                learn(ready)
            elif act == 5:
                helper.refresh(Authority(host))
            elif act == 6:
                clock.now += chance.choice((0.5, 10, 60, 150, 400, -50, -500))
                end = {secret: moment for secret, moment in end.items() if moment > clock.now}
            elif act == 7:
                source.environ[b"FAKE_IDENTITY"] = chance.choice((b"x", b"y"))
                source.error = chance.choice((None, None, Unavailable("a-code", "it rains"), NotFound()))
            elif act == 8 and chance.random() < 0.3:
                if ready := helper.ready(Authority(host)):
                    erased.add(_secret(ready) or "")
                helper.erase(Authority(host))
                assert helper.ready(Authority(host)) is None
            elif act == 9:
                for listed in helper.list():
                    answer = helper.ready(Authority(listed))
                    assert answer, "listed, and not answered"
                    learn(answer)
        except (NotFound, Unavailable):
            assert source.error is not None
            clock.now += 31


# --- with a configuration file ---------------------------------------------------------------------------------------

_ACCOUNT_HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
_ACCOUNT_SISTER = "999922223333.dkr.ecr.eu-west-1.amazonaws.com"
_ALIAS = "mirror.acme.example"


class Configured(Ecr):
    """The source of ECR tokens without AWS."""

    __slots__ = ("minted",)

    def __init__(self, environ: dict[bytes, bytes]) -> None:
        super().__init__(environ)
        self.minted = 0

    def minter(self, route: Route) -> fakes.FakeMinter:  # type: ignore[override] # the part of it that `Minted` uses
        return fakes.FakeMinter(super().minter(route).token_key, self.mint)

    def mint(self, old: Credential | None = None) -> Credential:
        self.minted += 1
        now = time.time()
        return Credential("AWS", f"token-{self.minted}", soft=now + 100, hard=now + 200, expires=now + 300)


class User:
    """A home with a configuration file."""

    def __init__(self, home: Path) -> None:
        self.file = home / ".config" / "credhelpers" / "config.toml"
        self.source = Configured({b"HOME": os.fsencode(home)})
        self.helper = Minted(self.source, {b"HOME": os.fsencode(home)})

    def write(self, *entries: str) -> None:
        """A configuration of cached tokens `MATCH KEY=VALUE …`."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = ""
        for cached in entries:
            match, *words = cached.split()
            text += f'[[registry]]\nmatch = "{match}"\nsource = "ecr"\n'
            text += "".join('{} = "{}"\n'.format(*word.split("=")) for word in words)
        self.file.write_text(text)
        self.file.chmod(0o600)


@pytest.fixture
def user(home: Path) -> User:
    """A user of ECR."""
    return User(home)


def test_a_configuration_file_that_appears_is_a_miss(user: User) -> None:
    """A profile chosen after the first pull counts from the next one on; an entry for others changes nothing."""
    user.helper.get(Authority(_ACCOUNT_HOST))
    user.write("*.dkr.ecr.us-east-1.amazonaws.com profile=other")
    assert user.helper.ready(Authority(_ACCOUNT_HOST)) is None
    assert user.helper.list() == {}, "what `get` cannot answer by itself"
    assert _secret(user.helper.get(Authority(_ACCOUNT_HOST))) == "token-1", "the identity is the same"
    assert _secret(user.helper.ready(Authority(_ACCOUNT_HOST))) == "token-1"
    user.write(f"{_ACCOUNT_HOST} profile=prod")
    assert user.helper.ready(Authority(_ACCOUNT_HOST)) is None
    assert user.helper.list() == {}, "what `get` cannot answer by itself"
    assert _secret(user.helper.get(Authority(_ACCOUNT_HOST))) == "token-2"
    user.file.unlink()
    assert _secret(user.helper.ready(Authority(_ACCOUNT_HOST))) == "token-1", "as before"


def test_hosts_share_a_token_where_they_have_the_same_settings(user: User) -> None:
    """Two accounts of a region, and an alias of a third: one mint per identity."""
    user.write(
        f"{_ACCOUNT_SISTER} profile=other", f"{_ALIAS} account=333322221111 region=eu-west-1", "*.on.aws profile=x"
    )
    secrets = {host: _secret(user.helper.get(Authority(host))) for host in (_ACCOUNT_HOST, _ACCOUNT_SISTER, _ALIAS)}
    assert secrets == {_ACCOUNT_HOST: "token-1", _ACCOUNT_SISTER: "token-2", _ALIAS: "token-1"}
    assert user.helper.list() == dict.fromkeys(secrets, "AWS")
    user.helper.erase(Authority(_ALIAS))
    assert user.helper.list() == {_ACCOUNT_SISTER: "AWS"}


def test_a_configuration_that_breaks_is_an_error_and_not_the_old_token(user: User) -> None:
    """The cached token is of the settings before, and nobody knows what the new ones were to be."""
    user.write(f"{_ACCOUNT_HOST} profile=prod")
    user.helper.get(Authority(_ACCOUNT_HOST))
    user.write(f"{_ACCOUNT_HOST} profle=prod")
    for verb in (user.helper.ready, user.helper.get, user.helper.refresh):
        with pytest.raises(Unavailable, match=r"^config\.toml: line 4: unknown key `profle`$") as raised:
            verb(Authority(_ACCOUNT_HOST))
        assert "`profile`" in raised.value.hint
    assert user.helper.list() == {}
    user.helper.erase(Authority(_ACCOUNT_HOST))
    user.write(f"{_ACCOUNT_HOST} profile=prod")
    assert _secret(user.helper.get(Authority(_ACCOUNT_HOST))) == "token-2", "erased while the file was broken"


def test_a_path_is_another_answer_than_its_registry(user: User) -> None:
    """Below a path another identity may mint, so neither answers for the other, and `list` names registries only."""
    user.write(f"{_ACCOUNT_HOST}/team-a profile=a", f"{_ACCOUNT_HOST} profile=b", f"{_ACCOUNT_SISTER}/x profile=c")
    secrets = {}
    for path in ("/team-a/app", "", "/v2/", "/team-a", "/other"):
        secrets[path] = _secret(user.helper.get(Authority(_ACCOUNT_HOST + path)))
    assert list(secrets.values()) == ["token-1", "token-2", "token-2", "token-1", "token-2"]
    user.helper.get(Authority(f"{_ACCOUNT_SISTER}/x"))
    assert user.helper.list() == {_ACCOUNT_HOST: "AWS"}
    user.write(f"{_ALIAS}/x account=111122223333 region=eu-west-1")
    user.helper.get(Authority(f"{_ALIAS}/x/y"))
    assert _ALIAS not in user.helper.list(), "`get` would say not-found"


def test_an_alias_is_nobodys_without_its_entry(user: User) -> None:
    """Neither its cached token nor its name is ours when the file that owned it has gone."""
    user.write(f"{_ALIAS} account=111122223333 region=eu-west-1")
    user.helper.get(Authority(_ALIAS))
    user.write(f"{_ACCOUNT_HOST} profile=prod")
    with pytest.raises(NotFound):
        user.helper.get(Authority(_ALIAS))
    assert user.helper.list() == {}
    user.file.unlink()
    for verb in (user.helper.ready, user.helper.get, user.helper.refresh):
        with pytest.raises(NotFound):
            verb(Authority(_ALIAS))
    assert user.helper.list() == {}


# --- many processes --------------------------------------------------------------------------------------------------


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of real calls: a cache and a log of mints."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    more = {"CREDHELPERS_CACHE_DIR": str(home / "cache"), "FAKE_LOG": str(tmp_path / "log")}
    return environment(home, **more)


def _mints(tmp_path: Path) -> int:
    log = tmp_path / "log"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _start(verb: str, env: dict[str, str], host: str = _HOST) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*_HELPER, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    assert process.stdin is not None
    process.stdin.write(host.encode())
    process.stdin.close()
    process.stdin = None
    return process


def _answer(process: subprocess.Popen[bytes]) -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b""), (out, err)
    return str(json.loads(out)["Secret"])


def _get(env: dict[str, str], host: str = _HOST) -> str:
    return _answer(_start("get", env, host))


def _wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        with process:
            pass


def test_fifty_cold_calls_mint_once(env: dict[str, str], tmp_path: Path) -> None:
    """CO-3: a backend of 300 ms is asked once, and all fifty answer the same."""
    processes = [_start("get", env | {"FAKE_SECONDS": "0.3"}) for _ in range(50)]
    assert len({_answer(process) for process in processes}) == 1
    assert _mints(tmp_path) == 1


def test_cold_calls_for_hosts_of_one_order_mint_once(env: dict[str, str], tmp_path: Path) -> None:
    """CO-3: ten hosts of a scope asked at once, as a classic `docker build` does, are one mint."""
    hosts = [f"h{number}.one.fake.example" for number in range(10)]
    processes = [_start("get", env | {"FAKE_SECONDS": "0.3"}, host) for host in hosts]
    assert len({_answer(process) for process in processes}) == 1
    assert len({_get(env, host) for host in hosts}) == 1
    assert _mints(tmp_path) == 1
    listing = subprocess.run([*_HELPER, "list"], env=env, input=b"unused", capture_output=True, check=True)
    assert set(json.loads(listing.stdout)) == set(hosts)


def test_sixty_four_calls_for_64_registries_keep_64(env: dict[str, str], tmp_path: Path) -> None:
    """CO-1 through the helper: each finds its own token again, without a mint."""
    hosts = [f"a.scope{number}.fake.example" for number in range(64)]
    processes = [_start("get", env, host) for host in hosts]
    secrets = [_answer(process) for process in processes]
    assert len(set(secrets)) == 64
    assert _mints(tmp_path) == 64
    listing = subprocess.run([*_HELPER, "list"], env=env, input=b"unused", capture_output=True, check=True)
    assert set(json.loads(listing.stdout)) == set(hosts)


def test_a_killed_holder_frees_the_lock_at_once(
    env: dict[str, str], tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """CO-4: the next one mints without waiting out the bound."""
    holder = _start("get", env | {"FAKE_SECONDS": "60"})
    started.append(holder)
    _wait_for(lambda: _mints(tmp_path) == 1)
    waiter = _start("get", env)
    time.sleep(0.3)  # it is waiting now, or will find the lock free
    assert waiter.poll() is None
    holder.kill()
    killed = time.monotonic()
    _answer(waiter)
    assert time.monotonic() - killed < patience(1.5)


def test_a_stopped_holder_delays_nobody_beyond_the_bound(
    env: dict[str, str], tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """CO-5: five others answer within five seconds, and when the holder goes on nothing is spoilt."""
    holder = _start("get", env | {"FAKE_SECONDS": "0.5"})
    started.append(holder)
    _wait_for(lambda: _mints(tmp_path) == 1)
    holder.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    waiters = [_start("get", env) for _ in range(5)]
    secrets = {_answer(waiter) for waiter in waiters}
    assert time.monotonic() - began < 5 + patience(0.5)
    assert _get(env) in secrets
    holder.send_signal(signal.SIGCONT)
    own = _answer(holder)
    assert _get(env) == own, "the youngest token, whole"


@pytest.mark.slow
def test_a_mint_that_outlasts_the_wait_serves_all(env: dict[str, str], tmp_path: Path) -> None:
    """CO-5: of those who have waited for four seconds one mints too, and the others hear whoever is ready first."""
    env["FAKE_SECONDS"] = "5"
    for process in [_start("get", env) for _ in range(5)]:
        assert _answer(process).startswith("token-")
    assert _mints(tmp_path) <= 2


def test_a_stampede_at_soft_expiry_renews_once(env: dict[str, str], tmp_path: Path) -> None:
    """CI-10: twenty at once get the old token, without waiting, while one renews in the background."""
    old = _get(env | {"FAKE_LIFE": "0 3600 7200"})
    assert _mints(tmp_path) == 1
    seconds = patience(2)  # longer than twenty calls take
    slow = env | {"FAKE_SECONDS": str(seconds)}
    processes = [_start("get", slow) for _ in range(20)]
    assert {_answer(process) for process in processes} == {old}
    _wait_for(lambda: _get(env) != old, seconds + 10)
    assert _mints(tmp_path) == 2


def test_the_last_resort_is_a_token_that_still_lives(env: dict[str, str], tmp_path: Path) -> None:
    """In the hard window a new token is tried first; if that fails the old one answers, until it expires."""
    old = _get(env | {"FAKE_LIFE": "0 0 4"})
    broken = env | {"FAKE_OUTCOME": "unavailable"}
    assert _get(broken) == old
    assert _mints(tmp_path) == 2
    time.sleep(4)
    process = _start("get", broken)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (
        1,
        b"the fake cloud is down\n",
        b"docker-credential-fake: the fake cloud is down; wait for better weather [a-code]\n",
    )


def test_not_found_stays_not_found(env: dict[str, str]) -> None:
    """PI-4, PI-5: from the source and from memory, with nothing on standard error."""
    for _ in range(2):
        process = _start("get", env | {"FAKE_OUTCOME": "not-found", "FAKE_SECONDS": "0.2"})
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (1, b"credentials not found in native keychain\n", b"")


@pytest.mark.slow
def test_after_an_erase_nobody_sees_the_old_token(env: dict[str, str], tmp_path: Path) -> None:
    """CI-9: eight read all the time, one erases again and again; what was erased is never answered again."""
    erased: set[str] = set()
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            before = frozenset(erased)
            secret = _get(env | {"FAKE_SECONDS": "0.02"})
            if secret in before:
                failures.append(secret)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(6):
            kept = _get(env)
            assert _start("erase", env).communicate(timeout=30) == (b"", b"")
            erased.add(kept)
            assert _get(env) not in erased
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not failures


def _open_files(process: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(link.readlink()))
    return found


def test_no_process_of_a_mint_holds_lock_or_cache(
    env: dict[str, str], tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    """CO-6: a child of the source has none of our descriptors, and dies or lives without blocking anybody."""
    script = tmp_path / "mints_with_a_child.py"
    script.write_text(
        "import runpy, subprocess, sys, time\n"
        f"names = runpy.run_path({fakes.__file__!r})\n"
        "class Source(names['FakeSource']):\n"
        "    def mint(self, server, old=None):\n"
        "        child = subprocess.Popen(['/bin/sleep', '30'], close_fds=False)\n"
        f"        open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid) + '\\n')\n"
        "        time.sleep(30)\n"
        "import posix\n"
        "from credhelpers.minted import Minted\n"
        "from credhelpers.protocols.docker import serve\n"
        "serve(Minted(Source(posix.environ), route=names['owned']))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-I", str(script), "get"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )
    started.append(parent)
    assert parent.stdin is not None
    parent.stdin.write(_HOST.encode())
    parent.stdin.close()
    parent.stdin = None
    child_file = tmp_path / "child"
    _wait_for(lambda: child_file.exists() and child_file.read_text().endswith("\n"))
    child = int(child_file.read_text())
    try:
        _wait_for(lambda: Path(f"/proc/{child}/exe").readlink().name in {"sleep", "coreutils", "busybox"})
        _wait_for(lambda: _open_files(child) == {"/dev/null"})  # its libraries are loaded by then
        parent.kill()
        parent.communicate()
        began = time.monotonic()
        _get(env)
        assert time.monotonic() - began < patience(2), "the child does not keep the lock"
    finally:
        os.kill(child, signal.SIGKILL)


def test_who_looks_for_the_cause_asks_anew(env: dict[str, str], tmp_path: Path) -> None:
    """With CREDHELPERS_DEBUG set nothing is remembered of a failure, so the recipe of each page works at once."""
    slow = env | {"FAKE_OUTCOME": "unavailable", "FAKE_SECONDS": "1"}
    for more, asked in (({}, 1), ({}, 1), ({"CREDHELPERS_DEBUG": "1"}, 2), ({}, 2), ({"CREDHELPERS_DEBUG": ""}, 3)):
        process = _start("get", slow | more)
        assert process.communicate(timeout=30)[0] == b"the fake cloud is down\n"
        assert _mints(tmp_path) == asked
