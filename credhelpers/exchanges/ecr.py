"""What Amazon's registries want: the token of `GetAuthorizationToken`, for whoever is signed in.

docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html, and that of ECR Public.
"""

import posix
import time

from credhelpers import lifetimes
from credhelpers.credential import Credential
from credhelpers.errors import NoIdentity, Unavailable, Unknown
from credhelpers.identities import aws, aws_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.exchanges.ecr_hosts import EcrHost
    from credhelpers.identities.aws import Caller
    from credhelpers.identity import Environment

# Where the APIs of a partition are: `dnsSuffix` and `dualStackDnsSuffix` of botocore's partitions.json.
_DOMAINS = {
    "aws": ("amazonaws.com", "api.aws"),
    "aws-us-gov": ("amazonaws.com", "api.aws"),
    "aws-cn": ("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    "aws-eusc": ("amazonaws.eu", "api.amazonwebservices.eu"),
    "aws-iso": ("c2s.ic.gov", "api.aws.ic.gov"),
    "aws-iso-b": ("sc2s.sgov.gov", "api.aws.scloud"),
    "aws-iso-e": ("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    "aws-iso-f": ("csp.hci.ic.gov", "api.aws.hci.ic.gov"),
}


def authorization_token(
    host: "EcrHost", settings: "Mapping[str, str]", environ: "Environment" = posix.environ
) -> Credential:
    """A token for the registries of `host`'s region, with its times, by whom settings and variables choose.

    Raises NoIdentity if there are no credentials at all and none are configured, of the public registry, which serves
    anybody, also if a machine of Amazon's hears nothing of its metadata service; else Unavailable.
    """

    def sign_in_and_ask(caller: "Caller") -> Credential:
        endpoint = _endpoint(caller, host, settings.get("endpoint_url"))
        caller.is_dual_stack = host.dual_stack
        caller.sign_in()
        return _token(caller, host, endpoint)

    try:
        return aws.answered(sign_in_and_ask, host.region, settings, aws.BUDGET, environ)
    except Unavailable as error:
        nobody = (
            aws_errors.NOBODY if host.public else aws_errors.NOBODY[:1]
        )  # where one may be meant, silence is no word
        if error.code not in nobody or settings.keys() & {"profile", "role_arn"}:
            raise
    raise NoIdentity("ecr-no-identity", "no AWS credentials in variables, files, container and metadata service")


def authorization_token_by(
    keys: tuple[str, str, str], host: "EcrHost", seconds: float, environ: "Environment" = posix.environ
) -> Credential:
    """The same within the seconds, by keys that somebody else has found: access key, secret, and a session or "".

    Nothing is looked for then. Raises Unknown if AWS does not know them or denies them the token, else Unavailable.
    """

    def ask(caller: "Caller") -> Credential:
        caller.sign_in_by(*keys)
        return _token(caller, host, _endpoint(caller, host, None))

    try:
        return aws.answered(ask, host.region, {}, seconds, environ)
    except Unavailable as error:
        if error.code not in aws_errors.UNKNOWN:
            raise
        raise Unknown(error.code, error.message, error.hint) from None


def _endpoint(caller: "Caller", host: "EcrHost", chosen: str | None) -> str | None:
    """Where the token is asked for, None for where botocore says, which is within region and partition of the host.

    Raises Unavailable where the region is of another partition, or the endpoint is not one for secrets.
    """
    from botocore.exceptions import UnknownRegionError

    try:
        partition = caller.session.get_partition_for_region(host.region)
    except UnknownRegionError:
        raise caller.reasons.unavailable(aws_errors.UNKNOWN_REGION) from None
    if partition != host.partition:
        raise caller.reasons.unavailable(aws_errors.FOREIGN_REGION)
    service = _service(host)
    endpoint = caller.gate.endpoint(service, chosen)
    if not endpoint:
        ends = tuple(f".{host.region}.{domain}" for domain in _DOMAINS[host.partition])
        caller.gate.allow(service, lambda name: name.endswith(ends))
    return endpoint


def _token(caller: "Caller", host: "EcrHost", endpoint: str | None) -> Credential:
    """The token that AWS gives to the caller. Raises HelperError, and whatever botocore does."""
    from botocore.config import Config

    now = time.time()
    client = caller.boto3.client(
        _service(host),
        region_name=host.region,
        endpoint_url=endpoint,
        config=Config(
            # None: what AWS_USE_FIPS_ENDPOINT says; but there are none of ECR Public.
            use_fips_endpoint=False if host.public else host.fips or None,
            use_dualstack_endpoint=host.dual_stack or None,  # None: what AWS_USE_DUALSTACK_ENDPOINT says
        ),
    )
    data = client.get_authorization_token().get("authorizationData")
    if isinstance(data, list) and data:  # the private API lists one token, the public one gives it bare
        data = data[0]
    return _credential(data, now)


def _credential(data: "Any", now: float) -> Credential:
    """The user name and the password in the token, with the times between which it serves."""
    from base64 import b64decode

    try:
        pair = b64decode(data["authorizationToken"], validate=True).decode("ascii")
        end = float(data["expiresAt"].timestamp())
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
        raise Unavailable(*aws_errors.NOT_A_TOKEN) from None
    username, _, password = pair.partition(":")
    if not (username and password and pair.isprintable()) or end <= 0:
        raise Unavailable(*aws_errors.NOT_A_TOKEN)
    if end > now + lifetimes.ECR.longest:
        raise Unavailable(*aws_errors.TOO_LONG_A_LIFE)
    soft, hard, expires = lifetimes.window(now, end, lifetimes.ECR)
    return Credential(username, password, soft=soft, hard=hard, expires=expires)


def _service(host: "EcrHost") -> str:
    return "ecr-public" if host.public else "ecr"
