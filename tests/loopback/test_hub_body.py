"""A file's answer where the file system has no sendfile(2): several readers of one open file get its bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from p2pqwen.hub_api.listing import OPEN, Access, ManifestFile
from p2pqwen.server.hub_endpoint import HubEndpoint
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.snapshot_id import RepoId
from tests.support.hub_endpoint import ask
from tests.support.models import noise

REPO = RepoId("Qwen/Tiny")
COMMIT = CommitId(b"\xab" * 20)
CONTENT = noise(8 << 20, "weights")
READERS = 4


class SharedReading:
    """All of a file, by a copy of a descriptor that others have copies of too."""

    def __init__(self, shared: int) -> None:
        self.descriptor = os.dup(shared)

    def ready(self, _at: int) -> int:
        return len(CONTENT)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True)
class OneFile:
    """A snapshot of one file; a catalogue that knows no other."""

    shared: int
    repo: RepoId = REPO
    commit: CommitId = COMMIT
    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    license: str | None = None
    access: Access = OPEN

    @property
    def files(self) -> Mapping[str, ManifestFile]:
        sha256 = str(Sha256.of(CONTENT))
        return {"weights.bin": ManifestFile("weights.bin", len(CONTENT), "0" * 40, sha256, 0)}

    @property
    def info(self):
        return self

    def open(self, path: str, wanted: range) -> SharedReading:
        return SharedReading(self.shared)

    def own_name(self, repo: RepoId) -> None:
        return None

    def snapshot(self, repo: RepoId, revision: str):
        return self


def test_readers_of_one_open_file_do_not_move_one_anothers_place(tmp_path: Path, monkeypatch):
    def no_sendfile(*_: object) -> int:
        raise OSError(errno.EINVAL, "no sendfile on this file system")

    monkeypatch.setattr(os, "sendfile", no_sendfile)
    (tmp_path / "weights.bin").write_bytes(CONTENT)
    shared = os.open(tmp_path / "weights.bin", os.O_RDONLY)
    try:
        with HubEndpoint(OneFile(shared)) as endpoint, ThreadPoolExecutor(READERS) as pool:
            place = f"/{REPO.text}/resolve/main/weights.bin"
            starts = [number * 100_001 for number in range(READERS)]
            answers = list(pool.map(lambda start: ask(endpoint.url, place, Range=f"bytes={start}-"), starts))
    finally:
        os.close(shared)
    assert [one.status for one in answers] == [206] * READERS
    assert all(one.body == CONTENT[start:] for one, start in zip(answers, starts, strict=True))


def test_few_bytes_go_out_with_their_headers_and_none_that_are_not_there(tmp_path: Path):
    (tmp_path / "weights.bin").write_bytes(CONTENT[: len(CONTENT) // 2])
    shared = os.open(tmp_path / "weights.bin", os.O_RDONLY)
    try:
        with HubEndpoint(OneFile(shared)) as endpoint:
            place = f"/{REPO.text}/resolve/main/weights.bin"
            part = ask(endpoint.url, place, Range="bytes=1000-1999")
            beyond = ask(endpoint.url, place, Range="bytes=-1000")
    finally:
        os.close(shared)
    assert (part.status, part.body) == (206, CONTENT[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    assert (part.headers["content-length"], part.headers["content-type"]) == ("1000", "application/octet-stream")
    assert beyond.status == 500
