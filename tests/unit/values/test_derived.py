"""What is made of something is made again only where that has changed."""

from __future__ import annotations

from p2pqwen.values.derived import Derived


def test_what_is_as_before_is_the_same_object_and_a_look_at_nothing_new_is_the_same_tuple():
    made = []

    def make(source: tuple[str, int]) -> list[str]:
        made.append(source)
        return [source[0]] * source[1]

    rows = Derived()
    first = rows.look([("a", 1), ("b", 2)], make)
    assert first == (["a"], ["b", "b"])
    assert rows.look([("a", 1), ("b", 2)], make) is first
    again = rows.look([("a", 3), ("b", 2)], make)
    assert again == (["a", "a", "a"], ["b", "b"])
    assert again[1] is first[1]
    assert rows.look([("a", 3)], make) == (["a", "a", "a"],)
    assert rows.look([("a", 3), ("b", 2)], make) == again
    assert rows.look([("b", 2)], make) == (["b", "b"],)
    assert rows.look([], make) == ()
    assert made == [("a", 1), ("b", 2), ("a", 3), ("b", 2), ("b", 2)]


def test_all_is_made_again_where_something_besides_is_another_object():
    rows, words = Derived(), {"a": "one"}
    assert rows.look(["a", "b"], words.get, besides=(words,)) == ("one", None)
    same = rows.look(["a", "b"], words.get, besides=(words,))
    other = {"a": "two", "b": "three"}
    assert rows.look(["a", "b"], other.get, besides=(other,)) == ("two", "three")
    assert same == ("one", None)
    assert rows.look(["a", "b"], other.get, besides=()) == ("two", "three")
