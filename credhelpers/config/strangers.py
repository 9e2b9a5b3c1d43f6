"""What sources of other packages announce: asked in a process of their own, and checked like any other input.

Their code is not ours, and runs in a call of theirs alone. Here it has nothing but its own module: no variables, no
streams, no descriptors, two seconds. So whatever goes wrong there, it costs its own hosts only. It is asked at all only
for a source that an entry of config.toml names or that is trusted. The process is a copy of the caller, memory and all:
this keeps mistakes apart, and no malice, since what is installed here runs as this user anyway.
"""

import _signal
import json
import posix
import re
import select
from contextlib import suppress
from signal import SIGKILL
from time import monotonic

from credhelpers import guard
from credhelpers.config.schema import Announced, announced
from credhelpers.installed import broken, late, twice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.config.schema import Wrong
    from credhelpers.installed import Announcement

SECONDS = 2.0
_ANSWER_BYTES = 1 << 22
_OUTPUT, _ALL_DESCRIPTORS = 3, 1 << 20
_RULES = 64
# A pattern as `hosts.fields` has it, of two labels or more, the last two without a placeholder.
_KIND = r"[1-9][0-9]?digits|word|place|zone|name|region( !?[a-z-]+)?"
_LABEL = rf"[a-z0-9-]{{0,63}}(<[a-z_]+:({_KIND})>[a-z0-9-]{{0,63}})?"
_PATTERN = rf"({_LABEL}\.)*[a-z0-9-]+\.[a-z0-9-]+"
_KEY = "[a-z][a-z0-9_]{0,31}"
_RESERVED = {"match", "source", "identity", "realm", "min_life", "on_error", "from"}
_TEXT = "[ -~]{1,120}"


def told(
    installed: "list[Announcement]", asked: "Mapping[str, list[dict[str, Any]]]", trust: list[str]
) -> dict[str, Announced]:
    """By word what these strangers announce, and say of the settings of their entries. Of a broken one only why."""
    found = {}
    children: dict[str, tuple[int, int]] = {}
    answers: dict[str, bytes] = {}
    announcing = {word: [one for one in installed if one.word == word] for word in asked}
    try:
        for word, settings in asked.items():
            if len(announcing[word]) == 1:
                with suppress(OSError):  # no process to be had is no answer in time
                    children[word] = _begin(announcing[word][0], settings)
        answers = _heard({descriptor: word for word, (_, descriptor) in children.items()})
    finally:
        for child in children.values():
            _end(*child)
    for word, settings in asked.items():
        source = Announced(word, {}, lambda _: None)
        source.package, source.is_trusted = announcing[word][0].package, word in trust
        name = f"source `{word}` of {source.package}"
        if len(announcing[word]) > 1:
            source.broken = broken(twice(announcing[word]))
        elif word not in answers:
            source.broken = late(f"{name} said nothing of itself within {SECONDS:.0f} seconds")
        elif why := _understood(source, answers[word], settings):
            source.broken = broken(f"{name} {why}")
        found[word] = source
    return found


def _begin(one: "Announcement", settings: "list[dict[str, Any]]") -> tuple[int, int]:
    """A process that says what the source announces, and where it does."""
    reading, writing = posix.pipe()
    try:
        child = posix.fork()
    except OSError:
        posix.close(reading)
        posix.close(writing)
        raise
    if child:
        posix.close(writing)
        return child, reading
    try:
        posix.setsid()
        _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
        _signal.setitimer(_signal.ITIMER_REAL, 2 * SECONDS)  # should nobody be left to end it
        guard.silence()
        posix.dup2(writing, _OUTPUT)
        posix.closerange(_OUTPUT + 1, _ALL_DESCRIPTORS)  # locks among them
        for name in posix.environ:
            posix.unsetenv(name)  # what C looks at, and what children get
        posix.environ.clear()
        answer = _answer(one, settings)
        while answer:
            answer = answer[posix.write(_OUTPUT, answer) :]
    finally:
        posix._exit(0)  # noqa: SLF001 - the copy of a caller must not run the caller's exit


def _answer(one: "Announcement", settings: "list[dict[str, Any]]") -> bytes:
    """What the source announces and says, as JSON; of what it raises the kind alone."""
    try:
        source = announced(one.word, one.module)
        said = {
            "settings": {key: words for key, (words, _, _) in source.settings.items()},
            "rules": source.rules,
            "has_ports": source.has_ports,
            "takes_from": source.takes_from,
            "wrong": [source.wrong(table) if table.keys() <= source.settings.keys() else None for table in settings],
        }
        if source.alias:
            said["alias"] = source.alias
        return json.dumps(said).encode()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the stranger's
        return json.dumps(type(error).__name__).encode()


def _heard(talking: dict[int, str]) -> dict[str, bytes]:
    """What the processes behind these descriptors have said in time, without those that have not ended."""
    until = monotonic() + SECONDS
    heard = dict.fromkeys(talking, b"")
    ended: dict[str, bytes] = {}
    poll = select.poll()
    for descriptor in talking:
        poll.register(descriptor, select.POLLIN)
    while len(ended) < len(talking) and (rest := until - monotonic()) > 0:
        for descriptor, _ in poll.poll(rest * 1000 + 1):
            said = posix.read(descriptor, 1 << 16)
            heard[descriptor] += said
            if not said or len(heard[descriptor]) > _ANSWER_BYTES:
                poll.unregister(descriptor)
                ended[talking[descriptor]] = heard[descriptor]
    return ended


def _end(child: int, descriptor: int) -> None:
    posix.close(descriptor)
    for end in (posix.kill, posix.killpg):  # it may have no group of its own yet
        with suppress(ProcessLookupError, PermissionError):
            end(child, SIGKILL)
    with suppress(ChildProcessError):
        posix.waitpid(child, 0)


def _understood(source: Announced, answer: bytes, settings: "list[dict[str, Any]]") -> str:
    """Why the answer says nothing of the source; "" if it does, and is in the source now."""
    if not answer:
        return "ended without a word of itself"
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, str) and said.isidentifier() and said.isascii():
        return f"raised {said[:40]} when it was asked what it is"
    if not _is_sound(said, len(settings)):
        return "announces what no source can"
    wrong = {_name(table): one and tuple(one) for table, one in zip(settings, said["wrong"], strict=True)}
    source.settings = said["settings"]
    source.rules = tuple((pattern, static, "") for pattern, static, _ in said["rules"])
    source.has_ports, source.takes_from = said["has_ports"], said["takes_from"]
    source.alias = tuple(said.get("alias", ()))
    source.wrong = lambda table: _of_no_kind(source, table) or wrong[_name(table)]
    return ""


def _is_sound(said: object, count: int) -> bool:
    """Whether it is what `_answer` makes for so many entries."""
    if not isinstance(said, dict):
        return False
    settings, rules, wrong = said.get("settings"), said.get("rules"), said.get("wrong")
    return (
        isinstance(settings, dict)
        and all(_fits(_KEY, key) and _fits(_TEXT, words) and key not in _RESERVED for key, words in settings.items())
        and isinstance(rules, list)
        and len(rules) <= _RULES
        and all(map(_is_rule, rules))
        and isinstance(said.get("has_ports"), bool)
        and isinstance(said.get("takes_from"), bool)
        and isinstance(said.get("alias", []), list)
        and all(isinstance(key, str) and key in settings for key in said.get("alias", []))
        and isinstance(wrong, list)
        and len(wrong) == count
        and all(one is None or _is_mistake(one, settings) for one in wrong)
    )


def _is_rule(rule: object) -> bool:
    """Whether it is one that a stranger may have: for hosts with a name, and by no variable."""
    if not isinstance(rule, list) or len(rule) != len(("pattern", "static", "variable")):
        return False
    pattern, static, variable = rule
    is_static = isinstance(static, dict) and all(
        _fits(_KEY, key) and _fits(_TEXT, text) for key, text in static.items()
    )
    return is_static and _fits(_PATTERN, pattern) and variable == ""


def _is_mistake(one: object, settings: "Mapping[str, str]") -> bool:
    return (
        isinstance(one, list)
        and len(one) == len(("key", "message"))
        and (one[0] == "" or (isinstance(one[0], str) and one[0] in settings))
        and _fits(_TEXT, one[1])
    )


def _of_no_kind(source: Announced, table: "dict[str, Any]") -> "Wrong":
    """What no setting can be, and JSON cannot say."""
    for key, value in table.items():
        texts = value if isinstance(value, list) else [value]
        if not isinstance(value, bool) and not all(isinstance(text, str) for text in texts):
            return key, f"`{key}` is not {source.settings[key]}"
    return None


def _name(table: "Mapping[str, Any]") -> str:
    """What settings are found by again."""
    return json.dumps(table, sort_keys=True, default=str)


def _fits(pattern: str, text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(pattern, text) is not None
