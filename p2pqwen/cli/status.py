"""`p2pqwen status`: the running node and its snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.node import Node
    from p2pqwen.operations.hub_watch import WatchRecord
    from p2pqwen.stewardship.upstream import UpstreamRecord
    from p2pqwen.values.snapshot_id import SnapshotId


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(json_output: JsonFlag = False) -> None:
    """Show whether a node of this home runs, and how each snapshot stands."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.hub_watch import watch_fields, watch_words
    from p2pqwen.operations.node_state import node_status
    from p2pqwen.operations.upstream import gone_words, with_upstream
    from p2pqwen.values.byte_size import format_rate

    with Output(as_json=json_output) as out:
        node = open_node()
        running, rows = node_status(node.library, node.home, out.report)
        known, last = _of_the_hub(node, out)
        lines = [
            "no node is running; `p2pqwen seed` starts one"
            if running is None
            else f"node {running.pid} listens on {running.listen}"
        ]
        if node.watch_every is not None:
            lines.append(watch_words(last, node.watch_every))
        lines += [
            ", ".join(
                part
                for part in (
                    f"{row.id}  {row.state} {row.progress:.0%}",
                    f"{row.peers} peers",
                    f"up {format_rate(row.upload_rate)}",
                    gone_words(known.get(row.id)),
                )
                if part
            )
            for row in rows
        ]
        out.result(
            {
                "node": None if running is None else {"pid": running.pid, "listen": running.listen},
                "watch": watch_fields(last, node.watch_every),
                "snapshots": with_upstream([row.to_json() for row in rows], known),
            },
            lines,
        )


def _of_the_hub(node: Node, out: Output) -> tuple[dict[SnapshotId, UpstreamRecord], WatchRecord]:
    """Return what is known of snapshots on the Hub, and the node's last round there."""
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.operations.hub_watch import WatchRecord, last_round

    if not node.home.state.exists():
        return {}, WatchRecord()
    with node.state_store(out.report) as store:
        return UpstreamStore(store).all(), last_round(store)
