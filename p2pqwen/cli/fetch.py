"""`p2pqwen fetch`: a model from peers and web seeds, verified, where other programs find it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pqwen.cli.network_options import DownloadLimit, NoDht, NoLsd, NoTrackers, NoUpnp, UploadLimit, swarm_settings
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.errors import FormatError, UsageError
from p2pqwen.webseed.policy import WebSeedUse

if TYPE_CHECKING:
    from p2pqwen.operations.fetch import Fetched
    from p2pqwen.values.snapshot_id import RepoId


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(fetch)


def fetch(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="ORG/MODEL[@COMMIT] from a trusted index, a magnet link, a .torrent or an infohash."
        ),
    ],
    peer: Annotated[
        list[str] | None, typer.Option("--peer", metavar="HOST:PORT", help="Connect straight to this peer.")
    ] = None,
    web_seed: Annotated[
        list[str] | None, typer.Option("--web-seed", metavar="URL", help="Fetch from this web seed too.")
    ] = None,
    web_seeds: Annotated[
        WebSeedUse | None,
        typer.Option(help="When to use web seeds; auto: when peers are missing, slow, or lack a piece."),
    ] = None,
    no_web_seeds: Annotated[bool, typer.Option("--no-web-seeds", help="Fetch from peers alone.")] = False,
    only_web_seeds: Annotated[bool, typer.Option("--only-web-seeds", help="Fetch from web seeds alone.")] = False,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="GLOB", help="Fetch only the files that match.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Give up when nothing has arrived for so long (default: 180)."),
    ] = None,
    hf_cache: Annotated[
        bool, typer.Option("--hf-cache/--no-hf-cache", help="Lay the model into the Hugging Face cache.")
    ] = True,
    set_main: Annotated[
        bool, typer.Option("--set-main", help="Point refs/main of that cache at this commit, even if it is set.")
    ] = False,
    repo: Annotated[
        str | None, typer.Option(metavar="ORG/MODEL", help="Whose snapshot it is, where the magnet does not say.")
    ] = None,
    no_dht: NoDht = False,
    no_lsd: NoLsd = False,
    no_upnp: NoUpnp = False,
    no_trackers: NoTrackers = False,
    upload_limit: UploadLimit = None,
    download_limit: DownloadLimit = None,
    json_output: JsonFlag = False,
) -> None:
    """Fetch a model from peers and web seeds, verify it, and lay it where other programs find it."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.fetch import DEFAULT_TIMEOUT, FetchOptions
    from p2pqwen.operations.fetch import fetch as fetch_model
    from p2pqwen.operations.fetch_target import parse_target
    from p2pqwen.swarm.endpoint import Endpoint

    with Output(as_json=json_output) as out:
        node = open_node()
        use = _web_seed_use(web_seeds, never=no_web_seeds, only=only_web_seeds)
        if use is WebSeedUse.NEVER and web_seed:
            raise UsageError("--web-seed and --no-web-seeds contradict each other")
        options = FetchOptions(
            peers=tuple(Endpoint.parse(text) for text in peer or ()),
            web_seeds=tuple(web_seed or ()),
            use_web_seeds=use or WebSeedUse(node.config.network.web_seeds),
            use_peers=not only_web_seeds,
            include=tuple(include) if include else None,
            timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
            repo=_repo(repo),
            into_hub_cache=hf_cache,
            move_ref=set_main,
        )
        off = (no_dht, no_lsd, no_upnp, no_trackers)
        network = swarm_settings(node, listen=None, off=off, upload_limit=upload_limit, download_limit=download_limit)
        done = fetch_model(parse_target(target), options, node.fetch_places(network, out.report), out.report)
        for warning in done.warnings:
            out.note(f"warning: {warning}")
        out.result(_fields(done), _lines(done))


def _web_seed_use(choice: WebSeedUse | None, *, never: bool, only: bool) -> WebSeedUse | None:
    """Join the three switches; None when none was given."""
    given = {choice} if choice is not None else set()
    given |= {WebSeedUse.NEVER} if never else set()
    given |= {WebSeedUse.ALWAYS} if only else set()
    if len(given) > 1:
        raise UsageError("--web-seeds, --no-web-seeds and --only-web-seeds contradict each other")
    return next(iter(given), None)


def _repo(text: str | None) -> RepoId | None:
    from p2pqwen.values.snapshot_id import RepoId

    try:
        return None if text is None else RepoId(text)
    except FormatError as error:
        raise UsageError(error.what, expected=error.expected, got=error.got) from error


def _fields(done: Fetched) -> dict[str, Any]:
    return {
        "repo": str(done.held.id.repo),
        "commit": str(done.held.id.commit),
        "path": str(done.held.folder),
        "size": done.size,
        "bytes_from_peers": done.bytes_from_peers,
        "bytes_from_web_seeds": done.bytes_from_web_seeds,
        "bytes_reused": done.bytes_reused,
        "seconds": round(done.seconds, 3),
        "verified": True,  # or there is no result
        "provenance": str(done.provenance),
        "hf_cache": None if done.hub_cache is None else str(done.hub_cache),
        "torrent": str(done.held.torrent_path),
        "state": str(done.held.state),
        "unchanged": done.unchanged,
        "torrent_from": done.route,
        "signers": [{"label": one.label, "keyid": str(one.keyid), "state": one.state} for one in done.signers],
        "web_seeds": list(done.web_seeds),
        "warnings": list(done.warnings),
    }


def _lines(done: Fetched) -> list[str]:
    from p2pqwen.values.byte_size import format_rate, format_size

    held = done.held
    if done.unchanged:
        lines = [f"already here and verified: {held.id}"]
    else:
        rate = format_rate(done.size / done.seconds) if done.seconds > 0 else "at once"
        lines = [
            f"fetched {held.id}",
            f"  content     {format_size(done.size)} in {done.seconds:.1f} s ({rate})",
            f"  from peers  {format_size(done.bytes_from_peers)}",
            f"  web seeds   {format_size(done.bytes_from_web_seeds)}",
            *([f"  reused      {format_size(done.bytes_reused)}"] if done.bytes_reused else []),
        ]
    signed = [one.label for one in done.signers if one.state == "valid"]
    return [
        *lines,
        f"  verified    every file, against {done.route}" + (f", signed by {', '.join(signed)}" if signed else ""),
        f"  provenance  {done.provenance}",
        f"  path        {held.folder}",
        *([f"  hf cache    {done.hub_cache}"] if done.hub_cache is not None else []),
        *([f"  state       {held.state}: the files chosen with --include"] if held.state != "complete" else []),
    ]
