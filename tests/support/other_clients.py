"""Other people's BitTorrent programs from Debian, kept on loopback: opentracker, aria2c, qbittorrent-nox."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pqwen.torrent.metainfo import Metainfo
from tests.support.processes import Process, running
from tests.support.waiting import wait_until

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

[Preferences]
General\\Locale=en
Connection\\UPnP=false
WebUI\\Address=127.0.0.1
WebUI\\Port={web_port}
WebUI\\LocalHostAuth=false
"""


def need(program: str) -> None:
    """Skip where a program is missing; `.ci/run` installs it."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def free_port() -> int:
    """A port that was free a moment ago, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def opentracker(*torrents: Metainfo) -> Iterator[str]:
    """A real tracker for these torrents; its announce URL."""
    need("opentracker")
    hashes = [text for one in torrents for text in (str(one.infohash.v1), str(one.infohash.v2)[:40])]
    with tempfile.TemporaryDirectory(prefix="opentracker-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # it gives up root's rights, and pytest's own folders are closed to others
        (folder / "whitelist").write_text("\n".join(hashes) + "\n")
        port = free_port()
        where = ("-i", "127.0.0.1", "-p", str(port), "-P", str(port))
        with running(["opentracker", *where, "-d", folder, "-w", "whitelist"]) as process:
            wait_until(lambda: _answers(port), 20, f"{process} answers")
            yield f"http://127.0.0.1:{port}/announce"


@dataclass(frozen=True, slots=True)
class Client:
    """A running client and where it accepts peers."""

    process: Process
    peer: str
    folder: Path


@contextlib.contextmanager
def aria2(target: str | Path, folder: Path, *options: str) -> Iterator[Client]:
    """`aria2c` with one magnet or .torrent, whose files are, or will be, below `folder`."""
    need("aria2c")
    port = free_port()
    quiet = [f"--enable-{way}=false" for way in ("dht", "dht6", "peer-exchange")] + ["--bt-enable-lpd=false"]
    where = [f"--dir={folder}", f"--listen-port={port}", "--interface=127.0.0.1", "--file-allocation=none"]
    with running(["aria2c", "--no-conf", *where, *quiet, "--summary-interval=0", *options, target]) as process:
        yield Client(process, f"127.0.0.1:{port}", folder)


@contextlib.contextmanager
def qbittorrent(torrent: Path, folder: Path, profile: Path) -> Iterator[Client]:
    """`qbittorrent-nox` with one torrent whose files are, or will be, below `folder`."""
    need("qbittorrent-nox")
    port = free_port()
    config = profile / "qBittorrent" / "config" / "qBittorrent.conf"
    config.parent.mkdir(parents=True)
    config.write_text(QBITTORRENT.format(port=port, web_port=free_port(), folder=folder))
    command = ["qbittorrent-nox", f"--profile={profile}", f"--save-path={folder}", "--add-paused=false", torrent]
    with running(command, {"HOME": str(profile), "XDG_RUNTIME_DIR": str(profile)}) as process:
        wait_until(lambda: _answers(port), 60, f"{process} listens")
        yield Client(process, f"127.0.0.1:{port}", folder)


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
