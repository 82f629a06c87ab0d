"""Ed25519 keys (RFC 8032), parsed and checked more strictly than the RFC requires.

Two verifiers that disagree about a signature can be made to disagree about an index. So there is one set of rules:
public keys are canonical points on the curve and not of small order; signatures are 64 bytes with S < L and an R that
is not of small order (the rules of `verify_strict` in ed25519-dalek). Anything else is not a signature.

cryptography is imported only to sign, verify or read a private key: listing keys does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.signing.passphrase import new_passphrase, spellings
from p2pqwen.values.digest import Sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

Message: TypeAlias = bytes | memoryview
"""The bytes to sign: in memory, or a file's."""

PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
MAX_PEM_SIZE = 4096

_FIELD = 2**255 - 19
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
_CURVE_D = -121665 * pow(121666, -1, _FIELD) % _FIELD
# The y of the eight points of small order: of order 4, 1, 2, and (two each) 8.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The raw 32 bytes of an Ed25519 public key; raises `FormatError` unless it is a usable point."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != PUBLIC_KEY_SIZE:
            raise FormatError("an Ed25519 public key has the wrong length", expected=PUBLIC_KEY_SIZE, got=len(self.raw))
        y = _y_of(self.raw)
        if y >= _FIELD or not _on_curve(y):
            raise FormatError("an Ed25519 public key is not a point on the curve", got=self.raw.hex())
        if y in _SMALL_ORDER_Y:
            raise FormatError("an Ed25519 public key is of small order, anyone can sign for it", got=self.raw.hex())

    @property
    def keyid(self) -> Sha256:
        """The key's id: the SHA-256 of its 32 bytes (SPEC section 5)."""
        return Sha256.of(self.raw)

    def verify(self, signature: bytes, message: Message) -> bool:
        """Tell whether these 64 bytes are this key's signature of the message."""
        if len(signature) != SIGNATURE_SIZE:
            return False
        if int.from_bytes(signature[32:], "little") >= _GROUP_ORDER or _y_of(signature[:32]) in _SMALL_ORDER_Y:
            return False
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """An Ed25519 private key; never printed, never compared, written only as PEM."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """Make a new key from the system's random source."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the key of a 32-byte RFC 8032 seed; for vectors and tests, whose keys are public anyway."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(cls, data: bytes, passphrase: str | None) -> Self:
        """Read PKCS#8 PEM; raises `FormatError`, or `UsageError` when the passphrase is missing or wrong."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if len(data) > MAX_PEM_SIZE:
            raise FormatError("private key file is too large", expected=f"at most {MAX_PEM_SIZE} bytes", got=len(data))
        encrypted = b"ENCRYPTED" in data
        if encrypted and passphrase is None:
            raise UsageError("the private key needs its passphrase", hint="set P2PQWEN_PASSPHRASE")
        if encrypted and passphrase is not None:
            key = _decrypted(data, passphrase)
        else:
            try:
                key = load_pem_private_key(data, None)
            except (ValueError, TypeError) as error:
                raise FormatError("not a PKCS#8 PEM private key", got=str(error)) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise FormatError("private key is of the wrong kind", expected="Ed25519", got=type(key).__name__)
        return cls(key)

    def to_pem(self, passphrase: str | None) -> bytes:
        """Return PKCS#8 PEM, encrypted unless `passphrase` is None; raises `UsageError` for an empty passphrase."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        from p2pqwen.signing.pkcs8 import encrypted_pem

        if passphrase is None:
            return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        plain = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return encrypted_pem(plain, new_passphrase(passphrase))

    def sign(self, message: Message) -> bytes:
        """Return the 64-byte signature."""
        return self._key.sign(message)


def _decrypted(data: bytes, passphrase: str) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    problem: Exception | None = None
    for secret in spellings(passphrase):
        try:
            return load_pem_private_key(data, secret)
        except (ValueError, TypeError) as error:
            problem = problem or error
    raise UsageError("the passphrase does not open the private key") from problem


def _y_of(encoded: bytes) -> int:
    return int.from_bytes(encoded, "little") & (2**255 - 1)


def _on_curve(y: int) -> bool:
    # RFC 8032 5.1.3: x^2 = (y^2 - 1) / (d y^2 + 1) must have a root.
    numerator, denominator = y * y - 1, _CURVE_D * y * y + 1
    square = numerator * pow(denominator, -1, _FIELD) % _FIELD
    return square == 0 or pow(square, (_FIELD - 1) // 2, _FIELD) == 1
