"""BEP 3 bencoding, one spelling per value: what `decode` accepts, `encode` gives back byte for byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from p2pqwen.errors import FormatError

Bencoded: TypeAlias = "int | bytes | list[Bencoded] | dict[bytes, Bencoded]"
Encodable: TypeAlias = "int | bytes | str | Sequence[Encodable] | Mapping[bytes, Encodable]"

MAX_DEPTH = 100
MAX_VALUES = 3_000_000
MAX_INTEGER_DIGITS = 20
_INTEGERS = range(-(2**63), 2**63)
_MAX_LENGTH_DIGITS = 10


def encode(value: Encodable) -> bytes:
    """Return the canonical bytes: keys sorted, text as UTF-8."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Encodable, parts: list[bytes]) -> None:
    if isinstance(value, bool):
        raise TypeError("bencode has no booleans")
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        parts += (b"%d:" % len(value), value)
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, Mapping):
        parts.append(b"d")
        for key in sorted(value):
            parts += (b"%d:" % len(key), key)
            _encode(value[key], parts)
        parts.append(b"e")
    else:
        parts.append(b"l")
        for item in value:
            _encode(item, parts)
        parts.append(b"e")


def decode(data: bytes, *, max_bytes: int) -> Bencoded:
    """Read one value that fills `data`.

    Raises `FormatError` when longer than `max_bytes`, cut short or followed by anything, for keys unsorted or
    repeated, leading zeros, `-0`, integers beyond 64 bits, nesting over 100 deep and more than 3 million values.
    """
    if len(data) > max_bytes:
        raise FormatError("bencoded data is too large", expected=f"at most {max_bytes} bytes", got=len(data))
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise FormatError(f"bencoded data goes on after its end at byte {reader.at}")
    return value


def decode_dict(data: bytes, *, max_bytes: int) -> dict[bytes, Bencoded]:
    """Read data that must be one dictionary; raises `FormatError`."""
    value = decode(data, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise FormatError("bencoded data", expected="a dictionary", got=type(value).__name__)
    return value


class _Reader:
    """A cursor over the data."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.values = 0

    def value(self, depth: int) -> Bencoded:
        self.values += 1
        if self.values > MAX_VALUES:
            raise FormatError("bencoded data holds too many values", expected=f"at most {MAX_VALUES}")
        if depth > MAX_DEPTH:
            raise FormatError("bencoded data is nested too deep", expected=f"at most {MAX_DEPTH}")
        first = self.data[self.at : self.at + 1]
        if first == b"d":
            return self._dict(depth)
        if first == b"l":
            return self._list(depth)
        if first == b"i":
            self.at += 1
            return self._integer(b"e", MAX_INTEGER_DIGITS)
        return self._string()

    def _integer(self, end: bytes, max_digits: int) -> int:
        stop = self.data.find(end, self.at, self.at + max_digits + 1)
        text = self.data[self.at : stop] if stop >= 0 else b""
        digits = text.removeprefix(b"-")
        if not digits.isdigit() or (digits[0] == ord("0") and len(text) > 1):
            raise FormatError(f"bencoded data has no valid integer at byte {self.at}")
        number = int(text)
        if number not in _INTEGERS:
            raise FormatError(f"bencoded integer at byte {self.at} is beyond 64 bits")
        self.at = stop + 1
        return number

    def _string(self) -> bytes:
        start = self.at
        length = self._integer(b":", _MAX_LENGTH_DIGITS)
        if length < 0 or length > len(self.data) - self.at:
            raise FormatError(f"bencoded string at byte {start} is cut short", expected=f"{length} bytes")
        self.at += length
        return self.data[self.at - length : self.at]

    def _ends(self) -> bool:
        if self.data[self.at : self.at + 1] != b"e":
            return False
        self.at += 1
        return True

    def _list(self, depth: int) -> list[Bencoded]:
        self.at += 1
        items: list[Bencoded] = []
        while not self._ends():
            items.append(self.value(depth + 1))
        return items

    def _dict(self, depth: int) -> dict[bytes, Bencoded]:
        self.at += 1
        items: dict[bytes, Bencoded] = {}
        last: bytes | None = None
        while not self._ends():
            start = self.at
            key = self._string()
            if last is not None and key <= last:
                raise FormatError(f"bencoded dictionary key at byte {start} is out of order or repeated")
            items[key] = self.value(depth + 1)
            last = key
        return items
