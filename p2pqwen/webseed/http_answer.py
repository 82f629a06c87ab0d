"""Check that an HTTP answer is the requested part of the file, by its status and header fields alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from p2pqwen.values.byte_size import format_size
from p2pqwen.values.rate_limit import retry_after
from p2pqwen.webseed.fault import Kind, UpstreamError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
_MAX_SKIP = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bytes `start` to `stop` of a file of `size`; `skip_any` accepts a whole file wherever they begin in it."""

    path: str
    size: int
    start: int
    stop: int
    skip_any: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What a body contains: the bytes from `start` to `stop` of the file."""

    start: int
    stop: int


def read_answer(wanted: Wanted, status: int, headers: Mapping[str, str], *, now: datetime) -> Part:
    """Return what an answer other than a redirect contains; raises `UpstreamError`."""
    if status not in {200, 206}:
        raise _refusal(status, headers, now=now)
    if headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UpstreamError(Kind.UNFIT, "the body is encoded, and plain bytes were asked for")
    length = _content_length(headers)
    if status == 206:
        return _partial(wanted, headers, length)
    if length not in {None, wanted.size} or (length is None and _is_page(wanted, headers)):
        page = _is_page(wanted, headers)
        what = "an HTML page" if page else f"a file of {length} bytes"
        raise UpstreamError(Kind.UNFIT, f"{what}, expected {wanted.size} bytes", other_size=not page)
    if wanted.start > _MAX_SKIP and not wanted.skip_any:
        raise UpstreamError(
            Kind.NO_RANGES, f"the whole file, where bytes from {format_size(wanted.start)} on were asked"
        )
    return Part(0, wanted.size)


def _partial(wanted: Wanted, headers: Mapping[str, str], length: int | None) -> Part:
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        raise UpstreamError(Kind.UNFIT, "206 without a Content-Range that can be read")
    start, stop = int(match[1]), int(match[2]) + 1
    if match[3] not in {"*", str(wanted.size)}:
        text = f"part of a file of {match[3]} bytes, expected {wanted.size}"
        raise UpstreamError(Kind.UNFIT, text, other_size=True)
    if start != wanted.start or not start < stop <= wanted.stop or length not in {None, stop - start}:
        asked = f"{wanted.start}-{wanted.stop - 1}"
        raise UpstreamError(Kind.UNFIT, f"bytes {match[1]}-{match[2]}, where {asked} were asked")
    return Part(start, stop)


def _refusal(status: int, headers: Mapping[str, str], *, now: datetime) -> UpstreamError:
    answered = f"answered {status}"
    if status in {429, 503}:
        return UpstreamError(Kind.BUSY, answered, wait=retry_after(headers, now=now))
    if status in {404, 410}:
        return UpstreamError(Kind.ABSENT, answered)
    if status in {401, 403, 451}:
        return UpstreamError(Kind.REFUSED, answered)
    if status == 416:
        return UpstreamError(Kind.UNFIT, "answered 416: its file is shorter", other_size=True)
    return UpstreamError(Kind.BROKEN if status >= 500 else Kind.UNFIT, answered)


def _is_page(wanted: Wanted, headers: Mapping[str, str]) -> bool:
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind in {"text/html", "application/xhtml+xml"} and not wanted.path.endswith((".html", ".htm", ".xhtml"))


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
