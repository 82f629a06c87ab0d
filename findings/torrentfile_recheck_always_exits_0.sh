#!/usr/bin/env bash
# torrentfile==0.9.2: `torrentfile recheck` exits with status 0 whatever it finds. Only the percentage in its output tells a
# damaged folder, or one without any weights, from a complete one. A script that deletes the original when recheck has
# passed deletes the only good copy. An empty file does not count at all: the folder is at 100% without it.
# Expected: a status other than 0 below 100%, as sha256sum -c and git fsck give for damage, and no 100% with a file missing.
# Seen, for a torrent of each version, of two files of weights and an empty __init__.py:
#   folder              v1            v2            hybrid
#   complete            100%, exit 0  100%, exit 0  100%, exit 0
#   one byte changed    89%, exit 0   89%, exit 0   89%, exit 0
#   one file missing    66%, exit 0   66%, exit 0   66%, exit 0
#   weights missing     0%, exit 0    0%, exit 0    0%, exit 0
#   empty file missing  100%, exit 0  100%, exit 0  100%, exit 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torrentfile==0.9.2
cd "$work"
mkdir original
head -c 200000 /dev/zero | tr '\0' 1 >original/a.safetensors
head -c 100000 /dev/zero | tr '\0' 2 >original/b.safetensors
: >original/__init__.py
for version in 1 2 3; do
    venv/bin/torrentfile create --meta-version $version --piece-length 15 --prog 0 -o $version.torrent original >log 2>&1
done
checked() {
    for version in 1 2 3; do
        status=0
        venv/bin/torrentfile recheck $version.torrent original >log 2>&1 || status=$?
        printf '  %-12s' "$(grep -ao '<- [0-9]*' log | tail -n 1 | cut -c 4-)%, exit $status"
    done
}
row() {
    rm -rf original
    cp -r kept original
    (cd original && eval "$2")
    printf '%-18s%s\n' "$1" "$(checked)"
}
mv original kept
{
    printf '%-18s  %-12s  %-12s  %s\n' folder v1 v2 hybrid
    row complete :
    row 'one byte changed' 'printf 3 | dd of=a.safetensors conv=notrunc status=none'
    row 'one file missing' 'rm b.safetensors'
    row 'weights missing' 'rm a.safetensors b.safetensors'
    row 'empty file missing' 'rm __init__.py'
} | sed 's/ *$//' | tee seen
diff seen - <<'WANTED'
folder              v1            v2            hybrid
complete            100%, exit 0  100%, exit 0  100%, exit 0
one byte changed    89%, exit 0   89%, exit 0   89%, exit 0
one file missing    66%, exit 0   66%, exit 0   66%, exit 0
weights missing     0%, exit 0    0%, exit 0    0%, exit 0
empty file missing  100%, exit 0  100%, exit 0  100%, exit 0
WANTED
