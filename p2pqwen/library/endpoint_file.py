"""Where a home's Hub endpoint answers, in a small file that exists while one runs; `run` points programs there.

The file does not say whether the endpoint still runs. `hub.lock` does, since the system frees it when the process ends.
A second endpoint of the same home serves too, but is not named.

Both are changed and read under `hub-name.lock`, so that no reader sees one without the other: for example the address
that a killed endpoint left, with the lock of the next.
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
    """Name an endpoint while the block runs, unless another of this home is named; raises `DiskError`."""
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
    """Return the URL of the running endpoint, None if there is none; raises `DiskError`."""
    if not (home.locks / "hub.lock").exists():
        return None  # there never was an endpoint; finding that out writes nothing
    with _naming(home):
        if not durable.is_locked(home.locks / "hub.lock"):
            return None
        try:
            return str(json.loads(durable.read(home.hub_endpoint, max_bytes=_MAX_BYTES))["url"])
        except (P2pqwenError, ValueError, KeyError, TypeError):
            return None  # the file is damaged or removed


def _naming(home: Home) -> AbstractContextManager[None]:
    return durable.lock(home.locks / "hub-name.lock", wait=True)
