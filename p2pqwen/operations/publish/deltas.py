"""The deltas of a published site: how its index differs from each of the last versions (SPEC section 7.1).

Only the delta from the previous version is made from two indexes. It extends the site's deltas from older versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.delta import DELTA_FOLDER, MAX_DELTA, Delta, compose, delta_location, make_delta, parse_delta
from p2pqwen.library import durable
from p2pqwen.library.index_rows.judging import rows_of
from p2pqwen.values.digest import Sha256

_NAME = re.compile(r"[0-9a-f]{64}\.json", re.ASCII)


def write_deltas(out: Path, earlier: Iterable[Accepted | None], accepted: Accepted, size: int, report: Report) -> None:
    """Write the deltas to an index of `size` bytes that a site is about to get; `earlier`: its possible predecessors.

    A site does not need them, so a failure is only reported.
    """
    before = next((one for one in earlier if one is not None and one.digest == accepted.document.previous), None)
    try:
        deltas = {} if before is None else _deltas(out / DELTA_FOLDER, before, accepted)
        files = {base: delta.encode() for base, delta in deltas.items()}
        kept = {base: data for base, data in files.items() if len(data) <= min(MAX_DELTA, size // 2)}
        for base, data in kept.items():
            durable.write(out / delta_location(base), data, mode=durable.SHARED)
        _remove_others(out, kept.keys())
    except P2pqwenError as error:
        report(Notice("warning", f"no deltas for readers, who fetch the whole index: {error.message}"))


def _deltas(folder: Path, before: Accepted, accepted: Accepted) -> dict[Sha256, Delta]:
    """Return the deltas to an index, by the digest of the index that each starts from."""
    newest = make_delta(
        before.digest,
        rows_of(before),
        accepted.digest,
        rows_of(accepted),
        roots=[signed.to_json() for signed in accepted.roots],
        signed=accepted.header,
        signatures=accepted.signatures,
    )
    if newest is None:
        return {}
    names = sorted(path for path in folder.glob("*.json") if _NAME.fullmatch(path.name))
    known = each(
        names, lambda path: parse_delta(durable.read(path, max_bytes=MAX_DELTA)), failed=lambda *_: None
    )  # a damaged one is left out
    longer = [compose(one, newest) for one in known if one.to == before.digest]
    return {one.base: one for one in (*longer, newest) if one is not None}


def _remove_others(out: Path, kept: Iterable[Sha256]) -> None:
    names = {Path(delta_location(base)).name for base in kept}
    folder = out / DELTA_FOLDER
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if _NAME.fullmatch(path.name) and path.name not in names:
            durable.remove(path)
