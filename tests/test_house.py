"""The arrows between modules, read from the imports themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import BIN

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "credhelpers"
ENTRYPOINTS = sorted((ROOT / "entrypoints").iterdir())

LEAVES = {"errors", "notes"}
# From a module to those of ours that it may import, types included.
ARROWS = {
    "": set(),
    "errors": set(),
    "notes": set(),
    "credential": set(),
    "identity": {"files", "userns"},
    "hosts": {"errors", "servers"},
    "servers": {"errors"},
    "guard": {"environment"},
    "environment": set(),
    "launch": set(),
    "files": {"userns"},
    "userns": set(),
    "peer": {"files", "userns"},
    "private": {"userns"},
    "lifetimes": {"credential"},
    "mkdir": {"private"},
    "deadline": set(),
    "installed": {"", "errors", "files", "identity", "recorder"},
    "given": {"credential", "errors", "identity", "plan", "servers", "tokens"},
    "receipt": {"identity"},
    "recorder": {"identity", "receipt"},
    "realms": {"errors", "hosts", "servers"},
    "registry": {"credential", "errors", "hosts", "identity", "realms", "servers"}
    | {"net.challenges", "net.failures", "net.wire"},
    "plan": {"", "cache", "cached_token", "config.file", "config.lines", "errors", "hosts", "servers", "identity"}
    | {"private", "receipt"},
    "cached_token": {"credential", "errors", "identity", "lifetimes", "private", "receipt", "servers"},
    "cache": {"credential", "cached_token", "errors", "identity", "mkdir", "notes", "private", "servers"},
    "tokens": {"cache", "cached_token", "credential", "errors", "identity", "lifetimes"},
    "typed": {"credential", "errors", "servers", "identity", "lifetimes", "stores.keyring", "stores.note"},
    "minted": {"cached_token", "credential", "errors", "given", "identity", "installed", "plan", "receipt", "recorder"}
    | {"servers", "stores.keyring", "stores.note", "tokens", "typed"},
    "_router": set(),
    "router": {"_router", "cached_token", "credential", "errors", "identity", "installed", "minted", "plan", "servers"}
    | {"notes", "stores.foreign", "stores.keyring", "typed", "writable"},
    "writable": {"credential", "errors", "identity", "minted", "notes", "plan", "servers", "tokens"},
    "call": {"environment", "errors", "guard", "notes"},
    "protocols": set(),
    "protocols.document": {"credential", "errors", "servers"},
    "protocols.docker": {"", "call", "credential", "errors", "servers", "notes", "protocols.document"},
}
FOR_SOURCES_AND_STORES = {
    "deadline",
    "credential",
    "environment",
    "errors",
    "files",
    "hosts",
    "identity",
    "lifetimes",
    "mkdir",
    "notes",
    "peer",
    "plan",
    "private",
    "realms",
    "receipt",
    "recorder",
    "servers",
}
# From an area to those whose modules its own may import. Vault has its area, since it reaches the clouds too.
AREAS = {
    "net": {"net"},
    "config": {"config"},
    "identities": {"identities", "net"},
    "exchanges": {"exchanges", "identities", "net"},
    "sources": {"sources", "config", "exchanges", "identities"},
    "stores": {"stores"},
    "vault": {"vault", "config", "exchanges", "identities", "net"},
}
# The command may import anything, and nobody imports it: neither an area nor a row above has it.
COMMAND = "cli"
# What a cache hit may import besides ours: built into the interpreter, or next to it.
BUILT_INS = {"posix", "sys", "time", "_blake2", "_json", "_signal", "_thread"}
ON_A_HIT = {"", "router", "writable", "protocols", "protocols.docker"} | {
    "call",
    "credential",
    "cached_token",
    "errors",
    "servers",
    "identity",
    "minted",
    "plan",
    "private",
    "receipt",
}


def name_of(path: Path) -> str:
    """`sources.ecr` for credhelpers/sources/ecr.py, "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports_of(path: Path, *, top_level_only: bool = False) -> set[str]:
    """The modules that a source imports, by their full names; what only types need is left out at top level."""
    tree = ast.parse(path.read_text())
    nodes: list[ast.AST] = list(tree.body) if top_level_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            module = node.module or ""
            folder = PACKAGE.parent.joinpath(*module.split("."))
            names = {alias.name for alias in node.names}
            inside = {
                name for name in names if (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()
            }
            found |= {f"{module}.{name}" for name in inside}
            if names - inside:
                found.add(module)
    return found


def ours(modules: set[str]) -> set[str]:
    return {
        module.removeprefix("credhelpers").removeprefix(".")
        for module in modules
        if module.partition(".")[0] == "credhelpers"
    }


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("name", [pytest.param(name, id=name or "package") for name in MODULES])
def test_arrows_point_inwards(name: str) -> None:
    """A module imports only what the house allows it."""
    area = name.partition(".")[0]
    if area == COMMAND:
        allowed = set(MODULES)
    elif area in AREAS:
        areas = AREAS[area] | ({"vault"} if name in ("sources.vault", "sources._vault") else set())
        allowed = FOR_SOURCES_AND_STORES | {other for other in MODULES if other.partition(".")[0] in areas}
        if area == "config":  # what is compiled is what others decide by
            allowed = allowed - {"plan"} | {"", "installed"}
        if name == "config.strangers":
            allowed.add("guard")  # it speaks to the kernel about a process, too
        if name in ("net.child", "stores.library"):
            allowed.add("guard")  # they speak to the kernel about processes, too
        if name == "stores.foreign":
            allowed.add("net.child")  # it is a program, and there is one place for these
        if "vault" in areas:
            allowed.add("tokens")  # it keeps Vault's own, with which it reads
    else:
        allowed = ARROWS[name]

    assert ours(imports_of(MODULES[name])) <= allowed


def test_nothing_imports_the_command() -> None:
    """What a client calls does not carry what a person calls."""
    for path in [*MODULES.values(), *ENTRYPOINTS]:
        if path.parent.name != COMMAND:
            assert not {other for other in ours(imports_of(path)) if other.partition(".")[0] == COMMAND}, path


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(f"{COMMAND}.")])
def test_no_module_of_the_command_is_long(name: str) -> None:
    """As those of Vault."""
    assert len(MODULES[name].read_text().splitlines()) <= 400


def test_sources_do_not_know_each_other() -> None:
    """A source is one module: it could be removed without touching another."""
    for name, path in MODULES.items():
        if name.startswith("sources."):
            own = {name, name.replace("sources.", "sources._")}
            assert not {other for other in ours(imports_of(path)) if other.startswith("sources.")} - own


def test_there_is_no_circle() -> None:
    """The modules can be put in a row so that each imports only what stands before it."""
    arrows = {name: ours(imports_of(path)) - {name} for name, path in MODULES.items()}
    while arrows:
        ready = {name for name, others in arrows.items() if not others & arrows.keys()}
        assert ready, f"a circle among {sorted(arrows)}"
        arrows = {name: others for name, others in arrows.items() if name not in ready}


@pytest.mark.parametrize(
    "name",
    [name for name in MODULES if name in ON_A_HIT or name.startswith(("sources.", "exchanges."))],
    ids=lambda name: name or "package",
)
def test_a_hit_imports_built_ins_only(name: str) -> None:
    """What is imported before a cached answer is written costs next to nothing."""
    imported = imports_of(MODULES[name], top_level_only=True)

    assert {module for module in imported if not ours({module})} <= BUILT_INS
    assert not {module for module in ours(imported) if "._" in module}, "manuals and settings, which no hit needs"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("vault.")])
def test_vault_loads_an_sdk_where_it_is_used(name: str) -> None:
    """What is imported with a module of its area is ours or the standard library's: a renewal may need no more."""
    others = {module for module in imports_of(MODULES[name], top_level_only=True) if not ours({module})}

    assert {module.partition(".")[0] for module in others} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("vault.")])
def test_no_module_of_vault_is_long(name: str) -> None:
    """Who reads one sees the end of it. How many one read of a secret enters, `test_vault_way` counts."""
    assert len(MODULES[name].read_text().splitlines()) <= 400


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(("exchanges.", "identities.", "net."))])
def test_no_module_between_a_source_and_the_network_is_long(name: str) -> None:
    """Who we are, what a registry wants and how it is asked are each told in a few pages."""
    assert len(MODULES[name].read_text().splitlines()) <= 500


def test_one_place_decides_about_hosts() -> None:
    """Nobody but `hosts` takes a server apart or looks for one in a string.

    Clouds and Vault do so with their API's URL, and `config` matches whole hosts with what the user wrote.
    """
    suspicious = re.compile(
        r"\.(endswith|startswith)\(\s*[\"']\.?[\w-]+\.(com|io|aws|dev|cn|us|gov|eu)\b|urlsplit|urlparse|re\.search"
    )
    for name, path in MODULES.items():
        if name not in ("hosts", "servers") and not name.startswith(("identities.", "exchanges.", "stores.", "vault.")):
            text = path.read_text()
            assert not suspicious.search(text), name
            assert name.startswith("config.") or not re.search(r"import re\b", text), name


# Who opens a file without `files.read`: what is ours alone, what a hit or a start needs, what the kernel writes, and
# who writes.
OPENERS = {"files", "private", "receipt", "launch", "userns", "guard", "call", "cli.clientfile"}


def test_one_place_reads_files() -> None:
    """Whoever reads what others may have put there does so by `files.read`: without waiting, and to a limit."""
    suspicious = re.compile(r"(?<![\w.])open\(|\b(os|posix|io)\.open\(|\.(open|read_text|read_bytes)\(")
    for name, path in MODULES.items():
        if name not in OPENERS:
            assert not suspicious.search(path.read_text()), name


def test_one_place_knows_the_streams() -> None:
    """Nobody but `call` and the guard that it calls touches arguments, standard streams or exit codes.

    `launch` only takes those of the launcher away before `call` sees them. What install.sh starts is a call of its own.
    """
    suspicious = re.compile(r"sys\.(argv|stdin|stdout|stderr|exit)|\bprint\(|\binput\(|raise SystemExit")
    for name, path in MODULES.items():
        if name not in ("call", "launch", "cli.configure"):
            assert not suspicious.search(path.read_text()), name


@pytest.mark.parametrize("path", ENTRYPOINTS, ids=lambda path: path.name)
def test_an_executable_only_composes(path: Path) -> None:
    """Behind the launcher, which all share, an executable imports its parts and serves, in a dozen lines at most."""
    lines = [line for line in path.read_text().splitlines() if line]

    assert len(lines) <= 12
    assert all(line.startswith("from credhelpers.") for line in lines[:-1])
    assert lines[-1].startswith("serve(")
    assert ours(imports_of(path)) <= {"", "writable", "minted", "protocols.docker", "router", "tokens"} | {
        name for name in MODULES if name.startswith(("sources.", "stores."))
    }


def test_every_executable_is_installed() -> None:
    """As the launcher with its composition, byte for byte, and no other."""
    assert sorted(path.name for path in BIN.glob("docker-credential-*")) == [path.name for path in ENTRYPOINTS]
    for path in ENTRYPOINTS:
        assert (BIN / path.name).read_bytes() == (PACKAGE / "launcher").read_bytes() + path.read_bytes()
        assert (BIN / path.name).stat().st_mode & 0o777 == 0o755


def test_the_code_is_clean() -> None:
    """The linter, the formatter and the type checker have nothing to say."""
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_left_open() -> None:
    """No stub, no reminder, no unverified connection."""
    suspicious = re.compile(
        r"TODO|FIXME|XXX|NotImplementedError|verify\s*=\s*False|CERT_NONE|shell\s*=\s*True|except Exception:\s*pass"
    )
    for path in [*MODULES.values(), *ENTRYPOINTS, PACKAGE / "launcher"]:
        assert not suspicious.search(path.read_text()), path.name
