"""Who we are for Google: by settings, or in the order of Application Default Credentials.

google-auth's own `default()` is not used: it runs gcloud for a project that nobody needs, and polls the metadata server
for twelve seconds.
"""

import posix
from datetime import UTC
from subprocess import SubprocessError
from time import monotonic

from credhelpers import notes
from credhelpers.errors import HelperError, NoIdentity, NotFound, Unavailable, shortage
from credhelpers.identities import gcloud
from credhelpers.identities.google_file import CredentialFile, missing
from credhelpers.identities.google_metadata import MachineAccount
from credhelpers.identities.google_network import Network
from credhelpers.identities.google_services import SCOPE
from credhelpers.net.failures import NoAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.identity import Environment

_BUDGET = 8.0  # seconds for a token, below the deadline of a call
_SETUP = "run `gcloud auth application-default login`, or see `docs/gcr.md`"


class GoogleIdentity:
    """The identity for a universe that the settings choose, else the file that they name or gcloud's `default`.

    Of the settings of `gcr` those count that say who we are: `credential`, `account`, `configuration`, `impersonate`,
    `delegates`. All ends within eight seconds.
    """

    def __init__(
        self, environ: "Environment", universe: str, settings: "dict[str, Any]", file: bytes, default: bytes
    ) -> None:
        self._environ = environ
        self._universe = universe
        self._settings = settings
        self._file = file
        self._default = default
        self._until = monotonic() + _BUDGET

    def access_token(self) -> tuple[str, float]:
        """The token and when it ends, in seconds since the epoch.

        Raises NoIdentity if nobody told us who we are, and no metadata server does; Unavailable.
        """
        try:
            return self._token(Network(self._environ, self._universe, self._until))
        except ImportError:
            raise missing() from None

    def _token(self, network: Network) -> tuple[str, float]:
        chosen = self._settings.get("credential")
        named = self._environ.get(b"GOOGLE_APPLICATION_CREDENTIALS")
        if chosen == "gcloud":
            notes.take("google identity: gcloud")
            return self._impersonated(network, gcloud.token(self._environ, self._settings, self._universe, self._until))
        if chosen != "metadata":
            if self._file:
                return self._from_file(network, self._file, "the file of `credentials_file`")
            if named:
                return self._from_file(network, named, "the file of GOOGLE_APPLICATION_CREDENTIALS")
            if _exists(self._default):
                return self._from_file(network, self._default, "gcloud's application default credential")
        notes.take("google identity: this machine")
        return self._impersonated(network, self._of_machine(is_said=chosen == "metadata"))

    def _of_machine(self, *, is_said: bool) -> tuple[str, float]:
        """The token of this machine's service account."""
        account = MachineAccount(self._environ, self._universe, self._until, is_said=is_said)
        try:
            return account.token()
        except NoAnswer as late:
            if account.is_sure or "impersonate" in self._settings:
                raise
            raise NoIdentity("gcr-metadata-late", f"{late.message}, and no other Google identity is here") from None
        except NotFound:
            if "impersonate" in self._settings:
                raise Unavailable(
                    "gcr-nobody-impersonates", "there is no identity that could impersonate the service account", _SETUP
                ) from None
            why = "no credential file of Google's, and no metadata server with a service account"
            raise NoIdentity("gcr-no-identity", why) from None

    def _from_file(self, network: Network, path: bytes, what: str) -> tuple[str, float]:
        """The token for the identity in a file."""
        notes.take(f"google identity: {what}")
        file = CredentialFile(path, what, self._universe, network)
        return _refreshed(network, self._on_behalf(file.credentials()), file.kind)

    def _impersonated(self, network: Network, found: tuple[str, float]) -> tuple[str, float]:
        """The token itself, or one of the service account to impersonate."""
        if "impersonate" not in self._settings:
            return found
        from google.oauth2.credentials import Credentials

        return _refreshed(network, self._on_behalf(Credentials(found[0], universe_domain=self._universe)), "token")

    def _on_behalf(self, source: "Any") -> "Any":
        """Credentials of the service account to impersonate, else those given."""
        if "impersonate" not in self._settings:
            return source
        from google.auth.impersonated_credentials import Credentials

        account = self._settings["impersonate"]
        delegates = [f"projects/-/serviceAccounts/{name}" for name in self._settings.get("delegates", ())]
        # Without a URL it asks a host that wants a client certificate, if a file in the home directory speaks of one.
        url = f"https://iamcredentials.{self._universe}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        return Credentials(source, account, [SCOPE], delegates=delegates, iam_endpoint_override=url)


def _refreshed(network: Network, credentials: "Any", kind: str) -> tuple[str, float]:
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


def _exists(path: bytes) -> bool:
    try:
        posix.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True  # it is there and cannot be looked at: reading it says why
    return True
