"""`publish` writes pages for browsers beside the index, unless it is told not to."""

from __future__ import annotations

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.world import REPO, World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with HubSimulator() as hub:
        yield World(tmp_path_factory.mktemp("world"), hub)


def test_the_site_is_a_catalogue_that_names_every_model_and_magnet(world):
    page = (world.site / "index.html").read_text()
    assert f">{REPO}</a>" in page
    assert world.entry["magnet"].replace("&", "&amp;") in page
    model = (world.site / REPO / "index.html").read_text()
    assert f"p2pqwen fetch {REPO}@{world.commit}" in model
    assert "model.safetensors" in model
    assert (world.site / REPO / f"{world.commit}.README.md").exists()
    assert (world.site / "SHA256SUMS.sig").exists()
    home = sorted(path.name for path in world.publisher.home.iterdir())
    assert "sites" in home
    assert (world.publisher.home / "sites").stat().st_mode & 0o777 == 0o700


def test_without_pages_there_are_the_index_and_torrents_alone(world):
    out = world.folder / "bare"
    world.publisher.ok("publish", "--out", out, "--no-site-pages", "--yes")
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {"index.json", f"{REPO}/{world.commit}.torrent"}


def test_an_index_that_says_the_same_is_not_signed_again_and_its_pages_stand_in_another_folder_too(world):
    first, out = world.folder / "first", world.folder / "elsewhere"
    world.publisher.ok("publish", "--out", first, "--yes")
    world.publisher.ok("publish", "--out", out, "--if-changed", "--yes")
    assert (out / "index.json").read_bytes() == (first / "index.json").read_bytes()
    assert (out / "index.html").read_bytes() == (first / "index.html").read_bytes()
    assert (out / "SHA256SUMS.sig").exists()


def test_a_signed_draft_is_completed_with_pages_that_say_they_are_not_signed(world):
    draft, out = world.folder / "draft.json", world.folder / "together"
    world.publisher.ok("publish", "--out", out, "--draft", draft, "--yes")
    assert not (out / "index.html").exists()
    world.publisher.ok("publish", "--out", out, "--signed", draft)
    assert 'data-sums="unsigned"' in (out / "index.html").read_text()
    assert not (out / "SHA256SUMS.sig").exists()
