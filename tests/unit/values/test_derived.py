"""What is made of something is made again only where that has changed."""

from __future__ import annotations

from p2pqwen.values.derived import Derived


def test_what_is_as_before_is_the_same_object_and_what_is_left_out_is_forgotten():
    made = []

    def make(source: tuple[str, int]) -> list[str]:
        made.append(source)
        return [source[0]] * source[1]

    rows = Derived(make)
    first = rows.look([(1, ("a", 1)), (2, ("b", 2))])
    assert first == [["a"], ["b", "b"]]
    again = rows.look([(2, ("b", 2)), (1, ("a", 3))])
    assert again == [["b", "b"], ["a", "a", "a"]]
    assert again[0] is first[1]
    rows.look([(1, ("a", 3))])
    rows.look([(1, ("a", 3)), (2, ("b", 2))])
    assert made == [("a", 1), ("b", 2), ("a", 3), ("b", 2)]
