#!/usr/bin/env bash
# model-signing==1.1.1 with huggingface-hub==2.4.0: a signature over a folder that snapshot_download(local_dir=...)
# made does not verify for anyone else who downloads the same commit in the same way. It covers .cache/huggingface
# inside the folder, where each file has its time of download, and it refuses the copy in the Hugging Face cache,
# which consists of links. Of the repository's own files it leaves out .gitattributes. With set_ignored_paths for
# .cache one signature fits both folders. A fresh install cannot be imported: it needs OpenSSL's bindings, which
# sigstore 4.5.1 no longer installs.
# Expected: two folders that hold the same commit, made by the same tool, share a signature.
# Seen:
#   as installed: ModuleNotFoundError OpenSSL; with pyopenssl 26.4.0:
#   signed: 1 file of the repository, 7 of .cache/huggingface, not .gitattributes
#   the signer's folder: verified
#   another download of that commit: ValueError, 2 files differ, all of them in .cache/huggingface
#   the Hugging Face cache: ValueError, a symlink
#   signed without .cache, another download: verified
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    model-signing==1.1.1 huggingface-hub==2.4.0 sigstore==4.5.1
cd "$work"
export HF_HOME=$work/hf HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1
venv/bin/python - <<'PYTHON' | tee seen
try:
    import model_signing  # noqa: F401
except ModuleNotFoundError as error:
    print(f"as installed: {type(error).__name__} {error.name}; with pyopenssl 26.4.0:")
PYTHON
venv/bin/pip install --quiet --disable-pip-version-check pyopenssl==26.4.0
venv/bin/python - <<'PYTHON' | tee -a seen
import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from huggingface_hub import snapshot_download
from model_signing import hashing, signing, verifying

COMMIT = "a" * 40
FILES = {".gitattributes": b"*.safetensors filter=lfs\n", "model.safetensors": bytes(64)}


def blob_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """A Hub whose only repository is org/model."""

    def answer(self):
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        rows = [{"type": "file", "path": one, "size": len(data), "oid": blob_id(data)} for one, data in FILES.items()]
        info = {"id": "org/model", "sha": COMMIT, "siblings": [{"rfilename": one} for one in FILES]}
        body = FILES[name] if name else json.dumps(rows if "/tree/" in self.path else info).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if name else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{blob_id(body)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = answer

    def log_message(self, *arguments):
        pass


def verified(folder, signature, ignored=()):
    config = verifying.Config().use_elliptic_key_verifier(public_key=Path("public.pem"))
    if ignored:
        config.set_hashing_config(hashing.Config().set_ignored_paths(paths=ignored))
    try:
        config.verify(Path(folder), Path(signature))
    except ValueError as error:
        different = set(re.findall(r"mismatch for \\?'([^'\\]+)", str(error)))
        if not different:
            return "ValueError, a symlink" if "is a symlink" in str(error) else f"ValueError, {error}"
        where = "all of them" if all(path.startswith(".cache/huggingface/") for path in different) else "not all"
        return f"ValueError, {len(different)} files differ, {where} in .cache/huggingface"
    return "verified"


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
asked = {"revision": COMMIT, "endpoint": f"http://127.0.0.1:{server.server_port}", "token": False}
for folder in ("signers", "another"):
    snapshot_download("org/model", local_dir=folder, **asked)
cached = snapshot_download("org/model", **asked)

key = ec.generate_private_key(ec.SECP256R1())
pem = serialization.Encoding.PEM
Path("private.pem").write_bytes(
    key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
)
Path("public.pem").write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
signer = signing.Config().use_elliptic_key_signer(private_key=Path("private.pem"))
signer.sign(Path("signers"), Path("whole.sig"))
statement = json.loads(base64.b64decode(json.loads(Path("whole.sig").read_text())["dsseEnvelope"]["payload"]))
names = [row["name"] for row in statement["predicate"]["resources"]]
beside = [name for name in names if name.startswith(".cache/huggingface/")]
assert [name for name in names if name not in beside] == ["model.safetensors"], names
print(f"signed: 1 file of the repository, {len(beside)} of .cache/huggingface, not .gitattributes")
print(f"the signer's folder: {verified('signers', 'whole.sig')}")
print(f"another download of that commit: {verified('another', 'whole.sig')}")
print(f"the Hugging Face cache: {verified(cached, 'whole.sig')}")
ignored = [Path(".cache")]
signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=ignored)).sign(Path("signers"), Path("bare.sig"))
print(f"signed without .cache, another download: {verified('another', 'bare.sig')}")
PYTHON
diff seen - <<'WANTED'
as installed: ModuleNotFoundError OpenSSL; with pyopenssl 26.4.0:
signed: 1 file of the repository, 7 of .cache/huggingface, not .gitattributes
the signer's folder: verified
another download of that commit: ValueError, 2 files differ, all of them in .cache/huggingface
the Hugging Face cache: ValueError, a symlink
signed without .cache, another download: verified
WANTED
