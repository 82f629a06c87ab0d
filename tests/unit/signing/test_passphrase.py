"""One passphrase, however it was typed, stored or sent; keys of the time before that was so still open."""

from __future__ import annotations

import unicodedata

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import UsageError
from p2pqwen.signing import pkcs8
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.signing.passphrase import is_short, is_text, new_passphrase, spellings
from p2pqwen.signing.pkcs8 import encrypted_pem

ACCENTED = "p\u00e4sswort \u1e69"
DECOMPOSED = unicodedata.normalize("NFD", ACCENTED)
LATIN_1 = "p\udce4sswort"  # as the environment gives bytes that are not UTF-8


@pytest.fixture(autouse=True)
def _cheap_guesses(monkeypatch) -> None:
    """A key says what a guess at its passphrase costs, and one that does not open was tried in every spelling."""
    monkeypatch.setattr(pkcs8, "SCRYPT_N", 1 << 4)


@pytest.mark.parametrize(
    ("made_with", "opened_with"),
    [
        ("correct horse\r", "correct horse"),  # `$(cat file)` takes the LF of a CRLF
        ("correct horse\n", "correct horse"),
        ("correct horse\r\n", "correct horse"),
        ("correct horse", "correct horse\r\n"),
        (" correct horse ", " correct horse \n"),
        (ACCENTED, DECOMPOSED),
        (DECOMPOSED, ACCENTED),
        (DECOMPOSED + "\r\n", ACCENTED),
        (LATIN_1, LATIN_1),
        (LATIN_1 + "\n", LATIN_1),
    ],
)
def test_a_new_key_opens_with_what_is_meant(made_with, opened_with):
    key = PrivateKey.generate()
    assert PrivateKey.from_pem(key.to_pem(made_with), opened_with).public == key.public


@pytest.mark.parametrize(
    ("made_with", "opened_with"),
    [
        ("correct horse\r", "correct horse"),
        ("correct horse\n", "correct horse"),
        ("correct horse\r\n", "correct horse"),
        ("correct horse\r\n", "correct horse\r\n"),
        ("correct horse\n\n", "correct horse\n\n"),
        (DECOMPOSED, DECOMPOSED),
        (DECOMPOSED, ACCENTED),
        (DECOMPOSED + "\n", ACCENTED),
        ("\n", "\n"),
    ],
)
def test_a_key_of_the_time_of_raw_bytes_still_opens(made_with, opened_with):
    key = PrivateKey.from_seed(bytes(range(32)))
    plain = key._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert PrivateKey.from_pem(encrypted_pem(plain, made_with.encode()), opened_with).public == key.public


@pytest.mark.parametrize("other", ["correct  horse", "correct horse ", "Correct horse", "correct horse\n\n", ""])
def test_another_passphrase_opens_nothing(other):
    pem = PrivateKey.generate().to_pem("correct horse")
    with pytest.raises(UsageError, match="does not open"):
        PrivateKey.from_pem(pem, other)


@pytest.mark.parametrize("nothing", ["", "\n", "\r\n", "\r"])
def test_nothing_is_no_passphrase_for_a_new_key(nothing):
    with pytest.raises(UsageError, match="empty"):
        PrivateKey.generate().to_pem(nothing)


@given(st.text(max_size=20))
def test_what_a_key_is_made_with_is_tried_first(text):
    tried = spellings(text)
    assert text.encode("utf-8", "surrogateescape") in tried
    assert len(set(tried)) == len(tried) <= 16
    if any(tried[0]):
        assert new_passphrase(text) == tried[0]


def test_what_an_owner_may_regret():
    assert is_short("elevenchars")
    assert is_short("elevenchars\r\n")
    assert not is_short("twelve chars")
    assert is_text(ACCENTED)
    assert not is_text(LATIN_1)
