"""ModelScope's own client against our simulator of it: it takes every answer, so the adapter is tested on those."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.simulators.modelscope import ModelScopeSimulator
from tests.support.models import small_model, write_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("modelscope") is None, reason="modelscope is not installed"),
]
_SCRIPT = """
import json, sys
from modelscope import snapshot_download
from modelscope.hub.api import HubApi
from modelscope.hub.file_download import model_file_download

folder = sys.argv[1]
api = HubApi()
said = {
    "cached": snapshot_download("Qwen/Tiny"),
    "local": snapshot_download("Qwen/Tiny", local_dir=folder),
    "one": model_file_download("Qwen/Tiny", "config.json"),
    "listed": [row["Id"] for row in api.list_models("Qwen")["Models"]],
    "files": [row["Path"] for row in api.get_model_files("Qwen/Tiny", recursive=True)],
    "dataset": snapshot_download("Qwen/Rows", repo_type="dataset"),
}
try:
    snapshot_download("Qwen/None")
except OSError as error:
    said["absent"] = str(error)
print(json.dumps(said))
"""


def test_the_real_client_lists_and_downloads_what_the_simulator_shows(tmp_path: Path):
    files = small_model() | {"configuration.json": b"{}\n"}
    rows = {"README.md": b"---\nlicense: mit\n---\n", "data/train.jsonl": b'{"a": 1}\n'}
    with ModelScopeSimulator() as modelscope:
        modelscope.add("Qwen/Tiny", write_folder(tmp_path / "model", files))
        modelscope.add("datasets/Qwen/Rows", write_folder(tmp_path / "rows", rows))
        environment = os.environ | {
            "MODELSCOPE_ENDPOINT": modelscope.endpoint,
            "MODELSCOPE_CACHE": str(tmp_path / "cache"),
            "HOME": str(tmp_path),
        }
        command = [sys.executable, "-W", "ignore", "-c", _SCRIPT, str(tmp_path / "local")]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        kinds = {call.kind for call in modelscope.log if call.status < 400}

    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    for place, wanted in (("cached", files), ("local", files), ("dataset", rows)):
        assert {name: (Path(said[place]) / name).read_bytes() for name in wanted} == wanted
    assert Path(said["one"]).read_bytes() == files["config.json"]
    assert said["listed"] == ["Qwen/Tiny"]
    assert set(said["files"]) >= set(files)
    assert "模型不存在" in said["absent"] or "not exist" in said["absent"]
    assert {"tree", "resolve", "cdn", "list"} <= kinds
