#!/usr/bin/env bash
# bagit==1.9.0 with huggingface-hub==2.4.0: make_bag on a snapshot in the Hugging Face cache fails and takes the snapshot out
# of the cache. make_bag works in place: it moves everything one folder deeper, into data/, before it reads a file. A
# snapshot consists of relative links to ../../blobs, which lead nowhere from there. make_bag raises an error at the first
# link and moves nothing back; a second call says that it may not read the files. The blobs stay, but not under their names.
# Expected: a bag of the files, as a copy of the snapshot without links gives, or an error that leaves the folder as it was.
# Seen, for a snapshot of two files:
#   before: found offline, 2 files in the cache
#   make_bag: FileNotFoundError, again: BagError, 2 links in data/ lead nowhere
#   after: LocalEntryNotFoundError, 0 files in the cache
#   a copy without links: a valid bag of 2 files
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check bagit==1.9.0 huggingface-hub==2.4.0
cd "$work"
HF_HOME=$work/hf HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=1 venv/bin/python - 2>log <<'PYTHON' | tee seen
import shutil
from pathlib import Path

import bagit
from huggingface_hub import hf_hub_download, scan_cache_dir
from huggingface_hub.errors import LocalEntryNotFoundError

COMMIT = "a" * 40
repository = Path("cache/models--org--model")
snapshot = repository / "snapshots" / COMMIT
for folder in (repository / "blobs", repository / "refs", snapshot):
    folder.mkdir(parents=True)
(repository / "refs/main").write_text(COMMIT)
for number, name in enumerate(("config.json", "model.safetensors")):
    blob = repository / "blobs" / (str(number) * 40)
    blob.write_bytes(name.encode())
    (snapshot / name).symlink_to(Path("../../blobs", blob.name))
shutil.copytree(snapshot, "copy")


def state():
    held = sum(found.nb_files for found in scan_cache_dir("cache").repos)
    try:
        hf_hub_download("org/model", "model.safetensors", cache_dir="cache")
    except LocalEntryNotFoundError as error:
        return f"{type(error).__name__}, {held} files in the cache"
    return f"found offline, {held} files in the cache"


def bagged(folder):
    try:
        bag = bagit.make_bag(str(folder), checksums=["sha256"])
    except (OSError, bagit.BagError) as error:
        return type(error).__name__
    return f"a {'valid' if bag.is_valid() else 'bad'} bag of {len(list(bag.payload_files()))} files"


print("before:", state())
first, second = bagged(snapshot), bagged(snapshot)
broken = sum(path.is_symlink() and not path.exists() for path in (snapshot / "data").iterdir())
print(f"make_bag: {first}, again: {second}, {broken} links in data/ lead nowhere")
print("after:", state())
print("a copy without links:", bagged("copy"))
PYTHON
diff seen - <<'WANTED'
before: found offline, 2 files in the cache
make_bag: FileNotFoundError, again: BagError, 2 links in data/ lead nowhere
after: LocalEntryNotFoundError, 0 files in the cache
a copy without links: a valid bag of 2 files
WANTED
