"""How long a metadata service may take: two clocks, which are never mixed.

*Is anybody there?* One that is merely possible has under a second to answer first, so that a laptop does not wait for
what it cannot have; on a machine that is one of that cloud by its firmware it has three. *It is there, and slow.* One
that somebody named, or that has answered once, has the time of the call, or what a variable of its own says.

What the firmware says is patience and no evidence: a container without an identity runs on such machines too. And
whoever is late is not absent, see `Patience.is_late`.
"""

from time import monotonic, sleep

from credhelpers import files
from credhelpers.errors import shortage
from credhelpers.net.failures import NoAnswer
from credhelpers.servers import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from credhelpers.net.wire import Answer

POSSIBLE = 0.9  # seconds; a lost SYN would be sent anew after one (RFC 6298, 2.1)
LIKELY = 3.0  # seconds; Azure's own advice for its service, github.com/Azure/azure-sdk-for-net/issues/31452
_CONNECT = 0.8  # seconds for a connection: less than POSSIBLE, lest silence looks like a slow answer
_PAUSE = 0.2  # seconds before one that is not up yet is asked anew

# <linux/dmi.h> in /sys. Google: `google.auth.compute_engine._metadata`, which reads the same file. Amazon: "Detect
# whether a host is an EC2 instance" of EC2's user guide, for Nitro and for Xen. Microsoft: Azure's machines are of
# Hyper-V (cloud-init, DataSourceAzure.py), and a Surface is none.
_DMI = "/sys/class/dmi/id/"
_DMI_BYTES = 256


class Patience:
    """With the metadata service of a cloud ("amazon", "google", "microsoft") at `host`, until `until` (monotonic).

    is_named: whether a variable, a setting or a credential file says that it is there
    said:     the seconds that a variable of the service's own gives to a first answer, 0.0 if there is none
    """

    def __init__(self, cloud: str, host: str, until: float, *, is_named: bool, said: float = 0.0) -> None:
        self.until = until
        self.is_named = is_named
        self.has_answered = False
        self.is_late = False
        """Whether it was found to be there, or may well be, and did not answer in time: no word on who we are."""
        self._is_likely = not is_named and cloud == machine()
        self._is_of_this_system = is_loopback(host)
        first = said or (LIKELY if self._is_likely else POSSIBLE)
        self._first = until if is_named and not said else min(monotonic() + first, until)

    @property
    def seconds(self) -> float:
        """For the next answer, never negative."""
        return max((self.until if self.has_answered else self._first) - monotonic(), 0.0)

    @property
    def is_sure(self) -> bool:
        """Whether it is there, by its own word or by somebody's: then its silence is an error."""
        return self.is_named or self.has_answered

    def answered(self) -> None:
        """It has answered: from now on it has the time of the call."""
        self.has_answered = True

    def ask(self, request: "Callable[[float, float], Answer]") -> "Answer":
        """The answer of `request`, which is given seconds for a connection and seconds in all.

        Where the service is likely or named, one that nobody hears yet is asked anew: on a new machine it comes up with
        us. Raises NoAnswer, and sets `is_late` if that was a matter of time.
        """
        while True:
            seconds = self.seconds
            try:
                answer = request(min(_CONNECT, seconds), seconds)
            except NoAnswer as error:
                if self._may_come(error):
                    sleep(_PAUSE)
                    continue
                is_slow = error.code == "net-slow"
                self.is_late = is_slow and (not error.is_silent or self._is_likely or self.is_sure)
                raise
            self.answered()
            return answer

    def _may_come(self, error: NoAnswer) -> bool:
        """Whether it is worth another try: nobody is there yet, there is time, and somebody ought to be there."""
        is_nobody = error.is_silent or error.code == "net-unreachable"
        is_expected = (self.is_sure or self._is_likely) and not (self._is_of_this_system and not error.is_silent)
        return is_nobody and is_expected and self.seconds > _PAUSE + POSSIBLE / 3


def seconds_of(text: bytes) -> float:
    """The seconds that a variable says; 0.0 for what is no number of them above zero."""
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if 0 < found < float("inf") else 0.0


def machine() -> str:
    """Whose machine this is by its firmware: "amazon", "google", "microsoft", or "" for anybody else's."""
    vendor, product = _dmi("sys_vendor"), _dmi("product_name")
    if (product or vendor).startswith("google"):
        return "google"
    if vendor.startswith("amazon") or _dmi("bios_version").endswith(".amazon"):
        return "amazon"
    return "microsoft" if vendor.startswith("microsoft") and not product.startswith("surface") else ""


def _dmi(name: str) -> str:
    """A line of the firmware's in lower case, "" where the system shows none."""
    try:
        return files.read(_DMI + name, _DMI_BYTES)[0].decode("ascii", "replace").strip().lower()
    except OSError as error:
        if lacking := shortage(error):
            raise lacking from None
        return ""
