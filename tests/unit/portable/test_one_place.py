"""What only some systems have is named in p2pqwen/portable and nowhere else."""

from __future__ import annotations

import ast
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import p2pqwen

SOURCES = Path(p2pqwen.__file__).parent
PLACE = SOURCES / "portable"

MODULES = frozenset(
    {"fcntl", "termios", "resource", "pwd", "grp", "pty", "tty", "syslog", "msvcrt", "winreg", "_winapi"}
)
# Of os: what Windows or macOS lacks (typeshed's os/__init__.pyi), or means something else by.
OS = frozenset(
    {"fdatasync", "fchmod", "fchown", "chown", "lchown", "chroot", "fchdir", "fork", "forkpty", "getloadavg", "killpg"}
    | {"getpgid", "getpgrp", "getsid", "setsid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "setuid"}
    | {"getpriority", "setpriority", "nice", "mkfifo", "mknod", "pathconf", "sysconf", "confstr", "statvfs", "fstatvfs"}
    | {"pread", "pwrite", "preadv", "pwritev", "readv", "writev", "sendfile", "splice", "copy_file_range"}
    | {"posix_fadvise", "posix_fallocate", "posix_spawn", "lockf", "pipe2", "wait3", "wait4", "waitid", "uname"}
    | {"sched_getaffinity", "sched_setaffinity", "sched_yield", "getxattr", "setxattr", "listxattr", "memfd_create"}
    | {"SEEK_DATA", "SEEK_HOLE", "PRIO_PROCESS", "RTLD_NOW", "O_BINARY", "startfile"}
)
PORTABLE_FLAGS = frozenset({"O_RDONLY", "O_WRONLY", "O_RDWR", "O_APPEND", "O_CREAT", "O_EXCL", "O_TRUNC"})
SOCKET = frozenset(
    {"AF_UNIX", "AF_NETLINK", "AF_PACKET", "SO_REUSEADDR", "SO_REUSEPORT", "SO_PEERCRED", "SO_ACCEPTCONN"}
)
ANYWHERE = frozenset({"st_blocks", "CDLL", "windll", "add_signal_handler", "start_unix_server", "open_unix_connection"})
PLACES = re.compile(r"/proc/(self|\d|net|sys)|/dev/(fd|shm)\b|/sys/(?!tem)")


def named(tree: ast.AST) -> Iterator[str]:
    """Yield each name in a module that belongs behind `portable`."""
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings may speak of it
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (one.name for one in names if module in {"os", "socket"} and is_special(module, one.name))
                if module in MODULES:
                    yield module
            case ast.Attribute(value=ast.Name(id=module), attr=name) if is_special(module, name):
                yield f"{module}.{name}"
            case ast.Attribute(attr=name) if name in ANYWHERE:
                yield name
            case ast.keyword(arg="dir_fd"):
                yield "dir_fd"
            case ast.Constant(value=str(text)) if id(node) not in texts and PLACES.search(text):
                yield text


def is_special(module: str, name: str) -> bool:
    if module == "os":
        return name in OS or (name.startswith("O_") and name not in PORTABLE_FLAGS)
    return module == "socket" and name in SOCKET


def test_nothing_of_one_system_stands_elsewhere():
    found = {
        str(path.relative_to(SOURCES)): names
        for path in SOURCES.rglob("*.py")
        if not path.is_relative_to(PLACE) and (names := list(named(ast.parse(path.read_text()))))
    }
    assert not found, "put it into p2pqwen/portable, with the way of other systems"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fcntl", ["fcntl"]),
        ("from os import pread, path", ["pread"]),
        ("import os\nos.open(a, os.O_RDONLY | os.O_DIRECTORY)", ["os.O_DIRECTORY"]),
        ("os.open(a, 0, dir_fd=b)", ["dir_fd"]),
        ("path.stat().st_blocks * 512", ["st_blocks"]),
        ("Path('/proc/self/fd')", ["/proc/self/fd"]),
        ("def f():\n    '''See /proc/self/fd.'''", []),
        ("s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)", ["socket.SO_REUSEADDR"]),
        ("os.getpid(); os.fsync(a); os.replace(a, b); os.O_CREAT | os.O_EXCL", []),
    ],
)
def test_the_search_finds_what_it_is_for(source, found):
    assert list(named(ast.parse(source))) == found


def test_the_package_names_what_it_says():
    """Each name the search knows of this system is one: no rule of it is a misspelling."""
    here = {name for name in OS | PORTABLE_FLAGS if hasattr(os, name)} | {
        name for name in SOCKET if hasattr(socket, name)
    }
    assert (OS | PORTABLE_FLAGS | SOCKET) - here <= {"O_BINARY", "startfile", "RTLD_NOW"}
    used = {name for path in PLACE.glob("*.py") for name in named(ast.parse(path.read_text()))}
    assert {
        "os.sched_getaffinity",
        "os.SEEK_DATA",
        "socket.AF_UNIX",
        "/proc/self/fd",
        "dir_fd",
        "st_blocks",
    } - used == {
        "st_blocks"  # asked for by name
    }
