"""Which program a helper's word in a client's file starts: `docker-credential-WORD`, the first of that name on PATH."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "docker-credential-"


@dataclass(frozen=True)
class HelperNames:
    """The words that are ours.

    own:       those of our executables
    stand_ins: from the word of another's helper to the one of ours that `install.sh --replace` starts under its name
    path:      the directories in which clients look
    """

    own: frozenset[str]
    stand_ins: Mapping[str, str]
    path: str

    def started(self, word: str) -> str:
        """The word of ours that a client starts for this one, "" if it is another's program or none."""
        if word in self.own:
            return word
        own = self.stand_ins.get(word, "")
        return own if own and self._program(word) == own else ""

    def replaceable(self, words: set[str]) -> list[str]:
        """Those of them that ours can stand in for, and does not yet."""
        return [word for word, own in self.stand_ins.items() if word in words and self._program(word) != own]

    @property
    def only_ours(self) -> frozenset[str]:
        """The words that nobody else's program on PATH has: without us, a line with one of them leads nowhere."""
        return frozenset(word for word in self.own if not self._is_elsewhere(word))

    def _program(self, word: str) -> str:
        path = shutil.which(PREFIX + word, path=self.path)
        return Path(os.path.realpath(path)).name.removeprefix(PREFIX) if path else ""

    def _is_elsewhere(self, word: str) -> bool:
        files = [Path(folder, PREFIX + word) for folder in self.path.split(os.pathsep) if folder]
        return any(os.access(file, os.X_OK) and "credhelpers" not in os.path.realpath(file) for file in files)
