"""Docker's credential helper protocol: five verbs, a server or a document on standard input, JSON on standard output.

What clients rely on, and which of them, is in `docs/protocol.md`; the reference is docker/docker-credential-helpers,
`credentials/credentials.go`.

This module is on the way of a cache hit. What is slow is imported where it is needed.
"""

import posix
from time import monotonic, sleep, time

from credhelpers import call as calls
from credhelpers import servers
from credhelpers.call import ANSWER_BYTES
from credhelpers.errors import HelperError, NotFound, NotMine, Refused, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Protocol

    from credhelpers.call import Call
    from credhelpers.credential import Credential
    from credhelpers.servers import Authority

    class Helper(Protocol):
        """What `serve` makes an executable of."""

        @property
        def manual(self) -> str:
            """What `--help` prints below the synopsis."""

        def ready(self, authority: Authority) -> Credential | None:
            """What can be answered without an SDK, a network or a child; None where `get` must be asked.

            Raises NotFound if it is certain already that `get` would.
            """

        def get(self, authority: Authority) -> Credential:
            """The credential for the authority. Raises NotFound or Unavailable."""

        def refresh(self, authority: Authority) -> None:
            """Renew what `ready` gave when it was past its soft expiry. Called in a process of its own."""

        def store(self, authority: Authority, credential: Credential) -> None:
            """Keep the credential under the authority, in the place of an earlier one."""

        def erase(self, authority: Authority) -> None:
            """Forget the credential that `get` would give for the authority. Nothing there is success."""

        def list(self) -> dict[str, str]:
            """Server to user name, for each server that `get` can answer now; what cannot be told now is left out."""


_WORD = 20  # letters
_AWAITED = 1.0  # seconds for what takes the place of a token that is nearly over, before that one is answered
_POLL = 0.02  # seconds


def serve(helper: "Helper") -> "NoReturn":
    """Answer docker's call that this process was started for with `helper`, and exit; see `call.serve`."""
    calls.serve(lambda call: answer(call, helper))


def answer(call: "Call", helper: "Helper") -> bytes:
    """What a client gets on standard output. Raises HelperError."""
    if len(call.arguments) != 1:
        raise Refused("usage", f"Usage: {call.name} <store|get|erase|list|version>")
    verb = call.arguments[0]
    if verb in ("version", "--version", "-v"):
        from credhelpers import __version__

        return f"{call.name} (credhelpers) v{__version__}\n".encode()
    if verb in ("--help", "-h"):
        return _synopsis(call.name).encode("utf-8", "surrogateescape") + helper.manual.encode()
    answers = {"get": _get, "store": _store, "erase": _erase, "list": _list}
    if verb not in answers:
        # An argument is not repeated unless it is a word: it goes to terminals and logs.
        shown = verb if verb.isascii() and verb.isalnum() and len(verb) <= _WORD else "not a word"
        raise Refused("usage", f"{call.name}: unknown action: {shown}")
    return answers[verb](call, helper, _input(call, verb))


def _input(call: "Call", verb: str) -> bytes:
    """Standard input, whatever the verb; `list` does not need it."""
    piped = f"echo HOST | {call.name} {verb}"
    closed = {"store": f"{call.name} store <FILE", "list": f"{call.name} list </dev/null"}.get(verb, piped)
    return call.read(piped, closed, is_needed=verb != "list")


def _get(call: "Call", helper: "Helper", content: bytes) -> bytes:
    authority = servers.read(content)
    if authority.is_dubious:
        raise NotFound
    try:
        ready = helper.ready(authority)
    except Unavailable:  # remembered
        call.is_waived = _waives(helper, authority)
        raise
    except NotMine:
        if b"CREDHELPERS_DEBUG" in posix.environ:
            from credhelpers import notes

            notes.take("no entry of config.toml has this registry, and no rule of this helper; see CREDHELPERS_CONFIG")
        raise
    now = time()
    if ready and now < ready.hard:
        found = _fitting(ready.answer(authority.sent))
        if now >= ready.soft:
            call.renewal = lambda: helper.refresh(authority)
            if ready.is_low(now):
                return _renewed(call, helper, authority, ready)
        return found
    if ready:
        call.last_resort = _fitting(ready.answer(authority.sent))
    call.is_waived = _waives(helper, authority)
    call.slow_down()
    got = helper.get(authority)
    now = time()
    if got.soft <= now < got.hard and got.is_low(now):
        return _renewed(call, helper, authority, got)
    return _fitting(got.answer(authority.sent))


def _renewed(call: "Call", helper: "Helper", authority: "Authority", old: "Credential") -> bytes:
    """The answer by what takes the place of a token that is nearly over, if that comes in a moment, else by that.

    It is renewed behind the answer as ever, but the answer waits for a while. That a renewal fails, now or a moment
    ago, is seen by what `ready` gives then: `old`, which need not be awaited.
    """
    answer = call.last_resort = _fitting(old.answer(authority.sent))
    call.renewal = None
    call.detach(lambda: helper.refresh(authority))
    until = monotonic() + _AWAITED
    while monotonic() < until:
        sleep(_POLL)
        found = helper.ready(authority)
        if found and not found.is_low(time()):
            return _fitting(found.answer(authority.sent))
    return answer


def _waives(helper: "Helper", authority: "Authority") -> bool:
    """Whether a client is to go on without a credential where the helper fails; most helpers know of no such thing."""
    waives = getattr(helper, "waives", None)
    return waives is not None and bool(waives(authority))


def _store(call: "Call", helper: "Helper", content: bytes) -> bytes:
    from credhelpers.protocols.document import read

    authority, credential = read(content)
    if len(credential.answer(authority.sent)) > ANSWER_BYTES:
        raise Refused("credential-too-long", f"the credential does not fit into an answer of {ANSWER_BYTES} bytes")
    call.slow_down()
    if credential.is_empty():  # no client could use it: who asks for it later must hear that there is none
        _forget(call, helper, authority)
    else:
        helper.store(authority, credential)
    return b""


def _erase(call: "Call", helper: "Helper", content: bytes) -> bytes:
    authority = servers.read(content)
    if not authority.is_dubious:
        call.slow_down()
        _forget(call, helper, authority)
    return b""


def _forget(call: "Call", helper: "Helper", authority: "Authority") -> None:
    from credhelpers import notes  # what a hit does not need

    helper.erase(authority)
    call.told = notes.told()


def _list(call: "Call", helper: "Helper", _content: bytes) -> bytes:
    import json

    from credhelpers import notes

    call.slow_down()
    call.last_resort = (
        b"{}\n"  # docker's old builder asks for the list first, and gives up all it could do if that fails
    )
    try:
        found = helper.list()
    except HelperError as error:
        notes.take(f"nothing is listed: {error.message}")
        found = {}
    return json.dumps({server: found[server] for server in found if _is_askable(server)}).encode() + b"\n"


def _is_askable(server: str) -> bool:
    """Whether `get` takes exactly this for a server: clients give up on all entries at one that it refuses."""
    try:
        authority = servers.read(server.encode())
        return not authority.is_dubious and authority.sent == server
    except HelperError:
        return False


def _fitting(answer: bytes) -> bytes:
    if len(answer) > ANSWER_BYTES:
        raise Unavailable(
            "credential-too-long",
            f"the answer is longer than {ANSWER_BYTES} bytes",
            "`docker login` with a shorter one writes that in its place, where passwords are kept",
        )
    return answer


def _synopsis(name: str) -> str:
    """What every helper's `--help` begins with; it tells where the pages are that hints name, if they are here."""
    import posix
    from posixpath import normpath

    import credhelpers

    package = normpath(credhelpers.__path__[0])
    above = package.rpartition("/")[0]
    # As the wheel has put them beside `lib/python3.X/site-packages`, and as a checkout has them.
    for pages in (package.rsplit("/", 4)[0] + "/share/doc/credhelpers", above + "/docs"):
        try:
            posix.stat(pages + "/errors.md")
        except OSError:
            continue
        return _SYNOPSIS.format(name=name) + _PAGES.format(pages=pages)
    return _SYNOPSIS.format(name=name)


_PAGES = """\
Pages that are named here and in errors, such as docs/errors.md, are in
  {pages}

"""
_SYNOPSIS = """\
usage: {name} get | store | erase | list | version

  get      read a server from standard input, print its credential as JSON
  store    read a credential as JSON from standard input and keep it
  erase    read a server from standard input and forget its credential
  list     print the servers that get can answer, with their user names, as JSON
  version  print the version

Clients such as docker start this program by themselves; config.json names it.
Exit status: 0 if it was done, 1 if not, with the reason on standard output.

"""
