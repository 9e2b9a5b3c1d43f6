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

# What a host that is nobody's needs besides, where tokens are minted; it has a file of its own.
_MINTED = "credhelpers.minted"
_ON_A_MISS = ("credhelpers.identity", "credhelpers.hosts", "credhelpers.plan")

# Run by the launcher before anything is imported. It makes what `importlib` would have made of each module, and has it
# find what a miss needs in the other file.
_START = """
import posix
sys.argv[:5] = [path + called[called.find("@"):] if "@" in called and not path.endswith("/" + called) else path]
del called
sys.path.append(packages)
_, follow, modules, composition = parts
if link:
    exec(follow)
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader
def check_stamps(stamps):
    for at, mtime, size in stamps:
        status = posix.stat(at)
        if status.st_mtime_ns != mtime or status.st_size != size:
            raise ImportError("a source has changed")
def spec_of(name, at):
    at = f"{packages}/{at}"
    spec = ModuleSpec(name, SourceFileLoader(name, at), origin=at, is_package=at.endswith("/__init__.py"))
    spec.has_location = True
    return spec
check_stamps((*[(f"{packages}/{at}", mtime, size) for _, at, mtime, size, _ in modules], (path, *composition[:2])))
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
    spec = spec_of(name_, at)
    module = sys.modules[name_] = type(sys)(name_)
    module.__spec__, module.__loader__, module.__package__ = spec, spec.loader, spec.parent
    module.__file__ = spec.origin
    if spec.submodule_search_locations is not None:
        spec.submodule_search_locations = module.__path__ = [spec.origin.removesuffix("/__init__.py")]
    parent, _, child = name_.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    exec(code, module.__dict__)
more = {}
def find(wanted, *_):
    if wanted not in on_a_miss:
        return None
    try:
        if not more:
            content = open("%s/credhelpers/__pycache__/%s.%x.miss" % (packages, name, sys.hexversion), "rb", 0)
            check, content = content.read(8), content.read()
            found = _imp.source_hash(0, content) == check and marshal.loads(content)
            check_stamps((f"{packages}/{at}", mtime, size) for _, at, mtime, size, _ in found)
            more.update((name_, (at, code)) for name_, at, _, _, code in found)
        at, code = more[wanted]
    except Exception:
        return None
    spec = spec_of(wanted, at)
    spec.loader.get_code = lambda _: code
    return spec
if on_a_miss:
    finder = type(sys)("finder")
    finder.find_spec = find
    sys.meta_path.insert(0, finder)
exec(composition[2])
"""


def prepare(program: str, modules: tuple[str, ...], follow: "CodeType") -> None:
    """Write the files from which the executable at the path `program` starts, and goes on at a miss.

    The first holds `modules`, what the executable is made of, and `follow`, which is run first where a link was
    followed. Does nothing where the package cannot be written: such an installation starts a little slower.
    """
    folder = f"{sys.modules['credhelpers'].__path__[0]}/__pycache__"
    target = f"{folder}/{program.rpartition('/')[2]}.{sys.hexversion:x}"
    if not posix.access(folder, posix.W_OK):
        return
    on_a_miss = tuple(name for name in _ON_A_MISS if name not in modules and _MINTED in modules)
    try:
        if on_a_miss:
            _write(f"{target}.miss", marshal.dumps(_compiled(on_a_miss)[0]))
        compiled, extensions = _compiled(modules)
        text = f"extensions = {extensions}\non_a_miss = {on_a_miss}\n{_START}"
        start = compile(text, "<start>", "exec", dont_inherit=True, optimize=2)
        _write(target, marshal.dumps((start, follow, compiled, _composition(program))))
    except OSError:  # a full disk, say; the next slow call tries again
        return


def _write(target: str, content: bytes) -> None:
    """Have the content there with its hash in front, all of it or none. Raises OSError."""
    temporary = f"{target}.{posix.getpid()}"
    descriptor = posix.open(temporary, _CREATE, 0o644)
    try:
        with open(descriptor, "wb") as file:
            file.write(source_hash(0, content) + content)
            file.flush()
            posix.fsync(descriptor)  # else a power cut may leave a file of zeros under the final name
        posix.replace(temporary, target)
    except OSError:
        posix.unlink(temporary)
        raise


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
        path = getattr(sys.modules.get(name), "__file__", None) or f"{packages}/{name.replace('.', '/')}.py"
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
