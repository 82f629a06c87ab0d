"""`p2pqwen publish`: a signed index and signed torrents as a folder of static files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.passphrase import KnownPassphrases
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.operations.publish.announce import Announced
    from p2pqwen.operations.publish.keys import Passphrase
    from p2pqwen.operations.publish.mirror_tree import MirrorTreeAnswer
    from p2pqwen.operations.publish.publish import Proposal, Published, Signing
    from p2pqwen.values.snapshot_name import SnapshotName

_NOTHING_DONE = "nothing was signed or written (--dry-run)"
YesFlag = Annotated[bool, typer.Option("--yes", help="Do not ask before signing.")]
DetailsFlag = Annotated[
    bool, typer.Option("--details", "-v", help="Show every change, not only a summary, before signing.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(publish)


def publish(
    out_folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the published site.")],
    mirror: Annotated[
        list[str] | None, typer.Option(metavar="URL…", help="Add a mirror: a URL where this folder is served.")
    ] = None,
    remove_mirror: Annotated[
        list[str] | None, typer.Option(metavar="URL…", help="Remove a mirror from the index.")
    ] = None,
    web_seed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL…",
            help="Add a BEP 19 base beside the Hub's, to which <commit>/<path> is added; may hold {repo}.",
        ),
    ] = None,
    remove_web_seed: Annotated[
        list[str] | None, typer.Option(metavar="URL…", help="Remove this base from the index; may hold {repo}.")
    ] = None,
    tracker: Annotated[list[str] | None, typer.Option(metavar="URL…", help="Add a tracker.")] = None,
    remove_tracker: Annotated[list[str] | None, typer.Option(metavar="URL…", help="Remove a tracker.")] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB…", help="List only these: ORG/MODEL or a model's name.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB…", help="Do not list these.")] = None,
    licenses: Annotated[
        list[str] | None,
        typer.Option("--license", metavar="GLOB…", help="List only snapshots under these licenses."),
    ] = None,
    withdraw: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REPO[@COMMIT]…", help="Withdraw a snapshot from the index; it stays withdrawn until --reinstate."
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why it is withdrawn.")] = None,
    reinstate: Annotated[
        list[str] | None, typer.Option(metavar="REPO[@COMMIT]…", help="List a withdrawn snapshot again.")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Continue from this index of the publisher, which this home did not publish."
        ),
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the index to FILE for others to sign, and not yet to the site."),
    ] = None,
    signed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Publish this draft, which enough signers have signed.")
    ] = None,
    no_dht: Annotated[
        bool, typer.Option("--no-dht", help="Do not put a pointer to the index into the DHT now.")
    ] = False,
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check",
            help="Skip the checks of web seeds and mirrors.",
        ),
    ] = False,
    no_site_pages: Annotated[
        bool, typer.Option("--no-site-pages", help="Write index.json and torrents alone, and no pages for browsers.")
    ] = False,
    mirror_tree: Annotated[
        bool | None,
        typer.Option(
            "--mirror-tree/--no-mirror-tree",
            help="Put the files themselves into the site, as clones or symlinks, for rsync and plain mirrors.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be signed; open no key and write nothing.")
    ] = False,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Sign nothing if nothing changed, for up to 30 days.")
    ] = False,
    details: DetailsFlag = False,
    yes: YesFlag = False,
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Sign every complete snapshot of the library and write the site: index.json, torrents and pages for browsers.

    Web seeds are checked first, and one that fails is not listed. The site is also made into a torrent, which
    `p2pqwen seed` serves, and a signed pointer to it is put into the DHT. Mirrors, trackers, web seeds, snapshots
    that are listed and a mirror tree stay until they are taken out. On a terminal it asks before
    it signs an index in which nothing changed.
    """
    from p2pqwen.app import open_app
    from p2pqwen.errors import UsageError
    from p2pqwen.operations.publish.elsewhere import accepted_here, look_elsewhere
    from p2pqwen.operations.publish.plan import Plan
    from p2pqwen.operations.publish.publish import propose, publish_signed
    from p2pqwen.operations.publish.publish import publish as publish_library
    from p2pqwen.operations.publish.publish_answer import ProposalAnswer
    from p2pqwen.operations.publish.selection import Selection
    from p2pqwen.operations.publish.web_seed_check import choose_web_seeds

    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        now = datetime.now(UTC)
        passphrase = KnownPassphrases(out)
        if no_site_pages and mirror_tree:
            raise UsageError("--no-site-pages and --mirror-tree contradict each other")
        pages = None if no_site_pages else app.site_pages(now, out.report, mirror_tree=mirror_tree)
        if signed is not None:
            if dry_run:
                hint = f"`p2pqwen index diff` shows what {signed} changes"
                raise UsageError("--signed and --dry-run contradict each other", hint=hint)
            here = accepted_here(app.keys, app.trust, now)
            known = None if here is None else here.accepted
            done = publish_signed(
                app.keys, signed, out_folder.absolute(), now=now, known=known, pages=pages, report=out.report
            )
            _show(out, done, _announce(app, out, done, passphrase, dht=not no_dht))
            return
        plan = Plan(
            out=out_folder.absolute(),
            site=app.site,
            mirrors=tuple(mirror or ()),
            web_seeds=tuple(web_seed or ()),
            trackers=tuple(tracker or ()),
            remove_mirrors=tuple(remove_mirror or ()),
            remove_web_seeds=tuple(remove_web_seed or ()),
            remove_trackers=tuple(remove_tracker or ()),
            selection=Selection(tuple(include or ()), tuple(exclude or ()), tuple(licenses or ())),
            withdraw=_withdrawals(withdraw or [], reason),
            reinstate=tuple(_snapshot_name(text, "--reinstate") for text in reinstate or ()),
            if_changed=if_changed,
            base=base,
            draft=draft,
            details=details,
            dht=app.config.network.choices.dht and not no_dht,
            elsewhere=look_elsewhere(
                app.keys, app.trust, None if no_check else mirror or (), now=now, report=out.report
            ),
            upstream={one: record.state for one, record in app.upstream_records(out.report).items()},
        )
        check = None if no_check else choose_web_seeds
        if dry_run:
            proposal = propose(app.library, app.keys, plan, now=now, check=check, report=out.report)
            out.result(ProposalAnswer.of(proposal), proposal_lines(proposal))
            return
        done = publish_library(
            app.library,
            app.keys,
            plan,
            passphrase=passphrase,
            now=now,
            approve=approval(
                out, yes=yes, question="Sign {} and publish it?" if draft is None else "Sign a draft of {}?"
            ),
            check=check,
            pages=pages,
            report=out.report,
        )
        _show(out, done, None if draft is not None else _announce(app, out, done, passphrase, dht=not no_dht))


def _announce(app: App, out: Output, done: Published, passphrase: Passphrase, *, dht: bool) -> Announced:
    from p2pqwen.operations.publish.announce import announce

    return announce(
        app.keys,
        done.accepted,
        done.index.parent,
        bundles=app.bundles,
        pointers=app.pointers,
        passphrase=passphrase,
        dht=app.dht(enabled=dht),
        report=out.report,
    )


def _show(out: Output, done: Published, announced: Announced | None) -> None:
    from p2pqwen.operations.publish.publish_answer import PublishAnswer
    from p2pqwen.values.plural import plural

    lines = published_lines(done)
    if (tree := done.mirror_tree) is not None:
        lines.append(f"files      {_tree_words(tree)}")
    if announced is not None:
        lines.append(f"bundle     {announced.bundle.v1}")
        if announced.nodes is not None:
            lines.append(f"pointer    held by {plural(announced.nodes, 'DHT node')}")
        if announced.link is not None:
            lines.append(f"link       {announced.link}")
    out.result(PublishAnswer.of(done, announced), lines)


def _tree_words(tree: MirrorTreeAnswer) -> str:
    from p2pqwen.values.byte_size import format_size

    kinds = [plural(count, word) for count, word in ((tree.clones, "clone"), (tree.links, "symlink")) if count]
    missing = f"; {plural(len(tree.missing), 'snapshot')} not held" if tree.missing else ""
    return f"{tree.folder}: {format_size(tree.bytes)} as {' and '.join(kinds) or 'no file'}{missing}"


def proposal_lines(proposal: Proposal) -> list[str]:
    """Return the lines for what `publish --dry-run` would sign."""
    from p2pqwen.index.diff_summary import headline

    document = proposal.document
    count = plural(len(document.entries), "snapshot")
    if (last := proposal.still_says_it) is not None:
        position = f"{document.epoch}.{document.version}"
        return [
            f"index      {position} would say the same as {last.position} ({count}): nothing changed",
            f"publisher  {document.publisher}",
            _NOTHING_DONE,
        ]
    return [
        f"index      {document.epoch}.{document.version} would list {count}: {headline(proposal.difference)}",
        f"publisher  {document.publisher}",
        _NOTHING_DONE,
    ]


def published_lines(done: Published) -> list[str]:
    """Return the lines for a published or drafted index."""
    accepted = done.accepted
    count = len(accepted.document.entries)
    said = "nothing changed, so none was signed; " if done.unchanged else ""
    lines = [
        f"index      {said}{accepted.position} with {plural(count, 'snapshot')}: {done.index}",
        f"publisher  {accepted.publisher}",
        f"signed by  {', '.join(accepted.signer_labels)} ({accepted.signers.threshold} needed)",
    ]
    if not accepted.signers.met:
        labels = [accepted.root.keys[keyid].label for keyid in accepted.signers.missing]
        lines.append(f"not yet    {', '.join(labels)}; next: `p2pqwen index sign {done.index}`")
    return lines


def approval(out: Output, *, yes: bool, question: str) -> Callable[[Signing], bool]:
    """Return the function that approves a change: on a terminal it asks; `{}` in the question is what is signed.

    Without a terminal, the command itself is the approval, except for an alarming change, which needs `--yes`.
    """
    import sys

    from p2pqwen.errors import UsageError
    from p2pqwen.index.diff_summary import headline

    def ask(signing: Signing) -> bool:
        if signing.unchanged is not None:
            words = f"Nothing changed since index {signing.unchanged.position}. Sign {signing} all the same?"
            return out.confirm(words)
        words = f"{headline(signing.difference)}. {question.format(signing)}"
        return out.confirm(words, default=not signing.difference.alarms)

    def unless_alarming(signing: Signing) -> bool:
        if signing.difference.alarms:
            raise UsageError(
                "not signed: an alarming change needs confirmation, and there is no terminal",
                got="; ".join(signing.difference.alarms),
                hint="check it; if it is intended, use --yes",
            )
        return True

    if yes:
        return lambda _: True
    return ask if sys.stdin.isatty() else unless_alarming


def _withdrawals(named: list[str], reason: str | None) -> dict[SnapshotName, str]:
    from p2pqwen.errors import UsageError
    from p2pqwen.index.document import MAX_REASON

    if bool(named) != bool(reason):
        raise UsageError("--withdraw and --reason go together", hint="a withdrawal says why")
    if reason is not None and (len(reason) > MAX_REASON or not reason.strip()):
        raise UsageError("--reason", expected=f"text of at most {MAX_REASON} characters", got=f"{len(reason)}")
    return {_snapshot_name(text, "--withdraw"): reason or "" for text in named}


def _snapshot_name(text: str, option: str) -> SnapshotName:
    from p2pqwen.errors import FormatError, UsageError
    from p2pqwen.values.snapshot_name import SnapshotName

    try:
        return SnapshotName.parse(text)
    except FormatError as error:
        raise UsageError(f"{option}: {error.what}", expected="REPO[@COMMIT]", got=error.got) from error
