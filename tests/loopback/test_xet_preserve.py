"""`preserve` from a Hub that serves large files over Xet: what a person sees, and what is kept."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from pathlib import Path

import pytest

from p2pqwen.hub.client import HubClient
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.faults import Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

REPO = "Qwen/Big"
SIZE = 20_000_000
WEIGHTS = "model.safetensors"
PAYLOAD = 50_000  # a byte inside of a chunk, as each 64 KiB after it for some thousand chunks
WRONG = Effect(corrupt_at=PAYLOAD)


@pytest.fixture
def hub():
    with HubSimulator(tokens=["hf_known"]) as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path, hub):
    hub.add(REPO, write_folder(tmp_path / "src", small_model(SIZE)))
    return CommandLine(tmp_path, hub.endpoint)


def came_over(hub):
    return {kind for kind in ("cdn", "xorb") if hub.count(kind=kind)}


def test_a_snapshot_over_xet_is_the_same_snapshot(hub, user, tmp_path):
    over_xet = user.ok("preserve", REPO)
    assert came_over(hub) == {"xorb"}
    hub.xet.served = False
    over_http = CommandLine(tmp_path / "other", hub.endpoint).ok("preserve", REPO)
    for name in ("infohash_v1", "infohash_v2", "manifest_sha256", "provenance", "bytes_downloaded"):
        assert over_xet.get(name) == over_http.get(name)
    assert over_xet["provenance"] == "proven"
    assert hub.count(kind="xet-telemetry") == 0


@pytest.mark.parametrize(("size", "first"), [(SIZE, "xorb"), (3_000_000, "cdn")])
def test_one_wrong_byte_is_fetched_once_more_another_way(hub, user, tmp_path, size, first):
    """hf_xet compares nothing with what the file should be; the SHA-256 is compared here. Small files begin at HTTP."""
    hub.add(REPO, write_folder(tmp_path / "sized", small_model(size)))
    hub.faults.add(Fault(WRONG, WEIGHTS, on=[first]))
    ended = user.run("preserve", REPO)
    assert ended.code == 0
    assert "a download was bad, trying another way" in ended.stderr
    assert came_over(hub) == {"cdn", "xorb"}
    assert user.ok("verify", REPO)["ok"]


def test_wrong_bytes_from_both_are_refused(hub, user):
    hub.faults.add(Fault(WRONG, WEIGHTS, on=["cdn", "xorb"]))
    ended = user.run("preserve", REPO)
    assert ended.code == 3
    assert "expected" in ended.stderr
    assert hub.count(kind="cdn", method="GET") == 1
    assert user.ok("list")["snapshots"] == []


def test_no_wrong_file_enters_the_shared_store_of_the_hugging_face_cache(hub, user):
    """Nor does a right one by a download: what is in that cache the materialiser laid there."""
    hub.faults.add(Fault(WRONG, WEIGHTS, on=["xorb"]))
    user.ok("preserve", REPO)
    assert not [path for path in user.cache.rglob("*") if path.is_file() and path.stat().st_size == SIZE]


def test_a_home_of_hugging_face_that_cannot_be_written_is_no_matter(hub, user, tmp_path):
    home = tmp_path / "a-file"
    home.write_bytes(b"")
    assert user.ok("preserve", REPO, HF_HOME=str(home))["provenance"] == "proven"
    assert came_over(hub) == {"xorb"}


@pytest.mark.parametrize(("host", "fault"), [("cas", "500"), ("xorb", "refuse"), ("xet-token", "404")])
def test_what_fails_there_is_said_once_in_words(hub, user, host, fault):
    hub.fault(fault, on=[host])
    ended = user.run("preserve", REPO)
    assert ended.code == 0
    assert ended.stderr.count("Xet storage fails") == 1
    assert "Task error" not in ended.stderr
    assert "pip install" not in ended.stderr


def test_progress_moves_while_bytes_are_on_the_wire(hub, tmp_path):
    """Terminal lines come from progress events; there are many before the file is whole."""
    hub.add(REPO, write_folder(tmp_path / "src", small_model(SIZE)))
    hub.faults.add(Fault(Effect(bytes_per_second=4_000_000), on=["xorb"]))
    client = HubClient(hub.endpoint, None, named=LOOPBACK)
    listing = client.resolve(RepoId(REPO))
    file = next(one for one in listing.files if one.path.text == WEIGHTS)
    moments: list[float] = []
    client.download(listing, file, tmp_path / "staging", lambda _: moments.append(time.monotonic()))
    assert len(moments) > 10
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) < 3.0


def fetchers(home: Path) -> list[int]:
    """Return the processes of hf_xet that were started for this home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = str(home).encode() in (process / "environ").read_bytes()
            if ours and b"p2pqwen.hub.xet_child" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
def test_ctrl_c_leaves_no_process_of_hf_xet(hub, user):
    hub.faults.add(Fault(Effect(bytes_per_second=200_000), on=["xorb"]))
    with running(p2pqwen("preserve", REPO), user.environment) as process:
        wait_until(lambda: hub.count(kind="xorb") > 0, 30, "a request to the store")
        assert fetchers(user.home)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    wait_until(lambda: not fetchers(user.home), 30, "no process left")


def test_logs_are_bounded_and_ours(hub, user):
    user.ok("preserve", REPO)
    logs = user.home / "log" / "xet" / "logs"
    assert sum(path.stat().st_size for path in logs.iterdir()) < 100_000
    assert not (Path(user.environment["HF_HOME"]) / "xet").exists()
