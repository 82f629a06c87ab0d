"""Settings, read once: `config.toml` in the home and the environment.

`P2PQWEN_HOME` overrides where everything is stored; otherwise platformdirs decides. `P2PQWEN_DHT_BOOTSTRAP` overrides
the nodes through which the DHT is entered. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_CACHE` keep the meaning
they have for huggingface_hub.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import platformdirs

from p2pqwen.errors import DiskError, FormatError, UsageError
from p2pqwen.hidden import hide
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.library.home import Home
from p2pqwen.library.space import RESERVE
from p2pqwen.stewardship.alerts import AlertKind
from p2pqwen.torrent.web_address import check_web_url
from p2pqwen.user_path import no_home, user_path
from p2pqwen.values.byte_size import parse_rate, parse_size
from p2pqwen.values.duration import parse_duration
from p2pqwen.values.hub_token import HubToken
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.network_choices import UNRESTRICTED, NetworkChoices
from p2pqwen.values.proxy import Proxies, Proxy
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import Owner

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_MODELSCOPE = "https://modelscope.cn"
ORIGINS = ("hub", "auto")
MAX_CONFIG_BYTES = 1 << 20
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

    @property
    def named_hosts(self) -> NamedHosts:
        """The hosts that config.toml and the environment name: the origins', those of web seeds, and those listed."""
        listed = NamedHosts.listed(_hosts(self.network.private_hosts))
        return NamedHosts.configured([self.hub.endpoint, self.modelscope.endpoint, *self.web_seed_bases]) | listed


def load(environment: Mapping[str, str] = os.environ) -> Config:
    """Read the environment and the home's config.toml; raises `UsageError` for an invalid setting, and `DiskError`."""
    home = Home(_home_root(environment))
    settings = _read_toml(home.config_file)
    unknown = set(settings) - {
        "network",
        "web_seeds",
        "library",
        "watch",
        "archive",
        "hub_endpoint",
        "alerts",
        "origin",
    }
    if unknown:
        raise UsageError(f"{home.config_file} has an unknown table [{min(unknown)}]")
    origin = settings.get("origin", "hub")
    if origin not in ORIGINS:
        raise UsageError(f"{home.config_file}: origin", expected=" or ".join(ORIGINS), got=repr(origin)[:40])
    web_seeds = settings.get("web_seeds", {})
    bases = web_seeds.get("bases", []) if isinstance(web_seeds, dict) else None
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UsageError(f"{home.config_file}: [web_seeds] bases", expected="a list of URLs")
    return Config(
        home=home,
        hub=_hub(environment, home),
        modelscope=_modelscope(environment),
        origin=origin,
        network=_network(settings.get("network", {}), home.config_file, environment.get("P2PQWEN_DHT_BOOTSTRAP")),
        library=_library(settings.get("library", {}), home),
        watch=_watch(settings.get("watch", {}), home),
        archive=_archive(settings.get("archive", {}), home),
        hub_endpoint=_hub_endpoint(settings.get("hub_endpoint", {}), home),
        alerts=_alerts(settings.get("alerts", {}), home),
        web_seed_bases=tuple(bases),
    )


def _home_root(environment: Mapping[str, str]) -> Path:
    if chosen := environment.get("P2PQWEN_HOME"):
        return user_path(chosen, "P2PQWEN_HOME").absolute()
    if (known := default_home()) is None:
        raise no_home("P2PQWEN_HOME", None)
    return known


def default_home() -> Path | None:
    """Return the default home, None for a user without a home directory."""
    try:
        return platformdirs.user_data_path("p2pqwen", appauthor=False)
    except RuntimeError:
        return None


def _hub(environment: Mapping[str, str], home: Home) -> HubConfig:
    hf_home = _hf_home(environment, home)
    cache = user_path(environment.get("HF_HUB_CACHE") or hf_home / "hub", "HF_HUB_CACHE").absolute()
    token = HubToken(environment.get("HF_TOKEN") or "")
    if not token.trimmed:
        token = _token_file(user_path(environment.get("HF_TOKEN_PATH") or hf_home / "token", "HF_TOKEN_PATH"))
    hide(token.trimmed)
    for secret in Proxies.of(environment).passwords:
        hide(secret)
    endpoint = _endpoint(environment, "HF_ENDPOINT", DEFAULT_ENDPOINT)
    return HubConfig(endpoint=endpoint, given_token=token, cache=cache)


def _modelscope(environment: Mapping[str, str]) -> ModelScopeConfig:
    token = HubToken(environment.get("MODELSCOPE_API_TOKEN") or "", "MODELSCOPE_API_TOKEN")
    hide(token.trimmed)
    given = environment.get("MODELSCOPE_ENDPOINT") or ""
    if given.strip() and "://" not in given:  # ModelScope's client accepts that
        environment = {"MODELSCOPE_ENDPOINT": f"https://{given.strip()}"}
    return ModelScopeConfig(_endpoint(environment, "MODELSCOPE_ENDPOINT", DEFAULT_MODELSCOPE), token)


def _endpoint(environment: Mapping[str, str], name: str, default: str) -> str:
    """Return an origin's address, stripped of spaces, a byte order mark and the last slash; raises `UsageError`."""
    endpoint = (environment.get(name) or "").strip(" \t\r\n\ufeff").rstrip("/") or default
    if set(endpoint) & set("?#"):
        raise UsageError(name, expected="a URL without query and fragment", got=repr(endpoint[:120]))
    try:
        return check_web_url(endpoint)
    except FormatError as error:
        raise UsageError.of(error, before=f"{name} is ") from error


def _hf_home(environment: Mapping[str, str], home: Home) -> Path:
    if chosen := environment.get("HF_HOME"):
        return user_path(chosen, "HF_HOME")
    if caches := environment.get("XDG_CACHE_HOME"):
        return user_path(caches, "XDG_CACHE_HOME") / "huggingface"
    try:
        return Path("~/.cache/huggingface").expanduser()
    except RuntimeError:  # usually a service's user, with whom nobody shares a cache
        return home.root / "huggingface"


def _token_file(path: Path) -> HubToken:
    try:
        with path.open("rb") as file:
            # Bytes that are not UTF-8 survive here and are no valid token: a caller that asks for it gets the error.
            return HubToken(file.read(MAX_TOKEN_FILE).decode("utf-8", "surrogateescape"), str(path))
    except OSError:
        return HubToken()


def _network(table: object, source: Path, dht_bootstrap: str | None) -> NetworkConfig:
    if not isinstance(table, dict):
        raise UsageError(f"{source}: [network]", expected="a table")
    chosen = {setting.name: setting.type for setting in fields(NetworkChoices)}
    known = chosen | {setting.name: setting.type for setting in fields(NetworkConfig) if setting.name != "choices"}
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise UsageError(f"{source}: [network] has no setting {name!r}", expected=", ".join(sorted(known)))
        values[name] = _network_value(name, str(known[name]), value, f"{source}: [network] {name}")
    for name, words in _NETWORK_WORDS.items():
        if name in values and values[name] not in words:
            raise UsageError(f"{source}: [network] {name}", expected=_one_of(words), got=values[name])
    try:
        NamedHosts.listed(_hosts(values.get("private_hosts", "")))
    except FormatError as error:
        raise UsageError(f"{source}: [network] private_hosts", expected="HOST, …", got=error.got) from error
    if dht_bootstrap is not None:
        values["dht_bootstrap"] = dht_bootstrap
    choices = NetworkChoices(**{name: values.pop(name) for name in chosen if name in values})
    return NetworkConfig(choices, **values)


def _network_value(name: str, kind: str, value: object, source: str) -> object:
    if name == "bittorrent_proxy":
        return _socks(value, source)
    read = _rate(value) if name.endswith("_limit") else value
    wanted = {"bool": bool, "int": int, "str": str}[kind]
    if type(read) is not wanted:
        raise UsageError(source, expected=wanted.__name__, got=repr(read))
    return read


def _socks(value: object, source: str) -> Proxy | None:
    """Read a SOCKS5 proxy, "" for none; its password is hidden from all output."""
    if value == "":
        return None
    if not isinstance(value, str):
        raise UsageError(source, expected="socks5://[USER:PASSWORD@]HOST:PORT", got=type(value).__name__)
    proxy = Proxy.parse(value, source)
    hide(proxy.password)
    if not proxy.is_socks:
        raise UsageError(source, expected="socks5://[USER:PASSWORD@]HOST:PORT", got=proxy.address)
    return proxy


_NETWORK_WORDS = {
    "web_seeds": ("auto", "always", "never"),
    "seed_withdrawn": tuple(SeedWithdrawn),
    "control": ("unix", "loopback"),
}


def _one_of(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(one for part in text.split(",") if (one := part.strip()))


def _library(table: object, home: Home) -> LibraryConfig:
    source = f"{home.config_file}: [library]"
    if not isinstance(table, dict):
        raise UsageError(source, expected="a table")
    if unknown := set(table) - {"folders", "reserve", "scrub_every"}:
        raise UsageError(f"{source} has no setting {min(unknown)!r}", expected="folders, reserve, scrub_every")
    try:
        scrub_every = parse_duration(_text(table["scrub_every"])) if "scrub_every" in table else SCRUB_EVERY
    except UsageError as error:
        raise UsageError.of(error, before=f"{source} scrub_every: ") from error
    reserve = _reserve(table, source, RESERVE)
    given = table.get("folders", [])
    if not isinstance(given, list):
        raise UsageError(f"{source} folders", expected="a list of paths")
    folders: list[LibraryFolder] = []
    for one in given:
        entry = {"path": one} if isinstance(one, str) else one
        if not (isinstance(entry, dict) and isinstance(entry.get("path"), str) and entry.keys() <= {"path", "reserve"}):
            raise UsageError(f"{source} folders", expected="paths, or {path = …, reserve = …}", got=repr(one))
        root = user_path(entry["path"], f"{source} folders")
        if not root.is_absolute():
            raise UsageError(f"{source} folders", expected="absolute paths", got=entry["path"])
        for other in (home.library, *(folder.root for folder in folders)):
            if root.is_relative_to(other) or other.is_relative_to(root):
                raise UsageError(f"{source} folders", expected="folders apart from one another", got=f"{other}, {root}")
        folders.append(LibraryFolder(root, _reserve(entry, source, reserve)))
    return LibraryConfig(reserve, tuple(folders), scrub_every)


def _reserve(table: Mapping[str, Any], source: str, default: int) -> int:
    value = table.get("reserve")
    if value is None:
        return default
    try:
        return parse_size(str(value))
    except UsageError as error:
        raise UsageError.of(error, before=f"{source} reserve: ") from error


def _watch(table: object, home: Home) -> WatchConfig:
    source = f"{home.config_file}: [watch]"
    return WatchConfig(**_with_path("watchlist", _read_settings(table, source, _WATCH_SETTINGS), home, source))


def _hub_endpoint(table: object, home: Home) -> HubEndpointConfig:
    source = f"{home.config_file}: [hub_endpoint]"
    values = _read_settings(table, source, _HUB_ENDPOINT_SETTINGS)
    return HubEndpointConfig(**_with_path("token_file", values, home, source))


def _with_path(name: str, values: Mapping[str, Any], home: Home, source: str) -> Mapping[str, Any]:
    """Return settings with the path `name`, if given, resolved against the home; raises `UsageError`."""
    given = values.get(name)
    return values if given is None else {**values, name: home.root / user_path(given, f"{source} {name}")}


def _read_settings(table: object, source: str, known: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Return the values of a table's settings, each read by its own rule; raises `UsageError`."""
    if not isinstance(table, dict):
        raise UsageError(source, expected="a table")
    values: dict[str, Any] = {}
    for name, value in table.items():
        read = known.get(name)
        if read is None:
            raise UsageError(f"{source} has no setting {name!r}", expected=", ".join(sorted(known)))
        try:
            values[name] = read(value)
        except UsageError as error:
            raise UsageError.of(error, before=f"{source} {name}: ") from error
    return values


def _word(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise UsageError("not a known value", expected=_one_of(words), got=repr(value)[:40])
        return str(value)

    return read


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError("not true or false", got=repr(value)[:40])
    return value


def _archive(table: object, home: Home) -> ArchiveConfig:
    return ArchiveConfig(**_read_settings(table, f"{home.config_file}: [archive]", _ARCHIVE_SETTINGS))


def _alerts(table: object, home: Home) -> AlertsConfig:
    source = f"{home.config_file}: [alerts]"
    return AlertsConfig(**_with_path("to_file", _read_settings(table, source, _ALERTS_SETTINGS), home, source))


def _addresses(value: object) -> tuple[str, ...]:
    """Read addresses, which hold secrets: errors do not quote them."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise UsageError("not a list of addresses", expected='a list such as ["ntfys://ntfy.sh/TOPIC"]')
    for one in value:
        hide(one.strip())
    return tuple(one.strip() for one in value)


def _alert_kinds(value: object) -> tuple[AlertKind, ...]:
    known = [one.value for one in AlertKind if one.is_sent]
    for one in _texts(value):
        if one not in known:
            raise UsageError("no such kind", expected=", ".join(known), got=one[:40])
    return tuple(map(AlertKind, _texts(value)))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError("not text", got=repr(value)[:40])
    return value


def _rate(value: object) -> int:
    """Read a rate: a number is bytes a second, as in older versions; a text is like `5MB/s`."""
    return parse_rate(value) if isinstance(value, str) else parse_size(str(value))


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise UsageError("not a list", expected="a list of texts", got=repr(value)[:40])
    return tuple(_text(one) for one in value)


def _orgs(value: object) -> tuple[Owner, ...]:
    try:
        return tuple(map(Owner.parse, _texts(value)))
    except FormatError as error:
        expected = "a name such as Qwen, or datasets/Qwen"
        raise UsageError("not an organisation's name", expected=expected, got=error.got) from error


def _parallel(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 16:
        raise UsageError("out of range", expected="1 to 16", got=repr(value)[:40])
    return value


_WATCH_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "watchlist": _text,
    "orgs": _orgs,
    "every": lambda value: parse_duration(_text(value)),
    "include": _texts,
    "exclude": _texts,
    "license": _texts,
    "max_size": lambda value: parse_size(str(value)),
    "budget": lambda value: parse_size(str(value)),
    "parallel": _parallel,
    "rate": _rate,
    "upstream_every": lambda value: None if value == "never" else parse_duration(_text(value)),
}


_ARCHIVE_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "budget": lambda value: parse_size(str(value)),
    "every": lambda value: parse_duration(_text(value)),
    "prefer": _texts,
    "exclude": _texts,
    "license": _texts,
    "rebalance": _flag,
}


_ALERTS_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "to": _addresses,
    "to_file": _text,
    "quiet": lambda value: parse_duration(_text(value)),
    "mute": _alert_kinds,
}


_HUB_ENDPOINT_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "listen": _text,
    "peers": _texts,
    "upstream": _word("pass", "keep", "never"),
    "timeout": lambda value: parse_duration(_text(value)),
    "abandoned": _word("finish", "stop"),
    "beyond_loopback": _flag,
    "token_file": _text,
    "allow": _texts,
    "hosts": _texts,
}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(MAX_CONFIG_BYTES).decode("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DiskError(f"cannot read {path}", got=error.strerror or str(error)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}", got=str(error)) from error
