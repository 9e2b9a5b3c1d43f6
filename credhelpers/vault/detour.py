"""Ways to Vault that are not straight: through a proxy, by a socket of this machine."""

from credhelpers import peer
from credhelpers.net.proxies import Proxy, on_the_way
from credhelpers.vault.transport_errors import PROXY, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from credhelpers.identity import Environment

    Variable = Callable[[Environment, str], str]


def proxy(environ: "Environment", scheme: str, host: str, variable: "Variable") -> Proxy | None:
    """The proxy on the way there: of Vault's variables, else of the ordinary ones. Raises Unavailable for a bad one."""
    own = variable(environ, "PROXY_ADDR") or variable(environ, "HTTP_PROXY")
    return Proxy(own, PROXY) if own else on_the_way(environ, scheme, host)


def by_socket(path: str, seconds: float) -> "Any":
    """The connections to the socket. As bytes: a text goes in the locale's encoding, and another one may be asked."""
    import socket

    from urllib3 import HTTPConnectionPool
    from urllib3.connection import HTTPConnection

    address = path.encode("utf-8", "surrogateescape")

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                found.settimeout(seconds)
                found.connect(address)
                if not peer.is_meant(found, address):
                    raise failed("vault-agent-foreign")
            except (FileNotFoundError, ConnectionRefusedError, PermissionError):
                found.close()
                raise failed("vault-agent-absent") from None
            except OSError as error:
                found.close()
                if error.errno is None and "AF_UNIX" in str(error):
                    raise failed("vault-agent-path") from None
                raise
            except BaseException:
                found.close()
                raise
            return found

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool("localhost")
