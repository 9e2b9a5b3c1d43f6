"""Sources that are installed: what packages announce, ours and others', as entry points `credhelpers.sources`.

    [project.entry-points."credhelpers.sources"]
    toy = "credhelpers_toy:Toy"

The word is by which config.toml names the source, then comes its module, which announces what `config.schema.Announced`
has, and its class, see `wanting.Source`. A package is looked for where Python finds those of this installation, and
nothing of it is imported here but by `source`. No hit loads this.
"""

import posix
import sys
from importlib import import_module
from time import time

import credhelpers
from credhelpers import files
from credhelpers.errors import Unavailable, shortage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from credhelpers.identity import Environment
    from credhelpers.recorder import Recorder

KEYRING = "keyring"  # the store, which no source can be called
_GROUP = "[credhelpers.sources]"
_INFO = b".dist-info"
_FILE_BYTES = 1 << 20
_WORD_LETTERS = 20
_PACKAGE_LETTERS = 40  # of its name with the version, which stands in messages
_YOUNG = 2.0  # seconds; an installer makes the directory of a package first, then writes what is in it


class Announcement:
    """That a package, by name and version, has the source `word`: the class `name` in `module`."""

    __slots__ = ("is_ours", "module", "name", "package", "word")

    def __init__(self, word: str, value: str, package: str, *, is_ours: bool) -> None:
        self.word = word
        self.module, _, self.name = value.partition(":")
        self.package = package
        self.is_ours = is_ours


def announcements(recorder: "Recorder | None" = None) -> list[Announcement]:
    """All of them, by word, without strangers that have a word of ours. What was looked at is noted with `recorder`.

    Raises Unavailable if the system gives too little to look.
    """
    found: list[Announcement] = []
    seen: set[bytes] = set()
    for folder in _folders():
        if recorder:
            recorder.file(folder)
        for entry in _listed(folder, recorder):
            name = entry.removesuffix(_INFO).partition(b"-")[0].lower()
            if not entry.endswith(_INFO) or name in seen:  # the first is the one that Python imports
                continue
            seen.add(name)
            place = folder + b"/" + entry
            if recorder and _is_young(place):
                recorder.is_fleeting = True
            found += _of_package(place, name)
    if not any(one.is_ours for one in found):  # images are made small without what says what is installed in them
        found += _of_folder()
    ours = {one.word for one in found if one.is_ours} | {KEYRING}
    return sorted((one for one in found if one.is_ours or one.word not in ours), key=lambda one: one.word)


def source(word: str, environ: "Environment") -> "Any":
    """The source with this word, a `wanting.Source`. Raises Unavailable."""
    found = [one for one in announcements() if one.word == word]
    if len(found) != 1:
        raise broken(twice(found) if found else f"no package has the source `{word}` any more")
    (one,) = found
    try:
        made = getattr(import_module(one.module), one.name)(environ)
        kind = made.kind
    except Exception as error:  # noqa: BLE001 - of a stranger
        raise broken(f"source `{word}` of {one.package} cannot be loaded: {type(error).__name__}") from None
    if kind != word:  # by which its tokens are kept, and its hosts are asked for
        raise broken(f"source `{word}` of {one.package} is of another kind")
    return made


def broken(message: str) -> Unavailable:
    """What is said of a source that another package has, where `message` says what is wrong with it."""
    return Unavailable("source-broken", message, "update or uninstall that package, in the environment of credhelpers")


def late(message: str) -> Unavailable:
    """The same of one that did not answer in time; it may do so when it is asked the next time."""
    return Unavailable("source-late", message, "try again; if it stays so, update or uninstall that package")


def twice(found: list[Announcement]) -> str:
    """What is said of two packages that have a source of one word."""
    return f"source `{found[0].word}` is in two packages, {' and '.join(one.package for one in found[:2])}"


def _folders() -> list[bytes]:
    """Where packages are, ours first."""
    ours = credhelpers.__path__[0].rpartition("/")[0].encode("utf-8", "surrogateescape")
    found = [path.encode("utf-8", "surrogateescape") for path in sys.path if path.endswith("-packages")]
    if not ours.endswith(b"-packages") and not any(_is_of_ours(name) for name in _listed(ours)):
        return list(dict.fromkeys(found))  # a checkout, in which anything may be written at any time
    return list(dict.fromkeys((ours, *found)))


def _is_of_ours(name: bytes) -> bool:
    return name.startswith(b"credhelpers-") and name.endswith(_INFO)


def _of_folder() -> "Iterator[Announcement]":
    """Ours, by their modules."""
    for name in _listed(f"{credhelpers.__path__[0]}/sources".encode("utf-8", "surrogateescape")):
        word, _, kind = name.decode("ascii", "replace").partition(".")
        if kind == "py" and word.isalpha():
            yield Announcement(word, f"credhelpers.sources.{word}:{word.capitalize()}", "credhelpers", is_ours=True)


def _of_package(place: bytes, name: bytes) -> "Iterator[Announcement]":
    stem = place.rpartition(b"/")[2].removesuffix(_INFO).decode("ascii", "replace")
    package = stem.replace("-", " ").replace("_", "-")[:_PACKAGE_LETTERS]
    try:
        text = files.read(place + b"/entry_points.txt", _FILE_BYTES)[0].decode("ascii")
    except OSError as error:
        if lacking := shortage(error):  # else what is installed would seem not to be
            raise lacking from None
        return
    except ValueError:  # what we look for is ASCII
        return
    section = ""
    for line in map(str.strip, text.split("\n")):
        if line.startswith("["):
            section = line
        elif section == _GROUP:
            word, _, value = (part.strip() for part in line.partition("="))
            module = value.partition(":")[0]
            is_word = word.isalpha() and word.islower() and len(word) <= _WORD_LETTERS
            if is_word and all(part.isidentifier() for part in value.replace(":", ".", 1).split(".")):
                is_ours = name == b"credhelpers" and module.startswith("credhelpers.")
                yield Announcement(word, value, package, is_ours=is_ours)


def _is_young(place: bytes) -> bool:
    """Whether what is in the directory may be written yet."""
    try:
        return time() - posix.stat(place).st_mtime < _YOUNG
    except OSError:
        return False


def _listed(folder: bytes, recorder: "Recorder | None" = None) -> list[bytes]:
    """What is there; what cannot be listed for now is not to be remembered as empty. Raises Shortage."""
    try:
        return sorted(posix.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if lacking := shortage(error):
            raise lacking from None
        if recorder:
            recorder.is_fleeting = True
        return []
