"""Why a server gave no answer that could be Vault's, and the sentence that a person gets for it.

Never the text of an exception: it quotes addresses, and those of proxies hold passwords.
"""

import ssl

from credhelpers.vault.vault_errors import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BETWEEN = "`vault status` shows what answers; look at VAULT_ADDR or `address`, and what is between it and here"
_STATUS = "`vault status` shows whether it answers"
_AUTHORITY = (
    "`export VAULT_CACERT=FILE` with its authority's certificate, or set `ca_file`; VAULT_SKIP_VERIFY is not heeded"
)
PROXY = "`NO_PROXY=HOST vault status` goes past it; correct VAULT_PROXY_ADDR, VAULT_HTTP_PROXY, HTTPS_PROXY or NO_PROXY"

# <openssl/x509_vfy.h>
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAMES = (62, 64)  # of a host, of an address

_SENTENCES = (
    (
        "vault-certificate-name",
        "the certificate of Vault is for another name",
        "`export VAULT_TLS_SERVER_NAME=NAME` if it is meant, else correct VAULT_ADDR; VAULT_SKIP_VERIFY is not heeded",
    ),
    (
        "vault-certificate-expired",
        "the certificate of Vault has expired",
        "renew it there; `date -u` shows whether this machine's clock is right",
    ),
    (
        "vault-certificate-early",
        "the certificate of Vault is not valid yet",
        "`date -u` shows whether this machine's clock is right",
    ),
    ("vault-certificate-unknown", "no known authority vouches for the certificate of Vault", _AUTHORITY),
    (
        "vault-no-tls",
        "what answers at the address of Vault does not speak TLS",
        "`export VAULT_ADDR=http://127.0.0.1:8200` is for a development server on this machine",
    ),
    (
        "vault-client-certificate-wanted",
        "vault demands a client's certificate that it knows",
        "`export VAULT_CLIENT_CERT=FILE VAULT_CLIENT_KEY=FILE`, or `certificate_file` and `key_file`",
    ),
    ("vault-tls-failed", "vault cannot be spoken to in TLS", _BETWEEN),
    (
        "vault-name-unknown",
        "the host of Vault cannot be resolved",
        "`getent hosts HOST` looks it up; correct VAULT_ADDR or `address`",
    ),
    (
        "vault-unreachable",
        "nothing answers at Vault's address",
        "start Vault, or correct VAULT_ADDR or `address`; `vault status` tries VAULT_ADDR",
    ),
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
    ("vault-proxy", "the proxy does not lead to Vault", PROXY),
    ("vault-connection-broken", "the connection to Vault broke off", _STATUS),
    ("vault-slow", "vault did not answer in time", _STATUS),
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
    """What to say where there is no answer for the cause that has this code in the table."""
    return Final(*next(sentence for sentence in _SENTENCES if sentence[0] == code))


def reason(error: Exception) -> Final:
    """The same for what a request ended with instead of an answer."""
    parts = list(_causes(error))
    kinds = {type(part).__name__ for part in parts}
    for part in parts:
        if isinstance(part, ssl.SSLError) and not isinstance(part, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return failed(_tls_code(part))
    if kinds & {"ConnectTimeoutError", "ReadTimeoutError", "TimeoutError"} and not kinds & {"NewConnectionError"}:
        return failed("vault-slow")
    if "ProxyError" in kinds or "ProxySchemeUnsupported" in kinds:
        code = "vault-proxy"
    elif "NameResolutionError" in kinds or "gaierror" in kinds:
        code = "vault-name-unknown"
    elif "NewConnectionError" in kinds:
        code = "vault-unreachable"
    elif any(type(part) is OSError and "AF_UNIX" in str(part) for part in parts):  # it has no number
        code = "vault-agent-path"
    elif kinds & {"FileNotFoundError", "ConnectionRefusedError", "PermissionError"}:
        code = "vault-agent-absent"
    else:
        code = "vault-connection-broken"
    return failed(code)


def _tls_code(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        number = error.verify_code
        if number in _OTHER_NAMES:
            return "vault-certificate-name"
        return {_EXPIRED: "vault-certificate-expired", _NOT_YET_VALID: "vault-certificate-early"}.get(
            number, "vault-certificate-unknown"
        )
    words = error.reason or ""
    if words in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return "vault-no-tls"
    # The alerts by which a server refuses a client's certificate or its absence (RFC 8446, 6.2). Go's sends the first
    # for its absence in TLS 1.2, and for one of an unknown authority.
    is_alert = words.endswith(("ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE_REQUIRED", "ALERT_UNKNOWN_CA"))
    return "vault-client-certificate-wanted" if is_alert else "vault-tls-failed"


def _causes(error: BaseException) -> "Iterator[BaseException]":
    """The exception and all that it was made of."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        part = waiting.pop()
        if any(part is other for other in seen):
            continue
        seen.append(part)
        yield part
        others = (part.__cause__, part.__context__, getattr(part, "reason", None), *part.args)
        waiting += [other for other in others if isinstance(other, BaseException)]
