"""The registries of Google by their hosts."""

from credhelpers.errors import NotMine
from credhelpers.hosts import fields
from credhelpers.identities.google_services import UNIVERSE

# Artifact Registry by location or by regional endpoint, the gcr.io names it serves too, the sovereign host.
_BY_LOCATION = ("<location:place>-docker.pkg.dev", "docker.<location:place>.rep.pkg.dev")
RULES = tuple(  # as `config.schema.Rule` has them
    (pattern, {"universe": universe}, "")
    for pattern, universe in (
        ("gcr.io", UNIVERSE),
        ("<word:word>.gcr.io", UNIVERSE),
        *((pattern, UNIVERSE) for pattern in _BY_LOCATION),
        ("docker.s3nsregistry.fr", "s3nsapis.fr"),
    )
)


def google(host: str) -> str:
    """The API domain of the universe whose registry `host` is. Raises NotMine for any other."""
    for pattern, static, _ in RULES:
        if fields(pattern, host) is not None:
            return static["universe"]
    raise NotMine


def google_location(host: str) -> str:
    """The region or multi-region that the name of an Artifact Registry holds, "" for every other host."""
    return next((found["location"] for pattern in _BY_LOCATION if (found := fields(pattern, host))), "")
