"""Piece buffers: memory bounded, nobody waits for ever, checked pieces found again."""

from __future__ import annotations

import asyncio
import random

from p2pqwen.webseed.buffers import BufferPool


def test_memory_is_bounded_and_everybody_gets_a_turn():
    pool, peak, done = BufferPool(1000), [], []

    async def user(number, capacity):
        for _ in range(20):
            buffer = await pool.take(capacity)
            peak.append(pool.allocated)
            assert len(buffer.data) == capacity
            if number % 2:
                pool.publish(buffer, ("piece", number, random.random()))
            await asyncio.sleep(0)
            pool.give(buffer)
        done.append(number)

    async def run():
        await asyncio.wait_for(asyncio.gather(*(user(n, (100, 300, 700)[n % 3]) for n in range(12))), 30)

    asyncio.run(run())
    assert len(done) == 12
    assert max(peak) <= 1000


def test_a_piece_larger_than_the_limit_still_gets_its_one_buffer():
    async def run():
        pool = BufferPool(1000)
        buffer = await pool.take(5000)
        pool.give(buffer)
        return len((await pool.take(5000)).data)

    assert asyncio.run(run()) == 5000


def test_a_checked_piece_is_found_until_its_memory_is_needed():
    async def run():
        pool = BufferPool(200)
        first = await pool.take(100)
        assert pool.find("first") is None
        pool.publish(first, "first")
        assert pool.find("first") is first  # while it is lent
        pool.give(first)
        second = await pool.take(100)
        assert second is not first
        pool.give(second)
        pool.give(first)
        assert pool.find("first") is first
        pool.give(first)
        second = await pool.take(100)
        third = await pool.take(100)
        assert first in (second, third)
        assert pool.find("first") is None
        assert first.key is None

    asyncio.run(run())


def test_whoever_stops_waiting_takes_nothing_along():
    async def run():
        pool = BufferPool(100)
        held = await pool.take(100)
        waiting = asyncio.create_task(pool.take(100))
        await asyncio.sleep(0)
        waiting.cancel()
        pool.give(held)
        await asyncio.gather(waiting, return_exceptions=True)
        assert await asyncio.wait_for(pool.take(100), 5) is held

    asyncio.run(run())
