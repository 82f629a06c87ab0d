from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import DiskError, FormatError, NotFoundError, UsageError
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.values.digest import Sha256

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493

# RFC 8032 section 7.1, tests 1 to 3: (seed, public key, message, signature)
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
            "655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
            "b00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
            "c027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032, ids=["1", "2", "3"])
def test_the_vectors_of_rfc_8032(seed, public, message, signature):
    key = PrivateKey.from_seed(bytes.fromhex(seed))
    assert key.public == PublicKey(bytes.fromhex(public))
    assert key.sign(bytes.fromhex(message)) == bytes.fromhex(signature)
    assert key.public.verify(bytes.fromhex(signature), bytes.fromhex(message))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.integers(0, 511))
def test_a_signature_holds_for_its_bytes_and_no_others(seed, message, bit):
    key = PrivateKey.from_seed(seed)
    signature = key.sign(message)
    assert key.public.verify(signature, message)
    assert not key.public.verify(signature, message + b"\0")
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not key.public.verify(bytes(flipped), message)


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
BAD_KEYS = {
    "identity": encoded(1),
    "identity-with-sign": encoded(1, 1),
    "order-2": encoded(P - 1),
    "order-4": encoded(0),
    "order-4-with-sign": encoded(0, 1),
    "order-8": encoded(ORDER_8),
    "order-8-with-sign": encoded(ORDER_8, 1),
    "order-8-other": encoded(P - ORDER_8),
    "order-8-other-with-sign": encoded(P - ORDER_8, 1),
    "y-is-p": encoded(P),
    "y-is-p-plus-1": encoded(P + 1),
    "y-is-largest": encoded(2**255 - 1),
    "not-on-the-curve": encoded(2),
    "31-bytes": bytes(31),
    "33-bytes": bytes(33),
    "empty": b"",
}


@pytest.mark.parametrize("raw", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_keys_that_are_none(raw):
    with pytest.raises(FormatError):
        PublicKey(raw)


@pytest.mark.parametrize("raw", [key for name, key in BAD_KEYS.items() if "order" in name or "identity" in name])
def test_signatures_with_an_r_of_small_order(raw):
    """S = 0 and R = -hA would verify for such an R; `verify_strict` refuses it whatever S is."""
    assert not PrivateKey.generate().public.verify(raw + bytes(32), b"message")


@pytest.mark.parametrize("size", [0, 32, 63, 65, 128])
def test_signatures_of_another_size(size):
    key = PrivateKey.generate()
    assert not key.public.verify((key.sign(b"x") * 2)[:size], b"x")


def test_s_is_below_the_group_order():
    key = PrivateKey.generate()
    signature = key.sign(b"x")
    malleable = signature[:32] + (int.from_bytes(signature[32:], "little") + L).to_bytes(32, "little")
    assert key.public.verify(signature, b"x")
    assert not key.public.verify(malleable, b"x")


def test_keyid_is_the_sha_256_of_the_public_key():
    public = PrivateKey.generate().public
    assert public.keyid == Sha256.of(public.raw)


@pytest.mark.parametrize("passphrase", [None, "a", "correct horse", "pässwörd 文"])
def test_pem_is_read_back(passphrase):
    key = PrivateKey.generate()
    pem = key.to_pem(passphrase)
    assert (b"ENCRYPTED" in pem) == (passphrase is not None)
    assert PrivateKey.from_pem(pem, passphrase).public == key.public


def test_openssl_opens_our_encrypted_keys(tmp_path: Path):
    key = PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(key.to_pem("secret"))
    done = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "key.pem", "-passin", "pass:secret", "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert done.stdout.endswith(key.public.raw)


def test_two_encryptions_differ():
    key = PrivateKey.generate()
    assert key.to_pem("x") != key.to_pem("x")


PEM = PrivateKey.from_seed(bytes(32)).to_pem("right")


def other_kind() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("pem", "passphrase", "error", "problem"),
    [
        (PEM, "wrong", UsageError, "does not open"),
        (PEM, "", UsageError, "does not open"),
        (PEM, None, UsageError, "needs its passphrase"),
        (b"", None, FormatError, "not a PKCS#8"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, FormatError, "not a PKCS#8"),
        (other_kind(), None, FormatError, "of the wrong kind"),
        (b"x" * 5000, None, FormatError, "too large"),
    ],
)
def test_pem_that_does_not_open(pem, passphrase, error, problem):
    with pytest.raises(error, match=problem):
        PrivateKey.from_pem(pem, passphrase)


def test_a_private_key_is_never_shown():
    key = PrivateKey.from_seed(bytes(range(32)))
    assert bytes(range(32)).hex() not in repr(key)


def test_key_files_are_the_owners_alone(tmp_path: Path):
    store = KeyStore(Home(tmp_path))
    key = PrivateKey.generate()
    path = store.add_key(key, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert store.key(key.public.keyid, None).public == key.public
    with pytest.raises(UsageError, match="exists already"):
        store.add_key(key, None)
    path.chmod(0o640)
    with pytest.raises(DiskError, match="can be read by others"):
        store.key(key.public.keyid, None)
    with pytest.raises(NotFoundError, match="is not in this home"):
        store.key(PrivateKey.generate().public.keyid, None)


def test_a_key_file_with_another_key_inside(tmp_path: Path):
    store = KeyStore(Home(tmp_path))
    one, other = PrivateKey.generate(), PrivateKey.generate()
    store.add_key(one, None).rename(store.key_path(other.public.keyid))
    with pytest.raises(FormatError, match="holds another key"):
        store.key(other.public.keyid, None)
