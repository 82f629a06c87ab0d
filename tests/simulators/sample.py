"""A small repository with one of everything: LFS and plain files, an empty file, a folder, a name that is not ASCII."""

from __future__ import annotations

import hashlib
from pathlib import Path

REPO = "Qwen/Sample"
WEIGHTS = "model.safetensors"
WEIGHTS_SIZE = 300_001


def write_sample(folder: Path, *, weights: bytes | None = None) -> Path:
    """Write the repository's files; the weights are pseudo-random but the same every time."""
    files = {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": b"---\nlicense: apache-2.0\n---\n# Sample\n",
        "config.json": b'{"model_type": "qwen3"}\n',
        "empty.txt": b"",
        "model/notes é.txt": b"a folder beside a file of the same stem\n",
        WEIGHTS: hashlib.shake_256(b"weights").digest(WEIGHTS_SIZE) if weights is None else weights,
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
