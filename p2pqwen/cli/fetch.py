"""`p2pqwen fetch`: a model from peers and web seeds, verified, where other programs find it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import fetch_targets, names
from p2pqwen.cli.network_options import DownloadLimit, SwitchedOff, UploadLimit, network_choices, network_switches
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, fail_for
from p2pqwen.containment import each
from p2pqwen.errors import NotFoundError, P2pqwenError, UsageError
from p2pqwen.events import about
from p2pqwen.webseed.policy import WebSeedUse

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.events import Report
    from p2pqwen.operations.fetch.fetch_answer import FetchAnswer, FetchShown
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.server.control_client import ControlClient


# transformers asks for listings at every load, and no file in the cache prevents that; see the manual.
_OFFLINE = "  offline     set HF_HUB_OFFLINE=1 to load it without asking the Hub for listings"
_OFFLINE_BY_COMMIT = "  offline     set HF_HUB_OFFLINE=1 and load revision {}; `fetch --set-main` makes it the default"
_OFFLINE_DATASET = "  offline     set HF_HUB_OFFLINE=1 and give load_dataset the path of the hf cache, not the name"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(fetch)


@network_switches()
def fetch(
    typed: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET… [FILE…]",
            autocompletion=names.listed,
            help="ORG/MODEL[@COMMIT][:QUANTISATION] from a trusted index, also by globs, a magnet link, a .torrent or "
            "an infohash; after one model, paths of its files to fetch alone.",
        ),
    ],
    peer: Annotated[
        list[str] | None, typer.Option("--peer", metavar="HOST:PORT…", help="Connect to this peer directly.")
    ] = None,
    web_seed: Annotated[
        list[str] | None, typer.Option("--web-seed", metavar="URL…", help="Also fetch from this web seed.")
    ] = None,
    web_seeds: Annotated[
        WebSeedUse | None,
        typer.Option(
            metavar="auto|always|never",
            help="When to use web seeds; auto: if peers are missing, slow, or lack a piece.",
        ),
    ] = None,
    no_web_seeds: Annotated[bool, typer.Option("--no-web-seeds", help="Fetch from peers only.")] = False,
    only_web_seeds: Annotated[bool, typer.Option("--only-web-seeds", help="Fetch from web seeds only.")] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include", metavar="NAME…", help="Fetch only these: a path, quantisation, part of a name, or glob."
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Abort after SECONDS without progress (default: 180)."),
    ] = None,
    hf_cache: Annotated[
        bool | None,
        typer.Option(
            "--hf-cache/--no-hf-cache",
            help="Put the model into the Hugging Face cache, or fail; by default, if it is proven or signed.",
        ),
    ] = None,
    set_main: Annotated[
        bool, typer.Option("--set-main", help="Point refs/main of that cache at this commit, even if it is set.")
    ] = False,
    trust_unverified: Annotated[
        bool,
        typer.Option(
            "--trust-unverified",
            help="Put it there even if no publisher you trust lists it and no git commit proves it.",
        ),
    ] = False,
    local_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Lay plain files into DIR too; the Hugging Face cache then only with --hf-cache."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: fetch every quantisation.")] = False,
    repo: Annotated[
        str | None, typer.Option(metavar="ORG/MODEL", help="The repository, if the magnet link does not name it.")
    ] = None,
    off: SwitchedOff = (),
    upload_limit: UploadLimit = None,
    download_limit: DownloadLimit = None,
    json_output: JsonFlag = False,
) -> None:
    """Fetch a model from peers and web seeds, verify it, and put it where other programs find it.

    A target that fails does not stop the others. The exit code is then that of all failures, or 1 if they differ.
    """
    from p2pqwen.app import open_app
    from p2pqwen.assembly import fetching
    from p2pqwen.operations.fetch.context import DEFAULT_TIMEOUT
    from p2pqwen.operations.fetch.request import FetchRequest, absolute
    from p2pqwen.torrent.chosen_files import exactly

    with Output(as_json=json_output) as out:
        app = open_app()
        use = _web_seed_use(web_seeds, never=no_web_seeds, only=only_web_seeds)
        if use is WebSeedUse.NEVER and web_seed:
            raise UsageError("--web-seed and --no-web-seeds contradict each other")
        if hf_cache is False and (trust_unverified or set_main):
            option = "--trust-unverified" if trust_unverified else "--set-main"
            raise UsageError(f"--no-hf-cache and {option} contradict each other")
        meant = fetch_targets.wanted(app, typed)
        if meant.listed and (local_dir is not None or repo is not None):
            raise UsageError(f"{'--repo' if repo else '--local-dir'} is for one model", got=" ".join(typed))
        folder = None if local_dir is None else fetching.users_folder(app, local_dir, "--local-dir")
        into_cache = hf_cache if hf_cache is not None else folder is None or trust_unverified or set_main
        request = FetchRequest(
            meant.targets[0],
            peers=tuple(peer or ()),
            web_seeds=tuple(web_seed or ()),
            use_web_seeds=(use or WebSeedUse(app.config.network.web_seeds)).value,
            use_peers=not only_web_seeds,
            include=(*(include or ()), *map(exactly, meant.files)) or None,
            timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
            repo=repo,
            hub_cache=str(app.hub_cache.root) if into_cache else None,
            insist_on_cache=hf_cache is True,
            move_ref=set_main,
            trust_unverified=trust_unverified,
            choices=network_choices(app, off, upload_limit=upload_limit, download_limit=download_limit),
        )
        if not meant.listed:
            try:
                request = replace(request, target=absolute(names.whole(app, meant.targets[0])))
                shown = _fetched(app, request if yes else _chosen(app, request, out), folder, out)
            except NotFoundError as error:
                raise meant.explained(error) from error
            out.result(shown, _lines(shown, paths=folder is not None or request.include is not None))
            return
        failed = _fetch_all(app, request, meant.targets, out, yes=yes)
    fail_for(failed, len(meant.targets))


def _fetch_all(
    app: App, request: FetchRequest, targets: Sequence[str], out: Output, *, yes: bool
) -> list[P2pqwenError]:
    """Fetch one target after another, and return the failures; all questions are asked before the first."""
    from p2pqwen.operations.fetch.fetch_answer import FetchedAnswer, FetchFailed
    from p2pqwen.operations.fetch.request import absolute

    failed: dict[str, P2pqwenError] = {}
    requests: dict[str, FetchRequest] = {}

    def note(target: str, error: P2pqwenError) -> None:
        failed[target] = error
        out.note(f"{target}: {error.message}")

    def understand(target: str) -> None:
        requests[target] = replace(request, target=absolute(names.whole(app, target)))

    def fetch_one(target: str) -> FetchShown:
        asked = requests[target]
        number = targets.index(target) + 1
        shown = _fetched(app, asked, None, out, about(target, number, len(targets), out.report))
        if not out.as_json:  # each when it is done: the next may take days
            out.lines(_lines(shown, paths=asked.include is not None))
        return shown

    each(targets, understand, failed=note)
    if not yes:
        requests = {target: _chosen(app, one, out) for target, one in requests.items()}
    done = each(requests, fetch_one, failed=note)
    reasons = tuple(FetchFailed(one, failed[one].message) for one in targets if one in failed)
    out.result(FetchedAnswer(tuple(done), reasons), [f"{len(done)} of {len(targets)} fetched and verified"])
    return list(failed.values())


def _fetched(
    app: App, request: FetchRequest, folder: Path | None, out: Output, report: Report | None = None
) -> FetchShown:
    """Fetch one target, through the running node if there is one, and lay it into the user's `folder`, if given.

    Prints its warnings. `report` None: that of `out`.
    """
    from p2pqwen.assembly import fetching

    running = app.running()
    reported = out.report if report is None else report
    done = _here(app, request, out, reported) if running is None else _through(running, request, out, reported)
    for warning in done.warnings:
        out.note(f"warning: {warning}")
    return fetching.where_it_is(app, request, done, folder)


def _chosen(app: App, request: FetchRequest, out: Output) -> FetchRequest:
    """Ask which quantisation to fetch, if there are several and a terminal to ask on."""
    if out.as_json or not sys.stdin.isatty():
        return request
    from p2pqwen.assembly import fetching
    from p2pqwen.values.model_file import quantisation_named, quantisation_words

    found = fetching.quantisations_to_choose_from(app, request)
    if not found:
        return request
    out.note(f"{request.target} holds {len(found)} quantisations: {quantisation_words(found)}")
    while True:
        said = out.ask("Which one, or all?")
        if said.lower() == "all":
            return request
        if (name := quantisation_named(said)) in found:
            return replace(request, include=(said,))
        out.note(f"{name or said} is none of them")


def _here(app: App, request: FetchRequest, out: Output, report: Report) -> FetchAnswer:
    from p2pqwen.assembly import fetching

    try:
        return fetching.fetch_here(app, request, report)
    except KeyboardInterrupt:
        out.note("partial data is kept: run the same command again to resume")
        raise


def _through(running: ControlClient, request: FetchRequest, out: Output, report: Report) -> FetchAnswer:
    """Have the running node fetch it, and show its events; the node continues if we are interrupted."""
    from p2pqwen.assembly import fetching

    try:
        return fetching.fetch_by_node(running, request, report)
    except KeyboardInterrupt:
        target = request.target
        out.note(f"the node continues: `p2pqwen status` shows its progress, `p2pqwen pause {target}` pauses it")
        raise


def _web_seed_use(choice: WebSeedUse | None, *, never: bool, only: bool) -> WebSeedUse | None:
    """Join the three switches; None when none was given."""
    given = {choice} if choice is not None else set()
    given |= {WebSeedUse.NEVER} if never else set()
    given |= {WebSeedUse.ALWAYS} if only else set()
    if len(given) > 1:
        raise UsageError("--web-seeds, --no-web-seeds and --only-web-seeds contradict each other")
    return next(iter(given), None)


def _lines(shown: FetchShown, *, paths: bool) -> list[str]:
    """Return the result in words; `paths`: with the path of every file on its own line."""
    from p2pqwen.values.byte_size import format_rate, format_size

    done = shown.fetched
    snapshot = done.snapshot
    if done.unchanged:
        lines = [f"already fetched and verified: {snapshot}"]
    else:
        rate = format_rate(done.size / done.seconds) if done.seconds > 0 else "at once"
        lines = [
            f"fetched {snapshot}",
            f"  content     {format_size(done.size)} in {done.seconds:.1f} s ({rate})",
            f"  from peers  {format_size(done.bytes_from_peers)}",
            f"  web seeds   {format_size(done.bytes_from_web_seeds)}",
            *([f"  reused      {format_size(done.bytes_reused)}"] if done.bytes_reused else []),
        ]
    signed = [one.label for one in done.signers if one.state == "valid"]
    by = f", signed by {', '.join(signed)}" if signed else ""
    against = "the infohash of the link" if done.torrent_from == "peers" else done.torrent_from
    partial = done.state != "complete"
    lifted = " (trusted unverified, at your request)" if done.trusted_unverified else ""
    return [
        *lines,
        f"  torrent     {done.torrent_by}",
        f"  verified    every file, against {against}{by}",
        f"  provenance  {done.provenance}",
        f"  standing    {done.standing_words}{lifted}",
        f"  path        {done.path}",
        *([f"  hf cache    {done.hf_cache}"] if done.hf_cache is not None else []),
        *([f"  state       {done.state}: the files that were chosen"] if partial else []),
        *([_offline(done)] if done.hf_cache else []),
        *(map(str, shown.file_paths) if paths else []),
    ]


def _offline(done: FetchAnswer) -> str:
    from p2pqwen.values.snapshot_id import RepoKind

    if done.snapshot.repo.kind is not RepoKind.MODEL:
        return _OFFLINE_DATASET
    return _OFFLINE if _is_main(done) else _OFFLINE_BY_COMMIT.format(done.snapshot.commit)


def _is_main(done: FetchAnswer) -> bool:
    """Tell whether programs that name no revision find this snapshot in the Hugging Face cache."""
    from p2pqwen.hub.cache import HubCache

    if done.hf_cache is None:
        return False
    main = HubCache(done.hf_cache.parent.parent.parent).ref(done.snapshot.repo, "main")
    return main is not None and main.commit == str(done.snapshot.commit)
