"""Engines that answer with an identity of a cloud, and the registry token that is made with it by `exchanges`.

What opens a cloud's registries goes to these alone: to a host by whose name `exchanges` knows them, or to one for which
the user wrote which registry it stands for.
"""

from datetime import datetime
from posix import urandom
from time import monotonic, sleep, time

from credhelpers import lifetimes
from credhelpers.credential import Credential
from credhelpers.errors import NotMine, Unavailable, Unknown
from credhelpers.exchanges.acr_hosts import azure
from credhelpers.exchanges.ecr_hosts import ecr, ecr_of
from credhelpers.exchanges.google_hosts import google
from credhelpers.vault import leases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from credhelpers.exchanges.ecr_hosts import EcrHost
    from credhelpers.vault.leases import DynamicSecret
    from credhelpers.vault.secret_paths import Registry, SecretPath
    from credhelpers.vault.session import Session

_LAST = 1.0  # seconds that are left for the lease of an identity that came to nothing
_PAUSE = 0.3  # seconds, growing to
_PAUSE_AT_MOST = 1.5


def read(session: "Session", secret_path: "SecretPath", registry: "Registry", old: Credential | None) -> Credential:
    """The token of the registry: `old` with its lease renewed, else a new one. Raises NotFound, Unavailable."""
    made = {"aws": _aws, "gcp": _gcp, "azure": _azure}[secret_path.engine]
    return made(session, secret_path, registry, old)


def _aws(session: "Session", secret_path: "SecretPath", registry: "Registry", old: Credential | None) -> Credential:
    """A token of ECR, by the keys of `aws/creds/ROLE`, `aws/sts/ROLE` or `aws/static-creds/ROLE`.

    It ends with the lease if the keys are a user's that Vault made, since the user goes with the lease.
    """
    host = _ecr(registry)
    if old and (kept := leases.renewed(session, secret_path, old)):
        return kept
    from credhelpers.exchanges.ecr import authorization_token_by

    answer = leases.ask(session, secret_path)
    token = answer.data.get("session_token") or answer.data.get("security_token") or ""
    with leases.in_use(session, answer):
        access, secret = _text_of(answer, "access_key"), _text_of(answer, "secret_key")
        made = _until_known(
            lambda left: authorization_token_by((access, secret, token), host, left, session.environ),
            session,
            answer,
            (
                "vault-engine-unknown-user",
                "AWS does not know the user that Vault made for this, or lets it get no token",
                "use a role of the type assumed_role, whose keys work at once, and allow it ecr:GetAuthorizationToken",
            ),
        )
        if token:
            answer.lease = None  # it ends by itself, and the registry's token does not end with it
        elif end := _moment(answer.data.get("expiration")):
            now = time()
            if end - now < lifetimes.ROTATION_IS_NEAR:
                end = now + lifetimes.ROTATION_IS_LATE
            made = leases.shortened(made, lifetimes.window(answer.asked, end, lifetimes.ROTATED))
        return leases.bound(made, answer, session, secret_path)


def _gcp(session: "Session", secret_path: "SecretPath", registry: "Registry", old: Credential | None) -> Credential:  # noqa: ARG001 - tokens of Google's are not renewed
    """An access token of Google's, of `gcp/roleset/NAME/token` and its like."""
    try:
        google(registry.settings.get("registry", registry.host))
    except NotMine:
        raise _no_alias("`registry`, the registry of Google's that it stands for") from None
    from credhelpers.exchanges.google import credential

    answer = leases.ask(session, secret_path)
    with leases.in_use(session, answer):  # a key of a service account is leased
        end = leases.seconds(answer.data.get("expires_at_seconds"))
        if end is None:
            lifetime = leases.seconds(answer.data.get("token_ttl"))
            end = answer.asked + lifetime if lifetime else None
        if end is None:
            raise _no_answer("a `path` of this engine ends in `/token`")
        return leases.bound(credential(answer.data.get("token"), end), answer, session, secret_path)


def _azure(session: "Session", secret_path: "SecretPath", registry: "Registry", old: Credential | None) -> Credential:
    """A token of Azure Container Registry, by the service principal of `azure/creds/ROLE`, with whose lease it ends."""
    server = registry.settings.get("registry", registry.host)
    try:
        cloud = azure(server)
    except NotMine:
        raise _no_alias("`registry`, the login server that it stands for") from None
    if old and (kept := leases.renewed(session, secret_path, old)):
        return kept
    from credhelpers.exchanges.acr import AcrExchange

    answer = leases.ask(session, secret_path)
    with leases.in_use(session, answer):
        secret = _text_of(answer, "client_secret")
        settings = {"credential": "client-secret", "client_id": _text_of(answer, "client_id")}
        if "tenant_id" in registry.settings:
            settings["tenant_id"] = registry.settings["tenant_id"]
        environ = {**session.environ, b"AZURE_CLIENT_SECRET": secret.encode()}
        environ.pop(b"AZURE_TOKEN_CREDENTIALS", None)  # it narrows what is found otherwise, and nothing is looked for
        made = _until_known(
            lambda left: AcrExchange(server, cloud, settings, environ, left).credential(),
            session,
            answer,
            (
                "vault-engine-unknown-user",
                "Azure does not know the service principal that Vault made for this, or lets it pull nothing",
                "give the role an `application_object_id` that has AcrPull already; `vault read` of the role shows it",
            ),
        )
        return leases.bound(made, answer, session, secret_path)


def _until_known(
    work: "Callable[[float], Credential]",
    session: "Session",
    answer: "DynamicSecret",
    because: tuple[str, str, str],
) -> Credential:
    """What `work` makes, given the seconds that are left; again while the cloud does not know the identity."""
    until = session.connection.until - _LAST
    pause = _PAUSE
    while True:
        try:
            return work(until - monotonic())
        except Unknown:
            if answer.lease is None or monotonic() + pause + _LAST > until:
                raise Unavailable(*because) from None
        sleep(pause * (0.75 + urandom(1)[0] / 510))
        pause = min(pause * 1.6, _PAUSE_AT_MOST)


def _ecr(registry: "Registry") -> "EcrHost":
    settings = registry.settings
    try:
        return ecr(registry.host)
    except NotMine:
        if not {"account", "region"} <= settings.keys():
            raise _no_alias("`account` and `region`") from None
    try:
        return ecr_of(settings["account"], settings["region"])
    except NotMine:
        raise Unavailable(
            "vault-engine-region", "`region` is in no partition of AWS", "correct it in config.toml"
        ) from None


def _no_alias(lack: str) -> Unavailable:
    return Unavailable(
        "vault-engine-foreign",
        "the engine in Vault is one of a cloud to which this registry does not belong",
        f"if it stands for a registry of that cloud, say so in config.toml: {lack}",
    )


def _text_of(answer: "DynamicSecret", name: str) -> str:
    value = answer.data.get(name)
    if not isinstance(value, str) or not value.isascii() or not value:
        raise _no_answer("a `path` of this engine is MOUNT/creds/ROLE, or as `vault path-help MOUNT` has it")
    return value


def _no_answer(hint: str) -> Unavailable:
    return Unavailable("vault-engine-answer", "the engine in Vault does not answer with what its kind answers", hint)


def _moment(value: "Any") -> float | None:
    """Seconds since the epoch for a time as in RFC 3339; None for what is none."""
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
