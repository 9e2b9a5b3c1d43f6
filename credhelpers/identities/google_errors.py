"""What an error of Google's token services means, and of those that a credential file names."""

import json

from credhelpers.errors import Unavailable

LOGIN = "run `gcloud auth application-default login`"

# What OAuth (RFC 6749, 5.2; RFC 8693, 2.2.2) and google.rpc.Code call an error: known words, so none can be a secret.
_WORDS = (
    "invalid_request invalid_client invalid_grant invalid_scope invalid_target unauthorized_client access_denied "
    "unsupported_grant_type deleted_client disabled_client org_internal admin_policy_enforced "
    "INVALID_ARGUMENT FAILED_PRECONDITION UNAUTHENTICATED PERMISSION_DENIED NOT_FOUND RESOURCE_EXHAUSTED INTERNAL "
    "UNAVAILABLE DEADLINE_EXCEEDED"
)
_POOLS = "look at the pool with `gcloud iam workload-identity-pools providers describe`, and at its conditions"
_CREATOR = (
    "grant it with `gcloud iam service-accounts add-iam-policy-binding ACCOUNT --member=MEMBER "
    "--role=roles/iam.serviceAccountTokenCreator`"
)


def refusal(kind: str, host: str, status: int, body: bytes) -> Unavailable:
    """What a service's error means. `host` is empty for one that is not Google's; nothing of the text is repeated."""
    word, detail = _error_of(body)
    if not host:
        return Unavailable(
            "gcr-token-url",
            f"the token URL of the credential file answers with HTTP {status}",
            "`curl -i` it, and see what it points to",
        )
    if status == 429 or word == "RESOURCE_EXHAUSTED":  # noqa: PLR2004 - RFC 6585
        return Unavailable(
            "gcr-throttled", "google limits how often this identity may ask for tokens", "wait a minute, then try again"
        )
    if status >= 500:  # noqa: PLR2004 - RFC 9110, 15.6
        return Unavailable(
            "gcr-failed", f"{host} failed with HTTP {status}", "try again in a moment; see status.cloud.google.com"
        )
    if "iamcredentials" in host:
        return _refused_impersonation(word, detail, status)
    if "sts" in host or kind == "external_account_authorized_user":
        return _refused_exchange(kind, word, detail, status)
    return (_refused_key if kind == "service_account" or "jwt" in detail else _refused_user)(word, detail, status)


def _refused_user(word: str, detail: str, status: int) -> Unavailable:
    if "rapt" in detail:
        return Unavailable(
            "gcr-login-again", "google wants this user to log in again (session length of the organisation)", LOGIN
        )
    if word == "invalid_grant":
        return Unavailable("gcr-login-expired", "the user's login has expired or was revoked", LOGIN)
    if word in ("invalid_client", "unauthorized_client", "deleted_client", "disabled_client"):
        return Unavailable(
            "gcr-client-unknown", "the OAuth client of this login is not known to google any more", LOGIN
        )
    return _refused(word, status)


def _refused_key(word: str, detail: str, status: int) -> Unavailable:
    if "short-lived" in detail or "iat" in detail.split():
        return Unavailable(
            "gcr-clock",
            "google does not accept the time of this machine",
            "compare `date -u` with the true time, and set the clock",
        )
    if "disabled" in detail:
        return Unavailable(
            "gcr-account-disabled",
            "the service account is disabled",
            "run `gcloud iam service-accounts enable ACCOUNT`",
        )
    if "not found" in detail or "deleted" in detail:
        return Unavailable(
            "gcr-account-gone",
            "the service account does not exist any more",
            "`gcloud iam service-accounts list` shows which there are; make a key of one",
        )
    if word == "invalid_grant":
        return Unavailable(
            "gcr-key-unknown",
            "google does not know this key of the service account: deleted, disabled or expired",
            "see `gcloud iam service-accounts keys list --iam-account=ACCOUNT`",
        )
    return _refused(word, status)


def _refused_exchange(kind: str, word: str, detail: str, status: int) -> Unavailable:
    if kind == "external_account_authorized_user" and word == "invalid_grant":
        return Unavailable(
            "gcr-login-expired",
            "the workforce user's login has expired",
            "run `gcloud auth application-default login` again",
        )
    if "expired" in detail or "stale" in detail:
        return Unavailable(
            "gcr-subject-expired",
            "the token that the credential file refers to has expired",
            "look at its `credential_source`: what ought to renew that file, URL or program",
        )
    if word == "invalid_target":
        return Unavailable(
            "gcr-pool-unknown", "the workload identity pool or provider does not exist, or is disabled", _POOLS
        )
    if word in ("invalid_grant", "invalid_request", "unauthorized_client", "access_denied"):
        return Unavailable("gcr-subject-refused", f"google does not accept the external identity: {word}", _POOLS)
    return _refused(word, status)


def _refused_impersonation(word: str, detail: str, status: int) -> Unavailable:
    if "service_disabled" in detail or "has not been used" in detail:
        return Unavailable(
            "gcr-impersonation-off",
            "the API for impersonation is off in the project",
            "run `gcloud services enable iamcredentials.googleapis.com`",
        )
    if status == 403:  # noqa: PLR2004 - RFC 9110, 15.5.4
        return Unavailable(
            "gcr-impersonation-denied", "this identity may not impersonate the service account", _CREATOR
        )
    if status == 404:  # noqa: PLR2004 - RFC 9110, 15.5.5
        return Unavailable(
            "gcr-account-gone",
            "the service account to impersonate does not exist",
            "`gcloud iam service-accounts list` shows which there are",
        )
    return _refused(word, status)


def _refused(word: str, status: int) -> Unavailable:
    return Unavailable(
        "gcr-refused",
        f"google refused to issue a token: {word or f'HTTP {status}'}",
        "`docs/gcr.md` says what to look at",
    )


def _error_of(body: bytes) -> tuple[str, str]:
    """The known error word in an answer, or "", and the whole text in lower case, to look for other words in."""
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        word = error["status"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        word = ""
    return word if isinstance(word, str) and word in _WORDS.split() else "", text.lower()
