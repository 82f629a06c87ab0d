"""What comes from the network is judged while it comes, and is the same to whoever reads it later."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.library import index_source
from p2pqwen.library.index_source import FileSource, Spool, bytes_of, digest_of, pieces_of, size_of
from p2pqwen.values.digest import Sha256


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_source, "_IN_MEMORY", 5000)
    monkeypatch.setattr(index_source, "_PIECE", 777)


@pytest.mark.parametrize("count", [0, 1, 3, 40, 400])
def test_who_follows_reads_all_of_it(tmp_path: Path, count):
    dice = random.Random(count)
    pieces = [dice.randbytes(dice.randrange(1, 300)) for _ in range(count)]
    spool = Spool(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(lambda: b"".join(spool.following())) for _ in range(2)]
        for piece in pieces:
            spool.take(piece)
        spool.end()
        whole = b"".join(pieces)
        assert [reader.result(60) for reader in readers] == [whole, whole]
    source = spool.source()
    assert isinstance(source, FileSource) == (len(whole) > 5000)
    assert (bytes_of(source), size_of(source), digest_of(source)) == (whole, len(whole), Sha256.of(whole))
    assert b"".join(pieces_of(source)) == whole
    spool.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 400])
def test_who_follows_is_told_that_it_ended_early(tmp_path: Path, count):
    spool = Spool(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(lambda: b"".join(spool.following()))
        for _ in range(count):
            spool.take(b"x" * 100)
        spool.end(NetworkError("it broke off"))
        with pytest.raises(NetworkError, match="it broke off"):
            reader.result(60)
    spool.close()
    assert list(tmp_path.iterdir()) == []
