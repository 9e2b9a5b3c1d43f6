"""The one client of HTTP: whom it trusts, which proxy it asks, and what it says when there is no answer."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from credhelpers.errors import Shortage, Unavailable
from credhelpers.identities import aws, google_network
from credhelpers.identities.google_services import UNIVERSE
from credhelpers.net import azure, proxies, trust
from credhelpers.net.failures import NoAnswer, code_of
from credhelpers.net.wire import Peer, Wire
from credhelpers.registry import Registry
from credhelpers.servers import Authority
from credhelpers.vault import connection as vault
from tests.fakes.tls import CertificateAuthority, Proxy, Response, Site
from tests.harness import lacking, patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = (Path(__file__).parent.parent / "docs/network.md").read_text()
HOST = "site.acme.example"
PEER = Peer("the site", {"network": "look at it"})
SECRET = "a-made-up-secret"


def _until() -> float:
    return time.monotonic() + 10


def _amazon(environ: dict[bytes, bytes]) -> Wire:
    wire = aws.Caller("eu-west-1", {}, _until()).gate._wire
    wire.environ = environ
    return wire


WIRES: dict[str, Callable[[dict[bytes, bytes]], Wire]] = {
    "Google": lambda environ: google_network.Network(environ, UNIVERSE, _until())._wire,
    "Azure": lambda environ: azure.Way(PEER, "https://", environ, _until())._wire,
    "Vault": lambda environ: vault._wire(vault.Server(environ, {}), _until()),
    "a registry": lambda environ: Registry(Authority(HOST), environ, _until())._wire,
    "Amazon": _amazon,
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL reads this process's own environment."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or "CERT" in name or "CA_BUNDLE" in name:
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def site(authority: CertificateAuthority) -> Iterator[Site]:
    """A site with a certificate of the tests' authority, which no system knows."""
    with Site(lambda _: Response(200, b"hello"), authority.context("localhost", HOST)) as found:
        yield found


def rows(heading: str) -> list[tuple[str, list[str], dict[str, bool]]]:
    """The rows of a table of the page: the text, the variables, and by client whether they count there."""
    lines = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    table = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert table[0][1:] == list(WIRES)
    counts = {"yes": True, "no": False}
    return [
        (
            row[0],
            re.findall(r"`([A-Z_]+)`", row[0]),
            {name: counts[cell] for name, cell in zip(table[0][1:], row[1:], strict=True)},
        )
        for row in table[2:]
    ]


def each(heading: str) -> list[object]:
    return [
        pytest.param(name, client, counts[client], id=f"{name} {client}")
        for _, names, counts in rows(heading)
        for name in names
        for client in counts
    ]


def hashed(authority: CertificateAuthority) -> Path:
    """A directory as `openssl rehash` makes it."""
    openssl = shutil.which("openssl") or lacking("openssl: `apt-get install openssl`")
    command = [openssl, "x509", "-noout", "-subject_hash", "-in", str(authority.pem)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    folder = authority.pem.parent / "hashed"
    folder.mkdir(exist_ok=True)
    shutil.copy(authority.pem, folder / f"{name}.0")
    return folder


def is_believed_by_botocore(port: int) -> bool:
    """Whether a client of it that was prepared as ours are goes on to speak to the site on this machine."""
    from botocore.exceptions import SSLError

    caller = aws.Caller("eu-west-1", {}, _until())
    url = f"https://localhost:{port}"
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "made-up"}
    client = caller.boto3.client("sts", "eu-west-1", endpoint_url=url, **keys)
    try:
        client.get_caller_identity()
    except SSLError:
        return False
    except Exception:  # noqa: BLE001 - whatever it makes of the answer
        return True
    return True


@pytest.mark.parametrize(("name", "client", "counts"), each("Which certificates are trusted"))
def test_a_variable_of_certificates(
    name: str,
    client: str,
    authority: CertificateAuthority,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    *,
    counts: bool,
) -> None:
    """As the page has it, and no other variable counts for a client than those."""
    value = str(hashed(authority) if name.endswith(("_DIR", "CAPATH")) else authority.pem)
    if name.endswith("_BYTES"):
        value = authority.pem.read_text()
    monkeypatch.setenv(name, value)
    if client == "Amazon":
        assert is_believed_by_botocore(site.port) is counts
        return
    wire = WIRES[client]({name.encode(): value.encode()})
    if counts:
        assert wire.ask(PEER, "GET", ("https", "localhost", site.port, "/")).content == b"hello"
    else:
        with pytest.raises(NoAnswer) as caught:
            wire.ask(PEER, "GET", ("https", "localhost", site.port, "/"))
        assert caught.value.code == "net-certificate-unknown"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("kind", ["no file", "no certificate", "empty", "a pipe", "endless", "a directory"])
def test_what_holds_no_certificate(name: str, kind: str, site: Site, tmp_path: Path) -> None:
    """The message names the variable, whatever is behind it; and nobody is believed because of it."""
    path = tmp_path / "file"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    elif kind == "endless":
        path = Path("/dev/zero")
    elif kind != "no file":
        path.write_text("made up" if kind == "no certificate" else "")
    wire = Wire({name.encode(): os.fsencode(path)}, _until())
    with pytest.raises(Unavailable) as caught:
        wire.ask(PEER, "GET", ("https", "localhost", site.port, "/"))
    if kind == "a directory":
        assert caught.value.code == "net-certificate-unknown"
    else:
        assert caught.value.code == "net-certificates-unreadable"
        assert name in caught.value.message
        assert name in caught.value.hint


@pytest.mark.parametrize("name", ["", "SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("capath", ["none", "an empty one", "not there"])
def test_without_a_system_certifi_counts(
    name: str, capath: str, tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a small image; but not where somebody has said what stands for the system."""
    import ssl

    folder = {"none": None, "an empty one": str(tmp_path), "not there": str(tmp_path / "x")}[capath]
    paths = SimpleNamespace(cafile=None, capath=folder)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr("certifi.where", lambda: str(authority.pem))
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda _: None)
    found = trust.context({name.encode(): b"/made-up"} if name else {})
    assert found.cert_store_stats()["x509_ca"] == (0 if name else 1)


def test_one_strictness() -> None:
    """That of Python 3.11 with partial chains, on every one: 3.13 refuses authorities of many companies."""
    import ssl

    flags = trust.bare().verify_flags
    assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert not flags & ssl.VERIFY_X509_STRICT
    assert trust.context({}).verify_flags == flags
    assert trust.context({}).check_hostname


@pytest.mark.parametrize(("name", "client", "counts"), each("Which proxy is asked"))
def test_a_variable_of_proxies(
    name: str,
    client: str,
    authority: CertificateAuthority,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    *,
    counts: bool,
) -> None:
    """As the page has it; `HTTP_PROXY` is for what is not encrypted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    with Proxy({HOST: site.port}) as proxy:
        environ = {name.encode(): proxy.url.encode()}
        if name == "NO_PROXY":
            environ = {b"HTTPS_PROXY": proxy.url.encode(), b"NO_PROXY": HOST.encode()}
            counts = False
        if name == "HTTP_PROXY":
            counts = False
        wire = WIRES[client](environ)
        if counts:
            assert wire.ask(PEER, "GET", ("https", HOST, 443, "/")).content == b"hello"
        else:
            with pytest.raises(NoAnswer):
                wire.ask(PEER, "GET", ("https", HOST, 443, "/"))
        assert proxy.asked == ([f"{HOST}:443"] if counts else [])


@pytest.mark.parametrize("client", WIRES)
def test_this_machine_is_never_asked_through_a_proxy(client: str, authority: CertificateAuthority, site: Site) -> None:
    """What is said to it stays on it."""
    with Proxy({"localhost": site.port, "127.0.0.1": site.port}) as proxy:
        environ = {name: proxy.url.encode() for name in (b"HTTPS_PROXY", b"ALL_PROXY", b"HTTP_PROXY")}
        wire = WIRES[client](environ | {b"REQUESTS_CA_BUNDLE": bytes(authority.pem)})
        for host, port in (("localhost", 1), ("127.0.0.1", site.port), ("169.254.0.1", 1)):
            with pytest.raises(NoAnswer):  # nobody is there, or one with a certificate of another name
                wire.ask(PEER, "GET", ("https", host, port, "/"), seconds=0.5)
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_past"),
    [
        ("*", HOST, True),
        (HOST, HOST, True),
        (HOST.upper(), HOST, True),
        ("acme.example", HOST, True),
        (".acme.example", HOST, True),
        (".acme.example", "acme.example", True),
        ("other.example, acme.example", HOST, True),
        ("other.example acme.example", HOST, True),
        ("acme.example:443", HOST, True),
        ("cme.example", HOST, False),
        ("acme.example", "evilacme.example", False),
        ("acme.example", "acme.example.evil.example", False),
        (HOST, "acme.example", False),
        ("*.acme.example", HOST, False),
        ("", HOST, False),
        (",", HOST, False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "10.1.2.3.evil.example", False),
        ("10.0.0.0/33", "10.1.2.3", False),
        ("0.0.0.0/0", HOST, False),
        ("fd00::/8", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("fd00::/8", "[fe80::1]", False),
    ],
)
def test_past_the_proxy(no_proxy: str, host: str, *, is_past: bool) -> None:
    """By whole labels and by numbers; what is written in another way is not guessed."""
    environ = {b"HTTPS_PROXY": b"http://proxy.acme.example:3128", b"no_proxy": no_proxy.encode()}
    assert (proxies.on_the_way(environ, "https", host) is None) is is_past


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", ""),
        ("proxy.example:3128", "http://proxy.example:3128", ""),
        ("proxy.example", "http://proxy.example:80", ""),
        ("https://proxy.example/", "https://proxy.example:443", ""),
        ("http://ann:s%40me@proxy.example:1", "http://proxy.example:1", "Basic YW5uOnNAbWU="),
        ("http://ann:%C3%A9@proxy.example:1", "http://proxy.example:1", "Basic YW5uOsOp"),
        ("http://ann:%E2%82%AC@proxy.example:1", "http://proxy.example:1", "Basic YW5uOuKCrA=="),
        ("http://ann@proxy.example:1", "http://proxy.example:1", "Basic YW5uOg=="),
        ("http://[::1]:3128", "http://[::1]:3128", ""),
    ],
)
def test_the_url_of_a_proxy(text: str, url: str, login: str) -> None:
    """A login is in its header alone, in no name and no URL that a message may hold."""
    found = proxies.on_the_way({b"https_proxy": text.encode()}, "https", HOST)
    assert found
    assert (found.url, found.headers.get("proxy-authorization", "")) == (url, login)
    assert "ann" not in found.name


@pytest.mark.parametrize(
    "text", ["socks5://proxy:1", "ftp://proxy", "http://", "http://proxy:port", "http://proxy/path", "://"]
)
def test_what_is_no_proxy(text: str) -> None:
    """Is an error, and no way around it: the proxy may be there to keep something in."""
    with pytest.raises(Unavailable) as caught:
        proxies.on_the_way({b"HTTPS_PROXY": text.encode()}, "https", HOST)
    assert caught.value.code == "net-proxy-url"
    assert text not in caught.value.message


def test_a_proxy_that_refuses_is_named_without_its_login(site: Site) -> None:
    """A message goes to build logs."""
    with Proxy({}) as proxy:
        login = proxy.url.replace("http://", f"http://ann:{SECRET}@")
        with pytest.raises(NoAnswer) as caught:
            Wire({b"HTTPS_PROXY": login.encode()}, _until()).ask(PEER, "GET", ("https", HOST, 443, "/"))
    assert caught.value.code == "net-proxy"
    assert caught.value.message == f"the proxy {proxy.url[7:]} does not lead to the site ({HOST})"
    assert SECRET not in repr(caught.value) + caught.value.hint


def _says(line: bytes) -> tuple[socket.socket, int]:
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(line)

    threading.Thread(target=run, daemon=True).start()
    return listening, listening.getsockname()[1]


def test_an_https_proxy_is_believed_as_a_site_is(authority: CertificateAuthority) -> None:
    """By the same authorities; what is wrong with its own TLS is not said of the site behind it."""
    plain, port = _says(b"HTTP/1.1 400 No\r\nConnection: close\r\n\r\n")
    with plain, Site(lambda _: Response(200, b""), authority.context("localhost")) as tls:
        for url, trusted, code in (
            (f"https://localhost:{port}", authority, "net-no-tls"),
            (f"https://localhost:{tls.port}", None, "net-certificate-unknown"),
            (f"https://127.0.0.1:{tls.port}", authority, "net-certificate-name"),
        ):
            environ = {b"HTTPS_PROXY": url.encode()}
            if trusted:
                environ[b"REQUESTS_CA_BUNDLE"] = bytes(trusted.pem)
            with pytest.raises(NoAnswer) as caught:
                Wire(environ, _until()).ask(PEER, "GET", ("https", HOST, 443, "/"))
            assert (caught.value.code, "the proxy (" in caught.value.message) == (code, True), url
            assert HOST not in caught.value.message


@pytest.mark.parametrize(
    "words", ["socket: Too many open files", "can't start new thread", "x: Cannot allocate memory"]
)
def test_a_proxy_speaks_of_itself(words: str) -> None:
    """That it has too little of something is no shortage here."""
    listening, port = _says(f"HTTP/1.1 502 {words}\r\n\r\n".encode())
    with listening, pytest.raises(NoAnswer) as caught:
        Wire({b"HTTPS_PROXY": b"http://127.0.0.1:%d" % port}, _until()).ask(PEER, "GET", ("https", HOST, 443, "/"))
    assert caught.value.code == "net-proxy"


def test_a_slow_proxy_has_the_time_of_the_call(authority: CertificateAuthority, site: Site) -> None:
    """The limit of a connection is for who is not there: this one has taken it."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def run() -> None:
        connection, _ = listening.accept()
        with connection:
            asked.append(connection.recv(1 << 16))
            time.sleep(4.5)
            connection.sendall(b"HTTP/1.1 403 No\r\n\r\n")

    threading.Thread(target=run, daemon=True).start()
    url = b"http://127.0.0.1:%d" % listening.getsockname()[1]
    with listening, pytest.raises(NoAnswer) as caught:
        Wire({b"HTTPS_PROXY": url}, _until()).ask(PEER, "GET", ("https", HOST, 443, "/"))
    assert caught.value.code == "net-proxy"
    assert asked


def test_what_is_not_installed_is_no_broken_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs an extra says so."""
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(ImportError):
        Wire({}, _until()).ask(PEER, "GET", ("https", "localhost", site.port, "/"))


# --- what a server may do --------------------------------------------------------------------------------------------

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def _dripping(connection: socket.socket, content: bytes) -> None:
    for byte in content:
        connection.sendall(bytes((byte,)))
        time.sleep(0.4)


def _dripping_body(connection: socket.socket) -> None:
    connection.sendall(_HEAD)
    _dripping(connection, b"hello")


def _hanging(connection: socket.socket) -> None:
    connection.sendall(_HEAD)
    time.sleep(5)


def _endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(1 << 10):
        connection.sendall(bytes(1 << 20))


SERVERS: dict[str, tuple[Callable[[socket.socket], object], str]] = {
    "says nothing": (lambda _: time.sleep(5), "net-slow"),
    "drips its headers": (lambda one: _dripping(one, _HEAD + b"hello"), "net-slow"),
    "drips its body": (_dripping_body, "net-slow"),
    "hangs after the headers": (_hanging, "net-slow"),
    "sends a gigabyte": (_endless, "net-strange-answer"),
    "sends headers without end": (
        lambda one: one.sendall(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000),
        "net-connection-broken",
    ),
    "hangs up at once": (lambda _: None, "net-connection-broken"),
    "hangs up in the first line": (lambda one: one.sendall(_HEAD[:10]), "net-connection-broken"),
    "hangs up in the body": (lambda one: one.sendall(_HEAD + b"hel"), "net-connection-broken"),
    "speaks no HTTP": (lambda one: one.sendall(b"SSH-2.0-made-up\r\n"), "net-connection-broken"),
    "compresses": (
        lambda one: one.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"),
        "net-strange-answer",
    ),
    "redirects": (
        lambda one: one.sendall(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        "net-redirect",
    ),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_none(kind: str) -> None:
    """There is an answer or a reason, in time, with the address; and the secret is in no text of ours."""
    serve, code = SERVERS[kind]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    connection.recv(1 << 16)
                    serve(connection)
                except OSError:
                    pass  # who asked has hung up

        threading.Thread(target=run, daemon=True).start()
        port = listening.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(NoAnswer) as caught:
            Wire({}, time.monotonic() + 1).ask(
                PEER, "GET", ("http", "127.0.0.1", port, "/"), headers={"Authorization": SECRET}
            )
        assert time.monotonic() - started < 1 + patience(1)
    assert caught.value.code == code
    assert f"the site (127.0.0.1:{port})" in caught.value.message
    assert SECRET not in repr(caught.value) + caught.value.hint
    assert caught.value.__cause__ is None


def test_nothing_listens() -> None:
    """The hint is the peer's own where it has one for that kind of reason."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(NoAnswer) as caught:
        Wire({}, _until()).ask(PEER, "GET", ("http", "127.0.0.1", port, "/"))
    assert (caught.value.code, caught.value.hint) == ("net-unreachable", "look at it")
    with pytest.raises(NoAnswer) as caught:
        Wire({}, _until()).ask(PEER, "GET", ("https", "nobody.invalid", 443, "/"))
    assert caught.value.code == "net-name-unknown"
    assert caught.value.message == "the address of the site (nobody.invalid) cannot be found"


def test_no_time_is_left() -> None:
    """Nobody is asked then."""
    with Site(lambda _: Response(200, b"hello")) as site:
        with pytest.raises(NoAnswer) as caught:
            Wire({}, time.monotonic()).ask(PEER, "GET", ("http", "127.0.0.1", site.port, "/"))
        assert site.requests == []
    assert caught.value.code == "net-slow"


def test_connections_are_kept_and_headers_are_one_of_each() -> None:
    """A login and what follows cost one handshake; ours and a caller's `user-agent` are not both sent."""
    ports: list[str] = []
    with Site(lambda request: Response(200, request.body)) as site:
        wire = Wire({}, _until())
        for body in (b"one", b"two"):
            headers = {"user-agent": "else", "Accept-Encoding": "gzip"}
            answer = wire.ask(PEER, "POST", ("http", "127.0.0.1", site.port, "/a?b=c"), body=body, headers=headers)
            ports.append(answer.content.decode())
        assert ports == ["one", "two"]
        assert {request.headers["accept-encoding"] for request in site.requests} == {"identity"}
        assert {request.headers["user-agent"] for request in site.requests} == {"else"}
        assert len(wire._pools) == 1


def test_a_shortage_is_not_the_servers_fault() -> None:
    """As `errors.shortage` knows it."""
    with pytest.raises(Shortage):
        code_of(RuntimeError("can't start new thread"))


def drips(kind: str, peer: socket.socket) -> None:
    """Say a byte of an answer now and then, as long as somebody listens."""
    head = b"HTTP/1.1 200 OK\r\nX: " if kind == "head" else b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with peer, contextlib.suppress(OSError):
        peer.recv(1 << 16)
        peer.sendall(head if kind != "without end" else b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(1000):
            time.sleep(0.05)
            peer.sendall(b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="the threads of a process, as Linux shows them")
@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("kind", ["head", "body", "without end"])
def test_who_drips_keeps_no_thread(authority: CertificateAuthority, kind: str, *, is_secure: bool) -> None:
    """The call goes on in time, and nothing of it is left: neither who waited for the answer, nor the connection."""
    tasks = Path("/proc/self/task")
    context = authority.context("localhost")
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        drips(kind, context.wrap_socket(peer, server_side=True) if is_secure else peer)
        ended.set()

    with listener:
        threading.Thread(target=serve, daemon=True).start()
        before = len(list(tasks.iterdir()))
        trusted = ssl.create_default_context(cafile=str(authority.pem))
        wire = Wire({}, _until(), lambda: trusted)
        place = ("https" if is_secure else "http", "localhost", listener.getsockname()[1], "/")
        started = time.monotonic()
        with pytest.raises(NoAnswer, match="did not answer in time"):
            wire.ask(PEER, "GET", place, seconds=0.6)
        assert time.monotonic() - started < 0.6 + patience(0.5)
        assert ended.wait(2 + patience(1))
        until = time.monotonic() + patience(1)
        while (now := len(list(tasks.iterdir()))) >= before and time.monotonic() < until:
            time.sleep(0.02)
        assert now < before  # who served has ended, too
