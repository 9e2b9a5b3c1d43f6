"""What a way to log in to Vault is."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.identity import Environment
    from credhelpers.vault.connection import Connection

    Settings = Mapping[str, Any]
    # The path below the mount, and the object that is sent there.
    Request = tuple[str, dict[str, Any]]
    # Words in Vault's answer, one of which is there; the message; the hint, in which `{mount}` is the method's path
    # and `{role}` the configured role, NAME if there is none.
    Refusals = tuple[tuple[tuple[str, ...], str, str], ...]


class Method:
    """One way to log in. An object has no state: what it knows of the identity is in the arguments.

    settings:  the keys of config.toml that choose its identity, besides `auth` and `auth_mount`
    needed:    those of them that it cannot do without
    variables: the names of what it reads of the environment, without VAULT_ and BAO_
    cloud:     how further names begin that choose the identity
    refusals:  what Vault says no with, and what that means; the first that fits counts
    """

    settings: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    cloud: tuple[bytes, ...] = ()
    refusals: "Refusals" = ()

    def contradiction(self, settings: "Settings") -> str:
        """What is wrong with settings that are all its own and hold what is needed; "" if nothing is."""
        del settings
        return ""

    def files(self, environ: "Environment") -> list[bytes]:
        """The files that choose the identity and are not in the settings."""
        del environ
        return []

    def request(self, environ: "Environment", settings: "Settings", connection: "Connection") -> "Request":
        """What logs in. Slow where a cloud is asked. Raises Unavailable if there is no identity, or none to be read."""
        del environ, settings, connection
        raise AssertionError  # each method has its own

    def after(self, settings: "Settings") -> None:
        """What remains to be done once Vault has given a token and it is kept. Raises Unavailable."""
