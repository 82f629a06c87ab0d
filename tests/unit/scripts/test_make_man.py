"""The man pages are made of the same sources as `--help` and `p2pqwen help`, and are roff."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from p2pqwen.cli.help import manual
from scripts.make_man import pages
from tests.support.processes import ROOT

PAGES = pages()


def test_there_is_a_page_for_the_program_and_one_for_each_topic():
    assert PAGES.keys() == {"p2pqwen.1", *(f"p2pqwen-{topic}.7" for topic in manual())}


@pytest.mark.parametrize(
    "said", ["p2pqwen trust add", "\\-\\-no\\-web\\-seeds", "p2pqwen library scrub", ".BR p2pqwen\\-config (7)"]
)
def test_the_program_s_page_names_commands_options_and_the_other_pages(said):
    assert said in PAGES["p2pqwen.1"]


def test_a_table_is_a_list_and_code_stands_as_it_is_typed():
    page = PAGES["p2pqwen-config.7"]
    assert "listen\\fR" in page
    assert 'listen = "0.0.0.0:6881"' in page
    assert "|" not in page


@pytest.mark.parametrize("name", PAGES)
def test_nothing_of_the_text_is_taken_for_a_request(name):
    requests = {line.split()[0] for line in PAGES[name].splitlines() if line.startswith((".", "'"))}
    known = {".TH", ".SH", ".SS", ".PP", ".IP", ".TP", ".B", ".BR", ".I", ".RI", ".nf", ".fi", ".in", ".ad"}
    assert requests <= known


@pytest.mark.parametrize(
    "command",
    [["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z"], ["mandoc", "-T", "lint", "-W", "error"]],
    ids=lambda command: command[0],
)
def test_programs_that_read_man_pages_have_nothing_against_them(command, tmp_path):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_man.py", tmp_path],
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    made = sorted(tmp_path.glob("man*/*"))
    assert [path.name for path in made] == sorted(PAGES, key=lambda name: (name[-1], name))
    for path in made:
        ended = subprocess.run([*command, path], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout + ended.stderr) == (0, ""), path.name
