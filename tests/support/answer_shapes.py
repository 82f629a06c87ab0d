"""The shape of a typed answer as JSON: every path in it, and the kinds of value allowed there.

A path names keys from the outside in, `[]` an item of a list and `*` any key of a mapping, as in `.bad[].path`.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from p2pqwen.values.digest import Digest
from p2pqwen.values.snapshot_id import RepoId

Shape: TypeAlias = dict[str, list[str]]

_TEXTS = (Digest, RepoId, Path, datetime, enum.StrEnum, str)
_PLAIN = {bool: "bool", int: "int", float: "float", types.NoneType: "null"}


def shape_of(kind: Any) -> Shape:
    """Return every path of an answer's JSON with the kinds of value that its type allows."""
    found: dict[str, set[str]] = {}
    for path, name in _walk(kind, ""):
        found.setdefault(path, set()).add(name)
    return {path: sorted(found[path]) for path in sorted(found)}


def paths_of(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield every path of a JSON value with the kind of the value there."""
    match value:
        case dict():
            yield at, "object"
            for key, item in value.items():
                yield from paths_of(item, f"{at}.{key}")
        case list():
            yield at, "list"
            for item in value:
                yield from paths_of(item, f"{at}[]")
        case _:
            yield at, "null" if value is None else {str: "text"}.get(type(value), type(value).__name__)


def misfits(value: Any, shape: Shape) -> list[str]:
    """Name the parts of a JSON value that its shape does not have. Missing parts are not checked."""
    wild = {path.removesuffix(".*"): kinds for path, kinds in shape.items() if path.endswith(".*")}
    free = tuple(f"{path}{more}" for path, kinds in shape.items() if "any" in kinds for more in (".", "["))
    told = []
    for path, kind in paths_of(value):
        if path.startswith(free):  # below `any`, everything is allowed
            continue
        above = [one for one in wild if path.startswith(f"{one}.")]
        allowed = shape.get(path) or (wild[max(above, key=len)] if above else [])
        if kind not in allowed and "any" not in allowed and not (kind == "int" and "float" in allowed):
            told.append(f"{path}: {kind} is none of {allowed}")
    return told


def _walk(kind: Any, at: str) -> Iterator[tuple[str, str]]:
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        for one in get_args(kind):
            yield from _walk(one, at)
    elif origin is Literal:
        yield at, "text"
    elif origin is tuple:
        yield at, "list"
        yield from _walk(get_args(kind)[0], f"{at}[]")
    elif origin is not None and issubclass(origin, Mapping):
        yield at, "object"
        yield from _walk(get_args(kind)[1], f"{at}.*")
    elif kind in _PLAIN:
        yield at, _PLAIN[kind]
    elif kind is object or not isinstance(kind, type):
        yield at, "any"
    elif issubclass(kind, _TEXTS):
        yield at, "text"
    elif is_dataclass(kind):
        yield at, "object"
        yield from _fields(kind, at)
    else:
        raise TypeError(f"{kind} at {at!r} has no place in an answer")


def _fields(kind: type, at: str) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(kind)
    for one in fields(kind):
        if one.metadata.get("flat"):
            yield from ((path, name) for path, name in _walk(hints[one.name], at) if path != at)
        else:
            yield from _walk(hints[one.name], f"{at}.{one.metadata.get('key', one.name)}")
