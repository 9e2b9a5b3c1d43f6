"""What a server wants of who asks: the challenges of `WWW-Authenticate`, read as RFC 9110 has them (11.3, 11.6.1).

    challenge  = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
    auth-param = token BWS "=" BWS ( token / quoted-string )

Several stand in one header, with commas between them, or in several, which HTTP joins in the same way. A comma in
quotes is none, a backslash in quotes stands before what is meant as it is. What is no such list is refused as a whole:
who reads it otherwise than another one does sends a secret elsewhere.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # RFC 9110, 5.6.2
_TOKEN68 = frozenset("-._~+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")  # as above, 11.2
_BLANKS = " \t"
_HEADER = "WWW-Authenticate"
_LETTERS = 16 * 1024  # of all of them; the longest that registries send has some hundred


class Malformed(Exception):
    """The header is no list of challenges."""


class Challenge:
    """One: the scheme in lower case, and its parameters by their names in lower case; with a token68 there are none."""

    __slots__ = ("parameters", "scheme")

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme.lower()
        self.parameters: dict[str, str] = {}


def challenges(headers: "Mapping[str, str]") -> list[Challenge]:
    """All challenges of an answer, in their order. Raises Malformed."""
    text = headers.get(_HEADER, "")
    if len(text) > _LETTERS:
        raise Malformed
    reader = _Reader(text)
    found: list[Challenge] = []
    while reader.skip(_BLANKS + ",") < len(text):
        if found and reader.parameter(found[-1]):
            continue
        found.append(reader.challenge())
    return found


class _Reader:
    """The text, and how far it is read."""

    __slots__ = ("_place", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def skip(self, letters: str) -> int:
        """Read over these letters. Returns where that ends."""
        while self._next() in letters and self._next():
            self._place += 1
        return self._place

    def challenge(self) -> Challenge:
        """A scheme with what follows it up to the first comma. Raises Malformed."""
        found = Challenge(self._word(_TOKEN))
        has_blank = self._next() == " "
        self.skip(_BLANKS)
        if self._next() in ("", ","):
            return found
        if not has_blank or not (self.parameter(found) or self._is_token68()):
            raise Malformed
        return found

    def parameter(self, challenge: Challenge) -> bool:
        """Whether a parameter, of that challenge then, is here; if not, nothing is read. Raises Malformed."""
        start = self._place
        name = self._run(_TOKEN).lower()
        self.skip(_BLANKS)
        if not name or self._next() != "=":
            self._place = start
            return False
        self._place += 1
        self.skip(_BLANKS)
        if self._next() in ("", ",", "="):  # what ends in `=` may be a token68
            self._place = start
            return False
        value = self._quoted() if self._next() == '"' else self._word(_TOKEN)
        self.skip(_BLANKS)
        if self._next() not in ("", ",") or name in challenge.parameters:
            raise Malformed
        challenge.parameters[name] = value
        return True

    def _is_token68(self) -> bool:
        found = self._run(_TOKEN68)
        self.skip("=")
        self.skip(_BLANKS)
        return bool(found) and self._next() in ("", ",")

    def _quoted(self) -> str:
        """What is meant by a quoted string (RFC 9110, 5.6.4)."""
        value = []
        self._place += 1
        while (letter := self._taken()) != '"':
            value.append(self._taken() if letter == "\\" else letter)
        return "".join(value)

    def _taken(self) -> str:
        letter = self._next()
        if not letter or (letter < " " and letter != "\t") or letter == "\x7f":
            raise Malformed
        self._place += 1
        return letter

    def _word(self, letters: frozenset[str]) -> str:
        word = self._run(letters)
        if not word:
            raise Malformed
        return word

    def _run(self, letters: frozenset[str]) -> str:
        start = self._place
        while self._next() in letters:
            self._place += 1
        return self._text[start : self._place]

    def _next(self) -> str:
        return self._text[self._place : self._place + 1]
