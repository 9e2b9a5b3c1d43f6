"""The document that a client sends to `store`: one JSON object, read strictly."""

import json

from credhelpers import servers
from credhelpers.credential import Credential
from credhelpers.errors import MissingUsername, Refused


def read(content: bytes) -> "tuple[servers.Authority, Credential]":
    """The authority and the credential. Fields that are not known are ignored.

    Raises MissingServer, MissingUsername or Refused, without a word of the input, which holds a secret.
    """
    fields = _object(content)
    server, username, secret = (fields.get(name, "") for name in ("ServerURL", "Username", "Secret"))
    if not (isinstance(server, str) and isinstance(username, str) and isinstance(secret, str)):
        raise Refused("input-malformed", "the input of store has a field that is not a string")
    try:
        authority = servers.read(server.encode())
        if not username.encode():
            raise MissingUsername
        secret.encode()
    except UnicodeEncodeError:
        raise Refused("input-malformed", "the input of store has half a character in it") from None
    if "Secret" not in fields:
        raise Refused("input-malformed", "the input of store has no secret")
    if authority.is_dubious:
        raise Refused(
            "server-dubious",
            "the server URL could be read as two hosts",
            "leave out user info, escapes and empty labels",
        )
    return authority, Credential(username, secret)


def _object(content: bytes) -> dict[str, object]:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ValueError
        return fields

    def refuse(_constant: str) -> None:
        raise ValueError

    try:
        fields = json.loads(content.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refused("input-malformed", "the input of store is not one JSON object")
    return fields
