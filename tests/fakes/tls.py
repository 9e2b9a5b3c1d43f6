"""The clouds' network on loopback: a certificate authority, sites with true names, and a proxy that leads to them.

Production code reaches these through the ordinary `HTTPS_PROXY` and CA variables, so it has no test hook, and every
byte that it sends is kept.
"""

from __future__ import annotations

import abc
import http.server
import select
import socket
import socketserver
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import trustme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class CertificateAuthority:
    """A certificate authority that only the tests trust; its certificate is in the file `pem`."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.pem = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.pem))

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's TLS context with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def files(self, *names: str, common_name: str | None = None) -> tuple[Path, Path]:
        """A certificate (with chain) and its key for these names, as files for a program that is not ours."""
        issued = self._ca.issue_cert(*names, common_name=common_name)
        label = names[0].replace("*", "any").replace(":", "-")
        certificate, key = self._folder / f"{label}.crt", self._folder / f"{label}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key


@dataclass
class Request:
    """A request as it arrived."""

    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: bytes
    secure: bool


@dataclass
class Response:
    """What a site answers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """An HTTP(S) server on loopback that answers with `respond` and keeps all `requests`."""

    def __init__(self, respond: Callable[[Request], Response], context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self._respond = respond
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def _handle(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(
                    self.command,
                    self.headers.get("Host", ""),
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                    context is not None,
                )
                site.requests.append(request)
                response = site._respond(request)
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(response.body)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = _handle

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, Any]:
                plain, address = self.socket.accept()
                if context is None:
                    return plain, address
                plain.settimeout(20)
                # The handshake waits for the handler's thread, lest a silent client block all others.
                return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that hangs up is a test's own doing

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Proxy:
    """A CONNECT proxy: `routes` maps a host name (or `*.suffix`) to a port on loopback; others are refused.

    Every name asked for is in `asked`, and the refused ones are in `refused` too: the strangers. With `keeps` all that
    clients send, to the proxy or through it, is in `heard`.
    """

    def __init__(self, routes: dict[str, int], *, keeps: bool = False) -> None:
        self.routes = routes
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.heard = bytearray() if keeps else None
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 20

            def handle(self) -> None:
                words = self._line().split()
                while self._line().strip():
                    pass
                target = words[1].decode() if len(words) == 3 else ""
                proxy.asked.append(target)
                port = proxy._port(target.rpartition(":")[0]) if words and words[0] == b"CONNECT" else None
                if port is None:
                    proxy.refused.append(target)
                    self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                    return
                with socket.create_connection(("127.0.0.1", port), timeout=20) as onward:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    _pump(self.connection, onward, proxy.heard)

            def _line(self) -> bytes:
                line = self.rfile.readline(4096)
                if proxy.heard is not None:
                    proxy.heard += line
                return line

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _port(self, host: str) -> int | None:
        if host in self.routes:
            return self.routes[host]
        parent = "*." + host.partition(".")[2]
        return self.routes.get(parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Cloud(abc.ABC):
    """The services of a cloud under their true names, and a proxy that leads to them.

    `ahead` is by how many seconds the cloud's clock is ahead of the true one.
    """

    def __init__(
        self, authority: CertificateAuthority, hosts: tuple[str, ...], context: ssl.SSLContext | None = None
    ) -> None:
        self.ahead: float = 0
        self._authority = authority
        self.site = Site(self._respond, context or authority.context(*hosts))
        self.proxy = Proxy(dict.fromkeys(hosts, self.site.port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.__exit__()
        self.site.__exit__()

    def now(self) -> float:
        """Seconds since the epoch by the cloud's clock."""
        return time.time() + self.ahead

    @property
    def requests(self) -> list[Request]:
        """Every request so far, accepted or not."""
        return self.site.requests

    @abc.abstractmethod
    def _respond(self, request: Request) -> Response:
        """What the cloud answers."""


def _pump(one: socket.socket, other: socket.socket, heard: bytearray | None = None) -> None:
    """Carry bytes both ways until one side closes; keep those of the first one in `heard`."""
    pair = {one: other, other: one}
    while True:
        ready_ones = select.select(list(pair), [], [], 60)[0]
        if not ready_ones:
            return
        for ready in ready_ones:
            try:
                content = ready.recv(65536)
            except OSError:
                return
            if not content:
                return
            if ready is one and heard is not None:
                heard += content
            pair[ready].sendall(content)
