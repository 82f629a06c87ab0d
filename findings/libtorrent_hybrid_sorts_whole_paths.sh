#!/usr/bin/env bash
# libtorrent==2.1.1 (Python wheel): create_torrent sorts the v1 file list of a hybrid by whole path strings, whatever
# order it is given, while the v2 file tree is sorted by path component. With "model.safetensors" beside a folder
# "model" the two lists differ: the torrent that create_torrent has just written is one that load_torrent_buffer refuses.
# Expected: files in the order given, or in the order of the file tree, and a torrent that loads.
# Seen:
#   given model/x, model.safetensors: wrote model.safetensors, model/x; refused: the v1 and v2 file metadata does not match
#   given model.safetensors, model/x: wrote model.safetensors, model/x; refused: the v1 and v2 file metadata does not match
#   given a/x, b.bin: wrote a/x, b.bin; loads
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'libtorrent==2.1.1'
cat >"$work/run.py" <<'PY'
import sys
from pathlib import Path

import libtorrent as lt


def made(parent: Path, names: list[str]) -> str:
    for name in names:
        (parent / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (parent / "m" / name).write_bytes(b"x" * 20_000)
    torrent = lt.create_torrent([lt.create_file_entry(f"m/{name}", 20_000) for name in names], 16_384)
    lt.set_piece_hashes(torrent, str(parent))
    data = lt.bencode(torrent.generate())
    paths = [b"/".join(row[b"path"]).decode() for row in lt.bdecode(data)[b"info"][b"files"]]
    written = ", ".join(path for path in paths if not path.startswith(".pad/"))
    try:
        lt.load_torrent_buffer(data)
        verdict = "loads"
    except RuntimeError as error:
        verdict = f"refused: {str(error).split(' [')[0]}"
    return f"given {', '.join(names)}: wrote {written}; {verdict}"


root = Path(sys.argv[1])
for number, names in enumerate((["model/x", "model.safetensors"], ["model.safetensors", "model/x"], ["a/x", "b.bin"])):
    print(made(root / str(number), names))
PY
"$work/venv/bin/python" "$work/run.py" "$work/data" | tee "$work/seen"
diff "$work/seen" - <<'WANTED'
given model/x, model.safetensors: wrote model.safetensors, model/x; refused: the v1 and v2 file metadata does not match
given model.safetensors, model/x: wrote model.safetensors, model/x; refused: the v1 and v2 file metadata does not match
given a/x, b.bin: wrote a/x, b.bin; loads
WANTED
