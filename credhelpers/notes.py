"""What a call tells a person besides its answer.

Lines that are taken are what an operator may want to know: printed only when `CREDHELPERS_DEBUG` is set. Lines that are
told are what was done to somebody else's property: always printed, on standard error, if the call succeeds. None of
them may hold a secret or anything of the input.
"""

_taken: list[str] = []
_told: list[str] = []


def take(text: str) -> None:
    """Keep one line for who debugs, for the end of the call."""
    _taken.append(text)


def taken() -> list[str]:
    """The lines so far."""
    return list(_taken)


def tell(text: str) -> None:
    """Keep one line for whoever made the call, for its end."""
    _told.append(text)


def told() -> list[str]:
    """These lines so far."""
    return list(_told)
