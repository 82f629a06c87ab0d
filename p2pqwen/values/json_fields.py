"""Read fields of a parsed JSON object by the type that each must have; raise `FormatError` for another type."""

from __future__ import annotations

from typing import NoReturn

from p2pqwen.errors import FormatError
from p2pqwen.values.strict_json import MAX_INTEGER, JsonObject, JsonValue


def text(source: JsonObject, name: str, *, limit: int = 4096) -> str:
    """Return a string of at most `limit` characters."""
    value = source.get(name)
    if not isinstance(value, str):
        _refuse(source, name, "text")
    if len(value) > limit:
        raise FormatError(f"field {name!r} is too long", expected=f"at most {limit} characters", got=len(value))
    return value


def optional_text(source: JsonObject, name: str, *, limit: int = 4096) -> str | None:
    """Return a string, or None if the field is null or absent."""
    return None if source.get(name) is None else text(source, name, limit=limit)


def integer(source: JsonObject, name: str, *, at_least: int = 0, at_most: int = MAX_INTEGER) -> int:
    """Return an integer within bounds; a boolean is not an integer."""
    value = source.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(source, name, "an integer")
    if not at_least <= value <= at_most:
        raise FormatError(f"field {name!r} is out of range", expected=f"{at_least} to {at_most}", got=value)
    return value


def array(source: JsonObject, name: str, *, limit: int) -> list[JsonValue]:
    """Return a list of at most `limit` items."""
    value = source.get(name)
    if not isinstance(value, list):
        _refuse(source, name, "a list")
    if len(value) > limit:
        raise FormatError(f"field {name!r} is too long", expected=f"at most {limit} items", got=len(value))
    return value


def obj(source: JsonObject, name: str) -> JsonObject:
    """Return an object."""
    return as_object(source.get(name), name)


def as_object(value: JsonValue, name: str) -> JsonObject:
    """Return the value, which must be an object."""
    if not isinstance(value, dict):
        raise FormatError(f"field {name!r}", expected="an object", got=_kind(value))
    return value


def texts(source: JsonObject, name: str, *, limit: int) -> tuple[str, ...]:
    """Return a list of at most `limit` strings."""
    found = []
    for value in array(source, name, limit=limit):
        if not isinstance(value, str):
            raise FormatError(f"field {name!r}", expected="a list of text", got=_kind(value))
        found.append(value)
    return tuple(found)


def constant(source: JsonObject, name: str, expected: str | int) -> None:
    """Check a field that has one allowed value."""
    value = source.get(name)
    if type(value) is not type(expected) or value != expected:
        raise FormatError(f"field {name!r}", expected=repr(expected), got=repr(value)[:80])


def _refuse(source: JsonObject, name: str, expected: str) -> NoReturn:
    got = _kind(source[name]) if name in source else "nothing"
    raise FormatError(f"field {name!r}", expected=expected, got=got)


def _kind(value: JsonValue) -> str:
    return "null" if value is None else type(value).__name__
