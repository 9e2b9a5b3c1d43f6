"""A token's last minutes (1.A11): with less left than `min_life` the new one is awaited for a moment.

By the helper of a cloud that exists only here, see `tests.fakes.source`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from credhelpers import cached_token, lifetimes
from credhelpers.cache import TokenCache
from credhelpers.cached_token import Failure
from credhelpers.config.lines import owners
from credhelpers.credential import Credential
from credhelpers.errors import Unavailable
from credhelpers.plan import route
from credhelpers.servers import Authority
from credhelpers.tokens import Tokens, Wanted
from tests.fakes import source
from tests.harness import environment, patience

HELPER = [sys.executable, "-P", "-m", "tests.fakes.source"]
HOST = "a.one.fake.example"
NOW = 1_800_000_000.0
MINUTE, HOUR = 60, 3600


@pytest.fixture
def env(home: Path, tmp_path: Path) -> dict[str, str]:
    """With a cache, and a log of mints."""
    root = Path(source.__file__).parents[2]
    return environment(home, FAKE_LOG=str(tmp_path / "mints"), PYTHONPATH=str(root), FAKE_IDENTITY="one")


def get(env: dict[str, str], host: str = HOST) -> tuple[str, float]:
    """The secret, and how long it took."""
    began = time.monotonic()
    done = subprocess.run([*HELPER, "get"], input=host.encode(), env=env, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done
    assert done.stderr == b""
    return json.loads(done.stdout)["Secret"], time.monotonic() - began


def mints(env: dict[str, str]) -> int:
    return len(Path(env["FAKE_LOG"]).read_text().splitlines())


def when_renewed(env: dict[str, str], old: str) -> str:
    """The new token, once it is there."""
    until = time.monotonic() + 10
    while (found := get(env)[0]) == old:
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("life", "is_awaited"),
    [
        pytest.param("0 3600 7200", False, id="soft, and hours are left"),
        pytest.param("0 300 700", False, id="own: eleven minutes are left"),
        pytest.param("0 300 590", True, id="1.A11 less than ten minutes are left"),
        pytest.param("0 60 61", True, id="own: one that never lives so long"),
        pytest.param("0 60 60", False, id="own: one that is only to be looked at again, as from KV"),
        pytest.param("30 300 400", False, id="own: not soft yet, as short as it is"),
    ],
)
def test_what_is_nearly_over_is_not_answered(env: dict[str, str], life: str, *, is_awaited: bool) -> None:
    """Below ten minutes the new one is, within a second; with more left the old one is, at once."""
    old, _ = get(env | {"FAKE_LIFE": life})
    found, _ = get(env | {"FAKE_SECONDS": "0.2"})
    assert (found != old) == is_awaited
    if is_awaited:
        assert get(env)[0] == found
        assert mints(env) == 2


def test_it_is_awaited_for_about_a_second(env: dict[str, str]) -> None:
    """A slow cloud costs no more than that; it is asked once, and its token is kept when it comes."""
    old, _ = get(env | {"FAKE_LIFE": "0 300 500"})
    found, took = get(env | {"FAKE_SECONDS": str(1 + patience(0.8))})
    assert found == old
    assert 1 <= took < 1 + patience(0.6)
    when_renewed(env, old)
    assert mints(env) == 2


def test_a_stampede_renews_once(env: dict[str, str]) -> None:
    """Twenty at once have the new one out of one mint."""
    old, _ = get(env | {"FAKE_LIFE": "0 300 500"})
    calls = [
        subprocess.Popen(
            [*HELPER, "get"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env | {"FAKE_SECONDS": "0.3"}
        )
        for _ in range(20)
    ]
    secrets = {json.loads(call.communicate(HOST.encode(), timeout=30)[0])["Secret"] for call in calls}
    assert len(secrets - {old}) <= 1
    when_renewed(env, old)
    assert mints(env) == 2


def test_not_in_the_pause_after_a_failed_renewal(env: dict[str, str]) -> None:
    """The failure ends the wait, and until the pause is over nobody waits again."""
    old, _ = get(env | {"FAKE_LIFE": "0 300 500"})
    broken = env | {"FAKE_OUTCOME": "unavailable", "FAKE_SECONDS": "0.1"}
    found, took = get(broken)
    assert found == old
    assert took < patience(0.9)
    for _ in range(3):
        found, took = get(broken | {"FAKE_SECONDS": "5"})
        assert found == old
        assert took < patience(0.6)
    assert mints(env) == 2, "which counts what failed, too"


def test_own_another_host_of_the_token_has_the_new_one_too(env: dict[str, str]) -> None:
    """A token is as old for a host that is asked for the first time."""
    old, _ = get(env | {"FAKE_LIFE": "0 300 500"})
    found, _ = get(env, "b.one.fake.example")
    assert found != old
    assert get(env)[0] == found


# --- the moments -----------------------------------------------------------------------------------------------------


def made(row: lifetimes.Lifetime, life: float) -> Credential:
    """What lives so long, from 0 on."""
    soft, hard, expires = lifetimes.window(0, life, row)
    return Credential("user", "secret", soft=soft, hard=hard, expires=expires, memo="a memo")


@pytest.mark.parametrize(
    ("row", "life", "min_life", "soft", "low"),
    [
        pytest.param(lifetimes.GCR, HOUR, 0, 2880, 3540 - 600, id="GCR"),
        pytest.param(lifetimes.ACR, 3 * HOUR, 0, 5400, 10740 - 600, id="ACR"),
        pytest.param(lifetimes.ECR, 12 * HOUR, 0, 21600, 43140 - 600, id="ECR, whose hard expiry is earlier"),
        pytest.param(lifetimes.LEASE, HOUR, 0, 1800, 3590 - 600, id="a lease"),
        pytest.param(lifetimes.ECR, 12 * HOUR, 2 * HOUR, 21600, 43140 - 7200, id="two hours of ECR"),
        pytest.param(lifetimes.GCR, HOUR, 30 * MINUTE, 1740, 1740, id="own: more than what is soft"),
        pytest.param(lifetimes.GCR, HOUR, 5 * HOUR, 1650, 1650, id="own: more than its life is the middle of its use"),
        pytest.param(lifetimes.GCR, HOUR, MINUTE, 2880, 3480, id="own: less than the usual"),
    ],
)
def test_from_when_on_it_is_awaited(
    row: lifetimes.Lifetime, life: float, min_life: float, soft: float, low: float
) -> None:
    """With less than `min_life` left before its end, see `docs/cache.md`."""
    _, hard, expires = lifetimes.window(0, life, row)
    found = lifetimes.answered(made(row, life), 0, min_life)
    assert (found.soft, found.hard, found.expires) == (soft, hard, expires)
    assert [found.is_low(now) for now in (low - 0.001, low)] == [False, True]
    assert (found.memo, found.expose()) == ("a memo", ("user", "secret"))


@pytest.mark.parametrize("min_life", [0, HOUR])
@pytest.mark.parametrize("row", [lifetimes.KV, lifetimes.ROTATED])
def test_what_need_never_be_awaited(row: lifetimes.Lifetime, min_life: float) -> None:
    """An answer from KV is read again at its end, which is no end of what it answers."""
    given = made(row, 300)
    found = lifetimes.answered(given, 0, min_life)
    assert (found.soft, found.low) == (given.soft, 0)
    assert not any(found.is_low(now) for now in (0, 150, 299))
    assert not Credential("user", "for ever").is_low(NOW)


def test_the_page_says_how_much() -> None:
    """`docs/cache.md` has the usual number, and so has the table of common keys."""
    docs = Path(__file__).parent.parent / "docs"
    number = f"{lifetimes.LITTLE.least / MINUTE:.0f} minutes"
    assert number in re.findall(r"^\| .*`min_life`.*\|$", (docs / "cache.md").read_text(), re.MULTILINE)[0]
    assert number in re.findall(r"^\| `min_life` \|.*\|$", (docs / "configuration.md").read_text(), re.MULTILINE)[0]


# --- the setting -----------------------------------------------------------------------------------------------------


def configured(home: Path, line: str, source: str = "ecr") -> dict[bytes, bytes]:
    file = home / "config.toml"
    file.write_text(f'[[registry]]\nmatch = "a.example"\nsource = "{source}"\n{line}\n')
    return {b"HOME": str(home).encode(), b"CREDHELPERS_CONFIG": str(file).encode()}


@pytest.mark.parametrize("source", ["acr", "ecr", "gcr", "vault"])
@pytest.mark.parametrize(
    ("value", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("1d", 86400), ("1h30m", 5400), ("1d2h", 93600)]
)
def test_an_entry_of_any_source_may_say_it(home: Path, source: str, value: str, seconds: float) -> None:
    """It is none of the source's own settings, so it chooses no other token."""
    line = 'path = "kv/x"\n' * (source == "vault") + f'min_life = "{value}"'
    found = route(Authority("a.example"), configured(home, line, source), source)
    assert found.min_life == seconds
    assert found.settings == ({"path": "kv/x"} if source == "vault" else {})


@pytest.mark.parametrize("value", ['"0s"', '"-1m"', '"ten"', '"5"', '"5 m"', '""', "600", "true", '["5m"]'])
def test_what_is_no_duration(home: Path, value: str) -> None:
    """It is an error with its line, in every source."""
    (entry,) = owners(configured(home, f"min_life = {value}")).entries
    assert entry.mistake
    assert entry.mistake.code == "config-value"
    assert entry.mistake.message == "config.toml: line 4: `min_life` is not a duration"


@pytest.mark.parametrize("key", ["keep", "min_life"])
def test_durations_take_days(home: Path, key: str) -> None:
    """As Vault's own do."""
    (entry,) = owners(configured(home, f'path = "kv/x"\n{key} = "7d"', "vault")).entries
    assert entry.mistake is None


# --- what lies in the cache ------------------------------------------------------------------------------------------


def wanted(min_life: float, host: str) -> Wanted:
    """A token of an hour, wanted for a host for which it must live so long."""

    class Minter:
        token_key = "a" * 40

        def mint(self, _old: Credential | None = None) -> Credential:
            soft, hard, expires = lifetimes.window(time.time(), time.time() + HOUR, lifetimes.GCR)
            return Credential("user", "secret", soft=soft, hard=hard, expires=expires)

    return Wanted(Minter(), host, f"{len(host):039x}0", ("word\tenv A -", "word\tenv A -"), min_life=min_life)


def test_hosts_of_one_token_have_moments_of_their_own(tmp_path: Path) -> None:
    """What an entry says is for its hosts: the token is minted once all the same."""
    tokens = Tokens("fake", {b"CREDHELPERS_CACHE_DIR": str(tmp_path / "cache").encode()})
    tokens.get(wanted(0, "a.example"))
    first = tokens.get(wanted(0, "a.example"))
    second = tokens.get(wanted(50 * MINUTE, "bb.example"))
    assert first.tail() == second.tail()
    assert first.low == 0
    assert 0 < second.low < second.hard
    found = tokens.cache.tokens()
    kept = [found[f"{len(host):039x}0"].credential for host in ("a.example", "bb.example")]
    assert [int(one.low) for one in kept] == [int(first.low), int(second.low)]
    assert kept[1].soft == kept[1].low < kept[0].soft


def test_a_failure_is_known_by_what_lies_beside_the_token(tmp_path: Path) -> None:
    """One that still counts has nobody wait; one of long ago, or of what was mended, has not."""
    folder = str(tmp_path / "cache").encode()
    cache = TokenCache("fake", folder, {})
    now = time.time()
    key = "b" * 39 + "0"
    token = Credential("user", "secret", soft=now - 5, hard=now + 60, expires=now + 90, low=now - 5)
    why = Unavailable("a-code", "a cause", "a hint")

    def low() -> float:
        found = cached_token.load(folder, [f"fake-{key}".encode()], {})
        assert isinstance(found, cached_token.CachedToken)
        return found.credential.low

    cache.save(key, "a.example", token, now - 60, "word\tenv A -")
    assert low() == int(now - 5)
    for at, receipt, is_known in (
        (now - 1, "word\tenv A -", True),
        (now - lifetimes.RENEWAL_PAUSE - 1, "word\tenv A -", False),
        (now - 1, "word\tenv A 0123", False),
    ):
        cache.save_failure(key, Failure(why, at, 0, receipt, "a.example"), is_copy=False)
        assert (low() == int(now + 90)) == is_known
