"""Asking AWS with botocore: for a registry token, and who we are.

It is all of the ECR source that a cache hit does not need, and what a login to Vault needs of AWS.

botocore finds the credentials and signs. What is set here is what a credential helper needs otherwise than a script:
everything ends in time, nothing prompts, roles are shared with the AWS CLI, the request goes where the registry's name
says, and each failure has a sentence of its own, see `aws_errors`.
"""

import base64
import os
import posix
import shlex
import ssl
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from io import BytesIO, TextIOWrapper
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from credhelpers import environment, files, lifetimes
from credhelpers.clouds import aws_errors
from credhelpers.clouds.propagation import Unknown
from credhelpers.credential import Credential
from credhelpers.deadline import Late, within
from credhelpers.errors import DeadlinePassed, HelperError, NoIdentity, Unavailable, shortage
from credhelpers.net import child, trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from credhelpers.clouds.aws_errors import Cause
    from credhelpers.exchanges.ecr import EcrHost

Result = TypeVar("Result")

_BUDGET = 8.5  # seconds for everything; the clock of the whole call strikes after 9.5 and knows no particulars
_CONNECT, _READ = 2, 4  # seconds for a connection and for each read
_ATTEMPTS = 3
_METADATA = 0.8  # seconds for the metadata service of EC2 in all; with botocore, a machine without one waits for 1.1
_CONTAINER = 3.0  # seconds for that of ECS and EKS, which is there wherever its variable is set
_BODY_BYTES = _FILE_BYTES = 1 << 20
_TOKEN_BYTES = 1 << 16  # STS takes 20,000 letters (`WebIdentityToken` of AssumeRoleWithWebIdentity)

# docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
_IDENTITY = "Action=GetCallerIdentity&Version=2011-06-15"

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
_PAST_PROXIES = "localhost,127.0.0.1,[::1],169.254.169.254,[fd00:ec2::254]"
# Of botocore's chain: what it asks when no profile holds credentials, whichever was named.
_OF_THE_MACHINE = ("ec2-credentials-file", "boto-config", "container-role", "iam-role")
_LAST = 0.3  # seconds in which a late child is ended
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@+-")
_PLAIN_LETTERS = 64


def authorization_token(host: "EcrHost", settings: "Mapping[str, str]") -> Credential:
    """A token for the registries of `host`'s region, with its times, by the identity that `settings` choose.

    Raises NotFound if `host` is the public registry, which serves anybody, and there are no credentials at all and
    none are configured; else Unavailable.
    """
    now = time.time()
    answer: dict[str, Any] = _answered(lambda: _TokenRequest(host, settings))
    return _credential(answer, now)


def authorization_token_by(access: str, secret: str, session: str, host: "EcrHost", seconds: float) -> Credential:
    """The same within the seconds, by keys that somebody else has found; `session` is "" for those of a user.

    Nothing is looked for then. Raises Unknown if AWS does not know them or denies them the token, else Unavailable.
    """
    now = time.time()
    answer: dict[str, Any] = _answered(lambda: _TokenRequestBy((access, secret, session), host), seconds)
    return _credential(answer, now)


class SignedRequest:
    """A request that is signed and not sent: `POST` to `url`."""

    __slots__ = ("body", "headers", "url")

    def __init__(self, url: str, headers: "dict[str, str]", body: str) -> None:
        self.url = url
        self.headers = headers
        self.body = body


def caller_identity(region: str, profile: str | None, headers: "Mapping[str, str]", seconds: float) -> SignedRequest:
    """`GetCallerIdentity` for the STS of `region`, for somebody else to send; `headers` are signed with it.

    The endpoint is the region's own, that of AWS_ENDPOINT_URL_STS if it is set, and for us-east-1 the global one, as
    those who verify such requests have it. Raises Unavailable, within the seconds.
    """
    return _answered(lambda: _IdentityRequest(region, {"profile": profile} if profile else {}, headers), seconds)


def _answered(make: "Callable[[], _Request[Result]]", seconds: float = _BUDGET) -> "Result":
    """What the request comes to within the seconds. Raises HelperError only."""
    started = time.monotonic()
    try:
        import botocore.session  # noqa: F401 - whether it is here; a slow disk's seconds are part of the budget
    except ImportError:
        raise Unavailable(
            "ecr-sdk-missing", "botocore, which talks to AWS, is not installed", f"run `{_install('botocore')}`"
        ) from None
    request = make()
    request.until = started + seconds
    try:
        return within(request.until - time.monotonic(), request.send)
    except Late:
        raise request.late() from None
    except DeadlinePassed:
        child.end_all()
        raise


class _Request(ABC, Generic[Result]):
    """One question to `service` in `region`, from the search for credentials to the answer."""

    unknown_region = aws_errors.UNKNOWN_REGION

    def __init__(self, service: str, region: str, settings: "Mapping[str, str]") -> None:
        import botocore.session

        self.service = service
        self.region = region
        self.settings = settings
        self.session: Any = botocore.session.Session(profile=settings.get("profile"))
        self.endpoint: str | None = None
        self.asked = ""  # the AWS service that was asked last, as people call it
        self.method = ""  # how botocore came by the credentials
        self.until = time.monotonic() + _BUDGET  # of the monotonic clock

    def send(self) -> Result:
        """The answer. Raises HelperError only."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            self._prepare()
            return self._ask()
        except HelperError:
            raise
        except ClientError as error:
            cause, status = aws_errors.of_refusal(error, self.service, is_environment=self.method == "env")
            raise self._unavailable(cause, status) from None
        except BotoCoreError as error:
            raise self._failed(error) from None
        except ssl.SSLError:
            raise self._unavailable(aws_errors.NO_TLS) from None
        except OSError as error:
            raise self._unavailable(aws_errors.SYSTEM, reason=error.strerror or "no reason given") from None
        # What the SDK lets through of malformed settings and answers; it documents none of them.
        except (
            AttributeError,
            LookupError,
            OverflowError,
            ResponseParserError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            unread = aws_errors.NOT_AN_ANSWER if isinstance(error, ResponseParserError) else aws_errors.MALFORMED
            raise self._unavailable(aws_errors.NOT_A_TOKEN if self.asked.startswith("ECR") else unread) from None

    def late(self) -> Unavailable:
        """What to say when the time is up."""
        if self.asked:
            return self._unavailable(aws_errors.LATE_ANSWER)
        return self._unavailable(aws_errors.LATE_SEARCH)

    def _prepare(self) -> None:
        """Settle how and where botocore asks, before anything is signed or any credential is looked for."""
        from botocore import awsrequest, config, loaders
        from botocore.exceptions import UnknownRegionError

        session = self.session
        self._file("config_file")
        self._file("credentials_file")
        # The models and endpoint tables of the installed package alone: not AWS_DATA_PATH, not ~/.aws/models.
        builtin = loaders.Loader([loaders.Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
        session.register_component("data_loader", builtin)
        environment.show("BOTOCORE_EXPERIMENTAL__PLUGINS", None)  # names modules to import and run
        os.umask(0o077)  # for what botocore writes below ~/.aws
        _keep_from_proxies()
        _believe_as_others_do()
        awsrequest.AWSResponse = _bounded(awsrequest.AWSResponse)
        session.set_default_client_config(
            config.Config(
                connect_timeout=_CONNECT,
                read_timeout=_READ,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            )
        )
        session.register("before-send", self._check_destination)
        try:
            self._check_partition(session.get_partition_for_region(self.region))
        except UnknownRegionError:
            raise self._unavailable(self.unknown_region) from None
        self.endpoint = self._configured_endpoint()
        if self.endpoint and not _is_safe(self.endpoint):
            raise self._unavailable(aws_errors.UNSAFE_ENDPOINT)

    def _file(self, variable: str) -> str:
        """The path of a file that may name a command to run, as botocore will find it; "" for none.

        Raises Unavailable if it is relative: nobody's command is to run because of where docker was called.
        """
        path = os.path.expanduser(os.path.expandvars(self.session.get_config_variable(variable) or ""))  # noqa: PTH111
        if path and not path.startswith("/"):
            raise self._unavailable(aws_errors.RELATIVE_FILE)
        return path

    def run(self, profile: str, command: list[str]) -> tuple[int, bytes, bytes]:
        """What the credential_process of the profile comes to. Raises Unavailable if others could have written it."""
        from botocore.configloader import raw_config_parse
        from botocore.exceptions import ConfigNotFound

        path = self._file("credentials_file")  # what it says counts before what the other one says
        try:
            is_there = "credential_process" in raw_config_parse(path).get(profile, {})
        except ConfigNotFound:
            is_there = False
        if not is_there:
            path = self._file("config_file")
        self._check_command(path, command)
        try:
            return child.run_command(command, posix.environ, {}, self.until - _LAST - time.monotonic())
        except subprocess.TimeoutExpired:
            raise self._unavailable(aws_errors.LATE_PROCESS) from None

    def _check_command(self, path: str, command: list[str]) -> None:
        """Raise unless the command stands in the file, and nobody else may write that.

        It is read once more: at the path there may be another file than the one that botocore has read.
        """
        from configparser import Error, RawConfigParser

        from botocore.compat import compat_shell_split

        parser = RawConfigParser()
        content, status = files.read(path, _FILE_BYTES)
        if mending := files.mending(os.fsencode(path), status):
            raise self._unavailable(aws_errors.UNTRUSTED_FILE, mending=mending)
        with suppress(Error, UnicodeDecodeError):  # botocore has read one without; what has no command is refused
            parser.read_file(TextIOWrapper(BytesIO(content)))  # in the encoding in which botocore reads it
        for section in parser.sections():
            with suppress(ValueError):  # a quotation mark without its fellow, in another profile
                if compat_shell_split(parser.get(section, "credential_process", fallback="")) == command:
                    return
        raise self._unavailable(aws_errors.CHANGED_FILE)

    def read_web_identity(self, path: str) -> str:
        """The text of the file with the web identity token. Raises Unavailable."""
        try:
            return TextIOWrapper(BytesIO(files.read(path, _TOKEN_BYTES)[0]), "utf-8").read()
        except (OSError, ValueError):
            raise self._unavailable(aws_errors.UNREADABLE_WEB_IDENTITY) from None

    def _configured_endpoint(self) -> str | None:
        """The URL that the user set for this service: in the entry, else looked up as botocore documents it."""
        if "endpoint_url" in self.settings:
            return self.settings["endpoint_url"]
        if self.session.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        name = self.service.replace("-", "_")
        for variable in (f"AWS_ENDPOINT_URL_{name.upper()}", "AWS_ENDPOINT_URL"):
            if os.environ.get(variable):
                return os.environ[variable]
        profile = self.session.get_scoped_config()
        services = self.session.full_config.get("services", {}).get(profile.get("services"), {})
        chosen = services.get(name, {}).get("endpoint_url") or profile.get("endpoint_url")
        return str(chosen) if chosen else None

    def _check_partition(self, partition: str) -> None:
        """Raise if the region is not of the partition that it must be of."""

    @abstractmethod
    def _ask(self) -> Result:
        """The answer. Raises HelperError, and whatever botocore does."""

    def _is_destination(self, name: str) -> bool:  # noqa: ARG002 - what is asked by name does so
        """Whether a request to `service` may go to the host that botocore chose."""
        return True

    def _credentials(self) -> "Any":
        from botocore import credentials

        credentials.ProcessProvider = _process_provider(credentials.ProcessProvider, self)
        credentials.FileWebIdentityTokenLoader = _token_loader(self)
        resolver = credentials.create_credential_resolver(self.session, cache=_shared_cache(), region_name=self.region)
        resolver.get_provider("assume-role")._prompter = self._ask_for_mfa  # noqa: SLF001 - there is no public way
        _limit(resolver.get_provider("iam-role"), _METADATA, lambda: None)
        _limit(resolver.get_provider("container-role"), _CONTAINER, _no_container_credentials)
        if "profile" in self.settings:
            for provider in _OF_THE_MACHINE:  # an empty profile is a mistake, and not whoever this machine is
                resolver.remove(provider)
        self.session.register_component("credential_provider", resolver)
        found = self.session.get_credentials()
        if found is None:
            raise self._lacking()
        return found

    def _ask_for_mfa(self, _prompt: str) -> "NoReturn":
        raise self._unavailable(aws_errors.MFA)

    def _check_destination(self, request: "Any", event_name: str, **_: object) -> None:
        """Called by botocore before each request to any service, with the signed request."""
        service = event_name.split(".")[1]
        self.asked = {"ecr-public": "ECR Public", "sso-oidc": "SSO"}.get(service, service.upper())
        if not _is_safe(request.url):
            raise self._unavailable(aws_errors.UNSAFE_ENDPOINT)
        if service != self.service or self.endpoint:
            return
        if not self._is_destination(urlsplit(request.url).hostname or ""):
            raise self._unavailable(aws_errors.FOREIGN_ENDPOINT)

    def _failed(self, error: "Any") -> HelperError:
        inner = getattr(error, "kwargs", {}).get("error")
        if isinstance(inner, HelperError):
            return inner
        return self._lacking() if aws_errors.is_lack(error) else self._unavailable(aws_errors.of_exception(error))

    def _too_old(self) -> Unavailable:
        """What botocore's RuntimeError means: the credentials were fetched again, and are still too old."""
        return self._unavailable(aws_errors.EXPIRED_ENVIRONMENT if self.method == "env" else aws_errors.EXPIRED)

    def _lacking(self) -> HelperError:
        if "profile" in self.settings:
            return self._unavailable(aws_errors.EMPTY_PROFILE)
        return Unavailable(*aws_errors.NO_CREDENTIALS)

    def _unavailable(self, cause: "Cause", status: int = 0, **more: str) -> Unavailable:
        code, message, hint = cause
        names = {
            **more,
            "crt": _install("botocore[crt]"),
            "profile": _option(self.session.get_config_variable("profile")),
            "service": self.asked or "credentials",
            "source": _option(self._source_profile()) if "{source}" in hint else "",
            "status": status,
            "upgrade": _install("botocore", upgrade=True),
        }
        return Unavailable(code, message.format(**names), hint.format(**names))

    def _source_profile(self) -> str | None:
        """The profile that signs in: the one that is set, or the one on which its role rests."""
        name: str | None = self.session.get_config_variable("profile")
        profiles = self.session.full_config["profiles"]
        for _ in profiles:
            source = profiles.get(name or "default", {}).get("source_profile")
            if not source or source == name:
                break
            name = source
        return name


class _TokenRequest(_Request["dict[str, Any]"]):
    """`GetAuthorizationToken`; its answer is the `authorizationData` that AWS sent."""

    def __init__(self, host: "EcrHost", settings: "Mapping[str, str]") -> None:
        super().__init__("ecr-public" if host.public else "ecr", host.region, settings)
        self.host = host

    def _check_partition(self, partition: str) -> None:
        if partition != self.host.partition:
            raise self._unavailable(aws_errors.FOREIGN_REGION)

    def _is_destination(self, name: str) -> bool:
        return name.endswith(tuple(f".{self.region}.{domain}" for domain in _DOMAINS[self.host.partition]))

    def _ask(self) -> "dict[str, Any]":
        from botocore import config

        self._sign_in()
        client = self.session.create_client(
            self.service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            config=config.Config(
                use_fips_endpoint=True if self.host.fips else None,  # None: what AWS_USE_FIPS_ENDPOINT says
                use_dualstack_endpoint=self.host.dual_stack,
                ignore_configured_endpoint_urls=True,  # `endpoint` holds what is configured
            ),
        )
        response: dict[str, Any] = client.get_authorization_token()
        data = response.get("authorizationData")
        if isinstance(data, list) and data:  # the private API lists one token, the public one gives it bare
            data = data[0]
        if not isinstance(data, dict):
            raise Unavailable(*aws_errors.NOT_A_TOKEN)
        return data

    def _sign_in(self) -> None:
        found = self._credentials()
        self.method = found.method
        try:
            if "role_arn" in self.settings:
                self._assume(found)
            else:
                found.get_frozen_credentials()  # a profile's role is assumed here, before the price of a client
        except RuntimeError:
            raise self._too_old() from None

    def _assume(self, base: "Any") -> None:
        """Let the session have the role of the entry, assumed by `base`, from the AWS CLI's cache if it is there.

        The file has the name that it gets for a profile with the same role, external id and session name.
        """
        from functools import partial

        from botocore.credentials import AssumeRoleCredentialFetcher

        arguments = {"external_id": "ExternalId", "session_name": "RoleSessionName"}
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(self.session.create_client, region_name=self.region),
            source_credentials=base,
            role_arn=self.settings["role_arn"],
            extra_args={name: self.settings[key] for key, name in arguments.items() if key in self.settings},
            cache=_shared_cache(),
        )
        role = fetcher.fetch_credentials()
        self.method = "assume-role"
        self.session.set_credentials(role["access_key"], role["secret_key"], role["token"])

    def _lacking(self) -> HelperError:
        if self.host.public and not self.settings.keys() & {"profile", "role_arn"}:
            return NoIdentity(
                "ecr-no-identity", "no AWS credentials in variables, files, container and metadata service"
            )
        return super()._lacking()


class _TokenRequestBy(_TokenRequest):
    """The same with keys that are there already."""

    def __init__(self, keys: tuple[str, str, str], host: "EcrHost") -> None:
        from botocore.configprovider import ConstantProvider

        super().__init__(host, {})
        self._keys = keys
        # AWS_PROFILE is about another identity, whose settings do not count, nor whether there is such a profile.
        self.session.get_component("config_store").set_config_provider("profile", ConstantProvider(None))

    def _sign_in(self) -> None:
        access, secret, session = self._keys
        self.session.set_credentials(access, secret, session or None)

    def _unavailable(self, cause: "Cause", status: int = 0, **more: str) -> Unavailable:
        because = super()._unavailable(cause, status, **more)
        return Unknown(because.code, because.message, because.hint) if cause in aws_errors.UNKNOWN else because


class _IdentityRequest(_Request[SignedRequest]):
    """`GetCallerIdentity`, signed. Of STS itself nothing is asked but what the credentials need."""

    unknown_region = aws_errors.UNKNOWN_STS_REGION

    def __init__(self, region: str, settings: "Mapping[str, str]", headers: "Mapping[str, str]") -> None:
        super().__init__("sts", region, settings)
        self.headers = headers

    def _ask(self) -> SignedRequest:
        from botocore import auth, awsrequest, config

        found = self._credentials()
        self.method = found.method
        try:
            frozen = found.get_frozen_credentials()
        except RuntimeError:
            raise self._too_old() from None
        where = "legacy" if self.region == "us-east-1" else "regional"  # botocore's words for global or not
        self.session.set_config_variable("sts_regional_endpoints", where)
        client = self.session.create_client(
            "sts",
            region_name=self.region,
            endpoint_url=self.endpoint,
            config=config.Config(ignore_configured_endpoint_urls=True),  # `endpoint` holds what is configured
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", **self.headers}
        url = client.meta.endpoint_url.removesuffix("/") + "/"
        request = awsrequest.AWSRequest("POST", url, headers, _IDENTITY)
        auth.SigV4Auth(frozen, "sts", self.region).add_auth(request)
        return SignedRequest(url, dict(request.headers.items()), _IDENTITY)


def _limit(provider: "Any", seconds: float, otherwise: "Callable[[], None]") -> None:
    """Give a provider of the chain `seconds` in all; then it has what `otherwise` returns or raises."""
    load = provider.load

    def limited() -> "Any":
        try:
            return within(seconds, load)
        # Late, or an answer or a URL that makes no sense.
        except (Late, LookupError, OSError, TypeError, ValueError) as error:
            if lacking := shortage(error):
                raise lacking from None
            return otherwise()

    provider.load = limited


def _no_container_credentials() -> "NoReturn":
    from botocore.exceptions import CredentialRetrievalError

    raise CredentialRetrievalError(provider="container-role", error_msg="")


def _shared_cache() -> "Any":
    """The AWS CLI's cache of assumed roles, so that a role is assumed once for both; botocore's default is a dict."""
    from pathlib import Path

    from botocore.utils import JSONFileCache

    class Shared(JSONFileCache):  # type: ignore[misc] # botocore has no types
        def __setitem__(self, key: str, value: object) -> None:
            try:
                super().__setitem__(key, value)
            except OSError:  # a home that cannot be written costs a call of STS, not the token
                return

        def __getitem__(self, key: str) -> "Any":
            value = super().__getitem__(key)
            if not isinstance(value, dict) or not isinstance(value.get("Credentials"), dict):
                raise KeyError(key)
            return value

        def __contains__(self, key: str) -> bool:
            try:
                return bool(self[key])
            except KeyError:
                return False

    return Shared(str(Path("~/.aws/cli/cache").expanduser()))


def _process_provider(base: "Any", request: "_Request[Any]") -> "Any":
    """`base` that starts no process itself: `child` does, and ends it."""

    class Process(base):  # type: ignore[misc] # botocore has no types
        def __init__(self, profile_name: str, load_config: "Any", popen: "Any" = None) -> None:
            super().__init__(profile_name, load_config, popen or self._start)

        def _start(self, command: list[str], **_: object) -> _Started:
            return _Started(request, self._profile_name, command)

        def load(self) -> "Any":
            from botocore.exceptions import CredentialRetrievalError

            try:
                return super().load()
            except (AttributeError, LookupError, OSError, TypeError, ValueError):
                # no such command, or an answer that is not the JSON object it should be
                raise CredentialRetrievalError(provider=self.METHOD, error_msg="") from None

    return Process


class _Started:
    """What botocore knows of a process (`subprocess.Popen`): it starts when its output is asked for."""

    returncode = 0

    def __init__(self, request: "_Request[Any]", profile: str, command: list[str]) -> None:
        self._request = request
        self._profile = profile
        self._command = command

    def communicate(self) -> tuple[bytes, bytes]:
        """Output and errors of the process, which has ended."""
        self.returncode, output, errors = self._request.run(self._profile, self._command)
        return output, errors


def _token_loader(request: "_Request[Any]") -> "Any":
    """A `FileWebIdentityTokenLoader` of botocore's whose failures are told from all others."""

    class Loader:
        def __init__(self, web_identity_token_path: str) -> None:
            self._path = web_identity_token_path

        def __call__(self) -> str:
            return request.read_web_identity(self._path)

    return Loader


def _bounded(base: "Any") -> "Any":
    """`base`, an HTTP response, that reads no more than a token can need."""

    class Bounded(base):  # type: ignore[misc] # botocore has no types
        _content: bytes | None

        @property
        def content(self) -> bytes:
            if self._content is None:
                content = self.raw.read(_BODY_BYTES + 1)
                if len(content) > _BODY_BYTES:
                    raise Unavailable(*aws_errors.NOT_A_TOKEN)
                self._content = content
            return self._content

    return Bounded


def _keep_from_proxies() -> None:
    """Lead requests to this machine and its metadata service past any proxy, which would see their credentials."""
    names = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY", ""), _PAST_PROXIES]
    metadata = urlsplit(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "")).hostname
    environment.show("no_proxy", ",".join(filter(None, (*names, metadata))))


def _believe_as_others_do() -> None:
    """Have botocore believe whom `net.trust` does: the system's authorities where no variable, no profile names any.

    Its own are a list of the time when it was published. What is named it still adds by itself, to nobody.
    """
    from botocore import httpsession

    of_system: list[ssl.SSLContext] = []  # one for all: to read the certificates takes its time

    def context(session: "Any") -> ssl.SSLContext:
        if session._verify is not True:  # noqa: SLF001 - botocore's
            return trust.bare()
        of_system[:] = of_system or [trust.context(posix.environ)]
        return of_system[0]

    httpsession.URLLib3Session._get_ssl_context = context  # noqa: SLF001 - see above
    httpsession.get_cert_path = lambda verify: None if verify is True else verify


def _is_safe(url: str) -> bool:
    """Whether secrets go there in TLS, or no further than this machine."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    is_here = name in ("localhost", "::1") or (name.startswith("127.") and name.replace(".", "").isdigit())
    return parts.scheme == "https" or (parts.scheme == "http" and is_here)


def _credential(data: "dict[str, Any]", now: float) -> Credential:
    """The user name and the password in the token, with the times between which it serves."""
    try:
        pair = base64.b64decode(data["authorizationToken"], validate=True).decode("ascii")
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


def _option(profile: str | None) -> str:
    """The option that makes the AWS CLI use `profile`; a name that is no plain word is not repeated."""
    if not profile:
        return ""
    is_plain = len(profile) <= _PLAIN_LETTERS and set(profile) <= _PLAIN
    return f" --profile {profile if is_plain else 'NAME'}"


def _install(requirement: str, *, upgrade: bool = False) -> str:
    """The command that adds a Python package to this installation, or renews it."""
    quoted = shlex.quote(requirement)
    if "/pipx/venvs/" in sys.executable:
        return f"pipx runpip credhelpers install --upgrade {quoted}" if upgrade else f"pipx inject credhelpers {quoted}"
    if "/uv/tools/" in sys.executable:
        return "uv tool upgrade credhelpers" if upgrade else f"uv tool install --with {quoted} 'credhelpers[ecr]'"
    return f"{shlex.quote(sys.executable)} -m pip install{' --upgrade' if upgrade else ''} {quoted}"
