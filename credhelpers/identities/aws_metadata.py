"""The services that give a machine (EC2) or a container (ECS, EKS) its role, with the patience of `net.patience`.

"Use IMDS" of EC2's user guide; docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from time import monotonic, sleep

from botocore.credentials import ContainerProvider, InstanceMetadataProvider
from botocore.exceptions import BotoCoreError, CredentialRetrievalError
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher, resolve_imds_endpoint_mode

from credhelpers.identities import aws_errors
from credhelpers.net.aws import Session
from credhelpers.net.failures import NoAnswer
from credhelpers.net.patience import Patience
from credhelpers.net.wire import Peer, Wire
from credhelpers.servers import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.identities.aws_reasons import Reasons
    from credhelpers.identities.aws_session import Session as AwsSession
    from credhelpers.identity import Environment
    from credhelpers.net.wire import Answer

# Of ECS and of EKS: "Container credential provider" of the SDKs' reference.
_CONTAINERS = ("169.254.170.2", "169.254.170.23", "[fd00:ec2::23]")
_PEER = Peer("the service for credentials")
_NO_ROLE = 404  # RFC 9110: of an instance without one
_USUAL = 1  # second, and attempt: botocore's own defaults, which nobody has said
_HASTE = 1.0  # second that a token always has, see `_Service.ask`
_WORTH = 0.3  # seconds: with less it is not asked again
_LAST = 0.3  # seconds in which it is said who was late


class Instance(InstanceMetadataProvider):  # type: ignore[misc] # botocore has no types
    """botocore's provider for EC2, which tells a late service from none.

    is_named: whether a setting says that there is such a service
    """

    def __init__(self, session: "AwsSession", reasons: "Reasons", until: float, *, is_named: bool) -> None:
        said = session.get_config_variable("metadata_service_timeout")
        said *= session.get_config_variable("metadata_service_num_attempts")
        said = float(said) if said != _USUAL else 0.0
        self._service = _Service(session.environ, until, is_named=is_named, said=said)
        self._reasons = reasons
        super().__init__(_Fetcher(session, self._service))

    def load(self) -> "Any":
        """The credentials, or None where nobody is. Raises Unavailable if it is there, or ought to be, and fails."""
        try:
            if found := super().load():
                return found
        except BotoCoreError:
            if not self._service.is_late:
                raise
        except (LookupError, TypeError, ValueError):  # an answer that makes no sense
            pass
        if self._service.is_late:
            cause = aws_errors.LATE_METADATA if self._service.is_there else aws_errors.SILENT_METADATA
            raise self._reasons.unavailable(cause, address=self._service.address)
        if self._service.is_broken:
            raise self._reasons.unavailable(aws_errors.BROKEN_METADATA, address=self._service.address)
        return None


class _Fetcher(InstanceMetadataFetcher):  # type: ignore[misc] # botocore has no types
    """botocore's, by the settings of the session, as its own chain makes it."""

    def __init__(self, session: "AwsSession", service: "_Service") -> None:
        settings = ("ec2_metadata_service_endpoint", "ec2_metadata_v1_disabled")
        super().__init__(
            timeout=session.get_config_variable("metadata_service_timeout"),
            num_attempts=session.get_config_variable("metadata_service_num_attempts"),
            env=session.variables,
            user_agent=session.user_agent(),
            config={name: session.get_config_variable(name) for name in settings}
            | {"ec2_metadata_service_endpoint_mode": resolve_imds_endpoint_mode(session)},
        )
        self._session = Session(service.ask)  # there is no public way


class Container(ContainerProvider):  # type: ignore[misc] # botocore has no types
    """botocore's provider for ECS and EKS, whose service is there wherever its variable is set."""

    def __init__(self, session: "AwsSession", reasons: "Reasons", until: float) -> None:
        self._reasons = reasons
        self._service = _Service(session.environ, until, is_named=True)
        super().__init__(session.variables, ContainerMetadataFetcher(Session(self._ask), self._service.sleep))

    def load(self) -> "Any":
        """The credentials, or None where no variable names it. Raises CredentialRetrievalError, Unavailable."""
        try:
            return super().load()
        except (LookupError, OSError, TypeError, ValueError):  # an answer or a URL that makes no sense
            raise CredentialRetrievalError(provider=self.METHOD, error_msg="") from None

    def _ask(self, *request: "Any") -> "Answer":
        scheme, host, *_ = request[1]
        if scheme != "https" and not (is_loopback(host) or host in _CONTAINERS):
            raise ValueError("in clear to another machine")  # botocore has looked, by another reading of the URL
        try:
            return self._service.ask(*request)
        except NoAnswer:
            if self._service.is_late:  # botocore would ask again
                raise self._reasons.unavailable(aws_errors.LATE_CONTAINER, address=self._service.address) from None
            raise


class _Service:
    """The requests to one service, none through a proxy."""

    def __init__(self, environ: "Environment", until: float, *, is_named: bool, said: float = 0.0) -> None:
        self._until = until - _LAST
        self._is_named = is_named
        self._said = said
        self._wire = Wire(environ, self._until, is_proxied=False)
        self._patience: Patience | None = None
        self._error: NoAnswer | None = None
        self._status = 0
        self._has_token = False
        self.address = ""

    @property
    def is_late(self) -> bool:
        """See `Patience`."""
        return self._patience is not None and self._patience.is_late

    @property
    def is_there(self) -> bool:
        """Whether it is known to be: somebody named it, or it was heard."""
        return (self._error is not None and not self._error.is_silent) or (
            self._patience is not None and self._patience.is_sure
        )

    @property
    def is_broken(self) -> bool:
        """Whether it is Amazon's, or somebody says so, and it neither gives credentials nor says that there is no role.

        At the same address other clouds have services that do not know what is asked. Theirs give no token (PUT).
        """
        is_amazon_s = self._is_named or self._has_token
        return is_amazon_s and (self._error is not None or self._status not in (0, _NO_ROLE))

    def sleep(self, seconds: float) -> None:
        """Wait before it is asked anew, within the time."""
        sleep(max(min(seconds, self._until - monotonic()), 0.0))

    def ask(
        self, method: str, place: tuple[str, str, int, str], body: bytes | None, headers: "Mapping[str, str]"
    ) -> "Answer":
        """See `net.aws.Session`.

        What gives no token (PUT) in half of the time is asked without: from a container whose hop is one too many,
        such a request is heard and its answer is lost.
        """
        _, host, port, _ = place
        self.address = host if port == 80 else f"{host}:{port}"  # noqa: PLR2004 - RFC 9110, 4.2.1
        if self._patience is None:
            self._patience = Patience("amazon", host, self._until, is_named=self._is_named, said=self._said)
        elif self._error and self._patience.seconds < _WORTH:
            raise self._error  # lest the little time that is left decides what was heard

        def once(connect: float, seconds: float) -> "Answer":
            if method == "PUT":
                seconds = min(seconds, max(seconds / 2, _HASTE))
            return self._wire.ask(
                _PEER, method, place, body=body, headers=headers, seconds=seconds, connect=connect, may_redirect=True
            )

        try:
            answer = self._patience.ask(once)
        except NoAnswer as error:
            self._error = error
            raise
        self._error, self._status = None, answer.status
        self._has_token |= method == "PUT" and answer.status == 200  # noqa: PLR2004 - RFC 9110
        return answer
