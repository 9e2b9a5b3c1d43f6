"""What is going to be changed in the files of clients: first said, then done.

A diff shows no value of a client's file but those of `credsStore` and `credHelpers`: everything else may be a secret.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import unified_diff
from typing import TYPE_CHECKING

from credhelpers.cli import clientfile, jsontext

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from credhelpers.cli.clientfile import Seen

SHOWN = ("credsstore", "credhelpers")  # keys whose values are names of hosts and helpers


@dataclass(frozen=True)
class Change:
    """A file, as it is and as it is going to be.

    seen:     what it is now
    after:    its content, None if it is removed
    why:      a line for a person
    replaces: the store that its client asked until now, "" if there was none
    notes:    what else a person should know, a line each
    copy:     where what is there now is kept, None if it is not
    """

    seen: Seen = field(repr=False)
    after: bytes | None = field(repr=False)
    why: str
    replaces: str = ""
    notes: tuple[str, ...] = ()
    copy: Path | None = None

    @property
    def file(self) -> Path:
        """As its client names it."""
        return self.seen.path

    @property
    def before(self) -> bytes | None:
        """What is in it now, None if there is no file."""
        return self.seen.content

    def diff(self) -> str:
        """The unified diff, in which every value that may be a secret is `…`."""
        before, after = (_shown(content) for content in (self.before, self.after))
        name = plain(str(self.file))
        return "\n".join(unified_diff(before, after, name, name, n=1, lineterm=""))


def apply(changes: Iterable[Change]) -> list[str]:
    """Do it, in this order; what there is to say of how.

    Raises clientfile.Changed if a file is not any more what it was when the change was thought of, and Unavailable.
    What was done before stays done.
    """
    said = []
    for change in changes:
        if change.copy and change.before is not None:
            # For its owner alone, whatever the mode of the file: both may hold passwords.
            clientfile.write(_beside(change.seen, change.copy), change.before, mode=0o600)
        said.append(clientfile.write(change.seen, change.after))
    return [line for line in said if line]


def _beside(seen: Seen, copy: Path) -> Seen:
    """Where the copy goes: into the directory of the link, lest it lies among files that are given to others."""
    return clientfile.Seen(seen.path, copy, clientfile.read(copy).content, seen.status)


def _shown(content: bytes | None) -> list[str]:
    """The lines of a file without secrets; the drop-ins of podman, which are no JSON, have none."""
    text = (content or b"").decode(errors="replace")
    if text.lstrip().startswith("{"):
        found = jsontext.parse(text)
        for member in reversed(found.members):
            if member.key.casefold() not in SHOWN:
                text = text[: member.value_start] + '"…"' + text[member.end :]
    return [plain(line) for line in text.splitlines()]


def plain(line: str) -> str:
    """The line with an escape for each letter that would not be seen, or that moves the cursor of a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\t" else ascii(letter)[1:-1] for letter in line)
