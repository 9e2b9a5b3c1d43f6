"""What Vault says no with: each cause has its own sentence and a command that mends it, and none shows a secret."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from tests.fakes.tls import Proxy, Request, Response, Site
from tests.harness import NOT_FOUND
from tests.services import Stack, Vault, until, vault_program
from tests.test_vault_connection import HOST, PATH, SAID, SECRET, TOKEN, User, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow

NAME = "vault.acme.example"


def fill(vault: Vault) -> None:
    """Put the one secret into the server, and write the policies of these tests."""
    vault.call("POST", "sys/mounts/errors", {"type": "kv", "options": {"version": "2"}})
    until(lambda: vault.ask("GET", "errors/data/nothing")[0] == 404, "the mount")
    vault.call("POST", f"errors/data/registries/{HOST}", {"data": SECRET})
    vault.policy("errors-reader", "errors/data/registries/* read")
    vault.policy("errors-stranger", "errors/data/others/* read")


@pytest.fixture(scope="module")
def filled(vault: Vault) -> Iterator[Vault]:
    """The development server with the secret."""
    fill(vault)
    yield vault
    vault.call("DELETE", "sys/mounts/errors")


@pytest.fixture
def user(home: Path, filled: Vault) -> User:
    """Somebody who has no token yet."""
    user = User(home, VAULT_ADDR=filled.address)
    at_home(user)
    return user


def at_home(user: User, *lines: str) -> None:
    """Configure the mount of these tests."""
    user.configure('engine = "kv-v2"', *lines)
    user.config.write_text(user.config.read_text().replace('"kv/', '"errors/'))


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_denied(user: User, filled: Vault) -> None:
    """What a policy lacks is said with path and capability in the hint, and is not 'not found'."""
    result = user.fails("vault denied permission", VAULT_TOKEN=filled.token_for("errors-stranger"))

    assert f'"read" on errors/data/registries/{HOST}'.encode() in result.err
    assert b"vault token capabilities" in result.err
    assert b"registries" not in result.out


def test_denied_to_a_token_that_may_not_look_at_itself(user: User, filled: Vault) -> None:
    """A token without the policy `default` is good all the same, and it is the other policy that lacks something."""
    token = filled.token_for("errors-stranger", no_default_policy=True)

    user.fails("vault denied permission", VAULT_TOKEN=token)
    user.finds(VAULT_TOKEN=filled.token_for("errors-reader", no_default_policy=True))


def test_a_missing_secret_is_not_found(user: User, filled: Vault) -> None:
    """Where nothing is, a client goes on without a credential."""
    user.config.write_text(user.config.read_text().replace("registries", "nothing"))

    assert user.get(VAULT_TOKEN=filled.token).out == NOT_FOUND


def expired(vault: Vault, **more: object) -> str:
    """A token of yesterday."""
    token = vault.token_for("errors-reader", ttl="1s", **more)
    until(lambda: vault.ask("GET", "auth/token/lookup-self", token=token)[0] == 403, "the token's end")
    return token


def revoked(vault: Vault) -> str:
    """A token that was taken back."""
    token = vault.token_for("errors-reader")
    vault.call("POST", "auth/token/revoke", {"token": token})
    return token


def used_up(vault: Vault) -> str:
    """A token that was good for one request."""
    token = vault.token_for("errors-reader", num_uses=1)
    vault.call("GET", f"errors/data/registries/{HOST}", token=token)
    return token


@pytest.mark.parametrize(
    "wear_out",
    [
        pytest.param(lambda vault: "hvs.made-up", id="unknown"),
        pytest.param(lambda vault: "hvb.made-up", id="batch-that-is-none"),
        pytest.param(lambda vault: "s" * 5000, id="long"),
        pytest.param(lambda vault: expired(vault, type="service"), id="expired"),
        pytest.param(lambda vault: expired(vault, type="batch"), id="expired-batch"),
        pytest.param(revoked, id="revoked"),
        pytest.param(used_up, id="used-up"),
    ],
)
def test_worn_out_tokens(user: User, filled: Vault, wear_out: Callable[[Vault], str]) -> None:
    """A token that is not good any more is told apart from a policy that lacks something."""
    result = user.fails("vault does not accept the token", VAULT_TOKEN=wear_out(filled))

    assert b"`vault login -no-print`" in result.err


def test_a_token_with_a_use_limit(user: User, filled: Vault) -> None:
    """No request is made besides the one that is needed, so a token for one use serves."""
    token = filled.token_for("errors-reader", num_uses=1)

    user.finds(VAULT_TOKEN=token)
    user.fails("has no uses left", VAULT_TOKEN=token)


def test_a_batch_token(user: User, filled: Vault) -> None:
    """A batch token reads like any other."""
    user.finds(VAULT_TOKEN=filled.token_for("errors-reader", type="batch", ttl="10m"))


def test_a_login_is_done_once_more(user: User, filled: Vault) -> None:
    """A cached token that was revoked is replaced by one login, and a policy that lacks something costs none."""
    filled.call("POST", "sys/auth/errors-approle", {"type": "approle"})
    role = "auth/errors-approle/role/reader"
    filled.call("POST", role, {"token_policies": ["errors-reader"], "token_ttl": "1h"})
    secret = filled.call("POST", f"{role}/secret-id")["data"]["secret_id"]
    role_id = filled.call("GET", f"{role}/role-id")["data"]["role_id"]
    lines = ('auth = "approle"', 'auth_mount = "errors-approle"', f'role_id = "{role_id}"', 'keep = "1s"')
    at_home(user, *lines)
    user.env |= {"VAULT_SECRET_ID": secret, "CREDHELPERS_CACHE_DIR": str(user.home / "cache")}

    def tokens() -> set[str]:
        found = filled.call("LIST", "auth/token/accessors")["data"]["keys"]
        return set(found)

    before = tokens()
    user.finds()
    (first,) = tokens() - before
    filled.call("POST", "auth/token/revoke-accessor", {"accessor": first})
    time.sleep(1)  # what was read is kept for as long
    user.finds()
    (second,) = tokens() - before
    assert second != first

    filled.policy("errors-reader", "errors/data/others/* read")
    try:
        user.fails("vault denied permission", CREDHELPERS_CACHE_DIR="")
        assert len(tokens() - before) == 2
    finally:
        filled.policy("errors-reader", "errors/data/registries/* read")


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def raft(authority: CertificateAuthority) -> Iterator[Vault]:
    """A server with storage, in TLS under its name."""
    with Vault(authority, NAME) as server:
        fill(server)
        yield server


@pytest.fixture
def far(home: Path, raft: Vault, authority: CertificateAuthority) -> Iterator[User]:
    """Somebody who uses it."""
    with Proxy({NAME: raft.port}) as proxy:
        user = User(
            home,
            VAULT_ADDR=raft.address,
            VAULT_CACERT=str(authority.pem),
            HTTPS_PROXY=proxy.url,
            VAULT_TOKEN=raft.token_for("errors-reader"),
        )
        at_home(user)
        yield user


def test_sealed(far: User, raft: Vault) -> None:
    """A sealed server says so, and serves again when it is open."""
    far.finds()
    raft.call("PUT", "sys/seal")
    try:
        result = far.fails("vault is sealed")
        assert b"`vault operator unseal`" in result.err
    finally:
        raft.unseal()
    far.finds()


def test_restart(far: User, raft: Vault) -> None:
    """A server that is stopped, comes back sealed and is opened, serves the same token again."""
    raft.stop()
    try:
        assert b"vault status" in far.fails("").err
    finally:
        raft.start_again()
    far.fails("vault is sealed")
    raft.unseal()
    far.finds()


def test_real_tls(far: User, raft: Vault, authority: CertificateAuthority, tmp_path: Path) -> None:
    """The real server is trusted by its authority and under its name only."""
    far.fails("no known authority", VAULT_CACERT="")
    far.finds(VAULT_CACERT="", VAULT_CACERT_BYTES=authority.pem.read_text())
    far.env["VAULT_ADDR"] = f"https://127.0.0.1:{raft.port}"
    far.finds()  # the certificate has the address too
    far.env["VAULT_ADDR"] = f"https://localhost:{raft.port}"
    far.fails("the certificate of another host")
    far.finds(VAULT_TLS_SERVER_NAME=NAME)
    far.fails("vault speaks TLS only", VAULT_ADDR=f"http://127.0.0.1:{raft.port}")


def test_not_initialised(home: Path) -> None:
    """A server that nobody has initialised is sealed too, but it is another command that mends it."""
    with Stack() as stack, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        (stack.folder / "vault.hcl").write_text(f"""\
disable_mlock = true
storage "file" {{ path = "{stack.folder}/data" }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
""")
        env = {"PATH": os.environ["PATH"], "HOME": str(stack.folder), "GODEBUG": "x509negativeserial=1"}
        service = stack.start(vault_program(), "server", f"-config={stack.folder}/vault.hcl", env=env)
        service.ready(lambda: "Vault server started" in service.log)
        user = User(home, VAULT_ADDR=f"http://127.0.0.1:{port}", VAULT_TOKEN=TOKEN)

        assert b"`vault operator init`" in user.fails("vault is not initialised").err


def test_rate_limit(user: User, filled: Vault) -> None:
    """Who asks too often is told so."""
    filled.call("POST", "sys/quotas/rate-limit/errors", {"rate": 1, "interval": "1h", "path": "errors"})
    try:
        filled.ask("GET", f"errors/data/registries/{HOST}")
        result = user.fails("vault limits the rate of requests", VAULT_TOKEN=filled.token_for("errors-reader"))
        assert b"sys/quotas/rate-limit" in result.err
    finally:
        filled.call("DELETE", "sys/quotas/rate-limit/errors")


def test_nothing_is_mounted(user: User, filled: Vault) -> None:
    """A path without an engine is an error, not a missing secret."""
    user.config.write_text(user.config.read_text().replace('"errors/', '"nowhere/'))
    result = user.get(VAULT_TOKEN=filled.token)

    assert result.code == 1
    assert b"vault secrets list" in result.err


# --- what no server can be made to say --------------------------------------------------------------------------------


def refusing(status: int, *lines: str) -> Callable[[Request], Response]:
    """A server that always answers so."""
    return lambda _: Response(status, json.dumps({"errors": lines}).encode())


@pytest.mark.parametrize(
    ("respond", "words", "hint"),
    [
        pytest.param(
            refusing(503, "local node not active but active cluster node not found"),
            "no active node",
            "vault status",
            id="standby",
        ),
        pytest.param(refusing(472), "disaster recovery", "VAULT_ADDR", id="secondary"),
        pytest.param(refusing(473), "a standby", "VAULT_ADDR", id="performance-standby"),
        pytest.param(
            refusing(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"),
            "does not accept the token",
            "vault login",
            id="invalid-token-since-1.16",
        ),
        pytest.param(refusing(403, "bad token"), "does not accept the token", "vault login", id="bad-token"),
        pytest.param(refusing(400, "missing client token"), "got no token", "vault login", id="missing-token"),
        pytest.param(refusing(404, "namespace not found"), "no such namespace", "VAULT_NAMESPACE", id="namespace"),
        pytest.param(refusing(405, "unsupported operation"), "nothing in Vault serves", "secrets list", id="engine"),
        pytest.param(refusing(500, "made up"), "failed inside", "vault status", id="inside"),
        pytest.param(refusing(502, "made up"), "the agent or proxy", "logs", id="agent-without-server"),
        pytest.param(refusing(418, "made up"), "the status 418", "vault status", id="other"),
        pytest.param(lambda _: Response(503, b"<html>made up"), "is down", "vault status", id="load-balancer"),
        pytest.param(lambda _: Response(200, b"<html>made up"), "is no Vault", "VAULT_ADDR", id="captive-portal"),
        pytest.param(lambda _: Response(404, b"made up"), "is no Vault", "VAULT_ADDR", id="web-server"),
        pytest.param(lambda _: Response(200, b"[]"), "is no Vault", "VAULT_ADDR", id="a-list"),
        pytest.param(lambda _: Response(200, b"\xff"), "is no Vault", "VAULT_ADDR", id="bytes"),
        pytest.param(lambda _: Response(200, b"[" * 200_000), "is no Vault", "VAULT_ADDR", id="deep"),
        pytest.param(lambda _: Response(200, b" " * (2 << 20)), "too long or compressed", "VAULT_ADDR", id="long"),
        pytest.param(
            lambda _: Response(200, b"{}", {"Content-Encoding": "gzip"}),
            "too long or compressed",
            "VAULT_ADDR",
            id="compressed",
        ),
        pytest.param(lambda _: Response(200, b"{}", {"X-A": "a" * 70_000}), "broke off", "vault status", id="header"),
        pytest.param(lambda _: Response(303, b"", {"Location": "/"}), "redirects", "VAULT_ADDR", id="see-other"),
        pytest.param(refusing(403, "made up \x1b[31m"), "does not accept", "vault login", id="escapes"),
    ],
)
def test_answers(home: Path, respond: Callable[[Request], Response], words: str, hint: str) -> None:
    """Each answer that is no secret has its sentence, and nothing of it is shown."""
    with plain(respond) as site:
        user = User(home, VAULT_ADDR=f"http://127.0.0.1:{site.port}", VAULT_TOKEN=TOKEN, VAULT_MAX_RETRIES="0")
        result = user.fails(words)

    assert hint.encode() in result.err
    assert b"made up" not in result.out + result.err
    assert b"\x1b" not in result.out + result.err


def test_an_answer_that_is_cut_off(home: Path) -> None:
    """Half an answer is none."""
    with plain(lambda _: Response(200, json.dumps(SAID).encode()[:40])) as site:
        User(home, VAULT_ADDR=f"http://127.0.0.1:{site.port}", VAULT_TOKEN=TOKEN).fails("is no Vault")


def test_unreachable(home: Path) -> None:
    """Nobody there, no such name and a proxy that leads elsewhere are told apart."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = User(home, VAULT_TOKEN=TOKEN)

    user.fails("nothing answers", VAULT_ADDR=f"https://127.0.0.1:{port}")
    user.fails("cannot be found", VAULT_ADDR="https://vault.invalid")
    with Proxy({}) as proxy:
        user.fails("does not lead to vault (vault.invalid)", VAULT_ADDR="https://vault.invalid", HTTPS_PROXY=proxy.url)
        secret = proxy.url.replace("//", "//someone:made-up-word@")
        result = user.fails("the proxy", VAULT_ADDR="https://vault.invalid", HTTPS_PROXY=secret)
        assert b"made-up-word" not in result.err
    user.fails("proxy", VAULT_ADDR="https://vault.invalid", HTTPS_PROXY=f"http://127.0.0.1:{port}")


def test_no_tls_where_tls_is_expected(home: Path) -> None:
    """A development server that is asked in TLS is told apart from a certificate that is not trusted."""
    with Site(refusing(200)) as site:
        user = User(home, VAULT_ADDR=f"https://127.0.0.1:{site.port}", VAULT_TOKEN=TOKEN)

        assert b"http://127.0.0.1" in user.fails("does not speak TLS").err


def test_a_denial_costs_one_more_request(home: Path) -> None:
    """The token is looked at after a 403 only, once, and not at all if Vault has said whose fault it is."""

    def respond(request: Request) -> Response:
        if request.path == PATH:
            return refusing(403, "permission denied")(request)
        return Response(200, b'{"data":{"ttl":0,"num_uses":0}}')

    with plain(respond) as site:
        at = {"VAULT_ADDR": f"http://127.0.0.1:{site.port}", "VAULT_TOKEN": TOKEN}
        User(home, **at).fails("vault denied permission")
        paths = [request.path for request in site.requests]

    assert paths.count("/v1/auth/token/lookup-self") == 1
    assert paths[:2] == [PATH, "/v1/auth/token/lookup-self"]


def test_a_client_certificate_is_demanded(home: Path, authority: CertificateAuthority) -> None:
    """A server that wants to know who asks is told apart from one that is not trusted."""
    context = authority.context(NAME)
    context.load_verify_locations(authority.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    with Site(refusing(200), context) as site, Proxy({NAME: site.port}) as proxy:
        user = User(home, VAULT_ADDR=f"https://{NAME}", VAULT_TOKEN=TOKEN, HTTPS_PROXY=proxy.url)

        result = user.fails("demands a client's certificate", VAULT_CACERT=str(authority.pem))
        assert b"VAULT_CLIENT_CERT" in result.err
