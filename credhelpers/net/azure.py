"""How azure-identity asks: a transport of azure-core whose requests go by a way of ours."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.net.wire import Answer

    Asked = Callable[[str, str, bytes | None, Mapping[str, str]], Answer]


def transport(ask: "Asked") -> "Any":
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
