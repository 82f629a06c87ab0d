#!/usr/bin/env bash
# torrentool==1.2.0: for a hybrid torrent, `info_hash` and `magnet_link` are wrong, without an error.
#
# torrentool hashes an info dictionary that it has decoded and encoded again. In between, it turns byte strings into
# text if it takes them for text, and a "pieces root" (BEP 52: 32 bytes of SHA-256) does not survive that. No torrent
# has the resulting infohash, so the magnet link finds no peers. libtorrent refuses a torrent that torrentool has
# written again with only a web seed added. For a v1 torrent of the same files everything is right.
#
# Seen:
#   v1: info_hash right, magnet right, written again with a web seed: same infohash
#   hybrid: info_hash wrong, magnet wrong, written again with a web seed: refused, a v2 file entry has no root hash
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torrentool==1.2.0 libtorrent==2.1.1
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import pathlib

import libtorrent as lt
from torrentool.api import Torrent

content = pathlib.Path("m")
content.mkdir()
(content / "a.bin").write_bytes(b"a" * 50_000)
(content / "b.bin").write_bytes(b"b" * 10)


def infohash(data: bytes) -> str:
    return str(lt.torrent_info(lt.bdecode(data)).info_hashes().v1)


def tried(name: str, flags: int) -> str:
    files = lt.file_storage()
    lt.add_files(files, "m")
    created = lt.create_torrent(files, 16_384, flags)
    lt.set_piece_hashes(created, ".")
    data = lt.bencode(created.generate())
    pathlib.Path(f"{name}.torrent").write_bytes(data)
    right = infohash(data)
    torrent = Torrent.from_file(f"{name}.torrent")
    hashed = "right" if torrent.info_hash == right else "wrong"
    linked = "right" if right in torrent.magnet_link else "wrong"
    torrent.webseeds = ["http://127.0.0.1:9/"]
    torrent.to_file(f"{name}-again.torrent")
    try:
        again = infohash(pathlib.Path(f"{name}-again.torrent").read_bytes())
        written = "same infohash" if again == right else "another infohash"
    except RuntimeError as error:
        written = f"refused, {str(error).split(' [')[0]}"
    return f"info_hash {hashed}, magnet {linked}, written again with a web seed: {written}"


v1, hybrid = tried("v1", lt.create_torrent.v1_only), tried("hybrid", 0)
print("v1:", v1)
print("hybrid:", hybrid)
assert v1 == "info_hash right, magnet right, written again with a web seed: same infohash"
assert hybrid == (
    "info_hash wrong, magnet wrong, written again with a web seed: refused, a v2 file entry has no root hash"
)
PYTHON
