"""`p2pqwen library import`: seed what is on this disk already."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pqwen.cli import exit_codes
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.operations.library_import import Import, Imported

app = typer.Typer(no_args_is_help=True, help="The snapshots on this disk: import.")


def register(parent: typer.Typer) -> None:
    """Add the group."""
    parent.add_typer(app, name="library")


@app.command("import")
def import_models(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Look for models below these folders too.")
    ] = None,
    torrent: Annotated[
        list[Path] | None,
        typer.Option("--torrent", metavar="FILE", help="Recognise this snapshot, beside those of trusted indexes."),
    ] = None,
    hf_cache: Annotated[
        bool, typer.Option("--hf-cache/--no-hf-cache", help="Look into the Hugging Face cache.")
    ] = True,
    json_output: JsonFlag = False,
) -> None:
    """Take models that are on this disk into the library: verified, linked instead of copied, ready to seed.

    A snapshot only partly there is begun; `p2pqwen fetch` brings the rest and leaves the place it came from alone.
    """
    from p2pqwen.library.verified import VerifiedFiles
    from p2pqwen.node import open_node
    from p2pqwen.operations.library_import import ImportPlaces
    from p2pqwen.operations.library_import import import_models as run

    with Output(as_json=json_output) as out:
        node = open_node()
        publishers = node.trust.publishers(now=datetime.now(UTC), report=out.report)
        places = ImportPlaces(node.library, VerifiedFiles(node.home), node.hub_cache, publishers, tuple(torrent or ()))
        done = run(tuple(folders or ()), hub_cache=hf_cache, places=places, report=out.report)
        out.result(
            {
                "imported": [_fields(one) for one in done.imported],
                "unmatched": [{"source": source, "reason": reason} for source, reason in done.unmatched],
            },
            _lines(done),
        )
    if any(one.bad for one in done.imported):
        raise typer.Exit(exit_codes.VERIFICATION)


def _fields(one: Imported) -> dict[str, Any]:
    return {
        "repo": str(one.held.id.repo),
        "commit": str(one.held.id.commit),
        "path": str(one.held.folder),
        "source": one.source,
        "state": str(one.held.state),
        "size": one.size,
        "bytes_linked": one.linked,
        "bytes_copied": one.copied,
        "bytes_missing": one.missing,
        "bad": [{"path": bad.path, "expected": bad.expected, "got": bad.got} for bad in one.bad],
        "unchanged": one.unchanged,
        "warnings": list(one.warnings),
    }


def _lines(done: Import) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    lines = []
    for one in done.imported:
        if one.unchanged:
            lines.append(f"already here: {one.held.id}")
            continue
        lines.append(f"imported {one.held.id} from {one.source}")
        lines.append(f"  linked {format_size(one.linked)}, copied {format_size(one.copied)}")
        if one.missing:
            lines.append(f"  {format_size(one.missing)} missing: `p2pqwen fetch {one.held.id}` brings them")
        lines += [f"  bad  {bad.path}: expected {bad.expected}, got {bad.got}" for bad in one.bad]
        lines += [f"  warning: {warning}" for warning in one.warnings]
    lines += [f"left alone: {source}: {reason}" for source, reason in done.unmatched]
    return lines or ["found nothing to import"]
