"""The configuration file: with which identity a source mints for which registry.

    [[registry]]
    match = "111122223333.dkr.ecr.*.amazonaws.com"
    source = "ecr"
    profile = "prod"

It is optional: without it every source takes the identity that its SDK would find. It is parsed where a token is
minted and nowhere else; a cache hit looks at the file's stamp only, see `identity.configuration`.

A file that others may write is not trusted, nor is one of another user but root, see `files`. A link is followed, since
people keep such files elsewhere and link to them; what it leads to must be trustworthy, and one that leads nowhere is a
mistake.

The first entry of a source that matches a host counts, and an entry that another one leaves nothing to is a mistake. A
pattern is a host in which `*` stands for any part of one label, so it never crosses a dot. For a source whose
registries may have a port there may be one behind it, or `:*` for any port and none; without that a registry without
port is meant, or with the 443 of `https`, which is the same. Docker Hub's four names are one. Which further keys an
entry may have is the source's own `SETTINGS`, see `Settings`.
"""

import posix

from credhelpers import files
from credhelpers.errors import Unavailable
from credhelpers.hosts import HUB, HUB_HOSTS
from credhelpers.identity import configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from credhelpers.identity import Environment

    # By key: what its value is, in words; the regular expression that the whole text matches, in a tuple of one where
    # the value is a list of such texts, or `bool`; what the key is for. Plain tuples, since a hit imports them with the
    # source.
    Pattern = str | tuple[str] | type[bool]
    Settings = Mapping[str, tuple[str, Pattern, str]]

_FILE_BYTES = 1 << 20
_COMMON = ("match", "source")
_SHOWN = 24  # letters; no name that we know is longer, and a secret is
_LABEL = "[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?"
_PATTERN = rf"(?=[^:]{{1,253}}(:|$)){_LABEL}(\.{_LABEL})*(:([1-9][0-9]{{0,4}}|\*))?"
_DEFAULT_PORT = ":443"
_LAST_PORT = 65535


class Entry:
    """One `[[registry]]` of a source: its pattern, its settings, which are valid, and where it stands."""

    __slots__ = ("file", "number", "pattern", "settings")

    def __init__(self, pattern: str, settings: "dict[str, Any]", file: "_File", number: int) -> None:
        self.pattern = pattern
        self.settings = settings
        self.file = file
        self.number = number

    def matches(self, host: str) -> bool:
        """Whether the whole host, with a port behind it if it has one, fits the pattern."""
        return _matches(self.pattern, host)


def find(
    environ: "Environment", source: str, settings: "Settings", host: str, *, has_ports: bool = False
) -> Entry | None:
    """The first entry of `source` for `host`, or None. Raises Unavailable if the file is not as it must be."""
    found = load(environ, source, settings, has_ports=has_ports)
    return next((entry for entry in found if entry.matches(host)), None)


def load(environ: "Environment", source: str, settings: "Settings", *, has_ports: bool = False) -> list[Entry]:
    """All entries of `source`, in the order of the file; none if there is no file.

    `has_ports` says whether its registries may have one: else no host would ever match a pattern that has.
    Raises Unavailable, naming file, line and key, for what cannot be understood: a mistake must not send docker to a
    registry with another identity than the one that was meant.
    """
    text = _read(environ)
    if text is None:
        return []
    import tomllib

    file = _File(configuration(environ), text)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise file.fault(f"not TOML: {_position(error)}", "mend the line, see `docs/configuration.md`") from None
    file.only(document, ("registry",), 0)
    tables = document.get("registry", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise file.fault(
            f"line {file.line(0, 'registry')}: `registry` is not a list of tables",
            "write `[[registry]]` with two brackets",
        )
    entries = []
    earlier: dict[str, dict[str, int]] = {}  # by source: its patterns so far, with their numbers
    for number, table in enumerate(tables, 1):
        _check_common(file, table, number)
        pattern = table["match"].removesuffix(_DEFAULT_PORT)
        pattern = HUB if pattern in HUB_HOSTS else pattern
        _check_reached(file, pattern, number, earlier.setdefault(table["source"], {}))
        if table["source"] == source:
            own = {key: value for key, value in table.items() if key not in _COMMON}
            file.only(table, (*_COMMON, *settings), number)
            if ":" in pattern and not has_ports:
                raise file.fault(
                    f"line {file.line(number, 'match')}: `match` has a port, and no registry of this source has one",
                    "take the port out",
                )
            for key, value in own.items():
                words, allowed, _ = settings[key]
                if not fits(value, allowed):
                    raise file.fault(f"line {file.line(number, key)}: `{key}` is not {words}", _SEE)
            entries.append(Entry(pattern, own, file, number))
    return entries


_SEE = "see `docs/configuration.md`"


def contradiction(entry: Entry, message: str) -> Unavailable:
    """What a source raises for settings that exclude each other or lack each other."""
    return entry.file.fault(f"line {entry.file.line(entry.number)}: {message}", _SEE)


def covers(pattern: str, other: str) -> bool:
    """Whether every host that the other pattern matches is one that the pattern matches.

    That is whether it matches the other one itself, read as a host. Then a `*` of the other is taken by a `*` of this
    one, which takes whatever it stands for. If not, put for each `*` a letter that this one does not have (no label
    that people write has all 36 of them), and for `:*` a port that it does not have: the other alone matches that host.
    """
    return _matches(pattern, other)


def _matches(pattern: str, host: str) -> bool:
    from fnmatch import fnmatchcase  # a label of either has no other mark than `*`, and it does not backtrack

    name, _, port = host.partition(":")
    wanted_name, _, wanted_port = pattern.partition(":")
    labels, wanted = name.split("."), wanted_name.split(".")
    is_port = wanted_port in (port, "*")
    return is_port and len(labels) == len(wanted) and all(map(fnmatchcase, labels, wanted))


def fits(value: object, pattern: "Pattern") -> bool:
    """Whether a value is one that a setting may have, see `Settings`."""
    import re

    if isinstance(pattern, type):
        return isinstance(value, pattern)
    if isinstance(pattern, tuple):
        return isinstance(value, list) and value != [] and all(fits(item, pattern[0]) for item in value)
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def _check_common(file: "_File", table: "dict[str, Any]", number: int) -> None:
    import re
    from difflib import get_close_matches

    for key in _COMMON:
        if key not in table:
            for other in get_close_matches(key, [name[:_SHOWN] for name in table], 1, 0.75):
                file.only({other: ""}, (key,), number)
            raise file.fault(f"line {file.line(number)}: no `{key}`", _SEE)
        if not isinstance(table[key], str):
            raise file.fault(f"line {file.line(number, key)}: `{key}` is not a text", _SEE)
    name, _, port = table["match"].partition(":")
    is_host = re.fullmatch(_PATTERN, table["match"]) and "*" not in "".join(name.split(".")[-2:])
    if not is_host or (port.isdigit() and int(port) > _LAST_PORT):
        raise file.fault(
            f"line {file.line(number, 'match')}: `match` is not a host in lower case",
            "`*` stands for any part of one label, but not in the last two; no scheme, no path",
        )
    file.one_of(table["source"], _sources(), number, "source")


def _check_reached(file: "_File", pattern: str, number: int, earlier: "dict[str, int]") -> None:
    """Raise if an earlier entry leaves no host to this one, else add it to them."""
    first = earlier.setdefault(pattern, number)
    if first != number:
        raise file.fault(
            f"line {file.line(number, 'match')}: the same `match` as in line {file.line(first, 'match')}",
            "keep the one that is meant: the first would win",
        )
    for other, start in earlier.items():
        if start < number and "*" in other and covers(other, pattern):
            raise file.fault(
                f"line {file.line(number, 'match')}: never reached, "
                f"`match` in line {file.line(start, 'match')} has all of its hosts",
                "put the particular one first: the first that matches counts",
            )


def _sources() -> tuple[str, ...]:
    """The names of the sources: those of their modules."""
    folder = __file__.rpartition("/")[0] + "/sources"
    names = (name.removesuffix(".py") for name in posix.listdir(folder) if name.endswith(".py"))
    return tuple(sorted(name for name in names if not name.startswith("_")))


class _File:
    """Says where a mistake is."""

    def __init__(self, name: bytes, text: str) -> None:
        self.name = name.decode("ascii", "replace")
        self.text = text

    def fault(self, message: str, hint: str) -> Unavailable:
        """The error for `message`; the file's own path is in the hint, where there is room."""
        return Unavailable(f"config.toml: {message}", f"{hint} ({self.name})")

    def line(self, number: int, key: str | None = None) -> int:
        """The line of the `number`th registry, or of a key in it; of a key outside of them if that is 0."""
        return _lines(self.text)[number, key]

    def only(self, table: "Mapping[str, object]", known: tuple[str, ...], number: int) -> None:
        """Raise for the first key that is not among the known ones."""
        for key in table:
            self.one_of(key, known, number, key)

    def one_of(self, word: str, known: tuple[str, ...], number: int, key: str) -> None:
        """Raise if the word is not among the known ones, naming the nearest of them."""
        if word in known:
            return
        import re
        from difflib import get_close_matches

        near = get_close_matches(word[:_SHOWN], known, 1)
        advice = f"did you mean `{near[0]}`?" if near else "it may be " + ", ".join(f"`{name}`" for name in known)
        is_name = len(word) <= _SHOWN and re.fullmatch("[A-Za-z0-9_-]+", word)
        what = "key" if word == key else key
        raise self.fault(f"line {self.line(number, key)}: unknown {what}" + (f" `{word}`" if is_name else ""), advice)


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


def _position(error: Exception) -> str:
    """`line 3, column 7` out of what tomllib says, without the text of the line."""
    _, found, start = str(error).rpartition("(at ")
    return start.rstrip(")") if found else "unreadable"


def _read(environ: "Environment") -> str | None:
    """The text of the file; None if there is none. Raises Unavailable if others may write it, or it is unreadable."""
    name = configuration(environ)
    file = _File(name, "")
    text = trusted(name, file.fault)
    if text is None and environ.get(b"CREDHELPERS_CONFIG"):
        # Who names a file does not mean the identity that is used without one.
        raise file.fault("CREDHELPERS_CONFIG names no file", "give the absolute path of one, or unset it")
    return text


def trusted(name: bytes, fault: "Callable[[str, str], Unavailable]") -> str | None:
    """The text of a file that configures; None if there is none.

    Raises what `fault` makes of a message and a hint if others may write the file, or it is unreadable.
    """
    try:
        content, status = files.read(name, _FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if _is_link(name):
            raise fault("a link that leads nowhere", "mend or remove it") from None
        return None
    except (IsADirectoryError, files.NotRegular):
        raise fault("not a file", "look at it with `ls -l`") from None
    except files.TooLong:
        raise fault(f"longer than {_FILE_BYTES} bytes", "it must be a configuration file") from None
    except files.Unread:
        raise fault("cannot be read", "try it with `cat`") from None
    except (OSError, ValueError):
        raise fault("cannot be opened", "look at its mode and owner with `ls -l`") from None
    if mending := files.mending(name, status):
        raise fault("others may write it, so it is not trusted", f"see what is in it, then run `{mending}`")
    try:
        return content.decode("utf-8-sig")  # some editors put a mark before it
    except UnicodeDecodeError:
        raise fault("not UTF-8", "it must be written in UTF-8") from None


def _is_link(name: bytes) -> bool:
    try:
        posix.readlink(name)
    except OSError:
        return False
    return True
