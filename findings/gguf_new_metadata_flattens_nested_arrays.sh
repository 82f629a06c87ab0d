#!/usr/bin/env bash
# gguf==0.19.0: gguf-new-metadata, which copies a GGUF file with another general.name, silently turns an array of
# arrays into one flat array. The reader behind it gives the elements of all inner arrays in one list and does not say
# where one ends, so what gguf's own writer wrote does not come back. @huggingface/gguf 0.4.6 (npm) reads arrays of
# arrays as they were written, and shows what became of them in the copy. The GGUF specification lets an array hold
# arrays.
# Expected: only general.name differs, or an error.
# Seen, for the key my.groups, written as [[1, 2], [3]]:
#   GGUFReader, original: [1, 2, 3]
#   @huggingface/gguf, original: [[1,2],[3]]
#   @huggingface/gguf, copy: [1,2,3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check gguf==0.19.0
cd "$work"
mkdir npm
(cd npm && npm init --yes >/dev/null && npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/gguf@0.4.6)
cat >make.py <<'PYTHON'
import gguf
import numpy as np

writer = gguf.GGUFWriter("original.gguf", "llama")
writer.add_array("my.groups", [[1, 2], [3]])
writer.add_tensor("weight", np.arange(6, dtype=np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
print("GGUFReader, original:", gguf.GGUFReader("original.gguf").fields["my.groups"].contents())
PYTHON
cat >npm/read.mjs <<'JS'
import { gguf } from "@huggingface/gguf";

for (const name of ["original", "copy"]) {
    const { metadata } = await gguf(`${name}.gguf`, { allowLocalFile: true });
    console.log(`@huggingface/gguf, ${name}: ${JSON.stringify(metadata["my.groups"])}`);
}
JS
{
    venv/bin/python make.py
    venv/bin/gguf-new-metadata original.gguf copy.gguf --general-name "another name" 2>log >&2 || { cat log; exit 1; }
    node npm/read.mjs
} | tee seen
diff seen - <<'WANTED'
GGUFReader, original: [1, 2, 3]
@huggingface/gguf, original: [[1,2],[3]]
@huggingface/gguf, copy: [1,2,3]
WANTED
