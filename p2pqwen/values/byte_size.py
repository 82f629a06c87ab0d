"""Sizes and rates as people write them: `500GB`, `1.5 TiB`, `20MB/s`."""

from __future__ import annotations

import re

from p2pqwen.errors import UsageError

_UNITS = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-z]*)\s*", re.ASCII)


_BARE = re.compile(r"[0-9]{1,3}(?:\.[0-9]+)?", re.ASCII)


class BareRateError(UsageError):
    """A rate below 1 kB/s without a unit; `meant` is the rate in MB/s."""

    def __init__(self, text: str) -> None:
        self.meant = f"{text}MB/s"
        super().__init__(
            f"a rate of {text} bytes a second",
            expected="a unit",
            hint=f"say {self.meant}, or {text}B/s if that is meant",
        )


def parse_size(text: str) -> int:
    """Parse a size in bytes; raises `UsageError`. SI units are powers of 1000, `KiB` to `TiB` powers of 1024."""
    match = _SIZE.fullmatch(text.lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError("not a size", expected="a number with a unit, such as 500GB or 1.5TiB", got=repr(text))
    return round(float(match[1]) * _UNITS[match[2]])


def parse_rate(text: str) -> int:
    """Parse a rate in bytes per second, `20MB/s` or `20MB`; raises `UsageError`, for a small bare number too."""
    bare = text.strip().removesuffix("/s")
    if _BARE.fullmatch(bare) and float(bare) > 0:
        raise BareRateError(bare)
    try:
        return parse_size(text.strip().removesuffix("/s"))
    except UsageError as error:
        raise UsageError("not a rate", expected="a number with a unit, such as 5MB/s", got=repr(text)) from error


def format_size(size: float) -> str:
    """Return a size with 3 significant digits: `2.34 GB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    if unit == "B":
        return f"{value:.0f} B"
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f} {unit}"


def format_rate(bytes_per_second: float) -> str:
    """Return a rate: `20.0 MB/s`."""
    return f"{format_size(bytes_per_second)}/s"
