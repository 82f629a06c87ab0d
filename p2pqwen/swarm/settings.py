"""What a session may do, and every libtorrent setting we change, in one place and with its reason.

"Measured" refers to libtorrent 2.1.1 on loopback, 2 cores, a 1 GiB hybrid. Good defaults are listed only if safety
depends on them.
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
"""libtorrent's settings by name, as its `settings_pack` takes them: strings, numbers, booleans."""

PAST_A_PROXY: tuple[Switch, ...] = ("dht", "lsd", "upnp")
"""What uses UDP, which a SOCKS5 proxy as a rule does not pass on; off if a proxy is set."""
_LOOPBACK = Endpoint("127.0.0.1", 0)
_LARGE_DHT = 64  # nodes
# No ws or wss unless the user asked for them: libtorrent 2.1 answers a WebTorrent tracker with WebRTC offers, which
# contain this machine's addresses, and listens on every interface for them. No STUN server is asked in any case.
_TRACKER_SCHEMES = frozenset({"udp", "http", "https"})
_WEBTORRENT_SCHEMES = frozenset({"ws", "wss"})
_TRACKER_SCHEMES_BY_PROXY = frozenset({"http", "https"})
_ANY = (Endpoint("0.0.0.0", 0), Endpoint("::", 0))  # noqa: S104 - see `SwarmSettings.listen_on`


@dataclass(frozen=True, slots=True)
class SwarmSettings:
    """One session's choices, and what it may reach.

    `listen`: where a seeding session accepts peers; None for one that only fetches and accepts none.
    `loopback`: peers, trackers and web seeds on this machine are allowed. `lan`: the user allows private networks;
    `named_lan` and `low_ports`: the user named something there, or a peer on a port below 1024. `named`: the hosts of
    private networks that trackers may be on, which the user named. `proxy`: everything goes through this SOCKS5 proxy
    and nothing past it. There is then no UDP, so DHT, LSD and UPnP are off whatever `choices` says, and no peer is
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
    dht_nodes: tuple[Endpoint, ...] = ()  # nodes that answered before: faster than any bootstrap
    proxy: Proxy | None = None
    webtorrent: bool = False  # the user allows ws:// and wss:// trackers
    named_peers: frozenset[Endpoint] = frozenset()  # peers that the user named, wherever they are

    def __post_init__(self) -> None:
        if self.proxy is not None:  # here, so that no caller can forget it
            object.__setattr__(self, "choices", self.choices.without(*PAST_A_PROXY))

    @property
    def seeds(self) -> bool:
        """Whether this is a node's session, which seeds until it is stopped."""
        return self.listen is not None

    @property
    def accepts_peers(self) -> bool:
        """Whether peers may open connections to this session; through a proxy none can."""
        return self.seeds and self.proxy is None

    @property
    def allows_loopback(self) -> bool:
        """Whether addresses of this machine pass the filter: the user asked for it, or we listen there."""
        return self.loopback or (
            self.accepts_peers
            and self.listen is not None
            and (self.listen.host in {"0.0.0.0", "::"} or self.listen.is_loopback)  # noqa: S104
        )

    @property
    def allows_lan(self) -> bool:
        """Whether private networks pass the filter: named, listened on, or allowed and useful.

        They are useful to a node, which peers there can reach (other machines in the house, containers whose peers all
        seem to come from the bridge), and to a fetch, which accepts no peers but finds some there by LSD.
        """
        named = self.named_lan or (self.accepts_peers and self.listen is not None and _is_lan(self.listen.host))
        return named or (self.lan and (self.choices.lsd or self.accepts_peers))

    @property
    def listen_on(self) -> tuple[Endpoint, ...]:
        """The sockets to open.

        A session that only fetches needs a UDP socket on a public interface for the DHT, UDP trackers and hole
        punching, and HTTP trackers are asked from a listening address; `outgoing_only.stop_listening` then closes the
        TCP side. If it needs none of these, it stays on loopback. Through a proxy none of these sockets listens.
        """
        if self.proxy is not None:
            return (_LOOPBACK,)
        if self.listen is not None:
            return (self.listen,)
        return _ANY if self.choices.finds_peers else (_LOOPBACK,)

    def with_room_for(self, peers: Iterable[Endpoint], *, urls: Iterable[str] = ()) -> Self:
        """Return a copy that allows what was asked for by name: this machine, private networks, low ports.

        `peers` come from the user. `urls` are trackers from anywhere, and count only if the user named their hosts too.
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
        """Return a peer with its IP address; raises `NetworkError` for a name without one.

        With a proxy, names are not looked up here, because the DNS query would go past it.
        """
        if self.proxy is not None and not is_address(peer.host):
            what = f"the name {peer.host} is not looked up while BitTorrent goes through a proxy"
            raise NetworkError(what, hint="name the peer by its IP address")
        return peer.resolve()

    def usable_trackers(self, urls: Iterable[str]) -> tuple[str, ...]:
        """Return the trackers that may be asked.

        None if trackers are off. WebTorrent trackers only if the user enabled them; none whose text leads to a private
        network. Through a proxy, which passes on no UDP, only HTTP trackers.
        """
        if not self.choices.trackers:
            return ()
        wanted = _TRACKER_SCHEMES | _WEBTORRENT_SCHEMES if self.webtorrent else _TRACKER_SCHEMES
        schemes = wanted if self.proxy is None else _TRACKER_SCHEMES_BY_PROXY
        return tuple(url for url in urls if urlsplit(url).scheme in schemes and not leads_inside(url, self.named))


def _is_lan(host: str) -> bool:
    return is_private(host) and not is_loopback(host) and host not in {"0.0.0.0", "::"}  # noqa: S104 - compared


def alert_mask(*, pieces: bool, connections: bool) -> int:
    """Return the alert categories we read: `pieces` adds one alert a finished piece, `connections` one a peer."""
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
    """The SOCKS5 server on this machine through which a session with a proxy connects: `net.socks_gateway`."""

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1."""

    @property
    def user(self) -> str:
        """The user name that it requires."""

    @property
    def password(self) -> str:
        """The password that it requires."""


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
        # One thread handles the sockets and takes a core; hashing uses the others. One thread hashes a hybrid at 0.78
        # GB/s (measured). More than 4 only compete for the disk.
        "hashing_threads": max(2, min(cores, 4)),
        "aio_threads": 8,
        "checking_mem_usage": 1024,  # blocks of 16 KiB to read ahead in a recheck
        "file_pool_size": opened.files,
        # Received and not written yet. Measured while the disk was slow: a fetch of 1 GB from one peer took 268 and 290
        # MB of memory with libtorrent's default of 100 MB, and 174 and 196 MB with 24 MB.
        "max_queued_disk_bytes": 32 << 20,
        # 24 MB in flight: 0.2 s of a line at 1 Gb/s; with less, the line runs dry. Measured 250 to 350 MB/s. Twice as
        # many requests are no faster, and 5 to 8 % slower if all cores are busy hashing.
        "max_out_request_queue": 1500,
        "max_allowed_in_request_queue": 4000,
        "request_queue_time": 20,
        "send_buffer_watermark": 10 << 20,
        **transport_pack(settings, utp=False),
        "mixed_mode_algorithm": 0,  # prefer_tcp: a TCP peer is not slowed to a uTP peer's rate
        # A peer that is wanted at once is connected at the next tick, and 0.5 s is long for a small model.
        "tick_interval": 500 if settings.seeds else 100,
        "alert_queue_size": 50_000,  # holds 1 second at 16 KiB pieces and 300 MB/s; more are dropped silently
        # On stopping, tell the trackers that answer, and do not wait for others.
        "stop_tracker_timeout": 1,
        "tracker_completion_timeout": 15,
        "tracker_receive_timeout": 10,
        "announce_to_all_tiers": True,  # a dead first tier must not hide the second
        "announce_to_all_trackers": True,
        **({} if gateway is None else _by_gateway(gateway)),
    }


def _by_gateway(gateway: Gateway) -> Pack:
    """Return the settings that send every connection to the gateway, and allow no other way.

    Measured: no TCP socket listens then. One UDP socket stays, to which nothing is written.
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
        # Peers and trackers must not learn a proxy user's listening port, addresses and program.
        "anonymous_mode": True,
        "peer_fingerprint": lt.default_settings()["peer_fingerprint"],
        "user_agent": "",
    }


def transport_pack(settings: SwarmSettings, *, utp: bool) -> Pack:
    """Return the settings for a time with or without outgoing uTP.

    Measured on loopback, uTP gives 6 to 16 MB/s and TCP 200 to 350. uTP is switched on if TCP does not reach the known
    peers: see `transport.py`.
    """
    return {
        "enable_outgoing_utp": utp and settings.proxy is None,
        # A seed that was still checking its files, or just starting, is ready a second later. A seeding session waits
        # longer, except that peers that TCP did not reach are tried again while uTP is on.
        "min_reconnect_time": 60 if settings.seeds and not utp else 1,
        # A NAT drops what TCP sends, and while libtorrent waits for an answer it refuses a call from that peer.
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
        # A port that the user asked for is taken, or it is an error; never silently the next one.
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
        # Several peers behind one address are usual (CGNAT, a machine with 3 seeds).
        "allow_multiple_connections_per_ip": True,
        # A fetch from metadata has no wanted file for a moment; its seed must not be dropped for that.
        "close_redundant_connections": settings.seeds,
    }


def _dht() -> Pack:
    """Return how our DHT node treats others; libtorrent's defaults are made for a DHT of millions.

    In a DHT of a few nodes, each gets all of a peer's queries. Measured: a session asks each 20 to 30 times in its
    first second. So 2 sessions within 10 seconds (one for the bundle, one for the model) made every seed ignore a
    newcomer for 5 minutes. Outgoing traffic is limited too, own announcements included, and queries beyond the limit
    stay unanswered.
    """
    return {
        "dht_block_ratelimit": 50,  # queries a second from one address, averaged over 10 seconds
        "dht_upload_rate_limit": 64_000,  # bytes a second; a reply has about 300
        **dht_pack(nodes=0),
    }


def dht_pack(*, nodes: int) -> Pack:
    """Return the settings for a DHT of `nodes` known nodes.

    In a large DHT an announcement reaches 8 nodes near its infohash, even if some packets are lost. In a small one, a
    single lost packet may hide a seed from all until it announces again. libtorrent announces at most one torrent a
    second. So if there are more torrents than the interval has seconds, each waits for its turn.
    """
    return {"dht_announce_interval": 900 if nodes >= _LARGE_DHT else 60}


def _safety(settings: SwarmSettings) -> Pack:
    return {
        "ssrf_mitigation": True,
        # A peer that names others could point us at mail servers and routers; no one seeds on such a port.
        "no_connect_privileged_ports": not settings.low_ports,
        "validate_https_trackers": True,  # web seeds too
        "allow_idna": False,
        "ban_web_seeds": True,
        # libtorrent allocates the size that a peer claims for an info dictionary before it checks a byte of it.
        "max_metadata_size": MAX_INFO_BYTES,
        "max_piece_count": 0x200000,  # as `params` allows in a .torrent
        "enable_set_file_valid_data": False,
        "anonymous_mode": False,  # peers see our address, as the manual says
    }


def _limits(settings: SwarmSettings, opened: OpenFiles) -> Pack:
    return {
        "upload_rate_limit": settings.choices.upload_limit,
        "download_rate_limit": settings.choices.download_limit,
        # Behind a gateway, each connection takes 2 more sockets of ours.
        "connections_limit": opened.connections if settings.proxy is None else max(8, opened.connections // 2),
        # Nothing here is auto-managed, so the `active_` limits do not queue torrents. The announce limits would silence
        # the rest for good; without them libtorrent announces to the DHT and LSD one torrent a second, in turn.
        "active_limit": -1,
        "active_seeds": -1,
        "active_downloads": -1,
        "active_checking": 2,
        "active_dht_limit": 100_000,
        "active_tracker_limit": 100_000,
        "active_lsd_limit": 100_000,
        # 8 slots for the whole node would starve hundreds of models.
        "unchoke_slots_limit": 50,
        # Web seeds are our own relay on loopback, which waits, retries and gives up itself: a piece of 16 MiB may take
        # minutes before the relay passes on its first byte. One connection for each URL that the relay gives.
        "urlseed_wait_retry": 1,
        "urlseed_timeout": 900,
        "max_web_seed_connections": 8,
    }
