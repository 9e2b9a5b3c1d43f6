"""What real people's credential files of Google's were told wrongly, by the numbers of a report; and rows like them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from credhelpers.errors import Unavailable
from credhelpers.exchanges.google import credential
from credhelpers.identities.google_services import UNIVERSE, is_service
from tests.harness import environment, loaded_call

if TYPE_CHECKING:
    from pathlib import Path

HOST = "europe-docker.pkg.dev"
STS = "https://sts.googleapis.com/v1/token"
MTLS = "https://sts.mtls.googleapis.com/v1/token"


def external(source: dict[str, Any], **more: object) -> dict[str, Any]:
    """A file of workload identity federation."""
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": STS,
        "credential_source": source,
        **more,
    }


def told(home: Path, info: object, **more: str) -> tuple[str, str]:
    """The code of what is said of such a file, and the line."""
    path = home / "credential.json"
    path.write_text(info if isinstance(info, str) else json.dumps(info))
    path.chmod(0o600)
    env = environment(home, GOOGLE_APPLICATION_CREDENTIALS=str(path), **more)
    done = loaded_call("gcr", "get", HOST, env)
    return done.told, done.err.decode()


CERTIFICATE: dict[str, Any] = {"certificate": {"use_default_certificate_config": True}}
FILE: dict[str, Any] = {"file": "/nowhere"}
# By what it is a row of: the source, other keys, the code.
ROWS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "1.A4": (CERTIFICATE, {"token_url": MTLS}, "gcr-client-certificate"),
    "1.A4, the plain URL": (CERTIFICATE, {"token_url": STS}, "gcr-client-certificate"),
    "1.A4, impersonation": (
        CERTIFICATE,
        {"service_account_impersonation_url": "https://iamcredentials.mtls.googleapis.com/v1/x"},
        "gcr-client-certificate",
    ),
    "own: not known": (FILE, {"token_url": "https://new.googleapis.com/v1"}, "gcr-file-service-unknown"),
    "own: a bucket": (FILE, {"token_url": "https://sts.storage.googleapis.com/x"}, "gcr-file-foreign"),
    "own: a look-alike": (FILE, {"token_url": "https://sts.googleapis.com.evil.example/x"}, "gcr-file-foreign"),
    "own: in clear": (FILE, {"token_url": "http://sts.googleapis.com/x"}, "gcr-file-foreign"),
    "own: a device": ({"file": "/dev/zero"}, {}, "gcr-subject-no-file"),
    "own: a directory of tokens": ({"file": "/tmp"}, {}, "gcr-subject-no-file"),
    "1.A6, format": (FILE | {"format": {"type": "txt"}}, {}, "gcr-file-format"),
    "own: a URL's": ({"url": "https://idp.example/t", "format": {"type": "TEXT"}}, {}, "gcr-file-format"),
}


@pytest.mark.parametrize(("source", "more", "code"), ROWS.values(), ids=list(ROWS))
def test_the_cause_is_said(home: Path, source: dict[str, Any], more: dict[str, str], code: str) -> None:
    """And a verdict of fraud only where it is one: what is only unknown is called that."""
    assert told(home, external(source, **more))[0] == code


@pytest.mark.parametrize(
    ("milliseconds", "code"),
    [(1500, "gcr-file-timeout"), (4999, "gcr-file-timeout"), (120_001, "gcr-file-timeout"), (-1, "gcr-file-timeout")],
)
def test_a_program_s_patience(home: Path, milliseconds: int, code: str) -> None:
    """1.A6: the key is named, and not the whole file called damaged."""
    source = {"executable": {"command": "/bin/true", "timeout_millis": milliseconds}}
    found, line = told(home, external(source), GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES="1")
    assert found == code
    assert "timeout_millis" in line


def test_a_directory_is_one(home: Path) -> None:
    """1.A6: compose makes one where the file that it mounts is missing."""
    (home / "credential.json").mkdir()
    env = environment(home, GOOGLE_APPLICATION_CREDENTIALS=str(home / "credential.json"))
    done = loaded_call("gcr", "get", HOST, env)
    assert done.told == "gcr-file-directory"
    assert b"rmdir" in done.err


@pytest.mark.parametrize(
    ("life", "code"),
    [(59, "gcr-token-short"), (1, "gcr-token-short"), (-5, "gcr-clock"), (90_000, "gcr-clock")],
)
def test_a_short_token_is_no_wrong_clock(life: float, code: str) -> None:
    """1.A6: two-minute tokens of GitLab's, and what is left of them."""
    with pytest.raises(Unavailable) as caught:
        credential("made-up", time.time() + life)
    assert caught.value.code == code
    assert credential("made-up", time.time() + 61).expires


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((f"{name}.mtls.googleapis.com", True) for name in ("sts", "iamcredentials", "oauth2")),
        *((name, False) for name in ("mtls.googleapis.com", "x.mtls.googleapis.com", "sts.mtls.evil.googleapis.com")),
        *((name, False) for name in ("sts.mtls.googleapis.com.evil.example", "sts-mtls.googleapis.com")),
    ],
)
def test_hosts_with_a_client_certificate_are_google_s(host: str, expected: bool) -> None:  # noqa: FBT001 - a column
    """1.A4: four of ten public files have one."""
    assert is_service(host, UNIVERSE) is expected
