"""Why a request had no answer: one table, whoever asked.

Never the text of an exception: it quotes addresses, and those of proxies hold passwords.
"""

import ssl

from credhelpers.errors import Unavailable, shortage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Code, what happened to `{}`, and what mends it, unless the peer has words of its own.
_SENTENCES = (
    ("net-name-unknown", "the address of {} cannot be found", "network"),
    ("net-unreachable", "nothing answers at {}", "network"),
    ("net-slow", "{} did not answer in time", "network"),
    ("net-connection-broken", "the connection to {} broke off", "network"),
    ("net-proxy", "the proxy {proxy} does not lead to {}", "proxy"),
    ("net-certificate-name", "what answers as {} has the certificate of another host", "between"),
    ("net-certificate-expired", "the certificate of {} has expired", "clock"),
    ("net-certificate-early", "the certificate of {} is not valid yet", "clock"),
    ("net-certificate-unknown", "no known authority vouches for the certificate of {}", "trust"),
    ("net-certificate-refused", "the certificate of {} is not one that TLS may accept", "between"),
    ("net-no-tls", "what answers at {} does not speak TLS", "between"),
    ("net-client-certificate-wanted", "{} demands a client's certificate that it knows", "between"),
    ("net-tls-failed", "there is no TLS connection with {}", "between"),
    ("net-strange-answer", "the answer of {} is too long or compressed", "between"),
    ("net-redirect", "{} redirects elsewhere, which is not followed", "between"),
)
_HINTS = {
    "network": "`curl -sI https://HOST` and `printenv HTTPS_PROXY NO_PROXY` show where it ends",
    "proxy": "`printenv HTTPS_PROXY ALL_PROXY NO_PROXY` shows which; ask who runs it, or set NO_PROXY",
    "trust": "if a proxy of yours looks into TLS, `export SSL_CERT_FILE=FILE` with its authority's certificate",
    "clock": "`date -u` shows whether this machine's clock is right",
    "between": "look at what stands between this machine and there: a proxy, a captive portal",
}
# By code, in this order: what the classes of urllib3 and of the system are called behind it.
_KINDS = (
    ("net-redirect", {"Redirected"}),
    ("net-strange-answer", {"Strange"}),
    ("net-proxy", {"ProxyError", "ProxySchemeUnsupported"}),
    ("net-name-unknown", {"NameResolutionError", "gaierror"}),
    ("net-slow", {"Late", "ConnectTimeoutError", "ReadTimeoutError", "TimeoutError"}),
    ("net-unreachable", {"NewConnectionError"}),
)
# <openssl/x509_vfy.h>
_VERDICTS = {
    9: "net-certificate-early",
    10: "net-certificate-expired",
    62: "net-certificate-name",  # of a host
    64: "net-certificate-name",  # of an address
    **dict.fromkeys((2, 18, 19, 20, 21), "net-certificate-unknown"),
}
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
# The alerts by which a server refuses a client's certificate or its absence (RFC 8446, 6.2). Go's sends the first for
# its absence in TLS 1.2, and for one of an unknown authority.
_ALERTS = ("ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE_REQUIRED", "ALERT_UNKNOWN_CA")


class NoAnswer(Unavailable):
    """There was no answer of a peer at `address`, perhaps by a proxy; the code is one of the table's."""

    is_silent = False
    """Whether nothing at all was heard: not even a connection came about."""

    def __init__(self, code: str, name: str, hints: "Mapping[str, str]", address: str, proxy: str = "") -> None:
        _, sentence, self._advice = next(row for row in _SENTENCES if row[0] == code)
        who = name if address in name else f"{name} ({address})"
        by = f" (through the proxy {proxy})" if proxy and code != "net-proxy" else ""
        super().__init__(code, sentence.format(who, proxy=proxy) + by)
        self.hint = self.hint_in(hints) or _HINTS[self._advice]

    def hint_in(self, hints: "Mapping[str, str]") -> str:
        """The hint among those of a peer, or ""."""
        return hints.get(self.code) or hints.get(self._advice, "")


def code_of(error: BaseException) -> str:
    """The row of the table for what a request ended with. Raises Shortage where the system was short of something."""
    if lacking := shortage(error):
        raise lacking
    parts = list(_causes(error))
    kinds = {type(part).__name__ for part in parts}
    for part in parts:
        if isinstance(part, ssl.SSLCertVerificationError):
            return _VERDICTS.get(part.verify_code, "net-certificate-refused")
        if isinstance(part, ssl.SSLError) and not isinstance(part, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            words = part.reason or ""
            if words in _PLAIN:
                return "net-no-tls"
            return "net-client-certificate-wanted" if words.endswith(_ALERTS) else "net-tls-failed"
    return next((code for code, words in _KINDS if kinds & words), "net-connection-broken")


def is_silence(error: BaseException) -> bool:
    """Whether the time for a connection was over before there was one."""
    return any(type(part).__name__ == "ConnectTimeoutError" for part in _causes(error))


def _causes(error: BaseException) -> "Iterator[BaseException]":
    """The exception and all that it was made of, also where urllib3 keeps it as an argument."""
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
