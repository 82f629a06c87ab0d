"""What is named and is no file: said at once, whatever it is, and a pipe is not waited for."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.errors import DiskError
from p2pqwen.library import durable
from p2pqwen.library.hashing import hash_file
from p2pqwen.mirrors.reading import read_now
from p2pqwen.portable.files import open_plain, open_plain_raw
from p2pqwen.values.named_hosts import NamedHosts

KINDS = {"pipe": "a pipe, not a file", "socket": "a socket, not a file", "device": "a device, not a file", "folder": ""}
READERS = {
    "durable.read": lambda path: durable.read(path, max_bytes=100),
    "durable.read_pieces": lambda path: list(durable.read_pieces(path)),
    "mirrors.read": lambda path: read_now(str(path), max_bytes=100, named=NamedHosts()),
    "hash_file": lambda path: hash_file(path, piece_length=1 << 18, padded=False),
}


@pytest.fixture(params=KINDS)
def named(request, tmp_path, monkeypatch):
    """Something that is no file, and what is to be said of it."""
    path = tmp_path / "named"
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "socket":
            monkeypatch.chdir(tmp_path)  # their paths are short
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    return path, KINDS[request.param]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_172_it_is_refused(named, read):
    path, said = named
    with pytest.raises(DiskError) as refused:
        read(path)
    assert str(path) in refused.value.message
    assert said in f"{refused.value.message}"


@pytest.mark.parametrize("opened", [open_plain, open_plain_raw])
def test_172_a_file_opens_through_links_and_one_that_grows_is_read_to_its_end(tmp_path, opened):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with opened(tmp_path / "link") as file:
        assert file.read(3) == b"con"
        with (tmp_path / "file").open("ab") as more:
            more.write(b" and more")
        assert file.read() == b"tent and more"


def test_172_a_pipe_that_takes_the_files_place_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"")
    before = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: before)
    with pytest.raises(OSError, match="a pipe, not a file"):
        open_plain(path)


OWN = {
    "cli/completion.py",  # the user's ~/.bashrc, which a shell reads
    "hub/cache.py",  # after `is_file`
    "hub/cache_refs.py",  # after `is_file`
    "library/bundles.py",  # after `is_file`
    "library/follow_child.py",  # a download of ours, which grows
    "library/idle.py",  # of the system, as the next ones
    "library/spare_cores.py",
    "portable/disk_counts.py",
    "portable/files.py",
    "portable/process.py",
    "server/address.py",  # of the home, as the next ones
    "operations/control/daemon.py",
    "library/durable.py",  # a lock
    "library/index_source.py",  # a link of ours to what `plain_file` looked at
    "library/moving.py",  # what it wrote, and a torrent of the library
    "operations/indexes/mirror_index.py",  # after `plain_file`
    "operations/preserve/early_license.py",  # what was downloaded
    "operations/preserve/from_folder.py",  # after `is_file`, as the next ones
    "operations/preserve/origins.py",
    "operations/publish/publish.py",
    "operations/publish/site_pages.py",
}


def test_no_other_module_opens_what_it_did_not_make():
    """`open_plain` is the place for it; what is among `OWN` opens files of ours, of the system, or checked before."""
    package, opens = Path(p2pqwen.__file__).parent, re.compile(r'\.open\("rb|\.read_bytes\(\)|\.read_text\((?!kind)')
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in {"demo", "catalogue"}
        and any(
            opens.search(line) and "resources" not in line and "folder / name" not in line and "topic" not in line
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    }
    assert found <= OWN, found - OWN


@pytest.mark.parametrize("content", [b"", b"a token\n"])
def test_a_pipe_that_a_shell_makes_for_a_secret_is_read(content):
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
    finally:
        os.close(writing)
    try:
        assert durable.read(Path(f"/dev/fd/{reading}"), max_bytes=100, pipe=True) == content
    finally:
        os.close(reading)


def test_a_pipe_without_a_writer_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert durable.read(tmp_path / "pipe", max_bytes=100, pipe=True) == b""
