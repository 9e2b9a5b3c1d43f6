"""Secrets that log in: one line each, from a file or from the environment, and never in a message."""

from credhelpers import files
from credhelpers.errors import Unavailable
from credhelpers.vault.connection import variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.auth.method import Settings

_BYTES = 1 << 16  # a JWT with many groups has some KiB


def found(environ: "Environment", settings: "Settings", setting: str, name: str, what: str) -> str:
    """The secret in the file of `setting`, else in the variable `VAULT_NAME`; "" if neither is there.

    `what` is what people call it. Raises Unavailable for a file or a variable that does not hold one line of text.
    """
    if setting in settings:
        return of_file(settings[setting], what)
    value = variable(environ, name)
    if value and not _is_line(value):
        raise Unavailable(f"VAULT_{name} is not one line of text", f"set it again to {what} and nothing else")
    return value


def needed(environ: "Environment", settings: "Settings", setting: str, name: str, what: str) -> str:
    """As `found`. Raises Unavailable if there is none, too."""
    secret = found(environ, settings, setting, name, what)
    if not secret:
        hint = f"set `{setting}` in config.toml or VAULT_{name}"
        raise Unavailable(f"there is no {what} to log in to vault with", hint)
    return secret


def of_file(path: str, what: str) -> str:
    """The one line in a file, without the line end that editors leave. Raises Unavailable."""
    try:
        line = files.read(path, _BYTES)[0].decode().strip()
    except (FileNotFoundError, NotADirectoryError):
        hint = "correct the path in config.toml, or deliver it; `ls -l` shows what is there"
        raise Unavailable(f"the file of the {what} does not exist", hint) from None
    except (files.NotRegular, files.TooLong):
        line = ""
    except (OSError, ValueError):
        hint = "look at it with `ls -l`, as who runs docker"
        raise Unavailable(f"the file of the {what} cannot be read", hint) from None
    if not _is_line(line):
        raise Unavailable(f"the file of the {what} is empty or not one line of text", "`wc -lc` counts what is in it")
    return line


def _is_line(text: str) -> bool:
    return text != "" and text.isprintable() and len(text) <= _BYTES
