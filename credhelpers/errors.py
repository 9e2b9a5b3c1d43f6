"""What a helper can say instead of a credential.

    HelperError
    ├── NotFound          it is ours and nothing is there; a client goes on without a credential
    │   ├── NotMine       not this helper's registry: no rule and no entry owns it
    │   └── NoIdentity    nobody is there who could mint; the registry may be one that serves anybody
    ├── MissingServer     the input names no server
    ├── MissingUsername   the input of `store` names no user
    ├── Refused           the input is not something a registry client sends
    ├── Unsupported       this helper does not do that, here or ever
    └── Unavailable       ours, but broken: a client must stop, and a person must do something
        ├── Shortage      the system gives no more of what any program needs
        ├── Unknown       a cloud does not know who asks, which may be new
        └── Withheld      a store has it, and cannot give it

The first three texts are the wire's own: clients compare them byte for byte
(docker/docker-credential-helpers, `credentials/error.go`), so they never vary, and say all there is to say. Every
other message is one lower-case line that names no input and no secret, since clients print it to terminals and build
logs, and has a code, `[a-z0-9-]+`, that stays what it is from version to version: `docs/errors.md` has them all.
"""


class HelperError(Exception):
    """Never raised itself.

    code:       the cause's name, "" for what needs no word on stderr
    message:    goes to stdout as one line, and to stderr
    hint:       names the command that mends it, for stderr
    remembered: for how many seconds the next call hears the same, if it was not found out by this one
    """

    remembered = 0

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class NotFound(HelperError):
    """Nothing is there for this server, which may be a registry of this helper's.

    code, cause: what was looked for, and where, for a registry that is ours for sure
    hint:        who says that it is ours, see `minted`
    """

    def __init__(self, code: str = "", cause: str = "") -> None:
        super().__init__(code, "credentials not found in native keychain")
        self.cause = cause


class NotMine(NotFound):
    """No rule and no entry owns this host: a client hears the same sentence, a chain of helpers asks its next one."""


class NoIdentity(NotFound):
    """No identity was found that could mint for this registry."""


class MissingServer(HelperError):
    """The input holds no server."""

    def __init__(self) -> None:
        super().__init__("", "no credentials server URL")


class MissingUsername(HelperError):
    """The input of `store` holds no user name."""

    def __init__(self) -> None:
        super().__init__("", "no credentials username")


class Refused(HelperError):
    """The input is malformed. It is never repaired: see CVE-2020-5260 and CVE-2024-50338."""


class Unsupported(HelperError):
    """The helper does not offer this verb for this server."""


class Unavailable(HelperError):
    """The credential should be there but cannot be had now: `message` says why, `hint` names the mending command."""

    is_denial = False
    """Whether somebody has taken it away from who asks, so that what is still in the cache must not stand in."""


class Shortage(Unavailable):
    """The system gives no more threads, processes, memory or descriptors: nobody's fault who is asked for anything.

    Only `shortage` makes one. It is over as soon as others end, so it is not remembered.
    """


class Unknown(Unavailable):
    """The cloud does not know who asks, or lets it do nothing. It may do so in a moment, if the identity is new."""


class Withheld(Unavailable):
    """A store shows that it has an item, or a note says so, and it cannot be had now.

    Any other Unavailable of a store is no evidence that there is one.
    """


def withheld(error: Unavailable) -> Withheld:
    """The same of what is known to be there."""
    return error if isinstance(error, Withheld) else Withheld(error.code, error.message, error.hint)


class DeadlinePassed(BaseException):
    """The clock's word in the middle of a slow call. No `Exception`, so that no library swallows and retries it."""


def overdue() -> Unavailable:
    """What a call says that did not end in time."""
    return Unavailable(
        "time-over",
        "no answer within the time limit",
        "a network, a keyring or a disk keeps it waiting: try `docker-credential-NAME get` with CREDHELPERS_DEBUG=1",
    )


# <errno.h> of Linux and macOS alike.
_ENOMEM, _ENFILE, _EMFILE, _EROFS, _ENOSPC = 12, 23, 24, 30, 28
_MUCH = 1 << 24  # bytes
_EDQUOT = (122, 69)  # of Linux, of macOS
_THREADS = (
    "system-threads",
    "this system gives no more threads",
    "`ulimit -u`, `ulimit -v` or a container's pids limit (`cat /sys/fs/cgroup/pids.max`): raise it, or end others",
)
_PROCESSES = ("system-processes", "this system gives no more processes", _THREADS[2])
_MEMORY = (
    "system-memory",
    "this system gives no more memory",
    "`ulimit -v` or a container's limit (`cat /sys/fs/cgroup/memory.max`): raise it, or end others",
)
_DESCRIPTORS = (
    "system-descriptors",
    "this system gives no more file descriptors",
    "`ulimit -n` shows how many: raise it, or close others",
)
_SYSTEM_WIDE = (
    "system-descriptors",
    _DESCRIPTORS[1],
    "`ulimit -n` is not the limit, the whole system's is: `sysctl -a | grep maxfiles`",
)

# Of the interpreter; of the linker for a library that it could not load, behind the library's name, in an ImportError
# or OSError; of OpenSSL; of the resolver. What a server or a proxy says of itself stands in other places.
_WORDS = (
    ("can't start new thread", _THREADS),
    (": Cannot allocate memory", _MEMORY),
    (": failed to map segment", _MEMORY),
    ("malloc failure", _MEMORY),
    ("Memory allocation failure", _MEMORY),
    (": Too many open files", _DESCRIPTORS),
)
_SPEAKERS = ("RuntimeError", "OSError", "SSLError", "gaierror")  # and any ImportError; `ssl` may not be loaded


def shortage(error: BaseException | None) -> Shortage | None:
    """What to say if there was too little of something behind `error`, wherever in it, else None.

    The one place that decides this. A library or a handler that turned the shortage into a sentence of its own did so
    while it handled it, or keeps it as an argument, so that it is still to be found.
    """
    seen: list[object] = []
    waiting: list[object] = [error]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, BaseException) or any(part is other for other in seen):
            continue
        if isinstance(part, Shortage):
            return part
        if lacking := _lacking(part):
            return Shortage(*lacking)
        seen.append(part)
        waiting += [part.__cause__, part.__context__, getattr(part, "reason", None), *part.args]
    # A library in C that gets no memory mostly loses the reason: of OpenSSL it is then a certificate or a connection.
    return Shortage(*_MEMORY) if isinstance(error, Unavailable) and _is_memory_short() else None


def _lacking(error: BaseException) -> tuple[str, str, str] | None:
    if isinstance(error, MemoryError) or (_is_of_what_was_lost(error) and _is_memory_short()):
        return _MEMORY
    if isinstance(error, ImportError) or type(error).__name__ in _SPEAKERS:
        text = str(error)
        if text.startswith("Tunnel connection failed"):  # `http.client`, and behind it a proxy's own words
            return None
        for words, lacking in _WORDS:
            if words in text:
                return lacking
    if isinstance(error, BlockingIOError):  # a lock and a socket say so, too, and mean that somebody else has it
        return _PROCESSES if _is_of_fork(error) else None
    if type(error) is not OSError:  # those of `ssl` and of resolvers have numbers of their own
        return None
    return {_ENOMEM: _MEMORY, _ENFILE: _SYSTEM_WIDE, _EMFILE: _DESCRIPTORS}.get(error.errno or 0)


def _is_of_what_was_lost(error: BaseException) -> bool:
    """Whether the interpreter, in C, has dropped another error for this one, as it may without memory."""
    return isinstance(error, SystemError) or (isinstance(error, ImportError) and "PyCapsule_Import" in str(error))


def _is_memory_short() -> bool:
    """Whether much is not to be had."""
    try:
        bytes(_MUCH)
    except MemoryError:
        return True
    return False


def _is_of_fork(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_name in ("_execute_child", "detach")  # `subprocess`, `guard`


def reason(error: OSError | ValueError) -> str:
    """The system's words for the error, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or "unusable path"


def remedy(error: BaseException, otherwise: str) -> str:
    """The hint for an error of the file system: what is to be mended there, else `otherwise`."""
    number = error.errno if isinstance(error, OSError) else None
    if number == _EROFS:
        return "its file system is mounted read-only, as `mount` shows: have it writable, or keep it elsewhere"
    if number == _ENOSPC or number in _EDQUOT:
        return "make room: `df -h` and `df -i` show which disk is full, `quota` whether a user's share is"
    return otherwise
