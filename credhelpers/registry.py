"""The handshake with a registry (`/v2/`): whether it takes a credential, and who says so if not.

By the distribution specification (github.com/opencontainers/distribution-spec, "Determining Support" and "Pulling
manifests") and the token authentication of its first implementation (distribution.github.io/distribution/spec/auth):

    GET /v2/                            401 and a challenge, or 200 where nobody is asked who he is
    Basic (RFC 7617)                    the same request with user name and password
    Bearer (RFC 6750, 3)                GET REALM?service=&scope=&account= with Basic, or, for an identity token, the
                                        secret behind the user name `<token>`, POST REALM with grant_type=refresh_token
                                        (RFC 6749, 6); then the same request with the token of the answer

Of two it takes Bearer, as docker does. Where a credential may go is for `realms` to say. A request is sent once with a
credential: what is refused then is refused.
"""

from enum import StrEnum

from credhelpers.credential import Credential
from credhelpers.errors import NotMine, Refused, Unavailable
from credhelpers.net.challenges import Malformed, challenges
from credhelpers.net.failures import NoAnswer
from credhelpers.net.wire import Peer, Wire
from credhelpers.realms import is_loopback, place
from credhelpers.servers import HUB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.net.challenges import Challenge
    from credhelpers.net.wire import Answer
    from credhelpers.servers import Authority

    Place = tuple[str, str, int, str]

_HUB_API = "registry-1.docker.io"  # where docker asks for what is called docker.io
_IDENTITY_TOKEN = "<token>"  # noqa: S105 - the user name by which docker tells an identity token
_CLIENT = "credhelpers"  # `client_id`, of which the documents say that it names the program
_TOKEN_SECONDS = 60  # `expires_in` where it is left out, by the documents
# Of github.com/opencontainers/image-spec, media-types.md, and of the schema before it.
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)
# What the grammar of names and references (distribution-spec, "Pulling manifests") is made of.
_OF_NAMES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/")
_OF_REFERENCES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+:")
_OF_TOKENS = frozenset(map(chr, range(0x21, 0x7F)))  # more than RFC 6750, 2.1 has, and nothing that ends a header
_NAME_LETTERS, _REFERENCE_LETTERS = 255, 136  # of both; the latter is that of a SHA-512 with its name
_OK, _UNAUTHORIZED, _FORBIDDEN, _ABSENT, _THROTTLED, _BAD = 200, 401, 403, 404, 429, 400  # RFC 9110, 15; RFC 6585, 4


class Word(StrEnum):
    """What became of a request."""

    ACCEPTED = "accepted"  # with the credential it was answered
    OPEN = "open"  # it was answered, and no credential was sent
    REFUSED = "refused"  # 401: who asks is not known
    FORBIDDEN = "forbidden"  # 403: who asks may not
    ABSENT = "absent"  # 404: there is no such repository or manifest, or who asks may not know of it
    THROTTLED = "throttled"  # 429


_WORDS = {_UNAUTHORIZED: Word.REFUSED, _FORBIDDEN: Word.FORBIDDEN, _THROTTLED: Word.THROTTLED}


class Verdict:
    """What a registry said.

    asked:   who said it: "the registry NAME", or "the realm HOST of the registry NAME"
    scheme:  what it asked for: "basic", "bearer", "" for nothing
    status:  of its answer
    ahead:   by how many seconds its clock is ahead of ours, None where it did not tell (RFC 9110, 6.6.1)
    pause:   for how many seconds it wants to be left alone (`Retry-After`), None where it did not tell
    seconds: for how long the token of its realm lives, 0 where there is none: so long a client with one goes on, also
             after the credential was revoked
    """

    __slots__ = ("ahead", "asked", "pause", "scheme", "seconds", "status", "word")

    def __init__(self, word: Word, asked: str, scheme: str, answer: "Answer", seconds: int = 0) -> None:
        self.word = word
        self.asked = asked
        self.scheme = scheme
        self.status = answer.status
        self.ahead = _ahead(answer)
        pause = answer.headers.get("Retry-After", "")
        self.pause = int(pause) if pause.isascii() and pause.isdigit() and len(pause) < 6 else None  # noqa: PLR2004
        self.seconds = seconds

    @property
    def trouble(self) -> Unavailable | None:
        """Why the credential does not do, None if it does or none is needed."""
        if self.word is Word.REFUSED:
            return Unavailable(
                "registry-refused",
                f"{self.asked} does not accept the credential",
                "`docker login` with a new one; `date -u` shows whether this machine's clock is right",
            )
        if self.word is Word.FORBIDDEN:
            return Unavailable(
                "registry-forbidden",
                f"{self.asked} forbids it to who has this credential, or to this machine",
                "ask who runs the registry for the right to pull; after many refused logins wait for an hour",
            )
        if self.word is Word.ABSENT:
            return Unavailable(
                "registry-absent",
                f"{self.asked} has no such repository or tag, or does not show it to who has this credential",
                "compare it with the name in `docker pull NAME`",
            )
        if self.word is Word.THROTTLED:
            return Unavailable(
                "registry-throttled",
                f"{self.asked} asks to slow down" + (f" for {self.pause} seconds" if self.pause else ""),
                "wait, then try again",
            )
        return None


class Trial:
    """What shows that a credential opens a repository, which a login alone does not.

    login:    the verdict for the credential without a repository: some realms give anybody a token for one
    pull:     for a manifest of the repository
    control:  the same with a random secret in its place, which must be refused
    nobody:   the same without a credential: where it is open, all of this shows nothing
    """

    __slots__ = ("control", "login", "nobody", "pull")

    def __init__(self, control: Verdict, nobody: Verdict, login: Verdict, pull: Verdict) -> None:
        self.control = control
        self.nobody = nobody
        self.login = login
        self.pull = pull

    @property
    def trouble(self) -> Unavailable | None:
        """Why nothing is proven, None if it is."""
        if trouble := self.login.trouble or self.pull.trouble:
            return trouble
        if Word.OPEN in (self.pull.word, self.nobody.word) or self.control.word is Word.ACCEPTED:
            return Unavailable(
                "registry-proves-nothing",
                f"{self.pull.asked} lets anybody pull this, so it says nothing about the credential",
                "name a repository that only some may pull: without a login `docker pull` must fail for it",
            )
        return next((one.trouble for one in (self.control, self.nobody) if one.word is Word.THROTTLED), None)


class Registry:
    """A registry that is asked within the time until `until` (monotonic clock).

    realm: the one that the configuration has for it, see `realms`, "" for none

    Raises NotMine for what is no registry. What asks raises NoAnswer where there is no answer, Refused for a name that
    is none of a repository, and Unavailable where the answer is not one of a registry or a realm, or where the
    credential is not sent; the texts name who was asked.
    """

    def __init__(self, authority: "Authority", environ: "Environment", until: float, realm: str = "") -> None:
        if not authority.host:
            raise NotMine
        self._authority = authority
        self._realm = realm
        self._wire = Wire(environ, until)
        host = _HUB_API if authority.host == HUB else authority.host
        self._origin = ("https", host, int(authority.port or 443))
        self._peer = Peer(f"the registry {authority.name}")
        self._is_reached = False

    def login(self, credential: Credential | None) -> Verdict:
        """Whether it takes the credential for anything; None for no credential."""
        return self._try("GET", "/v2/", "", credential)

    def pull(self, credential: Credential | None, repository: str, reference: str = "latest") -> Verdict:
        """Whether the manifest that a tag or a digest names would be given to who has the credential."""
        parts = repository.split("/")
        is_name = _OF_NAMES.issuperset(repository) and not {"", ".", ".."} & set(parts)
        is_reference = reference and _OF_REFERENCES.issuperset(reference) and reference[0] not in ".-"
        if not (is_name and is_reference) or len(repository) > _NAME_LETTERS or len(reference) > _REFERENCE_LETTERS:
            raise Refused(
                "registry-repository",
                "this is no name of a repository with a tag or digest",
                "write it as `docker pull` has it behind the registry: small letters, digits, `/`, `.`, `_` and `-`",
            )
        scope = f"repository:{repository}:pull"
        return self._try("HEAD", f"/v2/{repository}/manifests/{reference}", scope, credential)

    def prove(self, credential: Credential, repository: str, reference: str = "latest") -> Trial:
        """Whether it is this credential that opens the repository.

        What must be refused is asked first: registries that count failures forget them after a success.
        """
        from secrets import token_urlsafe

        control = self.pull(Credential(credential.username, token_urlsafe()), repository, reference)
        nobody = self.pull(None, repository, reference)
        return Trial(control, nobody, self.login(credential), self.pull(credential, repository, reference))

    def _try(self, method: str, target: str, scope: str, credential: Credential | None) -> Verdict:
        answer = self._asked(method, target)
        if answer.status != _UNAUTHORIZED:
            return self._verdict(answer, "", scope, is_sent=False)
        if credential:
            _check_is_text(credential)
        scheme, parameters = self._wanted(answer)
        seconds = 0
        if scheme == "basic":
            if credential is None:
                return self._verdict(answer, scheme, scope, is_sent=False)
            authorization = self._basic(credential, self._peer.name)
        else:
            realm = place(self._authority, self._origin, parameters.get("realm", ""), self._realm)
            given = self._token(realm, parameters.get("service", ""), scope, credential)
            if isinstance(given, Verdict):
                return given
            token, seconds = given
            authorization = f"Bearer {token}"
        answer = self._asked(method, target, authorization)
        return self._verdict(answer, scheme, scope, is_sent=credential is not None, seconds=seconds)

    def _asked(self, method: str, target: str, authorization: str = "") -> "Answer":
        """The registry's answer. On this machine it may speak plain HTTP, as docker has it."""
        headers = {"Accept": _MANIFESTS} if method == "HEAD" else {}
        if authorization:
            headers["Authorization"] = authorization
        try:
            answer = self._wire.ask(self._peer, method, (*self._origin, target), headers=headers)
        except NoAnswer as error:
            _, host, port = self._origin
            if self._is_reached or error.code != "net-no-tls" or not is_loopback(host):
                raise
            self._origin = ("http", host, port)
            answer = self._wire.ask(self._peer, method, (*self._origin, target), headers=headers)
        self._is_reached = True
        return answer

    def _wanted(self, answer: "Answer") -> "tuple[str, dict[str, str]]":
        """The scheme that is wanted, with its parameters: Bearer, else Basic."""
        try:
            found: list[Challenge] = challenges(answer.headers)
        except Malformed:
            raise self._strange("a challenge that cannot be read") from None
        bearers = [challenge for challenge in found if challenge.scheme == "bearer"]
        if len(bearers) > 1:
            raise self._strange("two realms at once")
        for challenge in bearers or [challenge for challenge in found if challenge.scheme == "basic"]:
            return challenge.scheme, challenge.parameters
        raise self._strange("neither Basic nor Bearer")

    def _strange(self, what: str) -> Unavailable:
        return Unavailable(
            "registry-challenge",
            f"{self._peer.name} asks for a credential by {what}",
            f"nothing was sent; `curl -sI https://{self._authority.name}/v2/` shows it: tell who runs the registry",
        )

    def _basic(self, credential: Credential, asked: str) -> str:
        from binascii import b2a_base64

        username, secret = credential.expose()
        if username == _IDENTITY_TOKEN:
            raise Unavailable(
                "registry-identity-token",
                f"{asked} wants a user name and a password, and the credential is an identity token",
                "`docker login` with a user name",
            )
        if ":" in username:  # RFC 7617, 2: it would be another user's name
            raise Unavailable(
                "registry-username", "a user name with a colon cannot be sent", "`docker login` with another user name"
            )
        return "Basic " + b2a_base64(f"{username}:{secret}".encode(), newline=False).decode("ascii")

    def _token(
        self, realm: "Place", service: str, scope: str, credential: Credential | None
    ) -> tuple[str, int] | Verdict:
        """What the realm gives for the credential, with its life in seconds; or that it gives nothing."""
        from urllib.parse import urlencode

        host = realm[1] if realm[2] == {"http": 80, "https": 443}[realm[0]] else f"{realm[1]}:{realm[2]}"
        peer = Peer(f"the realm {host} of {self._peer.name}")
        asked = {name: value for name, value in (("service", service), ("scope", scope)) if value}
        if credential and credential.username == _IDENTITY_TOKEN:
            asked |= {"grant_type": "refresh_token", "refresh_token": credential.expose()[1], "client_id": _CLIENT}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._wire.ask(peer, "POST", realm, body=urlencode(asked).encode(), headers=headers)
        else:
            headers = {}
            if credential:
                headers["Authorization"] = self._basic(credential, peer.name)
                asked |= {"account": credential.username}
            query = urlencode({**asked, "client_id": _CLIENT})
            scheme, name, port, target = realm
            target += ("&" if "?" in target else "?") + query
            answer = self._wire.ask(peer, "GET", (scheme, name, port, target), headers=headers)
        found = _object(answer.content)
        if word := _WORDS.get(answer.status):
            return Verdict(word, peer.name, "bearer", answer)
        if answer.status == _BAD and found.get("error") in ("invalid_grant", "invalid_client"):  # RFC 6749, 5.2
            return Verdict(Word.REFUSED, peer.name, "bearer", answer)
        if answer.status != _OK:
            raise _failed(peer.name, answer)
        token = found.get("access_token") or found.get("token")
        if not isinstance(token, str) or not _OF_TOKENS.issuperset(token) or not token:
            raise Unavailable(
                "registry-no-token",
                f"{peer.name} answers without a token",
                "try again; if it stays, tell who runs the registry",
            )
        seconds = found.get("expires_in")
        if isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0:
            return token, seconds
        return token, _TOKEN_SECONDS

    def _verdict(self, answer: "Answer", scheme: str, scope: str, *, is_sent: bool, seconds: int = 0) -> Verdict:
        is_page = answer.headers.get("Content-Type", "").lower().startswith("text/html")
        if (answer.status == _OK and is_page) or (answer.status == _ABSENT and not scope):
            raise Unavailable(
                "registry-none",
                f"what answers as {self._peer.name} is no registry",
                f"`curl -s https://{self._authority.name}/v2/` shows it: look for a wrong host or port",
            )
        if answer.status == _OK:
            word = Word.ACCEPTED if is_sent else Word.OPEN
        elif answer.status == _ABSENT:
            word = Word.ABSENT
        elif answer.status in _WORDS:
            word = _WORDS[answer.status]
        else:
            raise _failed(self._peer.name, answer)
        return Verdict(word, self._peer.name, scheme, answer, seconds)


def _failed(asked: str, answer: "Answer") -> Unavailable:
    return Unavailable(
        "registry-failed",
        f"{asked} answered with status {answer.status}",
        "try again in a minute; if it stays, tell who runs the registry",
    )


def _ahead(answer: "Answer") -> int | None:
    from email.utils import parsedate_to_datetime
    from time import time

    try:
        return round(parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() - time())
    except (ValueError, OverflowError):
        return None


def _check_is_text(credential: Credential) -> None:
    """Raise if it has half of a surrogate pair, as JSON can write one: the error of the codec would show the secret."""
    try:
        "".join(credential.expose()).encode()
    except UnicodeEncodeError:
        raise Unavailable(
            "registry-letters",
            "a user name or secret that is no text in UTF-8 cannot be sent",
            "`docker login` with the right one",
        ) from None


def _object(content: bytes) -> "dict[str, object]":
    """The JSON object, or an empty one if it is none."""
    import json

    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}
