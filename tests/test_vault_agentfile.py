"""The configuration file of docker-credential-vault-login leads ours to the same secrets."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credhelpers.errors import Unavailable
from credhelpers.recorder import Recorder
from credhelpers.sources import _vault as source
from credhelpers.vault import agentfile
from tests.forms import ROOT
from tests.harness import NOT_FOUND, Result, document, environment, patience
from tests.harness import loaded_call as call
from tests.services import need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.services import Vault

HOST = "registry-1.example.com"
OTHER = "registry-2.example.com:5000"
SECRET = "made-up password"


@pytest.fixture(scope="module")
def server(vault: Vault) -> Iterator[Vault]:
    """A server with both versions of KV, and a role that may read in them."""
    vault.call("POST", "sys/mounts/agent-v2", {"type": "kv", "options": {"version": "2"}})
    vault.call("POST", "sys/mounts/agent-v1", {"type": "kv", "options": {"version": "1"}})
    vault.call("POST", "sys/auth/agent-role", {"type": "approle"})
    vault.policy("agent", "agent-v2/data/* read", "agent-v1/* read")
    vault.call("POST", "auth/agent-role/role/docker", {"token_policies": ["agent"], "token_ttl": "1h"})
    vault.call("POST", "agent-v2/data/docker/one", {"data": {"username": "one", "password": SECRET}})
    vault.call("POST", "agent-v1/docker/two", {"username": "two", "password": SECRET})
    yield vault
    for path in ("sys/auth/agent-role", "sys/mounts/agent-v1", "sys/mounts/agent-v2", "sys/policies/acl/agent"):
        vault.call("DELETE", path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "agent.hcl"


@pytest.fixture
def env(home: Path, file: Path) -> dict[str, str]:
    """A user's environment that names the file, and no server."""
    return environment(home, DCVL_CONFIG_FILE=str(file), VAULT_TOKEN="made-up-token")


@pytest.fixture
def with_server(env: dict[str, str], server: Vault) -> dict[str, str]:
    """The same with the server, and a token for it."""
    return env | {"VAULT_ADDR": server.address, "VAULT_TOKEN": server.token_for("agent")}


def write(file: Path, text: str | bytes) -> None:
    """What only its owner may write."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(0o600)


def method(lines: str, name: str = "token", *, more: str = "") -> str:
    """A file with a method, one secret, and whatever else is in the method's `config`."""
    own = f'config = {{\n secret = "agent-v1/docker/two"\n {lines} }}'
    return f'auto_auth {{\n method "{name}" {{\n {own}\n }} {more} }}\n'


def test_a_file_as_the_original_documents_it(
    env: dict[str, str], file: Path, server: Vault, tmp_path: Path, home: Path
) -> None:
    """AppRole with files, secrets by host, KV of both versions, a sink: one login for all, and nobody else's host."""
    role = "auth/agent-role/role/docker"
    role_id, secret_id = tmp_path / "role-id", tmp_path / "secret-id"
    role_id.write_text(server.call("GET", f"{role}/role-id")["data"]["role_id"] + "\n")
    secret_id.write_text(server.call("POST", f"{role}/secret-id")["data"]["secret_id"] + "\n")
    for path in (role_id, secret_id):
        path.chmod(0o600)
    write(
        file,
        f"""
# Comments of all kinds.
pid_file = "./pidfile" // ignored
vault {{
    address = "{server.address}" /* the
                                     server */
    retry {{ num_retries = 5 }}
}}
auto_auth {{
\tmethod "approle" {{
\t\tmount_path = "auth/agent-role"
\t\tconfig = {{
\t\t\trole_id_file_path   = "{role_id}"
\t\t\tsecret_id_file_path = "{secret_id}"
\t\t\tsecrets = {{
\t\t\t\t{HOST} = "agent-v2/data/docker/one"
\t\t\t\t"{OTHER}" = "agent-v1/docker/two"
\t\t\t\t"docker.io" = "agent-v1/docker/two"
\t\t\t}}
\t\t}}
\t}}
\tsink "file" {{
\t\tconfig = {{ path = "{tmp_path}/sink" }}
\t}}
}}
template {{
  contents = <<EOF
{{{{ with secret "x" }}}} " {{ }}
EOF
  destination = "/dev/null"
}}
listener "tcp" {{ address = "127.0.0.1:8100", tls_disable = true }}
listener "unix" {{ address = "/x" }}
""",
    )

    for asked, user in ((HOST, "one"), (OTHER, "two"), ("https://index.docker.io/v1/", "two"), (HOST.upper(), "one")):
        expected = {"ServerURL": asked, "Username": user, "Secret": SECRET}
        assert call("vault", "get", asked, env).credential == expected
    assert not secret_id.exists()  # the Agent's default
    assert not (tmp_path / "sink").exists()
    for stranger in ("ghcr.io", f"{HOST}:5000", f"x.{HOST}", OTHER.partition(":")[0], f"{HOST}.evil.example"):
        assert call("vault", "get", stranger, env) == Result(1, NOT_FOUND, b"")

    assert call("vault", "store", document(HOST, "someone", "typed"), env) == Result(0, b"", b"")
    assert call("vault", "erase", HOST, env) == Result(0, b"", b"")
    assert call("vault", "get", HOST, env).credential["Username"] == "one"


FORMS = [
    pytest.param(method(""), id="label"),
    pytest.param('auto_auth { method { type = "token" config { secret = "agent-v1/docker/two" } } }', id="type"),
    pytest.param(
        'auto_auth = { method "token" { config = { secret = "agent-v1/docker/two" } }'
        ' sink = { type = "file" config = { path = "/x" } } }',
        id="objects, as Helm charts have it",
    ),
    pytest.param('"auto_auth" { "method" "token" { "config" { "secret" = "/agent-v1/docker/two/" } } }', id="quotes"),
    pytest.param(
        json.dumps({"auto_auth": {"method": [{"type": "token", "config": {"secret": "agent-v1/docker/two"}}]}}),
        id="JSON",
    ),
    pytest.param(
        json.dumps({"auto_auth": [{"method": [{"token": [{"config": [{"secret": "agent-v1/docker/two"}]}]}]}]}),
        id="JSON with labels and lists",
    ),
    pytest.param("\ufeff" + method("").replace("\n", "\r\n"), id="of an editor on Windows"),
    pytest.param(method("", more='sink "file" { config = { path = "/a" } } sink "file" { config { } }'), id="sinks"),
    pytest.param("cache { use_auto_auth_token = true }\nauto_auth { enable_reauth_on_new_credentials = true\n"
                 + method("").partition("\n")[2], id="other keys"),
]  # fmt: skip


@pytest.mark.parametrize("text", FORMS)
def test_forms_of_the_language(with_server: dict[str, str], file: Path, text: str) -> None:
    """HCL as Vault reads it, which is version 1, and the JSON that it takes for the same."""
    write(file, text)

    assert call("vault", "get", HOST, with_server).credential["Username"] == "two"
    assert call("vault", "get", "any.example", with_server).credential["Username"] == "two"


# Text in the method's `config`, what it becomes besides path, and the method.
TRANSLATED = [
    pytest.param(
        "approle",
        'role_id_file_path = "/r" secret_id_file_path = "/s" remove_secret_id_file_after_reading = false',
        {"role_id_file": "/r", "secret_id_file": "/s", "remove_secret_id_file": False},
        id="approle",
    ),
    pytest.param(
        "approle",
        'role_id_file_path = "/r" secret_id_file_path = "/s" remove_secret_id_file_after_reading = "false"'
        ' secret_id_response_wrapping_path = "auth/approle/role/docker/secret-id"',
        {
            "role_id_file": "/r",
            "secret_id_file": "/s",
            "remove_secret_id_file": False,
            "secret_id_path": "auth/approle/role/docker/secret-id",
        },
        id="approle-wrapped",
    ),
    pytest.param("approle", 'role_id_file_path = "/r"', {"role_id_file": "/r"}, id="approle-without-secret"),
    pytest.param(
        "aws",
        'type = "iam" role = "docker" region = "eu-west-1" header_value = "v.example" credential_poll_interval = 60',
        {"role": "docker", "sts_region": "eu-west-1", "server_id": "v.example"},
        id="aws",
    ),
    pytest.param(
        "azure",
        'role = "docker" resource = "https://vault.example/" client_id = "00000000-0000-0000-0000-000000000001"'
        " authenticate_from_environment = false",
        {
            "role": "docker",
            "resource": "https://vault.example/",
            "client_id": "00000000-0000-0000-0000-000000000001",
        },
        id="azure",
    ),
    pytest.param(
        "cert",
        'name = "docker" client_cert = "/c" client_key = "/k" ca_cert = "/ca" reload = true',
        {"role": "docker", "certificate_file": "/c", "key_file": "/k", "ca_file": "/ca"},
        id="cert",
    ),
    pytest.param("gcp", 'type = "gce" role = "docker" credentials = "/c"', {"role": "docker"}, id="gcp-gce"),
    pytest.param(
        "gcp",
        'type = "iam" role = "docker" credentials = "/c" jwt_exp = 15',
        {"role": "docker", "credentials_file": "/c"},
        id="gcp-iam",
    ),
    pytest.param(
        "jwt",
        'path = "/j" role = "docker" remove_jwt_after_reading = false jwt_read_period = "1s"',
        {"jwt_file": "/j", "role": "docker"},
        id="jwt",
    ),
    pytest.param(
        "kubernetes", 'role = "docker" token_path = "/t"', {"role": "docker", "jwt_file": "/t"}, id="kubernetes"
    ),
    pytest.param("token", "", {}, id="token"),
]


def found(file: Path, text: str, **environ: str) -> dict[str, object] | None:
    """What is understood, in our own settings."""
    write(file, text)
    variables = {name.encode(): value.encode() for name, value in environ.items()}
    recorder = Recorder(variables | {b"DCVL_CONFIG_FILE": bytes(file), b"HOME": b"/home"})
    fitting = [entry for entry in source.others(recorder) if entry.pattern in ("*", HOST)]
    if not fitting:
        return None
    (entry,) = fitting
    if entry.mistake:
        raise entry.mistake
    return entry.settings


@pytest.mark.parametrize(("name", "lines", "expected"), TRANSLATED)
def test_methods_are_translated(file: Path, name: str, lines: str, expected: dict[str, object]) -> None:
    """Each key becomes the setting that means the same; what is never written to stays so."""
    common = {"path": "agent-v1/docker/two", "read_only": True, "auth": name}

    assert found(file, method(lines, name)) == common | expected


def test_a_file_with_a_token(file: Path) -> None:
    """The usual one is read anyway; another one can be named in the environment alone."""
    text = method('token_file_path = "/home/.vault-token"', "token-file")
    common = {"path": "agent-v1/docker/two", "read_only": True, "auth": "token"}

    assert found(file, text) == common
    other = text.replace("/home/.vault-token", "/run/token")
    with pytest.raises(Unavailable, match="token_file_path"):
        found(file, other)
    for name in ("BAO_TOKEN_PATH", "VAULT_TOKEN_PATH"):
        assert found(file, other, **{name: "/run/token"}) == common
        with pytest.raises(Unavailable, match="token_file_path"):
            found(file, text, **{name: "/run/token"})
    with pytest.raises(Unavailable, match="token_file_path"):
        found(file, other, BAO_TOKEN_PATH="", VAULT_TOKEN_PATH="/run/token")


def test_mounts_and_namespaces(file: Path) -> None:
    """The mount of a method without `auth/`; in the namespace of the method its own name is not said again."""
    text = method("").replace("config", 'mount_path = "auth/team/here/"\n namespace = "agent-v1/"\n config', 1)
    text = text.replace('"token"', '"kubernetes"').replace("secret =", 'role = "docker"\n secret =')
    expected = {
        "path": "docker/two",
        "read_only": True,
        "auth": "kubernetes",
        "role": "docker",
        "auth_mount": "team/here",
        "namespace": "agent-v1",
    }

    assert found(file, text) == expected
    without = {"path": "agent-v1/docker/two"}
    assert found(file, text, VAULT_NAMESPACE="other") == {
        key: value for key, value in (expected | without).items() if key != "namespace"
    }


SERVER = """vault {
  address = "https://vault.example:8200"
  ca_cert = "/ca"
  client_cert = "/c"
  client_key = "/k"
  namespace = "team"
  tls_skip_verify = false
  retry { num_retries = -1 }
}
"""


@pytest.mark.parametrize(
    ("variable", "key"),
    [
        ("VAULT_ADDR", "address"),
        ("BAO_ADDR", "address"),
        ("VAULT_AGENT_ADDR", "address"),
        ("VAULT_CACERT", "ca_file"),
        ("VAULT_CLIENT_CERT", "certificate_file"),
        ("VAULT_CLIENT_KEY", "key_file"),
        ("VAULT_NAMESPACE", "namespace"),
    ],
)
def test_the_environment_goes_before_the_file(file: Path, variable: str, key: str) -> None:
    """As with the original, a variable wins over the block `vault`."""
    expected = {
        "address": "https://vault.example:8200",
        "ca_file": "/ca",
        "certificate_file": "/c",
        "key_file": "/k",
        "namespace": "team",
    }
    text = SERVER if key != "certificate_file" else SERVER.replace('client_key = "/k"', "")
    if key == "certificate_file":
        del expected["key_file"]
    common = {"path": "agent-v1/docker/two", "read_only": True, "auth": "token"}

    assert found(file, text + method("")) == common | expected
    del expected[key]
    assert found(file, text + method(""), **{variable: "https://other.example"}) == common | expected


REFUSED = [
    pytest.param(method("", "alicloud"), b"`method`", id="alicloud"),
    pytest.param(method('role = "r"', "cf"), b"`method`", id="cf"),
    pytest.param(method("", "no-such"), b"`method`", id="unknown-method"),
    pytest.param(method("", "a-made-up-token-in-a-strange-place"), b"`method`", id="hostile: a secret as method"),
    pytest.param(method('token = "a-made-up-token"'), b"`token` is a secret", id="token-inline"),
    pytest.param(method('secret_id = "a-made-up-id"', "approle"), b"`secret_id` is a secret", id="secret-id-inline"),
    pytest.param(method('access_key = "a-made-up-key"', "aws"), b"`access_key` is a secret", id="aws-key-inline"),
    pytest.param(method('type = "ec2" role = "r"', "aws"), b"type", id="aws-ec2"),
    pytest.param(method('role = "r" object_id = "x"', "azure"), b"`object_id`", id="azure-object"),
    pytest.param(method("authenticate_from_environment = true", "azure"), b"authenticate_from", id="azure-environment"),
    pytest.param(method('path = "/j" remove_jwt_after_reading = true', "jwt"), b"remove_jwt", id="jwt-removed"),
    pytest.param(method("no_such_key = 1"), b"`no_such_key`", id="unknown-key"),
    pytest.param(method(f'{"k" * 60} = 1'), b"a key in `config`", id="hostile: a long key"),
    pytest.param(method('secrets = { x = "a/b" }'), b"or both", id="secret-and-secrets"),
    pytest.param('auto_auth { method "token" { config = { } } }', b"neither", id="no-secret"),
    pytest.param("", b"neither", id="empty"),
    pytest.param('vault { address = "https://x" }', b"neither", id="no-auto-auth"),
    pytest.param(method("") * 2, b"more than one `auto_auth`", id="two-auto-auth"),
    pytest.param(method("", more='method "token" { }'), b"more than one `method`", id="two-methods"),
    pytest.param(method('secret = "agent-v1/x"'), b"twice", id="a-key-twice"),
    pytest.param(method('a "b" { }'), b"config", id="a-block-in-config"),
    pytest.param(method("").replace('"agent-v1/docker/two"', "1"), b"must be a text", id="secret-is-a-number"),
    pytest.param(method("").replace('"agent-v1/docker/two"', '["a/b"]'), b"must be a text", id="secret-is-a-list"),
    pytest.param(method("").replace('"agent-v1/docker/two"', '""'), b"`path`", id="secret-is-empty"),
    pytest.param(method("").replace("secret =", "secrets ="), b"not a block", id="secrets-is-a-text"),
    pytest.param(method("").replace('secret = "agent', 'secrets = { "a b" = "agent').replace('two"', 'two" }'),
                 b"not a host", id="secrets-of-no-host"),
    pytest.param(method("").replace('secret = "agent-v1/docker/two"',
                 'secrets = { "a.example" = "a/b" "A.example:443" = "a/c" }'), b"two paths", id="two-paths-for-a-host"),
    pytest.param(method("", more='sink "file" { dh_type = "curve25519" config = { path = "/x" } }'),
                 b"`dh_type`", id="encrypted-sink"),
    pytest.param(method("", more='sink "file" { wrap_ttl = "5m" config = { path = "/x" } }'),
                 b"`wrap_ttl`", id="wrapped-sink"),
    pytest.param(method("").replace("config", 'wrap_ttl = "5m"\n config', 1), b"`wrap_ttl`", id="wrapped-login"),
    pytest.param(method("").replace("config", 'mount_path = "token"\n config', 1), b"mount_path", id="mount-elsewhere"),
    pytest.param(method("") + 'vault { tls_skip_verify = "true" }', b"tls_skip_verify", id="unverified"),
    pytest.param(method("") + 'vault { tls_skip_verify = "perhaps" }', b"neither true nor false", id="no-flag"),
    pytest.param(method("") + 'vault { ca_path = "/x" }', b"`ca_path`", id="ca-path"),
    pytest.param(method("") + 'vault { tls_server_name = "x" }', b"`tls_server_name`", id="server-name"),
    pytest.param(method("") + 'vault { address = "ldap://x" }', b"`address`", id="address-of-another-scheme"),
    pytest.param(method("") + 'vault { address = "https://user:made-up@x" }', b"`address`", id="password-in-address"),
    pytest.param(method("") + 'vault { client_key = "/k" }', b"certificate_file", id="key-without-certificate"),
    pytest.param(method('role = "r" path = "j"', "jwt"), b"`jwt_file`", id="relative-path"),
    pytest.param(method('role = "r" path = "/\\ud800"', "jwt"), b"`jwt_file`", id="hostile: half a character"),
    pytest.param(method('role = "r" path = "/\\u0000"', "jwt"), b"`jwt_file`", id="hostile: a zero"),
    pytest.param(method("").replace("docker/two", "{host}"), b"brace", id="template"),
    pytest.param(method("").replace("docker/two", "${x}"), b"brace", id="hostile: interpolation"),
    pytest.param(method("").replace("docker/two", "../sys/x"), b"not one", id="hostile: a path that climbs"),
    pytest.param(method("").replace('"agent-v1/docker/two"', 'env("X")'), b"line 4: not HCL", id="hostile: a function"),
    pytest.param(method("").replace('"agent-v1/docker/two"', "<<E\na/b\nE\n"), b"`path`", id="hostile: a heredoc"),
    pytest.param(method("").replace("docker/two", "%0a"), b"`path`", id="hostile: an escape in a path"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "word"), REFUSED)
def test_what_would_not_be_followed_is_told(env: dict[str, str], file: Path, text: str, word: bytes) -> None:
    """A sentence that names what, and the file; nothing of a secret in it, and no answer by another identity."""
    write(file, text)
    done = call("vault", "get", HOST, env)

    assert done.code == 1
    assert word in done.out, done
    assert done.out.count(b"\n") == 1
    assert len(done.out) <= 201
    assert done.told
    assert str(file).encode() in done.err or b"not one" in done.out
    assert b"made-up" not in done.out + done.err
    assert b"internal error" not in done.out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a = " + "[" * 100_000, b"not HCL", id="deep-lists"),
        pytest.param("a{" * 100_000, b"not HCL", id="deep-blocks"),
        pytest.param('{"a":' * 100_000, b"not HCL", id="deep-json"),
        pytest.param('{"a":' * 50 + "1" + "}" * 50, b"neither", id="json-no-deeper-than-it-may-be"),
        pytest.param('{"auto_auth": 1e999999}', b"`auto_auth` is not a block", id="json-number"),
        pytest.param('{"auto_auth": NaN', b"not HCL", id="json-cut-off"),
        pytest.param('a = "' * 100_001, b"not HCL", id="quotes"),
        pytest.param('a = "' + "\\" * 500_001, b"not HCL", id="backslashes"),
        pytest.param("/*" * 400_000, b"not HCL", id="comments"),
        pytest.param("a = <<A\n" * 100_000, b"not HCL", id="heredocs"),
        pytest.param("a " * 400_000, b"not HCL", id="words"),
        pytest.param("a = 1\n" * 150_000, b"neither", id="statements"),
        pytest.param("a = -", b"not HCL", id="no-number"),
        pytest.param("a = 1x1", b"not HCL", id="no-number-either"),
        pytest.param("a = b", b"not HCL", id="a-variable"),
        pytest.param("a = [1 2]", b"not HCL", id="no-list"),
        pytest.param('a "b" = 1', b"not HCL", id="two-words-and-a-value"),
        pytest.param("}", b"line 1: not HCL", id="brace"),
        pytest.param("\n\n\x00", b"line 3: not HCL", id="zero"),
        pytest.param("# é\n\n" + 'x = "\\q"', b"line 3: not HCL", id="no-escape"),
        pytest.param(b"\xff\xfe", b"not UTF-8", id="no-utf8"),
        pytest.param(b"#" * ((1 << 22) + 1), b"longer than", id="huge"),
    ],
)
def test_what_is_no_such_file(env: dict[str, str], file: Path, text: str | bytes, words: bytes) -> None:
    """It is one line that says where, soon, whatever stands there."""
    write(file, text)
    started = time.monotonic()
    done = call("vault", "get", HOST, env)

    assert done.code == 1
    assert words in done.out, done
    assert str(file).encode() in done.err
    assert time.monotonic() - started < patience(6)


_PIECES = st.sampled_from(
    [
        *("auth_auth {", "auto_auth", 'method "token"', "config", "secret", "secrets", "sink", "vault", "type"),
        *('"a/b"', '"registry-1.example.com"', "true", "-1", "<<E\nx\nE\n"),
        *("{", "}", "[", "]", "=", ",", "\n", "#", "/*", "*/", '"'),
    ]
)
_CONFIG = {"secrets": {"registry-1.example.com": "a/b"}}
_FILES = (method(""), json.dumps({"auto_auth": {"method": [{"type": "token", "config": _CONFIG}]}}))


@settings(max_examples=1500, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(_PIECES, max_size=30), text=st.sampled_from(_FILES), place=st.integers(0, 100))
def test_whatever_it_says_it_is_understood_or_told(file: Path, pieces: list[str], text: str, place: int) -> None:
    """No text makes a defect: it leads somewhere, or nowhere, or to a sentence."""
    cut = len(text) * place // 100
    with suppress(Unavailable):
        answer = found(file, text[:cut] + " ".join(pieces) + text[cut + place // 10 :])
        assert answer is None or answer["read_only"]


def test_who_may_write_it(with_server: dict[str, str], file: Path) -> None:
    """A file that others could have written leads to no server, as with our own."""
    write(file, method(""))
    if os.geteuid() == 0:  # by root's own group, which has nobody else in it, group write would not count
        os.chown(file, -1, 12345)
    for mode in (0o620, 0o602, 0o666):
        file.chmod(mode)
        done = call("vault", "get", HOST, with_server)
        assert (done.code, b"others may write it, so it is not trusted" in done.out) == (1, True), done
    file.chmod(0o644)
    assert call("vault", "get", HOST, with_server).credential["Username"] == "two"


def test_whose_it_is(with_server: dict[str, str], file: Path) -> None:
    """Another user's file is not trusted, whatever its mode."""
    need_root("a file of another user")
    write(file, method(""))
    os.chown(file, 12345, 12345)

    assert b"others may write it" in call("vault", "get", HOST, with_server).out


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda file: None, b"DCVL_CONFIG_FILE names no file", id="nothing"),
        pytest.param(lambda file: file.symlink_to("nowhere"), b"a link that leads nowhere", id="link"),
        pytest.param(lambda file: file.mkdir(), b"not a file", id="directory"),
        pytest.param(os.mkfifo, b"not a file", id="hostile: a pipe that nobody writes"),
    ],
)
def test_a_name_that_leads_to_no_file(
    env: dict[str, str], file: Path, make: Callable[[Path], None], words: bytes
) -> None:
    """Who names a file does not mean to go without one."""
    make(file)
    done = call("vault", "get", HOST, env)

    assert (done.code, words in done.out) == (1, True), done


def test_a_relative_name(env: dict[str, str]) -> None:
    """What is configured does not depend on the directory in which docker was called."""
    done = call("vault", "get", HOST, env | {"DCVL_CONFIG_FILE": "agent.hcl"})

    assert b"DCVL_CONFIG_FILE is not an absolute path" in done.out


def test_without_the_variable_it_may_be_missing(env: dict[str, str]) -> None:
    """Where it usually is there is none on most machines, and an empty variable names no other."""
    assert not Path(os.fsdecode(source.VAULT_LOGIN)).exists()  # no test may have one
    for more in ({}, {"DCVL_CONFIG_FILE": ""}):
        bare = {name: value for name, value in env.items() if name != "DCVL_CONFIG_FILE"} | more
        assert call("vault", "get", HOST, bare) == Result(1, NOT_FOUND, b"")


def test_what_is_configured_for_us_comes_first(with_server: dict[str, str], file: Path, home: Path) -> None:
    """An entry of config.toml for the registry, then the path in the environment, then the file."""
    write(file, method(""))
    own = home / ".config/credhelpers/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(f'[[registry]]\nmatch = "{HOST}"\nsource = "vault"\npath = "agent-v2/docker/one"\n')
    own.chmod(0o600)

    assert call("vault", "get", HOST, with_server).credential["Username"] == "one"
    assert call("vault", "get", "another.example", with_server).credential["Username"] == "two"
    env = with_server | {"DOCKER_CREDENTIAL_VAULT_KV_PATH": "agent-v2/nothing"}
    assert call("vault", "get", "another.example", env) == Result(1, NOT_FOUND, b"")


def test_a_change_counts_at_once(with_server: dict[str, str], file: Path) -> None:
    """A cached answer was for the file as it was."""
    write(file, method(""))
    assert call("vault", "get", HOST, with_server).credential["Username"] == "two"

    write(file, method("").replace("agent-v1/docker/two", "agent-v2/data/docker/one"))
    assert call("vault", "get", HOST, with_server).credential["Username"] == "one"

    write(file, method("").replace("secret =", "secrets = { other.example =").replace('two"', 'two" }'))
    assert call("vault", "get", HOST, with_server) == Result(1, NOT_FOUND, b"")
    assert call("vault", "get", "other.example", with_server).credential["Username"] == "two"


def test_without_a_cache(with_server: dict[str, str], file: Path, home: Path) -> None:
    """DCVL_DISABLE_CACHE leaves nothing behind, and what is asked twice is read twice."""
    write(file, method(""))
    for _ in range(2):
        answer = call("vault", "get", HOST, with_server | {"DCVL_DISABLE_CACHE": "true"})
        assert answer.credential["Username"] == "two"
    assert [path for path in home.rglob("*") if path.is_file() and b"made-up" in path.read_bytes()] == []


def test_the_page_has_every_key() -> None:
    """docs/drop-in.md says of each method and key what becomes of it."""
    page = (ROOT / "docs/drop-in.md").read_text()
    part = page.partition("**Instead of `vault-login`.**")[2].partition("**Instead of jsok")[0]
    told = set(re.findall("`([a-z_]+)`", part))

    assert set(agentfile._METHODS) <= told
    wanted = {key for keys in agentfile._METHODS.values() for key, setting in keys.items() if setting}
    assert wanted <= told
    assert set(agentfile._SERVER) <= told
    assert {setting for keys in agentfile._METHODS.values() for setting in keys.values() if setting} <= told
