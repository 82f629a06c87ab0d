"""The body of a paths-info request: JSON, or the form that huggingface_hub sends."""

from __future__ import annotations

from urllib.parse import parse_qs

from p2pqwen.errors import FormatError
from p2pqwen.values.strict_json import parse_call

MAX_BODY = 1 << 20
_FORM = "application/x-www-form-urlencoded"


def asked_paths(body: bytes, content_type: str) -> list[str] | None:
    """Return the paths that a request names, None for a malformed body."""
    if content_type == _FORM:
        return parse_qs(body.decode("utf-8", "replace")).get("paths", [])
    try:
        paths = parse_call(body, max_bytes=MAX_BODY).get("paths")
    except FormatError:
        return None
    if isinstance(paths, str):
        return [paths]
    if not isinstance(paths, list):
        return None
    named = [one for one in paths if isinstance(one, str)]
    return named if len(named) == len(paths) else None
