#!/usr/bin/env bash
# modelscope-hub==0.5.1 (what modelscope 1.40.2 downloads with): a download goes to snapshots/<branch>, and a later
# download of the same branch leaves files there that the branch no longer has. So a model of two shards that becomes
# one file is there as three files of weights, and a loader that takes every *.safetensors gets the old ones too.
# verify_cache reports the old ones as extra.
# Expected: a snapshot is one commit's files, as it is in the Hugging Face cache, where the folder is named by the commit.
# Seen:
#   first: ['config.json', 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
#   the branch moves on: ['config.json', 'model.safetensors']
#   same folder, now: ['config.json', 'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check modelscope-hub==0.5.1
cd "$work"
MODELSCOPE_CACHE=$work/cache "$work/venv/bin/python" 2>"$work/progress" - <<'PYTHON' || { tail -n 5 "$work/progress"; exit 1; }
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from modelscope_hub import HubApi

SHARDS = {"config.json": b"{}\n", "model-00001-of-00002.safetensors": bytes(64), "model-00002-of-00002.safetensors": b"2"}
ONE_FILE = {"config.json": b"{}\n", "model.safetensors": bytes(65)}
FILES = dict(SHARDS)


class Site(BaseHTTPRequestHandler):
    """The list of one repository's files, and their contents."""

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path.endswith("/repo/files"):
            rows = [
                {"Path": path, "Type": "blob", "Size": len(content), "Sha256": hashlib.sha256(content).hexdigest()}
                for path, content in FILES.items()
            ]
            body = json.dumps({"Code": 200, "Success": True, "Data": {"Files": rows}}).encode()
        else:
            body = FILES[parse_qs(url.query)["FilePath"][0]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=site.serve_forever, daemon=True).start()
api = HubApi(endpoint=f"http://127.0.0.1:{site.server_port}")


def download():
    return Path(api.download_repo("org/tiny", "model"))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


first = download()
assert names(first) == sorted(SHARDS), names(first)
print(f"first: {names(first)}")
FILES.clear()
FILES.update(ONE_FILE)
print(f"the branch moves on: {sorted(FILES)}")
second = download()
assert second == first and first.parts[-2:] == ("snapshots", "master"), (first, second)
assert names(second) == sorted(SHARDS | ONE_FILE), names(second)
print(f"same folder, now: {names(second)}")
result = api.verify_cache("org/tiny", "model")
assert result.extra_paths == sorted(SHARDS.keys() - ONE_FILE.keys()), result
PYTHON
