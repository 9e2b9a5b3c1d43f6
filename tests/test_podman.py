"""podman, buildah and skopeo as an ordinary user and as root have them, set up by the drop-in: no password in a file.

Real clients against a real registry, without a Linux container: images are pulled, and nothing runs in them.
"""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.cli import registriesconf
from tests.fakes.aws import FakeAws
from tests.harness import BIN, need
from tests.person import Person
from tests.services import Registry, until
from tests.test_clients import ECR, archive
from tests.test_dockerconfig import OWN, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

__all__ = ["archive"]
pytestmark = pytest.mark.slow

HOST = "registry.example"
PASSWORD = "made-up pass'word\"\\"
IN_A_FILE = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()  # as `auth` of a file has it
DROP_IN = f".config/containers/registries.conf.d/{registriesconf.NAME}"
CONFIGURE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from credhelpers.cli.configure import main
sys.exit(main(sys.argv[1:]))"""
TOOLS = ("podman", "buildah", "skopeo")


@pytest.fixture(scope="module")
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    """Amazon, and the proxy that leads to every registry here."""
    with FakeAws(authority) as aws:
        yield aws


@pytest.fixture(scope="module")
def registry(authority: CertificateAuthority, aws: FakeAws) -> Iterator[Registry]:
    """A registry whose one user is alice."""
    with Registry(authority, HOST, user="alice", password=PASSWORD) as registry:
        aws.routes[HOST] = registry.port
        yield registry


@pytest.fixture(params=["an ordinary user", "root"])
def person(request: pytest.FixtureRequest, aws: FakeAws, authority: CertificateAuthority) -> Iterator[Person]:
    """Somebody with these clients, and our helpers on PATH."""
    for tool in TOOLS:
        need(tool, tool)
    with Person(is_root=request.param == "root", HTTPS_PROXY=aws.proxy.url) as person:
        person.env["SSL_CERT_FILE"] = str(person.write("ca.pem", authority.pem.read_text()))
        person.write(".config/containers/storage.conf", '[storage]\ndriver = "vfs"\n' + _places(person))
        person.write(
            ".config/containers/containers.conf", '[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n'
        )
        mine = person.write(
            "bin/docker-credential-mine",
            "#!/bin/sh\n[ $1 != erase ] || exit 0\necho credentials not found in native keychain\nexit 1\n",
        )
        mine.chmod(0o755)
        person.env["PATH"] += f":{mine.parent}"
        yield person


def _places(person: Person) -> str:
    return f'runroot = "{person.runtime}/containers-run"\ngraphroot = "{person.home}/images"\n'


def configure(person: Person, task: str = "write") -> str:
    """What `./install.sh --configure` has done, and says."""
    names = [*(f"docker-credential-{name}" for name in sorted(OWN)), "secretservice=keyring", "ecr-login=ecr"]
    return person.do("python3", "-I", "-B", "-c", CONFIGURE, str(ROOT), task, *names)


def login(person: Person, tool: str, *options: str, **env: str) -> tuple[int, str]:
    words = (tool, "login", *options, "--username", "alice", "--password-stdin")
    return person.run(*words, HOST, stdin=PASSWORD, **env)


def pull(person: Person, tool: str, image: str = f"{HOST}/app:1") -> tuple[int, str]:
    commands = {
        "podman": ("podman", "pull", image),
        "buildah": ("buildah", "from", "--pull-always", image),
        "skopeo": ("skopeo", "inspect", f"docker://{image}"),
    }
    return person.run(*commands[tool])


def push(person: Person, archive: Path) -> None:
    """Put an image into the registry, with what has been stored or lies in a file."""
    copy = person.folder / "image.tar"
    shutil.copy(archive, copy)
    copy.chmod(0o644)
    person.do("skopeo", "copy", f"docker-archive:{copy}", f"docker://{HOST}/app:1")


def listed(person: Person) -> dict[str, str]:
    found: dict[str, str] = json.loads(person.do("docker-credential-keyring", "list"))
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_a_login_leaves_nothing_in_clear(person: Person, registry: Registry, archive: Path, tool: str) -> None:
    """Each stores through the helper, is answered by it, and has it forget; what one stores all read."""
    is_rootless = person.run("podman", "info", "--format", "{{.Host.Security.Rootless}}")[1].strip()
    assert is_rootless == str(person.number != 0).lower()
    configure(person)
    assert login(person, tool)[0] == 0
    assert listed(person) == {HOST: "alice"}
    assert person.holds(IN_A_FILE) == []
    assert person.do(tool, "login", "--get-login", HOST) == "alice\n"
    push(person, archive)
    for other in TOOLS:
        code, said = pull(person, other)
        assert code == 0, (other, said)

    person.do(tool, "logout", HOST)

    assert listed(person) == {}
    for other in TOOLS:
        code, said = pull(person, other)
        assert code != 0, other
        assert "authentication required" in said or "unauthorized" in said


@pytest.mark.parametrize("person", ["an ordinary user"], indirect=True)
def test_the_keyring_of_a_desktop(person: Person, registry: Registry, archive: Path) -> None:
    """Rootless podman and buildah start the helper as root of a user namespace: the user's own keyring opens to it."""
    person.log_in_to_a_desktop()
    configure(person)
    for tool in TOOLS:
        code, said = login(person, tool)
        assert code == 0, said
        assert listed(person) == {HOST: "alice"}
        push(person, archive)
        assert pull(person, tool)[0] == 0
        person.do(tool, "logout", HOST)
        assert listed(person) == {}
    assert login(person, "podman")[0] == 0
    need("secret-tool", "libsecret-tools")
    found = person.do("secret-tool", "search", "docker_cli", "1", stdin="")
    assert "attribute.username = alice" in found
    assert list((person.home / ".local/share/credhelpers").glob("*.age")) == []
    assert person.holds(IN_A_FILE) == []


@pytest.mark.parametrize("tool", TOOLS)
def test_without_the_drop_in_it_would_be_in_clear(person: Person, registry: Registry, tool: str) -> None:
    """What the drop-in is for; and what is back when it has been taken away."""
    person.write(".docker/config.json", '{"credsStore": "keyring"}')
    assert login(person, tool)[0] == 0
    (file,) = person.holds(IN_A_FILE)
    assert file.endswith("containers/auth.json")
    person.do("rm", file)

    configure(person)
    assert login(person, tool)[0] == 0
    assert person.holds(IN_A_FILE) == []
    assert "removed" in configure(person, "remove")
    assert not (person.home / DROP_IN).parent.exists()
    assert login(person, tool)[0] == 0
    assert person.holds(IN_A_FILE) == [file]


@pytest.mark.parametrize("tool", TOOLS)
def test_what_the_keyring_does_not_take_is_nowhere(person: Person, registry: Registry, tool: str) -> None:
    """A keyring out of reach, and a login to a part of a registry, are errors: no file is written in its place."""
    configure(person)

    code, said = login(person, tool, CREDHELPERS_KEYRING="secret-service")
    assert code != 0
    assert "docker-credential-keyring" in said or "Secret Service" in said, said
    code, said = person.run(tool, "login", "--username", "alice", "--password-stdin", f"{HOST}/team", stdin=PASSWORD)
    assert code != 0, said
    assert person.holds(IN_A_FILE) == []


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("person", ["an ordinary user"], indirect=True)
def test_without_the_executable_on_the_path(person: Person, registry: Registry, tool: str) -> None:
    """As the page says: it fails, with a reason, and no login goes elsewhere."""
    configure(person)
    path = ":".join(part for part in person.env["PATH"].split(":") if part != str(BIN))

    code, said = login(person, tool, PATH=path)

    assert code != 0
    # What Go says by itself, and what Debian's says by an older library of Go's (`execabs`) in its place.
    assert "executable file not found in $PATH" in said or "resolves to executable in current directory" in said
    assert person.holds(IN_A_FILE) == []


def test_what_was_in_files_goes_on_until_it_is_moved(person: Person, registry: Registry, archive: Path) -> None:
    """Passwords in clear of before are read, and that is said; after a login they are not, and nothing is in a file."""
    file = person.write(".config/containers/auth.json", json.dumps({"auths": {HOST: {"auth": IN_A_FILE}}}))
    push(person, archive)
    said = configure(person)
    assert "they go on reading auth.json and config.json" in said
    assert registriesconf.words((person.home / DROP_IN).read_bytes()) == ("keyring", registriesconf.FILES)
    for tool in TOOLS:
        assert pull(person, tool)[0] == 0

    assert login(person, "podman")[0] == 0
    file.unlink()
    assert "go on reading" not in configure(person)

    assert registriesconf.words((person.home / DROP_IN).read_bytes()) == ("keyring",)
    assert person.holds(IN_A_FILE) == []
    for tool in TOOLS:
        assert pull(person, tool)[0] == 0


def serve(person: Person) -> tuple[str, ...]:
    """The remote client of a service that has no helper and no login."""
    address = f"unix://{person.runtime}/podman.sock"
    storage = person.write("elsewhere/.config/containers/storage.conf", '[storage]\ndriver = "vfs"\n' + _places(person))
    home = str(storage.parent.parent.parent)
    path = person.env["PATH"].partition(":")[2]
    service = ["podman", "system", "service", "--time", "0", address]
    person.start(*person.words(*service, HOME=home, PATH=path), env={"PATH": path})
    until(lambda: person.run("test", "-S", f"{person.runtime}/podman.sock")[0] == 0, "podman's service")
    return "podman", "--remote", "--url", address


def test_the_remote_client(person: Person, registry: Registry, archive: Path) -> None:
    """It reads its own user's files and asks the helper there; the service that pulls has no helper and no login."""
    configure(person)
    assert login(person, "podman")[0] == 0
    push(person, archive)
    remote = serve(person)

    person.do(*remote, "pull", f"{HOST}/app:1")
    assert person.do(*remote, "images", "--quiet", f"{HOST}/app:1")
    person.do(*remote, "logout", HOST)
    assert listed(person) == {}
    assert person.do(*remote, "rmi", f"{HOST}/app:1")
    assert "unauthorized" in (said := person.fail(*remote, "pull", f"{HOST}/app:1")) or "authentication" in said
    person.do(*remote, "login", "--username", "alice", "--password-stdin", HOST, stdin=PASSWORD)
    assert listed(person) == {HOST: "alice"}
    assert person.holds(IN_A_FILE) == []


@pytest.mark.parametrize("person", ["an ordinary user"], indirect=True)
def test_the_remote_client_after_a_login_to_docker_hub(person: Person, registry: Registry, archive: Path) -> None:
    """It asks for all that a helper lists and takes no URL, so it fails; what the page says to do instead works."""
    hub = {"ServerURL": "https://index.docker.io/v1/", "Username": "somebody", "Secret": "made-up"}
    configure(person)
    assert login(person, "podman")[0] == 0
    push(person, archive)
    remote = serve(person)
    person.do(*remote, "pull", f"{HOST}/app:1")
    person.do("docker-credential-keyring", "store", stdin=json.dumps(hub))
    assert "key https://index.docker.io/v1/ contains http[s]:// prefix" in person.fail(*remote, "pull", f"{HOST}/app:1")
    assert pull(person, "podman")[0] == 0

    person.do("rm", str(person.home / DROP_IN))
    person.write(".config/containers/auth.json", json.dumps({"credHelpers": {HOST: "keyring"}}))
    person.do(*remote, "pull", f"{HOST}/app:1")


LISTS = [
    pytest.param({}, {}, "", ["keyring"], id="nothing"),
    pytest.param({}, {"XDG_CONFIG_HOME": "{home}/xdg"}, "", ["keyring"], id="another directory for configurations"),
    pytest.param(
        {"registries.conf": 'unqualified-search-registries = ["x.example"]'}, {}, "", ["keyring"], id="own file"
    ),
    pytest.param(
        {"registries.conf": 'credential-helpers = ["mine"]'},
        {},
        "registries.conf names mine; the list in our drop-in, read later, takes its place",
        ["keyring", "mine"],
        id="helpers in an own file",
    ),
    pytest.param(
        {"registries.conf.d/10-x.conf": 'credential-helpers = ["secretservice", "mine", "containers-auth.json"]'},
        {},
        "10-x.conf names secretservice, mine, containers-auth.json; the list",
        ["keyring", "mine"],
        id="helpers in a drop-in before ours",
    ),
    pytest.param(
        {"registries.conf.d/60-mine.conf": 'credential-helpers = ["keyring", "containers-auth.json"]'},
        {},
        "",
        ["keyring"],
        id="a drop-in behind ours that has it",
    ),
]


@pytest.mark.parametrize(("files", "env", "said", "words"), LISTS)
@pytest.mark.parametrize("person", ["an ordinary user"], indirect=True)
def test_whose_list_counts(
    person: Person, registry: Registry, files: dict[str, str], env: dict[str, str], said: str, words: list[str]
) -> None:
    """Wherever a person has a list already, the clients ask ours after `--configure`, and nothing is in a file."""
    env = {name: value.format(home=person.home) for name, value in env.items()}
    person.env |= env
    for name in env.values():
        place = str(Path(name, "containers/storage.conf").relative_to(person.home))
        person.write(place, '[storage]\ndriver = "vfs"\n' + _places(person))
    for place, text in files.items():
        person.write(f".config/containers/{place}", text + "\n")

    told = configure(person)

    assert said in told
    assert list(registriesconf.words((person.home / DROP_IN).read_bytes())) == words
    for tool in TOOLS:
        code, out = login(person, tool)
        assert code == 0, out
        assert listed(person) == {HOST: "alice"}
        assert person.holds(IN_A_FILE) == []
        person.do(tool, "logout", HOST)
        assert listed(person) == {}


@pytest.mark.parametrize("person", ["an ordinary user"], indirect=True)
def test_a_list_behind_ours_is_told(person: Person, registry: Registry) -> None:
    """It would count, so ours is not written in vain; docker is set up all the same."""
    mine = person.write(".config/containers/registries.conf.d/60-mine.conf", 'credential-helpers = ["mine"]\n')

    said = configure(person)

    assert "warning: podman, buildah and skopeo go on as before: " in said
    assert f'{mine} comes after ours and names other "credential-helpers": put "keyring" first in its list' in said
    assert not (person.home / DROP_IN).exists()
    assert '"credsStore": "keyring" now' in said
    mine.write_text('credential-helpers = ["keyring", "mine"]\n')
    assert "warning" not in configure(person)
    assert login(person, "podman")[0] == 0
    assert listed(person) == {HOST: "alice"}


@pytest.mark.parametrize("person", ["an ordinary user"], indirect=True)
def test_the_helper_that_is_all_of_ours(person: Person, aws: FakeAws, registry: Registry, archive: Path) -> None:
    """Who has `auto` for docker has it for podman: one word serves a cloud and the logins, and says nothing else."""
    aws.mints = 0
    person.env = aws.environment() | person.env | {"AWS_CA_BUNDLE": person.env["SSL_CERT_FILE"]}
    person.write(".docker/config.json", '{"credsStore": "auto"}')
    configure(person)
    assert registriesconf.words((person.home / DROP_IN).read_bytes()) == ("auto",)

    for tool in TOOLS:
        assert person.do(tool, "login", "--get-login", ECR) == "AWS\n"
        code, said = login(person, tool)
        assert (code, "docker-credential" in said) == (0, False), said
        assert listed(person) == {HOST: "alice"}
        push(person, archive)
        assert pull(person, tool)[0] == 0
        person.do(tool, "logout", HOST)
        assert listed(person) == {}
    assert aws.mints == 1
    assert person.holds(IN_A_FILE) == []


def test_a_cloud_beside_the_keyring(person: Person, aws: FakeAws, registry: Registry) -> None:
    """A source that a file names is asked for its hosts, with no line of podman's own; logins elsewhere are kept."""
    aws.mints = 0
    person.env = aws.environment() | person.env | {"AWS_CA_BUNDLE": person.env["SSL_CERT_FILE"]}
    person.write(".docker/config.json", json.dumps({"credHelpers": {ECR: "ecr"}}))
    configure(person)
    assert registriesconf.words((person.home / DROP_IN).read_bytes()) == ("ecr", "keyring")

    for tool in TOOLS:
        assert person.do(tool, "login", "--get-login", ECR) == "AWS\n"
    assert aws.mints == 1
    for tool in TOOLS:
        code, said = login(person, tool)
        assert code == 0
        assert "no password is kept here for what is no registry of ecr" in said
        assert listed(person) == {HOST: "alice"}
        person.do(tool, "logout", HOST)
        assert listed(person) == {}
    assert person.holds(IN_A_FILE) == []
