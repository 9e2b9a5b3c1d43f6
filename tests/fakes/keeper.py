"""A place that exists only here where teams keep credentials, and as a script its helper, `docker-credential-fake`.

Registries are `NAME.SCOPE.fake.example` and Docker Hub; one password is kept for all of a scope, in the file `SCOPE`
of the directory `FAKE_KEPT`. `FAKE_SECONDS` is how long what was read or written is under way, `FAKE_LIFE` the seconds
to soft, hard and end of an answer.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from credhelpers.credential import Credential
from credhelpers.errors import NotFound, NotMine
from credhelpers.identity import fingerprint
from credhelpers.plan import Route
from credhelpers.servers import cloud_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.recorder import Recorder
    from credhelpers.servers import Authority


def owned(authority: Authority, _environ: object, source: str) -> Route:
    """A route for what is in no plan, since only tests have it. Raises NotMine."""
    if cloud_host(authority) != "index.docker.io" and not authority.host.endswith(".fake.example"):
        raise NotMine
    return Route(authority, source)


class FakeKeeper:
    """A source that keeps; `meanwhile` is called while an answer is under way."""

    kind = "fake"
    manual = "A registry of the tests.\n"
    uncached = b""

    def __init__(self, environ: dict[bytes, bytes]) -> None:
        self.environ = environ
        self.folder = Path(os.fsdecode(environ[b"FAKE_KEPT"]))
        self.time: Callable[[], float] = time.time
        self.meanwhile: Callable[[], None] = lambda: time.sleep(float(environ.get(b"FAKE_SECONDS", b"0")))
        self.olds: list[Credential | None] = []

    def record(self, _route: Route, _recorder: Recorder) -> None:
        """Nothing selects an identity."""

    def minter(self, route: Route) -> FakeKeeping:
        return FakeKeeping(self, route.authority.host.split(".")[1])

    def list(self) -> dict[str, str]:
        return {f"a.{path.name}.fake.example": "user" for path in self.folder.iterdir()}


class FakeKeeping:
    """What is kept for one scope."""

    def __init__(self, keeper: FakeKeeper, scope: str) -> None:
        self.keeper = keeper
        self.path = keeper.folder / scope
        self.token_key = fingerprint("fake token " + scope, {}, ())

    def mint(self, old: Credential | None = None) -> Credential:
        self.keeper.olds.append(old)
        try:
            secret = self.path.read_text()
        except FileNotFoundError:
            self.keeper.meanwhile()
            raise NotFound from None
        self.keeper.meanwhile()
        soft, hard, end = map(float, self.keeper.environ.get(b"FAKE_LIFE", b"3600 7200 9000").split())
        now = self.keeper.time()
        return Credential("user", secret, soft=now + soft, hard=now + hard, expires=now + end, memo=f"of {secret}")

    def store(self, credential: Credential) -> bool:
        beside = self.keeper.folder / f".{os.getpid()}"
        beside.write_text(credential.expose()[1])
        beside.replace(self.path)
        self.keeper.meanwhile()
        return True

    def erase(self, old: Credential | None) -> None:
        self.keeper.olds.append(old)
        self.path.unlink(missing_ok=True)
        self.keeper.meanwhile()


if __name__ == "__main__":
    import posix

    from credhelpers.protocols.docker import serve
    from credhelpers.writable import Writable

    sys.argv[0] = "docker-credential-fake"
    serve(Writable(FakeKeeper(posix.environ), route=owned))
