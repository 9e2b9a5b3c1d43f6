"""The forms in which the executables come to a machine, each installed into a directory of its own by the real tool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.harness import BIN

ROOT = Path(__file__).parent.parent
EXECUTABLES = sorted(path.name for path in (ROOT / "entrypoints").iterdir())
UV = BIN / "uv"
SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin"
_OF_INSTALLERS = ("PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


def installers() -> dict[str, str]:
    """The variables by which pip, pipx and uv find the package index and their caches, whatever HOME is."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = {name: value for name, value in os.environ.items() if name.upper().startswith(_OF_INSTALLERS)}
    found.setdefault("PIP_CACHE_DIR", str(caches / "pip"))
    found.setdefault("UV_CACHE_DIR", str(caches / "uv"))
    settings = Path.home() / ".config/pip/pip.conf"
    if settings.exists():
        found.setdefault("PIP_CONFIG_FILE", str(settings))
    # A copy may be changed by a test; a link would lead to the cache.
    return found | {"UV_LINK_MODE": "copy", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(*command: str | Path, **env: str) -> str:
    """What an installer prints; the test fails with it if the installer does."""
    done = subprocess.run(
        [str(word) for word in command],
        env={"PATH": SYSTEM, **installers(), **env},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def index(folder: Path) -> dict[str, str]:
    """The variables by which pip, pipx and uv install from `folder` alone, where all is that install.sh needs.

    The SDKs of the clouds, which are most of it, are there by name only: what installs them installs empty ones too.
    """
    wanted = ("hatchling>=1.25", "pip", "setuptools", "wheel", ROOT)
    run(sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, *wanted)
    for name in sdks():
        _empty_wheel(folder, name)
    place = str(folder)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": place, "UV_NO_INDEX": "1", "UV_FIND_LINKS": place}


def sdks() -> list[str]:
    """The packages that only the extras need."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return [re.split("[^a-z0-9-]", needed)[0] for extra in extras if extra != "all" for needed in extras[extra]]


def _empty_wheel(folder: Path, name: str) -> None:
    stem = f"{name.replace('-', '_')}-9999"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 9999\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "".join(f"{stem}.dist-info/{file},,\n" for file in ("METADATA", "WHEEL", "RECORD")),
    }
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for file, content in files.items():
            wheel.writestr(f"{stem}.dist-info/{file}", content)


def by_environment(folder: Path, *options: str, source: Path = ROOT) -> Path:
    """A virtual environment with this package alone, as pip or uv install it; the directory of its executables."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    run(UV, "pip", "install", "--quiet", "--no-deps", "--python", folder / "bin/python3", *options, source)
    return folder / "bin"


def by_uv_tool(home: Path, environments: Path, links: Path) -> Path:
    """`uv tool install`; the directory of the links that it makes."""
    places = {"HOME": str(home), "UV_TOOL_DIR": str(environments), "UV_TOOL_BIN_DIR": str(links)}
    run(UV, "tool", "install", "--quiet", "--python", sys.executable, ROOT, **places)
    return links


def by_pipx(pipx: str | Path, folder: Path, *options: str) -> Path:
    """`pipx install`; the directory of the links that it makes."""
    places = {"HOME": str(folder), "PIPX_HOME": str(folder / "pipx"), "PIPX_BIN_DIR": str(folder / "bin")}
    run(pipx, "install", *options, ROOT, **places)
    return folder / "bin"


def newest_pipx(folder: Path) -> Path:
    """The pipx of the package index, which keeps its things elsewhere than Debian's."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    run(UV, "pip", "install", "--quiet", "--python", folder / "bin/python3", "pipx>=1.7")
    return folder / "bin/pipx"


def checkout(folder: Path) -> Path:
    """A copy of what a checkout holds, to change."""
    shutil.copytree(
        ROOT, folder, ignore=lambda _, names: [name for name in names if name.startswith(".") or name == "__pycache__"]
    )
    return folder


def tools(folder: Path, *names: str | Path, **scripts: str) -> str:
    """A value for PATH: the system's ordinary commands without any Python or installer, and those given.

    `scripts` are shell scripts by name; they may exec `$REAL_PYTHON`, a Python that is new enough.
    """
    folder.mkdir()
    for name in (*_COMMANDS, *names):
        path = shutil.which(name, path=SYSTEM)
        assert path, name
        (folder / Path(name).name).symlink_to(path)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\nREAL_PYTHON={REAL_PYTHON}\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


_COMMANDS = (
    *("sh", "cat", "cp", "date", "dirname", "grep", "ln", "mkdir", "mktemp", "mv", "readlink", "rm", "rmdir", "sed"),
    *("sleep", "sort", "tail"),
)
REAL_PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
