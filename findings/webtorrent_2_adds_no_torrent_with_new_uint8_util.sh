#!/usr/bin/env bash
# webtorrent@2.8.5 (npm, the last of version 2) as it is installed today: client.add of a .torrent file ends the
# program with a TypeError before it contacts a peer.
#
# Its torrent.js calls arr2hex of uint8-util on the infohash, which is a string of hex digits already. Up to 2.2.6
# uint8-util looked the digits up one by one and gave something back, which was used only for log lines; 2.3 hands its
# argument's `buffer` to Node's Buffer, and a string has none. webtorrent asks for ^2.2.5, so a fresh install takes
# 2.3.2. Version 3 works with it.
# Expected: the torrent is added, as with the uint8-util current at the time of the release.
# Seen, for a v1 torrent of libtorrent 2.1.1 with one file of 50,000 bytes:
#   uint8-util 2.2.6: added, 1 file
#   uint8-util 2.3.2: TypeError ERR_INVALID_ARG_TYPE
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'libtorrent==2.1.1'
cd "$work"
venv/bin/python - <<'PY'
from pathlib import Path

import libtorrent as lt

Path("m").mkdir()
Path("m/a").write_bytes(b"x" * 50_000)
made = lt.create_torrent([lt.create_file_entry("m/a", 50_000)], 16_384, lt.create_torrent.v1_only)
lt.set_piece_hashes(made, ".")
Path("a.torrent").write_bytes(lt.bencode(made.generate()))
PY
cat >add.mjs <<'JS'
import WebTorrent from "webtorrent";
process.on("uncaughtException", (error) => { console.log(error.name, error.code ?? error.message); process.exit(); });
const client = new WebTorrent({ dht: false, lsd: false, natUpnp: false, natPmp: false, utp: false, tracker: false });
client.on("error", (error) => { throw error; });
client.add("../a.torrent", { path: "out" }, (torrent) => { console.log(`added, ${torrent.files.length} file`); process.exit(); });
JS
for version in 2.2.6 2.3.2; do
    mkdir -p "$version/no-webrtc" && cp add.mjs "$version" && cd "$version"
    # WebRTC takes a binary that is no part of this, and that npm does not have.
    echo '{"name": "webrtc-polyfill", "version": "1.1.10", "main": "index.js"}' >no-webrtc/package.json
    echo 'exports.RTCPeerConnection = exports.RTCSessionDescription = exports.RTCIceCandidate = undefined;' >no-webrtc/index.js
    echo '{"overrides": {"uint8-util": "'"$version"'", "webrtc-polyfill": "file:./no-webrtc"}}' >package.json
    npm install --silent --no-audit --no-fund --ignore-scripts webtorrent@2.8.5
    seen=$(node add.mjs)
    cd ..
    echo "uint8-util $version: $seen"
    case $version in
        2.2.6) test "$seen" = "added, 1 file" ;;
        2.3.2) test "$seen" = "TypeError ERR_INVALID_ARG_TYPE" ;;
    esac
done
