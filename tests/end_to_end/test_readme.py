"""Every example of the README and of the manual runs as printed: see tests/support/examples.py."""

from __future__ import annotations

import pytest

from p2pqwen.demo.tiny_model import write_tiny_model
from tests.simulators.hub import HubSimulator
from tests.support.examples import SECONDS, WORLDS, machines, matches, printed_steps, world_of
from tests.support.processes import ROOT

MANUAL = ROOT / "p2pqwen" / "manual"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(MANUAL.glob("*.md")))}
# Documents that are run one after another in one world. The last of a group may change what its publisher published.
GROUPS = (
    ("README", "publish"),
    ("quickstart", "fetch", "verify", "node"),
    ("web-seeds", "no-host", "archive", "hub", "keys"),
)


@pytest.mark.timeout(SECONDS * 7)
@pytest.mark.parametrize("group", GROUPS, ids="+".join)
def test_every_example_gives_what_is_printed(group, tmp_path):
    with HubSimulator() as hub, machines(tmp_path, hub.endpoint) as users:
        hub.add("Qwen/Qwen3-0.6B", write_tiny_model(tmp_path / "model"))
        for page in group:
            users.begin(page, world_of(PAGES[page]))
            for step in printed_steps(PAGES[page]):
                got, expected = users.run(step), users.expected(step)
                assert matches(expected, got), f"$ {step.command}\n{got}\n--- {page} says:\n{expected}"


def test_no_example_is_left_out():
    assert {page for page, text in PAGES.items() if "```console\n" in text} == {
        page for group in GROUPS for page in group
    }
    assert sum(len(printed_steps(text)) for text in PAGES.values()) >= 54
    assert {world_of(text) for text in PAGES.values()} <= WORLDS.keys()
