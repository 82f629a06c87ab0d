"""What must be true of a user's folder whatever happened to it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from p2pqwen.errors import P2pqwenError
from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library, State
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.library.verified import VerifiedFiles
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from tests.support.command import CommandLine
from tests.support.faults.scenery import REPO, Published, Scenery, content, fetched

Position = tuple[int, int]
STORE = "blobs"
MARKER = ".huggingface-shared-blobs"


@dataclass(slots=True)
class Judge:
    """Judges one user repeatedly; trusted and published positions must never go back."""

    scene: Scenery
    user: CommandLine
    bystanders: Mapping[str, object]
    shared: Mapping[str, bytes]
    trusted: Position = (0, 0)
    published: Position = (0, 0)

    @classmethod
    def of(cls, scene: Scenery, user: CommandLine) -> Judge:
        judge = cls(scene, user, {}, {})
        judge.bystanders, judge.shared = judge._bystanders(), judge._shared()
        assert not list(judge.problems())
        return judge

    def problems(self) -> Iterator[str]:
        """Yield every violation."""
        yield from self._library()
        yield from self._cache()
        yield from self._store()
        yield from self._trust()
        yield from self._site()

    def is_complete(self, published: Published) -> Iterator[str]:
        """Yield why the snapshot is not complete in the library."""
        held = Library(Home(self.user.home)).get(published.id)
        if held is None or held.state is not State.COMPLETE:
            yield f"{published.id} is not complete but {held and held.state}"
        elif content(held.folder) != published.files:
            yield "the library holds other bytes or files"

    def is_in_cache(self, published: Published) -> Iterator[str]:
        """Yield why readers of the Hugging Face cache do not find the snapshot."""
        folder = self._snapshot(published)
        if content(folder) != published.files:
            yield "the Hugging Face cache shows other bytes or files"
        if not (folder.parent.parent / "trees" / f"{published.commit}.json").is_file():
            yield "the Hugging Face cache has no list of the commit's files"

    def missing(self, published: Published) -> int:
        """Return the payload bytes of the pieces that are wrong on disk."""
        return sum(missing_bytes(published.metainfo, fetched(self.user, published)).values())

    def _library(self) -> Iterator[str]:
        home = Home(self.user.home)
        for held in Library(home).all():
            truth = next(one for one in (self.scene.old, self.scene.new) if one.id == held.id)
            try:
                infohash = held.metainfo().infohash
            except P2pqwenError as error:
                yield f"the torrent of {held.id} is not readable: {error.message}"
                continue
            if infohash != truth.metainfo.infohash:
                yield f"the torrent of {held.id} is another"
            right = content(held.folder) == truth.files
            if held.state is State.COMPLETE and not right:
                yield f"{held.id} is said to be complete and is not"
            files = [file.path for file in truth.metainfo.files]
            if VerifiedFiles(home).unchanged(held.id, infohash.v2, held.folder, files) and not right:
                yield f"{held.id} is believed to be verified and is wrong"

    def _cache(self) -> Iterator[str]:
        now = self._bystanders()
        for path in sorted({*now, *self.bystanders}):
            if now.get(path) != self.bystanders.get(path):
                yield f"the Hugging Face cache changed beside the snapshot: {path}"
        new = self.scene.new
        folder = self._snapshot(new)
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and path.read_bytes() not in {new.files.get(name), self.scene.spoiled_weights}:
                yield f"the Hugging Face cache shows a wrong {name}"

    def _store(self) -> Iterator[str]:
        """Check the files that repositories share: each is right or unchanged, and its links are still listed."""
        right = {*self.scene.old.files.values(), *self.scene.new.files.values()}
        now = self._shared()
        for path in sorted({*now, *self.shared}):
            data, before = now.get(path), self.shared.get(path)
            if data is None:
                yield f"the Hugging Face cache no longer shares {path}"
            elif path.endswith(".refs"):
                if not set(data.splitlines()) >= set((before or b"").splitlines()):
                    yield f"the Hugging Face cache forgot who leads to {path}"
            elif data != before and data not in right and Path(path).name != MARKER:
                yield f"the Hugging Face cache shares wrong content as {path}"

    def _trust(self) -> Iterator[str]:
        notices: list[str] = []
        store = TrustStore(Home(self.user.home))
        for publisher in store.ids():
            held = store.get(publisher, now=_now(), report=lambda event: notices.append(str(event)))
            document = held.document
            position = (0, 0) if document is None else (document.epoch, document.version)
            if position < self.trusted:
                yield f"the trusted index moved back from {self.trusted} to {position}"
            self.trusted = position
        yield from notices

    def _site(self) -> Iterator[str]:
        site = self.user.home.parent / "site"
        if not site.is_dir():
            return
        try:
            publisher = KeyStore(Home(self.user.home)).publisher()
            document = accept((site / "index.json").read_bytes(), TrustedState(publisher), _now()).document
            for entry in document.entries:
                if parse_metainfo((site / entry.torrent).read_bytes()).infohash != entry.infohash:
                    yield f"the site's torrent of {entry.id} is another"
        except (P2pqwenError, OSError) as error:
            yield f"the published site is broken: {error}"
            return
        position = (document.epoch, document.version)
        if position < self.published:
            yield f"the published index moved back from {self.published} to {position}"
        self.published = position

    def _snapshot(self, published: Published) -> Path:
        return self.user.cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / published.commit

    def _shared(self) -> dict[str, bytes]:
        """Return everything in the shared store of the Hugging Face cache, except locks."""
        store = self.user.cache / STORE
        paths = (path for path in store.rglob("*") if path.suffix != ".lock" and path.is_file())
        return {
            path.relative_to(store).as_posix(): path.read_bytes()
            for path in paths
            if not path.name.startswith(".p2pqwen-tmp-")
        }

    def _bystanders(self) -> dict[str, object]:
        """Return everything in the Hugging Face cache that does not belong to the new snapshot."""
        new = self.scene.new
        etags = {self.scene.etag(name) for name in new.files} | {_git_blob(data) for data in new.files.values()}
        repository = self._snapshot(new).parent.parent
        own = {self._snapshot(new), repository / "trees", repository / ".no_exist", repository / "refs" / "p2pqwen"}
        found: dict[str, object] = {}
        for folder, folders, files in os.walk(self.user.cache):
            here = Path(folder)
            folders[:] = [one for one in folders if here / one not in own and one != ".locks"]
            if here == self.user.cache and STORE in folders:
                folders.remove(STORE)
            for path in map(here.joinpath, files):
                if here.name == "blobs" and path.name[:40] in {etag[:40] for etag in etags}:
                    continue
                if path.name.startswith(".p2pqwen-tmp-"):  # huggingface_hub ignores it outside refs and snapshots
                    continue
                kind = str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(self.user.cache))] = kind
        shared = {self.scene.etag(name) for name in self.scene.old.files} & etags
        return {path: kind for path, kind in found.items() if Path(path).name not in shared}


def missing_bytes(metainfo: Metainfo, folder: Path) -> dict[int, int]:
    """Return the pieces that are wrong on disk, each with the number of its payload bytes."""
    layout = metainfo.layout
    bad: dict[int, int] = {}
    for index, file in enumerate(layout.files):
        path = folder / file.path.text
        data = path.read_bytes() if path.is_file() else b""
        for at, piece in enumerate(layout.pieces(index)):
            start = at * layout.piece_length
            length = min(layout.piece_length, file.size - start)
            padding = bytes(layout.piece_length - length) if layout.pad_after(index) else b""
            part = data[start : start + length]
            expected = metainfo.pieces[piece * 20 : piece * 20 + 20]
            if len(part) != length or hashlib.sha1(part + padding).digest() != expected:
                bad[piece] = length
    return bad


def _git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC)
