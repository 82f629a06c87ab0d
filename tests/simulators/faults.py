"""Faults of the Hub's answers, as a table: each names the requests that it affects and what it does.

If several faults affect one request, their effects are joined; where they differ, the first fault wins.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase

from p2pqwen.demo.hub_call import Call

XET = ("xet-token", "cas", "xorb")
FILES = ("resolve", "resolve-cache", "cdn", *XET)
API = ("list", "info", "tree", "refs")
EVERYTHING = (*FILES, *API, "git")
FOREVER = 3600.0


@dataclass(frozen=True, slots=True)
class Effect:
    """What happens to one answer. Unset fields change nothing."""

    status: int | None = None
    """Answer with this status instead, with `headers` and `body`."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: float | None = None
    """Seconds of silence before anything else."""
    reset_after: int | None = None
    """Cut the connection after this many bytes of body; 0 cuts it before the status line."""
    truncate_to: int | None = None
    """Send only this many bytes, with a matching Content-Length."""
    bytes_per_second: float | None = None
    corrupt_at: int | None = None
    """Flip the byte at this offset of the file, and then one in every 64 KiB."""
    ignore_range: bool = False
    """Answer a range request with 200 and the whole file."""
    redirect: str | None = None
    """Redirect here; `self` is a loop."""
    expire: bool = False
    """Treat the signed URL as expired."""

    def over(self, other: Effect) -> Effect:
        """Join two effects; where both are set, this one wins."""
        chosen = {item.name: getattr(self, item.name) or getattr(other, item.name) for item in fields(self)}
        for name in ("reset_after", "truncate_to", "corrupt_at", "status"):
            mine = getattr(self, name)
            chosen[name] = getattr(other, name) if mine is None else mine
        return Effect(**chosen)


@dataclass(slots=True)
class Fault:
    """An effect on the requests that match: by kind, by method, and by a glob over the file's path.

    The first `skip` matching requests are not affected; the fault ends after `times` (None: never).
    """

    effect: Effect
    path: str = "*"
    on: Iterable[str] = FILES
    method: str = "*"
    times: int | None = None
    skip: int = 0
    met: int = 0

    def meets(self, call: Call) -> bool:
        """Tell whether it affects this request, and count the match."""
        right = call.kind in self.on and fnmatchcase(call.method, self.method) and fnmatchcase(call.path, self.path)
        if not right:
            return False
        self.met += 1
        return self.met > self.skip and (self.times is None or self.met <= self.skip + self.times)


class FaultTable:
    """The faults of one simulator; safe to edit while it serves."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def effect_on(self, call: Call) -> Effect:
        with self._lock:
            met = [fault.effect for fault in self._faults if fault.meets(call)]
        effect = Effect()
        for other in met:
            effect = effect.over(other)
        return effect


_HTML = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in to this network.</body></html>"
_RATE_LIMITED = {
    "Retry-After": "1",
    "RateLimit": '"resolvers";r=0;t=1',
    "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
    "X-Error-Message": "We had to rate limit your IP",
}
_ON_BODIES = ("cdn", "resolve-cache", "xorb")

PRESETS: dict[str, tuple[Effect, Iterable[str]]] = {
    "429": (Effect(status=429, headers=_RATE_LIMITED), FILES),
    "401": (Effect(status=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"}), FILES),
    "403": (Effect(status=403, body=b"<Error><Code>AccessDenied</Code></Error>"), FILES),
    "404": (Effect(status=404, headers={"X-Error-Code": "EntryNotFound"}), FILES),
    "410": (Effect(status=410), FILES),
    "416": (Effect(status=416, headers={"Content-Range": "bytes */0"}), _ON_BODIES),
    "500": (Effect(status=500), FILES),
    "502": (Effect(status=502, body=b"<html>Bad gateway</html>"), FILES),
    "503": (Effect(status=503, headers={"Retry-After": "1"}), FILES),
    "hang": (Effect(hang=FOREVER), FILES),
    "refuse": (Effect(reset_after=0), FILES),
    "reset": (Effect(reset_after=100_000), _ON_BODIES),
    "drip": (Effect(bytes_per_second=64 * 1024), _ON_BODIES),
    "corrupt": (Effect(corrupt_at=0), _ON_BODIES),
    "short": (Effect(truncate_to=1000), _ON_BODIES),
    "no-range": (Effect(ignore_range=True), _ON_BODIES),
    "html": (Effect(status=200, headers={"Content-Type": "text/html"}, body=_HTML), FILES),
    "loop": (Effect(redirect="self"), ("resolve", "resolve-cache")),
    "expired": (Effect(expire=True), ("cdn",)),
    "gone": (
        Effect(status=404, headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
        EVERYTHING,
    ),
}
"""Faults by name, each with the kinds of request that it usually affects."""


def preset(
    name: str, path: str = "*", *, on: Iterable[str] | None = None, times: int | None = None, skip: int = 0
) -> Fault:
    """Make a named fault."""
    effect, usual = PRESETS[name]
    return Fault(effect, path, on=tuple(usual if on is None else on), times=times, skip=skip)
