"""Imports all of p2pqwen and makes its commands: what warm commands are forked from loads this before anything else."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import pkgutil

import p2pqwen

for _found in pkgutil.walk_packages(p2pqwen.__path__, "p2pqwen."):
    if not _found.name.endswith("__main__"):
        importlib.import_module(_found.name)
for _late in ("huggingface_hub.hf_api", "dulwich.client", "aiohttp.web", "tests.support.forks", "tests.support.warm"):
    importlib.import_module(_late)
# A first command makes the commands of their functions, and has typer import what reads their arguments.
with contextlib.redirect_stdout(io.StringIO()):
    importlib.import_module("p2pqwen.cli.main").main(["--version", "--json"])
gc.collect()
gc.freeze()  # what all forks share is not to be looked at, and so copied, by each
