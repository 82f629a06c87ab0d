"""The Python API: huggingface_hub's call, its folder, and typed answers; every argument is honoured or refused."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from unittest import mock

import huggingface_hub
import pytest

import p2pqwen
from p2pqwen import open_index, snapshot_download, verify
from tests.support.models import small_model
from tests.support.nodes import row
from tests.support.nodes import seeding as node_of
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
        with pytest.raises(p2pqwen.NotFoundError, match="left by the patterns"):
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
        ("repo_type", "dataset"),
        ("force_download", True),
        ("tqdm_class", object),
        ("headers", {"X": "y"}),
        ("endpoint", "http://127.0.0.1:9"),
        ("dry_run", True),
        ("revision", "a-branch"),
        ("revision", "refs/pr/1"),
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
    with pytest.raises(p2pqwen.UsageError):
        snapshot_download("no name")
    with pytest.raises(p2pqwen.NotFoundError):
        snapshot_download(REPO, local_files_only=True)
    assert not reader.cache.exists()


def test_a_running_node_fetches_it(world, reader):
    with node_of(reader):
        with pytest.raises(p2pqwen.UnsupportedArgumentError, match="cannot honour token"):
            snapshot_download(REPO, token="hf_other", peers=(world.peer,))
        assert snapshot_download(REPO, peers=(world.peer,)).endswith(world.commit)
        wait_until(lambda: row(reader, world.commit)["state"] == "seeding", 60, "the node seeds it")


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
