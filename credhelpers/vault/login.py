"""Logging in to Vault with an identity, in one of the ways that the modules of `auth` know.

A login is a `minting.Minter` like that of any token, so it is cached, renewed, and done by one process for all. Secrets
come from files and from the environment, never from the configuration, and are in no message.
"""

from importlib import import_module
from time import time

from credhelpers import files, lifetimes
from credhelpers.credential import INFINITY, Credential
from credhelpers.errors import Unavailable
from credhelpers.identity import fingerprint
from credhelpers.vault.connection import Server, variable
from credhelpers.vault.memo import Memo
from credhelpers.vault.vault_errors import Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeGuard

    from credhelpers.identity import Environment
    from credhelpers.recorder import Recorder
    from credhelpers.vault.connection import Connection

    Settings = Mapping[str, Any]
    # The path below the mount, and the object that is sent there.
    Request = tuple[str, dict[str, Any]]
    # Words in Vault's answer, one of which is there; the message; the hint, in which `{mount}` is the method's path
    # and `{role}` the configured role, NAME if there is none.
    Refusals = tuple[tuple[tuple[str, ...], str, str, str], ...]

_NAME = "vault token"  # what stands where a credential of the wire has its user name
_WHOLE = 0.9  # of the first life: a renewal that gives less comes near the longest life that a token may have
_REFUSED = (400, 401, 403, 404, 500)  # the last from Vault 1.13, for a wrong secret id or password
_BYTES = 1 << 16  # a JWT with many groups has some KiB


class Method:
    """One way to log in. An object has no state: what it knows of the identity is in the arguments.

    needed:    the settings that it cannot do without
    variables: the names of what it reads of the environment, without VAULT_ and BAO_
    cloud:     how further names begin that choose the identity
    refusals:  what Vault says no with, and what that means; the first that fits counts
    """

    needed: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    cloud: tuple[bytes, ...] = ()
    refusals: "Refusals" = ()

    def contradiction(self, settings: "Settings") -> str:
        """What is wrong with settings that are all its own and hold what is needed; "" if nothing is."""
        del settings
        return ""

    def files(self, environ: "Environment", settings: "Settings") -> list[bytes]:
        """The files that choose the identity, and not those that are written anew for the same one."""
        del environ, settings
        return []

    def proofs(self, environ: "Environment", settings: "Settings") -> list[bytes]:
        """The files that are written anew for the same identity, besides those that the settings name."""
        del environ, settings
        return []

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":
        """What logs in. Slow where a cloud is asked. Raises Unavailable if there is no identity, or none to be read."""
        del environ, settings, connection
        raise AssertionError  # each method has its own

    def after(self, settings: "Settings") -> None:
        """What remains to be done once Vault has given a token and it is kept. Raises Unavailable."""


# By name the class in a module of `auth`, which is loaded where it logs in; and the keys of config.toml that choose its
# identity, besides `auth` and `auth_mount`.
METHODS = {
    "approle": (
        "approle.AppRole",
        ("role_id", "role_id_file", "secret_id_file", "secret_id_path", "remove_secret_id_file"),
    ),
    "aws": ("aws.Aws", ("role", "profile", "sts_region", "server_id")),
    "azure": ("azure.Azure", ("role", "resource", "client_id")),
    "cert": ("certificate.Certificate", ("role", "certificate_file", "key_file")),
    "gcp": ("gcp.Gcp", ("role", "credentials_file")),
    "jwt": ("jwt.Jwt", ("role", "jwt_file")),
    "kubernetes": ("jwt.Kubernetes", ("role", "jwt_file")),
    "ldap": ("password.Password", ("login_name", "password_file")),
    "userpass": ("password.Password", ("login_name", "password_file")),
}
# A client certificate may be wanted by the listener, whatever logs in.
_OF_CONNECTIONS = ("certificate_file", "key_file")


def method(name: str) -> Method:
    """The way to log in of that name, one of `METHODS`."""
    module, _, kind = METHODS[name][0].partition(".")
    found: Method = getattr(import_module(f"credhelpers.vault.auth.{module}"), kind)()
    return found


def contradiction(settings: "Settings") -> str:
    """What settings that are well formed by themselves do not say together; "" if they make sense."""
    name = settings.get("auth", "token")
    own = ("auth_mount", *METHODS[name][1]) if name in METHODS else ()
    known = ["auth_mount", *(key for _, keys in METHODS.values() for key in keys)]
    foreign = next((key for key in known if key in settings and key not in (*own, *_OF_CONNECTIONS)), "")
    if foreign:
        return f'`{foreign}` is nothing for `auth = "{name}"`' if "auth" in settings else f"`{foreign}` without `auth`"
    if "key_file" in settings and "certificate_file" not in settings:
        return "`key_file` without `certificate_file`"
    if name not in METHODS:
        return ""
    way = method(name)
    missing = next((key for key in way.needed if key not in settings), "")
    return f'`auth = "{name}"` without `{missing}`' if missing else way.contradiction(settings)


class Identity:
    """Who asks which Vault, read once for all that a call asks there. Raises Unavailable as `connection.Server` does.

    token_key: the fingerprint of the server, the namespace, and the identity; with a login it is the same for all
               registries that are read by that identity
    """

    def __init__(self, environ: "Environment", settings: "Settings") -> None:
        self.environ = environ
        self.settings = settings
        self.server = Server(environ, settings)
        name = settings.get("auth", "token")
        self.is_only_agent = name == "agent"  # its token, and never the one of whoever asks
        self.method = method(name) if name in METHODS else None  # None for a token that is there
        self.token_key = self._fingerprint()

    def is_still(self) -> bool:
        """Whether it is the same as when it was read."""
        return self._fingerprint() == self.token_key

    @property
    def mount(self) -> str:
        """Where the method is mounted."""
        return f"auth/{self.settings.get('auth_mount') or self.settings['auth']}"

    def _fingerprint(self) -> str:
        environ, settings, where = self.environ, self.settings, f"{self.server.address} {self.server.namespace}"
        if self.method is None:
            from credhelpers.vault import ambient_token

            names = sorted(name for name in environ if name.startswith((b"VAULT_", b"BAO_")))
            return fingerprint(
                f"vault {where} {self.is_only_agent} {names}", environ, names, ambient_token.files(environ)
            )
        way = self.method
        said = [(name, str(settings[name])) for name in ("auth", *METHODS[settings["auth"]][1]) if name in settings]
        names = [f"{prefix}_{name}".encode() for name in way.variables for prefix in ("BAO", "VAULT")]
        names += sorted(name for name in environ if way.cloud and name.startswith(way.cloud))
        return fingerprint(
            f"vault token {where} {self.mount} {said} {names}", environ, names, way.files(environ, settings)
        )


def record_proofs(recorder: "Recorder", settings: "Settings") -> None:
    """Look at the files with which the configured method logs in: tokens, secret ids, keys."""
    name = settings.get("auth")
    if name not in METHODS:
        return
    named = [settings.get(key) for key in (*METHODS[name][1], *_OF_CONNECTIONS)]
    for path in named:
        if isinstance(path, str) and path.startswith("/"):
            recorder.proof(path.encode())
    for proof in method(name).proofs(recorder.proving, settings):
        recorder.proof(proof)


class Login:
    """The token of one identity at one server, see `minting.Minter`."""

    def __init__(self, identity: Identity, method: Method, connection: "Connection") -> None:
        self.token_key = identity.token_key
        self._identity = identity
        self._method = method
        self._connection = connection
        self._unsettled: Credential | None = None

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
        identity = self._identity
        below, body = self._method.request(identity.environ, identity.settings, self._connection)
        path = f"{identity.mount}/{below}"
        try:
            answer = self._connection.request("POST", path, json=body)
        except Refusal as refusal:
            raise self._refused(refusal, path) from None
        found = answer.get("auth")
        if isinstance(found, dict) and found.get("mfa_requirement"):
            raise Unavailable(
                "vault-login-second-factor",
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
            self._method.after(self._identity.settings)

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

    def _refused(self, refusal: Refusal, path: str) -> Unavailable:
        """The sentence for a login that Vault refused."""
        settings, where = self._identity.settings, self._identity.mount
        name, role = settings["auth"], settings.get("role", "NAME")
        if refusal.status not in _REFUSED:
            return unavailable(refusal, path, "update")
        for words, code, message, hint in self._method.refusals:
            if refusal.says(*words):
                return Unavailable(code, message, hint.format(mount=where, role=role))
        if refusal.says("address", "CIDR"):
            return Unavailable(
                "vault-login-address",
                "vault lets this identity log in from other addresses only",
                f"`vault read {where}/role/{role}` shows its CIDR blocks",
            )
        if refusal.status == 500:  # noqa: PLR2004 - RFC 9110
            return unavailable(refusal, path, "update")
        if refusal.status == 400:  # noqa: PLR2004 - as above
            return Unavailable(
                "vault-login-refused",
                f"vault refused the login by {name}",
                f"`vault path-help {where}` shows what it takes",
            )
        return Unavailable(
            "vault-login-denied",
            f"vault denied the login: {name} is not mounted there, or the role does not let this identity in",
            "`vault auth list` shows what is mounted; else look at namespace, `auth_mount` and `role`",
        )


def _credential(found: object, first: int = 0) -> Credential:
    """The token in the `auth` of an answer, with its times; `first` are the seconds that it lived at first.

    A token whose uses are counted is handed to one process only, which renews and shares nothing: two that share it
    could both find it used up, again and again.
    """
    token = found.get("client_token") if isinstance(found, dict) else None
    lifetime = found.get("lease_duration") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not _is_token(token) or not isinstance(lifetime, int) or lifetime < 0:
        raise Unavailable(
            "vault-login-no-token",
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


# --- secrets that log in: one line each -------------------------------------------------------------------------------


def secret_or_none(environ: "Environment", settings: "Settings", setting: str, name: str, what: str) -> str:
    """The secret in the file of `setting`, else in the variable `VAULT_NAME`; "" if neither is there.

    `what` is what people call it. Raises Unavailable for a file or a variable that does not hold one line of text.
    """
    if setting in settings:
        return secret_in(settings[setting], what)
    value = variable(environ, name)
    if value and not _is_line(value):
        raise Unavailable(
            "vault-login-secret-malformed",
            f"VAULT_{name} is not one line of text",
            f"set it again to {what} and nothing else",
        )
    return value


def secret(environ: "Environment", settings: "Settings", setting: str, name: str, what: str) -> str:
    """As `secret_or_none`. Raises Unavailable if there is none, too."""
    found = secret_or_none(environ, settings, setting, name, what)
    if not found:
        hint = f"set `{setting}` in config.toml or VAULT_{name}"
        raise Unavailable("vault-login-secret-missing", f"there is no {what} to log in to vault with", hint)
    return found


def secret_in(path: str, what: str) -> str:
    """The one line in a file, without the line end that editors leave. Raises Unavailable."""
    try:
        line = files.read(path, _BYTES)[0].decode().strip()
    except (FileNotFoundError, NotADirectoryError):
        hint = "correct the path in config.toml, or deliver it; `ls -l` shows what is there"
        raise Unavailable("vault-login-secret-missing", f"the file of the {what} does not exist", hint) from None
    except (files.NotRegular, files.TooLong):
        line = ""
    except (OSError, ValueError):
        hint = "look at it with `ls -l`, as who runs docker"
        raise Unavailable("vault-login-secret-unreadable", f"the file of the {what} cannot be read", hint) from None
    if not _is_line(line):
        raise Unavailable(
            "vault-login-secret-malformed",
            f"the file of the {what} is empty or not one line of text",
            "`wc -lc` counts what is in it",
        )
    return line


def _is_line(text: str) -> bool:
    return text != "" and text.isprintable() and len(text) <= _BYTES
