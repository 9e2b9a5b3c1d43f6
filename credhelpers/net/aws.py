"""How botocore asks: as its `httpsession.URLLib3Session` would, by a way of ours.

A client of it hands a request to whoever listens to its event `before-send` and takes the response that comes back
(botocore/endpoint.py, `_do_get_response`), and its fetchers of metadata have a session each. So nothing of botocore's
is replaced, and its retries find the errors that they know.
"""

from credhelpers.net.failures import NoAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.net.wire import Answer

    Asked = Callable[[str, tuple[str, str, int, str], bytes | None, Mapping[str, str]], Answer]

_PORTS = {"http": 80, "https": 443}
# The class of botocore's for each reason of ours; that of all others is about TLS.
_ERRORS = {
    "net-name-unknown": "EndpointConnectionError",
    "net-unreachable": "EndpointConnectionError",
    "net-slow": "ReadTimeoutError",
    "net-proxy": "ProxyConnectionError",
    "net-connection-broken": "ConnectionClosedError",
    "net-strange-answer": "ConnectionClosedError",  # of a metadata service: it is none
}


class Session:
    """`ask` takes method, place (see `Wire.ask`), body and headers of a request, and may answer with a redirect."""

    __slots__ = ("_ask",)

    def __init__(self, ask: "Asked") -> None:
        self._ask = ask

    def send(self, request: "Any") -> "Any":
        """The `AWSResponse` for an `AWSPreparedRequest`, read whole. Raises as botocore's own, and what `ask` does."""
        from io import BytesIO

        from botocore.awsrequest import AWSResponse
        from urllib3 import HTTPResponse
        from urllib3.util import parse_url

        _require_one_reading(request.url)
        url = parse_url(request.url)
        scheme = url.scheme or ""
        place = (scheme, url.host or "", url.port or _PORTS[scheme], url.request_uri)
        body = request.body.encode() if isinstance(request.body, str) else request.body
        headers = {name: _text(value) for name, value in request.headers.items()}
        try:
            answer = self._ask(request.method, place, body, headers)
        except NoAnswer as error:
            raise _as_botocore_says(error, request) from None
        raw = HTTPResponse(BytesIO(answer.content), preload_content=False)
        return AWSResponse(request.url, answer.status, answer.headers, raw)


def _require_one_reading(url: str) -> None:
    """Raise ValueError for a URL that two readers take for two hosts: botocore looks at it by another one than urllib3.

    With a backslash and an `@` in the host one finds `localhost`, and lets a secret go there, and the other dials what
    is before the backslash.
    """
    authority = url.partition("://")[2]
    for mark in "/?#":
        authority = authority.partition(mark)[0]
    if not authority.isascii() or not authority.isprintable() or {"\\", "@", " ", "%"} & set(authority):
        raise ValueError("a URL with an odd host")


def _as_botocore_says(error: NoAnswer, request: "Any") -> Exception:
    from botocore import exceptions

    name = _ERRORS.get(error.code, "SSLError")
    if error.code == "net-slow" and error.is_silent:
        name = "ConnectTimeoutError"
    details = {"endpoint_url": request.url, "proxy_url": "", "request": request, "error": error}
    made: Exception = getattr(exceptions, name)(**details)
    return made


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
