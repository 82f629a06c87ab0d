"""What the doctor says of a node, and that each finding that returned a server error comes with advice."""

from __future__ import annotations

import socket
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.hub.cache_look import look_at_cache
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.library.home import Home
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.control.doctor import DoctorContext, RunningNode, examine
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.operations.node.limits import Hours, Limits
from p2pqwen.operations.verify.scrub_record import Damage, ScrubRecord
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.reach import Reach
from tests.support.other_user import BOB, needs_root, place_for_all
from tests.support.snapshots import hold

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HERE = NOW.astimezone().hour * 60 + NOW.astimezone().minute  # of the day of whoever runs this
YOUNG, OLD = NOW - timedelta(seconds=30), NOW - timedelta(days=3)


def running(listen="0.0.0.0:6881", started=OLD, **reach):
    return RunningNode(4711, listen, started, Reach(**{"incoming": True, "dht_nodes": 300, **reach}))


@pytest.fixture
def patient(tmp_path):
    """A node in perfect health."""
    home = Home(tmp_path / "home")
    hold(home)
    return DoctorContext(
        home=home,
        library=Library(home),
        node=running(),
        listen=Endpoint("127.0.0.1", 0),
        dht=DhtAccess((), KnownPeers(home.known_peers)),
        hub_endpoint="https://hub.example",
        hub_time=lambda: NOW,
        xet_storage=lambda _: "https://cas.example",
        publishers=(),
        publishes=True,
        scrubs={},
        now=lambda: NOW,
    )


def silent():
    raise NetworkError("no usable answer from https://hub.example")


def test_a_healthy_node(patient):
    found = list(examine(patient))
    assert [one.check for one in found] == [
        "node", "port", "dht", "proxy", "hub", "xet", "clock", "index", "disk", "rot", "limits", "permissions",
        "open files",
    ]  # fmt: skip
    assert [one for one in found if not one.ok or one.advice] == []


@pytest.mark.parametrize(
    ("change", "check", "ok", "words"),
    [
        ({"node": None}, "node", False, "nothing is served"),
        ({"node": None}, "port", True, "is free"),
        ({"node": running("127.0.0.1:6881")}, "port", False, "only from this machine"),
        ({"node": running("127.0.0.1:6881, 192.168.1.5:6881")}, "port", True, "outside peers have connected"),
        ({"node": running(incoming=False)}, "port", False, "in 3 days"),
        ({"node": running(incoming=False, started=YOUNG)}, "port", True, "so far"),
        ({"node": running(incoming=False, mapped=(6881,))}, "port", True, "the router opened port 6881"),
        ({"node": running(dht_nodes=3)}, "dht", False, "3 nodes"),
        ({"node": running(dht_nodes=3, started=YOUNG)}, "dht", True, "3 nodes after 30 seconds"),
        ({"node": running(dht_nodes=None)}, "dht", True, "runs without it"),
        ({"dht": None}, "dht", True, "switched off"),
        ({"node": None}, "dht", False, "0 nodes answered"),
        ({"hub_time": silent}, "hub", False, "no usable answer"),
        ({"hub_time": silent}, "clock", True, "no clock to compare it with"),
        ({"xet_storage": lambda _: silent()}, "xet", False, "no usable answer"),
        ({"xet_storage": lambda _: None}, "xet", True, "not used"),
        ({}, "xet", True, "https://cas.example answers"),
        ({"hub_time": silent, "now": lambda: datetime(1970, 1, 1, tzinfo=UTC)}, "clock", False, "it is not set"),
        ({"hub_time": lambda: NOW - timedelta(hours=1)}, "clock", False, "3600 s ahead of"),
        ({"hub_time": lambda: NOW + timedelta(seconds=3)}, "clock", True, "3 s behind"),
        ({"publishes": False}, "index", False, "no publisher is trusted"),
        ({"uploaded_this_month": 7_000_000}, "limits", True, "7.00 MB sent this month"),
        ({"limits": Limits(monthly_upload=500)}, "limits", True, "0 B of 500 B sent this month"),
        ({"limits": Limits(monthly_upload=500), "uploaded_this_month": 500}, "limits", False, "500 B is used up"),
        ({"limits": Limits(hours=(Hours(HERE, HERE + 1),))}, "limits", True, "within"),
        ({"limits": Limits(hours=(Hours((HERE + 1) % 1440, HERE),))}, "limits", False, "sent or fetched now"),
    ],
)
def test_what_is_said(patient, change, check, ok, words):
    (found,) = [one for one in examine(replace(patient, **change)) if one.check == check]
    assert (found.ok, words in found.detail) == (ok, True), found
    assert ok or found.advice


def laid(root, *, ref="a1" * 20):
    """A Hugging Face cache with one repository, whose snapshot nobody here holds."""
    folder = root / "models--Some--Thing"
    (folder / "snapshots" / ("a1" * 20)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(ref)
    return root


@pytest.mark.parametrize(
    ("ref", "ok", "words"),
    [
        ("a1" * 20, True, "each ref in it names a snapshot that exists"),
        ("b2" * 20, False, "models--Some--Thing/refs/main (nothing of it is there)"),
        ("a1" * 20 + "\n", False, "models--Some--Thing/refs/main (blanks after the commit)"),
        ("", False, "models--Some--Thing/refs/main (nothing of it is there)"),
    ],
)
def test_refs_of_the_hugging_face_cache(patient, tmp_path, ref, ok, words):
    (found,) = [
        one for one in examine(replace(patient, hub_cache=laid(tmp_path / "hub", ref=ref))) if one.check == "cache"
    ]
    assert (found.ok, words in found.detail) == (ok, True), found
    assert ok or "p2pqwen fetch" in found.advice


def test_a_cache_that_is_not_there_yet(patient, tmp_path):
    (found,) = [one for one in examine(replace(patient, hub_cache=tmp_path / "hub")) if one.check == "cache"]
    assert (found.ok, "not there yet" in found.detail) == (True, True)
    assert not (tmp_path / "hub").exists()


def test_many_faults_of_one_kind_are_one_finding(patient, tmp_path):
    root = laid(tmp_path / "hub")
    for number in range(9):
        (root / "models--Some--Thing" / "refs" / f"v{number}").write_text("c3" * 20)
    (found,) = [one for one in examine(replace(patient, hub_cache=root)) if one.check == "cache"]
    assert "and 6 more" in found.detail


@pytest.mark.parametrize("proven", [True, False])
def test_markers_are_missed_for_a_proven_snapshot_alone(patient, tmp_path, proven):
    files = {"config.json": b'{"another": 1}'}
    held = hold(patient.home, files, "Org/Other", proven=proven)
    root = tmp_path / "hub"
    (root / "models--Org--Other" / "snapshots" / str(held.id.commit)).mkdir(parents=True)
    (found,) = [one for one in examine(replace(patient, hub_cache=root)) if one.check == "cache"]
    assert (found.ok, "no markers" in found.detail) == (not proven, proven), found
    assert (str(held.id) in (found.advice or "")) is proven


@needs_root
def test_a_cache_that_is_closed_to_this_user(patient):
    with place_for_all() as folder:
        root = laid(folder / "hub")
        lock = root / ".locks" / "models--Some--Thing" / "x.lock"
        lock.parent.mkdir(parents=True)
        lock.touch(mode=0o600)
        seen = BOB.does(lambda: look_at_cache(root, []))
        assert (root in seen.closed, seen.locks) == (True, (lock,))


def test_a_taken_port(patient):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        sick = replace(patient, node=None, listen=Endpoint(*taken.getsockname()))
        (found,) = [one for one in examine(sick) if one.check == "port"]
    assert (found.ok, "in use" in found.detail) == (False, True)


def test_disks(patient, tmp_path):
    (tmp_path / "full").mkdir()
    more = [LibraryFolder(tmp_path / "full", 10**18), LibraryFolder(tmp_path / "not there")]
    found = [one for one in examine(replace(patient, library=Library(patient.home, more))) if one.check == "disk"]
    assert [one.ok for one in found] == [True, False, False]
    assert "0 B for more" in found[1].detail
    assert "mkdir -p" in found[2].advice
    assert list((tmp_path / "full").iterdir()) == []


def test_rot_and_permissions(patient):
    (held,) = patient.library.all()
    rotten = ScrubRecord(finished=NOW, damage=(Damage("model.safetensors", (1,), "a", "b"),))
    patient.home.keys.mkdir()
    (patient.home.keys / "key.pem").write_text("secret")
    (patient.home.keys / "key.pem").chmod(0o644)
    sick = replace(patient, scrubs={str(held.id): rotten, "Qwen/Gone@" + "0" * 40: rotten})
    bad = {one.check: one for one in examine(sick) if not one.ok}
    assert set(bad) == {"rot", "permissions"}
    assert f"verify {held.id} --repair" in bad["rot"].advice
    assert f"chmod go= {patient.home.keys / 'key.pem'}" in bad["permissions"].advice


def test_what_doctor_says_of_permissions_leaves_a_folder_usable(patient):
    logs = patient.home.log / "xet"
    logs.mkdir(parents=True)
    logs.chmod(0o755)
    (bad,) = [one for one in examine(patient) if one.check == "permissions" and not one.ok]
    command = bad.advice.strip("`").split()
    subprocess.run(command, check=True)
    assert stat.S_IMODE(logs.stat().st_mode) == 0o700
    assert not [one for one in examine(patient) if one.check == "permissions" and not one.ok]
