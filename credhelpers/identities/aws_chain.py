"""botocore's chain of providers, in its order, with some of ours in the place of its own.

Ours ask for no code, start no process that others could have written, read no file that does not end, and look at the
session's variables. The classes that make the chain are not called public by botocore; there is no other way to tell a
provider these things, but to replace what its module calls by their names, for all of this process.
"""

import json
import os
from functools import partial
from io import BytesIO, TextIOWrapper

from botocore import credentials
from botocore.config import Config
from botocore.utils import JSONFileCache

from credhelpers import files
from credhelpers.identities import aws_errors
from credhelpers.identities.aws_cache import Roles
from credhelpers.identities.aws_metadata import Container, Instance
from credhelpers.identities.aws_process import Process, Runner
from credhelpers.identities.aws_selectors import expanded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from credhelpers.identities.aws_reasons import Reasons
    from credhelpers.identities.aws_session import Session

    Clients = Callable[..., Any]

_TOKEN_BYTES = 1 << 16  # STS takes 20,000 letters (`WebIdentityToken` of AssumeRoleWithWebIdentity)
# What botocore asks when no profile holds credentials, whichever was named.
_OF_THE_MACHINE = ("ec2-credentials-file", "boto-config", "container-role", "iam-role")


def make(session: "Session", clients: "Clients", reasons: "Reasons", until: float, *, is_profile_alone: bool) -> "Any":
    """The `CredentialResolver` for a call that ends at `until` (monotonic clock).

    Roles are assumed by the clients. With the profile alone neither container nor machine is asked: an empty profile is
    a mistake, and not whoever this machine is.
    """
    variables = session.variables
    roles = Roles.of_cli(session.environ)
    chain = credentials.create_credential_resolver(session, cache=roles)
    name = session.get_config_variable("profile") or "default"
    profiles = _Profiles(session, roles, clients, reasons, until)
    env, container = credentials.EnvProvider(variables), Container(session, reasons, until)
    instance = partial(Instance, session, reasons, until)
    boto = credentials.BotoProvider(variables)
    boto.DEFAULT_CONFIG_FILENAMES = ["/etc/boto.cfg", _at(session, "~/.boto")]
    role = credentials.AssumeRoleProvider(
        load_config=lambda: session.full_config,
        client_creator=clients,
        cache=roles,
        profile_name=name,
        prompter=partial(_refuse_to_ask, reasons),
        credential_sourcer=credentials.CanonicalNameCredentialSourcer([env, container, instance(is_named=True)]),
        profile_provider_builder=profiles,
    )
    is_chosen = session.instance_variables().get("profile") is not None
    is_endpoint_named = bool(session.get_config_variable("ec2_metadata_service_endpoint"))
    ours = [env, role, *profiles.providers(name, is_chosen), credentials.OriginalEC2Provider(variables), boto]
    ours += [container, instance(is_named=is_endpoint_named)]
    by_method = {provider.METHOD: provider for provider in ours}
    chain.providers = [by_method.get(provider.METHOD, provider) for provider in chain.providers]
    if is_profile_alone:
        for method in _OF_THE_MACHINE:
            chain.remove(method)
    return chain


def clients(session: "Session", region: str, *, is_dual_stack: bool) -> "Clients":
    """What makes the clients of STS with which roles are assumed, as `create_client` does: in the region.

    With dual stack they have an address of IPv6, which a network without IPv4 needs.
    """

    def create(service: str, config: Config | None = None, **options: object) -> "Any":
        if is_dual_stack:
            config = Config(use_dualstack_endpoint=True).merge(config or Config())
        return session.create_client(service, region_name=region, config=config, **options)

    return create


def _at(session: "Session", path: str) -> str:
    return os.fsdecode(expanded(os.fsencode(path), session.environ))


def _refuse_to_ask(reasons: "Reasons", _prompt: str) -> "NoReturn":
    raise reasons.unavailable(aws_errors.MFA)


class _Profiles(credentials.ProfileProviderBuilder):  # type: ignore[misc] # botocore has no types
    """The providers of one profile, whether it is the session's or one on which its role rests."""

    def __init__(self, session: "Session", roles: Roles, clients: "Clients", reasons: "Reasons", until: float) -> None:
        # Where the home is, which botocore has looked up when it was imported.
        sign_ins = JSONFileCache(_at(session, "~/.aws/sso/cache"), partial(json.dumps, default=_as_utc))
        logins = JSONFileCache(_at(session, session.variables.get("AWS_LOGIN_CACHE_DIRECTORY", "~/.aws/login/cache")))
        super().__init__(session, cache=roles, sso_token_cache=sign_ins, login_token_cache=logins)
        self._clients = clients
        self._reasons = reasons
        self._runner = Runner(session, reasons, until)

    def _create_process_provider(self, profile_name: str) -> Process:
        return Process(self._runner, profile_name, lambda: self._session.full_config)

    def _create_web_identity_provider(self, profile_name: str, disable_env_vars: bool) -> "_WebIdentity":  # noqa: FBT001 - botocore's signature
        return _WebIdentity(
            {} if disable_env_vars else self._session.variables,
            load_config=lambda: self._session.full_config,
            client_creator=self._clients,
            cache=self._cache,
            profile_name=profile_name,
            token_loader_cls=partial(_TokenFile, self._reasons),
        )


class _WebIdentity(credentials.AssumeRoleWithWebIdentityProvider):  # type: ignore[misc] # botocore has no types
    """botocore's provider, which has the environment of this process built in."""

    def __init__(self, variables: dict[str, str], **options: object) -> None:
        super().__init__(**options)
        self._variables = variables

    def _get_env_config(self, key: str) -> str | None:
        return self._variables.get(self._CONFIG_TO_ENV_VAR.get(key, ""))


class _TokenFile:
    """What botocore loads a web identity token with; its failures are told from all others."""

    def __init__(self, reasons: "Reasons", path: str) -> None:
        self._reasons = reasons
        self._path = path

    def __call__(self) -> str:
        try:
            return TextIOWrapper(BytesIO(files.read(self._path, _TOKEN_BYTES)[0]), "utf-8").read()
        except (OSError, ValueError):
            raise self._reasons.unavailable(aws_errors.UNREADABLE_WEB_IDENTITY) from None


def _as_utc(moment: "Any") -> str:
    """As the AWS CLI writes a time into its cache of sign-ins (botocore/tokens.py)."""
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
