"""What a person typed at `docker login` for a registry of a source: where it is kept, and when it is answered.

A password, such as that of an admin user of ACR or a `_json_key` of Google, is kept in the store of
`docker-credential-keyring`, with a note (`stores.note`), and is answered before any identity is looked for, until
`docker logout`. A token that somebody piped in ends by itself: that one is for the token cache, and no store.

No hit loads this module: the note's stamp, or that there is none, stands in a cached token's receipt.
"""

from time import time

from credhelpers import lifetimes
from credhelpers.credential import INFINITY
from credhelpers.errors import HelperError, NotFound, Unavailable
from credhelpers.servers import Authority
from credhelpers.stores.note import Notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.credential import Credential
    from credhelpers.identity import Environment
    from credhelpers.stores.keyring import Keyring

_OF_ECR = "AWS"
_OF_ACR = "00000000-0000-0000-0000-000000000000"  # of the exchange's refresh token, see `exchanges.acr`
_OF_DOCKER = "<token>"  # for an identity token, as the engine names it
_OF_GOOGLE = "oauth2accesstoken"
_OF_GCLOUD = ("_dcg", "_token")  # `_dcgcloud_token`, `_dcgcr_2_1_0_token`


class Typed:
    """What was typed for registries of any source."""

    __slots__ = ("_environ", "_notes")

    def __init__(self, environ: "Environment") -> None:
        self._environ = environ
        self._notes = Notes(environ)

    def get(self, authority: Authority) -> "Credential | None":
        """What was typed for it. Raises Unavailable if there is something, but out of reach."""
        note = self._notes.find(authority)
        if note is None:
            return None
        try:
            credential = self._keyring().get(Authority(note.server), exactly=True)
        except NotFound:
            return None  # another program has removed it
        return None if is_token_name(credential.username) else credential

    @property
    def is_unread(self) -> bool:
        """Whether a note could not be read: what is answered instead is not to be kept."""
        return self._notes.is_unread

    def keep(self, authority: Authority, credential: "Credential") -> None:
        """Keep it in the store, and note that. Raises Unavailable.

        In this order: whoever is killed in between has noted nothing that is not there.
        """
        keyring = self._keyring()
        keyring.store(authority, credential)
        try:
            before = self._notes.add(authority, credential.username)
        except Unavailable:
            if self._notes.find(authority) is None:  # else a password would stay that no logout looks for
                keyring.erase(authority, exactly=True)
            raise
        if before not in ("", authority.sent):  # the same registry in another spelling
            keyring.erase(Authority(before), exactly=True)

    def erase(self, authority: Authority) -> None:
        """Forget what was typed for it, of a whole registry also for its paths. Raises Unavailable.

        The keyring is asked only where there is a note, which is the last to go.
        """
        for note in self._notes.below(authority):
            self._keyring().erase(Authority(note.server), exactly=True)
            self._notes.forget(authority, note)

    def _keyring(self) -> "Keyring":
        from credhelpers.stores.keyring import Keyring  # what no miss needs where nothing was typed

        return Keyring(self._environ)

    def servers(self) -> dict[str, str]:
        """Server to user name of all that was typed and that `get` answers now: what the keyring shows, open."""
        notes = self._notes.all()
        if not notes:
            return {}
        try:
            kept = self._keyring().list()
        except HelperError:  # a choice that names no store
            return {}
        return {note.server: note.username for note in notes if note.server in kept}


def token_end(credential: "Credential") -> float | None:
    """Until when a token may be answered that somebody piped in, in seconds since the epoch; None for a password.

    What it is, its user name says. Raises Unavailable for a token that has expired or does not say when it will.
    """
    username, secret = credential.expose()
    if not is_token_name(username):
        return None
    now = time()
    if username == _OF_ECR:
        latest = now + lifetimes.PIPED_ECR
        end = lifetimes.window(now, min(latest, _said(secret, "expiration") or latest), lifetimes.ECR)[2]
    elif username in (_OF_ACR, _OF_DOCKER):
        said = _said("".join(secret.split(".")[1:2]), "exp")
        if said is None:
            raise Unavailable(
                "store-token-endless",
                "this token does not say when it ends, so it is not kept",
                "`az acr login --expose-token` gives one that does; a password has another user name",
            )
        end = lifetimes.window(now, said, lifetimes.ACR)[2]
    else:
        end = lifetimes.window(now, now + lifetimes.PIPED_GOOGLE, lifetimes.GCR)[2]
    if end <= now:
        raise Unavailable(
            "store-token-expired",
            "this token has expired by this machine's clock, so it is not kept",
            "compare `date -u` with the true time, or get a new token",
        )
    return end


def is_token_name(username: str) -> bool:
    """Whether the name says that the password is a token, which ends."""
    start, end = _OF_GCLOUD
    return username in (_OF_ECR, _OF_ACR, _OF_DOCKER, _OF_GOOGLE) or (
        username.startswith(start) and username.endswith(end)
    )


def _said(part: str, name: str) -> float | None:
    """The moment that a token tells of itself under this name, in JSON in either alphabet of base 64; None for none."""
    import json
    from binascii import a2b_base64

    try:
        document = json.loads(a2b_base64(part.replace("-", "+").replace("_", "/") + "=="))
        moment = document[name]
        return float(moment) if isinstance(moment, int | float) and 0 < moment < INFINITY else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
        return None
