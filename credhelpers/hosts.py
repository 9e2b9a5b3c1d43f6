"""Who owns a server string: the one place that reads hosts.

A client may pass on a name that a stranger wrote (an image reference, a Dockerfile), so a host is matched whole:
strict ASCII, every label compared, nothing repaired, no regular expression left unanchored (GO-2026-6225 is what an
unanchored one costs). Only hosts of a rule table below are ever worth a cloud token.

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
        raise Refused(f"the server URL is longer than {SERVER_BYTES} bytes")
    for byte in stripped:
        if not 0x20 < byte < 0x7F or byte in _OUTSIDE_URLS:
            raise Refused("the server URL holds a character that no registry has in its name")
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


# --- the rules of the clouds -----------------------------------------------------------------------------------------
#
# A rule is a host with every label written out; a label in angle brackets stands for one label of that grammar.

# Amazon ECR: partition, FIPS, dual-stack. Forms as in amazon-ecr-credential-helper 0.12 and the kubelet's provider,
# domains as in botocore's partitions.json. The region's grammar differs per partition, so that a host cannot name a
# region of another one, or an S3 bucket (`s3-us-west-2`) where a region belongs.
_ECR_RULES = (
    ("<account>.dkr.ecr.<aws>.amazonaws.com", "aws", False, False),
    ("<account>.dkr.ecr-fips.<aws>.amazonaws.com", "aws", True, False),
    ("<account>.dkr-ecr.<aws>.on.aws", "aws", False, True),
    ("<account>.dkr-ecr-fips.<aws>.on.aws", "aws", True, True),
    ("<account>.dkr.ecr.<aws-us-gov>.amazonaws.com", "aws-us-gov", False, False),
    ("<account>.dkr.ecr-fips.<aws-us-gov>.amazonaws.com", "aws-us-gov", True, False),
    ("<account>.dkr-ecr.<aws-us-gov>.on.aws", "aws-us-gov", False, True),
    ("<account>.dkr-ecr-fips.<aws-us-gov>.on.aws", "aws-us-gov", True, True),
    ("<account>.dkr.ecr.<aws-cn>.amazonaws.com.cn", "aws-cn", False, False),
    ("<account>.dkr-ecr.<aws-cn>.on.amazonwebservices.com.cn", "aws-cn", False, True),
    ("<account>.dkr.ecr.<aws-cn>.on.amazonwebservices.com.cn", "aws-cn", False, True),
    ("<account>.dkr.ecr.<aws-eusc>.amazonaws.eu", "aws-eusc", False, False),
    ("<account>.dkr.ecr.<aws-iso>.c2s.ic.gov", "aws-iso", False, False),
    ("<account>.dkr.ecr.<aws-iso-b>.sc2s.sgov.gov", "aws-iso-b", False, False),
    ("<account>.dkr.ecr.<aws-iso-e>.cloud.adc-e.uk", "aws-iso-e", False, False),
    ("<account>.dkr.ecr.<aws-iso-f>.csp.hci.ic.gov", "aws-iso-f", False, False),
)
_ECR_PUBLIC_HOSTS = ("public.ecr.aws", "ecr-public.aws.com")

GOOGLE_UNIVERSE = "googleapis.com"  # the API domain of the cloud that everybody knows

# Google: Artifact Registry by location or by regional endpoint, the gcr.io names it serves too, the sovereign host.
_GOOGLE_RULES = (
    ("gcr.io", GOOGLE_UNIVERSE),
    ("<word>.gcr.io", GOOGLE_UNIVERSE),
    ("<location>-docker.pkg.dev", GOOGLE_UNIVERSE),
    ("docker.<location>.rep.pkg.dev", GOOGLE_UNIVERSE),
    ("docker.s3nsregistry.fr", "s3nsapis.fr"),
)

# Azure: the login servers, not the data endpoints (`name.region.data.azurecr.io`), which are reached by redirect and
# must not get a credential. A name may end in a hyphen and a hash (domain name label scope).
_AZURE_RULES = (
    ("<registry>.azurecr.io", "AzureCloud"),
    ("<registry>.azurecr.cn", "AzureChinaCloud"),
    ("<registry>.azurecr.us", "AzureUSGovernment"),
    ("<registry>.<word>.geo.azurecr.io", "AzureCloud"),
    ("<registry>.<word>.geo.azurecr.cn", "AzureChinaCloud"),
    ("<registry>.<word>.geo.azurecr.us", "AzureUSGovernment"),
)

# What a region of each AWS partition begins with, from `regionRegex` of botocore's partitions.json, where the first
# partition is left open for geographies to come: any two letters but those of others. What follows is always a word
# and a number. `sources.ecr` checks the region against botocore's own table before anything is signed.
_REGION_PREFIXES = {
    "<aws-us-gov>": "us-gov-",
    "<aws-cn>": "cn-",
    "<aws-eusc>": "eusc-de-",
    "<aws-iso>": "us-iso-",
    "<aws-iso-b>": "us-isob-",
    "<aws-iso-e>": "eu-isoe-",
    "<aws-iso-f>": "us-isof-",
}


class EcrHost:
    """What the name of an ECR registry says: everything that selects an API endpoint."""

    __slots__ = ("account", "dual_stack", "fips", "partition", "public", "region")

    def __init__(  # noqa: PLR0913 - one argument a fact
        self, partition: str, region: str, account: str, *, fips: bool, dual_stack: bool, public: bool
    ) -> None:
        self.partition = partition
        self.region = region
        self.account = account
        self.fips = fips
        self.dual_stack = dual_stack
        self.public = public


def ecr(host: str) -> EcrHost:
    """Read the host of a private or public ECR registry, as `cloud_host` gives it. Raises NotMine for any other."""
    if host in _ECR_PUBLIC_HOSTS:
        # The public registry's API answers in us-east-1 only, to credentials of the commercial partition only.
        return EcrHost("aws", "us-east-1", "", fips=False, dual_stack=host == "ecr-public.aws.com", public=True)
    labels = host.split(".")
    for rule, partition, fips, dual_stack in _ECR_RULES:
        if _matches(labels, rule):
            region = labels[2] if labels[1].startswith("dkr-") else labels[3]
            return EcrHost(partition, region, labels[0], fips=fips, dual_stack=dual_stack, public=False)
    raise NotMine


def ecr_of(account: str, region: str) -> EcrHost:
    """What the plain host of this account and region would say. Raises NotMine if no partition has such a region."""
    for rule, partition, fips, dual_stack in _ECR_RULES:
        grammar = rule.split(".")[3]
        if not fips and not dual_stack and grammar[0] == "<" and _is_region(region, grammar):
            return EcrHost(partition, region, account, fips=False, dual_stack=False, public=False)
    raise NotMine


def google(host: str) -> str:
    """The API domain of the universe whose registry `host` is. Raises NotMine for any other."""
    labels = host.split(".")
    for rule, universe in _GOOGLE_RULES:
        if _matches(labels, rule):
            return universe
    raise NotMine


def google_location(host: str) -> str:
    """The region or multi-region that the name of an Artifact Registry holds, "" for every other host."""
    labels = host.split(".")
    if _matches(labels, "<location>-docker.pkg.dev"):
        return labels[0].removesuffix("-docker")
    return labels[1] if _matches(labels, "docker.<location>.rep.pkg.dev") else ""


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
    if host in ("localhost", "[::1]", "[fd00:ec2::254]"):  # the last is AWS's metadata service
        return True
    numbers = host.split(".")
    # Written otherwise (`127.1`, `127.0.0.08`, `127.999.0.1`) it may be a name that is looked up, and lead elsewhere.
    is_address = len(numbers) == 4 and all(_is_octet(part) for part in numbers)
    return is_address and (numbers[0] == "127" or numbers[:2] == ["169", "254"])


def is_google_service(host: str, universe: str) -> bool:
    """Whether `host` is a token service of the universe with this API domain: global, regional or private.

    Behind a service's name stands a region only: `sts.storage.googleapis.com` is somebody's bucket.
    """
    if universe == GOOGLE_UNIVERSE and host in ("www.googleapis.com", "accounts.google.com"):
        return True  # as key files of before 2018 have it
    labels = host.split(".")
    return any(
        _matches(labels, f"{form.format(service)}.{universe}")
        for service in ("oauth2", "sts", "iamcredentials")
        for form in ("{}", "{}.<location>.rep", "{}.<region>", "<location>.{}", "<location>-{}", "{}-<word>.p")
    )


def azure(host: str) -> str:
    """The name of the Azure cloud whose login server `host` is. Raises NotMine for any other."""
    labels = host.split(".")
    for rule, cloud in _AZURE_RULES:
        if _matches(labels, rule):
            return cloud
    raise NotMine


def _is_port(text: str) -> bool:
    return 0 < len(text) <= 5 and _DIGITS.issuperset(text) and int(text) <= 65535


def _split(server: str) -> tuple[str, str]:
    """The scheme in lower case, or "", and what follows it."""
    scheme, found, rest = server.partition("://")
    if found and scheme.replace("-", "").replace("+", "").isalnum():
        return scheme.lower(), rest
    return "", server


def _matches(labels: list[str], rule: str) -> bool:
    wanted = rule.split(".")
    return len(labels) == len(wanted) and all(
        have == want if "<" not in want else _fits(have, want) for have, want in zip(labels, wanted, strict=True)
    )


def _fits(label: str, grammar: str) -> bool:  # noqa: PLR0911 - one a grammar
    if grammar == "<account>":
        return len(label) == 12 and _DIGITS.issuperset(label)
    if grammar == "<word>":
        return _is_dns_label(label) and "--" not in label
    if grammar == "<location>":
        return _is_location(label)
    if grammar == "<region>":
        return _is_location(label) and "-" in label and label[-1] in _DIGITS
    if grammar.startswith("<location>-"):
        end = grammar.removeprefix("<location>")
        return label.endswith(end) and _is_location(label.removesuffix(end))
    if grammar.endswith("-<word>"):
        start = grammar.removesuffix("<word>")
        return label.startswith(start) and _is_dns_label(label.removeprefix(start))
    if grammar == "<registry>":
        name, hyphen, digest = label.partition("-")
        return 5 <= len(name) <= 50 and _ALPHANUMERIC.issuperset(name) and (not hyphen or _is_word(digest))
    return _is_region(label, grammar)


def _is_region(label: str, grammar: str) -> bool:
    """`xx-word-N`, or the partition's own prefix before `word-N`."""
    if grammar == "<aws>":
        if label[2:3] != "-" or not _LETTERS.issuperset(label[:2]) or label.startswith("cn-"):
            return False
        rest = label[3:]
    else:
        prefix = _REGION_PREFIXES[grammar]
        if not label.startswith(prefix):
            return False
        rest = label[len(prefix) :]
    word, _, number = rest.partition("-")
    return bool(word) and _LETTERS.issuperset(word) and 1 <= len(number) <= 2 and _DIGITS.issuperset(number)


def _is_location(label: str) -> bool:
    """A Google multi-region (`us`) or region (`europe-west1`)."""
    first, hyphen, rest = label.partition("-")
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
