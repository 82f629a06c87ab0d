"""A fetch as it comes over the control API: a leave is given plainly, and to one fetch alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.errors import UsageError
from p2pqwen.events import ignore
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.jobs import FetchJobs
from p2pqwen.values.network_choices import NetworkChoices

REQUEST = FetchRequest("Qwen/Tiny")
STORED = """
{"target": "Qwen/Tiny@c0ffee", "kind": "repair", "peers": ["127.0.0.1:9"], "web_seeds": [], "use_web_seeds": "never",
 "use_peers": true, "include": null, "timeout": 60, "repo": null, "hub_cache": null, "insist_on_cache": false,
 "move_ref": false, "trust_unverified": false, "dht": true, "lsd": false, "upnp": true, "trackers": false,
 "upload_limit": 1000, "download_limit": 0}
"""  # as nodes wrote it that knew no `NetworkChoices`


@pytest.mark.parametrize("name", ["insist_on_cache", "move_ref", "trust_unverified"])
@pytest.mark.parametrize("value", ["no", "false", "", 0, 1, None, []])
def test_a_leave_is_true_or_false(name, value):
    with pytest.raises(UsageError, match=name):
        FetchRequest.from_json({"target": "Qwen/Tiny", name: value})


@pytest.mark.parametrize("value", [True, False])
def test_it_comes_through(value):
    request = replace(REQUEST, insist_on_cache=value, trust_unverified=value)
    assert FetchRequest.from_json(request.to_json()) == request
    options = request.options()
    assert (options.insist_on_cache, options.trust_unverified) == (value, value)


def test_neither_leave_nor_files_are_shared_with_a_fetch_of_the_same_target(tmp_path: Path):
    with StateStore(tmp_path / "state.sqlite") as store:
        jobs = FetchJobs(lambda *_: {}, store, ignore)
        first = jobs.submit(REQUEST)
        assert jobs.submit(REQUEST) is first
        part = jobs.submit(replace(REQUEST, include=("Q4_K_M",)))
        assert part is not first  # else somebody is told that their files came, with others
        lifted = jobs.submit(replace(REQUEST, trust_unverified=True))
        assert lifted is not first
        assert not first.request.trust_unverified
        assert jobs.submit(replace(REQUEST, trust_unverified=True)) is lifted


def test_a_timeout_without_end_goes_over_no_wire():
    with pytest.raises(UsageError, match="number of seconds"):
        FetchRequest("Qwen/Tiny", timeout=float("inf")).to_json()


def test_choices_of_the_network_lie_flat_on_the_wire_and_in_the_store():
    stored = json.loads(STORED)
    request = FetchRequest.from_json(stored)
    assert request.choices == NetworkChoices(lsd=False, trackers=False, upload_limit=1000)
    assert list(request.to_json()) == list(stored)
    assert json.loads(json.dumps(request.to_json())) == stored
    assert FetchRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_what_a_request_does_not_say_is_the_default():
    assert FetchRequest.from_json({"target": "Qwen/Tiny"}) == REQUEST
    assert REQUEST.choices == NetworkChoices()


@pytest.mark.parametrize(
    "given",
    [{"choices": {}}, {"dht": 1}, {"trackers": "no"}, {"upload_limit": -1}, {"download_limit": True}, {"no_dht": True}],
)
def test_what_is_no_choice_is_refused(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        FetchRequest.from_json({"target": "Qwen/Tiny"} | given)
