"""What is kept in KV below the configured paths, and named only as far as the token may read it.

What is leased or minted is not here: nobody knows of it before it is made, and then it is in the cache. Nor is what
docker-credential-vault-login's file names, which that helper does not list either.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import local
from time import monotonic

from credhelpers import notes, plan
from credhelpers.config.lines import owners
from credhelpers.errors import NotFound, NotMine, Unavailable
from credhelpers.servers import Authority
from credhelpers.servers import registry as hosted
from credhelpers.vault import auths, fields, kv, secret_paths
from credhelpers.vault.login import Identity
from credhelpers.vault.memo import Memo
from credhelpers.vault.secret_paths import Registry, SecretPath
from credhelpers.vault.session import Session
from credhelpers.vault.vault_errors import Denied, Refusal, unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from credhelpers.config.schema import Entry
    from credhelpers.identity import Environment
    from credhelpers.tokens import Tokens

    Names = dict[str, str]

_BUDGET = 8.0  # seconds for all of it; the call has ten
_READING = 4.0  # seconds of it that are left for reading what was found
_READERS = 8  # threads for one Vault; more do not help on one connection each
_AT_MOST = 200  # secrets that are read
_FOLDERS_AT_MOST = 50  # folders that are looked into
_MISSING = 404  # RFC 9110
_HOST, _PORT = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", r"[1-9][0-9]{0,4}"
# What a mark of a template stands for. `secret_paths` fills them, and whatever is found must be filled so again.
_VALUES = {"host": _HOST, "port": _PORT, "account": "[0-9]{12}", "region": "[a-z0-9-]+"}


def servers(environ: "Environment", tokens: "Tokens") -> dict[str, str]:
    """Server to user name. What is broken, may not be read or would be refused by `get` is left out.

    Raises Unavailable if the configuration fails every host.
    """
    return _Walk(environ, tokens).found()


class _Walk:
    """One listing."""

    def __init__(self, environ: "Environment", tokens: "Tokens") -> None:
        self._environ = environ
        self._tokens = tokens
        self._until = monotonic() + _BUDGET
        self._folders = _FOLDERS_AT_MOST
        self._memos: dict[str, Memo] = {}
        self._local = local()

    def found(self) -> "Names":
        """Server to user name of all that can be read."""
        wanted = self._registries()
        pools: dict[str, ThreadPoolExecutor] = {}
        with ExitStack() as readers:  # one that waits for a Vault which is away holds up nobody else
            users = {}
            for server, registry in wanted.items():
                address = registry.settings.get("address", "")
                if address not in pools:
                    pools[address] = readers.enter_context(ThreadPoolExecutor(_READERS))
                users[server] = pools[address].submit(self._user, registry)
        return {server: user for server, answer in users.items() if (user := answer.result()) is not None}

    def _registries(self) -> "dict[str, Registry]":
        """The registries by server, each with the path that `get` would read for it."""
        found: dict[str, Registry] = {}
        for server in self._candidates():
            try:
                route = plan.route(hosted(server), self._environ, "vault")
                registry = secret_paths.registry_of(self._environ, route)
            except NotMine:
                continue  # a name below the path that is no registry's
            except Unavailable as error:  # its name does not fit the path, say
                _leave_out(error)
                continue
            found[registry.server] = registry
            if len(found) == _AT_MOST or monotonic() > self._until - _READING / 2:
                notes.take(f"not all is listed, but {len(found)} secrets")
                break
        return found

    def _candidates(self) -> "Iterator[str]":
        """The servers that have a path of their own, and those whose names are found below a path."""
        named = []
        paths = []
        for entry in self._entries():
            name, _, port = entry.pattern.partition(":")
            if "*" not in name and port != "*":
                named.append(entry.pattern)
            elif entry.settings.get("engine", "kv").startswith("kv"):
                paths.append(entry.settings)
        template = secret_paths.of_environment(self._environ)
        if template:
            paths += [{"path": form} for form in (template, f"{template}:{{port}}")]
        yield from named
        paths = [settings for settings in paths if "{" in settings["path"] or "auths_field" in settings]
        if paths:  # else there is one secret for whatever registry is asked for, and nobody knows their names
            with ThreadPoolExecutor(len(paths)) as walkers:
                for servers_below in walkers.map(self._walked, paths):
                    yield from servers_below

    def _entries(self) -> "list[Entry]":
        """Those of the configuration file for whoever is chosen, but for those that have a mistake in them."""
        chosen = ("", self._environ.get(b"CREDHELPERS_IDENTITY", b"").decode("ascii", "replace"))
        every = (entry for entry in owners(self._environ).entries if entry.source == "vault" and not entry.is_last)
        own = [entry for entry in every if entry.identity in chosen]
        for mistake in (entry.mistake for entry in own if entry.mistake):
            _leave_out(mistake)
        return [entry for entry in own if entry.mistake is None]

    def _walked(self, settings: "Mapping[str, Any]") -> list[str]:
        """The servers below one path; those that were found in time."""
        found = []
        try:
            for server in self._below(settings):
                found.append(server)
                if monotonic() > self._until - _READING:
                    notes.take("not all below a configured path is listed")
                    break
        except Denied:
            notes.take("the token may see nothing of a configured path")
        except Unavailable as error:
            _leave_out(error)
        return found

    def _below(self, settings: "Mapping[str, Any]") -> "Iterator[str]":
        """The servers for which there are secrets whose paths fit the template, or entries in docker's `auths`."""
        template = settings["path"]
        session = self._session(settings, self._until - _READING)
        end = template.find("{")
        prefix = template if end < 0 else template[:end].rpartition("/")[0]
        # Any name below the literal part leads to the mount as well as another.
        sample = Registry(Authority("registry.invalid"), {**settings, "path": template if end < 0 else f"{prefix}/x"})
        secret_path = secret_paths.find(session, sample, Memo())
        self._memos[_scope(settings)] = Memo(engine=secret_path.engine, mount=secret_path.mount)
        if not secret_path.is_kv:
            return
        if end < 0:
            secret = kv.fetch(session, secret_path)
            names = auths.servers(secret.data or {}, settings["auths_field"])
            yield from (name for name in names if Authority(name).is_whole)
            return
        rest = template[len(prefix) + 1 :].split("/")
        base = secret_path.path.removesuffix("x").rstrip("/")
        for values in self._matching(session, secret_path, base, rest):
            if "host" in values:
                port = values.get("port", "443")
                yield values["host"] if port == "443" else f"{values['host']}:{port}"

    def _matching(
        self, session: Session, secret_path: SecretPath, base: str, rest: list[str]
    ) -> "Iterator[dict[str, str]]":
        """The values of the marks for each path below `base` that fits the parts in `rest`."""
        part, *others = rest
        pattern = _pattern(part)
        names = self._names(session, secret_path, base) if "{" in part or not others else [part + "/"]
        for name in names:
            match = pattern.fullmatch(name.removesuffix("/"))
            if not match or name.endswith("/") != bool(others):
                continue
            values = match.groupdict()
            if not others:
                yield values
                continue
            below = f"{base}/{name}".strip("/")
            for more in self._matching(session, secret_path, below, others):
                if all(values.get(mark, value) == value for mark, value in more.items()):
                    yield values | more

    def _names(self, session: Session, secret_path: SecretPath, folder: str) -> list[str]:
        """What is in the folder, as far as the token may list it; folders with `/` behind. Raises Unavailable."""
        if not self._folders:
            notes.take(f"more than {_FOLDERS_AT_MOST} folders; the others are not looked into")
            return []
        self._folders -= 1
        area, version = ("", "v1") if secret_path.engine == "kv-v1" else ("/metadata", "v2")
        path = f"{secret_path.mount}{area}/{folder}".rstrip("/")
        try:
            answer = session.do(
                lambda client: getattr(client.secrets.kv, version).list_secrets(folder, mount_point=secret_path.mount),
                path,
                "list",
            )
        except Denied:
            notes.take("the token may not list a folder below a configured path")
            return []
        except Refusal as refusal:
            if refusal.status == _MISSING:
                return []
            raise unavailable(refusal, path, "list") from None
        data = answer.get("data") if isinstance(answer, dict) else None
        keys = data.get("keys") if isinstance(data, dict) else None
        return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []

    def _user(self, registry: Registry) -> str | None:
        """The user name in the secret, None if `get` would not answer with it."""
        try:
            session = self._session(registry.settings, self._until)
            memo = self._memos.get(_scope(registry.settings), Memo())
            secret_path = secret_paths.find(session, registry, memo)
            secret = kv.fetch(session, secret_path) if secret_path.is_kv else kv.Secret()
        except Denied:
            return None
        except Unavailable as error:
            _leave_out(error)
            return None
        if secret.data is None:
            return None
        try:
            fields.times(secret.data, secret.metadata, registry, secret_path.writer)
            return fields.pair(secret.data, registry, secret_path.writer)[0]
        except (NotFound, Unavailable):
            notes.take("a secret below a configured path holds no credential that is good")
            return None

    def _session(self, settings: "Mapping[str, Any]", until: float) -> Session:
        """The session of this thread for these settings: one connection, one look for the token."""
        sessions = vars(self._local)
        scope = _scope(settings)
        if scope not in sessions:
            sessions[scope] = Session(Identity(self._environ, settings), self._tokens, until)
        found: Session = sessions[scope]
        return found


def _leave_out(error: Unavailable) -> None:
    notes.take(f"left out of the list: {error.message}")


def _scope(settings: "Mapping[str, Any]") -> str:
    return str(sorted(settings.items()))


def _pattern(part: str) -> "re.Pattern[str]":
    """What a part of a path looks like that the part of a template was filled to."""
    seen = set()
    text = ""
    for literal, mark in re.findall(r"([^{}]*)(?:\{([^{}]*)\})?", part):
        text += re.escape(literal)
        if mark in seen:
            text += f"(?P={mark})"
        elif mark:
            seen.add(mark)
            text += f"(?P<{mark}>{_VALUES[mark]})"
    return re.compile(text)
