"""Reads and checks the tables of config.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from p2pqwen.config.hosts import listed_hosts
from p2pqwen.config.settings import (
    ORIGINS,
    SCRUB_EVERY,
    AlertsConfig,
    ArchiveConfig,
    HubEndpointConfig,
    LibraryConfig,
    NetworkConfig,
    WatchConfig,
)
from p2pqwen.errors import FormatError, UsageError
from p2pqwen.hidden import hide
from p2pqwen.library.folders import LibraryFolder
from p2pqwen.library.home import Home
from p2pqwen.library.space import RESERVE
from p2pqwen.stewardship.alerts import AlertKind
from p2pqwen.user_path import user_path
from p2pqwen.values.byte_size import parse_rate, parse_size
from p2pqwen.values.duration import parse_duration
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.network_choices import NetworkChoices
from p2pqwen.values.proxy import Proxy
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from p2pqwen.values.snapshot_id import Owner


def read_tables(data: bytes, home: Home) -> dict[str, Any]:
    """Return the fields of a `Config` that a home's config.toml sets; raises `UsageError`."""
    settings = _parse(data, home.config_file)
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
    return {
        "origin": origin,
        "network": _network(settings.get("network", {}), home.config_file),
        "library": _library(settings.get("library", {}), home),
        "watch": _watch(settings.get("watch", {}), home),
        "archive": _archive(settings.get("archive", {}), home),
        "hub_endpoint": _hub_endpoint(settings.get("hub_endpoint", {}), home),
        "alerts": _alerts(settings.get("alerts", {}), home),
        "web_seed_bases": tuple(bases),
    }


def _parse(data: bytes, source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {source}", got=str(error)) from error


def _network(table: object, source: Path) -> NetworkConfig:
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
        NamedHosts.listed(listed_hosts(values.get("private_hosts", "")))
    except FormatError as error:
        raise UsageError(f"{source}: [network] private_hosts", expected="HOST, …", got=error.got) from error
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
