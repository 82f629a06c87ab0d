"""`p2pqwen torrent show`: what a .torrent file says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.file_lines import FilesFlag, file_lines
from p2pqwen.cli.magnets import V1Magnet, magnet_lines
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.manifest.manifest import Manifest
    from p2pqwen.values.snapshot_id import SnapshotId


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Inspect .torrent files.", no_args_is_help=True, rich_markup_mode=None)
    group.command("show", short_help="Show what a .torrent holds and who signed it.")(show)
    app.add_typer(group, name="torrent")


def _snapshot_words(manifest: Manifest | None, claimed: SnapshotId | None) -> str:
    if manifest is not None:
        return str(manifest.snapshot)
    return "unknown: no manifest inside" if claimed is None else f"{claimed}, says its comment: no manifest inside"


def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .torrent file.")],
    files: FilesFlag = False,
    v1_magnet: V1Magnet = False,
    json_output: JsonFlag = False,
) -> None:
    """Show names, hashes, seeds, signers and the manifest of a torrent; exit 3 if it contradicts itself."""
    from p2pqwen.app import open_app
    from p2pqwen.errors import about
    from p2pqwen.index.standing import Standing, judge_torrent, keys_of
    from p2pqwen.library import durable
    from p2pqwen.manifest.warnings import warnings_of
    from p2pqwen.operations.verify.file_answer import FileAnswer, FilesShown
    from p2pqwen.operations.verify.verify_answer import TorrentAnswer
    from p2pqwen.torrent.checked import CheckedTorrent
    from p2pqwen.torrent.comment import claimed_snapshot
    from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
    from p2pqwen.torrent.metainfo import read_metainfo
    from p2pqwen.torrent.snapshot_magnet import magnet_of
    from p2pqwen.values.byte_size import format_size

    with Output(as_json=json_output) as out:
        app = open_app()
        with about(file):
            metainfo = read_metainfo(durable.read(file, max_bytes=MAX_TORRENT_BYTES))
        torrent = CheckedTorrent.of(metainfo)
        voices = app.vouchers.voices(out.report)
        keys = keys_of(voices)
        torrent = torrent.tried_with(keys)
        manifest, provenance, signers = torrent.manifest, torrent.provenance, torrent.signers(keys)
        judgement = judge_torrent(torrent, voices, of_bytes=False)
        warnings = [] if manifest is None else warnings_of(manifest, provenance)
        claimed = claimed_snapshot(metainfo) if manifest is None else None
        if not metainfo.has_all_layers:
            warnings.append("piece layers: missing, as some clients save it; `p2pqwen fetch` of this file adds them")
        magnet = magnet_of(metainfo, claimed if manifest is None else manifest.snapshot)
        size = format_size(metainfo.layout.total_size)
        repo = manifest.snapshot.repo if manifest else None
        shown = FilesShown(FileAnswer.all(metainfo, repo)) if files else None
        out.result(
            TorrentAnswer.of(metainfo, manifest, provenance, signers, judgement, claimed, warnings, shown),
            [
                f"name         {metainfo.name}",
                f"snapshot     {_snapshot_words(manifest, claimed)}",
                f"infohash v1  {metainfo.infohash.v1}",
                f"infohash v2  {metainfo.infohash.v2}",
                f"content      {plural(len(metainfo.layout.files), 'file')}, {size}",
                f"pieces       of {metainfo.piece_length // 1024} KiB",
                f"provenance   {'none: no manifest inside' if manifest is None else provenance.words}",
                f"standing     {Standing.UNVOUCHED if judgement is None else judgement.words}",
                *magnet_lines(magnet, "magnet       ", v1_alone=v1_magnet),
                *(f"web seed     {url}" for url in metainfo.web_seeds),
                *(f"tracker      {url}" for tier in metainfo.trackers for url in tier),
                *(f"signed by    {one.label}: {one.state}, key {one.keyid}" for one in signers),
                *([] if signers else ["signed by    none"]),
                *(f"warning      {warning}" for warning in warnings),
                *(file_lines(shown.file_list) if shown else []),
            ],
        )
