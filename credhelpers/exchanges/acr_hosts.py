"""The registries of Azure by their hosts.

They are the login servers, not the data endpoints (`name.region.data.azurecr.io`), which are reached by redirect and
must not get a credential. A name may end in a hyphen and a hash (domain name label scope).
"""

from credhelpers.errors import NotMine
from credhelpers.hosts import fields

_CLOUDS = {"io": "AzureCloud", "cn": "AzureChinaCloud", "us": "AzureUSGovernment"}  # by top-level domain
RULES = tuple(  # as `config.schema.Rule` has them
    (pattern.format(domain), {"cloud": cloud}, "")
    for domain, cloud in _CLOUDS.items()
    for pattern in ("<registry:name>.azurecr.{}", "<registry:name>.<region:word>.geo.azurecr.{}")
)


def azure(host: str) -> str:
    """The name of the Azure cloud whose login server `host` is. Raises NotMine for any other."""
    for pattern, static, _ in RULES:
        if fields(pattern, host):
            return static["cloud"]
    raise NotMine
