"""Programs that helpers start: whose variables they get, and that none outlives the call that waits for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.net import child
from tests import commands
from tests.commands import KINDS, OF_CLOUDS, OF_USERS, Command
from tests.harness import BIN, need, patience
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

# What the shell and the Python of the executable add by themselves, or the shell of the program that is started.
_OF_SHELLS = {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}
_REMOVED = {"PYTHONEXECUTABLE": "/x", "__PYVENV_LAUNCHER__": "/x", "SSLKEYLOGFILE": "/x", "GCONV_PATH": "/x"}
_TRAPS = {
    "PYTHONHOME": "/nonexistent",
    "PYTHONSTARTUP": "/nonexistent",
    "PYTHONWARNINGS": "ignore",
    "PYTHON_COLORS": "1",
}
_OTHERS = {
    "CLOUDSDK_PYTHON_ARGS": "-S",
    "NOT_PYTHONPATH": "kept",
    "OPENSSL_MODULES": "/usr/lib/made-up",
    "BOTOCORE_EXPERIMENTAL__PLUGINS": "made=up",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE": "made-up",
    "MSAL_FORCE_REGION": "made-up",
    "NO_PROXY": "made-up.example",
    "EMPTY": "",
    "LINES": "one\ntwo",
}


@pytest.fixture
def command(request: pytest.FixtureRequest, authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    """A program of the kind that the test is told."""
    with commands.world(request.param, authority, home) as made:
        yield made


def of_kinds(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("command", kinds, indirect=True)


def heard(command: Command, home: Path, **more: str) -> dict[str, str]:
    """The environment that the program got."""
    command.write(f"env -0 > {home}/environment")
    assert command.get(**more).credential
    pairs = (home / "environment").read_bytes().decode().split("\0")[:-1]
    return dict(pair.split("=", 1) for pair in pairs)


# --- D2: variables ----------------------------------------------------------------------------------------------------


@of_kinds(*OF_CLOUDS)
def test_a_program_of_a_cloud_runs_no_code_that_a_python_is_told_of(command: Command, home: Path) -> None:
    """The tester's: az, azd and gcloud are Pythons, and PYTHONPATH has a `json` of its own."""
    evil = home / "evil"
    evil.mkdir()
    (evil / "json.py").write_text(f"open({str(home / 'ran')!r}, 'w')\nfrom sys import exit\nexit(1)\n")
    (evil / "sitecustomize.py").write_text(f"open({str(home / 'ran')!r}, 'w')\n")
    command.write(f"PATH=/usr/bin:/bin; {sys.executable} -c 'import json; json.loads(\"1\")' || exit 3")

    assert command.get(PYTHONPATH=str(evil)).credential
    assert not (home / "ran").exists()


@of_kinds("gcloud")
def test_the_true_gcloud_runs_no_code_that_a_python_is_told_of(command: Command, home: Path) -> None:
    """As before with Google's own; nobody is logged in there, which it finds out in Python."""
    folder = Path(need("gcloud", "google-cloud-cli")).parent
    (home / "evil").mkdir()
    (home / "evil/json.py").write_text(f"open({str(home / 'ran')!r}, 'w')\n")

    assert command.get(PYTHONPATH=str(home / "evil"), PATH=f"{folder}:/usr/bin:/bin").code == 1
    assert not (home / "ran").exists()


@of_kinds(*OF_CLOUDS, "executable")
@pytest.mark.parametrize("warning", ["WARNING: a new version is here", "", "warning {of braces}\n\n  in lines"])
def test_what_a_program_says_before_its_answer(command: Command, warning: str) -> None:
    """It is for people: the answer is from the first line on that begins an object."""
    command.write(f"echo '{warning}'")

    assert command.get().credential


@of_kinds(*OF_CLOUDS)
def test_the_variables_of_a_program_of_a_cloud(command: Command, home: Path) -> None:
    """All but what begins with PYTHON, and what switches off prompts and colours."""
    got = heard(command, home, **_TRAPS, **_OTHERS)

    ours = {"AZURE_CORE_NO_COLOR", "NO_COLOR", "CLOUDSDK_CORE_DISABLE_PROMPTS"}
    assert {name: got[name] for name in got.keys() - ours - _OF_SHELLS} == command.env | _OTHERS


@of_kinds(*OF_USERS)
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="nothing"),
        pytest.param(_TRAPS | _OTHERS | {"PYTHONPATH": "/nonexistent"}, id="all that we might change"),
        pytest.param({"no_proxy": "made-up.example"}, id="no_proxy"),
    ],
)
def test_the_variables_of_a_user_s_command(command: Command, home: Path, more: dict[str, str]) -> None:
    """The caller's, whatever we changed for libraries of ours, but for those that the executable removes."""
    got = heard(command, home, **more, **_REMOVED)

    google_s = {name for name in got if name.startswith("GOOGLE_EXTERNAL_ACCOUNT_")} - command.env.keys()
    assert bool(google_s) == (command.env.keys() >= {"GOOGLE_APPLICATION_CREDENTIALS"})
    assert {name: got[name] for name in got.keys() - google_s - _OF_SHELLS} == command.env | more


@of_kinds(*KINDS)
def test_a_relative_name_of_code_reaches_no_program(command: Command, home: Path) -> None:
    """What is dropped for us is dropped for them."""
    got = heard(command, home, OPENSSL_CONF="x.cnf", OPENSSL_MODULES="./x", OPENSSL_ENGINES="/x", EMPTY="")

    assert {name: value for name, value in got.items() if "OPENSSL" in name} == {"OPENSSL_ENGINES": "/x"}


@of_kinds("credential_process", "executable")
def test_a_user_s_command_runs_where_the_caller_is(command: Command, home: Path) -> None:
    """As with the cloud's own tool."""
    command.write(f"pwd > {home}/where")
    assert command.get().credential
    assert (home / "where").read_text().strip() == str(Path.cwd())


# --- D7: ends ---------------------------------------------------------------------------------------------------------


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def numbers(home: Path, count: int) -> list[int]:
    """The processes that a program has written down, once it has."""
    file = home / "numbers"
    until = time.monotonic() + 10
    while not file.exists() or len(file.read_text().splitlines()) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
    return [int(line) for line in file.read_text().split()]


def are_gone(processes: list[int], seconds: float = 5) -> bool:
    until = time.monotonic() + seconds
    while any(map(is_alive, processes)):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def sleeping(home: Path) -> str:
    """A script with a child and a grandchild that ignore what can be ignored."""
    return (
        f"trap '' HUP INT TERM\necho $$ >> {home}/numbers\nsleep 60 & echo $! >> {home}/numbers\n"
        f"(trap '' HUP INT TERM; sleep 60 & echo $! >> {home}/numbers; wait) &\nwait"
    )


def _hear() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(command: Command) -> subprocess.Popen[bytes]:
    helper = subprocess.Popen(
        [str(BIN / f"docker-credential-{command.name}"), "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=command.env,
        start_new_session=True,
        preexec_fn=_hear,  # noqa: PLW1509 - tests in the background do not
    )
    assert helper.stdin
    helper.stdin.write(command.server.encode())
    helper.stdin.close()
    return helper


@of_kinds(*KINDS)
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda it: it.name
)
def test_a_signal_ends_the_children_too(command: Command, home: Path, number: signal.Signals) -> None:
    """However this process ends, what it has started ends with it, down to grandchildren."""
    command.write(sleeping(home))
    with start(command) as helper:
        processes = numbers(home, 3)
        helper.send_signal(number)
        assert helper.wait(5) == -number
        assert are_gone(processes)


@of_kinds("credential_process", "az")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda it: it.name)
def test_a_signal_to_the_whole_group_ends_the_children_too(
    command: Command, home: Path, number: signal.Signals
) -> None:
    """Ctrl-C goes to all processes of the terminal's job, and a job is killed as a whole."""
    command.write(sleeping(home))
    with start(command) as helper:
        processes = numbers(home, 3)
        os.killpg(helper.pid, number)
        assert helper.wait(5) == -number
        assert are_gone(processes)


@of_kinds(*KINDS)
def test_there_is_no_moment_in_which_a_child_would_be_left(command: Command, home: Path) -> None:
    """The first thing that the program does is to kill who has started it."""
    command.write(f"kill -9 $PPID\n{sleeping(home)}")
    with start(command) as helper:
        assert helper.wait(10) == -signal.SIGKILL
        time.sleep(0.3)
        written = home / "numbers"
        assert are_gone([int(line) for line in written.read_text().split()] if written.exists() else [])


_INIT = """
import os, subprocess, sys
helper = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
helper.stdin.write(sys.argv[1].encode())
helper.stdin.close()
print(helper.stdout.read().decode().strip(), flush=True)
os.waitpid(helper.pid, 0)
for number in filter(str.isdigit, os.listdir("/proc")):
    if int(number) != os.getpid():
        print(open(f"/proc/{number}/stat").read(), flush=True)
"""


def left(command: Command) -> list[str]:
    """The helper's answer below a first process that waits for nobody else, and all processes that are left there."""
    need_root("a PID name space")
    unshare = (need("unshare", "util-linux"), "--pid", "--fork", "--mount-proc")
    helper = str(BIN / f"docker-credential-{command.name}")
    done = subprocess.run(
        [*unshare, sys.executable, "-c", _INIT, command.server, helper, "get"],
        env=command.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


@of_kinds(*KINDS)
def test_a_program_that_answers_leaves_nobody(command: Command) -> None:
    """No guardian, and no zombie where PID 1 waits for nobody."""
    answer, *others = left(command)
    assert json.loads(answer)["Secret"]
    assert others == []


@of_kinds("credential_process", "az", "executable")
def test_a_program_that_is_ended_leaves_nobody(command: Command, home: Path) -> None:
    """Its own children neither: there who is killed is waited for."""
    command.write(sleeping(home))
    answer, *others = left(command)
    assert "in time" in answer or "within the time limit" in answer, (
        "the latter on a busy machine: the call's own clock"
    )
    assert others == []


@of_kinds("credential_process")
def test_a_program_that_does_not_stop_talking_is_ended_in_time(command: Command) -> None:
    """What it says is not kept, since that would be gigabytes, and more time to put them together than is left."""
    command.write("exec yes")

    started = time.monotonic()
    done = command.get()
    assert time.monotonic() - started < 10
    assert b"in time" in done.out, done


def test_no_more_is_kept_of_a_stream_than_an_answer_can_have() -> None:
    """The rest is heard, so that the program ends as it would."""
    talking = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end >&2; exit 3"
    status, output, errors = child.run_command(["/bin/sh", "-c", talking], os.environb, {}, 10)

    assert (status, len(output), len(errors)) == (3, 1 << 20, 1 << 20)
    assert child.run_command(["/bin/sh", "-c", "echo out; echo err >&2"], os.environb, {}, 10) == (
        0,
        b"out\n",
        b"err\n",
    )
    one = child.run_command(["/bin/sh", "-c", "echo a; echo b >&2"], os.environb, {}, 10, is_one_stream=True)
    assert one == (0, b"a\nb\n", b"")


def text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(vars(error.__context__ or error))


_ANSWER = b'{"Version": 1,\n "of": [\n  {"token": "t1"}\n ]}'


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(_ANSWER, id="alone"),
        pytest.param(b"\n \t" + _ANSWER + b"\r\n\n", id="blanks"),
        pytest.param(b"\xef\xbb\xbf" + _ANSWER, id="a byte order mark, as PowerShell writes it"),
        pytest.param(b"WARNING: 2 updates available.\n" + _ANSWER, id="a warning"),
        pytest.param(b"\x1b[33mWARNING: old\x1b[0m\r\n\r\n" + _ANSWER + b"\r\n", id="in colour, from Windows"),
        pytest.param(b"[WARN] [1, 2]\nuse {name}: {}\n" + _ANSWER, id="brackets and braces in a warning"),
        pytest.param(b'/usr/x.py:1: SyntaxWarning: "is"\n  if x is {}:\n' + _ANSWER, id="Python's own warning"),
        pytest.param(b'{"type": "consoleMessage", "data": {"message": "m"}}\n{}\r\n' + _ANSWER, id="azd's messages"),
        pytest.param("déprécié\n".encode() + _ANSWER, id="a warning that is not ASCII"),
    ],
)
def test_the_object_behind_warnings(output: bytes) -> None:
    """As az prints what it has to say of itself before its JSON."""
    assert child.json_of(output) == {"Version": 1, "of": [{"token": "t1"}]}


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"WARNING: s3cret\n", id="a warning alone"),
        pytest.param(b'["s3cret"]', id="a list"),
        pytest.param(b'[\n{"token": "s3cret"}\n]', id="in a list"),
        pytest.param(b'"s3cret"', id="a text"),
        pytest.param(_ANSWER[:-1], id="cut off"),
        pytest.param(b'{"token":\n{"token": "s3cret"}', id="cut off, and what is whole is a part of it"),
        pytest.param(_ANSWER + b"}", id="more braces"),
        pytest.param(_ANSWER + b"\ns3cret", id="a line behind it"),
        pytest.param(_ANSWER + b"\x0b", id="what is no blank in JSON behind it"),
        pytest.param(_ANSWER + _ANSWER, id="two in a line"),
        pytest.param(_ANSWER + b"\n[1]", id="a list behind it"),
        pytest.param(_ANSWER + b"\n{s3cret}", id="braces behind it"),
        pytest.param(b"WARNING " + b'{"token": "s3cret"}', id="within a line of something else"),
        pytest.param(b"{s3cret}\n" + _ANSWER, id="a line that might be its beginning"),
        pytest.param(b'{"token": NaN}', id="no number"),
        pytest.param(b'{"token": "s3cret\xff"}', id="no UTF-8"),
        pytest.param('{"token": "s3cret"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":' * 100_000, id="too deep"),
        pytest.param(b'{"token": ' + b"9" * 5000 + b"}", id="too long a number"),
        pytest.param(b'{"token": "s3\ncret"}', id="a line break in a text"),
    ],
)
def test_what_is_no_object_behind_warnings(output: bytes) -> None:
    """And nothing of it is in the exception."""
    with pytest.raises(ValueError, match="does not end with one JSON object") as caught:
        child.json_of(output)
    assert "s3cret" not in text_of(caught.value)
    assert caught.value.__context__ is None


def test_the_object_behind_a_megabyte_of_braces() -> None:
    """All that is kept of an output, as bad as it can be."""
    started = time.process_time()
    assert child.json_of(b"{}\n" * 300_000 + _ANSWER)["Version"] == 1
    assert time.process_time() - started < patience(5)


def test_a_program_can_read_nothing() -> None:
    """Its stdin is at its end at once: one that asks for something is told that nobody is there."""
    asking = "read -r line; echo $?; readlink /proc/$$/fd/0"
    assert child.run_command(["/bin/sh", "-c", asking], os.environb, {}, 10)[1] == b"1\n/dev/null\n"
    assert child.run_program([b"/bin/sh", b"-c", asking.encode()], os.environb, {}, 10)[1] == b"1\n/dev/null\n"


@of_kinds("credential_process", "gcloud")
def test_what_a_program_leaves_to_run_is_its_own(command: Command, home: Path) -> None:
    """An agent that it starts and that holds nothing of the caller's lives on, if the program has answered."""
    command.write(f"sleep 60 </dev/null >/dev/null 2>&1 & echo $! >> {home}/numbers")
    assert command.get().credential
    [agent] = numbers(home, 1)
    assert is_alive(agent)
    os.kill(agent, signal.SIGKILL)
