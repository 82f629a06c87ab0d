"""What `adopt` and `rebalance` share: network options, and how a plan is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.network_options import SwitchedOff, network_choices
from p2pqwen.cli.output import Output, fail_for
from p2pqwen.errors import P2pqwenError
from p2pqwen.values.byte_size import format_size

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.assembly.archiving import Archiver
    from p2pqwen.operations.archive.swarm_probe import Probes
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.stewardship.allocation import Decision
    from p2pqwen.values.snapshot_id import SnapshotId

Prefer = Annotated[
    list[str] | None, typer.Option("--prefer", metavar="GLOB…", help="Choose these first: ORG/MODEL or a model's name.")
]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB…", help="Never choose these.")]
License = Annotated[
    list[str] | None, typer.Option("--license", metavar="GLOB…", help="Choose only snapshots under these licenses.")
]
Peer = Annotated[list[str] | None, typer.Option("--peer", metavar="HOST:PORT…", help="Connect to this peer directly.")]
NoWebSeeds = Annotated[bool, typer.Option("--no-web-seeds", help="Fetch from peers only.")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Abort a fetch after SECONDS without progress.")]
Look = Annotated[
    float,
    typer.Option("--look-seconds", min=0, metavar="SECONDS", help="First ask swarms, for at most SECONDS (0: do not)."),
]


@dataclass(frozen=True, slots=True)
class Network:
    """The network options of fetches."""

    peers: tuple[str, ...]
    web_seeds: bool
    timeout: float | None
    off: SwitchedOff

    def request(self, app: App, snapshot: SnapshotId) -> FetchRequest:
        """Return a request for a fetch into the library only."""
        from p2pqwen.operations.fetch.context import DEFAULT_TIMEOUT
        from p2pqwen.operations.fetch.request import FetchRequest

        return FetchRequest(
            str(snapshot),
            peers=self.peers,
            use_web_seeds=app.config.network.web_seeds if self.web_seeds else "never",
            timeout=DEFAULT_TIMEOUT if self.timeout is None else self.timeout,
            choices=network_choices(app, self.off),
        )


@contextmanager
def open_archiver(network: Network, out: Output) -> Iterator[Archiver]:
    """Open what carries out a plan."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly.archiving import Archiver

    app = open_app()
    choices = network_choices(app, network.off)

    def probes() -> Probes:
        from p2pqwen.assembly import looking

        return looking.probes(app, choices, web_seeds=network.web_seeds)

    with app.state_store(out.report) as store:
        yield Archiver(app, store, lambda snapshot: network.request(app, snapshot), probes, out.report)


def exit_for(errors: Sequence[P2pqwenError | None]) -> None:
    """End with the exit code of the failures among `errors`, if there are any."""
    fail_for([error for error in errors if error is not None], len(errors))


def decision_line(one: Decision, license_name: str = "") -> str:
    """Return a snapshot of a plan, its size, its license if given, and the reason, on one line."""
    return "  ".join(filter(None, (str(one.snapshot), format_size(one.size), license_name, one.reason)))
