"""Compare a JSON value with a shape made of types, and name every difference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SNAPSHOT = re.compile(r"[^/@]+/[^/@]+@[0-9a-f]{40}")
TEXT = re.compile(r".+", re.DOTALL)


def differences(value: Any, shape: Any, at: str = "$") -> Iterator[str]:
    """Name what is missing or of another kind.

    A shape is a type (a bool is not an `int`), a pattern that must match the whole text, a dictionary of required
    fields (more are allowed), a list with the shape of every item, a set of allowed values, or a tuple of shapes of
    which one must fit.
    """
    match shape:
        case tuple():
            fits = any(not list(differences(value, one, at)) for one in shape)
        case set():
            fits = value in shape
        case re.Pattern():
            fits = isinstance(value, str) and shape.fullmatch(value) is not None
        case dict() | list():
            fits = type(value) is type(shape)
        case _:
            fits = type(value) is shape
    if not fits:
        yield f"{at}: {value!r} is not {shape}"
    elif isinstance(shape, dict):
        yield from (f"{at}: no field {name!r}" for name in shape.keys() - value.keys())
        for name in shape.keys() & value.keys():
            yield from differences(value[name], shape[name], f"{at}.{name}")
    elif isinstance(shape, list):
        for index, item in enumerate(value):
            yield from differences(item, shape[0], f"{at}[{index}]")
