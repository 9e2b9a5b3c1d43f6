"""A cloud that exists only here: its source, and as a script its helper, `docker-credential-fake`.

Registries are `NAME.SCOPE.fake.example`; one token opens all of a scope. What it does is in the environment:
`FAKE_IDENTITY` selects who mints, `FAKE_LOG` is a file that gets a line per mint, `FAKE_SECONDS` is how long a mint
takes, `FAKE_OUTCOME` (`token`, `unavailable`, `not-found`) what comes of it, and `FAKE_LIFE` the seconds to soft, hard
and end of a token.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from credhelpers.cached_token import host_key
from credhelpers.credential import Credential
from credhelpers.errors import NotFound, NotMine, Unavailable
from credhelpers.identity import fingerprint
from credhelpers.plan import Route
from credhelpers.recorder import Recorder
from credhelpers.servers import Authority, cloud_host
from credhelpers.stores.note import path_of

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A wall clock that stands still until a test moves it."""

    def __init__(self, now: float = 2_000_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeMinter:
    """One token, made by the source."""

    token_key: str
    mint: Callable[..., Credential]


def owned(authority: Authority, _environ: object, source: str) -> Route:
    """A route for what is in no plan, since only tests have it. Raises NotMine."""
    if not cloud_host(authority).endswith(".fake.example"):
        raise NotMine
    return Route(authority, source)


def copy(host: str, environ: dict[bytes, bytes]) -> tuple[str, str]:
    """Key and receipt of the copy for a host."""
    authority = Authority(host)
    recorder = Recorder(environ)
    for name in (b"CREDHELPERS_CONFIG", b"XDG_CONFIG_HOME", b"HOME", b"CREDHELPERS_IDENTITY", b"FAKE_IDENTITY"):
        recorder.variable(name)
    if note := path_of(authority, recorder.environ):
        recorder.file(note)
    return host_key(authority, environ), recorder.text()


class FakeSource:
    """A source that counts its mints."""

    kind = "fake"
    manual = "A registry of the tests.\n"
    uncached = b"FAKE_UNCACHED"

    def __init__(self, environ: dict[bytes, bytes]) -> None:
        self.environ = environ
        self.minted = 0

    def record(self, _route: Route, recorder: Recorder) -> None:
        recorder.variable(b"FAKE_IDENTITY")

    def minter(self, route: Route) -> FakeMinter:
        host = route.authority.host
        scope = host.split(".")[1]
        return FakeMinter(
            fingerprint("fake token " + scope, self.environ, (b"FAKE_IDENTITY",)),
            lambda old=None: self.mint(host, old),
        )

    def mint(self, server: str, old: Credential | None = None) -> Credential:
        self.minted += 1
        number = f"{os.getpid()}-{self.minted}"
        if log := self.environ.get(b"FAKE_LOG"):
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(descriptor, number.encode() + b"\n")
            os.close(descriptor)
        time.sleep(float(self.environ.get(b"FAKE_SECONDS", b"0")))
        outcome = self.environ.get(b"FAKE_OUTCOME", b"token")
        if outcome == b"unavailable":
            raise Unavailable("a-code", "the fake cloud is down", "wait for better weather")
        if outcome == b"not-found":
            raise NotFound
        now = time.time()
        soft, hard, end = map(float, self.environ.get(b"FAKE_LIFE", b"3600 7200 9000").split())
        identity = self.environ.get(b"FAKE_IDENTITY", b"nobody").decode()
        return Credential(identity, f"token-{number}", soft=now + soft, hard=now + hard, expires=now + end)


if __name__ == "__main__":
    import posix

    from credhelpers.minted import Minted
    from credhelpers.protocols.docker import serve

    sys.argv[0] = "docker-credential-fake"
    serve(Minted(FakeSource(posix.environ), route=owned))
