"""Files out of Xet storage through the real hf_xet: what fails there comes another way, and limits hold.

The whole file is a table of what may go wrong with the store's two hosts and the token route, and when.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from p2pqwen.demo import xet_layout
from p2pqwen.demo.hub_call import Call
from p2pqwen.errors import DiskError, Interruption, NetworkError, P2pqwenError
from p2pqwen.hub import client as client_module
from p2pqwen.hub import xet, xet_process
from p2pqwen.hub.client import HubClient
from p2pqwen.hub.xet_job import XetAccess, XetFailedError, XetFile, environment_of
from p2pqwen.library.idle import ReadThrottle
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.faults import Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.models import ATTRIBUTES

REPO = RepoId("Qwen/Big")
WEIGHTS = "model.safetensors"
SIZE = 12_000_000
XORBS = 6
CHANGED_OVER = 30.0
"""Seconds after which another way must be in use."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(xet_layout, "XORB_CHUNKS", SIZE // XORBS // xet_layout.CHUNK_SIZE + 1)
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / ".gitattributes").write_bytes(ATTRIBUTES)
    (folder / WEIGHTS).write_bytes(os.urandom(SIZE))
    hub = HubSimulator(tokens=["hf_right"])
    hub.add(REPO.text, folder)
    with hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path):
    return HubClient(hub.endpoint, None, named=LOOPBACK, xet_folder=tmp_path / "xet")


@pytest.fixture(scope="module")
def times():
    """Rows of the fault table; `pytest -s` prints them."""
    rows: list[tuple[str, str, str, float]] = []
    yield rows
    for host, fault, position, seconds in sorted(rows):
        print(f"{host:<10}{fault:<9}{position:<8}{seconds:5.1f} s until the file is there")


class Fetched:
    """What came of one download, and what was said on the way."""

    def __init__(self, client: HubClient, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.counted: list[int] = []
        self.listing = client.resolve(REPO)
        self.file = next(file for file in self.listing.files if file.path.text == WEIGHTS)
        begun = time.monotonic()
        self.path = client.download(self.listing, self.file, folder, self.counted.append, self.said.append)
        self.seconds = time.monotonic() - begun

    @property
    def right(self) -> bool:
        return hashlib.sha256(self.path.read_bytes()).hexdigest() == str(self.file.lfs_sha256)


def went_over(hub: HubSimulator) -> set[str]:
    """Return by which of the two ways bytes of the file came."""
    return {kind for kind in ("cdn", "xorb") if any(call.sent for call in hub.calls(kind=kind))}


def test_a_large_file_comes_over_xet_and_is_counted_as_it_comes(hub, client, tmp_path):
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert went_over(hub) == {"xorb"}
    assert sum(fetched.counted) == SIZE
    assert min(fetched.counted) > 0
    assert fetched.said == []
    assert list((tmp_path / "staging.download").iterdir()) == []


def test_nothing_is_told_to_anybody(hub, client, tmp_path):
    Fetched(client, tmp_path / "staging")
    assert hub.count(kind="xet-telemetry") == 0
    assert {call.kind for call in hub.log} == {"info", "tree", "xet-token", "cas", "xorb"}


def test_logs_are_ours(client, tmp_path, monkeypatch):
    home = tmp_path / "hf"
    home.write_bytes(b"no folder")
    monkeypatch.setenv("HF_HOME", str(home))
    Fetched(client, tmp_path / "staging")
    assert {path.parent.name for path in (tmp_path / "xet").rglob("*") if path.is_file()} <= {"logs"}


def test_the_process_of_hf_xet_gets_no_secret(tmp_path):
    secret = {"HF_TOKEN": "a", "HUGGING_FACE_HUB_TOKEN": "b", "P2PQWEN_PASSPHRASE": "c", "AWS_TOKEN": "d"}
    assert not set(environment_of({"PATH": "/bin", **secret}, tmp_path)) & set(secret)
    assert (
        environment_of({"PATH": "/bin", "HF_XET_TELEMETRY_ENABLED": "1"}, tmp_path)["HF_XET_TELEMETRY_ENABLED"] == "0"
    )


def test_a_small_file_comes_over_plain_http(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "SMALL", SIZE)
    assert Fetched(HubClient(hub.endpoint, None, named=LOOPBACK), tmp_path / "staging").right
    assert went_over(hub) == {"cdn"}


def test_a_hub_that_the_user_did_not_name_leads_to_no_store(hub, tmp_path):
    client = HubClient(hub.endpoint, None, named=LOOPBACK)
    client._xet = HubClient("https://mirror.example", None, named=NamedHosts())._xet
    assert Fetched(client, tmp_path / "staging").right
    assert went_over(hub) == {"cdn"}


def test_who_switched_xet_off_gets_plain_http(hub, client, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    assert Fetched(client, tmp_path / "staging").right
    assert went_over(hub) == {"cdn"}


POSITIONS = {"start": 0, "middle": XORBS // 2, "end": XORBS - 1}
REFUSALS = ("refuse", "hang", "429", "500", "403", "html")
FAILING = [
    *((host, fault, "start") for host in ("cas", "xet-token") for fault in REFUSALS),
    *(("xorb", fault, position) for fault in (*REFUSALS, "corrupt", "short") for position in POSITIONS),
]


@pytest.mark.parametrize(("host", "fault", "position"), FAILING)
def test_a_store_that_fails_for_good(hub, client, tmp_path, monkeypatch, times, host, fault, position):
    """Whatever its hosts do and when, plain HTTP brings the file, and that is said once."""
    if fault == "hang":
        monkeypatch.setattr(xet_process, "STALL_SECONDS", 5.0)
        monkeypatch.setattr("p2pqwen.hub.xet.ASK_SECONDS", 5.0)
    hub.fault(fault, on=[host], skip=POSITIONS[position])
    fetched = Fetched(client, tmp_path / "staging")
    times.append((host, fault, position, fetched.seconds))
    assert fetched.right
    assert "cdn" in went_over(hub)
    assert fetched.seconds < CHANGED_OVER
    assert sum(fetched.counted) == SIZE
    assert len(fetched.said) == 1
    assert "plain HTTP" in fetched.said[0]
    assert "Task error" not in fetched.said[0]


# Under a limit a file comes in windows, for each of which the store is asked anew; there are never fewer.
WINDOWS = 6
LATER = [
    (host, fault, position)
    for host in ("cas", "xet-token")
    for fault in ("refuse", "hang", "429", "html")
    for position in ("middle", "end")
]


@pytest.mark.parametrize(("host", "fault", "position"), LATER)
def test_a_store_that_fails_later_on(hub, tmp_path, monkeypatch, times, host, fault, position):
    """The reconstruction in the middle and at the end, and the token route when a token is refused there."""
    monkeypatch.setattr(xet_process, "STALL_SECONDS", 5.0)
    monkeypatch.setattr("p2pqwen.hub.xet.ASK_SECONDS", 5.0)
    skip = {"middle": WINDOWS // 2, "end": WINDOWS - 1}[position]
    if host == "xet-token":
        hub.fault("401", on=["cas"], skip=skip)
        skip = 1
    hub.fault(fault, on=[host], skip=skip)
    client = HubClient(hub.endpoint, None, named=LOOPBACK, rate=lambda: 50_000_000, xet_folder=tmp_path / "xet")
    fetched = Fetched(client, tmp_path / "staging")
    times.append((host, fault, position, fetched.seconds))
    assert fetched.right
    assert went_over(hub) == {"xorb", "cdn"}
    assert fetched.seconds < CHANGED_OVER
    assert sum(fetched.counted) == SIZE
    assert [text for text in fetched.said if "plain HTTP" in text] == fetched.said
    assert len(fetched.said) == 1


def test_a_silent_store_is_left_within_half_a_minute(hub, client, tmp_path):
    hub.fault("hang", on=["xorb"])
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert fetched.seconds < CHANGED_OVER
    assert "no bytes for 15 seconds" in fetched.said[0]


@pytest.mark.parametrize("host", ["cas", "xorb"])
@pytest.mark.parametrize("fault", ["refuse", "429", "500", "503"])
def test_what_passes_changes_nothing(hub, client, tmp_path, host, fault):
    hub.fault(fault, on=[host], times=1)
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert went_over(hub) == {"xorb"}
    assert fetched.said == []


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_token_that_is_refused_once_is_asked_for_again(hub, client, tmp_path, status):
    hub.fault(status, on=["cas"], times=1)
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert (went_over(hub), fetched.said) == ({"xorb"}, [])
    assert hub.count(kind="xet-token") == 2


def test_one_token_serves_all_files_of_a_snapshot(hub, client, tmp_path):
    Fetched(client, tmp_path / "one")
    Fetched(client, tmp_path / "two")
    assert hub.count(kind="xet-token") == 1


def test_it_is_said_once_and_the_store_is_used_again_later(hub, client, tmp_path, monkeypatch):
    fault = hub.fault("500", on=["cas"])
    said = [text for name in ("one", "two") for text in Fetched(client, tmp_path / name).said]
    assert len(said) == 1
    assert hub.count(kind="cas") <= 4, "the second file did not ask again"
    fault.times = 0
    now = time.monotonic
    monkeypatch.setattr("p2pqwen.hub.xet.time.monotonic", lambda: now() + 301)
    hub.log.clear()
    assert Fetched(client, tmp_path / "three").right
    assert went_over(hub) == {"xorb"}


def test_a_hub_that_has_only_xet(hub, client, tmp_path, monkeypatch):
    """A small file is tried over plain HTTP first, and comes over Xet where that has nothing."""
    monkeypatch.setattr(client_module, "SMALL", SIZE)
    hub.fault("404", on=["cdn"])
    assert Fetched(client, tmp_path / "staging").right
    assert "xorb" in went_over(hub)


def test_a_hub_that_has_neither_names_both(hub, client, tmp_path):
    hub.fault("404", on=["cdn"])
    hub.fault("500", on=["cas"])
    with pytest.raises(P2pqwenError) as raised:
        Fetched(client, tmp_path / "staging")
    assert "500 Internal Server Error" in str(raised.value.hint)
    assert "Task error" not in f"{raised.value.message} {raised.value.hint}"


def test_a_mirror_that_passes_xet_on_without_its_tokens_is_named(hub, client, tmp_path):
    hub.fault("404", on=["xet-token"])
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert f"{hub.endpoint} lists Xet hashes but gives no Xet tokens" in fetched.said[0]


def test_the_hubs_token_is_for_the_hub_alone(hub, tmp_path):
    """An answer that names another host for the token route, or leads there, gets no token of ours to it."""
    hub.repository(REPO.text).private = True
    other = "http://localhost:1/api/models/Qwen/Big/xet-read-token/main"
    hub.faults.add(Fault(Effect(redirect=other), on=["xet-token"], times=1))
    client = HubClient(hub.endpoint, "hf_right", named=LOOPBACK)
    assert Fetched(client, tmp_path / "one").right
    hub.faults.clear()
    assert Fetched(HubClient(hub.endpoint, "hf_right", named=LOOPBACK), tmp_path / "two").right
    for kind in ("cas", "xorb", "cdn"):
        assert not [call for call in hub.calls(kind=kind) if "hf_right" in str(call.authorization)], kind


def test_a_store_on_the_users_own_network_is_not_contacted(hub, client, tmp_path):
    hub.xet.cas = "http://10.1.2.3:80"
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert "not contacted" in fetched.said[0]


def test_a_full_disk_is_a_full_disk(hub, client, tmp_path, monkeypatch):
    """`/dev/full` takes hf_xet's bytes as a full disk does."""
    real = xet_process.XetProcess.begin

    def to_a_full_disk(self, access, file, *rest, **named):
        file.target.symlink_to("/dev/full")
        real(self, access, file, *rest, **named)

    monkeypatch.setattr(xet_process.XetProcess, "begin", to_a_full_disk)
    with pytest.raises(DiskError, match="No space left"):
        Fetched(client, tmp_path / "staging")
    assert went_over(hub) == {"xorb"}


class EndedError(Interruption, NetworkError):
    """What a limit raises."""


@pytest.mark.parametrize("way", ["xorb", "cdn"])
def test_a_rate_holds(hub, tmp_path, monkeypatch, way):
    """At 1 MB/s, 10 seconds bring 10 MB within a fifth, counted where they are sent."""
    if way == "cdn":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    rate, seconds = 1_000_000, 10.0
    throttle = ReadThrottle(rate)
    over = threading.Event()

    def took(count: int) -> None:
        if over.is_set():
            raise EndedError("the hours are over")
        throttle.took(count)

    client = HubClient(hub.endpoint, None, named=LOOPBACK, took=took, rate=lambda: rate)
    failed: list[BaseException] = []
    counted = 0

    def work() -> None:
        nonlocal counted
        listing = client.resolve(REPO)
        file = next(file for file in listing.files if file.path.text == WEIGHTS)

        def count(size: int) -> None:
            nonlocal counted
            counted += max(size, 0)

        try:
            client.download(listing, file, tmp_path / "staging", count)
        except EndedError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    begun = next_byte(hub, way)
    threading.Event().wait(seconds - (time.monotonic() - begun))
    # What plain HTTP has sent lies in this machine's sockets in part, which on loopback are larger than any limit.
    came = sum(call.sent for call in hub.calls(kind=way)) if way == "xorb" else counted
    seconds = time.monotonic() - begun  # a busy machine wakes this thread late
    over.set()
    thread.join(10.0)
    assert not thread.is_alive(), "the hour's end stops it within ten seconds"
    assert failed
    assert 0.8 * rate * seconds <= came <= 1.2 * rate * seconds


def next_byte(hub: HubSimulator, kind: str) -> float:
    """Return when the first byte of this kind was sent."""
    deadline = time.monotonic() + 30
    while not any(call.sent for call in hub.calls(kind=kind)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return time.monotonic()


@pytest.mark.parametrize("silent", [False, True])
def test_the_hours_end_stops_it(hub, tmp_path, silent):
    """Without a rate it comes as fast as it can; what is silent ends as soon as what is not."""
    if silent:
        hub.fault("hang", on=["xorb"])
    else:
        hub.faults.add(Fault(Effect(bytes_per_second=200_000), on=["xorb"]))
    over = threading.Event()

    def took(count: int) -> None:
        if over.is_set():
            raise EndedError("the hours are over")

    client = HubClient(hub.endpoint, None, named=LOOPBACK, took=took)
    ended: list[float] = []

    def work() -> None:
        with pytest.raises(EndedError):
            Fetched(client, tmp_path / "staging")
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while not hub.calls(kind="xorb"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    over.set()
    begun = time.monotonic()
    thread.join(20.0)
    assert ended[0] - begun < 10.0


def test_a_limit_that_begins_in_the_middle_holds_from_there(hub, tmp_path):
    hub.faults.add(Fault(Effect(bytes_per_second=1_000_000), on=["xorb"]))
    rate = 0
    client = HubClient(hub.endpoint, None, named=LOOPBACK, rate=lambda: rate)
    done: list[Fetched] = []
    thread = threading.Thread(target=lambda: done.append(Fetched(client, tmp_path / "staging")))
    thread.start()
    next_byte(hub, "xorb")
    rate = 50_000_000
    thread.join(60.0)
    assert done[0].right
    assert went_over(hub) == {"xorb"}
    assert len({call.range for call in hub.calls(kind="cas")}) > 2, "it went on in windows"


def test_a_token_that_ends_in_the_middle_is_replaced_and_the_file_goes_on(hub, tmp_path):
    """In windows each asks the store anew; what is there already does not come twice."""
    client = HubClient(hub.endpoint, None, named=LOOPBACK, rate=lambda: 50_000_000, xet_folder=tmp_path / "xet")
    hub.fault("401", on=["cas"], skip=3, times=1)
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert fetched.said == []
    assert hub.count(kind="xet-token") == 2
    assert min(fetched.counted) > 0
    assert starts(hub) == sorted(starts(hub))


def test_a_token_may_end_more_than_once_under_a_rate(hub, tmp_path, monkeypatch):
    client = HubClient(hub.endpoint, None, named=LOOPBACK, rate=lambda: 50_000_000, xet_folder=tmp_path / "xet")
    real, asked = xet.XetStore._access_to, []

    def ends_again(self, snapshot):
        asked.append(1)
        if len(asked) <= 2:
            hub.fault("401", on=["cas"], skip=2, times=1)
        return real(self, snapshot)

    monkeypatch.setattr(xet.XetStore, "_access_to", ends_again)
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert went_over(hub) == {"xorb"}
    assert len(asked) == 3
    assert starts(hub) == sorted(starts(hub))


def test_a_limit_begins_and_the_token_ends_where_more_came_than_is_written(hub, tmp_path, monkeypatch):
    """What hf_xet holds is gone with its process: the windows begin at what stands in the file."""
    hub.faults.add(Fault(Effect(bytes_per_second=1_500_000), on=["xorb"]))
    rate, real = 0, xet_process.XetProcess.follow

    def follow(self, on_progress):
        def told(wire, written):
            nonlocal rate
            on_progress(wire, written)
            if 0 < written < SIZE and not rate:
                rate = 50_000_000
                hub.fault("401", on=["cas"], times=1)

        real(self, told)

    monkeypatch.setattr(xet_process.XetProcess, "follow", follow)
    client = HubClient(hub.endpoint, None, named=LOOPBACK, rate=lambda: rate, xet_folder=tmp_path / "xet")
    fetched = Fetched(client, tmp_path / "staging")
    assert rate
    assert fetched.right
    assert fetched.said == []
    assert went_over(hub) == {"xorb"}


def starts(hub: HubSimulator) -> list[int]:
    """Return where in the file each answer of the store was asked for."""
    ranges = [call.range for call in hub.calls(kind="cas") if call.range]
    return [int(one.removeprefix("bytes=").partition("-")[0]) for one in ranges]


def test_what_doctor_asks(hub, client):
    snapshot = client.resolve(REPO).snapshot
    assert client.xet_storage(snapshot) == hub.xet.cas
    hub.fault("500", on=["cas"])
    with pytest.raises(NetworkError, match="out of order"):
        client.xet_storage(snapshot)
    hub.faults.clear()
    hub.fault("refuse", on=["cas"])
    with pytest.raises(NetworkError, match="no answer from the Hub's Xet storage"):
        client.xet_storage(snapshot)
    hub.xet.served = False
    assert client.xet_storage(snapshot) is None


def test_nothing_goes_around_a_socks_proxy(hub, client, tmp_path, monkeypatch):
    """hf_xet has none; the exceptions of no_proxy, which let plain HTTP through here, are not the store's."""
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert went_over(hub) == {"cdn"}
    assert "SOCKS" in fetched.said[0]


def test_a_file_that_changed_ways_is_not_followed_where_it_no_longer_comes(hub, client, tmp_path):
    hub.fault("refuse", on=["xorb"], skip=3)
    seen: set[str] = set()
    listing = client.resolve(REPO)
    file = next(one for one in listing.files if one.path.text == WEIGHTS)
    folder = tmp_path / "staging"

    def on_bytes(_: int) -> None:
        if hub.count(kind="cdn", method="GET"):
            seen.update(path.name for path in [client.partial(folder, file)] if path is not None)

    client.download(listing, file, folder, on_bytes)
    assert "xet.incomplete" not in seen


@pytest.mark.parametrize("lacking", ["program", "folder"])
def test_where_hf_xet_does_not_start_plain_http_brings_the_file(hub, tmp_path, monkeypatch, lacking):
    folder = tmp_path / "xet"
    if lacking == "program":
        monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
    else:
        folder.write_bytes(b"no folder")
    fetched = Fetched(HubClient(hub.endpoint, None, named=LOOPBACK, xet_folder=folder), tmp_path / "staging")
    assert fetched.right
    assert went_over(hub) == {"cdn"}
    assert "hf_xet does not start" in fetched.said[0]


@pytest.fixture
def endless(hub, monkeypatch):
    """A store that has three times as much to send as the file has."""
    honest = hub.xet.answer_cas

    def lie(request: web.BaseRequest, call: Call) -> web.Response:
        answer = honest(request, call)
        if answer.status != 200:
            return answer
        said = json.loads(answer.body)
        return web.json_response(said | {"terms": said["terms"] * 3})

    monkeypatch.setattr(hub.xet, "answer_cas", lie)


@pytest.mark.parametrize("windows", [False, True], ids=["whole", "windows"])
def test_166_no_more_is_written_than_the_file_has(hub, client, tmp_path, endless, windows):
    """hf_xet writes whatever comes; a lie of a few hundred bytes in the store's answer is enough to fill a disk."""
    listing = client.resolve(REPO)
    listed = next(file for file in listing.files if file.path.text == WEIGHTS)
    route = f"{hub.endpoint}/api/models/{REPO}/xet-read-token/{listing.snapshot.commit}"
    with urllib.request.urlopen(route) as answer:
        said = json.load(answer)
    file = XetFile(str(listed.xet_hash), SIZE, tmp_path / "file")
    with xet_process.XetProcess(tmp_path / "xet") as process:
        process.begin(XetAccess(said["casUrl"], said["accessToken"], said["exp"]), file, lambda: None, windows=windows)
        bring = partial(process.window, 0, SIZE) if windows else partial(process.follow, lambda *_: None)
        # A window is done once all of it came: what comes after it is met by the next one, or by nobody.
        with suppress(XetFailedError) if windows else pytest.raises((XetFailedError, OSError)):
            bring()
    assert file.target.stat().st_size <= SIZE


@pytest.mark.parametrize("rate", [0, 100_000_000], ids=["whole", "windows"])
def test_166_the_file_comes_over_plain_http_then(hub, tmp_path, endless, rate):
    client = HubClient(hub.endpoint, None, named=LOOPBACK, rate=lambda: rate)
    fetched = Fetched(client, tmp_path / "staging")
    assert fetched.right
    assert "cdn" in went_over(hub)
    assert sum(fetched.counted) == SIZE
    assert len(fetched.said) == 1
