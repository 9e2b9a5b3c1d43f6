"""Server strings and hosts: the one place that reads them. It knows no cloud.

A client may pass on a name that a stranger wrote (an image reference, a Dockerfile), so a host is matched whole:
strict ASCII, every label compared, nothing repaired, no regular expression left unanchored (GO-2026-6225 is what an
unanchored one costs). Which hosts are a cloud's is in its rules, see `exchanges`.

This module is on the way of a cache hit: it imports nothing but `errors`.
"""

from credhelpers.errors import MissingServer, NotMine, Refused

# The longest genuine server strings are a host of 253 bytes (RFC 1035, 2.3.4), a port and a repository path of at
# most 255 (distribution's reference grammar); namespaced keys of nerdctl hold two such parts.
SERVER_BYTES = 1024

DOCKER_HUB = "https://index.docker.io/v1/"
HUB_HOSTS = ("index.docker.io", "docker.io", "registry-1.docker.io", "registry.hub.docker.com")
HUB = HUB_HOSTS[0]  # the one name that stands for all four
_HUB_PATHS = ("/v1/", "", "/v1", "/")
_HUB_TOKENS = ("/v1/access-token", "/v1/refresh-token")  # docker login's own, good for the whole account
_ROOT_PATHS = ("", "/", "/v1", "/v1/", "/v2", "/v2/")

_BLANKS = b" \t\r\n"
_OUTSIDE_URLS = frozenset(b'"<>\\^`{|}')  # RFC 3986 leaves these out of every part of a URL
_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_ALPHANUMERIC = _DIGITS | _LETTERS


class Authority:
    """A server string, read once: whoever is behind the protocol takes this and reads no server string again.

    sent:       what the client sent, without the blanks around it: the key of a store, and what an answer echoes
    scheme:     in lower case, without `://`; "" if there is none
    path:       what stands behind host and port, as it was sent, from its slash on; "" if there is nothing
    host, port: those of a registry, in lower case; the port is "" where it is that of `https`. Docker Hub's four names
                are one. Both are "" for what is no registry: another scheme, user info, a query, a label that is no
                label of DNS, a key under which `docker login` keeps its own tokens below the Hub's `/v1/`.
    """

    __slots__ = ("_sent_name", "host", "path", "port", "scheme", "sent")

    def __init__(self, sent: str) -> None:
        self.sent = sent
        self.scheme, rest = _split(sent)
        self._sent_name, slash, path = rest.partition("/")
        self.path = slash + path
        self.host, self.port = self._registry()

    @property
    def name(self) -> str:
        """Host, and the port behind a colon if it is not that of `https`; "" if there is no registry."""
        return f"{self.host}:{self.port}" if self.port else self.host

    @property
    def registry(self) -> "Authority":
        """All of the registry that this is a part of, as its name alone would be read."""
        found = object.__new__(Authority)
        found.sent = found._sent_name = self.name
        found.scheme = found.path = ""
        found.host, found.port = self.host, self.port
        return found

    @property
    def is_dubious(self) -> bool:
        """Whether the string could be read as two hosts: user info, escapes, a fragment, an empty label, no ASCII.

        The last because `lower` makes an ASCII letter of the Kelvin sign.
        """
        sent = self.sent
        if "@" in sent or "%" in sent or "#" in sent or not sent.isascii():
            return True
        name = self._sent_name.partition("?")[0].partition(":")[0]
        return ".." in name or name.startswith(".") or name.endswith(".")

    @property
    def is_whole(self) -> bool:
        """Whether the string means all of a registry, and not only what lies below a path."""
        return (self.path or "/") in _ROOT_PATHS

    @property
    def is_hub_token(self) -> bool:
        """Whether `docker login` keeps a token of its own session at Docker Hub under this string, and no password."""
        return self.sent in [f"https://{HUB}{path}" for path in _HUB_TOKENS]

    def _registry(self) -> tuple[str, str]:
        name, colon, port = self._sent_name.lower().partition(":")
        if self.scheme not in ("", "https") or "?" in self._sent_name or "?" in self.path or self.is_dubious:
            return "", ""
        if len(name) > 253 or not all(_is_dns_label(label) for label in name.split(".")):
            return "", ""
        if colon and not (_is_port(port) and port[0] != "0"):
            return "", ""
        port = "" if port == "443" else port
        if name in HUB_HOSTS and not port:
            return ("", "") if self.path in _HUB_TOKENS else (HUB, "")
        return name, port

    def spellings(self) -> tuple[str, ...]:
        """The keys under which a store may hold what is asked for, the string itself first.

        Clients spell one registry in several ways: with or without `https://`, `:443`, `/v1/` or `/v2/`, and Docker Hub
        by four names. A repository path may be answered by an item for a leading part of that path. Never crossed:
        `http` and `https`, ports, hosts, and the items that `docker login` makes for its own tokens below the Hub's
        `/v1/`.
        """
        scheme, host, path = self.scheme, self._sent_name, self.path
        is_query = "?" in host or "?" in path
        # An empty host is no host, never any host: see CVE-2020-11008.
        if scheme not in ("", "http", "https") or not host.partition(":")[0] or is_query or self.is_dubious:
            return (self.sent,)
        prefixes: tuple[str, ...] = ("http://",) if scheme == "http" else ("", "https://")
        keys = [self.sent]
        if scheme != "http" and host.removesuffix(":443") in HUB_HOSTS and path in _HUB_PATHS:
            keys += [DOCKER_HUB]
            keys += [f"{prefix}{name}{end}" for name in HUB_HOSTS for prefix in prefixes for end in _HUB_PATHS]
        default_port = ":80" if scheme == "http" else ":443"
        bare = host.removesuffix(default_port)
        hosts = (bare, bare + default_port) if ":" not in bare else (host,)
        if path in _ROOT_PATHS:
            ends: tuple[str, ...] = _ROOT_PATHS
        else:
            parts = path.rstrip("/").split("/")[1:]
            ends = tuple("/" + "/".join(parts[:count]) for count in range(len(parts), 0, -1))
            ends = tuple(end for end in ends if end not in _ROOT_PATHS)
        # A client that asks with a scheme is nearest to an item with that scheme, and one without to one without.
        prefixes = tuple(sorted(prefixes, key=lambda prefix: prefix.removesuffix("://") != scheme))
        others = [f"{prefix}{name}{end}" for end in ends for prefix in prefixes for name in hosts]
        return tuple(dict.fromkeys(keys + [key for key in others if not key.endswith(_HUB_TOKENS)]))


def read(raw: bytes) -> Authority:
    """What a client sent, without the blanks around it.

    Raises MissingServer if nothing is left of it but a scheme, Refused if it holds a byte that no client sends. Lines
    are neither split nor joined: a line end inside is a refusal, not a second line.
    """
    stripped = raw.strip(_BLANKS)
    if len(stripped) > SERVER_BYTES:
        raise Refused("server-too-long", f"the server URL is longer than {SERVER_BYTES} bytes")
    for byte in stripped:
        if not 0x20 < byte < 0x7F or byte in _OUTSIDE_URLS:
            raise Refused("server-malformed", "the server URL holds a character that no registry has in its name")
    server = stripped.decode("ascii")
    if not _split(server)[1].strip("/:"):
        raise MissingServer
    return Authority(server)


def registry(text: str) -> Authority:
    """The registry of this name, from a configuration or a list. Raises NotMine for what is none."""
    found = Authority(text)
    if not found.host:
        raise NotMine
    return found


def cloud_host(authority: Authority) -> str:
    """The host, where it has no port, as no cloud's registry has. Raises NotMine for any other authority."""
    if authority.port or not authority.host:
        raise NotMine
    return authority.host


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


def endpoint(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and target (path and query) of a URL that a credential file names.

    Raises NotMine for user info, a fragment, a scheme or a host that is none, and for `http` to anything but this
    machine or its hypervisor (`is_local`).
    """
    scheme, rest = _split(url)
    end = min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))
    authority, target = rest[:end].lower(), rest[end:]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, {"http": "80", "https": "443"}.get(scheme, "")
    is_target = "#" not in target and all("!" <= letter <= "~" for letter in target)
    if scheme not in ("http", "https") or not _is_port(port) or not is_target or not url.isascii():
        raise NotMine
    if not (is_local(host) or (scheme == "https" and all(_is_dns_label(label) for label in host.split(".")))):
        raise NotMine
    return scheme, host, int(port), target if target.startswith("/") else f"/{target}"


def is_local(host: str) -> bool:
    """Whether the host is this machine or a metadata service of its hypervisor: loopback or link-local, by number."""
    return is_loopback(host) or host == "[fd00:ec2::254]" or _numbers(host)[:2] == ["169", "254"]  # the former is AWS's


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by number or as `localhost`."""
    return host in ("localhost", "[::1]") or _numbers(host)[:1] == ["127"]


def _numbers(host: str) -> list[str]:
    """The parts of an address of IPv4, none of anything else.

    Written otherwise (`127.1`, `127.0.0.08`, `127.999.0.1`) it may be a name that is looked up, and lead elsewhere.
    """
    numbers = host.split(".")
    return numbers if len(numbers) == 4 and all(_is_octet(part) for part in numbers) else []


def _is_port(text: str) -> bool:
    return 0 < len(text) <= 5 and _DIGITS.issuperset(text) and int(text) <= 65535


def _split(server: str) -> tuple[str, str]:
    """The scheme in lower case, or "", and what follows it."""
    scheme, found, rest = server.partition("://")
    if found and scheme.replace("-", "").replace("+", "").isalnum():
        return scheme.lower(), rest
    return "", server


def _fits(text: str, kind: str) -> bool:
    kind, _, more = kind.partition(" ")
    if kind == "word":
        return _is_dns_label(text) and "--" not in text
    if kind == "place":
        return _is_place(text)
    if kind == "zone":
        return _is_place(text) and "-" in text and text[-1] in _DIGITS
    if kind == "name":
        name, hyphen, rest = text.partition("-")
        return 5 <= len(name) <= 50 and _ALPHANUMERIC.issuperset(name) and (not hyphen or _is_word(rest))
    if kind == "region":
        return _is_region(text, more)
    return len(text) == int(kind.removesuffix("digits")) and _DIGITS.issuperset(text)


def _is_region(text: str, more: str) -> bool:
    if more[:1] in ("", "!"):
        if text[2:3] != "-" or not _LETTERS.issuperset(text[:2]) or (more and text.startswith(more[1:])):
            return False
        rest = text[3:]
    else:
        if not text.startswith(more):
            return False
        rest = text[len(more) :]
    word, _, number = rest.partition("-")
    return bool(word) and _LETTERS.issuperset(word) and 1 <= len(number) <= 2 and _DIGITS.issuperset(number)


def _is_place(text: str) -> bool:
    first, hyphen, rest = text.partition("-")
    return bool(first) and _LETTERS.issuperset(first) and (not hyphen or _is_word(rest))


def _is_octet(text: str) -> bool:
    """A number of an IPv4 address, in the one way of writing it that no resolver takes for something else."""
    return 0 < len(text) <= 3 and _DIGITS.issuperset(text) and int(text) <= 255 and (text == "0" or text[0] != "0")


def _is_word(text: str) -> bool:
    return bool(text) and _ALPHANUMERIC.issuperset(text)


def _is_dns_label(label: str) -> bool:
    """A label of RFC 1123, 2.1: letters, digits and hyphens, none at either end."""
    return (
        0 < len(label) <= 63
        and _ALPHANUMERIC.issuperset(label.replace("-", ""))
        and label[0] != "-"
        and label[-1] != "-"
    )
