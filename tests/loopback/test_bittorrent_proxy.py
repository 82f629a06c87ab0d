"""`[network] bittorrent_proxy`: BitTorrent goes through a SOCKS5 proxy, or nowhere; packets and sockets are counted."""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.net import socks5
from p2pqwen.net.dialling import greet
from p2pqwen.net.socks_gateway import SocksGateway
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings, settings_pack
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.named_hosts import NONE_NAMED, Guard, NamedHosts
from p2pqwen.values.proxy import Proxy
from tests.support.addresses import web_server
from tests.support.command import CommandLine
from tests.support.models import noise
from tests.support.nat import OUTSIDE, natted_houses
from tests.support.other_clients import opentracker
from tests.support.packets import leaving, seen
from tests.support.preserved import COMMITS, REPO, Preserver, tree
from tests.support.processes import ROOT, Process, p2pqwen, running
from tests.support.proxies import proxy
from tests.support.sockets import connected, listening
from tests.support.swarm import ALONE, make_snapshot, preserve, pump_until, seeding, seeding_thread
from tests.support.waiting import wait_until

SETTING = '[network]\nbittorrent_proxy = "{url}"\n'
LOGIN = "keeper:s3cret-of-mine"
FILES = {"config.json": b"{}", "weights.gguf": noise(700_000, "weights")}


def url_of(server, login="") -> str:
    return f"socks5://{login}127.0.0.1:{server.port}"


def proxied(tmp_path, name: str, url: str, more: str = "") -> CommandLine:
    user = CommandLine(tmp_path / name)
    user.home.mkdir(parents=True, exist_ok=True)
    (user.home / "config.toml").write_text(SETTING.format(url=url) + more)
    return user


def test_a_fetch_reaches_its_peers_through_it_and_opens_nothing_else(tmp_path):
    seeder = CommandLine(tmp_path / "seeder")
    torrent = preserve(seeder, tmp_path / "source", FILES)["torrent"]
    with proxy("socks5", None, login=LOGIN) as server, seeding(seeder) as (node, peer):
        user = proxied(tmp_path, "user", url_of(server, f"{LOGIN}@"))
        command = p2pqwen("fetch", torrent, "--peer", peer, "--no-web-seeds", "--timeout", "60", "--json")
        with running(command, user.environment) as fetch:
            met = set()
            while fetch.exit_code is None:
                with suppress(FileNotFoundError):  # it has just ended
                    met |= {one.port for one in connected(fetch.pid)}
            assert fetch.wait(60) == 0, fetch.stderr
        assert json.loads(fetch.stdout)["bytes_from_peers"] > 700_000
        assert f"SOCKS {peer}" in server.asked
        assert int(peer.rpartition(":")[2]) not in met
        assert "s3cret" not in fetch.stdout + fetch.stderr
        assert node.exit_code is None


def test_web_seeds_come_by_way_of_our_relay_which_stays_on_this_machine(tmp_path):
    seeder = CommandLine(tmp_path / "seeder")
    torrent = preserve(seeder, tmp_path / "source", FILES)["torrent"]
    with proxy("socks5", None) as server, seeding(seeder, "--http", "127.0.0.1:0") as (node, _):
        url = f"http://127.0.0.1:{node.json_line(30, containing='http')['port']}/Qwen/Tiny/"
        user = proxied(tmp_path, "user", url_of(server))
        done = user.ok("fetch", torrent, "--only-web-seeds", "--web-seed", url)
        assert done["bytes_from_web_seeds"] == done["size"]
        assert server.asked == []  # HTTP takes the variables of the environment


def test_what_is_known_only_by_infohash_comes_through_it_as_well(tmp_path):
    seeder = CommandLine(tmp_path / "seeder")
    made = preserve(seeder, tmp_path / "source", FILES)
    with proxy("socks5", None) as server, seeding(seeder) as (_, peer):
        user = proxied(tmp_path, "user", url_of(server))
        done = user.ok("fetch", made["infohash_v2"], "--peer", peer, "--repo", "Qwen/Tiny", "--no-web-seeds")
        assert done["bytes_from_peers"] > 0
        assert server.asked


class Counter:
    """Listens by TCP and UDP at one port of this machine and counts what comes."""

    def __init__(self) -> None:
        self.tcp, self.udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = self.tcp.getsockname()[1]
        self.udp.bind(("127.0.0.1", self.port))
        for one in (self.tcp, self.udp):
            one.setblocking(False)

    def came(self) -> bool:
        for look in (self.tcp.accept, lambda: self.udp.recv(100)):
            try:
                look()
            except BlockingIOError:
                continue
            return True
        return False

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()


@contextmanager
def counters(count: int) -> Iterator[list[Counter]]:
    made = [Counter() for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


@pytest.mark.parametrize("away", [True, False])
def test_where_the_proxy_is_away_nothing_goes_past_it(tmp_path, away):
    snapshot = make_snapshot(tmp_path / "seed")
    with proxy("socks5", None) as gone:
        url = url_of(gone)  # nothing listens there once the block has ended
    with counters(3) as (peer, http, udp):
        trackers = [f"http://127.0.0.1:{http.port}/announce", f"udp://127.0.0.1:{udp.port}"]
        torrent = tmp_path / "tracked.torrent"
        torrent.write_bytes(replace(snapshot.metainfo, trackers=(tuple(trackers),)).encode())
        user = CommandLine(tmp_path / "user")
        user.home.mkdir(parents=True)
        text = '[network]\nprivate_hosts = "127.0.0.1"\ndht = false\n'
        text += f'bittorrent_proxy = "{url}"\n' if away else ""
        (user.home / "config.toml").write_text(text)
        options = ("--repo", "Qwen/Tiny", "--peer", f"127.0.0.1:{peer.port}", "--no-web-seeds", "--timeout", "6")
        assert user.run("fetch", torrent, *options).code == 5
        # Without the setting each of them is asked: so the test would see it.
        assert [one.came() for one in (peer, http, udp)] == [not away] * 3


def test_a_name_is_not_looked_up_here(tmp_path, monkeypatch):
    settings = SwarmSettings(proxy=Proxy("socks5", "127.0.0.1", 1))
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with pytest.raises(NetworkError, match="not looked up"):
        settings.address_of(Endpoint("peer.example", 6881))
    assert settings.address_of(Endpoint("192.0.2.1", 6881)) == Endpoint("192.0.2.1", 6881)


def test_a_session_does_not_begin_without_its_gateway():
    settings = SwarmSettings(listen=Endpoint("0.0.0.0", 6881), proxy=Proxy("socks5", "127.0.0.1", 1))
    assert not any((settings.choices.dht, settings.choices.lsd, settings.choices.upnp, settings.accepts_peers))
    assert settings.usable_trackers(["udp://t.example:1", "https://t.example/announce"]) == (
        "https://t.example/announce",
    )
    with pytest.raises(ValueError, match="gateway"):
        settings_pack(settings)


def asked(gateway: SocksGateway, host: str, port: int, *, password: str | None = None, command: int = 1) -> int:
    """What the gateway answers to a request, -1 for closing the connection before."""
    given = (gateway.password if password is None else password).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), 20) as client:
        client.sendall(b"\x05\x01\x02")
        client.recv(2)
        client.sendall(bytes((1, len(gateway.user))) + gateway.user.encode() + bytes((len(given),)) + given)
        if client.recv(2) != b"\x01\x00":
            return -1
        client.sendall(bytes((5, command, 0, 1)) + socket.inet_aton(host) + struct.pack(">H", port))
        answer = client.recv(10)
        return answer[1] if answer else -1


ALLOWED, FAILED, REFUSED, NO_COMMAND = 0, 1, 2, 7


@pytest.mark.parametrize(
    ("host", "named", "answer"),
    [
        ("127.0.0.1", "", REFUSED),
        ("192.168.1.1", "", REFUSED),
        ("10.0.0.1", "", REFUSED),
        ("169.254.169.254", "", REFUSED),
        ("0.0.0.0", "", REFUSED),
        ("127.0.0.1", "127.0.0.1", ALLOWED),
        ("45.9.0.9", "", FAILED),  # it is asked of the proxy, which does not reach it
    ],
)
def test_what_strangers_name_leads_no_further_than_elsewhere(host, named, answer):
    with proxy("socks5", None) as server, counters(1) as (there,):
        hosts = NamedHosts.listed([named]) if named else NONE_NAMED
        refusing = Proxy("socks5", "127.0.0.1", server.port if answer == ALLOWED else 9)
        with SocksGateway(refusing, Guard(hosts)) as gateway:
            assert asked(gateway, host, there.port) == answer
            if answer == ALLOWED:
                wait_until(there.came, 10, "the connection")
            assert not there.came()
        assert bool(server.asked) is (answer == ALLOWED)


def test_the_gateway_is_for_its_session_alone_and_passes_no_udp_on():
    with proxy("socks5", None) as server, counters(2) as (relay, other):
        with SocksGateway(Proxy("socks5", "127.0.0.1", server.port), Guard()) as gateway:
            gateway.lead_directly(("127.0.0.1", relay.port))
            assert asked(gateway, "127.0.0.1", relay.port, password="guessed") == -1
            assert asked(gateway, "127.0.0.1", relay.port, command=3) == NO_COMMAND
            assert not relay.came()
            assert asked(gateway, "127.0.0.1", relay.port) == ALLOWED
            assert asked(gateway, "127.0.0.1", other.port) == REFUSED
            with pytest.raises(ValueError, match="not reached directly"):
                gateway.lead_directly(("192.0.2.1", 80))
        assert server.asked == []
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", gateway.port), 5).close()


def test_a_peer_that_the_user_named_is_reached_wherever_it_is_by_the_proxy(tmp_path):
    snapshot = make_snapshot(tmp_path / "seed")
    with proxy("socks5", None) as server, seeding_thread([(snapshot.metainfo, snapshot.save_path)]) as peer:
        behind = replace(ALONE, named=NONE_NAMED, proxy=Proxy("socks5", "127.0.0.1", server.port))
        with Swarm(behind.with_room_for([peer])) as swarm:
            assert swarm.listening == []
            torrent = swarm.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path / "copy"))
            torrent.connect(peer)
            pump_until(lambda: torrent.finished, swarm, what="the download")
            assert server.asked == [f"SOCKS {peer}"]


def test_a_dead_proxy_is_told_by_its_name():
    with counters(1) as (dead,):
        dead.close()
        with pytest.raises(OSError, match="refused"):
            greet(Proxy("socks5", "127.0.0.1", dead.port), timeout=5)
    with proxy("socks5", None, login=LOGIN) as server, pytest.raises(socks5.SocksError, match="refuses the user name"):
        greet(Proxy("socks5", "127.0.0.1", server.port, "keeper", "other"), timeout=5)


@pytest.mark.parametrize("text", ["http://127.0.0.1:1", "socks5://", "socks4://127.0.0.1:1", "127.0.0.1:1"])
def test_what_is_no_socks5_proxy_is_refused_before_anything_is_asked(tmp_path, text):
    user = proxied(tmp_path, "user", text.replace("//", f"//{LOGIN}@"))
    ended = user.run("list")
    assert (ended.code, "bittorrent_proxy" in ended.stderr, "s3cret" in ended.stderr) == (2, True, False)


def test_doctor_shows_it_and_warns_where_http_goes_past_it(tmp_path):
    with proxy("socks5", None, login=LOGIN) as server:
        user = proxied(tmp_path, "user", url_of(server, f"{LOGIN}@"))
        user.environment |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "")
        user.environment |= {"HF_ENDPOINT": "http://hub.example", "all_proxy": "", "ALL_PROXY": ""}

        def found():
            ended = user.run("doctor", "--json")
            assert "s3cret" not in ended.stdout + ended.stderr
            return {one["check"]: one for one in ended.json["findings"]}

        direct = found()
        assert not direct["bittorrent"]["ok"]
        assert "http and https go out directly" in direct["bittorrent"]["detail"]
        assert "all_proxy=socks5h://" in direct["bittorrent"]["advice"]
        assert "accepts no connections" in direct["port"]["detail"]
        assert "UDP" in direct["dht"]["detail"]
        user.environment["all_proxy"] = url_of(server, f"{LOGIN}@")
        covered = found()["bittorrent"]
        assert covered["ok"], covered
        assert f"socks5://127.0.0.1:{server.port} alone" in covered["detail"]
    away = found()["bittorrent"]
    assert (away["ok"], "does not answer" in away["detail"]) == (False, True)


LEECH = """
import sys, time
import libtorrent as lt
torrent, folder, address = sys.argv[1:]
settings = {"listen_interfaces": f"{address}:0", "enable_dht": False, "enable_lsd": False}
# The proxy's address is its own here, and a tracker tells it of itself.
session = lt.session(settings | {"allow_multiple_connections_per_ip": True})
given = lt.load_torrent_file(torrent)
given.save_path, given.url_seeds = folder, []
handle = session.add_torrent(given)
while not any(one["verified"] for one in handle.trackers()):
    time.sleep(0.1)
print("announced", flush=True)
until = time.monotonic() + 300
while not handle.status().is_seeding and time.monotonic() < until:
    time.sleep(0.1)
print("done" if handle.status().is_seeding else "nothing came", flush=True)
"""


@contextmanager
def _announced(client: Process) -> Iterator[None]:
    client.line(30, containing="announced")
    yield


@contextmanager
def socks_in(lab) -> Iterator[tuple[Process, int]]:
    program = [sys.executable, "-m", "tests.support.proxies", OUTSIDE]
    with running(lab.within(lab.world, program), {"PYTHONPATH": str(ROOT)}) as server:
        yield server, int(server.line(30, containing="port").split()[1])


def test_a_node_seeds_through_it_and_no_packet_goes_anywhere_else(tmp_path):
    """Here in a house, the proxy, a tracker and a client that accepts peers outside."""
    with natted_houses(1) as lab:
        keeper = Preserver(tmp_path)
        torrent = parse_metainfo(keeper.preserve(FILES).read_bytes())
        with (
            opentracker(torrent, address=OUTSIDE, within=lab.within(lab.world, [])) as announce,
            socks_in(lab) as (server, port),
            leaving(lab.within(lab.houses[0], [])) as watcher,
        ):
            keeper.user.ok("publish", "--out", keeper.site, "--tracker", announce, "--yes")
            config = SETTING.format(url=f"socks5://{OUTSIDE}:{port}") + "web_seeds = 'never'\n"
            (keeper.user.home / "config.toml").write_text(config)
            seed = p2pqwen("seed", "--listen", "0.0.0.0:6881", "--json")
            signed = keeper.site / REPO / f"{COMMITS[0]}.torrent"
            leech = [sys.executable, "-c", LEECH, signed, tmp_path / "leech", OUTSIDE]
            with (
                running(lab.within(lab.world, leech)) as client,
                _announced(client),
                running(lab.within(lab.houses[0], seed), keeper.user.environment) as node,
            ):
                assert node.json_line(60, containing='"proxied"')["proxy"] == f"socks5://{OUTSIDE}:{port}"
                node.line(60, containing='"seeding"')
                server.line(5, containing=f"SOCKS {announce.split('/')[2]}")
                client.line(60, containing="done")
                assert keeper.user.ok("status")["node"] == {"pid": node.pid, "listen": ""}
                assert "accepts no connections" in keeper.user.run("status").stdout
                assert not [one for one in listening(node.pid) if not one.is_loopback]
            assert tree(tmp_path / "leech" / COMMITS[0]).items() >= FILES.items()
            asked_for = {line.strip() for line in server.lines[1:]}
            assert f"SOCKS {announce.split('/')[2]}" in asked_for
            assert seen(watcher) == {f"tcp {OUTSIDE}:{port}"}


def test_the_hub_of_a_web_seed_is_not_reached_by_bittorrent(tmp_path):
    """A web seed that a peer or a torrent names is asked by our relay alone, never by libtorrent itself."""
    snapshot = make_snapshot(tmp_path / "seed")
    with proxy("socks5", None) as server, web_server("127.0.0.1") as elsewhere:
        named = replace(snapshot.metainfo, web_seeds=(f"http://127.0.0.1:{elsewhere.port}/",))
        behind = replace(ALONE, proxy=Proxy("socks5", "127.0.0.1", server.port))
        with Swarm(behind) as swarm:
            torrent = swarm.add_download(named, prove_writable(named, tmp_path / "copy"))
            pump_until(lambda: torrent.checked, swarm, what="the check")
            wait_until(lambda: swarm.pump(0.1) or True, 5, "a turn")
        assert (elsewhere.hits, server.asked) == ([], [])
