"""README and docs say what the code does."""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import config
from credhelpers.errors import NotFound, Unavailable
from tests.harness import BIN, call, environment

if TYPE_CHECKING:
    from credhelpers.config import Settings
    from credhelpers.minted import Source

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
HELPERS = sorted(path.name.removeprefix("docker-credential-") for path in (ROOT / "entrypoints").iterdir())
CODE = [*sorted((ROOT / "credhelpers").rglob("*.py")), ROOT / "install.sh"]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of this project leads to one."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_examples_are_right(page: Path) -> None:
    """An example of config.json is JSON and names helpers that exist."""
    for block in blocks(page, "json"):
        example = json.loads(block)
        names = {example[key] for key in ("credsStore",) if key in example}
        names |= set(example.get("credHelpers", {}).values())
        assert names <= set(HELPERS), names


CONSOLE = [
    pytest.param(block, id=f"{page.name}-{n}") for page in PAGES for n, block in enumerate(blocks(page, "console"))
]


@pytest.mark.parametrize("block", CONSOLE)
def test_examples_run(block: str, home: Path) -> None:
    """What stands behind a `$` in a console block prints what stands below it."""
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment(home), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout + done.stderr == expected, command


def test_there_are_examples() -> None:
    """The README shows at least one run."""
    assert blocks(ROOT / "README.md", "console")
    assert blocks(ROOT / "README.md", "json")


def test_variables_are_documented() -> None:
    """Our own environment variables are all in docs, and docs name no others."""
    pattern = re.compile(r"\bCREDHELPERS_[A-Z_]+\b")
    used = {name for path in CODE for name in pattern.findall(path.read_text())}
    told = {name for page in PAGES for name in pattern.findall(page.read_text())}

    assert used == told


@pytest.mark.parametrize("name", HELPERS)
def test_every_helper_has_a_page_and_a_manual(name: str) -> None:
    """`--help` reads like a manual page, and names the variables that the page names."""
    page = (ROOT / "docs" / f"{name}.md").read_text()
    done = subprocess.run([BIN / f"docker-credential-{name}", "--help"], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    for section in ("get", "store", "erase", "list", "version", "config.json", "Exit status"):
        assert section in done.stdout, section
    assert max(map(len, done.stdout.splitlines())) <= 100
    variables = set(re.findall(r"\b(?:CREDHELPERS|AWS|XDG|DBUS)_[A-Z_]+\b", done.stdout))
    assert variables
    assert {variable for variable in variables if variable not in page} == set()
    assert f"docs/{name}.md" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", HELPERS)
def test_version_is_the_project_s(name: str) -> None:
    """`version` prints the executable, the package and its version."""
    version = re.search(r'__version__ = "(.*)"', (ROOT / "credhelpers/__init__.py").read_text())
    assert version

    assert call(name, "version").out.decode() == f"docker-credential-{name} (credhelpers) v{version[1]}\n"


def test_options_of_the_installer_are_documented() -> None:
    """The options that docs name are those that install.sh takes."""
    script = (ROOT / "install.sh").read_text()
    taken = set(re.findall(r"^\s*(--[a-z-]+)(?:\)|\s*\|)", script, re.MULTILINE))
    help_text = subprocess.run(["/bin/sh", ROOT / "install.sh", "--help"], capture_output=True, text=True, check=True)
    told = set(re.findall(r"(?<![\w-])--[a-z-]+", (ROOT / "docs/install.md").read_text()))

    assert taken
    assert taken <= set(re.findall(r"--[a-z-]+", help_text.stdout))
    assert taken <= told
    assert set(re.findall(r"install\.sh (--[a-z-]+)", "".join(page.read_text() for page in PAGES))) <= taken


def test_contributing_draws_the_house_as_it_is() -> None:
    """The list of modules in CONTRIBUTING is the list of modules."""
    drawn = blocks(ROOT / "CONTRIBUTING.md", "")[1]
    names = set(re.findall(r"^    (\w+)/? ", drawn, re.MULTILINE))
    there = {path.stem for path in (ROOT / "credhelpers").iterdir() if path.suffix == ".py" or path.is_dir()}

    assert names == there - {"__init__", "__pycache__"}


def test_the_cache_page_has_the_windows_of_the_sources() -> None:
    """The table of windows in docs/cache.md has a row for each source."""
    page = (ROOT / "docs/cache.md").read_text()
    for path in (ROOT / "credhelpers/sources").glob("[!_]*.py"):
        assert re.search(rf"^\| {path.stem}\b", page, re.MULTILINE | re.IGNORECASE), path.stem


def test_the_benchmarks_table_is_there() -> None:
    """README holds a table that the benchmark script wrote."""
    block = re.search(r"<!-- benchmarks -->\n(.*?)<!-- end -->", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    assert block[1].count("×") >= 5


SOURCES = sorted(path.stem for path in (ROOT / "credhelpers/sources").glob("[!_]*.py"))
CONFIGURATION = ROOT / "docs/configuration.md"
EXAMPLES = [
    pytest.param(block, id=f"{page.name}-{n}") for page in PAGES for n, block in enumerate(blocks(page, "toml"))
]


def settings(name: str) -> Settings:
    """What a source declares that its entries may say."""
    declared: Settings = importlib.import_module(f"credhelpers.sources.{name}").SETTINGS
    return declared


def source(name: str, home: Path) -> Source:
    """A source as its helper has it, of a user without any variables."""
    made: Source = getattr(importlib.import_module(f"credhelpers.sources.{name}"), name.capitalize())(
        {b"HOME": os.fsencode(home)}
    )
    return made


def configure(home: Path, text: str) -> None:
    """Write the configuration file."""
    path = home / ".config/credhelpers/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


def table_of(name: str) -> list[list[str]]:
    """The rows for the keys of a source in docs/configuration.md."""
    _, _, rest = CONFIGURATION.read_text().partition(f'## `source = "{name}"`')
    rows = rest.partition("\n## ")[0].splitlines()
    return [row.strip("| ").split(" | ") for row in rows if row.startswith("| `")]


@pytest.mark.parametrize("name", SOURCES)
def test_the_configuration_page_has_every_setting(name: str, home: Path) -> None:
    """Key, value and purpose are the source's own words, in its order, and the example is one that it takes."""
    declared = settings(name)
    rows = table_of(name)

    assert [row[:3] for row in rows] == [[f"`{key}`", value, purpose] for key, (value, _, purpose) in declared.items()]
    for key, example in ((row[0].strip("`"), row[3].strip("`")) for row in rows):
        assert list(tomllib.loads(example)) == [key]
        configure(home, f'[[registry]]\nmatch = "x.example"\nsource = "{name}"\n{example}\n')
        (entry,) = config.load({b"HOME": os.fsencode(home)}, name, declared)
        assert list(entry.settings) == [key]


def test_the_configuration_page_has_every_source() -> None:
    """There is a table for each source, and for no others, and the common keys name the same."""
    page = CONFIGURATION.read_text()
    (row,) = re.findall(r"^\| `source` \| (.*?):", page, re.MULTILINE)

    assert sorted(re.findall(r'^## `source = "(\w+)"`', page, re.MULTILINE)) == SOURCES
    assert re.findall(r"`(\w+)`", row) == SOURCES


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_configuration_file_are_right(text: str, home: Path) -> None:
    """Each entry is one that its source takes for a host of its pattern, and it is the one that counts there."""
    configure(home, text)
    environ = {b"HOME": os.fsencode(home)}
    entries = [(name, entry) for name in SOURCES for entry in config.load(environ, name, settings(name))]

    assert len(entries) == len(tomllib.loads(text)["registry"]) > 0
    for name, entry in entries:
        chosen = [
            host
            for host in hosts_of(entry.pattern)
            if is_ordered(source(name, home), host)
            and (found := config.find(environ, name, settings(name), host))
            and found.pattern == entry.pattern
        ]
        assert chosen, entry.pattern


def is_ordered(made: Source, host: str) -> bool:
    """Whether the source mints for this host, by an entry in which nothing contradicts."""
    try:
        return bool(made.order(host).key)
    except (NotFound, Unavailable):
        return False


def hosts_of(pattern: str) -> list[str]:
    """Hosts that fit the pattern: with accounts, regions and names in the place of its stars."""
    parts = pattern.split("*")
    fillings = itertools.product(("eu-west-1", "777788889999", "acmeone"), repeat=len(parts) - 1)
    return ["".join(itertools.chain(*zip(parts, (*filling, ""), strict=True))) for filling in fillings]


def test_there_are_examples_of_every_source() -> None:
    """Each source has its entry in docs/configuration.md and on its own page."""
    for page in (CONFIGURATION, *(ROOT / f"docs/{name}.md" for name in SOURCES)):
        named = {table["source"] for block in blocks(page, "toml") for table in tomllib.loads(block)["registry"]}
        assert named == (set(SOURCES) if page == CONFIGURATION else {page.stem}), page.name


def faults(path: Path) -> set[str]:
    """What a module finds wrong with the configuration file: the parts of its sentences that never vary."""
    found = set()
    for call_node in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        method = call_node.func.attr if isinstance(call_node.func, ast.Attribute) else ""
        if method in ("fault", "contradiction"):
            parts = ast.walk(call_node.args[method == "contradiction"])
            found |= {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    return {part.strip(": ") for part in found if part.count(" ") > 1 and part.strip(": `")}


def test_the_configuration_page_has_every_mistake() -> None:
    """Each sentence is in the table."""
    _, _, table = CONFIGURATION.read_text().partition("\n## Mistakes\n")
    modules = [path for path in CODE if path.stem == "config" or path.parent.name == "sources"]
    sentences = set().union(*map(faults, modules))

    assert len(sentences) > len(SOURCES)
    assert {sentence for sentence in sentences if sentence not in table} == set()


def test_the_mistake_that_the_configuration_page_shows(home: Path) -> None:
    """What a helper says of a misspelt key is what the page says it says."""
    configure(home, '[[registry]]\nmatch = "*.dkr.ecr.*.amazonaws.com"\nsource = "ecr"\nprofil = "prod"\n')
    result = call("ecr", "get", "111122223333.dkr.ecr.eu-west-1.amazonaws.com", environment(home))

    said = (result.out + result.err).decode().replace(str(home), "/home/somebody")
    assert said in blocks(CONFIGURATION, "text")
