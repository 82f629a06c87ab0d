#!/usr/bin/env python3
"""Make the example site, torrents/example, or with --check compare it with the existing one.

It is the site of a fictitious publisher: a signed index with one entry, and the torrent of the model of `p2pqwen demo`.
Everything is fixed, so its bytes are the same on every machine. THE PRIVATE KEYS ARE DERIVED FROM THE TEXT BELOW AND
ARE NOT SECRET: anyone can sign as this publisher, so nobody should trust it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.demo.hub_repository import HubRepository, StoredFile  # noqa: E402 - the project's root must be found first
from p2pqwen.demo.tiny_model import REPO, write_tiny_model  # noqa: E402
from p2pqwen.index.document import INDEX_TYPE, IndexDocument, encode_file  # noqa: E402
from p2pqwen.index.entry import Entry, entry_magnet, torrent_location  # noqa: E402
from p2pqwen.index.root import (  # noqa: E402
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
from p2pqwen.index.upstream import Upstream  # noqa: E402
from p2pqwen.manifest.manifest import FileRow, Manifest  # noqa: E402
from p2pqwen.manifest.proof import prove  # noqa: E402
from p2pqwen.manifest.provenance import Provenance  # noqa: E402
from p2pqwen.signing.envelope import sign  # noqa: E402
from p2pqwen.signing.keys import PrivateKey  # noqa: E402
from p2pqwen.torrent.layout import Layout  # noqa: E402
from p2pqwen.torrent.metainfo import Metainfo  # noqa: E402
from p2pqwen.torrent.snapshot_torrent import build_metainfo  # noqa: E402
from p2pqwen.values.digest import GitOid, Sha256  # noqa: E402
from p2pqwen.values.repo_path import RepoPath  # noqa: E402
from p2pqwen.values.snapshot_id import RepoId, SnapshotId  # noqa: E402
from p2pqwen.values.strict_json import canonical  # noqa: E402
from tests.strategies import hash_payload  # noqa: E402
from tests.support.snapshots import sign_torrent  # noqa: E402

SITE = ROOT / "torrents" / "example"
PUBLISHER = "Example Publisher (its keys are public)"
ISSUED = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)
MIRROR = "https://mirror.example/"  # reserved by RFC 2606: nothing is there
NAMES = ("ann", "bob", "carol")
LICENSE = "apache-2.0"


def site() -> dict[str, bytes]:
    """Return every file of the site by its path."""
    metainfo, manifest = model()
    for name in NAMES[:2]:
        metainfo = sign_torrent(metainfo, key("index", name), f"{name}-index")
    entry = entry_of(metainfo, manifest)
    roots = chain()
    first = document(roots[:1], entry)
    second = replace(document(roots, entry), version=2, previous=Sha256.of(canonical(first.to_json())))
    signed = second.to_json()
    signatures = [sign(INDEX_TYPE, canonical(signed), key("index", name)) for name in NAMES[:2]]
    files = {"index.json": encode_file(roots, signed, signatures), torrent_location(entry.id): metainfo.encode()}
    return {**files, "README.md": readme(roots[0].root, entry).encode()}


def key(role: str, name: str) -> PrivateKey:
    """Return a publicly known private key."""
    return PrivateKey.from_seed(hashlib.sha256(f"p2pqwen example, not a secret: {role} {name}".encode()).digest())


def model() -> tuple[Metainfo, Manifest]:
    """Return the demo model's unsigned torrent, and its manifest."""
    with tempfile.TemporaryDirectory() as made:
        folder = write_tiny_model(Path(made) / "model")
        repository = HubRepository(RepoId(REPO))
        commit = repository.commit(folder)
        rows = tuple(sorted(map(_row, repository.commits[commit].values()), key=lambda row: row.path))
        payload = {row.path: (folder / row.path.text).read_bytes() for row in rows}
    raw = repository.objects[str(commit).encode()].as_raw_string()
    manifest = Manifest(SnapshotId(RepoId(REPO), commit), raw, LICENSE, rows)
    assert prove(manifest) is Provenance.PROVEN
    layout = Layout.of((path, len(content)) for path, content in payload.items())
    seeds = (f"{MIRROR}{REPO}/",)
    hashes = hash_payload(payload, layout)
    return build_metainfo(manifest, layout, hashes, web_seeds=seeds, created_by="p2pqwen"), manifest


def _row(file: StoredFile) -> FileRow:
    content = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
    lfs, mode = file.sha256 is not None, f"{file.mode:o}"
    return FileRow(RepoPath(file.path), file.size, Sha256.of(content), GitOid.parse(file.blob_id), lfs, mode)


def entry_of(metainfo: Metainfo, manifest: Manifest) -> Entry:
    """Return the torrent's row of the index."""
    size = metainfo.layout.total_size
    return Entry(
        id=manifest.snapshot,
        size=size,
        files=len(manifest.files),
        infohash=metainfo.infohash,
        magnet=entry_magnet(
            manifest.snapshot, metainfo.infohash, size, web_seeds=metainfo.web_seeds, trackers=(), mirrors=(MIRROR,)
        ),
        manifest=manifest.digest,
        proven=True,
        web_seeds=metainfo.web_seeds,
        license=manifest.license,
        added=ISSUED,
        upstream=Upstream.UNKNOWN,
    )


def chain() -> tuple[SignedRoot, ...]:
    """Return 2 roots: Ann alone, then 2 of Ann, Bob and Carol."""
    first = _root(None, NAMES[:1], 1)
    second = _root(first, NAMES, 2)
    return (_signed(first, NAMES[:1]), _signed(second, NAMES[:2]))


def _root(after: Root | None, names: tuple[str, ...], threshold: int) -> Root:
    keys = {(role, name): key(role, name).public for role in (ROOT_ROLE, INDEX_ROLE) for name in names}
    return parse_root(
        root_document(
            version=1 if after is None else after.version + 1,
            previous=None if after is None else after.digest,
            name=PUBLISHER,
            keys={public.keyid: RootKey(public, f"{name}-{role}") for (role, name), public in keys.items()},
            roles={
                role: Role(tuple(keys[role, name].keyid for name in names), threshold)
                for role in (ROOT_ROLE, INDEX_ROLE)
            },
            index_epoch=0,
        )
    )


def _signed(root: Root, names: Iterable[str]) -> SignedRoot:
    return SignedRoot(root, [sign(ROOT_TYPE, root.payload, key(ROOT_ROLE, name)) for name in names])


def document(roots: tuple[SignedRoot, ...], entry: Entry) -> IndexDocument:
    """Return the index's first version under these roots."""
    return IndexDocument(
        publisher=roots[0].root.digest,
        root_version=roots[-1].root.version,
        epoch=0,
        version=1,
        previous=None,
        issued=ISSUED,
        entries=(entry,),
        mirrors=(MIRROR,),
    )


def readme(root: Root, entry: Entry) -> str:
    """Return the site's README."""
    return f"""\
# An example site

What `p2pqwen publish --out DIR` writes: a signed index and the torrents that it lists. The model is the one of
`p2pqwen demo`.

**The private keys of this publisher are public**: `scripts/make_example.py` derives them from a text, and anyone can
sign with them. Use the site to try p2pqwen and to test other readers of [SPEC.md](../SPEC.md). Do not trust it.

```console
$ p2pqwen index verify torrents/example --publisher {root.digest}
torrents/example: valid
publisher  {root.digest}
name       {PUBLISHER}
index      0.2 under root 2, 1 snapshot
signed by  ann-index, bob-index (2 needed) …
…
$ p2pqwen torrent show torrents/example/{torrent_location(entry.id)}
name         {entry.id.commit}
snapshot     {entry.id}
infohash v1  {entry.infohash.v1}
infohash v2  {entry.infohash.v2}
…
```

| file | what it shows |
|---|---|
| `index.json` | two roots, from one signer to two of three; version 2 of an index, signed by two; one entry |
| `{entry.id.repo}/…` | a hybrid torrent by recipe 1 with its manifest, the commit object and two signatures |

Nothing is at mirror.example. Made by `scripts/make_example.py`; with `--check` it compares.
"""


def main() -> int:
    """Write the site, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the site differs")
    made, check = site(), parser.parse_args().check
    wrong = [name for name, data in made.items() if not _is(SITE / name, data)]
    extra = [path for path in SITE.rglob("*") if path.is_file() and path.relative_to(SITE).as_posix() not in made]
    if check:
        for name in [*wrong, *map(str, extra)]:
            print(f"{name} is not what scripts/make_example.py makes", file=sys.stderr)
        return 1 if wrong or extra else 0
    for path in extra:
        path.unlink()
    for name, data in made.items():
        (SITE / name).parent.mkdir(parents=True, exist_ok=True)
        (SITE / name).write_bytes(data)
    return 0


def _is(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


if __name__ == "__main__":
    raise SystemExit(main())
