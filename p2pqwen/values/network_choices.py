"""How a session may find peers, and how fast it may be: one value, passed from config.toml and flags to libtorrent.

A new switch is a field here and a name in `Switch`; config.toml, requests and `--no-…` flags follow from it. Its effect
is documented where it is used, usually in `swarm/settings.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

Switch = Literal["dht", "lsd", "upnp", "trackers"]
SWITCHES: tuple[Switch, ...] = get_args(Switch)
"""Every switch: the boolean fields of `NetworkChoices`."""


@dataclass(frozen=True, slots=True)
class NetworkChoices:
    """The switches and rates of a session. Rates are bytes per second, 0 for no limit."""

    dht: bool = True
    lsd: bool = True
    upnp: bool = True
    trackers: bool = True
    upload_limit: int = 0
    download_limit: int = 0

    @property
    def finds_peers(self) -> bool:
        """Whether it can find peers that were not named."""
        return self.dht or self.lsd or self.trackers

    def without(self, *off: Switch) -> NetworkChoices:
        """Return the same with these switched off."""
        return replace(self, **dict.fromkeys(off, False))

    def within(self, other: NetworkChoices) -> NetworkChoices:
        """Return the same without what `other` has switched off."""
        return self.without(*(one for one in SWITCHES if not getattr(other, one)))

    def limited(self, *, upload: int | None = None, download: int | None = None) -> NetworkChoices:
        """Return the same with these rates; None leaves a rate unchanged."""
        return replace(
            self,
            upload_limit=self.upload_limit if upload is None else upload,
            download_limit=self.download_limit if download is None else download,
        )


UNRESTRICTED = NetworkChoices()
"""Every switch on, no limit."""
