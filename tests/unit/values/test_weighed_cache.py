"""What was used last stays, up to so many bytes."""

from __future__ import annotations

from p2pqwen.values.weighed_cache import WeighedCache


def cache(**values: int) -> WeighedCache[str, int]:
    found: WeighedCache[str, int] = WeighedCache(10, lambda weight: weight)
    for name, weight in values.items():
        found.put(name, weight)
    return found


def known(found: WeighedCache[str, int]) -> set[str]:
    return {name for name in "abcd" if found.get(name) is not None}


def test_what_was_not_used_for_longest_goes_first():
    found = cache(a=4, b=4)
    assert found.get("a") == 4
    found.put("c", 4)
    assert (known(found), found.bytes, len(found)) == ({"a", "c"}, 8, 2)


def test_the_last_one_stays_however_heavy_it_is():
    found = cache(a=4, b=40)
    assert (known(found), found.bytes) == ({"b"}, 40)
    found.put("c", 1)
    assert (known(found), found.bytes) == ({"c"}, 1)


def test_one_in_place_of_another():
    found = cache(a=9, b=1)
    found.put("a", 3)
    assert (known(found), found.bytes) == ({"a", "b"}, 4)
    found.drop("a")
    found.drop("d")
    assert (known(found), found.bytes) == ({"b"}, 1)
