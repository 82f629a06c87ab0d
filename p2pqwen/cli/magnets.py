"""The two links of a torrent: with both infohashes, and with only the v1 infohash.

rTorrent silently ignores a link that holds a v2 infohash (`btmh`). So commands that show a torrent show both links; in
lists, `--v1-magnet` shows the second instead of the first. JSON answers hold both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from p2pqwen.torrent.magnet import Magnet

V1Magnet = Annotated[
    bool, typer.Option("--v1-magnet", help="Show the link with the v1 infohash alone, as rTorrent needs it.")
]


def magnet_lines(magnet: Magnet, label: str, *, v1_alone: bool) -> list[str]:
    """Return the lines of a torrent's links; `label` is `magnet` with the padding of the name column."""
    v1 = magnet.v1_alone
    lines = [] if v1 is None else [f"{label.replace('magnet   ', 'v1 magnet', 1)}{v1}"]
    return lines if v1_alone and lines else [f"{label}{magnet}", *lines]


def link_of(magnet: str, *, v1_alone: bool) -> str:
    """Return the only link of a row in a list."""
    from p2pqwen.torrent.magnet import parse_magnet

    return str(parse_magnet(magnet).v1_alone or magnet) if v1_alone else magnet
