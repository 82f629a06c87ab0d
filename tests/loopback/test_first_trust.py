"""A first `trust add` of a web address: one download, judged while it comes, told while it lasts, asked before it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pqwen.errors import DiskError, P2pqwenError, UsageError
from p2pqwen.events import Progress
from p2pqwen.index.acceptance import EquivocationError, RefusedError
from p2pqwen.library import index_source, trust_store
from p2pqwen.library.home import Home
from p2pqwen.library.index_rows import judging
from p2pqwen.library.trust_store import EVIDENCE, TrustStore
from p2pqwen.mirrors.location import Location
from p2pqwen.operations.indexes.trust import add_publisher, add_signer
from tests.support.mirror_server import gives, mirror
from tests.support.publishing import NOW, Publisher, make_document, make_entry, make_index

PIECE = 1 << 14


@pytest.fixture
def served():
    with mirror() as server:
        yield server


@pytest.fixture
def store(tmp_path):
    return TrustStore(Home(tmp_path / "home"))


def index(publisher: Publisher, *, reason: str = "", entries: int = 600) -> bytes:
    listed = [make_entry(number, f"Qwen/Tiny-{number:04}") for number in range(entries)]
    return make_index(publisher.roots, make_document(publisher.roots, 1, listed, extra={"note": reason}))


def chunked(data: bytes):
    """An answer that does not say how large it is."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_what_came_is_what_stands(served, store, monkeypatch, links):
    """A large one is not written twice where the disk has hard links."""
    monkeypatch.setattr(index_source, "_IN_MEMORY", 0)
    link_opened, linked = trust_store.files.link_opened, []
    monkeypatch.setattr(
        trust_store.files, "link_opened", lambda *names: linked.append(link_opened(*names)) or linked[-1]
    )
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refused_link)
    publisher, data = Publisher(), index(Publisher())
    served.answers["/index.json"] = gives(data)
    added = add_signer(store, Location(served.url), lambda _: None, now=NOW)
    assert linked == [links]
    path = store.index_path(publisher.id)
    assert path.read_bytes() == data
    assert path.stat().st_nlink == 1
    assert len(added.document.entries) == 600
    assert path.name in left(store)
    assert [name for name in left(store) if "tmp" in name] == []


def test_a_disk_that_fails_while_a_linked_one_is_written_out_leaves_nothing_that_is_believed(
    served, store, monkeypatch
):
    monkeypatch.setattr(index_source, "_IN_MEMORY", 0)
    monkeypatch.setattr(trust_store.files, "sync_file", full_disk)
    served.answers["/index.json"] = gives(index(Publisher()))
    with pytest.raises(DiskError, match="No space left"):
        add_signer(store, Location(served.url), lambda _: None, now=NOW)
    assert not store.index_path(Publisher().id).exists()


def refused_link(*_):
    raise OSError(95, "Operation not supported")


def full_disk(_):
    raise OSError(28, "No space left on device")


def left(store: TrustStore) -> list[str]:
    folder = store.folder(Publisher().id).parent
    return sorted(one.name for one in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("says", [True, False], ids=["with its size", "without"])
def test_what_has_come_and_what_is_verified_is_told_of_the_whole(served, store, monkeypatch, says):
    monkeypatch.setattr(judging, "TOLD_FROM", 0)
    monkeypatch.setattr(judging, "TOLD_EVERY", 0)
    publisher, told = Publisher(), []
    data = index(publisher)
    served.answers["/index.json"] = gives(data) if says else chunked(data)
    add_publisher(store, publisher.id, Location(served.url), now=NOW, report=told.append)
    for stage, detail in (("download", ""), ("verify", "600 entries")):
        stages = [one for one in told if isinstance(one, Progress) and one.stage == stage]
        assert [one.done for one in stages] == sorted(one.done for one in stages)
        assert (stages[-1].done, stages[-1].total, stages[-1].unit) == (len(data), len(data), "bytes")
        assert stages[-1].detail == detail
        assert all(one.total == len(data) if says else one.total in {None, len(data)} for one in stages)


def test_an_index_that_is_refused_is_never_told_to_be_verified(served, store, monkeypatch):
    monkeypatch.setattr(judging, "TOLD_FROM", 0)
    monkeypatch.setattr(judging, "TOLD_EVERY", 0)
    publisher, told = Publisher(), []
    file = json.loads(index(publisher))
    file["signed"]["issued"] = "2026-01-01T00:00:00Z"
    data = json.dumps(file).encode()
    served.answers["/index.json"] = gives(data)
    with pytest.raises(RefusedError) as refused:
        add_publisher(store, publisher.id, Location(served.url), now=NOW, report=told.append)
    assert refused.value.step == 4
    verified = [one.done for one in told if isinstance(one, Progress) and one.stage == "verify"]
    assert verified
    assert max(verified) < len(data)
    assert left(store) == []


def test_who_signed_is_asked_about_once_all_is_judged_and_it_is_fetched_once(served, store):
    publisher, asked = Publisher(), []
    served.answers["/index.json"] = gives(index(publisher), ETag='"1"')

    def confirm(accepted):
        asked.append((accepted.publisher, len(accepted.document.entries), store.ids()))

    added = add_signer(store, Location(served.url), confirm, now=NOW)
    assert asked == [(publisher.id, 600, [])]
    assert served.asked == ["/index.json"]
    assert (added.publisher, added.sources, added.mirrors[0]) == (publisher.id, (served.url,), served.url)
    assert [one.etag for one in store.answers(publisher.id).values()] == ['"1"']
    again = add_signer(store, Location(served.url), confirm, now=NOW)  # one that is known is no other
    assert again.accepted == added.accepted


@pytest.mark.parametrize("error", [P2pqwenError("cancelled"), UsageError("no terminal")])
def test_nothing_is_left_of_an_index_whose_signer_is_not_trusted(served, store, error):
    served.answers["/index.json"] = gives(index(Publisher()))

    def confirm(_):
        raise error

    with pytest.raises(type(error)):
        add_signer(store, Location(served.url), confirm, now=NOW)
    assert left(store) == []


def test_one_that_contradicts_what_is_trusted_is_kept_as_evidence(served, store):
    publisher = Publisher()
    served.answers["/index.json"] = gives(index(publisher))
    add_signer(store, Location(served.url), lambda _: None, now=NOW)
    served.answers["/index.json"] = gives(index(publisher, reason="another"))
    with pytest.raises(EquivocationError):
        add_signer(store, Location(served.url), lambda _: None, now=NOW)
    assert len(list((store.folder(publisher.id) / EVIDENCE).iterdir())) == 2
