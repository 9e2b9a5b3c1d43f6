"""Where a credential for a registry may be sent for a token: the one place that decides it.

A registry names its realm itself, in a challenge, so whoever answers in its place, or a registry that wants what is
meant for another one, would have it sent anywhere. It may go to the registry's own origin; to a realm that stands
beside the registry in the table below; and to the one that an entry of config.toml has for it.
"""

from credhelpers.errors import NotMine, Unavailable
from credhelpers.hosts import endpoint
from credhelpers.servers import HUB, Authority, is_local

TYPE_CHECKING = False
if TYPE_CHECKING:
    Place = tuple[str, str, int, str]  # scheme, host, port, and path with query, as `hosts.endpoint` reads a URL

# Registries whose realm is another host, by what each says in its challenge. Those of ghcr.io, quay.io, the clouds,
# Harbor and Artifactory are their own.
_PAIRS = {
    HUB: "auth.docker.io",  # distribution.github.io/distribution/spec/auth/token
    "registry.gitlab.com": "gitlab.com",  # docs.gitlab.com/api/container_registry, "Obtain token from GitLab"
    "registry.digitalocean.com": "api.digitalocean.com",  # its `/v2/registry/auth`
    "nvcr.io": "authn.nvidia.com",  # github.com/oras-project/oras-dotnet/pull/401
    # github.com/apple/container/issues/2268; its regions, by scaleway.com/en/docs/container-registry
    **dict.fromkeys(("rg.fr-par.scw.cloud", "rg.nl-ams.scw.cloud", "rg.pl-waw.scw.cloud"), "api.scaleway.com"),
}


def read(url: str) -> "Place":
    """Where the URL of a realm leads. Raises NotMine for what is none: `https`, or `http` to this machine itself."""
    found = endpoint(url)
    scheme, host, _, _ = found
    if scheme == "http" and not is_loopback(host):
        raise NotMine
    return found


def is_loopback(host: str) -> bool:
    """Whether it is this machine itself, by number or as `localhost`."""
    return is_local(host) and host.startswith(("127.", "localhost", "[::1]"))


def place(registry: Authority, origin: tuple[str, str, int], asked: str, allowed: str = "") -> "Place":
    """Where a credential for the registry is sent when that, which is reached at `origin`, asks for it at a realm.

    allowed: the realm that the configuration has for it, "" for none: a host, and all below its path or any path

    Raises Unavailable for any other realm.
    """
    try:
        found = read(asked)
    except NotMine:
        raise Unavailable(
            "registry-realm-malformed",
            f"the registry {registry.name} asks for the credential at a realm that is no https URL",
            f"nothing was sent; `curl -sI https://{registry.name}/v2/` shows it: tell who runs the registry",
        ) from None
    scheme, host, port, _ = found
    pair = _PAIRS.get(registry.name)
    if found[:3] in (origin, ("https", pair, 443)) or (allowed and _is_at(found, read(allowed))):
        return found
    shown = f"{scheme}://{host}" + ("" if port == {"http": 80, "https": 443}[scheme] else f":{port}")
    raise Unavailable(
        "registry-realm-foreign",
        f"the registry {registry.name} asks for the credential at {shown}, which is not known to be its realm",
        f'nothing was sent; if that is right, write `realm = "{shown}"` into its entry of config.toml',
    )


def _is_at(asked: "Place", allowed: "Place") -> bool:
    path = allowed[3]
    return asked[:3] == allowed[:3] and path in ("/", asked[3].partition("?")[0])
