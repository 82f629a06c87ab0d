"""Make a publisher and show its keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from p2pqwen.containment import each, first_of
from p2pqwen.errors import FormatError, UsageError
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
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.torrent.signature_entry import MAX_LABEL
from p2pqwen.values import base64_text
from p2pqwen.values.digest import Sha256

MAX_NEW_NAME = MAX_LABEL - len(" index key")  # a key's label also signs torrents

MIN_PREFIX = 8


@dataclass(frozen=True, slots=True)
class KeyUse:
    """An encrypted key that is about to be opened: whose it is, and what for."""

    keyid: Sha256
    label: str
    publisher: str
    purpose: str

    @property
    def key(self) -> str:
        """The key in words."""
        return f"the key {self.label} ({str(self.keyid)[:8]}) of {self.publisher}"

    def __str__(self) -> str:
        return f"{self.key}, to {self.purpose}"


# Called only when an encrypted key must be opened, with that key and its purpose.
Passphrase: TypeAlias = Callable[[KeyUse], str]


@dataclass(frozen=True, slots=True)
class KeyShown:
    """One key: what it may sign, and whether its private half is in this home.

    `public` is its public half as people share it, None if it is not known here.
    """

    keyid: Sha256
    label: str
    roles: tuple[str, ...]
    private: bool
    public: str | None = None


@dataclass(frozen=True, slots=True)
class PublisherShown:
    """A publisher as `keys` prints it: the keys of its root, then those in this home that no root names yet."""

    publisher: Sha256
    root: Root
    keys: tuple[KeyShown, ...]
    spare: tuple[KeyShown, ...] = ()


def check_no_publisher(store: KeyStore) -> None:
    """Raise `UsageError` when this home has a publisher."""
    if store.exists:
        raise UsageError(
            f"this home has a publisher already: {store.publisher()}",
            hint="`p2pqwen keys show` shows it, `p2pqwen keys rotate` changes its keys",
        )


def init_keys(store: KeyStore, name: str, passphrase: str | None) -> PublisherShown:
    """Make a publisher with one root key and one index key, so that the root key can be moved offline.

    `passphrase` None leaves the private keys unencrypted. Raises `UsageError` when this home has a publisher.
    """
    name = _label(name, "the publisher's name")
    with durable.lock(store.lock_path):
        check_no_publisher(store)
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
        for label, key in private.items():
            store.add_key(key, passphrase, format_public(RootKey(key.public, label)))
        # Last: a home has a publisher once its root is written.
        store.write_roots((SignedRoot(root, [sign(ROOT_TYPE, root.payload, root_key)]),))
    return show_keys(store)


def new_key(store: KeyStore, label: str, passphrase: str | None) -> RootKey:
    """Make a private key in this home and return what to hand to the publisher that will add it."""
    (made,) = make_keys((label,))
    with durable.lock(store.lock_path):
        store.add_key(made.private, passphrase, format_public(made.shown))
    return made.shown


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A fresh key that no home holds yet."""

    private: PrivateKey
    shown: RootKey


def make_keys(labels: Iterable[str]) -> list[MadeKey]:
    """Make one key for each label; raises `UsageError` for an invalid label."""
    made = []
    for label in labels:
        private = PrivateKey.generate()
        made.append(MadeKey(private, RootKey(private.public, _label(label))))
    return made


def find_key(root: Root, text: str) -> Sha256:
    """Return the key of a root whose id begins with `text`; raises `UsageError`."""
    matching = [keyid for keyid in root.keys if str(keyid).startswith(text)]
    if len(text) < MIN_PREFIX or len(matching) != 1:
        raise UsageError(
            f"this id does not name exactly one key of root {root.version}",
            expected=f"{MIN_PREFIX} or more digits",
            got=repr(text),
        )
    return matching[0]


def format_public(key: RootKey) -> str:
    """Print a public key as people share it: `LABEL=BASE64`."""
    return f"{key.label}={base64_text.encode(key.public.raw)}"


def parse_public(text: str) -> RootKey:
    """Read `LABEL=BASE64`; raises `UsageError`."""
    label, _, public = text.partition("=")
    try:
        return RootKey(PublicKey(base64_text.decode(public)), _label(label))
    except FormatError as error:
        raise UsageError("not a public key", expected="LABEL=BASE64, as `keys new` prints it", got=text) from error


def show_keys(store: KeyStore) -> PublisherShown:
    """Return this home's publisher; raises `NotFoundError`."""
    roots = store.roots()
    root = roots[-1].root
    keys = tuple(_shown(store, root, keyid) for keyid in root.keys)
    return PublisherShown(roots[0].root.digest, root, keys, spare_keys(store, root))


def spare_keys(store: KeyStore, root: Root | None = None) -> tuple[KeyShown, ...]:
    """Return the private keys in this home that `root` does not name: made for a publisher that is yet to add them."""
    others = [keyid for keyid in store.private_keys() if root is None or keyid not in root.keys]
    return tuple(_made_here(store, keyid) for keyid in others)


def open_keys(
    store: KeyStore, keyids: Iterable[Sha256], passphrase: Passphrase, roots: Sequence[Root], purpose: str
) -> list[PrivateKey]:
    """Open the keys whose private half is in this home; raises `UsageError` for a wrong passphrase.

    A passphrase that opened one key is tried on the next before the user is asked again. `roots` name the keys, the
    newest last; `purpose` says what the keys are for, such as `sign index 0.8`.
    """
    labels = {keyid: key.label for root in roots for keyid, key in root.keys.items()}
    opened: list[PrivateKey] = []
    secrets: list[str] = []
    for keyid in keyids:
        if not store.has_key(keyid):
            continue
        if not store.is_encrypted(keyid):
            opened.append(store.key(keyid, None))
            continue
        use = KeyUse(keyid, labels.get(keyid, "without a name"), roots[-1].name, purpose)
        opened.append(_opened_before(store, keyid, secrets) or _open(store, use, passphrase, secrets))
    return opened


def _opened_before(store: KeyStore, keyid: Sha256, secrets: Iterable[str]) -> PrivateKey | None:
    return first_of(secrets, lambda secret: store.key(keyid, secret), failed=lambda *_: None)


def _open(store: KeyStore, use: KeyUse, passphrase: Passphrase, secrets: list[str]) -> PrivateKey:
    secret = passphrase(use)
    try:
        key = store.key(use.keyid, secret)
    except UsageError as error:
        raise UsageError(f"the passphrase does not open {use.key}", hint=error.hint) from error
    secrets.append(secret)
    return key


def _label(text: str, what: str = "a key's label") -> str:
    if not text.strip() or len(text) > MAX_NEW_NAME or not text.isprintable() or "=" in text:
        raise UsageError(what, expected=f"1 to {MAX_NEW_NAME} printable characters without '='", got=repr(text))
    return text.strip()


def _shown(store: KeyStore, root: Root, keyid: Sha256) -> KeyShown:
    roles = tuple(role for role, rule in root.roles.items() if keyid in rule.keyids)
    key = root.keys[keyid]
    return KeyShown(keyid, key.label, roles, store.has_key(keyid), format_public(key))


def _made_here(store: KeyStore, keyid: Sha256) -> KeyShown:
    shown = each([store], lambda keys: keys.shown(keyid), failed=lambda *_: None)
    public = shown[0] if shown else None
    return KeyShown(keyid, (public or "").partition("=")[0], (), private=True, public=public)
