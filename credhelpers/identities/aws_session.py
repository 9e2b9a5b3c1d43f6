"""A session of botocore that is made of what is installed and of the user's settings, and runs no other code."""

import os

import botocore.session
from botocore.config import Config
from botocore.configprovider import ConstantProvider
from botocore.loaders import Loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ATTEMPTS = 3
_PROFILE = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")  # in botocore's order; an empty one, as compose files set it, is none


class _Session(botocore.session.Session):  # type: ignore[misc] # botocore has no types
    def _register_client_plugins(self, client: "Any") -> None:
        """Not what BOTOCORE_EXPERIMENTAL__PLUGINS says: it names modules to import and run. There is no public way."""


def make(profile: str | None) -> "Any":
    """A new session with the profile, else with what variables say."""
    session = _Session(profile=profile)
    if profile is None:
        _choose(session, next((os.environ[name] for name in _PROFILE if os.environ.get(name)), None))
    # The models and endpoint tables of the installed package alone: not AWS_DATA_PATH, not ~/.aws/models.
    builtin = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", builtin)
    session.set_default_client_config(Config(retries={"mode": "standard", "total_max_attempts": _ATTEMPTS}))
    return session


def forget_profile(session: "Any") -> None:
    """Let no AWS_PROFILE count: it is about another identity than the one that will call."""
    _choose(session, None)


def _choose(session: "Any", profile: str | None) -> None:
    """Say what the variables would; as an argument of the session it would mean that they name no keys."""
    session.get_component("config_store").set_config_provider("profile", ConstantProvider(profile))


def clients(session: "Any", region: str, *, is_dual_stack: bool) -> "Callable[..., Any]":
    """What makes the clients of STS with which roles are assumed, as `create_client` does: in the region.

    With dual stack they have an address of IPv6, which a network without IPv4 needs.
    """

    def create(service: str, config: Config | None = None, **options: object) -> "Any":
        if is_dual_stack:
            config = Config(use_dualstack_endpoint=True).merge(config or Config())
        return session.create_client(service, region_name=region, config=config, **options)

    return create


def file(session: "Any", variable: str) -> str:
    """The path of `config_file` or `credentials_file`, as botocore will find it; "" for none."""
    named = session.get_config_variable(variable) or ""
    return os.path.expanduser(os.path.expandvars(named))  # noqa: PTH111 - as botocore does it


def endpoint(session: "Any", service: str) -> str | None:
    """The URL that the user set for the service, looked up as botocore documents it."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    name = service.replace("-", "_")
    for variable in (f"AWS_ENDPOINT_URL_{name.upper()}", "AWS_ENDPOINT_URL"):
        if os.environ.get(variable):
            return os.environ[variable]
    profile = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    chosen = services.get(name, {}).get("endpoint_url") or profile.get("endpoint_url")
    return str(chosen) if chosen else None
