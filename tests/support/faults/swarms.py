"""Numbered hostile swarms: their hostile and honest peers, and the options of the fetch."""

from __future__ import annotations

import random
from dataclasses import dataclass

from p2pqwen.swarm.endpoint import Endpoint
from tests.simulators.hostile_peers import ALL, LIARS, leading_to
from tests.support.faults.strikes import Outcome
from tests.support.hostile import Strangers

PATIENCE = 25.0
HASTE = 4.0
BOUND = 180.0


@dataclass(frozen=True, slots=True)
class SwarmPlan:
    """One swarm. `honest`: the seeds in it, `real` (another p2pqwen) or `v1` (one that gives no hashes of blocks)."""

    number: int
    hostile: tuple[str, ...]
    honest: tuple[str, ...]
    magnet: bool

    @classmethod
    def of(cls, number: int) -> SwarmPlan:
        dice = random.Random(f"swarm {number}")
        many = 30 if number % 50 == 49 else dice.randint(1, 8)
        names = [*ALL, *LIARS, *LIARS]  # liars are the worst
        honest = dice.choice((("real",), ("real",), ("v1",), ("v1", "real"), ()))
        return cls(number, tuple(dice.choice(names) for _ in range(many)), honest, dice.random() < 0.3)


def run(plan: SwarmPlan, strangers: Strangers, seed: str) -> Outcome:
    """Fetch in the swarm; in some, a hostile peer also names the others and an uninvolved address (BEP 11)."""
    peers = [strangers.peer(ALL[name]) for name in plan.hostile]
    if plan.number % 3 == 0:
        peers.append(strangers.peer(leading_to([*(peer.endpoint for peer in peers), Endpoint("127.0.0.1", 9)])))
    honest = [seed if kind == "real" else str(strangers.peer().endpoint) for kind in plan.honest]
    timeout = PATIENCE if honest else HASTE
    met = strangers.meet(str(plan.number), peers, beside=honest, magnet=plan.magnet, timeout=timeout)
    problems = []
    right = strangers.on_disk(met.user) == strangers.files
    if met.code != 0 and honest:
        problems.append(f"exit code {met.code} beside an honest seed: {met.stderr[-2000:]}")
    if met.code not in {0, 3, 5}:
        problems.append(f"exit code {met.code}: {met.stderr[-2000:]}")
    if met.code == 0 and not right:
        problems.append("it claims to be complete and is not")
    if met.code != 0 and met.user.cache.exists():
        problems.append("something was laid into the cache")
    if met.seconds > BOUND:
        problems.append(f"it took {met.seconds:.0f} s")
    return Outcome(plan, (met.code,), tuple(problems))
