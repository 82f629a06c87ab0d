"""Where a home's control API listens: a unix socket that only its owner may open, or loopback with a token file."""

from __future__ import annotations

import contextlib
import errno
import html
import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import DiskError
from p2pqwen.portable.files import BINARY
from p2pqwen.portable.sockets import short_path, unix_socket, unix_sockets_work

SOCKET_NAME = "control.sock"
TOKEN_NAME = "control.json"  # noqa: S105 - a file's name
DASHBOARD_NAME = "dashboard.json"
OPENER_NAME = "dashboard.html"
MAX_TOKEN_FILE = 4096
_NO_SOCKETS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Loopback:
    """A port on loopback, and the token that a request must carry."""

    port: int
    token: str


def bind_unix(home: Path) -> socket.socket | None:
    """Listen on the home's socket; replace one that a killed node left. Raises `DiskError`.

    Returns None if the home's file system has no sockets (FAT, some network shares).

    The caller holds the node's lock, so no other process is listening.
    """
    listener = unix_socket()
    try:
        (home / SOCKET_NAME).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with short_path(home, SOCKET_NAME) as path:
                listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(64)
    except OSError as error:
        listener.close()
        if error.errno in _NO_SOCKETS:
            return None
        raise DiskError(f"cannot open {home / SOCKET_NAME}", got=error.strerror or str(error)) from error
    listener.setblocking(False)  # noqa: FBT003 - its only argument
    return listener


def bind_loopback(home: Path) -> tuple[socket.socket, Loopback]:
    """Listen on a free loopback port, and write port and token to a file that only the owner can read."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        found = Loopback(listener.getsockname()[1], secrets.token_urlsafe(32))
        _write_secret(home / TOKEN_NAME, {"port": found.port, "token": found.token})
    except OSError as error:
        listener.close()
        raise DiskError(f"cannot open the control API of {home}", got=error.strerror or str(error)) from error
    listener.setblocking(False)  # noqa: FBT003 - its only argument
    return listener, found


def may_answer(home: Path) -> bool:
    """Tell whether a node may listen here: one did, and has not removed its socket or token file since."""
    return any((home / name).exists() for name in (SOCKET_NAME, TOKEN_NAME))


def _write_secret(path: Path, value: dict[str, object]) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(value, file)


def write_dashboard(home: Path, host: str, port: int) -> str:
    """Write the dashboard's address and a new token to a file that only the owner can read; return the token."""
    token = secrets.token_urlsafe(32)
    try:
        _write_secret(home / DASHBOARD_NAME, {"host": host, "port": port, "token": token})
    except OSError as error:
        raise DiskError(f"cannot write {home / DASHBOARD_NAME}", got=error.strerror or str(error)) from error
    return token


def write_opener(home: Path, url: str) -> Path:
    """Write a page that sends a browser to an address, readable only by the owner; raises `DiskError`.

    A browser that gets the address itself shows it, in its arguments, to every user of the machine.
    """
    path = home / OPENER_NAME
    to = html.escape(url, quote=True)
    text = (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0;url={to}"><title>p2pqwen</title>'
        f'<p><a href="{to}">The dashboard of this node</a>. This link works once.</p>\n'
    )
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise DiskError(f"cannot write {path}", got=error.strerror or str(error)) from error
    return path


def dashboard_url(home: Path) -> str | None:
    """Return the dashboard's address, with the token after `#`, which no browser sends; None if there is none."""
    try:
        with (home / DASHBOARD_NAME).open("rb") as file:
            value = json.loads(file.read(MAX_TOKEN_FILE))
        host, port, token = str(value["host"]), int(value["port"]), str(value["token"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/#{token}"


def read_loopback(home: Path) -> Loopback | None:
    """Return where a node listens on loopback, None if the file is missing or makes no sense."""
    try:
        with (home / TOKEN_NAME).open("rb") as file:
            value = json.loads(file.read(MAX_TOKEN_FILE))
        return Loopback(int(value["port"]), str(value["token"]))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def connect_unix(home: Path, seconds: float) -> socket.socket | None:
    """Connect to the home's socket; None if no process listens there."""
    if not unix_sockets_work() or not (home / SOCKET_NAME).exists():
        return None
    client = unix_socket()
    try:
        client.settimeout(seconds)
        with short_path(home, SOCKET_NAME) as path:
            client.connect(path)
    except OSError:
        client.close()
        return None
    return client


def clean(home: Path) -> None:
    """Remove the socket, the token files and the page that opens the dashboard."""
    for name in (SOCKET_NAME, TOKEN_NAME, DASHBOARD_NAME, OPENER_NAME):
        with contextlib.suppress(OSError):
            (home / name).unlink(missing_ok=True)
