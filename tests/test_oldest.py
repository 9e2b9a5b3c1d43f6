"""The oldest version of each SDK that `pyproject.toml` allows does what the newest does, which all other tests have."""

from __future__ import annotations

import fcntl
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.forms import ROOT, UV, run
from tests.harness import BIN

if TYPE_CHECKING:
    from collections.abc import Callable

EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# By SDK: the tests that are run with its oldest version, and which of them.
CORE = {
    "boto3": (("test_ecr.py", "test_no_trace_aws.py"), "not resolver and not hanging and not does_not_end"),
    "google-auth": (("test_gcr.py",), "every_kind or order_of or federation or impersonat or refusal"),
    "azure-identity": (("test_acr.py",), "identit or refus"),
    "hvac": (("test_vault_errors.py",), ""),
    "keyring": (("test_library_store.py",), "TestPlaintext"),
}
SEED = 11
_OF_ALL = {"certifi", "urllib3"}  # what every extra has for `net`
# What a requirement of an SDK leaves open: the oldest release of that line, too.
_BEHIND = {"boto3": ("botocore",)}
_NEEDED = ("hypothesis", "keyring-pass", "keyrings.alt", "pytest", "pytest-timeout", "pytest-xdist", "trustme")


def lowest() -> dict[str, str]:
    """By the package of an extra the version that it begins with."""
    found = {}
    for requirement in (one for extra, all_ in EXTRAS.items() if extra != "all" for one in all_):
        name, _, version = requirement.partition(">=")
        assert re.fullmatch(r"\d+(\.\d+)*", version), requirement
        found[name] = version
    return found


def test_every_sdk_is_in_the_table() -> None:
    """A new one needs a row."""
    assert CORE.keys() == lowest().keys() - _OF_ALL


@pytest.fixture(scope="session")
def oldest() -> Path:
    """The Python of an environment with the oldest versions, made once, beside that of the tests; the checkout is new.

    Of what is behind an SDK it has the newest version that goes with it, as a user's has who upgrades nothing else.
    """
    folder = BIN.parent.with_name(f"{BIN.parent.name}-oldest")
    python = folder / "bin/python3"
    pinned = [f"{one}=={lowest()[name]}" for name, others in _BEHIND.items() for one in others]
    wanted = "\n".join((sys.version, *sorted(map(str, EXTRAS.items())), *pinned, *_NEEDED))
    with Path(__file__).open("rb") as lock:  # two workers make it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made-of").exists() or (folder / "made-of").read_text() != wanted:
            run(UV, "venv", "-q", "--clear", "--python", sys.executable, folder)
            into = (UV, "pip", "install", "-q", "--python", python)
            run(*into, "--resolution", "lowest-direct", f"{ROOT}[all]", *pinned)
            run(*into, *_NEEDED)
            (folder / "made-of").write_text(wanted)
        run(UV, "pip", "install", "-q", "--python", python, "--reinstall", "--no-deps", ROOT)
    return python


def chosen(sdk: str, oldest: Path) -> list[str]:
    """The tests of an SDK by their ids."""
    script = f"from importlib.metadata import version; print(version({sdk!r}))"
    found = subprocess.run([oldest, "-I", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert found.split(".")[: lowest()[sdk].count(".") + 1] == lowest()[sdk].split(".")

    files, words = CORE[sdk]
    command: list[str | Path] = [oldest, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", "-k", words]
    command += [f"tests/{name}" for name in files]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in told.splitlines() if "::" in line]


def do_as_ever(oldest: Path, tests: list[str], *more: str) -> None:
    """The same tests, the same answers."""
    command: list[str | Path] = [oldest, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "300"]
    command += [*more, *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
@pytest.mark.parametrize("sdk", CORE)
def test_the_oldest_version_sample(sdk: str, oldest: Path) -> None:
    """A few of its tests."""
    tests = chosen(sdk, oldest)
    do_as_ever(oldest, random.Random(SEED).sample(tests, min(len(tests), 8)))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sdk", CORE)
def test_the_oldest_version_whole(sdk: str, oldest: Path, proof: Callable[[str, str], None]) -> None:
    """All of them."""
    tests = chosen(sdk, oldest)
    do_as_ever(oldest, tests, "-n", "2")
    proof(f"the oldest {sdk} does what the newest does", f"{sdk} {lowest()[sdk]}, {len(tests)} tests")
