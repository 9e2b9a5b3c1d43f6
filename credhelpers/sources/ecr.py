"""Amazon ECR, private and public."""

import posix

from credhelpers.errors import NotFound, NotMine, Unavailable
from credhelpers.identity import fingerprint, home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.credential import Credential
    from credhelpers.exchanges.ecr import EcrHost
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder

# What botocore 1.44 reads to choose an identity or an endpoint (botocore/configprovider.py, credentials.py, utils.py).
# Left out: the region variables, since the host says the region; AWS_DATA_PATH and the plugins, which `aws` switches
# off; and what changes neither, as time-outs, retries, the CA bundle and the account id do.
_VARIABLES = (
    b"AWS_ACCESS_KEY_ID",
    b"AWS_SECRET_ACCESS_KEY",
    b"AWS_SESSION_TOKEN",
    b"AWS_SECURITY_TOKEN",
    b"AWS_CREDENTIAL_EXPIRATION",
    b"AWS_PROFILE",
    b"AWS_DEFAULT_PROFILE",
    b"AWS_ROLE_ARN",
    b"AWS_ROLE_SESSION_NAME",
    b"AWS_WEB_IDENTITY_TOKEN_FILE",
    b"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    b"AWS_CONTAINER_CREDENTIALS_FULL_URI",
    b"AWS_CONTAINER_AUTHORIZATION_TOKEN",
    b"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    b"AWS_EC2_METADATA_DISABLED",
    b"AWS_EC2_METADATA_V1_DISABLED",
    b"AWS_EC2_METADATA_SERVICE_ENDPOINT",
    b"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    b"AWS_IMDS_USE_IPV6",
    b"AWS_LOGIN_CACHE_DIRECTORY",
    b"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    b"AWS_ENDPOINT_URL",
    b"AWS_ENDPOINT_URL_ECR",
    b"AWS_ENDPOINT_URL_ECR_PUBLIC",
    b"AWS_ENDPOINT_URL_STS",
    b"AWS_ENDPOINT_URL_SSO",
    b"AWS_ENDPOINT_URL_SSO_OIDC",
    b"AWS_ENDPOINT_URL_SIGNIN",
    b"AWS_STS_REGIONAL_ENDPOINTS",
    b"AWS_USE_DUALSTACK_ENDPOINT",
    b"AWS_USE_FIPS_ENDPOINT",
)
# And where botocore is told to look for files.
_PATHS = (b"AWS_CONFIG_FILE", b"AWS_SHARED_CREDENTIALS_FILE", b"AWS_CREDENTIAL_FILE", b"BOTO_CONFIG")


class Ecr:
    """The source of ECR tokens."""

    __slots__ = ("_environ",)
    kind = "ecr"
    uncached = b"AWS_ECR_DISABLE_CACHE"

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    @property
    def manual(self) -> str:
        """See `minted.Source`."""
        from credhelpers.sources._ecr import MANUAL

        return MANUAL

    def record(self, route: "Route", recorder: "Recorder") -> None:  # noqa: ARG002 - the sources' common signature
        """See `minted.Source`.

        Two files are left out on purpose. The web identity token is renewed every hour and stands for the same role,
        whose name is in. The SSO sign-in is renewed as often, and the profile names the account and role that it gives.
        """
        for name in _VARIABLES:
            recorder.variable(name)
        if any(b"$" in (recorder.variable(name) or b"") for name in _PATHS):
            recorder.variables(b"")  # which of them such a path names, only its expansion knows
        for path in _files(recorder.environ):
            recorder.file(path)

    def minter(self, route: "Route") -> "EcrMinter":
        """The token of the region for the identity that is configured. Raises Unavailable for a contradiction."""
        settings = route.settings
        ecr_host = _ecr_host(route)
        if route.fields and not settings.keys().isdisjoint(("account", "region")):
            raise route.contradiction("this host says its account and region itself")
        if "role_arn" in settings and settings["role_arn"].split(":")[1] != ecr_host.partition:
            raise route.contradiction("`role_arn` is of another partition of AWS than this host")
        return self._minter(ecr_host, settings)

    def _minter(self, ecr_host: "EcrHost", settings: "dict[str, str]") -> "EcrMinter":
        scope = (ecr_host.partition, ecr_host.region, ecr_host.public, ecr_host.fips, ecr_host.dual_stack)
        identity = sorted((name, value) for name, value in settings.items() if name not in ("account", "region"))
        key = fingerprint(f"ecr token {scope} {identity}", self._environ, _VARIABLES, _files(self._environ))
        return EcrMinter(key, ecr_host, settings)


class EcrMinter:
    """One token: it opens every registry of its region that the identity may read."""

    __slots__ = ("_host", "_settings", "token_key")

    def __init__(self, key: str, ecr_host: "EcrHost", settings: "dict[str, str]") -> None:
        self.token_key = key
        self._host = ecr_host
        self._settings = settings

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """A new token from AWS, good for hours. Takes a fifth of a second before the network does.

        `old` is not renewed, but it shows that there was an identity: that none is found now will pass, and is no word
        for going on anonymously.
        """
        from credhelpers.clouds.aws import authorization_token
        from credhelpers.clouds.aws_errors import NO_IDENTITY_ANY_MORE

        try:
            return authorization_token(self._host, self._settings)
        except NotFound:
            if old is None:
                raise
            raise Unavailable(*NO_IDENTITY_ANY_MORE) from None


def _ecr_host(route: "Route") -> "EcrHost":
    """The registry; for an alias the one for which it stands because the user wrote so. Raises Unavailable."""
    from credhelpers.exchanges.ecr import EcrHost, ecr_of

    if route.fields:
        return EcrHost(route.fields)
    settings = route.settings
    if not {"account", "region"} <= settings.keys():
        raise route.contradiction("this host needs `account` and `region`")
    try:
        return ecr_of(settings["account"], settings["region"])
    except NotMine:
        raise route.contradiction("`region` is in no partition of AWS") from None


def _files(environ: "Environment") -> list[bytes]:
    """The files in which botocore looks for credentials: the AWS CLI's, those of EC2's first tools, boto 2's."""
    base = home(environ)
    files = [
        _expanded(environ.get(b"AWS_CONFIG_FILE", base + b"/.aws/config")),
        _expanded(environ.get(b"AWS_SHARED_CREDENTIALS_FILE", base + b"/.aws/credentials")),
    ]
    if b"AWS_CREDENTIAL_FILE" in environ:
        files.append(_expanded(environ[b"AWS_CREDENTIAL_FILE"]))
    if b"BOTO_CONFIG" in environ:
        files.append(_expanded(environ[b"BOTO_CONFIG"]))
    else:
        files += [b"/etc/boto.cfg", base + b"/.boto"]
    return files


def _expanded(path: bytes) -> bytes:
    """The path with `~` and `$NAME` replaced, as botocore does it."""
    if not path.startswith(b"~") and b"$" not in path:
        return path
    from os.path import expanduser, expandvars  # the price of a hit, for those who have such a path

    return expanduser(expandvars(path))  # noqa: PTH111 - `pathlib` would cost more still
