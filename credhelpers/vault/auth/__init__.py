"""The ways to log in to Vault: each is a method that says which path is sent what.

Secrets come from files and from the environment, never from the configuration.
"""

from credhelpers.errors import Unavailable
from credhelpers.vault.auth.approle import AppRole
from credhelpers.vault.auth.aws import Aws
from credhelpers.vault.auth.azure import Azure
from credhelpers.vault.auth.certificate import Certificate
from credhelpers.vault.auth.gcp import Gcp
from credhelpers.vault.auth.jwt import Jwt, Kubernetes
from credhelpers.vault.auth.password import Password
from credhelpers.vault.vault_errors import unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from credhelpers.identity import Environment
    from credhelpers.vault.auth.method import Method, Settings
    from credhelpers.vault.vault_errors import Refusal

METHODS: "dict[str, Method]" = {
    "approle": AppRole(),
    "aws": Aws(),
    "azure": Azure(),
    "cert": Certificate(),
    "gcp": Gcp(),
    "jwt": Jwt(),
    "kubernetes": Kubernetes(),
    "ldap": Password(),
    "userpass": Password(),
}
# A client certificate may be wanted by the listener, whatever logs in.
_OF_CONNECTIONS = ("certificate_file", "key_file")


def mount(settings: "Settings") -> str:
    """Where the method is mounted."""
    return f"auth/{settings.get('auth_mount') or settings['auth']}"


def identity(environ: "Environment", settings: "Settings") -> tuple[str, list[bytes], list[bytes]]:
    """What selects the identity: the settings and the names of variables in words, the variables, the files."""
    method = METHODS[settings["auth"]]
    said = [(name, str(settings[name])) for name in ("auth", *method.settings) if name in settings]
    names = [f"{prefix}_{name}".encode() for name in method.variables for prefix in ("BAO", "VAULT")]
    names += sorted(name for name in environ if method.cloud and name.startswith(method.cloud))
    return f"{mount(settings)} {said} {names}", names, method.files(environ)


def contradiction(settings: "Settings") -> str:
    """What settings that are well formed by themselves do not say together; "" if they make sense."""
    name = settings.get("auth", "token")
    method = METHODS.get(name)
    own = ("auth_mount", *method.settings) if method else ()
    known = ["auth_mount", *(key for one in METHODS.values() for key in one.settings)]
    foreign = next((key for key in known if key in settings and key not in (*own, *_OF_CONNECTIONS)), "")
    if foreign:
        return f'`{foreign}` is nothing for `auth = "{name}"`' if "auth" in settings else f"`{foreign}` without `auth`"
    if "key_file" in settings and "certificate_file" not in settings:
        return "`key_file` without `certificate_file`"
    if method is None:
        return ""
    missing = next((key for key in method.needed if key not in settings), "")
    return f'`auth = "{name}"` without `{missing}`' if missing else method.contradiction(settings)


def refused(refusal: "Refusal", settings: "Settings", path: str) -> Unavailable:
    """The sentence for a login that Vault refused."""
    name, where, role = settings["auth"], mount(settings), settings.get("role", "NAME")
    if refusal.status not in (400, 401, 403, 404, 500):  # the last from Vault 1.13, for a wrong secret id or password
        return unavailable(refusal, path, "update")
    for words, message, hint in METHODS[name].refusals:
        if refusal.says(*words):
            return Unavailable(message, hint.format(mount=where, role=role))
    if refusal.says("address", "CIDR"):
        return Unavailable(
            "vault lets this identity log in from other addresses only",
            f"`vault read {where}/role/{role}` shows its CIDR blocks",
        )
    if refusal.status == 500:  # noqa: PLR2004 - RFC 9110
        return unavailable(refusal, path, "update")
    if refusal.status == 400:  # noqa: PLR2004 - as above
        return Unavailable(f"vault refused the login by {name}", f"`vault path-help {where}` shows what it takes")
    return Unavailable(
        f"vault denied the login: {name} is not mounted there, or the role does not let this identity in",
        "`vault auth list` shows what is mounted; else look at namespace, `auth_mount` and `role`",
    )
