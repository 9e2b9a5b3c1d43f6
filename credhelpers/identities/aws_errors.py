"""A code, a sentence, and the command that mends it, for what goes wrong between this machine and AWS.

Nothing that AWS, a child process or a file said is ever quoted: it may hold a secret. In the texts stand
`{service}` for what was asked last, `{profile}` for the AWS CLI's option that selects the same profile, `{source}` for
that of the profile that signs in, `{address}` for where a service of the machine was asked, `{status}` for the HTTP
status, `{crt}` for a command that installs, `{reason}` for the system's words, `{mending}` for the command that makes a
file trusted.
"""

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Cause = tuple[str, str, str]

WHO = "`aws sts get-caller-identity{profile}`"
_SIGN_IN = "run `aws sso login{source}`, then try again"
_NETWORK = "`curl -sI https://sts.amazonaws.com`"
_CLOCK_SKEW = 240  # seconds; AWS refuses a signature that is 5 minutes off

NO_CREDENTIALS = (
    "ecr-no-identity",
    "no AWS credentials found on this machine",
    "run `aws configure sso` or `aws configure`, or set AWS_PROFILE; `aws sts get-caller-identity` shows what is found",
)
NO_IDENTITY_ANY_MORE = (
    "ecr-identity-gone",
    "no identity is found any more for the token in hand",
    "run `aws sts get-caller-identity`, and where it finds none, see whether the metadata service answers",
)
EMPTY_PROFILE = (
    "ecr-profile-empty",
    "the AWS profile that config.toml names holds no credentials",
    "run `aws configure list{profile}`: it shows nothing or those of this machine, which are not asked for then",
)
EXPIRED = (
    "ecr-session-expired",
    "the AWS session has expired",
    f"renew what the profile holds; {WHO} tells whether it works, `date -u` whether this machine's clock does",
)
EXPIRED_ENVIRONMENT = (
    "ecr-environment-expired",
    "the AWS session token in the environment has expired",
    "set the three variables anew, or `unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN`",
)
MFA = (
    "ecr-mfa",
    "the role of this AWS profile needs an MFA code, and a credential helper cannot ask for one",
    f"run {WHO} once: it asks, and its session is shared with this program",
)
MALFORMED = (
    "ecr-settings-malformed",
    "something in the AWS settings or in the AWS CLI's cache is malformed",
    f"run {WHO}; if it works, remove the files in ~/.aws/cli/cache",
)
NOT_A_TOKEN = (
    "ecr-no-token",
    "AWS answered with something that is not a registry token",
    "run `printenv AWS_ENDPOINT_URL AWS_ENDPOINT_URL_ECR`, and check the proxy: something else may have answered",
)
TOO_LONG_A_LIFE = (
    "ecr-clock",
    "the registry token lives too long to be true by this machine's clock",
    "compare `date -u` with the true time, and set the clock, as with `timedatectl set-ntp true`",
)
NOT_AN_ANSWER = (
    "ecr-strange-answer",
    "AWS {service} answered with something that makes no sense",
    "run `printenv AWS_ENDPOINT_URL AWS_ENDPOINT_URL_STS`, and check the proxy: something else may have answered",
)
UNREADABLE_CERTIFICATES = (
    "ecr-ca-unreadable",
    "the file with the trusted certificates cannot be read",
    "run `printenv AWS_CA_BUNDLE REQUESTS_CA_BUNDLE`, and see ca_bundle of the profile",
)
UNREADABLE_WEB_IDENTITY = (
    "ecr-web-identity-unreadable",
    "the web identity token file cannot be read",
    "run `printenv AWS_WEB_IDENTITY_TOKEN_FILE`, or see web_identity_token_file of the profile",
)
RELATIVE_FILE = (
    "ecr-file-relative",
    "the AWS config or credentials file has a relative path, so it is another one in each directory",
    "it may name a program: `printenv AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE HOME`, and set the absolute path",
)
CHANGED_FILE = (
    "ecr-file-changed",
    "the file with the profile's credential_process has changed since it was read",
    "look who may write its directory: `ls -ld ~/.aws`, or that of AWS_CONFIG_FILE; then try again",
)
UNTRUSTED_FILE = (
    "ecr-file-untrusted",
    "others may write the AWS file that names the credential_process, so it is not trusted",
    "see what is in it, then run `{mending}`",
)
NO_TLS = (
    "ecr-tls-broken",
    "the TLS library of this machine does not work",
    "see whether `openssl version -a` works, and `printenv OPENSSL_CONF OPENSSL_MODULES AWS_CA_BUNDLE`",
)
SYSTEM = (
    "ecr-system",
    "the system does not let the AWS SDK do its work: {reason}",
    f"run {WHO} to see whether it meets the same, then look at the disk and at `ulimit -a`",
)
UNKNOWN_REGION = (
    "ecr-region-unknown",
    "the installed botocore does not know the registry's region",
    "check the registry's name, or run `{upgrade}`",
)
UNKNOWN_STS_REGION = (
    "ecr-sts-region-unknown",
    "the installed botocore does not know the region whose STS is wanted",
    "check `sts_region` in config.toml, or AWS_REGION, or run `{upgrade}`",
)
FOREIGN_REGION = (
    "ecr-region-foreign",
    "the registry's region does not belong to the registry's domain",
    "check the registry's name: `aws ecr describe-repositories` shows it as repositoryUri",
)
BROKEN_LINE = (
    "ecr-key-line-break",
    "an AWS key or session token holds a line break, so no request can be made with it",
    "set it anew, as by `export AWS_ACCESS_KEY_ID=$(cat FILE)`, which drops a last line break",
)
FOREIGN_ROLE = (
    "ecr-role-foreign",
    "the AWS role is of another partition than the registry, so it is not asked for there",
    "look at the ARN: `printenv AWS_ROLE_ARN`, or role_arn of the profile in `aws configure list{profile}`",
)
FOREIGN_ENDPOINT = (
    "ecr-endpoint-foreign",
    "botocore would ask an endpoint outside the registry's region and partition",
    "run `{upgrade}`",
)
UNSAFE_ENDPOINT = (
    "ecr-endpoint-unsafe",
    "the AWS endpoint that is set is not https, and not on this machine",
    "run `printenv AWS_ENDPOINT_URL_ECR AWS_ENDPOINT_URL AWS_ENDPOINT_URL_STS`; correct it, or ~/.aws/config",
)
LATE_SEARCH = (
    "ecr-search-slow",
    "the search for AWS credentials did not end in time",
    f"run {WHO} to see what it waits for",
)
LATE_METADATA = (
    "ecr-metadata-slow",
    "the metadata service of EC2 at {address} did not answer in time",
    "`curl -m 9 http://{address}/latest/meta-data/` tells whether it does; AWS_METADATA_SERVICE_TIMEOUT gives it more",
)
BROKEN_METADATA = (
    "ecr-metadata-failed",
    "the metadata service of EC2 at {address} gives no credentials, and does not say that there is no role",
    "`curl -i http://{address}/latest/meta-data/` shows what it says; without it set AWS_PROFILE",
)
SILENT_METADATA = (
    "ecr-metadata-silent",
    "this is a machine of Amazon's, and the metadata service at {address} did not answer in time",
    "`curl -m 9 http://{address}/latest/meta-data/` tells whether it does; without a role set AWS_PROFILE",
)
LATE_CONTAINER = (
    "ecr-container-slow",
    "the credential service of this container at {address} did not answer in time",
    "`printenv AWS_CONTAINER_CREDENTIALS_FULL_URI` shows where it is asked; look at the agent that answers there",
)
NOBODY = (NO_CREDENTIALS[0], SILENT_METADATA[0])  # the codes of those who may go on without an identity
LATE_PROCESS = (
    "ecr-process-slow",
    "the credential_process of the AWS profile did not end in time",
    f"run the command by hand, or {WHO} to see what it waits for",
)
LATE_ANSWER = (
    "ecr-slow",
    "no answer of AWS {service} within the time limit",
    f"check network, proxy and DNS with {_NETWORK}, then try again",
)

_SIGNED_OUT = ("ecr-sso-expired", "the sign-in at AWS IAM Identity Center (SSO) has expired", _SIGN_IN)
_NO_VARIANT = (
    "ecr-no-variant",
    "botocore knows no such endpoint of ECR (FIPS or dual-stack) in the registry's partition",
    "check the registry's name, and run `printenv AWS_USE_FIPS_ENDPOINT AWS_USE_DUALSTACK_ENDPOINT`",
)
_CERTIFICATE_OF_ANOTHER_TIME = (
    "ecr-certificate-untimely",
    "the TLS certificate of the AWS endpoint is not valid at this time",
    "compare `date -u` with the true time, and set the clock, as with `timedatectl set-ntp true`",
)
# By the name of botocore's exception, so that an older botocore need not have them all.
_BY_EXCEPTION = {
    "SSOTokenLoadError": (
        "ecr-sso-signed-out",
        "nobody is signed in at AWS IAM Identity Center (SSO) on this machine",
        _SIGN_IN,
    ),
    "UnauthorizedSSOTokenError": _SIGNED_OUT,
    "TokenRetrievalError": _SIGNED_OUT,
    "MissingDependencyException": (
        "ecr-login-unsupported",
        "the profile uses `aws login`, which needs an addition to botocore",
        "run `{crt}`",
    ),
    "LoginInsufficientPermissions": (
        "ecr-login-denied",
        "the user of this `aws login` session may not get credentials",
        "allow it `signin:CreateOAuth2Token`, then run `aws login{source}`",
    ),
    "LoginError": (
        "ecr-login-expired",
        "the `aws login` session is missing or has expired",
        "run `aws login{source}`, then try again",
    ),
    "ProfileNotFound": (
        "ecr-profile-unknown",
        "the AWS profile that is set is in neither the config nor the credentials file",
        "run `aws configure list-profiles`, and set AWS_PROFILE, or `profile` in config.toml, to one of them",
    ),
    "ConfigParseError": (
        "ecr-file-malformed",
        "the AWS config or credentials file is not well formed",
        "run `aws configure list`, and correct the line that it names",
    ),
    "ConfigNotFound": (
        "ecr-file-missing",
        "a file that the environment names for AWS credentials does not exist",
        "run `printenv AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_CREDENTIAL_FILE`, and correct or unset it",
    ),
    "InvalidConfigError": (
        "ecr-profile-contradiction",
        "the AWS profile contradicts itself or names another that does not exist",
        "run `aws configure list{profile}`, and look at source_profile, credential_source and sso_session",
    ),
    "PartialCredentialsError": (
        "ecr-keys-incomplete",
        "the AWS credentials are incomplete: one of a pair is missing",
        "run `aws configure list{profile}` to see what is set and where",
    ),
    "RefreshWithMFAUnsupportedError": MFA,
    "SSLError": (
        "ecr-certificate-untrusted",
        "the TLS certificate of the AWS endpoint is not trusted",
        "`curl -vI https://sts.amazonaws.com` shows whose it is; if that is yours, set AWS_CA_BUNDLE to its file",
    ),
    "ProxyConnectionError": (
        "ecr-proxy",
        "the proxy did not connect to AWS",
        f"check HTTPS_PROXY, NO_PROXY and what the proxy allows, as with {_NETWORK}",
    ),
    "ConnectTimeoutError": (
        "ecr-unreachable",
        "the endpoint of AWS {service} did not accept a connection in time",
        f"check the firewall with {_NETWORK}, or set HTTPS_PROXY or, for a private endpoint, AWS_ENDPOINT_URL_ECR",
    ),
    "ReadTimeoutError": (
        "ecr-slow",
        "the endpoint of AWS {service} took the request and did not answer in time",
        "run `docker pull` again; https://health.aws.amazon.com has the state of the region",
    ),
    "EndpointConnectionError": (
        "ecr-unreachable",
        "the endpoint of AWS {service} cannot be reached: no such name, or nothing listens",
        f"check DNS and network with {_NETWORK}, AWS_ENDPOINT_URL_ECR and AWS_USE_FIPS_ENDPOINT",
    ),
    "HTTPClientError": (
        "ecr-connection-broken",
        "the connection to the endpoint of AWS {service} broke",
        f"try again, and check the network with {_NETWORK}",
    ),
    "EndpointResolutionError": _NO_VARIANT,
    "EndpointVariantError": _NO_VARIANT,
}
# Of `CredentialRetrievalError`, by the provider that it names; "" is for a credential_source.
_BY_PROVIDER = {
    "custom-process": (
        "ecr-process-failed",
        "the credential_process of the AWS profile failed",
        f"run the command by hand, or {WHO}, which shows what it says",
    ),
    "container-role": (
        "ecr-container-empty",
        "the credential service of this container gave no credentials",
        "check the task role (ECS) or the pod identity (EKS), and `printenv AWS_CONTAINER_CREDENTIALS_FULL_URI`",
    ),
    "": (
        "ecr-source-empty",
        "the credential_source of the AWS profile has no credentials",
        "run `aws configure list{profile}`: it says Environment, Ec2InstanceMetadata or EcsContainer; that is empty",
    ),
}

_DENIED_CODES = (
    "AccessDenied",
    "AccessDeniedException",
    "ForbiddenException",
    "IDPRejectedClaim",
    "InvalidIdentityToken",
    "OptInRequired",
    "UnauthorizedOperation",
)
# By operation, or by the service that was asked, as people call it; "" is for all others.
_DENIED = {
    "AssumeRole": (
        "ecr-role-denied",
        "AWS does not let this identity assume the role",
        f"allow it `sts:AssumeRole`, and in the role's trust policy, maybe by an external ID; {WHO} shows who it is",
    ),
    "AssumeRoleWithWebIdentity": (
        "ecr-web-identity-refused",
        "AWS does not take the web identity token for the role",
        "compare the trust policy in `aws iam get-role`; the file in AWS_WEB_IDENTITY_TOKEN_FILE must be fresh",
    ),
    "GetRoleCredentials": (
        "ecr-sso-role-denied",
        "the signed-in SSO user does not have the account and role of this profile",
        "run `aws configure sso{profile}` to choose another, or have it assigned",
    ),
    "": (
        "ecr-profile-denied",
        "AWS denies this identity what its profile asks for",
        f"{WHO} shows who it is, `aws configure list{{profile}}` what the profile says",
    ),
    "ECR": (
        "ecr-denied",
        "this AWS identity may not get a registry token",
        f"allow it `ecr:GetAuthorizationToken` on `*`; {WHO} shows who it is",
    ),
    "ECR Public": (
        "ecr-public-denied",
        "this AWS identity may not get a token for ECR Public",
        "allow it `ecr-public:GetAuthorizationToken` and `sts:GetServiceBearerToken`; without credHelpers pulls go on",
    ),
}
_CLOCK = (
    "ecr-clock",
    "AWS refused the request because this machine's clock is wrong",
    "compare `date -u` with the true time, and set the clock, as with `timedatectl set-ntp true`",
)
_THROTTLED = (
    "ecr-throttled",
    "AWS {service} is throttling this account's requests",
    "try again in a minute; see `aws service-quotas list-service-quotas --service-code ecr`",
)
_UNKNOWN_KEY = (
    "ecr-key-unknown",
    "AWS does not know the access key: it was removed, or belongs to another partition",
    f"check it with {WHO}, and make a new one where it is gone",
)
_BAD_SIGNATURE = (
    "ecr-signature",
    "AWS does not accept the signature: the secret key does not fit the access key",
    f"set both anew, as with `aws configure`, and check with {WHO}",
)
_UNSUPPORTED = (
    "ecr-not-offered",
    "AWS {service} is not offered or not enabled in the registry's region",
    "check the registry's name, and `aws account list-regions`",
)
_REDIRECTED = (
    "ecr-redirect",
    "the AWS endpoint answered with a redirect, which is never followed with credentials",
    "run `printenv AWS_ENDPOINT_URL AWS_ENDPOINT_URL_ECR`, and check the proxy",
)
_BROKEN = (
    "ecr-failed",
    "AWS {service} has a failure (HTTP status {status})",
    "run `docker pull` again; https://health.aws.amazon.com has the state of the region",
)
_REFUSED = (
    "ecr-refused",
    "AWS {service} refused to issue a token (HTTP status {status})",
    "try `aws ecr get-authorization-token{profile}`, which shows the reason",
)
# The codes of what an identity is told that is too new, too.
UNKNOWN = (_UNKNOWN_KEY[0], _DENIED["ECR"][0], _DENIED["ECR Public"][0])
_SIGNATURE_CODES = ("AuthFailure", "IncompleteSignature", "InvalidSignatureException", "SignatureDoesNotMatch")
_EXPIRED_CODES = ("ExpiredToken", "ExpiredTokenException")
_BY_CODE = {
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "LimitExceededException": _THROTTLED,
    "MissingAuthenticationToken": _BAD_SIGNATURE,
    "MissingAuthenticationTokenException": _BAD_SIGNATURE,
    "RegionDisabledException": _UNSUPPORTED,
    "RequestExpired": _CLOCK,
    "RequestInTheFuture": _CLOCK,
    "RequestLimitExceeded": _THROTTLED,
    "RequestTimeTooSkewed": _CLOCK,
    "ThrottledException": _THROTTLED,
    "Throttling": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "UnknownOperationException": _UNSUPPORTED,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "UnsupportedCommandException": _UNSUPPORTED,
}
_NOT_NOW = ("net-certificate-early", "net-certificate-expired")  # of `net.failures`
_TOO_MANY_REQUESTS = 429  # RFC 6585, 4


def is_lack(error: Exception) -> bool:
    """Whether an error of botocore says that there are no credentials, rather than that some are broken."""
    return not {"NoCredentialsError", "MetadataRetrievalError"}.isdisjoint(_kinds(error))


def of_exception(error: Exception) -> "Cause":
    """The cause that an error of botocore's own stands for."""
    kinds = _kinds(error)
    details = getattr(error, "kwargs", {})
    if "CredentialRetrievalError" in kinds:
        return _BY_PROVIDER.get(str(details.get("provider")), _BY_PROVIDER[""])
    if getattr(details.get("error"), "code", "") in _NOT_NOW:
        return _CERTIFICATE_OF_ANOTHER_TIME
    return next((_BY_EXCEPTION[kind] for kind in kinds if kind in _BY_EXCEPTION), MALFORMED)


def of_refusal(error: "Any", service: str, *, is_environment: bool) -> "tuple[Cause, int]":
    """The cause that an error answered by AWS stands for, and the HTTP status.

    `service` is the one that answered, `is_environment` whether its caller's key is from the environment.
    """
    code = str(error.response.get("Error", {}).get("Code", ""))
    details = error.response.get("ResponseMetadata", {})
    status = int(details.get("HTTPStatusCode", 0))
    operation = error.operation_name
    is_web_identity = operation == "AssumeRoleWithWebIdentity"
    if code in _DENIED_CODES or (code in _EXPIRED_CODES and is_web_identity):
        cause = _DENIED.get(operation) or _DENIED.get(service) or _DENIED[""]
    elif code in _EXPIRED_CODES:
        cause = EXPIRED_ENVIRONMENT if is_environment else EXPIRED
    elif code in _SIGNATURE_CODES:
        cause = _CLOCK if _is_clock_off(details) else _BAD_SIGNATURE
    elif code in _BY_CODE:
        cause = _BY_CODE[code]
    elif status == _TOO_MANY_REQUESTS:
        cause = _THROTTLED
    else:
        cause = {3: _REDIRECTED, 5: _BROKEN}.get(status // 100, _REFUSED)
    return cause, status


def _kinds(error: Exception) -> list[str]:
    """The names of the error's class and of those above it."""
    return [kind.__name__ for kind in type(error).__mro__]


def _is_clock_off(details: "dict[str, Any]") -> bool:
    """Whether the answer's date is further from ours than AWS lets a signature be."""
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(details["HTTPHeaders"]["date"]).timestamp()
    except (LookupError, TypeError, ValueError):
        return False
    return abs(date - time.time()) > _CLOCK_SKEW
