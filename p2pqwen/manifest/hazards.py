"""Hazards of a snapshot that its manifest alone reveals, reported where the snapshot is shown.

They are files that can run code when opened (kept, because a snapshot is complete), and rows that look like LFS
pointers in place of weights. Only the content shows whether they are (`operations.file_check`).
"""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.values.repo_path import RepoPath

# By name only: the content is not read, so a `.bin` of plain numbers is reported too.
# Left out: .npy and .npz (numpy loads no pickles unless told to), .safetensors, .gguf, .onnx, .msgpack (no code).
_PICKLE_SUFFIXES = frozenset(
    {
        ".bin", ".pt", ".pth", ".pt2", ".ptl", ".ckpt", ".torchscript",  # torch.save and torch.jit.save
        ".pkl", ".pickle", ".dill", ".joblib", ".skops",  # Python objects, scikit-learn
        ".pdparams", ".pdopt",  # Paddle
        ".nemo", ".mar",  # archives around a torch checkpoint
    }
)  # fmt: skip


def pickle_files(paths: Iterable[RepoPath]) -> tuple[RepoPath, ...]:
    """Return the paths whose suffix is common for pickles, in the order given."""
    return tuple(path for path in paths if _suffix(path) in _PICKLE_SUFFIXES)


# A pointer is at least as long as the shortest version line and a hash.
_POINTER_SIZES = range(100, MAX_POINTER_SIZE + 1)
# The names of weights that the .gitattributes of the Hub's new repositories keeps in LFS.
_LFS_SUFFIXES = frozenset(
    {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".ot", ".pb", ".pt", ".pth", ".safetensors", ".tflite"}
)


def likely_pointers(rows: Iterable[FileRow]) -> tuple[RepoPath, ...]:
    """Return the non-LFS files that are named like weights and as small as an LFS pointer, in the order given."""
    return tuple(
        row.path for row in rows if not row.lfs and row.size in _POINTER_SIZES and _suffix(row.path) in _LFS_SUFFIXES
    )


def _suffix(path: RepoPath) -> str:
    name = path.parts[-1]
    dot = name.rfind(".")
    return name[dot:].casefold() if dot >= 0 else ""
