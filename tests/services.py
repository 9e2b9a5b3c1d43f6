"""Real services on this machine: docker's engine, docker's registry, a session bus with a keyring, a Vault server.

Each is a context manager, waits until it is there, and takes everything with it that it has started. Where one cannot
be had, its tests are skipped with the command that gets it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pytest

from tests import vault_build
from tests.harness import BIN, Result, lacking, need

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fakes.tls import CertificateAuthority

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
    def pid(self) -> int:
        """The number of its first process."""
        return self._process.pid

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
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)  # a daemon may remove things, too

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

    def __init__(self, proxy: str, authority: CertificateAuthority) -> None:
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

    `auth` is what stands there in its configuration in the place of htpasswd.
    docker-registry and htpasswd (bcrypt) know the first 72 bytes of a password, so use a shorter one.
    """

    def __init__(self, authority: CertificateAuthority, *names: str, user: str, password: str, auth: str = "") -> None:
        program = need("docker-registry", "docker-registry")
        self._htpasswd = need("htpasswd", "apache2-utils")
        super().__init__()
        with ExitStack() as safe:
            safe.push(self)
            self._users = self.folder / "htpasswd"
            self.change(user, password)
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
  {auth or f"htpasswd: {{realm: tests, path: {self._users}}}"}
""")
            service = self.start(program, "serve", configuration, env={"PATH": PATH, "OTEL_TRACES_EXPORTER": "none"})
            listening = re.compile(r"listening on 127\.0\.0\.1:(\d+), tls")
            service.ready(lambda: listening.search(service.log))
            found = listening.search(service.log)
            assert found
            self.port = int(found[1])
            safe.pop_all()

    def change(self, user: str, password: str) -> None:
        """Let this user in, and nobody else: the registry reads the file anew when its time has changed."""
        command = [self._htpasswd, "-niB", user]
        done = subprocess.run(command, input=password.encode(), capture_output=True, check=True, timeout=_PATIENCE)
        new = self._users.with_suffix(".new")
        new.write_bytes(done.stdout)
        new.replace(self._users)


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

    def clear(self) -> None:
        """Remove what docker's helpers have put into it."""
        import secretstorage
        from jeepney.io.blocking import open_dbus_connection

        with closing(open_dbus_connection(self.env["DBUS_SESSION_BUS_ADDRESS"])) as connection:
            while found := list(secretstorage.search_items(connection, {"docker_cli": "1"})):
                for item in found:
                    with suppress(secretstorage.ItemNotFoundException):  # the daemon tells of some for a while
                        item.delete()

    def _ask(self, question: str) -> str:
        destination, *rest = question.split()
        command = [self._send, "--session", "--print-reply=literal", f"--dest={destination}", *rest]
        done = subprocess.run(
            command, env=self.env | {"PATH": PATH}, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        return done.stdout


class Rootless(Stack):
    """An ordinary user for whom rootless podman works: with numbers below him, a session bus and a GNOME Keyring.

    He lives in mounts and processes of his own. `home` is his, `folder` is root's and may be read by all; `env` are the
    variables of all that he runs. What he needs of the tests' environment he may enter there, wherever it lies.
    """

    _NAME = "games"  # of the users that every system has: a bus asks the database for those who want in
    _SETUP = """
printf '%s:100000:65536\n' "$NAME" >numbers
for file in subuid subgid; do mount --bind numbers /etc/$file; done
become="setpriv --reuid=$NAME --regid=$NAME --clear-groups"
for path in $NEEDED; do mkdir -p "kept$path"; mount --bind "$path" "kept$path"; done
for path in $NEEDED; do
    above=
    for part in $(printf %s "$path" | tr / ' '); do
        above=$above/$part
        $become test -x "$above" || { mount -t tmpfs -o mode=0755 none "$above"; break; }
    done
    [ -d "$path" ] || { mkdir -p "$path"; mount --bind "kept$path" "$path"; }
done
exec $become env -i PATH="$PATH" HOME="$PWD/home" \
    XDG_RUNTIME_DIR="$PWD/run" DBUS_SESSION_BUS_ADDRESS="unix:path=$PWD/run/bus" sh -ec '
        cd
        dbus-daemon --session --fork --nopidfile --address="$DBUS_SESSION_BUS_ADDRESS"
        printf made-up | gnome-keyring-daemon --foreground --unlock --components=secrets &
        wait'
"""

    def __init__(self, authority: CertificateAuthority) -> None:
        need_root("an ordinary user")
        for command, package in (
            *(("podman", "podman"), ("newuidmap", "uidmap"), ("dbus-daemon", "dbus")),
            *(("gnome-keyring-daemon", "gnome-keyring"), ("nsenter", "util-linux"), ("busctl", "systemd")),
        ):
            need(command, package)
        super().__init__()
        self.home = self.folder / "home"
        self.env = {
            "HOME": str(self.home),
            "PATH": f"{BIN}:{PATH}",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": f"{self.folder}/run",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.folder}/run/bus",
            "SSL_CERT_FILE": f"{self.folder}/ca.pem",
        }
        with ExitStack() as safe:
            safe.push(self)
            self.folder.chmod(0o755)
            shutil.copy(authority.pem, self.folder / "ca.pem")
            (self.folder / "ca.pem").chmod(0o644)
            for name in ("home", "run"):
                (self.folder / name).mkdir(mode=0o700)
                shutil.chown(self.folder / name, self._NAME, self._NAME)
            needed = f"{BIN.parent} {sys.base_prefix}"
            apart = (
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-ec",
                self._SETUP,
            )
            self._service = self.start(*apart, env={"NAME": self._NAME, "NEEDED": needed, "PATH": PATH})
            self._service.ready(
                lambda: self.run("busctl", "--user", "status", "org.freedesktop.secrets").returncode == 0
            )
            self._service.ready(lambda: "/collection/" in self._default().stdout)
            safe.pop_all()

    def write(self, name: str, content: str) -> None:
        """Have him write a file in his home."""
        done = self.run("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat >"$0"', f"{self.home}/{name}", stdin=content)
        assert done.returncode == 0, done

    def read(self, name: str) -> str:
        """What is in a file in his home."""
        return (self.home / name).read_text()

    def helper(self, name: str, verb: str, content: str = "") -> Result:
        """A call of a helper outside of any user namespace."""
        done = self.run(str(BIN / f"docker-credential-{name}"), verb, stdin=content)
        return Result(done.returncode, done.stdout.encode(), done.stderr.encode())

    def lock(self) -> None:
        """Lock the keyring."""
        collection = self._default().stdout.split('"')[1]
        asked = ("Service", "Lock", "ao", "1", collection)
        assert self._secrets(*asked).returncode == 0

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What becomes of a command of his."""
        inside = Path(f"/proc/{self._service.pid}/task/{self._service.pid}/children").read_text().split()
        if not inside:
            return subprocess.CompletedProcess(command, 1, "", "not begun")
        enter = ["nsenter", f"--target={inside[0]}", "--mount", "--pid", f"--wd={self.home}"]
        become = ["setpriv", f"--reuid={self._NAME}", f"--regid={self._NAME}", "--clear-groups"]
        variables = [f"{name}={value}" for name, value in self.env.items()]
        return subprocess.run(
            [*enter, *become, "env", "-i", *variables, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def _default(self) -> subprocess.CompletedProcess[str]:
        return self._secrets("Service", "ReadAlias", "s", "default")

    def _secrets(self, interface: str, *words: str) -> subprocess.CompletedProcess[str]:
        place = ("org.freedesktop.secrets", "/org/freedesktop/secrets", f"org.freedesktop.Secret.{interface}")
        return self.run("busctl", "--user", "call", *place, *words)


def vault_program() -> str:
    """Vault's or OpenBao's program on PATH, else what `tests/run` has built."""
    program = vault_build.found() or vault_build.built()
    if not program.exists():
        lacking(
            "neither vault nor bao is here: get one from https://developer.hashicorp.com/vault/install, or let "
            f"`tests/run` build it, {vault_build.missing() or 'for which everything is here'}"
        )
    return str(program)


# What Vault has built in, and OpenBao has not: github.com/openbao/openbao, helper/builtinplugins/registry.go.
_PLUGINS_OF_OPENBAO = ("aws", "azure", "gcp")


class Vault(Stack):
    """A real Vault server, unsealed. `address` is where it is, `token` may do everything.

    Without `authority` it is a development server on plain HTTP, in memory. With it there is TLS for the names given,
    raft storage in `folder`, and `stop` and `start_again` keep what is in it. `env` are variables of the server.
    """

    def __init__(self, authority: CertificateAuthority | None = None, *names: str, **env: str) -> None:
        self.program = vault_program()
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # An old certificate inside one of its plugins has a negative serial number, which Go refuses by now.
        self.env = {"PATH": PATH, "HOME": str(self.folder), "GODEBUG": "x509negativeserial=1"} | env
        self._context: ssl.SSLContext | None = None
        self.keys: list[str] = []
        self.token = "root-token-of-the-tests"
        with ExitStack() as safe:
            safe.push(self)
            if authority is None:
                self.address = f"http://127.0.0.1:{self.port}"
                self._command = [
                    *(self.program, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={self.token}"),
                    f"-dev-listen-address=127.0.0.1:{self.port}",
                ]
                self.service = self._begin()
            else:
                self.address = f"https://{names[0]}:{self.port}"
                self._context = ssl.create_default_context(cafile=authority.pem)
                certificate, key = authority.files(*names, "127.0.0.1")
                (self.folder / "raft").mkdir()
                (self.folder / "vault.hcl").write_text(f"""\
disable_mlock = true
api_addr = "{self.address}"
cluster_addr = "https://127.0.0.1:{self.port + 1}"
listener "tcp" {{
  address = "127.0.0.1:{self.port}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{key}"
  tls_client_ca_file = "{authority.pem}"
}}
storage "raft" {{
  path = "{self.folder}/raft"
  node_id = "one"
}}
""")
                self._command = [self.program, "server", f"-config={self.folder}/vault.hcl"]
                self.service = self._begin()
                answer = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
                self.keys, self.token = answer["keys"], answer["root_token"]
                self.unseal()
            safe.pop_all()

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> dict[str, Any]:
        """What the server answers to the root token, or to another; fails for anything but success.

        Where the server is OpenBao, which lacks what is to be mounted, the test is skipped, in CI too.
        """
        kind = body.get("type") if isinstance(body, dict) and path.startswith(("sys/mounts/", "sys/auth/")) else None
        if kind in _PLUGINS_OF_OPENBAO and Path(self.program).name == "bao":
            pytest.skip(f"OpenBao has `{kind}` as a plugin only; put `vault` on PATH, and this test runs")
        status, answer = self.ask(method, path, body, token=token)
        assert status < 300, (method, path, status, answer)
        return answer

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the object of an answer."""
        connection = (
            HTTPSConnection("127.0.0.1", self.port, context=_any_name(self._context), timeout=_PATIENCE)
            if self._context
            else HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        )
        with closing(connection):
            headers = {"X-Vault-Token": self.token if token is None else token}
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
        return response.status, json.loads(content) if content else {}

    def policy(self, name: str, *rules: str) -> None:
        """Write a policy of rules such as `kv/data/* read,list`."""
        text = "".join(
            f'path "{path}" {{ capabilities = {json.dumps(words.split(","))} }}\n'
            for path, words in (rule.rsplit(maxsplit=1) for rule in rules)
        )
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": text})

    def token_for(self, *policies: str, **more: object) -> str:
        """A token with these policies; `more` are the fields of `auth/token/create`."""
        created = self.call("POST", "auth/token/create", {"policies": policies, "no_default_policy": False, **more})
        return str(created["auth"]["client_token"])

    def unseal(self) -> None:
        """Open the storage, and wait until the server does its work."""
        self.call("PUT", "sys/unseal", {"key": self.keys[0]})
        until(lambda: self.ask("GET", "sys/health")[0] == 200, "vault")

    def stop(self) -> None:
        """End the server; its storage stays."""
        self.service.__exit__()

    def start_again(self) -> None:
        """Begin anew with the storage that is there, sealed."""
        self.service = self._begin()

    def _begin(self) -> Service:
        service = self.start(*self._command, env=self.env)
        service.ready(self._answers)
        return service

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "sys/health")[0] in (200, 501, 503)
        except OSError:
            return False


class Redis(Stack):
    """A Redis server for the engine `database`, in which Vault makes users; its administrator's password is in it."""

    password = "made-up-password-of-redis"

    def __init__(self) -> None:
        program = need("redis-server", "redis-server")
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with ExitStack() as safe:
            safe.push(self)
            options = f'port {self.port}\nbind 127.0.0.1\nsave ""\nrequirepass {self.password}\n'
            service = self.start(program, "-", env={"PATH": PATH}, secret=options.encode())
            service.ready(lambda: "Ready to accept connections" in service.log)
            safe.pop_all()

    def can_log_in(self, username: str, password: str) -> bool:
        """Whether Redis knows the user by this password."""
        return self._ask(f"AUTH {username} {password}").startswith("+OK")

    def command(self, *words: str) -> None:
        """Have the administrator do something."""
        answer = self._ask(f"AUTH default {self.password}", " ".join(words))
        assert answer == "+OK\r\n+OK\r\n", answer

    def _ask(self, *lines: str) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE) as connection:
            connection.sendall("".join(f"{line}\r\n" for line in (*lines, "QUIT")).encode())
            connection.shutdown(socket.SHUT_WR)
            content = b"".join(iter(lambda: connection.recv(4096), b""))
        return content.decode().removesuffix("+OK\r\n")


class Audit:
    """What a server was asked while the block ran, by its own record: a line of JSON for each request and answer."""

    def __init__(self, vault: Vault, file: Path) -> None:
        self._vault = vault
        self._file = file
        self._device = f"sys/audit/{file.stem}"

    def count(self, operation: str, beginning: str) -> int:
        """How many answered requests were for this operation (read, update, …) on a path that begins so."""
        lines = [json.loads(line) for line in self._file.read_text().splitlines()]
        requests = [line["request"] for line in lines if line["type"] == "response"]
        return sum(one["operation"] == operation and one["path"].startswith(beginning) for one in requests)

    def __enter__(self) -> Self:
        self._vault.call("PUT", self._device, {"type": "file", "options": {"file_path": str(self._file)}})
        return self

    def __exit__(self, *_: object) -> None:
        self._vault.call("DELETE", self._device)


def _any_name(context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """The context for a connection by address to a server that is certified for a name."""
    if context:
        context.check_hostname = False
    return context


def layer(content: str = "hello") -> bytes:
    """The smallest file system that `docker import` makes an image of."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo("greeting")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.encode()))
    return tar.getvalue()
