"""A helper over a source that also keeps: what was typed is answered from then on, and never what was there before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.cache import TokenCache
from credhelpers.credential import Credential
from credhelpers.errors import DeadlinePassed, NotFound, Unavailable, Unsupported
from credhelpers.servers import DOCKER_HUB, Authority
from credhelpers.writable import Writable
from tests.fakes import keeper as fakes
from tests.fakes.keeper import FakeKeeper, owned
from tests.harness import NOT_FOUND, document, environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.source import Clock

_HELPER = [sys.executable, "-I", fakes.__file__]
_HOST = "a.one.fake.example"
_SISTER = "b.one.fake.example"
_OTHER = "a.two.fake.example"
_STRANGER = "ghcr.io"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the keeper keeps."""
    path = tmp_path / "kept"
    path.mkdir()
    return path


@pytest.fixture
def environ(tmp_path: Path, kept: Path) -> dict[bytes, bytes]:
    """An environment with a cache directory and a keeper in it."""
    return {b"CREDHELPERS_CACHE_DIR": os.fsencode(tmp_path / "cache"), b"FAKE_KEPT": os.fsencode(kept)}


@pytest.fixture
def keeper(environ: dict[bytes, bytes], clock: Clock) -> FakeKeeper:
    """The source, whose answers take a second of the clock that stands still otherwise."""
    source = FakeKeeper(environ)
    source.time = clock

    def pass_by() -> None:
        clock.now += 1

    source.meanwhile = pass_by
    return source


@pytest.fixture
def helper(keeper: FakeKeeper, environ: dict[bytes, bytes]) -> Writable:
    """The helper under test."""
    return Writable(keeper, environ, owned)


def _secret(credential: Credential | None) -> str | None:
    return credential.expose()[1] if credential else None


def _typed(secret: str) -> Credential:
    return Credential("user", secret)


def _once(keeper: FakeKeeper, act: Callable[[], object]) -> None:
    """Let this happen while the next answer is under way, and only then."""
    before = keeper.meanwhile

    def meanwhile() -> None:
        keeper.meanwhile = before
        before()
        act()
        before()

    keeper.meanwhile = meanwhile


# --- in one process, by a clock that stands still --------------------------------------------------------------------


def test_what_was_typed_is_answered(helper: Writable, clock: Clock) -> None:
    """For each host of it, the next call too; before that nothing was found, and that is forgotten at once."""
    for host in (_HOST, _SISTER):
        with pytest.raises(NotFound):
            helper.get(Authority(host))
        with pytest.raises(NotFound):
            helper.ready(Authority(host))
    helper.store(Authority(_HOST), _typed("first"))
    clock.now += 0.01
    for host in (_SISTER, _HOST):
        assert helper.ready(Authority(host)) is None
        assert _secret(helper.get(Authority(host))) == "first"
        assert _secret(helper.ready(Authority(host))) == "first"


def test_the_old_answer_is_forgotten(helper: Writable, kept: Path) -> None:
    """The host's own, its sister's and the minter's; another scope keeps its own."""
    (kept / "one").write_text("old")
    (kept / "two").write_text("another")
    for host, secret in ((_HOST, "old"), (_SISTER, "old"), (_OTHER, "another")):
        assert _secret(helper.get(Authority(host))) == secret
    helper.store(Authority(f"https://{_HOST.upper()}:443/v2/"), _typed("new"))
    assert helper.ready(Authority(_HOST)) is None
    assert helper.ready(Authority(_SISTER)) is None
    assert _secret(helper.ready(Authority(_OTHER))) == "another"
    assert _secret(helper.get(Authority(_SISTER))) == "new"


@pytest.mark.parametrize("verb", ["store", "erase"])
def test_the_order_is_forgotten_where_only_another_host_asked(verb: str, helper: Writable, kept: Path) -> None:
    """What the first host's answer left under the order must not be the second one's after its own login or logout."""
    (kept / "one").write_text("old")
    helper.get(Authority(_SISTER))
    if verb == "store":
        helper.store(Authority(_HOST), _typed("new"))
        assert _secret(helper.get(Authority(_HOST))) == "new"
        assert _secret(helper.get(Authority(_SISTER))) == "new"
    else:
        helper.erase(Authority(_HOST))
        for host in (_HOST, _SISTER):
            with pytest.raises(NotFound):
                helper.get(Authority(host))


@pytest.mark.parametrize("verb", ["store", "erase"])
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Unavailable("a-code", "the answer was lost"), id="lost"),
        pytest.param(Unsupported("a-code", "no"), id="refused"),
        pytest.param(DeadlinePassed(), id="deadline"),
        pytest.param(KeyboardInterrupt(), id="interrupt"),
        pytest.param(ZeroDivisionError(), id="defect"),
    ],
)
def test_a_failure_half_way_forgets_too(
    error: BaseException, verb: str, helper: Writable, keeper: FakeKeeper, kept: Path
) -> None:
    """Whether it was done nobody knows, so the source is asked."""
    (kept / "one").write_text("old")
    for host in (_HOST, _SISTER):
        helper.get(Authority(host))

    def fail() -> None:
        raise error

    _once(keeper, fail)
    with pytest.raises(type(error)):
        helper.store(Authority(_HOST), _typed("new")) if verb == "store" else helper.erase(Authority(_HOST))
    for host in (_HOST, _SISTER):
        assert helper.ready(Authority(host)) is None
        if verb == "store":
            assert _secret(helper.get(Authority(host))) == "new"
        else:
            with pytest.raises(NotFound):
                helper.get(Authority(host))


@pytest.mark.parametrize(("secret", "is_taken"), [("old", True), ("new", False)], ids=["as answered", "another"])
def test_a_login_with_what_was_answered_is_taken_where_none_is_written(
    secret: str, *, is_taken: bool, helper: Writable, keeper: FakeKeeper, kept: Path
) -> None:
    """`docker login` without a password asks for it, and brings that back: nothing need be written."""
    (kept / "one").write_text("old")
    answered = helper.get(Authority(_HOST))

    def refuse() -> None:
        raise Unsupported("a-code", "no")

    _once(keeper, refuse)
    if is_taken:
        helper.store(Authority(_HOST), answered)
    else:
        with pytest.raises(Unsupported):
            helper.store(Authority(_HOST), _typed(secret))


@pytest.mark.parametrize("verb", ["store", "erase"])
@pytest.mark.parametrize("reader", ["get", "refresh"])
def test_who_read_before_does_not_bring_the_old_one_back(
    reader: str, verb: str, helper: Writable, keeper: FakeKeeper, kept: Path, clock: Clock
) -> None:
    """An answer that was under way when the source changed is kept for nobody."""
    (kept / "one").write_text("old")
    if reader == "refresh":
        helper.get(Authority(_HOST))
        clock.now += 5000
    _once(
        keeper,
        lambda: (
            helper.store(Authority(_SISTER), _typed("new")) if verb == "store" else helper.erase(Authority(_SISTER))
        ),
    )
    getattr(helper, reader)(Authority(_HOST))
    clock.now += 1
    for host in (_HOST, _SISTER):
        assert helper.ready(Authority(host)) is None
        if verb == "store":
            assert _secret(helper.get(Authority(host))) == "new"
        else:
            with pytest.raises(NotFound):
                helper.get(Authority(host))


@pytest.mark.parametrize("verb", ["store", "erase"])
def test_who_reads_while_it_is_written_does_not_keep_it(
    verb: str, helper: Writable, keeper: FakeKeeper, kept: Path
) -> None:
    """The cache is emptied before the change, so somebody may fill it with what was before, or half of it."""
    (kept / "one").write_text("old")
    cache = TokenCache("fake", keeper.environ[b"CREDHELPERS_CACHE_DIR"])
    minter = keeper.minter(owned(Authority(_HOST), {}, "fake"))

    def put_back() -> None:
        now = keeper.time()
        old = Credential("user", "old", soft=now + 9, hard=now + 9, expires=now + 9)
        cache.save(minter.token_key, _HOST, old, now)
        wanted = helper._wanted(Authority(_HOST), *helper._recorded(Authority(_HOST)))
        cache.save(wanted.host_key, _HOST, old, now, wanted.receipt)
        assert _secret(helper.ready(Authority(_HOST))) == "old"

    _once(keeper, put_back)
    helper.store(Authority(_HOST), _typed("new")) if verb == "store" else helper.erase(Authority(_HOST))
    assert helper.ready(Authority(_HOST)) is None
    assert cache.load(minter.token_key) is None


def test_who_found_nothing_before_does_not_hide_what_was_typed(helper: Writable, keeper: FakeKeeper) -> None:
    """A pull that fails while somebody logs in is not remembered for those after it."""
    _once(keeper, lambda: helper.store(Authority(_HOST), _typed("new")))
    with pytest.raises(NotFound):
        helper.get(Authority(_HOST))
    assert helper.ready(Authority(_HOST)) is None
    assert _secret(helper.get(Authority(_SISTER))) == "new"
    assert _secret(helper.get(Authority(_HOST))) == "new"


@pytest.mark.parametrize("verb", ["store", "erase"])
def test_nothing_old_is_there_while_it_is_changed(
    verb: str, helper: Writable, keeper: FakeKeeper, clock: Clock, environ: dict[bytes, bytes]
) -> None:
    """Whoever is killed then leaves nothing that would be answered; and what others kept meanwhile goes at the end."""
    helper.store(Authority(_HOST), _typed("old"))
    clock.now += 1
    assert _secret(helper.get(Authority(_HOST))) == "old"
    cache = Path(os.fsdecode(environ[b"CREDHELPERS_CACHE_DIR"]))

    def tokens() -> set[str]:
        return {path.name for path in cache.glob("fake-*") if len(path.name) == len("fake-") + 40}

    before, seen = tokens(), []

    def meanwhile() -> None:
        seen.append(tokens())
        clock.now += 1
        for name in before:
            (cache / name).write_text("what somebody has kept")
            (cache / name).chmod(0o600)

    assert len(before) == 2
    keeper.meanwhile = meanwhile
    if verb == "store":
        helper.store(Authority(_HOST), _typed("new"))
    else:
        helper.erase(Authority(_HOST))
    assert seen == [set()]
    assert tokens() == set()


def test_what_a_stranger_types_is_kept_nowhere(helper: Writable, kept: Path, tmp_path: Path) -> None:
    """The message says what is missing, and nothing of what was typed."""
    for server in (_STRANGER, f"{_HOST}:5000", f"http://{_HOST}", f"u@{_HOST}", "nerdctl-experimental://x"):
        with pytest.raises(Unsupported, match="names no place for this registry") as raised:
            helper.store(Authority(server), _typed("made-up"))
        assert "config.toml" in raised.value.hint
        assert "docs/fake.md" in raised.value.hint
        assert "made-up" not in raised.value.message + raised.value.hint
    assert list(kept.iterdir()) == []
    assert not (tmp_path / "cache").exists()


def test_nothing_to_forget_is_success(helper: Writable, keeper: FakeKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a stranger, nor where the source has nothing or says so."""
    for server in (_STRANGER, f"u@{_HOST}", _HOST):
        helper.erase(Authority(server))
    assert keeper.olds == [None]

    def nothing(*_: object) -> None:
        raise NotFound

    monkeypatch.setattr(fakes.FakeKeeping, "erase", nothing)
    helper.erase(Authority(_HOST))


def test_what_is_in_hand_is_given_to_be_ended(helper: Writable, keeper: FakeKeeper, kept: Path, clock: Clock) -> None:
    """With its memo; also where only a sister asked for it, and where it is due; not if it has expired."""
    (kept / "one").write_text("old")
    for passed, expected in ((0, "of old"), (8000, "of old"), (9000, None)):
        (kept / "one").write_text("old")
        helper.get(Authority(_SISTER))
        clock.now += passed
        keeper.olds.clear()
        helper.erase(Authority(_HOST))
        assert [old.memo if old else None for old in keeper.olds] == [expected]
        clock.now += 1


def test_what_failed_since_does_not_hide_what_is_in_hand(
    helper: Writable, keeper: FakeKeeper, kept: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal that failed a moment ago is no reason not to end the old one."""
    (kept / "one").write_text("old")
    helper.get(Authority(_HOST))
    clock.now += 4000

    def fail() -> None:
        raise Unavailable("a-code", "it rains")

    _once(keeper, fail)
    with pytest.raises(Unavailable):
        helper.refresh(Authority(_HOST))
    keeper.olds.clear()
    helper.erase(Authority(_HOST))
    assert [old.memo if old else None for old in keeper.olds] == ["of old"]


@pytest.mark.parametrize("error", [NotFound(), Unavailable("a-code", "config.toml: not TOML")])
def test_erase_forgets_whatever_the_configuration_says_now(
    error: Exception, helper: Writable, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is not named any more, or a file that is broken: the cached one goes, and only a defect is told."""
    (kept / "one").write_text("old")
    helper.get(Authority(_HOST))

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(FakeKeeper, "minter", fail)
        if isinstance(error, NotFound):
            helper.erase(Authority(_HOST))
        else:
            with pytest.raises(Unavailable):
                helper.erase(Authority(_HOST))
    assert helper.ready(Authority(_HOST)) is None


def test_list_names_what_is_kept_and_what_is_cached(helper: Writable, kept: Path, clock: Clock) -> None:
    """What lies at the source, what `get` has in hand besides, and the Hub by the name that docker has for it."""
    assert helper.list() == {}
    helper.store(Authority("docker.io"), _typed("made-up"))
    helper.store(Authority(_HOST), _typed("made-up"))
    (kept / "two").write_text("x")
    clock.now += 1
    helper.get(Authority(_SISTER))
    assert _secret(helper.get(Authority("registry-1.docker.io"))) == "made-up"
    assert helper.list() == {
        DOCKER_HUB: "user",
        **{f"a.{scope}.fake.example": "user" for scope in ("one", "two", "docker")},
        _SISTER: "user",
    }


def test_list_names_what_is_cached_though_the_source_is_away(helper: Writable, kept: Path) -> None:
    """What is broken is left out, and the rest stays."""
    (kept / "one").write_text("x")
    helper.get(Authority(_HOST))

    def fail() -> dict[str, str]:
        raise Unavailable("a-code", "away")

    helper._writable.list = fail  # type: ignore[method-assign]
    assert helper.list() == {_HOST: "user"}


@pytest.mark.parametrize("name", ["access-token", "refresh-token"])
def test_the_tokens_of_docker_s_own_login_are_accepted_and_not_kept(name: str, helper: Writable, kept: Path) -> None:
    """A login in the browser stores them first, and fails if it cannot; they open nothing that a pull asks for."""
    helper.store(Authority(DOCKER_HUB + name), _typed("made-up"))
    assert list(kept.iterdir()) == []
    with pytest.raises(NotFound):
        helper.get(Authority(DOCKER_HUB + name))
    helper.erase(Authority(DOCKER_HUB + name))


# --- many processes --------------------------------------------------------------------------------------------------


@pytest.fixture
def env(tmp_path: Path, kept: Path) -> dict[str, str]:
    """The environment of real calls."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return environment(home, CREDHELPERS_CACHE_DIR=str(home / "cache"), FAKE_KEPT=str(kept))


def _call(verb: str, content: str | bytes, env: dict[str, str]) -> bytes:
    stdin = content.encode() if isinstance(content, str) else content
    done = subprocess.run([*_HELPER, verb], input=stdin, env=env, capture_output=True, timeout=60, check=False)
    assert done.stderr == b"", done
    return done.stdout


def _get(env: dict[str, str], host: str = _HOST) -> str | None:
    answer = _call("get", host, env)
    return None if answer == NOT_FOUND else str(json.loads(answer)["Secret"])


@pytest.mark.parametrize("verb", ["store", "erase"])
def test_a_call_that_is_killed_after_the_change_leaves_no_old_answer(
    verb: str, env: dict[str, str], kept: Path
) -> None:
    """The source has changed, and nobody came to say so."""
    (kept / "one").write_text("old")
    assert {_get(env), _get(env, _SISTER)} == {"old"}
    content = document(_HOST, "user", "new") if verb == "store" else _HOST.encode()
    with subprocess.Popen(
        [*_HELPER, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env | {"FAKE_SECONDS": "30"}
    ) as process:
        assert process.stdin is not None
        process.stdin.write(content)
        process.stdin.close()
        process.stdin = None
        until = time.monotonic() + 10
        while (kept / "one").exists() and (kept / "one").read_text() == "old":
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    expected = "new" if verb == "store" else None
    assert (_get(env), _get(env, _SISTER)) == (expected, expected)


@pytest.mark.slow
def test_after_a_login_nobody_sees_the_old_password(env: dict[str, str], kept: Path) -> None:
    """Six read and renew all the time, one logs in and out: a call answers what was there as it began, or later."""
    (kept / "one").write_text("0")
    done = threading.Event()
    now = 0
    odd: list[tuple[int, str | None]] = []

    def read(host: str) -> None:
        while not done.is_set():
            least = now
            secret = _get(env | {"FAKE_SECONDS": "0.03", "FAKE_LIFE": "0 60 60"}, host)
            if secret is not None and int(secret) < least:
                odd.append((least, secret))

    readers = [threading.Thread(target=read, args=(host,)) for host in (_HOST, _SISTER) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 9):
            if number % 3 == 0:
                assert _call("erase", _SISTER, env) == b""
                assert _get(env) is None
            assert _call("store", document(_HOST, "user", str(number)), env) == b""
            now = number
            assert (_get(env), _get(env, _SISTER)) == (str(number), str(number))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not odd
