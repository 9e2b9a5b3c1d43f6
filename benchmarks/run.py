"""Measures the installed helpers against what people have today, pair by pair, and writes the table of README.

    python3 benchmarks/run.py                 print the table
    python3 benchmarks/run.py --write         and put it into README.md
    python3 benchmarks/run.py --only cached   rows whose name holds a word

Each row runs two commands in turn (A B A B …) as whole processes and gives the median of the ratios of the pairs, so
that a busy or throttled machine moves both. Run it with the Python of the environment that holds the helpers. A peer
that is not here is built with `go install` where Go is, else its row says so.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import json
import logging
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from moto.server import ThreadedMotoServer

sys.path.append(str(Path(__file__).parent.parent))  # the clouds of the tests

from credhelpers import cached_token
from credhelpers.cache import TokenCache
from credhelpers.credential import Credential
from credhelpers.sources.acr import Acr
from credhelpers.sources.ecr import Ecr
from credhelpers.sources.gcr import Gcr
from credhelpers.sources.vault import Vault as VaultSource
from tests.fakes.azure import HOST as AZURE_HOST
from tests.fakes.azure import FakeAzure
from tests.fakes.google import FakeGoogle, service_account
from tests.fakes.google import write as google_account
from tests.fakes.tls import CertificateAuthority
from tests.routes import keep_copy
from tests.services import Audit, Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIN = Path(sys.executable).parent
README = Path(__file__).parent.parent / "README.md"
ACCOUNT = "111122223333"
HOST = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
BARE = [str(BIN / "python3"), "-I", "-S", "-c", "pass"]
GO_HELPER = "github.com/awslabs/amazon-ecr-credential-helper/ecr-login/cli/docker-credential-ecr-login@latest"


@dataclass
class Row:
    """One line of the table."""

    work: str
    against: str
    wanted: str
    measured: str

    def __str__(self) -> str:
        return f"| {self.work} | {self.against} | {self.wanted} | {self.measured} |"


class Endpoint:
    """ECR on loopback, and STS by moto's server behind it, each answer `delay` seconds late; `calls` counts them."""

    def __init__(self, delay: float = 0.0, moto: int = 0) -> None:
        self.calls: dict[str, int] = {"sts": 0, "ecr": 0}
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service = "ecr" if self.headers.get("X-Amz-Target") else "sts"
                endpoint.calls[service] += 1
                time.sleep(delay)
                content = _ecr_answer() if service == "ecr" else _forwarded(moto, dict(self.headers), body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1" if service == "ecr" else "text/xml")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"


def _ecr_answer() -> bytes:
    import base64

    token = base64.b64encode(b"AWS:" + b"benchmark-" * 200).decode()
    expiry = time.time() + 43200
    return json.dumps(
        {"authorizationData": [{"authorizationToken": token, "expiresAt": expiry, "proxyEndpoint": f"https://{HOST}"}]}
    ).encode()


def _forwarded(port: int, headers: dict[str, str], body: bytes) -> bytes:
    """What moto answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/", body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == http.HTTPStatus.OK, content
    return content


@dataclass
class Command:
    """A process to time: its arguments, environment, standard input, and what makes it cold again before each run.

    `code` is the exit status that it must have.
    """

    arguments: list[str]
    environment: dict[str, str]
    stdin: bytes = b""
    before: Callable[[], object] = lambda: None
    code: int = 0

    def run(self) -> float:
        """Seconds from start to exit. Raises RuntimeError if it ended in another way."""
        self.before()
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout:
            stdin.write(self.stdin)
            stdin.seek(0)
            actions = [(os.POSIX_SPAWN_DUP2, stdin.fileno(), 0), (os.POSIX_SPAWN_DUP2, stdout.fileno(), 1)]
            start = time.perf_counter()
            process = os.posix_spawn(self.arguments[0], self.arguments, self.environment, file_actions=actions)
            _, status = os.waitpid(process, 0)
            seconds = time.perf_counter() - start
            if os.waitstatus_to_exitcode(status) != self.code:
                stdout.seek(0)
                message = f"{self.arguments[0]} failed: {stdout.read(200)!r}"
                raise RuntimeError(message)
            return seconds


def ratio(one: Command, other: Command, runs: int) -> tuple[float, float, float]:
    """The median ratio of `one` to `other`, and the median milliseconds of each."""
    for _ in range(3):
        one.run()
        other.run()
    pairs = [(one.run(), other.run()) for _ in range(runs)]
    return (
        statistics.median(a / b for a, b in pairs),
        statistics.median(a for a, _ in pairs) * 1000,
        statistics.median(b for _, b in pairs) * 1000,
    )


def shown(result: tuple[float, float, float]) -> str:
    """A ratio for the table."""
    return f"**{result[0]:.2f}×** ({result[1]:.1f} : {result[2]:.1f} ms)"


def environment(home: Path, **more: str) -> dict[str, str]:
    """A user with nothing but a home."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {"HOME": str(home), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"} | more


def helper(name: str, env: dict[str, str], stdin: bytes, before: Callable[[], object] = lambda: None) -> Command:
    """`get` by an installed helper of ours."""
    return Command([str(BIN / f"docker-credential-{name}"), "get"], env, stdin, before)


def static_keys(endpoint: Endpoint) -> dict[str, str]:
    """What both helpers need to mint with keys from the environment."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIABENCHMARK",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_ENDPOINT_URL_ECR": endpoint.url,
        "AWS_ENDPOINT_URL_STS": endpoint.url,
    }


def go_helper(folder: Path) -> str | None:
    """Amazon's helper, from PATH or built now."""
    found = shutil.which("docker-credential-ecr-login")
    if found or not shutil.which("go"):
        return found
    build = {**os.environ, "GOBIN": str(folder)}
    done = subprocess.run(["go", "install", GO_HELPER], env=build, capture_output=True, check=False)
    return str(folder / "docker-credential-ecr-login") if done.returncode == 0 else None


def cached_floor(folder: Path) -> Iterator[Row]:
    """A cached `get` against the interpreter alone."""
    endpoint = Endpoint()
    env = environment(folder / "cached", **static_keys(endpoint))
    result = ratio(helper("ecr", env, HOST.encode()), Command(BARE, env), 200)
    assert endpoint.calls["ecr"] == 1
    yield Row("cached ECR `get`", "`python3 -I -S -c pass`, the same interpreter", "≤ 1.12×", shown(result))


def cached_configured(folder: Path) -> Iterator[Row]:
    """The same with a configuration file of 100 entries."""
    endpoint = Endpoint()
    home = folder / "configured"
    env = environment(home, **static_keys(endpoint))
    hundred_entries(home)
    result = ratio(helper("ecr", env, HOST.encode()), Command(BARE, env), 200)
    assert endpoint.calls["ecr"] == 1
    yield Row("cached ECR `get`, 100 entries configured", "`python3 -I -S -c pass`", "≤ 1.15×", shown(result))


def foreign(folder: Path) -> Iterator[Row]:
    """A `get` of a host that nobody owns, with a configuration file of 10, 100, 1,000 and 10,000 entries."""
    for count in (10, 100, 1_000, 10_000):
        home = folder / f"foreign-{count}"
        env = environment(home)
        config = home / ".config/credhelpers/config.toml"
        config.parent.mkdir(parents=True)
        entries = (f'[[registry]]\nmatch = "r{number}.acme.example"\nsource = "gcr"\n' for number in range(count))
        config.write_text("".join(entries))
        time.sleep(3)  # a younger file is read each time
        asking = helper("ecr", env, b"ghcr.io")
        asking.code = 1
        result = ratio(asking, Command(BARE, env), 100)
        yield Row(
            f"ECR `get` of a host that is nobody's, {count:,} entries",
            "`python3 -I -S -c pass`",
            "≤ 1.2×",
            shown(result),
        )


def cached_against_go(folder: Path) -> Iterator[Row]:
    """A cached `get` against Amazon's helper, with static keys and with an assumed role."""
    amazon = go_helper(folder)
    if amazon is None:
        yield Row("cached ECR `get`", "Amazon's Go helper", "", "not here, and no Go to build it")
        return
    endpoint = Endpoint()
    env = environment(folder / "static", **static_keys(endpoint))
    result = ratio(helper("ecr", env, HOST.encode()), Command([amazon, "get"], env, HOST.encode()), 100)
    yield Row("cached ECR `get`, static keys", "Amazon's Go helper, cached", "shown openly", shown(result))

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's, a line a request
    moto = ThreadedMotoServer(port=0)
    moto.start()
    slow = Endpoint(delay=0.05, moto=moto.get_host_and_port()[1])
    home = folder / "role"
    env = environment(
        home,
        AWS_ENDPOINT_URL_ECR=slow.url,
        AWS_ENDPOINT_URL_STS=slow.url,
        AWS_PROFILE="role",
        AWS_REGION="eu-west-1",
    )
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(
        f"[profile role]\nrole_arn = arn:aws:iam::{ACCOUNT}:role/r\nsource_profile = base\nregion = eu-west-1\n"
        "[profile base]\naws_access_key_id = AKIABENCHMARK\naws_secret_access_key = benchmark\n"
    )
    ours, theirs = helper("ecr", env, HOST.encode()), Command([amazon, "get"], env, HOST.encode())
    ours.run()
    before = dict(slow.calls)
    ours.run()
    calls = sum(slow.calls.values()) - sum(before.values())
    theirs.run()
    before = dict(slow.calls)
    theirs.run()
    their_calls = sum(slow.calls.values()) - sum(before.values())
    result = ratio(ours, theirs, 30)
    yield Row(
        "cached ECR `get`, assumed role, moto 50 ms away",
        "Amazon's Go helper, cached",
        "≤ 0.12×, 0 calls",
        f"{shown(result)}, {calls} calls against {their_calls}",
    )
    moto.stop()


def cold(folder: Path) -> Iterator[Row]:
    """A `get` that mints against the shortest boto3 script that does so."""
    endpoint = Endpoint()
    env = environment(folder / "cold", **static_keys(endpoint), AWS_DEFAULT_REGION="eu-west-1")
    script = folder / "script.py"
    script.write_text(
        "import base64, json, sys\n"
        "import boto3\n"
        "server = sys.stdin.read().strip()\n"
        "client = boto3.client('ecr', region_name=server.split('.')[3])\n"
        "data = client.get_authorization_token()['authorizationData'][0]\n"
        "user, secret = base64.b64decode(data['authorizationToken']).decode().split(':', 1)\n"
        "print(json.dumps({'ServerURL': server, 'Username': user, 'Secret': secret}))\n"
    )
    cache = folder / "cold/.cache"

    def forget() -> None:
        shutil.rmtree(cache, ignore_errors=True)

    result = ratio(
        helper("ecr", env, HOST.encode(), forget),
        Command([str(BIN / "python3"), str(script)], env, HOST.encode()),
        20,
    )
    yield Row("cold ECR `get`, local endpoint", "a boto3 script of seven lines", "≤ 1.0×", shown(result))


def linked(folder: Path) -> Iterator[Row]:
    """A cached `get` through a symbolic link: where uv and pipx make it, and elsewhere."""
    endpoint = Endpoint()
    env = environment(folder / "linked", **static_keys(endpoint))
    tools = folder / ".local/share/uv/tools"
    tools.mkdir(parents=True)
    (tools / "credhelpers").symlink_to(BIN.parent)
    rows = ((folder / ".local/bin", "of uv or pipx", "≤ 1.18×"), (folder / "elsewhere", "elsewhere", "shown openly"))
    for place, kind, wanted in rows:
        place.mkdir()
        link = place / "docker-credential-ecr"
        link.symlink_to(tools / "credhelpers/bin/docker-credential-ecr")
        result = ratio(Command([str(link), "get"], env, HOST.encode()), Command(BARE, env), 200)
        yield Row(f"cached ECR `get` through a link {kind}", "`python3 -I -S -c pass`", wanted, shown(result))


def cached_header(folder: Path) -> Iterator[Row]:
    """A cached `get` of each source against the lines of the shell alone, with nothing for Python to do behind them."""
    place = folder / "header/bin"
    place.mkdir(parents=True)
    (place / "python3").symlink_to(BIN / "python3")
    nothing = place / "nothing"
    launcher, _, _ = (BIN / "docker-credential-ecr").read_text().partition('\n"""\n')
    nothing.write_text(re.sub("^(boot|slow)='.*?'$", r"\1=pass", launcher, flags=re.DOTALL | re.MULTILINE) + "\n")
    nothing.chmod(0o755)
    home = folder / "cached-header"
    env = environment(home, CREDHELPERS_CACHE_DIR=str(home / "cache"), DOCKER_CREDENTIAL_VAULT_KV_PATH="kv/registries")
    (home / "cache").mkdir(mode=0o700)
    environ = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    now = time.time()
    credential = Credential("benchmark", "benchmark-" * 200, soft=now + 3600, hard=now + 7200, expires=now + 9000)
    for source, host in (
        (Ecr(environ), HOST),
        (Gcr(environ), "europe-docker.pkg.dev"),
        (Acr(environ), AZURE_HOST),
        (VaultSource(environ), "hub.acme.example"),
    ):
        cache = TokenCache(source.kind, cached_token.directory(environ))
        keep_copy(cache, source, host, credential, now)
        result = ratio(helper(source.kind, env, host.encode()), Command([str(nothing)], env), 200)
        yield Row(f"cached {source.kind} `get`", "an executable's lines of `sh`, then `pass`", "≤ 1.08×", shown(result))


def cached_google(folder: Path) -> Iterator[Row]:
    """Cached `get`s of Google's registries, one host and thirty, with 100 entries, then with a file in each."""
    with FakeGoogle(CertificateAuthority(folder)) as google:
        home = folder / "google"
        env = environment(home, **google.environment())
        env["GOOGLE_APPLICATION_CREDENTIALS"] = str(google_account(home / "key.json", service_account()))
        hosts = [f"europe-west{number}-docker.pkg.dev" for number in range(1, 31)]
        ours = helper("gcr", env, hosts[0].encode())
        hundred_entries(home, "gcr", 'impersonate = "robot{}@acme.iam.gserviceaccount.com"')
        result = ratio(ours, Command(BARE, env), 200)
        yield Row("cached Google `get`, 100 entries configured", "`python3 -I -S -c pass`", "≤ 1.15×", shown(result))
        for number in range(100):
            google_account(home / f"keys/{number}.json", service_account())
        hundred_entries(home, "gcr", 'credentials_file = "~/keys/{}.json"')
        result = ratio(ours, Command(BARE, env), 200)
        work = "cached Google `get`, 100 entries with a file each"
        yield Row(work, "`python3 -I -S -c pass`", "shown openly", shown(result))
        thirty = folder / "thirty.sh"
        program = str(BIN / "docker-credential-gcr")
        thirty.write_text("".join(f"printf %s {host} | {program} get >/dev/null || exit 1\n" for host in hosts))
        one = folder / "one.sh"
        one.write_text(f"printf %s {hosts[0]} | {program} get >/dev/null || exit 1\n")
        shells = [Command(["/bin/sh", str(script)], env) for script in (thirty, one)]
        result = ratio(shells[0], shells[1], 10)
        yield Row("30 Google hosts in turn, as `docker build` asks", "one cached `get`", "≤ 31×", shown(result))
        assert google.mints == 1


def cached_azure(folder: Path) -> Iterator[Row]:
    """A cached `get` of Azure's registry, with a configuration file of 100 entries."""
    with FakeAzure(CertificateAuthority(folder)) as azure:
        home = folder / "azure"
        env = environment(home, **azure.principal())
        hundred_entries(home)
        result = ratio(helper("acr", env, AZURE_HOST.encode()), Command(BARE, env), 200)
        yield Row("cached Azure `get`, 100 entries configured", "`python3 -I -S -c pass`", "≤ 1.15×", shown(result))


def cold_google(folder: Path) -> Iterator[Row]:
    """A `get` that mints with a service account's key, against google-auth in a bare script."""
    with FakeGoogle(CertificateAuthority(folder)) as google:
        home = folder / "cold-google"
        env = environment(home, **google.environment(CREDHELPERS_CACHE_DIR=""))
        key = google_account(home / "key.json", service_account())
        env["GOOGLE_APPLICATION_CREDENTIALS"] = str(key)
        script = folder / "bare_google.py"
        script.write_text(
            "import os\n"
            "from google.auth.transport.requests import Request\n"
            "from google.oauth2.service_account import Credentials\n"
            "scopes = ['https://www.googleapis.com/auth/cloud-platform']\n"
            "path = os.environ['GOOGLE_APPLICATION_CREDENTIALS']\n"
            "credentials = Credentials.from_service_account_file(path, scopes=scopes)\n"
            "credentials.refresh(Request())\n"
            "print(credentials.token)\n"
        )
        bare = Command([str(BIN / "python3"), str(script)], env)
        result = ratio(helper("gcr", env, b"europe-docker.pkg.dev"), bare, 20)
        yield Row("cold Google `get`, service account", "google-auth in a bare script", "≤ 1.2×", shown(result))


def cold_azure(folder: Path) -> Iterator[Row]:
    """A `get` that mints with a client secret, against azure-identity and the exchange in a bare script."""
    with FakeAzure(CertificateAuthority(folder)) as azure:
        env = environment(folder / "cold-azure", **azure.principal(CREDHELPERS_CACHE_DIR=""))
        env["REQUESTS_CA_BUNDLE"] = env["SSL_CERT_FILE"]
        script = folder / "bare_azure.py"
        script.write_text(
            "import os\n"
            "import requests\n"
            "from azure.identity import ClientSecretCredential\n"
            "names = ('TENANT_ID', 'CLIENT_ID', 'CLIENT_SECRET')\n"
            "tenant, client, secret = (os.environ[f'AZURE_{name}'] for name in names)\n"
            "scope = 'https://containerregistry.azure.net/.default'\n"
            "token = ClientSecretCredential(tenant, client, secret).get_token(scope)\n"
            f"host = '{AZURE_HOST}'\n"
            "form = {'grant_type': 'access_token', 'service': host, 'access_token': token.token, 'tenant': tenant}\n"
            "requests.get(f'https://{host}/v2/')\n"
            "print(requests.post(f'https://{host}/oauth2/exchange', data=form).json()['refresh_token'])\n"
        )
        bare = Command([str(BIN / "python3"), str(script)], env)
        result = ratio(helper("acr", env, AZURE_HOST.encode()), bare, 20)
        yield Row("cold Azure `get`, client secret", "azure-identity in a bare script", "≤ 1.2×", shown(result))


def dead_metadata(folder: Path) -> Iterator[Row]:
    """A metadata server that takes the connection and says nothing, of each cloud."""
    with socket.create_server(("127.0.0.1", 0)) as silent, FakeAzure(CertificateAuthority(folder)) as azure:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        clouds = (
            ("EC2", "ecr", HOST, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{address}"}),
            ("Google", "gcr", "europe-docker.pkg.dev", {"GCE_METADATA_HOST": address}),
            ("Azure", "acr", AZURE_HOST, azure.environment(AZURE_POD_IDENTITY_AUTHORITY_HOST=f"http://{address}")),
        )
        endpoint = Endpoint()
        hit = helper("ecr", environment(folder / "live", **static_keys(endpoint)), HOST.encode())
        hit.run()
        for cloud, name, server, variables in clouds:
            env = environment(folder / f"dead-{name}", **variables)
            Command([str(BIN / f"docker-credential-{name}"), "version"], env).run()
            first = _refused(name, env, server)
            later = statistics.median(_refused(name, env, server) / hit.run() for _ in range(20))
            yield Row(
                f"dead metadata server of {cloud}, first and remembered",
                "seconds; one cached ECR `get`",
                "≤ 1.2 s, ≤ 1.2×" if cloud == "EC2" else "shown openly",
                f"**{first:.2f} s**, **{later:.2f}×**",
            )


def _refused(name: str, env: dict[str, str], server: str) -> float:
    """Seconds of a `get` that fails."""
    program = [str(BIN / f"docker-credential-{name}"), "get"]
    start = time.perf_counter()
    done = subprocess.run(program, env=env, input=server.encode(), capture_output=True, check=False)
    seconds = time.perf_counter() - start
    assert done.returncode == 1, done
    return seconds


def hundred_entries(home: Path, source: str = "ecr", setting: str = 'profile = "p{}"') -> None:
    """A configuration file of 100 registries, none of them asked for here, each with a setting of its number."""
    file = home / ".config/credhelpers/config.toml"
    file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    entry = f'[[registry]]\nmatch = "mirror{{}}.acme.example"\nsource = "{source}"\n{setting}\n'
    file.write_text("\n".join(entry.format(number, number) for number in range(100)))
    file.chmod(0o600)


def herd(folder: Path) -> Iterator[Row]:
    """Fifty cold `get`s at once."""
    endpoint = Endpoint(delay=0.3)
    env = environment(folder / "herd", **static_keys(endpoint))
    processes = [
        subprocess.Popen(
            [str(BIN / "docker-credential-ecr"), "get"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(50)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write(HOST.encode())
        process.stdin.close()
    answers = {process.stdout.read() for process in processes if process.stdout}
    assert all(process.wait() == 0 for process in processes)
    assert len(answers) == 1
    yield Row("50 cold `get`s of one key at once", "backend calls, 300 ms each", "1", f"**{endpoint.calls['ecr']}**")


def secret_service(folder: Path) -> Iterator[Row]:
    """A `get` from the Secret Service against `keyring` and docker's own helper."""
    daemon, bus = shutil.which("gnome-keyring-daemon"), shutil.which("dbus-daemon")
    if not (daemon and bus):
        yield Row(
            "keyring `get` (Secret Service)", "a `keyring` script of three lines", "≤ 0.35×", "no Secret Service here"
        )
        return
    env = environment(folder / "keyring", XDG_RUNTIME_DIR=str(folder))
    with _session_bus(bus, daemon, env) as env:
        _store(str(BIN / "docker-credential-keyring"), env, "registry.example:5000")
        script = folder / "bare_keyring.py"
        script.write_text(
            "import keyring, sys\n"
            "secret = keyring.get_password('registry.example:5000', 'someone')\n"
            "print(secret or sys.exit(1))\n"
        )
        python = str(BIN / "python3")
        put = "import keyring; keyring.set_password('registry.example:5000', 'someone', 'benchmark')"
        subprocess.run([python, "-c", put], env=env, check=True)
        ours = helper("keyring", env, b"registry.example:5000")
        result = ratio(ours, Command([python, str(script)], env), 30)
        yield Row("keyring `get` (Secret Service)", "a `keyring` script of three lines", "≤ 0.35×", shown(result))
        if go := shutil.which("docker-credential-secretservice"):
            result = ratio(ours, Command([go, "get"], env, b"registry.example:5000"), 30)
            yield Row("the same", "docker's `docker-credential-secretservice`", "shown openly", shown(result))


@contextlib.contextmanager
def _session_bus(bus: str, daemon: str, env: dict[str, str]) -> Iterator[dict[str, str]]:
    """A session bus of its own with an unlocked keyring."""
    process = subprocess.Popen(
        [bus, "--session", "--nofork", "--print-address=1"], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    env = env | {"DBUS_SESSION_BUS_ADDRESS": process.stdout.readline().strip()}
    keyring = subprocess.Popen(
        [daemon, "--foreground", "--unlock", "--components=secrets"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert keyring.stdin
    keyring.stdin.write(b"benchmark")
    keyring.stdin.close()
    try:
        time.sleep(1.5)
        yield env
    finally:
        for child in (keyring, process):
            child.terminate()
            child.wait()


def _store(program: str, env: dict[str, str], server: str) -> None:
    document = json.dumps({"ServerURL": server, "Username": "someone", "Secret": "benchmark"}).encode()
    subprocess.run([program, "store"], input=document, env=env, check=True)


def embedded(folder: Path) -> Iterator[Row]:
    """A `get` from the embedded store against the bare interpreter, and against `pass`."""
    env = environment(folder / "embedded")
    _store(str(BIN / "docker-credential-keyring"), env, "registry.example:5000")
    ours = helper("keyring", env, b"registry.example:5000")
    result = ratio(ours, Command(BARE, env), 100)
    yield Row("embedded store `get`", "`python3 -I -S -c pass`", "≤ 1.6×", shown(result))
    peer, gpg = shutil.which("docker-credential-pass"), shutil.which("gpg")
    if not (peer and gpg and shutil.which("pass")):
        yield Row("the same", "`docker-credential-pass` with gpg", "< 1×", "`pass` is not here")
        return
    env = env | {"GNUPGHOME": str(folder / "g"), "PASSWORD_STORE_DIR": str(folder / "p")}
    (folder / "g").mkdir(mode=0o700)
    key = [gpg, "--batch", "--passphrase", "", "--quick-generate-key", "bench@example", "default", "default", "never"]
    for command in (key, ["pass", "init", "bench@example"]):
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    _store(peer, env, "registry.example:5000")
    result = ratio(ours, Command([peer, "get"], env, b"registry.example:5000"), 30)
    subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False)
    yield Row("the same", "`docker-credential-pass` with gpg", "< 1×", shown(result))


class Team:
    """What a team keeps in a Vault server: a secret for each registry below `acme.example`, read by one AppRole."""

    def __init__(self, vault: Vault, **role: object) -> None:
        self.vault = vault
        vault.call("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        vault.policy("puller", "kv/data/registries/* read")
        vault.call("POST", "sys/auth/approle", {"type": "approle"})
        path = "auth/approle/role/puller"
        vault.call("POST", path, {"token_policies": ["puller"], "token_ttl": "1h"} | role)
        self._variables = {
            "VAULT_ADDR": vault.address,
            "VAULT_ROLE_ID": vault.call("GET", f"{path}/role-id")["data"]["role_id"],
            "VAULT_SECRET_ID": vault.call("POST", f"{path}/secret-id")["data"]["secret_id"],
        }

    def keep(self, host: str) -> bytes:
        """Keep a secret for this registry; what a client asks for."""
        data = {"username": "robot", "password": "benchmark"}
        self.vault.call("POST", f"kv/data/registries/{host}", {"data": data})
        return host.encode()

    def member(self, home: Path, *lines: str) -> dict[str, str]:
        """The environment of somebody who is configured for it, with lines of their own."""
        file = home / ".config/credhelpers/config.toml"
        file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        common = ('path = "kv/registries/{host}"', 'auth = "approle"')
        with file.open("a") as config:
            config.write(
                "\n".join(("[[registry]]", 'match = "*.acme.example"', 'source = "vault"', *common, *lines, ""))
            )
        return environment(home, **self._variables)


@contextlib.contextmanager
def _vault() -> Iterator[Vault]:
    """A Vault server of its own."""
    try:
        server = Vault()
    except pytest.skip.Exception as reason:
        raise RuntimeError(str(reason)) from None
    with server:
        yield server


def cached_vault(folder: Path) -> Iterator[Row]:
    """A cached `get` of what is kept in Vault, with a configuration file of 101 entries."""
    with _vault() as vault:
        team = Team(vault)
        home = folder / "cached-vault"
        hundred_entries(home)
        env = team.member(home)
        result = ratio(helper("vault", env, team.keep("hub.acme.example")), Command(BARE, env), 200)
        yield Row("cached Vault `get`, 101 entries configured", "`python3 -I -S -c pass`", "≤ 1.15×", shown(result))


def cold_vault(folder: Path) -> Iterator[Row]:
    """A `get` that reads KV with a cached token of Vault's, against the same read in a bare hvac script."""
    with _vault() as vault:
        team = Team(vault)
        home = folder / "cold-vault"
        env = team.member(home)
        server = team.keep("hub.acme.example")
        script = folder / "bare_hvac.py"
        script.write_text(
            "import json, os, sys\n"
            "import hvac\n"
            "server = sys.stdin.read().strip()\n"
            "client = hvac.Client(url=os.environ['VAULT_ADDR'], token=os.environ['VAULT_TOKEN'])\n"
            "read = client.secrets.kv.v2.read_secret_version\n"
            "data = read(f'registries/{server}', mount_point='kv', raise_on_deleted_version=True)['data']['data']\n"
            "print(json.dumps({'ServerURL': server, 'Username': data['username'], 'Secret': data['password']}))\n"
        )
        token = vault.call("POST", "auth/token/create", {"policies": ["puller"]})["auth"]["client_token"]

        def forget() -> None:
            for file in (home / ".cache/credhelpers").glob("vault-*"):
                file.unlink()

        with Audit(vault, folder / "cold.log") as audit:
            result = ratio(
                helper("vault", env, server, forget),
                Command([str(BIN / "python3"), str(script)], env | {"VAULT_TOKEN": token}, server),
                20,
            )
            assert audit.count("update", "auth/approle/login") == 1
        yield Row("cold Vault `get`, token cached", "the same read in a bare hvac script", "≤ 1.1×", shown(result))


def herd_vault(folder: Path) -> Iterator[Row]:
    """Fifty cold `get`s of fifty registries at once."""
    with _vault() as vault, Audit(vault, folder / "herd.log") as audit:
        team = Team(vault)
        env = team.member(folder / "herd-vault")
        servers = [team.keep(f"r{number}.acme.example") for number in range(50)]
        Command([str(BIN / "docker-credential-vault"), "version"], env).run()  # no fifty launch files
        _all_at_once(env, servers)
        yield Row(
            "50 cold Vault `get`s of 50 registries at once",
            "logins and reads, by Vault's audit log",
            "1 login",
            f"**{audit.count('update', 'auth/approle/login')}**, {audit.count('read', 'kv/data/')} reads",
        )


def _all_at_once(env: dict[str, str], servers: list[bytes]) -> None:
    """Ask the helper for all of them; each must answer."""
    processes = []
    for server in servers:
        command = [str(BIN / "docker-credential-vault"), "get"]
        process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin
        process.stdin.write(server)
        process.stdin.close()
        processes.append(process)
    answers = [process.stdout.read() for process in processes if process.stdout]
    assert all(process.wait() == 0 for process in processes), answers


def fleet_vault(folder: Path) -> Iterator[Row]:
    """Two hundred processes of five registries over one life of a token, an answer kept for a quarter of it."""
    processes, life = 200, 20
    with _vault() as vault, Audit(vault, folder / "fleet.log") as audit:
        team = Team(vault, token_ttl=f"{life}s")
        env = team.member(folder / "fleet", f'keep = "{life // 4}s"')
        servers = [team.keep(f"r{number}.acme.example") for number in range(5)]
        start = time.monotonic()
        for number in range(processes):
            time.sleep(max(0.0, start + number * life / processes - time.monotonic()))
            _all_at_once(env, [servers[number % len(servers)]])
        renewals = audit.count("update", "auth/token/renew-self")
        logins, reads = audit.count("update", "auth/approle/login"), audit.count("read", "kv/data/")
        yield Row(
            f"{processes} Vault `get`s over the {life} s of a token, answers kept for {life // 4} s",
            f"logins, renewals, reads; 1, {processes}, {processes} if each call renewed and read",
            "shown openly",
            f"**{logins}, {renewals}, {reads}**",
        )


ROWS = (
    cached_floor,
    cached_configured,
    foreign,
    cached_header,
    linked,
    cached_against_go,
    cached_google,
    cached_azure,
    cached_vault,
    cold,
    cold_google,
    cold_azure,
    cold_vault,
    dead_metadata,
    secret_service,
    embedded,
    herd,
    herd_vault,
    fleet_vault,
)


def main() -> None:
    """Print the table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--only", default="", help="run the rows whose function's name holds this word")
    options = parser.parse_args()
    lines = ["| work | against | wanted | measured |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="credhelpers-bench-") as folder:
        for rows in ROWS:
            if options.only in rows.__name__:
                for row in rows(Path(folder)):
                    print(row, flush=True)
                    lines.append(str(row))
    if options.write:
        when = time.strftime("%Y-%m-%d")
        version = ".".join(map(str, sys.version_info[:3]))
        lines.append("")
        lines.append(
            f"Median ratio of paired whole-process runs, medians in milliseconds; {when}, Python {version}, 2 cores."
        )
        text = README.read_text()
        block = "<!-- benchmarks -->\n" + "\n".join(lines) + "\n<!-- end -->"
        README.write_text(re.sub(r"<!-- benchmarks -->.*<!-- end -->", lambda _: block, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
