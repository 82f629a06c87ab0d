"""The settings and their defaults: the tables of config.toml, and the environment's settings of the origins."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.errors import UsageError
from p2pqwen.library.space import RESERVE
from p2pqwen.values.hub_token import HubToken
from p2pqwen.values.network_choices import UNRESTRICTED, NetworkChoices

if TYPE_CHECKING:
    from p2pqwen.library.folders import LibraryFolder
    from p2pqwen.library.home import Home
    from p2pqwen.stewardship.alerts import AlertKind
    from p2pqwen.values.proxy import Proxy
    from p2pqwen.values.snapshot_id import Owner

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_MODELSCOPE = "https://modelscope.cn"
ORIGINS = ("hub", "auto")
MAX_TOKEN_FILE = 1 << 16


@dataclass(frozen=True, slots=True)
class HubConfig:
    """How to reach the Hugging Face Hub and where its cache is."""

    endpoint: str = DEFAULT_ENDPOINT
    given_token: HubToken = field(default_factory=HubToken)
    cache: Path = Path("~/.cache/huggingface/hub")

    @property
    def token(self) -> str | None:
        """Return the token, None if there is none; raises `UsageError` for a malformed one."""
        return self.given_token.value()


@dataclass(frozen=True, slots=True)
class ModelScopeConfig:
    """How to reach ModelScope, from its own client's variables: MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN."""

    endpoint: str = DEFAULT_MODELSCOPE
    given_token: HubToken = field(default_factory=lambda: HubToken(source="MODELSCOPE_API_TOKEN"))

    @property
    def token(self) -> str | None:
        """Return the token, None if there is none; raises `UsageError` for a malformed one."""
        return self.given_token.value()


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a node does on the network. `[network]` in config.toml, which holds the fields of `choices` too."""

    choices: NetworkChoices = UNRESTRICTED
    listen: str = "0.0.0.0:6881"  # only `seed` listens, as its user expects
    dht_bootstrap: str = ""  # HOST:PORT, … to enter the DHT by; empty: the public ones; none: remembered nodes only
    lan: bool = True  # speak to peers on private networks
    private_hosts: str = ""  # HOST, … of private networks that links, indexes and torrents may lead to
    bittorrent_proxy: Proxy | None = None  # a SOCKS5 proxy; BitTorrent goes through it or nowhere
    webtorrent: bool = False  # use ws:// and wss:// trackers, and meet their peers by WebRTC
    web_seeds: str = "auto"  # auto, always or never: see webseed/policy.py
    seed_withdrawn: str = "others"  # always, others (not what our own publisher withdrew) or never
    control: str = "unix"  # the node's own API: a unix socket, or `loopback` with a token file


SCRUB_EVERY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LibraryConfig:
    """Where snapshots are kept besides the home's own folder. `[library]` in config.toml.

    `reserve`: bytes of a disk that snapshots leave free, in the home's folder and in `folders` without a value of their
    own. `scrub_every`: how often every file is read again.
    """

    reserve: int = RESERVE
    folders: tuple[LibraryFolder, ...] = ()  # paths, or {path = …, reserve = …}
    scrub_every: timedelta = SCRUB_EVERY


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """What a running node preserves by itself, and how often. `[watch]` in config.toml; sizes in bytes, None: no limit.

    `watchlist`: a file, relative to the home unless absolute. `budget`: of one round. `rate`: bytes a second.
    `upstream_every`: how often to ask the Hub whether it still shows what is held, None for never.
    """

    watchlist: Path | None = None
    orgs: tuple[Owner, ...] = ()
    every: timedelta = timedelta(days=1)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    license: tuple[str, ...] = ()
    max_size: int | None = None
    budget: int | None = None
    parallel: int = 1
    rate: int = 0
    upstream_every: timedelta | None = timedelta(days=1)

    @property
    def preserves(self) -> bool:
        """Whether there is anything to preserve."""
        return self.watchlist is not None or bool(self.orgs)

    @property
    def rounds_every(self) -> timedelta | None:
        """How often the node preserves by itself; None if it does not."""
        return self.every if self.preserves else None


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """What a running node adopts by itself, and how often it plans. `[archive]` in config.toml; sizes in bytes.

    `budget`: all that this home may hold, None: adopt nothing. `rebalance`: delete adopted snapshots that others keep
    well, to make room for endangered ones; snapshots that a person fetched are never deleted.
    """

    budget: int | None = None
    every: timedelta = timedelta(hours=6)
    prefer: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    license: tuple[str, ...] = ()
    rebalance: bool = True


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """Where a running node sends alerts. `[alerts]` in config.toml.

    `to`: addresses in apprise's form; `to_file`: a file with one on each line, for secrets. `quiet`: an alert that ends
    and returns within that time is sent once. `mute`: kinds that are not sent.
    """

    to: tuple[str, ...] = field(default=(), repr=False)
    to_file: Path | None = None
    quiet: timedelta = timedelta(days=1)
    mute: tuple[AlertKind, ...] = ()

    def addresses(self) -> tuple[str, ...]:
        """Return all addresses, reading the file now; raises `UsageError`."""
        if self.to_file is None:
            return self.to
        try:
            with self.to_file.open("rb") as file:
                lines = file.read(MAX_TOKEN_FILE).decode("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            got = getattr(error, "strerror", None) or "no UTF-8"
            raise UsageError(f"[alerts] to_file: cannot read {self.to_file}", got=got) from error
        read = (line.strip() for line in lines)
        return (*self.to, *(line for line in read if line and not line.startswith("#")))


@dataclass(frozen=True, slots=True)
class HubEndpointConfig:
    """The Hub's place, as `hub` and a running node serve it. `[hub_endpoint]` in config.toml.

    `listen`: HOST:PORT; None: a node does not serve it, and `hub` uses its own default. `upstream`: what happens with a
    request that only the Hub can answer. `abandoned`: what happens with a download once nobody reads its file any more.
    """

    listen: str | None = None
    peers: tuple[str, ...] = ()
    upstream: str = "pass"
    abandoned: str = "finish"
    timeout: timedelta = timedelta(minutes=1)
    beyond_loopback: bool = False
    token_file: Path | None = None
    allow: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the composition root needs. `origin`: who is asked for repositories of the Hub (`ORIGINS`)."""

    home: Home
    hub: HubConfig = field(default_factory=HubConfig)
    modelscope: ModelScopeConfig = field(default_factory=ModelScopeConfig)
    origin: str = "hub"
    network: NetworkConfig = NetworkConfig()
    library: LibraryConfig = LibraryConfig()
    watch: WatchConfig = WatchConfig()
    archive: ArchiveConfig = ArchiveConfig()
    hub_endpoint: HubEndpointConfig = HubEndpointConfig()
    alerts: AlertsConfig = AlertsConfig()
    web_seed_bases: tuple[str, ...] = ()  # `[web_seeds] bases`; may hold {repo} and {commit}
