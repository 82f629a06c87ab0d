"""Which files of a site are written, left alone and removed, and what the sums over them say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from p2pqwen.catalogue import pages, places
from p2pqwen.catalogue.sums import SUMS_TYPE
from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.publish import site_pages
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


@pytest.fixture
def short_pages(monkeypatch) -> None:
    """A tenth of the rows on each page of a list: each model of a long one has a page of its own, and a QR code."""
    monkeypatch.setattr(pages, "ALL_ON_ONE", 50)
    monkeypatch.setattr(pages, "ROWS", 15)


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


def test_pages_of_a_list_that_shrank_are_removed(tmp_path, short_pages):
    site = CatalogueSite(tmp_path)
    models = many(51, scale=1e-6)
    site.publish(models)
    assert (site.out / "p2pqwen--site" / "list-4.html").exists()
    site.publish(models[:50])
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


EVERY_TIME = {"index.json", "index.html", "SHA256SUMS", "SHA256SUMS.sig"}
"""What names the index's position, or is made of all the other files."""
ALL = {"rows": len(MODELS), "models": len(MODELS), "cards": len(MODELS)}
NOTHING = {"rows": 0, "models": 0, "cards": 0}
ONE = {"rows": 0, "models": 1, "cards": 1}
PAGE, METALINK = f"{MODELS[0].repo}/index.html", f"{MODELS[0].repo}/*.meta4"


@pytest.fixture
def made(monkeypatch) -> dict[str, int]:
    """How many rows of the list, pages of models and cards are rendered from here on."""
    count = dict(NOTHING)
    for name, module, function in (
        ("rows", pages, "render_row"),
        ("models", pages, "render_model"),
        ("cards", site_pages, "render_card"),
    ):
        monkeypatch.setattr(module, function, _counting(count, name, getattr(module, function)))
    return count


def _counting(count, name, real):
    def counted(*given):
        count[name] += 1
        return real(*given)

    return counted


def written(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_where_nothing_changed_nothing_is_rendered(site, made):
    before = looks(site.out)
    site.publish(MODELS)
    assert written(before, looks(site.out)) == EVERY_TIME
    assert made == NOTHING


def test_one_changed_model_is_one_row_one_page_and_one_card(site, made):
    before = looks(site.out)
    site.publish([replace(MODELS[0], seeds=9), *MODELS[1:]])
    files = written(before, looks(site.out))
    assert {name for name in files if not name.startswith("p2pqwen--site/")} == {*EVERY_TIME, PAGE}
    assert made == {"rows": 1, "models": 1, "cards": 1}


def test_of_a_long_list_the_rows_of_one_model_are_rendered_and_one_that_moves_to_another_page(
    tmp_path, made, short_pages
):
    site, models = CatalogueSite(tmp_path), sorted(many(52, scale=1e-6), key=lambda one: one.repo)
    site.publish(models)
    made.update(NOTHING)
    site.publish(models[1:])
    # From the second page to the first: its links lead to another folder. Pages beyond have the same links.
    assert made == {"rows": 1, "models": 0, "cards": 0}
    site.publish(models[1:])
    shown = "".join((site.out / page).read_text() for page in ("index.html", "p2pqwen--site/list-2.html"))
    assert [name for name in (one.repo for one in models[1:31]) if f">{name}</a>" not in shown] == []
    fresh = CatalogueSite(tmp_path / "fresh", site.publisher)
    fresh.publish(models[1:])
    told = ("index.html", "p2pqwen--site/list-2.html", "p2pqwen--site/list-4.html")
    for page in told:
        old, new = ((one.out / page).read_bytes().partition(b'<ul class="rows" aria-label')[2] for one in (site, fresh))
        assert old.partition(b"</ul>")[0] == new.partition(b"</ul>")[0], page


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (PAGE, ONE),
        (METALINK, ONE),
        (f"{MODELS[0].repo}/*.magnet", ONE),
        ("index.html", {**NOTHING, "rows": len(MODELS)}),
        ("p2pqwen--site/data-0.json", NOTHING),
        ("p2pqwen--site/style.css", NOTHING),
        ("p2pqwen--site/feeds/new.rss.xml", NOTHING),
    ],
)
@pytest.mark.parametrize("how", ["lost", "changed", "changed, and its time set back"])
def test_a_file_that_somebody_changed_is_made_again(site, made, place, expected, how):
    path = next(site.out.glob(place))
    right, looked = path.read_bytes(), path.stat()
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(right.replace(b"a", b"b", 1))
    if how.endswith("back"):
        os.utime(path, ns=(looked.st_atime_ns, looked.st_mtime_ns))
    site.publish(MODELS)
    if place != "index.html":  # which names the index anew
        assert path.read_bytes() == right
    assert made == expected
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=site.out, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_site_that_was_copied_back_is_read_and_not_made_again(site, made):
    for path in site.out.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
    before = looks(site.out)
    site.publish(MODELS)
    assert written(before, looks(site.out)) == EVERY_TIME
    assert made == NOTHING


@pytest.mark.parametrize(
    "harm",
    [
        lambda path, _: path.unlink(),
        lambda path, data: path.write_bytes(b""),
        lambda path, data: path.write_bytes(data[:-9]),
        lambda path, data: path.write_bytes(data.replace(b"README", b"REBDME", 1)),
        lambda path, data: path.write_bytes(b'{"models":{}}'),
        lambda path, data: path.write_bytes(_sealed(b"[1,{},{},{},[],{},false]")),
        lambda path, data: path.write_bytes(_sealed(b"[2]extra")),
    ],
)
def test_with_its_memory_lost_or_damaged_everything_is_made_again(site, made, harm):
    (path,) = (site.home.root / "sites").glob("*.json")
    before = looks(site.out)
    harm(path, path.read_bytes())
    site.publish(MODELS)
    assert made == ALL
    assert written(before, looks(site.out)) == EVERY_TIME  # and is the same


def _sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def test_another_template_makes_everything_again(site, made, monkeypatch):
    monkeypatch.setattr(pages, "made_by", lambda: "another version")
    site.publish(MODELS)
    assert made == ALL


def test_a_readme_that_comes_into_the_library_later_is_shown(tmp_path):
    home = Home(tmp_path / "home")
    site = CatalogueSite(tmp_path)
    held = hold(home, {"README.md": CARD, "config.json": b"{}\n"}, "Qwen/Held")
    entry = replace(MODELS[0], repo="Qwen/Held").entry(held.metainfo())
    data = site.publisher.publish([replace(entry, license="apache-2.0")])
    accepted = accept(data, TrustedState(None), NOW)
    (site.out / entry.torrent).parent.mkdir(parents=True)
    (site.out / entry.torrent).write_bytes(held.torrent_path.read_bytes())
    (site.out / "index.json").write_bytes(data)
    page = site.out / "Qwen/Held/index.html"
    for library, shown in ((Home(tmp_path / "empty"), False), (home, True)):
        SitePages(home, Library(library), {}, NOW).write(site.out, accepted, ())
        assert ("It speaks." in page.read_text()) is shown


def test_a_long_list_opens_with_less_than_300_kb(tmp_path, monkeypatch):
    """Page, script and style are all that a browser loads before somebody searches or the check begins."""
    monkeypatch.setattr(pages, "ALL_ON_ONE", pages.ROWS)
    site = CatalogueSite(tmp_path)
    models = many(pages.ROWS + 10, scale=1e-6)
    site.publish(models)
    text = (site.out / "index.html").read_text()
    rows = text.split('<li class="row"')
    # A page holds so many rows however long the list is; what grows with it are the links to the other pages.
    assert len(rows) - 1 == pages.ROWS
    links = len(f'<a href="{places.list_page(67)}">67</a>\n\n') * -(-10_000 // pages.ROWS)
    named = set(
        re.findall(r'<(?:script|link rel="(?:stylesheet|preload|modulepreload)")[^>]* (?:src|href)="([^"]+)"', text)
    )
    assert named == {"p2pqwen--site/page.js", "p2pqwen--site/style.css"}
    asked = [len((site.out / place).read_bytes()) for place in ("index.html", *sorted(named))]
    assert sum(asked) + links < 300_000, asked
    style = (site.out / "p2pqwen--site/style.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    assert not re.findall(r"<(?:img|iframe|object|embed|video|audio|source)\b", text)
