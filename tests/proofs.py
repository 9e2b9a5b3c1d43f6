"""Long proofs: tests with the marker `long`, which `--long` runs, and the page that tells what they have shown."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/proofs.md"
_PROPERTY = "proof: "
_TABLE = "| proof | figures | date | commit |\n| --- | --- | --- | --- |\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.addoption("--long", action="store_true", help="run the long proofs, and nothing else")


def pytest_configure(config: pytest.Config) -> None:
    """Whoever runs the tests, and not a worker of his, writes the page."""
    if config.getoption("--long") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Page(), "proofs-page")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long proofs, or all but them."""
    is_long = config.getoption("--long")
    left_out = [item for item in items if bool(item.get_closest_marker("long")) != is_long]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if bool(item.get_closest_marker("long")) == is_long]


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Tell what a test has shown: a sentence, which is its name in the page, and its figures."""

    def tell(name: str, figures: str) -> None:
        assert not {"|", "\n"} & {*name, *figures}, "it is a row of a table"
        request.node.user_properties.append((f"{_PROPERTY}{name}", figures))

    return tell


class _Page:
    """Gathers what the tests tell, and writes it down at the end."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._told |= {
                str(name).removeprefix(_PROPERTY): str(figures)
                for name, figures in report.user_properties
                if str(name).startswith(_PROPERTY)
            }

    def pytest_sessionfinish(self) -> None:
        if self._told:
            PAGE.write_text(page(PAGE.read_text(), self._told, _commit(), dt.datetime.now(dt.UTC).date()))


def page(old: str, told: dict[str, str], commit: str, day: dt.date) -> str:
    """The page with these rows for what was proved today, and with the others as they were."""
    head, found, rows = old.partition(_TABLE)
    assert found, f"{PAGE.name} has no table"
    lines = {row.split(" | ")[0].removeprefix("| "): row for row in rows.splitlines()}
    lines |= {name: f"| {name} | {figures} | {day} | {commit} |" for name, figures in told.items()}
    return head + _TABLE + "".join(f"{lines[name]}\n" for name in sorted(lines))


def _commit() -> str:
    """What was tested, with a word more where that is in no commit."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run([*git, "rev-parse", "--short=9", "HEAD"], capture_output=True, text=True, check=True).stdout
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout
    return name.strip() + (" and changes" if changed else "")
