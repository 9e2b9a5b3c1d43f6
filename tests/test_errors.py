"""Which errors say that there was too little of something, and which do not."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from http.client import RemoteDisconnected

import pytest

from credhelpers import errors
from credhelpers.errors import NotFound, Shortage, Unavailable, reason, remedy, shortage


@pytest.mark.parametrize(
    ("error", "words", "command"),
    [
        pytest.param(RuntimeError("can't start new thread"), "no more threads", "ulimit -u", id="thread"),
        pytest.param(MemoryError(), "no more memory", "ulimit -v", id="memory"),
        pytest.param(OSError(errno.ENOMEM, "x"), "no more memory", "ulimit -v", id="memory of the kernel"),
        pytest.param(OSError(errno.EMFILE, "x"), "no more file descriptors", "ulimit -n", id="descriptors"),
        pytest.param(
            OSError(errno.ENFILE, "x"), "no more file descriptors", "ulimit -n", id="the system's descriptors"
        ),
        pytest.param(
            ImportError("libage.so: failed to map segment from shared object"),
            "no more memory",
            "ulimit -v",
            id="mapping",
        ),
        pytest.param(ImportError("x.so: Cannot allocate memory"), "no more memory", "ulimit -v", id="linker"),
        pytest.param(
            OSError("libx.so: cannot open shared object file: Too many open files"),
            "no more file descriptors",
            "ulimit -n",
            id="a library that ctypes wants",
        ),
        pytest.param(
            ImportError("x.so: Too many open files"), "no more file descriptors", "ulimit -n", id="linker's file"
        ),
    ],
)
def test_a_shortage_is_said_with_its_limit(error: Exception, words: str, command: str) -> None:
    """Each has a sentence and the command that shows the limit, also behind what others made of it."""
    outer = Unavailable("a-code", "something else", "look elsewhere")
    outer.__context__ = ConnectionError("broken", error)
    for found in (shortage(error), shortage(outer), shortage(ExceptionWithReason(error))):
        assert isinstance(found, Shortage)
        assert words in found.message
        assert command in found.hint
        assert "defect" not in found.hint
        assert len(found.message.encode()) + len(found.hint.encode()) < 380


@pytest.mark.parametrize(
    "error",
    [SystemError("error return without exception set"), ImportError('PyCapsule_Import could not import "_socket"')],
)
def test_an_error_that_the_interpreter_lost_is_one_of_memory_if_there_is_none(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `ulimit -v 20480` while `ssl` is loaded; else it is what it says."""
    assert shortage(error) is None
    monkeypatch.setattr(errors, "_is_memory_short", lambda: True)
    found = shortage(error)
    assert found
    assert "memory" in found.message
    assert shortage(ImportError("No module named 'x'")) is None


def test_without_memory_every_failure_is_for_want_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL says then that a certificate is not trusted, or that a connection broke."""
    error = Unavailable("a-code", "the certificate is not trusted", "see whose it is")
    assert shortage(error) is None
    monkeypatch.setattr(errors, "_MUCH", 1 << 60)
    found = shortage(error)
    assert found
    assert "memory" in found.message
    assert shortage(NotFound()) is None


class ExceptionWithReason(Exception):
    """As urllib3's: the cause is an attribute."""

    def __init__(self, reason: Exception) -> None:
        super().__init__("a text")
        self.reason = reason


def test_no_process_is_told_apart_from_a_lock_that_is_held() -> None:
    """Both are EAGAIN: of a fork it is a shortage, of a lock or a socket somebody else has it."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def _execute_child() -> None:  # as `subprocess` names what calls the fork
        os.read(reading, 1)

    with pytest.raises(BlockingIOError) as caught:
        _execute_child()
    found = shortage(caught.value)
    assert found
    assert "processes" in found.message
    assert "ulimit -u" in found.hint
    with pytest.raises(BlockingIOError) as busy:
        os.read(reading, 1)
    assert shortage(busy.value) is None
    assert shortage(BlockingIOError(errno.EAGAIN, "x")) is None, "never raised"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "error",
    [
        None,
        NotFound(),
        RuntimeError("of a library"),
        RuntimeError("the server says Too many open files"),
        ImportError("No module named 'x'"),
        OSError("Tunnel connection failed: 503 Too many open files"),
        ConnectionError("x", RemoteDisconnected("HTTP/1.1 503 Cannot allocate memory: Too many open files")),
        OSError(errno.EIO, "x"),
        OSError("no number"),
        FileNotFoundError(errno.ENOENT, "x"),
        ssl.SSLError(errno.ENOMEM, "a number of OpenSSL's"),
        socket.gaierror(errno.EMFILE, "a number of the resolver's"),
    ],
    ids=repr,
)
def test_what_is_no_shortage(error: Exception | None) -> None:
    """Other failures, and numbers that only look like the kernel's."""
    assert shortage(error) is None


def test_a_circle_of_causes_ends() -> None:
    """Libraries raise each other's errors again."""
    one, other = ValueError(), KeyError()
    one.__context__, other.__context__ = other, one
    assert shortage(one) is None


def test_the_words_and_the_remedy_of_a_file_system() -> None:
    """A full disk wants room and a read-only one another mount; neither is about mode and owner."""
    assert reason(OSError(errno.EIO, "Input/output error", "/a/path")) == "Input/output error"
    assert reason(ValueError("embedded null byte")) == reason(OSError("no number")) == "unusable path"
    assert "mount" in remedy(OSError(errno.EROFS, "x"), "mode")
    for number in (errno.ENOSPC, errno.EDQUOT):
        assert "df -h" in remedy(OSError(number, "x"), "mode")
    assert remedy(OSError(errno.EACCES, "x"), "mode") == "mode"
    assert remedy(ValueError(), "mode") == "mode"
    assert errno.EDQUOT in errors._EDQUOT
