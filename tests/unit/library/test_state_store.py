"""The state store: transactions, several processes' worth of writers, and damage that never passes for state."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library import state_store
from p2pqwen.library.state_store import Followed, StateStore
from tests.support.processes import ROOT

DOCUMENTS = {
    f"choice/Qwen/Model-{number}@{'ab' * 20}": {"paused": number % 2 == 0, "n": number} for number in range(40)
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "state.sqlite"


def filled(path):
    with StateStore(path) as store:
        store.update_all({name: lambda _, value=value: value for name, value in DOCUMENTS.items()})


def test_documents_come_back_and_survive_a_restart(path):
    filled(path)
    with StateStore(path) as store:
        assert store.items("choice/") == {name.removeprefix("choice/"): value for name, value in DOCUMENTS.items()}
        assert store.get("nothing") is None
        store.delete("nothing")
        store.put("month/2026-11", {"uploaded": 7})
        store.put("month/2026-11", {"uploaded": 8})
        assert store.get("month/2026-11") == {"uploaded": 8}
        store.delete("month/2026-11")
    with StateStore(path, pytest.fail) as store:
        assert store.items("month/") == {}


@pytest.mark.parametrize("left_over", [False, True], ids=["new", "over an empty one"])
def test_a_full_disk_on_which_sqlite_writes_nothing_is_a_disk_error(path, monkeypatch, left_over):
    if left_over:
        path.parent.mkdir()
        path.write_bytes(b"")
    monkeypatch.setattr(state_store, "_connect", lambda _: sqlite3.connect(":memory:", isolation_level=None))
    with pytest.raises(DiskError, match="full") as refused:
        StateStore(path).put("month/2026-11", {"uploaded": 7})
    assert "free some space" in (refused.value.hint or "")
    monkeypatch.undo()
    filled(path)  # nothing of that stands in the way
    with StateStore(path) as store:
        assert len(store.items("choice/")) == len(DOCUMENTS)


def test_counting_from_many_threads_and_connections_loses_nothing(path):
    StateStore(path).close()

    def count():
        with StateStore(path) as store:
            for _ in range(25):
                store.update("counter", lambda before: (before or 0) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with StateStore(path) as store:
        assert store.get("counter") == 100


def test_a_change_that_fails_changes_nothing(path):
    filled(path)
    with StateStore(path, pytest.fail) as store:
        name = next(iter(DOCUMENTS))
        with pytest.raises(RuntimeError):
            store.update(name, lambda _: (_ for _ in ()).throw(RuntimeError))
        assert store.get(name) == DOCUMENTS[name]
    StateStore(path, pytest.fail).close()


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_is_found_or_has_no_effect(path, seed):
    filled(path)
    dice = random.Random(seed)
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    said = []
    with StateStore(path, said.append) as store:
        now = {f"choice/{name}": value for name, value in store.items("choice/").items()}
    assert now == DOCUMENTS or said
    assert all(DOCUMENTS[name] == value for name, value in now.items())
    if said:
        assert (path.parent / "state.sqlite.damaged").exists()
        StateStore(path, pytest.fail).close()  # mended for good


@pytest.mark.parametrize("spoil", [b"", b"not a database at all", b"SQLite format 3\0" + bytes(5000)])
def test_something_else_in_its_place_costs_the_state_and_nothing_more(path, spoil):
    filled(path)
    with StateStore(path) as store:
        store.put("scrub/one", {"read": []})
    path.write_bytes(spoil)
    said = []
    with StateStore(path, said.append) as store:
        assert said
        assert store.items("scrub/") == {}
        assert {f"choice/{name}": value for name, value in store.items("choice/").items()} == DOCUMENTS
        store.put("a", 1)
    with StateStore(path, pytest.fail) as store:
        assert store.get("a") == 1


def test_a_row_put_in_by_hand_is_not_believed(path):
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM documents WHERE name LIKE '%Model-7@%'")
    connection.close()
    said = []
    with StateStore(path, said.append) as store:
        assert len(store.items("choice/")) == len(DOCUMENTS), "what the user said stands in choices.json as well"
    assert "damaged" in said[0].text


CHOSEN = {
    "limits": {"upload": 5, "download": 0, "monthly_upload": 10**9, "hours": ["23:00-07:00"]},
    "steward": {"node": "ab" * 8, "budget": 10**12},
    "choice/Qwen/Tiny@" + "ab" * 20: {"paused": False, "priority": "high", "pinned": True},
    "month/2026-11": {"uploaded": 7, "downloaded": 1},
    "month/2026-10": {"uploaded": 9, "downloaded": 9},
}


def chosen(path):
    with StateStore(path) as store:
        store.put("scrub/Qwen/Tiny", {"read": []})
        store.put("month/2026-09", {"uploaded": 1})
        for name, value in CHOSEN.items():
            store.put(name, value)


def drop(path):
    for one in path.parent.glob("state.sqlite*"):
        one.unlink()


def test_100_what_the_user_said_survives_the_database_and_that_is_told_once(path):
    chosen(path)
    drop(path)
    said = []
    with StateStore(path, said.append) as store:
        assert {name: store.get(name) for name in CHOSEN} == CHOSEN
        assert store.get("scrub/Qwen/Tiny") is None
        assert store.get("month/2026-09") is None
    (notice,) = said
    assert notice.level == "warning"
    assert "was missing and is new" in notice.text
    assert "1 snapshot" in notice.text
    StateStore(path, pytest.fail).close()


def test_100_what_was_taken_back_stays_taken_back(path):
    chosen(path)
    with StateStore(path) as store:
        store.delete("choice/Qwen/Tiny@" + "ab" * 20)
        store.update_all({"limits": lambda _: {"upload": 1}, "scrub/x": lambda _: 1})
    drop(path)
    with StateStore(path) as store:
        assert store.items("choice/") == {}
        assert store.get("limits") == {"upload": 1}


def test_100_a_database_of_an_older_version_is_kept_beside_at_the_first_start(path):
    chosen(path)
    (path.parent / "choices.json").unlink()
    StateStore(path, pytest.fail).close()
    drop(path)
    with StateStore(path) as store:
        assert {name: store.get(name) for name in CHOSEN} == CHOSEN


def test_a_home_that_never_had_one_is_told_nothing(path):
    StateStore(path, pytest.fail).close()
    StateStore(path, pytest.fail).close()


def test_a_change_that_cannot_be_kept_is_not_made(path, monkeypatch):
    chosen(path)

    def full(*_, **__):
        raise DiskError("no space left")

    monkeypatch.setattr("p2pqwen.library.state_store.write", full)
    with StateStore(path, pytest.fail) as store:
        with pytest.raises(DiskError):
            store.put("limits", {"upload": 6})
        assert store.get("limits") == CHOSEN["limits"]


@pytest.mark.parametrize("spoil", [b"", b"{}", b'{"documents": {}, "check": "0"}'])
def test_a_kept_file_that_is_damaged_is_told_and_not_believed(path, spoil):
    chosen(path)
    drop(path)
    (path.parent / "choices.json").write_bytes(spoil)
    said = []
    with StateStore(path, said.append) as store:
        assert store.items("choice/") == {}
    assert "damaged" in said[0].text


@pytest.mark.parametrize("gone", ["state.sqlite", "state.sqlite*"])
def test_114_a_database_deleted_under_a_node_costs_it_nothing_that_was_said(path, gone):
    said = []
    with StateStore(path, said.append) as node:
        node.put("choice/a", {"pinned": True})
        node.put("month/2026-11", {"uploaded": 1})
        for one in path.parent.glob(gone):
            one.unlink()
        with StateStore(path) as command:
            assert command.get("choice/a") == {"pinned": True}
            command.put("choice/b", {"pinned": True})
        assert node.get("choice/b") == {"pinned": True}
        node.update("month/2026-11", lambda month: {"uploaded": month["uploaded"] + 1})
        with StateStore(path, pytest.fail) as command:
            assert command.get("month/2026-11") == {"uploaded": 2}
        for one in path.parent.glob(gone):
            one.unlink()
        node.put("choice/c", {"pinned": True})  # nobody but the node makes it anew, and says so
    assert "was missing and is new" in said[-1].text
    with StateStore(path, pytest.fail) as after:
        assert after.items("choice/").keys() == {"a", "b", "c"}
        assert after.get("month/2026-11") == {"uploaded": 2}


def test_114_a_folder_in_its_place_is_an_error_until_it_goes(path):
    with StateStore(path) as node:
        node.put("choice/a", 1)
        drop(path)
        path.mkdir()
        for _ in range(2):
            with pytest.raises(DiskError):
                node.put("choice/b", 2)
        path.rmdir()
        node.put("choice/b", 2)
        assert node.items("choice/") == {"a": 1, "b": 2}


_OPEN_AND_COUNT = """
import sys
from pathlib import Path
from p2pqwen.library.state_store import StateStore

def fail(event):
    sys.exit(f"reported: {event.text}")

sys.stdin.readline()
with StateStore(Path(sys.argv[1]), fail) as store:
    store.update("counter", lambda before: (before or 0) + 1)
"""


def at_once(path, count):
    """Start so many processes, let them all go in one moment, and return how each ended."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN_AND_COUNT, str(path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(count)
    ]
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [(one.communicate()[1], one.returncode) for one in started]


@pytest.mark.parametrize("again", range(4))
def test_processes_that_start_at_once_in_a_new_home_lose_nothing(path, again):
    assert at_once(path, 6) == [("", 0)] * 6
    with StateStore(path, pytest.fail) as store:
        assert store.get("counter") == 6
    assert not list(path.parent.glob("*damaged*"))


def test_a_database_whose_making_was_cut_off_is_no_damage(path):
    path.parent.mkdir()
    path.with_name(".state.sqlite.new").write_bytes(b"half of it")
    StateStore(path, pytest.fail).close()
    assert sorted(one.name for one in path.parent.iterdir() if one.is_file()) == ["choices.json", "state.sqlite"]


def test_nobody_takes_a_damaged_database_away_from_who_uses_it(path):
    filled(path)
    other = StateStore(path)
    path.write_bytes(b"not a database at all")
    with pytest.raises(DiskError, match="another process uses it"):
        StateStore(path, pytest.fail)
    assert path.read_bytes() == b"not a database at all"
    other.close()
    said = []
    StateStore(path, said.append).close()
    assert "damaged" in said[0].text


OTHER = """
import sys
from pathlib import Path
from p2pqwen.library.state_store import StateStore
store = StateStore(Path(sys.argv[1]))
store.update("other", lambda _: {"is": "here"})
store.close()
"""


def test_a_second_connection_of_one_process_leaves_the_first_its_locks(tmp_path):
    """Without them another process that closes the database takes itself for the last, and drops the log in use."""
    path = tmp_path / "state.sqlite"
    first = StateStore(path)
    first.update("mine", lambda _: {"number": 0})
    for number in range(1, 4):
        second = StateStore(path)
        second.update("second", lambda _, number=number: {"number": number})
        second.close()
        subprocess.run([sys.executable, "-c", OTHER, str(path)], check=True)
        first.update("mine", lambda _, number=number: {"number": number})
    assert first.get("mine") == {"number": 3}
    assert first.get("second") == {"number": 3}
    assert first.get("other") == {"is": "here"}
    first.close()
    assert not path.with_name("state.sqlite.damaged").exists()


def test_what_is_followed_is_read_again_where_anybody_has_changed_the_store(path):
    reads = []
    with StateStore(path) as store, StateStore(path) as other:

        def read() -> dict[str, int]:
            reads.append(1)
            return store.items("choice/")

        choices = Followed(store, read)
        assert choices.now() is choices.now()
        for number, writer in enumerate((store, other, store)):
            writer.put("choice/a", number)
            assert choices.now() == choices.now() == {"a": number}
        assert len(reads) == 4
        path.unlink()  # and another stands in its place
        filled(path)
        assert len(choices.now()) == len(DOCUMENTS) + 1, "what was chosen is kept beside it"
