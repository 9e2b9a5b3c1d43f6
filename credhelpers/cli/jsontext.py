"""JSON objects as text: a member is written, renamed or taken out, and every other byte stays.

Clients' files are edited so, since a round trip through `json` loses doubled keys, turns `1e400` into what is no JSON
and writes everything in another form. What is read is RFC 8259; places are those of Python's own decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder, dumps
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLANKS = " \t\r\n"
_INDENT = "\t"  # docker's own, where a file shows none


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


# A number is never looked at, and `int` refuses one of more than 4,300 digits.
_DECODER = JSONDecoder(parse_constant=_no_number, parse_int=float, parse_float=float)


@dataclass(frozen=True)
class Member:
    """A key with its value. Places are indices of the text: of the key's first quote, of the value, behind it."""

    key: str
    value: object
    start: int
    value_start: int
    end: int


class Object:
    """An object of a text that begins at `start`, blanks left aside; `end` is the index behind it.

    `members` are all that stand in it, also where a key is doubled. Raises JSONDecodeError, another ValueError for a
    number that is none, and RecursionError.
    """

    def __init__(self, text: str, start: int = 0) -> None:
        self.text = text
        self.start = _skip(text, start)
        self.members: list[Member] = []
        if text[self.start : self.start + 1] != "{":
            raise JSONDecodeError("Expecting an object", text, self.start)
        place = _skip(text, self.start + 1)
        if text[place : place + 1] == "}":
            self.end = place + 1
            return
        while True:
            if text[place : place + 1] != '"':
                raise JSONDecodeError("Expecting a key in double quotes", text, place)
            key, behind = _DECODER.raw_decode(text, place)
            colon = _skip(text, behind)
            if text[colon : colon + 1] != ":":
                raise JSONDecodeError("Expecting a colon", text, colon)
            value_start = _skip(text, colon + 1)
            value, end = _DECODER.raw_decode(text, value_start)
            self.members.append(Member(str(key), value, place, value_start, end))
            comma = _skip(text, end)
            if text[comma : comma + 1] == "}":
                self.end = comma + 1
                return
            if text[comma : comma + 1] != ",":
                raise JSONDecodeError("Expecting a comma", text, comma)
            place = _skip(text, comma + 1)

    def written(self, old: Member | None, key: str, value: str) -> str:
        """The text with `"key": value` in the place of the member `old`, else behind the last one."""
        if old is not None:
            colon = self.text[_behind(old, self.text) : old.value_start]
            return self.text[: old.start] + dumps(key) + colon + value + self.text[old.end :]
        if not self.members:
            return self.text[: self.start] + self._filled(f"{dumps(key)}: {value}") + self.text[self.end :]
        last = self.members[-1]
        colon = self.text[_behind(last, self.text) : last.value_start]
        return self.text[: last.end] + f"{self._comma(colon)}{dumps(key)}{colon}{value}" + self.text[last.end :]

    def _comma(self, colon: str) -> str:
        """What stands between two members."""
        if len(self.members) > 1:
            return self.text[self.members[-2].end : self.members[-1].start]
        blanks = self.text[self.start + 1 : self.members[0].start]
        return "," + (blanks if "\n" in blanks else " " * colon.endswith(" "))

    def without(self, members: Iterable[Member]) -> str:
        """The text without these members."""
        gone = {member.start for member in members}
        kept = [number for number, member in enumerate(self.members) if member.start not in gone]
        if not kept:
            return self.text[: self.start] + "{}" + self.text[self.end :]
        parts: list[str] = []
        for number in kept:
            member = self.members[number]
            if parts:  # the comma, and the blanks, that stood before it
                parts.append(self.text[self.members[number - 1].end : member.start])
            parts.append(self.text[member.start : member.end])
        return self.text[: self.members[0].start] + "".join(parts) + self.text[self.members[-1].end :]

    def nested(self, pairs: list[str]) -> str:
        """An object of these members, to be the value of a member: in one line if this one is, else in several."""
        if self.members and "\n" not in self.text[self.start : self.members[0].start]:
            return "{" + ", ".join(pairs) + "}"
        return self._in_lines(pairs, _unit(self.text))

    def _in_lines(self, pairs: list[str], indent: str) -> str:
        line = ("\r\n" if "\r\n" in self.text else "\n") + indent
        return "{" + ",".join(f"{line}{_unit(self.text)}{pair}" for pair in pairs) + line + "}"

    def _filled(self, pair: str) -> str:
        """The object, empty until now, with one member."""
        before = self.text[: self.start]
        if before.strip() and "\n" not in before:
            return "{" + pair + "}"
        line = before[before.rfind("\n") + 1 :]
        return self._in_lines([pair], line[: len(line) - len(line.lstrip(" \t"))])


def parse(text: str) -> Object:
    """The one object that the text is. Raises as `Object` does, also for what stands behind it."""
    found = Object(text)
    behind = _skip(text, found.end)
    if behind < len(text):
        raise JSONDecodeError("Extra data", text, behind)
    return found


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _BLANKS:
        place += 1
    return place


def _behind(member: Member, text: str) -> int:
    """The index behind the key."""
    place: int = _DECODER.raw_decode(text, member.start)[1]
    return place


def _unit(text: str) -> str:
    """What one more level is indented by: as the first line is that is indented."""
    for line in text.split("\n"):
        if blanks := line[: len(line) - len(line.lstrip(" \t"))]:
            return blanks
    return _INDENT
