"""Who is logged in to gcloud, by its command for tools like this one."""

import json
from datetime import datetime
from subprocess import TimeoutExpired
from time import monotonic

from credhelpers.errors import Unavailable
from credhelpers.identities.google_services import UNIVERSE
from credhelpers.net import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.identity import Environment

_COMMAND = (b"config", b"config-helper", b"--format=json", b"--min-expiry=600s", b"--quiet")
_SIGNED_OUT = ("auth login", "reauth", "invalid_grant", "no active account", "credentialed")


def token(environ: "Environment", settings: "Mapping[str, Any]", universe: str, until: float) -> tuple[str, float]:
    """The token of gcloud's login and when it ends. Raises Unavailable."""
    program = child.find(b"gcloud", environ)
    if program is None:
        raise Unavailable(
            "gcr-gcloud-missing", "gcloud is not installed", "install it, or choose another `credential` in config.toml"
        )
    if environ.get(b"CLOUDSDK_CONFIG", b"/")[:1] not in (b"/", b""):  # gcloud starts the Python in its `virtenv`
        raise Unavailable(
            "gcr-gcloud-relative",
            "CLOUDSDK_CONFIG is a relative path, so gcloud would run what is in each directory",
            "set CLOUDSDK_CONFIG to an absolute path, or unset it",
        )
    chosen = [f"--{name}={settings[name]}".encode() for name in ("account", "configuration") if name in settings]
    asking = {b"CLOUDSDK_CORE_DISABLE_PROMPTS": b"1"}
    try:
        status, output, errors = child.run_program([program, *_COMMAND, *chosen], environ, asking, until - monotonic())
    except OSError:
        raise _broken("cannot be started", "run `gcloud version` to see why") from None
    except TimeoutExpired:
        raise Unavailable(
            "gcr-gcloud-slow", "gcloud does not answer in time", "run `gcloud config config-helper` to see why"
        ) from None
    if status:
        text = errors.decode("utf-8", "replace").lower()
        if any(sign in text for sign in _SIGNED_OUT):
            raise Unavailable(
                "gcr-gcloud-signed-out", "gcloud is not logged in, or its login has expired", "run `gcloud auth login`"
            )
        raise _broken()
    try:
        answer = json.loads(child.after_warnings(output))
        have = answer.get("configuration", {}).get("properties", {}).get("core", {}).get("universe_domain")
        credential = answer["credential"]
        token, end = credential["access_token"], datetime.fromisoformat(credential["token_expiry"]).timestamp()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise _broken() from None
    if (have or UNIVERSE) != universe:
        raise Unavailable(
            "gcr-universe",
            "gcloud's configuration is of another universe than the registry",
            "choose another by `configuration`",
        )
    return token, end


def _broken(
    what: str = "gave no token", hint: str = "run `gcloud config config-helper` to see what it says"
) -> Unavailable:
    return Unavailable("gcr-gcloud-broken", f"gcloud {what}", hint)
