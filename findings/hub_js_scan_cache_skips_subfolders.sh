#!/usr/bin/env bash
# @huggingface/hub@2.17.5 (npm): scanCacheDir counts only the files at the top of a snapshot, and reads only the refs
# at the top of refs/. Weights in folders, where diffusers puts them, do not count: a model of 3 MB is reported as 2
# bytes. A snapshot that only a pull request's ref names is listed without a ref. The same package's snapshotDownload
# writes such folders and such refs, and huggingface_hub 2.4.0 sees them.
# Expected: the same files, size and refs as huggingface_hub's scan_cache_dir, whose cache it is.
# Seen:
#   huggingface_hub:  3 files, 3000002 bytes, refs ['refs/pr/1']
#   @huggingface/hub: 1 files, 2 bytes, refs []
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check huggingface-hub==2.4.0
cd "$work"
mkdir npm
(cd npm && npm init --yes >/dev/null && npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/hub@2.17.5)
cat >scan.py <<'PYTHON'
import hashlib
from pathlib import Path

from huggingface_hub import scan_cache_dir

COMMIT = "a" * 40
FILES = {"model_index.json": b"{}", "unet/model.safetensors": b"1" * 2_000_000, "vae/model.safetensors": b"2" * 1_000_000}
repo = Path("cache/models--org--model")
for path, content in FILES.items():
    blob = repo / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link = repo / "snapshots" / COMMIT / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(Path(*[".."] * (2 + path.count("/")), "blobs", blob.name))
(repo / "refs/refs/pr").mkdir(parents=True)
(repo / "refs/refs/pr/1").write_text(COMMIT)
scanned = scan_cache_dir("cache")
(found,) = scanned.repos
(revision,) = found.revisions
assert not scanned.warnings, scanned.warnings
print(f"huggingface_hub:  {found.nb_files} files, {found.size_on_disk} bytes, refs {sorted(revision.refs)}")
PYTHON
cat >npm/scan.mjs <<'JS'
import { scanCacheDir } from "@huggingface/hub";

const { repos, warnings } = await scanCacheDir(process.argv[2]);
if (repos.length !== 1 || repos[0].revisions.length !== 1 || warnings.length !== 0) throw new Error("one snapshot, no warning");
const refs = repos[0].revisions[0].refs.map((ref) => `'${ref}'`).join(", ");
console.log(`@huggingface/hub: ${repos[0].filesCount} files, ${repos[0].size} bytes, refs [${refs}]`);
JS
{ venv/bin/python scan.py && node npm/scan.mjs "$work/cache"; } | tee seen
diff seen - <<'WANTED'
huggingface_hub:  3 files, 3000002 bytes, refs ['refs/pr/1']
@huggingface/hub: 1 files, 2 bytes, refs []
WANTED
