"""Memory of a download over Xet where the line is faster than the disk: what is in flight bounds it, not the files."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from p2pqwen.demo import xet_layout
from p2pqwen.hub import xet, xet_job
from p2pqwen.hub.client import HubClient
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.memory import peak_of
from tests.support.models import ATTRIBUTES
from tests.support.slow_disk import slow_disk

FILES, SIZE = 3, 90_000_000
AT_ONCE, BUFFER = 2, 8_000_000
XORB = 4_000_000
"""What the store gives with one answer; 64 MiB at most on the Hub, where a buffer has three of them."""
PROCESS = 60_000_000
"""What a process of hf_xet takes with nothing in flight, and a little more."""
DISK = 30_000_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read in /proc")


@pytest.mark.slow
def test_what_is_in_flight_bounds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / ".gitattributes").write_bytes(ATTRIBUTES)
    for number in range(FILES):
        with (folder / f"model-{number}.safetensors").open("wb") as file:
            file.write(os.urandom(1 << 20))
            file.truncate(SIZE)
    sizes = [name for name in xet_job._SETTINGS if name.startswith("RECONSTRUCTION_DOWNLOAD_BUFFER")]
    assert len(sizes) == 3
    for name in sizes:
        monkeypatch.setitem(xet_job._SETTINGS, name, f"{BUFFER // 1_000_000}mb")
    monkeypatch.setattr(xet, "BUFFER", BUFFER)
    monkeypatch.setattr(xet, "IN_FLIGHT", AT_ONCE * BUFFER)
    monkeypatch.setattr(xet_layout, "XORB_CHUNKS", XORB // xet_layout.CHUNK_SIZE)
    for name, value in slow_disk(tmp_path, DISK).items():
        monkeypatch.setenv(name, value)
    with HubSimulator() as hub:
        hub.add("Qwen/Big", folder)
        client = HubClient(hub.endpoint, None, named=LOOPBACK, xet_folder=tmp_path / "xet")
        listing = client.resolve(RepoId("Qwen/Big"))
        large = [file for file in listing.files if file.xet_hash]
        assert len(large) == FILES
        with peak_of(os.getpid()) as peak, ThreadPoolExecutor(FILES) as pool:
            list(pool.map(lambda file: client.download(listing, file, tmp_path / "staging"), large))
        assert hub.count(kind="cdn") == 0
    assert AT_ONCE * BUFFER < peak.started < AT_ONCE * (PROCESS + BUFFER) < AT_ONCE * SIZE
