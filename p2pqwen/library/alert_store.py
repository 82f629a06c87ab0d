"""The alerts already reported, in the state store: `alerts`. If they are lost, alerts that last are reported again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from p2pqwen.errors import FormatError
from p2pqwen.library.state_store import StateStore
from p2pqwen.stewardship.alerts import Told
from p2pqwen.values.utc_time import format_time, parse_time

_NAME = "alerts"


class AlertStore:
    """The alerts reported to one home. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def told(self) -> dict[str, datetime | None]:
        """Return the alerts that were reported, by name: when each ended, None while it lasts."""
        value = self._store.get(_NAME)
        found: dict[str, datetime | None] = {}
        for name, ended in value.items() if isinstance(value, Mapping) else ():
            try:
                found[str(name)] = None if ended is None else parse_time(ended)
            except (FormatError, TypeError, AttributeError):
                continue
        return found

    def set_told(self, told: Told) -> None:
        """Remember these alerts and no others."""
        self._store.put(_NAME, {name: None if ended is None else format_time(ended) for name, ended in told.items()})
