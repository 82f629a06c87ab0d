"""The alert rules and the Grafana dashboard in the repository, with a real Prometheus that scrapes a real node."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.operations.control.metrics import families
from p2pqwen.operations.node.state import SnapshotState
from p2pqwen.operations.node.supervisor import NodeFigures
from p2pqwen.server.metrics import exposition
from p2pqwen.stewardship.alerts import Alert, AlertKind
from tests.simulators.hub import HubSimulator
from tests.support.node_status import ONE
from tests.support.nodes import seeding
from tests.support.other_clients import free_port
from tests.support.processes import running
from tests.support.waiting import wait_until
from tests.support.world import World

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
FOLDER = Path(p2pqwen.__file__).parent / "monitoring"
PANELS = json.loads((FOLDER / "grafana.json").read_text())["panels"]
EXPRESSIONS = [one["expr"] for panel in PANELS for one in panel["targets"]]


def test_promtool_finds_nothing_wrong_with_the_rules():
    done = subprocess.run(
        ["promtool", "check", "rules", FOLDER / "alerts.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "8 rules found" in done.stdout


def complaints(metrics: bytes) -> str:
    """What promtool says of metrics that break the conventions of names, types and units."""
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode() or str(done.returncode or "")


def test_promtool_finds_nothing_wrong_with_the_metrics():
    row = SnapshotState(ONE, "seeding", last_scrub="2026-11-23T21:00:00Z", uploaded_ever=5)
    lost = Alert("danger", str(ONE), "this may be the last copy", AlertKind.LAST_COPY)
    figures = NodeFigures(rows=(row,), rooms={"/disk": 5, "/away": None})
    found = exposition(families(figures, [lost, lost]))
    assert complaints(found.body) == ""
    assert b'p2pqwen_alerts{kind="last-copy",level="danger"} 2.0' in found.body
    assert "counter" in complaints(b"# HELP a_total x\n# TYPE a_total gauge\na_total 1\n"), "it looks at names"


@pytest.mark.slow
def test_a_real_prometheus_loads_the_rules_and_finds_every_metric_they_name(tmp_path):
    with HubSimulator() as hub:
        world = World(tmp_path / "world", hub)
        with seeding(world.publisher, "--metrics", "127.0.0.1:0") as (node, _):
            port = node.json_line(30, containing='"metrics"')["port"]
            node.json_line(30, containing='"seeding"')
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                assert complaints(answer.read()) == ""
            config = tmp_path / "prometheus.json"  # JSON is YAML
            config.write_text(
                json.dumps(
                    {
                        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                        "rule_files": [str(FOLDER / "alerts.yml")],
                        "scrape_configs": [
                            {"job_name": "p2pqwen", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                        ],
                    }
                )
            )
            listen = free_port()
            command = [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{listen}",
            ]
            with running(command, {}) as _:
                check(f"http://127.0.0.1:{listen}/api/v1", f"127.0.0.1:{port}")


def ask(base: str, path: str, **values: str) -> dict:
    try:
        with urllib.request.urlopen(f"{base}/{path}?{urllib.parse.urlencode(values)}", timeout=10) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {}


def check(base: str, instance: str) -> None:
    wait_until(lambda: ask(base, "query", query="p2pqwen_info").get("result"), 30, "the first scrape")
    groups = wait_until(
        lambda: (
            (found := ask(base, "rules").get("groups"))
            and all(rule["health"] == "ok" for rule in found[0]["rules"])
            and found
        ),
        30,
        "the evaluation of every rule",
    )
    assert len(groups[0]["rules"]) == 8
    known = set(ask(base, "label/__name__/values"))
    named = set(re.findall(r"p2pqwen_\w+", (FOLDER / "alerts.yml").read_text() + " ".join(EXPRESSIONS)))
    never_scrubbed = {"p2pqwen_snapshot_last_scrub_time_seconds"}
    assert named - known <= never_scrubbed
    for expression in EXPRESSIONS:
        assert ask(base, "query", query=expression.replace("$instance", instance)).get("result"), expression
