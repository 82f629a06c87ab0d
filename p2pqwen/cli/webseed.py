"""`p2pqwen webseed check`: which web seeds of a torrent work."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, fail
from p2pqwen.errors import NetworkError, VerificationError

if TYPE_CHECKING:
    from p2pqwen.operations.fetch.webseed_check import WebSeedCheck


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Check web seeds.", no_args_is_help=True, rich_markup_mode=None)
    group.callback()(_group)
    group.command("check")(check)
    app.add_typer(group, name="webseed")


def _group() -> None:
    """Check web seeds."""


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="REPO[@COMMIT]|FILE.torrent",
            autocompletion=names.listed,
            help="A listed or held snapshot, or a torrent.",
        ),
    ],
    web_seed: Annotated[
        list[str] | None, typer.Option("--web-seed", metavar="URL…", help="Also check this base URL.")
    ] = None,
    pieces: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Random pieces to read between a file's first and last.")
    ] = 1,
    json_output: JsonFlag = False,
) -> None:
    """Compare what every web seed serves with the torrent's hashes.

    Exit 3 if one serves wrong bytes, else 5 if some file is right at no web seed.
    """
    from p2pqwen.app import open_app
    from p2pqwen.operations.fetch.plan import Sources
    from p2pqwen.operations.fetch.target import parse_target
    from p2pqwen.operations.fetch.webseed_answer import WebSeedAnswer
    from p2pqwen.operations.fetch.webseed_check import check_web_seeds

    with Output(as_json=json_output) as out:
        app = open_app()
        publishers = app.trust.publishers(now=datetime.now(UTC), report=out.report)
        found = check_web_seeds(
            parse_target(names.whole(app, target)),
            Sources(app.library, publishers, app.vouchers.voices(), named=app.named_hosts),
            site=app.access,
            extra=tuple(web_seed or ()),
            config=app.config.web_seed_bases,
            elsewhere=app.origins(out.report).elsewhere if app.config.origin == "auto" else lambda _: None,
            more_pieces=pieces,
            report=out.report,
        )
        out.result(WebSeedAnswer.of(found), _lines(found))
    if found.lies:
        liar = next(probe.base.url for probe in found.bases if probe.lies)
        fail(VerificationError(f"{liar} serves wrong bytes"))
    if not found.complete:
        fail(NetworkError("some files are not right at any web seed"))


def _lines(found: WebSeedCheck) -> list[str]:
    lines = []
    for probe in found.bases:
        state = "works" if probe.ok else "WRONG BYTES" if probe.lies else "partly" if probe.files_ok else "fails"
        redirected = sum(file.redirected for file in probe.files)
        lines.append(f"{state:<11}  {probe.base}")
        lines.append(f"             {probe.files_ok} of {len(probe.files)} files right, {redirected} redirected")
        if probe.reason:
            lines.append(f"             {probe.reason}")
        if not probe.is_listable:
            lines.append("             not fit for a torrent: other clients would get stuck on it")
    lines += [f"{'refused':<11}  {url}\n             {reason}" for url, reason in found.refused]
    lines.append("every file is available" if found.complete else "some files are not right at any web seed")
    return lines
