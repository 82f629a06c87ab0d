"""The top-level keys of a .torrent file besides `info`, read strictly from untrusted bytes.

Each function removes its key from the dictionary. The keys left at the end are unknown to us.
"""

from __future__ import annotations

from p2pqwen.errors import FormatError
from p2pqwen.torrent.bencode import Bencoded
from p2pqwen.torrent.info import text
from p2pqwen.torrent.recipe import RECIPES
from p2pqwen.torrent.signature_entry import MAX_SIGNATURES, TorrentSignature, check_label
from p2pqwen.torrent.web_address import check_tracker_url, check_web_url
from p2pqwen.values.digest import Sha256

MAX_WEB_SEEDS = 100
MAX_TRACKERS = 100
MAX_COMMENT = 4096


def take_layers(torrent: dict[bytes, Bencoded]) -> dict[Sha256, bytes]:
    """Return the `piece layers` by pieces root."""
    layers: dict[Sha256, bytes] = {}
    for root, layer in _dict(torrent.pop(b"piece layers", None), "piece layers").items():
        if not isinstance(layer, bytes):
            raise FormatError("a piece layer", expected="a string", got=type(layer).__name__)
        layers[Sha256(root)] = layer
    return layers


def take_web_seeds(torrent: dict[bytes, Bencoded]) -> tuple[str, ...]:
    """Return the `url-list` (BEP 19)."""
    value = torrent.pop(b"url-list", b"")
    urls: Bencoded = value
    if isinstance(value, bytes):  # BEP 19: one string or a list; some programs write an empty string for none
        urls = [value] if value else []
    return tuple(check_web_url(url) for url in _texts(urls, "url-list", MAX_WEB_SEEDS))


def take_trackers(torrent: dict[bytes, Bencoded]) -> tuple[tuple[str, ...], ...]:
    """Return the tiers of `announce-list` (BEP 12), or `announce` as the only one."""
    tiers = torrent.pop(b"announce-list", None)
    if tiers is None:  # BEP 12: `announce` is ignored if there is a list
        announce = torrent.pop(b"announce", None)
        tiers = [] if announce is None else [[announce]]
    if not isinstance(tiers, list) or len(tiers) > MAX_TRACKERS:
        raise FormatError("torrent `announce-list`", expected=f"a list of at most {MAX_TRACKERS} tiers")
    found = tuple(tuple(map(check_tracker_url, _texts(tier, "announce-list", MAX_TRACKERS))) for tier in tiers)
    return tuple(tier for tier in found if tier)


def take_text(torrent: dict[bytes, Bencoded], key: bytes) -> str | None:
    """Return a string such as `comment`, or None."""
    value = torrent.pop(key, None)
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) > MAX_COMMENT:
        raise FormatError(f"torrent `{key.decode()}`", expected=f"a string of at most {MAX_COMMENT} bytes")
    return text(value, f"torrent `{key.decode()}`")


def take_manifest(torrent: dict[bytes, Bencoded]) -> bytes | None:
    """Return the manifest embedded under `p2pqwen`, or None."""
    if b"p2pqwen" not in torrent:
        return None
    ours = _dict(torrent.pop(b"p2pqwen"), "p2pqwen")
    recipe, manifest = ours.pop(b"recipe", None), ours.pop(b"manifest", None)
    if type(recipe) is not int or recipe not in RECIPES:
        raise FormatError(
            "torrent `p2pqwen` is of a recipe this version does not know",
            expected=", ".join(map(str, RECIPES)),
            got=repr(recipe)[:40],
        )
    if not isinstance(manifest, bytes):
        raise FormatError("torrent `p2pqwen` holds no manifest")
    if ours:
        torrent[b"p2pqwen"] = ours
    return manifest


def take_signatures(torrent: dict[bytes, Bencoded]) -> dict[str, TorrentSignature]:
    """Return the Ed25519 entries of `signatures`; entries of other kinds stay."""
    if b"signatures" not in torrent:
        return {}
    entries = _dict(torrent.pop(b"signatures"), "signatures")
    if len(entries) > MAX_SIGNATURES:
        raise FormatError("too many torrent signatures", expected=f"at most {MAX_SIGNATURES}", got=len(entries))
    found: dict[str, TorrentSignature] = {}
    others: dict[bytes, Bencoded] = {}
    for label, document in entries.items():
        signature = TorrentSignature.of_document(document)
        if signature is None:
            others[label] = document
        else:
            found[check_label(text(label, "signer label"))] = signature
    if others:
        torrent[b"signatures"] = others
    return found


def _texts(value: Bencoded, key: str, limit: int) -> list[str]:
    if not isinstance(value, list) or len(value) > limit:
        raise FormatError(f"torrent `{key}`", expected=f"a list of at most {limit}")
    found = []
    for item in value:
        if not isinstance(item, bytes):
            raise FormatError(f"torrent `{key}`", expected="strings", got=type(item).__name__)
        found.append(text(item, f"torrent `{key}`"))
    return found


def _dict(value: Bencoded | None, key: str) -> dict[bytes, Bencoded]:
    if not isinstance(value, dict):
        raise FormatError(f"torrent `{key}`", expected="a dictionary", got=type(value).__name__)
    return value
