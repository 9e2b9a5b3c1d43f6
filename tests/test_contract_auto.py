"""docker-credential-auto speaks the protocol: as the store that it is for most hosts, and as each source."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from credhelpers import plan
from credhelpers.errors import NotMine
from credhelpers.servers import Authority
from tests.harness import Result, document
from tests.test_contract_acr import TestAcr as _Acr
from tests.test_contract_ecr import TestEcr as _Ecr
from tests.test_contract_gcr import TestGcr as _Gcr
from tests.test_contract_keyring import TestEmbeddedStore as _EmbeddedStore

if TYPE_CHECKING:
    from tests.contract import Cloud, SourceContract

    _Base = SourceContract
else:
    _Base = object


class TestStore(_EmbeddedStore):
    """For a registry that nobody owns."""

    name = "auto"
    forks = True


class _Routed(_Base):
    """What differs from the helper of one source: the hosts of other clouds are theirs, and passwords are kept."""

    name = "auto"

    def test_p18_passwords_of_others_are_refused(self, env: dict[str, str], cloud: Cloud) -> None:
        """They are the keyring's here."""
        for server in (server for server in self.foreign if ".." not in server):
            assert self.call(env, "store", stdin=document(server, "someone", "made-up")) == Result(0, b"", b"")
            assert self.call(env, "get", stdin=server).credential["Secret"] == "made-up"
        assert cloud.asked == []


def _foreign(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Those that are no other cloud's, either."""

    def is_owned(host: str) -> bool:
        try:
            plan.route(Authority(host), {})
        except NotMine:
            return False
        return True

    return tuple(host for host in hosts if not is_owned(host))


@pytest.mark.slow
class TestEcr(_Routed, _Ecr):
    """For one of Amazon's."""

    foreign: ClassVar[tuple[str, ...]] = _foreign(_Ecr.foreign)


@pytest.mark.slow
class TestGcr(_Routed, _Gcr):
    """For one of Google's."""

    foreign: ClassVar[tuple[str, ...]] = _foreign(_Gcr.foreign)


@pytest.mark.slow
class TestAcr(_Routed, _Acr):
    """For one of Azure's."""

    foreign: ClassVar[tuple[str, ...]] = _foreign(_Acr.foreign)
