"""Whose certificates are believed: one rule for every TLS connection of ours, and one strictness on every Python.

Everything is verified, always. What a variable names replaces the system's certificates and is not added to them, and
is an anchor, also the certificate of an intermediate authority. Python 3.13 refuses by default what RFC 5280 does not
allow in the certificate of an authority; those of many companies are such, and other tools and older Pythons take them.
"""

import posix
import ssl

from credhelpers import files
from credhelpers.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment

USUAL = (b"REQUESTS_CA_BUNDLE", b"CURL_CA_BUNDLE")  # of `requests`, which the tools of Google and Azure are made with
_OF_OPENSSL = (b"SSL_CERT_FILE", b"SSL_CERT_DIR")
_FILE_BYTES = 1 << 22  # the certificates of a system are a quarter of that


def context(environ: "Environment", variables: tuple[bytes, ...] = USUAL) -> ssl.SSLContext:
    """Trust in what the first of the variables that is set names, a file or a directory, else in the system's.

    Raises Unavailable for what holds no certificates, and names the variable.
    """
    found = bare()
    name = next((name for name in variables if environ.get(name)), b"")
    try:
        if name:
            add(found, environ[name])
        else:
            add_system(found, environ)
    except (OSError, ValueError):  # an SSLError is an OSError
        if not name:
            raise _broken() from None
        raise Unavailable(
            "net-certificates-unreadable",
            f"what {name.decode()} names cannot be read as certificates",
            f"`printenv {name.decode()}` shows it; correct or unset it",
        ) from None
    return found


def bare() -> ssl.SSLContext:
    """What believes nobody yet. Raises Unavailable where OpenSSL does not work."""
    try:
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    except OSError:
        raise _broken() from None
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return found


def add(found: ssl.SSLContext, path: bytes) -> None:
    """Believe a file's certificates, or a directory's as `openssl rehash` makes it. Raises OSError, ValueError."""
    try:
        content, _ = files.read(path, _FILE_BYTES)
    except IsADirectoryError:
        found.load_verify_locations(capath=path)
    else:
        found.load_verify_locations(cadata=content.decode("ascii", "ignore"))  # names stand between, in any encoding


def add_system(found: ssl.SSLContext, environ: "Environment") -> None:
    """Believe those whom this machine believes, and where it has no certificates for that, those whom certifi does.

    OpenSSL itself sees to `SSL_CERT_FILE` and `SSL_CERT_DIR`, which stand for the system's then, and passes over what
    is not there.
    """
    found.load_default_certs()
    if not any(environ.get(name) for name in _OF_OPENSSL) and not _has_system():
        import certifi

        found.load_verify_locations(certifi.where())


def _has_system() -> bool:
    """Whether this Python finds certificates of the system's: not one from python.org, nor one in a small image."""
    paths = ssl.get_default_verify_paths()
    try:
        return bool(paths.cafile) or bool(paths.capath and posix.listdir(paths.capath))
    except OSError:
        return False


def _broken() -> Unavailable:
    return Unavailable(
        "net-tls-library",
        "the TLS library of this machine does not work",
        "see whether `openssl version -a` works, and `printenv OPENSSL_CONF OPENSSL_MODULES SSL_CERT_FILE`",
    )
