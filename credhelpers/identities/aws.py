"""Who calls AWS: a session of boto3, signed in with what is configured on this machine.

boto3 finds the credentials and signs. What is set here is what a credential helper needs otherwise than a script:
everything ends in time, nothing prompts, roles are shared with the AWS CLI, a request goes where it is meant to go, and
each failure has a sentence of its own. All of that is the session's own: other calls in this process see none of it.

No SDK is loaded with this module, so that its absence is an answer, too.
"""

import posix
import time
from functools import partial
from typing import TypeVar

from credhelpers.deadline import Late, within
from credhelpers.errors import DeadlinePassed, Unavailable
from credhelpers.identities import aws_errors
from credhelpers.net import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.identity import Environment

Result = TypeVar("Result")

BUDGET = 8.5  # seconds for everything; the clock of the whole call strikes after 9.5 and knows no particulars

# docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
_IDENTITY = "Action=GetCallerIdentity&Version=2011-06-15"


class Caller:
    """Who calls a service of AWS, in one region: nobody yet, until `sign_in`.

    boto3:   the `boto3.Session`
    session: botocore's behind it
    reasons: what is said if nothing comes of the call
    gate:    where its requests may go
    is_dual_stack: whether STS must have an address of IPv6, too
    """

    def __init__(
        self, region: str, settings: "Mapping[str, str]", until: float, environ: "Environment" = posix.environ
    ) -> None:
        import boto3

        from credhelpers.identities.aws_gate import Gate
        from credhelpers.identities.aws_reasons import Reasons
        from credhelpers.identities.aws_session import Session

        self.region = region
        self.session = Session(settings.get("profile"), environ)
        self.boto3 = boto3.Session(botocore_session=self.session)
        self.reasons = Reasons(self.session, is_profile_chosen="profile" in settings)
        self.gate = Gate(self.session, region, self.reasons, until)
        self.is_dual_stack = False
        self._settings = settings
        self._until = until

    def sign_in(self) -> None:
        """Find credentials and, where a role is set, assume it. Raises HelperError, and whatever botocore does."""
        found = self.credentials()
        try:
            if "role_arn" in self._settings:
                self._assume(found)
            else:
                found.get_frozen_credentials()  # a profile's role is assumed here, before the price of a client
        except RuntimeError:
            raise self.reasons.too_old() from None

    def sign_in_by(self, access: str, secret: str, session: str) -> None:
        """Be whose keys these are; `session` is "" for a user's. No profile that a variable names has a say."""
        self.session.choose_profile(None)
        self.session.set_credentials(access, secret, session or None)

    def credentials(self) -> "Any":
        """The credentials as botocore has them, which may have to be fetched yet. Raises as `sign_in`."""
        from credhelpers.identities import aws_chain

        is_profile_alone = "profile" in self._settings
        chain = aws_chain.make(
            self.session, self._clients(), self.reasons, self._until, is_profile_alone=is_profile_alone
        )
        self.session.register_component("credential_provider", chain)
        found = self.session.get_credentials()
        if found is None:
            raise self.reasons.lacking()
        self.reasons.method = found.method
        return found

    def _clients(self) -> "Callable[..., Any]":
        from credhelpers.identities import aws_chain

        return aws_chain.clients(self.session, self.region, is_dual_stack=self.is_dual_stack)

    def _assume(self, base: "Any") -> None:
        """Let the session have the role of the settings, assumed by `base`, from the AWS CLI's cache if it is there.

        The file has the name that it gets for a profile with the same role, external id and session name.
        """
        from botocore.credentials import AssumeRoleCredentialFetcher

        from credhelpers.identities.aws_cache import Roles

        arguments = {"external_id": "ExternalId", "session_name": "RoleSessionName"}
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=self._clients(),
            source_credentials=base,
            role_arn=self._settings["role_arn"],
            extra_args={name: self._settings[key] for key, name in arguments.items() if key in self._settings},
            cache=Roles.of_cli(self.session.environ),
        )
        role = fetcher.fetch_credentials()
        self.reasons.method = "assume-role"
        self.session.set_credentials(role["access_key"], role["secret_key"], role["token"])


def answered(
    work: "Callable[[Caller], Result]",
    region: str,
    settings: "Mapping[str, str]",
    seconds: float,
    environ: "Environment",
) -> "Result":
    """What `work` makes with a caller, whom `profile`, `role_arn`, `external_id` and `session_name` choose, in seconds.

    Where these choose nobody the variables do. Raises HelperError only.
    """
    until = time.monotonic() + seconds
    try:
        import boto3  # noqa: F401 - whether it is here; a slow disk's seconds are part of the time
    except ImportError:
        from credhelpers.identities.aws_reasons import install

        raise Unavailable(
            "ecr-sdk-missing", "boto3, which talks to AWS, is not installed", f"run `{install('boto3')}`"
        ) from None
    caller = Caller(region, settings, until, environ)
    try:
        return within(until - time.monotonic(), lambda: _explained(caller, work))
    except Late:
        raise caller.reasons.late() from None
    except DeadlinePassed:
        child.end_all()
        raise


def _explained(caller: Caller, work: "Callable[[Caller], Result]") -> "Result":
    """What `work` makes. Raises HelperError only."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        # Each may name a command, and nobody's command is to run because of where docker was called.
        for name in ("config_file", "credentials_file"):
            if (path := caller.session.get_config_variable(name)) and not path.startswith("/"):
                raise caller.reasons.unavailable(aws_errors.RELATIVE_FILE)
        return work(caller)
    except (
        BotoCoreError,
        ClientError,
        OSError,
        # What the SDK lets through of malformed settings and answers; it documents none of them.
        *(AttributeError, LookupError, OverflowError, ResponseParserError, RuntimeError, TypeError, ValueError),
    ) as error:
        raise caller.reasons.of(error) from None


class SignedRequest:
    """A request that is signed and not sent: `POST` to `url`."""

    __slots__ = ("body", "headers", "url")

    def __init__(self, url: str, headers: "dict[str, str]", body: str) -> None:
        self.url = url
        self.headers = headers
        self.body = body


def caller_identity(
    region: str,
    profile: str | None,
    headers: "Mapping[str, str]",
    seconds: float,
    environ: "Environment" = posix.environ,
) -> SignedRequest:
    """`GetCallerIdentity` for the STS of `region`, for somebody else to send; `headers` are signed with it.

    The endpoint is the region's own, that of AWS_ENDPOINT_URL_STS if it is set, and for us-east-1 the global one, as
    those who verify such requests have it. Of STS itself nothing is asked but what the credentials need. Raises
    Unavailable, within the seconds.
    """
    return answered(partial(_signed, headers), region, {"profile": profile} if profile else {}, seconds, environ)


def _signed(headers: "Mapping[str, str]", caller: Caller) -> SignedRequest:
    from botocore import auth, awsrequest
    from botocore.exceptions import UnknownRegionError

    session, region = caller.session, caller.region
    try:
        session.get_partition_for_region(region)
    except UnknownRegionError:
        raise caller.reasons.unavailable(aws_errors.UNKNOWN_STS_REGION) from None
    endpoint = caller.gate.endpoint("sts")
    found = caller.credentials()
    try:
        frozen = found.get_frozen_credentials()
    except RuntimeError:
        raise caller.reasons.too_old() from None
    where = "legacy" if region == "us-east-1" else "regional"  # botocore's words for global or not
    session.set_config_variable("sts_regional_endpoints", where)
    client = caller.boto3.client("sts", region_name=region, endpoint_url=endpoint)
    url = client.meta.endpoint_url.removesuffix("/") + "/"
    content_type = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = awsrequest.AWSRequest("POST", url, {**content_type, **headers}, _IDENTITY)
    auth.SigV4Auth(frozen, "sts", region).add_auth(request)  # a client would send it, too
    return SignedRequest(url, dict(request.headers.items()), _IDENTITY)
