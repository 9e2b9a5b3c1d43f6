#!/bin/sh
# Installs credhelpers for the user who runs it, and shows it working. `./install.sh --help` is the manual.
#
# Nothing is changed before everything that can be checked has been, and what fails half-way is taken back: see
# `roll_back`. Portable sh: dash and busybox run it.
set -eu
unset CDPATH PIP_TARGET PIP_PREFIX PIP_USER VIRTUAL_ENV PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONSAFEPATH
unset PYTHONEXECUTABLE __PYVENV_LAUNCHER__ # Python listens to these two even with -I
export NO_COLOR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 UV_COMPILE_BYTECODE=1 PIPX_HOME_ALLOW_SPACE=true

manual() {
    cat <<'END'
install.sh - install, configure or remove credhelpers for this user

usage: ./install.sh [--configure] [--replace NAME]... [--with uv|pipx|venv]
       ./install.sh --uninstall [--purge]
       ./install.sh --help

Installs the docker-credential-* executables of the directory that it lies in, a checkout or an unpacked release,
for the user who runs it. Root is not needed. Then it stores, reads and erases a throw-away credential through the
installed docker-credential-keyring, says where that store is, and what to write into docker's config.json.

It is safe to run again: that upgrades, by the tool that installed before. Where anything fails, what was there
before is there again.

options:
  --configure    write "credsStore": "keyring" into docker's config.json too. Every other byte in it stays as it
                 is, and so do its mode and a symbolic link. What was there before is kept beside it as
                 config.json.credhelpers-backup. For podman, buildah and skopeo, which do not read that line, write a
                 drop-in of registries.conf.d, so that they keep logins in the same place.
  --replace NAME start ours for a name that config.json has from another helper: ecr-login; gcloud; acr-env, acr-linux
                 or acr-login; secretservice; vault-login. It makes a link docker-credential-NAME beside the
                 executables and says which other program of that name docker starts no more. gcr, acr and vault are
                 our own names: only said. It stays through upgrades, until --uninstall or until you remove the link.
  --with TOOL    install by uv, pipx or venv (a plain virtual environment), and remove what another one of them
                 has installed. Without it: the one that installed before, or the first of the three that is there.
  --uninstall    remove the executables, the links of --replace, their environment, the cached tokens, the drop-in, and
                 the lines of config.json and of podman's auth.json that name one of the executables. Stored
                 credentials are kept, and it says where.
  --purge        with --uninstall: erase the stored credentials too, every one that
                 `docker-credential-keyring list` shows. In an OS keyring these may be docker's own helper's as well.
  --help, -h     print this.

environment:
  DOCKER_CONFIG      the directory of config.json, instead of ~/.docker
  XDG_DATA_HOME      where the virtual environment of `--with venv` goes, instead of ~/.local/share
  PATH               must lead to the executables, since docker looks for them there
  Further those of uv, pipx and pip, for an index of your own, a proxy, other directories.

files:
  ~/.local/bin/docker-credential-*     links to the executables (uv and pipx: their own directory for executables)
  ~/.local/share/credhelpers-venv/     the environment of `--with venv`
  ~/.docker/config.json                docker's, changed by --configure and --uninstall only
  ~/.docker/config.json.credhelpers-backup
  ~/.config/containers/registries.conf.d/50-credhelpers.conf
                                       for podman, buildah and skopeo; also below $XDG_CONFIG_HOME

exit status:
  0  done, and the throw-away credential came back
  1  failed; the last line says why and what to do
  2  an option that does not exist

examples:
  ./install.sh --configure && docker login
  ./install.sh --replace ecr-login --replace gcloud
  ./install.sh --with venv
  ./install.sh --uninstall
END
}

# The names of other helpers that ours can stand in for, each with ours.
drop_ins='ecr-login=ecr gcloud=gcr acr-env=acr acr-linux=acr acr-login=acr secretservice=keyring vault-login=vault'

say() { printf '%s\n' "$*"; }

# Several lines as one.
# shellcheck disable=SC2016 # sed's own dollar
joined() { printf '%s\n' "$1" | sed -n 'H;${x;s/\n/; /g;s/^; //;p;}'; }

fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

misused() {
    printf 'install.sh: %s; see ./install.sh --help\n' "$*" >&2
    exit 2
}

# --- what there is ---------------------------------------------------------------------------------------------------

# A directory without symbolic links in its name, or nothing if it is not there.
real() { (cd -- "$1" 2>/dev/null && pwd -P) || :; }

# Prints the path of a Python that is new enough.
find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
}

need_python() {
    [ -z "$python" ] || return 0
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=
    present="there is none on PATH"
    [ -z "$version" ] || present="python3 is $version"
    fail "Python 3.11 or newer is needed, and $present: install one (Debian and Ubuntu: sudo apt install python3" \
        "python3-venv), or install uv, which brings its own; nothing was changed"
}

# Whether a tool is there; for venv, `need_python` says what is missing.
has() {
    case $1 in
        uv) uv tool dir >/dev/null 2>&1 ;;
        pipx) command -v pipx >/dev/null ;;
        venv) : ;;
    esac
}

# The directory that holds what a tool has installed of credhelpers, or would. pipx is asked only if it is going to
# install, since it answers nothing without making directories.
home_of() {
    case $1 in
        uv)
            directory=$(uv tool dir 2>/dev/null) || directory=${UV_TOOL_DIR:-$data/uv/tools}
            say "$directory/credhelpers"
            ;;
        pipx)
            for directory in "${PIPX_HOME:-$data/pipx}" "$HOME/.local/pipx"; do
                if [ -d "$directory/venvs/credhelpers" ]; then
                    say "$directory/venvs/credhelpers"
                    return
                fi
            done
            [ "$with" = pipx ] || return 0
            directory=$(pipx environment --value PIPX_LOCAL_VENVS 2>/dev/null) ||
                directory=${PIPX_HOME:-$HOME/.local/pipx}/venvs
            say "$directory/credhelpers"
            ;;
        venv) say "$data/credhelpers-venv" ;;
    esac
}

# The directory into which a tool puts its links.
bin_of() {
    case $1 in
        uv) uv tool dir --bin 2>/dev/null || say "${UV_TOOL_BIN_DIR:-${XDG_BIN_HOME:-$HOME/.local/bin}}" ;;
        pipx) say "${PIPX_BIN_DIR:-$HOME/.local/bin}" ;;
        venv) say "$HOME/.local/bin" ;;
    esac
}

# The Python of an installation, which may be broken: a distribution's upgrade takes the one away that it was made with.
python_in() {
    for interpreter in "$1/bin/python3" "$1"/*/bin/python3; do
        if "$interpreter" -I -c 'import credhelpers' >/dev/null 2>&1; then
            say "$interpreter"
            return
        fi
    done
}

# Whether the file is a link to something below the directory; what it leads to may be gone already.
leads_into() {
    [ -L "$1" ] || return 1
    target=$(readlink "$1")
    case $target in
        "$2"/*) return 0 ;;
        /*) ;;
        *) target=$(dirname -- "$1")/$target ;;
    esac
    case $(real "$(dirname -- "$target")")/ in
        "$(real "$2")"/?*) [ -d "$2" ] ;;
        *) return 1 ;;
    esac
}

# Prints the helper of ours that stands in for the name of another, or fails.
helper_for() {
    for pair in $drop_ins; do
        if [ "${pair%%=*}" = "$1" ]; then
            say "${pair#*=}"
            return
        fi
    done
    return 1
}

is_ours() {
    for own in $names; do
        [ "$1" != "$own" ] || return 0
    done
    return 1
}

# Whether the file is a link that --replace makes: to the executable beside it, wherever that one leads.
is_drop_in() { [ -L "$1" ] && is_ours "$(readlink "$1")"; }

# Prints the paths of an executable on PATH, in its order.
on_path() {
    rest=$PATH:
    while [ -n "$rest" ]; do
        place=${rest%%:*}
        rest=${rest#*:}
        case $place in
            /*) if [ -f "$place/$1" ] && [ -x "$place/$1" ]; then say "$place/$1"; fi ;;
        esac
    done
}

# Sets `before` to the tools by which credhelpers is installed.
look_around() {
    before=
    for tool in uv pipx venv; do
        directory=$(home_of "$tool")
        [ -z "$directory" ] || [ ! -d "$directory" ] || before="$before $tool"
    done
}

# Sets `with`, `home` and `bin`: the tool to install by, where it installs to, where it puts links.
choose() {
    if [ -n "$with" ]; then
        has "$with" || fail "$with is not on PATH: install it, or leave --with out; nothing was changed"
    else
        for with in $before uv pipx venv; do
            ! has "$with" || break
        done
    fi
    home=$(home_of "$with")
    bin=$(bin_of "$with")
}

# --- changing things, and changing them back -------------------------------------------------------------------------

# Sets `stand_ins` to the names that --replace asks for now, or asked for in an earlier run.
look_for_stand_ins() {
    stand_ins=
    for pair in $drop_ins; do
        word=${pair%%=*}
        case " $replace " in
            *" $word "*) is_wanted=yes ;;
            *) is_wanted= ;;
        esac
        for tool in $before; do
            ! is_drop_in "$(bin_of "$tool")/docker-credential-$word" || is_wanted=yes
        done
        [ -n "$is_wanted" ] || continue
        stand_ins="$stand_ins $word"
        stranger=$bin/docker-credential-$word
        if { [ -e "$stranger" ] || [ -L "$stranger" ]; } && ! is_drop_in "$stranger"; then
            fail "$stranger is there and was not made by install.sh: move it away; nothing was changed"
        fi
    done
}

# Makes a directory and its parents, and remembers which ones were not there.
make_directory() {
    [ -d "$1" ] && return
    make_directory "$(dirname -- "$1")"
    mkdir -- "$1" 2>/dev/null ||
        fail "the directory $1 cannot be made: look at the owner and mode of $(dirname -- "$1"); nothing was changed"
    printf '%s\n' "$1" >>"$work/made"
}

check_writable() {
    make_directory "$1"
    if ! (: >"$1/.credhelpers.$$") 2>/dev/null; then
        fail "$1 is not writable: look at its owner and mode, or at how it is mounted; nothing was changed"
    fi
    rm -f -- "$1/.credhelpers.$$"
}

check_space() {
    # The second line of what POSIX prescribes: file system, blocks, used, available, …
    free=$(df -Pk -- "$1" 2>/dev/null | sed -n '2s/^.* [0-9]\{1,\} \{1,\}[0-9]\{1,\} \{1,\}\([0-9]\{1,\}\) .*/\1/p')
    if [ -n "$free" ] && [ "$free" -lt 204800 ]; then
        fail "the disk is full: make room for 200 MB below $1, then run it again; nothing was changed"
    fi
}

# Keeps a copy of what a tool changes in place.
back_up() {
    changing=$names
    for word in $stand_ins; do changing="$changing docker-credential-$word"; done
    for name in $changing; do
        if [ -L "$bin/$name" ]; then cp -RP -- "$bin/$name" "$work/links/"; fi
    done
    [ -d "$home" ] && [ "$with" != venv ] || return 0
    rm -rf -- "$backup"
    cp -Rp -- "$home" "$backup" 2>"$work/log" || explain "the present installation could not be copied"
    is_backed_up=yes
}

roll_back() {
    [ "$stage" = changing ] || return 0
    stage=
    if [ "$with" = venv ]; then
        rm -rf -- "$fresh"
    else
        rm -rf -- "$home"
        [ -z "$is_backed_up" ] || mv -- "$backup" "$home"
    fi
    for name in $changing; do
        if [ -L "$work/links/$name" ]; then
            rm -f -- "$bin/$name"
            cp -RP -- "$work/links/$name" "$bin/"
        elif [ -L "$bin/$name" ]; then
            rm -f -- "$bin/$name"
        fi
    done
}

finish() {
    status=$?
    trap '' HUP INT TERM
    set +e
    roll_back
    [ -z "${backup:-}" ] || rm -rf -- "$backup"
    # Children first; a directory that is in use by now stays.
    if [ "$status" != 0 ] && [ -f "$work/made" ]; then
        sort -r "$work/made" | while IFS= read -r directory; do rmdir -- "$directory" 2>/dev/null; done
    fi
    rm -rf -- "$work"
    exit "$status"
}

# Ends with one sentence about the command whose output is in the log.
explain() {
    if grep -q -i -e 'no space left' -e 'quota exceeded' "$work/log"; then
        fail "the disk is full: make room for 200 MB below $data and ${TMPDIR:-/tmp}, then run it again;" \
            "nothing was changed"
    fi
    tail -n 8 "$work/log" | sed 's/^/    /' >&2
    fail "$1, its last words are above: if it is the network, check the proxy and the package index, then run it" \
        "again; nothing was changed"
}

install_by_uv() {
    (cd -- "$here" && exec uv tool install --force --reinstall-package credhelpers --python '>=3.11' '.[all]') \
        >"$work/log" 2>&1 || explain "uv could not install"
}

install_by_pipx() {
    # What a Python has left behind that is gone cannot be upgraded.
    [ -n "$(python_in "$home")" ] || rm -rf -- "$home"
    (cd -- "$here" && exec pipx install --force --python "$python" '.[all]') >"$work/log" 2>&1 ||
        explain "pipx could not install"
}

install_by_venv() {
    make_directory "$home"
    "$python" -I -m venv -- "$fresh" >"$work/log" 2>&1 || explain "$python could not make a virtual environment"
    (cd -- "$here" && exec "$fresh/bin/python3" -I -m pip install '.[all]') >"$work/log" 2>&1 ||
        explain "pip could not install"
}

# Puts links to the executables of a virtual environment in the place of earlier ones, each in one step.
link() {
    for name in $names; do
        { ln -s -- "$fresh/bin/$name" "$work/$name" && mv -f -- "$work/$name" "$bin/$name"; } 2>"$work/log" ||
            explain "the link $bin/$name could not be made"
    done
    for other in "$home"/*; do
        [ "$other" = "$fresh" ] || rm -rf -- "$other"
    done
}

# Makes the links of --replace. They name the executable beside them, which is there after every upgrade.
stand_in() {
    for word in $stand_ins; do
        helper=docker-credential-$(helper_for "$word")
        name=docker-credential-$word
        { ln -s -- "$helper" "$work/$name" && mv -f -- "$work/$name" "$bin/$name"; } 2>"$work/log" ||
            explain "the link $bin/$name could not be made"
        answer=$("$bin/$name" version 2>&1) || fail "$name does not run: $(joined "$answer"); nothing was changed"
    done
}

# Removes an installation, and the links that lead into it.
remove() {
    for name in "$2"/docker-credential-*; do
        if leads_into "$name" "$1"; then rm -f -- "$name"; fi
    done
    rm -rf -- "$1"
    sweep "$2"
}

# Removes the links of --replace that lead nowhere any more, and sets `swept` to their names.
sweep() {
    for left in "$1"/docker-credential-*; do
        if is_drop_in "$left" && [ ! -e "$left" ]; then
            rm -f -- "$left"
            swept="$swept ${left##*/}"
        fi
    done
}

install() {
    python=$(find_python)
    look_around
    choose
    [ "$with" = uv ] || need_python
    if [ "$with" = venv ] && ! "$python" -I -c 'import ensurepip, venv' >/dev/null 2>&1; then
        fail "$python cannot make virtual environments: install its venv module (Debian and Ubuntu:" \
            "sudo apt install python3-venv), or install uv or pipx; nothing was changed"
    fi
    for name in $names; do
        [ -e "$bin/$name" ] || continue
        for tool in $before; do
            ! leads_into "$bin/$name" "$(home_of "$tool")" || continue 2
        done
        fail "$bin/$name is there and was not made by uv, pipx or install.sh: move it away; nothing was changed"
    done
    look_for_stand_ins
    if [ "$configure" = yes ] && [ -n "$python" ]; then configuration "$python" check; fi

    backup=$data/credhelpers-before
    fresh=$home/$(date +%Y%m%d%H%M%S)-$$
    mkdir -- "$work/links"
    check_writable "$data"
    check_writable "$(dirname -- "$home")"
    check_writable "$bin"
    check_space "$data"
    back_up
    say "installing by $with"
    stage=changing
    "install_by_$with"
    if [ "$with" = venv ]; then place=$fresh; else place=$home; fi
    interpreter=$(python_in "$place")
    [ -n "$interpreter" ] || fail "what $with has installed does not run: install another Python or try --with venv;" \
        "nothing was changed"
    # Each call would compile anew where the one who calls may not write.
    "$interpreter" -I -c '
import compileall, credhelpers, sys
sys.exit(not compileall.compile_dir(credhelpers.__path__[0], quiet=1))' >"$work/log" 2>&1 ||
        explain "the bytecode could not be written"
    for name in $names; do
        version=$("$place/bin/$name" version 2>&1) ||
            fail "$name does not run: $(joined "$version"); nothing was changed"
    done
    if [ "$with" = venv ]; then link; fi
    for name in $names; do
        leads_into "$bin/$name" "$place" || fail "$with made no link $bin/$name: try --with venv; nothing was changed"
    done
    stand_in
    stage=
    for tool in $before; do
        if [ "$tool" != "$with" ]; then
            remove "$(home_of "$tool")" "$(bin_of "$tool")"
            say "removed what $tool had installed"
        fi
    done
    say "installed credhelpers ${version##* } by $with: $bin"
}

# --- the files of docker and podman ----------------------------------------------------------------------------------

# Reads or edits them with the Python $1, by what lies beside this file: nothing may be installed yet, or any more.
# $2 is what to do: check, advise, write or remove; see credhelpers/cli/configure.py.
configuration() {
    # shellcheck disable=SC2086 # the names are words
    "$1" -I -B -c '
import sys
sys.path.insert(0, sys.argv.pop(1))
from credhelpers.cli.configure import main
sys.exit(main(sys.argv[1:]))' "$here" "$2" $names $drop_ins
}

# --- the main job ----------------------------------------------------------------------------------------------------

# Stores, reads and erases a throw-away credential, as docker would.
prove() {
    helper=$bin/docker-credential-keyring
    server=credhelpers-$$.invalid
    wanted='{"ServerURL":"'$server'","Username":"install.sh","Secret":"throw-away"}'
    gone='credentials not found in native keychain'
    was_there=$(real "$embedded")
    if ! answer=$(say "$wanted" | "$helper" store 2>&1); then
        fail "credhelpers is installed, but docker-credential-keyring cannot store here: $(joined "$answer")"
    fi
    # An entry of the embedded store is a file, named by a digest of the server.
    file=$embedded/$("$interpreter" -I -c '
import hashlib, sys
print(hashlib.blake2b(sys.argv[1].encode(), digest_size=20).hexdigest() + ".age")' "$server")
    store="the keyring of this system"
    [ ! -f "$file" ] || store="the embedded store, encrypted files in $embedded"
    if ! answer=$(say "$server" | "$helper" get 2>&1) || [ "$answer" != "$wanted" ]; then
        say "$server" | "$helper" erase >/dev/null 2>&1 || :
        fail "credhelpers is installed, but docker-credential-keyring does not answer what was stored: $(joined "$answer")"
    fi
    if ! answer=$(say "$server" | "$helper" erase 2>&1); then
        fail "credhelpers is installed, but docker-credential-keyring cannot erase here: $(joined "$answer")"
    fi
    if answer=$(say "$server" | "$helper" get 2>&1) || [ "$answer" != "$gone" ]; then
        fail "credhelpers is installed, but docker-credential-keyring has not forgotten what it erased"
    fi
    # A store that came into being for this alone goes with it.
    [ -n "$was_there" ] || holds age || holds keyring || holds library || rm -rf -- "$embedded"
    say "docker-credential-keyring has stored, answered and forgotten a throw-away credential"
    say "docker logins are kept in $store"
}

# Whether there are entries of a kind: age, encrypted in the file itself; keyring or library, noted as being there.
holds() {
    for entry in "$embedded"/*."$1"; do
        [ ! -f "$entry" ] || return 0
    done
    return 1
}

uninstall() {
    python=$(find_python)
    look_around
    interpreter=
    for tool in $before; do
        interpreter=$(python_in "$(home_of "$tool")")
        [ -z "$interpreter" ] || break
    done
    interpreter=${interpreter:-$python}
    file=${DOCKER_CONFIG:-$HOME/.docker}/config.json
    # Docker would fail for every registry if its file named what is not there any more.
    if [ -n "$interpreter" ]; then
        configuration "$interpreter" remove
    elif [ -e "$file" ]; then
        fail "there is no Python to edit $file with: take the lines out of it that name one of" \
            "$(say "$names" | sed 's/docker-credential-//g'), and move it away until this has run; nothing was changed"
    fi
    if [ "$purge" = yes ]; then purge; fi
    if [ -d "$embedded" ]; then
        where=$embedded
        ! holds keyring || where="$where and the keyring of this system"
        ! holds library || where="$where and the keyring that config.toml names"
        say "kept what docker-credential-keyring has stored in $where; --uninstall --purge erases it"
    fi
    forget "${CREDHELPERS_CACHE_DIR:-}"
    forget "${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/credhelpers}"
    forget "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/credhelpers}"
    forget "$HOME/.cache/credhelpers"
    for tool in $before; do
        remove "$(home_of "$tool")" "$(bin_of "$tool")"
        say "removed what $tool had installed"
    done
    [ -n "$before" ] || say "credhelpers is not installed by uv, pipx or install.sh"
    for tool in uv pipx venv; do sweep "$(bin_of "$tool")"; done
    for name in $swept; do
        other=$(on_path "$name" | sed 1q)
        if [ -n "$other" ]; then
            say "removed the link $name: docker starts $other again"
        else
            say "removed the link $name: lines that name ${name#docker-credential-} in" \
                "${DOCKER_CONFIG:-$HOME/.docker}/config.json lead nowhere now"
        fi
    done
}

# Erases what is stored. Needs a store that can be reached, else it would leave behind what nobody sees.
purge() {
    helper=
    for tool in $before; do
        helper=$(bin_of "$tool")/docker-credential-keyring
        [ ! -x "$helper" ] || break
    done
    [ -x "$helper" ] || fail "no docker-credential-keyring is installed to erase what is stored: run ./install.sh first"
    "$interpreter" -I - "$helper" <<'END'
import json
import subprocess
import sys

helper = sys.argv[1]


def call(verb, server=""):
    done = subprocess.run([helper, verb], input=server, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"install.sh: the stored credentials cannot be erased: {done.stdout.strip()}; credhelpers is still installed")
    return done.stdout


servers = json.loads(call("list"))
for server in servers:
    call("erase", server)
print(f"erased {len(servers)} stored credentials")
END
    { ! holds keyring && ! holds library; } ||
        fail "some credentials lie in a keyring that is not there now: run it in the session of that" \
            "keyring; credhelpers is still installed"
    rm -rf -- "$embedded"
}

# Removes cached tokens; the directory may hold other things, if the user chose it.
forget() {
    case $1 in
        /*) [ -d "$1" ] || return 0 ;;
        *) return 0 ;; # a relative one is no cache
    esac
    eight='[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
    digits=$eight$eight$eight$eight$eight
    for cached in "$1"/* "$1"/.*; do
        name=${cached##*/}
        name=${name#.}
        # shellcheck disable=SC2254 # a pattern
        case $name in
            plan-$eight$eight$eight$eight | plan-$eight$eight$eight$eight.*[0-9]) rm -f -- "$cached" ;; # who owns which host
            *-lock-[0-9][0-9] | *-$digits | *-$digits.failed | *-$digits.*[0-9] | *-erased | *-erased.*[0-9])
                kind=${name%%-*}
                [ "$kind" != vaulttoken ] || kind=vault # its own tokens, with which it reads
                if is_ours "docker-credential-$kind"; then rm -f -- "$cached"; fi
                ;;
        esac
    done
    rmdir -- "$1" 2>/dev/null || :
}

# Adds a word to `replace`, if it is one at all. Whether it is a name that is known, `main` asks when it has ours.
add_replace() {
    case $1 in
        '' | *[!a-z-]*) misused "--replace takes the name of a helper, as in config.json" ;;
        *) replace="$replace $1" ;;
    esac
}

main() {
    configure='' uninstall='' purge='' replace='' with='' stage='' is_backed_up='' swept=''
    while [ $# -gt 0 ]; do
        case $1 in
            --configure) configure=yes ;;
            --uninstall) uninstall=yes ;;
            --purge) purge=yes ;;
            --replace)
                [ $# -gt 1 ] || misused "--replace needs a word"
                shift
                add_replace "$1"
                ;;
            --replace=*) add_replace "${1#--replace=}" ;;
            --with)
                [ $# -gt 1 ] || misused "--with needs a word"
                shift
                with=$1
                ;;
            --with=*) with=${1#--with=} ;;
            --help | -h)
                manual
                exit 0
                ;;
            *) misused "there is no option $1" ;;
        esac
        shift
    done
    case $with in
        '' | uv | pipx | venv) ;;
        *) misused "--with takes uv, pipx or venv" ;;
    esac
    [ -z "$uninstall" ] || [ -z "$configure$replace$with" ] || misused "--uninstall goes with --purge only"
    [ -z "$purge" ] || [ -n "$uninstall" ] || misused "--purge goes with --uninstall only"

    case ${HOME:-} in
        /*) [ -d "$HOME" ] || fail "the home directory $HOME is not there: set HOME; nothing was changed" ;;
        *) fail "HOME is not set: set it to your home directory; nothing was changed" ;;
    esac
    case ${XDG_DATA_HOME:-} in
        /*) data=$XDG_DATA_HOME ;;
        *) data=$HOME/.local/share ;;
    esac
    embedded=$data/credhelpers
    here=$(real "$(dirname -- "$0")")
    [ -f "$here/pyproject.toml" ] && [ -d "$here/entrypoints" ] ||
        fail "$0 must lie in a checkout or an unpacked release of credhelpers; nothing was changed"
    names=$(cd -- "$here/entrypoints" && echo *)
    for word in $replace; do
        is_ours "docker-credential-$word" || helper_for "$word" >/dev/null ||
            misused "--replace does not know $word"
    done
    work=$(mktemp -d 2>/dev/null) ||
        fail "no temporary directory can be made in ${TMPDIR:-/tmp}: set TMPDIR to one that is writable; nothing was changed"
    trap finish EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM

    if [ "$uninstall" = yes ]; then
        uninstall
        return
    fi
    install
    prove
    if [ "$configure" = yes ]; then
        configuration "$interpreter" write
    else
        configuration "$interpreter" advise || :
    fi
    check_path
}

# Says what docker will start: it takes the first of a name on PATH.
check_path() {
    case :$PATH: in
        *:"$bin":*) ;;
        *)
            say "warning: $bin is not on PATH, where docker looks; put this line into ~/.profile and log in again:"
            say "    export PATH=\"$bin:\$PATH\""
            return
            ;;
    esac
    for name in $changing; do
        word=${name#docker-credential-}
        helper=$(helper_for "$word") || helper=$word
        first=$(on_path "$name" | sed 1q)
        other=$(on_path "$name" | while IFS= read -r file; do
            [ "$(real "$(dirname -- "$file")")" = "$(real "$bin")" ] || say "$file"
        done | sed 1q)
        if [ -n "$other" ] && [ "$first" = "$other" ]; then
            say "warning: docker will start $first, which comes before $bin on PATH: move it away"
        elif [ -n "$other" ]; then
            say "for $word docker starts our docker-credential-$helper, and not $other, which comes later on PATH"
        elif [ "$helper" != "$word" ]; then
            say "for $word docker starts our docker-credential-$helper"
        fi
    done
    for word in $replace; do
        if is_ours "docker-credential-$word"; then
            say "$word is a name of credhelpers itself: docker-credential-$word is always installed"
        fi
    done
}

main "$@"
