"""`library import` of folders as other programs lay them: recognised by size and content, the rest left and named."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder
from tests.support.preserved import COMMITS, Preserver, tree

SOME = {"config.json": b"{}", "model.safetensors": noise(300_000, "weights"), "sub/vocab.txt": b"a b c"}
QUANTS = {
    "README.md": b"# quantisations",
    "Tiny-Q4_K_M.gguf": noise(200_000, "q4"),
    "Tiny-Q6_K.gguf": noise(300_000, "q6"),
    "Tiny-Q8_0.gguf": noise(400_000, "q8"),
}


@pytest.fixture
def preserver(tmp_path):
    return Preserver(tmp_path)


def no_caches(user: CommandLine, *arguments: str | Path):
    return user.ok("library", "import", *arguments, "--no-hf-cache")


@pytest.mark.parametrize("known", ["named torrent", "trusted index"])
@pytest.mark.parametrize(
    ("place", "more"),
    [
        ("models/Qwen/Tiny-0___6B", {".msc": b"x", ".mv": b"", "configuration.json": b"{ }"}),
        (".lmstudio/models/someone/Tiny-0.6B", {}),
        ("weights", {"notes.txt": b"mine"}),
        ("weights", {"notes.txt": b"mine", "sub/more.txt": b"", "other/apart.txt": b"z"}),
        ("a/b/c/d/e/deep", {}),
    ],
)
def test_one_file_more_hides_no_model(preserver, tmp_path, place, more, known):
    torrent = preserver.preserve(SOME, repo="Qwen/Tiny-0.6B")
    user = preserver.trusted_by("user") if known == "trusted index" else CommandLine(tmp_path / "user")
    write_folder(tmp_path / "disk" / place, {**SOME, **more})
    before = tree(tmp_path / "disk")
    named = ("--torrent", torrent) if known == "named torrent" else ()
    (one,) = no_caches(user, tmp_path / "disk", *named)["imported"]
    assert (one["state"], one["bytes_missing"], one["bad"]) == ("complete", 0, [])
    assert one["ignored"] == sorted(name for name in more if not name.startswith("other/"))
    assert one["source"] == str(tmp_path / "disk" / place)
    assert tree(Path(one["path"])) == SOME
    assert tree(tmp_path / "disk") == before


@pytest.mark.parametrize("lacking", ["config.json", "sub/vocab.txt"])
def test_one_file_less_hides_no_model(preserver, tmp_path, lacking):
    preserver.preserve(SOME, repo="Qwen/Tiny-0.6B")
    user = preserver.trusted_by("user")
    write_folder(tmp_path / "disk" / "weights", {name: data for name, data in SOME.items() if name != lacking})
    (one,) = no_caches(user, tmp_path / "disk")["imported"]
    assert (one["state"], one["bytes_missing"]) == ("incomplete", len(SOME[lacking]))


def test_files_of_other_names_are_told_by_their_content(preserver, tmp_path):
    torrent = preserver.preserve(SOME)
    user = CommandLine(tmp_path / "user")
    renamed = {"first.bin": SOME["model.safetensors"], "x/second": SOME["config.json"], "third": SOME["sub/vocab.txt"]}
    same_sizes = {"y/a": noise(300_000, "other"), "y/b": b"[]", "y/c": b"x y z"}
    write_folder(tmp_path / "disk", {**renamed, **same_sizes})
    (one,) = no_caches(user, tmp_path / "disk", "--torrent", torrent)["imported"]
    assert (one["state"], one["bad"], one["ignored"]) == ("complete", [], [])
    assert tree(Path(one["path"])) == SOME


@pytest.mark.parametrize("layout", ["LM Studio", "Ollama"])
@pytest.mark.parametrize("known", ["named torrent", "trusted index"])
def test_one_quantisation_of_many_is_held_as_such(preserver, tmp_path, layout, known):
    torrent = preserver.preserve(QUANTS, repo="Qwen/Tiny-GGUF")
    user = preserver.trusted_by("user") if known == "trusted index" else CommandLine(tmp_path / "user")
    held = ("Tiny-Q4_K_M.gguf", "Tiny-Q6_K.gguf") if layout == "Ollama" else ("Tiny-Q4_K_M.gguf",)
    if layout == "LM Studio":
        write_folder(tmp_path / "disk" / "models" / "Qwen" / "Tiny-GGUF", {held[0]: QUANTS[held[0]], "x.json": b"{}"})
    else:
        blobs = {f"blobs/sha256-{hashlib.sha256(QUANTS[name]).hexdigest()}": QUANTS[name] for name in held[:1]}
        blobs |= {f"blobs/sha256-{'0' * 64}": b"a template", f"manifests/hf.co/Qwen/Tiny-GGUF/{held[0]}": b"{}"}
        write_folder(tmp_path / "disk" / "models", blobs)
        held = held[:1]
    named = ("--torrent", torrent) if known == "named torrent" else ()
    (one,) = no_caches(user, tmp_path / "disk", *named)["imported"]
    assert (one["state"], one["bytes_missing"], one["bad"]) == ("partial", 0, [])
    assert {name: data for name, data in tree(Path(one["path"])).items() if data} == {
        name: QUANTS[name] for name in held
    }
    assert user.ok("verify", "Qwen/Tiny-GGUF")["ok"]


def test_what_is_found_later_joins_what_is_held(preserver, tmp_path):
    torrent = preserver.preserve(QUANTS, repo="Qwen/Tiny-GGUF")
    user = CommandLine(tmp_path / "user")
    for number, name in enumerate(("Tiny-Q4_K_M.gguf", "Tiny-Q6_K.gguf")):
        write_folder(tmp_path / f"disk{number}", {name: QUANTS[name]})
        (one,) = no_caches(user, tmp_path / f"disk{number}", "--torrent", torrent)["imported"]
        assert one["state"] == "partial"
    assert set(tree(Path(one["path"]))) == {"Tiny-Q4_K_M.gguf", "Tiny-Q6_K.gguf"}
    write_folder(tmp_path / "disk2", QUANTS)
    (one,) = no_caches(user, tmp_path / "disk2", "--torrent", torrent)["imported"]
    assert one["state"] == "complete"


def test_a_quantisation_of_the_right_size_and_name_but_other_content_is_none(preserver, tmp_path):
    torrent = preserver.preserve(QUANTS, repo="Qwen/Tiny-GGUF")
    user = CommandLine(tmp_path / "user")
    write_folder(tmp_path / "disk" / "Tiny-GGUF", {"Tiny-Q4_K_M.gguf": noise(200_000, "another")})
    done = no_caches(user, tmp_path / "disk", "--torrent", torrent)
    assert (done["imported"], len(done["unmatched"])) == ([], 1)


def test_a_file_that_many_models_share_begins_none(preserver, tmp_path):
    preserver.preserve(SOME, repo="Qwen/Tiny-0.6B")
    user = preserver.trusted_by("user")
    write_folder(tmp_path / "disk" / "Tiny-0.6B", {"config.json": SOME["config.json"]})
    assert no_caches(user, tmp_path / "disk")["imported"] == []
    assert user.ok("list")["snapshots"] == []


def test_a_library_of_ours_below_the_folder_is_not_looked_through(preserver, tmp_path):
    torrent = preserver.preserve(small_model())
    user = CommandLine(tmp_path / "user")
    shutil.copytree(tmp_path / "sources" / COMMITS[0], user.home / "library" / "x" / "y")
    assert no_caches(user, tmp_path / "user", "--torrent", torrent)["imported"] == []
