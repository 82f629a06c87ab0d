"""Sessions of ours against one another: what they write, whom they talk to, what they say when something is wrong."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import libtorrent as lt
import pytest

from p2pqwen.errors import DiskError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, ignore
from p2pqwen.operations.fetch.metadata import ask_for_layers
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.progress import Phase
from p2pqwen.swarm.resume_data import Resume, unwrap, wrap
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.swarm.transport import TRIAL
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info
from p2pqwen.values.digest import Sha1
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.network_choices import NetworkChoices
from p2pqwen.values.repo_path import RepoPath
from tests.simulators.peer import HASHES, Behaviour, Content, PeerNetwork, addresses, message
from tests.support.addresses import web_server
from tests.support.models import noise
from tests.support.processes import ROOT
from tests.support.sockets import datagram_sockets
from tests.support.swarm import ALONE, LISTENING, SWITCHED_OFF, make_snapshot, pump_until, serving

TRACKERS_ALONE = NetworkChoices(dht=False, lsd=False, upnp=False)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return make_snapshot(tmp_path_factory.mktemp("seed"))


def payload(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def finish(torrent, *swarms):
    pump_until(lambda: torrent.progress().phase is Phase.FINISHED, *swarms, what="the download finishes")
    before = torrent.flushes
    torrent.request_flush()
    pump_until(lambda: torrent.flushes > before, *swarms, what="everything is written")


def test_a_download_is_the_seed_to_the_byte_and_is_counted_as_peers(snapshot, tmp_path):
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        torrent.connect(address)
        finish(torrent, seed, swarm)
        progress = torrent.progress()
    assert payload(tmp_path / snapshot.metainfo.name) == snapshot.files
    assert progress.total == progress.done == snapshot.size
    assert bytes(torrent.have) == b"\1" * snapshot.metainfo.layout.piece_count
    assert (progress.received_from_peers, progress.received_from_web_seeds) == (progress.received, 0)
    assert progress.received >= snapshot.size


def test_metadata_comes_from_peers_and_nothing_is_written_for_it(snapshot, tmp_path):
    infohash = snapshot.metainfo.infohash
    for v1, v2 in ((infohash.v1, infohash.v2), (infohash.v1, None), (None, infohash.v2)):
        with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
            torrent = swarm.add_magnet(v1, v2)
            torrent.connect(address)
            found = pump_until(lambda: torrent.metadata, seed, swarm, what="the metadata")  # noqa: B023 - now
            pump_until(lambda: torrent.peers() == [address], seed, swarm, what="the peer stays")  # noqa: B023 - now
        assert found == snapshot.metainfo.info
        assert list(tmp_path.iterdir()) == []


def test_what_is_held_calls_nobody_before_it_starts(snapshot, tmp_path):
    def called() -> bool:
        with suppress(BlockingIOError):
            listener.accept()[0].close()
            return True
        return False

    with (
        serving(snapshot) as (seed, address),
        Swarm(ALONE) as swarm,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        listener.setblocking(False)
        held = swarm.add_magnet(Sha1(b"\1" * 20), None, held=True)
        held.connect(Endpoint(*listener.getsockname()))
        other = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        other.connect(address)  # after: a peer that was called by now was not held
        pump_until(lambda: other.met, seed, swarm, what="the other torrent's peer")
        assert not called()
        held.start()
        pump_until(called, swarm, what="the peer is called")


def test_a_torrent_without_piece_layers_is_completed_all_the_same(snapshot, tmp_path):
    bare = metainfo_from_info(snapshot.metainfo.info)
    assert not bare.has_all_layers
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
        torrent = swarm.add_download(bare, prove_writable(bare, tmp_path))
        torrent.connect(address)
        finish(torrent, seed, swarm)
    assert payload(tmp_path / bare.name) == snapshot.files


def test_piece_layers_come_from_peers_that_are_called_by_the_v2_infohash(snapshot, tmp_path):
    bare = metainfo_from_info(snapshot.metainfo.info)
    with serving(snapshot) as (_, address), Swarm(ALONE) as swarm:
        found = ask_for_layers(swarm, bare, [address], timeout=60, report=ignore)
    assert found.piece_layers == snapshot.metainfo.piece_layers
    assert found.info == snapshot.metainfo.info
    assert list(tmp_path.iterdir()) == []


def test_without_a_peer_that_has_them_there_are_no_piece_layers(snapshot, tmp_path):
    bare = metainfo_from_info(snapshot.metainfo.info)
    content = Content.of(snapshot.metainfo, snapshot.files)
    refuses = Behaviour(version_2=True)
    lies = Behaviour(version_2=True, hashes=lambda asked: message(HASHES, asked + bytes(32 * 8)))
    with PeerNetwork() as network, Swarm(ALONE) as swarm:
        peers = [
            network.peer(content, one, host) for one, host in zip((None, refuses, lies), addresses(), strict=False)
        ]
        found = ask_for_layers(swarm, bare, [one.endpoint for one in peers], timeout=20, report=ignore)
    assert not found.has_all_layers


def test_asking_for_piece_layers_can_be_stopped(snapshot, tmp_path):
    class StopError(Exception):
        pass

    def report(_event):
        raise StopError

    bare = metainfo_from_info(snapshot.metainfo.info)
    with Swarm(ALONE) as swarm, pytest.raises(StopError):
        ask_for_layers(swarm, bare, [Endpoint("127.0.0.1", 9)], timeout=60, report=report)


def test_a_peer_without_utp_is_reached_while_utp_is_tried(snapshot, tmp_path):
    """It appears only then; libtorrent tries uTP first as often as it is told that the peer may speak it."""
    content = Content.of(snapshot.metainfo, snapshot.files)
    with PeerNetwork() as network, Swarm(ALONE) as swarm:
        swarm.admit([Endpoint("127.0.0.1", 1)], ())  # so that uTP has its turn soon
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        torrent.connect(Endpoint("127.0.0.1", port))
        pump_until(lambda: swarm.tries_utp, swarm, what="uTP is tried")
        peer = network.peer(content, port=port)
        pump_until(lambda: peer.seen.handshakes, swarm, seconds=TRIAL - 10, what="the peer is reached over TCP")
        finish(torrent, swarm)
    assert payload(tmp_path / snapshot.metainfo.name) == snapshot.files


STUCK = """
import sys
from pathlib import Path
from p2pqwen.swarm import session
from tests.support.swarm import ALONE, make_snapshot
from p2pqwen.swarm.writable import prove_writable

session._all_gone = lambda torrents, seconds: False
snapshot = make_snapshot(Path(sys.argv[1]))
with session.Swarm(ALONE) as swarm:
    torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, Path(sys.argv[1])))
    swarm.remove(torrent)
print("closed")
"""


def test_a_torrent_that_is_never_released_does_not_hold_the_program(tmp_path):
    command = [sys.executable, "-c", STUCK, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


def test_only_chosen_files_are_fetched_and_the_others_never_made(snapshot, tmp_path):
    chosen = {RepoPath("config.json"), RepoPath("model/notes.txt")}
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path, chosen))
        torrent.connect(address)
        finish(torrent, seed, swarm)
        assert torrent.progress().total == sum(len(snapshot.files[path.text]) for path in chosen)
    found = payload(tmp_path / snapshot.metainfo.name)
    assert found.keys() - {"empty.txt"} == {path.text for path in chosen}
    assert all(snapshot.files[name] == content for name, content in found.items())


def test_resume_data_spares_the_reading_and_is_given_up_when_it_does_not_fit(snapshot, tmp_path):
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        torrent.connect(address)
        finish(torrent, seed, swarm)
        torrent.request_resume()
        pump_until(lambda: torrent.resume_answers, seed, swarm, what="resume data")
    resume = unwrap(wrap(torrent.resume))
    for data in (resume, None, b"no resume data", lt.write_resume_data_buf(lt.add_torrent_params())):
        with Swarm(ALONE) as swarm:
            torrent = swarm.add_download(
                snapshot.metainfo,
                prove_writable(snapshot.metainfo, tmp_path),
                resume=None if data is None else Resume(data),
            )
            pump_until(lambda: torrent.checked, swarm, what="the check")  # noqa: B023 - now
            assert bytes(torrent.have) == b"\1" * snapshot.metainfo.layout.piece_count


def test_resume_data_cannot_redirect_files(snapshot, tmp_path):
    given = lt.load_torrent_buffer(snapshot.metainfo.encode())
    given.save_path = str(tmp_path / "elsewhere")
    given.renamed_files = {0: str(tmp_path / "escaped")}
    given.url_seeds = ["http://127.0.0.1:9/"]
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
        torrent = swarm.add_download(
            snapshot.metainfo,
            prove_writable(snapshot.metainfo, tmp_path / "here"),
            resume=Resume(lt.write_resume_data_buf(given)),
        )
        torrent.connect(address)
        finish(torrent, seed, swarm)
    assert payload(tmp_path) == {f"here/{snapshot.metainfo.name}/{name}": data for name, data in snapshot.files.items()}


def test_a_fetch_does_not_listen_even_where_it_has_sockets(snapshot, tmp_path):
    settings = SwarmSettings(loopback=True, choices=TRACKERS_ALONE)
    with serving(snapshot) as (seed, address), Swarm(settings) as swarm:
        pump_until(lambda: swarm.listening, swarm, what="sockets")
        for endpoint in swarm.listening:
            with socket.socket(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET) as caller:
                assert caller.connect_ex((endpoint.host, endpoint.port)) != 0, endpoint
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        torrent.connect(address)
        finish(torrent, seed, swarm)
        assert listening_ports().isdisjoint(one.port for one in swarm.listening)


def listening_ports() -> set[int]:
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    mine = {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    listen = "0A"
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == listen and f"socket:[{row[9]}]" in mine}


def test_a_webtorrent_tracker_is_not_asked_and_opens_no_socket(snapshot, tmp_path):
    named = NamedHosts.of(["http://127.0.0.1"])
    settings = SwarmSettings(choices=TRACKERS_ALONE, loopback=True, named=named)
    with web_server("127.0.0.1") as webtorrent, web_server("127.0.0.1") as plain, Swarm(settings) as swarm:
        pump_until(lambda: swarm.listening, swarm, what="sockets")
        before = datagram_sockets(os.getpid())
        trackers = [
            [f"ws://127.0.0.1:{webtorrent.port}/announce"],
            [f"http://127.0.0.1:{plain.port}/announce"],
        ]
        writable = prove_writable(snapshot.metainfo, tmp_path)
        swarm.add_download(snapshot.metainfo, writable, trackers=trackers)
        pump_until(lambda: plain.hits, swarm, what="the plain tracker is asked")
        assert webtorrent.hits == []
        assert datagram_sockets(os.getpid()) <= before


def test_a_port_that_is_taken_is_an_error(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = replace(LISTENING, listen=Endpoint("127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(P2pqwenError, match="cannot listen on"), Swarm(settings):
            raise AssertionError("it listens")


def test_a_damaged_seed_is_seen_before_it_is_shared(tmp_path):
    damaged = make_snapshot(tmp_path)
    target = damaged.folder / "model.safetensors"
    with target.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"rotten")
    before = target.stat().st_mtime_ns
    with Swarm(LISTENING) as swarm:
        torrent = swarm.add_seed(damaged.metainfo, tmp_path)
        pump_until(lambda: torrent.checked, swarm, what="the check")
        assert torrent.have.count(0) == 1
        assert torrent.progress().paused
    assert target.stat().st_mtime_ns == before


def test_a_piece_that_rots_while_it_is_trusted_is_never_given_away(tmp_path):
    damaged = make_snapshot(tmp_path / "seed")
    with (damaged.folder / "model.safetensors").open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"rotten")
    with Swarm(LISTENING) as seed, Swarm(ALONE) as swarm:
        served = seed.add_seed(damaged.metainfo, damaged.save_path, trusted=True)
        pump_until(lambda: served.checked, seed, what="the seed is loaded")
        assert served.have.count(0) == 0  # believed at first
        served.share(())
        torrent = swarm.add_download(damaged.metainfo, prove_writable(damaged.metainfo, tmp_path / "copy"))
        torrent.connect(seed.listening[0])
        pump_until(lambda: torrent.have.count(0) == 1, seed, swarm, what="all but the rotten piece")
        pump_until(lambda: served.have.count(0) == 1, seed, swarm, what="the seed has noticed")
        assert torrent.failed_pieces == 0
    assert (damaged.folder / "model.safetensors").read_bytes()[1_000_000:1_000_006] == b"rotten"


def test_a_peer_that_only_utp_reaches_is_reached(snapshot, tmp_path):
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
        seed._live.apply_settings({"enable_incoming_tcp": False})
        seed._live.set_peer_class_filter(lt.ip_filter())
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        # TCP would be taken by the kernel and never answered: as behind a NAT, a black hole.
        torrent.connect(address)
        # Not the count of peers: a torrent this small may be whole, and its peer gone, between two looks.
        pump_until(lambda: torrent.progress().received_from_peers, seed, swarm, seconds=60, what="bytes over uTP")
        finish(torrent, seed, swarm)
    assert payload(tmp_path / snapshot.metainfo.name) == snapshot.files


def test_a_seed_that_starts_late_is_found(snapshot, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = Endpoint("127.0.0.1", probe.getsockname()[1])
    with Swarm(ALONE) as swarm:
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        torrent.connect(address)
        late = time.monotonic() + 6  # beyond libtorrent's three tries
        pump_until(lambda: time.monotonic() > late, swarm, what="time")
        with serving(snapshot, replace(LISTENING, listen=address)) as (seed, _):
            finish(torrent, seed, swarm)


@pytest.mark.parametrize("scheme", ["http", "udp"])
def test_leaving_does_not_wait_for_a_tracker_that_never_answers(snapshot, scheme):
    with socket.socket() as tarpit:
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen(50)
        url = f"{scheme}://127.0.0.1:{tarpit.getsockname()[1]}/announce"
        with Swarm(replace(LISTENING, choices=TRACKERS_ALONE)) as swarm:
            torrent = swarm.add_seed(snapshot.metainfo, snapshot.save_path)
            pump_until(lambda: torrent.checked, swarm, what="the check")
            torrent.share([[url]])
            until = time.monotonic() + 1
            pump_until(lambda: time.monotonic() > until, swarm, what="the announce is under way")
            ended = threading.Event()
            watchdog = threading.Timer(8, lambda: ended.is_set() or os._exit(86))
            watchdog.start()
            swarm.close()
            ended.set()
            watchdog.cancel()
            watchdog.join()


def test_a_tracker_that_refuses_is_mentioned_once(snapshot):
    heard = []
    with Swarm(replace(LISTENING, choices=TRACKERS_ALONE), report=heard.append) as swarm:
        torrent = swarm.add_seed(snapshot.metainfo, snapshot.save_path)
        pump_until(lambda: torrent.checked, swarm, what="the check")
        torrent.share([["http://127.0.0.1:1/announce"]])
        pump_until(lambda: heard, swarm, what="word of the tracker")
    assert isinstance(heard[0], Notice)
    assert heard[0].text == "tracker http://127.0.0.1:1/announce: Connection refused"
    assert len(heard) == 1


def test_a_folder_in_a_files_place_is_a_disk_error(snapshot, tmp_path):
    (tmp_path / snapshot.metainfo.name / "model.safetensors" / "in the way").mkdir(parents=True)
    with pytest.raises(DiskError, match=r"model\.safetensors is not written to.*other than a regular file"):
        prove_writable(snapshot.metainfo, tmp_path)
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:  # it came after that was looked at
        shutil.rmtree(tmp_path / snapshot.metainfo.name)
        writable = prove_writable(snapshot.metainfo, tmp_path)
        (tmp_path / snapshot.metainfo.name / "model.safetensors" / "in the way").mkdir(parents=True)
        torrent = swarm.add_download(snapshot.metainfo, writable)
        torrent.connect(address)
        pump_until(lambda: torrent.error, seed, swarm, what="the error")
    assert isinstance(torrent.error, DiskError)
    assert "model.safetensors" in torrent.error.what


def test_v1_and_v2_that_contradict_each_other_stop_the_download(tmp_path):
    """The v1 side names other bytes than the v2 side; each is complete in itself."""
    good = make_snapshot(tmp_path / "good", {"model.safetensors": noise(600_000, "good")})
    other = make_snapshot(tmp_path / "other", {"model.safetensors": noise(600_000, "other")})
    info = good.metainfo.info.replace(good.metainfo.pieces, other.metainfo.pieces)
    forged = Metainfo(info, good.metainfo.piece_layers)
    with Swarm(LISTENING) as seed:
        served = seed.add_seed(forged, good.save_path)
        pump_until(lambda: served.checked or served.error, seed, what="the check")
        assert served.error is not None or served.have.count(0) == len(served.have)
        if served.error is not None:
            assert isinstance(served.error, VerificationError)


def test_an_upload_limit_holds_on_loopback_too(snapshot, tmp_path):
    limit = 1_000_000
    with (
        serving(snapshot, replace(LISTENING, choices=SWITCHED_OFF.limited(upload=limit))) as (seed, address),
        Swarm(ALONE) as swarm,
    ):
        torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path))
        torrent.connect(address)
        pump_until(lambda: torrent.progress().received > 0, seed, swarm, what="the first bytes")
        start, before = time.monotonic(), torrent.progress().received
        pump_until(lambda: time.monotonic() - start > 1.5, seed, swarm, what="time")
        received = torrent.progress().received - before
        assert received < 2.5 * limit * (time.monotonic() - start)
