"""Attacks 125 to 130: on deltas, on what servers say of a file, and on the database beside an accepted index."""

from __future__ import annotations

import gc
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.index.acceptance import Accepted, TrustedState, accept
from p2pqwen.index.delta import MAX_DELTA, delta_location, make_delta
from p2pqwen.library.home import Home
from p2pqwen.library.index_rows import judging
from p2pqwen.library.index_rows.judging import rows_of
from p2pqwen.library.index_rows.parts import Parts
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.mirrors.location import Location
from p2pqwen.operations.indexes import mirror_index
from p2pqwen.operations.indexes.trust import add_publisher
from p2pqwen.operations.indexes.update import update
from p2pqwen.operations.indexes.updated import SourceResult, SourceState
from tests.attacks.victim import NOW, SIGNERS, TRUSTED_VERSION, Victim
from tests.support.addresses import LOOPBACK
from tests.support.mirror_server import Handler, MirrorServer, mirror
from tests.support.publishing import Publisher, digest, make_document, make_entry, make_index
from tests.support.waiting import wait_until

NEXT = (0, TRUSTED_VERSION + 1)


@pytest.fixture(autouse=True)
def small_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas are asked for of an index of any size."""
    monkeypatch.setattr(mirror_index, "LARGE", 1)
    monkeypatch.setattr(mirror_index, "PEEK", 1024)


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with mirror() as one:
        yield one


def body(content: bytes, **headers: str) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        if (etag := headers.get("ETag")) and handler.headers.get("If-None-Match") == etag:
            handler.send_response(304)
            handler.end_headers()
            return
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def at(victim: Victim, server: MirrorServer) -> SourceResult:
    """What the server's answer was worth, the only mirror there is."""
    victim.store._write_sources(victim.publisher, (f"{server.url}/",))
    (result,) = victim.update().sources
    return result


def judged(victim: Victim, data: bytes) -> Accepted:
    return accept(data, TrustedState(victim.publisher, victim.roots), NOW)


def delta_of(victim: Victim, data: bytes, **changes: Any) -> bytes:
    """The delta from the trusted index to another file, with fields of it changed."""
    before, after = judged(victim, victim.good), judged(victim, data)
    roots = [one.to_json() for one in after.roots]
    made = make_delta(
        before.digest, rows_of(before), after.digest, rows_of(after), roots=roots, signed=after.header,
        signatures=after.signatures,
    )  # fmt: skip
    assert made is not None
    return json.dumps({**json.loads(made.encode()), **changes}).encode()


def place(victim: Victim) -> str:
    return f"/{delta_location(digest(victim.trusted))}"


def trusted_rows(victim: Victim) -> list[bytes]:
    listing = victim.store.get(victim.publisher, now=NOW).accepted
    assert listing is not None
    return list(rows_of(listing))


def test_125_an_honest_delta_is_all_that_comes(victim: Victim, server: MirrorServer):
    file = victim.next_file()
    server.answers["/index.json"] = body(file)
    server.answers[place(victim)] = body(delta_of(victim, file))
    assert at(victim, server).state is SourceState.NEWER
    assert victim.version() == NEXT
    assert server.asked == ["/index.json", place(victim)]
    assert server.headers_seen[0]["Range"] == "bytes=0-1023"
    assert trusted_rows(victim) == list(rows_of(judged(victim, file)))


def test_the_database_of_what_an_update_replaces_is_closed_at_once(victim: Victim, server: MirrorServer):
    """A node of five large publishers kept 5 GB of removed files open in an hour, until a full collection came by."""
    file = victim.next_file()
    server.answers["/index.json"] = body(file)
    server.answers[place(victim)] = body(delta_of(victim, file))
    gc.collect()
    before = open_databases()
    gc.disable()
    try:
        assert at(victim, server).state is SourceState.NEWER
        # No collection is needed; a thread that has just ended its work may hold its result for a moment.
        wait_until(lambda: open_databases() == before, 30, "the databases to be closed")
    finally:
        gc.enable()


def open_databases() -> int:
    return sum(type(one) is Parts for one in gc.get_objects())


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(MAX_DELTA // (1 << 20) + 8):
        handler.wfile.write(b" " * (1 << 20))


def cut_off(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b'{"type": "index-delta",')
    handler.close_connection = True


LIES: dict[str, Callable[[Victim, bytes], bytes | Callable[[Handler], None]]] = {
    "125-from-another-index": lambda victim, file: delta_of(victim, file, **{"from": "0" * 64}),
    "125-reordered": lambda victim, file: delta_of(
        victim,
        file,
        changed=[make_entry(one).to_json() for one in sorted((2, 3), key=lambda n: make_entry(n).id)][::-1],
    ),
    "125-truncated": lambda victim, file: delta_of(victim, file)[:-30],
    "125-cut-off": lambda victim, file: cut_off,
    "125-endless": lambda victim, file: endless,
    "125-html": lambda victim, file: b"<html>404, but with status 200</html>",
    "125-a-row-more": lambda victim, file: delta_of(
        victim, file, changed=[make_entry(one).to_json() for one in sorted((2, 3), key=lambda n: make_entry(n).id)]
    ),
    "125-a-row-less": lambda victim, file: delta_of(victim, file, changed=[]),
    "125-a-row-changed": lambda victim, file: delta_of(
        victim, file, changed=[{**make_entry(2).to_json(), "license": "mit"}]
    ),
    "125-a-row-removed": lambda victim, file: delta_of(
        victim, file, removed=[{key: make_entry(1).to_json()[key] for key in ("repo", "commit", "repo_type", "recipe")}]
    ),
    "125-unsigned": lambda victim, file: delta_of(victim, file, signatures=[]),
    "125-nested": lambda victim, file: b'{"a":' * 100_000,
    "125-repeated-key": lambda victim, file: delta_of(victim, file).rstrip()[:-1] + b', "spec": 1}',
    "126-an-older-version": lambda victim, file: delta_of(
        victim, make_index(victim.roots, make_document(victim.roots, 3), SIGNERS)
    ),
    "126-a-second-history": lambda victim, file: delta_of(
        victim, make_index(victim.roots, make_document(victim.roots, TRUSTED_VERSION, [make_entry(8)]), SIGNERS)
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_delta_that_lies_costs_the_way_to_the_file(victim: Victim, server: MirrorServer, lie):
    file = victim.next_file()
    offered = lie(victim, file)
    server.answers["/index.json"] = body(file)
    server.answers[place(victim)] = offered if callable(offered) else body(offered)
    assert at(victim, server).state is SourceState.NEWER
    assert victim.version() == NEXT
    assert victim.store.index_path(victim.publisher).read_bytes() == file
    assert server.asked == ["/index.json", place(victim), "/index.json"]
    assert victim.evidence() == set()
    assert not list(victim.home.trust.glob(".*"))


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_delta_that_lies_beside_a_file_that_lies(victim: Victim, server: MirrorServer, lie):
    file = victim.next_file()
    offered = lie(victim, file)
    before = victim.on_disk()
    server.answers["/index.json"] = body(file.replace(b"apache-2.0", b"apache-2.1"))
    server.answers[place(victim)] = offered if callable(offered) else body(offered)
    result = at(victim, server)
    assert (result.state, result.step) == (SourceState.REFUSED, 4)
    after = victim.on_disk()
    assert {name: data for name, data in after.items() if "sources" not in name} == {
        name: data for name, data in before.items() if "sources" not in name
    }


def test_126_a_delta_to_another_version_than_the_file_is_an_index_like_any_other(victim: Victim, server: MirrorServer):
    """A newer valid one is taken, and the next update asks for the file, whatever its ETag: it may be newer still."""
    after = judged(victim, victim.next_file()).digest
    entries = [victim.entry, make_entry(2)]
    document = make_document(victim.roots, TRUSTED_VERSION + 2, entries, previous=after)
    newest = make_index(victim.roots, document, SIGNERS)
    server.answers["/index.json"] = body(newest, ETag='"newest"')
    server.answers[place(victim)] = body(delta_of(victim, victim.next_file()))
    assert at(victim, server).state is SourceState.NEWER
    assert victim.version() == NEXT
    assert at(victim, server).state is SourceState.NEWER
    assert victim.version() == (0, TRUSTED_VERSION + 2)


def test_127_a_server_that_says_unchanged_to_who_did_not_ask(victim: Victim, server: MirrorServer):
    def unchanged(handler: Handler) -> None:
        handler.send_response(304)
        handler.end_headers()

    server.answers["/index.json"] = unchanged
    result = at(victim, server)
    assert result.state is SourceState.UNREACHABLE
    assert "304" in result.detail
    assert victim.version() == (0, TRUSTED_VERSION)


def test_127_an_etag_stands_for_the_index_it_came_with_alone(victim: Victim, server: MirrorServer):
    server.answers["/index.json"] = body(victim.good, ETag='"one"')
    assert at(victim, server).state is SourceState.UNCHANGED
    assert at(victim, server).state is SourceState.UNCHANGED
    assert server.headers_seen[-1]["If-None-Match"] == '"one"'
    victim.source.write_bytes(victim.next_file())
    victim.store._write_sources(victim.publisher, (str(victim.source),))
    assert victim.update().ok
    assert victim.version() == NEXT
    result = at(victim, server)  # it still has the old one, by the old name
    assert "If-None-Match" not in server.headers_seen[-1]
    assert result.state is SourceState.REFUSED


def test_what_the_first_trust_was_told_saves_the_first_update_the_file(tmp_path: Path, server: MirrorServer):
    maker, store = Publisher(), TrustStore(Home(tmp_path / "home"), LOOPBACK)
    server.answers["/index.json"] = body(maker.publish(), ETag='"one"')
    source = Location(f"{server.url}/")
    held = add_publisher(store, maker.id, source, now=NOW)
    (result,) = update(store, held, now=NOW).sources
    assert result.state is SourceState.UNCHANGED
    assert server.headers_seen[-1]["If-None-Match"] == '"one"'
    server.answers["/index.json"] = body(maker.publish(), ETag='"two"')
    (result,) = update(store, store.get(maker.id, now=NOW), now=NOW).sources
    assert result.state is SourceState.NEWER


@pytest.mark.parametrize(
    "etag", ['"a', "a", '"a b"', '"' + "a" * 300 + '"', '"\xe9"'], ids=lambda etag: f"128-{etag[:6]!a}"
)
def test_an_etag_that_is_none_is_not_sent_again(victim: Victim, server: MirrorServer, etag):
    server.answers["/index.json"] = body(victim.good, ETag=etag)
    assert at(victim, server).state is SourceState.UNCHANGED
    assert at(victim, server).state is SourceState.UNCHANGED
    assert "If-None-Match" not in server.headers_seen[-1]


def database(victim: Victim) -> Path:
    (found,) = victim.store.folder(victim.publisher).glob("index.*.sqlite")
    return found


def rewritten(victim: Victim, change: Callable[[sqlite3.Connection], object]) -> None:
    with sqlite3.connect(database(victim)) as connection:
        change(connection)
    connection.close()


DATABASES: dict[str, Callable[[sqlite3.Connection], object]] = {
    "129-another-row": lambda it: it.execute(
        "UPDATE parts SET body = CAST(replace(CAST(body AS TEXT), 'apache', 'xxxxxx') AS BLOB) WHERE id >> 32 = 2"
    ),
    "129-no-rows": lambda it: it.execute("DELETE FROM parts WHERE id >> 32 = 2"),
    "129-no-words": lambda it: it.execute("UPDATE parts SET body = x'' WHERE id >> 32 = 4"),
    "129-no-hashes": lambda it: it.execute("UPDATE parts SET body = x'' WHERE id >> 32 IN (5, 6, 7, 8)"),
    "129-another-list": lambda it: it.execute("UPDATE parts SET body = x'' WHERE id >> 32 = 1"),
    "129-no-seal": lambda it: it.execute("DELETE FROM parts WHERE id = 0"),
}


@pytest.mark.parametrize("change", DATABASES.values(), ids=DATABASES.keys())
def test_a_database_that_says_something_else_is_not_believed(victim: Victim, change):
    rewritten(victim, change)
    file = victim.store.index_path(victim.publisher).read_bytes()
    said: list[str] = []
    held = victim.store.get(victim.publisher, now=NOW, report=lambda event: said.append(str(event)))
    assert held.document is not None
    assert list(held.document.entries) == [victim.entry]
    assert list(held.document.listing.having(["apache"])) == [victim.entry]
    assert held.document.listing.find(victim.entry.infohash) == [victim.entry]
    assert any("is rebuilt" in one for one in said)
    assert victim.store.index_path(victim.publisher).read_bytes() == file


def test_130_a_file_that_changes_after_it_was_judged(victim: Victim, monkeypatch):
    """The mirror is a folder that somebody else can write to."""
    victim.source.write_bytes(victim.next_file())
    judge = judging.accept_pieces

    def then_change(*given: Any) -> Accepted:
        found = judge(*given)
        victim.source.write_bytes(victim.next_file().replace(b"apache-2.0", b"apache-2.1"))
        return found

    monkeypatch.setattr(judging, "accept_pieces", then_change)
    before = victim.on_disk()
    (result,) = victim.update().sources
    assert result.state is SourceState.REFUSED
    assert victim.on_disk() == before
