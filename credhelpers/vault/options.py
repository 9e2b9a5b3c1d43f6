"""What the variables of Vault say of each request: how long, how often, with which headers.

As in github.com/hashicorp/vault, api/client.go.
"""

import json
import re

from credhelpers.config import duration
from credhelpers.errors import Unavailable

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a `token` of RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[ -~\t]*")


def timeout(text: str) -> float:
    """Seconds of `VAULT_CLIENT_TIMEOUT`. Raises Unavailable."""
    found = duration.seconds(text)
    if found is None:
        raise Unavailable(
            "vault-variable-malformed",
            "VAULT_CLIENT_TIMEOUT is not a duration",
            "`export VAULT_CLIENT_TIMEOUT=60s` is one",
        )
    return found


def retries(text: str) -> int:
    """The number in `VAULT_MAX_RETRIES`. Raises Unavailable."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise Unavailable(
            "vault-variable-malformed", "VAULT_MAX_RETRIES is not a number", "`export VAULT_MAX_RETRIES=2` is one"
        )
    return int(text)


def headers(text: str) -> dict[str, str]:
    """The headers in `VAULT_HEADERS`, an object in JSON. Raises Unavailable, also for those that are Vault's own."""
    try:
        found = json.loads(text)
    except (RecursionError, ValueError):
        found = None
    if not isinstance(found, dict) or not all(
        _HEADER.fullmatch(name) and isinstance(value, str) and _HEADER_VALUE.fullmatch(value)
        for name, value in found.items()
    ):
        raise Unavailable(
            "vault-variable-malformed",
            "VAULT_HEADERS is not an object of headers in JSON",
            "correct or unset VAULT_HEADERS",
        )
    if any(name.lower().startswith("x-vault-") for name in found):
        raise Unavailable(
            "vault-variable-malformed",
            "VAULT_HEADERS names a header that is Vault's own",
            "correct or unset VAULT_HEADERS",
        )
    return found
