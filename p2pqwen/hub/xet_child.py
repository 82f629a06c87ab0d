"""Fetch files of one snapshot from Xet storage, one after another: `python -m p2pqwen.hub.xet_child`.

hf_xet cannot be throttled, keeps all in-flight data in memory, and holds the GIL while it waits. A separate process can
be killed at once, returns all its memory, and knows only what it needs: the store's token for one repository, never the
Hub's.

Jobs are JSON lines on stdin, one file each; the parent sends the next when one is done. Answers are JSON lines on
stdout: `{"wire": bytes, "written": bytes}` for progress, `{"done": true}` after a file, and before it exits with an
error, `{"error": exception class, "text": hf_xet's message}`. It exits when stdin is closed.

A store may send more than a file's size, without end. No more than the size is written; the error is then EFBIG.

With `windows`, it fetches only the bytes `[start, stop]` of one file that each further line names. A job
`{"files": [path, …]}` fetches nothing: the answer is `{"hashes": [hex, …]}`, the Xet hash of each file.

This module imports little, since it is often started for only a few files.
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
    """Do one job, and those that follow if they are files to fetch whole."""
    job = json.loads(sys.stdin.readline())
    if "files" in job:
        os.umask(0o077)  # only logs are written, in the user's home
    try:
        hf_xet = importlib.import_module("hf_xet")
        if "files" in job:
            threading.Thread(target=_end_with_the_parent, daemon=True).start()
            _tell(hashes=[one.hash for one in hf_xet.hash_files(job["files"])])
        else:
            _fetch(hf_xet, job)
    except BaseException as error:  # noqa: BLE001 - the parent gets every error
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
        # hf_xet 1.8.0 sometimes reports an error, a refused token included, as a normal end of the stream.
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
