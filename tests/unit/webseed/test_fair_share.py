"""Equal shares by address, with a clock of our own: who leaves, when, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pqwen.webseed.fair_share import FairRule, Shares, address_group
from p2pqwen.webseed.places import Places, Reader

RULE = FairRule(slowest=1000, measured=5.0, grace=2.0, turn=60.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("::1", "127.0.0.1", False),
        ("", "", True),
    ],
)
def test_what_counts_as_one_address(one, other, same):
    assert (address_group(one) == address_group(other)) is same


def shares(**held: int) -> Shares[str]:
    """Groups with so many places each, all held since 0."""
    found: Shares[str] = Shares(RULE)
    for group, count in held.items():
        for number in range(count):
            found.hold(f"{group}{number}", group, 0.0)
    return found


CASES = {
    "nobody waits long enough": ({"a": 32}, "b", 1.9, 1.9, None),
    "more than its share": ({"a": 32}, "b", 2.0, 2.0, "a0"),
    "one of several with more": ({"a": 3, "c": 20}, "b", 2.0, 2.0, "c0"),
    "equal shares stay": ({"a": 2, "b": 1}, "b", 50.0, 50.0, None),
    "its own are not cut for it": ({"b": 32}, "b", 1e9, 1e9, None),
    "one each, not yet": ({"a": 1, "c": 1}, "b", 59.0, 59.0, None),
    "one each, a turn later": ({"a": 1, "c": 1}, "b", 60.0, 60.0, "a0"),
    "a turn is no right of who holds as many": ({"a": 1, "b": 1}, "b", 1e9, 1e9, None),
}


@pytest.mark.parametrize("case", CASES)
def test_who_leaves(case):
    held, group, waited, now, leaves = CASES[case]
    assert shares(**held).cut(group, waited=waited, now=now) == leaves


@pytest.mark.parametrize(
    ("taken", "owed", "group", "leaves"),
    [
        (4_999, 1, "b", "a0"),  # below 1000 a second for 5 seconds
        (5_000, 1, "b", None),
        (0, 0, "b", None),  # it took everything: it is we who are slow
        (0, 1, "a", None),  # nobody else waits
    ],
)
def test_a_slow_reader_leaves_while_another_address_waits(taken, owed, group, leaves):
    found = shares(a=1)
    found.observe("a0", taken=0, owed=1, now=4.9)
    found.observe("a0", taken=taken, owed=owed, now=5.0)
    assert found.cut(group, waited=0.0, now=5.0) == leaves


def test_a_slow_reader_of_a_small_share_does_not_leave_for_who_holds_as_many():
    """Else somebody with many connections could have everybody cut whose line is slow."""
    found = shares(a=1, b=1, c=31)
    found.observe("a0", taken=0, owed=1, now=6.0)
    assert found.cut("c", waited=1e9, now=6.0) is None
    assert found.cut("b", waited=1.0, now=6.0) is None
    assert found.cut("d", waited=0.0, now=6.0) == "a0"


def test_who_was_told_to_leave_is_gone():
    found = shares(a=3)
    assert [found.cut("b", waited=9, now=9) for _ in range(3)] == ["a0", "a1", None]
    assert (found.count("a"), found.leaving, len(found)) == (1, 2, 3)
    found.release("a0")
    assert (found.leaving, len(found)) == (1, 2)


def test_another_body_on_the_same_connection_is_judged_anew():
    found = shares(a=1)
    found.observe("a0", taken=1_000_000, owed=1, now=5.0)
    found.observe("a0", taken=10, owed=1, now=20.0)
    assert found.cut("b", waited=0.0, now=20.0) is None


class Simulated:
    """Places and readers that never finish, on a clock that steps seconds."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.places = Places(count, RULE, lambda: self.now)
        self.served: Counter[str] = Counter()
        self.serving: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, group: str, *, rate: int, again: bool) -> None:
        self.tasks.append(asyncio.create_task(self._read(group, rate, again)))

    async def _read(self, group: str, rate: int, again: bool) -> None:
        await self._body(group, rate)
        while again:
            await self._body(group, rate)

    async def _body(self, group: str, rate: int) -> None:
        gone = asyncio.Event()
        began = self.now
        reader = Reader(group, lambda: (int(rate * (self.now - began)), 1), gone.set)
        async with self.places.place(reader):
            began = self.now
            self.serving[group] += 1
            await gone.wait()
            self.serving[group] -= 1
            self.served[group] += int(self.now - began)

    async def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.places.look()
            for _ in range(4):
                await asyncio.sleep(0)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def simulate(work):
    async def run() -> None:
        await work

    asyncio.run(run())


def test_slow_readers_stay_while_nobody_waits_and_make_room_when_somebody_does():
    async def work() -> None:
        sim = Simulated(32)
        for _ in range(32):
            sim.come("slow", rate=1, again=True)
        await sim.run(1000)
        assert (sim.serving, sim.served) == ({"slow": 32}, {})
        sim.come("quick", rate=10**6, again=True)
        await sim.run(3)
        assert sim.serving["quick"] == 1

    simulate(work())


def test_two_addresses_that_want_everything_get_half_each():
    async def work() -> None:
        sim = Simulated(8)
        for _ in range(32):
            sim.come("greedy", rate=10**6, again=True)
        await sim.run(10)
        for _ in range(32):
            sim.come("late", rate=10**6, again=True)
        await sim.run(30)
        assert sim.serving == {"greedy": 4, "late": 4}

    simulate(work())


@settings(deadline=None, max_examples=40)
@given(
    addresses=st.lists(st.tuples(st.integers(1, 12), st.sampled_from([1, 900, 10**6])), min_size=1, max_size=12),
    places=st.integers(1, 6),
)
def test_97_nobody_waits_for_ever(addresses, places):
    """Whatever others open and however they read: each address is served within a turn for each that was before it."""

    async def work() -> None:
        sim = Simulated(places)
        for number, (connections, rate) in enumerate(addresses):
            for _ in range(connections):
                sim.come(f"address {number}", rate=rate, again=True)
        sim.come("newcomer", rate=10**6, again=True)
        longest = (int(RULE.turn) + 2) * (len(addresses) + 2)
        for _ in range(longest):
            await sim.run(1)
            if sim.serving["newcomer"] or sim.served["newcomer"]:
                break
        assert sim.serving["newcomer"] or sim.served["newcomer"], sim.serving
        await sim.end()

    simulate(work())


def test_a_request_that_is_cancelled_while_it_waits_holds_nothing():
    async def work() -> None:
        sim = Simulated(1)
        sim.come("one", rate=1, again=False)
        await sim.run(1)
        for _ in range(3):
            sim.come("two", rate=1, again=False)
        await sim.run(1)
        assert sim.places.waiting == 3
        for task in sim.tasks[1:3]:
            task.cancel()
        await sim.run(10)
        assert sim.places.waiting == 0
        assert sim.serving["two"] == 1

    simulate(work())
