#!/usr/bin/env bash
# modelscope-hub==0.5.1 (what modelscope 1.40.2 downloads with): verify_cache, and `cache verify` on it, ignores local
# files whose names begin with a dot. It reports the .gitattributes of a complete download as missing. Nearly every
# repository has one, so with --fail-on-missing-files no such download can pass. A .gitattributes that has been
# damaged since is not a mismatch.
# Expected: what download_repo has just written verifies, and a changed file is a mismatch whatever its name.
# Seen:
#   complete download: 2 checked, missing ['.gitattributes']
#   .gitattributes and config.json damaged: mismatches ['config.json'], missing ['.gitattributes']
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

FILES = {
    ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
    "config.json": b"{}\n",
    "model.safetensors": bytes(64),
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

local = Path("local")
api.download_repo("org/tiny", "model", local_dir=local)
assert {name: (local / name).read_bytes() for name in FILES} == FILES
result = api.verify_cache("org/tiny", "model", local_dir=local)
assert (result.checked_count, result.mismatches, result.missing_paths) == (2, [], [".gitattributes"]), result
print(f"complete download: {result.checked_count} checked, missing {result.missing_paths}")

for name in (".gitattributes", "config.json"):
    (local / name).write_bytes(b"damaged")
result = api.verify_cache("org/tiny", "model", local_dir=local)
mismatches = [one.path for one in result.mismatches]
assert (mismatches, result.missing_paths) == (["config.json"], [".gitattributes"]), result
print(f".gitattributes and config.json damaged: mismatches {mismatches}, missing {result.missing_paths}")
PYTHON
