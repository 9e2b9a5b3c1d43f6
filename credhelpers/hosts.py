"""Hosts: which ones a pattern means, and which of them a URL names. It knows no cloud.

A host is matched whole: every label compared, nothing repaired, no regular expression left unanchored (GO-2026-6225 is
what an unanchored one costs). Which hosts are a cloud's is in its rules, see `exchanges`. `servers` reads what clients
send.
"""

from credhelpers.errors import NotMine
from credhelpers.servers import ALPHANUMERIC, DIGITS, LETTERS, is_dns_label, is_local, is_port, split


def fields(pattern: str, host: str) -> dict[str, str] | None:
    """What stands in the host for each `<name:kind>` of the pattern; None if the whole host does not fit it.

    A pattern is a host with every label written out. One placeholder may stand in a label, for all of it or between
    fixed text. Its kind is the grammar of what it stands for:

        12digits     so many digits
        word         a label of DNS without `--`
        place        letters, and perhaps a hyphen and letters or digits: `us`, `europe-west1`
        zone         a place with a hyphen, and a digit at its end: `europe-west1`
        name         5 to 50 letters or digits, and perhaps a hyphen and more of them
        region       two letters, a word and a number of one or two digits: `eu-west-1`; with `!cn-` behind it not those
                     that begin so, with `us-gov-` that, a word and a number
    """
    labels, wanted = host.split("."), pattern.split(".")
    if len(labels) != len(wanted):
        return None
    found = {}
    for have, want in zip(reversed(labels), reversed(wanted), strict=True):  # from the right: few hosts get far
        start, mark, rest = want.partition("<")
        if not mark:
            if have != want:
                return None
            continue
        words, _, end = rest.partition(">")
        name, _, kind = words.partition(":")
        middle = have[len(start) : len(have) - len(end)]
        if start + middle + end != have or not _fits(middle, kind):
            return None
        found[name] = middle
    return found


def fits(pattern: str, name: str) -> bool:
    """Whether the name of a registry, with its port behind a colon if it has one, fits what a person wrote.

    In the pattern `*` stands for any part of one label, and `:*` behind it for any port and none.
    """
    wanted, _, wanted_port = pattern.partition(":")
    host, _, port = name.partition(":")
    if wanted_port not in (port, "*"):
        return False
    labels, patterns = host.split("."), wanted.split(".")
    return len(labels) == len(patterns) and all(map(label_fits, patterns, labels))


def label_fits(pattern: str, label: str) -> bool:
    """Whether the label is what the pattern says, in which `*` stands for anything, also for nothing."""
    if "*" not in pattern:
        return pattern == label
    first, *between, last = pattern.split("*")
    if len(label) < len(first) + len(last) or not (label.startswith(first) and label.endswith(last)):
        return False
    rest = label[len(first) : len(label) - len(last)]
    for part in between:  # the earliest place of each leaves most room for the others
        _, found, rest = rest.partition(part) if part else ("", True, rest)
        if not found:
            return False
    return True


def may_meet(pattern: str, rule: str) -> bool:
    """Whether a host may fit both a pattern with `*`, as in `fits`, and one with placeholders, as in `fields`.

    False only where none does; what a `*` within a placeholder could stand for is looked at roughly.
    """
    labels, wanted = pattern.split("."), rule.split(".")
    return len(labels) == len(wanted) and all(map(_labels_may_meet, labels, wanted))


def _labels_may_meet(label: str, want: str) -> bool:
    start, mark, rest = want.partition("<")
    words, _, end = rest.partition(">")
    if not mark:
        return label_fits(label, want)
    kind = words.partition(":")[2]
    if "*" not in label:
        middle = label[len(start) : len(label) - len(end)]
        return start + middle + end == label and _fits(middle, kind)
    first, *_, last = label.split("*")
    ends = zip((first, last[::-1]), (start, end[::-1]), strict=True)
    if not all(have.startswith(must) or must.startswith(have) for have, must in ends):
        return False
    digits = kind.removesuffix("digits")
    fixed = label.replace("*", "")
    return digits == kind or (DIGITS.issuperset(fixed) and len(fixed) <= int(digits))


def endpoint(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and target (path and query) of a URL that a credential file names.

    Raises NotMine for user info, a fragment, a scheme or a host that is none, and for `http` to anything but this
    machine or its hypervisor (`is_local`).
    """
    scheme, rest = split(url)
    end = min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))
    authority, target = rest[:end].lower(), rest[end:]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, {"http": "80", "https": "443"}.get(scheme, "")
    is_target = "#" not in target and all("!" <= letter <= "~" for letter in target)
    if scheme not in ("http", "https") or not is_port(port) or not is_target or not url.isascii():
        raise NotMine
    if not (is_local(host) or (scheme == "https" and all(is_dns_label(label) for label in host.split(".")))):
        raise NotMine
    return scheme, host, int(port), target if target.startswith("/") else f"/{target}"


def _fits(text: str, kind: str) -> bool:
    kind, _, more = kind.partition(" ")
    if kind == "word":
        return is_dns_label(text) and "--" not in text
    if kind == "place":
        return _is_place(text)
    if kind == "zone":
        return _is_place(text) and "-" in text and text[-1] in DIGITS
    if kind == "name":
        name, hyphen, rest = text.partition("-")
        return 5 <= len(name) <= 50 and ALPHANUMERIC.issuperset(name) and (not hyphen or _is_word(rest))
    if kind == "region":
        return _is_region(text, more)
    return len(text) == int(kind.removesuffix("digits")) and DIGITS.issuperset(text)


def _is_region(text: str, more: str) -> bool:
    if more[:1] in ("", "!"):
        if text[2:3] != "-" or not LETTERS.issuperset(text[:2]) or (more and text.startswith(more[1:])):
            return False
        rest = text[3:]
    else:
        if not text.startswith(more):
            return False
        rest = text[len(more) :]
    word, _, number = rest.partition("-")
    return bool(word) and LETTERS.issuperset(word) and 1 <= len(number) <= 2 and DIGITS.issuperset(number)


def _is_place(text: str) -> bool:
    first, hyphen, rest = text.partition("-")
    return bool(first) and LETTERS.issuperset(first) and (not hyphen or _is_word(rest))


def _is_word(text: str) -> bool:
    return bool(text) and ALPHANUMERIC.issuperset(text)
