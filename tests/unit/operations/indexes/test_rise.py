"""What a held torrent gets from a better one, and when a better one is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.errors import VerificationError
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.verified import Verified
from p2pqwen.manifest.manifest import Manifest, parse_manifest
from p2pqwen.operations.indexes.rise import rise
from p2pqwen.torrent.checked import CheckedTorrent, join
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.metainfo_fields import MAX_TRACKERS, MAX_WEB_SEEDS
from p2pqwen.values.snapshot_id import RepoId
from tests.support.publishing import key
from tests.support.snapshots import FILES, hold, make_snapshot, sign_torrent

BETTER = sign_torrent(replace(make_snapshot(), web_seeds=("https://b.example/",)), key("index"), "index")


def unproven(metainfo: Metainfo = BETTER) -> Metainfo:
    """The same torrent as a bare magnet leaves it: its manifest made of the bytes, nobody's signature."""
    assert metainfo.manifest is not None
    known = parse_manifest(metainfo.manifest)
    made = Manifest(known.snapshot, None, known.license, known.files)
    return replace(metainfo, manifest=made.encode(), signatures={}, web_seeds=("https://a.example/",))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(Home(tmp_path))


@pytest.fixture
def held(library: Library, tmp_path: Path) -> HeldSnapshot:
    found = hold(Home(tmp_path), proven=False)
    library.replace_torrent(found.id, CheckedTorrent.of(unproven()))
    return found


def test_it_gets_manifest_and_signatures_and_keeps_seeds(library, held):
    risen = rise(held, held.torrent(), CheckedTorrent.of(BETTER), library).metainfo
    assert risen == held.metainfo()
    assert (risen.manifest, risen.signatures) == (BETTER.manifest, BETTER.signatures)
    assert risen.web_seeds == ("https://b.example/", "https://a.example/")
    assert held.torrent_damage() is None


def test_trackers_are_joined_within_the_limits_of_a_torrent():
    many = tuple((f"http://{number}.example/a",) for number in range(MAX_TRACKERS))
    seeds = tuple(f"https://{number}.example/" for number in range(MAX_WEB_SEEDS))
    other = replace(unproven(), trackers=(*many[:-1], (many[0][0], "udp://x.example:1")), web_seeds=seeds)
    joined = join(replace(BETTER, trackers=(("udp://b.example:1",), many[0])), other)
    assert joined.trackers[:3] == (("udp://b.example:1",), many[0], many[1])
    assert (len(joined.trackers), len(joined.web_seeds)) == (MAX_TRACKERS, MAX_WEB_SEEDS)
    assert joined.web_seeds[0] == "https://b.example/"


def test_signatures_of_another_manifest_are_left_behind():
    stranger = sign_torrent(unproven(), key("stranger"), "stranger")
    assert join(BETTER, stranger).signatures == BETTER.signatures
    both = join(BETTER, sign_torrent(replace(BETTER, signatures={}), key("other"), "other"))
    assert both.signatures.keys() == {"index", "other"}


def other_infohash() -> Metainfo:
    """A torrent named after the same commit, of other bytes."""
    other = make_snapshot({**FILES, "config.json": b"{} "})
    info = other.info.replace(other.name.encode(), BETTER.name.encode())
    return Metainfo(info, other.piece_layers)


def of_another_repository() -> Metainfo:
    assert BETTER.manifest is not None
    known = parse_manifest(BETTER.manifest)
    evil = Manifest(replace(known.snapshot, repo=RepoId("Evil/Tiny")), None, None, known.files)
    return replace(BETTER, manifest=evil.encode(), signatures={})


def of_other_rows() -> Metainfo:
    assert BETTER.manifest is not None
    known = parse_manifest(BETTER.manifest)
    wrong = tuple(replace(row, sha256=known.files[-1].sha256) if not row.lfs else row for row in known.files)
    return replace(BETTER, manifest=Manifest(known.snapshot, None, None, wrong).encode(), signatures={})


@pytest.mark.parametrize(
    ("better", "problem"),
    [
        (other_infohash, "not the same torrent"),
        (of_another_repository, "another snapshot"),
        (lambda: replace(BETTER, manifest=None, signatures={}), "another snapshot"),
        (of_other_rows, "not what the listed manifest says"),
    ],
)
def test_what_is_not_of_these_bytes_is_refused(library, held, better, problem):
    before = held.torrent_path.read_bytes()
    with pytest.raises(VerificationError, match=problem):
        rise(held, held.torrent(), CheckedTorrent.of(better()), library)
    assert held.torrent_path.read_bytes() == before


def test_a_manifest_that_says_otherwise_is_right_where_the_bytes_are(library, held):
    """The old manifest was made up by whoever gave the torrent; the bytes are read again, and decide."""
    library.replace_torrent(held.id, CheckedTorrent.of(of_other_rows()))
    assert rise(held, held.torrent(), CheckedTorrent.of(BETTER), library).metainfo.manifest == BETTER.manifest


@pytest.mark.parametrize("write", ["begin", "finish", "replace_torrent"])
@pytest.mark.parametrize("worse", [other_infohash, unproven])
def test_the_library_itself_lets_no_worse_torrent_in(library, held, write, worse):
    """Whoever calls it: another infohash, or the loss of a proof, is refused where torrents are written."""
    rise(held, held.torrent(), CheckedTorrent.of(BETTER), library)
    before = {path: path.read_bytes() for path in library.root.rglob("*") if path.is_file()}
    more = {"replace_torrent": (), "begin": (None,), "finish": (None, Verified(worse().infohash.v2, {}))}
    arguments = (held.id, CheckedTorrent.of(worse()), *more[write])
    known = library.verified.of(held.id)
    with pytest.raises(VerificationError, match="which is kept"):
        getattr(library, write)(*arguments)
    assert {path: path.read_bytes() for path in library.root.rglob("*") if path.is_file()} == before
    assert library.verified.of(held.id) == known
