"""Import all of p2pqwen and build its commands: the process that forks warm commands loads this first."""

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
# The first command builds all commands from their functions, and has typer import its argument parsers.
with contextlib.redirect_stdout(io.StringIO()):
    importlib.import_module("p2pqwen.cli.main").main(["--version", "--json"])
gc.collect()
gc.freeze()  # a collection in a fork would copy the shared pages
