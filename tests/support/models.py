"""Small folders that look like model repositories."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
README = b"---\nlicense: apache-2.0\nlanguage:\n- en\n---\n# A model\n"


def noise(size: int, seed: str) -> bytes:
    """Return bytes that look random and are always the same."""
    return hashlib.shake_256(seed.encode()).digest(size)


def small_model(weights: int = 3_000_000) -> dict[str, bytes]:
    """Return the files of a small model by name: LFS and plain, nested, empty, with a name that is not ASCII."""
    return {
        ".gitattributes": ATTRIBUTES,
        "README.md": README,
        "config.json": b'{"model_type": "qwen3"}\n',
        "empty.txt": b"",
        "model/notes.txt": b"beside model.safetensors\n",
        "model.safetensors": noise(weights, "weights"),
        "tokenizer/résumé.json": noise(40_000, "tokenizer"),
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
