"""For how long an answer lives: the table, that of the page, and the function that makes moments of a row."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credhelpers import lifetimes
from credhelpers.lifetimes import Left, Lifetime, window

PAGE = (Path(__file__).parent.parent / "docs/cache.md").read_text()
ROWS = [value for value in vars(lifetimes).values() if isinstance(value, Lifetime)]
NOW = 1_800_000_000.0
HOUR, DAY = 3600, 86400
SHARES = {1: "all", 1 / 2: "half", 1 / 4: "a quarter", 1 / 5: "a fifth", 1 / 10: "a tenth"}
UNITS = {"day": DAY, "hour": HOUR, "minute": 60, "second": 1}


def words(seconds: float) -> str:
    """A length of time as the page writes it."""
    if seconds == math.inf:
        return "any"
    if seconds > DAY and seconds % DAY == 0:
        return f"{seconds / DAY:.0f} days"
    parts = []
    for unit, size in UNITS.items():
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number:.0f} {unit}{'s' * (number != 1)}")
    assert seconds == 0
    return " ".join(parts)


def left(part: Left) -> str:
    """What is left of a life as the page writes it."""
    if not part.share:
        assert part.most == math.inf
        return words(part.least) or "nothing"
    least = f", at least {words(part.least)}" if part.least else ""
    most = f", at most {words(part.most)}" if part.most < math.inf else ""
    return SHARES[part.share] + least + most


def table(heading: str) -> list[list[str]]:
    """The cells of the table of the page under this heading, without their marks."""
    block = re.search(rf"^\| {heading} \|.*\n\|[-|]*\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert block
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block[1].splitlines()]


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_has_the_table() -> None:
    """docs/cache.md has each row of the code, in its order, and no other."""
    assert table("source") == [
        [row.name, left(row.soft), left(row.hard), left(row.final), words(row.longest)] for row in ROWS
    ]


def test_the_page_has_what_is_besides() -> None:
    """docs/cache.md has each number beside the table, in its order, and no other."""
    assert [cell for _, cell in table("besides")] == [
        words(lifetimes.KEPT_BY_CLIENTS),
        words(lifetimes.KEEP),
        words(lifetimes.LAST_RESORT),
        words(lifetimes.UNSAID),
        words(lifetimes.ROTATION_IS_NEAR),
        words(lifetimes.ROTATION_IS_LATE),
        SHARES[lifetimes.JITTER] + " of the time to it",
        words(lifetimes.LONGEST_JITTERED),
        words(lifetimes.PIPED_ECR),
        words(lifetimes.PIPED_GOOGLE),
        words(lifetimes.RENEWAL_PAUSE),
        f"{lifetimes.REMEMBERED_TIMES} times",
        words(lifetimes.REMEMBERED_AT_MOST),
    ]
    told = {name for name, value in vars(lifetimes).items() if name.isupper() and isinstance(value, int | float)}
    assert len([name for name in told if not name.startswith("_")]) - 1 == len(table("besides"))  # INFINITY is none


# --- the function -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "life", "soft", "hard", "final"),
    [
        pytest.param(lifetimes.ECR, 43200, 21600, 42300, 43140, id="ECR, twelve hours"),
        pytest.param(lifetimes.ECR, 1200, 600, 600, 1140, id="ECR, twenty minutes"),
        pytest.param(lifetimes.ECR, 400, 100, 100, 340, id="ECR, hardly longer than clients keep an answer"),
        pytest.param(lifetimes.ECR, 100, -200, -200, 40, id="ECR, shorter than that"),
        pytest.param(lifetimes.ECR, 30, -270, -270, -30, id="ECR, shorter than what is left at its final expiry"),
        pytest.param(lifetimes.GCR, 3600, 2880, 3300, 3540, id="GCR, an hour"),
        pytest.param(lifetimes.GCR, 1800, 1200, 1500, 1740, id="GCR, half an hour"),
        pytest.param(lifetimes.GCR, 900, 300, 600, 840, id="GCR, a quarter of an hour: the middle of its use"),
        pytest.param(lifetimes.GCR_SHORT, 299, 119.5, 239, 239, id="GCR, five minutes"),
        pytest.param(lifetimes.GCR_SHORT, 61, 22.875, 45.75, 45.75, id="GCR, a minute"),
        pytest.param(lifetimes.ACR, 10800, 5400, 10500, 10740, id="ACR, three hours"),
        pytest.param(lifetimes.ACR, 500, 200, 200, 440, id="ACR, of which the half is after the hard expiry"),
        pytest.param(lifetimes.KV, 300, 150, 300, 300, id="KV"),
        pytest.param(lifetimes.KV_ENDING, 50, 22.5, 45, 45, id="KV with an end"),
        pytest.param(lifetimes.LEASE, 3600, 1800, 3290, 3590, id="lease, an hour: five minutes before the final one"),
        pytest.param(lifetimes.LEASE, 1240, 620, 930, 1230, id="lease, as long as a quarter matters"),
        pytest.param(lifetimes.LEASE, 60, 30, 45, 54, id="lease, a minute: a quarter"),
        pytest.param(lifetimes.ROTATED, 40, 40, 40, 40, id="static role"),
        pytest.param(lifetimes.VAULT_TOKEN, 3600, 1800, 3570, 3590, id="Vault's token, an hour"),
        pytest.param(lifetimes.VAULT_TOKEN, 20, 10, 16, 18, id="Vault's token, twenty seconds"),
        pytest.param(lifetimes.VAULT_TOKEN, 1, 0.5, 0.8, 0.9, id="Vault's token, a second"),
    ],
)
def test_rows(row: Lifetime, life: float, soft: float, hard: float, final: float) -> None:
    """What the table comes to, in seconds since the start."""
    moments = window(NOW, NOW + life, row)

    assert [moment - NOW for moment in moments] == pytest.approx([soft, hard, final], abs=1e-5)


@pytest.mark.parametrize(
    ("life", "keep", "soft", "hard", "final"),
    [
        pytest.param(30 * DAY, 300, 150, 300, 300 + 12 * HOUR, id="the last resort ends"),
        pytest.param(HOUR, 300, 150, 300, HOUR - 10, id="or the secret does"),
        pytest.param(HOUR, HOUR - 10, 1795, HOUR - 10, HOUR - 10, id="kept until it ends"),
        pytest.param(HOUR, DAY, 1795, HOUR - 10, HOUR - 10, id="kept for longer than it lives"),
        pytest.param(-5, 300, -5, -5, -5, id="over"),
    ],
)
def test_what_must_be_looked_at_again(life: float, keep: float, soft: float, hard: float, final: float) -> None:
    """A secret is kept for `keep` and no longer, and while Vault is out of reach not for ever."""
    moments = window(NOW, NOW + life, lifetimes.KV_ENDING, keep)

    assert [moment - NOW for moment in moments] == pytest.approx([soft, hard, final], abs=1e-5)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_has_no_end(row: Lifetime) -> None:
    """It is never renewed, and no `inf - inf` makes a number that is none."""
    assert window(NOW, math.inf, row) == (math.inf, math.inf, math.inf)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("behind", [0, 1e-9, 1, 59, 300, DAY, NOW, 10 * NOW])
def test_an_end_that_is_not_after_the_start(row: Lifetime, behind: float) -> None:
    """With a clock that is ahead, what has ended is never handed out, whatever a share of less than nothing is."""
    soft, hard, final = window(NOW, NOW - behind, row)

    assert soft <= hard <= final <= NOW - behind


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@given(
    start=st.one_of(st.floats(-4e9, 4e9), st.integers(-(2**32), 2**32)),
    life=st.one_of(
        st.floats(-4e9, 4e11), st.floats(0, 1300), st.integers(-1000, 100_000), st.sampled_from([0.0, 5e-324, 1e-9])
    ),
    keep=st.one_of(st.just(math.inf), st.floats(1e-3, 4e8)),
)
def test_any_life(row: Lifetime, start: float, life: float, keep: float) -> None:
    """The order holds, nothing is after the end, and a later end never has an earlier expiry."""
    end = start + life
    rounding = 1e-3  # of floats of this size
    soft, hard, final = window(start, end, row, keep)

    assert all(math.isfinite(moment) for moment in (soft, hard, final))
    assert soft <= hard <= final <= end
    assert soft >= min((start + hard) / 2, hard) - rounding
    assert hard <= max(start + keep, end - max(0, life)) + rounding
    assert final - hard <= row.last_resort + rounding
    later = window(start, end + 1, row, keep)
    assert all(two >= one - rounding for one, two in zip((soft, hard, final), later, strict=True))


def test_a_row_of_ones_own() -> None:
    """Another source may have another row, of the same parts."""
    row = Lifetime("Toy", Left(1 / 3), Left(least=10), Left(1 / 100, least=1, most=5), last_resort=7)

    assert window(0, 300, row) == pytest.approx((200, 290, 297))
    assert window(0, 3000, row) == pytest.approx((2000, 2990, 2995))
    assert window(0, 3000, row, 600) == pytest.approx((600, 600, 607))


@pytest.mark.parametrize(
    ("part", "life", "seconds"),
    [
        pytest.param(Left(), 100, 0, id="nothing"),
        pytest.param(Left(), -100, 0, id="nothing of less"),
        pytest.param(Left(least=60), 10, 60, id="more than there is"),
        pytest.param(Left(1 / 4), 100, 25, id="a share"),
        pytest.param(Left(1 / 4), -100, 0, id="a share of less than nothing"),
        pytest.param(Left(1 / 4, least=30), 100, 30, id="at least"),
        pytest.param(Left(1 / 4, most=10), 100, 10, id="at most"),
        pytest.param(Left(1 / 4, least=30, most=40), 1000, 40, id="between"),
    ],
)
def test_what_is_left(part: Left, life: float, seconds: float) -> None:
    """A share, within its bounds."""
    assert part.of(life) == seconds


# --- beside it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chance", "of_the_lead"),
    [pytest.param(b"\0\0\0\0", -0.1, id="earliest"), pytest.param(b"\xff\xff\xff\xff", 0.1, id="latest")],
)
@pytest.mark.parametrize(
    ("lead", "counted"),
    [
        pytest.param(21600, 21600, id="six hours"),
        pytest.param(7 * DAY, 7 * DAY, id="a week"),
        pytest.param(3650 * DAY, 7 * DAY, id="ten years"),
        pytest.param(0, 0, id="at once"),
    ],
)
def test_the_soft_expiry_varies(
    chance: bytes, of_the_lead: float, lead: float, counted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a tenth of the time to it, and by a tenth of a week at most."""
    monkeypatch.setattr("credhelpers.lifetimes.posix.urandom", lambda count: chance[:count])

    assert lifetimes.spread(NOW + lead, NOW) == pytest.approx(NOW + lead + counted * of_the_lead, abs=1e-5)


def test_what_does_not_age_does_not_vary() -> None:
    """Never is never."""
    assert lifetimes.spread(math.inf, NOW) == math.inf


@pytest.mark.parametrize(
    ("took", "remembered"), [(0, 0), (0.05, 0.5), (2.9, 29), (3, 30), (8, 30), pytest.param(10**6, 30, id="hours")]
)
def test_a_failure_is_remembered(took: float, remembered: float) -> None:
    """Ten times as long as it took, at most half a minute."""
    assert lifetimes.remembered(took) == pytest.approx(remembered)
