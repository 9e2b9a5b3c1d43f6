"""`on_error = "anonymous"` of an entry: what fails is not found, says why on standard error, and stops nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from credhelpers.errors import Unavailable
from credhelpers.minted import Minted
from credhelpers.protocols import docker
from credhelpers.servers import Authority
from tests import running
from tests.fakes.aws import FakeAws
from tests.fakes.source import FakeSource, owned
from tests.harness import NOT_FOUND, Result, call, document, environment, need
from tests.services import Registry, Stack, until
from tests.test_protocol import NAME, Fake, Quick, Slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from credhelpers.credential import Credential
    from credhelpers.plan import Route
    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
ACR = "acmehub.azurecr.io"
GCR = "europe-docker.pkg.dev"
VAULT = "harbor.acme.example"
_DEAD = "http://127.0.0.1:9"  # discard(9): nobody listens


def configure(home: Path, host: str, source: str, *lines: str) -> Path:
    """The configuration with one entry, as an editor replaces it."""
    folder = home / ".config/credhelpers"
    folder.mkdir(parents=True, exist_ok=True)
    entry = (f'match = "{host}"', f'source = "{source}"', *lines)
    (folder / "new").write_text("[[registry]]\n" + "\n".join(entry) + "\n")
    return (folder / "new").rename(folder / "config.toml")


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    with FakeAws(authority) as fake:
        yield fake


def _refused(_: CertificateAuthority, stack: ExitStack) -> dict[str, str]:
    aws = stack.enter_context(FakeAws(_))
    return aws.environment(AWS_SECRET_ACCESS_KEY="another")


def _offline(_: CertificateAuthority, __: ExitStack) -> dict[str, str]:
    return {
        "HTTPS_PROXY": _DEAD,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555",
        "AZURE_CLIENT_ID": "11111111-2222-3333-4444-555555555555",
        "AZURE_CLIENT_SECRET": "made-up",
    }


def _no_profile(_: CertificateAuthority, __: ExitStack) -> dict[str, str]:
    return {"AWS_PROFILE": "nosuch", "AWS_EC2_METADATA_DISABLED": "true"}


def _broken_file(_: CertificateAuthority, __: ExitStack) -> dict[str, str]:
    return {"GOOGLE_APPLICATION_CREDENTIALS": "/dev/null"}


_FAILURES = [
    pytest.param("ecr", ECR, (), _refused, id="4.1, the key is refused"),
    pytest.param("ecr", ECR, (), _no_profile, id="4.1, no such profile"),
    pytest.param("ecr", ECR, (), _offline, id="offline"),
    pytest.param("acr", ACR, (), _offline, id="4.1, acr, offline"),
    pytest.param("gcr", GCR, (), _broken_file, id="gcr, a broken file"),
    pytest.param("vault", VAULT, ('path = "kv/a"', f'address = "{_DEAD}"', 'auth = "token"'), _offline, id="vault"),
]


@pytest.mark.parametrize(("name", "host", "lines", "prepare"), _FAILURES)
def test_a_failure_is_not_found_and_says_why(
    authority: CertificateAuthority,
    home: Path,
    name: str,
    host: str,
    lines: tuple[str, ...],
    prepare: Callable[[CertificateAuthority, ExitStack], dict[str, str]],
) -> None:
    """Standard error has the line that it has without the key, with its code; a second call, which remembers, too."""
    with ExitStack() as stack:
        env = environment(home, **prepare(authority, stack))
        configure(home, host, name, *lines)
        plain = call(name, "get", host, env)
        assert plain.code == 1
        assert plain.out != NOT_FOUND
        assert plain.told
        configure(home, host, name, *lines, 'on_error = "stop"')
        assert call(name, "get", host, env).out == plain.out
        configure(home, host, name, *lines, 'on_error = "anonymous"')
        for _ in range(2):
            waived = call(name, "get", host, env)
            assert (waived.code, waived.out) == (1, NOT_FOUND)
            assert waived.told == plain.told
            assert plain.out.decode().strip() in waived.err.decode()
        assert call(name, "list", "", env).listing == {}


def test_whatever_else_is_as_it_was(aws: FakeAws, home: Path) -> None:
    """A token is answered, and it is the same with the key or without; hosts of no such entry fail as ever."""
    env = environment(home, **aws.environment())
    configure(home, ECR, "ecr")
    first = call("ecr", "get", ECR, env).credential
    configure(home, ECR, "ecr", 'on_error = "anonymous"')
    assert call("ecr", "get", ECR, env).credential == first
    assert aws.mints == 1
    env["AWS_SECRET_ACCESS_KEY"] = "another"
    other = "444455556666.dkr.ecr.us-east-1.amazonaws.com"
    assert call("ecr", "get", other, env).out != NOT_FOUND
    assert call("ecr", "get", ECR, env).out == NOT_FOUND
    assert call("ecr", "get", "ghcr.io", env) == Result(1, NOT_FOUND, b"")


def test_a_login_fails_as_ever(home: Path) -> None:
    """Who types a password must hear that it is not kept."""
    configure(home, ECR, "ecr", 'on_error = "anonymous"')
    env = environment(home, DBUS_SESSION_BUS_ADDRESS="tcp:host=localhost,port=1")
    done = call("ecr", "store", document(ECR, "robot", "made-up"), env)
    assert done.told == "keyring-bus-unsupported"
    assert done.out != NOT_FOUND


def test_what_was_typed_and_is_out_of_reach(home: Path) -> None:
    """That, too, is a failure of this host."""
    configure(home, ECR, "ecr", 'on_error = "anonymous"')
    env = environment(home)
    assert call("ecr", "store", document(ECR, "robot", "made-up"), env).code == 0
    (home / ".local/share/credhelpers/identity.txt").unlink()
    done = call("ecr", "get", ECR, env)
    assert (done.out, done.told) == (NOT_FOUND, "age-identity-gone")


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (('on_error = "nxt"',), "config-unknown-word"),
        (('on_error = "Anonymous"',), "config-unknown-word"),
        (("on_error = true",), "config-unknown-word"),
        (('on_errors = "anonymous"',), "config-unknown-word"),
        (('on_error = "anonymous"', 'profil = "prod"'), "config-unknown-word"),
        (('on_error = "anonymous"', 'match = "x.example"'), "config-no-toml"),
    ],
)
def test_a_mistake_is_never_waived(home: Path, lines: tuple[str, ...], code: str) -> None:
    """Whoever writes something else than is meant hears of it."""
    configure(home, ECR, "ecr", *lines)
    done = call("ecr", "get", ECR, environment(home))
    assert done.told == code
    assert done.out.startswith(b"config.toml: ")


# --- in the call itself ----------------------------------------------------------------------------------------------


class _Waiving(Slow):
    def waives(self, _: object) -> bool:
        return True


class _WaivingAtHand(Quick):
    def waives(self, _: object) -> bool:
        return True


def _run(helper: Fake) -> Result:
    return running.Running(lambda: docker.serve(helper), (NAME, "get"), b"host.example", running.hurry).result()


def _fail() -> None:
    raise ZeroDivisionError


def _hang() -> None:
    end = time.monotonic() + 3
    while time.monotonic() < end:
        try:
            time.sleep(3)
        except BaseException:  # noqa: BLE001 - as a library in C, which hears nothing
            continue


@pytest.mark.parametrize(("work", "code"), [(_fail, b"[defect]"), (_hang, b"[time-over]")], ids=["a defect", "a hang"])
def test_whatever_goes_wrong_is_waived(work: Callable[[], None], code: bytes) -> None:
    """Also what no source foresaw, and the clock's word where nothing else is heard."""
    done = _run(_Waiving(work))
    assert (done.code, done.out) == (1, NOT_FOUND)
    assert code in done.err


def test_a_token_at_hand_comes_first() -> None:
    """What is still valid is answered where a new one cannot be had."""
    assert _run(_WaivingAtHand(hard=-1, work=_fail)).credential["Secret"] == "at hand"


# --- the clients that ask every helper -------------------------------------------------------------------------------


@pytest.fixture
def mixed(aws: FakeAws, home: Path) -> dict[str, str]:
    """Somebody with a login at one registry whose sign-in at Amazon is over."""
    env = environment(home, **aws.environment(AWS_SECRET_ACCESS_KEY="another"))
    assert call("keyring", "store", document("only.example", "ann", "made-up"), env).code == 0
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(json.dumps({"credHelpers": {ECR: "ecr", "only.example": "keyring"}}))
    return env


def test_docker_py_builds(mixed: dict[str, str], home: Path) -> None:
    """4.1: it asks all helpers for a build, and without the key gives up at Amazon's failure."""
    script = """if True:
        from docker import auth
        print(auth.load_config().get_all_credentials()["only.example"]["Username"])
    """
    command = [sys.executable, "-c", script]

    def asked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=mixed, capture_output=True, text=True, check=False, timeout=60)

    configure(home, ECR, "ecr")
    assert "StoreError" in asked().stderr
    configure(home, ECR, "ecr", 'on_error = "anonymous"')
    assert asked().stdout == "ann\n"


def test_podman_remote_pulls(authority: CertificateAuthority, aws: FakeAws, mixed: dict[str, str], home: Path) -> None:
    """4.1: podman on macOS and Windows. Its service runs here as root, in mounts of its own."""
    from tests.test_clients import APART

    auth = home / "auth.json"
    auth.write_text(json.dumps({"credHelpers": {ECR: "ecr"}}))
    podman = need("podman", "podman")
    with Stack() as stack, Registry(authority, "registry.example", user="ann", password="made-up") as registry:
        aws.routes["registry.example"] = registry.port
        socket = stack.folder / "podman.sock"
        storage = [f"--root={stack.folder}/root", f"--runroot={stack.folder}/run", "--storage-driver=vfs"]
        service = [*APART, podman, *storage, "system", "service", "--time=0", f"unix://{socket}"]
        stack.start(*service, env=mixed | {"SSL_CERT_FILE": str(authority.pem)})
        until(socket.exists, "podman's service")
        env = mixed | {"REGISTRY_AUTH_FILE": str(auth), "XDG_RUNTIME_DIR": str(home)}
        command = [podman, "--remote", f"--url=unix://{socket}", "pull", "registry.example/a/b:1"]

        def pulled() -> str:
            return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60).stderr

        configure(home, ECR, "ecr")
        assert "error getting credentials" in pulled()
        configure(home, ECR, "ecr", 'on_error = "anonymous"')
        said = pulled()
        assert "error getting credentials" not in said
        assert "registry.example" in said, "the registry itself is asked, and wants a login"


# --- in-process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "waives"), [("a.one.fake.example", True), ("ghcr.io", False), ("b.fake.example", False)]
)
def test_who_waives(home: Path, server: str, *, waives: bool) -> None:
    """The entry of the host does; nobody for what is nobody's, and no mistake does."""

    def route(authority: Authority, environ: object, source: str) -> Route:
        found = owned(authority, environ, source)
        found.is_optional = server.startswith("a.")
        if server.startswith("b."):
            raise Unavailable("config-no-toml", "config.toml: not TOML", "mend it")
        return found

    environ = {b"HOME": os.fsencode(home)}
    assert Minted(FakeSource(environ), environ, route).waives(Authority(server)) is waives


def test_what_is_remembered_is_waived() -> None:
    """`ready` raises it, before anything slow."""

    class Remembering(_Waiving):
        def ready(self, authority: Authority) -> Credential | None:
            raise Unavailable("a-code", "the cloud is down", "wait")

    done = _run(Remembering())
    assert (done.code, done.out) == (1, NOT_FOUND)
    assert b"the cloud is down; wait [a-code]" in done.err
