"""`p2pqwen verify`: re-hash a snapshot and name every bad file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pqwen.cli import exit_codes
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.operations.verify import Verification


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    target: Annotated[
        str, typer.Argument(metavar="REPO[@COMMIT]|PATH|FILE.torrent", help="A held snapshot, a folder or a torrent.")
    ],
    torrent: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For a folder: the torrent to compare it with.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="For a torrent: the folder with its files.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Re-hash every file and compare it with the manifest, the torrent and the signatures; exit 3 if any differs."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.verify_target import verify_target

    with Output(as_json=json_output) as out:
        node = open_node()
        found = verify_target(
            target, torrent=torrent, data=data, library=node.library, keys=node.known_keys(), report=out.report
        )
        out.result(_fields(found), _lines(target, found))
    if not found.ok:
        raise typer.Exit(exit_codes.VERIFICATION)


def _fields(found: Verification) -> dict[str, Any]:
    return {
        "ok": found.ok,
        "files": found.files,
        "bytes": found.bytes,
        "bad": [{"path": bad.path, "expected": bad.expected, "got": bad.got} for bad in found.bad],
        "provenance": str(found.provenance),
        "signers": [
            {"label": signer.label, "keyid": str(signer.keyid), "state": str(signer.state)} for signer in found.signers
        ],
        "extra": list(found.extra),
        "warnings": found.warnings,
    }


def _lines(target: str, found: Verification) -> list[str]:
    from p2pqwen.values.byte_size import format_size

    lines = [f"{target}: {'every file is right' if found.ok else f'{len(found.bad)} bad'}"]
    lines += [f"  bad  {bad.path}: expected {bad.expected}, got {bad.got}" for bad in found.bad]
    lines.append(f"  {found.files} files, {format_size(found.bytes)} read, provenance {found.provenance}")
    lines += [f"  signed by {signer.label} ({signer.state}, key {str(signer.keyid)[:16]}…)" for signer in found.signers]
    if not found.signers:
        lines.append("  not signed by anybody")
    lines += [f"  not part of the snapshot: {name}" for name in found.extra[:10]]
    lines += [f"  warning: {warning}" for warning in found.warnings]
    return lines
