"""A publisher with a preserved and published model, and users who trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder

REPO = "Qwen/Tiny"
COMMITS = ("a" * 40, "b" * 40, "c" * 40)


@dataclass(slots=True)
class Preserver:
    """A user who preserves folders and publishes an index as a folder of files."""

    folder: Path
    user: CommandLine = field(init=False)
    publisher: str = field(init=False)

    def __post_init__(self) -> None:
        self.user = CommandLine(self.folder / "preserver")
        self.publisher = self.user.ok("keys", "init", "--name", "Keepers", "--no-passphrase")["publisher"]

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def preserve(self, files: Mapping[str, bytes], commit: str = COMMITS[0], repo: str = REPO) -> Path:
        """Preserve these files and publish; return the signed torrent."""
        source = write_folder(self.folder / "sources" / commit, files)
        self.user.ok("preserve", "--from", source, "--repo", repo, "--commit", commit)
        self.user.ok("publish", "--out", self.site, "--yes")  # these commits are not in any git repository
        return self.site / repo / f"{commit}.torrent"

    def trusted_by(self, name: str, **options: object) -> CommandLine:
        """Return a user with a new home and Hugging Face cache who trusts this publisher."""
        someone = CommandLine(self.folder / name, **options)
        someone.ok("trust", "add", self.publisher, "--index", self.site)
        return someone


def in_cache(user: CommandLine, files: Mapping[str, bytes], commit: str = COMMITS[0], repo: str = REPO) -> Path:
    """Lay files into the user's Hugging Face cache as huggingface_hub does, and return the blobs' folder."""
    import hashlib

    from p2pqwen.manifest.git_object import blob_oid

    top = user.cache / f"models--{repo.replace('/', '--')}"
    for name, content in files.items():
        lfs = name.endswith((".safetensors", ".bin"))
        etag = hashlib.sha256(content).hexdigest() if lfs else str(blob_oid(content))
        blob, pointer = top / "blobs" / etag, top / "snapshots" / commit / name
        for path in (blob, pointer):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        up = "../" * (len(Path(name).parts) + 1)
        pointer.symlink_to(f"{up}blobs/{etag}")
    return top / "blobs"


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return every file below a folder: its content, or a link's target."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


__all__ = ["COMMITS", "REPO", "Preserver", "in_cache", "small_model", "tree"]
