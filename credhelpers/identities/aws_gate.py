"""Where requests to AWS may go, and how: with the house's one client of HTTP."""

import os

from urllib3.util import parse_url

from credhelpers.identities import aws_errors
from credhelpers.identities.aws_selectors import expanded
from credhelpers.net import trust
from credhelpers.net.aws import Session
from credhelpers.net.failures import NoAnswer
from credhelpers.net.wire import Peer, Wire
from credhelpers.servers import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.identities.aws_reasons import Reasons
    from credhelpers.identities.aws_session import Session as AwsSession
    from credhelpers.net.wire import Answer

_CONNECT, _READ = 2.0, 4.0  # seconds for a connection, and in all for each of the attempts
_AWS = Peer("AWS")
# As people call the services whose names they would not know.
_NAMES = {"ecr-public": "ECR Public", "sso-oidc": "SSO"}


class Gate:
    """Looks at every request of a session, which is signed by then, and sends what may go, until `until`.

    region: the one whose STS is asked for roles
    """

    def __init__(self, session: "AwsSession", region: str, reasons: "Reasons", until: float) -> None:
        self._session = session
        self._region = region
        self._reasons = reasons
        self._wire = Wire(session.environ, until, self._trust)
        self._http = Session(self._ask)
        self._destinations: dict[str, Callable[[str], bool]] = {}
        session.register("before-send", self._pass)
        session.register("before-parameter-build.sts", self._check_role)

    def allow(self, service: str, is_destination: "Callable[[str], bool]") -> None:
        """Send requests to the service only to hosts that are a destination; those to others go where botocore says."""
        self._destinations[service] = is_destination

    def endpoint(self, service: str, chosen: str | None = None) -> str | None:
        """The URL at which the service is asked: the chosen one, else what the user has set for botocore, if anything.

        Raises Unavailable for one to which nothing may go.
        """
        url = chosen or self._session.endpoint(service)
        if url and not _is_safe(url):
            raise self._reasons.unavailable(aws_errors.UNSAFE_ENDPOINT)
        return url

    def _check_role(self, params: "dict[str, Any]", **_: object) -> None:
        """Raise if STS is asked for a role of another partition, which it has not: it would hear who we are.

        Called by botocore before each request to it is made.
        """
        kind, *rest = str(params.get("RoleArn", "")).split(":")
        if kind == "arn" and rest[:1] != [self._session.get_partition_for_region(self._region)]:
            raise self._reasons.unavailable(aws_errors.FOREIGN_ROLE)

    def _pass(self, request: "Any", event_name: str, **_: object) -> "Any":
        """The response. Called by botocore before each request to any service."""
        service = event_name.split(".")[1]
        self._reasons.asked = _NAMES.get(service, service.upper())
        if not _is_safe(request.url):
            raise self._reasons.unavailable(aws_errors.UNSAFE_ENDPOINT)
        if any(b"\n" in value or b"\r" in value for value in request.headers.values() if isinstance(value, bytes)):
            raise self._reasons.unavailable(aws_errors.BROKEN_LINE)  # else `http.client` would, in the middle of it
        is_destination = self._destinations.get(service)
        if is_destination and not is_destination(parse_url(request.url).host or ""):
            raise self._reasons.unavailable(aws_errors.FOREIGN_ENDPOINT)
        return self._http.send(request)

    def _ask(
        self, method: str, place: tuple[str, str, int, str], body: bytes | None, headers: "Mapping[str, str]"
    ) -> "Answer":
        try:
            return self._wire.ask(
                _AWS, method, place, body=body, headers=headers, seconds=_READ, connect=_CONNECT, may_redirect=True
            )
        except NoAnswer as error:
            if error.code == "net-strange-answer":  # and would be the next time
                raise self._reasons.senseless() from None
            raise

    def _trust(self) -> "ssl.SSLContext":
        """Trust in what AWS_CA_BUNDLE or `ca_bundle` of the profile names, else as in all of this house."""
        path = self._session.get_config_variable("ca_bundle")
        if not path:
            return trust.context(self._session.environ)
        found = trust.bare()
        try:
            trust.add(found, expanded(os.fsencode(path), self._session.environ))
        except (OSError, ValueError):
            raise self._reasons.unavailable(aws_errors.UNREADABLE_CERTIFICATES) from None
        return found


def _is_safe(url: str) -> bool:
    """Whether secrets go there in TLS, or no further than this machine. Raises ValueError for what is no URL."""
    parts = parse_url(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.host or ""))
