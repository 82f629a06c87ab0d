"""Which files of a site are written, left alone and removed, and what the sums over them say."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from p2pqwen.catalogue.sums import SUMS_TYPE
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.publish.site_pages import SitePages
from p2pqwen.values.strict_json import canonical
from tests.support.catalogue import CARD, CatalogueSite, many
from tests.support.publishing import NOW, make_entry
from tests.support.snapshots import hold

MODELS = many(6, scale=1e-6)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def site(tmp_path) -> CatalogueSite:
    made = CatalogueSite(tmp_path)
    made.publish(MODELS)
    return made


def looks(out: Path) -> dict[str, tuple[int, int]]:
    """Every file of a site, and what changes whenever it is written."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_unchanged_pages_are_not_written_again(site):
    before = looks(site.out)
    site.publish(MODELS)
    after = looks(site.out)
    written = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert written == {"index.json", "index.html", "SHA256SUMS", "SHA256SUMS.sig"}


def test_one_changed_model_is_one_page(site):
    before = looks(site.out)
    site.publish([replace(MODELS[0], upstream=MODELS[3].upstream), *MODELS[1:]])
    after = looks(site.out)
    pages = {name for name in after if name.endswith("/index.html") and before.get(name) != after[name]}
    assert pages == {f"{MODELS[0].repo}/index.html"}


def test_a_page_that_somebody_removed_comes_back(site):
    page = site.out / MODELS[0].repo / "index.html"
    content = page.read_bytes()
    page.unlink()
    site.publish(MODELS)
    assert page.read_bytes() == content


def test_what_is_no_longer_listed_loses_its_page_and_nothing_else_does(site):
    ours = site.out / "robots.txt"
    ours.write_text("User-agent: *\n")
    gone = site.out / MODELS[0].repo
    torrent = next(gone.glob("*.torrent"))
    site.publish(MODELS[1:])
    assert sorted(path.name for path in gone.iterdir()) == [torrent.name]  # removing torrents is not this step's
    assert ours.exists()
    assert str(MODELS[0].repo) not in (site.out / "SHA256SUMS").read_text()


def test_pages_of_a_list_that_shrank_are_removed(tmp_path):
    site = CatalogueSite(tmp_path)
    models = many(501, scale=1e-6)
    site.publish(models)
    assert (site.out / "p2pqwen--site" / "list-4.html").exists()
    site.publish(models[:500])
    assert not list((site.out / "p2pqwen--site").glob("list-*.html"))


def test_the_sums_are_those_of_every_file_and_are_signed(site):
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=site.out, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    sums = (site.out / "SHA256SUMS").read_bytes()
    named = {line.split("  ", 1)[1] for line in sums.decode().splitlines()}
    assert named == {str(path.relative_to(site.out)) for path in site.out.rglob("*") if path.is_file()} - {
        "SHA256SUMS",
        "SHA256SUMS.sig",
    }
    envelope = json.loads((site.out / "SHA256SUMS.sig").read_text())
    said = envelope["signed"]
    assert said == {
        "type": "sums",
        "spec": 1,
        "publisher": str(site.publisher.id),
        "epoch": 0,
        "version": 1,
        "sha256": hashlib.sha256(sums).hexdigest(),
    }
    result = site.accepted.root.check(INDEX_ROLE, SUMS_TYPE, canonical(said), envelope["signatures"])
    assert result.met


def test_without_keys_the_sums_are_not_signed_and_an_old_signature_goes(site):
    site.publish(MODELS, signed=False)
    assert (site.out / "SHA256SUMS").exists()
    assert not (site.out / "SHA256SUMS.sig").exists()
    assert 'data-sums="unsigned"' in (site.out / "index.html").read_text()


@pytest.mark.parametrize("org", ["index.html", "SHA256SUMS", "Sitemap.XML"])
def test_an_organisation_that_is_called_like_a_page_keeps_its_place(site, org):
    told = []
    entry = make_entry(1, f"{org}/Model")
    document = replace(site.accepted.document, entries=(entry,))
    pages = SitePages(site.home, Library(site.home), {}, NOW)
    before = looks(site.out)
    pages.write(site.out, replace(site.accepted, document=document), (), told.append)
    assert org in told[0].text
    assert looks(site.out) == before


def test_a_readme_comes_from_the_library_and_then_from_the_site(tmp_path):
    home, out = Home(tmp_path / "home"), tmp_path / "out"
    site = CatalogueSite(tmp_path)
    held = hold(home, {"README.md": CARD, "config.json": b"{}\n"}, "Qwen/Held")
    metainfo = held.metainfo()
    model = replace(MODELS[0], repo="Qwen/Held")
    entry = replace(model.entry(metainfo), license="apache-2.0")
    data = site.publisher.publish([entry])
    from p2pqwen.index.acceptance import TrustedState, accept

    accepted = accept(data, TrustedState(None), NOW)
    (out / entry.torrent).parent.mkdir(parents=True)
    (out / entry.torrent).write_bytes(held.torrent_path.read_bytes())
    (out / "index.json").write_bytes(data)
    SitePages(home, Library(home), {}, NOW).write(out, accepted, ())
    page = out / "Qwen/Held/index.html"
    readme = out / f"Qwen/Held/{metainfo.commit}.README.md"
    assert "It speaks." in page.read_text()
    assert readme.read_bytes() == CARD
    page.unlink()
    SitePages(home, Library(Home(tmp_path / "empty")), {}, NOW).write(out, accepted, ())
    assert "It speaks." in page.read_text()
    page.unlink()
    readme.write_bytes(CARD.replace(b"speaks", b"lies"))  # not the README of the manifest
    SitePages(home, Library(Home(tmp_path / "empty")), {}, NOW).write(out, accepted, ())
    assert "It lies." not in page.read_text()
    assert "holds no README.md" in page.read_text()


def test_a_torrent_that_cannot_be_read_costs_its_own_files_alone(site):
    entry = site.accepted.document.entries[0]
    (site.out / entry.torrent).write_bytes(b"nothing")
    (site.out / f"{entry.id.repo}/index.html").unlink()
    told = []
    SitePages(site.home, Library(site.home), {}, NOW).write(site.out, site.accepted, (), told.append)
    assert any(str(entry.id) in getattr(one, "text", "") for one in told)
    assert "carries no manifest" in (site.out / f"{entry.id.repo}/index.html").read_text()
