"""The registries of Google, and its token services, by their hosts."""

from credhelpers.errors import NotMine
from credhelpers.hosts import fields

UNIVERSE = "googleapis.com"  # the API domain of the cloud that everybody knows

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


def is_service(host: str, universe: str) -> bool:
    """Whether `host` is a token service of the universe with this API domain: global, regional or private.

    Behind a service's name stands a region only: `sts.storage.googleapis.com` is somebody's bucket.
    """
    if universe == UNIVERSE and host in ("www.googleapis.com", "accounts.google.com"):
        return True  # as key files of before 2018 have it
    return any(
        fields(f"{form.format(service)}.{universe}", host) is not None
        for service in ("oauth2", "sts", "iamcredentials")
        for form in (
            "{}",
            "{}.<location:place>.rep",
            "{}.<location:zone>",
            "<location:place>.{}",
            "<location:place>-{}",
            "{}-<network:word>.p",
        )
    )
