"""The configuration file of `docker-credential-vault-login`, which is one of Vault Agent's, in our own settings.

What the keys mean is on developer.hashicorp.com, "Vault Agent auto-auth", a page for each method; `secret` and
`secrets` are in github.com/morningconsult/docker-credential-vault-login, README.md. `docs/drop-in.md` has the table.
"""

from credhelpers import servers
from credhelpers.config.file import trusted
from credhelpers.config.schema import Entry, fits
from credhelpers.errors import NotMine, Unavailable
from credhelpers.vault import hcl, login
from credhelpers.vault.ambient_token import token_file
from credhelpers.vault.connection import variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.config.schema import Settings
    from credhelpers.identity import Environment
    from credhelpers.recorder import Recorder

# By method: from its keys to our settings; a key without one changes nothing here.
_METHODS = {
    "approle": {
        "role_id_file_path": "role_id_file",
        "secret_id_file_path": "secret_id_file",
        "remove_secret_id_file_after_reading": "remove_secret_id_file",
        "secret_id_response_wrapping_path": "secret_id_path",
    },
    "aws": {
        "type": "",
        "role": "role",
        "region": "sts_region",
        "header_value": "server_id",
        "credential_poll_interval": "",
    },
    "azure": {"role": "role", "resource": "resource", "client_id": "client_id"},
    "cert": {
        "name": "role",
        "ca_cert": "ca_file",
        "client_cert": "certificate_file",
        "client_key": "key_file",
        "reload": "",
    },
    "gcp": {"type": "", "role": "role", "credentials": "credentials_file", "jwt_exp": "", "project": ""},
    "jwt": {"path": "jwt_file", "role": "role", "jwt_read_period": "", "remove_jwt_follows_symlinks": ""},
    "kubernetes": {"role": "role", "token_path": "jwt_file"},
    "token": {},
    "token_file": {"token_file_path": ""},
}
_LABELLED = ("method", "sink")
_TYPES = {"aws": ("iam",), "gcp": ("gce", "iam")}
# Of the block `vault`: from its keys to our setting, if there is one, and the variables that go before it.
_SERVER = {
    "address": ("address", ("ADDR", "AGENT_ADDR", "PROXY_ADDR")),
    "ca_cert": ("ca_file", ("CACERT",)),
    "ca_path": ("", ("CAPATH",)),
    "client_cert": ("certificate_file", ("CLIENT_CERT",)),
    "client_key": ("key_file", ("CLIENT_KEY",)),
    "tls_server_name": ("", ("TLS_SERVER_NAME",)),
    "namespace": ("namespace", ("NAMESPACE",)),
}
_ABOUT_TRIES = ("retry", "transport_dialer", "min_backoff", "max_backoff", "exit_on_err")
_MUST_BE_FALSE = ("authenticate_from_environment", "remove_jwt_after_reading", "tls_skip_verify")
_SECRETS = ("token", "secret_id", "access_key", "secret_key", "session_token", "vault_token")
_FLAGS = {True: True, "true": True, "1": True, False: False, "false": False, "0": False}
_SHOWN = 40  # letters of a key
_SEE = "see `vault-login` in `docs/drop-in.md`"


def entries(name: bytes, recorder: "Recorder", settings: "Settings", *, is_named: bool) -> list[Entry]:
    """What the file says, in `settings`: an entry for each host that it names, or one for any registry.

    Who asks for a file that cannot be understood, or that says what would not be done, hears of it; it must be there if
    DCVL_CONFIG_FILE has named it. Whatever is looked at is noted with `recorder`.
    """
    environ = recorder.environ
    file = _File(name)
    try:
        document = _read(file, recorder, is_named=is_named)
        said = _said(environ, file, document, settings) if document is not None else {}
    except Unavailable as mistake:
        entry = _entry(0, "*")
        entry.mistake = mistake
        return [entry]
    found = []
    for order, (pattern, of_pattern) in enumerate(said.items()):
        entry = _entry(order, pattern)
        entry.settings = of_pattern
        found.append(entry)
    return found


def _entry(order: int, pattern: str) -> Entry:
    entry = Entry(order, pattern, "", "vault", 0)
    entry.is_last = True
    return entry


def _said(
    environ: "Environment", file: "_File", document: hcl.Body, settings: "Settings"
) -> "dict[str, dict[str, Any]]":
    """Our settings by host and port, or by `*` for any registry."""
    auto_auth = file.block(document, "auto_auth")[1]
    label, block = file.block(auto_auth, "method")
    of_method = file.values(block, "method")
    said = file.values(of_method.pop("config", hcl.Body()), "config")
    paths = _paths(file, said)
    for _, sink in file.blocks(auto_auth, "sink"):
        file.only(file.values(sink, "sink"), ("type", "config"), "sink")

    method = (label or file.text(of_method, "type")).replace("-", "_")
    found = {"read_only": True} | _login(environ, file, method, said)  # the original only reads
    namespace = file.text(of_method, "namespace").strip("/")
    if namespace and not variable(environ, "NAMESPACE"):
        found["namespace"] = namespace
        paths = {pattern: path.removeprefix(namespace + "/") for pattern, path in paths.items()}
    mount = file.text(of_method, "mount_path").strip("/")
    if mount and not mount.startswith("auth/"):
        raise file.fault(
            "vault-file-mistake",
            "`mount_path` does not begin with `auth/`",
            "`vault auth list` shows what comes after that",
        )
    if mount and found["auth"] != "token":
        found["auth_mount"] = mount.removeprefix("auth/")
    file.only(of_method, ("type", "mount_path", "namespace", *_ABOUT_TRIES), "method")
    found |= _server(environ, file, found, file.values(file.block(document, "vault")[1], "vault"))
    for key, value in (*found.items(), *(("path", path) for path in paths.values())):
        words, pattern, _ = settings[key]
        is_escaped = key == "path" and "%" in value  # nobody knows what its writer thinks that the other helper does
        if not fits(value, pattern) or not str(value).isprintable() or is_escaped:
            raise file.fault("vault-file-mistake", f"what it has for our `{key}` is not {words}")
    message = login.contradiction(found)
    if message:
        raise file.fault("vault-file-mistake", message)
    return {pattern: found | {"path": path} for pattern, path in paths.items()}


def _read(file: "_File", recorder: "Recorder", *, is_named: bool) -> hcl.Body | None:
    """What is in the file; None if nobody has made one."""
    if not file.name.startswith(b"/"):
        raise file.fault(
            "vault-file-absent",
            "DCVL_CONFIG_FILE is not an absolute path",
            "give the absolute path of a file, or unset it",
        )
    text = trusted(file.name, file.fault, recorder)
    if text is None:
        if is_named:
            raise file.fault(
                "vault-file-absent", "DCVL_CONFIG_FILE names no file", "give the absolute path of one, or unset it"
            )
        return None
    try:
        return hcl.read(text)
    except hcl.Malformed as malformed:
        raise file.fault("vault-file-no-hcl", f"line {malformed.line}: not HCL", "mend the line") from None


def _paths(file: "_File", said: "dict[str, Any]") -> dict[str, str]:
    """Where the secrets are, by host and port or by `*`, taken out of what is said."""
    if ("secret" in said) == ("secrets" in said):
        raise file.fault("vault-file-mistake", "`config` has neither `secret` nor `secrets`, or both")
    paths: dict[str, str] = {}
    if "secrets" in said:
        table = file.values(said.pop("secrets"), "secrets")
        for name in table:
            try:
                registry = servers.registry(name)
            except NotMine:
                raise file.fault(
                    "vault-file-mistake", "a key of `secrets` is not a host", "write host, or host:port in quotes"
                ) from None
            if paths.setdefault(registry.name, file.text(table, name)) != table[name]:
                raise file.fault(
                    "vault-file-mistake", "`secrets` has two paths for one registry", "keep the one that is meant"
                )
    else:
        paths["*"] = file.text(said, "secret")
    said.pop("secret", None)
    if any("{" in path for path in paths.values()):
        raise file.fault(
            "vault-file-mistake", "a path in Vault has a brace in it", "patterns can be had in config.toml"
        )
    return {pattern: path.strip("/") for pattern, path in paths.items()}


def _login(environ: "Environment", file: "_File", method: str, said: "dict[str, Any]") -> "dict[str, Any]":
    """How to log in, in our settings."""
    if method not in _METHODS:
        raise file.fault(
            "vault-file-unsupported",
            "its `method` is none that has an equivalent here",
            "it may be " + ", ".join(_METHODS),
        )
    for key in said:
        if key in _SECRETS:
            raise file.fault(
                "vault-file-secret", f"`{key}` is a secret in a file that configures", "keep it as `docs/vault.md` says"
            )
    file.check_flags(said)
    file.only(said, tuple(_METHODS[method]), f"`config` of {method}")
    if file.text(said, "type") not in ("", *_TYPES.get(method, ())):
        raise file.fault("vault-file-unsupported", f"method {method} is of a type that has no equivalent here")
    found: dict[str, Any] = {"auth": method}
    for key, setting in _METHODS[method].items():
        if setting and key in said:
            is_flag = setting == "remove_secret_id_file"
            found[setting] = file.flag(said, key) if is_flag else file.text(said, key)
    if "secret_id_file" in found:
        found.setdefault("remove_secret_id_file", True)  # the Agent's default
    if said.get("type") == "gce":
        found.pop("credentials_file", None)
    if method == "token_file":
        found["auth"] = "token"
        _check_token_file(environ, file, file.text(said, "token_file_path"))
    return found


def _check_token_file(environ: "Environment", file: "_File", path: str) -> None:
    """Raise unless a token is looked for there anyway."""
    if path.encode("utf-8", "replace") != token_file(environ):
        raise file.fault(
            "vault-file-unsupported", "`token_file_path` is not where a token is looked for", "set BAO_TOKEN_PATH to it"
        )


def _server(environ: "Environment", file: "_File", found: "dict[str, Any]", said: "dict[str, Any]") -> "dict[str, Any]":
    """Which server to ask, in our settings; as with the original, the environment goes before the file."""
    file.check_flags(said)
    file.only(said, (*_SERVER, *_ABOUT_TRIES), "vault")
    server = {}
    for key, (setting, names) in _SERVER.items():
        value = file.text(said, key)
        if not value or setting in found or any(variable(environ, name) for name in names):
            continue
        if not setting:
            raise file.fault(
                "vault-file-unsupported", f"`{key}` of `vault` is not followed", f"set VAULT_{names[0]} to what it says"
            )
        server[setting] = value
    return server


class _File:
    """Reads what is in the file `name`, and says what is wrong with it."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def fault(self, code: str, message: str, hint: str = _SEE) -> Unavailable:
        """The error for `message`; the file's path is in the hint, where there is room."""
        return Unavailable(code, f"vault-login's file: {message}", f"{hint} ({self.name.decode('ascii', 'replace')})")

    def only(self, said: "dict[str, Any]", known: tuple[str, ...], block: str) -> None:
        """Raise for a key that nobody would follow."""
        for key in said:
            if key not in known:
                is_name = len(key) <= _SHOWN and key.isascii() and key.replace("_", "").isalnum()
                what = f"`{key}`" if is_name else "a key"
                raise self.fault("vault-file-unsupported", f"{what} in {block} has no equivalent here")

    def values(self, body: object, block: str) -> "dict[str, Any]":
        """What a block says, by key."""
        bodies = body if type(body) is list else [body]
        found: dict[str, Any] = {}
        for one in bodies:
            if not isinstance(one, hcl.Body):
                raise self.fault("vault-file-mistake", f"`{block}` is not a block")
            for words, value in one:
                if len(words) > 1 or words[0] in found:
                    raise self.fault(
                        "vault-file-mistake", f"a key of `{block}` stands there twice", "keep the one that is meant"
                    )
                found[words[0]] = value
        return found

    def blocks(self, body: hcl.Body, name: str) -> list[tuple[str, hcl.Body]]:
        """The blocks of this name, each with the label that stands behind the name, or "" if none does."""
        found = []
        for words, value in body:
            for one in (value if type(value) is list else [value]) if words[0] == name else ():
                label, inner = words[1:], one
                if not label and name in _LABELLED and isinstance(inner, hcl.Body) and len(inner) == 1:
                    (word, nested), *_ = inner  # how a label is written in JSON
                    if type(nested) is list and len(nested) == 1:
                        (nested,) = nested
                    if isinstance(nested, hcl.Body) and word != ("config",):
                        label, inner = word, nested
                if not isinstance(inner, hcl.Body) or len(label) > 1:
                    raise self.fault("vault-file-mistake", f"`{name}` is not a block")
                found.append((label[0] if label else "", inner))
        return found

    def block(self, body: hcl.Body, name: str) -> tuple[str, hcl.Body]:
        """The only block of this name, empty if there is none."""
        found = self.blocks(body, name)
        if len(found) > 1:
            raise self.fault("vault-file-mistake", f"it has more than one `{name}`", "keep the one that is meant")
        return found[0] if found else ("", hcl.Body())

    def text(self, said: "dict[str, Any]", key: str) -> str:
        """The text of a key, "" if it is not there."""
        value = said.get(key, "")
        if not isinstance(value, str):
            raise self.fault("vault-file-mistake", f"a value that must be a text is none: that of `{key}`"[:80])
        return value

    def flag(self, said: "dict[str, Any]", key: str) -> bool:
        """Whether a key is true, false if it is not there."""
        value = said.get(key, False)
        if not isinstance(value, str | bool) or value not in _FLAGS:
            raise self.fault("vault-file-mistake", f"`{key}` is neither true nor false")
        return _FLAGS[value]

    def check_flags(self, said: "dict[str, Any]") -> None:
        """Take out what must be false, and raise if it is not."""
        for key in _MUST_BE_FALSE:
            if self.flag(said, key):
                raise self.fault("vault-file-unsupported", f"`{key}` has no equivalent here")
            said.pop(key, None)
