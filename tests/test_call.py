"""`call` serves any protocol: here one that reads and writes JSON, as kubelet's and Bazel's helpers do, in a few lines.

What a call does under docker's protocol is in test_protocol.py; that another one gets the same is tested here.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from credhelpers import call as calls
from credhelpers.credential import Credential
from credhelpers.errors import HelperError, NotFound, Refused, Unavailable
from tests.harness import Result, patience
from tests.running import Running, boom, hurry, nothing
from tests.test_protocol import shout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # as in test_protocol

NAME = "credhelpers-toy"


class Toy:
    """The other protocol: `{"image": …}` in, `{"auth": [user, secret], "seconds": …}` out."""

    def __init__(
        self,
        work: Callable[[], object] = nothing,
        *,
        hand: Credential | None = None,
        refresh: Callable[[], None] = nothing,
    ) -> None:
        self.work = work
        self.hand = hand
        self.refresh = refresh

    def answer(self, call: calls.Call) -> bytes:
        """See `call.serve`."""
        content = call.read(f"{call.name} <REQUEST", f"{call.name} <REQUEST")
        try:
            image = json.loads(content)["image"]
        except (ValueError, KeyError, TypeError):
            raise Refused("a-code", "the input is no request") from None
        now = time.time()
        if self.hand and now < self.hand.hard:
            call.renewal = self.refresh if now >= self.hand.soft else None
            return self._told(self.hand)
        if self.hand:
            call.last_resort = self._told(self.hand)
        call.slow_down()
        self.work()
        if not image.startswith("registry.example/"):
            raise NotFound
        return self._told(Credential("user", "secret"))

    @staticmethod
    def _told(credential: Credential) -> bytes:
        return json.dumps({"auth": credential.expose(), "seconds": 60}).encode() + b"\n"


def run(
    toy: Toy, stdin: bytes | int = b'{"image": "registry.example/app"}', before: Callable[[], object] = nothing
) -> Running:
    return Running(lambda: calls.serve(toy.answer), (NAME,), stdin, before)


def told(secret: str) -> Result:
    return Result(0, b'{"auth": ["user", "%b"], "seconds": 60}\n' % secret.encode(), b"")


def said(cause: str, code: str) -> Result:
    return Result(1, f"{cause}\n".encode(), f"{NAME}: {cause} [{code}]\n".encode())


def at_hand(soft: float, hard: float) -> Credential:
    return Credential("user", "at hand", soft=time.time() + soft, hard=time.time() + hard)


@pytest.mark.parametrize(
    ("stdin", "result"),
    [
        pytest.param(b'{"image": "registry.example/app"}', told("secret"), id="found"),
        pytest.param(b'{"image": "ghcr.io/app"}', Result(1, f"{NotFound()}\n".encode(), b""), id="not found"),
        pytest.param(b"{", said("the input is no request", "a-code"), id="refused"),
        pytest.param(
            b"A" * ((1 << 20) + 1), said("the input is longer than 1048576 bytes", "input-too-long"), id="too long"
        ),
    ],
)
def test_streams(stdin: bytes, result: Result) -> None:
    """One answer in its own form, or one line."""
    assert run(Toy(), stdin).result() == result


def test_silence() -> None:
    """What a library prints is in neither stream."""
    assert run(Toy(shout)).result() == told("secret")


def test_the_deadline() -> None:
    """A library that hangs ends with a line."""
    call = run(Toy(lambda: time.sleep(60)), before=hurry)
    done = call.result()
    assert (done.code, done.out) == (1, b"no answer within the time limit\n")
    assert call.took < patience(2)


def test_an_input_that_never_ends() -> None:
    """Is told in the protocol's own words."""
    import os

    reading, writing = os.pipe()
    done = run(Toy(), reading, hurry).result()
    for end in (reading, writing):
        os.close(end)
    why = "standard input did not end within the time limit"
    told = f"{NAME}: {why}; close it, as in `{NAME} <REQUEST` [input-endless]\n"
    assert done == Result(1, f"{why}\n".encode(), told.encode())


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda: boom(Unavailable("a-code", "away", "wait")), id="unavailable"),
        pytest.param(lambda: boom(ValueError()), id="a defect"),
        pytest.param(lambda: time.sleep(5), id="too slow"),
    ],
)
def test_the_last_resort(work: Callable[[], object]) -> None:
    """A token that is still good answers where no new one comes."""
    assert run(Toy(work, hand=at_hand(-2, -1)), before=hurry).result() == told("at hand")


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        pytest.param(NAME, "", id="none"),
        pytest.param(f"{NAME}@prod", "prod", id="a name"),
        pytest.param(f"/usr/bin/{NAME}@prod", "prod", id="a path"),
        pytest.param(f"{NAME}@", "@", id="an empty one, which nothing can be called"),
        pytest.param(f"{NAME}@a@b", "a@b", id="two"),
    ],
)
def test_the_name_chooses_an_identity(name: str, identity: str) -> None:
    """Whatever stands behind the first `@`; who knows what may be called so says the rest."""

    def answer(call: calls.Call) -> bytes:
        import os

        return f"{call.name} {os.environb.get(b'CREDHELPERS_IDENTITY', b'').decode()}".encode()

    def serve() -> None:
        import os

        os.environ.pop("CREDHELPERS_IDENTITY", None)
        calls.serve(answer)

    assert Running(serve, (name,)).result() == Result(0, f"{NAME} {identity}".encode(), b"")


@pytest.mark.parametrize("said", ["", "/home/someone"])
def test_an_empty_home_is_none(said: str) -> None:
    """Else the libraries that ask for it would read what lies in the root directory."""

    def serve() -> None:
        import os

        os.environ["HOME"] = said
        calls.serve(lambda _: repr(os.environb.get(b"HOME")).encode())

    assert Running(serve, (NAME,)).result() == Result(0, repr(said.encode() or None).encode(), b"")


def test_a_failure_is_a_line_and_a_hint() -> None:
    """And a defect is told without its text."""
    assert run(Toy(lambda: boom(Unavailable("a-code", "away", "wait")))).result() == Result(
        1, b"away\n", f"{NAME}: away; wait [a-code]\n".encode()
    )
    assert run(Toy(lambda: boom(ValueError("canary")))).result().out.startswith(b"internal error: ValueError in ")


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        pytest.param(Unavailable("a-code", "c" * 500, "h" * 100), 400, id="cause"),
        pytest.param(Unavailable("a-code", "c" * 500, "h" * 500), 400, id="both"),
        pytest.param(Unavailable("a-code", "\u00e4" * 500), 400, id="no ASCII"),
        pytest.param(NotFound("a-code", "c" * 500), 200, id="nothing found"),
    ],
)
def test_what_is_too_long_is_cut_but_for_the_code(error: HelperError, limit: int) -> None:
    """The cause before the hint, and the name of an executable as far as one says anything."""
    toy = Toy(lambda: boom(error))
    done = Running(lambda: calls.serve(toy.answer), ("n" * 255,), b'{"image": "x"}', nothing).result()
    assert len(done.err) == limit
    assert done.err.startswith(b"n" * 64 + b": ")
    assert done.err.endswith(b" [a-code]\n")
    assert done.err.count(b"\n") == 1
    if len(error.hint) == 100:
        assert b"; " + b"h" * 100 + b" [" in done.err


def test_nothing_found_is_told_where_somebody_would_wonder() -> None:
    """The sentence of the wire stays what it is."""
    done = run(Toy(lambda: boom(NotFound("a-code", "there is no secret at a/path")))).result()
    assert done == Result(1, f"{NotFound()}\n".encode(), f"{NAME}: there is no secret at a/path [a-code]\n".encode())


def test_a_renewal_behind_the_answer(tmp_path: Path) -> None:
    """In a process of its own, after the client has its answer."""
    toy = Toy(
        lambda: boom(HelperError("a-code", "never asked")), hand=at_hand(-1, 60), refresh=(tmp_path / "renewed").touch
    )
    assert run(toy).result() == told("at hand")
    end = time.monotonic() + 10
    while not (tmp_path / "renewed").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
