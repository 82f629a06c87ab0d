"""Exit codes and errors: honest cases of each code, said in words and in JSON."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.independent import reader
from tests.support.command import CommandLine
from tests.support.json_shape import TEXT, differences
from tests.support.models import small_model
from tests.support.nodes import QUIET
from tests.support.preserved import Preserver
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until
from tests.support.world import NOBODY, REPO, World

Words = tuple[str | Path, ...]
NULL = type(None)
ERROR = {
    "ok": {False},
    "error": {"what": TEXT, "expected": (str, NULL), "got": (str, NULL), "hint": (str, NULL)},
    "exit_code": int,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A command that ends with this code. `words` are made for the world and a folder of the case's own."""

    code: int
    name: str
    words: Callable[[World, Path], Words]
    environment: dict[str, str] | None = None


def says(*words: str | Path) -> Callable[[World, Path], Words]:
    return lambda world, folder: words


def edited(world: World, folder: Path) -> Path:
    """The index with another license than was signed."""
    path = folder / "edited.json"
    path.write_text(world.index.read_text().replace('"apache-2.0"', '"mit"'))
    return path


def disproved(world: World, folder: Path) -> Path:
    """The torrent with a manifest whose commit object is that of another commit."""
    meta, _ = reader.bdecode(world.torrent.read_bytes())
    manifest = json.loads(meta[b"p2pqwen"][b"manifest"])
    commit = base64.b64decode(manifest["commit_object"])
    manifest["commit_object"] = base64.b64encode(commit.replace(b"Upload", b"Forged")).decode()
    meta[b"p2pqwen"][b"manifest"] = reader.jcs(manifest)
    path = folder / "disproved.torrent"
    path.write_bytes(reader.bencode(meta))
    return path


def damaged(world: World, folder: Path) -> Path:
    """The reader's copy of the model, a byte of it flipped, below its torrent."""
    copy = folder / world.commit
    subprocess.run(["cp", "-a", world.reader.home / "library" / REPO / world.commit, copy], check=True)
    copy.with_suffix(".torrent").write_bytes(world.torrent.read_bytes())
    weights = copy / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return copy.with_suffix(".torrent")


def in_the_way(world: World, folder: Path) -> Path:
    """A file where a folder must be."""
    path = folder / "file"
    path.write_bytes(b"in the way")
    return path


FETCH_FROM_NOBODY = ("--peer", NOBODY, "--no-web-seeds", "--timeout", "1")
CASES = [
    Case(0, "list", says("list")),
    Case(0, "index update, unchanged", says("index", "update")),
    Case(1, "doctor finds no node", says("doctor")),
    Case(2, "no such command", says("nonsense")),
    Case(2, "no such option", says("list", "--bogus")),
    Case(2, "no argument", says("fetch")),
    Case(2, "no repository's name", says("preserve", "notarepo")),
    Case(2, "no address", says("seed", "--listen", "nowhere")),
    Case(2, "no number", says("fetch", REPO, "--timeout", "soon")),
    Case(2, "options that contradict", says("fetch", REPO, "--only-web-seeds", "--no-web-seeds")),
    Case(2, "an option that would go unused", says("verify", REPO, "--data", ".")),
    Case(2, "two repositories at once", says("fetch", REPO, "--repo", "Qwen/Another")),
    Case(2, "another that would", lambda world, _: ("verify", world.torrent, "--torrent", world.torrent)),
    Case(2, "no Hub", says("list"), {"HF_ENDPOINT": "ftp://hub.example"}),
    Case(3, "signature", lambda world, folder: ("index", "verify", edited(world, folder))),
    Case(3, "another publisher", lambda world, _: ("index", "verify", world.index, "--publisher", "0" * 64)),
    Case(3, "trust of another", lambda world, _: ("trust", "add", "0" * 64, "--index", world.site)),
    Case(3, "hash", lambda world, folder: ("verify", damaged(world, folder), "--data", folder / world.commit)),
    Case(3, "provenance", lambda world, folder: ("torrent", "show", disproved(world, folder))),
    Case(3, "provenance before a fetch", lambda world, folder: ("fetch", disproved(world, folder))),
    Case(4, "a name that no index lists", says("fetch", "Qwen/Unlisted")),
    Case(4, "a commit that no index lists", says("fetch", f"{REPO}@{'0' * 40}")),
    Case(4, "nothing held", says("verify", "Qwen/Unlisted")),
    Case(4, "nothing to remove", says("remove", "Qwen/Unlisted", "--yes")),
    Case(4, "no file", says("index", "verify", "/nowhere/index.json")),
    Case(4, "not on the Hub", says("preserve", "Qwen/Unlisted")),
    Case(4, "a stranger's id", says("trust", "remove", "0" * 64)),
    Case(5, "no Hub answers", says("preserve", f"{REPO}@main"), {"HF_ENDPOINT": f"http://{NOBODY}"}),
    Case(5, "no mirror answers", lambda world, _: ("trust", "add", world.identity, "--index", f"http://{NOBODY}/")),
    Case(5, "an infohash nobody has", says("fetch", "1" * 40, "--repo", REPO, *QUIET, *FETCH_FROM_NOBODY)),
    Case(6, "a file for a home", says("keys", "init", "--name", "x", "--no-passphrase"), {"P2PQWEN_HOME": "{file}"}),
    Case(6, "a home below a file", says("list"), {"P2PQWEN_HOME": "{file}/home"}),
    Case(6, "a folder for a file", lambda world, _: ("torrent", "show", world.site)),
]

PROCESSES = [next(case for case in CASES if case.code == code) for code in range(7)]  # one of each code is a real one


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.name}")
def test_exit_codes(world, tmp_path, case):
    words = case.words(world, tmp_path)
    place = in_the_way(world, tmp_path)
    extra = {name: value.replace("{file}", str(place)) for name, value in (case.environment or {}).items()}
    user = CommandLine(world.reader.home.parent, world.hub.endpoint, processes=case in PROCESSES)
    plain = user.run(*words, **extra)
    assert plain.code == case.code, plain
    assert well_said(plain.stderr) or case.code == 0 or words == ("doctor",), plain
    user.processes = False
    ended = user.run(*words, "--json", **extra)
    assert ended.code == case.code
    shown = json.loads(ended.stdout)
    if "exit_code" in shown:
        assert list(differences(shown, ERROR | {"exit_code": {case.code}})) == []


def well_said(stderr: str) -> bool:
    """One `error:` line, and after it nothing but a hint."""
    lines = stderr.splitlines()
    errors = [at for at, line in enumerate(lines) if re.match(r"error: \S", line)]
    return len(errors) == 1 and all(line.startswith("hint: ") for line in lines[errors[0] + 1 :])


def test_a_fetch_from_nobody_is_a_network_error(world, tmp_path):
    user = CommandLine(tmp_path, world.hub.endpoint, cold=True)
    user.ok("trust", "add", world.identity, "--index", world.site)
    ended = user.run("fetch", REPO, *QUIET, *FETCH_FROM_NOBODY)
    assert ended.code == 5
    assert re.search(r"^error: nothing arrived .+, expected .+, got .+\nhint: ", ended.stderr, re.MULTILINE), ended


def test_a_rollback_is_refused_and_the_trusted_index_stays(tmp_path):
    keeper = Preserver(tmp_path)
    keeper.preserve(small_model(50_000))
    first = (keeper.site / "index.json").read_bytes()
    follower = keeper.trusted_by("follower")
    keeper.user.ok("publish", "--out", keeper.site, "--mirror", "https://mirror.example/", "--no-check", "--no-dht")
    assert follower.ok("index", "update")["version"] == 2
    (keeper.site / "index.json").write_bytes(first)
    ended = follower.run("index", "update", "--json", "--no-dht")
    assert (ended.code, ended.json["ok"], ended.json["version"]) == (3, False, 2)
    assert well_said(ended.stderr.partition("error: ")[1] + ended.stderr.partition("error: ")[2])
    assert follower.ok("search", "tiny")["results"] != []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk(world, tmp_path):
    """`publish` onto a file system of 64 KiB, in a mount namespace that ends with the command."""
    small = tmp_path / "small"
    small.mkdir()
    mount = 'mount -t tmpfs -o size=64k none "$1" && head -c 60k /dev/zero > "$1/filler" && shift && exec "$@"'
    copy = world.publishers_copy(tmp_path)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", small, *p2pqwen("publish", "--out", small / "site")],
        env={**os.environ, **copy.environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    assert done.returncode == 6, done
    assert "No space left on device" in done.stderr
    assert well_said(done.stderr)


@pytest.mark.parametrize("call", ["list", "list --json", "--help", "fetch --help", "--version"])
def test_a_full_disk_behind_stdout(world, call):
    ended = in_a_shell(world, f"{call} >/dev/full")
    assert (ended.returncode, ended.stdout) == (6, "")
    assert ended.stderr.startswith("error: cannot write to stdout, got No space left on device\nhint: ")


@pytest.mark.parametrize(
    ("call", "code"), [("list >&-", 0), ("list 2>&-", 0), ("list --json 2>/dev/full", 0), ("fetch a/b 2>/dev/full", 4)]
)
def test_streams_that_take_nothing_change_no_exit_code(world, call, code):
    assert in_a_shell(world, call).returncode == code


def test_characters_that_the_terminal_lacks_are_escaped(world):
    ended = in_a_shell(world, "doctor", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "\\u2192" in ended.stdout


def in_a_shell(world, call, **extra):
    program = " ".join(map(str, p2pqwen()))
    environment = {**os.environ, **world.reader.environment, **extra}
    return subprocess.run(
        f"{program} {call}", shell=True, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_interrupting_says_so_in_one_object(world, tmp_path):
    user = CommandLine(tmp_path, world.hub.endpoint)
    user.ok("trust", "add", world.identity, "--index", world.site)
    waits = p2pqwen("fetch", REPO, "--peer", NOBODY, "--no-web-seeds", *QUIET, "--timeout", "600", "--json")
    with running(waits, user.environment) as process:
        folder = user.home / "library" / REPO
        wait_until(lambda: list(folder.glob("*")), 60, "the fetch to begin")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    shown = json.loads(process.stdout)
    assert list(differences(shown, ERROR | {"exit_code": {130}})) == []
    assert process.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in process.stderr


def test_without_arguments_there_is_help(world):
    ended = CommandLine(world.folder, cold=True).run()
    assert ended.code == 2
    assert ended.stderr.startswith("Usage: p2pqwen [OPTIONS] COMMAND")
    assert len(ended.stderr.splitlines()) > 20
    assert ended.stdout == ""


# Without a terminal nothing prompts


def encrypted(world: World, folder: Path) -> CommandLine:
    user = CommandLine(folder, world.hub.endpoint)
    user.ok("keys", "init", "--name", "Me", P2PQWEN_PASSPHRASE="secret")
    user.ok("preserve", REPO)
    return user


@pytest.mark.parametrize(
    ("prepare", "words", "flags"),
    [
        (None, says("keys", "init", "--name", "Me"), ["--no-passphrase", "P2PQWEN_PASSPHRASE"]),
        (None, says("keys", "new", "--label", "Me"), ["--no-passphrase", "P2PQWEN_PASSPHRASE"]),
        (None, lambda world, _: ("trust", "add", world.site), ["--yes"]),
        (World.publishers_copy, lambda world, _: ("remove", f"{REPO}@{world.commit}"), ["--yes"]),
        (encrypted, lambda _, folder: ("publish", "--out", folder / "site"), ["P2PQWEN_PASSPHRASE"]),
        (encrypted, says("keys", "rotate", "--name", "Other"), ["P2PQWEN_PASSPHRASE"]),
    ],
)
def test_without_a_terminal_a_missing_answer_is_an_error_that_names_the_flag(world, tmp_path, prepare, words, flags):
    user = CommandLine(tmp_path, world.hub.endpoint) if prepare is None else prepare(world, tmp_path)
    done = subprocess.run(
        p2pqwen(*words(world, tmp_path)),
        input="y\nyes\nsecret\nsecret\n",  # which nobody may read: it is no answer of a person's
        env={**os.environ, **user.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done
    assert well_said(done.stderr), done
    assert [flag for flag in flags if flag not in done.stderr] == []
