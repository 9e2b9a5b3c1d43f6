"""The two clocks of a metadata service: is anybody there, and it is there, and slow."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from credhelpers.errors import Shortage
from credhelpers.net import patience
from credhelpers.net.failures import NoAnswer
from credhelpers.net.patience import Patience, machine, seconds_of
from credhelpers.net.wire import Answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALL = 8.0  # seconds
LINK_LOCAL = "169.254.169.254"


class Clock:
    """A monotonic clock that only this test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(patience, "monotonic", found)
    monkeypatch.setattr(patience, "sleep", found.sleep)
    return found


@pytest.fixture(autouse=True)
def dmi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """What the firmware says; nothing at first."""
    monkeypatch.setattr(patience, "_DMI", f"{tmp_path}/")

    def say(**lines: str) -> None:
        for name, text in lines.items():
            (tmp_path / name).write_text(f"{text}\n")

    return say


class Service:
    """One that takes connections from `up` seconds on, as this test's clock has it, and answers after `delay`.

    Before that nobody hears, or where `refuses` a connection is refused.
    """

    def __init__(self, clock: Clock, delay: float, up: float = 0.0, *, refuses: bool = False) -> None:
        self.asked = 0
        self._clock = clock
        self._delay = delay
        self._up = clock.now + up
        self._refuses = refuses

    def __call__(self, connect: float, seconds: float) -> Answer:
        self.asked += 1
        assert 0 < connect <= seconds
        if self._clock.now < self._up:
            if self._refuses:
                raise NoAnswer("net-unreachable", "the service", {}, LINK_LOCAL)
            self._clock.now += connect
            silence = NoAnswer("net-slow", "the service", {}, LINK_LOCAL)
            silence.is_silent = True
            raise silence
        if self._delay > seconds:
            self._clock.now += seconds
            raise NoAnswer("net-slow", "the service", {}, LINK_LOCAL)
        self._clock.now += self._delay
        return Answer(200, {}, b"")


def of(clock: Clock, *, is_named: bool = False, said: float = 0.0, host: str = LINK_LOCAL) -> Patience:
    return Patience("google", host, clock.now + CALL, is_named=is_named, said=said)


GOOGLE = {"product_name": "Google Compute Engine", "sys_vendor": "Google"}
OTHERS = {"product_name": "m5.large", "sys_vendor": "Amazon EC2"}


@pytest.mark.parametrize("delay", [0.3, 1.2, 3.0, 7.0, 60.0])
@pytest.mark.parametrize(
    ("lines", "options", "limit"),
    [
        pytest.param({}, {}, 0.9, id="possible"),
        pytest.param(OTHERS, {}, 0.9, id="on a machine of another cloud"),
        pytest.param(GOOGLE, {}, 3.0, id="likely"),
        pytest.param({}, {"is_named": True}, CALL, id="named"),
        pytest.param(GOOGLE, {"is_named": True}, CALL, id="named and likely"),
        pytest.param({}, {"said": 5.0}, 5.0, id="by its own variable"),
        pytest.param(GOOGLE, {"said": 0.5}, 0.5, id="by its own variable, shorter"),
        pytest.param({}, {"is_named": True, "said": 2.0}, 2.0, id="named, with its own variable"),
        pytest.param({}, {"said": 99.0}, CALL, id="by its own variable, longer than the call"),
    ],
)
def test_who_has_how_long_for_a_first_answer(
    lines: dict[str, str],
    options: dict[str, Any],
    limit: float,
    delay: float,
    clock: Clock,
    dmi: Callable[..., None],
) -> None:
    """And one that is late is known to be there: it took the connection."""
    dmi(**lines)
    found = of(clock, **options)
    started = clock.now

    if delay <= limit:
        found.ask(Service(clock, delay))
        assert found.has_answered
        assert found.is_sure
        assert clock.now - started == pytest.approx(delay)
    else:
        with pytest.raises(NoAnswer, match="did not answer in time"):
            found.ask(Service(clock, delay))
        assert found.is_late
        assert clock.now - started == pytest.approx(limit)


@pytest.mark.parametrize("lines", [{}, GOOGLE], ids=["possible", "likely"])
def test_who_has_answered_once_has_the_time_of_the_call(
    lines: dict[str, str], clock: Clock, dmi: Callable[..., None]
) -> None:
    dmi(**lines)
    found = of(clock)
    found.ask(Service(clock, 0.1))

    found.ask(Service(clock, 5.0))
    with pytest.raises(NoAnswer):
        found.ask(Service(clock, 5.0))
    assert found.is_late
    assert clock.now == found.until


@pytest.mark.parametrize(
    ("lines", "options", "limit", "is_late"),
    [
        pytest.param({}, {}, 0.8, False, id="a laptop"),
        pytest.param(GOOGLE, {}, 3.0, True, id="likely"),
        pytest.param({}, {"is_named": True}, CALL, True, id="named"),
    ],
)
def test_silence(
    lines: dict[str, str],
    options: dict[str, Any],
    limit: float,
    *,
    is_late: bool,
    clock: Clock,
    dmi: Callable[..., None],
) -> None:
    """Where nobody ought to be, nobody is late."""
    dmi(**lines)
    found = of(clock, **options)
    started = clock.now

    with pytest.raises(NoAnswer):
        found.ask(Service(clock, 0, up=60))
    assert limit - 0.6 < clock.now - started < limit + 0.01
    assert found.is_late == is_late


@pytest.mark.parametrize("refuses", [False, True], ids=["silent first", "refused first"])
@pytest.mark.parametrize(
    ("lines", "options", "up", "comes"),
    [
        pytest.param({}, {}, 0.4, False, id="a laptop"),
        pytest.param(GOOGLE, {}, 2.0, True, id="likely"),
        pytest.param(GOOGLE, {}, 4.0, False, id="likely, too late"),
        pytest.param({}, {"is_named": True}, 6.0, True, id="named"),
    ],
)
def test_one_that_comes_up_late(
    lines: dict[str, str],
    options: dict[str, Any],
    up: float,
    *,
    comes: bool,
    refuses: bool,
    clock: Clock,
    dmi: Callable[..., None],
) -> None:
    """Where one is to be expected it is waited for, whether its silence or the system says that it is not up yet."""
    dmi(**lines)
    found = of(clock, **options)
    service = Service(clock, 0.1, up, refuses=refuses)

    if comes:
        assert found.ask(service).status == 200
        assert service.asked > 1
        return
    with pytest.raises(NoAnswer):
        found.ask(service)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_refusal_by_this_machine_is_final(host: str, clock: Clock) -> None:
    """Nobody waits for what people write to have no service, as `http://127.0.0.1:9`."""
    found = of(clock, is_named=True, host=host)
    service = Service(clock, 0, up=60, refuses=True)

    with pytest.raises(NoAnswer, match="nothing answers"):
        found.ask(service)
    assert service.asked == 1
    assert not found.is_late


def test_other_troubles_are_no_matter_of_time(clock: Clock) -> None:
    def broken(_connect: float, _seconds: float) -> Answer:
        raise NoAnswer("net-connection-broken", "the service", {}, LINK_LOCAL)

    found = of(clock, is_named=True)
    with pytest.raises(NoAnswer, match="broke off"):
        found.ask(broken)
    assert not found.is_late


@pytest.mark.parametrize(
    ("lines", "cloud"),
    [
        pytest.param({}, "", id="no firmware at all"),
        pytest.param({"product_name": "Google Compute Engine", "sys_vendor": "Google"}, "google", id="Compute Engine"),
        pytest.param({"product_name": "Google"}, "google", id="Google, short"),
        pytest.param({"sys_vendor": "Google"}, "google", id="Google by its vendor"),
        pytest.param({"product_name": "Eve", "sys_vendor": "Google"}, "", id="a Chromebook"),
        pytest.param({"product_name": "m5.large", "sys_vendor": "Amazon EC2"}, "amazon", id="Nitro"),
        pytest.param(
            {"product_name": "HVM domU", "sys_vendor": "Xen", "bios_version": "4.11.amazon"}, "amazon", id="EC2 on Xen"
        ),
        pytest.param({"product_name": "HVM domU", "sys_vendor": "Xen", "bios_version": "4.11"}, "", id="any Xen"),
        pytest.param(
            {"product_name": "Virtual Machine", "sys_vendor": "Microsoft Corporation"}, "microsoft", id="Azure"
        ),
        pytest.param(
            {"product_name": "Surface Laptop 5", "sys_vendor": "Microsoft Corporation"}, "", id="a Surface laptop"
        ),
        pytest.param({"product_name": "20XW", "sys_vendor": "LENOVO"}, "", id="a laptop"),
        pytest.param({"product_name": "Not Google", "sys_vendor": "Not Amazon"}, "", id="words inside"),
        pytest.param({"product_name": "x" * 1000, "sys_vendor": "y" * 1000}, "", id="long lines"),
        pytest.param({"product_name": "\udcff\n"}, "", id="no text"),
    ],
)
def test_whose_machine_it_is(lines: dict[str, str], cloud: str, tmp_path: Path) -> None:
    for name, text in lines.items():
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    assert machine() == cloud


def test_a_shortage_is_no_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("credhelpers.files.read", read)
    with pytest.raises(Shortage, match="no more file descriptors"):
        machine()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *((text, 0.0) for text in (b"", b"soon", b"0", b"-1", b"nan", b"inf", b"-inf", b"1e999")),
        (b"5", 5.0),
        (b" 0.5 ", 0.5),
    ],
)
def test_what_a_variable_says(text: bytes, seconds: float) -> None:
    assert seconds_of(text) == seconds
