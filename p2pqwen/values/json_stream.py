"""Read a large JSON document strictly and in chunks: only the current value is in memory.

The caller walks the outer structure (`members` of an object, `items` of a list); `strict_json` reads each value below
it whole, under its rules. Repeated keys and excessive depth are refused at every level.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

from p2pqwen.errors import FormatError
from p2pqwen.values.strict_json import MAX_DEPTH, Cut, JsonValue, read_value

Known = TypeVar("Known")
Quick: TypeAlias = Callable[[str, int], tuple[Known, int] | None]

_SPACE = re.compile(r"[ \t\n\r]*")
_FIRST = 1 << 16
"""Characters that are read first to complete a value that the end of a chunk cut off."""


class JsonStream:
    """One document, walked from beginning to end. Methods raise `FormatError`.

    `max_bytes` limits the whole document, `max_value` each value that is read whole, in characters, and `max_values`
    approximately the number of values in it.
    """

    def __init__(self, pieces: Iterable[bytes], *, max_bytes: int, max_value: int, max_values: int) -> None:
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._max_bytes, self._max_value, self._max_values = max_bytes, max_value, max_values
        self._taken = 0
        self._text = ""
        self._at = 0
        self._ended = False
        self._depth = 0
        self.size = 0
        """The number of characters of the last value read."""

    def members(self) -> Iterator[str]:
        """Yield the keys of the object at the current position; the caller reads each value before the next key."""
        self._take("{", "an object")
        seen: set[str] = set()
        with_comma = False
        while not self._is_next("}"):
            if with_comma:
                self._take(",", "a comma")
            key = self._whole()
            if not isinstance(key, str):
                raise FormatError("not a JSON document", expected="a key")
            if key in seen:
                raise FormatError("JSON object repeats a key")
            seen.add(key)
            if len(seen) > self._max_values:
                raise FormatError("JSON document holds too many values", expected=f"at most {self._max_values} keys")
            self._take(":", "a colon")
            yield key
            with_comma = True
        self._leave()

    def items(self, quick: Quick[Known] | None = None) -> Iterator[JsonValue | Known]:
        """Yield the items of the list at the current position, each read whole or by `quick`.

        `quick` gets the text and the offset of an item. It parses that item and any that follow, in full and under the
        same rules, and returns the result and the offset of their end. It returns None for what it cannot parse.
        """
        self._take("[", "a list")
        with_comma = False
        while not self._is_next("]"):
            if with_comma:
                self._take(",", "a comma")
            if quick is not None:
                self._skip()
                found = quick(self._text, self._at)
                # The next chunk completes what the end of this one cut off.
                if found is None and len(self._text) - self._at < _FIRST and self._more(_FIRST):
                    found = quick(self._text, self._at)
                if found is not None:
                    value, self._at = found
                    yield value
                    with_comma = True
                    continue
            yield self._whole()
            with_comma = True
        self._leave()

    def value(self) -> JsonValue:
        """Read the whole value at the current position."""
        return self._whole()

    def is_list(self) -> bool:
        """Tell whether the next value is a list."""
        return self._is_next("[")

    def is_object(self) -> bool:
        """Tell whether the next value is an object."""
        return self._is_next("{")

    def end(self) -> None:
        """Raise `FormatError` if anything but blanks follows."""
        self._skip()
        if self._at < len(self._text):
            raise FormatError("not a JSON document", expected="its end", got=repr(self._text[self._at :][:20]))

    def _take(self, mark: str, name: str) -> None:
        if not self._is_next(mark):
            got = repr(self._text[self._at :][:20]) if self._at < len(self._text) else "the end"
            raise FormatError("not a JSON document", expected=name, got=got)
        self._at += 1
        if mark in "{[":
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise FormatError("JSON document is nested too deep", expected=f"at most {MAX_DEPTH}")

    def _leave(self) -> None:
        self._at += 1
        self._depth -= 1

    def _is_next(self, mark: str) -> bool:
        if self._text.startswith(mark, self._at):
            return True
        self._skip()
        return self._text.startswith(mark, self._at)

    def _skip(self) -> None:
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found is not None else self._at
            if self._at < len(self._text) or not self._more(_FIRST):
                return

    def _whole(self) -> JsonValue:
        self._skip()
        wanted = _FIRST
        while True:
            try:
                value, end = read_value(self._text, self._at, self._max_values, MAX_DEPTH - self._depth)
            except Cut as cut:
                if self._ended:
                    raise FormatError("not a JSON document", got=cut.reason) from cut
            else:
                # A number at the end of a chunk may continue in the next.
                if end < len(self._text) or self._ended:
                    self.size = end - self._at
                    self._require_room(self.size)
                    self._at = end
                    return value
            self._require_room(len(self._text) - self._at)
            self._more(wanted)
            wanted *= 2

    def _require_room(self, size: int) -> None:
        if size > self._max_value:
            raise FormatError(
                "JSON document holds too many values, or too long ones, in one place",
                expected=f"at most {self._max_value} characters",
            )

    def _more(self, wanted: int) -> bool:
        """Read about `wanted` more characters; return False if none are left."""
        parts = [self._text[self._at :]]
        size = 0
        while size < wanted and not self._ended:
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
            else:
                self._taken += len(piece)
                if self._taken > self._max_bytes:
                    expected = f"at most {self._max_bytes} bytes"
                    raise FormatError("JSON document is too large", expected=expected, got=self._taken)
            try:
                parts.append(self._decoder.decode(piece or b"", final=self._ended))
            except UnicodeDecodeError as error:
                raise FormatError("JSON document is not UTF-8", got=str(error)) from error
            size += len(parts[-1])
        self._text, self._at = "".join(parts), 0
        return size > 0
