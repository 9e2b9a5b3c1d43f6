"""Somebody else on this machine: a process of another user, at a place where a keyring or an agent is looked for."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jeepney import HeaderFields, MessageType, Parser, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from tests.fakes.secretservice import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of the users that every system has: a bus asks the database for those who want in.
VICTIM, STRANGER, THIRD = (pwd.getpwnam(name).pw_uid for name in ("games", "bin", "daemon"))

_PATH = "/org/freedesktop/secrets/collection/login/1"
# What a keyring says, so that a `store` goes through to the secret.
_REPLIES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "Hello": ("s", (":1.1",)),
    "NameHasOwner": ("b", (True,)),
    "ReadAlias": ("o", ("/org/freedesktop/secrets/collection/login",)),
    "OpenSession": ("vo", (("s", ""), "/org/freedesktop/secrets/session/1")),
    "SearchItems": ("aoao", ([], [])),
    "CreateItem": ("oo", (_PATH, "/")),
    "Get Label": ("v", (("s", "login"),)),
    "Get Locked": ("v", (("b", False),)),
}


class Stranger:
    """A listener of the user `user` at `address`, which notes every byte that it hears in `folder`.

    An address is a path or, behind an `@`, an abstract one. `talk` answers a connection: a keyring's part by default.
    It is bound by root, since not everybody may write there, and then the kernel notes who begins to listen.
    """

    def __init__(
        self, address: str, folder: Path, user: int = STRANGER, talk: Callable[[socket.socket, int], None] | None = None
    ) -> None:
        self._notes = folder / "heard"
        self._notes.touch()
        note = os.open(self._notes, os.O_WRONLY | os.O_APPEND)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        if not address.startswith("@"):
            Path(address).chmod(0o777)

        def listen(tell: Callable[[], object]) -> None:
            listener.listen()
            tell()
            while True:
                connection, _ = listener.accept()
                with connection:
                    try:
                        (talk or _keyring)(connection, note)
                    except OSError:
                        continue  # the caller has seen who this is

        with listener:
            self._child = _fork(user, listen)
        os.close(note)

    @property
    def heard(self) -> bytes:
        """Every byte so far."""
        return self._notes.read_bytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._child)


@contextmanager
def named_on(address: str, user: int) -> Iterator[None]:
    """A process of the user that has the keyring's name on the bus, and does not answer."""

    def hold(tell: Callable[[], object]) -> None:
        with open_dbus_connection(address) as connection:
            assert Proxy(message_bus, connection).RequestName(SERVICE)[0] == 1
            tell()
            signal.pause()

    child = _fork(user, hold)
    yield
    _end(child)


def agent(answer: bytes) -> Callable[[socket.socket, int], None]:
    """How a Vault agent talks that says `answer`, an object in JSON, to each request."""

    def talk(connection: socket.socket, note: int) -> None:
        while heard := connection.recv(1 << 16):
            os.write(note, heard)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            connection.sendall(head + answer)

    return talk


def as_user(user: int, work: Callable[[], object]) -> str:
    """What `work` returns, or raises, in a process of this user, as text."""
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        said = ""
        try:
            _become(user)
            said = str(work())
        except BaseException as error:  # noqa: BLE001 - a copy of the test run must not go on as one
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(sink, said.encode())
            os._exit(0)
    os.close(sink)
    with open(source, "rb") as stream:  # noqa: PTH123 - a descriptor
        said = stream.read().decode()
    os.waitpid(child, 0)
    return said


def _fork(user: int, work: Callable[[Callable[[], object]], None]) -> int:
    """A process of the user that does `work`, which tells when it is ready."""
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            _become(user)
            work(lambda: os.write(told, b"!"))
        except BaseException:  # noqa: BLE001 - as in `as_user`
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(told)
    word = os.read(ready, 1)
    os.close(ready)
    assert word == b"!", "it did not begin"
    return child


def _end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _keyring(connection: socket.socket, note: int) -> None:
    # The conversation before the first message: its lines are answered until it begins.
    heard = b""
    while b"BEGIN\r\n" not in heard:
        more = connection.recv(4096)
        os.write(note, more)
        if not more:
            return
        heard += more
        if b"BEGIN\r\n" not in heard:
            is_challenged = heard.endswith(b"AUTH EXTERNAL\r\n")
            connection.sendall(b"DATA\r\n" if is_challenged else b"OK 0123456789abcdef0123456789abcdef\r\n")
    parser = Parser()
    parser.add_data(heard.partition(b"BEGIN\r\n")[2])
    number = 0
    while True:
        message = parser.get_next_message()
        if message is None:
            more = connection.recv(1 << 16)
            os.write(note, more)
            if not more:
                return
            parser.add_data(more)
            continue
        if message.header.message_type is not MessageType.method_call:
            continue
        member = message.header.fields[HeaderFields.member]
        if member == "Get":
            member += " " + message.body[1]
        number += 1
        reply = new_method_return(message, *_REPLIES.get(member, ("", ())))
        connection.sendall(reply.serialise(serial=number))
