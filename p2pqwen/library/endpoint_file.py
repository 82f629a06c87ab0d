"""Where a home's Hub endpoint answers, in a small file that stands while one runs: `run` leads programs there.

Whether it runs is not the file's to say: the lock is, which the system frees whatever becomes of the process. A second
endpoint of the same home serves as well, and is not named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from p2pqwen.errors import P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.home import Home

_MAX_BYTES = 4096


@contextmanager
def named(home: Home, url: str) -> Iterator[None]:
    """Name an endpoint for the length of the block, unless another of this home is named; raises `DiskError`."""
    with ExitStack() as stack:
        try:
            stack.enter_context(durable.lock(home.locks / "hub.lock"))
        except durable.LockHeldError:
            yield
            return
        durable.write(home.hub_endpoint, json.dumps({"url": url}).encode(), sync=False)
        try:
            yield
        finally:
            with suppress(P2pqwenError):
                durable.remove(home.hub_endpoint)


def running(home: Home) -> str | None:
    """Return the URL of the endpoint that runs, None where none does; raises `DiskError`."""
    if not durable.is_locked(home.locks / "hub.lock"):
        return None
    try:
        return str(json.loads(durable.read(home.hub_endpoint, max_bytes=_MAX_BYTES))["url"])
    except (P2pqwenError, ValueError, KeyError, TypeError):
        return None  # it is just starting or stopping
