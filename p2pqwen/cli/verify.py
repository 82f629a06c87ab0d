"""`p2pqwen verify`: re-hash a snapshot and name every bad file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, fail, fail_for
from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError, UsageError, VerificationError
from p2pqwen.events import about
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.events import Report
    from p2pqwen.library.snapshots import HeldSnapshot
    from p2pqwen.operations.verify.verify import Verification
    from p2pqwen.operations.verify.verify_answer import Repaired, VerifyAnswer

_EXTRA_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET…",
            autocompletion=names.held,
            help="REPO[@COMMIT], also as a glob, a folder or a .torrent.",
        ),
    ],
    torrent: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a folder: the torrent to compare it with.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="For a torrent: the folder with its files.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="For a held snapshot: fetch the bad pieces from peers and web seeds.")
    ] = False,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="HOST:PORT…", help="For --repair: connect to this peer directly."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="For --repair: abort after SECONDS without progress.")
    ] = 180.0,
    json_output: JsonFlag = False,
) -> None:
    """Re-hash every file and compare it with the manifest, the torrent and the signatures; exit 3 if any differs.

    Only the disk is read. If a trusted index claims a proof that the held snapshot lacks, it is
    fetched first, from a bundle or a mirror.
    """
    from p2pqwen.app import open_app
    from p2pqwen.operations.verify.verify_answer import VerifiedAnswer, VerifiedTarget

    failed: list[P2pqwenError] = []
    with Output(as_json=json_output) as out:
        app = open_app()
        meant = names.meant(app, targets)
        if len(meant) > 1 and (torrent or data):
            raise UsageError("--torrent and --data are for one target", got=", ".join(meant))
        options = _Options(torrent, data, repair, tuple(peer or ()), timeout)
        if len(meant) == 1 and meant == list(targets):  # else the answer is a list, whatever a glob matches
            found, answer, lines = _verified(meant[0], options, app, out, out.report)
            out.result(answer, lines)
        else:
            several = each(
                meant,
                lambda one: (
                    one,
                    *_verified(one, options, app, out, about(one, meant.index(one) + 1, len(meant), out.report)),
                ),
                failed=lambda _, error: failed.append(error),
            )
            failed += [_error(one, result) for one, result, *_ in several if not result.ok]
            out.result(
                VerifiedAnswer(not failed, tuple(VerifiedTarget(one, answer) for one, _, answer, _ in several)),
                [line for *_, lines in several for line in lines],
            )
            found = None
    if found is not None and not found.ok:
        fail(_error(meant[0], found))
    fail_for(failed, len(meant))


@dataclass(frozen=True, slots=True)
class _Options:
    torrent: Path | None
    data: Path | None
    repair: bool
    peers: tuple[str, ...]
    timeout: float


def _verified(
    target: str, options: _Options, app: App, out: Output, report: Report
) -> tuple[Verification, VerifyAnswer, list[str]]:
    """Verify one target, and repair it if requested."""
    from p2pqwen.operations.verify.target import verify_target
    from p2pqwen.operations.verify.verify_answer import RepairShown, VerifyAnswer

    repaired = None
    held = _held(target, app) if options.repair else None
    _rise(target, app, out)
    voices = app.vouchers.voices(out.report)
    found = verify_target(
        target, torrent=options.torrent, data=options.data, library=app.library, voices=voices, report=report
    )
    if held is not None and found.bad:
        repaired = _repair(held, found, app, options.peers, options.timeout, out)
        found = verify_target(target, torrent=None, data=None, library=app.library, voices=voices, report=report)
    found = _with_xet_names(target, found, app)
    _note(target, found, app, out)
    lifted = _trusted_unverified(found, app, out)
    shown = RepairShown(repaired) if options.repair else None
    answer = VerifyAnswer.of(found, trusted_unverified=lifted, repair=shown)
    return found, answer, _lines(target, found, repaired, lifted)


def _is_on_disk(target: str) -> bool:
    """Tell whether a target is a file or folder, not the name of a held snapshot."""
    return target.endswith(".torrent") or Path(target).exists()


def _rise(target: str, app: App, out: Output) -> None:
    """Take over the better torrent that a trusted index lists for a held snapshot; failures do not matter."""
    from p2pqwen.errors import P2pqwenError
    from p2pqwen.operations.verify.target import held_snapshot

    if _is_on_disk(target):
        return
    try:
        held = held_snapshot(target, app.library)
        with app.held_standings(out.report) as standings:
            app.riser.rise_all([held], standings, web=True, report=out.report)
    except P2pqwenError:
        return  # verifying reports it, if it matters


def _with_xet_names(target: str, found: Verification, app: App) -> Verification:
    """Compare a held snapshot with the Hub's Xet names of its files."""
    from p2pqwen.operations.verify.target import held_snapshot
    from p2pqwen.operations.verify.xet_check import with_xet_names

    if _is_on_disk(target):
        return found
    return with_xet_names(found, held_snapshot(target, app.library), app.library, app.xet_hasher)


def _note(target: str, found: Verification, app: App, out: Output) -> None:
    """Remember the findings about a held snapshot, so that `status` and `doctor` agree."""
    from p2pqwen.errors import P2pqwenError

    if _is_on_disk(target) or not (found.bad or app.home.state.exists()):
        return
    try:
        held = _held(target, app)
        with app.state_store(out.report) as store:
            app.scrubber(store, out.report).note(held, {one.path for one in found.bad})
    except P2pqwenError as error:
        out.note(f"warning: cannot remember what was found: {error.message}")


def _trusted_unverified(found: Verification, app: App, out: Output) -> bool:
    """Tell whether the user trusted the snapshot unverified, and it is still unvouched."""
    from p2pqwen.index.standing import Standing
    from p2pqwen.library.lift_store import LiftStore

    judgement = found.judgement
    if judgement is None or judgement.standing is not Standing.UNVOUCHED or not app.home.state.exists():
        return False
    with app.state_store(out.report) as store:
        return LiftStore(store).all().get(judgement.snapshot) == found.infohash.v2


def _error(target: str, found: Verification) -> VerificationError:
    """Return the first problem as an error; the result has the rest."""
    if not found.bad:
        wrong = next(signer for signer in found.signers if signer.state == "invalid")
        return VerificationError(f"{target}: the signature of {wrong.label} is not valid")
    bad, more = found.bad[0], len(found.bad) - 1
    what = f"{target}: {bad.path} is wrong" + (f" ({more} more)" if more else "")
    hint = None if _is_on_disk(target) else f"`p2pqwen verify {target} --repair`"
    return VerificationError(what, expected=bad.expected, got=bad.got, hint=hint)


def _held(target: str, app: App) -> HeldSnapshot:
    from p2pqwen.operations.verify.target import held_snapshot

    if _is_on_disk(target):
        raise UsageError("--repair works on snapshots of the library", expected="REPO[@COMMIT]", got=target)
    return held_snapshot(target, app.library)


def _repair(
    held: HeldSnapshot, found: Verification, app: App, peers: tuple[str, ...], timeout: float, out: Output
) -> Repaired:
    """Repair a snapshot and return what that took."""
    from p2pqwen.assembly import fetching
    from p2pqwen.operations.fetch.context import FetchOptions
    from p2pqwen.operations.fetch.repair import repair
    from p2pqwen.operations.verify.verify_answer import Repaired
    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.webseed.policy import WebSeedUse

    for bad in found.bad:
        out.note(f"bad: {bad.path}: expected {bad.expected}, got {bad.got}")
    network = fetching.swarm_settings(app, app.config.network.choices)
    use = WebSeedUse(app.config.network.web_seeds)
    options = FetchOptions(peers=tuple(map(Endpoint.parse, peers)), timeout=timeout, use_web_seeds=use)
    done = repair(held, options, fetching.fetch_context(app, network, out.report), out.report)
    with app.state_store(out.report) as store:
        app.scrubber(store, out.report).mended(held.id)
    return Repaired(tuple(bad.path for bad in found.bad), done.bytes_from_peers, done.bytes_from_web_seeds)


def _lines(
    target: str,
    found: Verification,
    repaired: Repaired | None = None,
    lifted: bool = False,
) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    good = "every file is right" if found.of_files == found.files else f"the {found.files} fetched files are right"
    lines = [f"{target}: {good if found.ok else f'{len(found.bad)} bad'}"]
    if found.ok and found.of_files != found.files:
        lines.append(f"  partial: {found.files} of {found.of_files} files")
    lines += [f"  bad  {bad.path}: expected {bad.expected}, got {bad.got}" for bad in found.bad]
    lines.append(f"  {plural(found.files, 'file')}, {format_size(found.bytes)} read")
    lines.append(f"  provenance  {found.provenance.words}")
    words = found.standing if found.judgement is None else found.judgement.words
    lines.append(f"  standing    {words}{' (trusted unverified, at your request)' if lifted else ''}")
    lines += [f"  signed by {signer.label} ({signer.state}, key {str(signer.keyid)[:16]}…)" for signer in found.signers]
    if repaired is not None:
        size = format_size(repaired.bytes_from_peers + repaired.bytes_from_web_seeds)
        lines.append(f"  repaired {plural(len(repaired.files), 'file')} with {size}")
    if not found.signers:
        lines.append("  not signed")
    lines += [f"  not part of the snapshot: {name}" for name in found.extra[:_EXTRA_SHOWN]]
    if (more := len(found.extra) - _EXTRA_SHOWN) > 0:
        lines.append(f"  and {more} more that are not part of the snapshot")
    lines += [f"  warning: {warning}" for warning in found.warnings]
    return lines
