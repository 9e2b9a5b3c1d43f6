"""What keeps the credentials that a person typed: one module a store."""
