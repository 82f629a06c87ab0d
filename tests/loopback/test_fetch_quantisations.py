"""One file of many: a quantisation or a path beside the name, and a question before all of them are fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import CommandLine
from tests.support.models import noise, write_folder
from tests.support.processes import p2pqwen
from tests.support.swarm import COMMIT, QUIET, seeding
from tests.support.terminal import on_a_terminal

REPO = "Qwen/Tiny-GGUF"
FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    "tiny-q4_k_m.gguf": noise(40_000, "m"),
    "tiny-q8_0-00001-of-00002.gguf": noise(50_000, "8"),
    "tiny-q8_0-00002-of-00002.gguf": noise(30_000, "9"),
    "config.json": b"{}\n",
    "sub/tokenizer_config.json": b"{} \n",
}


LISTED = [
    {"path": "README.md", "size": 28, "format": None, "quantisation": None},
    {"path": "config.json", "size": 3, "format": None, "quantisation": None},
    {"path": "sub/tokenizer_config.json", "size": 4, "format": None, "quantisation": None},
    {"path": "tiny-q4_k_m.gguf", "size": 40_000, "format": "gguf", "quantisation": "Q4_K_M"},
    {"path": "tiny-q8_0-00001-of-00002.gguf", "size": 50_000, "format": "gguf", "quantisation": "Q8_0"},
    {"path": "tiny-q8_0-00002-of-00002.gguf", "size": 30_000, "format": "gguf", "quantisation": "Q8_0"},
]
LINE = "40.0 kB  tiny-q4_k_m.gguf  (gguf, Q4_K_M"


@dataclass
class Publisher:
    """Somebody who seeds a repository of two quantisations."""

    id: str
    site: Path
    peer: str


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publisher")
    user = CommandLine(folder / "home")
    write_folder(folder / "model", FILES)
    user.ok("preserve", "--from", folder / "model", "--repo", REPO, "--commit", COMMIT)
    named = user.ok("keys", "init", "--name", "Preservers", "--no-passphrase")["publisher"]
    user.ok("publish", "--out", folder / "site", "--yes")
    with seeding(user) as (_, peer):
        yield Publisher(named, folder / "site", peer)


@pytest.fixture
def follower(tmp_path, publisher):
    user = CommandLine(tmp_path / "user")
    user.ok("trust", "add", publisher.id, "--index", publisher.site)
    return user


def fetched(publisher, *arguments):
    return ("fetch", *arguments, "--peer", publisher.peer, *QUIET, "--no-web-seeds", "--timeout", "30")


def cached(done):
    folder = Path(done["hf_cache"])
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        pytest.param([f"{REPO}:q4_K_m"], {"tiny-q4_k_m.gguf"}, id="a quantisation"),
        pytest.param([f"{REPO}@{COMMIT}:Q8_0"], {one for one in FILES if "q8_0" in one}, id="with the commit"),
        pytest.param([f"{REPO}@{COMMIT[:8]}:Q4_K_M"], {"tiny-q4_k_m.gguf"}, id="with a short commit"),
        pytest.param([REPO, "config.json", "README.md"], {"config.json", "README.md"}, id="paths"),
    ],
)
def test_a_part_is_named_beside_the_repository(follower, publisher, arguments, names):
    done = follower.ok(*fetched(publisher, *arguments))
    assert cached(done) == names
    assert done["state"] == "partial"


def test_a_path_that_is_not_there_lists_what_is(follower, publisher):
    ended = follower.run(*fetched(publisher, REPO, "tokenizer_config.json"))
    assert ended.code == 4
    assert "sub/tokenizer_config.json (4 B)" in ended.stderr


@pytest.mark.parametrize(("answer", "names"), [("Q4_K_M", {"tiny-q4_k_m.gguf"}), ("all", FILES.keys())])
def test_a_terminal_is_asked_before_everything_comes(follower, publisher, answer, names):
    with on_a_terminal(p2pqwen(*fetched(publisher, REPO)), follower.environment) as terminal:
        asked = terminal.wait_for("Which one, or all?")
        assert "holds 2 quantisations: Q4_K_M (40.0 kB), Q8_0 (80.0 kB)" in asked
        assert not list((follower.home / "library").rglob("*.gguf"))
        terminal.type("Q3_K_S")
        terminal.wait_for("Q3_K_S is none of them")
        terminal.wait_for("Which one, or all?")
        terminal.type(answer)
        assert terminal.wait() == 0, terminal.shown
    done = follower.ok("fetch", REPO, *(("--include", "q4_k_m") if answer != "all" else ()))
    assert (cached(done), done["unchanged"]) == (set(names), True)


def test_nobody_is_asked_without_a_terminal_and_the_choice_is_named(follower, publisher):
    ended = follower.run(*fetched(publisher, REPO))
    assert ended.code == 0, ended.stderr
    assert "2 quantisations: Q4_K_M (40.0 kB), Q8_0 (80.0 kB)" in ended.stderr
    assert "--include" in ended.stderr
    assert follower.ok("list")["snapshots"][0]["state"] == "complete"


def test_yes_asks_nobody(follower, publisher):
    with on_a_terminal(p2pqwen(*fetched(publisher, REPO, "--yes")), follower.environment) as terminal:
        assert terminal.wait() == 0, terminal.shown
        assert "Which one" not in terminal.shown


def test_files_are_shown_by_what_a_mirror_has(follower, publisher):
    """The library is empty: the torrents of the publisher's site say which files there are."""
    (found,) = follower.ok("search", "--files")["results"]
    assert found["file_list"] == LISTED
    assert LINE in follower.run("search", "--files").stdout
    (listed,) = follower.ok("index", "show", publisher.site, "--files")["snapshots"]
    assert listed["file_list"] == LISTED
    assert LINE in follower.run("index", "show", publisher.site, "--files").stdout
    torrent = next(publisher.site.rglob("*.torrent"))
    assert follower.ok("torrent", "show", torrent, "--files")["file_list"] == LISTED
    assert LINE in follower.run("torrent", "show", torrent, "--files").stdout
    for arguments in (("search",), ("index", "show", publisher.site), ("torrent", "show", torrent)):
        assert "file_list" not in str(follower.ok(*arguments))


def test_files_nobody_has_a_torrent_of_are_said_to_be_unknown(follower, publisher, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.json").write_bytes((publisher.site / "index.json").read_bytes())
    other = CommandLine(tmp_path / "other")
    other.ok("trust", "add", publisher.id, "--index", site)
    assert other.ok("search", "--files")["results"][0]["file_list"] is None
    assert "files are not known" in other.run("search", "--files").stdout
    assert other.ok("index", "show", site, "--files")["snapshots"][0]["file_list"] is None


def test_a_list_shows_what_of_a_part_is_held(follower, publisher):
    follower.ok(*fetched(publisher, f"{REPO}:Q8_0"))
    (row,) = follower.ok("list", "--files")["snapshots"]
    assert [{**one, "held": None} for one in row["file_list"]] == [{**one, "held": None} for one in LISTED]
    assert {one["path"] for one in row["file_list"] if one["held"]} == {one for one in FILES if "q8_0" in one}
    assert f"{LINE}, not held)" in follower.run("list", "--files").stdout
    assert "file_list" not in str(follower.ok("list"))


def test_search_takes_a_line_for_a_result(follower):
    (line,) = follower.run("search").stdout.splitlines()
    assert line.startswith(f"{REPO}@{COMMIT[:7]}")
    assert "listed as UNPROVEN by Preservers" in line
    assert "magnet:?" in follower.run("search", "--magnet").stdout
