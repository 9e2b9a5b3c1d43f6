"""Input that never ends: for every executable and verb at the same time, since each takes its whole ten seconds."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import BIN, environment, patience

pytestmark = pytest.mark.slow

ENDLESS = b"standard input did not end within the time limit\n"
HELPERS = sorted(path.name for path in (Path(__file__).parent.parent / "entrypoints").iterdir())
VERBS = ("get", "store", "erase", "list")


def test_p38_input_that_never_ends(home: Path) -> None:
    """Every verb of every helper ends before the ten seconds are over after which Bazel kills it, with one line."""
    with ExitStack() as stack:
        calls = {}
        for name in HELPERS:
            for verb in VERBS:
                process = subprocess.Popen(
                    [BIN / name, verb],
                    env=environment(home),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
                stack.callback(process.kill)
                calls[name, verb] = stack.enter_context(process), time.monotonic()
        took = {}
        for call, (process, started) in calls.items():
            assert process.wait(timeout=20) == 1, call
            took[call] = time.monotonic() - started
        for call, (process, _) in calls.items():
            assert process.stdout
            assert process.stdout.read() == ENDLESS, call
            assert process.stderr
            assert b"docker-credential-" in process.stderr.read(), "the hint is a command, and blames no registry"
    assert max(took.values()) < 9.8 + patience(0.7), took
