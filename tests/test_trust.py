"""What the environment and files name that makes code run: from the working directory never, nor by others' word."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credhelpers.errors import Unavailable
from credhelpers.exchanges.ecr import authorization_token
from credhelpers.exchanges.ecr_hosts import ecr
from credhelpers.identities import aws as identity
from credhelpers.identities.aws_process import Runner
from credhelpers.net import trust
from credhelpers.sources.ecr import Ecr
from tests import commands
from tests.fakes import google as fakes
from tests.fakes.aws import KEY_ID, SECRET, FakeAws
from tests.harness import Result, call, environment, need
from tests.routes import age
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.commands import Command
    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
KEYS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
NAMING = ("credential_process", "executable", "token_helper")


@pytest.fixture
def aws(authority: CertificateAuthority) -> Iterator[FakeAws]:
    with FakeAws(authority) as fake:
        yield fake


@pytest.fixture
def env(aws: FakeAws, home: Path) -> dict[str, str]:
    """A user with keys in the environment and no token cache."""
    return environment(home, **aws.environment(), CREDHELPERS_CACHE_DIR="", AWS_EC2_METADATA_DISABLED="true")


@pytest.fixture
def command(request: pytest.FixtureRequest, authority: CertificateAuthority, home: Path) -> Iterator[Command]:
    """A program of the kind that the test is told."""
    with commands.world(request.param, authority, home) as made:
        yield made


def failure(result: Result, words: str, hint: str) -> None:
    """`get` failed with these words, and a hint that has these."""
    assert result.code == 1, result
    assert re.fullmatch(rf"[^\n]*{words}[^\n]*\n", result.out.decode()), result
    assert result.told
    assert re.search(rf"; .*{re.escape(hint)}.* \[", result.err.decode()), result
    assert len(result.out) <= 200, result
    assert len(result.err) <= 401, result


# --- a: what OpenSSL loads --------------------------------------------------------------------------------------------

_LIBRARY = """
#include <stdio.h>
__attribute__((constructor)) static void ran(void) { FILE *file = fopen(RAN, "w"); if (file) fclose(file); }
"""
_MODULE = """openssl_conf = init
[init]
providers = providers
[providers]
evil = evil
default = default
[default]
activate = 1
[evil]
activate = 1
"""
_ENGINE = """openssl_conf = init
[init]
engines = engines
[engines]
evil = evil
[evil]
engine_id = evil
init = 0
"""


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A working directory with a library that leaves a mark when it is loaded, and configurations that load it."""
    folder = tmp_path / "evil"
    (folder / "below").mkdir(parents=True)
    (folder / "evil.c").write_text(_LIBRARY)
    build = [need("gcc", "gcc"), "-shared", "-fPIC", f'-DRAN="{tmp_path}/ran"', "-o", str(folder / "evil.so")]
    subprocess.run([*build, str(folder / "evil.c")], check=True)
    (folder / "file.cnf").write_text(_MODULE.replace("[evil]\n", f"[evil]\nmodule = {folder}/evil.so\n"))
    (tmp_path / "module.cnf").write_text(_MODULE)
    (tmp_path / "engine.cnf").write_text(_ENGINE)
    # What is included lies elsewhere: without a directory to look in, OpenSSL looks in the working directory.
    (folder / "below/included.cnf").write_text((folder / "file.cnf").read_text())
    (tmp_path / "include.cnf").write_text(".include included.cnf\n")
    return folder


def get_in(folder: Path, name: str, server: str, env: dict[str, str]) -> Result:
    """`get` from another working directory."""
    script = 'cd "$1" && shift && exec "$@"'
    helper = str(Path(sys.executable).parent / f"docker-credential-{name}")
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(folder), helper, "get"],
        input=server.encode(),
        env=env,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def variables(tmp_path: Path, of: str, value: str) -> dict[str, str]:
    """An environment in which OpenSSL loads the library if `value`, in the variable `of`, leads to it."""
    return {
        "OPENSSL_CONF": {"OPENSSL_CONF": f"{value}/file.cnf"},
        "OPENSSL_CONF_INCLUDE": {
            "OPENSSL_CONF": f"{tmp_path}/include.cnf",
            "OPENSSL_CONF_INCLUDE": f"{value}/below",
        },
        "OPENSSL_MODULES": {"OPENSSL_CONF": f"{tmp_path}/module.cnf", "OPENSSL_MODULES": value},
        "OPENSSL_ENGINES": {"OPENSSL_CONF": f"{tmp_path}/engine.cnf", "OPENSSL_ENGINES": value},
    }[of]


OF_OPENSSL = ("OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES")


@pytest.mark.parametrize("of", OF_OPENSSL)
@pytest.mark.parametrize("value", [".", "../evil", "./below/..", "below/.."])
def test_openssl_loads_nothing_by_a_relative_path(
    env: dict[str, str], evil: Path, tmp_path: Path, of: str, value: str
) -> None:
    """The tester's, in each form and for each variable. An absolute configuration may need what is not found then."""
    result = get_in(evil, "ecr", PRIVATE, env | variables(tmp_path, of, value))
    if result.code:
        assert of in ("OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES")
        failure(result, "the TLS library of this machine does not work", "printenv OPENSSL_CONF OPENSSL_MODULES")
    assert not (tmp_path / "ran").exists()


def test_nor_by_a_bare_name(env: dict[str, str], evil: Path, tmp_path: Path) -> None:
    """A file of the working directory by its name."""
    assert get_in(evil, "ecr", PRIVATE, env | {"OPENSSL_CONF": "file.cnf"}).credential
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("of", OF_OPENSSL)
def test_openssl_loads_what_an_absolute_path_names(env: dict[str, str], evil: Path, tmp_path: Path, of: str) -> None:
    """Which is how FIPS is set up. It shows, too, that these libraries would be loaded."""
    get_in(evil, "ecr", PRIVATE, env | variables(tmp_path, of, str(evil)))
    assert (tmp_path / "ran").exists()


def test_an_empty_openssl_conf_stays_none(env: dict[str, str], evil: Path) -> None:
    """By which people have no configuration."""
    assert get_in(evil, "ecr", PRIVATE, env | {"OPENSSL_CONF": "", "OPENSSL_MODULES": ""}).credential


@pytest.mark.parametrize("command", commands.KINDS, indirect=True)
def test_no_helper_and_no_child_loads_it(command: Command, evil: Path, tmp_path: Path) -> None:
    """Each helper, and the Python in whatever it starts."""
    command.write(f"cd {evil} && {sys.executable} -c 'import ssl; ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)' || exit 3")

    found = get_in(evil, command.name, command.server, command.env | {"OPENSSL_CONF": "./file.cnf"})
    assert json.loads(found.out)["Secret"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("verb", ["get", "store", "erase", "list"])
@pytest.mark.parametrize("name", ["keyring", "ecr", "gcr", "acr", "vault"])
def test_no_verb_loads_it(env: dict[str, str], evil: Path, tmp_path: Path, name: str, verb: str) -> None:
    """Whatever a helper is asked, and however it fails."""
    document = json.dumps({"ServerURL": "registry.example", "Username": "u", "Secret": "s"})
    stdin = {"store": document, "list": ""}.get(verb, "registry.example")
    script = f'cd "{evil}" && exec "$@"'
    helper = str(Path(sys.executable).parent / f"docker-credential-{name}")
    subprocess.run(
        ["/bin/sh", "-c", script, "sh", helper, verb],
        input=stdin.encode(),
        env=env | {"OPENSSL_CONF": "./file.cnf", "CREDHELPERS_KEYRING": "embedded"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert not (tmp_path / "ran").exists()


def test_a_renewal_behind_the_answer_loads_nothing_either(
    aws: FakeAws, env: dict[str, str], evil: Path, tmp_path: Path, home: Path
) -> None:
    """The process that renews comes from a call that was a hit, and has not slowed down."""
    env |= {"CREDHELPERS_CACHE_DIR": str(home / "cache"), "OPENSSL_CONF": "./file.cnf"}
    assert get_in(evil, "ecr", PRIVATE, env).credential["Secret"] == "made-up-password-1"
    asker = Ecr({name.encode(): value.encode() for name, value in env.items()})
    age(home / "cache", asker, PRIVATE)
    until = time.monotonic() + 20
    while get_in(evil, "ecr", PRIVATE, env).credential["Secret"] != "made-up-password-2":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has such modules")
@pytest.mark.parametrize("path", [".", "{evil}", "/nonexistent:."])
def test_no_character_set_runs_code(env: dict[str, str], evil: Path, tmp_path: Path, path: str) -> None:
    """glibc loads a module for the locale's character set when a Python starts, before the first line of ours."""
    library = evil / "EVIL.so"
    library.write_bytes((evil / "evil.so").read_bytes())
    lines = ("module ISO-8859-15// INTERNAL EVIL 1", "module INTERNAL ISO-8859-15// EVIL 1", "")
    (evil / "gconv-modules").write_text("\n".join(lines))
    make = [need("localedef", "libc-bin"), "-c", "-i", "POSIX", "-f", "ISO-8859-15", str(evil / "made-up")]
    subprocess.run(make, check=False, capture_output=True)
    assert (evil / "made-up/LC_CTYPE").exists()
    more = {"LOCPATH": str(evil), "LC_ALL": "made-up", "GCONV_PATH": path.format(evil=evil)}
    subprocess.run([sys.executable, "-I", "-S", "-c", ""], env=more, cwd=evil, check=False, capture_output=True)
    assert (tmp_path / "ran").exists(), "a Python that runs it shows that it would be run"
    (tmp_path / "ran").unlink()

    assert get_in(evil, "ecr", PRIVATE, env | more).credential
    assert not (tmp_path / "ran").exists()


# --- b: relative paths of files that may name a command ---------------------------------------------------------------


def named(home: Path, name: str) -> Path:
    """A file of the AWS CLI's in the working directory, whose command leaves a mark."""
    program = home / "work/program"
    program.parent.mkdir(exist_ok=True)
    keys = json.dumps({"Version": 1, "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET})
    program.write_text(f"#!/bin/sh\ntouch {home}/ran\necho '{keys}'\n")
    program.chmod(0o700)
    file = home / "work" / name
    file.write_text(f"[default]\ncredential_process = {program}\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
@pytest.mark.parametrize("path", ["x", "./x", "../work/x", "nowhere", "~nobody-here/x", "$NOTHING/x", "$DOT/x"])
@pytest.mark.parametrize("has_keys", [False, True])
def test_aws_files_by_a_relative_path(
    aws: FakeAws, env: dict[str, str], home: Path, variable: str, path: str, *, has_keys: bool
) -> None:
    """An error with the reason, whether the file is there, whether it would be used: and nothing of it is run."""
    folder = named(home, "x").parent
    if not has_keys:
        del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    result = get_in(folder, "ecr", PRIVATE, env | {variable: path, "DOT": "."})

    failure(result, "config or credentials file has a relative path", "AWS_SHARED_CREDENTIALS_FILE")
    assert not (home / "ran").exists()
    assert aws.requests == []


def test_a_home_that_is_a_relative_path(aws: FakeAws, env: dict[str, str], home: Path) -> None:
    """The usual files are then below the working directory."""
    named(home, "x").rename(home / "work/config")
    (home / "work").rename(home / ".aws")
    del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    failure(get_in(home, "ecr", PRIVATE, env | {"HOME": "."}), "has a relative path", "HOME")
    assert not (home / "ran").exists()


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
@pytest.mark.parametrize("path", ["", "~/work/x", "$HOME/work/x", "{home}/work/x", "{home}/work/../work/x"])
def test_aws_files_by_other_paths(env: dict[str, str], home: Path, variable: str, path: str) -> None:
    """An absolute one is used, and an empty one is none, as with AWS's own tools."""
    folder = named(home, "x").parent
    if path:
        del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    assert get_in(folder, "ecr", PRIVATE, env | {variable: path.format(home=home)}).credential
    assert (home / "ran").exists() == bool(path)


def test_a_relative_path_is_not_answered_from_the_cache(aws: FakeAws, env: dict[str, str], home: Path) -> None:
    """The token of the same file by its absolute path, of the default one and of no file is not its answer."""
    folder = named(home, "x").parent
    env["CREDHELPERS_CACHE_DIR"] = str(home / "cache")
    for path in (str(folder / "x"), "", "/nowhere"):
        assert get_in(folder, "ecr", PRIVATE, env | {"AWS_CONFIG_FILE": path}).credential
    assert get_in(folder, "ecr", PRIVATE, env).credential
    mints = aws.mints
    for path in ("x", "./x", "../work/x", "nowhere"):
        result = get_in(folder, "ecr", PRIVATE, env | {"AWS_CONFIG_FILE": path})
        failure(result, "has a relative path", "AWS_CONFIG_FILE")
    assert aws.mints == mints


@pytest.mark.parametrize("command", ["token_helper"], indirect=True)
@pytest.mark.parametrize("variable", ["VAULT_CONFIG_PATH", "BAO_CONFIG_PATH"])
@pytest.mark.parametrize("path", [".vault", "./.vault", "../home/.vault", "nowhere", "~nobody/.vault"])
def test_vault_s_configuration_by_a_relative_path(command: Command, home: Path, variable: str, path: str) -> None:
    """It may name a token helper."""
    command.write(f"touch {home}/ran")
    result = get_in(home, command.name, command.server, command.env | {variable: path})

    failure(result, "configuration file of `vault` has a relative path", "VAULT_CONFIG_PATH")
    assert not (home / "ran").exists()


@pytest.mark.parametrize(
    ("command", "variable", "words"),
    [
        pytest.param("az", "AZURE_CONFIG_DIR", "az would run extensions", id="az"),
        pytest.param("az", "AZURE_EXTENSION_DIR", "az would run extensions", id="extensions of az"),
        pytest.param("azd", "AZD_CONFIG_DIR", "azd would run extensions", id="azd"),
        pytest.param("azd", "AZURE_CONFIG_DIR", "azd would run extensions", id="azd asks az"),
        pytest.param("gcloud", "CLOUDSDK_CONFIG", "gcloud would run", id="gcloud"),
    ],
    indirect=["command"],
)
@pytest.mark.parametrize("path", ["x", "./x", "../x"])
def test_a_directory_with_code_by_a_relative_path(
    command: Command, home: Path, variable: str, words: str, path: str
) -> None:
    """az, azd and gcloud load code from their directories, and are not started for such a one."""
    command.write(f"touch {home}/ran")
    result = get_in(home, command.name, command.server, command.env | {variable: path})

    failure(result, f"{variable} is a relative path, so {words}", variable)
    assert not (home / "ran").exists()
    assert command.get(**{variable: str(home)}).credential
    assert command.get(**{variable: ""}).credential


@pytest.mark.parametrize("command", ["executable"], indirect=True)
def test_a_google_file_by_a_relative_path(command: Command, home: Path) -> None:
    """One that names a program is an error. Any other is found from where docker was called, as ever."""
    command.write(f"touch {home}/ran")
    for path in ("credential.json", "./credential.json", "../home/credential.json"):
        named = {"GOOGLE_APPLICATION_CREDENTIALS": path}
        result = get_in(home, command.name, command.server, command.env | named)
        failure(result, "names a program, and has a relative path", "GOOGLE_APPLICATION_CREDENTIALS")
    assert not (home / "ran").exists()

    command.file.write_text(json.dumps(fakes.service_account()))
    for path in ("credential.json", "./credential.json", "../home/credential.json"):
        named = {"GOOGLE_APPLICATION_CREDENTIALS": path}
        assert get_in(home, command.name, command.server, command.env | named).credential


@pytest.mark.parametrize("command", ["executable"], indirect=True)
def test_gcloud_s_file_by_a_relative_path(command: Command, home: Path) -> None:
    """The same with the application default credential, wherever its path begins."""
    del command.env["GOOGLE_APPLICATION_CREDENTIALS"]
    (home / ".config/gcloud").mkdir(parents=True)
    command.file.rename(home / ".config/gcloud/application_default_credentials.json")
    assert command.get().credential
    for more in ({"CLOUDSDK_CONFIG": ".config/gcloud"}, {"HOME": "."}):
        result = get_in(home, command.name, command.server, command.env | more)
        failure(result, "names a program, and has a relative path", "CLOUDSDK_CONFIG")


# --- c: files that others may write -----------------------------------------------------------------------------------

_SHARED, _STRANGER = 54321, 54321


def _shared(path: Path) -> None:
    need_root("a file of another group")
    os.chown(path, -1, _SHARED)
    path.chmod(0o664)


def _given_away(path: Path) -> None:
    need_root("a file of another user")
    os.chown(path, _STRANGER, _STRANGER)


def _private(path: Path) -> None:
    """As with umask 002; root's own group is a private one."""
    need_root("a group that is known to be private")
    path.chmod(0o664)


REFUSED = [
    pytest.param(lambda path: path.chmod(0o666), id="all"),
    pytest.param(lambda path: path.chmod(0o602), id="all but the group"),
    pytest.param(_shared, id="a shared group"),
    pytest.param(_given_away, id="another user"),
]
TRUSTED = [
    pytest.param(lambda path: path.chmod(0o600), id="only the user"),
    pytest.param(lambda path: path.chmod(0o644), id="all may read"),
    pytest.param(_private, id="the private group"),
]


@pytest.mark.parametrize("command", NAMING, indirect=True)
@pytest.mark.parametrize("spoil", REFUSED)
def test_a_file_that_others_may_write_names_no_command(
    command: Command, home: Path, spoil: Callable[[Path], None]
) -> None:
    """It is refused with the reason, nothing is run, and the command in the hint mends it."""
    command.write(f"touch {home}/ran")
    spoil(command.file)
    result = command.get()

    failure(result, "(others may write|open to others)", f"{command.file}`")
    assert not (home / "ran").exists()
    [mending] = re.findall("run `(.*)`", result.err.decode())
    subprocess.run(["/bin/sh", "-c", mending.removeprefix("sudo ")], check=True)
    assert command.get().credential


@pytest.mark.parametrize("command", NAMING, indirect=True)
@pytest.mark.parametrize("keep", TRUSTED)
def test_a_file_that_only_the_user_may_write_names_a_command(command: Command, keep: Callable[[Path], None]) -> None:
    """Group write by the owner's private group does not count."""
    keep(command.file)
    assert command.get().credential


@pytest.mark.parametrize("command", NAMING, indirect=True)
def test_a_link_to_a_file_that_others_may_write_names_no_command(command: Command, home: Path) -> None:
    """What a link leads to counts."""
    command.file.rename(home / "elsewhere")
    command.file.symlink_to(home / "elsewhere")
    assert command.get().credential
    (home / "elsewhere").chmod(0o666)
    failure(command.get(), "(others may write|open to others)", "chmod go-w")


@pytest.mark.parametrize("command", ["credential_process"], indirect=True)
def test_which_of_aws_s_files_counts(command: Command, home: Path) -> None:
    """The one that names the command that would run; what others wrote there and nobody uses harms nobody."""
    own, other = command.file, home / ".aws/credentials"
    line = own.read_text()
    other.write_text("[other]\ncredential_process = /nonexistent\n")
    other.chmod(0o666)
    assert command.get().credential
    other.write_text(line)
    failure(command.get(), "others may write", f"chmod go-w {other}")
    own.write_text("[default]\ncredential_process = /nonexistent\n")
    own.chmod(0o666)
    other.chmod(0o600)
    assert command.get().credential
    assert command.get(**KEYS).credential


def test_what_runs_stands_in_the_file_that_was_looked_at(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write the directory, as of a shared one, puts another file there for the moment in which it is read."""
    file = tmp_path / "config"
    for name in ("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", env["HOME"])
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    file.write_text(f"[default]\ncredential_process = touch {tmp_path}/ran\n")
    file.chmod(0o666)
    caller = identity.Caller("eu-west-1", {}, time.monotonic() + 9)
    runner = Runner(caller.session, caller.reasons, time.monotonic() + 9)
    command = shlex.split(caller.session.get_scoped_config()["credential_process"])
    file.unlink()
    file.write_text("[profile w]\ncredential_process = echo '\n[profile x]\ncredential_process = echo 'a b'\n")

    with pytest.raises(Unavailable, match="has changed since it was read"):
        runner.run("default", command)
    assert not (tmp_path / "ran").exists()
    assert runner.run("x", ["echo", "a b"]) == (0, b"a b\n", b"")


@pytest.mark.parametrize("command", ["credential_process"], indirect=True)
def test_the_profile_on_which_a_role_rests(command: Command, home: Path) -> None:
    """A command that signs in for a role is a command."""
    command.write(f"touch {home}/ran")
    role = "[default]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = base\n[profile base]\n"
    command.file.write_text(role + command.file.read_text().partition("\n")[2])
    assert command.get().credential
    (home / "ran").unlink()
    (home / ".aws/cli").rename(home / "cli")
    command.file.chmod(0o666)
    failure(command.get(), "others may write", f"chmod go-w {command.file}")
    assert not (home / "ran").exists()


def test_a_file_that_names_no_command_is_used_as_ever(env: dict[str, str], home: Path) -> None:
    """Keys that others may write choose an identity, as with AWS's own tools, and run nothing."""
    (home / ".aws").mkdir()
    keys = f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
    (home / ".aws/credentials").write_text(keys)
    (home / ".aws/credentials").chmod(0o666)
    bare = {name: value for name, value in env.items() if name not in KEYS}
    assert call("ecr", "get", PRIVATE, bare).credential


@pytest.mark.parametrize("command", ["executable"], indirect=True)
def test_a_google_file_that_names_no_program_is_used_as_ever(command: Command) -> None:
    """As before with a service account's key."""
    command.file.write_text(json.dumps(fakes.service_account()))
    command.file.chmod(0o666)
    assert command.get().credential


@pytest.mark.parametrize("command", ["token_helper"], indirect=True)
@pytest.mark.parametrize("spoil", REFUSED)
def test_a_token_helper_that_others_may_write(command: Command, home: Path, spoil: Callable[[Path], None]) -> None:
    """The program itself is looked at as well."""
    command.write(f"touch {home}/ran")
    spoil(command.program)
    failure(command.get(), "not a program that only you may write", "ls -l")
    assert not (home / "ran").exists()


@pytest.mark.parametrize("command", ["token_helper"], indirect=True)
def test_a_token_helper_of_a_private_group(command: Command) -> None:
    """As what is built under umask 002."""
    _private(command.program)
    command.program.chmod(0o775)
    assert command.get().credential


@pytest.mark.parametrize("harm", REFUSED)
def test_a_configuration_that_others_may_write(env: dict[str, str], home: Path, harm: Callable[[Path], None]) -> None:
    """config.toml by the same rule, and its hint mends it too."""
    file = home / ".config/credhelpers/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("# nothing\n")
    harm(file)
    result = call("ecr", "get", PRIVATE, env)
    failure(result, "others may write it", f"{file}`")
    [mending] = re.findall("run `(.*)`", result.err.decode())
    subprocess.run(["/bin/sh", "-c", mending.removeprefix("sudo ")], check=True)
    assert call("ecr", "get", PRIVATE, env).credential


@pytest.mark.parametrize("keep", TRUSTED)
def test_a_configuration_of_a_private_group(env: dict[str, str], home: Path, keep: Callable[[Path], None]) -> None:
    """umask 002 is usual on Fedora and Ubuntu."""
    file = home / ".config/credhelpers/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("# nothing\n")
    keep(file)
    assert call("ecr", "get", PRIVATE, env).credential


# --- d: errors of the system ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ecr", "gcr"])
def test_a_tls_library_that_does_not_work_is_said_to_be_one(
    authority: CertificateAuthority, env: dict[str, str], home: Path, name: str
) -> None:
    """It is neither a web identity file nor one of certificates."""
    (home / "x.cnf").write_text("openssl_conf = a\n[a]\nproviders = b\n[b]\nbase = c\n[c]\nactivate = 1\n")
    if name == "gcr":
        with fakes.FakeGoogle(authority) as fake:
            (home / "key.json").write_text(json.dumps(fakes.service_account()))
            more = {"OPENSSL_CONF": str(home / "x.cnf"), "GOOGLE_APPLICATION_CREDENTIALS": str(home / "key.json")}
            result = call("gcr", "get", "gcr.io", environment(home, **fake.environment(**more)))
    else:
        result = call("ecr", "get", PRIVATE, env | {"OPENSSL_CONF": str(home / "x.cnf")})
    failure(result, "the TLS library of this machine does not work", "printenv OPENSSL_CONF")


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOSPC, errno.ENOSYS])
def test_an_error_of_the_system_is_said_by_its_name(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Whatever file, device or call it was, it was not the web identity file."""

    def fail(_self: object) -> None:
        raise OSError(number, os.strerror(number), "/made-up/path")

    monkeypatch.setattr(identity.Caller, "sign_in", fail)
    with pytest.raises(Unavailable) as caught:
        authorization_token(ecr(PRIVATE), {})
    assert caught.value.message == f"the system does not let the AWS SDK do its work: {os.strerror(number)}"
    assert "made-up" not in caught.value.hint


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
@pytest.mark.parametrize("is_profile", [False, True])
def test_a_web_identity_file_is_called_one(
    env: dict[str, str], home: Path, content: bytes | None, *, is_profile: bool
) -> None:
    """By the environment or by a profile, not there or no text."""
    if content is not None:
        (home / "token").write_bytes(content)
    bare = {name: value for name, value in env.items() if name not in KEYS}
    role = "arn:aws:iam::111122223333:role/puller"
    if is_profile:
        (home / ".aws").mkdir()
        lines = f"[default]\nrole_arn = {role}\nweb_identity_token_file = {home}/token\n"
        (home / ".aws/config").write_text(lines)
    else:
        bare |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"), "AWS_ROLE_ARN": role}
    failure(call("ecr", "get", PRIVATE, bare), "web identity token file cannot be read", "AWS_WEB_IDENTITY_TOKEN_FILE")


def test_certificates_that_are_none_are_called_so(authority: CertificateAuthority, home: Path) -> None:
    """The library works there, and the file is to blame."""
    (home / "x.pem").write_text("x")
    with pytest.raises(Unavailable, match="REQUESTS_CA_BUNDLE"):
        trust.context({b"REQUESTS_CA_BUNDLE": bytes(home / "x.pem")})
