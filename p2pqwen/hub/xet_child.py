"""One file out of Xet storage, in a process of its own: `python -m p2pqwen.hub.xet_child`.

hf_xet cannot be held back, keeps what it has in flight in memory, and holds Python's lock while it waits. In a process
of its own it can be ended at once, gives all memory back, and knows nothing that it need not know: the token of the
store for one repository, never the Hub's. What it is asked is one JSON line, an `XetJob`, on stdin. It answers with
JSON lines: `{"wire": bytes, "written": bytes}` as they come, and at the end `{"done": true}` or
`{"error": what kind, "text": what hf_xet says}`. It ends when stdin does.

With `windows` it fetches nothing by itself but the bytes `[start, stop]` that each further line names. A job that is
`{"files": [path, …]}` fetches nothing at all: it says `{"hashes": [hex, …]}`, the Xet hash of each file.

This module imports little, since it is started for each file.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

Xet: TypeAlias = Any
"""An object of hf_xet's, which has no types."""


def main() -> None:
    """Do one job."""
    job = json.loads(sys.stdin.readline())
    if "files" in job:
        os.umask(0o077)  # nothing is written but logs, in somebody's home
    try:
        hf_xet = importlib.import_module("hf_xet")
        if "files" in job:
            threading.Thread(target=_end_with_the_parent, daemon=True).start()
            _tell(hashes=[one.hash for one in hf_xet.hash_files(job["files"])])
        else:
            _fetch(hf_xet, job)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
        _tell(error=type(error).__name__, text=str(error), errno=getattr(error, "errno", None))
    else:
        _tell(done=True)
    sys.stdout.flush()
    os._exit(0)  # hf_xet's threads may wait for a server


def _fetch(hf_xet: Xet, job: dict[str, Any]) -> None:
    session = hf_xet.XetSession()
    access = {
        "endpoint": job["cas"],
        "token": job["token"],
        "token_expiry_unix_secs": job["expires"],
        "custom_headers": {"User-Agent": "p2pqwen"},
    }
    info = hf_xet.XetFileInfo(job["hash"], job["size"])
    if job["windows"]:
        _in_windows(session.new_download_stream_group(**access), info, Path(job["target"]))
    else:
        threading.Thread(target=_end_with_the_parent, daemon=True).start()
        _whole(session, access, info, job["target"])


def _whole(session: Xet, access: dict[str, object], info: Xet, target: str) -> None:
    def on_progress(report: Xet, _: object) -> None:
        _tell(wire=int(report.total_transfer_bytes_completed), written=int(report.total_bytes_completed))

    with session.new_file_download_group(**access, progress_callback=on_progress) as group:
        group.start_download_file(info, target)


def _in_windows(group: Xet, info: Xet, target: Path) -> None:
    with target.open("r+b" if target.exists() else "wb") as file:
        for line in sys.stdin:
            start, stop = json.loads(line)
            _window(group, info, file, start, stop)


def _window(group: Xet, info: Xet, file: BinaryIO, start: int, stop: int) -> None:
    file.seek(start)
    at = start
    for block in group.download_stream(info, start=start, end=stop):
        file.write(block)
        file.flush()
        at += len(block)
        _tell(wire=at, written=at)
    if at != stop:
        # [measured] hf_xet 1.8.0: what went wrong, a refused token too, is now and then told as a plain end.
        raise EOFError(f"{at - start} of {stop - start} bytes came")


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _tell(**words: object) -> None:
    sys.stdout.write(f"{json.dumps(words)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
