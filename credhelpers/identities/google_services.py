"""The token services of Google, by their hosts. It is cheap to import."""

from credhelpers.hosts import fields

UNIVERSE = "googleapis.com"  # the API domain of the cloud that everybody knows
SCOPE = "https://www.googleapis.com/auth/cloud-platform"


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
            "{}.mtls",  # which asks for a client certificate: google-auth's `_mtls_helper`, files of X.509 federation
        )
    )
