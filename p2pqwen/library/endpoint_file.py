"""Where a home's Hub endpoint answers, in a small file that stands while one runs: `run` leads programs there.

Whether it runs is not the file's to say: `hub.lock` is, which the system frees whatever becomes of the process. A
second endpoint of the same home serves as well, and is not named.

The two are taken, written, read and given up under `hub-name.lock`, so that nobody sees one without the other: the
address that an endpoint left which was killed, for one, with the lock of the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from p2pqwen.errors import P2pqwenError
from p2pqwen.library import durable
from p2pqwen.library.home import Home

_MAX_BYTES = 4096


@contextmanager
def named(home: Home, url: str) -> Iterator[None]:
    """Name an endpoint for the length of the block, unless another of this home is named; raises `DiskError`."""
    with ExitStack() as stack:
        with _naming(home):
            try:
                stack.enter_context(durable.lock(home.locks / "hub.lock"))
            except durable.LockHeldError:
                ours = False
            else:
                ours = True
                durable.write(home.hub_endpoint, json.dumps({"url": url}).encode(), sync=False)
        try:
            yield
        finally:
            if ours:
                with suppress(P2pqwenError), _naming(home):
                    durable.remove(home.hub_endpoint)
                    stack.close()


def running(home: Home) -> str | None:
    """Return the URL of the endpoint that runs, None where none does; raises `DiskError`."""
    if not (home.locks / "hub.lock").exists():
        return None  # there never was one, and nothing is written to find that out
    with _naming(home):
        if not durable.is_locked(home.locks / "hub.lock"):
            return None
        try:
            return str(json.loads(durable.read(home.hub_endpoint, max_bytes=_MAX_BYTES))["url"])
        except (P2pqwenError, ValueError, KeyError, TypeError):
            return None  # somebody has damaged or removed it


def _naming(home: Home) -> AbstractContextManager[None]:
    return durable.lock(home.locks / "hub-name.lock", wait=True)
