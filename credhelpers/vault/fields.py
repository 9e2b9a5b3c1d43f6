"""What the fields of a secret say: the credential of a registry, and for how long it is one."""

from time import time

from credhelpers import lifetimes, notes
from credhelpers.errors import Unavailable, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.vault.secret_paths import Registry

# In order: of docker-credential-vault-login, of jsok's docker-credential-vault, of engines and plugins.
_USERNAMES = ("username", "Username", "robot_account_name", "user")
_PASSWORDS = ("password", "Secret", "robot_account_secret", "access_token", "token")
_ROUNDED = 1 << 53  # from here on Vault, and whoever else keeps numbers as RFC 8259 section 6 allows, rounds them
_OF_JSOK = ("ServerURL", "Username", "Secret")


def pair(data: "Mapping[str, Any]", registry: "Registry", writer: str) -> tuple[str, str]:
    """User name and password in what a secret holds, by the settings of the registry; `writer` is what writes there.

    A whole number counts as its digits, since `vault kv put` makes texts of them and other clients do not. What is
    empty or null is as good as absent. Raises Unavailable if one is missing or is no text, NotFound if `auths` in it
    has no entry for this registry.
    """
    settings = registry.settings
    if registry.auths_field:
        from credhelpers.vault import auths  # which few secrets have

        return auths.pair(data, registry, writer)
    username = settings.get("username") or _text(data, _usernames(settings), writer)
    return username, _text(data, _passwords(settings), writer)


def merged(data: "Mapping[str, Any]", registry: "Registry", username: str, secret: str) -> "dict[str, Any]":
    """What the secret is to hold from now on: user name and password under the fields where `pair` looks for them.

    All other fields are as they were, but for the `expires_at` of another credential. Raises Unsupported for a pair
    that `pair` could not give back.
    """
    settings = registry.settings
    if registry.auths_field:
        from credhelpers.vault import auths

        return auths.merged(data, registry, username, secret)
    if registry.is_shared_with_jsok and not data:
        return dict(zip(_OF_JSOK, (registry.server, username, secret), strict=True))
    new = dict(data)
    if "username" not in settings:
        new[_chosen(data, _usernames(settings))] = username
    elif settings["username"] != username:
        raise Unsupported(
            "vault-other-user",
            "the configuration says the user name for this registry, and this is another one",
            "log in with the one that `username` in config.toml says, or remove it there",
        )
    new[_chosen(data, _passwords(settings))] = secret
    # It stays where the same credential is written again, unless it is over: who logs in with it says that it is good.
    if new != data or 0 < _moment(data.get("expires_at")) <= time():
        new.pop("expires_at", None)
    return new


# --- for how long -----------------------------------------------------------------------------------------------------
#
# What a secret says of itself is in its fields `expires_at` and `ttl`, or in its `custom_metadata` of the same names.


def times(
    data: "Mapping[str, Any]", metadata: "Mapping[str, Any]", registry: "Registry", writer: str
) -> tuple[float, float, float]:
    """Until when it is answered without a look (`soft`), without a wait (`hard`), and at all, as `Credential` has them.

    `ttl` is for how long from now on it may be kept, as KV v1 documents it: seconds, or a duration; never longer than
    the `keep` of the configuration. `expires_at`, RFC 3339 or seconds since the epoch, is when the registry ends it,
    and so is the `deletion_time` that KV v2 has set. A secret that is still good then is the last resort while Vault
    does not answer. Raises Unavailable if it is over.
    """
    now = time()
    custom = metadata.get("custom_metadata")
    if not isinstance(custom, dict):
        custom = {}
    bounds = (_seconds(data.get("ttl")) or _seconds(custom.get("ttl")), _seconds(registry.settings.get("keep")))
    kept = min((bound for bound in bounds if bound), default=lifetimes.KEEP)
    found = [_moment(data.get("expires_at")), _moment(metadata.get("deletion_time"))]
    of_any_version = _moment(custom.get("expires_at"))
    if of_any_version > _moment(metadata.get("created_time")):  # else it was said of an older version
        found.append(of_any_version)
    ends = [end for end in found if end]
    if not ends:
        return lifetimes.window(now, now + kept, lifetimes.KV)
    soft, hard, expires = lifetimes.window(now, min(ends), lifetimes.KV_ENDING, kept)
    if expires <= now:
        raise Unavailable(
            "vault-secret-expired",
            "the secret in Vault is over by its own `expires_at`",
            f"`docker login` or `{writer}` writes a new one; compare `date -u` with the true time",
        )
    return soft, hard, expires


def _seconds(value: object) -> float:
    """Seconds of `300`, `"300"`, `"90s"`; 0 for what is no duration."""
    if value is None or isinstance(value, bool):
        return 0.0
    from credhelpers.config import duration  # which few secrets have

    found = duration.seconds(str(value).strip())
    if found is None:
        notes.take("the `ttl` of the secret is no duration, so it does not count")
        return 0.0
    return min(found, lifetimes.KV.longest)


def _moment(value: object) -> float:
    """Seconds since the epoch; 0 for what is no point in time."""
    from datetime import UTC, datetime

    if value in (None, "") or isinstance(value, bool):
        return 0.0
    text = str(value).strip()
    try:
        if text.replace(".", "", 1).isdecimal():
            moment = float(text)
        else:
            instant = datetime.fromisoformat(text)
            moment = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        moment = 0.0
    if not 0 < moment < time() + lifetimes.KV.longest:
        notes.take("the `expires_at` of the secret is no point in time, so it does not count")
        return 0.0
    return moment


# --- in which fields --------------------------------------------------------------------------------------------------


def _usernames(settings: "Mapping[str, Any]") -> tuple[str, ...]:
    return (settings["username_field"],) if "username_field" in settings else _USERNAMES


def _passwords(settings: "Mapping[str, Any]") -> tuple[str, ...]:
    return (settings["password_field"],) if "password_field" in settings else _PASSWORDS


def _chosen(data: "Mapping[str, Any]", names: tuple[str, ...]) -> str:
    """The first of the fields that says something, else the first."""
    return next((name for name in names if data.get(name) not in ("", None)), names[0])


def _text(data: "Mapping[str, Any]", names: tuple[str, ...], writer: str) -> str:
    value = data.get(_chosen(data, names))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _ROUNDED:
        value = str(value)
    if value in ("", None):
        raise Unavailable(
            "vault-fields",
            "the secret in Vault lacks a user name or a password",
            "`username_field` and `password_field` in config.toml name its fields; "
            f"in KV `{writer} username=NAME password=-` adds them",
        )
    if not isinstance(value, str):
        raise Unavailable(
            "vault-fields",
            "the user name or the password in Vault is not a text",
            f"`{writer} username=NAME password=-` writes texts; "
            "for docker's `auths` see `auths_field` in `docs/vault.md`",
        )
    if value.endswith("\n"):  # `echo … | vault kv put` leaves it
        notes.take("the user name or the password in Vault ends in a line break")
    return value
