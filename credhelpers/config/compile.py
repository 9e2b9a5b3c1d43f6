"""The configuration compiled: all owners of hosts, in the order in which they count.

    [[registry]]
    match = "111122223333.dkr.ecr.*.amazonaws.com"
    source = "ecr"
    profile = "prod"

A pattern is a host in which `*` stands for any part of one label, so it never crosses a dot. For a source whose
registries may have a port there may be one behind it, or `:*` for any port and none; without that a registry without
port is meant, or with the 443 of `https`, which is the same. A path behind it means what lies below that path. Docker
Hub's four names are one. `identity` names for whom the entry is: who did not choose that identity is not served by it.
`realm` is where a credential for its hosts may be sent for a token, see `realms`; no hit needs it, so no plan has it.
`on_error = "anonymous"` has clients go on without a credential where there should be one and it cannot be had. Which
further keys an entry may have is its source's own `SETTINGS`, see `schema`. `from` names the helper whose
credential a source mints with that needs one.

    [sources]
    trust = ["toy"]

Sources of other packages are strangers: their rules count for entries that name them, and for others only if they are
trusted, after all of ours.

    [keyring]
    backend = "library"

Where what a person types is kept, if not where it is without this: see `stores.library`.

A mistake inside one entry fails the hosts of its `match`, with its line. Only a file that is no TOML, is not trusted,
or whose `match` or `source` cannot be read fails every host: a mistake must not send docker to a registry with another
identity than the one that was meant.
"""

import re
from itertools import islice

from credhelpers import realms
from credhelpers.config import duration
from credhelpers.config.file import SEE, File, trusted
from credhelpers.config.links import default, links, of_nobody, on_error
from credhelpers.config.meanings import meant
from credhelpers.config.schema import Entry, Owners, announced, fits
from credhelpers.errors import NotMine, Unavailable
from credhelpers.hosts import label_fits, may_meet
from credhelpers.installed import KEYRING, announcements
from credhelpers.servers import HUB, HUB_HOSTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from credhelpers.config.schema import Announced, Rule
    from credhelpers.recorder import Recorder

_COMMON = ("match", "source", "identity", "realm", "min_life", "on_error")
_FROM = "from"
TABLE = "[keyring]"  # by which word the store asks for what its table says
_MIN_LIFE = "min_life"  # as in `plan`
_LABEL = "[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?"
_HOST = rf"(?=[^:]{{1,253}}(:|$)){_LABEL}(\.{_LABEL})*(:([1-9][0-9]{{0,4}}|\*))?"
_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_PATH = rf"({_SEGMENT}/)*({_SEGMENT}|\*)"
_BACKEND = r"library|(?=.{1,200}$)[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+"
IDENTITY = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a name, wherever one is given
_DEFAULT_PORT = ":443"
_LAST_PORT = 65535
_NEAR = 0.75  # how much alike two keys are of which one may be meant by the other, see `difflib`
_SHOWN = 24
_ALIKE = 256


def compiled(name: bytes, recorder: "Recorder", *, is_named: bool) -> Owners:
    """What the configuration file `name` and the sources say. What was looked at is noted with `recorder`."""
    found = Owners()
    installed = announcements(recorder)
    sources = {one.word: announced(one.word, one.module) for one in installed if one.is_ours}
    try:
        if file := read(name, recorder, is_named=is_named):
            words = {one.word for one in installed}
            tables, trust, found.keyring, said = read_tables(file, words)
            if asked := _asked(tables, trust, words - sources.keys()):
                from credhelpers.config.strangers import told

                sources |= told(installed, asked, trust)
            found.entries = entries(file, [said | table for table in tables], sources, words)
            found.entries += of_nobody(file, said, 2 * len(tables) + 2)
            found.missed = list(_missed(file, found.entries, sources))
    except Unavailable as error:
        found.broken = error
    found.sources = list(sources.values())
    for source in sources.values():
        found.rules += [(source, rule) for rule in source.rules]
        found.entries += source.others(recorder)
    return found


def _missed(
    file: File, found: "list[Entry]", sources: "Mapping[str, Announced]"
) -> "Iterator[tuple[Entry, Unavailable, Announced, Rule]]":
    """Entries in a domain of their source's own hosts that fit none of these and say of no alias what it stands for.

    Nobody would ever ask for what they do fit, and another identity would mint for what was meant. So the hosts of that
    domain that no entry has hear of it.
    """
    near_of: dict[tuple[str, str], list[Rule]] = {}
    for one in sources.values():
        for rule in one.rules:
            near_of.setdefault((one.word, _domain(rule[0])), []).append(rule)
    for entry in found:
        source = sources.get(entry.source)
        if source is None:  # a store, which has no hosts of its own
            continue
        name, _, port = entry.pattern.partition(":")
        near = near_of.get((entry.source, _domain(name)))
        is_alias = bool(source.alias) and entry.settings.keys() >= set(source.alias)
        is_of_no_port = port in ("", "*") or source.has_ports
        if not near or is_alias or (is_of_no_port and any(may_meet(name, pattern) for pattern, _, _ in near)):
            continue
        form = re.sub("<[^>]*>", "*", near[0][0])
        mistake = entry.mistake or file.fault(
            "config-match",
            f"line {file.line(entry.number, 'match')}: `match` fits no registry of `{entry.source}`",
            f"`*` stands for any part of one label, as in `{form}`",
        )
        if "*" in name:  # else the source itself says what the one host lacks
            entry.mistake = mistake
        for rule in near:
            yield entry, mistake, source, rule


def _domain(pattern: str) -> str:
    return ".".join(pattern.rsplit(".", 2)[-2:])


def read(name: bytes, recorder: "Recorder", *, is_named: bool) -> File | None:
    """The configuration file `name`; None if there is none, which it must not be where somebody has named it.

    Raises Unavailable if others may write it, or it is unreadable.
    """
    file = File(name)
    text = trusted(name, file.fault, recorder)
    if text is None:
        if is_named:  # who names a file does not mean the identity that is used without one
            raise file.fault(
                "config-absent", "CREDHELPERS_CONFIG names no file", "give the absolute path of one, or unset it"
            )
        return None
    return File(name, text)


def entries(
    file: File, tables: "list[dict[str, Any]]", sources: "Mapping[str, Announced]", words: set[str]
) -> list[Entry]:
    """All entries, in the order of the file. Raises Unavailable, with line and key, for what fails every host.

    `words` are those of all sources that there are, `sources` the ones that are known.
    """
    found = []
    reached = _Reached()
    for number, (line, table) in enumerate(zip(file.starts(len(tables)), tables, strict=True), 1):
        pattern, path = _common(file, table, number)
        chain = links(file, table, number, tuple(sorted(words)))
        made = [Entry(2 * number, pattern, path, word, line) for word in chain if word in words or word == chain[0]]
        made[0].chain = chain[1:]
        for entry in made:
            entry.number, entry.is_behind = number, entry is not made[0]
        try:
            _fill(made, file, table, sources)
        except Unavailable as mistake:
            for entry in made:
                entry.mistake = mistake
        for entry in made:
            if earlier := reached.by(entry):
                entry.mistake = _never_reached(file, number, entry, earlier)
                entry.order = earlier.order - 1  # whoever asks for such a host hears of it, and not only in the log
        found += made
    return found


def read_tables(file: File, words: set[str]) -> "tuple[list[dict[str, Any]], list[str], Entry | None, dict[str, Any]]":
    """The entries as written, who of the sources with these words is trusted, the keyring, and what is said for all.

    Raises Unavailable.
    """
    import tomllib

    try:
        document = tomllib.loads(file.text)
    except (ValueError, RecursionError) as error:
        raise file.fault(
            "config-no-toml", f"not TOML: {_position(error)}", "mend the line, see `docs/configuration.md`"
        ) from None
    file.only(document, ("registry", "sources", "default", KEYRING), 0)
    tables = document.get("registry", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise file.fault(
            "config-no-table",
            f"line {file.line(0, 'registry')}: `registry` is not a list of tables",
            "write `[[registry]]` with two brackets",
        )
    about = document.get("sources", {})
    trust = about.get("trust", []) if isinstance(about, dict) and about.keys() <= {"trust"} else None
    if not isinstance(trust, list) or not all(isinstance(word, str) for word in trust):
        raise file.fault(
            "config-sources",
            f"line {file.line(0, 'sources')}: `sources` is not a table of `trust`, a list of names",
            'write `[sources]` and below it `trust = ["NAME"]`',
        )
    for word in trust:
        file.one_of(word, tuple(sorted(words)), 0, "sources", "source")
    keyring = _keyring(file, document[KEYRING]) if KEYRING in document else None
    return tables, trust, keyring, default(file, document, tuple(sorted(words)))


def _keyring(file: File, table: object) -> Entry:
    """What the table says. A mistake in it fails the keyring, and no host of a source."""
    import re

    entry = Entry(0, "*", "", TABLE, file.line(0, KEYRING))
    try:
        for key in table if isinstance(table, dict) else ():
            file.one_of(key, ("backend",), 0, KEYRING, "key")
        backend = table.get("backend") if isinstance(table, dict) else None
        if not (isinstance(backend, str) and re.fullmatch(_BACKEND, backend)):
            raise file.fault(
                "config-keyring",
                f'line {entry.line}: `backend` in `keyring` is not "library" or the name of a class',
                'write `[keyring]` and below it `backend = "library"`, see `docs/keyring.md`',
            )
        entry.settings = {"backend": backend}
    except Unavailable as mistake:
        entry.mistake = mistake
    return entry


def _asked(tables: "list[dict[str, Any]]", trust: list[str], strangers: set[str]) -> "dict[str, list[dict[str, Any]]]":
    """The strangers that an entry names or that are trusted, with the settings of each one's entries."""
    asked: dict[str, list[dict[str, Any]]] = {word: [] for word in trust if word in strangers}
    for table in tables:
        said = table.get("source")
        for word in said if isinstance(said, list) else (said,):
            if isinstance(word, str) and word in strangers:
                asked.setdefault(word, []).append(_settings(table))
    return asked


def _settings(table: "Mapping[str, Any]") -> "dict[str, Any]":
    return {key: value for key, value in table.items() if key not in (*_COMMON, _FROM)}


def _common(file: File, table: "dict[str, Any]", number: int) -> tuple[str, str]:
    """Host with port, and path, of an entry whose `match` can be read, and that has a `source`. Raises Unavailable."""
    from difflib import get_close_matches

    for key in _COMMON[:2]:
        if key not in table:
            names = [name[:_SHOWN] for name in table]
            near = [name for name in names if meant(name, (key,))] or get_close_matches(key, names, 1, _NEAR)
            for other in near:
                file.only({other: ""}, (key,), number)
            raise file.fault("config-key-missing", f"line {file.line(number)}: no `{key}`", SEE)
        if key == "match" and not isinstance(table[key], str):
            raise file.fault("config-value", f"line {file.line(number, key)}: `match` is not a text", SEE)
    pattern, slash, path = table["match"].partition("/")
    name, _, port = pattern.partition(":")
    is_host = re.fullmatch(_HOST, pattern) and "*" not in "".join(name.split(".")[-2:])
    if not is_host or (port.isdigit() and int(port) > _LAST_PORT):
        raise file.fault(
            "config-match",
            f"line {file.line(number, 'match')}: `match` is not a host in lower case",
            "an address of IPv6 is not known here: give the registry a name"
            if pattern.startswith("[")
            else "`*` stands for any part of one label, but not in the last two; no scheme",
        )
    if slash and not re.fullmatch(_PATH, path):
        raise file.fault(
            "config-match",
            f"line {file.line(number, 'match')}: what is behind the host in `match` is no path of a repository",
            "whole names between slashes, and at the end perhaps `/*`",
        )
    pattern = pattern.removesuffix(_DEFAULT_PORT)
    return HUB if pattern.removesuffix(":*") in HUB_HOSTS else pattern, path.removesuffix("*").removesuffix("/")


def _fill(made: list[Entry], file: File, table: "dict[str, Any]", sources: "Mapping[str, Announced]") -> None:
    """Read the other keys of an entry with a link or more. Raises Unavailable."""
    number = made[0].number
    min_life = ""
    for entry in made:
        min_life = _fill_common(entry, file, table, number)
    known = [sources[entry.source] for entry in made if entry.source in sources]
    for source in known:
        if source.broken:
            line, error = file.line(number, "source"), source.broken
            raise file.fault(error.code, f"line {line}: {error.message}", error.hint)
    takes_from = (_FROM,) if any(source.takes_from for source in known) else ()
    file.only(table, (*_COMMON, *takes_from, *(key for source in known for key in source.settings)), number)
    for entry in made:
        if own := sources.get(entry.source):
            shared = {key for source in known if source is not own for key in source.settings}
            _fill_own(entry, file, table, own, shared)
            if _FROM in table and own.takes_from:
                entry.settings[_FROM] = _from(file, table, number, sources)
        if min_life:
            entry.settings[_MIN_LIFE] = str(duration.seconds(min_life))


def _fill_own(entry: Entry, file: File, table: "dict[str, Any]", source: "Announced", shared: set[str]) -> None:
    """Read the keys that are the source's own. Raises Unavailable.

    One that another link has, too, is left to that where it does not go with the rest.
    """
    number = entry.number
    settings = {key: value for key, value in _settings(table).items() if key in source.settings}
    own = {key: value for key, value in settings.items() if key not in shared}
    if source.wrong(settings) and not source.wrong(own):
        settings = own
    is_alias = bool(source.alias) and settings.keys() >= set(source.alias)
    if ":" in entry.pattern and not (source.has_ports or is_alias):
        alias = " and ".join(f"`{key}`" for key in source.alias)
        raise file.fault(
            "config-match",
            f"line {file.line(number, 'match')}: `match` has a port, and no registry of this source has one",
            "take the port out" + (f", or say by {alias} for which an alias stands" if alias else ""),
        )
    if wrong := source.wrong(settings):
        key, message = wrong
        code = "config-value" if key else "config-contradiction"
        if not key:  # of what goes wrong together; unless the sentence is of one of them
            named = set(re.findall("`([a-z0-9_]+)", message)) & source.settings.keys()
            key = named.pop() if len(named) == 1 and named <= settings.keys() else ""
        line = file.line(number, key) if key else entry.line
        raise file.fault(code, f"line {line}: {message}", SEE)
    entry.settings = settings


def _from(file: File, table: "dict[str, Any]", number: int, sources: "Mapping[str, Announced]") -> str:
    """The helper with whose credential a source mints: one that does not ask on, so that nobody asks in a circle."""
    givers = (KEYRING, *(word for word, other in sources.items() if not other.takes_from and not other.broken))
    if table[_FROM] not in givers:
        raise file.fault(
            "config-from",
            f"line {file.line(number, _FROM)}: `{_FROM}` is not a helper with credentials of its own",
            "it may be " + ", ".join(f"`{word}`" for word in givers),
        )
    return str(table[_FROM])


def _fill_common(entry: Entry, file: File, table: "dict[str, Any]", number: int) -> str:
    """Read the keys that entries of any source may have, and give `min_life`, "" for none. Raises Unavailable."""
    identity = table.get("identity", "")
    if "identity" in table and not (isinstance(identity, str) and re.fullmatch(IDENTITY, identity)):
        raise file.fault(
            "config-identity",
            f"line {file.line(number, 'identity')}: `identity` is not a name",
            "letters, digits, `.`, `_` and `-`, at most 64, the first a letter or digit",
        )
    entry.identity = identity
    entry.realm = _realm(file, table, number)
    min_life = table.get("min_life")
    if min_life is not None and not fits(min_life, duration.SETTING[1]):
        raise file.fault(
            "config-value",
            f"line {file.line(number, 'min_life')}: `min_life` is not a duration",
            "such as `15m` or `1h`",
        )
    entry.on_error = on_error(file, table, number)
    return str(min_life or "")


def _realm(file: File, table: "dict[str, Any]", number: int) -> str:
    realm = table.get("realm", "")
    if "realm" in table:
        try:
            is_realm = isinstance(realm, str) and "?" not in realms.read(realm)[3]
        except NotMine:
            is_realm = False
        if not is_realm:
            raise file.fault(
                "config-value",
                f"line {file.line(number, 'realm')}: `realm` is not a URL that begins with https://",
                'write it as in `realm = "https://auth.acme.example"`',
            )
    return str(realm)


def _never_reached(file: File, number: int, entry: Entry, earlier: Entry) -> Unavailable:
    place = f"line {file.line(number, 'match')}"
    first = file.line((earlier.order + 1) // 2, "match")
    if entry.pattern == earlier.pattern:
        return file.fault(
            "config-never-reached",
            f"{place}: the same `match` as in line {first}",
            "keep the one that is meant: the first would win",
        )
    return file.fault(
        "config-never-reached",
        f"{place}: never reached, `match` in line {first} has all of its hosts",
        "put the particular one first: the first that matches counts",
    )


class _Reached:
    """The patterns so far, by source, identity and path: whether one of them has all hosts of the next one.

    A pattern has all hosts of another one if it fits that one itself, read as a host. Then a `*` of the other is taken
    by a `*` of this one, which takes whatever it stands for. If not, put for each `*` a letter that this one does not
    have (no label that people write has all 36 of them), and for `:*` a port that it does not have: the other alone
    fits that host. Labels are kept as a tree from the right, so that thousands of entries are not each held against
    each.
    """

    __slots__ = ("_trees",)

    def __init__(self) -> None:
        self._trees: dict[tuple[str, str, str], _Labels] = {}

    def by(self, entry: Entry) -> Entry | None:
        """The first earlier entry that leaves nothing to this one, which is added to them."""
        tree = self._trees.setdefault((entry.source, entry.identity, entry.path), _Labels())
        name, _, port = entry.pattern.partition(":")
        labels = name.split(".")[::-1]
        found = [
            other
            for leaf in tree.fitting(labels)
            for other in {leaf.entries.get(port), leaf.entries.get("*")}
            if other is not None
        ]
        tree.leaf(labels).entries.setdefault(port, entry)
        return min(found, key=lambda other: other.order, default=None)


class _Labels:
    """Patterns that end alike."""

    __slots__ = ("_plain", "_starred", "entries")

    def __init__(self) -> None:
        self._plain: dict[str, _Labels] = {}
        self._starred = _Starred()
        self.entries: dict[str, Entry] = {}  # by port

    def leaf(self, labels: list[str]) -> "_Labels":
        """Where the pattern of these labels is kept."""
        tree = self
        for label in labels:
            below = tree._starred.alike(label) if "*" in label else tree._plain
            tree = below.setdefault(label, _Labels())
        return tree

    def fitting(self, labels: list[str]) -> "Iterable[_Labels]":
        """The leaves of all patterns that fit these labels."""
        trees = [self]
        for label in labels:
            trees = [
                inner
                for tree in trees
                for inner in (tree._plain.get(label), *tree._starred.fitting(label))  # noqa: SLF001 - as above
                if inner
            ]
        return trees


class _Starred:
    """Labels with `*`, by the text before the first one, behind the last one, and the longest between.

    Only those are held against a label of whom it has all three, and no more than `_ALIKE` of them, so that thousands
    of patterns do not take minutes. Beyond that nobody is told that an entry is never reached.
    """

    __slots__ = ("_alike",)

    def __init__(self) -> None:
        self._alike: dict[str, dict[str, dict[str, dict[str, _Labels]]]] = {}

    def alike(self, pattern: str) -> dict[str, _Labels]:
        """Where a pattern is kept, with those like it."""
        first, *between, last = pattern.split("*")
        longest = max(between, key=len, default="")
        return self._alike.setdefault(first, {}).setdefault(last, {}).setdefault(longest, {})

    def fitting(self, label: str) -> "Iterable[_Labels]":
        """What is kept under the patterns that fit the label."""
        ends = range(len(label) + 1)
        for by_last in filter(None, (self._alike.get(label[:end]) for end in ends)):
            for by_longest in filter(None, (by_last.get(label[start:]) for start in ends)):
                parts = {""} if len(by_longest) == 1 and "" in by_longest else _parts(label)
                for longest in parts & by_longest.keys():
                    alike = islice(by_longest[longest].items(), _ALIKE)
                    yield from (tree for pattern, tree in alike if label_fits(pattern, label))


def _parts(label: str) -> set[str]:
    return {label[start:end] for end in range(len(label) + 1) for start in range(end + 1)}


def _position(error: Exception) -> str:
    """`line 3, column 7` out of what tomllib says, without the text of the line."""
    _, found, start = str(error).rpartition("(at ")
    return start.rstrip(")") if found else "unreadable"
