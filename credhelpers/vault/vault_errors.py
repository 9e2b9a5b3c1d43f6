"""What Vault says no with, and the sentence that a person gets for it."""

from shlex import quote

from credhelpers.errors import Unavailable

_STATUS = "`vault status` shows how it is"
_OF_NAMESPACE = ("namespace not found", "no namespace", "namespace does not exist")
_OF_ROUTE = ("no handler for route", "unsupported path", "unsupported operation")
_FINAL = (412, 429, 472, 473)  # and all from 500 on


class Refusal(Exception):
    """An answer of Vault's that is no success: its status, the lines of `errors`, and the rest of its object.

    For a sealed Vault the object is that of `sys/seal-status`.
    """

    def __init__(self, status: int, said: tuple[str, ...], answer: "dict[str, object]") -> None:
        super().__init__(status)
        self.status = status
        self.said = said
        self.answer = answer

    def says(self, *words: str) -> bool:
        """Whether one of Vault's lines holds one of these words."""
        return any(word in line for line in self.said for word in words)

    @property
    def is_of_route(self) -> bool:
        """Whether nothing at all is served at the path, which is more than that nothing is kept there."""
        return self.status == 404 and self.says(*_OF_NAMESPACE, *_OF_ROUTE)  # noqa: PLR2004 - RFC 9110

    @property
    def is_sealed(self) -> bool:
        """Whether Vault is sealed, which it is too if it was never initialised."""
        return self.status == 503 and self.says("sealed")  # noqa: PLR2004 - RFC 9110

    @property
    def is_of_token(self) -> bool:
        """Whether Vault says that it does not know the token: since 1.16, and of one that it cannot even read."""
        return self.status == 403 and self.says("invalid token", "bad token")  # noqa: PLR2004 - RFC 9110

    @property
    def is_of_policy(self) -> bool:
        """Whether a policy said no, to a token that is good: a list of one, since nothing else went wrong."""
        return self.status == 403 and not self.is_of_token and self.says("1 error occurred")  # noqa: PLR2004 - RFC 9110


class Denied(Unavailable):
    """What a policy does not grant: a caller may know another way, and a listing leaves it out."""

    is_denial = True


class Final(Unavailable):
    """What would be the same whatever Vault were asked for: it is away or unwell, or does not know the token."""


class WornOut(Final):
    """What Vault says to a token that it does not know."""

    is_denial = True


def denied(path: str, capability: str) -> Denied:
    """The sentence for what a policy does not grant."""
    return Denied(
        "vault-denied",
        "vault denied permission to what is configured for this registry",
        f'a policy of this token or role must grant "{capability}" on {path}; '
        f"`vault token capabilities {quote(path)}` shows what your shell's token may do",
    )


def worn_out() -> WornOut:
    """The sentence for a token that Vault does not know, or does not know any more."""
    return WornOut(
        "vault-token-worn-out",
        "vault does not accept the token: it has expired, was revoked, or has no uses left",
        "`vault token lookup` shows what is left of it; unset VAULT_TOKEN, and `vault login -no-print` gets another",
    )


def unavailable(refusal: Refusal, path: str, capability: str) -> Unavailable:
    """The sentence for a refusal that nobody could do anything about: `capability` on `path` was wanted."""
    if refusal.is_of_token:
        return worn_out()
    if refusal.status == 403:  # noqa: PLR2004 - RFC 9110
        return denied(path, capability)
    kind = Final if refusal.status in _FINAL or refusal.status >= 500 else Unavailable  # noqa: PLR2004 - RFC 9110
    return kind(*_sentence(refusal))


def _sentence(refusal: Refusal) -> tuple[str, str, str]:
    for words, sentence in _BY_WORDS:
        if refusal.says(*words):
            return sentence
    if refusal.is_sealed:
        return _UNINITIALISED if refusal.answer.get("initialized") is False else _SEALED
    return _BY_STATUS.get(refusal.status) or (
        "vault-strange-status",
        f"vault answered with the status {refusal.status}",
        _STATUS,
    )


WRAPPED = (
    "vault-token-wrapped",
    "the Vault token is response-wrapped: it holds another token, and opens nothing itself",
    "`vault unwrap` gives the one that it holds, once; `vault login -no-print` gets another",
)
_UNINITIALISED = (
    "vault-uninitialised",
    "vault is not initialised",
    "`vault operator init` does it; `vault status` shows it",
)
_SEALED = ("vault-sealed", "vault is sealed", "`vault operator unseal` opens it; `vault status` shows how far that is")
_NAMESPACE = (
    "vault-namespace-unknown",
    "vault has no such namespace",
    "correct VAULT_NAMESPACE or `namespace`; `vault namespace list` shows all",
)

_BY_WORDS = (
    (
        ("missing client token",),
        (
            "vault-no-token",
            "vault got no token",
            "run `vault login -no-print`, or configure `auth`, see `docs/vault.md`",
        ),
    ),
    (_OF_NAMESPACE, _NAMESPACE),
    (
        ("not active", "no active", "standby"),
        (
            "vault-no-active-node",
            "vault has no active node",
            "`vault status` shows the state of this one, `vault operator members` of all",
        ),
    ),
    (
        _OF_ROUTE,
        (
            "vault-path-unserved",
            "nothing in Vault serves the configured path in this way",
            "`vault secrets list` shows what is mounted; see `path` and `engine` in `docs/vault.md`",
        ),
    ),
)
# https://developer.hashicorp.com/vault/api-docs#http-status-codes and, for the last two, …/system/health
_BY_STATUS = {
    400: (
        "vault-request-refused",
        "vault does not understand what it was asked",
        "`vault path-help PATH` shows what it takes",
    ),
    404: (
        "vault-path-unknown",
        "vault has nothing at the configured path",
        "`vault secrets list` shows what is mounted",
    ),
    405: (
        "vault-path-unsupported",
        "the configured path in Vault does not serve this",
        "`vault path-help PATH` shows what it takes",
    ),
    412: (
        "vault-node-behind",
        "this node of Vault has not seen the latest writes yet",
        "try again; `vault status` shows its state",
    ),
    429: (
        "vault-throttled",
        "vault limits the rate of requests",
        "`vault list sys/quotas/rate-limit` shows the limits; try again later",
    ),
    500: ("vault-failed", "vault failed inside", "`vault status` shows how it is; its log says more"),
    502: (
        "vault-agent-unreachable",
        "vault is not reached by the agent or proxy before it",
        "`vault status` shows it too; look at their logs",
    ),
    503: ("vault-down", "vault is down, or what stands before it says so", _STATUS),
    504: (
        "vault-agent-slow",
        "vault did not answer the agent or proxy before it",
        "`vault status` shows it too; look at their logs",
    ),
    472: (
        "vault-node-secondary",
        "this Vault is a secondary for disaster recovery, which serves nothing",
        "set VAULT_ADDR to the primary",
    ),
    473: (
        "vault-node-standby",
        "this node of Vault is a standby, which does not serve this",
        "set VAULT_ADDR to the active node",
    ),
}
