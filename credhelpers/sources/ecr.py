"""Amazon ECR, private and public."""

import posix

from credhelpers.errors import NotFound, NotMine, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.credential import Credential
    from credhelpers.exchanges.ecr_hosts import EcrHost
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder


class Ecr:
    """The source of ECR tokens."""

    __slots__ = ("_environ",)
    kind = "ecr"
    uncached = b"AWS_ECR_DISABLE_CACHE"

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    @property
    def manual(self) -> str:
        """See `minted.Source`."""
        from credhelpers.sources._ecr import MANUAL

        return MANUAL

    def record(self, route: "Route", recorder: "Recorder") -> None:  # noqa: ARG002 - the sources' common signature
        """See `minted.Source`."""
        from credhelpers.identities import aws_selectors  # what a hit does not need

        aws_selectors.record(recorder)

    def minter(self, route: "Route") -> "EcrMinter":
        """The token of the region for the identity that is configured. Raises Unavailable for a contradiction."""
        settings = route.settings
        ecr_host = _ecr_host(route)
        if route.fields and not settings.keys().isdisjoint(("account", "region")):
            raise route.contradiction("this host says its account and region itself")
        if "role_arn" in settings and settings["role_arn"].split(":")[1] != ecr_host.partition:
            raise route.contradiction("`role_arn` is of another partition of AWS than this host")
        return self._minter(ecr_host, settings)

    def _minter(self, ecr_host: "EcrHost", settings: "dict[str, str]") -> "EcrMinter":
        from credhelpers.identities.aws_selectors import VARIABLES, files
        from credhelpers.identity import fingerprint

        scope = (ecr_host.partition, ecr_host.region, ecr_host.public, ecr_host.fips, ecr_host.dual_stack)
        identity = sorted((name, value) for name, value in settings.items() if name not in ("account", "region"))
        key = fingerprint(f"ecr token {scope} {identity}", self._environ, VARIABLES, files(self._environ))
        return EcrMinter(key, ecr_host, settings, self._environ)


class EcrMinter:
    """One token: it opens every registry of its region that the identity may read."""

    __slots__ = ("_environ", "_host", "_settings", "token_key")

    def __init__(self, key: str, ecr_host: "EcrHost", settings: "dict[str, str]", environ: "Environment") -> None:
        self.token_key = key
        self._host = ecr_host
        self._settings = settings
        self._environ = environ

    def mint(self, old: "Credential | None" = None) -> "Credential":
        """A new token from AWS, good for hours. Takes a fifth of a second before the network does.

        `old` is not renewed, but it shows that there was an identity: that none is found now will pass, and is no word
        for going on anonymously.
        """
        from credhelpers.exchanges.ecr import authorization_token
        from credhelpers.identities.aws_errors import NO_IDENTITY_ANY_MORE

        try:
            return authorization_token(self._host, self._settings, self._environ)
        except NotFound:
            if old is None:
                raise
            raise Unavailable(*NO_IDENTITY_ANY_MORE) from None


def _ecr_host(route: "Route") -> "EcrHost":
    """The registry; for an alias the one for which it stands because the user wrote so. Raises Unavailable."""
    from credhelpers.exchanges.ecr_hosts import EcrHost, ecr_of

    if route.fields:
        return EcrHost(route.fields)
    settings = route.settings
    if not {"account", "region"} <= settings.keys():
        raise route.contradiction("this host needs `account` and `region`")
    try:
        return ecr_of(settings["account"], settings["region"])
    except NotMine:
        raise route.contradiction("`region` is in no partition of AWS") from None
