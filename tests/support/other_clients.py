"""Other BitTorrent programs on loopback: opentracker, aria2c, qbittorrent-nox, Transmission, rTorrent.

`P2PQWEN_CLIENTS_ROOT` may name the root folder of another Debian with newer clients (`scripts/clients_root` makes it).
A program in it runs there, with this machine's network and temporary folder.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libtorrent as lt
import pytest

from p2pqwen.torrent.metainfo import Metainfo
from tests.support.processes import Process, running
from tests.support.waiting import wait_until

_NOT_GIVEN_OUT = range(15_000, 32_000)  # ip_local_port_range begins at 32,768
QBITTORRENT = """[LegalNotice]
Accepted=true

[BitTorrent]
Session\\Port={port}
Session\\Interface=lo
Session\\InterfaceAddress=127.0.0.1
Session\\DHTEnabled=false
Session\\LSDEnabled=false
Session\\PeXEnabled=false
Session\\MultiConnectionsPerIp=true
Session\\DefaultSavePath={folder}
Session\\AddTorrentPaused=false
Session\\BTProtocol={protocol}

[Preferences]
General\\Locale=en
Connection\\UPnP=false
WebUI\\Address=127.0.0.1
WebUI\\Port={web_port}
WebUI\\LocalHostAuth=false
"""


_INSIDE = """mount --rbind /tmp "$0/tmp" && mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" &&
exec chroot "$0" "$@\""""


def need(program: str) -> None:
    """Skip if a program is missing; `.ci/run` installs it."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def command(program: str, *arguments: str | Path) -> list[str | Path]:
    """Return the command that runs a program, from the other root if it is there; skip if it is missing."""
    root = os.environ.get("P2PQWEN_CLIENTS_ROOT")
    if root is None or not any((Path(root) / folder / program).exists() for folder in ("usr/bin", "usr/sbin")):
        need(program)
        return [program, *arguments]
    # With `exec` throughout, signals to the process reach the program. Its mounts are private and end with it.
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _INSIDE, root, program, *arguments]


def free_port() -> int:
    """Return a free port, for programs that cannot choose one themselves.

    It is below the range from which the system assigns ports, so no other test gets it before the program starts.
    """
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):  # it is taken
            probe.bind(("127.0.0.1", secrets.choice(_NOT_GIVEN_OUT)))
            return int(probe.getsockname()[1])


@contextlib.contextmanager
def opentracker(*torrents: Metainfo, address: str = "127.0.0.1", within: Sequence[str | Path] = ()) -> Iterator[str]:
    """Run a real tracker for these torrents; yields its announce URL. `within`: the prefix to run it in a namespace."""
    need("opentracker")
    hashes = [text for one in torrents for text in (str(one.infohash.v1), str(one.infohash.v2)[:40])]
    with tempfile.TemporaryDirectory(prefix="opentracker-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # it drops root privileges, and other users cannot read pytest's folders
        (folder / "whitelist").write_text("\n".join(hashes) + "\n")
        port = free_port()
        where = ("-i", address, "-p", str(port), "-P", str(port))
        with running([*within, "opentracker", *where, "-d", folder, "-w", "whitelist"]) as process:
            if not within:
                wait_until(lambda: answers(port), 20, f"{process} answers")
            yield f"http://{address}:{port}/announce"


@dataclass(frozen=True, slots=True)
class Client:
    """A running client and where it accepts peers."""

    process: Process
    peer: str
    folder: Path


@contextlib.contextmanager
def aria2(target: str | Path, folder: Path, *options: str) -> Iterator[Client]:
    """`aria2c` with one magnet or .torrent, whose files are, or will be, below `folder`."""
    port = free_port()
    quiet = [f"--enable-{way}=false" for way in ("dht", "dht6", "peer-exchange")] + ["--bt-enable-lpd=false"]
    where = [f"--dir={folder}", f"--listen-port={port}", "--interface=127.0.0.1", "--file-allocation=none"]
    program = command("aria2c", "--no-conf", *where, *quiet, "--summary-interval=0", *options, target)
    with running(program) as process:
        yield Client(process, f"127.0.0.1:{port}", folder)


@dataclass(frozen=True, slots=True)
class QBittorrent(Client):
    """A running `qbittorrent-nox` with one torrent, controlled over its web API."""

    api: str

    @property
    def has_torrent(self) -> bool:
        """Whether it has added the torrent."""
        return "hash" in self._torrent

    @property
    def progress(self) -> float:
        """The fraction of the torrent that it has, 0 to 1."""
        return float(self._torrent["progress"])

    def connect(self, peer: str) -> None:
        """Have it connect to a peer."""
        asked = urllib.parse.urlencode({"hashes": self._torrent["hash"], "peers": peer}).encode()
        with urllib.request.urlopen(f"{self.api}/torrents/addPeers", asked, timeout=30):
            pass

    def follow(self, feed: str) -> None:
        """Have it download whatever an RSS feed names."""
        self._post("app/setPreferences", json={"rss_processing_enabled": True, "rss_auto_downloading_enabled": True})
        self._post("rss/addFeed", url=feed, path="feed")
        rule = {"enabled": True, "affectedFeeds": [feed], "addPaused": False, "savePath": str(self.folder)}
        self._post("rss/setRule", ruleName="all", ruleDef=rule)
        self._post("rss/refreshItem", itemPath="feed")

    def _post(self, call: str, **values: Any) -> None:
        given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        with urllib.request.urlopen(f"{self.api}/{call}", urllib.parse.urlencode(given).encode(), timeout=30):
            pass

    @property
    def _torrent(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.api}/torrents/info", timeout=30) as answer:
            rows = json.load(answer)
        return rows[0] if rows else {"progress": 0.0}


@contextlib.contextmanager
def qbittorrent(torrent: Path | None, folder: Path, profile: Path, *, protocol: str = "Both") -> Iterator[QBittorrent]:
    """`qbittorrent-nox` with one torrent, or none yet, whose files are, or will be, below `folder`.

    `protocol`: Both, TCP or UTP.
    """
    port, web_port = free_port(), free_port()
    config = profile / "qBittorrent" / "config" / "qBittorrent.conf"
    config.parent.mkdir(parents=True)
    config.write_text(QBITTORRENT.format(port=port, web_port=web_port, folder=folder, protocol=protocol))
    added = (f"--save-path={folder}", "--add-stopped=false" if _is_new(profile) else "--add-paused=false")
    named = () if torrent is None else (*added, torrent)
    program = command("qbittorrent-nox", f"--profile={profile}", *named)
    with running(program, {"HOME": str(profile), "XDG_RUNTIME_DIR": str(profile)}) as process:
        wait_until(lambda: answers(port) and answers(web_port), 60, f"{process} listens")
        yield QBittorrent(process, f"127.0.0.1:{port}", folder, f"http://127.0.0.1:{web_port}/api/v2")


def _is_new(profile: Path) -> bool:
    """Tell whether it is qBittorrent 5, which says "stopped" for "paused"."""
    shown = subprocess.run(
        command("qbittorrent-nox", "--version"), capture_output=True, text=True, check=True, env={"HOME": str(profile)}
    )
    return " v4." not in shown.stdout


@contextlib.contextmanager
def rtorrent(torrent: Path, folder: Path, profile: Path) -> Iterator[Client]:
    """`rtorrent` as a daemon with one torrent whose files are, or will be, below `folder`."""
    port = free_port()
    session = profile / "session"
    session.mkdir(parents=True)
    options = {
        "system.daemon.set": "true",
        "session.path.set": session,
        "directory.default.set": folder,
        "network.bind_address.set": "127.0.0.1",
        "network.port_range.set": f"{port}-{port}",
        "network.port_random.set": "no",
        "dht.mode.set": "disable",
        "protocol.pex.set": "no",
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    with running(command("rtorrent", "-n", *given, torrent), {"HOME": str(profile), "TERM": "xterm"}) as process:
        yield Client(process, f"127.0.0.1:{port}", folder)


def v1_torrent(folder: Path, url: str, piece_length: int) -> bytes:
    """Return a v1 torrent of a folder, without pad files, with one web seed, for programs that support no hybrids."""
    files = lt.list_files(str(folder))
    made = lt.create_torrent(files, piece_size=piece_length, flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, str(folder.parent))
    made.add_url_seed(url)
    return bytes(lt.bencode(made.generate()))


def answers(port: int) -> bool:
    """Tell whether a program listens on a port of 127.0.0.1."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


class Transmission:
    """A running `transmission-daemon`, controlled over its RPC."""

    def __init__(self, process: Process, rpc_port: int, folder: Path, peer: str) -> None:
        self.process, self.folder, self.peer = process, folder, peer
        self._url = f"http://127.0.0.1:{rpc_port}/transmission/rpc"
        self._session = ""

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Make one RPC call and return its whole answer, `result` included."""
        body = json.dumps({"method": method, "arguments": arguments}).encode()
        for _ in range(2):
            request = urllib.request.Request(self._url, body, {"X-Transmission-Session-Id": self._session})
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return dict(json.load(answer))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != 409:
                        raise
                    self._session = error.headers["X-Transmission-Session-Id"]
        raise AssertionError("transmission-daemon takes no session id")

    def add(self, torrent: Path) -> str:
        """Add a torrent and return the daemon's result: `success`, or the error."""
        metainfo = base64.b64encode(torrent.read_bytes()).decode()
        return str(self.call("torrent-add", metainfo=metainfo, paused=False)["result"])

    def add_magnet(self, link: str) -> str:
        return str(self.call("torrent-add", filename=link, paused=False)["result"])

    @property
    def version(self) -> str:
        return str(self.call("session-get", fields=["version"])["arguments"]["version"])

    @property
    def progress(self) -> float:
        """The fraction of its only torrent that it has, 0 to 1."""
        return float(self.torrents[0]["percentDone"])

    @property
    def torrents(self) -> list[dict[str, Any]]:
        fields = ["name", "percentDone", "metadataPercentComplete", "error", "errorString", "peersConnected"]
        return list(self.call("torrent-get", fields=fields)["arguments"]["torrents"])


@contextlib.contextmanager
def transmission(folder: Path, profile: Path) -> Iterator[Transmission]:
    """`transmission-daemon` without torrents; files go below `folder`."""
    port, rpc_port = free_port(), free_port()
    profile.mkdir(parents=True)
    off = ("dht", "lpd", "pex", "utp", "port-forwarding")
    settings = {f"{name}-enabled": False for name in off} | {
        "bind-address-ipv4": "127.0.0.1",
        "peer-port": port,
        "rpc-bind-address": "127.0.0.1",
        "rpc-port": rpc_port,
        "download-dir": str(folder),
    }
    (profile / "settings.json").write_text(json.dumps(settings))
    program = command("transmission-daemon", "--foreground", "--config-dir", profile)
    with running(program, {"HOME": str(profile)}) as process:
        wait_until(lambda: answers(rpc_port), 60, f"{process} listens")
        yield Transmission(process, rpc_port, folder, f"127.0.0.1:{port}")
