"""Metadata services at their true address, slow, late or absent: a network of its own, and some firmware."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import environment, lacking, need, patience

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
HOSTS = {"gcr": "gcr.io", "acr": "myregistry.azurecr.io"}
FIRMWARE = {
    "gcr": {"sys_vendor": "Google", "product_name": "Google Compute Engine"},
    "acr": {"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"},
}
NAMED = {
    "gcr": {"GCE_METADATA_HOST": "169.254.169.254"},
    "acr": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://169.254.169.254"},
}
SAID = {"gcr": 'credential = "metadata"', "acr": 'credential = "managed-identity"'}

# An answer takes `delay` seconds. The service comes up after `up` seconds, and never where that is none; until then a
# connection is refused, or where it is silent nobody hears. It prints exit status, seconds, and the two streams.
ISLAND = """
import json, os, pathlib, socket, subprocess, sys, threading, time
root, program, told = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path.insert(0, root)
from tests.fakes.azure import FakeAzure
from tests.fakes.google import FakeGoogle, FakeMetadata
from tests.fakes.tls import CertificateAuthority, _pump
subprocess.run(["mount", "-t", "tmpfs", "none", "/sys/class"], check=True)
folder = pathlib.Path("/sys/class/dmi/id")
folder.mkdir(parents=True)
for name, line in told["firmware"].items():
    (folder / name).write_text(line + "\\n")
def ip(*words):
    subprocess.run(["ip", *words], check=True)
ip("link", "set", "lo", "up")
if told["is_silent"]:
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    ip("address", "add", "169.254.0.1/16", "dev", "v0")
    ip("link", "set", "v0", "up")
    ip("link", "set", "v1", "up")
elif told["up"] is not None:
    ip("address", "add", "169.254.169.254/32", "dev", "lo")
class Slow(FakeAzure):
    def _metadata(self, request, path):
        time.sleep(told["delay"])
        return super()._metadata(request, path)
authority = CertificateAuthority(pathlib.Path(told["folder"]))
environ = dict(os.environ)
if told["word"] == "acr":
    azure = Slow(authority)
    port = azure.metadata.port
    environ |= azure.environment(SSL_CERT_FILE=str(authority.pem))
    del environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
else:
    metadata = FakeMetadata(FakeGoogle(authority))
    metadata.delay = told["delay"]
    port = metadata.site.port
environ |= told["named"]
def carry(peer):
    with peer, socket.create_connection(("127.0.0.1", port)) as onward:
        _pump(peer, onward)
def serve():
    if told["is_silent"]:
        time.sleep(told["up"])
        ip("address", "add", "169.254.169.254/32", "dev", "lo")
    else:
        time.sleep(told["up"])
    listener = socket.create_server(("169.254.169.254", 80))
    while True:
        threading.Thread(target=carry, args=[listener.accept()[0]], daemon=True).start()
if told["up"] is not None:
    threading.Thread(target=serve, daemon=True).start()
    if not told["up"]:
        time.sleep(0.2)
started = time.monotonic()
done = subprocess.run([program, "get"], input=told["host"].encode(), env=environ, capture_output=True, timeout=30)
seconds = time.monotonic() - started
print(json.dumps([done.returncode, seconds, done.stdout.decode(), done.stderr.decode()]))
sys.stdout.flush()
os._exit(0)
"""


class Told:
    """What a client was told on an island."""

    def __init__(self, status: int, seconds: float, out: str, err: str) -> None:
        self.seconds = seconds
        self.err = err
        self.out = out
        self.has_token = status == 0
        self.is_absent = status == 1 and out == "credentials not found in native keychain\n"


@pytest.fixture
def on_island(home: Path, tmp_path: Path) -> Callable[..., Told]:
    """Call the helper of a registry on an island; see ISLAND."""
    need("ip", "iproute2")
    unshare = [need("unshare", "util-linux"), "-nm" if os.geteuid() == 0 else "-rnm"]

    def call(
        word: str,
        delay: float = 0.0,
        up: float | None = 0.0,
        how: str = "possible",
        *,
        is_silent: bool = False,
        **more: str,
    ) -> Told:
        if how == "said":
            config = home / ".config/credhelpers/config.toml"
            config.parent.mkdir(parents=True)
            config.write_text(f'[[registry]]\nmatch = "{HOSTS[word]}"\nsource = "{word}"\n{SAID[word]}\n')
            config.chmod(0o600)
        told = {
            "word": word,
            "host": HOSTS[word],
            "delay": delay,
            "up": up,
            "is_silent": is_silent,
            "folder": str(tmp_path),
            "firmware": FIRMWARE[word] if how == "likely" else {},
            "named": NAMED[word] if how == "named" else {},
        }
        helper = Path(sys.executable).parent / f"docker-credential-{word}"
        done = subprocess.run(
            [*unshare, sys.executable, "-c", ISLAND, str(ROOT), str(helper), json.dumps(told)],
            env=environment(home, CREDHELPERS_CACHE_DIR="", **more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "Operation not permitted" in done.stderr:
            lacking("namespaces of network and mounts are not allowed here")
        assert done.returncode == 0, done.stderr
        return Told(*json.loads(done.stdout))

    return call


LATE = "(169.254.169.254) did not answer in time"
# By how the service is known, the seconds that it has for its first answer.
FIRST = {"possible": 0.9, "likely": 3.0, "named": 8.0, "said": 8.0}


@pytest.mark.slow
@pytest.mark.parametrize("word", HOSTS)
@pytest.mark.parametrize("how", FIRST)
@pytest.mark.parametrize("delay", [0.3, 1.2, 3.1, 7.0])
def test_a_slow_service(word: str, how: str, delay: float, on_island: Callable[..., Told]) -> None:
    """One that is late is not absent: where a token does not come the line says who did not answer, and where."""
    told = on_island(word, delay, how=how)

    if 2 * delay < 7.5 and delay < FIRST[how]:  # it is asked twice
        assert told.has_token, told.err
        assert told.seconds < 2 * delay + 1 + patience(1)
        return
    assert LATE in told.err
    assert "no Azure identity" not in told.err
    assert "no credential file" not in told.err
    assert told.is_absent == (how in ("possible", "likely"))
    assert told.seconds < FIRST[how] + 0.6 + patience(1)


@pytest.mark.parametrize("word", HOSTS)
@pytest.mark.parametrize(("up", "is_silent"), [(None, False), (None, True), (5, False)], ids=str)
def test_a_laptop(word: str, up: float | None, on_island: Callable[..., Told], *, is_silent: bool) -> None:
    """Where nobody ought to be, nobody is waited for, whether nothing leads there, is heard there, or is there yet."""
    told = on_island(word, up=up, is_silent=is_silent)

    assert told.is_absent
    assert "did not answer" not in told.err
    assert f"[{word}-no-identity" in told.err
    assert told.seconds < 0.9 + 0.6 + patience(1)


@pytest.mark.slow
@pytest.mark.parametrize("word", HOSTS)
@pytest.mark.parametrize("is_silent", [False, True], ids=["refused", "silent"])
@pytest.mark.parametrize(("how", "up"), [("likely", 1.5), ("named", 1.5), ("named", 4.0), ("said", 4.0)])
def test_a_service_that_comes_up_late(
    word: str, how: str, up: float, on_island: Callable[..., Told], *, is_silent: bool
) -> None:
    """On a new machine it comes up with us, and is waited for where it is to be expected."""
    told = on_island(word, 0.05, up, how, is_silent=is_silent)

    assert told.has_token, told.err
    assert told.seconds < up + 2 + patience(1)


@pytest.mark.slow
@pytest.mark.parametrize("word", HOSTS)
@pytest.mark.parametrize(("how", "is_absent"), [("likely", True), ("named", False), ("said", False)])
def test_a_service_that_never_comes_up(word: str, how: str, on_island: Callable[..., Told], *, is_absent: bool) -> None:
    """The firmware is no evidence of an identity: without one, public images are still to be had. A name is."""
    told = on_island(word, up=None, how=how, is_silent=True)

    assert LATE in told.err
    assert told.is_absent == is_absent
    assert told.seconds < FIRST[how] + 0.6 + patience(1)


@pytest.mark.parametrize(("seconds", "has_token"), [("2", True), ("0.5", False)])
def test_google_s_own_variable(seconds: str, on_island: Callable[..., Told], *, has_token: bool) -> None:
    """GCE_METADATA_TIMEOUT is for a first answer, whoever says that the server is there."""
    for how in ("possible", "named"):
        told = on_island("gcr", 1.2, how=how, GCE_METADATA_TIMEOUT=seconds)
        assert told.has_token == has_token
        assert has_token or LATE in told.err
