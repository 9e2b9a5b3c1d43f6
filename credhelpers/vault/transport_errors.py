"""What there is instead of an answer of Vault, where that is more than any peer's silence, and the hints for that."""

from credhelpers.errors import Unavailable
from credhelpers.net.failures import NoAnswer
from credhelpers.vault.vault_errors import Final

_BETWEEN = "`vault status` shows what answers; look at VAULT_ADDR or `address`, and what is between it and here"
_STATUS = "`vault status` shows whether it answers; correct VAULT_ADDR or `address`"
PROXY = "`NO_PROXY=HOST vault status` goes past it; correct VAULT_PROXY_ADDR, VAULT_HTTP_PROXY, HTTPS_PROXY or NO_PROXY"

_HINTS = {
    "network": _STATUS,
    "between": _BETWEEN,
    "proxy": PROXY,
    "trust": (
        "`export VAULT_CACERT=FILE` with its authority's certificate, or set `ca_file`; VAULT_SKIP_VERIFY is not heeded"
    ),
    "net-name-unknown": "`getent hosts HOST` looks it up; correct VAULT_ADDR or `address`",
    "net-unreachable": "start Vault, or correct VAULT_ADDR or `address`; `vault status` tries VAULT_ADDR",
    "net-certificate-name": (
        "`export VAULT_TLS_SERVER_NAME=NAME` if it is meant, else correct VAULT_ADDR; VAULT_SKIP_VERIFY is not heeded"
    ),
    "net-certificate-expired": "renew it there; `date -u` shows whether this machine's clock is right",
    "net-no-tls": "`export VAULT_ADDR=http://127.0.0.1:8200` is for a development server on this machine",
    "net-client-certificate-wanted": (
        "`export VAULT_CLIENT_CERT=FILE VAULT_CLIENT_KEY=FILE`, or `certificate_file` and `key_file`"
    ),
}

_SENTENCES = (
    (
        "vault-agent-absent",
        "there is no agent of Vault at the socket",
        "start `vault agent`, or correct the path after `unix://`",
    ),
    (
        "vault-agent-path",
        "the path of the agent's socket is longer than a socket's may be",
        "have `vault agent` listen at one of 100 letters",
    ),
    (
        "vault-agent-foreign",
        "the socket of Vault's agent is another user's, and others may write a directory above it",
        "put it where only root and the agent's user may write, as below /run; `ls -ld` on each of them shows who may",
    ),
    ("vault-no-vault", "what answers at the address of Vault is no Vault", _BETWEEN),
    ("vault-tls-only", "vault speaks TLS only", "`export VAULT_ADDR=https://HOST:8200`"),
    (
        "vault-redirect",
        "vault redirects to another server, which is not followed",
        "`vault status` shows the active one; set VAULT_ADDR to its address or the load balancer's",
    ),
    ("vault-redirect-circle", "vault redirects in a circle", _BETWEEN),
)


def failed(code: str) -> Final:
    """What to say for the cause that has this code in the table."""
    return Final(*next(sentence for sentence in _SENTENCES if sentence[0] == code))


def no_answer(error: Unavailable) -> Unavailable:
    """The same for what kept any answer away, with the hints of Vault."""
    return (
        Final(error.code, error.message, error.hint_in(_HINTS) or error.hint) if isinstance(error, NoAnswer) else error
    )
