"""What can be set, with its defaults: the tables of config.toml, and what the environment says of the origins."""

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
        """Return the token, None where there is none; raises `UsageError` for what can be none."""
        return self.given_token.value()


@dataclass(frozen=True, slots=True)
class ModelScopeConfig:
    """How to reach ModelScope, by its own client's variables: MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN."""

    endpoint: str = DEFAULT_MODELSCOPE
    given_token: HubToken = field(default_factory=lambda: HubToken(source="MODELSCOPE_API_TOKEN"))

    @property
    def token(self) -> str | None:
        """Return the token, None where there is none; raises `UsageError` for what can be none."""
        return self.given_token.value()


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What a node does on the network. `[network]` in config.toml, where the `choices` stand among the others."""

    choices: NetworkChoices = UNRESTRICTED
    listen: str = "0.0.0.0:6881"  # only `seed` listens, and it is asked to
    dht_bootstrap: str = ""  # HOST:PORT, … to enter the DHT by; empty: the public ones; none: remembered nodes alone
    lan: bool = True  # speak to peers on private networks
    private_hosts: str = ""  # HOST, … of private networks that links, indexes and torrents may lead to
    bittorrent_proxy: Proxy | None = None  # a SOCKS5 proxy; BitTorrent goes through it, or nowhere
    webtorrent: bool = False  # trackers of ws:// and wss://, whose peers are met by WebRTC
    web_seeds: str = "auto"  # auto, always or never: see webseed/policy.py
    seed_withdrawn: str = "others"  # always, others (not what our own publisher withdrew) or never
    control: str = "unix"  # the node's own API: a unix socket, or `loopback` with a token file


SCRUB_EVERY = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LibraryConfig:
    """Where snapshots are kept beside the home's own folder. `[library]` in config.toml.

    `reserve`: bytes of a disk that snapshots leave free, in the home's folder and where `folders` says nothing else.
    `scrub_every`: how often every file is read again.
    """

    reserve: int = RESERVE
    folders: tuple[LibraryFolder, ...] = ()  # paths, or {path = …, reserve = …}
    scrub_every: timedelta = SCRUB_EVERY


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """What a running node preserves by itself, and how often. `[watch]` in config.toml; sizes in bytes, None: no limit.

    `watchlist`: a file, from the home where it is no absolute path. `budget`: of one round. `rate`: bytes a second.
    `upstream_every`: how often the Hub is asked whether it still shows what is held, None for never.
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
        """How often the node preserves by itself; None where it is not asked to."""
        return self.every if self.preserves else None


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """What a running node adopts by itself, and how often it plans. `[archive]` in config.toml; sizes in bytes.

    `budget`: all that this home may hold, None: nothing is adopted. `rebalance`: what the node adopted, and others keep
    well, is given up for what is endangered; what a person fetched never is.
    """

    budget: int | None = None
    every: timedelta = timedelta(hours=6)
    prefer: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    license: tuple[str, ...] = ()
    rebalance: bool = True


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """Whom a running node tells of trouble. `[alerts]` in config.toml.

    `to`: addresses as apprise writes them; `to_file`: a file with one on each line, for secrets. `quiet`: what ends and
    comes back within that time is told once. `mute`: kinds that are not told.
    """

    to: tuple[str, ...] = field(default=(), repr=False)
    to_file: Path | None = None
    quiet: timedelta = timedelta(days=1)
    mute: tuple[AlertKind, ...] = ()

    def addresses(self) -> tuple[str, ...]:
        """Return all of them, the file read now; raises `UsageError`."""
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

    `listen`: where; None: a node does not, and `hub` takes its own default. `upstream`: what becomes of what nobody
    else has. `abandoned`: what becomes of a file that came while it was read, once nobody reads it.
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
