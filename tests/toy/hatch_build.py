"""Builds the executable: the launcher of credhelpers, with what it is made of behind it."""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "docker-credential-toy"


class Executable(BuildHookInterface):  # type: ignore[type-arg] # of a configuration that it has none of
    """Adds it to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write it where the build takes it from."""
        self._folder = tempfile.TemporaryDirectory()
        target = Path(self._folder.name, NAME)
        launcher = (files("credhelpers") / "launcher").read_bytes()
        target.write_bytes(launcher + Path(self.root, NAME).read_bytes())
        target.chmod(0o755)
        build_data["shared_scripts"][str(target)] = NAME

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove it."""
        self._folder.cleanup()
