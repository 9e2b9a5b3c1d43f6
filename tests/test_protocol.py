"""The protocol in-process: `serve` with small fake helpers, each call in a forked process with streams of its own.

What clients rely on is tested from outside, row by row, in the contract suite; here are the faults that no backend
makes on demand: clocks, full pipes, closed streams, noise, defects.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import posix
import pty
import re
import resource
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credhelpers import call as calls
from credhelpers import guard, notes, servers
from credhelpers.credential import INFINITY, Credential
from credhelpers.errors import (
    DeadlinePassed,
    HelperError,
    MissingServer,
    MissingUsername,
    NotFound,
    NotMine,
    Refused,
    Unavailable,
    Unsupported,
)
from credhelpers.protocols import docker
from tests import running
from tests.harness import NOT_FOUND, Result, document, patience
from tests.running import boom, hurry, nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from credhelpers.servers import Authority

# A fixture of another test may have left a server's thread; the forked process runs none of its code.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

NAME = "docker-credential-fake"
OVERDUE = b"no answer within the time limit\n"


def told(hint: str, cause: bytes) -> bytes:
    """The line on standard error for what is on standard output."""
    return f"{NAME}: {cause.decode().strip()}; {hint}\n".encode()


ENDLESS = b"standard input did not end within the time limit\n"
CANARY = "canary-in-an-exception"


class Fake:
    """A helper with nothing in it."""

    manual = "A helper of the tests.\n"

    def ready(self, authority: Authority) -> Credential | None:
        return None

    def get(self, authority: Authority) -> Credential:
        raise NotFound

    def refresh(self, authority: Authority) -> None:
        raise AssertionError

    def store(self, authority: Authority, credential: Credential) -> None:
        raise AssertionError

    def erase(self, authority: Authority) -> None:
        raise AssertionError

    def list(self) -> dict[str, str]:
        return {}


class Slow(Fake):
    """A helper whose `get` runs a function given to it, then answers."""

    def __init__(self, work: Callable[[], object] = nothing, secret: str = "secret") -> None:
        self.work = work
        self.secret = secret

    def get(self, authority: Authority) -> Credential:
        self.work()
        return Credential("user", self.secret)


class Quick(Slow):
    """A helper that has a credential at hand, with these times from now; `get` is as in Slow."""

    def __init__(
        self,
        *,
        soft: float = INFINITY,
        hard: float = INFINITY,
        secret: str = "at hand",
        work: Callable[[], object] = nothing,
    ) -> None:
        super().__init__(work)
        self.hand = Credential("user", secret, soft=time.time() + soft, hard=time.time() + hard)

    def ready(self, authority: Authority) -> Credential | None:
        return self.hand


class Running(running.Running):
    """A call of the helper."""

    def __init__(
        self,
        helper: docker.Helper,
        arguments: tuple[str, ...],
        stdin: bytes | int = b"",
        before: Callable[[], object] = nothing,
    ) -> None:
        super().__init__(lambda: docker.serve(helper), (NAME, *arguments), stdin, before)


def run(
    helper: docker.Helper,
    *arguments: str,
    stdin: bytes | int = b"",
    before: Callable[[], object] = nothing,
) -> Result:
    """One call by a client that reads at once."""
    return Running(helper, arguments, stdin, before).result()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe; nobody closes the second one during the test."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param((), f"Usage: {NAME} <store|get|erase|list|version>", id="none"),
        pytest.param(("get", "ghcr.io"), f"Usage: {NAME} <store|get|erase|list|version>", id="two"),
        pytest.param(("fetch",), f"{NAME}: unknown action: fetch", id="unknown word"),
        pytest.param(("GET",), f"{NAME}: unknown action: GET", id="capitals"),
        pytest.param(("",), f"{NAME}: unknown action: not a word", id="empty"),
        pytest.param(("\x1b]0;owned\a",), f"{NAME}: unknown action: not a word", id="hostile: terminal escapes"),
        pytest.param(("a" * 21,), f"{NAME}: unknown action: not a word", id="hostile: what may be a token"),
        pytest.param(("\udcff",), f"{NAME}: unknown action: not a word", id="hostile: no UTF-8"),
        pytest.param(("get\n",), f"{NAME}: unknown action: not a word", id="hostile: a line end"),
    ],
)
def test_wrong_arguments_get_one_line_and_input_is_not_waited_for(
    arguments: tuple[str, ...], line: str, pipe: tuple[int, int]
) -> None:
    """Whoever calls it wrongly hears how to call it, on standard output as from the reference."""
    assert run(Fake(), *arguments, stdin=pipe[0]) == Result(
        1, f"{line}\n".encode(), f"{NAME}: {line.removeprefix(f'{NAME}: ')} [usage]\n".encode()
    )


@pytest.mark.parametrize("form", ["version", "--version", "-v"])
def test_version(form: str, pipe: tuple[int, int]) -> None:
    """Name, package and version, in the reference's form."""
    from credhelpers import __version__

    done = run(Fake(), form, stdin=pipe[0])
    assert done == Result(0, f"{NAME} (credhelpers) v{__version__}\n".encode(), b"")


@pytest.mark.parametrize("form", ["--help", "-h"])
def test_help_is_the_synopsis_and_the_manual_of_the_helper(form: str, pipe: tuple[int, int]) -> None:
    """Help is asked for, so it is a success."""
    done = run(Fake(), form, stdin=pipe[0])
    assert done.code == 0
    assert done.out.startswith(f"usage: {NAME} get".encode())
    assert done.out.endswith(b"\nA helper of the tests.\n")
    assert b"/docs" in done.out


def test_help_names_no_page_that_is_not_here(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where only the package was unpacked."""
    monkeypatch.setattr("credhelpers.__path__", [str(tmp_path / "lib/python3/site-packages/credhelpers")])
    done = run(Fake(), "--help", stdin=pipe[0])
    assert done.code == 0
    assert done.out.endswith(b"\nA helper of the tests.\n")
    assert str(tmp_path).encode() not in done.out


# --- input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "store", "erase"])
def test_a_terminal_is_refused_at_once(verb: str) -> None:
    """Nobody is left waiting before a cursor."""
    master, terminal = pty.openpty()
    try:
        done = run(Fake(), verb, stdin=terminal)
    finally:
        os.close(master)
        os.close(terminal)
    assert done.code == 1
    assert done.out == b"standard input is a terminal\n"
    hint = f"pipe it in, as in `echo HOST | {NAME} {verb}` [input-terminal]"
    assert done.err == f"{NAME}: standard input is a terminal; {hint}\n".encode()


@pytest.mark.parametrize("arguments", [("list",), ("version",), ()])
def test_what_needs_no_input_works_at_a_terminal(arguments: tuple[str, ...]) -> None:
    """`list` typed by a person answers."""
    master, terminal = pty.openpty()
    try:
        done = run(Fake(), *arguments, stdin=terminal)
    finally:
        os.close(master)
        os.close(terminal)
    assert done.code == (0 if arguments else 1)
    usage = f"{NAME}: Usage: {NAME} <store|get|erase|list|version> [usage]\n".encode()
    assert done.err == (b"" if arguments else usage)


@pytest.mark.parametrize("verb", ["get", "store", "erase", "list"])
@pytest.mark.parametrize(
    ("size", "is_refused"),
    [pytest.param(1 << 20, False, id="1 MiB"), pytest.param((1 << 20) + 1, True, id="a byte more")],
)
def test_long_input_is_refused_and_drained(verb: str, size: int, is_refused: bool) -> None:  # noqa: FBT001 - a table
    """A client that writes on never meets a broken pipe, and nothing of it comes back."""
    reading, writing = os.pipe()
    call = Running(Fake(), (verb,), reading)
    os.close(reading)
    written = 0
    while written < size:
        written += os.write(writing, b"A" * min(1 << 16, size - written))
    os.close(writing)
    done = call.result()
    assert (b"the input is longer than 1048576 bytes" in done.out) == is_refused
    assert b"AAA" not in done.out + done.err
    assert done.code == (0 if verb == "list" and not is_refused else 1)


def test_input_that_cannot_be_read_is_said_in_a_line() -> None:
    """A directory as standard input is the caller's mistake, no defect."""
    folder = os.open("/", os.O_RDONLY)
    try:
        done = run(Fake(), "get", stdin=folder)
    finally:
        os.close(folder)
    why = "standard input cannot be read: Is a directory"
    hint = f"pipe it in, as in `echo HOST | {NAME} get` [input-unreadable]"
    assert done == Result(1, f"{why}\n".encode(), f"{NAME}: {why}; {hint}\n".encode())


def test_input_that_is_set_not_to_wait_is_waited_for() -> None:
    """Some callers hand on a descriptor in non-blocking mode; what is missing comes during the wait, and only then."""

    def before() -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.dup2(reading, 0)
        os.write(writing, b"ghcr")

        def sleep(_seconds: float) -> None:
            os.write(writing, b".io")
            os.close(writing)

        calls.__dict__["sleep"] = sleep

    assert run(Slow(), "get", before=before).credential["ServerURL"] == "ghcr.io"


def test_input_that_never_ends_meets_the_deadline(pipe: tuple[int, int]) -> None:
    """A client that forgets to close its end is told so, and no registry is blamed, which nobody has asked."""
    for verb, way in (
        ("get", "echo HOST | docker-credential-fake get"),
        ("erase", "echo HOST | docker-credential-fake erase"),
        ("store", "docker-credential-fake store <FILE"),
        ("list", "docker-credential-fake list </dev/null"),
    ):
        done = run(Fake(), verb, stdin=pipe[0], before=hurry)
        assert done == Result(1, ENDLESS, told("close it, as in `" + way + "` [input-endless]", ENDLESS))


def test_the_deadline_holds_under_a_blocked_alarm(pipe: tuple[int, int]) -> None:
    """A signal mask is inherited, and some daemons block everything."""

    def before() -> None:
        hurry()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    assert run(Fake(), "get", stdin=pipe[0], before=before).out == ENDLESS


SAMPLES = (
    "ghcr.io",
    "localhost:5000",
    "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
    "https://a.example/v1/",
    "a-b.c",
)


def test_p06_every_byte_at_every_place_of_a_server() -> None:
    """What no client sends reaches no helper, wherever it is put: refused or not found, never another server."""
    asked: list[str] = []

    class Keen(Fake):
        def ready(self, authority: Authority) -> Credential | None:
            asked.append(authority.sent)
            return Credential("user", "secret")

    call, keen = calls.Call(NAME, [], 0.0), Keen()
    refused = set(range(0x21)) | set(range(0x7F, 0x100)) | set(b'\\@%#"<>^`{|}')
    for sample in SAMPLES:
        plain = sample.encode()
        for place in range(len(plain) + 1):
            for byte in range(256):
                server = plain[:place] + bytes([byte]) + plain[place:]
                is_edge_blank = place in (0, len(plain)) and byte in b" \t\r\n"
                asked.clear()
                try:
                    answer = docker._get(call, keen, server)
                except (Refused, NotFound, MissingServer):
                    assert asked == [], server
                    continue
                assert byte not in refused or is_edge_blank, server
                assert asked == [plain.decode() if is_edge_blank else server.decode()]
                assert json.loads(answer)["ServerURL"] == asked[0]


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("good.example\n.evil.example", id="joined lines"),
        pytest.param("good.example\nevil.example", id="two lines"),
        pytest.param("good.example\revil.example", id="carriage return"),
        pytest.param("good.example\r\nevil.example", id="line end of Windows"),
        pytest.param("good.example\x0bevil", id="vertical tab"),
        pytest.param("good.example\x0cevil", id="form feed"),
        pytest.param("good.example\x00.evil", id="NUL"),
        pytest.param("good.example\x85", id="next line at the end"),
        pytest.param("\u2028good.example", id="line separator before"),
        pytest.param("g\u00f6od.example", id="no ASCII"),
        pytest.param("good.example\u00a0", id="a blank that is no blank"),
        pytest.param("\ufeffgood.example", id="byte order mark"),
    ],
)
@pytest.mark.parametrize("verb", ["get", "erase"])
def test_p06_lines_are_neither_joined_nor_cut(verb: str, server: str) -> None:
    """The helper is not asked for a part of what came (Fake.erase would fail otherwise)."""
    done = run(Fake(), verb, stdin=server.encode())
    assert done.code == 1
    assert done.out == b"the server URL holds a character that no registry has in its name\n"


@pytest.mark.parametrize(
    "server", ["", " ", "\n", "\r\n", "\t \r\n", "https://", "http://", "https:///", "://", "/", ":", "//:"]
)
@pytest.mark.parametrize("verb", ["get", "erase"])
def test_p05_no_server(verb: str, server: str) -> None:
    """Nothing but blanks or a scheme is the wire's own error, so that no client takes it for a wildcard."""
    done = run(Fake(), verb, stdin=server.encode())
    assert done in (Result(1, b"no credentials server URL\n", b""), Result(1, NOT_FOUND, b""))
    if server != "://":
        assert done.out == b"no credentials server URL\n"


# --- answers ---------------------------------------------------------------------------------------------------------


def test_get_asks_ready_first() -> None:
    """What is at hand is answered without the slow way."""
    done = run(Quick(work=lambda: boom(AssertionError())), "get", stdin=b"ghcr.io\n")
    assert done == Result(0, b'{"ServerURL":"ghcr.io","Username":"user","Secret":"at hand"}\n', b"")


@pytest.mark.parametrize("verb", ["get", "erase"])
@pytest.mark.parametrize("server", ["user@ghcr.io", "ghcr.io%2f", "ghcr.io#x", "ghcr..io", ".ghcr.io", "ghcr.io."])
def test_what_could_be_read_as_two_hosts_reaches_no_helper(verb: str, server: str) -> None:
    """There is nothing for it, and forgetting it is done (Fake's methods would fail)."""

    class Never(Fake):
        def ready(self, authority: Authority) -> Credential | None:
            raise AssertionError

    assert run(Never(), verb, stdin=server.encode()) == (
        Result(0, b"", b"") if verb == "erase" else Result(1, NOT_FOUND, b"")
    )


def test_not_found_by_ready_needs_no_get() -> None:
    """A registry of somebody else costs no SDK."""

    class Foreign(Slow):
        def ready(self, authority: Authority) -> Credential | None:
            raise NotFound

    assert run(Foreign(lambda: boom(AssertionError())), "get", stdin=b"ghcr.io") == Result(1, NOT_FOUND, b"")


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_an_ageing_credential_is_answered_then_renewed_once_by_a_process_of_its_own(tmp_path: Path) -> None:
    """The client does not wait for the renewal, which holds none of its descriptors."""
    log, go = tmp_path / "log", tmp_path / "go"

    class Ageing(Quick):
        def refresh(self, authority: Authority) -> None:
            until(go.exists)
            held = sorted(path.name for path in Path("/proc/self/fd").iterdir())
            ends = {str(Path(f"/proc/self/fd/{number}").readlink()) for number in (0, 1, 2)}
            with log.open("a") as file:
                file.write(f"{authority.sent} {held} {ends} {os.getsid(0) == os.getpid()}\n")

    done = run(Ageing(soft=-1), "get", stdin=b"ghcr.io")
    assert done.credential["Secret"] == "at hand"
    assert not log.exists()
    go.touch()
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    assert log.read_text() == "ghcr.io ['0', '1', '2', '3'] {'/dev/null'} True\n"  # 3 is the listing's own


@pytest.mark.parametrize("is_at_hand", [True, False], ids=["at hand", "of get"])
@pytest.mark.parametrize("outcome", ["comes", "fails", "never comes"])
def test_what_is_nearly_over_is_renewed_before_the_answer(*, is_at_hand: bool, outcome: str) -> None:
    """A new one that comes within a second is answered; else the old one is, at once if it is known that none comes."""
    now = time.time()

    class Low(Quick):
        looks = 0

        def ready(self, authority: Authority) -> Credential | None:
            self.looks += 1
            if self.looks == 1:
                return self.hand if is_at_hand else None
            if self.looks < 4:
                return self.hand if self.looks == 2 else None  # as after a logout
            if outcome == "comes":
                return Credential("user", "new", soft=now + 90, hard=now + 95, expires=now + 99, low=now + 95)
            if outcome == "fails":
                self.hand.low = self.hand.expires
            return self.hand

        def get(self, authority: Authority) -> Credential:
            return self.hand

        def refresh(self, authority: Authority) -> None:
            pass  # in a process of its own

    helper = Low(soft=-9, hard=60)
    helper.hand.low, helper.hand.expires = now - 1, now + 90
    call = Running(helper, ("get",), b"ghcr.io")
    assert call.result().credential["Secret"] == ("new" if outcome == "comes" else "at hand")
    assert (call.took >= 1) == (outcome == "never comes")
    assert call.took < 1 + patience(0.9)


def test_what_is_nearly_over_and_not_to_be_renewed() -> None:
    """What says nothing of it is answered, and renewed behind the answer as ever."""
    assert run(Quick(soft=INFINITY), "get", stdin=b"ghcr.io").credential["Secret"] == "at hand"


def test_a_renewal_that_cannot_start_costs_nothing() -> None:
    """A machine without a free process still gets its answer, with exit code 0 and no delay."""
    call = Running(
        Quick(soft=-1),
        ("get",),
        b"ghcr.io",
        lambda: setattr(posix, "fork", lambda: boom(BlockingIOError(11, "EAGAIN"))),
    )
    assert call.result().credential["Secret"] == "at hand"
    assert call.took < patience(0.9)


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: boom(Unavailable("a-code", "the cloud is away", "wait")), id="unavailable"),
        pytest.param(lambda: time.sleep(5), id="too slow"),
        pytest.param(lambda: boom(ValueError(CANARY)), id="a defect"),
        pytest.param(lambda: boom(KeyboardInterrupt()), id="interrupted"),
    ],
)
def test_a_credential_that_is_still_good_answers_when_no_new_one_comes(work: Callable[[], object]) -> None:
    """Past its hard time a token is the last resort, and a renewal in the background is not tried after that."""
    done = run(Quick(soft=-2, hard=-1, work=work), "get", stdin=b"ghcr.io", before=hurry)
    assert done.credential["Secret"] == "at hand"


def test_the_last_resort_is_for_failures_only() -> None:
    """A new one is better, and what is gone is gone."""
    assert run(Quick(hard=-1), "get", stdin=b"ghcr.io").credential["Secret"] == "secret"
    done = run(Quick(hard=-1, work=lambda: boom(NotFound())), "get", stdin=b"ghcr.io")
    assert done == Result(1, NOT_FOUND, b"")


def test_there_is_no_last_resort_for_who_is_denied() -> None:
    """Who gives the credentials out has said no: that is told."""

    class Denied(Unavailable):
        is_denial = True

    done = run(Quick(hard=-1, work=lambda: boom(Denied("a-code", "not for you", "ask"))), "get", stdin=b"ghcr.io")
    assert done == Result(1, b"not for you\n", told("ask [a-code]", b"not for you\n"))


@pytest.mark.parametrize(
    "helper",
    [
        pytest.param(Slow(secret="s" * 65536), id="from get"),
        pytest.param(Quick(secret="s" * 65536), id="at hand"),
        pytest.param(Quick(secret="s" * 65536, hard=-1), id="last resort"),
    ],
)
def test_p10_an_answer_that_no_pipe_holds_is_refused(helper: Fake) -> None:
    """Clients that read after the exit would wait for ever."""
    done = run(helper, "get", stdin=b"ghcr.io")
    assert (done.code, done.out) == (1, b"the answer is longer than 65535 bytes\n")


def test_p10_the_longest_answer() -> None:
    """One byte less than a pipe holds is answered whole, to a client that reads after the exit only."""
    frame = len(b'{"ServerURL":"ghcr.io","Username":"user","Secret":""}\n')
    for helper in (Slow(secret="s" * (65535 - frame)), Quick(secret="s" * (65535 - frame))):
        call = Running(helper, ("get",), b"ghcr.io")
        assert call.wait() == 0
        out = b""
        while len(out) < 65535:
            out += os.read(call.out, 1 << 16)
        assert os.read(call.out, 1) == b""
        assert json.loads(out)["Secret"] == "s" * (65535 - frame)
        call.close()


def test_store_hands_over_what_came(tmp_path: Path) -> None:
    """The helper gets the server and both parts as they were typed."""

    class WritableMinter(Fake):
        def store(self, authority: Authority, credential: Credential) -> None:
            (tmp_path / "kept").write_text(repr((authority.sent, *credential.expose())))

    done = run(WritableMinter(), "store", stdin=document("ghcr.io", "<token>", ' "\\<&>\u00e4\n '))
    assert done == Result(0, b"", b"")
    assert (tmp_path / "kept").read_text() == repr(("ghcr.io", "<token>", ' "\\<&>\u00e4\n '))


def test_p15_an_empty_secret_is_forgotten_and_not_kept(tmp_path: Path) -> None:
    """A later get is then a not-found and no empty password."""

    class Erasing(Fake):
        def erase(self, authority: Authority) -> None:
            (tmp_path / "erased").write_text(authority.sent)

    assert run(Erasing(), "store", stdin=document("ghcr.io", "user", "")) == Result(0, b"", b"")
    assert (tmp_path / "erased").read_text() == "ghcr.io"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(document("ghcr.io", "user", "s" * 65536), b"does not fit into an answer", id="too long"),
        pytest.param(document("a@ghcr.io", "user", CANARY), b"could be read as two hosts", id="two hosts"),
        pytest.param(document("", "user", CANARY), b"no credentials server URL", id="no server"),
        pytest.param(document("ghcr.io", "", CANARY), b"no credentials username", id="no user"),
        pytest.param(b"[]", b"not one JSON object", id="no object"),
        pytest.param(b'{"ServerURL":"ghcr.io","Username":"u"}', b"has no secret", id="no secret"),
        pytest.param(b'{"ServerURL":"ghcr.io","Username":1,"Secret":"s"}', b"not a string", id="a number"),
        pytest.param(b'{"ServerURL":"ghcr.io","Username":"u","Secret":"\\ud800"}', b"half a character", id="half"),
        pytest.param(b"[" * 200_000, b"not one JSON object", id="hostile: 200 000 deep"),
        pytest.param(b'{"Secret":"' + CANARY.encode() + b'"', b"not one JSON object", id="hostile: cut off"),
    ],
)
def test_what_store_refuses_reaches_no_helper(content: bytes, line: bytes) -> None:
    """One line, nothing of the input in it (Fake.store would fail)."""
    done = run(Fake(), "store", stdin=content)
    assert done.code == 1
    assert line in done.out
    assert done.out.count(b"\n") == 1
    assert CANARY.encode() not in done.out + done.err


def test_erase_and_list(tmp_path: Path) -> None:
    """Erase says nothing, list answers in JSON and names only what a client can ask for."""

    class Full(Fake):
        def erase(self, authority: Authority) -> None:
            (tmp_path / "erased").write_text(authority.sent)

        def list(self) -> dict[str, str]:
            return {"ghcr.io": "\u00e4", "my registry": "ann", "user@ghcr.io": "ann", " a.example": "ann"}

    assert run(Full(), "erase", stdin=b"ghcr.io\n") == Result(0, b"", b"")
    assert (tmp_path / "erased").read_text() == "ghcr.io"
    assert run(Full(), "list", stdin=b"unused") == Result(0, b'{"ghcr.io": "\\u00e4"}\n', b"")
    assert run(Fake(), "list") == Result(0, b"{}\n", b"")


@pytest.mark.parametrize("error", [Unavailable("a-code", "away", "wait"), Refused("a-code", "no"), ValueError(CANARY)])
def test_a_list_never_fails(error: Exception) -> None:
    """What cannot be told is left out: docker's old builder would do without every other credential, too."""

    class Broken(Fake):
        def list(self) -> dict[str, str]:
            raise error

    assert run(Broken(), "list") == Result(0, b"{}\n", b"")


def test_the_launcher_is_prepared_after_the_answer(tmp_path: Path) -> None:
    """The first call of an installation writes what later ones start from; its client has the answer already."""
    log = tmp_path / "log"

    def prepare(modules: tuple[str, ...]) -> None:
        log.write_text(f"{'credhelpers.call' in modules} {'pytest' in modules}")

    call = Running(Slow(), ("get",), b"ghcr.io", lambda: setattr(calls, "behind", prepare))
    assert call.result().credential
    assert log.read_text() == "True False"


def test_without_memory_nothing_is_prepared(tmp_path: Path) -> None:
    """To compile costs more than is there; a later call does it."""
    log = tmp_path / "log"

    def fail() -> None:
        raise MemoryError

    call = Running(Slow(work=fail), ("get",), b"ghcr.io", lambda: setattr(calls, "behind", lambda _: log.touch()))
    assert call.result().out == b"this system gives no more memory\n"
    assert not log.exists()


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "out", "err"),
    [
        pytest.param(NotFound(), b"credentials not found in native keychain\n", b"", id="not found"),
        pytest.param(MissingServer(), b"no credentials server URL\n", b"", id="no server"),
        pytest.param(MissingUsername(), b"no credentials username\n", b"", id="no user"),
        pytest.param(Refused("a-code", "no"), b"no\n", b"docker-credential-fake: no [a-code]\n", id="refused"),
        pytest.param(
            Unsupported("a-code", "not here", "go there"),
            b"not here\n",
            told("go there [a-code]", b"not here\n"),
            id="with a hint",
        ),
        pytest.param(
            Unavailable("a-code", "x" * 201, "y" * 201),
            b"x" * 200 + b"\n",
            told("y" * 201 + " [a-code]", b"x" * 163 + b"\n"),
            id="long",
        ),
        pytest.param(
            Unavailable("a-code", "a\nb\r\x1b[31m\u00e4\u2028", "c\td"),
            b"a?b??[31m??\n",
            told("c?d [a-code]", b"a?b??[31m??\n"),
            id="hostile",
        ),
    ],
)
def test_a_failure_is_one_line_of_ascii(error: HelperError, out: bytes, err: bytes) -> None:
    """The reason goes to standard output, and with what mends it to standard error, all that `docker pull` shows."""
    assert run(Slow(lambda: boom(error)), "get", stdin=b"ghcr.io") == Result(1, out, err)


def endless() -> None:
    """Call without an end."""
    endless()


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        pytest.param(lambda: boom(ValueError(CANARY)), "ValueError", id="a defect"),
        pytest.param(lambda: json.loads("{" + CANARY), "JSONDecodeError", id="what quotes its input"),
        pytest.param(endless, "RecursionError", id="recursion"),
        pytest.param(lambda: sys.exit(CANARY), "SystemExit", id="a library that exits"),
        pytest.param(lambda: boom(BaseExceptionGroup(CANARY, [OSError(CANARY)])), "ExceptionGroup", id="a group"),
    ],
)
def test_sh2_a_defect_shows_its_kind_and_place_but_no_text(work: Callable[[], object], kind: str) -> None:
    """The text of an exception may quote a secret."""
    done = run(Slow(work), "get", stdin=b"ghcr.io")
    assert done.code == 1
    assert done.out.startswith(f"internal error: {kind} in ".encode())
    assert done.out.count(b"\n") == 1
    assert done.err == told("this is a defect of credhelpers, please report it [defect]", done.out)
    assert CANARY.encode() not in done.out + done.err


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        pytest.param(MemoryError(CANARY), b"this system gives no more memory", b"ulimit -v", id="memory"),
        pytest.param(
            RuntimeError("can't start new thread"), b"this system gives no more threads", b"ulimit -u", id="threads"
        ),
        pytest.param(
            OSError(errno.EMFILE, CANARY), b"this system gives no more file descriptors", b"ulimit -n", id="descriptors"
        ),
        pytest.param(
            OSError(errno.EIO, "bad disk", CANARY), b"this system failed: bad disk in ", b"dmesg", id="a disk"
        ),
        pytest.param(
            OSError(errno.ENOSPC, "full", CANARY), b"this system failed: full in ", b"df -h", id="a full disk"
        ),
        pytest.param(
            OSError(errno.EROFS, "locked", CANARY), b"this system failed: locked in ", b"mount", id="read-only"
        ),
    ],
)
def test_what_the_system_refuses_is_no_defect(error: Exception, words: bytes, hint: bytes) -> None:
    """Too little of something and a disk that fails are said to be that, wherever nobody has foreseen them."""
    done = run(Slow(lambda: boom(error)), "get", stdin=b"ghcr.io")
    assert done.code == 1
    assert done.out.startswith(words)
    assert hint in done.err
    assert b"defect" not in done.err
    assert CANARY.encode() not in done.out + done.err


def test_a_sentence_that_was_made_of_a_shortage_is_not_said() -> None:
    """Who turns it into something else, with or without `from None`, has not said what was the matter."""

    def work() -> None:
        try:
            boom(MemoryError())
        except MemoryError:
            raise Unavailable("a-code", "the cloud does not answer", "wait") from None

    done = run(Slow(work), "get", stdin=b"ghcr.io")
    assert done.out == b"this system gives no more memory\n"


def test_without_memory_for_the_words_there_are_some() -> None:
    """They are there from the start."""

    def before() -> None:
        def refuse(_error: object) -> None:
            raise MemoryError

        calls.__dict__["shortage"] = refuse

    done = run(Fake(), "get", stdin=b"ghcr.io", before=before)
    assert (done.code, done.out) == (1, b"this system gives no more memory\n")
    assert b"ulimit -v" in done.err


def test_without_a_thread_the_clock_still_ends_the_call() -> None:
    """The watch is a second one; where it cannot start, the signal does its part, and nobody hears of a thread."""

    def before() -> None:
        def refuse(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        guard.__dict__["_thread"] = SimpleNamespace(start_new_thread=refuse)
        hurry()

    assert run(Slow(), "get", stdin=b"ghcr.io", before=before).credential
    assert run(Slow(lambda: time.sleep(20)), "get", stdin=b"ghcr.io", before=before).out == OVERDUE


def test_a_failure_of_the_silence_leaves_the_clock_awake() -> None:
    """Without a descriptor for it the line goes out, and a client that never reads does not hold the call."""

    def before() -> None:
        def refuse() -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        guard.__dict__["silence"] = refuse

    done = run(Slow(), "get", stdin=b"ghcr.io", before=before)
    assert done.out == b"this system gives no more file descriptors\n"
    assert b"ulimit -n" in done.err


def test_nothing_that_fails_behind_the_answer_spoils_it() -> None:
    """No process for a renewal, no memory for the launch file: the answer is out, and the status is a success."""

    def refuse(*_: object) -> None:
        raise MemoryError

    def before() -> None:
        guard.__dict__["detach"] = refuse

    def before_both() -> None:
        before()
        calls.behind = refuse

    for prepared in (before, before_both):
        assert run(Quick(soft=-1), "get", stdin=b"ghcr.io", before=prepared).credential["Secret"] == "at hand"


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    """A trace may be missing."""
    assert calls._internal(ValueError(CANARY)).message == "internal error: ValueError"


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "Python's"])
def test_an_interrupt_ends_the_call_at_once_unless_it_is_ignored(handler: signal.Handlers) -> None:
    """As the caller wants it: a shell has what runs in its background ignore the key."""
    reading, writing = os.pipe()
    call = Running(Slow(), ("get",), reading, lambda: signal.signal(signal.SIGINT, handler))
    os.close(reading)
    os.write(writing, b"ghcr.io")
    until(lambda: fcntl.ioctl(writing, termios.FIONREAD, bytes(4)) == bytes(4))  # it has read, and waits for more
    os.kill(call.pid, signal.SIGINT)
    os.close(writing)
    assert call.result().code == (0 if handler == signal.SIG_IGN else -signal.SIGINT)


def raise_on_interrupts() -> None:
    """As a library may have it that sets Python's own handler again."""
    calls.__dict__["_end_by_interrupts"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)


def test_an_interrupt_is_no_defect() -> None:
    """The key that stops docker stops the helper too."""
    reading, writing = os.pipe()
    call = Running(Fake(), ("get",), reading, raise_on_interrupts)
    os.close(reading)
    os.write(writing, b"ghcr.io")
    until(lambda: fcntl.ioctl(writing, termios.FIONREAD, bytes(4)) == bytes(4))  # it has read, and waits for more
    os.kill(call.pid, signal.SIGINT)
    assert call.result() == Result(1, b"interrupted\n", b"docker-credential-fake: interrupted [interrupted]\n")
    os.close(writing)


def test_what_was_deleted_is_told() -> None:
    """On success, in a line of its own with the program's name; if it fails the failure is the line."""

    class Deleting(Fake):
        error: HelperError | None = None

        def erase(self, authority: Authority) -> None:
            notes.tell("deleted it; `bring it back` brings it back")
            if self.error:
                raise self.error

    line = f"{NAME}: deleted it; `bring it back` brings it back\n".encode()
    assert run(Deleting(), "erase", stdin=b"ghcr.io") == Result(0, b"", line)
    helper = Deleting()
    helper.error = Unavailable("a-code", "it broke", "mend it")
    assert run(helper, "erase", stdin=b"ghcr.io").err == b"docker-credential-fake: it broke; mend it [a-code]\n"


@pytest.mark.parametrize("is_loud", [True, False])
def test_who_debugs_hears_that_a_registry_is_nobodys(*, is_loud: bool) -> None:
    """For anybody else that is no news: most hosts are."""

    class Foreign(Fake):
        def ready(self, authority: Authority) -> Credential | None:
            raise NotMine

    def debug() -> None:
        if is_loud:
            posix.environ[b"CREDHELPERS_DEBUG"] = b"1"

    done = run(Foreign(), "get", stdin=b"ghcr.io", before=debug)
    assert done.out == NOT_FOUND
    assert (b"debug: no entry of config.toml has this registry" in done.err) == is_loud
    assert is_loud or not done.err


def test_notes_go_to_standard_error_when_asked_for_only() -> None:
    """An operator sees them as lines of their own, whatever the outcome."""

    def work() -> None:
        notes.take("the cache\nis not here")
        notes.take("z" * 300)

    def debug() -> None:
        posix.environ[b"CREDHELPERS_DEBUG"] = b"1"

    expected = b"debug: the cache?is not here\ndebug: " + b"z" * 193 + b"\n"
    assert run(Slow(work), "get", stdin=b"ghcr.io").err == b""
    done = run(Slow(work), "get", stdin=b"ghcr.io", before=debug)
    assert (done.code, done.err) == (0, expected)
    done = run(Slow(lambda: boom(work() or NotFound())), "get", stdin=b"ghcr.io", before=debug)  # type: ignore[func-returns-value] # it takes notes first
    assert (done.code, done.out, done.err) == (1, NOT_FOUND, expected)


# --- the clock -------------------------------------------------------------------------------------------------------


def retry_everything() -> None:
    """A library that takes every exception for a hiccup of the network."""
    while True:
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001 - this is what libraries do
            continue


def swallow_everything() -> None:
    """A worse library."""
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001 - as above
            continue


def hang_without_signals() -> None:
    """What a resolver does inside C: the handler of the signal never gets its turn."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)


def hold_a_child() -> None:
    """A program that does not end."""
    subprocess.run(["/bin/sleep", "3"], check=True)


@pytest.mark.parametrize(
    ("work", "latest"),
    [
        pytest.param(lambda: time.sleep(60), 2.0, id="waiting"),
        pytest.param(retry_everything, 2.0, id="a library that retries"),
        pytest.param(swallow_everything, 2.5, id="a library that swallows all"),
        pytest.param(hang_without_signals, 2.5, id="hanging in C"),
        pytest.param(hold_a_child, 2.0, id="waiting for a child"),
        pytest.param(lambda: threading.Event().wait(), 2.0, id="a lock"),
    ],
)
@pytest.mark.parametrize("verb", ["get", "erase", "list"])
def test_p38_every_call_ends_in_time_with_one_line(verb: str, work: Callable[[], object], latest: float) -> None:
    """The clock is ours, whatever a library does (a tenth of the true times)."""

    class Stuck(Fake):
        def get(self, authority: Authority) -> Credential:
            work()
            raise AssertionError

        def erase(self, authority: Authority) -> None:
            work()

        def list(self) -> dict[str, str]:
            work()
            raise AssertionError

    call = Running(Stuck(), (verb,), b"ghcr.io", hurry)
    done = call.result()
    assert call.took < patience(latest)
    if verb == "list":  # names what it can, and nothing else
        assert done == Result(0, b"{}\n", b"")
        return
    assert (done.code, done.out) == (1, OVERDUE)
    hint = "a network, a keyring or a disk keeps it waiting: try `docker-credential-NAME get` with CREDHELPERS_DEBUG=1"
    assert done.err == told(f"{hint} [time-over]", OVERDUE)


def test_the_watch_answers_with_the_last_resort_too() -> None:
    """A library that hangs in C does not cost an answer that was at hand."""
    call = Running(Quick(hard=-1, work=hang_without_signals), ("get",), b"ghcr.io", hurry)
    assert call.result().credential["Secret"] == "at hand"


def _fall_together(helper: Fake, count: int) -> int:
    """How many of so many calls answer, whose alarm falls when the answer is due; the others say that it is late."""
    answer = (0, b'{"ServerURL":"ghcr.io","Username":"user","Secret":"at hand"}\n')
    answered = 0
    delay = 0.001
    for _ in range(count):

        def before(delay: float = delay) -> None:
            sys.settrace(None)  # coverage's own code must not be cut off
            calls._INTERRUPT = delay

        done = run(helper, "get", stdin=b"ghcr.io", before=before)
        assert (done.code, done.out) in ((1, OVERDUE), (1, ENDLESS), answer)
        delay *= 0.9 if done.code == 0 else 1.12  # stays where either may be first
        answered += done.code == 0
    assert 0 < answered < count
    return answered


_OF_TWO_SPEEDS = pytest.mark.parametrize("helper", [Slow(secret="at hand"), Quick()], ids=["slow", "at hand"])


@pytest.mark.slow
@_OF_TWO_SPEEDS
def test_the_word_is_taken_once_wherever_the_alarm_falls_sample(helper: Fake) -> None:
    """The outcome is an answer with 0 or a line with 1, never both, never neither, when both are due together."""
    _fall_together(helper, 60)


@pytest.mark.long
@pytest.mark.timeout(3600)
@_OF_TWO_SPEEDS
def test_the_word_is_taken_once_wherever_the_alarm_falls_whole(helper: Fake, proof: Callable[[str, str], None]) -> None:
    """The same two thousand times."""
    answered = _fall_together(helper, 2000)
    proof(
        f"protocol: an answer or a line, when both are due together ({type(helper).__name__})",
        f"2000 calls: {answered} answers, {2000 - answered} lines, 0 else",
    )


def test_an_alarm_while_a_failure_is_told_is_a_failure_told() -> None:
    """The clock may cut into the line of another failure: there is a line all the same, and no traceback."""

    class Late(calls.Call):
        def _fail(self, error: HelperError) -> int:
            if isinstance(error, NotFound):
                raise DeadlinePassed
            return super()._fail(error)

    assert run(Fake(), "get", stdin=b"ghcr.io", before=lambda: setattr(calls, "Call", Late)).out == OVERDUE


# --- output ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("helper", [pytest.param(Quick(secret="s" * 9000), id="at hand"), Slow(secret="s" * 9000)])
def test_a_client_that_never_reads_holds_nobody_for_ever(helper: Fake) -> None:
    """A pipe may be a page long where a user has many; who never empties it has no answer, and no process either."""

    def before() -> None:
        hurry()
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 4096)

    call = Running(helper, ("get",), b"ghcr.io", before)
    assert call.wait() == 1
    assert call.took < patience(3)
    assert os.read(call.out, 1 << 16) == b'{"ServerURL":"ghcr.io","Username":"user","Secret":"' + b"s" * (4096 - 51)
    call.close()


def test_an_interrupt_in_the_middle_of_an_answer_adds_no_line() -> None:
    """What is out of an answer is followed by an exit code that says so, and by nothing else."""

    def before() -> None:
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 4096)
        raise_on_interrupts()

    call = Running(Quick(secret="s" * 9000), ("get",), b"ghcr.io", before)
    until(lambda: fcntl.ioctl(call.out, termios.FIONREAD, bytes(4)) == (4096).to_bytes(4, sys.byteorder))
    os.kill(call.pid, signal.SIGINT)
    assert call.wait() == 1
    out = os.read(call.out, 1 << 16)
    assert (len(out), out[-9:], os.read(call.out, 1), os.read(call.err, 1)) == (4096, b"sssssssss", b"", b"")
    call.close()


@pytest.mark.parametrize("is_blocking", [True, False])
@pytest.mark.parametrize("helper", [pytest.param(Quick(secret="s" * 9000), id="at hand"), Slow(secret="s" * 9000)])
def test_a_slow_reader_gets_everything(helper: Fake, is_blocking: bool) -> None:  # noqa: FBT001 - a table
    """Part by part through a pipe of one page, and where the descriptor is set not to wait."""

    def before() -> None:
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(1, is_blocking)

    call = Running(helper, ("get",), b"ghcr.io", before)
    until(lambda: fcntl.ioctl(call.out, termios.FIONREAD, bytes(4)) == (4096).to_bytes(4, sys.byteorder))
    time.sleep(0.1)  # for the next part, which finds the pipe full
    assert call.result().credential["Secret"] == "s" * 9000


@pytest.mark.parametrize(
    ("numbers", "verb", "code"),
    [
        pytest.param((0,), "get", 1, id="get without input"),
        pytest.param((0,), "list", 0, id="list without input"),
        pytest.param((1,), "get", 1, id="get without output"),
        pytest.param((2,), "get", 0, id="get without error output"),
        pytest.param((0, 1, 2), "get", 1, id="get without anything"),
        pytest.param((0, 1, 2), "list", 1, id="list without anything"),
    ],
)
@pytest.mark.parametrize("helper", [Slow(), Quick()], ids=["slow", "at hand"])
def test_closed_streams(helper: Fake, numbers: tuple[int, ...], verb: str, code: int) -> None:
    """A stream that the caller closed is empty or takes nothing; no other file gets its number."""

    def before() -> None:
        for number in numbers:
            os.close(number)

    done = run(helper, verb, stdin=b"ghcr.io", before=before)
    assert done.code == code
    assert done.err == b""
    if 1 in numbers:
        assert done.out == b""
    elif numbers == (0,):
        assert done.out == (b"{}\n" if verb == "list" else b"no credentials server URL\n")


def test_fa10_an_answer_into_a_full_device_is_a_failure() -> None:
    """Nobody takes half an answer for a whole one."""

    def before() -> None:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    for helper in (Slow(), Quick()):
        assert run(helper, "get", stdin=b"ghcr.io", before=before) == Result(1, b"", b"")


def test_fa10_an_answer_to_nobody_is_a_quiet_failure() -> None:
    """A client that hung up is met with an exit code, not with a signal or a traceback."""
    for helper in (Slow(), Quick(), Fake()):
        call = Running(helper, ("get",), b"ghcr.io", lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN))
        os.close(call.out)
        call.out = os.open("/dev/null", os.O_RDONLY)
        done = call.result()
        assert done.code in (0, 1)  # 0 where it was faster than the test
        assert done.err == b""


# --- noise -----------------------------------------------------------------------------------------------------------


def shout() -> None:
    """Every way to make noise."""
    print("noise")  # noqa: T201 - what is tested
    print("noise", file=sys.stderr)  # noqa: T201 - as above
    os.write(1, b"noise")
    os.write(2, b"noise")
    sys.stdout.flush()
    subprocess.run("echo noise; echo noise >&2", shell=True, check=True)


def leave_a_child() -> None:
    """A daemon, as of a session bus or an agent, that lives on and would hold the client's pipes."""
    subprocess.Popen(["/bin/sleep", "2"])


def swap_stdin() -> None:
    """A child that reads must not get the client's input."""
    assert os.read(0, 1) == b""
    assert subprocess.run(["/bin/cat"], capture_output=True, check=True).stdout == b""


def raise_in_a_thread() -> None:
    """A thread with a defect, and one that does not end."""
    thread = threading.Thread(target=lambda: boom(ValueError(CANARY)))
    thread.start()
    thread.join()
    threading.Thread(target=time.sleep, args=(60,)).start()


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(shout, id="prints"),
        pytest.param(swap_stdin, id="a child that reads"),
        pytest.param(leave_a_child, id="a child left behind"),
        pytest.param(raise_in_a_thread, id="threads left behind"),
        pytest.param(lambda: os.chdir("/proc"), id="another directory"),
        pytest.param(lambda: os.closerange(0, 3), id="closes the standard streams"),
        pytest.param(lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN), id="takes the alarm"),
        pytest.param(lambda: setattr(sys, "stdout", None), id="takes sys.stdout"),
    ],
)
def test_a_library_cannot_spoil_the_answer(work: Callable[[], object]) -> None:
    """The answer is the only thing in both streams, and the client has it at once."""
    call = Running(Slow(work), ("get",), b"ghcr.io")
    done = call.result()
    assert done == Result(0, b'{"ServerURL":"ghcr.io","Username":"user","Secret":"secret"}\n', b"")
    assert call.took < patience(1.5)


def test_the_slow_way_leaves_no_core() -> None:
    """The kernel is told not to let others of this user look into the process."""

    def look() -> None:
        import ctypes

        dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
        boom(Unavailable("a-code", str(dumpable)))

    assert run(Slow(look), "get", stdin=b"ghcr.io").out == b"0\n"


def test_few_descriptors_are_enough() -> None:
    """A caller's tight limit is no reason for a traceback."""

    def before() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))

    assert run(Slow(), "get", stdin=b"ghcr.io", before=before).credential


# --- the words it is made of -----------------------------------------------------------------------------------------


def test_the_texts_of_the_wire() -> None:
    """Clients compare them byte for byte."""
    assert NotFound().message == "credentials not found in native keychain"
    assert MissingServer().message == "no credentials server URL"
    assert MissingUsername().message == "no credentials username"
    assert str(Unavailable("a-code", "why", "what to do")) == "why"
    assert not issubclass(DeadlinePassed, Exception)


def test_a_credential_cannot_be_printed_or_pickled() -> None:
    """Not by repr, str, format, in a container or in an exception's arguments."""
    import pickle

    credential = Credential("user", CANARY)
    assert CANARY not in f"{credential!r} {credential!s} {credential} {[credential]} {ValueError(credential)!r}"
    assert not hasattr(credential, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(credential)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXT, TEXT)
def test_p09_a_credential_is_the_same_after_the_wire(username: str, secret: str) -> None:
    """Whatever it holds, the answer is one line of ASCII, and both parts come back from it and from a cache."""
    credential = Credential(username, secret)
    answer = credential.answer("ghcr.io")
    assert answer.isascii()
    assert answer.count(b"\n") == 1
    assert json.loads(answer) == {"ServerURL": "ghcr.io", "Username": username, "Secret": secret}
    again = Credential.sealed(credential.tail(), soft=1, hard=2, expires=3)
    assert again.expose() == (username, secret)
    assert again.username == username
    assert (again.soft, again.hard, again.expires) == (1, 2, 3)
    assert again.is_empty() == (secret == "")


@given(TEXT, TEXT)
def test_p09_store_reads_what_the_answer_says(username: str, secret: str) -> None:
    """The document of `store` and the answer of `get` are one form."""
    from credhelpers.protocols.document import read

    credential = Credential(username, secret)
    if not username:
        with pytest.raises(MissingUsername):
            read(credential.answer("ghcr.io"))
        return
    authority, again = read(credential.answer("ghcr.io"))
    assert (authority.sent, *again.expose()) == ("ghcr.io", username, secret)


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b',"Username":"u","Secret":"s"}', id="no end of line"),
        pytest.param(b'{"Username":"u","Secret":"s"}\n', id="another beginning"),
        pytest.param(b',"Username":"\xc3\xa4","Secret":"s"}\n', id="no ASCII"),
    ],
)
def test_bytes_that_no_credential_gave_are_not_sealed(tail: bytes) -> None:
    """A file of somebody else is not answered."""
    with pytest.raises(ValueError, match="not a sealed credential"):
        Credential.sealed(tail)


@given(st.binary(max_size=80))
def test_pi8_any_bytes_are_a_server_or_one_of_two_errors(raw: bytes) -> None:
    """What is let through is what came, without the blanks around it, and needs no escape in JSON."""
    try:
        server = servers.read(raw).sent
    except (MissingServer, Refused):
        return
    assert server.encode() == raw.strip(b" \t\r\n")
    assert json.dumps(server) == f'"{server}"'


def test_every_row_of_the_page_is_a_test_of_the_contract() -> None:
    """The page tells what is tested, and of P1 to P39 only the row of Windows is not."""
    from tests import contract

    kinds = (contract.HelperContract, contract.StoreContract, contract.SourceContract)
    tested = {int(row) for kind in kinds for name in vars(kind) for row in re.findall(r"_p(\d\d)(?=_)", name)}
    page = Path(__file__).parent.parent / "docs/protocol.md"
    told = {
        int(row)
        for line in re.findall(r"^\| (P\d.*?) \|", page.read_text(), re.MULTILINE)
        for row in line[1:].split(", P")
    }
    assert told == set(range(1, 40))
    assert tested == told - {37}
