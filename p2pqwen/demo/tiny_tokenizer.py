"""A small byte-level BPE tokenizer with the files and special tokens of Qwen3's, for the tiny model.

It is byte-level BPE as in GPT-2: every byte maps to a printable character, so any text can be tokenized, and merges
join the commonest pairs.
"""

from __future__ import annotations

import json

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_MERGES = (
    "Ġ t", "h e", "i n", "r e", "o n", "Ġ a", "Ġt he", "e r", "Ġ s", "a t", "Ġ w", "Ġ o", "e n", "Ġ c", "i s", "i t",
    "o r", "e s", "a n", "Ġ m", "a l", "e d", "Ġ p", "o u", "in g", "Ġ b", "Ġo f", "Ġ f", "Ġ in", "a r", "Ġ d", "Ġa n",
    "Ġan d", "Ġt o", "i on", "Ġ h", "l e", "o m", "l l", "Ġ l", "Ġ n", "Ġ re", "Ġ e", "c h", "m o", "mo d", "mod e",
    "mode l", "Ġ mode", "Ġmode l", "Ġ Q", "w en", "ĠQ wen", "Q wen",
)  # fmt: skip
_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def _alphabet() -> list[str]:
    """Return the printable character for each byte: itself if it prints, else one from U+0100 on."""
    shifted = iter(range(0x100, 0x200))
    return [chr(byte) if byte in _PRINTABLE else chr(next(shifted)) for byte in range(256)]


def _vocabulary() -> dict[str, int]:
    tokens = [*sorted(_alphabet()), *(merge.replace(" ", "") for merge in _MERGES)]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


VOCABULARY = _vocabulary()
SPECIAL_TOKENS = {token: len(VOCABULARY) + number for number, token in enumerate(_SPECIAL)}


def tokenizer_files() -> dict[str, str]:
    """Return vocab.json, merges.txt, tokenizer.json and tokenizer_config.json as texts by name."""
    return {
        "merges.txt": "#version: 0.2\n" + "".join(f"{merge}\n" for merge in _MERGES),
        "tokenizer.json": json.dumps(_fast_tokenizer(), ensure_ascii=False, indent=2) + "\n",
        "tokenizer_config.json": json.dumps(_settings(), ensure_ascii=False, indent=2) + "\n",
        "vocab.json": json.dumps(VOCABULARY, ensure_ascii=False) + "\n",
    }


def _added(token: str) -> dict[str, object]:
    return {
        "content": token,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }


def _fast_tokenizer() -> dict[str, object]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, **_added(token)} for token, number in SPECIAL_TOKENS.items()],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": VOCABULARY,
            "merges": [merge.split(" ") for merge in _MERGES],
        },
    }


def _settings() -> dict[str, object]:
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(number): _added(token) for token, number in SPECIAL_TOKENS.items()},
        "additional_special_tokens": list(_SPECIAL[1:]),
        "bos_token": None,
        "chat_template": _CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
