"""How the installed executable gets to Vault: address, trust, proxies, redirects, retries, agents, tokens."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.fakes.tls import CertificateAuthority, Proxy, Request, Response, Site
from tests.harness import NOWHERE, Result, environment, patience
from tests.harness import loaded_call as call
from tests.services import Stack, Vault, need_root, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

HOST = "harbor.acme.example"
NAME = "vault.acme.example"
TOKEN = "made-up-token"
PATH = f"/v1/kv/data/registries/{HOST}"
SECRET = {"username": "robot", "password": "made-up"}
METADATA = {"created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": False, "version": 1}
SAID = {"data": {"data": SECRET, "metadata": {**METADATA, "custom_metadata": None}}}


class User:
    """Somebody with a configuration that names one place in Vault, and an environment."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        self.env = environment(home, CREDHELPERS_CACHE_DIR="", **env)
        self.config = home / ".config/credhelpers/config.toml"
        self.config.parent.mkdir(parents=True)
        self.configure('engine = "kv-v2"')

    def configure(self, *lines: str) -> None:
        """Write the configuration with these further lines."""
        entry = ["[[registry]]", 'match = "*.acme.example"', 'source = "vault"', 'path = "kv/registries/{host}"']
        self.config.write_text("\n".join([*entry, *lines]) + "\n")

    def get(self, **more: str) -> Result:
        """Ask for the credential, with more variables."""
        return call("vault", "get", HOST, self.env | more)

    def finds(self, **more: str) -> None:
        """Get the credential."""
        found = self.get(**more).credential
        assert (found["Username"], found["Secret"]) == ("robot", "made-up")

    def fails(self, words: str, **more: str) -> Result:
        """Get an error that has these words, with a hint and without the token."""
        result = self.get(**more)
        assert result.code == 1, result
        assert words.encode() in result.out, result
        assert result.told
        for secret in (TOKEN, (self.env | more).get("VAULT_TOKEN") or TOKEN):
            assert secret.encode() not in result.out + result.err
        return result


def vault_says(request: Request) -> Response:
    """What a Vault with one secret answers."""
    if request.path.endswith(PATH):
        return Response(200, json.dumps(SAID).encode())
    return Response(404, b'{"errors":[]}')


@contextlib.contextmanager
def plain(respond: Callable[[Request], Response]) -> Iterator[Site]:
    """A server on loopback without TLS."""
    with Site(respond) as site:
        yield site


@pytest.fixture
def site() -> Iterator[Site]:
    """A Vault with one secret, on loopback without TLS."""
    with Site(vault_says) as site:
        yield site


@pytest.fixture
def user(home: Path, site: Site) -> User:
    """Somebody who uses that."""
    return User(home, VAULT_ADDR=f"http://127.0.0.1:{site.port}", VAULT_TOKEN=TOKEN)


@pytest.fixture(scope="module")
def secure(authority: CertificateAuthority) -> Iterator[tuple[Site, Proxy]]:
    """A Vault with one secret, in TLS under its true name, and a proxy that leads there."""
    with (
        Site(vault_says, authority.context(NAME)) as site,
        Proxy({NAME: site.port, "other.acme.example": site.port}) as proxy,
    ):
        yield site, proxy


@pytest.fixture
def far(home: Path, secure: tuple[Site, Proxy]) -> User:
    """Somebody who is to reach it, and trusts nobody yet."""
    return User(home, VAULT_ADDR=f"https://{NAME}", VAULT_TOKEN=TOKEN, HTTPS_PROXY=secure[1].url)


# --- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("http://vault.acme.example", id="plain-http"),
        pytest.param("http://vault.acme.example:8200/v1", id="plain-http-with-port"),
        pytest.param("http://169.254.169.254", id="metadata-service"),
        pytest.param("http://[fd00:ec2::254]", id="metadata-service-ipv6"),
        pytest.param("http://127.1", id="loopback-that-may-be-a-name"),
        pytest.param("http://2130706433", id="loopback-as-a-number"),
        pytest.param("http://127.0.0.1.acme.example", id="loopback-as-a-part"),
        pytest.param("http://localhost.acme.example", id="localhost-as-a-part"),
        pytest.param("http://127.0.0.1@vault.acme.example", id="loopback-as-a-user"),
        pytest.param("http://127.0.0.1\\@vault.acme.example", id="backslash"),
        pytest.param("https://user:word@vault.acme.example", id="user-info"),
        pytest.param("https://vault.acme.example#/", id="fragment"),
        pytest.param("https://vault.acme.example?x=/", id="query"),
        pytest.param("https://vault.acme.example/a/../b", id="path-that-climbs"),
        pytest.param("https://vault.acme.example:99999", id="port-out-of-range"),
        pytest.param("https://vault.acme.example:", id="no-port"),
        pytest.param("https://vault.acme.example\n", id="line-end"),
        pytest.param("https://vault.acme.example\r\nX-Header: 1", id="header"),
        pytest.param("https://[::1", id="half-an-address"),
        pytest.param("ftp://vault.acme.example", id="ftp"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("vault.acme.example:8200", id="no-scheme"),
        pytest.param("unix://relative", id="relative-socket"),
        pytest.param("ünix", id="not-ascii"),
    ],
)
def test_no_secret_goes_to_a_bad_address(user: User, address: str) -> None:
    """An address that is none, or to which the token would go in clear, is an error, and nobody is asked."""
    with Proxy({}) as proxy:
        result = user.fails("", VAULT_ADDR=address, HTTPS_PROXY=proxy.url, HTTP_PROXY=proxy.url)

        assert b"address begins" in result.out or b"not the URL of a server" in result.out
        assert address.encode() not in result.out + result.err
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("env", "line"),
    [
        pytest.param({"BAO_ADDR": "{}", "VAULT_ADDR": "https://vault.invalid"}, "", id="bao"),
        pytest.param({"VAULT_AGENT_ADDR": "{}", "VAULT_ADDR": "https://vault.invalid"}, "", id="agent"),
        pytest.param({"VAULT_ADDR": "{}/"}, "", id="slash"),
        pytest.param({"VAULT_ADDR": "{}/behind/a/path"}, "", id="path"),
        pytest.param({"BAO_ADDR": "https://vault.invalid"}, 'address = "{}"', id="config"),
        pytest.param({"VAULT_AGENT_ADDR": "https://vault.invalid"}, 'address = "{}"', id="config-before-agent"),
        pytest.param({"BAO_AGENT_ADDR": "", "VAULT_AGENT_ADDR": "https://vault.invalid"}, "", id="bao-agent-unset"),
    ],
)
def test_address(user: User, site: Site, env: dict[str, str], line: str) -> None:
    """The configuration goes before the agent, that before the server, and OpenBao's variables before Vault's."""
    url = f"http://127.0.0.1:{site.port}"
    user.configure('engine = "kv-v2"', line.format(url))

    user.finds(**{name: value.format(url) for name, value in env.items()})


def test_default_address(user: User) -> None:
    """Without an address it is TLS on this machine, not hvac's plain HTTP."""
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 8200)) as server:
        heard: list[bytes] = []

        def listen() -> None:
            with contextlib.suppress(OSError):
                connection = server.accept()[0]
                connection.settimeout(5)
                heard.append(connection.recv(3))
                connection.close()

        listener = threading.Thread(target=listen)
        listener.start()
        user.fails("the connection to vault (127.0.0.1:8200) broke off", VAULT_ADDR="")
        listener.join(5)

        assert heard == [b"\x16\x03\x01"]  # a handshake record, RFC 8446, 5.1


def test_plain_http_by_an_explicit_word(user: User, site: Site) -> None:
    """An entry can allow plain HTTP to the address that it names itself, and to no other."""
    with Proxy({}) as proxy:
        url = f"http://{NAME}"
        user.configure('engine = "kv-v2"', f'address = "{url}"')
        user.fails("http://", HTTP_PROXY=f"http://127.0.0.1:{site.port}")
        user.configure('engine = "kv-v2"', 'plain_http = "allowed"')
        user.fails("", VAULT_ADDR=url, HTTP_PROXY=proxy.url)
        assert (site.requests, proxy.asked) == ([], [])

        user.configure('engine = "kv-v2"', f'address = "{url}"', 'plain_http = "allowed"')
        user.finds(HTTP_PROXY=f"http://127.0.0.1:{site.port}")


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_headers(user: User, site: Site) -> None:
    """The header against forged requests is always there, the namespace and further headers where they are said."""
    (user.home / ".netrc").write_text("default login someone password made-up-word\n")
    user.finds(
        VAULT_NAMESPACE="/team/one/",
        VAULT_HEADERS='{"X-Way": "this", "accept-encoding": "gzip"}',
        VAULT_WRAP_TTL="60",
        VAULT_MFA="method:1",
    )

    (request,) = site.requests
    headers = {name for name in request.headers if name.startswith(("x-", "auth", "cookie"))}
    assert headers == {"x-vault-request", "x-vault-token", "x-vault-namespace", "x-way"}
    assert request.headers["x-vault-request"] == "true"
    assert request.headers["x-vault-token"] == TOKEN
    assert request.headers["x-vault-namespace"] == "team/one"
    assert request.headers["x-way"] == "this"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("env", "line", "namespace"),
    [
        pytest.param({"BAO_NAMESPACE": "bao", "VAULT_NAMESPACE": "vault"}, "", "bao", id="bao"),
        pytest.param({"BAO_NAMESPACE": "", "VAULT_NAMESPACE": "vault"}, "", None, id="bao-unset"),
        pytest.param({"BAO_NAMESPACE": "bao"}, 'namespace = "ours"', "ours", id="config"),
        pytest.param({}, "", None, id="none"),
    ],
)
def test_namespace(user: User, site: Site, env: dict[str, str], line: str, namespace: str | None) -> None:
    """The configuration goes before OpenBao's variable, and that before Vault's even if it is empty."""
    user.configure('engine = "kv-v2"', line)
    user.finds(**env)

    assert site.requests[0].headers.get("x-vault-namespace") == namespace


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"VAULT_NAMESPACE": "a\nX-Vault-Token: b"}, id="namespace-with-a-header"),
        pytest.param({"VAULT_NAMESPACE": "größe"}, id="namespace-not-ascii"),
        pytest.param({"VAULT_HEADERS": "X-Way: this"}, id="headers-no-json"),
        pytest.param({"VAULT_HEADERS": '{"X-Way": 1}'}, id="headers-no-text"),
        pytest.param({"VAULT_HEADERS": '{"x-vault-token": "other"}'}, id="headers-of-vault"),
        pytest.param({"VAULT_HEADERS": '{"X-Way": "a\\r\\nX-Other: b"}'}, id="headers-with-a-header"),
        pytest.param({"VAULT_HEADERS": "[" * 100_000}, id="headers-deep"),
        pytest.param({"VAULT_CLIENT_TIMEOUT": "soon"}, id="timeout"),
        pytest.param({"VAULT_CLIENT_TIMEOUT": "-1s"}, id="timeout-negative"),
        pytest.param({"VAULT_MAX_RETRIES": "-1"}, id="retries"),
        pytest.param({"VAULT_TOKEN": "two words"}, id="token-with-a-blank"),
        pytest.param({"VAULT_TOKEN": "a\nX-Other: b"}, id="token-with-a-header"),
        pytest.param({"VAULT_PROXY_ADDR": "ftp://proxy.invalid", "VAULT_ADDR": "https://vault.invalid"}, id="proxy"),
    ],
)
def test_malformed_variables(user: User, site: Site, env: dict[str, str]) -> None:
    """What a variable cannot mean is said by its name, and nothing is sent."""
    result = user.get(**env)

    assert result.code == 1
    assert b"internal error" not in result.out
    assert result.told in (
        "vault-variable-malformed",
        "vault-namespace-malformed",
        "vault-token-malformed",
        "net-proxy-url",
    )
    assert site.requests == []
    assert all(value.encode() not in result.out + result.err for value in env.values())


@pytest.mark.parametrize("unit", ["90", "90s", "1m30s", "1.5m", "90000ms"])
def test_timeouts_that_are_understood(user: User, unit: str) -> None:
    """A time-out is a number of seconds or a duration as Go writes it."""
    user.finds(VAULT_CLIENT_TIMEOUT=unit)


def test_nothing_of_hvac_or_requests_is_heeded(far: User, authority: CertificateAuthority) -> None:
    """What hvac reads when it is imported, and what `requests` reads, has no effect beside what goes before it."""
    nothing = str(far.home / "nothing")
    far.finds(
        BAO_CACERT=str(authority.pem),
        **dict.fromkeys(("VAULT_CACERT", "VAULT_CAPATH", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY"), nothing),
        BAO_CLIENT_CERT="",
        BAO_CLIENT_KEY="",
        REQUESTS_CA_BUNDLE=nothing,
        CURL_CA_BUNDLE=nothing,
    )


# --- trust ------------------------------------------------------------------------------------------------------------


def test_authority_by_file_folder_bytes_and_configuration(
    far: User, authority: CertificateAuthority, tmp_path: Path
) -> None:
    """Each way to name an authority lets its server in, in Vault's order."""
    folder = tmp_path / "authorities"
    (folder / "inner").mkdir(parents=True)
    (folder / "ours.pem").symlink_to(authority.pem)
    (folder / "README").write_text("no certificate")
    pem = authority.pem.read_text()
    stranger = trustme.CA().cert_pem.bytes().decode()

    far.finds(VAULT_CACERT=str(authority.pem), VAULT_CACERT_BYTES=stranger)
    far.finds(VAULT_CACERT_BYTES=f"# ours\n{pem}", VAULT_CAPATH=NOWHERE)
    far.finds(VAULT_CAPATH=str(folder))
    far.finds(SSL_CERT_FILE=str(authority.pem))
    far.configure('engine = "kv-v2"', f'ca_file = "{authority.pem}"')
    far.finds(VAULT_CACERT=NOWHERE)


def test_named_authorities_replace_the_systems(far: User, authority: CertificateAuthority, tmp_path: Path) -> None:
    """Who names an authority does not mean all the others."""
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "stranger.pem").write_bytes(stranger.read_bytes())
    theirs = {"SSL_CERT_FILE": str(authority.pem)}

    for named in (
        {"VAULT_CACERT": str(stranger)},
        {"VAULT_CACERT_BYTES": stranger.read_text()},
        {"VAULT_CAPATH": str(folder)},
    ):
        far.fails("no known authority vouches for the certificate of vault", **theirs, **named)


@pytest.mark.parametrize("word", ["true", "1"])
def test_verification_is_never_skipped(far: User, secure: tuple[Site, Proxy], word: str) -> None:
    """VAULT_SKIP_VERIFY is not heeded; the hint says what to do instead, and the token is not sent."""
    before = len(secure[0].requests)
    result = far.fails("no known authority", VAULT_SKIP_VERIFY=word)

    assert b"VAULT_CACERT" in result.err
    assert len(secure[0].requests) == before


def test_server_name(far: User, authority: CertificateAuthority) -> None:
    """The name that the certificate must have is that of the address, or VAULT_TLS_SERVER_NAME."""
    far.env |= {"VAULT_CACERT": str(authority.pem), "VAULT_ADDR": "https://other.acme.example"}

    assert b"VAULT_TLS_SERVER_NAME" in far.fails("the certificate of another host").err
    far.finds(VAULT_TLS_SERVER_NAME=NAME)
    far.fails(
        "the certificate of another host", VAULT_ADDR=f"https://{NAME}", VAULT_TLS_SERVER_NAME="other.acme.example"
    )


def test_times_of_a_certificate(far: User, authority: CertificateAuthority, tmp_path: Path) -> None:
    """An expired certificate and one of the future are told apart from one of a stranger."""
    day = dt.timedelta(days=1)
    now = dt.datetime.now(dt.UTC)
    for words, start, end in (("expired", now - 2 * day, now - day), ("not valid yet", now + day, now + 2 * day)):
        issued = authority._ca.issue_cert(NAME, not_before=start, not_after=end)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(context)
        with Site(vault_says, context) as site, Proxy({NAME: site.port}) as proxy:
            far.fails(words, VAULT_CACERT=str(authority.pem), HTTPS_PROXY=proxy.url)


def test_an_intermediate_authority_is_an_anchor(far: User, tmp_path: Path) -> None:
    """Who trusts an intermediate authority alone needs no root, as with `vault`."""
    middle = trustme.CA().create_child_ca()
    file = tmp_path / "middle.pem"
    middle.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    middle.issue_cert(NAME).configure_cert(context)
    with Site(vault_says, context) as site, Proxy({NAME: site.port}) as proxy:
        far.finds(VAULT_CACERT=str(file), HTTPS_PROXY=proxy.url)


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe", None], ids=["empty", "text", "bytes", "gone"])
def test_broken_authorities(far: User, tmp_path: Path, content: bytes | None) -> None:
    """A file without a certificate trusts nobody, and says so."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)

    far.fails("the certificates that vouch for Vault cannot be read", VAULT_CACERT=str(file))


@pytest.fixture(scope="module")
def strict(authority: CertificateAuthority) -> Iterator[Proxy]:
    """A proxy to a Vault that demands a client's certificate."""
    context = authority.context(NAME)
    context.load_verify_locations(authority.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    with Site(vault_says, context) as site, Proxy({NAME: site.port}) as proxy:
        yield proxy


def test_client_certificate(far: User, authority: CertificateAuthority, strict: Proxy, tmp_path: Path) -> None:
    """The client's certificate goes with its key, from files, bytes of OpenBao's, or the configuration."""
    certificate, key = authority.files("client.acme.example")
    far.env |= {"VAULT_CACERT": str(authority.pem), "HTTPS_PROXY": strict.url}
    pair = {"VAULT_CLIENT_CERT": str(certificate), "VAULT_CLIENT_KEY": str(key)}

    far.finds(**pair)
    far.finds(BAO_CLIENT_CERT_BYTES=certificate.read_text(), BAO_CLIENT_KEY_BYTES=key.read_text())
    far.configure('engine = "kv-v2"', f'certificate_file = "{certificate}"', f'key_file = "{key}"')
    far.finds(VAULT_CLIENT_CERT=NOWHERE, VAULT_CLIENT_KEY=NOWHERE)


def test_client_certificate_that_is_wrong(
    far: User, authority: CertificateAuthority, strict: Proxy, tmp_path: Path
) -> None:
    """Half a pair, a pair that does not match, and an encrypted key, about which nobody is asked, are errors."""
    certificate, key = authority.files("client.acme.example")
    other = authority.files("another.acme.example")[1]
    secret = tmp_path / "secret.pem"
    secret.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n")
    far.env |= {"VAULT_CACERT": str(authority.pem), "HTTPS_PROXY": strict.url}

    far.fails("certificate needs its key", VAULT_CLIENT_CERT=str(certificate))
    far.fails("certificate needs its key", VAULT_CLIENT_KEY=str(key))
    far.fails("belong together", VAULT_CLIENT_CERT=str(certificate), VAULT_CLIENT_KEY=str(other))
    far.fails("belong together", VAULT_CLIENT_CERT=str(certificate), VAULT_CLIENT_KEY=str(secret))
    far.fails("cannot be read", VAULT_CLIENT_CERT=NOWHERE, VAULT_CLIENT_KEY=str(key))


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_loopback_is_never_asked_through_a_proxy(user: User) -> None:
    """A token for a Vault or an agent on this machine is not shown to a proxy."""
    with Proxy({}) as proxy:
        names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "VAULT_HTTP_PROXY", "VAULT_PROXY_ADDR")
        user.finds(**dict.fromkeys(names, proxy.url))

        assert proxy.asked == []


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        pytest.param({"VAULT_PROXY_ADDR": "{}", "HTTPS_PROXY": "http://127.0.0.1:1"}, 1, id="vault-proxy-addr"),
        pytest.param({"VAULT_HTTP_PROXY": "{}", "HTTPS_PROXY": "http://127.0.0.1:1"}, 1, id="vault-http-proxy"),
        pytest.param({"BAO_PROXY_ADDR": "{}", "VAULT_PROXY_ADDR": "http://127.0.0.1:1"}, 1, id="bao"),
        pytest.param({"VAULT_PROXY_ADDR": "{}", "NO_PROXY": "*"}, 1, id="vault-proxy-whatever-others-say"),
        pytest.param({"https_proxy": "{}", "HTTPS_PROXY": "http://127.0.0.1:1"}, 1, id="lower-case"),
        pytest.param({"all_proxy": "{}", "HTTPS_PROXY": ""}, 1, id="all"),
        pytest.param({"HTTPS_PROXY": "{}", "NO_PROXY": ".acme.example"}, 0, id="no-proxy"),
    ],
)
def test_proxies(
    far: User, secure: tuple[Site, Proxy], authority: CertificateAuthority, env: dict[str, str], asked: int
) -> None:
    """Vault's own variables go before the ordinary ones."""
    with Proxy({NAME: secure[0].port}) as proxy:
        result = far.get(
            VAULT_CACERT=str(authority.pem), **{name: value.format(proxy.url) for name, value in env.items()}
        )

        assert result.code == 1 - asked
        assert proxy.asked == [f"{NAME}:443"] * asked


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "place"),
    [(301, "{url}/v1/elsewhere"), (302, "/v1/elsewhere"), (307, "../../../elsewhere"), (308, "{url}/v1/elsewhere")],
)
def test_a_redirect_to_the_same_server_is_followed_once(home: Path, status: int, place: str) -> None:
    """One redirect is followed, with the token, if it stays with the server."""

    def respond(request: Request) -> Response:
        if request.path == PATH:
            return Response(status, headers={"Location": place.format(url=f"http://127.0.0.1:{server.port}")})
        return Response(200, json.dumps(SAID).encode())

    with plain(respond) as server:
        User(home, VAULT_ADDR=f"http://127.0.0.1:{server.port}", VAULT_TOKEN=TOKEN).finds()

        assert [request.path for request in server.requests] == [PATH, "/v1/elsewhere"]
        assert server.requests[1].headers["x-vault-token"] == TOKEN


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("https://{host}/v1/x", id="another-host"),
        pytest.param("//{host}/v1/x", id="another-host-same-scheme"),
        pytest.param("https://{name}:444/v1/x", id="another-port"),
        pytest.param("http://{name}/v1/x", id="without-tls"),
        pytest.param("https://{name}@{host}/v1/x", id="as-a-user"),
        pytest.param("https://{name}:443@{host}/v1/x", id="as-a-user-and-a-word"),
        pytest.param("https://{name}.{host}/v1/x", id="as-a-part"),
        pytest.param("https://{name}:443.{host}/v1/x", id="as-a-part-with-port"),
        pytest.param("https:\\\\{host}/v1/x", id="backslashes"),
        pytest.param("http://169.254.169.254/latest/meta-data/", id="metadata-service"),
        pytest.param("file:///etc/passwd", id="file"),
        pytest.param("http://[", id="no-url"),
        pytest.param("https://{name}:port/v1/x", id="no-port"),
    ],
)
def test_no_redirect_carries_the_token_away(far: User, authority: CertificateAuthority, place: str) -> None:
    """Wherever a redirect leads, not one byte goes there."""
    host = "evil.example"
    with (
        Site(vault_says, authority.context(host, NAME, f"{NAME}.{host}")) as other,
        Site(
            lambda _: Response(307, headers={"Location": place.format(host=host, name=NAME)}),
            authority.context(NAME),
        ) as site,
        Proxy({NAME: site.port, host: other.port, f"{NAME}.{host}": other.port}) as proxy,
    ):
        result = far.get(VAULT_CACERT=str(authority.pem), HTTPS_PROXY=proxy.url, HTTP_PROXY=proxy.url)

        assert result.code == 1
        assert b"internal error" not in result.out
        assert other.requests == []
        assert set(proxy.asked) == {f"{NAME}:443"}
        assert len(site.requests) <= 2
        assert all(request.secure for request in site.requests)


def test_a_redirect_in_a_circle_ends(home: Path) -> None:
    """The second redirect is an error."""
    with plain(lambda _: Response(307, headers={"Location": PATH})) as site:
        User(home, VAULT_ADDR=f"http://127.0.0.1:{site.port}", VAULT_TOKEN=TOKEN).fails("redirects in a circle")

        assert len(site.requests) == 2


# --- retries and time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "env", "requests"),
    [
        pytest.param(500, {}, 3, id="500"),
        pytest.param(502, {}, 3, id="502"),
        pytest.param(503, {}, 3, id="503"),
        pytest.param(412, {}, 3, id="412"),
        pytest.param(501, {}, 1, id="501"),
        pytest.param(500, {"VAULT_MAX_RETRIES": "0"}, 1, id="none"),
        pytest.param(500, {"VAULT_MAX_RETRIES": "4"}, 5, id="four"),
        pytest.param(500, {"BAO_MAX_RETRIES": "1", "VAULT_MAX_RETRIES": "4"}, 2, id="bao"),
        pytest.param(500, {"VAULT_MAX_RETRIES": "999", "VAULT_CLIENT_TIMEOUT": "1s"}, 4, id="not-beyond-the-time-out"),
    ],
)
def test_retries(home: Path, status: int, env: dict[str, str], requests: int) -> None:
    """What may be over in a moment is asked for again, twice or as often as the environment says."""
    with plain(lambda _: Response(status, b'{"errors":["made up"]}')) as site:
        start = time.monotonic()
        User(home, VAULT_ADDR=f"http://127.0.0.1:{site.port}", VAULT_TOKEN=TOKEN).fails("", **env)

        assert len(site.requests) == requests or ("VAULT_CLIENT_TIMEOUT" in env and 1 < len(site.requests) <= requests)
        assert time.monotonic() - start < 7.5 + patience(0.5)


@pytest.mark.parametrize(("status", "wait"), [(500, ""), (429, "1"), (503, "soon"), (429, "")])
def test_a_retry_that_succeeds(home: Path, status: int, wait: str) -> None:
    """One failure is not noticed; what the server says about when to come back is heeded."""

    def respond(request: Request) -> Response:
        if len(server.requests) == 1:
            return Response(status, b"", {"Retry-After": wait} if wait else {})
        return vault_says(request)

    with plain(respond) as server:
        start = time.monotonic()
        User(home, VAULT_ADDR=f"http://127.0.0.1:{server.port}", VAULT_TOKEN=TOKEN).finds()

        assert len(server.requests) == 2
        assert time.monotonic() - start > (1 if wait.isdecimal() else 0.1)


def test_a_long_wait_is_not_waited(home: Path) -> None:
    """A server that wants to be left alone for longer than the call lasts is not asked again."""
    with plain(lambda _: Response(429, b'{"errors":["made up"]}', {"Retry-After": "3600"})) as site:
        start = time.monotonic()
        User(home, VAULT_ADDR=f"http://127.0.0.1:{site.port}", VAULT_TOKEN=TOKEN).fails("limits the rate of requests")

        assert len(site.requests) == 1
        assert time.monotonic() - start < patience(3)


@contextlib.contextmanager
def slow(*pieces: bytes, pause: float) -> Iterator[int]:
    """The port of a server that sends these pieces, then the last one for ever, with pauses."""
    is_over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
            while not is_over.wait(pause):
                connection.sendall(pieces[-1] if pieces else b"")

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=listen, daemon=True).start()
        yield server.getsockname()[1]
        is_over.set()
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((), id="silent"),
        pytest.param((b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"), id="drips-headers"),
        pytest.param((b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b" "), id="drips-a-body"),
        pytest.param((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"), id="drips-chunks"),
    ],
)
def test_a_slow_server_ends_in_time(home: Path, pieces: tuple[bytes, ...]) -> None:
    """A server that is silent, or drips for ever, costs the time-out and no more."""
    with slow(*pieces, pause=0.2) as port:
        start = time.monotonic()
        User(home, VAULT_ADDR=f"http://127.0.0.1:{port}", VAULT_TOKEN=TOKEN).fails(
            "did not answer in time", VAULT_CLIENT_TIMEOUT="1"
        )

        assert time.monotonic() - start < 1 + patience(3)


def test_no_time_out_is_longer_than_the_call(home: Path) -> None:
    """An hour's time-out does not make docker wait for one."""
    with slow(pause=0.2) as port:
        start = time.monotonic()
        User(home, VAULT_ADDR=f"http://127.0.0.1:{port}", VAULT_TOKEN=TOKEN).fails(
            "did not answer in time", VAULT_CLIENT_TIMEOUT="1h"
        )

        assert time.monotonic() - start < 9.8 + patience(0.2)


def test_a_resolver_that_hangs() -> None:
    """No time-out of a library bounds the look-up of a name, but we do."""
    script = """
import socket, time
socket.getaddrinfo = lambda *arguments, **more: time.sleep(60)
from credhelpers.vault.connection import Connection, Server
Connection(Server({b"VAULT_ADDR": b"https://vault.invalid"}, {}), time.monotonic() + 1).request("GET", "sys/health")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)

    assert "did not answer in time" in done.stderr


# --- an agent ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agent(vault: Vault) -> Iterator[tuple[str, str, str]]:
    """An agent with a token of its own before the real server: by TCP, by a socket, and by TCP without its token."""
    vault.call("POST", "sys/mounts/agent-kv", {"type": "kv", "options": {"version": "2"}})
    until(lambda: vault.ask("GET", "agent-kv/data/nothing")[0] == 404, "the mount")
    vault.call("POST", f"agent-kv/data/registries/{HOST}", {"data": SECRET})
    vault.policy("agent", "agent-kv/data/registries/* read")
    vault.call("POST", "sys/auth/agent-approle", {"type": "approle"})
    vault.call("POST", "auth/agent-approle/role/agent", {"token_policies": ["agent"]})
    with Stack() as stack:
        ports = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports.append(free.getsockname()[1])
        role = vault.call("GET", "auth/agent-approle/role/agent/role-id")["data"]["role_id"]
        secret = vault.call("POST", "auth/agent-approle/role/agent/secret-id")["data"]["secret_id"]
        (stack.folder / "role").write_text(role)
        (stack.folder / "secret").write_text(secret)
        method = f"""\
auto_auth {{
  method "approle" {{
    mount_path = "auth/agent-approle"
    config = {{
      role_id_file_path = "{stack.folder}/role"
      secret_id_file_path = "{stack.folder}/secret"
      remove_secret_id_file_after_reading = false
    }}
  }}
  sink "file" {{ config = {{ path = "{stack.folder}/sink" }} }}
}}
cache {{ use_auto_auth_token = true }}
listener "unix" {{
  address = "{stack.folder}/socket"
  tls_disable = true
  require_request_header = true
}}
"""
        for port, more in zip(ports, (method, "cache {}\n"), strict=True):
            (stack.folder / f"{port}.hcl").write_text(f"""\
vault {{ address = "{vault.address}" }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
  require_request_header = true
}}
{more}""")
            service = stack.start(vault.program, "agent", f"-config={stack.folder}/{port}.hcl", env=vault.env)
            service.ready(lambda port=port: _listens(port))  # type: ignore[misc] # a default of this turn
        until((stack.folder / "sink").exists, "the agent's login")
        yield f"http://127.0.0.1:{ports[0]}", f"unix://{stack.folder}/socket", f"http://127.0.0.1:{ports[1]}"
    vault.call("DELETE", "sys/auth/agent-approle")
    vault.call("DELETE", "sys/mounts/agent-kv")


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("engine", ["", 'engine = "kv-v2"'], ids=["detected", "said"])
@pytest.mark.parametrize("which", [0, 1], ids=["tcp", "socket"])
def test_an_agent_needs_no_token(home: Path, agent: tuple[str, str, str], which: int, engine: str) -> None:
    """The agent adds its own token, if it is asked without one."""
    user = User(home)
    user.config.write_text(user.config.read_text().replace('"kv/', '"agent-kv/').replace('engine = "kv-v2"\n', engine))

    user.finds(VAULT_AGENT_ADDR=agent[which])
    user.finds(VAULT_AGENT_ADDR=agent[which], VAULT_ADDR="https://vault.invalid")
    if which == 1:
        user.finds(VAULT_ADDR=agent[which])
    with user.config.open("a") as config:
        config.write(f'\naddress = "{agent[which]}"\nauth = "agent"\n')
    user.finds(VAULT_TOKEN=TOKEN)  # the agent's identity is meant, and no other


def test_an_agent_is_asked_with_the_token_that_is_there(home: Path, agent: tuple[str, str, str], vault: Vault) -> None:
    """A token of the environment goes through the agent, and is the one that counts."""
    user = User(home, VAULT_AGENT_ADDR=agent[0])
    user.config.write_text(user.config.read_text().replace('"kv/', '"agent-kv/'))
    vault.policy("nothing", "agent-kv/data/nothing read")

    user.finds(VAULT_TOKEN=vault.token_for("agent"))
    user.fails("denied permission", VAULT_TOKEN=vault.token_for("nothing"))
    user.fails("does not accept the token", VAULT_TOKEN=TOKEN)


def test_an_agent_without_a_token(home: Path, agent: tuple[str, str, str]) -> None:
    """An agent that adds no token is told apart from a policy."""
    user = User(home, VAULT_AGENT_ADDR=agent[2])
    user.config.write_text(user.config.read_text().replace('"kv/', '"agent-kv/'))

    assert b"use_auto_auth_token" in user.fails("agent adds no token").err


def test_a_socket_without_an_agent(user: User, tmp_path: Path) -> None:
    """A socket that is not there, or nobody listens to, is said to be one."""
    left = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(left))

    user.fails("no agent of Vault at the socket", VAULT_ADDR=f"unix://{left}")
    user.fails("no agent of Vault at the socket", VAULT_ADDR=f"unix://{tmp_path}/nothing")
    user.fails("longer than a socket's may be", VAULT_ADDR=f"unix:///run/{'x' * 103}")


# --- the token that is there ------------------------------------------------------------------------------------------


def test_tokens_of_the_environment_and_of_the_file(user: User, site: Site, tmp_path: Path) -> None:
    """OpenBao's variable goes before Vault's, an empty one leads on to the file."""
    file = user.home / ".vault-token"
    file.write_text("of-the-file\r\n")
    file.chmod(0o600)
    other = tmp_path / "sink"
    other.write_text("of-an-agent")
    other.chmod(0o640)  # as an agent writes it

    for env, token in (
        ({"BAO_TOKEN": "of-bao"}, "of-bao"),
        ({"BAO_TOKEN": ""}, "of-the-file"),
        ({"VAULT_TOKEN": ""}, "of-the-file"),
        ({"VAULT_TOKEN": "", "BAO_TOKEN_PATH": str(other)}, "of-an-agent"),
        ({"VAULT_TOKEN": "", "BAO_TOKEN_PATH": ""}, "of-the-file"),
    ):
        user.finds(**env)
        assert site.requests[-1].headers["x-vault-token"] == token


def test_no_token(user: User, site: Site) -> None:
    """Without a token nothing is asked."""
    user.fails("there is no Vault token", VAULT_TOKEN="")

    assert site.requests == []


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        pytest.param(b"of-the-file", 0o604, "open to others", id="others-may-read"),
        pytest.param(b"of-the-file", 0o620, "open to others", id="group-may-write"),
        pytest.param(b"two words", 0o600, "not a token", id="blank"),
        pytest.param(b"a\nX-Vault-Token: b", 0o600, "not a token", id="header"),
        pytest.param(b"\xff\xfe", 0o600, "not a token", id="bytes"),
        pytest.param(b"a" * 100_000, 0o600, "not one", id="long"),
        pytest.param(b"", 0o600, "there is no Vault token", id="empty"),
    ],
)
def test_files_that_hold_no_token(user: User, site: Site, content: bytes, mode: int, words: str) -> None:
    """A file that others had their hands on, or that holds something else, is not used."""
    file = user.home / ".vault-token"
    file.write_bytes(content)
    if mode & 0o020:  # by a group of others: the owner's private one does not count
        need_root("a file of another group")
        os.chown(file, -1, 12345)
    file.chmod(mode)
    user.fails(words, VAULT_TOKEN="")

    assert site.requests == []


def test_a_token_file_is_named_where_it_must_be_mended(user: User, tmp_path: Path) -> None:
    """There are several places where it may be, so the hint says which one it is."""
    file = tmp_path / "sink"
    file.write_bytes(b"of-the-file")
    file.chmod(0o604)

    result = user.fails("open to others", VAULT_TOKEN="", BAO_TOKEN_PATH=str(file))

    assert f"run `chmod go-w,o-r` on it ({file})".encode() in result.err


def test_a_token_file_that_is_none(user: User, tmp_path: Path) -> None:
    """A directory, a pipe and a device are no files, and nobody waits for them."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (tmp_path, pipe, "/dev/zero"):
        user.fails("the token's file", VAULT_TOKEN="", BAO_TOKEN_PATH=str(place))


@pytest.fixture
def helper(user: User) -> Path:
    """A token helper that answers with what it was called with, named in ~/.vault."""
    program = user.home / "token-helper"
    program.write_text('#!/bin/sh\nread line\necho "of-$1-$#-$line"\n')
    program.chmod(0o755)
    (user.home / ".vault").write_text(f'# where the token is\ntoken_helper = "{program}"\n')
    user.env["VAULT_TOKEN"] = ""
    return program


def test_token_helper(user: User, site: Site, helper: Path, tmp_path: Path) -> None:
    """The helper is called with `get` and nothing to read; what `vault` would ask, is asked."""
    user.finds()
    assert site.requests[-1].headers["x-vault-token"] == "of-get-1-"

    (user.home / ".vault").rename(tmp_path / "config")
    user.fails("there is no Vault token")
    user.finds(VAULT_CONFIG_PATH=str(tmp_path / "config"))
    (tmp_path / "config").rename(user.home / ".bao")
    user.finds()
    (user.home / ".bao").rename(user.home / "elsewhere")
    user.finds(BAO_CONFIG_PATH="~/elsewhere", VAULT_CONFIG_PATH=NOWHERE)
    user.finds(VAULT_TOKEN=TOKEN, VAULT_CONFIG_PATH="~/elsewhere")
    assert site.requests[-1].headers["x-vault-token"] == TOKEN


@pytest.mark.parametrize(
    ("text", "is_run"),
    [
        ('/*\ntoken_helper = "PROGRAM"\n*/\n', False),
        ('# token_helper = "PROGRAM"\n', False),
        ('other = "x"\ntoken_helper = "PROGRAM" # the one\n', True),
        ('{"other": 1, "token_helper": "PROGRAM"}', True),
        ('token_helper = ""\n', False),
        ("", False),
    ],
)
def test_where_a_token_helper_is_named(user: User, helper: Path, text: str, *, is_run: bool) -> None:
    """It is read as `vault` reads it: what stands in a comment is not run, and nothing that is named is passed over."""
    helper.write_text("#!/bin/sh\nexit 3\n")
    (user.home / ".vault").write_text(text.replace("PROGRAM", str(helper)))

    said = user.get().out
    assert (b"token helper of Vault failed" in said) is is_run, said


def test_a_configuration_of_vault_that_is_not_hcl(user: User, helper: Path) -> None:
    """`vault` does not go on without its helper, nor do we with another identity."""
    (user.home / ".vault").write_text('\ntoken_helper = "/x\n')

    user.fails("configuration file of `vault` is not HCL: line 2")


def test_a_token_helper_without_a_token(user: User, helper: Path) -> None:
    """A helper that has no token stands for having none, and the file is not looked at."""
    helper.write_text("#!/bin/sh\n")
    (user.home / ".vault-token").write_text("of-the-file")
    (user.home / ".vault-token").chmod(0o600)

    user.fails("there is no Vault token")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("echo made-up-word; exit 1", "failed", id="fails"),
        pytest.param("echo two words", "not a token", id="no-token"),
        pytest.param("head -c 200000 /dev/zero | tr '\\0' a", "failed", id="endless"),
        pytest.param("echo made-up-word >&2; kill -9 $$", "failed", id="killed"),
    ],
)
def test_token_helpers_that_fail(user: User, site: Site, helper: Path, script: str, words: str) -> None:
    """What a helper says when it fails is not shown."""
    helper.write_text(f"#!/bin/sh\n{script}\n")
    result = user.fails(words)

    assert b"made-up-word" not in result.out + result.err
    assert site.requests == []


def test_a_token_helper_that_hangs(user: User, helper: Path, tmp_path: Path) -> None:
    """It ends with the call, and its children too."""
    helper.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {tmp_path}/child; wait\n")
    start = time.monotonic()
    user.fails("did not end in time")

    assert time.monotonic() - start < 9.8 + patience(0.2)
    child = int((tmp_path / "child").read_text())
    until(lambda: not os.path.exists(f"/proc/{child}/cmdline") or _is_dead(child), "the helper's child")  # noqa: PTH110


def _is_dead(number: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{number}/stat") as file:  # noqa: PTH123 - no path of ours
        return file.read().split()[2] == "Z"
    return True


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda program, config: program.chmod(0o777), id="others-may-write-it"),
        pytest.param(lambda program, config: program.parent.chmod(0o777), id="others-may-replace-it"),
        pytest.param(lambda program, config: config.chmod(0o666), id="others-may-name-it"),
        pytest.param(lambda program, config: config.write_text('token_helper = "token-helper"'), id="relative"),
        pytest.param(lambda program, config: config.write_text(f'token_helper = "{program} x"'), id="with-words"),
        pytest.param(lambda program, config: config.write_text('token_helper = "/usr/bin"'), id="directory"),
        pytest.param(lambda program, config: program.chmod(0o644), id="not-executable"),
    ],
)
def test_token_helpers_that_are_not_run(
    user: User, site: Site, helper: Path, spoil: Callable[[Path, Path], object]
) -> None:
    """A helper that somebody else could have put there is not run."""
    helper.write_text(f"#!/bin/sh\ntouch {user.home}/was-run\n")
    spoil(helper, user.home / ".vault")
    user.fails("")

    assert not (user.home / "was-run").exists()
    assert site.requests == []


def test_a_token_helper_named_by_another_user(user: User, site: Site, helper: Path) -> None:
    """A configuration that belongs to somebody else starts nothing, but a token may have been written for us."""
    need_root("a file of another user")
    os.chown(user.home / ".vault", 12345, 12345)
    user.fails("open to others")
    assert site.requests == []

    (user.home / ".vault").unlink()
    file = user.home / ".vault-token"
    file.write_text("of-the-file")
    file.chmod(0o640)
    os.chown(file, 12345, 12345)
    user.finds()


def test_an_empty_variable_that_counts_is_another_identity(user: User, site: Site) -> None:
    """Whoever unsets the token of the environment for `bao` is not answered with what that token could read."""
    user.env |= {"CREDHELPERS_CACHE_DIR": str(user.home / "cache"), "VAULT_CONFIG_PATH": NOWHERE}
    file = user.home / ".vault-token"
    file.write_text("token-of-the-file")
    file.chmod(0o600)
    user.finds(BAO_CLUSTER_ADDR="")
    user.finds(BAO_TOKEN="")

    assert [request.headers["x-vault-token"] for request in site.requests] == [TOKEN, "token-of-the-file"]


def test_another_token_is_another_identity(user: User, site: Site, helper: Path) -> None:
    """What one token could read is not answered to another one out of the cache."""
    user.env |= {"CREDHELPERS_CACHE_DIR": str(user.home / "cache"), "VAULT_CONFIG_PATH": NOWHERE}
    file = user.home / ".vault-token"
    for number in range(2):
        file.write_text(f"token-{number}")
        file.chmod(0o600)
        user.finds()
        user.finds()
    user.finds(BAO_TOKEN="token-2")
    user.finds(VAULT_CONFIG_PATH="~/.vault")
    user.finds(VAULT_NAMESPACE="other")

    assert [request.headers["x-vault-token"] for request in site.requests] == [
        *("token-0", "token-1", "token-2", "of-get-1-", "token-1")
    ]
