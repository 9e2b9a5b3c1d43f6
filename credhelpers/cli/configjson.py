"""What docker's config.json and podman's auth.json say of helpers, and the text that says something else.

Read as docker reads it (docker/cli, cli/config/configfile/file.go, by Go's encoding/json): a key is one whatever its
case, of a doubled one the last counts, objects of one key are put together, and `null` takes them away. What docker
would not read is refused. An auth.json has the same form (containers-auth.json(5)).
"""

from __future__ import annotations

from json import JSONDecodeError, dumps, loads
from shlex import quote
from typing import TYPE_CHECKING

from credhelpers.cli import jsontext
from credhelpers.cli.clientfile import AGAIN
from credhelpers.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from credhelpers.cli.jsontext import Member

STORE, HELPERS, AUTHS = "credsStore", "credHelpers", "auths"
_KINDS = {STORE: str, HELPERS: dict, AUTHS: dict}
_SECRETS = ("auth", "password", "identitytoken", "registrytoken")  # of an entry in `auths`
# What people write for `credsStore` and `credHelpers`, and nobody reads: rancher-desktop#1124, drone-kaniko#27.
_MISSPELT = ("credstore", "credsstores", "credentialstore", "credentialsstore", "credhelper", "credshelpers")
_BOM = "\ufeff"


class Document:
    """A file's text, read. `path` is for what is said of it.

    Raises Unavailable for what is no JSON object in UTF-8, has a byte order mark, or in which a key of docker's has
    another kind of value than docker writes. No text at all is an empty object.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        self._object = _parse(path, content)

    @property
    def text(self) -> str:
        """What to write."""
        return self._object.text

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in it."""
        return not self._object.members

    @property
    def store(self) -> str:
        """The word in `credsStore`, "" where there is none: no text and null change nothing for docker."""
        words = [member.value for member in self.members(STORE) if isinstance(member.value, str)]
        return words[-1] if words else ""

    @property
    def helpers(self) -> dict[str, str]:
        """`credHelpers`; what is no text there is nothing."""
        return {host: word for host, word in self._together(HELPERS).items() if isinstance(word, str)}

    @property
    def clear(self) -> list[str]:
        """The registries whose passwords are in it, encoded at best."""
        return [
            host for host, entry in self._together(AUTHS).items() if isinstance(entry, dict) and holds_secret(entry)
        ]

    @property
    def notes(self) -> list[str]:
        """What is read otherwise than it looks, or not at all; a line each."""
        found = []
        for key in (STORE, HELPERS):
            found += [
                f"{self.path} says {dumps(member.key)}, which docker reads as {key} and other clients do not read"
                for member in self.members(key)
                if member.key != key
            ]
            if len(self.members(key)) > 1:
                found.append(f"{self.path} says {key} more than once")
        found += [
            f"{self.path} says {dumps(member.key)}, which nobody reads: the names are {STORE} and {HELPERS}"
            for member in self._object.members
            if member.key.lower() in _MISSPELT
        ]
        return found

    def members(self, key: str) -> list[Member]:
        """All that docker reads as this key."""
        return [member for member in self._object.members if _is(member.key, key)]

    def with_store(self, word: str) -> Document:
        """The same with this store, in one member: in the place of the last, which docker reads, by its right name."""
        old = self.members(STORE)
        if [member.key for member in old] == [STORE] and old[0].value == word:
            return self
        changed = self.with_text(self._object.written(old[-1] if old else None, STORE, dumps(word)))
        return changed.without_members(changed.members(STORE)[:-1])

    def with_helper(self, host: str, word: str) -> Document:
        """The same with this helper for this registry. Raises Unavailable where `credHelpers` is doubled."""
        if self.helpers.get(host) == word:
            return self
        old = self.members(HELPERS)
        if len(old) > 1:
            raise Unavailable(
                "client-file-doubled",
                f"{self.path} says {HELPERS} more than once, the last time in line {_line(self.text, old[-1])}",
                f"docker puts them together and others do not: make them one, {AGAIN}",
            )
        if not old or not isinstance(old[0].value, dict):
            value = self._object.nested([f"{dumps(host)}: {dumps(word)}"])
            return self.with_text(self._object.written(old[0] if old else None, HELPERS, value))
        inner = jsontext.Object(self.text, old[0].value_start)
        same = [member for member in inner.members if member.key == host]
        return self.with_text(inner.written(same[-1] if same else None, host, dumps(word)))

    def without(self, stores: Collection[str], helpers: Collection[str], former: Document) -> Document:
        """The same without these words in `credsStore` and in `credHelpers`.

        What `former` has in their place comes back, if it is none of them.
        """
        changed = self
        if self.store in stores:
            changed = changed.without_members(changed.members(STORE))
            if former.members(STORE) and former.store not in stores:
                changed = changed.with_store(former.store)
        for number in reversed(range(len(self.members(HELPERS)))):
            changed = _without_helpers(changed, number, helpers, former)
        return changed

    def with_text(self, text: str) -> Document:
        """Another text for the same path."""
        return Document(self.path, text.encode())

    def without_members(self, members: list[Member]) -> Document:
        """The same without these members of its own."""
        return self.with_text(self._object.without(members)) if members else self

    def means(self, other: Document) -> bool:
        """Whether both say the same, in whatever order and form."""
        return self.meaning == other.meaning

    @property
    def meaning(self) -> tuple[dict[str, object], str, dict[str, object], dict[str, object]]:
        """What it says: as docker reads it, which writes an empty `auths` on its own, and all else by its keys."""
        own = [member.key for key in _KINDS for member in self.members(key)]
        others = {member.key: member.value for member in self._object.members if member.key not in own}
        return others, self.store, self._together(HELPERS), self._together(AUTHS)

    def _together(self, key: str) -> dict[str, object]:
        found: dict[str, object] = {}
        for member in self.members(key):
            found = found | member.value if isinstance(member.value, dict) else {}
        return found


def _without_helpers(document: Document, number: int, words: Collection[str], former: Document) -> Document:
    """The same without the words in the `number`th `credHelpers`, which goes if nothing is left."""
    whole = document.members(HELPERS)[number]
    if not isinstance(whole.value, dict):
        return document
    hosts = {host for host, word in whole.value.items() if isinstance(word, str) and word in words}
    before = former.helpers
    back = {host: text for host, text in _written_helpers(former).items() if before.get(host) not in words}
    text, done = "", 0
    for member in jsontext.Object(document.text, whole.value_start).members:
        if member.key in hosts and member.key in back:
            text += document.text[done : member.value_start] + back[member.key]
            done = member.end
    inner = jsontext.Object(text + document.text[done:], whole.value_start)
    gone = [member for member in inner.members if member.key in hosts and member.key not in back]
    changed = document.with_text(inner.without(gone)) if hosts else document
    last = changed.members(HELPERS)[number]
    return changed.without_members([last]) if hosts and not last.value else changed


def _written_helpers(document: Document) -> dict[str, str]:
    """What stands in `credHelpers` for each registry, as it is written."""
    found: dict[str, str] = {}
    for whole in document.members(HELPERS):
        if isinstance(whole.value, dict):
            inner = jsontext.Object(document.text, whole.value_start)
            found |= {member.key: document.text[member.value_start : member.end] for member in inner.members}
    return found


def _line(text: str, member: Member) -> int:
    return text.count("\n", 0, member.start) + 1


def holds_secret(entry: dict[str, object]) -> bool:
    """Whether an entry of `auths` has a password or a token in it, and is not only a name."""
    return any(value for key, value in entry.items() if key.lower() in _SECRETS)


def _is(key: str, name: str) -> bool:
    """Whether Go's encoding/json takes the key for this name: letter by letter, by Unicode's simple case folding."""
    return len(key) == len(name) and all(a.casefold() == b.casefold() for a, b in zip(key, name, strict=True))


def _parse(path: Path, content: bytes) -> jsontext.Object:
    mend = f"mend it or move it away, {AGAIN}"
    try:
        text = content.decode()
        if text.startswith(_BOM):
            raise Unavailable(
                "client-file-bom",
                f"{path} is not valid JSON (line 1), column 1: it has a byte order mark, and docker ignores it all",
                f"`sed -i '1s/^\\xef\\xbb\\xbf//' {quote(str(path))}`, {AGAIN}",
            )
        found = _object(text if text.strip(" \t\r\n") else "{}")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unavailable("client-file-json", f"{path} is not valid JSON (line {line}): no UTF-8", mend) from None
    except JSONDecodeError as error:
        place = f"(line {error.lineno}), column {error.colno}"
        raise Unavailable("client-file-json", f"{path} is not valid JSON {place}", mend) from None
    except RecursionError:
        raise Unavailable("client-file-json", f"{path} is not valid JSON: it nests too deep", mend) from None
    except ValueError:
        raise Unavailable("client-file-json", f"{path} is not valid JSON: it has a number that is none", mend) from None
    if found is None:
        raise Unavailable("client-file-shape", f"{path} is not what docker writes, an object", mend)
    for member in found.members:
        for key, kind in _KINDS.items():
            if _is(member.key, key) and not isinstance(member.value, (kind, type(None))):
                what = f"{dumps(member.key)} in line {_line(found.text, member)}"
                raise Unavailable("client-file-shape", f"{path} is not what docker writes: {what}", mend)
    return found


def _object(text: str) -> jsontext.Object | None:
    """The object that the text is, None if it is another value. Raises as `jsontext.Object` does."""
    if text.lstrip(" \t\r\n").startswith("{"):
        return jsontext.parse(text)
    loads(text, parse_int=float)
    return None
