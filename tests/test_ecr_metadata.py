"""Late is not absent: the services that give a machine or a container its role, at their true addresses."""

from __future__ import annotations

import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.harness import BIN, NOT_FOUND, call, environment, need, patience

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

PRIVATE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
PUBLIC = "public.ecr.aws"
EC2, EKS = "169.254.169.254", "169.254.170.23"
POD_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
POD = {POD_URI: f"http://{EKS}/v1/credentials"}
ROOT = str(Path(__file__).parent.parent)

# A network of its own, in which Amazon's APIs are, and at an address a service that gives the only credentials.
# `firmware` is what DMI says of the machine. The service listens from `up` seconds on, and each answer takes `delay`.
ISLAND = """
import http.server, json, os, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
asked = json.loads(sys.argv[1])
sys.path.insert(0, asked["root"])
from tests.fakes.aws import FakeAws, Key
from tests.fakes.tls import CertificateAuthority
def run(*words):
    subprocess.run(words, check=True)
if asked["firmware"]:
    dmi = Path("/sys/class/dmi/id")
    run("mount", "-t", "tmpfs", "none", "/sys/class")
    dmi.mkdir(parents=True)
    (dmi / "sys_vendor").write_text(asked["firmware"] + "\\n")
run("ip", "link", "set", "lo", "up")
run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
run("ip", "address", "add", "169.254.0.1/16", "dev", "v0")
run("ip", "link", "set", "v0", "up")
run("ip", "link", "set", "v1", "up")
expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
role = {"AccessKeyId": "AKIDROLE", "SecretAccessKey": "made-up", "Token": "made-up-token", "Expiration": expires}
class Handler(http.server.BaseHTTPRequestHandler):
    def handle_one(self):
        time.sleep(asked["delay"].get(self.command, 0))
        body = b"made-up-word" if self.command == "PUT" else b"puller" if self.path.endswith("/") else None
        body = body or json.dumps(role | {"Code": "Success"}).encode()
        self.send_response(asked.get("status") or 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_PUT = handle_one
    def log_message(self, *words):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    def handle_error(self, *words):
        pass
def serve():
    time.sleep(asked["up"])
    if asked["refuses"] is False:
        run("ip", "address", "add", asked["address"] + "/32", "dev", "lo")
    Server((asked["address"], 80), Handler).serve_forever()
if asked["up"] is not None:
    if asked["refuses"]:
        run("ip", "address", "add", asked["address"] + "/32", "dev", "lo")
    threading.Thread(target=serve, daemon=True).start()
    time.sleep(0.1)
folder = Path(asked["folder"])
folder.mkdir()
with FakeAws(CertificateAuthority(folder)) as aws:
    aws.keys = {"AKIDROLE": Key("made-up", "made-up-token")}
    env = os.environ | aws.environment()
    del env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    def get(server):
        started = time.monotonic()
        done = subprocess.run(asked["call"], input=server, env=env, capture_output=True, text=True, timeout=30)
        return time.monotonic() - started, done.stdout, done.stderr
    with ThreadPoolExecutor(len(asked["servers"])) as pool:
        for row in pool.map(get, asked["servers"]):
            print(json.dumps(row))
"""


class Island:
    """Where calls are made."""

    def __init__(self, home: Path, folder: Path) -> None:
        self._home = home
        self._folder = folder
        self._turn = 0

    def call(
        self,
        *servers: str,
        delay: float | dict[str, float] = 0.0,
        up: float | None = 0.0,
        address: str = EC2,
        firmware: str = "",
        refuses: bool = True,
        status: int = 200,
        **more: str,
    ) -> list[tuple[float, str]]:
        """How long `get` takes for each server, at the same time, and all that it says.

        Before the service is up a connection is refused, or, where it does not refuse, nobody hears it.
        """
        need("ip", "iproute2")
        self._turn += 1
        delays = delay if isinstance(delay, dict) else {"PUT": delay, "GET": delay}
        asked = {
            "root": ROOT,
            "folder": str(self._folder / f"authority-{self._turn}"),
            "call": [str(BIN / "docker-credential-ecr"), "get"],
            "servers": servers,
            "delay": delays,
            "up": up,
            "address": address,
            "firmware": firmware,
            "refuses": refuses,
            "status": status,
        }
        unshare = [need("unshare", "util-linux"), "-nm" if os.geteuid() == 0 else "-rnm"]
        done = subprocess.run(
            [*unshare, sys.executable, "-c", ISLAND, json.dumps(asked)],
            env=environment(self._home, CREDHELPERS_CACHE_DIR="", **more),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [(seconds, out + err) for seconds, out, err in rows]


@pytest.fixture
def island(home: Path, tmp_path: Path, authority: CertificateAuthority) -> Island:
    return Island(home, tmp_path)


LATE_EC2 = f"the metadata service of EC2 at {EC2} did not answer in time"
LATE_EKS = f"the credential service of this container at {EKS} did not answer in time"
NOBODY = "no AWS credentials in variables"
TOKEN = '"Username":"AWS"'
NAMED = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{EC2}"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delay", "more", "said", "seconds"),
    [
        pytest.param(0.3, {}, TOKEN, 0.9, id="0.3 s, possible"),
        pytest.param(1.2, {}, LATE_EC2, 0.9, id="1.2 s, possible"),
        pytest.param(1.2, {"firmware": "Amazon EC2"}, TOKEN, 3.6, id="1.2 s, likely"),
        pytest.param(1.2, {"firmware": "Google"}, LATE_EC2, 0.9, id="1.2 s, on another cloud's"),
        pytest.param(1.2, NAMED, TOKEN, 3.6, id="1.2 s, named"),
        pytest.param(1.2, {"AWS_METADATA_SERVICE_TIMEOUT": "3"}, TOKEN, 3.6, id="1.2 s, time-out"),
        pytest.param(1.2, {"AWS_METADATA_SERVICE_NUM_ATTEMPTS": "3"}, TOKEN, 3.6, id="1.2 s, attempts"),
        pytest.param(3, {"firmware": "Amazon EC2"}, LATE_EC2, 3, id="3 s, likely"),
        pytest.param(3, NAMED, LATE_EC2, 8, id="3 s three times, named"),
        pytest.param({"PUT": 3.0}, NAMED, TOKEN, 3, id="3 s once, named"),
        pytest.param({"GET": 3.0}, {}, TOKEN, 6, id="3 s twice, has answered"),
        pytest.param(7, NAMED, LATE_EC2, 8, id="7 s, named"),
        pytest.param({"GET": 7.0}, {}, LATE_EC2, 8, id="7 s, has answered"),
        pytest.param({"PUT": 60.0}, NAMED, TOKEN, 4, id="a token that never comes, named"),
        pytest.param({"PUT": 60.0}, {"firmware": "Amazon EC2"}, TOKEN, 1.5, id="a token that never comes, likely"),
    ],
)
def test_a_slow_machine(
    delay: float | dict[str, float], more: dict[str, str], said: str, seconds: float, island: Island
) -> None:
    """Whoever is there is waited for, as long as somebody says, or the call; late, it is told by its address."""
    options: dict[str, object] = dict(more)
    for took, answer in island.call(PRIVATE, PUBLIC, delay=delay, **options):  # type: ignore[arg-type] # names of both
        assert said in answer
        assert seconds - 0.5 < took < seconds + patience(3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "private", "public", "seconds"),
    [
        pytest.param({"up": None}, NOBODY, "", 0.9, id="silent"),
        pytest.param({"up": 60, "refuses": True}, NOBODY, "", 0, id="refused"),
        pytest.param({"up": None, "firmware": "Amazon EC2"}, "machine of Amazon's", "", 3, id="silent, likely"),
        pytest.param({"up": 60, "refuses": True, "firmware": "Amazon EC2"}, NOBODY, "", 3, id="refused, likely"),
        pytest.param({"up": None, **NAMED}, LATE_EC2, LATE_EC2, 8, id="silent, named"),
        pytest.param({"status": 404}, NOBODY, "", 0, id="without a role"),
        pytest.param({"status": 403}, NOBODY, "", 0, id="another cloud's, which knows nothing of it"),
        pytest.param({"status": 400}, NOBODY, "", 0, id="Azure's, which wants a header"),
        pytest.param({"status": 503, **NAMED}, "gives no credentials", "gives no credentials", 0, id="out of order"),
    ],
)
def test_a_machine_without_a_role(
    options: dict[str, object], private: str, public: str, seconds: float, island: Island
) -> None:
    """A laptop waits for less than a second. What the firmware says is patience, and no identity."""
    answers = island.call(PRIVATE, PUBLIC, **options)  # type: ignore[arg-type] # as above
    for (took, answer), said in zip(answers, (private, public), strict=True):
        if said:
            assert said in answer
        else:
            assert answer.startswith("credentials not found in native keychain\n")
        assert seconds - 0.5 < took < seconds + patience(3)


@pytest.mark.slow
@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "silent"])
@pytest.mark.parametrize(
    ("more", "up"),
    [
        pytest.param({"firmware": "Amazon EC2"}, 2, id="likely"),
        pytest.param(NAMED, 4, id="named"),
        pytest.param({"address": EKS, **POD}, 4, id="EKS"),
    ],
)
def test_a_service_that_comes_up_late(more: dict[str, str], up: float, island: Island, *, refuses: bool) -> None:
    """On a new machine or in a new pod it starts with us."""
    options: dict[str, object] = dict(more)
    [(took, answer)] = island.call(PRIVATE, up=up, refuses=refuses, **options)  # type: ignore[arg-type] # as above

    assert TOKEN in answer
    assert up - 0.2 < took < up + 1.2 + patience(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delay", "said", "seconds"),
    [(0.3, TOKEN, 0.3), (1.2, TOKEN, 1.2), (3, TOKEN, 3), (7, TOKEN, 7), (60, LATE_EKS, 8)],
)
def test_a_slow_pod(delay: float, said: str, seconds: float, island: Island) -> None:
    """The agent of EKS is there wherever its variable is set."""
    for took, answer in island.call(PRIVATE, PUBLIC, delay=delay, address=EKS, **POD):  # type: ignore[arg-type] # as above
        if delay == 7 and patience(1) > 1.5:  # a busy machine has less than that left when it asks
            said = f"{TOKEN}|{LATE_EKS}"
        assert re.search(said, answer)
        assert seconds - 0.5 < took < seconds + patience(3)


@pytest.mark.slow
@pytest.mark.parametrize("lines", ["metadata_service_timeout = 3", "metadata_service_num_attempts = 3"])
def test_the_keys_of_a_profile(lines: str, home: Path, island: Island) -> None:
    """As the variables."""
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(f"[default]\n{lines}\n")

    [(took, answer)] = island.call(PRIVATE, delay=1.2)
    assert TOKEN in answer
    assert took < 3.6 + patience(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "more", "delay"),
    [
        pytest.param("Ec2InstanceMetadata", {}, 1.2, id="EC2"),
        pytest.param("EcsContainer", {"address": EKS, **POD}, 3, id="container"),
    ],
)
def test_a_source_of_a_profile_is_named(
    source: str, more: dict[str, str], delay: float, home: Path, island: Island
) -> None:
    """`credential_source` says that it is there."""
    (home / ".aws").mkdir()
    role = "arn:aws:iam::111122223333:role/puller"
    (home / ".aws/config").write_text(f"[default]\nrole_arn = {role}\ncredential_source = {source}\n")
    options: dict[str, object] = dict(more)

    [(_, answer)] = island.call(PRIVATE, delay=delay, **options)  # type: ignore[arg-type] # as above
    assert TOKEN in answer


# --- hostile ----------------------------------------------------------------------------------------------------------


@contextmanager
def hostile(kind: str) -> Iterator[int]:
    """The port of something that takes connections on this machine and is no service for credentials."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection: socket.socket = self.request
            connection.recv(65536)
            if kind == "not HTTP":
                connection.sendall(b"220 made-up.example ESMTP\r\n")
            elif kind == "closes":
                return
            elif kind == "half":
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"AccessKeyId": "made-up')
            elif kind == "redirects":
                connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
            elif kind == "compressed":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"Content-Length: 9999999999\r\n" * (kind != "headers"))
                while kind in ("endless", "drips", "headers"):
                    line = {"endless": b"\r\n" + b"x" * 65536, "drips": b"\r\n ", "headers": b"X-Made-Up: x\r\n"}[kind]
                    connection.sendall(line)
                    time.sleep(0 if kind == "endless" else 0.2)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # whoever asks hangs up, as it should

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["not HTTP", "closes", "half", "redirects", "compressed", "endless", "drips", "headers"]
)
@pytest.mark.parametrize("service", ["EC2", "container"])
def test_what_is_no_service(service: str, kind: str, home: Path) -> None:
    """The call ends in time with a line of its own, and tells nothing of what came."""
    with hostile(kind) as port:
        url = f"http://127.0.0.1:{port}"
        more = {"EC2": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}, "container": {POD_URI: f"{url}/x"}}[service]
        started = time.monotonic()
        result = call("ecr", "get", PRIVATE, environment(home, CREDHELPERS_CACHE_DIR="", **more))
        took = time.monotonic() - started
    assert result.told in ("ecr-metadata-failed", "ecr-metadata-slow", "ecr-container-empty", "ecr-container-slow")
    assert result.told.endswith("slow") is (kind in ("drips", "headers"))
    assert b"made-up" not in result.out + result.err
    assert took < 8.5 + patience(1)


@pytest.mark.parametrize(
    ("put", "get", "body", "code"),
    [
        *((200, status, b"", "ecr-metadata-failed") for status in (503, 500, 429, 401, 403)),
        (200, 200, b"<html>", "ecr-metadata-failed"),
        (200, 200, b'{"Code": "Failed"}', "ecr-metadata-failed"),
        (503, 503, b"", "ecr-metadata-failed"),
        (200, 404, b"", "ecr-no-identity"),
        (404, 404, b"", "ecr-no-identity"),
    ],
)
@pytest.mark.parametrize("server", [PRIVATE, PUBLIC])
def test_a_service_that_fails_is_not_absent(
    put: int, get: int, body: bytes, code: str, server: str, home: Path
) -> None:
    """At night that would be an anonymous pull, and the wrong cause. That there is no role it says by 404."""

    class Service(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.answer(put, b"made-up-word")

        def do_GET(self) -> None:
            self.answer(get, b"puller" if get == 200 and self.path.endswith("/") else body)

        def answer(self, status: int, found: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Service) as service:
        Thread(target=service.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{service.server_port}"
        env = environment(home, CREDHELPERS_CACHE_DIR="", AWS_EC2_METADATA_SERVICE_ENDPOINT=url)
        result = call("ecr", "get", server, env)
        service.shutdown()
    assert result.told == code
    assert (result.out == NOT_FOUND) is (code == "ecr-no-identity")


def test_a_named_service_that_refuses_is_broken(home: Path) -> None:
    """Somebody says that it is there."""
    env = environment(home, CREDHELPERS_CACHE_DIR="", AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:1")
    assert call("ecr", "get", PRIVATE, env).told == "ecr-metadata-failed"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.9:{port}\\@localhost/x",
        "http://127.0.0.9:{port}\\@127.0.0.1/x",
        "http://localhost@127.0.0.9:{port}/x",
        "http://127.0.0.9:{port}%2f@localhost/x",
        "http://localhost\t@127.0.0.9:{port}/x",
    ],
)
def test_a_container_s_secret_goes_to_no_host_that_is_read_in_two_ways(url: str, home: Path) -> None:
    """botocore finds `localhost` in such a URL, and another reader what is before it."""
    heard = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(dict(self.headers))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.9", 0), Listener) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        more = {POD_URI: url.format(port=server.server_port), "AWS_CONTAINER_AUTHORIZATION_TOKEN": "made-up"}
        result = call("ecr", "get", PRIVATE, environment(home, CREDHELPERS_CACHE_DIR="", **more))
        server.shutdown()
    assert result.code == 1
    assert heard == []
