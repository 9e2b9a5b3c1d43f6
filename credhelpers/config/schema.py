"""What a configuration is made of: entries, and what each source announces, so that none need be known to read them."""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.errors import Unavailable
    from credhelpers.recorder import Recorder

    # By key: what its value is, in words; the regular expression that the whole text matches, in a tuple of one where
    # the value is a list of such texts, or `bool`; what the key is for.
    Pattern = str | tuple[str] | type[bool]
    Settings = Mapping[str, tuple[str, Pattern, str]]
    # Hosts that are a source's own: a pattern, see `hosts.fields`, or `*` for any registry; what is true of all of
    # them; and the variable that must be set for it to count, "" for none.
    Rule = tuple[str, Mapping[str, str], str]
    Wrong = tuple[str, str] | None


class Entry:
    """One `[[registry]]`. With a `mistake` it fails its hosts instead of serving them.

    order:    entries that fit one host count in this order
    pattern:  host and port, or `*` for any registry
    path:     below which it counts, "" for all of the registry
    is_last:  whether all else counts before it, as before what a file of another program says
    realm:    where a credential for its hosts may be sent for a token, see `realms`; "" for what is known anyway
    on_error: what is done where one cannot be had: `stop`, `next` to go on with the chain, `anonymous`
    chain:    the links behind its source, see `links`
    is_of_nobody: whether it is for registries that nobody owns
    is_behind: whether it is of such a link: only the helper of its own source sees it
    number:   of the `[[registry]]`, from one on
    """

    __slots__ = (
        *(
            "chain",
            "identity",
            "is_behind",
            "is_last",
            "is_of_nobody",
            "line",
            "mistake",
            "number",
            "on_error",
            "order",
            "path",
        ),
        *("pattern", "realm", "settings", "source"),
    )

    def __init__(self, order: int, pattern: str, path: str, source: str, line: int) -> None:
        self.order = order
        self.pattern = pattern
        self.path = path
        self.source = source
        self.line = line
        self.identity = self.realm = ""
        self.is_last = self.is_behind = self.is_of_nobody = False
        self.on_error = "stop"
        self.chain: tuple[str, ...] = ()
        self.number = 0
        self.settings: dict[str, Any] = {}
        self.mistake: Unavailable | None = None


class Owners:
    """All owners of hosts: entries, rules with their source, all sources; `broken` is why every host fails.

    keyring: what the table of the keyring says, an entry for any host; None if there is none
    missed:  entries that were meant for hosts of these rules and fit none of them, each with what is wrong
    """

    __slots__ = ("broken", "entries", "keyring", "missed", "rules", "sources")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.keyring: Entry | None = None
        self.rules: list[tuple[Announced, Rule]] = []
        self.missed: list[tuple[Entry, Unavailable, Announced, Rule]] = []
        self.broken: Unavailable | None = None
        self.sources: list[Announced] = []


class Announced:
    """A source, as its module announces it. All but the word may be left out.

    word:       by which entries name it
    settings:   `SETTINGS`, the keys that its entries may have
    rules:      `RULES`, its own hosts
    has_ports:  `HAS_PORTS`, whether its registries may have a port: else no host matches a pattern that has one
    alias:      `ALIAS`, the keys by which an entry says for what an alias stands, none if nothing need be said
    takes_from: `TAKES_FROM`, whether its entries may name by `from` the helper whose credential it mints with
    others:     `others(recorder)`, entries from a file of another program
    wrong:      what is wrong with the settings of an entry, with the key in which it is, "" for all together; or None.
                What goes together is for `contradiction(settings)` to say, which gives "" if nothing is wrong.
    package:    which installed package it is of, "" for ours; see `strangers`
    is_trusted: whether its rules count where no entry names it
    broken:     why nobody knows what it announces, None if that is known
    """

    __slots__ = (
        *("alias", "broken", "has_ports", "is_trusted", "others", "package", "rules", "settings", "takes_from"),
        *("word", "wrong"),
    )

    def __init__(self, word: str, settings: "Mapping[str, Any]", wrong: "Callable[[dict[str, Any]], Wrong]") -> None:
        self.word = word
        self.settings = settings
        self.wrong = wrong
        self.rules: tuple[Rule, ...] = ()
        self.has_ports = self.takes_from = False
        self.alias: tuple[str, ...] = ()
        self.others: Callable[[Recorder], list[Entry]] = lambda _: []
        self.package = ""
        self.broken: Unavailable | None = None
        self.is_trusted = True


def announced(word: str, module: str) -> Announced:
    """What the module, by its full name, announces: in the one with `_` before its name if there is such a one beside.

    Much is announced there, where no hit loads it.
    """
    package, _, name = module.rpartition(".")
    beside = f"{package}._{name}" if package else module
    try:
        found = import_module(beside)
    except ModuleNotFoundError as error:
        if error.name != beside or beside == module:
            raise
        found = import_module(module)
    return of_module(word, found)


def of_module(word: str, found: object) -> Announced:
    """What such a module announces."""
    settings: Settings = getattr(found, "SETTINGS", {})
    contradiction = getattr(found, "contradiction", lambda _: "")

    def wrong(said: "dict[str, Any]") -> "Wrong":
        for key, value in said.items():
            words, allowed, _ = settings[key]
            if not fits(value, allowed):
                return key, f"`{key}` is not {words}"
        message = contradiction(said)
        return ("", message) if message else None

    source = Announced(word, settings, wrong)
    source.rules = tuple(getattr(found, "RULES", ()))
    source.has_ports = getattr(found, "HAS_PORTS", False)
    source.alias = tuple(getattr(found, "ALIAS", ()))
    source.takes_from = getattr(found, "TAKES_FROM", False)
    source.others = getattr(found, "others", source.others)
    return source


def fits(value: object, pattern: "Pattern") -> bool:
    """Whether a value is one that a setting may have, see `Settings`."""
    import re

    if isinstance(pattern, type):
        return isinstance(value, pattern)
    if isinstance(pattern, tuple):
        return isinstance(value, list) and value != [] and all(fits(item, pattern[0]) for item in value)
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None
