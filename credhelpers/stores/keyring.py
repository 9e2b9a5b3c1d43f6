"""The helper that keeps what a person typed at `docker login`: in the OS keyring, else in the embedded store.

A machine may have a keyring today and none tomorrow (a desktop, and the same machine over ssh). What is in a keyring
out of reach is neither answered nor denied nor written a second time to the weaker store: see `docs/keyring.md`.

This module is on the way of a `get` from the embedded store. It imports built-ins only.
"""

import posix
import sys

from credhelpers import notes
from credhelpers.errors import NotFound, NotMine, Refused, Unavailable, Withheld, shortage, withheld
from credhelpers.identity import configuration
from credhelpers.servers import HUB, Authority, folded, is_other_version
from credhelpers.stores import secretservice
from credhelpers.stores.age import Age
from credhelpers.stores.folder import Folder, directory
from credhelpers.stores.index import Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol, Self, TypeVar

    from credhelpers.credential import Credential
    from credhelpers.identity import Environment

    Found = TypeVar("Found")

    class Store(Protocol):
        """Keeps credentials under exact keys.

        Every method raises Unavailable: Withheld where there is such an item for sure, which is what makes a failure
        one of that registry and of no other.
        """

        def read(self, server: str) -> Credential | None:
            """The credential under exactly this key, or None."""

        def write(self, server: str, credential: Credential) -> None:
            """Keep the credential under exactly this key, in place of an earlier one."""

        def remove(self, server: str) -> bool:
            """Whether there was an item under exactly this key."""

        def servers(self) -> dict[str, str]:
            """Server to user name of every item that `read` would answer, and nobody is asked for anything."""

        def shown(self) -> dict[str, str]:
            """The same of every item that is known to be there, open or not; "" for a name that cannot be told."""

        def close(self) -> None:
            """End what was begun for it."""


_EMBEDDED, _LIBRARY = "embedded", "library"
_OF_LIBRARY = b".library"  # notes of what lies there
# By whom the configuration has chosen what cannot be: that fails every host, as any mistake in it that concerns all.
_MISTAKEN = ("keyring-library-missing", "keyring-backend-unknown", "keyring-backend-refused")
_NATIVE = {"darwin": "keychain"}  # by `sys.platform`; any other: "secret-service"


class Keyring:
    """The helper. `environ` and `platform` are those of the process, in the form of `posix` and `sys`.

    is_expected: whether whoever asks was told that there is an item, as by `from` in an entry of config.toml
    """

    __slots__ = ("_backend", "_embedded", "_environ", "_folder", "_index", "_is_expected", "_platform")

    def __init__(
        self, environ: "Environment" = posix.environ, platform: str = sys.platform, *, is_expected: bool = False
    ) -> None:
        self._is_expected = is_expected
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

        With `exactly` under none but that which was sent, and which is known to have been kept. A store that fails is
        an error only for what it shows or a note tells to be there: no other registry is to fail for it.
        """
        choice = self._choice()
        with self._opened(choice) as opened:
            return self._got(authority, opened.native, choice, exactly=exactly)

    def _got(self, authority: "Authority", native: "_Native | None", choice: str, *, exactly: bool) -> "Credential":
        troubles = _Troubles()

        def read(key: str) -> "Credential | None":
            credential = troubles.unless(None, native.read, key) if native else None
            if credential is None and (native is None or not choice):
                credential = troubles.unless(None, self._embedded.read, key)
            if native is None and credential is None and self._index.has(key):
                raise _elsewhere()
            return credential

        for key in (authority.sent,) if exactly else self._keys(authority, native, choice):
            credential = read(key)
            if credential and not credential.is_empty():
                return credential
        troubles.are_none(is_known=exactly or self._is_expected)
        raise NotFound

    def store(self, authority: "Authority", credential: "Credential") -> None:
        """Keep the credential under exactly what was sent: in the keyring, or where there is none, embedded."""
        choice = self._choice()
        with self._opened(choice) as opened:
            is_kept = opened.native.write(authority.sent, credential) if opened.native else False
        if not is_kept:
            self._embedded.write(authority.sent, credential)
            return
        try:
            self._embedded.remove(authority.sent)
        except Unavailable:
            return  # nobody is answered from a directory that is not to be trusted

    def erase(self, authority: "Authority", *, exactly: bool = False) -> None:
        """Forget what `get` would answer, in both stores; of a whole registry, all that it could answer.

        What another user has there under another spelling stays, and so does that of the API's other version. Raises
        Withheld if a store still holds some of it.
        """
        choice = self._choice()
        with self._opened(choice) as opened:
            self._erase(authority, opened.native, choice, exactly=exactly)

    def _erase(self, authority: "Authority", native: "_Native | None", choice: str, *, exactly: bool) -> None:
        troubles = _Troubles()
        all_of_it = authority.is_whole  # a logout names a registry once, and no other name of it may answer then
        users = {} if exactly else self._shown(native, choice)
        user = ""
        kept: Withheld | None = None
        for key in (authority.sent,) if exactly else self._keys(authority, native, choice):
            if is_other_version(key, authority.sent) or user not in ("", users.get(key) or user):
                continue
            found = False
            for remove in (self._embedded.remove, native.remove if native else self._index.forget):
                try:
                    found |= troubles.unless(False, remove, key)  # noqa: FBT003 - what there is to say otherwise
                except Withheld as trouble:
                    kept, found = kept or trouble, True
            if found and not all_of_it:
                break
            user = user or (users.get(key, "") if found else "")
        if kept:
            raise kept
        troubles.are_none(is_known=exactly)

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
        with self._opened(choice) as opened:
            return opened.native.servers() if opened.native else {}

    def _keys(self, authority: "Authority", native: "_Native | None", choice: str) -> "Iterator[str]":
        """The keys under which it may be kept: its spellings, then those that differ in the case of the host.

        Which of the latter there are is looked up only for who wants more than the former. A backend of the library may
        start a program for each: it is asked for what was sent, and what is noted.
        """
        spellings = authority.spellings()
        yield from (
            key for key in spellings if choice != _LIBRARY or key == authority.sent or (native and native.is_noted(key))
        )
        if authority.is_dubious:
            return
        alike = [folded(key) for key in spellings]
        others = {key: folded(key) for key in self._shown(native, choice) if key not in spellings}
        fitting = [key for key in others if others[key] in alike]
        yield from sorted(fitting, key=lambda key: (alike.index(others[key]), key))

    def _shown(self, native: "_Native | None", choice: str) -> dict[str, str]:
        """Server to user name of all that is known to be kept, the keyring's user name where both stores have one."""
        found: dict[str, str] = {}
        looks = [self._embedded.servers] if native is None or not choice else []
        looks.append(native.shown if native else self._noted)
        for look in looks:
            try:
                found |= look()
            except Unavailable:
                continue  # no evidence of anything
        return found

    def _noted(self) -> dict[str, str]:
        return dict.fromkeys(self._index.servers(), "")

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
        except PermissionError:
            return ""  # a home that is not this user's
        except OSError:
            pass  # the plan says why
        from credhelpers import plan

        try:
            # The host does not matter: what the table says owns whatever is asked for by this word.
            return str(plan.route(Authority(HUB), self._environ, "[keyring]").settings["backend"])
        except NotMine:
            return ""

    def _opened(self, choice: str) -> "_Opened":
        return _Opened(None if choice == _EMBEDDED else self._native(choice))

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
        if store is None and choice:
            raise Unavailable(
                "keyring-absent",
                "there is no Secret Service in this session",
                "`gnome-keyring-daemon --unlock`, a password and Ctrl-D start one, or `unset CREDHELPERS_KEYRING`",
            )
        return _Native(store, self._index)

    def _find(self) -> "Store | None":
        if self._platform in _NATIVE:
            from credhelpers.stores import system

            return system.System(system.backend(), self._index)
        return secretservice.find(self._environ, self._folder)


class _Opened:
    """The OS keyring while it is asked, None where it is not; what was begun for it ends then."""

    __slots__ = ("native",)

    def __init__(self, native: "_Native | None") -> None:
        self.native = native

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        if self.native:
            self.native.close()


class _Troubles:
    """What went wrong at stores, as far as it is no evidence of an item."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: Unavailable | None = None

    def unless(self, otherwise: "Found", ask: "Callable[[str], Found]", key: str) -> "Found":
        """What `ask` says of the key, `otherwise` where nobody can tell. Raises Withheld, and where means are short."""
        try:
            return ask(key)
        except Withheld:
            raise
        except Unavailable as trouble:
            if shortage(trouble) or trouble.code in _MISTAKEN:
                raise
            self._first = self._first or trouble
            return otherwise

    def are_none(self, *, is_known: bool) -> None:
        """Raise the first if there `is_known` to be an item, else note it for whoever wonders."""
        if self._first is None:
            return
        if is_known:
            raise self._first
        notes.take(f"nothing is known to be there: {self._first.message}")


class _Native:
    """The OS keyring as far as it can be reached; once it fails, the index of what lies there is all that is asked.

    `trouble` is why it failed, and no evidence of an item; there is none where there simply is no keyring.
    """

    __slots__ = ("_index", "_store", "trouble")

    def __init__(self, store: "Store | None", index: Index, trouble: Unavailable | None = None) -> None:
        self._store = store
        self._index = index
        self.trouble = trouble

    def close(self) -> None:
        """End what was begun for it."""
        if self._store:
            self._store.close()

    def is_noted(self, server: str) -> bool:
        """Whether a note tells that there is an item under exactly this key."""
        return self._index.has(server)

    def read(self, server: str) -> "Credential | None":
        """The credential under exactly this key. Raises Withheld if there is one, else what failed."""
        if self._store and not self.trouble:
            credential = self._asked(self._store.read, server)
            self._note(server, is_there=credential is not None)  # perhaps the work of another program
            return credential
        self._out_of_reach(server)
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
        """Whether there was an item under exactly this key. Raises Withheld if there is one still, else what failed."""
        if self._store and not self.trouble:
            return self._asked(self._store.remove, server) | self._index.forget(server)
        self._out_of_reach(server)
        return False

    def servers(self) -> dict[str, str]:
        """Server to user name of every item within reach."""
        if self.trouble:
            raise self.trouble
        return self._store.servers() if self._store else {}

    def shown(self) -> dict[str, str]:
        """Server to user name of every item that is known to be there, within reach or not."""
        noted = dict.fromkeys(self._index.servers(), "")
        return noted | self._store.shown() if self._store and not self.trouble else noted

    def _asked(self, ask: "Callable[[str], Found]", server: str) -> "Found":
        """What the store says. Once it fails for more than an item it is not asked again."""
        try:
            return ask(server)
        except Withheld:
            raise
        except Unavailable as trouble:
            self.trouble = trouble
            self._out_of_reach(server)
            raise

    def _out_of_reach(self, server: str) -> None:
        """Raise if a note says that there is an item, or for what failed."""
        if self._index.has(server):
            raise withheld(self.trouble or _elsewhere())
        if self.trouble:
            raise self.trouble

    def _note(self, server: str, *, is_there: bool) -> None:
        try:
            if is_there:
                self._index.add(server)
            else:
                self._index.forget(server)
        except Unavailable:
            return  # without a home to write to, the keyring still does its part


def _elsewhere() -> Withheld:
    return Withheld(
        "keyring-elsewhere",
        "this entry is in the OS keyring, which is not reachable from this session",
        "run it in the desktop session, or `export CREDHELPERS_KEYRING=embedded` and `docker login` for a second entry",
    )
