"""Files of one snapshot out of Xet storage, one after another, by `python -m p2pqwen.hub.xet_child`.

hf_xet cannot be held back, keeps what it has in flight in memory, and holds Python's lock while it waits. In a process
of its own it can be ended at once, gives all memory back, and knows nothing that it need not know: the token of the
store for one repository, never the Hub's. What it is asked is JSON lines on stdin, each a file; the next follows when
the one before is done. It answers with JSON lines: `{"wire": bytes, "written": bytes}` as they come, and at the end of
a file `{"done": true}`, or `{"error": what kind, "text": what hf_xet says}` at its own end. It ends when stdin does.

A store may have more to send than a file's size, without end: no more than that is written, and EFBIG is told.

With `windows` it fetches nothing by itself but the bytes `[start, stop]` that each further line names, of one file. A
job that is `{"files": [path, …]}` fetches nothing at all: it says `{"hashes": [hex, …]}`, the Xet hash of each file.

This module imports little, since it is started for few files.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from p2pqwen.portable.process import limit_file_size

Xet: TypeAlias = Any
"""An object of hf_xet's, which has no types."""
_ROOM_FOR_LOGS = 8 << 20


def main() -> None:
    """Do one job, or those that follow it too."""
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


def _fetch(hf_xet: Xet, job: Mapping[str, Any]) -> None:
    session = hf_xet.XetSession()
    _limit(job)
    if job["windows"]:
        group = session.new_download_stream_group(**_access(job))
        _in_windows(group, hf_xet.XetFileInfo(job["hash"], job["size"]), Path(job["target"]))
        return
    jobs: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    while True:
        _whole(session, _access(job), hf_xet.XetFileInfo(job["hash"], job["size"]), job["target"])
        _tell(done=True)
        job = jobs.get()
        _limit(job)


def _limit(job: Mapping[str, Any]) -> None:
    limit_file_size(max(job["size"], _ROOM_FOR_LOGS))


def _access(job: Mapping[str, Any]) -> dict[str, object]:
    return {
        "endpoint": job["cas"],
        "token": job["token"],
        "token_expiry_unix_secs": job["expires"],
        "custom_headers": {"User-Agent": "p2pqwen"},
    }


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
        at += len(block)
        if at > stop:
            raise ValueError("more bytes came than were asked for")
        file.write(block)
        file.flush()
        _tell(wire=at, written=at)
    if at != stop:
        # [measured] hf_xet 1.8.0: what went wrong, a refused token too, is now and then told as a plain end.
        raise EOFError(f"{at - start} of {stop - start} bytes came")


def _read_jobs(jobs: queue.SimpleQueue[Mapping[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(1)


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _tell(**words: object) -> None:
    sys.stdout.write(f"{json.dumps(words)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
