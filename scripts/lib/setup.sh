# Sourced by the scripts: makes .venv with p2pqwen in it, once; fast if nothing changed. Sets $venv.

say() { printf '%s\n' "$*" >&2; }
stop() { say "error: $*"; exit 1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$candidate" ] || continue
        command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    stop "no Python 3.11, 3.12 or 3.13 found (libtorrent has no wheels for others); on Debian: apt install python3 python3-venv (or set PYTHON)"
}

# other_python VERSION: prints a second Python, such as 3.13, if the machine has one that can make environments; else
# returns 1.
other_python() {
    local candidate pyenv=${PYENV_ROOT:-$HOME/.pyenv}
    for candidate in "python$1" "$(uv python find "$1" 2>/dev/null)" "$pyenv/versions/$1".*/bin/python; do
        if "$candidate" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

# as_root COMMAND...: runs a command as root, if that needs no password; else returns 1.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo "$@"; else return 1; fi
}

# may_install PACKAGE...: whether system packages may be installed: $install or $CI is set, or the user agrees.
may_install() {
    if [ -n "${install:-}" ] || [ -n "${CI:-}" ]; then return; fi
    [ -t 0 ] && [ -t 2 ] || return 1
    local answer
    printf 'apt install %s ? [y/N] ' "$*" >&2
    read -r answer
    case $answer in [Yy]*) return ;; *) return 1 ;; esac
}

# missing_packages: prints the missing Debian packages of other programs that the tests use.
missing_packages() {
    local command package browser=chromium
    # Debian has a headless browser, with which the tests take a third of the time.
    ! apt-cache show chromium-headless-shell >/dev/null 2>&1 || browser=chromium-headless-shell
    while read -r command package; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null 2>&1 || printf '%s\n' "$package"
    done <<TOOLS
git git
aria2c aria2
qbittorrent-nox qbittorrent-nox
transmission-daemon transmission-daemon
nginx nginx-light
opentracker opentracker
ip iproute2
gcc build-essential
mkfs.ext4 e2fsprogs
nft nftables
zsh zsh
fish fish
node nodejs
$browser $browser
prometheus prometheus
rsync rsync
newsboat newsboat
TOOLS
}

# apt_install PACKAGE...: installs packages, or returns 1.
apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    local log
    log=$(mktemp)
    if as_root apt-get update -qq >"$log" 2>&1 \
        && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1; then
        rm -f "$log"
    else
        tail -n 5 "$log" >&2
        rm -f "$log"
        return 1
    fi
}

# setup_venv [GROUP [PYTHON FOLDER]]: makes an environment, with a dependency group of pyproject.toml if one is named:
# .venv with a Python that is found, or FOLDER with PYTHON.
setup_venv() {
    local group=${1:-} python stamp want
    venv=${3:-$root/.venv}
    python=${2:-$(find_python)}
    want=$("$python" -V; cat "$root/pyproject.toml")
    stamp=$venv/.installed-${group:-base}
    if [ -x "$venv/bin/p2pqwen" ]; then
        local stamps=("$stamp")
        [ -n "$group" ] || stamps=("$venv"/.installed-*) # every group includes the base
        local one
        for one in "${stamps[@]}"; do
            if [ -f "$one" ] && [ "$(cat "$one")" = "$want" ]; then return; fi
        done
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        may_install python3-venv && apt_install python3-venv || stop "Python has no venv module; on Debian: apt install python3-venv"
    fi
    say "setting up $venv (once; about a minute)"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || stop "cannot make $venv"
    # dependency groups (PEP 735) need pip 25.1
    "$venv/bin/python" -m pip install -qq --upgrade 'pip>=25.1' || stop "cannot reach the package index"
    "$venv/bin/python" -m pip install -qq --editable "$root" ${group:+--group "$root/pyproject.toml:$group"} \
        || stop "cannot install p2pqwen's dependencies (see above)"
    printf '%s\n' "$want" >"$stamp"
}
