"""What is taken out of a published site: what was withdrawn, and no file that the index names."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.index.entry import entry_magnet, row_order
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.operations.publish.site import complete_site, remove_withdrawn
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from tests.support.publishing import Rules, chain, make_document, make_entry, withdrawal

COMMIT = CommitId.parse("a1" * 20)
LISTED, GONE = (SnapshotId(RepoId(repo), COMMIT) for repo in ("Qwen/Tiny", "qwen/tiny"))


def write(out: Path, snapshot: SnapshotId, content: bytes) -> Path:
    path = out / str(snapshot.repo) / f"{snapshot.commit}.torrent"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("case", [True, False], ids=["with case", "without case"])
def test_a_listed_torrent_stays_where_names_differ_in_case_alone(tmp_path, case):
    """A link stands for a file system without case: both names lead to one file."""
    entry = make_entry(1, id=LISTED)
    listed = write(tmp_path, LISTED, b"listed")
    gone = tmp_path / str(GONE.repo) / f"{COMMIT}.torrent"
    if case:
        write(tmp_path, GONE, b"gone")
    else:
        gone.parent.parent.mkdir()
        gone.parent.symlink_to(listed.parent, target_is_directory=True)
    roots = chain(Rules())
    document = make_document(roots, entries=[entry], withdrawn=(withdrawal(make_entry(2, id=GONE), "a mistake"),))
    remove_withdrawn(tmp_path, document)
    assert listed.read_bytes() == b"listed"
    assert gone.exists() is not case


KILLED = """
import os, signal, sys
from pathlib import Path
from p2pqwen.library import durable

def given():
    for one in sys.argv[2:]:
        yield Path(one), b"half"
    os.kill(os.getpid(), signal.SIGKILL)

durable.write_many(Path(sys.argv[1]), given(), mode=durable.SHARED)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_what_a_killed_publishing_left_goes_with_the_next_and_nothing_of_the_users(tmp_path):
    out, keys = tmp_path / "site", KeyStore(Home(tmp_path / "home"))
    entries = [make_entry(number, f"Qwen/Tiny-{number // 2}") for number in range(4)]
    for one in entries:
        keys.write_torrent(one.torrent, b"whole")
    stood = out / entries[1].torrent  # what stands already stays as it is
    durable.write(stood, b"stood", mode=durable.SHARED)
    commit = str(entries[0].id.commit)
    theirs = [
        stood.with_name(name)
        for name in (
            "notes.tmp",
            f".{commit}.torrent.tmp",
            f".{commit}.torrent.1-abc.tmp",
            f"{commit}.torrent.1-0123abcd.tmp",
            ".notes.1-0123abcd.tmp",
            f".{commit}.torrent.1-0123abcd.tmp.bak",
        )
    ]
    for path in theirs:
        path.write_bytes(b"of the user")
    paths = [str(out / one.torrent) for one in (entries[0], *entries[2:])]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out), *paths], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = {path for path in out.rglob("*.tmp") if path not in theirs}
    assert len(left) == 3

    complete_site(keys, out, make_document(chain(Rules()), entries=entries))
    listed = {out / one.torrent for one in entries}
    assert {path for path in out.rglob("*") if path.is_file()} == listed | set(theirs)
    assert all(path.read_bytes() == (b"stood" if path == stood else b"whole") for path in listed)
    assert all(path.read_bytes() == b"of the user" for path in theirs)


def test_a_folder_is_tidied_once_though_a_dataset_has_a_models_name(tmp_path):
    """Their entries stand between one another's: what is being written is no leftover."""
    out, keys = tmp_path / "site", KeyStore(Home(tmp_path / "home"))
    ordered = sorted((make_entry(number, "Qwen/Same") for number in range(3)), key=row_order)
    entries = []
    for entry, kind in zip(ordered, (RepoKind.MODEL, RepoKind.DATASET, RepoKind.MODEL), strict=True):
        snapshot = SnapshotId(RepoId("Qwen/Same", kind), entry.id.commit)
        magnet = entry_magnet(snapshot, entry.infohash, entry.size, web_seeds=entry.web_seeds, trackers=(), mirrors=())
        entries.append(replace(entry, id=snapshot, magnet=magnet))
        keys.write_torrent(entries[-1].torrent, b"whole")
    complete_site(keys, out, make_document(chain(Rules()), entries=entries))
    assert {path for path in out.rglob("*") if path.is_file()} == {out / one.torrent for one in entries}
