"""Who owns a registry: the one place that decides it.

The configuration and the rules of the sources are compiled into one small private file beside the cached tokens when
one of them has changed. A lookup reads three of its groups: that of the very host, that of the last two labels, and
that of whoever owns any registry. So a host that nobody owns is known by one look, and it does not matter how many
entries there are.

The file is lines of words. The head is a line with format, version of ours and a checksum (of the file's name, too:
under another one it is no plan), then what it was compiled from (`receipt`), then how many groups there are or, if the
configuration fails every host, what is wrong with it:

    credhelpers-plan 3 VERSION CHECKSUM
    word WORD
    from RECEIPT LINE
    broken CODE <tab> MESSAGE <tab> HINT
    groups COUNT
    (an empty line)

Then comes a line of fixed length for each group (where its lines are, how long they are, their checksum), and then the
groups: a line for each owner, its words with tabs between them, see `_Owner`.

Nothing of the file is imported, run or used as a path: a source is a word, and what is installed has the code for it
(see `installed`). A file that is not private, of another version, damaged or compiled from something else is no plan; a
new one is compiled. Where it cannot be written that costs time, never the answer.

This module is on the way of a cache hit. It imports built-ins only.
"""

import posix
from _blake2 import blake2b

import credhelpers
from credhelpers import __version__, cached_token, private, receipt
from credhelpers.errors import NoIdentity, NotFound, NotMine, Unavailable
from credhelpers.hosts import fields, fits
from credhelpers.identity import configuration
from credhelpers.servers import Authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from credhelpers.identity import Environment

_MAGIC = f"credhelpers-plan 3 {__version__} ".encode()
_HEAD_BYTES = 8 * 1024  # a plan without entries, which is all of it, or at least a head
_LONG_HEAD_BYTES = 1 << 20  # of a few paths, each of at most four kilobytes
# In the order in which they count; the last one never does, but says what the host of an entry is.
_ENTRY, _RULE, _ANY, _LAST, _TRUSTED, _NAMED, _BEHIND = "0", "1", "2", "3", "4", "5", "6"
_OF_NOBODY = "7"
_KEYRING = "keyring"  # as in `installed`
_OF_HOSTS = (_RULE, _TRUSTED, _NAMED)
_MIN_LIFE = "min_life"  # the key of an entry that is none of its source's settings
_SOURCE = 3  # which of the words of an owner it is
_SLOT_BYTES = 37  # a place of ten digits, a length of eight, a checksum of 16, two blanks, a line end
_LEAST = 64  # groups


class Route:
    """Who owns an authority, and by what.

    source:    the word of the source
    settings:  those of the entry that matched, none where a rule did
    fields:    what the source's own rule says of the host, none where the host is an alias
    identity, path: those of the entry
    min_life:  seconds for which an answer must live, as the entry says, 0 if it does not
    line:      the line of the configuration in which the entry begins, 0 for a rule
    is_any:    whether what has it is for any registry, and nothing is for this one
    chain:     the links that are asked behind the source
    goes_on:   whether they are also where it fails
    is_optional: whether the entry has clients go on without a credential where one cannot be had
    word, receipt: what the decision was read from, see `receipt`
    """

    __slots__ = (
        *("authority", "chain", "fields", "file", "goes_on", "identity", "is_any", "is_optional", "line", "min_life"),
        *("path", "receipt", "settings", "source", "word"),
    )

    def __init__(self, authority: Authority, source: str) -> None:
        self.authority = authority
        self.source = source
        self.settings: dict[str, Any] = {}
        self.fields: dict[str, str] | None = None
        self.identity = ""
        self.path = ""
        self.line = 0
        self.is_any = self.is_optional = self.goes_on = False
        self.chain: tuple[str, ...] = ()
        self.min_life = 0.0
        self.file = b""
        self.word = ""
        self.receipt: list[str] = []

    @property
    def scope(self) -> str:
        """All of it that can change who mints, as a text that no two routes of other meaning share."""
        parts = [self.source, self.identity, self.path, self.authority.name]
        parts += [f"{name}={value!r}" for name, value in sorted(self.settings.items())]
        return "".join(f"{len(part)}:{part}" for part in parts)

    def told(self, error: NotFound) -> NotFound:
        """The same with who says that there should be something; without a word where nobody would wonder.

        That is where no entry of config.toml owns the host, and a source's own rule does not lack an identity.
        """
        if not self.line and not isinstance(error, NoIdentity):
            return NotFound()
        error.hint = f"line {self.line} of config.toml" if self.line else f"a built-in rule of {self.source}"
        error.hint += " has this host"
        return error

    def contradiction(self, message: str) -> Unavailable:
        """What a source raises for settings that do not go with this host."""
        from credhelpers.config.file import contradiction  # what a hit does not need

        return contradiction(self.file, self.line, message)


def route(authority: Authority, environ: "Environment", source: str = "") -> Route:
    """Who owns the authority; with `source` only that source's entries and rules count.

    Raises NotMine if nobody does, Unavailable if what says so is broken.
    """
    if not authority.host:
        raise NotMine
    name, is_named = configuration(environ), bool(environ.get(b"CREDHELPERS_CONFIG"))
    folder = cached_token.directory(environ)
    packages = credhelpers.__path__[0].encode("utf-8", "surrogateescape")  # another installation has other sources
    text = b"%d:%s%s" % (len(name), name, packages)
    file = b"plan-" + blake2b(text, digest_size=16, person=b"named" if is_named else b"").hexdigest().encode()
    word = ""
    if folder is not None:
        try:
            content = _read(folder, file)
            try:
                plan = _Plan(name, file, content)
                word = plan.word  # stays, lest what was kept by the plan before is taken for another identity's
                if plan.holds(environ) and (found := plan.known(authority, environ, source)):
                    return found
            finally:
                content.close()
        except (OSError, ValueError, IndexError):
            pass  # there is none, or it is damaged
    head, owners, is_kept = _compiled(name, environ, word, is_named=is_named)
    packed = _packed(file, head, owners)
    if folder is not None and is_kept:
        from credhelpers.cache import keep

        keep(folder, file, packed)
    return _Plan(name, file, _Bytes(-1, packed)).route(authority, environ, source)


def _read(folder: bytes, name: bytes) -> "_Bytes":
    directory = private.open_directory(folder)
    try:
        return _Bytes(private.open_file(directory, name))
    finally:
        posix.close(directory)


def _compiled(
    name: bytes, environ: "Environment", word: str, *, is_named: bool
) -> "tuple[list[str], list[tuple[str, str]], bool]":
    from credhelpers.config.lines import lines

    return lines(name, environ, word, is_named=is_named)


class _Bytes:
    """A plan's bytes, of which only those are read that are asked for; of one just compiled they are all there."""

    __slots__ = ("_descriptor", "start")

    def __init__(self, descriptor: int, start: bytes = b"") -> None:
        self._descriptor = descriptor
        self.start = start or posix.pread(descriptor, _HEAD_BYTES, 0)

    def at(self, place: int, length: int) -> bytes:
        """So many bytes from there on. Raises OSError."""
        if self._descriptor < 0 or place + length <= len(self.start):
            return self.start[place : place + length]
        return posix.pread(self._descriptor, length, place)

    def read_on(self) -> None:
        """Have a longer start. Raises OSError."""
        self.start = posix.pread(self._descriptor, _LONG_HEAD_BYTES, 0)

    def close(self) -> None:
        """Close the descriptor."""
        posix.close(self._descriptor)


class _Plan:
    """A plan of a configuration, out of a file. Raises OSError, ValueError or IndexError where that is damaged."""

    __slots__ = ("_broken", "_bytes", "_count", "_file", "_index", "_receipt", "word")

    def __init__(self, configuration: bytes, file: bytes, content: _Bytes) -> None:
        self._file = configuration
        self._bytes = content
        head, found, _ = content.start.partition(b"\n\n")
        if not found:  # long paths
            content.read_on()
            head, found, _ = content.start.partition(b"\n\n")
        first, _, rest = head.partition(b"\n")
        if not found or first != _MAGIC + _checksum(file + b"\n" + rest):
            raise ValueError("not a plan of this version")
        self._index = len(head) + 2
        self._receipt: list[str] = []
        self._broken: list[str] = []
        self.word = ""
        *lines, last = rest.decode("ascii").split("\n")
        self._count = int(last.removeprefix("groups "))
        for line in lines:
            kind, _, text = line.partition(" ")
            if kind == "from":
                self._receipt.append(text)
            elif kind == "word":
                self.word = text
            else:
                self._broken = list(map(_text, text.split("	")))

    def holds(self, environ: "Environment") -> bool:
        """Whether what it was compiled from is as it was, and is seen to be so by stamps alone once it is not young."""
        return receipt.is_settled(self._receipt) and receipt.holds(self._receipt, self.word, environ)

    def known(self, authority: Authority, environ: "Environment", source: str) -> Route | None:
        """As `route`; None where it must be asked anew, which costs time, whether a stranger is as slow as it was."""
        try:
            return self.route(authority, environ, source)
        except Unavailable as error:
            if error.code != "source-late":
                raise
            return None

    def route(self, authority: Authority, environ: "Environment", source: str) -> Route:
        """As the function of this name."""
        if self._broken:
            raise Unavailable(*self._broken)
        chosen = environ.get(b"CREDHELPERS_IDENTITY", b"").decode("ascii", "replace")
        found = list(self._fitting(authority, environ, source))
        counting = [owner for owner in found if owner.is_seen(source) and owner.identity in ("", chosen)]
        best = min(counting, key=lambda owner: owner.rank, default=None)
        if best is None:
            raise NotMine
        if chosen and not best.identity and best.kind != _OF_NOBODY and not any(self._group(f"@{chosen}")):
            raise Unavailable(
                "identity-unknown",
                "the chosen identity is one that no entry of config.toml has",
                "it is the name behind `@` of the executable, else CREDHELPERS_IDENTITY; `identity = NAME` makes one",
            )
        if best.mistake:
            raise Unavailable(*best.mistake)
        if best.kind == _TRUSTED and len({owner.source for owner in counting}) > 1:
            both = sorted({f"`{owner.source}` of {owner.package}" for owner in counting})
            raise Unavailable(
                "source-two-owners",
                f"two sources own this registry: {' and '.join(both[:2])}",
                "a `[[registry]]` for it in config.toml names the one that is meant",
            )
        result = Route(authority, best.source)
        result.file = self._file
        result.word, result.receipt = self.word, self._receipt
        result.settings = best.settings() if best.kind in (_ENTRY, _LAST, _BEHIND, _OF_NOBODY) else {}
        result.min_life = float(result.settings.pop(_MIN_LIFE, 0))
        on_error = result.settings.pop("on_error", "")  # changes nothing of who mints
        result.is_optional, result.goes_on = on_error == "anonymous", on_error == "next"
        result.chain = tuple(result.settings.pop("then", ()))
        if best.kind == _ANY:  # what it has nothing for is asked of the stores
            stores = [owner for owner in counting if owner.kind == _OF_NOBODY]
            result.chain = stores[0].chain if stores else (_KEYRING,)
        result.identity, result.path, result.line = best.identity, best.path, best.line
        result.is_any = best.pattern == "*"
        rules = (owner for owner in found if owner.kind in _OF_HOSTS and owner.source == best.source)
        if rule := min(rules, key=lambda owner: owner.rank, default=None):
            result.fields = rule.settings() | (fields(rule.pattern, authority.host) or {})
        return result

    def _fitting(self, authority: Authority, environ: "Environment", source: str) -> "Iterator[_Owner]":
        """The owners whose pattern, path and variable fit, in no order."""
        for key in (*_keys(authority), *([f"!{source}"] if source else [])):
            for line in self._group(key):
                words = line.split("\t")
                if source in ("", words[_SOURCE]):
                    owner = _Owner(words)
                    if owner.fits(authority, environ):
                        yield owner

    def _group(self, key: str) -> "Iterator[str]":
        """The lines that stand under this key."""
        number = _number(key, self._count)
        place, length, check = self._bytes.at(self._index + number * _SLOT_BYTES, _SLOT_BYTES).split()
        text = self._bytes.at(int(place), int(length))
        if _checksum(b"%d %s" % (number, text)) != check:
            raise ValueError("a damaged group")
        yield from (line for line in text.decode("ascii").split("\n") if line.partition("\t")[0] == key)


class _Owner:
    """A line of a group: the key that it is found by, how it counts, and what it says.

    A kind is one of an entry, a rule of a source, a rule for any registry, an entry that counts last, a rule of a
    stranger that is trusted, of one that is not, an entry of a link behind the first, what is for registries of nobody.
    The words are key, kind, order, source, pattern, path, identity, line, variable, what is wrong (code, message and
    hint), the package of a stranger, and then pairs of a key of the settings and its value.
    """

    __slots__ = (
        *("_said", "identity", "kind", "line", "mistake", "package", "path", "pattern", "rank", "source"),
        "variable",
    )

    def __init__(self, words: list[str]) -> None:
        _, self.kind, order, self.source, pattern, path, self.identity, line, variable = words[:9]
        self.pattern = pattern
        self.path = _text(path)
        self.variable = variable.encode()
        self.line = int(line)
        self.mistake = list(map(_text, words[9:12])) if words[9] else None
        kind = _ENTRY if self.kind == _BEHIND else self.kind
        self.rank = (kind, not self.identity, -path.count("/") if path else 1, int(order))
        self.package = words[12]
        self._said = words[13:]

    def is_seen(self, source: str) -> bool:
        """Whether it counts for who asks for this source's, or, with "", for all.

        A link behind the first is seen by its own source. So is what another program's file says of any registry: a
        helper for everything would send that to whoever is asked.
        """
        if self.kind == _NAMED:
            return False
        return bool(source) or not (self.kind == _BEHIND or (self.kind == _LAST and self.pattern == "*"))

    @property
    def chain(self) -> tuple[str, ...]:
        """All its links."""
        return (self.source, *self.settings().get("then", ()))

    def settings(self) -> "dict[str, Any]":
        """Those of an entry, or what is true of all hosts of a rule."""
        return {key: _value(value) for key, _, value in (word.partition("=") for word in self._said)}

    def fits(self, authority: Authority, environ: "Environment") -> bool:
        """Whether this one owns the authority, leaving the identity aside."""
        if self.variable and not environ.get(self.variable):
            return False
        if self.pattern == "*":
            return True
        if self.kind in _OF_HOSTS:
            return not authority.port and fields(self.pattern, authority.host) is not None
        is_it = any(
            fits(self.pattern, name) if "*" in self.pattern else self.pattern == name for name in authority.names
        )
        return is_it and (not self.path or _is_below(authority, self.path))


def _is_below(authority: Authority, path: str) -> bool:
    """Whether what was sent is the path or below it, by whole segments. `/v2` and the like mean the whole registry."""
    if authority.is_whole:
        return False
    sent = authority.path
    segments = sent.removeprefix("/").removesuffix("/").split("/")
    wanted = path.split("/")
    is_clean = "%" not in sent and not {"", ".", ".."} & set(segments)
    return is_clean and segments[: len(wanted)] == wanted


def _keys(authority: Authority) -> tuple[str, ...]:
    """The keys of the groups in which an owner of the registry may stand. An entry has but one name of Docker Hub."""
    names = authority.names if len(authority.names) > 1 else (authority.host,)
    ends = dict.fromkeys("." + ".".join(name.split(".")[-2:]) for name in names)
    return (f"={authority.host}", *ends, "*")


def _number(key: str, count: int) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % count


def _checksum(content: bytes) -> bytes:
    return blake2b(content, digest_size=8).hexdigest().encode()


def _packed(file: bytes, head: list[str], lines: list[tuple[str, str]]) -> bytes:
    """The bytes of a plan, which its file's name is a part of.

    They are made of the lines of its head, and those of its owners with the keys of their groups.
    """
    count = _LEAST
    while count < len(lines):
        count *= 2
    groups: dict[int, list[str]] = {}
    for key, line in lines:
        groups.setdefault(_number(key, count), []).append(line)
    rest = "\n".join((*head, f"groups {count}")).encode()
    start = _MAGIC + _checksum(file + b"\n" + rest) + b"\n" + rest + b"\n\n"
    place = len(start) + count * _SLOT_BYTES
    slots, bodies = [], []
    for number in range(count):
        body = "\n".join(groups.get(number, [])).encode()
        slots.append(b"%010d %08d %s\n" % (place, len(body), _checksum(b"%d %s" % (number, body))))
        bodies.append(body)
        place += len(body)
    return start + b"".join(slots) + b"".join(bodies)


def _text(word: str) -> str:
    """What a word of a line stands for, `%XX` by `%XX`."""
    if "%" not in word:
        return word
    return receipt.decoded(word).decode("utf-8", "surrogatepass")


def _value(shown: str) -> "Any":
    kind, text = shown[:1], shown[1:]
    if kind == "b":
        return text == "1"
    return [_text(item) for item in text.split(" ")] if kind == "l" else _text(text)
