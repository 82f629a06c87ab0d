#!/usr/bin/env bash
# libtorrent==2.1.1 (Python wheel): load_torrent_buffer followed by write_torrent_file silently drops every key beside
# the info dictionary that libtorrent does not know, BEP 35's `signatures` among them. A client that saves a torrent
# this way passes on an unsigned torrent.
# Expected: unknown top-level keys survive a round trip.
# Seen:
#   read: info, piece layers, signatures, x-note
#   written: info, piece layers
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'libtorrent==2.1.1'
cat >"$work/run.py" <<'PY'
import sys
from pathlib import Path

import libtorrent as lt

folder = Path(sys.argv[1])
(folder / "m").mkdir(parents=True)
(folder / "m" / "a").write_bytes(b"x" * 20_000)
made = lt.create_torrent([lt.create_file_entry("m/a", 20_000)], 16_384)
lt.set_piece_hashes(made, str(folder))
torrent = made.generate()
torrent.pop(b"creation date", None)
torrent[b"signatures"] = {b"somebody": {b"signature": b"s" * 64}}
torrent[b"x-note"] = b"kept for people"
print("read: " + ", ".join(sorted(key.decode() for key in torrent)))
again = lt.write_torrent_file(lt.load_torrent_buffer(lt.bencode(torrent)))
print("written: " + ", ".join(sorted(key.decode() for key in again)))
PY
"$work/venv/bin/python" "$work/run.py" "$work/data" | tee "$work/seen"
diff "$work/seen" - <<'WANTED'
read: info, piece layers, signatures, x-note
written: info, piece layers
WANTED
