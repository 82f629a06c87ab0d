"""Accept or refuse an index file by the numbered steps of SPEC section 8, in one pure function.

    1  size limit, strict parse
    2  root 1 hashes to the pinned publisher id, or the chain starts at a root already trusted
    3  each next root: version N+1, correct `previous`, thresholds of old and new, index epoch not lower
    4  the index meets the index threshold of the newest root, which is not older than the newest trusted one
    5  `publisher`, `root_version`, `epoch` match
    6  (epoch, version) is not lower than the last accepted; if equal, the bytes must be the same; the next version must
       name the last accepted one as `previous`
    7  entries are consistent

(Step 8, to persist atomically, is the trust store's.) The clock plays no part: an archive must outlive its publisher,
so there is no expiry; `now` only gives the age of the signature.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.index.delta import Delta
from p2pqwen.index.document import (
    INDEX_TYPE,
    MAX_ENTRIES,
    Header,
    IndexDocument,
    IndexRead,
    checked_document,
    parse_header,
    read_by_pieces,
    read_index,
    signed_parts,
)
from p2pqwen.index.root import INDEX_ROLE, ROOT_ROLE, ROOT_TYPE, Root, SignedRoot, parse_signed_root
from p2pqwen.index.row_sink import MemoryRows, RowSink
from p2pqwen.signing.envelope import ThresholdResult, pae_before
from p2pqwen.signing.keys import Message
from p2pqwen.values.digest import Sha256
from p2pqwen.values.plural import plural
from p2pqwen.values.strict_json import JsonObject, JsonValue


class RefusedError(VerificationError):
    """An index file was refused; `step` is the number of the rule, `threshold` who signed, if too few did."""

    def __init__(
        self,
        step: int,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
        threshold: ThresholdResult | None = None,
    ) -> None:
        self.step = step
        self.threshold = threshold
        super().__init__(what, expected=expected, got=got, hint=hint)


class ThresholdError(RefusedError):
    """Too few of the keys that must sign have signed."""


class RollbackError(RefusedError):
    """An older index or root than one already accepted."""


class EquivocationError(RefusedError):
    """The publisher's keys signed two different documents at one position: a stolen key, or a dishonest publisher."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """An index's position in its publisher's history. Only a new root may raise the epoch."""

    epoch: int
    version: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.version}"


@dataclass(frozen=True, slots=True)
class Seen:
    """An index accepted before: its position, the SHA-256 of its signed bytes, and the root it was made under."""

    position: Position
    digest: Sha256
    root_version: int


@dataclass(frozen=True, slots=True)
class TrustedState:
    """What a reader already trusts of one publisher.

    `publisher` is None only to check a file against itself. `roots` is the known chain from root 1, empty at first use.
    """

    publisher: Sha256 | None
    roots: tuple[SignedRoot, ...] = ()
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted index: the root chain from root 1, the document, who signed it, and whether it is unchanged.

    `signatures` are the file's own, `header` is its `signed` as read, without the entries. `stands_alone`: it was read
    from a file that has the chain from root 1 on.
    """

    publisher: Sha256
    roots: tuple[SignedRoot, ...]
    document: IndexDocument
    digest: Sha256
    signers: ThresholdResult
    unchanged: bool
    age_days: int
    signatures: JsonValue = field(default=None, repr=False, compare=False)
    header: JsonObject = field(default_factory=dict, repr=False, compare=False)
    stands_alone: bool = True

    @property
    def root(self) -> Root:
        """The newest root."""
        return self.roots[-1].root

    @property
    def position(self) -> Position:
        """Its position in the publisher's history."""
        return Position(self.document.epoch, self.document.version)

    @property
    def signer_labels(self) -> tuple[str, ...]:
        """The names of the keys that signed."""
        return tuple(self.root.keys[keyid].label for keyid in self.signers.signed_by)

    @property
    def state(self) -> TrustedState:
        """What to trust from now on."""
        return TrustedState(self.publisher, self.roots, self.seen)

    @property
    def seen(self) -> Seen:
        """What to remember even if the file is lost."""
        return Seen(self.position, self.digest, self.root.version)


def accept(data: bytes, trusted: TrustedState, now: datetime) -> Accepted:
    """Judge an index file in memory against what is trusted; raises a `RefusedError` that names the step."""
    return accept_pieces(read_by_pieces(data), trusted, now, MemoryRows())


def accept_pieces(pieces: Iterable[bytes], trusted: TrustedState, now: datetime, sink: RowSink) -> Accepted:
    """Judge an index file that is read in chunks, with its rows in `sink`; raises as `accept` does.

    A file that is too large or malformed is refused at the chunk that shows it.
    """
    return _accept(pieces, trusted, now, sink, complete=True)


def accept_draft(data: bytes, trusted: TrustedState, now: datetime) -> Accepted:
    """Judge an index that is still being signed: like `accept`, but its `signers` may be too few."""
    return _accept(read_by_pieces(data), trusted, now, MemoryRows(), complete=False)


def accept_delta(
    delta: Delta, base: Accepted, rows: Iterable[bytes], trusted: TrustedState, now: datetime, sink: RowSink
) -> Accepted:
    """Judge the index that a delta makes from an accepted one, whose `rows` are in RFC 8785 form; raises as `accept`.

    All rules for a file apply: it is the same document with the same signatures.
    """
    if delta.base != base.digest or not delta.roots:
        raise RefusedError(1, "the delta is from another index", expected=base.digest, got=delta.base)
    try:
        roots = tuple(map(parse_signed_root, delta.roots))
        _accept_roots(roots, trusted)
        header = parse_header(delta.signed)
        read = IndexRead(roots, delta.signed, delta.signatures, *signed_parts(delta.signed), problem=None)
    except FormatError as error:
        raise _malformed(1, error) from error
    for number, (canonical, row) in enumerate(delta.applied(rows)):
        if number == MAX_ENTRIES:
            raise RefusedError(7, "the index has too many entries", expected=f"at most {MAX_ENTRIES} entries")
        sink.add(canonical, row)
    # There is no file to copy: storing it means printing one.
    return replace(_judge(read, header, trusted, now, sink, complete=True), stands_alone=False)


def judge_again(accepted: Accepted, trusted: TrustedState) -> Accepted:
    """Judge an accepted index again, against another state of the same reader, which may trust more now or less.

    Checks that depend only on its bytes are not repeated. Raises as `accept` does.
    """
    document = accepted.document
    roots = _accept_roots(accepted.roots, trusted)
    header = Header(accepted.publisher, document.root_version, document.epoch, document.version, document.previous)
    _check_header(header, roots[0].root.digest, roots[-1].root)
    _check_position(header, accepted.digest, trusted.seen)
    unchanged = trusted.seen is not None and trusted.seen.digest == accepted.digest
    return replace(accepted, roots=roots, unchanged=unchanged)


def accept_roots(offered: tuple[SignedRoot, ...], trusted: TrustedState) -> tuple[SignedRoot, ...]:
    """Judge only a chain of roots (steps 2 and 3); return the whole chain from root 1."""
    return _accept_roots(offered, trusted)


def _accept(
    pieces: Iterable[bytes], trusted: TrustedState, now: datetime, sink: RowSink, *, complete: bool
) -> Accepted:
    try:
        # The rows of another publisher's file are only skipped.
        read = read_index(pieces, sink, lambda offered: _accept_roots(offered, trusted))
        header = parse_header(read.header)
    except FormatError as error:
        raise _malformed(1, error) from error
    return _judge(read, header, trusted, now, sink, complete=complete)


def _judge(
    read: IndexRead, header: Header, trusted: TrustedState, now: datetime, sink: RowSink, *, complete: bool
) -> Accepted:
    """Do steps 2 to 7 for an index whose rows are in `sink`."""
    roots = _accept_roots(read.roots, trusted)
    newest = roots[-1].root
    prefix = pae_before(INDEX_TYPE, len(read.before) + sink.size + len(read.after))
    with sink.message(prefix + read.before, read.after) as message:
        signers = _check_signatures(read.signatures, message, newest, complete=complete)
        with memoryview(message) as signed, signed[len(prefix) :] as payload:
            digest = Sha256.of(payload)
    _check_header(header, roots[0].root.digest, newest)
    _check_position(header, digest, trusted.seen)
    try:
        if read.problem is not None:
            raise read.problem
        document = checked_document(read.header, *sink.finish())
    except FormatError as error:
        raise _malformed(7, error) from error
    return Accepted(
        publisher=roots[0].root.digest,
        roots=roots,
        document=document,
        digest=digest,
        signers=signers,
        unchanged=trusted.seen is not None and trusted.seen.digest == digest,
        age_days=(now - document.issued).days,
        signatures=read.signatures,
        header=read.header,
        stands_alone=read.roots[0].root.version == 1,
    )


def _malformed(step: int, error: FormatError) -> RefusedError:
    return RefusedError(step, error.what, expected=error.expected, got=error.got, hint=error.hint)


def _accept_roots(offered: tuple[SignedRoot, ...], trusted: TrustedState) -> tuple[SignedRoot, ...]:
    known = {signed.root.version: signed for signed in trusted.roots}
    first = offered[0].root
    if first.version == 1:
        expected = trusted.publisher or first.digest
        if first.digest != expected:
            raise RefusedError(2, "root 1 is not that of the pinned publisher", expected=expected, got=first.digest)
        _check_self_signed(offered[0])
        before: tuple[SignedRoot, ...] = ()
    else:
        # No predecessor here vouches for the first root: if it differs from ours, that proves no equivocation.
        if first.version not in known or known[first.version].root.digest != first.digest:
            raise RefusedError(
                2, "the chain of roots starts at a root that is not trusted", expected="root 1", got=first.version
            )
        before = tuple(signed for version, signed in sorted(known.items()) if version < first.version)
    for old, new in itertools.pairwise(offered):
        _check_succession(old.root, new)
    chain = before + offered
    _check_against_known(chain, known)
    newest = max(max(known, default=0), trusted.seen.root_version if trusted.seen else 0)
    if chain[-1].root.version < newest:
        raise RollbackError(
            4, "the newest root of the file is older than the trusted one", expected=f"root {newest} or newer",
            got=f"root {chain[-1].root.version}",
        )  # fmt: skip
    # Keep our copy of a known root: the offered one may have the same document with invalid signatures.
    return tuple(known.get(signed.root.version, signed) for signed in chain)


def _check_self_signed(signed: SignedRoot) -> None:
    _require(2, signed, signed.root, "root 1 is not signed by its own root keys")


def _check_succession(old: Root, signed: SignedRoot) -> None:
    new = signed.root
    if new.version != old.version + 1:
        raise RefusedError(3, "a root is missing from the chain", expected=f"root {old.version + 1}", got=new.version)
    if new.previous != old.digest:
        raise RefusedError(
            3, f"root {new.version} does not name its predecessor", expected=old.digest, got=new.previous
        )
    _require(3, signed, old, f"root {new.version} is not signed by enough root keys of root {old.version}")
    _require(3, signed, new, f"root {new.version} is not signed by enough of its own root keys")
    if new.index_epoch < old.index_epoch:
        raise RefusedError(
            3, f"root {new.version} lowers the index epoch", expected=f"at least {old.index_epoch}", got=new.index_epoch
        )


def _require(step: int, signed: SignedRoot, judge: Root, what: str) -> None:
    try:
        result = judge.check(ROOT_ROLE, ROOT_TYPE, signed.root.payload, signed.signatures)
    except FormatError as error:
        raise _malformed(step, error) from error
    _require_met(step, result, judge, what)


def _require_met(step: int, result: ThresholdResult, judge: Root, what: str) -> None:
    if not result.met:
        missing = ", ".join(f"{judge.keys[keyid].label} ({keyid})" for keyid in result.missing)
        raise ThresholdError(
            step,
            what,
            expected=plural(result.threshold, "signature"),
            got=len(result.signed_by),
            hint=f"no valid signature by {missing}",
            threshold=result,
        )


def _check_against_known(chain: tuple[SignedRoot, ...], known: Mapping[int, SignedRoot]) -> None:
    for signed in chain:
        before = known.get(signed.root.version)
        if before is not None and before.root.digest != signed.root.digest:
            raise EquivocationError(
                3, f"another root {signed.root.version} is already trusted", expected=before.root.digest,
                got=signed.root.digest,
            )  # fmt: skip


def _check_signatures(signatures: JsonValue, message: Message, newest: Root, *, complete: bool) -> ThresholdResult:
    try:
        result = newest.check_message(INDEX_ROLE, message, signatures)
    except FormatError as error:
        raise _malformed(4, error) from error
    if complete:
        _require_met(4, result, newest, f"the index is not signed by enough index keys of root {newest.version}")
    return result


def _check_header(header: Header, publisher: Sha256, newest: Root) -> None:
    if header.publisher != publisher:
        raise RefusedError(5, "the index is of another publisher", expected=publisher, got=header.publisher)
    if header.root_version != newest.version:
        raise RefusedError(
            5, "the index was made under another root", expected=f"root {newest.version}", got=header.root_version
        )
    if header.epoch != newest.index_epoch:
        raise RefusedError(
            5, "the index epoch is not the one its root names", expected=newest.index_epoch, got=header.epoch
        )


def _check_position(header: Header, digest: Sha256, seen: Seen | None) -> None:
    if seen is None:
        return
    position = Position(header.epoch, header.version)
    if position < seen.position:
        raise RollbackError(
            6, f"index {position} is older than {seen.position}, already accepted", expected=seen.position, got=position
        )
    if position == seen.position and digest != seen.digest:
        raise EquivocationError(
            6, f"the publisher signed two different indexes {position}", expected=seen.digest, got=digest,
            hint="ask the publisher: a key may be stolen; both files are kept as evidence",
        )  # fmt: skip
    if position == Position(seen.position.epoch, seen.position.version + 1) and header.previous != seen.digest:
        raise EquivocationError(
            6, f"index {position} does not continue the index {seen.position} accepted before", expected=seen.digest,
            got=header.previous, hint="the publisher signed two histories; both files are kept as evidence",
        )  # fmt: skip
