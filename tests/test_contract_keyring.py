"""docker-credential-keyring speaks the protocol, with the embedded store and with a keyring of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import contract
from tests.harness import environment
from tests.services import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestEmbeddedStore(contract.StoreContract):
    """On a machine without a session bus: the one store for which every row starts the executable."""

    name = "keyring"
    forks = False

    @pytest.fixture
    def env(self, home: Path) -> dict[str, str]:
        return environment(home)

    @pytest.fixture
    def broken(self, env: dict[str, str], present: str, home: Path) -> dict[str, str]:
        (home / ".local/share/credhelpers").chmod(0o777)
        return env


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    """One for all rows; each leaves it empty."""
    with Session() as session:
        yield session


class TestSecretService(contract.StoreContract):
    """With gnome-keyring on a session bus."""

    name = "keyring"

    @pytest.fixture
    def env(self, home: Path, session: Session) -> Iterator[dict[str, str]]:
        yield environment(home, **session.env)
        session.clear()

    @pytest.fixture
    def broken(self, env: dict[str, str], present: str, home: Path) -> dict[str, str]:
        return env | {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={home}/of-another-session"}
