"""Google Artifact Registry and gcr.io: OAuth access tokens by google-auth.

A token opens every Google registry that its identity may read, so it is minted once per identity, not per host.
This half is on the way of a cache hit: which token is wanted. How it is made is in `identities.google`.
"""

import posix

from credhelpers.errors import NoIdentity, Unavailable
from credhelpers.identity import fingerprint, home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder

# What selects an identity, or where to ask for one: google/auth/environment_vars.py of google-auth 2.62, without what
# only chooses a project, and with what a file of the type `external_account` reads from AWS's variables.
_VARIABLES = (
    b"GOOGLE_APPLICATION_CREDENTIALS",
    b"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES",
    b"CLOUDSDK_CONFIG",
    b"GCE_METADATA_HOST",
    b"GCE_METADATA_ROOT",
    b"GCE_METADATA_IP",
    b"NO_GCE_CHECK",
    b"AWS_ACCESS_KEY_ID",
    b"AWS_SECRET_ACCESS_KEY",
    b"AWS_SESSION_TOKEN",
    b"AWS_REGION",
    b"AWS_DEFAULT_REGION",
)

_FILE_BYTES = 1 << 20
_ACCOUNT = r"[A-Za-z0-9][A-Za-z0-9._+%-]{0,127}@[A-Za-z0-9][A-Za-z0-9.-]{0,127}"


class Gcr:
    """The source for Google's registries."""

    __slots__ = ("_environ",)

    kind = "gcr"
    uncached = b""

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    @property
    def manual(self) -> str:
        """See `minted.Source`."""
        from credhelpers.sources._gcr import MANUAL

        return MANUAL

    def record(self, route: "Route", recorder: "Recorder") -> None:
        """See `minted.Source`."""
        environ = recorder.environ
        for name in _VARIABLES:
            recorder.variable(name)
        for path in _files(environ, route.settings):
            recorder.file(path)
            recorder.proof(_subject_file(path))
        if route.settings.get("credential") == "gcloud":
            recorder.variables(b"CLOUDSDK_")
            recorder.proof(_gcloud_directory(environ) + b"/access_tokens.db")
            recorder.directory(_gcloud_directory(environ) + b"/configurations")

    def minter(self, route: "Route") -> "GcrMinter":
        """The token for the host, see `minted.Source`."""
        settings = route.settings
        if route.fields:
            universe = route.fields["universe"]
            if settings.get("universe", universe) != universe:
                raise route.contradiction("`universe` is not the one of this host")
        else:
            from credhelpers.identities.google_services import UNIVERSE

            universe = settings.get("universe", UNIVERSE)
        return GcrMinter(self._environ, universe, settings)


class GcrMinter:
    """One access token: a universe and the settings that choose an identity."""

    __slots__ = ("_environ", "_settings", "_universe")

    def __init__(self, environ: "Environment", universe: str, settings: "dict[str, Any]") -> None:
        self._environ = environ
        self._universe = universe
        self._settings = settings

    @property
    def token_key(self) -> str:
        """The same for all hosts of the universe that get the same identity, wherever the configuration says it."""
        scope = f"token {self._universe} {sorted(self._settings.items())}"
        return _fingerprint(self._environ, scope, self._settings)

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """A new token. NotFound if nobody told us who we are, and no metadata server does.

        `old` is not renewed, but it shows that one did: that none does now will pass, so it is Unavailable then.
        """
        from credhelpers.exchanges.google import credential
        from credhelpers.identities.google import GoogleIdentity  # as long as all that a hit imports

        default = _gcloud_directory(self._environ) + b"/application_default_credentials.json"
        try:
            return credential(
                *GoogleIdentity(
                    self._environ, self._universe, self._settings, _file(self._environ, self._settings), default
                ).access_token()
            )
        except NoIdentity as nobody:
            if old is None:
                raise
            is_late = nobody.code == "gcr-metadata-late"
            raise Unavailable(
                "gcr-identity-gone",
                nobody.cause if is_late else "no identity is found any more for the token in hand",
                "`curl -H Metadata-Flavor:Google http://169.254.169.254` shows whether the metadata server answers",
            ) from None


def _file(environ: "Environment", settings: "dict[str, Any]") -> bytes:
    """The credential file that the settings name, empty if they name none."""
    return _expanded(environ, settings.get("credentials_file", "").encode())


def _fingerprint(environ: "Environment", scope: str, settings: "dict[str, Any]") -> str:
    """What the environment, the settings' file and Google's own, and `scope` select."""
    variables: tuple[bytes, ...] = _VARIABLES
    if settings.get("credential") == "gcloud":
        names = tuple(sorted(name for name in environ if name.startswith(b"CLOUDSDK_")))
        variables += names
        scope += b" ".join(names).decode("ascii", "replace")
    return fingerprint(f"gcr {scope}", environ, variables, _files(environ, settings))


def _files(environ: "Environment", settings: "dict[str, Any]") -> list[bytes]:
    """The files that select an identity: the settings', Google's own, and where the settings say so gcloud's."""
    folder = _gcloud_directory(environ)
    files = [
        _file(environ, settings),
        environ.get(b"GOOGLE_APPLICATION_CREDENTIALS", b""),
        folder + b"/application_default_credentials.json",
    ]
    if settings.get("credential") == "gcloud":
        files += [folder + b"/active_config", folder + b"/credentials.db"]
        files += [folder + b"/configurations/" + name for name in _listed(folder + b"/configurations")]
    return files


def _subject_file(path: bytes) -> bytes:
    """The file in which a federated identity has its token, if the credential file `path` names one; else empty."""
    import json

    from credhelpers import files

    try:
        found = json.loads(files.read(path, _FILE_BYTES)[0])["credential_source"]["file"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return b""
    return found.encode("utf-8", "surrogatepass") if isinstance(found, str) else b""


def _expanded(environ: "Environment", path: bytes) -> bytes:
    """The path with `~/` replaced."""
    return home(environ) + path[1:] if path.startswith(b"~/") else path


def _gcloud_directory(environ: "Environment") -> bytes:
    """Where gcloud keeps its files."""
    return environ.get(b"CLOUDSDK_CONFIG") or home(environ) + b"/.config/gcloud"


def _listed(folder: bytes) -> list[bytes]:
    """The names in a directory, none if there is no such directory."""
    try:
        return sorted(posix.listdir(folder))
    except (OSError, ValueError):
        return []
