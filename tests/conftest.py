"""What holds for every test, however the run was started."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile

# pytest imports it once something was not closed, on the thread that lets go of that; of two at once one finds half.
import tracemalloc  # noqa: F401
from collections.abc import Generator
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

# Its pytest plugin would import it at the very end of a run that needs it nowhere, deep in the stack, where the
# parser of CPython 3.11 fails ("AST constructor recursion depth mismatch").
import hypothesis
import pytest

from tests.support.disks import folder_in_memory

# A run in a script's background starts with SIGINT ignored, and so would the commands that tests interrupt. A handler
# of ours is not inherited; the default is.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No property is about speed, and the machine may have other work.
hypothesis.settings.register_profile("p2pqwen", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("p2pqwen")

TESTS = Path(__file__).parent
# What starts processes, sessions and simulators is `slow`, and not in the fast loop (`scripts/test --fast`) ...
_SLOW = {"attacks", "end_to_end", "faults", "loopback"}
# ... but for these, which take few seconds each. A slow test anywhere else says so itself.
_QUICK = {
    "attacks": {"parsing", "table"},
    "loopback": {"busy_ports", "dht_count", "engine_contract", "hub_simulator", "relay_answers"},
}


# What takes a minute and more at a stretch begins first, or at the end all workers wait for one.
_FIRST = ("test_no_host_at_all.py", "test_no_host.py", "test_nat.py", "test_readme.py")


_IN_MEMORY = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep a run's files in memory, unless somebody says where; workers and all processes find the place here."""
    if "TMPDIR" not in os.environ and not config.getoption("basetemp") and (folder := folder_in_memory()) is not None:
        config.stash[_IN_MEMORY] = folder
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the memory back. What failed stays until the next run."""
    if (folder := config.stash.get(_IN_MEMORY, None)) is None:
        return
    del os.environ["TMPDIR"]
    tempfile.tempdir = None
    if not any(folder.glob("pytest-of-*/pytest-[0-9]*")):  # pytest has removed its own, for all passed
        # multiprocessing has a folder in it until the process ends, and is to find that: this is the last of its kind.
        Finalize(None, shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, exitpriority=-1000)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Take thousands of tests and their modules out of the garbage collector's sight: they stay to the end.

    With them in it every full collection takes a second, and a run has hundreds in each worker.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_slow(item.path):
            item.add_marker(pytest.mark.slow)
    order = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@cache
def _is_slow(path: Path) -> bool:
    kind = path.relative_to(TESTS).parts[0]
    return kind in _SLOW and path.stem.removeprefix("test_") not in _QUICK.get(kind, ())
