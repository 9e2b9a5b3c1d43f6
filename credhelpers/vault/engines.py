"""Engines that answer with a user name and a secret: made for a lease, or rotated by Vault (static roles).

Databases, LDAP and the plugins for Harbor and Artifactory are such; which fields count, `fields` knows.
"""

from posix import urandom
from time import monotonic, sleep, time

from credhelpers import lifetimes
from credhelpers.credential import Credential
from credhelpers.errors import Unavailable
from credhelpers.vault import fields, leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.vault.secret_paths import Registry, SecretPath
    from credhelpers.vault.session import Session

_REQUEST = 1.0  # seconds of the call that are left for the last request
_ROUNDED = 0.5  # seconds by which Vault's number may be too high


def read(session: "Session", secret_path: "SecretPath", registry: "Registry", old: Credential | None) -> Credential:
    """The credential with its times: `old` with its lease renewed, else a new one. Raises NotFound, Unavailable."""
    if old and (kept := leases.renewed(session, secret_path, old)):
        return kept
    answer = leases.ask(session, secret_path)
    while (left := _until_rotation(answer.data)) is not None and left < lifetimes.ROTATION_IS_NEAR:
        # Whole fleets wait here for the same second: let them come one after the other.
        pause = left + 0.3 + 0.5 * urandom(1)[0] / 255
        if monotonic() + pause > session.connection.until - _REQUEST:
            break
        sleep(pause)
        answer = leases.ask(session, secret_path)
    with leases.in_use(session, answer):
        username, secret = _pair(answer.data, registry, secret_path.writer)
        if answer.lease:
            return leases.bound(Credential(username, secret), answer, session, secret_path)
    if left is None:
        own = next((answer.data[name] for name in ("ttl", "expires_in") if answer.data.get(name)), None)
        soft, hard, expires = fields.times({**answer.data, "ttl": own}, {}, registry, secret_path.writer)
        return Credential(username, secret, soft=soft, hard=hard, expires=expires, memo=secret_path.memo())
    late = lifetimes.ROTATION_IS_LATE if left < lifetimes.ROTATION_IS_NEAR else 0
    end = max(answer.asked + left - _ROUNDED, time() + late)
    soft, hard, expires = lifetimes.window(answer.asked, end, lifetimes.ROTATED)
    return Credential(username, secret, soft=soft, hard=hard, expires=expires, memo=secret_path.memo())


def _pair(data: "Mapping[str, Any]", registry: "Registry", writer: str) -> tuple[str, str]:
    try:
        return fields.pair(data, registry, writer)
    except Unavailable:
        raise Unavailable(
            "vault-fields",
            "the engine's answer in Vault lacks a user name or a password under the names that are known",
            "`username_field`, `password_field` or `username` in config.toml say what they are, see `docs/vault.md`",
        ) from None


def _until_rotation(data: "Mapping[str, Any]") -> float | None:
    """Seconds until Vault rotates the secret; None if it does not."""
    if not data.keys() & {"last_vault_rotation", "rotation_period", "rotation_schedule"}:
        return None
    return leases.seconds(data.get("ttl"))
