"""Identities that were made a moment ago: a cloud may not know them yet, for seconds or minutes."""

from credhelpers.errors import Unavailable


class Unknown(Unavailable):
    """The cloud does not know who asks, or lets it do nothing. It may do so in a moment, if the identity is new."""
