"""docker-credential-acr speaks the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests import contract
from tests.fakes.azure import HOST, FakeAzure
from tests.fakes.tls import Response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.tls import CertificateAuthority

pytestmark = pytest.mark.slow


class TestAcr(contract.SourceContract):
    """Against the fake Azure, with an application's secret."""

    name = "acr"
    own = (HOST, "otherregistry.azurecr.io", "myregistry-a1b2c3d4.azurecr.io", "myregistry.westeurope.geo.azurecr.io")
    foreign: ClassVar[tuple[str, ...]] = (
        *("ghcr.io", "gcr.io", "us-docker.pkg.dev", "111122223333.dkr.ecr.eu-west-1.amazonaws.com", "public.ecr.aws"),
        *("azurecr.io", "mcr.microsoft.com", "myregistry.westeurope.data.azurecr.io", "myregistry.azurecr.de"),
        *("myregistry.azurecr.io.evil.example", "myregistryazurecr.io", "myregistry.evil-azurecr.io"),
        *("a.b.azurecr.io", "my_registry.azurecr.io", "myregistry.azurecr.io.cn", "login.microsoftonline.com"),
        *("myregistry.evil.example.geo.azurecr.io", "geo.azurecr.io"),
    )

    @pytest.fixture
    def cloud(self, authority: CertificateAuthority) -> Iterator[contract.Cloud]:
        with FakeAzure(authority) as azure:

            def fail() -> None:
                for host in self.own:
                    azure.answers[host, "/v2/"] = Response(503)

            yield contract.Cloud(
                env=azure.principal(),
                asked=azure.proxy.asked,
                fail=fail,
                expiry=azure.expiries.__getitem__,
                live=lambda seconds: setattr(azure, "life", seconds),
            )
