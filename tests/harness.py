"""How tests drive the installed executables from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

BIN = Path(sys.executable).parent
NOT_FOUND = b"credentials not found in native keychain\n"


@dataclass(frozen=True)
class Result:
    """What a client sees of one call."""

    code: int
    out: bytes
    err: bytes

    @property
    def credential(self) -> dict[str, str]:
        """The answer of a successful `get`."""
        assert self.code == 0, self
        assert self.err == b"", self
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        assert set(answer) == {"ServerURL", "Username", "Secret"}
        return answer

    @property
    def listing(self) -> dict[str, str]:
        """The answer of a successful `list`."""
        assert self.code == 0, self
        answer = json.loads(self.out)
        assert isinstance(answer, dict)
        return answer


def environment(home: Path, **more: str) -> dict[str, str]:
    """A user's environment with nothing in it of the machine that runs the tests."""
    base = {"HOME": str(home), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
    return base | more


def call(
    name: str, verb: str, stdin: bytes | str = b"", env: dict[str, str] | None = None, *, deadline: float = 30
) -> Result:
    """Call the installed executable `docker-credential-NAME`."""
    content = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [str(BIN / f"docker-credential-{name}"), verb],
        input=content,
        env=env,
        capture_output=True,
        timeout=deadline,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def document(server: str, username: str, secret: str) -> bytes:
    """What docker sends to `store`."""
    return json.dumps({"ServerURL": server, "Username": username, "Secret": secret}).encode() + b"\n"


def need(command: str, package: str) -> str:
    """The path of a program that a test needs; without it the test is skipped, or fails in CI."""
    path = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return path or lacking(f"{command} is not here; get it with `apt-get install {package}`")


def lacking(reason: str) -> NoReturn:
    """Skip this test where something cannot be had; in CI everything must be had."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
