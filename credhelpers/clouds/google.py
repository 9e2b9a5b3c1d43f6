"""How `gcr` makes a token: google-auth's type-specific loaders, in the order of Application Default Credentials.

google-auth's own `default()` is not used: it runs gcloud for a project that nobody needs, polls the metadata server for
twelve seconds, and trusts what a file says about where to send a secret. Nor are its transports: it takes any callable
for one, and `net.wire` is what everybody here asks by.
"""

import json
import os
import posix
from datetime import UTC, datetime
from subprocess import PIPE, STDOUT, CompletedProcess, SubprocessError, TimeoutExpired
from time import monotonic, sleep, time
from typing import TYPE_CHECKING
from urllib.parse import quote

from credhelpers import environment, files, lifetimes, notes
from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NoIdentity, NotFound, Unavailable, shortage
from credhelpers.exchanges.google import UNIVERSE, is_service
from credhelpers.hosts import endpoint, is_local
from credhelpers.net import child
from credhelpers.net.wire import Answer, Peer, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Never

    from credhelpers.identity import Environment

_USER = "oauth2accesstoken"  # cloud.google.com/artifact-registry/docs/docker/authentication#token
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_BUDGET = 8.0  # seconds for a mint, below the deadline of a call
_LOCAL = 0.9  # seconds for a request to a metadata service, whose only distance is the hypervisor
_METADATA = b"169.254.169.254"  # by number: a resolver that does not know its name may take its time to say so
_FILE_BYTES = 1 << 20
_TOKEN_BYTES = 60 * 1024  # what fits into an answer of the protocol
_SHORTEST = 60.0  # seconds; a token that has fewer left is taken for one that is over

_SETUP = "run `gcloud auth application-default login`, or see `docs/gcr.md`"
_LOGIN = "run `gcloud auth application-default login`"


class GoogleExchange:
    """One token to be made: for a universe and its settings, with the file that they name or gcloud's `default`."""

    def __init__(
        self, environ: "Environment", universe: str, settings: "dict[str, Any]", file: bytes, default: bytes
    ) -> None:
        self._environ = environ
        self._universe = universe
        self._settings = settings
        self._file = file
        self._default = default

    def credential(self) -> Credential:
        """A new token. NotFound if nobody told us who we are, and no metadata server does."""
        network = _Network(self._environ, self._universe, monotonic() + _BUDGET)
        try:
            return credential(*self._token(network))
        except ImportError:
            raise _missing() from None

    def _token(self, network: "_Network") -> tuple[str, float]:
        """The token and when it ends, in seconds since the epoch."""
        chosen = self._settings.get("credential")
        named = self._environ.get(b"GOOGLE_APPLICATION_CREDENTIALS")
        if chosen == "gcloud":
            return self._impersonated(network, _gcloud(self._environ, self._settings, self._universe, network.until))
        if chosen == "metadata":
            return self._impersonated(network, _metadata(network, is_expected=True))
        if self._file:
            return self._from_file(network, self._file, "the file of `credentials_file`")
        if named:
            return self._from_file(network, named, "the file of GOOGLE_APPLICATION_CREDENTIALS")
        if _exists(self._default):
            return self._from_file(network, self._default, "gcloud's application default credential")
        try:
            return self._impersonated(network, _metadata(network, is_expected=False))
        except NotFound:
            if "impersonate" in self._settings:
                raise Unavailable(
                    "gcr-nobody-impersonates", "there is no identity that could impersonate the service account", _SETUP
                ) from None
            why = "no credential file of Google's, and no metadata server with a service account"
            raise NoIdentity("gcr-no-identity", why) from None

    def _from_file(self, network: "_Network", path: bytes, what: str) -> tuple[str, float]:
        """The token for the identity in a file."""
        _prepare()
        notes.take(f"google identity: {what}")
        info, status = _read(path, what)
        file = _File(_Origin(path, what, status), info, self._universe, network)
        return _refreshed(network, self._on_behalf(file.credentials()), file.kind)

    def _impersonated(self, network: "_Network", found: tuple[str, float]) -> tuple[str, float]:
        """The token itself, or one of the service account to impersonate."""
        notes.take(f"google identity: {'gcloud' if self._settings.get('credential') == 'gcloud' else 'this machine'}")
        if "impersonate" not in self._settings:
            return found
        _prepare()
        from google.oauth2.credentials import Credentials

        return _refreshed(network, self._on_behalf(Credentials(found[0], universe_domain=self._universe)), "token")

    def _on_behalf(self, source: "Any") -> "Any":
        """Credentials of the service account to impersonate, else those given."""
        if "impersonate" not in self._settings:
            return source
        from google.auth.impersonated_credentials import Credentials

        delegates = [f"projects/-/serviceAccounts/{account}" for account in self._settings.get("delegates", ())]
        return Credentials(source, self._settings["impersonate"], [_SCOPE], delegates=delegates)


def credential(token: object, end: float) -> Credential:
    """The credential for an access token that ends at `end`. Never says "one hour": federation gives minutes.

    Raises Unavailable for what can be no token, and for one that has ended.
    """
    now = time()
    life = end - now
    if not isinstance(token, str) or not 0 < len(token) < _TOKEN_BYTES or not all("!" <= one <= "~" for one in token):
        raise Unavailable(
            "gcr-no-token", "google answered with something that is no access token", "try again in a moment"
        )
    if not _SHORTEST <= life <= lifetimes.GCR.longest:
        raise Unavailable(
            "gcr-clock",
            "google's token has expired by the clock of this machine, or lives too long to be true",
            "compare `date -u` with the true time, and set the clock",
        )
    kind = lifetimes.GCR if life > lifetimes.KEPT_BY_CLIENTS else lifetimes.GCR_SHORT
    soft, hard, expires = lifetimes.window(now, end, kind)
    return Credential(_USER, token, soft=soft, hard=hard, expires=expires)


# --- google-auth ------------------------------------------------------------------------------------------------------


def _missing() -> Unavailable:
    return Unavailable(
        "gcr-sdk-missing",
        "google-auth is not installed",
        "install credhelpers with its extra `gcr`: `pip install credhelpers[gcr]`",
    )


def _prepare() -> None:
    """Tell google-auth, before it is imported, not to impersonate at a host that wants a client certificate."""
    environment.show("GOOGLE_API_USE_CLIENT_CERTIFICATE", "false")
    import google.auth  # noqa: F401 - whoever lacks it hears of that before anything else


def _refreshed(network: "_Network", credentials: "Any", kind: str) -> tuple[str, float]:
    """The token and its end, after one refresh by google-auth."""
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials.refresh(network)
        end: float = credentials.expiry.replace(tzinfo=UTC).timestamp()
        return credentials.token, end
    except HelperError:
        raise
    except SubprocessError:
        problem = Unavailable(
            "gcr-program-slow",
            "the program of the credential file gave no token in time",
            "run it by hand and see how long it takes",
        )
    except (
        GoogleAuthError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        OSError,
        RecursionError,
    ) as error:
        # Besides its own: what the parsers raise for an answer that is none (texts, lists, NaN, years beyond 9999).
        problem = shortage(error) or network.refusal(kind)
    raise problem from None


class _Origin:
    """Where a credential file is, what people call it, and whose it is."""

    __slots__ = ("path", "status", "what")

    def __init__(self, path: bytes, what: str, status: os.stat_result) -> None:
        self.path = path
        self.what = what
        self.status = status


class _File:
    """The content of a credential file, checked before google-auth gets it, and what kind it is."""

    def __init__(self, origin: _Origin, info: "dict[str, Any]", universe: str, network: "_Network") -> None:
        self.kind = str(info.get("type"))
        self._origin = origin
        self._info = info
        self._universe = universe
        self._network = network

    def credentials(self) -> "Any":
        """google-auth's object for it. Raises Unavailable if the file is not as it must be, or of another universe."""
        from google.auth.exceptions import GoogleAuthError

        # An impersonated account is of its source's universe, which is looked at when that is loaded.
        default = self._universe if self.kind == "impersonated_service_account" else UNIVERSE
        if (self._info.get("universe_domain") or default) != self._universe:
            self._refuse(
                "gcr-universe",
                "is of another universe than the registry",
                "choose another for it in config.toml, see `docs/gcr.md`",
            )
        loaders: dict[str, Callable[[], Any]] = {
            "service_account": self._service_account,
            "authorized_user": self._authorized_user,
            "external_account": self._external_account,
            "external_account_authorized_user": self._workforce_user,
            "impersonated_service_account": self._impersonated,
        }
        if self.kind not in loaders:
            self._refuse("gcr-file-unsupported", "has a type that is not supported", "`docs/gcr.md` lists the types")
        try:
            return loaders[self.kind]()
        except HelperError:
            raise
        except (GoogleAuthError, ValueError, TypeError, KeyError, AttributeError):
            self._refuse("gcr-file-damaged", "is incomplete or damaged", _ANOTHER_FILE)

    def _refuse(self, code: str, message: str, hint: str) -> "Never":
        raise Unavailable(code, f"{self._origin.what} {message}", hint) from None

    def _service_account(self) -> "Any":
        from google.oauth2.service_account import Credentials

        if self._universe == UNIVERSE:  # others take an assertion signed by the account itself: nobody is asked
            self._send_to("token_uri")
        return Credentials.from_service_account_info(self._info, scopes=[_SCOPE])

    def _authorized_user(self) -> "Any":
        from google.oauth2.credentials import Credentials

        if self._universe != UNIVERSE:
            self._refuse(
                "gcr-universe", "is a user's, which this universe does not take", "use a service account or federation"
            )
        return Credentials.from_authorized_user_info(self._info)

    def _workforce_user(self) -> "Any":
        from google.auth.external_account_authorized_user import Credentials

        self._send_to("token_url")
        return Credentials.from_info(self._info)

    def _impersonated(self) -> "Any":
        from google.auth.impersonated_credentials import Credentials

        source = _File(self._origin, self._info["source_credentials"], self._universe, self._network)
        if source.kind == self.kind:
            self._refuse("gcr-file-circular", "impersonates in a circle", "write the chain into `delegates`")
        url = self._send_to("service_account_impersonation_url")
        account = url.rpartition("/")[2].removesuffix(":generateAccessToken")
        delegates = self._info.get("delegates")
        return Credentials(source.credentials(), account, [_SCOPE], delegates=delegates, iam_endpoint_override=url)

    def _external_account(self) -> "Any":
        info = {name: value for name, value in self._info.items() if not name.endswith("_supplier")}
        source = dict(info["credential_source"])
        self._send_to("token_url")
        if "service_account_impersonation_url" in info:
            self._send_to("service_account_impersonation_url")
        if "environment_id" in source:
            from google.auth.aws import Credentials as External

            for name in ("url", "region_url", "imdsv2_session_token_url"):
                if name in source:
                    self._ask(source[name], is_metadata=True)
        elif "executable" in source:
            from google.auth import pluggable
            from google.auth.pluggable import Credentials as External

            if self._network.environ.get(b"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") != b"1":
                self._refuse(
                    "gcr-program-forbidden",
                    "wants to run a program",
                    "allow that with GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1",
                )
            self._check_that_it_may_name_a_program()
            pluggable.subprocess = _Subprocess(self._network)
            milliseconds = int(_BUDGET * 1000)
            program = dict(source["executable"])
            program["timeout_millis"] = min(program.get("timeout_millis") or milliseconds, milliseconds)
            info["credential_source"] = {**source, "executable": program}
        elif "certificate" in source:
            self._refuse(
                "gcr-client-certificate",
                "wants a client certificate, which is not supported",
                "use a file, a URL or AWS as the source",
            )
        else:
            from google.auth.identity_pool import Credentials as External

            if "url" in source:
                self._ask(source["url"], is_metadata=False)
        return External.from_info(info, scopes=[_SCOPE])

    def _check_that_it_may_name_a_program(self) -> None:
        path = self._origin.path
        if not path.startswith(b"/"):
            self._refuse(
                "gcr-file-relative",
                "names a program, and has a relative path, so it is another one in each directory",
                "`printenv GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_CONFIG HOME`, and set the absolute path",
            )
        if mending := files.mending(path, self._origin.status):
            self._refuse(
                "gcr-file-untrusted",
                "names a program, and others may write it, so it is not trusted",
                f"see what is in it, then run `{mending}`",
            )

    def _send_to(self, name: str) -> str:
        """The URL under this name, if it is one of Google's: a secret goes there."""
        url: str = self._info[name]
        try:
            scheme, host, port, _ = endpoint(url)
            if scheme != "https" or port != 443 or not is_service(host, self._universe):  # noqa: PLR2004 - HTTPS
                raise NotFound
        except NotFound:
            self._refuse(
                "gcr-file-foreign",
                f"sends secrets to a `{name}` that is not Google's",
                "do not use it; ask who made it",
            )
        return url

    def _ask(self, url: str, *, is_metadata: bool) -> None:
        """Let the network ask the URL for a token, if it is https, or local and thus not seen by others."""
        try:
            host = endpoint(url)[1]
            if is_metadata and not is_local(host):
                raise NotFound
        except NotFound:
            self._refuse(
                "gcr-file-foreign", "names a URL that is neither https nor local", "look at its `credential_source`"
            )
        self._network.allowed.append(url)


class _Subprocess:
    """What google-auth's `pluggable` knows of `subprocess`: it starts no process itself, `child` does, and ends it."""

    PIPE, STDOUT = PIPE, STDOUT

    def __init__(self, network: "_Network") -> None:
        self._network = network

    def run(
        self, command: list[str], timeout: float, env: "Mapping[str, str]", **_streams: object
    ) -> "CompletedProcess[bytes]":
        """As `subprocess.run`, with errors in the output, and the caller's environment besides what is new in `env`."""
        new = {name: value for name, value in env.items() if os.environ.get(name) != value}
        more = {os.fsencode(name): os.fsencode(value) for name, value in new.items()}
        seconds = min(timeout, self._network.until - monotonic())
        status, output, _ = child.run_command(command, self._network.environ, more, seconds, is_one_stream=True)
        return CompletedProcess(command, status, output)


def _read(path: bytes, what: str) -> "tuple[dict[str, Any], os.stat_result]":
    """The object in a JSON file, and whose that is."""
    try:
        content, status = files.read(path, _FILE_BYTES)
        info = json.loads(content)
    except (FileNotFoundError, NotADirectoryError):
        raise Unavailable(
            "gcr-file-missing", f"{what} does not exist", f"correct the path; `ls -l` shows it. Or {_LOGIN}"
        ) from None
    except files.TooLong:
        info = None
    except (files.NotRegular, ValueError, RecursionError):
        raise Unavailable("gcr-file-malformed", f"{what} is not JSON", _ANOTHER_FILE) from None
    except OSError:
        raise Unavailable(
            "gcr-file-unreadable", f"{what} cannot be read", "look at its mode and owner with `ls -l`"
        ) from None
    if not isinstance(info, dict):
        raise Unavailable("gcr-file-malformed", f"{what} is not a credential of Google's", _ANOTHER_FILE)
    return info, status


# --- the network ------------------------------------------------------------------------------------------------------


class _Response:
    """What google-auth reads of an answer (`google.auth.transport.Response`)."""

    __slots__ = ("data", "headers", "status")

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.data = answer.content


class _Network:
    """google-auth's transport (`google.auth.transport.Request`): who may be asked, how long, and what was refused.

    A secret leaves through here or not at all, and only to a token service of the universe, over verified TLS. URLs in
    `allowed` are asked too: those from which a credential file fetches what it then exchanges at Google.
    """

    def __init__(self, environ: "Environment", universe: str, until: float) -> None:
        self.environ = environ
        self.allowed: list[str] = []
        self.until = until
        self.universe = universe
        self._wire = Wire(environ, until)
        self._last: tuple[str, int, bytes] | None = None

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: "Mapping[str, str] | None" = None,
        **_options: object,  # a time-out, which is ours to choose
    ) -> _Response:
        """Ask once. Raises Unavailable for whatever is no answer; an error status is one."""
        try:
            scheme, host, port, target = endpoint(url)
        except NotFound:  # of what a URL of the file answered one is made, as of the name of a role
            raise self.refusal("") from None
        is_google = scheme == "https" and port == 443 and is_service(host, self.universe)  # noqa: PLR2004 - HTTPS
        if not is_google and not any(url == known or url.startswith(f"{known}/") for known in self.allowed):
            raise Unavailable(
                "gcr-file-foreign", "a credential file sends secrets to a host that is not Google's", "do not use it"
            )
        peer = Peer(host, {"network": _NETWORK}) if is_google else Peer("the token URL of the credential file")
        answer = self._wire.ask(peer, method, (scheme, host, port, target), body=body, headers=headers)
        self._last = (host if is_google else "", answer.status, answer.content)
        return _Response(answer)

    def refusal(self, kind: str) -> Unavailable:
        """Why an identity of this kind got no token, by the last answer."""
        host, status, body = self._last or ("", 200, b"")
        if status != 200:  # noqa: PLR2004 - as google-auth has it
            return _refusal(kind, host, status, body)
        if host:
            return Unavailable(
                "gcr-no-token", "google answered with something that is no access token", "try again in a moment"
            )
        return Unavailable(
            "gcr-subject-unavailable",
            "the token that the credential file refers to cannot be had",
            "look at its `credential_source`: the file, URL or program that it names",
        )


_NETWORK = "`curl -sI https://oauth2.googleapis.com` and `printenv HTTPS_PROXY NO_PROXY` show where it ends"
_ANOTHER_FILE = "`gcloud auth application-default login` or `gcloud iam service-accounts keys create` makes another"

# What OAuth (RFC 6749, 5.2; RFC 8693, 2.2.2) and google.rpc.Code call an error: known words, so none can be a secret.
_WORDS = (
    "invalid_request invalid_client invalid_grant invalid_scope invalid_target unauthorized_client access_denied "
    "unsupported_grant_type deleted_client disabled_client org_internal admin_policy_enforced "
    "INVALID_ARGUMENT FAILED_PRECONDITION UNAUTHENTICATED PERMISSION_DENIED NOT_FOUND RESOURCE_EXHAUSTED INTERNAL "
    "UNAVAILABLE DEADLINE_EXCEEDED"
)
_POOLS = "look at the pool with `gcloud iam workload-identity-pools providers describe`, and at its conditions"
_CREATOR = (
    "grant it with `gcloud iam service-accounts add-iam-policy-binding ACCOUNT --member=MEMBER "
    "--role=roles/iam.serviceAccountTokenCreator`"
)


def _refusal(kind: str, host: str, status: int, body: bytes) -> Unavailable:
    """What a service's error means. `host` is empty for one that is not Google's; nothing of the text is repeated."""
    word, detail = _error_of(body)
    if not host:
        return Unavailable(
            "gcr-token-url",
            f"the token URL of the credential file answers with HTTP {status}",
            "`curl -i` it, and see what it points to",
        )
    if status == 429 or word == "RESOURCE_EXHAUSTED":  # noqa: PLR2004 - RFC 6585
        return Unavailable(
            "gcr-throttled", "google limits how often this identity may ask for tokens", "wait a minute, then try again"
        )
    if status >= 500:  # noqa: PLR2004 - RFC 9110, 15.6
        return Unavailable(
            "gcr-failed", f"{host} failed with HTTP {status}", "try again in a moment; see status.cloud.google.com"
        )
    if "iamcredentials" in host:
        return _refused_impersonation(word, detail, status)
    if "sts" in host or kind == "external_account_authorized_user":
        return _refused_exchange(kind, word, detail, status)
    return (_refused_key if kind == "service_account" or "jwt" in detail else _refused_user)(word, detail, status)


def _refused_user(word: str, detail: str, status: int) -> Unavailable:
    if "rapt" in detail:
        return Unavailable(
            "gcr-login-again", "google wants this user to log in again (session length of the organisation)", _LOGIN
        )
    if word == "invalid_grant":
        return Unavailable("gcr-login-expired", "the user's login has expired or was revoked", _LOGIN)
    if word in ("invalid_client", "unauthorized_client", "deleted_client", "disabled_client"):
        return Unavailable(
            "gcr-client-unknown", "the OAuth client of this login is not known to google any more", _LOGIN
        )
    return _refused(word, status)


def _refused_key(word: str, detail: str, status: int) -> Unavailable:
    if "short-lived" in detail or "iat" in detail.split():
        return Unavailable(
            "gcr-clock",
            "google does not accept the time of this machine",
            "compare `date -u` with the true time, and set the clock",
        )
    if "disabled" in detail:
        return Unavailable(
            "gcr-account-disabled",
            "the service account is disabled",
            "run `gcloud iam service-accounts enable ACCOUNT`",
        )
    if "not found" in detail or "deleted" in detail:
        return Unavailable(
            "gcr-account-gone",
            "the service account does not exist any more",
            "`gcloud iam service-accounts list` shows which there are; make a key of one",
        )
    if word == "invalid_grant":
        return Unavailable(
            "gcr-key-unknown",
            "google does not know this key of the service account: deleted, disabled or expired",
            "see `gcloud iam service-accounts keys list --iam-account=ACCOUNT`",
        )
    return _refused(word, status)


def _refused_exchange(kind: str, word: str, detail: str, status: int) -> Unavailable:
    if kind == "external_account_authorized_user" and word == "invalid_grant":
        return Unavailable(
            "gcr-login-expired",
            "the workforce user's login has expired",
            "run `gcloud auth application-default login` again",
        )
    if "expired" in detail or "stale" in detail:
        return Unavailable(
            "gcr-subject-expired",
            "the token that the credential file refers to has expired",
            "look at its `credential_source`: what ought to renew that file, URL or program",
        )
    if word == "invalid_target":
        return Unavailable(
            "gcr-pool-unknown", "the workload identity pool or provider does not exist, or is disabled", _POOLS
        )
    if word in ("invalid_grant", "invalid_request", "unauthorized_client", "access_denied"):
        return Unavailable("gcr-subject-refused", f"google does not accept the external identity: {word}", _POOLS)
    return _refused(word, status)


def _refused_impersonation(word: str, detail: str, status: int) -> Unavailable:
    if "service_disabled" in detail or "has not been used" in detail:
        return Unavailable(
            "gcr-impersonation-off",
            "the API for impersonation is off in the project",
            "run `gcloud services enable iamcredentials.googleapis.com`",
        )
    if status == 403:  # noqa: PLR2004 - RFC 9110, 15.5.4
        return Unavailable(
            "gcr-impersonation-denied", "this identity may not impersonate the service account", _CREATOR
        )
    if status == 404:  # noqa: PLR2004 - RFC 9110, 15.5.5
        return Unavailable(
            "gcr-account-gone",
            "the service account to impersonate does not exist",
            "`gcloud iam service-accounts list` shows which there are",
        )
    return _refused(word, status)


def _refused(word: str, status: int) -> Unavailable:
    return Unavailable(
        "gcr-refused",
        f"google refused to issue a token: {word or f'HTTP {status}'}",
        "`docs/gcr.md` says what to look at",
    )


def _error_of(body: bytes) -> tuple[str, str]:
    """The known error word in an answer, or "", and the whole text in lower case, to look for other words in."""
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        word = error["status"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        word = ""
    return word if isinstance(word, str) and word in _WORDS.split() else "", text.lower()


# --- identities that are no files -------------------------------------------------------------------------------------


def _metadata(network: _Network, *, is_expected: bool) -> tuple[str, float]:
    """The token of the machine's service account, and when it ends.

    NotFound if no metadata server of Google's answers, or it has no service account for us; Unavailable instead, if
    somebody said that it should. google-auth's client for it is not used: it would try for seconds, over `requests`.
    """
    environ = network.environ
    server = _Metadata(environ)
    is_expected = is_expected or server.is_named
    if environ.get(b"NO_GCE_CHECK") == b"true" and not is_expected:
        raise NotFound
    path = "instance/service-accounts/default/token"
    try:
        answer = server.ask(path)
    except Unavailable:
        if is_expected or server.is_there:
            raise
        raise NotFound from None
    if answer.status == 404:  # noqa: PLR2004 - RFC 9110, 15.5.5
        if is_expected:
            raise Unavailable(
                "gcr-machine-without-account",
                "this machine has no service account",
                "`gcloud compute instances set-service-account` attaches one; or choose another identity",
            )
        raise NotFound
    token, life = _parsed(answer)
    if life < _SHORTEST:  # GKE's metadata server hands out what is nearly over, and renews it meanwhile
        sleep(_PAUSE)
        token, life = _parsed(server.ask(path))
    end = time() + life
    universe = server.ask("universe/universe-domain")
    if universe.status not in (200, 404):  # OK; a server that is older than universes
        raise Unavailable(
            "gcr-metadata-failed",
            f"the metadata server does not tell the universe of this machine: HTTP {universe.status}",
            "try again in a moment; `docs/gcr.md` says how to choose another identity",
        )
    domain = universe.content.decode("ascii", "replace").strip() if universe.status == 200 else ""  # noqa: PLR2004 - OK
    if (domain or UNIVERSE) != network.universe:
        raise Unavailable(
            "gcr-universe", "the identity of this machine is of another universe than the registry", _SETUP
        )
    return token, end


_PAUSE = 0.2  # seconds
_METADATA_SERVER = Peer(
    "the metadata server",
    {"network": "`curl -H Metadata-Flavor:Google http://169.254.169.254` shows whether it is there"},
)


def identity_token(environ: "Environment", audience: str) -> str:
    """A JWT of the machine's service account for `audience`, with the machine in it; whoever gets it verifies it.

    docs.cloud.google.com/compute/docs/instances/verifying-instance-identity. Raises Unavailable.
    """
    server = _Metadata(environ)
    path = f"instance/service-accounts/default/identity?audience={quote(audience, safe='')}&format=full"
    try:
        answer = server.ask(path)
    except Unavailable:
        if server.is_named:
            raise
        raise Unavailable(
            "gcr-no-identity-token",
            "this is no machine of Google's, and no key of a service account is configured",
            "set `credentials_file` in config.toml; `gcloud iam service-accounts list` shows whose key it may be",
        ) from None
    token = answer.content.decode("ascii", "replace").strip()
    if answer.status != 200 or token.count(".") != 2 or not token.isprintable():  # noqa: PLR2004 - OK; RFC 7515, 7.1
        raise Unavailable(
            "gcr-metadata-failed",
            f"the metadata server gives no identity token: HTTP {answer.status}",
            "look at the service account of this machine; on GKE at the IAM binding of the Kubernetes account",
        )
    return token


def signed_assertion(path: bytes, what: str, audience: str, seconds: int) -> str:
    """A JWT that the service account of a key file signs here: it is who it says for `audience`, `seconds` long.

    `what` is what people call the file. Raises Unavailable.
    """
    try:
        _prepare()
        from google.auth import crypt, jwt
    except ImportError:
        raise _missing() from None
    info, _ = _read(path, what)
    if info.get("type") != "service_account":
        raise Unavailable("gcr-file-malformed", f"{what} is not the key of a service account", _ANOTHER_FILE)
    now = int(time())
    try:
        signer = crypt.RSASigner.from_service_account_info(info)
        claims = {"iss": info["client_email"], "sub": info["client_email"], "aud": audience}
        return str(jwt.encode(signer, claims | {"iat": now, "exp": now + seconds}).decode("ascii"))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Unavailable("gcr-file-damaged", f"{what} is incomplete or damaged", _ANOTHER_FILE) from None


class _Metadata:
    """The metadata server, and whether somebody has named it, and whether one of Google's has answered there.

    One that is merely possible must show soon that it is there; one that is named or has answered may take its time.
    """

    __slots__ = ("_patience", "_place", "_wire", "is_named", "is_there")

    def __init__(self, environ: "Environment") -> None:
        variables = (b"GCE_METADATA_HOST", b"GCE_METADATA_ROOT", b"GCE_METADATA_IP")
        named = next((environ[name] for name in variables if environ.get(name)), b"")
        host = (named or _METADATA).decode("ascii", "replace").lower()
        name, colon, port = host.rpartition(":")
        is_port = bool(colon) and port.isdecimal() and len(port) <= len("65535")
        self._place = ("http", name, int(port)) if is_port else ("http", host, 80)
        self._patience = _seconds(environ.get(b"GCE_METADATA_TIMEOUT", b""))
        self._wire = Wire(environ, monotonic() + _BUDGET, is_proxied=False)
        self.is_named = bool(named)
        self.is_there = False

    def ask(self, path: str) -> Answer:
        """The answer, the second one if the first was a stumble. Raises Unavailable if there is none of Google's."""
        answer = self._answer(path)
        if answer.status == 429 or answer.status >= 500:  # noqa: PLR2004 - RFC 6585; RFC 9110, 15.6
            sleep(_PAUSE)
            answer = self._answer(path)
        return answer

    def _answer(self, path: str) -> Answer:
        place = (*self._place, f"/computeMetadata/v1/{path}")
        seconds = _BUDGET if self.is_named or self.is_there else self._patience
        answer = self._wire.ask(_METADATA_SERVER, "GET", place, headers={"Metadata-Flavor": "Google"}, seconds=seconds)
        if answer.headers.get("Metadata-Flavor") != "Google":
            raise Unavailable(
                "gcr-metadata-foreign",
                "the metadata server is not one of Google's",
                "`printenv GCE_METADATA_HOST GCE_METADATA_IP` shows where it points; correct or unset it",
            )
        self.is_there = True
        return answer


def _seconds(text: bytes) -> float:
    """What google-auth's variable says, in seconds, else our own limit."""
    try:
        found = float(text)
    except ValueError:
        return _LOCAL
    return found if 0 < found < _BUDGET else _LOCAL


def _parsed(answer: Answer) -> tuple[str, float]:
    """Token and seconds of its life in the metadata server's answer."""
    if answer.status != 200:  # noqa: PLR2004 - OK
        raise Unavailable(
            "gcr-metadata-failed",
            f"the metadata server gives no token: HTTP {answer.status}",
            "look at the service account of this machine; on GKE at the IAM binding of the Kubernetes account",
        )
    try:
        parsed = json.loads(answer.content)
        return parsed["access_token"], float(parsed["expires_in"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise Unavailable("gcr-no-token", "the metadata server's answer is no token", "try again in a moment") from None


def _gcloud(environ: "Environment", settings: "dict[str, Any]", universe: str, until: float) -> tuple[str, float]:
    """The token of gcloud's login and when it ends, by its command for tools like this one."""
    program = child.find(b"gcloud", environ)
    if program is None:
        raise Unavailable(
            "gcr-gcloud-missing", "gcloud is not installed", "install it, or choose another `credential` in config.toml"
        )
    command = [
        program,
        b"config",
        b"config-helper",
        b"--format=json",
        b"--min-expiry=600s",
        b"--quiet",
    ]
    command += [f"--{name}={settings[name]}".encode() for name in ("account", "configuration") if name in settings]
    if environ.get(b"CLOUDSDK_CONFIG", b"/")[:1] not in (b"/", b""):  # gcloud starts the Python in its `virtenv`
        raise Unavailable(
            "gcr-gcloud-relative",
            "CLOUDSDK_CONFIG is a relative path, so gcloud would run what is in each directory",
            "set CLOUDSDK_CONFIG to an absolute path, or unset it",
        )
    asking = {b"CLOUDSDK_CORE_DISABLE_PROMPTS": b"1"}
    try:
        status, output, errors = child.run_program(command, environ, asking, until - monotonic())
    except OSError:
        raise Unavailable("gcr-gcloud-broken", "gcloud cannot be started", "run `gcloud version` to see why") from None
    except TimeoutExpired:
        raise Unavailable(
            "gcr-gcloud-slow", "gcloud does not answer in time", "run `gcloud config config-helper` to see why"
        ) from None
    if status:
        text = errors.decode("utf-8", "replace").lower()
        if any(sign in text for sign in ("auth login", "reauth", "invalid_grant", "no active account", "credentialed")):
            raise Unavailable(
                "gcr-gcloud-signed-out", "gcloud is not logged in, or its login has expired", "run `gcloud auth login`"
            )
        raise Unavailable(
            "gcr-gcloud-broken", "gcloud gave no token", "run `gcloud config config-helper` to see what it says"
        )
    try:
        answer = json.loads(output)
        have = answer.get("configuration", {}).get("properties", {}).get("core", {}).get("universe_domain")
        credential = answer["credential"]
        token, end = credential["access_token"], datetime.fromisoformat(credential["token_expiry"]).timestamp()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Unavailable(
            "gcr-gcloud-broken", "gcloud gave no token", "run `gcloud config config-helper` to see what it says"
        ) from None
    if (have or UNIVERSE) != universe:
        raise Unavailable(
            "gcr-universe",
            "gcloud's configuration is of another universe than the registry",
            "choose another by `configuration`",
        )
    return token, end


def _exists(path: bytes) -> bool:
    try:
        posix.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True  # it is there and cannot be looked at: reading it says why
    return True
