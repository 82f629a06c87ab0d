"""Convert typed values to JSON and back: the answers of commands and of the control API.

A dataclass becomes an object of its fields, in order; a digest, a repository, a path or an enumeration its text; a time
RFC 3339 in UTC; a tuple a list. A field's metadata gives its JSON name, if Python cannot (`from`), and says whether its
own fields go directly into the surrounding object (`repo` and `commit` of a snapshot):

    snapshot: SnapshotId = field(metadata=FLAT)
    origin: str = field(metadata=named("from"))

Of two fields with one name, the later one counts. A flat field that is None adds nothing. Other types are refused, so
nothing gets into an answer by accident.
"""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from typing import runtime_checkable as checkable

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import Digest
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.strict_json import JsonObject, JsonValue
from p2pqwen.values.utc_time import format_time, parse_time

FLAT: Mapping[str, object] = types.MappingProxyType({"flat": True})
"""Metadata of a field whose own fields go into the surrounding object."""

T = TypeVar("T")

_AS_IS = frozenset({types.NoneType, bool, int, str})


def named(key: str) -> Mapping[str, object]:
    """Return the metadata of a field that is called `key` in JSON."""
    return types.MappingProxyType({"key": key})


class Answer(Protocol):
    """A result that is shown as a JSON object: any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@checkable
class _Path(Protocol):
    def __fspath__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _Slot:
    """How one field is written: under `key`, or `flat`. Reading needs what is `required`, and skips what is `fixed`."""

    name: str
    key: str
    flat: bool
    required: bool
    fixed: bool


def to_json(value: object) -> JsonValue:
    """Return a value as JSON; raises `TypeError` for an unsupported type, `ValueError` for NaN and infinity."""
    if type(value) in _AS_IS:
        return cast("JsonValue", value)
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    if isinstance(value, Mapping):
        return {_key(name): to_json(one) for name, one in value.items()}
    return _object_or_text(value)


def object_json(answer: Answer) -> JsonObject:
    """Return a dataclass as a JSON object; raises as `to_json` does."""
    shown: JsonObject = {}
    for slot in _slots(type(answer)):
        value = getattr(answer, slot.name)
        if not slot.flat:
            shown[slot.key] = to_json(value)
        elif value is not None:
            shown |= _as_object(to_json(value))
    return shown


def from_json(kind: type[T], value: JsonValue) -> T:
    """Read a `kind` from the JSON that `to_json` made; raises `FormatError` for anything else.

    Unknown fields are ignored, since a newer version may have them. A field with a default may be absent.
    """
    return cast("T", _read(kind, value, kind.__name__))


def _object_or_text(value: object) -> JsonValue:
    if isinstance(value, Digest | RepoId):
        return str(value)
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, _Path):
        return value.__fspath__()
    if is_dataclass(value) and not isinstance(value, type):
        return object_json(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def _finite(value: float) -> JsonValue:
    if not math.isfinite(value):
        raise ValueError(f"{value} has no place in JSON")
    return cast("JsonValue", value)  # `JsonValue` is the type of documents, which have no floats; answers do


def _key(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the key {name!r} is no text")
    return str(name)


def _as_object(value: JsonValue) -> JsonObject:
    if not isinstance(value, dict):
        raise TypeError(f"{type(value).__name__} cannot be flat")
    return value


@cache
def _slots(kind: type) -> tuple[_Slot, ...]:
    return tuple(
        _Slot(
            one.name,
            str(one.metadata.get("key", one.name)),
            bool(one.metadata.get("flat")),
            required=one.default is MISSING and one.default_factory is MISSING,
            fixed=not one.init,
        )
        for one in fields(kind)
    )


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: JsonValue, at: str) -> object:  # noqa: ANN401 - whatever an annotation may be
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        return _read_one_of(get_args(kind), value, at)
    if origin is Literal:
        return _read_literal(get_args(kind), value, at)
    if origin is tuple:
        rows = cast("list[JsonValue]", _must(value, list, at, "a list"))
        return tuple(_read(get_args(kind)[0], one, at) for one in rows)
    if origin is not None:
        items = cast("JsonObject", _must(value, dict, at, "an object"))
        return {name: _read(get_args(kind)[1], one, f"{at}.{name}") for name, one in items.items()}
    return _read_simple(kind, value, at)


def _read_simple(kind: Any, value: JsonValue, at: str) -> object:  # noqa: ANN401
    if kind in _PLAIN:
        expected, fits = _PLAIN[kind]
        if not fits(value):
            raise _wrong(at, expected, value)
        return value
    if is_dataclass(kind) and not issubclass(cast("type", kind), Digest | RepoId):
        return _read_object(cast("type", kind), value, at)
    return _read_text(kind, value, at)


def _read_text(kind: Any, value: JsonValue, at: str) -> object:  # noqa: ANN401
    text = cast("str", _must(value, str, at, "a text"))
    try:
        if issubclass(kind, datetime):
            return parse_time(text)
        return kind.parse(text) if issubclass(kind, Digest | RepoId) else kind(text)
    except (FormatError, ValueError) as error:
        expected = error.expected if isinstance(error, FormatError) else f"a {kind.__name__}"
        raise FormatError(f"field {at!r}", expected=expected, got=repr(text[:80])) from error


def _read_object(kind: type, value: JsonValue, at: str) -> object:
    shown = cast("JsonObject", _must(value, dict, at, "an object"))
    given: dict[str, object] = {}
    for slot in _slots(kind):
        hint = _hints(kind)[slot.name]
        if slot.fixed:
            continue
        if slot.flat:
            given[slot.name] = None if _is_left_out(hint, shown) else _read(hint, shown, at)
        elif slot.key in shown:
            given[slot.name] = _read(hint, shown[slot.key], f"{at}.{slot.key}")
        elif slot.required:
            raise FormatError(f"field '{at}.{slot.key}'", expected="something", got="nothing")
    return kind(**given)


def _is_left_out(hint: Any, shown: JsonObject) -> bool:  # noqa: ANN401
    """Tell whether an optional flat field is None, because none of its keys is there."""
    kinds = get_args(hint)
    if types.NoneType not in kinds:
        return False
    keys = {slot.key for kind in kinds if is_dataclass(kind) for slot in _slots(cast("type", kind))}
    return keys.isdisjoint(shown)


def _read_one_of(kinds: Sequence[Any], value: JsonValue, at: str) -> object:
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    if len(others) == 1:
        return _read(others[0], value, at)
    objects = [kind for kind in others if is_dataclass(kind)] if isinstance(value, dict) else []
    for kind in objects:  # the first whose required keys are there, so that errors are about that type
        if _required_keys(cast("type", kind)) <= cast("JsonObject", value).keys():
            return _read(kind, value, at)
    for kind in others:
        with suppress(FormatError):
            if kind not in objects:
                return _read(kind, value, at)
    raise _wrong(at, "one of " + ", ".join(getattr(one, "__name__", str(one)) for one in kinds), value)


@cache
def _required_keys(kind: type) -> frozenset[str]:
    """Return the required keys of a `kind`."""
    keys = {slot.key for slot in _slots(kind) if slot.required and not slot.flat}
    for slot in _slots(kind):
        hint = _hints(kind)[slot.name]
        if slot.flat and is_dataclass(hint):
            keys |= _required_keys(cast("type", hint))
    return frozenset(keys)


def _read_literal(allowed: Sequence[object], value: JsonValue, at: str) -> object:
    if not any(type(one) is type(value) and one == value for one in allowed):
        raise _wrong(at, "one of " + ", ".join(map(repr, allowed)), value)
    return value


def _must(value: JsonValue, kind: type, at: str, expected: str) -> object:
    if not isinstance(value, kind):
        raise _wrong(at, expected, value)
    return value


def _wrong(at: str, expected: str, value: JsonValue) -> FormatError:
    got = type(value).__name__ if isinstance(value, list | dict) else repr(value)[:80]
    return FormatError(f"field {at!r}", expected=expected, got=got)


def _is_float(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(cast("float", value))


_PLAIN: Mapping[object, tuple[str, Callable[[object], bool]]] = {
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("an integer", lambda value: type(value) is int),
    float: ("a number", _is_float),
    object: ("something", lambda _: True),
    types.NoneType: ("null", lambda value: value is None),
}
