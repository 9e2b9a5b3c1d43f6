"""Another version in the place of this one, and back: no login is lost, and nobody is answered with another's token."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.aws import FakeAws, Key, signer
from tests.harness import NOT_FOUND, Result, document, environment, execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
# The last one whose hits computed a fingerprint, and whose every call read config.toml.
BEFORE = "f9d701e21992b31a3939f436eca87a6af20c2659"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
ALIAS = "mirror.acme.example"
WORLDS = 4  # of `right`: a host or an alias, by a variable that is one or another, or none
CONFIG = f"""
[[registry]]
match = "{ALIAS}"
source = "ecr"
account = "111122223333"
region = "eu-west-1"
profile = "one"
"""
PROFILES = """
[one]
aws_access_key_id = AKIDONE
aws_secret_access_key = made-up-one
[two]
aws_access_key_id = AKIDTWO
aws_secret_access_key = made-up-two
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is installed: of the version before, from this checkout's history, and of this one."""
    folder = tmp_path_factory.mktemp("wheels")
    archive = ["git", "-C", str(ROOT), "archive", "--format=tar", BEFORE]
    done = subprocess.run(archive, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("the version before is not in this checkout's history; get it with `git fetch --unshallow`")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tree:
        tree.extractall(folder / "before", filter="data")
    # A copy, since a build leaves files in its folder.
    shutil.copytree(ROOT, folder / "now", ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "tests"))
    found = {}
    for name in ("before", "now"):
        place = folder / f"wheel-{name}"
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "-w", str(place), str(folder / name)], check=True)
        (found[name],) = place.iterdir()
    return found


class Machine:
    """A user with an installation of his own, in which one version takes the place of the other."""

    def __init__(self, folder: Path, wheels: dict[str, Path], aws: FakeAws) -> None:
        self.venv = folder / "venv"
        self.wheels = wheels
        self.aws = aws
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.venv], check=True)
        (packages,) = self.venv.glob("lib/python3*/site-packages")
        (shared,) = Path(sys.prefix).glob("lib/python3*/site-packages")
        for path in shared.iterdir():  # the SDKs; no line of a `.pth` counts for an executable
            if not path.name.startswith(("credhelpers", "_virtualenv", "__pycache__")):
                (packages / path.name).symlink_to(path)
        home = folder / "home"
        home.mkdir(mode=0o700)
        config = home / ".config/credhelpers/config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(CONFIG)
        (home / ".aws").mkdir()
        (home / ".aws/credentials").write_text(PROFILES)
        self.cache = home / ".cache/credhelpers"
        self.env = environment(home, **aws.environment(), AWS_EC2_METADATA_DISABLED="true")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del self.env[name]
        self.whose: dict[str, str] = {}

    def install(self, name: str) -> None:
        """Put this version in the place of the other."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.venv / "bin/python3"), "install", "-q"]
        subprocess.run([*pip, "--no-deps", "--force-reinstall", str(self.wheels[name])], check=True)

    def call(self, helper: str, verb: str, stdin: bytes | str = b"", **more: str) -> Result:
        """As a client calls the executable."""
        return execute(self.venv / f"bin/docker-credential-{helper}", verb, stdin=stdin, env=self.env | more)

    def key_of(self, server: str, profile: str = "") -> str:
        """With whose key the token was minted that is the answer."""
        more = {"AWS_PROFILE": profile} if profile else {}
        secret = self.call("ecr", "get", server, **more).credential["Secret"]
        requests = [request for request in self.aws.requests if "GetAuthorizationToken" in str(request.headers)]
        self.whose.setdefault(secret, signer(requests[-1]))
        assert len(self.whose) <= self.aws.mints
        return self.whose[secret]

    def stored(self, server: str) -> str:
        """The secret that the keyring has for the server."""
        return self.call("keyring", "get", server).credential["Secret"]

    def right(self) -> None:
        """Everybody is answered with his own token, asked twice and by turns."""
        for _ in range(2):
            assert self.key_of(ECR, "one") == "AKIDONE"
            assert self.key_of(ECR, "two") == "AKIDTWO"
            assert self.key_of(ALIAS) == "AKIDONE"
            assert self.key_of(ALIAS, "two") == "AKIDONE", "the entry says so"
        assert self.call("ecr", "get", "ghcr.io").out == NOT_FOUND


@pytest.fixture
def machine(tmp_path: Path, wheels: dict[str, Path], authority: CertificateAuthority) -> Iterator[Machine]:
    """A user with two profiles."""
    with FakeAws(authority) as aws:
        aws.keys = {"AKIDONE": Key("made-up-one"), "AKIDTWO": Key("made-up-two")}
        yield Machine(tmp_path, wheels, aws)


def test_there_and_back_again(machine: Machine) -> None:
    """Stores are read and written by both, each finds what it has cached itself, and nothing is anybody else's."""
    machine.install("before")
    assert machine.call("keyring", "store", document("a.example", "user", "made-up-a")).code == 0
    machine.right()
    before = machine.aws.mints
    machine.right()
    assert machine.aws.mints == before

    machine.install("now")
    assert machine.stored("a.example") == "made-up-a"
    assert machine.call("keyring", "list").listing == {"a.example": "user"}
    assert machine.call("keyring", "store", document("b.example", "user", "made-up-b")).code == 0
    assert machine.call("keyring", "store", document("a.example", "user", "made-up-c")).code == 0
    machine.right()
    now = machine.aws.mints
    machine.right()
    assert machine.aws.mints == now <= before + WORLDS, "once for each"
    assert machine.call("ecr", "list", AWS_PROFILE="two").listing == {ECR: "AWS", ALIAS: "AWS"}

    machine.install("before")
    assert (machine.stored("a.example"), machine.stored("b.example")) == ("made-up-c", "made-up-b")
    assert machine.call("keyring", "erase", "b.example").code == 0
    machine.right()

    machine.install("now")
    assert machine.stored("a.example") == "made-up-c"
    assert machine.call("keyring", "get", "b.example").out == NOT_FOUND
    machine.right()


@pytest.mark.parametrize("first", ["before", "now"])
def test_a_logout_is_one_whoever_cached(first: str, machine: Machine) -> None:
    """What the other version keeps is forgotten by this one: a token that answers later was minted later."""
    for name in (first, "now"):
        machine.install(name)
        machine.right()
    kept = {path.name for path in machine.cache.iterdir() if path.name.startswith("ecr-") and "lock" not in path.name}
    assert machine.call("ecr", "erase", ECR).code == 0
    assert machine.call("ecr", "erase", ALIAS).code == 0
    left = {path.name for path in machine.cache.iterdir() if path.name.startswith("ecr-") and "lock" not in path.name}
    assert kept
    assert not left & kept
    said = machine.aws.mints
    machine.right()
    assert machine.aws.mints == said + WORLDS


def test_two_versions_side_by_side(machine: Machine, tmp_path: Path, wheels: dict[str, Path]) -> None:
    """One in a terminal that has not been closed, say: by turns, in one cache."""
    other = Machine.__new__(Machine)
    other.__dict__ |= machine.__dict__ | {"venv": tmp_path / "other"}
    shutil.copytree(machine.venv, other.venv, symlinks=True)
    machine.install("before")
    other.install("now")
    for _ in range(2):
        machine.right()
        other.right()
    mints = machine.aws.mints
    machine.right()
    other.right()
    assert machine.aws.mints == mints
