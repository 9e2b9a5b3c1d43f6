"""Session buses for tests: with a real keyring, without one, and with all that can be wrong in between."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import secretstorage
from jeepney import DBusAddress, HeaderFields, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from tests.harness import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Replies = dict[str, tuple[str, tuple[Any, ...]] | str]
    Completed = tuple[bool, tuple[str, Any]]

SERVICE = "org.freedesktop.secrets"
DOCKERS = {"docker_cli": "1", "xdg:schema": "io.docker.Credentials"}

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  {services}
  <policy context="default">
    {admitted}
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class Bus:
    """A session bus on which nobody offers a Secret Service; `start` is a command by which one is to be activated.

    It is that of `user`, this one by default, and lets in nobody else, or `everybody`.
    """

    def __init__(self, *, start: str = "", user: int | None = None, everybody: bool = False) -> None:
        # Not below tmp_path: the path of a socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="bus-"))
        self.socket = self.folder / "bus"
        services = ""
        if start:
            services = f"<servicedir>{self.folder}</servicedir>"
            (self.folder / f"{SERVICE}.service").write_text(f"[D-BUS Service]\nName={SERVICE}\nExec={start}\n")
        admitted = '<allow user="*"/>' if everybody else ""
        (self.folder / "config").write_text(_CONFIG.format(socket=self.socket, services=services, admitted=admitted))
        become = []
        if user is not None:
            os.chown(self.folder, user, user)
            become = [need("setpriv", "util-linux"), f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        self.address = f"unix:path={self.socket}"
        self._processes = [
            subprocess.Popen(
                [*become, need("dbus-daemon", "dbus"), "--nofork", f"--config-file={self.folder / 'config'}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        ]
        wait_for(self._listens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def run(self, command: list[str], env: dict[str, str], content: bytes = b"") -> None:
        """Start a process that lives as long as the bus."""
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
        )
        self._processes.append(process)
        assert process.stdin
        process.stdin.write(content)
        process.stdin.close()

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A connection of the test's own."""
        with open_dbus_connection(self.address) as connection:
            yield connection


class Keyring(Bus):
    """A session bus with GNOME Keyring, which keeps its files in a home of its own."""

    def __init__(self, *, unlocked: bool = True) -> None:
        super().__init__()
        path = need("gnome-keyring-daemon", "gnome-keyring")
        env = {
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
            "PATH": os.environ["PATH"],
            "DBUS_SESSION_BUS_ADDRESS": self.address,
        }
        command = [path, "--foreground", "--components=secrets", *(["--unlock"] if unlocked else [])]
        self.run(command, env, b"made-up" if unlocked else b"")
        with self.connected() as connection:
            bus = Proxy(message_bus, connection)
            wait_for(lambda: bool(bus.NameHasOwner(SERVICE)[0]))
        if unlocked:
            wait_for(self._has_default)

    def _has_default(self) -> bool:
        with self.connected() as connection:
            try:
                return not secretstorage.Collection(connection).is_locked()
            except secretstorage.ItemNotFoundException:
                return False

    def lock(self) -> None:
        """Lock the default collection."""
        with self.connected() as connection:
            secretstorage.Collection(connection).lock()

    def items(self) -> list[tuple[str, dict[str, str], bytes]]:
        """Label, attributes and secret of each of docker's items."""
        with self.connected() as connection:
            found = secretstorage.search_items(connection, DOCKERS)
            return [(item.get_label(), dict(item.get_attributes()), item.get_secret()) for item in found]

    def put(self, label: str, attributes: dict[str, str], secret: bytes, collection: str = "") -> None:
        """Make an item as another program would, in the default collection or in a new one without a password."""
        with self.connected() as connection:
            where = secretstorage.Collection(connection)
            if collection:
                path = f"/org/freedesktop/secrets/collection/{collection}"
                where = secretstorage.Collection(connection, path)
            where.create_item(label, attributes, secret)

    def clear(self) -> None:
        """Remove all of docker's items."""
        with self.connected() as connection:
            for item in list(secretstorage.search_items(connection, DOCKERS)):
                item.delete()


class Service:
    """A Secret Service on `bus` that answers a method call by `replies[member]`, and others not at all.

    A reply is a signature and a body, or the name of a D-Bus error. Every prompt is `completed` at once, if that says
    how: whether it was dismissed, and the result.
    """

    def __init__(self, bus: Bus, replies: Replies, *, completed: Completed | None = None) -> None:
        self.asked: list[str] = []
        self._completed = completed
        self._replies = replies
        self._connection = open_dbus_connection(bus.address)
        assert Proxy(message_bus, self._connection).RequestName(SERVICE)[0] == 1
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._connection.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                message = self._connection.receive(timeout=0.05)
            except TimeoutError:
                continue
            if message.header.message_type is not MessageType.method_call:
                continue
            member = message.header.fields[HeaderFields.member]
            if member == "Get":
                member += " " + message.body[1]
            self.asked.append(member)
            reply = self._replies.get(member)
            if isinstance(reply, str):
                self._connection.send(new_error(message, reply, "s", ("a fake's error",)))
            elif reply:
                self._connection.send(new_method_return(message, *reply))
            if member == "Prompt" and self._completed:
                prompt = DBusAddress(
                    message.header.fields[HeaderFields.path], interface="org.freedesktop.Secret.Prompt"
                )
                self._connection.send(new_signal(prompt, "Completed", "bv", self._completed))


@contextmanager
def silent_socket(folder: Path, greeting: bytes = b"", noise: bytes = b"") -> Iterator[str]:
    """The address of a bus that accepts, says `greeting` once it has heard something, `noise` again and again."""
    path = folder / "silent"
    stopped = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection:
            try:
                if greeting:
                    connection.recv(4096)
                    connection.sendall(greeting)
                while not stopped.wait(0.05):
                    if noise:
                        connection.sendall(noise)
            except OSError:
                return  # the client has given up

    def serve() -> None:
        while not stopped.is_set():
            if select.select([listener], [], [], 0.05)[0]:
                thread = threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True)
                thread.start()
                threads.append(thread)

    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"unix:path={path}"
        stopped.set()
        server.join()
        for thread in threads:
            thread.join()
    path.unlink()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
