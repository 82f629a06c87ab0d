"""The tiny model: always the same bytes, in the safetensors format, with a tokenizer that holds together."""

from __future__ import annotations

import hashlib
import json
import math

import pytest

from p2pqwen.demo.tiny_model import TinyShape, write_tiny_model
from p2pqwen.demo.tiny_tokenizer import SPECIAL_TOKENS, VOCABULARY

WEIGHTS_SHA256 = "bef4c92af53e0dc3460067569ee5b0af35730f65e420a78bfbd93346f21abeaf"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_the_weights_never_change(folder):
    # The README and the demo name the infohash that follows from them.
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS_SHA256


def test_tensors_cover_the_file_without_gaps(folder):
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    end = 0
    for name, tensor in header.items():
        start, stop = tensor["data_offsets"]
        assert (tensor["dtype"], start, stop - start) == ("BF16", end, 2 * math.prod(tensor["shape"])), name
        end = stop
    assert 8 + length + end == len(data)
    assert length % 8 == 0


def test_weights_are_small_and_of_both_signs(folder):
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    start, stop = header["model.layers.0.mlp.up_proj.weight"]["data_offsets"]
    block = data[8 + length + start : 8 + length + stop]
    upper = block[1::2]
    assert set(upper) == {0x3C, 0xBC}
    assert 0.45 < upper.count(0x3C) / len(upper) < 0.55


def test_config_and_tokenizer_agree(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["vocab_size"] == TinyShape().vocabulary
    assert max(SPECIAL_TOKENS.values()) < config["vocab_size"]
    merges = [line.split(" ") for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    assert all(part in VOCABULARY for merge in merges for part in (*merge, "".join(merge)))
    assert json.loads((folder / "vocab.json").read_text()) == VOCABULARY
    assert len(set(VOCABULARY.values())) == len(VOCABULARY)


def test_a_seed_gives_another_model(tmp_path, folder):
    other = write_tiny_model(tmp_path / "other", seed="other")
    assert (other / "model.safetensors").stat().st_size == (folder / "model.safetensors").stat().st_size
    assert (other / "model.safetensors").read_bytes() != (folder / "model.safetensors").read_bytes()
