"""What is said of a keyring, or of the session bus before it, that fails its part, and the command that mends it."""

import posix

from credhelpers.errors import Unavailable, withheld

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

SERVICE = "org.freedesktop.secrets"
EMBEDDED = "or `export CREDHELPERS_KEYRING=embedded` to do without a keyring"
# It reads the password to the end of its input. Without `--replace` it is a second daemon, and the first stays locked.
_UNLOCK = "`gnome-keyring-daemon --replace --unlock`, with the password and Ctrl-D"


class Trouble:
    """Says in our words what goes wrong with the bus or the service behind `connection`.

    has_item: whether it has shown that it has what is asked for
    """

    def __init__(self, connection: "Any") -> None:
        self._connection = connection
        self.has_item = False

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        told = error if isinstance(error, Unavailable) else self._told(error)
        if told is not None:
            raise (withheld(told) if self.has_item else told) from None

    def _told(self, error: BaseException | None) -> Unavailable | None:
        if not isinstance(error, Exception):
            return None
        import secretstorage
        from jeepney import DBusErrorResponse

        if isinstance(error, TimeoutError):
            return unanswered() if self._connection.shows_prompt else not_answering()
        if isinstance(error, secretstorage.LockedException):
            return locked()
        if isinstance(error, secretstorage.PromptDismissedException):
            return Unavailable(
                "keyring-refused", "the keyring asked for leave, which was refused", f"try again, {EMBEDDED}"
            )
        # The last three: it answers something that no Secret Service does.
        of_theirs = (secretstorage.SecretStorageException, DBusErrorResponse, OSError)
        if isinstance(error, (*of_theirs, ValueError, TypeError, LookupError)):
            return Unavailable(
                "keyring-failed",
                "the keyring failed: " + error_name(error),
                f"look at it with `busctl --user status {SERVICE}`, {EMBEDDED}",
            )
        return None


def locked(how: str = "", first: str = "") -> Unavailable:
    """It has, or may have, what is asked for, and does not show it. `how` it came to that, and what to do first."""
    return Unavailable(
        "keyring-locked",
        f"the keyring is locked{how}",
        f"{first}unlock it in its own window or by {_UNLOCK}, {EMBEDDED}",
    )


def no_collection() -> Unavailable:
    """Nothing can be kept there yet."""
    return Unavailable(
        "keyring-no-collection", "the keyring has no default collection", f"{_UNLOCK}, makes one, {EMBEDDED}"
    )


def unanswered() -> Unavailable:
    """A prompt was left alone."""
    return Unavailable(
        "keyring-unanswered",
        "the keyring asked for leave, and nobody gave it in time",
        f"try again and answer it on the screen of the session, {EMBEDDED}",
    )


def not_answering() -> Unavailable:
    """Its time is over."""
    return Unavailable(
        "keyring-slow", "the keyring does not answer", f"look at it with `busctl --user status {SERVICE}`, {EMBEDDED}"
    )


def always_replaced() -> Unavailable:
    """Others are faster each time."""
    return Unavailable(
        "keyring-busy", "the entry in the keyring changes all the time", "try again when no `docker login` is running"
    )


def damaged() -> Unavailable:
    """What it has is not what was written."""
    return Unavailable("keyring-damaged", "the entry in the keyring is damaged", "`docker login` writes it anew")


def exposed(status: "posix.stat_result") -> Unavailable:
    """Anybody may put a bus there; `status` is that of the directory."""
    reason = "the session bus is in a directory that is not this user's alone"
    # One that others may write is shared on purpose, as /tmp is, and stays so.
    if status.st_uid == posix.geteuid() and not status.st_mode & 0o022:
        return Unavailable("keyring-bus-exposed", reason, f'`chmod 700 "$XDG_RUNTIME_DIR"` closes it, {EMBEDDED}')
    return foreign("keyring-bus-exposed", reason)


def foreign(code: str, reason: str) -> Unavailable:
    """It is somebody else's."""
    return Unavailable(
        code, reason, f"`unset DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR` if they are of another session, {EMBEDDED}"
    )


def error_name(error: Exception) -> str:
    """The last part of a D-Bus error's name, or the system's words: neither holds anything of an item."""
    name = getattr(error, "name", None) or getattr(error, "strerror", None) or type(error).__name__
    return str(name).rpartition(".")[2]
