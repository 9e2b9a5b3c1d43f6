"""The `credential_process` of a profile: whose word it is, and what comes of it.

docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
"""

import os
import subprocess
from configparser import Error, RawConfigParser
from contextlib import suppress
from io import BytesIO, TextIOWrapper
from time import monotonic

from botocore.compat import compat_shell_split
from botocore.configloader import raw_config_parse
from botocore.credentials import ProcessProvider
from botocore.exceptions import ConfigNotFound, CredentialRetrievalError

from credhelpers import files
from credhelpers.identities import aws_errors
from credhelpers.identities.aws_selectors import expanded
from credhelpers.net import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.identities.aws_reasons import Reasons
    from credhelpers.identities.aws_session import Session

_FILE_BYTES = 1 << 20
_LAST = 0.3  # seconds in which a late child is ended


class Process(ProcessProvider):  # type: ignore[misc] # botocore has no types
    """botocore's provider, which starts no process itself."""

    def __init__(self, runner: "Runner", profile: str, load_config: "Any") -> None:
        super().__init__(profile, load_config, lambda command, **_: _Started(runner, profile, command))

    def load(self) -> "Any":
        """The credentials, None where the profile has no such command."""
        try:
            return super().load()
        except (AttributeError, LookupError, OSError, TypeError, ValueError):
            # no such command, or an answer that is not the JSON object it should be
            raise CredentialRetrievalError(provider=self.METHOD, error_msg="") from None


class Runner:
    """Runs the commands of the session's files, if nobody else may write them, until `until` (monotonic clock)."""

    def __init__(self, session: "Session", reasons: "Reasons", until: float) -> None:
        self._session = session
        self._reasons = reasons
        self._until = until

    def run(self, profile: str, command: list[str]) -> tuple[int, bytes, bytes]:
        """Status, output and errors. Raises Unavailable if others could have written it, or if it is late."""
        path = self._session.get_config_variable("credentials_file")  # what it says counts before the other one
        try:
            is_there = "credential_process" in raw_config_parse(path).get(profile, {})
        except ConfigNotFound:
            is_there = False
        if not is_there:
            path = self._session.get_config_variable("config_file")
        self._check(path, command)
        try:
            words = [self._at_home(word) for word in command]
            return child.run_command(words, self._session.environ, {}, self._until - _LAST - monotonic())
        except subprocess.TimeoutExpired:
            raise self._reasons.unavailable(aws_errors.LATE_PROCESS) from None

    def _check(self, path: str, command: list[str]) -> None:
        """Raise unless the command stands in the file, and nobody else may write that.

        It is read once more: at the path there may be another file than the one that botocore has read.
        """
        parser = RawConfigParser()
        content, status = files.read(path, _FILE_BYTES)
        if mending := files.mending(os.fsencode(path), status):
            raise self._reasons.unavailable(aws_errors.UNTRUSTED_FILE, mending=mending)
        with suppress(Error, UnicodeDecodeError):  # botocore has read one without; what has no command is refused
            parser.read_file(TextIOWrapper(BytesIO(content)))  # in the encoding in which botocore reads it
        for section in parser.sections():
            with suppress(ValueError):  # a quotation mark without its fellow, in another profile
                if compat_shell_split(parser.get(section, "credential_process", fallback="")) == command:
                    return
        raise self._reasons.unavailable(aws_errors.CHANGED_FILE)

    def _at_home(self, word: str) -> str:
        """The word with the home where a shell would have it, which Amazon's Go tools start and its Python does not."""
        for sign in ("~/", "$HOME/", "${HOME}/"):
            if word.startswith(sign):
                return os.fsdecode(expanded(os.fsencode(f"~/{word.removeprefix(sign)}"), self._session.environ))
        return word


class _Started:
    """What botocore knows of a process (`subprocess.Popen`): it starts when its output is asked for."""

    returncode = 0

    def __init__(self, runner: Runner, profile: str, command: list[str]) -> None:
        self._runner = runner
        self._profile = profile
        self._command = command

    def communicate(self) -> tuple[bytes, bytes]:
        """Output and errors of the process, which has ended."""
        self.returncode, output, errors = self._runner.run(self._profile, self._command)
        return output, errors
