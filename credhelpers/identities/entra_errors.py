"""What the login service, the metadata service and az mean when they give no token."""

from credhelpers.errors import Unavailable, Unknown

LATER = "try again; if it stays, please report it"

# github.com/MicrosoftDocs/entra-docs, "Microsoft Entra authentication and authorization error codes": what a person can
# mend. The number is shown for all others.
_ENTRA_ERRORS = {
    50020: ("the account is not in this tenant", "set AZURE_TENANT_ID, or `tenant_id`, to the registry's tenant"),
    50034: ("the account is not in this tenant", "set AZURE_TENANT_ID, or `tenant_id`, to the registry's tenant"),
    50076: ("a second factor is wanted", "run `az login`"),
    50079: ("a second factor is wanted", "run `az login`"),
    53003: ("a conditional access policy forbids it", "ask the tenant's administrator which one"),
    65001: ("the application lacks consent", "ask the tenant's administrator to grant it"),
    70043: ("the login has expired", "run `az login`"),
    90002: ("there is no such tenant in this cloud", "look at AZURE_TENANT_ID, and AZURE_AUTHORITY_HOST"),
    500011: ("the tenant does not know the registries' audience", 'try `audience = "arm"` in config.toml'),
    700016: ("the application is not in this tenant", "look at AZURE_CLIENT_ID and AZURE_TENANT_ID"),
    700024: ("the federated token has expired", "get a new one; its file must be renewed by who writes it"),
    700027: ("the certificate is not registered for this application", "upload it: `az ad app credential reset`"),
    700082: ("the login has expired", "run `az login`"),
    7000112: ("the application is disabled", "ask the tenant's administrator"),
    7000215: ("the client secret is wrong", "set AZURE_CLIENT_SECRET to the secret's value, not to its id"),
    7000222: ("the client secret has expired", "make a new one: `az ad app credential reset --id ID`"),
    **dict.fromkeys(
        (70021, 700211, 700212, 700213),
        (
            "the federated token fits no federated credential",
            "compare issuer, subject and audience with the application's",
        ),
    ),
}

# Of these, what an application is told whose registration or secret has not arrived everywhere yet.
_UNKNOWN = (700016, 7000215)


class Absent(Unavailable):
    """There is no identity of this kind here. Where several kinds may be, the next one is tried.

    late: what did not answer in time, so that nobody knows
    """

    late = ""


def entra_refusal(status: int, body: bytes) -> Unavailable:
    """What an answer of the login service without a token means."""
    code = aadsts(body)
    if code:
        return entra_error(code)
    if status == 429:  # noqa: PLR2004 - RFC 6585
        return Unavailable("acr-entra-throttled", "Microsoft Entra asks to slow down", "wait a minute, then try again")
    return Unavailable("acr-entra-failed", f"Microsoft Entra answered with status {status} and no token", LATER)


def entra_error(code: int, hint: str = "") -> Unavailable:
    """What the number of an error of Entra's means; `hint` is what mends it where that is known."""
    words, advice = _ENTRA_ERRORS.get(code, ("", "look up the number at https://login.microsoftonline.com/error"))
    kind = Unknown if code in _UNKNOWN else Unavailable
    return kind(
        "acr-entra-refused", f"Microsoft Entra refused: {words or 'see its number'} (AADSTS{code})", hint or advice
    )


def aadsts(content: bytes) -> int:
    """The first number of an Entra error in a text, or 0."""
    digits = b""
    for byte in content.partition(b"AADSTS")[2][:8]:
        if byte not in b"0123456789":
            break
        digits += bytes((byte,))
    return int(digits or b"0")


def metadata_refusal(status: int, body: bytes, *, is_one_asked_for: bool) -> Unavailable:
    """What an answer of the metadata service without a token means; one is asked for if it has a name."""
    if b"ultiple user" in body:
        return Unavailable(
            "acr-identity-ambiguous",
            "this machine has several identities, and none was chosen",
            "set AZURE_CLIENT_ID, or `client_id` in config.toml, to the one that may pull",
        )
    if status == 429:  # noqa: PLR2004 - RFC 6585
        return Unavailable(
            "acr-metadata-throttled", "the metadata service asks to slow down", "wait a minute, then try again"
        )
    if status in (400, 403, 404):
        if is_one_asked_for:
            return Unavailable(
                "acr-identity-unassigned",
                "the identity that was asked for is not assigned to this machine",
                "see `az vm identity show`, AZURE_CLIENT_ID and config.toml",
            )
        return Absent(
            "acr-identity-absent", "no identity is assigned to this machine", "assign one: `az vm identity assign`"
        )
    if status == 401:  # noqa: PLR2004 - RFC 9110
        return Unavailable(
            "acr-metadata-forbidden",
            "the metadata service does not let this user in",
            "on Azure Arc `sudo usermod -aG himds USER`, then log in anew",
        )
    return Unavailable("acr-metadata-failed", f"the metadata service answered with status {status} and no token", LATER)
