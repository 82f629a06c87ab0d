"""The publishers a user trusts: the pinned id, the last accepted index, and where newer ones come from.

    trust/<publisher id>/index.json     the accepted file, with the root chain from root 1
    trust/<publisher id>/index.….sqlite what it lists, verified once (`index_rows`); made again if lost
    trust/<publisher id>/seen.json      the highest position accepted, so that a damaged index.json does not forget it;
                                        with a checksum, because no signature covers it
    trust/<publisher id>/sources.json   files, folders and URLs the user named
    trust/<publisher id>/answers.json   ETags and dates that mirrors gave with the accepted index; can be lost
    trust/<publisher id>/evidence/      files that contradict an accepted index, each with that index

The folder's name is the pin: everything else can be lost and is fetched again. index.json is written before seen.json;
after a crash between the two, the higher position counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from p2pqwen.containment import each, warn
from p2pqwen.errors import NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import Accepted, Position, Seen, TrustedState, judge_again
from p2pqwen.index.document import INDEX_FILE, MAX_INDEX_SIZE, IndexDocument
from p2pqwen.index.root import Root
from p2pqwen.library import durable
from p2pqwen.library.checksummed import seal, unseal
from p2pqwen.library.home import Home
from p2pqwen.library.index_rows.beside import put_beside, read_accepted, rebuild, remove_others, verified_at
from p2pqwen.library.index_rows.judging import accept_file, apply_delta, builder_of, let_go, progress, whole_file
from p2pqwen.library.index_rows.parts import FileMark
from p2pqwen.library.index_source import IndexSource, Spool, bytes_of, pieces_of, remove_left, size_of
from p2pqwen.portable import files
from p2pqwen.values import json_fields
from p2pqwen.values.digest import Sha256
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.strict_json import JsonObject

MAX_STATE_SIZE = 1 << 20
MAX_SOURCES = 64
VERIFY_EVERY = timedelta(days=30)
"""How often a running node verifies an accepted index that it has not read since."""
EVIDENCE = "evidence"
MAX_EVIDENCE = 32  # files; someone who stole keys could fill the disk with contradictions
MAX_EVIDENCE_SIZE = 1 << 30
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustedPublisher:
    """One trusted publisher. `accepted` is None before the first index; `state` is what the next one must satisfy.

    `named`: the hosts of their own network that the user named, in the configuration and as sources of this publisher.
    """

    publisher: Sha256
    sources: tuple[str, ...]
    state: TrustedState
    accepted: Accepted | None
    named: NamedHosts = NONE_NAMED

    @property
    def root(self) -> Root | None:
        """The newest trusted root."""
        return self.state.roots[-1].root if self.state.roots else None

    @property
    def name(self) -> str | None:
        """The publisher's own name for itself; text from outside."""
        return self.root.name if self.root else None

    @property
    def document(self) -> IndexDocument | None:
        """The last accepted index."""
        return self.accepted.document if self.accepted else None

    @property
    def mirrors(self) -> tuple[str, ...]:
        """Everywhere a newer index may be: the user's sources first, then the mirrors that the index names."""
        named = self.document.mirrors if self.document else ()
        return tuple(dict.fromkeys((*self.sources, *named)))


@dataclass(frozen=True, slots=True)
class Answered:
    """The ETag and date that a mirror gave when its file was the index with this digest; `file`: its SHA-256."""

    digest: Sha256
    file: Sha256 | None
    etag: str | None
    modified: str | None


class TrustStore:
    """The folder of trusted publishers under a home."""

    def __init__(self, home: Home, named: NamedHosts = NONE_NAMED) -> None:
        """`named` are the hosts that the user's configuration names; the sources' hosts are added."""
        self._home, self._named = home, named

    @property
    def named_hosts(self) -> NamedHosts:
        """The hosts that the user named: in the configuration, and as sources of any publisher."""
        return self._named | NamedHosts.of(url for one in self.ids() for url in self._read_sources(one, ignore))

    def publishers(self, *, now: datetime, report: Report = ignore) -> list[TrustedPublisher]:
        """Read every trusted publisher and verify its index; damage is reported, never raised."""
        return each(
            self.ids(), lambda one: self.get(one, now=now, report=report), failed=warn(report, "publisher {}".format)
        )

    def ids(self) -> list[Sha256]:
        """Return the pinned publisher ids."""
        names = [one.name for one in self._home.trust.iterdir()] if self._home.trust.is_dir() else []
        found = [Sha256.parse(name) for name in sorted(names) if _ID.fullmatch(name)]
        return [one for one in found if self.is_trusted(one)]

    def is_trusted(self, publisher: Sha256) -> bool:
        """Tell whether this publisher id is pinned."""
        return self.folder(publisher).is_dir()

    def get(self, publisher: Sha256, *, now: datetime, report: Report = ignore) -> TrustedPublisher:
        """Read one trusted publisher; raises `NotFoundError` when it is not pinned."""
        if not self.is_trusted(publisher):
            raise NotFoundError(f"publisher {publisher} is not trusted", hint="see `p2pqwen trust list`")
        accepted = self._read_index(publisher, now, report)
        seen = self._read_seen(publisher, report)
        roots = accepted.roots if accepted else ()
        damaged = accepted is None and self.index_path(publisher).exists()  # already reported
        if not damaged and (problem := _behind(accepted, seen)) is not None:
            report(Notice("warning", f"{problem} (publisher {publisher})"))
        if accepted and (seen is None or seen.position <= accepted.position):
            seen = accepted.seen  # signed, unlike seen.json
        state = TrustedState(publisher, roots, seen)
        sources = self._read_sources(publisher, report)
        return TrustedPublisher(publisher, sources, state, accepted, self._named | NamedHosts.of(sources))

    def pin(self, publisher: Sha256, sources: Iterable[str] = ()) -> None:
        """Trust a publisher id, and remember where its index is; a pinned one keeps its state and earlier sources."""
        with self.locked(publisher):
            known = self._read_sources(publisher, ignore) if self.is_trusted(publisher) else ()
            self._write_sources(publisher, tuple(dict.fromkeys((*known, *sources)))[:MAX_SOURCES])

    def unpin(self, publisher: Sha256) -> None:
        """Stop trusting a publisher and forget what was accepted from it; raises `NotFoundError`."""
        if not self.is_trusted(publisher):
            raise NotFoundError(f"publisher {publisher} is not trusted", hint="see `p2pqwen trust list`")
        with self.locked(publisher), durable.disk_errors(f"remove {self.folder(publisher)}"):
            leaving = self._home.trust / f".{publisher}.removed"
            shutil.rmtree(leaving, ignore_errors=True)  # of an interrupted removal
            self.folder(publisher).rename(leaving)  # atomic: half a removal must not look like damage
            shutil.rmtree(leaving)

    def verify_again(self, publisher: Sha256, *, now: datetime, report: Report = ignore) -> bool:
        """Put the stored index through all of acceptance if that was last done `VERIFY_EVERY` ago; tell whether it was.

        If the file has rotted since, that is reported and its database is deleted: what no signature covers is not
        used.
        """
        path = self.index_path(publisher)
        verified = verified_at(path)
        if verified is None or now.timestamp() - verified < VERIFY_EVERY.total_seconds():
            return False
        try:
            with self.locked(publisher):
                rebuild(path, publisher, now, report)
        except VerificationError:
            remove_others(path, None)
            self._read_index(publisher, now, report)  # reports what is wrong with it
        return True

    def judge(self, source: IndexSource, trusted: TrustedState, *, now: datetime, report: Report = ignore) -> Accepted:
        """Put an index from anywhere through all of acceptance, so that `store` can take it without delay.

        If it is not stored, pass it to `index_rows.judging.let_go`. Raises `RefusedError`, `NotFoundError`,
        `DiskError`.
        """
        size = size_of(source)
        return self.judge_pieces(pieces_of(source), lambda: size, trusted, now=now, report=report)

    def judge_pieces(
        self,
        pieces: Iterable[bytes],
        size: Callable[[], int | None],
        trusted: TrustedState,
        *,
        now: datetime,
        report: Report = ignore,
    ) -> Accepted:
        """Do what `judge` does for an index in pieces; `size` returns its bytes, None while unknown."""
        remove_left(self._home.trust)
        return accept_file(pieces, trusted, now, self._home.trust, progress("verify", size, report))

    def judge_delta(self, data: bytes, base: Accepted, trusted: TrustedState, *, now: datetime) -> Accepted:
        """Judge the index that a delta makes of the accepted one, as `judge` does; raises `FormatError` as well."""
        remove_left(self._home.trust)
        return apply_delta(data, base, trusted, now, self._home.trust)

    def spool(self) -> Spool:
        """Return a spool for an index from the network; the caller closes it."""
        return Spool(self._home.trust)

    def answers(self, publisher: Sha256) -> dict[str, Answered]:
        """Return what mirrors answered for the accepted index, so that they can tell whether theirs differs."""
        path = self.folder(publisher) / "answers.json"
        try:
            row = unseal(durable.read(path, max_bytes=MAX_STATE_SIZE), max_bytes=MAX_STATE_SIZE, always=True)
            return {
                place: Answered(
                    Sha256.parse(json_fields.text(known, "digest")),
                    None if known.get("file") is None else Sha256.parse(json_fields.text(known, "file")),
                    json_fields.optional_text(known, "etag"),
                    json_fields.optional_text(known, "modified"),
                )
                for place, known in ((place, json_fields.obj(row, place)) for place in row)
            }
        except P2pqwenError:
            return {}  # everything is then asked for again

    def write_answers(self, publisher: Sha256, answers: Mapping[str, Answered]) -> None:
        """Store the answers; nothing is kept if the publisher is no longer trusted."""
        if answers == self.answers(publisher):
            return
        rows: JsonObject = {
            place: {
                "digest": str(one.digest),
                "file": None if one.file is None else str(one.file),
                "etag": one.etag,
                "modified": one.modified,
            }
            for place, one in answers.items()
        }
        with self.locked(publisher):
            if self.is_trusted(publisher):
                durable.write(self.folder(publisher) / "answers.json", seal(rows), sync=False)

    def store(self, accepted: Accepted, source: IndexSource, *, now: datetime, report: Report = ignore) -> Accepted:
        """Persist an accepted index (step 8), judged again under the lock; raises `RefusedError`, `DiskError`.

        Another process may have accepted a newer one meanwhile: then the rules refuse this one.
        """
        publisher = accepted.publisher
        with self.locked(publisher):
            held = self.get(publisher, now=now)
            if held.accepted is not None and held.accepted.state == accepted.state == held.state:
                let_go(accepted)
                return replace(held.accepted, unchanged=True)
            # What was judged in this process is not read again: its digest tells whether it is still the same.
            builder = builder_of(accepted)
            again = None if builder is None else judge_again(accepted, held.state)
            accepted = again or self.judge(source, held.state, now=now)
            self._write_index(accepted, source, now, report)
            self._write_seen(publisher, accepted.seen)
        return accepted

    def _write_index(self, accepted: Accepted, source: IndexSource, now: datetime, report: Report) -> None:
        """Write the database, sealed for the file that follows, then the file beside it."""
        path, builder, hasher = self.index_path(accepted.publisher), builder_of(accepted), hashlib.sha256()
        if builder is None:
            raise ValueError("an index is stored once, as it was judged")
        judged = builder.file_digest
        if accepted.stands_alone and (link := _linked(source, path)) is not None:
            try:
                put_beside(path, FileMark.of(link.stat()), accepted, now, report)
                with durable.disk_errors(f"write {path}"):
                    files.sync_file(link)
                durable.rename(link, path)
            finally:
                link.unlink(missing_ok=True)
            remove_others(path, judged)
            return
        with durable.replacing(path) as file:
            # The chain must be verifiable from the pinned id alone.
            for piece in pieces_of(source) if accepted.stands_alone else whole_file(accepted):
                hasher.update(piece)
                file.write(piece)
            digest = Sha256(hasher.digest())
            if accepted.stands_alone and digest != judged:
                raise VerificationError("the index changed while it was read", expected=judged, got=digest)
            builder.file_digest = digest
            file.flush()
            put_beside(path, FileMark.of(os.fstat(file.fileno())), accepted, now, report)
        remove_others(path, digest)

    def set_aside(self, publisher: Sha256) -> Spool:
        """Return a spool with the current index; it lasts until closed, even if a newer index replaces that.

        Raises `NotFoundError`, `DiskError`.
        """
        path, spool = self.index_path(publisher), self.spool()
        try:
            spool.link(path)
        except BaseException:
            spool.close()
            raise
        return spool

    def keep_evidence(
        self, publisher: Sha256, data: IndexSource, *, before: IndexSource | None = None
    ) -> tuple[Path, ...]:
        """Keep a file that contradicts the accepted index, and a copy of that index, which the next update overwrites.

        `before`: the index that was in use when the file came, if another has replaced it since.

        Returns their paths; none if there is as much evidence as may be kept, or the publisher is no longer trusted.
        """
        with self.locked(publisher):
            if not self.is_trusted(publisher):
                return ()
            return self._keep_evidence(publisher, bytes_of(data), None if before is None else bytes_of(before))

    def _keep_evidence(self, publisher: Sha256, data: bytes, before: bytes | None) -> tuple[Path, ...]:
        trusted = self.index_path(publisher)
        both = [data, *([durable.read(trusted, max_bytes=MAX_INDEX_SIZE)] if trusted.exists() else [])]
        both += [] if before is None else [before]
        folder = self.folder(publisher) / EVIDENCE
        files = {folder / f"{Sha256.of(one)}.json": one for one in both}
        new = [path for path in files if not path.exists()]
        sizes = [path.stat().st_size for path in folder.glob("*.json")] + [len(files[path]) for path in new]
        if new and (len(sizes) > MAX_EVIDENCE or sum(sizes) > MAX_EVIDENCE_SIZE):
            return ()
        for path in new:
            durable.write(path, files[path])
        return tuple(files)

    def evidence(self, publisher: Sha256) -> tuple[Path, ...]:
        """Return the files kept as proof that this publisher signed two histories; raises `DiskError`."""
        folder = self.folder(publisher) / EVIDENCE
        with durable.disk_errors(f"look at {folder}"):
            return tuple(sorted(folder.glob("*.json")))

    def folder(self, publisher: Sha256) -> Path:
        """Return the publisher's folder."""
        return self._home.trust / str(publisher)

    def index_path(self, publisher: Sha256) -> Path:
        """Return the path of the accepted index."""
        return self.folder(publisher) / INDEX_FILE

    def locked(self, publisher: Sha256) -> AbstractContextManager[None]:
        """Hold the lock that protects this publisher's state."""
        return durable.lock(self._home.locks / f"trust-{publisher}.lock", wait=True)

    def _read_index(self, publisher: Sha256, now: datetime, report: Report) -> Accepted | None:
        path = self.index_path(publisher)
        if not path.exists():
            return None
        try:
            return read_accepted(path, publisher, now, report)
        except P2pqwenError as error:
            report(
                Notice(
                    "warning",
                    f"the stored index of {publisher} is damaged and not used: {error.message}; "
                    "the pinned id stays; run `p2pqwen index update` to fetch it again",
                )
            )
            return None

    def _read_seen(self, publisher: Sha256, report: Report) -> Seen | None:
        path = self.folder(publisher) / "seen.json"
        try:
            # A flipped bit in a number would shut out honest indexes for ever.
            row = unseal(durable.read(path, max_bytes=MAX_STATE_SIZE), max_bytes=MAX_STATE_SIZE, always=True)
            return Seen(
                Position(json_fields.integer(row, "epoch"), json_fields.integer(row, "version")),
                Sha256.parse(json_fields.text(row, "digest")),
                json_fields.integer(row, "root_version", at_least=1),
            )
        except NotFoundError:
            return None
        except P2pqwenError as error:
            report(Notice("warning", f"{path} is damaged: {error.message}; only the stored index shows what was seen"))
            return None

    def _write_seen(self, publisher: Sha256, seen: Seen) -> None:
        row: JsonObject = {
            "epoch": seen.position.epoch,
            "version": seen.position.version,
            "digest": str(seen.digest),
            "root_version": seen.root_version,
        }
        durable.write(self.folder(publisher) / "seen.json", seal(row))

    def _read_sources(self, publisher: Sha256, report: Report) -> tuple[str, ...]:
        path = self.folder(publisher) / "sources.json"
        try:
            row = unseal(durable.read(path, max_bytes=MAX_STATE_SIZE), max_bytes=MAX_STATE_SIZE)
            return json_fields.texts(row, "sources", limit=MAX_SOURCES)
        except NotFoundError:
            return ()
        except P2pqwenError as error:
            report(
                Notice(
                    "warning",
                    f"{path} is damaged: {error.message}; name the sources again with `p2pqwen trust add --index`",
                )
            )
            return ()

    def _write_sources(self, publisher: Sha256, sources: tuple[str, ...]) -> None:
        durable.write(self.folder(publisher) / "sources.json", seal({"sources": list(sources)}))


def _linked(source: IndexSource, path: Path) -> Path | None:
    """Link a received file to a free name beside a path, and return that; None if it must be copied."""
    if isinstance(source, bytes) or not source.is_ours:
        return None
    with durable.disk_errors(f"write {path}"):
        link = durable.temporary_beside(path)
    return link if files.link_opened(source.path, link) else None


def _behind(accepted: Accepted | None, seen: Seen | None) -> str | None:
    """Say how the stored index differs from the one last accepted; None if it does not."""
    if seen is None or (accepted is not None and (seen.position < accepted.position or seen == accepted.seen)):
        return None
    if accepted is not None and seen.position == accepted.position:
        return f"the stored index {accepted.position} differs from the one accepted before; it is signed and is used"
    stored = "no index is stored" if accepted is None else f"the stored index is {accepted.position}"
    return (
        f"{stored}, but index {seen.position} was accepted; was a backup restored? older indexes are refused; "
        "run `p2pqwen index update`"
    )
