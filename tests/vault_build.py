"""Builds Vault with Go where neither it nor OpenBao is on PATH: `tests/run` calls this, since no test has the time."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_VAULT = "1.13.0"  # of the releases, the newest that builds from its published modules
_GO = (1, 24)  # the first that knows `go get -tool`
_LIMIT = 40 * 60  # seconds for two slow cores that have to fetch and compile it


def found() -> Path | None:
    """What is on PATH."""
    path = shutil.which("vault") or shutil.which("bao")
    return Path(path) if path else None


def built() -> Path:
    """Where the program is that was built, once it is."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / f"credhelpers-tests/vault-{_VAULT}"


def missing() -> str:
    """What a build would need, and where to get it; nothing if it is all here."""
    wanted = "which needs Go {}.{} or newer".format(*_GO)
    go = _go()
    if not go:
        return f"{wanted}: get it from https://go.dev/dl"
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\bgo(\d+)\.(\d+)", said)
    if version and (int(version[1]), int(version[2])) >= _GO:
        return ""
    return (
        f"{wanted}, and {go} is {version[0].removeprefix('go') if version else 'none'}: get it from https://go.dev/dl"
    )


def build() -> None:
    """Build it, once, in ten minutes or more. What cannot be done is said; the tests say whether it matters."""
    program = built()
    if found() or program.exists():
        return
    if reason := missing():
        print(f"tests/run: Vault is neither here nor can it be built, {reason}")
        return
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / "lock").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return
        print(f"building Vault {_VAULT}, once, in ten minutes or more: {program}", flush=True)
        for command in (
            ("mod", "init", "scratch"),
            ("get", "-tool", f"github.com/hashicorp/vault@v{_VAULT}"),
            ("build", "-ldflags=-s -w", "-o", f"{folder}/vault", "github.com/hashicorp/vault"),
        ):
            done = subprocess.run(
                [str(_go()), *command], cwd=folder, capture_output=True, text=True, timeout=_LIMIT, check=False
            )
            if done.returncode:
                print(f"`go {command[0]}` failed, so there is no Vault:\n{done.stderr[-2000:]}")
                return
        shutil.copy(f"{folder}/vault", f"{program}.new")  # which may be a move to another disk, and be killed
        Path(f"{program}.new").replace(program)


def _go() -> str | None:
    return shutil.which("go", path=os.environ.get("PATH", "") + ":/usr/local/go/bin")


if __name__ == "__main__":
    build()
