"""The clients that are not docker: skopeo, podman and buildah, with the helpers as installed.

They read `credHelpers` of their authentication file and know no `credsStore`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.fakes.aws import FakeAws
from tests.fakes.expiring import ExpiringRegistry
from tests.harness import NOT_FOUND, Result, call, environment, need
from tests.services import Registry, Session, Stack, layer, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

HOST = "registry.example"
PASSWORD = "made-up pass'word\"\\"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
ECR_PASSWORD = "made-up-ecr-password"

# As root these tools write below /var/lib, /run and /dev/shm, whatever their options say: so each call has its own.
_APART = 'for folder in /var/lib /run /dev/shm; do mount -t tmpfs none "$folder"; done; exec "$@"'
APART = [] if os.geteuid() else ["unshare", "--mount", "sh", "-e", "-c", _APART, "sh"]


@pytest.fixture(scope="module")
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    """Amazon, and the proxy that leads to everything else in this module too."""
    with FakeAws(authority) as aws:
        yield aws


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image, as `docker save` writes it (moby, image/spec/v1.2.md)."""
    content = layer()
    digest = hashlib.sha256(content).hexdigest()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
    manifest = [{"Config": "config.json", "Layers": ["layer.tar"]}]
    parts = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": content,
        "manifest.json": json.dumps(manifest).encode(),
    }
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    with tarfile.open(path, "w") as tar:
        for name, part in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(part)
            tar.addfile(member, io.BytesIO(part))
    return path


class User:
    """Somebody with an authentication file that names a helper for a host, and an empty home."""

    def __init__(
        self, home: Path, aws: FakeAws, authority: CertificateAuthority, helpers: dict[str, str], **env: str
    ) -> None:
        self.home = home
        self.file = home / "auth.json"
        self.file.write_text(json.dumps({"credHelpers": helpers}))
        self.env = environment(home, REGISTRY_AUTH_FILE=str(self.file), XDG_RUNTIME_DIR=str(home / "run"))
        self.env |= {"HTTPS_PROXY": aws.proxy.url, "SSL_CERT_FILE": str(authority.pem)} | env
        (home / "run").mkdir(mode=0o700)

    def run(self, command: str, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """The exit code of the command, and all that it says."""
        done = subprocess.run(
            [*APART, need(command, command), *arguments],
            input=stdin,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
            cwd=self.home,
        )
        return done.returncode, done.stdout

    def do(self, command: str, *arguments: str, stdin: str = "") -> str:
        """What the command says, which must succeed."""
        code, said = self.run(command, *arguments, stdin=stdin)
        assert code == 0, said
        return said

    def fail(self, command: str, *arguments: str) -> str:
        """What the command says, which must fail."""
        code, said = self.run(command, *arguments)
        assert code != 0, said
        return said


@pytest.fixture
def storage() -> Iterator[list[str]]:
    """Options of podman and buildah for images of their own; the path of podman's runroot has 50 characters at most."""
    need_root("what podman and buildah do in these tests")
    with Stack() as stack:
        yield ["--root", f"{stack.folder}/root", "--runroot", f"{stack.folder}/run", "--storage-driver", "vfs"]


@pytest.fixture(scope="module")
def registry(authority: CertificateAuthority, aws: FakeAws) -> Iterator[Registry]:
    """A registry whose one user is alice."""
    with Registry(authority, HOST, user="alice", password=PASSWORD) as registry:
        aws.routes[HOST] = registry.port
        yield registry


@pytest.fixture(scope="module")
def amazon(
    authority: CertificateAuthority, aws: FakeAws, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ExpiringRegistry]:
    """A registry under Amazon's name, with the image `app:1`, that takes a token of `aws` until it expires."""
    with Registry(authority, ECR, user="AWS", password=ECR_PASSWORD) as registry:
        aws.routes[ECR] = registry.port
        user = User(tmp_path_factory.mktemp("seed"), aws, authority, {})
        credentials = f"--dest-creds=AWS:{ECR_PASSWORD}"
        user.do("skopeo", "copy", credentials, f"docker-archive:{archive}", f"docker://{ECR}/app:1")
        with ExpiringRegistry(authority, ECR, aws, registry.port, f"AWS:{ECR_PASSWORD}") as expiring:
            aws.routes[ECR] = expiring.port
            yield expiring


@pytest.fixture
def puller(home: Path, aws: FakeAws, authority: CertificateAuthority, amazon: ExpiringRegistry) -> User:
    """A user of the ECR helper, with an AWS key."""
    aws.mints = 0
    aws.requests.clear()
    amazon.late = 0
    return User(home, aws, authority, {ECR: "ecr"}, **aws.environment())


@pytest.fixture(params=["gnome-keyring", "embedded"])
def user(
    request: pytest.FixtureRequest, home: Path, aws: FakeAws, authority: CertificateAuthority, registry: Registry
) -> Iterator[User]:
    """A user of the keyring helper, on a machine with a keyring and on one without."""
    if request.param == "embedded":
        yield User(home, aws, authority, {HOST: "keyring"})
        return
    with Session() as session:
        yield User(home, aws, authority, {HOST: "keyring"}, **session.env)


def test_skopeo_copies_an_image_of_ecr(puller: User, aws: FakeAws, tmp_path: Path) -> None:
    """skopeo gets its token from the helper, and the second copy costs none."""
    for name in ("one", "two"):
        puller.do("skopeo", "copy", f"docker://{ECR}/app:1", f"dir:{tmp_path}/{name}")
        assert (tmp_path / name / "manifest.json").exists()
    assert aws.mints == 1


def test_parallel_copies_of_images_of_ecr(puller: User, aws: FakeAws) -> None:
    """Eight clients that start at once, with nothing cached, cost one token."""
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: puller.do("skopeo", "inspect", f"docker://{ECR}/app:1"), range(8)))
    assert len(said) == 8
    assert aws.mints == 1


def test_podman_pulls_an_image_of_ecr(puller: User, aws: FakeAws, storage: list[str]) -> None:
    """podman does the same, with the authentication file named on its command line."""
    podman = ("podman", *storage, "--events-backend", "file", "--cgroup-manager", "cgroupfs")
    puller.do(*podman, "pull", "--authfile", str(puller.file), f"{ECR}/app:1")
    assert puller.do(*podman, "images", "--quiet", f"{ECR}/app:1")
    assert aws.mints == 1


def test_buildah_builds_from_an_image_of_ecr(puller: User, aws: FakeAws, storage: list[str]) -> None:
    """buildah does the same for the base image of a build."""
    (puller.home / "Dockerfile").write_text(f"FROM {ECR}/app:1\nCOPY Dockerfile /\n")
    puller.do("buildah", *storage, "build", "--isolation", "chroot", "--tag", "built", str(puller.home))
    assert aws.mints == 1


def test_a_refused_token_stops_skopeo_with_the_reason(puller: User, aws: FakeAws, tmp_path: Path) -> None:
    """Where AWS refuses, a client shows the helper's sentence and does not go on as a stranger."""
    puller.env["AWS_SECRET_ACCESS_KEY"] = "another"
    said = puller.fail("skopeo", "inspect", f"docker://{ECR}/app:1")
    assert call("ecr", "get", ECR, puller.env).out.decode().strip() in said


@pytest.mark.parametrize("tool", ["skopeo", "podman", "buildah"])
def test_login_and_logout(user: User, tool: str, archive: Path, storage: list[str]) -> None:
    """A login through the helper opens the registry for every tool, and a logout closes it for all."""
    command = [tool] if tool == "skopeo" else [tool, *storage]
    user.do(*command, "login", "--username", "alice", "--password-stdin", HOST, stdin=PASSWORD)
    assert json.loads(user.file.read_text()).get("auths", {}) in ({}, {HOST: {}})
    assert call("keyring", "list", "", user.env).listing == {HOST: "alice"}
    user.do("skopeo", "copy", f"docker-archive:{archive}", f"docker://{HOST}/{tool}:1")
    user.do("skopeo", "inspect", f"docker://{HOST}/{tool}:1")

    user.do(*command, "logout", HOST)
    assert call("keyring", "get", HOST, user.env) == Result(1, NOT_FOUND, b"")
    assert "authentication required" in user.fail("skopeo", "inspect", f"docker://{HOST}/{tool}:1")
