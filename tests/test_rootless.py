"""Rootless podman and buildah, which start helpers inside a user namespace: real ones, of an ordinary user."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.fakes.aws import FakeAws
from tests.harness import BIN, NOT_FOUND, document, need
from tests.services import Registry, Rootless
from tests.test_clients import ECR, ECR_PASSWORD, archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

__all__ = ["archive"]

pytestmark = pytest.mark.slow

HOST = "registry.example"
PASSWORD = "made-up-password"


@pytest.fixture(scope="module")
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    """Amazon, and the proxy that leads to the registries."""
    with FakeAws(authority) as fake:
        yield fake


@pytest.fixture(scope="module")
def registries(authority: CertificateAuthority, aws: FakeAws) -> Iterator[None]:
    with (
        Registry(authority, HOST, user="alice", password=PASSWORD) as one,
        Registry(authority, ECR, user="AWS", password=ECR_PASSWORD) as other,
    ):
        aws.routes.update({HOST: one.port, ECR: other.port})
        aws.password = ECR_PASSWORD
        yield


@pytest.fixture
def user(authority: CertificateAuthority, aws: FakeAws, registries: None) -> Iterator[Rootless]:
    """An ordinary user with a session, an unlocked GNOME Keyring and an empty home."""
    with Rootless(authority) as user:
        user.env |= {"HTTPS_PROXY": aws.proxy.url}
        user.write("auth.json", json.dumps({"credHelpers": {HOST: "keyring", ECR: "ecr"}}))
        user.env["REGISTRY_AUTH_FILE"] = f"{user.home}/auth.json"
        yield user


_OPTIONS = {
    "podman": ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"],
    "buildah": ["--storage-driver=vfs"],
}


@pytest.mark.parametrize("store", ["secret-service", "embedded"])
@pytest.mark.parametrize("tool", ["podman", "buildah"])
def test_login_pull_and_logout(user: Rootless, archive: Path, tool: str, store: str) -> None:
    """2.A1: the keyring that a login outside of any namespace has filled opens the registry inside, and all the way."""
    if store == "embedded":
        del user.env["DBUS_SESSION_BUS_ADDRESS"]
    command = [need(tool, tool), *_OPTIONS[tool]]
    login = [*command, "login", "--username=alice", "--password-stdin", HOST]
    assert user.run(*login, stdin=PASSWORD).returncode == 0
    assert json.loads(user.read("auth.json")).get("auths", {}) in ({}, {HOST: {}}), "nothing in clear"
    assert user.helper("keyring", "list").listing == {HOST: "alice"}
    assert user.run(*command, "login", "--get-login", HOST).stdout == "alice\n"
    shutil.copy(archive, user.folder / "image.tar")
    (user.folder / "image.tar").chmod(0o644)
    copied = user.run(
        need("skopeo", "skopeo"), "copy", f"docker-archive:{user.folder}/image.tar", f"docker://{HOST}/a:1"
    )
    assert copied.returncode == 0, copied
    pulled = user.run(*command, "pull", f"{HOST}/a:1")
    assert pulled.returncode == 0, pulled
    assert user.run(*command, "logout", HOST).returncode == 0
    assert user.helper("keyring", "get", HOST).out == NOT_FOUND
    refused = user.run("skopeo", "inspect", f"docker://{HOST}/a:1")
    assert "authentication required" in refused.stderr, refused


def test_an_image_of_ecr_by_roots_configuration(user: Rootless, aws: FakeAws, archive: Path) -> None:
    """2.A5: root's config.toml names the profile, for all users of the machine, inside a namespace, too."""
    config = user.folder / "config.toml"
    config.write_text(f'[[registry]]\nmatch = "{ECR}"\nsource = "ecr"\nprofile = "prod"\n')
    config.chmod(0o644)
    user.write(".aws/credentials", "[prod]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key=made-up-aws-secret\n")
    ca = user.env["SSL_CERT_FILE"]
    user.env |= {"CREDHELPERS_CONFIG": str(config), "AWS_CA_BUNDLE": ca, "AWS_EC2_METADATA_DISABLED": "true"}
    shutil.copy(archive, user.folder / "image.tar")
    (user.folder / "image.tar").chmod(0o644)
    copied = user.run(
        need("skopeo", "skopeo"), "copy", f"docker-archive:{user.folder}/image.tar", f"docker://{ECR}/a:1"
    )
    assert copied.returncode == 0, copied
    for tool, options in _OPTIONS.items():
        pulled = user.run(need(tool, tool), *options, "pull", f"{ECR}/a:1")
        assert pulled.returncode == 0, pulled
    assert aws.mints == 1, "one token for all, inside and outside"


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(["podman", "unshare"], id="podman unshare"),
        pytest.param(["buildah", "unshare"], id="buildah unshare"),
        pytest.param(["unshare", "--user", "--map-root-user"], id="one number, root's"),
        pytest.param(["unshare", "--user", "--map-current-user"], id="one number, our own"),
        pytest.param(["podman", "unshare", "unshare", "--user", "--map-root-user"], id="one in another"),
    ],
)
def test_a_namespace_of_any_kind(user: Rootless, inside: list[str]) -> None:
    """get, store, list and erase are what they are outside; without HOME, too, where the database knows root only."""
    helper = str(BIN / "docker-credential-keyring")
    assert user.run(*inside, helper, "store", stdin=document(HOST, "ann", "made-up").decode()).returncode == 0
    assert user.helper("keyring", "get", HOST).credential["Username"] == "ann"
    assert json.loads(user.run(*inside, helper, "get", stdin=HOST).stdout)["Secret"] == "made-up"
    assert json.loads(user.run(*inside, helper, "list").stdout) == {HOST: "ann"}
    assert user.run(*inside, helper, "erase", stdin=HOST).returncode == 0
    assert user.helper("keyring", "list").listing == {}


def test_a_locked_keyring_inside(user: Rootless) -> None:
    """It fails what it has an item for, and nothing else."""
    helper = ["podman", "unshare", str(BIN / "docker-credential-keyring")]
    assert user.helper("keyring", "store", document(HOST, "ann", "made-up").decode()).code == 0
    user.lock()
    assert user.run(*helper, "get", stdin=HOST).stdout == "the keyring is locked\n"
    assert user.run(*helper, "get", stdin="docker.io").stdout.encode() == NOT_FOUND
    assert user.run(*helper, "list").stdout == "{}\n"
