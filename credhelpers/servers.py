"""Server strings: the one place that reads them. It knows no cloud.

A client may pass on a name that a stranger wrote (an image reference, a Dockerfile), so nothing is repaired: strict
ASCII, every label looked at. Which hosts a pattern means is in `hosts`.

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
DIGITS = frozenset("0123456789")
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
ALPHANUMERIC = DIGITS | LETTERS


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
        self.scheme, rest = split(sent)
        self._sent_name, slash, path = rest.partition("/")
        self.path = slash + path
        self.host, self.port = self._registry()

    @property
    def name(self) -> str:
        """Host, and the port behind a colon if it is not that of `https`; "" if there is no registry."""
        return f"{self.host}:{self.port}" if self.port else self.host

    @property
    def names(self) -> tuple[str, ...]:
        """All names that the registry has, `name` the first: Docker Hub has four."""
        return HUB_HOSTS if self.name == HUB else (self.name,)

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
        if len(name) > 253 or not all(is_dns_label(label) for label in name.split(".")):
            return "", ""
        if colon and not (is_port(port) and port[0] != "0"):
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
    if not split(server)[1].strip("/:"):
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


def is_local(host: str) -> bool:
    """Whether the host is this machine or a metadata service of its hypervisor: loopback or link-local, by number."""
    return is_loopback(host) or host == "[fd00:ec2::254]" or _numbers(host)[:2] == ["169", "254"]  # the former is AWS's


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by number or as `localhost`."""
    return host in ("localhost", "[::1]") or _numbers(host)[:1] == ["127"]


def folded(server: str) -> str:
    """A key of a store with scheme and host in lower case, since these mean the same in any (RFC 3986, 6.2.2.1)."""
    scheme, rest = split(server)
    if scheme not in ("", "http", "https"):
        return server
    host, slash, path = rest.partition("/")
    return f"{scheme}{'://' if scheme else ''}{host.lower()}{slash}{path}"


def is_other_version(key: str, server: str) -> bool:
    """Whether the two are the API of a registry in two versions."""
    one, other = (split(name)[1].partition("/")[2].rstrip("/") for name in (key, server))
    return {one, other} == {"v1", "v2"}


def is_port(text: str) -> bool:
    """Digits that are a port's number, leading zeros or not."""
    return 0 < len(text) <= 5 and DIGITS.issuperset(text) and int(text) <= 65535


def split(server: str) -> tuple[str, str]:
    """The scheme in lower case, or "", and what follows it."""
    scheme, found, rest = server.partition("://")
    if found and scheme.replace("-", "").replace("+", "").isalnum():
        return scheme.lower(), rest
    return "", server


def is_dns_label(label: str) -> bool:
    """A label of RFC 1123, 2.1: letters, digits and hyphens, none at either end."""
    return (
        0 < len(label) <= 63
        and ALPHANUMERIC.issuperset(label.replace("-", ""))
        and label[0] != "-"
        and label[-1] != "-"
    )


def _numbers(host: str) -> list[str]:
    """The parts of an address of IPv4, none of anything else.

    Written otherwise (`127.1`, `127.0.0.08`, `127.999.0.1`) it may be a name that is looked up, and lead elsewhere.
    """
    numbers = host.split(".")
    return numbers if len(numbers) == 4 and all(_is_octet(part) for part in numbers) else []


def _is_octet(text: str) -> bool:
    """A number of an IPv4 address, in the one way of writing it that no resolver takes for something else."""
    return 0 < len(text) <= 3 and DIGITS.issuperset(text) and int(text) <= 255 and (text == "0" or text[0] != "0")
