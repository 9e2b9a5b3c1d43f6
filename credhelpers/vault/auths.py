"""Docker's `auths` in a field of a secret, as in its config.json and in Kubernetes' `.dockerconfigjson`.

Keys are what people write: docker's own (a host, with or without scheme and version), podman's (a host and a path, `man
containers-auth.json`) and those of Kubernetes with a `*` in a label ("Pull an Image from a Private Registry",
kubernetes.io). A host is compared as it is written first, then in lower case (RFC 3986, 3.2.2).
"""

from credhelpers.errors import NotFound, Unavailable, Unsupported
from credhelpers.hosts import fits
from credhelpers.servers import Authority, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from credhelpers.vault.secret_paths import Registry

_TOKEN_USER = "<token>"  # noqa: S105 - the user name that stands for an identity token, docs of docker's credential helpers


def pair(data: "Mapping[str, Any]", registry: "Registry", writer: str) -> tuple[str, str]:
    """User name and password of the entry for what was asked for; `writer` is the command that writes the field.

    The entry that is nearest counts: of the path that was sent or a leading part of it, else of the registry, else one
    whose stars have it. Docker itself sends no path: then the entries for paths of the registry count, if they agree.
    Raises NotFound if there is none, Unavailable for what is no such field or entry.
    """
    found = _auths(data.get(registry.auths_field))
    if found is None:
        raise Unavailable(
            "vault-fields",
            "the secret in Vault lacks the field that `auths_field` names",
            f"`{writer} FIELD=@config.json` writes one",
        )
    entries = _entries(found)
    key = _spelled(entries, registry) or _starred(entries, registry)
    if key is not None:
        return _pair_of(entries[key])
    below = {_pair_of(entries[key]) for key in _below(entries, registry)}
    if len(below) > 1:
        raise NotFound(
            "vault-nothing-there",
            "docker's `auths` in Vault has several entries for parts of this registry, and none for all of it",
        )
    if not below:
        raise NotFound("vault-nothing-there", "docker's `auths` in Vault has no entry for this registry")
    return below.pop()


def merged(data: "Mapping[str, Any]", registry: "Registry", username: str, secret: str) -> "dict[str, Any]":
    """What the secret is to hold once the registry's entry is this pair. Raises Unsupported for one it cannot hold."""
    from base64 import b64encode

    if ":" in username:  # RFC 7617, 2
        raise Unsupported(
            "vault-auths-colon", "docker's `auths` cannot hold a user name with a colon", "keep it in fields of its own"
        )
    field = registry.auths_field
    found = data.get(field)
    auths = _auths(found) or {}
    entries = dict(_entries(auths))
    server = _spelled(entries, registry) or registry.server
    old = entries[server] if isinstance(entries.get(server), dict) else {}
    entry = {name: value for name, value in old.items() if name not in ("auth", "identitytoken")}
    if username == _TOKEN_USER:
        entry = {name: value for name, value in entry.items() if name not in ("username", "password")}
        entry["identitytoken"] = secret
    else:
        entry["auth"] = b64encode(f"{username}:{secret}".encode()).decode()
        entry |= {name: value for name, value in (("username", username), ("password", secret)) if name in entry}
    entries[server] = entry
    return {**data, field: _shaped(found, auths, entries)}


def without(data: "Mapping[str, Any]", registry: "Registry") -> "dict[str, Any]":
    """What the secret is to hold once the entry of the registry that was asked for is out of it, in all its spellings.

    An entry of another user stays, and one of the other version of the API: they are somebody else's.
    """
    field = registry.auths_field
    found = data.get(field)
    auths = _auths(found)
    entries = _entries(auths or {})
    server = _spelled(entries, registry)
    if auths is None or server is None:
        return dict(data)
    user = _user(entries[server])
    versions = {"", _version(registry.asked.path)}
    gone = {
        key
        for key in _spellings_in(entries, registry)
        if key == server or (_user(entries[key]) == user and {"", _version(Authority(key).path)} | versions != _BOTH)
    }
    kept = {key: value for key, value in entries.items() if key not in gone}
    return {**data, field: _shaped(found, auths, kept)}


def servers(data: "Mapping[str, Any]", field: str) -> list[str]:
    """The registries in it, as they are named there."""
    return [str(server) for server in _entries(_auths(data.get(field)) or {})]


_BOTH = {"", "v1", "v2"}


def _version(path: str) -> str:
    """The version of the API that a path says, "" for none."""
    return path.strip("/") if path.strip("/") in _BOTH else ""


def _auths(value: object) -> "dict[str, Any] | None":
    """The object that holds the entries or is them, whether it was kept as one or as JSON; None if there is none."""
    if value in ("", None):
        return None
    if isinstance(value, str):
        import json

        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = False
    if not isinstance(value, dict) or not isinstance(value.get("auths", {}), dict):
        raise Unavailable(
            "vault-auths-malformed",
            "the field that `auths_field` names is not docker's `auths`",
            'it holds {"auths": {"REGISTRY": {"auth": "BASE64"}}}, as ~/.docker/config.json does',
        )
    return value


def _entries(auths: "dict[str, Any]") -> "dict[str, Any]":
    entries: dict[str, Any] = auths.get("auths", auths)
    return entries


def _shaped(found: object, auths: "dict[str, Any]", entries: "dict[str, Any]") -> object:
    """The entries in the form in which the field had them."""
    whole = {**auths, "auths": entries} if "auths" in auths or not auths else entries
    if isinstance(found, dict):
        return whole
    import json

    return json.dumps(whole)


# --- which entry ------------------------------------------------------------------------------------------------------


def _spelled(entries: "Iterable[str]", registry: "Registry") -> str | None:
    """The key that is nearest to what was asked for."""
    return next(_spellings_in(entries, registry), None)


def _spellings_in(entries: "Iterable[str]", registry: "Registry") -> "Iterator[str]":
    """The keys that are spellings of what was asked for or of its registry, the nearest first."""
    wanted = dict.fromkeys((*registry.asked.spellings(), *Authority(registry.server).spellings()))
    lowered: dict[str, list[str]] = {}
    for key in entries:
        lowered.setdefault(_lowered(key), []).append(key)
    seen = set()
    for spelling in wanted:
        for key in sorted(lowered.get(_lowered(spelling), []), key=lambda key: (key != spelling, key)):
            if key not in seen:
                seen.add(key)
                yield key


def _lowered(key: str) -> str:
    """The key with its host in lower case. The rest is compared as it is written."""
    scheme, rest = split(key)
    name, slash, path = rest.partition("/")
    return f"{scheme}://{name.lower()}{slash}{path}" if scheme else f"{name.lower()}{slash}{path}"


def _starred(entries: "Iterable[str]", registry: "Registry") -> str | None:
    """The key with a star that has what was asked for; of several the one that says most."""
    found = []
    for key in entries if registry.asked.host else ():  # docker's own tokens at the Hub are of no registry
        scheme, rest = split(key)
        name, _, path = rest.partition("/")
        path = "" if path.strip("/") in _BOTH else path.strip("/")
        if "*" not in name or scheme == "http" or not any(fits(name.lower(), one) for one in registry.asked.names):
            continue
        if not path or f"{registry.asked.path.strip('/')}/".startswith(f"{path}/"):
            found.append((-path.count("/") if path else 1, key.count("*"), -len(key), key))
    return min(found)[-1] if found else None


def _below(entries: "Iterable[str]", registry: "Registry") -> "Iterator[str]":
    """The keys for paths of the registry, where all of it was asked for."""
    if registry.asked.is_whole:
        for key in entries:
            authority = Authority(key)
            if authority.host and authority.name == registry.asked.name and not authority.is_whole:
                yield key


# --- what is in it ----------------------------------------------------------------------------------------------------


def _pair_of(entry: object) -> tuple[str, str]:
    """Its user name and password. Raises Unavailable if it lacks one."""
    username, secret = _said(entry)
    if not isinstance(username, str) or not isinstance(secret, str) or not username or not secret:
        raise Unavailable(
            "vault-auths-malformed",
            "the entry of docker's `auths` in Vault for this registry lacks a user name or a password",
            "`docker login` writes it anew",
        )
    return username, secret


def _user(entry: object) -> object:
    return _said(entry)[0]


def _said(entry: object) -> tuple[object, object]:
    said = entry if isinstance(entry, dict) else {}
    if said.get("identitytoken"):
        return _TOKEN_USER, said["identitytoken"]
    if said.get("auth"):  # it wins over the other two, as in docker's own reading of its file
        return _decoded(said["auth"])
    return said.get("username"), said.get("password")


def _decoded(auth: object) -> tuple[str, str]:
    """The two halves of `user:password` in Base64 (RFC 7617), without the NULs that docker trims; empty for others."""
    from base64 import b64decode

    try:
        username, _, secret = b64decode(str(auth), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return username, secret.strip("\0")
