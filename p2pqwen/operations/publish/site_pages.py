"""The pages of a published site, written after its index: what people can look at, and the sums over all of it.

Only what changed is made and written. For each folder that it publishes into, a home remembers what each model's page
and each row of the list was made from, how the files that it wrote there look, and their SHA-256. A file that looks
different is read, and made again if it is no longer what this home wrote. If that memory is missing or damaged,
everything is made. Files that are no longer made are removed; no other file ever is.

The README of a snapshot is put beside its torrent if it is the file that the manifest names, so that the page can be
made again when the library no longer holds the snapshot.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path

from p2pqwen.catalogue import beside, pages, places
from p2pqwen.catalogue.card import Card, render_card
from p2pqwen.catalogue.feeds import Feed, feeds_of, render_feed
from p2pqwen.catalogue.sums import SUMS_TYPE, TREE_TYPE, sums_document, sums_text
from p2pqwen.catalogue.view import Copies, Facts, Revision, Row, Site, by_model, changes_between, file_lines
from p2pqwen.containment import each
from p2pqwen.errors import DiskError, FormatError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.delta import DELTA_FOLDER
from p2pqwen.index.document import INDEX_FILE, Withdrawal
from p2pqwen.index.entry import Entry
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.publish.mirror_tree import MirrorTree, MirrorTreeAnswer, snapshot_sums, tree_sums
from p2pqwen.operations.publish.site import listed_manifest
from p2pqwen.signing.envelope import sign
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.stewardship.swarm_record import SwarmRecord, health_of
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.strict_json import canonical

README = "README.md"
MAX_README = 16 << 20
MAX_README_BESIDE = 1 << 20
"""Bytes of a README that is put into the site; for a longer one, the page shows the beginning while it is held."""
DATA_ROWS = 1000
"""Rows in one part of the search data."""
MAX_MEMORY = 256 << 20
FORMAT = 2
"""The version of what is remembered; the first was an object."""
PROGRESS_EVERY = 100


@dataclass(frozen=True, slots=True)
class _Made:
    """A model's page: what it was made from, the places of all that was written for it, the facts of each commit.

    `wants`: the newest snapshot has a README that could not be found.
    """

    made_of: str
    places: Sequence[str]
    facts: Mapping[str, Sequence[Sequence[str]]]
    wants: bool

    def encode(self) -> str:
        """Return it as text."""
        return json.dumps([self.made_of, self.places, self.facts, self.wants], separators=(",", ":"))


def _looks(stat: os.stat_result) -> str:
    """Return how a file looks. A program that changes it can restore its mtime, but not its ctime."""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} "


@dataclass(slots=True)
class _Memory:
    """What a home remembers of one folder, as strings, which the garbage collector need not scan by the million.

    `models`: by name, as `_Made` encodes them. `feeds`: by name, what they were made from. `files`: by place, how they
    look and their SHA-256. `lists`: by the place of each page of the list, where its rows begin and, for each row, what
    it was made from and its length, in bytes. `tree`: whether the folder holds a mirror tree.
    """

    models: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[int, Sequence[str], Sequence[int]]] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    feeds: dict[str, str] = field(default_factory=dict)
    tree: bool = False

    def encode(self) -> bytes:
        """Return the file's bytes: a line with the SHA-256 of the rest, and the rest."""
        told = [self.models, self.files, self.lists, self.written, self.feeds, self.tree]
        body = json.dumps([FORMAT, *told], separators=(",", ":")).encode()
        return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@dataclass(frozen=True, slots=True)
class SitePages:
    """Writes the pages of this home's sites. `health` is what its node remembers of each swarm.

    `mirror_tree`: whether the site holds the files themselves too; None leaves that as it was.
    """

    home: Home
    library: Library
    health: Mapping[SnapshotId, SwarmRecord]
    now: datetime
    mirror_tree: bool | None = None

    def check(self, out: Path) -> None:
        """Raise `UsageError` if the site under `out` cannot hold the mirror tree, before anything is signed."""
        if self.mirror_tree:
            MirrorTree(out, self.library, ignore).require_ours()

    def write(
        self, out: Path, accepted: Accepted, private: Sequence[PrivateKey], report: Report = ignore
    ) -> MirrorTreeAnswer | None:
        """Update the pages of the site under `out` to its index; raises `DiskError`.

        `private` are opened index keys, which sign the sums if there are enough of them. A model whose page cannot be
        made is named and passed over. Returns what the mirror tree holds, None without one.
        """
        entries = tuple(accepted.document.entries)  # read once, because a large index is slow to read
        if (taken := _taken(entries, places.ON_TOP)) is not None:
            report(Notice("warning", f"no pages are written: an organisation is called {taken}, like one of them"))
            return None
        role = accepted.root.roles[INDEX_ROLE]
        signs = len({key.public.keyid for key in private} & set(role.keyids)) >= role.threshold
        site = Site.of(accepted, entries, sums=signs)
        return _Writing(self, out, accepted, entries, site, report).run(private if signs else ())

    def memory_path(self, out: Path) -> Path:
        """Return the file that remembers what was written under `out`."""
        return self.home.root / "sites" / f"{hashlib.sha256(str(out.absolute()).encode()).hexdigest()[:32]}.json"


class _Writing:
    """One round of writing."""

    def __init__(
        self,
        given: SitePages,
        out: Path,
        accepted: Accepted,
        entries: Sequence[Entry],
        site: Site,
        report: Report,
    ) -> None:
        self._given, self._out, self._accepted, self._site, self._report = given, out, accepted, site, report
        self.entries = entries
        self._before = _read_memory(given.memory_path(out))
        asked = given.mirror_tree
        self._after = _Memory(tree=self._before.tree if asked is None else asked)
        self._tree = MirrorTree(out, given.library, report)
        self._in_tree: Mapping[SnapshotId, Manifest] = {}
        self._listed = [Row(entry, Facts(), self._copies(entry)) for entry in entries]
        self._digests = {row.entry.id: _digest([row.entry.to_json(), str(row.copies)]) for row in self._listed}
        self._facts: dict[SnapshotId, Facts] = {}
        self._models_tell = _digest([pages.made_by(), site.publisher, site.name, site.sums, site.mirrors])
        self._feeds_tell = _digest([pages.made_by(), site.publisher, site.name, site.mirrors])
        self._withdrawn: dict[RepoId, list[Withdrawal]] = {}
        for gone in accepted.document.withdrawn:
            self._withdrawn.setdefault(gone.id.repo, []).append(gone)

    def run(self, private: Sequence[PrivateKey]) -> MirrorTreeAnswer | None:
        tree = self._write_tree(private) if self._after.tree else None
        for place, data in pages.assets().items():
            self._put(place, data)
        self._write_models()
        rows = self._rows()
        feeds = feeds_of(rows)
        self._write_lists(rows, feeds)
        self._write_feeds(rows, feeds)
        self._write_sums(private)
        self._remove_others()
        durable.write(self._given.memory_path(self._out), self._after.encode())
        return tree

    def _write_tree(self, private: Sequence[PrivateKey]) -> MirrorTreeAnswer | None:
        if (taken := _taken(self.entries, [places.TREE])) is not None:
            self._report(Notice("warning", f"no mirror tree is written: an organisation is called {taken}, like it"))
            return None
        self._in_tree, answer = self._tree.place(self.entries)
        for snapshot, manifest in self._in_tree.items():
            self._put(places.tree_sums(snapshot), snapshot_sums(manifest))
        self._put_sums(places.TREE_SUMS, tree_sums(self._in_tree.values()), TREE_TYPE, private)
        return answer

    def _rows(self) -> list[Row]:
        return [Row(row.entry, self._facts.get(row.entry.id, row.facts), row.copies) for row in self._listed]

    def _copies(self, entry: Entry) -> Copies | None:
        record = self._given.health.get(entry.id)
        if record is None or record.looked is None:
            return None
        health = health_of(record, entry.upstream, self._given.now)
        return Copies(health.seeds, record.looked.date())

    # One model after another

    def _write_models(self) -> None:
        models = by_model(self._listed)
        done = 0

        def write(model: tuple[RepoId, list[Row]]) -> None:
            nonlocal done
            if done % PROGRESS_EVERY == 0:
                self._report(Progress("write pages", done, len(models), str(model[0]), "pages"))
            done += 1
            self._write_model(*model)

        def failed(model: tuple[RepoId, list[Row]], error: P2pqwenError) -> None:
            if isinstance(error, DiskError):  # it would affect all the others too
                raise error
            self._report(Notice("warning", f"the page of {model[0]} is not written: {error.message}"))

        each(list(models.items()), write, failed=failed)
        self._report(Progress("write pages", len(models), len(models), unit="pages"))

    def _write_model(self, repo: RepoId, rows: list[Row]) -> None:
        place, withdrawn = places.model_page(repo), self._withdrawn.get(repo, [])
        made_of = self._made_of(rows, withdrawn)
        text = self._before.models.get(str(repo))
        before = None if text is None else _Made(*json.loads(text))
        if text is not None and before is not None and before.made_of == made_of and self._still_stands(before, rows):
            self._after.models[str(repo)] = text
            self._after.written += before.places
            self._facts.update({row.entry.id: _facts_of(before, row.entry) for row in rows})
            return
        manifests = {row.entry.id: self._manifest(row.entry) for row in rows}
        facts = {one: Facts() if manifest is None else Facts.of(manifest) for one, manifest in manifests.items()}
        revisions = []
        for row, older in zip(rows, [*rows[1:], None], strict=True):
            manifest = manifests[row.entry.id]
            changes = changes_between(manifests[older.entry.id], manifest) if older is not None else ()
            shown = Row(row.entry, facts[row.entry.id], row.copies)
            revisions.append(Revision(shown, file_lines(manifest), changes, in_tree=row.entry.id in self._in_tree))
        newest = rows[0].entry.id
        card, readme = self._card(newest, manifests[newest])
        self._put(place, pages.render_model(self._site, revisions, card, withdrawn, readme))
        others = [self._put(*one) for row in rows for one in self._beside(row.entry, manifests[row.entry.id])]
        self._facts.update(facts)
        made = _Made(
            made_of if None not in manifests.values() else "",  # a torrent that could not be read is tried again
            (place, *others) if readme is None else (place, *others, readme),
            {str(one.commit): (said.formats, said.quantisations) for one, said in facts.items()},
            wants=card is None and _readme_of(manifests[newest]) is not None,
        )
        self._after.models[str(repo)] = made.encode()

    def _made_of(self, rows: Sequence[Row], withdrawn: Sequence[Withdrawal]) -> str:
        """Return a digest that changes whenever a model's page must be made again."""
        told = [f"{self._digests[row.entry.id]}{row.entry.id in self._in_tree:d}" for row in rows]
        return _digest([self._models_tell, told, [one.to_json() for one in withdrawn]])

    def _still_stands(self, made: _Made, rows: Sequence[Row]) -> bool:
        if made.wants and rows[0].entry.id in self._held:
            return False
        return all(map(self._stands, made.places))

    @cached_property
    def _held(self) -> Container[SnapshotId]:
        """The snapshots of the library, which may hold READMEs."""
        return {one.id for one in self._given.library.all()}

    def _stands(self, place: str) -> bool:
        """Tell whether a file of the site is as this home wrote it; only one that looks different is read."""
        if (known := self._before.files.get(place)) is None:
            return False
        try:
            if not known.startswith(_looks(os.stat(f"{self._out}/{place}"))):  # noqa: PTH116 - asked of every file
                now = self._read(place)
                if _digest_in(now) != _digest_in(known):
                    return False
                known = now
        except OSError:
            return False
        self._after.files[place] = known
        return True

    def _read(self, place: str) -> str:
        """Return how a file looks and the SHA-256 of its bytes; raises `OSError`."""
        with (self._out / place).open("rb") as file:
            looks = _looks(os.fstat(file.fileno()))
            return looks + hashlib.file_digest(file, "sha256").hexdigest()

    def _beside(self, entry: Entry, manifest: Manifest | None) -> list[tuple[str, bytes]]:
        """Return the places and contents of the files beside a torrent that are for other programs."""
        found = [beside.magnet_file(entry)]
        if manifest is not None:
            found.append(beside.metalink(entry, manifest, self._site.mirrors, in_tree=entry.id in self._in_tree))
        return found

    def _manifest(self, entry: Entry) -> Manifest | None:
        """Return the manifest in a torrent of the site, if it is the one that the entry names."""
        try:
            return listed_manifest(self._out, entry, self._given.library.torrents)
        except (NotFoundError, VerificationError) as error:
            self._report(Notice("warning", f"the page of {entry.id} shows no files: {error.message}"))
            return None

    def _card(self, snapshot: SnapshotId, manifest: Manifest | None) -> tuple[Card | None, str | None]:
        """Return a snapshot's card, and where its source is in the site."""
        if (row := _readme_of(manifest)) is None:
            return None, None
        place, held = places.readme(snapshot), self._given.library.get(snapshot)
        for path in (self._out / place, *(() if held is None else (held.folder / README,))):
            try:
                data = durable.read(path, max_bytes=MAX_README)
            except (NotFoundError, DiskError, FormatError):
                continue
            if Sha256.of(data) == row.sha256:
                if len(data) > MAX_README_BESIDE:
                    return render_card(data), None
                return render_card(data), self._put(place, data)
        return None, None

    # All models together

    def _write_lists(self, rows: Sequence[Row], feeds: Sequence[Feed]) -> None:
        parts = [rows[at : at + DATA_ROWS] for at in range(0, len(rows), DATA_ROWS)]
        for number, part in enumerate(parts):
            text = json.dumps([row.data() for row in part], ensure_ascii=False, separators=(",", ":"))
            self._put(places.data_part(number), text.encode())
        made, listed, start = self._made_rows(), pages.pages_of(rows), 0
        for number, shown in enumerate(listed, 1):
            place = places.list_page(number)
            keys = [self._row_key(row, places.to_root(place)) for row in shown]
            drawn = [made.get(key) or pages.render_row(row, place) for key, row in zip(keys, shown, strict=True)]
            around = (start, number, len(listed), self._accepted.document.withdrawn, feeds, len(parts))
            page = pages.render_list(self._site, drawn, *around)
            self._after.lists[place] = page.index(b"".join(drawn)), keys, list(map(len, drawn))
            self._put(place, page)
            start += len(shown)

    def _row_key(self, row: Row, root: str) -> str:
        """Return a digest that changes whenever a row of the list must be made again."""
        return _digest([pages.made_by(), root, self._digests[row.entry.id], row.also])[:32]

    def _made_rows(self) -> dict[str, bytes]:
        """Return the rows of intact list pages, by what they were made from."""
        found = {}
        for place, (start, keys, lengths) in self._before.lists.items():
            try:
                data = (self._out / place).read_bytes()
            except OSError:
                continue
            if hashlib.sha256(data).hexdigest() != _digest_in(self._before.files.get(place, "")):
                continue
            at = start
            for key, length in zip(keys, lengths, strict=True):
                found[key] = data[at : at + length]
                at += length
        return found

    def _write_feeds(self, rows: Sequence[Row], feeds: Sequence[Feed]) -> None:
        for feed in feeds:
            told = [[self._digests[row.entry.id], row.also] for row in feed.rows]
            made_of = _digest([self._feeds_tell, feed.title, told])
            forms = (feed.atom, feed.rss, feed.json)
            self._after.feeds[feed.name] = made_of
            if self._before.feeds.get(feed.name) == made_of and all(map(self._stands, forms)):
                self._after.written += forms
                continue
            for place, data in render_feed(self._site, feed).items():
                self._put(place, data)
        if (found := beside.sitemap(self._site, rows)) is not None:
            self._put(places.SITEMAP, found)

    def _write_sums(self, private: Sequence[PrivateKey]) -> None:
        torrents = [entry.torrent for entry in self.entries]
        deltas = [f"{DELTA_FOLDER}/{path.name}" for path in (self._out / DELTA_FOLDER).glob("*.json")]
        listed = sorted({INDEX_FILE, *torrents, *deltas, *self._after.written})
        with durable.disk_errors(f"read the files of {self._out}"):
            hashed = {place: self._hash(place) for place in listed}
        self._put_sums(places.SUMS, sums_text(hashed), SUMS_TYPE, private)

    def _put_sums(self, place: str, text: bytes, kind: str, private: Sequence[PrivateKey]) -> None:
        """Write sums and, if there are keys, a signature file beside them."""
        self._put(place, text)
        if private:
            document = sums_document(self._accepted, Sha256.of(text), kind)
            signatures = [sign(kind, canonical(document), key) for key in private]
            envelope = {"signed": document, "signatures": signatures}
            self._put(f"{place}{places.SIGNATURE}", json.dumps(envelope, indent=1).encode() + b"\n")

    def _hash(self, place: str) -> str:
        if place not in self._after.files and not self._stands(place):  # it was written again, by us or another step
            self._after.files[place] = self._read(place)
        return _digest_in(self._after.files[place])

    def _put(self, place: str, data: bytes) -> str:
        """Write one file of the site unless it is already right; return its place."""
        self._after.written.append(place)
        digest = hashlib.sha256(data).hexdigest()
        if _digest_in(self._before.files.get(place, "")) == digest and self._stands(place):
            return place
        path = self._out / place
        with durable.disk_errors(f"look at {path}"):
            same = path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
            if not same:
                durable.write(path, data, mode=durable.SHARED, sync=False)  # lost in a power cut, it is written again
            self._after.files[place] = _looks(path.stat()) + digest
        return place

    def _remove_others(self) -> None:
        """Remove what an earlier round wrote and this one did not, but never a torrent or the index."""
        kept = {*self._after.written, INDEX_FILE, *(entry.torrent for entry in self.entries)}
        for place in set(self._before.written) - kept:
            path = self._out / RepoPath(place).text
            if place.startswith(f"{places.TREE}/") and place.endswith(places.SNAPSHOT_SUMS):
                self._tree.remove(place)
            if path.is_file() and not place.endswith(".torrent"):
                durable.remove(path)
                self._tree.remove_empty(path.parent)


def _taken(entries: Iterable[Entry], names: Iterable[str]) -> str | None:
    """Return the name of an organisation whose folder would clash with one of these names."""
    ours = {name.casefold(): name for name in names}
    named = (entry.id.repo.org for entry in entries)
    return next((org for org in named if org.casefold() in ours), None)


def _facts_of(made: _Made, entry: Entry) -> Facts:
    formats, quantisations = made.facts.get(str(entry.id.commit), ((), ()))
    return _facts(tuple(formats), tuple(quantisations))


_facts = lru_cache(maxsize=1024)(Facts)


def _digest_in(looks: str) -> str:
    """Return the SHA-256 that is remembered of a file, empty if there is none."""
    return looks.rpartition(" ")[2]


def _readme_of(manifest: Manifest | None) -> FileRow | None:
    """Return the README of a manifest that a page shows, None without one."""
    rows = () if manifest is None else manifest.files
    return next((one for one in rows if one.path.text == README and one.size <= MAX_README), None)


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()


def _read_memory(path: Path) -> _Memory:
    """Read what is remembered; anything invalid counts as nothing, and costs a round."""
    try:
        seal, _, body = durable.read(path, max_bytes=MAX_MEMORY).partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != seal:
            return _Memory()
        version, *told = json.loads(body)
        return _Memory(*told) if version == FORMAT else _Memory()
    except (NotFoundError, FormatError, ValueError, TypeError):
        return _Memory()
