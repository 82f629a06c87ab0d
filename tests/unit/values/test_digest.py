import hashlib

import pytest
from hypothesis import given

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import CommitId, GitOid, Sha1, Sha256
from tests.strategies import sha256s


@given(sha256s)
def test_what_is_printed_is_read_back(digest):
    assert Sha256.parse(str(digest)) == digest


@pytest.mark.parametrize("kind", [Sha1, Sha256, GitOid, CommitId])
@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: " " + text[1:],
        lambda text: "g" + text[1:],
        lambda text: text[:-1] + "\n",
        lambda text: text[:-1] + "٣",
        lambda _: "",
    ],
)
def test_one_spelling(kind, change):
    with pytest.raises(FormatError, match=f"not a {kind.KIND}"):
        kind.parse(change("a" * 2 * kind.SIZE))


@pytest.mark.parametrize("raw", [b"", bytes(19), bytes(21)])
def test_length(raw):
    with pytest.raises(FormatError, match="a SHA-1 has the wrong length, expected 20"):
        Sha1(raw)


def test_of_and_order():
    assert Sha256.of(b"x").raw == hashlib.sha256(b"x").digest()
    assert Sha1(bytes(20)) < Sha1(b"\1" * 20)
    assert len({CommitId(bytes(20)), CommitId(bytes(20))}) == 1
