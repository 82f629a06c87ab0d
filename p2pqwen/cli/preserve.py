"""`p2pqwen preserve`: bring one or many snapshots into the library, whole and verified, each with its torrent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.magnets import V1Magnet, magnet_lines
from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output
from p2pqwen.errors import FormatError, UsageError
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.index.standing import Judgement
    from p2pqwen.library.snapshots import HeldSnapshot
    from p2pqwen.operations.preserve.build import Preserved
    from p2pqwen.operations.preserve.from_folder import GitSource
    from p2pqwen.operations.preserve.from_origin import PreserveOptions
    from p2pqwen.values.digest import CommitId
    from p2pqwen.values.snapshot_id import RepoId


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(preserve)


def preserve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="REPO[@REVISION]",
            autocompletion=names.listed,
            help="A model on the Hub, such as Qwen/Qwen3-0.6B; with modelscope: before it, on ModelScope.",
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Read the files from this folder instead of the Hub.")
    ] = None,
    repo: Annotated[str | None, typer.Option(metavar="ORG/MODEL", help="With --from: the repository.")] = None,
    commit: Annotated[str | None, typer.Option(metavar="HEX", help="With --from: the commit, 40 hex digits.")] = None,
    git: Annotated[
        str | None,
        typer.Option(metavar="DIR|URL", help="With --from: where to read the commit object (default: DIR/.git)."),
    ] = None,
    hard_links: Annotated[
        bool,
        typer.Option(
            "--hard-links",
            help="Share disk blocks with the folder, or the Hugging Face cache, by hard links if the disk has no "
            "reflinks: link counts rise, and nothing is written through them.",
        ),
    ] = False,
    allow_gated: Annotated[
        bool, typer.Option("--allow-gated", help="Preserve a gated or private repository too.")
    ] = False,
    org: Annotated[
        str | None,
        typer.Option(
            metavar="ORG",
            help="Every model of this organisation, datasets/ORG for every dataset, modelscope:ORG for ModelScope's.",
        ),
    ] = None,
    watchlist: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Every model of this list; `default`: the one that ships with p2pqwen."),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB…", help="With --org or --watchlist: only these, by ORG/MODEL, MODEL or group:NAME."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB…", help="With --org or --watchlist: not these.")
    ] = None,
    licenses: Annotated[
        list[str] | None, typer.Option("--license", metavar="GLOB…", help="Only under these licenses.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="With --org or --watchlist: none larger than this.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="SIZE", help="With --org or --watchlist: download at most SIZE.")
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --org or --watchlist: repositories processed in parallel (default: 2)."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --org or --watchlist: show the plan and do nothing.")
    ] = False,
    v1_magnet: V1Magnet = False,
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Turn a snapshot (a repository at one commit) into a verified copy and a torrent, or do so with many."""
    from p2pqwen.app import open_app
    from p2pqwen.cli.preserve_many import ManyOptions, preserve_many
    from p2pqwen.index.standing import judge_torrent, keys_of
    from p2pqwen.operations.preserve.from_origin import PreserveOptions
    from p2pqwen.operations.preserve.preserve_answer import PreserveAnswer
    from p2pqwen.operations.verify.made_of_bytes import is_made_of_held

    many = ManyOptions(
        org, watchlist, include or [], exclude or [], licenses or [], max_size, budget, parallel, dry_run, allow_gated
    )
    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        if many.asked:
            if hard_links or any(given is not None for given in (target, source, repo, commit, git)):
                raise UsageError("--org and --watchlist say what to preserve; name nothing else")
            preserve_many(app, out, many)
            return
        many.refuse_alone()
        options = PreserveOptions(allow_gated=allow_gated, hard_links=hard_links, licenses=tuple(licenses or ()))
        if source is None:
            done = _from_hub(app, out, target, (repo, commit, git), options=options)
        else:
            done = _from_folder(app, out, source, target, repo, commit, git, options=options)
        voices = app.vouchers.voices(out.report)
        of_bytes = is_made_of_held(done.torrent, done.held, app.library)
        judgement = judge_torrent(done.torrent.tried_with(keys_of(voices)), voices, of_bytes=of_bytes)
        out.result(PreserveAnswer.of(done, judgement), _lines(done, judgement, v1_magnet=v1_magnet))


def _from_hub(
    app: App,
    out: Output,
    target: str | None,
    folder_options: tuple[str | None, ...],
    *,
    options: PreserveOptions,
) -> Preserved:
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.operations.archive.upstream import note_upstream
    from p2pqwen.operations.preserve.from_origin import preserve
    from p2pqwen.operations.verify.scrub import damage_found

    if target is None:
        raise UsageError("no repository named", expected="REPO[@REVISION], or --from DIR with --repo and --commit")
    if any(option is not None for option in folder_options):
        raise UsageError("--repo, --commit and --git go with --from")
    name, at, revision = target.partition("@")
    if at and not revision:
        raise UsageError("no revision after @", got=target)

    def known_damage(held: HeldSnapshot) -> list[str]:
        with app.state_store(out.report) as store:
            return damage_found(store)(held)

    done = preserve(
        _repo_id(name),
        revision or None,
        origin=app.origins(out.report),
        cache=app.hub_cache,
        library=app.library,
        options=replace(options, known_damage=known_damage),
        report=out.report,
    )
    if done.shown is not None:  # the origin has just been asked
        with app.state_store(out.report) as store:
            now = datetime.now(UTC)
            note_upstream(UpstreamStore(store), done.held.id, shown=done.shown, now=now, report=out.report)
    return done


def _from_folder(
    app: App,
    out: Output,
    source: Path,
    target: str | None,
    repo: str | None,
    commit: str | None,
    git: str | None,
    *,
    options: PreserveOptions,
) -> Preserved:
    from p2pqwen.operations.preserve.from_folder import preserve_folder
    from p2pqwen.values.snapshot_id import SnapshotId

    if target is not None and repo is None and commit is None:
        repo, _, commit = target.partition("@")
    if not repo or not commit:
        raise UsageError(
            "a folder does not name its repository and commit", hint="name it with --repo ORG/MODEL --commit HEX"
        )
    return preserve_folder(
        source,
        SnapshotId(_repo_id(repo), _commit_id(commit)),
        git=_git_source(app, source, git),
        library=app.library,
        site=app.site,
        hard_links=options.hard_links,
        licenses=options.licenses,
        report=out.report,
    )


def _git_source(app: App, folder: Path, git: str | None) -> GitSource | None:
    chosen = git or (str(folder) if (folder / ".git").exists() else None)
    if chosen is None:
        return None
    from p2pqwen.hub.git_commit import commit_object, small_blobs, tree_rows
    from p2pqwen.operations.preserve.from_folder import GitSource
    from p2pqwen.values.named_hosts import NamedHosts

    token = app.config.hub.token if chosen.startswith(app.config.hub.endpoint + "/") else None
    named = app.named_hosts | NamedHosts.of([chosen])
    return GitSource(
        lambda commit: commit_object(chosen, commit, token=token, named=named),
        lambda commit: tree_rows(chosen, commit, token=token, named=named),
        lambda commit, oids: small_blobs(oids, chosen, commit, token=token, named=named),
        asked=git is not None,
    )


def _repo_id(text: str) -> RepoId:
    from p2pqwen.values.snapshot_id import RepoId, hint_at_owner

    try:
        return RepoId.parse(text)
    except FormatError as error:
        hint = error.hint or hint_at_owner(text)
        raise UsageError(error.what, expected=error.expected, got=error.got, hint=hint) from error


def _commit_id(text: str) -> CommitId:
    from p2pqwen.values.digest import CommitId

    try:
        return CommitId.parse(text)
    except FormatError as error:
        raise UsageError.of(error) from error


def _lines(done: Preserved, judgement: Judgement | None, *, v1_magnet: bool) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    metainfo = done.metainfo
    return [
        f"{'already preserved' if done.unchanged else 'preserved'} {done.held.id}",
        f"  content     {plural(len(metainfo.layout.files), 'file')}, {format_size(metainfo.layout.total_size)}",
        f"  provenance  {done.provenance}",
        *([] if judgement is None else [f"  standing    {judgement.words}"]),
        f"  license     {done.manifest.license or 'none named'} (redistribution: {done.redistribution})",
        f"  infohash    {metainfo.infohash.v1} (v1)",
        f"              {metainfo.infohash.v2} (v2)",
        f"  torrent     {done.held.torrent_path}",
        *magnet_lines(done.magnet, "  magnet      ", v1_alone=v1_magnet),
    ]
