"""The names that loaders look for: the table makes sense, and says what the installed transformers says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from p2pqwen.hub.looked_for import LOADERS, MAX_FOLDERS, TRANSFORMERS, absent_names
from p2pqwen.values.repo_path import MAX_PATH_BYTES, RepoPath

EVERY = {name for loader in LOADERS for names in loader.names.values() for name in names}
NAMES_OF_VOCABULARIES = re.compile(r"(?:VOCAB_FILES_NAMES|vocab_files_names)\s*=\s*\{([^}]*)\}")


def paths(*names):
    return [RepoPath(name) for name in names]


def texts(found):
    return [one.text for one in found]


def test_every_name_is_a_path_and_none_is_a_folder_of_another():
    for name in EVERY:
        RepoPath(name)
        assert not any(other.startswith(f"{name}/") for other in EVERY)
    assert all(loader.version and place and names for loader in LOADERS for place, names in loader.names.items())


def test_an_empty_commit_lacks_every_name():
    assert texts(absent_names([])) == sorted(EVERY, key=lambda name: name.split("/"))


@pytest.mark.parametrize("name", sorted(EVERY))
def test_what_the_commit_has_is_not_absent(name):
    assert name not in texts(absent_names(paths(name)))


@pytest.mark.parametrize(
    ("files", "absent", "there"),
    [
        (["text_encoder/config.json"], ["text_encoder/adapter_config.json"], ["text_encoder/params.json"]),
        (["a/b/tokenizer_config.json"], ["a/b/added_tokens.json"], ["a/added_tokens.json"]),
        (["onnx/model.onnx"], [], ["onnx/added_tokens.json"]),
        (["custom_generate"], ["added_tokens.json"], ["custom_generate/requirements.txt"]),
    ],
    ids=[
        "a subfolder of transformers",
        "a deeper one",
        "a folder that no loader opens",
        "a file where a folder would be",
    ],
)
def test_folders(files, absent, there):
    found = texts(absent_names(paths(*files)))
    assert set(absent) <= set(found)
    assert not set(there) & set(found)


def test_a_commit_of_many_folders_gets_no_flood():
    many = [RepoPath(f"{number}/config.json") for number in range(10_000)]
    assert len(absent_names(many)) < (MAX_FOLDERS + 1) * len(EVERY)


def test_a_folder_whose_path_is_as_long_as_paths_may_be():
    folder = "/".join(["x" * 199] * 5)
    held = [RepoPath(f"{folder[: MAX_PATH_BYTES - len('/config.json')]}/config.json")]
    assert texts(absent_names(held)) == texts(absent_names([]))


def test_the_table_has_every_name_of_the_installed_transformers():
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("transformers is not installed")
    known = {name for names in TRANSFORMERS.names.values() for name in names}
    found = set()
    for source in Path(next(iter(spec.submodule_search_locations))).rglob("tokenization_*.py"):
        for names in NAMES_OF_VOCABULARIES.findall(source.read_text(encoding="utf-8")):
            found |= set(re.findall(r':\s*"([^"]+)"', names))
    assert len(found) > 10
    assert found <= known
