"""`p2pqwen index …`: verify, show, compare and update indexes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from p2pqwen.cli.file_lines import FilesFlag, file_lines
from p2pqwen.cli.magnets import V1Magnet, link_of
from p2pqwen.cli.network_options import NoDht, PeerOption, bundle_route
from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output, fail
from p2pqwen.cli.passphrase import KnownPassphrases
from p2pqwen.cli.publish import DetailsFlag, YesFlag
from p2pqwen.cli.skipped import NAMED_SKIPPED, skipped_lines
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.events import Report
    from p2pqwen.index.acceptance import Accepted, RefusedError
    from p2pqwen.index.entry import Entry
    from p2pqwen.index.standing import Standing
    from p2pqwen.operations.indexes.index_check import Checked
    from p2pqwen.operations.indexes.listed_standing import ListedStanding
    from p2pqwen.operations.indexes.updated import Updated
    from p2pqwen.operations.verify.file_answer import FilesShown

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="An index.json, or the folder it is in.")]
PublisherOption = Annotated[
    str | None, typer.Option("--publisher", metavar="ID", help="The publisher id the file must belong to.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Verify, show, compare and update indexes.", no_args_is_help=True, rich_markup_mode=None)
    group.command("verify", short_help="Verify an index file, offline.")(verify)
    group.command("show")(show)
    group.command("diff", short_help="Show what changed between two indexes.")(diff)
    group.command("sign", short_help="Sign a draft of an index.")(sign)
    group.command("update", short_help="Get newer indexes from mirrors, the DHT and peers.")(update)
    app.add_typer(group, name="index")


def verify(file: FileArgument, publisher: PublisherOption = None, json_output: JsonFlag = False) -> None:
    """Verify an index file, offline: root chain, signatures, every entry; exit 3 if any of it is wrong."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.indexes.index_answer import IndexAnswer, StandingCounts

    with Output(as_json=json_output) as out:
        app = open_app()
        checked = _check(file, publisher, out.report)
        counts = None
        lines = _checked_lines(checked, file, app.home.root)
        if checked.accepted is not None:
            counts = StandingCounts.of(_counted(app, checked.accepted, out))
            words = ", ".join(f"{count} {word}" for word, count in counts.standings.items() if count)
            lines += [f"standing   locally: {words}"] if words else []
        out.result(IndexAnswer.of(checked, counts), lines)
    if checked.refusal is not None:
        _refuse(file, checked.refusal)


def show(
    file: FileArgument,
    publisher: PublisherOption = None,
    files: FilesFlag = False,
    v1_magnet: V1Magnet = False,
    json_output: JsonFlag = False,
) -> None:
    """Show what an index lists, if it is valid."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.indexes.index_answer import IndexAnswer, IndexContent

    with Output(as_json=json_output) as out:
        app = open_app()
        checked = _check(file, publisher, out.report)
        content = None
        lines = _checked_lines(checked, file, app.home.root, most=None)
        if checked.accepted is not None:
            document = checked.accepted.document
            listed = _standings(app, checked.accepted, out)
            shown = _files(app, file, checked.accepted, out) if files else [None] * len(listed)
            content = IndexContent.of(checked.accepted, listed, shown)
            for entry, one, said in zip(document.entries, listed, shown, strict=True):
                lines += entry_lines(entry, one, said, v1_magnet=v1_magnet)
            lines += [f"withdrawn  {gone.id}: {gone.reason}" for gone in document.withdrawn]
        out.result(IndexAnswer.of(checked, content), lines)
    if checked.refusal is not None:
        _refuse(file, checked.refusal)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The index before, or its folder.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The index after, or a draft of it.")],
    json_output: JsonFlag = False,
) -> None:
    """Show what NEW adds, removes, changes and withdraws; exit 3 if either is not a valid index.

    NEW may be a draft that is not fully signed yet.
    """
    from p2pqwen.index.diff import describe
    from p2pqwen.operations.indexes.index_answer import DiffAnswer
    from p2pqwen.operations.indexes.index_check import compare

    with Output(as_json=json_output) as out:
        compared = compare(old, new, now=datetime.now(UTC))
        found, signers = compared.difference, compared.newer.signers
        lines = describe(found)
        if not signers.met:
            lines.append(f"draft      signed by {len(signers.signed_by)} of the {signers.threshold} needed")
        out.result(
            DiffAnswer.of(compared),
            lines,
        )


def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A draft that `publish --draft` wrote.")],
    details: DetailsFlag = False,
    yes: YesFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Add the signatures of the index keys in this home to a draft, after showing what it changes."""
    from p2pqwen.app import open_app
    from p2pqwen.cli.publish import approval, published_lines
    from p2pqwen.operations.publish.elsewhere import accepted_here
    from p2pqwen.operations.publish.publish import sign_draft
    from p2pqwen.operations.publish.publish_answer import PublishAnswer

    with Output(as_json=json_output) as out:
        app, now = open_app(), datetime.now(UTC)
        here = accepted_here(app.keys, app.trust, now)
        done = sign_draft(
            app.keys,
            file,
            passphrase=KnownPassphrases(out),
            now=now,
            known=None if here is None else here.accepted,
            approve=approval(out, yes=yes, question="Sign the draft of {}?"),
            details=details,
            report=out.report,
        )
        lines = published_lines(done)
        if done.accepted.signers.met:
            lines.append(f"complete; next: `p2pqwen publish --signed {file} --out DIR`")
        out.result(PublishAnswer.of(done, None), lines)


def update(
    publisher: Annotated[
        str | None, typer.Option(metavar="ID", help="Update this publisher alone, named by its id.")
    ] = None,
    peer: PeerOption = None,
    no_dht: NoDht = False,
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Ask every mirror of every trusted publisher for a newer index, and the DHT and peers, all at once.

    Exit 3 if all were refused, 5 if none answered.
    """
    from p2pqwen.app import open_app
    from p2pqwen.errors import NetworkError, NotFoundError, VerificationError
    from p2pqwen.operations.indexes.index_answer import UpdateAnswer
    from p2pqwen.operations.indexes.publisher_id import find_publisher
    from p2pqwen.operations.indexes.update import Asked, update_all

    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        store = app.trust
        now = datetime.now(UTC)
        if publisher is None:
            wanted = store.publishers(now=now, report=out.report)
        else:
            wanted = [store.get(find_publisher(store, publisher), now=now, report=out.report)]
        if not wanted:
            raise NotFoundError("no publisher is trusted yet", hint="`p2pqwen trust add PUBLISHER_ID --index FILE|URL`")
        asked = [Asked(one, bundle_route(app, out, dht=not no_dht, peers=peer)) for one in wanted]
        updates = update_all(store, asked, now=now, report=out.report)
        answer = UpdateAnswer.of(updates)
        out.result(answer, [line for one in updates for line in _updated_lines(one)])
    if not answer.ok:
        stays = "the trusted copy stays in use" if any(one.publisher.accepted for one in updates) else None
        if any(one.reached for one in updates):
            fail(VerificationError("every index that was found was refused", hint=stays))
        known = any(one.sources for one in updates)
        hint = stays if known else "name a place with `p2pqwen trust add … --index FILE|URL`"
        fail(NetworkError("no index could be reached" if known else "no place to ask for an index is known", hint=hint))


def entry_lines(entry: Entry, listed: ListedStanding, shown: FilesShown | None, *, v1_magnet: bool) -> list[str]:
    """Return the lines for one entry and for what this home knows of it; `shown` None: without its files."""
    from p2pqwen.values.byte_size import format_size

    content = f"{plural(entry.files, 'file')}, {format_size(entry.size)}, license {entry.license or 'unknown'}"
    return [
        str(entry.id),
        f"  {content}, upstream {entry.upstream}",
        f"  {listed.words}",
        f"  {link_of(entry.magnet, v1_alone=v1_magnet)}",
        *(file_lines(shown.file_list) if shown else []),
    ]


def _files(app: App, file: Path, accepted: Accepted, out: Output) -> list[FilesShown | None]:
    """Return the files of every entry; the torrents may be beside the index, where a publisher writes them."""
    from p2pqwen.mirrors.location import Location
    from p2pqwen.operations.indexes.listed_files import ListedFiles
    from p2pqwen.operations.verify.file_answer import FilesShown

    trusted = {one.publisher: one for one in app.trust.publishers(now=datetime.now(UTC))}
    publisher = trusted.get(accepted.publisher)
    look = ListedFiles(app.library, app.bundles, out.report)
    beside = Location(str(file.absolute()))
    places = [(entry, [beside.beside(entry.torrent)]) for entry in accepted.document.entries]
    return [FilesShown(look.of(entry, publisher, place)) for entry, place in places]


def _counted(app: App, accepted: Accepted, out: Output) -> Mapping[Standing, int]:
    from p2pqwen.operations.indexes.listed_standing import count_standings

    listing, voices = accepted.document.listing, app.vouchers.voices()
    return count_standings(listing, accepted.root.name, app.library, app.held_standings, voices, out.report)


def _standings(app: App, accepted: Accepted, out: Output) -> list[ListedStanding]:
    from p2pqwen.operations.indexes.listed_standing import listed_standings

    rows = [(entry, accepted.root.name) for entry in accepted.document.entries]
    return listed_standings(rows, app.library, app.held_standings, app.vouchers.voices(), out.report)


def _check(file: Path, publisher: str | None, report: Report) -> Checked:
    from p2pqwen.app import open_app
    from p2pqwen.operations.indexes.index_check import check_index
    from p2pqwen.operations.indexes.index_files import index_file
    from p2pqwen.operations.indexes.publisher_id import parse_publisher

    pinned = None if publisher is None else parse_publisher(publisher)
    return check_index(index_file(file), pinned, open_app().trust, now=datetime.now(UTC), report=report)


def _refuse(file: Path, refusal: RefusedError) -> NoReturn:
    """Exit with the refusal, naming file and step."""
    from p2pqwen.errors import VerificationError

    what = f"{file}: refused at step {refusal.step}: {refusal.what}"
    fail(VerificationError(what, expected=refusal.expected, got=refusal.got, hint=refusal.hint))


def _checked_lines(checked: Checked, file: Path, home: Path, *, most: int | None = NAMED_SKIPPED) -> list[str]:
    """Return the lines for a checked index; `most`: how many skipped entries to name, None for all."""
    from p2pqwen.cli.trust import age

    accepted = checked.accepted
    if accepted is None:
        return []  # `_refuse` prints the reason
    count = len(accepted.document.entries)
    signers = f"{', '.join(accepted.signer_labels)} ({accepted.signers.threshold} needed)"
    lines = [
        f"{file}: valid",
        f"publisher  {accepted.publisher}",
        f"name       {accepted.root.name}",
        f"index      {accepted.position} under root {accepted.root.version}, {plural(count, 'snapshot')}",
        f"signed by  {signers} {age(accepted.age_days)}",
    ]
    lines += [f"ignored    {problem}" for problem in accepted.signers.ignored]
    lines += skipped_lines(accepted.document, most)
    if not checked.pinned:
        known = f"it is trusted in {home}" if checked.trusted else "anyone could have made it"
        lines.append(f"no publisher was pinned: the file only agrees with itself; {known}")
    return lines + ([f"note       {checked.relation}"] if checked.relation else [])


def _updated_lines(one: Updated) -> list[str]:
    accepted = one.publisher.accepted
    held = "no index" if accepted is None else f"index {accepted.position}"
    name = one.publisher.name or str(one.publisher.publisher)
    if not one.sources:
        return [f"{name}: {held}; no place to ask is known: `p2pqwen trust add … --index FILE|URL`"]
    if not one.ok:
        return [f"{name}: no source returned a valid index; the trusted {held} stays in use"]
    return [f"{name}: {'now at' if one.changed else 'still at'} {held}"]
