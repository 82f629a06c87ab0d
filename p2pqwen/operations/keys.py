"""Make a publisher and show its keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from p2pqwen.errors import UsageError
from p2pqwen.index.root import (
    INDEX_ROLE,
    ROOT_ROLE,
    ROOT_TYPE,
    Role,
    Root,
    RootKey,
    SignedRoot,
    parse_root,
    root_document,
)
from p2pqwen.library import durable
from p2pqwen.library.key_store import KeyStore
from p2pqwen.signing.envelope import sign
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.signature_entry import MAX_LABEL
from p2pqwen.values.digest import Sha256

MAX_NEW_NAME = MAX_LABEL - len(" index key")  # a key's label also signs torrents

# Asked at most once, and only when an encrypted key must be opened.
Passphrase: TypeAlias = Callable[[], str]


@dataclass(frozen=True, slots=True)
class KeyShown:
    """One key of a root: what it may sign, and whether its private half is in this home."""

    keyid: Sha256
    label: str
    roles: tuple[str, ...]
    private: bool


@dataclass(frozen=True, slots=True)
class PublisherShown:
    """A publisher as `keys` prints it."""

    publisher: Sha256
    root: Root
    keys: tuple[KeyShown, ...]


def init_keys(store: KeyStore, name: str, passphrase: str | None) -> PublisherShown:
    """Make a publisher with one root key and one index key, so that the root key can be moved offline.

    `passphrase` None leaves the private keys unencrypted. Raises `UsageError` when this home has a publisher.
    """
    if not name.strip() or len(name) > MAX_NEW_NAME or not name.isprintable():
        raise UsageError("the publisher's name", expected=f"1 to {MAX_NEW_NAME} printable characters", got=repr(name))
    with durable.lock(store.lock_path):
        if store.exists:
            raise UsageError(
                f"this home has a publisher already: {store.publisher()}",
                hint="`p2pqwen keys show` shows it, `p2pqwen keys rotate` changes its keys",
            )
        private = {f"{name} root key": PrivateKey.generate(), f"{name} index key": PrivateKey.generate()}
        (root_key, index_key) = private.values()
        document = root_document(
            version=1,
            previous=None,
            name=name,
            keys={key.public.keyid: RootKey(key.public, label) for label, key in private.items()},
            roles={ROOT_ROLE: Role((root_key.public.keyid,), 1), INDEX_ROLE: Role((index_key.public.keyid,), 1)},
            index_epoch=0,
        )
        root = parse_root(document)
        for key in private.values():
            store.add_key(key, passphrase)
        # Last: a home has a publisher once its root stands.
        store.write_roots((SignedRoot(root, [sign(ROOT_TYPE, root.payload, root_key)]),))
    return show_keys(store)


def show_keys(store: KeyStore) -> PublisherShown:
    """Return this home's publisher; raises `NotFoundError`."""
    roots = store.roots()
    root = roots[-1].root
    return PublisherShown(roots[0].root.digest, root, tuple(_shown(store, root, keyid) for keyid in root.keys))


def open_keys(store: KeyStore, keyids: tuple[Sha256, ...], passphrase: Passphrase) -> list[PrivateKey]:
    """Open those of the keys whose private half is in this home; raises `UsageError` for a wrong passphrase."""
    secret: str | None = None
    opened = []
    for keyid in keyids:
        if not store.has_key(keyid):
            continue
        if secret is None and store.is_encrypted(keyid):
            secret = passphrase()
        opened.append(store.key(keyid, secret))
    return opened


def _shown(store: KeyStore, root: Root, keyid: Sha256) -> KeyShown:
    roles = tuple(role for role, rule in root.roles.items() if keyid in rule.keyids)
    return KeyShown(keyid, root.keys[keyid].label, roles, store.has_key(keyid))
