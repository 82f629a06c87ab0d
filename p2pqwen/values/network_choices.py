"""What a session may do to find peers, and how fast it may be: one value from config.toml and flags to libtorrent.

A new switch is a field here and a name in `Switch`; config.toml, requests and `--no-…` flags follow from it. What it
does is said where it is used, in `swarm/settings.py` as a rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

Switch = Literal["dht", "lsd", "upnp", "trackers"]
SWITCHES: tuple[Switch, ...] = get_args(Switch)
"""Every switch, each of them a field of `NetworkChoices` that is true or false."""


@dataclass(frozen=True, slots=True)
class NetworkChoices:
    """The switches and rates of a session. Rates are bytes a second, 0 for no limit."""

    dht: bool = True
    lsd: bool = True
    upnp: bool = True
    trackers: bool = True
    upload_limit: int = 0
    download_limit: int = 0

    @property
    def finds_peers(self) -> bool:
        """Whether there is a way to peers that nobody named."""
        return self.dht or self.lsd or self.trackers

    def without(self, *off: Switch) -> NetworkChoices:
        """Return the same with these switched off; what is off already stays off."""
        return replace(self, **dict.fromkeys(off, False))

    def within(self, other: NetworkChoices) -> NetworkChoices:
        """Return the same without what `other` has switched off."""
        return self.without(*(one for one in SWITCHES if not getattr(other, one)))

    def limited(self, *, upload: int | None = None, download: int | None = None) -> NetworkChoices:
        """Return the same with these rates in place of its own; None leaves a rate as it is."""
        return replace(
            self,
            upload_limit=self.upload_limit if upload is None else upload,
            download_limit=self.download_limit if download is None else download,
        )


UNRESTRICTED = NetworkChoices()
"""Every switch on, no limit."""
