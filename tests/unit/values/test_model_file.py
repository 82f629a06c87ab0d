"""Names of model files as their makers give them, and what they say."""

from __future__ import annotations

import pytest

from p2pqwen.values.model_file import ModelFile, quantisation_named, quantisations
from p2pqwen.values.repo_path import RepoPath


@pytest.mark.parametrize(
    ("path", "repo", "format_", "quantisation", "shard"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "", "gguf", "Q4_K_M", None),
        ("qwen2.5-7b-instruct-q8_0.gguf", "", "gguf", "Q8_0", None),
        ("qwen2-7b-instruct-fp16.gguf", "", "gguf", "F16", None),
        ("model.i1-IQ3_XXS.gguf", "", "gguf", "IQ3_XXS", None),
        ("llama-2-7b.Q4_0_4_8.gguf", "", "gguf", "Q4_0_4_8", None),
        ("Qwen3-8B-UD-Q4_K_XL.gguf", "", "gguf", "UD-Q4_K_XL", None),
        ("gpt-oss-20b-mxfp4.gguf", "", "gguf", "MXFP4", None),
        ("TriLM-TQ1_0.gguf", "", "gguf", "TQ1_0", None),
        ("BF16/Qwen3-235B-BF16-00002-of-00010.gguf", "", "gguf", "BF16", (2, 10)),
        ("Q6_K/model-00001-of-00002.gguf", "", "gguf", "Q6_K", (1, 2)),
        ("Q8_0-based/model-F32.gguf", "", "gguf", "F32", None),
        ("model.gguf", "", "gguf", None, None),
        ("ggml-model-q4_0.bin", "", "pytorch", None, None),
        ("model-00001-of-00005.safetensors", "Qwen/Qwen3-8B", "safetensors", None, (1, 5)),
        ("model.safetensors", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "safetensors", "GPTQ-Int4", None),
        ("model.safetensors", "Qwen/Qwen3-8B-AWQ", "safetensors", "AWQ", None),
        ("model.safetensors", "Qwen/Qwen3-8B-FP8", "safetensors", "FP8", None),
        ("model.safetensors", "unsloth/Qwen3-8B-bnb-4bit", "safetensors", "bnb-4bit", None),
        ("gptq_model-4bit-128g.safetensors", "", "safetensors", "4bit", None),
        ("onnx/model.onnx", "", "onnx", None, None),
        ("README.md", "Qwen/Qwen3-8B-AWQ", None, None, None),
        ("gguf", "", None, None, None),
        (".gguf", "", None, None, None),
    ],
)
def test_names(path, repo, format_, quantisation, shard):
    said = ModelFile.of(RepoPath(path), repo)
    assert (said.format, said.quantisation, said.shard) == (format_, quantisation, shard)


def test_a_projector_is_no_model():
    assert ModelFile.of(RepoPath("mmproj-F16.gguf")).companion
    files = {"a-Q8_0-00001-of-00002.gguf": 3, "a-Q8_0-00002-of-00002.gguf": 4, "mmproj-F16.gguf": 1, "b-Q2_K.gguf": 2}
    assert quantisations((RepoPath(name), size) for name, size in files.items()) == {"Q2_K": 2, "Q8_0": 7}


@pytest.mark.parametrize(("text", "named"), [("q4_k_m", "Q4_K_M"), ("ud-q4_k_xl", "UD-Q4_K_XL"), ("q4", None)])
def test_a_text_that_names_one(text, named):
    assert quantisation_named(text) == named
