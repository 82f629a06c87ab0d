"""Imports all of p2pqwen; the process that warm commands are forked from loads this module before anything else."""

from __future__ import annotations

import gc
import importlib
import pkgutil

import p2pqwen

for _found in pkgutil.walk_packages(p2pqwen.__path__, "p2pqwen."):
    if not _found.name.endswith("__main__"):
        importlib.import_module(_found.name)
for _late in ("huggingface_hub.hf_api", "dulwich.client", "aiohttp.web", "tests.support.forks", "tests.support.warm"):
    importlib.import_module(_late)
gc.collect()
gc.freeze()  # what all forks share is not to be looked at, and so copied, by each
