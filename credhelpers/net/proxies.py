"""Which proxy stands on the way to a host, as the ordinary variables say it.

`HTTPS_PROXY` and `HTTP_PROXY` by the scheme, else `ALL_PROXY`, unless `NO_PROXY` has the host; each in lower case
first, as curl reads them. In `NO_PROXY` stand `*`, hosts, domains (with a dot in front or not), addresses, networks.
"""

from credhelpers.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment


class Proxy:
    """One of HTTP: its URL without a login, what it is called in a message, and the headers that log in there."""

    __slots__ = ("headers", "name", "url")

    def __init__(self, text: str, hint: str) -> None:
        """Read the URL; one without a scheme is `http`. Raises Unavailable for what is no URL of an HTTP proxy."""
        from urllib3.util import parse_url

        try:
            parts = parse_url(text if "://" in text else f"http://{text}")
            is_more = parts.query or parts.fragment or parts.path not in (None, "/")  # as where a login is not escaped
            if parts.scheme not in ("http", "https") or not parts.host or is_more:
                raise ValueError
        except ValueError:  # urllib3's LocationParseError is one
            raise Unavailable("net-proxy-url", "the URL of the proxy is not one of HTTP", hint) from None
        self.name = f"{parts.host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        self.url = f"{parts.scheme}://{self.name}"
        self.headers = {"proxy-authorization": f"Basic {_login(parts.auth)}"} if parts.auth else {}


_HINT = "write HTTPS_PROXY as `http://HOST:PORT`; `printenv HTTPS_PROXY ALL_PROXY NO_PROXY` shows what it is"


def on_the_way(environ: "Environment", scheme: str, host: str) -> Proxy | None:
    """The proxy for this host, which is in lower case, or None. Raises Unavailable for a URL of none."""
    text = _said(environ, f"{scheme}_proxy") or _said(environ, "all_proxy")
    return Proxy(text, _HINT) if text and not _is_past(host, _said(environ, "no_proxy")) else None


def _said(environ: "Environment", name: str) -> str:
    return (environ.get(name.encode()) or environ.get(name.upper().encode(), b"")).decode("utf-8", "replace").strip()


def _is_past(host: str, no_proxy: str) -> bool:
    from ipaddress import ip_address, ip_network

    host = host.strip("[]")
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    for word in no_proxy.lower().replace(",", " ").split():
        name = word.partition(":")[0] if word.count(":") == 1 else word.strip("[]")  # a port does not matter
        if name == "*":
            return True
        if address:
            try:
                if address in ip_network(name, strict=False):
                    return True
            except ValueError:
                pass
        elif host == name.lstrip(".") or host.endswith("." + name.lstrip(".")):
            return True
    return False


def _login(text: str) -> str:
    """As curl sends it: the bytes that are escaped, and a colon also where there is no password."""
    from binascii import b2a_base64
    from urllib.parse import unquote_to_bytes

    user, _, password = text.partition(":")
    return b2a_base64(unquote_to_bytes(user) + b":" + unquote_to_bytes(password), newline=False).decode("ascii")
