"""Reads the settings: the environment, and config.toml if there is one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from p2pqwen.config.settings import (
    DEFAULT_ENDPOINT,
    DEFAULT_MODELSCOPE,
    MAX_TOKEN_FILE,
    Config,
    HubConfig,
    ModelScopeConfig,
)
from p2pqwen.errors import DiskError, FormatError, UsageError
from p2pqwen.hidden import hide
from p2pqwen.library.home import Home
from p2pqwen.torrent.web_address import check_web_url
from p2pqwen.user_path import no_home, user_path
from p2pqwen.values.hub_token import HubToken

MAX_CONFIG_BYTES = 1 << 20


def load(environment: Mapping[str, str] = os.environ) -> Config:
    """Read the environment and the home's config.toml; raises `UsageError` for an invalid setting, and `DiskError`."""
    home = Home(_home_root(environment))
    config = Config(home, **_said_in_file(home))
    if (dht_bootstrap := environment.get("P2PQWEN_DHT_BOOTSTRAP")) is not None:
        config = replace(config, network=replace(config.network, dht_bootstrap=dht_bootstrap))
    return replace(config, hub=_hub(environment, home), modelscope=_modelscope(environment))


def _said_in_file(home: Home) -> Mapping[str, Any]:
    """Return the fields of a `Config` that config.toml sets."""
    try:
        with home.config_file.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DiskError(f"cannot read {home.config_file}", got=error.strerror or str(error)) from error
    from p2pqwen.config.tables import read_tables  # noqa: PLC0415 - most homes have no config.toml

    return read_tables(data, home)


def _home_root(environment: Mapping[str, str]) -> Path:
    if chosen := environment.get("P2PQWEN_HOME"):
        return user_path(chosen, "P2PQWEN_HOME").absolute()
    if (known := default_home()) is None:
        raise no_home("P2PQWEN_HOME", None)
    return known


def default_home() -> Path | None:
    """Return the default home, None for a user without a home directory."""
    import platformdirs  # noqa: PLC0415 - not needed if P2PQWEN_HOME is set

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
