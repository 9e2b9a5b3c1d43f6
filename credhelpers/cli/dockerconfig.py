"""The plan of what clients' files shall say of helpers: docker's config.json, podman's drop-in and auth.json.

First `plan` or `removal`, which change nothing; then `changes.apply`. What a file said before is kept beside it, in a
copy for its owner alone, and comes back with the removal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from credhelpers.cli import clientfile, registriesconf
from credhelpers.cli.changes import Change
from credhelpers.cli.clientfile import AGAIN
from credhelpers.cli.configjson import STORE, Document
from credhelpers.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credhelpers.cli.clientfile import Seen
    from credhelpers.cli.helpernames import HelperNames

BACKUP = ".credhelpers-backup"
ROUTER = "auto"
"""The word of the helper that is all of ours at once."""


@dataclass(frozen=True)
class Wanted:
    """What the files shall say; what is empty stays as it is.

    store:        whom docker asks for a registry that has no helper of its own
    helpers:      docker's helpers, by the registry as docker writes it (Docker Hub is `https://index.docker.io/v1/`)
    auth_helpers: podman's, by the registry as podman writes it (`docker.io`), in the auth.json that lasts
    podman:       whom podman, buildah and skopeo ask for every registry, after our sources that the files name
    """

    store: str = ""
    helpers: Mapping[str, str] = field(default_factory=dict)
    auth_helpers: Mapping[str, str] = field(default_factory=dict)
    podman: str = ""


def config_file(environ: Mapping[str, str]) -> Path:
    """Docker's: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json` (docker/cli, cli/config/config.go)."""
    return Path(environ.get("DOCKER_CONFIG") or Path(environ["HOME"], ".docker"), "config.json")


def backup_of(file: Path) -> Path:
    """Where what stood in it before is kept: beside the link, if it is one."""
    return file.with_name(file.name + BACKUP)


def read(file: Path) -> tuple[Seen, Document]:
    """A config.json or auth.json. Raises Unavailable, see `clientfile.read` and `configjson.Document`."""
    seen = clientfile.read(file)
    return seen, Document(file, seen.content or b"")


def plan(wanted: Wanted, environ: Mapping[str, str], names: HelperNames) -> list[Change]:
    """What is to be changed, nothing if the files say it already. Raises Unavailable for what must not be edited."""
    return [*plan_docker(wanted, environ, names), *plan_podman(wanted, environ, names)]


def plan_docker(wanted: Wanted, environ: Mapping[str, str], names: HelperNames) -> list[Change]:
    """The part of `plan` for docker, and for all that reads `credsStore`."""
    return _edit(config_file(environ), wanted.store, wanted.helpers, names)


def plan_podman(wanted: Wanted, environ: Mapping[str, str], names: HelperNames) -> list[Change]:
    """The part of `plan` for podman, buildah and skopeo."""
    changes = []
    if wanted.auth_helpers:
        changes += _edit(registriesconf.lasting_auth_file(environ), "", wanted.auth_helpers, names)
    if wanted.podman:
        changes += _drop_ins(wanted, environ, names)
    return changes


def removal(environ: Mapping[str, str], names: HelperNames) -> list[Change]:
    """What takes our words out of all these files, and our files away. Raises Unavailable as `plan` does.

    An auth.json in which none of the words is need not be one that can be read.
    """
    changes = _restore(config_file(environ), names)
    for file in registriesconf.auth_files(environ):
        content = clientfile.read(file).content or b""
        if file != config_file(environ) and any(f'"{word}"'.encode() in content for word in names.own):
            changes += _restore(file, names)
    for file in registriesconf.drop_ins(environ):
        seen = clientfile.read(file)
        if seen.content is not None and registriesconf.is_ours(seen.content, names.own):
            changes.append(Change(seen, None, f"removed {file}, by which podman, buildah and skopeo asked our helpers"))
    return changes


def left_over(environ: Mapping[str, str], names: HelperNames) -> list[Path]:
    """Files of podman's that name a helper of ours and are not ours to change: without it podman fails everywhere.

    One that cannot be read names nobody.
    """
    try:
        settings = registriesconf.settings(environ)
    except Unavailable:
        return []
    return [setting.file for setting in settings if names.only_ours & {*setting.words}]


def _edit(file: Path, store: str, helpers: Mapping[str, str], names: HelperNames) -> list[Change]:
    seen, document = read(file)
    changed = document.with_store(store) if store else document
    for host, word in helpers.items():
        changed = changed.with_helper(host, word)
    if changed is document:
        return []
    replaces = document.store if store and document.store != store else ""
    said = [f'"{STORE}": "{store}"'] * bool(store) + [f'"{host}": "{word}"' for host, word in helpers.items()]
    copy = None if seen.content is None or _is_kept(document, names) else backup_of(file)
    notes = (*seen.notes, *document.notes)
    return [Change(seen, changed.text.encode(), f"{file} says {', '.join(said)} now", replaces, notes, copy)]


def _is_kept(document: Document, names: HelperNames) -> bool:
    """Whether the backup has what was there before us: once ours is in the file, unless another store came since."""
    if not any(word in names.own for word in (document.store, *document.helpers.values())):
        return False
    seen, former = read(backup_of(document.path))
    return seen.content is not None and (document.store in names.own or document.store == former.store)


def _restore(file: Path, names: HelperNames) -> list[Change]:
    seen, document = read(file)
    former_seen, former = read(backup_of(file))
    changed = document.without(names.own, names.only_ours, former)
    notes = tuple(seen.notes)
    if changed is document:
        return []
    if former_seen.content is not None and changed.means(former):
        return [
            Change(seen, former_seen.content, f"{file} is as it was before", notes=notes),
            Change(former_seen, None, ""),
        ]
    if changed.is_empty and former_seen.content is None:
        return [Change(seen, None, f"removed {file}, which had nothing else in it", notes=notes)]
    return [Change(seen, changed.text.encode(), f"took the lines of credhelpers out of {file}", notes=notes)]


def _drop_ins(wanted: Wanted, environ: Mapping[str, str], names: HelperNames) -> list[Change]:
    hidden = [setting for setting in registriesconf.later(environ) if not {wanted.podman, ROUTER} & {*setting.words}]
    for setting in hidden:
        if setting.file.parent in [file.parent for file in registriesconf.drop_ins(environ)]:
            raise Unavailable(
                "registries-conf-later",
                f'{setting.file} comes after ours and names other "credential-helpers"',
                f'put "{wanted.podman}" first in its list, or take the line out of it, {AGAIN}',
            )
    earlier = registriesconf.before(environ)
    words = _words(wanted, environ, names, [word for setting in earlier for word in setting.words])
    notes = [
        f"{setting.file} names {', '.join(setting.words)}; the list in our drop-in, read later, takes its place"
        for setting in earlier
    ]
    notes += [f"where {setting.file} is read, it comes after ours" for setting in hidden]
    others = [word for setting in earlier for word in setting.words if word not in (*names.own, registriesconf.FILES)]
    changes = []
    for file in registriesconf.drop_ins(environ):
        seen = clientfile.read(file)
        if seen.content is not None and not registriesconf.is_ours(seen.content, names.own):
            raise Unavailable(
                "registries-conf-taken",
                f"{file} is there and was not made by us",
                f"`mv {quote(str(file))} {quote(str(file.with_name('10-mine.conf')))}`, {AGAIN}",
            )
        after = registriesconf.content(words)
        if seen.content != after:
            why = f"podman, buildah and skopeo ask {', '.join(words)} now: {file}"
            said = (*seen.notes, *notes)
            changes.append(Change(seen, after, why, others[0] if others else "", said))
    return changes


def _words(wanted: Wanted, environ: Mapping[str, str], names: HelperNames, earlier: list[str]) -> tuple[str, ...]:
    """Whom podman asks: our sources that a file names, then the store, then whom it asked before.

    A source says of each registry that is not its own that it has none, at once, and takes no login for it. A store
    whose items ours has is not asked any more. What lies in files of passwords is read as long as there is something
    that no helper of ours has.
    """
    same = [word for word, own in names.stand_ins.items() if own == wanted.podman]
    documents = [read(file)[1] for file in (config_file(environ), *registriesconf.auth_files(environ))]
    named = {host: word for document in reversed(documents) for host, word in document.helpers.items()}
    named |= {**wanted.helpers, **wanted.auth_helpers}
    ours = [names.started(word) for word in named.values()]
    before = [names.started(word) or word for word in earlier if word not in (registriesconf.FILES, *same)]
    sources = sorted({word for word in (*ours, *before) if word in names.own and word != wanted.podman})
    if ROUTER in (wanted.podman, *sources):
        sources = [ROUTER]
    last = [] if ROUTER in sources else [wanted.podman]
    others = [word for word in before if word not in names.own]
    needs_files = not all(ours) or any(document.clear for document in documents)
    return tuple(dict.fromkeys((*sources, *last, *others, *[registriesconf.FILES] * needs_files)))
