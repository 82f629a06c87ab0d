#!/usr/bin/env bash
# datasets==5.2.0 with huggingface-hub==2.4.0: a dataset repository that snapshot_download brought into the Hugging Face
# cache, whole and with its refs/main, cannot be loaded offline by its name: load_dataset("org/rows") never looks into that
# cache and says that the Hub cannot be reached. snapshot_download(local_files_only=True) finds the same files by the same
# name, and load_dataset on the folder it returns reads them. Transformers' from_pretrained loads a model offline by name.
# Expected: HF_HUB_OFFLINE=1 and a complete snapshot in the cache are enough to load a dataset by its name.
# Seen:
#   by name, offline: ConnectionError
#   by the folder that snapshot_download returns, offline: 2 rows
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 huggingface-hub==2.4.0
cd "$work"
cat > fill.py <<'PYTHON'
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import snapshot_download

COMMIT = "a" * 40
FILES = {
    "README.md": b"---\nconfigs:\n- config_name: default\n  data_files: data/*.csv\n---\n",
    "data/train.csv": b"question,answer\nwhy,because\nwho,you\n",
}


def blob_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """A Hub whose only repository is the dataset org/rows."""

    def answer(self):
        path = self.path.partition("?")[0]
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        rows = [{"type": "file", "path": one, "size": len(data), "oid": blob_id(data)} for one, data in FILES.items()]
        info = {"id": "org/rows", "sha": COMMIT, "siblings": [{"rfilename": one} for one in FILES]}
        if name in FILES:
            body, kind = FILES[name], "application/octet-stream"
        else:
            body, kind = json.dumps(rows if "/tree/" in path else info).encode(), "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{blob_id(body)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = answer

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_port}"
snapshot_download("org/rows", repo_type="dataset", endpoint=endpoint, token=False)
PYTHON
cat > load.py <<'PYTHON'
from datasets import load_dataset
from huggingface_hub import snapshot_download

try:
    by_name = f"{load_dataset('org/rows', split='train').num_rows} rows"
except ConnectionError as error:
    by_name = type(error).__name__
folder = snapshot_download("org/rows", repo_type="dataset", local_files_only=True)
by_folder = f"{load_dataset(folder, split='train').num_rows} rows"
print(f"by name, offline: {by_name}")
print(f"by the folder that snapshot_download returns, offline: {by_folder}")
assert (by_name, by_folder) == ("ConnectionError", "2 rows")
PYTHON
export HF_HOME=$work/hf HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$work/venv/bin/python" fill.py
HF_HUB_OFFLINE=1 "$work/venv/bin/python" load.py
