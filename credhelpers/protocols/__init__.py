"""What clients speak with a helper: one module a protocol."""
