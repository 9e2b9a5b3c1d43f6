"""How google-auth asks: a transport whose requests go by our wire, to whom they may.

Its own are not used: it takes any callable for one, and `net.wire` is what everybody here asks by.
"""

from credhelpers.errors import NotFound, Unavailable
from credhelpers.hosts import endpoint
from credhelpers.identities.google_errors import refusal
from credhelpers.identities.google_services import is_service
from credhelpers.net.patience import Patience
from credhelpers.net.wire import CONNECT, Answer, Peer, Wire
from credhelpers.servers import is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from credhelpers.identity import Environment

_NETWORK = "`curl -sI https://oauth2.googleapis.com` and `printenv HTTPS_PROXY NO_PROXY` show where it ends"


class _Response:
    """What google-auth reads of an answer (`google.auth.transport.Response`)."""

    __slots__ = ("data", "headers", "status")

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.data = answer.content


class Network:
    """google-auth's transport (`google.auth.transport.Request`): who may be asked, how long, and what was refused.

    A secret leaves through here or not at all, and only to a token service of the universe, over verified TLS. URLs in
    `allowed` are asked too: those from which a credential file fetches what it then exchanges at Google.
    """

    def __init__(self, environ: "Environment", universe: str, until: float) -> None:
        self.environ = environ
        self.allowed: list[str] = []
        self.until = until
        self.universe = universe
        self._wire = Wire(environ, until)
        self._last: tuple[str, int, bytes] | None = None

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: "Mapping[str, str] | None" = None,
        **_options: object,  # a time-out, which is ours to choose
    ) -> _Response:
        """Ask once. Raises Unavailable for whatever is no answer; an error status is one."""
        try:
            scheme, host, port, target = endpoint(url)
        except NotFound:  # of what a URL of the file answered one is made, as of the name of a role
            raise self.refusal("") from None
        is_google = scheme == "https" and port == 443 and is_service(host, self.universe)  # noqa: PLR2004 - HTTPS
        if not is_google and not any(url == known or url.startswith(f"{known}/") for known in self.allowed):
            raise Unavailable(
                "gcr-file-foreign", "a credential file sends secrets to a host that is not Google's", "do not use it"
            )
        peer = Peer(host, {"network": _NETWORK}) if is_google else Peer("the token URL of the credential file")

        def asked(connect: float = CONNECT, seconds: float = 3600.0) -> Answer:
            place = (scheme, host, port, target)
            return self._wire.ask(peer, method, place, body=body, headers=headers, connect=connect, seconds=seconds)

        # What a file names at a local address is a metadata service, which may come up with us.
        answer = Patience("", host, self.until, is_named=True).ask(asked) if is_local(host) else asked()
        self._last = (host if is_google else "", answer.status, answer.content)
        return _Response(answer)

    def refusal(self, kind: str) -> Unavailable:
        """Why an identity of this kind got no token, by the last answer."""
        host, status, body = self._last or ("", 200, b"")
        if status != 200:  # noqa: PLR2004 - as google-auth has it
            return refusal(kind, host, status, body)
        if host:
            return Unavailable(
                "gcr-no-token", "google answered with something that is no access token", "try again in a moment"
            )
        return Unavailable(
            "gcr-subject-unavailable",
            "the token that the credential file refers to cannot be had",
            "look at its `credential_source`: the file, URL or program that it names",
        )
