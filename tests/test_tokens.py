"""Tokens of one kind without a server: refused ones, what is in hand for the next mint, kinds that need each other."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from credhelpers import lifetimes
from credhelpers.cache import TokenCache
from credhelpers.cached_token import CachedToken
from credhelpers.credential import Credential
from credhelpers.errors import NotFound, Unavailable
from credhelpers.recorder import Recorder
from credhelpers.tokens import Tokens, Wanted
from tests.harness import environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fakes.source import Clock

_KEY = "0123456789abcdef" * 2 + "00000abc"
_LIFE = (100, 200, 300)


class FakeMinter:
    """Tokens that are numbered, each with a memo; `olds` is what was in hand when they were minted."""

    def __init__(self, clock: Clock, key: str = _KEY) -> None:
        self.token_key = key
        self.clock = clock
        self.olds: list[str | None] = []
        self.error: Exception | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def mint(self, old: Credential | None = None) -> Credential:
        self.olds.append(f"{_secret(old)}, {old.memo}" if old else None)
        self.clock.now += 1
        self.meanwhile()
        if self.error:
            raise self.error
        soft, hard, expires = (self.clock.now + seconds for seconds in _LIFE)
        number = len(self.olds)
        return Credential("u", f"token-{number}", soft=soft, hard=hard, expires=expires, memo=f"memo {number}")


@pytest.fixture
def minter(clock: Clock) -> FakeMinter:
    """What is minted."""
    return FakeMinter(clock)


@pytest.fixture
def environ(folder: Path) -> dict[bytes, bytes]:
    """An environment with a cache directory in it."""
    return {b"CREDHELPERS_CACHE_DIR": os.fsencode(folder)}


@pytest.fixture
def tokens(environ: dict[bytes, bytes]) -> Tokens:
    """The tokens under test."""
    return Tokens("fake", environ)


def _secret(credential: Credential | None) -> str | None:
    return credential.expose()[1] if credential else None


# --- in one process, by a clock that stands still --------------------------------------------------------------------


def test_a_token_without_a_host_is_kept_once(tokens: Tokens, minter: FakeMinter, folder: Path) -> None:
    """It answers nobody but who has its key, and no erase of a host concerns it."""
    assert tokens.ready(_KEY) is None
    assert tokens.cached(_KEY) is None
    assert _secret(tokens.get(Wanted(minter))) == "token-1"
    assert _secret(tokens.get(Wanted(minter))) == "token-1"
    assert _secret(tokens.ready(_KEY)) == _secret(tokens.cached(_KEY)) == "token-1"
    assert [path.name for path in folder.glob("fake-*") if "lock" not in path.name] == [f"fake-{_KEY}"]
    assert [cached.hosts for cached in tokens.cache.tokens().values()] == [()]
    for host in ("", "a.one.fake.example"):
        tokens.cache.erase(host, "f" * 40)
    assert _secret(tokens.ready(_KEY)) == "token-1"
    tokens.cache.erase("", _KEY)
    assert tokens.ready(_KEY) is None


def test_kinds_do_not_mix(tokens: Tokens, minter: FakeMinter, environ: dict[bytes, bytes]) -> None:
    """The same key under another kind is another token, also where one name begins with the other."""
    tokens.get(Wanted(minter))
    other = Tokens("faketoken", environ)
    assert other.ready(_KEY) is None
    other.cache.erase("", _KEY)
    assert _secret(tokens.ready(_KEY)) == "token-1"
    assert [cached.credential.memo for cached in tokens.cache.tokens().values()] == ["memo 1"]
    assert other.cache.tokens() == {}


@pytest.mark.parametrize("value", [b"1", b"false"])
def test_without_a_cache_everybody_mints(value: bytes, environ: dict[bytes, bytes], minter: FakeMinter) -> None:
    """Nothing is in hand then, and what is refused is never met again."""
    tokens = Tokens("fake", environ | {b"OFF": value}, b"OFF")
    first = tokens.get(Wanted(minter))
    assert _secret(tokens.get(Wanted(minter), first)) == "token-2"
    assert tokens.ready(_KEY) is None
    assert tokens.cached(_KEY) is None
    assert minter.olds == [None, None]


@pytest.mark.parametrize(
    ("passed", "old"),
    [
        pytest.param(210, "token-1, memo 1", id="due"),
        pytest.param(298, "token-1, memo 1", id="nearly expired"),
        pytest.param(301, None, id="expired"),
    ],
)
def test_what_is_in_hand_is_given_to_the_mint(
    passed: int, old: str | None, tokens: Tokens, minter: FakeMinter, clock: Clock
) -> None:
    """With its memo, as long as it opens something."""
    tokens.get(Wanted(minter))
    clock.now += passed
    assert _secret(tokens.get(Wanted(minter))) == "token-2"
    assert minter.olds == [None, old]


def test_a_renewal_gets_what_is_in_hand(tokens: Tokens, minter: FakeMinter, clock: Clock) -> None:
    """Each time the youngest; nothing where there is none."""
    tokens.refresh(Wanted(minter))
    for _ in range(2):
        clock.now += 150
        tokens.refresh(Wanted(minter))
    assert minter.olds == [None, "token-1, memo 1", "token-2, memo 2"]


def test_a_refused_token_is_not_given_to_the_mint(tokens: Tokens, minter: FakeMinter, clock: Clock) -> None:
    """What opens nothing any more cannot be renewed, due or not."""
    first = tokens.get(Wanted(minter))
    assert _secret(tokens.get(Wanted(minter), first)) == "token-2"
    clock.now += 250
    second = tokens.cached(_KEY)
    assert _secret(tokens.get(Wanted(minter), second)) == "token-3"
    assert minter.olds == [None, None, None]


def test_who_comes_later_with_a_refused_token_gets_the_new_one(tokens: Tokens, minter: FakeMinter) -> None:
    """One mint for all that were refused the same, and what another one was refused does not matter."""
    first = tokens.get(Wanted(minter))
    stranger = Credential("u", "never seen", memo="memo 1")
    assert _secret(tokens.get(Wanted(minter), stranger)) == "token-1"
    for _ in range(3):
        assert _secret(tokens.get(Wanted(minter), first)) == "token-2"
    assert len(minter.olds) == 2


def test_nobody_gets_the_refused_token_while_another_mints(
    tokens: Tokens, minter: FakeMinter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter that sees nothing but the refused one waits on, and mints in the end."""
    first = tokens.get(Wanted(minter))
    lock = tokens.cache.lock(_KEY)
    assert lock is not None
    began = clock.now
    assert _secret(tokens.get(Wanted(minter), first)) == "token-2"
    assert 4 <= clock.now - began < 5.2
    second = tokens.cached(_KEY)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        now = clock.now
        theirs = Credential("u", "theirs", soft=now + 9, hard=now + 9, expires=now + 9)
        tokens.cache.save(_KEY, "", theirs, now)

    monkeypatch.setattr("credhelpers.tokens.sleep", sleep)
    assert _secret(tokens.get(Wanted(minter), second)) == "theirs"
    assert len(minter.olds) == 2
    lock.release()


def test_a_failure_does_not_bring_the_refused_token_back(tokens: Tokens, minter: FakeMinter) -> None:
    """The next one hears of the failure, and is not sent away with what was refused."""
    first = tokens.get(Wanted(minter))
    minter.error = Unavailable("a-code", "it rains")
    for _ in range(3):
        with pytest.raises(Unavailable, match="it rains"):
            tokens.get(Wanted(minter), first)
    assert len(minter.olds) == 2
    assert _secret(tokens.ready(_KEY)) == "token-1", "for who was not refused"


def test_a_failure_is_ready_and_not_cached(tokens: Tokens, minter: FakeMinter) -> None:
    """`ready` raises what just failed, `cached` says that there is none."""
    minter.error = NotFound()
    with pytest.raises(NotFound):
        tokens.get(Wanted(minter))
    with pytest.raises(NotFound):
        tokens.ready(_KEY)
    assert tokens.cached(_KEY) is None


# --- with a host -----------------------------------------------------------------------------------------------------

_HOST = "a.one.fake.example"
_COPY = "f" * 39 + "0"


class Asker:
    """Who wants a token for a host; what decided who mints is a variable."""

    def __init__(self, minter: FakeMinter, environ: dict[bytes, bytes]) -> None:
        self.minter = minter
        self.environ = environ
        self.is_still = True

    def wanted(self, host: str = _HOST, copy: str = _COPY) -> Wanted:
        """It, with the receipt of now."""
        recorder = Recorder(self.environ)
        recorder.variable(b"WHO")
        return Wanted(
            self.minter, host, copy, (recorder.text(), recorder.text(is_of_failure=True)), lambda: self.is_still
        )


@pytest.fixture
def asker(minter: FakeMinter, environ: dict[bytes, bytes]) -> Asker:
    """Who asks."""
    return Asker(minter, environ)


def test_a_token_answers_its_host(tokens: Tokens, asker: Asker, environ: dict[bytes, bytes]) -> None:
    """By a copy, under the receipt; another host of the same minter gets a copy of the same one."""
    assert _secret(tokens.get(asker.wanted())) == "token-1"
    other = "e" * 39 + "0"
    assert tokens.ready(other) is None
    assert _secret(tokens.get(asker.wanted("b.one.fake.example", other))) == "token-1"
    for key in (_KEY, _COPY, other):
        assert _secret(tokens.ready(key)) == "token-1"
    environ[b"WHO"] = b"another"
    assert [_secret(tokens.ready(key)) for key in (_KEY, _COPY, other)] == ["token-1", None, None]


@pytest.mark.parametrize("keys", [(), (_KEY,)])
def test_a_host_is_forgotten(
    keys: tuple[str, ...], tokens: Tokens, asker: Asker, environ: dict[bytes, bytes], clock: Clock
) -> None:
    """Also what was kept before somebody switched the cache off."""
    tokens.get(asker.wanted())
    Tokens("fake", environ | {b"OFF": b"1"}, b"OFF").erase(_HOST, *keys)
    assert tokens.ready(_KEY) is None
    assert tokens.ready(_COPY) is None
    clock.now += 1
    tokens.get(asker.wanted())
    tokens.erase("b.one.fake.example")
    assert _secret(tokens.ready(_COPY)) == "token-2"


def test_a_failure_is_remembered_for_its_host(
    tokens: Tokens, asker: Asker, environ: dict[bytes, bytes], clock: Clock
) -> None:
    """And for whoever else wants the same token, but not for another identity, and not for long."""
    asker.minter.error = Unavailable("a-code", "it rains", "wait")
    with pytest.raises(Unavailable, match="it rains"):
        tokens.get(asker.wanted())
    other = "e" * 39 + "0"
    with pytest.raises(Unavailable, match="it rains"):
        tokens.get(asker.wanted("b.one.fake.example", other))
    assert len(asker.minter.olds) == 1
    for key in (_KEY, _COPY, other):
        with pytest.raises(Unavailable, match="it rains") as raised:
            tokens.ready(key)
        assert raised.value.hint == "wait"
    environ[b"WHO"] = b"another"
    assert [tokens.ready(key) for key in (_COPY, other)] == [None, None]
    del environ[b"WHO"]
    clock.now += 3600
    assert [tokens.ready(key) for key in (_KEY, _COPY, other)] == [None, None, None]


@pytest.mark.parametrize("error", [None, Unavailable("a-code", "it rains")])
def test_what_was_minted_for_who_is_another_by_now(
    error: Exception | None, tokens: Tokens, asker: Asker, clock: Clock
) -> None:
    """It answers this call, and is kept for nobody; nor is a failure remembered."""
    asker.minter.error = error
    asker.is_still = False
    if error:
        with pytest.raises(Unavailable, match="it rains"):
            tokens.get(asker.wanted())
    else:
        assert _secret(tokens.get(asker.wanted())) == "token-1"
    assert [tokens.ready(key) for key in (_KEY, _COPY)] == [None, None]
    asker.minter.error, asker.is_still = None, True
    kept = tokens.get(asker.wanted())
    asker.is_still = False
    other = "e" * 39 + "0"
    assert _secret(tokens.get(asker.wanted("b.one.fake.example", other))) == _secret(kept)
    assert tokens.ready(other) is None
    clock.now += 150
    tokens.refresh(asker.wanted())
    assert _secret(tokens.ready(_COPY)) == _secret(kept)


def test_who_fails_late_has_what_another_got(tokens: Tokens, asker: Asker, clock: Clock) -> None:
    """A newer token answers; one that was in hand before does not."""
    first = tokens.get(asker.wanted())
    clock.now += 250
    asker.minter.error = Unavailable("a-code", "it rains")
    with pytest.raises(Unavailable, match="it rains"):
        tokens.get(asker.wanted())
    clock.now += 30
    end = clock.now + 300
    theirs = Credential("u", "theirs", soft=end, hard=end, expires=end)
    asker.minter.meanwhile = lambda: tokens.cache.save(_KEY, _HOST, theirs, clock.now)
    assert _secret(tokens.get(asker.wanted())) == "theirs"
    assert _secret(first) == "token-1"


def test_a_renewal_waits_after_a_failure(tokens: Tokens, asker: Asker, clock: Clock) -> None:
    """For the pause of the table, to the second, and does nothing while the token is fresh or another renews it."""
    tokens.get(asker.wanted())
    tokens.refresh(asker.wanted())
    assert len(asker.minter.olds) == 1
    clock.now = tokens.ready(_COPY).soft  # type: ignore[union-attr]
    asker.minter.error = Unavailable("a-code", "it rains")
    with pytest.raises(Unavailable):
        tokens.refresh(asker.wanted())
    failed = clock.now
    for passed, mints in ((0, 2), (lifetimes.RENEWAL_PAUSE - 1, 2), (lifetimes.RENEWAL_PAUSE, 3)):
        clock.now = failed + passed
        with contextlib.suppress(Unavailable):
            tokens.refresh(asker.wanted())
        assert len(asker.minter.olds) == mints
    clock.now += lifetimes.RENEWAL_PAUSE
    lock = tokens.cache.lock(_KEY)
    assert lock
    tokens.refresh(asker.wanted())
    assert len(asker.minter.olds) == 3
    lock.release()
    with contextlib.suppress(Unavailable):
        tokens.refresh(asker.wanted())
    assert len(asker.minter.olds) == 4


def test_a_token_that_has_expired_already_is_none(tokens: Tokens, asker: Asker, clock: Clock) -> None:
    """Its clock or ours is wrong, and that is said."""
    true = asker.minter.mint

    def mint(old: Credential | None = None) -> Credential:
        found = true(old)
        found.expires = clock.now
        return found

    asker.minter.mint = mint  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="fake issued a token that has already expired") as raised:
        tokens.get(asker.wanted())
    assert "date -u" in raised.value.hint


def test_a_shortage_is_not_remembered(tokens: Tokens, asker: Asker) -> None:
    """It is over as soon as another process ends."""
    asker.minter.error = Unavailable("a-code", "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("credhelpers.tokens.shortage", lambda error: error is asker.minter.error)
        with pytest.raises(Unavailable):
            tokens.get(asker.wanted())
    assert [tokens.ready(key) for key in (_KEY, _COPY)] == [None, None]


@pytest.mark.parametrize("verb", ["get", "refresh"])
def test_a_mint_may_need_a_token_of_another_kind(
    verb: str, tokens: Tokens, minter: FakeMinter, environ: dict[bytes, bytes], clock: Clock
) -> None:
    """Though both keys have the same lock file by their digits: nobody waits for himself."""
    inner = FakeMinter(clock, _KEY)
    others = Tokens("faketoken", environ)
    minter.meanwhile = lambda: others.get(Wanted(inner))
    began = clock.now
    getattr(tokens, verb)(Wanted(minter))
    assert clock.now - began == 2, "a second for each mint"
    assert _secret(others.ready(_KEY)) == _secret(tokens.ready(_KEY)) == "token-1"


# --- the memo --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "memo",
    [
        pytest.param("", id="none"),
        pytest.param("renewable", id="a word"),
        pytest.param("lease database/creds/r/2f6a614c renewable 3600", id="words"),
        pytest.param(" two  blanks ", id="blanks"),
        pytest.param("x" * 4000, id="long"),
        pytest.param('","Secret":"other"}', id="the end of an answer"),
        pytest.param(',"Username":"other","Secret":"other"}', id="an answer"),
        pytest.param("credhelpers-cache 1", id="the head of a file"),
    ],
)
def test_a_memo_survives(memo: str, tokens: Tokens, clock: Clock) -> None:
    """Kept, copied for another host, loaded: the same memo, and the same token beside it."""
    cache = tokens.cache
    copy = _KEY[::-1]
    now = clock.now
    cache.save(_KEY, "a.example", Credential("u", "s", soft=now + 9, hard=now + 9, expires=now + 9, memo=memo), now)
    cache.share(_KEY, "b.example", copy)
    for key, hosts in ((_KEY, ("a.example", "b.example")), (copy, ("b.example",))):
        cached = cache.load(key)
        assert isinstance(cached, CachedToken)
        assert (cached.credential.memo, cached.credential.expose(), cached.hosts) == (memo, ("u", "s"), hosts)
    cache.erase("b.example", copy)
    assert cache.load(_KEY) is None, "found by the token behind the memo"


def test_a_renewed_token_is_erased_with_its_older_copies(tokens: Tokens, clock: Clock) -> None:
    """What was renewed is the same token, whatever its memo was when another host got it."""
    cache = tokens.cache
    copy = _KEY[::-1]
    for memo in ("lease 1", "lease 1 renewed"):
        now = clock.now
        cache.save(_KEY, "a.example", Credential("u", "s", soft=now + 9, hard=now + 9, expires=now + 9, memo=memo), now)
        if memo == "lease 1":
            cache.share(_KEY, "b.example", copy)
    cache.erase("c.example", _KEY)
    assert cache.load(copy) is None


@pytest.mark.parametrize(
    "memo",
    [
        pytest.param("a\nb", id="line end"),
        pytest.param("a\n", id="line end at the end"),
        pytest.param('\n,"Username":"u","Secret":"evil"}', id="another answer"),
        pytest.param("a\rb", id="carriage return"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("a\x1bb", id="escape"),
        pytest.param("a\x85b", id="next line"),
        pytest.param("a\u2028b", id="line separator"),
        pytest.param("léase", id="not ASCII"),
        pytest.param("\ud800", id="half a character"),
    ],
)
def test_a_memo_that_is_no_line_of_ascii_is_not_kept(
    memo: str, tokens: Tokens, minter: FakeMinter, clock: Clock
) -> None:
    """A server that sends such a thing costs a cached token, and never puts another token into the file."""
    now = clock.now
    hostile = Credential("u", "s", soft=now + 9, hard=now + 9, expires=now + 9, memo=memo)
    tokens.cache.save(_KEY, "a.example", hostile, now)
    assert tokens.cache.load(_KEY) is None
    tokens.get(Wanted(minter))
    tokens.cache.save(_KEY, "a.example", hostile, clock.now)
    assert _secret(tokens.ready(_KEY)) == "token-1", "what was there before stays"


# --- many processes --------------------------------------------------------------------------------------------------

_REFUSED = """
import os, posix, sys, time
from credhelpers.credential import Credential
from credhelpers.recorder import Recorder
from credhelpers.tokens import Tokens
from credhelpers.tokens import Wanted

class Minter:
    token_key = sys.argv[1]

    def mint(self, old=None):
        descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, b"renewed\\n" if old else b"new\\n")
        os.close(descriptor)
        time.sleep(0.5)
        now = time.time()
        return Credential("u", f"token-{os.getpid()}", soft=now + 100, hard=now + 200, expires=now + 300)

tokens = Tokens("fake", posix.environ)
print(tokens.get(Wanted(Minter()), Credential("u", "refused")).expose()[1])
"""


def test_many_who_were_refused_the_same_token_mint_once(folder: Path, tmp_path: Path) -> None:
    """Twenty at once, of whom nobody gets the refused one again, though by its times it is good."""
    tokens = Tokens("fake", {b"CREDHELPERS_CACHE_DIR": os.fsencode(folder)})
    cache = TokenCache("fake", os.fsencode(folder))
    now = time.time()
    refused = Credential("u", "refused", soft=now + 100, hard=now + 200, expires=now + 300, memo="renewable")
    cache.save(_KEY, "", refused, now)
    log = tmp_path / "log"
    command = [sys.executable, "-I", "-c", _REFUSED, _KEY, str(log)]
    env = environment(tmp_path, CREDHELPERS_CACHE_DIR=str(folder))
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(20)]
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert log.read_text() == "new\n"
    assert len(answers) == 1
    assert answers == {_secret(tokens.cached(_KEY))}
    assert answers != {"refused"}
