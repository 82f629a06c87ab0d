import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.values.strict_json import MAX_INTEGER, canonical, parse, parse_object

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


def read(data: bytes) -> object:
    return parse(data, max_bytes=10_000)


@given(values)
def test_what_is_written_is_read_back(value):
    assert read(canonical(value)) == value


@given(values)
def test_the_canonical_form_is_one(value):
    pretty = json.dumps(value, indent=2, ensure_ascii=True).encode()
    assert canonical(parse(pretty, max_bytes=100_000)) == canonical(value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a JSON document"),
        (b"{", "not a JSON document"),
        (b"[1,]", "not a JSON document"),
        (b"[1] x", "not a JSON document"),
        (b"'a'", "not a JSON document"),
        (b'"a\nb"', "not a JSON document"),
        (b"\xef\xbb\xbf{}", "not a JSON document"),
        (b'"\xff"', "not UTF-8"),
        ("[1]".encode("utf-16"), "not UTF-8|not a JSON document"),
        (b'{"a":1,"a":1}', "repeats a key"),
        (b'[{"a":1,"\\u0061":2}]', "repeats a key"),
        (b"1.0", "not an integer"),
        (b"1e3", "not an integer"),
        (b"NaN", "not an integer"),
        (b"-Infinity", "not an integer"),
        (b"9007199254740992", "out of range"),
        (b"-9007199254740992", "out of range"),
        (b"-0", "out of range"),
        (b"1" * 5000, "out of range"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"a":["\\udc00"]}', "lone surrogate"),
        (b'{"\\ud800":1}', "lone surrogate"),
        (b"[" * 17 + b"]" * 17, "nested too deep"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "nested too deep"),
        (b"[" * 5000 + b"]" * 5000, "nested too deep"),
        (b"[" * 5000, "nested too deep|not a JSON document"),  # Python 3.13 reads on to its end
        (b'"' + b"x" * 10_000 + b'"', "too large"),
    ],
)
def test_refused(data, problem):
    with pytest.raises(FormatError, match=problem):
        read(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"9007199254740991", MAX_INTEGER),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"[" * 16 + b"]" * 16, [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]),
        (b'"[[[[[[[[[[[[[[[[[[[[\\"[[[["', '[[[[[[[[[[[[[[[[[[[["[[[['),
        (b' {"a" : 1}\n', {"a": 1}),
    ],
)
def test_accepted(data, value):
    assert read(data) == value


def test_an_object_where_one_must_be():
    assert parse_object(b'{"a":null}', max_bytes=100) == {"a": None}
    with pytest.raises(FormatError, match="expected an object, got list"):
        parse_object(b"[]", max_bytes=100)


def test_canonical_is_rfc_8785():
    assert canonical({"b": 'é\u0007"', "a": [1, None, True], "\U0001f600": 0, "\ufb33": 0}) == (
        '{"a":[1,null,true],"b":"é\\u0007\\"","\U0001f600":0,"\ufb33":0}'.encode()
    )


@pytest.mark.parametrize("value", ["\ud800", MAX_INTEGER + 1, {"a": "\udfff"}])
def test_values_without_a_canonical_form(value):
    with pytest.raises(FormatError, match="no canonical form"):
        canonical(value)


@given(values)
def test_canonical_is_what_the_rfc8785_library_writes(value):
    assert canonical(value) == rfc8785.dumps(value)
