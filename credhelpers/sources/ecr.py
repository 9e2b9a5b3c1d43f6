"""Amazon ECR, private and public."""

import posix

from credhelpers.errors import NotFound, NotMine, Unavailable
from credhelpers.exchanges.ecr import ecr, ecr_of
from credhelpers.hosts import cloud_host
from credhelpers.identity import configuration, fingerprint, home, is_configured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.config import Entry, Settings
    from credhelpers.credential import Credential
    from credhelpers.exchanges.ecr import EcrHost
    from credhelpers.hosts import Authority
    from credhelpers.identity import Environment

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

# What an entry of the configuration file may say. ARNs, names and ids as in the IAM and STS API references.
SETTINGS: "Settings" = {
    "profile": (
        "the name of a profile",
        r"[^\x00-\x1f\x7f]{1,128}",
        "the profile of the AWS CLI's files that mints; keys in the environment do not count then",
    ),
    "role_arn": (
        "the ARN of a role",
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,512}",
        "a role to assume, by the profile or by what is found without one",
    ),
    "external_id": (
        "an external ID",
        r"[A-Za-z0-9_+=,.@:/-]{2,1224}",
        "with `role_arn`: what the role's trust policy asks for",
    ),
    "session_name": (
        "the name of a session",
        r"[A-Za-z0-9_+=,.@-]{2,64}",
        "with `role_arn`: the name that its session has in logs",
    ),
    "endpoint_url": (
        "a URL that begins with `https://`",
        r"https://[a-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9_/.-]*)?",
        "where the API of ECR is, such as an endpoint of a VPC",
    ),
    "account": (
        "an account of 12 digits",
        "[0-9]{12}",
        "for an alias, with `region`: the account of the registry that it stands for",
    ),
    "region": (
        "a region",
        "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}",
        "for an alias, with `account`: the region of the registry that it stands for",
    ),
}

MANUAL = """\
docker-credential-ecr hands out tokens for Amazon ECR, made with the AWS
credentials of this machine, so that nobody types `docker login`.

CONFIGURATION
  In ~/.docker/config.json, one line for each registry:

    "credHelpers": {
      "111122223333.dkr.ecr.eu-west-1.amazonaws.com": "ecr",
      "public.ecr.aws": "ecr"
    }

HOSTS
  ACCOUNT.dkr.ecr.REGION.amazonaws.com           commercial regions, GovCloud
  ACCOUNT.dkr.ecr-fips.REGION.amazonaws.com      the same by FIPS endpoints
  ACCOUNT.dkr-ecr.REGION.on.aws                  the same by IPv6 and IPv4
  ACCOUNT.dkr-ecr-fips.REGION.on.aws             both
  ACCOUNT.dkr.ecr.REGION.amazonaws.com.cn        China; by IPv6 and IPv4
                                                 on.amazonwebservices.com.cn
  ACCOUNT.dkr.ecr.REGION.amazonaws.eu            European Sovereign Cloud
  and the isolated partitions (c2s.ic.gov, sc2s.sgov.gov, cloud.adc-e.uk,
  csp.hci.ic.gov). public.ecr.aws and ecr-public.aws.com are ECR Public.
  Any other server is answered "credentials not found in native keychain",
  unless the configuration file names it as an alias.

IDENTITY
  What the configuration file says for the registry, see SETTINGS. Else the
  ordinary chain of botocore: environment, profile (assumed role, web
  identity, SSO, keys, `aws login`, credential_process), container, EC2.
  The region is the registry's, whatever AWS_REGION says. Assumed roles are
  shared with the AWS CLI in ~/.aws/cli/cache. A role that needs an MFA code
  works once the AWS CLI has asked for it. EC2's metadata service is given less
  than a second. Without any credentials, ECR Public is used anonymously.
  Permission: ecr:GetAuthorizationToken; for ECR Public
  ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken.

SETTINGS
  $CREDHELPERS_CONFIG, else ~/.config/credhelpers/config.toml. The first entry
  that matches the host counts; `*` is any part of one label.

    [[registry]]
    match = "111122223333.dkr.ecr.*.amazonaws.com"
    source = "ecr"
    profile = "prod"

  profile           the profile that mints, whatever the environment says
  role_arn          a role to assume, by the profile or by what is found;
                    with it external_id and session_name
  endpoint_url      where the API is, https
  account, region   for an alias: the registry that the host stands for

ENVIRONMENT
  AWS_PROFILE, AWS_ACCESS_KEY_ID and all that botocore reads; among them
  AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE
                              other files than ~/.aws/config, ~/.aws/credentials
  AWS_ENDPOINT_URL_ECR, AWS_ENDPOINT_URL_ECR_PUBLIC, AWS_ENDPOINT_URL
                              another endpoint: https, or http on this machine
  AWS_USE_FIPS_ENDPOINT       true: FIPS endpoints for all hosts
  AWS_EC2_METADATA_DISABLED   true: do not ask the metadata service
  AWS_CA_BUNDLE, HTTPS_PROXY, NO_PROXY
                              as everywhere
  CREDHELPERS_CONFIG          the configuration file; empty: none
  CREDHELPERS_CACHE_DIR       where tokens are kept; empty: nowhere
  AWS_ECR_DISABLE_CACHE       set: keep no tokens
  CREDHELPERS_DEBUG           set: say on standard error what the cache does

CACHE
  A token lives for 12 hours and serves all registries of its region that the
  identity may read. It is kept in $XDG_RUNTIME_DIR/credhelpers, else
  $XDG_CACHE_HOME/credhelpers, else ~/.cache/credhelpers, in files that only
  their owner can read. From half of its life on it is renewed in the
  background; in its last 15 minutes a new one is made first. Another identity,
  endpoint or changed configuration is never answered from it. `docker logout`
  (erase) forgets it, `docker login` (store) succeeds and keeps nothing.

ERRORS
  A line on standard output says what is wrong, a `hint:` line on standard error
  says it with the command that mends it. A server that is not ECR's, and ECR
  Public where there are no credentials, is "credentials not found in native
  keychain".

SEE ALSO
  docs/ecr.md, docs/configuration.md, `aws sts get-caller-identity`
"""


class Ecr:
    """The source of ECR tokens."""

    __slots__ = ("_environ",)
    kind = "ecr"
    manual = MANUAL
    uncached = b"AWS_ECR_DISABLE_CACHE"

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    def host_key(self, authority: "Authority") -> str:
        """The fingerprint of the host and of the identity. Raises NotMine if it cannot be ECR's.

        Two files are left out on purpose. The web identity token is renewed every hour and stands for the same role,
        whose name is in. The SSO sign-in is renewed as often, and the profile names the account and role that it gives.
        """
        host = cloud_host(authority)
        try:
            ecr(host)
        except NotMine:
            if not is_configured(self._environ):
                raise
        return fingerprint(f"ecr {host}", self._environ, _VARIABLES, [*self._files(), configuration(self._environ)])

    def minter(self, authority: "Authority") -> "EcrMinter":
        """The token of the region for the identity that is configured.

        Raises NotMine if it is not ECR's, Unavailable if the configuration is broken.
        """
        from credhelpers import config  # parsed where a token is minted, not on a hit

        host = cloud_host(authority)
        entry = config.find(self._environ, self.kind, SETTINGS, host)
        if entry is None:
            return self._minter(ecr(host), {})
        settings = entry.settings
        try:
            ecr_host = ecr(host)
        except NotMine:
            ecr_host = _alias(entry)
        else:
            if not settings.keys().isdisjoint(("account", "region")):
                raise config.contradiction(entry, "this host says its account and region itself")
        if "role_arn" not in settings and not settings.keys().isdisjoint(("external_id", "session_name")):
            raise config.contradiction(entry, "`external_id` and `session_name` are for a `role_arn`")
        if "role_arn" in settings and settings["role_arn"].split(":")[1] != ecr_host.partition:
            raise config.contradiction(entry, "`role_arn` is of another partition of AWS than this host")
        return self._minter(ecr_host, settings)

    def _minter(self, ecr_host: "EcrHost", settings: "dict[str, str]") -> "EcrMinter":
        scope = (ecr_host.partition, ecr_host.region, ecr_host.public, ecr_host.fips, ecr_host.dual_stack)
        identity = sorted((name, value) for name, value in settings.items() if name not in ("account", "region"))
        key = fingerprint(f"ecr token {scope} {identity}", self._environ, _VARIABLES, self._files())
        return EcrMinter(key, ecr_host, settings)

    def _files(self) -> list[bytes]:
        """The files in which botocore looks for credentials: the AWS CLI's, those of EC2's first tools, boto 2's."""
        environ = self._environ
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


def _alias(entry: "Entry") -> "EcrHost":
    """The registry that a host stands for because the user wrote so. Raises Unavailable if that is not said."""
    from credhelpers import config

    if not {"account", "region"} <= entry.settings.keys():
        raise config.contradiction(entry, "this host needs `account` and `region`")
    try:
        return ecr_of(entry.settings["account"], entry.settings["region"])
    except NotMine:
        raise config.contradiction(entry, "`region` is in no partition of AWS") from None


def _expanded(path: bytes) -> bytes:
    """The path with `~` and `$NAME` replaced, as botocore does it."""
    if not path.startswith(b"~") and b"$" not in path:
        return path
    from os.path import expanduser, expandvars  # the price of a hit, for those who have such a path

    return expanduser(expandvars(path))  # noqa: PTH111 - `pathlib` would cost more still
