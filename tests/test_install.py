"""install.sh on machines of all kinds: real runs in homes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import tomllib
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import forms
from tests.forms import EXECUTABLES, ROOT, SYSTEM, UV, checkout, installers, tools
from tests.harness import Result, need
from tests.services import Session, need_root, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole lives, with builds in them

PYTHON = 'exec "$REAL_PYTHON" "$@"'
# What lies outside of a home that install.sh could change, and what other programs keep in one for themselves.
OF_OTHERS = re.compile(r"^\.(cache|local/(pipx|share/(pipx|uv)|state/pipx))(/|$)")


class Machine:
    """A home and a PATH; `install` runs install.sh there."""

    def __init__(self, home: Path, path: str, source: Path = ROOT, env: dict[str, str] | None = None) -> None:
        home.mkdir(mode=0o700, exist_ok=True)
        self.home = home
        self.source = source
        self.env = {
            "HOME": str(home),
            "PATH": f"{path}:{home}/.local/bin",
            "LANG": "C.UTF-8",
            **installers(),
            **(env or {}),
        }

    def install(
        self,
        *options: str,
        shell: Sequence[str] = (),
        cwd: Path | None = None,
        within: Sequence[str] = (),
        env: dict[str, str] | None = None,
        **more: str,
    ) -> Result:
        command = [*within, *shell, str(self.source / "install.sh"), *options]
        done = subprocess.run(
            command,
            env=self.env | (env or {}) | more,
            cwd=cwd or self.home,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def call(self, name: str, verb: str, stdin: str = "") -> Result:
        """A call as docker makes it: the executable is looked for on PATH."""
        done = subprocess.run(
            ["sh", "-c", f"exec docker-credential-{name} {verb}"],
            env=self.env,
            input=stdin.encode(),
            capture_output=True,
            timeout=240,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def target(self, name: str = "docker-credential-keyring") -> Path:
        """Where the link on PATH leads to."""
        return (self.links / name).resolve()

    @property
    def links(self) -> Path:
        """Where the links on PATH are."""
        return Path(self.env.get("UV_TOOL_BIN_DIR", self.home / ".local/bin"))

    def tree(self) -> dict[str, str]:
        """Every file and link of the home that is not another program's own, with its content."""
        found = {}
        for folder, _, names in os.walk(self.home):
            for name in names:
                path = Path(folder, name)
                place = str(path.relative_to(self.home))
                if not OF_OTHERS.match(place):
                    found[place] = (
                        f"-> {path.readlink()}" if path.is_symlink() else blake2b(path.read_bytes()).hexdigest()
                    )
        return found


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a package index that is a directory: quick, and the same for all."""
    return forms.index(tmp_path_factory.mktemp("index"))


def only_line(result: Result) -> str:
    """The one sentence of a failure."""
    assert result.code == 1, result
    lines = result.err.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("install.sh: "), lines
    return lines[0]


def works(machine: Machine) -> str:
    """The version of what is installed, after all of it has been called."""
    assert EXECUTABLES
    for name in EXECUTABLES:
        done = machine.call(name.removeprefix("docker-credential-"), "version")
        assert (done.code, done.err) == (0, b""), done
        assert done.out.startswith(f"{name} (credhelpers) v".encode()), done
    return done.out.decode().rpartition(" v")[2].strip()


def shows_itself(result: Result, machine: Machine) -> None:
    """It says what it did, where the store is, and what to configure."""
    assert (result.code, result.err) == (0, b""), result
    out = result.out.decode()
    assert "has stored, answered and forgotten a throw-away credential" in out
    assert f"kept in the embedded store, encrypted files in {machine.home}/.local/share/credhelpers\n" in out
    assert f"write this into {machine.home}/.docker/config.json:\n" in out
    assert '\n    {"credsStore": "keyring"}\n' in out
    assert "warning" not in out
    assert machine.call("keyring", "list").listing == {}


def release(source: Path, version: str) -> None:
    """Make the checkout one of another version, of the same length as the version before."""
    path = source / "credhelpers/__init__.py"
    path.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', path.read_text()))


def test_a_life_with_uv(tmp_path: Path, index: dict[str, str]) -> None:
    """With uv: install, fail to upgrade, upgrade, configure, remove; by busybox's shell, in paths with spaces."""
    source = checkout(tmp_path / "my sources")
    path = tools(tmp_path / "tools", UV, python3=PYTHON)
    machine = Machine(tmp_path / "my home", path, source, index)
    shell = (need("busybox", "busybox"), "sh")
    before = machine.tree()

    shows_itself(machine.install(shell=shell), machine)
    assert machine.target().is_relative_to(machine.home / ".local/share/uv")
    goes_on(machine, shell)
    ends(machine, before, shell)


@pytest.mark.slow
def test_a_life_with_a_plain_environment(tmp_path: Path, index: dict[str, str]) -> None:
    """Without uv and pipx the same; and then uv comes, is asked for, and takes over, with links elsewhere."""
    source = checkout(tmp_path / "sources")
    machine = Machine(tmp_path / "my home", tools(tmp_path / "tools", python3=PYTHON), source, index)
    before = machine.tree()
    shell = (need("dash", "dash"),)

    shows_itself(machine.install(shell=shell), machine)
    first = machine.target()
    assert first.is_relative_to(machine.home / ".local/share/credhelpers-venv")
    goes_on(machine, shell)

    machine.env["UV_TOOL_BIN_DIR"] = str(machine.home / "my bin")
    machine.env["PATH"] = f"{tools(tmp_path / 'more', UV)}:{machine.links}:{machine.env['PATH']}"
    done = machine.install("--with", "uv", shell=shell)
    assert b"removed what venv had installed\n" in done.out, done
    assert list((machine.home / ".local/bin").iterdir()) == []
    assert machine.target().is_relative_to(machine.home / ".local/share/uv")
    assert not (machine.home / ".local/share/credhelpers-venv").exists()
    ends(machine, before, shell)


@pytest.mark.slow
def test_a_life_with_pipx(tmp_path: Path, index: dict[str, str]) -> None:
    """With Debian's pipx, where uv had installed but is gone: it takes over; then as with uv."""
    pipx = need("pipx", "pipx")
    source = checkout(tmp_path / "sources")
    home = settle(tmp_path).home
    machine = Machine(home, tools(tmp_path / "tools", pipx, python3=PYTHON), source, index)

    done = machine.install()
    shows_itself(done, machine)
    assert b"removed what uv had installed\n" in done.out
    assert machine.target().is_relative_to(machine.home / ".local/pipx/venvs/credhelpers")
    assert not (machine.home / ".local/share/uv/tools/credhelpers").exists()
    goes_on(machine)
    ends(machine, {})


@pytest.mark.slow
def test_a_newer_pipx(tmp_path: Path, index: dict[str, str]) -> None:
    """The pipx of the package index keeps its environments elsewhere, in a path with spaces: install and remove."""
    pipx = forms.newest_pipx(tmp_path / "pipx")
    source = checkout(tmp_path / "sources")
    machine = Machine(tmp_path / "my home", tools(tmp_path / "tools", pipx, python3=PYTHON), source, index)

    upgrades(machine)
    assert machine.target().is_relative_to(machine.home / ".local/share/pipx/venvs/credhelpers")
    ends(machine, {})


def goes_on(machine: Machine, shell: Sequence[str] = ()) -> None:
    """From an installation on: all that it ought to have, an upgrade that fails, one that works, configuration."""
    version = works(machine)
    assert sorted(path.name for path in machine.links.iterdir()) == EXECUTABLES
    compiled = list(machine.target().parent.parent.glob("lib/python3*/site-packages/credhelpers/__pycache__/*"))
    assert {path.name.partition(".")[0] for path in compiled} >= {"cache", "call", "guard", *EXECUTABLES}

    (machine.source / "entrypoints/docker-credential-broken").write_text("#!/bin/sh\n")
    project = machine.source / "pyproject.toml"
    whole = project.read_text()
    project.write_text(whole.replace('"pyrage', '"credhelpers-there-is-no-such-package", "pyrage'))
    release(machine.source, "8.8.8")
    installed = machine.tree()
    failed = machine.install("--replace", "ecr-login", shell=shell)
    assert failed.code == 1, failed
    assert b"its last words are above: if it is the network" in failed.err.splitlines()[-1], failed
    assert failed.err.endswith(b"; nothing was changed\n"), failed
    (machine.source / "entrypoints/docker-credential-broken").unlink()
    assert works(machine) == version
    assert machine.tree() == installed

    project.write_text(whole)
    upgrades(machine, shell)


def upgrades(machine: Machine, shell: Sequence[str] = ()) -> None:
    """Another version, with all options."""
    release(machine.source, "9.9.9")
    done = machine.install("--configure", "--replace", "ecr-login", shell=shell)
    assert (done.code, done.err) == (0, b""), done
    assert works(machine) == "9.9.9"
    assert json.loads((machine.home / ".docker/config.json").read_text()) == {"credsStore": "keyring"}


def ends(machine: Machine, before: dict[str, str], shell: Sequence[str] = ()) -> None:
    """Removal without a trace, of what works until then."""
    assert works(machine) == "9.9.9"
    assert machine.call("ecr-login", "version").out == b"docker-credential-ecr (credhelpers) v9.9.9\n"

    done = machine.install("--uninstall", shell=shell)
    assert (done.code, done.err) == (0, b""), done
    assert machine.tree() == before
    assert not (machine.home / ".docker").exists()


def test_a_release_can_be_installed(tmp_path: Path) -> None:
    """An unpacked source distribution has all that install.sh needs; what it installs has the SDK of every cloud."""
    forms.run(UV, "build", "--quiet", "--sdist", "--out-dir", tmp_path / "dist", ROOT)
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    forms.run("tar", "-xzf", archive, "-C", tmp_path)
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    machine = Machine(tmp_path / "home", tools(tmp_path / "tools", UV, python3=PYTHON), source)

    shows_itself(machine.install(), machine)

    versions = f"from importlib.metadata import version; print(*map(version, {forms.sdks()!r}))"
    there = forms.run(machine.target().parent / "python3", "-I", "-c", versions).split()
    assert len(there) == len(forms.sdks())
    assert "9999" not in there


def test_every_cloud_has_its_extra() -> None:
    """`all`, which install.sh installs, is every extra; every source has one, and so has the choice of a keyring."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = sorted(set(extras) - {"all"})

    assert extras["all"] == [f"credhelpers[{','.join(names)}]"]
    assert names == sorted(["keyring", *(path.stem for path in (ROOT / "credhelpers/sources").glob("[!_]*.py"))])


# --- a machine on which it is installed already: a `uv` that has nothing to do makes a run quick ----------------------


def settle(folder: Path) -> Machine:
    """A machine where uv has installed it, without what only a mint needs."""
    machine = Machine(folder / "home", str(folder))
    share, links = machine.home / ".local/share/uv/tools", machine.home / ".local/bin"
    forms.by_uv_tool(machine.home, share, links)
    nothing_to_do = f'case $* in "tool dir") echo "{share}" ;; *--bin) echo "{links}" ;; esac'
    return Machine(machine.home, tools(folder / "idle", uv=nothing_to_do, python3=PYTHON))


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine for tests that leave no trace in its home."""
    return settle(tmp_path_factory.mktemp("settled"))


AUTHS = '\t"auths": {\n\t\t"registry.example": {\n\t\t\t"auth": "bWFkZS11cDptYWRlLXVw"\n\t\t}\n\t}'
UNKNOWN = (
    '{\n\t"zeta": [\n\t\t1,\n\t\t1.5,\n\t\tnull\n\t],\n\t"HttpHeaders": {\n\t\t"X": "ü \\\\ \\""\n\t},\n\t"alpha": {}'
)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        pytest.param(None, '{\n\t"credsStore": "keyring"\n}', id="absent"),
        pytest.param("", '{\n\t"credsStore": "keyring"\n}', id="empty file"),
        pytest.param("{}\n", '{\n\t"credsStore": "keyring"\n}\n', id="empty object"),
        pytest.param(f"{{\n{AUTHS}\n}}", f'{{\n{AUTHS},\n\t"credsStore": "keyring"\n}}', id="with a password"),
        pytest.param(f"{UNKNOWN}\n}}", f'{UNKNOWN},\n\t"credsStore": "keyring"\n}}', id="unknown keys"),
        pytest.param(
            '{"credsStore": "pass", "credHelpers": {"gcr.io": "gcloud"}}',
            '{"credsStore": "keyring", "credHelpers": {"gcr.io": "gcloud"}}',
            id="another store and helpers",
        ),
        pytest.param('{"credsStore": ""}', '{"credsStore": "keyring"}', id="store without a name"),
        pytest.param('{"credHelpers": null}', '{"credHelpers": null, "credsStore": "keyring"}', id="null"),
        pytest.param('{"x": "\\ud800"}', '{"x": "\\ud800", "credsStore": "keyring"}', id="half a character"),
    ],
)
def test_configuration_keeps_everything_else(
    settled: Machine, tmp_path: Path, content: str | None, wanted: str
) -> None:
    """One line of config.json is new, and --uninstall brings back the bytes that were there."""
    file = tmp_path / "docker/config.json"
    file.parent.mkdir()
    if content is not None:
        file.write_text(content)

    done = settled.install("--configure", DOCKER_CONFIG=str(file.parent))

    assert (done.code, done.err) == (0, b""), done
    assert file.read_text() == wanted
    assert {path.name for path in file.parent.iterdir()} <= {"config.json", "config.json.credhelpers-backup"}
    again = settled.install("--configure", DOCKER_CONFIG=str(file.parent))
    assert f'{file} says "credsStore": "keyring" already\n'.encode() in again.out
    assert file.read_text() == wanted
    assert back(tmp_path, file) == content
    assert not list(file.parent.glob("*backup*")) if file.parent.exists() else content is None


def back(tmp_path: Path, file: Path) -> str | None:
    """What config.json says after `--uninstall` on a machine that has nothing else to remove."""
    bare = Machine(tmp_path / "bare", tools(tmp_path / "tools", python3=PYTHON))
    done = bare.install("--uninstall", DOCKER_CONFIG=str(file.parent))
    assert (done.code, done.err) == (0, b""), done
    return file.read_text() if file.exists() else None


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_configuration_keeps_the_mode(settled: Machine, tmp_path: Path, mode: int) -> None:
    """The mode stays; the backup is for its owner only."""
    file = tmp_path / "config.json"
    file.write_text("{}")
    file.chmod(mode)

    assert settled.install("--configure", DOCKER_CONFIG=str(tmp_path)).code == 0

    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "config.json.credhelpers-backup").stat().st_mode) == 0o600


def test_a_new_configuration_is_private(settled: Machine, tmp_path: Path) -> None:
    """What docker's directory will hold is nobody else's."""
    folder = tmp_path / "docker"

    assert settled.install("--configure", DOCKER_CONFIG=str(folder)).code == 0

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("is_relative", [True, False])
def test_configuration_writes_through_a_link(settled: Machine, tmp_path: Path, is_relative: bool) -> None:  # noqa: FBT001
    """Whoever keeps config.json among other dot-files finds it there, and no backup with passwords beside it."""
    target = tmp_path / "dot files/docker.json"
    target.parent.mkdir()
    target.write_text(f"{{\n{AUTHS}\n}}\n")
    folder = tmp_path / "docker"
    folder.mkdir()
    file = folder / "config.json"
    file.symlink_to("../dot files/docker.json" if is_relative else target)

    assert settled.install("--configure", DOCKER_CONFIG=str(folder)).code == 0

    assert file.is_symlink()
    assert json.loads(target.read_text())["credsStore"] == "keyring"
    assert [path.name for path in target.parent.iterdir()] == ["docker.json"]
    assert back(tmp_path, file) == f"{{\n{AUTHS}\n}}\n"
    assert file.is_symlink()


DROP_IN = ".config/containers/registries.conf.d/50-credhelpers.conf"


def test_podman_gets_a_drop_in(tmp_path: Path) -> None:
    """What docker's file cannot tell podman, buildah and skopeo; --uninstall leaves no trace of it."""
    machine = settle(tmp_path)
    helpers = {"public.ecr.aws": "ecr", "gcr.io": "gcloud"}
    file = machine.home / ".docker/config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"credHelpers": helpers}))

    assert f"for podman, buildah and skopeo into {machine.home}/{DROP_IN}:\n" in machine.install().out.decode()
    assert not (machine.home / DROP_IN).exists()
    out = machine.install("--configure").out.decode()
    assert f"podman, buildah and skopeo ask ecr, keyring, containers-auth.json now: {machine.home}/{DROP_IN}\n" in out
    assert "they go on reading auth.json and config.json" in out
    done = machine.install("--configure", "--replace", "gcloud")
    assert f"podman, buildah and skopeo ask ecr, gcr, keyring now: {machine.home}/{DROP_IN}\n".encode() in done.out, (
        done
    )
    words = tomllib.loads((machine.home / DROP_IN).read_text())["credential-helpers"]
    assert words == ["ecr", "gcr", "keyring"]

    done = machine.install("--uninstall")
    assert (done.code, done.err) == (0, b""), done
    assert json.loads(file.read_text()) == {"credHelpers": {"gcr.io": "gcloud"}}
    assert sorted(machine.tree()) == [".docker/config.json", ".docker/config.json.credhelpers-backup"]
    assert not (machine.home / ".config/containers").exists()


def test_what_is_wrong_with_podman_costs_docker_nothing(tmp_path: Path) -> None:
    """It is a warning with what to do, and docker's file is written."""
    machine = settle(tmp_path)
    other = machine.home / DROP_IN.replace("50", "60")
    other.parent.mkdir(parents=True)
    other.write_text('credential-helpers = ["pass"]')

    done = machine.install("--configure")

    assert (done.code, done.err) == (0, b""), done
    assert b"warning: podman, buildah and skopeo go on as before: " in done.out
    assert json.loads((machine.home / ".docker/config.json").read_text()) == {"credsStore": "keyring"}
    assert [path.name for path in other.parent.iterdir()] == [other.name]


def test_passwords_in_clear_are_told_and_not_shown(settled: Machine, tmp_path: Path) -> None:
    """Who has logged in before learns that docker forgets that, and how to go on."""
    auths = {
        "registry.example": {"auth": "bWFkZS11cDptYWRlLXVw"},
        "token.example": {"identitytoken": "made-up"},
        "\x1b[31mred.example": {"password": "made-up"},
        "store.example": {},
    }
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))

    out = settled.install("--configure", DOCKER_CONFIG=str(tmp_path)).out.decode()

    assert "hold the passwords of 3 registries in clear" in out
    assert re.findall(r"docker login (.*)", out) == ["registry.example", "token.example", "\\x1b[31mred.example"]
    assert "made-up" not in out
    assert "bWFkZ" not in out


def test_another_store_is_named(settled: Machine, tmp_path: Path) -> None:
    """What was replaced is said, and where it still can be read."""
    (tmp_path / "config.json").write_text('{"credsStore": "secretservice"}')

    out = settled.install("--configure", DOCKER_CONFIG=str(tmp_path)).out.decode()

    backup = tmp_path / "config.json.credhelpers-backup"
    assert f"as it was before: {backup}\n" in out
    assert 'it said "credsStore": "secretservice" before' in out
    assert backup.read_text() == '{"credsStore": "secretservice"}'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b'{"auths": {\n,}}', "is not valid JSON (line 2), column 1", id="no JSON"),
        pytest.param(b'{"auths": {}} {}', "is not valid JSON (line 1), column 15", id="more than JSON"),
        pytest.param(b'{"a": NaN}', "is not valid JSON", id="no number"),
        pytest.param(b"\xff\xfe{\x00}\x00", "is not valid JSON", id="UTF-16"),
        pytest.param(b"[" * 100_000, "is not valid JSON", id="bottomless"),
        pytest.param(b"[]", "is not what docker writes", id="a list"),
        pytest.param(b'{"credsStore": ["pass"]}', "is not what docker writes", id="store that is no word"),
        pytest.param(b'{"auths": []}', "is not what docker writes", id="auths that are none"),
    ],
)
def test_a_broken_configuration_is_left_alone(settled: Machine, tmp_path: Path, content: bytes, reason: str) -> None:
    """One sentence, and not a byte of it is changed."""
    file = tmp_path / "config.json"
    file.write_bytes(content)

    line = only_line(settled.install("--configure", DOCKER_CONFIG=str(tmp_path)))

    assert f"{file} {reason}" in line
    assert line.endswith("; it was not changed")
    assert file.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_broken_configuration_stops_before_anything_else(tmp_path: Path) -> None:
    """Where there is a Python to read config.json with, nothing is installed in vain; and nothing is removed."""
    machine = Machine(tmp_path / "home", tools(tmp_path / "tools", UV, python3=PYTHON))
    file = machine.home / ".docker/config.json"
    file.parent.mkdir()
    file.write_text("{")
    before = machine.tree()

    for option in ("--configure", "--uninstall"):
        assert "is not valid JSON" in only_line(machine.install(option))
        assert machine.tree() == before
    assert sorted(path.name for path in machine.home.iterdir()) == [".docker"]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(), id="directory"),
        pytest.param(os.mkfifo, id="pipe"),
        pytest.param(lambda path: path.symlink_to("config.json"), id="link to itself"),
        pytest.param(lambda path: path.symlink_to("there/is/no.json"), id="link to nowhere"),
    ],
)
def test_what_is_no_file_is_left_alone(settled: Machine, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Nobody waits for a pipe, and no directory is made for a link."""
    make(tmp_path / "config.json")

    only_line(settled.install("--configure", DOCKER_CONFIG=str(tmp_path)))

    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_directory_that_cannot_be_written_is_said(settled: Machine, tmp_path: Path) -> None:
    """A read-only directory costs one sentence."""
    (tmp_path / "config.json").write_text("{}")
    tmp_path.chmod(0o555)
    try:
        line = only_line(settled.install("--configure", DOCKER_CONFIG=str(tmp_path), within=unprivileged()))
    finally:
        tmp_path.chmod(0o755)

    assert "config.json cannot be read or written (Permission denied)" in line
    assert (tmp_path / "config.json").read_text() == "{}"


def unprivileged() -> list[str]:
    """What makes root obey modes as everybody does."""
    if os.geteuid():
        return []
    return [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all"]


@pytest.mark.parametrize(
    ("former", "present", "wanted"),
    [
        pytest.param(None, {"credsStore": "keyring", "auths": {}}, {"auths": {}}, id="docker wrote since"),
        pytest.param(None, {"credsStore": "pass"}, {"credsStore": "pass"}, id="another store by now"),
        pytest.param(
            {"credsStore": "pass"},
            {"credsStore": "keyring", "x": 1},
            {"credsStore": "pass", "x": 1},
            id="the former store",
        ),
        pytest.param(
            None,
            {"credHelpers": {"public.ecr.aws": "ecr", "a.example": "keyring", "gcr.io": "gcloud"}, "x": 1},
            {"credHelpers": {"gcr.io": "gcloud"}, "x": 1},
            id="helpers of others stay",
        ),
        pytest.param(None, {"credHelpers": {"public.ecr.aws": "ecr"}}, None, id="nothing is left"),
        pytest.param(
            None,
            {"credHelpers": {"public.ecr.aws": "ecr-login"}},
            {"credHelpers": {"public.ecr.aws": "ecr-login"}},
            id="not ours",
        ),
    ],
)
def test_removal_takes_our_lines_only(
    tmp_path: Path,
    former: dict[str, object] | None,
    present: dict[str, object],
    wanted: dict[str, object] | None,
) -> None:
    """What others wrote into config.json, before or since, stays."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(present))
    if former is not None:
        (tmp_path / "config.json.credhelpers-backup").write_text(json.dumps(former))

    assert (content := back(tmp_path, file)) is None or json.loads(content) == wanted
    assert (content is None) == (wanted is None)
    assert (tmp_path / "config.json.credhelpers-backup").exists() == (former is not None)


# --- the names of other helpers ---------------------------------------------------------------------------------------

DROP_INS = {
    "ecr-login": "ecr",
    "gcloud": "gcr",
    "acr-env": "acr",
    "acr-linux": "acr",
    "acr-login": "acr",
    "secretservice": "keyring",
    "vault-login": "vault",
}


def original(folder: Path, *names: str) -> Path:
    """A directory with helpers that others have made."""
    folder.mkdir()
    for name in names:
        (folder / f"docker-credential-{name}").write_text("#!/bin/sh\necho original\n")
        (folder / f"docker-credential-{name}").chmod(0o755)
    return folder


def test_names_of_others_start_ours(tmp_path: Path) -> None:
    """Every one, on request; through later runs; until it is taken back, when the originals serve again."""
    machine = settle(tmp_path)
    others = original(tmp_path / "others", "ecr-login", "gcr")
    machine.env["PATH"] += f":{others}"
    before = machine.tree()
    options = [f"--replace={name}" for name in (*DROP_INS, "gcr")]

    done = machine.install(*options)

    assert (done.code, done.err) == (0, b""), done
    for name, own in DROP_INS.items():
        assert f"\nfor {name} docker starts our docker-credential-{own}".encode() in done.out
        answer = machine.call(name, "version")
        assert answer.out.startswith(f"docker-credential-{own} (credhelpers) v".encode()), answer
        assert machine.call(name, "get", "registry.example").out == b"credentials not found in native keychain\n"
    for name in ("ecr-login", "gcr"):
        assert f"and not {others}/docker-credential-{name}, which comes later on PATH\n".encode() in done.out
    assert b"\ngcr is a name of credhelpers itself: docker-credential-gcr is always installed\n" in done.out
    installed = machine.tree()
    assert installed.items() - before.items() == {
        (f".local/bin/docker-credential-{name}", f"-> docker-credential-{own}") for name, own in DROP_INS.items()
    }

    assert machine.install().code == 0
    assert machine.tree() == installed

    gone = machine.install("--uninstall")
    assert (gone.code, gone.err) == (0, b""), gone
    assert machine.tree() == {}
    again = f"removed the link docker-credential-ecr-login: docker starts {others}/docker-credential-ecr-login again\n"
    assert again.encode() in gone.out
    assert b"removed the link docker-credential-acr-env: lines that name acr-env in " in gone.out
    assert b".docker/config.json lead nowhere now" in gone.out
    assert machine.call("ecr-login", "version").out == b"original\n"


def test_the_original_before_ours_is_told(tmp_path: Path) -> None:
    """A name is not ours while another program of that name comes first on PATH."""
    machine = settle(tmp_path)
    others = original(tmp_path / "others", "gcloud", "gcr")
    machine.env["PATH"] = f"{others}:{machine.env['PATH']}"

    done = machine.install("--replace", "gcloud")

    assert done.code == 0, done
    for name in ("gcloud", "gcr"):
        assert f"warning: docker will start {others}/docker-credential-{name}, which comes".encode() in done.out
    assert b"docker starts our" not in done.out


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.write_text("#!/bin/sh\n"), id="file"),
        pytest.param(lambda path: path.symlink_to("/bin/true"), id="link"),
        pytest.param(lambda path: path.symlink_to("there-is-none"), id="link to nowhere"),
        pytest.param(lambda path: path.symlink_to(path.parent / "docker-credential-ecr"), id="link of somebody's own"),
        pytest.param(lambda path: path.symlink_to("docker-credential-ecr docker-credential-gcr"), id="link to two"),
        pytest.param(lambda path: path.mkdir(), id="directory"),
        pytest.param(os.mkfifo, id="pipe"),
    ],
)
def test_what_has_the_name_already_is_left_alone(settled: Machine, make: Callable[[Path], None]) -> None:
    """Only what --replace has made is replaced; nothing else is changed either."""
    stranger = settled.links / "docker-credential-ecr-login"
    before = sorted(settled.links.iterdir())
    make(stranger)
    made = stranger.lstat().st_ino
    try:
        line = only_line(settled.install("--replace", "gcloud", "--replace", "ecr-login"))
        assert stranger.lstat().st_ino == made
    finally:
        stranger.rmdir() if stranger.is_dir() else stranger.unlink()

    assert f"{stranger} is there and was not made by install.sh: move it away; nothing was changed" in line
    assert sorted(settled.links.iterdir()) == before


def test_names_of_others_are_found_in_config_json(settled: Machine, tmp_path: Path) -> None:
    """Who comes from other helpers is told of the option; what is written in vain there is no obstacle."""
    helpers = {"public.ecr.aws": "ecr-login", "gcr.io": "gcloud", "a.example": ["x"], "b.example": None}
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": helpers}))

    done = settled.install(DOCKER_CONFIG=str(tmp_path))

    assert (done.code, done.err) == (0, b""), done
    assert b"that ours can stand in for: ./install.sh --replace ecr-login --replace gcloud\n" in done.out
    assert b'    "credHelpers": {"myregistry.azurecr.io": "acr"}\n' in done.out


def test_what_others_have_uninstalled_leaves_no_link(tmp_path: Path) -> None:
    """After `uv tool uninstall` docker finds the original again, and --uninstall takes the dead link away."""
    machine = settle(tmp_path)
    others = original(tmp_path / "others", "ecr-login")
    machine.env["PATH"] += f":{others}"
    assert machine.install("--replace", "ecr-login").code == 0
    share = machine.home / ".local/share/uv/tools"
    places = {"HOME": str(machine.home), "UV_TOOL_DIR": str(share), "UV_TOOL_BIN_DIR": str(machine.links)}
    forms.run(UV, "tool", "uninstall", "credhelpers", **places)
    assert machine.call("ecr-login", "version").out == b"original\n"

    assert machine.install("--uninstall").code == 0

    assert machine.tree() == {}


# --- the keyring of a desktop -----------------------------------------------------------------------------------------


def test_it_says_that_there_is_a_keyring(settled: Machine) -> None:
    """In a session with a keyring the throw-away credential goes there, and that is said."""
    with Session() as session:
        done = settled.install(env=session.env)

    assert (done.code, done.err) == (0, b""), done
    assert b"docker logins are kept in the keyring of this system\n" in done.out
    assert not (settled.home / ".local/share/credhelpers").exists()


def test_a_keyring_that_does_not_work_is_said(settled: Machine, tmp_path: Path) -> None:
    """A bus that does not answer makes a sentence with the helper's own words."""
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(tmp_path / "bus"))
        bus.listen()
        line = only_line(settled.install(DBUS_SESSION_BUS_ADDRESS=f"unix:path={tmp_path}/bus"))

    assert line.startswith("install.sh: credhelpers is installed, but docker-credential-keyring cannot store here: ")


def test_removal_keeps_credentials_unless_told(tmp_path: Path) -> None:
    """What a person has stored is hers: --uninstall says where it is, --purge erases it, cached tokens go anyway."""
    machine = settle(tmp_path)
    for server in ("one.example", "two.example"):
        document = json.dumps({"ServerURL": server, "Username": "someone", "Secret": "made-up"})
        assert machine.call("keyring", "store", document).code == 0
    cache = machine.home / ".cache/credhelpers"
    cache.mkdir(mode=0o700, parents=True)
    digits = "0123456789abcdef" * 2 + "01234567"
    tokens = (f"ecr-{digits}", f"ecr-{digits}.failed", f".ecr-{digits}.7", f"vault-{digits}", f"vaulttoken-{digits}")
    for name in (*tokens, "acr-lock-07", "vaulttoken-lock-63", "gcr-erased", ".gcr-erased.7", "vaulttoken-erased"):
        (cache / name).write_text("")
    while not (plans := list(cache.glob("plan-*"))):  # none is kept before what is installed has an age
        assert machine.call("ecr", "get", "ghcr.io").code == 1
    (plan,) = plans
    (cache / f".{plan.name}.7").write_text("")
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    for name in (plan.name, f"plan-{digits}", f"ecr-{digits}", "ecr-notes", "lock-picking", "notes-erased"):
        (chosen / name).write_text("")
    for name in (f"project-{digits}.tar.gz", f"project-{digits}", "bike-lock-08"):
        (chosen / name).write_text("somebody's")
    others = sorted([f"project-{digits}.tar.gz", f"project-{digits}", "bike-lock-08", "ecr-notes", "lock-picking"])
    others.append(f"plan-{digits}")
    store = machine.home / ".local/share/credhelpers"

    done = machine.install("--uninstall", CREDHELPERS_CACHE_DIR=str(chosen))
    assert f"stored in {store}; --uninstall --purge erases it\n".encode() in done.out, done
    assert len(list(store.glob("*.age"))) == 2
    assert not cache.exists()
    assert sorted(path.name for path in chosen.iterdir()) == sorted([*others, "notes-erased"])

    assert "run ./install.sh first" in only_line(machine.install("--uninstall", "--purge", PATH=machine.env["PATH"]))
    forms.by_uv_tool(machine.home, machine.home / ".local/share/uv/tools", machine.links)
    assert len(machine.call("keyring", "list").listing) == 2
    done = machine.install("--uninstall", "--purge")
    assert b"erased 2 stored credentials\n" in done.out, done
    assert not store.exists()
    assert machine.tree() == {}


@pytest.mark.parametrize(("kind", "where"), [("keyring", "of this system"), ("library", "that config.toml names")])
def test_removal_leaves_nothing_in_a_keyring_that_nobody_sees(tmp_path: Path, kind: str, where: str) -> None:
    """What is noted to be there, and could not be erased, is said; --purge removes nothing then."""
    machine = settle(tmp_path)
    store = machine.home / ".local/share/credhelpers"
    store.mkdir(mode=0o700, parents=True)
    (store / f"x.{kind}").write_text("a.example")
    assert b"in a keyring that is not there now" in machine.install("--uninstall", "--purge").err
    assert (store / f"x.{kind}").exists()
    assert machine.call("keyring", "list").code == 0
    done = machine.install("--uninstall")
    assert f"stored in {store} and the keyring {where}; --uninstall --purge erases it\n".encode() in done.out, done


# --- machines on which it cannot be installed -------------------------------------------------------------------------

OLD = """case $* in *-I*) exit 1 ;; *print*) echo 3.9 ;; *) exit 1 ;; esac"""
WITHOUT_PIP = 'case $* in *ensurepip*) exit 1 ;; *) exec "$REAL_PYTHON" "$@" ;; esac'
WITHOUT_VENV = 'case $* in *venv*) exit 1 ;; *) exec "$REAL_PYTHON" "$@" ;; esac'


@pytest.mark.parametrize(
    ("scripts", "options", "env", "sentence"),
    [
        pytest.param({}, [], {}, "there is none on PATH: install one (", id="no Python"),
        pytest.param({"python3": OLD}, [], {}, "Python 3.11 or newer is needed, and python3 is 3.9: install", id="old"),
        pytest.param({"python3": WITHOUT_PIP}, [], {}, "sudo apt install python3-venv", id="no ensurepip"),
        pytest.param({"python3": WITHOUT_VENV}, [], {}, "sudo apt install python3-venv", id="no venv"),
        pytest.param({"python3": PYTHON}, ["--with", "uv"], {}, "uv is not on PATH: install it", id="no uv"),
        pytest.param({"python3": PYTHON}, ["--with=pipx"], {}, "pipx is not on PATH: install it", id="no pipx"),
        pytest.param({"python3": PYTHON}, [], {"HOME": ""}, "HOME is not set: set it", id="no home"),
        pytest.param(
            {"python3": PYTHON}, [], {"HOME": "/there/is/none"}, "/there/is/none is not there", id="lost home"
        ),
        pytest.param({"python3": PYTHON}, [], {"TMPDIR": "/there/is/none"}, "set TMPDIR to one that", id="no TMPDIR"),
    ],
)
def test_what_is_missing_is_said(
    tmp_path: Path, scripts: dict[str, str], options: list[str], env: dict[str, str], sentence: str
) -> None:
    """One sentence with what to do, and a home without a trace."""
    machine = Machine(tmp_path / "home", tools(tmp_path / "tools", **scripts))

    line = only_line(machine.install(*options, env=env))

    assert sentence in line
    assert line.endswith("nothing was changed")
    assert list(machine.home.iterdir()) == []


@pytest.mark.parametrize("place", [".local", ".local/bin", ".local/share", ""])
def test_a_target_that_cannot_be_written_is_said(tmp_path: Path, place: str) -> None:
    """A read-only home, or a part of one, is found out before anything is done."""
    machine = Machine(tmp_path / "home", tools(tmp_path / "tools", python3=PYTHON))
    folder = machine.home / place
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o555)
    before = sorted(machine.home.rglob("*"))
    try:
        line = only_line(machine.install(within=unprivileged()))
    finally:
        folder.chmod(0o755)

    assert str(folder) in line
    assert line.endswith("; nothing was changed")
    assert sorted(machine.home.rglob("*")) == before


@pytest.mark.parametrize(
    ("tool", "commands"),
    [
        pytest.param("uv", [], id="uv, in the middle"),
        pytest.param("uv", ["df"], id="uv, before"),
        pytest.param("venv", ["df"], id="venv, before"),
    ],
)
def test_a_full_disk_is_said(tmp_path: Path, tool: str, commands: list[str]) -> None:
    """Where the disk is full, or fills up in the middle, all is taken back and the sentence says what to do."""
    need_root("a small disk")
    machine = Machine(tmp_path / "home", tools(tmp_path / "tools", UV, *commands, python3=PYTHON))
    # In a mount name space of its own, so that the disk goes with it.
    after = tmp_path / "after"
    script = f'mount -t tmpfs -o size=6m tmpfs "$HOME"; PATH=$0 "$@"; code=$?; ls -A "$HOME" >{after}; exit $code'
    within = ["unshare", "--mount", "/bin/sh", "-c", script, machine.env["PATH"]]

    done = machine.install("--with", tool, within=within, cwd=tmp_path, PATH=SYSTEM)

    assert "the disk is full: make room for 200 MB" in only_line(done)
    assert after.read_text().split() in ([], [".local"])  # what uv keeps for itself


def test_a_stranger_in_the_way_is_left_alone(tmp_path: Path) -> None:
    """A file of the same name that is not ours is not overwritten."""
    machine = Machine(tmp_path / "home", tools(tmp_path / "tools", UV, python3=PYTHON))
    stranger = machine.home / ".local/bin/docker-credential-ecr"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("#!/bin/sh\n")
    before = machine.tree()

    line = only_line(machine.install())

    assert f"{stranger} is there and was not made by uv, pipx or install.sh: move it away" in line
    assert machine.tree() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_takes_everything_back(tmp_path: Path, number: signal.Signals) -> None:
    """Control-C in the middle leaves the home as it was."""
    home = tmp_path / "home"
    slow = f"""case $* in
"tool dir") echo "{home}/tools" ;;
"tool dir --bin") echo "{home}/.local/bin" ;;
*) mkdir -p "{home}/tools/credhelpers/bin"; ln -s "{home}/tools/credhelpers/bin/x" "{home}/.local/bin/{EXECUTABLES[0]}"
touch "{tmp_path}/begun"; exec sleep 60 ;;
esac"""
    machine = Machine(home, tools(tmp_path / "tools", "touch", uv=slow))
    process = subprocess.Popen(
        [str(ROOT / "install.sh")],
        env=machine.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509 - tests in the background ignore it
    )
    try:
        until((tmp_path / "begun").exists, "the installation has begun")
        os.killpg(process.pid, number)
        assert process.wait(90) == 128 + number
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    assert list(home.iterdir()) == []


def test_a_directory_that_is_not_on_path_is_told(settled: Machine) -> None:
    """It works, and a warning says which line makes docker find it."""
    path = settled.env["PATH"].partition(":")[0]

    done = settled.install(PATH=path)

    assert done.code == 0, done
    assert f'export PATH="{settled.home}/.local/bin:$PATH"'.encode() in done.out


def test_an_executable_before_ours_is_told(settled: Machine, tmp_path: Path) -> None:
    """Docker would start the other one."""
    other = tmp_path / "docker-credential-keyring"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)

    done = settled.install(PATH=f"{tmp_path}:{settled.env['PATH']}")

    assert f"warning: docker will start {other}, which comes before".encode() in done.out


def test_no_stranger_is_run(settled: Machine, tmp_path: Path) -> None:
    """Modules in the directory where it is started, and variables that lead to them, run nowhere."""
    for name in ("json", "os", "stat", "tempfile", "hashlib", "compileall", "sitecustomize", "credhelpers"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n")
    config = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    hostile = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path), "CDPATH": str(tmp_path)}

    done = settled.install("--configure", cwd=tmp_path, env=hostile | config)

    assert (done.code, done.err) == (0, b""), done
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "options",
    [
        *(["--upgrade"], ["-x"], ["install"], ["--purge"], ["--with"], ["--with", "pip"]),
        ["--uninstall", "--configure"],
        *(["--replace"], ["--replace="], ["--replace", "pass"], ["--replace", "../../bin/sh"], ["--replace", "*"]),
        *(["--replace", "acr docker-credential-ecr"], ["--replace", "-f"], ["--uninstall", "--replace", "gcr"]),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"]], ids=" ".join)
def test_misuse_is_one_sentence(tmp_path: Path, options: list[str], shell: list[str]) -> None:
    """An option that does not exist changes nothing and says where the manual is."""
    need(shell[0], shell[0])
    machine = Machine(tmp_path / "home", SYSTEM)

    done = machine.install(*options, shell=shell)

    assert (done.code, done.out) == (2, b"")
    assert re.fullmatch(rb"install\.sh: .*; see \./install\.sh --help\n", done.err)
    assert list(machine.home.iterdir()) == []


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_manual_tells_everything(tmp_path: Path, option: str) -> None:
    """Every option and every variable that the script takes is in its manual."""
    done = Machine(tmp_path / "home", SYSTEM).install(option)

    assert (done.code, done.err) == (0, b"")
    manual = done.out.decode()
    options = ("--configure", "--replace", "--with", "--uninstall", "--purge", "--help")
    for word in (*options, *DROP_INS, "DOCKER_CONFIG", "exit status"):
        assert word in manual
    assert max(map(len, manual.splitlines())) <= 120
