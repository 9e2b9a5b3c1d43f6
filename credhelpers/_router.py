"""What `--help` of docker-credential-auto prints. No call has it loaded but that one."""

MANUAL = """\
One helper for every registry: Amazon ECR, Google Artifact Registry, Azure
Container Registry and HashiCorp Vault by their own identities, and the keyring
for all that you type at `docker login`.

TO USE IT
  One line in docker's config.json (~/.docker/config.json):

      "credsStore": "auto"

  The classic builder (DOCKER_BUILDKIT=0) and docker-py ask only for registries
  that they know of: name yours besides, as in

      "credHelpers": { "123456789012.dkr.ecr.eu-west-1.amazonaws.com": "auto" }

  Podman, buildah and skopeo do not read credsStore: name it in a drop-in,
  ~/.config/containers/registries.conf.d/50-credhelpers.conf,

      credential-helpers = ["auto", "containers-auth.json"]

WHO ANSWERS
  1. the source that an entry of config.toml names for the registry
  2. the source whose own registry it is, by its host: ecr, gcr, acr
  3. vault, where DOCKER_CREDENTIAL_VAULT_KV_PATH says so; where it has nothing,
     the keyring
  4. the keyring

  A broken source is an error for its own registries only. A registry that
  nobody owns is asked of the keyring, which says "not found" for what was never
  typed, and docker pulls anonymously.

  store keeps what was typed where it will be answered first: beside the source
  that owns the registry, in Vault where its entry says so, else in the keyring.
  erase forgets it there, and the cached token. list prints what the caches and
  the keyring answer now; it asks no network.

ENVIRONMENT AND FILES
  Those of the helper that answers: docker-credential-ecr --help, and so on for
  gcr, acr, vault and keyring. Common to all:

  CREDHELPERS_CONFIG, XDG_CONFIG_HOME
      Where config.toml is, by default ~/.config/credhelpers/config.toml.
  CREDHELPERS_IDENTITY
      The identity that is chosen; a link that is called
      docker-credential-auto@NAME chooses NAME.
  CREDHELPERS_CACHE_DIR, XDG_RUNTIME_DIR, XDG_CACHE_HOME
      Where tokens are cached; the first, set and empty, switches that off.
  CREDHELPERS_DEBUG
      Print notes to standard error.

EXIT STATUS
  0  done
  1  not done: standard output says why in one line, which is `credentials not
     found in native keychain` if there is none; the line on standard error
     names what mends it

SEE ALSO
  docker-login(1), docs/auto.md, docs/configuration.md
"""
