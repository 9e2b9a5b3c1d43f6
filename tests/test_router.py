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
from tests.services import until

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
        self.keeps = True
        self.lives = (100.0, 200.0, 9000.0)

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
        said = route.settings.get("profile", "") or route.settings.get("role_arn", "")
        return Minter(self.cloud, f"{self.kind} {said}".strip(), self._environ)


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
        soft, hard, expires = (now + life for life in self.cloud.lives)
        return Credential("token", self.name, soft=soft, hard=hard, expires=expires)

    def store(self, credential: Credential) -> bool:
        if self.cloud.failure:
            raise self.cloud.failure
        self.cloud.asked.append(f"store {credential.username}")
        return self.cloud.keeps

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


# --- chains -----------------------------------------------------------------------------------------------------------


def chain(environ: dict[bytes, bytes], source: str, more: str = "", match: str = PLAIN) -> None:
    configure(environ, f'[[registry]]\nmatch = "{match}"\nsource = {source}\n{more}')


def helper_of_others(environ: dict[bytes, bytes], lines: str) -> Path:
    folder = Path(os.fsdecode(environ[b"HOME"]), "bin")
    folder.mkdir(exist_ok=True)
    path = folder / "docker-credential-other"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    environ[b"PATH"] = bytes(folder) + b":/usr/bin:/bin"
    return path


OTHER = """echo '{"Username":"someone","Secret":"of-another"}'"""
ROLE = "arn:aws:iam::111122223333:role/puller"
PATH = 'path = "kv/registries/{host}"\n'


def test_the_next_link_is_asked_where_there_is_nothing(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """And the first again at the next time: it may have something by then."""
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    chain(environ, '["vault", "keyring"]', PATH)
    cloud.failure = NotFound("vault-nothing", "nothing is there")
    assert secret(router.get(Authority(PLAIN))) == "typed"
    cloud.failure = None
    # What was not found is remembered for a while.
    until(lambda: secret(Router(*KINDS, environ=environ).get(Authority(PLAIN))) == "vault", "the first link")


def test_a_token_of_a_later_link_is_no_hit(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Else what was kept in the first link meanwhile would wait until the token ends. It is minted once."""
    chain(environ, '["keyring", "ecr"]', match=ECR)
    assert secret(router.get(Authority(ECR))) == "ecr"
    again = Router(*KINDS, environ=environ)
    assert again.ready(Authority(ECR)) is None
    assert secret(again.get(Authority(ECR))) == "ecr"
    assert cloud.asked == ["ecr"]
    again.store(Authority(ECR), Credential("someone", "typed"))
    assert secret(Router(*KINDS, environ=environ).get(Authority(ECR))) == "typed"


@pytest.mark.parametrize("on_error", ["", 'on_error = "stop"\n'])
def test_a_broken_link_ends_a_chain(on_error: str, router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Nobody knows what it has."""
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    chain(environ, '["vault", "keyring"]', PATH + on_error)
    cloud.failure = Unavailable("vault-sealed", "Vault is sealed")
    with pytest.raises(Unavailable, match="sealed"):
        router.get(Authority(PLAIN))


def test_a_chain_may_go_on(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """With `next`; what failed is said if nobody has anything."""
    chain(environ, '["vault", "keyring"]', PATH + 'on_error = "next"\n')
    cloud.failure = Unavailable("vault-sealed", "Vault is sealed")
    with pytest.raises(Unavailable, match="sealed"):
        router.get(Authority(PLAIN))
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    assert secret(router.get(Authority(PLAIN))) == "typed"


def test_a_client_may_go_on(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """With `anonymous`, which whoever speaks the protocol is told."""
    chain(environ, '"vault"', PATH + 'on_error = "anonymous"\n')
    assert router.waives(Authority(PLAIN))
    assert not router.waives(Authority("ghcr.io"))
    configure(environ, "[[registry\n")
    assert not Router(*KINDS, environ=environ).waives(Authority(PLAIN))


def test_a_restricted_helper_sees_its_link_wherever_it_stands(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """With its own keys, and no other link."""
    chain(environ, '["vault", "ecr"]', PATH + f'role_arn = "{ROLE}"\n', match=ECR)
    assert secret(Minted(cloud.source("ecr", environ), environ).get(Authority(ECR))) == f"ecr {ROLE}"
    assert secret(router.get(Authority(ECR))) == "vault"
    assert cloud.asked == [f"ecr {ROLE}", "vault"]


@pytest.mark.parametrize(
    ("source", "kept"),
    [('["vault", "keyring"]', "vault"), ('["keyring", "vault"]', "keyring"), ('["helper:other", "vault"]', "other")],
)
def test_a_login_is_kept_by_the_first_link(
    source: str, kept: str, router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """And forgotten by all."""
    helper_of_others(environ, "cat >$HOME/$1")
    chain(environ, source, PATH)
    router.store(Authority(PLAIN), Credential("someone", "typed"))
    assert cloud.asked == (["store someone"] if kept == "vault" else [])
    assert Keyring(environ).list() == ({PLAIN: "someone"} if kept == "keyring" else {})
    assert Path(os.fsdecode(environ[b"HOME"]), "store").exists() == (kept == "other")
    router.erase(Authority(PLAIN))
    assert Keyring(environ).list() == {}
    assert cloud.asked[-1:] == ["erase"]


def test_a_login_goes_on_to_who_keeps(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """One that may only be read keeps nothing."""
    chain(environ, '["vault", "keyring"]', PATH)
    cloud.failure = Unsupported("vault-read-only", "Vault is read only")
    router.store(Authority(PLAIN), Credential("someone", "typed"))
    assert Keyring(environ).list() == {PLAIN: "someone"}


def test_a_helper_of_others_is_asked_in_its_turn(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """By its name, or by its path."""
    path = helper_of_others(environ, OTHER)
    for source in ('["keyring", "helper:other"]', f'"helper:{path}"'):
        chain(environ, source)
        assert secret(Router(*KINDS, environ=environ).get(Authority(PLAIN))) == "of-another"
    assert Router(*KINDS, environ=environ).ready(Authority(PLAIN)) is None
    Router(*KINDS, environ=environ).refresh(Authority(PLAIN))
    assert Router(*KINDS, environ=environ).list() == {}, "nobody else's list is asked for"


def test_a_helper_of_others_that_fails(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """It is passed over; what it was is said where an entry names it, and is no evidence for what nobody owns."""
    helper_of_others(environ, "echo out of order; exit 1")
    chain(environ, '["helper:other", "keyring"]', '[default]\nsource = ["helper:other", "keyring"]\n')
    with pytest.raises(Unavailable) as caught:
        router.get(Authority(PLAIN))
    assert caught.value.code == "helper-failed"
    with pytest.raises(NotFound):
        router.get(Authority("ghcr.io"))
    for server in (PLAIN, "ghcr.io"):
        Keyring(environ).store(Authority(server), Credential("someone", "typed"))
        assert secret(router.get(Authority(server))) == "typed"


def test_a_store_from_before_stays_reachable(router: Router, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Behind the keyring, for whatever nobody owns; a cloud's own registries are the cloud's."""
    helper_of_others(environ, OTHER)
    configure(environ, '[default]\nsource = ["keyring", "helper:other"]\n')
    assert secret(router.get(Authority("ghcr.io"))) == "of-another"
    assert secret(router.get(Authority(ECR))) == "ecr"
    router.store(Authority("ghcr.io"), Credential("someone", "typed"))
    assert secret(Router(*KINDS, environ=environ).get(Authority("ghcr.io"))) == "typed"


def test_vault_for_any_registry_counts_before_the_default(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """And the keyring is behind it."""
    configure(environ, '[default]\nsource = "keyring"\n')
    environ |= CATCH_ALL
    assert secret(router.get(Authority("ghcr.io"))) == "vault"


def test_what_the_default_says_counts_where_an_entry_says_nothing(
    router: Router, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """Its chain, and what is done on errors."""
    default = '[default]\nsource = ["vault", "keyring"]\non_error = "next"\n'
    entry = f'[[registry]]\nmatch = "{PLAIN}"\n{PATH}'
    configure(environ, default + entry + f'[[registry]]\nmatch = "a.example"\n{PATH}on_error = "stop"\n')
    for server in (PLAIN, "a.example"):
        Keyring(environ).store(Authority(server), Credential("someone", "typed"))
    cloud.failure = Unavailable("vault-sealed", "Vault is sealed")
    assert secret(router.get(Authority(PLAIN))) == "typed"
    with pytest.raises(Unavailable, match="sealed"):
        router.get(Authority("a.example"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[registry]]\nmatch = "a.example"\nsource = []\n', "line 3: `source` is neither a text nor a list"),
        ('[[registry]]\nmatch = "a.example"\nsource = 1\n', "line 3: `source` is neither"),
        ('[[registry]]\nmatch = "a.example"\nsource = [["vault"]]\n', "line 3: `source` is neither"),
        (
            '[[registry]]\nmatch = "a.example"\nsource = ["keyring", "keyring"]\n',
            "line 3: `source` names one helper twice",
        ),
        ('[[registry]]\nmatch = "a.example"\nsource = "helper:"\n', "line 3: what is behind `helper:`"),
        ('[[registry]]\nmatch = "a.example"\nsource = "helper:-x"\n', "line 3: what is behind `helper:`"),
        ('[[registry]]\nmatch = "a.example"\nsource = "helper:a/b"\n', "line 3: what is behind `helper:`"),
        ('[[registry]]\nmatch = "a.example"\nsource = "helper:../x"\n', "line 3: what is behind `helper:`"),
        ('[[registry]]\nmatch = "a.example"\nsource = "helper:/a/../x"\n', "line 3: what is behind `helper:`"),
        ('[[registry]]\nmatch = "a.example"\nsource = "helper:/a//x"\n', "line 3: what is behind `helper:`"),
        ('[[registry]]\nmatch = "a.example"\nsource = "helper:/a b;c"\n', ""),
        ('[[registry]]\nmatch = "a.example"\nsource = ["vault", "keyrin"]\n', "line 3: unknown source `keyrin`"),
        (
            f'[[registry]]\nmatch = "a.example"\nsource = {[f"helper:x{n}" for n in range(9)]}\n',
            "line 3: `source` is neither",
        ),
        ('[default]\nsource = "none"\n', "line 1: unknown source `none`"),
        ('[default]\non_eror = "next"\n', "line 1: unknown key `on_eror`"),
        ('[default]\nsource = "keyring"\non_error = "perhaps"\n', "unknown on_error `perhaps`"),
        ("default = 1\n", "line 1: `default` is not a table"),
        ('[[registry]]\nmatch = "a.example"\nsource = ["vault", "ecr"]\nprofil = "x"\n', "unknown key `profil`"),
        ('[[registry]]\nmatch = "a.example:5000"\nsource = ["keyring", "ecr"]\n', "line 2: `match` has a port"),
        ('[[registry]]\nmatch = "a.example:5000"\nsource = "keyring"\n', ""),
    ],
)
def test_a_chain_that_cannot_be_read(text: str, words: str, router: Router, environ: dict[bytes, bytes]) -> None:
    """Is said with its line."""
    configure(environ, text)
    with pytest.raises((Unavailable, NotFound)) as caught:
        router.get(Authority("a.example:5000" if ":5000" in text else "a.example"))
    found = str(caught.value) + "; " + getattr(caught.value, "hint", "")
    assert words in found, found
    assert bool(words) == isinstance(caught.value, Unavailable) or caught.value.code.startswith("helper-"), found


# --- what fresh eyes have found ---------------------------------------------------------------------------------------


def asked(environ: dict[bytes, bytes], server: str) -> str:
    """What the protocol answers: `ready` is asked first, as in every call."""
    router, authority = Router(*KINDS, environ=environ), Authority(server)
    return secret(router.ready(authority) or router.get(authority))


@pytest.mark.parametrize("failure", [NotFound("x", "y"), NoIdentity("x", "y"), Unavailable("x", "y")])
def test_a_remembered_failure_of_a_link_ends_no_chain(
    failure: Exception, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """docker asks several times for one pull."""
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    chain(environ, '["vault", "keyring"]', PATH + 'on_error = "next"\n')
    cloud.failure, cloud.took = failure, 0.5
    assert [asked(environ, PLAIN) for _ in range(3)] == ["typed"] * 3
    assert cloud.asked == ["vault"], "it is remembered all the same"


def test_a_remembered_failure_of_vault_for_any_registry_ends_nothing(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """As above, by a variable."""
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    environ |= CATCH_ALL
    cloud.failure, cloud.took = NotFound("x", "y"), 0.5
    assert [asked(environ, PLAIN) for _ in range(3)] == ["typed"] * 3


@pytest.mark.parametrize("username", ["AWS", "oauth2accesstoken"])
def test_a_token_goes_into_no_store(username: str, environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Whatever stands first: it ends, and a store would answer it for ever."""
    chain(environ, '["keyring", "ecr"]', match=ECR)
    Router(*KINDS, environ=environ).store(Authority(ECR), Credential(username, "piped"))
    assert Keyring(environ).list() == {}
    assert asked(environ, ECR) == "piped"
    assert cloud.asked == []
    Keyring(environ).store(Authority(ECR), Credential(username, "of long ago"))
    assert asked(environ, ECR) == "piped"


def test_what_was_answered_goes_into_no_store(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """A login without a password brings back what it was answered."""
    chain(environ, '["keyring", "ecr"]', match=ECR)
    router = Router(*KINDS, environ=environ)
    found = router.get(Authority(ECR))
    router.store(Authority(ECR), found)
    assert Keyring(environ).list() == {}


@pytest.mark.parametrize("is_denied", [False, True], ids=["out of order", "denied"])
def test_a_token_in_hand_comes_before_another_s_password(
    environ: dict[bytes, bytes], cloud: Cloud, *, is_denied: bool
) -> None:
    """An outage changes nobody's identity while the token lives."""
    Keyring(environ).store(Authority(ECR), Credential("old", "stale"))
    cloud.lives = (0.0, 0.0, 9000.0)
    chain(environ, '["ecr", "keyring"]', 'on_error = "next"\n', match=ECR)
    assert secret(Router(*KINDS, environ=environ).get(Authority(ECR))) == "ecr"
    cloud.failure = failure = Unavailable("x", "y")
    failure.is_denial = is_denied  # what was taken away does not stand in
    assert secret(Router(*KINDS, environ=environ).get(Authority(ECR))) == ("stale" if is_denied else "ecr")


def test_a_link_behind_has_its_last_resort_and_is_renewed(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """As where it stands alone."""
    chain(environ, '["keyring", "ecr"]', match=ECR)
    cloud.lives = (0.0, 100.0, 9000.0)
    for count in (1, 2):
        assert secret(Router(*KINDS, environ=environ).get(Authority(ECR))) == "ecr"
        assert cloud.asked == ["ecr"] * count
    cloud.failure = Unavailable("x", "y")
    assert secret(Router(*KINDS, environ=environ).get(Authority(ECR))) == "ecr"
    environ[b"WHO"] = b"another"  # who has no token yet
    with pytest.raises(Unavailable):
        Router(*KINDS, environ=environ).get(Authority(ECR))


def test_a_mistake_in_the_configuration_is_passed_over_by_nobody(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """It must not send docker to another identity."""
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    chain(environ, '["vault", "keyring"]', PATH + 'on_error = "next"\n')
    cloud.failure = Unavailable("config-contradiction", "a mistake")
    with pytest.raises(Unavailable, match="a mistake"):
        Router(*KINDS, environ=environ).get(Authority(PLAIN))


def test_the_default_is_for_what_nobody_owns(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Not for what vault-login's file names; and it stands behind Vault for any registry, with all its links."""
    home = Path(os.fsdecode(environ[b"HOME"]))
    file = home / "vault-login.hcl"
    file.write_text(
        'auto_auth {\n  method "token" {\n    config {\n      secrets = {\n'
        + "".join(f'        "{one}.example" = "kv/{one}"\n' for one in "abcdef")
        + "      }\n    }\n  }\n}\n"
    )
    environ[b"DCVL_CONFIG_FILE"] = bytes(file)
    helper_of_others(environ, OTHER)
    configure(environ, '[default]\nsource = ["keyring", "helper:other"]\n')
    owners = {one: plan.route(Authority(f"{one}.example"), environ).source for one in "abcdef"}
    assert set(owners.values()) == {"vault"}, owners
    environ |= CATCH_ALL
    cloud.failure = NotFound("x", "y")
    assert asked(environ, "quay.io") == "of-another"


@pytest.mark.parametrize("what", ['secret = "kv/all"', "nonsense = 1"])
def test_what_vault_login_s_file_says_of_any_registry_is_vault_s_alone(
    what: str, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """A helper for everything would send that credential to whoever is asked, and fail all where it is broken."""
    file = Path(os.fsdecode(environ[b"HOME"]), "vault-login.hcl")
    file.write_text('auto_auth {\n  method "token" {\n    config {\n      ' + what + "\n    }\n  }\n}\n")
    environ[b"DCVL_CONFIG_FILE"] = bytes(file)
    router = Router(*KINDS, environ=environ)
    with pytest.raises(NotFound):
        router.get(Authority("quay.io"))
    router.store(Authority("quay.io"), Credential("someone", "typed"))
    assert asked(environ, "quay.io") == "typed"


def test_a_login_that_is_only_accepted_goes_on(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """`read_only` keeps nothing, and what nobody keeps is lost."""
    chain(environ, '["vault", "keyring"]', PATH + "read_only = true\n")
    cloud.keeps = False
    Router(*KINDS, environ=environ).store(Authority(PLAIN), Credential("someone", "typed"))
    assert Keyring(environ).list() == {PLAIN: "someone"}


def test_a_login_that_nobody_keeps_is_refused_or_accepted(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """As the last of the chain has it."""
    chain(environ, '["vault"]', PATH)
    cloud.failure = Unsupported("vault-read-only", "Vault is read only")
    with pytest.raises(Unsupported):
        Router(*KINDS, environ=environ).store(Authority(PLAIN), Credential("someone", "typed"))
    cloud.failure = None
    cloud.keeps = False
    Router(*KINDS, environ=environ).store(Authority(PLAIN), Credential("someone", "typed"))
    assert Keyring(environ).list() == {}


@pytest.mark.parametrize("text", ["", '[default]\nsource = ["keyring"]\n'])
def test_an_identity_that_nobody_has_is_no_matter_of_nobody_s_registries(
    text: str, environ: dict[bytes, bytes], cloud: Cloud
) -> None:
    """They are the keyring's, which has no identities."""
    configure(environ, text)
    environ[b"CREDHELPERS_IDENTITY"] = b"typo"
    with pytest.raises(NotFound):
        Router(*KINDS, environ=environ).get(Authority("docker.io"))


def test_the_list_is_what_get_answers(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """Clients give up on all entries where one of the list fails."""
    Keyring(environ).store(Authority(ECR), Credential("AWS", "of another program"))
    Keyring(environ).store(Authority("quay.io"), Credential("ku", "ks"))
    router = Router(*KINDS, environ=environ)
    assert router.list() == {"quay.io": "ku"}
    environ |= CATCH_ALL
    again = Router(*KINDS, environ=environ)
    again.get(Authority("quay.io"))
    assert again.list() == {"quay.io": "token"}
    chain(environ, '["keyring", "vault"]', PATH)
    again.get(Authority(PLAIN))
    assert again.list()[PLAIN] == "token"


def test_sources_with_a_key_of_one_name(environ: dict[bytes, bytes], cloud: Cloud) -> None:
    """It is of the one that it goes with."""
    chain(environ, '["ecr", "vault"]', PATH + 'profile = "prod"\n', match=ECR)
    assert secret(Router(*KINDS, environ=environ).get(Authority(ECR))) == "ecr prod"
    assert "profile" not in plan.route(Authority(ECR), environ, "vault").settings


def test_the_line_of_a_mistake_in_the_default(environ: dict[bytes, bytes]) -> None:
    """It is that of the table, and not of an innocent entry."""
    entry = f'[[registry]]\nmatch = "{PLAIN}"\nsource = "keyring"\n'
    configure(environ, entry + '[default]\nmin_life = "x"\n')
    with pytest.raises(Unavailable, match="line 4: `min_life` is not a duration"):
        plan.route(Authority(PLAIN), environ)


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
    Keyring(environ).store(Authority(PLAIN), Credential("someone", "typed"))
    assert router.list() == {}, "who has the host is not known"


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
    for module in ("cached_token", "cache", "tokens"):
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
