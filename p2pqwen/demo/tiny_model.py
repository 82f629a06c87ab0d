"""A tiny model of the real Qwen3 architecture for the demo and the tests; its bytes are always the same.

The weights are random (SHAKE-256 of a fixed seed), so its output is nonsense, but `transformers` loads it and its
tokenizer as it loads Qwen3-0.6B. The safetensors file is written directly, by the format's description: the header's
length in 8 bytes, little-endian, the header in JSON, then the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.demo.tiny_tokenizer import SPECIAL_TOKENS, tokenizer_files

REPO = "Qwen/Qwen3-Tiny-Demo"
_ALIGNMENT = 8
_ONE = b"\x80\x3f"  # bfloat16 1.0, little-endian
# bfloat16 has 8 exponent bits, the lowest of them in the lower byte. Upper byte 0x3c or 0xbc with any lower byte is a
# magnitude from 2**-7 to 2**-5 with either sign: about the spread with which Qwen3 is initialised.
_SIGNED_UPPER_BYTE = bytes(0x3C if byte < 0x80 else 0xBC for byte in range(256))


@dataclass(frozen=True, slots=True)
class TinyShape:
    """The model's dimensions. The default makes 6.5 MB."""

    hidden: int = 256
    feed_forward: int = 768
    layers: int = 4
    heads: int = 8
    key_value_heads: int = 4
    head: int = 32
    vocabulary: int = 512


def write_tiny_model(folder: Path, shape: TinyShape | None = None, *, seed: str = "p2pqwen") -> Path:
    """Write the whole snapshot into a folder, creating it if needed, and return the folder."""
    shape = shape or TinyShape()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _text_files(shape).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    _write_weights(folder / "model.safetensors", shape, seed)
    return folder


def _text_files(shape: TinyShape) -> dict[str, str]:
    return {
        ".gitattributes": "".join(f"{glob} filter=lfs diff=lfs merge=lfs -text\n" for glob in _LFS_GLOBS),
        "LICENSE": _LICENSE,
        "README.md": _README,
        "config.json": _json(_config(shape)),
        "generation_config.json": _json(_GENERATION_CONFIG),
        **tokenizer_files(),
    }


def _tensors(shape: TinyShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and dimensions of every tensor of Qwen3ForCausalLM with tied embeddings."""
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    queries, keys = shape.heads * shape.head, shape.key_value_heads * shape.head
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (shape.hidden,)
        yield f"{prefix}.mlp.down_proj.weight", (shape.hidden, shape.feed_forward)
        yield f"{prefix}.mlp.gate_proj.weight", (shape.feed_forward, shape.hidden)
        yield f"{prefix}.mlp.up_proj.weight", (shape.feed_forward, shape.hidden)
        yield f"{prefix}.post_attention_layernorm.weight", (shape.hidden,)
        yield f"{prefix}.self_attn.k_norm.weight", (shape.head,)
        yield f"{prefix}.self_attn.k_proj.weight", (keys, shape.hidden)
        yield f"{prefix}.self_attn.o_proj.weight", (shape.hidden, queries)
        yield f"{prefix}.self_attn.q_norm.weight", (shape.head,)
        yield f"{prefix}.self_attn.q_proj.weight", (queries, shape.hidden)
        yield f"{prefix}.self_attn.v_proj.weight", (keys, shape.hidden)
    yield "model.norm.weight", (shape.hidden,)


def _write_weights(path: Path, shape: TinyShape, seed: str) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    blocks: list[bytes] = []
    end = 0
    for name, dimensions in _tensors(shape):
        block = _values(name, dimensions, seed)
        blocks.append(block)
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": (end, end + len(block))}
        end += len(block)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.writelines(blocks)


def _values(name: str, dimensions: tuple[int, ...], seed: str) -> bytes:
    if len(dimensions) == 1:
        return _ONE * dimensions[0]  # normalisation weights begin at one
    count = dimensions[0] * dimensions[1]
    random = hashlib.shake_256(f"{seed}/{name}".encode()).digest(2 * count)
    values = bytearray(random)
    values[1::2] = random[1::2].translate(_SIGNED_UPPER_BYTE)
    return bytes(values)


def _config(shape: TinyShape) -> dict[str, object]:
    """Return config.json with the keys of Qwen/Qwen3-0.6B."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": SPECIAL_TOKENS["<|endoftext|>"],
        "eos_token_id": SPECIAL_TOKENS["<|im_end|>"],
        "head_dim": shape.head,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.feed_forward,
        "max_position_embeddings": 4096,
        "max_window_layers": shape.layers,
        "model_type": "qwen3",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.key_value_heads,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": shape.vocabulary,
    }


_GENERATION_CONFIG: dict[str, object] = {
    "bos_token_id": SPECIAL_TOKENS["<|endoftext|>"],
    "do_sample": True,
    "eos_token_id": [SPECIAL_TOKENS["<|im_end|>"], SPECIAL_TOKENS["<|endoftext|>"]],
    "pad_token_id": SPECIAL_TOKENS["<|endoftext|>"],
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
}
_LFS_GLOBS = ("*.bin", "*.gguf", "*.onnx", "*.pt", "*.safetensors", "*.zip", "tokenizer.json")
_README = """\
---
library_name: transformers
license: apache-2.0
pipeline_tag: text-generation
---

# Qwen3-Tiny-Demo

A model of the Qwen3 architecture with random weights, made by `p2pqwen demo`. It is not a Qwen model and says nothing
of sense; it has the files of one, so that preserving it takes the same path.
"""
_LICENSE = """\
Licensed under the Apache License, Version 2.0 (the "License"); you may not use these files except in compliance with
the License. You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the specific
language governing permissions and limitations under the License.
"""


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
