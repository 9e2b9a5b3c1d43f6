"""docker itself: a real engine, a real registry, the real clients, and the helpers as installed."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.auth
import docker.credentials
import docker.errors
import pytest

from tests.fakes.aws import FakeAws
from tests.fakes.expiring import ExpiringRegistry
from tests.fakes.tls import Response, Site
from tests.harness import BIN, Result, call, environment, need
from tests.services import PATH, Engine, Registry, Session, layer, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

HOST = "registry.example:5000"
IMAGE = f"{HOST}/team/app:1"
PASSWORD = "made-up pass'word\"\\"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
ECR_IMAGE = f"{ECR}/app:1"
ECR_PASSWORD = "made-up-ecr-password"
LOOKALIKE = f"{ECR}.attacker.example"
ENTRY = {"ServerURL": HOST, "Username": "alice", "Secret": PASSWORD}
NO_LOGIN = "no basic auth credentials"  # docker's words

# The preinstalled client and Debian's older one, where both are there.
_PATHS = [Path(folder, "docker") for folder in PATH.split(":")]
CLIENTS = list(dict.fromkeys(str(path.resolve()) for path in _PATHS if path.exists()))


@pytest.fixture(scope="module")
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    """Amazon, and the proxy that leads to everything else in this module too."""
    with FakeAws(authority) as aws:
        yield aws


@pytest.fixture(scope="module")
def engine(authority: CertificateAuthority, aws: FakeAws) -> Iterator[Engine]:
    """The engine that all tests here share; each leaves it without images."""
    with Engine(aws.proxy.url, authority) as engine:
        yield engine


@pytest.fixture(scope="module")
def registry(authority: CertificateAuthority, aws: FakeAws) -> Iterator[Registry]:
    """A registry whose one user is alice."""
    with Registry(authority, HOST.partition(":")[0], user="alice", password=PASSWORD) as registry:
        aws.routes[HOST.partition(":")[0]] = registry.port
        yield registry


@pytest.fixture(scope="module")
def ecr(authority: CertificateAuthority, aws: FakeAws) -> Iterator[Registry]:
    """A registry under Amazon's name that knows the tokens of `aws`."""
    with Registry(authority, ECR, user="AWS", password=ECR_PASSWORD) as registry:
        aws.routes[ECR] = registry.port
        yield registry


class User:
    """Somebody with a docker client, a configuration that names a helper, and an empty home."""

    def __init__(self, client: str, engine: Engine, home: Path, config: dict[str, Any], **env: str) -> None:
        self.home = home
        self.folder = home / "docker"
        self.folder.mkdir()
        self._config = self.folder / "config.json"
        self._config.write_text(json.dumps(config))
        self._client = client
        self.before: list[str] = []
        self.env = environment(home, DOCKER_CONFIG=str(self.folder), DOCKER_HOST=engine.host) | env

    def runs(self, *names: str) -> bool:
        """Whether a process of this user runs one of the executables; those that have ended do not count."""
        paths = {os.fsencode(BIN / name) for name in names}
        home = b"HOME=%b" % os.fsencode(self.home)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if paths & set(words) and home in (process / "environ").read_bytes().split(b"\0"):
                    return True
            except OSError:
                continue  # it has ended meanwhile
        return False

    @property
    def config(self) -> Any:
        """docker's configuration as it is now."""
        return json.loads(self._config.read_text())

    def run(self, *arguments: str, stdin: bytes = b"", **env: str) -> tuple[int, str]:
        """The exit code of docker with these arguments, and all that it says."""
        done = subprocess.run(
            [*self.before, self._client, *arguments],
            input=stdin,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout.decode()

    def do(self, *arguments: str, stdin: bytes = b"", **env: str) -> str:
        """What docker says with these arguments, which it must accept."""
        code, said = self.run(*arguments, stdin=stdin, **env)
        assert code == 0, said
        return said

    def fail(self, *arguments: str, stdin: bytes = b"") -> str:
        """What docker says with these arguments, which it must refuse."""
        code, said = self.run(*arguments, stdin=stdin)
        assert code != 0, said
        return said

    def login(self, password: str = PASSWORD) -> str:
        """Log alice in, as one does in scripts."""
        return self.do("login", "--username", "alice", "--password-stdin", HOST, stdin=password.encode())

    def helper(self, name: str, verb: str, stdin: str = "") -> Result:
        """Ask the helper as this user."""
        return call(name, verb, stdin, self.env)


@pytest.fixture(params=CLIENTS or ["docker"])
def client(request: pytest.FixtureRequest) -> str:
    """Each docker client of this machine."""
    return need(request.param, "docker.io")


@pytest.fixture(params=["gnome-keyring", "embedded"])
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What a machine has to keep passwords in: a session with a keyring, or no session at all."""
    if request.param == "embedded":
        yield {}
        return
    with Session() as session:
        yield session.env


@pytest.fixture
def user(client: str, engine: Engine, registry: Registry, home: Path, store: dict[str, str]) -> Iterator[User]:
    """A user of the keyring helper who has just made the image `IMAGE`."""
    user = User(client, engine, home, {"credsStore": "keyring"}, **store)
    user.do("import", "-", IMAGE, stdin=layer())
    yield user
    user.run("rmi", "--force", IMAGE, "built")


@pytest.fixture
def puller(client: str, engine: Engine, ecr: Registry, aws: FakeAws, home: Path) -> Iterator[User]:
    """A user of the ECR helper, with an AWS key."""
    aws.delay, aws.password, aws.mints = 0, ECR_PASSWORD, 0
    aws.requests.clear()
    puller = User(client, engine, home, {"credHelpers": {ECR: "ecr", LOOKALIKE: "ecr"}}, **aws.environment())
    puller.do("import", "-", ECR_IMAGE, stdin=layer())
    yield puller
    puller.run("rmi", "--force", ECR_IMAGE)


def test_login_push_pull_logout(user: User) -> None:
    """The main job: what is pushed after a login can be pulled, and after the logout nothing is left."""
    assert "Login Succeeded" in user.login()
    assert user.config["auths"] == {HOST: {}}
    assert user.helper("keyring", "list").listing == {HOST: "alice"}
    assert user.helper("keyring", "get", HOST).credential == {
        "ServerURL": HOST,
        "Username": "alice",
        "Secret": PASSWORD,
    }

    user.do("push", IMAGE)
    user.do("rmi", IMAGE)
    user.do("pull", IMAGE)
    assert user.do("images", "--quiet", IMAGE)

    user.do("logout", HOST)
    assert user.config.get("auths", {}) == {}
    assert user.helper("keyring", "list").listing == {}
    user.do("rmi", IMAGE)
    assert NO_LOGIN in user.fail("pull", IMAGE)


def test_a_password_is_in_no_file(user: User, store: dict[str, str]) -> None:
    """Neither config.json nor any other file that a login leaves behind holds the password, plain or encoded."""
    user.login()
    folders = [user.home]
    if store:
        folders.append(Path(store["DBUS_SESSION_BUS_ADDRESS"].removeprefix("unix:path=")).parent)
    texts = [PASSWORD, f"alice:{PASSWORD}", json.dumps(PASSWORD)[1:-1]]
    forms = [text.encode() for text in texts] + [base64.b64encode(text.encode()) for text in texts]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert user.folder / "config.json" in files
    assert [path for path in files if any(form in path.read_bytes() for form in forms)] == []


def test_a_wrong_password_is_refused_and_not_kept(user: User) -> None:
    """A login with a wrong password fails in docker's own words and leaves nothing behind."""
    said = user.fail("login", "--username", "alice", "--password-stdin", HOST, stdin=b"wrong")
    assert "401 Unauthorized" in said or "unauthorized" in said, said
    assert "auths" not in user.config
    assert user.helper("keyring", "list").listing == {}
    assert NO_LOGIN in user.fail("push", IMAGE)


def test_a_wrong_password_does_not_cost_the_right_one(user: User) -> None:
    """A failed login leaves the earlier login as it was."""
    user.login()
    user.fail("login", "--username", "alice", "--password-stdin", HOST, stdin=b"wrong")
    user.do("push", IMAGE)


def test_a_locked_keyring_keeps_nothing(client: str, engine: Engine, registry: Registry, home: Path) -> None:
    """A login that cannot be kept fails with the reason, and the password is kept nowhere else instead."""
    with Session() as session:
        user = User(client, engine, home, {"credsStore": "keyring"}, **session.env)
        session.lock()
        said = user.fail("login", "--username", "alice", "--password-stdin", HOST, stdin=PASSWORD.encode())
    assert "error storing credentials" in said
    assert "locked" in said
    assert user.config.get("auths", {}) == {}
    del user.env["DBUS_SESSION_BUS_ADDRESS"]
    assert user.helper("keyring", "list").listing == {}


def test_a_second_login_needs_no_password(user: User) -> None:
    """`docker login HOST` alone takes what is stored, and stores it again."""
    user.login()
    assert "Login Succeeded" in user.do("login", HOST)
    assert user.helper("keyring", "list").listing == {HOST: "alice"}


def test_a_removed_entry_is_a_missing_login(user: User) -> None:
    """After an `erase` behind docker's back a pull says what it says to somebody who never logged in."""
    user.login()
    user.do("push", IMAGE)
    user.do("rmi", IMAGE)
    assert user.helper("keyring", "erase", HOST) == Result(0, b"", b"")
    assert NO_LOGIN in user.fail("pull", IMAGE)
    user.login()
    user.do("pull", IMAGE)


def test_a_build_from_a_private_image(user: User) -> None:
    """The classic builder lists the store, gets every entry, and pulls the base image with the right one."""
    user.login()
    user.do("push", IMAGE)
    user.do("rmi", IMAGE)
    assert user.helper("keyring", "erase", "other.example").code == 0
    context = user.home / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY Dockerfile /\n")
    user.do("build", "--tag", "built", str(context), DOCKER_BUILDKIT="0")


@pytest.fixture
def python(user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.APIClient]:
    """docker-py in the place of the user's client."""
    monkeypatch.setenv("PATH", f"{BIN}:{PATH}")
    client = docker.APIClient(base_url=user.env["DOCKER_HOST"], credstore_env=user.env)
    client.reload_config(str(user.folder / "config.json"))
    yield client
    client.close()


@pytest.mark.parametrize("client", CLIENTS[:1] or ["docker"], indirect=True)
def test_docker_py_pushes_and_pulls(user: User, python: docker.APIClient) -> None:
    """docker-py uses what docker's login has stored."""
    user.login()
    name, _, tag = IMAGE.rpartition(":")
    assert "error" not in python.push(name, tag)
    python.remove_image(IMAGE)
    python.pull(name, tag)
    assert python.images(name, quiet=True)

    user.do("logout", HOST)
    python.remove_image(IMAGE)
    with pytest.raises(docker.errors.APIError, match=NO_LOGIN):
        python.pull(name, tag)


@pytest.mark.parametrize("client", CLIENTS[:1] or ["docker"], indirect=True)
def test_docker_py_keeps_and_forgets(user: User, python: docker.APIClient) -> None:
    """docker-py's own store class stores, gets, lists and erases, and docker sees what it stored."""
    store = docker.credentials.Store("keyring", environment=user.env)
    store.store(HOST, "alice", PASSWORD)
    assert store.get(HOST) == ENTRY
    assert store.list() == {HOST: "alice"}
    assert docker.auth.resolve_authconfig(python._auth_configs, HOST) == {
        "ServerAddress": HOST,
        "Username": "alice",
        "Password": PASSWORD,
    }
    user.do("push", IMAGE)
    store.erase(HOST)
    with pytest.raises(docker.credentials.errors.CredentialsNotFound):
        store.get(HOST)
    assert store.list() == {}


def test_an_image_of_ecr(puller: User, aws: FakeAws) -> None:
    """Push and pulls from Amazon's host name work with an AWS key alone, and cost one token."""
    puller.do("push", ECR_IMAGE)
    for _ in range(3):
        puller.do("rmi", ECR_IMAGE)
        puller.do("pull", ECR_IMAGE)
    assert puller.do("images", "--quiet", ECR_IMAGE)
    assert aws.mints == 1
    assert puller.helper("ecr", "list").listing == {ECR: "AWS"}


def test_login_and_logout_at_ecr(puller: User, aws: FakeAws) -> None:
    """Scripts that still pipe a token into `docker login` go on working: it is answered until its end or a logout."""
    said = puller.do("login", "--username", "AWS", "--password-stdin", ECR, stdin=ECR_PASSWORD.encode())
    assert "Login Succeeded" in said
    assert aws.mints == 0
    puller.do("push", ECR_IMAGE)
    assert aws.mints == 0
    puller.do("logout", ECR)
    assert puller.helper("ecr", "list").listing == {}
    puller.do("push", ECR_IMAGE)
    assert aws.mints == 1


def test_docker_shows_what_mends_it(puller: User, aws: FakeAws) -> None:
    """Where AWS refuses, the pull fails and docker passes the helper's hint on, the one thing that it shows of it."""
    puller.env["AWS_SECRET_ACCESS_KEY"] = "another"
    said = puller.fail("pull", ECR_IMAGE)
    told = puller.helper("ecr", "get", ECR)
    assert told.told
    assert re.sub(" remembered for [0-9]+ s;", "", told.err.decode()) in said
    assert aws.mints == 0


def test_a_registry_that_looks_like_ecr_gets_nothing(
    puller: User, aws: FakeAws, authority: CertificateAuthority
) -> None:
    """A stranger's registry whose name begins like Amazon's is asked without a credential, and no token is minted."""
    challenge = {"Www-Authenticate": 'Basic realm="Amazon"'}
    with Site(lambda _: Response(401, b"", challenge), authority.context(LOOKALIKE)) as stranger:
        aws.routes[LOOKALIKE] = stranger.port
        assert NO_LOGIN in puller.fail("pull", f"{LOOKALIKE}/app:1")
        assert stranger.requests
        assert [request.headers for request in stranger.requests if "authorization" in request.headers] == []
    assert aws.requests == []


@pytest.fixture
def strict(puller: User, authority: CertificateAuthority, aws: FakeAws, ecr: Registry) -> Iterator[ExpiringRegistry]:
    """The registry with the image, where from now on each token is another one and is refused once it has expired."""
    puller.do("push", ECR_IMAGE)
    assert puller.helper("ecr", "erase", ECR).code == 0
    aws.password, aws.mints = None, 0
    with ExpiringRegistry(authority, ECR, aws, ecr.port, f"AWS:{ECR_PASSWORD}") as strict:
        aws.routes[ECR] = strict.port
        yield strict
        aws.routes[ECR] = ecr.port


class Later:
    """Moves the clock of Amazon and of the user's helpers, which obey `faketime`; docker, being Go, does not."""

    def __init__(self, user: User, aws: FakeAws) -> None:
        self._faketime = need("faketime", "faketime")
        self._user = user
        self._aws = aws
        user.env["NO_FAKE_STAT"] = "1"  # the times of files stay true: they are compared with nothing but themselves

    def by(self, hours: float) -> None:
        """Let this much time pass, once nothing that was started before is under way."""
        until(lambda: not self._user.runs("docker-credential-ecr"), "the renewal in the background")
        self._aws.ahead += hours * 3600
        self._user.before = [self._faketime, "-m", "-f", f"{self._aws.ahead:+.0f}s"]


@pytest.fixture
def later(puller: User, aws: FakeAws) -> Iterator[Later]:
    """The clock of `puller` and of Amazon."""
    yield Later(puller, aws)
    aws.ahead = 0


def test_tokens_expire_in_a_run_of_pulls(puller: User, aws: FakeAws, strict: ExpiringRegistry, later: Later) -> None:
    """Pulls of a day, one each ninety minutes, all succeed and cost a token for each half of a life.

    A token lives for 12 hours and is renewed by the first pull after 5.4 to 6.6 of them: the fourth or the fifth. So
    the sixteen pulls cost four, and one more after a night.
    """
    for pull in range(16):
        if pull:
            later.by(hours=1.5)
        puller.do("rmi", ECR_IMAGE)
        puller.do("pull", ECR_IMAGE)
    later.by(hours=0)
    assert aws.mints == 4

    later.by(hours=13)
    puller.do("pull", ECR_IMAGE)
    assert aws.mints == 5
    assert strict.late == 0


def test_a_pull_does_not_wait_for_the_renewal(
    puller: User, aws: FakeAws, strict: ExpiringRegistry, later: Later
) -> None:
    """An ageing token is used at once, while a process that the client does not wait for gets the next one."""
    puller.do("rmi", ECR_IMAGE)
    puller.do("pull", ECR_IMAGE)
    puller.do("rmi", ECR_IMAGE)
    later.by(hours=7)
    aws.delay = 3.5
    puller.do("pull", ECR_IMAGE)
    assert aws.mints == 1  # a client that waited for the renewal would have waited for the second token
    until(lambda: aws.mints == 2, "the second token")
    later.by(hours=0)
    puller.do("rmi", ECR_IMAGE)
    puller.do("pull", ECR_IMAGE)
    assert aws.mints == 2
    assert list(dict.fromkeys(strict.used)) == ["made-up-password-1", "made-up-password-2"]
