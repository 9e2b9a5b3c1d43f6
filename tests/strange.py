"""Packages of somebody else's, made by hand: what is in `site-packages` where one announces a source."""

from __future__ import annotations

import os
import textwrap
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PATTERN = "<zone:word>.registry.toycloud.example"
SOURCE = f"""
RULES = (("{PATTERN}", {{"cloud": "toy"}}, ""),)
SETTINGS = {{"zone": ("a zone", "[a-z]{{2}}", "which"), "lasting": ("true or false", bool, "how long")}}
def contradiction(settings):
    return "`lasting` needs `zone`" if "lasting" in settings and "zone" not in settings else ""
"""


def add(packages: Path, word: str = "toy", text: str = SOURCE, *, module: str = "", package: str = "") -> None:
    """Install the source, in a module of this text."""
    module = module or f"strange_{word}"
    (packages / "__pycache__").mkdir(parents=True, exist_ok=True)  # as an installer leaves it
    (packages / f"{module}.py").write_text(textwrap.dedent(text))
    announce(packages, f"[credhelpers.sources]\n{word} = {module}:Toy\n", package or f"credhelpers_{word}-1.0")


def announce(packages: Path, text: str, package: str = "credhelpers_toy-1.0") -> Path:
    """Have a package announce this."""
    info = packages / f"{package}.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(text)
    past = time.time() - 60
    os.utime(info, (past, past))
    return info
