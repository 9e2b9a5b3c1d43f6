"""Vault's own token, where one logs in for it.

A login is an `Order` like that of any token, so it is cached, renewed, and done by one process for all.
"""

from time import time

from credhelpers import lifetimes
from credhelpers.credential import INFINITY, Credential
from credhelpers.errors import Unavailable
from credhelpers.identity import fingerprint
from credhelpers.vault import auth
from credhelpers.vault.memo import Memo
from credhelpers.vault.vault_errors import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeGuard

    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection

_NAME = "vault token"  # what stands where a credential of the wire has its user name
_WHOLE = 0.9  # of the first life: a renewal that gives less comes near the longest life that a token may have


class Login:
    """The token of one identity at one server, see `tokens.Minter`."""

    def __init__(self, environ: "Environment", settings: "Mapping[str, Any]", connection: "Connection") -> None:
        self._environ = environ
        self._settings = settings
        self._connection = connection
        self._unsettled: Credential | None = None

    @property
    def token_key(self) -> str:
        """The same for all registries that are read by the same identity at the same server and namespace."""
        said, variables, files = auth.identity(self._environ, self._settings)
        scope = f"vault token {self._connection.address} {self._connection.namespace} {said}"
        return fingerprint(scope, self._environ, variables, files)

    def mint(self, old: Credential | None = None) -> Credential:
        """A token with its times: `old` renewed, if that gives it its whole life again, else that of a new login.

        Where a login is not to be had any more (its secret id served once, say), the renewed token serves to its end.
        """
        self._connection.client.token = None  # the one in hand is dead, or not the one that a request is about
        renewed, is_whole = self._renewed(old) if old else (None, False)
        if renewed and is_whole:
            return renewed
        try:
            return self._logged_in()
        except Unavailable:
            if renewed is None:
                raise
            return renewed

    def _logged_in(self) -> Credential:
        settings = self._settings
        method = auth.METHODS[settings["auth"]]
        below, body = method.request(self._environ, settings, self._connection)
        path = f"{auth.mount(settings)}/{below}"
        try:
            answer = self._connection.request("POST", path, json=body)
        except Refusal as refusal:
            raise auth.refused(refusal, settings, path) from None
        found = answer.get("auth")
        if isinstance(found, dict) and found.get("mfa_requirement"):
            raise Unavailable(
                "vault wants a second factor for this login, and a credential helper cannot ask for one",
                "use another method or role; `vault list identity/mfa/login-enforcement` shows where it is wanted",
            )
        self._unsettled = _credential(found)
        return self._unsettled

    def settle(self, kept: Credential | None) -> None:
        """Do what remains after a login, if its token is the one that is kept and serves the next call too.

        Else that one must log in again. Raises Unavailable.
        """
        token, self._unsettled = self._unsettled, None
        if token and kept and kept.tail() == token.tail() and time() < kept.hard:
            auth.METHODS[self._settings["auth"]].after(self._settings)

    def _renewed(self, old: Credential) -> tuple[Credential | None, bool]:
        """The token in hand with its new times, and whether it got all of its life again. None if it cannot."""
        first = Memo.of(old).life
        if not first:
            return None, False
        token = old.expose()[1]
        try:
            answer = self._connection.request(
                "POST", "auth/token/renew-self", json={}, headers={"X-Vault-Token": token}
            )
        except Refusal:
            return None, False  # revoked, used up, or at the end of its longest life: a new login says more
        found = answer.get("auth")
        if not isinstance(found, dict):
            return None, False
        renewed = _credential({**found, "client_token": token}, first)
        return renewed, found["lease_duration"] >= first * _WHOLE


def _credential(found: object, first: int = 0) -> Credential:
    """The token in the `auth` of an answer, with its times; `first` are the seconds that it lived at first.

    A token whose uses are counted is handed to one process only, which renews and shares nothing: two that share it
    could both find it used up, again and again.
    """
    token = found.get("client_token") if isinstance(found, dict) else None
    lifetime = found.get("lease_duration") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not _is_token(token) or not isinstance(lifetime, int) or lifetime < 0:
        raise Unavailable(
            "vault gave no token for this login",
            "try it with `vault login -no-print -method=METHOD`; `vault status` shows what answers there",
        )
    now = time()
    uses = found.get("num_uses")
    end = now + lifetime if lifetime else INFINITY
    soft, hard, expires = lifetimes.window(now, end, lifetimes.VAULT_TOKEN)
    if uses:
        return Credential(_NAME, token, soft=expires, hard=now, expires=expires)
    memo = Memo(life=(first or lifetime) if found.get("renewable") is True and lifetime else 0)
    return Credential(_NAME, token, soft=soft, hard=hard, expires=expires, memo=str(memo))


def _is_token(value: object) -> "TypeGuard[str]":
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable() and " " not in value
