"""p2pqwen keeps open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch.

    from p2pqwen import snapshot_download, verify, open_index

The Python API is described in `p2pqwen.api`. Its names load on first use, which keeps `import p2pqwen` fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
"""The one place that states the version; pyproject.toml reads it."""

if TYPE_CHECKING:
    from p2pqwen.api import Index, IndexEntry, VerifyResult, open_index, snapshot_download, verify
    from p2pqwen.errors import (
        DiskError,
        NetworkError,
        NotFoundError,
        P2pqwenError,
        UnsupportedArgumentError,
        UsageError,
        VerificationError,
    )

_HOMES = {
    "p2pqwen.api": ("Index", "IndexEntry", "VerifyResult", "open_index", "snapshot_download", "verify"),
    "p2pqwen.errors": (
        "DiskError",
        "NetworkError",
        "NotFoundError",
        "P2pqwenError",
        "UnsupportedArgumentError",
        "UsageError",
        "VerificationError",
    ),
}

__all__ = [
    "DiskError",
    "Index",
    "IndexEntry",
    "NetworkError",
    "NotFoundError",
    "P2pqwenError",
    "UnsupportedArgumentError",
    "UsageError",
    "VerificationError",
    "VerifyResult",
    "__version__",
    "open_index",
    "snapshot_download",
    "verify",
]


def __getattr__(name: str) -> object:
    """Load a name of the API; raises `AttributeError` for any other."""
    import importlib  # noqa: PLC0415 - the command line does not need it

    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
