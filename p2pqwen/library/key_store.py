"""What a home keeps of its own publisher: private keys, the chain of roots, the index it last published.

keys/<keyid>.pem       PKCS#8, mode 0600; a key whose file is not here lives elsewhere (offline, at a colleague's)
keys/<keyid>.pub       LABEL=BASE64, to hand to a publisher; missing for keys made by older versions
keys/roots.json        the chain from root 1
keys/published.json    the last index this publisher published, as it was written
keys/signed.json       position and digest of the last index draft that the keys here signed
"""

from __future__ import annotations

import json
from pathlib import Path

from p2pqwen.containment import each
from p2pqwen.errors import DiskError, FormatError, NotFoundError, UsageError, VerificationError
from p2pqwen.index.acceptance import Position, TrustedState, accept_roots
from p2pqwen.index.document import MAX_ROOTS
from p2pqwen.index.root import Root, SignedRoot, parse_signed_root
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.index_source import IndexSource, pieces_of
from p2pqwen.signing.keys import MAX_PEM_SIZE, PrivateKey
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.values import json_fields
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import parse_object

MAX_CHAIN_SIZE = 16 << 20
MAX_SIGNED_SIZE = 1 << 12


class KeyStore:
    """The folder `keys/` of a home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def lock_path(self) -> Path:
        """The lock that protects changes to keys, roots and the published index."""
        return self._home.locks / "keys.lock"

    @property
    def exists(self) -> bool:
        """Whether this home has a publisher."""
        return self.roots_path.exists()

    def roots(self) -> tuple[SignedRoot, ...]:
        """Return the chain from root 1, verified; raises `NotFoundError`, `VerificationError`."""
        if not self.exists:
            raise NotFoundError("this home has no publisher", hint="make one with `p2pqwen keys init --name NAME`")
        try:
            data = durable.read(self.roots_path, max_bytes=MAX_CHAIN_SIZE)
            rows = json_fields.array(parse_object(data, max_bytes=MAX_CHAIN_SIZE), "roots", limit=MAX_ROOTS)
            if not rows:
                raise FormatError("it holds no root")
            return accept_roots(tuple(parse_signed_root(row) for row in rows), TrustedState(None))
        except VerificationError as error:
            hint = "remove it and accept the roots of an index you published: `p2pqwen keys accept FILE --publisher ID`"
            raise VerificationError(f"{self.roots_path} is damaged: {error.message}", hint=hint) from error

    def root(self) -> Root:
        """Return the newest root."""
        return self.roots()[-1].root

    def publisher(self) -> Sha256:
        """Return this publisher's id."""
        return self.roots()[0].root.digest

    def write_roots(self, roots: tuple[SignedRoot, ...]) -> None:
        """Persist the chain."""
        rows = [signed.to_json() for signed in roots]
        durable.write(self.roots_path, json.dumps({"roots": rows}, indent=1, ensure_ascii=False).encode() + b"\n")

    def add_key(self, key: PrivateKey, passphrase: str | None, shown: str | None = None) -> Path:
        """Write a private key that only its owner can read; encrypted unless `passphrase` is None.

        `shown` is its public half in the form that people hand on. It is kept beside the key.
        """
        with durable.disk_errors(f"protect {self._home.keys}"):
            durable.make_folder(self._home.keys)
            self._home.keys.chmod(0o700)  # an older version made it with another mode
        path = self.key_path(key.public.keyid)
        if path.exists():
            raise UsageError(f"{path} exists already")
        pem = key.to_pem(passphrase)
        if shown is not None:
            durable.write(path.with_suffix(".pub"), shown.encode())
        durable.write(path, pem)
        return path

    def private_keys(self) -> list[Sha256]:
        """Return the ids of the private keys in this home, whatever their role."""
        stems = sorted(path.stem for path in self._home.keys.glob("*.pem") if path.is_file())
        return each(stems, Sha256.parse, failed=lambda *_: None)  # not one of our files

    def shown(self, keyid: Sha256) -> str | None:
        """Return a key's public half in the form that people hand on, None if it was not kept."""
        path = self.key_path(keyid).with_suffix(".pub")
        return durable.read(path, max_bytes=MAX_PEM_SIZE).decode(errors="replace") if path.is_file() else None

    def key_path(self, keyid: Sha256) -> Path:
        """Return the path of a private key, present or not."""
        return self._home.keys / f"{keyid}.pem"

    def has_key(self, keyid: Sha256) -> bool:
        """Tell whether the private key is in this home."""
        return self.key_path(keyid).is_file()

    def is_encrypted(self, keyid: Sha256) -> bool:
        """Tell whether the private key needs its passphrase."""
        return b"ENCRYPTED" in self._read_pem(keyid)

    def key(self, keyid: Sha256, passphrase: str | None) -> PrivateKey:
        """Open a private key; raises `NotFoundError`, `UsageError` for a missing or wrong passphrase."""
        key = PrivateKey.from_pem(self._read_pem(keyid), passphrase)
        if key.public.keyid != keyid:
            raise FormatError(f"{self.key_path(keyid)} holds another key", expected=keyid, got=key.public.keyid)
        return key

    def write_published(self, source: IndexSource) -> None:
        """Remember what was published."""
        durable.write_pieces(self.published_path, pieces_of(source))

    def signed(self) -> tuple[Position, Sha256] | None:
        """Return the index draft that was last signed here, None before the first; raises `VerificationError`."""
        if not self._signed_path.exists():
            return None
        try:
            row = parse_object(durable.read(self._signed_path, max_bytes=MAX_SIGNED_SIZE), max_bytes=MAX_SIGNED_SIZE)
            position = Position(json_fields.integer(row, "epoch"), json_fields.integer(row, "version"))
            return position, Sha256.parse(json_fields.text(row, "digest"))
        except FormatError as error:
            hint = "remove it, and make sure that no other draft of this version exists"
            raise VerificationError(f"{self._signed_path} is damaged: {error.message}", hint=hint) from error

    def write_signed(self, position: Position, digest: Sha256) -> None:
        """Remember what is about to be signed."""
        row = {"epoch": position.epoch, "version": position.version, "digest": str(digest)}
        durable.write(self._signed_path, json.dumps(row).encode())

    def torrent(self, location: str) -> bytes | None:
        """Return a published torrent by its path in the site."""
        path = self._torrents / location
        return durable.read(path, max_bytes=MAX_TORRENT_BYTES) if path.exists() else None

    def write_torrent(self, location: str, data: bytes) -> None:
        """Remember a published torrent."""
        durable.write(self._torrents / location, data)

    def _read_pem(self, keyid: Sha256) -> bytes:
        path = self.key_path(keyid)
        if not path.is_file():
            raise NotFoundError(f"the private key {keyid} is not in this home")
        if path.stat().st_mode & 0o077:
            raise DiskError(
                f"{path} can be read by others", expected="mode 0600", hint=f"chmod 600 {path}; think about who could"
            )
        return durable.read(path, max_bytes=MAX_PEM_SIZE)

    @property
    def _torrents(self) -> Path:
        return self._home.keys / "torrents"

    @property
    def roots_path(self) -> Path:
        """The file of the publisher's chain of roots."""
        return self._home.keys / "roots.json"

    @property
    def published_path(self) -> Path:
        """The file of the index published last."""
        return self._home.keys / "published.json"

    @property
    def _signed_path(self) -> Path:
        return self._home.keys / "signed.json"
