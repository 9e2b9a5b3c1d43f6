"""What an operator may want to know and a client must not see: printed only when `CREDHELPERS_DEBUG` is set."""

_taken: list[str] = []


def take(text: str) -> None:
    """Keep one line for the end of the call. It must hold no secret and nothing of the input."""
    _taken.append(text)


def taken() -> list[str]:
    """The lines so far."""
    return list(_taken)
