"""The same bytes are read once while they are among the last few; others are always read."""

from __future__ import annotations

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.library import torrent_reader
from p2pqwen.library.torrent_reader import TorrentReader
from p2pqwen.torrent.checked import CheckedTorrent
from tests.support.publishing import key
from tests.support.snapshots import make_snapshot, sign_torrent

SIGNED = sign_torrent(make_snapshot(), key("index"), "index")
KEYS = {key("index").public.keyid: key("index").public}
MANY = [make_snapshot({"config.json": b"%d" % number}).encode() for number in range(3)]


@pytest.fixture
def parsed(monkeypatch) -> list[bytes]:
    """The torrents that were parsed."""
    seen: list[bytes] = []
    real = torrent_reader.parse_metainfo
    monkeypatch.setattr(torrent_reader, "parse_metainfo", lambda data: (seen.append(data), real(data))[1])
    return seen


def test_what_was_read_is_checked_without_being_read_again(parsed):
    reader, data = TorrentReader(), SIGNED.encode()
    assert reader.metainfo(data) == SIGNED
    assert reader.torrent(data) == CheckedTorrent.of(SIGNED)
    assert reader.torrent(data, KEYS).signers(KEYS)[0].state == "valid"
    assert reader.torrent(data).signers(KEYS)[0].state == "valid"  # what was tried stays tried
    assert reader.metainfo(data) == SIGNED
    assert parsed == [data]


def test_what_was_written_is_known(parsed):
    reader, torrent = TorrentReader(), CheckedTorrent.of(SIGNED)
    reader.remember(SIGNED.encode(), torrent)
    assert reader.torrent(SIGNED.encode()) is torrent
    assert parsed == []


def test_one_byte_more_is_another_torrent(parsed):
    reader = TorrentReader()
    reader.metainfo(MANY[0])
    for _ in range(2):
        with pytest.raises(FormatError):
            reader.torrent(MANY[0] + b"e")
    assert len(parsed) == 3  # what was refused is refused again


def test_only_the_last_few_are_kept(parsed):
    reader = TorrentReader(kept=2, kept_bytes=0)
    for data in (*MANY, MANY[2], MANY[1], MANY[0]):
        reader.torrent(data)
    assert parsed == [*MANY, MANY[0]]


def test_more_are_kept_while_they_are_small(parsed):
    reader = TorrentReader(kept=1, kept_bytes=len(MANY[1]) + len(MANY[2]))
    for data in (*MANY, *MANY[1:], *MANY[1:]):
        reader.metainfo(data)
        reader.torrent(data)
    assert parsed == MANY
    reader.torrent(MANY[0])
    reader.torrent(MANY[2])
    assert parsed == [*MANY, MANY[0]]
