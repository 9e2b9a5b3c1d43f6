"""Whether the tests of a core module notice what is wrong with it: small defects, made one by one."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import mutants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT, SEED, LEAST = 40, 1, 0.95

_TOY = '''
"""Documentation."""
TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
LIMIT = 7
def f(a: int, b: bool = True) -> "int":
    """More of it."""
    for x in a:
        if not b and x < LIMIT:
            continue
        if x:
            note(x)
    return x
'''


def _told(done: subprocess.CompletedProcess[str]) -> tuple[int, int]:
    """How many of how many are killed."""
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    return int(words[1]), int(words[3])


def _run(module: str, count: int, seed: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.mutants", module, f"--count={count}", f"--seed={seed}"]
    return subprocess.run(command, cwd=mutants.ROOT, capture_output=True, text=True, check=False)


def test_what_is_made_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One change each, never of what is for readers."""
    (tmp_path / "credhelpers").mkdir()
    (tmp_path / "credhelpers/toy.py").write_text(_TOY)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    found = mutants.mutants("toy")
    assert [mutant.name.removeprefix("toy ") for mutant in found] == [
        "module: LIMIT = 7 -> pass",
        "module: 7 -> 8",
        "module: 7 -> 6",
        "f: True -> False",
        "f: if not b and x < LIMIT: -> if not (not b and x < LIMIT):",
        "f: not b and x < LIMIT -> not b or x < LIMIT",
        "f: not b -> b",
        "f: x < LIMIT -> x <= LIMIT",
        "f: continue -> pass",
        "f: if x: -> if not x:",
        "f: note(x) -> pass",
        "f: return x -> return None",
    ]
    whole = ast.unparse(ast.parse(_TOY))
    texts = {ast.unparse(mutant.tree) for mutant in found}
    assert len(texts) == len(found)
    assert whole not in texts
    assert len({mutant.name for mutant in found}) == len(found)


def test_every_survivor_is_one() -> None:
    """A reason is given for what is in the module, and no core module is without tests."""
    names = {mutant.name for module in mutants.core() for mutant in mutants.mutants(module)}
    assert set(mutants.known()) <= names
    assert all(mutants.known().values())
    for module in mutants.core():
        assert all(path.exists() for path in mutants.tests_of(module)), module


@pytest.mark.slow
def test_tests_notice_a_defect_sample() -> None:
    """A few of one small module."""
    killed, made = _told(_run("credential", 3, SEED))
    assert killed == made > 0


@pytest.mark.long
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("module", mutants.core())
def test_tests_notice_a_defect_whole(module: str, proof: Callable[[str, str], None]) -> None:
    """At least nineteen of twenty, of those that are something else than the module."""
    done = _run(module, COUNT, SEED)
    killed, made = _told(done)
    assert killed >= LEAST * made, done.stdout
    proof(f"mutants: the tests of `{module}` notice a defect", f"{killed} of {made}, seed {SEED}")
