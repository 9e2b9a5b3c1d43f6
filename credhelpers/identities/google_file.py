"""Credential files of Google's: what they say is checked, then google-auth's type-specific loaders get them.

google-auth's own loader trusts what a file says about where to send a secret.
"""

import json
import posix
import stat
from copy import copy
from time import time

from credhelpers import files
from credhelpers.errors import HelperError, NotFound, Unavailable
from credhelpers.hosts import endpoint
from credhelpers.identities.google_errors import LOGIN
from credhelpers.identities.google_services import SCOPE, UNIVERSE, is_service
from credhelpers.servers import is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Never

    from credhelpers.identities.google_network import Network

_FILE_BYTES = 1 << 20
_MILLISECONDS = (5000, 120_000)  # google-auth's `pluggable.EXECUTABLE_TIMEOUT_MILLIS_LOWER_BOUND` and `_UPPER_`
_ANOTHER_FILE = "`gcloud auth application-default login` or `gcloud iam service-accounts keys create` makes another"


class CredentialFile:
    """The content of the credential file at `path`, which people call `what`; it is checked before google-auth gets it.

    Raises Unavailable if it cannot be one.
    """

    def __init__(self, path: bytes, what: str, universe: str, network: "Network") -> None:
        self._path = path
        self._what = what
        self._universe = universe
        self._network = network
        self._info, self._status = _read(path, what)

    @property
    def kind(self) -> str:
        """Its type, as Google calls it."""
        return str(self._info.get("type"))

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
        raise Unavailable(code, f"{self._what} {message}", hint) from None

    def _service_account(self) -> "Any":
        from google.oauth2.service_account import Credentials

        if self._universe == UNIVERSE:  # others take an assertion signed by the account itself: nobody is asked
            self._send_to("token_uri")
        return Credentials.from_service_account_info(self._info, scopes=[SCOPE])

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

        source = copy(self)
        source._info = dict(self._info["source_credentials"])  # noqa: SLF001 - another part of the same file
        if source.kind == self.kind:
            self._refuse("gcr-file-circular", "impersonates in a circle", "write the chain into `delegates`")
        url = self._send_to("service_account_impersonation_url")
        account = url.rpartition("/")[2].removesuffix(":generateAccessToken")
        delegates = self._info.get("delegates")
        return Credentials(source.credentials(), account, [SCOPE], delegates=delegates, iam_endpoint_override=url)

    def _external_account(self) -> "Any":
        info = {name: value for name, value in self._info.items() if not name.endswith("_supplier")}
        source = dict(info["credential_source"])
        if "certificate" in source:  # before its URLs, which are others than usual
            self._refuse(
                "gcr-client-certificate",
                "wants a client certificate, which is not supported",
                "use a file, a URL or AWS as the source",
            )
        self._send_to("token_url")
        if "service_account_impersonation_url" in info:
            self._send_to("service_account_impersonation_url")
        if "environment_id" in source:
            from credhelpers.identities.google_external import of_aws

            for name in ("url", "region_url", "imdsv2_session_token_url"):
                if name in source:
                    self._ask(source[name], is_metadata=True)
            external = of_aws(self._network.environ)
        elif "executable" in source:
            from credhelpers.identities.google_external import of_program

            if self._network.environ.get(b"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") != b"1":
                self._refuse(
                    "gcr-program-forbidden",
                    "wants to run a program",
                    "allow that with GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1",
                )
            self._check_that_it_may_name_a_program()
            self._check_its_patience(source["executable"])
            external = of_program(self._network.environ, self._network.until)
        else:
            self._check_its_format(source.get("format", {}))
            if "file" in source:
                self._check_its_file(source["file"])
            from google.auth import identity_pool

            external = identity_pool.Credentials

            if "url" in source:
                self._ask(source["url"], is_metadata=False)
        return external.from_info(info, scopes=[SCOPE])

    def _check_that_it_may_name_a_program(self) -> None:
        if not self._path.startswith(b"/"):
            self._refuse(
                "gcr-file-relative",
                "names a program, and has a relative path, so it is another one in each directory",
                "`printenv GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_CONFIG HOME`, and set the absolute path",
            )
        if mending := files.mending(self._path, self._status):
            self._refuse(
                "gcr-file-untrusted",
                "names a program, and others may write it, so it is not trusted",
                f"see what is in it, then run `{mending}`",
            )

    def _check_its_file(self, path: "Any") -> None:
        """google-auth reads it to its end, which a device does not have. That nothing is there it says itself."""
        try:
            status = posix.stat(path)
        except (OSError, ValueError, TypeError):
            return
        if not stat.S_ISREG(status.st_mode) or status.st_size > _FILE_BYTES:
            self._refuse(
                "gcr-subject-no-file",
                "refers to a token that is in no regular file, or in a far too long one",
                "look at `file` of its `credential_source` with `ls -l`",
            )

    def _check_its_patience(self, program: "Any") -> None:
        milliseconds = program.get("timeout_millis")
        least, most = _MILLISECONDS
        if isinstance(milliseconds, int) and not least <= milliseconds <= most:
            self._refuse(
                "gcr-file-timeout",
                f"gives its program a `timeout_millis` that is not between {least} and {most}",
                "correct it, or take it out",
            )

    def _check_its_format(self, form: "Any") -> None:
        if isinstance(form, dict) and form.get("type", "text") not in ("text", "json"):
            self._refuse(
                "gcr-file-format",
                "has a `format` of another type than text and json",
                "correct `type` in `format` of its `credential_source`",
            )

    def _send_to(self, name: str) -> str:
        """The URL under this name, if it is one of Google's: a secret goes there."""
        url: str = self._info[name]
        try:
            scheme, host, port, _ = endpoint(url)
            if scheme != "https" or port != 443 or not is_service(host, self._universe):  # noqa: PLR2004 - HTTPS
                raise NotFound
        except NotFound:
            if _is_below(url, self._universe):
                self._refuse(
                    "gcr-file-service-unknown",
                    f"has a `{name}` at a host of Google's that is not known here for giving tokens",
                    "nothing was sent; compare it with `gcloud iam workload-identity-pools create-cred-config`",
                )
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


def _is_below(url: object, universe: str) -> bool:
    """Whether it is https at a host of the universe, which nobody but Google can have: a bucket is no API's."""
    try:
        scheme, host, _, _ = endpoint(str(url))
    except NotFound:
        return False
    labels = host.removesuffix(f".{universe}").split(".")
    return scheme == "https" and host.endswith(f".{universe}") and "storage" not in labels


def _read(path: bytes, what: str) -> "tuple[dict[str, Any], posix.stat_result]":
    """The object in a JSON file, and whose that is."""
    try:
        content, status = files.read(path, _FILE_BYTES)
        info = json.loads(content)
    except (FileNotFoundError, NotADirectoryError):
        raise Unavailable(
            "gcr-file-missing", f"{what} does not exist", f"correct the path; `ls -l` shows it. Or {LOGIN}"
        ) from None
    except IsADirectoryError:
        raise Unavailable(
            "gcr-file-directory",
            f"{what} is a directory",
            "docker and compose make one where they mount a file that is not there: `rmdir` it, and put the file there",
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


def signed_assertion(path: bytes, what: str, audience: str, seconds: int) -> str:
    """A JWT that the service account of a key file signs here: it is who it says for `audience`, `seconds` long.

    `what` is what people call the file. Raises Unavailable.
    """
    try:
        from google.auth import crypt, jwt
    except ImportError:
        raise missing() from None
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


def missing() -> Unavailable:
    """What is said where google-auth is not installed."""
    return Unavailable(
        "gcr-sdk-missing",
        "google-auth is not installed",
        "install credhelpers with its extra `gcr`: `pip install credhelpers[gcr]`",
    )
