#!/usr/bin/env bash
# parse-torrent@11.0.24 (npm): reading a BEP 52 hybrid and writing it with its own toTorrentFile keeps the info
# dictionary and loses `piece layers`, and it gives no v2 infohash at all. What is left cannot be verified by a v2 client
# without asking peers for the layers.
# Expected: `piece layers` kept (it was in the file that was read), or an error that says that v2 is not supported.
# Seen:
#   read: created by, info, piece layers
#   infoHash 40 digits, infoHashV2 undefined
#   written: announce-list, created by, info, url-list
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'libtorrent==2.1.1'
mkdir -p "$work/npm" && cd "$work/npm"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund parse-torrent@11.0.24
cat >make.py <<'PY'
import sys
from pathlib import Path

import libtorrent as lt

folder = Path(sys.argv[1])
(folder / "m").mkdir(parents=True)
(folder / "m" / "a").write_bytes(b"x" * 50_000)
made = lt.create_torrent([lt.create_file_entry("m/a", 50_000)], 16_384)
lt.set_piece_hashes(made, str(folder))
torrent = made.generate()
torrent.pop(b"creation date", None)
torrent[b"created by"] = b"somebody"
(folder / "a.torrent").write_bytes(lt.bencode(torrent))
PY
cat >keys.py <<'PY'
import sys
from pathlib import Path

import libtorrent as lt

torrent = lt.bdecode(Path(sys.argv[2]).read_bytes())
print(f"{sys.argv[1]}: " + ", ".join(sorted(key.decode() for key in torrent)))
PY
cat >again.mjs <<'JS'
import fs from 'node:fs'
import parseTorrent, { toTorrentFile } from 'parse-torrent'
const torrent = await parseTorrent(fs.readFileSync('data/a.torrent'))
console.log(`infoHash ${torrent.infoHash.length} digits, infoHashV2 ${torrent.infoHashV2}`)
fs.writeFileSync('data/again.torrent', toTorrentFile(torrent))
JS
python="$work/venv/bin/python"
"$python" make.py data
{
    "$python" keys.py read data/a.torrent
    node again.mjs
    "$python" keys.py written data/again.torrent
} | tee seen
diff seen - <<'WANTED'
read: created by, info, piece layers
infoHash 40 digits, infoHashV2 undefined
written: announce-list, created by, info, url-list
WANTED
