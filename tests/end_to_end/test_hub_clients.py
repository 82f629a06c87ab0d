"""Real clients on the Hub's place, in a network namespace where nothing else can answer them.

Each with the model in the library, only at a peer, and absent: then the client says its own "not found". What they ask
is recorded and stands in `ASKED`: what an endpoint must answer, and no more.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from p2pqwen.demo.tiny_model import write_tiny_model
from tests.simulators.hub import HubSimulator
from tests.support.alone import Within, alone, run_within
from tests.support.command import CommandLine
from tests.support.hub_endpoint import hub_process
from tests.support.nodes import quiet_config
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET
from tests.support.waiting import wait_until
from tests.support.world import REPO, World

SECONDS = 240
HF = Path(sys.executable).with_name("hf")
PYTHON = sys.executable
HUB_JS = ("@huggingface/hub@2.17.5", "@huggingface/gguf@0.4.6")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Client:
    """How a client is run, `{url}`, `{repo}` and `{out}` filled in, and what it says of a model that is not there.

    `needs`: Python packages and programs without which it is skipped. `gives`: files that it leaves below `{out}`, by
    the names that they have in the repository.
    """

    arguments: tuple[str, ...]
    absent: str
    needs: tuple[str, ...] = ()
    gives: Mapping[str, str] = ()  # type: ignore[assignment]


def python(code: str, absent: str, *needs: str, **gives: str) -> Client:
    return Client((PYTHON, "-c", code), absent, needs, {name.replace("__", "."): path for name, path in gives.items()})


WEIGHTS = "model.safetensors"
JAVASCRIPT = """
import * as fs from "node:fs";
import {{downloadFile, listFiles}} from "@huggingface/hub";
const at = {{repo: "{repo}", hubUrl: "{url}"}};
for await (const file of listFiles({{...at, recursive: true}})) console.log(file.path);
const blob = await downloadFile({{...at, path: "model.safetensors"}});
if (blob === null) throw new Error("not found");
fs.writeFileSync("{out}/got", Buffer.from(await blob.arrayBuffer()));
"""
CLIENTS: dict[str, Client] = {
    "hf download": Client(
        (str(HF), "download", "{repo}", "--local-dir", "{out}/got"),
        "Repository Not Found|RepositoryNotFound|not found",
        gives={WEIGHTS: "got/model.safetensors", "config.json": "got/config.json"},
    ),
    "hf_hub_download": python(
        "import shutil, huggingface_hub as h; "
        "shutil.copy(h.hf_hub_download('{repo}', 'model.safetensors'), '{out}/got')",
        "RepositoryNotFoundError",
        model__safetensors="got",
    ),
    "snapshot_download": python(
        "import shutil, huggingface_hub as h; shutil.copytree(h.snapshot_download('{repo}'), '{out}/got')",
        "RepositoryNotFoundError",
        model__safetensors="got/model.safetensors",
    ),
    "HfFileSystem": python(
        "from huggingface_hub import HfFileSystem as F, get_safetensors_metadata as g; f = F(); "
        "print(f.ls('{repo}', detail=False)); g('{repo}'); "
        "open('{out}/got', 'wb').write(f.read_bytes('{repo}/model.safetensors'))",
        "FileNotFoundError|RepositoryNotFoundError",
        model__safetensors="got",
    ),
    "transformers": python(
        "import transformers as t; t.AutoTokenizer.from_pretrained('{repo}'); "
        "print(t.AutoModelForCausalLM.from_pretrained('{repo}').num_parameters())",
        "is not a local folder and is not a valid model identifier|RepositoryNotFoundError",
        "transformers",
        "torch",
    ),
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
    "@huggingface/hub": Client(
        (
            "node", "--input-type=module", "-e",
            JAVASCRIPT,
        ),
        "not found|404",
        ("node", "npm"),
        {WEIGHTS: "got"},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Endpoints in the namespace: with the model in the library, and without it but with a peer that has it."""

    within: Within
    source: Path
    work: Path
    urls: Mapping[str, str]


@pytest.fixture(scope="module")
def modules_folder(tmp_path_factory) -> Path:
    """Where the npm clients are installed, once."""
    return tmp_path_factory.mktemp("npm")


@pytest.fixture(scope="module")
def place(tmp_path_factory, modules_folder) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("clients")
    source = write_tiny_model(folder / "tiny")
    with alone() as within, HubSimulator() as hub:
        world = World(folder, hub)
        hub.repositories[REPO].branches.clear()
        world.publisher.ok("preserve", f"{REPO}@{hub.add(REPO, source)}")
        world.publisher.ok("publish", "--out", world.site, "--yes")
        reader = world.trusting("reader")
        seed = [*within, *p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET)]
        keeper = world.publishers_copy(folder / "copy")
        with ExitStack() as stack:
            node = stack.enter_context(running(seed, world.publisher.environment))
            port = node.json_line(60, containing='"listening"')["port"]
            wait_until(lambda: node.stdout.count('"event": "seeding"') >= 2, 60, "two snapshots seeded")
            library = stack.enter_context(hub_process(keeper, "--no-upstream", within=within))
            peer = ("--peer", f"127.0.0.1:{port}")
            swarm = stack.enter_context(hub_process(reader, "--no-upstream", *peer, within=within))
            yield Place(within, source, modules_folder, {"library": library, "swarm": swarm})


def run(place: Place, client: Client, url: str, repo: str, out: Path) -> tuple[int, str]:
    """Run a client in an empty home of its own; its exit code and what it said."""
    out.mkdir(parents=True)
    values = {"url": url, "repo": repo, "out": str(out)}
    arguments = [one.format(**values) if "{" in one else one for one in client.arguments]
    done = run_within(
        place.within,
        arguments,
        cwd=modules(place) if client.arguments[0] == "node" else out,
        seconds=SECONDS,
        HF_ENDPOINT=url,
        HF_HOME=str(out / "hf-home"),
        HOME=str(out),
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        GIT_TERMINAL_PROMPT="0",
        GIT_LFS_SKIP_SMUDGE="1",
    )
    return done.returncode, done.stdout + done.stderr


def modules(place: Place) -> Path:
    """Install the npm clients once, from outside the namespace."""
    folder = place.work
    if not (folder / "node_modules").is_dir():
        done = run_within([], ["npm", "install", "--no-audit", "--no-fund", *HUB_JS], cwd=folder, seconds=SECONDS)
        if done.returncode != 0:
            pytest.skip("npm installs nothing here")
    return folder


def require(client: Client) -> None:
    for name in client.needs:
        if shutil.which(name) is None and importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("where", ["library", "swarm"])
@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_gets_the_model(place, tmp_path, name, where):
    client = CLIENTS[name]
    require(client)
    code, said = run(place, client, place.urls[where], REPO, tmp_path / "out")
    assert code == 0, said
    for file, got in dict(client.gives).items():
        assert (tmp_path / "out" / got).read_bytes() == (place.source / file).read_bytes()


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_says_itself_that_a_model_is_not_there(place, tmp_path, name):
    client = CLIENTS[name]
    require(client)
    code, said = run(place, client, place.urls["library"], "Qwen/Nothing", tmp_path / "out")
    assert code != 0
    assert re.search(client.absent, said), said


def test_run_sets_what_a_program_needs(place, tmp_path):
    """A first start of transformers on a library that has it all asks nobody beyond this machine: there is nobody."""
    require(CLIENTS["transformers"])
    environment = {"P2PQWEN_HOME": str(place.source.parent / "copy" / "home"), "HF_HOME": str(tmp_path / "hf")}
    command = p2pqwen("run", "--no-upstream", "--", *CLIENTS["transformers"].arguments)
    command = [one.format(repo=REPO) if "{repo}" in one else one for one in command]
    done = run_within(place.within, command, cwd=tmp_path, seconds=SECONDS, **environment)
    assert done.returncode == 0, done.stderr
    assert "HF_ENDPOINT=http://127.0.0.1:" in done.stderr


# What they ask: METHOD path, {commit} for the commit, with the headers that an endpoint must heed.

_FILE = "/Qwen/Tiny/resolve/{commit}/"
ASKED: dict[str, set[str]] = {
    "hf download": {
        "GET /api/models/Qwen/Tiny/revision/main",
        "GET /api/models/Qwen/Tiny/tree/{commit}",
        f"HEAD {_FILE}*",
        f"GET {_FILE}*",
    },
    "hf_hub_download": {"HEAD /Qwen/Tiny/resolve/main/*", "GET /Qwen/Tiny/resolve/main/*"},
    "snapshot_download": {
        "GET /api/models/Qwen/Tiny/revision/main",
        "GET /api/models/Qwen/Tiny/tree/{commit}",
        f"HEAD {_FILE}*",
        f"GET {_FILE}*",
    },
    "HfFileSystem": {
        "GET /api/models/Qwen/Tiny",
        "GET /api/models/Qwen/Tiny/tree/main",
        "HEAD /Qwen/Tiny/resolve/main/*",
        "GET /Qwen/Tiny/resolve/main/*",
        "GET /Qwen/Tiny/resolve/main/* range",
    },
    "transformers": {
        "GET /api/models/Qwen/Tiny",
        "GET /api/models/Qwen/Tiny/tree/main",
        "GET /api/models/Qwen/Tiny/tree/main/additional_chat_templates",
        f"HEAD {_FILE}*",
        f"GET {_FILE}*",
    },
    "@huggingface/hub": {
        "GET /api/models/Qwen/Tiny/tree/main",
        "GET /Qwen/Tiny/resolve/main/*",
        "GET /Qwen/Tiny/resolve/main/* range",
    },
    "curl": {"GET /Qwen/Tiny/resolve/main/* range"},
    "git": {"GET /Qwen/Tiny/info/refs", "POST /Qwen/Tiny/git-upload-pack"},
}


@contextmanager
def recording(target: str, seen: set[str]) -> Iterator[str]:
    """A server that passes requests on, and notes them."""
    parts = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            path = urlsplit(self.path).path
            path = re.sub(r"[0-9a-f]{40}", "{commit}", path)
            path = re.sub(r"(/resolve/[^/]+/).*", r"\1*", path)
            seen.add(f"{self.command} {path}" + (" range" if "Range" in self.headers else ""))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
            connection.request(self.command, self.path, body=body, headers=dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for header, value in answer.headers.items():
                if header.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                    self.send_header(header, value)
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_HEAD = do_POST = pass_on  # noqa: N815 - as http.server names them

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def keeper(tmp_path_factory) -> CommandLine:
    """Somebody who holds the tiny model."""
    folder = tmp_path_factory.mktemp("keeper")
    with HubSimulator() as hub:
        user = CommandLine(folder, hub.endpoint)
        quiet_config(user)
        hub.add(REPO, write_tiny_model(folder / "tiny"))
        user.ok("preserve", REPO)
    return user


@pytest.mark.parametrize("name", ASKED)
def test_what_a_client_asks(keeper, modules_folder, tmp_path, name):
    client = CLIENTS[name]
    require(client)
    seen: set[str] = set()
    with hub_process(keeper, "--no-upstream") as target, recording(target, seen) as url:
        code, said = run(Place([], tmp_path, modules_folder, {}), client, url, REPO, tmp_path / "out")
    assert code == 0, said
    aside = {one for one in seen if one.endswith("/api/agent-harnesses")}  # any answer does
    assert seen - aside == ASKED[name]
