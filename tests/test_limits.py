"""What a call says where the system gives no more threads, memory, descriptors, processes, room, or leave to write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fakes import azure as fake_azure
from tests.fakes.aws import FakeAws
from tests.fakes.azure import FakeAzure
from tests.harness import BIN, NOT_FOUND, Result, document, environment, need
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="prlimit, setpriv and unshare, as Linux has them"),
]

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
OTHER_ECR = "444455556666.dkr.ecr.us-east-1.amazonaws.com"
SERVER = "registry.example"
USER = 54321


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    with FakeAws(authority) as fake:
        yield fake


@pytest.fixture
def user(aws: FakeAws, home: Path, entered: Path) -> dict[str, str]:
    """The environment of another user, whose home it is, and whom the limits of root do not spare."""
    need_root("another user's limits")
    os.chown(home, USER, USER)
    return environment(home, **aws.environment(), AWS_EC2_METADATA_DISABLED="true")


def limited(env: dict[str, str], helper: str, verb: str, stdin: bytes | str, *limits: str) -> Result:
    """A call by that user, under limits as `prlimit` has them. He may read the tests' environment, wherever it lies."""
    may_read = "-all,+dac_read_search"
    become = [need("setpriv", "util-linux"), f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    become += [f"--{kind}={may_read}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    words = [need("prlimit", "util-linux"), *limits] if limits else []
    done = subprocess.run(
        [*become, *words, str(BIN / f"docker-credential-{helper}"), verb],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        env=env,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def require(done: Result, secret: str) -> None:
    """It is the answer, or a line that names what there is too little of, with the limit in the hint."""
    if done.code == 0:
        assert done.credential["Secret"].startswith(secret)
        return
    assert done.code == 1, done
    assert done.out.startswith(b"this system gives no more "), done
    assert done.out.count(b"\n") == 1, done
    assert b"ulimit -" in done.err, done
    assert b"defect" not in done.err, done


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_embedded_store_needs_no_thread(user: dict[str, str], number: int) -> None:
    """store, get, list and erase where not one more process or thread may be made."""
    limit = f"--nproc={number}"
    assert limited(user, "keyring", "store", document(SERVER, "user", "made-up"), limit) == Result(0, b"", b"")
    assert limited(user, "keyring", "get", SERVER, limit).credential["Secret"] == "made-up"
    assert limited(user, "keyring", "list", b"", limit).listing == {SERVER: "user"}
    assert limited(user, "keyring", "erase", SERVER, limit) == Result(0, b"", b"")
    assert limited(user, "keyring", "get", SERVER, limit).out == NOT_FOUND


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_mint_without_threads_says_so(user: dict[str, str], number: int) -> None:
    """It is no defect and no network; and it is forgotten as soon as there are threads again."""
    limit = f"--nproc={number}"
    done = limited(user, "ecr", "get", ECR, limit)
    require(done, "made-up-password")
    assert b"threads" in done.out
    assert limited(user, "ecr", "get", ECR).credential, "the shortage was remembered"
    assert limited(user, "ecr", "get", ECR, limit).credential, "a token in the cache needs no thread"


@pytest.mark.parametrize("settings", ['credential = "azure-cli"\n', ""], ids=["chosen", "found"])
def test_a_tool_that_cannot_be_started_for_lack_of_processes(
    authority: CertificateAuthority, user: dict[str, str], home: Path, settings: str
) -> None:
    """`az` is there and somebody is logged in: that no process is to be had is not said to be its absence."""
    tools = home / "tools"
    tools.mkdir(mode=0o755)
    (tools / "az").write_text("#!/bin/sh\nexit 1\n")
    (tools / "az").chmod(0o755)
    config = home / "config.toml"
    config.write_text(f'[[registry]]\nmatch = "{fake_azure.HOST}"\nsource = "acr"\n{settings}' if settings else "")
    config.chmod(0o644)
    with FakeAzure(authority) as azure:
        env = user | azure.environment(
            CREDHELPERS_CONFIG=str(config), PATH=f"{tools}:/usr/bin:/bin", AZURE_TOKEN_CREDENTIALS="AzureCliCredential"
        )
        done = limited(env, "acr", "get", fake_azure.HOST, "--nproc=0")
    # Of threads there are as many as of processes, and the registry is asked in one.
    assert done.out in (b"this system gives no more processes\n", b"this system gives no more threads\n"), done
    assert b"ulimit -u" in done.err


@pytest.mark.parametrize("megabytes", [*range(20, 108, 8)])
def test_too_little_memory_is_said(user: dict[str, str], megabytes: int) -> None:
    """An entry of the store, a cached token and a new one under less and less address space."""
    limit = f"--as={megabytes}000000"
    assert limited(user, "keyring", "store", document(SERVER, "user", "made-up")).code == 0
    require(limited(user, "keyring", "get", SERVER, limit), "made-up")
    done = limited(user, "ecr", "get", ECR, limit)
    if done.code != -signal.SIGPROF:  # the interpreter's own end, see `guard.watch`: it cannot raise for want of memory
        require(done, "made-up-password")
    assert limited(user, "ecr", "get", ECR).credential, "the shortage was remembered"
    assert limited(user, "ecr", "get", ECR, limit).credential, "a hit needs next to nothing"


@pytest.mark.parametrize("number", [*range(12, 24)])
def test_too_few_descriptors_are_said(user: dict[str, str], number: int) -> None:
    """The shell that starts the helper needs ten and says so itself below that."""
    limit = f"--nofile={number}"
    require(limited(user, "ecr", "get", ECR, limit), "made-up-password")
    assert limited(user, "keyring", "store", document(SERVER, "user", "made-up"), limit).code == 0
    require(limited(user, "keyring", "get", SERVER, limit), "made-up")


# --- disks ------------------------------------------------------------------------------------------------------------

FILL = "cat /dev/zero >$HOME/fill 2>/dev/null || true\n"
READ_ONLY = "mount -o remount,ro $HOME\n"


def on_a_small_disk(env: dict[str, str], script: str) -> list[Result]:
    """What each `call HELPER VERB INPUT` of a script comes to, in a home on a file system of its own."""
    need_root("a file system of its own")
    calls = f"""
mount -t tmpfs -o mode=0700,size=128k tmpfs $HOME
call() {{
    code=0
    printf %s "$3" | {BIN}/docker-credential-$1 $2 >/dev/shm/$$.out 2>/dev/shm/$$.err || code=$?
    printf '%s\\0' "$code"
    cat /dev/shm/$$.out; printf '\\0'
    cat /dev/shm/$$.err; printf '\\0'
    rm /dev/shm/$$.out /dev/shm/$$.err
}}
mount -t tmpfs tmpfs /dev/shm
{script}"""
    done = subprocess.run(
        [need("unshare", "util-linux"), "--mount", "/bin/sh", "-ec", calls],
        env=env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done
    parts = done.stdout.split(b"\0")[:-1]
    return [Result(int(code), out, err) for code, out, err in zip(*[iter(parts)] * 3, strict=True)]


@pytest.fixture
def env(aws: FakeAws, home: Path) -> dict[str, str]:
    return environment(home, **aws.environment(), AWS_EC2_METADATA_DISABLED="true")


STORE = f"call keyring store '{document(SERVER, 'user', 'made-up').decode().strip()}'\n"
DONE = Result(0, b"", b"")


@pytest.mark.parametrize("before", ["", STORE], ids=["nothing kept", "another kept"])
@pytest.mark.parametrize("state", [READ_ONLY, FILL], ids=["read-only", "full"])
def test_erasing_what_is_not_in_the_store(env: dict[str, str], before: str, state: str) -> None:
    """It is done already, whatever the disk would say to a write."""
    *_, done = on_a_small_disk(env, f"{before}{state}call keyring erase other.example\n")
    assert done == DONE


def test_what_cannot_be_removed_from_the_store_is_an_error(env: dict[str, str]) -> None:
    """The reason is the mount, and so is the hint; the entry is still answered."""
    script = f"{STORE}{READ_ONLY}call keyring erase {SERVER}\ncall keyring get {SERVER}\n"
    _, done, after = on_a_small_disk(env, script)
    assert (done.code, done.out) == (1, b"the embedded store cannot be written: Read-only file system\n")
    assert b"`mount`" in done.err
    assert after.credential["Secret"] == "made-up"


def test_the_store_on_a_full_disk(env: dict[str, str]) -> None:
    """Nothing more can be kept, for want of room and of nothing else; what is kept can be forgotten."""
    more = f"call keyring store '{document('other.example', 'user', 'made-up').decode().strip()}'\n"
    script = f"{STORE}{FILL}{more}call keyring get {SERVER}\ncall keyring erase {SERVER}\ncall keyring get {SERVER}\n"
    _, refused, there, done, gone = on_a_small_disk(env, script)
    assert (refused.code, refused.out) == (1, b"the embedded store cannot be written: No space left on device\n")
    assert b"`df -h`" in refused.err
    assert there.credential["Secret"] == "made-up"
    assert done == DONE
    assert gone.out == NOT_FOUND


GET = f"call ecr get {ECR}\n"


@pytest.mark.parametrize("before", ["", GET], ids=["nothing cached", "another cached"])
@pytest.mark.parametrize("state", [READ_ONLY, FILL], ids=["read-only", "full"])
def test_erasing_what_is_not_in_the_cache(env: dict[str, str], before: str, state: str) -> None:
    """No mark of it can be made, and none is needed where nobody mints."""
    *_, done = on_a_small_disk(env, f"{before}{state}call ecr erase {OTHER_ECR}\n")
    assert done == DONE


def test_a_token_that_cannot_be_removed_is_an_error(env: dict[str, str]) -> None:
    """It would be answered again, as it is here; mode and owner have nothing to do with it."""
    *_, done, after = on_a_small_disk(env, f"{GET}{READ_ONLY}call ecr erase {ECR}\n{GET}")
    assert (done.code, done.out) == (1, b"the cached token cannot be erased: Read-only file system\n")
    assert b"`mount`" in done.err
    assert b"owner" not in done.err
    assert after.credential["Secret"] == "made-up-password-1"


def test_a_token_on_a_full_disk_is_forgotten(env: dict[str, str]) -> None:
    """What goes makes room for the mark."""
    *_, done, after = on_a_small_disk(env, f"{GET}{FILL}call ecr erase {ECR}\n{GET}")
    assert done == DONE
    assert after.credential["Secret"] == "made-up-password-2"


def test_a_full_disk_and_somebody_who_mints(env: dict[str, str]) -> None:
    """Nobody can tell him that his token is forgotten already, so that is not said; why not, is."""
    hold = "exec 9<>$(ls $HOME/.cache/credhelpers/ecr-lock-* | head -n 1)\nflock -x 9\n"
    *_, done = on_a_small_disk(env, f"{GET}{FILL}{hold}call ecr erase {OTHER_ECR}\n")
    assert (done.code, done.out) == (1, b"the cached token cannot be erased: No space left on device\n")
    assert b"`df -h`" in done.err


def test_erase_without_leave_to_write(user: dict[str, str], home: Path) -> None:
    """The same for a directory that its owner has closed to himself: what is kept there stays, and is named."""
    assert limited(user, "keyring", "store", document(SERVER, "user", "made-up")).code == 0
    assert limited(user, "ecr", "get", ECR).credential
    for folder in (home / ".local/share/credhelpers", home / ".cache/credhelpers"):
        folder.chmod(0o500)
    assert limited(user, "keyring", "erase", "other.example") == DONE
    assert limited(user, "ecr", "erase", OTHER_ECR) == DONE
    for helper, server in (("keyring", SERVER), ("ecr", ECR)):
        done = limited(user, helper, "erase", server)
        assert done.code == 1
        assert done.out.endswith(b": Permission denied\n")
        assert b"`ls -la" in done.err
        assert json.loads(limited(user, helper, "get", server).out)["Secret"].startswith("made-up")
