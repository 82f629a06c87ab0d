"""Warnings for people about a snapshot, before they load, share or trust it."""

from __future__ import annotations

from p2pqwen.manifest.hazards import likely_pointers, pickle_files
from p2pqwen.manifest.license import Redistribution, redistribution
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.manifest.provenance import Provenance


def warnings_of(manifest: Manifest, provenance: Provenance) -> list[str]:
    """Return the warnings to show with this snapshot; `provenance` is the result of `prove`."""
    warnings = []
    if provenance is Provenance.UNPROVEN:
        warnings.append(
            "provenance: unproven; without the commit object, nothing shows that these files are "
            f"those of commit {manifest.snapshot.commit}"
        )
    if redistribution(manifest.license) is not Redistribution.CLEAR:
        warnings.append(
            f"license: {manifest.license or 'none named in README.md'}; it does not clearly allow redistribution, "
            "read it before you seed"
        )
    if hazards := pickle_files(row.path for row in manifest.files):
        shown = ", ".join(path.text for path in hazards[:5]) + (", …" if len(hazards) > 5 else "")
        warnings.append(f"hazard: {len(hazards)} pickle-format file(s) can run code when loaded: {shown}")
    if suspects := likely_pointers(manifest.files):
        shown = ", ".join(path.text for path in suspects[:5]) + (", …" if len(suspects) > 5 else "")
        warnings.append(f"content: no larger than an LFS pointer, so perhaps not the weights themselves: {shown}")
    return warnings
