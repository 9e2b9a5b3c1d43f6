"""An identity that is chosen by the name of the executable: of any link to it, and of nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness import BIN, NOT_FOUND, Result, environment

if TYPE_CHECKING:
    from pathlib import Path

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
# Each entry has a mistake of its own, whose line says which one counted.
CONFIGURATION = f"""\
[[registry]]
match = "{HOST}"
source = "ecr"
identity = "prod"
profile = 1

[[registry]]
match = "{HOST}"
source = "ecr"
identity = "a.b-c_D"
profile = 2

[[registry]]
match = "{HOST}"
source = "ecr"
profile = 3
"""
PROD, ODD, ALL = (
    f"config.toml: line {line}: `profile` is not the name of a profile\n".encode() for line in (5, 11, 16)
)
NONE = b"the chosen identity is one that no entry of config.toml has\n"


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    """Somebody with these entries."""
    config = home / ".config/credhelpers/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIGURATION)
    return environment(home)


def call(program: Path, *arguments: str, env: dict[str, str], server: str = HOST) -> Result:
    """What a client sees of it."""
    done = subprocess.run(
        [program, *arguments], input=server.encode(), env=env, capture_output=True, check=False, cwd="/"
    )
    return Result(done.returncode, done.stdout, done.stderr)


def link(folder: Path, name: str, target: str | Path = BIN / "docker-credential-ecr") -> Path:
    """A link of this name."""
    path = folder / name
    path.symlink_to(target)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("docker-credential-ecr@prod", PROD),
        ("docker-credential-ecr@a.b-c_D", ODD),
        ("docker-credential-ecr", ALL),
        ("x@prod", PROD),
        ("@prod", PROD),
        *(
            (f"docker-credential-ecr@{name}", NONE)
            for name in ("", "@prod", "prod@", "Prod", "prod ", "none", "-x", ".")
        ),
        (f"docker-credential-ecr@{'x' * 230}", NONE),
        ("docker-credential-ecr@pr\u00f6d", NONE),
        ("docker-credential-ecr@a\nb", NONE),
        ("docker-credential-ecr@$(id)", NONE),
        ("docker-credential-ecr@*", NONE),
        ("docker-credential-ecr@'", NONE),
    ],
)
def test_the_name_chooses(name: str, expected: bytes, env: dict[str, str], tmp_path: Path) -> None:
    """What stands behind the first `@`, whole, and no variable counts against it."""
    program = link(tmp_path, name)
    for more in ({}, {"CREDHELPERS_IDENTITY": "a.b-c_D"} if "@" in name else {}):
        assert call(program, "get", env=env | more).out == expected
    assert call(program, "get", env=env, server="ghcr.io") == Result(1, NOT_FOUND, b"")
    assert call(program, "list", env=env) == Result(0, b"{}\n", b"")
    assert call(program, "version", env=env).code == 0


def test_the_variable_chooses_else(env: dict[str, str]) -> None:
    """For whoever cannot name a helper."""
    program = BIN / "docker-credential-ecr"
    for value, expected in (
        ("prod", PROD),
        ("a.b-c_D", ODD),
        ("", ALL),
        ("none", NONE),
        ("@", NONE),
        ("x" * 9000, NONE),
    ):
        assert call(program, "get", env=env | {"CREDHELPERS_IDENTITY": value}).out == expected


def test_it_is_the_name_that_was_called(env: dict[str, str], tmp_path: Path) -> None:
    """Not that of a link on the way, of a directory, or of the file itself."""
    first = link(tmp_path, "docker-credential-ecr@prod")
    second = link(tmp_path, "docker-credential-ecr@a.b-c_D", first.name)
    (tmp_path / "x@prod").mkdir()
    third = link(tmp_path / "x@prod", "docker-credential-ecr", second)
    fourth = link(tmp_path, "plain@prod", third)
    for program, expected in ((first, PROD), (second, ODD), (third, ALL), (fourth, PROD)):
        for _ in range(2):
            assert call(program, "get", env=env).out == expected


def test_a_copy_of_that_name(env: dict[str, str]) -> None:
    """Which somebody made who had no links."""
    copy = BIN / "docker-credential-ecr@prod"
    shutil.copy(BIN / "docker-credential-ecr", copy)
    try:
        for _ in range(2):
            assert call(copy, "get", env=env).out == PROD
    finally:
        copy.unlink()


def test_a_link_beside_the_links_of_uv(env: dict[str, str], tmp_path: Path) -> None:
    """Where the installer's own link is found without a process, the name is not lost on the way."""
    tool = tmp_path / "share/uv/tools/credhelpers"
    tool.parent.mkdir(parents=True)
    tool.symlink_to(BIN.parent)
    links = tmp_path / "bin"
    links.mkdir()
    own = link(links, "docker-credential-ecr", tool / "bin/docker-credential-ecr")
    chosen = link(links, "docker-credential-ecr@prod", own.name)
    for program, expected in ((own, ALL), (chosen, PROD)):
        assert call(program, "get", env=env).out == expected


@pytest.mark.parametrize("arguments", [("@prod", "get"), ("get", "@prod"), ("--identity", "prod", "get"), ()])
def test_more_arguments_are_a_usage_error(arguments: tuple[str, ...], env: dict[str, str], tmp_path: Path) -> None:
    """Nothing but the name chooses, so no client's argument is taken for one."""
    for program in (BIN / "docker-credential-ecr", link(tmp_path, "docker-credential-ecr@prod")):
        done = call(program, *arguments, env=env)
        assert done.code == 1
        assert done.out.startswith(b"Usage: "), done


def test_on_path(env: dict[str, str], tmp_path: Path) -> None:
    """As docker starts it: by the name alone."""
    link(tmp_path, "docker-credential-ecr@prod")
    done = subprocess.run(
        ["/usr/bin/env", "docker-credential-ecr@prod", "get"],
        input=HOST.encode(),
        env=env | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )
    assert done.stdout == PROD
