"""Vault, announced: its hosts, the settings of an entry, and what `--help` prints. No hit loads it."""

from credhelpers.config import duration
from credhelpers.recorder import is_absent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from credhelpers.config.schema import Entry, Rule, Settings
    from credhelpers.recorder import Recorder

VAULT_LOGIN = b"/etc/docker-credential-vault-login/config.hcl"
AUTH = ("token", "agent", "approle", "kubernetes", "jwt", "aws", "gcp", "azure", "cert", "userpass", "ldap")
ENGINES = ("kv-v1", "kv-v2", "leased", "aws", "gcp", "azure")

_FILE = ("an absolute path", "/[^\0]+")
# A part of a path is whatever people call it, since it is escaped on the way to Vault; `..` would lead elsewhere,
# and who writes it as `%2e%2e` means that.
_PART = r"[^\x00-\x1f\x7f/]+"
_PATH = rf"(?!(.*/)?[.][.]?(/|\Z)){_PART}(/{_PART})*"
_MOUNT = ("a path without `/` at its ends", _PATH)
_NAME = ("a name", r"[^\x00-\x1f\x7f/]{1,256}")
_FIELD = ("the name of a field", r"[^\x00-\x1f\x7f]{1,256}")

# By key as `config.Settings` has them. Names as in Vault's own documentation of the auth methods, where it has one.
SETTINGS: "Settings" = {
    "path": (
        "a path in Vault without `/` at its ends, whose parts may hold {host}, {port}, {account} and {region}",
        rf"(?!(.*/)?[.]?(%2[eE]){{1,2}}[.]?(/|\Z)){_PART}(/{_PART})+",
        "where the credential is: mount and path as for `vault kv get` or `vault read`",
    ),
    "engine": (
        "one of " + ", ".join(ENGINES),
        "|".join(ENGINES),
        "what is mounted there, where the token may not ask; `leased`: any that answers with a user and a secret",
    ),
    "mount": (*_MOUNT, "the part of `path` that is the mount, where `engine` is said and it has more than one part"),
    "version": ("a number", "[1-9][0-9]{0,9}", "KV v2: this version and no newer one"),
    "username_field": (*_FIELD, "the field of the user name; else `username` or `Username`"),
    "password_field": (*_FIELD, "the field of the password; else `password`, `Secret` and what engines call it"),
    "username": (
        "a user name",
        _FIELD[1],
        "the user name itself, where the secret has none; with userpass and ldap see `login_name`",
    ),
    "auths_field": (*_FIELD, "the field that holds docker's `auths` as JSON, the registry's entry of which counts"),
    "keep": (*duration.SETTING, "how long an answer from KV is kept at most; else as its `ttl` says, else 5m"),
    "write": (
        "one of login, all, never",
        "login|all|never",
        "what is done to Vault: `docker login` writes, which is usual; `docker logout` deletes, too; neither",
    ),
    "read_only": ("true or false", bool, "older: whether `docker login` and `docker logout` leave Vault as it is"),
    "on_write": (
        "`accept` or `refuse`",
        "accept|refuse",
        "older, with `read_only`: whether they succeed and keep nothing, which is usual, or fail",
    ),
    "on_erase": (
        "`delete` or `destroy`",
        "delete|destroy",
        "older, KV v2: that `docker logout` deletes, and whether that can be taken back",
    ),
    "address": (
        "a URL that begins with `https://`, `http://` or `unix:///`",
        r"(https?://(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9_./-]*)?|unix:///[^\0]+)",
        "where Vault is; else what the environment says",
    ),
    "plain_http": ("`allowed`", "allowed", "with `address`: that secrets may go there unencrypted"),
    "namespace": ("the path of a namespace", r"[!-~]{1,512}", "the namespace; else VAULT_NAMESPACE"),
    "ca_file": (*_FILE, "the certificates that may vouch for Vault, PEM; else VAULT_CACERT"),
    "auth": ("one of " + ", ".join(AUTH), "|".join(AUTH), "how to log in; else a token that is there already"),
    "auth_mount": (*_MOUNT, "where the auth method is mounted; else by its name"),
    "role": (*_NAME, "the role to log in as: kubernetes, jwt, aws, gcp, azure, cert"),
    "role_id": (*_NAME, "approle: the role's id; else the content of `role_id_file`, else VAULT_ROLE_ID"),
    "role_id_file": (*_FILE, "approle: the file that holds nothing but the role's id"),
    "secret_id_file": (*_FILE, "approle: the file that holds nothing but the secret id; else VAULT_SECRET_ID"),
    "secret_id_path": (
        "the path of an endpoint",
        _PATH,
        "approle: that the secret id is response-wrapped, and which path must have made it",
    ),
    "remove_secret_id_file": ("true or false", bool, "approle: whether to remove the file after a login"),
    "jwt_file": (*_FILE, "kubernetes, jwt: the file that holds the token; jwt: else VAULT_JWT"),
    "login_name": (*_NAME, "userpass, ldap: who logs in; else VAULT_USERNAME"),
    "password_file": (*_FILE, "userpass, ldap: the file that holds nothing but the password; else VAULT_PASSWORD"),
    "certificate_file": (*_FILE, "cert: the client's certificate, PEM; else VAULT_CLIENT_CERT"),
    "key_file": (*_FILE, "cert: its key, PEM; else VAULT_CLIENT_KEY"),
    "profile": (*_NAME, "aws: the profile of the AWS CLI's files that logs in"),
    "sts_region": ("a region", "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", "aws: whose STS Vault asks; else that of AWS_REGION"),
    "server_id": (*_NAME, "aws: the value of the header X-Vault-AWS-IAM-Server-ID"),
    "credentials_file": (*_FILE, "gcp: the service account's key; else the metadata server"),
    "resource": (
        "the identifier of an application",
        "[!-~]{1,256}",
        "azure: for whom the identity's token is; else https://management.azure.com/",
    ),
    "client_id": ("a client id", "[0-9a-fA-F-]{36}", "azure: which managed identity"),
    "tenant_id": ("a tenant's id or domain", "[0-9A-Za-z][0-9A-Za-z.-]{0,252}", "engine azure: the tenant"),
    "account": ("an account of 12 digits", "[0-9]{12}", "engine aws, for an alias: the account it stands for"),
    "region": ("a region", "[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", "engine aws, for an alias: the region it stands for"),
    "registry": ("a login server", "[a-z0-9-]+([.][a-z0-9-]+)+", "engines azure and gcp, for an alias: the registry"),
}

MANUAL = """\
docker-credential-vault answers with what a team keeps for its registries in
HashiCorp Vault or OpenBao, and with what Vault makes for them. `docker login`
writes there, if it may; `docker logout` deletes nothing unless that is said.

CONFIGURATION
  In ~/.docker/config.json, one line for each registry, or for all:

    "credHelpers": { "harbor.acme.example": "vault" }
    "credsStore": "vault"

SETTINGS
  $CREDHELPERS_CONFIG, else ~/.config/credhelpers/config.toml. The first entry
  that matches the host counts; `*` is any part of one label, `:*` any port.

    [[registry]]
    match = "*.acme.example"
    source = "vault"
    address = "https://vault.acme.example:8200"
    path = "kv/registries/{host}"
    auth = "approle"
    role_id = "11111111-2222-3333-4444-555555555555"
    secret_id_file = "/run/secrets/vault"

  path              mount and path as for `vault kv get` or `vault read`; may
                    hold {host}, {port}, {account}, {region}
  engine, mount     what is there, where the token may not ask
  username_field, password_field, username, auths_field
                    what in the secret counts; else username and password
  keep              for how long an answer is kept; else 5m
  version           KV v2: this version
  write             what may be written: "login", which is usual, "all" with
                    deletions by `docker logout`, or "never"
  address, namespace, ca_file, plain_http
                    the server, where the environment does not say it
  auth, auth_mount, role and more
                    how to log in; all are in docs/configuration.md

  Without an entry: a secret for each host below
  $DOCKER_CREDENTIAL_VAULT_KV_PATH, else what the configuration file of
  docker-credential-vault-login says.

LOGIN
  Without `auth`, the token that is there: VAULT_TOKEN, the external token
  helper, ~/.vault-token. Else auth is agent, approle, kubernetes, jwt, aws,
  gcp, azure, cert, userpass or ldap. Secrets are in files or in the
  environment, never in config.toml. All registries of one identity share one
  login, which is renewed in the background.

POLICY
  path "kv/data/registries/*"     { capabilities = ["read"] }
  with "create" and "update" for docker login, "delete" for `write = "all"`,
  and path "kv/metadata/registries/*" { capabilities = ["list"] } for `list`.

ENVIRONMENT
  VAULT_ADDR, VAULT_AGENT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, VAULT_CAPATH,
  VAULT_CLIENT_CERT, VAULT_CLIENT_KEY, VAULT_TLS_SERVER_NAME, VAULT_PROXY_ADDR
  and others          as for the `vault` command; BAO_... comes first
  VAULT_SKIP_VERIFY   nothing: certificates are always verified
  VAULT_TOKEN         Vault's token
  VAULT_ROLE_ID, VAULT_SECRET_ID, VAULT_JWT, VAULT_USERNAME, VAULT_PASSWORD
                      for a login, where config.toml does not name a file
  CREDHELPERS_CONFIG          the configuration file; empty: none
  CREDHELPERS_CACHE_DIR       where answers are kept; empty: nowhere
  DCVL_DISABLE_CACHE          set: keep none
  CREDHELPERS_DEBUG           set: say on standard error what the cache does

CACHE
  What lies in KV is kept for 5 minutes, or as `keep`, `ttl` or `expires_at`
  say, and refreshed in the background from half of that on: a rotation
  elsewhere is seen after that time, and nobody waits. What lives by a lease
  ends with it, or with the Vault token that made it. All is kept in
  $XDG_RUNTIME_DIR/credhelpers, else $XDG_CACHE_HOME/credhelpers, else
  ~/.cache/credhelpers, in files that only their owner can read. `docker
  logout` forgets it, and revokes the lease.

ERRORS
  A line on standard output says what is wrong, one on standard error says it
  with the command that mends it and a code, see docs/errors.md. A server that
  no entry names, and a path with nothing there, is "credentials not found in
  native keychain".

SEE ALSO
  docs/vault.md, docs/configuration.md, docs/drop-in.md, `vault status`
"""


HAS_PORTS = True
# Any registry, where the variable of an older helper says below which path in Vault its secret is.
RULES: "tuple[Rule, ...]" = (("*", {}, "DOCKER_CREDENTIAL_VAULT_KV_PATH"),)


def contradiction(settings: "Mapping[str, Any]") -> str:
    """What is wrong with the settings together, or ""."""
    from credhelpers.vault.secret_paths import contradiction as found

    return found(settings)


def others(recorder: "Recorder") -> "list[Entry]":
    """What the configuration file of `docker-credential-vault-login` says, if there is one."""
    named = recorder.environ.get(b"DCVL_CONFIG_FILE")  # an empty one names no file to the original either
    name = named or VAULT_LOGIN
    recorder.file(name)
    if not named and is_absent(name):
        return []
    from credhelpers.vault import agentfile  # longer than all else that is compiled

    return agentfile.entries(name, recorder, SETTINGS, is_named=bool(named))
