"""Simulate years of an uncoordinated crowd under several rules of what to hold, to show which keep models alive.

Every week, nodes arrive (each with a disk, at home or at one of 6 hosting companies), choose what to hold, and leave
for good when their time is over. Their knowledge of the swarms is late and wrong: 2 weeks old, with a quarter of the
seeds unseen, and with an error of about 40 % that differs by node. The Hub occasionally deletes a repository, and after
half a year it closes: from then on, a snapshot without a copy is lost. After 1.5 years, the largest hosting company
closes, and a quarter of all disk space disappears at once.

`ours` is the rule of p2pqwen.stewardship (a test compares the two), with rebalancing every 4 weeks. Because in reality
people confirm each rebalancing, `no rebalancing` shows the effect of choosing alone. `fewest` takes the snapshot with
the fewest seen copies, like most lists of "please seed these", and rebalances too; its nodes err independently, which
spreads them more than one shared page would. `popular` takes the most requested snapshots; `random` is blind.

    python scripts/simulate_survival.py                        # the table and plots of SURVIVAL.md (minutes)
    python scripts/simulate_survival.py --worlds large --runs DIR   # 100,000 nodes, 10,000 snapshots (hours; resumes)
    python scripts/simulate_survival.py --rules variants       # why the rule's constants are what they are
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2pqwen.stewardship import allocation, rebalance
from p2pqwen.stewardship.danger import FLOOR, HUB_WORTH

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEEKS = 52
HOSTING_COMPANIES = np.array([0.35, 0.25, 0.15, 0.10, 0.10, 0.05])
HOSTED = 0.3
BATCH = 256
LANDING_WEEKS = 1
MOST_TAKEN_AT_REVIEW = 20
COLUMNS_AT_REVIEW = 200
LEAST_SHOWN = 0.1  # per cent


@dataclass(frozen=True, slots=True)
class World:
    """One crowd and one archive. Times in weeks, sizes in bytes."""

    name: str
    nodes: int
    snapshots: int
    median_disk: float
    seeds: int = 20
    years: float = 3.0
    home_stay: float = 32.0  # the mean; hosted nodes stay twice as long
    growing_up: int = 26
    hub_closes: int = 26
    deleted_a_week: float = 0.001
    company_closes: int = 78
    delay: int = 2
    noise: float = 0.4
    seen: float = 0.75


WORLDS = {
    world.name: world
    for world in (
        World("circle", nodes=60, snapshots=500, median_disk=5e11, seeds=60),
        World("crowd", nodes=1000, snapshots=500, median_disk=3e10, seeds=10),
        World("large", nodes=100_000, snapshots=10_000, median_disk=1e10, seeds=1),
    )
}
TITLES = {
    "circle": "60 nodes, half a terabyte each",
    "crowd": "1,000 nodes, 30 GB each",
    "large": "100,000 nodes, 10 GB each",
}


@dataclass(frozen=True, slots=True)
class View:
    """What some nodes (rows) know of some snapshots (columns) when they choose.

    `standing`: the dependable copies of each snapshot, as each node sees them. `luck`: uniform in (0, 1), by the hash
    of the two. `sizes` and `popularity` are per snapshot, `disks` per node.
    """

    standing: Floats
    luck: Floats
    sizes: Floats
    popularity: Floats
    disks: Floats


Order = Callable[[View], Floats]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a node orders snapshots (the least first), and whether it rebalances."""

    name: str
    order: Order
    rebalances: bool = True
    may_give: float = rebalance.SHARE_THAT_MAY_GIVE
    give_above: float = rebalance.GIVE_ABOVE


def ours(view: View, *, spread: float = allocation.SPREAD, weight: float = allocation.SIZE_BONUS) -> Floats:
    """`allocation.Offers.scores` for many nodes and snapshots at once."""
    share = np.clip(1 + np.log10(view.sizes[None, :] / view.disks[:, None]), 0, 1)
    return np.asarray(view.standing - weight * share + spread * np.log(-np.log(view.luck)))


def fewest(view: View) -> Floats:
    """Order by the fewest seen copies; ties in the order of the list, as on a web page."""
    return np.asarray(np.round(view.standing) + np.arange(len(view.sizes)) * 1e-9)


OURS = Rule("ours", ours)
RULES = (
    OURS,
    replace(OURS, name="ours, no rebalancing", rebalances=False),
    Rule("fewest", fewest),
    Rule("random", lambda view: view.luck, rebalances=False),
    Rule("popular", lambda view: np.broadcast_to(-view.popularity, view.standing.shape), rebalances=False),
)
VARIANTS = (
    OURS,
    Rule("hash at ties only", lambda view: np.round(view.standing) + view.luck),
    Rule("spread 0.1", partial(ours, spread=0.1)),
    Rule("spread 1", partial(ours, spread=1.0)),
    Rule("spread 2", partial(ours, spread=2.0)),
    Rule("no size bonus", partial(ours, weight=0.0)),
    Rule("size bonus 1", partial(ours, weight=1.0)),
    Rule("size bonus 4", partial(ours, weight=4.0)),
    replace(OURS, name="no rebalancing", rebalances=False),
    Rule("random, rebalances", lambda view: view.luck),
    replace(OURS, name="takes, never gives", may_give=0.0),
    replace(OURS, name="a quarter may give", may_give=0.25),
    replace(OURS, name="all may give", may_give=1.0),
    replace(OURS, name="gives above 6", give_above=6.0),
)


@dataclass(slots=True)
class Nodes:
    """The crowd, one slot for each node; slots of nodes that left are reused."""

    disk: Floats
    leaves: Ints
    company: Ints
    seed: NDArray[np.uint64]
    held: list[Ints] = field(default_factory=list)

    @classmethod
    def none(cls) -> Nodes:
        return cls(np.zeros(0), np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.uint64))

    def keep(self, staying: NDArray[np.bool_]) -> list[Ints]:
        """Drop the nodes that do not stay, and return what they held."""
        gone = [self.held[index] for index in np.flatnonzero(~staying)]
        self.disk, self.leaves = self.disk[staying], self.leaves[staying]
        self.company, self.seed = self.company[staying], self.seed[staying]
        self.held = [self.held[index] for index in np.flatnonzero(staying)]
        return gone

    def join(self, other: Nodes) -> None:
        self.disk = np.concatenate([self.disk, other.disk])
        self.leaves = np.concatenate([self.leaves, other.leaves])
        self.company = np.concatenate([self.company, other.company])
        self.seed = np.concatenate([self.seed, other.seed])
        self.held += other.held


class Simulation:
    """One world under one rule."""

    def __init__(self, world: World, rule: Rule, seed: int) -> None:
        self.world, self.rule = world, rule
        # Arrivals, departures and deletions have a separate random source from what nodes see, so every rule lives
        # through the same events.
        self.fate = np.random.default_rng([seed, 7])
        self.random = np.random.default_rng([seed, 8])
        count = world.snapshots
        # From embedding models of a few hundred MB to mixtures of experts of 1 TB; half below 12 GB.
        self.sizes = np.clip(np.exp(self.fate.normal(np.log(12e9), 1.6, count)), 2e8, 1e12)
        self.popularity = self.fate.pareto(1.2, count)
        self.seeds = self.fate.integers(0, 2**63, count, dtype=np.uint64)
        self.copies = np.zeros(count, int)
        self.on_hub = np.ones(count, bool)
        self.lost = np.zeros(count, bool)
        self.nodes = Nodes.none()
        self.landing: list[Ints] = []
        self.past: list[Ints] = []
        self.traffic = 0.0
        self.moved = 0
        self.week = 0

    def run(self) -> dict[str, Floats]:
        """Simulate all weeks; return, per week: snapshots and bytes lost, low percentiles of copies, traffic."""
        rows = []
        for week in range(int(self.world.years * WEEKS)):
            self.week = week
            self._land()
            self._happen()
            if self.rule.rebalances:
                self._review()
            self._arrive()
            self.past = [*self.past[-self.world.delay :], self.copies.copy()]
            rows.append(self._measure())
        table = np.array(rows)
        names = ("lost", "bytes_lost", "least", "median", "traffic")
        return {name: table[:, column] for column, name in enumerate(names)}

    def _measure(self) -> tuple[float, ...]:
        total = self.sizes.sum()
        least, median = np.percentile(self.copies, [1, 50])
        return self.lost.sum(), self.sizes[self.lost].sum() / total, least, median, self.traffic / total

    def _land(self) -> None:
        if self.landing:
            self.copies += np.bincount(np.concatenate(self.landing), minlength=len(self.copies))
            self.landing = []

    def _happen(self) -> None:
        world = self.world
        staying = self.nodes.leaves > self.week
        if self.week == world.company_closes:
            staying &= self.nodes.company != 0
        if gone := self.nodes.keep(staying):
            self.copies -= np.bincount(np.concatenate(gone), minlength=len(self.copies))
        if self.week > world.growing_up // 2:  # before that nobody could have saved it
            self.on_hub &= self.fate.random(len(self.on_hub)) >= world.deleted_a_week
        if self.week >= world.hub_closes:
            self.on_hub[:] = False
        self.lost |= ~self.on_hub & (self.copies <= 0)

    def _standing(self, viewers: int, columns: Ints | slice = slice(None)) -> Floats:
        """Return what each viewer sees: late, incomplete, and wrong by an individual factor for each snapshot."""
        known = self.past[0] if self.past else self.copies
        seen = self.random.binomial(known[columns], self.world.seen) / self.world.seen
        return np.asarray(seen * self._errors((viewers, len(seen))) + HUB_WORTH * self.on_hub[columns])

    def _errors(self, shape: tuple[int, ...]) -> Floats:
        return np.exp(self.random.normal(0, self.world.noise, shape))

    def _arrive(self) -> None:
        world = self.world
        wanted = world.nodes * min(1.0, (self.week + 1) / world.growing_up)
        missing = max(0, int(wanted - len(self.nodes.disk)))
        count = missing if self.week < world.growing_up else int(self.fate.poisson(missing))
        if not count:
            return
        hosted = self.fate.random(count) < HOSTED
        company = np.where(hosted, self.fate.choice(len(HOSTING_COMPANIES), count, p=self._companies()), -1)
        disk = np.exp(self.fate.normal(np.log(world.median_disk), 1.2, count)) * np.where(hosted, 3, 1)
        stay = self.fate.exponential(world.home_stay, count) * np.where(hosted, 2, 1)
        come = Nodes(
            np.clip(disk, 1e9, 4e13),
            self.week + LANDING_WEEKS + stay.astype(int),
            company,
            self.fate.integers(0, 2**63, count, dtype=np.uint64),
        )
        for start in range(0, count, BATCH):
            seeds = come.seed[start : start + BATCH]
            disks = come.disk[start : start + BATCH]
            chances = luck(seeds, self.seeds)
            keys = self.rule.order(View(self._standing(len(seeds)), chances, self.sizes, self.popularity, disks))
            come.held += [self._fill(keys[row], disks[row]) for row in range(len(seeds))]
        self.landing += come.held
        self.traffic += sum(float(self.sizes[held].sum()) for held in come.held)
        self.nodes.join(come)

    def _companies(self) -> Floats:
        """Return the companies' shares of newcomers; a closed one gets none."""
        shares = HOSTING_COMPANIES.copy()
        if self.week >= self.world.company_closes:
            shares[0] = 0.0
        return np.asarray(shares / shares.sum())

    def _fill(self, keys: Floats, disk: float) -> Ints:
        """Take, in order, everything that still fits."""
        possible = np.flatnonzero((self.on_hub | (self.copies > 0)) & (self.sizes <= disk))
        order = possible[np.argsort(keys[possible], kind="stable")]
        taken = []
        while len(order):
            filled = np.cumsum(self.sizes[order])
            fitting = int(np.searchsorted(filled, disk, side="right"))
            taken.append(order[:fitting])
            disk -= filled[fitting - 1] if fitting else 0.0
            order = order[fitting:][self.sizes[order[fitting:]] <= disk]
        return np.concatenate(taken) if taken else np.zeros(0, int)

    def _review(self) -> None:
        """A quarter of the nodes review: they take endangered snapshots, in free room or in place of well-kept ones."""
        nodes = self.nodes
        known = self.past[0] if self.past else self.copies
        alive = self.on_hub | (self.copies > 0)
        danger = np.flatnonzero((known + HUB_WORTH * self.on_hub < 2 * FLOOR) & alive)
        if not len(danger):
            return
        period = np.uint64(self.week // 4 + 1)
        turn = np.flatnonzero(nodes.seed % np.uint64(4) == self.week % 4)
        for start in range(0, len(turn), BATCH):
            part = turn[start : start + BATCH]
            # Of very many, only the worst are considered; each batch gets other ones among ties.
            worst = np.argsort(known[danger] + self.random.random(len(danger)))[:COLUMNS_AT_REVIEW]
            shown = np.sort(danger[worst])
            standing = self._standing(len(part), shown)
            chances = luck(nodes.seed[part], self.seeds[shown])
            view = View(standing, chances, self.sizes[shown], self.popularity[shown], nodes.disk[part])
            keys = self.rule.order(view)
            for row, node in enumerate(part):
                wanted = np.flatnonzero(standing[row] < FLOOR)
                order = shown[wanted[np.argsort(keys[row][wanted], kind="stable")]]
                self._exchange(int(node), order, known, period)

    def _exchange(self, node: int, wanted: Ints, known: Ints, period: np.uint64) -> None:
        held, disk = self.nodes.held[node], self.nodes.disk[node]
        wanted = wanted[(self.sizes[wanted] <= disk) & ~np.isin(wanted, held)][:MOST_TAKEN_AT_REVIEW]
        if not len(wanted):
            return
        drawn = luck(self.nodes.seed[node : node + 1] ^ (period << np.uint64(32)), self.seeds[held])[0]
        # Its view of its own swarms is as late and wrong as all else: this is how a last copy gets lost.
        others = self.random.binomial(known[held], self.world.seen) / self.world.seen * self._errors(held.shape) - 1
        order = np.argsort(-others, kind="stable")
        order = order[((others > self.rule.give_above) & (drawn < self.rule.may_give))[order]]
        spare = list(held[order])
        free, moved = disk - self.sizes[held].sum(), 0.0
        taken: list[int] = []
        given: list[int] = []
        for one in wanted:
            size = self.sizes[one]
            if taken and moved + size > rebalance.SHARE_OF_BUDGET * disk:
                continue
            leaving = _make_room(spare, self.sizes, size - free)
            if leaving is None:
                continue
            spare = spare[len(leaving) :]
            free += self.sizes[leaving].sum() - size
            moved += size
            taken.append(int(one))
            given += leaving
        if taken:
            self.nodes.held[node] = np.concatenate([held[~np.isin(held, given)], np.array(taken)])
            self.copies[given] -= 1
            self.landing.append(np.array(taken))
            self.traffic += moved
            self.moved += len(taken)


def _make_room(spare: list[int], sizes: Floats, missing: float) -> list[int] | None:
    leaving: list[int] = []
    for one in spare:
        if missing <= 0:
            break
        leaving.append(int(one))
        missing -= sizes[one]
    return leaving if missing <= 0 else None


def luck(nodes: NDArray[np.uint64], snapshots: NDArray[np.uint64]) -> Floats:
    """Return a uniform number in (0, 1) for each pair: splitmix64 in place of p2pqwen's BLAKE2b."""
    mixed = nodes[:, None] ^ snapshots[None, :]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def run(world: World, rule: Rule, seed: int, kept_in: Path | None) -> dict[str, Floats]:
    """Run once, or read the kept result of an earlier call."""
    if kept_in is None:
        return Simulation(world, rule, seed).run()
    rules = inspect.getsource(Simulation), inspect.getsource(ours), inspect.getsource(fewest)
    key = sha256(repr((replace(world, seeds=1), rule.name, seed, rules)).encode()).hexdigest()[:16]
    path = kept_in / f"{world.name}-{rule.name.replace(' ', '-')}-{seed}-{key}.npz"
    if not path.exists():
        kept_in.mkdir(parents=True, exist_ok=True)
        np.savez(path, **Simulation(world, rule, seed).run())
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}


def summary(world: World, runs: list[dict[str, Floats]]) -> dict[str, float]:
    """Average the figures of several runs; `least` and `median` over the time after the Hub has closed."""
    after = world.hub_closes

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    return {
        "lost": mean([run["lost"][-1] for run in runs]),
        "lost_error": float(np.std([run["lost"][-1] for run in runs]) / len(runs) ** 0.5),
        "lost_percent": 100 * mean([run["lost"][-1] for run in runs]) / world.snapshots,
        "bytes_lost_percent": 100 * mean([run["bytes_lost"][-1] for run in runs]),
        "least": mean([run["least"][after:].mean() for run in runs]),
        "median": mean([run["median"][after:].mean() for run in runs]),
        "traffic_a_year": mean([run["traffic"][-1] / world.years for run in runs]),
    }


HEADER = (
    "| crowd and archive | rule | snapshots lost | bytes lost | copies, least-kept 1 % | median | traffic a year |",
    "|---|---|---:|---:|---:|---:|---:|",
)


def markdown(world: World, table: dict[str, dict[str, float]]) -> list[str]:
    """Return one world's rows of the table."""
    runs = f"mean of {world.seeds} runs" if world.seeds > 1 else "one run"
    where = f"{TITLES[world.name]}, {world.snapshots:,} snapshots; {runs}"
    lines = []
    for name, row in table.items():
        several = f"{row['lost']:.1f} ± {row['lost_error']:.1f}"
        lost = several if world.seeds > 1 else f"{row['lost']:,.0f}"
        lines.append(
            f"| {where} | {name} | {lost} ({row['lost_percent']:.1f} %) "
            f"| {row['bytes_lost_percent']:.1f} % | {row['least']:.1f} | {row['median']:.1f} "
            f"| {row['traffic_a_year']:.1f} x the archive |"
        )
        where = "…"
    return lines


def draw(results: dict[str, dict[str, list[dict[str, Floats]]]], out: Path) -> list[Path]:
    """Draw the losses over time, and the copies of the least-kept hundredth."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = {
        "ours": "#0b7a75",
        "ours, no rebalancing": "#7cc6c0",
        "fewest": "#d1495b",
        "random": "#8d99ae",
        "popular": "#edae49",
    }
    paths = []
    for field_name, label, file in (
        ("bytes_lost", "bytes lost (% of the archive)", "survival_lost.png"),
        ("least", "copies of the least-kept 1 %", "survival_copies.png"),
    ):
        figure, axes = plt.subplots(1, len(results), figsize=(4.9 * len(results), 4.4), squeeze=False)
        for axis, (name, by_rule) in zip(axes[0], results.items(), strict=True):
            _panel(axis, WORLDS[name], by_rule, field_name, colours)
        axes[0][0].set_ylabel(label)
        figure.tight_layout(rect=(0, 0, 1, 0.92))
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=len(colours), frameon=False)
        out.mkdir(parents=True, exist_ok=True)
        paths.append(out / file)
        figure.savefig(paths[-1], dpi=120, metadata={"Software": None})
        plt.close(figure)
    return paths


def _panel(axis, world, by_rule, field_name, colours) -> None:  # noqa: ANN001 - matplotlib's own types
    lost = field_name == "bytes_lost"
    for rule, runs in by_rule.items():
        years = np.arange(len(runs[0][field_name])) / WEEKS
        values = np.mean([run[field_name] for run in runs], axis=0)
        values = np.maximum(100 * values, LEAST_SHOWN) if lost else values
        width = 2.6 if rule == OURS.name else 1.8
        axis.plot(years, values, label=rule, color=colours.get(rule), linewidth=width)
    if lost:  # from a thousandth to all of it
        axis.set_yscale("log")
        axis.set_ylim(LEAST_SHOWN, 100)
        axis.set_yticks([0.1, 1, 10, 100], ["0.1 or less", "1", "10", "100"])
    else:
        axis.set_ylim(bottom=-0.02 * axis.get_ylim()[1])  # makes zero visible
    for week, text in ((world.hub_closes, "the Hub closes"), (world.company_closes, "a hosting company closes")):
        axis.axvline(week / WEEKS, color="#444444", linestyle=":", linewidth=1)
        place = axis.get_xaxis_transform()
        axis.text(week / WEEKS, 1.01, text, fontsize=8, color="#444444", ha="center", va="bottom", transform=place)
    axis.set_title(f"{TITLES[world.name]}, {world.snapshots:,} snapshots", fontsize=10, pad=16)
    axis.set_xlabel("years")
    axis.set_xlim(0, world.years)
    axis.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worlds", default="circle,crowd", help=f"of {', '.join(WORLDS)}")
    parser.add_argument("--rules", choices=("compared", "variants"), default="compared")
    parser.add_argument("--only", action="append", help="the name of a rule; may be given again")
    parser.add_argument("--seeds", type=int, help="runs of each, instead of the world's own number")
    parser.add_argument("--years", type=float)
    parser.add_argument("--noise", type=float, help="how wrong each view is (sigma of a log-normal factor)")
    parser.add_argument("--delay", type=int, help="how late knowledge is, in weeks")
    parser.add_argument("--out", type=Path, help="draw the plots into this folder")
    parser.add_argument("--runs", type=Path, help="keep each run's figures in this folder, and do none twice")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    wanted = parser.parse_args()
    changes = {
        name: value for name in ("seeds", "years", "noise", "delay") if (value := getattr(wanted, name)) is not None
    }
    rules = RULES if wanted.rules == "compared" else VARIANTS
    if wanted.only:
        rules = tuple(rule for rule in rules if rule.name in wanted.only)
    results: dict[str, dict[str, list[dict[str, Floats]]]] = {}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    if not wanted.json:
        print("\n".join(HEADER))
    for name in wanted.worlds.split(","):
        world = replace(WORLDS[name], **changes)
        results[name] = {
            rule.name: [run(world, rule, seed, wanted.runs) for seed in range(world.seeds)] for rule in rules
        }
        figures[name] = {rule: summary(world, runs) for rule, runs in results[name].items()}
        if not wanted.json:
            print("\n".join(markdown(world, figures[name])), flush=True)
    if wanted.json:
        print(json.dumps(figures))
    if wanted.out:
        for path in draw(results, wanted.out):
            print(path)


if __name__ == "__main__":
    main()
