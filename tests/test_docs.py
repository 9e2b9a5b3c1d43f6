"""README and docs say what the code does."""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import os
import re
import subprocess
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import installed, plan
from credhelpers.cli import registriesconf
from credhelpers.config.lines import owners
from credhelpers.errors import NotFound, Unavailable
from credhelpers.servers import Authority
from tests.harness import BIN, Result, call, document, environment
from tests.routes import minter_of
from tests.services import Vault

if TYPE_CHECKING:
    from credhelpers.config.schema import Settings
    from credhelpers.minted import Source

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
HELPERS = sorted(path.name.removeprefix("docker-credential-") for path in (ROOT / "entrypoints").iterdir())
VAULT = sorted((ROOT / "credhelpers/vault").rglob("*.py"))
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
    variables = set(re.findall(r"\b(?:CREDHELPERS|AWS|XDG|DBUS|VAULT|BAO|DCVL)_[A-Z_]+\b", done.stdout))
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


def test_the_page_of_installation_has_what_is_written_for_podman() -> None:
    """The drop-in's list and name are the code's, in the table, in the block and in the installer's manual."""
    page = (ROOT / "docs/install.md").read_text()
    (line,) = [line for line in registriesconf.content(("keyring",)).decode().splitlines() if not line.startswith("#")]
    (file,) = registriesconf.drop_ins({"HOME": "~"})
    rows = [row.strip("| ").split(" | ") for row in page.splitlines() if row.startswith("| ")]
    (table,) = [row for row in rows if row[0] == "podman"]

    assert [f"{line}\n"] == [block for block in blocks(ROOT / "docs/install.md", "text") if "helpers" in block]
    assert table[1:3] == [f"`{file}`", f"`{line}`"]
    assert str(file) in (ROOT / "install.sh").read_text()
    assert {"podman", "buildah", "skopeo"} <= {row[0] for row in rows}
    assert registriesconf.FILES in page


def test_contributing_draws_the_house_as_it_is() -> None:
    """The list of modules in CONTRIBUTING is the list of modules."""
    drawn = blocks(ROOT / "CONTRIBUTING.md", "")[1]
    names = set(re.findall(r"^    (\w+)/? ", drawn, re.MULTILINE))
    there = {path.stem for path in (ROOT / "credhelpers").iterdir() if path.suffix in (".py", "")}

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
    declared: Settings = importlib.import_module(f"credhelpers.sources._{name}").SETTINGS
    return declared


def source(name: str, environ: dict[bytes, bytes]) -> Source:
    """A source as its helper has it."""
    made: Source = installed.source(name, environ)
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
        (entry,) = owners({b"HOME": os.fsencode(home)}).entries
        assert not entry.mistake or "line 1:" in entry.mistake.message, "the key needs another one"


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
    found, written = owners(environ), tomllib.loads(text)
    entries = found.entries

    assert written
    assert (found.keyring.settings if found.keyring else None) == written.get("keyring")
    assert len({entry.number for entry in entries} - {0}) == len(written.get("registry", []))
    for entry in entries:
        assert entry.mistake is None
        if entry.source == "keyring" or entry.source.startswith("helper:"):
            continue
        environ[b"CREDHELPERS_IDENTITY"] = entry.identity.encode()
        chosen = [
            host
            for host in hosts_of(entry.pattern)
            if is_ordered(source(entry.source, environ), host)
            and plan.route(Authority(host), environ, entry.source).line == entry.line
        ]
        assert chosen, entry.pattern


def is_ordered(made: Source, host: str) -> bool:
    """Whether the source mints for this host, by an entry in which nothing contradicts."""
    try:
        return bool(minter_of(made, host).token_key)
    except (NotFound, Unavailable):
        return False


def hosts_of(pattern: str) -> list[str]:
    """Hosts that fit the pattern: with accounts, regions and names in the place of its stars."""
    parts = pattern.replace(":*", ":5000").split("*")
    fillings = itertools.product(("eu-west-1", "777788889999", "acmeone"), repeat=len(parts) - 1)
    return ["".join(itertools.chain(*zip(parts, (*filling, ""), strict=True))) for filling in fillings]


def test_there_are_examples_of_every_source() -> None:
    """Each source has its entry in docs/configuration.md and on its own page."""
    for page in (CONFIGURATION, *(ROOT / f"docs/{name}.md" for name in SOURCES)):
        named = {
            table["source"] for block in blocks(page, "toml") for table in tomllib.loads(block).get("registry", [])
        }
        assert named == (set(SOURCES) if page == CONFIGURATION else {page.stem}), page.name


def faults(path: Path) -> set[str]:
    """What a module finds wrong with the configuration file: the parts of its sentences that never vary."""
    said: list[ast.AST] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            method = getattr(node.func, "attr", "") or getattr(node.func, "id", "")
            said += node.args[:1] if method == "fault" else node.args if method == "contradiction" else []
        elif isinstance(node, ast.FunctionDef) and node.name == "contradiction":
            said += [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return) and inner.value]
    parts = (inner for node in said for inner in ast.walk(node))
    found = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    return {part.strip(": `") for part in found if part.strip(": `").count(" ") > 1}


def test_the_configuration_page_has_every_mistake() -> None:
    """Each sentence is in the table."""
    _, _, table = CONFIGURATION.read_text().partition("\n## Mistakes\n")
    modules = [path for path in CODE if path.parent.name in ("config", "sources")]
    sentences = set().union(*map(faults, modules))

    assert len(sentences) > len(SOURCES)
    assert {sentence for sentence in sentences if sentence not in table} == set()


def test_the_mistake_that_the_configuration_page_shows(home: Path) -> None:
    """What a helper says of a misspelt key is what the page says it says."""
    configure(home, '[[registry]]\nmatch = "*.dkr.ecr.*.amazonaws.com"\nsource = "ecr"\nprofil = "prod"\n')
    result = call("ecr", "get", "111122223333.dkr.ecr.eu-west-1.amazonaws.com", environment(home))

    said = (result.out + result.err).decode().replace(str(home), "/home/somebody")
    assert said in blocks(CONFIGURATION, "text")


def test_the_two_minutes_of_vault(home: Path) -> None:
    """What the page says to type sets up a new Vault server, and what it says to write answers from there."""
    page = (ROOT / "docs/vault.md").read_text()
    (script, writing, example) = (
        textwrap.dedent(found)
        for language in ("sh", "toml")
        for found in re.findall(rf"^   ```{language}\n(.*?)^   ```", page, re.MULTILINE | re.DOTALL)
    )
    with Vault() as vault:
        (home / "bin").mkdir()
        (home / "bin/vault").symlink_to(vault.program)
        env = environment(home, VAULT_ADDR=vault.address, VAULT_TOKEN=vault.token, GODEBUG=vault.env["GODEBUG"])
        env["PATH"] = f"{home / 'bin'}:{env['PATH']}"
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", script],
            env=env,
            input="made-up",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done
        role_id = vault.call("GET", "auth/approle/role/docker/role-id")["data"]["role_id"]
        assert role_id in done.stdout
        for old, new in (
            ("https://vault.acme.example:8200", vault.address),
            ("11111111-2222-3333-4444-555555555555", role_id),
            ("/home/somebody", str(home)),
        ):
            assert old in example
            example = example.replace(old, new)
        configure(home, example)
        user = environment(home)
        answer = call("vault", "get", "harbor.acme.example", user).credential
        assert (answer["Username"], answer["Secret"]) == ("robot$ci", "made-up")
        assert call("vault", "list", "", user).listing == {"harbor.acme.example": "robot$ci"}
        refused = call("vault", "store", document("hub.acme.example", "alice", "made-up-2"), user)
        assert b'"create"' in refused.err, refused
        subprocess.run(["/bin/sh", "-e", "-c", writing], env=env, capture_output=True, timeout=60, check=True)
        user["CREDHELPERS_CACHE_DIR"] = ""  # what was logged in with has the policies of before
        assert call("vault", "store", document("hub.acme.example", "alice", "made-up-2"), user).code == 0
        assert call("vault", "erase", "hub.acme.example", user) == Result(0, b"", b"")
        assert call("vault", "get", "hub.acme.example", user).credential["Secret"] == "made-up-2"


def texts_of(node: ast.AST, constants: dict[str, str]) -> list[str]:
    """What an expression may say, with `{}` for what varies."""
    if isinstance(node, ast.IfExp):
        return texts_of(node.body, constants) + texts_of(node.orelse, constants)
    if isinstance(node, ast.JoinedStr):
        return ["".join(texts_of(part, constants)[0] for part in node.values)]
    if isinstance(node, ast.Constant):
        return [re.sub(r"\{\w+\}", "{}", str(node.value))]
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    return [constants.get(inner.id, "{}") if isinstance(inner, ast.Name) else "{}"]


def constants_of(tree: ast.Module) -> dict[str, str]:
    """The texts that a module gives names to."""
    return {
        target.id: texts_of(node.value, {})[0]
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def sentences_of_vault() -> list[tuple[str, str]]:
    """Each message of the modules that talk to Vault, with its hint: arguments of an error, or the end of a row."""
    trees = [ast.parse(path.read_text()) for path in VAULT]
    shared = {name: text for tree in trees for name, text in constants_of(tree).items() if not name.startswith("_")}
    found: list[tuple[str, ...]] = []
    for tree in trees:
        constants = shared | constants_of(tree)
        nodes = list(ast.walk(tree))
        # In a row of a table the words stand first by which the sentence is chosen; in the table a row stands first.
        firsts = [node.elts[0] for node in nodes if isinstance(node, ast.Tuple) and node.elts]
        words = {id(first) for first in firsts if not isinstance(getattr(first, "elts", [None])[0], ast.Tuple)}
        for node in nodes:
            pair: list[ast.expr] = []
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                kinds = ("Unavailable", "Unsupported", "Denied", "Final", "WornOut", "_Gone", "fault")
                pair = node.args[1:3] if name in kinds else []
            elif isinstance(node, ast.Tuple) and len(node.elts) in (2, 3, 4) and id(node) not in words:
                pair = node.elts[-2:]
            found += itertools.product(*(texts_of(part, constants) for part in pair))
    return [(pair[0], pair[1]) for pair in dict.fromkeys(found) if len(pair) == 2 and pair[0].count(" ") > 1]


def test_the_page_of_vault_has_every_sentence() -> None:
    """Each message stands there with its hint, in one row."""
    page = (ROOT / "docs/vault.md").read_text()
    sentences = sentences_of_vault()
    assert len(sentences) > 60
    for message, hint in sentences:
        row = re.escape(f"| {message} | {hint} |").replace(r"\{\}", ".+")
        assert re.search(row, page), (message, hint)


_A_CODE = re.compile(r"[a-z]+(-[a-z0-9]+)*")


def codes() -> tuple[set[str], list[str]]:
    """All codes of errors, as the first argument of one or as the first of three in a row; and where one is missing."""
    nodes = [
        (path, node)
        for path in sorted((ROOT / "credhelpers").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    classes = [node for _, node in nodes if isinstance(node, ast.ClassDef)]
    kinds = {"HelperError"}
    for _ in range(4):  # as deep as they are derived
        kinds |= {node.name for node in classes if kinds & {getattr(base, "id", "") for base in node.bases}}
    found: set[str] = set()
    missing = []
    for path, node in nodes:
        first: ast.expr | None = None
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = (
                node.args[0]
                if node.args and name in kinds | {"fault", "_refuse", "_foreign", "failed", "_failed", "kind"}
                else None
            )
            is_handed_on = "code" in ast.unparse(first or node) or isinstance(first, ast.Starred)
            is_said = isinstance(first, ast.Constant) and (len(node.args) > 1 or name in ("failed", "_failed"))
            if name in kinds and first and not is_handed_on and not is_said:
                missing.append(f"{path.name}:{node.lineno}")
        elif isinstance(node, ast.Tuple) and len(node.elts) > 2 and " " in ast.unparse(node.elts[-2]):
            first = node.elts[-3] if "-" in ast.unparse(node.elts[-3]) else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and _A_CODE.fullmatch(first.value):
            found.add(first.value)
    return found, missing


def test_every_error_has_a_code_and_the_page_has_them_all() -> None:
    """A code is an anchor of the page, once; none is there that no error has, and no error is without one."""
    found, missing = codes()
    page = (ROOT / "docs/errors.md").read_text()
    told = re.findall(r'^\| <a id="(.*?)"></a>`(.*?)` \| \S.* \| \S.* \|$', page, re.MULTILINE)

    assert not missing
    assert len(found) > 300
    assert sorted(told) == [(code, code) for code in sorted(found)]
    assert max(map(len, found)) <= 40


def contradictions_of_vault() -> list[str]:
    """What its modules find wrong with settings together."""
    found = []
    for path in VAULT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name in (
                "_contradiction",
                "_wrong_in_path",
                "_rules",
                "contradiction",
            ):
                inner = [part for statement in node.body[1:] for part in ast.walk(statement)]
                pieces = {id(piece) for part in inner if isinstance(part, ast.JoinedStr) for piece in part.values}
                for part in inner:
                    if isinstance(part, (ast.Constant, ast.JoinedStr)) and id(part) not in pieces:
                        found += texts_of(part, {})
    return [text for text in found if "`" in text and " " in text]


def test_pages_that_hints_name_are_installed() -> None:
    """3.A7: `--help` says where, and every page that a hint or a manual names is there, for who has no checkout."""
    done = subprocess.run([BIN / "docker-credential-ecr", "--help"], capture_output=True, text=True, check=True)
    (place,) = re.findall(r"(?m)^  (/\S+/share/doc/credhelpers)$", done.stdout)
    named = {
        name
        for path in (ROOT / "credhelpers").rglob("*.py")
        for name in re.findall(r"(?<![\w/])docs/([a-z-]+\.md)", path.read_text())
    }
    assert {"errors.md", "configuration.md", "keyring.md", "vault.md"} <= named
    assert not [name for name in named if not Path(place, name).is_file()]


def test_the_page_of_vault_has_every_contradiction() -> None:
    """Each is in the page, also where the settings in it vary."""
    page = (ROOT / "docs/vault.md").read_text()
    contradictions = contradictions_of_vault()
    assert len(contradictions) > 10
    for text in contradictions:
        assert re.search(re.escape(text).replace(r"\{\}", ".+"), page), text


def test_the_sentences_of_vault_are_lines() -> None:
    """A message is one line in lower case without a full stop, and a hint leaves room for what it is filled with."""
    for message, hint in sentences_of_vault():
        assert message[0].islower() or re.match("[A-Z]+_|`|LDAP|AWS|Azure|Google|[{]", message), message
        assert not message.endswith("."), message
        assert len(hint.encode()) <= 193, hint


def test_the_page_of_vault_has_what_hvac_does() -> None:
    """Each of its methods that are called, and no other."""
    _, _, part = (ROOT / "docs/vault.md").read_text().partition("\n## What is hvac's part\n")
    code = "".join(path.read_text() for path in VAULT)
    called = set(re.findall(r"client\.secrets\.kv\.(v\d\.\w+)", code))
    called |= {
        f"{version}.{name}"
        for name in re.findall(r"client\.secrets\.kv, version\)\.(\w+)", code)
        for version in ("v1", "v2")
    }

    assert set(re.findall(r"`(v\d\.\w+)`", part.partition("\n## ")[0])) == called
    assert not re.search(r"client\.(auth|sys|secrets\.(?!kv\b))", code)


def test_the_page_of_vault_has_every_variable() -> None:
    """What is read of Vault's and OpenBao's variables is in the page, and the page has no others but those named so."""
    code = "".join(path.read_text() for path in VAULT)
    read = set(re.findall(r"""\b(?:variable\([\w.]+, |of_environment\()"(\w+)"\)""", code))
    for names in re.findall(r"variables = \(([^)]*)\)", code):
        read |= set(re.findall(r'"(\w+)"', names))
    page = (ROOT / "docs/vault.md").read_text()
    ignored = {"SKIP_VERIFY", "SRV_LOOKUP", "WRAP_TTL", "MFA", "RATE_LIMIT", "DISABLE_REDIRECTS"}

    assert "ADDR" in read
    assert set(re.findall(r"VAULT_([A-Z_]+[A-Z])\b", page)) - {"KV_PATH"} == read | ignored
