"""The .torrent file: the info dictionary, its piece layers, and what may differ between copies (SPEC sections 3, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

from p2pqwen.errors import FormatError
from p2pqwen.torrent import bencode, merkle
from p2pqwen.torrent import metainfo_fields as fields
from p2pqwen.torrent.bencode import Bencoded, Cursor
from p2pqwen.torrent.info import FileEntry, Info, build_info
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.no_torrent import require_bencoded
from p2pqwen.torrent.recipe import CURRENT
from p2pqwen.torrent.signature_entry import TorrentSignature
from p2pqwen.values.digest import CommitId, Sha256

__all__ = ["FileEntry", "Metainfo", "build_info", "metainfo_from_info", "parse_metainfo", "read_metainfo"]


@dataclass(frozen=True, slots=True)
class Metainfo:
    """A hybrid torrent. Raises `FormatError` for an unsupported info dictionary or a wrong piece layer.

    `info` is bencoded. `piece_layers` maps a pieces root to 32 bytes per piece; metadata from peers, or saved by a
    client that omits them, has none yet. `trackers` are tiers (BEP 12). `manifest` is the embedded manifest's bytes.
    `extra` holds the top-level keys without a field here, so reading and writing a torrent loses nothing.
    """

    info: bytes = field(repr=False)
    piece_layers: Mapping[Sha256, bytes] = field(default_factory=dict, repr=False)
    web_seeds: tuple[str, ...] = ()
    trackers: tuple[tuple[str, ...], ...] = ()
    comment: str | None = None
    created_by: str | None = None
    manifest: bytes | None = field(default=None, repr=False)
    signatures: Mapping[str, TorrentSignature] = field(default_factory=dict)
    extra: Mapping[bytes, Bencoded] = field(default_factory=dict, repr=False)
    # Parsed once: copies made by `replace` share it unless their `info` differs.
    parsed_info: Info = field(default=cast("Info", None), repr=False, compare=False)

    def __post_init__(self) -> None:
        known = cast("Info | None", self.parsed_info)
        if known is None or known.raw != self.info:
            object.__setattr__(self, "parsed_info", Info(self.info))
        for name in ("piece_layers", "signatures", "extra"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        _check_layers(self.parsed_info, self.piece_layers)

    @property
    def name(self) -> str:
        """The folder's name; in recipe 1, the commit."""
        return self.parsed_info.name

    @property
    def commit(self) -> CommitId:
        """The commit that is the torrent's name; raises `FormatError` for another name."""
        return CommitId.parse(self.name)

    @property
    def infohash(self) -> InfoHash:
        """The v1 and v2 infohash."""
        return self.parsed_info.infohash

    @property
    def layout(self) -> Layout:
        """Files in order, with their pads and offsets."""
        return self.parsed_info.layout

    @property
    def piece_length(self) -> int:
        """The piece length in bytes."""
        return self.layout.piece_length

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Payload files in order, with their pieces roots."""
        return self.parsed_info.files

    @property
    def pieces(self) -> bytes:
        """The v1 piece hashes, 20 bytes each."""
        return self.parsed_info.pieces

    @property
    def has_all_layers(self) -> bool:
        """Whether every file of several pieces has its layer, as a .torrent file must."""
        return all(root in self.piece_layers for root in _roots_with_layers(self.parsed_info))

    def with_layers(self, layers: Mapping[Sha256, bytes]) -> Metainfo:
        """Return it with the piece layers that it needs and lacks; raises `FormatError` for a wrong one."""
        needed = _roots_with_layers(self.parsed_info) - self.piece_layers.keys()
        found = {root: layer for root, layer in layers.items() if root in needed}
        return replace(self, piece_layers={**self.piece_layers, **found}) if found else self

    def encode(self) -> bytes:
        """Return the .torrent file; raises `ValueError` if piece layers are missing."""
        if not self.has_all_layers:
            raise ValueError("a torrent without its piece layers cannot be written")
        torrent: dict[bytes, Bencoded] = dict(self.extra)
        if self.trackers:
            torrent[b"announce-list"] = [[url.encode() for url in tier] for tier in self.trackers]
        if self.comment is not None:
            torrent[b"comment"] = self.comment.encode()
        if self.created_by is not None:
            torrent[b"created by"] = self.created_by.encode()
        if self.web_seeds:
            torrent[b"url-list"] = [url.encode() for url in self.web_seeds]
        if self.manifest is not None:
            _merge(torrent, b"p2pqwen", {b"manifest": self.manifest, b"recipe": CURRENT.number})
        if self.signatures:
            _merge(torrent, b"signatures", {key.encode(): one.document() for key, one in self.signatures.items()})
        torrent[b"piece layers"] = {root.raw: layer for root, layer in self.piece_layers.items()}
        return _encode_around(torrent, self.info)


def parse_metainfo(data: bytes) -> Metainfo:
    """Parse a .torrent file of at most 64 MiB; raises `FormatError`.

    It must be a hybrid directory torrent in strict bencode with all its piece layers, whose v1 and v2 file lists agree.
    `check_recipe` tells whether it follows the recipe.
    """
    return _parsed(data, complete=True)


def read_metainfo(data: bytes) -> Metainfo:
    """Parse a user's .torrent file, which may lack piece layers; raises `FormatError`.

    Several clients omit them: aria2, webtorrent, Transmission for a magnet, qBittorrent in its backup. All other rules
    are those of `parse_metainfo`, and existing layers are checked.
    """
    return _parsed(data, complete=False)


def _parsed(data: bytes, *, complete: bool) -> Metainfo:
    torrent, info = _read(data)
    if not complete:
        torrent.setdefault(b"piece layers", {})
    manifest = fields.take_manifest(torrent)
    signatures = fields.take_signatures(torrent)
    metainfo = Metainfo(
        info.raw,
        fields.take_layers(torrent),
        web_seeds=fields.take_web_seeds(torrent),
        trackers=fields.take_trackers(torrent),
        comment=fields.take_text(torrent, b"comment"),
        created_by=fields.take_text(torrent, b"created by"),
        manifest=manifest,
        signatures=signatures,
        extra=torrent,
        parsed_info=info,
    )
    if complete and not metainfo.has_all_layers:
        raise FormatError("the torrent lacks the piece layer of a file that needs one")
    return metainfo


def _read(data: bytes) -> tuple[dict[bytes, Bencoded], Info]:
    """Return the top level without `info`, and `info`, the only value that may have very many parts."""
    if len(data) > MAX_TORRENT_BYTES:
        raise FormatError("the torrent is too large", expected=f"at most {MAX_TORRENT_BYTES} bytes", got=len(data))
    require_bencoded(data)
    cursor = Cursor(data)
    torrent: dict[bytes, Bencoded] = {}
    info: Info | None = None
    if not cursor.opens(b"d"):
        raise FormatError("bencoded data", expected="a dictionary", got=type(cursor.value(0)).__name__)
    for key in cursor.names():
        if key == b"info" and cursor.opens(b"d"):
            info = Info.read(cursor)
        else:
            torrent[key] = cursor.value(1)
    cursor.end()
    if info is None:
        raise FormatError("the torrent has no info dictionary")
    return torrent, info


def metainfo_from_info(info: bytes, piece_layers: Mapping[Sha256, bytes] | None = None) -> Metainfo:
    """Return the torrent of an info dictionary that came from peers (BEP 9); raises `FormatError`.

    The caller has checked the bytes against an infohash. Layers may be missing; given ones are checked.
    """
    return Metainfo(info, piece_layers or {})


def _roots_with_layers(info: Info) -> set[Sha256]:
    return {file.pieces_root for file in info.files if file.pieces_root and file.size > info.layout.piece_length}


def _check_layers(info: Info, layers: Mapping[Sha256, bytes]) -> None:
    piece_length = info.layout.piece_length
    for file in info.files:
        layer = layers.get(file.pieces_root) if file.pieces_root and file.size > piece_length else None
        if layer is None:
            continue
        length = -(-file.size // piece_length) * merkle.HASH_SIZE
        if len(layer) != length:
            raise FormatError(f"piece layer of {file.path} has the wrong length", expected=length, got=len(layer))
        if (root := Sha256(merkle.root_of_layer(layer, piece_length))) != file.pieces_root:
            raise FormatError(f"piece layer of {file.path} has the wrong root", expected=file.pieces_root, got=root)
    if surplus := layers.keys() - _roots_with_layers(info):
        raise FormatError("a piece layer belongs to no file", got=min(surplus))


def _merge(torrent: dict[bytes, Bencoded], key: bytes, ours: dict[bytes, Bencoded]) -> None:
    theirs = torrent.get(key)
    torrent[key] = {**theirs, **ours} if isinstance(theirs, dict) else ours


def _encode_around(torrent: dict[bytes, Bencoded], info: bytes) -> bytes:
    """Encode a torrent around its info dictionary, without decoding that."""
    before = {key: value for key, value in torrent.items() if key < b"info"}
    after = {key: value for key, value in torrent.items() if key > b"info"}
    return bencode.encode(before)[:-1] + b"4:info" + info + bencode.encode(after)[1:]
