"""The environment variables of this process: which do not count.

Nobody else changes them: a mint leaves its process as it was. Nothing of this is on the way of a cache hit.
"""

import posix

# What OpenSSL loads code by, or reads a file by that names such code: openssl-env(7), and `strings` of libcrypto.
_CODE = (b"OPENSSL_CONF", b"OPENSSL_CONF_INCLUDE", b"OPENSSL_ENGINES", b"OPENSSL_MODULES")


def drop_relative_code() -> None:
    """Remove what would have OpenSSL load code from the working directory, for this process and its children.

    To be called before anything of OpenSSL is loaded (`ssl`, `_hashlib`, an SDK). An absolute path stays, since FIPS
    needs it, and so does an empty one, by which people have no configuration.
    """
    for name in _CODE:
        value = posix.environ.get(name)
        if value and not value.startswith(b"/"):
            del posix.environ[name]
            posix.unsetenv(name)
