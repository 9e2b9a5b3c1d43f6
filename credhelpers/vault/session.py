"""Reading and writing with a token: the one that is there, or the cached one of a login, got anew once if need be."""

from time import monotonic, time

from credhelpers import lifetimes, notes
from credhelpers.credential import INFINITY, Credential
from credhelpers.errors import Unavailable
from credhelpers.identity import fingerprint
from credhelpers.recorder import Recorder
from credhelpers.tokens import Wanted
from credhelpers.vault.connection import Connection
from credhelpers.vault.login import Login, record_proofs
from credhelpers.vault.vault_errors import WRAPPED, Final, Refusal, denied, unavailable, worn_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from credhelpers.tokens import Tokens
    from credhelpers.vault.login import Identity

    Result = TypeVar("Result")

_DENIED = 403
_LOOKED_FOR_A_MOUNT = "preflight capability check"  # Vault's words, `handleUIMounts` in vault/logical_system.go
_ITSELF = "auth/token/lookup-self"


class Session:
    """Requests of one identity to one server."""

    def __init__(self, identity: "Identity", tokens: "Tokens", until: float) -> None:
        self.connection = Connection(identity.server, until)
        self.environ = identity.environ
        self._identity = identity
        self._tokens = tokens
        self._wanted: Wanted | None = None
        if identity.method:
            self._login = Login(identity, identity.method, self.connection)
            proofs = Recorder(identity.environ)
            record_proofs(proofs, identity.settings)
            proofs.network()
            receipts = "", proofs.text(is_of_failure=True)
            self._wanted = Wanted(self._login, receipts=receipts, is_still=identity.is_still)
        self._token: Credential | None = None  # of the login
        self._is_new = False  # whether it was got just now, and nothing was asked with it yet
        self._ambient_token: str | None = None
        # What Vault says of a token that nobody logged in for here, see `look`.
        self.is_counted = False  # whether it has a number of uses, which everybody spends who has the token
        self._has_looked = False
        self._ends = INFINITY
        self._birth = ""  # the moment: an agent shows neither id nor accessor of its token

    def do(self, work: "Callable[[Any], Result]", path: str, capability: str) -> "Result":
        """What `work` returns for hvac's client with a token in it. After a 403 it is done once more, logged in anew.

        Raises Refusal for whatever a caller may know better about, and Unavailable for the rest: Denied if `capability`
        on `path` is what the policy lacks.
        """
        self._secret()
        was_new, self._is_new = self._is_new, False
        try:
            return self.once(work)
        except Refusal as refusal:
            if refusal.is_of_route:
                raise unavailable(refusal, path, capability) from None
            if refusal.status != _DENIED:
                raise
            if self._wanted is None:
                raise self._unavailable(refusal, path, capability) from None
            if was_new:
                raise unavailable(refusal, path, capability) from None
            refused = refusal
        try:
            self._token = self._logged_in(self._wanted, self._token)
        except Unavailable:
            if refused.is_of_policy:  # of a token that is good: a secret id that served once is not the reason
                raise denied(path, capability) from None
            raise
        try:
            return self.once(work)
        except Refusal as refusal:
            self._is_new = refusal.status == _DENIED  # yet another login would not help with what is asked next
            if refusal.is_of_route or refusal.status == _DENIED:
                raise unavailable(refusal, path, capability) from None
            raise

    def once(self, work: "Callable[[Any], Result]") -> "Result":
        """What `work` returns with the token in hand, and no new login whatever Vault says. Raises Refusal."""
        self.connection.client.token = self._secret()
        return work(self.connection.client)

    @property
    def mark(self) -> str:
        """40 hexadecimal digits for the token in hand, which say nothing of it: another token has others."""
        name = self._secret()
        if not name:
            self.look()
            name = self._birth
        return fingerprint(f"mark of a vault token {name}", {}, ())

    @property
    def is_ageing(self) -> bool:
        """Whether the token of the login is due for renewal."""
        held = self._wanted and self._tokens.cached(self._wanted.token_key)
        return bool(held and held.soft <= time() < held.hard)

    def renew(self) -> None:
        """Renew the token of the login if it is due: for a process that nobody waits for, or what lives by it.

        Where that cannot be done, what has served once, say, or has expired meanwhile, the token in hand is still good.
        """
        if self._wanted and self.is_ageing:
            try:
                self._tokens.refresh(self._wanted)
                self._settle(self._wanted)
            except Unavailable as error:
                notes.take(f"vault: its token is not renewed: {error.message}")
            self._token = None

    def look(self) -> None:
        """Have Vault say, once, what the token is that is there already, or is the agent's; a login's is known.

        Asking costs one use of a token whose uses are counted. So it is asked before a lease is made: Vault makes none
        by the last use of a token, since a lease ends with its token. Where a policy forbids the token to look at
        itself, a short life is assumed. Raises Unavailable.
        """
        if self._wanted or self._has_looked:
            return
        try:
            found = self._lookup()
        except Refusal as refusal:
            if refusal.status != _DENIED:
                raise unavailable(refusal, _ITSELF, "read") from None
            if not refusal.is_of_policy:
                raise self._worn_out() from None
            notes.take("vault: the token may not look at itself, so that nobody knows when it ends")
            found = {"ttl": lifetimes.UNSAID}
        ttl = found.get("ttl")
        if isinstance(ttl, int | float) and ttl > 0:
            self._ends = time() + ttl
        elif found.get("expire_time"):  # in less than a second
            raise self._worn_out()
        self.is_counted = bool(found.get("num_uses"))
        self._birth = f"{found.get('creation_time')} {found.get('issue_time')}"
        self._has_looked = True

    def token_expires(self) -> float:
        """When the token ends, and with it every lease that was made with it; INFINITY for what has no end."""
        if self._wanted:
            self._secret()
        if self._token:
            return self._token.expires
        self.look()
        return self._ends

    def _lookup(self) -> "dict[str, Any]":
        """What the token in hand is. Raises Refusal."""
        self.connection.client.token = self._secret()
        found = self.connection.request("GET", _ITSELF).get("data")
        return found if isinstance(found, dict) else {}

    def _unavailable(self, refusal: Refusal, path: str, capability: str) -> Unavailable:
        """Why a token that was there already was refused: of itself, or by a policy. Vault says the same for both."""
        if refusal.says(_LOOKED_FOR_A_MOUNT) and self._is_wrapped():
            return Final(*WRAPPED)
        is_good = refusal.is_of_policy
        if not is_good and not refusal.is_of_token:
            try:
                self._lookup()
                is_good = True
            except Refusal as other:
                is_good = other.is_of_policy or other.status != _DENIED
        if is_good:
            return denied(path, capability)
        return self._worn_out()

    def _is_wrapped(self) -> bool:
        """Whether the token only holds another one, as with `vault token create -wrap-ttl`.

        Asked before it is used for anything else: a refusal by a policy spends its only use, and so does a look at
        itself.
        """
        try:
            asked = {"token": self._secret()}
            return "creation_path" in self.connection.request("POST", "sys/wrapping/lookup", json=asked).get("data", {})
        except (Refusal, Unavailable):
            return False

    def _worn_out(self) -> Unavailable:
        return worn_out() if self._secret() else _tokenless_agent()

    def _logged_in(self, wanted: Wanted, refused: Credential | None = None) -> Credential:
        token = self._tokens.get(wanted, refused)
        self._settle(wanted)
        return token

    def _settle(self, wanted: Wanted) -> None:
        self._login.settle(self._tokens.cached(wanted.token_key))

    def _secret(self) -> str:
        if self._wanted:
            if self._token is None:
                before = self._tokens.cached(self._wanted.token_key)
                self._token = self._logged_in(self._wanted)
                self._is_new = before is None or before.tail() != self._token.tail()
            return self._token.expose()[1]
        if self._ambient_token is None:
            left = self.connection.until - monotonic()
            from credhelpers.vault import ambient_token  # which whoever logs in does not need

            self._ambient_token = "" if self._identity.is_only_agent else ambient_token.find(self.environ, left)
        if not self._ambient_token and not self._identity.server.is_agent:
            raise Final(
                "vault-no-token",
                "there is no Vault token",
                "run `vault login -no-print`, or configure `auth`, see `docs/vault.md`",
            )
        return self._ambient_token


def _tokenless_agent() -> Final:
    return Final(
        "vault-agent-without-token",
        "vault's agent adds no token that is good, and there is none here",
        "`use_auto_auth_token` in its configuration makes it; its log says why not; or run `vault login -no-print`",
    )
