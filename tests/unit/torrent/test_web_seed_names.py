"""Names that other people's clients do not escape in a web seed's URL."""

from __future__ import annotations

import pytest

from p2pqwen.torrent.web_seed_names import cut_by_clients
from p2pqwen.values.repo_path import RepoPath


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("config#1.json", True),
        ("100%.txt", True),
        ("a%20b.txt", True),
        ("[draft].md", True),
        ("notes]", True),
        ("runs#2/model.safetensors", True),
        ("model-00001-of-00002.safetensors", False),
        ("a b+c&d=e;f@g!h(i)'j'~k,l.txt", False),
        ("r\u00e9sum\u00e9/\u6a21\u578b.json", False),
        (".gitattributes", False),
    ],
)
def test_what_is_not_escaped_by_all(name, cut):
    assert cut_by_clients([RepoPath("README.md"), RepoPath(name)]) == ((RepoPath(name),) if cut else ())
