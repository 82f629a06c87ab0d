"""The names that loaders look for in a repository, whether it has them or not.

huggingface_hub marks a file that a commit lacks with an empty file `.no_exist/<commit>/<name>`. Without that marker,
every load asks the Hub for the name; if the Hub is unreachable, transformers tries each name 7 times. So when a
snapshot is laid into the cache, each name below that the commit lacks gets a marker.

Only huggingface_hub's `try_to_load_from_cache` reads markers. `LOADERS` lists the libraries that trust its answer. Left
out, since they ask the Hub in any case: sentence-transformers 6.2.0 (util/file_io.py: `hf_hub_download`; what it has
transformers load is below), diffusers 0.42.1 (configuration_utils.py and utils/hub_utils.py: the same), peft 0.21.2
(utils/save_and_load.py: `file_exists`), tokenizers 0.23.3 (`hf_hub_download`), llama-cpp-python (llama.py,
`Llama.from_pretrained`: lists the repository), and `has_file` of transformers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.values.repo_path import RepoPath

MAX_FOLDERS = 32
"""The most folders of one snapshot (a loader's `subfolder=`) that get markers; loaders ask the Hub about others."""


@dataclass(frozen=True, slots=True)
class Loader:
    """A version of a library, and the names that it looks for in a folder, by place in its source."""

    library: str
    version: str
    names: Mapping[str, tuple[str, ...]]


TRANSFORMERS = Loader(
    "transformers",
    "5.24.0",
    {
        "configuration_utils.py, PreTrainedConfig._get_config_dict": ("config.json",),
        "generation/configuration_utils.py, GenerationConfig.from_pretrained": ("generation_config.json",),
        "generation/utils.py, load_custom_generate": ("custom_generate/requirements.txt",),
        "utils/peft_utils.py, find_adapter_config_file": ("adapter_config.json",),
        "modeling_utils.py, _get_resolved_checkpoint_files": (
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ),
        "models/jev/configuration_jev.py, extra_files and extra_config_files": (
            "calibration.json",
            "decision_config.json",
            "head.safetensors",
            "judge_config.json",
            "readout.safetensors",
        ),
        "decision/configuration_utils.py, from_pretrained": ("decision.json", "decision_template.jinja"),
        "models/auto/processing_auto.py, AutoProcessor; processing_utils.py, get_processor_dict": (
            "processor_config.json",
            "preprocessor_config.json",
            "video_preprocessor_config.json",
            "chat_template.json",
            "chat_template.jinja",
            "audio_tokenizer_config.json",
        ),
        "integrations/mistral/tokenizer.py, resolve_mistral_format": ("tekken.json",),
        "tokenization_utils_base.py, PreTrainedTokenizerBase.from_pretrained": (
            "added_tokens.json",
            "special_tokens_map.json",
            "tokenizer_config.json",
            "tokenizer.json",
            "chat_template.jinja",
        ),
        "tokenization_utils_base.py, load_vocab_and_merges": ("vocab.json", "vocab.txt", "merges.txt"),
        "models/*/tokenization_*.py, vocab_files_names": (
            "bpe.codes",
            "byte_maps.json",
            "dict.txt",
            "emoji.json",
            "entity_vocab.json",
            "merges.txt",
            "normalizer.json",
            "prophetnet.tokenizer",
            "sentencepiece.bpe.model",
            "sentencepiece.model",
            "source.spm",
            "spiece.model",
            "spm.model",
            "spm_char.model",
            "target.spm",
            "target_vocab.json",
            "tokenizer.json",
            "tokenizer.model",
            "tokenizer_config.json",
            "vocab-src.json",
            "vocab-tgt.json",
            "vocab.json",
            "vocab.txt",
            "word_pronunciation.json",
            "word_shape.json",
        ),
    },
)

VLLM = Loader(
    "vllm",
    "main at 01775b5e8080",
    {
        "transformers_utils/config.py, get_config": ("params.json", "config.json", "hf_quant_config.json"),
        "transformers_utils/config.py, get_pooling_config": ("modules.json",),
        "transformers_utils/config.py, get_sentence_transformer_tokenizer_config": (
            "sentence_albert_config.json",
            "sentence_bert_config.json",
            "sentence_camembert_config.json",
            "sentence_distilbert_config.json",
            "sentence_roberta_config.json",
            "sentence_xlm-roberta_config.json",
            "sentence_xlnet_config.json",
        ),
    },
)

LOADERS = (TRANSFORMERS, VLLM)

_AT_THE_TOP = frozenset(name for loader in LOADERS for names in loader.names.values() for name in names)
_IN_A_FOLDER = frozenset(name for names in TRANSFORMERS.names.values() for name in names)
# A folder with one of these is one that a loader may be pointed at, such as diffusers' text encoders and tokenizers.
_OPENED_BY = frozenset({"config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"})


def absent_names(files: Collection[RepoPath]) -> tuple[RepoPath, ...]:
    """Return the names that a loader looks for and does not find in a commit; `files` are all its files."""
    held = {file.text for file in files}
    opened = sorted(
        {folder for folder, _, name in (text.rpartition("/") for text in held) if name in _OPENED_BY} - {""}
    )
    wanted = {RepoPath(name) for name in _AT_THE_TOP}
    for folder in opened[:MAX_FOLDERS]:
        with suppress(FormatError):  # a path longer than the limit
            wanted |= {RepoPath(f"{folder}/{name}") for name in _IN_A_FOLDER}
    return tuple(sorted(one for one in wanted if one.text not in held and not _is_below(one, held)))


def _is_below(path: RepoPath, files: Collection[str]) -> bool:
    """Tell whether a folder of the path is a file of the commit."""
    parts = path.parts
    return any("/".join(parts[:count]) in files for count in range(1, len(parts)))
