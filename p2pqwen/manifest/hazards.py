"""Files that can run code when they are opened: kept, because a snapshot is whole, and reported where it is shown."""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.values.repo_path import RepoPath

# By name only: the content is not looked at, so a `.bin` that holds plain numbers is reported too.
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
    """Return the paths whose suffix is one that pickles are kept under, in the order given."""
    return tuple(path for path in paths if _suffix(path) in _PICKLE_SUFFIXES)


def _suffix(path: RepoPath) -> str:
    name = path.parts[-1]
    dot = name.rfind(".")
    return name[dot:].casefold() if dot >= 0 else ""
