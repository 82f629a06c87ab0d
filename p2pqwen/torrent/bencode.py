"""Strict BEP 3 bencoding: `encode` reproduces byte for byte whatever `decode` accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from p2pqwen.errors import FormatError

Bencoded: TypeAlias = "int | bytes | list[Bencoded] | dict[bytes, Bencoded]"
Encodable: TypeAlias = "int | bytes | str | Sequence[Encodable] | Mapping[bytes, Encodable]"

MAX_DEPTH = 100
MAX_VALUES = 500_000  # of the kinds that take the most memory, 150 MB
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

    Raises `FormatError` for data that is longer than `max_bytes`, truncated or followed by anything, and for unsorted
    or repeated keys, leading zeros, `-0`, integers beyond 64 bits, nesting deeper than 100 and over 500,000 values.
    """
    if len(data) > max_bytes:
        raise FormatError("bencoded data is too large", expected=f"at most {max_bytes} bytes", got=len(data))
    cursor = Cursor(data)
    value = cursor.value(0)
    cursor.end()
    return value


def decode_dict(data: bytes, *, max_bytes: int) -> dict[bytes, Bencoded]:
    """Read data that must be one dictionary; raises `FormatError`."""
    value = decode(data, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise FormatError("bencoded data", expected="a dictionary", got=type(value).__name__)
    return value


class Cursor:
    """A position in bencoded data, for reading a large value piece by piece and keeping little of it.

    All that it reads must follow the rules of `decode`; it raises `FormatError`. `at` is the offset of the next byte.
    """

    def __init__(self, data: bytes, *, max_values: int = MAX_VALUES) -> None:
        self.data = data
        self.at = 0
        self._values, self._most = 0, max_values

    def opens(self, kind: bytes) -> bool:
        """Tell whether the next value is a dictionary (`d`), a list (`l`) or an integer (`i`)."""
        return self.data[self.at : self.at + 1] == kind

    def end(self) -> None:
        """Check that no data is left."""
        if self.at != len(self.data):
            raise FormatError(f"bencoded data continues after its end at byte {self.at}")

    def names(self) -> Iterator[bytes]:
        """Enter the dictionary that begins here and yield its keys; read each value before the next key."""
        self.at += 1
        last: bytes | None = None
        while not self._ends():
            start = self.at
            key = self._string()
            if last is not None and key <= last:
                raise FormatError(f"bencoded dictionary key at byte {start} is out of order or repeated")
            last = key
            yield key

    def items(self, depth: int) -> Iterator[Bencoded]:
        """Enter the list that begins here, `depth` levels down, and yield its values."""
        self.at += 1
        while not self._ends():
            yield self.value(depth + 1)

    def value(self, depth: int) -> Bencoded:
        """Read the value that begins here, `depth` levels down."""
        self._values += 1
        if self._values > self._most:
            raise FormatError("bencoded data holds too many values", expected=f"at most {self._most}")
        if depth > MAX_DEPTH:
            raise FormatError("bencoded data is nested too deep", expected=f"at most {MAX_DEPTH}")
        first = self.data[self.at : self.at + 1]
        if first == b"d":
            return {key: self.value(depth + 1) for key in self.names()}
        if first == b"l":
            return list(self.items(depth))
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
