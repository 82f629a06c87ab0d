"""A connection that is fed from files by the system: `sendfile` once for each time that its socket takes more.

asyncio's own `loop.sendfile` takes the socket out of the selector and puts it back for each part that fits into it, of
which a gigabyte over loopback has some 600: a reader then waits for Python half as long as for its bytes [measured].
"""

from __future__ import annotations

import asyncio
import errno
import os
from io import FileIO
from types import TracebackType
from typing import Self

_NOT_BY_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


class SocketFeed:
    """Sends parts of files over a transport, one after the other; a context manager, for its event loop's thread."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()
        self._socket: int | None = None

    def __enter__(self) -> Self:
        # A number of its own: a selector knows the transport's, and lets nobody else ask about that.
        socket = self._transport.get_extra_info("socket")
        if hasattr(os, "sendfile") and socket is not None and isinstance(self._loop, asyncio.SelectorEventLoop):
            self._socket = os.dup(socket.fileno())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            os.close(self._socket)

    async def send(self, file: FileIO, at: int, count: int) -> int:
        """Send bytes from an offset on, and return how many there were: fewer where the file ends.

        Raises `asyncio.SendfileNotAvailableError` where nothing was sent and only a copy goes, `ConnectionError`,
        `OSError`.
        """
        transport = self._transport
        if transport.is_closing():
            raise ConnectionResetError
        if self._socket is None or transport.get_write_buffer_size():  # what was written before goes first
            return await self._loop.sendfile(transport, file, at, count, fallback=False)
        transport.pause_reading()  # as asyncio does: what the peer says next waits for the end of this
        try:
            return await self._send(self._socket, file.fileno(), at, count)
        finally:
            transport.resume_reading()

    async def _send(self, socket: int, file: int, at: int, count: int) -> int:
        done: asyncio.Future[int] = self._loop.create_future()
        sent = 0

        def go_on() -> None:
            nonlocal sent
            if done.done():
                return
            try:
                part = os.sendfile(socket, file, at + sent, count - sent)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                unable = not sent and error.errno in _NOT_BY_SENDFILE
                done.set_exception(asyncio.SendfileNotAvailableError(str(error)) if unable else error)
                return
            sent += part
            if not part or sent == count:
                done.set_result(sent)

        go_on()
        if not done.done():
            self._loop.add_writer(socket, go_on)
            try:
                await done
            finally:
                self._loop.remove_writer(socket)
        return done.result()
