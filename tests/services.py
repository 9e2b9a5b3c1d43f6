"""Real services on this machine: docker's engine, docker's registry, a session bus with a keyring.

Each is a context manager, waits until it is there, and takes everything with it that it has started. Where one cannot
be had, its tests are skipped with the command that gets it.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import pytest

from tests.harness import lacking, need

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fakes.tls import Authority

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE = 30.0  # seconds for a service to come up or to go down
_Seen = TypeVar("_Seen")


def until(look: Callable[[], _Seen], what: str, patience: float = _PATIENCE) -> _Seen:
    """The first true result of `look`."""
    end = time.monotonic() + patience
    while not (result := look()):
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {patience} seconds")
        time.sleep(0.02)
    return result


def need_root(what: str) -> None:
    """Skip this test where root does not run it."""
    if os.geteuid():
        lacking(f"{what} needs root; run the tests with `sudo tests/run`")


class Service:
    """A process in a session of its own that ends, with all its children, when the block or the test run does."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str], secret: bytes = b"") -> None:
        self._log = folder / f"{Path(command[0]).name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=folder,
                start_new_session=True,
            )
        assert self._process.stdin
        with self._process.stdin as stdin:
            stdin.write(secret)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def ready(self, look: Callable[[], object]) -> None:
        """Wait until `look` is true. A service that ends instead fails the test with its log."""
        end = time.monotonic() + _PATIENCE
        while not look():
            if self._process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{self._log.stem} did not come up:\n{self.log[-4000:]}")
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_PATIENCE)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue


class Stack:
    """Services in a folder of their own, whose path is short enough for the names of sockets (108 bytes)."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="ch-", dir="/tmp"))
        self._stack.callback(shutil.rmtree, self.folder)

    def start(self, *command: str | Path, env: Mapping[str, str], secret: bytes = b"") -> Service:
        """Start a program that ends with the block."""
        return self._stack.enter_context(Service([str(word) for word in command], self.folder, env, secret))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class Engine(Stack):
    """Docker's engine at the address `host`; it reaches registries through `proxy` and trusts `authority` alone.

    It has no network for containers and needs none: images are pulled, pushed and built, never run.
    """

    def __init__(self, proxy: str, authority: Authority) -> None:
        need_root("docker's engine")
        dockerd = need("dockerd", "docker.io")
        need("containerd", "containerd")
        super().__init__()
        socket = self.folder / "docker.sock"
        self.host = f"unix://{socket}"
        with ExitStack() as safe:
            safe.push(self)
            # Its mounts, its containerd and whatever that starts end with the two name spaces.
            service = self.start(
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *(dockerd, "--iptables=false", "--bridge=none", "--storage-driver=vfs", f"--host={self.host}"),
                *(f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid"),
                env={"PATH": PATH, "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "SSL_CERT_FILE": str(authority.pem)},
            )
            service.ready(lambda: "API listen on" in service.log)
            safe.pop_all()


class Registry(Stack):
    """Docker's registry behind TLS for the host names `names`, with one user; `port` is its port on loopback.

    docker-registry and htpasswd (bcrypt) know the first 72 bytes of a password, so use a shorter one.
    """

    def __init__(self, authority: Authority, *names: str, user: str, password: str) -> None:
        program = need("docker-registry", "docker-registry")
        htpasswd = need("htpasswd", "apache2-utils")
        super().__init__()
        with ExitStack() as safe:
            safe.push(self)
            line = subprocess.run(
                [htpasswd, "-niB", user], input=password.encode(), capture_output=True, check=True, timeout=_PATIENCE
            ).stdout
            users = self.folder / "htpasswd"
            users.write_bytes(line)
            certificate, key = authority.files(*names)
            configuration = self.folder / "config.yml"
            configuration.write_text(f"""\
version: 0.1
storage:
  filesystem:
    rootdirectory: {self.folder}/images
http:
  addr: 127.0.0.1:0
  secret: not-a-secret
  tls:
    certificate: {certificate}
    key: {key}
auth:
  htpasswd:
    realm: tests
    path: {users}
""")
            service = self.start(program, "serve", configuration, env={"PATH": PATH, "OTEL_TRACES_EXPORTER": "none"})
            listening = re.compile(r"listening on 127\.0\.0\.1:(\d+), tls")
            service.ready(lambda: listening.search(service.log))
            found = listening.search(service.log)
            assert found
            self.port = int(found[1])
            safe.pop_all()


class Session(Stack):
    """A user's session bus with an unlocked gnome-keyring; `env` leads a program to it."""

    def __init__(self) -> None:
        bus = need("dbus-daemon", "dbus")
        keyring = need("gnome-keyring-daemon", "gnome-keyring")
        self._send = need("dbus-send", "dbus")
        super().__init__()
        self.env = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder}/bus"}
        own = self.env | {"PATH": PATH, "HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)}
        with ExitStack() as safe:
            safe.push(self)
            address = self.env["DBUS_SESSION_BUS_ADDRESS"]
            service = self.start(bus, "--session", "--nofork", "--nopidfile", f"--address={address}", env=own)
            service.ready((self.folder / "bus").exists)
            command = (keyring, "--foreground", "--unlock", "--components=secrets")
            service = self.start(*command, env=own, secret=b"opens the keyring")
            # Who asks the service before it is there makes the bus start another one.
            asked = "org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets"
            service.ready(lambda: "true" in self._ask(asked))
            asked = "org.freedesktop.secrets /org/freedesktop/secrets org.freedesktop.Secret.Service.ReadAlias"
            service.ready(lambda: "/collection/" in self._ask(asked + " string:default"))
            safe.pop_all()

    def lock(self) -> None:
        """Lock the keyring; there is nobody who could be asked to unlock it."""
        asked = "org.freedesktop.secrets /org/freedesktop/secrets org.freedesktop.Secret.Service.Lock"
        assert "/collection/" in self._ask(asked + " array:objpath:/org/freedesktop/secrets/collection/login")

    def _ask(self, question: str) -> str:
        destination, *rest = question.split()
        command = [self._send, "--session", "--print-reply=literal", f"--dest={destination}", *rest]
        done = subprocess.run(
            command, env=self.env | {"PATH": PATH}, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        return done.stdout


def layer(content: str = "hello") -> bytes:
    """The smallest file system that `docker import` makes an image of."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo("greeting")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.encode()))
    return tar.getvalue()
