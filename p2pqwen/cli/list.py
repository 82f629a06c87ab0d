"""`p2pqwen list`: the snapshots this library holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from p2pqwen.cli.file_lines import FilesFlag, file_lines
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from p2pqwen.app import App
    from p2pqwen.operations.control.inventory import InventoryRow
    from p2pqwen.operations.control.inventory_answer import InventoryAnswer
    from p2pqwen.operations.verify.file_answer import HeldFilesShown
    from p2pqwen.stewardship.upstream import UpstreamRecord
    from p2pqwen.values.snapshot_id import SnapshotId


_STATES = {"changed": "changed, to be verified again"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_snapshots)


def list_snapshots(files: FilesFlag = False, json_output: JsonFlag = False) -> None:
    """List the snapshots in the library."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.control.inventory import inventory

    with Output(as_json=json_output) as out:
        app = open_app()
        with app.held_standings(out.report) as standings:
            held = inventory(app.library, standings, out.report, riser=lambda: app.riser)
        known = app.upstream_records(out.report)
        shown = _files(app, held, out) if files else {}
        if json_output:
            out.result(_answer(held, known, shown), ())
        else:
            out.lines(_lines(held, known, shown))


def _files(app: App, held: Sequence[InventoryRow], out: Output) -> Mapping[SnapshotId, HeldFilesShown]:
    from p2pqwen.operations.control.held_files import held_files

    return held_files(app.library, held, out.report)


def _answer(
    held: Sequence[InventoryRow],
    known: Mapping[SnapshotId, UpstreamRecord],
    shown: Mapping[SnapshotId, HeldFilesShown],
) -> InventoryAnswer:
    from p2pqwen.operations.control.inventory_answer import InventoryAnswer

    return InventoryAnswer.of(held, known, shown)


def _lines(
    held: Sequence[InventoryRow],
    known: Mapping[SnapshotId, UpstreamRecord],
    shown: Mapping[SnapshotId, HeldFilesShown],
) -> list[str]:
    from p2pqwen.operations.verify.standings import standing_words

    width = max((len(one.id.short) for one in held), default=0)
    lines = []
    for one in held:
        lines.append(
            f"{one.id.short:<{width}}  {_size(one):>8}  {_STATES.get(one.state, one.state)}"
            f"  {standing_words(one.stood)}"
            f"{_hazard(one.hazards)}{_gone(one.id, known.get(one.id))}"
            f"{''.join(f'  {said}' for said in one.withdrawn)}"
        )
        lines += _file_lines(shown.get(one.id))
    return lines or ["the library is empty; `p2pqwen preserve REPO` or `p2pqwen fetch TARGET` fills it"]


def _file_lines(shown: HeldFilesShown | None) -> list[str]:
    if shown is None:
        return []
    if shown.file_list is None:
        return file_lines(None)
    away = {one.file.path for one in shown.file_list if not one.held}
    return file_lines([one.file for one in shown.file_list], away)


def _size(one: InventoryRow) -> str:
    from p2pqwen.values.byte_size import format_size

    whole = format_size(one.size)
    return whole if one.held_bytes == one.size else f"{format_size(one.held_bytes)} of {whole}"


def _hazard(count: int) -> str:
    from p2pqwen.values.plural import plural

    return f"  hazard: {plural(count, 'pickle-format file')}" if count else ""


def _gone(snapshot: SnapshotId, record: UpstreamRecord | None) -> str:
    from p2pqwen.stewardship.upstream import gone_words

    words = gone_words(snapshot, record)
    return f"  {words}" if words else ""
