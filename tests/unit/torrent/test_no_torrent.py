"""What somebody took for a .torrent is named for what it is."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.torrent.metainfo import parse_metainfo, read_metainfo
from p2pqwen.torrent.no_torrent import require_bencoded


@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        (gzip.compress(b"d4:infod", mtime=0), "a file packed with gzip, not a .torrent", "gunzip"),
        (b"PK\x03\x04" + bytes(40), "a zip archive", "unpack"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html><title>x</title>", "a web page", "download"),
        (b"<HTML>", "a web page", "download"),
        (b"magnet:?xt=urn:btih:" + b"ab" * 20, "a text with a magnet link", "in quotes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a git LFS pointer", "download"),
        (b'{"roots": []}', "a JSON document", "index show"),
        (b"", "an empty file", None),
        (b" \n", "an empty file", None),
    ],
)
@pytest.mark.parametrize("read", [parse_metainfo, read_metainfo])
def test_what_is_no_torrent_is_named(data, said, hint, read):
    with pytest.raises(FormatError) as caught:
        read(data)
    assert said in caught.value.message
    assert caught.value.hint is None if hint is None else hint in str(caught.value.hint)


@given(st.binary(max_size=40))
def test_a_dictionary_is_never_taken_for_something_else(rest):
    require_bencoded(b"d" + rest)
