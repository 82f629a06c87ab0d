"""Roots: which keys may sign what for a publisher, and how one root hands over to the next (SPEC section 6).

The publisher id is the SHA-256 of the RFC 8785 form of root 1. Root N+1 names root N's digest and is signed by a
threshold of root N's root keys and by a threshold of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from p2pqwen.errors import FormatError
from p2pqwen.signing.envelope import ThresholdResult, check_message, check_threshold
from p2pqwen.signing.keys import Message, PublicKey
from p2pqwen.values import base64_text, json_fields
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject, JsonValue, canonical

ROOT_TYPE = "root"
INDEX_ROLE = "index"
ROOT_ROLE = "root"
SPEC = 1
MAX_KEYS = 64
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class RootKey:
    """A public key and its owner's name."""

    public: PublicKey
    label: str


@dataclass(frozen=True, slots=True)
class Role:
    """The keys that may sign for a role, and how many of them must."""

    keyids: tuple[Sha256, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class Root:
    """One root document. `document` is its JSON, unknown keys included; `payload` its signed bytes."""

    version: int
    previous: Sha256 | None
    name: str
    keys: Mapping[Sha256, RootKey]
    roles: Mapping[str, Role]
    index_epoch: int
    document: JsonObject = field(repr=False, compare=False)
    payload: bytes = field(repr=False)

    @property
    def digest(self) -> Sha256:
        """SHA-256 of the signed bytes; of root 1 it is the publisher id."""
        return Sha256.of(self.payload)

    def public_keys(self, role: str) -> dict[Sha256, PublicKey]:
        """Return the keys that may sign for a role."""
        return {keyid: self.keys[keyid].public for keyid in self.roles[role].keyids}

    def check(self, role: str, document_type: str, payload: bytes, signatures: JsonValue) -> ThresholdResult:
        """Count the keys of a role that signed a payload."""
        return check_threshold(document_type, payload, signatures, self.public_keys(role), self.roles[role].threshold)

    def check_message(self, role: str, message: Message, signatures: JsonValue) -> ThresholdResult:
        """Do what `check` does, given the whole message that the signatures cover."""
        return check_message(message, signatures, self.public_keys(role), self.roles[role].threshold)


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A root with its signatures, not judged."""

    root: Root
    signatures: JsonValue

    def to_json(self) -> JsonObject:
        """Return the row of an index file's `roots`."""
        return {"signed": self.root.document, "signatures": self.signatures}


def root_document(
    *,
    version: int,
    previous: Sha256 | None,
    name: str,
    keys: Mapping[Sha256, RootKey],
    roles: Mapping[str, Role],
    index_epoch: int,
) -> JsonObject:
    """Return the JSON of a new root; `parse_root` turns it into a `Root`."""
    return {
        "type": ROOT_TYPE,
        "spec": SPEC,
        "version": version,
        "previous": None if previous is None else str(previous),
        "name": name,
        "keys": {
            str(keyid): {"public": base64_text.encode(key.public.raw), "label": key.label}
            for keyid, key in keys.items()
        },
        "roles": {
            role: {"keyids": [str(keyid) for keyid in rule.keyids], "threshold": rule.threshold}
            for role, rule in roles.items()
        },
        "index_epoch": index_epoch,
    }


def parse_root(document: JsonObject) -> Root:
    """Parse one root; raises `FormatError`."""
    json_fields.constant(document, "type", ROOT_TYPE)
    json_fields.constant(document, "spec", SPEC)
    version = json_fields.integer(document, "version", at_least=1)
    previous = json_fields.optional_text(document, "previous")
    if (previous is None) != (version == 1):
        raise FormatError("only root 1 has no previous root", got=f"version {version}, previous {previous}")
    keys = _parse_keys(json_fields.obj(document, "keys"))
    roles = json_fields.obj(document, "roles")
    return Root(
        version=version,
        previous=None if previous is None else Sha256.parse(previous),
        name=_name(document, "name"),
        keys=keys,
        roles={role: _parse_role(json_fields.obj(roles, role), keys) for role in (ROOT_ROLE, INDEX_ROLE)},
        index_epoch=json_fields.integer(document, "index_epoch"),
        document=document,
        payload=canonical(document),
    )


def parse_signed_root(value: JsonValue) -> SignedRoot:
    """Parse a row of `roots`; raises `FormatError`."""
    row = json_fields.as_object(value, "roots")
    return SignedRoot(parse_root(json_fields.obj(row, "signed")), row.get("signatures"))


def _name(document: JsonObject, name: str) -> str:
    value = json_fields.text(document, name, limit=MAX_NAME)
    if not value.strip():
        raise FormatError(f"field {name!r} is empty")
    return value


def _parse_keys(rows: JsonObject) -> dict[Sha256, RootKey]:
    if len(rows) > MAX_KEYS:
        raise FormatError("root has too many keys", expected=f"at most {MAX_KEYS}", got=len(rows))
    keys = {}
    for name in rows:
        row = json_fields.obj(rows, name)
        public = PublicKey(base64_text.decode(json_fields.text(row, "public")))
        if str(public.keyid) != name:
            raise FormatError("keyid is not the SHA-256 of its key", expected=public.keyid, got=repr(name[:80]))
        keys[public.keyid] = RootKey(public, _name(row, "label"))
    return keys


def _parse_role(row: JsonObject, keys: Mapping[Sha256, RootKey]) -> Role:
    keyids = tuple(Sha256.parse(text) for text in json_fields.texts(row, "keyids", limit=MAX_KEYS))
    if len(set(keyids)) != len(keyids):
        raise FormatError("role names a key twice")
    if unknown := next((keyid for keyid in keyids if keyid not in keys), None):
        raise FormatError("role names a key that the root does not hold", got=unknown)
    return Role(keyids, json_fields.integer(row, "threshold", at_least=1, at_most=len(keyids)))
