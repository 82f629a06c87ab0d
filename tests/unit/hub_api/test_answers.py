"""The Hub's answers: errors whose headers are harmless, and bodies that name paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.hub_api.listing import ManifestFile, folders_of
from p2pqwen.hub_api.paths_body import MAX_BODY, asked_paths
from p2pqwen.hub_api.problem import entry_not_found, repo_not_found, revision_not_found
from p2pqwen.hub_api.registry import model_of

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@given(st.text())
def test_what_somebody_wrote_makes_no_other_header(text):
    for problem in (repo_not_found(text), revision_not_found(text), entry_not_found(text)):
        for value in problem.headers.values():
            assert value.isascii()
            assert value.isprintable()
            assert len(value) < 5000


@pytest.mark.parametrize(
    ("body", "kind", "paths"),
    [
        (b'{"paths": ["a", "b/c"]}', JSON, ["a", "b/c"]),
        (b'{"paths": "a"}', JSON, ["a"]),
        (b'{"paths": []}', JSON, []),
        (b'{"paths": [1]}', JSON, None),
        (b'{"expand": true}', JSON, None),
        (b"[]", JSON, None),
        (b"", JSON, None),
        (b"[" * 10_000, JSON, None),
        (b" " * (MAX_BODY + 1), JSON, None),
        (b"paths=a&paths=b%2Fc&expand=False", FORM, ["a", "b/c"]),
        (b"\xff=\xff", FORM, []),
    ],
)
def test_bodies_of_paths_info(body, kind, paths):
    assert asked_paths(body, kind) == paths


def test_folders():
    assert folders_of(["a", "b/c", "b/d/e"]) == {"b", "b/d"}


def gguf(name: str, size: int) -> ManifestFile:
    return ManifestFile(name, size, "0" * 40, f"{size:064x}", 130)


@pytest.mark.parametrize(
    ("names", "tag", "found"),
    [
        (["a-Q4_K_M.gguf", "a-Q8_0.gguf"], "latest", "a-Q4_K_M.gguf"),
        (["a-Q8_0.gguf", "a-Q2_K.gguf"], "latest", "a-Q8_0.gguf"),
        (["a-Q2_K.gguf", "a-Q3_K_S.gguf"], "latest", "a-Q2_K.gguf"),  # the smallest
        (["a-Q4_K_M.gguf", "a-Q8_0.gguf"], "q8_0", "a-Q8_0.gguf"),
        (["a-Q4_K_M.gguf"], "a-Q4_K_M.gguf", "a-Q4_K_M.gguf"),
        (["q/a-Q8_0-00002-of-00002.gguf", "q/a-Q8_0-00001-of-00002.gguf"], "Q8_0", "q/a-Q8_0-00001-of-00002.gguf"),
        (["a-Q4_K_M.gguf"], "Q5_0", None),
        (["a-Q4_K_M.gguf"], "main", None),
        (["mmproj-F16.gguf"], "latest", None),
        (["model.safetensors"], "latest", None),
        ([], "latest", None),
    ],
)
def test_tags_of_the_registry(names, tag, found):
    model = model_of([gguf(name, 100 + number) for number, name in enumerate(names)], tag)
    assert (None if model is None else model.file.path) == found
