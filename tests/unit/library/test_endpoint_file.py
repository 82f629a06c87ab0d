"""Where the Hub endpoint answers: whoever looks sees the address of the one that runs, or that none does."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library import durable, endpoint_file
from p2pqwen.library.home import Home

OLD, NEW = "http://127.0.0.1:1", "http://127.0.0.1:2"


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_it_is_named_while_it_runs(home):
    assert endpoint_file.running(home) is None
    assert not home.locks.exists()  # who looks writes nothing where there never was one
    with endpoint_file.named(home, NEW):
        assert endpoint_file.running(home) == NEW
        with endpoint_file.named(home, OLD):
            assert endpoint_file.running(home) == NEW
        assert endpoint_file.running(home) == NEW
    assert endpoint_file.running(home) is None
    assert not home.hub_endpoint.exists()


def test_what_one_that_was_killed_left_is_never_believed(home, monkeypatch):
    """Not even between the next one's lock and its file."""
    with endpoint_file.named(home, NEW):
        pass
    durable.write(home.hub_endpoint, json.dumps({"url": OLD}).encode())
    assert endpoint_file.running(home) is None
    real, seen, lookers = durable.write, [], []

    def slowly(path, *arguments, **options):
        looker = threading.Thread(target=lambda: seen.append(endpoint_file.running(home)))
        looker.start()
        lookers.append(looker)
        looker.join(0.2)  # it has had its time to see something in between
        return real(path, *arguments, **options)

    monkeypatch.setattr(durable, "write", slowly)
    with endpoint_file.named(home, NEW):
        for one in lookers:
            one.join()
        assert seen == [NEW]


def test_one_that_cannot_be_named_leaves_no_lock(home, monkeypatch):
    def full(*_arguments, **_options):
        raise DiskError("full")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "write", full)
        with pytest.raises(DiskError), endpoint_file.named(home, OLD):
            pytest.fail("it is not entered")
    with endpoint_file.named(home, NEW):
        assert endpoint_file.running(home) == NEW


def test_who_looks_is_in_nobodys_way(home):
    """Each `run` looks; the node that starts just then is named all the same."""
    with endpoint_file.named(home, OLD):
        pass
    over = threading.Event()

    def look():
        while not over.is_set():
            endpoint_file.running(home)
            durable.is_locked(home.locks / "hub.lock")  # as `status` looks at the node's

    with ExitStack() as stack:
        stack.callback(over.set)
        lookers = [threading.Thread(target=look) for _ in range(3)]
        for one in lookers:
            one.start()
            stack.callback(one.join)
            stack.callback(over.set)
        for number in range(50):
            url = f"http://127.0.0.1:{number}"
            with endpoint_file.named(home, url):
                assert endpoint_file.running(home) == url
