"""Loops in which the failure of one item does not stop the others and cannot go unreported.

Publishers, entries, snapshots, torrents, web seeds, mirrors and peers are other people's. A loop over them runs its
step through `each` or `each_at_once`: both require a handler for failures, and both continue after one.
tests/unit/test_containment.py reads the sources: its table lists every other loop over such things, with the reason why
nothing in it can fail.

A failure is any exception: a bug of ours that one entry triggers must not stop the others either. The whole work ends
only with an `Interruption`, or with an exception outside `Exception` (Ctrl-C, a cancelled task).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from p2pqwen.errors import Interruption, P2pqwenError
from p2pqwen.events import Notice, Report

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    items: Iterable[Item], step: Callable[[Item], Result], *, failed: Callable[[Item, P2pqwenError], object]
) -> list[Result]:
    """Run a step for every item and return the results of those that succeed, in order.

    `failed` receives every other item with its error. Raises `Interruption`, and what `failed` raises.
    """
    results = []
    for item in items:
        try:
            result = step(item)
        except Interruption:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            failed(item, as_error(error))
        else:
            results.append(result)
    return results


def first_of(
    items: Iterable[Item], step: Callable[[Item], Result | None], *, failed: Callable[[Item, P2pqwenError], object]
) -> Result | None:
    """Run a step for one item after another and return the first result that is not None; None if there is none."""
    for item in items:
        for found in each([item], step, failed=failed):
            if found is not None:
                return found
    return None


async def each_at_once(
    items: Iterable[Item],
    step: Callable[[Item], Awaitable[Result]],
    *,
    failed: Callable[[Item, P2pqwenError], object],
    at_once: int | None = None,
) -> list[Result]:
    """Do what `each` does, concurrently, for at most `at_once` items at a time (None: no limit)."""
    import asyncio  # noqa: PLC0415 - most programs that loop await nothing

    todo = list(items)
    turns = asyncio.Semaphore(at_once if at_once is not None else max(1, len(todo)))

    async def one(item: Item) -> tuple[Result] | None:
        try:
            async with turns:
                return (await step(item),)
        except Interruption:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            failed(item, as_error(error))
            return None

    done = await asyncio.gather(*map(one, todo))
    return [found[0] for found in done if found is not None]


def warn(report: Report, name: Callable[[Item], object] = str) -> Callable[[Item, P2pqwenError], None]:
    """Return a function that reports a failure in one line: the item's `name` and what is wrong with it."""
    return lambda item, error: report(Notice("warning", f"{name(item)}: {error.message}"))


def as_error(error: Exception) -> P2pqwenError:
    """Return an error that may be shown: ours unchanged, any other with its type."""
    return error if isinstance(error, P2pqwenError) else P2pqwenError(f"{type(error).__name__}", got=str(error) or None)
