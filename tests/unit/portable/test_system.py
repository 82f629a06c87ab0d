"""Cores, owners, the process and its sockets, here and where the system has none of it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2pqwen.library.home import Home
from p2pqwen.operations.control.routes import NodeAnswer
from p2pqwen.portable import owners, process, sleep, sockets
from p2pqwen.portable.cores import usable_cores
from p2pqwen.server import address
from p2pqwen.server.control import ControlServer
from p2pqwen.server.control_client import ControlClient
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.open_files import OpenFiles, share_out
from p2pqwen.swarm.outgoing_only import stop_listening


def test_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5})
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_owners_here(tmp_path):
    found = tmp_path.stat()
    assert owners.user_id() == os.geteuid()
    assert owners.is_ours(found)
    assert not owners.is_ours(SimpleNamespace(st_uid=found.st_uid + 1))
    for mode, others in ((0o700, 0), (0o755, 0o055), (0o600, 0), (0o640, 0o040), (0o1777, 0o077)):
        assert owners.others_may(SimpleNamespace(st_mode=stat.S_IFREG | mode)) == others


def test_owners_where_there_are_no_users(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "geteuid")
    monkeypatch.setattr(owners, "_MODES_BY_DESCRIPTOR", False)
    assert owners.user_id() is None
    assert owners.is_ours(SimpleNamespace(st_uid=12345))
    tmp_path.chmod(0o777)
    assert not Home(tmp_path).is_open  # its mode says nothing there
    path = tmp_path / "file"
    path.touch(0o644)
    with path.open() as file:
        owners.give_mode(file.fileno(), 0o600)  # which Windows cannot do to an open file
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def in_a_thread(work):
    """Return what a function gives on a thread of its own, whose priority then goes with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_the_priority_of_a_thread():
    def now():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), process.is_thread_idle()

    def lower():
        before = now()
        process.let_others_first()
        between = now()
        process.make_thread_idle()
        return before, between, now()

    (before, *_), (between, *_), (after, _) = states = in_a_thread(lower)
    assert before < between <= after == 19
    assert [idle for _, idle in states] == [False, False, True]


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_no_priority_where_the_number_may_be_another_process(monkeypatch, system):
    asked = []
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr(os, "setpriority", lambda *arguments: asked.append(arguments))
    in_a_thread(process.let_others_first)
    assert not in_a_thread(lambda: (process.make_thread_idle(), process.is_thread_idle())[1])
    assert not asked


class Limits:
    """What the module `resource` is, of a system with these limits."""

    RLIM_INFINITY, RLIMIT_NOFILE = -1, 7

    def __init__(self, soft, hard, *, refuses=False):
        self.limits, self._refuses = (soft, hard), refuses

    def getrlimit(self, what):
        assert what == self.RLIMIT_NOFILE
        return self.limits

    def setrlimit(self, what, limits):
        assert what == self.RLIMIT_NOFILE
        if self._refuses:
            raise ValueError("above what the system has")
        self.limits = limits


@pytest.mark.parametrize(
    ("limits", "after"),
    [
        (Limits(1024, 1_048_576), 4096),
        (Limits(256, -1), 4096),
        (Limits(256, 1000), 1000),
        (Limits(256, -1, refuses=True), 256),
        (Limits(8192, 8192), 8192),
        (Limits(-1, -1), None),
        (None, None),  # Windows
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(monkeypatch, limits, after):
    monkeypatch.setattr(process, "_resource", limits)
    process.raise_open_file_limit(4096)
    assert process.open_file_limit() == after
    shares = share_out()
    assert shares == (OpenFiles() if after is None or after >= 2048 else OpenFiles(after // 8, after // 4))


def test_memory(monkeypatch, tmp_path):
    assert process.resident_memory() > 1 << 20
    monkeypatch.setattr(process, "_STATM", tmp_path / "none")
    assert process.resident_memory() is None
    monkeypatch.undo()
    monkeypatch.delattr(os, "sysconf")
    assert process.resident_memory() is None


@contextlib.contextmanager
def a_listener(host="127.0.0.1"):
    with socket.create_server((host, 0)) as listener:
        yield listener, Endpoint(*listener.getsockname()[:2])


def listens(at: Endpoint) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex((at.host, at.port)) == 0


def test_a_socket_that_must_not_listen_is_shut_and_no_other():
    with a_listener() as (_, closed), a_listener() as (_, kept):
        assert sockets.shut_listening([closed.port]) == frozenset()
        assert (listens(closed), listens(kept)) == (False, True)


@pytest.mark.parametrize("why", ["no list of sockets", "a system that keeps it open"])
@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_socket_that_stays_open_is_told_of_if_others_can_reach_it(monkeypatch, tmp_path, why, host, warned):
    if why == "no list of sockets":
        monkeypatch.setattr(sockets, "_DESCRIPTORS", tmp_path / "none")
    else:
        monkeypatch.setattr(socket.socket, "shutdown", lambda *_: None)
    told = []
    with a_listener(host) as (_, kept):
        stop_listening([kept], told.append)
        assert listens(Endpoint("127.0.0.1", kept.port))
    assert [one.level for one in told] == ["warning"] * warned
    assert all(f"TCP port {kept.port}" in one.text and "--no-dht" in one.text for one in told)


@pytest.mark.parametrize("missing", ["AF_UNIX", "/proc"])
def test_without_unix_sockets_the_control_api_is_on_loopback(monkeypatch, tmp_path, missing):
    if missing == "AF_UNIX":
        others = {name: value for name, value in vars(socket).items() if name != "AF_UNIX"}
        monkeypatch.setattr(sockets, "socket", SimpleNamespace(**others))
    else:
        monkeypatch.setattr(sockets, "_DESCRIPTORS", tmp_path / "none")
    home = tmp_path / "home"
    home.mkdir()
    node = NodeAnswer(pid=1, version="1", api=1)
    with ControlServer(home, {"GET /v1/node": lambda _: node}, {}):
        assert not (home / address.SOCKET_NAME).exists()
        assert address.read_loopback(home) is not None
        assert ControlClient(home).call(NodeAnswer, "GET", "/v1/node") == node


def test_what_the_other_end_has_not_acknowledged(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(b"x" * 1000)
        assert sockets.unacknowledged(ours) > 0
        theirs.recv(1000)
        assert sockets.unacknowledged(ours) == 0
        ours.send(b"x" * 1000)
        for name in ("_fcntl", "_termios"):
            with monkeypatch.context() as without:
                without.setattr(sockets, name, None)
                assert sockets.unacknowledged(ours) == 0


def test_full_segments_are_asked_for_as_long_as_a_file_is_sent(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sender:
        with sockets.full_segments(sender):
            assert sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)
        assert not sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)
        with monkeypatch.context() as without:
            cork = socket.TCP_CORK
            without.delattr(socket, "TCP_CORK")
            with sockets.full_segments(sender):
                assert not sender.getsockopt(socket.IPPROTO_TCP, cork)
        with sockets.full_segments(sender):
            sender.close()  # a client that goes away is no error of ours


@pytest.mark.parametrize(("system", "again"), [("posix", True), ("nt", False)])
def test_a_port_is_taken_again_where_that_takes_it_from_nobody(monkeypatch, system, again):
    with socket.socket() as listener:
        with monkeypatch.context() as there:
            there.setattr(sockets, "os", SimpleNamespace(name=system))
            sockets.take_port_again(listener)
        assert bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)) is again


def test_a_socket_in_a_folder_whose_path_is_long(tmp_path):
    folder = tmp_path / ("long" * 20) / ("path" * 20)
    folder.mkdir(parents=True)
    with sockets.unix_socket() as listener, sockets.unix_socket() as caller:
        with sockets.short_path(folder, "one.sock") as path:
            listener.bind(path)
        listener.listen(1)
        assert stat.S_ISSOCK((folder / "one.sock").stat().st_mode)
        with sockets.short_path(folder, "one.sock") as path:
            caller.connect(path)


def test_no_number_is_left_open(tmp_path):
    before = set(Path("/proc/self/fd").iterdir())
    with sockets.short_path(tmp_path, "one.sock"):
        pass
    sockets.shut_listening([1])
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_sleep_is_what_one_clock_counts_and_another_does_not(monkeypatch):
    before = sleep.seconds_asleep()
    assert sleep.seconds_asleep() - before < 1
    monkeypatch.setattr(sleep, "_WITH_SLEEP", None)  # as on macOS and Windows
    before = sleep.seconds_asleep()
    day = time.time
    monkeypatch.setattr(time, "time", lambda: day() + 3600)
    assert 3599 < sleep.seconds_asleep() - before < 3700
