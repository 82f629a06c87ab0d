"""All that a home is for, in processes for which nothing exists that only some systems have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.elsewhere import ElsewhereCommandLine, elsewhere
from tests.support.models import small_model, write_folder
from tests.support.nodes import quiet_config
from tests.support.processes import running
from tests.support.swarm import QUIET

REPO = "Qwen/Tiny"


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as simulator:
        simulator.add(REPO, write_folder(tmp_path / "model", small_model(600_000)))
        yield simulator


@pytest.fixture
def someone(tmp_path, hub) -> Iterator[Callable[[str], ElsewhereCommandLine]]:
    with ExitStack() as stack:

        def made(name: str) -> ElsewhereCommandLine:
            user = stack.enter_context(ElsewhereCommandLine(tmp_path / name, hub.endpoint))
            quiet_config(user)
            return user

        yield made


def test_a_model_is_preserved_published_seeded_fetched_verified_and_removed(tmp_path, someone):
    publisher, reader = someone("publisher"), someone("reader")
    assert "preserve" in publisher.run("--help").stdout
    assert publisher.ok("preserve", REPO)["provenance"] == "proven"
    assert publisher.ok("verify", REPO)["ok"] is True
    identity = publisher.ok("keys", "init", "--name", "Keepers", "--no-passphrase")["publisher"]
    site = tmp_path / "site"
    publisher.ok("publish", "--out", site, "--yes")
    reader.ok("trust", "add", identity, "--index", site)

    node = elsewhere("seed", "--listen", "127.0.0.1:0", "--json", *QUIET)
    with running(node, publisher.environment) as process:
        port = process.json_line(60, containing='"listening"')["port"]
        process.line(60, containing='"seeding"')
        assert publisher.ok("status")["node"]["pid"] == process.pid  # by the control API on loopback
        assert not (publisher.home / "control.sock").exists()
        findings = {row["check"]: row for row in publisher.run("doctor", "--json").json["findings"]}
        assert findings["permissions"]["ok"]
        assert findings["open files"] == {
            "check": "open files",
            "ok": True,
            "detail": "no limit is set",
            "advice": None,
        }
        second = publisher.run("seed", "--listen", "127.0.0.1:0", *QUIET)
        assert (second.code, str(process.pid) in second.stderr) == (1, True)  # one node for each home
        fetched = reader.ok("fetch", REPO, "--peer", f"127.0.0.1:{port}", "--no-web-seeds", *QUIET)
        assert fetched["bytes_from_peers"] > 600_000

    assert reader.ok("verify", REPO)["ok"] is True
    spoiled = next((reader.home / "library").glob("*/*/*/model.safetensors"))
    spoiled.chmod(0o644)
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"?")
    assert reader.run("verify", REPO).code == 3
    reader.ok("remove", REPO, "--yes")
    assert json.loads(reader.run("list", "--json").stdout)["snapshots"] == []
