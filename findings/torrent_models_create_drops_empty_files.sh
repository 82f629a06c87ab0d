#!/usr/bin/env bash
# torrent-models==0.3.4: TorrentCreate silently leaves empty files out of a v2 file tree, so the infohash differs from
# the one that libtorrent 2.1.1 gives the same folder, and a download lacks the file. A hybrid of the folder is
# refused, since its v1 list does hold the file. Torrent.read takes what libtorrent made of the folder, empty file and
# all. Snapshots of models hold empty files: an __init__.py, a .gitkeep.
# Expected: an empty file is in the tree with length 0 and no pieces root, as BEP 52 requires.
# Seen:
#   without an empty file: v2 as libtorrent's, hybrid as libtorrent's
#   with one: v2 lists 1 of 2 files, hybrid ValidationError
#   libtorrent's v2 and hybrid of that folder: read, 2 files
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torrent-models==0.3.4 libtorrent==2.1.1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
from pathlib import Path

import libtorrent as lt
from torrent_models import Torrent, TorrentCreate

VERSIONS = {"v2": lt.create_torrent.v2_only, "hybrid": 0}


def folder(name, files):
    for path, content in files.items():
        Path(name, path).parent.mkdir(parents=True, exist_ok=True)
        Path(name, path).write_bytes(content)
    return Path(name)


def by_libtorrent(path, version):
    storage = lt.file_storage()
    lt.add_files(storage, str(path))
    made = lt.create_torrent(storage, 16384, flags=VERSIONS[version])
    lt.set_piece_hashes(made, ".")
    return lt.bencode(made.generate())


def by_torrent_models(path, version):
    """The v2 infohash and the paths of the file tree, or the name of the error."""
    try:
        torrent = TorrentCreate(path_root=path, piece_length=16384, info={"name": path.name}).generate(version)
    except ValueError as error:
        return type(error).__name__
    return torrent.v2_infohash, sorted(torrent.info.file_tree)


plain = folder("plain", {"config.json": b"{}", "weights.bin": b"1" * 20_000})
for version in VERSIONS:
    infohash, paths = by_torrent_models(plain, version)
    assert infohash == str(lt.torrent_info(by_libtorrent(plain, version)).info_hashes().v2), version
    assert paths == [b"config.json", b"weights.bin"], paths
print("without an empty file: v2 as libtorrent's, hybrid as libtorrent's")

empty = folder("empty", {"__init__.py": b"", "weights.bin": b"1" * 20_000})
infohash, paths = by_torrent_models(empty, "v2")
assert infohash != str(lt.torrent_info(by_libtorrent(empty, "v2")).info_hashes().v2)
assert paths == [b"weights.bin"], paths
assert by_torrent_models(empty, "hybrid") == "ValidationError"
print("with one: v2 lists 1 of 2 files, hybrid ValidationError")

for version in VERSIONS:
    Path("made.torrent").write_bytes(by_libtorrent(empty, version))
    read = Torrent.read("made.torrent")
    assert read.v2_infohash == str(lt.torrent_info("made.torrent").info_hashes().v2), version
    assert len(read.info.file_tree) == 2, read.info.file_tree
print("libtorrent's v2 and hybrid of that folder: read, 2 files")
PYTHON
