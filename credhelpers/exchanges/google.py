"""What Google's registries want: an OAuth access token, as it is.

cloud.google.com/artifact-registry/docs/docker/authentication#token
"""

from time import time

from credhelpers import lifetimes
from credhelpers.credential import Credential
from credhelpers.errors import Unavailable

_USER = "oauth2accesstoken"
_TOKEN_BYTES = 60 * 1024  # what fits into an answer of the protocol
_SHORTEST = 60.0  # seconds; a token that has fewer left is taken for one that is over


def credential(token: object, end: float) -> Credential:
    """The credential for an access token that ends at `end`. Never says "one hour": federation gives minutes.

    Raises Unavailable for what can be no token, and for one that has ended.
    """
    now = time()
    life = end - now
    if not isinstance(token, str) or not 0 < len(token) < _TOKEN_BYTES or not all("!" <= one <= "~" for one in token):
        raise Unavailable(
            "gcr-no-token", "google answered with something that is no access token", "try again in a moment"
        )
    if 0 < life < _SHORTEST:
        raise Unavailable(
            "gcr-token-short",
            "google's token ends in less than a minute",
            "federated tokens end with what they were given for: see for how long your `credential_source` gives one",
        )
    if not _SHORTEST <= life <= lifetimes.GCR.longest:
        raise Unavailable(
            "gcr-clock",
            "google's token has expired by the clock of this machine, or lives too long to be true",
            "compare `date -u` with the true time, and set the clock",
        )
    kind = lifetimes.GCR if life > lifetimes.KEPT_BY_CLIENTS else lifetimes.GCR_SHORT
    soft, hard, expires = lifetimes.window(now, end, kind)
    return Credential(_USER, token, soft=soft, hard=hard, expires=expires)
