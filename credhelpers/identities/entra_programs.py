"""Who is logged in to az or azd, by these programs themselves.

Not by azure-identity, whose time-out ends `az` only, a shell script, and not the Python below it.
"""

from subprocess import TimeoutExpired
from time import monotonic

from credhelpers.errors import Unavailable
from credhelpers.identities.entra_errors import Absent, aadsts, entra_error
from credhelpers.net import child
from credhelpers.net.wire import json_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment

_LAST_STEP = 1.5  # seconds that a child leaves for what the token is for

# What they load code from: azure-cli's `azure/cli/core/extension`, azd's
# `config.json` names its own.
_EXTENDED = (b"AZURE_CONFIG_DIR", b"AZURE_EXTENSION_DIR", b"AZURE_EXTENSION_SYS_DIR", b"AZD_CONFIG_DIR")
_PLAIN = {b"AZURE_CORE_NO_COLOR": b"true", b"NO_COLOR": b"true"}


class Login:
    """The login of one of the two ("azure-cli", "azd"), in its usual tenant or in this one."""

    def __init__(self, kind: str, tenant: str, environ: "Environment", until: float) -> None:
        self._is_az = kind == "azure-cli"
        self._tenant = tenant
        self._environ = environ
        self._until = until

    def token(self, resource: str) -> object:
        """A token for the resource. Raises Absent if nobody is logged in, Unavailable."""
        if self._is_az:
            command = ["az", "account", "get-access-token", "--output", "json", "--resource", resource]
            tenant, absence, login, field = "--tenant", b"az login", "az login", "accessToken"
        else:
            command = ["azd", "auth", "token", "--output", "json", "--no-prompt", "--scope", f"{resource}/.default"]
            tenant, absence, login, field = "--tenant-id", b"not logged in", "azd auth login", "token"
        if self._tenant:
            command += [tenant, self._tenant]
        return json_object(child.after_warnings(self._run(command, absence, login))).get(field)

    def _run(self, command: list[str], absence: bytes, login: str) -> bytes:
        """What the command prints. `absence` is a part of what it says if nobody is logged in."""
        name = command[0]
        path = child.find(name.encode(), self._environ)
        if path is None:
            raise Absent(
                "acr-cli-missing",
                f"{name} is not on PATH",
                f"install it and run `{login}`, or choose another `credential`",
            )
        self._check_directories(name)
        words = [path, *(word.encode() for word in command[1:])]
        try:
            status, output, errors = child.run_program(
                words, self._environ, _PLAIN, self._until - _LAST_STEP - monotonic()
            )
        except OSError:  # its interpreter is gone, say
            raise Absent("acr-cli-broken", f"{name} cannot be started", f"run `{name} version` to see why") from None
        except TimeoutExpired:
            raise Unavailable(
                "acr-cli-slow", f"{name} gave no answer in time", f"run `{' '.join(command[:3])}` and see why"
            ) from None
        if status == 0:
            return output
        code = aadsts(output + errors)
        if code:
            raise entra_error(code, f"run `{login}`")
        if absence in output + errors:
            raise Absent("acr-cli-signed-out", f"nobody is logged in to {name}", f"run `{login}`")
        raise Unavailable(
            "acr-cli-failed", f"{name} failed with exit status {status}", f"run `{' '.join(command[:3])}`"
        )

    def _check_directories(self, name: str) -> None:
        """Raise if a directory from which az or azd load extensions, which are code, has a relative path."""
        for variable in _EXTENDED:
            # As azure-cli has it: `~` is expanded in the first one.
            if self._environ.get(variable, b"/")[:1] not in (b"/", b"", b"~"):
                raise Unavailable(
                    "acr-relative-directory",
                    f"{variable.decode()} is a relative path, so {name} would run extensions of each directory",
                    f"set {variable.decode()} to an absolute path, or unset it",
                )
