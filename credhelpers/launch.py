"""Starting a helper from one file.

To find, check and open a dozen modules one by one costs a quarter of a bare interpreter. So the first slow call of an
executable writes the bytecode of the modules that its composition imported, and its own, into one file beside theirs,
and later calls start from that. As with any bytecode, it counts only while every source has the time and the size
that it had; otherwise the ordinary import system does its work, and the next slow call writes a new file.

The launcher reads the file and runs `_START` with its other parts, which `prepare` tells, the `path` of the
executable, the `link` that seemed to lead there, if any, and `packages`, the directory that the package is in. Paths
in the file are below that one, so that a copied installation never starts from the original. Whatever fails there, it
forgets the modules of before and imports them. Eight bytes in front of the bytecode are its hash, the one of the
system's own `.pyc` files, since Python dies of bytecode that is damaged instead of refusing it.

A module of Python's own that is a shared library is opened where it was found: to look for it would cost as much again
as to load it.
"""

import marshal
import posix
import sys
from _imp import source_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator
    from types import CodeType

_CREATE = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_COMPOSITION = b"\n# --- what it is made of ---\n"  # the last line of the launcher

# Run by the launcher before anything is imported. It makes what `importlib` would have made of each module.
_START = """
import posix, _imp
if link:
    exec(follow)
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader
stamps = [(f"{packages}/{at}", mtime, size) for _, at, mtime, size, _ in modules]
for at, mtime, size in (*stamps, (path, *composition[:2])):
    status = posix.stat(at)
    if status.st_mtime_ns != mtime or status.st_size != size:
        raise ImportError("a source has changed")
for name_, at in extensions:
    for folder_ in sys.path:
        if folder_.endswith("/lib-dynload") and name_ not in sys.modules:
            at = f"{folder_}/{at}"
            module = _imp.create_dynamic(ModuleSpec(name_, ExtensionFileLoader(name_, at), origin=at))
            _imp.exec_dynamic(module)
            sys.modules[name_] = module
for name_, at, _, _, code in modules:
    if name_ in sys.modules:
        continue
    at = f"{packages}/{at}"
    is_package = at.endswith("/__init__.py")
    spec = ModuleSpec(name_, SourceFileLoader(name_, at), origin=at, is_package=is_package)
    spec.has_location = True
    module = sys.modules[name_] = type(sys)(name_)
    module.__spec__, module.__loader__, module.__package__ = spec, spec.loader, spec.parent
    module.__file__ = at
    if is_package:
        spec.submodule_search_locations = module.__path__ = [at.removesuffix("/__init__.py")]
    parent, _, child = name_.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    exec(code, module.__dict__)
exec(composition[2])
"""


def prepare(program: str, modules: tuple[str, ...], follow: "CodeType") -> None:
    """Write the file from which the executable at the path `program` starts.

    It holds `modules`, what the executable is made of, and `follow`, which is run first where a link was followed.
    Does nothing where the package cannot be written: such an installation starts a little slower.
    """
    folder = f"{sys.modules['credhelpers'].__path__[0]}/__pycache__"
    target = f"{folder}/{program.rpartition('/')[2]}.{sys.hexversion:x}"
    temporary = f"{target}.{posix.getpid()}"
    if not posix.access(folder, posix.W_OK):
        return
    try:
        compiled, extensions = _compiled(modules)
        start = compile(f"extensions = {extensions}\n{_START}", "<start>", "exec")
        content = marshal.dumps((start, follow, compiled, _composition(program)))
        check = source_hash(0, content)
        descriptor = posix.open(temporary, _CREATE, 0o644)
    except OSError:
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(check + content)
            file.flush()
            posix.fsync(descriptor)  # else a power cut may leave a file of zeros under the final name
        posix.replace(temporary, target)
    except OSError:  # a full disk, say; the next slow call tries again
        posix.unlink(temporary)


def _composition(program: str) -> tuple[int, int, "CodeType"]:
    """Time and size of an executable, and the code of what it is made of."""
    status = posix.stat(program)
    with open(program, "rb") as file:
        launcher, _, composition = file.read().partition(_COMPOSITION)
    lines = b"\n" * (launcher.count(b"\n") + 2)  # for the numbers in a traceback
    code = compile(lines + composition, program, "exec", dont_inherit=True, optimize=2)
    return status.st_mtime_ns, status.st_size, code


def _compiled(modules: tuple[str, ...]) -> tuple[list[tuple[str, str, int, int, "CodeType"]], list[tuple[str, str]]]:
    """What the file has of each module, those that it imports before it, and the shared libraries that they import.

    Of a module: name, source, its time and size, and code without docstrings. Of a library: name and file.
    """
    import ast  # which no other start needs

    found: dict[str, tuple[str, str, int, int, CodeType]] = {}
    extensions: dict[str, str] = {}

    def add(name: str) -> None:
        path = getattr(sys.modules.get(name), "__file__", None) or ""
        if path.rpartition("/")[0].endswith("/lib-dynload"):
            extensions[name] = path.rpartition("/")[2]
        if name in pending or name not in modules:
            return
        pending.add(name)
        status = posix.stat(path)
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
        for other in (name.rpartition(".")[0], *_imported(tree)):
            add(other)
        code = compile(tree, path, "exec", dont_inherit=True, optimize=2)
        found[name] = (name, path.removeprefix(f"{packages}/"), status.st_mtime_ns, status.st_size, code)

    packages = sys.modules["credhelpers"].__path__[0].rpartition("/")[0]
    pending: set[str] = set()
    for name in modules:
        add(name)
    return list(found.values()), list(extensions.items())


def _imported(tree: "ast.Module") -> "Iterator[str]":
    """What a module imports when it is imported itself, whether it is named as a module or as a part of a package."""
    for node in tree.body:
        names = [alias.name for alias in getattr(node, "names", ())]
        package = getattr(node, "module", None)
        yield from [package, *(f"{package}.{name}" for name in names)] if package else names
