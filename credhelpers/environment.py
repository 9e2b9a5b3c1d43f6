"""The environment variables of this process: which do not count, and which its libraries see and its children do not.

`posix.environ` and `os.environ` are one dictionary, so what is set for a library here is seen by all of this process.
Nobody else changes either of them. Nothing of this is on the way of a cache hit.
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment

# What OpenSSL loads code by, or reads a file by that names such code: openssl-env(7), and `strings` of libcrypto.
_CODE = (b"OPENSSL_CONF", b"OPENSSL_CONF_INCLUDE", b"OPENSSL_ENGINES", b"OPENSSL_MODULES")

shown: "dict[bytes, bytes | None]" = {}  # what the caller had, of what libraries see otherwise


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


def show(name: str, value: str | None) -> None:
    """Let the libraries of this process see the variable so, or not at all; no child does, see `of_caller`."""
    import os

    key = name.encode()
    shown.setdefault(key, posix.environ.get(key))
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def restore() -> None:
    """Take back what `show` has changed: whoever looks now which identity is chosen sees what the caller gave."""
    import os

    for name, value in shown.items():
        if value is None:
            os.environb.pop(name, None)
        else:
            os.environb[name] = value
    shown.clear()


def of_caller(environ: "Environment") -> dict[bytes, bytes]:
    """A copy of the environment as the caller gave it, without what `show` has changed since."""
    found = dict(environ)
    if environ is posix.environ:
        for name, value in shown.items():
            found.pop(name, None)
            if value is not None:
                found[name] = value
    return found
