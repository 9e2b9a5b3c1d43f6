"""Makes the environment of the tests, once, and keeps it: `tests/run` calls this with the folder to make it in.

What an environment is made of is written down in it. While that is what the checkout asks for, nothing is installed;
another Python, other dependencies in `pyproject.toml` or a folder that was moved costs a new one. The package itself is
compared file by file with the checkout, so that no test ever meets an installation that is older than what it tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PIP = "pip>=25.1"  # the first that knows dependency groups


def main(folder: Path) -> None:
    """Bring the environment in `folder` up to date; a second run at the same time waits for the first."""
    with Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make(folder)
        _install(folder)


def _make(folder: Path) -> None:
    """An environment of this Python with what tests and builds need, made anew where it is of something else."""
    stamp = folder / "made-of"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = json.dumps([project[table] for table in ("build-system", "project", "dependency-groups")])
    made_of = f"{folder}\n{sys.base_prefix}\n{sys.version}\n{wanted}\n"
    if _text(stamp) == made_of:
        return
    if folder.exists():
        if not (folder / "pyvenv.cfg").exists():
            sys.exit(f"tests/run: {folder} is no environment of Python; move it away")
        shutil.rmtree(folder)
    _say(f"making {folder}, once, in two minutes or more")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    _pip(folder, "--upgrade", _PIP)
    _pip(folder, *project["build-system"]["requires"], "--group", "test", ".[all]")
    stamp.write_text(made_of)


def _install(folder: Path) -> None:
    """The package as it is in the checkout."""
    stamp = folder / "installed-from"
    (packages,) = folder.glob("lib/python3*/site-packages")
    metadata = _digest(ROOT, [ROOT / name for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE")])

    def is_the_same() -> bool:
        launcher = _text(ROOT / "credhelpers/launcher")
        return (
            _text(stamp) == metadata
            and _digest(packages, _sources(packages / "credhelpers")) == _digest(ROOT, _sources(ROOT / "credhelpers"))
            and all(
                _text(folder / "bin" / path.name) == launcher + path.read_text()
                for path in (ROOT / "entrypoints").iterdir()
            )
        )

    if is_the_same():
        return
    _say("installing the checkout")
    stamp.unlink(missing_ok=True)
    _pip(folder, "--force-reinstall", "--no-deps", "--no-build-isolation", ".")
    stamp.write_text(metadata)
    if not is_the_same():
        sys.exit("tests/run: what was installed is not what is in the checkout")


def _sources(package: Path) -> list[Path]:
    return [path for path in package.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]


def _digest(root: Path, files: list[Path]) -> str:
    """Names below `root`, whether they can be run, and contents."""
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        is_program = path.stat().st_mode & 0o111 != 0
        digest.update(f"{path.relative_to(root)}\0{is_program}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _pip(folder: Path, *arguments: str) -> None:
    command = [str(folder / "bin/python3"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"tests/run: `{' '.join(command)}` failed")


def _say(text: str) -> None:
    print(f"tests/run: {text}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
