#!/usr/bin/env bash
# huggingface-hub==2.4.0: offline, snapshot_download with a local_dir returns that folder if there is anything in it,
# whatever repository and commit were asked for. It logs a warning and does not read the .cache/huggingface beside the
# files, which holds the commit of each of them. hf_hub_download does the same with a file. The cache refuses both.
# Expected: LocalEntryNotFoundError for another commit, and surely for another repository, as without local_dir.
# Seen, offline, with org/one at commit a in the folder and in the cache:
#   asked for               local_dir  one file of it  cache
#   org/one, commit a       org/one a  org/one a       org/one a
#   org/one, commit b       org/one a  org/one a       LocalEntryNotFoundError
#   org/two, commit b       org/one a  org/one a       LocalEntryNotFoundError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check huggingface-hub==2.4.0
cd "$work"
export HF_HOME=$work/hf HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1 HF_HUB_VERBOSITY=error
cat >fill.py <<'PYTHON'
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import snapshot_download

COMMIT = "a" * 40
CONTENT = b"org/one a"
BLOB_ID = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """A Hub whose only repository, org/one, has one file at its only commit."""

    def answer(self):
        if "/resolve/" in self.path:
            body = CONTENT
        elif "/tree/" in self.path:
            body = json.dumps([{"type": "file", "path": "name.txt", "size": len(CONTENT), "oid": BLOB_ID}]).encode()
        else:
            body = json.dumps({"id": "org/one", "sha": COMMIT, "siblings": [{"rfilename": "name.txt"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if body is CONTENT else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{BLOB_ID}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = answer

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_port}"
for place in ({"local_dir": "folder"}, {}):
    snapshot_download("org/one", revision=COMMIT, endpoint=endpoint, token=False, **place)
PYTHON
cat >ask.py <<'PYTHON'
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError


def answer(repository, commit, local_dir=None, one_file=False):
    asked = {"revision": commit * 40, "local_dir": local_dir}
    try:
        if one_file:
            return Path(hf_hub_download(repository, "name.txt", **asked)).read_text()
        return Path(snapshot_download(repository, **asked), "name.txt").read_text()
    except LocalEntryNotFoundError as error:
        return type(error).__name__


print(f"{'asked for':22}  local_dir  one file of it  cache")
for wanted in (("org/one", "a"), ("org/one", "b"), ("org/two", "b")):
    folder, one, cache = answer(*wanted, "folder"), answer(*wanted, "folder", one_file=True), answer(*wanted)
    print(f"{wanted[0]}, commit {wanted[1]:6}  {folder}  {one}       {cache}")
PYTHON
venv/bin/python fill.py
HF_HUB_OFFLINE=1 venv/bin/python ask.py | tee seen
diff seen - <<'WANTED'
asked for               local_dir  one file of it  cache
org/one, commit a       org/one a  org/one a       org/one a
org/one, commit b       org/one a  org/one a       LocalEntryNotFoundError
org/two, commit b       org/one a  org/one a       LocalEntryNotFoundError
WANTED
