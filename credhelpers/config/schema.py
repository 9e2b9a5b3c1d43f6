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


class Entry:
    """One `[[registry]]`. With a `mistake` it fails its hosts instead of serving them.

    order:    entries that fit one host count in this order
    pattern:  host and port, or `*` for any registry
    path:     below which it counts, "" for all of the registry
    is_last:  whether all else counts before it, as before what a file of another program says
    """

    __slots__ = ("identity", "is_last", "line", "mistake", "order", "path", "pattern", "settings", "source")

    def __init__(self, order: int, pattern: str, path: str, source: str, line: int) -> None:
        self.order = order
        self.pattern = pattern
        self.path = path
        self.source = source
        self.line = line
        self.identity = ""
        self.is_last = False
        self.settings: dict[str, Any] = {}
        self.mistake: Unavailable | None = None


class Owners:
    """All owners of hosts: entries, rules by the word of their source; `broken` is why every host fails."""

    __slots__ = ("broken", "entries", "rules")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.rules: list[tuple[str, Rule]] = []
        self.broken: Unavailable | None = None


class Announced:
    """A source, as its module announces it. All but the word may be left out.

    word:          by which entries name it
    settings:      `SETTINGS`, the keys that its entries may have
    rules:         `RULES`, its own hosts
    has_ports:     `HAS_PORTS`, whether its registries may have a port: else no host matches a pattern that has one
    contradiction: `contradiction(settings)`, what is wrong with settings that are right one by one; "" if nothing is
    others:        `others(recorder)`, entries from a file of another program
    """

    __slots__ = ("contradiction", "has_ports", "others", "rules", "settings", "word")

    def __init__(  # noqa: PLR0913 - one argument for each thing announced
        self,
        word: str,
        settings: "Settings",
        rules: "tuple[Rule, ...]" = (),
        contradiction: "Callable[[dict[str, Any]], str]" = lambda _: "",
        others: "Callable[[Recorder], list[Entry]]" = lambda _: [],
        *,
        has_ports: bool = False,
    ) -> None:
        self.word = word
        self.settings = settings
        self.rules = rules
        self.has_ports = has_ports
        self.contradiction = contradiction
        self.others = others


def announced(word: str, module: str) -> Announced:
    """What the module, by its full name, announces."""
    found = import_module(module)
    return Announced(
        word,
        getattr(found, "SETTINGS", {}),
        tuple(getattr(found, "RULES", ())),
        getattr(found, "contradiction", lambda _: ""),
        getattr(found, "others", lambda _: []),
        has_ports=getattr(found, "HAS_PORTS", False),
    )


def fits(value: object, pattern: "Pattern") -> bool:
    """Whether a value is one that a setting may have, see `Settings`."""
    import re

    if isinstance(pattern, type):
        return isinstance(value, pattern)
    if isinstance(pattern, tuple):
        return isinstance(value, list) and value != [] and all(fits(item, pattern[0]) for item in value)
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None
