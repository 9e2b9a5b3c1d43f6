"""The lines of a plan, made of what the configuration and the sources say. What they mean is in `plan`."""

from credhelpers.config.compile import compiled
from credhelpers.identity import configuration
from credhelpers.recorder import LINES, Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from credhelpers.config.schema import Entry, Owners
    from credhelpers.errors import Unavailable
    from credhelpers.identity import Environment

    Line = tuple[str, str]  # with the key of its group before it

_ENTRY, _RULE, _ANY, _LAST, _TRUSTED, _NAMED, _BEHIND = "0", "1", "2", "3", "4", "5", "6"  # as in `plan`
_OF_NOBODY = "7"
_BEFORE = 1 << 40  # more than there are entries: what counts before a rule, and behind all entries
_PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}  # printable ASCII but `%`


def owners(environ: "Environment") -> "Owners":
    """All owners, compiled anew. Raises Unavailable if the configuration fails every host."""
    name, is_named = configuration(environ), bool(environ.get(b"CREDHELPERS_CONFIG"))
    found = compiled(name, Recorder(environ), is_named=is_named)
    if found.broken:
        raise found.broken
    return found


def lines(name: bytes, environ: "Environment", word: str, *, is_named: bool) -> "tuple[list[str], list[Line], bool]":
    """The head, the owners by the keys of their groups, and whether a file can hold what all that was made from.

    It cannot hold what may change while all that was looked at stays. The digests in the head are keyed with `word`, or
    with a new one if that is empty.
    """
    recorder = Recorder(environ, word)
    found = compiled(name, recorder, is_named=is_named)
    receipt = recorder.lines()
    head = [f"word {recorder.word}", *(f"from {line}" for line in receipt)]
    if found.broken:
        head.append("broken " + "\t".join(_said(found.broken)))
    return head, list(_lines(found)), len(receipt) <= LINES and not recorder.is_fleeting


def _lines(found: "Owners") -> "Iterator[Line]":
    for entry in found.entries:
        yield _of_entry(entry)
    if found.keyring:  # it owns what is asked for by its name, and nothing else
        key = f"!{found.keyring.source}"
        yield key, "\t".join((key, _OF_NOBODY, *_of_entry(found.keyring)[1].split("\t")[2:]))
    for name in {entry.identity for entry in found.entries if entry.identity}:
        yield f"@{name}", "\t".join((f"@{name}", _ENTRY, "0", "", "", "", "", "0", "", "", "", "", ""))
    for order, (source, (pattern, static, variable)) in enumerate(found.rules):
        key, kind = _key_of(pattern), _ANY if pattern == "*" else _RULE
        if source.package:
            kind = _TRUSTED if source.is_trusted else _NAMED
        words = [key, kind, str(order), source.word, pattern, "", "", "0", variable, "", "", "", source.package]
        yield key, "\t".join(words + [f"{name}={_shown(value)}" for name, value in sorted(static.items())])
    for entry, mistake, source, (pattern, static, variable) in found.missed:
        key, kind = _key_of(pattern), (_TRUSTED if source.is_trusted else _NAMED) if source.package else _RULE
        words = [key, kind, str(entry.order - _BEFORE), source.word, pattern, "", entry.identity, "0", variable]
        words += [*_said(mistake), source.package]
        yield key, "\t".join(words + [f"{name}={_shown(value)}" for name, value in sorted(static.items())])
    for source in found.sources:
        if not source.broken:
            continue
        # Nobody knows what it owns, so its own executable fails for every host.
        key = f"!{source.word}"
        words = [key, _TRUSTED, "0", source.word, "*", "", "", "0", "", *_said(source.broken), source.package]
        yield key, "\t".join(words)


def _of_entry(entry: "Entry") -> "Line":
    key = _key_of(entry.pattern)
    mistake = _said(entry.mistake) if entry.mistake else ("", "", "")
    kind = _LAST if entry.is_last else _BEHIND if entry.is_behind else _ENTRY
    kind = _OF_NOBODY if entry.is_of_nobody else kind
    words = [key, kind, str(entry.order), entry.source, entry.pattern, _word(entry.path)]
    words += [entry.identity, str(entry.line), "", *mistake, ""]
    settings = entry.settings | ({"on_error": entry.on_error} if entry.on_error != "stop" else {})
    settings |= {"then": list(entry.chain)} if entry.chain else {}
    return key, "\t".join(words + [f"{name}={_shown(value)}" for name, value in sorted(settings.items())])


def _said(error: "Unavailable") -> tuple[str, str, str]:
    """An error as three words: code, message, hint."""
    return error.code, _word(error.message), _word(error.hint)


def _key_of(pattern: str) -> str:
    """The key under which an entry's or a rule's pattern is kept."""
    if pattern == "*":
        return pattern
    name = pattern if "<" in pattern else pattern.partition(":")[0]
    return "." + ".".join(name.split(".")[-2:]) if "*" in name or "<" in name else f"={name}"


def _word(text: str) -> str:
    """A text as a word of ASCII without blanks of any kind but spaces."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in encoded)


def _shown(value: object) -> str:
    """The value of a setting: its kind in a letter, and its text."""
    if isinstance(value, bool):
        return f"b{int(value)}"
    if isinstance(value, list):
        return "l" + "\x20".join(_word(item).replace(" ", "%20") for item in value)
    return "s" + _word(str(value))
