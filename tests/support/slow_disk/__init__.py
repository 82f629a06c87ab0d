"""A disk slower than the line: a small library, preloaded into programs, that limits their write rate."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("slow_disk.c")


def slow_disk(folder: Path, rate: int) -> dict[str, str]:
    """Return the environment in which each program writes at most `rate` bytes per second; skips without a compiler."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("a C compiler makes the slow disk")
    library = folder / "slow_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "SLOW_DISK": str(rate)}
