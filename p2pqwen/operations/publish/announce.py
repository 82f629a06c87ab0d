"""After publishing: make the site's bundle, to be seeded, and put a signed pointer to it into the DHT.

The pointer is signed and kept whether or not a DHT node answers: any node of this home, or of a follower, can put it
later without the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.board import board_notice, vouched_keys
from p2pqwen.index.mutable_item import ItemAddress
from p2pqwen.index.pointer import Pointer
from p2pqwen.index.publisher_link import PublisherLink
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.loop_thread import run_now
from p2pqwen.operations.indexes.bundle import make_bundle
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.operations.indexes.pointer import pointer_address, put_pointer, sign_pointer
from p2pqwen.operations.publish.keys import Passphrase, open_keys
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.swarm.dht import Put
from p2pqwen.torrent.infohash import InfoHash


@dataclass(frozen=True, slots=True)
class Announced:
    """The bundle's infohash, the link that leads to the pointer, and how many DHT nodes took the pointer.

    `link` is None for an index that names no DHT key, `nodes` if the pointer was not put now.
    """

    bundle: InfoHash
    link: PublisherLink | None
    nodes: int | None


def announce(
    keys: KeyStore,
    accepted: Accepted,
    site: Path,
    *,
    bundles: BundleStore,
    pointers: PointerStore,
    passphrase: Passphrase,
    dht: DhtAccess | None,
    report: Report = ignore,
) -> Announced:
    """Make the bundle of what was just published and point at it; raises `DiskError`, `UsageError` (passphrase)."""
    _, metainfo = make_bundle(bundles, accepted, site)
    pointer = Pointer.to_bundle(metainfo.infohash, accepted.position, accepted.digest)
    address = pointer_address(accepted.document.dht, accepted.roots)
    if address is None:
        return Announced(metainfo.infohash, None, None)
    link = PublisherLink(address, accepted.publisher)
    private = open_keys(
        keys,
        (address.public.keyid,),
        passphrase,
        [signed.root for signed in accepted.roots],
        f"sign the DHT pointer to index {accepted.position}",
    )
    if not private:
        report(Notice("warning", f"the key of the DHT pointer, {address.public.keyid}, is not in this home: not put"))
        return Announced(metainfo.infohash, link, None)
    if address.public not in vouched_keys(accepted.roots[: board_notice([address], accepted.roots).roots]):
        text = (
            "the chain of roots is too long for the notice boards: with the id alone, readers need a mirror or a link"
        )
        report(Notice("warning", text))
    if dht is None:
        sign_pointer(pointers, accepted.publisher, private[0], address.salt, pointer)
        return Announced(metainfo.infohash, link, None)
    put = run_now(_put(dht, pointers, accepted, private[0], address, pointer))
    if not put.accepted:
        why = "; ".join(put.refusals[:2]) or ("no DHT node answered" if not put.answered else "no answer")
        report(Notice("info", f"the pointer is signed, but no DHT node stored it ({why}); `p2pqwen seed` tries again"))
    return Announced(metainfo.infohash, link, put.accepted)


async def _put(
    dht: DhtAccess,
    pointers: PointerStore,
    accepted: Accepted,
    key: PrivateKey,
    address: ItemAddress,
    pointer: Pointer,
) -> Put:
    async with dht.open() as client:
        return await put_pointer(client, pointers, accepted.roots, key, address.salt, pointer)
