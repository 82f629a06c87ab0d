"""What makes one node's choices its own, in the state store: `steward`.

The id is drawn once and means nothing else; were it lost, the node would choose another way among near-ties.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from p2pqwen.library.state_store import StateStore
from p2pqwen.stewardship.spread import NODE_ID_SIZE

_NAME = "steward"


class StewardStore:
    """The node's id and the budget it was last given. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def node_id(self) -> bytes:
        """Return the id, drawn at the first call."""

        def with_id(value: Any) -> dict[str, Any]:  # noqa: ANN401 - what was stored
            known = value if isinstance(value, Mapping) else {}
            return {**known} if _id(known) is not None else {**known, "node": secrets.token_hex(NODE_ID_SIZE)}

        found = _id(self._store.update(_NAME, with_id))
        assert found is not None  # noqa: S101 - just written
        return found

    def budget(self) -> int | None:
        """Return the bytes this node may hold in all, None before anybody said."""
        value = self._store.get(_NAME)
        budget = value.get("budget") if isinstance(value, Mapping) else None
        return budget if isinstance(budget, int) and budget >= 0 else None

    def set_budget(self, budget: int) -> None:
        """Remember the budget."""
        self._store.update(_NAME, lambda value: {**(value if isinstance(value, Mapping) else {}), "budget": budget})


def _id(value: Any) -> bytes | None:  # noqa: ANN401 - what was stored
    try:
        node = bytes.fromhex(value["node"])
    except (KeyError, TypeError, ValueError):
        return None
    return node if len(node) == NODE_ID_SIZE else None
