#!/usr/bin/env bash
# torrentfile==0.9.2: `torrentfile edit --comment TEXT` on a public hybrid writes the comment and `private: 1` INTO the
# info dictionary. The infohash changes, so the edited file names another, private, empty swarm; and the keys are no longer
# sorted, so strict readers refuse the file.
# Expected: the comment beside the info dictionary (BEP 3), the same infohash, no `private` (--private was not given).
# Seen:
#   before: file tree, files, meta version, name, piece length, pieces
#   after: file tree, files, meta version, name, piece length, pieces, comment, private
#   same infohash: no
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'torrentfile==0.9.2'
mkdir -p "$work/m"
seq 1 20000 >"$work/m/a"
seq 1 9000 >"$work/m/b"
"$work/venv/bin/torrentfile" create --meta-version 3 --prog 0 -o "$work/before.torrent" "$work/m" >/dev/null 2>&1
cp "$work/before.torrent" "$work/after.torrent"
"$work/venv/bin/torrentfile" edit --comment "mirrored in 2026" "$work/after.torrent" >/dev/null 2>&1
cat >"$work/run.py" <<'PY'
import hashlib
import sys
from pathlib import Path


def read(data: bytes, at: int):
    """A lenient bencode reader that keeps the order of keys: value, end."""
    if data[at:at + 1] == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1:end]), end + 1
    if data[at:at + 1] in {b"l", b"d"}:
        kind, at, items = data[at:at + 1], at + 1, []
        while data[at:at + 1] != b"e":
            value, at = read(data, at)
            items.append(value)
        return (dict(zip(items[::2], items[1::2])) if kind == b"d" else items), at + 1
    colon = data.index(b":", at)
    size = int(data[at:colon])
    return data[colon + 1:colon + 1 + size], colon + 1 + size


def info(path: str):
    data = Path(path).read_bytes()
    start = data.index(b"4:info") + 6
    value, end = read(data, start)
    return value, hashlib.sha1(data[start:end]).hexdigest()


before, after = info(sys.argv[1]), info(sys.argv[2])
print("before: " + ", ".join(key.decode() for key in before[0]))
print("after: " + ", ".join(key.decode() for key in after[0]))
print("same infohash: " + ("yes" if before[1] == after[1] else "no"))
PY
"$work/venv/bin/python" "$work/run.py" "$work/before.torrent" "$work/after.torrent" | tee "$work/seen"
diff "$work/seen" - <<'WANTED'
before: file tree, files, meta version, name, piece length, pieces
after: file tree, files, meta version, name, piece length, pieces, comment, private
same infohash: no
WANTED
