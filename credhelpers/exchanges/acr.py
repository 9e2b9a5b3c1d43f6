"""Azure Container Registry: a token of Microsoft Entra, exchanged at the registry for one of its own.

The exchange is described in github.com/Azure/acr, `docs/AAD-OAuth.md`. The Entra token opens more than a registry, so
it goes nowhere but to the host that docker asked for: the registry's challenge is compared with what it must be, and
it never chooses a destination.
"""

from time import monotonic, time

from credhelpers import lifetimes
from credhelpers.credential import Credential
from credhelpers.errors import NoIdentity, NotFound, Unavailable
from credhelpers.exchanges.acr_errors import refusal
from credhelpers.identities.entra import EntraIdentity, is_token, resource_manager
from credhelpers.identities.entra_errors import LATER
from credhelpers.net.azure import Way
from credhelpers.net.wire import Peer, json_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from credhelpers.identity import Environment

_USERNAME = "00000000-0000-0000-0000-000000000000"  # docs/AAD-OAuth.md: what says that the password is a refresh token

_BUDGET = 8.0  # seconds for one token; the call has ten

_AUDIENCE = "https://containerregistry.azure.net"  # in all clouds (azure-containerregistry, `_helpers.py`)
_REGISTRY = Peer(
    "the registry", {"network": "`curl -sI https://REGISTRY/v2/` and `printenv HTTPS_PROXY` show where it ends"}
)


class AcrExchange:
    """Makes a token for the login server `host` by the identity that `settings` and `environ` say.

    `cloud` is the host's, as `acr_hosts.azure` names it. All ends within the seconds.
    """

    def __init__(
        self,
        host: str,
        cloud: str,
        settings: "Mapping[str, str]",
        environ: "Environment",
        seconds: float = _BUDGET,
    ) -> None:
        until = monotonic() + seconds
        self._host = host
        self._is_arm = settings.get("audience") == "arm"
        self._resource = resource_manager(cloud) if self._is_arm else _AUDIENCE
        self._identity = EntraIdentity(cloud, settings, environ, until)
        self._way = Way(_REGISTRY, f"https://{host}/", environ, until)

    def credential(self, old: Credential | None = None) -> Credential:
        """A refresh token of the registry, with its times; `old` is the one that the same identity got before.

        Raises NotFound if the registry asks for no token or there is no identity, and none got `old`; Unavailable for
        all else. It is Unknown where Entra does not know the identity, or the registry does not.
        """
        service = self._challenge()
        try:
            token, tenant = self._identity.token(self._resource)
        except NoIdentity as nobody:
            if old is None:
                raise
            is_late = nobody.code == "acr-metadata-late"
            # Its key says that whatever selects an identity is as it was: this one may only be away for now.
            raise Unavailable(
                "acr-identity-gone",
                nobody.cause if is_late else "no identity is found any more for the token in hand",
                "run `az login`, or see `az vm identity show`; `CREDHELPERS_DEBUG=1` shows what was looked for",
            ) from None
        form = {"grant_type": "access_token", "service": service, "access_token": token}
        return _credential(self._exchange(form | {"tenant": tenant} if tenant else form))

    def _challenge(self) -> str:
        """What the registry wants to be called in the exchange.

        Raises NotFound if it asks for no token, Unavailable unless it asks for what such a registry must ask for.
        """
        answer = self._way.ask("GET", f"https://{self._host}/v2/")
        status = answer.status
        if status == 200:  # noqa: PLR2004 - RFC 9110
            raise NotFound("acr-anonymous", "the registry asks for no token")
        if status != 401:  # noqa: PLR2004 - RFC 9110
            raise refusal("/v2/", status)
        fields = _bearer(answer.headers.get("WWW-Authenticate", ""))
        # A regional endpoint may call itself by the registry's own name. It is a name in a form, never a destination.
        names = (self._host, self._host.partition(".")[0] + "." + ".".join(self._host.split(".")[-2:]))
        if fields.get("realm") != f"https://{self._host}/oauth2/token" or fields.get("service") not in names:
            raise Unavailable(
                "acr-strange-challenge",
                "the registry asks for a token in a way that Azure Container Registry does not",
                "nothing was sent; look at `curl -i` of its /v2/ and at what stands between it and this machine",
            )
        return fields["service"]

    def _exchange(self, form: dict[str, str]) -> str:
        """The registry's refresh token for the Entra token in the form."""
        from urllib.parse import urlencode

        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._way.ask("POST", f"https://{self._host}/oauth2/exchange", urlencode(form).encode(), fields)
        status = answer.status
        if status != 200:  # noqa: PLR2004 - RFC 9110
            # In the form the service is the registry's own word, and the token is Entra's: the tenant is ours.
            is_of_tenant = b"tenant" in answer.content.lower() or (status == 400 and "tenant" in form)  # noqa: PLR2004
            raise refusal("exchange", status, is_of_tenant=is_of_tenant, is_arm=self._is_arm)
        refresh_token = json_object(answer.content).get("refresh_token")
        if not is_token(refresh_token):
            raise Unavailable("acr-no-token", "the registry's answer to the exchange holds no token", LATER)
        return refresh_token


def _bearer(challenge: str) -> dict[str, str]:
    """The parameters of `WWW-Authenticate` if that is one Bearer challenge (RFC 6750, 3), else none."""
    from urllib.request import parse_http_list

    scheme, _, rest = challenge.partition(" ")
    fields: dict[str, str] = {}
    for item in parse_http_list(rest):
        name, _, value = item.partition("=")
        # A second challenge shows as a name with a blank in it.
        if not name.replace("_", "").isalnum() or name in fields or not value:
            return {}
        fields[name] = value.strip('"')
    return fields if scheme.lower() == "bearer" else {}


def _credential(refresh_token: str) -> Credential:
    """The credential with the times that the token itself says (RFC 7519, 4.1.4)."""
    from base64 import urlsafe_b64decode

    now = time()
    parts = refresh_token.split(".")
    try:
        claims = json_object(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError):
        claims = {}
    end = claims.get("exp")
    if not isinstance(end, int | float) or end <= 0:
        raise Unavailable("acr-no-expiry", "the registry's token does not say when it expires", LATER)
    if end > now + lifetimes.ACR.longest:
        raise Unavailable(
            "acr-clock",
            "the registry's token lives too long to be true by this machine's clock",
            "compare `date -u` with the true time, and set the clock",
        )
    soft, hard, expires = lifetimes.window(now, end, lifetimes.ACR)
    return Credential(_USERNAME, refresh_token, soft=soft, hard=hard, expires=expires)
