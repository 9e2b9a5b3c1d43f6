"""A session of botocore that is made of what is installed and of the user's settings, and runs no other code.

The variables that count are those which it is given, and need not be this process's.
"""

import os

import botocore.session
from botocore.config import Config
from botocore.configprovider import ConfigChainFactory, ConstantProvider
from botocore.loaders import Loader

from credhelpers.identities.aws_selectors import expanded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from credhelpers.identity import Environment

_ATTEMPTS = 3
_PROFILE = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")  # in botocore's order; an empty one, as compose files set it, is none


class Session(botocore.session.Session):  # type: ignore[misc] # botocore has no types
    """One with the profile, else with what the variables say.

    environ:   the variables
    variables: the same as text
    """

    def __init__(self, profile: str | None, environ: "Environment") -> None:
        super().__init__(profile=profile)
        self.environ = environ
        self.variables = {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}
        self._store = self.get_component("config_store")
        chains = ConfigChainFactory(self, self.variables)
        for name, (key, variable, default, convert) in self.SESSION_VARIABLES.items():  # as botocore does it
            chain = chains.create_config_chain(
                instance_name=name,
                env_var_names=variable,
                config_property_names=key,
                default=default,
                conversion_func=convert,
            )
            self._store.set_config_provider(name, chain)
        if profile is None:
            self.choose_profile(next((self.variables[name] for name in _PROFILE if self.variables.get(name)), None))
        for name in ("config_file", "credentials_file"):
            path = os.fsencode(self.get_config_variable(name) or "")
            self._store.set_config_provider(name, ConstantProvider(os.fsdecode(expanded(path, environ))))
        # The models and endpoint tables of the installed package alone: not AWS_DATA_PATH, not ~/.aws/models.
        builtin = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
        self.register_component("data_loader", builtin)
        self.set_default_client_config(
            Config(
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                defaults_mode="legacy",  # `auto` has botocore ask the metadata service in a way of its own
                ignore_configured_endpoint_urls=True,  # `create_client` knows them
            )
        )

    def choose_profile(self, profile: str | None) -> None:
        """Say what the variables would; as an argument of the session it would mean that they name no keys."""
        self._store.set_config_provider("profile", ConstantProvider(profile))

    def create_client(self, service_name: str, *arguments: object, **options: object) -> "Any":
        """See botocore's. Whoever asks for the client, it is for the endpoint that the user set."""
        options["endpoint_url"] = options.get("endpoint_url") or self.endpoint(service_name)
        return super().create_client(service_name, *arguments, **options)

    def endpoint(self, service: str) -> str | None:
        """The URL that the user set for the service, looked up as botocore documents it."""
        if self.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        name = service.replace("-", "_")
        for variable in (f"AWS_ENDPOINT_URL_{name.upper()}", "AWS_ENDPOINT_URL"):
            if self.variables.get(variable):
                return self.variables[variable]
        profile = self.get_scoped_config()
        services = self.full_config.get("services", {}).get(profile.get("services"), {})
        chosen = services.get(name, {}).get("endpoint_url") or profile.get("endpoint_url")
        return str(chosen) if chosen else None

    def _register_client_plugins(self, client: "Any") -> None:
        """Not what BOTOCORE_EXPERIMENTAL__PLUGINS says: it names modules to import and run. There is no public way."""
