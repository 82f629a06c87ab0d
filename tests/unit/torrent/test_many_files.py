"""Torrents and manifests of 100,000 files: read at a cost that their size explains."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.manifest.manifest import FileRow, Manifest, parse_manifest
from p2pqwen.torrent import bencode
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.digest import CommitId, GitOid, Sha256
from p2pqwen.values.repo_path import MAX_FILES, RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow

PIECE = 262_144
EMPTY = b"6:%06dd0:d6:lengthi0eee"
MEGABYTES = 250
"""That a program may take that reads one; 745 before, of which 40 are Python's own."""
READ = r"""
import re, sys
from pathlib import Path
from p2pqwen.{module} import {name}
files = len({name}(Path(sys.argv[1]).read_bytes()).files)
print(files, int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def names(count: int) -> list[tuple[str, str]]:
    return [(f"d{number // 1000:04}", f"file-{number:06}.bin") for number in range(count)]


@cache
def torrent(count: int = MAX_FILES) -> bytes:
    """A hybrid torrent of so many files, by recipe 1."""
    tree: dict[bytes, bencode.Bencoded] = {}
    files: list[bencode.Bencoded] = []
    for number, (folder, name) in enumerate(names(count)):
        size = 100 + number % 7
        leaf = {b"length": size, b"pieces root": hashlib.sha256(name.encode()).digest()}
        below = tree.setdefault(folder.encode(), {})
        assert isinstance(below, dict)
        below[name.encode()] = {b"": leaf}
        files.append({b"length": size, b"path": [folder.encode(), name.encode()]})
        if number < count - 1:
            pad = PIECE - size
            files.append({b"attr": b"p", b"length": pad, b"path": [b".pad", b"%d" % pad]})
    info = {
        b"file tree": tree,
        b"files": files,
        b"meta version": 2,
        b"name": b"ab" * 20,
        b"piece length": PIECE,
        b"pieces": bytes(20 * count),
    }
    return bencode.encode({b"info": info, b"piece layers": {}})


@cache
def manifest() -> bytes:
    rows = []
    for folder, name in names(MAX_FILES):
        oid = GitOid(hashlib.sha1(name.encode()).digest())
        rows.append(FileRow(RepoPath(f"{folder}/{name}"), 100, Sha256.of(name.encode()), oid, lfs=False))
    snapshot = SnapshotId(RepoId("Qwen/Tiny"), CommitId(bytes(20)))
    return Manifest(snapshot, None, None, tuple(rows)).encode()


@pytest.mark.parametrize(
    ("module", "name", "made"),
    [("torrent.metainfo", "parse_metainfo", torrent), ("manifest.manifest", "parse_manifest", manifest)],
    ids=["torrent", "manifest"],
)
def test_99_a_hundred_thousand_files_are_read_in_little_memory(tmp_path: Path, module, name, made):
    path = tmp_path / "large"
    path.write_bytes(made())
    code = READ.format(module=module, name=name)
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, check=True, timeout=120
    )
    files, megabytes = map(int, done.stdout.split())
    assert files == MAX_FILES
    assert megabytes < MEGABYTES


def test_99_the_lists_of_a_torrent_are_not_taken_apart(monkeypatch):
    """What costs time is a value at a time: of 1,500,000 in this torrent a dozen are read as such."""
    taken = 0
    value = bencode.Cursor.value

    def counted(self: bencode.Cursor, depth: int) -> bencode.Bencoded:
        nonlocal taken
        taken += 1
        return value(self, depth)

    monkeypatch.setattr(bencode.Cursor, "value", counted)
    assert len(parse_metainfo(torrent(5000)).files) == 5000
    assert taken < 20


def odd(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


def test_a_torrent_whose_piece_length_stands_elsewhere_is_read_all_the_same():
    """A key of its own stands before `pieces`: no guess helps, and the list is compared in the end."""
    data = odd(torrent(5000), b"i262144e6:pieces", b"i262144e13:piece lengthxi0e6:pieces")
    metainfo = parse_metainfo(data)
    assert (len(metainfo.files), metainfo.parsed_info.other_keys) == (5000, ("'piece lengthx'",))
    assert metainfo.encode() == data


def last_row(data: bytes) -> bytes:
    at = data.rindex(b"15:file-004999.bin")
    return data[:at] + data[at:].replace(b"file-004999", b"file-004998", 1)


def one_more_row(data: bytes) -> bytes:
    at = data.index(b"12:meta version") - 1
    return data[:at] + b"le" + data[at:]


@pytest.mark.parametrize(
    ("change", "problem"),
    [(last_row, "row 9998 of the v1 file list differs"), (one_more_row, "expected 9999 rows, got 10000")],
)
def test_a_v1_list_that_differs_at_its_end_is_refused(change, problem):
    with pytest.raises(FormatError, match=problem):
        parse_metainfo(change(torrent(5000)))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"d4:infod9:file tree" + b"d1:a" * 1_000_000, "nested too deep"),
        (b"d4:infod9:file treed1:ad0:d6:lengthi0eeee5:filesl" + b"de" * 1_000_000, "at most 200000 rows"),
        (b"d1:al" + b"le" * 1_000_000 + b"ee", "too many values"),
        (
            b"d4:infod9:file treed" + b"".join(b"6:%06dd0:d6:lengthi0eee" % n for n in range(MAX_FILES + 1)),
            "too many files",
        ),
    ],
    ids=["deep", "rows", "values", "files"],
)
def test_99_a_bound_is_met_before_the_cost_is_paid(data, problem):
    with pytest.raises(FormatError, match=problem):
        parse_metainfo(data)


def test_99_a_manifest_of_more_files_is_refused():
    rows = [
        {"git_oid": "0" * 40, "lfs": False, "mode": "100644", "path": f"{n:06}", "sha256": "0" * 64, "size": 0}
        for n in range(MAX_FILES + 1)
    ]
    document = {"commit": "0" * 40, "commit_object": None, "files": rows, "license": None, "repo": "Qwen/Tiny"}
    document |= {"repo_type": "model", "spec": 1, "type": "manifest"}
    data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    with pytest.raises(FormatError, match="too many files"):
        parse_manifest(data)
    with pytest.raises(FormatError, match="too many values"):
        parse_manifest(data.replace(b'"000000"', b'"' + b"," * 2_000_000 + b'"', 1))
