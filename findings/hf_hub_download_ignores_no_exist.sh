#!/usr/bin/env bash
# huggingface-hub==2.4.0: hf_hub_download writes a marker for a file that a repository does not have
# (.no_exist/<commit>/<name>) and never reads one: it asks the server again every time. try_to_load_from_cache, which
# sends no request, is the only reader. So whether a loader asks for an absent file at every start depends on which of the
# two it calls first.
# Expected: once the marker is written, the answer for that commit is known, and no request is sent.
# Seen:
#   first call: 1 request, EntryNotFoundError, marker written
#   second call, by commit: 1 request, EntryNotFoundError
#   try_to_load_from_cache: 0 requests, known not to exist
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check huggingface-hub==2.4.0
cd "$work"
HF_HUB_DISABLE_TELEMETRY=1 HF_HOME=$work/hf "$work/venv/bin/python" - <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

COMMIT = "a" * 40
asked = []


class Hub(BaseHTTPRequestHandler):
    """A Hub whose only repository has no such file."""

    def do_HEAD(self):
        asked.append(self.path)
        self.send_response(404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
endpoint = f"http://127.0.0.1:{server.server_port}"


def download():
    asked.clear()
    try:
        hf_hub_download("org/model", "absent.json", revision=COMMIT, endpoint=endpoint, cache_dir="cache", token=False)
    except EntryNotFoundError:
        return f"{len(asked)} request, EntryNotFoundError"
    return "no error"


first = download()
marker = Path("cache/models--org--model/.no_exist", COMMIT, "absent.json").is_file()
second = download()
asked.clear()
known = try_to_load_from_cache("org/model", "absent.json", revision=COMMIT, cache_dir="cache") is _CACHED_NO_EXIST
print(f"first call: {first}, marker {'written' if marker else 'not written'}")
print(f"second call, by commit: {second}")
print(f"try_to_load_from_cache: {len(asked)} requests, {'known not to exist' if known else 'not known'}")
assert (first, marker) == ("1 request, EntryNotFoundError", True)
assert second == "1 request, EntryNotFoundError"
assert (len(asked), known) == (0, True)
PYTHON
