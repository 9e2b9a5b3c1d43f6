"""docker-credential-auto: who is asked for which registry, and what is kept where."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import cached_token, plan
from credhelpers.cache import TokenCache
from credhelpers.cached_token import Failure
from credhelpers.credential import Credential
from credhelpers.errors import NoIdentity, NotFound, Unavailable, Unsupported
from credhelpers.minted import Minted
from credhelpers.router import Router
from credhelpers.servers import Authority
from credhelpers.stores.keyring import Keyring
from tests.harness import NOT_FOUND, Result, document, environment, loaded_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder

KINDS = ("acr", "ecr", "gcr", "vault")
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
PLAIN = "registry.acme.example"
CATCH_ALL = {b"DOCKER_CREDENTIAL_VAULT_KV_PATH": b"kv/registries"}


class Cloud:
    """What stands in the place of all sources: each mints a token of its own, or fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.took = 0.0

    def source(self, word: str, environ: dict[bytes, bytes]) -> Source:
        return Kept(self, word, environ) if word == "vault" else Source(self, word, environ)


class Source:
    """A source."""

    def __init__(self, cloud: Cloud, kind: str, environ: dict[bytes, bytes]) -> None:
        self.cloud, self.kind, self._environ = cloud, kind, environ
        self.manual = ""
        self.uncached = b"NO_CACHE_OF_" + kind.encode()

    def record(self, route: Route, recorder: Recorder) -> None:
        recorder.variable(b"WHO")

    def minter(self, route: Route) -> Minter:
        return Minter(self.cloud, f"{self.kind} {route.settings.get('profile', '')}".strip(), self._environ)


class Kept(Source):
    """One that keeps."""

    kept: dict[str, Credential]

    def list(self) -> dict[str, str]:
        raise AssertionError("a network is asked")


class Minter:
    def __init__(self, cloud: Cloud, name: str, environ: dict[bytes, bytes]) -> None:
        self.cloud, self.name = cloud, name
        self.token_key = hashlib.sha256(repr((name, environ.get(b"WHO"))).encode()).hexdigest()[:40]

    def mint(self, old: Credential | None = None) -> Credential:
        self.cloud.asked.append(self.name)
        time.sleep(self.cloud.took)
        if self.cloud.failure:
            raise self.cloud.failure
        now = time.time()
        return Credential("token", self.name, soft=now + 100, hard=now + 200, expires=now + 9000)

    def store(self, credential: Credential) -> None:
        if self.cloud.failure:
            raise self.cloud.failure
        self.cloud.asked.append(f"store {credential.username}")

    def erase(self, old: Credential | None) -> None:
        if self.cloud.failure:
            raise self.cloud.failure
        self.cloud.asked.append("erase")


@pytest.fixture
def environ(home: Path) -> dict[bytes, bytes]:
    return {b"HOME": os.fsencode(home), b"CREDHELPERS_KEYRING": b"embedded"}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    cloud = Cloud()
    monkeypatch.setattr("credhelpers.installed.source", cloud.source)
    return cloud


@pytest.fixture
def router(environ: dict[bytes, bytes], cloud: Cloud) -> Router:
    return Router(*KINDS, environ=environ)


def configure(environ: dict[bytes, bytes], text: str) -> None:
    file = Path(os.fsdecode(environ[b"HOME"]), ".config/credhelpers/config.toml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def secret(found: Credential | None) -> str:
    assert found
    return found.expose()[1]


# --- who is asked -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "owner"),
    [
        (ECR, "ecr"),
        ("public.ecr.aws", "ecr"),
        ("eu.gcr.io", "gcr"),
        ("https://europe-docker.pkg.dev/v2/", "gcr"),
        ("contoso.azurecr.io", "acr"),
        (f"{ECR}:443", "ecr"),
    ],
)
def test_a_rule_has_its_hosts(server: str, owner: str, router: Router, cloud: Cloud) -> None:
    """Without a line of configuration."""
    assert router.ready(Authority(server)) is None
    assert secret(router.get(Authority(server))) == owner
    assert cloud.asked == [owner]
    assert secret(router.ready(Authority(server))) == owner


@pytest.mark.parametrize(
    "server",
    [
        *("ghcr.io", "docker.io", PLAIN, f"{ECR}.evil.example", f"{ECR}:8443", f"http://{ECR}", "gcr.io.evil.example"),
        *("azurecr.io", "localhost:5000", "https://index.docker.io/v1/access-token", f"user@{ECR}"),
    ],
)
def test_what_nobody_owns_is_the_keyrings(server: str, router: Router, cloud: Cloud) -> None:
    """A look-alike of a cloud's host is nobody's, and no cloud hears of it."""
    authority = Authority(server)
    assert router.ready(authority) is None
    with pytest.raises(NotFound) as caught:
        router.get(authority)
    assert not caught.value.code, "nobody wonders"
    router.store(authority, Credential("someone", "typed"))
    assert secret(router.get(authority)) == "typed"
    assert router.list() == {server: "someone"}
    router.erase(authority)
    with pytest.raises(NotFound):
        router.get(authority)
    assert cloud.asked == []


def test_an_entry_comes_before_a_rule(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Of any source; the first one in the file."""
    first = f'[[registry]]\nmatch = "{ECR}"\nsource = "acr"\n'
    configure(environ, first + f'[[registry]]\nmatch = "{ECR}"\nsource = "ecr"\nprofile = "prod"\n')

    assert secret(router.get(Authority(ECR))) == "acr"
    assert cloud.asked == ["acr"]


def test_a_copy_of_a_restricted_helper_is_not_its_own(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """docker-credential-ecr sees its own entries only: what it was answered is another identity's here."""
    first = f'[[registry]]\nmatch = "{ECR}"\nsource = "acr"\n'
    configure(environ, first + f'[[registry]]\nmatch = "{ECR}"\nsource = "ecr"\nprofile = "prod"\n')
    restricted = Minted(cloud.source("ecr", environ), environ)
    assert secret(restricted.get(Authority(ECR))) == "ecr prod"

    assert router.ready(Authority(ECR)) is None
    assert secret(router.get(Authority(ECR))) == "acr"
    assert secret(restricted.ready(Authority(ECR))) == "ecr prod"


def test_a_token_is_shared_with_a_restricted_helper(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """It is of the same identity, so nobody mints twice."""
    Minted(cloud.source("ecr", environ), environ).get(Authority(ECR))
    router.get(Authority(ECR))
    assert cloud.asked == ["ecr"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda environ: environ.update({b"WHO": b"another"}), id="identity"),
        pytest.param(
            lambda environ: configure(environ, f'[[registry]]\nmatch = "{ECR}"\nsource = "ecr"\nprofile = "prod"\n'),
            id="settings",
        ),
        pytest.param(
            lambda environ: configure(environ, f'[[registry]]\nmatch = "{ECR}"\nsource = "gcr"\n'), id="owner"
        ),
        pytest.param(lambda environ: environ.update({b"NO_CACHE_OF_ecr": b"1"}), id="cache switched off"),
        pytest.param(lambda environ: environ.update({b"CREDHELPERS_CACHE_DIR": b""}), id="no cache"),
        pytest.param(lambda environ: environ.update({b"CREDHELPERS_IDENTITY": b"known"}), id="chosen by name"),
    ],
)
def test_what_decides_who_mints_makes_a_miss(
    change: Callable[[dict[bytes, bytes]], None], router: Router, environ: dict[bytes, bytes]
) -> None:
    """A hit asks nobody who owns the host, so the receipt has to."""
    configure(environ, '[[registry]]\nmatch = "x.azurecr.io"\nsource = "acr"\nidentity = "known"\n')
    router.get(Authority(ECR))
    assert router.ready(Authority(ECR))
    change(environ)
    assert Router(*KINDS, environ=environ).ready(Authority(ECR)) is None


def test_a_hit_asks_nobody_who_owns_the_host(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs what a hit of a restricted helper costs."""
    router.get(Authority(ECR))
    monkeypatch.setattr("credhelpers.plan.route", lambda *_: pytest.fail("asked"))
    assert router.ready(Authority(ECR))


def test_a_miss_asks_once_who_owns_the_host(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    """And loads a source no earlier than it mints."""
    asked = []
    true = plan.route

    def route(authority: Authority, environ: dict[bytes, bytes], kind: str = "") -> Route:
        asked.append(kind)
        return true(authority, environ, kind)

    monkeypatch.setattr("credhelpers.plan.route", route)
    asking = Authority(ECR)
    assert router.ready(asking) is None
    router.get(asking)
    assert asked == [""]


# --- a source for any registry ----------------------------------------------------------------------------------------


def test_vault_for_any_registry_comes_before_the_keyring(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """And behind the sources whose hosts they are."""
    Router(*KINDS, environ=environ).store(Authority(PLAIN), Credential("someone", "typed"))
    environ |= CATCH_ALL

    assert secret(router.get(Authority(PLAIN))) == "vault"
    assert secret(router.get(Authority(ECR))) == "ecr"
    assert cloud.asked == ["vault", "ecr"]


def test_where_vault_has_nothing_the_keyring_is_asked(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """What was typed before stays reachable."""
    Router(*KINDS, environ=environ).store(Authority(PLAIN), Credential("someone", "typed"))
    environ |= CATCH_ALL
    cloud.failure = NotFound("vault-nothing", "nothing is there")

    assert secret(router.get(Authority(PLAIN))) == "typed"
    assert secret(Router(*KINDS, environ=environ).get(Authority(PLAIN))) == "typed", "remembered as not found"
    with pytest.raises(NotFound):
        router.get(Authority("ghcr.io"))


def test_a_broken_vault_is_no_absence(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Nobody knows whether it has the registry; docker must not go on without a password."""
    environ |= CATCH_ALL
    cloud.failure = Unavailable("vault-sealed", "Vault is sealed")
    with pytest.raises(Unavailable, match="sealed"):
        router.get(Authority(PLAIN))


def test_a_login_goes_to_vault_where_that_keeps(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Else to the keyring, as where it may only be read."""
    environ |= CATCH_ALL
    router.store(Authority(PLAIN), Credential("someone", "typed"))
    assert cloud.asked == ["store someone"]

    cloud.failure = Unsupported("vault-read-only", "Vault is read only")
    router.store(Authority(PLAIN), Credential("another", "typed"))
    assert Keyring(environ).list() == {PLAIN: "another"}


def test_a_logout_asks_all_links(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """One that fails keeps none of the others from it."""
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    environ |= CATCH_ALL
    cloud.failure = Unavailable("vault-sealed", "Vault is sealed")
    with pytest.raises(Unavailable, match="sealed"):
        router.erase(Authority(PLAIN))
    assert Keyring(environ).list() == {}


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_is_remembered(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """As by a restricted helper."""
    cloud.failure, cloud.took = Unavailable("ecr-late", "too late"), 0.5
    with pytest.raises(Unavailable, match="too late"):
        router.get(Authority(ECR))
    with pytest.raises(Unavailable, match="too late") as caught:
        Router(*KINDS, environ=environ).ready(Authority(ECR))
    assert caught.value.remembered > 0
    assert cloud.asked == ["ecr"]


def test_who_has_the_host_is_told(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """At the failure, and where that is remembered."""
    cloud.failure, cloud.took = NoIdentity("ecr-no-identity", "nobody is there"), 0.5
    for ask in (router.get, Router(*KINDS, environ=environ).ready):
        with pytest.raises(NoIdentity) as caught:
            ask(Authority(ECR))
        assert caught.value.hint == "a built-in rule of ecr has this host"


def test_a_remembered_failure_whose_owner_is_gone(
    router: Router, environ: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt ends it, whatever lies in the cache."""
    folder = cached_token.directory(environ)
    key = cached_token.host_key(Authority(PLAIN), environ, b"auto")
    failure = Failure(NotFound("x", "y"), time.time(), 5.0, "00", PLAIN)
    TokenCache("ecr", folder, environ).save_failure(key, failure, is_copy=True)
    with pytest.raises(NotFound):
        router.ready(Authority(PLAIN))


def test_a_broken_configuration_fails(router: Router, environ: dict[bytes, bytes]) -> None:
    """For whatever host, and says so before anything slow is loaded."""
    configure(environ, "[[registry\n")
    for server in (ECR, PLAIN):
        with pytest.raises(Unavailable, match="TOML"):
            router.ready(Authority(server))
    assert router.list() == {}


# --- list, renewal ----------------------------------------------------------------------------------------------------


def test_the_list_has_what_is_answered_now(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Cached tokens of its own, and what was typed; nobody is asked for it, Vault neither."""
    assert router.list() == {}
    router.get(Authority(ECR))
    router.store(Authority(PLAIN), Credential("someone", "typed"))
    asked = list(cloud.asked)
    assert router.list() == {ECR: "token", PLAIN: "someone"}
    environ[b"WHO"] = b"another"
    assert router.list() == {PLAIN: "someone"}
    assert cloud.asked == asked


def test_a_renewal_is_of_who_owns_the_host(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process behind an answer mints for whoever owns it then."""
    router.get(Authority(ECR))
    now = time.time() + 150
    for module in ("cached_token", "cache", "minting"):
        monkeypatch.setattr(f"credhelpers.{module}.time", lambda: now)
    router.refresh(Authority(ECR))
    assert cloud.asked == ["ecr", "ecr"]


def test_a_password_beside_a_source(router: Router, cloud: Cloud) -> None:
    """An admin user of a registry of Azure, say: answered until the logout, and no cloud is asked."""
    asking = Authority("contoso.azurecr.io")
    router.store(asking, Credential("admin", "typed"))
    assert secret(router.get(asking)) == "typed"
    assert router.list() == {"contoso.azurecr.io": "admin"}
    router.erase(asking)
    assert secret(router.get(asking)) == "acr"
    assert cloud.asked == ["acr"]


# --- the executable ---------------------------------------------------------------------------------------------------


def test_it_is_a_store_for_everything(home: Path) -> None:
    """One line of config.json: what docker types is kept, and a public image is pulled anonymously."""
    env = environment(home, CREDHELPERS_KEYRING="embedded")
    assert loaded_call("auto", "get", "https://index.docker.io/v1/", env) == Result(1, NOT_FOUND, b"")
    typed = document("https://index.docker.io/v1/", "someone", "made-up")
    assert loaded_call("auto", "store", typed, env) == Result(0, b"", b"")
    assert loaded_call("auto", "get", "docker.io", env).credential["Secret"] == "made-up"
    assert loaded_call("auto", "list", b"", env).listing == {"https://index.docker.io/v1/": "someone"}


def test_the_manual_names_every_source(home: Path) -> None:
    """And who is asked first."""
    shown = loaded_call("auto", "--help", b"", environment(home)).out.decode()
    assert Router().manual in shown
    assert all(word in shown for word in (*KINDS, "keyring", "config.toml"))
    assert all(len(line) <= 80 for line in shown.splitlines())
