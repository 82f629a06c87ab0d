"""The Python API: huggingface_hub's call, its folder, and typed answers; every argument is honoured or refused."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from unittest import mock

import huggingface_hub
import pytest

import p2pqwen
from p2pqwen import open_index, snapshot_download, verify
from p2pqwen.app import open_app
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.job_answer import JobAnswer
from tests.support.models import small_model, write_folder
from tests.support.nodes import row
from tests.support.nodes import seeding as node_of
from tests.support.swarm import COMMIT, SWITCHED_OFF
from tests.support.waiting import wait_until
from tests.support.world import REPO, seeded_world

FILES = small_model(600_000)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with seeded_world(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture
def reader(world, tmp_path):
    """A reader of an own home, whose environment is that of this process."""
    someone = world.user(f"reader-{tmp_path.name}")
    someone.ok("trust", "add", world.identity, "--index", world.site)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "P2PQWEN_"))}
    with mock.patch.dict(os.environ, {**inherited, **someone.environment}, clear=True):
        yield someone


def files_in(folder: str | Path) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_arguments_are_those_of_huggingface_hub():
    ours = inspect.signature(snapshot_download).parameters
    theirs = inspect.signature(huggingface_hub.snapshot_download).parameters
    assert list(theirs) == [name for name in ours if name in theirs]
    assert [one.kind for one in theirs.values()] == [ours[name].kind for name in theirs]
    assert set(ours) - set(theirs) == {"peers", "web_seeds", "timeout", "report"}


def test_the_folder_is_the_one_that_huggingface_hub_returns(world, reader):
    events = []
    folder = snapshot_download(REPO, peers=(world.peer,), report=events.append)
    assert folder == str(reader.cache / "models--Qwen--Tiny" / "snapshots" / world.commit)
    assert huggingface_hub.snapshot_download(REPO, revision=world.commit, cache_dir=reader.cache) == folder
    assert files_in(folder)[WEIGHTS] == FILES[WEIGHTS]
    assert events
    for revision in (None, "main", world.commit):
        assert snapshot_download(REPO, revision=revision) == folder
        assert snapshot_download(REPO, revision=revision, local_files_only=True) == folder


def test_another_cache_and_a_folder_of_ones_own(world, reader, tmp_path):
    other = snapshot_download(REPO, cache_dir=tmp_path / "cache", peers=(world.peer,))
    assert other.startswith(str(tmp_path / "cache" / "models--Qwen--Tiny"))
    (tmp_path / "own" / "config.json").parent.mkdir()
    (tmp_path / "own" / "config.json").write_text("older")
    own = snapshot_download(REPO, local_dir=tmp_path / "own")
    assert own == str(tmp_path / "own")
    assert files_in(own) == files_in(other)
    (Path(own) / "config.json").write_text("the user's to change")
    assert verify(REPO).ok
    assert not (reader.cache / "models--Qwen--Tiny").exists()


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ({"allow_patterns": "*.json"}, lambda name: name.endswith(".json")),
        ({"allow_patterns": ["model/"]}, lambda name: name.startswith("model/")),
        ({"ignore_patterns": ["*.safetensors", "*.txt"]}, lambda name: not name.endswith((".safetensors", ".txt"))),
        (
            {"allow_patterns": ["*.json"], "ignore_patterns": "config*"},
            lambda name: name.endswith(".json") and not name.startswith("config"),
        ),
        ({"allow_patterns": "*.nothing"}, lambda _: False),
    ],
)
def test_patterns_leave_what_they_leave_there(world, reader, patterns, left):
    every = {*FILES, *_more(world)}
    wanted = {name for name in every if left(name)}
    if not wanted:
        with pytest.raises(p2pqwen.NotFoundError, match="select no file"):
            snapshot_download(REPO, peers=(world.peer,), **patterns)
        return
    folder = snapshot_download(REPO, peers=(world.peer,), **patterns)
    assert set(files_in(folder)) == wanted
    filtered = huggingface_hub.utils.filter_repo_objects(every, **patterns)
    assert set(filtered) == wanted


def _more(world) -> set[str]:
    """The files that the Hub adds to a commit."""
    return set(files_in(world.publisher.ok("list")["snapshots"][0]["path"]))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("repo_type", "space"),
        ("force_download", True),
        ("tqdm_class", object),
        ("headers", {"X": "y"}),
        ("endpoint", "http://127.0.0.1:9"),
        ("dry_run", True),
        ("revision", "a-branch"),
        ("revision", "refs/pr/1"),
        ("local_dir", ""),
        ("cache_dir", ""),
        ("local_dir", 5),
        ("allow_patterns", [None]),
        ("ignore_patterns", ["*.json", 5]),
        ("allow_patterns", 5),
    ],
)
def test_what_cannot_be_honoured_is_refused(reader, argument, value):
    with pytest.raises(p2pqwen.UnsupportedArgumentError, match=f"cannot honour {argument}") as raised:
        snapshot_download(REPO, **{argument: value})
    assert isinstance(raised.value, p2pqwen.UsageError)


@pytest.mark.parametrize("idle", [{"max_workers": 1}, {"etag_timeout": 1.0}, {"user_agent": "x"}, {"token": False}])
def test_what_describes_requests_that_are_not_made_is_accepted(world, reader, idle):
    assert snapshot_download(REPO, peers=(world.peer,), **idle).endswith(world.commit)


def test_errors_say_what_a_command_would(reader):
    with pytest.raises(p2pqwen.NotFoundError, match="no trusted index lists Qwen/Unknown"):
        snapshot_download("Qwen/Unknown")
    for name in ("no name", None, 5):
        with pytest.raises(p2pqwen.UsageError, match="not a repository name"):
            snapshot_download(name)
    with pytest.raises(p2pqwen.UsageError, match="local_dir"):
        snapshot_download(REPO, local_dir=reader.home / "library" / REPO)
    with pytest.raises(p2pqwen.NotFoundError):
        snapshot_download(REPO, local_files_only=True)
    assert not reader.cache.exists()


def test_a_running_node_fetches_it(world, reader):
    with node_of(reader):
        with pytest.raises(p2pqwen.UnsupportedArgumentError, match="cannot honour token"):
            snapshot_download(REPO, token="hf_other", peers=(world.peer,))
        assert snapshot_download(REPO, peers=(world.peer,)).endswith(world.commit)
        wait_until(lambda: row(reader, world.commit)["state"] == "seeding", 60, "the node seeds it")


def test_a_fetch_of_another_that_lays_nothing_into_the_cache_is_not_the_answer(world, reader, tmp_path):
    slow = replace(SWITCHED_OFF, download_limit=150_000)  # so that it is under way when the next one comes
    with node_of(reader):
        request = FetchRequest(REPO, peers=(world.peer,), use_web_seeds="never", choices=slow)
        open_app().running().call(JobAnswer, "POST", "/v1/fetches", request.to_json())
        folder = snapshot_download(REPO, peers=(world.peer,), cache_dir=tmp_path / "cache")
    assert folder == str(tmp_path / "cache" / "models--Qwen--Tiny" / "snapshots" / world.commit)
    assert files_in(folder)[WEIGHTS] == FILES[WEIGHTS]


def library_folder(world, reader) -> Path:
    return reader.home / "library" / REPO / world.commit


def test_a_folder_of_ones_own_gets_what_was_asked_for_and_nothing_else(world, reader, tmp_path):
    half = library_folder(world, reader) / WEIGHTS
    half.parent.mkdir(parents=True)
    half.write_bytes(FILES[WEIGHTS][:1000])  # of a fetch that was interrupted
    asked = {"allow_patterns": "config.json", "local_dir": tmp_path / "one"}
    assert snapshot_download(REPO, peers=(world.peer,), **asked) == str(tmp_path / "one")
    assert files_in(tmp_path / "one") == {"config.json": FILES["config.json"]}
    snapshot_download(REPO, peers=(world.peer,))
    (half.parent / "modeling.py").write_text("nobody's")
    (half.parent / "link").symlink_to(__file__)
    for name, patterns in {"all": {}, "some": {"ignore_patterns": "*.safetensors"}}.items():
        for offline in (False, True):
            own = snapshot_download(
                REPO, local_dir=tmp_path / f"{name}-{offline}", local_files_only=offline, **patterns
            )
            wanted = set(huggingface_hub.utils.filter_repo_objects({*FILES, *_more(world)}, **patterns))
            assert set(files_in(own)) == wanted


def test_without_traffic_nothing_is_believed_that_is_not_right(world, reader, tmp_path):
    folder = Path(snapshot_download(REPO, peers=(world.peer,), allow_patterns="*.json"))
    with pytest.raises(p2pqwen.NotFoundError, match="not complete"):
        snapshot_download(REPO, local_files_only=True)
    assert snapshot_download(REPO, local_files_only=True, allow_patterns="config.json") == str(folder)
    snapshot_download(REPO, peers=(world.peer,))
    foreign = tmp_path / "cache" / "models--Qwen--Tiny" / "snapshots" / world.commit
    write_folder(foreign, {"config.json": b"{}"})
    with pytest.raises(p2pqwen.NotFoundError, match="not in the Hugging Face cache"):
        snapshot_download(REPO, local_files_only=True, cache_dir=tmp_path / "cache")
    damaged = library_folder(world, reader) / WEIGHTS
    damaged.write_bytes(b"x" + FILES[WEIGHTS][1:])
    for place in ({}, {"local_dir": tmp_path / "own"}):
        with pytest.raises(p2pqwen.VerificationError, match=f"{WEIGHTS} of .* is damaged"):
            snapshot_download(REPO, local_files_only=True, **place)
    assert not (tmp_path / "own").exists()
    own = snapshot_download(REPO, local_files_only=True, allow_patterns="config.json", local_dir=tmp_path / "own")
    assert files_in(own) == {"config.json": FILES["config.json"]}


def test_the_longest_name_of_a_file_system_is_laid_too(reader, tmp_path):
    name = "n" * 250
    write_folder(tmp_path / "model", {name: b"x"})
    reader.ok("preserve", "--from", tmp_path / "model", "--repo", "Qwen/Long", "--commit", COMMIT)
    own = snapshot_download("Qwen/Long", local_files_only=True, local_dir=tmp_path / "own")
    assert files_in(own) == {name: b"x"}


def test_all_of_it_works_where_an_event_loop_runs(world, reader, tmp_path):
    async def cell():
        folder = snapshot_download(REPO, peers=(world.peer,))
        return folder, verify(REPO).ok, open_index(world.site).name

    folder, right, name = asyncio.run(cell())
    assert (Path(folder).name, right, name) == (world.commit, True, "Keepers")


def test_verify_tells_every_bad_file(world, reader):
    snapshot_download(REPO, peers=(world.peer,))
    found = verify(REPO)
    assert (found.ok, found.bad, found.provenance, found.standing) == (True, (), "proven", "proven")
    assert [one.state for one in found.signers] == ["valid"]
    with pytest.raises(FrozenInstanceError):
        found.ok = False
    spoilt = Path(reader.ok("list")["snapshots"][0]["path"]) / WEIGHTS
    spoilt.write_bytes(b"x" + spoilt.read_bytes()[1:])
    found = verify(f"{REPO}@{world.commit}")
    assert (found.ok, [one.path for one in found.bad]) == (False, [WEIGHTS])
    assert verify(world.torrent, data=spoilt.parent).bad == found.bad
    with pytest.raises(p2pqwen.NotFoundError):
        verify("Qwen/Unknown")


def test_an_index_is_verified_before_it_is_shown(world, reader, tmp_path):
    for source in (world.index, world.site, str(world.site)):
        index = open_index(source, publisher=world.identity)
        assert (index.publisher, index.name, index.pinned) == (world.identity, "Keepers", True)
    (entry,) = index.find(REPO)
    assert index.find(REPO, "0" * 40) == index.find("Qwen/Unknown") == ()
    assert {name: getattr(entry, name) for name in ("repo", "commit", "size", "magnet", "infohash_v2")} == {
        name: world.entry[name] for name in ("repo", "commit", "size", "magnet", "infohash_v2")
    }
    assert not open_index(world.index).pinned
    with pytest.raises(p2pqwen.VerificationError):
        open_index(world.index, publisher="0" * 64)
    with pytest.raises(p2pqwen.UsageError):
        open_index(world.index, publisher="nonsense")
    forged = tmp_path / "index.json"
    forged.write_bytes(world.index.read_bytes().replace(b"Qwen/Tiny", b"Qwen/Evil"))
    with pytest.raises(p2pqwen.VerificationError):
        open_index(forged)
    with pytest.raises(p2pqwen.NotFoundError):
        open_index(tmp_path / "nothing.json")


def test_the_package_loads_nothing_before_it_is_used():
    code = (
        "import sys, p2pqwen; loaded = {name.partition('.')[0] for name in sys.modules};"
        "assert not loaded & {'libtorrent', 'huggingface_hub', 'typer', 'aiohttp', 'cryptography'}, loaded;"
        "from p2pqwen import *; assert snapshot_download and verify and open_index;"
        "assert not {'libtorrent', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    assert all(getattr(p2pqwen, name) is not None for name in p2pqwen.__all__)
    assert set(p2pqwen.__all__) <= set(dir(p2pqwen))
    with pytest.raises(AttributeError, match="nothing"):
        p2pqwen.nothing  # noqa: B018
