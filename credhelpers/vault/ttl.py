"""How long a secret that is kept in Vault is answered before it is looked at again.

What a secret says of itself is in its fields `expires_at` and `ttl`, or in its `custom_metadata` of the same names.
"""

from time import time

from credhelpers import lifetimes, notes
from credhelpers.errors import Unavailable
from credhelpers.vault import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.vault.mounts import Mount
    from credhelpers.vault.secret_paths import SecretPath


def times(
    data: "Mapping[str, Any]", metadata: "Mapping[str, Any]", mount: "Mount", secret_path: "SecretPath"
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
    bounds = (_seconds(data.get("ttl")) or _seconds(custom.get("ttl")), _seconds(secret_path.settings.get("keep")))
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
            "the secret in Vault is over by its own `expires_at`",
            f"`docker login` or `{mount.writer}` writes a new one; compare `date -u` with the true time",
        )
    return soft, hard, expires


def renewed(old: "Mapping[str, Any]", new: "dict[str, Any]", secret_path: "SecretPath") -> "dict[str, Any]":
    """What is to be written: `new` without the `expires_at` that was said of the credential in `old`.

    It stays where the same credential is written again, unless it is over: who logs in with it says that it is good.
    """
    end = _moment(old.get("expires_at"))
    if (
        new == old and not 0 < end <= time()
    ) or "auths_field" in secret_path.settings:  # there it is said of all registries
        return new
    return {name: value for name, value in new.items() if name != "expires_at"}


def _seconds(value: object) -> float:
    """Seconds of `300`, `"300"`, `"90s"`; 0 for what is no duration."""
    if value is None or isinstance(value, bool):
        return 0.0
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
