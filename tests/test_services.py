"""What the tests do where a service cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import vault_build
from tests.services import vault_program

if TYPE_CHECKING:
    from pathlib import Path

_GO = """\
#!/bin/sh
[ "$1" = version ] && {{ echo go version go{version} linux/amd64; exit; }}
echo "$1" >> {folder}/asked
while [ $# -gt 0 ]; do
    if [ "$1" = -o ]; then printf '#!/bin/sh\\n' > "$2"; chmod +x "$2"; fi
    shift
done
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without programs: its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def program(path: Path, text: str) -> None:
    """Put a program there."""
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [
        pytest.param("", pytest.skip.Exception, id="a skip that says how to get it"),
        pytest.param("true", pytest.fail.Exception, id="a failure in CI"),
    ],
)
def test_without_vault(bare: Path, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]) -> None:
    """Where neither Vault nor a built one is, a test is skipped, and in CI it fails."""
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="neither vault nor bao is here: get one from"):
        vault_program()


@pytest.mark.parametrize("name", ["vault", "bao"])
def test_what_is_there_is_taken(bare: Path, name: str) -> None:
    """A program on PATH is taken, and none is built."""
    program(bare / name, "#!/bin/sh\n")
    program(bare / "go", _GO.format(folder=bare, version="1.24.1"))
    vault_build.build()
    assert vault_program() == str(bare / name)
    assert not (bare / "asked").exists()


def test_vault_is_built_once(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With Go alone it is built, with a line that says so, and kept for the next run."""
    program(bare / "go", _GO.format(folder=bare, version="1.24.1"))
    vault_build.build()
    said = capsys.readouterr().out
    assert said.startswith("building Vault ")
    assert vault_program().startswith(str(bare / "cache/credhelpers-tests/vault-"))
    vault_build.build()
    assert capsys.readouterr().out == ""
    assert (bare / "asked").read_text().split() == ["mod", "get", "build"]


@pytest.mark.parametrize("version", ["1.19.8", "1.23", "of nobody"])
def test_a_go_that_is_too_old_is_named(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    """At once, instead of by a build that fails late, and by each test that is skipped."""
    monkeypatch.setenv("CI", "")
    program(bare / "go", _GO.format(folder=bare, version=version))
    vault_build.build()
    what = f"needs Go 1.24 or newer, and {bare}/go is {version if version[0] == '1' else 'none'}"
    assert what.removesuffix(".8") in capsys.readouterr().out
    assert not (bare / "asked").exists()
    with pytest.raises(pytest.skip.Exception, match=r"get it from https://go\.dev/dl"):
        vault_program()


def test_a_build_that_fails_leaves_nothing(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What Go says is passed on, and no half a program is taken for one."""
    program(bare / "go", "#!/bin/sh\necho no network, go1.30 >&2\n[ $1 = version ] && echo go1.30 || exit 1\n")
    vault_build.build()
    assert "no network" in capsys.readouterr().out
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception)):
        vault_program()
