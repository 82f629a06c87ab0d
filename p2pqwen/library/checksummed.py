"""Small JSON files of a home that detect a flipped bit: each contains the SHA-256 of its other fields.

A file without a checksum, from an older version or edited by hand, is accepted unchecked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject, JsonValue, canonical, parse_object

_CHECK = "check"


def seal(fields: Mapping[str, JsonValue]) -> bytes:
    """Return a file's bytes: these fields and their checksum."""
    return json.dumps({**fields, _CHECK: _digest(fields)}).encode()


def unseal(data: bytes, *, max_bytes: int, always: bool = False) -> JsonObject:
    """Return a file's fields; raises `FormatError` if it is not what was written.

    `always`: require the checksum, because only we write this file and always write one.
    """
    fields = dict(parse_object(data, max_bytes=max_bytes))
    expected = fields.pop(_CHECK, None)
    if (always or expected is not None) and (got := _digest(fields)) != expected:
        raise FormatError("the file changed since it was written", expected=f"sha256 {expected}", got=f"sha256 {got}")
    return fields


def _digest(fields: Mapping[str, JsonValue]) -> str:
    return str(Sha256.of(canonical(dict(fields))))
