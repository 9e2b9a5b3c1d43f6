"""The `keyring` library's backends, as config.toml chooses them: which are taken, and what they cannot do to a call."""

from __future__ import annotations

import json
import posix
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from credhelpers.errors import Unavailable
from credhelpers.stores.folder import Folder
from credhelpers.stores.index import Index
from credhelpers.stores.library import Library
from tests import contract
from tests.harness import BIN, NOT_FOUND, Result, call, document, environment, execute, need, patience
from tests.services import PATH, Session

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

HOST = "registry.example:5000"
SECRET = "a-made-up-secret"
PLAINTEXT = "keyrings.alt.file.PlaintextKeyring"
PASS = "keyring_pass.PasswordStoreBackend"


def choose(home: Path, backend: str) -> None:
    """Name the backend in config.toml, and let what was compiled before be old."""
    file = home / ".config/credhelpers/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'[keyring]\nbackend = "{backend}"\n')


@contextmanager
def password_store() -> Iterator[dict[str, str]]:
    """What leads `pass` to a store of its own, which a key without a passphrase opens, and ends gpg's agent."""
    need("pass", "pass")
    need("gpg", "gnupg")
    folder = Path(tempfile.mkdtemp(prefix="ch-gpg-"))  # short: the name of the agent's socket has 107 bytes
    env = {"PATH": PATH, "HOME": str(folder), "GNUPGHOME": f"{folder}/g", "PASSWORD_STORE_DIR": f"{folder}/store"}
    (folder / "g").mkdir(mode=0o700)
    try:
        key = ("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "tests@acme.example")
        for command in (key, ("pass", "init", "tests@acme.example")):
            subprocess.run(command, env=env, check=True, capture_output=True)
        yield {name: env[name] for name in ("GNUPGHOME", "PASSWORD_STORE_DIR")}
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    with password_store() as env:
        yield env


class TestPlaintext(contract.StoreContract):
    """A class of another package, which has one file for all, and empties it before it writes."""

    name = "keyring"
    is_whole = False

    @pytest.fixture
    def env(self, home: Path) -> dict[str, str]:
        choose(home, PLAINTEXT)
        return environment(home)

    @pytest.fixture
    def broken(self, env: dict[str, str], present: str, home: Path) -> dict[str, str]:
        (home / ".local/share/python_keyring/keyring_pass.cfg").write_text("[[[\n")
        return env

    def test_sh1_no_secret_in_clear_on_disk(self, env: dict[str, str], home: Path) -> None:
        """That is what this one does: it was named."""


# --- what is chosen ---------------------------------------------------------------------------------------------------


@pytest.fixture
def user(home: Path) -> dict[str, str]:
    """Somebody who has chosen the backend that is plain to look into."""
    choose(home, PLAINTEXT)
    return environment(home)


def kept(home: Path) -> str:
    """What that backend has in its file."""
    file = home / ".local/share/python_keyring/keyring_pass.cfg"
    return file.read_text() if file.exists() else ""


def stored(env: dict[str, str], server: str = HOST) -> Result:
    return call("keyring", "store", document(server, "alice", SECRET), env)


def test_without_a_word_in_config_toml_it_is_not_loaded(home: Path) -> None:
    """Whatever variables and the library's own file say."""
    configuration = home / ".config/python_keyring/keyringrc.cfg"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f"[backend]\ndefault-keyring={PLAINTEXT}\nkeyring-path={home}\n")
    env = environment(home, PYTHON_KEYRING_BACKEND=PLAINTEXT)
    assert stored(env).code == 0
    assert call("keyring", "get", HOST, env).credential["Secret"] == SECRET
    assert kept(home) == ""
    assert list((home / ".local/share/credhelpers").glob("*.age"))


def test_the_class_that_is_named_keeps_it(home: Path, user: dict[str, str]) -> None:
    """Whatever variables and the library's own file say; and nothing is kept elsewhere."""
    configuration = home / ".config/python_keyring/keyringrc.cfg"
    configuration.parent.mkdir(parents=True)
    configuration.write_text("[backend]\ndefault-keyring=keyring.backends.null.Keyring\n")
    env = user | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    env |= {"KEYRING_PROPERTY_FILE_PATH": str(home / "elsewhere"), "KEYRING_PROPERTY_FILENAME": "elsewhere.cfg"}
    assert stored(env).code == 0
    assert "registry_2eexample" in kept(home) or "registry" in kept(home)
    assert not (home / "elsewhere").exists()
    assert not list((home / ".local/share/credhelpers").glob("*.age"))
    assert call("keyring", "get", f"https://{HOST}", env).credential["Username"] == "alice"
    assert json.loads(call("keyring", "list", b"", env).out) == {HOST: "alice"}
    assert call("keyring", "erase", HOST, env).code == 0
    assert call("keyring", "get", HOST, env).out == NOT_FOUND


@pytest.mark.parametrize(
    "servers",
    [
        ("https://a.example", "https:/a.example", "a.example"),
        ("x/../../y", "y", "x/y"),
        ("https://index.docker.io/v1/", "https://index.docker.io/v1"),
        ("a.example:5000", "a.example"),
        ("a.example/team", "a.example/team/", "a.example//team"),
        ("a~2Fb", "a/b", "A/b"),
    ],
)
@pytest.mark.parametrize("backend", [PLAINTEXT, PASS])
def test_each_key_is_its_own(home: Path, store: dict[str, str], backend: str, servers: tuple[str, ...]) -> None:
    """Also where a backend makes a path of it: nothing is written outside, nor over another one."""
    choose(home, backend)
    env = environment(home, **store)
    for number, server in enumerate(servers):
        assert call("keyring", "store", document(server, f"user{number}", SECRET), env).code == 0
    for number, server in enumerate(servers):
        assert call("keyring", "get", server, env).credential["Username"] == f"user{number}"
    for server in servers:
        call("keyring", "erase", server, env)
    folder = Path(store["PASSWORD_STORE_DIR"])
    assert {path.name for path in folder.iterdir()} <= {".gpg-id", "python-keyring"}
    assert {path.name for path in folder.glob("python-keyring/*")} <= {"docker-credential-keyring"}


def test_pass(home: Path, store: dict[str, str]) -> None:
    """A backend that starts programs: whole, and what it leaves is what `pass` itself shows."""
    choose(home, PASS)
    env = environment(home, **store)
    assert call("keyring", "get", HOST, env).out == NOT_FOUND
    assert stored(env).code == 0
    assert call("keyring", "get", f"https://{HOST}/v2/", env).credential["Secret"] == SECRET
    path = "python-keyring/docker-credential-keyring/registry.example%3a5000"
    shown = subprocess.run(["pass", "show", path], env=env | {"PATH": PATH}, capture_output=True, check=True)
    assert SECRET in shown.stdout.decode()
    assert call("keyring", "erase", HOST, env).code == 0
    assert call("keyring", "get", HOST, env).out == NOT_FOUND


def test_the_library_s_own_file_chooses_no_program(home: Path, store: dict[str, str]) -> None:
    """keyring-pass reads there which program is `pass`."""
    choose(home, PASS)
    evil = home / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {home}/ran\n")
    evil.chmod(0o755)
    configuration = home / ".config/python_keyring/keyringrc.cfg"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f"[pass]\nbinary={evil}\nkey-prefix=x\n")
    env = environment(home, KEYRING_PROPERTY_PASS_BINARY=str(evil), **store)
    assert stored(env).code == 0
    assert call("keyring", "erase", HOST, env).code == 0
    assert not (home / "ran").exists()


def test_what_lies_where_docker_is_called_does_not_run(home: Path, store: dict[str, str], tmp_path: Path) -> None:
    """Neither a program, by a PATH with a dot in it, nor a module for Pythons that are started."""
    choose(home, PASS)
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("pass", "gpg"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {home}/ran\n")
        (folder / name).chmod(0o755)
    (folder / "sitecustomize.py").write_text(f"open({str(home / 'ran')!r}, 'w')\n")
    env = environment(home, **store)
    env |= {"PATH": f".::{env['PATH']}", "PYTHONPATH": str(folder)}
    server = document("elsewhere.example", "alice", SECRET)
    assert execute(BIN / "docker-credential-keyring", "store", stdin=server, env=env, cwd=folder).code == 0
    assert not (home / "ran").exists()


def test_a_secret_service_by_the_library(home: Path) -> None:
    """`library` is the one that it prefers, which here is the session's; its items are not those of docker."""
    choose(home, "library")
    with Session() as session:
        env = environment(home, **session.env)
        assert stored(env).code == 0
        assert call("keyring", "get", HOST, env).credential["Secret"] == SECRET
        found = subprocess.run(
            [sys.executable, "-c", "import keyring; print(keyring.get_password('docker-credential-keyring', 'x'))"],
            env=env | {"PATH": PATH},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == "None"
        direct = environment(home, CREDHELPERS_KEYRING="secret-service", **session.env)
        assert call("keyring", "get", HOST, direct).out == NOT_FOUND
        session.lock()
        result = call("keyring", "get", HOST, env)
        assert result.code == 1
        assert result.out != NOT_FOUND


def test_library_is_never_another_package_s(home: Path) -> None:
    """Not even where nothing else is usable: keyrings.alt has one that writes in clear, and suits everywhere."""
    choose(home, "library")
    result = stored(environment(home))
    assert result.code == 1
    assert b"keyring-backend-unusable" in result.err
    assert kept(home) == ""
    assert not list(home.glob(".local/share/credhelpers/*.age"))


@pytest.mark.parametrize(
    ("backend", "code"),
    [
        ("keyring.backends.fail.Keyring", "keyring-backend-refused"),
        ("keyring.backends.null.Keyring", "keyring-backend-refused"),
        ("keyring.backends.chainer.ChainerBackend", "keyring-backend-refused"),
        ("keyring.backends.SecretService.Nothing", "keyring-backend-unknown"),
        ("keyring.backends.SecretService.log", "keyring-backend-unknown"),
        ("keyring.backend.KeyringBackend", "keyring-backend-unknown"),
        ("keyrings.alt.file.EncryptedNothing", "keyring-backend-unknown"),
        ("keyrings.alt.nothing.Keyring", "keyring-backend-unknown"),
        ("keyrings.Keyring", "keyring-backend-unknown"),
        ("os.environ", "keyring-backend-unknown"),
        ("credhelpers.stores.keyring.Keyring", "keyring-backend-unknown"),
        ("keyrings.alt.Windows.RegistryKeyring", "keyring-backend-unusable"),
        ("keyring.backends.SecretService.Keyring", "keyring-backend-unusable"),
    ],
)
def test_a_backend_that_is_not_taken(home: Path, backend: str, code: str) -> None:
    """Nothing is kept anywhere, and what could be elsewhere is not answered."""
    assert stored(environment(home)).code == 0
    noted(home)
    choose(home, backend)
    for result in (call("keyring", "get", HOST, environment(home)), stored(environment(home), "other.example")):
        assert result.code == 1
        assert result.out != NOT_FOUND
        assert f"[{code}]".encode() in result.err
    assert call("keyring", "list", b"", environment(home)).out == b"{}\n"
    assert len(list((home / ".local/share/credhelpers").glob("*.age"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        '[keyring]\nbackend = "x"\n',
        "[keyring]\nbackend = true\n",
        '[keyring]\nbackend = ["library"]\n',
        '[keyring]\nbackend = ""\n',
        '[keyring]\nbackend = "a..b"\n',
        '[keyring]\nbackend = "a.b; x"\n',
        '[keyring]\nbackend = "a.b\\n"\n',
        "[keyring]\n",
        'keyring = "library"\n',
        '[[keyring]]\nbackend = "library"\n',
        '[keyring]\nbackend = "library"\npath = "/x"\n',
        '[keyring]\nbackends = "library"\n',
    ],
)
def test_a_table_that_is_wrong(home: Path, text: str) -> None:
    """It fails what is asked of the keyring, with its line, and no host of a source."""
    choose(home, "library")
    (home / ".config/credhelpers/config.toml").write_text(f"# \n{text}")
    result = stored(environment(home))
    assert result.code == 1
    assert b"config.toml: line 2: " in result.out
    assert not (home / ".local/share/credhelpers").exists()
    assert b"config.toml" not in call("gcr", "get", "gcr.io", environment(home)).err


def test_a_file_that_nobody_can_read_may_have_chosen(home: Path) -> None:
    """So nothing is kept in another store than the one that was meant; a variable still overrules it."""
    choose(home, "library")
    (home / ".config/credhelpers/config.toml").write_text("[keyring\n")
    assert b"config-no-toml" in stored(environment(home)).err
    assert call("keyring", "list", b"", environment(home)).out == b"{}\n"
    assert stored(environment(home, CREDHELPERS_KEYRING="embedded")).code == 0


def test_a_file_that_others_may_write_chooses_nothing(home: Path, user: dict[str, str]) -> None:
    (home / ".config/credhelpers/config.toml").chmod(0o666)
    assert b"config-untrusted" in stored(user).err
    assert kept(home) == ""


def test_a_file_without_the_table_changes_nothing(home: Path) -> None:
    choose(home, "library")
    (home / ".config/credhelpers/config.toml").write_text('[[registry]]\nmatch = "*.azurecr.io"\nsource = "acr"\n')
    env = environment(home)
    assert stored(env).code == 0
    assert call("keyring", "get", HOST, env).credential["Secret"] == SECRET


@pytest.mark.parametrize("value", ["embedded", "library", PLAINTEXT])
def test_a_variable_overrules_or_is_wrong_and_chooses_no_backend(home: Path, user: dict[str, str], value: str) -> None:
    """`embedded` is the way out; the rest is said in config.toml alone."""
    result = stored(user | {"CREDHELPERS_KEYRING": value})
    assert result.code == (0 if value == "embedded" else 1)
    assert kept(home) == ""


def test_what_was_chosen_is_noticed(home: Path, user: dict[str, str]) -> None:
    """The next call after an edit asks another one, and what the first has is there when it is chosen again."""
    assert stored(user).code == 0
    choose(home, "keyring.backends.fail.Keyring")
    assert b"keyring-backend-refused" in call("keyring", "get", HOST, user).err
    (home / ".config/credhelpers/config.toml").unlink()
    assert call("keyring", "get", HOST, user).out == NOT_FOUND
    choose(home, PLAINTEXT)
    assert call("keyring", "get", HOST, user).credential["Secret"] == SECRET


def test_what_is_typed_for_a_cloud_lies_there_too(home: Path, user: dict[str, str]) -> None:
    """The cloud helpers keep it where the keyring does."""
    host = "myregistry.azurecr.io"
    assert call("acr", "store", document(host, "admin", SECRET), user).code == 0
    assert host.partition(".")[0] in kept(home)
    assert call("acr", "get", host, user).credential["Secret"] == SECRET
    assert call("acr", "erase", host, user).code == 0
    assert call("keyring", "get", host, user).out == NOT_FOUND


# --- hostile backends: of a package that is installed beside ours -----------------------------------------------------


class Installation:
    """A copy of what is installed here, into which others can put a package: nobody else's tests see that."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.bin = folder / "bin"
        (theirs,), (self.packages,) = (place.glob("lib/python3*/site-packages") for place in (BIN.parent, folder))
        for path in theirs.iterdir():
            if path.name.startswith("credhelpers"):
                shutil.copytree(path, self.packages / path.name, ignore=shutil.ignore_patterns("__pycache__"))
            elif path.name != "__pycache__":
                (self.packages / path.name).symlink_to(path)
        for path in BIN.glob("docker-credential-*"):
            shutil.copy2(path, self.bin)

    @contextmanager
    def planted(self, body: str) -> Iterator[str]:
        """The name of a class of a package that is there for a while."""
        name = f"planted_{secrets.token_hex(8)}"  # a new one, lest Python runs what it compiled of the one before
        module, info = self.packages / f"{name}.py", self.packages / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[keyring.backends]\nplanted = {name}\n")
        module.write_text(
            "import os, subprocess, sys, time\nfrom keyring.backend import KeyringBackend\n"
            "from keyring.backends.chainer import ChainerBackend\nfrom keyring.errors import *\n"
            "class Base(KeyringBackend):\n    priority = 9\n"
            "    def get_password(self, service, username): return None\n"
            "    def set_password(self, service, username, password): pass\n"
            "    def delete_password(self, service, username): pass\n" + body
        )
        try:
            yield f"{name}.Planted"
        finally:
            module.unlink()
            shutil.rmtree(info)

    def call(self, verb: str, stdin: str, env: dict[str, str]) -> Result:
        """What its keyring helper answers."""
        return execute(self.bin / "docker-credential-keyring", verb, stdin=stdin, env=env)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("apart") / "env")


GET = "class Planted(Base):\n    def get_password(self, service, username):\n        "
# By name: the code of the class; what the line on stderr has.
HOSTILE = {
    "hangs": (GET + "time.sleep(60)", "keyring-slow"),
    "hangs where it is loaded": ("time.sleep(60)", "keyring-slow"),
    "hangs where it is made": ("class Planted(Base):\n    def __init__(self): time.sleep(60)", "keyring-slow"),
    "hangs in its priority": ("class Planted(Base):\n    priority = property(time.sleep(60))", "keyring-slow"),
    "ends": (GET + "os._exit(0)", "keyring-failed"),
    "exits": (GET + "sys.exit(0)", "failed: SystemExit"),
    "raises": (GET + f"raise ValueError({SECRET!r})", "failed: ValueError"),
    "raises where it is loaded": (f"raise ValueError({SECRET!r})", "failed: ValueError"),
    "lacks what it needs": ("import made_up_module", "keyring-backend-unusable"),
    "is locked": (GET + "raise KeyringLocked()", "keyring-locked"),
    "is not usable": ("class Planted(Base):\n    priority = -1\n    def __init__(self): raise InitError", "InitError"),
    "answers bytes": (GET + "return b'x'", "failed: TypeError"),
    "answers a number": (GET + "return 1", "failed: TypeError"),
    "answers another's": (GET + 'return \'{"ServerURL":"other","Username":"u"}\'', "keyring-damaged"),
    "answers too much": (GET + "return 'x' * (2 << 20)", "keyring-failed"),
    "crashes": (GET + "import ctypes; ctypes.string_at(0)", "keyring-failed"),
    "answers in our place": (GET + "os.write(3, b'{}\\n'); time.sleep(60)", "failed: Exception"),
    "answers a number in our place": (GET + "os.write(3, b'[1]\\n'); time.sleep(60)", "keyring-damaged"),
    "answers garbage in our place": (GET + "os.write(3, b'x\\n')", "keyring-failed"),
    "raises by an odd name": (GET + "raise type('a b\\x1b[31m', (Exception,), {})", "failed: Exception"),
    "is recursive": (GET + "return self.get_password(service, username)", "failed: RecursionError"),
    "reads standard input": (GET + "return input()", "failed: "),
    "asks at a terminal": (GET + "open('/dev/tty').read()", "failed: OSError"),
    "is a chainer": ("class Planted(ChainerBackend): pass", "keyring-backend-refused"),
}


def noted(home: Path) -> None:
    """Have a note tell that there is an item for HOST."""
    folder = home / ".local/share/credhelpers"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Index(Folder(bytes(folder)), b".library").add(HOST)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_backend_cannot_hurt_a_call(installation: Installation, home: Path, name: str) -> None:
    """Within five seconds there is a line, and never "not found" for what is known to be there."""
    body, expected = HOSTILE[name]
    noted(home)
    with installation.planted(body) as backend:
        choose(home, backend)
        started = time.monotonic()
        result = installation.call("get", HOST, environment(home))
        assert time.monotonic() - started < 5 + patience(0.5)
    assert result.code == 1
    assert result.out != NOT_FOUND
    assert expected in result.err.decode(), result
    assert SECRET not in (result.out + result.err).decode()


def test_what_a_backend_prints_is_heard_by_nobody(installation: Installation, home: Path) -> None:
    """Nor does it read what was sent to us; and what it is told is neither in its arguments nor in its environment."""
    noise = "print('noise'); print('noise', file=sys.stderr); os.write(1, b'noise'); os.write(2, b'noise'); "
    with installation.planted(GET + noise + "return None") as backend:
        choose(home, backend)
        result = installation.call("get", HOST, environment(home))
    assert (result.out, result.err) == (NOT_FOUND, b"")


def test_a_backend_that_hangs_is_ended_with_what_it_has_started(installation: Installation, home: Path) -> None:
    """And one that answers leaves nobody either."""
    started = "p = subprocess.Popen(['sleep', '61']); open(os.environ['HOME'] + '/n', 'w').write(str(p.pid)); "
    for end in ("time.sleep(60)", "return None"):
        with installation.planted(GET + started + end) as backend:
            choose(home, backend)
            installation.call("get", HOST, environment(home))
        number = int((home / "n").read_text())
        until = time.monotonic() + 5
        while Path(f"/proc/{number}").exists() and "Z" not in Path(f"/proc/{number}/stat").read_text().split()[2]:
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.parametrize("environ", ["os.environ", "{'HOME': os.environ['HOME']}"], ids=["its own", "a bare one"])
@pytest.mark.parametrize("verb", ["get", "erase", "list"])
def test_a_backend_that_asks_docker_s_helpers_is_told_so(
    installation: Installation, home: Path, verb: str, environ: str
) -> None:
    """A circle ends at once, whichever variables the helper in it is given, and whoever is between."""
    helper = installation.bin / "docker-credential-keyring"
    body = (
        "class Planted(Base):\n    def get_password(self, service, username):\n"
        f"        command = ['sh', '-c', '{helper} {verb}; true']\n"
        f"        done = subprocess.run(command, input=b'{HOST}', capture_output=True, env={environ})\n"
        f"        open(os.environ['HOME'] + '/said', 'ab').write(done.stderr + done.stdout)\n"
        "        return None\n"
    )
    with installation.planted(body) as backend:
        choose(home, backend)
        notes = home / ".local/share/credhelpers"
        notes.mkdir(parents=True, mode=0o700)
        Index(Folder(bytes(notes)), b".library").add(HOST)
        started = time.monotonic()
        assert installation.call("get", HOST, environment(home)).out == NOT_FOUND
        assert time.monotonic() - started < 5
    said = (home / "said").read_bytes()
    assert said == b"{}\n" if verb == "list" else said.count(b"[keyring-circle]") == 1


def test_without_a_process_to_be_had(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a line, and nobody is killed in the place of the one that was not begun."""

    def fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr("credhelpers.stores.library.posix", SimpleNamespace(**vars(posix) | {"fork": fork}))
    folder = Folder(bytes(home / "store"))
    library = Library(PLAINTEXT, Index(folder, b".library"), folder)
    with pytest.raises(Unavailable, match="gives no process"):
        library.read(HOST)
    library.close()


def test_a_call_that_is_killed_ends_the_backend(installation: Installation, home: Path) -> None:
    """Its own process, at once."""
    helper = installation.bin / "docker-credential-keyring"
    with installation.planted(
        GET + "open(os.environ['HOME'] + '/n', 'w').write(str(os.getpid())); time.sleep(60)"
    ) as backend:
        choose(home, backend)
        asked = subprocess.Popen([str(helper), "get"], env=environment(home), stdin=subprocess.PIPE)
        assert asked.stdin
        asked.stdin.write(HOST.encode())
        asked.stdin.close()
        until = time.monotonic() + 10
        while not (home / "n").exists() or not (home / "n").read_text():
            assert time.monotonic() < until
            time.sleep(0.01)
        asked.kill()
        asked.wait()
        number = int((home / "n").read_text())
        while Path(f"/proc/{number}").exists() and "Z" not in Path(f"/proc/{number}/stat").read_text().split()[2]:
            assert time.monotonic() < until
            time.sleep(0.01)
