"""How much room a fetch asks for: what the Hugging Face cache has takes as much as what is downloaded."""

from __future__ import annotations

import pytest

from p2pqwen.library.home import Home
from p2pqwen.library.linking import shares_blocks
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.fetch.wanted_files import require_room
from p2pqwen.operations.preserve.reuse import CachedFile, Candidate, HeldFile, OnDisk
from p2pqwen.values.repo_path import RepoPath
from tests.strategies import hash_payload
from tests.support.swarm import make_snapshot

WEIGHTS = RepoPath("model.safetensors")


@pytest.mark.parametrize("of", ["nobody", "another snapshot", "the cache"])
def test_what_is_copied_is_counted(tmp_path, monkeypatch, of):
    snapshot = make_snapshot(tmp_path / "seed")
    size = len(snapshot.files[WEIGHTS.text])
    there = snapshot.folder / WEIGHTS.text
    digests = hash_payload({RepoPath(name): data for name, data in snapshot.files.items()}, snapshot.metainfo.layout)
    sources = {
        "another snapshot": HeldFile(snapshot.manifest.snapshot, WEIGHTS, there),
        "the cache": CachedFile(there),
    }
    had = {WEIGHTS: Candidate(sources[of], digests[WEIGHTS])} if of in sources else {}
    library = Library(Home(tmp_path / "home"))
    asked = []
    monkeypatch.setattr(Library, "require_room", lambda _, path, size: asked.append(size))
    folder = tmp_path / "new"
    folder.mkdir()
    require_room(folder, snapshot.metainfo, {WEIGHTS}, here=OnDisk(had), library=library, copy_to=None)
    linked = of == "another snapshot" or (of == "the cache" and shares_blocks(there, folder))
    assert asked == [0 if linked else size]
