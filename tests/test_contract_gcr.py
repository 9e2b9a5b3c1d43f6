"""docker-credential-gcr speaks the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests import contract
from tests.fakes.google import FakeGoogle, service_account, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.tls import CertificateAuthority


class TestGcr(contract.SourceContract):
    """Against the fake Google, with an account's key: the one source for which every row starts the executable."""

    name = "gcr"
    forks = False
    own = ("europe-docker.pkg.dev", "gcr.io", "eu.gcr.io", "docker.us-central1.rep.pkg.dev")
    foreign: ClassVar[tuple[str, ...]] = (
        *("ghcr.io", "acme.azurecr.io", "111122223333.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws"),
        *("pkg.dev", "docker.pkg.dev", "europe-npm.pkg.dev", "europe-docker.pkg.dev.evil.example", "evilgcr.io"),
        *("europe-docker.pkg.devil", "x.europe-docker.pkg.dev", "europe-docker-pkg.dev", "europe.docker.pkg.dev"),
        *("gcr.io.evil.example", "a.b.gcr.io", "docker.rep.pkg.dev", "docker.evil.example.rep.pkg.dev"),
        *("oauth2.googleapis.com", "metadata.google.internal"),
    )

    @pytest.fixture
    def cloud(self, authority: CertificateAuthority, tmp_path: Path) -> Iterator[contract.Cloud]:
        with FakeGoogle(authority) as google:
            yield contract.Cloud(
                env=google.environment(GOOGLE_APPLICATION_CREDENTIALS=write(tmp_path / "key.json", service_account())),
                asked=google.proxy.asked,
                fail=lambda: google.fail_next("oauth2.googleapis.com", "internal_failure", 500, times=100),
                expiry=google.ends.__getitem__,
                live=lambda seconds: setattr(google, "life", seconds),
            )
