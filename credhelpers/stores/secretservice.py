"""The Secret Service of a Linux session, as GNOME Keyring, KWallet and KeePassXC offer it.

The interface is that of specifications.freedesktop.org/secret-service, 0.2, through `secretstorage`.
Items have the form that docker-credential-secretservice gives them, so that each helper reads what the other wrote:
schema `io.docker.Credentials`, attributes `server`, `username`, `docker_cli`, `label`, the server as the item's label.

To find out that there is no session bus, this module imports built-ins only; the SDK comes when there is one.
"""

import posix
from time import monotonic

from credhelpers.credential import Credential
from credhelpers.errors import Unavailable
from credhelpers.private import is_private_directory
from credhelpers.stores.index import Index
from credhelpers.stores.keyring_errors import (
    EMBEDDED,
    SERVICE,
    Trouble,
    always_replaced,
    error_name,
    exposed,
    locked,
    no_collection,
    not_answering,
)
from credhelpers.stores.keyring_errors import (
    foreign as _foreign,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable
    from typing import Any

    from credhelpers.identity import Environment
    from credhelpers.stores.folder import Folder

_PATIENCE = 4.0  # seconds for all that a call asks of the bus; with the start of a process on a busy machine, 5
_TURN = 3.0  # seconds of these after which no other process that replaces an item is waited for any more
_AFTER_TURN = 1.5  # seconds for the bus then, at least; with the wait it is still 5 in all
_GLANCE = 0.5  # seconds for what more there is to see than what was asked for
_ATTEMPTS = 3  # at an item that others are replacing
_LOCKS = 64

_PROMPT = "org.freedesktop.Secret.Prompt"
_KIND = {"docker_cli": "1", "xdg:schema": "io.docker.Credentials"}
_LABEL = "Docker Credentials"
_NO_BUS = (b"autolaunch", b"disabled")  # transports of the D-Bus specification that lead nowhere by themselves
# What the bus says of a name that nobody has and that it has no file to start one from. That a keyring is installed but
# does not start is another thing.
_NOBODY = ("ServiceUnknown", "NameHasNoOwner", "Spawn.ServiceNotFound")
_LINE_BYTES = 8192  # of the conversation before the first message, whose lines have some ten words
_CLOSED = "the session bus is not open to this user"
_ANOTHERS = "the session bus is another user's, and no password goes there"
_UNKNOWN = "whose the session bus is cannot be told in this user namespace, and no password goes there"


def find(environ: "Environment", folder: "Folder") -> "SecretService | None":
    """The session's Secret Service, or None where there is no session bus or nothing that offers one on it.

    `folder` is where writers wait for their turn, and where notes tell what lies there. Raises Unavailable if there is
    a bus that does not work.
    """
    for socket in _sockets(environ):
        connection = _connect(socket)
        if connection is not None:
            can_prompt = bool(environ.get(b"DISPLAY") or environ.get(b"WAYLAND_DISPLAY"))
            if not _is_offered(connection):
                return None
            return SecretService(connection, folder, can_prompt=can_prompt)
    return None


class SecretService:
    """The store behind a connection.

    Every method raises Unavailable if the keyring does not do its part in time, Withheld if it has shown an item
    before. Nobody is asked to unlock it but for what it shows or a note tells.
    """

    __slots__ = ("_can_prompt", "_connection", "_folder", "_index")

    def __init__(self, connection: "Any", folder: "Folder", *, can_prompt: bool) -> None:
        self._connection = connection
        self._folder = folder
        self._index = Index(folder)
        self._can_prompt = can_prompt

    def read(self, server: str) -> Credential | None:
        """The credential under exactly this key, or None: a locked keyring may have one that it does not show."""
        import secretstorage

        with Trouble(self._connection) as trouble:
            for _ in range(_ATTEMPTS):
                try:
                    trouble.has_item = False
                    items = self._search(server, trouble)
                    if not items:
                        return None
                    item = _newest(items)
                    username = item.get_attributes().get("username", "")
                    return Credential(username, item.get_secret().decode())
                except secretstorage.ItemNotFoundException:
                    continue  # replaced since it was found
                except UnicodeDecodeError:
                    raise Unavailable(
                        "keyring-no-text", "the entry in the keyring is not text", "`docker login` writes it anew"
                    ) from None
        raise always_replaced()

    def write(self, server: str, credential: Credential) -> None:
        """Keep the credential under exactly this key, in place of all others under it, in the default collection."""
        import secretstorage

        username, secret = credential.expose()
        attributes = _KIND | {"label": _LABEL, "server": server, "username": username}
        with Trouble(self._connection):
            collection = self._default()
            if collection.is_locked():
                self._unlock(collection)
            until = self._connection.until - _PATIENCE + _TURN
            turn = self._folder.lock(b"lock-%02d" % (sum(server.encode()) % _LOCKS), until)
            self._connection.until = max(self._connection.until, monotonic() + _AFTER_TURN)
            try:
                for _ in range(_ATTEMPTS):
                    try:
                        self._replace(self._default(), attributes, secret.encode())
                    except secretstorage.PromptDismissedException:
                        raise  # it is one of those below
                    except secretstorage.ItemNotFoundException:
                        continue  # replaced by one who did not wait its turn
                    return
            finally:
                if turn >= 0:
                    posix.close(turn)
        raise always_replaced()

    def remove(self, server: str) -> bool:
        """Whether there was an item under exactly this key."""
        with Trouble(self._connection) as trouble:
            items = self._search(server, trouble)
            self._delete(items)
            return bool(items)

    def servers(self) -> dict[str, str]:
        """Server to user name of every item of docker's that is not locked, whoever made it."""
        return self._named(lambda item: not item.is_locked())

    def shown(self) -> dict[str, str]:
        """The same of every item that is to be seen at a glance, locked ones among them."""
        connection, until = self._connection, self._connection.until
        connection.until = min(until, monotonic() + _GLANCE)
        try:
            return self._named(lambda _: True)
        finally:
            connection.until = until

    def _named(self, counts: "Callable[[Any], bool]") -> dict[str, str]:
        with Trouble(self._connection):
            found: dict[str, tuple[Any, str]] = {}
            for item in filter(counts, self._find({})):
                attributes = item.get_attributes()
                server, username = attributes.get("server", ""), attributes.get("username", "")
                if server in found and _newest([item, found[server][0]]) is not item:
                    continue
                found[server] = (item, username)
            return {server: username for server, (_, username) in found.items()}

    def close(self) -> None:
        """Nothing: the connection ends with the process."""

    def _search(self, server: str, trouble: "Trouble") -> "list[Any]":
        """The items under this key, unlocked. `trouble` hears whether there are any.

        Some keyrings show nothing while they are locked: then a note is what tells that there is something.
        """
        items = self._find({"server": server})
        if not items and self._index.has(server) and (closed := self._locked_collection()):
            trouble.has_item = True
            self._unlock(closed)
            items = self._find({"server": server})
        trouble.has_item = bool(items)
        unlocked = [item for item in items if not item.is_locked()]
        if items and not unlocked:
            for item in items:
                if item.is_locked():  # one prompt opens all items of a collection
                    self._unlock(item)
            return items
        return unlocked

    def _locked_collection(self) -> "Any":
        """The default collection if it is locked; where there is none, any that is; else None."""
        import secretstorage

        try:
            candidates = iter([secretstorage.Collection(self._connection)])
        except secretstorage.ItemNotFoundException:
            candidates = secretstorage.get_all_collections(self._connection)
        return next((collection for collection in candidates if collection.is_locked()), None)

    def _find(self, attributes: dict[str, str]) -> "list[Any]":
        import secretstorage

        for _ in range(_ATTEMPTS):
            try:
                return list(secretstorage.search_items(self._connection, _KIND | attributes))
            except secretstorage.ItemNotFoundException:
                continue  # one was removed while its fellow was looked at
        return []

    def _replace(self, collection: "Any", attributes: dict[str, str], secret: bytes) -> None:
        # Only what was there before goes, so that two writers without a turn do not remove each other's.
        before = [item for item in self._find({"server": attributes["server"]}) if not item.is_locked()]
        made = collection.create_item(attributes["server"], attributes, secret, replace=True)
        self._delete(item for item in before if item.item_path != made.item_path)

    def _delete(self, items: "Iterable[Any]") -> None:
        import secretstorage

        for item in items:
            try:
                item.delete()
            except secretstorage.PromptDismissedException:
                raise  # it is one of those below
            except secretstorage.ItemNotFoundException:
                continue  # another process was faster

    def _default(self) -> "Any":
        """The collection that new items go to, locked or not."""
        import secretstorage

        try:
            return secretstorage.Collection(self._connection)
        except secretstorage.ItemNotFoundException:
            raise no_collection() from None

    def _unlock(self, closed: "Any") -> None:
        """Ask the person at the screen. Nobody is asked where there is no screen."""
        if not self._can_prompt:
            raise locked()
        try:
            dismissed = closed.unlock()
        except TimeoutError:
            raise locked(", and nobody unlocked it in time") from None
        if dismissed:  # by a person, or by a service that has nobody to ask at this screen
            raise locked(", and unlocking it was cancelled", "try again, or ")


def _sockets(environ: "Environment") -> list[bytes]:
    """Where the session bus may listen, as addresses of AF_UNIX sockets, those that cannot be there left out.

    `DBUS_SESSION_BUS_ADDRESS` in the grammar of the D-Bus specification ("Server Addresses"), else systemd's place, in
    a directory that must be this user's alone (XDG Base Directory specification): anybody may put a socket elsewhere.
    """
    runtime = environ.get(b"XDG_RUNTIME_DIR", b"")
    of_systemd = runtime + b"/bus" if runtime.startswith(b"/") else b""
    address = environ.get(b"DBUS_SESSION_BUS_ADDRESS", b"")
    sockets: list[bytes] = []
    unsupported = False
    if not address:
        sockets.append(of_systemd)
    for entry in address.split(b";"):
        transport, colon, rest = entry.partition(b":")
        fields = dict(field.partition(b"=")[::2] for field in rest.split(b","))
        if transport == b"unix":
            path, abstract = _unescaped(fields.get(b"path", b"")), _unescaped(fields.get(b"abstract", b""))
            sockets.append(of_systemd if fields.get(b"runtime") == b"yes" else b"\0" + abstract if abstract else path)
        elif colon and transport not in _NO_BUS:
            unsupported = True
    if unsupported and not any(sockets):
        raise Unavailable(
            "keyring-bus-unsupported",
            "the session bus is reached in a way that is not supported, only unix sockets are",
            "`export CREDHELPERS_KEYRING=embedded` to do without a keyring",
        )
    found = [socket for socket in sockets if socket and _may_listen(socket)]
    if of_systemd in found and not is_private_directory(status := posix.stat(runtime)):
        raise exposed(status)
    return found


def _may_listen(socket: bytes) -> bool:
    if socket.startswith(b"\0"):
        return True
    try:
        posix.stat(socket)
    except PermissionError:
        raise _foreign("keyring-bus-closed", _CLOSED) from None
    except (OSError, ValueError):
        return False
    return True


def _unescaped(value: bytes) -> bytes:
    first, *rest = value.split(b"%")
    try:
        return first + b"".join(bytes.fromhex(part[:2].decode()) + part[2:] for part in rest)
    except ValueError:
        return b""


def _connect(socket: bytes) -> "Any":
    """A connection on which no call and no wait lasts beyond `_PATIENCE`, or None if nobody listens there."""
    import gc

    gc.disable()  # a twelfth of the time that the imports below take, in a process too short to need it
    from struct import error as StructError  # noqa: N812 - the module's name for it says nothing

    from jeepney import HeaderFields
    from jeepney.io.blocking import DBusConnection

    class Connection(DBusConnection):  # type: ignore[misc] # jeepney has no type information
        """`secretstorage` gives no timeouts, so all that waits is bounded where it receives.

        It also shows a prompt wherever the service wants one, but waits for the answer, a signal, without asking the
        bus for signals: KeePassXC, which deletes and makes nothing without a prompt, gives that one no destination.
        """

        until = monotonic() + _PATIENCE
        shows_prompt = False
        is_roots = False

        def send_and_get_reply(self, message: "Any", **options: "Any") -> "Any":
            is_prompt = message.header.fields.get(HeaderFields.interface) == _PROMPT
            if is_prompt:
                from secretstorage.util import add_match_rules

                add_match_rules(self)
            self.shows_prompt = is_prompt
            return super().send_and_get_reply(message, **options)

        def receive(self, *, timeout: float | None = None) -> "Any":
            left = self.until - monotonic()
            if left <= 0:
                raise TimeoutError
            try:
                return super().receive(timeout=left if timeout is None else min(timeout, left))
            except (ValueError, LookupError, StructError) as error:
                raise ConnectionError from error  # that was no message of D-Bus

    try:
        ready, is_roots = _authenticated(socket)
        connection = Connection(ready)
        connection.is_roots = is_roots
        return connection
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (TimeoutError, BlockingIOError):  # the latter: the queue of those who want in is full
        raise not_answering() from None
    except PermissionError:
        raise _foreign("keyring-bus-closed", _CLOSED) from None
    except OSError as error:
        raise Unavailable(
            "keyring-bus-failed",
            "the session bus failed: " + error_name(error),
            f"look at it with `busctl --user status`, {EMBEDDED}",
        ) from None


def _authenticated(address: bytes) -> "tuple[socket.socket, bool]":
    """A connection to the bus at which it knows us, and whether the bus is root's.

    The mechanism is EXTERNAL without a name ("Authentication Protocol" of the D-Bus specification): who we are tells
    the kernel, which knows it also from inside a user namespace, where our number is another one than outside.
    Nothing is said to a bus of another user. Raises OSError, PermissionError if the bus does not let us in.
    """
    import socket

    from credhelpers import peer

    until = monotonic() + _PATIENCE
    bus = socket.socket(socket.AF_UNIX)
    try:
        bus.settimeout(_PATIENCE)
        bus.connect(address)  # bytes: a text would be written in the locale's encoding
        owner = peer.user(bus)
        if owner not in (posix.geteuid(), 0):
            raise _foreign("keyring-bus-foreign", _ANOTHERS if owner is not None else _UNKNOWN)
        bus.sendall(b"\0AUTH EXTERNAL\r\n")
        said = _line(bus, until)
        if said.partition(b" ")[0] == b"DATA":
            bus.sendall(b"DATA\r\n")
            said = _line(bus, until)
        if said.partition(b" ")[0] != b"OK":
            raise PermissionError
        bus.sendall(b"BEGIN\r\n")
        bus.settimeout(_PATIENCE)  # for sending, should the bus stop reading
        return bus, owner == 0
    except BaseException:
        bus.close()
        raise


def _line(bus: "socket.socket", until: float) -> bytes:
    """The next line of the conversation before the first message. The bus says one at a time, and nothing behind it."""
    said = b""
    while not said.endswith(b"\r\n"):
        left = until - monotonic()
        if left <= 0:
            raise TimeoutError
        bus.settimeout(left)
        more = bus.recv(_LINE_BYTES)
        said += more
        if not more or len(said) > _LINE_BYTES:
            raise ConnectionResetError
    return said[:-2]


def _is_offered(connection: "Any") -> bool:
    """Whether somebody on the bus offers the Secret Service; one that the bus can start is started."""
    from jeepney import DBusErrorResponse
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import Proxy

    with Trouble(connection):
        bus = Proxy(message_bus, connection)
        if not bus.NameHasOwner(SERVICE)[0]:
            try:
                bus.StartServiceByName(SERVICE)
            except DBusErrorResponse as error:
                if error.name.removeprefix("org.freedesktop.DBus.Error.") in _NOBODY:
                    return False
                raise
        # Our own bus lets nobody else in. Root's may have many users, one of whom may have taken the name, also if we
        # are root. Our number is the one that the bus knows: in a user namespace we have another one.
        if connection.is_roots:
            ours = bus.GetConnectionUnixUser(connection.unique_name)[0]
            if bus.GetConnectionUnixUser(SERVICE)[0] not in (ours, 0):
                raise _foreign(
                    "keyring-bus-foreign",
                    "the keyring on the session bus is another user's, and no password goes there",
                )
    return True


def _newest(items: "list[Any]") -> "Any":
    """The item that was written last. More than one is the work of others: ours replace."""
    return items[0] if len(items) == 1 else max(items, key=lambda item: item.get_modified())
