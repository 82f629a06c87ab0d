"""The refs of one repository in a Hugging Face cache: what they name, and whether readers can use them.

A ref is a file `refs/<name>` that holds 40 hex digits and nothing else: huggingface_hub takes the whole text, line end
included, as the name of a folder below `snapshots`. If a ref names no such folder, the model cannot be loaded by name,
and `scan_cache_dir` (`hf cache ls`, `hf cache prune`) skips the repository as corrupted.

Each commit that p2pqwen lays gets its own ref, `p2pqwen/<commit>`: `hf cache prune` deletes what no ref names.
Sources: file_download.py and utils/_cache_manager.py of huggingface_hub 2.4.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_REFS = 10_000
"""The most refs of one repository that are read."""
_MAX_TEXT = 4096
_OURS = "p2pqwen"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class CachedRef:
    """A ref and its raw text. `commit`: the commit id in it, or None; `held`: the cache has a snapshot of it."""

    name: str
    text: str
    commit: str | None
    held: bool

    @property
    def tidy(self) -> bool:
        """Tell whether the text is the commit id alone, so that readers understand it."""
        return self.text == self.commit

    @property
    def mendable(self) -> bool:
        """Tell whether it names a held snapshot with blanks around the id, which readers do not strip."""
        return self.held and not self.tidy


def own_ref(commit: str) -> str:
    """Return the name of p2pqwen's own ref for a commit that it has laid."""
    return f"{_OURS}/{commit}"


def read_ref(repo_folder: Path, name: str) -> CachedRef | None:
    """Return a ref, or None; raises `OSError`."""
    path = repo_folder / "refs" / name
    if not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(_MAX_TEXT).decode("utf-8", "replace")
    commit = text.strip()
    if not _COMMIT.fullmatch(commit):
        return CachedRef(name, text, None, held=False)
    return CachedRef(name, text, commit, held=(repo_folder / "snapshots" / commit).is_dir())


def all_refs(repo_folder: Path) -> Iterator[CachedRef]:
    """Yield every ref of a repository that can be read, sorted by name; raises `OSError`."""
    folder = repo_folder / "refs"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    for name in names[:MAX_REFS]:
        ref = None
        with suppress(PermissionError):
            ref = read_ref(repo_folder, name)
        if ref is not None:
            yield ref
