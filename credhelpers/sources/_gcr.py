"""Google's registries, announced: its hosts, the settings of an entry, and what `--help` prints. No hit loads it."""

from credhelpers.exchanges.google_hosts import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.config.schema import Settings

_ACCOUNT = r"[A-Za-z0-9][A-Za-z0-9._+%-]{0,127}@[A-Za-z0-9][A-Za-z0-9.-]{0,127}"

SETTINGS: "Settings" = {
    "credentials_file": (
        "a path that begins with `/` or `~/`",
        r"~?/[^\x00]+",
        "a credential file of Google's (service account key, workload identity federation, user), before all others",
    ),
    "credential": (
        '"gcloud", "metadata" or "application-default"',
        "gcloud|metadata|application-default",
        "where the identity comes from: gcloud's own login, the metadata server, or the usual order",
    ),
    "account": ("the name of an account", _ACCOUNT, 'with `credential = "gcloud"`: which of gcloud\'s accounts'),
    "configuration": (
        "the name of a gcloud configuration",
        "[a-z][a-z0-9-]{0,63}",
        'with `credential = "gcloud"`: which of gcloud\'s named configurations',
    ),
    "impersonate": (
        "the e-mail address of a service account",
        _ACCOUNT,
        "the service account whose token is asked for, by the identity found otherwise",
    ),
    "delegates": (
        "a list of e-mail addresses of service accounts",
        (_ACCOUNT,),
        "with `impersonate`: the chain of service accounts in between",
    ),
    "universe": (
        "a domain",
        r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+",
        "the API domain of the Google cloud that a host stands for which is none of Google's own names",
    ),
}

ALIAS = ("universe",)

MANUAL = """\
docker-credential-gcr answers with OAuth tokens for Google Artifact Registry and gcr.io:
LOCATION-docker.pkg.dev, docker.LOCATION.rep.pkg.dev, gcr.io, *.gcr.io. One token serves all of
them and is kept until it is due. In docker's config.json:

  {"credHelpers": {"europe-docker.pkg.dev": "gcr", "gcr.io": "gcr"}}

The identity is the first of these:

  what ~/.config/credhelpers/config.toml (or CREDHELPERS_CONFIG) says for the registry
  the file that GOOGLE_APPLICATION_CREDENTIALS names
  what `gcloud auth application-default login` left in CLOUDSDK_CONFIG or ~/.config/gcloud
  the metadata server of Google's machines, or of GCE_METADATA_HOST; not with NO_GCE_CHECK=true

With none of them the answer is not-found, and public images are pulled anonymously. A browser
is never opened.

What store brings is answered first, until erase: a password or `_json_key` from the keyring, a
token for an hour from the cache. erase drops cached tokens, too. list names the hosts that are
answered so.

HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE and SSL_CERT_FILE are honoured. CREDHELPERS_CACHE_DIR
moves the cache, XDG_RUNTIME_DIR and XDG_CACHE_HOME are its usual places; CREDHELPERS_DEBUG=1
says on standard error what it did. More in docs/gcr.md.
"""
__all__ = ["ALIAS", "MANUAL", "RULES", "SETTINGS", "contradiction"]


def contradiction(settings: "Mapping[str, Any]") -> str:
    """What is wrong with the settings together, or ""."""
    if "credentials_file" in settings and "credential" in settings:
        return "`credentials_file` and `credential` exclude each other"
    for name in ("account", "configuration"):
        if name in settings and settings.get("credential") != "gcloud":
            return f'`{name}` needs `credential = "gcloud"`'
    return "`delegates` needs `impersonate`" if "delegates" in settings and "impersonate" not in settings else ""
