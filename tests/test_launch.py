"""How the executables start: by whom, from where, under which variables, and from which files."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import cached_token
from credhelpers.cache import TokenCache
from credhelpers.credential import Credential
from credhelpers.sources.ecr import Ecr
from tests import forms
from tests.forms import EXECUTABLES, ROOT, SYSTEM
from tests.harness import BIN, NOT_FOUND, Result, document, lacking, need
from tests.routes import keep_copy
from tests.services import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

ECR = "docker-credential-ecr"
KEYRING = "docker-credential-keyring"
HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def start(
    *command: str | Path,
    stdin: bytes = b"",
    env: dict[str, str] | None = None,
    cwd: str | Path = "/",
    session: bool = False,
) -> Result:
    """Run a command as a client would, in a directory that is not ours."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        env={"PATH": SYSTEM} if env is None else env,
        cwd=cwd,
        capture_output=True,
        timeout=60,
        check=False,
        start_new_session=session,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def assert_said(result: Result, command: str) -> str:
    """That a start which failed said so: one line, and a hint which names a command that mends it; the line."""
    assert result.code == 1, result
    assert b"Traceback" not in result.out + result.err, result
    assert re.fullmatch(rb"[ -~]{1,200}\n", result.out), result
    hints = [line for line in result.err.splitlines() if line.startswith(b"hint: ")]
    assert len(hints) == 1, result
    assert re.fullmatch(rb"[ -~]{1,400}", hints[0]), result
    assert f"`{command}" in hints[0].decode(), result
    if b": exec: " not in result.err and b": line " not in result.err:  # a shell's own words on what it cannot start
        assert result.err == hints[0] + b"\n", result
    return result.out.decode().rstrip("\n")


def is_version(result: Result, name: str) -> bool:
    """Whether this is what `version` answers, and nothing else."""
    return (result.code, result.err) == (0, b"") and bool(
        re.fullmatch(rb"%b \(credhelpers\) v[0-9][^\n ]*\n" % name.encode(), result.out)
    )


@pytest.fixture(scope="module", params=["pip", "uv tool", "pipx", "editable"])
def form(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory on PATH of one form of installation."""
    folder = tmp_path_factory.mktemp("a form")
    if request.param == "uv tool":
        return forms.by_uv_tool(folder, folder / "tools", folder / "bin")
    if request.param == "pipx":
        return forms.by_pipx(need("pipx", "pipx"), folder, "--python", str(forms.REAL_PYTHON))
    if request.param == "editable":
        source = forms.checkout(folder / "source")
        return forms.by_environment(folder / "environment", "--editable", source=source)
    return BIN


def test_a_source_distribution_has_all_that_makes_the_executables(tmp_path: Path) -> None:
    """It makes the same ones as the checkout."""
    forms.run("sh", "-c", 'cd "$0" && exec "$@"', ROOT, BIN / "hatchling", "build", "-t", "sdist", "-d", tmp_path)
    (source,) = tmp_path.glob("*.tar.gz")
    bin_ = forms.by_environment(tmp_path / "environment", source=source)
    for name in EXECUTABLES:
        assert is_version(start(bin_ / name, "version"), name)
        assert (bin_ / name).read_bytes() == (BIN / name).read_bytes()


def test_an_editable_installation_writes_no_launch_file(tmp_path: Path) -> None:
    """It would lie in the checkout, where no executable looks for it, and be written anew at every call."""
    source = forms.checkout(tmp_path / "source")
    bin_ = forms.by_environment(tmp_path / "environment", "--editable", source=source)
    for _ in range(2):
        assert is_version(start(bin_ / ECR, "version"), ECR)
    assert not list(tmp_path.rglob(f"{ECR}.{sys.hexversion:x}*"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that nothing has been called from, to copy."""
    return forms.by_environment(tmp_path_factory.mktemp("template") / "environment").parent


class Installation:
    """An environment of its own, to look into and to damage."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.package = folder / "lib" / PYTHON / "site-packages/credhelpers"
        self.bytecode = self.package / "__pycache__"

    def call(self, verb: str = "version", stdin: bytes = b"", **env: str) -> Result:
        return start(self.bin / ECR, verb, stdin=stdin, env={"PATH": SYSTEM, **env})

    @property
    def file(self) -> Path:
        """What the executable starts from after the first slow call."""
        return self.bytecode / f"{ECR}.{sys.hexversion:x}"

    @property
    def on_a_miss(self) -> Path:
        """What it goes on from where the cache has nothing."""
        return self.bytecode / f"{ECR}.{sys.hexversion:x}.miss"

    def opened(self, trace: Path, verb: str = "version", stdin: bytes = b"", code: int = 0, **env: str) -> list[str]:
        """The files of the package that a call opens, by their names in it."""
        strace = need("strace", "strace")
        command = (strace, "-f", "-qq", "-e", "trace=open,openat", "-o", trace, self.bin / ECR, verb)
        done = start(*command, stdin=stdin, env={"PATH": SYSTEM, **env})
        assert done.code == code, done
        return re.findall(r'"[^"]*/site-packages/credhelpers/([^"]*)".* = [0-9]', trace.read_text())


@pytest.fixture
def installation(template: Path, tmp_path: Path) -> Installation:
    """A fresh copy in a path with spaces."""
    shutil.copytree(template, tmp_path / "a copy of it", symlinks=True)
    return Installation(tmp_path / "a copy of it")


# --- the first lines --------------------------------------------------------------------------------------------------


def test_executables_start_alike(form: Path) -> None:
    """In every form an executable has the same lines but for what it is made of."""
    end = "\n# --- what it is made of ---\n"
    heads = set()
    for name in EXECUTABLES:
        head, marker, composition = (form / name).read_text().partition(end)
        assert marker
        assert composition == (ROOT / "entrypoints" / name).read_text()
        assert head.startswith("#!/bin/sh\n"), "an installer has put another line there"
        assert (form / name).stat().st_mode & 0o777 == 0o755, name
        heads.add(head)

    assert len(heads) == 1


@pytest.mark.parametrize("shell", [[], ["dash"], ["busybox", "sh"]], ids=["kernel", "dash", "busybox"])
@pytest.mark.parametrize("name", EXECUTABLES)
def test_every_form_starts(form: Path, name: str, shell: list[str]) -> None:
    """What pip, uv, pipx and an editable installation put on PATH runs, by every shell."""
    if shell:
        need(shell[0], shell[0])

    assert is_version(start(*shell, form / name, "version"), name)


@pytest.mark.parametrize("shell", [[], ["dash"], ["busybox", "sh"]], ids=["kernel", "dash", "busybox"])
def test_links_are_followed(form: Path, tmp_path: Path, shell: list[str]) -> None:
    """A chain of relative and absolute links, through directories with spaces, under other names."""
    if shell:
        need(shell[0], shell[0])
    folder = tmp_path / "with a space"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/first").symlink_to(form / ECR)
    (folder / "second").symlink_to("sub/first")
    (tmp_path / "third").symlink_to(folder / "second")
    (folder / "sub/-last one").symlink_to("../../third")

    assert is_version(start(*shell, folder / "sub/-last one", "version"), ECR)


def test_no_program_of_the_working_directory_follows_the_links(form: Path, tmp_path: Path) -> None:
    """An empty word in PATH is the working directory, where anybody may have put a `readlink`."""
    (tmp_path / "link").symlink_to(form / ECR)
    planted = tmp_path / "here/readlink"
    planted.parent.mkdir()
    planted.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    planted.chmod(0o755)
    done = start(tmp_path / "link", "version", env={"PATH": f":{SYSTEM}"}, cwd=planted.parent)
    assert is_version(done, ECR)
    assert not (tmp_path / "ran").exists()


def test_it_is_found_in_every_way(form: Path, tmp_path: Path) -> None:
    """By PATH, by a relative path, from its own directory, through a linked directory."""
    need("dash", "dash")
    (tmp_path / "linked").symlink_to(form)
    (tmp_path / "deep/er").mkdir(parents=True)

    assert is_version(start("sh", "-c", f"exec {ECR} version", env={"PATH": f"{form}:{SYSTEM}"}), ECR)
    assert is_version(start("sh", "-c", f"exec {ECR} version", env={"PATH": f".:{SYSTEM}"}, cwd=form), ECR)
    assert is_version(start("dash", ECR, "version", cwd=form), ECR)
    assert is_version(start(f"./{ECR}", "version", cwd=form), ECR)
    assert is_version(start(f"../../linked/{ECR}", "version", cwd=tmp_path / "deep/er"), ECR)


def test_without_a_python_it_says_what_to_do(installation: Installation) -> None:
    """An environment whose Python a system upgrade took away is told on the line that docker shows."""
    (installation.bin / "python3").unlink()

    done = installation.call("get")

    assert_said(done, "pipx reinstall")
    assert done.out == f"no python3 beside {ECR}: install it again with install.sh, uv tool or pipx\n".encode()


SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"]]


@pytest.fixture(params=SHELLS, ids="-".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A shell that may be a system's `sh`."""
    need(request.param[0], request.param[0])
    return list(request.param)


def _nowhere(python: Path) -> None:
    python.symlink_to("/there/is/none")


def _no_program(python: Path) -> None:
    python.touch(mode=0o644)


def _no_loader(python: Path) -> None:
    python.write_text("#!/there/is/none\n")
    python.chmod(0o755)


def _folder(python: Path) -> None:
    python.mkdir()


def _empty(python: Path) -> None:
    python.touch(mode=0o755)


@pytest.mark.parametrize("put", [_nowhere, _no_program, _no_loader, _folder, _empty])
def test_a_python_that_cannot_run_is_said_to_be_there(
    installation: Installation, shell: list[str], put: Callable[[Path], None]
) -> None:
    """A link to nowhere, a file that is no program, one that nothing loads, an empty one: there, but not to be run."""
    python = installation.bin / "python3"
    python.unlink()
    put(python)

    line = assert_said(start(*shell, installation.bin / ECR, "get", stdin=b"registry.example"), "pipx reinstall")
    assert line.startswith(f"python3 beside {ECR} is there and cannot be run by this user")


def test_a_python_of_another_user_is_said_to_be_there(installation: Installation, entered: Path) -> None:
    """The Python of root's uv lies where only root may go."""
    if os.geteuid() != 0:
        lacking("only root can become another user; run as root, in a container for example")
    closed = installation.bin.parent / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python3").symlink_to(forms.REAL_PYTHON)
    (installation.bin / "python3").unlink()
    (installation.bin / "python3").symlink_to(closed / "python3")

    done = start(*as_another(), installation.bin / ECR, "get", stdin=b"registry.example")
    assert assert_said(done, "pipx reinstall").startswith(f"python3 beside {ECR} is there and cannot be run by this")


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "sh"]], ids="-".join)  # bash tries again for 15 seconds
def test_a_start_that_fails_where_there_are_no_processes_fails_as_ever(
    installation: Installation, entered: Path, shell: list[str]
) -> None:
    """The shell finds none for what takes the input out of the client's hands; a client reads the exit status, too."""
    need(shell[0], shell[0])
    if os.geteuid() != 0:
        lacking("only root can become another user; run as root, in a container for example")
    (installation.bin / "python3").unlink()

    limit = [need("prlimit", "util-linux"), "--nproc=0"]
    done = start(*limit, *as_another(), *shell, installation.bin / ECR, "get", stdin=b"registry.example")
    assert done.code == 1, done
    assert done.out == f"no python3 beside {ECR}: install it again with install.sh, uv tool or pipx\n".encode()


def as_another() -> list[str]:
    """The words before a command that make it another user's."""
    return [need("setpriv", "util-linux"), "--reuid", "54321", "--regid", "54321", "--clear-groups"]


def without_readlink(folder: Path, *names: str) -> list[str]:
    """The words before a command that hide the system's `readlink` from it, with others by `names` in `folder`."""
    if os.geteuid() != 0:
        lacking("only root can hide a program; run as root, in a container for example")
    folder.mkdir()
    for name in names:
        shutil.copy(shutil.which("readlink", path=SYSTEM) or "", folder / name)
    script = 'for p in /bin/readlink /usr/bin/readlink; do [ -x $p ] && mount --bind /dev/null $p; done; exec "$@"'
    return [need("unshare", "util-linux"), "-m", "sh", "-c", script, "sh"]


def test_links_are_followed_by_the_readlink_of_path(
    installation: Installation, tmp_path: Path, shell: list[str]
) -> None:
    """NixOS keeps `readlink` where only PATH knows it."""
    hidden = without_readlink(tmp_path / "tools", "readlink")
    (tmp_path / "link").symlink_to(installation.bin / ECR)
    env = {"PATH": f"{SYSTEM}:{tmp_path}/tools"}

    if shell[0] == "busybox":
        hidden = []  # it has a readlink of its own
    assert is_version(start(*hidden, *shell, tmp_path / "link", "version", env=env), ECR)


@pytest.mark.parametrize("shell", SHELLS[:3], ids="-".join)  # busybox has a readlink of its own
@pytest.mark.parametrize("path", ["", ":", ".:"])
def test_without_readlink_it_says_so(installation: Installation, tmp_path: Path, shell: list[str], path: str) -> None:
    """Also where the working directory has one and PATH leads there: what lies there never runs."""
    need(shell[0], shell[0])
    hidden = without_readlink(tmp_path / "tools", "readlink")
    (tmp_path / "link").symlink_to(installation.bin / ECR)

    done = start(*hidden, *shell, tmp_path / "link", "get", env={"PATH": f"{path}{SYSTEM}"}, cwd=tmp_path / "tools")
    assert assert_said(done, "command -v readlink") == "this link needs `readlink` on a PATH of absolute directories"


# --- links of uv and pipx: known by where they lie, without a process ---

PLACES = ["uv/tools", "pipx/venvs"]


class Home:
    """Where an installer that keeps its environments below `share` has put ours; `bin` has its links."""

    def __init__(self, folder: Path, template: Path, place: str) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self.share = folder / "share"
        self.environment = self.share / place / "credhelpers"
        shutil.copytree(template, self.environment, symlinks=True)
        self.link = self.bin / ECR
        self.link.symlink_to(self.environment / "bin" / ECR)

    def elsewhere(self, folder: Path) -> Path:
        """Another environment, of version 7, with hard links to the executables of this one; the link leads there."""
        shutil.copytree(self.environment, folder, symlinks=True)
        (folder / "bin" / ECR).unlink()
        (folder / "bin" / ECR).hardlink_to(self.environment / "bin" / ECR)
        source = Installation(folder).package / "__init__.py"
        source.write_text(source.read_text().replace('__version__ = "0', '__version__ = "7'))
        self.link.unlink()
        self.link.symlink_to(folder / "bin" / ECR)
        return folder

    def trap(self) -> Path:
        """A Python that leaves a mark in the place of that of the environment; the mark."""
        mark = self.share.parent / "ran"
        python = self.environment / "bin/python3"
        python.unlink()
        python.write_text(f'#!/bin/sh\necho ran >"{mark}"\n')
        python.chmod(0o755)
        return mark


@pytest.fixture(params=PLACES)
def local(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Home:
    """The directories of one installer."""
    return Home(tmp_path / "a home/.local", template, request.param)


def started(link: Path, *shell: str, env: dict[str, str] | None = None, cwd: str | Path = "/") -> str:
    """The number before the first dot of the version that a link starts; every time."""
    found = set()
    for _ in range(2):
        done = start(*shell, link, "version", env=env, cwd=cwd)
        assert is_version(done, ECR), done
        found.add(re.sub(rb".* v(\d+)[.].*\n", rb"\1", done.out).decode())
    assert len(found) == 1
    return found.pop()


def test_their_links_need_no_process(local: Home, shell: list[str], tmp_path: Path) -> None:
    """By an absolute path, a relative one, and whatever the environment says."""
    trace = tmp_path / "trace"
    watched = [need("strace", "strace"), "-f", "-o", str(trace), "-e", "trace=execve,clone,clone3,fork,vfork"]
    words = ("share", "link", "check", "l", "p", "name", "python", "XDG_DATA_HOME", "UV_TOOL_DIR", "PIPX_HOME")
    hostile = {"PATH": SYSTEM} | dict.fromkeys(words, "/there/is/none")

    assert started(local.link) == "0"  # the slow call is over
    for link, folder in ((local.link, "/"), (Path("bin", ECR), local.bin.parent), (Path(ECR), local.bin)):
        assert started(link, *watched, *shell, env=hostile, cwd=folder) == "0"
        calls = re.findall(r"^[0-9]+ +([a-z0-9]+)\(", trace.read_text(), re.MULTILINE)
        assert calls == ["execve", "execve"], "the shell, and the Python that it becomes"


def test_links_to_their_links_are_followed(local: Home, shell: list[str], tmp_path: Path) -> None:
    """Under another name, as an identity may be chosen by, and from other directories."""
    (local.bin / f"{ECR}@prod").symlink_to(ECR)
    (tmp_path / ECR).symlink_to(local.link)
    (tmp_path / "another").symlink_to(local.bin / f"{ECR}@prod")
    for link in (local.bin / f"{ECR}@prod", tmp_path / ECR, tmp_path / "another"):
        assert started(link, *shell) == "0"


def test_a_link_that_leads_elsewhere_starts_what_is_there(local: Home, shell: list[str], tmp_path: Path) -> None:
    """uv makes hard links of one wheel in all environments: the same file, and not the one that is meant."""
    other = local.elsewhere(tmp_path / "other")
    assert started(local.link, *shell) == "7"
    (local.bin / "sub").mkdir()
    (local.bin / "sub/relative").symlink_to("../../../../other/bin/" + ECR)
    local.link.unlink()
    local.link.symlink_to("sub/relative")
    assert started(local.link, *shell) == "7"
    (other / "bin/python3").unlink()
    done = start(*shell, local.link, "get")
    assert assert_said(done, "pipx reinstall").startswith(f"no python3 beside {ECR}")


def test_a_python_of_somebody_else_is_not_started(local: Home, shell: list[str], tmp_path: Path) -> None:
    """Whoever may write beside the directory of a link, and makes a hard link where an installer would."""
    if os.geteuid() != 0:
        lacking("only root can give a directory away; run as root, in a container for example")
    local.elsewhere(tmp_path / "other")
    mark = local.trap()
    os.chown(local.share, 54321, 54321)
    assert started(local.link, *shell) == "7"
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["a link there", "a linked directory", "another file", "a directory"])
def test_what_only_has_the_place_is_not_started(local: Home, shell: list[str], tmp_path: Path, kind: str) -> None:
    """A link to what is meant, which leads to another Python; another file; a directory."""
    other = local.elsewhere(tmp_path / "other")
    mark = local.trap()
    here = local.environment / "bin" / ECR
    if kind == "a linked directory":
        local.share.rename(tmp_path / "share")
        local.share.symlink_to(tmp_path / "share")
    else:
        here.unlink()
    if kind == "a link there":
        here.symlink_to(other / "bin" / ECR)
    elif kind == "another file":
        here.write_bytes((other / "bin" / ECR).read_bytes())
        here.chmod(0o755)
    elif kind == "a directory":
        here.mkdir()
    assert started(local.link, *shell) == "7"
    assert not mark.exists()


# --- a start that fails -----------------------------------------------------------------------------------------------


_ONE = "servers.py"  # which every call needs


def _broken(module: str, line: str) -> Callable[[Installation], None]:
    def put(installation: Installation) -> None:
        with (installation.package / module).open("a") as file:
            file.write(f"\n{line}\n")

    return put


def _removed(path: str) -> Callable[[Installation], None]:
    def remove(installation: Installation) -> None:
        target = installation.package / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return remove


def _other_python(installation: Installation) -> None:
    lib = installation.package.parents[2]
    (lib / PYTHON).rename(lib / "python3.5")


def _nothing(installation: Installation) -> None:
    shutil.rmtree(installation.package.parents[1])


_REINSTALL = "pipx reinstall credhelpers`, or in its checkout `./install.sh` or `uv tool install --reinstall "
_DAMAGED = "credhelpers or its Python is damaged: "
_HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
FAILURES = [
    pytest.param(
        _other_python, f"this Python is {_HERE}, credhelpers was installed for 3.5", _REINSTALL, id="another Python"
    ),
    pytest.param(_nothing, f"{_DAMAGED}ModuleNotFoundError credhelpers", _REINSTALL, id="nothing there"),
    pytest.param(_removed("."), f"{_DAMAGED}ModuleNotFoundError credhelpers", _REINSTALL, id="no package"),
    pytest.param(
        _removed("servers.py"), f"{_DAMAGED}ModuleNotFoundError credhelpers.servers", _REINSTALL, id="no module"
    ),
    pytest.param(
        _removed("sources"), f"{_DAMAGED}ModuleNotFoundError credhelpers.sources", _REINSTALL, id="no sources"
    ),
    pytest.param(_broken(_ONE, "x = ("), f"{_DAMAGED}SyntaxError /credhelpers/servers.py", _REINSTALL, id="syntax"),
    pytest.param(
        _broken("sources/ecr.py", "x = ("),
        f"{_DAMAGED}SyntaxError /credhelpers/sources/ecr.py",
        _REINSTALL,
        id="source syntax",
    ),
    pytest.param(_broken(_ONE, "\0"), _DAMAGED, _REINSTALL, id="NUL"),
    pytest.param(_broken(_ONE, "raise ImportError"), f"{_DAMAGED}ImportError", _REINSTALL, id="import"),
    pytest.param(_broken(_ONE, "import none_such"), f"{_DAMAGED}ModuleNotFoundError none_such", _REINSTALL, id="SDK"),
    pytest.param(_broken(_ONE, "raise OSError(5, 'I/O')"), f"{_DAMAGED}OSError I/O", _REINSTALL, id="EIO"),
    pytest.param(_broken(_ONE, "del is_dubious"), _DAMAGED, _REINSTALL, id="half a module"),
    pytest.param(_broken(_ONE, "raise SystemError('ä\\n' * 999)"), f"{_DAMAGED}SystemError", _REINSTALL, id="text"),
    pytest.param(_broken(_ONE, "def f():\n    f()\nf()"), f"{_DAMAGED}RecursionError", _REINSTALL, id="recursion"),
    pytest.param(_broken(_ONE, "raise MemoryError"), "this system gives no more memory", "ulimit -a", id="memory"),
    pytest.param(
        _broken(_ONE, "raise OSError(24, 'x')"),
        "this system gives no more descriptors",
        "ulimit -a",
        id="EMFILE",
    ),
    pytest.param(
        _broken(_ONE, "import os\nraise ImportError('_x.so: ' + os.strerror(24))"),
        "this system gives no more descriptors",
        "ulimit -a",
        id="EMFILE of a library",
    ),
]


@pytest.mark.parametrize("launch_file", [False, True], ids=["first call", "later call"])
@pytest.mark.parametrize(("damage", "line", "command"), FAILURES)
def test_a_start_that_fails_says_why(
    installation: Installation, damage: Callable[[Installation], None], line: str, command: str, *, launch_file: bool
) -> None:
    """Whatever goes wrong before the call is answered is one line and a hint, and the input is read."""
    if launch_file:
        assert is_version(installation.call(), ECR)
    damage(installation)

    for verb in ("get", "version"):
        done = installation.call(verb, b"x" * (1 << 20))
        assert assert_said(done, command).startswith(line)


@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_the_command_of_the_hint_mends(tmp_path: Path, tool: str) -> None:
    """What is installed for another Python runs again after the command that it names."""
    index = forms.index(tmp_path / "index")
    if tool == "uv":
        bin_ = forms.by_uv_tool(tmp_path, tmp_path / "tools", tmp_path / "bin")
        command = f'uv tool install --reinstall --python {sys.executable} ".[all]"'
        env = {"HOME": str(tmp_path), "UV_TOOL_DIR": f"{tmp_path}/tools", "UV_TOOL_BIN_DIR": str(bin_)}
    else:
        bin_ = forms.by_pipx(need("pipx", "pipx"), tmp_path, "--python", str(forms.REAL_PYTHON))
        command = f"pipx reinstall --python {forms.REAL_PYTHON} credhelpers"
        env = {"HOME": str(tmp_path), "PIPX_HOME": f"{tmp_path}/pipx", "PIPX_BIN_DIR": str(bin_)}
    lib = (bin_ / ECR).resolve().parents[1] / "lib"
    (lib / PYTHON).rename(lib / "python3.5")
    assert_said(start(bin_ / ECR, "version"), "pipx reinstall credhelpers`")

    env |= {"PATH": f"{BIN}:{SYSTEM}", **forms.installers(), **index}
    done = start("sh", "-c", command, cwd=ROOT, env=env)
    assert is_version(start(bin_ / ECR, "version"), ECR), done


@pytest.mark.parametrize("place", ["..", ".", "call.py", "sources", "sources/ecr.py"])
def test_a_package_that_may_not_be_read_is_said_to_be_closed(
    installation: Installation, entered: Path, place: str
) -> None:
    """An administrator with a strict umask has installed it for himself."""
    if os.geteuid() != 0:
        lacking("only root can become another user; run as root, in a container for example")
    python = installation.bin / "python3"
    python.unlink()
    shutil.rmtree(installation.bytecode, ignore_errors=True)
    python.symlink_to("/usr/bin/python3")
    (installation.bin.parent / "pyvenv.cfg").write_text("home = /usr/bin\n")
    need("/usr/bin/" + PYTHON, "python3")
    (installation.package / place).chmod(0)

    done = start(*as_another(), installation.bin / ECR, "get", stdin=HOST.encode())
    assert assert_said(done, "chmod -R a+rX`") == "this user may not read the files of credhelpers"


def test_a_start_that_fails_does_not_wait_for_input(installation: Installation) -> None:
    """A client that keeps its end open hears within the time that it gives."""
    _other_python(installation)
    with subprocess.Popen(
        [installation.bin / ECR, "get"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.wait(timeout=9) == 1
        assert process.stdout
        assert process.stdout.read().startswith(b"this Python is")


def test_an_interrupt_while_it_starts_is_a_line(installation: Installation) -> None:
    """Ctrl-C while modules are imported shows no traceback."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests behind it
    _broken(_ONE, "import posix, _signal\nposix.kill(posix.getpid(), _signal.SIGINT)")(installation)

    try:
        assert assert_said(start(installation.bin / ECR, "get"), "docker-credential-ecr version") == "interrupted"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_launch_file_that_cannot_be_written_leaves_the_answer(installation: Installation) -> None:
    """Whatever happens after the answer, also what nobody has thought of."""
    for line in ("raise ImportError", "x = (", "prepare = None", "import posix\nposix.fsync = None"):
        source = installation.package / "launch.py"
        whole = source.read_text()
        _broken("launch.py", line)(installation)
        assert is_version(installation.call(), ECR), line
        source.write_text(whole)


def faults(
    call: str, errors: tuple[str, ...], installation: Installation, trace: Path, sample: int | None = None
) -> tuple[int, int]:
    """Fail `call`, once or from then on, at each time from the launch file on: the answer is right, or a line.

    That is at a sample of these times if it is said how many. Returns how many runs there were and how many answered.
    """
    strace = need("strace", "strace")
    command = (installation.bin / ECR, "version")
    start(strace, "-o", trace, "-e", f"trace=openat,{call}", *command)
    before, opened, after = trace.read_text().partition(installation.file.name)
    assert opened
    first = before.count(f"\n{call}(") + before.startswith(f"{call}(")
    last = first + after.count(f"\n{call}(")
    saved = installation.file.read_bytes()
    recovered = 0
    ways = [("EINTR", ""), *product(errors, ("", "+"))]  # EINTR for ever would be tried for ever
    runs = list(product(range(first + (call != "openat"), last + 1), ways))
    if sample is not None:
        runs = random.Random(5).sample(runs, min(sample, len(runs)))
    for number, (error, more) in runs:
        installation.file.write_bytes(saved)
        done = start(strace, "-o", trace, "-e", f"inject={call}:error={error}:when={number}{more}", *command)
        if done.code:
            assert_said(done, "")
        else:
            assert is_version(done, ECR), (error, number)
            recovered += 1
    assert recovered or (call == "getdents64" and not runs)  # from the launch file nothing is looked for in a directory
    return len(runs), recovered


@pytest.mark.parametrize("error", ["EMFILE", "EIO", "ENOMEM"])
def test_a_fault_while_the_launch_file_runs_is_recovered(
    installation: Installation, tmp_path: Path, error: str
) -> None:
    """One file or library that cannot be opened, once, costs a hit nothing but time."""
    strace = need("strace", "strace")
    trace = tmp_path / "trace"
    env = {"PATH": SYSTEM, **hit(tmp_path)}
    command = (installation.bin / ECR, "get")
    assert start(*command, stdin=HOST.encode(), env=env).code == 0
    saved = installation.file.read_bytes()
    start(strace, "-o", trace, "-e", "trace=openat", *command, stdin=HOST.encode(), env=env)
    opened = trace.read_text().splitlines()
    launched = next(number for number, line in enumerate(opened, 1) if installation.file.name in line)
    libraries = [number for number, line in enumerate(opened, 1) if "lib-dynload" in line and number > launched]
    for number in (launched, *libraries):
        installation.file.write_bytes(saved)
        injected = f"inject=openat:error={error}:when={number}"
        done = start(strace, "-o", trace, "-e", injected, *command, stdin=HOST.encode(), env=env)
        assert "(INJECTED)" in trace.read_text()
        assert done.credential["ServerURL"] == HOST
        assert installation.file.read_bytes() == saved


_FAULTS = ("EMFILE", "EIO", "ENOMEM", "EACCES")


@pytest.mark.slow
@pytest.mark.parametrize("prepared", [True, False], ids=["launch file", "imports"])
@pytest.mark.parametrize("call", ["openat", "read", "mmap", "newfstatat", "getdents64"])
def test_a_fault_anywhere_is_a_line_or_nothing_sample(
    installation: Installation, tmp_path: Path, call: str, *, prepared: bool
) -> None:
    """No failure of one system call of the start leaves a traceback or an empty answer."""
    _prepare(installation, prepared=prepared)
    faults(call, _FAULTS, installation, tmp_path / "trace", 20)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("prepared", [True, False], ids=["launch file", "imports"])
@pytest.mark.parametrize("call", ["openat", "read", "mmap", "newfstatat", "getdents64"])
def test_a_fault_anywhere_is_a_line_or_nothing_whole(
    installation: Installation, tmp_path: Path, proof: Callable[[str, str], None], call: str, *, prepared: bool
) -> None:
    """The same at every call."""
    _prepare(installation, prepared=prepared)
    runs, recovered = faults(call, _FAULTS, installation, tmp_path / "trace")
    proof(
        f"launch: a failing `{call}` of the start ({'launch file' if prepared else 'imports'}) is a line, or nothing",
        f"{runs} runs: {recovered} right answers, {runs - recovered} lines, 0 else",
    )


def _prepare(installation: Installation, *, prepared: bool) -> None:
    assert is_version(installation.call(), ECR)
    if not prepared:
        installation.file.write_bytes(b"")


# --- hostile surroundings ---------------------------------------------------------------------------------------------

MODULES = (
    *("json", "re", "os", "ssl", "site", "typing", "marshal", "fcntl", "ctypes", "sitecustomize", "usercustomize"),
    *("secretstorage", "pyrage", "botocore/__init__", "credhelpers/__init__", "encodings/__init__"),
)


def plant(folder: Path) -> Path:
    """Put modules that leave a mark when they are run wherever Python might look below `folder`; the mark."""
    mark = folder / "ran"
    # What works also before Python has files.
    trap = f"import posix; posix.write(posix.open({str(mark)!r}, posix.O_WRONLY | posix.O_CREAT), b'%s ')\n"
    site = f".local/lib/{PYTHON}/site-packages"
    for place in (".", f"lib/{PYTHON}", f"lib/{PYTHON}/site-packages", site):
        for module in MODULES:
            path = folder / place / f"{module}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(trap % module)
        (folder / place / "planted.pth").write_text(trap % "pth")
    # CPython looks for its own library where this file says, if a variable says that it is started from here; `-I` does
    # not keep it from that.
    (folder / "pyvenv.cfg").write_text(f"home = {folder}/bin\n")
    (folder / "bin").mkdir()
    (folder / "bin/python3").symlink_to(forms.REAL_PYTHON)
    return mark


def test_the_plants_would_be_run(tmp_path: Path) -> None:
    """The trap is live: a Python that is not isolated runs into it."""
    mark = plant(tmp_path)

    start(forms.REAL_PYTHON, "-c", "import json", cwd=tmp_path)
    assert mark.exists()
    mark.unlink()
    start(forms.REAL_PYTHON, "-c", "pass", env={"HOME": str(tmp_path)})
    assert mark.exists()
    for variable in ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"):
        mark.unlink()
        start(forms.REAL_PYTHON, "-I", "-S", "-c", "pass", env={variable: f"{tmp_path}/bin/python3"})
        assert mark.exists()


SURROUNDINGS: list[Callable[[str], dict[str, str]]] = [
    lambda _: {},
    lambda place: {"PYTHONPATH": place, "PYTHONSAFEPATH": ""},
    lambda place: {"PYTHONHOME": place},
    lambda place: {"PYTHONHOME": place, "PYTHONPATH": place, "PYTHONPLATLIBDIR": "lib"},
    lambda place: {"PYTHONSTARTUP": f"{place}/json.py", "PYTHONINSPECT": "1", "PYTHONBREAKPOINT": "json.loads"},
    lambda place: {"PYTHONUSERBASE": f"{place}/.local", "HOME": place},
    lambda place: {"PYTHONPYCACHEPREFIX": place, "VIRTUAL_ENV": place},
    lambda place: {"PYTHONEXECUTABLE": f"{place}/bin/python3"},
    lambda place: {"__PYVENV_LAUNCHER__": f"{place}/bin/python3"},
    lambda place: {"ENV": f"{place}/json.py", "BASH_ENV": f"{place}/json.py", "CDPATH": place, "IFS": "/-"},
]


@pytest.mark.parametrize("surrounding", SURROUNDINGS, ids=lambda make: "+".join(make("x")) or "directory")
def test_nothing_planted_runs(form: Path, tmp_path: Path, surrounding: Callable[[str], dict[str, str]]) -> None:
    """Neither the working directory nor the link's directory nor a variable changes which code runs."""
    folder = tmp_path / "planted"
    mark = plant(folder)
    for name in EXECUTABLES:
        (folder / name).symlink_to(form / name)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    hostile = {"PATH": SYSTEM, "HOME": str(home), **surrounding(str(folder))}

    for name in EXECUTABLES:
        assert is_version(start(folder / name, "version", env=hostile, cwd=folder), name)
        found = start(folder / name, "get", stdin=b"registry.example", env=hostile, cwd=folder)
        assert found == Result(1, NOT_FOUND, b"")
        assert start(folder / name, "erase", stdin=b"registry.example", env=hostile, cwd=folder) == Result(0, b"", b"")
        assert start(folder / name, "list", env=hostile, cwd=folder) == Result(0, b"{}\n", b"")
    kept = start(folder / ECR, "store", stdin=document(HOST, "AWS", "made-up"), env=hostile, cwd=folder)
    assert kept == Result(0, b"", b"")
    assert not mark.exists(), mark.read_text()


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({}, id="empty"),
        pytest.param({"LANG": "C", "LC_ALL": "C"}, id="C"),
        pytest.param({"LANG": "xx_XX.junk", "LC_ALL": "\x01", "LANGUAGE": "junk"}, id="junk locale"),
        pytest.param({"HOME": "/proc/none", "TMPDIR": "/proc/none"}, id="lost home"),
        pytest.param({"LD_LIBRARY_PATH": "/there/is/none::.", "LD_BIND_NOW": "1"}, id="LD_LIBRARY_PATH"),
        pytest.param({"PYTHONVERBOSE": "3", "PYTHONPROFILEIMPORTTIME": "1", "PYTHONDUMPREFS": "1"}, id="noisy"),
        pytest.param({"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1", "PYTHONTRACEMALLOC": "9"}, id="warnings"),
        pytest.param({"PYTHONUTF8": "junk", "PYTHONIOENCODING": "junk", "PYTHONHASHSEED": "junk"}, id="junk values"),
        pytest.param({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "2", "PYTHONNOUSERSITE": "1"}, id="modes"),
        pytest.param({"POSIXLY_CORRECT": "1", "PATH": "/there/is/none:/usr/bin:/bin"}, id="strict"),
    ],
)
def test_no_variable_is_in_the_way(form: Path, tmp_path: Path, env: dict[str, str]) -> None:
    """The answer is the same, and nothing else is printed, with and without a link before it."""
    (tmp_path / "link").symlink_to(form / ECR)

    assert is_version(start(form / ECR, "version", env=env), ECR)
    assert is_version(start(tmp_path / "link", "version", env=env), ECR)
    assert start(form / ECR, "get", stdin=b"registry.example", env=env) == Result(1, NOT_FOUND, b"")


CLOSED = [closed for count in (1, 2, 3) for closed in combinations((0, 1, 2), count)]


@pytest.mark.parametrize("closed", CLOSED, ids=lambda closed: " ".join(map(str, closed)))
def test_closed_streams(form: Path, tmp_path: Path, closed: tuple[int, ...]) -> None:
    """A caller may have closed any of the three streams; what is left of them carries what it should."""
    (tmp_path / "link").symlink_to(form / ECR)
    closing = " ".join(f"{number}<&-" for number in closed)

    for path in (form / ECR, tmp_path / "link"):
        done = start("sh", "-c", f'exec "$0" version {closing}', path)
        assert done.err == b""
        assert done.code == 1 if 1 in closed else is_version(done, ECR)
        done = start("sh", "-c", f'exec "$0" get {closing}', path, stdin=b"registry.example")
        assert done.code == 1
        assert done.err == b""
        wanted = b"no credentials server URL\n" if 0 in closed else NOT_FOUND
        assert done.out == (b"" if 1 in closed else wanted)


@pytest.mark.parametrize("name", EXECUTABLES)
def test_a_full_standard_output_is_a_failure(form: Path, name: str) -> None:
    """Whoever writes into a full file hears of it, and not by a traceback."""
    assert start("sh", "-c", 'exec "$0" version >/dev/full', form / name) == Result(1, b"", b"")


def test_without_a_terminal(form: Path) -> None:
    """A session of its own, as a service manager starts it, makes no difference."""
    assert is_version(start(form / ECR, "version", session=True), ECR)
    assert start(form / ECR, "get", stdin=b"registry.example", session=True) == Result(1, NOT_FOUND, b"")


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(form: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A `get` that waits for its input."""
    command = [str(form / ECR), "get"]
    env = {"PATH": SYSTEM}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=env) as process:
        yield process
        process.kill()


def test_python_is_isolated_and_leaves_no_core(waiting: subprocess.Popen[bytes]) -> None:
    """The process that docker started has become Python, isolated, without `site` and with a core limit of zero."""
    folder = Path(f"/proc/{waiting.pid}")
    arguments = until(lambda: (folder / "cmdline").read_bytes().split(b"\0")[1:], "a command line")
    until(lambda: (folder / "cmdline").read_bytes().split(b"\0")[1:3] == [b"-I", b"-S"], "isolation")

    assert re.search(r"^Max core file size +0 +0 ", (folder / "limits").read_text(), re.MULTILINE)
    assert arguments


def test_no_debugger_reads_a_secret(tmp_path: Path) -> None:
    """From before the first secret on, not even another process of the same user may look into this one."""
    own = [] if os.geteuid() else [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all"]

    def can_be_read(process: subprocess.Popen[bytes]) -> bool:
        # A process that may not be dumped is closed to all but those with CAP_SYS_PTRACE, which `own` takes from root.
        return start(*own, "cat", f"/proc/{process.pid}/environ").code == 0

    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {
            "PATH": SYSTEM,
            "HOME": str(tmp_path),
            "AWS_ACCESS_KEY_ID": "made-up",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "AWS_ENDPOINT_URL_ECR": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        command = [*own, str(BIN / ECR), "get"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
            assert process.stdin
            assert process.stdout
            until(lambda: b"-S" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), "the start")
            assert can_be_read(process)
            process.stdin.write(HOST.encode())
            process.stdin.close()
            silent.settimeout(20)
            with silent.accept()[0]:
                was_readable = can_be_read(process)
                process.kill()
            assert process.stdout.read() == b""

    assert not was_readable


# --- bytecode ---------------------------------------------------------------------------------------------------------


def test_the_second_call_compiles_nothing(installation: Installation, tmp_path: Path) -> None:
    """A fresh installation without any bytecode compiles once; after that a call opens one file of ours."""
    shutil.rmtree(installation.bytecode, ignore_errors=True)
    trace = tmp_path / "trace"

    first = installation.opened(trace)
    assert "call.py" in first
    assert installation.opened(trace) == [f"__pycache__/{installation.file.name}"]


def test_a_hit_opens_one_file(installation: Installation, tmp_path: Path) -> None:
    """So does a `get` from the cache, which is all that it needs of us."""
    env = hit(tmp_path)
    assert installation.call().code == 0

    opened = installation.opened(tmp_path / "trace", "get", HOST.encode(), 0, **env)
    assert opened == [f"__pycache__/{installation.file.name}"]


def test_a_foreign_host_opens_two_files(installation: Installation, tmp_path: Path) -> None:
    """Who is asked for a host that is nobody's says so from the plan, without a module that must be found."""
    home = str(tmp_path)
    assert installation.call("get", b"ghcr.io", HOME=home).out == NOT_FOUND
    time.sleep(2.5)  # what the plan was made from is young for two seconds, and read each time
    assert installation.call("get", b"ghcr.io", HOME=home).out == NOT_FOUND

    opened = installation.opened(tmp_path / "trace", "get", b"ghcr.io", 1, HOME=home)
    assert opened == [f"__pycache__/{path.name}" for path in (installation.file, installation.on_a_miss)]


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 100, None], ids=["empty", "short", "zeros", "none"])
def test_a_damaged_file_for_misses_is_passed_by(
    installation: Installation, tmp_path: Path, content: bytes | None
) -> None:
    """What it has is imported then."""
    home = str(tmp_path)
    assert installation.call("get", b"ghcr.io", HOME=home).out == NOT_FOUND
    if content is None:
        installation.on_a_miss.unlink()
    else:
        installation.on_a_miss.write_bytes(content)

    assert installation.call("get", b"ghcr.io", HOME=home).out == NOT_FOUND
    assert "plan" in " ".join(installation.opened(tmp_path / "trace", "get", b"ghcr.io", 1, HOME=home))


@pytest.mark.parametrize("module", ["plan.py", "hosts.py", "identity.py"])
def test_a_changed_source_of_a_miss_counts_at_once(installation: Installation, tmp_path: Path, module: str) -> None:
    """No host is read by the code of before."""
    home = str(tmp_path)
    assert installation.call("get", b"ghcr.io", HOME=home).out == NOT_FOUND
    _broken(module, "raise OSError(5, 'changed')")(installation)

    done = installation.call("get", b"ghcr.io", HOME=home)
    assert (done.code, b"Input/output" in done.out or b"changed" in done.out) == (1, True), done


def test_a_slow_call_writes_the_file_and_nothing_else(installation: Installation) -> None:
    """A file for each executable and one for its misses, readable for others as the sources are, and no debris."""
    before = set(installation.package.rglob("*"))

    assert is_version(installation.call(), ECR)

    new = set(installation.package.rglob("*")) - before
    written = {path for path in new if path.is_file() and path.suffix != ".pyc"}
    assert written == {installation.file, installation.on_a_miss}
    assert {path.stat().st_mode & 0o777 for path in written} == {0o644}
    content = installation.file.read_bytes()
    stamp = installation.file.stat().st_mtime_ns
    assert is_version(installation.call(), ECR)
    assert (installation.file.read_bytes(), installation.file.stat().st_mtime_ns) == (content, stamp)


def test_the_name_of_another_helper_starts_from_the_same_file(installation: Installation, tmp_path: Path) -> None:
    """A link that stands in for another helper's name costs no second file, and nothing of the first start."""
    (installation.bin / "docker-credential-ecr-login").symlink_to(ECR)
    (tmp_path / "on path").symlink_to(installation.bin / "docker-credential-ecr-login")

    for path in (installation.bin / "docker-credential-ecr-login", tmp_path / "on path"):
        assert is_version(start(path, "version"), ECR)

    left = {path for path in installation.bytecode.iterdir() if path.suffix != ".pyc"}
    assert left == {installation.file, installation.on_a_miss}
    assert installation.opened(tmp_path / "trace") == [f"__pycache__/{installation.file.name}"]


def test_a_changed_source_counts_at_once(installation: Installation, tmp_path: Path) -> None:
    """An upgrade in place is never answered by the code of before, and the next call starts from a new file."""
    assert is_version(installation.call(), ECR)
    old = installation.file.read_bytes()

    source = installation.package / "__init__.py"
    source.write_text(source.read_text().replace('__version__ = "0', '__version__ = "7'))

    assert b" v7." in installation.call().out
    assert installation.file.read_bytes() != old
    assert b" v7." in installation.call().out
    assert installation.opened(tmp_path / "trace") == [f"__pycache__/{installation.file.name}"]


@pytest.mark.parametrize("module", ["call.py", "sources/ecr.py"])
def test_a_missing_source_does_not_run(installation: Installation, module: str) -> None:
    """What has been removed is gone, though its bytecode is still in the file."""
    assert is_version(installation.call(), ECR)
    (installation.package / module).unlink()

    assert installation.call().code != 0


def test_a_copy_starts_from_itself(installation: Installation, tmp_path: Path) -> None:
    """A copied installation does not run the code of the one that it was copied from."""
    assert is_version(installation.call(), ECR)
    copy = Installation(tmp_path / "copy")
    shutil.copytree(installation.bin.parent, tmp_path / "copy", symlinks=True)
    source = installation.package / "__init__.py"
    source.write_text(source.read_text().replace('__version__ = "0', '__version__ = "7'))

    assert b" v0." in copy.call().out
    assert b" v7." in installation.call().out


def damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The content as a power cut, a full disk or a stranger might have left it."""
    yield "empty", b""
    for part in range(1, 24):
        yield f"cut after {part}/24", content[: len(content) * part // 24]
    yield "zeros", bytes(len(content))
    yield "zeros at the end", content[:1000] + bytes(len(content) - 1000)
    yield "a string", b"s\x00\x00\x00\x80"
    yield "a pair of nothing", b")\x02NN"
    yield "a pair with a text", b")\x02z\x04passN"
    yield "a text file", b"this is not bytecode\n" * 99
    yield "backwards", content[::-1]
    yield "a number where code belongs", b")\x02i\x01\x00\x00\x00[\x00\x00\x00\x00"


def test_no_bit_of_the_file_goes_unseen(installation: Installation) -> None:
    """A flipped bit costs one slow call, which mends it; some would have killed the interpreter."""
    assert is_version(installation.call(), ECR)
    whole = installation.file.read_bytes()
    chance = random.Random(8)
    for bit in [0, 63, 64, *(chance.randrange(8 * len(whole)) for _ in range(20)), 8 * len(whole) - 1]:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        installation.file.write_bytes(content)
        assert is_version(installation.call(), ECR), bit
        assert installation.file.read_bytes() == whole, bit


def test_a_damaged_file_is_replaced(installation: Installation) -> None:
    """Whatever lies where the bytecode was, the call answers, says nothing of it, and mends it."""
    assert is_version(installation.call(), ECR)
    whole = installation.file.read_bytes()
    for name, content in damaged(whole):
        installation.file.write_bytes(content)
        assert is_version(installation.call(), ECR), name
        assert installation.file.read_bytes() == whole, name


@pytest.mark.parametrize(
    "put",
    [
        pytest.param(lambda path: path.mkdir(), id="directory"),
        pytest.param(lambda path: path.symlink_to("there-is-none"), id="link to nowhere"),
        pytest.param(lambda path: path.symlink_to(path.name), id="link to itself"),
        pytest.param(lambda path: path.symlink_to("/dev/null"), id="nothing"),
    ],
)
def test_what_is_no_file_is_passed_by(installation: Installation, put: Callable[[Path], None]) -> None:
    """A call answers though it can neither read nor write the file, and leaves no other behind."""
    assert is_version(installation.call(), ECR)
    installation.file.unlink()
    put(installation.file)

    assert is_version(installation.call(), ECR)
    left = {path for path in installation.bytecode.iterdir() if path.name.startswith(f"{installation.file.name}.")}
    assert left == {installation.on_a_miss}


def test_a_package_that_cannot_be_written_works(installation: Installation) -> None:
    """An installation that belongs to another user starts a little slower, each time, and nothing is written."""
    assert installation.call("list").code == 0  # so that there is a directory for bytecode
    for path in installation.bytecode.iterdir():
        path.unlink()
    own = [] if os.geteuid() else [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all"]
    folders = [installation.package, *(path for path in installation.package.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    before = sorted(installation.package.rglob("*"))
    try:
        for _ in range(2):
            assert is_version(start(*own, installation.bin / ECR, "version"), ECR)
    finally:
        for path in folders:
            path.chmod(0o755)

    assert sorted(installation.package.rglob("*")) == before


def test_many_first_calls_at_once(installation: Installation) -> None:
    """Twenty processes that all find no file answer, and leave one that works."""
    processes = [
        subprocess.Popen([installation.bin / ECR, "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(20)
    ]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert is_version(Result(process.returncode, out, err), ECR)

    left = {path for path in installation.bytecode.iterdir() if path.suffix != ".pyc"}
    assert left == {installation.file, installation.on_a_miss}
    assert is_version(installation.call(), ECR)


# --- what a hit imports -----------------------------------------------------------------------------------------------

# Built into the interpreter, or next to it: see `call`.
BUILT_INS = {"gc", "posix", "sys", "time", "marshal", "_blake2", "_signal", "_thread"}
SLOW = {"json", "ssl", "logging", "typing", "pathlib", "importlib.metadata", "os", "re", "site", "botocore", "boto3"}


def hit(folder: Path) -> dict[str, str]:
    """The environment of an identity for which a token of HOST lies in the cache."""
    cache = folder / "cache"
    cache.mkdir(mode=0o700)
    env = {"HOME": str(folder), "CREDHELPERS_CACHE_DIR": str(cache), "AWS_PROFILE": "made-up"}
    environ = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    now = time.time()
    credential = Credential("AWS", "made-up" * 300, soft=now + 3600, hard=now + 7200, expires=now + 9000)
    keep_copy(TokenCache("ecr", cached_token.directory(environ)), Ecr(environ), HOST, credential, now)
    return env


def telling(python: Path) -> None:
    """Have the Python of an installation account for what it imports."""
    target = python.with_name("a python3")
    python.rename(target)
    python.write_text(f'#!/bin/sh\nexec "{target}" -X importtime "$@"\n')
    python.chmod(0o755)


def imported(*command: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> set[str]:
    """The modules that a Python imports, by its own account."""
    done = start(*command, stdin=stdin, env=env)
    assert done.code == 0, done
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.err.decode(), re.MULTILINE)
    assert names
    return set(names)


def test_a_hit_imports_nothing_slow(installation: Installation, tmp_path: Path) -> None:
    """A `get` from the cache imports our few modules and built-ins, on the first call and on later ones."""
    env = hit(tmp_path)
    python = installation.bin / "python3"
    bare = imported(python, "-I", "-S", "-X", "importtime", "-c", "pass")
    assert not bare & SLOW

    telling(python)
    # Behind the answer of the first call its launch file is written.
    for behind in (imported(python, "-I", "-S", "-c", "import ast"), set()):
        found = imported(installation.bin / ECR, "get", stdin=HOST.encode(), env=env) - bare - behind
        ours = {name for name in found if name.partition(".")[0] == "credhelpers"}
        assert found - ours <= BUILT_INS, found
        assert not {name for name in ours if name.startswith("credhelpers.stores")}
        assert installation.call().code == 0  # which leaves the file for the second round
    assert ours == set()


def test_the_list_of_imports_would_tell(installation: Installation, tmp_path: Path) -> None:
    """The list is no empty promise: a call that reads JSON shows it."""
    telling(installation.bin / "python3")
    stored = document(HOST, "AWS", "made-up")

    assert "json" in imported(installation.bin / ECR, "store", stdin=stored, env=hit(tmp_path))
