"""A connection that is fed from files by the system: `sendfile` once for each time that its socket takes more.

asyncio's own `loop.sendfile` takes the socket out of the selector and puts it back for each part that fits into it, of
which a gigabyte over loopback has some 600: a reader then waits for Python half as long as for its bytes [measured].
"""

from __future__ import annotations

import asyncio
import errno
import os
from types import TracebackType
from typing import Self

from p2pqwen.portable.files import send_part

_NOT_BY_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


class SocketFeed:
    """Sends parts of files over a transport, one after the other; a context manager, for its event loop's thread."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()
        self._socket = transport.get_extra_info("socket")
        self._able = isinstance(self._loop, asyncio.SelectorEventLoop)
        self._watched: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watched is not None:
            os.close(self._watched)

    async def send(self, file: int, at: int, count: int) -> int:
        """Send bytes of an open file from an offset on, and return how many there were: fewer where it ends.

        Raises `asyncio.SendfileNotAvailableError` where nothing was sent and only a copy goes, `ConnectionError`,
        `OSError`.
        """
        transport = self._transport
        if transport.is_closing():
            raise ConnectionResetError
        if self._able and not transport.get_write_buffer_size():
            return await self._send(file, at, count)
        # asyncio sends what was written before first. It sets the position of the open file, though it reads at
        # offsets: nobody reads by that.
        with os.fdopen(os.dup(file), "rb", buffering=0) as opened:
            return await self._loop.sendfile(transport, opened, at, count, fallback=False)

    async def _send(self, file: int, at: int, count: int) -> int:
        socket = self._socket.fileno()
        done: asyncio.Future[int] = self._loop.create_future()
        sent = 0

        def go_on() -> None:
            nonlocal sent
            if done.done():
                return
            try:
                part = send_part(socket, file, at + sent, count - sent)
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
            if self._watched is None:  # a selector knows the transport's own number, and lets nobody ask about that
                self._watched = os.dup(socket)
            self._transport.pause_reading()  # as asyncio does: what the peer says next waits for the end of this
            self._loop.add_writer(self._watched, go_on)
            try:
                await done
            finally:
                self._loop.remove_writer(self._watched)
                self._transport.resume_reading()
        return done.result()
