"""KV, versions 1 and 2: a secret read, changed, deleted. Whose it is and what is in it, others know."""

import os
from time import sleep

from credhelpers import notes
from credhelpers.errors import NotFound, Unavailable, Unsupported
from credhelpers.vault.vault_errors import Denied, Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from credhelpers.vault.secret_paths import SecretPath
    from credhelpers.vault.session import Session

    Data = dict[str, Any]

UNKNOWN = "N"
"""In the place of a version that the token may not see."""
_TRIES = 3
_PAUSE = 0.4  # seconds at most between two of them, growing
_BAD_REQUEST, _MISSING = 400, 404  # RFC 9110


class Secret:
    """What a secret holds, and what KV says of it besides: `metadata` as in an answer of KV v2, `version` for a write.

    Without `data` there is none, or its newest version has been deleted.
    """

    __slots__ = ("data", "metadata", "version")

    def __init__(self, data: "Data | None" = None, metadata: "Data | None" = None) -> None:
        self.data = data
        self.metadata = metadata or {}
        version = self.metadata.get("version")
        self.version = version if isinstance(version, int) else 0


class _Gone(Unavailable):
    """What was meant to be there and is not."""

    is_denial = True


def read(session: "Session", secret_path: "SecretPath") -> "tuple[Data, Data]":
    """What the secret holds, and its metadata.

    Raises NotFound where there is no secret, and where its newest version was deleted so that it can be taken back:
    that is what `docker logout` leaves, and `get` must not find what it has removed. Raises Unavailable for what was
    meant to be there and is not: a pinned version, a destroyed one.
    """
    secret = fetch(session, secret_path)
    if secret.data is None:
        raise _not_there(secret, secret_path)
    return secret.data, secret.metadata


def fetch(session: "Session", secret_path: "SecretPath") -> Secret:
    """The secret, of the pinned version if there is one. Raises Unavailable; Denied if the token may not read it."""
    path = _path(secret_path)
    try:
        if secret_path.engine == "kv-v1":
            answer = session.do(
                lambda client: client.secrets.kv.v1.read_secret(secret_path.path, mount_point=secret_path.mount),
                path,
                "read",
            )
        else:
            answer = session.do(
                lambda client: client.secrets.kv.v2.read_secret_version(
                    secret_path.path,
                    version=secret_path.version or None,
                    mount_point=secret_path.mount,
                    raise_on_deleted_version=True,
                ),
                path,
                "read",
            )
    except Refusal as refusal:
        if refusal.status == _MISSING:
            return Secret(None, _object(_object(refusal.answer.get("data")).get("metadata")))
        raise unavailable(refusal, path, "read") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise Unavailable(
            "vault-no-vault", "what answers at the address of Vault does not answer as Vault does", "try `vault status`"
        )
    data = answer["data"]
    if secret_path.engine == "kv-v1":
        return Secret(data)
    return Secret(_object(data.get("data")), _object(data.get("metadata")))


def change(
    session: "Session", secret_path: "SecretPath", new_of: "Callable[[Data], Data]", *, is_new_wanted: bool = True
) -> int | None:
    """Write what `new_of` makes of what the secret holds; it is asked again if somebody else has written meanwhile.

    Returns the version on top of which it was written, 0 where nobody knows one, and None if there was nothing to do.

    On KV v2 nothing is lost that somebody else writes at the same moment: a write counts only on top of the version
    that was read. A token that may not read what is there can create a secret, but not replace one: nobody would know
    what else is lost. KV v1 cannot tell the two apart, so there it can do neither. Where there is no secret, one is
    made only if `is_new_wanted`. Raises Unavailable, and Unsupported for a pinned version.
    """
    _refuse_pinned(secret_path)
    for count in range(_TRIES):
        sleep(count * _PAUSE * os.urandom(1)[0] / 255)  # not in step with the others
        try:
            secret = fetch(session, secret_path)
        except Denied:
            if secret_path.engine == "kv-v1" or not is_new_wanted:
                raise
            _create(session, secret_path, new_of({}))
            return 0
        if secret.data is None and not is_new_wanted:
            return None
        old = secret.data or {}
        new = new_of(old)
        if secret.data is not None and new == old:
            return None
        if _put(session, secret_path, new, secret.version):
            return secret.version
    raise Unavailable(
        "vault-write-conflict",
        "somebody else wrote the secret in Vault at the same time, more than once",
        "run the same command again",
    )


def erase(session: "Session", secret_path: "SecretPath", *, is_for_good: bool = False) -> str:
    """Remove the secret. Nothing to remove is success.

    Returns the version that was removed (of KV v1 too it is not ""), `UNKNOWN` where this token may not see it, and ""
    if there was nothing.

    On KV v2 the newest version is deleted so that it can be taken back, or with `is_for_good` the whole secret with all
    its versions and metadata. Raises Unavailable, and Unsupported for a pinned version.
    """
    _refuse_pinned(secret_path)
    try:
        secret = fetch(session, secret_path)
    except Denied:
        secret = Secret({})
    if secret.data is None and not (is_for_good and secret.metadata):
        return ""
    path = _path(secret_path)
    where = {"path": secret_path.path, "mount_point": secret_path.mount}
    try:
        if secret_path.engine == "kv-v1":
            session.do(lambda client: client.secrets.kv.v1.delete_secret(**where), path, "delete")
        elif is_for_good:
            path = f"{secret_path.mount}/metadata/{secret_path.path}"
            session.do(lambda client: client.secrets.kv.v2.delete_metadata_and_all_versions(**where), path, "delete")
        else:
            session.do(lambda client: client.secrets.kv.v2.delete_latest_version_of_secret(**where), path, "delete")
    except Refusal as refusal:
        if refusal.status != _MISSING:
            raise unavailable(refusal, path, "delete") from None
    return str(secret.version or UNKNOWN)


def _put(session: "Session", secret_path: "SecretPath", data: "Data", version: int) -> bool:
    """Write; false if the newest version on KV v2 is another one than `version`, which is 0 for none."""
    path = _path(secret_path)
    capability = "update" if version else "create"
    try:
        if secret_path.engine == "kv-v1":
            session.do(
                lambda client: client.secrets.kv.v1.create_or_update_secret(
                    secret_path.path, data, method="PUT", mount_point=secret_path.mount
                ),
                path,
                "create, update",
            )
        else:
            session.do(
                lambda client: client.secrets.kv.v2.create_or_update_secret(
                    secret_path.path, data, cas=version, mount_point=secret_path.mount
                ),
                path,
                capability,
            )
    except Refusal as refusal:
        if refusal.status == _BAD_REQUEST and refusal.says("check-and-set"):
            return False
        raise unavailable(refusal, path, capability) from None
    return True


def _create(session: "Session", secret_path: "SecretPath", data: "Data") -> None:
    if not _put(session, secret_path, data, 0):
        raise Denied(
            "vault-read-denied",
            "this token may not read the secret in Vault, so it does not replace it: other fields would be lost",
            f'a policy of this token must grant "read" on {_path(secret_path)}',
        )


def _not_there(secret: Secret, secret_path: "SecretPath") -> NotFound | _Gone:
    """Why there is no data."""
    history = f"`vault kv metadata get {secret_path.shown}` shows the versions"
    if secret.metadata.get("destroyed") is True:
        return _Gone(
            "vault-secret-gone",
            "this version of the secret in Vault was destroyed",
            f"`docker login` writes one; {history}",
        )
    if secret_path.version:
        if secret.metadata:
            return _Gone(
                "vault-secret-gone",
                "the configured version of the secret in Vault was deleted",
                f"`vault kv undelete -versions={secret_path.version} {secret_path.shown}` takes it back; {history}",
            )
        return _Gone("vault-secret-gone", "the configured version of the secret is not in Vault", history)
    is_deleted = bool(secret.metadata)
    notes.take(f"the newest version of {secret_path} was deleted" if is_deleted else f"nothing is at {secret_path}")
    return NotFound("vault-nothing-there", f"nothing is at {secret_path} in Vault")


def _refuse_pinned(secret_path: "SecretPath") -> None:
    if secret_path.version:
        raise Unsupported(
            "vault-version-pinned",
            "the configuration pins a version of the secret in Vault, so nothing is written there",
            "remove `version` in config.toml, or leave out `docker login`",
        )


def _path(secret_path: "SecretPath") -> str:
    """The path for which a policy grants something."""
    if secret_path.engine == "kv-v1":
        return str(secret_path)
    return f"{secret_path.mount}/data/{secret_path.path}"


def _object(value: object) -> "Data":
    return value if isinstance(value, dict) else {}
