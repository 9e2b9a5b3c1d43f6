"""Why a call of AWS came to nothing: what botocore raised, in our words."""

import shlex
import ssl
import sys

from credhelpers.errors import Unavailable
from credhelpers.identities import aws_errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.identities.aws_errors import Cause

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@+-")
_PLAIN_LETTERS = 64


class Reasons:
    """The sentences of one call, in which its session's profile is named, and who was asked.

    is_profile_chosen: whether an entry of the configuration names the profile
    asked:             the AWS service that was asked last, as people call it; "" if none was
    method:            how botocore came by the credentials, as it calls that; "" if it has none yet
    """

    def __init__(self, session: "Any", *, is_profile_chosen: bool) -> None:
        self._session = session
        self._is_profile_chosen = is_profile_chosen
        self.asked = ""
        self.method = ""

    def unavailable(self, cause: "Cause", status: int = 0, **more: str) -> Unavailable:
        """What to raise for a cause of `aws_errors`."""
        code, message, hint = cause
        names = {
            **more,
            "crt": install("botocore[crt]"),
            "profile": _option(self._session.get_config_variable("profile")),
            "service": self.asked or "credentials",
            "source": _option(self._source_profile()) if "{source}" in hint else "",
            "status": status,
            "upgrade": install("botocore", "boto3", is_upgrade=True),
        }
        return Unavailable(code, message.format(**names), hint.format(**names))

    def of(self, error: Exception) -> Unavailable:
        """What to raise for whatever came out of boto3."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        if isinstance(error, ClientError):
            return self.unavailable(*aws_errors.of_refusal(error, self.asked, is_environment=self.method == "env"))
        if isinstance(error, BotoCoreError):
            return self.lacking() if aws_errors.is_lack(error) else self.unavailable(aws_errors.of_exception(error))
        if isinstance(error, ssl.SSLError):
            return self.unavailable(aws_errors.NO_TLS)
        if isinstance(error, OSError):
            return self.unavailable(aws_errors.SYSTEM, reason=error.strerror or "no reason given")
        if isinstance(error, ResponseParserError) or self.asked.startswith("ECR"):
            return self.senseless()
        return self.unavailable(aws_errors.MALFORMED)

    def senseless(self) -> Unavailable:
        """What to raise for an answer of who was asked last."""
        is_registry = self.asked.startswith("ECR")
        return self.unavailable(aws_errors.NOT_A_TOKEN if is_registry else aws_errors.NOT_AN_ANSWER)

    def late(self) -> Unavailable:
        """What to raise when the time is up."""
        return self.unavailable(aws_errors.LATE_ANSWER if self.asked else aws_errors.LATE_SEARCH)

    def too_old(self) -> Unavailable:
        """What a RuntimeError of botocore's credentials means: they were fetched again, and are still too old."""
        return self.unavailable(aws_errors.EXPIRED_ENVIRONMENT if self.method == "env" else aws_errors.EXPIRED)

    def lacking(self) -> Unavailable:
        """What to raise where there are no credentials."""
        return self.unavailable(aws_errors.EMPTY_PROFILE if self._is_profile_chosen else aws_errors.NO_CREDENTIALS)

    def _source_profile(self) -> str | None:
        """The profile that signs in: the one that is set, or the one on which its role rests."""
        name: str | None = self._session.get_config_variable("profile")
        profiles = self._session.full_config["profiles"]
        for _ in profiles:
            source = profiles.get(name or "default", {}).get("source_profile")
            if not source or source == name:
                break
            name = source
        return name


def install(*requirements: str, is_upgrade: bool = False) -> str:
    """The command that adds Python packages to this installation, or renews them."""
    quoted = shlex.join(requirements)
    if "/pipx/venvs/" in sys.executable:
        return (
            f"pipx runpip credhelpers install --upgrade {quoted}" if is_upgrade else f"pipx inject credhelpers {quoted}"
        )
    if "/uv/tools/" in sys.executable:
        return "uv tool upgrade credhelpers" if is_upgrade else f"uv tool install --with {quoted} 'credhelpers[ecr]'"
    return f"{shlex.quote(sys.executable)} -m pip install{' --upgrade' if is_upgrade else ''} {quoted}"


def _option(profile: str | None) -> str:
    """The option that makes the AWS CLI use `profile`; a name that is no plain word is not repeated."""
    if not profile:
        return ""
    is_plain = len(profile) <= _PLAIN_LETTERS and set(profile) <= _PLAIN
    return f" --profile {profile if is_plain else 'NAME'}"
