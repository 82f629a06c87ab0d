#!/usr/bin/env python3
"""Write p2pqwen/manual/config.md from the settings that the code reads, or with --check compare it.

Names, types and defaults come from the code, descriptions from the table below. A setting that is not described, or
described but not read, ends the script.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.config.settings import (  # noqa: E402 - the root first
    DEFAULT_ENDPOINT,
    DEFAULT_MODELSCOPE,
    AlertsConfig,
    ArchiveConfig,
    HubEndpointConfig,
    LibraryConfig,
    NetworkConfig,
    WatchConfig,
)
from p2pqwen.swarm.bootstrap import DHT_BOOTSTRAP  # noqa: E402
from p2pqwen.values.byte_size import format_size  # noqa: E402

PAGE = ROOT / "p2pqwen" / "manual" / "config.md"

SETTINGS: dict[str, dict[str, str]] = {
    "network": {
        "listen": "HOST:PORT where `seed` accepts peers; port 0 takes any free one",
        "dht": "use the DHT to find peers and pointers",
        "dht_bootstrap": "HOST:PORT, … for entering the DHT; empty: the public ones; `none`: remembered nodes only",
        "lsd": "look for peers on the local network",
        "upnp": "ask the router to open the port (UPnP, NAT-PMP)",
        "trackers": "talk to trackers",
        "lan": "connect to peers on private networks",
        "bittorrent_proxy": "`socks5://[USER:PASSWORD@]HOST:PORT`: BitTorrent goes through it or nowhere; see privacy",
        "webtorrent": "use `ws://` and `wss://` trackers of torrents, and reach their peers by WebRTC; see privacy",
        "private_hosts": "HOST, … of private networks to which links, indexes and torrents may lead",
        "upload_limit": "bytes a second, or a rate such as `5MB/s`; 0: no limit",
        "download_limit": "likewise, for downloads",
        "seed_withdrawn": "seed what was withdrawn: `always`, `others` (all but what you withdrew) or `never`",
        "web_seeds": "`auto`, `always` or `never`: see `p2pqwen help web-seeds`",
        "control": "where the node's own API listens: `unix`, or `loopback` with a token",
    },
    "web_seeds": {
        "bases": "URLs of web seeds for every fetch; may hold `{repo}`, `{commit}` and `{path}`",
    },
    "library": {
        "reserve": "space that snapshots leave free on a disk, such as `20GB`",
        "folders": "absolute paths, or `{path = …, reserve = …}`, beside the home's own folder",
        "scrub_every": "how often every file is read again, such as `30d`",
    },
    "watch": {
        "watchlist": "a file of repositories to preserve; a relative path starts at the home",
        "orgs": "organisations of which every model is preserved; `datasets/ORG`, `modelscope:ORG`",
        "every": "how often to look",
        "include": "only these, by `ORG/MODEL`, `MODEL` or `group:NAME`; globs",
        "exclude": "not these",
        "license": "only under these licenses; globs",
        "max_size": "no model larger than this, such as `200GB`",
        "budget": "download at most this much in one round",
        "parallel": "repositories at a time, 1 to 16",
        "rate": "download no faster than this, such as `20MB/s`; 0: no limit",
        "upstream_every": 'how often to ask the Hub what it still shows; `"never"` turns it off',
    },
    "archive": {
        "budget": "what this home may hold in all, such as `2TB`: a node adopts within it by itself",
        "every": "how often the node plans again; it also does when a swarm's health changes",
        "prefer": "choose these first, by `ORG/MODEL` or `MODEL`; globs",
        "exclude": "never choose these",
        "license": "choose only these licenses; globs",
        "rebalance": "replace snapshots that the node adopted and others keep well by endangered ones",
    },
    "alerts": {
        "to": 'where a running node sends alerts: apprise addresses, such as `"ntfys://ntfy.sh/TOPIC"`',
        "to_file": "a file of such addresses, one per line, for those with passwords; relative paths start at the home",
        "quiet": "an alert that ends and returns within this time is sent once",
        "mute": "kinds of alert that are not sent: see `p2pqwen help node`",
    },
    "hub_endpoint": {
        "listen": "HOST:PORT where `seed` serves the Hub endpoint; `hub` uses 127.0.0.1:8080 without it",
        "peers": "HOST:PORT of peers that are asked directly for what the library lacks",
        "upstream": "for what no one else has: `pass` requests to the Hub, `keep` the snapshot too, or `never` ask",
        "abandoned": "a download whose reader has disconnected: `finish` it, or `stop`",
        "timeout": "how long a reader waits while nothing arrives, such as `90s`",
        "beyond_loopback": "allow `listen` on an address that other machines reach",
        "token_file": "a file with the token that other machines must send",
        "allow": "networks whose machines need no token, such as `192.168.1.0/24`",
        "hosts": "host names by which other machines reach this one, such as `nas.local`",
    },
}

_PROXIES = "HTTP or SOCKS5 proxies for web requests; for peers see `bittorrent_proxy`"
ENVIRONMENT: dict[str, tuple[str, str]] = {
    "P2PQWEN_HOME": ("the home: everything p2pqwen keeps", "the system's folder for user data: ~/.local/share/p2pqwen"),
    "P2PQWEN_DHT_BOOTSTRAP": ("as `dht_bootstrap`, which it overrides", ""),
    "P2PQWEN_PASSPHRASE": ("the passphrase of private keys, if there is no terminal to ask on", ""),
    "HF_ENDPOINT": ("the Hub, or a server with its API", DEFAULT_ENDPOINT),
    "HF_TOKEN": ("a token for the Hub; sent to the Hub's own host only", "the token that `hf auth login` stored"),
    "HF_TOKEN_PATH": ("the file of that token", "HF_HOME/token"),
    "MODELSCOPE_ENDPOINT": ("ModelScope, or a server with its API", DEFAULT_MODELSCOPE),
    "MODELSCOPE_API_TOKEN": ("a token for ModelScope; sent to its own host only", ""),
    "HF_HOME": ("the folder of huggingface_hub", "~/.cache/huggingface"),
    "HF_HUB_CACHE": ("the Hugging Face cache", "HF_HOME/hub"),
    "HF_HUB_ETAG_TIMEOUT": ("seconds that huggingface_hub waits; if unset, `run` sets it for its command", "60"),
    "HF_HUB_DOWNLOAD_TIMEOUT": ("likewise", "120"),
    "XDG_CACHE_HOME": ("the folder in which HF_HOME is looked for", "~/.cache"),
    "XDG_CONFIG_HOME": ("where `service install` writes the systemd unit", "~/.config"),
    "SSL_CERT_FILE": ("certificate authorities for TLS, as OpenSSL reads them", "the system's"),
    "SSL_CERT_DIR": ("likewise, a folder", "the system's"),
    "http_proxy, https_proxy, all_proxy": (_PROXIES, "none"),
    "no_proxy": ("hosts for which no proxy is used", "none"),
    "TERM": ("`dumb` turns bars, colours and pages off", ""),
}
_NAMED_ALONE = ("http_proxy, https_proxy, all_proxy", "no_proxy")  # values.proxy reads both in lower and upper case
_READ = re.compile(r"(?:P2PQWEN|HF|MODELSCOPE|XDG|SSL)_[A-Z_]*[A-Z]|TERM")

PAGE_TEXT = """\
# Configuration

Settings are read once, when a command starts: from `config.toml` in the home and from the environment.

The home is `P2PQWEN_HOME`, else the system's folder for user data (`~/.local/share/p2pqwen` on Linux). `config.toml`
need not exist. An option on the command line overrides the file, for that command. An unknown table or setting is an
error (exit code 2), so that a misspelt name is noticed.

```toml
# config.toml
[network]
listen = "0.0.0.0:6881"
upload_limit = "5MB/s"

[library]
folders = ["/mnt/a/p2pqwen"]
```

Before the tables, `origin` says where to ask for the Hub's repositories: `"hub"`, the default, or `"auto"`, the Hub
first and ModelScope if it fails (`p2pqwen help archive`).

Sizes: `500MB`, `2TB`. Rates: `5MB/s`. Times: `90m`, `24h`, `30d`.

{tables}
## The environment

| variable | what it sets | default |
|---|---|---|
{environment}
Other variables of huggingface_hub, such as `HF_HUB_OFFLINE`, apply when p2pqwen asks the Hub.

## Choices made by commands

`p2pqwen limits`, `pin`, `pause` and `priority` keep their choices in `choices.json` in the home. They take effect at
once and survive restarts. Of two rates, there and in config.toml, the lower one holds.

<!-- Made by scripts/make_manual.py: change it there. -->
"""


def page() -> str:
    """Return the page."""
    code = settings()
    for table, described in SETTINGS.items():
        _must_match(f"[{table}]", set(described), set(code[table]))
    _must_match("the tables", set(SETTINGS), set(code))
    _must_match("the environment", set(ENVIRONMENT) - set(_NAMED_ALONE), variables())
    tables = "".join(_table(table, described, code[table]) for table, described in SETTINGS.items())
    rows = (f"| `{name}` | {what} | {_cell(default)} |\n" for name, (what, default) in ENVIRONMENT.items())
    return PAGE_TEXT.format(tables=tables, environment="".join(rows))


def settings() -> dict[str, dict[str, str]]:
    """Return every setting that the code reads, with its default in words, by table."""
    return {
        "network": _defaults(NetworkConfig),
        "web_seeds": {"bases": "none"},
        "library": _defaults(LibraryConfig),
        "watch": _defaults(WatchConfig),
        "archive": _defaults(ArchiveConfig),
        "alerts": _defaults(AlertsConfig),
        "hub_endpoint": _defaults(HubEndpointConfig),
    }


def variables() -> set[str]:
    """Return the names of environment variables in the code, except the demo's."""
    found = set()
    for path in (ROOT / "p2pqwen").rglob("*.py"):
        if path.parent.name == "demo":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _READ.fullmatch(node.value):
                found.add(node.value)
    return found


def _defaults(settings_class: type) -> dict[str, str]:
    """Return the fields' defaults; nested fields are flattened."""
    found: dict[str, str] = {}
    for one in fields(settings_class):
        found |= _defaults(type(one.default)) if is_dataclass(one.default) else {one.name: _default(one)}
    return found


def _default(one: Field[Any]) -> str:
    value = one.default
    if value is MISSING:
        raise SystemExit(f"{one.name} has no plain default: teach scripts/make_manual.py to say it")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        minutes = int(value.total_seconds() // 60)
        hours, odd = divmod(minutes, 60)
        return f"{minutes}m" if odd else f"{hours // 24}d" if hours > 24 else f"{hours}h"
    if one.name == "reserve":
        return format_size(value)
    if one.name == "dht_bootstrap":
        return ", ".join(DHT_BOOTSTRAP)
    return str(value) if value not in (None, "", ()) else "none"


def _table(name: str, described: Mapping[str, str], defaults: Mapping[str, str]) -> str:
    rows = "".join(f"| `{key}` | {what} | {_cell(defaults[key])} |\n" for key, what in described.items())
    return f"## [{name}]\n\n| setting | what it does | default |\n|---|---|---|\n{rows}\n"


def _cell(text: str) -> str:
    return text if not text or " " in text or text == "none" else f"`{text}`"


def _must_match(what: str, described: set[str], read: set[str]) -> None:
    def names(found: set[str]) -> Iterator[str]:
        return iter(sorted(found))

    if missing := ", ".join(names(read - described)):
        raise SystemExit(f"{what}: {missing} is read and not described in scripts/make_manual.py")
    if gone := ", ".join(names(described - read)):
        raise SystemExit(f"{what}: {gone} is described in scripts/make_manual.py and not read")


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if the page is not what the code says"
    )
    made = page()
    if not parser.parse_args().check:
        PAGE.write_text(made, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == made:
        return 0
    print(f"{PAGE.relative_to(ROOT)} is not what the code says: run scripts/make_manual.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
