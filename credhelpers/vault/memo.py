"""What a credential of the cache says of itself for a later renewal: where in Vault it is from, how it lives.

It is written as one line, `name=value` between blanks, each value escaped as in a URL. An older cache has the words
without names, in a fixed order; they are read, too, since `docker logout` must revoke the lease that they name.
"""

from typing import NamedTuple
from urllib.parse import quote, unquote

from credhelpers.credential import INFINITY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.credential import Credential

# In the order in which they stood without names: of a registry's credential, and of a token of Vault's own.
_OF_A_CREDENTIAL = ("engine", "mount", "lease", "mark", "duration", "renewable", "last")
_WITHOUT_A_LEASE = 2  # of these words
_OF_A_TOKEN = ("renewable", "life")


class Lease(NamedTuple):
    """A lease: its id, the mark of the Vault token that made it (`session.Session.mark`), and its first duration.

    `last` is when that which was made with it ends for good, in seconds since the epoch, however long the lease is.
    """

    id: str
    mark: str
    duration: float
    is_renewable: bool
    last: float = INFINITY


class Memo(NamedTuple):
    """What is remembered of one credential; none of it is secret.

    engine, mount: what is mounted where it was found, "" if nobody has looked
    lease:         the lease that it lives by, None if it lives by none
    life:          of a token of Vault's own, the seconds that it lived at first; 0 if it cannot be renewed
    """

    engine: str = ""
    mount: str = ""
    lease: Lease | None = None
    life: int = 0

    @classmethod
    def of(cls, credential: "Credential | None") -> "Memo":
        """What the credential's memo says; nothing for one without, or whose memo nobody here has written."""
        said = _read(credential.memo) if credential else {}
        life = said.get("life", "")
        lease = _lease(said)
        return cls(said.get("engine", ""), said.get("mount", ""), lease, int(life) if life.isdecimal() else 0)

    def __str__(self) -> str:
        said: dict[str, object] = {"engine": self.engine, "mount": self.mount, "life": self.life}
        if lease := self.lease:
            said |= {"lease": lease.id, "mark": lease.mark, "duration": f"{lease.duration:.0f}"}
            said |= {"renewable": int(lease.is_renewable), "last": f"{lease.last:.0f}"}
        return " ".join(f"{name}={quote(str(value), '/:')}" for name, value in said.items() if value not in ("", 0))


def _read(text: str) -> dict[str, str]:
    words = text.split()
    if not words or "=" in words[0]:
        return {name: unquote(value) for name, _, value in (word.partition("=") for word in words)}
    if words[0] == _OF_A_TOKEN[0]:
        return dict(zip(_OF_A_TOKEN, words, strict=False)) if len(words) == len(_OF_A_TOKEN) else {}
    if len(words) not in (_WITHOUT_A_LEASE, len(_OF_A_CREDENTIAL)):
        return {}
    return dict(zip(_OF_A_CREDENTIAL, words, strict=False))


def _lease(said: dict[str, str]) -> Lease | None:
    try:
        duration, last = float(said["duration"]), float(said["last"])
        return Lease(said["lease"], said["mark"], duration, said.get("renewable") == "1", last)
    except (KeyError, ValueError):
        return None
