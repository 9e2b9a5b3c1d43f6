"""Whose home it is: one answer for all that lies there, without `HOME`, as root and inside a user namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers import cached_token, files, identity, mkdir, userns
from credhelpers.stores import folder
from tests.fakes.aws import FakeAws
from tests.harness import BIN, Result, call, document, environment, need
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
USER = 54321


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    with FakeAws(authority) as fake:
        yield fake


def in_database(home: Path, env: dict[str, str], *words: str, stdin: bytes | str = b"") -> Result:
    """A call by root, whose home the password database says is this one."""
    need_root("another password database")
    database = home.parent / "passwd"
    database.write_text(f"root:x:0:0:root:{home}:/bin/sh\n")
    script = 'mount --bind "$0" /etc/passwd && exec "$@"'
    done = subprocess.run(
        [need("unshare", "util-linux"), "--mount", "sh", "-c", script, str(database), str(BIN / words[0]), *words[1:]],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        env=env,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def two_profiles(aws: FakeAws, home: Path) -> dict[str, str]:
    """A home with two identities, of which config.toml wants the second: the other one's key is refused."""
    (home / ".aws").mkdir()
    (home / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wrong\n"
        "[prod]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = made-up-aws-secret\n"
    )
    (home / ".config/credhelpers").mkdir(parents=True)
    entry = f'[[registry]]\nmatch = "{ECR}"\nsource = "ecr"\nprofile = "prod"\n'
    (home / ".config/credhelpers/config.toml").write_text(entry)
    env = environment(home, **aws.environment(AWS_EC2_METADATA_DISABLED="true"))
    return {name: value for name, value in env.items() if not name.startswith(("AWS_ACCESS", "AWS_SECRET", "HOME"))}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="2.A2, no HOME, as in a unit of systemd"),
        pytest.param({"HOME": ""}, id="an empty one, as compose files make it"),
        pytest.param({"XDG_CONFIG_HOME": ""}, id="an empty XDG_CONFIG_HOME besides"),
        pytest.param({"XDG_CONFIG_HOME": "relative", "HOME": ""}, id="a relative one"),
    ],
)
def test_a_configuration_is_never_passed_over(
    aws: FakeAws, two_profiles: dict[str, str], home: Path, more: dict[str, str]
) -> None:
    """The identity that it names mints, and the token is kept as ever."""
    env = two_profiles | more
    first = in_database(home, env, "docker-credential-ecr", "get", stdin=ECR)
    assert first.credential["Secret"].startswith("made-up-password")
    assert in_database(home, env, "docker-credential-ecr", "get", stdin=ECR) == first
    assert aws.mints == 1
    assert in_database(home, env, "docker-credential-ecr", "list").listing == {ECR: "AWS"}
    assert list((home / ".cache/credhelpers").iterdir())


def test_a_mistake_is_heard_without_a_home(two_profiles: dict[str, str], home: Path) -> None:
    """2.A2: what config.toml says wrongly is no reason to mint with another identity."""
    (home / ".config/credhelpers/config.toml").write_text("[[registry]]\nmach = 1\n")
    done = in_database(home, two_profiles, "docker-credential-ecr", "get", stdin=ECR)
    assert done.told == "config-unknown-word"


def test_the_store_without_a_home(home: Path) -> None:
    """2.B5: what was kept with HOME is answered without."""
    env = environment(home)
    assert call("keyring", "store", document("a.example", "ann", "made-up"), env).code == 0
    del env["HOME"]
    done = in_database(home, env, "docker-credential-keyring", "get", stdin="a.example")
    assert done.credential["Secret"] == "made-up"
    assert in_database(home, env, "docker-credential-keyring", "list").listing == {"a.example": "ann"}
    assert in_database(home, env, "docker-credential-keyring", "erase", stdin="a.example").code == 0
    assert call("keyring", "list", "", environment(home)).listing == {}


@pytest.mark.parametrize("environ", [{}, {b"HOME": b""}, {b"HOME": b"/h"}])
def test_all_have_one_home(monkeypatch: pytest.MonkeyPatch, environ: dict[bytes, bytes]) -> None:
    """Configuration, cache and store of one user are below one directory."""
    monkeypatch.setattr("credhelpers.identity._home_of", lambda _: b"/h")
    assert identity.home(environ) == b"/h"
    assert identity.configuration(environ) == b"/h/.config/credhelpers/config.toml"
    assert cached_token.directory(environ) == b"/h/.cache/credhelpers"
    assert folder.directory(environ) == b"/h/.local/share/credhelpers"


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        pytest.param({b"/root"}, b"/root", id="a container, whose root it is"),
        pytest.param({b"/home/ann"}, b"/home/ann", id="podman unshare: we are root here and ann outside"),
        pytest.param({b"/root", b"/home/ann"}, b"/root", id="both"),
        pytest.param(set(), b"/root", id="neither"),
    ],
)
def test_a_home_inside_a_user_namespace(monkeypatch: pytest.MonkeyPatch, ours: set[bytes], expected: bytes) -> None:
    """2.A1 and 2.A2 together: the database knows root, and the home of root is not ours."""
    monkeypatch.setattr("credhelpers.identity.posix.getuid", lambda: 0)
    monkeypatch.setattr("credhelpers.identity._home_of", {0: b"/root", 1000: b"/home/ann"}.__getitem__)
    monkeypatch.setattr("credhelpers.identity._is_ours", ours.__contains__)
    monkeypatch.setattr(userns, "_read", lambda _: b"0 1000 1\n1 100000 65536\n")
    monkeypatch.setattr("sys.platform", "linux")
    assert identity.home({}) == expected


@pytest.mark.parametrize(
    ("numbers", "user", "there"),
    [
        (b"0 0 4294967295\n", 1000, 1000),
        (b"0 1000 1\n", 0, 1000),
        (b"0 1000 1\n1 100000 65536\n", 1, 100000),
        (b"0 1000 1\n1 100000 65536\n", 65536, 165535),
        (b"0 1000 1\n", 65534, 65534),
        (b"", 0, 0),
    ],
)
def test_numbers_outside(monkeypatch: pytest.MonkeyPatch, numbers: bytes, user: int, there: int) -> None:
    """As uid_map has them (user_namespaces(7)); elsewhere they are what they are."""
    monkeypatch.setattr(userns, "_read", lambda _: numbers)
    monkeypatch.setattr("sys.platform", "linux")
    assert userns.outside(user) == there
    monkeypatch.setattr("sys.platform", "darwin")
    assert userns.outside(user) == user


# --- root in the home of somebody else -------------------------------------------------------------------------------


def _plain(_: Path) -> None:
    pass


def _owned(*parts: str) -> Callable[[Path], None]:
    def make(home: Path) -> None:
        for part in parts:
            (home / part).mkdir(mode=0o700)  # root's, by an older version or by hand

    return make


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(_plain, id="2.A6"),
        pytest.param(_owned(".cache", ".local", ".local/share"), id="root's own directories in it"),
        pytest.param(
            _owned(".cache", ".local", ".local/share", ".cache/credhelpers", ".local/share/credhelpers"),
            id="root's own stores in it",
        ),
    ],
)
def test_root_writes_nothing_in_anothers_home(aws: FakeAws, home: Path, prepare: Callable[[Path], None]) -> None:
    """As under `sudo -E`: the token is minted and not kept, and the login fails with the way out."""
    need_root("another user's home")
    prepare(home)
    before = {path for path in home.rglob("*") if path.is_file()}
    os.chown(home, USER, USER)
    env = environment(home, **aws.environment())
    assert call("ecr", "get", ECR, env).credential
    done = call("keyring", "store", document("a.example", "ann", "made-up"), env)
    assert done.told == "store-not-roots"
    assert b"`sudo -H`" in done.err
    assert {path for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("where", ["link", "deep/er", "link/deep"])
def test_root_is_led_into_no_home_by_links(tmp_path: Path, where: str) -> None:
    """A directory counts by its name and by where that leads."""
    need_root("another user's directory")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, USER, USER)
    (tmp_path / "link").symlink_to(theirs)
    path = (theirs if where.startswith("deep") else tmp_path) / where / "credhelpers"
    with pytest.raises(mkdir.SomebodyElses):
        mkdir.make(os.fsencode(path))
    assert not list(theirs.iterdir())


def test_root_in_a_user_namespace_makes_its_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`/home` is nobody's there, that is, of whom cannot be told; the home itself is root's."""
    monkeypatch.setattr("credhelpers.mkdir.posix.geteuid", lambda: 0)
    monkeypatch.setattr("credhelpers.userns.is_anybody", lambda user: user == 65534)
    need_root("another user's directory")
    os.chown(tmp_path, 65534, 65534)
    mkdir.make(os.fsencode(tmp_path / "a/b"))
    assert (tmp_path / "a/b").is_dir()


def test_another_users_configuration_read_by_root(home: Path) -> None:
    """2.A6, the other way round: to own the file would break the user, so the command is another one, and it mends."""
    need_root("another user's file")
    (home / ".config/credhelpers").mkdir(parents=True)
    config = home / ".config/credhelpers/config.toml"
    config.write_text("")
    for path in (home, config):
        os.chown(path, USER, USER)
    done = call("ecr", "get", ECR, environment(home))
    assert done.told == "config-untrusted"
    assert b"`export HOME=/root`" in done.err
    assert b"chown" not in done.err
    assert files.mending(os.fsencode(config), config.stat()).startswith("sudo chown 0"), "named by its path"


def test_whose_a_directory_is(tmp_path: Path) -> None:
    """Ours, and not what nobody can look at."""
    assert identity._is_ours(os.fsencode(tmp_path))
    assert not identity._is_ours(b"/nonexistent")
    assert not identity._is_ours(b"a\0b")


def test_an_empty_home_is_shown_to_no_library() -> None:
    """They would take it for `/`: a call has none then."""
    script = "import os, posix; from credhelpers.call import serve; "
    script += "serve(lambda call: repr((posix.environ.get(b'HOME'), os.environ.get('HOME'))).encode())"
    for home in ("", "/a/home"):
        env = {"HOME": home, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", script], env=env, cwd=Path(__file__).parents[1], capture_output=True, check=True
        )
        assert done.stdout.decode() == (repr((home.encode(), home)) if home else "(None, None)")
