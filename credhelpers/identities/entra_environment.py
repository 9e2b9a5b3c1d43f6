"""What the environment says of an identity of Azure's. It is cheap to import."""

from credhelpers.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from credhelpers.identity import Environment

OF_APPLICATIONS = ("client-secret", "certificate", "workload-identity")

# What the environment says plainly, in azidentity's order: the kind of credential and the variables that mean it.
_SAID = (
    ("client-secret", (b"AZURE_CLIENT_SECRET",)),
    ("certificate", (b"AZURE_CLIENT_CERTIFICATE_PATH",)),
    ("workload-identity", (b"AZURE_FEDERATED_TOKEN", b"AZURE_FEDERATED_TOKEN_FILE")),
    ("managed-identity", (b"IDENTITY_ENDPOINT", b"MSI_ENDPOINT")),
)


def said(environ: "Environment") -> tuple[str, ...]:
    """The kinds of credential that the environment names, in order."""
    return tuple(kind for kind, variables in _SAID if any(environ.get(name) for name in variables))


def variable(environ: "Environment", name: bytes) -> str:
    """The variable, or "" if it is not set. Raises Unavailable for what is no text."""
    try:
        return environ.get(name, b"").decode()
    except UnicodeDecodeError:
        raise Unavailable("acr-variable-malformed", f"{name.decode()} is not UTF-8", "set it again") from None


def needed(environ: "Environment", name: bytes, settings: "Mapping[str, str]", setting: str = "") -> str:
    """The setting, else the variable. Raises Unavailable if neither is set."""
    value = settings.get(setting) or variable(environ, name)
    if not value:
        other = f" (or `{setting}` in config.toml)" if setting else ""
        raise Unavailable(
            "acr-variable-missing",
            f"{name.decode()} is not set",
            f"set it{other} for this kind of identity, see `docs/acr.md`",
        )
    return value
