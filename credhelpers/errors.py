"""What a helper can say instead of a credential.

    HelperError
    ├── NotFound          nothing stored, or not this helper's registry; a client goes on without a credential
    ├── MissingServer     the input names no server
    ├── MissingUsername   the input of `store` names no user
    ├── Refused           the input is not something a registry client sends
    ├── Unsupported       this helper does not do that, here or ever
    └── Unavailable       ours, but broken: a client must stop, and a person must do something

The first three texts are the wire's own: clients compare them byte for byte
(docker/docker-credential-helpers, `credentials/error.go`), so they never vary. Every other message is one
lower-case line that names no input and no secret, since clients print it to terminals and build logs.
"""


class HelperError(Exception):
    """Never raised itself. `message` goes to stdout as one line, `hint` to stderr as a line of its own."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotFound(HelperError):
    """Nothing is stored for this server, or it is not a registry of this helper."""

    def __init__(self) -> None:
        super().__init__("credentials not found in native keychain")


class MissingServer(HelperError):
    """The input holds no server."""

    def __init__(self) -> None:
        super().__init__("no credentials server URL")


class MissingUsername(HelperError):
    """The input of `store` holds no user name."""

    def __init__(self) -> None:
        super().__init__("no credentials username")


class Refused(HelperError):
    """The input is malformed. It is never repaired: see CVE-2020-5260 and CVE-2024-50338."""


class Unsupported(HelperError):
    """The helper does not offer this verb for this server."""


class Unavailable(HelperError):
    """The credential should be there but cannot be had now: `message` says why, `hint` names the mending command."""

    is_denial = False
    """Whether somebody has taken it away from who asks, so that what is still in the cache must not stand in."""


class DeadlinePassed(BaseException):
    """The clock's word in the middle of a slow call. No `Exception`, so that no library swallows and retries it."""


def overdue() -> Unavailable:
    """What a call says that did not end in time."""
    return Unavailable(
        "no answer within the time limit", "see whether `curl -sI https://REGISTRY/v2/` answers, then try again"
    )
