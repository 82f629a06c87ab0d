"""Modules of the standard library that only some systems have."""

from __future__ import annotations

import importlib
from types import ModuleType


def optional_module(name: str) -> ModuleType | None:
    """Return a module, None if this system's Python does not have it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
