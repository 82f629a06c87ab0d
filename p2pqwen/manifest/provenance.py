"""Whether a manifest is exactly the git commit it names, as a word; `proof` decides it."""

from __future__ import annotations

from enum import StrEnum


class Provenance(StrEnum):
    """`proven`: the rows are that git commit's. `unproven`: the commit object could not be read."""

    PROVEN = "proven"
    UNPROVEN = "unproven"

    @property
    def words(self) -> str:
        """What that means for the files; their standing says who vouches for them."""
        if self is Provenance.PROVEN:
            return f"{self}: these are the files of that git commit"
        return f"{self}: nothing shows that these are the files of that commit"
