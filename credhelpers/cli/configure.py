"""What `install.sh` has done to the files of clients, and what it says of them. It starts this from the checkout.

usage: configure TASK WORD...    a WORD is an executable of ours, or NAME=OURS for a helper that ours stands in for

    check   fail if docker's config.json cannot be edited        write    name our store in it, and in podman's drop-in
    advise  say what to write into them                          remove   take every line of ours out of them
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from credhelpers.cli import changes, clientfile, dockerconfig, registriesconf
from credhelpers.cli.dockerconfig import ROUTER, Wanted
from credhelpers.cli.helpernames import PREFIX, HelperNames
from credhelpers.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from credhelpers.cli.changes import Change
    from credhelpers.cli.configjson import Document

_STORE = "keyring"
_TRIES = 5  # while somebody else writes the same file
_EXAMPLES = {
    "111122223333.dkr.ecr.eu-west-1.amazonaws.com": "ecr",
    "europe-docker.pkg.dev": "gcr",
    "myregistry.azurecr.io": "acr",
}


def main(arguments: list[str], environ: Mapping[str, str] = os.environ) -> int:
    """Do the task; the exit status."""
    task, *words = arguments
    pairs = [word.split("=") for word in words if "=" in word]
    own = frozenset(word.removeprefix(PREFIX) for word in words if "=" not in word)
    names = HelperNames(own, dict(pairs), environ.get("PATH", os.defpath))
    try:
        {"check": _check, "write": _write, "advise": _advise, "remove": _remove}[task](environ, names)
    except Unavailable as error:
        sys.stderr.write(f"install.sh: {_sentence(error)}; it was not changed\n")
        return 1
    return 0


def _wanted(environ: Mapping[str, str]) -> Wanted:
    """Our store, for docker and for podman; or the helper that is all of ours, if docker has that already."""
    _, document = dockerconfig.read(dockerconfig.config_file(environ))
    word = ROUTER if document.store == ROUTER else _STORE
    return Wanted(store=word, podman=word)


def _check(environ: Mapping[str, str], names: HelperNames) -> None:
    dockerconfig.plan_docker(_wanted(environ), environ, names)


def _write(environ: Mapping[str, str], names: HelperNames) -> None:
    file = dockerconfig.config_file(environ)
    wanted = _wanted(environ)
    done = _apply(lambda: dockerconfig.plan_docker(wanted, environ, names))
    for change in done:
        kept = f"; as it was before: {change.copy}" if change.copy else ""
        _say(f'{file} says "credsStore": "{wanted.store}" now{kept}')
        if change.replaces:
            store = json.dumps(change.replaces)
            _say(f'it said "credsStore": {store} before: what that one stores stays there, so log in again')
    _, document = dockerconfig.read(file)
    if done:
        _tell_passwords(document)
    else:
        _say(f'{file} says "credsStore": "{wanted.store}" already')
    _tell_clouds(document, names)
    _write_for_podman(wanted, environ, names)


def _write_for_podman(wanted: Wanted, environ: Mapping[str, str], names: HelperNames) -> None:
    """What fails here costs docker nothing.

    On macOS podman is a remote client, which asks for all that a helper lists and fails for every registry where that
    is a URL, as docker stores Docker Hub (containers/image, `validateKey`). So it is left alone there.
    """
    if sys.platform == "darwin":
        return
    try:
        done = _apply(lambda: dockerconfig.plan_podman(wanted, environ, names))
    except Unavailable as error:
        _say(f"warning: podman, buildah and skopeo go on as before: {_sentence(error)}")
        return
    for change in done:
        _say(change.why)
    if any(registriesconf.FILES in registriesconf.words(change.after or b"") for change in done):
        _say("they go on reading auth.json and config.json, where passwords or other helpers are, and a password that")
        _say("the store does not take is written into auth.json in clear: log in to each again, then run this again")


def _advise(environ: Mapping[str, str], names: HelperNames) -> None:
    file = dockerconfig.config_file(environ)
    _, document = dockerconfig.read(file)
    if document.store in (_STORE, ROUTER):
        _say(f'docker uses it: {file} says "credsStore": "{document.store}"')
    elif not document.is_empty:
        _say(f"for docker to use it, run ./install.sh --configure, or put this line into {file}:")
        _say(f'    "credsStore": "{_STORE}",')
    else:
        _say(f"for docker to use it, run ./install.sh --configure, or write this into {file}:")
        _say(f'    {{"credsStore": "{_STORE}"}}')
    for note in document.notes:
        _say(note)
    _tell_clouds(document, names)
    drop_in = registriesconf.drop_ins(environ)[0]
    if not drop_in.exists() and sys.platform != "darwin":
        _say(f"--configure also writes this for podman, buildah and skopeo into {drop_in}:")
        _say(f'    credential-helpers = ["{_wanted(environ).podman}"]')


def _remove(environ: Mapping[str, str], names: HelperNames) -> None:
    for change in _apply(lambda: dockerconfig.removal(environ, names)):
        if change.why:
            _say(change.why)
        if change.after is None:
            _tidy(change)
    for left in dockerconfig.left_over(environ, names):
        _say(f'warning: {left} names a helper of ours in "credential-helpers": take it out, or podman, buildah and')
        _say("skopeo fail for every registry")
    backup = dockerconfig.backup_of(dockerconfig.config_file(environ))
    if backup.exists():
        _say(f"kept {backup}, since {dockerconfig.config_file(environ)} has been changed after it was made")


def _tidy(change: Change) -> None:
    """Take the directories away that were made for nothing else: docker's, or podman's two."""
    folder = change.file.parent
    clientfile.tidy(folder)
    if folder.name == "registries.conf.d":
        clientfile.tidy(folder.parent)


def _apply(plan: Callable[[], list[Change]]) -> list[Change]:
    """Do what is planned, and plan it anew where somebody else has written meanwhile."""
    for _ in range(_TRIES):
        planned = plan()
        for note in dict.fromkeys(note for change in planned for note in change.notes):
            _say(note)
        try:
            for line in changes.apply(planned):
                _say(line)
        except clientfile.Changed:
            continue
        return planned
    raise Unavailable(
        "client-file-changed",
        "a client's file is written by another program all the time",
        "end what logs in again and again, then run it again",
    )


def _tell_passwords(document: Document) -> None:
    """Docker asks the store alone from now on, so what lies in the file serves nobody any more."""
    hosts = document.clear
    if hosts:
        _say(f'its "auths" hold the passwords of {len(hosts)} registries in clear, and docker uses them no more.')
        _say("Log in again, which moves each into the store:")
        for host in hosts:
            _say(f"    docker login {host}")
        _say(f"and then remove {dockerconfig.backup_of(document.path)}, which holds them too.")


def _tell_clouds(document: Document, names: HelperNames) -> None:
    named = {document.store, *document.helpers.values()}
    started = {names.stand_ins.get(name, name) for name in named}
    missing = {host: own for host, own in _EXAMPLES.items() if not {own, ROUTER} & started}
    if missing:
        _say("and for registries of a cloud such lines:")
        _say(f'    "credHelpers": {json.dumps(missing)}')
    if others := names.replaceable(named):
        options = " ".join(f"--replace {name}" for name in others)
        _say(f"{document.path} names helpers that ours can stand in for: ./install.sh {options}")


def _sentence(error: Unavailable) -> str:
    return f"{error.message}: {error.hint}"


def _say(line: str) -> None:
    encoding = sys.stdout.encoding
    sys.stdout.write(changes.plain(line).encode(encoding, "backslashreplace").decode(encoding) + "\n")
