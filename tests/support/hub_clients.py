"""The programs that people use with the Hub, run against its replacement, and the requests of each.

`CLIENTS` says how to run each; `ASKED` has the requests that an endpoint must answer, recorded from their runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from p2pqwen.demo.tiny_model import TinyShape, write_tiny_model
from tests.support.alone import Within, run_within, surroundings_within
from tests.support.models import write_folder
from tests.support.world import REPO
from tests.support.zygote import Zygote

SECONDS = 240
HF = Path(sys.executable).with_name("hf")
PYTHON = sys.executable
EMBEDDING, GGUF, ROWS = "Qwen/Tiny-Embedding", "Qwen/Tiny-GGUF", "Qwen/Rows"
WEIGHTS = "model.safetensors"
GGUF_FILE = "tiny-Q8_0.gguf"
ABSENT = "Qwen/Nothing"
_IMPORT_MUCH = {"transformers", "sentence_transformers", "datasets"}

JAVASCRIPT = ("@huggingface/hub@2.17.5", "@huggingface/gguf@0.4.6", "@huggingface/transformers@4.3.1")
OLDER_HUB = "huggingface_hub>=1,<2"


@dataclass(frozen=True)
class Installed:
    """Clients that are installed for the tests, once for all parallel runs; they are not our dependencies."""

    folder: Path

    def javascript(self) -> Path:
        """Return the folder of the npm packages."""
        return self._once("npm", ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *JAVASCRIPT])

    def older_python(self) -> str:
        """Return a Python that has huggingface_hub 1.x."""
        pip = [PYTHON, "-m", "pip", "--python", "bin/python", "install", "--quiet", OLDER_HUB]
        folder = self._once("hub-1", [PYTHON, "-m", "venv", "--without-pip", "."], pip)
        return str(folder / "bin" / "python")

    def _once(self, name: str, *commands: Sequence[str]) -> Path:
        self.folder.mkdir(exist_ok=True)
        folder, said = self.folder / name, self.folder / f"{name}.json"
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not said.exists():
                folder.mkdir(exist_ok=True)
                said.write_text(json.dumps(_run_all(commands, folder)))
        problem = json.loads(said.read_text())
        if problem:
            pytest.skip(f"{name} cannot be installed here: {problem[-200:]}")
        return folder


def _run_all(commands: Sequence[Sequence[str]], folder: Path) -> str:
    """Run install commands; return the output of the first that failed, "" if none did."""
    for command in commands:
        try:
            done = run_within([], command, cwd=folder, seconds=SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode:
            return done.stderr or f"exit code {done.returncode}"
    return ""


@dataclass(frozen=True)
class Client:
    """How to run a client, and its message for a missing repository (`absent`).

    `{url}`, `{repo}` and `{out}` are filled in. `needs`: Python packages and programs without which it is skipped.
    `gives`: the files that it leaves below `{out}`, by their names in the repository.
    """

    arguments: tuple[str, ...]
    absent: str
    needs: tuple[str, ...] = ()
    gives: Mapping[str, str] = field(default_factory=dict)
    repo: str = REPO

    def require(self) -> None:
        for name in self.needs:
            if shutil.which(name) is None and importlib.util.find_spec(name) is None:
                pytest.skip(f"{name} is not installed")

    def run(
        self,
        url: str,
        out: Path,
        installed: Installed,
        within: Within = (),
        repo: str | None = None,
        zygote: Zygote | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run it in a new home, `within` a namespace; one that imports much is forked from `zygote`."""
        self.require()
        out.mkdir(parents=True)
        program, *rest = self.arguments
        cwd = out
        if program == "node":
            cwd = installed.javascript()
        elif program == OLDER_HUB:
            program = installed.older_python()
        values = {"url": url, "repo": repo or self.repo, "out": str(out)}
        filled = [one.format(**values) if "{" in one else one for one in rest]
        environment = {
            "HF_ENDPOINT": url,
            "HF_HOME": str(out / "hf-home"),
            "HOME": str(out),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        if zygote is not None and program == PYTHON and not _IMPORT_MUCH.isdisjoint(self.needs):
            return zygote.run(filled[1], cwd=cwd, seconds=SECONDS, environment=surroundings_within(environment))
        return run_within(list(within), [program, *filled], cwd=cwd, seconds=SECONDS, **environment)


def _python(code: str, absent: str, *needs: str, program: str = PYTHON, repo: str = REPO, **gives: str) -> Client:
    named = {name.replace("__", "."): path for name, path in gives.items()}
    return Client((program, "-c", code), absent, needs, named, repo)


def _node(code: str, absent: str, gives: Mapping[str, str] | None = None, repo: str = REPO) -> Client:
    return Client(("node", "--input-type=module", "-e", code), absent, ("node", "npm"), gives or {}, repo)


_HUB_JS = """
import * as fs from "node:fs";
import {{downloadFile, listFiles}} from "@huggingface/hub";
const at = {{repo: "{repo}", hubUrl: "{url}"}};
for await (const file of listFiles({{...at, recursive: true}})) console.log(file.path);
const blob = await downloadFile({{...at, path: "model.safetensors"}});
if (blob === null) throw new Error("not found");
fs.writeFileSync("{out}/got", Buffer.from(await blob.arrayBuffer()));
"""
_TRANSFORMERS_JS = """
import {{AutoConfig, AutoTokenizer, env}} from "@huggingface/transformers";
env.remoteHost = "{url}";
env.allowLocalModels = false;
env.cacheDir = "{out}/cache";
const {{hidden_size}} = await AutoConfig.from_pretrained("{repo}");
const tokenizer = await AutoTokenizer.from_pretrained("{repo}");
const ids = tokenizer.encode("preserve");
if (hidden_size !== 256 || tokenizer.decode(ids) !== "preserve") throw new Error("other files than the model's");
"""
_GGUF_JS = """
import {{gguf}} from "@huggingface/gguf";
const {{metadata, tensorInfos}} = await gguf("{url}/{repo}/resolve/main/tiny-Q8_0.gguf");
if (metadata["general.name"] !== "Tiny" || tensorInfos.length !== 1) throw new Error("other files than the model's");
"""
_FILE_SYSTEM = """
from huggingface_hub import HfFileSystem as F, get_safetensors_metadata as g
f = F()
print(f.ls('{repo}', detail=False))
g('{repo}')
open('{out}/got', 'wb').write(f.read_bytes('{repo}/model.safetensors'))
"""
_OLDER = """
import shutil, subprocess, sys, huggingface_hub as h
assert h.__version__.startswith('1.'), h.__version__
file = h.hf_hub_download('{repo}', 'model.safetensors', cache_dir='{out}/one')
assert open(file, 'rb').read() == h.HfFileSystem().read_bytes('{repo}/model.safetensors')
shutil.copytree(h.snapshot_download('{repo}'), '{out}/whole')
hf = sys.executable.rpartition('/')[0] + '/hf'
sys.exit(subprocess.run([hf, 'download', '{repo}', '--local-dir', '{out}/got']).returncode)
"""
_ROWS = """
import datasets
rows = datasets.load_dataset('{repo}')['train']
assert [row['answer'] for row in rows] == ['because', 'here'], rows
"""
_SENTENCES = """
from sentence_transformers import SentenceTransformer as S
assert S('{repo}', device='cpu').encode(['preserve']).shape == (1, 256)
"""
_LLAMA = """
import llama_cpp
file = llama_cpp.Llama.from_pretrained('{repo}', '*Q8_0.gguf', vocab_only=True)
"""
# The requests of Ollama, then those of llama.cpp: neither is available as a package.
_REGISTRY = """
import hashlib, json, urllib.request
def ask(path, method='GET', **headers):
    headers = {{name.replace('_', '-'): value for name, value in headers.items()}}
    return urllib.request.urlopen(urllib.request.Request('{url}' + path, None, headers, method=method))
docker = 'application/vnd.docker.distribution.manifest.v2+json'
manifest = json.load(ask('/v2/{repo}/manifests/latest', Accept=docker))
for layer in (manifest['config'], *manifest['layers']):
    path = '/v2/{repo}/blobs/' + layer['digest']
    assert int(ask(path, 'HEAD').headers['Content-Length']) == layer['size']
    half = layer['size'] // 2
    body = ask(path, Range=f'bytes=0-{{half}}').read() + ask(path, Range=f'bytes={{half + 1}}-').read()
    assert 'sha256:' + hashlib.sha256(body).hexdigest() == layer['digest']
name = json.load(ask('/v2/{repo}/manifests/Q8_0', User_Agent='llama-cpp'))['ggufFile']['rfilename']
ask('/{repo}/resolve/main/' + name, 'HEAD')
open('{out}/got', 'wb').write(ask('/{repo}/resolve/main/' + name).read())
"""
_LFS = """
git clone --depth 1 {url}/{repo}.git {out}/got && cd {out}/got && git lfs pull && git fsck --strict
"""
_NOT_FOUND = "Repository Not Found|RepositoryNotFound|not found"

CLIENTS: dict[str, Client] = {
    "hf download": Client(
        (str(HF), "download", "{repo}", "--local-dir", "{out}/got"),
        _NOT_FOUND,
        gives={WEIGHTS: "got/model.safetensors", "config.json": "got/config.json"},
    ),
    "hf_hub_download": _python(
        "import shutil, huggingface_hub as h; "
        "shutil.copy(h.hf_hub_download('{repo}', 'model.safetensors'), '{out}/got')",
        "RepositoryNotFoundError",
        model__safetensors="got",
    ),
    "snapshot_download": _python(
        "import shutil, huggingface_hub as h; shutil.copytree(h.snapshot_download('{repo}'), '{out}/got')",
        "RepositoryNotFoundError",
        model__safetensors="got/model.safetensors",
    ),
    "HfFileSystem": _python(_FILE_SYSTEM, "FileNotFoundError|RepositoryNotFoundError", model__safetensors="got"),
    "huggingface_hub 1": _python(
        _OLDER, "RepositoryNotFoundError", program=OLDER_HUB, model__safetensors="got/model.safetensors"
    ),
    "transformers": _python(
        "import transformers as t; t.AutoTokenizer.from_pretrained('{repo}'); "
        "print(t.AutoModelForCausalLM.from_pretrained('{repo}').num_parameters())",
        "is not a local folder and is not a valid model identifier|RepositoryNotFoundError",
        "transformers",
        "torch",
    ),
    "sentence-transformers": _python(
        _SENTENCES,
        "is not a local folder and is not a valid model identifier|RepositoryNotFoundError",
        "sentence_transformers",
        repo=EMBEDDING,
    ),
    "datasets": _python(_ROWS, "DatasetNotFoundError", "datasets", repo=ROWS),
    "llama-cpp-python": _python(_LLAMA, "RepositoryNotFoundError|FileNotFoundError", "llama_cpp", repo=GGUF),
    "registry": _python(_REGISTRY, "HTTP Error 404", repo=GGUF),
    "curl": Client(
        ("curl", "-sSfL", "-r", "0-", "-o", "{out}/got", "{url}/{repo}/resolve/main/model.safetensors"),
        "404",
        ("curl",),
        {WEIGHTS: "got"},
    ),
    "git": Client(
        ("git", "clone", "--depth", "1", "{url}/{repo}", "{out}/got"),
        "not found|404",
        ("git",),
        {"config.json": "got/config.json"},
    ),
    "git-lfs": Client(
        ("sh", "-c", _LFS),
        "not found|404",
        ("git", "git-lfs"),
        {"config.json": "got/config.json", WEIGHTS: "got/model.safetensors"},
    ),
    "@huggingface/hub": _node(_HUB_JS, "not found|404", {WEIGHTS: "got"}),
    # It takes any answer for the file: this is its message for one that is not.
    "@huggingface/gguf": _node(_GGUF_JS, "not a valid gguf file", repo=GGUF),
    "@huggingface/transformers": _node(_TRANSFORMERS_JS, "Could not locate file"),
}

# Their requests: METHOD path, {commit} for a commit or a digest, with the headers that an endpoint must honour.

_FILE = f"/{REPO}/resolve/{{commit}}/"
_SNAPSHOT = {
    f"GET /api/models/{REPO}/revision/main",
    f"GET /api/models/{REPO}/tree/{{commit}}",
    f"HEAD {_FILE}*",
    f"GET {_FILE}*",
}
_HUB_FILE = {f"HEAD /{REPO}/resolve/main/*", f"GET /{REPO}/resolve/main/*"}
ASKED: dict[str, set[str]] = {
    "hf download": _SNAPSHOT,
    "hf_hub_download": _HUB_FILE,
    "snapshot_download": _SNAPSHOT,
    "HfFileSystem": {
        f"GET /api/models/{REPO}",
        f"GET /api/models/{REPO}/tree/main",
        *_HUB_FILE,
        f"GET /{REPO}/resolve/main/* range",
    },
    "transformers": {
        f"GET /api/models/{REPO}",
        f"GET /api/models/{REPO}/tree/main",
        f"GET /api/models/{REPO}/tree/main/additional_chat_templates",
        f"HEAD {_FILE}*",
        f"GET {_FILE}*",
    },
    "@huggingface/hub": {
        f"GET /api/models/{REPO}/tree/main",
        f"GET /{REPO}/resolve/main/*",
        f"GET /{REPO}/resolve/main/* range",
    },
    "curl": {f"GET /{REPO}/resolve/main/* range"},
    "git": {f"GET /{REPO}/info/refs", f"POST /{REPO}/git-upload-pack"},
    "git-lfs": {
        f"GET /{REPO}.git/info/refs",
        f"POST /{REPO}.git/git-upload-pack",
        f"POST /{REPO}.git/info/lfs/objects/batch",
        f"GET {_FILE}*",
    },
    "huggingface_hub 1": {
        f"GET /api/models/{REPO}",
        f"GET /api/models/{REPO}/tree/main",
        *_HUB_FILE,
        *_SNAPSHOT,
    },
    "sentence-transformers": {
        f"GET /api/models/{EMBEDDING}",
        f"GET /api/models/{EMBEDDING}/tree/main",
        f"GET /api/models/{EMBEDDING}/tree/main/additional_chat_templates",
        f"HEAD /{EMBEDDING}/resolve/{{commit}}/*",
        f"GET /{EMBEDDING}/resolve/{{commit}}/*",
    },
    "datasets": {
        f"GET /api/datasets/{ROWS}/revision/{{commit}}",
        f"GET /api/datasets/{ROWS}/tree/{{commit}}",
        f"GET /api/datasets/{ROWS}/tree/{{commit}}/data",
        f"HEAD /datasets/{ROWS}/resolve/main/*",
        f"GET /datasets/{ROWS}/resolve/main/*",
        f"HEAD /datasets/{ROWS}/resolve/{{commit}}/*",
        f"GET /datasets/{ROWS}/resolve/{{commit}}/*",
    },
    "registry": {
        f"GET /v2/{GGUF}/manifests/latest",
        f"GET /v2/{GGUF}/manifests/Q8_0",
        f"HEAD /v2/{GGUF}/blobs/sha256:{{commit}}",
        f"GET /v2/{GGUF}/blobs/sha256:{{commit}} range",
        f"HEAD /{GGUF}/resolve/main/*",
        f"GET /{GGUF}/resolve/main/*",
    },
    "@huggingface/gguf": {f"GET /{GGUF}/resolve/main/* range"},
    "@huggingface/transformers": {f"GET /{REPO}/resolve/main/*", f"GET /{REPO}/resolve/main/* range"},
}


# The repositories that they are run on.

_LFS_RULES = "*.{} filter=lfs diff=lfs merge=lfs -text\n"
_POOLING = {"word_embedding_dimension": TinyShape().hidden, "pooling_mode_mean_tokens": True}
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def write_repositories(folder: Path) -> dict[str, Path]:
    """Write a model, one for sentence-transformers, one in GGUF, and a dataset; return their folders by name."""
    model = write_tiny_model(folder / "model")
    embedding = shutil.copytree(model, folder / "embedding")
    (embedding / "modules.json").write_text(json.dumps(_MODULES))
    (embedding / "1_Pooling").mkdir()
    (embedding / "1_Pooling" / "config.json").write_text(json.dumps(_POOLING))
    gguf = {".gitattributes": _LFS_RULES.format("gguf").encode(), "README.md": b"# Tiny\n", GGUF_FILE: gguf_bytes()}
    rows = {"README.md": b"# Rows\n", "train.csv": b"question,answer\nwhy,because\nwhere,here\n"}
    return {
        REPO: model,
        EMBEDDING: embedding,
        GGUF: write_folder(folder / "gguf", gguf),
        f"datasets/{ROWS}": write_folder(folder / "rows", rows),
    }


def gguf_bytes() -> bytes:
    """Return a GGUF file of version 3 with 2 strings in its metadata, and a tensor of 4,096 numbers in F32."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    for key, value in (("general.architecture", "qwen3"), ("general.name", "Tiny")):
        header += text(key) + struct.pack("<I", 8) + text(value)
    header += text("token_embd.weight") + struct.pack("<IQIQ", 1, 4096, 0, 0)
    header += bytes(-len(header) % 32)
    return header + hashlib.shake_256(b"tensor").digest(4 * 4096)
