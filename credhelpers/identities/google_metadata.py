"""The service account of this machine, by the metadata server that gives its tokens.

google-auth's client for it is not used: it would try for twelve seconds, over `requests`, wherever its process's
environment points. cloud.google.com/compute/docs/metadata/querying-metadata.
"""

import json
from time import sleep, time
from urllib.parse import quote

from credhelpers.errors import NotFound, Unavailable
from credhelpers.identities.google_services import UNIVERSE
from credhelpers.net.patience import Patience, seconds_of
from credhelpers.net.wire import Answer, Peer, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment

_METADATA = b"169.254.169.254"  # by number: a resolver that does not know its name may take its time to say so
_SHORTEST = 60.0  # seconds; a token that has fewer left is taken for one that is over
_PAUSE = 0.2  # seconds
_METADATA_SERVER = Peer(
    "the metadata server",
    {"network": "`curl -H Metadata-Flavor:Google http://169.254.169.254` shows whether it is there"},
)


class MachineAccount:
    """The service account of this machine in a universe, by a server that is named, said to be there, or possible.

    is_said: whether a setting says that it is there. All ends at `until` (monotonic clock).
    """

    def __init__(self, environ: "Environment", universe: str, until: float, *, is_said: bool = False) -> None:
        variables = (b"GCE_METADATA_HOST", b"GCE_METADATA_ROOT", b"GCE_METADATA_IP")
        named = next((environ[name] for name in variables if environ.get(name)), b"")
        host = (named or _METADATA).decode("ascii", "replace").lower()
        name, colon, port = host.rpartition(":")
        is_port = bool(colon) and port.isdecimal() and len(port) <= len("65535")
        self._place = ("http", name, int(port)) if is_port else ("http", host, 80)
        self._universe = universe
        self._wire = Wire(environ, until, is_proxied=False)
        self._patience = Patience(
            "google",
            self._place[1],
            until,
            is_named=is_said or bool(named),
            said=seconds_of(environ.get(b"GCE_METADATA_TIMEOUT", b"")),
        )
        self._is_switched_off = environ.get(b"NO_GCE_CHECK") == b"true" and not self._patience.is_named

    def token(self) -> tuple[str, float]:
        """The token, and when it ends (seconds since the epoch).

        Raises NotFound if there is no metadata server of Google's, or no service account, and nobody said that there
        is; Unavailable if somebody did; NoAnswer if the server is late, so that nobody knows.
        """
        if self._is_switched_off:
            raise NotFound
        path = "instance/service-accounts/default/token"
        try:
            answer = self._ask(path)
        except Unavailable:
            if self._patience.is_sure or self._patience.is_late:
                raise
            raise NotFound from None
        if answer.status == 404:  # noqa: PLR2004 - RFC 9110, 15.5.5
            if self._patience.is_named:
                raise Unavailable(
                    "gcr-machine-without-account",
                    "this machine has no service account",
                    "`gcloud compute instances set-service-account` attaches one; or choose another identity",
                )
            raise NotFound
        token, life = _parsed(answer)
        if life < _SHORTEST:  # GKE's metadata server hands out what is nearly over, and renews it meanwhile
            sleep(_PAUSE)
            token, life = _parsed(self._ask(path))
        end = time() + life
        self._check_universe()
        return token, end

    @property
    def is_sure(self) -> bool:
        """See `Patience`."""
        return self._patience.is_sure

    def identity_token(self, audience: str) -> str:
        """A JWT of the account for `audience`, with the machine in it; whoever gets it verifies it.

        docs.cloud.google.com/compute/docs/instances/verifying-instance-identity. Raises Unavailable.
        """
        path = f"instance/service-accounts/default/identity?audience={quote(audience, safe='')}&format=full"
        try:
            answer = self._ask(path)
        except Unavailable:
            if self._patience.is_named or self._patience.is_late:
                raise
            raise Unavailable(
                "gcr-no-identity-token",
                "this is no machine of Google's, and no key of a service account is configured",
                "set `credentials_file` in config.toml; `gcloud iam service-accounts list` shows whose key it may be",
            ) from None
        token = answer.content.decode("ascii", "replace").strip()
        if answer.status != 200 or token.count(".") != 2 or not token.isprintable():  # noqa: PLR2004 - OK; RFC 7515, 7.1
            raise _failed(f"gives no identity token: HTTP {answer.status}", _ACCOUNT)
        return token

    def _check_universe(self) -> None:
        universe = self._ask("universe/universe-domain")
        if universe.status not in (200, 404):  # OK; a server that is older than universes
            raise _failed(
                f"does not tell the universe of this machine: HTTP {universe.status}",
                "try again in a moment; `docs/gcr.md` says how to choose another identity",
            )
        domain = universe.content.decode("ascii", "replace").strip() if universe.status == 200 else ""  # noqa: PLR2004 - OK
        if (domain or UNIVERSE) != self._universe:
            raise Unavailable(
                "gcr-universe",
                "the identity of this machine is of another universe than the registry",
                "run `gcloud auth application-default login`, or see `docs/gcr.md`",
            )

    def _ask(self, path: str) -> Answer:
        """The answer, the second one if the first was a stumble. Raises Unavailable if there is none of Google's."""
        answer = self._patience.ask(lambda connect, seconds: self._answer(path, connect, seconds))
        if answer.status == 429 or answer.status >= 500:  # noqa: PLR2004 - RFC 6585; RFC 9110, 15.6
            sleep(_PAUSE)
            answer = self._patience.ask(lambda connect, seconds: self._answer(path, connect, seconds))
        return answer

    def _answer(self, path: str, connect: float, seconds: float) -> Answer:
        place = (*self._place, f"/computeMetadata/v1/{path}")
        headers = {"Metadata-Flavor": "Google"}
        answer = self._wire.ask(_METADATA_SERVER, "GET", place, headers=headers, connect=connect, seconds=seconds)
        if answer.headers.get("Metadata-Flavor") != "Google":
            raise Unavailable(
                "gcr-metadata-foreign",
                "the metadata server is not one of Google's",
                "`printenv GCE_METADATA_HOST GCE_METADATA_IP` shows where it points; correct or unset it",
            )
        return answer


_ACCOUNT = "look at the service account of this machine; on GKE at the IAM binding of the Kubernetes account"


def _failed(what: str, hint: str) -> Unavailable:
    return Unavailable("gcr-metadata-failed", f"the metadata server {what}", hint)


def _parsed(answer: Answer) -> tuple[str, float]:
    """Token and seconds of its life in the metadata server's answer."""
    if answer.status != 200:  # noqa: PLR2004 - OK
        raise _failed(f"gives no token: HTTP {answer.status}", _ACCOUNT)
    try:
        parsed = json.loads(answer.content)
        return parsed["access_token"], float(parsed["expires_in"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise Unavailable("gcr-no-token", "the metadata server's answer is no token", "try again in a moment") from None
