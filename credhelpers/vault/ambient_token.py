"""The Vault token that is there already: in the environment, from a token helper, in the file of `vault login`."""

import os
import posix
import re
import stat

from credhelpers import files as trust
from credhelpers.errors import Unavailable
from credhelpers.identity import home
from credhelpers.net import child
from credhelpers.vault import hcl
from credhelpers.vault.connection import variable
from credhelpers.vault.vault_errors import WRAPPED, Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment

_TOKEN_BYTES = 1 << 16  # a batch token holds its policies
_FILE_BYTES = 1 << 16
_CONFIGURATION = "the configuration file of `vault`"


def find(environ: "Environment", seconds: float) -> str:
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
        if not path.startswith(b"/"):
            raise Unavailable(
                "vault-configuration-relative",
                "the configuration file of `vault` has a relative path, so it is another one in each directory",
                "it may name a program: `printenv VAULT_CONFIG_PATH BAO_CONFIG_PATH HOME`, and set the absolute path",
            )
        opened = _opened(path, _CONFIGURATION)
        if opened is None:
            continue
        content, status = opened
        if mending := trust.mending(path, status):
            raise Unavailable(
                "vault-configuration-untrusted",
                f"{_CONFIGURATION} is open to others, who may write it",
                f"see what is in it, then run `{mending}`",
            )
        found = _named(content.decode("utf-8", "surrogateescape"), path)
        if found:
            _check_program(found)
        return found
    return ""


def _named(text: str, path: bytes) -> str:
    """The token helper that a configuration file names, "" for none. Raises Unavailable for what is not HCL."""
    try:
        found = [value for words, value in hcl.read(text) if words == ("token_helper",)]
    except hcl.Malformed as malformed:
        raise Unavailable(
            "vault-configuration-no-hcl",
            f"{_CONFIGURATION} is not HCL: line {malformed.line}",
            f"mend the line ({path.decode('ascii', 'replace')})",
        ) from None
    return found[0] if found and isinstance(found[0], str) else ""


def _check_program(path: str) -> None:
    try:
        of_file = posix.stat(path)
        of_folder = posix.stat(path.rpartition("/")[0] or "/")
        is_safe = (
            path.startswith("/")
            and stat.S_ISREG(of_file.st_mode)
            and trust.is_trusted(of_file)
            and not of_folder.st_mode & 0o002
        )
    except (OSError, ValueError):
        is_safe = False
    if not is_safe:
        raise Unavailable(
            "vault-token-helper-untrusted",
            "the token helper of Vault is not a program that only you may write",
            "`token_helper` in ~/.vault must be an absolute path; look at it with `ls -l`",
        )


def _ask(helper: str, environ: "Environment", seconds: float) -> str:
    from subprocess import TimeoutExpired

    try:
        code, output, _ = child.run_command([helper, "get"], environ, {}, seconds, b"/")
    except TimeoutExpired:
        raise Unavailable(
            "vault-token-helper-failed",
            "the token helper of Vault did not end in time",
            "`vault token lookup` runs it too",
        ) from None
    except OSError:
        raise Unavailable(
            "vault-token-helper-failed",
            "the token helper of Vault cannot be started",
            "`vault token lookup` runs it too",
        ) from None
    if code or len(output) > _TOKEN_BYTES:
        raise Unavailable(
            "vault-token-helper-failed",
            "the token helper of Vault failed",
            "`vault token lookup` runs it too and shows why",
        )
    return output.decode("utf-8", "replace").strip()


def _file(path: bytes) -> str:
    """The token in a file. It may be anybody's: an agent in a container of its own writes it for another one's user."""
    what = "the token's file"
    opened = _opened(path, what)
    if opened is None:
        return ""
    content, status = opened
    if trust.is_open(status):  # an agent writes 0640 by default, for the user in its group
        raise Unavailable(
            "vault-token-exposed",
            f"{what} is open to others",
            f"run `chmod go-w,o-r` on it ({path.decode('ascii', 'replace')}); `vault login` makes it so",
        )
    return content.decode("utf-8", "replace").strip()


def _opened(path: bytes, what: str) -> "tuple[bytes, os.stat_result] | None":
    """What a regular file holds, and whose it is; None if it is not there. Raises Unavailable for what is none."""
    name = path.decode("ascii", "replace")
    try:
        return trust.read(path, _FILE_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (IsADirectoryError, trust.NotRegular, trust.TooLong):
        raise Unavailable(
            "vault-token-unreadable",
            f"{what} is not one",
            f"look at it with `ls -l` ({name}); `vault login` writes ~/.vault-token",
        ) from None
    except (OSError, ValueError):
        raise Unavailable(
            "vault-token-unreadable", f"{what} cannot be read", f"look at it with `ls -l` ({name})"
        ) from None


def _checked(token: str, what: str) -> str:
    """The token, if it is visible ASCII, of which every token of Vault's is made. Raises Unavailable."""
    if token.startswith("{") and '"creation_path"' in token:  # what an agent's sink with `wrap_ttl` has in it
        raise Final(*WRAPPED)
    if not re.fullmatch("[!-~]*", token):
        raise Unavailable(
            "vault-token-malformed", f"{what} is not a token of Vault's", "run `vault login -no-print`, or correct it"
        )
    return token
