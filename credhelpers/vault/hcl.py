"""HCL, version 1, which Vault and its Agent are configured in, or the same as JSON.

The grammar is that of `hcl/scanner` and `hcl/parser` in github.com/hashicorp/hcl, v1.0. Libraries for Python read
version 2, another language: it has no dots in keys, no block in an object, and no JSON in the same file.
"""

import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DEPTH = 32  # of blocks and lists; an Agent's file has six at most
_WORDS = 2  # before a value: a name and a label
_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\n]+|[#][^\n]*|//[^\n]*|/[*].*?[*]/)
    |(?P<text>"(?:[^"\\\n]|\\.)*")
    |<<-?(?P<end>[A-Za-z0-9_]+)\r?\n(?P<lines>.*?)^[ \t]*(?P=end)[ \t]*\r?$
    |(?P<number>-?[0-9][A-Za-z0-9.+-]*)
    |(?P<word>[^\W\d][\w.-]*)
    |(?P<mark>[][{}=,])
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)


class Malformed(Exception):
    """The text is no HCL: what cannot be read is in this line."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class Body(list["tuple[tuple[str, ...], Any]"]):
    """The statements of a file or of a block, in order: the words before the value, and the value.

    A value is a text, a number, true, false, a list of values, or another body.
    """


def read(text: str) -> Body:
    """The statements of the text. Raises Malformed."""
    if not text.lstrip().startswith("{"):
        return _Reader(text).body("", 0)
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: Body(((key,), value) for key, value in pairs))
    except json.JSONDecodeError as error:
        raise Malformed(error.lineno) from None
    except (ValueError, RecursionError):
        raise Malformed(1) from None
    return Body(found)


class _Reader:
    """Goes through the tokens, of which it sees one at a time."""

    def __init__(self, text: str) -> None:
        self._rest = _tokens(text)
        self._kind, self._seen, self._line = next(self._rest)

    def body(self, end: str, depth: int) -> Body:
        """The statements up to the token `end`, which is passed over."""
        found = Body()
        while self._seen != end:
            words: list[str] = []
            while self._kind in ("word", "text") and len(words) < _WORDS:
                words.append(self._text())
            if self._seen == "=" and len(words) == 1:
                self._step()
            elif self._seen != "{" or not words:
                raise Malformed(self._line)
            found.append((tuple(words), self._value(depth)))
            if self._seen == ",":
                self._step()
        self._step()
        return found

    def _value(self, depth: int) -> "Any":
        if depth > _DEPTH:
            raise Malformed(self._line)
        if self._kind in ("text", "lines"):
            return self._text()
        seen = self._step()
        if seen == "{":
            return self.body("}", depth + 1)
        if seen == "[":
            return self._list(depth + 1)
        if seen in ("true", "false"):
            return seen == "true"
        try:
            return float(seen)  # no setting of ours is a number: it only must be one
        except ValueError:
            raise Malformed(self._line) from None

    def _list(self, depth: int) -> "list[Any]":
        found = []
        while self._seen != "]":
            found.append(self._value(depth))
            if self._seen == ",":
                self._step()
            elif self._seen != "]":
                raise Malformed(self._line)
        self._step()
        return found

    def _text(self) -> str:
        kind, line = self._kind, self._line
        seen = self._step()
        if kind != "text":
            return seen
        try:
            return str(json.loads(seen))
        except ValueError:  # an escape that JSON does not have is none in a path or a name
            raise Malformed(line) from None

    def _step(self) -> str:
        seen = self._seen
        self._kind, self._seen, self._line = next(self._rest, ("end", "", self._line))
        return seen


def _tokens(text: str) -> "Iterator[tuple[str, str, int]]":
    """Kind, text and line of each token, blanks and comments left out, and an empty one at the end."""
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise Malformed(line)
        kind = match.lastgroup or ""
        if kind != "blank":
            yield kind, match[kind], line
        line += match[0].count("\n")
        position = match.end()
    yield "end", "", line
