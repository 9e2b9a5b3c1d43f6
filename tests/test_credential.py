"""A credential goes over the wire byte for byte, and nowhere else."""

from __future__ import annotations

import copy
import json
import pickle
import pprint
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credhelpers.credential import INFINITY, Credential

# Every code point, the halves of surrogate pairs too: JSON can carry them, so a secret could.
_TEXT = st.text(st.characters(), max_size=40)
_QUICK = settings(max_examples=2000, deadline=None, database=None)


@_QUICK
@given(_TEXT, _TEXT)
def test_the_answer_is_what_json_would_write(username: str, secret: str) -> None:
    """The hand-made object equals the one of `json`, in ASCII and in one line, and reads back as it was."""
    credential = Credential(username, secret)
    answer = credential.answer("reg.example")
    fields = {"ServerURL": "reg.example", "Username": username, "Secret": secret}
    assert answer == json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
    assert answer.isascii()
    assert answer.count(b"\n") == 1
    assert credential.expose() == (username, secret)
    assert credential.username == username
    assert credential.is_empty() == (not secret)


@_QUICK
@given(_TEXT, _TEXT)
def test_a_sealed_credential_is_the_same(username: str, secret: str) -> None:
    """What a cache kept answers as the original did."""
    original = Credential(username, secret, soft=1, hard=2, expires=3, memo="of its source")
    again = Credential.sealed(original.tail(), soft=4, hard=5, expires=6, memo="another")
    assert again.answer("a") == original.answer("a")
    assert (again.soft, again.hard, again.expires, again.memo) == (4, 5, 6, "another")
    assert (original.memo, Credential.sealed(original.tail()).memo) == ("of its source", "")


@pytest.mark.parametrize(
    ("username", "secret"),
    [
        pytest.param("<token>", "x" * 20_000, id="identity token"),
        pytest.param('"},"ServerURL":"evil.example', '\\"},"Secret":"', id="fields in fields"),
        pytest.param("\n\r\t\0", "\u2028\x85\x7f", id="line ends"),
        pytest.param("\ud800", "\udfff", id="halves of a character"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_strange_texts_stay_in_their_fields(username: str, secret: str) -> None:
    """No text ends its string and opens another field."""
    answer = json.loads(Credential(username, secret).answer("reg.example"))
    assert answer == {"ServerURL": "reg.example", "Username": username, "Secret": secret}


def test_without_times_it_does_not_age() -> None:
    """What a person typed has no end."""
    credential = Credential("u", "s")
    assert (credential.soft, credential.hard, credential.expires) == (INFINITY, INFINITY, INFINITY)
    assert Credential.sealed(credential.tail()).expires == INFINITY


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(str, id="str"),
        pytest.param(repr, id="repr"),
        pytest.param(lambda secret: f"{secret}", id="f-string"),
        pytest.param(lambda secret: "%s %r" % (secret, secret), id="percent"),  # noqa: UP031 - as a logger would
        pytest.param(format, id="format"),
        pytest.param(lambda secret: repr([{"a": (secret,)}]), id="inside"),
        pytest.param(pprint.pformat, id="pprint"),
        pytest.param(lambda secret: str(ValueError(secret)), id="in an exception"),
        pytest.param(lambda secret: str(getattr(secret, "__dict__", "")), id="attributes"),
    ],
)
def test_it_cannot_be_shown_by_accident(show: object) -> None:
    """No ordinary way of printing tells a part of it."""
    assert callable(show)
    text = show(Credential("canary-user", "canary-secret"))
    assert "canary" not in text


def test_a_traceback_does_not_show_it() -> None:
    """Not even one that prints the locals of every frame."""
    credential = Credential("canary-user", "canary-" + "secret")
    try:
        int(credential)  # type: ignore[call-overload]
    except TypeError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "credential = Credential(…)" in told
    assert "canary-secret" not in told


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_it_cannot_be_taken_along(take: object) -> None:
    """It is neither pickled nor copied."""
    assert callable(take)
    with pytest.raises(TypeError) as raised:
        take(Credential("canary-user", "canary-secret"))
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n", id="a line end"),
        pytest.param(b'"Username":"u","Secret":"s"}\n', id="no comma"),
        pytest.param(b',"Username":"u","Secret":"s"}', id="no line end"),
        pytest.param(b',"Username":"u","Secret":"s"\n', id="not closed"),
        pytest.param(b',"Username":"u"}\n', id="no secret"),
        pytest.param(b',"Username":"}\n', id="overlapping ends"),
        pytest.param(b',"Secret":"s","Username":"u"}\n', id="other order"),
        pytest.param(b',"username":"u","Secret":"s"}\n', id="other case"),
        pytest.param(',"Username":"ü","Secret":"s"}\n'.encode(), id="not ASCII"),
        pytest.param(b'{"ServerURL":"x","Username":"u","Secret":"s"}\n', id="a whole answer"),
    ],
)
def test_what_is_not_sealed_is_refused(tail: bytes) -> None:
    """Bytes that no credential gave are none, and the error holds none of them."""
    with pytest.raises(ValueError, match=r"^not a sealed credential$"):
        Credential.sealed(tail)


def test_nobody_has_said_that_it_is_low() -> None:
    """Until somebody does, nobody waits for another one."""
    given = Credential("user", "secret")
    assert given.low == 0
    assert Credential.sealed(given.tail()).low == 0
    assert Credential("user", "secret", low=7).low == Credential.sealed(given.tail(), low=7).low == 7


@pytest.mark.parametrize(
    ("hard", "expires", "low", "now", "expected"),
    [
        pytest.param(900, 1000, 0, 399, False, id="more than ten minutes are left"),
        pytest.param(900, 1000, 0, 400, True, id="ten minutes are left"),
        pytest.param(1000, 1000, 0, 999, False, id="it ends only to be looked at again"),
        pytest.param(900, 1000, 700, 699, False, id="somebody has said when, and it is not yet"),
        pytest.param(900, 1000, 700, 700, True, id="it is"),
        pytest.param(900, 1000, 1000, 999, False, id="never"),
        pytest.param(float("inf"), float("inf"), 0, 1e12, False, id="for ever"),
    ],
)
def test_what_is_low(hard: float, expires: float, low: float, now: float, *, expected: bool) -> None:
    """What has less than ten minutes to live, or what somebody has said."""
    assert Credential("user", "secret", hard=hard, expires=expires, low=low).is_low(now) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"ServerURL":"a.example","Username":"u","Secret":"made-up"}\n',
        b'{"ServerURL":"a.example.evil","Username":"u","Secret":"made-up"}\n',
        b'{"ServerURL":"A.example.org","Username":"u","Secret":"made-up"}\n',
        b'{"ServerURL":"a.example.org"}\n',
        b'{"ServerURL":"a.example.org","Username":"u","Secret":"made-up"}',
        b' {"ServerURL":"a.example.org","Username":"u","Secret":"made-up"}\n',
    ],
)
def test_a_line_that_is_no_answer_for_the_server(line: bytes) -> None:
    """What lies under a name is believed only if it says the same name."""
    with pytest.raises(ValueError, match="not a"):
        Credential.answered("a.example.org", line)


def test_an_answer_is_read_again() -> None:
    """Whatever is in it."""
    credential = Credential('u"', 'made-up\\","Secret":"é')
    again = Credential.answered("a.example.org", credential.answer("a.example.org"))
    assert again.expose() == credential.expose()
