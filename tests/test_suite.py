"""How the tests are run: the environment that is kept, the long proofs, the order."""

from __future__ import annotations

import ast
import datetime as dt
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import conftest, harness, proofs
from tests import environment as environments
from tests.fakes.azure import HOST
from tests.harness import BIN, Result, environment, execute, fork

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent


class Checkout:
    """A copy of what an environment is made of; `made` is what pip was told, without its doing so."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "checkout"
        self.folder = folder / "kept"
        self.made: list[str] = []
        for name in ("credhelpers", "entrypoints"):
            shutil.copytree(ROOT / name, self.root / name)
        for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, self.root)
        monkeypatch.setattr(environments, "ROOT", self.root)
        monkeypatch.setattr(environments, "_pip", self.pip)

    def pip(self, folder: Path, *arguments: str) -> None:
        self.made.append(" ".join(arguments))
        if "--force-reinstall" in arguments:
            (packages,) = folder.glob("lib/python3*/site-packages")
            shutil.copytree(self.root / "credhelpers", packages / "credhelpers", dirs_exist_ok=True)
            launcher = (self.root / "credhelpers/launcher").read_text()
            for source in (self.root / "entrypoints").iterdir():
                (folder / "bin" / source.name).write_text(launcher + source.read_text())

    def change(self, old: str, new: str) -> None:
        """Put another word into `pyproject.toml`."""
        project = self.root / "pyproject.toml"
        assert old in project.read_text()
        project.write_text(project.read_text().replace(old, new))

    def run(self) -> int:
        """How often pip had something to do."""
        before = len(self.made)
        environments.main(self.folder)
        return len(self.made) - before


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """With its environment made."""
    checkout = Checkout(tmp_path, monkeypatch)
    run = subprocess.run

    def without_pip(command: list[str], *, check: bool) -> None:
        run([*command, "--without-pip"], check=check)

    monkeypatch.setattr(subprocess, "run", without_pip)
    assert checkout.run() == 3
    return checkout


def test_an_environment_is_made_once(checkout: Checkout) -> None:
    """The second run installs nothing."""
    assert checkout.run() == 0


@pytest.mark.parametrize(
    ("change", "installs"),
    [
        pytest.param(lambda checkout: (checkout.root / "credhelpers/errors.py").write_text("# new"), 1, id="a module"),
        pytest.param(lambda checkout: (checkout.root / "credhelpers/new.py").touch(), 1, id="a new module"),
        pytest.param(lambda checkout: (checkout.root / "README.md").write_text("new"), 1, id="README"),
        pytest.param(
            lambda checkout: (checkout.root / "entrypoints/docker-credential-acr").write_text("new"), 1, id="executable"
        ),
        pytest.param(lambda checkout: (checkout.root / "credhelpers/launcher").write_text("new"), 1, id="the launcher"),
        pytest.param(lambda checkout: (checkout.root / "hatch_build.py").write_text("new"), 1, id="the build"),
        pytest.param(
            lambda checkout: (checkout.folder / "bin/docker-credential-acr").unlink(), 1, id="an executable is gone"
        ),
        pytest.param(
            lambda checkout: next(checkout.folder.glob("lib/*/site-packages/credhelpers/errors.py")).write_text("old"),
            1,
            id="another installation",
        ),
        pytest.param(lambda checkout: checkout.change("slow: needs", "slow: lacks"), 1, id="another setting"),
        pytest.param(lambda checkout: checkout.change("hypothesis>=6", "hypothesis>=6.1"), 3, id="a test's dependency"),
        pytest.param(lambda checkout: checkout.change("jeepney>=0.8", "jeepney>=0.9"), 3, id="a dependency"),
        pytest.param(lambda checkout: checkout.change("hatchling>=1.25", "hatchling>=1.26"), 3, id="the build's"),
    ],
)
def test_what_has_changed_is_installed(change: Callable[[Checkout], object], installs: int, checkout: Checkout) -> None:
    """No test meets an older installation, and only other dependencies cost another environment."""
    change(checkout)
    assert checkout.run() == installs
    assert checkout.run() == 0


@pytest.mark.parametrize("name", ["version", "base_prefix"])
def test_another_python_makes_another_environment(
    name: str, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade nothing of the old one is left."""
    (checkout.folder / "left").touch()
    monkeypatch.setattr(sys, name, "another")
    assert checkout.run() == 3
    assert not (checkout.folder / "left").exists()


def test_an_environment_that_was_moved_is_made_anew(checkout: Checkout) -> None:
    """Its programs would start another one."""
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.run() == 3


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Checkout, tmp_path: Path) -> None:
    """Whatever the variable names."""
    (tmp_path / "photos").mkdir()
    checkout.folder = tmp_path / "photos"
    with pytest.raises(SystemExit, match="is no environment of Python"):
        checkout.run()
    assert checkout.folder.exists()


# --- long proofs ---


def test_a_row_of_the_page_is_written_anew() -> None:
    """What ran has today's figures, and what did not run keeps its own."""
    page = proofs.page(proofs.PAGE.read_text(), {"b": "older figures", "a": "2 of 2"}, "abc", dt.date(2026, 1, 2))
    page = proofs.page(page, {"b": "3 of 3"}, "def", dt.date(2026, 1, 3))
    assert page.startswith("# Long proofs\n")
    assert "| a | 2 of 2 | 2026-01-02 | abc |\n" in page
    assert "| b | 3 of 3 | 2026-01-03 | def |\n" in page
    assert "older figures" not in page


_LONG = """
import pytest

@pytest.mark.long
def test_whole(proof):
    proof("it holds", "7 of 7")

def test_sample():
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "outcome", "is_told"),
    [
        pytest.param([], "1 passed, 1 deselected", False, id="as ever"),
        pytest.param(["--long"], "1 passed, 1 deselected", True, id="long"),
        pytest.param(["--long", "-n", "2"], "1 passed", True, id="by workers"),
    ],
)
def test_long_proofs_run_alone(options: list[str], outcome: str, *, is_told: bool, tmp_path: Path) -> None:
    """With `--long`, which writes what they have shown, and never without."""
    for name in ("tests", "docs"):
        (tmp_path / name).mkdir()
    shutil.copy(proofs.__file__, tmp_path / "tests")
    page = shutil.copy(proofs.PAGE, tmp_path / "docs")
    before = Path(page).read_text()
    (tmp_path / "tests/test_long.py").write_text(_LONG)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long\npythonpath = .\n")
    for command in (
        ["git", "init", "-q"],
        ["git", "add", "."],
        ["git", "-c", "user.name=x", "-c", "user.email=x@x.example", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.proofs", "--import-mode=importlib", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout, done.stdout + done.stderr
    told = Path(page).read_text()
    assert (told != before) is is_told
    assert ("| it holds | 7 of 7 | " in told) is is_told
    assert "and changes" not in told


def test_a_long_proof_has_a_sample() -> None:
    """Each is called `…_whole`, and `…_sample` beside it always runs."""
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        marked = {node.name: "mark.long" in "".join(map(ast.unparse, node.decorator_list)) for node in functions}
        for name in (name for name, is_long in marked.items() if is_long):
            assert name.endswith("_whole"), name
            assert marked.get(f"{name.removesuffix('_whole')}_sample") is False, name


# --- the order ---


class _Item:
    def __init__(self, name: str, *, is_slow: bool) -> None:
        self.name = name
        self.own_markers = [pytest.mark.slow.mark] if is_slow else []


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("slow", "quick"), [(0, 0), (3, 0), (0, 17), (9, 100), (30, 5)])
def test_each_worker_begins_with_sweeps(workers: int, slow: int, quick: int) -> None:
    """All tests are there once, and those of a part of the list that last begin it."""
    items = [_Item(f"quick-{n}", is_slow=False) for n in range(quick)] + [
        _Item(f"slow-{n}", is_slow=True) for n in range(slow)
    ]
    ordered = list(items)
    config = type("Config", (), {"workerinput": {"workercount": workers}})()
    conftest.pytest_collection_modifyitems(config, ordered)  # type: ignore[arg-type]
    assert sorted(item.name for item in ordered) == sorted(item.name for item in items)
    if slow and workers > 1 and slow < quick:
        left, parts = list(ordered), []
        for worker in range(workers):
            size = len(left) // (workers - worker)  # as xdist cuts it
            parts.append(left[:size])
            del left[:size]
        assert all(part[0].name.startswith("slow") for part in parts if slow >= workers)
        assert [item.name for part in parts for item in part if item.name.startswith("quick")] == [
            f"quick-{n}" for n in range(quick)
        ]


# --- a call in the fork of a process that has everything loaded ---


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        pytest.param(("version",), b"", id="version"),
        pytest.param(("--help",), b"", id="help"),
        pytest.param((), b"", id="no arguments"),
        pytest.param(("get",), b"ghcr.io", id="not found"),
        pytest.param(("get",), HOST.encode(), id="a hint"),
        pytest.param(("list",), b"unused", id="list"),
        pytest.param(("store",), b"{", id="no document"),
    ],
)
@pytest.mark.parametrize("name", ["ecr", "gcr", "acr", "vault"])
def test_a_fork_says_what_the_executable_says(name: str, arguments: tuple[str, ...], stdin: bytes, home: Path) -> None:
    """Every time: the first call imports what the others find."""
    program = BIN / f"docker-credential-{name}"

    def said(run: Callable[..., Result]) -> tuple[int, bytes, bytes]:
        done = run(program, *arguments, stdin=stdin, env=environment(home))
        return done.code, done.out, re.sub(rb" remembered for \d+ s;", b"", done.err)

    expected = said(execute)
    for _ in range(3):
        assert said(fork) == expected


_CALL = """
import os, sys
print(sorted(os.environ), os.environ.get("HOME"), os.getcwd(), sys.argv[1:], sys.stdin.read(), os.listdir("/dev/fd"))
print(os.environ.get("SEEN"), file=sys.stderr)
sys.path.append({packages!r})
{imports}
sys.stdout.flush()
os._exit({code})
"""


class Toy:
    """An executable that shows what it has got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        self.program = self.folder / "docker-credential-toy"
        self.env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.folder)}
        self.started: list[Path] = []
        self.packages = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        (self.folder / "python3").symlink_to(sys.executable)

    def write(self, imports: str = "", code: int = 0) -> None:
        self.program.write_text(
            f"#!{sys.executable} -ISs\n" + _CALL.format(imports=imports, code=code, packages=str(self.packages))
        )
        self.program.chmod(0o755)

    def library(self, text: str) -> None:
        """What the executable imports, where a process that has it loaded looks for it too."""
        self.packages.mkdir(parents=True)
        (self.packages / "library.py").write_text(text)

    def fork(self, stdin: bytes = b"", **more: str) -> Result:
        return fork(self.program, "a", "b c", stdin=stdin, env=self.env | more, cwd=self.folder)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Written; `started` is what was executed instead."""
    toy = Toy(tmp_path)
    toy.write()
    really = harness.execute

    def note(program: Path, *arguments: str, **more: Any) -> Result:
        toy.started.append(program)
        return really(program, *arguments, **more)

    monkeypatch.setattr(harness, "execute", note)
    return toy


def test_a_fork_has_what_its_caller_gives(toy: Toy) -> None:
    """Environment, directory, arguments and streams, and no descriptor besides, but that by which it tells."""
    done = toy.fork(b"input", ANOTHER="1")
    assert done.code == 0
    said = done.out.decode()
    assert said.startswith(
        f"['ANOTHER', 'HOME', 'LANG', 'PATH'] {toy.folder} {toy.folder} ['a', 'b c'] input ['0', '1', '2', "
    ), said
    assert done.err == b"None\n"
    assert not toy.started


def test_the_exit_code_of_a_fork(toy: Toy) -> None:
    """Is the executable's."""
    toy.write(code=7)
    assert toy.fork().code == 7


def test_a_fork_that_takes_too_long_is_killed(toy: Toy) -> None:
    """As `subprocess.run` does it."""
    toy.write("import time; time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        fork(toy.program, env=toy.env, deadline=1)


@pytest.mark.parametrize(
    "more",
    [{"PYTHONHASHSEED": "1"}, {"LD_PRELOAD": ""}, {"LC_ALL": "C"}, {"LANG": "C"}, {"TZ": "UTC"}],
    ids=lambda more: next(iter(more)),
)
def test_what_changes_the_start_is_executed(toy: Toy, more: dict[str, str]) -> None:
    """A fork has been started before."""
    assert toy.fork(b"", **more).code == 0
    assert toy.started == [toy.program]


def test_a_variable_that_was_looked_at_too_early_is_executed(toy: Toy) -> None:
    """A library that asks while it is imported would go on with the answer of another call."""
    toy.library("import os\nFOUND = os.environ.get('EARLY')\n")
    toy.write("import library; print(library.FOUND)")
    for turn in range(3):
        assert toy.fork(EARLY=str(turn)).out.decode().splitlines()[-1] == str(turn)
        assert toy.fork().out.decode().splitlines()[-1] == "None"
    assert 1 <= len(toy.started) <= 3


def test_a_home_that_was_looked_at_too_early_is_put_right(toy: Toy) -> None:
    """botocore does so in four places, and every test has a home of its own."""
    toy.library("import os\nFOUND = os.path.expanduser('~/x')\nclass Class:\n    FOUND = os.path.expanduser('~/y')\n")
    toy.write("import library; print(library.FOUND, library.Class.FOUND)")
    for home in ("/a", "/b", "/c"):
        assert toy.fork(HOME=home).out.decode().splitlines()[-1] == f"{home}/x {home}/y"
    assert not toy.started
