#!/usr/bin/env bash
# libtorrent==2.1.1 (Python wheel): one file of priority 0 takes `seed_mode` away, and the files are not checked either.
#
# A seed never downloads, so it looks harmless to add it with `file_priorities` of a former partial download: with
# `seed_mode`, every piece is there. libtorrent silently drops `seed_mode` as soon as one file has priority 0. It does
# not check the files on disk instead: it has no pieces, serves no one, and would download what is there already. Only
# `force_recheck` finds the pieces.
#
# Seen, for two files of 1 MiB that are complete on the disk (128 pieces of 16 KiB):
#   priorities of the seed  state of the seed  pieces it has  bytes a leech got  pieces after force_recheck
#   none given              seeding            128            2097152            128
#   [0, 0]                  finished           0              0                  128
#   [0, 4]                  downloading        0              0                  128
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check libtorrent==2.1.1
"$folder/venv/bin/python" -W ignore - "$folder" <<'PYTHON'
import pathlib
import sys
import time

import libtorrent as lt

ROOT = pathlib.Path(sys.argv[1])
SIZE = 1 << 20
SOURCE = ROOT / "seed" / "model"
SOURCE.mkdir(parents=True)
for number in (1, 2):
    (SOURCE / f"part-{number}.bin").write_bytes(bytes([number]) * SIZE)
files = lt.file_storage()
lt.add_files(files, str(SOURCE))
created = lt.create_torrent(files, 16 << 10)
lt.set_piece_hashes(created, str(SOURCE.parent))
INFO = lt.torrent_info(lt.bdecode(lt.bencode(created.generate())))


def session():
    nothing = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False}
    return lt.session({"listen_interfaces": "127.0.0.1:0", **nothing})


def added(where, folder, flags, priorities=None):
    wanted = lt.add_torrent_params()
    wanted.ti, wanted.save_path, wanted.flags = INFO, str(folder), flags
    if priorities is not None:
        wanted.file_priorities = priorities
    return where.add_torrent(wanted)


def until(met, seconds):
    ends = time.monotonic() + seconds
    while not met() and time.monotonic() < ends:
        time.sleep(0.1)
    return met()


def tried(name, priorities):
    seeding, leeching = session(), session()
    seed = added(seeding, SOURCE.parent, lt.torrent_flags.seed_mode, priorities)
    folder = ROOT / name
    folder.mkdir()
    leech = added(leeching, folder, lt.torrent_flags.update_subscribe)
    assert until(lambda: leech.status().state == lt.torrent_status.downloading, 30)
    assert until(lambda: seeding.listen_port() > 0, 30)
    leech.connect_peer(("127.0.0.1", seeding.listen_port()))
    until(lambda: leech.status().is_seeding, 10)
    got, state, before = leech.status().total_wanted_done, str(seed.status().state), seed.status().num_pieces
    seed.force_recheck()
    until(lambda: seed.status().num_pieces == INFO.num_pieces(), 30)
    return state, before, got, seed.status().num_pieces


seen = {
    "none given": tried("all", None),
    "[0, 0]": tried("none", [0, 0]),
    "[0, 4]": tried("half", [0, 4]),
}
for priorities, row in seen.items():
    print(f"{priorities:12}", *row)
assert lt.__version__.startswith("2.1.1"), lt.__version__
assert seen == {
    "none given": ("seeding", 128, 2 * SIZE, 128),
    "[0, 0]": ("finished", 0, 0, 128),
    "[0, 4]": ("downloading", 0, 0, 128),
}, "the behaviour changed"
PYTHON
