"""torrents/example is what its script makes and its README says, and valid to p2pqwen and to the second reader."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.root import ROOT_ROLE
from p2pqwen.values.digest import Sha256
from scripts import make_example
from tests.independent import reader
from tests.support.command import CommandLine
from tests.support.examples import matches, printed_steps
from tests.support.processes import ROOT

NOW = datetime(2030, 1, 1, tzinfo=UTC)
README = (make_example.SITE / "README.md").read_text(encoding="utf-8")
INDEX = (make_example.SITE / "index.json").read_bytes()


def test_the_site_is_what_the_script_makes():
    made = make_example.site()
    found = {path for path in make_example.SITE.rglob("*") if path.is_file()}
    assert {path.relative_to(make_example.SITE).as_posix(): path.read_bytes() for path in found} == made


@pytest.mark.parametrize("step", printed_steps(README), ids=lambda step: step.command.split(" torrents")[0])
def test_its_readme_prints_what_the_commands_print(step, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    ended = CommandLine(tmp_path).run(*step.command.split()[1:])
    assert ended.code == 0, ended
    assert matches(step.expected or "", ended.stdout.strip()), ended.stdout


def test_both_readers_accept_it_and_two_sign():
    publisher = re.findall(r"--publisher ([0-9a-f]{64})", README)[0]
    ours = accept(INDEX, TrustedState(Sha256.parse(publisher)), NOW)
    theirs = reader.accept(INDEX, reader.Reader(publisher))
    assert (ours.position.epoch, ours.position.version) == theirs.reader.position == (0, 2)
    assert theirs.signers == ["ann-index", "bob-index"]
    assert ours.root.roles[ROOT_ROLE].threshold == 2
    (row,) = json.loads(INDEX)["signed"]["entries"]
    assert (make_example.SITE / row["torrent"]).is_file()
    assert row["provenance"] == "proven"
