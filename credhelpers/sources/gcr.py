"""Google Artifact Registry and gcr.io: OAuth access tokens by google-auth.

A token opens every Google registry that its identity may read, so it is minted once per identity, not per host.
This half is on the way of a cache hit: which token is wanted. How it is made is in `clouds.google`.
"""

import posix

from credhelpers.errors import NotFound, NotMine, Unavailable
from credhelpers.exchanges.google import UNIVERSE, google
from credhelpers.hosts import cloud_host
from credhelpers.identity import configuration, configured, fingerprint, home, is_configured

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.config import Entry
    from credhelpers.credential import Credential
    from credhelpers.hosts import Authority
    from credhelpers.identity import Environment

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

    def host_key(self, authority: "Authority") -> str:
        """The fingerprint of the host and of all that selects an identity, see `minted.Source`."""
        host = cloud_host(authority)
        try:
            google(host)
        except NotMine:
            if not is_configured(self._environ):  # with one, any host may stand for a registry of Google's
                raise
        text = configured(self._environ)
        files = [configuration(self._environ), *_named_files(self._environ, text)]
        return _fingerprint(self._environ, host, files, has_gcloud=b"gcloud" in text)

    def minter(self, authority: "Authority") -> "GcrMinter":
        """The token for the host, see `minted.Source`."""
        from credhelpers import config  # parsed where a token is minted, not on a hit
        from credhelpers.sources._gcr import SETTINGS

        host = cloud_host(authority)
        entry = config.find(self._environ, self.kind, SETTINGS, host)
        settings = dict(entry.settings) if entry else {}
        try:
            universe = google(host)
        except NotMine:
            if entry is None:
                raise
            universe = settings.get("universe", UNIVERSE)
        if entry:
            _check(self._environ, entry, universe)
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
        return _fingerprint(
            self._environ,
            f"token {self._universe} {sorted(self._settings.items())}",
            [self._file],
            has_gcloud=self._settings.get("credential") == "gcloud",
        )

    @property
    def _file(self) -> bytes:
        return _expanded(self._environ, self._settings.get("credentials_file", "").encode())

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """A new token. NotFound if nobody told us who we are, and no metadata server does.

        `old` is not renewed, but it shows that one did: that none does now will pass, so it is Unavailable then.
        """
        from credhelpers.clouds.google import GoogleExchange  # as long as all that a hit imports

        default = _gcloud_directory(self._environ) + b"/application_default_credentials.json"
        try:
            return GoogleExchange(self._environ, self._universe, self._settings, self._file, default).credential()
        except NotFound:
            if old is None:
                raise
            raise Unavailable(
                "no identity is found any more for the token in hand",
                "`curl -H Metadata-Flavor:Google http://169.254.169.254` shows whether the metadata server answers",
            ) from None


def _fingerprint(environ: "Environment", scope: str, files: list[bytes], *, has_gcloud: bool) -> str:
    """What the environment, these files and Google's own, and `scope` select."""
    folder = _gcloud_directory(environ)
    files = [
        *files,
        environ.get(b"GOOGLE_APPLICATION_CREDENTIALS", b""),
        folder + b"/application_default_credentials.json",
    ]
    variables: tuple[bytes, ...] = _VARIABLES
    if has_gcloud:  # only a configuration makes gcloud a source
        names = tuple(sorted(name for name in environ if name.startswith(b"CLOUDSDK_")))
        variables += names
        scope += b" ".join(names).decode("ascii", "replace")
        files += [folder + b"/active_config", folder + b"/credentials.db"]
        files += [folder + b"/configurations/" + name for name in _listed(folder + b"/configurations")]
    return fingerprint(f"gcr {scope}", environ, variables, files)


def _named_files(environ: "Environment", text: bytes) -> list[bytes]:
    """The credential files that a configuration names, found without parsing it: a changed one is a miss."""
    found = []
    for after in text.split(b"credentials_file")[1:]:
        value = after.lstrip(b"\"' \t").removeprefix(b"=").lstrip(b" \t")
        found.append(_expanded(environ, value[1:].partition(value[:1])[0] if value else b""))
    return found


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


def _check(environ: "Environment", entry: "Entry", universe: str) -> None:
    """Raise for settings that exclude each other."""
    from credhelpers import config  # as above

    have = entry.settings
    if have.get("universe", universe) != universe:
        raise config.contradiction(entry, "`universe` is not the one of this host")
    if "credentials_file" in have:
        if "credential" in have:
            raise config.contradiction(entry, "`credentials_file` and `credential` exclude each other")
        path = _expanded(environ, have["credentials_file"].encode())
        if path not in _named_files(environ, configured(environ)):
            raise config.contradiction(entry, "`credentials_file` must be a text in plain quotes")
    if have.get("credential") == "gcloud" and b"gcloud" not in configured(environ):
        raise config.contradiction(entry, "`credential` must be a text in plain quotes")
    for name in ("account", "configuration"):
        if name in have and have.get("credential") != "gcloud":
            raise config.contradiction(entry, f'`{name}` needs `credential = "gcloud"`')
    if "delegates" in have and "impersonate" not in have:
        raise config.contradiction(entry, "`delegates` needs `impersonate`")
