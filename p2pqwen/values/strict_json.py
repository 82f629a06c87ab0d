"""Read JSON strictly and write it canonically (RFC 8785); all our documents are read and written here.

Reading refuses: more than the byte limit, text that is not UTF-8 or has a byte order mark, duplicate keys, floats and
NaN, integers outside ±(2^53-1), lone surrogates, nesting deeper than 16. Large documents have a limit of values too:
3 bytes of JSON can take 100 bytes of memory. Calls of the control API may have finite floats; documents never do.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeAlias

import rfc8785

from p2pqwen.errors import FormatError

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
_CONTAINERS = frozenset({list, dict})
# Without these characters, code points and UTF-16 units sort alike, so the standard encoder sorts keys as RFC 8785.
_SORTS_OTHERWISE = re.compile("[\ud800-\U0010ffff]")


def parse(data: bytes, *, max_bytes: int, max_values: int | None = None) -> JsonValue:
    """Parse one JSON document of at most `max_bytes` and about `max_values` values; raises `FormatError`."""
    value: JsonValue = _parse(data, max_bytes, max_values, _refuse_float)
    return value


def parse_call(data: bytes, *, max_bytes: int) -> dict[str, Any]:
    """Parse the object of a control API call, which may have finite floats; raises `FormatError`."""
    return _object(_parse(data, max_bytes, None, _finite_float))


def _parse(data: bytes, max_bytes: int, max_values: int | None, read_float: Callable[[str], Any]) -> Any:  # noqa: ANN401
    if len(data) > max_bytes:
        raise FormatError("JSON document is too large", expected=f"at most {max_bytes} bytes", got=len(data))
    if max_values is not None and (found := sum(data.count(mark) for mark in b"[{,")) > max_values:
        raise FormatError("JSON document holds too many values", expected=f"at most {max_values}", got=found)
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_float=read_float,
            parse_constant=_refuse_float,
            parse_int=_bounded_integer,
        )
    except RecursionError:  # the standard parser counts its depth and stops long before the stack ends
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise FormatError("JSON document is not UTF-8", got=f"byte 0x{byte:02x} at {error.start}") from error
    except json.JSONDecodeError as error:
        raise FormatError("not a JSON document", got=str(error)) from error
    _check_depth(value)
    if "\\u" in text:
        _refuse_surrogates(value)
    return value


def parse_object(data: bytes, *, max_bytes: int, max_values: int | None = None) -> JsonObject:
    """Parse a document that must be an object; raises `FormatError`."""
    return _object(parse(data, max_bytes=max_bytes, max_values=max_values))


def canonical(value: JsonValue) -> bytes:
    """Return the RFC 8785 bytes of a value that `parse` could have returned.

    Without floats, and as long as keys sort the same, the standard encoder writes what RFC 8785 requires, many times
    faster than rfc8785. In other cases rfc8785 does it, and refuses what readers would not accept.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        if _holds_large_number(value) or (not text.isascii() and _SORTS_OTHERWISE.search(text)):
            return rfc8785.dumps(value)
        return text.encode()
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, ValueError) as error:
        raise FormatError("value has no canonical form", got=str(error)) from error


class Cut(Exception):  # noqa: N818 - no error while more text can be read
    """An incomplete or malformed value."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def read_value(text: str, at: int, max_values: int, max_depth: int) -> tuple[JsonValue, int]:
    """Parse the value at an offset of a text; return it and the offset of its end.

    Raises `FormatError` for what any document refuses, and `Cut` if more text may complete the value.
    """
    try:
        value, end = _scan(text, at)
    except RecursionError:
        raise _too_deep() from None
    except StopIteration:
        raise Cut("no value") from None
    except json.JSONDecodeError as error:
        raise Cut(str(error)) from error
    if end - at > max_values and sum(text.count(mark, at, end) for mark in "[{,") > max_values:
        raise FormatError("JSON document holds too many values", expected=f"at most {max_values} in one place")
    if type(value) in _CONTAINERS:
        _check_depth(value, max_depth)
    if text.find("\\u", at, end) >= 0:
        _refuse_surrogates(value)
    return value, end


def canonical_of_parsed(value: JsonValue) -> bytes:
    """Do what `canonical` does, for a value that this module has parsed, whose integers are in range."""
    text = _encode(value)
    if not text.isascii() and _SORTS_OTHERWISE.search(text):
        return canonical(value)
    return text.encode()


def _object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - what json gives
    if not isinstance(value, dict):
        raise FormatError("JSON document", expected="an object", got=type(value).__name__)
    return value


def _check_depth(value: JsonValue, most: int = MAX_DEPTH) -> None:
    level: list[JsonValue] = [value]
    for _ in range(most):
        level = [child for container in level for child in _children(container) if type(child) in _CONTAINERS]
        if not level:
            return
    raise _too_deep()


def _holds_large_number(value: JsonValue) -> bool:
    level = [value]
    while level:
        if any(type(item) is int and abs(item) > MAX_INTEGER for item in level):
            return True
        level = [child for item in level if type(item) in _CONTAINERS for child in _children(item)]
    return False


def _children(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> FormatError:
    return FormatError("JSON document is nested too deep", expected=f"at most {MAX_DEPTH}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("JSON object repeats a key")
    return found


def _refuse_float(text: str) -> NoReturn:
    raise FormatError("JSON document holds a number that is not an integer", got=text[:40])


def _finite_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise FormatError("JSON number is out of range", got=text[:40])
    return value


def _bounded_integer(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MAX_INTEGER or text == "-0":
        raise FormatError("JSON integer is out of range", expected="within ±(2^53-1)", got=text[:40])
    return value


def _refuse_surrogates(value: JsonValue) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise FormatError("JSON string holds a lone surrogate")
    elif isinstance(value, list):
        for item in value:
            _refuse_surrogates(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_surrogates(key)
            _refuse_surrogates(item)


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(  # type: ignore[attr-defined]
    object_pairs_hook=_unique_keys,
    parse_float=_refuse_float,
    parse_constant=_refuse_float,
    parse_int=_bounded_integer,
).scan_once
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode
