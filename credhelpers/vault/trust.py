"""Which certificates may vouch for a Vault server, and with which one this side names itself.

As in github.com/hashicorp/go-rootcerts, what is named replaces the system's own and is not added to it: the first of a
file, of bytes and of a directory. Whatever is named is an anchor, also the certificate of an intermediate authority.
"""

import os
import ssl

from credhelpers import files
from credhelpers.errors import Unavailable
from credhelpers.net import trust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from credhelpers.identity import Environment

    Variable = Callable[[Environment, str], str]

_FILE_BYTES = 1 << 20
_PIPE_BYTES = 1 << 15  # what goes through a pipe that nobody reads yet; macOS has 64 KiB at most, 16 at first
_CA_HINT = "`openssl x509 -noout -subject -in FILE` shows one; correct or unset VAULT_CACERT, VAULT_CAPATH or `ca_file`"
_PAIR_HINT = "correct VAULT_CLIENT_CERT and VAULT_CLIENT_KEY, or `certificate_file` and `key_file`, or unset both"


def context(environ: "Environment", settings: "Mapping[str, Any]", variable: "Variable") -> ssl.SSLContext:
    """What TLS to Vault needs, verified always. Raises Unavailable for files that do not hold what they should."""
    found = trust.bare()
    try:
        _trust(found, environ, settings.get("ca_file") or "", variable)
    except (OSError, ValueError):  # an SSLError is an OSError
        raise Unavailable(
            "vault-ca-unreadable", "the certificates that vouch for Vault cannot be read", _CA_HINT
        ) from None
    _present(found, settings, lambda name: variable(environ, name))
    return found


def _trust(found: ssl.SSLContext, environ: "Environment", ca_file: str, variable: "Variable") -> None:
    if file := ca_file or variable(environ, "CACERT"):
        found.load_verify_locations(cadata=_read(file))
    elif text := variable(environ, "CACERT_BYTES"):
        found.load_verify_locations(cadata=text.encode("ascii", "ignore").decode())
    elif folder := variable(environ, "CAPATH"):
        with os.scandir(folder) as found_there:
            texts = [_read(file.path) for file in found_there if file.is_file()]
        found.load_verify_locations(cadata="\n".join(text for text in texts if "BEGIN CERTIFICATE" in text))
    else:
        trust.add_system(found, environ)


def _present(found: ssl.SSLContext, settings: "Mapping[str, Any]", of_environment: "Callable[[str], str]") -> None:
    """Load the client's own certificate and key, if there are any: both, or neither."""
    if "certificate_file" in settings or "key_file" in settings:
        pair = (settings.get("certificate_file") or "", settings.get("key_file") or "")
    else:
        pair = (of_environment("CLIENT_CERT"), of_environment("CLIENT_KEY"))
    texts = [of_environment("CLIENT_CERT_BYTES"), of_environment("CLIENT_KEY_BYTES")] if not any(pair) else []
    if any(pair) or any(texts):
        try:
            texts = texts or [_read(file) if file else "" for file in pair]
            is_whole = all(texts)
            if is_whole:
                _load_pair(found, *texts)
        except (OSError, ValueError):
            raise Unavailable(
                "vault-client-certificate",
                "the client's certificate and key cannot be read, or do not belong together",
                _PAIR_HINT,
            ) from None
        if not is_whole:
            raise Unavailable(
                "vault-client-certificate",
                "a client's certificate needs its key, and the key its certificate",
                _PAIR_HINT,
            )


def _load_pair(found: ssl.SSLContext, certificate: str, key: str) -> None:
    """Through pipes, since `ssl` takes them from files only, and a key must not lie in another file."""
    ends = []
    try:
        for text in (certificate, key):
            content = text.encode("utf-8", "surrogateescape")
            if len(content) > _PIPE_BYTES:
                raise ValueError("longer than a certificate or a key")
            reader, writer = os.pipe()
            ends.append(reader)
            with os.fdopen(writer, "wb") as stream:
                stream.write(content)
        # An encrypted key is wrong, rather than asked about at the terminal.
        found.load_cert_chain(f"/dev/fd/{ends[0]}", f"/dev/fd/{ends[1]}", password=lambda: "")
    finally:
        for end in ends:
            os.close(end)


def _read(path: str) -> str:
    """The text of a file. Raises OSError, ValueError."""
    content, _ = files.read(path, _FILE_BYTES)
    return content.decode("ascii", "ignore")  # names of authorities stand between, in any encoding
