"""A published mirror tree, carried by the programs that plain mirrors use, and fetched from as a web seed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.browser import web_server
from tests.support.models import small_model
from tests.support.world import REPO, World

BYTES = sum(map(len, small_model(600_000).values()))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with HubSimulator() as hub:
        yield World(tmp_path_factory.mktemp("world"), hub)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def ended(*command: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publish_says_what_it_put_there(world):
    done = world.publisher.ok("publish", "--out", world.site, "--mirror-tree", "--yes")["mirror_tree"]
    assert done["folder"] == str(world.site / "files")
    assert (done["snapshots"], done["bytes"], done["missing"]) == (1, BYTES, [])
    assert done["clones"] + done["links"] == done["files"] == len(small_model(600_000))
    assert files_below(world.site / "files" / REPO / world.commit) == files_below(world.folder / "model")
    ended("sha256sum", "-c", "--quiet", "SHA256SUMS", folder=world.site)
    ended("sha256sum", "-c", "--quiet", "SHA256SUMS", folder=world.site / "files")
    ended("sha256sum", "-c", "--quiet", f"{world.commit}.sha256", folder=world.site / "files" / REPO)
    again = world.publisher.ok("publish", "--out", world.site, "--yes")["mirror_tree"]
    assert again == done, "it stays until it is taken out"
    page = (world.site / REPO / "index.html").read_text()
    assert f'href="../../files/{REPO}/{world.commit}/model.safetensors"' in page


@needs("rsync")
def test_rsync_carries_it_and_its_second_run_finds_nothing_to_do(world):
    world.publisher.ok("publish", "--out", world.site, "--mirror-tree", "--yes")
    copy = world.folder / "mirror"
    ended("rsync", "-rtL", "--delete", f"{world.site}/", copy)
    assert files_below(copy) == files_below(world.site)
    ended("sha256sum", "-c", "--quiet", "SHA256SUMS", folder=copy / "files")
    assert ended("rsync", "-rtLi", "--delete", f"{world.site}/", copy) == ""
    assert world.reader.ok("index", "verify", copy / "index.json", "--publisher", world.identity)["ok"]


@needs("aria2c")
def test_aria2_takes_the_files_from_it_once_the_hub_is_gone(tmp_path):
    with HubSimulator() as hub:
        world = World(tmp_path, hub)
        with web_server(world.site) as url:
            world.publisher.ok("publish", "--out", world.site, "--mirror", f"{url}index.json", "--mirror-tree", "--yes")
    with web_server(world.site, port=int(url.rsplit(":", 1)[1].strip("/"))):
        out, meta4 = tmp_path / "out", world.site / REPO / f"{world.commit}.meta4"
        quiet = ("--no-conf", "--quiet", "--follow-metalink=true", "--max-tries=2", "--retry-wait=0")
        ended("aria2c", *quiet, "-M", meta4, "-d", out)
    assert files_below(out / world.commit) == files_below(world.folder / "model")


@needs("wget2")
def test_wget2_takes_what_the_signed_sums_name(world):
    world.publisher.ok("publish", "--out", world.site, "--mirror-tree", "--yes")
    copy, sums = world.folder / "wget2", world.site / "files" / "SHA256SUMS"
    with web_server(world.site) as url:
        urls = world.folder / "urls"
        urls.write_text("".join(f"{url}files/{line.split('  ', 1)[1]}\n" for line in sums.read_text().splitlines()))
        ended("wget2", "--no-config", "--tries=2", "-x", "-nH", "-P", copy, "-i", urls)
    ended("sha256sum", "-c", "--quiet", sums, folder=copy / "files")


def test_it_is_a_web_seed_of_every_snapshot_in_it(tmp_path):
    with HubSimulator() as hub:
        world = World(tmp_path, hub)
        world.publisher.ok("publish", "--out", world.site, "--mirror-tree", "--yes")
        reader = world.trusting("alone")
    with web_server(world.site) as url:
        done = reader.ok("fetch", REPO, "--only-web-seeds", "--web-seed", f"{url}files/{REPO}/", "--no-hf-cache")
    assert done["bytes_from_web_seeds"] >= BYTES
    assert done["provenance"] == "proven"


def test_pages_are_needed_for_it(world):
    refused = world.publisher.run("publish", "--out", world.site, "--mirror-tree", "--no-site-pages", "--json")
    assert refused.code == 2


def test_a_folder_in_its_place_is_refused_before_anything_is_signed(world):
    out = world.folder / "taken"
    (out / "files").mkdir(parents=True)
    (out / "files" / "thesis.txt").write_text("mine")
    refused = world.publisher.run("publish", "--out", out, "--mirror-tree", "--yes", "--json")
    assert refused.code == 2
    assert [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()] == ["files/thesis.txt"]
