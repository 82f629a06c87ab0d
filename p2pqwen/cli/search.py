"""`p2pqwen search`: what trusted publishers list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.file_lines import FilesFlag, file_lines
from p2pqwen.cli.magnets import V1Magnet, link_of
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.operations.indexes.found import Found
    from p2pqwen.operations.verify.file_answer import FilesShown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(search)


def search(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORDS", help="All must occur in the name, license or hash.")
    ] = None,
    files: FilesFlag = False,
    magnet: Annotated[bool, typer.Option("--magnet", help="Show the magnet links.")] = False,
    v1_magnet: V1Magnet = False,
    json_output: JsonFlag = False,
) -> None:
    """Search the indexes of the trusted publishers; without words, list everything."""
    from p2pqwen.app import open_app
    from p2pqwen.index.upstream import Upstream
    from p2pqwen.operations.indexes.listed_standing import listed_standings
    from p2pqwen.operations.indexes.search import search as search_publishers
    from p2pqwen.operations.indexes.search_answer import SearchAnswer
    from p2pqwen.stewardship.upstream import gone_words
    from p2pqwen.values.byte_size import format_size

    with Output(as_json=json_output) as out:
        app = open_app()
        publishers = app.trust.publishers(now=datetime.now(UTC), report=out.report)
        found = search_publishers(publishers, words or (), out.report)
        here = app.upstream_records(out.report)
        rows = [(one.entry, one.publisher.name or str(one.publisher.publisher)) for one in found]
        known = listed_standings(rows, app.library, app.held_standings, app.vouchers.voices(), out.report)
        shown = _files(app, found, out) if files else [None] * len(found)
        width = max((len(one.entry.id.short) for one in found), default=0)
        lines = []
        for one, listed, said in zip(found, known, shown, strict=True):
            gone = gone_words(one.entry.id, here.get(one.entry.id))
            claimed = "upstream gone" if one.entry.upstream is Upstream.GONE else ""
            row = (
                f"{one.entry.id.short:<{width}}",
                f"{format_size(one.entry.size):>8}",
                one.entry.license or "license unknown",
                "; ".join(word for word in (listed.words, claimed, gone) if word),
            )
            lines.append("  ".join(row))
            lines += [f"  {link_of(one.entry.magnet, v1_alone=v1_magnet)}"] if magnet or v1_magnet else []
            lines += file_lines(said.file_list) if said else []
        if not lines:
            lines = ["nothing found" if publishers else "no publisher is trusted yet; see `p2pqwen trust add --help`"]
        out.result(
            SearchAnswer.of(found, known, here, shown),
            lines,
        )


def _files(app: App, found: Sequence[Found], out: Output) -> Sequence[FilesShown | None]:
    from p2pqwen.operations.indexes.listed_files import ListedFiles  # imports libtorrent
    from p2pqwen.operations.verify.file_answer import FilesShown

    look = ListedFiles(app.library, app.bundles, out.report)
    return [FilesShown(look.of(one.entry, one.publisher, one.torrent_locations)) for one in found]
