"""Mutants: a core module with one small defect each, which its own tests must notice.

    .test-env/bin/python3 -m tests.mutants [MODULE ...] [--count N] [--seed N] [--all]

Each mutant is one change of the module's syntax tree: a comparison the other way, a number one more or less, `and`
for `or`, a `not` that is gone, a statement that is gone, a result that is None. It is imported in the place of the
module in the fork of a process, in which the module's own tests run until one fails. So what a test starts as a program
of its own runs without the defect, and does not count. A mutant that no test notices has survived; those that mean the
same as the module, or that no test can reach in a process, are in `survivors.txt` beside this file, each with a reason.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec

ROOT = Path(__file__).parent.parent
SURVIVORS = Path(__file__).with_name("survivors.txt")
PATIENCE = 5  # times what the tests take without a defect, and no less than
LEAST_PATIENCE = 30.0  # seconds: some defects wait
_OWN = {  # where a module's tests are not in the file of its name
    "mkdir": ("cache",),
    "notes": ("cache",),
    "private": ("cached_token", "cache"),
    "protocols/docker": ("docker",),
    "protocols/document": ("document",),
    "recorder": ("receipt",),
    "servers": ("hosts",),
    "config/compile": ("config", "plan"),
    "config/file": ("config", "plan"),
    "config/lines": ("config", "plan"),
    "config/schema": ("config", "plan"),
}
_FLIPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def core() -> list[str]:
    """The modules that `tests/run` holds to complete coverage, without suffix."""
    found = re.search(r"for module in ([^;]+); do", (ROOT / "tests/run").read_text())
    assert found
    return found[1].replace("\\\n", " ").split()


def tests_of(module: str) -> list[Path]:
    """The files of the module's own tests."""
    return [ROOT / f"tests/test_{name}.py" for name in _OWN.get(module, (module,))]


_Step = tuple[str, int | None]


@dataclass(frozen=True)
class Mutant:
    """A defect: where it is, in which words, and what stands in the place of what in the module's tree."""

    module: str
    place: str
    change: str
    line: int
    path: list[_Step]
    after: ast.AST

    @property
    def name(self) -> str:
        """As `survivors.txt` has it: it does not change while the function's text stays."""
        return f"{self.module} {self.place}: {self.change}"

    @property
    def tree(self) -> ast.Module:
        """The module's, with the defect."""
        tree = ast.parse((ROOT / f"credhelpers/{self.module}.py").read_text())
        _put(tree, self.path, self.after)
        return ast.fix_missing_locations(tree)


def mutants(module: str) -> list[Mutant]:
    """All of the module, in its order."""
    tree = ast.parse((ROOT / f"credhelpers/{module}.py").read_text())
    found: list[Mutant] = []
    counts: Counter[tuple[str, str]] = Counter()
    for place, path, node in _nodes(tree):
        for after in _changes(node):
            change = f"{_shown(node)} -> {_shown(after)}"
            counts[place, change] += 1
            if (twin := counts[place, change]) > 1:
                change += f" #{twin}"
            found.append(Mutant(module, place, change, node.lineno, path, after))
    return found


def _nodes(tree: ast.Module) -> Iterator[tuple[str, list[_Step], ast.stmt | ast.expr]]:
    """Statements and expressions that run, each with its function, and the way to it from the root."""

    def below(node: ast.AST, place: str, path: list[_Step]) -> Iterator[tuple[str, list[_Step], ast.stmt | ast.expr]]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            place = f"{place}.{node.name}".removeprefix(".")
        for field, value in ast.iter_fields(node):
            if field in {"annotation", "returns", "decorator_list", "type_ignores"}:
                continue
            for number, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST) or _is_for_readers(child):
                    continue
                step = [*path, (field, number)]
                if isinstance(child, ast.stmt | ast.expr):
                    yield place or "module", step, child
                yield from below(child, place, step)

    return below(tree, "", [])


def _is_for_readers(node: ast.AST) -> bool:
    """Documentation, types, and what only makes instances smaller."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in {"__slots__", "TYPE_CHECKING"}
    return False


def _changes(node: ast.stmt | ast.expr) -> Iterator[ast.stmt | ast.expr]:
    """What may stand in the place of the node."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                operators = [*node.ops[:number], _FLIPS[type(operator)](), *node.ops[number + 1 :]]
                yield ast.Compare(node.left, operators, node.comparators)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.BoolOp():
            yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
        case ast.UnaryOp(ast.Not()):
            yield node.operand
        case ast.If() | ast.While() | ast.IfExp() if not _is_changed_itself(node.test):
            changed = copy.copy(node)
            changed.test = ast.UnaryOp(ast.Not(), node.test)
            yield changed
        case ast.Return() if node.value and ast.unparse(node.value) not in {"None", "False"}:
            yield ast.Return(ast.Constant(None))
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield ast.Pass()


def _is_changed_itself(test: ast.expr) -> bool:
    is_not = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    return is_not or isinstance(test, ast.Compare | ast.Constant)


def _put(tree: ast.AST, path: list[_Step], after: ast.AST) -> None:
    for field, number in path[:-1]:
        tree = getattr(tree, field) if number is None else getattr(tree, field)[number]
    field, number = path[-1]
    if number is None:
        setattr(tree, field, after)
    else:
        getattr(tree, field)[number] = after


def _shown(node: ast.AST) -> str:
    """In one line; of a statement with others below it the first."""
    text = ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).partition("\n")[0]
    return text if len(text) <= 100 else f"{text[:97]}..."


# --- running ----------------------------------------------------------------------------------------------------------


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant for its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = "credhelpers." + mutant.module.replace("/", ".")
        self._file = str(ROOT / f"credhelpers/{mutant.module}.py")
        self._code = compile(mutant.tree, self._file, "exec")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._file, loader=self)

    def exec_module(self, module: types.ModuleType) -> None:
        exec(self._code, module.__dict__)


def survives(tests: list[Path], mutant: Mutant | None, patience: float) -> bool:
    """Whether the tests have nothing to say about it within so many seconds; without a mutant, about the module."""
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if child == 0:
            _run(tests, mutant, Path(folder))
        end = time.monotonic() + patience
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < end:
            time.sleep(0.02)
            ended, status = os.waitpid(child, os.WNOHANG)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # with what its tests have started
        if not ended:
            os.waitpid(child, 0)
    return bool(ended) and os.waitstatus_to_exitcode(status) == 0


def _run(tests: list[Path], mutant: Mutant | None, folder: Path) -> None:
    """Run the tests in this process, and end it."""
    os.setpgid(0, 0)
    code = 1
    try:
        (folder / "home").mkdir(mode=0o700)
        for name in [name for name in os.environ if name.startswith(("XDG_", "CREDHELPERS_"))]:
            del os.environ[name]
        os.environ["HOME"] = str(folder / "home")
        nowhere = os.open(os.devnull, os.O_RDWR) if not os.environ.get("MUTANTS_TOLD") else 2
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        if mutant:
            sys.meta_path.insert(0, _Finder(mutant))
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
        code = int(pytest.main([*options, f"--basetemp={folder}/tests", *map(str, tests)]))
    finally:
        sys.stdout.flush()
        os._exit(code)


def sampled(module: str, count: int, seed: int) -> list[Mutant]:
    """So many mutants of the module, in its order, drawn with a seed. All of them if there are no more."""
    found = mutants(module)
    chosen = random.Random(f"{seed} {module}").sample(range(len(found)), min(count, len(found)))
    return [found[number] for number in sorted(chosen)]


def known() -> dict[str, str]:
    """The survivors that are known, with why."""
    lines = [line for line in SURVIVORS.read_text().splitlines() if line and not line.startswith("#")]
    return {name: reason for name, _, reason in (line.partition(" | ") for line in lines)}


def survivors(module: str, chosen: list[Mutant]) -> list[Mutant]:
    """Those of them that the module's own tests let live."""
    import pytest  # noqa: F401 - once, for all forks
    import trustme  # noqa: F401 - as above

    assert not any(name.partition(".")[0] == "credhelpers" for name in sys.modules), "loaded before its mutant"
    tests = tests_of(module)
    began = time.monotonic()
    assert survives(tests, None, 600), f"the tests of {module} fail without any defect"
    patience = max(PATIENCE * (time.monotonic() - began), LEAST_PATIENCE)
    return [mutant for mutant in chosen if survives(tests, mutant, patience)]


def main() -> None:
    """Print what survives, and how many are killed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("module", nargs="*", default=core())
    parser.add_argument("--count", type=int, default=40, help="of each module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="all of them, and no sample")
    options = parser.parse_args()
    reasons = known()
    for module in options.module:
        chosen = mutants(module) if options.all else sampled(module, options.count, options.seed)
        chosen = [mutant for mutant in chosen if mutant.name not in reasons]
        left = survivors(module, chosen)
        share = 100 * (1 - len(left) / len(chosen)) if chosen else 100
        print(f"{module}: {len(chosen) - len(left)} of {len(chosen)} killed, {share:.1f} %", flush=True)  # noqa: T201
        for mutant in left:
            print(f"    {mutant.line:4} {mutant.name}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
