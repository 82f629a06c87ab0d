"""Recipes: rules by which a snapshot alone determines its info dictionary, so that all preservers join one swarm.

Recipe 1 is SPEC section 3. A recipe never changes, since its infohashes are published; a new one gets a new number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe. `number` names it in torrents and indexes; `info_keys` are all keys of its info dictionary.

    `lengths` are rows of (largest payload, piece length), in bytes; a larger payload gets `longest`.
    """

    number: int
    info_keys: frozenset[bytes]
    lengths: tuple[tuple[int, int], ...]
    longest: int

    def piece_length(self, total_size: int) -> int:
        """Return the piece length in bytes for a payload of `total_size` bytes, without pad files."""
        for limit, length in self.lengths:  # called for every entry; a generator would take 5 times as long
            if total_size <= limit:
                return length
        return self.longest

    def __str__(self) -> str:
        return f"recipe {self.number}"


RECIPE_1 = Recipe(
    number=1,
    info_keys=frozenset({b"file tree", b"files", b"meta version", b"name", b"piece length", b"pieces"}),
    lengths=((64 * MIB, 256 * KIB), (GIB, MIB), (4 * GIB, 2 * MIB), (32 * GIB, 4 * MIB), (256 * GIB, 8 * MIB)),
    longest=16 * MIB,
)
RECIPES: Mapping[int, Recipe] = {recipe.number: recipe for recipe in (RECIPE_1,)}
"""The recipes that this version reads."""
CURRENT = RECIPE_1
"""The recipe that this version writes."""
