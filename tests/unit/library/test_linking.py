from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library import linking
from p2pqwen.library.linking import Placement, place, place_linked, shares_blocks
from p2pqwen.portable import files


def test_places_the_bytes_without_copying_where_the_disk_allows(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100_000)
    how = place(source, tmp_path / "a" / "target", allow_hard_link=True)
    assert (tmp_path / "a" / "target").read_bytes() == source.read_bytes()
    assert how in {Placement.REFLINK, Placement.HARD_LINK}
    if how is Placement.HARD_LINK:
        assert source.stat().st_ino == (tmp_path / "a" / "target").stat().st_ino


def test_follows_a_link_to_its_bytes(tmp_path):
    (tmp_path / "blob").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("blob")
    place(tmp_path / "link", tmp_path / "target")
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"bytes"


def test_copies_where_links_are_refused(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(linking, "clone", lambda *_: False)
    (tmp_path / "source").write_bytes(b"bytes")
    assert place_linked(tmp_path / "source", tmp_path / "target") is Placement.COPY
    assert (tmp_path / "target").stat().st_ino != (tmp_path / "source").stat().st_ino


def test_a_hard_link_is_made_only_where_it_is_asked_for(tmp_path):
    (tmp_path / "source").write_bytes(b"bytes")
    assert place(tmp_path / "source", tmp_path / "target") is not Placement.HARD_LINK
    (tmp_path / "target").write_bytes(b"other")
    assert (tmp_path / "source").read_bytes() == b"bytes"


def test_never_overwrites(tmp_path):
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(DiskError):
        place(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"old"


@pytest.mark.parametrize("answer", [None, errno.EOPNOTSUPP])
def test_asking_for_shared_blocks_puts_no_name_into_the_folder(tmp_path, monkeypatch, answer):
    """One that is killed meanwhile would leave it beside the payload, for ever."""
    seen = []

    def ioctl(*_: object) -> None:
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        if answer is not None:
            raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(files, "_fcntl", SimpleNamespace(ioctl=ioctl))
    monkeypatch.setattr(files, "_without_clones", set())
    (tmp_path / "source").write_bytes(b"bytes")
    assert shares_blocks(tmp_path / "source", tmp_path / "not yet") is (answer is None)
    assert seen == [["source"]]
