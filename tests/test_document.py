"""The document of `store` is read strictly, and a refusal holds nothing of it."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credhelpers.errors import HelperError, MissingServer, MissingUsername, Refused
from credhelpers.protocols.document import read

_CANARY = "canary-5ecret"
_GOOD = {"ServerURL": "reg.example", "Username": "user", "Secret": _CANARY}


def _with(**fields: object) -> bytes:
    return json.dumps(_GOOD | fields).encode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(json.dumps(_GOOD).encode(), id="compact"),
        pytest.param(json.dumps(_GOOD, indent=4).encode() + b"\r\n", id="many lines"),
        pytest.param(b" \n" + json.dumps(dict(reversed(_GOOD.items()))).encode() + b"\n\n", id="other order"),
        pytest.param(_with(Extra={"a": [1, None, True]}, Number=1e300), id="unknown fields"),
        pytest.param(_with(ServerURL=" reg.example\r\n"), id="blanks around the server"),
    ],
)
def test_what_clients_send_is_read(content: bytes) -> None:
    """P11, P12: whatever the layout, the order and the fields to come."""
    authority, credential = read(content)
    assert authority.sent == "reg.example"
    assert credential.expose() == ("user", _CANARY)


@pytest.mark.parametrize(
    ("username", "secret"),
    [
        pytest.param("<token>", "a.b.c", id="identity token"),
        pytest.param("ü€𝄞", "\u2028\n\"\\'<>& ", id="not ASCII"),
        pytest.param("u", " " + "x" * 20_000 + "\n", id="20 000 bytes"),
        pytest.param("u", "", id="no secret"),
    ],
)
def test_texts_come_through_exactly(username: str, secret: str) -> None:
    """P9: escaped as Go does or not at all, it is the same text."""
    fields = _GOOD | {"Username": username, "Secret": secret}
    go = json.dumps(fields).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    for content in (json.dumps(fields).encode(), json.dumps(fields, ensure_ascii=False).encode(), go.encode()):
        assert read(content)[1].expose() == (username, secret)


_WHOLE = json.dumps(_GOOD).encode()
_BROKEN = [
    *(pytest.param(_WHOLE[:count], Refused, id=f"cut at {count}") for count in range(len(_WHOLE))),
    pytest.param(_WHOLE + b"x", Refused, id="trailing letter"),
    pytest.param(_WHOLE + b"\n" + _WHOLE, Refused, id="twice"),
    pytest.param(_WHOLE + b"\0", Refused, id="trailing NUL"),
    pytest.param(b"\xef\xbb\xbf" + _WHOLE, Refused, id="byte order mark"),
    pytest.param(_WHOLE.decode().encode("utf-16"), Refused, id="UTF-16"),
    pytest.param(_WHOLE.replace(b"user", b"us\xffer"), Refused, id="not UTF-8"),
    pytest.param(_WHOLE.replace(b"user", b"us\nr"), Refused, id="raw line end in a string"),
    pytest.param(_WHOLE.replace(b'"', b"'"), Refused, id="other quotes"),
    pytest.param(b"// x\n" + _WHOLE, Refused, id="comment"),
    pytest.param(b"[" + _WHOLE + b"]", Refused, id="list"),
    pytest.param(b"null", Refused, id="null"),
    pytest.param(b'"' + _CANARY.encode() + b'"', Refused, id="string"),
    pytest.param(b"1" * 6000, Refused, id="long number"),
    pytest.param(b"NaN", Refused, id="NaN alone"),
    pytest.param(_with(Extra=float("nan")), Refused, id="NaN"),
    pytest.param(_with(Extra=float("-inf")), Refused, id="infinity"),
    pytest.param(_WHOLE[:-1] + b',"Extra":' + b"9" * 6000 + b"}", Refused, id="long number inside"),
    pytest.param(_WHOLE[:-1] + b',"Secret":"other"}', Refused, id="secret twice"),
    pytest.param(_WHOLE[:-1] + b',"ServerURL":"evil.example"}', Refused, id="server twice"),
    pytest.param(_WHOLE[:-1] + b',"\\u0053ecret":"other"}', Refused, id="secret twice by an escape"),
    pytest.param(_WHOLE[:-1] + b',"Extra":{"a":1,"a":2}}', Refused, id="twice inside"),
    pytest.param(b"[" * 200_000, Refused, id="200 000 deep list"),
    pytest.param(b'{"a":' * 200_000, Refused, id="200 000 deep object"),
    pytest.param(_WHOLE[:-1] + b',"Extra":' + b"[" * 200_000 + b"]" * 200_000 + b"}", Refused, id="deep and closed"),
    *(pytest.param(_with(**{field: None}), Refused, id=f"{field} null") for field in _GOOD),
    *(pytest.param(_with(**{field: 7}), Refused, id=f"{field} number") for field in _GOOD),
    *(pytest.param(_with(**{field: [_CANARY]}), Refused, id=f"{field} list") for field in _GOOD),
    *(pytest.param(_with(**{field: {"a": _CANARY}}), Refused, id=f"{field} object") for field in _GOOD),
    *(pytest.param(_with(**{field: True}), Refused, id=f"{field} true") for field in _GOOD),
    *(pytest.param(_with(**{field: "x\ud800" + _CANARY}), Refused, id=f"{field} half a character") for field in _GOOD),
    pytest.param(b'{"Secret":"%s","Username":"u"}' % _CANARY.encode(), MissingServer, id="no server"),
    pytest.param(_with(ServerURL=""), MissingServer, id="empty server"),
    pytest.param(_with(ServerURL=" \n"), MissingServer, id="blank server"),
    pytest.param(_with(ServerURL="https://"), MissingServer, id="mere scheme"),
    pytest.param(b'{"serverurl":"r","username":"u","secret":"%s"}' % _CANARY.encode(), MissingServer, id="lower case"),
    pytest.param(b'{"ServerURL":"r.example","Secret":"%s"}' % _CANARY.encode(), MissingUsername, id="no user"),
    pytest.param(_with(Username=""), MissingUsername, id="empty user"),
    pytest.param(b'{"ServerURL":"r.example","Username":"%s"}' % _CANARY.encode(), Refused, id="no secret"),
    pytest.param(b"{}", MissingServer, id="empty object"),
    pytest.param(_with(ServerURL=f"{_CANARY}@reg.example"), Refused, id="user info"),
    pytest.param(_with(ServerURL=f"https://u:{_CANARY}@reg.example"), Refused, id="password in the server"),
    pytest.param(_with(ServerURL=f"reg.example\n{_CANARY}"), Refused, id="two lines"),
    pytest.param(_with(ServerURL=f"reg.example\\@{_CANARY}"), Refused, id="backslash"),
    pytest.param(_with(ServerURL=f"{_CANARY}..example"), Refused, id="empty label"),
    pytest.param(_with(ServerURL=f"{_CANARY}%2eexample"), Refused, id="escape"),
    pytest.param(_with(ServerURL=f"{_CANARY}\uff0eexample"), Refused, id="full-width dot"),
    pytest.param(_with(ServerURL="x" * 1025), Refused, id="over-long"),
]


@pytest.mark.parametrize(("content", "error"), _BROKEN)
def test_what_is_malformed_is_refused(content: bytes, error: type[HelperError]) -> None:
    """PI-7, P13, P14, P16: each with its own error, and nothing of the input in any text of it."""
    with pytest.raises(error) as raised:
        read(content)
    assert type(raised.value) is error
    told = "".join(traceback.TracebackException.from_exception(raised.value).format_exception_only())
    for text in (told, raised.value.message, raised.value.hint, repr(raised.value)):
        assert "anary" not in text
        assert text.isascii()


def test_an_error_carries_no_document() -> None:
    """SH-2: a parser's exception keeps its whole input, so none of them is behind ours."""
    for content in (_WHOLE[:-1], b"\xff" + _WHOLE, b"[" * 200_000 + _CANARY.encode()):
        with pytest.raises(Refused) as raised:
            read(content)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None


_LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(list(_GOOD.values()))
)
_VALUE = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
_FIELDS = st.dictionaries(st.sampled_from([*_GOOD, "secret", "x"]), _VALUE, max_size=5)
_CONTENT = (
    st.binary(max_size=60)
    | _FIELDS.map(lambda fields: json.dumps(fields).encode())
    | st.tuples(st.integers(0, len(_WHOLE)), st.binary(max_size=3)).map(
        lambda cut: _WHOLE[: cut[0]] + cut[1] + _WHOLE[cut[0] :]
    )
)


@settings(max_examples=600, deadline=None, database=None)
@given(_CONTENT)
def test_nothing_else_is_ever_raised(content: bytes) -> None:
    """PI-8: bytes, wrong types and damaged documents give a credential or one of the declared errors."""
    try:
        authority, credential = read(content)
    except (Refused, MissingServer, MissingUsername):
        return
    fields = json.loads(content)
    assert (authority.sent, *credential.expose()) == (fields["ServerURL"].strip(), fields["Username"], fields["Secret"])
