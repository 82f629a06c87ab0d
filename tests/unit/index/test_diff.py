from __future__ import annotations

from dataclasses import replace

from p2pqwen.index.diff import describe, diff
from p2pqwen.index.diff_summary import SHOWN, headline, summarise
from p2pqwen.index.upstream import Upstream
from tests.support.publishing import Rules, chain, make_document, make_entry, withdrawal

ROOTS = chain(Rules())
ONE, TWO, THREE = sorted((make_entry(n) for n in (1, 2, 3)), key=lambda entry: entry.id)


def test_all_kinds_of_change():
    old = make_document(ROOTS, 1, [ONE, TWO])
    gone = replace(TWO, upstream=Upstream.GONE)
    new = make_document(ROOTS, 2, [gone, THREE], withdrawn=(withdrawal(ONE, "license"),))
    found = diff(old, new)
    assert [entry.id for entry in found.added] == [THREE.id]
    assert [entry.id for entry in found.removed] == [ONE.id]
    assert [(one.id, one.fields[0].field, one.fields[0].after) for one in found.changed] == [
        (TWO.id, "upstream", "gone")
    ]
    assert [one.id for one in found.withdrawn] == [ONE.id]
    assert [one.field for one in found.document] == ["version"]
    assert found.alarms == ()
    words = "\n".join(describe(found))
    for expected in ("added", "removed", "withdrawn", "license", "upstream from present to gone"):
        assert expected in words


def test_what_cannot_change_honestly_is_alarming():
    other = replace(ONE, infohash=TWO.infohash, proven=False)
    found = diff(make_document(ROOTS, 1, [ONE]), make_document(ROOTS, 2, [other]))
    assert {alarm.split(": ")[1].split(" ")[0] for alarm in found.alarms} == {
        "infohash_v1",
        "infohash_v2",
        "provenance",
    }


def test_what_came_and_went_is_told_alone():
    moved = replace(ONE, web_seeds=("https://two.example/",), magnet=f"{ONE.magnet}&ws=https%3A%2F%2Ftwo.example%2F")
    found = diff(make_document(ROOTS, 1, [ONE]), make_document(ROOTS, 2, [moved]))
    told = {line.split(": ")[1].split(" ")[0]: line for line in describe(found)}
    assert "adds https://two.example/" in told["web_seeds"].replace('"', "")
    assert " adds ws=https%3A%2F%2Ftwo.example%2F" in told["magnet"]
    assert "xt=urn:btih" not in told["magnet"]


def test_becoming_proven_is_no_alarm():
    old = make_document(ROOTS, 1, [replace(ONE, proven=False)])
    assert diff(old, make_document(ROOTS, 2, [ONE])).alarms == ()


def test_a_new_unproven_entry_alarms():
    """Once: what is listed so already was looked at then."""
    unproven = replace(TWO, proven=False)
    before, after = make_document(ROOTS, 1, [ONE]), make_document(ROOTS, 2, [ONE, unproven])
    assert diff(before, after).alarms == (
        f"{TWO.id} is new and unproven: nothing shows that its files are those of that commit",
    )
    assert diff(None, after).alarms == diff(before, after).alarms
    assert diff(after, make_document(ROOTS, 3, [ONE, unproven, THREE])).alarms == ()


def test_leaving_without_a_word_is_alarming():
    found = diff(make_document(ROOTS, 1, [ONE, TWO]), make_document(ROOTS, 2, [TWO]))
    assert found.alarms == (f"{ONE.id} disappears without being withdrawn",)


def test_nothing_before():
    found = diff(None, make_document(ROOTS, 1, [ONE]))
    assert [entry.id for entry in found.added] == [ONE.id]
    assert found.document == ()


def test_no_difference():
    document = make_document(ROOTS, 1, [ONE])
    assert diff(document, document).empty
    assert describe(diff(document, document)) == ["no differences"]


def test_a_summary_tells_what_is_alike_once_and_what_alarms_always():
    many = [make_entry(number) for number in range(1, 31)]
    old = make_document(ROOTS, 1, many, mirrors=("https://one.example/",))
    changed = [replace(one, web_seeds=(*one.web_seeds, f"https://two.example/{one.id.repo}/")) for one in many[2:]]
    other = replace(many[1], infohash=make_entry(99).infohash)
    new = make_document(
        ROOTS,
        2,
        [other, *changed],
        mirrors=("https://one.example/", "https://three.example/"),
        withdrawn=(withdrawal(many[0], "wrong weights"),),
    )
    words = summarise(diff(old, new))
    assert [line for line in words if "two.example" in line] == [
        f"changed    {min(one.id for one in changed)} and 27 more: web_seeds adds https://two.example/{{repo}}/"
    ]
    assert [line for line in words if line.startswith(("removed", "withdrawn"))] == [
        f"withdrawn  {many[0].id}: wrong weights"
    ]
    assert "index      mirrors adds https://three.example/" in words
    assert len([line for line in words if line.startswith(f"changed    {many[1].id}: infohash")]) == 2
    assert len([line for line in words if line.startswith("ALARM")]) == 2
    assert headline(diff(old, new)) == "1 withdrawn, 29 changed, 2 alarms"


def test_a_summary_counts_licenses_and_says_what_they_ask():
    entries = [make_entry(number, license="mit" if number % 2 else "qwen-research") for number in range(1, 31)]
    words = summarise(diff(None, make_document(ROOTS, 1, [*entries, make_entry(31, license=None)])))
    assert len([line for line in words if line.startswith("added      Qwen/")]) == SHOWN
    assert "license    qwen-research, 15 snapshots: for research only" in words
    assert any(line.startswith("license    none named, 1 snapshot: ") for line in words)
    assert headline(diff(None, make_document(ROOTS, 1, entries))) == "30 added (15 mit, 15 qwen-research)"


def test_a_withdrawal_that_is_taken_back_alarms_listed_again_or_not():
    gone = make_document(ROOTS, 1, [TWO], withdrawn=(withdrawal(ONE, "why"),))
    for entries in ([ONE, TWO], [TWO]):
        found = diff(gone, make_document(ROOTS, 2, entries))
        assert found.alarms == (f"{ONE.id} was withdrawn (why), and no longer is",)
        assert not found.empty
