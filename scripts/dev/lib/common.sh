# Shared by scripts/run, scripts/test and scripts/dev/*: sourced, never run. Needs $top, the root of the tree.
# shellcheck shell=sh

jobs() { nproc 2>/dev/null || echo 2; }

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# present PROBE: is it on this machine?
present() {
    case $1 in
    cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
    pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
    file:*) [ -e "${1#file:}" ] ;;
    esac
}

# missing SET...: the Debian packages of these sets that are not here.
missing() {
    while read -r set probe package; do
        case $set in '#'* | '') continue ;; esac
        for wanted in "$@"; do
            if [ "$set" = "$wanted" ] && ! present "$probe"; then printf '%s\n' "$package"; fi
        done
    done <"$top/scripts/dev/packages" | sort -u | tr '\n' ' '
}

install_packages() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 install \
        -y --no-install-recommends "$@"
}

# need SET...: installs what is missing, or names it and stops. What is only of use (the set "extra") comes along where it
# can be had, and is not asked for by itself.
need() {
    lacking=$(missing "$@")
    [ -n "$lacking" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        die "please install what Debian calls: $lacking"
    fi
    sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "please run as root: apt-get install $lacking"
        sudo=sudo
    fi
    extra=$(missing extra)
    say "installing $lacking$extra"
    install_log=$(mktemp)
    # shellcheck disable=SC2086 # the lists of packages are meant to be split
    if ! { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q update &&
        { install_packages $lacking $extra || install_packages $lacking; }; } >"$install_log" 2>&1; then
        cat "$install_log" >&2
        rm -f "$install_log"
        die "apt-get could not install: $lacking"
    fi
    rm -f "$install_log"
    lacking=$(missing "$@")
    [ -z "$lacking" ] || die "still missing after the installation: $lacking"
}

# generator: new build trees are made for ninja where it is there.
generator() {
    if [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null 2>&1; then
        CMAKE_GENERATOR=Ninja
        export CMAKE_GENERATOR
    fi
}

# build_dir PRESET: where the preset builds.
build_dir() {
    if [ "$1" = dev ]; then say "$top/build"; else say "$top/build-$1"; fi
}

# configure PRESET [OPTION...]: configures when there is no build tree of this source tree yet, or with options.
configure() {
    preset=$1
    shift
    cache=$(build_dir "$preset")/CMakeCache.txt
    fresh=
    if [ ! -f "$cache" ]; then
        generator
    elif ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$top" "$cache"; then
        fresh=--fresh # the tree was moved or copied with its build directory
    elif [ $# = 0 ]; then
        return 0
    fi
    (cd "$top" && cmake --preset "$preset" $fresh "$@")
}
