"""Fixtures that all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("tests.contract", "tests.harness")
pytest_plugins = ["tests.proofs"]

from tests.fakes.source import Clock  # noqa: E402 - what a test asserts must be rewritten before it is imported
from tests.fakes.tls import CertificateAuthority  # noqa: E402 - as above
from tests.services import Vault  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the sweeps where workers share the tests, lest one of them is left to the end.

    A sweep is a test that is marked as slow itself. A module so marked has many, which are short enough. Each worker
    begins with a part of the list, cut as xdist cuts it, and takes from the ends of others when it is done.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if workers == 1:
        return
    sweeps = [item for item in items if any(mark.name == "slow" for mark in item.own_markers)]
    others = [item for item in items if item not in sweeps]
    total = len(items)
    items.clear()
    for worker in range(workers):
        part = sweeps[worker::workers]
        size = max((total - len(items)) // (workers - worker) - len(part), 0)
        items += part + others[:size]
        del others[:size]
    items += others


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """The one certificate authority of the test run."""
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def vault() -> Iterator[Vault]:
    """The one development server of the test run: a test makes its own mounts, policies and tokens in it."""
    with Vault() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the core notes for `CREDHELPERS_DEBUG` in one test is not told in another."""
    monkeypatch.setattr("credhelpers.notes._taken", [])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home directory."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows where this user lives, unless HOME says so: no entry in the password database has the number."""
    monkeypatch.setattr("credhelpers.identity.posix.getuid", lambda: 54321)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the cache's modules; their sleep moves it, and the monotonic one goes along."""
    fake = Clock()
    for module in ("cached_token", "cache", "tokens"):
        monkeypatch.setattr(f"credhelpers.{module}.time", fake)

    def sleep(seconds: float) -> None:
        fake.now += seconds

    monkeypatch.setattr("credhelpers.tokens.monotonic", fake)
    monkeypatch.setattr("credhelpers.tokens.sleep", sleep)
    return fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private cache directory."""
    path = tmp_path / "cache"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def entered(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of the test that other users can enter, too.

    Directories that other workers share stay open, since each of them may need that; every start of pytest closes them.
    """
    base = tmp_path_factory.getbasetemp()
    for place in base.parents:
        if not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    places = [place for place in (tmp_path, *tmp_path.parents) if place.is_relative_to(base)]
    modes = {place: place.stat().st_mode for place in places}
    for place, mode in modes.items():
        place.chmod(mode | 0o011)
    yield tmp_path
    for place, mode in modes.items():
        place.chmod(mode)
