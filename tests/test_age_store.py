"""The embedded store of docker-credential-keyring, through the installed executable and beside the real age tool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.credential import Credential
from credhelpers.errors import NotFound, Unavailable
from credhelpers.servers import Authority
from credhelpers.stores.keyring import Keyring
from tests.harness import BIN, NOT_FOUND, Result, document, environment, lacking, need
from tests.harness import loaded_call as call

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "registry.example:5000"
OTHER = "other.example"


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    """A session without a bus."""
    return environment(home)


@pytest.fixture
def store(home: Path) -> Path:
    """Where the embedded store will be."""
    return home / ".local/share/credhelpers"


def keep(env: dict[str, str], server: str = HOST, username: str = "ann", secret: str = "made-up") -> Path:
    """Store an entry, give its file."""
    folder = Path(env["HOME"]) / ".local/share/credhelpers"
    before = set(folder.glob("*.age"))
    result = call("keyring", "store", document(server, username, secret), env)
    assert (result.code, result.out, result.err) == (0, b"", b""), result
    new = set(folder.glob("*.age")) - before
    return new.pop() if new else max(before, key=lambda path: path.stat().st_mtime_ns)


def assert_unavailable(result: Result, reason: str) -> None:
    """It failed, said why in one line with a hint in another, and let nothing out."""
    assert result.code == 1, result
    assert reason.encode() in result.out, result
    assert result.out.count(b"\n") == 1
    assert result.told
    assert b"made-up" not in result.out + result.err


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [pytest.param(mask, id=f"umask {mask:03o}") for mask in (0o000, 0o022, 0o077)])
def test_files_are_private_from_the_start(env: dict[str, str], store: Path, umask: int) -> None:
    """Whatever the umask, the directory is 0700 and every file 0600."""
    subprocess.run(
        [str(BIN / "docker-credential-keyring"), "store"],
        input=document(HOST, "ann", "made-up"),
        env=env,
        umask=umask,
        check=True,
    )
    assert store.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in store.iterdir()} == {0o600}
    assert HOST not in " ".join(path.name for path in store.iterdir())
    assert call("keyring", "get", HOST, env).credential["Secret"] == "made-up"


def test_reading_writes_nothing(env: dict[str, str], home: Path) -> None:
    """`get`, `list` and `erase` on a machine that never stored anything leave no trace."""
    assert call("keyring", "get", HOST, env) == Result(1, NOT_FOUND, b"")
    assert call("keyring", "list", "unused", env).listing == {}
    assert call("keyring", "erase", HOST, env) == Result(0, b"", b"")
    assert list(home.iterdir()) == []


def test_data_home_is_honoured(env: dict[str, str], home: Path, tmp_path: Path) -> None:
    """`XDG_DATA_HOME` moves the store; a relative one does not count."""
    moved = env | {"XDG_DATA_HOME": str(tmp_path / "data")}
    assert call("keyring", "store", document(HOST, "ann", "moved"), moved).code == 0
    assert (tmp_path / "data/credhelpers/identity.txt").exists()
    assert list(home.iterdir()) == []
    relative = env | {"XDG_DATA_HOME": "data"}
    assert call("keyring", "store", document(HOST, "ann", "made-up"), relative).code == 0
    assert call("keyring", "get", HOST, env).credential["Secret"] == "made-up"


@pytest.mark.usefixtures("homeless")
def test_no_home_is_said() -> None:
    """Without a home there is no place for the store, and never a shared one; who only asks hears that it is empty."""
    keyring = Keyring({b"CREDHELPERS_KEYRING": b"embedded"})
    assert keyring.list() == {}
    keyring.erase(Authority(HOST))
    with pytest.raises(NotFound):
        keyring.get(Authority(HOST))
    with pytest.raises(Unavailable, match="there is no home directory"):
        keyring.store(Authority(HOST), Credential("ann", "made-up"))


def _widen_folder(entry: Path) -> None:
    entry.parent.chmod(0o755)


def _widen_file(entry: Path) -> None:
    entry.chmod(0o644)


def _widen_identity(entry: Path) -> None:
    (entry.parent / "identity.txt").chmod(0o640)


def _link_folder(entry: Path) -> None:
    moved = entry.parent.rename(entry.parent.with_name("moved"))
    entry.parent.symlink_to(moved)


def _link_file(entry: Path) -> None:
    moved = entry.rename(entry.with_name("elsewhere"))
    entry.symlink_to(moved)


def _make_fifo(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry, 0o600)


def _give_away(entry: Path) -> None:
    if os.geteuid():
        lacking("only root can give files away")
    os.chown(entry, 12345, -1)


def _file_for_folder(entry: Path) -> None:
    shutil.rmtree(entry.parent)
    entry.parent.write_bytes(b"")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_widen_folder, id="directory open to others"),
        pytest.param(_link_folder, id="directory is a link"),
        pytest.param(_file_for_folder, id="directory is a file"),
        pytest.param(_widen_file, id="entry open to others"),
        pytest.param(_link_file, id="entry is a link"),
        pytest.param(_make_fifo, id="entry is a pipe"),
        pytest.param(_give_away, id="entry of another user"),
        pytest.param(_widen_identity, id="identity open to others"),
    ],
)
def test_what_a_stranger_could_touch_is_refused(env: dict[str, str], spoil: Callable[[Path], None]) -> None:
    """An entry or an identity that others could have read or written neither answers nor blocks."""
    spoil(keep(env))
    assert_unavailable(call("keyring", "get", HOST, env, deadline=5), "is not private to this user")


@pytest.mark.parametrize("spoil", [_widen_folder, _link_folder, _file_for_folder, _widen_identity])
def test_nothing_is_written_where_a_stranger_could_read(env: dict[str, str], spoil: Callable[[Path], None]) -> None:
    """`store` does not use, and does not repair, a directory or an identity that is open to others."""
    entry = keep(env)
    before = entry.read_bytes()
    spoil(entry)
    result = call("keyring", "store", document(HOST, "ann", "made-up too"), env)
    assert_unavailable(result, "is not private to this user")
    assert not entry.exists() or entry.read_bytes() == before


# --- content ---------------------------------------------------------------------------------------------------------


def _truncate(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-3])


def _empty(entry: Path) -> None:
    entry.write_bytes(b"")


def _flip(entry: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-5] ^= 1
    entry.write_bytes(content)


def _inflate(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes() + bytes(1 << 20))


def _swap(entry: Path) -> None:
    env = environment(entry.parents[3])
    other = keep(env, OTHER, "bob", "not for this host")
    entry.write_bytes(other.read_bytes())


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_truncate, id="truncated"),
        pytest.param(_empty, id="empty"),
        pytest.param(_flip, id="a bit flipped"),
        pytest.param(_inflate, id="a megabyte behind it"),
        pytest.param(_swap, id="another host's file under this name"),
    ],
)
def test_a_damaged_entry_never_answers(env: dict[str, str], spoil: Callable[[Path], None]) -> None:
    """A file that is not what was written for this host is an error, and a new login or a logout mends it."""
    entry = keep(env)
    spoil(entry)
    result = call("keyring", "get", HOST, env)
    assert_unavailable(result, "the entry in the embedded store is damaged")
    assert b"not for this host" not in result.out
    assert HOST not in call("keyring", "list", "unused", env).listing
    keep(env, secret="made-up anew")
    assert call("keyring", "get", HOST, env).credential["Secret"] == "made-up anew"
    spoil(entry)
    assert call("keyring", "erase", HOST, env) == Result(0, b"", b"")
    assert call("keyring", "get", HOST, env) == Result(1, NOT_FOUND, b"")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"ServerURL":"%s","Username":"ann"}\n', id="no secret"),
        pytest.param(b'{"ServerURL":"%s.evil.example","Username":"ann","Secret":"x"}\n', id="longer host"),
        pytest.param(b"[]\n", id="a list"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"ServerURL":"%s","Username":"ann","Secret":"x"}\nmore', id="more behind it"),
        pytest.param(b'{"ServerURL":"%s","Username":"\xc3\xa4","Secret":"x"}\n', id="not ASCII"),
    ],
)
def test_an_entry_made_by_hand_must_be_an_answer(env: dict[str, str], line: bytes) -> None:
    """What opens with the identity but is no answer for this host is damaged, not passed on."""
    entry = keep(env)
    identity = entry.parent / "identity.txt"
    encrypt(identity, entry, line.replace(b"%s", HOST.encode()))
    assert_unavailable(call("keyring", "get", HOST, env), "the entry in the embedded store is damaged")
    assert call("keyring", "list", "unused", env).listing == {}


def encrypt(identity: Path, entry: Path, line: bytes) -> None:
    """Write `line` into `entry` as a person with the age tool would."""
    need("age", "age")
    done = subprocess.run(["age", "-e", "-i", str(identity)], input=line, stdout=subprocess.PIPE, check=True)
    entry.write_bytes(done.stdout)


def decrypt(identity: Path, entry: Path) -> bytes:
    """What the age tool shows of `entry`."""
    need("age", "age")
    return subprocess.run(["age", "-d", "-i", str(identity), str(entry)], stdout=subprocess.PIPE, check=True).stdout


def test_the_age_tool_reads_an_entry(env: dict[str, str]) -> None:
    """`age -d -i identity.txt FILE` shows exactly what `get` answers."""
    entry = keep(env, secret='quo"te\n\u00e4')
    answer = call("keyring", "get", HOST, env)
    assert decrypt(entry.parent / "identity.txt", entry) == answer.out


def test_an_entry_of_the_age_tool_is_read(env: dict[str, str]) -> None:
    """A person can write an entry with `age -e`."""
    entry = keep(env)
    line = json.dumps({"ServerURL": HOST, "Username": "bob", "Secret": "by hand"}, separators=(",", ":")).encode()
    encrypt(entry.parent / "identity.txt", entry, line + b"\n")
    assert call("keyring", "get", HOST, env).credential == {"ServerURL": HOST, "Username": "bob", "Secret": "by hand"}
    assert call("keyring", "list", "unused", env).listing == {HOST: "bob"}


def test_an_empty_secret_made_by_hand_is_none(env: dict[str, str]) -> None:
    """An entry whose secret is empty is as good as none."""
    entry = keep(env)
    encrypt(entry.parent / "identity.txt", entry, b'{"ServerURL":"%s","Username":"ann","Secret":""}\n' % HOST.encode())
    assert call("keyring", "get", HOST, env) == Result(1, NOT_FOUND, b"")
    assert call("keyring", "list", "unused", env).listing == {}


# --- identities ------------------------------------------------------------------------------------------------------


def key_file(folder: Path, kind: str) -> Path:
    """A private key of this kind, made by the tool that people make it with."""
    path = folder / f"key-{kind}"
    if kind == "age":
        subprocess.run([need("age-keygen", "age"), "-o", str(path)], check=True, capture_output=True)
        return path
    if kind == "two":
        for name in ("a", "b"):
            (folder / name).mkdir()
        path.write_bytes(b"".join(key_file(folder / name, "age").read_bytes() for name in ("a", "b")))
        path.chmod(0o600)
        return path
    options = {
        "ed25519": ["-t", "ed25519", "-N", ""],
        "rsa": ["-t", "rsa", "-N", ""],
        "ecdsa": ["-t", "ecdsa", "-N", ""],
        "pem": ["-t", "rsa", "-m", "PEM", "-N", ""],
        "protected": ["-t", "ed25519", "-N", "made-up"],
    }[kind]
    command = [need("ssh-keygen", "openssh-client"), "-q", *options, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.mark.parametrize("kind", ["age", "two", "ed25519", "rsa"])
def test_a_named_identity_is_used(env: dict[str, str], store: Path, tmp_path: Path, kind: str) -> None:
    """With `CREDHELPERS_AGE_IDENTITY` no other identity is made, and the age tool opens the entry with the same key."""
    key = key_file(tmp_path, kind)
    env["CREDHELPERS_AGE_IDENTITY"] = str(key)
    entry = keep(env)
    answer = call("keyring", "get", HOST, env)
    assert answer.credential["Secret"] == "made-up"
    assert decrypt(key, entry) == answer.out
    assert call("keyring", "list", "unused", env).listing == {HOST: "ann"}
    assert not (store / "identity.txt").exists()


def test_each_key_of_an_identity_file_opens(env: dict[str, str], tmp_path: Path) -> None:
    """Of an identity file with two keys, either one alone opens what was stored with both: keys can be changed."""
    key = key_file(tmp_path, "two")
    keep(env | {"CREDHELPERS_AGE_IDENTITY": str(key)})
    for name in ("a", "b"):
        single = env | {"CREDHELPERS_AGE_IDENTITY": str(tmp_path / name / "key-age")}
        assert call("keyring", "get", HOST, single).credential["Secret"] == "made-up"


def test_a_linked_identity_is_followed(env: dict[str, str], tmp_path: Path) -> None:
    """Secrets that an orchestrator mounts are links to read-only files."""
    key = key_file(tmp_path, "age")
    key.chmod(0o400)
    link = tmp_path / "link"
    link.symlink_to(key)
    env["CREDHELPERS_AGE_IDENTITY"] = str(link)
    keep(env)
    assert call("keyring", "get", HOST, env).credential["Secret"] == "made-up"


def _bad_identity(folder: Path, kind: str) -> str:
    if kind == "missing":
        return str(folder / "missing")
    if kind == "relative":
        return "key"
    if kind == "directory":
        return str(folder)
    if kind in ("ecdsa", "protected", "pem"):
        return str(key_file(folder, kind))
    path = folder / "bad"
    content = {
        "garbage": b"hello\n",
        "empty": b"",
        "comments": b"# nothing\n",
        "plugin": b"AGE-PLUGIN-YUBIKEY-1QQQQ\n",
        "broken": b"AGE-SECRET-KEY-1QQQQ\n",
        "binary": bytes(range(256)),
        "short": b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n",
        "pkcs8": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "encrypted": b"age-encryption.org/v1\n-> scrypt AAAA 18\n",
        "armored": b"-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n",
        "wide": b"",
    }[kind]
    if kind == "wide":
        path = key_file(folder, "age")
        path.chmod(0o640)
        return str(path)
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "cannot be read: No such file"),
        ("relative", "is not an absolute path"),
        ("directory", "names no regular file"),
        ("wide", "open to other users"),
        ("protected", "protected by a passphrase"),
        ("encrypted", "protected by a passphrase"),
        ("armored", "protected by a passphrase"),
        ("pem", "in an old format"),
        ("ecdsa", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("garbage", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("empty", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("comments", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("plugin", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("broken", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("binary", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("short", "no age identity and no ssh-ed25519 or ssh-rsa"),
        ("pkcs8", "no age identity and no ssh-ed25519 or ssh-rsa"),
    ],
)
def test_an_unusable_identity_is_explained(env: dict[str, str], tmp_path: Path, kind: str, reason: str) -> None:
    """Each way in which a named identity cannot serve has its sentence; nothing is stored, nothing asked."""
    entry = keep(env)
    before = entry.read_bytes()
    folder = tmp_path / "keys"
    folder.mkdir()
    env["CREDHELPERS_AGE_IDENTITY"] = _bad_identity(folder, kind)
    assert_unavailable(call("keyring", "store", document(HOST, "ann", "made-up"), env), reason)
    assert entry.read_bytes() == before
    assert_unavailable(call("keyring", "get", HOST, env), "another identity" if kind == "pem" else reason)


def test_an_entry_of_another_identity(env: dict[str, str], tmp_path: Path) -> None:
    """It is an error for `get`, left out by `list`, and forgotten by `erase`."""
    keep(env)
    keep(env, OTHER)
    env["CREDHELPERS_AGE_IDENTITY"] = str(key_file(tmp_path, "age"))
    assert_unavailable(call("keyring", "get", HOST, env), "encrypted to another identity")
    keep(env, "third.example")
    assert call("keyring", "list", "unused", env).listing == {"third.example": "ann"}
    assert call("keyring", "erase", HOST, env) == Result(0, b"", b"")
    assert call("keyring", "get", HOST, env) == Result(1, NOT_FOUND, b"")


def test_a_lost_identity_is_said(env: dict[str, str]) -> None:
    """Entries whose identity was deleted are errors, and left out by `list`, until the next login."""
    entry = keep(env)
    (entry.parent / "identity.txt").unlink()
    assert_unavailable(call("keyring", "get", HOST, env), "identity file of the embedded store is gone")
    assert call("keyring", "list", "unused", env).listing == {}
    keep(env)
    assert call("keyring", "get", HOST, env).credential["Secret"] == "made-up"


# --- many at once, and accidents -------------------------------------------------------------------------------------


def test_64_first_stores_share_one_identity(env: dict[str, str], store: Path) -> None:
    """Whoever is first makes the identity; all others encrypt to it."""
    servers = [f"host-{number}.example" for number in range(64)]
    with ThreadPoolExecutor(64) as pool:
        results = list(pool.map(lambda server: call("keyring", "store", document(server, "ann", server), env), servers))
    assert {(result.code, result.out, result.err) for result in results} == {(0, b"", b"")}
    assert call("keyring", "list", "unused", env).listing == dict.fromkeys(servers, "ann")
    assert [path.name for path in store.iterdir() if path.suffix != ".age"] == ["identity.txt"]


def test_readers_see_whole_entries(env: dict[str, str]) -> None:
    """While an entry is replaced again and again, every `get` answers with one of those sent."""
    keep(env, secret="0" * 5000)

    def work(number: int) -> Result:
        if number % 4 == 0:
            return call("keyring", "store", document(HOST, "ann", str(number % 10) * 5000), env)
        return call("keyring", "get", HOST, env)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(60)))
    for number, result in enumerate(results):
        if number % 4:
            secret = result.credential["Secret"]
            assert secret == secret[0] * 5000


@pytest.mark.parametrize("when", range(1, 4))
@pytest.mark.parametrize("syscalls", ["fsync", "write", "?rename,?renameat,?renameat2", "?link,?linkat", "openat"])
def test_a_killed_store_leaves_the_old_entry_or_the_new(env: dict[str, str], syscalls: str, when: int) -> None:
    """SIGKILL at any step leaves a store that answers with one of the two, and the next login works."""
    strace = need("strace", "strace")
    keep(env, secret="made-up old")
    folder = Path(env["HOME"]) / ".local/share/credhelpers"
    count = when if syscalls != "openat" else -when
    if count < 0:  # the last ones: those before are the interpreter's
        traced = subprocess.run(
            [strace, "-e", "trace=openat", sys.executable, "-I", "-S", str(BIN / "docker-credential-keyring"), "store"],
            input=document(HOST, "ann", "made-up old"),
            env=env,
            capture_output=True,
            check=True,
        )
        count = max(1, traced.stderr.count(b"openat(") + 1 + count)
    subprocess.run(
        [
            *(
                strace,
                "-o",
                "/dev/null",
                "-e",
                f"trace={syscalls}",
                "-e",
                f"inject={syscalls}:signal=KILL:when={count}",
            ),
            *(sys.executable, "-I", "-S", str(BIN / "docker-credential-keyring"), "store"),
        ],
        input=document(HOST, "bob", "made-up new"),
        env=env,
        capture_output=True,
        check=False,
    )
    answer = call("keyring", "get", HOST, env).credential
    assert (answer["Username"], answer["Secret"]) in {("ann", "made-up old"), ("bob", "made-up new")}
    for leftover in folder.glob(".*"):
        assert leftover.stat().st_mode & 0o777 == 0o600
        os.utime(leftover, (time.time() - 7200,) * 2)
    keep(env, secret="made-up last")
    assert list(folder.glob(".*")) == []
    assert call("keyring", "get", HOST, env).credential["Secret"] == "made-up last"


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT", "EROFS"])
@pytest.mark.parametrize("syscalls", ["fsync", "?rename,?renameat,?renameat2", "?link,?linkat"])
def test_a_failing_disk_is_an_error_and_no_loss(env: dict[str, str], syscalls: str, error: str) -> None:
    """What cannot be written is said, and the entry that was there still answers."""
    strace = need("strace", "strace")
    if "link" not in syscalls:
        keep(env)
    done = subprocess.run(
        [
            *(strace, "-o", "/dev/null", "-e", f"trace={syscalls}", "-e", f"inject={syscalls}:error={error}"),
            *(sys.executable, "-I", "-S", str(BIN / "docker-credential-keyring"), "store"),
        ],
        input=document(HOST, "bob", "made-up new"),
        env=env,
        capture_output=True,
        check=False,
    )
    assert_unavailable(Result(done.returncode, done.stdout, done.stderr), "the embedded store cannot be written")
    assert list((Path(env["HOME"]) / ".local/share/credhelpers").glob(".*")) == []
    if "link" not in syscalls:
        assert call("keyring", "get", HOST, env).code == 0


def test_a_full_disk_keeps_the_old_entry(env: dict[str, str], home: Path) -> None:
    """On a file system without room `store` fails, leaves nothing half-written, and `get` answers as before."""
    if os.geteuid():
        lacking("only root can mount a small file system")
    helper = BIN / "docker-credential-keyring"
    script = f"""
        mount -t tmpfs -o size=64k,mode=700 none "$HOME" || exit 77
        printf '{{"ServerURL":"{HOST}","Username":"ann","Secret":"old"}}' | {helper} store || exit 78
        dd if=/dev/zero of="$HOME/filler" bs=1k 2>/dev/null
        secret=$(head -c 9000 /dev/zero | tr '\\0' x)
        printf '{{"ServerURL":"{HOST}","Username":"ann","Secret":"%s"}}' "$secret" | {helper} store
        echo "code $?"
        ls -A "$HOME/.local/share/credhelpers" | grep -c '^[.]'
        printf '{HOST}' | {helper} get
    """
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], env=env, capture_output=True, check=False)
    if done.returncode == 77 or b"unshare" in done.stderr:
        lacking("this machine allows no mounts")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(b"the embedded store cannot be written: No space left"), done
    assert lines[1:3] == [b"code 1", b"0"]
    assert json.loads(lines[3])["Secret"] == "old"
    assert list(home.iterdir()) == []


# --- speed -----------------------------------------------------------------------------------------------------------


def test_a_get_loads_next_to_nothing(env: dict[str, str], tmp_path: Path) -> None:
    """On the way of a `get` there is pyrage and none of the modules that cost more than the answer."""
    keep(env)
    trace = tmp_path / "trace"
    subprocess.run(
        [
            *(need("strace", "strace"), "-f", "-e", "trace=openat", "-o", str(trace)),
            *(str(BIN / "docker-credential-keyring"), "get"),
        ],
        input=HOST.encode(),
        env=env,
        capture_output=True,
        check=True,
    )
    calls = [line for line in trace.read_text().splitlines() if "openat(" in line and "= -1" not in line]
    opened = {line.split('"')[1].rpartition("/")[2] for line in calls}
    loaded = {name.partition(".")[0] for name in opened if name.endswith((".pyc", ".py", ".so"))}
    assert "pyrage" in loaded
    slow = {
        "os",
        "json",
        "pathlib",
        "hashlib",
        "typing",
        "logging",
        "re",
        "socket",
        "jeepney",
        "secretstorage",
        "keyring",
    }
    assert loaded & slow == set()


def test_root_keeps_nothing_in_somebody_elses_home(env: dict[str, str], home: Path) -> None:
    """As under `sudo -E docker login`: its owner could not use a store of root's there, nor ever make one."""
    if os.geteuid() != 0:
        lacking("only root can do so; run as root, in a container for example")
    os.chown(home, 54321, -1)
    result = call("keyring", "store", document(HOST, "ann", "made-up"), env)
    assert (result.code, result.out) == (1, b"root keeps no credentials below a directory of somebody else's\n")
    assert b"sudo -H" in result.err
    assert not (home / ".local").exists()
