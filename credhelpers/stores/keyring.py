"""The helper that keeps what a person typed at `docker login`: in the OS keyring, else in the embedded store.

A machine may have a keyring today and none tomorrow (a desktop, and the same machine over ssh). What is in a keyring
out of reach is neither answered nor denied nor written a second time to the weaker store: see `docs/keyring.md`.

This module is on the way of a `get` from the embedded store. It imports built-ins only.
"""

import posix
import sys

from credhelpers import notes
from credhelpers.errors import NotFound, NotMine, Refused, Unavailable
from credhelpers.identity import configuration
from credhelpers.servers import HUB, Authority
from credhelpers.stores import secretservice
from credhelpers.stores.age import Age
from credhelpers.stores.folder import Folder, directory
from credhelpers.stores.index import Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol, Self

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment

    class Store(Protocol):
        """Keeps credentials under exact keys. Every method raises Unavailable."""

        def read(self, server: str) -> Credential | None:
            """The credential under exactly this key, or None."""

        def write(self, server: str, credential: Credential) -> None:
            """Keep the credential under exactly this key, in place of an earlier one."""

        def remove(self, server: str) -> bool:
            """Whether there was an item under exactly this key."""

        def servers(self) -> dict[str, str]:
            """Server to user name of every item that `read` would answer."""

        def close(self) -> None:
            """End what was begun for it."""


_EMBEDDED, _LIBRARY = "embedded", "library"
_OF_LIBRARY = b".library"  # notes of what lies there
_NATIVE = {"darwin": "keychain"}  # by `sys.platform`; any other: "secret-service"


class Keyring:
    """The helper. `environ` and `platform` are those of the process, in the form of `posix` and `sys`."""

    __slots__ = ("_backend", "_embedded", "_environ", "_folder", "_index", "_platform")

    def __init__(self, environ: "Environment" = posix.environ, platform: str = sys.platform) -> None:
        self._environ = environ
        self._platform = platform
        self._folder = Folder(directory(environ))
        self._index = Index(self._folder)
        self._embedded = Age(self._folder, environ)
        self._backend = ""  # of the library that the configuration chooses

    @property
    def manual(self) -> str:
        """What `--help` prints below the synopsis."""
        from credhelpers.stores._keyring import MANUAL

        return MANUAL

    def ready(self, authority: "Authority") -> "Credential | None":  # noqa: ARG002 - the helpers' common signature
        """None: no secret is read before the process is closed to debuggers, which costs more than `get` itself."""
        return None

    def refresh(self, authority: "Authority") -> None:
        """Nothing: what a person typed does not age."""

    def get(self, authority: "Authority", *, exactly: bool = False) -> "Credential":
        """The credential under the nearest spelling of the authority, from the keyring or the embedded store.

        With `exactly` under none but that which was sent.
        """
        choice = self._choice()
        keys = self._keys(authority, choice, exactly=exactly)
        if choice == _EMBEDDED:
            self._folder.require()
            return self._get_embedded(keys)
        with self._native(choice) as native:
            for key in keys:
                credential = native.read(key)
                if credential is None and not choice:
                    credential = self._embedded.read(key)
                if credential and not credential.is_empty():
                    return credential
            raise native.trouble or NotFound()

    def _keys(self, authority: "Authority", choice: str, *, exactly: bool) -> "Iterable[str]":
        """The keys under which the authority may be, the nearest first.

        A backend of the library may start a program for each: it is asked for what was sent, and what is noted.
        """
        if exactly:
            return (authority.sent,)
        keys = authority.spellings()
        if choice != _LIBRARY:
            return keys
        noted = Index(self._folder, _OF_LIBRARY)
        return [key for key in keys if key == authority.sent or noted.has(key)]

    def _get_embedded(self, keys: "Iterable[str]") -> "Credential":
        for key in keys:
            credential = self._embedded.read(key)
            if credential is None and self._index.has(key):
                raise _elsewhere()
            if credential and not credential.is_empty():
                return credential
        raise NotFound

    def store(self, authority: "Authority", credential: "Credential") -> None:
        """Keep the credential under exactly what was sent: in the keyring, or where there is none, embedded."""
        choice = self._choice()
        if choice == _EMBEDDED:
            self._embedded.write(authority.sent, credential)
            return
        with self._native(choice) as native:
            is_kept = native.write(authority.sent, credential)
        if not is_kept:
            self._embedded.write(authority.sent, credential)
            return
        try:
            self._embedded.remove(authority.sent)
        except Unavailable:
            return  # nobody is answered from a directory that is not to be trusted

    def erase(self, authority: "Authority", *, exactly: bool = False) -> None:
        """Forget what `get` would answer, in both stores; of a whole registry, all that it could answer.

        Raises Unavailable if the keyring may still hold some of it.
        """
        choice = self._choice()
        keys = self._keys(authority, choice, exactly=exactly)
        if choice == _EMBEDDED:
            self._erase(authority, keys, self._index.forget)
            return
        with self._native(choice) as native:
            self._erase(authority, keys, native.remove)
            if native.trouble:
                raise native.trouble

    def _erase(self, authority: "Authority", keys: "Iterable[str]", remove: "Callable[[str], bool]") -> None:
        all_of_it = authority.is_whole  # a logout names a registry once, and no other name of it may answer then
        for key in keys:
            found = self._embedded.remove(key) | remove(key)
            if found and not all_of_it:
                break

    def list(self) -> dict[str, str]:
        """What `get` answers now. What lies in a keyring out of reach is not in it."""
        stores: list[Callable[[str], dict[str, str]]] = [self._list_embedded, self._list_native]
        found: dict[str, str] = {}
        for servers in stores:
            try:
                found |= servers(self._choice())
            except Unavailable as trouble:  # the other one answers all the same
                notes.take(f"left out of the list: {trouble.message}")
        return found

    def _list_embedded(self, choice: str) -> dict[str, str]:
        return self._embedded.servers() if choice in ("", _EMBEDDED) else {}

    def _list_native(self, choice: str) -> dict[str, str]:
        if choice == _EMBEDDED:
            return {}
        with self._native(choice) as native:
            return native.servers()

    def _choice(self) -> str:
        """What `CREDHELPERS_KEYRING` says, or that the configuration chooses the library; "" if nothing does.

        Raises Unavailable if the configuration is broken, since it may have chosen.
        """
        choice = self._environ.get(b"CREDHELPERS_KEYRING", b"").decode("ascii", "replace")
        native = _NATIVE.get(self._platform, "secret-service")
        if choice == _LIBRARY:
            from credhelpers.stores.library import circle

            raise circle()
        if not choice:
            self._backend = self._configured()
            return _LIBRARY if self._backend else ""
        if choice not in ("", _EMBEDDED, native):
            raise Refused(
                "keyring-unknown-choice",
                f"CREDHELPERS_KEYRING names no store of this system, the choices are {_EMBEDDED} and {native}",
                "`unset CREDHELPERS_KEYRING` lets the helper choose",
            )
        return choice

    def _configured(self) -> str:
        """The backend that config.toml names, "" for none. Raises Unavailable as the plan does."""
        try:
            posix.stat(configuration(self._environ))
        except (FileNotFoundError, NotADirectoryError):
            return ""  # mostly, and whoever has no such file pays for nothing
        except OSError:
            pass  # the plan says why
        from credhelpers import plan

        try:
            # The host does not matter: what the table says owns whatever is asked for by this word.
            return str(plan.route(Authority(HUB), self._environ, "keyring").settings["backend"])
        except NotMine:
            return ""

    def _native(self, choice: str) -> "_Native":
        """The OS keyring or what is known of it. Raises Unavailable if it was chosen and is not to be had."""
        if choice == _LIBRARY:
            from credhelpers.stores.library import Library

            index = Index(self._folder, _OF_LIBRARY)
            return _Native(Library(self._backend, index, self._folder), index)
        try:
            store = self._find()
        except Unavailable as trouble:
            if choice:
                raise
            return _Native(None, self._index, trouble)
        if store is None:
            if choice:
                raise Unavailable(
                    "keyring-absent",
                    "there is no Secret Service in this session",
                    "start one, as with `gnome-keyring-daemon --unlock`, or `unset CREDHELPERS_KEYRING`",
                )
            self._folder.require()
        return _Native(store, self._index)

    def _find(self) -> "Store | None":
        if self._platform in _NATIVE:
            from credhelpers.stores import system

            return system.System(system.backend(), self._index)
        return secretservice.find(self._environ, self._folder)


class _Native:
    """The OS keyring as far as it can be reached; once it fails, the index of what lies there is all that is asked.

    `trouble` is why it failed; there is none where there simply is no keyring.
    """

    __slots__ = ("_index", "_store", "trouble")

    def __init__(self, store: "Store | None", index: Index, trouble: Unavailable | None = None) -> None:
        self._store = store
        self._index = index
        self.trouble = trouble

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        if self._store:
            self._store.close()

    def read(self, server: str) -> "Credential | None":
        """The credential under exactly this key. Raises Unavailable if there is one, but out of reach."""
        if self._store and not self.trouble:
            try:
                credential = self._store.read(server)
            except Unavailable as trouble:
                self.trouble = trouble
            else:
                self._note(server, is_there=credential is not None)  # perhaps the work of another program
                return credential
        if self._index.has(server):
            raise self.trouble or _elsewhere()
        return None

    def write(self, server: str, credential: "Credential") -> bool:
        """Whether there is a keyring, which keeps it now."""
        if self.trouble:
            raise self.trouble
        if self._store is None:
            if self._index.has(server):
                raise _elsewhere()
            return False
        self._store.write(server, credential)
        self._note(server, is_there=True)
        return True

    def remove(self, server: str) -> bool:
        """Whether there was an item under exactly this key. If it is out of reach, `trouble` says so."""
        if self._store and not self.trouble:
            try:
                removed = self._store.remove(server)
            except Unavailable as trouble:
                self.trouble = trouble
            else:
                return removed | self._index.forget(server)
        if not self._index.has(server):
            return False
        self.trouble = self.trouble or _elsewhere()
        return True

    def servers(self) -> dict[str, str]:
        """Server to user name of every item within reach."""
        if self.trouble:
            raise self.trouble
        return self._store.servers() if self._store else {}

    def _note(self, server: str, *, is_there: bool) -> None:
        try:
            if is_there:
                self._index.add(server)
            else:
                self._index.forget(server)
        except Unavailable:
            return  # without a home to write to, the keyring still does its part


def _elsewhere() -> Unavailable:
    return Unavailable(
        "keyring-elsewhere",
        "this entry is in the OS keyring, which is not reachable from this session",
        "run it in the desktop session, or `export CREDHELPERS_KEYRING=embedded` and `docker login` for a second entry",
    )
