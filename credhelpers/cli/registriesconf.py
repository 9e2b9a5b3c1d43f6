"""What podman, buildah and skopeo read: registries.conf with its drop-ins, and where passwords in clear lie.

They read `credsStore` nowhere. Whom they ask, and where a login goes, is in `credential-helpers` of registries.conf
(containers-registries.conf(5)): each helper in turn, and files of passwords only if `containers-auth.json` is among
them. Of several files that have the key the one read last counts. Sources: containers/image,
pkg/sysregistriesv2/system_registries_v2.go and pkg/docker/config/config.go of 2022 to 2025, and its successor
container-libs, storage/pkg/configfile/parse.go of 2026, which reads drop-ins of all directories in the order of their
names, and those of `$XDG_CONFIG_HOME` rather than of `~/.config`.
"""

from __future__ import annotations

import os
import tomllib
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from credhelpers import files
from credhelpers.cli.clientfile import AGAIN
from credhelpers.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

NAME = "50-credhelpers.conf"
FILES = "containers-auth.json"
"""The word in `credential-helpers` for the files of passwords, and for their `credHelpers`."""
_KEY = "credential-helpers"
_SYSTEM = Path("/etc/containers/registries.conf")
_VENDOR = Path("/usr/share/containers/registries.conf")  # read since 2026
_LIMIT = 1 << 22  # bytes
_HEAD = """\
# Written by credhelpers, and taken away by its `./install.sh --uninstall`.
# podman, buildah and skopeo ask these docker-credential-* programs in turn, and keep a login with the first that takes
# it. With "containers-auth.json" behind them they would read files of passwords too, and write them where all refuse.
"""


class Setting(NamedTuple):
    """A file that says `credential-helpers`, and what it says."""

    file: Path
    words: tuple[str, ...]


def drop_ins(environ: Mapping[str, str]) -> list[Path]:
    """Where ours lies: below `~/.config`, and below `$XDG_CONFIG_HOME` where that is another directory."""
    return [folder / "registries.conf.d" / NAME for folder in _folders(environ)]


def content(named: tuple[str, ...]) -> bytes:
    """The drop-in that names these helpers."""
    return f"{_HEAD}{_KEY} = [{', '.join(map(dumps, named))}]\n".encode()


def words(text: bytes) -> tuple[str, ...]:
    """Whom a file names, nobody if it does not have the key. Raises ValueError for what is no TOML in UTF-8."""
    try:
        named = tomllib.loads(text.decode()).get(_KEY)
    except RecursionError:
        raise ValueError("too deep") from None
    return tuple(word for word in named if isinstance(word, str)) if isinstance(named, list) else ()


def is_ours(text: bytes, own: Collection[str]) -> bool:
    """Whether the drop-in is ours to change: nothing is in it but helpers, written by us, or all of them ours."""
    try:
        if list(tomllib.loads(text.decode())) != [_KEY]:
            return False
        return text.startswith(_HEAD.encode().split(b",")[0]) or {*words(text)} <= {*own, FILES}
    except (ValueError, RecursionError):
        return False


def settings(environ: Mapping[str, str]) -> list[Setting]:
    """All files but our drop-in that say `credential-helpers`. Raises Unavailable for one that cannot be read."""
    mains = [*(folder / "registries.conf" for folder in _folders(environ)), _SYSTEM, _VENDOR]
    if named := environ.get("CONTAINERS_REGISTRIES_CONF"):
        mains.insert(0, Path(named))
    found = []
    for main in mains:
        folder = main.with_name("registries.conf.d")
        try:
            names = sorted(path.name for path in folder.iterdir() if path.suffix == ".conf" and path.name != NAME)
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise _unreadable(folder, error.strerror or "") from None
        found += [Setting(file, _said(file)) for file in (main, *(folder / name for name in names))]
    return [setting for setting in dict.fromkeys(found) if setting.words]


def before(environ: Mapping[str, str]) -> list[Setting]:
    """The settings that ours takes the place of. Raises Unavailable as `settings` does."""
    return [setting for setting in settings(environ) if not _is_later(setting.file, environ)]


def later(environ: Mapping[str, str]) -> list[Setting]:
    """The settings that take the place of ours. Raises Unavailable as `settings` does."""
    return [setting for setting in settings(environ) if _is_later(setting.file, environ)]


def lasting_auth_file(environ: Mapping[str, str]) -> Path:
    """The auth.json that they read and that is still there after a restart."""
    return Path(environ.get("XDG_CONFIG_HOME") or Path(environ["HOME"], ".config"), "containers/auth.json")


def auth_files(environ: Mapping[str, str]) -> list[Path]:
    """The files of passwords that they read beside docker's config.json (containers-auth.json(5)), if they can.

    The first is the one that a login writes.
    """
    if named := environ.get("REGISTRY_AUTH_FILE"):
        written = Path(named)
    elif runtime := environ.get("XDG_RUNTIME_DIR"):
        written = Path(runtime, "containers/auth.json")
    else:
        written = Path(f"/run/containers/{os.geteuid()}/auth.json")
    return [file for file in dict.fromkeys((written, lasting_auth_file(environ))) if os.access(file, os.R_OK)]


def _folders(environ: Mapping[str, str]) -> list[Path]:
    folders = [Path(environ["HOME"], ".config/containers")]
    if (chosen := environ.get("XDG_CONFIG_HOME", "")).startswith("/"):
        folders.append(Path(chosen, "containers"))
    return list(dict.fromkeys(folders))


def _is_later(file: Path, environ: Mapping[str, str]) -> bool:
    """Whether some version reads it after ours: a drop-in whose name is behind ours, or what a variable names."""
    if file.parent.name == "registries.conf.d":
        return file.name > NAME
    return str(file) == environ.get("CONTAINERS_REGISTRIES_CONF")


def _said(file: Path) -> tuple[str, ...]:
    """The words in a file; none if it is not there."""
    try:
        return words(files.read(os.fsencode(file), _LIMIT)[0])
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except ValueError:
        raise _unreadable(file, "it is not valid TOML") from None
    except OSError as error:
        raise _unreadable(file, error.strerror or "") from None


def _unreadable(path: Path, why: str) -> Unavailable:
    return Unavailable(
        "registries-conf-unreadable",
        f"{path}, which podman, buildah and skopeo read, cannot be read ({why})",
        f"mend it or look at its owner and mode with `ls -l`, {AGAIN}",
    )
