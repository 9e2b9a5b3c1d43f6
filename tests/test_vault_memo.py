"""What a cached credential of Vault's says of itself, as it is written now and as older caches have it."""

from __future__ import annotations

import pytest

from credhelpers.credential import Credential
from credhelpers.vault.memo import Lease, Memo

MARK = "0123456789abcdef0123456789abcdef01234567"
ID = "database/creds/one/AbCdEfGhIjKlMnOpQrStUvWx"


def read(line: str) -> Memo:
    """What a credential with this memo says."""
    return Memo.of(Credential("u", "s", memo=line))


@pytest.mark.parametrize(
    "memo",
    [
        pytest.param(Memo(), id="nothing"),
        pytest.param(Memo(engine="kv-v2", mount="team/kv"), id="kv"),
        pytest.param(Memo(engine="leased", mount="a mount=é % of odd\nletters"), id="odd-mount"),
        pytest.param(Memo(life=2764800), id="token"),
        pytest.param(
            Memo(engine="leased", mount="database", lease=Lease(ID, MARK, 3600, is_renewable=True)), id="lease"
        ),
        pytest.param(
            Memo(engine="aws", mount="aws", lease=Lease(ID, MARK, 900, is_renewable=False, last=1796000000)),
            id="lease-with-an-end",
        ),
    ],
)
def test_a_memo_is_read_as_it_was_written(memo: Memo) -> None:
    """One line of visible ASCII, as the cache demands, whatever a mount is called."""
    line = str(memo)

    assert line.isascii()
    assert line == "" or line.isprintable()
    assert read(line) == memo


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("kv-v2 team/kv", Memo("kv-v2", "team/kv"), id="kv"),
        pytest.param("renewable 3600", Memo(life=3600), id="token"),
        pytest.param(
            f"leased database {ID} {MARK} 3600 1 inf",
            Memo("leased", "database", Lease(ID, MARK, 3600, is_renewable=True)),
            id="lease",
        ),
        pytest.param(
            f"aws aws {ID} {MARK} 900 0 1796000000",
            Memo("aws", "aws", Lease(ID, MARK, 900, is_renewable=False, last=1796000000)),
            id="lease-with-an-end",
        ),
    ],
)
def test_the_words_of_an_older_cache(line: str, expected: Memo) -> None:
    """They stand without names, and mean the same."""
    assert read(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", "renewable", "renewable soon", "renewable 1 2", "kv-v2", "a b c"),
        *("x=1", "=", "life=soon", "lease=x mark=y"),
    ],
)
def test_what_nobody_here_has_written(line: str) -> None:
    """It says nothing, as if there were no memo: Vault is asked again."""
    assert read(line) == Memo()


@pytest.mark.parametrize(
    "line",
    [
        f"leased database {ID} {MARK} an-hour 1 inf",
        f"leased database {ID} {MARK} 3600 1 never",
        f"engine=leased mount=database lease={ID} mark={MARK} duration=an-hour last=inf",
        f"engine=leased mount=database lease={ID} mark={MARK} last=inf",
    ],
)
def test_a_lease_that_is_half_known_is_none(line: str) -> None:
    """It could neither be renewed nor revoked; where it was found is still known."""
    assert read(line) == Memo("leased", "database")


def test_no_credential() -> None:
    """Nothing in hand says nothing."""
    assert Memo.of(None) == Memo()


@pytest.mark.parametrize(
    "memo",
    [
        Memo(engine="kv-v2", mount="kv"),
        Memo(life=3600),
        Memo(engine="leased", mount="database", lease=Lease(ID, MARK, 3600, is_renewable=True)),
    ],
    ids=["kv", "token", "lease"],
)
def test_the_version_before_finds_nothing_in_it(memo: Memo) -> None:
    """What it took for words: two of a mount, seven with numbers among them, or `renewable` and a number."""
    words = str(memo).split()

    assert words[0] != "renewable"
    assert len(words) < 2 or words[1].startswith("mount=")  # as no path begins
    assert len(words) != 7 or not words[4].replace(".", "").isdecimal()
