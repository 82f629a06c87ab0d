#!/usr/bin/env bash
# modelscope-hub==0.5.1 (what modelscope 1.40.2 downloads with): in the glob patterns of download_repo, `.*` also
# means `*`, for compatibility with older regular expressions. So "model.*" takes modeling_tiny.py and
# model_index.json too, and as ignore_patterns it leaves them out. huggingface_hub 2.4.0 reads the same patterns as
# fnmatch does.
# Expected: "model.*" selects names that begin with "model.": the docstring shows glob patterns ("tokenizer*", "*.json").
# Seen:
#   allow_patterns=["model.*"]
#   huggingface_hub: ['model.safetensors']
#   modelscope_hub:  ['model.safetensors', 'model_index.json', 'modeling_tiny.py']
#   ignore_patterns=["model.*"]
#   huggingface_hub: ['config.json', 'model_index.json', 'modeling_tiny.py']
#   modelscope_hub:  ['config.json']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check modelscope-hub==0.5.1 huggingface-hub==2.4.0
cd "$work"
MODELSCOPE_CACHE=$work/cache "$work/venv/bin/python" 2>"$work/progress" - <<'PYTHON' || { tail -n 5 "$work/progress"; exit 1; }
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from huggingface_hub.utils import filter_repo_objects
from modelscope_hub import HubApi

FILES = {
    "config.json": b"{}\n",
    "model.safetensors": bytes(64),
    "model_index.json": b"{}\n",
    "modeling_tiny.py": b"pass\n",
}


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

EXPECTED = {
    "allow_patterns": (["model.safetensors"], ["model.safetensors", "model_index.json", "modeling_tiny.py"]),
    "ignore_patterns": (["config.json", "model_index.json", "modeling_tiny.py"], ["config.json"]),
}
for keyword, expected in EXPECTED.items():
    local = Path(keyword)
    api.download_repo("org/tiny", "model", local_dir=local, **{keyword: ["model.*"]})
    modelscope = sorted(path.name for path in local.iterdir() if not path.name.startswith("."))
    huggingface = sorted(filter_repo_objects(FILES, **{keyword: ["model.*"]}))
    assert (huggingface, modelscope) == expected, (huggingface, modelscope)
    print(f'{keyword}=["model.*"]')
    print(f"huggingface_hub: {huggingface}")
    print(f"modelscope_hub:  {modelscope}")
PYTHON
