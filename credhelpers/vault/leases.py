"""What lives by a lease of Vault's: how long it is answered with, how it is renewed, how it is revoked.

A lease ends with the Vault token that made it, whatever its own time says (developer.hashicorp.com, "Lease, Renew, and
Revoke"), so nothing here outlives that token. A renewal asks for nothing in particular and goes by what is granted.
"""

from contextlib import contextmanager
from time import time

from credhelpers import lifetimes, notes
from credhelpers.credential import INFINITY, Credential
from credhelpers.errors import HelperError, NotFound, Unavailable
from credhelpers.vault.memo import Lease, Memo
from credhelpers.vault.vault_errors import Final, Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from credhelpers.vault.secret_paths import SecretPath
    from credhelpers.vault.session import Session

_LAST = 900.0  # seconds that what was made with a lease must have left, for the lease to be renewed
_ID_BYTES = 1024  # of a lease; the path of the secret and 24 letters
_LONGEST = 1 << 40  # seconds, for what is a length of time or a point in it
_BAD_REQUEST, _DENIED, _MISSING, _UNSUPPORTED = 400, 403, 404, 405


class DynamicSecret:
    """What an engine answered to a request at `asked`: its data and the lease, if there is one."""

    __slots__ = ("asked", "data", "lease")

    def __init__(self, data: "dict[str, Any]", lease: Lease | None, asked: float) -> None:
        self.data = data
        self.lease = lease
        self.asked = asked


def ask(session: "Session", secret_path: "SecretPath") -> DynamicSecret:
    """What the engine has or makes at the path. Raises NotFound if nothing is there, Unavailable if it makes nothing.

    What is made by a request that is no GET says so with a status of its own; an engine that wants fields besides
    cannot be used.
    """
    path = str(secret_path)
    session.renew()  # a lease lives no longer than the token that made it
    if secret_path.engine != "gcp":  # whose tokens have no lease
        session.look()
    asked = time()
    try:
        answer = session.do(lambda _: session.connection.request("GET", path), path, "read")
    except Refusal as refusal:
        if refusal.status != _UNSUPPORTED:
            raise _refused(refusal, secret_path) from None
        try:
            answer = session.do(lambda _: session.connection.request("POST", path, json={}), path, "update")
        except Refusal as other:
            raise _refused(other, secret_path) from None
    data = answer.get("data")
    if not isinstance(data, dict):
        raise NotFound("vault-nothing-there", f"nothing is at {secret_path} in Vault")
    return DynamicSecret(data, _lease(answer, session.mark), asked)


def bound(credential: Credential, answer: DynamicSecret, session: "Session", secret_path: "SecretPath") -> Credential:
    """The credential that was made with the answer's lease, with times that end with it at the latest.

    Raises Unavailable where the token that made it is used by others too, and the last use of all ends the lease.
    """
    lease = answer.lease
    if lease is None:
        return _timed(credential, secret_path.memo(), answer.asked, INFINITY)
    if session.is_counted:
        raise _uses_are_counted()
    lease = lease._replace(last=credential.expires)
    return _timed(credential, secret_path.memo(lease), answer.asked, _end(session, answer.asked + lease.duration))


def renewed(session: "Session", secret_path: "SecretPath", old: Credential) -> Credential | None:
    """The same credential with its lease renewed. None if a new one must be made.

    That is so for a lease that is gone or was made by another Vault token, with which it dies, and for one that is
    granted less than half of its time because it comes to the end of its longest. It is not revoked then: a client may
    be pulling with it, and what is left of its life ends soon.
    """
    lease = Memo.of(old).lease
    if lease is None or not lease.is_renewable or lease.last - time() < _LAST:
        return None
    session.renew()
    if lease.mark != session.mark:
        return None
    asked = time()
    try:
        answer = session.once(
            lambda _: session.connection.request("POST", "sys/leases/renew", json={"lease_id": lease.id})
        )
    except Refusal as refusal:
        if refusal.status in (_BAD_REQUEST, _DENIED, _MISSING):
            return None
        raise unavailable(refusal, "sys/leases/renew", "update") from None
    granted = seconds(answer.get("lease_duration"))
    if granted is None or granted < lease.duration / 2:
        return None
    extended = Credential.sealed(old.tail(), soft=lease.last, hard=lease.last, expires=lease.last)
    return _timed(extended, secret_path.memo(lease), asked, _end(session, asked + granted))


@contextmanager
def in_use(session: "Session", answer: DynamicSecret) -> "Iterator[None]":
    """End what was made if the block fails: a registry that cannot be had must not have something made by each pull."""
    try:
        yield
    except HelperError:
        if answer.lease:
            try:
                revoke(session, answer.lease)
            except HelperError as error:
                notes.take(f"vault: what could not be used stays until its lease ends: {error.message}")
        raise


def revoke(session: "Session", lease: Lease) -> None:
    """End the lease, and with it what was made. One that has ended already is success. Raises Unavailable."""
    try:
        session.do(
            lambda _: session.connection.request("POST", "sys/leases/revoke", json={"lease_id": lease.id}),
            "sys/leases/revoke",
            "update",
        )
    except Refusal as refusal:
        if refusal.status != _MISSING and not refusal.says("lease not found", "invalid lease"):
            raise unavailable(refusal, "sys/leases/revoke", "update") from None


def seconds(value: object) -> float | None:
    """A length of time as Vault writes it, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LONGEST:
        return None
    return float(value)


def _lease(answer: "dict[str, Any]", mark: str) -> Lease | None:
    name = answer.get("lease_id")
    duration = seconds(answer.get("lease_duration"))
    if not name or not duration:
        return None
    is_word = isinstance(name, str) and name.isascii() and name.isprintable() and " " not in name
    if not is_word or len(name) > _ID_BYTES:
        raise Unavailable(
            "vault-lease-malformed",
            "vault's answer has a lease that has no name",
            "`vault status` shows what answers there",
        )
    return Lease(name, mark, duration, is_renewable=answer.get("renewable") is True)


def _end(session: "Session", end: float) -> float:
    return min(end, session.token_expires())


def _timed(credential: Credential, memo: str, start: float, end: float) -> Credential:
    """The credential, from half of the time on renewed in the background, and never answered with near its end."""
    return shortened(credential, lifetimes.window(start, end, lifetimes.LEASE), memo)


def shortened(credential: Credential, times: tuple[float, float, float], memo: str = "") -> Credential:
    """The credential with times that are none of them after those given."""
    soft, hard, expires = times
    return Credential.sealed(
        credential.tail(),
        soft=min(soft, credential.soft),
        hard=min(hard, credential.hard),
        expires=min(expires, credential.expires),
        memo=memo,
    )


def _uses_are_counted() -> Final:
    return Final(
        "vault-token-uses",
        "the uses of this Vault token are counted, and the last one ends all that was leased with it",
        "unset VAULT_TOKEN, and `vault login -no-print` gets one without a limit; a role's limit is `token_num_uses`",
    )


def _refused(refusal: Refusal, secret_path: "SecretPath") -> Exception:
    if refusal.says("token had one use left"):
        return _uses_are_counted()
    if refusal.status == _MISSING:
        return NotFound("vault-nothing-there", f"nothing is at {secret_path} in Vault")
    path, mount = str(secret_path), secret_path.mount
    if refusal.says("unknown role", "not found", "does not exist", "Role "):
        return Unavailable(
            "vault-role-unknown",
            "the engine in Vault does not know the role at the configured path",
            f"`vault list {mount}/roles` shows those that there are, `vault path-help {mount}` the paths",
        )
    if refusal.status in (_BAD_REQUEST, _UNSUPPORTED):
        return Unavailable(
            "vault-engine-failed",
            "the engine in Vault cannot make a credential at the configured path",
            f"`vault path-help {path}` says what it wants, the log of the Vault server what failed",
        )
    return unavailable(refusal, path, "read")
