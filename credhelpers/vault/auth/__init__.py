"""The ways to log in to Vault, each a `login.Method` that says which path is sent what."""
