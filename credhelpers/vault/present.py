"""The Vault token that is there already: in the environment, from a token helper, in the file of `vault login`."""

import os
import posix
import re
import stat

from credhelpers.clouds import child
from credhelpers.errors import Unavailable
from credhelpers.identity import home
from credhelpers.vault.connection import variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment

_TOKEN_BYTES = 1 << 16  # a batch token holds its policies
_FILE_BYTES = 1 << 16
_OTHERS_MAY_WRITE = 0o022
_OTHERS_MAY_READ = 0o004  # the group may: an agent writes 0640 by default, for the user in its group
_HELPER = re.compile(r'^\s*\{?\s*"?token_helper"?\s*[=:]\s*"([^"\\\n]*)"', re.MULTILINE)  # HCL, or JSON


def present(environ: "Environment", seconds: float) -> str:
    """The token, "" if there is none; a token helper has so many seconds. Raises Unavailable for what is no token.

    As `vault` does, a token helper stands in for the file, even if it has no token.
    """
    if token := variable(environ, "TOKEN"):
        return _checked(token, "VAULT_TOKEN")
    if helper := _helper(environ):
        return _checked(_ask(helper, environ, seconds), "the answer of the token helper")
    return _checked(_file(token_file(environ)), "the token's file")


def files(environ: "Environment") -> list[bytes]:
    """The files that choose the token, there or not."""
    return [token_file(environ), *_configurations(environ)]


def token_file(environ: "Environment") -> bytes:
    """Where `vault login` puts the token, or `bao login` under BAO_TOKEN_PATH."""
    return os.fsencode(variable(environ, "TOKEN_PATH")) or home(environ) + b"/.vault-token"


def _configurations(environ: "Environment") -> list[bytes]:
    """The files that may name a token helper, the first that is there counts."""
    base = home(environ)
    named = os.fsencode(variable(environ, "CONFIG_PATH"))
    if named:
        return [base + named[1:] if named.startswith(b"~/") else named]
    return [base + b"/.bao", base + b"/.vault"]


def _helper(environ: "Environment") -> str:
    """The path of the token helper, "" for none. Raises Unavailable if others could have named it or written it."""
    for path in _configurations(environ):
        content = _content(path, "the configuration file of `vault`", _OTHERS_MAY_WRITE, owners=(0, os.geteuid()))
        if content is not None:
            found = _HELPER.search(content.decode("utf-8", "surrogateescape"))
            if not found or not found[1]:
                return ""
            _check_program(found[1])
            return found[1]
    return ""


def _check_program(path: str) -> None:
    try:
        of_file = posix.stat(path)
        of_folder = posix.stat(path.rpartition("/")[0] or "/")
        is_safe = (
            path.startswith("/")
            and stat.S_ISREG(of_file.st_mode)
            and not of_file.st_mode & _OTHERS_MAY_WRITE
            and of_file.st_uid in (0, os.geteuid())
            and not of_folder.st_mode & 0o002
        )
    except (OSError, ValueError):
        is_safe = False
    if not is_safe:
        raise Unavailable(
            "the token helper of Vault is not a program that only you may write",
            "`token_helper` in ~/.vault must be an absolute path; look at it with `ls -l`",
        )


def _ask(helper: str, environ: "Environment", seconds: float) -> str:
    from subprocess import TimeoutExpired

    try:
        code, output, _ = child.run([os.fsencode(helper), b"get"], environ, seconds)
    except TimeoutExpired:
        raise Unavailable("the token helper of Vault did not end in time", "`vault token lookup` runs it too") from None
    except OSError:
        raise Unavailable("the token helper of Vault cannot be started", "`vault token lookup` runs it too") from None
    if code or len(output) > _TOKEN_BYTES:
        raise Unavailable("the token helper of Vault failed", "`vault token lookup` runs it too and shows why")
    return output.decode("utf-8", "replace").strip()


def _file(path: bytes) -> str:
    content = _content(path, "the token's file", _OTHERS_MAY_WRITE | _OTHERS_MAY_READ)
    return (content or b"").decode("utf-8", "replace").strip()


def _content(path: bytes, what: str, forbidden: int, owners: tuple[int, ...] = ()) -> bytes | None:
    """What a regular file holds, None if it is not there.

    Raises Unavailable for one with a bit of `forbidden`, or of somebody who is none of the owners, if there are any. A
    token may be anybody's: an agent in a container of its own writes it for the user of another one.
    """
    name = path.decode("ascii", "replace")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            mode = status.st_mode
            content = stream.read(_FILE_BYTES + 1) if stat.S_ISREG(mode) else b""
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise Unavailable(f"{what} cannot be read", f"look at it with `ls -l` ({name})") from None
    if not stat.S_ISREG(mode) or len(content) > _FILE_BYTES:
        raise Unavailable(
            f"{what} is not one", f"look at it with `ls -l` ({name}); `vault login` writes ~/.vault-token"
        )
    if mode & forbidden or (owners and status.st_uid not in owners):
        raise Unavailable(
            f"{what} is open to others", f"run `chmod go-w,o-r` on it ({name}); `vault login` makes it so"
        )
    return content


def _checked(token: str, what: str) -> str:
    """The token, if it is visible ASCII, of which every token of Vault's is made. Raises Unavailable."""
    if not re.fullmatch("[!-~]*", token):
        raise Unavailable(f"{what} is not a token of Vault's", "run `vault login -no-print`, or correct it")
    return token
