"""A silent replacement for huggingface_hub's progress bar that passes byte counts to a callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from p2pqwen.errors import VerificationError


@contextmanager
def counted(on_bytes: Callable[[int], None], what: str, size: int) -> Iterator[type[Any]]:
    """Yield a class to pass as `tqdm_class`; if the block fails, what it counted is taken back.

    Raises `VerificationError` as soon as more than `size` bytes arrive. huggingface_hub checks the size only at the end
    of a body, and an endless body would fill the disk first.
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
        """Ignore bytes on the wire: Xet bytes are counted when they are written."""

    def set_postfix_str(self, text: str, *, refresh: bool = False) -> None:
        """Draw nothing."""

    def set_transfer_postfix_str(self, text: str, *, refresh: bool = False) -> None:
        """Draw nothing."""
