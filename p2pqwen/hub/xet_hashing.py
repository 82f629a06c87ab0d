"""Compute Xet hashes of local files with hf_xet, in a child process, whose logs can go where we want."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from p2pqwen.hub.xet_job import XetFailedError
from p2pqwen.hub.xet_process import start_child


class XetHashing:
    """A `XetHasher` (library/xet_hashes.py). hf_xet's logs go below `folder` (None: deleted afterwards)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def __call__(self, files: Sequence[Path]) -> Sequence[str] | None:
        """Return the files' Xet hashes, None if hf_xet is missing, switched off, or fails."""
        from huggingface_hub.utils._runtime import is_xet_available

        if not files:
            return ()
        if not is_xet_available():
            return None
        if self._folder is not None:
            return _hashes(files, self._folder)
        with TemporaryDirectory(prefix="p2pqwen-xet-") as folder:
            return _hashes(files, Path(folder))


def _hashes(files: Sequence[Path], folder: Path) -> Sequence[str] | None:
    job = json.dumps({"files": [str(path.absolute()) for path in files]}).encode() + b"\n"
    try:
        process = start_child(folder)
    except XetFailedError:
        return None
    assert process.stdin is not None  # noqa: S101 - a pipe
    assert process.stdout is not None  # noqa: S101 - another
    try:
        with suppress(OSError):  # it has ended, and its output is empty
            process.stdin.write(job)
            process.stdin.flush()
        said = [json.loads(line) for line in process.stdout]  # it exits when we do, even in mid-file
        (hashes,) = (line["hashes"] for line in said if "hashes" in line)
    except (OSError, ValueError):
        return None
    finally:
        process.kill()
        process.communicate()
    return hashes if len(hashes) == len(files) else None
