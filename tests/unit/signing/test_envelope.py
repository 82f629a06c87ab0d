from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.signing.envelope import MAX_SIGNATURES, check_threshold, pae, sign
from tests.support.publishing import key, keyid

NAMES = ("a", "b", "c", "d")
KEYS = {keyid(name): key(name).public for name in NAMES}


def test_pae_is_that_of_dsse():
    """`"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, lengths in ASCII decimal."""
    assert pae("index", b"hello") == b"DSSEv1 34 application/vnd.p2pqwen.index+json 5 hello"
    assert pae("root", b"") == b"DSSEv1 33 application/vnd.p2pqwen.root+json 0 "


@given(
    st.lists(st.sampled_from([*NAMES, "stranger", "garbage"]), max_size=8),
    st.integers(1, 4),
)
def test_a_threshold_counts_distinct_keys_of_the_role(signers, threshold):
    rows = [
        {"keyid": str(keyid("a")), "sig": "AAAA"} if name == "garbage" else sign("index", b"payload", key(name))
        for name in signers
    ]
    result = check_threshold("index", b"payload", rows, KEYS, threshold)
    wanted = {name for name in signers if name in NAMES}
    assert set(result.signed_by) == {keyid(name) for name in wanted}
    assert set(result.missing) == {keyid(name) for name in NAMES if name not in wanted}
    assert result.met == (len(wanted) >= threshold)
    assert len(result.ignored) == len(signers) - len(wanted)


@pytest.mark.parametrize(("document_type", "payload"), [("root", b"payload"), ("index", b"payload ")])
def test_a_signature_is_of_its_type_and_payload(document_type, payload):
    rows = [sign("index", b"payload", key("a"))]
    assert check_threshold("index", b"payload", rows, KEYS, 1).met
    assert not check_threshold(document_type, payload, rows, KEYS, 1).met


@pytest.mark.parametrize("signatures", [None, {}, "x", 7, [{}] * (MAX_SIGNATURES + 1)])
def test_what_is_no_list_of_signatures(signatures):
    with pytest.raises(FormatError, match="signatures"):
        check_threshold("index", b"", signatures, KEYS, 1)
