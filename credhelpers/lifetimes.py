"""For how long an answer lives: all lifetimes in one table, and the function that makes moments of them.

The table is that of `docs/cache.md`; a test compares them row by row. A hit does not need this module: it compares the
moments that lie in the cache.
"""

import posix

from credhelpers import credential as credentials
from credhelpers.credential import INFINITY, Credential

# All of it in seconds.
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0

KEPT_BY_CLIENTS = 5 * _MINUTE  # BuildKit keeps an answer for 4 minutes and 50 seconds
KEEP = 5 * _MINUTE  # for a secret in Vault of which nobody says how long: a rotation elsewhere is seen after that
LAST_RESORT = 12 * _HOUR  # for which a Vault that does not answer may be done without: as long as ECR's tokens live
UNSAID = 5 * _MINUTE  # for which a Vault token is believed to last that may not say when it ends
# Vault looks for what is due every 5 seconds (`CredentialTTL` of github.com/hashicorp/vault, builtin/logical/database)
# or once a minute (`PeriodicFunc`, builtin/logical/aws), and gives the old secret until it has rotated it. What it is
# about to replace is not worth an answer; vault-secrets-operator waits under 2 seconds, too.
ROTATION_IS_NEAR = 2.0
ROTATION_IS_LATE = 5.0  # for which a secret is answered that should have been rotated and was not
# Of a token that was piped into `docker login` and does not say it, from then on: what ECR and Google give one.
PIPED_ECR = 12 * _HOUR
PIPED_GOOGLE = _HOUR
RENEWAL_PAUSE = _MINUTE  # after a failed renewal; the token in hand is still good
JITTER = 0.1  # of the time to `soft`, so that a fleet that started together does not renew together
LONGEST_JITTERED = 7 * _DAY  # of the time to `soft`, for the jitter of what hardly ages
# A failure is remembered for ten times as long as it took to find out, at most half a minute: twenty pulls from a dead
# registry wait once, and who has mended the cause of a quick refusal is not told of it again.
REMEMBERED_TIMES = 10
REMEMBERED_AT_MOST = 30.0


class Left:
    """What is left of a life at some moment: a share of it, but so many seconds at least, and at most."""

    __slots__ = ("least", "most", "share")

    def __init__(self, share: float = 0.0, *, least: float = 0.0, most: float = INFINITY) -> None:
        self.share = share
        self.least = least
        self.most = most

    def of(self, life: float) -> float:
        """The seconds that are left of a life of so many; never less than none."""
        return max(self.least, min(self.share * life, self.most))


# A long push must not start on a token's last minutes (docker/buildx#3977); gcloud's own helper never gives one that
# has less than 55 minutes. An entry may say another one, `min_life`.
LITTLE = Left(least=credentials.LITTLE)
_NOTHING = Left()
_ALL = Left(1.0)  # so in the middle of its use, before which nothing is renewed


class Lifetime:
    """A row of the table: what is left at the soft, the hard and the final expiry, see `Credential`.

    name:        what it is called in the first column of `docs/cache.md`
    longest:     seconds; what says that it lives longer is not believed
    last_resort: seconds from the hard to the final expiry at most
    """

    __slots__ = ("final", "hard", "last_resort", "longest", "name", "soft")

    def __init__(  # noqa: PLR0913 - one argument a column
        self,
        name: str,
        soft: Left,
        hard: Left,
        final: Left,
        *,
        longest: float = INFINITY,
        last_resort: float = INFINITY,
    ) -> None:
        self.name = name
        self.soft = soft
        self.hard = hard
        self.final = final
        self.longest = longest
        self.last_resort = last_resort


# A token of ECR lives 12 hours (`AuthorizationData` in the ECR API reference), one of ACR three
# (github.com/external-secrets #4078), one of Google as long as a policy says, which is 12 hours at most.
ECR = Lifetime(
    "ECR",
    Left(1 / 2),
    Left(1 / 2, least=KEPT_BY_CLIENTS, most=15 * _MINUTE),
    Left(least=_MINUTE),
    longest=7 * _DAY,
)
# The last fifth, or ten minutes, lets a long push end. What never lives so long (federation; GKE hands out what is
# nearly over) is used to within a minute or a quarter.
GCR = Lifetime(
    "GCR",
    Left(1 / 5, least=10 * _MINUTE),
    Left(least=KEPT_BY_CLIENTS),
    Left(1 / 4, most=_MINUTE),
    longest=12 * _HOUR + 5 * _MINUTE,
)
GCR_SHORT = Lifetime("GCR, a life of 5 minutes or less", GCR.soft, _NOTHING, GCR.final)
ACR = Lifetime("ACR", Left(1 / 2), Left(least=KEPT_BY_CLIENTS), Left(least=_MINUTE), longest=_DAY)
# The longest is no point in time, but somebody's "never".
KV = Lifetime("Vault, KV", _ALL, _NOTHING, _NOTHING, longest=3650 * _DAY)
KV_ENDING = Lifetime(
    "Vault, KV with an `expires_at`",
    _ALL,
    _NOTHING,
    Left(1 / 10, most=10.0),  # an upload takes its time
    longest=KV.longest,
    last_resort=LAST_RESORT,
)
LEASE = Lifetime(
    "Vault, a lease",
    Left(1 / 2),
    Left(1 / 4, most=KEPT_BY_CLIENTS + 10.0),  # before the final expiry, for which a long lease has 10 seconds
    Left(1 / 10, most=10.0),
)
ROTATED = Lifetime("Vault, a static role", _NOTHING, _NOTHING, _NOTHING)  # nothing new before, worth nothing after
VAULT_TOKEN = Lifetime(
    "Vault's own token",
    Left(1 / 2),
    Left(1 / 5, most=30.0),  # in which nobody begins anything with it
    Left(1 / 10, most=10.0),  # the call in hand has as many
)


def window(start: float, end: float, lifetime: Lifetime, keep: float = INFINITY) -> tuple[float, float, float]:
    """Soft, hard and final expiry of what lives from `start` to `end`, all in seconds since the epoch.

    They come in this order and none of them after the end, also where that is before the start; the soft one not before
    the middle between start and hard expiry, unless that has passed. `keep` are the seconds after which it must be
    looked at again, however long it lives. What has no end has none of them: all are INFINITY.
    """
    if end == INFINITY:
        return end, end, end
    life = end - start
    final = lifetime.final.of(life)
    hard = max(lifetime.hard.of(life), final, life - keep)
    soft = max(min(lifetime.soft.of(life), (life + hard) / 2), hard)
    final = max(final, hard - lifetime.last_resort)
    return end - soft, end - hard, end - final


def answered(credential: Credential, issued: float, min_life: float = 0.0) -> Credential:
    """The same as a host is answered with for which somebody has said a `min_life`; 0 if nobody has.

    It is low when less than that is left of it, and soft no later; but neither before the middle between `issued` and
    the hard expiry. What ends only to be looked at again, as an answer from KV does, is left as it is.
    """
    hard, expires = credential.hard, credential.expires
    if not min_life or hard >= expires:
        return credential
    low = max(expires - min_life, (issued + hard) / 2)
    soft = min(credential.soft, low)
    tail = credential.tail()
    return Credential.sealed(tail, soft=soft, hard=hard, expires=expires, low=low, memo=credential.memo)


def spread(soft: float, start: float) -> float:
    """The soft expiry of what is minted since `start`, earlier or later by chance, see `JITTER`."""
    most = min(soft - start, LONGEST_JITTERED) * JITTER
    return soft + most * (2 * int.from_bytes(posix.urandom(4), "big") / 0xFFFFFFFF - 1)


def remembered(took: float) -> float:
    """The seconds for which a failure is remembered that took so many to find out."""
    return min(REMEMBERED_AT_MOST, REMEMBERED_TIMES * took)
