"""docker-credential-ecr speaks the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests import contract
from tests.fakes.aws import FakeAws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow


class TestEcr(contract.SourceContract):
    """Against the fake Amazon."""

    name = "ecr"
    own = ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws")
    foreign: ClassVar[tuple[str, ...]] = (
        *("ghcr.io", "gcr.io", "us-docker.pkg.dev", "acme.azurecr.io", "amazonaws.com", "dkr.ecr.amazonaws.com"),
        *("11112222333.dkr.ecr.eu-west-1.amazonaws.com", "111122223333.dkr.ecr.eu-west-1.amazonaws.com.cn"),
        *("x111122223333.dkr.ecr.eu-west-1.amazonaws.com", "111122223333.dkr.ecr.evil.example.amazonaws.com"),
        *("111122223333.dkr.ecr.s3-eu-west-1.amazonaws.com", "111122223333.dkr.ecr..amazonaws.com"),
        *("111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.example", "evil-public.ecr.aws", "x.public.ecr.aws"),
    )

    @pytest.fixture
    def cloud(self, authority: CertificateAuthority) -> Iterator[contract.Cloud]:
        with FakeAws(authority) as aws:
            yield contract.Cloud(
                env=aws.environment(),
                asked=aws.proxy.asked,
                fail=lambda: aws.fail_next("ServerException", 500, times=100),
                expiry=aws.expiries.__getitem__,
                live=lambda seconds: setattr(aws, "life", seconds),
            )
