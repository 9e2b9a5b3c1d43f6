"""How `sources.vault` talks to HashiCorp Vault and OpenBao: all of it that a cache hit does not need."""
