"""One step for each of many: what goes wrong with one of them stops no other, and nobody can forget to say so.

Publishers, entries, snapshots, torrents, web seeds, mirrors and peers are other people's. A loop over them does its
step through `each` or `each_at_once`: both need to be told what to do with a failure, and both go on after it.
tests/unit/test_containment.py reads the sources: a loop over such things elsewhere stands in its table, with the reason
why nothing in it can fail.

A failure is any exception: a fault of ours that one entry brings to light must not keep the others from being looked at
either. Only an `Interruption` ends the whole work, and what is no `Exception` at all (Ctrl-C, a cancelled task).
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
    """Do a step for every item and return what came of those that went well, in order.

    `failed` is told of every other one. Raises `Interruption`, and what `failed` raises.
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
    """Do a step for one item after the other until one gives something, and return that; None where none does."""
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
    """Do what `each` does for all items together, at most `at_once` of them at a time (None: no limit)."""
    import asyncio  # noqa: PLC0415 - most programs that loop over something await nothing

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
    """Return a function that reports a failure in a line: the item by its `name`, and what is wrong with it."""
    return lambda item, error: report(Notice("warning", f"{name(item)}: {error.message}"))


def as_error(error: Exception) -> P2pqwenError:
    """Return an error that may be shown: ours as it is, anything else with its kind."""
    return error if isinstance(error, P2pqwenError) else P2pqwenError(f"{type(error).__name__}", got=str(error) or None)
