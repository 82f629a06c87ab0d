"""What a model file's name claims: its format, its quantisation and its shard."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from p2pqwen.values.byte_size import format_size
from p2pqwen.values.repo_path import RepoPath

FORMATS = {
    "gguf": "gguf",
    "ggml": "ggml",
    "safetensors": "safetensors",
    "bin": "pytorch",
    "pt": "pytorch",
    "pth": "pytorch",
    "ckpt": "pytorch",
    "onnx": "onnx",
    "tflite": "tflite",
    "h5": "keras",
    "keras": "keras",
    "msgpack": "flax",
}
"""The format by file suffix, named as on the Hub (hub-docs, "Model formats")."""

# llama.cpp: the names of `llama_ftype` (include/llama.h, tools/quantize/quantize.cpp). Q4_0_4_4 and similar names date
# from 2024; _L, _XL and _XXL of K quants and the prefix UD- are their quantisers' own (bartowski, unsloth).
_GGUF = (
    r"Q4_0_[48]_[48]",
    r"Q[1-8]_[01]",
    r"Q[1-8]_K(?:_(?:S|M|L|XL|XXL))?",
    r"IQ[1-4]_(?:XXS|XS|S|M|NL)",
    r"TQ[12]_0",
    r"MXFP4(?:_MOE)?",
    r"NVFP4",
    r"BF16|FP?16|FP?32",
)
# transformers, docs/source/en/quantization: the methods, as Qwen, AWQ, bitsandbytes and MLX put them in names.
_WHOLE_MODEL = (
    r"GPTQ(?:-Int[348])?",
    r"AWQ(?:-Int[48])?",
    r"FP8(?:-dynamic)?",
    r"NVFP4",
    r"bnb-[48]bit",
    r"[2-8]bit",
    r"w[48]a(?:16|8)",
)
_BEFORE, _AFTER = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9_])"
_GGUF_TAG = re.compile(rf"{_BEFORE}(?:UD-)?(?:{'|'.join(_GGUF)}){_AFTER}", re.ASCII | re.IGNORECASE)
_MODEL_TAG = re.compile(rf"{_BEFORE}(?:{'|'.join(_WHOLE_MODEL)}){_AFTER}", re.ASCII | re.IGNORECASE)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$", re.ASCII)  # gguf.md "Shard", huggingface_hub `save_torch_model`
_ALIASES = {"FP16": "F16", "FP32": "F32"}
_COMPANIONS = ("mmproj", "imatrix")  # llama.cpp, tools/mtmd and tools/imatrix: beside every quantisation


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a name claims, None for what it does not say; `shard` is (number, count)."""

    format: str | None
    quantisation: str | None
    shard: tuple[int, int] | None
    companion: bool = False  # not itself a model: a projector, an importance matrix

    @classmethod
    def of(cls, path: RepoPath, repo: str = "") -> ModelFile:
        """Parse a path; `repo` is a repository's name, which may have the quantisation of all its files."""
        *folders, name = path.parts
        stem, _, end = name.rpartition(".")
        kind = FORMATS.get(end.lower()) if stem else None
        if kind is None:
            return cls(None, None, None)
        found = _SHARD.search(stem)
        shard = (int(found[1]), int(found[2])) if found else None
        stem = stem[: found.start()] if found else stem
        tag = _GGUF_TAG if kind in {"gguf", "ggml"} else _MODEL_TAG
        places = (stem, *reversed(folders), repo.rpartition("/")[2])
        said = next((one for place in places if (one := _last(tag, place))), None)
        return cls(kind, said, shard, companion=stem.lower().startswith(_COMPANIONS))

    @property
    def words(self) -> str:
        """Format, quantisation and shard for people; empty if the name says nothing."""
        part = f"{self.shard[0]} of {self.shard[1]}" if self.shard else None
        return ", ".join(one for one in (self.format, self.quantisation, part) if one)


def _last(tag: re.Pattern[str], text: str) -> str | None:
    """Return the last tag in a text: the model's name comes before it."""
    found = [one.group() for one in tag.finditer(text)]
    if not found:
        return None
    if tag is _GGUF_TAG:
        return _ALIASES.get(found[-1].upper(), found[-1].upper())
    return found[-1]


def quantisation_words(found: Mapping[str, int]) -> str:
    """Return a line with quantisations and their sizes (given in bytes), the smallest first."""
    rows = sorted(found.items(), key=lambda row: row[1])
    return ", ".join(f"{name} ({format_size(size)})" for name, size in rows)


def quantisation_named(text: str) -> str | None:
    """Return the GGUF quantisation that a text names, or None."""
    return _last(_GGUF_TAG, text) if _GGUF_TAG.fullmatch(text) else None


def quantisations(files: Iterable[tuple[RepoPath, int]]) -> dict[str, int]:
    """Return the bytes of each quantisation among GGUF files (path, size in bytes), sorted by name."""
    found: dict[str, int] = {}
    for path, size in files:
        said = ModelFile.of(path)
        if said.format == "gguf" and said.quantisation is not None and not said.companion:
            found[said.quantisation] = found.get(said.quantisation, 0) + size
    return dict(sorted(found.items()))
