"""What goes wrong with one of many stops no other: the helpers, and that nobody loops over others' things without.

A loop over publishers, entries, snapshots, torrents, web seeds, mirrors or peers in which something may fail goes
through `each`, `each_at_once` or `first_of`. Every other one stands in `ELSEWHERE`, with the reason.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.containment import as_error, each, each_at_once, first_of, warn
from p2pqwen.errors import FormatError, Interruption, P2pqwenError
from p2pqwen.operations.archive.hub_watch import CutOffError
from p2pqwen.operations.node.jobs import JobStoppedError
from p2pqwen.operations.verify.scrub import ScrubStoppedError

SOURCES = Path(p2pqwen.__file__).parent
# Pure layers take what is parsed apart; a refusal there is of the whole document (SPEC section 8, step 7).
LAYERS = ("cli", "hub", "library", "mirrors", "operations", "server", "stewardship", "swarm", "webseed")

PARSED = "takes values that were read and checked already; nothing in it fails for one of them"
OWN = "our own files and session: where it fails for one it fails for all, and is told"
INSIDE = "what it calls handles the failure of one by itself, and tells it"
USER = "named by the user in one call, which is refused as a whole"
WHOLE = "one snapshot, or one site, that is made whole or not at all"
ELSEWHERE = {
    "cli/adopt.py::_plan_lines": PARSED,
    "cli/health.py::health": PARSED,
    "cli/index.py::_files": INSIDE,
    "cli/index.py::show": PARSED,
    "cli/index.py::update": INSIDE,
    "cli/list.py::_lines": PARSED,
    "cli/network_options.py::bundle_route": USER,
    "hub/cache.py::_candidates": PARSED,
    "hub/cache_look.py::look_at_cache": INSIDE,
    "hub/git_upload_pack.py::_list_refs": PARSED,
    "hub/looked_for.py::absent_names": PARSED,
    "library/bundles.py::_content": INSIDE,
    "library/bundles.py::enter": OWN,
    "library/folders.py::_snapshots": INSIDE,
    "library/folders.py::away": INSIDE,
    "library/folders.py::remember": INSIDE,
    "library/index_rows/stored_listing.py::called": PARSED,
    "library/snapshots.py::_outstanding": WHOLE,
    "library/snapshots.py::_folders_in": INSIDE,
    "library/state_store.py::_bring_back": OWN,
    "library/state_store.py::_check_seal": OWN,
    "library/state_store.py::_readable_rows": OWN,
    "operations/archive/bulk_survey.py::_each_once": PARSED,
    "operations/archive/bulk_preserve.py::bulk_preserve": PARSED,
    "operations/archive/bulk_survey.py::_ask": INSIDE,
    "operations/archive/watched.py::each_watched": INSIDE,
    "operations/archive/watched.py::listed_of": OWN,
    "operations/indexes/bundle.py::_resolved": INSIDE,
    "operations/indexes/bundle.py::_start": PARSED,
    "operations/indexes/dht_access.py::open": PARSED,
    "operations/indexes/listed_files.py::of": INSIDE,
    "operations/control/alert_watch.py::look": PARSED,
    "operations/control/alerts.py::of_publishers": PARSED,
    "operations/control/alerts.py::of_status": PARSED,
    "operations/control/alerts.py::of_swarms": PARSED,
    "operations/control/doctor.py::_index": PARSED,
    "operations/control/doctor.py::_rot": INSIDE,
    "operations/fetch/held.py::refuse_unlisted": PARSED,
    "operations/fetch/make.py::_tell_of_reuse": PARSED,
    "operations/fetch/run.py::_known": PARSED,
    "operations/fetch/reach.py::relay_of": PARSED,
    "operations/fetch/reach.py::without_inside_trackers": PARSED,
    "operations/fetch/download.py::_addresses": PARSED,
    "operations/fetch/wanted_files.py::require_room": WHOLE,
    "operations/fetch/plan.py::_by_magnet": PARSED,
    "operations/fetch/plan.py::_plain": PARSED,
    "operations/fetch/plan.py::_public": PARSED,
    "operations/fetch/plan.py::bring": PARSED,
    "operations/fetch/request.py::options": USER,
    "operations/fetch/webseed_answer.py::of": PARSED,
    "operations/archive/health.py::due": PARSED,
    "operations/archive/watched.py::health_rows": PARSED,
    "operations/preserve/from_origin.py::keep_listed_names": PARSED,
    "operations/preserve/held_check.py::compare_rows": PARSED,
    "operations/archive/hub_watch.py::_tell": PARSED,
    "operations/control/inventory.py::inventory": PARSED,
    "operations/fetch/folder_match.py::roots_of": PARSED,
    "operations/fetch/import_folder.py::_link": WHOLE,
    "operations/fetch/import_folder.py::_named": USER,
    "operations/fetch/import_folder.py::_require_room": WHOLE,
    "operations/fetch/import_folder.py::place_all": WHOLE,
    "operations/control/doctor.py::_other_clients": PARSED,
    "operations/control/other_clients.py::_traces": INSIDE,
    "operations/indexes/known_torrents.py::_named": USER,
    "operations/indexes/lookup.py::find_entries": PARSED,
    "operations/indexes/found.py::torrent_locations": PARSED,
    "operations/hub_endpoint/names.py::_main": PARSED,
    "operations/hub_endpoint/names.py::search": PARSED,
    "operations/hub_endpoint/catalogue.py::listed": PARSED,
    "operations/node/supervisor.py::remove": OWN,
    "operations/node/state.py::node_status": INSIDE,
    "operations/indexes/pointer.py::_in_parts": WHOLE,
    "operations/preserve/folder_content.py::with_line_ends": WHOLE,
    "operations/preserve/from_folder.py::_expectations": WHOLE,
    "operations/preserve/from_folder.py::_expected_of_tree": WHOLE,
    "operations/preserve/from_folder.py::_place_all": WHOLE,
    "operations/publish/publish.py::_returning": USER,
    "operations/publish/publish.py::_torrents": OWN,
    "operations/publish/publish.py::_write_torrents": WHOLE,
    "operations/publish/site_pages.py::__init__": PARSED,
    "operations/publish/site_pages.py::_card": INSIDE,
    "operations/publish/web_seed_check.py::choose_web_seeds": INSIDE,
    "operations/publish/plan.py::_entry": PARSED,
    "operations/publish/named_places.py::keeps": PARSED,
    "operations/publish/named_places.py::mirrors_with": USER,
    "operations/publish/named_places.py::of": PARSED,
    "operations/publish/named_places.py::without": USER,
    "operations/publish/plan.py::_named_web_seeds": PARSED,
    "operations/publish/plan.py::_all_seeds_of": PARSED,
    "operations/publish/plan.py::_path_seeds": PARSED,
    "operations/publish/plan.py::_renewed": PARSED,
    "operations/publish/plan.py::seed_patterns": PARSED,
    "operations/publish/plan.py::checked": USER,
    "operations/publish/plan.py::entries_of": WHOLE,
    "operations/preserve/recipe_source.py::_bases": INSIDE,
    "operations/preserve/reuse.py::_candidates": PARSED,
    "operations/preserve/reuse.py::find": INSIDE,
    "operations/preserve/reuse.py::held_content": INSIDE,
    "operations/preserve/reuse.py::may_have": PARSED,
    "operations/indexes/rise.py::rise_held": INSIDE,
    "operations/verify/scrub.py::scrub": INSIDE,
    "operations/indexes/search.py::search": PARSED,
    "operations/node/seed.py::_follow_library": PARSED,
    "operations/node/seed.py::_share_upload": OWN,
    "operations/node/seed.py::_tell_stats": OWN,
    "operations/node/seed.py::rows": OWN,
    "operations/publish/site.py::lacking": WHOLE,
    "operations/node/standing_watch.py::of": INSIDE,
    "operations/verify/standings.py::away": PARSED,
    "operations/archive/swarm_probe.py::_ask_web_seeds": PARSED,
    "operations/archive/swarm_probe.py::look_at": PARSED,
    "operations/indexes/torrent_source.py::bring_near": PARSED,
    "operations/indexes/update.py::ask": INSIDE,
    "operations/indexes/update.py::run": INSIDE,
    "operations/archive/upstream.py::check_upstream": INSIDE,
    "operations/archive/upstream.py::of": PARSED,
    "operations/indexes/vouchers.py::_look": INSIDE,
    "operations/indexes/vouchers.py::_voices": PARSED,
    "swarm/dht.py::announce": INSIDE,
    "swarm/dht.py::get_peers": PARSED,
    "swarm/dht.py::put": INSIDE,
    "swarm/dht.py::put_immutable": INSIDE,
    "swarm/dht.py::resolve_all": INSIDE,
    "swarm/dht_lookup.py::_query": INSIDE,
    "swarm/session.py::_all_gone": OWN,
    "swarm/session.py::_lead_to": OWN,
    "swarm/session.py::_look_after_peers": OWN,
    "swarm/session.py::_pass_on": OWN,
    "swarm/session.py::add_dht_nodes": PARSED,
    "swarm/session.py::add_download": PARSED,
    "swarm/settings.py::usable_trackers": PARSED,
    "swarm/settings.py::with_room_for": PARSED,
    "swarm/untrusted_links.py::inside": INSIDE,
    "swarm/torrent.py::_connections": PARSED,
    "swarm/torrent.py::reconnect": INSIDE,
    "swarm/torrent.py::set_web_seeds": PARSED,
    "swarm/torrent.py::share": PARSED,
    "swarm/torrent.py::want": OWN,
    "swarm/tracker_scrape.py::scrape_udp": PARSED,
    "swarm/tracker_scrape.py::scrape_url": PARSED,
    "webseed/file_server.py::_send": WHOLE,
    "webseed/probe.py::run": INSIDE,
    "webseed/relay.py::_serve": WHOLE,
    "webseed/relay.py::_stop": OWN,
    "webseed/piece_source.py::__init__": PARSED,
    "webseed/piece_source.py::_candidates": PARSED,
    "webseed/piece_source.py::_is_hopeless": PARSED,
    "webseed/piece_source.py::close": OWN,
    "webseed/piece_source.py::outlook": PARSED,
}

OTHERS = re.compile(
    r"publishers|\bids\(\)|library\.all\(\)|\bentries\b|web_seeds|\bbases\b|mirrors|trackers|exact_sources|swarms"
    r"|\bheld\b|bundles|\bpeers\b|upstreams|_records|snapshots|sources|locations|torrents|_seeds\b|documents|\burls\b"
    r"|endpoints|closest|\bnodes\b|dht_nodes|addresses|\bwanted\b|\bdue\b"
)
CANNOT_FAIL = frozenset(
    {"str", "int", "len", "sum", "min", "max", "tuple", "list", "dict", "set", "frozenset", "sorted", "isinstance"}
    | {"repr", "round", "any", "all", "zip", "enumerate", "map", "next", "iter", "bool", "counted", "format_size"}
)
METHODS_THAT_CANNOT = frozenset(
    {"items", "values", "keys", "get", "startswith", "endswith", "append", "add", "update", "setdefault", "join"}
    | {"format", "lower", "casefold", "partition", "rpartition", "split", "pop", "discard", "extend", "to_json"}
    | {"count", "is_file", "is_dir", "exists", "fullmatch", "matches", "glob", "iterdir", "is_relative_to", "replace"}
    | {"fromkeys", "encode", "hex", "strip", "union"}
)


def may_fail(nodes: Iterable[ast.AST]) -> bool:
    for one in (below for node in nodes for below in ast.walk(node)):
        if isinstance(one, ast.Raise | ast.Await):
            return True
        if isinstance(one, ast.Call):
            match one.func:
                case ast.Name(id=name) if name in CANNOT_FAIL or name[:1].isupper():
                    continue
                case ast.Attribute(value=ast.Name(id="self")):
                    return True
                case ast.Attribute(attr=name) if name in METHODS_THAT_CANNOT:
                    continue
            return True
    return False


def loops(tree: ast.AST, within: str = "") -> Iterator[str]:
    """Yield the function of every loop over other people's things whose body may fail."""
    for node in ast.iter_child_nodes(tree):
        name = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else within
        match node:
            case ast.For(iter=over, body=body) | ast.AsyncFor(iter=over, body=body):
                iterated, done = [over], list[ast.AST](body)
            case ast.DictComp(key=key, value=value, generators=some):
                iterated, done = [one.iter for one in some], [key, value, *(test for one in some for test in one.ifs)]
            case ast.ListComp(elt=elt, generators=some) | ast.SetComp(elt=elt, generators=some):
                iterated, done = [one.iter for one in some], [elt, *(test for one in some for test in one.ifs)]
            case ast.GeneratorExp(elt=elt, generators=some):
                iterated, done = [one.iter for one in some], [elt, *(test for one in some for test in one.ifs)]
            case _:
                iterated, done = [], []
        if any(OTHERS.search(ast.unparse(one)) for one in iterated) and may_fail(done):
            yield name
        yield from loops(node, name)


def test_96_every_loop_over_what_is_others_contains_failures_or_says_why_there_are_none():
    found = {
        f"{path.relative_to(SOURCES)}::{name}"
        for path in SOURCES.rglob("*.py")
        if path.relative_to(SOURCES).parts[0] in LAYERS
        for name in loops(ast.parse(path.read_text()))
    }
    assert not sorted(found - ELSEWHERE.keys()), "put it through p2pqwen.containment, or say here why nothing can fail"
    assert not sorted(ELSEWHERE.keys() - found), "no such loop any more"


def test_the_search_finds_what_it_is_for():
    bad = "def f(self):\n    return [self.get(one) for one in self.trust.publishers()]\n"
    worse = "async def g(self):\n    for one in document.entries:\n        parse_magnet(one.magnet)\n"
    fine = "def h(self):\n    return each(self.ids(), self.get, failed=warn(report))\n"
    assert [*loops(ast.parse(bad + worse + fine))] == ["f", "g"]


def broken(number: int) -> int:
    if number % 3 == 0:
        raise [FormatError("three"), KeyError(number), RecursionError("deep")][number // 3 % 3]
    return number * 10


def test_each_goes_on_and_tells_of_everything():
    failed: list[tuple[int, str]] = []
    done = each(range(8), broken, failed=lambda number, error: failed.append((number, error.message)))
    assert done == [10, 20, 40, 50, 70]
    assert failed == [(0, "three"), (3, "KeyError, got 3"), (6, "RecursionError, got deep")]


def test_all_at_once_is_the_same_and_no_more_than_so_many_at_a_time():
    failed: list[tuple[int, str]] = []
    running = most = 0

    async def step(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return broken(number)

    done = asyncio.run(
        each_at_once(range(8), step, failed=lambda number, error: failed.append((number, error.message)), at_once=2)
    )
    assert (done, most) == ([10, 20, 40, 50, 70], 2)
    assert sorted(failed) == [(0, "three"), (3, "KeyError, got 3"), (6, "RecursionError, got deep")]


def test_the_first_that_gives_something():
    failed: list[int] = []
    assert first_of([3, 0, 4, 5], broken, failed=lambda number, _: failed.append(number)) == 40
    assert failed == [3, 0]
    assert first_of([3, 0], broken, failed=lambda *_: None) is None


@pytest.mark.parametrize(
    "stop", [JobStoppedError(), CutOffError("the node stops"), ScrubStoppedError(), KeyboardInterrupt()]
)
def test_who_stops_the_work_stops_all_of_it(stop):
    def step(_: int) -> None:
        raise stop

    async def waiting(_: int) -> None:
        raise stop

    with pytest.raises(type(stop)):
        each([1, 2], step, failed=lambda *_: pytest.fail("taken for a failure"))
    if isinstance(stop, Interruption):
        with pytest.raises(type(stop)):
            asyncio.run(each_at_once([1], waiting, failed=lambda *_: pytest.fail("taken for a failure")))


def test_a_failure_is_told_in_one_line():
    told: list[str] = []
    each([0], broken, failed=warn(lambda event: told.append(event.text), "number {}".format))
    assert told == ["number 0: three"]
    error = P2pqwenError("x")
    assert as_error(error) is error
