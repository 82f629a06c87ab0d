"""What a name means at the Hub's place, and who says what `main` is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from p2pqwen.index.voice import Voice
from p2pqwen.operations.hub_endpoint.names import ListQuery, MainWords, Names
from p2pqwen.server.hub_catalogue import HubMovedError, HubRefusedError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from tests.support.publishing import NOW, Rules, chain, make_document, make_entry

ROOTS = chain(Rules())
REPO = RepoId("Qwen/Tiny")
OLD, NEW = make_entry(1), replace(make_entry(2), added=NOW + timedelta(days=1))
HELD = SnapshotId(REPO, CommitId(b"\xab" * 20))
OTHER = SnapshotId(REPO, CommitId(b"\xac" * 20))


def names(*entries, held=(), cache=None, shown=()):
    document = make_document(ROOTS, entries=entries)
    voices = (Voice.of(ROOTS[0].root.digest, ROOTS[0].root, document),)
    times = dict(shown)
    words = MainWords(lambda _: cache, times.get)
    return Names(lambda: voices, lambda repo: [one for one in held if one.repo == repo], words)


@pytest.mark.parametrize(
    ("known", "revision", "found"),
    [
        (names(OLD, NEW), "main", NEW.id),
        (names(NEW, OLD), "HEAD", NEW.id),
        (names(OLD, held=[HELD], cache=HELD.commit, shown=[(HELD, NOW)]), "main", OLD.id),  # a listing comes first
        (names(held=[HELD, OTHER], cache=OTHER.commit, shown=[(HELD, NOW)]), "main", OTHER),
        (names(held=[HELD, OTHER], shown=[(HELD, NOW), (OTHER, NOW - timedelta(1))]), "main", HELD),
        (names(held=[HELD], cache=OTHER.commit), "main", "RevisionNotFound"),  # a proof alone never says
        (names(OLD, held=[HELD]), str(HELD.commit), HELD),
        (names(OLD, held=[HELD]), str(HELD.commit)[:7], HELD),
        (names(OLD, held=[HELD]), str(HELD.commit)[:6], "RevisionNotFound"),
        (names(held=[HELD]), str(HELD.commit).upper(), "RevisionNotFound"),
        (names(OLD), str(OTHER.commit), "RevisionNotFound"),
        (names(OLD), "v1.0", "RevisionNotFound"),
        (names(OLD), "", "RevisionNotFound"),
        (names(), "main", "RepoNotFound"),
        (names(make_entry(1, "Qwen/Else")), "main", "RepoNotFound"),
    ],
)
def test_what_a_revision_is(known, revision, found):
    if isinstance(found, SnapshotId):
        meant = known.resolve(REPO, revision)
        assert meant.id == found
        assert meant.why
    else:
        with pytest.raises(HubRefusedError) as refused:
            known.resolve(REPO, revision)
        assert refused.value.problem.code == found


def test_two_commits_with_the_same_first_digits_are_neither():
    first, second = (SnapshotId(REPO, CommitId(b"\xab\xcd\xef\x01" + bytes([number]) * 16)) for number in (1, 2))
    with pytest.raises(HubRefusedError):
        names(held=[first, second]).resolve(REPO, "abcdef01")


def test_a_name_in_another_case_leads_to_the_listed_one():
    known = names(make_entry(1, "Qwen/Tiny"), make_entry(2, "datasets/qwen/tiny"))
    with pytest.raises(HubMovedError) as moved:
        known.resolve(RepoId("QWEN/tiny"), "main")
    assert moved.value.own == REPO
    assert names(make_entry(1, "Qwen/Tiny"), held=[SnapshotId(RepoId("qwen/tiny"), HELD.commit)]).resolve(
        RepoId("qwen/tiny"), str(HELD.commit)
    )  # what is held under just this name is that


LISTED = (
    make_entry(1, "Qwen/Tiny"), make_entry(2, "Qwen/Tiny"), make_entry(3, "Else/Tiny-2"), make_entry(4, "Qwen/Large"),
    make_entry(5, "datasets/Qwen/Tiny"),
)  # fmt: skip
LENT = [RepoId("Qwen/Tiny"), RepoId("Mine/Tiny"), RepoId("Mine/Tiny", RepoKind.DATASET)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (ListQuery(RepoKind.MODEL), ["Else/Tiny-2", "Mine/Tiny", "Qwen/Large", "Qwen/Tiny"]),
        (ListQuery(RepoKind.DATASET), ["Mine/Tiny", "Qwen/Tiny"]),
        (ListQuery(RepoKind.MODEL, ("TINY",)), ["Else/Tiny-2", "Mine/Tiny", "Qwen/Tiny"]),
        (ListQuery(RepoKind.MODEL, ("tiny", "2")), ["Else/Tiny-2"]),
        (ListQuery(RepoKind.MODEL, (), "qwen"), ["Qwen/Large", "Qwen/Tiny"]),
        (ListQuery(RepoKind.MODEL, (), "tiny"), []),
        (ListQuery(RepoKind.MODEL, (), "", "Mine/Tiny"), ["Qwen/Large", "Qwen/Tiny"]),
        (ListQuery(RepoKind.MODEL, (), "", "-5"), ["Else/Tiny-2", "Mine/Tiny", "Qwen/Large", "Qwen/Tiny"]),
    ],
)
def test_what_is_listed(query, found):
    rows = list(names(*LISTED).search(query, LENT))
    assert [repo.text for repo, _ in rows] == found
    newest = {repo: entry for repo, entry in rows if entry is not None}
    assert set(newest) == {repo for repo, _ in rows if repo.text != "Mine/Tiny"}
    assert all(entry.id.repo == repo for repo, entry in newest.items())


def test_of_several_commits_the_newest_stands_for_the_repository():
    [(_, entry)] = names(OLD, NEW).search(ListQuery(RepoKind.MODEL), [])
    assert entry == NEW
