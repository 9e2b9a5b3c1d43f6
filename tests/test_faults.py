"""What a call makes of a kernel that refuses one of its calls, or of its end at any of them.

`fakes/faults.c` is preloaded into the helper alone and counts from the moment it has opened its launch file. Each run
fails one call, the Nth of one function, and there are as many runs as there are calls. All are right if the answer is,
or if there is one line that says why: never a traceback, nothing on standard output, or a torn entry.
"""

from __future__ import annotations

import errno
import json
import mmap
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.sources.ecr import Ecr
from tests.fakes import azure as fake_azure
from tests.fakes.aws import FakeAws
from tests.fakes.azure import FakeAzure
from tests.fakes.google import FakeGoogle, service_account, write
from tests.harness import BIN, NOT_FOUND, Result, call, document, environment, lacking, need
from tests.routes import age

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.tls import CertificateAuthority
    from tests.services import Vault

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="a preloaded library and /proc, as Linux has them"),
]

SOURCE = Path(__file__).parent / "fakes/faults.c"
PATIENCE = 10.0  # seconds; what Bazel gives a helper
SAMPLE = 4  # runs of each scenario, of all that there are, in each test run
AT_MOST = 40  # runs for one function and error of one scenario; what imports modules has hundreds of calls of some

# The functions of the library in its order, and with which errors a kernel answers them where a file, a disk, a limit
# or a network fails. What none gives is left out: EIO from `close` of what is no file, from `dup2`, from `sigaction`;
# EACCES from `stat` and `opendir` of what was there a moment ago, which Python's imports take for absence; any error of
# `lseek`, of `setitimer` and of `sigprocmask` with right arguments.
FAULTS: dict[str, tuple[int, ...]] = {
    "open": (errno.EMFILE, errno.EIO, errno.EACCES, errno.EINTR),
    "read": (errno.EIO, errno.EINTR),
    "write": (errno.ENOSPC, errno.EIO, errno.EINTR),
    "close": (errno.EIO,),
    "fsync": (errno.EIO,),
    "flock": (errno.ENOLCK, errno.EINTR),
    "rename": (errno.EIO, errno.ENOSPC),
    "link": (errno.EPERM, errno.ENOSPC),
    "unlink": (errno.EIO, errno.EROFS),
    "mkdir": (errno.EACCES, errno.ENOSPC),
    "stat": (errno.EIO,),
    "fstat": (errno.ESTALE,),
    "socket": (errno.EMFILE, errno.EACCES),
    "connect": (errno.ECONNREFUSED, errno.ENETUNREACH),
    "send": (errno.ECONNRESET,),
    "recv": (errno.ECONNRESET,),
    "poll": (errno.ENOMEM, errno.EINTR),
    "opendir": (errno.EMFILE, errno.EIO),
    "readdir": (errno.EIO,),
    "dup": (errno.EMFILE,),
    "pthread_create": (errno.EAGAIN,),
    "fork": (errno.EAGAIN, errno.ENOMEM),
}
KILL = 0
# Where a kill may leave half of something: all that writes, and what comes before and after it.
KILLED = ("open", "write", "close", "fsync", "flock", "rename", "link", "unlink", "mkdir")
OF_IMPORTS = ("open", "read", "close", "stat", "fstat", "opendir", "readdir")
SHORT = (errno.EMFILE, errno.ENOMEM, errno.EAGAIN)

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
SERVER = "registry.example"
OLD, NEW = "made-up-old-password", "made-up-new-password"
MINTED = "made-up"  # how every token of the fakes begins
VAULT_SERVER = "faults.example"


@dataclass(frozen=True)
class Fault:
    """The Nth call of a function fails with an error, or with `KILL` ends the process; 0 for none at all."""

    function: str = ""
    number: int = 0
    nth: int = 0

    def __str__(self) -> str:
        name = errno.errorcode.get(self.number, "SIGKILL")
        return f"{self.function} {self.nth}: {name}"


@dataclass(frozen=True)
class Scenario:
    """A call of the helper with an input, in a home that is as `template` each time.

    right: whether an answer with exit status 0 is the right one
    after: raises AssertionError if what is kept then is neither what was there nor what should be; it is given whether
           the call said that it succeeded
    is_behind: whether a process goes on behind the answer
    library: what is preloaded
    """

    helper: str
    verb: str
    stdin: bytes
    env: dict[str, str]
    template: Path
    right: Callable[[bytes], bool]
    after: Callable[[Scenario, bool], None]
    library: Path
    is_behind: bool = False

    def run(self, fault: Fault) -> tuple[Result, dict[str, int], bool]:
        """What a client sees, how often each function was called, and whether the fault was made."""
        home = Path(self.env["HOME"])
        shutil.rmtree(home)
        shutil.copytree(self.template, home, copy_function=shutil.copy2)
        return self._run(fault)

    def again(self, verb: str = "get", server: bytes = b"") -> Result:
        """The same user's next call, with nothing in its way."""
        if self.is_behind:
            return self._run(Fault())[0]
        return call(self.helper, verb, server or self.stdin, self.env, deadline=PATIENCE)

    def _run(self, fault: Fault) -> tuple[Result, dict[str, int], bool]:
        page = self.library.parent / "page"
        page.write_bytes(bytes(mmap.PAGESIZE))
        chosen = {"FAULTS_CALL": fault.function, "FAULTS_NTH": str(fault.nth), "FAULTS_ERRNO": str(fault.number)}
        done = subprocess.run(
            [str(BIN / f"docker-credential-{self.helper}"), self.verb],
            input=self.stdin,
            env=self.env | chosen | {"FAULTS_PAGE": str(page), "LD_PRELOAD": str(self.library)},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        until = time.monotonic() + 30
        while True:
            words = struct.unpack_from(f"{4 + len(FAULTS)}I", page.read_bytes())
            was_made, was_started, forks, ends, *counts = words
            if not self.is_behind or ends > forks:
                break
            assert time.monotonic() < until, "the process behind the answer does not end"
            time.sleep(0.01)
        assert was_started, "the launch file was not opened"
        return Result(done.returncode, done.stdout, done.stderr), dict(zip(FAULTS, counts, strict=True)), bool(was_made)

    def check(self, fault: Fault) -> str:
        """What is wrong with the call under this fault; "" for nothing, also if it was never made."""
        try:
            done, _, was_made = self.run(fault)
        except subprocess.TimeoutExpired:
            return f"{fault}: no end within {PATIENCE} seconds"
        if not was_made:
            return ""
        is_killed = fault.number == KILL and done.code == -signal.SIGKILL  # or the process behind the answer is
        try:
            if not is_killed:
                self._require_an_answer(fault, done)
            self.after(self, done.code == 0)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            return f"{fault}: {str(error).partition(chr(10))[0] or type(error).__name__}: {done}"
        return ""

    def _require_an_answer(self, fault: Fault, done: Result) -> None:
        assert b"Traceback" not in done.err, "a traceback"
        if done.code == 0:
            is_less = self.verb == "list" and done.out == b"{}\n"  # what is out of reach is left out
            assert is_less or self.right(done.out), "a wrong answer"
            assert done.err == b"", "words beside the answer"
            return
        assert done.code == 1, "an exit status that means nothing"
        if fault.function == "write" and fault.number in (errno.EIO, errno.ENOSPC) and not done.out:
            return  # of the answer itself: there is no way to say so
        assert done.out.count(b"\n") == 1, "not one line"
        assert done.out.strip(), "an empty line"
        assert done.out != NOT_FOUND, "a broken system is no missing entry"
        if fault.number in SHORT:
            assert b"defect" not in done.err, "a shortage is no defect"
        assert b"internal error: OSError" not in done.out, "a system's error is no defect"


# --- the scenarios ----------------------------------------------------------------------------------------------------


def _secret(out: bytes) -> str:
    try:
        return str(json.loads(out)["Secret"])
    except (ValueError, KeyError):
        return ""


def _answers(*secrets: str) -> Callable[[bytes], bool]:
    return lambda out: _secret(out) in secrets


def _mints(out: bytes) -> bool:
    secret = _secret(out)
    return secret.startswith((MINTED, "ya29.", "eyJ")) and secret.isascii()


def _is_silent(out: bytes) -> bool:
    return out == b""


def _nothing_changes(scenario: Scenario, _is_done: bool) -> None:  # noqa: FBT001 - as they all are called
    done = scenario.again()
    assert scenario.right(done.out), f"the next call: {done}"


def _is_minted(scenario: Scenario, is_done: bool) -> None:  # noqa: FBT001 - as above
    """The next call has a token, too. A failure may be remembered for a moment, and `erase` forgets that."""
    done = scenario.again()
    if not is_done and not scenario.right(done.out):
        assert done.code == 1, f"the next call: {done}"
        assert scenario.again("erase").code == 0
        done = scenario.again()
    assert scenario.right(done.out), f"the next call: {done}"


def _is_remembered(scenario: Scenario, is_done: bool) -> None:  # noqa: FBT001 - as above
    """As `_is_minted`, but for what `erase` would remove: its failures are over in a moment."""
    end = time.monotonic() + 40
    while not scenario.right((done := scenario.again()).out):
        assert not is_done, f"the next call: {done}"
        assert time.monotonic() < end, f"no end of it: {done}"
        time.sleep(0.1)


def _is_stored(scenario: Scenario, is_done: bool) -> None:  # noqa: FBT001 - as above
    done = scenario.again(server=SERVER.encode())
    if is_done:
        assert _secret(done.out) == NEW, f"stored, and then: {done}"
    elif (scenario.template / ".local").exists():
        assert _secret(done.out) in (OLD, NEW), f"the entry is lost: {done}"
    else:
        assert done.out == NOT_FOUND or _secret(done.out) == NEW, f"half an entry: {done}"
    assert scenario.again("store", document(SERVER, "user", OLD)).code == 0
    assert _secret(scenario.again(server=SERVER.encode()).out) == OLD


def _is_erased(scenario: Scenario, is_done: bool) -> None:  # noqa: FBT001 - as above
    done = scenario.again()
    assert done.out == NOT_FOUND or (not is_done and _secret(done.out) == OLD), f"erased, and then: {done}"


def _is_forgotten(scenario: Scenario, is_done: bool) -> None:  # noqa: FBT001 - as above
    old = _secret(_OLD_ANSWERS[scenario.helper])
    new = _secret(scenario.again().out)
    assert new, "no token any more"
    assert new != old or not is_done, "said to be erased, and answered again"


_OLD_ANSWERS: dict[str, bytes] = {}


def _keyring(env: dict[str, str], base: Path, library: Path) -> Iterator[tuple[str, Scenario]]:
    home = Path(env["HOME"])
    empty, full = base / "empty", base / "full"
    shutil.copytree(home, empty)
    assert call("keyring", "store", document(SERVER, "user", OLD), env).code == 0
    shutil.copytree(home, full)
    listing = json.dumps({SERVER: "user"}).encode() + b"\n"
    store = document(SERVER, "user", NEW)
    server = SERVER.encode()
    yield "keyring-get", Scenario("keyring", "get", server, env, full, _answers(OLD), _nothing_changes, library)
    yield "keyring-store", Scenario("keyring", "store", store, env, full, _is_silent, _is_stored, library)
    yield "keyring-first-store", Scenario("keyring", "store", store, env, empty, _is_silent, _is_stored, library)
    yield "keyring-erase", Scenario("keyring", "erase", server, env, full, _is_silent, _is_erased, library)
    yield (
        "keyring-list",
        Scenario(
            "keyring",
            "list",
            b"",
            env,
            full,
            listing.__eq__,
            lambda one, _: _require(one.again("list").out == listing),
            library,
        ),
    )


def _require(condition: object) -> None:
    assert condition


def _ecr(env: dict[str, str], base: Path, library: Path) -> Iterator[tuple[str, Scenario]]:
    home, server = Path(env["HOME"]), ECR.encode()
    empty, full, ageing = base / "ecr-empty", base / "ecr-full", base / "ecr-ageing"
    shutil.copytree(home, empty)
    _OLD_ANSWERS["ecr"] = call("ecr", "get", server, env).out
    shutil.copytree(home, full)
    environ = {name.encode(): value.encode() for name, value in env.items()}
    age(home / ".cache/credhelpers", Ecr(environ), ECR)
    shutil.copytree(home, ageing)
    yield "ecr-cached", Scenario("ecr", "get", server, env, full, _mints, _nothing_changes, library)
    yield "ecr-mint", Scenario("ecr", "get", server, env, empty, _mints, _is_minted, library)
    yield "ecr-erase", Scenario("ecr", "erase", server, env, full, _is_silent, _is_forgotten, library)
    yield "ecr-renewal", Scenario("ecr", "get", server, env, ageing, _mints, _nothing_changes, library, is_behind=True)


def _one_source(
    name: str, server: str, env: dict[str, str], base: Path, library: Path
) -> Iterator[tuple[str, Scenario]]:
    empty = base / f"{name}-empty"
    shutil.copytree(env["HOME"], empty)
    yield f"{name}-mint", Scenario(name, "get", server.encode(), env, empty, _mints, _is_minted, library)
    # For the launch file.
    assert _mints(call(name, "get", server, env).out)


def _vault(server: Vault, env: dict[str, str], base: Path, library: Path) -> Iterator[tuple[str, Scenario]]:
    server.call("POST", "sys/mounts/faults", {"type": "kv", "options": {"version": "2"}})
    home, host = Path(env["HOME"]), VAULT_SERVER.encode()
    server.call("PUT", "faults/data/one", {"data": {"username": "user", "password": OLD}})
    config = base / "vault.toml"
    config.write_text(f'[[registry]]\nmatch = "{VAULT_SERVER}"\nsource = "vault"\npath = "faults/one"\nkeep = "12h"\n')
    config.chmod(0o600)
    env = env | {"VAULT_ADDR": server.address, "VAULT_TOKEN": server.token, "CREDHELPERS_CONFIG": str(config)}
    empty, full = base / "vault-empty", base / "vault-full"
    shutil.copytree(home, empty)
    assert _secret(call("vault", "get", host, env).out) == OLD
    shutil.copytree(home, full)
    yield "vault-cached", Scenario("vault", "get", host, env, full, _answers(OLD), _nothing_changes, library)
    yield "vault-read", Scenario("vault", "get", host, env, empty, _answers(OLD), _is_remembered, library)


NAMES = (
    *("keyring-get", "keyring-store", "keyring-first-store", "keyring-erase", "keyring-list"),
    *("ecr-cached", "ecr-mint", "ecr-erase", "ecr-renewal", "gcr-mint", "acr-mint", "vault-cached", "vault-read"),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled faults."""
    path = tmp_path_factory.mktemp("faults") / "faults.so"
    options = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", str(path)]
    done = subprocess.run(
        [need("gcc", "gcc"), *options, str(SOURCE), "-ldl"], capture_output=True, text=True, check=False
    )
    if "No such file" in done.stderr:
        lacking("the C library's headers are not here; get them with `apt-get install libc6-dev`")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def scenarios(
    authority: CertificateAuthority,
    library: Path,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Scenario]]:
    """All that can be had here: without a Vault those of Vault are missing."""
    base = tmp_path_factory.mktemp("scenarios")

    def user(name: str, **more: str) -> dict[str, str]:
        home = base / f"home-{name}"
        home.mkdir(mode=0o700)
        return environment(home, **more)

    with ExitStack() as stack:
        aws = stack.enter_context(FakeAws(authority))
        google = stack.enter_context(FakeGoogle(authority))
        azure = stack.enter_context(FakeAzure(authority))
        key = write(base / "key.json", service_account())
        found = dict(_keyring(user("keyring"), base, library))
        found |= _ecr(user("ecr", **aws.environment(), AWS_EC2_METADATA_DISABLED="true"), base, library)
        found |= _one_source(
            "gcr",
            "europe-docker.pkg.dev",
            user("gcr", **google.environment(GOOGLE_APPLICATION_CREDENTIALS=key)),
            base,
            library,
        )
        found |= _one_source("acr", fake_azure.HOST, user("acr", **azure.principal()), base, library)
        try:
            server: Vault = request.getfixturevalue("vault")
        except pytest.skip.Exception:
            pass
        else:
            found |= _vault(server, user("vault"), base, library)
        yield found


def _all_of(scenario: Scenario) -> list[Fault]:
    """One fault for each call that the scenario makes and each error that it may get; of very many, some."""
    for _ in range(2):  # the first one may be the one that writes bytecode
        done, counts, _ = scenario.run(Fault())
        assert done.code == 0, done
    chance = random.Random(8)
    found = []
    for function, errors in FAULTS.items():
        for number in (*errors, *([KILL] if function in KILLED else [])):
            every = range(1, counts[function] + 1)
            some = (
                every
                if len(every) <= AT_MOST
                else (*every[: AT_MOST // 2], *chance.sample(every[AT_MOST // 2 :], AT_MOST // 2))
            )
            found += [Fault(function, number, nth) for nth in some]
    return found


def _scenario(scenarios: dict[str, Scenario], name: str) -> Scenario:
    if name not in scenarios:
        lacking("there is no Vault here; `tests/run` builds it, where there is Go")
    return scenarios[name]


@pytest.mark.parametrize("name", NAMES)
def test_each_scenario_goes_well_without_a_fault(scenarios: dict[str, Scenario], name: str) -> None:
    """The library is there, counts what the call does, and changes nothing."""
    scenario = _scenario(scenarios, name)
    done, counts, was_made = scenario.run(Fault())
    assert (done.code, done.err, was_made) == (0, b"", False)
    assert scenario.right(done.out)
    assert counts["open"]
    assert counts["read"]
    scenario.after(scenario, True)  # noqa: FBT003 - as they all are called


def test_every_call_may_fail_sample(scenarios: dict[str, Scenario]) -> None:
    """Some of all, chosen by the same seed each time: the whole is below.

    Of the calls that hardly any import makes, since those of imports are the most by far.
    """
    chance = random.Random(1)
    rows = []
    for name, scenario in scenarios.items():
        faults = [fault for fault in _all_of(scenario) if fault.function not in OF_IMPORTS]
        rows += [(name, fault) for fault in chance.sample(faults, min(SAMPLE, len(faults)))]
    wrong = [f"{name}: {found}" for name, fault in rows if (found := scenarios[name].check(fault))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", NAMES)
def test_every_call_may_fail_whole(
    scenarios: dict[str, Scenario], name: str, proof: Callable[[str, str], None]
) -> None:
    """The sweep: an answer or a line, whatever call fails, and a whole entry behind it, also behind a kill."""
    scenario = _scenario(scenarios, name)
    faults = _all_of(scenario)
    wrong = [found for fault in faults if (found := scenario.check(fault))]
    assert not wrong, f"{len(wrong)} of {len(faults)}:\n" + "\n".join(wrong)
    proof(
        f"faults: a failing or killed call of {name} leaves an answer or a line, and nothing torn",
        f"{len(faults)} of {len(faults)} runs",
    )
