"""Show a snapshot's license, and check it against the wanted ones, before any other file is taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.library import durable
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.license import is_licensed, license_of_readme, redistribution
from p2pqwen.operations.preserve.origin import Origin
from p2pqwen.operations.verify.made_of_bytes import MAX_README_SIZE
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.digest import Sha256
from p2pqwen.values.listing import ListedFile, Listing
from p2pqwen.values.snapshot_id import SnapshotId


def license_of_listing(listing: Listing, origin: Origin, staged: Path, known: Path | None = None) -> str | None:
    """Return the license that a listed snapshot's README.md names; that file is downloaded into staging.

    If `known` is that file, nothing is downloaded. Raises what `Origin.download` does, and `DiskError`.
    """
    readme = readme_of(listing)
    if readme is None:
        return None
    with durable.disk_errors(f"read {staged / readme.path.text}"):
        for path in (known, origin.download(listing, readme, staged) if known is None else None):
            if path is not None and _is(readme, data := path.read_bytes()):
                return license_of_readme(data)
        (staged / readme.path.text).unlink(missing_ok=True)  # left by another try, no matter who vouched for it
        return license_of_readme(origin.download(listing, readme, staged).read_bytes())


def readme_of(listing: Listing) -> ListedFile | None:
    """Return the README.md of a listed snapshot, None if there is none that could be a model card."""
    readme = next((file for file in listing.files if file.path.text == "README.md"), None)
    return None if readme is None or readme.size > MAX_README_SIZE else readme


def show_license(
    snapshot: SnapshotId,
    license: str | None,  # noqa: A002 - the manifest's own word
    size: int,
    wanted: Sequence[str],
    report: Report,
) -> None:
    """Report what is about to be taken, and under which license; raises `P2pqwenError` for one that is not `wanted`."""
    named = f"license {license}" if license else "it names no license"
    if wanted and not is_licensed(license, wanted):
        raise P2pqwenError(f"{snapshot} was not taken", expected=f"a license among {', '.join(wanted)}", got=named)
    report(Notice("info", f"{snapshot}: {format_size(size)}, {named} (redistribution: {redistribution(license)})"))


def _is(file: ListedFile, data: bytes) -> bool:
    return blob_oid(data) == file.blob_oid if file.content is None else Sha256.of(data) == file.content
