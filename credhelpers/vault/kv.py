"""KV, versions 1 and 2: a secret read, written, deleted."""

import os
from time import sleep

from credhelpers import notes
from credhelpers.credential import Credential
from credhelpers.errors import NotFound, Unavailable, Unsupported
from credhelpers.vault import fields, ttl
from credhelpers.vault.vault_errors import Denied, Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from credhelpers.vault.mounts import Mount
    from credhelpers.vault.secret_paths import SecretPath
    from credhelpers.vault.session import Session

_TRIES = 3
_PAUSE = 0.4  # seconds at most between two of them, growing
_BAD_REQUEST, _MISSING = 400, 404  # RFC 9110


class Secret:
    """What a secret holds, and what KV says of it besides: `metadata` as in an answer of KV v2, `version` for a write.

    Without `data` there is none, or its newest version has been deleted.
    """

    __slots__ = ("data", "metadata", "version")

    def __init__(self, data: "dict[str, Any] | None" = None, metadata: "dict[str, Any] | None" = None) -> None:
        self.data = data
        self.metadata = metadata or {}
        version = self.metadata.get("version")
        self.version = version if isinstance(version, int) else 0


class _Gone(Unavailable):
    """What was meant to be there and is not."""

    is_denial = True


def read(session: "Session", mount: "Mount", secret_path: "SecretPath") -> Credential:
    """The credential in the secret, with the times between which it is answered.

    Raises NotFound where there is no secret, and where its newest version was deleted so that it can be taken back:
    that is what `docker logout` leaves, and `get` must not find what it has removed. Raises Unavailable for what was
    meant to be there and is not: a pinned version, a destroyed one, a field, or a secret beyond its `expires_at`.
    """
    secret = fetch(session, mount, secret_path)
    if secret.data is None:
        raise _not_there(secret, mount, secret_path)
    username, password = fields.pair(secret.data, mount, secret_path)
    soft, hard, expires = ttl.times(secret.data, secret.metadata, mount, secret_path)
    return Credential(username, password, soft=soft, hard=hard, expires=expires, memo=mount.memo())


def fetch(session: "Session", mount: "Mount", secret_path: "SecretPath") -> Secret:
    """The secret, of the pinned version if there is one. Raises Unavailable; Denied if the token may not read it."""
    path = _path(mount)
    try:
        if mount.engine == "kv-v1":
            answer = session.do(
                lambda client: client.secrets.kv.v1.read_secret(mount.path, mount_point=mount.mount), path, "read"
            )
        else:
            answer = session.do(
                lambda client: client.secrets.kv.v2.read_secret_version(
                    mount.path,
                    version=secret_path.settings.get("version"),
                    mount_point=mount.mount,
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
        raise Unavailable("what answers at the address of Vault does not answer as Vault does", "try `vault status`")
    data = answer["data"]
    if mount.engine == "kv-v1":
        return Secret(data)
    return Secret(_object(data.get("data")), _object(data.get("metadata")))


def write(session: "Session", mount: "Mount", secret_path: "SecretPath", credential: Credential) -> None:
    """Keep the credential in the secret, whose other fields stay.

    On KV v2 nothing is lost that somebody else writes at the same moment: a write counts only on top of the version
    that was read. A token that may not read what is there can create a secret, but not replace one: nobody would know
    what else is lost. KV v1 cannot tell the two apart, so there it can do neither. Raises Unavailable, Unsupported.
    """
    _refuse_pinned(secret_path)
    username, password = credential.expose()

    def change(data: "dict[str, Any]") -> "dict[str, Any]":
        return ttl.renewed(data, fields.merged(data, secret_path, username, password), secret_path)

    _change(session, mount, secret_path, change)


def erase(session: "Session", mount: "Mount", secret_path: "SecretPath") -> None:
    """Remove the secret, or of docker's `auths` the entry of this registry. Nothing to remove is success.

    On KV v2 the newest version is deleted so that it can be taken back, or with `on_erase = "destroy"` the whole
    secret with all its versions and metadata. Raises Unavailable, Unsupported.
    """
    _refuse_pinned(secret_path)
    if "auths_field" in secret_path.settings:
        _change(session, mount, secret_path, lambda data: fields.without(data, secret_path), is_new_wanted=False)
        return
    path = _path(mount)
    where = {"path": mount.path, "mount_point": mount.mount}
    try:
        if mount.engine == "kv-v1":
            session.do(lambda client: client.secrets.kv.v1.delete_secret(**where), path, "delete")
        elif secret_path.settings.get("on_erase") == "destroy":
            path = f"{mount.mount}/metadata/{mount.path}"
            session.do(lambda client: client.secrets.kv.v2.delete_metadata_and_all_versions(**where), path, "delete")
        else:
            session.do(lambda client: client.secrets.kv.v2.delete_latest_version_of_secret(**where), path, "delete")
    except Refusal as refusal:
        if refusal.status != _MISSING:
            raise unavailable(refusal, path, "delete") from None


def _change(
    session: "Session",
    mount: "Mount",
    secret_path: "SecretPath",
    change: "Callable[[dict[str, Any]], dict[str, Any]]",
    *,
    is_new_wanted: bool = True,
) -> None:
    """Read, change and write the secret, again from the start if somebody else has written it meanwhile."""
    for count in range(_TRIES):
        sleep(count * _PAUSE * os.urandom(1)[0] / 255)  # not in step with the others
        try:
            secret = fetch(session, mount, secret_path)
        except Denied:
            if mount.engine == "kv-v1" or not is_new_wanted:
                raise
            _create(session, mount, change({}))
            return
        if secret.data is None and not is_new_wanted:
            return
        old = secret.data or {}
        new = change(old)
        if (secret.data is not None and new == old) or _put(session, mount, new, secret.version):
            return
    raise Unavailable(
        "somebody else wrote the secret in Vault at the same time, more than once", "run the same command again"
    )


def _put(session: "Session", mount: "Mount", data: "dict[str, Any]", version: int) -> bool:
    """Write; false if the newest version on KV v2 is another one than `version`, which is 0 for none."""
    path = _path(mount)
    capability = "update" if version else "create"
    try:
        if mount.engine == "kv-v1":
            session.do(
                lambda client: client.secrets.kv.v1.create_or_update_secret(
                    mount.path, data, method="PUT", mount_point=mount.mount
                ),
                path,
                "create, update",
            )
        else:
            session.do(
                lambda client: client.secrets.kv.v2.create_or_update_secret(
                    mount.path, data, cas=version, mount_point=mount.mount
                ),
                path,
                capability,
            )
    except Refusal as refusal:
        if refusal.status == _BAD_REQUEST and refusal.says("check-and-set"):
            return False
        raise unavailable(refusal, path, capability) from None
    return True


def _create(session: "Session", mount: "Mount", data: "dict[str, Any]") -> None:
    if not _put(session, mount, data, 0):
        raise Denied(
            "this token may not read the secret in Vault, so it does not replace it: other fields would be lost",
            f'a policy of this token must grant "read" on {_path(mount)}',
        )


def _not_there(secret: Secret, mount: "Mount", secret_path: "SecretPath") -> NotFound | _Gone:
    """Why there is no data."""
    path = f"{mount.mount}/{mount.path}"  # as `vault kv` has it, whatever is configured
    history = f"`vault kv metadata get {path}` shows the versions"
    if secret.metadata.get("destroyed") is True:
        return _Gone("this version of the secret in Vault was destroyed", f"`docker login` writes one; {history}")
    if "version" in secret_path.settings:
        if secret.metadata:
            return _Gone(
                "the configured version of the secret in Vault was deleted",
                f"`vault kv undelete -versions={secret_path.settings['version']} {path}` takes it back; {history}",
            )
        return _Gone("the configured version of the secret is not in Vault", history)
    is_deleted = bool(secret.metadata)
    notes.take("the newest version of the secret was deleted" if is_deleted else "nothing is at the configured path")
    return NotFound()


def _refuse_pinned(secret_path: "SecretPath") -> None:
    if "version" in secret_path.settings:
        raise Unsupported(
            "the configuration pins a version of the secret in Vault, so nothing is written there",
            "remove `version` in config.toml, or set `read_only`",
        )


def _path(mount: "Mount") -> str:
    """The path for which a policy grants something."""
    return f"{mount.mount}/{mount.path}" if mount.engine == "kv-v1" else f"{mount.mount}/data/{mount.path}"


def _object(value: object) -> "dict[str, Any]":
    return value if isinstance(value, dict) else {}
