"""What `docker login` typed for a registry of a source: kept with a note, answered first, and gone after a logout."""

from __future__ import annotations

import base64
import errno
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from credhelpers import cached_token, mkdir
from credhelpers.credential import Credential
from credhelpers.errors import NotFound, NotMine, Shortage, Unavailable, Unsupported
from credhelpers.minted import Minted
from credhelpers.servers import Authority
from credhelpers.sources.acr import Acr
from credhelpers.sources.ecr import Ecr
from credhelpers.sources.gcr import Gcr
from credhelpers.stores import note
from credhelpers.stores.keyring import Keyring
from credhelpers.stores.note import Notes, path_of
from credhelpers.typed import Typed, token_end
from tests.fakes.source import FakeSource, owned
from tests.harness import Result, call, document, environment
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.plan import Route

SECRET = 'p"w<&>\u00e9'
_HOST = "a.one.fake.example"
_SISTER = "b.one.fake.example"
_NULL = "00000000-0000-0000-0000-000000000000"
_ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
_GCR = "europe-west1-docker.pkg.dev"
_ACR = "acmereg.azurecr.io"
_HOUR = 3600


@pytest.fixture
def environ(tmp_path: Path) -> dict[bytes, bytes]:
    """A home with nothing in it, the embedded store and a cache."""
    return {
        b"HOME": os.fsencode(tmp_path),
        b"CREDHELPERS_CACHE_DIR": os.fsencode(tmp_path / "cache"),
        b"CREDHELPERS_KEYRING": b"embedded",
    }


@pytest.fixture
def source(environ: dict[bytes, bytes]) -> FakeSource:
    """A source that counts its mints."""
    return FakeSource(environ)


@pytest.fixture
def helper(source: FakeSource, environ: dict[bytes, bytes]) -> Minted:
    """The helper under test."""
    return Minted(source, environ, owned)


def _answer(helper: Minted, server: str) -> tuple[str, str]:
    """User name and secret, as a call gets them: first what is ready."""
    found = helper.ready(Authority(server)) or helper.get(Authority(server))
    return found.expose()


def _jwt(**claims: Any) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{part}.c2ln"


def _password(**said: Any) -> str:
    """A password of ECR."""
    return base64.b64encode(json.dumps({"payload": "x" * 30, "type": "DATA_KEY", **said}).encode()).decode()


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


def _tokens() -> list[tuple[str, str]]:
    return [
        ("AWS", _password(expiration=int(time.time()) + 12 * _HOUR)),
        (_NULL, _jwt(exp=int(time.time()) + 3 * _HOUR)),
        ("<token>", _jwt(exp=int(time.time()) + 3 * _HOUR)),
        ("oauth2accesstoken", "ya29.x"),
        ("_dcgcloud_token", "ya29.x"),
        ("_dcgcr_2_1_0_token", "ya29.x"),
    ]


# --- what a person typed ----------------------------------------------------------------------------------------------


def test_what_was_typed_is_answered_until_the_logout(helper: Minted, source: FakeSource) -> None:
    """Before what was minted, without a mint; a logout brings the source back."""
    assert _answer(helper, _HOST)[1].startswith("token-")
    helper.store(Authority(f"https://{_HOST}"), Credential("admin", SECRET))
    for server in (_HOST, f"https://{_HOST}", f"{_HOST}:443", f"{_HOST}/v2/", f"{_HOST}/team/app"):
        assert helper.ready(Authority(server)) is None
        assert _answer(helper, server) == ("admin", SECRET), server
    assert helper.list() == {f"https://{_HOST}": "admin"}
    assert _answer(helper, _SISTER)[1].startswith("token-"), "another host has its own"
    assert source.minted == 2, "since what answered for the first is gone"
    helper.erase(Authority(_HOST))
    assert helper.list() == {_SISTER: "nobody"}
    for _ in range(2):
        assert _answer(helper, _HOST)[1].startswith("token-")
    assert source.minted == 2, "that of the sister, and then a hit"
    with pytest.raises(NotFound):
        Keyring(source.environ).get(Authority(_HOST))


@pytest.mark.parametrize(
    ("source", "host", "username"),
    [
        pytest.param(Acr, _ACR, "acme", id="an admin user of ACR"),
        pytest.param(Gcr, _GCR, "_json_key", id="a key file of Google"),
        pytest.param(Gcr, "gcr.io", "_json_key_base64", id="the same in base 64"),
        pytest.param(Ecr, _ECR, "someone", id="somebody at ECR"),
        pytest.param(Ecr, _ECR, "aws", id="no token's name"),
        pytest.param(Gcr, _GCR, "_dcg", id="half of one"),
    ],
)
def test_each_source_keeps_it_and_looks_for_no_identity(
    source: Any, host: str, username: str, environ: dict[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to keep it nor to answer it; on disk is no word of it in clear, but the user name."""

    def never(*_: object) -> None:
        raise AssertionError("an identity was looked for")

    monkeypatch.setattr(source, "record", never)
    monkeypatch.setattr(source, "minter", never)
    helper = Minted(source(environ), environ)
    helper.store(Authority(host), Credential(username, SECRET))
    assert _answer(helper, host) == (username, SECRET)
    assert helper.list() == {host: username}
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    helper.erase(Authority(host))
    assert helper.list() == {}


def test_the_last_login_counts(helper: Minted, source: FakeSource) -> None:
    """In whichever spelling, of whichever kind; nothing of the one before stays."""
    servers = (f"https://{_HOST}", _HOST, f"{_HOST}/v2/", _HOST)
    for number, server in enumerate(servers):
        helper.store(Authority(server), Credential("admin", f"{SECRET}{number}"))
        assert _answer(helper, _HOST) == ("admin", f"{SECRET}{number}")
        assert helper.list() == {server: "admin"}
        assert Keyring(source.environ).list() == {server: "admin"}
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    assert _answer(helper, _HOST) == ("oauth2accesstoken", "ya29.x")
    assert Keyring(source.environ).list() == {}
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    assert _answer(helper, _HOST) == ("admin", SECRET)
    assert source.minted == 0


def test_two_ports_are_two_notes(environ: dict[bytes, bytes]) -> None:
    """And two hosts, of course; what is a port of `https` is none."""
    notes = Notes(environ)
    for server in ("a.example", "a.example:5000", "b.example"):
        notes.add(Authority(server), server)
    for server in ("a.example", "a.example:443", "https://A.example/v2/"):
        assert notes.find(Authority(server)).username == "a.example"  # type: ignore[union-attr]
    assert notes.find(Authority("a.example:5000")).username == "a.example:5000"  # type: ignore[union-attr]
    assert notes.find(Authority("a.example:5001")) is None
    assert notes.find(Authority("xa.example")) is None
    assert len({path_of(found, environ) for found in map(Authority, ("a.example", "a.example:5000"))}) == 2


def test_a_path_has_its_own(helper: Minted) -> None:
    """podman logs in to a part of a registry; that part is answered, and a logout from it leaves the rest."""
    helper.store(Authority(f"{_HOST}/team"), Credential("team", SECRET))
    assert _answer(helper, f"{_HOST}/team/app") == ("team", SECRET)
    assert _answer(helper, _HOST)[1].startswith("token-")
    assert _answer(helper, f"{_HOST}/teams")[1].startswith("token-")
    helper.store(Authority(_HOST), Credential("all", SECRET))
    assert _answer(helper, f"{_HOST}/team/app") == ("team", SECRET)
    assert _answer(helper, f"{_HOST}/teams") == ("all", SECRET)
    assert helper.list() == {_HOST: "all", f"{_HOST}/team": "team"}
    helper.erase(Authority(f"{_HOST}/team"))
    assert _answer(helper, f"{_HOST}/team") == ("all", SECRET)
    helper.store(Authority(f"{_HOST}/team"), Credential("team", SECRET))
    helper.erase(Authority(_HOST))
    assert helper.list() == {}, "of a whole registry, all"


def test_a_password_for_a_path_leaves_the_token_of_the_registry(helper: Minted, source: FakeSource) -> None:
    """Each answers for its own; a logout from the registry ends both."""
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    helper.store(Authority(f"{_HOST}/team"), Credential("team", SECRET))
    for _ in range(2):
        assert _answer(helper, _HOST)[1] == "ya29.x"
        assert _answer(helper, f"{_HOST}/other")[1] == "ya29.x"
        assert _answer(helper, f"{_HOST}/team/app") == ("team", SECRET)
    helper.erase(Authority(_HOST))
    time.sleep(0.002)  # what is minted in the millisecond of a logout is not kept
    for server in (_HOST, f"{_HOST}/team"):
        assert _answer(helper, server)[1].startswith("token-")
    assert source.minted == 1


def test_what_a_store_held_before_does_not_count(helper: Minted, source: FakeSource) -> None:
    """People have an expired token of ECR in a keyring; a logout here is none of it."""
    for server in (_HOST, f"https://{_HOST}"):
        Keyring(source.environ).store(Authority(server), Credential("AWS", SECRET))
    assert _answer(helper, _HOST)[1].startswith("token-")
    helper.erase(Authority(_HOST))
    assert Keyring(source.environ).list() == {_HOST: "AWS", f"https://{_HOST}": "AWS"}
    assert helper.list() == {}


def test_another_spelling_is_not_what_was_typed(helper: Minted, source: FakeSource) -> None:
    """If another program removes the item, one under another key, which was there before, does not stand in."""
    Keyring(source.environ).store(Authority(f"https://{_HOST}"), Credential("old", SECRET))
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    Keyring(source.environ).erase(Authority(_HOST), exactly=True)
    for _ in range(2):
        assert _answer(helper, _HOST)[1].startswith("token-")
    assert source.minted == 1, "and the note is no miss for ever"


@pytest.mark.parametrize("username", [name for name, _ in _tokens()])
def test_a_token_is_never_answered_from_a_store(username: str, helper: Minted, source: FakeSource) -> None:
    """Whoever has put it there, also in the place of what was typed."""
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    Keyring(source.environ).store(Authority(_HOST), Credential(username, SECRET))
    assert _answer(helper, _HOST)[1].startswith("token-")


def test_out_of_reach_is_an_error(helper: Minted, environ: dict[bytes, bytes], source: FakeSource) -> None:
    """The note says that it is ours: no token is minted in its place, and a logout does not claim that it has gone."""
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    environ[b"CREDHELPERS_KEYRING"] = b"secret-service"
    environ.pop(b"DBUS_SESSION_BUS_ADDRESS", None)
    for verb in (helper.get, helper.erase):
        with pytest.raises(Unavailable, match="no Secret Service"):
            verb(Authority(_HOST))
    with pytest.raises(Unavailable, match="no Secret Service"):
        helper.store(Authority(_SISTER), Credential("admin", SECRET))
    assert helper.list() == {}, "what cannot be answered now"
    assert _answer(helper, _SISTER)[1].startswith("token-"), "nothing says that this is in it"
    assert source.minted == 1
    environ[b"CREDHELPERS_KEYRING"] = b"embedded"
    assert _answer(helper, _HOST) == ("admin", SECRET)


@pytest.mark.usefixtures("homeless")
def test_no_store_no_login(helper: Minted, environ: dict[bytes, bytes]) -> None:
    """Without a home a person hears that nothing is kept; tokens are minted as before."""
    del environ[b"HOME"]
    with pytest.raises(Unavailable, match="no home"):
        helper.store(Authority(_HOST), Credential("admin", SECRET))
    assert _answer(helper, _HOST)[1].startswith("token-")
    assert helper.list() == {_HOST: "nobody"}


def test_a_stranger_is_refused(environ: dict[bytes, bytes]) -> None:
    """As ever: and nothing is kept, and nobody's note is looked for."""
    helper = Minted(Ecr(environ), environ)
    for server in ("ghcr.io", _ACR, f"{_ECR}:5000", f"http://{_ECR}"):
        with pytest.raises(Unsupported):
            helper.store(Authority(server), Credential("admin", SECRET))
        helper.erase(Authority(server))
    assert not Path(os.fsdecode(environ[b"HOME"]), ".local").exists()


def test_list_names_only_its_own(environ: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was typed for a registry of another source is that one's, and what is broken is nobody's."""
    Minted(Acr(environ), environ).store(Authority(_ACR), Credential("admin", SECRET))
    assert Minted(Ecr(environ), environ).list() == {}
    helper = Minted(Acr(environ), environ)
    assert helper.list() == {_ACR: "admin"}

    def broken(*_: object) -> Route:
        raise Unavailable("broken", "broken", "")

    assert Minted(Acr(environ), environ, broken).list() == {}


# --- a token that was piped in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("username", "secret"), [pytest.param(*token, id=token[0]) for token in _tokens()])
def test_a_token_goes_into_the_cache(
    username: str, secret: str, helper: Minted, source: FakeSource, tmp_path: Path
) -> None:
    """And is a hit until the logout, whoever would mint; never in a store, and with no note."""
    _answer(helper, _HOST)
    helper.store(Authority(_HOST), Credential(username, secret))
    for identity in (b"alice", b"bob", b""):
        source.environ[b"FAKE_IDENTITY"] = identity
        for server in (_HOST, f"https://{_HOST}/v2/", f"{_HOST}/team/app"):
            if not helper.ready(Authority(server)):
                assert server.endswith("app"), "which costs one look more"
                helper.get(Authority(server))
            found = helper.ready(Authority(server))
            assert found is not None
            assert found.expose() == (username, secret)
            assert found.soft == found.hard == found.expires, "so that nothing renews it"
    assert helper.list() == {_HOST: username}
    assert not list(tmp_path.rglob("*.typed"))
    assert Keyring(source.environ).list() == {}
    assert source.minted == 1
    helper.erase(Authority(_HOST))
    assert helper.list() == {}
    assert _answer(helper, _HOST)[1].startswith("token-")


def test_a_token_outlives_what_does_not_concern_it(helper: Minted, source: FakeSource) -> None:
    """A changed configuration costs a look; a token for one who is chosen by name is that one's."""
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    source.environ[b"CREDHELPERS_CONFIG"] = b"/nowhere"
    assert helper.ready(Authority(_HOST)) is None
    assert _answer(helper, _HOST)[1] == "ya29.x"
    assert helper.ready(Authority(_HOST)) is not None, "a hit from now on"
    source.environ[b"CREDHELPERS_IDENTITY"] = b"prod"
    assert _answer(helper, _HOST)[1].startswith("token-")
    del source.environ[b"CREDHELPERS_IDENTITY"]
    helper.erase(Authority(_HOST))
    assert _answer(helper, _HOST)[1] != "ya29.x"


def test_a_token_is_not_answered_for_a_host_that_is_lost(environ: dict[bytes, bytes], source: FakeSource) -> None:
    """Whoever owns nothing here any more answers nothing, whatever is in the cache."""
    Minted(source, environ, owned).store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))

    def nobody(*_: object) -> Route:
        raise NotMine

    environ[b"CREDHELPERS_CONFIG"] = b"/changed"
    helper = Minted(source, environ, nobody)
    for verb in (helper.ready, helper.get):
        with pytest.raises(NotMine):
            verb(Authority(_HOST))


def test_four_identities_do_not_push_it_out(helper: Minted, source: FakeSource) -> None:
    """It lies beside their copies: what a login gave is not the oldest of five."""
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    cache, key = helper._tokens.cache, cached_token.host_key(Authority(_HOST), source.environ)
    for number in range(6):
        source.environ[b"FAKE_IDENTITY"] = b"%d" % number
        recorder, route = helper._recorded(Authority(_HOST))
        source.record(route, recorder)
        cache.save(key, _HOST, Credential("x", f"{number}", expires=time.time() + 60), time.time(), recorder.text())
        assert _answer(helper, _HOST)[1] == "ya29.x"
    assert len(cache.tokens()) == 4, "theirs have the other three slots"


@pytest.mark.parametrize(
    ("username", "secret", "seconds"),
    [
        pytest.param("AWS", "no base 64!", 12 * _HOUR - 60, id="ECR"),
        pytest.param("AWS", _password(), 12 * _HOUR - 60, id="ECR, no word of it"),
        pytest.param("AWS", _password(expiration=2_000_000_600), 540, id="ECR, older than it was piped"),
        pytest.param("AWS", _password(expiration=3_000_000_000), 12 * _HOUR - 60, id="ECR, too long"),
        pytest.param("AWS", _password(expiration="soon"), 12 * _HOUR - 60, id="ECR, a word"),
        pytest.param("AWS", _password(expiration=10**400), 12 * _HOUR - 60, id="ECR, a huge number"),
        pytest.param("AWS", base64.b64encode(b"[1]").decode(), 12 * _HOUR - 60, id="ECR, a list"),
        pytest.param(_NULL, _jwt(exp=2_000_000_600), 540, id="ACR"),
        pytest.param("<token>", _jwt(exp=2_000_000_600.5), 540.5, id="an identity token"),
        pytest.param("oauth2accesstoken", "ya29.x", _HOUR - 60, id="Google"),
        pytest.param("_dcgcloud_token", "ya29.x", _HOUR - 60, id="gcloud"),
        pytest.param("admin", _jwt(exp=1), None, id="a password"),
        pytest.param("_dcg", "x", None, id="half of a name"),
    ],
)
def test_when_it_ends(username: str, secret: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clouds' own word where it is one, with a minute in hand."""
    monkeypatch.setattr("credhelpers.typed.time", lambda: 2_000_000_000.0)
    end = token_end(Credential(username, secret))
    assert (end and end - 2_000_000_000.0) == seconds


@pytest.mark.parametrize(
    ("username", "secret"),
    [
        pytest.param("AWS", _password(expiration=1_000_000_000), id="ECR, expired"),
        pytest.param(_NULL, _jwt(exp=1_000_000_000), id="ACR, expired"),
        pytest.param(_NULL, _jwt(), id="ACR, no end"),
        pytest.param(_NULL, _jwt(exp=True), id="ACR, a truth"),
        pytest.param(_NULL, _jwt(exp=float("inf")), id="ACR, for ever"),
        pytest.param(_NULL, _jwt(exp=float("nan")), id="ACR, no number"),
        pytest.param("<token>", "opaque", id="no JWT"),
        pytest.param("<token>", f"a.{'[' * 100_000}.b", id="deep"),
        pytest.param(_NULL, "a.ü.b", id="no ASCII"),
    ],
)
def test_what_cannot_be_answered_is_refused(username: str, secret: str, helper: Minted, source: FakeSource) -> None:
    """A person hears it at once, not of the registry tomorrow; what was there stays."""
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    with pytest.raises(Unavailable) as raised:
        helper.store(Authority(_HOST), Credential(username, secret))
    assert secret not in raised.value.message + raised.value.hint
    assert _answer(helper, _HOST) == ("admin", SECRET)
    assert source.minted == 0


def test_an_expired_token_is_not_answered(helper: Minted, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its end on the source mints again."""
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    now = time.time()
    monkeypatch.setattr("credhelpers.cached_token.time", lambda: now + _HOUR - 61)
    assert _answer(helper, _HOST)[1] == "ya29.x"
    monkeypatch.setattr("credhelpers.cached_token.time", lambda: now + _HOUR - 58)
    assert helper.ready(Authority(_HOST)) is None
    assert helper._tokens.cache.typed(cached_token.host_key(Authority(_HOST), {})) is None


def test_where_no_token_is_kept(helper: Minted, source: FakeSource, environ: dict[bytes, bytes]) -> None:
    """Who has switched the cache off has said so; where it cannot be written a person must know."""
    off = Minted(source, environ | {b"CREDHELPERS_CACHE_DIR": b""}, owned)
    off.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    assert _answer(off, _HOST)[1].startswith("token-")
    folder = Path(os.fsdecode(environ[b"CREDHELPERS_CACHE_DIR"]))
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(Unavailable, match="cannot be erased"):
        helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("folder", [None, b"~/.cache/ch"])
def test_no_place_for_a_token_is_no_login(
    folder: bytes | None, source: FakeSource, environ: dict[bytes, bytes]
) -> None:
    """Nobody has switched the cache off there: a unit file without HOME, a tilde that no shell has read."""
    bare = {name: value for name, value in environ.items() if name == b"PATH"}
    helper = Minted(source, bare | ({b"CREDHELPERS_CACHE_DIR": folder} if folder else {}), owned)
    with pytest.raises(Unavailable) as caught:
        helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    assert caught.value.code == "store-not-cached"


def test_a_token_that_cannot_be_kept_leaves_the_password(helper: Minted, environ: dict[bytes, bytes]) -> None:
    """Who is told that a login failed has what he had before."""
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    folder = Path(os.fsdecode(environ[b"CREDHELPERS_CACHE_DIR"]))
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    with pytest.raises(Unavailable):
        helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    folder.chmod(0o700)
    assert _answer(helper, _HOST) == ("admin", SECRET)


def test_a_password_that_cannot_be_noted_is_not_left_behind(
    helper: Minted, environ: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No logout would look for it."""

    def fail(*_: object) -> str:
        raise Unavailable("store-unwritable", "no room", "make some")

    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.typed.Notes.add", fail)
        with pytest.raises(Unavailable, match="no room"):
            helper.store(Authority(_HOST), Credential("admin", SECRET))
    with pytest.raises(NotFound):
        Keyring(environ).get(Authority(_HOST))
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.typed.Notes.add", fail)
        with pytest.raises(Unavailable, match="no room"):
            helper.store(Authority(_HOST), Credential("admin", "another"))
    assert Keyring(environ).get(Authority(_HOST)).username == "admin", "the note says that there is one"


def test_a_piped_token_outlasts_all_others(helper: Minted) -> None:
    """It cannot be minted again: repositories are asked for by the hundred, and each has a cached token of its own."""
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    for number in range(300):
        assert _answer(helper, f"{_HOST}/team/app{number}")[1] == "ya29.x"
    assert _answer(helper, _HOST)[1] == "ya29.x"


def test_what_would_be_lost_is_no_login(helper: Minted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say, or too much to compare: the cache notes that and goes on, and here a person must know."""
    monkeypatch.setattr("credhelpers.cache.TokenCache._replace", _no_room)
    with pytest.raises(Unavailable, match="cannot be kept"):
        helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    monkeypatch.undo()
    monkeypatch.setattr("credhelpers.recorder.LINES", 0)
    with pytest.raises(Unavailable, match="cannot be kept"):
        helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    assert helper.ready(Authority(_HOST)) is None


def test_a_login_without_a_password_changes_nothing(helper: Minted, source: FakeSource) -> None:
    """docker asks for one, and brings back what it got: minted, which ends when it ends, for whom it is, not typed."""
    minted = helper.get(Authority(_HOST))
    for name in (b"alice", b"nobody"):
        helper.store(Authority(f"https://{_HOST}"), Credential(*minted.expose()))
        assert not Typed(source.environ).servers()
        source.environ[b"FAKE_IDENTITY"] = name
        assert _answer(helper, _HOST)[0] == name.decode()
    source.environ.pop(b"FAKE_IDENTITY")
    assert _answer(helper, _HOST) == minted.expose()


def test_the_same_after_a_renewal(helper: Minted, source: FakeSource) -> None:
    """The renewal behind that answer is done before docker comes back: the one before is known, too."""
    source.environ[b"FAKE_LIFE"] = b"0 3600 3600"
    before = helper.get(Authority(_HOST))
    helper.refresh(Authority(_HOST))
    now = _answer(helper, _HOST)
    assert now != before.expose()
    helper.store(Authority(_HOST), Credential(*before.expose()))
    assert _answer(helper, _HOST) == now
    assert not Typed(source.environ).servers()
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    first = helper.ready(Authority(_HOST))
    helper.store(Authority(_HOST), Credential("oauth2accesstoken", "ya29.x"))
    again = helper.ready(Authority(_HOST))
    assert first is not None
    assert again is not None
    assert again.expires == first.expires, "a token that is piped in lives no longer for a second login"


# --- attacks and accidents --------------------------------------------------------------------------------------------


def _typed_note(environ: dict[bytes, bytes]) -> Path:
    Typed(environ).keep(Authority(_HOST), Credential("admin", SECRET))
    path = path_of(Authority(_HOST), environ)
    assert path
    return Path(os.fsdecode(path))


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


_SPOILED: dict[str, Callable[[Path], object]] = {
    "a link": _link,
    "open to others": lambda path: path.chmod(0o644),
    "in an open directory": lambda path: path.parent.chmod(0o755),
    "of another user": lambda path: os.chown(path, 12345, 12345),
    "garbage": lambda path: path.write_bytes(b"\xff\0garbage"),
    "empty": lambda path: path.write_bytes(b""),
    "from the future": lambda path: path.write_bytes(path.read_bytes().replace(b"typed 1", b"typed 2")),
    "of another host": lambda path: path.write_bytes(path.read_bytes().replace(b"a.one", b"b.one")),
    "a word short": lambda path: path.write_bytes(path.read_bytes().replace(b" admin", b"")),
    "no number": lambda path: path.write_bytes(path.read_bytes().replace(b" admin", b" x admin").replace(b" x", b"x")),
    "a directory": _directory,
}


@pytest.mark.parametrize("how", _SPOILED)
def test_what_is_no_note(how: str, environ: dict[bytes, bytes], helper: Minted) -> None:
    """Then nothing was typed, as far as anybody knows; the answer comes, and is kept if there is nothing to be read."""
    if how == "of another user":
        need_root("a file of another user")
    path = _typed_note(environ)
    assert Notes(environ).find(Authority(_HOST))
    _SPOILED[how](path)
    assert _answer(helper, _HOST)[1].startswith("token-")
    is_unread = how in ("a link", "open to others", "in an open directory", "of another user", "a directory")
    assert helper.list() == ({} if is_unread else {_HOST: "nobody"})


def test_a_note_that_cannot_be_read_for_now(
    environ: dict[bytes, bytes], helper: Minted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of descriptors that is said; else what is answered meanwhile is not what is answered then."""
    path = _typed_note(environ)
    with monkeypatch.context() as patch:
        patch.setattr("credhelpers.stores.folder.private.read", _no_descriptor)
        with pytest.raises(Shortage):
            helper.get(Authority(_HOST))
    path.parent.chmod(0o755)
    assert _answer(helper, _HOST)[1].startswith("token-")
    path.parent.chmod(0o700)
    assert _answer(helper, _HOST) == ("admin", SECRET)


def _no_descriptor(*_: object) -> bytes:
    raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))


def test_a_note_that_changes_is_a_miss(helper: Minted, environ: dict[bytes, bytes]) -> None:
    """The receipt of what was minted says that there was none."""
    _answer(helper, _HOST)
    assert helper.ready(Authority(_HOST))
    path = _typed_note(environ)
    assert helper.ready(Authority(_HOST)) is None
    path.unlink()
    assert helper.ready(Authority(_HOST))
    environ[b"XDG_DATA_HOME"] = environ[b"HOME"] + b"/elsewhere"
    assert helper.ready(Authority(_HOST)) is None, "where there may be another"


def test_typed_while_a_token_is_minted(helper: Minted, source: FakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one is answered, for it was asked for before, and is not kept."""
    mint = source.mint

    def meanwhile(server: str, old: Credential | None = None) -> Credential:
        helper.store(Authority(_HOST), Credential("admin", SECRET))
        return mint(server, old)

    monkeypatch.setattr(source, "mint", meanwhile)
    assert _answer(helper, _HOST)[1].startswith("token-")
    assert helper.ready(Authority(_HOST)) is None
    assert _answer(helper, _HOST) == ("admin", SECRET)


@pytest.mark.parametrize("verb", ["store", "erase"])
def test_killed_between_store_and_note(verb: str, helper: Minted, environ: dict[bytes, bytes]) -> None:
    """Nothing is noted that is not there: who was killed at a login has not logged in, and a logout can be repeated."""
    Typed(environ).keep(Authority(_HOST), Credential("admin", SECRET)) if verb == "erase" else None
    child = os.fork()
    if not child:
        note.Notes._change = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,method-assign]
        try:
            if verb == "store":
                helper.store(Authority(_HOST), Credential("admin", SECRET))
            helper.erase(Authority(_HOST))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert _answer(helper, _HOST)[1].startswith("token-")
    helper.store(Authority(_HOST), Credential("admin", SECRET))
    assert _answer(helper, _HOST) == ("admin", SECRET)
    helper.erase(Authority(_HOST))
    assert Keyring(environ).list() == {}


def test_two_at_once(environ: dict[bytes, bytes]) -> None:
    """Of twenty paths of one registry none is lost."""

    def keep(number: int) -> None:
        Notes(environ).add(Authority(f"{_HOST}/p{number}"), f"user {number}")

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {one.server: one.username for one in Notes(environ).all()}
    assert found == {f"{_HOST}/p{number}": f"user {number}" for number in range(20)}


def test_without_a_lock_a_note_is_written_all_the_same(
    environ: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that cannot lock keeps what was typed."""
    monkeypatch.setattr("credhelpers.stores.folder.Folder.lock", lambda *_: -1)
    Notes(environ).add(Authority(_HOST), "x")
    assert Notes(environ).find(Authority(_HOST))


@pytest.mark.parametrize("username", ["a b", "zürich\n\t%41", "\udcff", "", "x" * 200, "x" * 5000])
def test_user_names_come_back(username: str, environ: dict[bytes, bytes]) -> None:
    """On one line, whatever they are; one that is very long is left out of the list."""
    Notes(environ).add(Authority(_HOST), username)
    (found,) = Notes(environ).all()
    assert found.username == (username if len(username) < 1000 else "")
    assert abs(found.at - time.time()) < 5


def test_a_note_does_not_grow_without_end(environ: dict[bytes, bytes]) -> None:
    """A file that is longer than one that is read would be none."""
    for number in range(70):
        Notes(environ).add(Authority(f"{_HOST}/{'x' * 900}{number}"), "ü" * 40)
    assert len(Notes(environ).all()) == 64


def test_root_makes_no_store_below_somebody_else_s(
    environ: dict[bytes, bytes], helper: Minted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `sudo -E`: the user could not use it. The login fails, with a reason; tokens are minted."""
    monkeypatch.setattr("credhelpers.mkdir.posix.geteuid", lambda: 0)
    monkeypatch.setattr("credhelpers.mkdir._owner_above", lambda _: 1000)
    with pytest.raises(Unavailable, match="root keeps no credentials"):
        helper.store(Authority(_HOST), Credential("admin", SECRET))
    assert _answer(helper, _HOST)[1].startswith("token-")
    assert not Path(os.fsdecode(environ[b"HOME"]), ".local").exists()
    with pytest.raises(mkdir.SomebodyElses):
        mkdir.make(b"/nowhere/a")


# --- the installed executables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "host", "username", "secret"),
    [
        ("acr", _ACR, "acme", SECRET),
        ("gcr", _GCR, "_json_key", SECRET),
        ("ecr", _ECR, "AWS", _password()),
    ],
)
def test_a_login_and_a_logout(name: str, host: str, username: str, secret: str, tmp_path: Path) -> None:
    """From outside, without any identity: what was typed is answered and listed, byte for byte, and is gone then."""
    home = tmp_path / "home"
    home.mkdir()
    env = environment(home)
    assert call(name, "store", document(host, username, secret), env) == Result(0, b"", b"")
    done = call(name, "get", host, env)
    assert json.loads(done.out) == {"ServerURL": host, "Username": username, "Secret": secret}
    assert done.err == b""
    assert call(name, "list", b"", env).listing == {host: username}
    assert call(name, "erase", host, env) == Result(0, b"", b"")
    assert call(name, "list", b"", env).listing == {}
