"""The text of a configuration file, whom it is believed from, and the lines of what stands in it.

A file that others may write is not trusted, nor is one of another user but root, see `files`. A link is followed, since
people keep such files elsewhere and link to them; what it leads to must be trustworthy, and one that leads nowhere is a
mistake.
"""

import posix

from credhelpers import files
from credhelpers.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from credhelpers.recorder import Recorder

SEE = "see `docs/configuration.md`"
_FILE_BYTES = 1 << 22
_LISTED = 12  # words, since a terminal's line is all there is for a hint
_SHOWN = 24  # letters; no name that we know is longer, and a secret is


class File:
    """The text of a configuration file, and where in it a mistake is."""

    __slots__ = ("_places", "name", "text")

    def __init__(self, name: bytes, text: str = "") -> None:
        self.name = name.decode("ascii", "replace")
        self.text = text
        self._places: dict[tuple[int, str | None], int] | None = None

    def fault(self, code: str, message: str, hint: str) -> Unavailable:
        """The error for `message`; the file's own path is in the hint, where there is room."""
        return Unavailable(code, f"config.toml: {message}", f"{hint} ({self.name})")

    def line(self, number: int, key: str | None = None) -> int:
        """The line of the `number`th registry, or of a key in it; of a key outside of them if that is 0.

        Of a key that the registry has from elsewhere it is that of the registry.
        """
        if self._places is None:
            self._places = _lines(self.text)
        if number and (number, key) not in self._places:
            return self._places[number, None]
        return self._places[number, key]

    def starts(self, count: int) -> list[int]:
        """The lines in which the registries begin, of which there are so many."""
        if '"""' not in self.text and "'''" not in self.text:
            # What thousands of entries are written as. Outside of such texts nothing else can be such a line.
            lines = enumerate(self.text.split("\n"), 1)
            found = [number for number, line in lines if line.strip(" \t\r") == "[[registry]]"]
            if len(found) == count:
                return found
        return [self.line(number) for number in range(1, count + 1)]

    def only(self, table: "Mapping[str, object]", known: tuple[str, ...], number: int) -> None:
        """Raise for the first key that is not among the known ones."""
        for key in table:
            self.one_of(key, known, number, key)

    def one_of(self, word: str, known: tuple[str, ...], number: int, key: str, what: str = "") -> None:
        """Raise if the word is not among the known ones, naming the nearest. It is a `what`, else what the key says."""
        if word in known:
            return
        import re
        from difflib import get_close_matches

        from credhelpers.config.meanings import meant, otherwise

        found = meant(word[:_SHOWN], known) if word == key else ""
        near = [found] if found else get_close_matches(word[:_SHOWN], known, 1)
        rest = f", or one of {len(known) - _LISTED} more in `docs/configuration.md`" if len(known) > 2 * _LISTED else ""
        listed = known[:_LISTED] if rest else known
        advice = (
            f"did you mean `{near[0]}`?" if near else "it may be " + ", ".join(f"`{name}`" for name in listed) + rest
        )
        if word == key:
            advice = otherwise(word[:_SHOWN], known) or advice
        is_name = len(word) <= _SHOWN and re.fullmatch("[A-Za-z0-9_-]+", word)
        what = what or ("key" if word == key else key)
        raise self.fault(
            "config-unknown-word",
            f"line {self.line(number, key)}: unknown {what}" + (f" `{word}`" if is_name else ""),
            advice,
        )


def contradiction(name: bytes, line: int, message: str) -> Unavailable:
    """What is said of settings that exclude each other or lack each other, in the entry that begins in this line."""
    return File(name).fault("config-contradiction", f"line {line}: {message}", SEE)


def _lines(text: str) -> dict[tuple[int, str | None], int]:
    """Where the registries of a valid text begin, as `(number, None)`, and their keys, as `(number, key)`.

    Every statement of such a text is a valid text by itself, so `tomllib` reads each of them for us.
    """
    import tomllib

    found: dict[tuple[int, str | None], int] = {}
    number = owner = 0  # registries so far; whose keys follow: the document's, a registry's, or nobody's
    for line, statement, braces in _statements(text.replace("\r\n", "\n")):
        is_header = statement.lstrip().startswith("[")
        for key, value in tomllib.loads(statement).items():
            is_list = key == "registry" and isinstance(value, list)
            if is_header and is_list:
                owner = number = number + 1
                found[number, None] = line
            elif is_header and key == "registry":  # a table in a registry
                owner = -1
                for inner in value:
                    found.setdefault((number, inner), line)
            elif is_header:
                owner = -1
            elif owner == 0 and is_list and len(value) == len(braces):
                for start, table in zip(braces, value, strict=True):
                    number += 1
                    found |= {(number, name): start for name in (None, *table)}
            found.setdefault((0 if is_header else owner, key), line)
    return found


def _statements(text: str) -> "Iterator[tuple[int, str, list[int]]]":
    """The statements of a TOML text, each with its line, and the lines of the tables in its outermost list."""
    import re

    token = re.compile(
        r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'|#[^\n]*|[][{}\n]|\Z",
        re.DOTALL,
    )
    start, line, first, depth = 0, 1, 1, 0
    braces: list[int] = []
    for match in token.finditer(text):
        mark = match[0]
        if mark == "{" and depth == 1:
            braces.append(line)
        depth += mark in ("[", "{")
        depth -= mark in ("]", "}")
        line += mark.count("\n")
        if mark in ("\n", "") and depth == 0:
            yield first, text[start : match.end()], braces
            start, first, braces = match.end(), line, []


def trusted(name: bytes, fault: "Callable[[str, str, str], Unavailable]", recorder: "Recorder") -> str | None:
    """The text of a file that configures; None if there is none. What was looked at is noted with `recorder`.

    Raises what `fault` makes of code, message and hint if others may write the file, or it is unreadable. That is so
    now: whose it is, who may and whether a disk answers can change while its stamp stays, so nothing is kept of it.
    """
    try:
        return _trusted(name, fault, recorder)
    except Unavailable:
        recorder.is_fleeting = True
        raise


def _trusted(name: bytes, fault: "Callable[[str, str, str], Unavailable]", recorder: "Recorder") -> str | None:
    content, status = None, None
    try:
        content, status = files.read(name, _FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if _is_link(name):
            raise fault("config-unreadable", "a link that leads nowhere", "mend or remove it") from None
        return None
    except (IsADirectoryError, files.NotRegular):
        raise fault("config-unreadable", "not a file", "look at it with `ls -l`") from None
    except files.TooLong:
        raise fault(
            "config-unreadable", f"longer than {_FILE_BYTES} bytes", "it must be a configuration file"
        ) from None
    except files.Unread:
        raise fault("config-unreadable", "cannot be read", "try it with `cat`") from None
    except (OSError, ValueError):
        raise fault("config-unreadable", "cannot be opened", "look at its mode and owner with `ls -l`") from None
    finally:
        recorder.file(name, status, content)
    if mending := files.mending(name, status):
        raise fault(
            "config-untrusted", "others may write it, so it is not trusted", f"see what is in it, then run `{mending}`"
        )
    try:
        return content.decode("utf-8-sig")  # some editors put a mark before it
    except UnicodeDecodeError:
        raise fault("config-unreadable", "not UTF-8", "it must be written in UTF-8") from None


def _is_link(name: bytes) -> bool:
    try:
        posix.readlink(name)
    except OSError:
        return False
    return True
