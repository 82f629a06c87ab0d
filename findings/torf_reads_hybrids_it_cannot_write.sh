#!/usr/bin/env bash
# torf==4.3.1: a v2 or hybrid torrent that `Torrent.read` takes, with its right v1 infohash, cannot be written again.
#
# The keys of "piece layers" (BEP 52) are pieces roots: 32 bytes of SHA-256, hardly ever UTF-8. torf reads them, and
# refuses them as dictionary keys when it encodes: `write`, `dump` and `convert` raise MetainfoError "Invalid key",
# though nothing was changed. So a tracker or web seed cannot be added to such a torrent with torf. With files of one
# piece each, "piece layers" is empty, and the torrent is written.
#
# Seen:
#   one piece per file: read, written again
#   several pieces: read, MetainfoError Invalid metainfo: Invalid key
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torf==4.3.1 libtorrent==2.1.1
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import pathlib

import libtorrent as lt
import torf


def tried(name: str, size: int) -> str:
    content = pathlib.Path(name)
    content.mkdir()
    (content / "a.bin").write_bytes(b"a" * size)
    files = lt.file_storage()
    lt.add_files(files, name)
    created = lt.create_torrent(files, 16_384)
    lt.set_piece_hashes(created, ".")
    data = lt.bencode(created.generate())
    pathlib.Path(f"{name}.torrent").write_bytes(data)
    torrent = torf.Torrent.read(f"{name}.torrent")
    assert torrent.infohash == str(lt.torrent_info(lt.bdecode(data)).info_hashes().v1)
    try:
        torrent.write(f"{name}-again.torrent")
    except torf.MetainfoError as error:
        return f"read, MetainfoError {str(error).split(': b')[0]}"
    return "read, written again"


one, several = tried("one", 10_000), tried("several", 50_000)
print("one piece per file:", one)
print("several pieces:", several)
assert one == "read, written again", one
assert several == "read, MetainfoError Invalid metainfo: Invalid key", several
PYTHON
