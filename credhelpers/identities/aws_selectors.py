"""What chooses an identity or an endpoint for botocore, told without loading it: variables and files."""

from credhelpers.identity import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.recorder import Recorder

# What botocore 1.44 reads to choose an identity or an endpoint (botocore/configprovider.py, credentials.py, utils.py).
# Left out: the region variables, since the host says the region; AWS_DATA_PATH and the plugins, which `aws_session`
# switches off; and what changes neither, as retries, the CA bundle and the account id do.
VARIABLES = (
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
    b"AWS_METADATA_SERVICE_NUM_ATTEMPTS",  # by which an identity is found or is late
    b"AWS_METADATA_SERVICE_TIMEOUT",
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
PATHS = (b"AWS_CONFIG_FILE", b"AWS_SHARED_CREDENTIALS_FILE", b"AWS_CREDENTIAL_FILE", b"BOTO_CONFIG")
_FILE_BYTES = 1 << 20


def record(recorder: "Recorder") -> None:
    """Look at all of it with `recorder`. What is renewed every hour is a proof of an identity that is named elsewhere.

    A web identity token is one of the role, an SSO sign-in of the account and role of the profile.
    """
    for name in VARIABLES:
        recorder.variable(name)
    if any(b"$" in (recorder.variable(name) or b"") for name in PATHS):
        recorder.variables(b"")  # which of them such a path names, only its expansion knows
    for path in files(recorder.environ):
        recorder.file(path)
    for path in proofs(recorder.proving):
        recorder.proof(path)


def proofs(environ: "Environment") -> list[bytes]:
    """Where the tokens and sign-ins are that botocore proves an identity with: files, and directories of files."""
    from credhelpers.files import read

    base = home(environ)
    found = [
        environ.get(b"AWS_WEB_IDENTITY_TOKEN_FILE", b""),
        environ.get(b"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", b""),
        environ.get(b"AWS_LOGIN_CACHE_DIRECTORY") or base + b"/.aws/login/cache",
        base + b"/.aws/sso/cache",
        base + b"/.aws/cli/cache",
    ]
    for path in files(environ):
        try:
            lines = read(path, _FILE_BYTES)[0].splitlines()
        except (OSError, ValueError):
            continue
        pairs = (line.partition(b"=") for line in lines)
        found += [value.strip() for key, _, value in pairs if key.strip() == b"web_identity_token_file"]
    return found


def files(environ: "Environment") -> list[bytes]:
    """The files in which botocore looks for credentials: the AWS CLI's, those of EC2's first tools, boto 2's."""
    base = home(environ)
    files = [
        expanded(environ.get(b"AWS_CONFIG_FILE", base + b"/.aws/config"), environ),
        expanded(environ.get(b"AWS_SHARED_CREDENTIALS_FILE", base + b"/.aws/credentials"), environ),
    ]
    if b"AWS_CREDENTIAL_FILE" in environ:
        files.append(expanded(environ[b"AWS_CREDENTIAL_FILE"], environ))
    if b"BOTO_CONFIG" in environ:
        files.append(expanded(environ[b"BOTO_CONFIG"], environ))
    else:
        files += [b"/etc/boto.cfg", base + b"/.boto"]
    return files


def expanded(path: bytes, environ: "Environment") -> bytes:
    """The path with `~` and `$NAME` replaced, as botocore does it, by variables that may be another process's."""
    if b"$" in path:
        from os import fsdecode, fsencode
        from string import Template

        path = fsencode(Template(fsdecode(path)).safe_substitute(_Named(environ)))
    if path == b"~" or path.startswith(b"~/"):
        return (home(environ) or b"~") + path[1:]
    if path.startswith(b"~"):
        from os.path import expanduser

        return expanduser(path)  # noqa: PTH111 - of bytes, as botocore does it
    return path


class _Named(dict[str, str]):
    """Variables as text, for a template; one that is in none of them is perhaps this process's."""

    def __init__(self, environ: "Environment") -> None:
        self._environ = environ

    def __missing__(self, name: str) -> str:
        from os import environ, fsdecode, fsencode

        value = self._environ.get(fsencode(name))
        return environ[name] if value is None else fsdecode(value)
