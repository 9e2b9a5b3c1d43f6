"""What people mean by keys that there are not: words of other tools, and of our own sources' neighbours.

The words are those that were seen in public questions and in other tools' configuration (Vault Agent, Terraform, the
AWS CLI, docker's other helpers); the nearest spelling alone leads to keys of another meaning.
"""

# By key, in lower case and with `_`: those keys of ours that it may mean, the first that the source has counts.
_MEANT = {
    "address": ("url", "vault_addr", "addr", "vault_address", "server", "host", "vault_url", "endpoint", "bao_addr"),
    "ca_file": ("ca_cert", "cacert", "ca", "ca_bundle", "vault_cacert", "tls_ca_cert", "ca_path", "ca_cert_file"),
    "keep": ("ttl", "cache", "cache_ttl", "max_age", "expires", "refresh", "cache_time"),
    "auth": ("method", "auth_method", "auth_type", "login", "auth_backend"),
    "auth_mount": ("mount_path", "auth_path", "auth_mount_path", "mount_point"),
    "path": ("secret", "secret_path", "vault_path", "kv_path", "secrets"),
    "engine": ("kv_version", "engine_type", "secrets_engine"),
    "mount": ("kv_mount", "secret_mount"),
    "write": ("readonly", "writable", "on_login", "on_logout"),
    "username_field": ("user_field", "username_key", "user_key"),
    "password_field": ("secret_field", "password_key", "token_field"),
    "secret_id_file": ("secret_id", "secretid", "secret_id_file_path", "vault_secret_id"),
    "role_id": ("roleid", "vault_role_id"),
    "role_id_file": ("role_id_file_path",),
    "secret_id_path": ("secret_id_response_wrapping_path", "wrapping_path"),
    "remove_secret_id_file": ("remove_secret_id_file_after_reading",),
    "jwt_file": ("jwt", "jwt_path", "token_path"),
    "password_file": ("password",),
    "login_name": ("user", "username"),
    "certificate_file": ("client_cert", "cert_file", "certificate", "certificate_path", "client_certificate"),
    "key_file": ("client_key", "private_key", "key"),
    "server_id": ("header_value", "iam_server_id"),
    "sts_region": ("aws_region", "region"),
    "role": ("role_name", "vault_role"),
    "role_arn": ("role", "arn", "assume_role", "iam_role", "rolearn", "role_name"),
    "profile": ("aws_profile", "profile_name"),
    "region": ("aws_region", "location"),
    "account": ("account_id", "aws_account_id", "registry_id"),
    "endpoint_url": ("url", "endpoint", "aws_endpoint_url"),
    "impersonate": ("service_account", "impersonate_service_account", "target_principal"),
    "credentials_file": ("key_file", "keyfile", "credentials", "service_account_key", "google_application_credentials"),
    "tenant_id": ("tenant", "azure_tenant_id"),
    "client_id": ("application_id", "app_id", "azure_client_id", "identity_client_id"),
    "client_secret_file": ("client_secret", "azure_client_secret"),
    "token_file": ("federated_token_file", "azure_federated_token_file"),
    "registry": ("login_server", "registry_name"),
    "match": ("host", "hosts", "registry", "pattern", "server", "domain", "url"),
    "source": ("type", "kind", "helper", "provider", "backend"),
}
_ALWAYS_VERIFIED = "certificates are always verified; an authority of your own is named by `ca_file` or SSL_CERT_FILE"
_TOKEN = "no token stands in this file: `vault login -no-print` keeps one, or set VAULT_TOKEN"  # noqa: S105 - none
# What no key is for, with what is.
_OTHERWISE = {
    **dict.fromkeys(
        ("insecure", "verify", "skip_verify", "tls_skip_verify", "ssl_verify", "tls_verify", "insecure_skip_verify"),
        _ALWAYS_VERIFIED,
    ),
    **dict.fromkeys(("token", "vault_token", "bao_token"), _TOKEN),
}
_OF_VAULT = {"token_file": "the file of Vault's token is named by VAULT_TOKEN_PATH; else it is ~/.vault-token"}


def meant(word: str, known: "tuple[str, ...]") -> str:
    """The key among the known ones that is meant by a word, "" if nobody can tell."""
    plain = word.lower().replace("-", "_")
    if plain in known:
        return plain
    return next((key for key, words in _MEANT.items() if plain in words and key in known), "")


def otherwise(word: str, known: "tuple[str, ...]") -> str:
    """What is said of a word that no key is meant by, "" for nothing."""
    plain = word.lower().replace("-", "_")
    is_of_vault = "secret_id_file" in known
    if plain in ("token", "vault_token", "bao_token", *_OF_VAULT) and not is_of_vault:
        return ""
    return _OTHERWISE.get(plain) or (_OF_VAULT.get(plain, "") if is_of_vault else "")
