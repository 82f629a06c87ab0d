"""Published sites with pages, made from fixed keys and invented models of any number and size.

The weights are invented: their hashes have no content, so a model of 60 GB costs only its torrent. The READMEs are real
and are in a library folder.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self
from unittest import mock

from p2pqwen.catalogue import pages
from p2pqwen.index.acceptance import Accepted, TrustedState, accept
from p2pqwen.index.entry import Entry, entry_magnet
from p2pqwen.index.upstream import Upstream
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.library.torrent_reader import TorrentReader
from p2pqwen.manifest.git_object import blob_oid, commit_oid, tree_oid
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.publish import site_pages as listing
from p2pqwen.operations.publish.site import listed_manifest
from p2pqwen.operations.publish.site_pages import SitePages
from p2pqwen.stewardship.swarm_health import Sighting, Source
from p2pqwen.stewardship.swarm_record import SwarmRecord
from p2pqwen.torrent import merkle
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from tests.support.publishing import NOW, Publisher, key

CARD = b"""---
license: apache-2.0
---
# A model

It speaks. Use it with care: [a paper](https://example.org/paper) says how.

| Task | Score |
|---|---|
| Reading | 71.3 |
| Arithmetic | 64.0 |

```python
from transformers import AutoModelForCausalLM
```

![a curve](https://example.org/curve.png)
"""


@dataclass(frozen=True, slots=True)
class Model:
    """One invented revision: its README, and the sizes in bytes of the files beside it."""

    repo: str
    readme: bytes = CARD
    sizes: Mapping[str, int] = field(default_factory=lambda: {"config.json": 712, "model.safetensors": 1_503_300_328})
    license: str | None = "apache-2.0"
    upstream: Upstream = Upstream.PRESENT
    proven: bool = True
    added: datetime = NOW
    seeds: int | None = None
    message: str = "one"

    def torrent(self) -> Metainfo:
        """Its torrent by recipe 1, proven by a commit made for it."""
        return self.checked().metainfo

    def checked(self) -> CheckedTorrent:
        """That torrent with its manifest, as it is right after it was made."""
        rows = [FileRow(RepoPath("README.md"), len(self.readme), Sha256.of(self.readme), blob_oid(self.readme), False)]
        for name, size in self.sizes.items():
            digest = Sha256.of(f"{self.repo} {self.message} {name}".encode())
            rows.append(FileRow(RepoPath(name), size, digest, pointer_oid(digest, size), True))
        rows.sort(key=lambda row: row.path)
        tree = tree_oid((row.path, row.mode, row.git_oid) for row in rows)
        who = "Ann <ann@example.org> 1795467600 +0000"
        commit = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n{self.repo} {self.message}\n".encode()
        snapshot = SnapshotId(RepoId.parse(self.repo), commit_oid(commit))
        manifest = Manifest(snapshot, commit if self.proven else None, self.license, tuple(rows))
        layout = Layout.of((row.path, row.size) for row in rows)
        hashes = {row.path: _invented(row, layout.piece_length) for row in rows if row.path.text != "README.md"}
        place = [row.path.text for row in rows].index("README.md")
        hasher = PieceHasher(layout.piece_length, padded=layout.pad_after(place) > 0)
        hasher.update(self.readme)
        metainfo = build_metainfo(manifest, layout, {**hashes, RepoPath("README.md"): hasher.finish()})
        return CheckedTorrent.around(metainfo, manifest)

    def entry(self, torrent: Metainfo) -> Entry:
        snapshot = SnapshotId(RepoId.parse(self.repo), torrent.commit)
        size = sum(file.size for file in torrent.files)
        on_hub = self.upstream is not Upstream.GONE and snapshot.repo.kind is RepoKind.MODEL
        seeds = () if not on_hub else (f"https://huggingface.co/{self.repo}/resolve/",)
        return Entry(
            id=snapshot,
            size=size,
            files=len(torrent.files),
            infohash=torrent.infohash,
            magnet=entry_magnet(snapshot, torrent.infohash, size, web_seeds=seeds, trackers=(), mirrors=()),
            manifest=Sha256.of(torrent.manifest or b""),
            proven=self.proven,
            web_seeds=seeds,
            license=self.license,
            added=self.added,
            upstream=self.upstream,
        )


def _invented(row: FileRow, piece_length: int) -> FileHashes:
    """Hashes without content, in the right number and consistent with one another."""
    count = -(-row.size // piece_length)
    pieces = hashlib.shake_128(row.sha256.raw).digest(20 * count)
    if row.size <= piece_length:
        return FileHashes(row.size, pieces, row.sha256, b"")
    layer = hashlib.shake_256(row.sha256.raw).digest(32 * count)
    return FileHashes(row.size, pieces, Sha256(merkle.root_of_layer(layer, piece_length)), layer)


_SIZES = ("0.6B", "1.7B", "4B", "8B", "14B", "32B", "72B", "235B-A22B")
_KINDS = ("", "-Base", "-GGUF", "-AWQ", "-GPTQ-Int4", "-FP8", "-Instruct-GGUF", "-Coder")
_ORGS = ("Qwen", "unsloth", "bartowski", "lmstudio-community", "mlx-community")
_LICENSES = ("apache-2.0", "apache-2.0", "mit", "Qwen RESEARCH LICENSE AGREEMENT", None)


def many(count: int, *, scale: float = 1) -> list[Model]:
    """Return distinct models with recurring sizes, licenses and formats; `scale` makes all of them smaller.

    A torrent has a hash for every piece, so thousands of large models are as expensive as real ones.
    """
    found = []
    for number in range(count):
        size, kind = _SIZES[number % 8], _KINDS[number // 8 % 8]
        parameters = float(size.split("B")[0]) * 1e9 * scale
        if "GGUF" in kind:
            sizes = {f"model-{tag}.gguf": int(parameters * bits / 8) for tag, bits in (("Q4_K_M", 5), ("Q8_0", 9))}
        else:
            sizes = {"model.safetensors": int(parameters * (2 if kind in {"", "-Base", "-Coder"} else 0.6))}
        found.append(
            Model(
                repo=f"{_ORGS[number // 64 % 5]}/Qwen3.{number // 320}-{size}{kind}",
                sizes={"config.json": 700 + number % 50, **sizes},
                license=_LICENSES[number % 5],
                upstream=(Upstream.PRESENT, Upstream.PRESENT, Upstream.PRESENT, Upstream.GONE)[number % 4],
                proven=number % 7 != 3,
                added=NOW - timedelta(days=number % 400),
                seeds=None if number % 3 == 0 else number % 11,
            )
        )
    return found


class CatalogueSite:
    """A publisher and its folder `out`: each `publish` is the next index, with torrents and pages."""

    def __init__(self, folder: Path, publisher: Publisher | None = None) -> None:
        self.out, self.home = folder / "site", Home(folder / "home")
        self.publisher = publisher or Publisher()
        self.accepted: Accepted | None = None

    def copy(self, folder: Path) -> Self:
        """Return a copy of the site and publisher in another folder, for changes."""
        made = type(self)(folder, copy(self.publisher))
        made.accepted = self.accepted
        for there, here in ((self.out, made.out), (self.home.root, made.home.root)):
            if there.exists():
                shutil.copytree(there, here)
        return made

    def publish(self, models: Sequence[Model], *, signed: bool = True, now: datetime = NOW, **changes: Any) -> None:
        out, records, entries = self.out, {}, []
        for model in models:
            entry, data = _torrent(model)
            sources = tuple(mirror + entry.torrent for mirror in changes.get("mirrors", ()))
            entries.append(replace(entry, magnet=str(replace(parse_magnet(entry.magnet), exact_sources=sources))))
            if not (path := out / entry.torrent).exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                path.with_suffix(".README.md").write_bytes(model.readme)
            if model.seeds is not None:
                look = Sighting(NOW, Source.TRACKER, model.seeds, model.seeds + 1)
                records[entry.id] = SwarmRecord((look,), (), NOW)
        data = self.publisher.publish(entries, **changes)
        durable.write(out / "index.json", data, mode=durable.SHARED)
        self.accepted = accept(data, TrustedState(self.publisher.id), now)
        site_pages = SitePages(self.home, Library(self.home), records, now)
        with mock.patch.object(pages, "_qr", _qr), mock.patch.object(listing, "listed_manifest", _listed_manifest):
            site_pages.write(out, self.accepted, (key("index"),) if signed else ())


def _listed_manifest(out: Path, entry: Entry, torrents: TorrentReader) -> Manifest | None:
    """Return the manifest in a torrent of the site, without reading one that is as it was made here."""
    made, path = _MANIFESTS.get(entry.manifest), out / entry.torrent
    if made is not None and path.is_file() and path.read_bytes() == made[0]:
        return made[1]
    return listed_manifest(out, entry, torrents)


# A QR code takes half the time of a model's page, and many sites list the same models.
_qr = cache(pages._qr)
# Inventing a torrent of hundreds of gigabytes takes 0.1 s, and every site has some, so they are shared.
_MADE: dict[Model, tuple[Entry, bytes]] = {}
_MANIFESTS: dict[Sha256, tuple[bytes, Manifest | None]] = {}
_KEY = key("index")


def _torrent(model: Model) -> tuple[Entry, bytes]:
    name = replace(model, sizes=_Frozen(model.sizes))
    if name not in _MADE:
        torrent = model.checked()
        entry, data = model.entry(torrent.metainfo), torrent.signed(_KEY, "index").metainfo.encode()
        _MADE[name] = entry, data
        _MANIFESTS[entry.manifest] = data, torrent.manifest
    return _MADE[name]


class _Frozen(dict[str, int]):
    """Hashable sizes, for use in a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))
