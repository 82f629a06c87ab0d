"""`p2pqwen library …`: import what is already on this disk, move snapshots to another disk, scrub them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output, fail, fail_for
from p2pqwen.containment import each
from p2pqwen.errors import FormatError, P2pqwenError, UsageError, VerificationError
from p2pqwen.events import Happened, Notice, Progress
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.events import Report
    from p2pqwen.library.snapshots import HeldSnapshot
    from p2pqwen.operations.fetch.import_folder import Import
    from p2pqwen.operations.verify.scrub import Scrubbed
    from p2pqwen.values.snapshot_id import RepoId

_SHOWN = 5

app = typer.Typer(no_args_is_help=True, help="The snapshots on this disk: import, move, scrub.")


def register(parent: typer.Typer) -> None:
    """Add the group."""
    parent.add_typer(app, name="library")


@app.command("import", short_help="Import models that are already on this machine.")
def import_models(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER", help="Also look for models below these folders.")
    ] = None,
    torrent: Annotated[
        list[Path] | None,
        typer.Option(
            "--torrent", metavar="FILE…", help="Also recognise this snapshot, besides those in trusted indexes."
        ),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option(metavar="ORG/MODEL", help="The repository of a named torrent without a manifest."),
    ] = None,
    hf_cache: Annotated[bool, typer.Option("--hf-cache/--no-hf-cache", help="Search the Hugging Face cache.")] = True,
    hard_links: Annotated[
        bool,
        typer.Option(
            "--hard-links",
            help="Share disk blocks by hard links if the disk has no reflinks: link counts rise, and nothing is "
            "written through them.",
        ),
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Import models from this machine into the library, verified and ready to seed.

    A partial snapshot is imported as incomplete; `p2pqwen fetch` completes it. The source is never modified.
    """
    from p2pqwen.app import open_app
    from p2pqwen.operations.fetch.import_answer import ImportAnswer
    from p2pqwen.operations.fetch.import_folder import ImportContext
    from p2pqwen.operations.fetch.import_folder import import_models as run

    with Output(as_json=json_output) as out:
        app = open_app()
        publishers = app.trust.publishers(now=datetime.now(UTC), report=out.report)
        named, voices = tuple(torrent or ()), app.vouchers.voices(out.report)
        context = ImportContext(
            app.library, app.hub_cache, publishers, named, hard_links=hard_links, voices=voices, repo=_repo(repo)
        )
        done = run(tuple(folders or ()), hub_cache=hf_cache, context=context, report=out.report)
        with app.state_store(out.report) as store:
            stood = app.standings(store).of((one.held for one in done.imported), out.report)
        out.result(
            ImportAnswer.of(done, stood),
            _lines(done),
        )
    if done.lacking:
        fail_for(list(done.lacking), len(done.imported) + len(done.lacking))
    if bad := [one for one in done.imported if one.bad]:
        fail(VerificationError(f"{len(bad)} damaged, {bad[0].held.id} first", hint="`p2pqwen fetch` fetches the rest"))


@app.command(short_help="Move snapshots to another folder of the library.")
def move(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="REPO[@COMMIT]…", autocompletion=names.held, help="The snapshots to move, also by globs."
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="A folder of [library] in config.toml, or the home's own.")
    ],
    json_output: JsonFlag = False,
) -> None:
    """Move snapshots to another folder of the library, such as one on another disk; a running node keeps serving them.

    A copy is read back and compared before the original is deleted. Verified files stay verified.
    """
    from p2pqwen.app import open_app
    from p2pqwen.library.moving import bytes_to_copy
    from p2pqwen.library.moving import move as move_one
    from p2pqwen.operations.control.moved_answer import MoveAnswer, folder_named
    from p2pqwen.operations.verify.target import held_snapshot
    from p2pqwen.values.byte_size import format_size

    failed: list[tuple[str, P2pqwenError]] = []
    with Output(as_json=json_output) as out:
        app = open_app()
        place = folder_named(app.library, to)
        wanted = [held_snapshot(name, app.library) for name in names.meant(app, targets)]
        total, copied = sum(each(wanted, lambda one: bytes_to_copy(one, place), failed=lambda *_: None)), 0
        if total:
            out.note(f"{format_size(total)} are copied to {place.root}, compared, and then deleted where they are")

        def on_bytes(count: int) -> None:
            nonlocal copied
            copied += count
            out.report(Progress("move", copied, total))

        def note(held: HeldSnapshot, error: P2pqwenError) -> None:
            failed.append((str(held.id), error))
            out.report(Notice("warning", f"{held.id}: {error.message}"))

        done = each(wanted, lambda one: move_one(app.library, one, place, on_bytes=on_bytes), failed=note)
        lines = [
            f"moved {one.held.id}  {format_size(one.size)}  {one.came_from} → {place.root}"
            if one.came_from != place.root
            else f"in {place.root} already: {one.held.id}"
            for one in done
        ]
        for left in (left for one in done for left in one.left):
            out.report(Notice("warning", f"left {left.path}: {left.reason}"))
        out.result(MoveAnswer.of(done, place.root, failed), lines)
    fail_for([error for _, error in failed], len(wanted))


@app.command(short_help="Check for bit rot in what was not read recently.")
def scrub(
    target: Annotated[
        str | None,
        typer.Argument(metavar="REPO[@COMMIT]", autocompletion=names.held, help="Read only this snapshot, due or not."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Read every snapshot, due or not.")] = False,
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Check for bit rot: read the snapshots that are due (`scrub_every`, default 30 days); exit 3 if any is damaged.

    An interrupted scrub resumes where it stopped. A running node scrubs by itself, at idle priority, and repairs.
    """
    from p2pqwen.app import open_app
    from p2pqwen.operations.verify.scrub import ScrubAnswer, ScrubFailed
    from p2pqwen.operations.verify.target import held_snapshot

    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        with app.state_store(out.report) as store:
            scrubber = app.scrubber(store, _notices_of(out))
            due = [held_snapshot(target, app.library)] if target else scrubber.due(everything=everything)
            failed: list[tuple[HeldSnapshot, P2pqwenError]] = []

            def note(held: HeldSnapshot, error: P2pqwenError) -> None:
                failed.append((held, error))
                out.report(Notice("warning", f"{held.id}: {error.message}"))

            total = sum(each(due, lambda one: one.metainfo().layout.total_size, failed=lambda *_: None))
            read = 0

            def on_bytes(count: int) -> None:
                nonlocal read
                read += count
                out.report(Progress("scrub", read, total))

            done = each(due, lambda held: scrubber.scrub(held, on_bytes=on_bytes), failed=note)
            away = len(app.library.away()) if everything else 0
        unread = tuple(ScrubFailed(held.id, error.message) for held, error in failed)
        out.result(ScrubAnswer(tuple(done), unread), _scrub_lines(done, away) if done or not failed else ())
    if bad := [one for one in done if one.damage]:
        fail(VerificationError(f"{len(bad)} damaged, {bad[0].id} first", hint=f"`p2pqwen verify {bad[0].id} --repair`"))
    fail_for([error for _, error in failed], len(due))


def _repo(text: str | None) -> RepoId | None:
    from p2pqwen.values.snapshot_id import RepoId

    try:
        return None if text is None else RepoId.parse(text)
    except FormatError as error:
        raise UsageError.of(error) from error


def _notices_of(out: Output) -> Report:
    """Return a report without events: stdout is for the result."""
    return lambda event: None if isinstance(event, Happened) else out.report(event)


def _scrub_lines(done: list[Scrubbed], away: int) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    lines = []
    for one in done:
        verdict = f"{len(one.damage)} bad" if one.damage else "every file is right"
        lines.append(f"{one.id}: {verdict}; {plural(one.files, 'file')}, {format_size(one.bytes)} read")
        lines += [
            f"  bad  {bad.path}: {plural(len(bad.pieces), 'piece')}; {bad.expected}, got {bad.got}"
            for bad in one.damage
        ]
        if one.damage:
            lines.append(f"  `p2pqwen verify {one.id} --repair` fetches the bad pieces")
    if away:
        return [*lines, f"{plural(away, 'snapshot')} could not be read: the disk is not connected"]
    return lines or ["nothing is due; --all reads everything now"]


def _lines(done: Import) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    lines = []
    for one in done.imported:
        if one.unchanged:
            lines.append(f"already in the library: {one.held.id}")
            continue
        lines.append(f"imported {one.held.id} from {one.source}")
        lines.append(f"  linked {format_size(one.linked)}, copied {format_size(one.copied)}")
        if one.missing:
            lines.append(f"  {format_size(one.missing)} missing: `p2pqwen fetch {one.held.id}` completes it")
        if one.ignored:
            shown = ", ".join(one.ignored[:_SHOWN]) + (", …" if len(one.ignored) > _SHOWN else "")
            lines.append(f"  not part of the model, left in place: {shown}")
        lines += [f"  bad  {bad.path}: expected {bad.expected}, got {bad.got}" for bad in one.bad]
        lines += [f"  warning: {warning}" for warning in one.warnings]
    lines += [f"skipped: {source}: {reason}" for source, reason in done.unmatched]
    return lines or ["found nothing to import"]
