"""What a name means at the Hub's place, and who says what `main` is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from p2pqwen.index.standing import Voice
from p2pqwen.operations.hub_endpoint.names import MainWords, Names
from p2pqwen.server.hub_catalogue import HubRefusedError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
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


def test_the_table_is_made_again_only_when_an_index_has_changed():
    known = names(OLD)
    assert known.table is known.table
