"""Flip one bit, as on a rotting disk: only the file's content changes.

A flip is *found* if the program reports it or acts on it, and *without effect* if everything read from the file is the
same as before. Anything else is silent, and must never happen.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from p2pqwen.errors import P2pqwenError
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library, State, seal_of
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.library.verified import Verified, VerifiedFiles
from p2pqwen.operations.fetch.metadata import KeptMetadata
from p2pqwen.operations.verify.damage import look_for_damage
from p2pqwen.operations.verify.verify import verify_held
from p2pqwen.swarm.resume_data import unwrap
from p2pqwen.torrent.checked import CheckedTorrent
from tests.support.faults.scenery import Scenery


class Found(StrEnum):
    """The result of a flip."""

    FOUND = "found"
    WITHOUT_EFFECT = "without effect"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class FlipPlan:
    """One flip: the kind of file, and the place in it."""

    number: int
    kind: str
    file: float
    place: float
    bit: int

    @classmethod
    def of(cls, number: int) -> FlipPlan:
        dice = random.Random(f"flip {number}")
        kinds = list(KINDS)
        return cls(number, kinds[number % len(kinds)], dice.random(), dice.random(), dice.randrange(8))


@dataclass(frozen=True, slots=True)
class Flipped:
    """The outcome of a plan."""

    plan: FlipPlan
    path: str
    offset: int
    found: Found
    detail: str = ""

    @property
    def right(self) -> bool:
        """Whether the result is the required one: never silent, and always found if every bit counts."""
        return self.found is Found.FOUND or (self.found is Found.WITHOUT_EFFECT and self.plan.kind not in _COUNTS)


class Flipper:
    """Flips bits in separate homes and flips them back; for one thread at a time."""

    def __init__(self, scene: Scenery) -> None:
        folder = scene.folder / "flips"
        shutil.rmtree(folder, ignore_errors=True)
        self.scene = scene
        self.holder = Home(scene.user("holder", folder / "holder").home)
        self.half = Home(scene.user("half", folder / "half").home)
        self.publisher = Home(scene.user("publisher", folder / "publisher").home)
        (self.held,) = Library(self.holder).all()
        self._fill_state()

    def run(self, plan: FlipPlan) -> Flipped:
        """Flip a bit, look through the program, flip it back."""
        files, look = KINDS[plan.kind](self)
        path = files[int(plan.file * len(files))]
        offset = int(plan.place * path.stat().st_size)
        before = look(path)
        flip(path, offset, plan.bit)
        try:
            after = look(path)
        except P2pqwenError as error:
            found, detail = Found.FOUND, error.message
        else:
            found = after if isinstance(after, Found) else Found.WITHOUT_EFFECT if after == before else Found.SILENT
            detail = "" if found is not Found.SILENT else f"{before} became {after}"
        finally:
            flip(path, offset, plan.bit)
        return Flipped(plan, str(path.relative_to(self.scene.folder)), offset, found, detail[:500])

    def _fill_state(self) -> None:
        with StateStore(self.holder.state) as store:
            for number in range(40):
                store.put(
                    f"choice/{number}", {"paused": bool(number % 2), "priority": "normal", "limit": number * 1000}
                )
            store.put("limits", {"upload": 1_000_000, "monthly": 10**12, "hours": "22:00-06:00"})

    # The looks at each kind of file. A look returns what it reads, for comparison with the look before the flip, or
    # `Found.FOUND` if the program notices the flip.

    def data(self) -> Asked:
        files = [self.held.folder / file.path.text for file in self.held.metainfo().layout.files if file.size]
        return files, self._look_at_data

    def _look_at_data(self, path: Path) -> Any:
        name = path.relative_to(self.held.folder).as_posix()
        bad = [one.path for one in verify_held(self.held, ()).bad]
        metainfo = self.held.metainfo()
        index = [file.path.text for file in metainfo.layout.files].index(name)
        damage = look_for_damage(metainfo, self.held.folder, index, None)
        if not bad and damage is None:
            return None
        if bad == [name] and damage is not None and len(damage.pieces) == 1:
            return Found.FOUND
        return f"verify says {bad}, scrubbing {damage}"

    def torrent(self) -> Asked:
        return [self.held.torrent_path, seal_of(self.held.torrent_path)], lambda _: self._verified()

    def _verified(self) -> Any:
        found = verify_held(self.held, ())
        if not found.ok:
            return Found.FOUND
        metainfo = self.held.metainfo()
        return metainfo, found.provenance

    def resume(self) -> Asked:
        files = [path for path in self.half.resume.iterdir() if path.suffix == ".resume"]
        return files, lambda path: unwrap(path.read_bytes()) or Found.FOUND

    def metadata(self) -> Asked:
        metainfo = self.held.metainfo()
        kept = KeptMetadata(self.holder)
        kept.keep(metainfo)
        v1, v2 = metainfo.infohash.v1, metainfo.infohash.v2
        files = [self.holder.resume / f"{v2}.info", self.holder.resume / f"{v1}.info"]
        return (
            files,
            lambda path: (
                kept.find(None if str(v2) in path.name else v1, v2 if str(v2) in path.name else None) or Found.FOUND
            ),
        )

    def state(self) -> Asked:
        return [self.holder.state], self._read_state

    def _read_state(self, path: Path) -> Any:
        copy = path.with_name("state-copy") / path.name
        shutil.rmtree(copy.parent, ignore_errors=True)
        copy.parent.mkdir()
        shutil.copyfile(path, copy)
        said: list[object] = []
        with StateStore(copy, said.append) as store:
            documents = {prefix: store.items(prefix) for prefix in ("choice/", "limits", "")}
        return Found.FOUND if said else documents

    def trust(self) -> Asked:
        store = TrustStore(self.holder)
        folder = store.folder(self.scene.publisher)
        files = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".sqlite"]

        def look(_: Path) -> Any:
            said: list[object] = []
            held = store.get(self.scene.publisher, now=datetime.now(UTC), report=said.append)
            document = None if held.document is None else held.document.to_json()
            return Found.FOUND if said else (held.sources, held.state, document)

        return files, look

    def rows(self) -> Asked:
        """Query the database of the trusted index in every way: a damaged one is reported and rebuilt."""
        store = TrustStore(self.holder)
        store.get(self.scene.publisher, now=datetime.now(UTC))  # a copied home builds its own
        (path,) = store.folder(self.scene.publisher).glob("index.*.sqlite")

        def look(path: Path) -> Any:
            content = path.read_bytes()  # a rebuilt file must not be flipped back
            said: list[object] = []
            try:
                held = store.get(self.scene.publisher, now=datetime.now(UTC), report=said.append)
                if held.document is None:
                    return None
                listing = held.document.listing
                found = list(listing)
                answers = [
                    *(listing.find(one.id) + listing.find(one.infohash) for one in found),
                    *(listing.find(one.id.repo) + listing.find(one.infohash.v1) for one in found),
                    list(listing.having(["tiny"])),
                    list(listing.having([str(found[0].id.commit)[:8]] if found else ["a"])),
                    held.document.to_json(),
                    held.state,
                ]
            finally:
                if path.read_bytes() != content:
                    path.write_bytes(content)
            return Found.FOUND if said else answers

        return [path], look

    def verified(self) -> Asked:
        metainfo = self.held.metainfo()
        records = VerifiedFiles(self.holder)
        paths = [file.path for file in metainfo.files]
        records.record(self.held.id, metainfo.infohash.v2, self.held.folder, paths)

        def look(_: Path) -> Any:
            same = records.unchanged(self.held.id, metainfo.infohash.v2, self.held.folder, paths)
            return True if same else Found.FOUND

        return list(self.holder.verified.glob("*.json")), look

    def marker(self) -> Asked:
        library = Library(self.half)
        (held,) = library.all()
        chosen = ("*.json", "model*")
        verified = Verified(held.metainfo().infohash.v2, {})
        library.finish(held.id, CheckedTorrent.read(held.torrent_path.read_bytes()), chosen, verified)

        def look(_: Path) -> Any:
            (now,) = library.all()  # then nothing counts as finished, and the next fetch checks everything
            return Found.FOUND if now.state is State.INCOMPLETE else (now.state, now.selected)

        return list(held.folder.parent.glob("*.partial")), look


Asked = tuple[list[Path], Callable[[Path], Any]]
KINDS: dict[str, Callable[[Flipper], Asked]] = {
    "data": Flipper.data,
    "torrent": Flipper.torrent,
    "resume data": Flipper.resume,
    "metadata": Flipper.metadata,
    "state": Flipper.state,
    "trust": Flipper.trust,
    "index rows": Flipper.rows,
    "verified": Flipper.verified,
    "marker": Flipper.marker,
}


_COUNTS = {"data", "torrent", "resume data", "metadata"}


def flip(path: Path, offset: int, bit: int) -> None:
    """Flip a bit and restore the file's times."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


__all__ = ["KINDS", "FlipPlan", "Flipped", "Flipper", "Found", "flip"]
