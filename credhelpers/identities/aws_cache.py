"""The AWS CLI's cache of assumed roles, so that a role is assumed once for both."""

import os

from botocore.utils import JSONFileCache

from credhelpers import mkdir
from credhelpers.identities.aws_selectors import expanded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from credhelpers.identity import Environment


class Roles(JSONFileCache):  # type: ignore[misc] # botocore has no types
    """What botocore's chain takes for a cache; its default is a dictionary."""

    @classmethod
    def of_cli(cls, environ: "Environment") -> "Self":
        """Where the AWS CLI keeps them."""
        return cls(os.fsdecode(expanded(b"~/.aws/cli/cache", environ)))

    def __setitem__(self, key: str, value: object) -> None:
        try:
            mkdir.make(os.fsencode(self._working_dir))  # botocore's own mode is what the umask leaves
            super().__setitem__(key, value)
        except OSError:  # a home that cannot be written costs a call of STS, not the token
            return

    def __getitem__(self, key: str) -> "Any":
        value = super().__getitem__(key)
        if not isinstance(value, dict) or not isinstance(value.get("Credentials"), dict):
            raise KeyError(key)
        return value

    def __contains__(self, key: str) -> bool:
        try:
            return bool(self[key])
        except KeyError:
            return False
