"""Whom an entry names by `source`: one helper, or a chain of them that are asked in turn by `docker-credential-auto`.

    [[registry]]
    match = "*.acme.example"
    source = ["vault", "keyring"]

    [default]
    source = ["keyring", "helper:osxkeychain"]
    on_error = "next"

A link is the word of a source, `keyring`, or `helper:` with the name or the absolute path of a helper of somebody
else's. What `[default]` says counts for entries that do not say it, and its stores for registries that nobody owns: no
source is asked for these, since none of them is its own.
"""

import re

from credhelpers.config import duration
from credhelpers.config.schema import Entry, fits
from credhelpers.installed import KEYRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.config.file import File

HELPER = "helper:"
ON_ERROR = ("stop", "next", "anonymous")
_KEYS = ("source", "on_error", "min_life")
_NAMED = r"helper:[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
_AT_PATH = r"helper:(/(?!\.\.?(/|$))[ -.0-~]+)+"
_TABLE = "default"
_LINKS, _LETTERS = 8, 1000  # far more than anybody has


def links(file: "File", table: "dict[str, Any]", number: int, words: tuple[str, ...]) -> tuple[str, ...]:
    """The links of an entry, in order; `words` are those of all sources. Raises Unavailable."""
    said = table["source"]
    chain = [said] if isinstance(said, str) else said
    place = "source" if number else _TABLE
    where = f"line {file.line(number, place)}"
    is_list = isinstance(chain, list) and 0 < len(chain) <= _LINKS and all(isinstance(link, str) for link in chain)
    if not is_list:
        raise file.fault(
            "config-value",
            f"{where}: `source` is neither a text nor a list of texts",
            'as in `source = "vault"`, or `source = ["vault", "keyring"]`',
        )
    for link in chain:
        if link.startswith(HELPER):
            if len(link) > _LETTERS or not (re.fullmatch(_NAMED, link) or re.fullmatch(_AT_PATH, link)):
                raise file.fault(
                    "config-value",
                    f"{where}: what is behind `helper:` is neither a name nor an absolute path",
                    "write `helper:NAME` for docker-credential-NAME on PATH, or `helper:/the/whole/path`",
                )
            continue
        file.one_of(link, (*words, KEYRING), number, place, "source")
    if len(set(chain)) < len(chain):
        raise file.fault(
            "config-value", f"{where}: `source` names one helper twice", "leave it where it is asked first"
        )
    return tuple(chain)


def default(file: "File", document: "dict[str, Any]", words: tuple[str, ...]) -> "dict[str, Any]":
    """The keys of `[default]`. Raises Unavailable."""
    table = document.get(_TABLE, {})
    if not isinstance(table, dict):
        raise file.fault(
            "config-default",
            f"line {file.line(0, _TABLE)}: `default` is not a table",
            'write `[default]` and below it `source = ["keyring"]`',
        )
    for key in table:
        file.one_of(key, _KEYS, 0, _TABLE, "key")
    if "source" in table:
        links(file, table, 0, words)
    on_error(file, table, 0)
    if "min_life" in table and not fits(table["min_life"], duration.SETTING[1]):
        raise file.fault(
            "config-value", f"line {file.line(0, _TABLE)}: `min_life` is not a duration", "such as `15m` or `1h`"
        )
    return table


def of_nobody(file: "File", said: "dict[str, Any]", order: int) -> list[Entry]:
    """The entry for registries that nobody owns, by what `[default]` says; none if it names no store."""
    source = said.get("source", ())
    chain = [source] if isinstance(source, str) else source
    stores = [link for link in chain if link == KEYRING or link.startswith(HELPER)]
    if not stores:
        return []
    entry = Entry(order, "*", "", stores[0], file.line(0, _TABLE))
    entry.chain = tuple(stores[1:])
    entry.is_of_nobody = True
    entry.on_error = on_error(file, said, 0)
    return [entry]


def on_error(file: "File", table: "dict[str, Any]", number: int) -> str:
    """What is done where a link fails. Raises Unavailable."""
    said = table.get("on_error", ON_ERROR[0])
    file.one_of(str(said), ON_ERROR, number, "on_error" if number else _TABLE, "on_error")
    return str(said)
