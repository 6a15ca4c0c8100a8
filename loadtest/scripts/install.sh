#!/bin/sh
# Installs what the build, the world and the comparison need and this machine lacks:
#
#   loadtest/scripts/install.sh build world peers
#
#   build   a C compiler and cargo
#   world   Postgres, Redis, Node.js 20 or newer, setpriv and unshare; and the Express API's modules
#   peers   nginx and HAProxy
#
# Says nothing when nothing is missing. Installs when it may (root, or sudo without a password); else prints the one
# command that would, and ends with 1. It starts no system service, and switches off those that it installed; services
# that were here before are left as they are.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
api=$here/../express-api
PATH=$PATH:/usr/sbin:/sbin
export PATH
packages=
units=
remedies=
modules=

have() { command -v "$1" >/dev/null 2>&1; }

# package PACKAGE UNIT: PACKAGE is missing; it brings the service UNIT (or none).
package() {
    packages="$packages $1"
    units="$units ${2-}"
}

remedy() {
    remedies="$remedies$1
"
}

have_postgres() {
    for programs in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null || true)"; do
        [ -x "$programs/initdb" ] && [ -x "$programs/postgres" ] && return 0
    done
    return 1
}

have_node() {
    major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p')
    [ "${major:-0}" -ge 20 ] && have npm
}

need_node() {
    have_node && return 0
    candidate=$(apt-cache policy nodejs 2>/dev/null | sed -n 's/^  Candidate: \([0-9]*\).*/\1/p')
    if [ "${candidate:-0}" -ge 20 ]; then
        # NodeSource's package brings npm and conflicts with Debian's.
        if apt-cache show nodejs 2>/dev/null | grep -q '^Provides:.*npm'; then
            package nodejs
        else
            package 'nodejs npm'
        fi
    else
        remedy 'Node.js 20 or newer is missing, and this system packages none: see https://nodejs.org/en/download'
    fi
}

# The modules are those of the lock file that lies beside them.
have_modules() { cmp -s "$api/package-lock.json" "$api/node_modules/.installed-from"; }

[ $# -gt 0 ] || set -- world
for group; do
    case $group in
    build)
        have cc || package 'gcc libc6-dev'
        have make || package make
        have cargo || [ -x "$HOME/.cargo/bin/cargo" ] || remedy "cargo is missing: curl https://sh.rustup.rs -sSf | sh"
        ;;
    world)
        have_postgres || package postgresql postgresql
        have redis-server || package redis-server redis-server
        { have setpriv && have unshare; } || package util-linux
        need_node
        have_modules || modules=1
        ;;
    peers)
        have nginx || package nginx nginx
        have haproxy || package haproxy haproxy
        ;;
    *)
        echo "usage: install.sh [build] [world] [peers]" >&2
        exit 2
        ;;
    esac
done

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -- "$@"; fi
}

# Runs apt-get install such that no package starts its service.
install_packages() {
    policy=/usr/sbin/policy-rc.d
    ours=
    if ! [ -e "$policy" ]; then
        ours=1
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        # 101: the action is forbidden by policy (invoke-rc.d).
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of words
    if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
    rm -f "$log"
    if [ -n "$ours" ]; then
        as_root rm -f "$policy"
        trap - EXIT HUP INT TERM
    fi
    # The machine's own policy may have let them start, and they would start with the machine.
    if [ -d /run/systemd/system ]; then
        for unit in $units; do
            as_root systemctl disable --now "$unit" >/dev/null 2>&1 || true
        done
    fi
}

if [ -n "$packages" ]; then
    if ! have apt-get; then
        remedy "missing, under the names Debian gives them:$packages"
    elif [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
        echo "installing$packages" >&2
        install_packages
    else
        remedy "missing:$packages. This installs them: sudo $here/$(basename -- "$0") $*"
    fi
fi
if [ -n "$remedies" ]; then
    printf '%s' "$remedies" >&2
    exit 1
fi

if [ -n "$modules" ]; then
    echo "installing the Express API's modules" >&2
    # Under sudo the checkout is somebody else's, and so are its modules.
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER-}" ] && [ "$SUDO_USER" != root ]; then
        as_user() { sudo -u "$SUDO_USER" -H -- "$@"; }
    else
        as_user() { "$@"; }
    fi
    cd "$api"
    as_user npm ci --omit=dev --no-audit --no-fund --loglevel=error >&2
    as_user cp package-lock.json node_modules/.installed-from
fi
