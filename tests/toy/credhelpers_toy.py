"""Toy Cloud: tokens from its API, with a robot's credential if an entry says where that is kept."""

import posix

from credhelpers.credential import Credential
from credhelpers.errors import Unavailable
from credhelpers.identity import fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.config.schema import Rule, Settings
    from credhelpers.identity import Environment
    from credhelpers.plan import Route
    from credhelpers.recorder import Recorder

# What `config.schema.Announced` has.
RULES: "tuple[Rule, ...]" = (("<zone:word>.registry.toycloud.example", {}, ""),)
SETTINGS: "Settings" = {
    "zone": ("a zone of two letters", "[a-z]{2}", "for an alias: the zone of the registry that it stands for"),
    "scope": ("`pull` or `push`", "pull|push", "what the token is good for"),
    "lasting": ("true or false", bool, "with `scope`: whether the token lives for a day"),
}
TAKES_FROM = True


def contradiction(settings: "Mapping[str, Any]") -> str:
    """What is wrong with the settings together, or ""."""
    return "`lasting` needs `scope`" if "lasting" in settings and "scope" not in settings else ""


class Toy:
    """The source of tokens for `ZONE.registry.toycloud.example`."""

    kind = "toy"
    manual = "Registries of Toy Cloud. TOY_USER names the user.\n"
    uncached = b""

    def __init__(self, environ: "Environment" = posix.environ) -> None:
        self._environ = environ

    def record(self, route: "Route", recorder: "Recorder") -> None:
        """See `wanting.Source`."""
        recorder.variable(b"TOY_USER")

    def minter(self, route: "Route") -> "ToyMinter":
        """See `wanting.Source`."""
        zone = route.fields["zone"] if route.fields else route.settings.get("zone")
        if not zone:
            raise route.contradiction("an alias needs `zone`")
        key = fingerprint(f"toy token {zone} {sorted(route.settings.items())}", self._environ, (b"TOY_USER",))
        return ToyMinter(zone, key)


class ToyMinter:
    """A token for a zone."""

    def __init__(self, zone: str, key: str) -> None:
        self.token_key = key
        self._zone = zone

    def mint(self, old: Credential | None = None, given: Credential | None = None) -> Credential:
        """See `given.GivenMinter`."""
        import json
        from base64 import b64encode
        from time import time
        from urllib.request import Request, urlopen

        request = Request(f"https://api.toycloud.example/{self._zone}")
        if given:
            request.add_header("Authorization", "Basic " + b64encode(":".join(given.expose()).encode()).decode())
        now = time()
        try:
            with urlopen(request, timeout=5) as response:
                token = json.load(response)
        except (OSError, ValueError):
            why = "`curl https://api.toycloud.example` says why"
            raise Unavailable("toy-away", "toy cloud issues no token now", why) from None
        end = now + token["life"]
        return Credential("toy", token["secret"], soft=now + token["life"] / 2, hard=end - 300, expires=end - 60)
