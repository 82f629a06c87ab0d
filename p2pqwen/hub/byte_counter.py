"""huggingface_hub's progress bar interface, answered by a callback: bytes are counted and nothing is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from p2pqwen.errors import VerificationError


@contextmanager
def counted(on_bytes: Callable[[int], None], what: str, size: int) -> Iterator[type[Any]]:
    """Give a class to pass as `tqdm_class`; if the block fails, what it counted is taken back.

    More bytes than `size` are not counted but end the download, with `VerificationError`: huggingface_hub itself looks
    at the size once a body has ended, and some need not end before the disk is full.
    """
    received = 0

    def count(change: int) -> None:
        nonlocal received
        if received + change > size:
            raise VerificationError(f"{what} has the wrong size", expected=size, got="more")
        received += change
        on_bytes(change)

    class Bar(_SilentBar):
        def update(self, n: float | None = 1) -> None:
            count(int(n or 0))

    try:
        yield Bar
    except BaseException:
        if received:
            on_bytes(-received)
        raise


class _SilentBar:
    """As much of tqdm as a download of one file uses, over HTTP and over Xet."""

    def __init__(self, *args: object, **settings: object) -> None:
        del args, settings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def close(self) -> None:
        """Nothing to close."""

    def update_transfer(self, n: float | None = 1) -> None:
        """Take no notice of bytes on the wire: with Xet they are counted when they are written."""

    def set_postfix_str(self, text: str, *, refresh: bool = False) -> None:
        """Draw nothing."""

    def set_transfer_postfix_str(self, text: str, *, refresh: bool = False) -> None:
        """Draw nothing."""
