#!/usr/bin/env bash
# torf==4.3.1: `Torrent.verify` takes the BEP 47 pad files of a hybrid torrent for files that must be on the disk.
#
# Pad files (`attr` "p") align the v1 pieces of a hybrid; clients make no such files, and BEP 47 says that they need not
# be stored. A folder that is complete, byte for byte, and that libtorrent seeds from, is still refused: torf lists pads
# among `files`, counts them in `size`, and verification raises ReadError for the first one. With the pads written
# out as files of zeros the same folder passes.
#
# Seen, for a.bin of 20,000 bytes and b.bin of 30,000 bytes in pieces of 16 KiB:
#   files m/a.bin m/.pad/12768 m/b.bin m/.pad/2768, size 65536
#   complete folder: ReadError m/.pad/12768: No such file or directory
#   the same with pads as files: True
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

content = pathlib.Path("m")
content.mkdir()
(content / "a.bin").write_bytes(b"a" * 20_000)
(content / "b.bin").write_bytes(b"b" * 30_000)
files = lt.file_storage()
lt.add_files(files, "m")
created = lt.create_torrent(files, 16_384)
lt.set_piece_hashes(created, ".")
pathlib.Path("t.torrent").write_bytes(lt.bencode(created.generate()))

torrent = torf.Torrent.read("t.torrent")
names = [str(file) for file in torrent.files]
print("files", *names, "size", torrent.size)
try:
    bare = str(torrent.verify("m"))
except torf.ReadError as error:
    bare = f"ReadError {error}"
print("complete folder:", bare)
(content / ".pad").mkdir()
for size in (12_768, 2_768):
    (content / ".pad" / str(size)).write_bytes(bytes(size))
padded = torrent.verify("m")
print("the same with pads as files:", padded)
assert names == ["m/a.bin", "m/.pad/12768", "m/b.bin", "m/.pad/2768"], names
assert torrent.size == 65_536, torrent.size
assert bare == "ReadError m/.pad/12768: No such file or directory", bare
assert padded is True
PYTHON
