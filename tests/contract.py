"""The protocol as every helper speaks it: the rows of docs/protocol.md against the installed executable.

A helper inherits all of it by one subclass of `StoreContract` or `SourceContract` that names the executable and gives
the fixtures of the base class. A row that needs a look inside is in test_protocol.py.
"""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import pty
import random
import signal
import subprocess
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.harness import BIN, NOT_FOUND, Result, document, environment, execute, fork, need, patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "a-made-up-secret"
OVERDUE = b"no answer within the time limit\n"
HOSTILE_MODULE = "raise SystemExit('a planted module ran')\n"
HOSTILE_NAMES = (
    *("json", "os", "posixpath", "base64", "encodings", "sitecustomize", "usercustomize", "credhelpers"),
    *("botocore", "boto3", "pyrage", "secretstorage", "jeepney", "ssl", "urllib3", "readline"),
)

BAD_DOCUMENTS = [
    pytest.param(b"", id="empty"),
    pytest.param(SECRET.encode(), id="no JSON"),
    pytest.param(json.dumps([SECRET]).encode(), id="no object"),
    pytest.param(document("a.example", "user", SECRET)[:-3], id="cut off"),
    pytest.param(document("a.example", "user", SECRET) * 2, id="two documents"),
    pytest.param(
        b'{"ServerURL":"a.example","Username":"u","Secret":{"a-made-up-secret":1}}', id="an object for a string"
    ),
    pytest.param(b'{"ServerURL":1,"Username":"u","Secret":"a-made-up-secret"}', id="a number for a string"),
    pytest.param(b'{"ServerURL":"a.example","Username":null,"Secret":"a-made-up-secret"}', id="null for a string"),
    pytest.param(b'{"ServerURL":"a.example","Username":"u","Secret":NaN}', id="NaN"),
    pytest.param(b'{"ServerURL":"a.example","Username":"u","Secret":"a-made-up-secret\xff"}', id="no UTF-8"),
    pytest.param(b'{"ServerURL":"a.example","Username":"u","Secret":"\\ud800"}', id="half a character"),
    pytest.param(
        b'{"ServerURL":"a.example","ServerURL":"b.example","Username":"u","Secret":"a-made-up-secret"}',
        id="hostile: two servers",
    ),
    pytest.param(document("user@a.example", "user", SECRET), id="hostile: user info"),
    pytest.param(document("a.example\nb.example", "user", SECRET), id="hostile: two lines"),
    pytest.param(b"[" * 200_000, id="hostile: 200 000 deep"),
    pytest.param(b'{"Secret":"' + b"A" * (10 << 20) + b'"}', id="hostile: 10 MiB"),
]


def wait_until_taken(pipe: int) -> None:
    """Wait until the other side has read all that was written."""
    end = time.monotonic() + 10
    while fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4):
        assert time.monotonic() < end, "nobody reads"
        time.sleep(0.001)


class HelperContract:
    """What holds for every helper.

    name:    the executable is docker-credential-NAME, in the directory `bin`.
    forks:   whether a row whose subject is not the start runs it in a process that has it loaded (`harness.fork`).
    env:     an environment in which the backend answers.
    present: a server for which `get` gives a credential there.
    broken:  an environment in which the backend has `present` and fails.
    """

    name: ClassVar[str]
    bin: ClassVar[Path] = BIN
    forks: ClassVar[bool] = True
    absent: ClassVar[tuple[str, str]] = ("absent-1.example", "absent-2.example:5000")

    @pytest.fixture
    def env(self) -> dict[str, str]:
        raise NotImplementedError

    @pytest.fixture
    def present(self, env: dict[str, str]) -> str:
        raise NotImplementedError

    @pytest.fixture
    def broken(self, env: dict[str, str], present: str) -> dict[str, str]:
        raise NotImplementedError

    def secrets_of(self, result: Result) -> list[bytes]:
        """What must be in no message: the secret of an answer, whole and its beginning."""
        secret = json.loads(result.out)["Secret"].encode()
        return [secret, secret[:8]]

    # The arguments of a call in full, for rows that `harness.call` does not serve.

    def command(self, *arguments: str) -> list[str]:
        return [str(self.bin / f"docker-credential-{self.name}"), *arguments]

    def call(self, env: dict[str, str], *arguments: str, stdin: bytes | str = b"", cwd: Path | None = None) -> Result:
        run = fork if self.forks else execute
        return run(self.bin / f"docker-credential-{self.name}", *arguments, stdin=stdin, env=env, cwd=cwd)

    def start(self, env: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    # --- get ---

    def test_p01_get_answers_with_one_object(self, env: dict[str, str], present: str) -> None:
        """Three keys, all of them strings, the server as it was asked, a line end, and nothing else anywhere."""
        done = self.call(env, "get", stdin=present)
        credential = done.credential
        assert credential["ServerURL"] == present
        assert all(isinstance(value, str) and value for value in credential.values())
        assert done.out.endswith(b"}\n")
        assert done.out.count(b"\n") == 1

    def test_p02_blanks_around_a_server_do_not_count(self, env: dict[str, str], present: str) -> None:
        """Shells and consoles add them."""
        for form in ("{}\n", "{}\r\n", "{} \r\n", "  {}  ", "\t{}\t\n\n"):
            assert self.call(env, "get", stdin=form.format(present)).credential["ServerURL"] == present

    def test_p03_p04_absent_servers_get_the_same_words(self, env: dict[str, str], present: str) -> None:
        """Clients compare the text; one of them learns it from the first failure. Beside it a line may say more."""
        for server in self.absent:
            done = self.call(env, "get", stdin=server)
            assert (done.code, done.out) == (1, NOT_FOUND)
            assert not done.err or (
                len(done.err) <= 200 and b" of config.toml has this host [" in done.err and done.told
            )

    @pytest.mark.parametrize("verb", ["get", "erase"])
    def test_p05_p21_no_server(self, env: dict[str, str], present: str, verb: str) -> None:
        """Nothing is an error of its own, told at once, and never stands for every server."""
        for content in (b"", b" \t\r\n", b"\n", b"https://"):
            started = time.monotonic()
            assert self.call(env, verb, stdin=content) == Result(1, b"no credentials server URL\n", b""), content
            assert time.monotonic() - started < patience(2)
        assert self.call(env, "get", stdin=present).credential

    def test_p06_a_letter_that_no_server_has_gives_no_credential(self, env: dict[str, str], present: str) -> None:
        """Nothing is joined, cut or skipped: there is no answer, whichever part would be one."""
        for letter in ("\n", "\r", "\r\n", "\t", "\0", "\x1b", "\x0b", "\x7f", "\x85", "\u2028", " ", *"\\@%#"):
            for server in (present + letter + ".example", "x" + letter + present):
                done = self.call(env, "get", stdin=server)
                assert done.code == 1, server
                assert done.out.isascii()
                assert done.out.count(b"\n") == 1
                assert b"Secret" not in done.out

    def test_p07_what_is_no_utf8_gets_a_line(self, env: dict[str, str], present: str) -> None:
        """Clients in Python decode strictly."""
        for server in (b"\xff\xfe", present.encode() + b"\xff", b"\xc3(" + present.encode()):
            done = self.call(env, "get", stdin=server)
            assert done.code == 1
            assert done.out.isascii()
            assert b"Traceback" not in done.out + done.err

    def test_p10_an_answer_is_short_and_written_at_once(
        self, env: dict[str, str], present: str, tmp_path: Path
    ) -> None:
        """Less than a pipe holds, in one write, from the cache as from the backend; not a byte of error output."""
        strace = need("strace", "strace")
        log, out = tmp_path / "log", tmp_path / "out"
        for _ in range(2):
            with out.open("wb") as file:
                done = subprocess.run(
                    [strace, "-f", "-e", "trace=write,writev,pwrite64,sendto", "-o", log, *self.command("get")],
                    input=present.encode(),
                    env=env,
                    stdout=file,
                    stderr=subprocess.PIPE,
                    timeout=60,
                    check=True,
                )
            assert done.stderr == b""
            assert json.loads(out.read_bytes())["ServerURL"] == present
            size = out.stat().st_size
            assert 0 < size < 1 << 16
            # By size: what the process writes, and where, it shows to nobody but root.
            assert sum(line.endswith(f" = {size}") for line in log.read_text().splitlines()) == 1

    # --- store, erase and list, as far as they are alike ---

    @pytest.mark.parametrize("missing", ["", None])
    def test_p13_store_without_a_server(self, env: dict[str, str], missing: str | None) -> None:
        """The wire's own error."""
        for name in ("Username", "Secret"):
            fields = {"ServerURL": missing, "Username": "user", "Secret": SECRET, name: "x"}
            content = json.dumps({key: value for key, value in fields.items() if value is not None}).encode()
            assert self.call(env, "store", stdin=content) == Result(1, b"no credentials server URL\n", b"")

    @pytest.mark.parametrize("missing", ["", None])
    def test_p14_store_without_a_user(self, env: dict[str, str], present: str, missing: str | None) -> None:
        """The wire's own error."""
        fields = {"ServerURL": present, "Username": missing, "Secret": SECRET}
        content = json.dumps({key: value for key, value in fields.items() if value is not None}).encode()
        assert self.call(env, "store", stdin=content) == Result(1, b"no credentials username\n", b"")

    @pytest.mark.parametrize("content", BAD_DOCUMENTS)
    def test_p16_pi7_store_of_what_is_no_document(self, env: dict[str, str], content: bytes) -> None:
        """One line without a word of the input, which holds a secret; all of it is read, and nothing kept."""
        done = self.call(env, "store", stdin=content)
        assert done.code == 1
        assert done.out.count(b"\n") == 1
        assert len(done.out) <= 201
        for word in (SECRET.encode(), SECRET[:8].encode(), b"a.example", b"AAAA", b"Traceback"):
            assert word not in done.out + done.err
        for server in ("a.example", "b.example"):
            assert self.call(env, "get", stdin=server).is_absent

    def test_p20_erase_of_what_is_not_there(self, env: dict[str, str]) -> None:
        """docker logout erases one registry four times, and podman takes any failure for one."""
        for server in (*self.absent, self.absent[0], "https://absent-1.example/v1/"):
            assert self.call(env, "erase", stdin=server) == Result(0, b"", b"")

    def test_p23_p24_p25_list(self, env: dict[str, str], present: str) -> None:
        """An object of user names, whatever the input; each server in it can be asked; no secret."""
        answer = self.call(env, "get", stdin=present)
        done = self.call(env, "list", stdin=b"unused")  # docker's word
        assert self.call(env, "list") == done  # and docker-py has none
        assert done.err == b""
        assert done.out.isascii()
        assert done.listing[present] == answer.credential["Username"]
        for server, user in done.listing.items():
            assert self.call(env, "get", stdin=server).credential["Username"] == user
        for secret in self.secrets_of(answer):
            assert secret not in done.out

    def test_p23_the_list_of_nothing(self, env: dict[str, str]) -> None:
        """An empty object, never null."""
        assert json.loads(self.call(env, "list", stdin=b"unused").out) == {}

    # --- arguments ---

    def test_p26_wrong_arguments(self, env: dict[str, str]) -> None:
        """Usage on standard output, without waiting for input that never ends."""
        name = f"docker-credential-{self.name}"
        usage = f"Usage: {name} <store|get|erase|list|version>\n".encode()
        for arguments, line in (
            ((), usage),
            (("get", "ghcr.io"), usage),
            (("fetch",), f"{name}: unknown action: fetch\n".encode()),
        ):
            with self.start(env, *arguments) as process:
                assert process.wait(timeout=5) == 1
                assert process.stdout
                assert process.stdout.read() == line

    @pytest.mark.parametrize("verb", ["get", "store", "erase"])
    def test_p26_pi11_a_terminal_is_not_waited_for(self, env: dict[str, str], verb: str) -> None:
        """Who tries it by hand is told how."""
        master, terminal = pty.openpty()
        try:
            done = subprocess.run(
                self.command(verb), stdin=terminal, env=env, capture_output=True, timeout=5, check=False
            )
        finally:
            os.close(master)
            os.close(terminal)
        assert (done.returncode, done.stdout) == (1, b"standard input is a terminal\n")
        assert Result(done.returncode, done.stdout, done.stderr).told == "input-terminal"

    @pytest.mark.parametrize("form", ["version", "--version", "-v"])
    def test_p27_version(self, env: dict[str, str], form: str) -> None:
        """Name, package, version."""
        from credhelpers import __version__

        line = f"docker-credential-{self.name} (credhelpers) v{__version__}\n".encode()
        assert self.call(env, form) == Result(0, line, b"")

    def test_help_has_a_manual(self, env: dict[str, str]) -> None:
        """A person finds out what the helper is for, and how it is configured."""
        done = self.call(env, "--help")
        assert (done.code, done.err) == (0, b"")
        synopsis, _, manual = done.out.partition(b"with the reason on standard output.\n\n")
        assert synopsis.startswith(f"usage: docker-credential-{self.name} get".encode())
        assert len(manual.splitlines()) >= 1
        assert done.out.isascii()
        assert done.out.endswith(b"\n")

    # --- a backend that fails ---

    def test_p33_pi5_a_broken_backend_is_no_absence(self, broken: dict[str, str], present: str) -> None:
        """A line that says why, so that docker stops instead of going on without a credential."""
        done = self.call(broken, "get", stdin=present)
        assert done.code == 1
        assert done.out.count(b"\n") == 1
        assert 10 < len(done.out) <= 201
        assert done.out.isascii()
        assert done.out not in (NOT_FOUND, OVERDUE)
        assert b"internal error" not in done.out
        assert done.told

    def test_sh1_no_secret_in_what_an_operator_sees(self, env: dict[str, str], present: str) -> None:
        """Debug lines are for bug reports."""
        loud = env | {"CREDHELPERS_DEBUG": "1"}
        for secret in self.secrets_of(self.call(env, "get", stdin=present)):
            for verb in ("get", "list", "erase"):
                assert secret not in self.call(loud, verb, stdin=present).err

    # --- many at once, and clients that go away ---

    def test_p34_many_at_once(self, env: dict[str, str], present: str) -> None:
        """compose and kubelets ask for one server in parallel: all get a whole answer."""
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: self.call(env, "get", stdin=present), range(32)))
        assert {answer.credential["ServerURL"] for answer in answers} == {present}

    @pytest.mark.parametrize("verb", ["get", "list"])
    def test_p35_fa10_a_client_that_hung_up(self, env: dict[str, str], present: str, verb: str) -> None:
        """No signal, no traceback, no secret on the other stream; the next call is as ever."""
        answer = self.call(env, "get", stdin=present)
        with self.start(env, verb) as process:
            assert process.stdout
            assert process.stdin
            assert process.stderr
            process.stdout.close()
            process.stdin.write(present.encode())
            process.stdin.close()
            assert process.wait(timeout=15) == 1
            assert process.stderr.read() == b""
        assert self.call(env, "get", stdin=present).credential == answer.credential

    @pytest.mark.parametrize("shape", ["<&-", "2>&-", "2>/dev/full", ">&-", ">/dev/full"])
    def test_p35_p36_streams_that_are_not_there(
        self, env: dict[str, str], present: str, shape: str, tmp_path: Path
    ) -> None:
        """A closed input is an empty one, error output is not needed, and an answer that nobody took is a failure."""
        assert self.call(env, "get", stdin=present).credential
        given = tmp_path / "stdin"
        given.write_text(present)
        for verb in ("get", "list"):
            done = subprocess.run(
                ["/bin/sh", "-c", f'exec <"$1"; exec "$0" {verb} {shape}', *self.command(), given],
                env=env,
                capture_output=True,
                timeout=30,
                check=False,
            )
            assert done.stderr == b""
            if shape.startswith("2") or (shape.startswith("<") and verb == "list"):
                assert done.returncode == 0
                assert present in (json.loads(done.stdout) if verb == "list" else json.loads(done.stdout).values())
            else:
                assert done.returncode == 1
                assert done.stdout == (b"no credentials server URL\n" if shape.startswith("<") else b"")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
    def test_p35_fa10_a_call_that_is_stopped_ends(
        self, env: dict[str, str], present: str, number: signal.Signals
    ) -> None:
        """At once, at whatever it is, without a traceback; the next call is as ever."""
        dice = random.Random(7)
        for _ in range(5):
            with self.start(env, "get") as process:
                assert process.stdin
                assert process.stdout
                assert process.stderr
                process.stdin.write(present.encode())
                process.stdin.flush()
                wait_until_taken(process.stdin.fileno())  # before that it is the interpreter that starts
                process.stdin.close()
                time.sleep(dice.random() * 0.1)  # wherever it is then
                process.send_signal(number)
                code = process.wait(timeout=5)
                out = process.stdout.read()
                if out in (b"", b"interrupted\n"):
                    assert code
                else:  # it was out before the signal came
                    assert json.loads(out)["ServerURL"] == present
                assert process.stderr.read() == b""
        assert self.call(env, "get", stdin=present).credential

    # --- strange surroundings ---

    @pytest.mark.parametrize(
        "more",
        [
            pytest.param({"LANG": "C", "LC_ALL": "C"}, id="no locale"),
            pytest.param({"LANG": "tr_TR.UTF-8", "LC_ALL": "xx_YY"}, id="a locale that is not here"),
            pytest.param({"PYTHONWARNINGS": "default", "PYTHONDEVMODE": "1", "PYTHONVERBOSE": "1"}, id="a loud Python"),
            pytest.param({"PYTHONIOENCODING": "utf-16", "PYTHONUTF8": "0", "PYTHONUNBUFFERED": "1"}, id="encodings"),
            pytest.param({"PYTHONHOME": "{}/nowhere"}, id="hostile: another Python's home"),
            pytest.param(
                {"PYTHONPATH": "{}", "PYTHONSTARTUP": "{}/json.py", "PYTHONUSERBASE": "{}"}, id="hostile: modules"
            ),
            pytest.param(
                {"LD_LIBRARY_PATH": "{}", "TMPDIR": "{}/nowhere", "IFS": "/", "ENV": "{}/json.py"}, id="hostile: sh"
            ),
            pytest.param({"TERM": "dumb", "COLUMNS": "1", "NO_COLOR": "1"}, id="a small terminal"),
        ],
    )
    def test_p36_the_environment_changes_nothing(
        self, env: dict[str, str], present: str, tmp_path: Path, more: dict[str, str]
    ) -> None:
        """Neither variables nor a working directory full of modules change which code runs or what it says."""
        folder = tmp_path / "hostile"
        folder.mkdir()
        for name in HOSTILE_NAMES:
            (folder / f"{name}.py").write_text(HOSTILE_MODULE)
        hostile = env | {name: value.format(folder) for name, value in more.items()}
        for verb in ("list", "get"):
            done = self.call(hostile, verb, stdin=present, cwd=folder)
            assert (done.code, done.err) == (0, b""), done
        assert done.credential["ServerURL"] == present
        for server, verb in ((self.absent[0], "get"), (present, "erase")):
            assert self.call(hostile, verb, stdin=server, cwd=folder).err == b""

    def test_p36_without_a_terminal(self, env: dict[str, str], present: str) -> None:
        """A daemon has a session without one, and the root as its directory."""
        done = subprocess.run(
            ["setsid", "--wait", *self.command("get")],
            input=present.encode(),
            env=env,
            cwd="/",
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert Result(done.returncode, done.stdout, done.stderr).credential["ServerURL"] == present

    # --- time and size ---

    def test_p38_a_second_call_is_quick(self, env: dict[str, str], present: str) -> None:
        """docker starts a process for every server that `list` names, one after another."""
        self.call(env, "get", stdin=present)
        times = []
        for _ in range(3):
            started = time.monotonic()
            assert execute(Path(self.command()[0]), "get", stdin=present, env=env).credential
            times.append(time.monotonic() - started)
        assert min(times) < patience(1)

    @pytest.mark.parametrize("verb", ["get", "store", "erase", "list"])
    def test_p16_pi6_long_input_is_read_and_refused(self, env: dict[str, str], verb: str) -> None:
        """Two MiB break no pipe and fill no memory, and nothing of them comes back."""
        with self.start(env, verb) as process:
            assert process.stdin
            assert process.stdout
            assert process.stderr
            for _ in range(32):
                process.stdin.write(b"A" * (1 << 16))
            process.stdin.flush()
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(status.partition("VmHWM:")[2].split()[0])
            process.stdin.close()
            assert process.wait(timeout=10) == 1
            assert process.stdout.read() == b"the input is longer than 1048576 bytes\n"
            assert process.stderr.read().endswith(b": the input is longer than 1048576 bytes [input-too-long]\n")
        assert peak < 100 * 1024

    def test_few_resources_are_enough(self, env: dict[str, str], present: str) -> None:
        """A caller's limits on descriptors, memory, and files, which the store of it all stays below."""
        limits = "ulimit -n 64; ulimit -v 1048576; ulimit -f 1024; exec"
        done = subprocess.run(
            ["/bin/sh", "-c", f'{limits} "$0" get', *self.command()],
            input=present.encode(),
            env=env,
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert Result(done.returncode, done.stdout, done.stderr).credential["ServerURL"] == present


HUB = "https://index.docker.io/v1/"
HUB_SPELLINGS = (
    *("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"),
    *("https://index.docker.io/v1", "https://docker.io", "https://registry-1.docker.io/", "index.docker.io/v1/"),
)
# Stored, asked: what clients take for one registry ...
ALIASES = (
    ("a.example", "https://a.example"),
    ("https://a.example", "a.example"),
    ("a.example", "a.example:443"),
    ("a.example:443", "https://a.example"),
    ("https://a.example/v1/", "a.example"),
    ("a.example", "https://a.example/v2/"),
    ("a.example/team", "a.example/team/app"),
    ("http://a.example", "http://a.example:80"),
    *((HUB, spelling) for spelling in HUB_SPELLINGS),
)
# ... and what nobody may: another scheme, port, host, path, or the tokens of docker login.
STRANGERS = (
    ("https://a.example:2376", "http://a.example:2376"),
    ("http://a.example:2376", "https://a.example:2376"),
    ("http://a.example:2376", "a.example:2376"),
    ("https://a.example:1234", "https://a.example:5678"),
    ("https://a.example:1234/one/two", "https://a.example:1234/five/six"),
    ("http://a.example", "a.example"),
    ("a.example", "a.example:5000"),
    ("a.example:5000", "a.example"),
    ("a.example", "b.a.example"),
    ("b.a.example", "a.example"),
    ("a.example", "a.example.evil.example"),
    ("a.example", "evil.example/a.example"),
    ("a.example/team", "a.example"),
    ("a.example/team", "a.example/teamwork"),
    (HUB + "access-token", HUB),
    (HUB + "refresh-token", "docker.io"),
    (HUB, HUB + "access-token"),
    (HUB + "access-token", HUB + "refresh-token"),
)
# Keys are opaque: a store keeps whatever a client calls a server.
FORMS = (
    *("a.example", "a.example:2376", "//a.example:2376", "https://a.example:2376", "http://a.example:2376"),
    *("https://a.example:2376/some/path", "https://a.example:2376/some/other/path", "https://a.example:2376?foo=bar"),
    *(
        "pycreds_test_9f3a",
        "garbage",
        "[::1]:5000",
        "127.0.0.1:5000",
        "nerdctl-experimental://ns/host/a.example:443?ns=",
    ),
)


class StoreContract(HelperContract):
    """What holds for helpers that keep what a person typed. A subclass gives `name`, `env` and `broken`.

    neighbour: another registry than `https://a.example`, of the same host.
    is_whole:  whether a `store` that is killed leaves what was there before.
    """

    neighbour: ClassVar[str] = "http://a.example:5000"
    is_whole: ClassVar[bool] = True

    @pytest.fixture
    def present(self, env: dict[str, str]) -> str:
        self.put(env, "present.example", "someone", SECRET)
        return "present.example"

    def put(self, env: dict[str, str], server: str, username: str, secret: str) -> None:
        assert self.call(env, "store", stdin=document(server, username, secret)) == Result(0, b"", b"")

    def secret(self, env: dict[str, str], server: str) -> str | None:
        """What is kept, or None; anything but an answer or a not-found fails."""
        done = self.call(env, "get", stdin=server)
        if done.is_absent:
            return None
        assert done.credential["ServerURL"] == server
        return done.credential["Secret"]

    def test_p08_an_identity_token(self, env: dict[str, str]) -> None:
        """The user name <token> is literal: it makes clients take the secret for a refresh token."""
        self.put(env, "a.example", "<token>", SECRET)
        expected = {"ServerURL": "a.example", "Username": "<token>", "Secret": SECRET}
        assert self.call(env, "get", stdin="a.example").credential == expected
        assert self.call(env, "list").listing == {"a.example": "<token>"}

    @pytest.mark.parametrize(
        "secret",
        [
            pytest.param('"quoted" \\ <b>&amp;</b>', id="JSON and HTML"),
            pytest.param("pässwörd-密碼-\U0001f511", id="no ASCII"),
            pytest.param("two\nlines\r\nand\ttabs\n", id="line ends"),
            pytest.param("  blanks around  ", id="blanks"),
            pytest.param("\x00\x01\x7f", id="control characters"),
            pytest.param("eyJ" + "x" * 4096, id="a token of 4 KiB"),
            pytest.param("s" * 20_000, id="20 000 bytes"),
            pytest.param("ü" * 10_000, id="10 000 letters"),
            pytest.param('","Username":"evil","Secret":"', id="hostile: what closes the field"),
        ],
    )
    def test_p09_a_secret_comes_back_byte_for_byte(self, env: dict[str, str], secret: str) -> None:
        """Whatever a person or a cloud made, in ASCII on the wire, as secret and as user name."""
        self.put(env, "a.example", "user", secret)
        done = self.call(env, "get", stdin="a.example")
        assert done.credential == {"ServerURL": "a.example", "Username": "user", "Secret": secret}
        assert done.out.isascii()
        if len(secret) < 1000 and "\0" not in secret:  # which no string of D-Bus may hold, and a user name is one
            self.put(env, "b.example", secret, "secret")
            assert self.call(env, "get", stdin="b.example").credential["Username"] == secret
            assert self.call(env, "list").listing == {"a.example": "user", "b.example": secret}

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b'{"ServerURL":"a.example","Username":"\\u003ctoken\\u003e","Secret":"%s"}\n', id="docker"),
            pytest.param(b'{"ServerURL":"a.example","Username":"<token>","Secret":"%s"}', id="docker-py and oras"),
            pytest.param(
                b'{\n  "Secret": "%s",\r\n\t"Username": "<token>",\n  "ServerURL": "a.example"\n}\n', id="lines"
            ),
            pytest.param(b'{"ServerURL":" a.example\\n","Username":"<token>","Secret":"%s"}', id="blanks"),
            pytest.param(
                b'{"x":[1,{"Secret":2}],"ServerURL":"a.example","Username":"<token>","y":null,"Secret":"%s"}',
                id="fields that are not known",
            ),
        ],
    )
    def test_p11_p12_forms_of_a_document(self, env: dict[str, str], content: bytes) -> None:
        """As docker, oras and docker-py write it, in any order and over several lines."""
        assert self.call(env, "store", stdin=content.replace(b"%s", SECRET.encode())) == Result(0, b"", b"")
        expected = {"ServerURL": "a.example", "Username": "<token>", "Secret": SECRET}
        assert self.call(env, "get", stdin="a.example").credential == expected

    def test_p15_an_empty_secret_is_no_secret(self, env: dict[str, str]) -> None:
        """The reference takes it; what would be answered for it is not found, and an earlier one is gone."""
        self.put(env, "a.example", "user", SECRET)
        self.put(env, "a.example", "user", "")
        assert self.secret(env, "a.example") is None
        assert self.call(env, "list").listing == {}

    def test_p17_the_second_one_wins(self, env: dict[str, str]) -> None:
        """docker stores again at every login; there is one entry, with the new user."""
        self.put(env, "a.example", "zoe", "first")
        self.put(env, "a.example", "adam", "second")
        expected = {"ServerURL": "a.example", "Username": "adam", "Secret": "second"}
        assert self.call(env, "get", stdin="a.example").credential == expected
        assert self.call(env, "list").listing == {"a.example": "adam"}

    def test_p19_p20_erase(self, env: dict[str, str]) -> None:
        """Gone, silently, and gone again; the neighbour stays."""
        self.put(env, "a.example", "user", SECRET)
        self.put(env, "a.example:5000", "user", "other")
        for _ in range(2):
            assert self.call(env, "erase", stdin="a.example\n") == Result(0, b"", b"")
            assert self.secret(env, "a.example") is None
        assert self.secret(env, "a.example:5000") == "other"

    @pytest.mark.parametrize(
        ("stored", "order"),
        [
            pytest.param("a.example", (0, 1, 2, 3), id="as docker does"),
            pytest.param("https://a.example", (3, 2, 1, 0), id="stored with a scheme"),
            pytest.param("a.example:443", (2, 0, 3, 1), id="stored with a port"),
            pytest.param("https://a.example/v1/", (1, 3, 0, 2), id="stored with a path"),
        ],
    )
    def test_p22_pi13_docker_logout(self, env: dict[str, str], stored: str, order: tuple[int, ...]) -> None:
        """The four spellings that docker erases, in any order and twice: all succeed, nothing of the host is left."""
        spellings = ("https://a.example/v1/", "a.example", "http://a.example", "https://a.example")
        self.put(env, stored, "user", SECRET)
        self.put(env, self.neighbour, "user", "other")
        for index in order * 2:
            assert self.call(env, "erase", stdin=spellings[index]) == Result(0, b"", b"")
        assert self.secret(env, "a.example") is None
        assert self.secret(env, stored) is None
        assert self.call(env, "list").listing == {self.neighbour: "user"}

    def test_p22_logout_of_the_hub(self, env: dict[str, str]) -> None:
        """docker erases the two tokens and the entry itself; each goes alone."""
        self.hub(env)
        for gone, left in ((HUB + "access-token", 2), (HUB + "refresh-token", 1), (HUB, 0)):
            assert self.call(env, "erase", stdin=gone) == Result(0, b"", b"")
            assert len(self.call(env, "list").listing) == left

    def hub(self, env: dict[str, str]) -> None:
        for end in ("access-token", "refresh-token", ""):
            self.put(env, HUB + end, "user", f"secret of {end}")

    def test_p28_the_tokens_of_docker_login_are_entries_of_their_own(self, env: dict[str, str]) -> None:
        """No spelling of the Hub is answered with a token of the whole account, and none is erased with the Hub."""
        self.hub(env)
        for end in ("", "access-token", "refresh-token"):
            assert self.secret(env, HUB + end) == f"secret of {end}"
        for spelling in HUB_SPELLINGS:
            assert self.secret(env, spelling) == "secret of "
        assert self.call(env, "erase", stdin="docker.io") == Result(0, b"", b"")
        for spelling in (HUB, *HUB_SPELLINGS):
            assert self.secret(env, spelling) is None
        for end in ("access-token", "refresh-token"):
            assert self.secret(env, HUB + end) == f"secret of {end}"

    @pytest.mark.parametrize(("stored", "asked"), ALIASES)
    def test_p29_p30_one_registry_by_other_names(self, env: dict[str, str], stored: str, asked: str) -> None:
        """What is found by a name is answered under that name, and forgotten under it."""
        self.put(env, stored, "user", SECRET)
        assert self.secret(env, asked) == SECRET
        assert self.call(env, "list").listing == {stored: "user"}
        assert self.call(env, "erase", stdin=asked) == Result(0, b"", b"")
        assert self.secret(env, asked) is None

    @pytest.mark.parametrize(("stored", "asked"), STRANGERS)
    def test_p30_other_registries_by_like_names(self, env: dict[str, str], stored: str, asked: str) -> None:
        """A secret goes to the host it belongs to; erasing a stranger takes nothing away."""
        self.put(env, stored, "user", SECRET)
        assert self.secret(env, asked) is None
        assert self.call(env, "erase", stdin=asked) == Result(0, b"", b"")
        assert self.secret(env, stored) == SECRET

    def test_p30_all_forms_side_by_side(self, env: dict[str, str]) -> None:
        """Each form is a key of its own, and comes back in `list` as it was given."""
        for form in FORMS:
            self.put(env, form, "user", f"secret of {form}")
        for form in FORMS:
            assert self.secret(env, form) == f"secret of {form}"
        assert self.call(env, "list").listing == dict.fromkeys(FORMS, "user")

    def test_p25_a_broken_backend_lists_nothing_wrong(self, broken: dict[str, str]) -> None:
        """What can be answered, and never a failure: docker's old builder would do without all it knows."""
        done = self.call(broken, "list")
        assert (done.code, done.err) == (0, b"")
        for server in done.listing:
            assert self.secret(broken, server)

    def test_p34_many_stores_at_once(self, env: dict[str, str]) -> None:
        """Two logins at the same time: all succeed, one of them is kept whole, and it is listed once."""
        secrets = [f"secret-{number}" * 50 for number in range(32)]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda secret: self.put(env, "a.example", "user", secret), secrets))
        assert self.secret(env, "a.example") in secrets
        assert self.call(env, "list").listing == {"a.example": "user"}
        assert self.call(env, "erase", stdin="a.example") == Result(0, b"", b"")
        assert self.secret(env, "a.example") is None

    def test_p34_many_servers_at_once(self, env: dict[str, str]) -> None:
        """No entry gets lost among others."""
        servers = [f"host-{number}.example" for number in range(32)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda server: self.put(env, server, "user", server), servers))
            assert list(pool.map(lambda server: self.secret(env, server), servers)) == servers
        assert self.call(env, "list").listing == dict.fromkeys(servers, "user")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_p35_a_store_that_is_killed(self, env: dict[str, str], number: signal.Signals) -> None:
        """The old secret or the new one, at whatever moment, and no word of either on a stream."""
        self.put(env, "a.example", "user", "old " + SECRET)
        dice = random.Random(11)
        for turn in range(8):
            before = self.secret(env, "a.example")
            new = f"new {turn} {SECRET}"
            with self.start(env, "store") as process:
                assert process.stdin
                assert process.stdout
                assert process.stderr
                process.stdin.write(document("a.example", "user", new))
                process.stdin.close()
                time.sleep(dice.random() * 0.1)  # wherever it is then
                process.send_signal(number)
                process.wait(timeout=5)
                assert process.stdout.read() == b""
                assert process.stderr.read() == b""
            kept = self.secret(env, "a.example")
            assert kept in (before, new) or (kept is None and not self.is_whole)
        if self.is_whole:
            assert self.call(env, "list").listing == {"a.example": "user"}

    def test_sh1_no_secret_in_clear_on_disk(self, env: dict[str, str], home: Path) -> None:
        """Not in a file, not in a name of one, in no spelling."""
        import base64

        self.put(env, "a.example", "someone", SECRET)
        spellings = (SECRET.encode(), base64.b64encode(SECRET.encode())[:16], SECRET.encode().hex().encode())
        for path in home.rglob("*"):
            assert SECRET not in str(path)
            content = path.read_bytes() if path.is_file() else b""
            assert not any(spelling in content for spelling in spellings), path


@dataclass(frozen=True)
class Cloud:
    """What a contract must know of a source's backend. Times are seconds.

    env:    what leads a helper to it, with an identity that may do everything.
    asked:  every host that anybody has asked the network for, in order.
    fail:   lets every request from now on fail as in an outage.
    expiry: when the registry stops to accept this secret, since the epoch.
    live:   sets the life of each token from now on.
    """

    env: dict[str, str]
    asked: list[str]
    fail: Callable[[], None]
    expiry: Callable[[str], float]
    live: Callable[[float], None]


class SourceContract(HelperContract):
    """What holds for helpers that mint. A subclass gives `name`, `own`, `foreign` and the fixture `cloud`.

    own:     hosts of the source for which `cloud` mints, the first one for most rows.
    foreign: hosts that are none of its own, look-alikes above all; those that can be made from `own` are added.
    """

    own: ClassVar[tuple[str, ...]]
    foreign: ClassVar[tuple[str, ...]]

    @pytest.fixture
    def cloud(self) -> Iterator[Cloud]:
        raise NotImplementedError

    @pytest.fixture
    def env(self, home: Path, cloud: Cloud) -> dict[str, str]:
        return environment(home, **cloud.env)

    @pytest.fixture
    def present(self) -> str:
        return self.own[0]

    @pytest.fixture
    def broken(self, env: dict[str, str], cloud: Cloud) -> dict[str, str]:
        cloud.fail()
        return env

    def strangers(self) -> list[str]:
        """Servers that belong to others, though they look like ours."""
        host = self.own[0]
        return [
            *self.foreign,
            *self.absent,
            f"{host}.evil.example",
            f"{host}.",
            f"evil.example/{host}",
            f"evil.example:443/{host}",
            f"evil.example?{host}",
            f"evil.example#{host}",
            f"{host}@evil.example",
            f"{host}:443@evil.example",
            f"user@{host}",
            f"user:secret@{host}",
            f"{host}:444",
            f"http://{host}",
            f"ftp://{host}",
            f"//{host}",
            f".{host}",
            f"-{host}",
            f"{host}?x=1",
            f"{host}%2f.evil.example",
            f"https://https://{host}",
            host.replace(".", "-"),
            host.partition(".")[2],
            HUB,
        ]

    def test_p31_own_hosts(self, env: dict[str, str]) -> None:
        """Each has a credential, as the client spells it, with a path or without one."""
        for host in self.own:
            assert self.call(env, "get", stdin=host).credential["ServerURL"] == host
        host = self.own[0]
        for spelling in (host.upper(), f"{host}:443", f"https://{host}", f"https://{host}/v2/"):
            assert self.call(env, "get", stdin=spelling).credential["ServerURL"] == spelling

    def test_p31_hosts_of_others_and_look_alikes(self, env: dict[str, str], cloud: Cloud) -> None:
        """Exactly not found, and not a packet to anybody."""
        for server in self.strangers():
            assert self.call(env, "get", stdin=server) == Result(1, NOT_FOUND, b""), server
        assert cloud.asked == []

    def test_p32_a_repository_path(self, env: dict[str, str]) -> None:
        """go-containerregistry asks for the repository before it asks for the host, and any other error ends that."""
        for path in ("team/app", "library/ubuntu", "a/b/c/d"):
            done = self.call(env, "get", stdin=f"{self.own[0]}/{path}")
            assert done == Result(1, NOT_FOUND, b"") or done.credential["ServerURL"] == f"{self.own[0]}/{path}"

    def test_p09_an_answer_is_ascii(self, env: dict[str, str]) -> None:
        """Whatever the cloud sends."""
        assert self.call(env, "get", stdin=self.own[0]).out.isascii()

    def test_p18_what_docker_login_typed_is_answered(self, env: dict[str, str], home: Path, cloud: Cloud) -> None:
        """docker login succeeds silently, and until the logout nobody asks the cloud; in clear it is nowhere."""
        for host in self.own:
            assert self.call(env, "store", stdin=document(host, "someone", SECRET)) == Result(0, b"", b"")
            found = self.call(env, "get", stdin=host).credential
            assert (found["Username"], found["Secret"]) == ("someone", SECRET)
        assert self.call(env, "list").listing == dict.fromkeys(self.own, "someone")
        for path in home.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes()
        for host in self.own:
            assert self.call(env, "erase", stdin=host) == Result(0, b"", b"")
        assert cloud.asked == []
        assert self.call(env, "list").listing == {}
        assert self.call(env, "get", stdin=self.own[0]).credential["Secret"] != SECRET

    def test_p18_passwords_of_others_are_refused(self, env: dict[str, str], cloud: Cloud) -> None:
        """A person hears that nothing is kept, instead of finding out at the next pull."""
        for server in (*self.foreign, *self.absent):
            done = self.call(env, "store", stdin=document(server, "someone", SECRET))
            assert done.code == 1
            assert done.out != NOT_FOUND
            assert done.out.count(b"\n") == 1
            assert SECRET.encode() not in done.out + done.err
        assert cloud.asked == []

    def test_p19_p20_erase_forgets_the_token(self, env: dict[str, str], cloud: Cloud) -> None:
        """docker logout succeeds, and what is answered then is another token; for strangers nothing happens."""
        first = self.call(env, "get", stdin=self.own[0]).credential["Secret"]
        assert self.call(env, "get", stdin=self.own[0]).credential["Secret"] == first
        asked = len(cloud.asked)
        for server in (self.own[0], f"https://{self.own[0]}", f"http://{self.own[0]}", self.own[0], *self.strangers()):
            assert self.call(env, "erase", stdin=server) == Result(0, b"", b""), server
        assert self.call(env, "list").listing == {}
        assert len(cloud.asked) == asked
        assert self.call(env, "get", stdin=self.own[0]).credential["Secret"] != first

    def test_p20_erase_needs_no_cloud(self, broken: dict[str, str]) -> None:
        """docker logout works on a train."""
        for host in self.own:
            assert self.call(broken, "erase", stdin=host) == Result(0, b"", b"")

    def test_p24_list_needs_no_cloud(self, env: dict[str, str], cloud: Cloud) -> None:
        """It names what has been asked for, without asking again, and forgets nothing."""
        for host in self.own:
            assert self.call(env, "get", stdin=host).credential
        asked = len(cloud.asked)
        assert set(self.call(env, "list").listing) == set(self.own)
        for host in self.own:
            assert self.call(env, "get", stdin=host).credential
        assert len(cloud.asked) == asked

    def test_p33_pi5_an_outage_is_told_while_others_are_still_not_found(
        self, broken: dict[str, str], cloud: Cloud
    ) -> None:
        """The pull of an image from elsewhere does not fail because of this cloud."""
        assert self.call(broken, "get", stdin=self.own[0]).out != NOT_FOUND
        asked = len(cloud.asked)
        for server in self.foreign:
            assert self.call(broken, "get", stdin=server) == Result(1, NOT_FOUND, b"")
        assert len(cloud.asked) == asked

    def test_p36_without_a_home(self, env: dict[str, str]) -> None:
        """There is no cache then, but an answer; a token is never put where others can read it."""
        homeless = env | {"HOME": "/dev/null"}  # unset, it would be that of the password database
        for _ in range(2):
            assert self.call(homeless, "get", stdin=self.own[0]).credential
        assert self.call(homeless, "list").listing == {}

    def test_p39_what_is_answered_lives_longer_than_five_minutes(self, env: dict[str, str], cloud: Cloud) -> None:
        """BuildKit keeps an answer for 4 minutes and 50 seconds: a token that will not live so long is replaced."""
        cloud.live(303)
        first = self.call(env, "get", stdin=self.own[0]).credential["Secret"]
        assert cloud.expiry(first) - time.time() > 300
        while cloud.expiry(first) - time.time() > 299:
            time.sleep(0.1)
        second = self.call(env, "get", stdin=self.own[0]).credential["Secret"]
        assert cloud.expiry(second) - time.time() > 300
