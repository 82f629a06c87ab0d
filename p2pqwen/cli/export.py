"""`p2pqwen export`: a held snapshot as plain files, for other programs and other BitTorrent clients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.operations.verify.export import Exported


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    target: Annotated[str, typer.Argument(metavar="REPO[@COMMIT]", autocompletion=names.held, help="A held snapshot.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where its folder and its .torrent are put.")],
    with_pads: Annotated[
        bool,
        typer.Option(
            "--with-pads", help="Write pad files too (sparse, below .pad/), as Transmission and webtorrent need them."
        ),
    ] = False,
    hard_links: Annotated[
        bool,
        typer.Option(
            "--hard-links",
            help="Hard links instead of copies if the disk has no reflinks: what another program writes to such a "
            "file, it writes to the library.",
        ),
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Write a held snapshot as plain files below DIR, with its .torrent beside them, outside the library.

    Another client seeds it with DIR as its download folder. Correct files there are kept; nothing is overwritten.
    """
    from p2pqwen.app import open_app
    from p2pqwen.operations.verify.export import export as run
    from p2pqwen.operations.verify.export_answer import ExportAnswer
    from p2pqwen.operations.verify.target import held_snapshot

    with Output(as_json=json_output) as out:
        app = open_app()
        done = run(
            held_snapshot(target, app.library),
            folder,
            app.library,
            app.vouchers.voices(out.report),
            apart=(app.home.root, app.hub_cache.root),
            pads=with_pads,
            hard_links=hard_links,
            report=out.report,
        )
        out.result(ExportAnswer.of(done), _lines(done))


def _lines(done: Exported) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    ways = [(done.linked, "linked"), (done.copied, "copied"), (done.kept, "there already")]
    shown = ", ".join(f"{format_size(size)} {how}" for size, how in ways if size)
    lines = [
        f"exported {done.held.id}",
        f"  content  {plural(done.files, 'file')}, {shown or format_size(0)}",
        f"  path     {done.folder}",
        f"  torrent  {done.torrent}",
        f"  seed it  add that .torrent to your client with the download folder {done.folder.parent}",
    ]
    if done.pads:
        lines.append(f"  pads     {plural(done.pads, 'pad file')} in {done.folder / '.pad'}, which take no room")
    else:
        lines.append("  pads     none: Transmission and webtorrent need --with-pads to find it complete")
    if not done.whole:
        lines.append("  partial  only the files that were chosen are here: another client will fetch the rest")
    return lines
