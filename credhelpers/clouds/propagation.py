"""Identities that were made a moment ago, see `errors.Unknown`."""

from credhelpers.errors import Unknown

__all__ = ["Unknown"]
