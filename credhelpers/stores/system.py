"""The keyring of macOS, through the backend of the `keyring` library that is named here.

`keyring.get_keyring` is never asked: it would load what `PYTHON_KEYRING_BACKEND`, `keyringrc.cfg` or any installed
package names, plaintext files among it. The library cannot list, so the index tells what is there.
"""

from credhelpers.credential import Credential
from credhelpers.deadline import Late, within
from credhelpers.errors import Unavailable
from credhelpers.stores.keyring_errors import damaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    from credhelpers.stores.index import Index

    class Backend(Protocol):
        """The part of `keyring.backend.KeyringBackend` that is used."""

        def get_password(self, service: str, username: str) -> str | None:
            """The password, or None."""

        def set_password(self, service: str, username: str, password: str) -> None:
            """Keep the password in place of an earlier one."""

        def delete_password(self, service: str, username: str) -> None:
            """Remove the password."""

    Result = TypeVar("Result")


PATIENCE = 4.0  # seconds for one question to the keyring, which may be showing a prompt; with the process's start, 5
_SERVICE = "docker-credential-keyring:"  # before the server: other programs keep items of the same hosts
_ACCOUNT = "docker"
_EMBEDDED = "or `export CREDHELPERS_KEYRING=embedded` to do without a keyring"


def backend() -> "Callable[[], Backend]":
    """The class of the backend."""
    from keyring.backends.macOS import Keyring

    mac: Callable[[], Backend] = Keyring
    return mac


class System:
    """The store behind `make`, a backend's class."""

    __slots__ = ("_index", "_make")

    def __init__(self, make: "Callable[[], Backend]", index: "Index") -> None:
        self._make = make
        self._index = index

    def read(self, server: str) -> Credential | None:
        """The credential under exactly this key, or None."""
        kept = _ask(lambda: self._make().get_password(_SERVICE + server, _ACCOUNT))
        if kept is None:
            return None
        try:
            return Credential.answered(server, kept.encode() + b"\n")
        except ValueError:
            raise damaged() from None

    def write(self, server: str, credential: Credential) -> None:
        """Keep the credential under exactly this key."""
        line = credential.answer(server).decode().rstrip("\n")
        self._index.add(server)  # first: an item that the index does not know would not be listed
        _ask(lambda: self._make().set_password(_SERVICE + server, _ACCOUNT, line))

    def remove(self, server: str) -> bool:
        """Whether there was an item under exactly this key."""

        def delete() -> bool:
            kept = self._make()
            if kept.get_password(_SERVICE + server, _ACCOUNT) is None:
                return False
            kept.delete_password(_SERVICE + server, _ACCOUNT)
            return True

        return _ask(delete)

    def shown(self) -> dict[str, str]:
        """Server to "" for every item in the index: the system might ask somebody for leave to tell more."""
        return dict.fromkeys(self._index.servers(), "")

    def servers(self) -> dict[str, str]:
        """Server to user name of every item in the index that is still there."""
        found = {}
        for server in self._index.servers():
            if credential := self.read(server):
                found[server] = credential.username
        return found

    def close(self) -> None:
        """Nothing: what was asked for is within the system."""


def _ask(question: "Callable[[], Result]") -> "Result":
    """What `question` returns: a call into the system, which may be showing a prompt and cannot be interrupted."""
    from keyring.errors import KeyringError

    try:
        return within(PATIENCE, question)
    except Late:
        raise Unavailable(
            "keyring-slow", "the keyring does not answer", f"`security show-keychain-info` may tell why, {_EMBEDDED}"
        ) from None
    except (KeyringError, RuntimeError, OSError) as error:
        raise Unavailable(
            "keyring-failed",
            f"the keyring failed: {type(error).__name__}",
            f"`security unlock-keychain` if it is locked, {_EMBEDDED}",
        ) from None
