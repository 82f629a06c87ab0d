"""A number and what it counts, in words: `1 file`, `2 files`."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """Return the two as a phrase, for a noun whose plural ends in s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def grouped(number: int, noun: str) -> str:
    """Return the two as a phrase with digits in groups of 3, such as `10,000 models`."""
    return plural(number, noun).replace(str(number), f"{number:,}", 1)
