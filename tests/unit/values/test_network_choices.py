"""The switches and rates of a session."""

from __future__ import annotations

from dataclasses import asdict, fields
from itertools import combinations

import pytest

from p2pqwen.values.network_choices import SWITCHES, UNRESTRICTED, NetworkChoices

SOME = [off for count in range(len(SWITCHES) + 1) for off in combinations(SWITCHES, count)]


def test_every_choice_that_is_true_or_false_is_a_switch():
    assert tuple(one.name for one in fields(NetworkChoices) if one.type == "bool") == SWITCHES


@pytest.mark.parametrize("off", SOME)
def test_switches_are_switched_off_and_never_on(off):
    fewer = UNRESTRICTED.without(*off)
    assert {name: getattr(fewer, name) for name in SWITCHES} == {name: name not in off for name in SWITCHES}
    assert fewer.without() == fewer
    for more in SOME:
        assert fewer.without(*more) == UNRESTRICTED.without(*off, *more)


@pytest.mark.parametrize("off", SOME)
def test_upnp_finds_nobody(off):
    assert UNRESTRICTED.without(*off).finds_peers == bool({"dht", "lsd", "trackers"} - set(off))


@pytest.mark.parametrize(
    ("upload", "download", "expected"),
    [(None, None, (5, 7)), (0, None, (0, 7)), (None, 9, (5, 9)), (1, 0, (1, 0))],
)
def test_a_rate_that_is_given_stands_in_place_of_the_configured_one(upload, download, expected):
    configured = NetworkChoices(lsd=False, upload_limit=5, download_limit=7)
    limited = configured.limited(upload=upload, download=download)
    assert (limited.upload_limit, limited.download_limit) == expected
    assert asdict(limited) | {"upload_limit": 5, "download_limit": 7} == asdict(configured)


def test_what_another_has_switched_off_stays_off():
    asked = NetworkChoices(lsd=False, upload_limit=7)
    assert asked.within(NetworkChoices(dht=False)) == NetworkChoices(dht=False, lsd=False, upload_limit=7)
    assert asked.within(NetworkChoices()) == asked
