"""What our web servers log: our own faults, and nothing that strangers can make them log.

aiohttp logs a request that is not HTTP with a traceback; on a public server, that fills a disk.
"""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError

_LOG = logging.getLogger("p2pqwen.server")


def fault_log() -> logging.Logger:
    """Return the logger to pass to a server."""
    if _of_ours not in _LOG.filters:
        _LOG.addFilter(_of_ours)
    return _LOG


def _of_ours(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (HttpProcessingError, ConnectionError))
