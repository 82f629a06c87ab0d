"""What our web servers write to the log: faults of ours, and nothing that a stranger can make them write.

aiohttp logs a request that is no HTTP with a traceback; at a server that anybody may ask, that fills a disk.
"""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

_LOG = logging.getLogger("p2pqwen.server")


def fault_log() -> logging.Logger:
    """Return the logger for a server's `logger`."""
    if _of_ours not in _LOG.filters:
        _LOG.addFilter(_of_ours)
    return _LOG


def _of_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, ConnectionError))
