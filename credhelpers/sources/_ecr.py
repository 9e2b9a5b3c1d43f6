"""Amazon ECR, announced: its hosts, the settings of an entry, and what `--help` prints. No hit loads it."""

from credhelpers.exchanges.ecr_hosts import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.config.schema import Settings

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

ALIAS = ("account", "region")

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
  ordinary chain of boto3: environment, profile (assumed role, web
  identity, SSO, keys, `aws login`, credential_process), container, EC2.
  The region is the registry's, whatever AWS_REGION says. Assumed roles are
  shared with the AWS CLI in ~/.aws/cli/cache. A role that needs an MFA code
  works once the AWS CLI has asked for it. Whether EC2's metadata service is
  there must show in less than a second (AWS_METADATA_SERVICE_TIMEOUT: longer);
  then it has its time. Without any credentials, ECR Public is used anonymously.
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
  AWS_PROFILE, AWS_ACCESS_KEY_ID and all that boto3 reads; among them
  AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE
                              other files than ~/.aws/config, ~/.aws/credentials
  AWS_ENDPOINT_URL_ECR, AWS_ENDPOINT_URL_ECR_PUBLIC, AWS_ENDPOINT_URL
                              another endpoint: https, or http on this machine
  AWS_USE_FIPS_ENDPOINT       true: FIPS endpoints for all hosts that have them
  AWS_USE_DUALSTACK_ENDPOINT  true: those of IPv6 and IPv4
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
  (erase) forgets it. What `docker login` (store) brings is answered first until
  then: a token for the user AWS from this cache until it ends, what has another
  user name from the keyring.

ERRORS
  A line on standard output says what is wrong, one on standard error says it
  with the command that mends it and a code, see docs/errors.md. A server that
  is not ECR's, and ECR Public where there are no credentials, is "credentials
  not found in native keychain".

SEE ALSO
  docs/ecr.md, docs/configuration.md, `aws sts get-caller-identity`
"""
__all__ = ["ALIAS", "MANUAL", "RULES", "SETTINGS", "contradiction"]


def contradiction(settings: "Mapping[str, Any]") -> str:
    """What is wrong with the settings together, or ""."""
    if "role_arn" not in settings and not settings.keys().isdisjoint(("external_id", "session_name")):
        return "`external_id` and `session_name` are for a `role_arn`"
    return ""
