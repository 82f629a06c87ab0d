"""The database of an accepted index: it says what the file says, and is believed in no other case."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.errors import DiskError, P2pqwenError, VerificationError
from p2pqwen.events import Notice
from p2pqwen.index import listing as listing_module
from p2pqwen.index.acceptance import Accepted, TrustedState, accept
from p2pqwen.index.listing import Columns, EntryList, claims_of, columns_of
from p2pqwen.library import durable
from p2pqwen.library.checksummed import seal, unseal
from p2pqwen.library.home import Home
from p2pqwen.library.index_rows import judging, rows_builder, stored_listing
from p2pqwen.library.index_rows.beside import read_accepted, rebuild
from p2pqwen.library.index_rows.parts import Parts
from p2pqwen.library.index_rows.records import ROWS_IN_PART
from p2pqwen.library.index_rows.rows_builder import RowsBuilder
from p2pqwen.library.index_rows.stored_listing import StoredListing
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.strict_json import canonical
from tests.support.publishing import NOW, Rules, chain, make_document, make_entry, make_index, withdrawal

ROOTS = chain(Rules())
PUBLISHER = ROOTS[0].root.digest
COUNT = 3 * ROWS_IN_PART + 5
LICENSES = ("apache-2.0", None, "Straße\tund\nWeg", "other")


def entries() -> list[Any]:
    found = [
        replace(make_entry(number, f"Org{number % 7}/Model-{number // 3}"), license=LICENSES[number % 4])
        for number in range(COUNT)
    ]
    # A repository whose name begins another's, and the same name among datasets and at another origin.
    more = ("Org1/Model", "Org1/Model", "datasets/Org1/Model", "modelscope:Org1/Model", "datasets/Org1/Model")
    return [*found, make_entry(3, "Org1/Model-1x"), *(make_entry(number, name) for number, name in enumerate(more))]


def other_rows() -> list[dict[str, Any]]:
    """Rows of kinds that this version does not know, more of one name than a part has."""
    row = make_entry(1, "Org1/Model-1").to_json()
    return [{**row, "repo_type": "space", "recipe": number} for number in range(1, ROWS_IN_PART + 20)]


@cache
def make_file(others: int = 0, version: int = 1) -> bytes:
    document = make_document(ROOTS, version, entries(), withdrawn=(withdrawal(make_entry(9, "Gone/Model"), "why"),))
    signed = document.to_json()
    rows: Any = [*signed["entries"], *other_rows()[:others]]  # type: ignore[misc]
    signed["entries"] = sorted(rows, key=lambda row: (row["repo"], row["commit"], row["repo_type"], row["recipe"]))
    return make_index(ROOTS, signed)


@cache
def judged(data: bytes) -> Accepted:
    """What the file itself says, without a database."""
    return accept(data, TrustedState(PUBLISHER), NOW)


@pytest.fixture(scope="module", params=[0, 3, ROWS_IN_PART + 19], ids=["plain", "some skipped", "many skipped"])
def stored(request, tmp_path_factory) -> tuple[Path, bytes]:
    """A file that was accepted, its database beside it; what changes them takes `one`."""
    data = make_file(request.param)
    path = tmp_path_factory.mktemp("stored") / "index.json"
    path.write_bytes(data)
    rebuild(path, PUBLISHER, NOW)
    return path, data


@pytest.fixture
def one(tmp_path: Path) -> Path:
    path = tmp_path / "index.json"
    path.write_bytes(make_file())
    rebuild(path, PUBLISHER, NOW)
    return path


def database(path: Path) -> Path:
    (found,) = path.parent.glob("index.*.sqlite")
    return found


def no_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on whatever reads a file again fails."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the file was verified again")

    monkeypatch.setattr(judging, "accept_pieces", fail)


def test_it_says_what_the_file_says(stored, monkeypatch):
    path, data = stored
    plain = judged(data)
    no_verification(monkeypatch)
    found = read_accepted(path, PUBLISHER, NOW)
    assert found == plain
    assert found.state == plain.state
    assert found.header == plain.header
    listing = found.document.entries
    assert isinstance(listing, StoredListing)
    assert list(listing) == list(plain.document.entries)
    assert [listing[at] for at in range(-3, 3)] == [plain.document.entries[at] for at in range(-3, 3)]
    assert listing[COUNT // 2] == plain.document.entries[COUNT // 2]
    assert listing[5:9] == list(plain.document.entries[5:9])
    assert tuple(found.document.skipped) == tuple(plain.document.skipped)
    assert canonical(found.document.to_json()) == canonical(plain.document.to_json())
    with pytest.raises(IndexError):
        listing[len(listing)]


WORDS = [
    (), ("",), ("model",), ("MODEL-1",), ("org1/model",), ("apache",), ("org3", "apache"), ("apache", "nothing"),
    ("straße",), ("STRASSE",), ("und",), ("weg",), ("und weg",), ("\t",), ("\n",), ("\tund",), ("a",), ("ab",), ("0",),
    ("deadbeef",), ("f" * 41,), ("é",), ("\ud800",), ("org1/model\t",),
    ("datasets",), ("datasets/org1",), ("modelscope:",), ("modelscope:org1/model",),
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=ascii)
def test_words_find_the_same_entries(stored, words):
    path, data = stored
    plain = EntryList(tuple(judged(data).document.entries))
    listing = read_accepted(path, PUBLISHER, NOW).document.listing
    assert list(listing.having(words)) == list(plain.having(words))


def test_columns_say_what_the_entries_say(stored, monkeypatch):
    path, data = stored
    plain = judged(data).document.entries
    no_verification(monkeypatch)
    listing = read_accepted(path, PUBLISHER, NOW).document.listing
    monkeypatch.setattr(stored_listing, "_row", lambda _: pytest.fail("an entry was made"))
    found = Columns()
    for some in listing.columns():
        found.extend(some)
    assert found == columns_of(plain)
    assert len(found.names) == len(plain)
    assert [one for some in listing.claims() for one in some.added] == claims_of(plain).added
    assert [one for some in listing.claims() for one in some.torrents] == claims_of(plain).torrents


def test_columns_come_in_as_many_parts_as_they_need(tmp_path: Path, monkeypatch):
    for module in (rows_builder, listing_module):
        monkeypatch.setattr(module, "COLUMNS_AT_ONCE", 50)
    path = tmp_path / "index.json"
    path.write_bytes(make_file(3))
    listing = rebuild(path, PUBLISHER, NOW).document.listing
    plain = EntryList(tuple(listing))
    assert list(listing.columns()) == list(plain.columns())
    assert list(listing.claims()) == list(plain.claims())
    assert [len(some.names) for some in listing.columns()][:2] == [50, 50]
    assert [len(some.added) for some in listing.claims()] == [len(some.names) for some in listing.columns()]


def test_the_beginning_of_every_hash_finds_its_entry(stored):
    path, data = stored
    listing = read_accepted(path, PUBLISHER, NOW).document.listing
    for entry in judged(data).document.entries[::17]:
        for digits in (str(entry.id.commit), str(entry.infohash.v1), str(entry.infohash.v2)):
            for length in (7, 10, 11, len(digits)):
                assert entry in listing.having([digits[:length].upper()])


def test_everything_is_found_by_what_it_is(stored):
    path, data = stored
    plain = EntryList(tuple(judged(data).document.entries))
    listing = read_accepted(path, PUBLISHER, NOW).document.listing
    for entry in plain:
        assert listing.find(entry.id) == [entry]
        for sought in (entry.infohash, entry.infohash.v1, entry.infohash.v2, entry.id.commit):
            assert listing.find(sought) == plain.find(sought)
    for repo in {entry.id.repo for entry in plain}:
        assert listing.find(repo) == plain.find(repo)
    assert list(listing.repos()) == list(plain.repos())
    beginnings = (
        "", "Org", "Org1/Model", "Org1/Model@", "Org1/Model-1", "Zzz", "datasets/", "data", "datasets/Org1/M",
        "modelscope:Org1/Model@", "m", f"{plain[7].id}"[:-3],
    )  # fmt: skip
    for beginning in beginnings:
        assert sorted(listing.names(beginning)) == sorted(plain.names(beginning))


NAME_WORDS = ((), ("model",), ("ORG1", "1"), ("model-1", "org"), ("apache",), ("datasets",), ("weg",), ("org9",))


def test_names_are_found_by_their_words(stored):
    path, data = stored
    plain = EntryList(tuple(judged(data).document.entries))
    listing = read_accepted(path, PUBLISHER, NOW).document.listing
    for words, kind in product(NAME_WORDS, RepoKind):
        for after in ("", "Org1/Model", "Org1/Model-1", "Org3/Model-100", "~"):
            found = list(listing.called(words, kind, after))
            assert found == list(plain.called(words, kind, after)), (words, kind, after)
    assert {one.id.repo.text for one in listing.called(["1x", "model"], RepoKind.MODEL)} == {"Org1/Model-1x"}
    assert not list(listing.called(["apache"], RepoKind.MODEL))  # a license is no name


def test_a_name_is_found_in_any_case(stored):
    path, data = stored
    plain = EntryList(tuple(judged(data).document.entries))
    listing = read_accepted(path, PUBLISHER, NOW).document.listing
    for repo in islice(plain.repos(), 0, None, 5):
        for text in (repo.text, repo.text.lower(), repo.text.upper()):
            assert listing.spelled(RepoId(text, repo.kind)) == repo == plain.spelled(RepoId(text, repo.kind))
    for name in ("Org1/Mode", "Org1/Model-1xx", "datasets/Org1/Model-1"):
        assert listing.spelled(RepoId.parse(name)) is plain.spelled(RepoId.parse(name)) is None


def test_a_name_is_looked_up_without_going_through_the_index(stored, monkeypatch):
    """However many are listed: a few parts are read, and of their rows only those of that name."""
    path, _ = stored
    listing = read_accepted(path, PUBLISHER, NOW).document.entries
    repo = RepoId("Org6/Model-100")
    read, parsed = [], []
    get, row = Parts.get, stored_listing._row
    monkeypatch.setattr(Parts, "get", lambda *given: read.append(given[1:]) or get(*given))
    monkeypatch.setattr(stored_listing, "_row", lambda line: parsed.append(line) or row(line))
    assert {one.id.repo for one in listing.find(repo)} == {repo}
    assert listing.spelled(RepoId("org6/MODEL-100")) == repo
    assert len(read) <= 6, read
    assert len(parsed) <= 6


def test_what_is_not_listed_is_not_found(stored):
    listing = read_accepted(stored[0], PUBLISHER, NOW).document.listing
    nothing = Sha1(bytes(20)), Sha256(bytes(32))
    absent = [
        RepoId("A/A"), RepoId("Org1/Mode"), RepoId("Org2/Model-1", RepoKind.DATASET), RepoId("Zzz/Zzz"),
        SnapshotId(RepoId("Org1/Model"), CommitId(bytes(20))), SnapshotId(RepoId("Zzz/Zzz"), CommitId(b"\xff" * 20)),
        InfoHash(*nothing), *nothing, CommitId(b"\xff" * 20),
    ]  # fmt: skip
    assert [listing.find(one) for one in absent] == [[]] * len(absent)


def test_an_empty_index(tmp_path: Path):
    path = tmp_path / "index.json"
    path.write_bytes(make_index(ROOTS, make_document(ROOTS, 1, [])))
    rebuild(path, PUBLISHER, NOW)
    listing = read_accepted(path, PUBLISHER, NOW).document.listing
    assert (len(listing), list(listing), listing.find(RepoId("A/B")), list(listing.having(["a"]))) == (0, [], [], [])
    assert (list(listing.columns()), list(listing.claims())) == ([], [])


# Whatever does not fit: the file says what is right, and a new database is made of it.

OTHERS = {
    "of another size": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "of another time": lambda path: os.utime(path, ns=(1, path.stat().st_mtime_ns + 1)),
    "another file of the same content": lambda path: durable.write(path, path.read_bytes()),
    "no database": lambda path: database(path).unlink(),
    "an empty database": lambda path: database(path).write_bytes(b""),
    "no database at all": lambda path: database(path).write_bytes(b"x" * 4096),
    "half a database": lambda path: os.truncate(database(path), database(path).stat().st_size // 2),
    "a database of another version": lambda path: changed_seal(path, format=99),
    "a database of another file": lambda path: changed_seal(path, file={"size": 1, "mtime_ns": "1", "inode": "1"}),
    "a database of another table": lambda path: executed(path, "ALTER TABLE parts RENAME TO pieces"),
    "a missing row": lambda path: executed(path, "DELETE FROM parts WHERE id = (2 << 32) | 1"),
    "a row of another database": lambda path: executed(path, "UPDATE parts SET body = x'7b7d' WHERE id >> 32 = 2"),
    "words of another database": lambda path: executed(path, "UPDATE parts SET body = x'7b7d' WHERE id >> 32 = 4"),
    "columns of another database": lambda path: executed(path, "UPDATE parts SET body = x'5b5d' WHERE id >> 32 = 11"),
    "a header of another database": lambda path: executed(path, "UPDATE parts SET body = x'7b7d' WHERE id >> 32 = 9"),
}


def changed_seal(path: Path, **changes: Any) -> None:
    with sqlite3.connect(database(path)) as connection:
        sealed = unseal(connection.execute("SELECT body FROM parts WHERE id = 0").fetchone()[0], max_bytes=1 << 20)
        connection.execute("UPDATE parts SET body = ? WHERE id = 0", (seal({**sealed, **changes}),))
    connection.close()


def executed(path: Path, statement: str) -> None:
    with sqlite3.connect(database(path)) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_a_database_that_does_not_fit_is_made_again(one: Path, change, monkeypatch):
    plain = accept(one.read_bytes(), TrustedState(PUBLISHER), NOW)
    change(one)
    content = one.read_bytes()
    said: list[object] = []
    found = read_accepted(one, PUBLISHER, NOW, said.append)
    assert list(found.document.entries) == list(plain.document.entries)
    assert found.document.listing.find(RepoId("Org1/Model")) == list(plain.document.listing.find(RepoId("Org1/Model")))
    assert list(found.document.listing.having(["apache"])) == list(plain.document.listing.having(["apache"]))
    assert list(found.document.listing.columns()) == list(plain.document.listing.columns())
    assert one.read_bytes() == content
    no_verification(monkeypatch)
    again = read_accepted(one, PUBLISHER, NOW, said.append)
    assert list(again.document.listing.having(["apache"])) == list(plain.document.listing.having(["apache"]))


def test_a_database_of_another_version_is_no_damage(one: Path):
    changed_seal(one, format=1)
    said: list[object] = []
    read_accepted(one, PUBLISHER, NOW, said.append)
    notices = [(notice.level, notice.text) for notice in said if isinstance(notice, Notice)]
    assert [level for level, _ in notices] == ["info"]
    assert "in the format of this version of p2pqwen" in notices[0][1]


def test_a_database_of_another_publisher_is_not_believed(one: Path, tmp_path: Path):
    """Even one whose seal names the very file: whoever wrote it, the file's own signatures count."""
    other = tmp_path / "other" / "index.json"
    other.parent.mkdir()
    stranger = chain(Rules(root=("stranger",), index=("stranger",)))
    other.write_bytes(make_index(stranger, make_document(stranger, 1, entries()), ["stranger"]))
    rebuild(other, stranger[0].root.digest, NOW)
    target = database(one)
    shutil.copyfile(database(other), target)
    stat = one.stat()
    changed_seal(one, file={"size": stat.st_size, "mtime_ns": str(stat.st_mtime_ns), "inode": str(stat.st_ino)})
    said: list[object] = []
    assert read_accepted(one, PUBLISHER, NOW, said.append).publisher == PUBLISHER
    assert any("is rebuilt" in str(event) for event in said)


def test_a_file_that_is_damaged_is_refused_whatever_the_database_says(one: Path):
    one.write_bytes(one.read_bytes().replace(b"apache-2.0", b"apache-2.1"))
    with pytest.raises(VerificationError):
        read_accepted(one, PUBLISHER, NOW)


def test_one_that_is_damaged_while_it_is_read_is_made_again(one: Path):
    said: list[object] = []
    found = read_accepted(one, PUBLISHER, NOW, said.append)
    plain = list(accept(one.read_bytes(), TrustedState(PUBLISHER), NOW).document.entries)
    executed(one, "UPDATE parts SET body = x'7b7d' WHERE id = (2 << 32) | 2")
    assert list(found.document.entries) == plain
    assert any("is rebuilt" in str(event) for event in said)


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_rows(one: Path):
    found = read_accepted(one, PUBLISHER, NOW)
    executed(one, "UPDATE parts SET body = x'7b7d' WHERE id = (2 << 32) | 2")
    one.write_bytes(make_file(version=2))
    with pytest.raises(VerificationError, match="changed while it was read"):
        list(found.document.entries)


def test_who_reads_the_old_one_reads_on(one: Path):
    """A newer index takes the place of the file, and of its database, while somebody goes through the entries."""
    plain = list(accept(one.read_bytes(), TrustedState(PUBLISHER), NOW).document.entries)
    reading = iter(read_accepted(one, PUBLISHER, NOW).document.entries)
    found = [next(reading)]
    one.write_bytes(make_file(version=2))
    rebuild(one, PUBLISHER, NOW)
    assert [*found, *reading] == plain
    assert database(one)


@pytest.mark.slow
def test_no_flipped_bit_is_silent(one: Path):
    """Wherever it is, in a row or in what SQLite finds rows by: it is told, or nothing reads otherwise."""
    listed = read_accepted(one, PUBLISHER, NOW)
    some = list(listed.document.entries)[::40]

    def asked(said: list[object]) -> list[object]:
        found = read_accepted(one, PUBLISHER, NOW, said.append)
        listing = found.document.listing
        looked = [listing.find(sought) for entry in some for sought in (entry.id, entry.infohash, entry.id.commit)]
        return [
            looked,
            list(listing.having(["apache"])),
            list(listing),
            list(listing.columns()),
            list(listing.claims()),
            found.header,
            found.state,
        ]

    expected, path = asked([]), database(one)
    content, dice = path.read_bytes(), random.Random("flips")
    told = 0
    for _ in range(120):
        at, bit = dice.randrange(len(content)), dice.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        said: list[object] = []
        assert asked(said) == expected
        told += bool(said)
    assert told > 80


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read(one: Path):
    database(one).unlink()
    one.parent.chmod(0o500)
    try:
        assert len(read_accepted(one, PUBLISHER, NOW).document.entries) == COUNT + 6
    finally:
        one.parent.chmod(0o700)


def test_a_disk_without_room_for_a_database(one: Path, monkeypatch):
    database(one).unlink()

    def full(*_: object) -> None:
        raise DiskError("cannot write the database of an index", got="database or disk is full")

    monkeypatch.setattr(RowsBuilder, "place", full)
    said: list[object] = []
    assert len(list(read_accepted(one, PUBLISHER, NOW, said.append).document.entries)) == COUNT + 6
    assert any("could not be written" in str(event) for event in said)


def test_what_is_stored_is_verified_anew_once_a_month(tmp_path: Path):
    store = TrustStore(Home(tmp_path))
    store.pin(PUBLISHER)
    data = make_file()
    store.store(store.judge(data, TrustedState(PUBLISHER), now=NOW), data, now=NOW)
    path = store.index_path(PUBLISHER)
    first = database(path).stat().st_mtime
    day = timedelta(days=1)
    verified = datetime.fromtimestamp(first, UTC)
    assert not store.verify_again(PUBLISHER, now=verified + 29 * day)
    assert store.verify_again(PUBLISHER, now=verified + 31 * day)
    stat = path.stat()
    path.write_bytes(data.replace(b"apache-2.0", b"apache-2.1"))  # as a disk rots: nothing else tells
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.get(PUBLISHER, now=NOW).accepted is not None
    said: list[object] = []
    assert store.verify_again(PUBLISHER, now=verified + 62 * day, report=said.append)
    assert any("damaged and not used" in str(event) for event in said)
    assert store.get(PUBLISHER, now=NOW).accepted is None


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path):
    store = TrustStore(Home(tmp_path))
    store.pin(PUBLISHER)
    for data in (b"{}", make_file()[:-50], make_file().replace(b"apache-2.0", b"apache-2.1")):
        with pytest.raises(P2pqwenError):
            store.judge(data, TrustedState(PUBLISHER), now=NOW)
    assert [path.name for path in Home(tmp_path).trust.iterdir()] == [str(PUBLISHER)]


def test_a_file_that_changes_between_judging_and_storing_is_not_stored(tmp_path: Path):
    store = TrustStore(Home(tmp_path))
    store.pin(PUBLISHER)
    accepted = store.judge(make_file(), TrustedState(PUBLISHER), now=NOW)
    with pytest.raises(VerificationError, match="changed while it was read"):
        store.store(accepted, make_file(version=2), now=NOW)
    assert store.get(PUBLISHER, now=NOW).accepted is None
    assert not list(store.folder(PUBLISHER).glob("index*"))
