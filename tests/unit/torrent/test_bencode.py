import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.torrent import bencode
from tests.strategies import bencoded


def read(data: bytes) -> object:
    return bencode.decode(data, max_bytes=10_000_000)


@given(bencoded)
def test_what_is_encoded_is_read_back(value):
    assert read(bencode.encode(value)) == value


@given(
    st.lists(st.sampled_from([b"i", b"e", b"d", b"l", b"0", b"1", b"-", b":", b"2:ab", b"1:a", b"0:"])).map(b"".join)
)
def test_what_is_read_has_one_spelling(data):
    try:
        value = read(data)
    except FormatError:
        return
    assert bencode.encode(value) == data


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no valid integer"),
        (b"i1", "no valid integer"),
        (b"ie", "no valid integer"),
        (b"i-e", "no valid integer"),
        (b"i-0e", "no valid integer"),
        (b"i01e", "no valid integer"),
        (b"i+1e", "no valid integer"),
        (b"i1_0e", "no valid integer"),
        ("i٣e".encode(), "no valid integer"),
        (b"i 1e", "no valid integer"),
        (b"i9223372036854775808e", "beyond 64 bits"),
        (b"i" + b"9" * 5000 + b"e", "no valid integer"),
        (b"01:a", "no valid integer"),
        (b"-1:a", "cut short"),
        (b"3:ab", "cut short"),
        (b"9999999999:a", "cut short"),
        (b"l", "no valid integer"),
        (b"li1e", "no valid integer"),
        (b"d1:ai1e", "no valid integer"),
        (b"di1ei2ee", "no valid integer"),
        (b"d1:bi1e1:ai1ee", "out of order"),
        (b"d1:ai1e1:ai1ee", "out of order or repeated"),
        (b"d1:ae", "no valid integer"),
        (b"i1ei2e", "continues after its end"),
        (b"i1e\n", "continues after its end"),
        (b"l" * 102 + b"e" * 102, "nested too deep"),
        (b"l" * 100_000, "nested too deep"),
        pytest.param(b"l" + b"0:" * bencode.MAX_VALUES + b"e", "too many values", marks=pytest.mark.slow),
    ],
)
def test_refused(data, problem):
    with pytest.raises(FormatError, match=problem):
        read(data)


def test_a_limit_is_checked_before_reading():
    with pytest.raises(FormatError, match="too large"):
        bencode.decode(b"3:abc", max_bytes=4)


def test_a_dictionary_where_one_must_be():
    assert bencode.decode_dict(b"d1:ai1ee", max_bytes=100) == {b"a": 1}
    with pytest.raises(FormatError, match="expected a dictionary, got list"):
        bencode.decode_dict(b"le", max_bytes=100)


def test_text_is_written_as_utf_8_and_keys_are_sorted():
    assert bencode.encode({b"b": "é", b"a": (1, -2)}) == b"d1:ali1ei-2ee1:b2:\xc3\xa9e"


@pytest.mark.parametrize("value", [True, [False]])
def test_booleans_are_not_integers(value):
    with pytest.raises(TypeError, match="booleans"):
        bencode.encode(value)
