"""The file from which an executable starts: the same modules as an import gives, or no file at all."""

from __future__ import annotations

import json
import marshal
import os
import posix
import re
import shutil
import stat
import subprocess
import sys
import threading
from _imp import source_hash
from pathlib import Path
from types import ModuleType

import pytest

import credhelpers
from credhelpers import launch
from tests.harness import lacking, need

_NAME = "docker-credential-x"
_EXECUTABLE = "launcher\n\n# --- what it is made of ---\ncomposed.append(__import__('sys')._getframe().f_lineno)\n"
_FILE = f"{_NAME}.{sys.hexversion:x}"
_ON_A_MISS = f"{_FILE}.miss"
_IMPORTS = """
import sys
packages = sys.argv[1]
sys.path.append(packages)
"""
_PREPARE = f"""{_IMPORTS}
import credhelpers.protocols.docker, credhelpers.minted, credhelpers.sources.ecr
from credhelpers.launch import prepare
ours = (name for name in sys.modules if name.partition(".")[0] == "credhelpers")
ours = tuple(name for name in ours if "launch" not in name)
prepare(f"{{packages}}/../bin/{_NAME}", ours, compile("followed.append(path)", "follow", "exec"))
"""
_START = f"""{_IMPORTS}
import _imp, marshal
with open(f"{{packages}}/credhelpers/__pycache__/{_FILE}", "rb") as file:
    parts = marshal.loads(file.read()[8:])
name = "{_NAME}"
path = f"{{packages}}/../bin/{_NAME}"
composed, followed = [], []
try:
    for link in ("", "a link"):
        called = name
        exec(parts[0])
    assert (composed, followed) == ([4, 4], [path])
except ImportError:  # a changed source
    assert composed == []
    assert not [name for name in sys.modules if name.startswith("credhelpers")]
"""
_SHOW = """
from_file = sorted(name for name in sys.modules if name.startswith("credhelpers"))
import credhelpers.protocols.docker, credhelpers.minted, credhelpers.sources.ecr, json
shown = {}
for name, module in sys.modules.items():
    if name.startswith("credhelpers"):
        spec = module.__spec__
        shown[name] = [
            module.__name__, module.__file__, module.__package__, getattr(module, "__path__", None),
            type(module.__loader__).__name__, spec.name, spec.origin, spec.has_location, spec.parent,
            spec.submodule_search_locations, sorted(set(vars(module)) - {"__cached__", "__builtins__"}),
        ]
print(json.dumps([from_file, shown]))
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A directory with a copy of the package that a test may spoil."""
    place = tmp_path / "lib dir" / "site-packages"
    shutil.copytree(
        Path(credhelpers.__file__).parent,
        place / "credhelpers",
        ignore=shutil.ignore_patterns("__pycache__", "docker-*"),
    )
    (place / "credhelpers" / "__pycache__").mkdir()
    (place.parent / "bin").mkdir()
    (place.parent / "bin" / _NAME).write_text(_EXECUTABLE)
    return place


def _python(script: str, packages: Path) -> bytes:
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script, str(packages)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


def _modules(packages: Path, *, prepared: bool) -> tuple[list[str], dict[str, list[object]]]:
    """What came from the file, and every module of ours afterwards."""
    from_file, shown = json.loads(_python((_START if prepared else _IMPORTS) + _SHOW, packages))
    return from_file, shown


def _written(packages: Path) -> list[str]:
    return sorted(path.name for path in _cache(packages).iterdir() if path.name.startswith("docker"))


def _cache(packages: Path) -> Path:
    return packages / "credhelpers" / "__pycache__"


def test_modules_from_the_file_are_those_of_an_import(packages: Path) -> None:
    """Names, files, specs and all that they define are equal, and none had to be imported."""
    _python(_PREPARE, packages)
    imported = _modules(packages, prepared=False)[1]
    from_file, started = _modules(packages, prepared=True)
    assert "credhelpers.protocols.docker" in from_file
    assert "credhelpers.sources.ecr" in from_file
    assert started == imported
    target = _cache(packages) / _FILE
    assert stat.S_IMODE(target.stat().st_mode) == 0o644 & ~_umask()
    assert _written(packages) == [_FILE, _ON_A_MISS]


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_LOOK = """
import sys
class Looking:
    def find_spec(self, name, path=None, target=None):
        if name not in sys.builtin_module_names:
            print(name)
sys.meta_path.insert(0, Looking())
"""


@pytest.mark.parametrize("source", ["ecr", "vault"])
def test_nothing_is_looked_for(source: str, packages: Path) -> None:
    """To find one more module costs a hit three hundredths, be it ours or a shared library of Python's own."""
    prepared, start = (script.replace("sources.ecr", f"sources.{source}") for script in (_PREPARE, _START))
    _python(prepared, packages)
    assert _python(_LOOK + start, packages) == b""
    assert _python(_LOOK + _IMPORTS + f"import credhelpers.sources.{source}", packages), (
        "the test sees what it looks for"
    )


def test_a_library_that_has_gone(packages: Path) -> None:
    """Python was built anew with the module inside: the next file knows it."""
    _python(_PREPARE, packages)
    script = _START.replace("try:", "sys.path[:] = ['/gone/lib-dynload']\ntry:") + "print(composed != [])\n"
    is_built_in = "_blake2" in sys.builtin_module_names
    assert _python(script, packages) == f"{is_built_in}\n".encode(), "an ImportError, and then a start without the file"


def test_a_copy_of_an_installation_starts_from_itself(packages: Path, tmp_path: Path) -> None:
    """A moved or copied tree never runs what stands in the old place."""
    _python(_PREPARE, packages)
    copy = tmp_path / "copy"
    shutil.copytree(packages.parent, copy)
    from_file, shown = _modules(copy / packages.name, prepared=True)
    assert from_file
    assert all(str(row[1]).startswith(f"{copy}/") for row in shown.values())


def _edit(path: Path) -> None:
    status = path.stat()
    path.write_text(path.read_text() + "\n# longer\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("module", ["servers.py", "__init__.py", "sources/ecr.py", f"../../bin/{_NAME}"])
@pytest.mark.parametrize(
    "change",
    [pytest.param(_edit, id="another size"), pytest.param(lambda path: os.utime(path, ns=(1, 1)), id="another time")],
)
def test_a_changed_source_is_read(module: str, change: object, packages: Path) -> None:
    """An upgrade counts at once: nothing at all is taken from the file, and the next one is right again."""
    _python(_PREPARE, packages)
    assert callable(change)
    change(packages / "credhelpers" / module)
    from_file, shown = _modules(packages, prepared=True)
    assert from_file == []
    assert "credhelpers.servers" in shown
    _python(_PREPARE, packages)
    assert _modules(packages, prepared=True)[0]


def test_a_removed_source_is_an_error_that_the_entry_point_expects(packages: Path) -> None:
    """Not a start with modules of yesterday."""
    _python(_PREPARE, packages)
    (packages / "credhelpers" / "servers.py").unlink()
    script = _START.replace(
        "except ImportError:", "except OSError:\n    print(sorted(sys.modules)[:0])\nexcept ImportError:"
    )
    assert _python(script, packages) == b"[]\n"


def test_a_module_that_is_there_is_not_run_twice(packages: Path) -> None:
    """Two copies of one class would not be the same class."""
    _python(_PREPARE, packages)
    script = _START.replace("try:", "import credhelpers.errors as before\ntry:")
    script += "import credhelpers.servers\n"
    script += "print(before is sys.modules['credhelpers.errors'], credhelpers.servers.NotMine is before.NotMine)\n"
    assert _python(script, packages) == b"True True\n"


def test_many_write_one_file(packages: Path) -> None:
    """The first calls after an installation come at once, and whoever reads finds a whole file."""
    threads = [threading.Thread(target=_python, args=(_PREPARE, packages)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _modules(packages, prepared=True)[0]
    assert _written(packages) == [_FILE, _ON_A_MISS]


@pytest.mark.parametrize("limit", [0, 4])
def test_a_full_disk_leaves_nothing_behind(limit: int, packages: Path) -> None:
    """The old file stays whole, and no temporary one stays."""
    _python(_PREPARE, packages)
    before = (_cache(packages) / _FILE).read_bytes()
    done = subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'ulimit -f {limit}; exec "$@"',
            "sh",
            sys.executable,
            "-I",
            "-S",
            "-c",
            _PREPARE,
            str(packages),
        ],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (_cache(packages) / _FILE).read_bytes() == before
    assert _written(packages) == [_FILE, _ON_A_MISS]


@pytest.mark.parametrize("file", [_FILE, _ON_A_MISS], ids=["the start's", "a miss's"])
@pytest.mark.parametrize("step", ["openat", "write", "fsync", "rename"])
def test_a_failing_system_call_is_silent(step: str, file: str, packages: Path) -> None:
    """The answer is out already; a file that could not be written must not turn it into a failure."""
    strace = need("strace", "strace")
    trace = packages.parent / "trace"
    command = [sys.executable, "-I", "-S", "-c", _PREPARE, str(packages)]
    subprocess.run(command, check=True)  # writes the ordinary bytecode, once
    subprocess.run([strace, "-y", "-o", str(trace), "-e", f"trace={step}", *command], check=True)
    lines = [line for line in trace.read_text().splitlines() if not line.startswith(("---", "+++"))]
    number = next(count for count, line in enumerate(lines, 1) if re.search(rf"{file}\.\d", line))
    for name in _written(packages):
        (_cache(packages) / name).unlink()
    done = subprocess.run(
        [
            strace,
            "-y",
            "-o",
            str(trace),
            "-e",
            f"trace={step}",
            "-e",
            f"inject={step}:error=EIO:when={number}",
            *command,
        ],
        capture_output=True,
        check=False,
    )
    assert [line for line in trace.read_text().splitlines() if "INJECTED" in line and file in line]
    assert (done.returncode, done.stderr) == (0, b"")
    assert _written(packages) == ([_ON_A_MISS] if file == _FILE else []), "the one that was written before, whole"


def test_a_package_of_another_user_is_left_alone(packages: Path, entered: Path) -> None:
    """A system-wide installation is used by people who cannot write it."""
    if os.geteuid() != 0:
        lacking("only root can become another user; run as root, in a container for example")
    python = "/usr/bin/python3"
    if not os.access(python, os.X_OK):
        lacking("no python3 that all users can run; get it with `apt-get install python3`")
    command = [need("setpriv", "util-linux"), "--reuid", "54321", "--regid", "54321", "--clear-groups", python]
    done = subprocess.run(
        [*command, "-I", "-S", "-c", _PREPARE, str(packages)], capture_output=True, cwd="/", check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert not list(_cache(packages).iterdir())


FOLLOW = compile("", "follow", "exec")

# --- in this process, where coverage sees it -------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules in the place of ours."""
    folder = tmp_path / "credhelpers"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Its docstring."""\n')
    (folder / "one.py").write_text('"""Its docstring."""\nfrom credhelpers import two\nvalue = two.value + 1\n')
    (folder / "two.py").write_text("value = 1\n")
    (folder / _NAME).write_text(_EXECUTABLE)
    for name, file in (("credhelpers", "__init__.py"), ("credhelpers.one", "one.py"), ("credhelpers.two", "two.py")):
        module = ModuleType(name)
        module.__file__ = str(folder / file)
        if name == "credhelpers":
            module.__path__ = [str(folder)]
        monkeypatch.setitem(sys.modules, name, module)
    return folder


def test_a_file_holds_what_is_imported_before_what_imports_it(tiny: Path) -> None:
    """In the order in which they must run, below the directory of the package, without docstrings."""
    launch.prepare(str(tiny / _NAME), ("credhelpers.one", "credhelpers.two", "credhelpers"), FOLLOW)
    content = (tiny / "__pycache__" / _FILE).read_bytes()
    assert source_hash(0, content[8:]) == content[:8]
    _, follow, modules, (mtime, size, code) = marshal.loads(content[8:])
    status = (tiny / _NAME).stat()
    assert (mtime, size) == (status.st_mtime_ns, status.st_size)
    assert follow == FOLLOW
    assert code.co_filename == str(tiny / _NAME)
    names = [module[0] for module in modules]
    assert set(names) == {"credhelpers", "credhelpers.one", "credhelpers.two"}
    assert names.index("credhelpers") < names.index("credhelpers.one")
    assert {module[1] for module in modules} == {"credhelpers/__init__.py", "credhelpers/one.py", "credhelpers/two.py"}
    assert all("docstring" not in repr(module[4].co_consts) for module in modules)


@pytest.mark.parametrize("failing", ["open", "replace", "stat", "fsync"])
def test_nothing_is_written_where_something_fails(failing: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the step, no file and no error."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(posix, failing, fail)
        launch.prepare(str(tiny / _NAME), ("credhelpers", "credhelpers.one", "credhelpers.two"), FOLLOW)
    assert list((tiny / "__pycache__").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_left_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is not there is not made."""
    (tiny / "__pycache__").rmdir()
    launch.prepare(str(tiny / _NAME), ("credhelpers",), FOLLOW)
    assert not (tiny / "__pycache__").exists()
