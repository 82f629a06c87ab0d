"""The status table of `status` and of a node in the foreground, redrawn every second on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from p2pqwen.cli.status_lines import state_words
from p2pqwen.errors import P2pqwenError
from p2pqwen.hidden import covered
from p2pqwen.operations.background import BackgroundThread
from p2pqwen.operations.control.status import Status
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.values.byte_size import format_rate, format_size
from p2pqwen.values.plural import plural
from p2pqwen.values.printable_text import printable
from p2pqwen.values.utc_time import parse_time

_COLOURS = {"good": "green", "damaged": "bold red", "away": "yellow", "unusable": "red", "unfinished": "cyan"}
_NARROW = 110  # columns; below this, words are shorter and empty columns are left out
_LEAST_NAME = 8
_LEFT_OUT = ("ratio", "scrub", "last scrub", "size", "standing", "down", "health", "up")  # in this order
_AROUND = 8  # lines of a screen besides the rows of the table


def show_live(look: Callable[[], Status], notes: Callable[[Status], list[str]], every: float = 1.0) -> None:
    """Draw until Ctrl-C; raises what `look` raises."""
    console = Console()
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:
        try:
            while True:
                found = look()
                live.update(_screen(found, notes(found), console), refresh=True)
                time.sleep(every)
        except KeyboardInterrupt:
            return


class StatusBelow:
    """The table at the bottom of the terminal, drawn every second from `start` to the end of the block.

    Lines printed meanwhile appear above it. `look` and `notes` are called on its own thread; if a look fails, the last
    table stays.
    """

    def __init__(self, look: Callable[[], Status], notes: Callable[[Status], list[str]], every: float = 1.0) -> None:
        self._look, self._notes, self._every = look, notes, every
        self._console = Console()
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="crop",
        )
        self._thread = BackgroundThread("status", self._draw, idle=False)

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Start drawing; may be called twice."""
        if not self._live.is_started:
            self._live.start()
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop()
        self._live.stop()

    def _draw(self) -> None:
        while not self._thread.is_stopping():
            with suppress(P2pqwenError):
                found = self._look()
                shown = _screen(found, self._notes(found), self._console, end="Ctrl-C stops the node.")
                if not self._thread.is_stopping():
                    self._live.update(shown, refresh=True)
            self._thread.wait(self._every)


def print_once(found: Status, notes: list[str]) -> None:
    """Print every row."""
    console = Console(highlight=False)
    for line in _head(found, notes):
        console.print(Text(line))
    console.print(_table(found.by_business, console.width))


def summary(found: Status) -> str:
    """Return the figures of all rows in one line."""
    rows = found.rows
    held = sum(row.held_bytes or row.size for row in rows)
    up, down = sum(row.upload_rate for row in rows), sum(row.download_rate for row in rows)
    parts = [
        f"{plural(len(rows), 'snapshot')}, {format_size(held)}",
        plural(sum(row.peers for row in rows), "peer"),
        f"up {format_rate(up)}, down {format_rate(down)}",
    ]
    limits = found.limits
    used, quota = limits.uploaded_this_month, limits.monthly_upload
    parts.append(f"{format_size(used)}{f' of {format_size(quota)}' if quota else ''} sent this month")
    if limits.reason:
        parts.append(limits.reason)
    return "; ".join(parts)


def _screen(found: Status, notes: list[str], console: Console, *, end: str = "Ctrl-C closes this view only.") -> Group:
    rows = found.by_business
    room = max(3, console.height - _AROUND - len(notes))
    more = len(rows) - room
    lines = [Text(line, overflow="ellipsis", no_wrap=True) for line in _head(found, notes)]
    others = f"and {more} more; `p2pqwen status --once` shows all. " if more > 0 else ""
    return Group(*lines, _table(rows[:room], console.width), Text(f"{others}{end}"))


def _head(found: Status, notes: list[str]) -> list[str]:
    return [*(printable(covered(note), limit=300) for note in notes), summary(found)]


def _table(rows: Sequence[SnapshotState], width: int) -> Table:
    narrow = width < _NARROW
    down = not narrow or any(row.download_rate for row in rows)
    names = [
        "size",
        "state",
        "standing",
        "peers",
        "up",
        *(["down"] if down else []),
        "health",
        *([] if narrow else ["ratio"]),
    ]
    names.append("scrub" if narrow else "last scrub")
    cells = [_cells(row, down=down, narrow=narrow, now=datetime.now(UTC)) for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0) if narrow else (0, 1))
    widths = [max([len(name), *(len(line[index]) for line in cells)]) for index, name in enumerate(names)]
    shown = _fitting(names, widths, width - _LEAST_NAME, gap=1 if narrow else 2)
    names, widths = [names[index] for index in shown], [widths[index] for index in shown]
    cells = [[line[index] for index in shown] for line in cells]
    # Only the model's name is ever shortened.
    left = width - sum(widths) - (1 if narrow else 2) * (len(names) + 1)
    table.add_column("model", overflow="ellipsis", no_wrap=True, ratio=1, max_width=max(_LEAST_NAME, left))
    for name, widest in zip(names, widths, strict=True):
        justify: Literal["left", "right"] = (
            "left" if name in {"state", "standing", "health", "scrub", "last scrub"} else "right"
        )
        table.add_column(name, justify=justify, no_wrap=True, min_width=widest)
    for row, line in zip(rows, cells, strict=True):
        table.add_row(Text(row.id.short), *line)
    return table


def _fitting(names: Sequence[str], widths: Sequence[int], room: int, *, gap: int) -> list[int]:
    """Return the columns for which a narrow terminal has room; the least important are left out first."""
    shown = list(range(len(names)))
    for name in _LEFT_OUT:
        if sum(widths[index] + gap for index in shown) + gap <= room:
            break
        shown = [index for index in shown if names[index] != name]
    return shown


def _cells(row: SnapshotState, *, down: bool, narrow: bool, now: datetime) -> list[Text]:
    rates = [row.upload_rate, *([row.download_rate] if down else [])]
    health = f"{row.damaged_files} bad files" if row.damaged_files else row.health
    return [
        Text(_size(row)),
        Text(state_words(row)),
        Text(row.standing, "yellow" if row.standing == "unvouched" else ""),
        Text(f"{row.peers}" if narrow or not row.seeds else f"{row.peers} ({plural(row.seeds, 'seed')})"),
        *(Text(format_rate(rate) if rate else "·") for rate in rates),
        Text(health, _COLOURS.get(row.health, "")),
        *([] if narrow else [Text(f"{row.ratio:.2f}")]),
        Text(_ago(row.last_scrub, now, narrow=narrow)),
    ]


def _ago(moment: str | None, now: datetime, *, narrow: bool) -> str:
    if moment is None:
        return "·" if narrow else "not yet"
    seconds = (now - parse_time(moment)).total_seconds()
    days = seconds / 86400
    count, unit = (f"{days:.0f}", "days") if days >= 2 else (f"{max(0.0, seconds / 3600):.0f}", "hours")
    return f"{count}{unit[0]}" if narrow else f"{count} {unit} ago"


def _size(row: SnapshotState) -> str:
    if not row.size:
        return ""
    return format_size(row.size) if row.is_whole else f"{format_size(row.held_bytes)} of {format_size(row.size)}"
