"""What a session may do, and every libtorrent setting we change, in one place and with its reason.

Figures marked [measured] are for libtorrent 2.1.1 on loopback, two cores, a 1 GiB hybrid. Defaults that are good are
named only where safety rests on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeAlias
from urllib.parse import urlsplit

import libtorrent as lt

from p2pqwen import __version__
from p2pqwen.errors import NetworkError
from p2pqwen.portable.cores import usable_cores
from p2pqwen.swarm.bootstrap import DHT_BOOTSTRAP
from p2pqwen.swarm.endpoint import Endpoint, is_address, is_loopback, is_private
from p2pqwen.swarm.open_files import OpenFiles, share_out
from p2pqwen.swarm.untrusted_links import leads_inside
from p2pqwen.torrent.info import MAX_INFO_BYTES
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.network_choices import UNRESTRICTED, NetworkChoices, Switch
from p2pqwen.values.proxy import Proxy

Pack: TypeAlias = dict[str, Any]
"""libtorrent's settings by their names, as its `settings_pack` takes them: texts, numbers, booleans."""

PAST_A_PROXY: tuple[Switch, ...] = ("dht", "lsd", "upnp")
"""What is UDP from end to end, which a SOCKS5 proxy as a rule does not pass on; it is off where one is set."""
_LOOPBACK = Endpoint("127.0.0.1", 0)
_LARGE_DHT = 64  # nodes
# Not ws and wss, unless they were asked for: libtorrent 2.1 answers a WebTorrent tracker with WebRTC offers, which tell
# it the addresses of this machine and listen on every interface. No STUN server is asked in any case.
_TRACKER_SCHEMES = frozenset({"udp", "http", "https"})
_WEBTORRENT_SCHEMES = frozenset({"ws", "wss"})
_TRACKER_SCHEMES_BY_PROXY = frozenset({"http", "https"})
_ANY = (Endpoint("0.0.0.0", 0), Endpoint("::", 0))  # noqa: S104 - see `SwarmSettings.listen_on`


@dataclass(frozen=True, slots=True)
class SwarmSettings:
    """One session's choices, and what it may reach.

    `listen`: where a seeding session accepts peers; None for one that only fetches and accepts nobody.
    `loopback`: peers, trackers and web seeds on this machine are welcome. `lan`: the user lets us speak to private
    networks; `named_lan` and `low_ports`: the user named something there, or a peer on a port below 1024. `named`: the
    hosts of private networks that trackers may be on, which the user named. `proxy`: everything goes through this
    SOCKS5 proxy and nothing past it: no UDP, so that DHT, LSD and UPnP are off whatever `choices` says, and nobody is
    accepted.
    """

    listen: Endpoint | None = None
    choices: NetworkChoices = UNRESTRICTED
    loopback: bool = False
    lan: bool = True
    named_lan: bool = False
    low_ports: bool = False
    dht_bootstrap: tuple[str, ...] = DHT_BOOTSTRAP
    named: NamedHosts = NONE_NAMED
    dht_nodes: tuple[Endpoint, ...] = ()  # nodes that answered before: quicker than any bootstrap
    proxy: Proxy | None = None
    webtorrent: bool = False  # the user lets trackers of ws:// and wss:// be asked
    named_peers: frozenset[Endpoint] = frozenset()  # those that the user named, wherever they are

    def __post_init__(self) -> None:
        if self.proxy is not None:  # here, where no caller can forget it
            object.__setattr__(self, "choices", self.choices.without(*PAST_A_PROXY))

    @property
    def seeds(self) -> bool:
        """Whether this is the session of a node, which gives and has no end of its own."""
        return self.listen is not None

    @property
    def accepts_peers(self) -> bool:
        """Whether others may open connections to this session; through a proxy nobody can."""
        return self.seeds and self.proxy is None

    @property
    def allows_loopback(self) -> bool:
        """Whether addresses of this machine pass the filter: asked for, or we listen there."""
        return self.loopback or (
            self.accepts_peers
            and self.listen is not None
            and (self.listen.host in {"0.0.0.0", "::"} or self.listen.is_loopback)  # noqa: S104
        )

    @property
    def allows_lan(self) -> bool:
        """Whether private networks pass the filter: named, listened on, or allowed and of use.

        A node is reached from there (other machines of the house, containers whose peers all seem to come from the
        bridge); a fetch, which accepts nobody, finds peers there by LSD.
        """
        named = self.named_lan or (self.accepts_peers and self.listen is not None and _is_lan(self.listen.host))
        return named or (self.lan and (self.choices.lsd or self.accepts_peers))

    @property
    def listen_on(self) -> tuple[Endpoint, ...]:
        """The sockets to open.

        A session that only fetches needs a UDP socket on the outside for the DHT, UDP trackers and hole punching,
        and HTTP trackers speak from a listening address; `outgoing_only.stop_listening` then closes its TCP side.
        Without any of these it stays on loopback. Through a proxy none listens, whatever is said here.
        """
        if self.proxy is not None:
            return (_LOOPBACK,)
        if self.listen is not None:
            return (self.listen,)
        return _ANY if self.choices.finds_peers else (_LOOPBACK,)

    def with_room_for(self, peers: Iterable[Endpoint], *, urls: Iterable[str] = ()) -> Self:
        """Return the same, with what was asked for by name allowed: this machine, private networks, low ports.

        `peers` are the user's own words; `urls` are trackers that anybody named, and of those only what the user named
        as well counts.
        """
        peers = list(peers)
        urls = self.usable_trackers(urls)
        hosts = [peer.host for peer in peers] + [host for url in urls if (host := urlsplit(url).hostname)]
        return replace(
            self,
            loopback=self.loopback or any(map(is_loopback, hosts)),
            named_lan=self.named_lan or any(map(_is_lan, hosts)),
            low_ports=self.low_ports or any(peer.port < 1024 for peer in peers),
            named_peers=self.named_peers | frozenset(peers),
        )

    def address_of(self, peer: Endpoint) -> Endpoint:
        """Return a peer with its IP address; raises `NetworkError` for a name that has none.

        Where a proxy is set no name is looked up here: the question itself would go past it.
        """
        if self.proxy is not None and not is_address(peer.host):
            what = f"the name {peer.host} is not looked up while BitTorrent goes through a proxy"
            raise NetworkError(what, hint="name the peer by its IP address")
        return peer.resolve()

    def usable_trackers(self, urls: Iterable[str]) -> tuple[str, ...]:
        """Return the trackers that may be asked.

        None where they are off, none that speaks WebTorrent unless the user has it, none that leads inside by its
        text; through a proxy, which passes no UDP on, only those that speak HTTP.
        """
        if not self.choices.trackers:
            return ()
        wanted = _TRACKER_SCHEMES | _WEBTORRENT_SCHEMES if self.webtorrent else _TRACKER_SCHEMES
        schemes = wanted if self.proxy is None else _TRACKER_SCHEMES_BY_PROXY
        return tuple(url for url in urls if urlsplit(url).scheme in schemes and not leads_inside(url, self.named))


def _is_lan(host: str) -> bool:
    return is_private(host) and not is_loopback(host) and host not in {"0.0.0.0", "::"}  # noqa: S104 - compared


def alert_mask(*, pieces: bool, connections: bool) -> int:
    """Return the alert categories we read: `pieces` adds one for each finished piece, `connections` for each peer."""
    category = lt.alert.category_t
    mask = (
        category.error_notification
        | category.status_notification
        | category.storage_notification
        | category.tracker_notification
        | category.port_mapping_notification
    )
    if pieces:
        mask |= category.piece_progress_notification
    if connections:
        mask |= category.connect_notification
    return int(mask)


class Gateway(Protocol):
    """Where a session that goes through a proxy is sent instead: `net.socks_gateway`, on this machine."""

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1."""

    @property
    def user(self) -> str:
        """The name that it asks for."""

    @property
    def password(self) -> str:
        """The password that it asks for."""


def settings_pack(settings: SwarmSettings, gateway: Gateway | None = None) -> Pack:
    """Return the libtorrent settings for one session; raises `ValueError` for a proxy without its gateway."""
    if (settings.proxy is None) is not (gateway is None):
        raise ValueError("a session goes through a gateway where it has a proxy, and only there")
    cores, opened = usable_cores(), share_out()
    return {
        **_identity(),
        **_reach(settings),
        **_dht(),
        **_safety(settings),
        **_limits(settings, opened),
        # One thread in front of the sockets does the work of a core; hashing wants the others. [measured] one thread
        # hashes a hybrid at 0.78 GB/s. More than four only fight over the disk.
        "hashing_threads": max(2, min(cores, 4)),
        "aio_threads": 8,
        "checking_mem_usage": 1024,  # blocks of 16 KiB read ahead in a recheck
        "file_pool_size": opened.files,
        # Of what has come and is not written. [measured] With libtorrent's 100 MB a fetch of 1 GB from one peer
        # took 268 and 290 MB while the disk was slow, with 24 MB 174 and 196.
        "max_queued_disk_bytes": 32 << 20,
        # 24 MB on their way: 0.2 s of a line at 1 Gb/s, or the pipe runs dry. [measured] 250 to 350 MB/s; twice as many
        # are no faster, and where all cores are busy with hashing 5 to 8 % slower.
        "max_out_request_queue": 1500,
        "max_allowed_in_request_queue": 4000,
        "request_queue_time": 20,
        "send_buffer_watermark": 10 << 20,
        **transport_pack(settings, utp=False),
        "mixed_mode_algorithm": 0,  # prefer_tcp: a TCP peer is not held back to a uTP peer's pace
        # A peer that is wanted at once is connected at the next tick, and half a second is long for a small model.
        "tick_interval": 500 if settings.seeds else 100,
        "alert_queue_size": 50_000,  # at 16 KiB pieces and 300 MB/s a second of them fits; more are dropped silently
        # Stopping: say goodbye to trackers that answer, wait for none that does not.
        "stop_tracker_timeout": 1,
        "tracker_completion_timeout": 15,
        "tracker_receive_timeout": 10,
        "announce_to_all_tiers": True,  # a dead first tier must not hide the second
        "announce_to_all_trackers": True,
        **({} if gateway is None else _by_gateway(gateway)),
    }


def _by_gateway(gateway: Gateway) -> Pack:
    """Return what sends every connection to the gateway, and has none be made another way.

    [measured] No TCP socket listens then. One UDP socket stays, to which nothing is written.
    """
    return {
        "proxy_type": int(lt.proxy_type_t.socks5_pw),
        "proxy_hostname": "127.0.0.1",
        "proxy_port": gateway.port,
        "proxy_username": gateway.user,
        "proxy_password": gateway.password,
        "proxy_hostnames": True,
        "proxy_peer_connections": True,  # web seeds too
        "proxy_tracker_connections": True,
        "enable_incoming_utp": False,
        "dht_bootstrap_nodes": "",
        # Who uses a proxy does not tell peers and trackers a listening port, addresses and our name.
        "anonymous_mode": True,
        "peer_fingerprint": lt.default_settings()["peer_fingerprint"],
        "user_agent": "",
    }


def transport_pack(settings: SwarmSettings, *, utp: bool) -> Pack:
    """Return the settings for a time with or without outgoing uTP.

    [measured] uTP gives 6 to 16 MB/s on loopback, TCP 200 to 350. It is switched on when peers are there that TCP does
    not reach: see `transport.py`.
    """
    return {
        "enable_outgoing_utp": utp and settings.proxy is None,
        # A seed that was still checking its files, or just starting, is there a second later. Seeds take their time,
        # except that whoever TCP did not reach is to be tried again while uTP has its turn.
        "min_reconnect_time": 60 if settings.seeds and not utp else 1,
        # A NAT swallows what TCP sends, and while libtorrent waits for an answer it refuses the peer's own call.
        "peer_connect_timeout": 5 if utp else 15,
    }


def _identity() -> Pack:
    major, minor, *_ = (int(part) for part in __version__.split(".")[:2])
    return {
        "user_agent": f"p2pqwen/{__version__}",
        "peer_fingerprint": f"-PQ{major:X}{minor:X}00-",
    }


def _reach(settings: SwarmSettings) -> Pack:
    return {
        "listen_interfaces": ",".join(str(endpoint) for endpoint in settings.listen_on),
        # A port somebody asked for is taken or it is an error; never silently the next one.
        "max_retry_port_bind": 0,
        "listen_system_port_fallback": False,
        "enable_incoming_tcp": settings.accepts_peers,
        "enable_ip_notifier": settings.accepts_peers,  # a new address would open new TCP sockets
        "enable_dht": settings.choices.dht,
        "dht_bootstrap_nodes": ",".join(settings.dht_bootstrap),
        "enable_lsd": settings.choices.lsd,
        "enable_upnp": settings.choices.upnp and settings.accepts_peers,
        "enable_natpmp": settings.choices.upnp and settings.accepts_peers,
        "webtorrent_stun_server": "",
        # Several peers behind one address are usual (CGNAT, a machine running three seeds).
        "allow_multiple_connections_per_ip": True,
        # A fetch from metadata has no wanted file for a moment; the seed must not be dropped for that.
        "close_redundant_connections": settings.seeds,
    }


def _dht() -> Pack:
    """Return how a DHT node of ours treats others; libtorrent's defaults are made for a DHT of millions.

    In one of a few nodes each of them gets all of somebody's queries. [measured] A session asks each 20 to 30 times in
    its first second, so that two within ten seconds (the bundle's, the model's) made every seed ignore a newcomer for
    five minutes. What is sent is limited too, own announcements included, and queries beyond that go unanswered.
    """
    return {
        "dht_block_ratelimit": 50,  # queries a second from one address, taken over ten seconds
        "dht_upload_rate_limit": 64_000,  # bytes a second; a reply has some 300
        **dht_pack(nodes=0),
    }


def dht_pack(*, nodes: int) -> Pack:
    """Return the settings for a DHT of `nodes` known nodes.

    In a large one an announcement reaches eight nodes near its infohash, whatever gets lost. In a small one a single
    lost frame may leave a seed unknown to all, until it announces again. libtorrent announces one torrent a second at
    most, so beyond as many torrents as the interval has seconds each waits for its turn.
    """
    return {"dht_announce_interval": 900 if nodes >= _LARGE_DHT else 60}


def _safety(settings: SwarmSettings) -> Pack:
    return {
        "ssrf_mitigation": True,
        # Whoever names peers to us could point us at mail servers and routers; nobody seeds on such a port.
        "no_connect_privileged_ports": not settings.low_ports,
        "validate_https_trackers": True,  # web seeds too
        "allow_idna": False,
        "ban_web_seeds": True,
        # What a peer says an info dictionary measures is allocated before a byte of it is checked.
        "max_metadata_size": MAX_INFO_BYTES,
        "max_piece_count": 0x200000,  # what `params` lets a .torrent have
        "enable_set_file_valid_data": False,
        "anonymous_mode": False,  # peers see our address; the documentation says so
    }


def _limits(settings: SwarmSettings, opened: OpenFiles) -> Pack:
    return {
        "upload_rate_limit": settings.choices.upload_limit,
        "download_rate_limit": settings.choices.download_limit,
        # Behind a gateway each takes two sockets more, of ours.
        "connections_limit": opened.connections if settings.proxy is None else max(8, opened.connections // 2),
        # Nothing here is auto-managed, so the `active_` limits do not queue torrents. Those of announcing would leave
        # the rest silent for good; without them libtorrent takes one after the other, one a second, in the DHT and LSD.
        "active_limit": -1,
        "active_seeds": -1,
        "active_downloads": -1,
        "active_checking": 2,
        "active_dht_limit": 100_000,
        "active_tracker_limit": 100_000,
        "active_lsd_limit": 100_000,
        # Eight slots for the whole node starve hundreds of models.
        "unchoke_slots_limit": 50,
        # Web seeds are our own relay on loopback, which waits, retries and gives up itself: a piece of 16 MiB may be on
        # its way for minutes before its first byte is handed over. One connection for each URL the relay gives.
        "urlseed_wait_retry": 1,
        "urlseed_timeout": 900,
        "max_web_seed_connections": 8,
    }
