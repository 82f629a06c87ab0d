#!/usr/bin/env bash
# @huggingface/tokenizers@0.2.0 (npm, what transformers.js encodes with) and tokenizers==0.23.3 (Python) read the same
# tokenizer.json and give other tokens, without an error. In JavaScript a Split gives isolated pieces for any `behavior`,
# unless it removes what a Regex matches; an inverted Split loses the text that it should split. `single_word` of an added
# token is ignored, and so are the sections `truncation` and `padding`, which models for sentence embeddings carry.
# Expected: the same tokens from the same file, or an error for a setting that is not supported.
# Seen, for "cabdaabca" with the merges ab, ca and aa, and a Split at "a":
#   setting                    tokenizers           @huggingface/tokenizers
#   Isolated, Regex            c a b d a a b c a    c a b d a a b c a
#   Removed, Regex             c b d b c            c b d b c
#   Removed, String            c b d b c            c a b d a a b c a
#   Isolated, inverted         c a b d a a b c a    a a a a
#   MergedWithPrevious, Regex  ca b d a a b ca      c a b d a a b c a
#   MergedWithNext, Regex      c ab d a ab c a      c a b d a a b c a
#   Contiguous, Regex          c a b d aa b c a     c a b d a a b c a
#   single_word token "bd"     c ab d a ab ca       ca bd a ab ca
#   truncation to 3            c ab d               c ab d a ab ca
#   padding to 8               c ab d a ab ca ? ?   c ab d a ab ca
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$work"
mkdir npm
(cd npm && npm init --yes >/dev/null && npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/tokenizers@0.2.0)
cat >encode.py <<'PYTHON'
import json
from pathlib import Path

from tokenizers import Tokenizer

TOKENS = ["?", "a", "b", "c", "d", "ab", "ca", "aa", "bd"]
MERGES = [["a", "b"], ["c", "a"], ["a", "a"]]
MODEL = {"type": "BPE", "vocab": {token: number for number, token in enumerate(TOKENS)}, "merges": MERGES}
UNSET = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
WORD = {"id": 8, "content": "bd", "single_word": True, **dict.fromkeys(("lstrip", "rstrip", "normalized", "special"), False)}
CUT = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
PAD = {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
PAD["pad_token"] = "?"


def split(behavior, kind="Regex", invert=False):
    return {"pre_tokenizer": {"type": "Split", "pattern": {kind: "a"}, "behavior": behavior, "invert": invert}}


settings = {f"{behavior}, Regex": split(behavior) for behavior in ("Isolated", "Removed")}
settings["Removed, String"] = split("Removed", "String")
settings["Isolated, inverted"] = split("Isolated", invert=True)
settings |= {f"{behavior}, Regex": split(behavior) for behavior in ("MergedWithPrevious", "MergedWithNext", "Contiguous")}
settings['single_word token "bd"'] = {"added_tokens": [WORD]}
settings |= {"truncation to 3": {"truncation": CUT}, "padding to 8": {"padding": PAD}}
rows = []
for name, setting in settings.items():
    file = {"version": "1.0", "added_tokens": [], "model": MODEL, **dict.fromkeys(UNSET), **setting}
    rows.append([name, file, Tokenizer.from_str(json.dumps(file)).encode("cabdaabca").tokens])
Path("rows.json").write_text(json.dumps(rows))
PYTHON
cat >npm/encode.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";

for (const [name, file, tokens] of JSON.parse(readFileSync("rows.json", "utf8"))) {
    const other = new Tokenizer(file, {}).encode("cabdaabca").tokens;
    console.log(`${name.padEnd(25)}  ${tokens.join(" ").padEnd(19)}  ${other.join(" ")}`);
}
JS
venv/bin/python encode.py
node npm/encode.mjs | tee seen
diff seen - <<'WANTED'
Isolated, Regex            c a b d a a b c a    c a b d a a b c a
Removed, Regex             c b d b c            c b d b c
Removed, String            c b d b c            c a b d a a b c a
Isolated, inverted         c a b d a a b c a    a a a a
MergedWithPrevious, Regex  ca b d a a b ca      c a b d a a b c a
MergedWithNext, Regex      c ab d a ab c a      c a b d a a b c a
Contiguous, Regex          c a b d aa b c a     c a b d a a b c a
single_word token "bd"     c ab d a ab ca       ca bd a ab ca
truncation to 3            c ab d               c ab d a ab ca
padding to 8               c ab d a ab ca ? ?   c ab d a ab ca
WANTED
