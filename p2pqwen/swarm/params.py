"""How a torrent is handed to libtorrent: only what we chose, and only the files that our own parser saw."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import libtorrent as lt

from p2pqwen.errors import VerificationError
from p2pqwen.swarm.resume_data import Resume
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.repo_path import RepoPath

_WANTED, _UNWANTED = 4, 0
# The binding reads these 4 of libtorrent's 6 limits (security.md, section 2); our parser has applied stricter ones.
_LIMITS = {
    "max_pieces": 0x200000,
    "max_decode_depth": 100,
    "max_decode_tokens": 10_000_000,
    "max_buffer_size": 1 << 28,
}


def of_metainfo(metainfo: Metainfo, save_path: Path) -> lt.add_torrent_params:
    """Return the parameters of a torrent without its own trackers and web seeds.

    Raises `VerificationError` if libtorrent's file list is not exactly ours: it sanitises paths silently.
    """
    try:
        given = lt.load_torrent_buffer(_bare(metainfo), cast("lt.AddTorrentParamsdict", _LIMITS))  # the stub errs
    except RuntimeError as error:
        raise VerificationError("libtorrent does not read the torrent", got=str(error)) from error
    hashes = given.info_hashes
    got = (hashes.v1.to_bytes(), hashes.v2.to_bytes())
    expected = (metainfo.infohash.v1.raw, metainfo.infohash.v2.raw)
    if got != expected:
        raise VerificationError("libtorrent reads another infohash", expected=metainfo.infohash.v2, got=got[1].hex())
    if given.ti is None or list(_their_files(given.ti)) != list(_our_files(metainfo)):
        raise VerificationError(f"libtorrent would write other files than torrent {metainfo.name} names")
    given.save_path = str(save_path)
    given.trackers = []
    given.url_seeds = []
    given.flags &= ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
    given.flags |= lt.torrent_flags.duplicate_is_error
    return given


def of_infohash(v1: Sha1 | None, v2: Sha256 | None, folder: Path) -> lt.add_torrent_params:
    """Return the parameters of a torrent known only by infohash; none of its files is wanted."""
    topics = [f"xt=urn:btih:{v1}"] if v1 is not None else []
    topics += [f"xt=urn:btmh:1220{v2}"] if v2 is not None else []
    given: lt.add_torrent_params = lt.parse_magnet_uri("magnet:?" + "&".join(topics))
    given.save_path = str(folder)
    given.flags &= ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
    given.flags |= lt.torrent_flags.default_dont_download | lt.torrent_flags.duplicate_is_error
    return given


def hide_others(given: lt.add_torrent_params, metainfo: Metainfo, files: Collection[RepoPath]) -> None:
    """Want only these files, and hide the paths of the others from libtorrent, so that it can open none of them.

    No piece contains bytes of 2 files (`Layout`), so no piece of a hidden file is fetched for a wanted one. Pieces of
    hidden files that the parameters list as present are removed from them.
    """
    if all(file.path in files for file in metainfo.files):
        return
    select(given, metainfo, files)
    names: dict[int, str] = {}
    pieces: set[int] = set()
    number = 0
    for index, file in enumerate(metainfo.layout.files):
        if file.path not in files:
            names[number] = f"{metainfo.name}/.hidden\\{index}"  # never a real path: `RepoPath` has no backslash
            pieces.update(metainfo.layout.pieces(index))
        number += 1 + bool(metainfo.layout.pad_after(index))
    given.renamed_files = names
    given.have_pieces = [have and piece not in pieces for piece, have in enumerate(given.have_pieces)]
    unfinished = given.unfinished_pieces
    given.unfinished_pieces = {piece: unfinished[piece] for piece in unfinished if piece not in pieces}


def pieces_of(metainfo: Metainfo, files: Collection[RepoPath] | None) -> bytes:
    """Return a byte for each piece of a torrent: 1 if it belongs to these files (None: all)."""
    layout, found = metainfo.layout, bytearray(metainfo.layout.piece_count)
    for index, file in enumerate(layout.files):
        if files is None or file.path in files:
            pieces = layout.pieces(index)
            found[pieces.start : pieces.stop] = b"\1" * len(pieces)
    return bytes(found)


def select(given: lt.add_torrent_params, metainfo: Metainfo, files: Collection[RepoPath] | None) -> None:
    """Want only these files; None for all."""
    if files is None:
        return
    priorities: list[int] = []
    for index, file in enumerate(metainfo.layout.files):
        priorities.append(_WANTED if file.path in files else _UNWANTED)
        if metainfo.layout.pad_after(index):
            priorities.append(_UNWANTED)
    given.file_priorities = priorities


def set_trackers(given: lt.add_torrent_params, tiers: Sequence[Sequence[str]]) -> None:
    """Announce to exactly these trackers."""
    given.trackers = [url for tier in tiers for url in tier]
    given.tracker_tiers = [number for number, tier in enumerate(tiers) for _ in tier]
    given.flags |= lt.torrent_flags.override_trackers


def apply_resume(given: lt.add_torrent_params, resume: Resume) -> None:
    """Take from resume data the pieces that are there, and nothing else: it could rename files."""
    try:
        resumed = lt.read_resume_data(resume.data)
    except RuntimeError:
        return  # from another version: the files are read again
    if resumed.info_hashes != given.info_hashes or not any(resumed.have_pieces):
        return  # without any piece, the files are read again as well
    have = bytearray(resumed.have_pieces)
    for piece in resume.unknown(bytes(have)):
        have[piece] = 1
    given.have_pieces = [bool(one) for one in have]
    if resume.with_blocks:
        blocks = resumed.unfinished_pieces
        given.unfinished_pieces = {piece: blocks[piece] for piece in blocks if not have[piece]}


def _bare(metainfo: Metainfo) -> bytes:
    if metainfo.has_all_layers:
        return replace(
            metainfo, web_seeds=(), trackers=(), comment=None, created_by=None, manifest=None, signatures={}, extra={}
        ).encode()
    # The metadata came from peers: libtorrent asks them for the layers when it needs them.
    return b"d4:info" + metainfo.info + b"e"


def _our_files(metainfo: Metainfo) -> Iterator[tuple[str, int, bool]]:
    for index, file in enumerate(metainfo.layout.files):
        yield f"{metainfo.name}/{file.path}", file.size, False
        if pad := metainfo.layout.pad_after(index):
            yield f"{metainfo.name}/.pad/{pad}", pad, True


def _their_files(info: lt.torrent_info) -> Iterator[tuple[str, int, bool]]:
    files = info.layout()
    for index in range(files.num_files()):
        is_pad = bool(files.file_flags(index) & lt.file_storage.flag_pad_file)
        yield files.file_path(index), files.file_size(index), is_pad
