"""What a status of Azure Container Registry means at a step of the exchange."""

from credhelpers.errors import Unavailable, Unknown


def refusal(step: str, status: int, *, is_of_tenant: bool = False, is_arm: bool = False) -> Unavailable:
    """What a status of the registry means at this step."""
    if status in (400, 401) and is_of_tenant:
        return Unavailable(
            "acr-tenant-refused",
            "the registry does not take tokens of this tenant",
            "set `tenant_id` in config.toml, or AZURE_TENANT_ID for an application, to the registry's: see "
            "`az account show`",
        )
    if status == 401 and is_arm:  # noqa: PLR2004 - RFC 9110
        return Unavailable(
            "acr-arm-refused",
            "the registry does not take tokens for Azure Resource Manager from this identity",
            'take `audience = "arm"` out, or see `az acr config authentication-as-arm show`',
        )
    if (step, status) == ("/v2/", 403):
        return Unavailable(
            "acr-firewall",
            "the registry's firewall does not let this machine in",
            "see `az acr network-rule list`, or reach it by its private endpoint",
        )
    words = {
        401: (
            "acr-identity-refused",
            "the registry does not accept this identity",
            "see `az role assignment list` for AcrPull, and the tenant",
        ),
        403: (
            "acr-identity-forbidden",
            "the registry forbids it to this identity",
            "see `az role assignment list` for AcrPull, and the firewall",
        ),
        404: (
            "acr-registry-unknown",
            "there is no Azure Container Registry at this name",
            "look at the spelling, see `az acr list`",
        ),
        429: ("acr-throttled", "the registry asks to slow down", "wait a minute, then pull again"),
    }
    kind = Unknown if (step, status) in (("exchange", 401), ("exchange", 403)) else Unavailable
    return kind(
        *words.get(status, ("acr-failed", f"the registry answered with status {status}", "try again in a minute"))
    )
