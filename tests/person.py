"""An ordinary user of this machine, as the tests make one: for what podman and its like do only for such a user."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.harness import BIN, need
from tests.services import PATH, Stack, need_root, until

_NUMBER = 54321
_LESSER = "100000:65536"  # numbers of users for what runs in a container of hers (subuid(5))
_ALL_MAY_ENTER = 0o001

# Her name is in the user database and her home is empty. What podman writes as root, whatever its options say, and what
# it leaves running, end with the name spaces. The interpreter of the tests may be where only root may go.
_SCRIPT = r"""
mount -t tmpfs -o mode=755 none /var/lib
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs none /dev/shm
place=$1 home=$2 number=$3 lesser=$4
shift 4
for file in passwd group subuid subgid; do
    if [ -e "/etc/$file" ]; then cp "/etc/$file" "$place/$file"; else touch "$place/$file" "/etc/$file"; fi
done
if [ "$number" != 0 ]; then
    echo "person:x:$number:$number::$home:/bin/sh" >>"$place/passwd"
    echo "person:x:$number:" >>"$place/group"
    echo "person:$lesser" >"$place/subuid"
    echo "person:$lesser" >"$place/subgid"
fi
for file in passwd group subuid subgid; do mount --bind "$place/$file" "/etc/$file"; done
doors=$1
shift
number_of=0
for needed; do
    number_of=$((number_of + 1))
    mkdir -p "/run/kept/$number_of"
    mount --bind "$needed" "/run/kept/$number_of"
done
for door in $doors; do mount -t tmpfs -o mode=755 none "$door"; done
number_of=0
for needed; do
    number_of=$((number_of + 1))
    mkdir -p "$needed"
    mount --move "/run/kept/$number_of" "$needed"
done
mount --make-rshared / # within this name space, as podman wants it
mkdir -p /run/user
mkdir -m 700 "/run/user/$number"
chown "$number:$number" "/run/user/$number"
trap 'exit 0' TERM # which the first process of a name space does not hear otherwise
sleep infinity &
touch "$place/ready"
wait
"""


class Person(Stack):
    """A user with an empty home, in name spaces of mounts and processes that end with the block; root is one too.

    `env` are her variables; `path` goes before the system's PATH.
    """

    def __init__(self, *, is_root: bool = False, **env: str) -> None:
        need_root("to be another user")
        need("newuidmap", "uidmap")
        super().__init__()
        self.number = 0 if is_root else _NUMBER
        self.home = self.folder / "home"
        self.runtime = Path(f"/run/user/{self.number}")
        self.env = {"HOME": str(self.home), "PATH": f"{BIN}:{PATH}", "LANG": "C.UTF-8"}
        self.env |= {"XDG_RUNTIME_DIR": str(self.runtime)} | env
        with ExitStack() as safe:
            safe.push(self)
            self.folder.chmod(0o755)
            self.home.mkdir(mode=0o700)
            os.chown(self.home, self.number, self.number)
            behind = _behind_closed_doors()
            closed = (" ".join({str(door) for door, _ in behind}), *(needed for _, needed in behind))
            spaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
            words = (self.folder, self.home, self.number, _LESSER, *closed)
            service = self.start(*spaces, "sh", "-ec", _SCRIPT, "sh", *map(str, words), env={"PATH": PATH})
            service.ready((self.folder / "ready").exists)
            children = Path(f"/proc/{service.pid}/task/{service.pid}/children")
            self._first = until(lambda: children.read_text().strip(), "the first process of the name space")
            safe.pop_all()

    def log_in_to_a_desktop(self) -> None:
        """Have a session bus with an unlocked gnome-keyring, where the specifications say that it is."""
        bus, keyring = need("dbus-daemon", "dbus"), need("gnome-keyring-daemon", "gnome-keyring")
        address = f"unix:path={self.runtime}/bus"
        self.env["DBUS_SESSION_BUS_ADDRESS"] = address
        command = self.words(bus, "--session", "--nofork", "--nopidfile", f"--address={address}")
        self.start(*command, env={"PATH": PATH})
        until(lambda: self.run("test", "-S", f"{self.runtime}/bus")[0] == 0, "the session bus")
        command = self.words(keyring, "--foreground", "--unlock", "--components=secrets")
        self.start(*command, env={"PATH": PATH}, secret=b"opens the keyring")
        asked = "/org/freedesktop/secrets org.freedesktop.Secret.Service.ReadAlias string:default"
        words = ("dbus-send", "--session", "--print-reply=literal", "--dest=org.freedesktop.secrets", *asked.split())
        owned = "--dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets"
        owner = ("dbus-send", "--session", "--print-reply=literal", *owned.split())
        until(lambda: "true" in self.run(*owner)[1], "the keyring's name on the bus")
        until(lambda: "/collection/" in self.run(*words)[1], "the keyring's collection")

    def words(self, *command: str, **env: str) -> list[str]:
        """The command by which one that is not in her name spaces starts hers there."""
        become = ["setpriv", f"--reuid={self.number}", f"--regid={self.number}", "--clear-groups"] * bool(self.number)
        variables = [f"{name}={value}" for name, value in (self.env | env).items()]
        enter = ["nsenter", f"--target={self._first}", "--mount", "--pid", *become, "env", "-i", *variables]
        return [*enter, "sh", "-c", 'cd "$HOME" && exec "$@"', "sh", *command]

    def run(self, *command: str, stdin: str = "", **env: str) -> tuple[int, str]:
        """The exit status of a command of hers, and all that it says."""
        done = subprocess.run(
            self.words(*command, **env),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": PATH},
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout

    def do(self, *command: str, stdin: str = "", **env: str) -> str:
        """What the command says, which must succeed."""
        code, said = self.run(*command, stdin=stdin, **env)
        assert code == 0, said
        return said

    def fail(self, *command: str, stdin: str = "", **env: str) -> str:
        """What the command says, which must fail."""
        code, said = self.run(*command, stdin=stdin, **env)
        assert code != 0, said
        return said

    def write(self, place: str, content: str) -> Path:
        """A file of hers, below her home."""
        path = self.home / place
        for folder in reversed(path.relative_to(self.home).parents):
            (self.home / folder).mkdir(mode=0o700, exist_ok=True)
            os.chown(self.home / folder, self.number, self.number)
        path.write_text(content)
        path.chmod(0o600)
        os.chown(path, self.number, self.number)
        return path

    def holds(self, words: str) -> list[str]:
        """The files of hers in which these words are, in her home or in her runtime directory."""
        return self.run("grep", "-r", "-l", "-F", "-e", words, str(self.home), str(self.runtime))[1].split()


def _behind_closed_doors() -> list[tuple[Path, Path]]:
    """What a user needs of this test run and cannot reach: the directory that she may not enter, and what is needed."""
    found = []
    for needed in (Path(sys.base_prefix), BIN.parent):
        doors = [folder for folder in needed.parents if not folder.stat().st_mode & _ALL_MAY_ENTER]
        found += [(doors[-1], needed)] if doors else []
    return found
