"""How Azure's services are asked, by us and by azure-identity: a way to one server, and nowhere else."""

import posix
from time import monotonic, sleep

from credhelpers.errors import Unavailable
from credhelpers.net.wire import CONNECT, Answer, Peer, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.identity import Environment
    from credhelpers.net.patience import Patience

    Asked = Callable[[str, str, bytes | None, Mapping[str, str]], Answer]

_ATTEMPTS = 3
_PAUSE = 0.2  # seconds, doubled, less a random half
TRANSIENT = (500, 502, 503, 504)  # RFC 9110, 15.6: what may be over in a moment


class Way:
    """The way to one server: every URL must begin with `prefix`, and all ends at `until` (monotonic clock).

    A metadata service is asked with patience, and never by a proxy.

    The last answer's `status` and `body`, and the `trouble` that there was instead of one, say what an SDK would not.
    """

    def __init__(
        self, peer: Peer, prefix: str, environ: "Environment", until: float, patience: "Patience | None" = None
    ) -> None:
        self.peer = peer
        self._prefix = prefix
        self._until = until
        self._wire = Wire(environ, until, is_proxied=patience is None)
        self._patience = patience
        self.known: dict[str, bytes] = {}  # answers that need no request
        self.status = 0
        self.body = b""
        self.trouble: Unavailable | None = None

    @property
    def options(self) -> "dict[str, Any]":
        """What makes a credential of the SDK go this way."""
        return {"transport": _transport(self.ask), "retry_total": 0}

    def ask(
        self, method: str, url: str, body: bytes | None = None, headers: "Mapping[str, str] | None" = None
    ) -> Answer:
        """The answer, after retries of what may be over in a moment. Raises Unavailable."""
        if url in self.known:
            return Answer(200, {"Content-Type": "application/json"}, self.known[url])
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                answer = self.ask_once(method, url, body, headers)
                pause = _PAUSE * 2**attempt * (1 - posix.urandom(1)[0] / 512)
                if answer.status not in TRANSIENT or attempt == _ATTEMPTS or monotonic() + pause > self._until:
                    break
                sleep(pause)
        except Unavailable as trouble:
            self.trouble = trouble
            raise
        return answer

    def ask_once(
        self, method: str, url: str, body: bytes | None = None, headers: "Mapping[str, str] | None" = None
    ) -> Answer:
        """The answer to one request. Raises Unavailable."""
        if not url.startswith(self._prefix):
            raise Unavailable(
                "acr-foreign-request",
                f"a request meant for {self.peer.name} would have gone elsewhere",
                "nothing was sent; please report it",
            )

        def asked(connect: float = CONNECT, seconds: float = 3600.0) -> Answer:
            there = place(url)
            return self._wire.ask(
                self.peer, method, there, body=body, headers=headers, connect=connect, seconds=seconds
            )

        try:
            answer = self._patience.ask(asked) if self._patience else asked()
        except ImportError:
            raise missing() from None
        self.status, self.body = answer.status, answer.content
        return answer


def place(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port, and the path with the query. Raises KeyError, ValueError, and Unavailable without urllib3."""
    try:
        from urllib3.util import parse_url
    except ModuleNotFoundError:
        raise missing() from None
    parts = parse_url(url)
    scheme = parts.scheme or ""
    usual = {"http": 80, "https": 443}[scheme]  # no other scheme
    return scheme, parts.host or "", parts.port or usual, parts.request_uri


def missing() -> Unavailable:
    """What is said where the packages of the extra are not installed."""
    return Unavailable(
        "acr-sdk-missing",
        "the Azure SDK is not installed",
        "install credhelpers with its extra: `pip install 'credhelpers[acr]'`",
    )


def _transport(ask: "Asked") -> "Any":
    """An `azure.core.pipeline.transport.HttpTransport`; `ask` takes method, URL, body and headers of a request."""
    from azure.core.pipeline.transport import HttpResponse, HttpTransport

    class Response(HttpResponse):
        def __init__(self, request: "Any", answer: "Answer") -> None:
            super().__init__(request, None)
            self.status_code = answer.status
            self.headers = dict(answer.headers)
            self.content_type = answer.headers.get("Content-Type")
            self._content = answer.content

        def body(self) -> bytes:
            return self._content

    class Transport(HttpTransport["Any", "Any"]):
        def send(self, request: "Any", **_options: object) -> Response:
            data = request.body
            content = data.encode() if isinstance(data, str) else _form(data) if isinstance(data, dict) else data
            return Response(request, ask(request.method, request.url, content, request.headers))

        def close(self) -> None:
            """Connections are made when they are needed, and end with the mint."""

        open = close

        def __exit__(self, *_: object) -> None:
            """See `close`."""

    return Transport()


def _form(data: "Mapping[str, str]") -> bytes:
    from urllib.parse import urlencode

    return urlencode(data).encode()
