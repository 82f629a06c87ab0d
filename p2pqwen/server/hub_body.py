"""A file's answer: the whole file or one range, sent from disk to socket by the system, and only verified bytes.

If bytes turn out to be missing after the status line, the connection is closed: no client takes a body that is too
short for the file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import suppress
from io import FileIO

from aiohttp import web

from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.hub_api.file_headers import file_headers, is_unchanged
from p2pqwen.hub_api.listing import etag
from p2pqwen.portable.files import read_at
from p2pqwen.portable.sockets import full_segments
from p2pqwen.server.hub_catalogue import HubSnapshot, Reading
from p2pqwen.values.byte_range import ByteRange, parse_range

IDLE_SECONDS = 600.0
"""A reader that takes no block for this long is cut off."""
_BLOCK = 16 << 20  # a reader slower than 28 kB/s counts as gone
_COPIED = 256 << 10
_SMALL = 64 << 10  # sent with its headers: `sendfile` needs a dozen calls
_LOOK_SECONDS = 1.0  # aiohttp does not tell a waiting handler that its connection was closed
_TYPE = "application/octet-stream"


async def answer_file(request: web.Request, snapshot: HubSnapshot, path: str, pool: Executor) -> web.StreamResponse:
    """Answer HEAD or GET of a listed file; raises `P2pqwenError` before anything is sent."""
    file = snapshot.info.files[path]
    headers = file_headers(file, snapshot.info.commit)
    if is_unchanged(request.headers.get("If-None-Match"), file):
        return web.Response(status=304, headers=headers)
    tag = f'"{etag(file)}"'
    asked = request.headers.get("Range") if request.headers.get("If-Range", tag) == tag else None
    wanted = parse_range(asked, file.size)
    if wanted is None:
        return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{file.size}"})
    if request.method == "HEAD" or not len(wanted):
        response = _response(wanted, headers)
        await response.prepare(request)
        return response
    loop = asyncio.get_running_loop()
    reading = await loop.run_in_executor(pool, snapshot.open, path, wanted.offsets)
    try:
        first = await _ready(
            request, reading, wanted.start
        )  # before a status line: what fails now has a status of its own
        if len(wanted) <= _SMALL and wanted.stop <= first:
            return _small(wanted, headers, read_at(reading.descriptor, len(wanted), wanted.start))
        response = _response(wanted, headers)
        with suppress(ConnectionError):
            await response.prepare(request)
            if await _send(request, response, reading, wanted, first):
                await response.write_eof()
            else:
                _cut(request)
        return response
    finally:
        reading.close()


def _response(wanted: ByteRange, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=_status(wanted), headers=_headers(wanted, headers))
    response.content_type = _TYPE
    response.content_length = len(wanted)
    return response


def _small(wanted: ByteRange, headers: Mapping[str, str], body: bytes) -> web.Response:
    if len(body) < len(wanted):
        raise VerificationError(
            "the file has become shorter", expected=f"{len(wanted)} bytes", got=f"{len(body)} bytes"
        )
    return web.Response(status=_status(wanted), headers=_headers(wanted, headers), body=body, content_type=_TYPE)


def _status(wanted: ByteRange) -> int:
    return 206 if wanted.partial else 200


def _headers(wanted: ByteRange, headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "Content-Range": wanted.content_range} if wanted.partial else {**headers}


async def _ready(request: web.Request, reading: Reading, at: int) -> int:
    """Wait for verified bytes while the client is connected; raises `ConnectionError` once it is gone."""
    found = reading.ready(at)
    if isinstance(found, int):
        return found
    coming = asyncio.wrap_future(found)
    while not coming.done():
        await asyncio.wait({coming}, timeout=_LOOK_SECONDS)
        if not coming.done() and (request.transport is None or request.transport.is_closing()):
            coming.cancel()
            raise ConnectionResetError
    return coming.result()


async def _send(
    request: web.Request, response: web.StreamResponse, reading: Reading, wanted: ByteRange, end: int
) -> bool:
    """Send the wanted bytes, verified up to `end` so far; False if they cannot be had or the client takes none."""
    at = wanted.start
    try:
        # For `sendfile`, which reads at offsets but sets the file's position; no reader uses that position.
        with os.fdopen(os.dup(reading.descriptor), "rb", buffering=0) as file:
            while at < wanted.stop:
                if at >= end:
                    end = await _ready(request, reading, at)
                stop = min(end, wanted.stop)
                with full_segments(_transport(request).get_extra_info("socket")):
                    while at < stop:
                        count = min(stop, at + _BLOCK) - at
                        if await _send_block(request, response, file, at, count) < count:
                            return False
                        at += count
    except (P2pqwenError, OSError):  # the latter includes timeouts and broken connections
        return False
    return True


async def _send_block(request: web.Request, response: web.StreamResponse, file: FileIO, at: int, count: int) -> int:
    async with asyncio.timeout(IDLE_SECONDS):
        try:
            return await asyncio.get_running_loop().sendfile(_transport(request), file, at, count, fallback=False)
        except asyncio.SendfileNotAvailableError:  # some file systems do not have it
            return await _copy_block(response, file, at, count)


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError
    return request.transport


async def _copy_block(response: web.StreamResponse, file: FileIO, at: int, count: int) -> int:
    """Send by reading at offsets. asyncio's own fallback moves the file's position, which all its readers share."""
    sent = 0
    while sent < count:
        data = await asyncio.to_thread(read_at, file.fileno(), min(_COPIED, count - sent), at + sent)
        if not data:
            break
        await response.write(data)
        sent += len(data)
    return sent


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
