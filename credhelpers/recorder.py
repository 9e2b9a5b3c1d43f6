"""Writes down what a decision is read from, as the lines of a `receipt`. No hit loads it."""

import posix

from credhelpers import receipt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from credhelpers.identity import Environment

_NAME_MAX = 255  # <limits.h>, on every file system of Linux and macOS
_PROOFS_IN_A_DIRECTORY = 32
# By which whoever is asked is reached, and believed: it changes nothing for a token, and may end a failure.
_NETWORK = (
    *(b"https_proxy", b"http_proxy", b"all_proxy", b"no_proxy"),
    *(b"HTTPS_PROXY", b"HTTP_PROXY", b"ALL_PROXY", b"NO_PROXY"),
    *(b"REQUESTS_CA_BUNDLE", b"CURL_CA_BUNDLE", b"AWS_CA_BUNDLE", b"SSL_CERT_FILE", b"SSL_CERT_DIR"),
    *(b"AWS_METADATA_SERVICE_TIMEOUT", b"AWS_METADATA_SERVICE_NUM_ATTEMPTS", b"GCE_METADATA_TIMEOUT"),
    *(
        start + name
        for start in (b"VAULT_", b"BAO_")
        for name in (b"PROXY_ADDR", b"HTTP_PROXY", b"CACERT", b"CACERT_BYTES", b"CAPATH", b"TLS_SERVER_NAME")
    ),
)
LINES = 256  # a decision that was read from more is not kept
_PLAIN = frozenset(range(0x21, 0x7F)) - {0x25}  # printable ASCII but blank and `%`


class Recorder:
    """Looks at variables, files and directories, and writes each look down. `word` keys the digests, 32 hex digits.

    Each thing is looked at once: what was seen first is what the decision was made from.

    is_fleeting: whether the decision is not to be kept, since it can change while all that was looked at stays
    """

    __slots__ = ("_environ", "_lines", "_proofs", "is_fleeting", "word")

    def __init__(self, environ: "Environment", word: str = "") -> None:
        self._environ = environ
        self._lines: dict[str, str] = {}
        self._proofs: dict[str, str] = {}
        self.is_fleeting = False
        self.word = word or posix.urandom(16).hex()

    @property
    def environ(self) -> "Environment":
        """The environment, in which each look is noted."""
        return _Looks(self._looked)  # type: ignore[return-value] # as much of a mapping as is asked of it

    @property
    def proving(self) -> "Environment":
        """The same for what says where proofs are: it changes nothing for a token, either."""
        return _Looks(lambda name: self._looked(name, self._proofs))  # type: ignore[return-value]

    def variable(self, name: bytes) -> bytes | None:
        """What the variable says, None if it is not set."""
        return self._looked(name)

    def _looked(self, name: bytes, noted: "dict[str, str] | None" = None) -> bytes | None:
        value = self._environ.get(name)
        seen = {} if value is None else {name: value}
        (self._lines if noted is None else noted).setdefault(
            f"env {shown(name)}", receipt.variable_now(self.word, seen, name)
        )
        return value

    def variables(self, prefix: bytes) -> dict[bytes, bytes]:
        """All variables whose names begin so."""
        self._lines.setdefault(f"envs {shown(prefix)}", receipt.variables_now(self.word, self._environ, prefix))
        return {name: value for name, value in self._environ.items() if name.startswith(prefix)}

    def file(self, path: bytes, seen: "posix.stat_result | None" = None, content: bytes | None = None) -> None:
        """Note the file: by its path, or as it was read, with what `fstat` told of the descriptor.

        What can be no path is a text that somebody put where one belongs, the key itself say, and may be secret. It is
        not written down; who gave it, a variable or a setting, is noted for itself.
        """
        if not _is_path(path):
            self.is_fleeting |= _is_there(path)
            return
        stamp = receipt.file_now(self.word, path, seen=seen, content=content)
        self._lines.setdefault(f"file {shown(path)}", stamp)

    def proof(self, path: bytes) -> None:
        """Note a file, or a directory of files, that is written anew for the same identity, as one with a token is.

        It changes nothing for a token that is in hand, and ends the memory of a failure.
        """
        if path and _is_path(path):
            for part in (path, *_files_in(path)):
                self._proofs.setdefault(f"file {shown(part)}", receipt.file_now(self.word, part))

    def network(self) -> None:
        """Note by what anybody is reached, as a proof: who mends it is asked again at once."""
        for name in _NETWORK:
            self._looked(name, self._proofs)

    def directory(self, path: bytes) -> None:
        """Note the names in the directory."""
        self._lines.setdefault(f"dir {shown(path)}", receipt.directory_now(self.word, path))

    def until(self, moment: float) -> None:
        """Note that the decision ends then, in seconds since the epoch, if nothing says that it ends before."""
        self._lines["until"] = str(min(int(moment), int(self._lines.get("until", moment))))

    def copy(self, lines: "Iterable[str]") -> None:
        """Note what another receipt with the same word has noted."""
        for line in lines:
            kind, _, rest = line.partition(" ")
            first, _, second = rest.partition(" ")
            if kind == "until":
                self.until(int(first))
                continue
            look, seen = (f"{kind} {second}", first) if kind in ("file", "dir") else (f"{kind} {first}", second)
            self._lines.setdefault(look, seen)

    def text(self, *, is_of_failure: bool = False) -> str:
        """The receipt as the head of a cached token has it, or that of a failure; "" if it would be too long."""
        lines = self.lines(is_of_failure=is_of_failure)
        return "\t".join((self.word, *lines)) if len(lines) <= LINES and not self.is_fleeting else ""

    def lines(self, *, is_of_failure: bool = False) -> list[str]:
        """The receipt: a line for each look, in the order of the looks. That of a failure has the proofs, too."""
        found = []
        for look, seen in (self._lines | self._proofs if is_of_failure else self._lines).items():
            kind, _, name = look.partition(" ")
            found.append(f"{kind} {seen} {name}" if kind in ("file", "dir") else f"{look} {seen}")
        return found


class _Looks:
    """What `Recorder.environ` gives: enough of a mapping for those who ask for one variable after the other."""

    __slots__ = ("_look",)

    def __init__(self, look: "Callable[[bytes], bytes | None]") -> None:
        self._look = look

    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        value = self._look(name)
        return default if value is None else value

    def __getitem__(self, name: bytes) -> bytes:
        value = self._look(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: bytes) -> bool:
        return self._look(name) is not None


def _files_in(path: bytes) -> list[bytes]:
    """The newest files in the directory, if it is one that can be read: who has many roles has many old ones."""
    try:
        with posix.scandir(path) as parts:
            found = sorted(((part.stat(follow_symlinks=False).st_mtime_ns, part.path) for part in parts), reverse=True)
    except (OSError, ValueError):
        return []
    return [part for _, part in found[:_PROOFS_IN_A_DIRECTORY]]


def _is_path(text: bytes) -> bool:
    """Whether there can be a file of this name: none begins as JSON or PEM does, or has lines, or a longer part."""
    is_other = text.lstrip().startswith((b"{", b"-----BEGIN")) or b"\n" in text
    return not is_other and max(map(len, text.split(b"/"))) <= _NAME_MAX


def is_absent(path: bytes) -> bool:
    """Whether nothing is there, not even a link."""
    return receipt.file_now("", path, "-") == "-"


def shown(name: bytes) -> str:
    """As one word of ASCII, which `receipt.decoded` reads."""
    if _PLAIN.issuperset(name):
        return name.decode("ascii")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name)


def _is_there(path: bytes) -> bool:
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True
