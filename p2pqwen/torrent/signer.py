"""The result of verifying one signature of a torrent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from p2pqwen.values.digest import Sha256

SignatureState: TypeAlias = Literal["valid", "invalid", "unknown key"]


@dataclass(frozen=True, slots=True)
class SignerResult:
    """One signature of a torrent: the label is only the signer's claim; the key id counts."""

    label: str
    keyid: Sha256
    state: SignatureState
