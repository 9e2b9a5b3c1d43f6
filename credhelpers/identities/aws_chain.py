"""botocore's chain of providers, in its order, with some of ours in the place of its own.

Ours ask for no code, start no process that others could have written, and read no file that does not end. The classes
that make the chain are not called public by botocore; there is no other way to tell a provider these things, but to
replace what its module calls by their names, for all of this process.
"""

import os
from functools import partial
from io import BytesIO, TextIOWrapper

from botocore import credentials
from botocore.utils import JSONFileCache

from credhelpers import files
from credhelpers.identities import aws_errors
from credhelpers.identities.aws_cache import Roles
from credhelpers.identities.aws_metadata import Container, Instance
from credhelpers.identities.aws_process import Process, Runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from credhelpers.identities.aws_reasons import Reasons

_TOKEN_BYTES = 1 << 16  # STS takes 20,000 letters (`WebIdentityToken` of AssumeRoleWithWebIdentity)
_SSO = "~/.aws/sso/cache"
# What botocore asks when no profile holds credentials, whichever was named.
_OF_THE_MACHINE = ("ec2-credentials-file", "boto-config", "container-role", "iam-role")


def make(
    session: "Any", clients: "Callable[..., Any]", reasons: "Reasons", until: float, *, is_profile_alone: bool
) -> "Any":
    """The `CredentialResolver` for a call that ends at `until` (monotonic clock).

    Roles are assumed by the clients (`aws_session.clients`). With the profile alone neither container nor machine is
    asked: an empty profile is a mistake, and not whoever this machine is.
    """
    roles = Roles.of_cli()
    chain = credentials.create_credential_resolver(session, cache=roles)
    name = session.get_config_variable("profile") or "default"
    profiles = _Profiles(session, roles, clients, reasons, until)
    container = Container(reasons, until)
    instance = partial(Instance, session, reasons, until)
    role = credentials.AssumeRoleProvider(
        load_config=lambda: session.full_config,
        client_creator=clients,
        cache=roles,
        profile_name=name,
        prompter=partial(_refuse_to_ask, reasons),
        credential_sourcer=credentials.CanonicalNameCredentialSourcer(
            [credentials.EnvProvider(), container, instance(is_named=True)]
        ),
        profile_provider_builder=profiles,
    )
    is_chosen = session.instance_variables().get("profile") is not None
    is_endpoint_named = bool(session.get_config_variable("ec2_metadata_service_endpoint"))
    ours = [role, *profiles.providers(name, is_chosen), container, instance(is_named=is_endpoint_named)]
    by_method = {provider.METHOD: provider for provider in ours}
    chain.providers = [by_method.get(provider.METHOD, provider) for provider in chain.providers]
    if is_profile_alone:
        for method in _OF_THE_MACHINE:
            chain.remove(method)
    return chain


def _refuse_to_ask(reasons: "Reasons", _prompt: str) -> "NoReturn":
    raise reasons.unavailable(aws_errors.MFA)


class _Profiles(credentials.ProfileProviderBuilder):  # type: ignore[misc] # botocore has no types
    """The providers of one profile, whether it is the session's or one on which its role rests."""

    def __init__(
        self, session: "Any", roles: Roles, clients: "Callable[..., Any]", reasons: "Reasons", until: float
    ) -> None:
        # Where the home is now, which botocore has looked up when it was imported.
        sign_ins = JSONFileCache(os.path.expanduser(_SSO))  # noqa: PTH111 - as botocore does it
        super().__init__(session, cache=roles, sso_token_cache=sign_ins)
        self._clients = clients
        self._reasons = reasons
        self._runner = Runner(session, reasons, until)

    def _create_process_provider(self, profile_name: str) -> Process:
        return Process(self._runner, profile_name, lambda: self._session.full_config)

    def _create_web_identity_provider(self, profile_name: str, disable_env_vars: bool) -> "Any":  # noqa: FBT001 - botocore's signature
        return credentials.AssumeRoleWithWebIdentityProvider(
            load_config=lambda: self._session.full_config,
            client_creator=self._clients,
            cache=self._cache,
            profile_name=profile_name,
            disable_env_vars=disable_env_vars,
            token_loader_cls=partial(_WebIdentity, self._reasons),
        )


class _WebIdentity:
    """What botocore loads a web identity token with; its failures are told from all others."""

    def __init__(self, reasons: "Reasons", path: str) -> None:
        self._reasons = reasons
        self._path = path

    def __call__(self) -> str:
        try:
            return TextIOWrapper(BytesIO(files.read(self._path, _TOKEN_BYTES)[0]), "utf-8").read()
        except (OSError, ValueError):
            raise self._reasons.unavailable(aws_errors.UNREADABLE_WEB_IDENTITY) from None
