"""Builds the executables: each is `credhelpers/launcher` with what the file in `entrypoints/` composes behind it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Executables(BuildHookInterface):  # type: ignore[type-arg] # of a configuration that it has none of
    """Adds them to the wheel, of an editable installation too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        """Write them where the build takes them from."""
        self._folder = tempfile.TemporaryDirectory()
        root = Path(self.root)
        launcher = (root / "credhelpers/launcher").read_bytes()
        for source in (root / "entrypoints").iterdir():
            target = Path(self._folder.name, source.name)
            target.write_bytes(launcher + source.read_bytes())
            target.chmod(0o755)
            build_data["shared_scripts"][str(target)] = source.name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - as above
        """Remove them."""
        self._folder.cleanup()
