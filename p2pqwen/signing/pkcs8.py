"""Encrypted private keys: PKCS#8 (RFC 5958) under PBES2 with scrypt (RFC 7914) and AES-256-CBC.

`BestAvailableEncryption` of cryptography 50 derives the key with 2,048 rounds of PBKDF2, less than a millisecond for
each guess at a passphrase, and offers no choice. So this module assembles the file. The library provides the primitives
and reads the file, which OpenSSL opens too. N, r and p are OWASP's (16 MiB, a tenth of a second).
"""

from __future__ import annotations

import base64
import os
import textwrap

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 14, 8, 5
_SALT_SIZE = 16
_KEY_SIZE = 32
_BLOCK = 16

_INTEGER, _OCTETS, _OID, _SEQUENCE = 0x02, 0x04, 0x06, 0x30
_PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES256_CBC = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42


def encrypted_pem(private_key_info: bytes, passphrase: bytes) -> bytes:
    """Return the PEM of a PKCS#8 PrivateKeyInfo (DER), encrypted with a passphrase."""
    salt, vector = os.urandom(_SALT_SIZE), os.urandom(_BLOCK)
    secret = Scrypt(salt, _KEY_SIZE, SCRYPT_N, SCRYPT_R, SCRYPT_P).derive(passphrase)
    padder = PKCS7(8 * _BLOCK).padder()
    padded = padder.update(private_key_info) + padder.finalize()
    encryptor = Cipher(AES(secret), CBC(vector)).encryptor()
    encrypted = encryptor.update(padded) + encryptor.finalize()
    costs = b"".join(_integer(cost) for cost in (SCRYPT_N, SCRYPT_R, SCRYPT_P))
    derivation = _sequence(_der(_OID, _SCRYPT), _sequence(_der(_OCTETS, salt), costs))
    cipher = _sequence(_der(_OID, _AES256_CBC), _der(_OCTETS, vector))
    algorithm = _sequence(_der(_OID, _PBES2), _sequence(derivation, cipher))
    document = _sequence(algorithm, _der(_OCTETS, encrypted))
    lines = "\n".join(textwrap.wrap(base64.b64encode(document).decode(), 64))
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{lines}\n-----END ENCRYPTED PRIVATE KEY-----\n".encode()


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _sequence(*items: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(items))


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))
