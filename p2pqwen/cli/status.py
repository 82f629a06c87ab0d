"""`p2pqwen status`: the running node and its snapshots."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(json_output: JsonFlag = False) -> None:
    """Show whether a node of this home runs, and how each snapshot stands."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.node_state import node_status
    from p2pqwen.operations.upstream import gone_words, with_upstream
    from p2pqwen.values.byte_size import format_rate

    with Output(as_json=json_output) as out:
        node = open_node()
        running, rows = node_status(node.library, node.home, out.report)
        known = node.upstream_records(out.report)
        lines = [
            "no node is running; `p2pqwen seed` starts one"
            if running is None
            else f"node {running.pid} listens on {running.listen}"
        ]
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
                "snapshots": with_upstream([row.to_json() for row in rows], known),
            },
            lines,
        )
